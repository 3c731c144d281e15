/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parser of the configuration file, and the configuration that is compiled in. boot/ calls it while the firmware
 * is still there to print to. It takes any bytes whatsoever, touches nothing outside its arguments and never
 * allocates; every message names the value and the remedy.
 */
#include "hv/config.h"

#include <stdarg.h>

#include "lib/printf.h"
#include "lib/string.h"
#include "lib/util.h"

#define MEMORY_DEFAULT MIB(64)
#define MEMORY_MIN     MIB(1)
#define MEMORY_MAX     BIT(48) /* beyond every machine's RAM, and far from any overflow */
#define MEMORY_GRANULE KIB(4)
#define VCPUS_MAX      64
#define CPU_TIME_MAX   (UINT64_C(1000) * 3600 * 24 * 365) /* milliseconds */

/* A piece of the text: not terminated. */
struct span {
	const char *start;
	size_t length;
};

enum { SHOWN_MAX = 40 };

/* A span as it is shown in a message: printable, not too long. */
struct shown {
	char text[SHOWN_MAX + sizeof("...")];
};

struct parser {
	struct config *config;
	struct config_error *error;
	unsigned line;
	struct config_vm *vm;  /* the [vm] section we are in, or NULL */
	unsigned caisson_line; /* of [caisson], 0: not seen */
	/* Of the section we are in: the line where keys[i] was set, 0: not yet. */
	unsigned key_lines[16];
};

static bool is_printable(char c)
{
	return c >= ' ' && c <= '~';
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '-' || c == '_';
}

static struct shown show(struct span span)
{
	struct shown shown;
	size_t length = MIN(span.length, (size_t)SHOWN_MAX);
	for (size_t i = 0; i < length; i++) {
		shown.text[i] = is_printable(span.start[i]) ? span.start[i] : '?';
	}
	memcpy(shown.text + length, span.length > length ? "..." : "", span.length > length ? sizeof("...") : 1);
	return shown;
}

/* Always false, so that callers can return it. */
__attribute__((format(printf, 3, 4))) static bool fail_at(struct parser *parser, unsigned line, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	parser->error->line = line;
	vsnprintf(parser->error->text, sizeof(parser->error->text), format, arguments);
	va_end(arguments);
	return false;
}

#define fail(parser, ...) fail_at(parser, (parser)->line, __VA_ARGS__)

static struct span trim(struct span span)
{
	while (span.length > 0 && is_blank(span.start[0])) {
		span.start++;
		span.length--;
	}
	while (span.length > 0 && is_blank(span.start[span.length - 1])) {
		span.length--;
	}
	return span;
}

static bool span_is(struct span span, const char *word)
{
	return span.length == strlen(word) && memcmp(span.start, word, span.length) == 0;
}

/* ---- values ---- */

struct unit {
	const char *word;
	uint64_t scale;
};

struct key {
	const char *name;
	/* Checks `value` (trimmed, printable) and stores it into the field. False: the error is told. */
	bool (*set)(struct parser *parser, const struct key *key, struct span value, void *field);
	size_t offset;            /* of the field in struct config_vm */
	size_t size;              /* of the field, for texts */
	const char *const *words; /* for choices: NULL-terminated, in the enum's order */
	const struct unit *units; /* for numbers: up to one without a word */
	bool repeats;             /* may be set more than once */
	bool whole_line;          /* '#' and blanks belong to the value; may be empty */
	size_t line_offset;       /* of the field in struct config_vm that keeps the line number; 0: none */
	const char *remedy;
};

static bool set_text(struct parser *parser, const struct key *key, struct span value, void *field)
{
	if (value.length >= key->size) {
		return fail(parser, "%s: \"%s\" has %zu characters; at most %zu fit", key->name, show(value).text,
		            value.length, key->size - 1);
	}
	memcpy(field, value.start, value.length);
	((char *)field)[value.length] = '\0';
	return true;
}

/* A path, and "readonly" after a blank. */
static bool set_disk(struct parser *parser, const struct key *key, struct span value, void *field)
{
	static const char word[] = "readonly";
	struct config_vm *vm = parser->vm;
	(void)field;
	if (vm->disk_count == CONFIG_DISKS_MAX) {
		return fail(parser, "disk: one too many; a VM has at most %u", CONFIG_DISKS_MAX);
	}
	struct config_disk *disk = &vm->disk[vm->disk_count];
	size_t rest = value.length - MIN(value.length, strlen(word));
	disk->line = parser->line;
	disk->readonly =
		rest > 0 && is_blank(value.start[rest - 1]) && memcmp(value.start + rest, word, strlen(word)) == 0;
	if (disk->readonly) {
		value = trim((struct span){value.start, rest});
	}
	vm->disk_count++;
	return set_text(parser, key, value, disk->path);
}

static bool is_name(struct span span)
{
	for (size_t i = 0; i < span.length; i++) {
		if (!is_name_char(span.start[i])) {
			return false;
		}
	}
	return true;
}

static bool set_name(struct parser *parser, const struct key *key, struct span value, void *field)
{
	if (!is_name(value)) {
		return fail(parser, "%s: the name \"%s\" is not usable; %s", key->name, show(value).text, key->remedy);
	}
	return set_text(parser, key, value, field);
}

static bool set_choice(struct parser *parser, const struct key *key, struct span value, void *field)
{
	for (unsigned i = 0; key->words[i]; i++) {
		if (span_is(value, key->words[i])) {
			/* Every choice is an enum without negative values, which the compiler makes unsigned. */
			memcpy(field, &i, sizeof(i));
			return true;
		}
	}
	return fail(parser, "%s: unknown value \"%s\"; %s", key->name, show(value).text, key->remedy);
}

/* Takes the digits off the front. False: there are none, or the number is above `limit`. */
static bool take_number(struct span *span, uint64_t limit, uint64_t *number)
{
	uint64_t n = 0;
	size_t digits = 0;
	while (digits < span->length && is_digit(span->start[digits])) {
		if (n > limit / 10) {
			return false;
		}
		n = n * 10 + (uint64_t)(span->start[digits] - '0');
		digits++;
	}
	if (digits == 0 || n > limit) {
		return false;
	}
	span->start += digits;
	span->length -= digits;
	*number = n;
	return true;
}

/* A number and one of `key->units`. */
static bool take_scaled(const struct key *key, struct span value, uint64_t limit, uint64_t *result)
{
	uint64_t number;
	if (!take_number(&value, limit, &number)) {
		return false;
	}
	for (const struct unit *unit = key->units; unit->word; unit++) {
		if (span_is(value, unit->word)) {
			*result = number * unit->scale;
			return number <= limit / unit->scale;
		}
	}
	return false;
}

static bool set_memory(struct parser *parser, const struct key *key, struct span value, void *field)
{
	uint64_t bytes;
	if (!take_scaled(key, value, MEMORY_MAX, &bytes) || bytes < MEMORY_MIN || !is_aligned(bytes, MEMORY_GRANULE)) {
		return fail(parser, "%s: \"%s\" is no size; %s", key->name, show(value).text, key->remedy);
	}
	memcpy(field, &bytes, sizeof(bytes));
	return true;
}

static bool set_time(struct parser *parser, const struct key *key, struct span value, void *field)
{
	uint64_t milliseconds;
	if (!take_scaled(key, value, CPU_TIME_MAX, &milliseconds) || milliseconds == 0) {
		return fail(parser, "%s: \"%s\" is no time; %s", key->name, show(value).text, key->remedy);
	}
	memcpy(field, &milliseconds, sizeof(milliseconds));
	return true;
}

static bool set_count(struct parser *parser, const struct key *key, struct span value, void *field)
{
	struct span rest = value;
	uint64_t number;
	if (!take_number(&rest, VCPUS_MAX, &number) || rest.length > 0 || number == 0) {
		return fail(parser, "%s: \"%s\" is no number of CPUs; %s", key->name, show(value).text, key->remedy);
	}
	unsigned count = (unsigned)number;
	memcpy(field, &count, sizeof(count));
	return true;
}

/* ---- keys ---- */

static const struct unit size_units[] = {{"K", KIB(1)}, {"M", MIB(1)}, {"G", GIB(1)}, {"T", GIB(1024)}, {NULL, 0}};
static const struct unit time_units[] = {{"ms", 1}, {"s", 1000}, {NULL, 0}};
static const char *const backing_words[] = {"lazy", "populate", "linear", NULL};
static const char *const console_words[] = {"uart", "virtio", NULL};
static const char *const pages_words[] = {"auto", "4K", NULL};
static const char *const run_words[] = {"in-turn", "together", NULL};

#define LINE(name)  .line_offset = offsetof(struct config_vm, name##_line)
#define FIELD(name) .offset = offsetof(struct config_vm, name), .size = sizeof(((struct config_vm *)0)->name)

static const struct key vm_keys[] = {
	{"kernel", set_text, FIELD(kernel), LINE(kernel), .remedy = "write kernel = \\PATH or kernel = builtin:hello"},
	{"initrd", set_text, FIELD(initrd), LINE(initrd), .remedy = "write initrd = \\PATH, or leave the line out"},
	{"cmdline", set_text, FIELD(cmdline), .whole_line = true},
	{"memory", set_memory, FIELD(memory), LINE(memory), .units = size_units,
         .remedy = "write a multiple of 4K from 1M on, such as 4096K, 64M or 1G"},
	{"backing", set_choice, FIELD(backing), .words = backing_words, .remedy = "write lazy, populate or linear"},
	{"pages", set_choice, FIELD(pages), .words = pages_words, .remedy = "write auto or 4K"},
	{"vcpus", set_count, FIELD(vcpus), .remedy = "write a number from 1 to 64"},
	{"disk", set_disk, .size = CONFIG_PATH_MAX, .repeats = true,
         .remedy = "write disk = \\PATH, or disk = \\PATH readonly"},
	{"net", set_name, FIELD(net), .remedy = "take letters, digits, - and _"},
	{"console", set_choice, FIELD(console), .words = console_words, .remedy = "write uart or virtio"},
	{"cpu-time", set_time, FIELD(cpu_time), .units = time_units,
         .remedy = "write 500ms or 2s; without the line there is no limit"},
};

static const struct key caisson_keys[] = {
	{"run", set_choice, .offset = offsetof(struct config, run), .size = sizeof(enum config_run), .words = run_words,
         .remedy = "write in-turn or together"},
};

/* The keys of a section, and what they are called when one is unknown. */
struct key_table {
	const struct key *keys;
	unsigned count;
	const char *names;
};

static const struct key_table vm_table = {vm_keys, ARRAY_SIZE(vm_keys),
                                          "kernel initrd cmdline memory backing pages vcpus disk net console cpu-time"};
static const struct key_table caisson_table = {caisson_keys, ARRAY_SIZE(caisson_keys), "run"};

_Static_assert(ARRAY_SIZE(vm_keys) <= ARRAY_SIZE(((struct parser *)0)->key_lines), "one line number per key");
_Static_assert(sizeof(enum config_backing) == sizeof(unsigned) && sizeof(enum config_pages) == sizeof(unsigned) &&
                       sizeof(enum config_console) == sizeof(unsigned) && sizeof(enum config_run) == sizeof(unsigned),
               "set_choice stores an unsigned");

static const struct key *find_key(const struct key_table *table, struct span name, unsigned *index)
{
	for (unsigned i = 0; i < table->count; i++) {
		if (span_is(name, table->keys[i].name)) {
			*index = i;
			return &table->keys[i];
		}
	}
	return NULL;
}

/* Cuts a comment off: '#' at the start, or after a blank. */
static struct span without_comment(struct span value)
{
	for (size_t i = 0; i < value.length; i++) {
		if (value.start[i] == '#' && (i == 0 || is_blank(value.start[i - 1]))) {
			value.length = i;
		}
	}
	return trim(value);
}

/* Tabs count as blanks inside a value. */
static bool check_printable(struct parser *parser, struct span span)
{
	for (size_t i = 0; i < span.length; i++) {
		if (!is_printable(span.start[i]) && span.start[i] != '\t') {
			return fail(parser, "\"%s\": the byte 0x%02x has no place here; use printable ASCII",
			            show(span).text, (unsigned)(unsigned char)span.start[i]);
		}
	}
	return true;
}

static bool parse_setting(struct parser *parser, struct span name, struct span value)
{
	if (!parser->vm && parser->caisson_line == 0) {
		return fail(parser, "\"%s\" stands outside of any section; put a line [vm NAME] before it",
		            show(name).text);
	}
	const struct key_table *table = parser->vm ? &vm_table : &caisson_table;
	char *section = parser->vm ? (char *)parser->vm : (char *)parser->config;
	unsigned index;
	const struct key *key = find_key(table, name, &index);
	if (!key) {
		return fail(parser, "unknown key \"%s\"; known: %s", show(name).text, table->names);
	}
	if (parser->key_lines[index] != 0 && !key->repeats) {
		return fail(parser, "%s is set again; remove this line or line %u", key->name,
		            parser->key_lines[index]);
	}
	if (!key->whole_line) {
		value = without_comment(value);
		if (value.length == 0) {
			return fail(parser, "%s has no value; %s", key->name, key->remedy);
		}
	}
	if (!check_printable(parser, value) || !key->set(parser, key, value, section + key->offset)) {
		return false;
	}
	parser->key_lines[index] = parser->line;
	if (key->line_offset != 0) {
		memcpy(section + key->line_offset, &parser->line, sizeof(parser->line));
	}
	return true;
}

/* ---- sections ---- */

/* What a finished [vm] section must have. */
static bool finish_vm(struct parser *parser)
{
	const struct config_vm *vm = parser->vm;
	if (vm && vm->kernel[0] == '\0') {
		return fail_at(parser, vm->line, "[vm %s] has no kernel; %s", vm->name, vm_keys[0].remedy);
	}
	return true;
}

static bool check_vm_name(struct parser *parser, struct span name)
{
	if (name.length == 0) {
		return fail(parser, "[vm] has no name; write [vm NAME]");
	}
	if (name.length >= CONFIG_NAME_MAX) {
		return fail(parser, "the name \"%s\" is too long; at most %u characters fit", show(name).text,
		            CONFIG_NAME_MAX - 1);
	}
	if (!is_name(name)) {
		return fail(parser, "the name \"%s\" is not usable; take letters, digits, - and _", show(name).text);
	}
	for (unsigned i = 0; i < parser->config->vm_count; i++) {
		if (span_is(name, parser->config->vms[i].name)) {
			return fail(parser, "[vm %s] is there already, on line %u; choose another name",
			            show(name).text, parser->config->vms[i].line);
		}
	}
	return true;
}

static bool start_vm(struct parser *parser, struct span name)
{
	struct config *config = parser->config;
	if (!check_vm_name(parser, name)) {
		return false;
	}
	if (config->vm_count == CONFIG_VMS_MAX) {
		return fail(parser, "[vm %s] is one too many; remove some, %u are possible", show(name).text,
		            CONFIG_VMS_MAX);
	}
	struct config_vm *vm = &config->vms[config->vm_count++];
	memset(vm, 0, sizeof(*vm));
	memcpy(vm->name, name.start, name.length);
	vm->memory = MEMORY_DEFAULT;
	vm->backing = CONFIG_LAZY;
	vm->pages = CONFIG_PAGES_AUTO;
	vm->vcpus = 1;
	vm->line = parser->line;
	parser->vm = vm;
	memset(parser->key_lines, 0, sizeof(parser->key_lines));
	return true;
}

/* `line` starts with '['. */
static bool parse_section(struct parser *parser, struct span line)
{
	line = without_comment(line);
	if (!check_printable(parser, line)) {
		return false;
	}
	if (line.start[line.length - 1] != ']') {
		return fail(parser, "\"%s\": the closing bracket is missing; write [vm NAME]", show(line).text);
	}
	if (!finish_vm(parser)) {
		return false;
	}
	struct span inside = trim((struct span){line.start + 1, line.length - 2});
	if (span_is(inside, "caisson")) {
		if (parser->caisson_line != 0) {
			return fail(parser, "[caisson] is there already, on line %u; join the two",
			            parser->caisson_line);
		}
		parser->caisson_line = parser->line;
		parser->vm = NULL;
		memset(parser->key_lines, 0, sizeof(parser->key_lines));
		return true;
	}
	if (inside.length >= 2 && memcmp(inside.start, "vm", 2) == 0 &&
	    (inside.length == 2 || is_blank(inside.start[2]))) {
		return start_vm(parser, trim((struct span){inside.start + 2, inside.length - 2}));
	}
	return fail(parser, "unknown section [%s]; write [caisson] or [vm NAME]", show(inside).text);
}

static bool parse_line(struct parser *parser, struct span line)
{
	if (memchr(line.start, '\0', line.length)) {
		return fail(parser, "a NUL byte: this is not plain text; save the file as ASCII or UTF-8");
	}
	line = trim(line);
	if (line.length == 0 || line.start[0] == '#') {
		return true;
	}
	if (line.start[0] == '[') {
		return parse_section(parser, line);
	}
	const char *equals = memchr(line.start, '=', line.length);
	if (!equals) {
		return fail(parser, "\"%s\" is neither a [section] nor key = value", show(line).text);
	}
	struct span name = trim((struct span){line.start, (size_t)(equals - line.start)});
	struct span value = trim((struct span){equals + 1, line.length - (size_t)(equals + 1 - line.start)});
	if (name.length == 0) {
		return fail(parser, "\"%s\": the key is missing before the =", show(line).text);
	}
	return parse_setting(parser, name, value);
}

bool config_parse(const char *text, size_t bytes, struct config *config, struct config_error *error)
{
	static const char byte_order_mark[] = {'\xef', '\xbb', '\xbf'};
	struct parser parser = {.config = config, .error = error};

	config->vm_count = 0;
	error->line = 0;
	error->text[0] = '\0';
	if (bytes >= sizeof(byte_order_mark) && memcmp(text, byte_order_mark, sizeof(byte_order_mark)) == 0) {
		text += sizeof(byte_order_mark);
		bytes -= sizeof(byte_order_mark);
	}
	while (bytes > 0) {
		const char *newline = memchr(text, '\n', bytes);
		size_t length = newline ? (size_t)(newline - text) : bytes;
		size_t taken = newline ? length + 1 : length;
		parser.line++;
		if (length > 0 && text[length - 1] == '\r') {
			length--;
		}
		if (!parse_line(&parser, (struct span){text, length})) {
			return false;
		}
		text += taken;
		bytes -= taken;
	}
	if (!finish_vm(&parser)) {
		return false;
	}
	if (config->vm_count == 0) {
		return fail_at(&parser, 0, "no VM is configured; add a section [vm NAME] with a line kernel = \\PATH");
	}
	return true;
}

const char config_demo[] = "[vm hello]\n"
			   "kernel = builtin:hello\n"
			   "memory = 2M\n"
			   "backing = linear\n"
			   "\n"
			   "[vm touch]\n"
			   "kernel = builtin:touch\n"
			   "memory = 72M\n"
			   "backing = lazy\n";
