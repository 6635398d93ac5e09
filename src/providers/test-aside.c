/* SPDX-License-Identifier: Apache-2.0 */
/* What hangs keeps nobody waiting for longer than they would. */
#include "providers/aside.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

struct look {
	struct aside base;
	int from; /* a pipe: hangs until something comes */
	int to;   /* likewise: told when it is freed */
};

static int go[2], freed[2];

static int hang(struct aside *aside, struct err *err)
{
	const struct look *look = (const struct look *)aside;
	char byte;

	if (look->from < 0)
		return err_set(err, -RP_EPARAM, "it is so");
	return read(look->from, &byte, 1) == 1 ? 7 : -EIO;
}

static void free_look(struct aside *aside)
{
	const struct look *look = (const struct look *)aside;
	int to = look->to;

	free(aside);
	assert_int_equal(write(to, "f", 1), 1);
}

static struct aside *new_look(bool hangs)
{
	struct look *look = malloc(sizeof(*look));

	assert_non_null(look);
	*look = (struct look){.base = {.fn = hang, .free = free_look},
			      .from = hangs ? go[0] : -1,
			      .to = freed[1]};
	return &look->base;
}

static void wait_freed(unsigned n)
{
	char byte;

	while (n--)
		assert_int_equal(read(freed[0], &byte, 1), 1);
}

static int set_up(void **state)
{
	return pipe(go) < 0 || pipe(freed) < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
	for (unsigned i = 0; i < 2; i++)
		if (close(go[i]) < 0 || close(freed[i]) < 0)
			return -1;
	return 0;
}

static void what_ends_in_time_is_the_callers(void **state)
{
	struct aside *look = new_look(false);
	struct err err = {0};

	assert_true(aside_run(look, 60000, &err));
	assert_int_equal(look->r, -RP_EPARAM);
	assert_string_equal(look->err.text, "it is so");
	assert_int_equal(err.code, 0);
	look->free(look);
	wait_freed(1);
}

static void what_does_not_is_left_until_it_ends(void **state)
{
	struct err err = {0};

	assert_false(aside_run(new_look(true), 10, &err));
	assert_int_equal(err.code, -RP_ETIMEOUT);
	assert_int_equal(write(go[1], "g", 1), 1);
	wait_freed(1);
}

static void so_many_go_on_at_a_time(void **state)
{
	struct err err = {0};
	struct aside *look;

	for (unsigned i = 0; i < ASIDES_MAX; i++)
		assert_false(aside_run(new_look(true), 1, &err));
	assert_int_equal(err.code, -RP_ETIMEOUT);
	assert_false(aside_run(new_look(false), 60000, &err));
	assert_int_equal(err.code, -RP_EINUSE);
	wait_freed(1);
	for (unsigned i = 0; i < ASIDES_MAX; i++)
		assert_int_equal(write(go[1], "g", 1), 1);
	wait_freed(ASIDES_MAX);
	look = new_look(false);
	assert_true(aside_run(look, 60000, &err));
	look->free(look);
	wait_freed(1);
}

#define ASIDE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    ASIDE(what_ends_in_time_is_the_callers),
	    ASIDE(what_does_not_is_left_until_it_ends),
	    ASIDE(so_many_go_on_at_a_time),
	};

	return cmocka_run_group_tests_name("aside", tests, NULL, NULL);
}
