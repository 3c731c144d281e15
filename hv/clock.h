/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time since efi_main, from the ISA's free-running counter.
 */
#pragma once

#include <stdint.h>

/* `start_time`: seconds since 1970-01-01, UTC, at that moment; 0: not known. */
void clock_init(uint64_t start_counter, uint64_t start_time);
uint64_t clock_microseconds(void);
uint64_t clock_nanoseconds(void);
/* The time of day in nanoseconds since 1970-01-01, UTC. */
uint64_t clock_wall_nanoseconds(void);
/* Counter ticks that `milliseconds` take; saturates. */
uint64_t clock_ticks(uint64_t milliseconds);
/* Counter ticks since efi_main. */
uint64_t clock_since_start(void);
