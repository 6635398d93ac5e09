/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/bytes.h"
#include "disk/posix.h"
#include "disk/test-dir.h"

static struct test_dir dir;
static struct fs *fs;
static struct err err;

static int set_up(void **state)
{
	memset(&err, 0, sizeof(err));
	if (test_dir_make(&dir, NULL) < 0)
		return -1;
	return posix_fs_new(dup(dir.fd), "the store", &fs, &err);
}

static int tear_down(void **state)
{
	fs->ops->free(fs);
	test_dir_remove(&dir);
	return 0;
}

static struct file *make(const char *name)
{
	struct file *file = NULL;

	assert_int_equal(
	    fs_open(fs, name, FILE_WRITE | FILE_CREATE, &file, &err), 0);
	return file;
}

static void what_is_written_is_read_back_and_ends_short(void **state)
{
	struct file *file = make("pages");
	char buf[16];
	uint64_t bytes;

	assert_int_equal(file_write(file, "0123456789", 10, 5, &err), 0);
	assert_int_equal(file_read(file, buf, 16, 3, &err), 12);
	assert_memory_equal(buf,
			    "\0\0"
			    "0123456789",
			    12);
	assert_int_equal(file_read(file, buf, 16, 15, &err), 0);
	assert_int_equal(file->ops->size(file, &bytes, &err), 0);
	assert_int_equal(bytes, 15);
	assert_int_equal(file->ops->truncate(file, 7, &err), 0);
	assert_int_equal(file->ops->size(file, &bytes, &err), 0);
	assert_int_equal(bytes, 7);
	assert_int_equal(file_sync(file, &err), 0);
	assert_int_equal(fs->ops->sync_dir(fs, &err), 0);
	assert_string_equal(file->name, "pages");
	file_close(file);
}

static void allocate_reserves_grows_and_keeps_what_is_there(void **state)
{
	struct file *file = make("pages");
	struct stat st;
	char buf[8];

	assert_int_equal(file_write(file, "abcdefgh", 8, 0, &err), 0);
	assert_int_equal(file->ops->allocate(file, 4, MIB(1), &err), 0);
	assert_int_equal(fstat(posix_file_fd(file), &st), 0);
	assert_int_equal(st.st_size, MIB(1) + 4);
	assert_true((uint64_t)st.st_blocks * 512 >= MIB(1));
	assert_int_equal(file_read(file, buf, 8, 0, &err), 8);
	assert_memory_equal(buf, "abcdefgh", 8);
	assert_int_equal(file_read(file, buf, 8, KIB(512), &err), 8);
	assert_memory_equal(buf, "\0\0\0\0\0\0\0\0", 8);
	assert_int_equal(file->ops->allocate(file, 0, UINT64_MAX, &err),
			 -EFBIG);
	file_close(file);
}

static void flags_decide_whether_a_file_is_made(void **state)
{
	struct file *file = NULL;

	assert_int_equal(fs_open(fs, "a", FILE_WRITE, &file, &err), -ENOENT);
	assert_string_equal(err.text,
			    "open 'a' in the store: No such file or directory");
	assert_null(file);
	file = make("a");
	assert_int_equal(fcntl(posix_file_fd(file), F_GETFL) & O_NONBLOCK, 0);
	assert_int_equal(fcntl(posix_file_fd(file), F_GETFD), FD_CLOEXEC);
	file_close(file);
	assert_int_equal(fs_open(fs, "a",
				 FILE_WRITE | FILE_CREATE | FILE_EXCLUSIVE,
				 &file, &err),
			 -EEXIST);
	assert_int_equal(fs_open(fs, "a", FILE_READ, &file, &err), 0);
	assert_int_equal(file_write(file, "x", 1, 0, &err), -EBADF);
	assert_string_equal(err.text, "write 'a': Bad file descriptor");
	file_close(file);
}

static void only_regular_files_of_this_directory_are_opened(void **state)
{
	static const char *const names[] = {"", ".", "..", "a/b",
					    "/etc/passwd"};
	struct file *file;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		assert_int_equal(fs_open(fs, names[i], FILE_READ, &file, &err),
				 -EINVAL);
		assert_int_equal(fs->ops->unlink(fs, names[i], &err), -EINVAL);
		assert_int_equal(fs->ops->rename(fs, names[i], "x", &err),
				 -EINVAL);
		assert_int_equal(fs->ops->rename(fs, "x", names[i], &err),
				 -EINVAL);
	}
	assert_int_equal(symlinkat("/etc/passwd", dir.fd, "link"), 0);
	assert_int_equal(fs_open(fs, "link", FILE_READ, &file, &err), -ELOOP);
	assert_int_equal(mkfifoat(dir.fd, "fifo", 0600), 0);
	assert_int_equal(fs_open(fs, "fifo", FILE_READ, &file, &err),
			 -RP_EUNSUPPORTED);
}

static void rename_replaces_and_unlink_names_what_is_missing(void **state)
{
	struct file *file = make("new");
	char c;

	assert_int_equal(file_write(file, "n", 1, 0, &err), 0);
	file_close(file);
	file_close(make("old"));
	assert_int_equal(fs->ops->rename(fs, "new", "old", &err), 0);
	assert_int_equal(fs_open(fs, "old", FILE_READ, &file, &err), 0);
	assert_int_equal(file_read(file, &c, 1, 0, &err), 1);
	assert_int_equal(c, 'n');
	file_close(file);
	assert_int_equal(fs->ops->unlink(fs, "new", &err), -ENOENT);
	assert_int_equal(fs->ops->unlink(fs, "old", &err), 0);
}

static int collect(void *arg, const char *name)
{
	char *all = arg;

	strcat(all, name);
	return name[0] == 's' ? 7 : 0;
}

static void list_names_files_only_and_stops_when_told(void **state)
{
	char all[64] = "";

	assert_int_equal(mkdirat(dir.fd, "directory", 0700), 0);
	assert_int_equal(fs->ops->list(fs, collect, all, &err), 0);
	assert_string_equal(all, "");
	file_close(make("f"));
	assert_int_equal(fs->ops->list(fs, collect, all, &err), 0);
	assert_int_equal(fs->ops->list(fs, collect, all, &err), 0);
	assert_string_equal(all, "ff");
	file_close(make("s"));
	assert_int_equal(fs->ops->list(fs, collect, all, &err), 7);
}

static void a_failed_sync_is_never_forgotten(void **state)
{
	struct file *file = make("pages");

	posix_file_latch(file, -EIO);
	posix_file_latch(file, -ENOSPC);
	assert_int_equal(posix_file_latched(file), -EIO);
	assert_int_equal(file_sync(file, &err), -EIO);
	assert_string_equal(err.text, "sync 'pages': an earlier sync failed: "
				      "Input/output error");
	assert_int_equal(file_write(file, "x", 1, 0, &err), 0);
	assert_int_equal(file_sync(file, &err), -EIO);
	file_close(file);
	file = make("pages");
	assert_int_equal(file_sync(file, &err), 0);
	file_close(file);
}

static void a_sync_that_the_system_refuses_is_latched(void **state)
{
	struct file *file;
	int pipefd[2];

	assert_int_equal(pipe(pipefd), 0);
	close(pipefd[1]);
	assert_int_equal(posix_file_new(pipefd[0], "pipe", &file, &err), 0);
	assert_int_equal(file_sync(file, &err), -EINVAL);
	assert_int_equal(posix_file_latched(file), -EINVAL);
	file_close(file);
}

static void a_map_is_refused_where_the_power_would_take_it(void **state)
{
	struct file *file = make("live");
	void *addr = NULL;
	uint64_t bytes;

	if (posix_is_tmpfs(dir.fd, &err) == 1) {
		file_close(file);
		print_message("skipped: %s is a tmpfs\n", dir.path);
		skip();
	}
	assert_int_equal(file->ops->map(file, &addr, &bytes, &err),
			 -RP_EUNSUPPORTED);
	assert_null(addr);
	file_close(file);
	assert_int_equal(posix_check_store_fs(dir.fd, &err), 0);
}

static void a_map_on_a_tmpfs_is_the_file(void **state)
{
	struct test_dir shm;
	struct file *file;
	struct fs *memory;
	void *addr;
	uint64_t bytes;
	char c;

	assert_int_equal(test_dir_make(&shm, "/dev/shm"), 0);
	assert_int_equal(posix_is_tmpfs(shm.fd, &err), 1);
	assert_int_equal(posix_check_store_fs(shm.fd, &err), -RP_EUNSUPPORTED);
	assert_string_equal(err.text, "the store cannot live on tmpfs, as it "
				      "is lost with the power");
	assert_int_equal(posix_fs_new(dup(shm.fd), "memory", &memory, &err), 0);
	assert_int_equal(
	    fs_open(memory, "live", FILE_WRITE | FILE_CREATE, &file, &err), 0);
	assert_true(file->ops->map(file, &addr, &bytes, &err) < 0);
	assert_int_equal(file->ops->allocate(file, 0, 8192, &err), 0);
	assert_int_equal(file->ops->map(file, &addr, &bytes, &err), 0);
	assert_int_equal(bytes, 8192);
	((char *)addr)[5000] = 'm';
	assert_int_equal(file_read(file, &c, 1, 5000, &err), 1);
	assert_int_equal(c, 'm');
	file_close(file);
	memory->ops->free(memory);
	test_dir_remove(&shm);
}

static void a_file_system_is_made_of_a_directory_only(void **state)
{
	struct fs *other = NULL;
	uint64_t bytes = 0;

	assert_int_equal(posix_fs_new(open("/dev/null", O_RDONLY), "it", &other,
				      &err),
			 -ENOTDIR);
	assert_null(other);
	assert_int_equal(fs->ops->space(fs, &bytes, &err), 0);
	assert_true(bytes > 0);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    TEST(what_is_written_is_read_back_and_ends_short),
	    TEST(allocate_reserves_grows_and_keeps_what_is_there),
	    TEST(flags_decide_whether_a_file_is_made),
	    TEST(only_regular_files_of_this_directory_are_opened),
	    TEST(rename_replaces_and_unlink_names_what_is_missing),
	    TEST(list_names_files_only_and_stops_when_told),
	    TEST(a_failed_sync_is_never_forgotten),
	    TEST(a_sync_that_the_system_refuses_is_latched),
	    TEST(a_map_is_refused_where_the_power_would_take_it),
	    TEST(a_map_on_a_tmpfs_is_the_file),
	    TEST(a_file_system_is_made_of_a_directory_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
