/* SPDX-License-Identifier: Apache-2.0 */
// sources: tests/host/mm_model*.c
/*
 * Random calls on an address space and on the model of mm_model.h, for every format and wherever a space may lie. The
 * environment may say more: MM_MODEL_SEED, MM_MODEL_CALLS (a run's length), and MM_MODEL_REPLAY, a run in hexadecimal
 * digits, as a failure prints it, which is then all that is run.
 */
#include "tests/host/mm_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_SEED  1
#define DEFAULT_CALLS 600
#define LARGE_PLACE   1

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text != NULL ? strtoull(text, NULL, 0) : otherwise;
}

/* Of a run that failed, the calls that matter. */
static void report(uint8_t *run, size_t bytes)
{
	size_t shorter = mm_model_shrink(run, bytes);

	fprintf(stderr, "%zu calls fail, of which these matter:\n", bytes / MM_MODEL_CALL_BYTES);
	mm_model_print(run, shorter);
	fprintf(stderr, "again: MM_MODEL_REPLAY=");
	for (size_t i = 0; i < shorter; i++) {
		fprintf(stderr, "%02x", run[i]);
	}
	fprintf(stderr, " build/host/test_mm_model\n");
	mm_model_fails(run, shorter, false);
}

static void random_calls_agree_with_the_model_page_by_page_entry_by_entry_frame_by_frame(void **state)
{
	uint64_t seed = from_environment("MM_MODEL_SEED", DEFAULT_SEED);
	uint64_t calls = from_environment("MM_MODEL_CALLS", DEFAULT_CALLS);
	uint8_t *run = malloc(MM_MODEL_RUN_BYTES(calls));

	(void)state;
	assert_non_null(run);
	printf("MM_MODEL_SEED=%llu MM_MODEL_CALLS=%llu\n", (unsigned long long)seed, (unsigned long long)calls);
	for (unsigned format = 0; format < mm_format_count(); format++) {
		for (unsigned place = 0; place < MM_MODEL_PLACES; place++) {
			mm_model_make_run(run, format, place, calls, &seed);
			if (mm_model_fails(run, MM_MODEL_RUN_BYTES(calls), true)) {
				report(run, MM_MODEL_RUN_BYTES(calls));
				free(run);
				fail();
			}
		}
	}
	free(run);
}

static void a_failing_run_is_shrunk_to_the_calls_that_matter(void **state)
{
	static uint8_t run[MM_MODEL_RUN_BYTES(DEFAULT_CALLS)];
	uint64_t seed = DEFAULT_SEED;

	(void)state;
	mm_model_believes_discard_does_nothing = true;
	mm_model_make_run(run, 0, 0, DEFAULT_CALLS, &seed);
	assert_true(mm_model_fails(run, sizeof(run), true));
	size_t bytes = mm_model_shrink(run, sizeof(run));

	/* Map, fill, discard. */
	assert_true(bytes <= MM_MODEL_RUN_BYTES(3));
	assert_true(mm_model_fails(run, bytes, true));
	mm_model_believes_discard_does_nothing = false;
	assert_false(mm_model_fails(run, bytes, true));
}

static void replay(const char *digits)
{
	size_t bytes = strlen(digits) / 2;
	uint8_t *run = malloc(bytes + 1);

	assert_non_null(run);
	for (size_t i = 0; i < bytes; i++) {
		char digit[3] = {digits[2 * i], digits[2 * i + 1], '\0'};

		run[i] = (uint8_t)strtoul(digit, NULL, 16);
	}
	mm_model_talks = true;
	mm_model_run(run, bytes);
	free(run);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_calls_agree_with_the_model_page_by_page_entry_by_entry_frame_by_frame),
		cmocka_unit_test(a_failing_run_is_shrunk_to_the_calls_that_matter),
	};

	if (getenv("MM_MODEL_REPLAY") != NULL) {
		replay(getenv("MM_MODEL_REPLAY"));
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
