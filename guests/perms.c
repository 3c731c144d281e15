/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One access that memory does not allow, chosen by the command line: the hypervisor must stop this VM with a
 * report. Going on is the failure.
 */
#include "guest.h"

static uint8_t page[PAGE_SIZE] __attribute__((aligned(4096)));

#define NOTHING_AT 0x70000000ul /* no RAM, no device, on any ISA's guest machine */

static void protect(unsigned permissions)
{
	uint64_t status = hypercall(CALL_PROTECT, (uintptr_t)page, sizeof(page), permissions);
	if (status != 0) {
		print("perms: protect failed: %lx\n", (unsigned long)status);
		power_off();
	}
}

static void write_read_only(void)
{
	volatile uint8_t *byte = page + 0x123;
	*byte = 1;
	protect(MAY_READ);
	print("perms: reads %u, writes to read-only 0x%lx\n", *byte, (unsigned long)(uintptr_t)byte);
	*byte = 2;
}

static void execute_non_executable(void)
{
	void (*code)(void) = (void (*)(void))(uintptr_t)page;
	write_return_instruction(page);
	synchronize_code();
	code();
	protect(MAY_READ | MAY_WRITE);
	print("perms: called it once, executes non-executable 0x%lx\n", (unsigned long)(uintptr_t)page);
	code();
}

static void read_nothing(void)
{
	print("perms: reads 0x%lx where nothing is\n", NOTHING_AT);
	print("perms: read %u\n", *(volatile uint8_t *)NOTHING_AT);
}

static void read_guard(void)
{
	volatile uint8_t *byte = page + 0x456;
	*byte = 1;
	protect(0);
	print("perms: reads guard 0x%lx\n", (unsigned long)(uintptr_t)byte);
	print("perms: read %u\n", *byte);
}

void guest_main(void)
{
	if (cmdline_is("write-read-only")) {
		write_read_only();
	} else if (cmdline_is("execute-non-executable")) {
		execute_non_executable();
	} else if (cmdline_is("read-nothing")) {
		read_nothing();
	} else if (cmdline_is("read-guard")) {
		read_guard();
	} else {
		print("perms: command line \"%s\": one of write-read-only, execute-non-executable, read-nothing, "
		      "read-guard\n",
		      guest.cmdline);
		return;
	}
	print("perms: NOT STOPPED\n");
}
