/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The 16550 and its likes, by I/O port or MMIO: fills in a struct host_uart. Called by host_uart.c only.
 */
#pragma once

#include "drivers/host_uart.h"

/* uart->description is set. False: nothing answers there. */
bool uart16550_init(struct host_uart *uart);
