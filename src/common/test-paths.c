/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/paths.h"

static void names_are_short_and_plain(void **state)
{
	char longest[VM_NAME_BYTES + 1];

	assert_true(name_is_valid("a", VM_NAME_BYTES));
	assert_true(name_is_valid("0Web-1_a.b", VM_NAME_BYTES));
	assert_false(name_is_valid("", VM_NAME_BYTES));
	assert_false(name_is_valid(".", VM_NAME_BYTES));
	assert_false(name_is_valid("..", VM_NAME_BYTES));
	assert_false(name_is_valid("-a", VM_NAME_BYTES));
	assert_false(name_is_valid("a/b", VM_NAME_BYTES));
	assert_false(name_is_valid("a b", VM_NAME_BYTES));
	assert_false(name_is_valid("\xc3\xa4", VM_NAME_BYTES));
	assert_false(text_has_controls("a b\xc3\xa4\xc2\xa0\\"));
	assert_true(text_has_controls("a\nb"));
	assert_true(text_has_controls("\x7f"));
	assert_true(text_has_controls("a\xc2\x85"));
	memset(longest, 'x', sizeof(longest));
	longest[VM_NAME_BYTES] = '\0';
	assert_false(name_is_valid(longest, VM_NAME_BYTES));
	longest[VM_NAME_BYTES - 1] = '\0';
	assert_true(name_is_valid(longest, VM_NAME_BYTES));
}

static void paths_follow_the_root(void **state)
{
	struct paths p;
	struct err err = {0};
	struct guid snapshot;
	char path[PATH_BYTES];
	char big[ROOT_BYTES + 1];

	assert_int_equal(paths_init(&p, NULL, &err), 0);
	assert_false(p.rooted);
	paths_store(&p, "vm1", path);
	assert_string_equal(path, "/var/lib/refpoint/vms/vm1");
	assert_int_equal(paths_init(&p, "/r", &err), 0);
	assert_true(p.rooted);
	paths_vm_run(&p, "vm1", "nbd.sock", path);
	assert_string_equal(path, "/r/run/vm/vm1/nbd.sock");
	paths_vm_run(&p, "vm1", "", path);
	assert_string_equal(path, "/r/run/vm/vm1");
	assert_true(
	    guid_parse("01234567-89ab-cdef-0123-456789abcdef", &snapshot));
	paths_snapshot(&p, "vm1", &snapshot, path);
	assert_string_equal(path, "/r/run/vm/vm1/01234567-89ab-cdef.sock");
	assert_int_equal(strlen(strrchr(path, '/') + 1) + 1,
			 SNAPSHOT_SOCKET_BYTES);
	assert_int_equal(paths_init(&p, "rel", &err), 0);
	assert_int_equal(p.lib[0], '/');
	assert_int_equal(paths_init(&p, "", &err), -RP_EPARAM);
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	assert_int_equal(paths_init(&p, big, &err), -RP_EPARAM);
}

/* Where this test finds LIVE, to remove it. */
static void live_place(const struct paths *p, char *ret, size_t bytes)
{
	char id[ROOT_ID_BYTES];

	assert_int_equal(paths_root_id(p, id, NULL), 0);
	(void)snprintf(ret, bytes, "/run/refpoint/%s", id);
	if (access(ret, F_OK) < 0)
		(void)snprintf(ret, bytes, "/dev/shm/refpoint-%u-%s",
			       (unsigned)geteuid(), id);
}

static bool become(uid_t uid)
{
	return setgid(uid) == 0 && setuid(uid) == 0;
}

/* refpointd, with its umask, makes what a worker of another user opens. */
static int open_as_worker(const struct paths *p, uid_t other)
{
	struct err err = {0};
	int fd = -1;

	(void)umask(077);
	if (paths_live_open(p, "v", other, other, true, &fd, &err) < 0 ||
	    close(fd) < 0 || !become(other))
		return 1;
	return paths_live_open(p, "v", other, other, false, &fd, &err) < 0;
}

/* A refpointd of any user's, where /run/refpoint is the system's. */
static int open_elsewhere(const struct paths *p, uid_t other)
{
	struct err err = {0};
	int fd = -1;

	if (mkdir("/run/refpoint", 0755) < 0 ||
	    mount("tmpfs", "/dev/shm", "tmpfs", 0, NULL) < 0 || !become(other))
		return 1;
	return paths_live_open(p, "v", other, other, true, &fd, &err) < 0 ||
	       err.code;
}

/* In a child where, as on most machines, /run is a tmpfs. */
static int on_a_tmpfs_run(int (*fn)(const struct paths *p, uid_t other),
			  const struct paths *p)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		if (unshare(CLONE_NEWNS) < 0 ||
		    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		    mount("tmpfs", "/run", "tmpfs", 0, "mode=755") < 0)
			_exit(77);
		_exit(fn(p, 1));
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void live_bitmaps_are_reached_where_run_is_a_tmpfs(void **state)
{
	char root[] = "/tmp/test-paths-XXXXXX";
	struct paths p;
	int worker, elsewhere;

	if (geteuid() != 0) {
		print_message("mounts take root\n");
		skip();
	}
	assert_non_null(mkdtemp(root));
	assert_int_equal(chmod(root, 0755), 0);
	assert_int_equal(paths_init(&p, root, NULL), 0);
	assert_int_equal(mkdir(p.lib, 0755), 0);
	worker = on_a_tmpfs_run(open_as_worker, &p);
	elsewhere = on_a_tmpfs_run(open_elsewhere, &p);
	(void)rmdir(p.lib);
	(void)rmdir(root);
	if (worker == 77) {
		print_message("no mounts here\n");
		skip();
	}
	assert_int_equal(worker, 0);
	assert_int_equal(elsewhere, 0);
}

static void live_bitmaps_go_to_a_directory_of_our_own_only(void **state)
{
	char root[] = "/tmp/test-paths-XXXXXX", live[128], sub[256], id[128];
	uid_t uid = geteuid();
	gid_t gid = getegid();
	struct paths p;
	struct err err = {0};
	struct stat st;
	int fd = -1;

	assert_non_null(mkdtemp(root));
	assert_int_equal(paths_init(&p, root, &err), 0);
	assert_int_equal(paths_live_open(&p, "v", uid, gid, true, &fd, &err),
			 -ENOENT);
	assert_int_equal(mkdir(p.lib, 0700), 0);
	if (paths_live_open(&p, "v", uid, gid, true, &fd, &err) ==
	    -RP_EUNSUPPORTED) {
		(void)rmdir(p.lib);
		(void)rmdir(root);
		print_message("no tmpfs at /run or /dev/shm\n");
		skip();
	}
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	close(fd);
	assert_int_equal(paths_live_open(&p, "v", uid, gid, false, &fd, &err),
			 0);
	close(fd);
	fd = -1;
	assert_int_equal(paths_live_open(&p, "w", uid, gid, false, &fd, &err),
			 -ENOENT);

	/* open to others, then a symbolic link: refused */
	live_place(&p, live, sizeof(live));
	(void)snprintf(sub, sizeof(sub), "%s/v", live);
	(void)snprintf(id, sizeof(id), "%s.moved", live);
	assert_int_equal(chmod(live, 0750), 0);
	assert_int_equal(paths_live_open(&p, "v", uid, gid, true, &fd, &err),
			 -RP_EDENIED);
	assert_int_equal(chmod(live, 0700), 0);
	assert_int_equal(rename(live, id), 0);
	assert_int_equal(symlink(id, live), 0);
	assert_int_equal(paths_live_open(&p, "v", uid, gid, true, &fd, &err),
			 -RP_EDENIED);
	assert_int_equal(fd, -1);
	assert_int_equal(unlink(live), 0);
	assert_int_equal(rename(id, live), 0);

	assert_int_equal(rmdir(sub), 0);
	assert_int_equal(rmdir(live), 0);
	assert_int_equal(rmdir(p.lib), 0);
	assert_int_equal(rmdir(root), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(names_are_short_and_plain),
	    cmocka_unit_test(paths_follow_the_root),
	    cmocka_unit_test(live_bitmaps_go_to_a_directory_of_our_own_only),
	    cmocka_unit_test(live_bitmaps_are_reached_where_run_is_a_tmpfs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
