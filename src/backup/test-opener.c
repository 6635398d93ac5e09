/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "backup/opener.h"

#define ID "0a1b2c3d-4e5f-4061-8273-8495a6b7c8d9"

static char top[64];
static const char *const names[] = {"root-" ID ".qcow2", "data-" ID ".qcow2"};

static int remove_one(const char *path, const struct stat *st, int type,
		      struct FTW *ftw)
{
	return remove(path);
}

static int set_up(void **state)
{
	(void)strcpy(top, "/tmp/refpoint-opener-XXXXXX");
	(void)umask(027);
	return mkdtemp(top) && chdir(top) == 0 ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)chmod(top, 0700);
	return chdir("/") < 0 ? -1
			      : nftw(top, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* How many names are in directory PATH. */
static int count(const char *path)
{
	DIR *d = opendir(path);
	int n = -2; /* "." and ".." */

	assert_non_null(d);
	while (readdir(d))
		n++;
	(void)closedir(d);
	return n;
}

static int begin(const char *dir, struct export_files **ret, struct err *err)
{
	return export_files_new(dir, names, 2, ret, err);
}

static struct export_files *must_begin(const char *dir)
{
	struct export_files *files = NULL;
	struct err err = {0};

	assert_int_equal(begin(dir, &files, &err), 0);
	assert_int_equal(count(top), access(dir, F_OK) == 0 ? 2 : 1);
	return files;
}

static int finish(struct export_files *files, const volatile int *stop,
		  struct err *err)
{
	json_t *exported =
	    json_pack("{s:s, s:s, s:i}", "vm", "vm1", "id", ID, "version", 9);
	int r = export_files_finish(files, exported, stop, err);

	json_decref(exported);
	return r;
}

static mode_t mode_of(const char *path)
{
	struct stat st;

	assert_int_equal(lstat(path, &st), 0);
	return st.st_mode & 07777;
}

static void an_export_gets_its_name_when_it_is_complete(void **state)
{
	struct export_files *files = must_begin("out");
	const int *fds = export_files_fds(files);
	struct err err = {0};
	json_t *metadata;

	assert_int_not_equal(access("out", F_OK), 0);
	assert_int_equal(write(fds[0], "one", 3), 3);
	assert_int_equal(write(fds[1], "two!", 4), 4);
	assert_int_equal(fcntl(fds[0], F_GETFL) & (O_ACCMODE | O_APPEND),
			 O_RDWR);
	assert_int_equal(finish(files, NULL, &err), 0);
	export_files_free(files);
	assert_int_equal(count(top), 1);
	assert_int_equal(count("out"), 3);
	assert_int_equal(mode_of("out"), 0750);
	assert_int_equal(mode_of("out/root-" ID ".qcow2"), 0640);
	assert_int_equal(access("out/data-" ID ".qcow2", F_OK), 0);
	metadata = json_load_file("out/refpoint.json", 0, NULL);
	assert_int_equal(
	    json_integer_value(json_object_get(metadata, "version")), 1);
	assert_string_equal(json_string_value(json_object_get(metadata, "vm")),
			    "vm1");
	json_decref(metadata);
}

static void what_is_given_up_leaves_nothing(void **state)
{
	struct export_files *files = must_begin("out/");
	struct err err = {0};
	const int stop = 1;

	assert_int_equal(mode_of(top), 0700);
	export_files_free(files);
	assert_int_equal(count(top), 0);
	files = must_begin("out");
	assert_int_equal(finish(files, &stop, &err), -RP_ECANCELLED);
	export_files_free(files);
	assert_int_equal(count(top), 0);
}

static void nobody_else_looks_into_one_being_filled(void **state)
{
	struct export_files *files = must_begin("out");
	const struct dirent *entry;
	DIR *d = opendir(".");

	while ((entry = readdir(d)))
		if (strncmp(entry->d_name, "out.partial-", 12) == 0)
			assert_int_equal(mode_of(entry->d_name), 0700);
	(void)closedir(d);
	export_files_free(files);
}

static void an_empty_directory_is_replaced(void **state)
{
	struct export_files *files;
	struct err err = {0};
	char path[128];

	assert_int_equal(mkdir("out", 0700), 0);
	(void)snprintf(path, sizeof(path), "%s/out//", top);
	files = must_begin(path);
	assert_int_equal(finish(files, NULL, &err), 0);
	export_files_free(files);
	assert_int_equal(count(top), 1);
	assert_int_equal(count("out"), 3);
}

static void remove_all(const char *name)
{
	assert_int_equal(nftw(name, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

/* The directory that is there, then the export that replaces it. */
static void replace(struct stat *ret_old, struct stat *ret_new)
{
	struct export_files *files = must_begin("out");
	struct err err = {0};

	assert_int_equal(stat("out", ret_old), 0);
	assert_int_equal(finish(files, NULL, &err), 0);
	export_files_free(files);
	assert_int_equal(stat("out", ret_new), 0);
	assert_int_not_equal(ret_old->st_ino, ret_new->st_ino);
	assert_int_equal(count("out"), 3);
}

static void who_may_look_into_the_replaced_one_stays(void **state)
{
	static const mode_t modes[] = {0700, 0750, 0777, 02770, 01733};
	struct stat old, new;

	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(mkdir("out", 0700), 0);
		assert_int_equal(chmod("out", modes[i]), 0);
		replace(&old, &new);
		assert_int_equal(new.st_mode & 07777, modes[i]);
		assert_int_equal(new.st_uid, old.st_uid);
		assert_int_equal(new.st_gid, old.st_gid);
		remove_all("out");
	}
	if (geteuid() != 0)
		skip();
	assert_int_equal(mkdir("out", 0700), 0);
	assert_int_equal(chown("out", 65534, 65533), 0);
	replace(&old, &new);
	assert_int_equal(new.st_uid, 65534);
	assert_int_equal(new.st_gid, 65533);
	assert_int_equal(new.st_mode & 07777, 0700);
}

#define ACL_ACCESS  "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"

struct acl {
	uint32_t version;
	struct {
		uint16_t tag, perm;
		uint32_t id;
	} entries[5];
};

static void its_lists_of_rights_stay_too(void **state)
{
	/* user::rwx, user:65533:r-x, group::---, mask::r-x, other::--- */
	static const struct acl acl = {2,
				       {{0x01, 7, UINT32_MAX},
					{0x02, 5, 65533},
					{0x04, 0, UINT32_MAX},
					{0x10, 5, UINT32_MAX},
					{0x20, 0, UINT32_MAX}}};
	struct stat old, new;
	struct acl got;

	if (setxattr(top, ACL_DEFAULT, &acl, sizeof(acl), 0) < 0)
		skip(); /* none here */
	/* what is made here has a list, but for what was there without one */
	assert_int_equal(mkdir("out", 0700), 0);
	assert_int_equal(removexattr("out", ACL_ACCESS), 0);
	assert_int_equal(removexattr("out", ACL_DEFAULT), 0);
	assert_int_equal(chmod("out", 0750), 0);
	replace(&old, &new);
	assert_int_equal(new.st_mode & 07777, 0750);
	assert_int_equal(getxattr("out", ACL_ACCESS, &got, sizeof(got)), -1);
	assert_int_equal(getxattr("out", ACL_DEFAULT, &got, sizeof(got)), -1);
	remove_all("out");
	/* and the other way round */
	assert_int_equal(removexattr(top, ACL_DEFAULT), 0);
	assert_int_equal(mkdir("out", 0700), 0);
	assert_int_equal(setxattr("out", ACL_ACCESS, &acl, sizeof(acl), 0), 0);
	replace(&old, &new);
	assert_int_equal(getxattr("out", ACL_ACCESS, &got, sizeof(got)),
			 sizeof(acl));
	assert_memory_equal(&got, &acl, sizeof(acl));
}

static void logs_and_sidecars_have_names_that_go_together(void **state)
{
	char log[EXPORT_NAME_BYTES], side[EXPORT_NAME_BYTES];
	const char *const both[] = {log, side};
	struct export_files *files = NULL;
	struct err err = {0};

	export_log_name("root", 1, false, log);
	export_log_name("root", 1, true, side);
	assert_string_equal(log, "root-0001.hrl");
	assert_string_equal(side, "root-0001.side");
	assert_int_equal(export_files_new("out", both, 2, &files, &err), 0);
	assert_int_equal(finish(files, NULL, &err), 0);
	export_files_free(files);
	assert_int_equal(access("out/root-0001.hrl", F_OK), 0);
	assert_int_equal(access("out/root-0001.side", F_OK), 0);
	assert_int_equal(export_files_new("more", both, EXPORT_FILES_MAX + 1,
					  &files, &err),
			 -RP_ELIMIT);
	export_log_name("root", 12345, false, log);
	assert_string_equal(log, "root-12345.hrl");
}

static char *content(const char *path)
{
	char text[64] = "";
	int fd = open(path, O_RDONLY);

	assert_true(read(fd, text, sizeof(text) - 1) >= 0);
	(void)close(fd);
	return strdup(text);
}

static void documents_that_are_ready_stay_as_they_are(void **state)
{
	static const char *const good = "{s:{s:s, s:s}}";
	struct export_files *files = must_begin("out");
	struct err err = {0};
	json_t *exported =
	    json_pack(good, "documents", "config", "{ \"a\": 1 }\nMAC 1",
		      "state", "{}\nMAC 2\n");
	char *text;

	assert_int_equal(export_files_finish(files, exported, NULL, &err), 0);
	export_files_free(files);
	text = content("out/refpoint.json");
	assert_string_equal(text, "{ \"a\": 1 }\nMAC 1");
	free(text);
	text = content("out/refpoint-state.json");
	assert_string_equal(text, "{}\nMAC 2\n");
	free(text);
	assert_int_equal(count("out"), 4);
	remove_all("out");
	/* one alone is none, and leaves nothing */
	(void)json_object_del(json_object_get(exported, "documents"), "state");
	files = must_begin("out");
	assert_int_equal(export_files_finish(files, exported, NULL, &err),
			 -RP_EWIRE);
	export_files_free(files);
	assert_int_equal(count(top), 0);
	json_decref(exported);
}

static void anything_else_is_refused_before_there_is_anything(void **state)
{
	static const char *const taken[] = {"full", "file", "link"};
	static const char *const bad[] = {"", ".", "..", "/", "a/..", "full/."};
	struct export_files *files = NULL;
	struct err err = {0};

	assert_int_equal(mkdir("full", 0700), 0);
	assert_int_equal(mkdir("full/x", 0700), 0);
	assert_int_equal(mkdir("empty", 0700), 0);
	assert_int_equal(symlink("empty", "link"), 0);
	(void)close(creat("file", 0600));
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(begin(taken[i], &files, &err), -RP_EALREADY);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(begin(bad[i], &files, &err), -RP_EPARAM);
	assert_int_equal(begin("nowhere/out", &files, &err), -ENOENT);
	assert_int_equal(begin("file/out", &files, &err), -ENOTDIR);
	assert_int_equal(count(top), 4);
	assert_int_equal(count("full"), 1);
}

static void who_comes_second_to_a_name_loses(void **state)
{
	struct export_files *first = must_begin("out"), *second = NULL;
	struct err err = {0};

	assert_int_equal(begin("out", &second, &err), 0);
	assert_null(export_files_leftover(second));
	assert_int_equal(finish(first, NULL, &err), 0);
	assert_int_equal(finish(second, NULL, &err), -RP_EALREADY);
	export_files_free(first);
	export_files_free(second);
	assert_int_equal(count(top), 1);
	assert_int_equal(count("out"), 3);
}

static void what_a_kill_left_is_found_and_let_alone(void **state)
{
	struct export_files *files;

	assert_int_equal(mkdir("out.partial-abcdef", 0700), 0);
	assert_int_equal(mkdir("other.partial-abcdef", 0700), 0);
	assert_int_equal(mkdir("out.partial-short", 0700), 0);
	assert_int_equal(begin("out", &files, NULL), 0);
	assert_string_equal(export_files_leftover(files), "out.partial-abcdef");
	export_files_free(files);
	assert_int_equal(count(top), 3);
}

/* What the export has made: FN gets its name. */
static void for_what_is_there(void (*fn)(const char *name))
{
	struct dirent *entry;
	DIR *d = opendir(".");

	while ((entry = readdir(d)))
		if (*entry->d_name != '.')
			fn(entry->d_name);
	(void)closedir(d);
}

static void a_target_that_vanishes_is_a_failure(void **state)
{
	struct export_files *files = must_begin("out");
	struct err err = {0};

	for_what_is_there(remove_all);
	assert_true(finish(files, NULL, &err) < 0);
	export_files_free(files);
	assert_int_equal(count(top), 0);
}

static void move(const char *name)
{
	assert_int_equal(rename(name, "moved"), 0);
}

static void one_that_was_moved_is_not_finished_elsewhere(void **state)
{
	struct export_files *files = must_begin("out");
	struct err err = {0};

	for_what_is_there(move);
	assert_true(finish(files, NULL, &err) < 0);
	export_files_free(files);
	assert_int_equal(count(top), 1);
	assert_int_equal(count("moved"), 0);
}

static void a_place_that_one_may_not_write_to_is_told(void **state)
{
	struct export_files *files = NULL;
	struct err err = {0};

	if (geteuid() == 0)
		skip();
	assert_int_equal(chmod(top, 0500), 0);
	assert_int_equal(begin("out", &files, &err), -EACCES);
}

static void put(const char *path, const char *text, off_t bytes)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	ssize_t n = (ssize_t)strlen(text);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, (size_t)n), n);
	assert_int_equal(bytes > n ? ftruncate(fd, bytes) : 0, 0);
	(void)close(fd);
}

static void may_begin_below(bool may)
{
	struct export_files *files = NULL;
	struct err err = {0};

	assert_int_equal(begin("a/out", &files, &err), may ? 0 : -RP_EALREADY);
	export_files_free(files);
}

static void only_an_export_keeps_others_out(void **state)
{
	static const char ours[] =
	    "{\"version\": 1, \"vm\": \"v\", \"id\": \"" ID
	    "\", \"disks\": []}";
	static const char *const others[] = {"",
					     "{",
					     "{}",
					     "[]",
					     "{\"version\": 1}",
					     "{\"vm\": \"v\", \"id\": \"" ID
					     "\", \"disks\": []}"};

	assert_int_equal(mkdir("a", 0700), 0);
	for (unsigned i = 0; i < 6; i++) {
		put("a/refpoint.json", others[i], 0);
		may_begin_below(true);
	}
	put("a/refpoint.json", ours, 0);
	may_begin_below(false);
	put("a/refpoint.json", ours, (2 << 20));
	may_begin_below(true);
	assert_int_equal(rename("a/refpoint.json", "a/other"), 0);
	put("a/other", ours, 0);
	assert_int_equal(symlink("other", "a/refpoint.json"), 0);
	may_begin_below(true);
}

static void an_export_of_somebody_else_keeps_nobody_out(void **state)
{
	if (geteuid() != 0)
		skip();
	assert_int_equal(mkdir("a", 0755), 0);
	put("a/refpoint.json",
	    "{\"version\": 1, \"vm\": \"v\", \"id\": \"" ID
	    "\", \"disks\": []}",
	    0);
	may_begin_below(false);
	assert_int_equal(chown("a/refpoint.json", 65534, 65534), 0);
	may_begin_below(true);
}

/* Nobody else sees what is mounted, and it goes with this process. */
static bool can_mount(void)
{
	if (unshare(CLONE_NEWNS) == 0 &&
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0)
		return true;
	print_message("nothing can be mounted here: %s\n", strerror(errno));
	return false;
}

static void refuse_mounted(const char *dir)
{
	struct export_files *files = NULL;
	struct err err = {0};

	assert_int_equal(begin(dir, &files, &err), -RP_EPARAM);
	assert_null(files);
	assert_non_null(strstr(err.text, "give a directory in it"));
	assert_int_equal(umount(dir), 0);
	assert_int_equal(count("."), 1);
}

static void where_something_is_mounted_is_told_at_once(void **state)
{
	struct export_files *files;
	struct err err = {0};

	assert_int_equal(mkdir("out", 0700), 0);
	if (!can_mount())
		skip();
	assert_int_equal(mount("none", "out", "tmpfs", 0, NULL), 0);
	refuse_mounted("out");
	assert_int_equal(mount("none", "out", "tmpfs", 0, NULL), 0);
	assert_int_equal(mkdir("out/lost+found", 0700), 0);
	refuse_mounted("out/");
	/* of the same file system */
	assert_int_equal(mount("out", "out", NULL, MS_BIND, NULL), 0);
	refuse_mounted("out");
	assert_int_equal(mount("none", "out", "tmpfs", 0, NULL), 0);
	assert_int_equal(begin("out/in", &files, &err), 0);
	assert_int_equal(finish(files, NULL, &err), 0);
	export_files_free(files);
	assert_int_equal(count("out/in"), 3);
	assert_int_equal(umount("out"), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(an_export_gets_its_name_when_it_is_complete),
	    TEST(what_is_given_up_leaves_nothing),
	    TEST(nobody_else_looks_into_one_being_filled),
	    TEST(an_empty_directory_is_replaced),
	    TEST(who_may_look_into_the_replaced_one_stays),
	    TEST(its_lists_of_rights_stay_too),
	    TEST(logs_and_sidecars_have_names_that_go_together),
	    TEST(documents_that_are_ready_stay_as_they_are),
	    TEST(anything_else_is_refused_before_there_is_anything),
	    TEST(who_comes_second_to_a_name_loses),
	    TEST(what_a_kill_left_is_found_and_let_alone),
	    TEST(a_target_that_vanishes_is_a_failure),
	    TEST(one_that_was_moved_is_not_finished_elsewhere),
	    TEST(a_place_that_one_may_not_write_to_is_told),
	    TEST(only_an_export_keeps_others_out),
	    TEST(an_export_of_somebody_else_keeps_nobody_out),
	    TEST(where_something_is_mounted_is_told_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
