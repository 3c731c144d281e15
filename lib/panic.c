/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of the hypervisor. Any CPU may get here, in any state, holding the log's lock or inside a panic
 * already: each step must therefore come to an end.
 */
#include "lib/panic.h"

#include "lib/log.h"
#include "lib/printf.h"

#include <stdarg.h>
#include <stddef.h>

static void (*panic_handler)(void);
static unsigned panics;

void panic_set_handler(void (*handler)(void))
{
	panic_handler = handler;
}

static _Noreturn __attribute__((noinline)) void stop_cpu(void)
{
	for (;;) {
#if defined(__x86_64__)
		__asm__ volatile("cli; hlt");
#elif defined(__aarch64__)
		__asm__ volatile("msr daifset, #0xf; wfi");
#endif
	}
}

_Noreturn void panic(const char *format, ...)
{
	static char messages[2][LOG_LINE_MAX]; /* a stack may be what is broken */
	unsigned earlier = __atomic_fetch_add(&panics, 1, __ATOMIC_RELAXED);

	/* The second one may come from the handler or from another CPU: worth a line. More would be a storm. */
	if (earlier > 1) {
		stop_cpu();
	}
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(messages[earlier], sizeof(messages[earlier]), format, arguments);
	va_end(arguments);
	log_break_lock();
	log_line("panic", "%s", messages[earlier]);
	if (earlier == 0 && panic_handler != NULL) {
		panic_handler();
	}
	log_break_lock();
	log_flush();
	stop_cpu();
}
