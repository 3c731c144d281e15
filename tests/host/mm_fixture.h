/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What most tests of address spaces stand on: one arena of 64 MiB, fresh for each test, and one space in it. Included
 * once by a test's own file.
 */
#pragma once

#include "tests/host/mm_arena.h"

static struct mm_arena arena;
static struct addr_space space;

static inline int setup(void **state)
{
	(void)state;
	mm_arena_init(&arena, MIB(64));
	return 0;
}

static inline int teardown(void **state)
{
	(void)state;
	mm_arena_fini(&arena);
	return 0;
}

/* HPA, or HPA_NONE where nothing is present. */
static inline hpa_t where(gpa_t gpa)
{
	struct translation result;

	return addr_space_translate(&space, gpa, &result) == MM_OK ? result.address : HPA_NONE;
}

static inline int fault_at(gpa_t gpa, uint8_t access)
{
	struct nested_fault fault = {.gpa = gpa, .access = access};

	return addr_space_handle_fault(&space, &fault);
}
