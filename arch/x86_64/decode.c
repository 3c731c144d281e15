/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pure part of instruction decoding: bytes and mode in, struct out. Called by fetch.c and by whoever has the
 * bytes already. It knows the moves with which software accesses device registers; what it does not know it
 * refuses. Never reads past the bytes it was given. SDM vol. 2A chapter 2, vol. 2D appendix A; APM vol. 3
 * chapter 1 and appendix A.
 */
#include "decode.h"

#include "lib/util.h"

/* What an opcode stands for. Further forms (STOS, MOVS, AND, OR, TEST, CMP, XCHG) get a line here and in `finish`. */
enum form {
	UNKNOWN,
	PREFIX,	      /* segment overrides and REP, which change nothing about a move */
	OPERAND_SIZE, /* 66 */
	ADDRESS_SIZE, /* 67 */
	REX,	      /* 40 to 4f in 64-bit mode */
	TWO_BYTE,     /* 0f */
	LOAD,	      /* mov r, r/m */
	STORE,	      /* mov r/m, r */
	STORE_IMMEDIATE,
	LOAD_OFFSET,	/* mov rax, moffs */
	STORE_OFFSET,	/* mov moffs, rax */
	LOAD_SIGN_LONG, /* movsxd; arpl outside 64-bit mode */
	LOAD_ZERO,	/* movzx */
	LOAD_SIGN,	/* movsx */
};

/* Opcodes whose memory operand is one byte wide; for LOAD_ZERO and LOAD_SIGN the other one is a word. */
#define BYTE_OPERAND 0x80
#define FORM_MASK    0x7f

/* LOCK (f0) is unknown on purpose: no move takes it. */
static const uint8_t one_byte[256] = {
	[0x0f] = TWO_BYTE,
	[0x26] = PREFIX,
	[0x2e] = PREFIX,
	[0x36] = PREFIX,
	[0x3e] = PREFIX,
	[0x40 ... 0x4f] = REX,
	[0x63] = LOAD_SIGN_LONG,
	[0x64] = PREFIX,
	[0x65] = PREFIX,
	[0x66] = OPERAND_SIZE,
	[0x67] = ADDRESS_SIZE,
	[0x88] = STORE | BYTE_OPERAND,
	[0x89] = STORE,
	[0x8a] = LOAD | BYTE_OPERAND,
	[0x8b] = LOAD,
	[0xa0] = LOAD_OFFSET | BYTE_OPERAND,
	[0xa1] = LOAD_OFFSET,
	[0xa2] = STORE_OFFSET | BYTE_OPERAND,
	[0xa3] = STORE_OFFSET,
	[0xc6] = STORE_IMMEDIATE | BYTE_OPERAND,
	[0xc7] = STORE_IMMEDIATE,
	[0xf2] = PREFIX,
	[0xf3] = PREFIX,
};

static const uint8_t two_byte[256] = {
	[0xb6] = LOAD_ZERO | BYTE_OPERAND,
	[0xb7] = LOAD_ZERO,
	[0xbe] = LOAD_SIGN | BYTE_OPERAND,
	[0xbf] = LOAD_SIGN,
};

#define REX_W 8
#define REX_R 4

#define MOD_REGISTER	   3
#define RM_SIB		   4 /* 32- and 64-bit addressing */
#define RM_DISPLACEMENT	   5 /* with mod 0: no base but 32 bits of displacement (or RIP + that) */
#define RM_DISPLACEMENT_16 6 /* with mod 0, 16-bit addressing */
#define FIRST_HIGH_BYTE	   4 /* AH, CH, DH, BH without REX */

/* The instruction while it is taken apart. */
struct decoder {
	const uint8_t *bytes;
	size_t count; /* readable ones */
	size_t at;    /* the next one */
	enum x86_code_mode mode;
	bool operand_prefix;
	uint8_t rex; /* 0: none */
	uint8_t address_bytes;
	uint8_t opcode; /* table entry */
};

/* `bytes` little-endian from the cursor on, or false where they are cut off. */
static bool take(struct decoder *decoder, unsigned bytes, uint64_t *value)
{
	*value = 0;
	if (decoder->count - decoder->at < bytes) {
		return false;
	}
	for (unsigned i = 0; i < bytes; i++) {
		*value |= (uint64_t)decoder->bytes[decoder->at + i] << (8 * i);
	}
	decoder->at += bytes;
	return true;
}

/* Prefixes and opcode. A REX prefix counts only directly before the opcode (SDM vol. 2A 2.2.1). */
static bool read_opcode(struct decoder *decoder)
{
	bool long_mode = decoder->mode == X86_CODE_64;
	bool address_prefix = false;

	while (decoder->at < decoder->count) {
		uint8_t byte = decoder->bytes[decoder->at++];
		decoder->opcode = one_byte[byte];
		switch (decoder->opcode) {
		case OPERAND_SIZE:
			decoder->operand_prefix = true;
			decoder->rex = 0;
			continue;
		case ADDRESS_SIZE:
			address_prefix = true;
			decoder->rex = 0;
			continue;
		case PREFIX:
			decoder->rex = 0;
			continue;
		case REX:
			if (!long_mode) {
				return false;
			}
			decoder->rex = byte;
			continue;
		case TWO_BYTE:
			if (decoder->at == decoder->count) {
				return false;
			}
			decoder->opcode = two_byte[decoder->bytes[decoder->at++]];
			break;
		default:
			break;
		}
		decoder->address_bytes = long_mode ? (address_prefix ? 4 : 8)
						   : ((decoder->mode == X86_CODE_16) != address_prefix ? 2 : 4);
		return decoder->opcode != UNKNOWN;
	}
	return false;
}

/* Moves past SIB and displacement. SDM vol. 2A tables 2-1 to 2-3. */
static bool skip_address(struct decoder *decoder, unsigned mod, unsigned rm)
{
	size_t displacement = mod == 1 ? 1 : mod == 2 ? 4 : 0;

	if (decoder->address_bytes == 2) {
		displacement = displacement == 4 || (mod == 0 && rm == RM_DISPLACEMENT_16) ? 2 : displacement;
	} else {
		if (rm == RM_SIB) {
			if (decoder->at == decoder->count) {
				return false;
			}
			rm = decoder->bytes[decoder->at++] & 7; /* the base, where 5 means the same as in ModRM */
		}
		displacement = mod == 0 && rm == RM_DISPLACEMENT ? 4 : displacement;
	}
	if (decoder->count - decoder->at < displacement) {
		return false;
	}
	decoder->at += displacement;
	return true;
}

static unsigned operand_bytes(const struct decoder *decoder)
{
	if ((decoder->rex & REX_W) != 0) {
		return 8;
	}
	return (decoder->mode == X86_CODE_16) != decoder->operand_prefix ? 2 : 4;
}

/* The register that a ModRM byte's reg field names in an operand of `bytes`. */
static void set_register(const struct decoder *decoder, unsigned reg, unsigned bytes, struct x86_instruction *out)
{
	if (bytes == 1 && decoder->rex == 0 && reg >= FIRST_HIGH_BYTE) {
		out->high_byte = true;
		reg -= FIRST_HIGH_BYTE;
	}
	out->gpr = (uint8_t)((decoder->rex & REX_R) != 0 ? reg + 8 : reg);
}

static bool read_immediate(struct decoder *decoder, unsigned reg, unsigned width, struct x86_instruction *out)
{
	unsigned bytes = width == 8 ? 4 : width; /* sign-extended then */

	if (reg != 0 || !take(decoder, bytes, &out->value)) {
		return false; /* C6 and C7 have other instructions beside /0 */
	}
	if (width == 8) {
		out->value = (uint64_t)(int64_t)(int32_t)out->value;
	}
	out->immediate = true;
	return true;
}

/* The moves between the accumulator and an address that stands in the instruction. */
static bool read_offset(struct decoder *decoder, unsigned width, struct x86_instruction *out)
{
	uint64_t offset;

	out->operation = (decoder->opcode & FORM_MASK) == LOAD_OFFSET ? MMIO_LOAD : MMIO_STORE;
	out->width = (uint8_t)width;
	out->result_width = (uint8_t)width;
	return take(decoder, decoder->address_bytes, &offset);
}

/* Widths and register of a form that has a ModRM byte with a memory operand. */
static bool finish(struct decoder *decoder, unsigned reg, struct x86_instruction *out)
{
	unsigned full = operand_bytes(decoder);
	unsigned width = (decoder->opcode & BYTE_OPERAND) != 0 ? 1 : full;

	out->operation = MMIO_LOAD;
	out->width = (uint8_t)width;
	out->result_width = (uint8_t)width;
	switch (decoder->opcode & FORM_MASK) {
	case LOAD:
		break;
	case STORE:
		out->operation = MMIO_STORE;
		break;
	case STORE_IMMEDIATE:
		out->operation = MMIO_STORE;
		return read_immediate(decoder, reg, width, out);
	case LOAD_SIGN:
		out->sign_extend = true;
		__attribute__((fallthrough));
	case LOAD_ZERO:
		out->width = (decoder->opcode & BYTE_OPERAND) != 0 ? 1 : 2;
		out->result_width = (uint8_t)full;
		width = full;
		break;
	case LOAD_SIGN_LONG:
		if (decoder->mode != X86_CODE_64) {
			return false;
		}
		out->sign_extend = true;
		out->width = full == 2 ? 2 : 4;
		out->result_width = (uint8_t)full;
		break;
	default:
		return false;
	}
	set_register(decoder, reg, width, out);
	return true;
}

bool x86_decode(const uint8_t *bytes, size_t count, enum x86_code_mode mode, struct x86_instruction *instruction)
{
	struct decoder decoder = {.bytes = bytes, .count = MIN(count, X86_INSTRUCTION_MAX), .mode = mode};

	*instruction = (struct x86_instruction){0};
	if (!read_opcode(&decoder)) {
		return false;
	}
	unsigned form = decoder.opcode & FORM_MASK;
	if (form == LOAD_OFFSET || form == STORE_OFFSET) {
		unsigned width = (decoder.opcode & BYTE_OPERAND) != 0 ? 1 : operand_bytes(&decoder);
		if (!read_offset(&decoder, width, instruction)) {
			return false;
		}
	} else {
		if (decoder.at == decoder.count) {
			return false;
		}
		uint8_t modrm = bytes[decoder.at++];
		unsigned mod = modrm >> 6;
		if (mod != MOD_REGISTER && !skip_address(&decoder, mod, modrm & 7)) {
			return false;
		}
		if (!finish(&decoder, (modrm >> 3) & 7, instruction)) {
			return false;
		}
		if (mod == MOD_REGISTER) {
			instruction->operation = MMIO_NONE;
		}
	}
	instruction->length = (uint8_t)decoder.at;
	return true;
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
		uint8_t form = one_byte[bytes[at]];
		bool prefix = form == PREFIX || form == OPERAND_SIZE || form == ADDRESS_SIZE;
		if (!prefix && (form != REX || mode != X86_CODE_64)) {
			return 0;
		}
	}
	return 0;
}
