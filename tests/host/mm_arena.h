/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of mm/ stand on: an arena of frames behind a struct mm_hal. Host-physical addresses in it are
 * no pointers, frames come filled with garbage, every frame's use is known, the n-th allocation can be made
 * to fail, flushes are recorded. A free of what is not held ends the program. Beside the frames there may be a window
 * of memory that the arena never gives out, for linear areas to lead to.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>

#include "lib/util.h"
#include "mm/addr_space.h"
#include "mm/formats.h"
#include "mm/frames.h"

#define MM_ARENA_BASE    GIB(5)
#define MM_ARENA_WINDOW  GIB(6)
#define MM_ARENA_FLUSHES 32

#define RW  ((struct npt_attributes){MM_RW, MM_WRITE_BACK})
#define RX  ((struct npt_attributes){MM_RX, MM_WRITE_BACK})
#define RWX ((struct npt_attributes){MM_RWX, MM_WRITE_BACK})

struct mm_arena {
	struct mm_hal hal;
	pthread_mutex_t lock;
	char *memory;
	uint64_t mapped; /* bytes from `memory` on */
	uint64_t frames;
	uint64_t next; /* where to look for a free frame first */
	uint8_t *use;  /* by frame; UINT8_MAX: free */
	uint64_t held[FRAME_USES];
	uint64_t allocations; /* asked for so far */
	uint64_t fail_at;     /* this many allocations from now, one fails; 0: none */
	bool fail_on;         /* and so do all after it */
	bool fail_large;      /* every allocation of order 9 fails */
	uint64_t refused;     /* allocations that failed, for whatever reason, but those of order 9 */
	uint64_t refused_large;
	unsigned flush_calls;
	unsigned flushed_count; /* ranges, of the last call */
	struct gpa_range flushed[MM_ARENA_FLUSHES];
	void (*on_flush)(struct mm_arena *arena);
	void *flush_context;
};

void mm_arena_init(struct mm_arena *arena, uint64_t bytes);
/* The same with `window` bytes of zeros at MM_ARENA_WINDOW. At most 1 GiB of frames then. */
void mm_arena_init_windowed(struct mm_arena *arena, uint64_t bytes, uint64_t window);
/* Also makes sure that every frame came back. */
void mm_arena_fini(struct mm_arena *arena);

uint64_t mm_arena_held(const struct mm_arena *arena);

/* The formats of all machines that the tests are run for. */
unsigned mm_format_count(void);
const struct npt_format *mm_format(unsigned i);

#define FOR_EACH_FORMAT(format)                                                                                        \
	for (unsigned format##_i = 0; format##_i < mm_format_count(); format##_i++)                                    \
		for (const struct npt_format *format = mm_format(format##_i); format != NULL; format = NULL)

/* addr_space_dump as one string, to be freed. */
char *mm_dump(struct addr_space *space);

/*
 * Has the first allocation of `operation` fail, then the second, and so on until none is left to fail; `begin` and
 * `end` make and undo what it works on, each time. A call that fails must say MM_ENOMEM and leave the dump, the frames
 * held and the number of flushes as they were.
 */
void mm_fail_each_allocation(struct mm_arena *arena, struct addr_space *space, void (*begin)(void),
                             int (*operation)(void), void (*end)(void));

/* Whatever was wrong, the status's name tells it. */
#define assert_status(actual, expected) assert_string_equal(mm_status_name(actual), mm_status_name(expected))
