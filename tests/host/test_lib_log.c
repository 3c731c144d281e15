/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log: the form of its lines, its ring, its sinks. Each test starts from an empty log. Run by make host-tests.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/log.c"

struct collector {
	struct log_sink sink;
	char text[65536];
	size_t bytes;
	unsigned flushes;
};

static struct collector first, second;

static void collect(struct log_sink *sink, const char *text, size_t bytes)
{
	struct collector *collector = (struct collector *)sink;

	if (bytes < sizeof(collector->text) - collector->bytes) {
		memcpy(collector->text + collector->bytes, text, bytes);
		collector->bytes += bytes;
		collector->text[collector->bytes] = '\0';
	}
}

static void collector_flush(struct log_sink *sink)
{
	((struct collector *)sink)->flushes++;
}

static int start_empty(void **state)
{
	(void)state;
	memset(&log_state, 0, sizeof(log_state));
	memset(&first, 0, sizeof(first));
	memset(&second, 0, sizeof(second));
	log_pending = false;
	first.sink.write = collect;
	second.sink.write = collect;
	return 0;
}

static uint64_t fixed_clock(void)
{
	return 12345678;
}

static void a_line_has_time_subsystem_and_message(void **state)
{
	(void)state;
	log_add_sink(&first.sink);
	log_line("mm", "%d frames", 7);
	log_set_clock(fixed_clock);
	log_line("vm", "%s", "started");
	assert_string_equal(first.text, "[    0.000000] mm: 7 frames\n[   12.345678] vm: started\n");
}

static void a_sink_that_comes_later_gets_what_was_logged_before(void **state)
{
	(void)state;
	log_line("a", "one");
	log_add_sink(&first.sink);
	log_line("a", "two");
	log_add_sink(&second.sink);
	log_line("a", "three");
	assert_string_equal(first.text, "[    0.000000] a: one\n[    0.000000] a: two\n[    0.000000] a: three\n");
	assert_string_equal(second.text, first.text);
}

static void the_ring_keeps_the_latest_whole_lines(void **state)
{
	char last[64];

	(void)state;
	for (int i = 0; i < 5000; i++) {
		log_line("ring", "line %d", i);
	}
	log_add_sink(&first.sink);
	assert_memory_equal(first.text, "[    0.000000] ring: line ", 26);
	assert_in_range(first.bytes, LOG_RING_BYTES - LOG_LINE_MAX, LOG_RING_BYTES);
	snprintf(last, sizeof(last), "line %d\n", 4999);
	assert_string_equal(first.text + first.bytes - strlen(last), last);
}

static void a_line_too_long_ends_in_three_dots(void **state)
{
	char text[400];

	(void)state;
	memset(text, 'x', sizeof(text));
	log_add_sink(&first.sink);
	log_line("long", "%.*s", 400, text);
	assert_int_equal(first.bytes, LOG_LINE_MAX + 1);
	assert_string_equal(first.text + LOG_LINE_MAX - 4, "x...\n");
	size_t fits = LOG_LINE_MAX - strlen("[    0.000000] long: ");
	first.bytes = 0;
	log_line("long", "%.*s", (int)fits, text);
	assert_string_equal(first.text + LOG_LINE_MAX - 4, "xxxx\n");
	text[300] = '\0';
	first.bytes = 0;
	log_line(text, "message");
	assert_string_equal(first.text + LOG_LINE_MAX - 4, "x...\n");
}

static void control_characters_cannot_make_a_second_line(void **state)
{
	(void)state;
	log_add_sink(&first.sink);
	log_line("vm", "named %s", "x\n[    1.000000] panic: \x1b[2J\x7f");
	assert_string_equal(first.text, "[    0.000000] vm: named x?[    1.000000] panic: ?[2J?\n");
}

static void raw_text_stays_out_of_the_ring_and_a_line_starts_afresh_after_it(void **state)
{
	(void)state;
	log_add_sink(&first.sink);
	log_raw("prompt> ", 8);
	assert_true(log_line_open());
	log_line("a", "one");
	assert_false(log_line_open());
	log_raw("whole\n", 6);
	log_line("a", "two");
	log_raw("", 0);
	assert_string_equal(first.text, "prompt> \n[    0.000000] a: one\nwhole\n[    0.000000] a: two\n");
	log_add_sink(&second.sink);
	assert_string_equal(second.text, "[    0.000000] a: one\n[    0.000000] a: two\n");
}

static void a_flush_reaches_the_sinks_that_queue(void **state)
{
	(void)state;
	log_add_sink(&second.sink);
	log_line("a", "one");
	assert_false(log_pending);
	first.sink.flush = collector_flush;
	log_add_sink(&first.sink);
	assert_true(log_pending);
	log_flush();
	assert_false(log_pending);
	assert_int_equal(first.flushes, 1);
	log_line("a", "two");
	assert_true(log_pending);
}

static void a_broken_lock_lets_the_panic_line_out(void **state)
{
	(void)state;
	log_add_sink(&first.sink);
	spin_lock(&log_state.lock);
	log_break_lock();
	log_line("panic", "out");
	assert_string_equal(first.text, "[    0.000000] panic: out\n");
}

static void *log_many(void *name)
{
	for (int i = 0; i < 300; i++) {
		log_line(name, "0123456789012345678901234567890123456789");
	}
	return NULL;
}

static void lines_of_several_threads_stay_whole(void **state)
{
	pthread_t threads[3];
	char names[3][2] = {"a", "b", "c"};

	(void)state;
	log_add_sink(&first.sink);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(pthread_create(&threads[i], NULL, log_many, names[i]), 0);
	}
	for (int i = 0; i < 3; i++) {
		pthread_join(threads[i], NULL);
	}
	const size_t length = strlen("[    0.000000] a: 0123456789012345678901234567890123456789\n");
	assert_int_equal(first.bytes, 900 * length);
	for (size_t i = 0; i < 900; i++) {
		assert_memory_equal(first.text + i * length + 16, ": 0123456789012345678901234567890123456789\n",
		                    length - 16);
	}
}

#define TEST(name) cmocka_unit_test_setup(name, start_empty)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_line_has_time_subsystem_and_message),
		TEST(a_sink_that_comes_later_gets_what_was_logged_before),
		TEST(the_ring_keeps_the_latest_whole_lines),
		TEST(a_line_too_long_ends_in_three_dots),
		TEST(control_characters_cannot_make_a_second_line),
		TEST(raw_text_stays_out_of_the_ring_and_a_line_starts_afresh_after_it),
		TEST(a_flush_reaches_the_sinks_that_queue),
		TEST(a_broken_lock_lets_the_panic_line_out),
		TEST(lines_of_several_threads_stay_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
