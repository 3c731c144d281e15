// SPDX-License-Identifier: Apache-2.0
/*
 * A plugin for QEMU's TCG that counts the machine's executed instructions and notes the count where a kernel begins
 * and where a program of tests/linux/ executes a mark. Loaded by tools/bench_linux.py; what it counts is the same
 * whether the kernel runs bare or as a guest. It must not change what the machine does.
 *
 *   -plugin count_plugin.so,out=FILE,kernel=HEX
 *
 * HEX: an instruction that the kernel alone has, near its first one. FILE gets a line "mark NAME COUNT" each time one
 * is passed.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/linux/mark.h"

/*
 * What is used of QEMU's plugin interface, version 1 (QEMU's manual, "QEMU TCG Plugins", and the symbols that the
 * program exports): Debian packages no header of it.
 */
#define EXPORT __attribute__((visibility("default")))
enum { PLUGIN_VERSION = 1, INLINE_ADD_U64 = 0, NO_REGISTERS = 0 };
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_info;
typedef uint64_t plugin_id;
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, void (*call)(plugin_id, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, void (*call)(unsigned cpu, void *data),
                                            int flags, void *data);
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *insn, int operation, void *to,
                                                uint64_t operand);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);

EXPORT int qemu_plugin_version = PLUGIN_VERSION;
EXPORT int qemu_plugin_install(plugin_id id, const struct qemu_info *info, int argc, char **argv);

enum { INSTRUCTION_BYTES_MAX = 15 };

static uint64_t count;
static FILE *out;
static uint8_t kernel[INSTRUCTION_BYTES_MAX];
static size_t kernel_bytes;
static bool kernel_begun;

static void pass_mark(unsigned cpu, void *number)
{
	(void)cpu;
	fprintf(out, "mark %lu %lu\n", (unsigned long)(uintptr_t)number, count);
}

static void begin_kernel(unsigned cpu, void *unused)
{
	(void)cpu;
	(void)unused;
	if (!kernel_begun)
		fprintf(out, "mark kernel %lu\n", count);
	kernel_begun = true;
}

static bool is_kernel(const struct qemu_plugin_insn *insn)
{
	return kernel_bytes > 0 && qemu_plugin_insn_size(insn) == kernel_bytes &&
	       memcmp(qemu_plugin_insn_data(insn), kernel, kernel_bytes) == 0;
}

static void translated(plugin_id id, struct qemu_plugin_tb *tb)
{
	(void)id;
	for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		int number = mark_number(qemu_plugin_insn_data(insn), qemu_plugin_insn_size(insn));

		qemu_plugin_register_vcpu_insn_exec_inline(insn, INLINE_ADD_U64, &count, 1);
		if (!kernel_begun && is_kernel(insn))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, begin_kernel, NO_REGISTERS, NULL);
		if (number >= 0)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, pass_mark, NO_REGISTERS,
			                                       (void *)(uintptr_t)number);
	}
}

static void read_bytes(const char *hex)
{
	unsigned byte = 0;

	while (kernel_bytes < sizeof(kernel) && sscanf(hex + 2 * kernel_bytes, "%2x", &byte) == 1)
		kernel[kernel_bytes++] = (uint8_t)byte;
}

int qemu_plugin_install(plugin_id id, const struct qemu_info *info, int argc, char **argv)
{
	(void)info;
	for (int i = 0; i < argc; i++) {
		if (strncmp(argv[i], "out=", 4) == 0)
			out = fopen(argv[i] + 4, "w");
		else if (strncmp(argv[i], "kernel=", 7) == 0)
			read_bytes(argv[i] + 7);
	}
	if (!out)
		return -1;
	setvbuf(out, NULL, _IOLBF, 0);
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
