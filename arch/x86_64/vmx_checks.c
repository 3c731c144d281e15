/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SDM vol. 3C 26.3.1, "Checks on the Guest State Area", rule by rule, for a 64-bit host with unrestricted guest,
 * EPT and the PAT and EFER controls on, which is how vmx_setup.c makes every VMCS. Called by vmx_report.c after
 * a VM entry has failed, and by host tests; pure.
 */
#include "vmx_checks.h"
#include "cpu.h"
#include "lib/printf.h"
#include "vcpu.h"
#include "vmcs.h"

#define RULE_MAX 96

#define RFLAGS_TF       BIT(8)
#define RFLAGS_VM       BIT(17)
#define RFLAGS_RESERVED (BITS(63, 22) | BIT(15) | BIT(5) | BIT(3))
#define EFER_RESERVED   (BITS(63, 12) | BIT(9) | BITS(7, 1))
#define DEBUGCTL_BTF    BIT(1)

#define DEBUGCTL_RESERVED      (BITS(63, 16) | BITS(5, 2))
#define PENDING_DEBUG_RESERVED (BITS(63, 17) | BIT(15) | BIT(13) | BITS(11, 4))
#define INTERRUPTIBILITY_MAX   BITS(4, 0)
#define ACCESS_RIGHTS_RESERVED (BITS(31, 17) | BITS(11, 8))
#define SELECTOR_TI            BIT(2)
#define TABLE_LIMIT_MAX        0xffffU
#define PDPTE_PRESENT          BIT(0)
#define PDPTE_RESERVED         (BITS(2, 1) | BITS(8, 5))
#define NO_LINK_POINTER        UINT64_MAX

/* Segment types, vol. 3A tables 3-1 and 3-2. */
#define TYPE_ACCESSED              1U
#define TYPE_READABLE              2U
#define TYPE_CODE                  8U
#define TYPE_DATA_RW_ACCESSED      3U
#define TYPE_DATA_RW_DOWN_ACCESSED 7U
#define TYPE_LDT                   2U
#define TYPE_TSS16_BUSY            3U
#define TYPE_TSS32_BUSY            11U
#define TYPE_CONFORMING            4U

/* 26.3.1.2: what a segment looks like in virtual-8086 mode. */
#define V8086_LIMIT  0xffffU
#define V8086_RIGHTS 0xf3U

struct checker {
	const struct vmx_guest_state *state;
	void (*violated)(void *context, const char *rule);
	void *context;
	unsigned count;
};

static const char *const segment_names[VMX_GUEST_SEGMENTS] = {"ES", "CS",   "SS", "DS",   "FS",
                                                              "GS", "LDTR", "TR", "GDTR", "IDTR"};

/* `holds` is the rule; its text is told where it does not hold. */
static void rule(struct checker *checker, bool holds, const char *text)
{
	if (!holds) {
		checker->count++;
		checker->violated(checker->context, text);
	}
}

static void segment_rule(struct checker *checker, enum x86_segment_name name, bool holds, const char *text)
{
	char line[RULE_MAX];
	if (!holds) {
		(void)snprintf(line, sizeof(line), "%s %s", segment_names[name], text);
		rule(checker, false, line);
	}
}

static bool canonical(const struct checker *checker, uint64_t address)
{
	uint64_t high = BITS(63, checker->state->linear_bits - 1U);
	return (address & high) == 0 || (address & high) == high;
}

static bool fits_physical(const struct checker *checker, uint64_t address)
{
	return !(address & BITS(63, checker->state->physical_bits));
}

static bool ia32e(const struct checker *checker)
{
	return checker->state->entry_controls & ENTRY_IA32E;
}

static bool virtual_8086(const struct checker *checker)
{
	return checker->state->rflags & RFLAGS_VM;
}

static bool usable(const struct vmx_guest_segment *segment)
{
	return !(segment->rights & ACCESS_RIGHTS_UNUSABLE);
}

/* ---- 26.3.1.1: control registers, debug registers, MSRs ---- */

static void check_pat(struct checker *checker)
{
	for (unsigned i = 0; i < 8; i++) {
		uint64_t type = field(checker->state->pat, 8 * i + 7, 8 * i);
		if (type > 7 || type == 2 || type == 3) {
			rule(checker, false, "IA32_PAT holds a memory type that is none of 0, 1, 4, 5, 6, 7");
			return;
		}
	}
}

static void check_registers(struct checker *checker)
{
	const struct vmx_guest_state *s = checker->state;
	uint64_t needed = s->cr0_fixed0 & ~(CR0_PE | CR0_PG);
	rule(checker, (s->cr0 & needed) == needed, "CR0 lacks a bit that IA32_VMX_CR0_FIXED0 demands");
	rule(checker, !(s->cr0 & ~s->cr0_fixed1), "CR0 has a bit that IA32_VMX_CR0_FIXED1 forbids");
	rule(checker, !(s->cr0 & CR0_PG) || (s->cr0 & CR0_PE), "CR0.PG is set without CR0.PE");
	rule(checker, (s->cr4 & s->cr4_fixed0) == s->cr4_fixed0, "CR4 lacks a bit that IA32_VMX_CR4_FIXED0 demands");
	rule(checker, !(s->cr4 & ~s->cr4_fixed1), "CR4 has a bit that IA32_VMX_CR4_FIXED1 forbids");
	rule(checker, !(s->debugctl & DEBUGCTL_RESERVED), "IA32_DEBUGCTL has a reserved bit set");
	if (ia32e(checker)) {
		rule(checker, s->cr0 & CR0_PG, "CR0.PG is clear in an IA-32e mode guest");
		rule(checker, s->cr4 & CR4_PAE, "CR4.PAE is clear in an IA-32e mode guest");
	} else {
		rule(checker, !(s->cr4 & CR4_PCIDE), "CR4.PCIDE is set outside IA-32e mode");
	}
	rule(checker, fits_physical(checker, s->cr3), "CR3 is wider than physical addresses");
	rule(checker, !(s->dr7 >> 32), "DR7 is wider than 32 bits");
	rule(checker, canonical(checker, s->sysenter_esp), "IA32_SYSENTER_ESP is not canonical");
	rule(checker, canonical(checker, s->sysenter_eip), "IA32_SYSENTER_EIP is not canonical");
	check_pat(checker);
	rule(checker, !(s->efer & EFER_RESERVED), "IA32_EFER has a reserved bit set");
	rule(checker, !(s->efer & EFER_LMA) == !ia32e(checker),
	     "IA32_EFER.LMA differs from the IA-32e mode guest control");
	rule(checker, !(s->cr0 & CR0_PG) || !(s->efer & EFER_LMA) == !(s->efer & EFER_LME),
	     "IA32_EFER.LMA differs from LME with paging on");
}

/* ---- 26.3.1.2: segment registers ---- */

static void check_virtual_8086(struct checker *checker, enum x86_segment_name name)
{
	const struct vmx_guest_segment *segment = &checker->state->segment[name];
	segment_rule(checker, name, segment->base == (uint64_t)segment->selector << 4,
	             "base is not the selector times 16 in virtual-8086 mode");
	segment_rule(checker, name, segment->limit == V8086_LIMIT, "limit is not 0xffff in virtual-8086 mode");
	segment_rule(checker, name, segment->rights == V8086_RIGHTS, "access rights are not 0xf3 in virtual-8086 mode");
}

/* Those that hold for each kind of segment that is usable. */
static void check_rights(struct checker *checker, enum x86_segment_name name, bool system)
{
	const struct vmx_guest_segment *segment = &checker->state->segment[name];
	bool granular = segment->rights & ACCESS_RIGHTS_G;
	segment_rule(checker, name, !(segment->rights & ACCESS_RIGHTS_S) == system, "descriptor type (S) is wrong");
	segment_rule(checker, name, segment->rights & ACCESS_RIGHTS_P, "is usable but not present");
	segment_rule(checker, name, !(segment->rights & ACCESS_RIGHTS_RESERVED),
	             "access rights have a reserved bit set");
	segment_rule(checker, name, !granular || (segment->limit & BITS(11, 0)) == BITS(11, 0),
	             "limit[11:0] are not all ones with granularity in pages");
	segment_rule(checker, name, granular || !(segment->limit & BITS(31, 20)),
	             "limit[31:20] are not zero with granularity in bytes");
}

static void check_code(struct checker *checker)
{
	const struct vmx_guest_segment *cs = &checker->state->segment[X86_CS], *ss = &checker->state->segment[X86_SS];
	unsigned type = ACCESS_RIGHTS_TYPE(cs->rights);
	uint64_t dpl = ACCESS_RIGHTS_DPL(cs->rights), ss_dpl = ACCESS_RIGHTS_DPL(ss->rights);
	bool code = (type & TYPE_CODE) && (type & TYPE_ACCESSED);
	segment_rule(checker, X86_CS, usable(cs), "is unusable");
	segment_rule(checker, X86_CS, code || type == TYPE_DATA_RW_ACCESSED, "type is no accessed code segment");
	if (type == TYPE_DATA_RW_ACCESSED) {
		segment_rule(checker, X86_CS, dpl == 0, "DPL is not 0 with a data segment's type");
	} else if (code && (type & TYPE_CONFORMING)) {
		segment_rule(checker, X86_CS, dpl <= ss_dpl, "DPL of a conforming segment is above SS's");
	} else if (code) {
		segment_rule(checker, X86_CS, dpl == ss_dpl, "DPL of a non-conforming segment differs from SS's");
	}
	segment_rule(checker, X86_CS,
	             !ia32e(checker) || !(cs->rights & ACCESS_RIGHTS_L) || !(cs->rights & ACCESS_RIGHTS_DB),
	             "has both L and D/B set in an IA-32e mode guest");
}

static void check_stack(struct checker *checker)
{
	const struct vmx_guest_segment *cs = &checker->state->segment[X86_CS], *ss = &checker->state->segment[X86_SS];
	unsigned type = ACCESS_RIGHTS_TYPE(ss->rights);
	segment_rule(checker, X86_SS,
	             !usable(ss) || type == TYPE_DATA_RW_ACCESSED || type == TYPE_DATA_RW_DOWN_ACCESSED,
	             "type is no accessed, writable data segment");
	if (!(checker->state->cr0 & CR0_PE) || ACCESS_RIGHTS_TYPE(cs->rights) == TYPE_DATA_RW_ACCESSED) {
		segment_rule(checker, X86_SS, ACCESS_RIGHTS_DPL(ss->rights) == 0, "DPL is not 0 in real mode");
	}
}

static void check_data(struct checker *checker, enum x86_segment_name name)
{
	const struct vmx_guest_segment *segment = &checker->state->segment[name];
	unsigned type = ACCESS_RIGHTS_TYPE(segment->rights);
	segment_rule(checker, name, type & TYPE_ACCESSED, "is not accessed");
	segment_rule(checker, name, !(type & TYPE_CODE) || (type & TYPE_READABLE),
	             "is a code segment that is not readable");
}

static void check_bases(struct checker *checker)
{
	const struct vmx_guest_segment *segment = checker->state->segment;
	static const enum x86_segment_name full[] = {X86_FS, X86_GS, X86_TR, X86_GDTR, X86_IDTR};
	static const enum x86_segment_name narrow[] = {X86_SS, X86_DS, X86_ES};
	for (size_t i = 0; i < ARRAY_SIZE(full); i++) {
		segment_rule(checker, full[i], canonical(checker, segment[full[i]].base), "base is not canonical");
	}
	segment_rule(checker, X86_LDTR, !usable(&segment[X86_LDTR]) || canonical(checker, segment[X86_LDTR].base),
	             "base is not canonical");
	segment_rule(checker, X86_CS, !(segment[X86_CS].base >> 32), "base is wider than 32 bits");
	for (size_t i = 0; i < ARRAY_SIZE(narrow); i++) {
		segment_rule(checker, narrow[i], !usable(&segment[narrow[i]]) || !(segment[narrow[i]].base >> 32),
		             "base is wider than 32 bits");
	}
}

static void check_segments(struct checker *checker)
{
	for (enum x86_segment_name name = X86_ES; name <= X86_GS; name++) {
		if (virtual_8086(checker)) {
			check_virtual_8086(checker, name);
		} else if (name == X86_CS || usable(&checker->state->segment[name])) {
			check_rights(checker, name, false);
			if (name != X86_CS && name != X86_SS) {
				check_data(checker, name);
			}
		}
	}
	if (!virtual_8086(checker)) {
		check_code(checker);
		check_stack(checker);
	}
	check_bases(checker);
}

static void check_system_segments(struct checker *checker)
{
	const struct vmx_guest_segment *tr = &checker->state->segment[X86_TR];
	const struct vmx_guest_segment *ldtr = &checker->state->segment[X86_LDTR];
	unsigned type = ACCESS_RIGHTS_TYPE(tr->rights);
	segment_rule(checker, X86_TR, !(tr->selector & SELECTOR_TI), "selector points into the LDT");
	segment_rule(checker, X86_TR, usable(tr), "is unusable");
	segment_rule(checker, X86_TR, type == TYPE_TSS32_BUSY || (type == TYPE_TSS16_BUSY && !ia32e(checker)),
	             "type is no busy TSS");
	check_rights(checker, X86_TR, true);
	if (usable(ldtr)) {
		segment_rule(checker, X86_LDTR, !(ldtr->selector & SELECTOR_TI), "selector points into the LDT");
		segment_rule(checker, X86_LDTR, ACCESS_RIGHTS_TYPE(ldtr->rights) == TYPE_LDT, "type is no LDT");
		check_rights(checker, X86_LDTR, true);
	}
	/* 26.3.1.3 */
	segment_rule(checker, X86_GDTR, checker->state->segment[X86_GDTR].limit <= TABLE_LIMIT_MAX,
	             "limit is wider than 16 bits");
	segment_rule(checker, X86_IDTR, checker->state->segment[X86_IDTR].limit <= TABLE_LIMIT_MAX,
	             "limit is wider than 16 bits");
}

/* ---- 26.3.1.4: RIP and RFLAGS ---- */

static void check_rip_rflags(struct checker *checker)
{
	const struct vmx_guest_state *s = checker->state;
	bool long_code = ia32e(checker) && (s->segment[X86_CS].rights & ACCESS_RIGHTS_L);
	uint64_t high = s->linear_bits < 64 ? BITS(63, s->linear_bits) : 0;
	bool external = (s->entry_interruption & INTERRUPTION_VALID) &&
	                INTERRUPTION_TYPE(s->entry_interruption) == INTERRUPTION_EXTERNAL;
	if (long_code) {
		rule(checker, (s->rip & high) == 0 || (s->rip & high) == high, "RIP is wider than linear addresses");
	} else {
		rule(checker, !(s->rip >> 32), "RIP is wider than 32 bits outside 64-bit mode");
	}
	rule(checker, !(s->rflags & RFLAGS_RESERVED), "RFLAGS has a reserved bit set");
	rule(checker, s->rflags & RFLAGS_FIXED, "RFLAGS lacks bit 1");
	rule(checker, !virtual_8086(checker) || (!ia32e(checker) && (s->cr0 & CR0_PE)),
	     "RFLAGS.VM is set in an IA-32e mode guest or with CR0.PE clear");
	rule(checker, !external || (s->rflags & RFLAGS_IF), "an external interrupt is injected with RFLAGS.IF clear");
}

/* ---- 26.3.1.5: the rest of the guest's state ---- */

static void check_activity(struct checker *checker)
{
	const struct vmx_guest_state *s = checker->state;
	rule(checker, s->activity <= ACTIVITY_WAIT_FOR_SIPI, "activity state is unknown");
	rule(checker, s->activity != ACTIVITY_HLT || ACCESS_RIGHTS_DPL(s->segment[X86_SS].rights) == 0,
	     "activity state is HLT with SS.DPL not 0");
	rule(checker, s->activity == ACTIVITY_ACTIVE || !(s->interruptibility & (BLOCKING_BY_STI | BLOCKING_BY_MOV_SS)),
	     "activity state is not active with blocking by STI or MOV SS");
}

static void check_interruptibility(struct checker *checker)
{
	const struct vmx_guest_state *s = checker->state;
	bool sti = s->interruptibility & BLOCKING_BY_STI, mov_ss = s->interruptibility & BLOCKING_BY_MOV_SS;
	bool injected = s->entry_interruption & INTERRUPTION_VALID;
	uint64_t type = INTERRUPTION_TYPE(s->entry_interruption);
	bool external = injected && type == INTERRUPTION_EXTERNAL, nmi = injected && type == INTERRUPTION_NMI;
	rule(checker, !(s->interruptibility & ~INTERRUPTIBILITY_MAX), "interruptibility has a reserved bit set");
	rule(checker, !(sti && mov_ss), "interruptibility has blocking by STI and by MOV SS");
	rule(checker, !sti || (s->rflags & RFLAGS_IF), "interruptibility has blocking by STI with RFLAGS.IF clear");
	rule(checker, !external || !(sti || mov_ss), "an external interrupt is injected into a STI or MOV SS shadow");
	rule(checker, !nmi || !mov_ss, "an NMI is injected into a MOV SS shadow");
	rule(checker, !(s->interruptibility & BLOCKING_BY_SMI), "interruptibility has blocking by SMI outside SMM");
	rule(checker, !nmi || !(s->pin_controls & PIN_VIRTUAL_NMI) || !(s->interruptibility & BLOCKING_BY_NMI),
	     "an NMI is injected while NMIs are blocked");
	rule(checker, !(s->interruptibility & ENCLAVE_INTERRUPT) || !mov_ss,
	     "interruptibility has an enclave interruption with blocking by MOV SS");
}

static void check_pending_debug(struct checker *checker)
{
	const struct vmx_guest_state *s = checker->state;
	bool shadow = (s->interruptibility & (BLOCKING_BY_STI | BLOCKING_BY_MOV_SS)) || s->activity == ACTIVITY_HLT;
	bool step = (s->rflags & RFLAGS_TF) && !(s->debugctl & DEBUGCTL_BTF);
	bool pending = s->pending_debug & PENDING_DEBUG_BS;
	rule(checker, !(s->pending_debug & PENDING_DEBUG_RESERVED), "pending debug exceptions have a reserved bit set");
	rule(checker, !shadow || step == pending,
	     "pending debug exceptions disagree with RFLAGS.TF about a single step in a shadow or HLT");
}

/* ---- 26.3.1.6: PDPTEs, with PAE paging and EPT ---- */

static void check_pdptes(struct checker *checker)
{
	const struct vmx_guest_state *s = checker->state;
	if (!(s->cr0 & CR0_PG) || !(s->cr4 & CR4_PAE) || ia32e(checker)) {
		return;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(s->pdpte); i++) {
		bool reserved = (s->pdpte[i] & PDPTE_RESERVED) || !fits_physical(checker, s->pdpte[i]);
		rule(checker, !(s->pdpte[i] & PDPTE_PRESENT) || !reserved, "a present PDPTE has a reserved bit set");
	}
}

unsigned vmx_check_guest_state(const struct vmx_guest_state *state, void (*violated)(void *context, const char *rule),
                               void *context)
{
	struct checker checker = {.state = state, .violated = violated, .context = context};
	check_registers(&checker);
	check_segments(&checker);
	check_system_segments(&checker);
	check_rip_rflags(&checker);
	check_activity(&checker);
	check_interruptibility(&checker);
	check_pending_debug(&checker);
	check_pdptes(&checker);
	rule(&checker, state->link_pointer == NO_LINK_POINTER, "the VMCS link pointer is not all ones");
	return checker.count;
}
