/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arm's PL011 and the SBSA generic UART that is its subset: fills in a struct host_uart. Called by
 * host_uart.c only.
 */
#pragma once

#include "drivers/host_uart.h"

/* uart->description is set. False: nothing answers there. */
bool pl011_init(struct host_uart *uart);
