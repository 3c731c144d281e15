/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The instruction decoder against a table of encodings. Bytes and expectations were checked against GNU as and
 * objdump. Run by make host-tests.
 */
// sources: arch/x86_64/decode.c
#include "arch/x86_64/decode.h"
#include "lib/string.h"
#include "lib/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

struct encoding {
	const char *text;
	uint8_t bytes[X86_INSTRUCTION_MAX];
	uint8_t given; /* how many bytes */
	struct x86_instruction expected;
};

#define BYTES(...)                 {__VA_ARGS__}, sizeof((uint8_t[]){__VA_ARGS__})
#define ACCESS(op, w, result, reg) .operation = (op), .width = (w), .result_width = (result), .gpr = (reg)
#define LOADS(w, result, reg)      ACCESS(MMIO_LOAD, w, result, reg)
#define STORES(w, reg)             ACCESS(MMIO_STORE, w, w, reg)
#define STORES_VALUE(w, v)         STORES(w, 0), .immediate = true, .value = (v)

#define COMPUTES(class, op, w, reg) ACCESS(MMIO_OPERATION(MMIO_##class, ALU_##op), w, w, reg)
#define WITH_VALUE(class, op, w, v) COMPUTES(class, op, w, 0), .immediate = true, .value = (v)

enum { AX, CX, DX, BX, SP, BP, SI, DI, R8, R9, R10, R11, R12, R13, R14, R15 };

static const struct encoding encodings_64[] = {
	{"mov (%rdi),%eax", BYTES(0x8b, 0x07), {LOADS(4, 4, AX), .length = 2}},
	{"mov (%rdi),%rax", BYTES(0x48, 0x8b, 0x07), {LOADS(8, 8, AX), .length = 3}},
	{"mov (%rdi),%ax", BYTES(0x66, 0x8b, 0x07), {LOADS(2, 2, AX), .length = 3}},
	{"mov (%rdi),%al", BYTES(0x8a, 0x07), {LOADS(1, 1, AX), .length = 2}},
	{"mov (%rdi),%ah", BYTES(0x8a, 0x27), {LOADS(1, 1, AX), .high_byte = true, .length = 2}},
	{"mov (%rdi),%bh", BYTES(0x8a, 0x3f), {LOADS(1, 1, BX), .high_byte = true, .length = 2}},
	{"mov (%rdi),%spl", BYTES(0x40, 0x8a, 0x27), {LOADS(1, 1, SP), .length = 3}},
	{"mov (%rdi),%r12b", BYTES(0x44, 0x8a, 0x27), {LOADS(1, 1, R12), .length = 3}},
	{"mov (%r15),%r8d", BYTES(0x45, 0x8b, 0x07), {LOADS(4, 4, R8), .length = 3}},
	{"mov (%r12),%edx", BYTES(0x41, 0x8b, 0x14, 0x24), {LOADS(4, 4, DX), .length = 4}},
	{"mov 0(%r13),%edx", BYTES(0x41, 0x8b, 0x55, 0x00), {LOADS(4, 4, DX), .length = 4}},
	{"mov 0x380(%rip),%ecx", BYTES(0x8b, 0x0d, 0x80, 0x03, 0, 0), {LOADS(4, 4, CX), .length = 6}},
	{"mov 0x380(%eip),%ecx", BYTES(0x67, 0x8b, 0x0d, 0x80, 0x03, 0, 0), {LOADS(4, 4, CX), .length = 7}},
	{"mov (%edi),%ecx", BYTES(0x67, 0x8b, 0x0f), {LOADS(4, 4, CX), .length = 3}},
	{"mov 8(%rbx,%rcx,4),%esi", BYTES(0x8b, 0x74, 0x8b, 0x08), {LOADS(4, 4, SI), .length = 4}},
	{"mov 0x1000(%rbx,%rcx,4),%esi", BYTES(0x8b, 0xb4, 0x8b, 0, 0x10, 0, 0), {LOADS(4, 4, SI), .length = 7}},
	{"mov 0xfee00020,%eax (SIB, no base)",
         BYTES(0x8b, 0x04, 0x25, 0x20, 0, 0xe0, 0xfe),
         {LOADS(4, 4, AX), .length = 7}},
	{"mov 0x10(,%rcx,8),%rbp", BYTES(0x48, 0x8b, 0x2c, 0xcd, 0x10, 0, 0, 0), {LOADS(8, 8, BP), .length = 8}},
	{"mov %gs:(%rdi),%eax", BYTES(0x65, 0x8b, 0x07), {LOADS(4, 4, AX), .length = 3}},
	{"data16 rex.W mov (%rdi),%rax", BYTES(0x66, 0x48, 0x8b, 0x07), {LOADS(8, 8, AX), .length = 4}},
	{"rex.W data16 mov: the REX is lost", BYTES(0x48, 0x66, 0x8b, 0x07), {LOADS(2, 2, AX), .length = 4}},
	{"mov %eax,(%rdi)", BYTES(0x89, 0x07), {STORES(4, AX), .length = 2}},
	{"mov %rax,(%rdi)", BYTES(0x48, 0x89, 0x07), {STORES(8, AX), .length = 3}},
	{"mov %r9w,0x10(%rdi)", BYTES(0x66, 0x44, 0x89, 0x4f, 0x10), {STORES(2, R9), .length = 5}},
	{"mov %sil,(%rdi)", BYTES(0x40, 0x88, 0x37), {STORES(1, SI), .length = 3}},
	{"mov %dh,(%rdi)", BYTES(0x88, 0x37), {STORES(1, DX), .high_byte = true, .length = 2}},
	{"xrelease mov %eax,(%rdi)", BYTES(0xf3, 0x89, 0x07), {STORES(4, AX), .length = 3}},
	{"movb $0x12,(%rdi)", BYTES(0xc6, 0x07, 0x12), {STORES_VALUE(1, 0x12), .length = 3}},
	{"movb $0xff,(%rdi)", BYTES(0xc6, 0x07, 0xff), {STORES_VALUE(1, 0xff), .length = 3}},
	{"movw $0x8001,(%rdi)", BYTES(0x66, 0xc7, 0x07, 0x01, 0x80), {STORES_VALUE(2, 0x8001), .length = 5}},
	{"movl $0x80000001,(%rdi)", BYTES(0xc7, 0x07, 1, 0, 0, 0x80), {STORES_VALUE(4, 0x80000001), .length = 6}},
	{"movq $-2,(%rdi)",
         BYTES(0x48, 0xc7, 0x07, 0xfe, 0xff, 0xff, 0xff),
         {STORES_VALUE(8, UINT64_MAX - 1), .length = 7}},
	{"movl $1,0x10(%rip)", BYTES(0xc7, 0x05, 0x10, 0, 0, 0, 1, 0, 0, 0), {STORES_VALUE(4, 1), .length = 10}},
	{"movzbl (%rdi),%eax", BYTES(0x0f, 0xb6, 0x07), {LOADS(1, 4, AX), .length = 3}},
	{"movzbl (%rdi),%esp: no high byte", BYTES(0x0f, 0xb6, 0x27), {LOADS(1, 4, SP), .length = 3}},
	{"movzwl (%rdi),%r10d", BYTES(0x44, 0x0f, 0xb7, 0x17), {LOADS(2, 4, R10), .length = 4}},
	{"movzwq (%rdi),%rax", BYTES(0x48, 0x0f, 0xb7, 0x07), {LOADS(2, 8, AX), .length = 4}},
	{"movzbw (%rdi),%ax", BYTES(0x66, 0x0f, 0xb6, 0x07), {LOADS(1, 2, AX), .length = 4}},
	{"movsbl (%rdi),%eax", BYTES(0x0f, 0xbe, 0x07), {LOADS(1, 4, AX), .sign_extend = true, .length = 3}},
	{"movswq (%rdi),%rax", BYTES(0x48, 0x0f, 0xbf, 0x07), {LOADS(2, 8, AX), .sign_extend = true, .length = 4}},
	{"movslq (%rdi),%rax", BYTES(0x48, 0x63, 0x07), {LOADS(4, 8, AX), .sign_extend = true, .length = 3}},
	{"movslq (%rdi),%r15", BYTES(0x4c, 0x63, 0x3f), {LOADS(4, 8, R15), .sign_extend = true, .length = 3}},
	{"movabs 0x1122334455667788,%al",
         BYTES(0xa0, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11),
         {LOADS(1, 1, AX), .length = 9}},
	{"movabs 0x1122334455667788,%eax",
         BYTES(0xa1, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11),
         {LOADS(4, 4, AX), .length = 9}},
	{"movabs %rax,0x1122334455667788",
         BYTES(0x48, 0xa3, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11),
         {STORES(8, AX), .length = 10}},
	{"addr32 mov %eax,0xfec00000", BYTES(0x67, 0xa3, 0x00, 0x00, 0xc0, 0xfe), {STORES(4, AX), .length = 6}},
	{"and %eax,(%rdi)", BYTES(0x21, 0x07), {COMPUTES(MODIFY, AND, 4, AX), .length = 2}},
	{"or %r9b,(%rdi)", BYTES(0x44, 0x08, 0x0f), {COMPUTES(MODIFY, OR, 1, R9), .length = 3}},
	{"or %ch,(%rdi)", BYTES(0x08, 0x2f), {COMPUTES(MODIFY, OR, 1, CX), .high_byte = true, .length = 2}},
	{"lock xor %rax,(%rdi)", BYTES(0xf0, 0x48, 0x31, 0x07), {COMPUTES(MODIFY, XOR, 8, AX), .length = 4}},
	{"add %dx,0x10(%rdi)", BYTES(0x66, 0x01, 0x57, 0x10), {COMPUTES(MODIFY, ADD, 2, DX), .length = 4}},
	{"sub %esi,(%rdi)", BYTES(0x29, 0x37), {COMPUTES(MODIFY, SUB, 4, SI), .length = 2}},
	{"and (%rdi),%eax", BYTES(0x23, 0x07), {COMPUTES(COMBINE, AND, 4, AX), .length = 2}},
	{"xor (%rdi),%bl", BYTES(0x32, 0x1f), {COMPUTES(COMBINE, XOR, 1, BX), .length = 2}},
	{"cmp %eax,(%rdi)", BYTES(0x39, 0x07), {COMPUTES(COMPARE, CMP, 4, AX), .length = 2}},
	{"cmp (%rdi),%r8", BYTES(0x4c, 0x3b, 0x07), {COMPUTES(COMBINE, CMP, 8, R8), .length = 3}},
	{"test %eax,(%rdi)", BYTES(0x85, 0x07), {COMPUTES(COMPARE, TEST, 4, AX), .length = 2}},
	{"test %dh,(%rdi)", BYTES(0x84, 0x37), {COMPUTES(COMPARE, TEST, 1, DX), .high_byte = true, .length = 2}},
	{"testb $0x80,(%rdi)", BYTES(0xf6, 0x07, 0x80), {WITH_VALUE(COMPARE, TEST, 1, 0x80), .length = 3}},
	{"testl $0x80,(%rdi)", BYTES(0xf7, 0x07, 0x80, 0, 0, 0), {WITH_VALUE(COMPARE, TEST, 4, 0x80), .length = 6}},
	{"xchg %eax,(%rdi)", BYTES(0x87, 0x07), {COMPUTES(MODIFY, XCHG, 4, AX), .length = 2}},
	{"lock xchg %cl,(%rdi)", BYTES(0xf0, 0x86, 0x0f), {COMPUTES(MODIFY, XCHG, 1, CX), .length = 3}},
	{"orb $0x10,(%rdi)", BYTES(0x80, 0x0f, 0x10), {WITH_VALUE(MODIFY, OR, 1, 0x10), .length = 3}},
	{"andl $0xfffffffe,(%rdi)", BYTES(0x83, 0x27, 0xfe), {WITH_VALUE(MODIFY, AND, 4, 0xfffffffe), .length = 3}},
	{"andw $0xfffe,(%rdi)", BYTES(0x66, 0x83, 0x27, 0xfe), {WITH_VALUE(MODIFY, AND, 2, 0xfffe), .length = 4}},
	{"xorq $0x7f,(%rdi)", BYTES(0x48, 0x83, 0x37, 0x7f), {WITH_VALUE(MODIFY, XOR, 8, 0x7f), .length = 4}},
	{"addl $0x12345678,8(%rdi)",
         BYTES(0x81, 0x47, 0x08, 0x78, 0x56, 0x34, 0x12),
         {WITH_VALUE(MODIFY, ADD, 4, 0x12345678), .length = 7}},
	{"subq $-0x80000000,(%rdi)",
         BYTES(0x48, 0x81, 0x2f, 0, 0, 0, 0x80),
         {WITH_VALUE(MODIFY, SUB, 8, 0xffffffff80000000), .length = 7}},
	{"cmpl $-1,(%rdi)", BYTES(0x83, 0x3f, 0xff), {WITH_VALUE(COMPARE, CMP, 4, 0xffffffff), .length = 3}},
	{"lock orl $1,(%rdi)", BYTES(0xf0, 0x83, 0x0f, 0x01), {WITH_VALUE(MODIFY, OR, 4, 1), .length = 4}},
	{"and %ebx,%eax: no memory", BYTES(0x21, 0xd8), {ACCESS(MMIO_NONE, 4, 4, BX), .length = 2}},
	{"stosb", BYTES(0xaa), {ACCESS(MMIO_STOS, 1, 1, AX), .length = 1}},
	{"rep stosq", BYTES(0xf3, 0x48, 0xab), {ACCESS(MMIO_STOS, 8, 8, AX), .length = 3}},
	{"rep movsw", BYTES(0x66, 0xf3, 0xa5), {ACCESS(MMIO_MOVS, 2, 2, AX), .length = 3}},
	{"movsl", BYTES(0xa5), {ACCESS(MMIO_MOVS, 4, 4, AX), .length = 1}},
	{"addr32 rep stosl", BYTES(0x67, 0xf3, 0xab), {ACCESS(MMIO_STOS, 4, 4, AX), .length = 3}},
	{"rep movsq %fs:(%esi),%es:(%edi)",
         BYTES(0x64, 0x67, 0xf3, 0x48, 0xa5),
         {ACCESS(MMIO_MOVS, 8, 8, AX), .length = 5}},
	{"movsb %gs:(%rsi),%es:(%rdi)", BYTES(0x65, 0xa4), {ACCESS(MMIO_MOVS, 1, 1, AX), .length = 2}},
	{"addr32 xchg %r11,%fs:0x10(%r8d)",
         BYTES(0x64, 0x67, 0x4d, 0x87, 0x58, 0x10),
         {COMPUTES(MODIFY, XCHG, 8, R11), .length = 6}},
	{"testw $0x8001,%gs:(%rax,%r9,8)",
         BYTES(0x65, 0x66, 0x42, 0xf7, 0x04, 0xc8, 0x01, 0x80),
         {WITH_VALUE(COMPARE, TEST, 2, 0x8001), .length = 8}},
	{"testq $-1,(%rdi)",
         BYTES(0x48, 0xf7, 0x07, 0xff, 0xff, 0xff, 0xff),
         {WITH_VALUE(COMPARE, TEST, 8, UINT64_MAX), .length = 7}},
	{"cmpb $1,0x10(%rip): the immediate is behind it",
         BYTES(0x80, 0x3d, 0x10, 0, 0, 0, 1),
         {WITH_VALUE(COMPARE, CMP, 1, 1), .length = 7}},
	{"movsbw (%rdi),%r9w",
         BYTES(0x66, 0x44, 0x0f, 0xbe, 0x0f),
         {LOADS(1, 2, R9), .sign_extend = true, .length = 5}},
	{"movsxd without REX.W", BYTES(0x63, 0x07), {LOADS(4, 4, AX), .sign_extend = true, .length = 2}},
	{"mov %ebx,%eax: no memory", BYTES(0x89, 0xd8), {ACCESS(MMIO_NONE, 4, 4, BX), .length = 2}},
};

static const struct encoding encodings_32[] = {
	{"mov (%edi),%eax", BYTES(0x8b, 0x07), {LOADS(4, 4, AX), .length = 2}},
	{"mov (%edi),%ax", BYTES(0x66, 0x8b, 0x07), {LOADS(2, 2, AX), .length = 3}},
	{"mov (%bx),%eax", BYTES(0x67, 0x8b, 0x07), {LOADS(4, 4, AX), .length = 3}},
	{"mov 0x1234,%eax by 16-bit address", BYTES(0x67, 0x8b, 0x06, 0x34, 0x12), {LOADS(4, 4, AX), .length = 5}},
	{"mov 0xfee00020,%eax", BYTES(0xa1, 0x20, 0, 0xe0, 0xfe), {LOADS(4, 4, AX), .length = 5}},
	{"mov 0x1234,%eax by addr16 moffs", BYTES(0x67, 0xa1, 0x34, 0x12), {LOADS(4, 4, AX), .length = 4}},
	{"mov %eax,0xfee000b0", BYTES(0xa3, 0xb0, 0, 0xe0, 0xfe), {STORES(4, AX), .length = 5}},
	{"mov 0xfee00030,%ecx", BYTES(0x8b, 0x0d, 0x30, 0, 0xe0, 0xfe), {LOADS(4, 4, CX), .length = 6}},
	{"movl $0,0xfee000b0", BYTES(0xc7, 0x05, 0xb0, 0, 0xe0, 0xfe, 0, 0, 0, 0), {STORES_VALUE(4, 0), .length = 10}},
	{"mov %ch,%fs:(%esi)", BYTES(0x64, 0x88, 0x2e), {STORES(1, CX), .high_byte = true, .length = 3}},
	{"movzbl (%eax),%ebx", BYTES(0x0f, 0xb6, 0x18), {LOADS(1, 4, BX), .length = 3}},
	{"movswl %es:(%bx,%si),%ecx",
         BYTES(0x26, 0x67, 0x0f, 0xbf, 0x08),
         {LOADS(2, 4, CX), .sign_extend = true, .length = 5}},
	{"orw $0x20,0x1234 by 16-bit address",
         BYTES(0x67, 0x66, 0x83, 0x0e, 0x34, 0x12, 0x20),
         {WITH_VALUE(MODIFY, OR, 2, 0x20), .length = 7}},
	{"xchg %ah,(%ecx)", BYTES(0x86, 0x21), {COMPUTES(MODIFY, XCHG, 1, AX), .high_byte = true, .length = 2}},
	{"addr16 rep movsw %ss:(%si),%es:(%di)",
         BYTES(0x36, 0x67, 0x66, 0xf3, 0xa5),
         {ACCESS(MMIO_MOVS, 2, 2, AX), .length = 5}},
};

static const struct encoding encodings_16[] = {
	{"mov (%bx,%si),%ax", BYTES(0x8b, 0x00), {LOADS(2, 2, AX), .length = 2}},
	{"mov 0x1234,%ax", BYTES(0x8b, 0x06, 0x34, 0x12), {LOADS(2, 2, AX), .length = 4}},
	{"mov 0x12(%bp),%dx", BYTES(0x8b, 0x56, 0x12), {LOADS(2, 2, DX), .length = 3}},
	{"mov 0x1234(%bp),%dx", BYTES(0x8b, 0x96, 0x34, 0x12), {LOADS(2, 2, DX), .length = 4}},
	{"mov (%bx),%eax", BYTES(0x66, 0x8b, 0x07), {LOADS(4, 4, AX), .length = 3}},
	{"mov (%esp),%ax", BYTES(0x67, 0x8b, 0x04, 0x24), {LOADS(2, 2, AX), .length = 4}},
	{"mov 0xb8000,%eax by addr32", BYTES(0x66, 0x67, 0xa1, 0, 0x80, 0x0b, 0), {LOADS(4, 4, AX), .length = 7}},
	{"mov %ax,0x1234", BYTES(0xa3, 0x34, 0x12), {STORES(2, AX), .length = 3}},
	{"movw $0x1234,%es:(%di)", BYTES(0x26, 0xc7, 0x05, 0x34, 0x12), {STORES_VALUE(2, 0x1234), .length = 5}},
	{"movzbw %cs:4(%si),%dx", BYTES(0x2e, 0x0f, 0xb6, 0x54, 0x04), {LOADS(1, 2, DX), .length = 5}},
	{"cmpl $-2,(%bp,%di)", BYTES(0x66, 0x83, 0x3b, 0xfe), {WITH_VALUE(COMPARE, CMP, 4, 0xfffffffe), .length = 4}},
	{"and 0x1234(%eax,%eax),%ax",
         BYTES(0x67, 0x23, 0x84, 0x00, 0x34, 0x12, 0, 0),
         {COMPUTES(COMBINE, AND, 2, AX), .length = 8}},
	{"rep stosl to %es:(%edi)", BYTES(0x66, 0x67, 0xf3, 0xab), {ACCESS(MMIO_STOS, 4, 4, AX), .length = 4}},
	{"movl $1,%es:(%di)", BYTES(0x26, 0x66, 0xc7, 0x05, 1, 0, 0, 0), {STORES_VALUE(4, 1), .length = 8}},
};

static void check_one(const struct encoding *encoding, enum x86_code_mode mode)
{
	struct x86_instruction found;

	if (!x86_decode(encoding->bytes, encoding->given, mode, &found) ||
	    memcmp(&found, &encoding->expected, sizeof(found)) != 0) {
		fail_msg("%s: length %u operation %u width %u result %u gpr %u sign %d high %d immediate %d value %llx",
		         encoding->text, found.length, found.operation, found.width, found.result_width, found.gpr,
		         found.sign_extend, found.high_byte, found.immediate, (unsigned long long)found.value);
	}
	/* Cut off anywhere, it is not known; behind bytes of something else, it stays what it is. */
	for (size_t count = 0; count < encoding->expected.length; count++) {
		assert_false(x86_decode(encoding->bytes, count, mode, &found));
	}
	assert_true(x86_decode(encoding->bytes, X86_INSTRUCTION_MAX, mode, &found));
	assert_int_equal(found.length, encoding->expected.length);
}

static void accesses_of_64_bit_code_decode_as_the_assembler_made_them(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(encodings_64); i++) {
		check_one(&encodings_64[i], X86_CODE_64);
	}
}

static void accesses_of_32_bit_code_decode_as_the_assembler_made_them(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(encodings_32); i++) {
		check_one(&encodings_32[i], X86_CODE_32);
	}
}

static void accesses_of_16_bit_code_decode_as_the_assembler_made_them(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(encodings_16); i++) {
		check_one(&encodings_16[i], X86_CODE_16);
	}
}

static void what_cannot_access_a_device_register_is_refused(void **state)
{
	static const struct {
		const char *text;
		uint8_t bytes[X86_INSTRUCTION_MAX];
		enum x86_code_mode mode;
	} refused[] = {
		{"lock mov %eax,(%rdi) is undefined", {0xf0, 0x89, 0x07}, X86_CODE_64},
		{"C6 /1", {0xc6, 0x0f, 0x12}, X86_CODE_64},
		{"C7 /7, xbegin", {0xc7, 0xf8, 0, 0, 0, 0}, X86_CODE_64},
		{"arpl outside 64-bit mode", {0x63, 0x07}, X86_CODE_32},
		{"dec %eax outside 64-bit mode is no REX", {0x48, 0x8b, 0x07}, X86_CODE_32},
		{"cpuid", {0x0f, 0xa2}, X86_CODE_64},
		{"movups (%rdi),%xmm0", {0x0f, 0x10, 0x07}, X86_CODE_64},
		{"VEX prefix", {0xc5, 0xf8, 0x10, 0x07}, X86_CODE_64},
		{"lock and (%rdi),%eax has its result in a register", {0xf0, 0x23, 0x07}, X86_CODE_64},
		{"lock and %ebx,%eax has no memory operand", {0xf0, 0x21, 0xd8}, X86_CODE_64},
		{"lock cmp %eax,(%rdi)", {0xf0, 0x39, 0x07}, X86_CODE_64},
		{"lock stos", {0xf0, 0xab}, X86_CODE_64},
		{"adc %eax,(%rdi)", {0x11, 0x07}, X86_CODE_64},
		{"sbbl $1,(%rdi)", {0x83, 0x1f, 0x01}, X86_CODE_64},
		{"and $1,%al", {0x24, 0x01}, X86_CODE_64},
		{"notl (%rdi)", {0xf7, 0x17}, X86_CODE_64},
		{"lods", {0xad}, X86_CODE_64},
		{"15 prefixes",
	         {0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66},
	         X86_CODE_64},
		{"14 prefixes and an opcode",
	         {0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x8b},
	         X86_CODE_64},
	};
	struct x86_instruction found;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		if (x86_decode(refused[i].bytes, X86_INSTRUCTION_MAX, refused[i].mode, &found)) {
			fail_msg("%s", refused[i].text);
		}
	}
}

/* The CPU that runs this test knows better than anybody what flags an instruction leaves. */
#define FLAGS (BIT(0) | BIT(2) | BIT(4) | BIT(6) | BIT(7) | BIT(11))
#define BY_CPU(name, text)                                                                                             \
	static uint64_t name##_by_cpu(uint64_t a, uint64_t b, unsigned width, uint64_t *flags)                         \
	{                                                                                                              \
		if (width == 1) {                                                                                      \
			__asm__(text "b %b2, %b0; pushfq; popq %1" : "+q"(a), "=r"(*flags) : "q"(b) : "cc");           \
		} else if (width == 2) {                                                                               \
			__asm__(text "w %w2, %w0; pushfq; popq %1" : "+q"(a), "=r"(*flags) : "q"(b) : "cc");           \
		} else if (width == 4) {                                                                               \
			__asm__(text "l %k2, %k0; pushfq; popq %1" : "+q"(a), "=r"(*flags) : "q"(b) : "cc");           \
		} else {                                                                                               \
			__asm__(text "q %2, %0; pushfq; popq %1" : "+q"(a), "=r"(*flags) : "q"(b) : "cc");             \
		}                                                                                                      \
		return a & BITS(8 * width - 1, 0);                                                                     \
	}
BY_CPU(add, "add")
BY_CPU(or, "or")
BY_CPU(and, "and")
BY_CPU(sub, "sub")
BY_CPU(xor, "xor")
BY_CPU(cmp, "cmp")
BY_CPU(test, "test")

static void what_is_computed_is_what_the_cpu_computes(void **state)
{
	static const struct {
		enum x86_alu op;
		uint64_t (*by_cpu)(uint64_t a, uint64_t b, unsigned width, uint64_t *flags);
		uint64_t defined; /* AF is undefined after logical operations */
	} ops[] = {
		{ALU_ADD, add_by_cpu, FLAGS},
		{ALU_OR, or_by_cpu, FLAGS & ~BIT(4)},
		{ALU_AND, and_by_cpu, FLAGS & ~BIT(4)},
		{ALU_SUB, sub_by_cpu, FLAGS},
		{ALU_XOR, xor_by_cpu, FLAGS & ~BIT(4)},
		{ALU_CMP, cmp_by_cpu, FLAGS},
		{ALU_TEST, test_by_cpu, FLAGS & ~BIT(4)},
	};
	static const uint64_t values[] = {
		0,
		1,
		0xf,
		0x10,
		0x7f,
		0x80,
		0xff,
		0x7fff,
		0x8000,
		0x8001,
		0x7fffffff,
		0x80000000,
		0xffffffff,
		0x7fffffffffffffff,
		0x8000000000000000,
		0xffffffffffffffff,
		0x123456789abcdef0,
		0xfedcba9876543210,
	};

	(void)state;
	for (unsigned o = 0; o < ARRAY_SIZE(ops); o++) {
		for (unsigned i = 0; i < ARRAY_SIZE(values) * ARRAY_SIZE(values) * 4; i++) {
			unsigned width = 1U << i % 4;
			uint64_t a = values[i / 4 % ARRAY_SIZE(values)], b = values[i / 4 / ARRAY_SIZE(values)];
			uint64_t flags, ours = BIT(1) | BIT(9) | FLAGS;
			uint64_t expected = ops[o].by_cpu(a, b, width, &flags);
			assert_int_equal(x86_compute(ops[o].op, a, b, width, &ours), expected);
			assert_int_equal(ours & ops[o].defined, flags & ops[o].defined);
			assert_int_equal(ours & ~FLAGS, BIT(1) | BIT(9)); /* the others are not its business */
		}
	}
}

static void an_instruction_of_15_bytes_decodes_and_one_of_16_does_not(void **state)
{
	/* movl $imm32, disp32(SIB) takes 11 bytes; prefixes fill up the rest. */
	uint8_t bytes[16] = {0x66, 0x66, 0x66, 0x66, 0x48, 0xc7, 0x84, 0x8b};
	struct x86_instruction found;

	(void)state;
	memset(bytes + 8, 0, 8);
	assert_false(x86_decode(bytes, sizeof(bytes), X86_CODE_64, &found));
	assert_true(x86_decode(bytes + 1, 15, X86_CODE_64, &found));
	assert_int_equal(found.length, 15);
	assert_int_equal(found.width, 8);
}

static void a_known_opcode_has_the_length_of_its_prefixes_and_itself(void **state)
{
	static const uint8_t cpuid[] = {0x0f, 0xa2}, vmmcall[] = {0x0f, 0x01, 0xd9}, hlt[] = {0xf4},
			     pause[] = {0xf3, 0x90};
	static const uint8_t plain[] = {0x0f, 0xa2, 0x90}, prefixed[] = {0x66, 0x2e, 0x0f, 0xa2};
	static const uint8_t rex[] = {0x48, 0x0f, 0x01, 0xd9}, repeated[] = {0xf3, 0xf3, 0x90};

	(void)state;
	assert_int_equal(x86_opcode_length(plain, sizeof(plain), X86_CODE_64, cpuid, sizeof(cpuid)), 2);
	assert_int_equal(x86_opcode_length(plain, 1, X86_CODE_64, cpuid, sizeof(cpuid)), 0);
	assert_int_equal(x86_opcode_length(prefixed, sizeof(prefixed), X86_CODE_16, cpuid, sizeof(cpuid)), 4);
	assert_int_equal(x86_opcode_length(rex, sizeof(rex), X86_CODE_64, vmmcall, sizeof(vmmcall)), 4);
	assert_int_equal(x86_opcode_length(rex, sizeof(rex), X86_CODE_32, vmmcall, sizeof(vmmcall)), 0);
	assert_int_equal(x86_opcode_length(rex, sizeof(rex), X86_CODE_64, cpuid, sizeof(cpuid)), 0);
	assert_int_equal(x86_opcode_length(repeated, sizeof(repeated), X86_CODE_64, pause, sizeof(pause)), 3);
	assert_int_equal(x86_opcode_length(hlt, sizeof(hlt), X86_CODE_64, hlt, sizeof(hlt)), 1);
	assert_int_equal(x86_opcode_length(hlt, 0, X86_CODE_64, hlt, sizeof(hlt)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accesses_of_64_bit_code_decode_as_the_assembler_made_them),
		cmocka_unit_test(accesses_of_32_bit_code_decode_as_the_assembler_made_them),
		cmocka_unit_test(accesses_of_16_bit_code_decode_as_the_assembler_made_them),
		cmocka_unit_test(what_cannot_access_a_device_register_is_refused),
		cmocka_unit_test(what_is_computed_is_what_the_cpu_computes),
		cmocka_unit_test(an_instruction_of_15_bytes_decodes_and_one_of_16_does_not),
		cmocka_unit_test(a_known_opcode_has_the_length_of_its_prefixes_and_itself),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
