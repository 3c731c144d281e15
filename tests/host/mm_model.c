/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The model's driver: turns bytes into calls, makes them one after the other, and has everything compared. See
 * mm_model.h. Called by test_mm_model.c and fuzz_mm.c.
 */
#include "tests/host/mm_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "mm/guest_memory.h"

#define ARENA_BYTES  MIB(48)
#define LARGE_PAGES  16384 /* from here on not every call is followed by a full comparison */
#define LARGE_STRIDE 16
#define ODD          15

struct mm_arena model_arena;
struct model models[2];
unsigned model_current;
char *model_window_shadow;
uint8_t *model_window_written;
bool mm_model_believes_discard_does_nothing;
bool mm_model_talks;

/* What the space and the model disagree upon. */
static const char *current_call = "";

_Noreturn void model_disagrees(const char *what, const char *file, int line)
{
	fflush(stdout);
	fprintf(stderr, "%s:%d: in %s: not so: %s\n", file, line, current_call, what);
	abort();
}

const struct model_kind model_kinds[] = {
	{"map_linear", 5, model_map_linear},
	{"map_alloc", 6, model_map_alloc},
	{"unmap", 4, model_unmap},
	{"protect", 5, model_protect},
	{"discard", 3, model_discard},
	{"fault", 6, model_fault},
	{"translate", 2, model_translate},
	{"guest_read", 2, model_read},
	{"guest_write", 3, model_write},
	{"guest_fill", 2, model_fill},
	{"guest_load", 1, model_load},
	{"guest_store", 1, model_store},
	{"guest_peek", 1, model_peek},
	{"replace_linear", 3, model_replace_linear},
	{"replace_alloc", 3, model_replace_alloc},
	{"find_free", 2, model_find_free},
	{"clear", 1, model_clear},
	{"compact", 3, model_compact},
	{"copy_from", 3, model_copy_from},
	{"dirty_log_start", 2, model_dirty_log_start},
	{"dirty_log_collect", 3, model_dirty_log_collect},
	{"dirty_log_stop", 1, model_dirty_log_stop},
	{"swap", 2, model_swap},
	{NULL, 0, NULL},
};

/* ---- from bytes to calls ---- */

static unsigned kind_of(uint8_t byte)
{
	unsigned total = 0;
	unsigned kind = 0;

	for (const struct model_kind *each = model_kinds; each->weight != 0; each++) {
		total += each->weight;
	}
	for (unsigned at = byte % MAX(total, 1); at >= model_kinds[kind].weight; kind++) {
		at -= model_kinds[kind].weight;
	}
	return kind;
}

static uint64_t scale(unsigned value, uint64_t limit)
{
	return value * limit >> 16;
}

/* Places and sizes odd and round, so that leaves of every size come and go. In bytes. */
static void decode_range(const struct model *model, struct model_call *call)
{
	static const uint64_t units[] = {FRAME_SIZE, MIB(2), MIB(2), GIB(1)};
	const uint8_t *byte = call->byte;
	unsigned first = byte[2] | (unsigned)byte[3] << 8;
	unsigned length = byte[4] | (unsigned)byte[5] << 8;
	uint64_t all = model->count * FRAME_SIZE;
	uint64_t unit = units[byte[6] % 4];
	gpa_t lowest = align_up(model->base, unit);

	if (lowest >= model->base + all) {
		unit = FRAME_SIZE;
		lowest = model->base;
	}
	call->start = lowest + scale(first, (model->base + all - lowest + unit - 1) / unit) * unit;
	call->start -= byte[6] % 4 == 2 && call->start > model->base ? FRAME_SIZE : 0;
	uint64_t rest = model->base + all - call->start;

	switch (byte[6] / 4 % 4) {
	case 0:
		call->size = (1 + length % 16) * FRAME_SIZE;
		break;
	case 1:
		call->size = MIB(2) * (1 + length % 4);
		break;
	case 2:
		call->size = FRAME_SIZE * (1 + scale(length, rest / FRAME_SIZE));
		break;
	default:
		call->size = length % 4 == 0 ? rest : length % 4 == 1 ? GIB(1) : FRAME_SIZE * (1 + length % 1024);
		break;
	}
	call->size = MIN(call->size, rest);
}

/* Linear areas lead into the window, at distances of every alignment. */
static int64_t decode_offset(const struct model *model, unsigned choice)
{
	static const uint64_t shifts[] = {0, GIB(1), 3 * MIB(2), 5 * FRAME_SIZE};

	return (int64_t)(align_down(model->base, GIB(1)) - MM_ARENA_WINDOW - shifts[choice]);
}

/* What callers may get wrong. */
static void make_odd(const struct model *model, struct model_call *call)
{
	switch (call->byte[2] % 13) {
	case 0:
		call->start++;
		break;
	case 1:
		call->size++;
		break;
	case 2:
		call->size = 0;
		break;
	case 3:
		call->start = model->base - FRAME_SIZE;
		break;
	case 4:
		call->size = model->base + (model->count + 1) * FRAME_SIZE - call->start;
		break;
	case 5:
		call->size = -FRAME_SIZE;
		break;
	case 6:
		call->start = -FRAME_SIZE;
		call->size = 2 * FRAME_SIZE;
		break;
	case 7:
		call->attributes.type = MM_DEVICE + 1;
		break;
	case 8:
		call->attributes.permissions = call->byte[3];
		break;
	case 9:
		call->pages = AREA_PAGES_2M + 1;
		break;
	case 10:
		call->offset++;
		break;
	case 11: /* above all that the CPU can reach */
		call->offset = (int64_t)(call->start - BIT(model->space.npt.format.output_bits));
		break;
	default: /* its last page */
		call->attributes.type = MM_DEVICE;
		call->size = FRAME_SIZE;
		call->offset = (int64_t)(call->start - BIT(model->space.npt.format.output_bits) + FRAME_SIZE);
		break;
	}
}

static struct model_call decode(const struct model *model, const uint8_t *byte)
{
	static const unsigned widths[] = {1, 2, 4, 8};
	static const uint8_t accesses[] = {MM_READ, MM_WRITE, MM_EXECUTE, MM_RW};
	struct model_call call = {.kind = kind_of(byte[0])};
	unsigned variant = byte[6] / 16;

	memcpy(call.byte, byte, sizeof(call.byte));
	decode_range(model, &call);
	unsigned permissions = byte[1] % 8;

	while (!(model->space.npt.format.legal_permissions >> permissions & 1)) {
		permissions = (permissions + 1) % 8;
	}
	call.attributes.permissions = (uint8_t)permissions;
	/* Write-back twice as often. */
	call.attributes.type = MAX(byte[1] / 8 % 6, 1) - 1;
	call.offset = decode_offset(model, byte[1] / 64);
	call.pages = byte[1] / 64 % 3;
	call.populate = variant % 3 == 0;
	call.access = accesses[variant % 4];
	call.flags = variant / 4 % 2 != 0 ? GUEST_ACCESS_FORCE : GUEST_ACCESS_DEFAULT;
	call.width = widths[variant % 4];
	call.fail_at = byte[7] % 4 == 0 ? 1 + byte[7] / 4 % 8 : 0;
	if (variant == ODD) {
		make_odd(model, &call);
	}
	return call;
}

static void describe(const struct model_call *call, char *line, size_t room)
{
	size_t length = 0;

	for (unsigned i = 0; i < MM_MODEL_CALL_BYTES; i++) {
		length += (size_t)snprintf(line + length, room - length, "%02x", call->byte[i]);
	}
	snprintf(line + length, room - length,
	         "  %s 0x%llx + 0x%llx, permissions %u, type %u, %s, pages %u, offset %lld, access %u, flags %u, "
	         "allocation %llu fails",
	         model_kinds[call->kind].name, (unsigned long long)call->start, (unsigned long long)call->size,
	         call->attributes.permissions, call->attributes.type, call->populate ? "populate" : "lazy", call->pages,
	         (long long)call->offset, call->access, call->flags, (unsigned long long)call->fail_at);
}

void mm_model_make_run(uint8_t *run, unsigned format, unsigned place, size_t calls, uint64_t *seed)
{
	run[0] = (uint8_t)format;
	run[1] = (uint8_t)place;
	for (size_t i = MM_MODEL_HEADER_BYTES; i < MM_MODEL_RUN_BYTES(calls); i++) {
		*seed = *seed * 6364136223846793005 + 1442695040888963407;
		run[i] = (uint8_t)(*seed >> 40);
	}
}

/* ---- running ---- */

static const struct npt_format *format_of(const uint8_t *run)
{
	unsigned count = mm_format_count();

	return mm_format(run[0] % count);
}

static void *map_zeros(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	MODEL_CHECK(memory != MAP_FAILED);
	return memory;
}

/* Where the space lies: across a GiB, a whole one, at the top of all, across 512 GiB, at 0. */
static void choose_place(struct model *model, const uint8_t *run)
{
	const struct npt_format *format = format_of(run);
	unsigned place = run[1] % MM_MODEL_PLACES;
	gpa_t limit = BIT(format->input_bits);
	gpa_t boundary = limit > GIB(512) ? GIB(512) : GIB(2);
	gpa_t bases[MM_MODEL_PLACES] = {GIB(1) - MIB(8), GIB(1) - MIB(4), limit - MIB(16), boundary - MIB(8), 0};

	model->base = bases[place];
	model->count = (place == 1 ? GIB(1) + MIB(8) : MIB(16)) / FRAME_SIZE;
}

static void open_model(struct model *model, const uint8_t *run)
{
	memset(model, 0, sizeof(*model));
	choose_place(model, run);
	model->pages = map_zeros(model->count * sizeof(*model->pages));
	model->shadow = map_zeros(model->count * FRAME_SIZE);
	MODEL_CHECK(addr_space_init(&model->space, model->base, model->count * FRAME_SIZE, format_of(run),
	                            &model_arena.hal) == MM_OK);
	model->fixed = model->space.npt.statistics.tables;
}

static void count_lines(void *context, const char *line)
{
	MODEL_CHECK(line[0] != '\0' && strlen(line) < 120);
	++*(unsigned *)context;
}

static void close_model(struct model *model)
{
	unsigned lines = 0;

	addr_space_dump(&model->space, count_lines, &lines);
	MODEL_CHECK(lines >= 3 + model->space.areas.count);
	addr_space_destroy(&model->space);
	munmap(model->pages, model->count * sizeof(*model->pages));
	munmap(model->shadow, model->count * FRAME_SIZE);
}

static void open_all(const uint8_t *run)
{
	/* Once: what a run leaves in it is dropped with the frames' use, or by close_all. */
	if (model_arena.memory == NULL) {
		mm_arena_init_windowed(&model_arena, ARENA_BYTES, MM_MODEL_WINDOW);
		model_window_shadow = map_zeros(MM_MODEL_WINDOW);
		model_window_written = map_zeros(MM_MODEL_WINDOW / FRAME_SIZE);
	}
	model_current = 0;
	model_arena.next = 0;
	model_arena.fail_at = 0;
	open_model(&models[0], run);
	open_model(&models[1], run);
}

static void close_all(void)
{
	close_model(&models[0]);
	close_model(&models[1]);
	MODEL_CHECK(mm_arena_held(&model_arena) == 0);
	madvise(mm_pointer(&model_arena.hal, MM_ARENA_WINDOW), MM_MODEL_WINDOW, MADV_DONTNEED);
	madvise(model_window_shadow, MM_MODEL_WINDOW, MADV_DONTNEED);
	madvise(model_window_written, MM_MODEL_WINDOW / FRAME_SIZE, MADV_DONTNEED);
}

static void make_call(const uint8_t *byte)
{
	static char line[300];
	struct model *model = &models[model_current];
	struct model_call call = decode(model, byte);

	describe(&call, line, sizeof(line));
	current_call = line;
	if (mm_model_talks) {
		fprintf(stderr, "%s\n", line);
	}
	model_arena.refused = 0;
	model_arena.refused_large = 0;
	model_arena.fail_at = call.fail_at;
	model_watch_flushes(model);
	model_kinds[call.kind].make(model, &call);
	model_arena.fail_at = 0;
}

void mm_model_run(const uint8_t *run, size_t bytes)
{
	size_t calls = bytes < MM_MODEL_HEADER_BYTES ? 0 : (bytes - MM_MODEL_HEADER_BYTES) / MM_MODEL_CALL_BYTES;

	if (calls == 0) {
		return;
	}
	current_call = "the beginning";
	open_all(run);
	for (size_t i = 0; i < calls; i++) {
		make_call(run + MM_MODEL_RUN_BYTES(i));
		if (models[0].count < LARGE_PAGES || i % LARGE_STRIDE == 0 || i == calls - 1) {
			model_check();
		}
	}
	current_call = "the end";
	close_all();
}

void mm_model_print(const uint8_t *run, size_t bytes)
{
	struct model model = {.space.npt.format = *format_of(run)};
	char line[300];

	choose_place(&model, run);
	fprintf(stderr, "%02x%02x  format %s, space 0x%llx + 0x%llx\n", run[0], run[1], format_of(run)->name,
	        (unsigned long long)model.base, (unsigned long long)(model.count * FRAME_SIZE));
	for (size_t at = MM_MODEL_HEADER_BYTES; at + MM_MODEL_CALL_BYTES <= bytes; at += MM_MODEL_CALL_BYTES) {
		struct model_call call = decode(&model, run + at);

		describe(&call, line, sizeof(line));
		fprintf(stderr, "%s\n", line);
	}
}
