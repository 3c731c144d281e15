/* SPDX-License-Identifier: Apache-2.0 */
// sources: hv/loaders/*.c tests/host/mm_arena.c mm/*.c mm/formats/*.c lib/rbtree.c lib/random.c
/*
 * Multiboot kernels: what they find at their entry, and what of their headers is not believed.
 */
#include "loader_machine.h"

#define HEADER      0x100
#define ELF_SEGMENT 52
#define TEXT        0x200
#define TEXT_AT     MIB(2)
#define INFO(n)     (loader.entry.argument[1] + 4 * (n))

static void make_header(uint32_t flags)
{
	put(HEADER, 4, 0x1badb002);
	put(HEADER + 4, 4, flags);
	put(HEADER + 8, 4, 0 - (0x1badb002U + flags));
}

/* ELF32, its entry a virtual address. */
static void make_elf(void)
{
	memcpy(image, "\177ELF\1\1\1", 7);
	put(18, 2, 3);
	put(24, 4, 0xc0000010);  /* entry */
	put(28, 4, ELF_SEGMENT); /* phoff */
	put(42, 2, 32);          /* phentsize */
	put(44, 2, 1);           /* phnum */
	put(ELF_SEGMENT, 4, 1);
	put(ELF_SEGMENT + 4, 4, TEXT);
	put(ELF_SEGMENT + 8, 4, 0xc0000000);
	put(ELF_SEGMENT + 12, 4, TEXT_AT);
	put(ELF_SEGMENT + 16, 4, 0x40);
	put(ELF_SEGMENT + 20, 4, 0x2000);
	put(TEXT, 8, 0x1122334455667788);
	make_header(3);
}

/* A flat file that goes to TEXT_AT from its byte 0x80 on, with 4 KiB behind its end. */
static void make_flat(void)
{
	make_header(0x10003);
	put(HEADER + 12, 4, TEXT_AT + 0x80); /* header_addr */
	put(HEADER + 16, 4, TEXT_AT);        /* load_addr */
	put(HEADER + 20, 4, TEXT_AT + 0x1000);
	put(HEADER + 24, 4, TEXT_AT + 0x2000);
	put(HEADER + 28, 4, TEXT_AT + 0x180);
	put(TEXT, 8, 0x1122334455667788);
}

static void assert_string_at(gpa_t at, const char *text)
{
	char is[64] = "";
	assert_int_equal(guest_read(&vm.space, at, is, strlen(text) + 1, 0), strlen(text) + 1);
	assert_string_equal(is, text);
}

static void an_elf32_kernel_finds_memory_module_and_words(void **state)
{
	(void)state;
	static const char module[] = "a module";
	make_elf();
	struct loader loader = machine_loader(image, sizeof(image));
	loader.initrd = (struct boot_file){module, sizeof(module)};
	assert_true(load_guest(&loader));
	assert_int_equal(loader.entry.mode, ENTRY_PROTECTED_32);
	assert_int_equal(loader.entry.pc, TEXT_AT + 0x10);
	assert_int_equal(loader.entry.argument[2], 0x2badb002);
	assert_true(guest_value(TEXT_AT, 8) == 0x1122334455667788);
	assert_int_equal(guest_value(TEXT_AT + 0x40, 8), 0);

	assert_int_equal(guest_value(INFO(0), 4), 1 | 4 | 8 | 64 | 512);
	assert_int_equal(guest_value(INFO(1), 4), 639);
	assert_int_equal(guest_value(0x40e, 2), 0x9fc0); /* the BIOS data area's two words */
	assert_int_equal(guest_value(0x413, 2), 639);
	assert_int_equal(guest_value(INFO(2), 4), (RAM_BYTES - MIB(1)) / 1024);
	assert_string_at(guest_value(INFO(4), 4), "\\kernel console=ttyS0");
	assert_int_equal(guest_value(INFO(5), 4), 1);
	gpa_t list = guest_value(INFO(6), 4);
	gpa_t start = guest_value(list, 4);
	assert_true(is_aligned(start, 4096) && start >= TEXT_AT + 0x2000);
	assert_int_equal(guest_value(list + 4, 4), start + sizeof(module));
	assert_string_at(start, module);
	assert_string_at(guest_value(list + 8, 4), "\\initrd");
	assert_string_at(guest_value(INFO(16), 4), "caisson");
}

static void the_memory_map_is_a_pcs(void **state)
{
	(void)state;
	make_elf();
	vm.ram[1] = (struct vm_ram){GIB(4), MIB(64)};
	struct loader loader = machine_loader(image, sizeof(image));
	assert_true(load_guest(&loader));
	const uint64_t map[][3] = {
		{0, 0x9fc00, 1}, {0x9fc00, 0x60400, 2}, {MIB(1), RAM_BYTES - MIB(1), 1}, {GIB(4), MIB(64), 1}};
	gpa_t at = guest_value(INFO(12), 4);
	assert_int_equal(guest_value(INFO(11), 4), ARRAY_SIZE(map) * 24);
	for (size_t i = 0; i < ARRAY_SIZE(map); i++, at += 24) {
		assert_int_equal(guest_value(at, 4), 20);
		assert_true(guest_value(at + 4, 8) == map[i][0]);
		assert_int_equal(guest_value(at + 12, 8), map[i][1]);
		assert_int_equal(guest_value(at + 20, 4), map[i][2]);
	}
	assert_int_equal(guest_value(INFO(5), 4), 0); /* no module */
}

static void a_flat_kernel_goes_where_its_header_says(void **state)
{
	(void)state;
	make_flat();
	struct loader loader = machine_loader(image, sizeof(image));
	assert_true(load_guest(&loader));
	assert_int_equal(loader.entry.pc, TEXT_AT + 0x180);
	assert_true(guest_value(TEXT_AT + TEXT - 0x80, 8) == 0x1122334455667788);
	assert_int_equal(guest_value(TEXT_AT + 0x80, 4), 0x1badb002);
	/* Without ends it is the whole file, and nothing behind it. */
	put(HEADER + 20, 8, 0);
	put(sizeof(image) - 8, 8, 0xfeedfacecafebeef);
	assert_true(load_guest(&loader));
	assert_true(guest_value(TEXT_AT + sizeof(image) - 0x80 - 8, 8) == 0xfeedfacecafebeef);
}

static void a_header_is_found_in_the_first_8_kib_only(void **state)
{
	(void)state;
	static const struct {
		size_t at;
		bool found;
	} places[] = {{0x400, true}, {0x402, false}, {8192 - 12, true}, {8192 - 8, false}};
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		memset(image, 0, sizeof(image));
		make_elf();
		memmove(image + places[i].at, image + HEADER, 12);
		memset(image + HEADER, 0, 12);
		struct loader loader = machine_loader(image, sizeof(image));
		assert_int_equal(load_guest(&loader), places[i].found);
	}
}

static void an_elf32_kernel_is_refused_where_its_numbers_lie(void **state)
{
	(void)state;
	static const struct lie lies[] = {
		{HEADER + 8, 4, 0, "no PVH note (XEN_ELFNOTE_PHYS32_ENTRY) and no multiboot header"},
		{18, 2, 62, "not an ELF file"},
		{42, 2, 56, "not an ELF file"},
		{28, 4, UINT32_MAX, "header 0 is cut off"},
		{44, 2, 33, "33 program headers"},
		{24, 4, 0xc0002000, "entry 0xc0002000 is in no segment"},
		{24, 4, TEXT_AT - 1, "in no segment"},
		{ELF_SEGMENT, 4, 2, "in no segment"},
		{ELF_SEGMENT + 4, 4, UINT32_MAX, "cut off"},
		{ELF_SEGMENT + 16, 4, 0x2001, "only 8192 in memory"},
		{ELF_SEGMENT + 20, 4, UINT32_MAX, "outside the VM's memory"},
		{ELF_SEGMENT + 12, 4, 0x7000, "outside the VM's memory"},
		{ELF_SEGMENT + 12, 4, UINT32_MAX - 0xfff, "outside the VM's memory"},
	};
	assert_refused(make_elf, lies, ARRAY_SIZE(lies));
}

static void a_flat_kernel_is_refused_where_its_addresses_lie(void **state)
{
	(void)state;
	static const struct lie lies[] = {
		{HEADER + 12, 4, TEXT_AT - 1, "contradict"},      {HEADER + 12, 4, TEXT_AT + 0x101, "contradict"},
		{HEADER + 20, 4, TEXT_AT - 1, "contradict"},      {HEADER + 24, 4, TEXT_AT - 1, "contradict"},
		{HEADER + 24, 4, TEXT_AT + 0x181, "in memory"},   {HEADER + 20, 4, TEXT_AT + 0x8000, "in memory"},
		{HEADER + 24, 4, UINT32_MAX, "outside the VM's"}, {HEADER + 28, 4, TEXT_AT + 0x2000, "in no segment"},
		{HEADER + 28, 4, TEXT_AT - 1, "in no segment"},
	};
	assert_refused(make_flat, lies, ARRAY_SIZE(lies));
	make_flat();
	put(HEADER + 20, 4, TEXT_AT + 0x9000);
	put(HEADER + 24, 4, TEXT_AT + 0x9000);
	struct loader loader = machine_loader(image, sizeof(image));
	assert_false(load_guest(&loader));
	assert_non_null(strstr(message, "is cut off"));
	/* A file that ends within its header is no multiboot kernel. */
	loader = machine_loader(image, HEADER + 28);
	assert_false(load_guest(&loader));
	assert_non_null(strstr(message, "nor a multiboot kernel"));
}

static void what_a_header_asks_for_and_no_guest_has_is_named(void **state)
{
	(void)state;
	make_elf();
	make_header(7);
	struct loader loader = machine_loader(image, sizeof(image));
	assert_false(load_guest(&loader));
	assert_string_equal(message, "\\kernel: multiboot header at 0x100 asks for what no guest here has, a screen: "
	                             "clear its flags 0x4");
	make_header(0x8003);
	assert_false(load_guest(&loader));
	assert_non_null(strstr(message, "clear its flags 0x8000"));
	make_header(0x100003 & ~0x10000); /* one that a loader may ignore */
	assert_true(load_guest(&loader));
}

static void a_module_that_does_not_fit_is_refused(void **state)
{
	(void)state;
	make_elf();
	struct loader loader = machine_loader(image, sizeof(image));
	loader.initrd = (struct boot_file){image, RAM_BYTES - TEXT_AT - 0x1fff};
	assert_false(load_guest(&loader));
	assert_non_null(strstr(message, "give the VM more memory"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(an_elf32_kernel_finds_memory_module_and_words, setup_x86, teardown),
		cmocka_unit_test_setup_teardown(the_memory_map_is_a_pcs, setup_x86, teardown),
		cmocka_unit_test_setup_teardown(a_flat_kernel_goes_where_its_header_says, setup_x86, teardown),
		cmocka_unit_test_setup_teardown(a_header_is_found_in_the_first_8_kib_only, setup_x86, teardown),
		cmocka_unit_test_setup_teardown(an_elf32_kernel_is_refused_where_its_numbers_lie, setup_x86, teardown),
		cmocka_unit_test_setup_teardown(a_flat_kernel_is_refused_where_its_addresses_lie, setup_x86, teardown),
		cmocka_unit_test_setup_teardown(what_a_header_asks_for_and_no_guest_has_is_named, setup_x86, teardown),
		cmocka_unit_test_setup_teardown(a_module_that_does_not_fit_is_refused, setup_x86, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
