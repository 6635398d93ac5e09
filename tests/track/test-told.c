/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an answer must say, and what it must not, where no miss of the world's
 * shows it: damage that a start has tidied away, writes by others while nothing
 * of ours was written, what another thread meets in the middle of a point.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "scene.h"
#include "track/internal.h"

static int set_up(void **state)
{
	scene_begin(1, 4);
	return 0;
}

/* ---- damage ----------------------------------------------------------- */

static void a_tombstone_that_is_missing_counts_as_one(void **state)
{
	char reason[REASON_BYTES];
	struct fs *store;

	start();
	ok(world_point(w, &err));
	sim_fail(w->sim, SIM_SYNC, 1, EIO, false, "intents");
	put(0, MIB(48));
	assert_true(vm_latched(w->vm, reason));
	doubt_all();
	power_cut(SIM_CUT_DROP);
	store = sim_fs(w->sim, "store", false);
	ok(store->ops->unlink(store, "tombstone", &err));
	ok(store->ops->sync_dir(store, &err));
	store->ops->free(store);
	start();
	assert_int_equal(worth(0, point(0)), ACCURACY_INVALID);
	assert_int_equal(worth(1, point(0)), ACCURACY_INVALID);
	world_check(w);
}

/* Both slots of one page. */
static void ruin_page(const char *name, uint32_t index)
{
	static const uint8_t junk[PAGE_BYTES] = {0x5a, 1, 2, 3};
	struct fs *store = sim_fs(w->sim, "store", false);
	struct file *file;

	ok(fs_open(store, name, FILE_WRITE, &file, &err));
	for (unsigned s = 0; s < PAGE_SLOTS; s++)
		ok(file_write(file, junk, PAGE_BYTES, page_offset(index, s),
			      &err));
	ok(file_sync(file, &err));
	file_close(file);
	store->ops->free(store);
}

static void what_was_read_before_a_damaged_page_counts_no_more(void **state)
{
	char name[32];

	start();
	ok(world_point(w, &err));
	put(0, MIB(20));  /* page 0 */
	put(0, MIB(130)); /* page 1 */
	cool();
	(void)snprintf(name, sizeof(name), "pages.0.%u",
		       vm_system(w->vm)->open_file);
	stop();
	ruin_page(name, 1);
	world_doubt(w, 0);
	start();
	assert_int_equal(worth(0, point(0)), ACCURACY_INVALID);
	/* T3 among others: what is marked in cold regions is durable. */
	world_check(w);
}

/* ---- others ----------------------------------------------------------- */

static void a_foreign_write_to_a_served_disk_is_noticed_at_its_end(void **state)
{
	start();
	ok(world_point(w, &err));
	put(0, MIB(30));
	sim_advance(w->sim, INT64_C(2000000000));
	world_poke(w, 1); /* to which we write nothing */
	stop();
	start();
	assert_int_equal(worth(0, point(0)), ACCURACY_EXACT);
	assert_int_equal(worth(1, point(0)), ACCURACY_INVALID);
	world_check(w);
}

static void growth_by_more_than_was_asked_for_stays_exact(void **state)
{
	uint64_t bytes = w->bytes[1] + MIB(1);

	start();
	ok(world_point(w, &err));
	stop();
	ok(world_open(w, &err));
	ok(vm_grow_begin(w->vm, 1, bytes, &err));
	bytes += MIB(200); /* further pages */
	world_grow_image(w, 1, bytes);
	ok(vm_grow_end(w->vm, 1, &err));
	world_stop(w);
	start();
	assert_int_equal(worth(1, point(0)), ACCURACY_EXACT);
	put(1, bytes - BLOCK_BYTES);
	cool();
	power_cut(SIM_CUT_DROP);
	start();
	assert_int_equal(worth(1, point(0)), ACCURACY_EXACT);
	world_check(w);
}

/* ---- in the middle of a point ------------------------------------------ */

/* A question may come when a point has been made and the older generation's
 * live bitmaps are not closed yet. */
static void an_answer_about_a_new_point_has_no_older_bits(void **state)
{
	_Atomic uint64_t *bits;
	struct volume *volume;
	struct vm_changes changes;
	unsigned old;

	start();
	volume = &w->vm->volumes[0];
	ok(world_point(w, &err));
	put(0, MIB(30));
	old = atomic_load(&w->vm->epoch.current) & 1;
	bits = calloc(volume->live[old].words, sizeof(*bits));
	assert_non_null(bits);
	atomic_store(&bits[0], 1);
	ok(world_point(w, &err));
	assert_false(volume->live_open[old]);
	volume->live[old].bits = bits;
	volume->live_open[old] = true;
	changes = answer(0, point(0), NULL);
	volume->live_open[old] = false;
	assert_int_equal(changes.accuracy.accuracy, ACCURACY_EXACT);
	assert_int_equal(blockset_count(changes.set), 0);
	blockset_free(changes.set);
	free(bits);
}

/* Another thread has begun to give way, and has marked the live files that it
 * found; the state is not set yet. */
static void claim(void *arg, const struct sim_event *event)
{
	if (event->op == SIM_RENAME && strcmp(event->fs, "memory") == 0)
		atomic_store(&w->vm->latch_claimed, true);
}

static void no_point_is_made_by_one_who_gives_way_meanwhile(void **state)
{
	start();
	ok(world_point(w, &err));
	put(0, MIB(30));
	sim_on_op(w->sim, claim, NULL);
	assert_int_equal(world_point(w, &err), -RP_ELATCHED);
	sim_on_op(w->sim, NULL, NULL);
	assert_true(atomic_load(&w->vm->latch_claimed));
	assert_int_equal(vm_point_count(w->vm), 1);
}

static void give_way(void *arg, const struct sim_event *event)
{
	if (event->op == SIM_CREATE && strncmp(event->name, "gen-", 4) == 0)
		latch_begin(w->vm, "as the test wants it");
}

static void no_point_is_made_if_tracking_gives_way_after_the_cut(void **state)
{
	start();
	ok(world_point(w, &err));
	put(0, MIB(30));
	sim_on_op(w->sim, give_way, NULL);
	assert_int_equal(world_point(w, &err), -RP_ELATCHED);
	sim_on_op(w->sim, NULL, NULL);
	doubt_all();
	assert_int_equal(worth(0, point(0)), ACCURACY_INVALID);
	killed();
	start();
	assert_int_equal(vm_point_count(w->vm), 1);
	assert_int_equal(worth(0, point(0)), ACCURACY_INVALID);
	world_check(w);
}

static int count_live(void *arg, uint32_t disk, uint64_t generation)
{
	++*(unsigned *)arg;
	return 0;
}

static unsigned live_files(void)
{
	unsigned n = 0;

	ok(live_list(w->memory, count_live, &n, &err));
	return n;
}

static void a_start_leaves_no_live_file_of_an_undone_seal(void **state)
{
	start();
	ok(world_point(w, &err));
	put(0, MIB(30));
	sim_fail(w->sim, SIM_CREATE, 1, ENOSPC, false, "gen-*");
	assert_true(world_point(w, &err) < 0);
	assert_int_equal(live_files(), 2 * WORLD_DISKS);
	killed();
	start();
	assert_int_equal(live_files(), WORLD_DISKS);
	world_check(w);
}

/* ---- the time of the last submission ------------------------------------ */

static bool late_write_done;

/* A seal that has taken long, and a write of the guest's in it. */
static void write_late(void *arg, const struct sim_event *event)
{
	const bool *kill = arg;

	if (late_write_done || event->op != SIM_CREATE ||
	    strncmp(event->name, "gen-", 4) != 0)
		return;
	late_write_done = true;
	sim_advance(w->sim, INT64_C(5000000000));
	assert_true(world_submit(w, 0, VOLUME_WRITE, MIB(30), BLOCK_BYTES));
	sim_ioq_complete_all(w->sim);
	if (*kill)
		sim_kill(w->sim);
}

static void a_kill_late_in_a_seal_costs_nothing(void **state)
{
	bool kill = true;

	start();
	ok(world_point(w, &err));
	put(0, MIB(30));
	late_write_done = false;
	sim_on_op(w->sim, write_late, &kill);
	assert_true(world_point(w, &err) < 0);
	assert_true(late_write_done);
	world_stop(w);
	sim_land(w->sim);
	sim_reboot(w->sim);
	world_recover(w); /* nothing is invalid */
}

static void kill_at_sync(void *arg, const struct sim_event *event)
{
	if (event->op == SIM_SYNC && strcmp(event->name, "image0") == 0)
		sim_kill(w->sim);
}

static void a_kill_after_an_undone_seal_that_took_long_costs_nothing(void **s)
{
	bool kill = false;

	start();
	ok(world_point(w, &err));
	put(0, MIB(30));
	late_write_done = false;
	sim_on_op(w->sim, write_late, &kill);
	sim_fail(w->sim, SIM_CREATE, 1, ENOSPC, false, "gen-*");
	assert_true(world_point(w, &err) < 0);
	assert_true(late_write_done);
	/* The next attempt has removed the undone one's live files. */
	sim_on_op(w->sim, kill_at_sync, NULL);
	assert_true(world_point(w, &err) < 0);
	assert_true(sim_dead(w->sim));
	world_stop(w);
	sim_reboot(w->sim);
	world_recover(w);
}

static void a_kill_over_a_write_that_takes_long_costs_nothing(void **state)
{
	start();
	ok(world_point(w, &err));
	put(0, MIB(30));
	assert_true(world_submit(w, 0, VOLUME_WRITE, MIB(30), BLOCK_BYTES));
	assert_int_equal(sim_ioq_pending(w->sim), 1);
	sim_advance(w->sim, INT64_C(5000000000));
	vm_tick(w->queues[0].track);
	killed(); /* it lands then */
	world_recover(w);
}

/* ---- what the guest is told is durable ---------------------------------- */

static uint32_t durable(uint64_t offset)
{
	uint8_t sector[512];
	uint32_t id;

	sim_image_peek(w->sim, "image0", true, sector, sizeof(sector), offset);
	memcpy(&id, sector, sizeof(id));
	return id;
}

static void a_write_with_fua_and_what_was_flushed_are_durable(void **state)
{
	start();
	put(0, MIB(30));
	assert_int_equal(durable(MIB(30)), 0);
	put_range(0, VOLUME_FLUSH, 0, 0);
	assert_int_equal(durable(MIB(30)), 1);
	w->submit_flags = VOLUME_FUA;
	put(0, MIB(30));
	assert_int_equal(durable(MIB(30)), w->next_id);
	/* In two pieces. */
	put_range(0, VOLUME_WRITE, MIB(32) - KIB(4), KIB(8));
	assert_int_equal(durable(MIB(32) - KIB(4)), w->next_id);
	assert_int_equal(durable(MIB(32)), w->next_id);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, scene_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_tombstone_that_is_missing_counts_as_one),
	    TEST(what_was_read_before_a_damaged_page_counts_no_more),
	    TEST(a_foreign_write_to_a_served_disk_is_noticed_at_its_end),
	    TEST(growth_by_more_than_was_asked_for_stays_exact),
	    TEST(an_answer_about_a_new_point_has_no_older_bits),
	    TEST(no_point_is_made_by_one_who_gives_way_meanwhile),
	    TEST(no_point_is_made_if_tracking_gives_way_after_the_cut),
	    TEST(a_start_leaves_no_live_file_of_an_undone_seal),
	    TEST(a_kill_late_in_a_seal_costs_nothing),
	    TEST(a_kill_after_an_undone_seal_that_took_long_costs_nothing),
	    TEST(a_kill_over_a_write_that_takes_long_costs_nothing),
	    TEST(a_write_with_fua_and_what_was_flushed_are_durable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
