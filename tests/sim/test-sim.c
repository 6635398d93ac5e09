/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulator is itself on trial here: it must take away what the seam does
 * not promise (else crash tests prove nothing), and nothing else.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/bytes.h"
#include "sim/sim.h"

#define SEEDS 200

static uint64_t first_seed;

/* A file handle in directory "store" of a world, kept simple. */
static struct file *file_of(struct sim *sim, const char *name, unsigned flags)
{
	struct fs *fs = sim_fs(sim, "store", false);
	struct file *file = NULL;
	struct err err = {0};
	int r = fs_open(fs, name, flags, &file, &err);

	fs->ops->free(fs);
	if (r == -ENOENT)
		return NULL;
	if (r < 0)
		fail_msg("%s", err.text);
	return file;
}

static struct file *create(struct sim *sim, const char *name)
{
	return file_of(sim, name, FILE_CREATE | FILE_WRITE);
}

static void sync_dir(struct sim *sim)
{
	struct fs *fs = sim_fs(sim, "store", false);

	assert_int_equal(fs->ops->sync_dir(fs, NULL), 0);
	fs->ops->free(fs);
}

static int rename_file(struct sim *sim, const char *from, const char *to)
{
	struct fs *fs = sim_fs(sim, "store", false);
	int r = fs->ops->rename(fs, from, to, NULL);

	fs->ops->free(fs);
	return r;
}

static int unlink_file(struct sim *sim, const char *name)
{
	struct fs *fs = sim_fs(sim, "store", false);
	int r = fs->ops->unlink(fs, name, NULL);

	fs->ops->free(fs);
	return r;
}

static bool exists(struct sim *sim, const char *name)
{
	struct file *file = file_of(sim, name, FILE_READ);

	file_close(file);
	return file != NULL;
}

static void fill(struct file *file, uint8_t value, uint64_t bytes,
		 uint64_t offset)
{
	uint8_t *buf = malloc(bytes);

	assert_non_null(buf);
	memset(buf, value, bytes);
	assert_int_equal(file_write(file, buf, bytes, offset, NULL), 0);
	free(buf);
}

static void do_sync(struct file *file)
{
	assert_int_equal(file_sync(file, NULL), 0);
}

static uint64_t size_of(struct file *file)
{
	uint64_t bytes = 0;

	assert_int_equal(file->ops->size(file, &bytes, NULL), 0);
	return bytes;
}

static int byte_at(struct file *file, uint64_t offset)
{
	uint8_t b;
	int64_t n = file_read(file, &b, 1, offset, NULL);

	return n == 1 ? b : -1;
}

/* A world with the file "f", durable by name and content: 4096 times A. */
static struct sim *world(uint64_t seed, struct file **ret_file)
{
	struct sim *sim = sim_new(first_seed + seed);

	*ret_file = create(sim, "f");
	fill(*ret_file, 'A', 4096, 0);
	do_sync(*ret_file);
	sync_dir(sim);
	return sim;
}

static struct file *cut_and_open(struct sim *sim, struct file *file,
				 enum sim_cut cut, const char *name)
{
	file_close(file);
	sim_power_cut(sim, cut);
	sim_reboot(sim);
	return file_of(sim, name, FILE_WRITE);
}

static void done(struct sim *sim, struct file *file)
{
	file_close(file);
	sim_free(sim);
}

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
	assert_true(shown > kept);
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

static struct file *memory_file(struct sim *sim)
{
	struct fs *fs = sim_fs(sim, "run", true);
	struct file *file = NULL;

	assert_int_equal(
	    fs_open(fs, "live", FILE_WRITE | FILE_CREATE, &file, NULL), 0);
	fs->ops->free(fs);
	return file;
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

/* ---- the queue ---- */

struct request {
	struct io io;
	uint8_t data[1024];
	int result;
	unsigned calls;
};

static void note(struct io *io, int result)
{
	struct request *request = container_of(io, struct request, io);

	request->result = result;
	request->calls++;
}

static void request(struct ioq *ioq, struct file *file, struct request *r,
		    enum io_op op, uint64_t offset, int value)
{
	*r = (struct request){.io = {.op = op,
				     .file = file,
				     .offset = offset,
				     .length = sizeof(r->data),
				     .buf = r->data,
				     .done = note}};
	memset(r->data, value, sizeof(r->data));
	ioq_submit(ioq, &r->io);
}

static int image_byte(struct sim *sim, bool durable, uint64_t offset)
{
	uint8_t b;

	sim_image_peek(sim, "disk", durable, &b, 1, offset);
	return b;
}

static void requests_take_effect_when_completed_in_any_order(void **state)
{
	struct sim *sim = sim_new(first_seed);
	struct ioq *ioq = sim_ioq_new(sim);
	struct request a, b, c, sync;
	struct file *disk;

	sim_image_new(sim, "disk", TIB(1));
	disk = sim_image_open(sim, "disk");
	request(ioq, disk, &a, IO_WRITE, GIB(500), 'A');
	request(ioq, disk, &b, IO_WRITE, GIB(500) + 512, 'B');
	assert_int_equal(sim_ioq_pending(sim), 2);
	assert_int_equal(image_byte(sim, false, GIB(500)), 0);
	sim_ioq_complete_one(sim, 1);
	assert_int_equal(b.calls, 1);
	assert_int_equal(a.calls, 0);
	request(ioq, disk, &sync, IO_SYNC, 0, 0);
	sim_ioq_complete_one(sim, 0);
	assert_int_equal(image_byte(sim, false, GIB(500) + 512), 'A');
	sim_ioq_complete_all(sim);
	assert_int_equal(sync.calls, 1);
	/* the sync began before A completed */
	assert_int_equal(image_byte(sim, true, GIB(500)), 0);
	assert_int_equal(image_byte(sim, true, GIB(500) + 512), 'B');
	request(ioq, disk, &a, IO_ZERO, GIB(500), 0);
	sim_ioq_complete_all(sim);
	request(ioq, disk, &c, IO_READ, GIB(500) + 512, 'x');
	sim_ioq_complete_all(sim);
	assert_int_equal(c.data[0], 0);
	assert_int_equal(c.data[512], 'B');
	request(ioq, disk, &c, IO_WRITE, TIB(1) - 512, 'x');
	sim_ioq_complete_all(sim);
	assert_int_equal(c.result, -EINVAL);
	done(sim, disk);
}

static void writes_in_flight_land_after_the_kill_or_never(void **state)
{
	unsigned seen = 0;

	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct sim *sim = sim_new(first_seed + seed);
		struct request a, late;
		struct file *disk;
		struct ioq *ioq = sim_ioq_new(sim);
		unsigned mask;

		sim_image_new(sim, "disk", MIB(1));
		disk = sim_image_open(sim, "disk");
		request(ioq, disk, &a, IO_WRITE, 0, 'A');
		sim_kill(sim);
		request(ioq, disk, &late, IO_WRITE, 4096, 'B');
		sim_ioq_complete_one(sim, 1);
		assert_int_equal(late.result, -EIO);
		sim_reboot(sim);
		assert_int_equal(sim_ioq_pending(sim), 0);
		assert_int_equal(a.calls, 0);
		assert_int_equal(image_byte(sim, false, 0), 0);
		sim_land(sim);
		mask = (unsigned)(image_byte(sim, false, 0) == 'A') |
		       (unsigned)(image_byte(sim, false, 512) == 'A') << 1;
		seen |= 1u << mask;
		assert_int_equal(image_byte(sim, false, 4096), 0);
		done(sim, disk);
	}
	assert_int_equal(seen, 0xf);
}

static void writes_in_flight_may_survive_a_cut(void **state)
{
	unsigned survived = 0;

	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct sim *sim = sim_new(first_seed + seed);
		struct ioq *ioq = sim_ioq_new(sim);
		struct request a;
		struct file *disk;

		sim_image_new(sim, "disk", MIB(1));
		disk = sim_image_open(sim, "disk");
		request(ioq, disk, &a, IO_WRITE, 0, 'A');
		sim_power_cut(sim, SIM_CUT_RANDOM);
		sim_reboot(sim);
		sim_land(sim); /* nothing is left to land */
		assert_int_equal(image_byte(sim, true, 512),
				 image_byte(sim, false, 512));
		survived += image_byte(sim, true, 512) == 'A';
		done(sim, disk);
	}
	assert_in_range(survived, 1, SEEDS - 1);
}

static void a_failed_write_may_have_changed_the_disk(void **state)
{
	unsigned seen = 0;

	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct sim *sim = sim_new(first_seed + seed);
		struct ioq *ioq = sim_ioq_new(sim);
		struct request a;
		struct file *disk;

		sim_image_new(sim, "disk", MIB(1));
		disk = sim_image_open(sim, "disk");
		sim_fail(sim, SIM_IO_WRITE, 1, EIO, false, "d*");
		request(ioq, disk, &a, IO_WRITE, 0, 'A');
		sim_ioq_complete_all(sim);
		assert_int_equal(a.result, -EIO);
		seen |= image_byte(sim, false, 0) == 'A' ? 1 : 2;
		done(sim, disk);
	}
	assert_int_equal(seen, 3);
}

static void stamps_tell_of_others_and_of_landing_writes(void **state)
{
	struct sim *sim = sim_new(first_seed);
	struct image_stamp a, b;
	struct guid nonce = {{1}};
	struct file *disk;
	struct request r;

	sim_image_new(sim, "disk", MIB(1));
	sim_image_nonce_set(sim, "disk", &nonce);
	sim_image_stamp(sim, "disk", &a);
	assert_true(guid_equal(&a.nonce, &nonce));
	sim_advance(sim, 1000);
	sim_image_poke(sim, "disk", "x", 1, 5);
	sim_image_stamp(sim, "disk", &b);
	assert_true(b.mtime_ns > a.mtime_ns);
	assert_int_equal(b.inode, a.inode);
	sim_advance(sim, 1000);
	disk = sim_image_open(sim, "disk");
	request(sim_ioq_new(sim), disk, &r, IO_WRITE, 0, 'A');
	sim_image_stamp(sim, "disk", &a);
	assert_true(a.mtime_ns > b.mtime_ns);
	done(sim, disk);
}

struct checker {
	struct sim *sim;
	struct fs *view;
	unsigned writes;
	unsigned unmarked;
};

static void check(void *arg, const struct io *io)
{
	struct checker *c = arg;
	struct file *file = NULL;
	uint8_t b = 0;

	assert_string_equal(io->file->name, "disk");
	assert_int_equal(image_byte(c->sim, false, io->offset), 0);
	c->writes++;
	if (fs_open(c->view, "marks", FILE_READ, &file, NULL) == 0)
		(void)file_read(file, &b, 1, 0, NULL);
	c->unmarked += b != 'M';
	file_close(file);
}

static void the_checker_sees_each_write_before_it_happens(void **state)
{
	struct sim *sim = sim_new(first_seed);
	struct ioq *ioq = sim_ioq_new(sim);
	struct fs *fs = sim_fs(sim, "store", false);
	struct checker c = {sim, sim_durable_fs(sim, fs), 0, 0};
	struct file *mark = create(sim, "marks"), *disk, *none = NULL;
	struct request r;
	uint64_t ops;

	sim_image_new(sim, "disk", MIB(1));
	disk = sim_image_open(sim, "disk");
	sim_on_image_write(sim, check, &c);
	fill(mark, 'M', 1, 0);
	request(ioq, disk, &r, IO_WRITE, 0, 'A');
	assert_int_equal(c.unmarked, 1);
	do_sync(mark);
	request(ioq, disk, &r, IO_DISCARD, 4096, 0);
	assert_int_equal(c.unmarked, 2); /* its name is not durable */
	sync_dir(sim);
	ops = sim_ops(sim);
	request(ioq, disk, &r, IO_ZERO, 8192, 0);
	fill(disk, 'Z', 512, 12288);
	assert_int_equal(sim_ops(sim), ops + 2);
	assert_int_equal(c.writes, 4);
	assert_int_equal(c.unmarked, 2);
	request(ioq, disk, &r, IO_READ, 0, 0);
	assert_int_equal(c.writes, 4);
	assert_int_equal(fs_open(c.view, "x", FILE_CREATE, &none, NULL),
			 -EROFS);
	c.view->ops->free(c.view);
	fs->ops->free(fs);
	sim_kill(sim);
	file_close(mark);
	done(sim, disk);
}

/* ---- deaths ---- */

/* A little program: ten counted operations; returns how many succeeded. */
static unsigned program(struct sim *sim)
{
	struct fs *fs = sim_fs(sim, "store", false);
	struct file *file = NULL;
	unsigned n = 0;
	int r = fs_open(fs, "p", FILE_WRITE | FILE_CREATE, &file, NULL);

	n += r == 0;
	for (unsigned i = 0; r == 0 && i < 4; i++) {
		n += file_write(file, "abcd", 4, 510 + 600 * i, NULL) == 0;
		n += file_sync(file, NULL) == 0;
	}
	file_close(file);
	n += fs->ops->sync_dir(fs, NULL) == 0;
	fs->ops->free(fs);
	return n;
}

static void after_its_last_operation_nothing_works(void **state)
{
	for (unsigned n = 1; n <= 11; n++) {
		for (unsigned death = SIM_KILL; death <= SIM_CUT; death++) {
			struct sim *sim = sim_new(first_seed + n);

			sim_die_at(sim, n, death, SIM_CUT_RANDOM);
			assert_int_equal(program(sim), n - 1);
			assert_int_equal(sim_dead(sim), n <= 10);
			if (sim_dead(sim)) {
				assert_int_equal(program(sim), 0);
				sim_reboot(sim);
				assert_int_equal(sim_ops(sim), 0);
				assert_int_equal(program(sim), 10);
			}
			sim_free(sim);
		}
	}
}

static void the_last_operation_may_have_taken_effect(void **state)
{
	unsigned seen[2] = {0};

	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct file *file;
		struct sim *sim = world(seed, &file);

		sim_die_at(sim, sim_ops(sim) + 1, seed % 2 ? SIM_KILL : SIM_CUT,
			   SIM_CUT_KEEP);
		assert_int_equal(file_write(file, "B", 1, 0, NULL), -RP_EDEAD);
		sim_reboot(sim);
		file_close(file);
		file = file_of(sim, "f", FILE_READ);
		seen[seed % 2] |= byte_at(file, 0) == 'B' ? 1 : 2;
		done(sim, file);
	}
	assert_int_equal(seen[0], 3);
	assert_int_equal(seen[1], 3);
}

static void failures_strike_where_they_are_told_to(void **state)
{
	struct file *file;
	struct sim *sim = world(1, &file);
	struct file *other = create(sim, "g");

	sim_fail(sim, SIM_WRITE | SIM_READ, 2, EIO, true, "f");
	sim_fail(sim, SIM_SYNC_DIR, 1, ENOSPC, false, "store");
	fill(other, 'A', 1, 0);
	fill(other, 'A', 1, 0);
	fill(file, 'A', 1, 0);
	assert_int_equal(file_write(file, "B", 1, 0, NULL), -EIO);
	assert_int_equal(byte_at(file, 0), -1);
	assert_int_equal(rename_file(sim, "g", "h"), 0);
	{
		struct fs *fs = sim_fs(sim, "store", false);

		assert_int_equal(fs->ops->sync_dir(fs, NULL), -ENOSPC);
		assert_int_equal(fs->ops->sync_dir(fs, NULL), 0);
		fs->ops->free(fs);
	}
	assert_int_equal(sim_failed(sim), 3);
	sim_fail_none(sim);
	fill(file, 'A', 1, 0);
	file_close(other);
	done(sim, file);
}

/* A digest of all that can be seen of a world. */
static uint64_t digest(struct sim *sim)
{
	struct file *file = file_of(sim, "f", FILE_READ);
	uint64_t sum = (uint64_t)sim_now_ns(sim) ^ sim_boot_id(sim).b[3];

	if (!file)
		return sum;
	sum += size_of(file);
	for (uint64_t i = 0; i < size_of(file); i += 64)
		sum = sum * 31 + (uint64_t)byte_at(file, i);
	file_close(file);
	return sum;
}

static uint64_t story(uint64_t seed, uint64_t clone_seed)
{
	struct file *file;
	struct sim *sim = world(seed, &file), *clone;
	uint64_t sum;

	for (unsigned i = 0; i < 20; i++)
		fill(file, (uint8_t)('B' + i), 700, 300 * i);
	clone = sim_clone(sim, clone_seed);
	sim_power_cut(clone, SIM_CUT_RANDOM);
	sim_reboot(clone);
	sum = digest(clone);
	sim_free(clone);
	assert_int_equal(byte_at(file, 5700), 'B' + 19); /* lives on */
	done(sim, file);
	return sum;
}

static void the_seed_decides_everything(void **state)
{
	unsigned differ = 0;

	for (uint64_t seed = 0; seed < 20; seed++) {
		assert_int_equal(story(seed, seed), story(seed, seed));
		differ += story(seed, seed) != story(seed, seed + 1);
	}
	assert_true(differ > 15);
}

static void a_copy_has_all_but_the_program(void **state)
{
	struct sim *sim = sim_new(first_seed), *clone;
	struct ioq *ioq = sim_ioq_new(sim);
	struct file *live = memory_file(sim), *file = create(sim, "g"), *disk;
	struct request r;
	uint64_t bytes;
	void *addr;
	bool landed = false;

	assert_int_equal(live->ops->allocate(live, 0, 4096, NULL), 0);
	assert_int_equal(live->ops->map(live, &addr, &bytes, NULL), 0);
	((uint8_t *)addr)[9] = 'M';
	fill(file, 'G', 1, 0);
	sim_image_new(sim, "disk", MIB(1));
	disk = sim_image_open(sim, "disk");
	request(ioq, disk, &r, IO_WRITE, 0, 'A');
	for (uint64_t seed = 0; seed < 20; seed++) {
		struct file *copy;

		clone = sim_clone(sim, seed);
		sim_kill(clone);
		sim_reboot(clone);
		sim_land(clone);
		landed |= image_byte(clone, false, 0) == 'A';
		copy = memory_file(clone);
		assert_int_equal(byte_at(copy, 9), 'M');
		fill(copy, 'X', 1, 9);
		file_close(copy);
		copy = file_of(clone, "g", FILE_READ);
		assert_int_equal(byte_at(copy, 0), 'G');
		done(clone, copy);
	}
	assert_true(landed);
	assert_int_equal(((uint8_t *)addr)[9], 'M');
	assert_int_equal(image_byte(sim, false, 0), 0);
	file_close(live);
	file_close(disk);
	done(sim, file);
}

struct guest {
	struct sim *sim;
	struct ioq *ioq;
	struct file *file;
	struct file *disk;
	struct request r;
	unsigned calls;
};

static void be_a_guest_then_kill(void *arg, const struct sim_event *event)
{
	struct guest *g = arg;

	assert_string_equal(event->name, "f");
	if (++g->calls == 1) {
		request(g->ioq, g->disk, &g->r, IO_WRITE, 0, 'A');
		fill(g->file, 'C', 1, 1); /* not hooked again */
		sim_ioq_complete_all(g->sim);
	} else {
		sim_kill(g->sim);
	}
}

static void hooks_may_use_the_seam_and_kill(void **state)
{
	struct file *file;
	struct sim *sim = world(1, &file);
	struct guest g = {sim, sim_ioq_new(sim), file, NULL};

	sim_image_new(sim, "disk", MIB(1));
	g.disk = sim_image_open(sim, "disk");
	sim_on_op(sim, be_a_guest_then_kill, &g);
	fill(file, 'B', 1, 0);
	assert_int_equal(g.calls, 1);
	assert_int_equal(g.r.calls, 1);
	assert_int_equal(file_write(file, "D", 1, 0, NULL), -RP_EDEAD);
	assert_int_equal(g.calls, 2);
	sim_reboot(sim);
	sim_on_op(sim, NULL, NULL);
	file_close(file);
	file = file_of(sim, "f", FILE_READ);
	assert_int_equal(byte_at(file, 0), 'B');
	assert_int_equal(byte_at(file, 1), 'C');
	file_close(g.disk);
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
		a_sync_covers_nothing_that_completes_after_its_call),
	    cmocka_unit_test(a_kill_keeps_what_was_written),
	    cmocka_unit_test(maps_survive_a_kill_as_they_were_and_no_cut),
	    cmocka_unit_test(requests_take_effect_when_completed_in_any_order),
	    cmocka_unit_test(writes_in_flight_land_after_the_kill_or_never),
	    cmocka_unit_test(writes_in_flight_may_survive_a_cut),
	    cmocka_unit_test(a_failed_write_may_have_changed_the_disk),
	    cmocka_unit_test(stamps_tell_of_others_and_of_landing_writes),
	    cmocka_unit_test(the_checker_sees_each_write_before_it_happens),
	    cmocka_unit_test(after_its_last_operation_nothing_works),
	    cmocka_unit_test(the_last_operation_may_have_taken_effect),
	    cmocka_unit_test(failures_strike_where_they_are_told_to),
	    cmocka_unit_test(the_seed_decides_everything),
	    cmocka_unit_test(a_copy_has_all_but_the_program),
	    cmocka_unit_test(hooks_may_use_the_seam_and_kill),
	    cmocka_unit_test(opens_are_as_the_flags_say),
	};
	const char *seed = getenv("SEED");

	first_seed = seed ? strtoull(seed, NULL, 0) : 1;
	print_message("SEED=%llu\n", (unsigned long long)first_seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
