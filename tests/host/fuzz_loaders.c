/* SPDX-License-Identifier: Apache-2.0 */
// sources: hv/loaders/*.c tests/host/mm_arena.c mm/*.c mm/formats/*.c lib/rbtree.c
/*
 * libFuzzer target: any bytes as a kernel, on both ISAs. The first byte chooses the ISA and whether there is an
 * initrd. Nothing may be read outside the file, and every frame must come back.
 */
#include "loader_machine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHOICE_ARM64  1
#define CHOICE_INITRD 2

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
	machine_start(MIB(4));
	struct loader loader = machine_loader(data + 1, size - 1);
	if (data[0] & CHOICE_INITRD) {
		loader.initrd = loader.kernel;
	}
	if (!load_guest(&loader)) {
		assert_true(message[0] != '\0');
	}
	machine_end();
	return 0;
}
