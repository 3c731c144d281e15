/* SPDX-License-Identifier: Apache-2.0 */
// sources: hv/loaders/*.c tests/host/mm_arena.c mm/*.c mm/formats/*.c lib/rbtree.c lib/random.c
/*
 * libFuzzer target: any bytes as a kernel, on both ISAs. The first byte chooses the ISA, whether there is an initrd,
 * and a format whose magic is put in place, for no fuzzer guesses four bytes. Nothing may be read outside the file,
 * an entry must be in the guest's memory, and every frame must come back.
 */
#include <stdlib.h>

#include "loader_machine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHOICE_ARM64        1
#define CHOICE_INITRD       2
#define CHOICE_FORMAT_SHIFT 2

#define MULTIBOOT_AT 0x80

/* What makes the format's loader look at the rest: magics, sizes of tables, versions. */
static const struct stamp {
	size_t at, bytes;
	const char *value;
} stamps[][4] = {
	{{0}},
	{{0, 5, "\177ELF\2"}, {18, 2, "\x3e\0"}, {54, 2, "\x38\0"}, {57, 1, "\0"}},
	{{0, 5, "\177ELF\1"}, {18, 2, "\3\0"}, {42, 2, "\x20\0"}, {45, 1, "\0"}},
	{{0x201, 7, "\x66HdrS\xf\2"}, {0x211, 1, "\1"}},
	{{MULTIBOOT_AT, 12, "\2\xb0\xad\x1b\3\0\1\0\xfb\x4f\x51\xe4"}},
	{{0, 5, "\177ELF\1"},
         {18, 2, "\3\0"},
         {42, 4, "\x20\0\3\0"},
         {MULTIBOOT_AT, 12, "\2\xb0\xad\x1b\3\0\0\0\xfb\x4f\x52\xe4"}},
	{{56, 4, "ARM\x64"}},
	{{4, 4, "zimg"}},
};

static void stamp(uint8_t *kernel, size_t bytes, const struct stamp *stamps_of_format)
{
	for (unsigned i = 0; i < ARRAY_SIZE(stamps[0]); i++) {
		const struct stamp *stamp = &stamps_of_format[i];
		if (stamp->value && stamp->at + stamp->bytes <= bytes) {
			memcpy(kernel + stamp->at, stamp->value, stamp->bytes);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0) {
		return 0;
	}
	if (data[0] & CHOICE_ARM64) {
		be_arm64();
	} else {
		be_x86();
	}
	/* Of its own, so that the sanitizer knows where the file ends. */
	uint8_t *kernel = malloc(size - 1);
	assert_true(kernel || size == 1);
	memcpy(kernel, data + 1, size - 1);
	stamp(kernel, size - 1, stamps[(data[0] >> CHOICE_FORMAT_SHIFT) % ARRAY_SIZE(stamps)]);
	machine_start(MIB(4));
	struct loader loader = machine_loader(kernel, size - 1);
	if (data[0] & CHOICE_INITRD) {
		loader.initrd = loader.kernel;
	}
	if (load_guest(&loader)) {
		assert_true(loader.entry.pc < platform.flash_bytes || loader_in_ram(&loader, loader.entry.pc, 1));
	} else {
		assert_true(message[0] != '\0');
	}
	machine_end();
	free(kernel);
	return 0;
}
