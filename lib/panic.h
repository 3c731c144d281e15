/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of the hypervisor, for its own errors only: never reachable from anything that a guest controls.
 */
#pragma once

/*
 * Logs "panic: message", then calls the handler that the architecture registered (registers, backtrace with
 * symbol names, halt of every CPU). Without a handler it stops this CPU.
 */
_Noreturn void panic(const char *format, ...) __attribute__((format(printf, 1, 2)));

void panic_set_handler(void (*handler)(void));
