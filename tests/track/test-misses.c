/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ways in which trackers of changed blocks have missed changes in silence,
 * one test each, and the sentences about tracking that no other test names.
 *
 * Known kinds of silent misses:
 *   a mark, its durability and the data in the wrong order
 *	a_write_waits_until_its_mark_is_durable
 *	a_second_writer_does_not_trust_a_mark_that_is_not_durable
 *   the open interval is not recovered
 *	the_open_interval_survives_a_power_cut_in_cold_and_in_hot_regions
 *	the_open_interval_survives_a_kill_exactly
 *   writes by the platform pass by the tracker
 *	nothing_but_the_guest_writes_to_an_image
 *   a disk that grew
 *	growth_past_128_gib_is_a_change_and_writes_there_are_tracked
 *	a_foreign_write_before_a_resize_is_noticed
 *   damaged tracking data is believed
 *	a_damaged_sealed_generation_makes_answers_invalid
 *	a_catalogue_with_a_flipped_bit_is_refused (test-faults)
 *   a cut that is not atomic with writes in flight
 *	a_point_waits_for_the_older_writes_in_flight
 *	a_point_waits_for_writes_that_an_undone_point_left_in_flight
 *	a_start_cut_short_after_an_undone_point_costs_nothing
 *	a_write_after_the_cut_is_not_in_the_older_interval
 *   arithmetic of ranges that are not aligned
 *	a_write_of_one_sector_marks_its_block_and_one_across_marks_both
 *	the_last_block_of_an_odd_disk_is_tracked
 *   a block that changed in two successive intervals
 *	a_block_changed_in_two_intervals_is_reported_in_both_and_merged
 *   discards and writes of zeroes
 *	discard_and_write_zeroes_are_changes
 *   writes by others, at boot or while off
 *	a_foreign_write_after_a_clean_stop_invalidates
 *	a_foreign_write_after_a_kill_invalidates
 *	a_foreign_write_after_a_power_cut_invalidates
 *	a_foreign_write_that_puts_the_times_back_is_told_by_ctime
 *   tracking that is switched off without a word
 *	tracking_that_gave_way_says_so_until_the_next_point
 *   a full store taken for success
 *	a_seal_without_room_fails_and_the_next_is_exact
 *
 * Sentences about tracking:
 *   "a failed write is a change"
 *	a_write_that_fails_is_a_change
 *   "the nonce": a store that was put back
 *	a_store_that_was_put_back_is_told_by_the_nonce
 *   "destroying a point merges its generation, accuracies join"
 *	destroying_a_point_keeps_what_an_older_one_needs
 *   "changed from P to Q is the union of those between"
 *	an_interval_between_points_does_not_hold_later_writes
 *   "nothing of the point can be read before"
 *	a_point_that_failed_cannot_be_seen
 *   "writes to blocks already durably marked cost nothing"
 *	a_second_write_of_a_block_costs_no_operation_of_the_store
 *   "at most H hot regions"
 *	hot_regions_stay_within_the_limit
 *   "the live bitmap's presence tells a kill from a cut"
 *	live_bitmaps_that_vanish_without_a_power_cut_invalidate
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "rig.h"
#include "scene.h"
#include "track/internal.h"
#include "track/judge.h"

static int set_up(void **state)
{
	scene_begin(1, 4);
	return 0;
}

static uint64_t reported(uint32_t disk, const struct world_point *p,
			 const struct world_point *q)
{
	struct vm_changes changes = answer(disk, p, q);
	uint64_t n = blockset_count(changes.set);

	blockset_free(changes.set);
	return n;
}

static bool has(uint32_t disk, const struct world_point *p,
		const struct world_point *q, uint64_t block)
{
	struct vm_changes changes = answer(disk, p, q);
	bool found = blockset_has(changes.set, block);

	blockset_free(changes.set);
	return found;
}

/* ---- order ------------------------------------------------------------ */

static void a_write_waits_until_its_mark_is_durable(void **state)
{
	start(); /* with world_check_order: each submission is checked */
	assert_true(w->check_order);
	assert_true(world_submit(w, 0, VOLUME_WRITE, MIB(50), KIB(4)));
	world_run_tasks(w);
	assert_int_equal(sim_ioq_pending(w->sim), 0);
	(void)vm_keep(w->vm, false);
	world_run_tasks(w);
	assert_int_equal(sim_ioq_pending(w->sim), 1);
	world_settle(w);
	assert_true(w->order_checks > 0);
}

static void
a_second_writer_does_not_trust_a_mark_that_is_not_durable(void **state)
{
	start();
	/* Same block, and another of the same region: neither may go while
	 * the first one's intent is not durable. */
	assert_true(world_submit(w, 0, VOLUME_WRITE, MIB(50), 512));
	assert_true(world_submit(w, 0, VOLUME_WRITE, MIB(50) + 512, 512));
	assert_true(world_submit(w, 0, VOLUME_WRITE, MIB(50) + KIB(64), 512));
	world_run_tasks(w);
	assert_int_equal(sim_ioq_pending(w->sim), 0);
	world_settle(w);
	assert_true(w->order_checks >= 3);
}

/* ---- recovery --------------------------------------------------------- */

static void
the_open_interval_survives_a_power_cut_in_cold_and_in_hot_regions(void **state)
{
	start();
	ok(world_point(w, &err));
	put_range(0, VOLUME_WRITE, MIB(20), KIB(8));
	cool();
	put_range(0, VOLUME_WRITE, MIB(100), KIB(4));
	power_cut(SIM_CUT_DROP);
	start();
	assert_true(has(0, point(0), NULL, MIB(20) / 4096));
	assert_true(has(0, point(0), NULL, MIB(20) / 4096 + 1));
	assert_true(has(0, point(0), NULL, MIB(100) / 4096));
	assert_int_equal(worth(0, point(0)), ACCURACY_WIDENED);
	assert_int_equal(reported(0, point(0), NULL), 2 + REGION_BLOCKS);
	assert_int_equal(reported(1, point(0), NULL), 0);
	world_check(w);
}

static void the_open_interval_survives_a_kill_exactly(void **state)
{
	start();
	ok(world_point(w, &err));
	put_range(0, VOLUME_WRITE, MIB(20), KIB(8));
	cool();
	put_range(0, VOLUME_WRITE, MIB(100), KIB(4));
	killed();
	start();
	assert_int_equal(worth(0, point(0)), ACCURACY_EXACT);
	assert_int_equal(reported(0, point(0), NULL), 3);
	world_check(w);
}

/* ---- writes by the platform ------------------------------------------- */

static uint64_t image_writes;

static void count_write(void *arg, const struct io *io)
{
	image_writes++;
}

static void nothing_but_the_guest_writes_to_an_image(void **state)
{
	start();
	ok(world_point(w, &err));
	put_range(0, VOLUME_WRITE, MIB(20), KIB(8));
	image_writes = 0;
	sim_on_image_write(w->sim, count_write, NULL);
	ok(world_point(w, &err));
	ok(world_destroy(w, &err));
	cool();
	power_cut(SIM_CUT_RANDOM);
	sim_on_image_write(w->sim, count_write, NULL);
	ok(world_open(w, &err));
	ok(vm_attach(w->vm, w->images, w->geometry, VM_ATTACH_WRITE, &err));
	world_check(w);
	ok(vm_detach(w->vm, &err));
	assert_int_equal(image_writes, 0);
	world_stop(w);
}

/* ---- growth ----------------------------------------------------------- */

static void
growth_past_128_gib_is_a_change_and_writes_there_are_tracked(void **state)
{
	const uint64_t was = GIB(127) + 512, is = GIB(130);
	struct rig *rig = rig_new(NULL, was);
	struct vm_changes changes;
	struct guid before, after;

	ok(rig_define(rig, &err));
	ok(rig_start(rig, NULL, &err));
	ok(rig_point(rig, &before, &err));
	assert_int_equal(rig_do(rig, VOLUME_WRITE, GIB(5), 4096), 0);
	ok(rig_grow(rig, is, &err));
	ok(rig_start(rig, NULL, &err));
	changes = rig_changes(rig, &before);
	assert_int_equal(changes.accuracy.accuracy, ACCURACY_EXACT);
	assert_int_equal(changes.bytes, is);
	assert_int_equal(blockset_count(changes.set),
			 1 + (is - GIB(127)) / 4096);
	assert_true(blockset_has(changes.set, was / 4096));
	assert_true(blockset_has(changes.set, is / 4096 - 1));
	blockset_free(changes.set);
	ok(rig_point(rig, &after, &err));
	assert_int_equal(rig_do(rig, VOLUME_WRITE, GIB(129), 4096), 0);
	changes = rig_changes(rig, &after);
	assert_int_equal(blockset_count(changes.set), 1);
	assert_true(blockset_has(changes.set, GIB(129) / 4096));
	blockset_free(changes.set);
	ok(rig_stop(rig, &err));
	rig_free(rig);
}

static void a_foreign_write_before_a_resize_is_noticed(void **state)
{
	start();
	ok(world_point(w, &err));
	stop();
	sim_advance(w->sim, INT64_C(5000000000));
	world_poke(w, 0);
	ok(world_open(w, &err));
	ok(vm_grow_begin(w->vm, 0, w->bytes[0] + MIB(1), &err));
	world_grow_image(w, 0, w->bytes[0] + MIB(1));
	ok(vm_grow_end(w->vm, 0, &err));
	world_stop(w);
	start();
	assert_int_equal(worth(0, point(0)), ACCURACY_INVALID);
	world_check(w);
}

/* ---- damage ----------------------------------------------------------- */

static void flip_bit(struct fs *fs, const char *name, uint64_t offset)
{
	struct file *file;
	uint8_t byte;

	ok(fs_open(fs, name, FILE_WRITE, &file, &err));
	assert_int_equal(file_read(file, &byte, 1, offset, &err), 1);
	byte ^= 0x10;
	ok(file_write(file, &byte, 1, offset, &err));
	ok(file_sync(file, &err));
	file_close(file);
}

static int first_sealed(void *arg, const char *name)
{
	if (strncmp(name, "gen-", 4) != 0)
		return 0;
	(void)snprintf(arg, 96, "%s", name);
	return 1;
}

static void a_damaged_sealed_generation_makes_answers_invalid(void **state)
{
	uint64_t bytes = 0;
	struct file *file;
	char name[96];

	start();
	ok(world_point(w, &err));
	put_range(0, VOLUME_WRITE, MIB(20), KIB(8));
	ok(world_point(w, &err));
	assert_int_equal(
	    w->store->ops->list(w->store, first_sealed, name, &err), 1);
	ok(fs_open(w->store, name, FILE_READ, &file, &err));
	ok(file->ops->size(file, &bytes, &err));
	file_close(file);
	for (uint64_t at = 0; at < bytes; at += 1 + bytes / 40) {
		struct vm_changes changes;

		flip_bit(w->store, name, at);
		changes = answer(0, point(1), point(0));
		assert_int_equal(changes.accuracy.accuracy, ACCURACY_INVALID);
		assert_int_equal(blockset_count(changes.set),
				 blockset_blocks(changes.set));
		blockset_free(changes.set);
		/* The newer point does not need it. */
		assert_int_equal(worth(0, point(0)), ACCURACY_EXACT);
		flip_bit(w->store, name, at);
	}
	assert_int_equal(reported(0, point(1), point(0)), 2);
}

/* ---- the cut ---------------------------------------------------------- */

static void durable_is(uint32_t id, const char *image, uint64_t offset)
{
	uint8_t sector[512];
	uint32_t found;

	sim_image_peek(w->sim, image, true, sector, sizeof(sector), offset);
	memcpy(&found, sector, sizeof(found));
	assert_int_equal(found, id);
}

static void a_point_waits_for_the_older_writes_in_flight(void **state)
{
	start();
	ok(world_point(w, &err));
	put_range(0, VOLUME_WRITE, MIB(50), KIB(4));
	assert_true(world_submit(w, 0, VOLUME_WRITE, MIB(50) + KIB(8), 512));
	assert_int_equal(sim_ioq_pending(w->sim), 1);
	w->pump_holds = 10;
	ok(world_point(w, &err));
	assert_int_equal(sim_ioq_pending(w->sim), 0);
	durable_is(w->next_id, "image0", MIB(50) + KIB(8));
	assert_true(has(0, point(1), point(0), MIB(50) / 4096 + 2));
	assert_false(has(0, point(0), NULL, MIB(50) / 4096 + 2));
	world_check(w);
}

/* ARG: where. */
static void write_then_fail(void *arg, const struct sim_event *event)
{
	const uint64_t *offset = arg;

	if (strncmp(event->name, "gen-", 4) != 0 || event->op != SIM_CREATE ||
	    w->next_id >= 2)
		return;
	assert_true(world_submit(w, 0, VOLUME_WRITE, *offset, 512));
	assert_int_equal(sim_ioq_pending(w->sim), 1);
}

static void
a_point_waits_for_writes_that_an_undone_point_left_in_flight(void **state)
{
	uint64_t offset = MIB(50);

	start();
	ok(world_point(w, &err));
	put_range(0, VOLUME_WRITE, MIB(50), KIB(4));
	/* Between the cut and the failure a write begins. */
	sim_on_op(w->sim, write_then_fail, &offset);
	sim_fail(w->sim, SIM_CREATE, 1, ENOSPC, false, "gen-*");
	w->pump_holds = 100;
	assert_true(world_point(w, &err) < 0);
	assert_int_equal(sim_ioq_pending(w->sim), 1);
	sim_on_op(w->sim, NULL, NULL);
	w->pump_holds = 20; /* more than the flips need */
	ok(world_point(w, &err));
	assert_int_equal(sim_ioq_pending(w->sim), 0);
	durable_is(2, "image0", MIB(50));
	power_cut(SIM_CUT_DROP);
	world_recover(w);
}

static void write_in_seal(void *arg, const struct sim_event *event)
{
	if (strncmp(event->name, "gen-", 4) == 0 && w->next_id < 2)
		(void)world_submit(w, 0, VOLUME_WRITE, MIB(50) + KIB(8), 512);
}

/* A death at the operation AT, of all or of those that change page files. */
struct start_death {
	uint64_t at;
	bool pages;
	uint64_t seen;
	enum sim_death how;
	enum sim_cut cut;
};

static void die_at_op(void *arg, const struct sim_event *event)
{
	struct start_death *d = arg;

	if (event->op & SIM_UNCOUNTED ||
	    (d->pages && strncmp(event->name, "pages.", 6) != 0) ||
	    ++d->seen != d->at)
		return;
	sim_die_at(w->sim, sim_ops(w->sim) + 1, d->how, d->cut);
}

/* Runs up to a clean stop after an undone point whose marks are in the other
 * page file alone, then dies in the next start. */
static bool die_at_start_after_undone(struct start_death *d)
{
	uint64_t offset = MIB(50) + KIB(4); /* the page changes once more */
	bool died;

	start();
	ok(world_point(w, &err));
	put_range(0, VOLUME_WRITE, MIB(50), KIB(4));
	w->next_id = 1;
	sim_on_op(w->sim, write_then_fail, &offset);
	sim_fail(w->sim, SIM_CREATE, 1, ENOSPC, false, "gen-*");
	assert_true(world_point(w, &err) < 0);
	sim_on_op(w->sim, NULL, NULL);
	sim_fail_none(w->sim);
	world_settle(w);
	cool();
	stop();
	sim_on_op(w->sim, die_at_op, d);
	(void)world_start(w, VM_ATTACH_WRITE, &err);
	died = sim_dead(w->sim);
	if (!died)
		sim_kill(w->sim);
	world_stop(w);
	sim_reboot(w->sim);
	world_recover(w); /* nothing is invalid */
	scene_end();
	return died;
}

static void a_start_cut_short_after_an_undone_point_costs_nothing(void **state)
{
	struct start_death d = {0};
	bool died = true;

	for (unsigned mode = 0; mode < SIM_CUTS + 1; mode++, died = true)
		for (d.at = 1; died; d.at++) {
			d.how = mode == SIM_CUTS ? SIM_KILL : SIM_CUT;
			d.cut = (enum sim_cut)(mode % SIM_CUTS);
			d.seen = 0;
			died = die_at_start_after_undone(&d);
			(void)set_up(NULL);
		}
	/* A torn page needs luck, so these get more of it. */
	d = (struct start_death){.pages = true, .how = SIM_CUT};
	for (uint64_t seed = 2; seed < 26; seed++, died = true)
		for (d.at = 1; died; d.at++) {
			scene_end();
			w = world_new(seed, 4);
			ok(world_define(w, &err));
			d.cut = seed % 2 ? SIM_CUT_RANDOM : SIM_CUT_TORN;
			d.seen = 0;
			died = die_at_start_after_undone(&d);
			(void)set_up(NULL);
		}
}

static void a_write_after_the_cut_is_not_in_the_older_interval(void **state)
{
	start();
	ok(world_point(w, &err));
	put_range(0, VOLUME_WRITE, MIB(50), KIB(4));
	sim_on_op(w->sim, write_in_seal, NULL);
	ok(world_point(w, &err));
	assert_int_equal(w->next_id, 2);
	world_settle(w);
	assert_false(has(0, point(1), point(0), MIB(50) / 4096 + 2));
	assert_true(has(0, point(0), NULL, MIB(50) / 4096 + 2));
	assert_int_equal(reported(0, point(0), NULL), 1);
	world_check(w);
}

/* ---- arithmetic ------------------------------------------------------- */

static void
a_write_of_one_sector_marks_its_block_and_one_across_marks_both(void **state)
{
	start();
	ok(world_point(w, &err));
	put_range(0, VOLUME_WRITE, MIB(50) + 7 * 512, 512);
	assert_int_equal(reported(0, point(0), NULL), 1);
	put_range(0, VOLUME_WRITE, MIB(60) + 7 * 512, 1024);
	assert_int_equal(reported(0, point(0), NULL), 3);
	/* Across the border of two regions. */
	put_range(0, VOLUME_WRITE, MIB(96) - 512, 1024);
	assert_int_equal(reported(0, point(0), NULL), 5);
	assert_true(has(0, point(0), NULL, MIB(96) / 4096 - 1));
	assert_true(has(0, point(0), NULL, MIB(96) / 4096));
	/* Across three regions, neither end aligned. */
	put_range(0, VOLUME_ZERO, MIB(112) - 512, MIB(16) + 1024);
	assert_int_equal(reported(0, point(0), NULL), 5 + 2 + REGION_BLOCKS);
	world_check(w);
}

static void the_last_block_of_an_odd_disk_is_tracked(void **state)
{
	uint64_t bytes = w->bytes[1];

	assert_int_equal(bytes % 4096, 512);
	start();
	ok(world_point(w, &err));
	put_range(1, VOLUME_WRITE, bytes - 512, 512);
	assert_int_equal(reported(1, point(0), NULL), 1);
	assert_true(has(1, point(0), NULL, bytes / 4096));
	ok(world_point(w, &err));
	assert_true(has(1, point(1), point(0), bytes / 4096));
	power_cut(SIM_CUT_DROP);
	start();
	assert_true(has(1, point(1), NULL, bytes / 4096));
	world_check(w);
}

/* ---- intervals -------------------------------------------------------- */

static void
a_block_changed_in_two_intervals_is_reported_in_both_and_merged(void **state)
{
	const uint64_t block = MIB(50) / 4096;

	start();
	for (unsigned i = 0; i < 3; i++) {
		ok(world_point(w, &err));
		put_range(0, VOLUME_WRITE, MIB(50), KIB(4));
	}
	assert_true(has(0, point(2), point(1), block));
	assert_true(has(0, point(1), point(0), block));
	assert_true(has(0, point(0), NULL, block));
	assert_true(has(0, point(2), point(0), block));
	ok(vm_point_destroy(w->vm, &point(1)->id, &err));
	w->points[1].destroyed = true;
	assert_true(has(0, point(2), point(0), block));
	assert_int_equal(reported(0, point(2), point(0)), 1);
	world_check(w);
}

static void destroying_a_point_keeps_what_an_older_one_needs(void **state)
{
	start();
	ok(world_point(w, &err));
	put_range(0, VOLUME_WRITE, MIB(10), KIB(4));
	power_cut(SIM_CUT_DROP); /* the interval is widened */
	start();
	ok(world_point(w, &err));
	put_range(0, VOLUME_WRITE, MIB(50), KIB(4));
	ok(world_point(w, &err));
	assert_int_equal(worth(0, point(0)), ACCURACY_EXACT);
	ok(vm_point_destroy(w->vm, &point(1)->id, &err));
	w->points[1].destroyed = true;
	assert_int_equal(worth(0, point(2)), ACCURACY_WIDENED);
	assert_int_equal(reported(0, point(2), point(0)), REGION_BLOCKS + 1);
	killed();
	start();
	assert_int_equal(reported(0, point(2), point(0)), REGION_BLOCKS + 1);
	world_check(w);
}

static void an_interval_between_points_does_not_hold_later_writes(void **state)
{
	start();
	ok(world_point(w, &err));
	put_range(0, VOLUME_WRITE, MIB(10), KIB(4));
	ok(world_point(w, &err));
	put_range(0, VOLUME_WRITE, MIB(50), KIB(4));
	assert_int_equal(reported(0, point(1), point(0)), 1);
	assert_int_equal(reported(0, point(1), NULL), 2);
	assert_int_equal(reported(0, point(0), point(0)), 0);
	assert_int_equal(vm_changes(w->vm, 0, &point(0)->id, &point(1)->id,
				    &(struct vm_changes){0}, &err),
			 -RP_EPARAM);
}

static void discard_and_write_zeroes_are_changes(void **state)
{
	start();
	put_range(0, VOLUME_WRITE, MIB(50), KIB(16));
	put_range(0, VOLUME_WRITE, MIB(70), KIB(16));
	ok(world_point(w, &err));
	put_range(0, VOLUME_ZERO, MIB(50), KIB(8));
	assert_int_equal(reported(0, point(0), NULL), 2);
	put_range(0, VOLUME_DISCARD, MIB(70) + KIB(8), KIB(8));
	assert_int_equal(reported(0, point(0), NULL), 4);
	put_range(0, VOLUME_DISCARD, MIB(16), MIB(20)); /* pieces */
	assert_int_equal(reported(0, point(0), NULL), 4 + MIB(20) / 4096);
	world_check(w);
	power_cut(SIM_CUT_TORN);
	world_recover(w);
}

static void a_write_that_fails_is_a_change(void **state)
{
	start();
	ok(world_point(w, &err));
	sim_fail(w->sim, SIM_IO_WRITE, 1, EIO, false, "image0");
	put_range(0, VOLUME_WRITE, MIB(50), KIB(16));
	assert_int_equal(sim_failed(w->sim), 1);
	assert_int_equal(reported(0, point(0), NULL), 4);
	world_check(w);
}

/* ---- others ----------------------------------------------------------- */

static void poked(uint32_t disk)
{
	sim_advance(w->sim, INT64_C(2000000000));
	world_poke(w, disk);
	start();
	assert_int_equal(worth(disk, point(0)), ACCURACY_INVALID);
	assert_int_equal(worth(disk ^ 1, point(0)), ACCURACY_EXACT);
	world_check(w);
	/* A new point is a new beginning. */
	ok(world_point(w, &err));
	assert_int_equal(worth(disk, point(0)), ACCURACY_EXACT);
	world_check(w);
}

static void a_foreign_write_after_a_clean_stop_invalidates(void **state)
{
	start();
	ok(world_point(w, &err));
	put_range(0, VOLUME_WRITE, MIB(50), KIB(16));
	stop();
	poked(1);
}

static void a_foreign_write_after_a_kill_invalidates(void **state)
{
	start();
	ok(world_point(w, &err));
	put_range(0, VOLUME_WRITE, MIB(50), KIB(16));
	killed();
	poked(0);
}

static void a_foreign_write_after_a_power_cut_invalidates(void **state)
{
	start();
	ok(world_point(w, &err));
	put_range(0, VOLUME_WRITE, MIB(50), KIB(16));
	cool();
	ok(world_point(w, &err));
	cool();
	power_cut(SIM_CUT_KEEP);
	poked(0);
}

static void
a_foreign_write_that_puts_the_times_back_is_told_by_ctime(void **state)
{
	struct disk_row row = {.stamped = true, .bytes = 4096};
	struct judge_facts facts = {.end = JUDGE_CLEAN};
	struct accuracy_row worth_row = {0};
	struct image_stamp now;

	row.stamp.bytes = 4096;
	row.stamp.mtime_ns = row.stamp.ctime_ns = 1000;
	now = row.stamp;
	now.ctime_ns = 2000; /* nobody sets that one */
	judge_image(&row, &now, &facts, &worth_row);
	assert_int_equal(worth_row.accuracy, ACCURACY_INVALID);
}

struct copied {
	struct fs *from, *to;
};

static int copy_file(void *arg, const char *name)
{
	static uint8_t buf[MIB(8)];
	struct copied *c = arg;
	struct file *from, *to;
	int64_t n;

	ok(fs_open(c->from, name, FILE_READ, &from, &err));
	ok(fs_open(c->to, name, FILE_WRITE | FILE_CREATE, &to, &err));
	n = file_read(from, buf, sizeof(buf), 0, &err);
	assert_true(n >= 0 && n < (int64_t)sizeof(buf));
	ok(to->ops->truncate(to, 0, &err));
	ok(file_write(to, buf, (uint64_t)n, 0, &err));
	ok(file_sync(to, &err));
	file_close(from);
	file_close(to);
	return 0;
}

static int remove_file(void *arg, const char *name)
{
	(void)snprintf(arg, 96, "%s", name);
	return 1;
}

static void copy_store(const char *from, const char *to)
{
	struct copied c = {sim_fs(w->sim, from, false),
			   sim_fs(w->sim, to, false)};
	char name[96];

	while (c.to->ops->list(c.to, remove_file, name, &err) > 0)
		ok(c.to->ops->unlink(c.to, name, &err));
	ok(c.from->ops->list(c.from, copy_file, &c, &err));
	ok(c.to->ops->sync_dir(c.to, &err));
	c.from->ops->free(c.from);
	c.to->ops->free(c.to);
}

static void a_store_that_was_put_back_is_told_by_the_nonce(void **state)
{
	start();
	ok(world_point(w, &err));
	stop();
	copy_store("store", "copy");
	start();
	put_range(0, VOLUME_WRITE, MIB(50), KIB(16));
	put_range(1, VOLUME_WRITE, MIB(20), KIB(16));
	stop();
	copy_store("copy", "store");
	doubt_all();
	start();
	for (uint32_t d = 0; d < WORLD_DISKS; d++) {
		struct vm_changes changes = answer(d, point(0), NULL);

		assert_int_equal(changes.accuracy.accuracy, ACCURACY_INVALID);
		assert_non_null(strstr(changes.accuracy.reason, "nonce"));
		blockset_free(changes.set);
	}
	world_check(w);
}

static int remove_live(void *arg, uint32_t disk, uint64_t generation)
{
	ok(live_unlink(arg, disk, generation, &err));
	return 1;
}

static void live_bitmaps_that_vanish_without_a_power_cut_invalidate(void **s)
{
	struct fs *memory;

	start();
	ok(world_point(w, &err));
	put_range(0, VOLUME_WRITE, MIB(50), KIB(16));
	put_range(1, VOLUME_WRITE, MIB(20), KIB(16));
	killed();
	memory = sim_fs(w->sim, "memory", true);
	while (live_list(memory, remove_live, memory, &err) > 0)
		;
	memory->ops->free(memory);
	doubt_all();
	start();
	assert_int_equal(worth(0, point(0)), ACCURACY_INVALID);
	assert_int_equal(worth(1, point(0)), ACCURACY_INVALID);
	world_check(w);
}

/* ---- giving way, and failing ------------------------------------------ */

static void tracking_that_gave_way_says_so_until_the_next_point(void **state)
{
	char reason[REASON_BYTES];

	start();
	ok(world_point(w, &err));
	sim_fail(w->sim, SIM_SYNC, 1, EIO, false, "intents");
	put_range(0, VOLUME_WRITE, MIB(50), KIB(16)); /* it went on */
	assert_true(vm_latched(w->vm, reason));
	assert_true(reason[0] != '\0');
	assert_int_equal(world_point(w, &err), -RP_ELATCHED);
	doubt_all();
	killed();
	start();
	assert_false(vm_latched(w->vm, reason));
	assert_int_equal(worth(0, point(0)), ACCURACY_INVALID);
	stop();
	start(); /* it does not wear off */
	assert_int_equal(worth(0, point(0)), ACCURACY_INVALID);
	power_cut(SIM_CUT_DROP);
	start();
	assert_int_equal(worth(0, point(0)), ACCURACY_INVALID);
	ok(world_point(w, &err));
	assert_int_equal(worth(0, point(0)), ACCURACY_EXACT);
	world_check(w);
}

static void a_seal_without_room_fails_and_the_next_is_exact(void **state)
{
	start();
	ok(world_point(w, &err));
	put_range(0, VOLUME_WRITE, MIB(50), KIB(16));
	sim_fail(w->sim, SIM_CREATE | SIM_WRITE | SIM_ALLOCATE, 1, ENOSPC, true,
		 "gen-*");
	assert_true(world_point(w, &err) < 0);
	assert_int_equal(err_errno(err.code), ENOSPC);
	put_range(0, VOLUME_WRITE, MIB(90), KIB(16)); /* the guest goes on */
	sim_fail_none(w->sim);
	ok(world_point(w, &err));
	assert_int_equal(reported(0, point(1), point(0)), 8);
	assert_int_equal(reported(0, point(0), NULL), 0);
	world_check(w);
}

static int count_point(void *arg, const struct point_row *row)
{
	++*(unsigned *)arg;
	return 0;
}

static void look(void *arg, const struct sim_event *event)
{
	unsigned n = 0;

	(void)vm_points(w->vm, count_point, &n, NULL);
	assert_int_equal(n, 1);
}

static void a_point_that_failed_cannot_be_seen(void **state)
{
	unsigned n = 0;

	start();
	ok(world_point(w, &err));
	put_range(0, VOLUME_WRITE, MIB(50), KIB(16));
	sim_on_op(w->sim, look, NULL); /* at every operation of the seal */
	sim_fail(w->sim, SIM_SYNC, 1, ENOSPC, false, "gen-*");
	assert_true(world_point(w, &err) < 0);
	sim_on_op(w->sim, NULL, NULL);
	killed();
	start();
	(void)vm_points(w->vm, count_point, &n, NULL);
	assert_int_equal(n, 1);
	world_check(w);
}

/* ---- costs ------------------------------------------------------------ */

static void
a_second_write_of_a_block_costs_no_operation_of_the_store(void **state)
{
	uint64_t ops;

	start();
	put_range(0, VOLUME_WRITE, MIB(50), KIB(16));
	cool();
	ops = sim_ops(w->sim);
	assert_true(world_submit(w, 0, VOLUME_WRITE, MIB(50), KIB(16)));
	assert_int_equal(sim_ioq_pending(w->sim), 1);
	sim_ioq_complete_all(w->sim);
	assert_int_equal(sim_ops(w->sim), ops + 1); /* the write itself */
}

static void hot_regions_stay_within_the_limit(void **state)
{
	struct vm_disk_status status;

	start();
	for (unsigned i = 0; i < 10; i++) {
		put_range(0, VOLUME_WRITE, MIB(16) * i, KIB(4));
		ok(vm_disk_status(w->vm, 0, &status, &err));
		assert_true(status.hot_regions <= 4);
		assert_int_equal(status.hot_regions_max, 4);
		assert_int_equal(status.worst_widening_bytes,
				 status.hot_regions * (uint64_t)REGION_BYTES);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, scene_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_write_waits_until_its_mark_is_durable),
	    TEST(a_second_writer_does_not_trust_a_mark_that_is_not_durable),
	    TEST(
		the_open_interval_survives_a_power_cut_in_cold_and_in_hot_regions),
	    TEST(the_open_interval_survives_a_kill_exactly),
	    TEST(nothing_but_the_guest_writes_to_an_image),
	    TEST(growth_past_128_gib_is_a_change_and_writes_there_are_tracked),
	    TEST(a_foreign_write_before_a_resize_is_noticed),
	    TEST(a_damaged_sealed_generation_makes_answers_invalid),
	    TEST(a_point_waits_for_the_older_writes_in_flight),
	    TEST(a_point_waits_for_writes_that_an_undone_point_left_in_flight),
	    TEST(a_start_cut_short_after_an_undone_point_costs_nothing),
	    TEST(a_write_after_the_cut_is_not_in_the_older_interval),
	    TEST(
		a_write_of_one_sector_marks_its_block_and_one_across_marks_both),
	    TEST(the_last_block_of_an_odd_disk_is_tracked),
	    TEST(
		a_block_changed_in_two_intervals_is_reported_in_both_and_merged),
	    TEST(destroying_a_point_keeps_what_an_older_one_needs),
	    TEST(an_interval_between_points_does_not_hold_later_writes),
	    TEST(discard_and_write_zeroes_are_changes),
	    TEST(a_write_that_fails_is_a_change),
	    TEST(a_foreign_write_after_a_clean_stop_invalidates),
	    TEST(a_foreign_write_after_a_kill_invalidates),
	    TEST(a_foreign_write_after_a_power_cut_invalidates),
	    TEST(a_foreign_write_that_puts_the_times_back_is_told_by_ctime),
	    TEST(a_store_that_was_put_back_is_told_by_the_nonce),
	    TEST(live_bitmaps_that_vanish_without_a_power_cut_invalidate),
	    TEST(tracking_that_gave_way_says_so_until_the_next_point),
	    TEST(a_seal_without_room_fails_and_the_next_is_exact),
	    TEST(a_point_that_failed_cannot_be_seen),
	    TEST(a_second_write_of_a_block_costs_no_operation_of_the_store),
	    TEST(hot_regions_stay_within_the_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
