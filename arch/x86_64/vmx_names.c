/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VMX in words: the manual's names of exit reasons (SDM vol. 3D appendix C), VM-instruction errors (vol. 3C
 * 30.4) and control bits (24.6 to 24.8). Pure tables for the log and the statistics; never on a hot path.
 */
#include "vmx_names.h"
#include "lib/util.h"

static const char *const exit_names[] = {
	[0] = "Exception or NMI",
	[1] = "External interrupt",
	[2] = "Triple fault",
	[3] = "INIT signal",
	[4] = "Start-up IPI (SIPI)",
	[5] = "I/O system-management interrupt (SMI)",
	[6] = "Other SMI",
	[7] = "Interrupt window",
	[8] = "NMI window",
	[9] = "Task switch",
	[10] = "CPUID",
	[11] = "GETSEC",
	[12] = "HLT",
	[13] = "INVD",
	[14] = "INVLPG",
	[15] = "RDPMC",
	[16] = "RDTSC",
	[17] = "RSM",
	[18] = "VMCALL",
	[19] = "VMCLEAR",
	[20] = "VMLAUNCH",
	[21] = "VMPTRLD",
	[22] = "VMPTRST",
	[23] = "VMREAD",
	[24] = "VMRESUME",
	[25] = "VMWRITE",
	[26] = "VMXOFF",
	[27] = "VMXON",
	[28] = "Control-register accesses",
	[29] = "MOV DR",
	[30] = "I/O instruction",
	[31] = "RDMSR",
	[32] = "WRMSR",
	[33] = "VM-entry failure due to invalid guest state",
	[34] = "VM-entry failure due to MSR loading",
	[36] = "MWAIT",
	[37] = "Monitor trap flag",
	[39] = "MONITOR",
	[40] = "PAUSE",
	[41] = "VM-entry failure due to machine-check event",
	[43] = "TPR below threshold",
	[44] = "APIC access",
	[45] = "Virtualized EOI",
	[46] = "Access to GDTR or IDTR",
	[47] = "Access to LDTR or TR",
	[48] = "EPT violation",
	[49] = "EPT misconfiguration",
	[50] = "INVEPT",
	[51] = "RDTSCP",
	[52] = "VMX-preemption timer expired",
	[53] = "INVVPID",
	[54] = "WBINVD or WBNOINVD",
	[55] = "XSETBV",
	[56] = "APIC write",
	[57] = "RDRAND",
	[58] = "INVPCID",
	[59] = "VMFUNC",
	[60] = "ENCLS",
	[61] = "RDSEED",
	[62] = "Page-modification log full",
	[63] = "XSAVES",
	[64] = "XRSTORS",
	[65] = "PCONFIG",
	[66] = "SPP-related event",
	[67] = "UMWAIT",
	[68] = "TPAUSE",
	[69] = "LOADIWKEY",
	[70] = "ENCLV",
	[72] = "ENQCMD PASID translation failure",
	[73] = "ENQCMDS PASID translation failure",
	[74] = "Bus lock",
	[75] = "Instruction timeout",
	[76] = "SEAMCALL",
	[77] = "TDCALL",
};

static const char *const instruction_errors[] = {
	[1] = "VMCALL executed in VMX root operation",
	[2] = "VMCLEAR with invalid physical address",
	[3] = "VMCLEAR with VMXON pointer",
	[4] = "VMLAUNCH with non-clear VMCS",
	[5] = "VMRESUME with non-launched VMCS",
	[6] = "VMRESUME after VMXOFF",
	[7] = "VM entry with invalid control field(s)",
	[8] = "VM entry with invalid host-state field(s)",
	[9] = "VMPTRLD with invalid physical address",
	[10] = "VMPTRLD with VMXON pointer",
	[11] = "VMPTRLD with incorrect VMCS revision identifier",
	[12] = "VMREAD/VMWRITE from/to unsupported VMCS component",
	[13] = "VMWRITE to read-only VMCS component",
	[15] = "VMXON executed in VMX root operation",
	[16] = "VM entry with invalid executive-VMCS pointer",
	[17] = "VM entry with non-launched executive VMCS",
	[18] = "VM entry with executive-VMCS pointer not VMXON pointer",
	[19] = "VMCALL with non-clear VMCS",
	[20] = "VMCALL with invalid VM-exit control fields",
	[22] = "VMCALL with incorrect MSEG revision identifier",
	[23] = "VMXOFF under dual-monitor treatment of SMIs and SMM",
	[24] = "VMCALL with invalid SMM-monitor features",
	[25] = "VM entry with invalid VM-execution control fields in executive VMCS",
	[26] = "VM entry with events blocked by MOV SS",
	[28] = "Invalid operand to INVEPT/INVVPID",
};

#define CONTROL_BITS 32

static const char *const control_names[VMX_CONTROL_FIELDS][CONTROL_BITS] = {
	[VMX_PIN] =
		{
			[0] = "External-interrupt exiting",
			[3] = "NMI exiting",
			[5] = "Virtual NMIs",
			[6] = "Activate VMX-preemption timer",
			[7] = "Process posted interrupts",
		},
	[VMX_CPU] =
		{
			[2] = "Interrupt-window exiting",
			[3] = "Use TSC offsetting",
			[7] = "HLT exiting",
			[9] = "INVLPG exiting",
			[10] = "MWAIT exiting",
			[11] = "RDPMC exiting",
			[12] = "RDTSC exiting",
			[15] = "CR3-load exiting",
			[16] = "CR3-store exiting",
			[17] = "Activate tertiary controls",
			[19] = "CR8-load exiting",
			[20] = "CR8-store exiting",
			[21] = "Use TPR shadow",
			[22] = "NMI-window exiting",
			[23] = "MOV-DR exiting",
			[24] = "Unconditional I/O exiting",
			[25] = "Use I/O bitmaps",
			[27] = "Monitor trap flag",
			[28] = "Use MSR bitmaps",
			[29] = "MONITOR exiting",
			[30] = "PAUSE exiting",
			[31] = "Activate secondary controls",
		},
	[VMX_CPU2] =
		{
			[0] = "Virtualize APIC accesses",
			[1] = "Enable EPT",
			[2] = "Descriptor-table exiting",
			[3] = "Enable RDTSCP",
			[4] = "Virtualize x2APIC mode",
			[5] = "Enable VPID",
			[6] = "WBINVD exiting",
			[7] = "Unrestricted guest",
			[8] = "APIC-register virtualization",
			[9] = "Virtual-interrupt delivery",
			[10] = "PAUSE-loop exiting",
			[11] = "RDRAND exiting",
			[12] = "Enable INVPCID",
			[13] = "Enable VM functions",
			[14] = "VMCS shadowing",
			[15] = "Enable ENCLS exiting",
			[16] = "RDSEED exiting",
			[17] = "Enable PML",
			[18] = "EPT-violation #VE",
			[19] = "Conceal VMX from PT",
			[20] = "Enable XSAVES/XRSTORS",
			[22] = "Mode-based execute control for EPT",
			[23] = "Sub-page write permissions for EPT",
			[24] = "Intel PT uses guest physical addresses",
			[25] = "Use TSC scaling",
			[26] = "Enable user wait and pause",
			[27] = "Enable PCONFIG",
			[28] = "Enable ENCLV exiting",
		},
	[VMX_EXIT] =
		{
			[2] = "Save debug controls",
			[9] = "Host address-space size",
			[12] = "Load IA32_PERF_GLOBAL_CTRL",
			[15] = "Acknowledge interrupt on exit",
			[18] = "Save IA32_PAT",
			[19] = "Load IA32_PAT",
			[20] = "Save IA32_EFER",
			[21] = "Load IA32_EFER",
			[22] = "Save VMX-preemption timer value",
			[23] = "Clear IA32_BNDCFGS",
			[24] = "Conceal VMX from PT",
		},
	[VMX_ENTRY] =
		{
			[2] = "Load debug controls",
			[9] = "IA-32e mode guest",
			[10] = "Entry to SMM",
			[11] = "Deactivate dual-monitor treatment",
			[13] = "Load IA32_PERF_GLOBAL_CTRL",
			[14] = "Load IA32_PAT",
			[15] = "Load IA32_EFER",
			[16] = "Load IA32_BNDCFGS",
			[17] = "Conceal VMX from PT",
		},
};

static const char *const control_field_names[VMX_CONTROL_FIELDS] = {
	[VMX_PIN] = "pin-based VM-execution controls",
	[VMX_CPU] = "primary processor-based VM-execution controls",
	[VMX_CPU2] = "secondary processor-based VM-execution controls",
	[VMX_EXIT] = "VM-exit controls",
	[VMX_ENTRY] = "VM-entry controls",
};

static const char *name_of(const char *const *names, size_t count, uint64_t index, const char *unknown)
{
	return index < count && names[index] ? names[index] : unknown;
}

const char *vmx_exit_name(uint64_t reason)
{
	if (reason == VMX_ENTRY_REFUSED) {
		return "VM entry refused";
	}
	/* Bits above the basic reason qualify it: SDM vol. 3C 24.9.1. */
	return name_of(exit_names, ARRAY_SIZE(exit_names), field(reason, 15, 0), "unknown exit reason");
}

const char *vmx_instruction_error_name(uint64_t error)
{
	return name_of(instruction_errors, ARRAY_SIZE(instruction_errors), error, "unknown VM-instruction error");
}

const char *vmx_control_field_name(enum vmx_control_field control)
{
	return control_field_names[control];
}

const char *vmx_control_name(enum vmx_control_field control, unsigned bit)
{
	return name_of(control_names[control], CONTROL_BITS, bit, "reserved");
}
