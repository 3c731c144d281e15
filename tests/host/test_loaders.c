/* SPDX-License-Identifier: Apache-2.0 */
// sources: hv/loaders/*.c tests/host/mm_arena.c mm/*.c mm/formats/*.c lib/rbtree.c lib/random.c drivers/fdt.c
/*
 * The loaders of guest images: what they put where, and what they refuse.
 */
#include "loader_machine.h"

#include "drivers/fdt.h"

/* ---- ELF with a PVH note ---- */

#define ELF_SEGMENT 64
#define ELF_NOTE    (64 + 56)
#define ELF_THIRD   (64 + 2 * 56)
#define NOTE_DATA   0x200
#define TEXT_DATA   0x400

static void make_elf(void)
{
	memcpy(image, "\177ELF\2\1\1", 7);
	put(18, 2, 62);
	put(32, 8, ELF_SEGMENT); /* phoff */
	put(54, 2, 56);          /* phentsize */
	put(56, 2, 3);           /* phnum */
	put(ELF_SEGMENT, 4, 1);
	put(ELF_SEGMENT + 8, 8, TEXT_DATA);
	put(ELF_SEGMENT + 24, 8, MIB(1));
	put(ELF_SEGMENT + 32, 8, 0x100);
	put(ELF_SEGMENT + 40, 8, 0x3000);
	put(ELF_NOTE, 4, 4);
	put(ELF_NOTE + 8, 8, NOTE_DATA);
	put(ELF_NOTE + 32, 8, 20);
	put(NOTE_DATA, 4, 4);
	put(NOTE_DATA + 4, 4, 4);
	put(NOTE_DATA + 8, 4, 18);
	memcpy(image + NOTE_DATA + 12, "Xen", 4);
	put(NOTE_DATA + 16, 4, 0x100040);
	put(ELF_THIRD, 4, 1);
	put(ELF_THIRD + 8, 8, TEXT_DATA);
	put(ELF_THIRD + 24, 8, MIB(1) + 0x3000);
	put(ELF_THIRD + 32, 8, 0x40);
	put(ELF_THIRD + 40, 8, 0x1000);
	put(TEXT_DATA, 8, 0x1122334455667788);
}

static void an_elf_kernel_starts_at_its_pvh_note(void **state)
{
	(void)state;
	make_elf();
	struct loader loader = machine_loader(image, sizeof(image));
	assert_true(load_guest(&loader));
	assert_int_equal(loader.entry.mode, ENTRY_PROTECTED_32);
	assert_int_equal(loader.entry.pc, 0x100040);
	assert_true(guest_value(MIB(1), 8) == 0x1122334455667788);
	assert_int_equal(guest_value(MIB(1) + 0x100, 8), 0);
	gpa_t info = loader.entry.argument[1];
	assert_int_equal(guest_value(info, 4), 0x336ec578);
	assert_int_equal(guest_value(guest_value(info + 24, 8), 8), 0x3d656c6f736e6f63); /* "console=" */
	gpa_t memory = guest_value(info + 40, 8);
	assert_int_equal(guest_value(info + 48, 4), 3);
	assert_int_equal(guest_value(memory + 24, 8) + guest_value(memory + 32, 8), MIB(1));
	assert_int_equal(guest_value(memory + 40, 4), LOADER_RESERVED);
	assert_int_equal(guest_value(memory + 48, 8), MIB(1));
	assert_int_equal(guest_value(memory + 56, 8), RAM_BYTES - MIB(1));
	assert_int_equal(guest_value(memory + 64, 4), LOADER_RAM);
}

static void an_elf_kernel_is_refused_where_its_numbers_lie(void **state)
{
	(void)state;
	static const struct lie lies[] = {
		{18, 2, 183, "not an ELF file"},
		{4, 1, 1, "not an ELF file"},
		{54, 2, 32, "not an ELF file"},
		{32, 8, UINT64_MAX - 8, "header 0 is cut off"},
		{56, 2, 33, "at most 32"},
		{32, 8, sizeof(image) - 100, "header 1 is cut off"},
		{ELF_SEGMENT + 8, 8, UINT64_MAX, "is cut off"},
		{ELF_SEGMENT + 8, 8, sizeof(image) - 0xff, "is cut off"},
		{ELF_SEGMENT + 32, 8, 0x3001, "only 12288 in memory"},
		{ELF_SEGMENT + 40, 8, 0x3001, "overlaps"},
		{ELF_THIRD + 24, 8, MIB(1) + 0x2fff, "overlaps"},
		{ELF_THIRD + 24, 8, MIB(1), "overlaps"},
		{ELF_SEGMENT + 40, 8, UINT64_MAX, "outside the VM's memory"},
		{ELF_SEGMENT + 24, 8, RAM_BYTES - 0x1000, "outside the VM's memory"},
		{ELF_SEGMENT + 24, 8, UINT64_MAX - 0x1000, "outside the VM's memory"},
		{ELF_SEGMENT + 24, 8, 0x8000, "outside the VM's memory"},
		{NOTE_DATA + 16, 4, 0xfffff, "in no segment"},
		{NOTE_DATA + 16, 4, MIB(1) + 0x4000, "in no segment"},
		{NOTE_DATA + 8, 4, 17, "no PVH note"},
		{NOTE_DATA + 4, 4, 5, "no PVH note"},
		{NOTE_DATA, 4, UINT32_MAX, "no PVH note"},
		{ELF_NOTE + 8, 8, UINT64_MAX - 4, "no PVH note"},
	};
	assert_refused(make_elf, lies, ARRAY_SIZE(lies));
}

static void a_32_bit_entry_above_4_gib_is_refused(void **state)
{
	(void)state;
	vm.ram[1] = (struct vm_ram){GIB(4), MIB(16)};
	assert_int_equal(addr_space_map_alloc(&vm.space, GIB(4), MIB(16), RWX, false, AREA_PAGES_4K), MM_OK);
	make_elf();
	put(ELF_THIRD + 24, 8, GIB(4));
	put(NOTE_DATA + 4, 4, 8); /* descsz */
	put(NOTE_DATA + 16, 8, GIB(4));
	struct loader loader = machine_loader(image, sizeof(image));
	assert_false(load_guest(&loader));
	assert_non_null(strstr(message, "entry 0x100000000 is in no segment below 4 GiB"));
}

/* ---- bzImage ---- */

static void make_bzimage(void)
{
	image[0x1f1] = 2;                            /* setup sectors: the payload is at 0x600 */
	put(0x1f4, 4, (sizeof(image) - 0x600) / 16); /* syssize */
	image[0x201] = 0x66;
	image[0x211] = 1; /* LOADED_HIGH */
	memcpy(image + 0x202, "HdrS", 4);
	put(0x206, 2, 0x20c);
	put(0x22c, 4, 0xffffffff);
	put(0x236, 2, 1); /* XLF_KERNEL_64 */
	put(0x238, 4, 255);
	put(0x258, 8, MIB(1));
	put(0x260, 4, 0x9000);
	put(0x600, 8, 0xfeedfacecafebeef);
}

static void a_bzimage_starts_at_its_64_bit_entry_with_a_zero_page(void **state)
{
	(void)state;
	make_bzimage();
	static const char initrd[] = "an initrd";
	struct loader loader = machine_loader(image, sizeof(image));
	loader.initrd = (struct boot_file){initrd, sizeof(initrd)};
	assert_true(load_guest(&loader));
	assert_int_equal(loader.entry.mode, ENTRY_LONG_64);
	assert_int_equal(loader.entry.pc, MIB(1) + 0x200);
	assert_true(guest_value(MIB(1), 8) == 0xfeedfacecafebeef);
	gpa_t zero_page = loader.entry.argument[0];
	assert_int_equal(guest_value(zero_page + 0x202, 4), 0x53726448);
	assert_int_equal(guest_value(zero_page + 0x210, 1), 0xff);
	gpa_t at = guest_value(zero_page + 0x218, 4);
	assert_true(at > MIB(1) + 0x9000 && at + sizeof(initrd) <= RAM_BYTES && is_aligned(at, 4096));
	assert_int_equal(guest_value(at, 2), 'a' | 'n' << 8);
	assert_int_equal(guest_value(zero_page + 0x21c, 4), sizeof(initrd));
	assert_int_equal(guest_value(guest_value(zero_page + 0x228, 4), 1), 'c');
	gpa_t seed = guest_value(zero_page + 0x250, 8); /* struct setup_data */
	assert_int_equal(guest_value(seed, 8), 0);
	assert_int_equal(guest_value(seed + 8, 4), 9);
	assert_int_equal(guest_value(seed + 12, 4), 32);
	assert_true(guest_value(seed + 16, 8) == 0xa5a5a5a5a5a5a5a5 && guest_value(seed + 40, 8) == 0xa5a5a5a5a5a5a5a5);
	assert_int_equal(guest_value(zero_page + 0x1e8, 1), 3);
	assert_int_equal(guest_value(zero_page + 0x2d0 + 40, 8), MIB(1));
	assert_int_equal(guest_value(zero_page + 0x2d0 + 48, 8), RAM_BYTES - MIB(1));
}

static void the_page_tables_of_the_64_bit_entry_map_4_gib_one_to_one(void **state)
{
	(void)state;
	make_bzimage();
	struct loader loader = machine_loader(image, sizeof(image));
	assert_true(load_guest(&loader));
	gpa_t pdpt = guest_value(loader.entry.page_table, 8) & ~UINT64_C(0xfff);
	for (uint64_t gib = 0; gib < 4; gib++) {
		gpa_t directory = guest_value(pdpt + 8 * gib, 8) & ~UINT64_C(0xfff);
		for (uint64_t i = 0; i < 512; i += 73) {
			assert_int_equal(guest_value(directory + 8 * i, 8), (GIB(gib) + MIB(2) * i) | 0x83);
		}
	}
}

static void a_bzimage_without_a_64_bit_entry_starts_in_protected_mode(void **state)
{
	(void)state;
	make_bzimage();
	put(0x236, 2, 0);
	struct loader loader = machine_loader(image, sizeof(image));
	assert_true(load_guest(&loader));
	assert_int_equal(loader.entry.mode, ENTRY_PROTECTED_32);
	assert_int_equal(loader.entry.pc, MIB(1));
	assert_int_equal(guest_value(loader.entry.gdt + 0x10, 8), 0x00cf9b000000ffff);
}

static void a_kernel_older_than_setup_data_gets_no_seed(void **state)
{
	(void)state;
	make_bzimage();
	put(0x206, 2, 0x208);
	struct loader loader = machine_loader(image, sizeof(image));
	assert_true(load_guest(&loader));
	assert_int_equal(loader.entry.pc, MIB(1));
	assert_int_equal(guest_value(loader.entry.argument[0] + 0x250, 8), 0);
}

static void a_bzimage_is_refused_where_its_numbers_lie(void **state)
{
	(void)state;
	static const struct lie lies[] = {
		{0x206, 2, 0x203, "at least 2.06"},
		{0x201, 1, 0x61, "header ends at 0x263"},
		{0x211, 1, 0, "below 1 MiB"},
		{0x1f4, 4, 0x10000, "cut off"},
		{0x1f1, 1, 0x80, "cut off"},
		{0x260, 4, 0x10000000, "more memory"},
		{0x258, 8, UINT64_MAX - 0x1000, "more memory"},
		{0x258, 8, 0x1000, "more memory"},
		{0x258, 8, RAM_BYTES - 0x8000, "more memory"},
		{0x258, 8, GIB(4), "more memory"},
		{0x238, 4, 3, "this kernel takes 3"},
	};
	assert_refused(make_bzimage, lies, ARRAY_SIZE(lies));
	make_bzimage();
	struct loader loader = machine_loader(image, 0x280);
	assert_false(load_guest(&loader));
	put(0x1f4, 4, 0x200 / 16);
	loader = machine_loader(image, 0x800);
	assert_false(load_guest(&loader));
	assert_non_null(strstr(message, "64-bit entry is outside"));
	loader = machine_loader(image, 0x801);
	assert_true(load_guest(&loader));
}

static void a_kernel_that_prefers_a_place_above_4_gib_is_refused(void **state)
{
	(void)state;
	vm.ram[1] = (struct vm_ram){GIB(4), MIB(16)};
	make_bzimage();
	put(0x258, 8, GIB(4) + MIB(1));
	struct loader loader = machine_loader(image, sizeof(image));
	assert_false(load_guest(&loader));
	assert_non_null(strstr(message, "bzImage wants 36864 bytes at GPA 0x100100000"));
}

static void an_initrd_that_does_not_fit_is_refused(void **state)
{
	(void)state;
	make_bzimage();
	struct loader loader = machine_loader(image, sizeof(image));
	loader.initrd = (struct boot_file){image, RAM_BYTES};
	assert_false(load_guest(&loader));
	assert_non_null(strstr(message, "\\kernel: initrd \\initrd: 16777216 bytes do not fit"));
	assert_non_null(strstr(message, "give the VM more memory"));
	loader.initrd.bytes = UINT64_MAX;
	assert_false(load_guest(&loader));
	/* Between the kernel's end and what it takes at the highest there is less than a page. */
	put(0x22c, 4, MIB(1) + 0x9000 + 0xffe);
	loader.initrd.bytes = 0x1000;
	assert_false(load_guest(&loader));
	assert_non_null(strstr(message, "takes none above"));
	loader.initrd.bytes = 0xfff;
	assert_true(load_guest(&loader));
	assert_int_equal(guest_value(loader.entry.argument[0] + 0x218, 4), MIB(1) + 0x9000);
}

/* ---- arm64 ---- */

static void make_image(void)
{
	put(16, 8, 0x10000);
	memcpy(image + 56, "ARM\x64", 4);
}

static void an_arm64_image_finds_its_device_tree_in_x0(void **state)
{
	(void)state;
	put(8, 8, 0x80000);
	make_image();
	struct loader loader = machine_loader(image, sizeof(image));
	assert_true(load_guest(&loader));
	assert_int_equal(loader.entry.mode, ENTRY_NATIVE);
	assert_int_equal(loader.entry.pc, 0x40080000);
	assert_int_equal(loader.entry.argument[0], 0x40000000);
	static uint8_t blob[GUEST_FDT_MAX];
	assert_int_equal(guest_read(&vm.space, 0x40000000, blob, sizeof(blob), 0), sizeof(blob));
	struct fdt fdt;
	uint64_t address, bytes;
	struct uart_description uart;
	assert_true(fdt_open(&fdt, blob, sizeof(blob)));
	assert_true(fdt_reg(&fdt, fdt_find_path(&fdt, "/memory", SIZE_MAX), 0, &address, &bytes));
	assert_int_equal(address, 0x40000000);
	assert_int_equal(bytes, RAM_BYTES);
	assert_true(fdt_console(&fdt, &uart));
	assert_int_equal(uart.kind, UART_PL011);
	assert_int_equal(uart.address, 0x09000000);
	fdt_node chosen = fdt_find_path(&fdt, "/chosen", 7);
	assert_string_equal(fdt_string(&fdt, chosen, "bootargs"), "console=ttyS0");
	struct fdt_property property;
	assert_true(fdt_get(&fdt, chosen, "kaslr-seed", &property));
	assert_int_equal(property.bytes, 8);
	assert_memory_equal(property.data, "\xa5\xa5\xa5\xa5\xa5\xa5\xa5\xa5", 8);
	assert_true(fdt_get(&fdt, chosen, "rng-seed", &property));
	assert_int_equal(property.bytes, 32);
	assert_int_equal(((const uint8_t *)property.data)[31], ENTROPY_BYTE);
}

static void an_initrd_stays_in_one_window_of_32_gib_with_its_kernel(void **state)
{
	(void)state;
	make_image();
	vm.ram[0].bytes = GIB(40);
	struct loader loader = machine_loader(image, sizeof(image));
	loader.initrd = (struct boot_file){image, 0x1000};
	assert_false(load_guest(&loader)); /* this machine has no memory up there */
	assert_non_null(strstr(message, "initrd: no frame is left for 4096 bytes at GPA 0x83ffff000"));
}

static void virtio_devices_are_in_the_device_tree(void **state)
{
	(void)state;
	static uint8_t blob[GUEST_FDT_MAX];
	struct fdt fdt;
	uint64_t address, bytes;
	put(8, 8, 0x80000);
	make_image();
	vm.virtio.count = 2;
	vm.virtio.slot[0] = (struct vm_virtio_slot){.base = 0x0a000000, .line = 48};
	vm.virtio.slot[1] = (struct vm_virtio_slot){.base = 0x0a000200, .line = 49};
	struct loader loader = machine_loader(image, sizeof(image));
	assert_true(load_guest(&loader));
	assert_int_equal(guest_read(&vm.space, 0x40000000, blob, sizeof(blob), 0), sizeof(blob));
	assert_true(fdt_open(&fdt, blob, sizeof(blob)));
	fdt_node node = fdt_find_path(&fdt, "/virtio_mmio@a000200", strlen("/virtio_mmio@a000200"));
	assert_true(fdt_is_compatible(&fdt, node, "virtio,mmio"));
	assert_true(fdt_reg(&fdt, node, 0, &address, &bytes));
	assert_int_equal(address, 0x0a000200);
	assert_int_equal(bytes, VIRTIO_MMIO_BYTES);
	static const uint32_t interrupts[] = {0, 17, 4}; /* SPI, from 32 on, level high */
	struct fdt_property property;
	assert_true(fdt_get(&fdt, node, "interrupts", &property));
	for (unsigned i = 0; i < ARRAY_SIZE(interrupts); i++) {
		uint32_t cell;
		assert_true(fdt_cell(&property, i, &cell));
		assert_int_equal(cell, interrupts[i]);
	}
	assert_true(fdt_get(&fdt, fdt_find_path(&fdt, "/", 1), "dma-coherent", &property));
}

static void an_arm64_image_without_text_offset_goes_2_mib_up(void **state)
{
	(void)state;
	make_image();
	struct loader loader = machine_loader(image, sizeof(image));
	assert_true(load_guest(&loader));
	assert_int_equal(loader.entry.pc, 0x40200000);
}

static void an_arm64_image_is_refused_where_its_numbers_lie(void **state)
{
	(void)state;
	static const struct lie lies[] = {
		{8, 8, UINT64_MAX, "more memory"},
		{8, 8, RAM_BYTES, "more memory"},
		{16, 8, RAM_BYTES, "more memory"},
		{16, 8, UINT64_MAX, "more memory"},
		{24, 8, 1, "is big-endian"},
		{24, 8, 2 << 1, "the Image has pages of 16 KiB, and this CPU has none: name one of 4 KiB"},
	};
	assert_refused(make_image, lies, ARRAY_SIZE(lies));
}

static void an_arm64_image_that_is_cut_off_is_refused(void **state)
{
	(void)state;
	make_image();
	put(60, 4, 0x40); /* the PE header */
	memcpy(image + 0x40, "PE\0\0", 4);
	put(0x46, 2, 2);                               /* sections */
	put(0x54, 2, 0x10);                            /* bytes of the optional header */
	put(0x68 + 16, 4, 0x1000);                     /* the first one's bytes */
	put(0x68 + 20, 4, 0x800);                      /* and where they are */
	put(0x90 + 16, 4, sizeof(image) - 0x1800 + 1); /* the second one's */
	put(0x90 + 20, 4, 0x1800);
	struct loader loader = machine_loader(image, sizeof(image));
	assert_false(load_guest(&loader));
	assert_string_equal(message,
	                    "\\kernel: Image is cut off: it has 32768 bytes, its header says 32769; copy it again");
	put(0x90 + 16, 4, sizeof(image) - 0x1800);
	assert_true(load_guest(&loader));
	put(0x40, 1, 'X'); /* no PE file: it does not tell */
	put(0x90 + 16, 4, UINT32_MAX);
	assert_true(load_guest(&loader));
	put(60, 4, UINT32_MAX);
	assert_true(load_guest(&loader));
}

static void raw_firmware_runs_from_flash(void **state)
{
	(void)state;
	put(0, 8, 0x1234567890);
	struct loader loader = machine_loader(image, sizeof(image));
	assert_true(load_guest(&loader));
	assert_int_equal(loader.entry.pc, 0);
	assert_true(guest_value(0, 8) == 0x1234567890);
	assert_int_equal(guest_value(0x40000000, 4), 0xedfe0dd0);
	loader = machine_loader(image, MIB(2));
	assert_false(load_guest(&loader));
}

static void packed_images_are_refused_with_the_remedy(void **state)
{
	(void)state;
	for (unsigned x86 = 0; x86 < 2; x86++) {
		memcpy(image, "\x1f\x8b\x08", 3);
		struct loader loader = machine_loader(image, sizeof(image));
		assert_false(load_guest(&loader));
		assert_string_equal(message,
		                    "\\kernel: packed with gzip: unpack it with zcat, and name what comes out");
		memcpy(image, "MZ\0\0zimg", 8);
		put(8, 4, 0x1000);
		put(12, 4, 0x7000);
		loader = machine_loader(image, sizeof(image));
		assert_false(load_guest(&loader));
		assert_non_null(strstr(message, "unpack its 28672 bytes from 4096 on"));
		machine_end();
		be_x86();
		machine_start(MIB(4));
	}
}

static void images_of_another_isa_are_named(void **state)
{
	(void)state;
	make_bzimage();
	struct loader loader = machine_loader(image, sizeof(image));
	assert_false(load_guest(&loader));
	assert_non_null(strstr(message, "bzImage for x86"));
	make_elf();
	loader = machine_loader(image, sizeof(image));
	assert_false(load_guest(&loader));
	assert_non_null(strstr(message, "ELF"));
}

static void a_guest_for_which_no_frame_is_left_is_refused(void **state)
{
	(void)state;
	make_bzimage();
	for (uint64_t n = 1;; n++) {
		struct loader loader = machine_loader(image, sizeof(image));
		arena.fail_at = n;
		bool loaded = load_guest(&loader);
		bool failed = arena.fail_at == 0;
		arena.fail_at = 0;
		machine_end();
		machine_start(MIB(4));
		if (loaded && !failed) {
			break;
		}
		assert_false(loaded);
		assert_true(n < 100);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(an_elf_kernel_starts_at_its_pvh_note, setup_x86, teardown),
		cmocka_unit_test_setup_teardown(an_elf_kernel_is_refused_where_its_numbers_lie, setup_x86, teardown),
		cmocka_unit_test_setup_teardown(a_32_bit_entry_above_4_gib_is_refused, setup_x86, teardown),
		cmocka_unit_test_setup_teardown(a_bzimage_starts_at_its_64_bit_entry_with_a_zero_page, setup_x86,
	                                        teardown),
		cmocka_unit_test_setup_teardown(the_page_tables_of_the_64_bit_entry_map_4_gib_one_to_one, setup_x86,
	                                        teardown),
		cmocka_unit_test_setup_teardown(a_bzimage_without_a_64_bit_entry_starts_in_protected_mode, setup_x86,
	                                        teardown),
		cmocka_unit_test_setup_teardown(a_kernel_older_than_setup_data_gets_no_seed, setup_x86, teardown),
		cmocka_unit_test_setup_teardown(a_bzimage_is_refused_where_its_numbers_lie, setup_x86, teardown),
		cmocka_unit_test_setup_teardown(a_kernel_that_prefers_a_place_above_4_gib_is_refused, setup_x86,
	                                        teardown),
		cmocka_unit_test_setup_teardown(an_initrd_that_does_not_fit_is_refused, setup_x86, teardown),
		cmocka_unit_test_setup_teardown(an_arm64_image_finds_its_device_tree_in_x0, setup_arm64, teardown),
		cmocka_unit_test_setup_teardown(an_initrd_stays_in_one_window_of_32_gib_with_its_kernel, setup_arm64,
	                                        teardown),
		cmocka_unit_test_setup_teardown(packed_images_are_refused_with_the_remedy, setup_arm64, teardown),
		cmocka_unit_test_setup_teardown(virtio_devices_are_in_the_device_tree, setup_arm64, teardown),
		cmocka_unit_test_setup_teardown(an_arm64_image_without_text_offset_goes_2_mib_up, setup_arm64,
	                                        teardown),
		cmocka_unit_test_setup_teardown(an_arm64_image_is_refused_where_its_numbers_lie, setup_arm64, teardown),
		cmocka_unit_test_setup_teardown(an_arm64_image_that_is_cut_off_is_refused, setup_arm64, teardown),
		cmocka_unit_test_setup_teardown(raw_firmware_runs_from_flash, setup_arm64, teardown),
		cmocka_unit_test_setup_teardown(images_of_another_isa_are_named, setup_arm64, teardown),
		cmocka_unit_test_setup_teardown(a_guest_for_which_no_frame_is_left_is_refused, setup_x86, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
