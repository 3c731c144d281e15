/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loads, stores, and what computes: on the 16550's scratch register by bytes, which hv answers, and on the local APIC's
 * initial count by 32 bits, which the architecture answers.
 */
#include "guest.h"

#define UART_SCRATCH  0xfe032007ul
#define INITIAL_COUNT 0xfee00380ul
#define FLAGS         0x8d5u /* CF, PF, AF, ZF, SF, OF */

struct registers {
	uint64_t a, c, flags;
	uintptr_t si, di;
};

struct form {
	const char *name;
	void (*run)(void *at, struct registers *registers);
	bool on_string; /* RSI or RDI point at the register, as `source` says */
	bool source;
};

/* With the register's address in RDX, RAX and RCX to use, and RSI, RDI for strings. */
#define FORM(name, text)                                                                                               \
	static void name(void *at, struct registers *r)                                                                \
	{                                                                                                              \
		__asm__ volatile(text "; pushfq; popq %2"                                                              \
		                 : "+a"(r->a), "+c"(r->c), "=r"(r->flags), "+S"(r->si), "+D"(r->di)                    \
		                 : "d"(at)                                                                             \
		                 : "memory", "cc");                                                                    \
	}

FORM(load_b, "movb (%%rdx), %%al")
FORM(load_zx_b, "movzbl (%%rdx), %%eax")
FORM(load_sx_b, "movsbq (%%rdx), %%rax")
FORM(load_high_b, "movb (%%rdx), %%ah")
FORM(store_b, "movb %%al, (%%rdx)")
FORM(store_high_b, "movb %%ah, (%%rdx)")
FORM(store_value_b, "movb $0x91, (%%rdx)")
FORM(and_b, "andb %%al, (%%rdx)")
FORM(or_value_b, "orb $0x81, (%%rdx)")
FORM(xor_high_b, "xorb %%ah, (%%rdx)")
FORM(add_b, "addb %%al, (%%rdx)")
FORM(sub_b, "subb %%cl, (%%rdx)")
FORM(and_from_b, "andb (%%rdx), %%al")
FORM(add_from_b, "addb (%%rdx), %%ah")
FORM(sub_from_b, "subb (%%rdx), %%cl")
FORM(test_b, "testb %%al, (%%rdx)")
FORM(test_value_b, "testb $0x5a, (%%rdx)")
FORM(cmp_b, "cmpb %%al, (%%rdx)")
FORM(cmp_from_b, "cmpb (%%rdx), %%al")
FORM(cmp_value_b, "cmpb $0x7f, (%%rdx)")
FORM(xchg_b, "xchgb %%al, (%%rdx)")
FORM(xchg_high_b, "xchgb %%ah, (%%rdx)")
FORM(lock_or_b, "lock orb %%cl, (%%rdx)")
FORM(stos_b, "stosb")
FORM(rep_stos_b, "movl $1, %%ecx; rep stosb")
FORM(movs_b, "movsb")
FORM(rep_movs_b, "movl $1, %%ecx; rep movsb")

FORM(load_l, "movl (%%rdx), %%eax")
FORM(load_sx_l, "movslq (%%rdx), %%rax")
FORM(store_l, "movl %%ecx, (%%rdx)")
FORM(and_value_l, "andl $0xf0f0f0f0, (%%rdx)")
FORM(or_short_l, "orl $-16, (%%rdx)")
FORM(xor_l, "xorl %%eax, (%%rdx)")
FORM(add_l, "addl %%eax, (%%rdx)")
FORM(sub_value_l, "subl $0x12345678, (%%rdx)")
FORM(or_from_l, "orl (%%rdx), %%eax")
FORM(xor_from_l, "xorl (%%rdx), %%ecx")
FORM(add_from_l, "addl (%%rdx), %%eax")
FORM(sub_from_l, "subl (%%rdx), %%eax")
FORM(test_l, "testl %%eax, (%%rdx)")
FORM(test_value_l, "testl $0x80000000, (%%rdx)")
FORM(cmp_l, "cmpl %%eax, (%%rdx)")
FORM(cmp_short_l, "cmpl $-1, (%%rdx)")
FORM(cmp_from_l, "cmpl (%%rdx), %%ecx")
FORM(xchg_l, "xchgl %%ecx, (%%rdx)")
FORM(lock_and_l, "lock andl %%eax, (%%rdx)")
FORM(lock_xor_l, "lock xorl %%eax, (%%rdx)")
FORM(stos_l, "stosl")
FORM(movs_l, "movsl")

#define PLAIN(f)                                                                                                       \
	{                                                                                                              \
#f, f, false, false                                                                                    \
	}
#define TO(f)                                                                                                          \
	{                                                                                                              \
#f, f, true, false                                                                                     \
	}
#define FROM(f)                                                                                                        \
	{                                                                                                              \
#f " from", f, true, true                                                                              \
	}
static const struct form bytes[] = {
	PLAIN(load_b),       PLAIN(load_zx_b),     PLAIN(load_sx_b),  PLAIN(load_high_b), PLAIN(store_b),
	PLAIN(store_high_b), PLAIN(store_value_b), PLAIN(and_b),      PLAIN(or_value_b),  PLAIN(xor_high_b),
	PLAIN(add_b),        PLAIN(sub_b),         PLAIN(and_from_b), PLAIN(add_from_b),  PLAIN(sub_from_b),
	PLAIN(test_b),       PLAIN(test_value_b),  PLAIN(cmp_b),      PLAIN(cmp_from_b),  PLAIN(cmp_value_b),
	PLAIN(xchg_b),       PLAIN(xchg_high_b),   PLAIN(lock_or_b),  TO(stos_b),         TO(rep_stos_b),
	TO(movs_b),          FROM(movs_b),         TO(rep_movs_b),    FROM(rep_movs_b),
};
static const struct form words[] = {
	PLAIN(load_l),      PLAIN(load_sx_l),  PLAIN(store_l),     PLAIN(and_value_l),  PLAIN(or_short_l),
	PLAIN(xor_l),       PLAIN(add_l),      PLAIN(sub_value_l), PLAIN(or_from_l),    PLAIN(xor_from_l),
	PLAIN(add_from_l),  PLAIN(sub_from_l), PLAIN(test_l),      PLAIN(test_value_l), PLAIN(cmp_l),
	PLAIN(cmp_short_l), PLAIN(cmp_from_l), PLAIN(xchg_l),      PLAIN(lock_and_l),   PLAIN(lock_xor_l),
	TO(stos_l),         TO(movs_l),        FROM(movs_l),
};

static uint32_t other_end; /* of MOVS */

static void load(volatile void *at, unsigned width, uint32_t value)
{
	if (width == 1) {
		*(volatile uint8_t *)at = (uint8_t)value;
	} else {
		*(volatile uint32_t *)at = value;
	}
}

static uint32_t value_of(volatile void *at, unsigned width)
{
	return width == 1 ? *(volatile uint8_t *)at : *(volatile uint32_t *)at;
}

/* Runs the form on `at`; what it left there goes to *left, what it moved elsewhere to *other. */
static void run(const struct form *form, void *at, unsigned width, const uint32_t value[3], struct registers *r,
                uint32_t *left, uint32_t *other)
{
	*r = (struct registers){
		.a = 0x5555555500000000 | value[1],
		.c = 0xaaaaaaaa00000000 | value[2],
		.si = (uintptr_t)(form->on_string && form->source ? at : &other_end),
		.di = (uintptr_t)(form->on_string && !form->source ? at : &other_end),
	};
	other_end = value[2];
	load(at, width, value[0]);
	form->run(at, r);
	*left = value_of(at, width);
	*other = other_end;
	r->flags &= FLAGS;
	if (form->on_string) { /* how far they went, whatever the address */
		r->si -= (uintptr_t)(form->source ? at : &other_end);
		r->di -= (uintptr_t)(form->source ? &other_end : at);
	}
}

static bool same(const struct registers *a, const struct registers *b)
{
	return a->a == b->a && a->c == b->c && a->flags == b->flags && a->si == b->si && a->di == b->di;
}

static unsigned check(const struct form *form, void *device, unsigned width)
{
	static const uint32_t values[][3] = {
		{0x00000000, 0x00000000, 0x00000000}, {0x80000080, 0x80000080, 0x7fffff7f},
		{0x12345678, 0x9abcdef0, 0x0f0f0f0f}, {0xffffffff, 0x00000001, 0xffffffff},
		{0x7fffff7f, 0xffffffff, 0x80000080}, {0x0000008f, 0x00008f71, 0x000000f1},
	};
	for (unsigned i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		struct registers on_memory, on_device;
		uint32_t memory, left[2], other[2];
		run(form, &memory, width, values[i], &on_memory, &left[0], &other[0]);
		run(form, device, width, values[i], &on_device, &left[1], &other[1]);
		if (!same(&on_memory, &on_device) || left[0] != left[1] || other[0] != other[1]) {
			print("mmio: %s: %x and %x: flags %lx and %lx, rax %lx and %lx\n", form->name, left[0], left[1],
			      (unsigned long)on_memory.flags, (unsigned long)on_device.flags,
			      (unsigned long)on_memory.a, (unsigned long)on_device.a);
			return 1;
		}
	}
	return 0;
}

unsigned mmio_checks(unsigned *done)
{
	unsigned failed = 0;
	for (unsigned i = 0; i < sizeof(bytes) / sizeof(bytes[0]); i++, (*done)++) {
		failed += check(&bytes[i], (void *)UART_SCRATCH, 1);
	}
	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++, (*done)++) {
		failed += check(&words[i], (void *)INITIAL_COUNT, 4);
	}
	return failed;
}
