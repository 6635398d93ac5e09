/* SPDX-License-Identifier: Apache-2.0 */
/* Writes through the page cache, which threads of our own make. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/limits.h"
#include "disk/posix.h"
#include "disk/test-dir.h"
#include "disk/test-io.h"

#define DISK_BYTES MIB(4)

static struct test_dir dir;
static struct file *disk, *other;
static struct err err;
static char *buf; /* DISK_BYTES, aligned */

static struct file *make(const char *name)
{
	struct file *file = NULL;
	int fd = openat(dir.fd, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, DISK_BYTES), 0);
	assert_int_equal(posix_file_new(fd, name, &file, &err), 0);
	return file;
}

/* On a tmpfs, whose writes always need a thread. */
static int set_up(void **state)
{
	if (posix_memalign((void **)&buf, 4096, DISK_BYTES) != 0 ||
	    test_dir_make(&dir, "/dev/shm") < 0 ||
	    ring_new(8, &ring, &err) < 0 || ring_enable(ring, &err) < 0) {
		print_error("%s\n", err.text);
		return -1;
	}
	disk = make("disk");
	other = make("other");
	return 0;
}

static int tear_down(void **state)
{
	file_close(disk);
	file_close(other);
	ring = ring_free(ring);
	test_dir_remove(&dir);
	free(buf);
	return 0;
}

static void submit(struct test_io *t, enum io_op op, struct file *file,
		   void *data, uint64_t offset, uint64_t length)
{
	submit_io(t, &(struct io){.op = op,
				  .file = file,
				  .offset = offset,
				  .length = length,
				  .buf = data});
}

static int one(enum io_op op, struct file *file, void *data, uint64_t offset,
	       uint64_t length)
{
	return one_io(&(struct io){.op = op,
				   .file = file,
				   .offset = offset,
				   .length = length,
				   .buf = data});
}

/* Threads of this process. */
static unsigned all_threads(void)
{
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *entry;
	unsigned count = 0;

	assert_non_null(tasks);
	while ((entry = readdir(tasks)) != NULL)
		count += entry->d_name[0] != '.';
	(void)closedir(tasks);
	return count;
}

/* Those that are called "writer". */
static unsigned writer_threads(void)
{
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *entry;
	unsigned count = 0;

	assert_non_null(tasks);
	while ((entry = readdir(tasks)) != NULL) {
		char path[300], name[32] = "";
		FILE *f;

		(void)snprintf(path, sizeof(path), "/proc/self/task/%s/comm",
			       entry->d_name);
		f = fopen(path, "re");
		if (f && fgets(name, sizeof(name), f) &&
		    strcmp(name, "writer\n") == 0)
			count++;
		if (f)
			(void)fclose(f);
	}
	(void)closedir(tasks);
	return count;
}

/* A thread names itself when it begins to run. */
static void await_writer_threads(unsigned count)
{
	for (int ms = 0; writer_threads() != count && ms < 10000; ms++)
		(void)usleep(1000);
	assert_int_equal(writer_threads(), count);
}

static void every_write_is_made_once_and_can_be_read(void **state)
{
	enum {
		N = 1024
	};
	static struct test_io ios[N];

	for (unsigned i = 0; i < N; i++) {
		memset(buf + 4096 * i, (int)(i % 251), 4096);
		submit(&ios[i], IO_WRITE, disk, buf + 4096 * i, 4096 * i, 4096);
	}
	run();
	for (unsigned i = 0; i < N; i++) {
		assert_int_equal(ios[i].calls, 1);
		assert_int_equal(ios[i].result, 0);
	}
	assert_int_equal(one(IO_SYNC, disk, NULL, 0, 0), 0);
	memset(buf, 0xff, DISK_BYTES);
	assert_int_equal(one(IO_READ, disk, buf, 0, DISK_BYTES), 0);
	for (unsigned i = 0; i < DISK_BYTES; i++)
		assert_int_equal(buf[i], (char)(i / 4096 % 251));
}

static void a_file_has_its_own_threads_until_it_is_closed(void **state)
{
	struct file *third = make("third");

	await_writer_threads(0);
	assert_int_equal(one(IO_WRITE, disk, buf, 0, 4096), 0);
	await_writer_threads(WRITERS_PER_FILE);
	assert_int_equal(one(IO_WRITE, third, buf, 0, 4096), 0);
	assert_int_equal(one(IO_WRITE, disk, buf, 0, 4096), 0);
	await_writer_threads(2 * WRITERS_PER_FILE);
	file_close(third);
	await_writer_threads(WRITERS_PER_FILE);
}

static void what_needs_no_threads_gets_none(void **state)
{
	unsigned before = all_threads();
	struct test_dir on_disk;
	struct file *file;
	int fd;

	/* Counted while the file is open: closing it ends its threads. */
	assert_int_equal(one(IO_READ, disk, buf, 0, 4096), 0);
	assert_int_equal(all_threads(), before);
	assert_int_equal(
	    posix_file_new(open("/dev/zero", O_RDWR), "zero", &file, &err), 0);
	assert_int_equal(one(IO_WRITE, file, buf, 0, 4096), 0);
	assert_int_equal(all_threads(), before);
	file_close(file);
	assert_int_equal(test_dir_make(&on_disk, NULL), 0);
	fd = openat(on_disk.fd, "direct", O_RDWR | O_CREAT | O_DIRECT, 0600);
	if (fd >= 0) {
		assert_int_equal(posix_file_new(fd, "direct", &file, &err), 0);
		assert_int_equal(one(IO_WRITE, file, buf, 0, 4096), 0);
		assert_int_equal(all_threads(), before);
		file_close(file);
	} else {
		print_message("no O_DIRECT in %s\n", on_disk.path);
	}
	test_dir_remove(&on_disk);
}

/* The file may not grow beyond 1 MiB: a write across that is short first, and
 * an error when it goes on. */
static void a_short_write_goes_on_and_its_error_is_told(void **state)
{
	struct rlimit saved, limit;
	int across, beyond, below;

	assert_int_equal(ftruncate(posix_file_fd(disk), 0), 0);
	assert_int_equal(one(IO_WRITE, disk, buf, 0, 4096), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &saved), 0);
	limit = (struct rlimit){MIB(1), saved.rlim_max};
	assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	across = one(IO_WRITE, disk, buf, MIB(1) - 4096, 8192);
	beyond = one(IO_WRITE, disk, buf, MIB(1), 4096);
	below = one(IO_WRITE, disk, buf, MIB(1) - 8192, 8192);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &saved), 0);
	assert_int_equal(across, -EFBIG);
	assert_int_equal(beyond, -EFBIG);
	assert_int_equal(below, 0);
	assert_int_equal(one(IO_READ, disk, buf, MIB(1) - 4096, 4096), 0);
}

/* A page that is not there until we say so: a write from it hangs as one does
 * that waits for a disk. */
static char *absent_page(int *ret_uffd)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register range = {.mode = UFFDIO_REGISTER_MODE_MISSING};
	int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	char *page;

	if (uffd < 0)
		return NULL;
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(page != MAP_FAILED);
	range.range.start = (uintptr_t)page;
	range.range.len = 4096;
	assert_int_equal(ioctl(uffd, UFFDIO_API, &api), 0);
	assert_int_equal(ioctl(uffd, UFFDIO_REGISTER, &range), 0);
	*ret_uffd = uffd;
	return page;
}

static void
a_write_that_hangs_holds_up_neither_reads_nor_other_files(void **state)
{
	struct uffdio_zeropage zero = {.range.len = 4096};
	struct test_io hanging, more[3];
	int uffd = -1;
	char *page = absent_page(&uffd);

	if (!page) {
		print_message("skipped: no userfaultfd(2): %s\n",
			      strerror(errno));
		skip();
	}
	memset(buf, 'x', 4096);
	assert_int_equal(one(IO_WRITE, disk, buf, 0, 4096), 0);
	submit(&hanging, IO_WRITE, disk, page, 4096, 4096);
	left--; /* the others' end is waited for */
	submit(&more[0], IO_READ, disk, buf + 8192, 0, 4096);
	submit(&more[1], IO_WRITE, other, buf, 0, 4096);
	submit(&more[2], IO_READ, other, buf + 12288, MIB(1), 4096);
	run();
	assert_int_equal(hanging.calls, 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(more[i].result, 0);
	assert_int_equal(buf[8192], 'x');

	left = 1;
	zero.range.start = (uintptr_t)page;
	assert_int_equal(ioctl(uffd, UFFDIO_ZEROPAGE, &zero), 0);
	run();
	assert_int_equal(hanging.calls, 1);
	assert_int_equal(hanging.result, 0);
	(void)munmap(page, 4096);
	(void)close(uffd);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    TEST(every_write_is_made_once_and_can_be_read),
	    TEST(a_file_has_its_own_threads_until_it_is_closed),
	    TEST(what_needs_no_threads_gets_none),
	    TEST(a_short_write_goes_on_and_its_error_is_told),
	    TEST(a_write_that_hangs_holds_up_neither_reads_nor_other_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
