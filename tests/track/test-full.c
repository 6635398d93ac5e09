/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stores on file systems that run full, real ones, on loop mounts: a point
 * fails for lack of space, the guest goes on, and once there is room again the
 * next point is made and exact.  On btrfs, which never writes in place, the
 * pages and intents may find no room either; then tracking gives way and says
 * so.  Skipped where loop mounts are not possible.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/blockset.h"
#include "common/bytes.h"
#include "mounted.h"
#include "rig.h"

static struct err err;

static void ok(int r)
{
	if (r < 0)
		fail_msg("%s", err.text);
}

/* Takes all space, down to the last 4 KiB. */
static void fill(const struct mounted *m)
{
	static uint8_t buf[4096];
	char path[100];
	uint64_t at = 0;
	int fd;

	(void)snprintf(path, sizeof(path), "%s/ballast", m->path);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	for (uint64_t step = MIB(64); step >= KIB(64); step /= 4)
		while (fallocate(fd, 0, (off_t)at, (off_t)step) == 0)
			at += step;
	memset(buf, 0x77, sizeof(buf));
	while (pwrite(fd, buf, sizeof(buf), (off_t)at) == sizeof(buf) &&
	       fsync(fd) == 0)
		at += sizeof(buf);
	(void)fsync(fd);
	(void)close(fd);
}

static void empty(const struct mounted *m)
{
	char path[100];

	(void)snprintf(path, sizeof(path), "%s/ballast", m->path);
	assert_int_equal(unlink(path), 0);
	sync();
}

static void answer_is(struct rig *rig, const struct guid *since,
		      const struct guid *until, uint64_t blocks)
{
	struct vm_changes changes;

	ok(vm_changes(rig->vm, 0, since, until, &changes, &err));
	assert_int_equal(changes.accuracy.accuracy, ACCURACY_EXACT);
	assert_int_equal(blockset_count(changes.set), blocks);
	blockset_free(changes.set);
}

static void run_full(const char *mkfs, const char *type, bool in_place,
		     bool no_cow)
{
	char reason[REASON_BYTES];
	struct guid first, second;
	struct mounted m;
	struct rig *rig;
	int r;

	if (!mount_new(&m, NULL, mkfs, type)) {
		print_message("skipped: no loop mount of %s here\n", type);
		skip();
	}
	if (no_cow) {
		char command[100];

		(void)snprintf(command, sizeof(command), "chattr +C %s",
			       m.path);
		assert_int_equal(system(command), 0);
	}
	rig = rig_new_apart(m.path, MIB(256));
	ok(rig_define(rig, &err));
	ok(rig_start(rig, NULL, &err));
	ok(rig_point(rig, &first, &err));
	assert_int_equal(rig_do(rig, VOLUME_WRITE, 0, 4096), 0);
	fill(&m);
	r = rig_point(rig, &second, &err);
	assert_true(r < 0);
	print_message("%s: %s\n", type, err.text);
	for (unsigned i = 1; i < 16; i++)
		assert_int_equal(rig_do(rig, VOLUME_WRITE, MIB(16) * i, 4096),
				 0);
	empty(&m);
	if (vm_latched(rig->vm, reason)) {
		print_message("%s: tracking gave way: %s\n", type, reason);
		assert_false(in_place);
		assert_int_equal(rig_point(rig, &second, &err), -RP_ELATCHED);
		(void)rig_stop(rig, &err);
		ok(rig_start(rig, NULL, &err));
		ok(rig_point(rig, &second, &err));
		answer_is(rig, &second, NULL, 0);
	} else {
		assert_int_equal(err_errno(r), ENOSPC);
		answer_is(rig, &first, NULL, 16);
		ok(rig_point(rig, &second, &err));
		answer_is(rig, &first, &second, 16);
		answer_is(rig, &second, NULL, 0);
	}
	ok(rig_stop(rig, &err));
	rig_free(rig);
	assert_true(mount_free(&m));
}

static void a_full_ext4_costs_a_point_only(void **state)
{
	run_full("mkfs.ext4 -q -F", "ext4", true, false);
}

static void a_full_xfs_costs_a_point_only(void **state)
{
	run_full("mkfs.xfs -q -f", "xfs", true, false);
}

static void a_full_btrfs_is_never_taken_for_success(void **state)
{
	run_full("mkfs.btrfs -q -f", "btrfs", false, false);
}

/* As a directory is that was made with chattr +C. */
static void a_full_btrfs_without_copies_costs_a_point_only(void **state)
{
	run_full("mkfs.btrfs -q -f", "btrfs", true, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_full_ext4_costs_a_point_only),
	    cmocka_unit_test(a_full_xfs_costs_a_point_only),
	    cmocka_unit_test(a_full_btrfs_is_never_taken_for_success),
	    cmocka_unit_test(a_full_btrfs_without_copies_costs_a_point_only),
	};

	if (geteuid() != 0) {
		printf("skipped: loop mounts want root\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
