/* SPDX-License-Identifier: Apache-2.0 */
/* Tombstone, sealed generations and live bitmaps, under cuts and damage. */
#include "scene.h"

#include <stdatomic.h>

#define SEEDS 16u

/* ---- tombstone --------------------------------------------------------- */

static struct file *tombstone_file(struct scene *s)
{
	struct file *file;

	assert_int_equal(fs_open(s->fs, "tombstone", FILE_WRITE, &file, NULL),
			 0);
	return file;
}

static void tombstone_world(struct scene *s, uint64_t seed)
{
	scene_open(s, sim_new(first_seed + seed));
	assert_int_equal(tombstone_create(s->fs, NULL), 0);
	assert_int_equal(s->fs->ops->sync_dir(s->fs, NULL), 0);
}

static const struct tombstone first = {{{0x11}}, {{0xa1}}, 1, "first"};
static const struct tombstone second = {{{0x11}}, {{0xa1}}, 2, "second"};

/* What the file says now: 0 nothing, or the time in it. */
static int64_t tombstone_now(struct scene *s)
{
	struct file *file = tombstone_file(s);
	struct tombstone is = {.time_ns = 99};
	struct err err = {0};
	int r = tombstone_read(file, &store_id, &live_a, &is, &err);

	file_close(file);
	if (r < 0 && r != -ENODATA)
		fail_msg("%s", err.text);
	if (r == 0)
		assert_string_equal(is.reason,
				    is.time_ns == 1 ? "first" : "second");
	return r == 0 ? is.time_ns : 0;
}

/* Three changes with a cut at operation N: what was acknowledged holds, and
 * nothing but what comes next may be there. */
static bool cut_tombstone_at(uint64_t seed, uint64_t n)
{
	struct scene s;
	struct file *file;
	int64_t done = 0, next, now;
	bool died;

	tombstone_world(&s, seed);
	file = tombstone_file(&s);
	sim_die_at(s.sim, sim_ops(s.sim) + n, SIM_CUT,
		   (enum sim_cut)(seed % SIM_CUTS));
	next = 1;
	if (tombstone_write(file, &first, NULL) == 0) {
		done = 1;
		next = 2;
		if (tombstone_write(file, &second, NULL) == 0) {
			done = 2;
			next = 0;
			if (tombstone_clear(file, NULL) == 0)
				done = 0;
		}
	}
	file_close(file);
	died = sim_dead(s.sim);
	if (!died)
		sim_power_cut(s.sim, SIM_CUT_DROP);
	scene_reboot(&s);
	now = tombstone_now(&s);
	assert_true(now == done || (died && now == next));
	scene_end(&s);
	return died;
}

static void a_cut_leaves_the_old_tombstone_or_the_new(void **state)
{
	unsigned cuts = 0;

	for (uint64_t seed = 0; seed < SEEDS; seed++)
		for (uint64_t n = 1; cut_tombstone_at(seed, n); n++)
			cuts++;
	assert_int_equal(cuts, SEEDS * 6);
}

static void a_tombstone_of_another_store_or_life_is_none(void **state)
{
	struct tombstone is = {.time_ns = 99};
	struct file *file;
	struct scene s;

	tombstone_world(&s, 0);
	file = tombstone_file(&s);
	assert_int_equal(tombstone_read(file, &store_id, &live_a, &is, NULL),
			 -ENODATA);
	assert_int_equal(tombstone_write(file, &first, NULL), 0);
	assert_int_equal(tombstone_read(file, &other_id, &live_a, &is, NULL),
			 -ENODATA);
	assert_int_equal(tombstone_read(file, &store_id, &live_b, &is, NULL),
			 -ENODATA);
	assert_int_equal(is.time_ns, 99);
	assert_int_equal(tombstone_read(file, &store_id, &live_a, &is, NULL),
			 0);
	file_close(file);
	scene_end(&s);
}

static void a_damaged_or_cut_tombstone_is_damage(void **state)
{
	struct tombstone is;
	struct err err = {0};
	struct file *file;
	struct scene s;

	tombstone_world(&s, 0);
	file = tombstone_file(&s);
	assert_int_equal(tombstone_write(file, &first, NULL), 0);
	scene_poke(&s, "tombstone", "\xee", 1, 60);
	expect_error(tombstone_read(file, &store_id, &live_a, &is, &err),
		     -RP_ECORRUPT, &err, "checksum");
	scene_truncate(&s, "tombstone", 100);
	expect_error(tombstone_read(file, &store_id, &live_a, &is, &err),
		     -RP_ECORRUPT, &err, "ends at 100");
	file_close(file);
	scene_end(&s);
}

static void a_tombstone_that_was_not_synced_is_not_acknowledged(void **state)
{
	struct file *file;
	struct scene s;

	tombstone_world(&s, 0);
	file = tombstone_file(&s);
	sim_fail(s.sim, SIM_SYNC, 1, EIO, false, NULL);
	assert_int_equal(tombstone_write(file, &first, NULL), -EIO);
	sim_fail(s.sim, SIM_WRITE, 1, ENOSPC, false, NULL);
	assert_int_equal(tombstone_write(file, &first, NULL), -ENOSPC);
	file_close(file);
	scene_end(&s);
}

/* ---- sealed generations -------------------------------------------------- */

static const struct sealed_head head = {{{0x11}}, 7, 2, 2};

/* Two disks with BLOCKS blocks each, far apart. */
static int write_sealed(struct scene *s, unsigned blocks, struct err *err)
{
	struct sealed_disk disks[] = {{0, blockset_new(GIB(10))},
				      {1, blockset_new(GIB(20))}};
	int r;

	for (unsigned i = 0; i < blocks; i++) {
		blockset_add(disks[0].set, i * 977ULL, 1);
		blockset_add(disks[1].set, i * 4099ULL, 3);
	}
	r = sealed_write(s->fs, &head, disks, err);
	blockset_free(disks[0].set);
	blockset_free(disks[1].set);
	return r;
}

static int read_sealed(struct scene *s, unsigned blocks, struct err *err)
{
	struct sealed_disk disks[DISKS_PER_VM_MAX] = {{0}};
	struct sealed_head is;
	int r = sealed_read(s->fs, &store_id, 7, 2, &is, disks, err);

	if (r < 0) {
		assert_null(disks[0].set);
		return r;
	}
	assert_int_equal(is.disks, 2);
	assert_int_equal(blockset_count(disks[0].set), blocks);
	assert_int_equal(blockset_count(disks[1].set), 3 * blocks);
	assert_true(blockset_has(disks[1].set, (blocks - 1) * 4099ULL + 2));
	blockset_free(disks[0].set);
	blockset_free(disks[1].set);
	return 0;
}

/* A cut at operation N of writing; afterwards another attempt, shorter. */
static bool cut_sealed_at(uint64_t seed, uint64_t n)
{
	struct err err = {0};
	struct scene s;
	bool died;
	int r;

	scene_open(&s, sim_new(first_seed + seed));
	sim_die_at(s.sim, n, SIM_CUT, (enum sim_cut)(seed % SIM_CUTS));
	r = write_sealed(&s, 1000, NULL);
	died = sim_dead(s.sim);
	assert_int_equal(r, died ? -RP_EDEAD : 0);
	if (!died)
		sim_power_cut(s.sim, SIM_CUT_DROP);
	scene_reboot(&s);
	r = read_sealed(&s, 1000, &err);
	if (r < 0 && !(died && r == -RP_ECORRUPT))
		fail_msg("%d %s", r, err.text);
	assert_int_equal(write_sealed(&s, 10, NULL), 0);
	assert_int_equal(read_sealed(&s, 10, NULL), 0);
	scene_end(&s);
	return died;
}

static void a_sealed_file_is_whole_once_acknowledged(void **state)
{
	unsigned cuts = 0;

	for (uint64_t seed = 0; seed < SEEDS; seed++)
		for (uint64_t n = 1; cut_sealed_at(seed, n); n++)
			cuts++;
	assert_true(cuts >= SEEDS * 4);
}

static int count_name(void *arg, const char *name)
{
	(*(unsigned *)arg)++;
	return 0;
}

static void a_seal_that_fails_leaves_no_file(void **state)
{
	static const unsigned ops[] = {SIM_CREATE, SIM_WRITE, SIM_SYNC,
				       SIM_SYNC_DIR, SIM_TRUNCATE};

	for (unsigned i = 0; i < ARRAY_SIZE(ops); i++) {
		unsigned names = 0;
		struct scene s;

		scene_open(&s, sim_new(first_seed));
		sim_fail(s.sim, ops[i], 1, EIO, false, NULL);
		assert_int_equal(write_sealed(&s, 10, NULL), -EIO);
		assert_int_equal(
		    s.fs->ops->list(s.fs, count_name, &names, NULL), 0);
		assert_int_equal(names, 0);
		sim_limit(s.sim, "store", 4096);
		assert_int_equal(write_sealed(&s, 1000, NULL), -ENOSPC);
		assert_int_equal(
		    s.fs->ops->list(s.fs, count_name, &names, NULL), 0);
		assert_int_equal(names, 0);
		scene_end(&s);
	}
}

static void refuse_sealed(struct scene *s, const struct guid *store,
			  uint64_t generation, uint32_t serial,
			  const char *says)
{
	struct sealed_disk disks[DISKS_PER_VM_MAX];
	struct sealed_head is;
	struct err err = {0};

	expect_error(sealed_read(s->fs, store, generation, serial, &is, disks,
				 &err),
		     -RP_ECORRUPT, &err, says);
}

static void a_sealed_file_that_is_not_the_one_named_is_damage(void **state)
{
	char name[48], other[48];
	struct scene s;

	scene_open(&s, sim_new(first_seed));
	assert_int_equal(write_sealed(&s, 10, NULL), 0);
	sealed_name(7, 2, name);
	assert_string_equal(name, "gen-0000000000000007-00000002");
	refuse_sealed(&s, &store_id, 7, 3, "is not in");
	refuse_sealed(&s, &other_id, 7, 2, "another store");
	sealed_name(7, 3, other);
	assert_int_equal(s.fs->ops->rename(s.fs, name, other, NULL), 0);
	refuse_sealed(&s, &store_id, 7, 3, "serial 2");
	sealed_name(8, 2, name);
	assert_int_equal(s.fs->ops->rename(s.fs, other, name, NULL), 0);
	refuse_sealed(&s, &store_id, 8, 2, "generation 7");
	scene_truncate(&s, name, 70);
	refuse_sealed(&s, &store_id, 8, 2, "70 bytes, should be");
	scene_truncate(&s, name, 0);
	refuse_sealed(&s, &store_id, 8, 2, "only 0 bytes");
	scene_end(&s);
}

/* ---- live bitmaps ----------------------------------------------------------
 */

static const struct live_head live_head = {{{0x11}}, {{0xa1}}, 5, 3, MIB(40)};

static bool is_clear(const struct live_file *live)
{
	uint64_t any = 0;

	for (uint64_t w = 0; w < live->words; w++)
		any |= live->bits[w];
	return any == 0;
}

static int open_live(struct scene *s, struct live_file *live, struct err *err)
{
	return live_open(s->memory, &store_id, &live_a, 3, 5, live, err);
}

static void a_live_bitmap_outlives_the_process_not_the_power(void **state)
{
	struct live_file live;
	struct scene s;

	scene_open(&s, sim_new(first_seed));
	assert_int_equal(live_create(s.memory, &live_head, &live, NULL), 0);
	assert_int_equal(live.words, 3 * REGION_WORDS);
	assert_true(is_clear(&live));
	atomic_fetch_or(&live.bits[191], 1ULL << 63);
	atomic_store(&live.state->last_submission_ns, 12345);
	live_close(&live);
	sim_kill(s.sim);
	scene_reboot(&s);
	assert_int_equal(open_live(&s, &live, NULL), 0);
	assert_true(live.bits[191] == 1ULL << 63);
	assert_int_equal(live.state->last_submission_ns, 12345);
	assert_int_equal(live.head.bytes, MIB(40));
	live_close(&live);
	sim_power_cut(s.sim, SIM_CUT_KEEP);
	scene_reboot(&s);
	assert_int_equal(open_live(&s, &live, NULL), -ENOENT);
	scene_end(&s);
}

/* A kill at operation N of replacing a live file whose bits are all set. */
static bool kill_live_at(uint64_t seed, uint64_t n)
{
	struct live_file live;
	struct scene s;
	bool died;
	int r;

	scene_open(&s, sim_new(first_seed + seed));
	assert_int_equal(live_create(s.memory, &live_head, &live, NULL), 0);
	for (uint64_t w = 0; w < live.words; w++)
		live.bits[w] = ~0ULL;
	live_close(&live);
	sim_die_at(s.sim, sim_ops(s.sim) + n, SIM_KILL, SIM_CUT_DROP);
	r = live_create(s.memory, &live_head, &live, NULL);
	died = sim_dead(s.sim);
	assert_int_equal(r, died ? -RP_EDEAD : 0);
	if (r == 0)
		live_close(&live);
	sim_kill(s.sim);
	scene_reboot(&s);
	assert_int_equal(open_live(&s, &live, NULL), 0);
	if (!is_clear(&live)) {
		assert_true(died);
		for (uint64_t w = 0; w < live.words; w++)
			assert_true(live.bits[w] == ~0ULL);
	}
	live_close(&live);
	assert_int_equal(live_create(s.memory, &live_head, &live, NULL), 0);
	assert_true(is_clear(&live));
	live_close(&live);
	scene_end(&s);
	return died;
}

static void a_kill_leaves_the_old_live_bitmap_or_the_new(void **state)
{
	unsigned kills = 0;

	for (uint64_t seed = 0; seed < SEEDS; seed++)
		for (uint64_t n = 1; kill_live_at(seed, n); n++)
			kills++;
	assert_true(kills >= SEEDS * 4);
}

static void a_full_tmpfs_refuses_a_live_bitmap_and_keeps_nothing(void **state)
{
	struct live_file live;
	unsigned names = 0;
	struct scene s;

	scene_open(&s, sim_new(first_seed));
	sim_limit(s.sim, "live", 5000);
	assert_int_equal(live_create(s.memory, &live_head, &live, NULL),
			 -ENOSPC);
	assert_int_equal(
	    s.memory->ops->list(s.memory, count_name, &names, NULL), 0);
	assert_int_equal(names, 0);
	scene_end(&s);
}

/* Writes a live file as the next opening should not take it. */
static void refuse_live(struct scene *s, const struct live_head *h,
			int64_t resize, const char *says)
{
	int64_t bytes = (int64_t)live_file_bytes(h->bytes) + resize;
	uint8_t *buf = calloc(1, (size_t)bytes + LIVE_HEAD_BYTES);
	struct err err = {0};
	struct live_file live;
	struct file *file;

	live_encode(h, buf);
	assert_int_equal(fs_open(s->memory, "live-3-0000000000000005",
				 FILE_WRITE | FILE_CREATE, &file, NULL),
			 0);
	assert_int_equal(file->ops->truncate(file, 0, NULL), 0);
	assert_int_equal(file_write(file, buf, (uint64_t)bytes, 0, NULL), 0);
	file_close(file);
	expect_error(open_live(s, &live, &err), -RP_ECORRUPT, &err, says);
	free(buf);
}

static void a_live_bitmap_that_is_not_the_one_wanted_is_damage(void **state)
{
	struct live_head h = live_head;
	struct scene s;

	scene_open(&s, sim_new(first_seed));
	h.store = other_id;
	refuse_live(&s, &h, 0, "another store");
	h = live_head;
	h.live = live_b;
	refuse_live(&s, &h, 0, "another life");
	h = live_head;
	h.disk = 4;
	refuse_live(&s, &h, 0, "another disk");
	h = live_head;
	h.generation = 6;
	refuse_live(&s, &h, 0, "another generation");
	h = live_head;
	refuse_live(&s, &h, -1, "should have");
	refuse_live(&s, &h, 1, "should have");
	refuse_live(&s, &h, 100 - (int64_t)live_file_bytes(h.bytes),
		    "ends at 100");
	scene_end(&s);
}

static void an_all_zero_live_bitmap_is_damage(void **state)
{
	static const uint8_t zeros[8192];
	struct err err = {0};
	struct live_file live;
	struct file *file;
	struct scene s;

	scene_open(&s, sim_new(first_seed));
	assert_int_equal(fs_open(s.memory, "live-3-0000000000000005",
				 FILE_WRITE | FILE_CREATE, &file, NULL),
			 0);
	assert_int_equal(file_write(file, zeros, sizeof(zeros), 0, NULL), 0);
	file_close(file);
	expect_error(open_live(&s, &live, &err), -RP_ECORRUPT, &err,
		     "it is empty");
	scene_end(&s);
}

struct listed {
	unsigned count;
	uint64_t generations;
};

static int note_live(void *arg, uint32_t disk, uint64_t generation)
{
	struct listed *listed = arg;

	listed->count++;
	listed->generations |= generation;
	return disk == 9 ? 17 : 0;
}

static void only_exact_names_are_listed(void **state)
{
	static const char *const others[] = {"live-3-000000000000001",
					     "live-3-00000000000000010",
					     "live-3-000000000000001G",
					     "live-03-0000000000000010",
					     "live- 3-0000000000000010",
					     "live-3-00000000000000AB",
					     "new-live-3",
					     "live-3-0000000000000010~"};
	struct listed listed = {0};
	struct live_head h = live_head;
	struct live_file live;
	struct file *file;
	struct scene s;

	scene_open(&s, sim_new(first_seed));
	for (unsigned i = 0; i < ARRAY_SIZE(others); i++) {
		assert_int_equal(fs_open(s.memory, others[i],
					 FILE_WRITE | FILE_CREATE, &file, NULL),
				 0);
		file_close(file);
	}
	for (h.generation = 1; h.generation < 5; h.generation <<= 1) {
		assert_int_equal(live_create(s.memory, &h, &live, NULL), 0);
		live_close(&live);
	}
	assert_int_equal(live_list(s.memory, note_live, &listed, NULL), 0);
	assert_int_equal(listed.count, 3);
	assert_int_equal(listed.generations, 7);
	assert_int_equal(live_unlink(s.memory, 3, 4, NULL), 0);
	assert_int_equal(live_unlink(s.memory, 3, 4, NULL), 0);
	h.disk = 9;
	h.generation = UINT64_MAX;
	assert_int_equal(live_create(s.memory, &h, &live, NULL), 0);
	live_close(&live);
	assert_int_equal(live_list(s.memory, note_live, &listed, NULL), 17);
	scene_end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_cut_leaves_the_old_tombstone_or_the_new),
	    cmocka_unit_test(a_tombstone_of_another_store_or_life_is_none),
	    cmocka_unit_test(a_damaged_or_cut_tombstone_is_damage),
	    cmocka_unit_test(
		a_tombstone_that_was_not_synced_is_not_acknowledged),
	    cmocka_unit_test(a_sealed_file_is_whole_once_acknowledged),
	    cmocka_unit_test(a_seal_that_fails_leaves_no_file),
	    cmocka_unit_test(a_sealed_file_that_is_not_the_one_named_is_damage),
	    cmocka_unit_test(a_live_bitmap_outlives_the_process_not_the_power),
	    cmocka_unit_test(a_kill_leaves_the_old_live_bitmap_or_the_new),
	    cmocka_unit_test(
		a_full_tmpfs_refuses_a_live_bitmap_and_keeps_nothing),
	    cmocka_unit_test(
		a_live_bitmap_that_is_not_the_one_wanted_is_damage),
	    cmocka_unit_test(an_all_zero_live_bitmap_is_damage),
	    cmocka_unit_test(only_exact_names_are_listed),
	};

	scene_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
