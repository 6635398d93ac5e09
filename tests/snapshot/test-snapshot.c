/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots on the real system: what costs a snapshot and never a guest's
 * write, clones, and write-back that fails where nobody looks.  What a snapshot
 * reads as under all deaths is tests/track's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/blockset.h"
#include "mounted.h"
#include "rig.h"

static struct err err;

static void ok(int r)
{
	if (r < 0)
		fail_msg("%s", err.text);
}

/* ---- steps --------------------------------------------------------------- */

static struct rig *rig_up(const char *dir, const char *rules)
{
	struct rig *rig = rig_new_apart(dir ? dir : "/var/tmp", MIB(64));

	rig->faulty_io = rules != NULL;
	ok(rig_define(rig, &err));
	ok(rig_start(rig, rules, &err));
	return rig;
}

static void rig_down(struct rig *rig)
{
	ok(rig_stop(rig, &err));
	rig_free(rig);
}

static int make(struct rig *rig, uint64_t limit, bool clone,
		struct snapshot_info *ret_info)
{
	struct snapshot_request request = {.id = guid_random(),
					   .consistency = CONSISTENCY_CRASH,
					   .limit_bytes = limit,
					   .clone = clone};

	return snapshot_create(rig->snapshots, &request, ret_info, &err);
}

static struct snapshot_info look(struct rig *rig, const struct guid *id)
{
	struct snapshot_info info;

	ok(snapshot_find(rig->snapshots, id, &info, &err));
	return info;
}

static int put(struct rig *rig, uint64_t block, uint64_t blocks)
{
	return rig_do(rig, VOLUME_WRITE, block * BLOCK_BYTES,
		      blocks * BLOCK_BYTES);
}

struct reading {
	struct ring_task task;
	struct snapshot_disk *disk;
	struct volume_request request;
	sem_t over;
};

static void read_over(struct volume_request *request, int result)
{
	struct reading *reading =
	    container_of(request, struct reading, request);

	request->result = result;
	(void)sem_post(&reading->over);
}

static void read_begin(struct ring_task *task)
{
	struct reading *reading = container_of(task, struct reading, task);

	snapshot_read(reading->disk, &reading->request);
}

/* One block, into BUF. */
static int get(struct rig *rig, const struct guid *id, uint64_t block,
	       uint8_t buf[BLOCK_BYTES])
{
	struct reading reading = {
	    .task.run = read_begin,
	    .request = {.op = VOLUME_READ,
			.offset = block * BLOCK_BYTES,
			.length = BLOCK_BYTES,
			.data = aligned_alloc(BLOCK_BYTES, BLOCK_BYTES),
			.done = read_over},
	};
	int r;

	ok(snapshot_open(rig->snapshots, id, 0, &reading.disk, &err));
	(void)sem_init(&reading.over, 0, 0);
	ring_post(rig->ring, &reading.task);
	while (sem_wait(&reading.over) < 0)
		;
	r = reading.request.result;
	memcpy(buf, reading.request.data, BLOCK_BYTES);
	free(reading.request.data);
	snapshot_close(reading.disk);
	return r;
}

/* The block's content then: all zeros, or as rig_submit() fills it. */
static void expect_block(struct rig *rig, const struct guid *id, uint64_t block,
			 uint8_t byte)
{
	uint8_t buf[BLOCK_BYTES];

	assert_int_equal(get(rig, id, block, buf), 0);
	for (unsigned i = 0; i < BLOCK_BYTES; i++)
		if (buf[i] != byte)
			fail_msg("block %llu byte %u is %#x, not %#x",
				 (unsigned long long)block, i, buf[i], byte);
}

static void expect_invalid(struct rig *rig, const struct guid *id,
			   const char *why)
{
	struct snapshot_info info = look(rig, id);
	uint8_t buf[BLOCK_BYTES];
	struct point_row row;

	assert_int_equal(info.state, SNAPSHOT_INVALID);
	if (!strstr(info.reason, why))
		fail_msg("'%s' does not say '%s'", info.reason, why);
	assert_int_equal(get(rig, id, 0, buf), -EIO);
	assert_int_equal(snapshot_convert(rig->snapshots, id, &row, &err),
			 -RP_ESTATE);
}

static void drop(struct rig *rig, const struct guid *id)
{
	ok(snapshot_drop(rig->snapshots, id, &err));
	assert_int_equal(snapshot_drop(rig->snapshots, id, &err), -RP_ENOPOINT);
}

static bool has_file(struct rig *rig, const char *prefix)
{
	char command[400];

	(void)snprintf(command, sizeof(command),
		       "find %s %s -name '%s*' | grep -q .", rig->base,
		       rig->memory_path, prefix);
	return system(command) == 0;
}

/* ---- tests --------------------------------------------------------------- */

static void it_holds_what_was_and_takes_what_changes(void **state)
{
	struct rig *rig = rig_up(NULL, NULL);
	struct snapshot_info info;
	struct vm_changes changes;
	struct point_row row;
	struct guid point;

	assert_int_equal(put(rig, 0, 4), 0);
	ok(rig_point(rig, &point, &err));
	assert_int_equal(put(rig, 8, 4), 0);
	ok(make(rig, 0, false, &info));
	assert_int_equal(rig_do(rig, VOLUME_ZERO, 0, 2 * BLOCK_BYTES), 0);
	assert_int_equal(put(rig, 100, 8), 0);
	expect_block(rig, &info.row.id, 0, 0x5a);
	expect_block(rig, &info.row.id, 3, 0x5a);
	expect_block(rig, &info.row.id, 100, 0);
	/* zeros are not copied */
	assert_int_equal(look(rig, &info.row.id).scratch_bytes[0],
			 2 * BLOCK_BYTES);
	ok(vm_changes(rig->vm, 0, &point, &info.row.id, &changes, &err));
	assert_int_equal(blockset_count(changes.set), 4);
	blockset_free(changes.set);
	ok(snapshot_convert(rig->snapshots, &info.row.id, &row, &err));
	assert_false(has_file(rig, "scratch-"));
	assert_false(has_file(rig, "snapshot-"));
	ok(vm_changes(rig->vm, 0, &row.id, NULL, &changes, &err));
	assert_int_equal(blockset_count(changes.set), 10);
	blockset_free(changes.set);
	rig_down(rig);
}

static void its_limit_costs_the_snapshot_only(void **state)
{
	struct rig *rig = rig_up(NULL, NULL);
	struct snapshot_info info;

	assert_int_equal(put(rig, 0, 64), 0);
	ok(make(rig, 16 * BLOCK_BYTES, false, &info));
	assert_int_equal(put(rig, 0, 16), 0);
	assert_int_equal(look(rig, &info.row.id).state, SNAPSHOT_VALID);
	assert_int_equal(put(rig, 20, 1), 0);
	expect_invalid(rig, &info.row.id, "its limit of 65536 bytes");
	drop(rig, &info.row.id);
	rig_down(rig);
}

static void a_scratch_that_fails_or_hangs_costs_the_snapshot_only(void **state)
{
	static const char *const rules[] = {
	    "write:name=scratch-*:nth=3:errno=ENOSPC",
	    "write:name=scratch-*:nth=3:hang=",
	};
	static const char *const whys[] = {"No space left on device",
					   "did not take a copy within"};

	for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
		char stuck[64] = "/var/tmp/refpoint-stuck-XXXXXX", rule[160];
		struct snapshot_info info;
		struct rig *rig;
		uint64_t began;

		(void)close(mkstemp(stuck));
		(void)snprintf(rule, sizeof(rule), "%s%s", rules[i],
			       i ? stuck : "");
		rig = rig_up(NULL, rule);
		assert_int_equal(put(rig, 0, 16), 0);
		ok(make(rig, 0, false, &info));
		began = rig_now_ns();
		for (uint64_t b = 0; b < 8; b++)
			assert_int_equal(put(rig, b, 1), 0);
		assert_true(rig_now_ns() - began < UINT64_C(5000000000));
		(void)unlink(stuck);
		expect_invalid(rig, &info.row.id, whys[i]);
		drop(rig, &info.row.id);
		ok(make(rig, 0, false, &info));
		rig_down(rig);
	}
}

static uint64_t room(const struct mounted *m)
{
	struct statvfs s;

	sync();
	assert_int_equal(statvfs(m->path, &s), 0);
	return (uint64_t)s.f_bavail * s.f_frsize;
}

/* Takes what there is beyond BYTES. */
static void leave(const struct mounted *m, uint64_t bytes)
{
	char path[100];
	struct stat st;
	int fd;

	(void)snprintf(path, sizeof(path), "%s/ballast", m->path);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(fstat(fd, &st), 0);
	if (room(m) > bytes)
		assert_int_equal(
		    fallocate(fd, 0, st.st_size, (off_t)(room(m) - bytes)), 0);
	(void)close(fd);
}

static void
a_store_that_runs_full_keeps_its_reserve_and_loses_the_snapshot(void **state)
{
	struct snapshot_info info;
	struct mounted m;
	struct guid point;
	struct rig *rig;
	bool lost = false;

	if (!mount_new(&m, NULL, "mkfs.ext4 -q -F", "ext4")) {
		print_message("skipped: no loop mount of ext4 here\n");
		skip();
	}
	rig = rig_up(m.path, NULL);
	assert_int_equal(put(rig, 0, 4000), 0);
	assert_int_equal(put(rig, 4000, 8000), 0);
	ok(make(rig, 0, false, &info));
	leave(&m, MIB(30));
	for (uint64_t b = 0; b < 12000 && !lost; b += 4) {
		assert_int_equal(put(rig, b, 4), 0);
		lost = look(rig, &info.row.id).state == SNAPSHOT_INVALID;
	}
	assert_true(lost);
	/* but for what the file system needs to find it again */
	assert_true(room(&m) >= SNAPSHOT_RESERVE_BYTES - MIB(2));
	expect_invalid(rig, &info.row.id, "no room");
	drop(rig, &info.row.id);
	leave(&m, SNAPSHOT_RESERVE_BYTES);
	assert_int_equal(make(rig, 0, false, &info), -RP_ENOROOM);
	/* the reserve is there for this */
	ok(rig_point(rig, &point, &err));
	rig_down(rig);
	assert_true(mount_free(&m));
}

static void a_clone_takes_no_copies(void **state)
{
	struct snapshot_info info;
	struct mounted m;
	struct rig *rig;

	if (!mount_new(&m, NULL, "mkfs.xfs -q -f", "xfs")) {
		print_message("skipped: no loop mount of xfs here\n");
		skip();
	}
	rig = rig_new(m.path, MIB(64));
	ok(rig_define(rig, &err));
	ok(rig_start(rig, NULL, &err));
	assert_int_equal(put(rig, 0, 64), 0);
	ok(make(rig, 0, true, &info));
	assert_int_equal(put(rig, 1000, 4), 0);
	assert_int_equal(rig_do(rig, VOLUME_ZERO, 0, 8 * BLOCK_BYTES), 0);
	assert_int_equal(look(rig, &info.row.id).scratch_bytes[0], 0);
	expect_block(rig, &info.row.id, 0, 0x5a);
	expect_block(rig, &info.row.id, 1000, 0);
	ok(rig_stop(rig, &err)); /* it stays */
	ok(rig_start(rig, NULL, &err));
	assert_int_equal(put(rig, 9, 1), 0);
	assert_int_equal(
	    rig_do(rig, VOLUME_ZERO, 10 * BLOCK_BYTES, BLOCK_BYTES), 0);
	expect_block(rig, &info.row.id, 10, 0x5a);
	ok(snapshot_drop(rig->snapshots, &info.row.id, &err));
	assert_false(has_file(rig, "clone-"));
	rig_down(rig);
	assert_true(mount_free(&m));
}

static void where_nothing_can_be_cloned_it_says_so(void **state)
{
	struct rig *rig = rig_up(NULL, NULL);
	struct snapshot_info info;

	assert_int_equal(make(rig, 0, true, &info), -RP_EUNSUPPORTED);
	assert_non_null(strstr(err.text, "leave the clone out"));
	assert_false(has_file(rig, "clone-"));
	assert_false(has_file(rig, "scratch-"));
	ok(make(rig, 0, false, &info));
	rig_down(rig);
}

/* N6: the loop device's file has no room for what the page cache took. */
static void write_back_that_fails_later_is_found_by_the_reader(void **state)
{
	char memory[] = "/var/tmp/refpoint-tmpfs-XXXXXX";
	uint8_t buf[BLOCK_BYTES];
	struct snapshot_info info;
	struct mounted m;
	struct rig *rig;
	int fd, r = 0;

	if (!mkdtemp(memory) ||
	    mount("none", memory, "tmpfs", 0, "size=56m") < 0 ||
	    !mount_new(&m, memory, "mkfs.ext4 -q -F -E nodiscard", "ext4")) {
		print_message("skipped: no loop mount on a tmpfs here\n");
		skip();
	}
	rig = rig_up(m.path, NULL);
	for (uint64_t b = 0; b < 16000; b += 2000)
		assert_int_equal(put(rig, b, 2000), 0);
	ok(make(rig, 0, false, &info));
	for (uint64_t b = 0; b < 16000; b += 500)
		assert_int_equal(put(rig, b, 500), 0);
	fd = open(m.path, O_RDONLY | O_CLOEXEC);
	(void)syncfs(fd);
	(void)close(fd);
	for (uint64_t b = 0; b < 16000 && r == 0; b += 500)
		r = get(rig, &info.row.id, b, buf);
	assert_int_equal(r, -EIO);
	expect_invalid(rig, &info.row.id, "reading its scratch file failed");
	(void)rig_stop(rig, &err);
	rig_free(rig);
	(void)mount_free(&m);
	assert_int_equal(umount(memory), 0);
	(void)rmdir(memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(it_holds_what_was_and_takes_what_changes),
	    cmocka_unit_test(its_limit_costs_the_snapshot_only),
	    cmocka_unit_test(
		a_scratch_that_fails_or_hangs_costs_the_snapshot_only),
	    cmocka_unit_test(
		a_store_that_runs_full_keeps_its_reserve_and_loses_the_snapshot),
	    cmocka_unit_test(a_clone_takes_no_copies),
	    cmocka_unit_test(where_nothing_can_be_cloned_it_says_so),
	    cmocka_unit_test(
		write_back_that_fails_later_is_found_by_the_reader),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
