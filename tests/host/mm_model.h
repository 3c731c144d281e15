/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reference model of an address space: for each page, which area it belongs to, what is there and with which
 * rights; so plain that it needs no test. A run is a string of bytes: which format and where the space lies, then calls
 * of MM_MODEL_CALL_BYTES each. The random test, the fuzzer and a replayed failure share it. After the calls the space
 * and the model must agree page by page, table entry by table entry and frame by frame; a disagreement is printed and
 * aborts. mm_model.c decodes and runs, mm_model_calls.c and mm_model_access.c make the calls, mm_model_check.c
 * compares, mm_model_shrink.c makes failing runs short.
 */
#pragma once

#include "tests/host/mm_arena.h"

#include "mm/npt_private.h"

#define MM_MODEL_HEADER_BYTES 2
#define MM_MODEL_CALL_BYTES   8
#define MM_MODEL_PLACES       5 /* where spaces lie, and how large they are */
#define MM_MODEL_WINDOW       GIB(4)

/* One page as the model sees it. */
struct model_page {
	hpa_t address; /* of a filled page */
	uint32_t area; /* each area has a number of its own; 0: none */
	uint8_t permissions;
	uint8_t type;
	uint8_t pages; /* enum area_pages */
	bool linear;
	bool populate;
	bool filled;
	bool written;    /* alloc: its contents are in `shadow`, else zeros */
	uint8_t dirtied; /* enum model_dirt */
};

enum model_dirt {
	MODEL_CLEAN,
	MODEL_MAY_BE_DIRTY, /* a neighbour was written, or a fault says that one wants to */
	MODEL_DIRTY,
};

struct model {
	struct addr_space space;
	gpa_t base;
	uint64_t count;           /* of pages */
	struct model_page *pages; /* by page from `base` on */
	char *shadow;             /* what was written to alloc areas */
	uint64_t fills, raced, refused;
	gpa_t log_start, log_end; /* the dirty log runs here; equal: it does not */
	bool may_be_split;        /* a dirty log has been there: leaves may be smaller than they could be */
	uint64_t fixed;           /* tables of the empty space */
};

/* A call as decoded. */
struct model_call {
	unsigned kind;
	gpa_t start;
	uint64_t size; /* in bytes; of an access: at most MM_MODEL_ACCESS */
	struct npt_attributes attributes;
	int64_t offset;
	bool populate;
	unsigned pages;
	unsigned access;  /* enum mm_permission */
	unsigned flags;   /* enum guest_access_flags */
	unsigned width;   /* of a load or store */
	uint64_t fail_at; /* as in struct mm_arena */
	uint8_t byte[MM_MODEL_CALL_BYTES];
};

#define MM_MODEL_ACCESS KIB(20)

/* The arena of all spaces; the two spaces, of which calls go to `model_current`; the other is for copies. */
extern struct mm_arena model_arena;
extern struct model models[2];
extern unsigned model_current;
/* What was written to linear areas, by window page. */
extern char *model_window_shadow;
extern uint8_t *model_window_written;

/* For the test of shrinking: the model believes that discarded pages keep their frames. */
extern bool mm_model_believes_discard_does_nothing;
/* Tells each call before it is made. */
extern bool mm_model_talks;

/* Runs all calls of the run. What is too short to be a run does nothing. */
void mm_model_run(const uint8_t *run, size_t bytes);
/* A run as a list of calls. */
void mm_model_print(const uint8_t *run, size_t bytes);
/* A random run of `calls` calls into `run`, which has room for MM_MODEL_RUN_BYTES(calls). */
void mm_model_make_run(uint8_t *run, unsigned format, unsigned place, size_t calls, uint64_t *seed);
#define MM_MODEL_RUN_BYTES(calls) (MM_MODEL_HEADER_BYTES + (calls)*MM_MODEL_CALL_BYTES)

/* Runs it in a child process; true: it failed. `quiet`: without its last words. */
bool mm_model_fails(const uint8_t *run, size_t bytes, bool quiet);
/* Takes calls out of a failing run while it goes on failing; returns its new length. */
size_t mm_model_shrink(uint8_t *run, size_t bytes);

/* ---- between the files of the model ---- */

#define MODEL_CHECK(condition) ((condition) ? (void)0 : model_disagrees(#condition, __FILE__, __LINE__))
_Noreturn void model_disagrees(const char *what, const char *file, int line);

/* One kind of call: how often it is made, and the function that makes it on both sides and compares the answers. */
struct model_kind {
	const char *name;
	unsigned weight;
	void (*make)(struct model *model, const struct model_call *call);
};
extern const struct model_kind model_kinds[]; /* weight 0: the end */

void model_map_linear(struct model *model, const struct model_call *call);
void model_map_alloc(struct model *model, const struct model_call *call);
void model_unmap(struct model *model, const struct model_call *call);
void model_protect(struct model *model, const struct model_call *call);
void model_discard(struct model *model, const struct model_call *call);
void model_fault(struct model *model, const struct model_call *call);
void model_translate(struct model *model, const struct model_call *call);
void model_read(struct model *model, const struct model_call *call);
void model_write(struct model *model, const struct model_call *call);
void model_fill(struct model *model, const struct model_call *call);
void model_load(struct model *model, const struct model_call *call);
void model_store(struct model *model, const struct model_call *call);
void model_peek(struct model *model, const struct model_call *call);

/* mm_model_late.c */
void model_replace_linear(struct model *model, const struct model_call *call);
void model_replace_alloc(struct model *model, const struct model_call *call);
void model_find_free(struct model *model, const struct model_call *call);
void model_clear(struct model *model, const struct model_call *call);
void model_compact(struct model *model, const struct model_call *call);
void model_copy_from(struct model *model, const struct model_call *call);
void model_dirty_log_start(struct model *model, const struct model_call *call);
void model_dirty_log_collect(struct model *model, const struct model_call *call);
void model_dirty_log_stop(struct model *model, const struct model_call *call);
void model_swap(struct model *model, const struct model_call *call);

/* The page that holds `gpa`, or NULL. */
struct model_page *model_page_at(const struct model *model, gpa_t gpa);
static inline gpa_t model_gpa(const struct model *model, const struct model_page *page)
{
	return model->base + (uint64_t)(page - model->pages) * FRAME_SIZE;
}

/* A number that no area has had. */
uint32_t model_new_area(void);
/* What the checks of a range come to, before anything else is looked at. */
int model_expect_range(const struct model *model, gpa_t start, uint64_t size);
int model_expect_map_linear(const struct model *model, const struct model_call *call);
int model_expect_map_alloc(const struct model *model, const struct model_call *call);
bool model_range_is_free(const struct model *model, gpa_t start, uint64_t size);
/* The pages from `page` on that are of one area become a new one. */
void model_renumber(const struct model *model, struct model_page *page);
/* The model's half of what has succeeded. */
void model_set_linear(struct model *model, const struct model_call *call);
void model_set_alloc(struct model *model, const struct model_call *call);
void model_forget_range(struct model *model, gpa_t start, uint64_t size);
/*
 * Compares the status with the expected one. True: the call has succeeded. MM_ENOMEM is as good if some allocation
 * failed, and nothing else is if it was not one of order 9.
 */
bool model_agree_on_status(int status, int expected);
/* Takes over where the tables lead at `page`, which is filled now, and compares contents. */
void model_observe_page(struct model *model, struct model_page *page);

/* Of a leaf that can be in the space, in bytes. */
uint64_t model_largest_span(const struct model *model);
/* The page was written: so may be all that a leaf around it holds. */
void model_set_dirty(struct model *model, struct model_page *page, enum model_dirt dirt);

/*
 * Flushes of one call. `model_watch_flushes` comes before it; then, before the model knows of the change: what was
 * present was flushed, in one flush, and (`model_check_flushes`) there was no flush without a reason. `all`: the pages
 * of the range are removed; else they get `permissions`.
 */
void model_watch_flushes(struct model *model);
bool model_check_needed_flushes(struct model *model, gpa_t start, uint64_t size, bool all, uint8_t permissions,
                                int status);
void model_check_flushes(struct model *model, gpa_t start, uint64_t size, bool all, uint8_t permissions, int status);
/* Of a change that may flush or not: at most once. */
void model_check_at_most_one_flush(void);

/* After a fault at `page`: takes over what was filled. False: nothing was. */
bool model_observe_fill(struct model *model, struct model_page *page);
/* What the raw tables have for `gpa`: the entry where the walk ends, and its level. */
struct npt_place model_raw_walk(const struct model *model, gpa_t gpa);
/* The entry of a leaf at `page`. */
uint64_t model_leaf(const struct model *model, const struct model_page *page, unsigned level);
bool model_contents_agree(const struct model *model, const struct model_page *page);
char *model_shadow_of(const struct model *model, struct model_page *page, bool for_writing);

/* Pages, entries, frames, statistics. */
void model_check(void);
