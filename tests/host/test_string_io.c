/* SPDX-License-Identifier: Apache-2.0 */
/*
 * INS, OUTS, STOS and MOVS, element by element, as exits of a guest in every mode: registers, prefixes, segments, pages
 * and what becomes of memory that cannot be had. The guest's memory is an array, its registers are a table.
 */
// sources: arch/x86_64/string_io.c arch/x86_64/fetch.c arch/x86_64/decode.c
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/decode.h"
#include "arch/x86_64/vcpu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define MEMORY_BYTES 0x40000
#define CODE         0x1000
#define DATA         0x8000
#define DEVICE       UINT64_C(0xfe032000) /* where the nested fault was */
#define PORT         0x3f8
#define PAGE_FLAGS   7 /* present, writable, user */
#define DATA_SEGMENT 0x93
#define BIG          BIT(10)

static uint8_t memory[MEMORY_BYTES];
static struct addr_space space;
static uint64_t registers[X86_PAT + 1];
static struct x86_segment segments[X86_GS + 1];
static unsigned cpl;
static int injected; /* vector; -1: none */
static uint32_t injected_error;
static gpa_t refused; /* the page that mm refuses, for the access of `refused_access` */
static int refused_status, refused_access;

/* ---- what mm and the virtualization would do ---- */

size_t guest_read(struct addr_space *of, gpa_t from, void *to, size_t bytes, unsigned flags)
{
	(void)of, (void)flags;
	if (from + bytes > MEMORY_BYTES) {
		return 0;
	}
	memcpy(to, memory + from, bytes);
	return bytes;
}

size_t guest_write(struct addr_space *of, gpa_t to, const void *from, size_t bytes, unsigned flags)
{
	(void)of, (void)flags;
	assert_true(to + bytes <= MEMORY_BYTES);
	memcpy(memory + to, from, bytes);
	return bytes;
}

bool guest_load(struct addr_space *of, gpa_t from, unsigned width, uint64_t *value)
{
	*value = 0;
	return guest_read(of, from, value, width, 0) == width;
}

const void *guest_peek(struct addr_space *of, gpa_t address, size_t bytes)
{
	(void)of;
	return address + bytes > MEMORY_BYTES ? NULL : memory + address;
}

int addr_space_handle_fault(struct addr_space *of, const struct nested_fault *fault)
{
	(void)of;
	if (fault->gpa / FRAME_SIZE == refused / FRAME_SIZE && fault->access == refused_access) {
		return refused_status;
	}
	return fault->gpa < MEMORY_BYTES ? MM_OK : MM_EFAULT;
}

unsigned x86_cpl(struct arch_vcpu *vcpu)
{
	(void)vcpu;
	return cpl;
}

static uint64_t get_register(struct arch_vcpu *vcpu, enum x86_register name)
{
	(void)vcpu;
	return registers[name];
}

static void set_register(struct arch_vcpu *vcpu, enum x86_register name, uint64_t value)
{
	(void)vcpu;
	registers[name] = value;
}

static void get_segment(struct arch_vcpu *vcpu, enum x86_segment_name name, struct x86_segment *segment)
{
	(void)vcpu;
	*segment = segments[name];
}

static void inject(struct arch_vcpu *vcpu, enum x86_vector vector, uint32_t error)
{
	(void)vcpu;
	injected = (int)vector;
	injected_error = error;
}

static const struct virt_ops ops = {
	.get = get_register, .set = set_register, .get_segment = get_segment, .inject = inject};
static struct arch_vm vm = {.space = &space, .ops = &ops};
static struct arch_vcpu vcpu;
static struct vm_exit vm_exit;

/* ---- guests ---- */

/* Real mode, all segments at 0 but reaching 64 KiB; code at CODE, elements at DATA. */
static int start(void **state)
{
	(void)state;
	memset(memory, 0, sizeof(memory));
	memset(registers, 0, sizeof(registers));
	memset(&vcpu, 0, sizeof(vcpu));
	memset(&vm_exit, 0, sizeof(vm_exit));
	for (unsigned i = 0; i < ARRAY_SIZE(segments); i++) {
		segments[i] = (struct x86_segment){.attributes = DATA_SEGMENT, .limit = 0xffff};
	}
	vcpu.vm = &vm;
	vcpu.gpr[GPR_RSI] = vcpu.gpr[GPR_RDI] = DATA;
	registers[X86_RIP] = CODE;
	space.generation = 1;
	cpl = 0;
	injected = -1;
	refused = UINT64_MAX;
	return 0;
}

static void set_32(void)
{
	registers[X86_CR0] = CR0_PE;
	for (unsigned i = 0; i < ARRAY_SIZE(segments); i++) {
		segments[i] = (struct x86_segment){.attributes = DATA_SEGMENT | BIG, .limit = UINT32_MAX};
	}
}

static void put64(gpa_t at, uint64_t value)
{
	memcpy(memory + at, &value, sizeof(value));
}

/* 64-bit mode; the first 2 MiB are themselves, by pages whose entries start at LEAVES. */
#define LEAVES UINT64_C(0x33000)
static void set_64(void)
{
	set_32();
	registers[X86_CR0] = CR0_PE | CR0_PG | CR0_WP;
	registers[X86_CR4] = CR4_PAE;
	registers[X86_EFER] = EFER_LME | EFER_LMA;
	registers[X86_CR3] = 0x30000;
	segments[X86_CS].attributes = 0x9b | BIT(9);
	for (uint64_t i = 0; i < 3; i++) {
		put64(0x30000 + i * FRAME_SIZE, (0x31000 + i * FRAME_SIZE) | PAGE_FLAGS);
	}
	for (uint64_t i = 0; i < MEMORY_BYTES / FRAME_SIZE; i++) {
		put64(LEAVES + i * 8, i * FRAME_SIZE | PAGE_FLAGS);
	}
}

#define INSTRUCTION(...) memcpy(memory + registers[X86_RIP], (uint8_t[]){__VA_ARGS__}, sizeof((uint8_t[]){__VA_ARGS__}))

/* One element of OUTS, which is `expected`. */
static void outs(uint8_t width, uint64_t expected)
{
	assert_int_equal(x86_string_io(&vcpu, &vm_exit, PORT, width, true), VM_EXIT_PORT);
	assert_true(vm_exit.io.write);
	assert_int_equal(vm_exit.io.address, PORT);
	assert_int_equal(vm_exit.io.width, width);
	assert_int_equal(vm_exit.io.value, expected);
	x86_string_io_finish(&vcpu, &vm_exit.io);
}

static void ins(uint8_t width, uint64_t value)
{
	assert_int_equal(x86_string_io(&vcpu, &vm_exit, PORT, width, false), VM_EXIT_PORT);
	assert_false(vm_exit.io.write);
	vm_exit.io.value = value;
	x86_string_io_finish(&vcpu, &vm_exit.io);
}

/* The instruction has not begun: what it was refused for is in vm_exit or in `injected`. */
static void assert_nothing_done(const struct arch_vcpu *before)
{
	assert_memory_equal(vcpu.gpr, before->gpr, sizeof(vcpu.gpr));
	assert_int_equal(registers[X86_RIP], CODE);
}

static void expect_fault(uint8_t width, bool write, int vector, uint32_t error)
{
	struct arch_vcpu before = vcpu;
	injected = -1;
	assert_int_equal(x86_string_io(&vcpu, &vm_exit, PORT, width, write), X86_RUN_ON);
	assert_int_equal(injected, vector);
	assert_int_equal(injected_error, error);
	assert_nothing_done(&before);
}

/* ---- ports ---- */

static void one_element_moves_its_index_and_steps_over_the_instruction(void **state)
{
	(void)state;
	memory[DATA] = 0x5a;
	INSTRUCTION(0x6e); /* outsb */
	vcpu.gpr[GPR_RCX] = 7;
	outs(1, 0x5a);
	assert_int_equal(vcpu.gpr[GPR_RSI], DATA + 1);
	assert_int_equal(vcpu.gpr[GPR_RDI], DATA);
	assert_int_equal(vcpu.gpr[GPR_RCX], 7);
	assert_int_equal(registers[X86_RIP], CODE + 1);
	INSTRUCTION(0x6d); /* insw */
	ins(2, 0xbeef);
	assert_int_equal(vcpu.gpr[GPR_RDI], DATA + 2);
	assert_memory_equal(memory + DATA, "\xef\xbe", 2);
	assert_int_equal(registers[X86_RIP], CODE + 2);
}

static void rep_goes_on_until_the_counter_is_zero(void **state)
{
	(void)state;
	set_64();
	memcpy(memory + DATA, "abc", 3);
	INSTRUCTION(0xf3, 0x6e);
	vcpu.gpr[GPR_RCX] = 3;
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(registers[X86_RIP], CODE);
		outs(1, 'a' + i);
		assert_int_equal(vcpu.gpr[GPR_RCX], 2 - i);
	}
	assert_int_equal(registers[X86_RIP], CODE + 2);
	registers[X86_RIP] = CODE; /* and with nothing to do it is over at once */
	assert_int_equal(x86_string_io(&vcpu, &vm_exit, PORT, 1, true), X86_RUN_ON);
	assert_int_equal(registers[X86_RIP], CODE + 2);
	assert_int_equal(injected, -1);
}

static void with_the_direction_flag_elements_go_down(void **state)
{
	(void)state;
	set_32();
	registers[X86_RFLAGS] = RFLAGS_DF;
	INSTRUCTION(0xf3, 0x6d); /* rep insl */
	vcpu.gpr[GPR_RCX] = 2;
	ins(4, 0x11111111);
	ins(4, 0x22222222);
	assert_int_equal(vcpu.gpr[GPR_RDI], DATA - 8);
	assert_memory_equal(memory + DATA - 4, "\x22\x22\x22\x22\x11\x11\x11\x11", 8);
}

static void registers_have_the_address_size(void **state)
{
	(void)state;
	segments[X86_DS].limit = UINT32_MAX;
	INSTRUCTION(0xf3, 0x6e); /* 16 bits: the rest stays */
	vcpu.gpr[GPR_RSI] = UINT64_C(0x123456789abcffff);
	vcpu.gpr[GPR_RCX] = UINT64_C(0xfedcba9876540001);
	memory[0xffff] = 9;
	outs(1, 9);
	assert_int_equal(vcpu.gpr[GPR_RSI], UINT64_C(0x123456789abc0000));
	assert_int_equal(vcpu.gpr[GPR_RCX], UINT64_C(0xfedcba9876540000));
	assert_int_equal(registers[X86_RIP], CODE + 2);
	set_64();
	registers[X86_RIP] = CODE;
	INSTRUCTION(0x67, 0xf3, 0x6e); /* 32 bits: the rest is cleared */
	vcpu.gpr[GPR_RSI] = UINT64_C(0x1234567800000000) + DATA;
	vcpu.gpr[GPR_RCX] = UINT64_C(0x1234567800000002);
	memory[DATA] = 8;
	outs(1, 8);
	assert_int_equal(vcpu.gpr[GPR_RSI], DATA + 1);
	assert_int_equal(vcpu.gpr[GPR_RCX], 1);
}

static void the_source_has_the_segment_that_a_prefix_names(void **state)
{
	static const uint8_t prefixes[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65}; /* ES to GS as numbered */
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(prefixes); i++) {
		segments[i].base = 0x100 * i;
		memory[DATA + 0x100 * i] = (uint8_t)(i + 1);
	}
	segments[X86_CS].base = 0; /* where the code is */
	memory[DATA] = X86_CS + 1;
	for (unsigned i = 1; i < ARRAY_SIZE(prefixes); i++) {
		registers[X86_RIP] = CODE;
		vcpu.gpr[GPR_RSI] = DATA;
		INSTRUCTION(prefixes[i], 0x6e);
		outs(1, i + 1);
	}
	INSTRUCTION(0x64, 0x6c); /* the destination is in ES whatever is said */
	segments[X86_ES].base = 0x10;
	ins(1, 0x77);
	assert_int_equal(memory[DATA + 0x10], 0x77);
	set_64(); /* there FS and GS alone have a base */
	segments[X86_DS].base = 0x700;
	segments[X86_FS].base = 0x300;
	registers[X86_RIP] = CODE;
	vcpu.gpr[GPR_RSI] = DATA;
	INSTRUCTION(0x3e, 0x6e, 0x64, 0x6e);
	memory[DATA] = 0x21;
	memory[DATA + 0x301] = 0x22;
	outs(1, 0x21);
	outs(1, 0x22);
}

static void elements_beyond_their_segment_fault(void **state)
{
	(void)state;
	segments[X86_DS].limit = DATA + 1;
	INSTRUCTION(0x6f); /* outsw */
	outs(2, 0);
	registers[X86_RIP] = CODE;
	vcpu.gpr[GPR_RSI] = DATA + 1;
	expect_fault(2, true, X86_GP, 0);
	INSTRUCTION(0x36, 0x6f);
	segments[X86_SS].limit = DATA;
	expect_fault(2, true, X86_STACK_FAULT, 0);
	INSTRUCTION(0x6d);
	segments[X86_ES].attributes = 0x97; /* expands down: what is above the limit is inside */
	segments[X86_ES].limit = DATA;
	expect_fault(2, false, X86_GP, 0);
	vcpu.gpr[GPR_RDI] = 0xffff;
	expect_fault(2, false, X86_GP, 0);
	vcpu.gpr[GPR_RDI] = DATA + 1;
	ins(2, 0);
}

static void elements_need_the_right_of_their_segment(void **state)
{
	static const struct {
		uint32_t attributes;
		bool read, write;
	} kinds[] = {
		{0x93, true, true},  {0x91, true, false},  {0x99, false, false},
		{0x9b, true, false}, {0x13, false, false}, {0x93 | X86_SEGMENT_UNUSABLE, false, false},
	};
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		start(NULL);
		segments[X86_DS].attributes = segments[X86_ES].attributes = kinds[i].attributes;
		INSTRUCTION(0x6e);
		if (kinds[i].read) {
			outs(1, 0);
		} else {
			expect_fault(1, true, X86_GP, 0);
		}
		registers[X86_RIP] = CODE;
		INSTRUCTION(0x6c);
		if (kinds[i].write) {
			ins(1, 0);
		} else {
			expect_fault(1, false, X86_GP, 0);
		}
	}
}

/* ---- pages ---- */

static void an_element_may_lie_on_two_pages(void **state)
{
	(void)state;
	set_64();
	put64(LEAVES + 9 * 8, 0x20000 | PAGE_FLAGS); /* what follows DATA's page is elsewhere */
	memcpy(memory + DATA + 0xffe, "\x01\x02", 2);
	memcpy(memory + 0x20000, "\x03\x04", 2);
	INSTRUCTION(0x6f, 0x6d);
	vcpu.gpr[GPR_RSI] = vcpu.gpr[GPR_RDI] = DATA + 0xffe;
	outs(4, 0x04030201);
	ins(4, 0x0d0c0b0a);
	assert_memory_equal(memory + DATA + 0xffe, "\x0a\x0b", 2);
	assert_memory_equal(memory + 0x20000, "\x0c\x0d", 2);
	assert_int_equal(memory[0x20002], 0);
}

static void behind_the_last_of_32_bits_comes_the_first(void **state)
{
	(void)state;
	set_32();
	registers[X86_CR0] = CR0_PE | CR0_PG;
	registers[X86_CR3] = 0x30000; /* only the last page is mapped, apart from the code's */
	put64(0x30000 + 1023 * 4, 0x31000 | PAGE_FLAGS);
	put64(0x31000 + 1023 * 4, DATA | PAGE_FLAGS);
	put64(0x30000 + 4, 0x32000 | PAGE_FLAGS);
	put64(0x32000 + 4, CODE | PAGE_FLAGS);
	segments[X86_CS].base = 0x400000;
	segments[X86_ES].base = 0x1000;
	vcpu.gpr[GPR_RDI] = 0xffffeffe;
	INSTRUCTION(0x6d);
	expect_fault(4, false, X86_PF, PF_WRITE);
	assert_int_equal(registers[X86_CR2], 0);
}

static void pages_that_are_missing_or_forbidden_fault_at_their_address(void **state)
{
	(void)state;
	set_64();
	put64(LEAVES + 9 * 8, 0);
	INSTRUCTION(0x6d);
	vcpu.gpr[GPR_RDI] = DATA + 0xffe;
	expect_fault(4, false, X86_PF, PF_WRITE);
	assert_int_equal(registers[X86_CR2], DATA + 0x1000);
	put64(LEAVES + 9 * 8, 0x9000 | 1 | 4); /* there, to be read */
	expect_fault(4, false, X86_PF, PF_WRITE | PF_PRESENT);
	put64(LEAVES + 9 * 8, 0x9000 | 1 | 2); /* the supervisor's */
	cpl = 3;
	expect_fault(4, false, X86_PF, PF_WRITE | PF_PRESENT | PF_USER);
	INSTRUCTION(0x6f);
	vcpu.gpr[GPR_RSI] = DATA + 0x1004;
	expect_fault(4, true, X86_PF, PF_PRESENT | PF_USER);
	assert_int_equal(registers[X86_CR2], DATA + 0x1004);
	vcpu.gpr[GPR_RSI] = BIT(50);
	expect_fault(4, true, X86_GP, 0); /* not canonical */
}

static void expect_refusal(int kind, gpa_t gpa, unsigned access, int status)
{
	assert_int_equal(kind, VM_EXIT_NESTED_FAULT);
	assert_int_equal(vm_exit.status, status);
	assert_int_equal(vm_exit.fault.gpa, gpa);
	assert_int_equal(vm_exit.fault.access, access);
	assert_int_equal(injected, -1);
}

static void without_a_frame_nothing_is_asked_of_the_device(void **state)
{
	(void)state;
	struct arch_vcpu before = vcpu;
	INSTRUCTION(0xf3, 0x6d);
	before.gpr[GPR_RCX] = vcpu.gpr[GPR_RCX] = 5;
	before.gpr[GPR_RDI] = vcpu.gpr[GPR_RDI] = DATA + 0xffe;
	refused = DATA + 0x1000;
	refused_status = MM_ENOMEM;
	refused_access = MM_WRITE;
	expect_refusal(x86_string_io(&vcpu, &vm_exit, PORT, 4, false), DATA + 0x1000, MM_WRITE, MM_ENOMEM);
	assert_nothing_done(&before);
	INSTRUCTION(0xf3, 0x6f);
	refused = DATA;
	refused_access = MM_READ;
	expect_refusal(x86_string_io(&vcpu, &vm_exit, PORT, 4, true), DATA, MM_READ, MM_ENOMEM);
	assert_nothing_done(&before);
}

/* ---- registers of devices ---- */

/* The nested fault at DEVICE, of the instruction at RIP. */
static int string_mmio(bool write)
{
	const struct x86_instruction *instruction = x86_fetch_decode(&vcpu);
	assert_non_null(instruction);
	vm_exit.fault = (struct nested_fault){.gpa = DEVICE, .access = write ? MM_WRITE : MM_READ};
	return x86_string_mmio(&vcpu, &vm_exit, instruction);
}

static void stos_writes_rax_and_never_reads(void **state)
{
	(void)state;
	set_64();
	INSTRUCTION(0xf3, 0x48, 0xab);
	vcpu.gpr[GPR_RAX] = UINT64_C(0x1122334455667788);
	vcpu.gpr[GPR_RCX] = 2;
	assert_int_equal(string_mmio(true), VM_EXIT_MMIO);
	assert_true(vm_exit.io.write);
	assert_int_equal(vm_exit.io.address, DEVICE);
	assert_int_equal(vm_exit.io.width, 8);
	assert_int_equal(vm_exit.io.value, UINT64_C(0x1122334455667788));
	x86_string_io_finish(&vcpu, &vm_exit.io);
	assert_int_equal(vcpu.gpr[GPR_RDI], DATA + 8);
	assert_int_equal(vcpu.gpr[GPR_RSI], DATA);
	assert_int_equal(vcpu.gpr[GPR_RCX], 1);
	assert_int_equal(registers[X86_RIP], CODE);
	/* The fault was another instruction's: the guest has changed its code, or its tables, since. */
	assert_int_equal(string_mmio(false), VM_EXIT_NESTED_FAULT);
}

static void movs_has_its_other_end_in_memory(void **state)
{
	(void)state;
	set_64();
	put64(DATA, UINT64_C(0x8877665544332211));
	INSTRUCTION(0x48, 0xa5, 0x66, 0xa5);
	assert_int_equal(string_mmio(true), VM_EXIT_MMIO);
	assert_int_equal(vm_exit.io.value, UINT64_C(0x8877665544332211));
	x86_string_io_finish(&vcpu, &vm_exit.io);
	assert_int_equal(vcpu.gpr[GPR_RSI], DATA + 8);
	assert_int_equal(vcpu.gpr[GPR_RDI], DATA + 8);
	assert_int_equal(registers[X86_RIP], CODE + 2);
	assert_int_equal(string_mmio(false), VM_EXIT_MMIO);
	assert_false(vm_exit.io.write);
	assert_int_equal(vm_exit.io.width, 2);
	vm_exit.io.value = 0xabcd;
	x86_string_io_finish(&vcpu, &vm_exit.io);
	assert_memory_equal(memory + DATA + 8, "\xcd\xab\0", 3);
	assert_int_equal(vcpu.gpr[GPR_RDI], DATA + 10);
	assert_int_equal(registers[X86_RIP], CODE + 4);
}

static void movs_from_device_to_device_or_without_a_frame_is_refused(void **state)
{
	(void)state;
	struct arch_vcpu before;
	set_64();
	put64(LEAVES + 9 * 8, DEVICE | PAGE_FLAGS);
	INSTRUCTION(0xa5);
	vcpu.gpr[GPR_RDI] = 0x9010;
	before = vcpu;
	expect_refusal(string_mmio(false), DEVICE + 0x10, MM_WRITE, MM_EFAULT);
	refused = vcpu.gpr[GPR_RDI] = before.gpr[GPR_RDI] = DATA;
	refused_status = MM_ENOMEM;
	refused_access = MM_WRITE;
	expect_refusal(string_mmio(false), DATA, MM_WRITE, MM_ENOMEM);
	assert_nothing_done(&before);
}

static void code_that_is_no_string_instruction_any_more_is_refused(void **state)
{
	(void)state;
	static const struct x86_instruction stos = {.length = 1, .operation = MMIO_STOS, .width = 4};
	INSTRUCTION(0x90);
	assert_int_equal(x86_string_io(&vcpu, &vm_exit, PORT, 1, true), VM_EXIT_FAILED);
	INSTRUCTION(0x48, 0x6e); /* no REX here */
	assert_int_equal(x86_string_io(&vcpu, &vm_exit, PORT, 1, true), VM_EXIT_FAILED);
	vm_exit.fault = (struct nested_fault){.gpa = DEVICE, .access = MM_WRITE};
	assert_int_equal(x86_string_mmio(&vcpu, &vm_exit, &stos), VM_EXIT_NESTED_FAULT);
	memset(memory + CODE, 0x66, X86_INSTRUCTION_MAX);
	assert_int_equal(x86_string_io(&vcpu, &vm_exit, PORT, 1, true), VM_EXIT_FAILED);
}

#define TEST(name) cmocka_unit_test_setup(name, start)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(one_element_moves_its_index_and_steps_over_the_instruction),
		TEST(rep_goes_on_until_the_counter_is_zero),
		TEST(with_the_direction_flag_elements_go_down),
		TEST(registers_have_the_address_size),
		TEST(the_source_has_the_segment_that_a_prefix_names),
		TEST(elements_beyond_their_segment_fault),
		TEST(elements_need_the_right_of_their_segment),
		TEST(an_element_may_lie_on_two_pages),
		TEST(behind_the_last_of_32_bits_comes_the_first),
		TEST(pages_that_are_missing_or_forbidden_fault_at_their_address),
		TEST(without_a_frame_nothing_is_asked_of_the_device),
		TEST(stos_writes_rax_and_never_reads),
		TEST(movs_has_its_other_end_in_memory),
		TEST(movs_from_device_to_device_or_without_a_frame_is_refused),
		TEST(code_that_is_no_string_instruction_any_more_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
