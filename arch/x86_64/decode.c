/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pure part of instruction decoding: bytes and mode in, struct out. Called by fetch.c and by whoever has the
 * bytes already. It knows the moves with which software accesses device registers; what it does not know it
 * refuses. Never reads past the bytes it was given. Every MMIO exit comes through here: what an opcode means is
 * looked up, not branched over. SDM vol. 2A chapter 2, vol. 2D appendix A; APM vol. 3 chapter 1 and appendix A.
 */
#include "decode.h"

#include "lib/util.h"

/*
 * What a byte of the opcode tables stands for; 0: unknown. Further forms (STOS, MOVS, AND, OR, TEST, CMP, XCHG) get
 * a flag of their own.
 */
enum opcode_flags {
	MODRM = BIT(0),	    /* register or memory operand by ModRM */
	OFFSET = BIT(1),    /* the memory operand's address stands in the instruction, the register is rAX */
	STORES = BIT(2),    /* the memory operand is written, else read */
	IMMEDIATE = BIT(3), /* what is written follows; ModRM.reg must be 0 */
	BYTE = BIT(4),	    /* the memory operand has one byte, */
	WORD = BIT(5),	    /* two, */
	LONG = BIT(6),	    /* four, or the full operand size if that is two; else always the full operand size */
	EXTENDS = BIT(7),   /* the register has the full operand size */
	SIGN = BIT(8),	    /* and is sign-extended */
	ONLY_64 = BIT(9),   /* another instruction outside 64-bit mode */

	PREFIX = BIT(10), /* alone: a segment or REP, which change nothing about a move */
	OPERAND_SIZE = BIT(11),
	ADDRESS_SIZE = BIT(12),
	REX = BIT(13),
	TWO_BYTE = BIT(14), /* the opcode goes on in the second table */
};

/* LOCK (f0) is unknown on purpose: no move takes it. */
static const uint16_t one_byte[256] = {
	[0x0f] = TWO_BYTE,
	[0x26] = PREFIX,
	[0x2e] = PREFIX,
	[0x36] = PREFIX,
	[0x3e] = PREFIX,
	[0x40 ... 0x4f] = PREFIX | REX,
	[0x63] = MODRM | LONG | EXTENDS | SIGN | ONLY_64, /* movsxd */
	[0x64] = PREFIX,
	[0x65] = PREFIX,
	[0x66] = PREFIX | OPERAND_SIZE,
	[0x67] = PREFIX | ADDRESS_SIZE,
	[0x88] = MODRM | STORES | BYTE, /* mov */
	[0x89] = MODRM | STORES,
	[0x8a] = MODRM | BYTE,
	[0x8b] = MODRM,
	[0xa0] = OFFSET | BYTE,
	[0xa1] = OFFSET,
	[0xa2] = OFFSET | STORES | BYTE,
	[0xa3] = OFFSET | STORES,
	[0xc6] = MODRM | STORES | IMMEDIATE | BYTE,
	[0xc7] = MODRM | STORES | IMMEDIATE,
	[0xf2] = PREFIX,
	[0xf3] = PREFIX,
};

static const uint16_t two_byte[256] = {
	[0xb6] = MODRM | BYTE | EXTENDS, /* movzx */
	[0xb7] = MODRM | WORD | EXTENDS,
	[0xbe] = MODRM | BYTE | EXTENDS | SIGN, /* movsx */
	[0xbf] = MODRM | WORD | EXTENDS | SIGN,
};

#define REX_W 8
#define REX_R 4

#define MOD_REGISTER	   3
#define RM_SIB		   4 /* 32- and 64-bit addressing */
#define RM_DISPLACEMENT	   5 /* with mod 0: no base but 32 bits of displacement (or RIP + that) */
#define RM_DISPLACEMENT_16 6 /* with mod 0, 16-bit addressing */
#define FIRST_HIGH_BYTE	   4 /* AH, CH, DH, BH without REX */

/* Prefixes and opcode of one instruction, and what they say of operands and addresses. */
struct opcode {
	unsigned flags;	  /* enum opcode_flags */
	unsigned rex;	  /* the last prefix, if it was a REX; else 0 */
	size_t bytes;	  /* so far */
	unsigned operand; /* the full operand size in bytes */
	unsigned address; /* an address's size in bytes */
};

/* 0 where there are fewer than `bytes` left: little-endian otherwise. */
static uint64_t load(const uint8_t *from, unsigned bytes)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < bytes; i++) {
		value |= (uint64_t)from[i] << (8 * i);
	}
	return value;
}

/* False: unknown, or cut off. A REX prefix counts only directly before the opcode (SDM vol. 2A 2.2.1). */
static inline bool read_opcode(const uint8_t *bytes, size_t count, enum x86_code_mode mode, struct opcode *opcode)
{
	unsigned prefixes = 0, flags;
	uint8_t byte;
	size_t at = 0;

	opcode->rex = 0;
	for (;;) {
		if (at == count) {
			return false;
		}
		byte = bytes[at++];
		flags = one_byte[byte];
		if ((flags & PREFIX) == 0) {
			break;
		}
		if ((flags & REX) != 0 && mode != X86_CODE_64) {
			return false;
		}
		opcode->rex = (flags & REX) != 0 ? byte : 0;
		prefixes |= flags;
	}
	if (flags == TWO_BYTE) {
		flags = at < count ? two_byte[bytes[at++]] : 0;
	}
	if (flags == 0 || ((flags & ONLY_64) != 0 && mode != X86_CODE_64)) {
		return false;
	}
	bool operand_16 = (mode == X86_CODE_16) != ((prefixes & OPERAND_SIZE) != 0);
	bool other_address = (prefixes & ADDRESS_SIZE) != 0;
	opcode->flags = flags;
	opcode->bytes = at;
	opcode->operand = (opcode->rex & REX_W) != 0 ? 8 : operand_16 ? 2 : 4;
	opcode->address = mode == X86_CODE_64			   ? (other_address ? 4 : 8)
			  : (mode == X86_CODE_16) != other_address ? 2
								   : 4;
	return true;
}

/*
 * Bytes of SIB and displacement that follow a ModRM byte at `modrm` with a memory operand; more than are left where
 * the SIB is cut off. SDM vol. 2A tables 2-1 to 2-3.
 */
static inline size_t address_bytes(const uint8_t *modrm, size_t left, unsigned address)
{
	unsigned mod = modrm[0] >> 6, rm = modrm[0] & 7;
	size_t sib = 0;

	if (address == 2) {
		return mod == 1 ? 1 : mod == 2 || rm == RM_DISPLACEMENT_16 ? 2 : 0;
	}
	if (rm == RM_SIB) {
		if (left < 2) {
			return left;
		}
		rm = modrm[1] & 7; /* the base, where 5 means the same as in ModRM */
		sib = 1;
	}
	return sib + (mod == 1 ? 1U : mod == 2 || rm == RM_DISPLACEMENT ? 4U : 0U);
}

/* The value that C6 and C7 store; false: cut off, or one of the other instructions of these opcodes. */
static bool read_immediate(const uint8_t *bytes, size_t left, unsigned reg, struct x86_instruction *out)
{
	unsigned size = MIN(out->width, 4U);

	if (reg != 0 || left < size) {
		return false;
	}
	out->value = load(bytes, size);
	if (out->width == 8) {
		out->value = (uint64_t)(int64_t)(int32_t)out->value;
	}
	out->immediate = true;
	out->length = (uint8_t)(out->length + size);
	return true;
}

/* ModRM and what follows it. */
static inline bool read_operands(const uint8_t *bytes, size_t count, const struct opcode *opcode,
				 struct x86_instruction *out)
{
	size_t at = opcode->bytes;

	if (at == count) {
		return false;
	}
	unsigned reg = (bytes[at] >> 3) & 7;
	size_t size = 1;
	if (bytes[at] >> 6 == MOD_REGISTER) {
		out->operation = MMIO_NONE;
	} else {
		size += address_bytes(bytes + at, count - at, opcode->address);
	}
	if (size > count - at) {
		return false;
	}
	at += size;
	out->length = (uint8_t)at;
	if ((opcode->flags & IMMEDIATE) != 0) {
		return read_immediate(bytes + at, count - at, reg, out);
	}
	if ((opcode->flags & (BYTE | EXTENDS)) == BYTE && opcode->rex == 0 && reg >= FIRST_HIGH_BYTE) {
		out->high_byte = true;
		reg -= FIRST_HIGH_BYTE;
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
	unsigned width = opcode.operand;
	*instruction = (struct x86_instruction){0};
	if ((flags & (BYTE | WORD | LONG)) != 0) {
		width = (flags & BYTE) != 0 ? 1 : (flags & WORD) != 0 ? 2 : MIN(width, 4U);
	}
	instruction->operation = (flags & STORES) != 0 ? MMIO_STORE : MMIO_LOAD;
	instruction->width = (uint8_t)width;
	instruction->result_width = (uint8_t)((flags & EXTENDS) != 0 ? opcode.operand : width);
	instruction->sign_extend = (flags & SIGN) != 0;
	if (likely((flags & MODRM) != 0)) {
		return read_operands(bytes, count, &opcode, instruction);
	}
	instruction->length = (uint8_t)(opcode.bytes + opcode.address);
	return instruction->length <= count;
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
