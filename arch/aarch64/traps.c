/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exceptions of the hypervisor itself, which end it: what happened by the manual's names, the registers, and a
 * backtrace with the functions' names. Also the panic handler. Nothing that a guest does may lead here.
 */
#include "cpu.h"
#include "lib/image.h"
#include "lib/log.h"
#include "lib/panic.h"
#include "lib/symbols.h"

#define BACKTRACE_MAX    32
#define REGISTERS_A_LINE 4

/* ESR_ELx.EC, D19.2.40 */
static const char *const class_names[ESR_EC_COUNT] = {
	[EC_UNKNOWN] = "Unknown reason",
	[EC_WFX] = "Trapped WF* instruction",
	[EC_CP15_MCR] = "Trapped MCR or MRC access, coproc 15",
	[EC_CP15_MCRR] = "Trapped MCRR or MRRC access, coproc 15",
	[EC_CP14_MCR] = "Trapped MCR or MRC access, coproc 14",
	[EC_CP14_LDC] = "Trapped LDC or STC access",
	[EC_FP] = "Access to SVE, Advanced SIMD or floating-point",
	[EC_VMRS] = "Trapped VMRS access",
	[EC_PAUTH] = "Trapped use of Pointer authentication",
	[EC_LS64] = "Trapped LD64B or ST64B",
	[EC_CP14_MRRC] = "Trapped MRRC access, coproc 14",
	[EC_BTI] = "Branch Target Exception",
	[EC_ILLEGAL_STATE] = "Illegal Execution state",
	[EC_SVC32] = "SVC instruction execution in AArch32",
	[EC_HVC32] = "HVC instruction execution in AArch32",
	[EC_SMC32] = "SMC instruction execution in AArch32",
	[EC_SVC64] = "SVC instruction execution in AArch64",
	[EC_HVC64] = "HVC instruction execution in AArch64",
	[EC_SMC64] = "SMC instruction execution in AArch64",
	[EC_SYSTEM_REGISTER] = "Trapped MSR, MRS or System instruction",
	[EC_SVE] = "Access to SVE functionality",
	[EC_ERET] = "Trapped ERET",
	[EC_PAC_FAIL] = "Pointer Authentication instruction failure",
	[EC_SME] = "Access to SME functionality",
	[EC_INSTRUCTION_ABORT_LOWER] = "Instruction Abort from a lower Exception level",
	[EC_INSTRUCTION_ABORT] = "Instruction Abort taken without a change in Exception level",
	[EC_PC_ALIGNMENT] = "PC alignment fault",
	[EC_DATA_ABORT_LOWER] = "Data Abort from a lower Exception level",
	[EC_DATA_ABORT] = "Data Abort taken without a change in Exception level",
	[EC_SP_ALIGNMENT] = "SP alignment fault",
	[EC_MOPS] = "Memory Operation Exception",
	[EC_FP_TRAP32] = "Trapped floating-point exception from AArch32",
	[EC_FP_TRAP64] = "Trapped floating-point exception from AArch64",
	[EC_SERROR] = "SError exception",
	[EC_BREAKPOINT_LOWER] = "Breakpoint exception from a lower Exception level",
	[EC_BREAKPOINT] = "Breakpoint exception taken without a change in Exception level",
	[EC_STEP_LOWER] = "Software Step exception from a lower Exception level",
	[EC_STEP] = "Software Step exception taken without a change in Exception level",
	[EC_WATCHPOINT_LOWER] = "Watchpoint exception from a lower Exception level",
	[EC_WATCHPOINT] = "Watchpoint exception taken without a change in Exception level",
	[EC_BKPT32] = "BKPT instruction execution in AArch32",
	[EC_VECTOR_CATCH32] = "Vector Catch exception from AArch32",
	[EC_BRK64] = "BRK instruction execution in AArch64",
};

const char *arm_exception_class_name(unsigned exception_class)
{
	const char *name = exception_class < ESR_EC_COUNT ? class_names[exception_class] : NULL;
	return name ? name : "Reserved exception class";
}

const char *arm_fault_name(unsigned status)
{
	switch (status & ESR_ABORT_TYPE) {
	case FSC_ADDRESS_SIZE:
		return "address size fault";
	case FSC_TRANSLATION:
		return "translation fault";
	case FSC_ACCESS_FLAG:
		return "access flag fault";
	case FSC_PERMISSION:
		return "permission fault";
	case FSC_EXTERNAL:
		return "external abort";
	case FSC_EXTERNAL_WALK:
		return "external abort on a table walk";
	default:
		return "alignment or other fault";
	}
}

/* ---- reports ---- */

static void log_address(const char *what, uint64_t address)
{
	uint64_t offset;
	const char *name = symbol_find((uintptr_t)address, &offset);
	if (name) {
		log_line("panic", "%s 0x%llx  %s+0x%llx  (image+0x%llx)", what, (unsigned long long)address, name,
		         (unsigned long long)offset, (unsigned long long)(address - (uint64_t)image_start));
	} else {
		log_line("panic", "%s 0x%llx", what, (unsigned long long)address);
	}
}

/* Frame records of two words, the caller's first, each above the one before: D-AAPCS64 6.4.6. */
static void backtrace(uint64_t frame)
{
	for (unsigned i = 0; i < BACKTRACE_MAX && arm_readable(frame) && arm_readable(frame + sizeof(uint64_t)); i++) {
		const uint64_t *record = (const uint64_t *)frame; /* NOLINT(performance-no-int-to-ptr) */
		if (record[1] == 0) {
			return;
		}
		log_address("called from", record[1]);
		if (record[0] <= frame) {
			return;
		}
		frame = record[0];
	}
}

static void log_registers(const uint64_t *x, uint64_t sp)
{
	for (unsigned i = 0; i < 28; i += REGISTERS_A_LINE) {
		log_line("panic", "x%-2u %016llx  x%-2u %016llx  x%-2u %016llx  x%-2u %016llx", i,
		         (unsigned long long)x[i], i + 1, (unsigned long long)x[i + 1], i + 2,
		         (unsigned long long)x[i + 2], i + 3, (unsigned long long)x[i + 3]);
	}
	log_line("panic", "x28 %016llx  x29 %016llx  x30 %016llx  sp  %016llx", (unsigned long long)x[28],
	         (unsigned long long)x[29], (unsigned long long)x[30], (unsigned long long)sp);
}

static void log_abort(uint64_t esr, bool instruction)
{
	uint64_t far = sysreg_read(far_el2);
	const char *access = esr & ESR_ABORT_WNR ? "write" : "read";
	log_line("panic", "%s, %s of 0x%llx%s", arm_fault_name((unsigned)(esr & ESR_ABORT_FSC)),
	         instruction ? "execute" : access, (unsigned long long)far,
	         arm_is_guard_page(far) ? ": a stack has overflowed" : "");
}

static void log_cause(const struct arm_cpu *cpu)
{
	static const char *const kinds[] = {"synchronous exception", "IRQ", "FIQ", "SError"};
	uint64_t esr = sysreg_read(esr_el2);
	unsigned exception_class = (unsigned)field(esr, ESR_EC_HIGH, ESR_EC_LOW);
	unsigned kind = (unsigned)cpu->crash_vector % ARRAY_SIZE(kinds);

	log_line("panic", "%s at EL2: %s", kinds[kind],
	         kind == 0 ? arm_exception_class_name(exception_class) : "not expected here");
	if (kind == 0 && (exception_class == EC_DATA_ABORT || exception_class == EC_INSTRUCTION_ABORT)) {
		log_abort(esr, exception_class == EC_INSTRUCTION_ABORT);
	}
	log_line("panic", "ESR_EL2 %016llx  FAR_EL2 %016llx  SPSR_EL2 %016llx", (unsigned long long)esr,
	         (unsigned long long)sysreg_read(far_el2), (unsigned long long)sysreg_read(spsr_el2));
}

_Noreturn void arm_fatal_exception(struct arm_cpu *cpu)
{
	static unsigned depth;
	if (depth++ > 0) {
		arch_halt(); /* the report itself failed */
	}
	log_break_lock();
	log_cause(cpu);
	log_address("ELR_EL2", sysreg_read(elr_el2));
	log_registers(cpu->crash_x, cpu->crash_sp);
	log_address("called from", cpu->crash_x[30]);
	backtrace(cpu->crash_x[29]);
	panic_set_handler(NULL);
	panic("the hypervisor failed");
}

static void panic_handler(void)
{
	backtrace((uint64_t)__builtin_frame_address(0));
	log_flush();
	arch_halt();
}

void arm_traps_init(void)
{
	panic_set_handler(panic_handler);
}
