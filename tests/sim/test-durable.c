/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulator is itself on trial here: it must take away what the seam does
 * not promise (else crash tests prove nothing), and nothing else.
 */
#include "sim/test-world.h"

static void synced_writes_survive_every_cut(void **state)
{
	for (unsigned cut = 0; cut < SIM_CUTS; cut++) {
		for (uint64_t seed = 0; seed < SEEDS; seed++) {
			struct file *file;
			struct sim *sim = world(seed, &file);

			fill(file, 'B', 1000, 100);
			do_sync(file);
			file = cut_and_open(sim, file, cut, "f");
			assert_int_equal(size_of(file), 4096);
			assert_int_equal(byte_at(file, 99), 'A');
			assert_int_equal(byte_at(file, 100), 'B');
			assert_int_equal(byte_at(file, 1099), 'B');
			assert_int_equal(byte_at(file, 1100), 'A');
			done(sim, file);
		}
	}
}

static void unsynced_sectors_survive_each_by_itself(void **state)
{
	unsigned seen = 0;

	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct file *file;
		struct sim *sim = world(seed, &file);
		unsigned mask = 0;

		fill(file, 'B', 1536, 512);
		file = cut_and_open(sim, file, SIM_CUT_RANDOM, "f");
		for (unsigned i = 0; i < 3; i++) {
			uint64_t at = 512 * (i + 1);
			int b = byte_at(file, at);

			assert_true(b == 'A' || b == 'B');
			assert_int_equal(byte_at(file, at + 511), b);
			mask |= (unsigned)(b == 'B') << i;
		}
		assert_int_equal(byte_at(file, 511), 'A');
		assert_int_equal(byte_at(file, 2048), 'A');
		seen |= 1u << mask;
		done(sim, file);
	}
	assert_int_equal(seen, 0xff);
}

static void dropping_and_keeping_are_exact(void **state)
{
	struct file *file;
	struct sim *sim = world(1, &file);

	fill(file, 'B', 8192, 0);
	file = cut_and_open(sim, file, SIM_CUT_KEEP, "f");
	assert_int_equal(size_of(file), 8192);
	assert_int_equal(byte_at(file, 8191), 'B');
	fill(file, 'C', 10000, 0);
	file = cut_and_open(sim, file, SIM_CUT_DROP, "f");
	assert_int_equal(size_of(file), 8192);
	assert_int_equal(byte_at(file, 0), 'B');
	done(sim, file);
}

static void a_later_write_may_survive_an_earlier_one(void **state)
{
	unsigned inverted = 0;

	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct file *file;
		struct sim *sim = world(seed, &file);

		for (unsigned i = 0; i < 8; i++)
			fill(file, 'B', 512, 512 * i);
		file = cut_and_open(sim, file, SIM_CUT_REORDER, "f");
		for (unsigned i = 1; i < 8; i++)
			if (byte_at(file, 512 * i) == 'A')
				assert_int_equal(byte_at(file, 512 * (i - 1)),
						 'A');
		inverted +=
		    byte_at(file, 0) == 'A' && byte_at(file, 512 * 7) == 'B';
		done(sim, file);
	}
	assert_true(inverted > SEEDS / 2);
}

static void a_torn_tail_is_a_prefix_and_one_torn_write(void **state)
{
	unsigned torn = 0;

	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct file *file;
		struct sim *sim = world(seed, &file);
		unsigned partial = 0, phase = 0;

		for (unsigned i = 0; i < 4; i++)
			fill(file, 'B', 1024, 1024 * i);
		file = cut_and_open(sim, file, SIM_CUT_TORN, "f");
		for (unsigned i = 0; i < 4; i++) {
			unsigned n =
			    (unsigned)(byte_at(file, 1024 * i) == 'B') +
			    (unsigned)(byte_at(file, 1024 * i + 512) == 'B');

			if (phase)
				assert_int_equal(n, 0);
			if (n < 2)
				phase = 1;
			partial += n == 1;
		}
		assert_in_range(partial, 0, 1);
		torn += partial;
		done(sim, file);
	}
	assert_true(torn > 0);
}

static void a_growing_write_may_leave_zeros(void **state)
{
	unsigned zeros = 0, nothing = 0, all = 0;

	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct file *file;
		struct sim *sim = world(seed, &file);

		fill(file, 'B', 512, 4096);
		file = cut_and_open(sim, file, SIM_CUT_RANDOM, "f");
		nothing += byte_at(file, 4096) == -1;
		zeros += byte_at(file, 4096) == 0;
		all += byte_at(file, 4096) == 'B';
		done(sim, file);
	}
	assert_int_equal(nothing + zeros + all, SEEDS);
	assert_true(nothing && zeros && all);
}

static void a_name_may_be_lost_until_sync_dir(void **state)
{
	unsigned there = 0;

	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct file *file;
		struct sim *sim = world(seed, &file);

		file_close(file);
		file = create(sim, "g");
		fill(file, 'B', 512, 0);
		do_sync(file); /* of the content, not the name */
		file = cut_and_open(sim, file, SIM_CUT_RANDOM, "g");
		if (file) {
			there++;
			assert_int_equal(byte_at(file, 511), 'B');
		}
		done(sim, file);
	}
	assert_in_range(there, 1, SEEDS - 1);
}

static void names_are_durable_after_sync_dir(void **state)
{
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct file *file;
		struct sim *sim = world(seed, &file);

		file_close(file);
		file_close(create(sim, "a"));
		file_close(create(sim, "b"));
		assert_int_equal(rename_file(sim, "b", "c"), 0);
		assert_int_equal(unlink_file(sim, "f"), 0);
		sync_dir(sim);
		file = cut_and_open(sim, NULL, seed % SIM_CUTS, "c");
		assert_non_null(file);
		assert_true(exists(sim, "a"));
		assert_false(exists(sim, "b"));
		assert_false(exists(sim, "f"));
		done(sim, file);
	}
}

static void an_unlinked_file_may_come_back_whole(void **state)
{
	unsigned back = 0;

	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct file *file;
		struct sim *sim = world(seed, &file);

		file_close(file);
		assert_int_equal(unlink_file(sim, "f"), 0);
		assert_false(exists(sim, "f"));
		file = cut_and_open(sim, NULL, SIM_CUT_RANDOM, "f");
		if (file) {
			back++;
			assert_int_equal(byte_at(file, 4095), 'A');
		}
		done(sim, file);
	}
	assert_in_range(back, 1, SEEDS - 1);
}

static void rename_replaces_its_target_atomically(void **state)
{
	unsigned fresh = 0;

	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct file *file;
		struct sim *sim = world(seed, &file);
		int b;

		file_close(file);
		file = create(sim, "new");
		fill(file, 'B', 4096, 0);
		do_sync(file);
		file_close(file);
		assert_int_equal(rename_file(sim, "new", "f"), 0);
		file = cut_and_open(sim, NULL, seed % SIM_CUTS, "f");
		assert_non_null(file);
		b = byte_at(file, 4095);
		assert_true(b == 'A' || b == 'B');
		if (b == 'B')
			assert_false(exists(sim, "new"));
		fresh += b == 'B';
		done(sim, file);
	}
	assert_in_range(fresh, 1, SEEDS - 1);
}

/* It has its old name or its new one, even if the old one was used anew. */
static void a_file_with_a_durable_name_is_never_lost_by_renaming(void **state)
{
	unsigned seen = 0;

	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct file *file;
		struct sim *sim = world(seed, &file);
		bool f, g;

		file_close(file);
		assert_int_equal(rename_file(sim, "f", "g"), 0);
		file_close(create(sim, "f"));
		file = cut_and_open(sim, NULL, seed % SIM_CUTS, "g");
		g = file && byte_at(file, 0) == 'A';
		file_close(file);
		file = file_of(sim, "f", FILE_READ);
		f = file && byte_at(file, 0) == 'A';
		assert_int_equal(f + g, 1);
		seen |= f ? 1 : 2;
		done(sim, file);
	}
	assert_int_equal(seen, 3);
}

static void sizes_may_be_lost_until_sync(void **state)
{
	unsigned seen = 0;

	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct file *file;
		struct sim *sim = world(seed, &file);
		uint64_t bytes;

		assert_int_equal(file->ops->truncate(file, 100, NULL), 0);
		assert_int_equal(file->ops->allocate(file, 8192, 4096, NULL),
				 0);
		assert_int_equal(size_of(file), 12288);
		assert_int_equal(byte_at(file, 100), 0);
		assert_int_equal(byte_at(file, 12287), 0);
		if (seed % 2)
			do_sync(file);
		file = cut_and_open(sim, file, SIM_CUT_RANDOM, "f");
		bytes = size_of(file);
		if (seed % 2)
			assert_int_equal(bytes, 12288);
		else
			seen |= bytes == 100 ? 1 : bytes == 4096 ? 2 : 4;
		done(sim, file);
	}
	assert_int_equal(seen, 7);
}

static void writes_into_allocated_space_never_lack_it(void **state)
{
	struct file *file;
	struct sim *sim = world(1, &file);
	struct err err = {0};
	uint8_t buf[8192] = {1};

	sim_limit(sim, "store", 5 * 4096);
	assert_int_equal(file->ops->allocate(file, 4096, 3 * 4096, &err), 0);
	assert_int_equal(file_write(file, buf, 8192, 16384, &err), -ENOSPC);
	assert_string_equal(err.text,
			    "write 'store/f': No space left on device");
	assert_int_equal(size_of(file), 20480); /* the part that fitted */
	for (unsigned i = 0; i < 4; i++)
		fill(file, 'C', 4096, 4096 * i);
	assert_int_equal(file->ops->allocate(file, 20480, 1, NULL), -ENOSPC);
	assert_int_equal(sim_failed(sim), 2);
	assert_int_equal(file->ops->truncate(file, 0, NULL), 0);
	assert_int_equal(file->ops->allocate(file, 0, 20480, NULL), 0);
	done(sim, file);
}

static void a_failed_sync_loses_data_that_reads_may_still_show(void **state)
{
	unsigned shown = 0, lost = 0, kept = 0;

	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct file *file;
		struct sim *sim = world(seed, &file);

		fill(file, 'B', 512, 0);
		sim_fail(sim, SIM_SYNC, 1, EIO, false, "f");
		assert_int_equal(file_sync(file, NULL), -EIO);
		shown += byte_at(file, 0) == 'B';
		do_sync(file); /* succeeds, and means nothing */
		file = cut_and_open(sim, file, SIM_CUT_KEEP, "f");
		lost += byte_at(file, 0) == 'A';
		kept += byte_at(file, 0) == 'B';
		done(sim, file);
	}
	assert_int_equal(lost + kept, SEEDS);
	assert_true(lost && kept);
	assert_true(shown > kept); /* some of it in vain */
	assert_true(shown < SEEDS);
}

static void what_a_failed_sync_lost_may_vanish_with_the_process(void **state)
{
	unsigned vanished = 0, stayed = 0;

	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct file *file;
		struct sim *sim = world(seed, &file);
		bool shown;

		fill(file, 'B', 512, 0);
		sim_fail(sim, SIM_SYNC, 1, EIO, false, "f");
		assert_int_equal(file_sync(file, NULL), -EIO);
		shown = byte_at(file, 0) == 'B';
		file_close(file);
		sim_kill(sim);
		sim_reboot(sim);
		file = file_of(sim, "f", FILE_READ);
		vanished += shown && byte_at(file, 0) == 'A';
		stayed += byte_at(file, 0) == 'B';
		done(sim, file);
	}
	assert_true(vanished && stayed);
}

static void write_during_sync(void *arg, const struct sim_event *event)
{
	if (event->op == SIM_SYNC)
		fill(arg, 'B', 512, 0);
}

static void a_sync_covers_nothing_that_completes_after_its_call(void **state)
{
	struct file *file;
	struct sim *sim = world(1, &file);
	struct file *again;

	sim_on_op(sim, write_during_sync, file);
	do_sync(file);
	sim_on_op(sim, NULL, NULL);
	again = cut_and_open(sim, file, SIM_CUT_DROP, "f");
	assert_int_equal(byte_at(again, 0), 'A');
	done(sim, again);
}

static void a_kill_keeps_what_was_written(void **state)
{
	struct file *file, *old;
	struct sim *sim = world(1, &file);
	struct guid boot = sim_boot_id(sim), after;
	struct err err = {0};
	uint8_t b;

	fill(file, 'B', 512, 0);
	old = file;
	sim_kill(sim);
	assert_int_equal(file_read(old, &b, 1, 0, &err), -RP_EDEAD);
	assert_int_equal(file_write(old, &b, 1, 0, &err), -RP_EDEAD);
	sim_reboot(sim);
	assert_int_equal(file_sync(old, &err), -RP_EDEAD);
	file_close(old);
	file = file_of(sim, "f", FILE_READ);
	assert_int_equal(byte_at(file, 0), 'B');
	after = sim_boot_id(sim);
	assert_true(guid_equal(&boot, &after));
	/* but it is still not durable */
	file = cut_and_open(sim, file, SIM_CUT_DROP, "f");
	assert_int_equal(byte_at(file, 0), 'A');
	after = sim_boot_id(sim);
	assert_false(guid_equal(&boot, &after));
	assert_true(sim_boot_time_ns(sim) <= sim_now_ns(sim));
	done(sim, file);
}

static void maps_survive_a_kill_as_they_were_and_no_cut(void **state)
{
	struct sim *sim = sim_new(first_seed);
	struct file *file = memory_file(sim), *second = memory_file(sim);
	uint8_t *map, *same;
	void *addr;
	uint64_t bytes;

	assert_int_equal(file->ops->map(file, &addr, &bytes, NULL), -EINVAL);
	assert_int_equal(file->ops->allocate(file, 0, 5000, NULL), 0);
	assert_int_equal(file->ops->map(file, &addr, &bytes, NULL), 0);
	assert_int_equal(bytes, 5000);
	map = addr;
	assert_int_equal(second->ops->map(second, &addr, &bytes, NULL), 0);
	same = addr;
	map[4999] = 'M';
	assert_int_equal(same[4999], 'M');
	assert_int_equal(byte_at(file, 4999), 'M');
	fill(file, 'W', 1, 7);
	assert_int_equal(map[7], 'W');
	sim_kill(sim);
	map[4999] = 'X'; /* a program still unwinding */
	sim_reboot(sim);
	map[7] = 'X';
	file_close(file);
	file_close(second);
	file = memory_file(sim);
	assert_int_equal(byte_at(file, 4999), 'M');
	assert_int_equal(byte_at(file, 7), 'W');
	file_close(file);
	sim_power_cut(sim, SIM_CUT_KEEP);
	sim_reboot(sim);
	file = memory_file(sim);
	assert_int_equal(size_of(file), 0);
	done(sim, file);
}

static void opens_are_as_the_flags_say(void **state)
{
	struct file *file, *none = NULL;
	struct sim *sim = world(1, &file);
	struct fs *fs = sim_fs(sim, "store", false);
	struct err err = {0};

	assert_int_equal(fs_open(fs, "no", FILE_WRITE, &none, &err), -ENOENT);
	assert_string_equal(err.text,
			    "open 'store/no': No such file or directory");
	assert_int_equal(fs_open(fs, "f", FILE_CREATE | FILE_EXCLUSIVE, &none,
				 &err),
			 -EEXIST);
	assert_int_equal(fs_open(fs, "../f", FILE_READ, &none, &err), -EINVAL);
	assert_null(none);
	file_close(file);
	assert_int_equal(fs_open(fs, "f", FILE_READ, &file, &err), 0);
	assert_int_equal(file_write(file, "x", 1, 0, &err), -EBADF);
	assert_int_equal(fs->ops->unlink(fs, "no", &err), -ENOENT);
	assert_int_equal(fs->ops->rename(fs, "no", "f", &err), -ENOENT);
	fs->ops->free(fs);
	done(sim, file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(synced_writes_survive_every_cut),
	    cmocka_unit_test(unsynced_sectors_survive_each_by_itself),
	    cmocka_unit_test(dropping_and_keeping_are_exact),
	    cmocka_unit_test(a_later_write_may_survive_an_earlier_one),
	    cmocka_unit_test(a_torn_tail_is_a_prefix_and_one_torn_write),
	    cmocka_unit_test(a_growing_write_may_leave_zeros),
	    cmocka_unit_test(a_name_may_be_lost_until_sync_dir),
	    cmocka_unit_test(names_are_durable_after_sync_dir),
	    cmocka_unit_test(an_unlinked_file_may_come_back_whole),
	    cmocka_unit_test(rename_replaces_its_target_atomically),
	    cmocka_unit_test(
		a_file_with_a_durable_name_is_never_lost_by_renaming),
	    cmocka_unit_test(sizes_may_be_lost_until_sync),
	    cmocka_unit_test(writes_into_allocated_space_never_lack_it),
	    cmocka_unit_test(
		a_failed_sync_loses_data_that_reads_may_still_show),
	    cmocka_unit_test(
		what_a_failed_sync_lost_may_vanish_with_the_process),
	    cmocka_unit_test(
		a_sync_covers_nothing_that_completes_after_its_call),
	    cmocka_unit_test(a_kill_keeps_what_was_written),
	    cmocka_unit_test(maps_survive_a_kill_as_they_were_and_no_cut),
	    cmocka_unit_test(opens_are_as_the_flags_say),
	};

	read_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
