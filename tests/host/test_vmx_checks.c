/* SPDX-License-Identifier: Apache-2.0 */
// sources: arch/x86_64/vmx_checks.c
/*
 * The guest-state checker of SDM vol. 3C 26.3.1: states that a CPU enters break no rule, and one wrong field
 * is named by its rule.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/util.h"
#include "vcpu.h"
#include "vmcs.h"
#include "vmx_checks.h"

enum base { LONG_MODE, PROTECTED_32, PAE_32, REAL_MODE, VIRTUAL_8086 };

static const struct vmx_guest_segment flat_data = {.selector = 0x10, .limit = UINT32_MAX, .rights = 0xc093};
static const struct vmx_guest_segment long_code = {.selector = 8, .limit = UINT32_MAX, .rights = 0xa09b};
static const struct vmx_guest_segment flat_code = {.selector = 8, .limit = UINT32_MAX, .rights = 0xc09b};
static const struct vmx_guest_segment real_data = {
	.selector = 0x1234, .limit = 0xffff, .rights = 0x93, .base = 0x12340};
static const struct vmx_guest_segment v8086 = {.selector = 0x1234, .limit = 0xffff, .rights = 0xf3, .base = 0x12340};

static void fill_segments(struct vmx_guest_state *state, const struct vmx_guest_segment *code,
                          const struct vmx_guest_segment *data)
{
	for (unsigned name = X86_ES; name <= X86_GS; name++) {
		state->segment[name] = name == X86_CS ? *code : *data;
	}
	state->segment[X86_LDTR].rights = ACCESS_RIGHTS_UNUSABLE;
	state->segment[X86_TR] = (struct vmx_guest_segment){.limit = 0x67, .rights = 0x8b};
	state->segment[X86_GDTR].limit = state->segment[X86_IDTR].limit = 0xffff;
}

static struct vmx_guest_state good_state(enum base base)
{
	struct vmx_guest_state state = {
		.cr0 = 0x80000031,
		.cr4 = 0x2000,
		.pat = 0x0007040600070406,
		.dr7 = 0x400,
		.rip = 0x100000,
		.rflags = 2,
		.link_pointer = UINT64_MAX,
		.cr0_fixed0 = 0x80000021,
		.cr0_fixed1 = UINT32_MAX,
		.cr4_fixed0 = 0x2000,
		.cr4_fixed1 = 0x3767ff,
		.pin_controls = PIN_VIRTUAL_NMI,
		.physical_bits = 39,
		.linear_bits = 48,
	};
	switch (base) {
	case LONG_MODE:
		state.cr4 = 0x2020;
		state.efer = 0xd00;
		state.entry_controls = ENTRY_IA32E;
		fill_segments(&state, &long_code, &flat_data);
		break;
	case PAE_32:
		state.cr4 = 0x2020;
		fill_segments(&state, &flat_code, &flat_data);
		break;
	case PROTECTED_32:
		fill_segments(&state, &flat_code, &flat_data);
		break;
	case REAL_MODE:
		state.cr0 = 0x20;
		state.rip = 0xfff0;
		fill_segments(&state, &real_data, &real_data);
		break;
	case VIRTUAL_8086:
		state.rflags |= BIT(17);
		fill_segments(&state, &v8086, &v8086);
		break;
	}
	return state;
}

struct expected {
	const char *rule;
	bool found;
};

static void note(void *context, const char *rule)
{
	struct expected *expected = context;
	if (strcmp(rule, expected->rule) == 0) {
		expected->found = true;
	}
}

static void states_that_a_cpu_enters_break_no_rule(void **unused)
{
	(void)unused;
	for (enum base base = LONG_MODE; base <= VIRTUAL_8086; base++) {
		struct vmx_guest_state state = good_state(base);
		struct expected none = {.rule = ""};
		assert_int_equal(vmx_check_guest_state(&state, note, &none), 0);
	}
}

#define FIELD(name)          offsetof(struct vmx_guest_state, name), sizeof(((struct vmx_guest_state *)0)->name)
#define SEGMENT(name, field) FIELD(segment[name].field)

/* One field of a good state changed, and the rule that must be told. */
static const struct {
	enum base base;
	size_t offset, bytes;
	uint64_t value;
	const char *rule;
} mistakes[] = {
	{LONG_MODE, FIELD(cr0), 0x80000011, "CR0 lacks a bit that IA32_VMX_CR0_FIXED0 demands"},
	{LONG_MODE, FIELD(cr0), 0x180000031, "CR0 has a bit that IA32_VMX_CR0_FIXED1 forbids"},
	{REAL_MODE, FIELD(cr0), 0x80000020, "CR0.PG is set without CR0.PE"},
	{LONG_MODE, FIELD(cr0), 0x31, "CR0.PG is clear in an IA-32e mode guest"},
	{LONG_MODE, FIELD(cr4), 0x20, "CR4 lacks a bit that IA32_VMX_CR4_FIXED0 demands"},
	{LONG_MODE, FIELD(cr4), 0x80002020, "CR4 has a bit that IA32_VMX_CR4_FIXED1 forbids"},
	{LONG_MODE, FIELD(cr4), 0x2000, "CR4.PAE is clear in an IA-32e mode guest"},
	{PROTECTED_32, FIELD(cr4), 0x22000, "CR4.PCIDE is set outside IA-32e mode"},
	{LONG_MODE, FIELD(cr3), UINT64_C(1) << 39, "CR3 is wider than physical addresses"},
	{LONG_MODE, FIELD(dr7), UINT64_C(1) << 32, "DR7 is wider than 32 bits"},
	{LONG_MODE, FIELD(debugctl), 4, "IA32_DEBUGCTL has a reserved bit set"},
	{LONG_MODE, FIELD(sysenter_esp), UINT64_C(1) << 47, "IA32_SYSENTER_ESP is not canonical"},
	{LONG_MODE, FIELD(sysenter_eip), UINT64_C(1) << 63, "IA32_SYSENTER_EIP is not canonical"},
	{LONG_MODE, FIELD(pat), 0x0007040600070402, "IA32_PAT holds a memory type that is none of 0, 1, 4, 5, 6, 7"},
	{LONG_MODE, FIELD(efer), 0xd02, "IA32_EFER has a reserved bit set"},
	{LONG_MODE, FIELD(efer), 0x900, "IA32_EFER.LMA differs from the IA-32e mode guest control"},
	{LONG_MODE, FIELD(entry_controls), 0, "IA32_EFER.LMA differs from the IA-32e mode guest control"},
	{PROTECTED_32, FIELD(efer), 0x100, "IA32_EFER.LMA differs from LME with paging on"},
	{LONG_MODE, SEGMENT(X86_CS, rights), 0xe09b, "CS has both L and D/B set in an IA-32e mode guest"},
	{LONG_MODE, SEGMENT(X86_CS, rights), 0x1a09b, "CS is unusable"},
	{LONG_MODE, SEGMENT(X86_CS, rights), 0xa098, "CS type is no accessed code segment"},
	{LONG_MODE, SEGMENT(X86_CS, rights), 0xa0fb, "CS DPL of a non-conforming segment differs from SS's"},
	{LONG_MODE, SEGMENT(X86_CS, rights), 0xa0ff, "CS DPL of a conforming segment is above SS's"},
	{PROTECTED_32, SEGMENT(X86_CS, rights), 0xc0f3, "CS DPL is not 0 with a data segment's type"},
	{LONG_MODE, SEGMENT(X86_CS, rights), 0xa01b, "CS is usable but not present"},
	{LONG_MODE, SEGMENT(X86_CS, rights), 0xa08b, "CS descriptor type (S) is wrong"},
	{LONG_MODE, SEGMENT(X86_CS, rights), 0xa19b, "CS access rights have a reserved bit set"},
	{LONG_MODE, SEGMENT(X86_CS, base), UINT64_C(1) << 32, "CS base is wider than 32 bits"},
	{LONG_MODE, SEGMENT(X86_SS, rights), 0xc091, "SS type is no accessed, writable data segment"},
	{REAL_MODE, SEGMENT(X86_SS, rights), 0xf3, "SS DPL is not 0 in real mode"},
	{LONG_MODE, SEGMENT(X86_DS, rights), 0xc092, "DS is not accessed"},
	{LONG_MODE, SEGMENT(X86_DS, rights), 0xc099, "DS is a code segment that is not readable"},
	{LONG_MODE, SEGMENT(X86_DS, limit), 0xfffff000, "DS limit[11:0] are not all ones with granularity in pages"},
	{REAL_MODE, SEGMENT(X86_ES, limit), 0x10ffff, "ES limit[31:20] are not zero with granularity in bytes"},
	{LONG_MODE, SEGMENT(X86_ES, base), UINT64_C(1) << 40, "ES base is wider than 32 bits"},
	{LONG_MODE, SEGMENT(X86_GS, base), UINT64_C(1) << 48, "GS base is not canonical"},
	{VIRTUAL_8086, SEGMENT(X86_FS, base), 0x1234, "FS base is not the selector times 16 in virtual-8086 mode"},
	{VIRTUAL_8086, SEGMENT(X86_CS, limit), UINT32_MAX, "CS limit is not 0xffff in virtual-8086 mode"},
	{VIRTUAL_8086, SEGMENT(X86_SS, rights), 0x93, "SS access rights are not 0xf3 in virtual-8086 mode"},
	{LONG_MODE, SEGMENT(X86_TR, selector), 4, "TR selector points into the LDT"},
	{LONG_MODE, SEGMENT(X86_TR, rights), 0x1008b, "TR is unusable"},
	{LONG_MODE, SEGMENT(X86_TR, rights), 0x83, "TR type is no busy TSS"},
	{LONG_MODE, SEGMENT(X86_TR, rights), 0x89, "TR type is no busy TSS"},
	{LONG_MODE, SEGMENT(X86_TR, base), UINT64_C(1) << 62, "TR base is not canonical"},
	{LONG_MODE, SEGMENT(X86_LDTR, rights), 0x83, "LDTR type is no LDT"},
	{LONG_MODE, SEGMENT(X86_GDTR, limit), 0x10000, "GDTR limit is wider than 16 bits"},
	{LONG_MODE, SEGMENT(X86_IDTR, base), UINT64_C(1) << 50, "IDTR base is not canonical"},
	{LONG_MODE, FIELD(rip), UINT64_C(1) << 48, "RIP is wider than linear addresses"},
	{PROTECTED_32, FIELD(rip), UINT64_C(1) << 32, "RIP is wider than 32 bits outside 64-bit mode"},
	{LONG_MODE, FIELD(rflags), 0x8002, "RFLAGS has a reserved bit set"},
	{LONG_MODE, FIELD(rflags), 0, "RFLAGS lacks bit 1"},
	{LONG_MODE, FIELD(rflags), 0x20002, "RFLAGS.VM is set in an IA-32e mode guest or with CR0.PE clear"},
	{LONG_MODE, FIELD(entry_interruption), 0x80000020, "an external interrupt is injected with RFLAGS.IF clear"},
	{LONG_MODE, FIELD(activity), 4, "activity state is unknown"},
	{LONG_MODE, FIELD(interruptibility), 0x20, "interruptibility has a reserved bit set"},
	{LONG_MODE, FIELD(interruptibility), 3, "interruptibility has blocking by STI and by MOV SS"},
	{LONG_MODE, FIELD(interruptibility), 1, "interruptibility has blocking by STI with RFLAGS.IF clear"},
	{LONG_MODE, FIELD(interruptibility), 4, "interruptibility has blocking by SMI outside SMM"},
	{LONG_MODE, FIELD(pending_debug), 0x10, "pending debug exceptions have a reserved bit set"},
	{PAE_32, FIELD(pdpte[2]), 3, "a present PDPTE has a reserved bit set"},
	{PAE_32, FIELD(pdpte[0]), UINT64_C(1) << 39 | 1, "a present PDPTE has a reserved bit set"},
	{LONG_MODE, FIELD(link_pointer), 0x1000, "the VMCS link pointer is not all ones"},
};

static void each_wrong_field_is_named_by_its_rule(void **unused)
{
	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(mistakes); i++) {
		struct vmx_guest_state state = good_state(mistakes[i].base);
		struct expected expected = {.rule = mistakes[i].rule};
		memcpy((char *)&state + mistakes[i].offset, &mistakes[i].value, mistakes[i].bytes);
		unsigned count = vmx_check_guest_state(&state, note, &expected);
		if (count == 0 || !expected.found) {
			fail_msg("row %zu: \"%s\" was not told", i, mistakes[i].rule);
		}
	}
}

static void rules_that_take_two_fields_to_break_are_told(void **unused)
{
	(void)unused;
	struct vmx_guest_state state = good_state(LONG_MODE);
	struct expected step = {
		.rule = "pending debug exceptions disagree with RFLAGS.TF about a single step in a shadow or HLT"};
	state.rflags |= BIT(8);
	state.interruptibility = BLOCKING_BY_MOV_SS;
	assert_int_equal(vmx_check_guest_state(&state, note, &step), 1);
	assert_true(step.found);
	state.pending_debug = PENDING_DEBUG_BS;
	assert_int_equal(vmx_check_guest_state(&state, note, &step), 0);

	state = good_state(LONG_MODE);
	struct expected nmi = {.rule = "an NMI is injected while NMIs are blocked"};
	state.entry_interruption = INTERRUPTION_INFO(2, INTERRUPTION_NMI);
	state.interruptibility = BLOCKING_BY_NMI;
	assert_int_equal(vmx_check_guest_state(&state, note, &nmi), 1);
	assert_true(nmi.found);

	state = good_state(PROTECTED_32);
	struct expected hlt = {.rule = "activity state is HLT with SS.DPL not 0"};
	state.activity = ACTIVITY_HLT;
	state.segment[X86_SS].rights |= 0x60;
	state.segment[X86_CS].rights |= 0x60;
	assert_int_equal(vmx_check_guest_state(&state, note, &hlt), 1);
	assert_true(hlt.found);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(states_that_a_cpu_enters_break_no_rule),
		cmocka_unit_test(each_wrong_field_is_named_by_its_rule),
		cmocka_unit_test(rules_that_take_two_fields_to_break_are_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
