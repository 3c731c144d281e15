/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes the instruction decoder with bytes in memory of exactly their number, so that a read past them is found.
 * Run by make fuzz-decode.
 */
// sources: arch/x86_64/decode.c
#include "arch/x86_64/decode.h"

#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                                               \
	do {                                                                                                           \
		if (!(condition)) {                                                                                    \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)

static bool is_width(unsigned width)
{
	return width == 1 || width == 2 || width == 4 || width == 8;
}

static void check_instruction(const uint8_t *bytes, size_t count, enum x86_code_mode mode)
{
	struct x86_instruction first, again;

	if (!x86_decode(bytes, count, mode, &first)) {
		return;
	}
	CHECK(first.length >= 1 && first.length <= count && first.length <= X86_INSTRUCTION_MAX);
	enum mmio_operation class = MMIO_CLASS(first.operation);
	CHECK(class <= MMIO_MOVS && MMIO_ALU(first.operation) <= ALU_XCHG);
	CHECK(MMIO_ALU(first.operation) == 0 || (class >= MMIO_MODIFY && class <= MMIO_COMBINE));
	CHECK(is_width(first.width) && is_width(first.result_width) && first.width <= first.result_width);
	CHECK(first.gpr < (mode == X86_CODE_64 ? 16 : 8));
	CHECK(!first.high_byte || (first.gpr < 4 && first.width == 1));
	CHECK(mode == X86_CODE_64 || first.result_width <= 4);
	CHECK(!first.immediate || first.width == 8 || first.value >> (8 * first.width) == 0);
	/* What follows an instruction does not change it, and less than all of it is none. */
	CHECK(x86_decode(bytes, first.length, mode, &again) && memcmp(&first, &again, sizeof(first)) == 0);
	CHECK(!x86_decode(bytes, first.length - 1U, mode, &again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t opcodes[][3] = {{0x0f, 0xa2}, {0x0f, 0x01, 0xd9}, {0xf4}};
	static const size_t opcode_bytes[] = {2, 3, 1};

	if (size == 0) {
		return 0;
	}
	enum x86_code_mode mode = data[0] % 3;
	size_t count = size - 1;
	uint8_t *bytes = malloc(count == 0 ? 1 : count);
	memcpy(bytes, data + 1, count);
	check_instruction(bytes, count, mode);
	for (size_t i = 0; i < sizeof(opcode_bytes) / sizeof(opcode_bytes[0]); i++) {
		unsigned length = x86_opcode_length(bytes, count, mode, opcodes[i], opcode_bytes[i]);
		CHECK(length == 0 || (length >= opcode_bytes[i] && length <= count && length <= X86_INSTRUCTION_MAX));
		CHECK(length == 0 || memcmp(bytes + length - opcode_bytes[i], opcodes[i], opcode_bytes[i]) == 0);
	}
	free(bytes);
	return 0;
}
