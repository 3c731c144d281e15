/* SPDX-License-Identifier: Apache-2.0 */
/*
 * INS and OUTS, with and without REP: each element becomes one port access of hv/'s, its other end is guest memory.
 * Called from the port exits of both VMX and SVM, and by arch_vcpu_finish_io. The instruction is read from the
 * guest's code, as not every CPU tells its segment and address size. SDM vol. 2 "INS", "OUTS".
 */
#include "vcpu.h"

#include "cpu.h"
#include "decode.h"

#define OPCODE_INSB  0x6c
#define OPCODE_OUTSD 0x6f
#define RFLAGS_DF    BIT(10)

#define PF_WRITE BIT(1)
#define PF_USER  BIT(2)

struct string_instruction {
	uint8_t length;
	uint8_t address_size; /* bytes */
	bool repeat;
	enum x86_segment_name segment; /* of OUTS; INS always writes to ES */
};

/* The prefixes of one INS or OUTS. False: these bytes are none. */
static bool parse(const uint8_t *bytes, size_t count, enum x86_code_mode mode, struct string_instruction *found)
{
	bool other_size = false;
	*found = (struct string_instruction){.segment = X86_DS};
	for (size_t i = 0; i < count; i++) {
		uint8_t byte = bytes[i];
		if (byte >= OPCODE_INSB && byte <= OPCODE_OUTSD) {
			static const uint8_t sizes[3][2] = {{2, 4}, {4, 2}, {8, 4}};
			found->address_size = sizes[mode][other_size];
			found->length = (uint8_t)(i + 1);
			return true;
		}
		switch (byte) {
		case 0x26:
			found->segment = X86_ES;
			break;
		case 0x2e:
			found->segment = X86_CS;
			break;
		case 0x36:
			found->segment = X86_SS;
			break;
		case 0x3e:
			found->segment = X86_DS;
			break;
		case 0x64:
			found->segment = X86_FS;
			break;
		case 0x65:
			found->segment = X86_GS;
			break;
		case 0x67:
			other_size = true;
			break;
		case 0xf2:
		case 0xf3:
			found->repeat = true;
			break;
		case 0x66: /* operand size: the exit tells the width */
			break;
		default:
			if (mode != X86_CODE_64 || (byte & 0xf0) != 0x40) { /* REX says nothing here */
				return false;
			}
			break;
		}
	}
	return false;
}

static uint64_t size_mask(unsigned address_size)
{
	return BITS(8 * address_size - 1, 0);
}

/* As the CPU writes a register of the address size: 16 bits leave the rest, 32 clear it. */
static void set_counter(uint64_t *gpr, uint64_t value, unsigned address_size)
{
	uint64_t keep = address_size == 2 ? ~size_mask(2) : 0;
	*gpr = (*gpr & keep) | (value & size_mask(address_size));
}

/* The element's linear address. Limits and rights of the segment are not checked: a guest that relies on #GP here
 * finds its own memory instead. */
static uint64_t linear_address(struct arch_vcpu *vcpu, const struct string_instruction *instruction,
                               enum x86_code_mode mode, bool write)
{
	uint64_t offset = vcpu->gpr[write ? GPR_RSI : GPR_RDI] & size_mask(instruction->address_size);
	enum x86_segment_name name = write ? instruction->segment : X86_ES;
	struct x86_segment segment;

	if (mode == X86_CODE_64 && name != X86_FS && name != X86_GS) {
		return offset;
	}
	vcpu->vm->ops->get_segment(vcpu, name, &segment);
	return mode == X86_CODE_64 ? segment.base + offset : (uint32_t)(segment.base + offset);
}

/* Where the element's bytes are. False: a page fault was injected. */
static bool locate(struct arch_vcpu *vcpu, uint64_t linear, uint8_t width, bool write)
{
	struct string_io *string = &vcpu->string;
	string->first = (uint8_t)MIN(width, FRAME_SIZE - (linear & (FRAME_SIZE - 1)));
	uint64_t second = linear + string->first;
	uint64_t missing = linear;
	bool there = x86_guest_translate(vcpu, linear, &string->gpa[0]);
	if (there && string->first < width) {
		missing = second;
		there = x86_guest_translate(vcpu, second, &string->gpa[1]);
	}
	if (!there) {
		vcpu->vm->ops->set(vcpu, X86_CR2, missing);
		vcpu->vm->ops->inject(vcpu, X86_PF,
		                      (uint32_t)((write ? 0 : PF_WRITE) | (x86_cpl(vcpu) == 3 ? PF_USER : 0)));
	}
	return there;
}

int x86_string_io(struct arch_vcpu *vcpu, struct vm_exit *exit, uint16_t port, uint8_t width, bool write)
{
	const struct virt_ops *ops = vcpu->vm->ops;
	struct string_io *string = &vcpu->string;
	struct string_instruction instruction;
	uint8_t bytes[X86_INSTRUCTION_MAX];
	enum x86_code_mode mode = x86_code_mode(vcpu);
	uint64_t value = 0;

	if (!parse(bytes, x86_fetch(vcpu, bytes, sizeof(bytes)), mode, &instruction)) {
		return VM_EXIT_FAILED;
	}
	if (instruction.repeat && (vcpu->gpr[GPR_RCX] & size_mask(instruction.address_size)) == 0) {
		ops->set(vcpu, X86_RIP, ops->get(vcpu, X86_RIP) + instruction.length);
		return X86_RUN_ON;
	}
	if (!locate(vcpu, linear_address(vcpu, &instruction, mode, write), width, write)) {
		return X86_RUN_ON;
	}
	string->length = instruction.length;
	string->address_size = instruction.address_size;
	string->repeat = instruction.repeat;
	if (write) { /* what is no memory reads as zeros */
		(void)guest_read(vcpu->vm->space, string->gpa[0], &value, string->first, GUEST_ACCESS_DEFAULT);
		(void)guest_read(vcpu->vm->space, string->gpa[1], (uint8_t *)&value + string->first,
		                 (size_t)(width - string->first), GUEST_ACCESS_DEFAULT);
	}
	exit->io = (struct io_access){
		.address = port,
		.value = value,
		.width = width,
		.write = write,
		.detail = (uint32_t)X86_IO_STRING,
	};
	return VM_EXIT_PORT;
}

void x86_string_io_finish(struct arch_vcpu *vcpu, const struct io_access *io)
{
	const struct virt_ops *ops = vcpu->vm->ops;
	const struct string_io *string = &vcpu->string;
	uint64_t *index = &vcpu->gpr[io->write ? GPR_RSI : GPR_RDI];
	uint64_t *counter = &vcpu->gpr[GPR_RCX];
	bool down = ops->get(vcpu, X86_RFLAGS) & RFLAGS_DF;

	if (!io->write) {
		(void)guest_write(vcpu->vm->space, string->gpa[0], &io->value, string->first, GUEST_ACCESS_DEFAULT);
		(void)guest_write(vcpu->vm->space, string->gpa[1], (const uint8_t *)&io->value + string->first,
		                  (size_t)(io->width - string->first), GUEST_ACCESS_DEFAULT);
	}
	set_counter(index, down ? *index - io->width : *index + io->width, string->address_size);
	if (string->repeat) {
		set_counter(counter, *counter - 1, string->address_size);
	}
	if (!string->repeat || (*counter & size_mask(string->address_size)) == 0) {
		ops->set(vcpu, X86_RIP, ops->get(vcpu, X86_RIP) + string->length);
	}
}
