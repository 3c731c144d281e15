/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes failing runs of the model short: each try is made in a child process, for a failure aborts. See mm_model.h.
 */
#include "tests/host/mm_model.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

bool mm_model_fails(const uint8_t *run, size_t bytes, bool quiet)
{
	int status;

	fflush(NULL);
	pid_t child = fork();

	if (child == 0) {
		if (quiet) {
			int nowhere = open("/dev/null", O_WRONLY);

			dup2(nowhere, STDERR_FILENO);
			dup2(nowhere, STDOUT_FILENO);
		}
		/* What cmocka notices in here shall end the child, not go back to the parent's list of tests. */
		setenv("CMOCKA_TEST_ABORT", "1", 1);
		mm_model_run(run, bytes);
		exit(0);
	}
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	return status != 0;
}

/* Takes out `count` calls from the `at`-th on if the run fails without them too. */
static bool take_out(uint8_t *run, size_t *bytes, size_t at, size_t count)
{
	size_t from = MM_MODEL_RUN_BYTES(at);
	size_t to = MIN(MM_MODEL_RUN_BYTES(at + count), *bytes);
	uint8_t *shorter = malloc(*bytes);
	size_t left = *bytes - (to - from);

	assert_non_null(shorter);
	memcpy(shorter, run, from);
	memcpy(shorter + from, run + to, *bytes - to);
	bool fails = left > MM_MODEL_HEADER_BYTES && mm_model_fails(shorter, left, true);

	if (fails) {
		memcpy(run, shorter, left);
		*bytes = left;
	}
	free(shorter);
	return fails;
}

size_t mm_model_shrink(uint8_t *run, size_t bytes)
{
	size_t calls = (bytes - MM_MODEL_HEADER_BYTES) / MM_MODEL_CALL_BYTES;
	size_t part = MAX(calls / 2, 1);

	bytes = MM_MODEL_RUN_BYTES(calls);
	/* Halves, quarters, … and at the end single calls, until none of them can go. */
	while (part != 0) {
		bool shorter = false;

		for (size_t at = 0; MM_MODEL_RUN_BYTES(at) < bytes;) {
			bool gone = take_out(run, &bytes, at, part);

			shorter |= gone;
			at += gone ? 0 : part;
		}
		part = part == 1 && shorter ? 1 : part / 2;
	}
	return bytes;
}
