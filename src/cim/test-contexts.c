/* SPDX-License-Identifier: Apache-2.0 */
#include "cim/test-cim.h"

#include <stdbool.h>

#include "cim/contexts.h"

static struct contexts *contexts;
static uint64_t clock_ms;
static unsigned freed;

static uint64_t now(void)
{
	return clock_ms;
}

static void count(void *data)
{
	freed++;
}

static const struct context_kind kind = {count}, other_kind = {count};
static int something;

static int make(void **state)
{
	clock_ms = 1;
	freed = 0;
	return contexts_new(now, &contexts, NULL);
}

static int drop(void **state)
{
	contexts = contexts_free(contexts);
	return 0;
}

static int add(const char *caller, size_t bytes, char *id)
{
	struct err err = {0};
	int r = contexts_add(contexts, caller, &kind, &something, bytes, 1000,
			     id, &err);

	assert_int_equal(r, err.code);
	return r;
}

static int take(const char *caller, const char *id)
{
	void *data = NULL;
	int r = contexts_take(contexts, caller, &kind, id, &data, NULL);

	assert_true((r == 0) == (data == &something));
	return r;
}

static void a_context_is_taken_put_back_and_ended(void **state)
{
	char id[CIM_CONTEXT_TEXT_BYTES];

	assert_int_equal(add("alice", 1, id), 0);
	assert_int_equal(strspn(id, "0123456789abcdef"), 32);
	assert_int_equal(take("alice", id), 0);
	assert_int_equal(take("alice", id), -CIM_EBUSY);
	assert_int_equal(contexts_close(contexts, "alice", &kind, id, NULL),
			 -CIM_EPULLKEPT);
	contexts_put(contexts, id, 0);
	assert_int_equal(take("alice", id), 0);
	contexts_end(contexts, id);
	assert_int_equal(freed, 1);
	assert_int_equal(take("alice", id), -CIM_ECONTEXT);
	assert_int_equal(contexts_close(contexts, "alice", &kind, id, NULL),
			 -CIM_ECONTEXT);
}

static void nobody_else_has_it(void **state)
{
	char id[CIM_CONTEXT_TEXT_BYTES], second[CIM_CONTEXT_TEXT_BYTES];
	void *data;

	assert_int_equal(add("alice", 1, id), 0);
	assert_int_equal(add("alice", 1, second), 0);
	assert_string_not_equal(id, second);
	assert_int_equal(take("bob", id), -CIM_ECONTEXT);
	assert_int_equal(contexts_close(contexts, "bob", &kind, id, NULL),
			 -CIM_ECONTEXT);
	assert_int_equal(contexts_take(contexts, "alice", &other_kind, id,
				       &data, NULL),
			 -CIM_ECONTEXT);
	assert_int_equal(take("alice", ""), -CIM_ECONTEXT);
	assert_int_equal(contexts_close(contexts, "alice", &kind, id, NULL), 0);
	assert_int_equal(freed, 1);
}

static void it_expires_but_not_in_hand(void **state)
{
	char id[CIM_CONTEXT_TEXT_BYTES];

	assert_int_equal(add("alice", 1, id), 0);
	clock_ms += 999;
	assert_int_equal(take("alice", id), 0);
	clock_ms += 5000;
	contexts_put(contexts, id, 0);
	clock_ms += 999;
	assert_int_equal(take("alice", id), 0);
	contexts_put(contexts, id, 20);
	clock_ms += 20;
	assert_int_equal(take("alice", id), -CIM_ECONTEXT);
	assert_int_equal(freed, 1);
}

static void at_a_bound_new_ones_are_refused(void **state)
{
	char id[CIM_CONTEXT_TEXT_BYTES], caller[16];

	for (unsigned i = 0; i < CIM_CONTEXTS_MAX; i++) {
		(void)snprintf(caller, sizeof(caller), "caller %u",
			       i / CIM_CONTEXTS_PER_CALLER);
		if (i == CIM_CONTEXTS_PER_CALLER)
			assert_int_equal(add("caller 0", 1, id), -CIM_ELIMITS);
		assert_int_equal(add(caller, 1, id), 0);
	}
	assert_int_equal(add("alice", 1, id), -CIM_ELIMITS);
	assert_int_equal(freed, 0);
	clock_ms += 1000;
	assert_int_equal(add("alice", 1, id), 0);
	assert_int_equal(freed, CIM_CONTEXTS_MAX);
}

static void their_bytes_are_bounded(void **state)
{
	char id[CIM_CONTEXT_TEXT_BYTES], none[CIM_CONTEXT_TEXT_BYTES];

	assert_int_equal(add("alice", CIM_CONTEXTS_BYTES_MAX, id), 0);
	assert_int_equal(add("bob", 1, none), -CIM_ELIMITS);
	assert_int_equal(contexts_close(contexts, "alice", &kind, id, NULL), 0);
	assert_int_equal(add("bob", 1, none), 0);
	assert_int_equal(add("bob", SIZE_MAX, none), -CIM_ELIMITS);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, make, drop)

static void what_is_over_makes_room(void **state)
{
	char first[CIM_CONTEXT_TEXT_BYTES], second[CIM_CONTEXT_TEXT_BYTES];
	char id[CIM_CONTEXT_TEXT_BYTES];

	assert_int_equal(add("alice", CIM_CONTEXTS_BYTES_MAX / 2, first), 0);
	assert_int_equal(add("alice", CIM_CONTEXTS_BYTES_MAX / 2, second), 0);
	assert_int_equal(take("alice", first), 0);
	contexts_over(contexts, first, CIM_CONTEXTS_BYTES_MAX / 2, 500);
	clock_ms += 100;
	assert_int_equal(take("alice", second), 0);
	contexts_over(contexts, second, CIM_CONTEXTS_BYTES_MAX / 2, 500);
	/* It can be asked for, which does not prolong it. */
	assert_int_equal(take("alice", first), 0);
	contexts_over(contexts, first, CIM_CONTEXTS_BYTES_MAX / 2, 500);
	assert_int_equal(contexts_close(contexts, "alice", &kind, first, NULL),
			 -CIM_ECONTEXT);
	assert_int_equal(freed, 0);
	/* The one that was over first goes. */
	assert_int_equal(add("bob", 1, id), 0);
	assert_int_equal(freed, 1);
	assert_int_equal(take("alice", first), -CIM_ECONTEXT);
	assert_int_equal(take("alice", second), 0);
	/* Not one that is being told again. */
	assert_int_equal(add("bob", CIM_CONTEXTS_BYTES_MAX / 2, id),
			 -CIM_ELIMITS);
	/* Its data may have become less. */
	contexts_over(contexts, second, 7, 500);
	assert_int_equal(add("bob", CIM_CONTEXTS_BYTES_MAX - 8, id), 0);
	clock_ms += 500;
	assert_int_equal(take("alice", second), -CIM_ECONTEXT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(a_context_is_taken_put_back_and_ended),
	    CASE(nobody_else_has_it),
	    CASE(it_expires_but_not_in_hand),
	    CASE(at_a_bound_new_ones_are_refused),
	    CASE(their_bytes_are_bounded),
	    CASE(what_is_over_makes_room),
	};

	arena = NULL;
	return cmocka_run_group_tests_name("contexts", tests, NULL, NULL);
}
