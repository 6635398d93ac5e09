/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Points of another host: what changed since the one that the disks are at is
 * what is written from then on; everything else about them is invalid; and
 * they are all there or none, whenever the power ends.
 */
#include "scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/blockset.h"
#include "store/catalogue.h"

static const struct guid older = {{0xa1}}, rct = {{0xa2}}, last = {{0xa3}};
static struct point_row rows[3];

static void make_row(struct point_row *row, const struct guid *id,
		     enum point_type type, const char *invalid)
{
	*row = (struct point_row){.id = *id,
				  .type = type,
				  .consistency = CONSISTENCY_APPLICATION,
				  .label = "theirs",
				  .created_ns = 1700000000000000000,
				  .disks = WORLD_DISKS};
	for (unsigned i = 0; i < WORLD_DISKS; i++) {
		(void)snprintf(row->tracking_id[i], TRACKING_ID_BYTES,
			       "rctX:%02x:%u", id->b[0], i);
		row->bytes[i] = w->bytes[i];
	}
	(void)snprintf(row->invalid, sizeof(row->invalid), "%s", invalid);
}

/* Of another host's three points, the last one is where the disks are now. */
static void make_rows(const char *last_invalid)
{
	make_row(&rows[0], &older, POINT_LOG, "not seen here");
	make_row(&rows[1], &rct, POINT_RCT, "not seen here");
	make_row(&rows[2], &last, POINT_LOG, last_invalid);
}

static int import(void)
{
	uint32_t n = 3;

	return vm_import(w->vm, rows, &n, &err);
}

static struct vm_changes changed(const struct guid *since,
				 const struct guid *until)
{
	struct vm_changes changes = {.set = NULL};

	ok(vm_changes(w->vm, 0, since, until, &changes, &err));
	return changes;
}

static void is_invalid(const struct guid *since, const struct guid *until,
		       const char *reason)
{
	struct vm_changes changes = changed(since, until);

	assert_int_equal(changes.accuracy.accuracy, ACCURACY_INVALID);
	assert_string_equal(changes.accuracy.reason, reason);
	assert_int_equal(blockset_count(changes.set),
			 div_round_up(w->bytes[0], BLOCK_BYTES));
	blockset_free(changes.set);
}

static void is_exactly(const struct guid *since, const struct guid *until,
		       uint64_t blocks)
{
	struct vm_changes changes = changed(since, until);

	assert_int_equal(changes.accuracy.accuracy, ACCURACY_EXACT);
	assert_int_equal(blockset_count(changes.set), blocks);
	blockset_free(changes.set);
}

static void a_point_that_the_disks_are_at_is_valid_from_now_on(void **state)
{
	struct point_row row;
	char reason[REASON_BYTES];
	struct guid own;

	scene_begin(1, 8);
	start();
	put(0, BLOCK(1));
	ok(world_point(w, &err));
	own = point(0)->id;
	put(0, BLOCK(2));
	make_rows("");
	ok(import());
	is_exactly(&last, NULL, 0);
	put(0, BLOCK(3));
	put(0, BLOCK(4));
	for (unsigned life = 0; life < 3; life++) {
		is_exactly(&last, NULL, 2);
		is_exactly(&own, &last, 1);
		is_exactly(&own, NULL, 3);
		is_invalid(&older, NULL, "not seen here");
		is_invalid(&rct, &last, "not seen here");
		is_invalid(&own, &rct, "not seen here");
		is_invalid(&last, &older, "not seen here");
		ok(vm_point_find(w->vm, &last, &row, &err));
		assert_string_equal(row.label, "theirs");
		assert_string_equal(row.tracking_id[1], "rctX:a3:1");
		assert_int_equal(row.consistency, CONSISTENCY_APPLICATION);
		assert_int_equal(row.created_ns, 1700000000000000000);
		assert_int_equal(row.type, POINT_LOG);
		assert_true(vm_log_lost(w->vm, &last, reason));
		assert_string_equal(reason, "it was imported");
		assert_true(vm_log_lost(w->vm, &older, reason));
		assert_false(vm_log_lost(w->vm, &rct, reason));
		if (life == 0)
			stop();
		else
			killed();
		start();
	}
	ok(vm_point_destroy(w->vm, &older, &err));
	ok(vm_point_destroy(w->vm, &last, &err));
	is_exactly(&own, NULL, 3);
	is_invalid(&rct, NULL, "not seen here");
}

/* It needs no disks. */
static void points_of_nowhere_are_known_and_spoil_no_others(void **state)
{
	struct guid own;

	scene_begin(2, 8);
	start();
	ok(world_point(w, &err));
	own = point(0)->id;
	put(0, BLOCK(1));
	ok(world_point(w, &err));
	put(0, BLOCK(2));
	make_rows("the MAC is wrong");
	ok(import());
	assert_int_equal(vm_point_count(w->vm), 5);
	ok(world_point(w, &err));
	put(0, BLOCK(3));
	is_exactly(&own, NULL, 3);
	is_exactly(&own, &point(0)->id, 2);
	is_invalid(&last, NULL, "the MAC is wrong");
	is_invalid(&last, &point(0)->id, "the MAC is wrong");
	stop();
	start();
	is_exactly(&own, NULL, 3);
	is_invalid(&last, NULL, "the MAC is wrong");
	assert_int_equal(import(), -RP_EALREADY);
	assert_int_equal(vm_point_count(w->vm), 6);
}

static int drained(void *arg, uint32_t ms, struct err *e)
{
	return 0;
}

/* Of the newest point's DISK. */
static const char *own_tracking(uint32_t disk)
{
	static struct point_row row;

	ok(vm_point_find(w->vm, &point(0)->id, &row, &err));
	return row.tracking_id[disk];
}

static void points_that_cannot_be_ours_are_refused(void **state)
{
	uint32_t one = 1;

	scene_begin(3, 8);
	start();
	make_rows("");
	rows[2].bytes[1] += 512;
	assert_int_equal(import(), -RP_EPARAM);
	make_rows("");
	rows[1].disks = 1;
	assert_int_equal(import(), -RP_EPARAM);
	make_rows("");
	rows[1].invalid[0] = '\0';
	assert_int_equal(import(), -RP_EPARAM);
	make_rows("");
	ok(vm_import(w->vm, rows + 2, &one, &err));
	assert_int_equal(import(), -RP_EALREADY);
	assert_int_equal(vm_point_count(w->vm), 1);
	make_rows("");
	ok(world_detach(w, &err));
	rows[2].id = rct;
	(void)strcpy(rows[2].tracking_id[0], "rctX:a4:0");
	(void)strcpy(rows[2].tracking_id[1], "rctX:a4:1");
	assert_int_equal(vm_import(w->vm, rows + 2, &one, &err), -RP_ESTATE);
	assert_int_equal(vm_point_count(w->vm), 1);
	world_stop(w);
}

/* It is the newest log-based point's, which an imported one must not be. */
static void none_is_imported_while_a_log_is_open(void **state)
{
	struct vm_point_request request = {.type = POINT_LOG,
					   .consistency = CONSISTENCY_CRASH,
					   .drained = drained};
	struct point_row log;
	char text[GUID_TEXT_BYTES];

	scene_begin(5, 8);
	start();
	ok(vm_point_create(w->vm, &request, &log, &err));
	for (unsigned i = 0; i < 2; i++) {
		make_rows(i == 0 ? "" : "the MAC is wrong");
		assert_int_equal(import(), -RP_ESTATE);
		guid_format(&log.id, text);
		assert_non_null(strstr(err.text, text));
	}
	assert_int_equal(vm_point_count(w->vm), 1);
	ok(vm_log_lose(w->vm, &log.id, "enough", &err));
	make_rows("");
	ok(import());
	assert_int_equal(vm_point_count(w->vm), 4);
}

/* As of a host that imports one export after the other. */
static void what_is_there_is_left_as_it_is(void **state)
{
	static const struct guid next = {{0xa5}};
	struct point_row row;
	uint32_t n = 3;

	scene_begin(6, 8);
	start();
	make_rows("");
	ok(import());
	make_rows("");
	make_row(&rows[0], &last, POINT_LOG, "not seen then");
	(void)strcpy(rows[0].label, "another");
	make_row(&rows[2], &next, POINT_LOG, "");
	ok(vm_import(w->vm, rows, &n, &err));
	assert_int_equal(n, 1);
	assert_memory_equal(&rows[0].id, &next, sizeof(next));
	assert_int_equal(vm_point_count(w->vm), 4);
	is_exactly(&last, NULL, 0);
	is_exactly(&next, NULL, 0);
	stop();
	start();
	ok(vm_point_find(w->vm, &last, &row, &err));
	assert_string_equal(row.label, "theirs");
	is_exactly(&next, NULL, 0);
	is_exactly(&last, &next, 0);
}

static void a_tracking_id_means_one_point(void **state)
{
	scene_begin(7, 8);
	start();
	ok(world_point(w, &err));
	make_rows("");
	(void)strcpy(rows[1].tracking_id[1], own_tracking(1));
	assert_int_equal(import(), -RP_EALREADY);
	assert_null(strstr(err.text, "rctX"));
	make_rows("");
	(void)strcpy(rows[2].tracking_id[0], rows[0].tracking_id[0]);
	assert_int_equal(import(), -RP_EALREADY);
	assert_int_equal(vm_point_count(w->vm), 1);
}

static unsigned count_theirs(void)
{
	struct point_row row;
	char reason[REASON_BYTES];
	unsigned n = 0;

	for (unsigned i = 0; i < 3; i++) {
		if (vm_point_find(w->vm, &rows[i].id, &row, NULL) < 0)
			continue;
		n++;
		assert_string_equal(row.invalid, rows[i].invalid);
		assert_int_equal(vm_log_lost(w->vm, &row.id, reason),
				 row.type == POINT_LOG);
	}
	return n;
}

/* False if the import was over before. */
static bool die_at(uint64_t n, const char *last_invalid)
{
	bool done;

	scene_begin(4 + n, 8);
	start();
	put(0, BLOCK(1));
	cool();
	make_rows(last_invalid);
	sim_die_at(w->sim, sim_ops(w->sim) + n, SIM_CUT,
		   (enum sim_cut)(n % SIM_CUTS));
	done = import() == 0;
	if (!sim_dead(w->sim)) {
		assert_true(done);
		assert_int_equal(count_theirs(), 3);
		scene_end();
		return false;
	}
	world_stop(w);
	sim_reboot(w->sim);
	start();
	if (done)
		assert_int_equal(count_theirs(), 3);
	else if (count_theirs() != 0)
		assert_int_equal(count_theirs(), 3);
	if (count_theirs() == 3)
		is_invalid(&older, NULL, "not seen here");
	scene_end();
	return true;
}

static void a_power_cut_leaves_all_of_them_or_none(void **state)
{
	uint64_t n = 1, m = 1;

	while (die_at(n, ""))
		n++;
	while (die_at(m, "a hash differs"))
		m++;
	assert_true(n > 10 && m > 2);
	print_message("%llu deaths\n", (unsigned long long)(n + m - 2));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_teardown(
		a_point_that_the_disks_are_at_is_valid_from_now_on,
		scene_tear_down),
	    cmocka_unit_test_teardown(
		points_of_nowhere_are_known_and_spoil_no_others,
		scene_tear_down),
	    cmocka_unit_test_teardown(points_that_cannot_be_ours_are_refused,
				      scene_tear_down),
	    cmocka_unit_test_teardown(none_is_imported_while_a_log_is_open,
				      scene_tear_down),
	    cmocka_unit_test_teardown(what_is_there_is_left_as_it_is,
				      scene_tear_down),
	    cmocka_unit_test_teardown(a_tracking_id_means_one_point,
				      scene_tear_down),
	    cmocka_unit_test_teardown(a_power_cut_leaves_all_of_them_or_none,
				      scene_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
