/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GDT, TSS and IDT of each host CPU, what arrives through them, and the panic handler. Interrupts are let in only
 * in the windows of arch_idle and of the world switches; an exception is the hypervisor's own error, never a
 * guest's, and ends it. Nothing here may fault while it prints a panic.
 */
#include "arch/x86_64/cpu.h"

#include "arch/arch.h"
#include "arch/x86_64/vcpu.h"
#include "lib/image.h"
#include "lib/log.h"
#include "lib/panic.h"
#include "lib/symbols.h"

/* Segment descriptors: SDM vol. 3A 3.4.5, 7.2.3; in 64-bit mode base and limit of code and data do not count. */
#define DESCRIPTOR_ACCESSED      BIT(40)
#define DESCRIPTOR_WRITABLE      BIT(41)
#define DESCRIPTOR_EXECUTABLE    BIT(43)
#define DESCRIPTOR_CODE_OR_DATA  BIT(44)
#define DESCRIPTOR_PRESENT       BIT(47)
#define DESCRIPTOR_LONG          BIT(53)
#define DESCRIPTOR_TSS_AVAILABLE (UINT64_C(9) << 40)
#define DESCRIPTOR_FLAT                                                                                                \
	(DESCRIPTOR_PRESENT | DESCRIPTOR_CODE_OR_DATA | DESCRIPTOR_WRITABLE | DESCRIPTOR_ACCESSED | BITS(15, 0) |      \
	 BITS(51, 48))

/* Interrupt gates: SDM vol. 3A 6.14.1. */
#define GATE_INTERRUPT 0x8e /* present, DPL 0, IF off on entry */
#define STUB_BYTES     16   /* as in traps_asm.S */
#define VECTORS        256
#define EXCEPTIONS     32 /* vectors below are the CPU's own */

/* All other gates have 0: the stack that is there. */
enum ist { IST_DOUBLE_FAULT = 1, IST_NMI, IST_MACHINE_CHECK };
#define IST_STACK_FRAMES 3 /* with the guard page: four */

/* Page faults' error codes: SDM vol. 3A 4.7. */
#define PAGE_FAULT_PRESENT BIT(0)
#define PAGE_FAULT_WRITE   BIT(1)
#define PAGE_FAULT_FETCH   BIT(4)

/* Machine-check banks: SDM vol. 3B 15.3. */
#define MCG_CAP_BANKS(cap) ((unsigned)field(cap, 7, 0))
#define MCI_STATUS_VALID   BIT(63)
#define MCI_STRIDE         4

#define BACKTRACE_MAX   32
#define STACK_BYTES_MAX KIB(256) /* frames further apart than any stack is long are none */

struct __attribute__((packed)) idt_gate {
	uint16_t offset_low;
	uint16_t selector;
	uint8_t ist;
	uint8_t type;
	uint16_t offset_middle;
	uint32_t offset_high;
	uint32_t reserved;
};

struct __attribute__((packed)) descriptor_table {
	uint16_t limit;
	uint64_t base;
};

extern const char x86_trap_stubs[], x86_timer_stub[];
extern const char x86_rdmsr_may_fault[], x86_rdmsr_faulted[];
void x86_trap(struct x86_trap_frame *frame);

static uint64_t nmi_count;

/* One for all CPUs: the stacks that differ are in each one's TSS. */
static struct idt_gate idt[VECTORS] __attribute__((aligned(16)));

static const char *const exception_names[EXCEPTIONS] = {
	"#DE divide error",
	"#DB debug",
	"NMI",
	"#BP breakpoint",
	"#OF overflow",
	"#BR bound range exceeded",
	"#UD invalid opcode",
	"#NM device not available",
	"#DF double fault",
	"coprocessor segment overrun",
	"#TS invalid TSS",
	"#NP segment not present",
	"#SS stack fault",
	"#GP general protection",
	"#PF page fault",
	"reserved exception 15",
	"#MF x87 floating-point error",
	"#AC alignment check",
	"#MC machine check",
	"#XM SIMD floating-point",
	"#VE virtualization exception",
	"#CP control protection",
	"reserved exception 22",
	"reserved exception 23",
	"reserved exception 24",
	"reserved exception 25",
	"reserved exception 26",
	"reserved exception 27",
	"#HV hypervisor injection",
	"#VC VMM communication",
	"#SX security exception",
	"reserved exception 31",
};

/* ---- panic ---- */

static void print_address(const char *label, uintptr_t address, uint64_t back)
{
	uint64_t offset;
	/* A call at a function's very end returns to the next one: look up the call, not what follows it. */
	const char *name = symbol_find(address - back, &offset);
	if (name != NULL) {
		log_line("panic", "%s 0x%016lx %s+0x%lx", label, address, name, offset + back);
	} else {
		log_line("panic", "%s 0x%016lx", label, address);
	}
}

static void backtrace(uintptr_t frame_pointer)
{
	for (unsigned depth = 0; depth < BACKTRACE_MAX; depth++) {
		if (!is_aligned(frame_pointer, sizeof(uint64_t)) || !x86_paging_is_data(frame_pointer) ||
		    !x86_paging_is_data(frame_pointer + sizeof(uint64_t))) {
			return;
		}
		const uintptr_t *frame = (const uintptr_t *)frame_pointer;
		uintptr_t caller = frame[0];
		if (frame[1] == 0) {
			return;
		}
		print_address("called from", frame[1], 1);
		if (caller <= frame_pointer || caller - frame_pointer > STACK_BYTES_MAX) {
			return;
		}
		frame_pointer = caller;
	}
}

static void print_machine_check(void)
{
	uint64_t cap, status;
	if (!rdmsr_safe(MSR_IA32_MCG_CAP, &cap)) {
		return;
	}
	for (unsigned bank = 0; bank < MCG_CAP_BANKS(cap); bank++) {
		if (rdmsr_safe(MSR_IA32_MC0_STATUS + bank * MCI_STRIDE, &status) && (status & MCI_STATUS_VALID)) {
			log_line("panic", "machine check bank %u: status 0x%016lx", bank, status);
		}
	}
}

static void print_registers(const struct x86_trap_frame *f)
{
	log_line("panic", "rax %016lx rbx %016lx rcx %016lx rdx %016lx", f->rax, f->rbx, f->rcx, f->rdx);
	log_line("panic", "rsi %016lx rdi %016lx rbp %016lx rsp %016lx", f->rsi, f->rdi, f->rbp, f->rsp);
	log_line("panic", "r8  %016lx r9  %016lx r10 %016lx r11 %016lx", f->r8, f->r9, f->r10, f->r11);
	log_line("panic", "r12 %016lx r13 %016lx r14 %016lx r15 %016lx", f->r12, f->r13, f->r14, f->r15);
	log_line("panic", "rip %016lx rflags %08lx cs %04lx ss %04lx error code 0x%lx", f->rip, f->rflags, f->cs, f->ss,
	         f->error_code);
}

static bool in_text(uintptr_t address)
{
	return address >= (uintptr_t)text_start && address < (uintptr_t)text_end;
}

/* lib/panic stops this CPU when it returns. The other CPUs wait for a start-up IPI: host_lapic.c. */
static void panic_handler(void)
{
	const struct x86_trap_frame *frame = this_cpu()->trapped;
	__asm__ volatile("cli" : : : "memory");
	if (frame != NULL) {
		print_registers(frame);
	}
	log_line("panic", "cr0 %08lx cr2 %016lx cr3 %016lx cr4 %08lx efer %04lx", read_cr0(), read_cr2(), read_cr3(),
	         read_cr4(), rdmsr(MSR_EFER));
	log_line("panic", "cpu %u, image at 0x%lx", this_cpu()->index, (uintptr_t)image_start);
	if (frame == NULL) {
		backtrace((uintptr_t)__builtin_frame_address(0));
		return;
	}
	if (frame->vector == X86_MC) {
		print_machine_check();
	}
	print_address("at", frame->rip, 0);
	if (!in_text(frame->rip) && is_aligned(frame->rsp, sizeof(uint64_t)) && x86_paging_is_data(frame->rsp)) {
		/* A call that went astray: who made it stands on top of the stack. */
		print_address("called from", *(const uintptr_t *)frame->rsp, 1);
	}
	backtrace(frame->rbp);
}

static _Noreturn void fatal(const struct x86_trap_frame *frame)
{
	const char *name = exception_names[frame->vector];
	this_cpu()->trapped = frame;
	if (frame->vector != X86_PF) {
		panic("%s in the hypervisor", name);
	}
	const char *access = (frame->error_code & PAGE_FAULT_FETCH)   ? "fetch"
	                     : (frame->error_code & PAGE_FAULT_WRITE) ? "write"
	                                                              : "read";
	const char *cause = (frame->error_code & PAGE_FAULT_PRESENT) ? "not permitted" : "nothing mapped";
	panic("%s in the hypervisor: %s of 0x%lx, %s", name, access, read_cr2(), cause);
}

/* ---- traps ---- */

uint64_t arch_nmi_count(void)
{
	return __atomic_load_n(&nmi_count, __ATOMIC_RELAXED);
}

/* Called by the stubs with interrupts off. */
void x86_trap(struct x86_trap_frame *frame)
{
	switch (frame->vector) {
	case X86_NMI:
		__atomic_fetch_add(&nmi_count, 1, __ATOMIC_RELAXED);
		return;
	case VECTOR_SPURIOUS:
		return;
	default:
		break;
	}
	if (frame->vector >= EXCEPTIONS) {
		x86_host_lapic_stray((unsigned)frame->vector);
		return;
	}
	if (frame->vector == X86_GP && frame->rip == (uintptr_t)x86_rdmsr_may_fault) {
		frame->rip = (uintptr_t)x86_rdmsr_faulted;
		return;
	}
	fatal(frame);
}

/* ---- tables ---- */

_Static_assert(offsetof(struct x86_cpu, armed_deadline) == 24, "traps_asm.S: CPU_ARMED_DEADLINE");

static void set_gate(unsigned vector, uintptr_t entry)
{
	idt[vector] = (struct idt_gate){
		.offset_low = (uint16_t)entry,
		.selector = HOST_CS,
		.type = GATE_INTERRUPT,
		.offset_middle = (uint16_t)(entry >> 16),
		.offset_high = (uint32_t)(entry >> 32),
	};
}

static void fill_gdt(struct x86_cpu *cpu)
{
	uint64_t tss = (uintptr_t)&cpu->tss;
	uint64_t limit = sizeof(cpu->tss) - 1;
	cpu->gdt[HOST_CS / 8] = DESCRIPTOR_FLAT | DESCRIPTOR_EXECUTABLE | DESCRIPTOR_LONG;
	cpu->gdt[HOST_DS / 8] = DESCRIPTOR_FLAT;
	cpu->gdt[HOST_TR / 8] = DESCRIPTOR_PRESENT | DESCRIPTOR_TSS_AVAILABLE | limit | field(tss, 23, 0) << 16 |
	                        field(tss, 31, 24) << 56;
	cpu->gdt[HOST_TR / 8 + 1] = tss >> 32;
	cpu->tss.iomap_base = sizeof(cpu->tss); /* no I/O permission map */
}

static void load_segments(const struct x86_cpu *cpu)
{
	struct descriptor_table gdtr = {sizeof(cpu->gdt) - 1, (uintptr_t)cpu->gdt};
	struct descriptor_table idtr = {sizeof(idt) - 1, (uintptr_t)idt};
	/* CS changes with a far return to the next instruction. */
	__asm__ volatile("lgdt %[gdtr]\n\t"
	                 "pushq %[cs]\n\t"
	                 "leaq 1f(%%rip), %%rax\n\t"
	                 "pushq %%rax\n\t"
	                 "lretq\n"
	                 "1:\n\t"
	                 "mov %[ds], %%ds\n\t"
	                 "mov %[ds], %%es\n\t"
	                 "mov %[ds], %%ss\n\t"
	                 "mov %[null], %%fs\n\t"
	                 "mov %[null], %%gs\n\t"
	                 "lldt %w[null]\n\t"
	                 "ltr %w[tr]\n\t"
	                 "lidt %[idtr]"
	                 :
	                 : [gdtr] "m"(gdtr), [idtr] "m"(idtr), [cs] "i"(HOST_CS), [ds] "r"(HOST_DS), [null] "r"(0),
	                   [tr] "r"(HOST_TR)
	                 : "rax", "memory");
	wrmsr(MSR_FS_BASE, 0);
	wrmsr(MSR_GS_BASE, (uintptr_t)cpu);
}

void x86_traps_init(struct x86_cpu *cpu)
{
	cpu->self = cpu;
	cpu->armed_deadline = UINT64_MAX;
	cpu->timer_repeats = UINT64_MAX;
	if (idt[0].type == 0) { /* the first CPU */
		for (unsigned vector = 0; vector < VECTORS; vector++) {
			set_gate(vector, (uintptr_t)x86_trap_stubs + (uintptr_t)vector * STUB_BYTES);
		}
		set_gate(VECTOR_TIMER, (uintptr_t)x86_timer_stub);
		panic_set_handler(panic_handler);
	}
	fill_gdt(cpu);
	load_segments(cpu);
}

bool x86_traps_stacks(struct x86_cpu *cpu)
{
	for (enum ist ist = IST_DOUBLE_FAULT; ist <= IST_MACHINE_CHECK; ist++) {
		uintptr_t top = arch_stack_alloc(IST_STACK_FRAMES);
		if (top == 0) {
			return false;
		}
		cpu->tss.ist[ist - 1] = top;
	}
	idt[X86_DF].ist = IST_DOUBLE_FAULT;
	idt[X86_NMI].ist = IST_NMI;
	idt[X86_MC].ist = IST_MACHINE_CHECK;
	return true;
}
