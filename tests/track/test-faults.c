/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Failing stores.  On the simulator: every operation of everything that can be
 * asked fails once, or for ever, with EIO or ENOSPC; no success is false, no
 * point is lost, and the guest goes on.  Then what a store may look like that
 * somebody else had in hands, and, on the real system, a store that hangs.
 *
 *   test-faults [PATTERN of tests]   FULL=1: sweep everything
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/bytes.h"
#include "rig.h"
#include "store/files.h"
#include "track/internal.h"
#include "world.h"

#define STORE_OPS                                                              \
	(SIM_READ | SIM_WRITE | SIM_SYNC | SIM_TRUNCATE | SIM_ALLOCATE |       \
	 SIM_CREATE | SIM_RENAME | SIM_UNLINK | SIM_SYNC_DIR | SIM_MAP |       \
	 SIM_OPEN)

static struct world *w;
static struct err err;

static void ok(int r)
{
	if (r < 0)
		fail_msg("%s", err.text);
}

static void put(uint32_t disk, uint64_t offset)
{
	assert_true(world_submit(w, disk, VOLUME_WRITE, offset, KIB(8)));
	world_settle(w); /* aborts if it does not complete */
}

static void doubt_all(void)
{
	world_doubt(w, 0);
	world_doubt(w, 1);
}

/* ---- the sweep -------------------------------------------------------- */

enum before {
	NOTHING, /* not even defined */
	CLEAN,
	KILLED,
	CUT,
	UP,
};

struct action {
	const char *name;
	enum before before;
	int (*run)(void);
};

static int define(void)
{
	return world_define(w, &err);
}

static int attach(void)
{
	return world_start(w, VM_ATTACH_WRITE, &err);
}

static int seal(void)
{
	return world_point(w, &err);
}

static int destroy(void)
{
	return world_destroy(w, &err);
}

static int detach(void)
{
	return world_detach(w, &err);
}

static const struct action actions[] = {
    {"define", NOTHING, define},
    {"attach after a clean stop", CLEAN, attach},
    {"attach after a kill", KILLED, attach},
    {"attach after a power cut", CUT, attach},
    {"create a point", UP, seal},
    {"destroy a point", UP, destroy},
    {"detach", UP, detach},
};

static void end(enum before how)
{
	if (how == CLEAN) {
		ok(world_detach(w, &err));
		world_stop(w);
		return;
	}
	if (how == KILLED)
		sim_kill(w->sim);
	else
		sim_power_cut(w->sim, SIM_CUT_RANDOM);
	world_stop(w);
	sim_land(w->sim);
	sim_reboot(w->sim);
}

static void prepare(enum before before)
{
	if (before == NOTHING)
		return;
	ok(world_define(w, &err));
	ok(attach());
	put(0, MIB(3));
	ok(seal());
	put(0, MIB(3));
	put(1, MIB(20));
	ok(seal());
	put(0, MIB(90));
	ok(seal());
	put(0, MIB(70));
	if (before != UP)
		end(before);
}

/* One that cannot be read may say that tracking gave way. */
static void excuse_tombstone(void)
{
	struct vm_disk_status status;

	ok(vm_disk_status(w->vm, 0, &status, &err));
	if (strstr(status.accuracy.reason, "tombstone"))
		doubt_all();
}

/* Brings it up without failures after whatever happened. */
static void aftermath(const struct action *a, int r, uint64_t n)
{
	char reason[REASON_BYTES];

	if (w->vm && vm_attached(w->vm)) {
		/* The guest goes on, to hot and to cold regions. */
		put(0, MIB(3) + KIB(64));
		put(0, MIB(130));
		if (vm_latched(w->vm, reason))
			doubt_all();
	}
	if (a->run == attach && r == 0)
		excuse_tombstone();
	if (a->run == detach && r < 0)
		doubt_all();
	sim_fail_none(w->sim);
	if (a->before == NOTHING) {
		r = world_define(w, &err);
		assert_true(r == 0 || r == -RP_EALREADY);
	}
	if (w->vm && vm_attached(w->vm))
		end(n % 2 ? KILLED : CUT);
	else
		world_stop(w);
	ok(attach());
	world_check(w);
	put(0, MIB(3));
	ok(seal());
	end(CLEAN);
	ok(attach());
	world_check(w);
	end(CLEAN);
}

/* True if the failure was met. */
static bool fail_at(const struct action *a, uint64_t n, int error, bool sticky)
{
	bool met;
	int r;

	w = world_new(n, 4);
	w->check_order = false;
	prepare(a->before);
	sim_fail(w->sim, STORE_OPS, (unsigned)n, error, sticky, NULL);
	r = a->run();
	met = sim_failed(w->sim) > 0;
	if (!met && r < 0)
		fail_msg("%s: %s", a->name, err.text);
	/* An image's failing sync: what the page cache had is dropped. */
	if (w->vm && vm_attached(w->vm) && atomic_load(&w->vm->sync_failed))
		n |= 1;
	aftermath(a, r, sticky ? 1 : n); /* with a tombstone lost as well a
					    power cut is the double fault */
	w = world_free(w);
	return met;
}

static void no_failure_of_an_operation_is_taken_for_success(void **state)
{
	static const int errors[] = {EIO, ENOSPC};

	for (size_t i = 0; i < ARRAY_SIZE(actions); i++)
		for (unsigned k = 0; k < 4; k++) {
			/* EIO once at every operation; the others at some,
			 * not the same for each action. */
			uint64_t step = k == 0 || getenv("FULL") ? 1 : 4;
			uint64_t n = 1 + i % step;

			while (fail_at(&actions[i], n, errors[k % 2], k / 2))
				n += step;
			assert_true(n > 3);
		}
}

/* ---- running out ------------------------------------------------------ */

static int set_up(void **state)
{
	memset(&err, 0, sizeof(err));
	w = world_new(1, 4);
	return world_define(w, &err);
}

static int tear_down(void **state)
{
	if (w->vm && !sim_dead(w->sim))
		sim_kill(w->sim);
	w = world_free(w);
	return 0;
}

static void without_room_for_live_bitmaps_nothing_is_attached(void **state)
{
	int r;

	ok(attach());
	put(0, MIB(3));
	ok(seal());
	put(0, MIB(3));
	end(CLEAN);
	sim_limit(w->sim, "memory", KIB(8));
	r = attach();
	assert_true(r < 0);
	assert_int_equal(err_errno(r), ENOSPC);
	world_stop(w);
	sim_limit(w->sim, "memory", UINT64_MAX);
	ok(attach());
	world_check(w);
}

static void without_room_for_a_second_live_bitmap_no_point_is_made(void **state)
{
	char reason[REASON_BYTES];
	int r;

	ok(attach());
	put(0, MIB(3));
	ok(seal());
	put(0, MIB(30));
	sim_limit(w->sim, "memory", KIB(8)); /* what is there stays */
	r = seal();
	assert_true(r < 0);
	assert_int_equal(err_errno(r), ENOSPC);
	assert_false(vm_latched(w->vm, reason));
	put(0, MIB(60));
	sim_limit(w->sim, "memory", UINT64_MAX);
	ok(seal());
	world_check(w);
}

/* ---- damage ----------------------------------------------------------- */

static void overwrite(struct fs *fs, const char *name, uint64_t offset,
		      uint64_t bytes, uint8_t with)
{
	struct file *file;
	uint8_t *buf = malloc(bytes);

	memset(buf, with, bytes);
	ok(fs_open(fs, name, FILE_WRITE, &file, &err));
	ok(file_write(file, buf, bytes, offset, &err));
	ok(file_sync(file, &err));
	file_close(file);
	free(buf);
}

static void damage(const char *name)
{
	struct fs *fs = sim_fs(w->sim, "store", false);
	struct file *file;
	uint64_t bytes;

	ok(fs_open(fs, name, FILE_READ, &file, &err));
	ok(file->ops->size(file, &bytes, &err));
	file_close(file);
	overwrite(fs, name, 0, bytes, 0xa5);
	fs->ops->free(fs);
}

static void worth_is(uint32_t disk, enum accuracy accuracy)
{
	struct vm_disk_status status;

	ok(vm_disk_status(w->vm, disk, &status, &err));
	assert_int_equal(status.accuracy.accuracy, accuracy);
	assert_int_equal(accuracy == ACCURACY_EXACT,
			 status.accuracy.reason[0] == '\0');
}

static void two_points_and(enum before how)
{
	ok(attach());
	put(0, MIB(3));
	put(1, MIB(3));
	ok(seal());
	put(0, MIB(30));
	put(1, MIB(30));
	end(how);
}

static void damaged_pages_invalidate_their_disk_and_it_is_served(void **state)
{
	static const char *const names[] = {"pages.0.0", "pages.0.1"};
	static const enum before hows[] = {CLEAN, CUT};

	for (size_t h = 0; h < ARRAY_SIZE(hows); h++) {
		two_points_and(hows[h]);
		for (size_t i = 0; i < ARRAY_SIZE(names); i++)
			damage(names[i]);
		world_doubt(w, 0);
		ok(attach());
		worth_is(0, ACCURACY_INVALID);
		worth_is(1, h == 0 ? ACCURACY_EXACT : ACCURACY_WIDENED);
		put(0, MIB(60));
		world_check(w);
		ok(seal());
		worth_is(0, ACCURACY_EXACT);
		end(CLEAN);
	}
}

static void damage_is_not_forgotten_when_the_start_is_cut_short(void **state)
{
	for (unsigned mode = 0; mode < 2 * (SIM_CUTS + 1); mode++)
		for (uint64_t at = 1;; at++) {
			bool died;

			two_points_and(mode % 2 ? CUT : CLEAN);
			damage("pages.0.0");
			damage("pages.0.1");
			world_doubt(w, 0);
			sim_die_at(w->sim, sim_ops(w->sim) + at,
				   mode / 2 == SIM_CUTS ? SIM_KILL : SIM_CUT,
				   (enum sim_cut)(mode / 2 % SIM_CUTS));
			(void)attach();
			died = sim_dead(w->sim);
			if (!died)
				sim_kill(w->sim);
			world_stop(w);
			sim_reboot(w->sim);
			ok(attach());
			worth_is(0, ACCURACY_INVALID);
			world_check(w);
			end(CLEAN);
			w = world_free(w);
			w = world_new(at, 4);
			ok(world_define(w, &err));
			if (!died)
				break;
		}
}

static void damaged_intents_invalidate_after_a_cut(void **state)
{
	two_points_and(CUT);
	damage("intents");
	doubt_all();
	ok(attach());
	worth_is(0, ACCURACY_INVALID);
	worth_is(1, ACCURACY_INVALID);
	put(0, MIB(60));
	world_check(w);
	ok(seal());
	worth_is(0, ACCURACY_EXACT);
	end(CLEAN);
}

static void damaged_intents_cost_nothing_after_a_clean_stop(void **state)
{
	two_points_and(CLEAN);
	damage("intents");
	ok(attach());
	worth_is(0, ACCURACY_EXACT);
	put(0, MIB(60));
	world_check(w);
}

static void a_damaged_tombstone_keeps_nobody_from_his_disk(void **state)
{
	two_points_and(CLEAN);
	damage("tombstone");
	ok(attach());
	put(0, MIB(60));
	world_check(w);
}

/* Any byte of the catalogue: it is refused, or what it says is right. */
static void a_catalogue_with_a_flipped_bit_is_refused(void **state)
{
	struct fs *fs;
	struct file *file;
	uint64_t bytes, refused = 0, tried = 0;
	uint8_t *good;

	two_points_and(CLEAN);
	fs = sim_fs(w->sim, "store", false);
	ok(fs_open(fs, CATALOGUE_NAME, FILE_READ, &file, &err));
	ok(file->ops->size(file, &bytes, &err));
	good = malloc(bytes);
	assert_int_equal(file_read(file, good, bytes, 0, &err), bytes);
	file_close(file);
	for (uint64_t at = 0; at < bytes; at += 61) {
		int r;

		overwrite(fs, CATALOGUE_NAME, at, 1, good[at] ^ 0x08);
		r = world_open(w, &err);
		tried++;
		refused += r < 0;
		if (r == 0) {
			struct point_row row;

			assert_int_equal(vm_point_count(w->vm), 1);
			ok(vm_point_find(w->vm, &w->points[0].id, &row, &err));
			assert_int_equal(vm_disk(w->vm, 0)->bytes, w->bytes[0]);
		}
		world_stop(w);
		ok(fs_open(fs, CATALOGUE_NAME, FILE_WRITE, &file, &err));
		ok(file->ops->truncate(file, 0, &err));
		ok(file_write(file, good, bytes, 0, &err));
		file_close(file);
	}
	printf("%llu of %llu refused\n", (unsigned long long)refused,
	       (unsigned long long)tried);
	assert_true(refused > 0);
	free(good);
	fs->ops->free(fs);
	ok(attach());
	world_check(w);
}

static void a_store_that_cannot_be_read_again_answers_every_call(void **state)
{
	struct vm_disk_status status;
	struct vm_changes changes;
	struct guid id;
	uint64_t bytes;

	ok(attach());
	put(0, MIB(3));
	ok(seal());
	id = w->points[0].id;
	sim_fail(w->sim, SIM_SYNC, 1, EIO, true, "catalogue*");
	assert_true(seal() < 0);
	doubt_all();
	assert_true(detach() < 0);
	sim_fail(w->sim, SIM_OPEN | SIM_READ, 1, EIO, true, "catalogue*");
	assert_true(vm_attach(w->vm, w->images, w->geometry, VM_ATTACH_WRITE,
			      &err) < 0);
	assert_true(vm_disk_status(w->vm, 0, &status, &err) < 0);
	assert_true(vm_changes(w->vm, 0, &id, NULL, &changes, &err) < 0);
	assert_true(vm_check(w->vm, NULL, NULL, &bytes, &err) < 0);
	assert_true(vm_point_destroy(w->vm, &id, &err) < 0);
	assert_true(vm_grow_begin(w->vm, 0, GIB(1), &err) < 0);
	assert_int_equal(vm_point_count(w->vm), 0);
	sim_fail_none(w->sim);
	sim_kill(w->sim);
	world_stop(w);
	sim_reboot(w->sim);
	world_recover(w);
}

/* ---- somebody else's -------------------------------------------------- */

static void a_store_of_another_version_is_refused(void **state)
{
	struct rig *rig = rig_new(NULL, MIB(64));
	char path[320];
	sqlite3 *db;

	ok(rig_define(rig, &err));
	(void)snprintf(path, sizeof(path), "%s/store/%s", rig->base,
		       CATALOGUE_NAME);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "PRAGMA user_version=77", NULL, NULL,
				      NULL),
			 SQLITE_OK);
	sqlite3_close(db);
	assert_int_equal(rig_start(rig, NULL, &err), -RP_EVERSION);
	rig_free(rig);
}

static void a_store_of_another_machine_is_refused(void **state)
{
	struct rig *rig = rig_new(NULL, MIB(64));

	ok(rig_define(rig, &err));
	rig->machine = 1;
	assert_int_equal(rig_start(rig, NULL, &err), -RP_EFOREIGN);
	rig->machine = 0;
	ok(rig_start(rig, NULL, &err));
	ok(rig_stop(rig, &err));
	rig_free(rig);
}

/* ---- hanging ---------------------------------------------------------- */

static bool buried(struct fs *fs, struct rig *rig)
{
	const struct system_row *system = vm_system(rig->vm);
	struct tombstone tombstone;
	struct file *file;
	bool found;

	ok(fs_open(fs, "tombstone", FILE_READ, &file, &err));
	found = tombstone_read(file, &system->store, &system->live_id,
			       &tombstone, &err) == 0;
	file_close(file);
	return found;
}

/* What RULE says, and all writes if EVERYTHING, hang. */
static void hang(const char *rule, bool everything)
{
	struct rig *rig = rig_new(NULL, MIB(256));
	struct vm_changes changes;
	char stuck[300], text[900];
	struct guid id;
	uint64_t began;
	int fd;

	(void)snprintf(stuck, sizeof(stuck), "%s/stuck", rig->base);
	(void)snprintf(text, sizeof(text), "%s:hang=%s%s%s", rule, stuck,
		       everything ? ";write:hang=" : "",
		       everything ? stuck : "");
	ok(rig_define(rig, &err));
	ok(rig_start(rig, text, &err));
	assert_int_equal(rig_do(rig, VOLUME_WRITE, 0, 4096), 0);
	ok(rig_point(rig, &id, &err));
	fd = open(stuck, O_CREAT | O_CLOEXEC | O_RDWR, 0600);
	assert_true(fd >= 0);
	(void)close(fd);
	began = rig_now_ns();
	assert_int_equal(rig_do(rig, VOLUME_WRITE, MIB(100), 4096), 0);
	printf("the guest waited %llu ms\n",
	       (unsigned long long)(rig_now_ns() - began) / 1000000);
	assert_true(rig_now_ns() - began < UINT64_C(5000000000));
	assert_true(buried(rig->outside, rig) ||
		    (!everything && buried(rig->store, rig)));
	assert_int_equal(unlink(stuck), 0);
	ok(rig_stop(rig, &err));
	ok(rig_start(rig, NULL, &err));
	changes = rig_changes(rig, &id);
	assert_int_equal(changes.accuracy.accuracy, ACCURACY_INVALID);
	assert_true(blockset_has(changes.set, MIB(100) / 4096));
	blockset_free(changes.set);
	ok(rig_stop(rig, &err));
	rig_free(rig);
}

static void a_store_whose_intents_hang_gives_way_within_5_s(void **state)
{
	hang("sync:name=intents", false);
}

static void a_store_that_hangs_all_over_gives_way_within_5_s(void **state)
{
	hang("sync", true);
}

static void *make_point(void *arg)
{
	static struct guid id;

	return rig_point(arg, &id, &err) == 0 ? arg : NULL;
}

static void a_seal_that_hangs_does_not_hold_the_guest(void **state)
{
	struct rig *rig = rig_new(NULL, MIB(256));
	char stuck[300], text[900];
	struct vm_changes changes;
	struct rig_request r;
	pthread_t thread;
	struct guid id;
	void *made;
	int fd;

	(void)snprintf(stuck, sizeof(stuck), "%s/stuck", rig->base);
	(void)snprintf(text, sizeof(text), "write:name=gen-*:hang=%s", stuck);
	ok(rig_define(rig, &err));
	ok(rig_start(rig, text, &err));
	ok(rig_point(rig, &id, &err));
	assert_int_equal(rig_do(rig, VOLUME_WRITE, 0, 4096), 0);
	fd = open(stuck, O_CREAT | O_CLOEXEC | O_RDWR, 0600);
	assert_true(fd >= 0);
	(void)close(fd);
	assert_int_equal(pthread_create(&thread, NULL, make_point, rig), 0);
	while (faults_hits(rig->faults, 0) == 0)
		(void)usleep(1000);
	for (unsigned i = 0; i < 15; i++) {
		rig_submit(rig, &r, VOLUME_WRITE, MIB(16) * i, 4096);
		assert_int_equal(rig_wait(&r, 2000), 0);
		rig_request_done(&r);
	}
	assert_int_equal(unlink(stuck), 0);
	(void)pthread_join(thread, &made);
	assert_non_null(made);
	changes = rig_changes(rig, &id);
	assert_int_equal(changes.accuracy.accuracy, ACCURACY_EXACT);
	assert_int_equal(blockset_count(changes.set), 15);
	blockset_free(changes.set);
	ok(rig_stop(rig, &err));
	rig_free(rig);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(no_failure_of_an_operation_is_taken_for_success),
	    TEST(without_room_for_live_bitmaps_nothing_is_attached),
	    TEST(without_room_for_a_second_live_bitmap_no_point_is_made),
	    TEST(damaged_pages_invalidate_their_disk_and_it_is_served),
	    TEST(damage_is_not_forgotten_when_the_start_is_cut_short),
	    TEST(damaged_intents_invalidate_after_a_cut),
	    TEST(damaged_intents_cost_nothing_after_a_clean_stop),
	    TEST(a_damaged_tombstone_keeps_nobody_from_his_disk),
	    TEST(a_catalogue_with_a_flipped_bit_is_refused),
	    TEST(a_store_that_cannot_be_read_again_answers_every_call),
	    cmocka_unit_test(a_store_of_another_version_is_refused),
	    cmocka_unit_test(a_store_of_another_machine_is_refused),
	    cmocka_unit_test(a_store_whose_intents_hang_gives_way_within_5_s),
	    cmocka_unit_test(a_store_that_hangs_all_over_gives_way_within_5_s),
	    cmocka_unit_test(a_seal_that_hangs_does_not_hold_the_guest),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
