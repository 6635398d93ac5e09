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

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/blockset.h"
#include "disk/posix.h"
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

/* It names the snapshot, what to do, and WHY. */
static void expect_text(const struct guid *id, const char *why)
{
	char text[GUID_TEXT_BYTES];

	guid_format(id, text);
	if (!strstr(err.text, text) || !strstr(err.text, "drop it") ||
	    !strstr(err.text, why))
		fail_msg("'%s' does not say all there is to", err.text);
}

static void expect_no_extent(struct rig *rig, const struct guid *id,
			     const char *why)
{
	struct snapshot_disk *disk;
	uint64_t to;
	bool hole;

	ok(snapshot_open(rig->snapshots, id, 0, &disk, &err));
	assert_int_equal(
	    snapshot_extent(disk, 0, BLOCK_BYTES, &to, &hole, &err), -EIO);
	expect_text(id, why);
	snapshot_close(disk);
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
	expect_no_extent(rig, id, why);
	assert_int_equal(snapshot_convert(rig->snapshots, id, &row, &err),
			 -RP_ESTATE);
	expect_text(id, why);
}

static void drop(struct rig *rig, const struct guid *id)
{
	ok(snapshot_drop(rig->snapshots, id, &err));
	assert_int_equal(snapshot_drop(rig->snapshots, id, &err), -RP_ENOPOINT);
}

/* Its scratch file is empty soon. */
static bool gives_back(struct rig *rig, const struct guid *id)
{
	char text[GUID_TEXT_BYTES], path[400];
	struct stat st = {.st_size = 1};

	guid_format(id, text);
	(void)snprintf(path, sizeof(path), "%s/store/scratch-%s-0", rig->base,
		       text);
	for (unsigned n = 0; n < 500 && st.st_size; n++) {
		assert_int_equal(stat(path, &st), 0);
		(void)usleep(10000);
	}
	return st.st_size == 0;
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
	assert_true(gives_back(rig, &info.row.id));
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
					   "in time"};

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

/* ---- a store that hangs -------------------------------------------------- */

/* All writes of scratch from the NTH on, for as long as the file STUCK is. */
static struct rig *rig_stuck(unsigned nth, char stuck[64])
{
	char rule[160];

	(void)strcpy(stuck, "/var/tmp/refpoint-stuck-XXXXXX");
	(void)close(mkstemp(stuck));
	(void)snprintf(rule, sizeof(rule),
		       "write:name=scratch-*:nth=%u:sticky:hang=%s", nth,
		       stuck);
	return rig_up(NULL, rule);
}

/* N8: nobody gives up for another snapshot what hangs for this one. */
static void a_write_that_finds_all_copies_hanging_goes_on(void **state)
{
	struct rig_request rs[SNAPSHOT_COPIES_MAX], late;
	struct snapshot_info old, young;
	char stuck[64];
	struct rig *rig = rig_stuck(SNAPSHOT_COPIES_MAX + 1, stuck);

	assert_int_equal(put(rig, 0, 2 * SNAPSHOT_COPIES_MAX), 0);
	ok(make(rig, 0, false, &old));
	for (uint64_t b = 0; b < SNAPSHOT_COPIES_MAX; b++)
		assert_int_equal(put(rig, b, 1), 0);
	ok(make(rig, 0, false, &young));
	for (uint64_t b = 0; b < SNAPSHOT_COPIES_MAX; b++)
		rig_submit(rig, &rs[b], VOLUME_WRITE, b * BLOCK_BYTES,
			   BLOCK_BYTES);
	for (uint64_t b = 0; b < SNAPSHOT_COPIES_MAX; b++) {
		assert_int_equal(rig_wait(&rs[b], 5000), 0);
		rig_request_done(&rs[b]);
	}
	assert_int_equal(look(rig, &young.row.id).state, SNAPSHOT_INVALID);
	assert_int_equal(look(rig, &old.row.id).state, SNAPSHOT_VALID);
	rig_submit(rig, &late, VOLUME_WRITE, 100 * BLOCK_BYTES, BLOCK_BYTES);
	assert_int_equal(rig_wait(&late, SNAPSHOT_PAUSE_MS + 2000), 0);
	assert_int_equal(look(rig, &old.row.id).state, SNAPSHOT_INVALID);
	(void)unlink(stuck);
	rig_request_done(&late);
	rig_down(rig);
}

static void a_slow_store_costs_the_snapshot_and_a_bounded_pause(void **state)
{
	struct rig *rig = rig_up(NULL, "write:name=scratch-*:delay=700ms");
	struct snapshot_info info;
	struct rig_request r;

	assert_int_equal(put(rig, 0, 2048), 0);
	ok(make(rig, 0, false, &info));
	rig_submit(rig, &r, VOLUME_WRITE, 0, 2048 * BLOCK_BYTES);
	assert_int_equal(rig_wait(&r, 5000), 0); /* 32 runs would take 22 s */
	rig_request_done(&r);
	expect_invalid(rig, &info.row.id, "in time");
	(void)usleep(800000); /* what was given up on comes back */
	rig_down(rig);
}

/* It is only a hint. */
static void a_discard_is_left_out_rather(void **state)
{
	char stuck[64];
	struct rig *rig = rig_stuck(1, stuck);
	struct snapshot_info info;
	struct rig_request r;

	assert_int_equal(put(rig, 0, 64), 0);
	ok(make(rig, 0, false, &info));
	rig_submit(rig, &r, VOLUME_DISCARD, 0, 64 * BLOCK_BYTES);
	assert_int_equal(rig_wait(&r, 5000), 0);
	rig_request_done(&r);
	assert_int_equal(look(rig, &info.row.id).state, SNAPSHOT_VALID);
	(void)unlink(stuck);
	for (unsigned n = 0;
	     n < 100 && look(rig, &info.row.id).scratch_bytes[0] == 0; n++)
		(void)usleep(10000);
	expect_block(rig, &info.row.id, 0, 0x5a);
	assert_int_equal(put(rig, 0, 64), 0);
	expect_block(rig, &info.row.id, 63, 0x5a);
	rig_down(rig);
}

/* N8: what hangs outlives the end of serving. */
static void a_copy_that_hangs_outlives_the_end_of_serving(void **state)
{
	char stuck[64];
	struct rig *rig = rig_stuck(1, stuck);
	struct snapshot_info info;

	assert_int_equal(put(rig, 0, 16), 0);
	ok(make(rig, 0, false, &info));
	assert_int_equal(put(rig, 0, 1), 0);
	assert_int_equal(look(rig, &info.row.id).state, SNAPSHOT_INVALID);
	snapshots_detach(rig->snapshots);
	(void)unlink(stuck);
	rig_down(rig); /* its loop takes what the store says at last */
}

/* ---- who reads in a hurry -------------------------------------------------
 */

#define HURRY       40
#define HURRY_BYTES KIB(512)

/* HURRY requests of BYTES each at once. */
static void hurry(struct rig *rig, struct reading *readings,
		  const struct guid *id, uint64_t bytes)
{
	for (unsigned i = 0; i < HURRY; i++) {
		struct reading *reading = &readings[i];

		*reading = (struct reading){
		    .task.run = read_begin,
		    .request = {.op = VOLUME_READ,
				.offset = i * bytes,
				.length = bytes,
				.data = aligned_alloc(BLOCK_BYTES, bytes),
				.done = read_over}};
		ok(snapshot_open(rig->snapshots, id, 0, &reading->disk, &err));
		(void)sem_init(&reading->over, 0, 0);
		ring_post(rig->ring, &reading->task);
	}
}

/* All of them were answered, and each block is as rig_submit() fills it. */
static void hurried(struct reading *readings)
{
	for (unsigned i = 0; i < HURRY; i++) {
		struct volume_request *request = &readings[i].request;
		const uint8_t *data = request->data;

		while (sem_wait(&readings[i].over) < 0)
			;
		assert_int_equal(request->result, 0);
		for (uint64_t at = 0; at < request->length; at++)
			if (data[at] != 0x5a)
				fail_msg("byte %llu of request %u is %#x",
					 (unsigned long long)at, i, data[at]);
		free(request->data);
		snapshot_close(readings[i].disk);
	}
}

/* How many reads are at the device once no more come. */
static unsigned at_device(struct rig *rig, unsigned before)
{
	unsigned n = 0, same = 0;

	while (same < 20) {
		unsigned now = (unsigned)faults_hits(rig->faults, 0) - before;

		same = now == n ? same + 1 : 0;
		n = now;
		(void)usleep(10000);
	}
	return n;
}

static void open_gate(const char *gate)
{
	int fd = open(gate, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	(void)close(fd);
}

/* N10 */
static void readers_wait_in_turn(void **state)
{
	const struct {
		uint64_t bytes;
		bool beside; /* the guest is at work */
		unsigned expected;
	} cases[] = {
	    {HURRY_BYTES, true, SNAPSHOT_BESIDE_BYTES / SNAPSHOT_READ_BYTES},
	    {HURRY_BYTES, false, SNAPSHOT_READS_BYTES / SNAPSHOT_READ_BYTES},
	    {BLOCK_BYTES, true, SNAPSHOT_READS_MAX},
	};
	char gate[] = "/tmp/refpoint-gate-XXXXXX", rules[96];
	struct reading readings[HURRY];
	struct snapshot_info info;
	struct rig *rig;
	int fd = mkstemp(gate);

	assert_true(fd >= 0);
	(void)close(fd);
	(void)unlink(gate);
	(void)snprintf(rules, sizeof(rules), "read:hang=%s", gate);
	rig = rig_up(NULL, rules);
	for (uint64_t at = 0; at < HURRY * HURRY_BYTES; at += MIB(1))
		assert_int_equal(
		    put(rig, at / BLOCK_BYTES, MIB(1) / BLOCK_BYTES), 0);
	ok(make(rig, 0, false, &info));
	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		unsigned before;

		assert_int_equal(put(rig, MIB(32) / BLOCK_BYTES, 1), 0);
		if (!cases[i].beside) {
			/* a reader sees now that the guest was at work */
			expect_block(rig, &info.row.id, 0, 0x5a);
			(void)usleep((SNAPSHOT_BESIDE_MS + 100) * 1000);
		}
		before = (unsigned)faults_hits(rig->faults, 0);
		open_gate(gate);
		hurry(rig, readings, &info.row.id, cases[i].bytes);
		assert_int_equal(at_device(rig, before), cases[i].expected);
		(void)unlink(gate);
		hurried(readings);
	}
	rig_down(rig);
}

/* N10: who hangs at one snapshot's scratch holds up no other. */
static void a_hanging_scratch_holds_up_its_own_readers_only(void **state)
{
	char gate[] = "/tmp/refpoint-gate-XXXXXX", rules[96];
	struct snapshot_info a, b;
	struct reading reading = {
	    .task.run = read_begin,
	    .request = {.op = VOLUME_READ,
			.length = SNAPSHOT_BESIDE_BYTES,
			.data =
			    aligned_alloc(BLOCK_BYTES, SNAPSHOT_BESIDE_BYTES),
			.done = read_over}};
	struct rig *rig;
	int fd = mkstemp(gate);

	assert_true(fd >= 0);
	(void)close(fd);
	(void)snprintf(rules, sizeof(rules), "read:name=scratch-*:hang=%s",
		       gate);
	rig = rig_up(NULL, rules);
	assert_int_equal(put(rig, 0, 200), 0);
	ok(make(rig, 0, false, &a));
	assert_int_equal(put(rig, 0, 64), 0);
	ok(make(rig, 0, false, &b));
	ok(snapshot_open(rig->snapshots, &a.row.id, 0, &reading.disk, &err));
	(void)sem_init(&reading.over, 0, 0);
	ring_post(rig->ring, &reading.task);
	expect_block(rig, &b.row.id, 100, 0x5a);
	assert_int_not_equal(sem_trywait(&reading.over), 0);
	(void)unlink(gate);
	while (sem_wait(&reading.over) < 0)
		;
	assert_int_equal(reading.request.result, 0);
	snapshot_close(reading.disk);
	free(reading.request.data);
	rig_down(rig);
}

/* ---- a file system that hangs ---------------------------------------------
 */

/* Half of them: more than the kernel has slots for files that its workers
 * write to (64), and more than it usually has workers. */
#define FROZEN 400

struct frozen {
	struct ring_task task;
	struct rig *rig;
	unsigned count;
	struct file *files[FROZEN];
	struct io ios[FROZEN];
	sem_t over;
};

static struct frozen *the_frozen;

static void frozen_over(struct io *io, int result)
{
	if (result == 0)
		(void)sem_post(&the_frozen->over);
}

static void frozen_write(struct ring_task *task)
{
	static uint8_t block[BLOCK_BYTES] __attribute__((aligned(BLOCK_BYTES)));
	struct frozen *frozen = container_of(task, struct frozen, task);

	for (unsigned i = 0; i < frozen->count; i++) {
		frozen->ios[i] = (struct io){.op = IO_WRITE,
					     .file = frozen->files[i],
					     .length = BLOCK_BYTES,
					     .buf = block,
					     .done = frozen_over};
		ioq_submit(frozen->rig->ioq, &frozen->ios[i]);
	}
}

static void frozen_await(struct frozen *frozen)
{
	for (unsigned i = 0; i < frozen->count; i++) {
		while (sem_wait(&frozen->over) < 0)
			;
	}
}

static void frozen_open(struct frozen *frozen, const char *path, bool apart)
{
	for (unsigned i = 0; i < FROZEN; i++) {
		char name[128];
		int fd;

		(void)snprintf(name, sizeof(name), "%s/file-%u", path, i);
		fd = open(name, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
		assert_true(fd >= 0);
		ok(posix_file_new(fd, name, &frozen->files[i], &err));
		if (apart)
			posix_file_keep_apart(frozen->files[i]);
	}
}

static unsigned kernel_workers(void)
{
	DIR *dir = opendir("/proc/self/task");
	const struct dirent *entry;
	unsigned n = 0;

	assert_non_null(dir);
	while ((entry = readdir(dir))) {
		char path[300], comm[32] = "";
		int fd;

		(void)snprintf(path, sizeof(path), "/proc/self/task/%s/comm",
			       entry->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		(void)!read(fd, comm, sizeof(comm) - 1);
		(void)close(fd);
		n += strncmp(comm, "iou-wrk", 7) == 0;
	}
	(void)closedir(dir);
	return n;
}

/* The guest's own syncs go on, which need a worker of the kernel's.  APART, as
 * scratch files are: none of those that hang has one. */
static void expect_syncs_go_on(bool apart)
{
	struct rig *rig = NULL;
	static struct frozen frozen;
	struct rig_request r;
	unsigned workers;
	struct mounted m;
	int fd, result;
	bool hung;

	if (!mount_new(&m, NULL, "mkfs.xfs -q -f", "xfs")) {
		print_message("skipped: no loop mount of xfs here\n");
		skip();
	}
	rig = rig_up(NULL, NULL);
	assert_int_equal(put(rig, 0, 16), 0);
	frozen = (struct frozen){.task.run = frozen_write};
	frozen.rig = rig;
	the_frozen = &frozen;
	(void)sem_init(&frozen.over, 0, 0);
	frozen_open(&frozen, m.path, apart);
	/* of the one half it is known that the ring can write them */
	frozen.count = FROZEN / 2;
	ring_post(rig->ring, &frozen.task);
	frozen_await(&frozen);
	frozen.count = FROZEN;
	fd = open(m.path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(ioctl(fd, FIFREEZE, 0), 0);
	ring_post(rig->ring, &frozen.task);
	rig_submit(rig, &r, VOLUME_FLUSH, 0, 0);
	result = rig_wait(&r, 5000);
	hung = sem_trywait(&frozen.over) < 0;
	workers = kernel_workers();
	assert_int_equal(ioctl(fd, FITHAW, 0), 0); /* or nothing ever ends */
	(void)close(fd);
	assert_int_equal(result, 0);
	assert_true(hung);
	if (apart)
		assert_true(workers < 32);
	frozen_await(&frozen);
	rig_request_done(&r);
	for (unsigned i = 0; i < FROZEN; i++)
		file_close(frozen.files[i]);
	rig_down(rig);
	assert_true(mount_free(&m));
}

static void files_that_hang_leave_the_guest_its_syncs(void **state)
{
	expect_syncs_go_on(true);
	expect_syncs_go_on(false);
}

/* ---- what must not be believed ------------------------------------------- */

/* N5: while it is read the snapshot becomes invalid, and the guest writes. */
static void a_read_that_was_overtaken_is_no_answer(void **state)
{
	struct rig *rig = rig_up(NULL, "write:name=scratch-*:errno=EIO;"
				       "read:name=*image*:nth=1:delay=500ms");
	struct reading reading = {
	    .task.run = read_begin,
	    .request = {.op = VOLUME_READ,
			.length = BLOCK_BYTES,
			.data = aligned_alloc(BLOCK_BYTES, BLOCK_BYTES),
			.done = read_over},
	};
	struct snapshot_info info;

	assert_int_equal(put(rig, 0, 16), 0);
	ok(make(rig, 0, false, &info));
	ok(snapshot_open(rig->snapshots, &info.row.id, 0, &reading.disk, &err));
	(void)sem_init(&reading.over, 0, 0);
	ring_post(rig->ring, &reading.task);
	assert_int_equal(rig_do(rig, VOLUME_ZERO, 0, 16 * BLOCK_BYTES), 0);
	assert_int_equal(look(rig, &info.row.id).state, SNAPSHOT_INVALID);
	while (sem_wait(&reading.over) < 0)
		;
	assert_int_equal(reading.request.result, -EIO);
	snapshot_close(reading.disk);
	free(reading.request.data);
	rig_down(rig);
}

static void copied_file(struct rig *rig, const struct guid *id, char path[300])
{
	char text[GUID_TEXT_BYTES];

	guid_format(id, text);
	(void)snprintf(path, 300, "%s/live/snapshot-%s-0", rig->memory_path,
		       text);
}

/* N5: its file cannot be opened once, and later it could. */
static void invalid_is_not_taken_back(void **state)
{
	struct rig *rig = rig_up(NULL, NULL);
	struct snapshot_info info;
	char path[300], kept[300];
	int fd;

	assert_int_equal(put(rig, 0, 16), 0);
	ok(make(rig, 0, false, &info));
	ok(rig_stop(rig, &err));
	copied_file(rig, &info.row.id, path);
	(void)snprintf(kept, sizeof(kept), "%s/kept", rig->memory_path);
	assert_int_equal(rename(path, kept), 0);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(ftruncate(fd, 4096), 0);
	(void)close(fd);
	ok(rig_start(rig, NULL, &err));
	assert_int_equal(look(rig, &info.row.id).state, SNAPSHOT_INVALID);
	assert_int_equal(rig_do(rig, VOLUME_ZERO, 0, BLOCK_BYTES), 0);
	assert_int_equal(access(path, F_OK), -1);
	ok(rig_stop(rig, &err));
	ok(rig_start(rig, NULL, &err));
	assert_int_equal(snapshot_find(rig->snapshots, &info.row.id, &info,
				       &err),
			 -RP_ENOPOINT);
	rig_down(rig);
}

/* A creation fails after its commit, and so does its undoing: its row, for
 * which nothing is copied, is no snapshot to anybody. */
static bool try_request_again(unsigned nth)
{
	struct snapshot_request request = {
	    .id = guid_random(),
	    .clone = true,
	    .consistency = CONSISTENCY_CRASH,
	    .request_id = "11111111-1111-1111-1111-111111111111"};
	struct guid first = request.id;
	struct rig *rig = rig_new_apart("/var/tmp", MIB(64));
	struct snapshot_info info;
	struct point_row row;
	bool reached = false;
	char rule[160];

	(void)snprintf(rule, sizeof(rule),
		       "write:name=catalog*:nth=%u:errno=ENOSPC", nth);
	ok(rig_define(rig, &err));
	if (rig_start(rig, rule, &err) < 0) {
		rig_free(rig);
		return false;
	}
	if (put(rig, 0, 16) == 0 &&
	    snapshot_create(rig->snapshots, &request, &info, &err) < 0 &&
	    vm_usable(rig->vm, NULL) == 0 &&
	    vm_snapshot_find(rig->vm, &first, &row, NULL) == 0) {
		reached = true;
		request.id = guid_random();
		request.clone = false;
		assert_int_equal(snapshot_create(rig->snapshots, &request,
						 &info, &err),
				 -RP_ESTATE);
		expect_text(&first, "not completed");
		expect_invalid(rig, &first, "not completed");
		drop(rig, &first);
		ok(snapshot_create(rig->snapshots, &request, &info, &err));
		expect_block(rig, &info.row.id, 0, 0x5a);
	}
	(void)rig_stop(rig, &err);
	rig_free(rig);
	return reached;
}

static void a_row_without_copies_is_never_valid(void **state)
{
	unsigned nth = 1;

	while (nth < 80 && !try_request_again(nth))
		nth++;
	assert_true(nth < 80);
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
	    cmocka_unit_test(a_write_that_finds_all_copies_hanging_goes_on),
	    cmocka_unit_test(
		a_slow_store_costs_the_snapshot_and_a_bounded_pause),
	    cmocka_unit_test(a_discard_is_left_out_rather),
	    cmocka_unit_test(a_copy_that_hangs_outlives_the_end_of_serving),
	    cmocka_unit_test(readers_wait_in_turn),
	    cmocka_unit_test(a_hanging_scratch_holds_up_its_own_readers_only),
	    cmocka_unit_test(files_that_hang_leave_the_guest_its_syncs),
	    cmocka_unit_test(a_read_that_was_overtaken_is_no_answer),
	    cmocka_unit_test(invalid_is_not_taken_back),
	    cmocka_unit_test(a_row_without_copies_is_never_valid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
