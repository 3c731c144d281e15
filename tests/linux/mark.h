/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Marks: instructions that do nothing and that no compiler emits, with a number in them. Programs execute them by
 * mark(N); tests/bench/count_plugin.c knows them and notes how many instructions the machine has executed until there.
 */

#ifndef TESTS_LINUX_MARK_H
#define TESTS_LINUX_MARK_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Where it begins; the number above it is where it ends. */
enum {
	MARK_INIT = 1, /* the first process has said its first line */
	MARK_SHA256 = 10,
	MARK_FORK = 20,
	MARK_TOUCH_FIRST = 30,
	MARK_TOUCH = 40,
	MARK_TIMER = 50,
	MARK_PIPE = 60,
	MARK_BLK_READ = 70,
	MARK_PING = 80,
};

#if defined(__x86_64__)
/* NOP with a displacement of 32 bits (SDM Vol. 2, "NOP": 0F 1F /0), in which the number is the lowest byte. */
#define mark(number) __asm__ volatile("nopl %c0(%%rax, %%rax)" : : "i"(0x0ca15500 + (number)) : "memory")
#elif defined(__aarch64__)
/* MOVZ to XZR (Arm ARM C6.2, "MOVZ"); the number is the lowest byte of its immediate. */
#define mark(number) __asm__ volatile("movz xzr, %0, lsl #48" : : "i"(0xca00 + (number)) : "memory")
#endif

/* The number in an instruction, -1 if it is no mark. */
static inline int mark_number(const void *instruction, size_t bytes)
{
	static const uint8_t nop[] = {0x0f, 0x1f, 0x84, 0x00};
	static const uint8_t nop_above[] = {0x55, 0xa1, 0x0c};
	const uint8_t *code = instruction;
	uint32_t word = 0;

	if (bytes == 8 && memcmp(code, nop, sizeof(nop)) == 0 && memcmp(code + 5, nop_above, sizeof(nop_above)) == 0)
		return code[4];
	if (bytes != sizeof(word))
		return -1;
	memcpy(&word, code, sizeof(word));
	return (word & 0xffffe01f) == (0xd2e0001f | 0xca00 << 5) ? (int)(word >> 5 & 0xff) : -1;
}

#endif
