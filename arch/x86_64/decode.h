/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Instruction decoding, for MMIO (which register, which width, which way) and for the length of instructions
 * that exited where the CPU does not tell it. decode.c is pure: bytes and mode in, struct out; it builds on
 * the host, is tested against a table of encodings and fuzzed. fetch.c gets the bytes through the guest's page
 * tables. SDM vol. 2 chapters 2 and 3; APM vol. 3.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define X86_INSTRUCTION_MAX 15

enum x86_code_mode { X86_CODE_16, X86_CODE_32, X86_CODE_64 };

/* x86_instruction.operation: one of these, and for the three in the middle an enum x86_alu above it. */
enum mmio_operation {
	MMIO_NONE,    /* not an instruction that can access MMIO here: the VM is stopped with its bytes */
	MMIO_LOAD,    /* mov r, m; movzx; movsx; movsxd */
	MMIO_STORE,   /* mov m, r; mov m, imm */
	MMIO_MODIFY,  /* and m, r and the like: reads, writes, sets the flags; xchg */
	MMIO_COMPARE, /* test m, r; cmp m, imm: reads and sets the flags */
	MMIO_COMBINE, /* and r, m; cmp r, m: reads into the register and sets the flags */
	MMIO_STOS,
	MMIO_MOVS,
};
#define MMIO_CLASS(operation)     ((enum mmio_operation)((operation)&0xf))
#define MMIO_ALU(operation)       ((enum x86_alu)((operation) >> 4))
#define MMIO_OPERATION(class, op) ((class) | (op) << 4)

/* As the opcodes number them, SDM vol. 2D table A-6; the last two are ours. */
enum x86_alu { ALU_ADD, ALU_OR, ALU_ADC, ALU_SBB, ALU_AND, ALU_SUB, ALU_XOR, ALU_CMP, ALU_TEST, ALU_XCHG };

struct x86_instruction {
	uint8_t length;       /* bytes, 1 to 15 */
	uint8_t operation;    /* MMIO_CLASS and MMIO_ALU */
	uint8_t width;        /* bytes of the memory access: 1, 2, 4, 8 */
	uint8_t result_width; /* loads: bytes of the register written (4 clears the upper half) */
	bool sign_extend;     /* loads: movsx, movsxd */
	bool high_byte;       /* the register is AH, CH, DH or BH (gpr is 0 to 3 then) */
	bool immediate;       /* the value is `value`, not a register */
	uint8_t gpr;          /* 0 to 15 */
	uint64_t value;
};

/* Decodes one instruction from up to 15 bytes. False: not known, or cut off. */
bool x86_decode(const uint8_t *bytes, size_t count, enum x86_code_mode mode, struct x86_instruction *instruction);

/*
 * The length of an instruction whose opcode is known from the exit, prefixes allowed: e.g. {0x0f, 0xa2} for
 * CPUID. Returns 0 if the bytes are not that instruction.
 */
unsigned x86_opcode_length(const uint8_t *bytes, size_t count, enum x86_code_mode mode, const uint8_t *opcode,
                           size_t opcode_bytes);

/*
 * `a` op `b` of `width` bytes, and what it makes of `flags` (RFLAGS). CMP and TEST give `a` back. Not for ADC, SBB and
 * XCHG. Pure.
 */
uint64_t x86_compute(enum x86_alu op, uint64_t a, uint64_t b, unsigned width, uint64_t *flags);

/* ---- fetch.c: through the guest's page tables ---- */

struct arch_vcpu;

/* The error code of #PF, SDM vol. 3A 4.7. Of PF_WRITE and PF_USER an access is made. */
#define PF_PRESENT UINT32_C(1)
#define PF_WRITE   UINT32_C(2)
#define PF_USER    UINT32_C(4)
/*
 * GVA to GPA by the guest's own tables (none, 32-bit, PAE, 4- and 5-level) for an access to data. False: not mapped, or
 * not for such an access; *error is the page fault's code, X86_NO_ERROR_CODE: the address is not canonical. Sets no
 * A/D bits, and knows no protection keys.
 */
bool x86_guest_translate(struct arch_vcpu *vcpu, uint64_t linear, uint32_t access, uint64_t *gpa, uint32_t *error);
/*
 * The instruction at CS:RIP, by way of the cached code page: what an MMIO exit wants. Valid up to the next call. NULL:
 * as x86_decode's false.
 */
const struct x86_instruction *x86_fetch_decode(struct arch_vcpu *vcpu);
/* Up to `count` code bytes at CS:RIP; returns how many could be had. For decoding and reports. */
size_t x86_fetch(struct arch_vcpu *vcpu, uint8_t *bytes, size_t count);
enum x86_code_mode x86_code_mode(struct arch_vcpu *vcpu);
/*
 * Hot path: the length of the exiting instruction when it is `opcode` (1 to 3 bytes, no prefix) on the cached
 * code page; else the slow way. 0: it is not there (the guest changed its code under us).
 */
unsigned x86_exit_length(struct arch_vcpu *vcpu, uint64_t rip, const uint8_t *opcode, size_t opcode_bytes);
