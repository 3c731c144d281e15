/* SPDX-License-Identifier: Apache-2.0 */
// sources: tests/host/mm_model*.c
/*
 * The model's calls as a fuzzer likes them: see mm_model.h. A crash file is a run; `xxd -p FILE | tr -d '\n'` makes of
 * it what test_mm_model takes as MM_MODEL_REPLAY.
 */
#include "tests/host/mm_model.h"

#define MOST_BYTES MM_MODEL_RUN_BYTES(200)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	mm_model_run(data, MIN(size, MOST_BYTES));
	return 0;
}
