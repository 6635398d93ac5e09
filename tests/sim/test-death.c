/* SPDX-License-Identifier: Apache-2.0 */
/* On trial: requests in flight, the ways to die, failures, hooks, copies. */
#include "sim/test-world.h"

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
	((uint8_t *)addr)[9] = 'N'; /* the original is still mapped */
	assert_int_equal(byte_at(live, 9), 'N');
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

int main(void)
{
	const struct CMUnitTest tests[] = {
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
	};

	read_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
