/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The step out of the firmware's world: off its stack, for good. boot/ takes it once, after ExitBootServices.
 */
#pragma once

#include <stdint.h>

/* Masks interrupts, puts the stack pointer at `top` (16-byte aligned) and calls `function`, which never returns. */
_Noreturn void enter_on_stack(uintptr_t top, void (*function)(void *argument), void *argument);
