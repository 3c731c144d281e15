/* SPDX-License-Identifier: Apache-2.0 */
// sources: hv/config.c
/*
 * The configuration parser on the host. `make host-tests` runs it under ASan and UBSan. Each text is copied to a
 * block of exactly its size, so that one byte read beyond it is seen.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/config.h"
#include "lib/util.h"

static struct config config;
static struct config_error error;

static bool parse_bytes(const char *text, size_t bytes)
{
	char *copy = malloc(bytes + (bytes == 0));
	assert_non_null(copy);
	memcpy(copy, text, bytes);
	bool parsed = config_parse(copy, bytes, &config, &error);
	free(copy);
	return parsed;
}

static void assert_parses(const char *text)
{
	if (!parse_bytes(text, strlen(text))) {
		fail_msg("line %u: %s", error.line, error.text);
	}
}

/* The error's line, and a part of its text. */
static void assert_refused(const char *text, unsigned line, const char *part)
{
	assert_false(parse_bytes(text, strlen(text)));
	if (!strstr(error.text, part)) {
		fail_msg("\"%s\" lacks \"%s\"", error.text, part);
	}
	assert_int_equal(error.line, line);
}

#define VM "[vm a]\nkernel = \\k\n"

static void the_demo_has_hello_in_linear_and_touch_in_lazy_memory(void **state)
{
	(void)state;
	assert_parses(config_demo);
	assert_int_equal(config.vm_count, 2);
	assert_string_equal(config.vms[0].name, "hello");
	assert_string_equal(config.vms[0].kernel, "builtin:hello");
	assert_int_equal(config.vms[0].memory, MIB(2));
	assert_int_equal(config.vms[0].backing, CONFIG_LINEAR);
	assert_string_equal(config.vms[1].name, "touch");
	assert_string_equal(config.vms[1].kernel, "builtin:touch");
	assert_int_equal(config.vms[1].memory, MIB(72));
	assert_int_equal(config.vms[1].backing, CONFIG_LAZY);
}

static void a_vm_has_defaults_for_all_but_its_kernel(void **state)
{
	(void)state;
	assert_parses("\n[vm a]\nkernel=\\k");
	const struct config_vm *vm = &config.vms[0];
	assert_string_equal(vm->kernel, "\\k");
	assert_string_equal(vm->initrd, "");
	assert_string_equal(vm->cmdline, "");
	assert_int_equal(vm->memory, MIB(64));
	assert_int_equal(vm->backing, CONFIG_LAZY);
	assert_int_equal(vm->pages, CONFIG_PAGES_AUTO);
	assert_int_equal(vm->vcpus, 1);
	assert_int_equal(vm->cpu_time, 0);
	assert_int_equal(vm->line, 2);
}

static void every_key_is_stored(void **state)
{
	(void)state;
	assert_parses("[caisson]\n[vm linux-1_B]\n"
	              "kernel = /boot/vmlinuz\ninitrd = \\initrd.img\ncmdline = console=ttyS0 quiet\nmemory = 1G\n"
	              "backing = populate\npages = 4K\nvcpus = 4\ncpu-time = 500ms\n");
	const struct config_vm *vm = &config.vms[0];
	assert_string_equal(vm->name, "linux-1_B");
	assert_string_equal(vm->kernel, "/boot/vmlinuz");
	assert_string_equal(vm->initrd, "\\initrd.img");
	assert_string_equal(vm->cmdline, "console=ttyS0 quiet");
	assert_int_equal(vm->memory, GIB(1));
	assert_int_equal(vm->backing, CONFIG_POPULATE);
	assert_int_equal(vm->pages, CONFIG_PAGES_4K);
	assert_int_equal(vm->vcpus, 4);
	assert_int_equal(vm->cpu_time, 500);
	assert_int_equal(vm->kernel_line, 3);
	assert_int_equal(vm->initrd_line, 4);
	assert_int_equal(vm->memory_line, 6);
}

static void blanks_comments_carriage_returns_and_a_byte_order_mark_do_not_matter(void **state)
{
	(void)state;
	assert_parses("\xef\xbb\xbf# caisson\r\n\r\n \t [ vm \t a ] # the first\r\n\tkernel\t=\t\\k # 1\r\n"
	              "  memory =  2M\t# two\r\n#memory = x\r\n # \xc3\xa4\r\nbacking=linear");
	assert_string_equal(config.vms[0].name, "a");
	assert_string_equal(config.vms[0].kernel, "\\k");
	assert_int_equal(config.vms[0].memory, MIB(2));
	assert_int_equal(config.vms[0].backing, CONFIG_LINEAR);
}

static void a_cmdline_is_the_rest_of_the_line_as_it_is(void **state)
{
	(void)state;
	assert_parses(VM "cmdline =  a=b  #c \"d\" [e] \n");
	assert_string_equal(config.vms[0].cmdline, "a=b  #c \"d\" [e]");
	assert_parses(VM "cmdline =\n");
	assert_string_equal(config.vms[0].cmdline, "");
}

static void a_hash_inside_a_path_is_part_of_it(void **state)
{
	(void)state;
	assert_parses("[vm a]\nkernel = \\k#1\n");
	assert_string_equal(config.vms[0].kernel, "\\k#1");
}

static void sizes_take_k_m_g_and_t(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		uint64_t bytes;
	} sizes[] = {
		{VM "memory = 4096K", MIB(4)}, {VM "memory = 1024K", MIB(1)}, {VM "memory = 1M", MIB(1)},
		{VM "memory = 3G", GIB(3)},    {VM "memory = 1T", GIB(1024)}, {VM "memory = 256T", BIT(48)},
	};
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		assert_parses(sizes[i].text);
		assert_int_equal(config.vms[0].memory, sizes[i].bytes);
	}
}

static void what_is_no_size_is_refused_with_the_remedy(void **state)
{
	(void)state;
	static const char *const wrong[] = {
		"64",
		"M",
		"64MB",
		"64m",
		"0M",
		"1023K",
		"1025K",
		"-1M",
		"+1M",
		"0x100M",
		"6 4 M",
		"257T",
		"1.5G",
		"18446744073709551616M",
		"99999999999999999999999999G",
		"64 M #",
		"1048577K",
		"18014398509481984K",
	};
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		char text[128];
		snprintf(text, sizeof(text), VM "memory = %s\n", wrong[i]);
		assert_refused(text, 3, "4096K, 64M or 1G");
	}
}

static void times_take_ms_and_s(void **state)
{
	(void)state;
	assert_parses(VM "cpu-time = 2s");
	assert_int_equal(config.vms[0].cpu_time, 2000);
	assert_refused(VM "cpu-time = 2", 3, "cpu-time: \"2\" is no time; write 500ms or 2s");
	assert_refused(VM "cpu-time = 0s", 3, "is no time");
	assert_refused(VM "cpu-time = 18446744073709551615s", 3, "is no time");
}

static void counts_of_cpus_go_from_1_to_64(void **state)
{
	(void)state;
	assert_parses(VM "vcpus = 64");
	assert_int_equal(config.vms[0].vcpus, 64);
	assert_refused(VM "vcpus = 0", 3, "vcpus: \"0\" is no number of CPUs; write a number from 1 to 64");
	assert_refused(VM "vcpus = 65", 3, "from 1 to 64");
	assert_refused(VM "vcpus = 2x", 3, "from 1 to 64");
}

static void an_unknown_choice_is_told_with_those_that_there_are(void **state)
{
	(void)state;
	assert_refused(VM "backing = fast", 3, "backing: unknown value \"fast\"; write lazy, populate or linear");
	assert_refused(VM "pages = 2M", 3, "pages: unknown value \"2M\"; write auto or 4K");
}

static void an_unknown_key_or_section_is_an_error(void **state)
{
	(void)state;
	assert_refused(VM "kernal = x", 3, "unknown key \"kernal\"; known: kernel");
	assert_refused("[caisson]\nlog = x\n" VM, 2, "unknown key \"log\"; known: run");
	assert_refused("[vn a]\n", 1, "unknown section [vn a]; write [caisson] or [vm NAME]");
	assert_refused("[]\n", 1, "unknown section []");
	assert_refused("[vma]\n", 1, "unknown section [vma]");
}

static void a_key_outside_of_any_section_is_an_error(void **state)
{
	(void)state;
	assert_refused("memory = 1M\n" VM, 1, "\"memory\" stands outside of any section");
}

static void what_is_set_twice_is_told_with_both_lines(void **state)
{
	(void)state;
	assert_refused(VM "memory = 1M\nmemory = 2M\n", 4, "memory is set again; remove this line or line 3");
	assert_refused(VM VM, 3, "[vm a] is there already, on line 1");
	assert_refused("[caisson]\n[caisson]\n", 2, "[caisson] is there already, on line 1");
}

static void the_same_key_in_two_vms_is_fine(void **state)
{
	(void)state;
	assert_parses(VM "memory = 1M\n[vm b]\nkernel = \\l\nmemory = 2M\n[caisson]\n");
	assert_int_equal(config.vm_count, 2);
	assert_int_equal(config.vms[1].memory, MIB(2));
}

static void a_vm_without_kernel_is_told_at_its_section(void **state)
{
	(void)state;
	assert_refused("[vm a]\nmemory = 1M\n\n", 1, "[vm a] has no kernel; write kernel =");
	assert_refused("[vm a]\n[vm b]\nkernel = \\k\n", 1, "[vm a] has no kernel");
	assert_refused("#\n[vm a]\n[caisson]\n", 2, "[vm a] has no kernel");
}

static void a_configuration_without_vm_is_an_error(void **state)
{
	(void)state;
	assert_refused("", 0, "no VM is configured; add a section");
	assert_refused("[caisson]\n", 0, "no VM is configured");
}

static void names_are_letters_digits_dash_and_underscore(void **state)
{
	(void)state;
	assert_refused("[vm]\n", 1, "[vm] has no name");
	assert_refused("[vm  ]\n", 1, "[vm] has no name");
	assert_refused("[vm a b]\n", 1, "the name \"a b\" is not usable");
	assert_refused("[vm a]]\n", 1, "the name \"a]\" is not usable");
	assert_parses("[vm abcdefghijklmnopqrstuvwxyzABCDE]\nkernel = \\k\n");
	assert_refused("[vm abcdefghijklmnopqrstuvwxyzABCDEF]\nkernel = \\k\n", 1, "at most 31 characters");
}

static void lines_that_are_nothing_are_told(void **state)
{
	(void)state;
	assert_refused(VM "linear\n", 3, "\"linear\" is neither a [section] nor key = value");
	assert_refused(VM "= linear\n", 3, "the key is missing");
	assert_refused(VM "memory =\n", 3, "memory has no value; write a multiple");
	assert_refused(VM "initrd = # none\n", 3, "initrd has no value");
	assert_refused("[vm a\n", 1, "the closing bracket is missing");
	assert_refused("[", 1, "the closing bracket is missing");
}

static void bytes_that_are_no_text_are_refused(void **state)
{
	(void)state;
	static const char with_nul[] = VM "memory = 1\0M\n";
	assert_false(parse_bytes(with_nul, sizeof(with_nul) - 1));
	assert_int_equal(error.line, 3);
	assert_non_null(strstr(error.text, "NUL"));
	assert_refused(VM "cmdline = a\x01 b\n", 3, "the byte 0x01 has no place here");
	assert_refused("[vm a]\nkernel = \\k\xc3\xa4\n", 2, "the byte 0xc3");
	assert_refused("[vm \x7f]\n", 1, "the byte 0x7f");
}

static void texts_fill_their_fields_to_the_last_byte_and_no_further(void **state)
{
	(void)state;
	char text[CONFIG_CMDLINE_MAX + 64];
	int head = snprintf(text, sizeof(text), VM "cmdline = ");
	memset(text + head, 'x', CONFIG_CMDLINE_MAX);
	text[head + CONFIG_CMDLINE_MAX - 1] = '\0';
	assert_parses(text);
	assert_int_equal(strlen(config.vms[0].cmdline), CONFIG_CMDLINE_MAX - 1);
	text[head + CONFIG_CMDLINE_MAX - 1] = 'x';
	text[head + CONFIG_CMDLINE_MAX] = '\0';
	assert_refused(text, 3, "has 512 characters; at most 511 fit");
}

static void thirty_two_vms_fit_and_one_more_is_told(void **state)
{
	(void)state;
	char text[4096];
	int length = 0;
	for (int i = 0; i < CONFIG_VMS_MAX; i++) {
		length += snprintf(text + length, sizeof(text) - (size_t)length, "[vm v%d]\nkernel = \\k\n", i);
	}
	assert_parses(text);
	assert_int_equal(config.vm_count, CONFIG_VMS_MAX);
	snprintf(text + length, sizeof(text) - (size_t)length, "[vm w]\nkernel = \\k\n");
	assert_refused(text, CONFIG_VMS_MAX * 2 + 1, "[vm w] is one too many");
}

static void a_message_shows_a_long_value_cut_off_and_printable(void **state)
{
	(void)state;
	assert_refused("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\x02yyyy", 1,
	               "\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...\"");
	assert_refused("a\x02z", 1, "\"a?z\"");
}

static void disks_keep_their_order_and_may_be_readonly(void **state)
{
	(void)state;
	const struct config_vm *vm = &config.vms[0];
	assert_parses(VM "disk = \\root.img\ndisk = \\data set.img \treadonly # kept\ndisk = readonly\n");
	assert_int_equal(vm->disk_count, 3);
	assert_string_equal(vm->disk[0].path, "\\root.img");
	assert_false(vm->disk[0].readonly);
	assert_int_equal(vm->disk[0].line, 3);
	assert_string_equal(vm->disk[1].path, "\\data set.img");
	assert_true(vm->disk[1].readonly);
	assert_string_equal(vm->disk[2].path, "readonly"); /* a file of that name */
	assert_false(vm->disk[2].readonly);
	assert_parses(VM "disk=a\ndisk=a\ndisk=a\ndisk=notreadonly\n");
	assert_string_equal(vm->disk[3].path, "notreadonly");
	assert_refused(VM "disk=a\ndisk=a\ndisk=a\ndisk=a\ndisk=a\n", 7, "disk: one too many; a VM has at most 4");
	assert_refused(VM "disk = # none\n", 3, "disk has no value; write disk = \\PATH");
}

static void a_network_has_a_name_and_the_console_a_kind(void **state)
{
	(void)state;
	const struct config_vm *vm = &config.vms[0];
	assert_parses(VM);
	assert_string_equal(vm->net, "");
	assert_int_equal(vm->console, CONFIG_CONSOLE_UART);
	assert_int_equal(vm->disk_count, 0);
	assert_parses(VM "net = lan-1\nconsole = virtio\n");
	assert_string_equal(vm->net, "lan-1");
	assert_int_equal(vm->console, CONFIG_CONSOLE_VIRTIO);
	assert_refused(VM "net = a b\n", 3, "net: the name \"a b\" is not usable");
	assert_refused(VM "net = 01234567890123456789012345678901\n", 3, "at most 31 fit");
	assert_refused(VM "console = vga\n", 3, "console: unknown value \"vga\"; write uart or virtio");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_demo_has_hello_in_linear_and_touch_in_lazy_memory),
		cmocka_unit_test(a_vm_has_defaults_for_all_but_its_kernel),
		cmocka_unit_test(every_key_is_stored),
		cmocka_unit_test(blanks_comments_carriage_returns_and_a_byte_order_mark_do_not_matter),
		cmocka_unit_test(a_cmdline_is_the_rest_of_the_line_as_it_is),
		cmocka_unit_test(a_hash_inside_a_path_is_part_of_it),
		cmocka_unit_test(sizes_take_k_m_g_and_t),
		cmocka_unit_test(what_is_no_size_is_refused_with_the_remedy),
		cmocka_unit_test(times_take_ms_and_s),
		cmocka_unit_test(counts_of_cpus_go_from_1_to_64),
		cmocka_unit_test(an_unknown_choice_is_told_with_those_that_there_are),
		cmocka_unit_test(an_unknown_key_or_section_is_an_error),
		cmocka_unit_test(a_key_outside_of_any_section_is_an_error),
		cmocka_unit_test(what_is_set_twice_is_told_with_both_lines),
		cmocka_unit_test(the_same_key_in_two_vms_is_fine),
		cmocka_unit_test(disks_keep_their_order_and_may_be_readonly),
		cmocka_unit_test(a_network_has_a_name_and_the_console_a_kind),
		cmocka_unit_test(a_vm_without_kernel_is_told_at_its_section),
		cmocka_unit_test(a_configuration_without_vm_is_an_error),
		cmocka_unit_test(names_are_letters_digits_dash_and_underscore),
		cmocka_unit_test(lines_that_are_nothing_are_told),
		cmocka_unit_test(bytes_that_are_no_text_are_refused),
		cmocka_unit_test(texts_fill_their_fields_to_the_last_byte_and_no_further),
		cmocka_unit_test(thirty_two_vms_fit_and_one_more_is_told),
		cmocka_unit_test(a_message_shows_a_long_value_cut_off_and_printable),
	};
	return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
