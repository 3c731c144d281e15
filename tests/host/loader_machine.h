/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM without a CPU, for the tests and the fuzzer of the loaders: an arena's memory behind an address space, and
 * the few things that loaders ask of the architecture. Included by one C file a program.
 */
#pragma once

#include <string.h>

#include "hv/entropy.h"
#include "hv/loaders/loader.h"
#include "mm_arena.h"

#define RAM_BYTES MIB(16)

/* Loaders choose by the ISA: tests play both. */
static struct arch_platform platform;

static struct mm_arena arena;
static struct vm vm;
static struct config_vm config;
static char message[240];

/* The platform is constant to everybody else. */
extern const struct arch_platform arch_platform __attribute__((alias("platform")));

void arch_clean_guest_memory(const void *memory, size_t bytes)
{
	(void)memory;
	(void)bytes;
}

bool arch_has_pages(uint64_t bytes)
{
	return bytes != KIB(16);
}

unsigned arch_vm_devices(const struct arch_vm *arch_vm, struct arch_vm_device *devices, unsigned count)
{
	(void)arch_vm;
	if (count >= 1) {
		devices[0] = (struct arch_vm_device){"gicd", 0x08000000, 0x10000};
	}
	return 1;
}

unsigned arch_vm_gic_version(const struct arch_vm *arch_vm)
{
	(void)arch_vm;
	return 3;
}

/* Bytes that can be told from memory that nobody wrote. */
#define ENTROPY_BYTE 0xa5
void entropy_get(void *to, size_t bytes)
{
	memset(to, ENTROPY_BYTE, bytes);
}

static void be_x86(void)
{
	platform = (struct arch_platform){.isa = "x86_64", .elf_machine = 62};
}

static void be_arm64(void)
{
	platform = (struct arch_platform){
		.isa = "aarch64",
		.elf_machine = 183,
		.ram_base = 0x40000000,
		.flash_bytes = MIB(1),
		.console_mmio = 0x09000000,
		.console_irq = 33,
	};
}

static void machine_start(uint64_t arena_bytes)
{
	mm_arena_init(&arena, arena_bytes);
	memset(&vm, 0, sizeof(vm));
	config = (struct config_vm){.memory = RAM_BYTES, .vcpus = 1, .kernel = "\\kernel", .initrd = "\\initrd"};
	vm.config = &config;
	vm.ram[0] = (struct vm_ram){platform.ram_base, RAM_BYTES};
	assert_true(mm_format_count() > 0); /* makes them */
	assert_int_equal(addr_space_init(&vm.space, 0, GIB(8), mm_format(0), &arena.hal), MM_OK);
	assert_int_equal(addr_space_map_alloc(&vm.space, platform.ram_base, RAM_BYTES, RWX, false, AREA_PAGES_4K),
	                 MM_OK);
	if (platform.flash_bytes > 0) {
		assert_int_equal(addr_space_map_alloc(&vm.space, 0, platform.flash_bytes, RX, false, AREA_PAGES_4K),
		                 MM_OK);
	}
}

static void machine_end(void)
{
	addr_space_destroy(&vm.space);
	mm_arena_fini(&arena);
}

static struct loader machine_loader(const void *kernel, size_t bytes)
{
	message[0] = '\0';
	return (struct loader){
		.vm = &vm,
		.kernel = {kernel, bytes},
		.cmdline = "console=ttyS0",
		.message = message,
		.message_size = sizeof(message),
	};
}

/* ---- the image to be loaded ---- */

static uint8_t image[0x8000];

static inline void put(size_t at, unsigned bytes, uint64_t value)
{
	memcpy(image + at, &value, bytes);
}

static inline uint64_t guest_value(gpa_t at, unsigned bytes)
{
	uint64_t value = 0;
	assert_int_equal(guest_read(&vm.space, at, &value, bytes, GUEST_ACCESS_FORCE), bytes);
	return value;
}

static inline int setup_x86(void **state)
{
	(void)state;
	memset(image, 0, sizeof(image));
	be_x86();
	machine_start(MIB(4));
	return 0;
}

static inline int setup_arm64(void **state)
{
	(void)state;
	memset(image, 0, sizeof(image));
	be_arm64();
	machine_start(MIB(4));
	return 0;
}

static inline int teardown(void **state)
{
	(void)state;
	machine_end();
	return 0;
}

/* A number in an image that cannot be true, and what the message has about it. */
struct lie {
	size_t at;
	unsigned bytes;
	uint64_t value;
	const char *message;
};

static inline void assert_refused(void (*make)(void), const struct lie *lies, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		memset(image, 0, sizeof(image));
		make();
		put(lies[i].at, lies[i].bytes, lies[i].value);
		struct loader loader = machine_loader(image, sizeof(image));
		assert_false(load_guest(&loader));
		if (!strstr(message, lies[i].message)) {
			fail_msg("\"%s\" is not in \"%s\"", lies[i].message, message);
		}
	}
}
