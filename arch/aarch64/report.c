/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a stopped guest leaves on the log, and the names of exits. Called by hv/ by way of arch.h. Reads guest memory
 * by the accessor only.
 */
#include "vcpu.h"

#include "lib/log.h"

#define GENERAL_REGISTERS 31
#define CODE_WORDS        4
#define INSTRUCTION_BYTES 4

static const char *const asynchronous_names[] = {
	[ARM_EXIT_IRQ] = "IRQ interrupt", [ARM_EXIT_FIQ] = "FIQ interrupt", [ARM_EXIT_SERROR] = "SError interrupt"};

const char *arch_exit_name(uint64_t raw)
{
	if (raw & ARM_RAW_ASYNCHRONOUS) {
		unsigned cause = (unsigned)(raw - ARM_RAW_ASYNCHRONOUS);
		return cause >= ARM_EXIT_IRQ && cause < ARRAY_SIZE(asynchronous_names) ? asynchronous_names[cause]
		                                                                       : "?";
	}
	return arm_exception_class_name((unsigned)field(raw, ESR_EC_HIGH, ESR_EC_LOW));
}

static void report_state(struct arch_vcpu *vcpu, const char *subsystem)
{
	uint64_t esr = sysreg_read(esr_el2);
	log_line(subsystem, "pc  %016llx  pstate %08llx  sp_el1 %016llx  sp_el0 %016llx",
	         (unsigned long long)sysreg_read(elr_el2), (unsigned long long)sysreg_read(spsr_el2),
	         (unsigned long long)sysreg_read(sp_el1), (unsigned long long)sysreg_read(sp_el0));
	for (unsigned i = 0; i + 4 < GENERAL_REGISTERS; i += 4) {
		log_line(subsystem, "x%-2u %016llx  x%-2u %016llx  x%-2u %016llx  x%-2u %016llx", i,
		         (unsigned long long)vcpu->x[i], i + 1, (unsigned long long)vcpu->x[i + 1], i + 2,
		         (unsigned long long)vcpu->x[i + 2], i + 3, (unsigned long long)vcpu->x[i + 3]);
	}
	log_line(subsystem, "x28 %016llx  x29 %016llx  x30 %016llx", (unsigned long long)vcpu->x[28],
	         (unsigned long long)vcpu->x[29], (unsigned long long)vcpu->x[30]);
	log_line(subsystem, "sctlr_el1 %llx  tcr_el1 %llx  ttbr0_el1 %llx  ttbr1_el1 %llx",
	         (unsigned long long)sysreg_read(sctlr_el1), (unsigned long long)sysreg_read(tcr_el1),
	         (unsigned long long)sysreg_read(ttbr0_el1), (unsigned long long)sysreg_read(ttbr1_el1));
	log_line(subsystem, "vbar_el1 %llx  esr_el1 %llx  elr_el1 %llx  far_el1 %llx  spsr_el1 %llx",
	         (unsigned long long)sysreg_read(vbar_el1), (unsigned long long)sysreg_read(esr_el1),
	         (unsigned long long)sysreg_read(elr_el1), (unsigned long long)sysreg_read(far_el1),
	         (unsigned long long)sysreg_read(spsr_el1));
	log_line(subsystem, "esr_el2 %llx (%s)  far_el2 %llx  hpfar_el2 %llx", (unsigned long long)esr,
	         arm_exception_class_name((unsigned)field(esr, ESR_EC_HIGH, ESR_EC_LOW)),
	         (unsigned long long)sysreg_read(far_el2), (unsigned long long)sysreg_read(hpfar_el2));
}

static void report_code(struct arch_vcpu *vcpu, const char *subsystem)
{
	uint64_t pc = sysreg_read(elr_el2);
	uint32_t code[CODE_WORDS];
	gpa_t ipa;
	if (!arm_guest_translate(pc, &ipa)) {
		log_line(subsystem, "code: the guest's own tables don't translate pc");
		return;
	}
	size_t bytes = MIN(sizeof(code), FRAME_SIZE - (ipa & (FRAME_SIZE - 1)));
	size_t words = guest_read(vcpu->vm->space, ipa, code, bytes, GUEST_ACCESS_FORCE) / INSTRUCTION_BYTES;
	if (words == 0) {
		log_line(subsystem, "code: no memory at GPA 0x%llx", (unsigned long long)ipa);
		return;
	}
	for (size_t i = words; i < CODE_WORDS; i++) {
		code[i] = 0;
	}
	log_line(subsystem, "code: %08x %08x %08x %08x", code[0], code[1], code[2], code[3]);
}

void arch_vcpu_report(struct arch_vcpu *vcpu, const char *subsystem)
{
	bool loaded = vcpu->loaded;
	arch_vcpu_load(vcpu);
	report_state(vcpu, subsystem);
	report_code(vcpu, subsystem);
	if (!loaded) {
		arch_vcpu_put(vcpu);
	}
}

bool arch_vcpu_exit_count(const struct arch_vcpu *vcpu, unsigned index, struct arch_exit_count *count)
{
	if (index >= ARM_EXIT_COUNTERS) {
		return false;
	}
	count->count = vcpu->exits[index];
	count->name = index < ESR_EC_COUNT ? arm_exception_class_name(index)
	                                   : asynchronous_names[index - ESR_EC_COUNT + ARM_EXIT_IRQ];
	return true;
}
