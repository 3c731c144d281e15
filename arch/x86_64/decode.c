/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pure part of instruction decoding: bytes and mode in, struct out. Called by fetch.c and by whoever has the
 * bytes already. It knows the instructions with which software accesses device registers; what it does not know it
 * refuses. Never reads past the bytes it was given. Every MMIO exit comes through here: what an opcode means is
 * looked up, not branched over. SDM vol. 2A chapter 2, vol. 2D appendix A; APM vol. 3 chapter 1 and appendix A.
 */
#include "decode.h"

#include "lib/util.h"

/* What a byte of the opcode tables stands for; 0: unknown. From bit 16 on, x86_instruction.operation, 0: a move. */
enum opcode_flags {
	MODRM = BIT(0),     /* register or memory operand by ModRM */
	OFFSET = BIT(1),    /* the memory operand's address stands in the instruction, the register is rAX */
	STORES = BIT(2),    /* the memory operand is written, else read */
	IMMEDIATE = BIT(3), /* the other operand follows; with a move, ModRM.reg must be 0 */
	BYTE = BIT(4),      /* the memory operand has one byte, */
	WORD = BIT(5),      /* two, */
	LONG = BIT(6),      /* four, or two where the operand size is that; else always the full operand size */
	EXTENDS = BIT(7),   /* the register has the full operand size all the same */
	SIGN = BIT(8),      /* and is sign-extended; of an immediate: it has one byte and is sign-extended */
	ONLY_64 = BIT(9),   /* another instruction outside 64-bit mode */

	PREFIX = BIT(10), /* alone: a segment or REP, which change nothing about a move */
	OPERAND_SIZE = BIT(11),
	ADDRESS_SIZE = BIT(12),
	REX = BIT(13),
	TWO_BYTE = BIT(14), /* the opcode goes on in the second table */
	LOCK = BIT(15),     /* with what modifies memory only */
};
#define DOES(class, op)  ((uint32_t)MMIO_OPERATION(class, op) << 16)
#define OPERATION(flags) ((flags) >> 16)
#define GROUP            DOES(MMIO_MODIFY, 0) /* ModRM.reg tells which */
#define ALU_ROW(op, does)                                                                                              \
	[(op)*8] = MODRM | BYTE | DOES(does, op), [(op)*8 + 1] = MODRM | DOES(does, op),                               \
	[(op)*8 + 2] = MODRM | BYTE | DOES(MMIO_COMBINE, op), [(op)*8 + 3] = MODRM | DOES(MMIO_COMBINE, op)

static const uint32_t one_byte[256] = {
	ALU_ROW(ALU_ADD, MMIO_MODIFY),
	ALU_ROW(ALU_OR, MMIO_MODIFY),
	[0x0f] = TWO_BYTE,
	ALU_ROW(ALU_AND, MMIO_MODIFY),
	[0x26] = PREFIX,
	ALU_ROW(ALU_SUB, MMIO_MODIFY),
	[0x2e] = PREFIX,
	ALU_ROW(ALU_XOR, MMIO_MODIFY),
	[0x36] = PREFIX,
	ALU_ROW(ALU_CMP, MMIO_COMPARE),
	[0x3e] = PREFIX,
	[0x40 ... 0x4f] = PREFIX | REX,
	[0x63] = MODRM | LONG | EXTENDS | SIGN | ONLY_64, /* movsxd */
	[0x64] = PREFIX,
	[0x65] = PREFIX,
	[0x66] = PREFIX | OPERAND_SIZE,
	[0x67] = PREFIX | ADDRESS_SIZE,
	[0x80] = MODRM | IMMEDIATE | BYTE | GROUP,
	[0x81] = MODRM | IMMEDIATE | GROUP,
	[0x83] = MODRM | IMMEDIATE | SIGN | GROUP,
	[0x84] = MODRM | BYTE | DOES(MMIO_COMPARE, ALU_TEST),
	[0x85] = MODRM | DOES(MMIO_COMPARE, ALU_TEST),
	[0x86] = MODRM | BYTE | DOES(MMIO_MODIFY, ALU_XCHG),
	[0x87] = MODRM | DOES(MMIO_MODIFY, ALU_XCHG),
	[0x88] = MODRM | STORES | BYTE, /* mov */
	[0x89] = MODRM | STORES,
	[0x8a] = MODRM | BYTE,
	[0x8b] = MODRM,
	[0xa0] = OFFSET | BYTE,
	[0xa1] = OFFSET,
	[0xa2] = OFFSET | STORES | BYTE,
	[0xa3] = OFFSET | STORES,
	[0xa4] = BYTE | DOES(MMIO_MOVS, 0),
	[0xa5] = DOES(MMIO_MOVS, 0),
	[0xaa] = BYTE | DOES(MMIO_STOS, 0),
	[0xab] = DOES(MMIO_STOS, 0),
	[0xc6] = MODRM | STORES | IMMEDIATE | BYTE,
	[0xc7] = MODRM | STORES | IMMEDIATE,
	[0xf0] = PREFIX | LOCK,
	[0xf2] = PREFIX,
	[0xf3] = PREFIX,
	[0xf6] = MODRM | IMMEDIATE | BYTE | DOES(MMIO_COMPARE, ALU_TEST), /* ModRM.reg 0 only */
	[0xf7] = MODRM | IMMEDIATE | DOES(MMIO_COMPARE, ALU_TEST),
};

static const uint32_t two_byte[256] = {
	[0xb6] = MODRM | BYTE | EXTENDS, /* movzx */
	[0xb7] = MODRM | WORD | EXTENDS,
	[0xbe] = MODRM | BYTE | EXTENDS | SIGN, /* movsx */
	[0xbf] = MODRM | WORD | EXTENDS | SIGN,
};

#define REX_W 8
#define REX_R 4

/* Bytes of operands and addresses by mode and prefixes: SDM vol. 1 tables 3-3 and 3-4. */
struct sizes {
	uint8_t operand, address;
};
#define SIZE_OPERAND_PREFIX 1 /* bits of the index */
#define SIZE_ADDRESS_PREFIX 2
#define SIZE_REX_W          4
static const struct sizes sizes[3][8] = {
	[X86_CODE_16] = {{2, 2}, {4, 2}, {2, 4}, {4, 4}},
	[X86_CODE_32] = {{4, 4}, {2, 4}, {4, 2}, {2, 2}},
	[X86_CODE_64] = {{4, 8}, {2, 8}, {4, 4}, {2, 4}, {8, 8}, {8, 8}, {8, 4}, {8, 4}},
};

/*
 * Bytes behind the ModRM byte by its mod and rm fields, mod * 8 + rm: SDM vol. 2A tables 2-1 and 2-2. With NEEDS_SIB
 * there is a SIB byte more, and its base may ask for a displacement where mod does not.
 */
#define NEEDS_SIB 0x40
#define NO_MEMORY 0x80
#define FOUR(n)   n, n, n, n
#define REGISTERS FOUR(NO_MEMORY), FOUR(NO_MEMORY)
static const uint8_t address_16[32] = {0, 0, 0, 0, 0, 0, 2, 0, FOUR(1), FOUR(1), FOUR(2), FOUR(2), REGISTERS};
static const uint8_t address_32[32] = {
	0,         0, 0, 0, NEEDS_SIB,     4, 0, 0, /* 5: RIP-relative in 64-bit mode */
	1,         1, 1, 1, NEEDS_SIB | 1, 1, 1, 1, /* */
	4,         4, 4, 4, NEEDS_SIB | 4, 4, 4, 4, /* */
	REGISTERS,
};
#define SIB_NO_BASE     5 /* with mod 0: 32 bits of displacement instead */
#define FIRST_HIGH_BYTE 4 /* AH, CH, DH, BH without REX */

/* An opcode with its prefixes. */
struct opcode {
	unsigned flags; /* enum opcode_flags */
	unsigned rex;   /* the last prefix, if it was a REX; else 0 */
	bool locked;
	size_t bytes;
	struct sizes sizes;
};

/* False: unknown, or cut off. A REX prefix counts only directly before the opcode (SDM vol. 2A 2.2.1). */
static inline bool read_opcode(const uint8_t *bytes, size_t count, enum x86_code_mode mode, struct opcode *opcode)
{
	unsigned prefixes = 0, rex = 0, flags, byte;
	size_t at = 0;

	for (;;) {
		if (unlikely(at == count)) {
			return false;
		}
		byte = bytes[at++];
		flags = one_byte[byte];
		if ((flags & PREFIX) == 0) {
			break;
		}
		rex = 0;
		if ((flags & REX) != 0) {
			if (mode != X86_CODE_64) {
				return false;
			}
			rex = byte;
		}
		prefixes |= flags;
	}
	if ((flags & (TWO_BYTE | ONLY_64)) != 0) {
		if ((flags & TWO_BYTE) != 0) {
			flags = at < count ? two_byte[bytes[at++]] : 0;
		} else if (mode != X86_CODE_64) {
			return false;
		}
	}
	opcode->flags = flags;
	opcode->rex = rex;
	opcode->locked = (prefixes & LOCK) != 0;
	opcode->bytes = at;
	_Static_assert(OPERAND_SIZE == SIZE_OPERAND_PREFIX << 11 && ADDRESS_SIZE == SIZE_ADDRESS_PREFIX << 11 &&
	                       SIZE_REX_W == REX_W >> 1,
	               "the index is made of the prefixes' flags");
	opcode->sizes = sizes[mode][(prefixes >> 11 & 3) | (rex & REX_W) >> 1];
	return flags != 0;
}

/* SIB and displacement behind the ModRM byte at `modrm`; more than are `left` where they are cut off. */
static size_t sib_bytes(const uint8_t *modrm, size_t left, size_t displacement)
{
	if (left < 2) {
		return left;
	}
	return 1 + (displacement == 0 && (modrm[1] & 7) == SIB_NO_BASE ? 4 : displacement);
}

/* 80, 81 and 83: which one it is. False: ADC and SBB, which no compiler makes of a device's register. */
static bool choose_of_group(unsigned reg, struct x86_instruction *out)
{
	enum mmio_operation class = reg == ALU_CMP ? MMIO_COMPARE : MMIO_MODIFY;
	if (out->operation != MMIO_NONE) {
		out->operation = (uint8_t)MMIO_OPERATION(class, reg);
	}
	return reg != ALU_ADC && reg != ALU_SBB;
}

/* The other operand, in the instruction; false: cut off, or one of the other instructions of these opcodes. */
static bool read_immediate(const uint8_t *bytes, size_t left, unsigned flags, unsigned reg, struct x86_instruction *out)
{
	bool group = OPERATION(flags) == OPERATION(GROUP);
	unsigned size = (flags & SIGN) != 0 ? 1 : MIN(out->width, 4U);

	if ((group ? !choose_of_group(reg, out) : reg != 0) || left < size) {
		return false;
	}
	for (unsigned i = 0; i < size; i++) {
		out->value |= (uint64_t)bytes[i] << (8 * i);
	}
	unsigned unused = 64 - 8 * size;
	if (size < out->width) {
		out->value = (uint64_t)((int64_t)(out->value << unused) >> unused) & BITS(8U * out->width - 1, 0);
	}
	out->immediate = true;
	out->length = (uint8_t)(out->length + size);
	return true;
}

/* ModRM and what follows it. */
static inline bool read_operands(const uint8_t *bytes, size_t count, const struct opcode *opcode,
                                 struct x86_instruction *out)
{
	const uint8_t *modrm = bytes + opcode->bytes;
	size_t left = count - opcode->bytes;

	if (unlikely(left == 0)) {
		return false;
	}
	unsigned reg = modrm[0] >> 3 & 7, form = (modrm[0] >> 3 & 0x18U) | (modrm[0] & 7U);
	size_t more = (opcode->sizes.address == 2 ? address_16 : address_32)[form];
	if ((more & (NEEDS_SIB | NO_MEMORY)) != 0) {
		if ((more & NO_MEMORY) != 0) {
			out->operation = MMIO_NONE;
			more = 0;
		} else {
			more = sib_bytes(modrm, left, more & ~(size_t)NEEDS_SIB);
		}
	}
	if (unlikely(more >= left)) {
		return false;
	}
	out->length = (uint8_t)(opcode->bytes + 1 + more);
	if ((opcode->flags & (IMMEDIATE | BYTE)) != 0) {
		if ((opcode->flags & IMMEDIATE) != 0) {
			return read_immediate(modrm + 1 + more, left - 1 - more, opcode->flags, reg, out);
		}
		if ((opcode->flags & EXTENDS) == 0 && opcode->rex == 0 && reg >= FIRST_HIGH_BYTE) {
			out->high_byte = true;
			reg -= FIRST_HIGH_BYTE;
		}
	}
	out->gpr = (uint8_t)((opcode->rex & REX_R) * 2 + reg);
	return true;
}

bool x86_decode(const uint8_t *bytes, size_t count, enum x86_code_mode mode, struct x86_instruction *instruction)
{
	struct opcode opcode;

	count = MIN(count, X86_INSTRUCTION_MAX);
	if (!read_opcode(bytes, count, mode, &opcode)) {
		return false;
	}
	unsigned flags = opcode.flags;
	unsigned width = opcode.sizes.operand, result_width = width;
	if ((flags & (BYTE | WORD | LONG)) != 0) {
		width = (flags & BYTE) != 0 ? 1 : (flags & WORD) != 0 ? 2 : MIN(width, 4U);
		result_width = (flags & EXTENDS) != 0 ? result_width : width;
	}
	_Static_assert(STORES / 4 + MMIO_LOAD == MMIO_STORE, "the flag is the difference");
	*instruction = (struct x86_instruction){
		.operation = (uint8_t)(OPERATION(flags) != 0 ? OPERATION(flags) : (flags & STORES) / 4 + MMIO_LOAD),
		.width = (uint8_t)width,
		.result_width = (uint8_t)result_width,
		.sign_extend = (flags & (SIGN | IMMEDIATE)) == SIGN,
	};
	bool known;
	if (likely((flags & MODRM) != 0)) {
		known = read_operands(bytes, count, &opcode, instruction);
	} else {
		instruction->length = (uint8_t)(opcode.bytes + ((flags & OFFSET) != 0 ? opcode.sizes.address : 0));
		known = instruction->length <= count;
	}
	return known && (!opcode.locked || MMIO_CLASS(instruction->operation) == MMIO_MODIFY);
}

static bool starts_with(const uint8_t *bytes, size_t count, const uint8_t *opcode, size_t opcode_bytes)
{
	if (count < opcode_bytes) {
		return false;
	}
	for (size_t i = 0; i < opcode_bytes; i++) {
		if (bytes[i] != opcode[i]) {
			return false;
		}
	}
	return true;
}

unsigned x86_opcode_length(const uint8_t *bytes, size_t count, enum x86_code_mode mode, const uint8_t *opcode,
                           size_t opcode_bytes)
{
	count = MIN(count, X86_INSTRUCTION_MAX);
	for (size_t at = 0; at < count; at++) {
		/* The opcode first: it may begin with what is a prefix elsewhere. */
		if (starts_with(bytes + at, count - at, opcode, opcode_bytes)) {
			return (unsigned)(at + opcode_bytes);
		}
		unsigned flags = one_byte[bytes[at]];
		if ((flags & PREFIX) == 0 || ((flags & REX) != 0 && mode != X86_CODE_64)) {
			return 0;
		}
	}
	return 0;
}

/* ---- what the instructions compute: SDM vol. 1 3.4.3.1 ---- */

#define FLAG_CF BIT(0)
#define FLAG_PF BIT(2)
#define FLAG_AF BIT(4)
#define FLAG_ZF BIT(6)
#define FLAG_SF BIT(7)
#define FLAG_OF BIT(11)
#define FLAGS   (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF)

static uint64_t flag_if(bool condition, uint64_t flag)
{
	return condition ? flag : 0;
}

uint64_t x86_compute(enum x86_alu op, uint64_t a, uint64_t b, unsigned width, uint64_t *flags)
{
	uint64_t mask = BITS(8 * width - 1, 0), sign = BIT(8 * width - 1), result = 0, carries = 0, overflow = 0;
	a &= mask;
	b &= mask;
	switch (op) {
	case ALU_OR:
		result = a | b;
		break;
	case ALU_AND:
	case ALU_TEST:
		result = a & b;
		break;
	case ALU_XOR:
		result = a ^ b;
		break;
	case ALU_ADD:
		result = (a + b) & mask;
		carries = (a & b) | ((a | b) & ~result);
		overflow = (a ^ result) & (b ^ result);
		break;
	case ALU_SUB:
	case ALU_CMP: /* borrows */
		result = (a - b) & mask;
		carries = (~a & b) | ((~a | b) & result);
		overflow = (a ^ b) & (a ^ result);
		break;
	case ALU_ADC:
	case ALU_SBB:
	case ALU_XCHG:
		return a;
	}
	*flags = (*flags & ~FLAGS) | flag_if(carries & sign, FLAG_CF) | flag_if(overflow & sign, FLAG_OF) |
	         flag_if(carries & BIT(3), FLAG_AF) | flag_if(result == 0, FLAG_ZF) | flag_if(result & sign, FLAG_SF) |
	         flag_if(!__builtin_parity((unsigned)(result & UINT8_MAX)), FLAG_PF);
	return op == ALU_CMP || op == ALU_TEST ? a : result;
}
