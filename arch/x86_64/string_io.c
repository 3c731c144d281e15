/* SPDX-License-Identifier: Apache-2.0 */
/*
 * INS, OUTS, and STOS and MOVS that reach device registers, with and without REP: each element becomes one access of
 * hv/'s, its other end is RAX or guest memory. Called from the port exits of both VMX and SVM, for nested faults, and
 * by arch_vcpu_finish_io. The instruction is read from the guest's code, as not every CPU tells its segment and address
 * size. SDM vol. 2 "INS", "OUTS", "STOS", "MOVS".
 */
#include "vcpu.h"

#include "cpu.h"
#include "decode.h"

#define OPCODE_INSB  0x6c
#define OPCODE_OUTSD 0x6f
#define OPCODE_MOVSB 0xa4
#define OPCODE_MOVSD 0xa5
#define OPCODE_STOSB 0xaa
#define OPCODE_STOSD 0xab

/* x86_segment.attributes, SDM vol. 3A 3.4.5.1 */
#define SEGMENT_WRITABLE BIT(1) /* of code: readable */
#define SEGMENT_DOWN     BIT(2) /* of data: expands down */
#define SEGMENT_CODE     BIT(3)
#define SEGMENT_PRESENT  BIT(7)
#define SEGMENT_BIG      BIT(10)

#define LOCATED (X86_RUN_ON - 1)

struct string_instruction {
	uint8_t length;
	uint8_t address_size; /* bytes */
	bool repeat;
	enum x86_segment_name segment; /* of the source; the destination is always in ES */
};

static bool is_string_opcode(uint8_t byte)
{
	return (byte >= OPCODE_INSB && byte <= OPCODE_OUTSD) || (byte >= OPCODE_MOVSB && byte <= OPCODE_MOVSD) ||
	       (byte >= OPCODE_STOSB && byte <= OPCODE_STOSD);
}

/* The prefixes of one of them. False: these bytes are none. */
static bool parse(const uint8_t *bytes, size_t count, enum x86_code_mode mode, struct string_instruction *found)
{
	bool other_size = false;
	*found = (struct string_instruction){.segment = X86_DS};
	for (size_t i = 0; i < count; i++) {
		uint8_t byte = bytes[i];
		if (is_string_opcode(byte)) {
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

/* An element's other end, in guest memory: what is `stored` there, or else read from there. */
struct element {
	uint64_t linear;
	uint8_t width;
	bool stored;
	enum x86_segment_name segment;
};

/* SDM vol. 3A 5.3, 5.5: outside 64-bit mode. */
static bool in_segment(const struct x86_segment *segment, uint64_t offset, const struct element *element)
{
	uint64_t last = offset + element->width - 1, attributes = segment->attributes;
	bool code = attributes & SEGMENT_CODE;
	if (!(attributes & SEGMENT_PRESENT) || (attributes & X86_SEGMENT_UNUSABLE)) {
		return false;
	}
	if (element->stored ? code || !(attributes & SEGMENT_WRITABLE) : code && !(attributes & SEGMENT_WRITABLE)) {
		return false;
	}
	if (!code && (attributes & SEGMENT_DOWN)) {
		return offset > segment->limit && last <= size_mask(attributes & SEGMENT_BIG ? 4 : 2);
	}
	return last <= segment->limit;
}

/* Where it is. False: not in its segment; a fault was injected. */
static bool find_element(struct arch_vcpu *vcpu, const struct string_instruction *instruction, enum x86_code_mode mode,
                         struct element *element)
{
	const struct virt_ops *ops = vcpu->vm->ops;
	uint64_t offset = vcpu->gpr[element->stored ? GPR_RDI : GPR_RSI] & size_mask(instruction->address_size);
	struct x86_segment segment;
	element->segment = element->stored ? X86_ES : instruction->segment;
	element->linear = offset;
	if (mode == X86_CODE_64 && element->segment != X86_FS && element->segment != X86_GS) {
		return true;
	}
	ops->get_segment(vcpu, element->segment, &segment);
	element->linear = mode == X86_CODE_64 ? segment.base + offset : (uint32_t)(segment.base + offset);
	if (mode != X86_CODE_64 && !in_segment(&segment, offset, element)) {
		ops->inject(vcpu, element->segment == X86_SS ? X86_STACK_FAULT : X86_GP, 0);
		return false;
	}
	return true;
}

/* The guest's own tables and rights. False: a fault was injected. */
static bool translate(struct arch_vcpu *vcpu, const struct element *element, uint64_t linear, uint64_t *gpa)
{
	const struct virt_ops *ops = vcpu->vm->ops;
	uint32_t access = (element->stored ? PF_WRITE : 0) | (x86_cpl(vcpu) == 3 ? PF_USER : 0), error;
	if (x86_guest_translate(vcpu, linear, access, gpa, &error)) {
		return true;
	}
	if (error == X86_NO_ERROR_CODE) {
		ops->inject(vcpu, element->segment == X86_SS ? X86_STACK_FAULT : X86_GP, 0);
	} else {
		ops->set(vcpu, X86_CR2, linear);
		ops->inject(vcpu, X86_PF, error);
	}
	return false;
}

/* Makes sure of the memory before anything is asked of a device, which cannot take its answer back. */
static bool reserve(struct arch_vcpu *vcpu, struct vm_exit *exit, const struct element *element, uint64_t linear,
                    uint64_t gpa)
{
	struct nested_fault fault = {
		.gpa = gpa,
		.access = element->stored ? MM_WRITE : MM_READ,
		.linear_valid = true,
		.linear_address = linear,
	};
	int status = addr_space_handle_fault(vcpu->vm->space, &fault);
	if (status != MM_OK) {
		exit->fault = fault;
		exit->status = status;
	}
	return status == MM_OK;
}

/* Where the element's bytes are: LOCATED, or what x86_string_io returns. */
static int locate(struct arch_vcpu *vcpu, struct vm_exit *exit, const struct string_instruction *instruction,
                  enum x86_code_mode mode, struct element element)
{
	struct string_io *string = &vcpu->string;
	if (!find_element(vcpu, instruction, mode, &element)) {
		return X86_RUN_ON;
	}
	string->first = (uint8_t)MIN(element.width, FRAME_SIZE - (element.linear & (FRAME_SIZE - 1)));
	uint64_t next = element.linear + string->first;
	uint64_t linear[2] = {element.linear, mode == X86_CODE_64 ? next : (uint32_t)next};
	unsigned parts = string->first < element.width ? 2 : 1;
	for (unsigned i = 0; i < parts; i++) {
		if (!translate(vcpu, &element, linear[i], &string->gpa[i])) {
			return X86_RUN_ON;
		}
	}
	for (unsigned i = 0; i < parts; i++) {
		if (!reserve(vcpu, exit, &element, linear[i], string->gpa[i])) {
			return VM_EXIT_NESTED_FAULT;
		}
	}
	return LOCATED;
}

static uint64_t read_element(struct arch_vcpu *vcpu, uint8_t width)
{
	const struct string_io *string = &vcpu->string;
	uint64_t value = 0;
	(void)guest_read(vcpu->vm->space, string->gpa[0], &value, string->first, GUEST_ACCESS_DEFAULT);
	(void)guest_read(vcpu->vm->space, string->gpa[1], (uint8_t *)&value + string->first,
	                 (size_t)(width - string->first), GUEST_ACCESS_DEFAULT);
	return value;
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
	int kind = locate(vcpu, exit, &instruction, mode, (struct element){.width = width, .stored = !write});
	if (kind != LOCATED) {
		return kind;
	}
	string->length = instruction.length;
	string->address_size = instruction.address_size;
	string->repeat = instruction.repeat;
	string->source = write;
	string->destination = !write;
	if (write) {
		value = read_element(vcpu, width);
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

int x86_string_mmio(struct arch_vcpu *vcpu, struct vm_exit *exit, const struct x86_instruction *instruction)
{
	struct string_io *string = &vcpu->string;
	struct string_instruction parsed;
	uint8_t bytes[X86_INSTRUCTION_MAX];
	enum x86_code_mode mode = x86_code_mode(vcpu);
	bool moves = MMIO_CLASS(instruction->operation) == MMIO_MOVS, write = exit->fault.access & MM_WRITE;
	uint8_t width = instruction->width;

	if (!parse(bytes, x86_fetch(vcpu, bytes, sizeof(bytes)), mode, &parsed)) {
		return VM_EXIT_NESTED_FAULT; /* changed by another vCPU since it was decoded */
	}
	if (!moves && !write) {
		return VM_EXIT_NESTED_FAULT; /* STOS reads nothing: the code is not what the CPU executed */
	}
	/* MOVS has its other end in memory: the source of a write, the destination of a read. */
	if (moves) {
		int kind = locate(vcpu, exit, &parsed, mode, (struct element){.width = width, .stored = !write});
		if (kind != LOCATED) {
			return kind;
		}
	}
	string->length = parsed.length;
	string->address_size = parsed.address_size;
	string->repeat = parsed.repeat;
	string->source = moves;
	string->destination = true;
	exit->io = (struct io_access){
		.address = exit->fault.gpa,
		.value = moves ? 0 : vcpu->gpr[GPR_RAX] & size_mask(width),
		.width = width,
		.write = write,
		.detail = (uint32_t)(X86_IO_MMIO | X86_IO_STRING),
	};
	if (moves && write) {
		exit->io.value = read_element(vcpu, width);
	}
	return VM_EXIT_MMIO;
}

static void advance(uint64_t *index, const struct io_access *io, bool down, unsigned address_size)
{
	set_counter(index, down ? *index - io->width : *index + io->width, address_size);
}

void x86_string_io_finish(struct arch_vcpu *vcpu, const struct io_access *io)
{
	const struct virt_ops *ops = vcpu->vm->ops;
	const struct string_io *string = &vcpu->string;
	uint64_t *counter = &vcpu->gpr[GPR_RCX];
	bool down = ops->get(vcpu, X86_RFLAGS) & RFLAGS_DF;

	if (!io->write) {
		(void)guest_write(vcpu->vm->space, string->gpa[0], &io->value, string->first, GUEST_ACCESS_DEFAULT);
		(void)guest_write(vcpu->vm->space, string->gpa[1], (const uint8_t *)&io->value + string->first,
		                  (size_t)(io->width - string->first), GUEST_ACCESS_DEFAULT);
	}
	if (string->source) {
		advance(&vcpu->gpr[GPR_RSI], io, down, string->address_size);
	}
	if (string->destination) {
		advance(&vcpu->gpr[GPR_RDI], io, down, string->address_size);
	}
	if (string->repeat) {
		set_counter(counter, *counter - 1, string->address_size);
	}
	if (!string->repeat || (*counter & size_mask(string->address_size)) == 0) {
		ops->set(vcpu, X86_RIP, ops->get(vcpu, X86_RIP) + string->length);
	}
}
