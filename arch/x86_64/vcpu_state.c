/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vCPU's registers as a whole: as a boot protocol wants them at its entry, and as lines of a report. Called by
 * vcpu.c's callers and ops->start; never on an exit path.
 */
#include "vcpu.h"

#include "cpu.h"
#include "decode.h"
#include "lib/log.h"
#include "lib/printf.h"

/* Segment attributes: SDM vol. 3A 3.4.5; types of table 3-1 and 3-2. */
#define SEGMENT_TYPE_CODE    0xbU /* execute, read, accessed */
#define SEGMENT_TYPE_DATA    0x3U /* read, write, accessed */
#define SEGMENT_TYPE_LDT     0x2U
#define SEGMENT_TYPE_TSS     0xbU /* busy */
#define SEGMENT_CODE_OR_DATA BIT(4)
#define SEGMENT_PRESENT      BIT(7)
#define SEGMENT_LONG         BIT(9)
#define SEGMENT_DEFAULT      BIT(10)
#define SEGMENT_PAGES        BIT(11) /* the limit counts pages */
#define DPL_OF(attributes)   ((unsigned)field(attributes, 6, 5))

/* Linux's boot protocol, "32-bit boot protocol" and "64-bit boot protocol": __BOOT_CS and __BOOT_DS. PVH lets the
 * selectors be any. */
#define BOOT_CS 0x10
#define BOOT_DS 0x18

#define PAT_RESET UINT64_C(0x0007040600070406)
#define DR7_RESET UINT64_C(0x400)
#define TSS_LIMIT 0x67U

static void set_flat(struct arch_vcpu *vcpu, enum x86_segment_name name, uint16_t selector, uint64_t attributes)
{
	vcpu->vm->ops->set_segment(
		vcpu, name,
		&(struct x86_segment){
			.selector = selector,
			.attributes = (uint32_t)(attributes | SEGMENT_CODE_OR_DATA | SEGMENT_PRESENT | SEGMENT_PAGES),
			.limit = UINT32_MAX,
		});
}

static void reset_segments(struct arch_vcpu *vcpu, const struct arch_entry *entry)
{
	const struct virt_ops *ops = vcpu->vm->ops;
	bool long_mode = entry->mode == ENTRY_LONG_64;
	static const enum x86_segment_name data[] = {X86_ES, X86_SS, X86_DS, X86_FS, X86_GS};

	set_flat(vcpu, X86_CS, BOOT_CS, SEGMENT_TYPE_CODE | (long_mode ? SEGMENT_LONG : SEGMENT_DEFAULT));
	for (unsigned i = 0; i < ARRAY_SIZE(data); i++) {
		set_flat(vcpu, data[i], BOOT_DS, SEGMENT_TYPE_DATA | SEGMENT_DEFAULT);
	}
	ops->set_segment(vcpu, X86_TR,
	                 &(struct x86_segment){.attributes = (uint32_t)(SEGMENT_TYPE_TSS | SEGMENT_PRESENT),
	                                       .limit = TSS_LIMIT});
	ops->set_segment(vcpu, X86_LDTR,
	                 &(struct x86_segment){.attributes = (uint32_t)(SEGMENT_TYPE_LDT | X86_SEGMENT_UNUSABLE)});
	ops->set_segment(vcpu, X86_GDTR, &(struct x86_segment){.base = entry->gdt, .limit = entry->gdt_limit});
	/* No vector at all: an exception before the guest has set its own table ends in a shutdown, right there. */
	ops->set_segment(vcpu, X86_IDTR, &(struct x86_segment){.limit = 0});
}

void x86_reset_state(struct arch_vcpu *vcpu, const struct arch_entry *entry)
{
	const struct virt_ops *ops = vcpu->vm->ops;
	bool long_mode = entry->mode == ENTRY_LONG_64;

	ops->set(vcpu, X86_EFER, long_mode ? EFER_LME | EFER_LMA : 0);
	ops->set(vcpu, X86_CR3, long_mode ? entry->page_table : 0);
	ops->set(vcpu, X86_CR4, long_mode ? CR4_PAE : 0);
	ops->set(vcpu, X86_CR0, CR0_PE | CR0_ET | CR0_NE | (long_mode ? CR0_PG : 0));
	ops->set(vcpu, X86_CR2, 0);
	ops->set(vcpu, X86_CR8, 0);
	ops->set(vcpu, X86_DR7, DR7_RESET);
	ops->set(vcpu, X86_PAT, PAT_RESET);
	reset_segments(vcpu, entry);
	ops->set(vcpu, X86_RFLAGS, RFLAGS_FIXED);
	ops->set(vcpu, X86_RIP, entry->pc);
	ops->set(vcpu, X86_RSP, entry->argument[3]);
	vcpu->gpr[GPR_RSI] = entry->argument[0];
	vcpu->gpr[GPR_RBX] = entry->argument[1];
	vcpu->gpr[GPR_RAX] = entry->argument[2];
}

unsigned x86_cpl(struct arch_vcpu *vcpu)
{
	struct x86_segment ss;
	vcpu->vm->ops->get_segment(vcpu, X86_SS, &ss);
	return DPL_OF(ss.attributes);
}

/* ---- the report ---- */

static void report_general(struct arch_vcpu *vcpu, const char *subsystem)
{
	const struct virt_ops *ops = vcpu->vm->ops;
	const uint64_t *r = vcpu->gpr;
	log_line(subsystem, "rip %016lx rsp %016lx rflags %08lx", ops->get(vcpu, X86_RIP), ops->get(vcpu, X86_RSP),
	         ops->get(vcpu, X86_RFLAGS));
	log_line(subsystem, "rax %016lx rbx %016lx rcx %016lx rdx %016lx", r[GPR_RAX], r[GPR_RBX], r[GPR_RCX],
	         r[GPR_RDX]);
	log_line(subsystem, "rsi %016lx rdi %016lx rbp %016lx", r[GPR_RSI], r[GPR_RDI], r[GPR_RBP]);
	log_line(subsystem, "r8  %016lx r9  %016lx r10 %016lx r11 %016lx", r[GPR_R8], r[GPR_R9], r[GPR_R10],
	         r[GPR_R11]);
	log_line(subsystem, "r12 %016lx r13 %016lx r14 %016lx r15 %016lx", r[GPR_R12], r[GPR_R13], r[GPR_R14],
	         r[GPR_R15]);
	log_line(subsystem, "cr0 %08lx cr2 %016lx cr3 %016lx cr4 %08lx efer %04lx", ops->get(vcpu, X86_CR0),
	         ops->get(vcpu, X86_CR2), ops->get(vcpu, X86_CR3), ops->get(vcpu, X86_CR4), ops->get(vcpu, X86_EFER));
}

static void report_segments(struct arch_vcpu *vcpu, const char *subsystem)
{
	static const char *const names[] = {"es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr", "gdtr", "idtr"};
	for (enum x86_segment_name name = X86_ES; name <= X86_IDTR; name++) {
		struct x86_segment segment;
		vcpu->vm->ops->get_segment(vcpu, name, &segment);
		log_line(subsystem, "%-4s %04x base %016lx limit %08x attributes %05x", names[name], segment.selector,
		         segment.base, segment.limit, segment.attributes);
	}
}

static void report_code(struct arch_vcpu *vcpu, const char *subsystem)
{
	static const char *const modes[] = {
		[X86_CODE_16] = "16-bit", [X86_CODE_32] = "32-bit", [X86_CODE_64] = "64-bit"};
	uint8_t bytes[X86_INSTRUCTION_MAX];
	char text[3 * X86_INSTRUCTION_MAX + 1] = "";
	size_t count = x86_fetch(vcpu, bytes, sizeof(bytes));
	for (size_t i = 0; i < count; i++) {
		(void)snprintf(text + 3 * i, sizeof(text) - 3 * i, " %02x", bytes[i]);
	}
	log_line(subsystem, "code at rip (%s):%s", modes[x86_code_mode(vcpu)], count ? text : " cannot be read");
}

void arch_vcpu_report(struct arch_vcpu *vcpu, const char *subsystem)
{
	report_general(vcpu, subsystem);
	report_segments(vcpu, subsystem);
	report_code(vcpu, subsystem);
}

/* ---- statistics ---- */

bool arch_vcpu_exit_count(const struct arch_vcpu *vcpu, unsigned index, struct arch_exit_count *count)
{
	if (index >= X86_EXIT_COUNTERS) {
		return false;
	}
	count->count = vcpu->exits[index];
	count->name = index == X86_EXIT_COUNTER_OTHER
	                      ? "unknown"
	                      : vcpu->vm->ops->exit_name(index == X86_EXIT_COUNTER_NPF ? X86_RAW_NPF : index);
	return true;
}
