/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers hypercalls from one table. Every argument is the guest's and is checked by mm/ or here; the worst
 * that one can do is take memory away from its own VM.
 */
#include "hv/hypercall.h"

#include "hv/vm.h"
#include "lib/string.h"
#include "lib/util.h"

#define ORDER_2M       9
#define ZERO_TIMES_MAX 8

static uint64_t call_version(struct vm *vm, const uint64_t *argument)
{
	(void)vm;
	(void)argument;
	return CAISSON_INTERFACE_VERSION;
}

static uint64_t call_faults(struct vm *vm, const uint64_t *argument)
{
	(void)argument;
	return vm->space.statistics.faults_filled;
}

static uint64_t call_protect(struct vm *vm, const uint64_t *argument)
{
	if (argument[2] & ~(uint64_t)MM_RWX) {
		return (uint64_t)(int64_t)MM_EINVAL;
	}
	return (uint64_t)(int64_t)addr_space_protect(&vm->space, argument[0], argument[1], (uint8_t)argument[2]);
}

static bool in_ram(const struct vm *vm, gpa_t start, uint64_t bytes)
{
	for (unsigned i = 0; i < ARRAY_SIZE(vm->ram); i++) {
		uint64_t offset = start - vm->ram[i].start;
		if (offset < vm->ram[i].bytes && bytes <= vm->ram[i].bytes - offset) {
			return true;
		}
	}
	return false;
}

static uint64_t call_release(struct vm *vm, const uint64_t *argument)
{
	gpa_t start = argument[0];
	uint64_t bytes = argument[1];
	if (vm->config->backing != CONFIG_LAZY || !in_ram(vm, start, bytes)) {
		return (uint64_t)(int64_t)MM_ERANGE;
	}
	return (uint64_t)(int64_t)addr_space_discard(&vm->space, start, bytes);
}

static uint64_t call_zero(struct vm *vm, const uint64_t *argument)
{
	if ((argument[0] != 0 && argument[0] != ORDER_2M) || argument[1] > ZERO_TIMES_MAX) {
		return CALL_NOT_SUPPORTED;
	}
	struct mm_hal *hal = &vm->quota.hal;
	unsigned order = (unsigned)argument[0];
	hpa_t run = hal->alloc_frames(hal, order, FRAME_GUEST);
	if (run == HPA_NONE) {
		return CALL_NOT_SUPPORTED;
	}
	for (uint64_t i = 0; i < argument[1]; i++) {
		memset(mm_pointer(hal, run), 0, FRAME_SIZE << order);
	}
	hal->free_frames(hal, run, order, FRAME_GUEST);
	return 0;
}

static uint64_t call_translate(struct vm *vm, const uint64_t *argument)
{
	struct translation translation;
	int status = addr_space_translate(&vm->space, argument[0], &translation);
	if (status != MM_OK) {
		return (uint64_t)(int64_t)status;
	}
	return translation.attributes.permissions | (uint64_t)translation.attributes.type << CALL_TRANSLATION_TYPE |
	       (uint64_t)translation.leaf_shift << CALL_TRANSLATION_LEAF;
}

/* Where the PC leads is asked when it is used: arch_vcpu_resume_at. */
static uint64_t call_expect_fault(struct vm *vm, const uint64_t *argument)
{
	vm->vcpu.fault_resume = argument[0];
	return 0;
}

hypercall_function *const caisson_calls[CAISSON_CALLS] = {
	[CAISSON_CALL_VERSION] = call_version,
	[CAISSON_CALL_FAULTS] = call_faults,
	[CAISSON_CALL_PROTECT] = call_protect,
	[CAISSON_CALL_RELEASE] = call_release,
	[CAISSON_CALL_ZERO] = call_zero,
	[CAISSON_CALL_TRANSLATE] = call_translate,
	[CAISSON_CALL_EXPECT_FAULT] = call_expect_fault,
};

bool hypercall_psci(const struct hypercall *call, uint64_t *result, enum vm_outcome *outcome)
{
	switch (call->number) {
	case PSCI_VERSION:
		*result = PSCI_VERSION_1_1;
		return true;
	case PSCI_SYSTEM_OFF:
		*outcome = VM_ENDED;
		return false;
	case PSCI_SYSTEM_RESET:
		*outcome = VM_RESTART;
		return false;
	default:
		*result = CALL_NOT_SUPPORTED;
		return true;
	}
}
