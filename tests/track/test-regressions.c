/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Orders of crashes and failures that once led to a miss, or to an answer that
 * was worse than it had to be; each is told by the sentence that must hold.
 * The world (world.h) tells misses by itself: it aborts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "scene.h"
#include "store/files.h"
#include "track/internal.h"

static unsigned step;

static void begin(uint64_t seed, uint32_t hot_regions)
{
	step = 0;
	scene_begin(seed, hot_regions);
}

static void flush(uint32_t disk)
{
	assert_true(world_submit(w, disk, VOLUME_FLUSH, 0, 0));
	world_settle(w);
}

static void keep(unsigned times)
{
	while (times-- > 0 && !sim_dead(w->sim))
		(void)vm_keep(w->vm, true);
}

/* Whatever happened, the machine comes up again. */
static void after(enum sim_cut cut)
{
	if (!sim_dead(w->sim))
		sim_power_cut(w->sim, cut);
	world_stop(w);
	sim_reboot(w->sim);
	sim_fail_none(w->sim);
	memset(&err, 0, sizeof(err));
}

static bool creates_sealed(const struct sim_event *event)
{
	return event->op == SIM_CREATE && strncmp(event->name, "gen-", 4) == 0;
}

/* ---- the cut ---------------------------------------------------------- */

static void write_all_over(void *arg, const struct sim_event *event)
{
	if (!creates_sealed(event) || step++ > 0)
		return;
	for (unsigned i = 0; i < 14; i++)
		assert_true(world_submit(w, 0, VOLUME_WRITE, BLOCK(5 + i),
					 BLOCK_BYTES));
	assert_int_equal(sim_ioq_pending(w->sim), 14);
}

static void writes_of_an_undone_cut_are_before_the_next_point(void **state)
{
	begin(1, 3);
	start();
	put(0, 0);
	ok(world_point(w, &err));
	put(0, BLOCK(1));
	sim_on_op(w->sim, write_all_over, NULL);
	sim_fail(w->sim, SIM_CREATE, 1, ENOSPC, false, "gen-*");
	w->pump_holds = 1000;
	assert_true(world_point(w, &err) < 0);
	sim_on_op(w->sim, NULL, NULL);
	assert_int_equal(sim_ioq_pending(w->sim), 14);
	w->pump_holds = 0;
	ok(world_point(w, &err)); /* and the world: nothing is in flight */
	assert_int_equal(sim_ioq_pending(w->sim), 0);
	after(SIM_CUT_DROP);
	world_recover(w);
}

static void a_write_that_follows_another_is_not_before_its_point(void **state)
{
	uint64_t split = 0;

	/* The guest writes all the time; the world holds each write to E2. */
	for (uint64_t seed = 1; seed <= 40; seed++) {
		begin(seed, 3);
		start();
		w->check_order = false;
		for (unsigned i = 0; i < 5; i++) {
			put(0, BLOCK(i));
			put(1, BLOCK(i));
			w->guest_rate = 90;
			ok(world_point(w, &err));
			w->guest_rate = 0;
		}
		split += w->split_writes;
		scene_end();
	}
	printf("%llu writes in the middle of a cut\n",
	       (unsigned long long)split);
	assert_true(split > 30);
}

static void flush_fails(void *arg, const struct sim_event *event)
{
	if (event->op != SIM_SYNC || strcmp(event->name, "image0") != 0 ||
	    step++ != 1)
		return;
	/* The second sync of the seal: after the cut.  The guest's comes
	 * first, and is told what the kernel tells only once. */
	sim_fail(w->sim, SIM_IO_SYNC, 1, EIO, false, "image0");
	assert_true(world_submit(w, 0, VOLUME_FLUSH, 0, 0));
	sim_ioq_complete_all(w->sim);
}

static void
no_point_is_made_if_a_flush_of_the_guests_fails_during_the_seal(void **state)
{
	begin(7, 3);
	start();
	ok(world_point(w, &err));
	for (unsigned i = 0; i < 8; i++)
		put(0, BLOCK(20 * i));
	sim_on_op(w->sim, flush_fails, NULL);
	assert_int_equal(world_point(w, &err), -RP_EIOFAIL);
	assert_true(atomic_load(&w->vm->sync_failed));
	assert_true(step >= 2);
	after(SIM_CUT_DROP);
	start();
	assert_int_equal(vm_point_count(w->vm), 1);
	w->guest_rate = 0;
	world_check(w);
}

/* ---- commits ---------------------------------------------------------- */

/* The NTH write of the log fails while a point is made; false: it has no so
 * many. */
static bool commit_without_room(unsigned nth, bool sticky, bool cut)
{
	bool failed;

	begin(2, 3);
	start();
	put(0, 0);
	ok(world_point(w, &err));
	put(0, BLOCK(1));
	sim_fail(w->sim, SIM_WRITE, nth, ENOSPC, sticky,
		 "catalogue.sqlite-wal");
	failed = world_point(w, &err) < 0;
	sim_fail_none(w->sim);
	if (failed) {
		bool unknown = w->vm->broken;

		if (unknown)
			doubt_all();
		put(0, BLOCK(9));
		if (!cut)
			sim_kill(w->sim);
		after(SIM_CUT_DROP);
		start();
		/* What was refused is not there; or it gave way, and says so */
		if (!unknown)
			assert_int_equal(vm_point_count(w->vm), 1);
		world_check(w);
	}
	scene_end();
	return failed;
}

static void a_commit_that_ran_out_of_space_leaves_nothing(void **state)
{
	for (unsigned mode = 0; mode < 4; mode++) {
		unsigned nth = 1;

		while (commit_without_room(nth, mode & 1, mode & 2))
			nth++;
		assert_true(nth > 5); /* head and frames */
	}
}

/* ---- damage ----------------------------------------------------------- */

static void ruin_pages(uint32_t disk)
{
	static const uint8_t junk[2 * PAGE_BYTES] = {0x5a};

	for (unsigned f = 0; f < PAGE_FILES; f++) {
		struct file *file;
		char name[32];

		(void)snprintf(name, sizeof(name), "pages.%u.%u", disk, f);
		ok(fs_open(w->store, name, FILE_WRITE, &file, &err));
		ok(file_write(file, junk, sizeof(junk), 0, &err));
		ok(file_sync(file, &err));
		file_close(file);
	}
}

static bool die_over_ruined_pages(uint64_t at, enum sim_cut cut)
{
	bool died;

	begin(3, 3);
	start();
	ok(world_point(w, &err));
	put(0, 0);
	ok(world_detach(w, &err));
	ruin_pages(0);
	world_doubt(w, 0);
	world_stop(w);
	sim_die_at(w->sim, sim_ops(w->sim) + at, SIM_CUT, cut);
	(void)world_start(w, VM_ATTACH_WRITE, &err);
	died = sim_dead(w->sim);
	after(cut);
	world_recover(w); /* block 0 is reported */
	assert_int_equal(worth(0, &w->points[0]), ACCURACY_INVALID);
	scene_end();
	return died;
}

static void
damaged_pages_are_told_though_the_start_that_saw_them_was_cut(void **state)
{
	for (unsigned cut = 0; cut < 2; cut++) {
		uint64_t at = 1;

		while (die_over_ruined_pages(at,
					     cut ? SIM_CUT_KEEP : SIM_CUT_DROP))
			at++;
		assert_true(at > 20);
	}
}

static void missing_pages_keep_no_guest_out_after_a_kill(void **state)
{
	begin(5, 1);
	start();
	ok(world_point(w, &err));
	put(0, 0);
	put(0, MIB(120));
	ok(w->store->ops->unlink(w->store, "pages.0.0", &err));
	world_doubt(w, 0);
	sim_kill(w->sim);
	world_stop(w);
	sim_land(w->sim);
	sim_reboot(w->sim);
	start();
	assert_int_equal(worth(0, &w->points[0]), ACCURACY_INVALID);
	world_check(w);
	ok(world_point(w, &err));
	put(0, MIB(2));
	assert_int_equal(worth(0, &w->points[1]), ACCURACY_EXACT);
	world_check(w);
}

static void a_tombstone_that_cannot_be_read_counts_as_one(void **state)
{
	char reason[REASON_BYTES];

	begin(6, 1);
	start();
	ok(world_point(w, &err));
	sim_fail(w->sim, SIM_SYNC, 1, EIO, false, "intents");
	put(0, MIB(48));
	assert_true(vm_latched(w->vm, reason));
	put(0, MIB(64)); /* nothing is told of it */
	flush(0);
	doubt_all();
	after(SIM_CUT_DROP);
	sim_fail(w->sim, SIM_READ, 1, EIO, true, "tombstone");
	if (world_start(w, VM_ATTACH_WRITE, &err) < 0) {
		/* Refusing would do as well, but a guest could not start. */
		fail_msg("%s", err.text);
	}
	sim_fail_none(w->sim);
	assert_int_equal(worth(0, &w->points[0]), ACCURACY_INVALID);
	world_check(w);
}

/* The kernel tells one sync of a lost write.  A guest's was told, and what it
 * was told is still on its way when the seal's own sync finds nothing amiss. */
static void no_point_stands_on_a_sync_that_another_one_failed_for(void **state)
{
	begin(6, 3);
	start();
	ok(world_point(w, &err));
	put(0, 0);
	sim_fail(w->sim, SIM_IO_SYNC, 1, EIO, false, "image0");
	assert_true(world_submit(w, 0, VOLUME_FLUSH, 0, 0));
	assert_int_equal(sim_ioq_pending(w->sim), 1);
	sim_ioq_fail_one(w->sim, 0);
	w->pump_holds = 100;
	assert_int_equal(world_point(w, &err), -RP_EIOFAIL);
	assert_int_equal(vm_point_count(w->vm), 1);
}

/* ---- what is not tracked ---------------------------------------------- */

static void no_point_is_made_while_writes_are_not_tracked(void **state)
{
	begin(4, 3);
	ok(world_start(w, VM_ATTACH_WRITE | VM_ATTACH_UNTRACKED, &err));
	assert_int_equal(world_point(w, &err), -RP_ESTATE);
	assert_int_equal(vm_point_count(w->vm), 0);
}

static void
growth_does_not_hide_what_somebody_else_wrote_before_it(void **state)
{
	uint64_t bytes;

	begin(5, 3);
	start();
	ok(world_point(w, &err));
	ok(world_detach(w, &err));
	world_stop(w);
	sim_advance(w->sim, INT64_C(5000000000));
	world_poke(w, 1);
	ok(world_open(w, &err));
	bytes = w->bytes[1] + MIB(16);
	ok(vm_grow_begin(w->vm, 1, bytes, &err));
	world_grow_image(w, 1, bytes);
	ok(vm_grow_end(w->vm, 1, &err));
	world_stop(w);
	start();
	assert_int_equal(worth(1, &w->points[0]), ACCURACY_INVALID);
	assert_int_equal(worth(0, &w->points[0]), ACCURACY_EXACT);
	world_check(w);
}

/* ---- the keeper ------------------------------------------------------- */

/* Between the choice of the regions that should turn cold and the end. */
static void mark_meanwhile(void *arg, const struct sim_event *event)
{
	if (event->op != SIM_SYNC || strncmp(event->name, "pages.0.", 8) != 0)
		return;
	(void)world_submit(w, 0, VOLUME_WRITE, BLOCK(++step), BLOCK_BYTES);
	sim_ioq_complete_all(w->sim);
}

static void cycle(void)
{
	(void)vm_keep(w->vm, false);
	world_run_tasks(w);
	sim_ioq_complete_all(w->sim);
}

static void a_write_waits_for_few_cycles_whatever_others_mark(void **state)
{
	unsigned cycles;

	begin(8, 1);
	start();
	ok(world_point(w, &err));
	assert_true(world_submit(w, 0, VOLUME_WRITE, 0, BLOCK_BYTES));
	cycle();
	/* The one hot region is marked in each cycle. */
	assert_int_equal(w->vm->volumes[0].regions[0].state, REGION_HOT);
	sim_on_op(w->sim, mark_meanwhile, NULL);
	assert_true(world_submit(w, 0, VOLUME_WRITE, MIB(64), BLOCK_BYTES));
	for (cycles = 0; cycles < 20; cycles++) {
		cycle();
		if (!w->requests[0].busy)
			break;
	}
	sim_on_op(w->sim, NULL, NULL);
	printf("%u cycles, %u marks\n", cycles, step);
	assert_true(step > 0);
	assert_true(cycles < 6);
}

static void a_task_of_the_keepers_does_not_outlive_its_queue(void **state)
{
	struct volume *volume;

	begin(1, 3);
	start();
	volume = &w->vm->volumes[0];
	/* Wanted by a seal, so that nobody waits for it. */
	volume->regions[1].used = 1;
	keeper_prelog(volume, 0);
	assert_true(vm_keep(w->vm, false));
	assert_true(world_has_tasks(w));
	for (unsigned i = 0; i < WORLD_DISKS; i++)
		w->queues[i].track = NULL; /* the guest is gone */
	ok(vm_detach(w->vm, &err));
	assert_false(world_has_tasks(w));
}

/* ---- pages ------------------------------------------------------------ */

/* Two cold regions, of which only the page's newer slot has both, and a hot
 * one, all of one page. */
static void two_slots_and_a_hot_region(uint64_t seed)
{
	begin(seed, 3);
	start();
	w->check_order = false;
	ok(world_point(w, &err));
	put(0, MIB(16));
	keep(4);
	put(0, 0);
	keep(4);
	put(0, MIB(32));
}

/* A start after a power cut fails as the pages that it widened cannot be
 * synced; the next one is cut short at operation AT. */
static bool die_after_failed_start(uint64_t seed, uint64_t at)
{
	bool died;

	two_slots_and_a_hot_region(seed);
	after(SIM_CUT_DROP);
	sim_fail(w->sim, SIM_SYNC, 1 + seed % 4, EIO, false, "pages.0.*");
	if (world_start(w, VM_ATTACH_WRITE, &err) == 0) {
		scene_end(); /* there were not so many */
		return false;
	}
	assert_false(sim_dead(w->sim));
	world_stop(w);
	sim_die_at(w->sim, sim_ops(w->sim) + at, SIM_CUT,
		   seed / 4 % 2 ? SIM_CUT_TORN : SIM_CUT_RANDOM);
	(void)world_start(w, VM_ATTACH_WRITE, &err);
	died = sim_dead(w->sim);
	after(SIM_CUT_RANDOM);
	world_recover(w);
	scene_end();
	return died;
}

static void pages_that_a_failed_start_lost_are_not_believed(void **state)
{
	unsigned deaths = 0;

	for (uint64_t seed = 1; seed <= 40; seed++)
		for (uint64_t at = 1; die_after_failed_start(seed, at); at++)
			deaths++;
	assert_true(deaths > 40);
}

static void mark_far(void *arg, const struct sim_event *event)
{
	if (!creates_sealed(event) || step++ > 0)
		return;
	assert_true(world_submit(w, 0, VOLUME_WRITE, MIB(111), BLOCK_BYTES));
	sim_ioq_complete_all(w->sim);
}

/* A kill while pages of an undone seal's generation are written as well, so
 * that what only the cache has is in both files; then all turns cold, and the
 * power goes. */
static bool die_in_the_other_file(uint64_t seed, uint64_t at)
{
	bool died;

	begin(seed, 3);
	start();
	w->check_order = false;
	ok(world_point(w, &err));
	put(0, MIB(110)); /* its bits are at the end of the page */
	sim_on_op(w->sim, mark_far, NULL);
	sim_fail(w->sim, SIM_CREATE, 1, ENOSPC, false, "gen-*");
	assert_true(world_point(w, &err) < 0);
	sim_on_op(w->sim, NULL, NULL);
	world_run_tasks(w);
	sim_die_at(w->sim, sim_ops(w->sim) + at, SIM_KILL, SIM_CUT_KEEP);
	keep(3);
	died = sim_dead(w->sim);
	if (!died)
		sim_kill(w->sim);
	after(SIM_CUT_KEEP);
	start();
	keep(4);
	after(seed % 2 ? SIM_CUT_RANDOM : SIM_CUT_TORN);
	world_recover(w); /* nothing is invalid */
	scene_end();
	return died;
}

static void a_page_that_a_kill_left_in_the_cache_is_mended(void **state)
{
	unsigned deaths = 0;

	for (uint64_t seed = 1; seed <= 40; seed++)
		for (uint64_t at = 1; die_in_the_other_file(seed, at); at++)
			deaths++;
	assert_true(deaths > 40);
}

static void mark_and_cool(void *arg, const struct sim_event *event)
{
	if (!creates_sealed(event) || step++ > 0)
		return;
	assert_true(world_submit(w, 0, VOLUME_WRITE, BLOCK(5), BLOCK_BYTES));
	sim_ioq_complete_all(w->sim);
	keep(4);
}

/* The marks of an undone seal come home; the death comes at operation AT. */
static bool die_on_the_way_home(uint64_t seed, uint64_t at,
				enum sim_death death, enum sim_cut cut)
{
	bool died;

	begin(seed, 3);
	start();
	w->check_order = false;
	ok(world_point(w, &err));
	put(0, BLOCK(1));
	sim_on_op(w->sim, mark_and_cool, NULL);
	sim_fail(w->sim, SIM_CREATE, 1, ENOSPC, false, "gen-*");
	assert_true(world_point(w, &err) < 0);
	sim_on_op(w->sim, NULL, NULL);
	world_settle(w);
	keep(3);
	assert_int_equal(w->vm->volumes[0].regions[0].state, REGION_COLD);
	assert_true(w->vm->undone);
	sim_die_at(w->sim, sim_ops(w->sim) + at, death, cut);
	(void)world_point(w, &err);
	died = sim_dead(w->sim);
	if (death == SIM_KILL && !died)
		sim_kill(w->sim);
	after(cut);
	world_recover(w); /* nothing is invalid, which has no cause */
	if (death == SIM_KILL) {
		ok(world_detach(w, &err));
		world_stop(w);
		world_recover(w);
	}
	scene_end();
	return died;
}

static void a_death_while_marks_come_home_costs_nothing(void **state)
{
	for (uint64_t seed = 1; seed <= 12; seed++)
		for (unsigned mode = 0; mode < 3; mode++)
			for (uint64_t at = 1; at < 10; at++)
				if (!die_on_the_way_home(
					seed, at,
					mode == 2 ? SIM_KILL : SIM_CUT,
					mode ? SIM_CUT_TORN : SIM_CUT_RANDOM))
					break;
}

#define TEST(f) cmocka_unit_test_teardown(f, scene_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(writes_of_an_undone_cut_are_before_the_next_point),
	    TEST(a_write_that_follows_another_is_not_before_its_point),
	    TEST(
		no_point_is_made_if_a_flush_of_the_guests_fails_during_the_seal),
	    TEST(a_commit_that_ran_out_of_space_leaves_nothing),
	    TEST(damaged_pages_are_told_though_the_start_that_saw_them_was_cut),
	    TEST(missing_pages_keep_no_guest_out_after_a_kill),
	    TEST(a_tombstone_that_cannot_be_read_counts_as_one),
	    TEST(no_point_stands_on_a_sync_that_another_one_failed_for),
	    TEST(no_point_is_made_while_writes_are_not_tracked),
	    TEST(growth_does_not_hide_what_somebody_else_wrote_before_it),
	    TEST(a_write_waits_for_few_cycles_whatever_others_mark),
	    TEST(a_task_of_the_keepers_does_not_outlive_its_queue),
	    TEST(pages_that_a_failed_start_lost_are_not_believed),
	    TEST(a_page_that_a_kill_left_in_the_cache_is_mended),
	    TEST(a_death_while_marks_come_home_costs_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
