/* SPDX-License-Identifier: Apache-2.0 */
// sources: hv/exit.c hv/hypercall.c hv/bus.c tests/host/mm_arena.c mm/*.c mm/formats/*.c lib/rbtree.c
/*
 * The vCPU loop with a CPU that plays back a list of exits: what hypercalls answer, and when a guest survives an
 * access that mm refuses.
 */
#include <string.h>

#include "hv/clock.h"
#include "hv/console.h"
#include "hv/host_memory.h"
#include "hv/hypercall.h"
#include "hv/vm.h"
#include "lib/log.h"
#include "mm_arena.h"

#define RESUME UINT64_C(0x1234)
#define HOLE   GIB(1)

/* ---- the CPU ---- */

struct played_exit {
	enum vm_exit_kind kind;
	struct vm_exit exit;
};

static const struct played_exit *played;
static uint64_t results[8]; /* of the hypercalls, in order */
static unsigned result_count;
static uint64_t resumed[4][2]; /* where and with what the guest went on */
static unsigned resume_count;
static bool refuse_resume;
static unsigned reports;

enum vm_exit_kind arch_vcpu_run(struct arch_vcpu *vcpu, struct vm_exit *exit)
{
	(void)vcpu;
	*exit = played->exit;
	return played++->kind;
}

void arch_vcpu_finish_hypercall(struct arch_vcpu *vcpu, uint64_t result)
{
	(void)vcpu;
	results[result_count++] = result;
}

bool arch_vcpu_resume_at(struct arch_vcpu *vcpu, uint64_t pc, uint64_t result)
{
	(void)vcpu;
	if (!refuse_resume) {
		resumed[resume_count][0] = pc;
		resumed[resume_count++][1] = result;
	}
	return !refuse_resume;
}

void arch_vcpu_report(struct arch_vcpu *vcpu, const char *subsystem)
{
	(void)vcpu;
	(void)subsystem;
	reports++;
}

const char *arch_exit_name(uint64_t raw)
{
	(void)raw;
	return "an exit";
}

void arch_vcpu_finish_io(struct arch_vcpu *vcpu, const struct io_access *io)
{
	(void)vcpu;
	(void)io;
	fail();
}

void arch_vcpu_set_deadline(struct arch_vcpu *vcpu, uint64_t counter)
{
	(void)vcpu;
	(void)counter;
}

bool arch_vcpu_interrupt_pending(struct arch_vcpu *vcpu)
{
	(void)vcpu;
	return false;
}

bool arch_vcpu_wakeable(struct arch_vcpu *vcpu)
{
	(void)vcpu;
	return false;
}

uint64_t arch_vcpu_wake_time(struct arch_vcpu *vcpu)
{
	(void)vcpu;
	return UINT64_MAX;
}

uint64_t arch_nmi_count(void)
{
	return 0;
}

uint64_t host_memory_reserve(void)
{
	return 0;
}

struct frame_counts host_memory_counts(void)
{
	return (struct frame_counts){.free = 0};
}

uint64_t arch_counter(void)
{
	return 0;
}

void arch_idle(uint64_t counter)
{
	(void)counter;
}

uint64_t clock_ticks(uint64_t milliseconds)
{
	return milliseconds;
}

void console_poll(void)
{
}

void console_log_at_once(void)
{
}

bool log_pending;
void log_line(const char *subsystem, const char *format, ...)
{
	(void)subsystem;
	(void)format;
}

/* ---- the VM ---- */

static struct mm_arena arena;
static struct config_vm config;
static struct vm vm;

static struct frame_bitmap no_frames; /* behind a quota that only the report asks */

static int setup(void **state)
{
	(void)state;
	mm_arena_init(&arena, MIB(32));
	result_count = resume_count = reports = 0;
	refuse_resume = false;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	mm_arena_fini(&arena);
	return 0;
}

/* RAM of 8 MiB from 0 and nothing else. */
static void build_vm(const struct npt_format *format)
{
	vm = (struct vm){.config = &config, .cpu_ticks_left = UINT64_MAX, .vcpu.vm = &vm};
	vm.ram[0] = (struct vm_ram){0, MIB(8)};
	assert_status(addr_space_init(&vm.space, 0, GIB(4), format, &arena.hal), MM_OK);
	frame_quota_init(&vm.quota, &no_frames, 0, NULL);
	assert_status(addr_space_map_alloc(&vm.space, 0, MIB(8), RWX, false, AREA_PAGES_AUTO), MM_OK);
}

static enum vm_outcome play(const struct played_exit *exits)
{
	played = exits;
	return vcpu_run(&vm.vcpu, UINT64_MAX);
}

static uint64_t call(enum caisson_call number, uint64_t a, uint64_t b, uint64_t c)
{
	const uint64_t argument[4] = {a, b, c, 0};
	return caisson_calls[number](&vm, argument);
}

static void fault(uint64_t gpa, uint8_t access)
{
	struct nested_fault nested = {.gpa = gpa, .access = access};
	assert_status(addr_space_handle_fault(&vm.space, &nested), MM_OK);
}

#define CALL(which, value)                                                                                             \
	((struct played_exit){.kind = VM_EXIT_HYPERCALL,                                                               \
	                      .exit.call = {.number = CAISSON_CALL_BASE + (which), .argument = {value}}})
#define REFUSED(why, where, what)                                                                                      \
	((struct played_exit){                                                                                         \
		.kind = VM_EXIT_NESTED_FAULT, .exit.status = (why), .exit.fault = {.gpa = (where), .access = (what)}})
#define DEVICE_READ(where)                                                                                             \
	((struct played_exit){.kind = VM_EXIT_MMIO,                                                                    \
	                      .exit.fault = {.gpa = (where), .access = MM_READ},                                       \
	                      .exit.io = {.address = (where), .width = 4}})
#define POWER_OFF ((struct played_exit){.kind = VM_EXIT_POWER, .exit.power = VM_POWER_OFF})

/* ---- CAISSON_CALL_TRANSLATE ---- */

static void translate_answers_what_the_address_space_says(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		build_vm(format);
		assert_status((int)call(CAISSON_CALL_TRANSLATE, MIB(2), 0, 0), MM_EFAULT);
		fault(MIB(2), MM_READ);
		struct translation translation;
		assert_status(addr_space_translate(&vm.space, MIB(2) + 5, &translation), MM_OK);
		uint64_t says = call(CAISSON_CALL_TRANSLATE, MIB(2) + 5, 0, 0);
		assert_int_equal(says & MM_RWX, MM_RWX);
		assert_int_equal(says >> CALL_TRANSLATION_TYPE & 0xf, MM_WRITE_BACK);
		assert_int_equal(says >> CALL_TRANSLATION_LEAF, translation.leaf_shift);
		assert_int_equal(call(CAISSON_CALL_PROTECT, MIB(2), FRAME_SIZE, MM_RX), 0);
		says = call(CAISSON_CALL_TRANSLATE, MIB(2), 0, 0);
		assert_int_equal(says, MM_RX | (uint64_t)FRAME_SHIFT << CALL_TRANSLATION_LEAF);
		addr_space_destroy(&vm.space);
	}
}

static void translate_finds_nothing_at_guards_and_hostile_addresses(void **state)
{
	static const uint64_t hostile[] = {MIB(8), HOLE, GIB(4) - 1, GIB(4), BIT(48), BIT(52), BIT(63), UINT64_MAX};
	(void)state;
	FOR_EACH_FORMAT (format) {
		build_vm(format);
		fault(0, MM_READ);
		assert_int_equal(call(CAISSON_CALL_PROTECT, 0, FRAME_SIZE, MM_NONE), 0);
		assert_status((int)call(CAISSON_CALL_TRANSLATE, 0, 0, 0), MM_EFAULT);
		for (unsigned i = 0; i < ARRAY_SIZE(hostile); i++) {
			assert_status((int)call(CAISSON_CALL_TRANSLATE, hostile[i], 0, 0), MM_EFAULT);
		}
		addr_space_destroy(&vm.space);
	}
}

/* ---- CAISSON_CALL_EXPECT_FAULT ---- */

static void an_expected_fault_resumes_the_guest_and_tells_what_it_was(void **state)
{
	const struct played_exit exits[] = {
		CALL(CAISSON_CALL_EXPECT_FAULT, RESUME),
		REFUSED(MM_EACCES, MIB(2) + 0x123, MM_WRITE),
		CALL(CAISSON_CALL_EXPECT_FAULT, RESUME + 1),
		DEVICE_READ(HOLE + 8), /* nobody answers on the bus */
		POWER_OFF,
	};
	(void)state;
	build_vm(mm_format(0));
	assert_int_equal(play(exits), VM_ENDED);
	assert_int_equal(reports, 0);
	assert_int_equal(resume_count, 2);
	assert_int_equal(resumed[0][0], RESUME);
	assert_int_equal(resumed[0][1],
	                 (MIB(2) + 0x123) << CALL_FAULT_GPA | (uint64_t)-MM_EACCES << CALL_FAULT_STATUS | MM_WRITE);
	assert_int_equal(resumed[1][0], RESUME + 1);
	assert_int_equal(resumed[1][1],
	                 (HOLE + 8) << CALL_FAULT_GPA | (uint64_t)-MM_EFAULT << CALL_FAULT_STATUS | MM_READ);
	assert_int_equal(result_count, 2);
	assert_int_equal(results[0], 0);
	addr_space_destroy(&vm.space);
}

static void only_one_fault_is_expected_at_a_time(void **state)
{
	const struct played_exit exits[] = {
		CALL(CAISSON_CALL_EXPECT_FAULT, RESUME),
		CALL(CAISSON_CALL_EXPECT_FAULT, RESUME),
		REFUSED(MM_EACCES, MIB(2), MM_READ),
		REFUSED(MM_EACCES, MIB(2), MM_READ),
	};
	(void)state;
	build_vm(mm_format(0));
	assert_int_equal(play(exits), VM_STOPPED);
	assert_int_equal(resume_count, 1);
	assert_int_equal(reports, 1);
	addr_space_destroy(&vm.space);
}

static void a_fault_that_is_not_expected_any_more_stops_the_vm(void **state)
{
	const struct played_exit exits[] = {
		CALL(CAISSON_CALL_EXPECT_FAULT, RESUME),
		CALL(CAISSON_CALL_EXPECT_FAULT, 0),
		REFUSED(MM_EFAULT, HOLE, MM_EXECUTE),
	};
	(void)state;
	build_vm(mm_format(0));
	assert_int_equal(play(exits), VM_STOPPED);
	assert_int_equal(resume_count, 0);
	assert_int_equal(reports, 1);
	addr_space_destroy(&vm.space);
}

static void a_fault_for_want_of_memory_is_never_the_guests_to_survive(void **state)
{
	const struct played_exit exits[] = {
		CALL(CAISSON_CALL_EXPECT_FAULT, RESUME),
		REFUSED(MM_ENOMEM, MIB(2), MM_READ),
	};
	(void)state;
	build_vm(mm_format(0));
	assert_int_equal(play(exits), VM_STOPPED);
	assert_int_equal(resume_count, 0);
	addr_space_destroy(&vm.space);
}

static void a_guest_cannot_go_on_where_its_cpu_cannot_be_entered(void **state)
{
	const struct played_exit exits[] = {
		CALL(CAISSON_CALL_EXPECT_FAULT, BIT(63)),
		REFUSED(MM_EACCES, MIB(2), MM_READ),
	};
	(void)state;
	build_vm(mm_format(0));
	refuse_resume = true;
	assert_int_equal(play(exits), VM_STOPPED);
	assert_int_equal(reports, 1);
	addr_space_destroy(&vm.space);
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(translate_answers_what_the_address_space_says),
		CASE(translate_finds_nothing_at_guards_and_hostile_addresses),
		CASE(an_expected_fault_resumes_the_guest_and_tells_what_it_was),
		CASE(only_one_fault_is_expected_at_a_time),
		CASE(a_fault_that_is_not_expected_any_more_stops_the_vm),
		CASE(a_fault_for_want_of_memory_is_never_the_guests_to_survive),
		CASE(a_guest_cannot_go_on_where_its_cpu_cannot_be_entered),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
