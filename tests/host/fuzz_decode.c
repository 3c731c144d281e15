/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes the instruction decoder with bytes in memory of exactly their number, so that a read past them is found; and
 * what becomes of the instruction where it reaches a device, from the fault to the last access. Run by make
 * fuzz-decode.
 */
// sources: arch/x86_64/decode.c arch/x86_64/fetch.c arch/x86_64/string_io.c arch/x86_64/device_access.c
#include "arch/x86_64/decode.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/vcpu.h"

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

/* ---- a guest that is all input ---- */

#define MEMORY_BYTES 0x10000
#define CODE         0x1ff8 /* near the end of a page */
#define TABLES       0x8000
#define DEVICE       UINT64_C(0xfee00000)

static uint8_t memory[MEMORY_BYTES];
static struct addr_space space;
static uint64_t registers[X86_PAT + 1];
static struct x86_segment segments[X86_GS + 1];
static unsigned cpl;

size_t guest_read(struct addr_space *of, gpa_t from, void *to, size_t bytes, unsigned flags)
{
	(void)of, (void)flags;
	bytes = from < MEMORY_BYTES ? MIN(bytes, MEMORY_BYTES - from) : 0;
	memcpy(to, memory + (bytes ? from : 0), bytes);
	return bytes;
}

size_t guest_write(struct addr_space *of, gpa_t to, const void *from, size_t bytes, unsigned flags)
{
	(void)of, (void)flags;
	CHECK(to < MEMORY_BYTES || bytes == 0); /* asked of addr_space_handle_fault before */
	bytes = MIN(bytes, MEMORY_BYTES - to);
	memcpy(memory + (bytes ? to : 0), from, bytes);
	return bytes;
}

bool guest_load(struct addr_space *of, gpa_t from, unsigned width, uint64_t *value)
{
	*value = 0;
	return guest_read(of, from, value, width, 0) == width;
}

const void *guest_peek(struct addr_space *of, gpa_t address, size_t bytes)
{
	(void)of;
	return address < MEMORY_BYTES && bytes <= MEMORY_BYTES - address ? memory + address : NULL;
}

int addr_space_handle_fault(struct addr_space *of, const struct nested_fault *fault)
{
	(void)of;
	return fault->gpa < MEMORY_BYTES ? MM_OK : MM_EFAULT;
}

unsigned x86_cpl(struct arch_vcpu *vcpu)
{
	(void)vcpu;
	return cpl;
}

static uint64_t get_register(struct arch_vcpu *vcpu, enum x86_register name)
{
	(void)vcpu;
	return registers[name];
}

static void set_register(struct arch_vcpu *vcpu, enum x86_register name, uint64_t value)
{
	(void)vcpu;
	registers[name] = value;
}

static void get_segment(struct arch_vcpu *vcpu, enum x86_segment_name name, struct x86_segment *segment)
{
	(void)vcpu;
	CHECK(name <= X86_GS);
	*segment = segments[name];
}

static void inject(struct arch_vcpu *vcpu, enum x86_vector vector, uint32_t error)
{
	(void)vcpu, (void)error;
	CHECK(vector == X86_PF || vector == X86_GP || vector == X86_STACK_FAULT);
}

static const struct virt_ops ops = {
	.get = get_register, .set = set_register, .get_segment = get_segment, .inject = inject};
static struct arch_vm vm = {.space = &space, .ops = &ops};
static struct arch_vcpu vcpu;

/* The next bytes of the input; zeros after its end. */
static void take(const uint8_t **data, size_t *left, void *to, size_t bytes)
{
	size_t part = MIN(bytes, *left);
	memset(to, 0, bytes);
	memcpy(to, *data, part);
	*data += part;
	*left -= part;
}

static void make_guest(enum x86_code_mode mode, const uint8_t *data, size_t left)
{
	memset(memory, 0, sizeof(memory));
	memset(registers, 0, sizeof(registers));
	memset(&vcpu, 0, sizeof(vcpu));
	take(&data, &left, memory + CODE, X86_INSTRUCTION_MAX);
	take(&data, &left, vcpu.gpr, sizeof(vcpu.gpr));
	take(&data, &left, &registers[X86_RFLAGS], sizeof(registers[0]));
	take(&data, &left, segments, sizeof(segments));
	take(&data, &left, &cpl, 1);
	cpl %= 4;
	segments[X86_CS].attributes = mode == X86_CODE_64   ? (uint32_t)BIT(9)
	                              : mode == X86_CODE_32 ? (uint32_t)BIT(10)
	                                                    : 0;
	segments[X86_CS].base = 0;
	registers[X86_RIP] = CODE;
	if (mode == X86_CODE_64) {
		registers[X86_CR0] = CR0_PE | CR0_PG | CR0_WP;
		registers[X86_CR4] = CR4_PAE;
		registers[X86_EFER] = EFER_LMA;
		registers[X86_CR3] = TABLES;
		for (uint64_t i = 0; i < 3; i++) { /* the first 2 MiB, and what the input makes of them */
			uint64_t entry = (TABLES + (i + 1) * FRAME_SIZE) | 7;
			memcpy(memory + TABLES + i * FRAME_SIZE, &entry, sizeof(entry));
		}
		for (uint64_t i = 0; i < FRAME_SIZE / sizeof(uint64_t); i++) {
			uint64_t entry = i * FRAME_SIZE | 7;
			memcpy(memory + TABLES + 3 * FRAME_SIZE + i * sizeof(entry), &entry, sizeof(entry));
		}
	}
	vcpu.vm = &vm;
	space.generation++;
}

static void answer(struct vm_exit *exit, int kind, int expected)
{
	struct io_access *io = &exit->io;
	uint64_t rip = registers[X86_RIP];
	unsigned accesses = 0;
	while (kind == expected) {
		CHECK(is_width(io->width) && ++accesses <= 2);
		CHECK(io->width == 8 || io->value >> (8 * io->width) == 0);
		if (!io->write) {
			io->value = UINT64_MAX >> (64 - 8 * io->width);
		}
		arch_vcpu_finish_io(&vcpu, io);
		if (!(vcpu.request & X86_REQUEST_ACCESS)) {
			CHECK(registers[X86_RIP] - rip <= X86_INSTRUCTION_MAX);
			return;
		}
		CHECK(registers[X86_RIP] == rip);
		kind = x86_second_access(&vcpu, exit);
	}
	CHECK(kind == VM_EXIT_NESTED_FAULT || kind == VM_EXIT_FAILED || kind == X86_RUN_ON);
}

static void check_access(enum x86_code_mode mode, uint8_t kind, const uint8_t *data, size_t left)
{
	struct vm_exit exit = {.fault = {.gpa = DEVICE, .access = kind & 1 ? MM_WRITE : MM_READ}};
	make_guest(mode, data, left);
	if (kind & 2) {
		answer(&exit, x86_string_io(&vcpu, &exit, 0x3f8, (uint8_t)(1 << (kind >> 2) % 3), kind & 1),
		       VM_EXIT_PORT);
	} else {
		answer(&exit, x86_device_fault(&vcpu, &exit), VM_EXIT_MMIO);
	}
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
	if (data[0] & 0x80) {
		check_access(mode, data[0] / 3 % 16, data + 1, size - 1);
		return 0;
	}
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
