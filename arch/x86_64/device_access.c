/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Accesses to ports and device registers: what an instruction asks for, and what becomes of the answer. Called by
 * vcpu.c for nested faults where no memory is, and by hv/ when it has answered (arch_vcpu_finish_io). An instruction
 * that reads and writes a register makes two accesses of it, with no entry into the guest between them.
 */
#include "vcpu.h"

#include "cpu.h"
#include "decode.h"

/* ---- the answer ---- */

/* Puts a value of `bytes` into a register as the ISA does: 4 bytes clear the upper half, 1 and 2 leave the rest. */
static inline void write_gpr(uint64_t *gpr, uint64_t value, unsigned bytes)
{
	if (bytes == 1) {
		*(uint8_t *)gpr = (uint8_t)value;
	} else if (bytes == 2) {
		*(uint16_t *)gpr = (uint16_t)value;
	} else {
		*gpr = bytes == 4 ? (uint32_t)value : value;
	}
}

static __attribute__((noinline)) void skip_by_rip(struct arch_vcpu *vcpu, unsigned length)
{
	const struct virt_ops *ops = vcpu->vm->ops;
	ops->set(vcpu, X86_RIP, ops->get(vcpu, X86_RIP) + length);
}

static inline void skip(struct arch_vcpu *vcpu, unsigned length)
{
	void (*by_ops)(struct arch_vcpu *, unsigned) = vcpu->vm->ops->skip;
	if (likely(by_ops)) {
		by_ops(vcpu, length);
	} else {
		skip_by_rip(vcpu, length);
	}
}

/* io_access.detail of an MMIO access. */
static inline uint32_t mmio_detail(const struct x86_instruction *instruction)
{
	uint32_t detail = (uint32_t)(X86_IO_MMIO | (uint32_t)instruction->result_width << X86_IO_RESULT_SHIFT);
	if (unlikely(instruction->sign_extend || instruction->high_byte || instruction->gpr == GPR_RSP)) {
		detail |= instruction->sign_extend ? (uint32_t)X86_IO_SIGN_EXTEND : 0;
		detail |= (uint32_t)(instruction->high_byte ? X86_IO_HIGH_BYTE : 0);
		detail |= (uint32_t)(instruction->gpr == GPR_RSP ? X86_IO_RSP : 0);
	}
	return detail;
}

/* AH to BH and RSP as well. */
static void write_odd_gpr(struct arch_vcpu *vcpu, unsigned target, uint32_t detail, uint64_t value)
{
	const struct virt_ops *ops = vcpu->vm->ops;
	uint64_t *gpr = &vcpu->gpr[target];
	if (detail & X86_IO_HIGH_BYTE) {
		*gpr = (*gpr & ~BITS(15, 8)) | (value & UINT8_MAX) << 8;
	} else if (detail & X86_IO_RSP) {
		uint64_t rsp = ops->get(vcpu, X86_RSP);
		write_gpr(&rsp, value, X86_IO_RESULT(detail));
		ops->set(vcpu, X86_RSP, rsp);
	} else {
		write_gpr(gpr, value, X86_IO_RESULT(detail));
	}
}

static uint64_t operand_value(struct arch_vcpu *vcpu, const struct x86_instruction *instruction)
{
	uint64_t value;
	if (instruction->immediate) {
		value = instruction->value;
	} else if (instruction->gpr == GPR_RSP && !instruction->high_byte) {
		value = vcpu->vm->ops->get(vcpu, X86_RSP);
	} else {
		value = vcpu->gpr[instruction->gpr] >> (instruction->high_byte ? 8 : 0);
	}
	return value & BITS(8U * instruction->width - 1, 0);
}

/* The device has been read. Nothing of the instruction shows before its last access is done. */
static void compute(struct arch_vcpu *vcpu, uint64_t read)
{
	struct device_compute *c = &vcpu->compute;
	const struct x86_instruction *instruction = &c->instruction;
	enum x86_alu op = MMIO_ALU(instruction->operation);
	uint64_t operand = operand_value(vcpu, instruction);

	c->read = read;
	c->flags = vcpu->vm->ops->get(vcpu, X86_RFLAGS);
	if (op == ALU_XCHG) {
		c->result = operand;
	} else if (MMIO_CLASS(instruction->operation) == MMIO_COMBINE) {
		c->result = x86_compute(op, operand, read, instruction->width, &c->flags);
	} else {
		c->result = x86_compute(op, read, operand, instruction->width, &c->flags);
	}
}

static void finish_compute(struct arch_vcpu *vcpu, const struct io_access *io)
{
	const struct device_compute *c = &vcpu->compute;
	const struct x86_instruction *instruction = &c->instruction;
	enum mmio_operation class = MMIO_CLASS(instruction->operation);
	enum x86_alu op = MMIO_ALU(instruction->operation);

	if (!io->write) {
		compute(vcpu, io->value);
		if (class == MMIO_MODIFY) {
			vcpu->request |= X86_REQUEST_ACCESS;
			return;
		}
	}
	if (op == ALU_XCHG) {
		write_odd_gpr(vcpu, instruction->gpr, mmio_detail(instruction), c->read);
	} else if (class == MMIO_COMBINE && op != ALU_CMP) {
		write_odd_gpr(vcpu, instruction->gpr, mmio_detail(instruction), c->result);
	}
	vcpu->vm->ops->set(vcpu, X86_RFLAGS, c->flags);
	skip(vcpu, io->length);
}

/* INS and OUTS, STOS and MOVS, MOVSX, AH to BH, RSP, and what computes. */
static __attribute__((noinline)) void finish_odd_io(struct arch_vcpu *vcpu, const struct io_access *io)
{
	if (io->detail & X86_IO_STRING) {
		x86_string_io_finish(vcpu, io);
		return;
	}
	if (io->detail & X86_IO_COMPUTE) {
		finish_compute(vcpu, io);
		return;
	}
	if (!io->write) {
		uint64_t value = io->detail & X86_IO_SIGN_EXTEND ? x86_sign_extend(io->value, io->width) : io->value;
		write_odd_gpr(vcpu, io->target, io->detail, value);
	}
	skip(vcpu, io->length);
}

static __attribute__((noinline)) void finish_port(struct arch_vcpu *vcpu, const struct io_access *io)
{
	if (!io->write) {
		write_gpr(&vcpu->gpr[GPR_RAX], io->value, io->width);
	}
	if (io->length) {
		skip(vcpu, io->length);
	}
}

void arch_vcpu_finish_io(struct arch_vcpu *vcpu, const struct io_access *io)
{
	uint64_t shape = x86_io_shape(io);
	if (shape == X86_IO_PORT(1, false)) { /* IN AL, the most frequent one */
		*(uint8_t *)&vcpu->gpr[GPR_RAX] = (uint8_t)io->value;
		return;
	}
	if (!(io->detail & X86_IO_MMIO)) {
		if (unlikely(io->detail & X86_IO_STRING)) {
			finish_odd_io(vcpu, io);
		} else if (shape != X86_IO_PORT(1, true)) {
			finish_port(vcpu, io);
		}
		return;
	}
	if (unlikely(io->detail & X86_IO_ODD)) {
		finish_odd_io(vcpu, io);
		return;
	}
	if (!io->write) {
		write_gpr(&vcpu->gpr[io->target], io->value, X86_IO_RESULT(io->detail));
	}
	skip(vcpu, io->length);
}

/* ---- the question ---- */

int x86_second_access(struct arch_vcpu *vcpu, struct vm_exit *exit)
{
	const struct device_compute *c = &vcpu->compute;
	vcpu->request &= (uint8_t)~X86_REQUEST_ACCESS;
	exit->io = (struct io_access){
		.address = c->address,
		.value = c->result,
		.width = c->instruction.width,
		.write = true,
		.length = c->instruction.length,
		.detail = (uint32_t)(X86_IO_MMIO | X86_IO_COMPUTE),
	};
	return VM_EXIT_MMIO;
}

/* Whatever is no move; NULL: what could not be decoded. */
static __attribute__((noinline)) int odd_access(struct arch_vcpu *vcpu, struct vm_exit *exit,
                                                const struct x86_instruction *instruction)
{
	enum mmio_operation class = instruction ? MMIO_CLASS(instruction->operation) : MMIO_NONE;
	exit->status = MM_EFAULT;
	if (class == MMIO_STOS || class == MMIO_MOVS) {
		return x86_string_mmio(vcpu, exit, instruction);
	}
	if (class != MMIO_MODIFY && class != MMIO_COMPARE && class != MMIO_COMBINE) {
		return VM_EXIT_NESTED_FAULT; /* its memory operand is not what the fault is about */
	}
	vcpu->compute.instruction = *instruction;
	vcpu->compute.address = exit->fault.gpa;
	exit->io = (struct io_access){
		.address = exit->fault.gpa,
		.width = instruction->width,
		.length = instruction->length,
		.detail = (uint32_t)(X86_IO_MMIO | X86_IO_COMPUTE),
	};
	return VM_EXIT_MMIO;
}

int x86_device_fault(struct arch_vcpu *vcpu, struct vm_exit *exit)
{
	const struct nested_fault *fault = &exit->fault;
	struct io_access *io = &exit->io;
	const struct x86_instruction *instruction = NULL;

	if (likely(!fault->table_walk && !(fault->access & MM_EXECUTE))) {
		instruction = x86_fetch_decode(vcpu);
	}
	if (unlikely(!instruction || instruction->operation != (fault->access & MM_WRITE ? MMIO_STORE : MMIO_LOAD))) {
		return odd_access(vcpu, exit, instruction);
	}
	io->address = fault->gpa;
	io->width = instruction->width;
	io->write = instruction->operation == MMIO_STORE;
	io->length = instruction->length;
	io->target = instruction->gpr;
	io->detail = mmio_detail(instruction);
	if (instruction->operation == MMIO_STORE) {
		io->value = operand_value(vcpu, instruction);
	}
	return VM_EXIT_MMIO;
}
