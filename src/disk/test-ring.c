/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/bytes.h"
#include "disk/image.h"
#include "disk/posix.h"
#include "disk/test-dir.h"
#include "disk/test-io.h"

#define DISK_BYTES MIB(4)

static struct test_dir dir;
static struct file *disk;
static struct err err;
static char *buf; /* DISK_BYTES, aligned */

static int set_up(void **state)
{
	struct fs *fs;

	memset(&err, 0, sizeof(err));
	if (posix_memalign((void **)&buf, 4096, DISK_BYTES) != 0 ||
	    test_dir_make(&dir, NULL) < 0 ||
	    posix_fs_new(dup(dir.fd), "test", &fs, &err) < 0 ||
	    fs_open(fs, "disk", FILE_WRITE | FILE_CREATE, &disk, &err) < 0 ||
	    disk->ops->truncate(disk, DISK_BYTES, &err) < 0 ||
	    ring_new(8, &ring, &err) < 0 || ring_enable(ring, &err) < 0) {
		print_error("%s\n", err.text);
		return -1;
	}
	fs->ops->free(fs);
	return 0;
}

static int tear_down(void **state)
{
	file_close(disk);
	ring = ring_free(ring);
	test_dir_remove(&dir);
	free(buf);
	return 0;
}

static void submit(struct test_io *t, enum io_op op, void *data,
		   uint64_t offset, uint64_t length, unsigned flags)
{
	submit_io(t, &(struct io){.op = op,
				  .flags = flags,
				  .file = disk,
				  .offset = offset,
				  .length = length,
				  .buf = data});
}

static int one(enum io_op op, void *data, uint64_t offset, uint64_t length,
	       unsigned flags)
{
	return one_io(&(struct io){.op = op,
				   .flags = flags,
				   .file = disk,
				   .offset = offset,
				   .length = length,
				   .buf = data});
}

static uint64_t allocated(void)
{
	struct stat st;

	assert_int_equal(fsync(posix_file_fd(disk)), 0);
	assert_int_equal(fstat(posix_file_fd(disk), &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static void assert_bytes(const char *p, char value, uint64_t bytes)
{
	for (uint64_t i = 0; i < bytes; i++)
		assert_int_equal(p[i], value);
}

static void more_requests_than_entries_complete_once_each(void **state)
{
	enum {
		N = 1024
	};
	static struct test_io ios[N];

	for (unsigned i = 0; i < N; i++) {
		memset(buf + 4096 * i, (int)(i % 251), 4096);
		submit(&ios[i], IO_WRITE, buf + 4096 * i, 4096 * i, 4096, 0);
	}
	run();
	for (unsigned i = 0; i < N; i++) {
		assert_int_equal(ios[i].calls, 1);
		assert_int_equal(ios[i].result, 0);
	}
	assert_int_equal(one(IO_SYNC, NULL, 0, 0, 0), 0);
	memset(buf, 0xff, DISK_BYTES);
	for (unsigned i = 0; i < N; i++)
		submit(&ios[i], IO_READ, buf + 4096 * i, 4096 * i, 4096, 0);
	run();
	for (unsigned i = 0; i < N; i++)
		assert_bytes(buf + 4096 * i, (char)(i % 251), 4096);
}

static void zeroing_leaves_zeros_and_keeps_the_space_when_told(void **state)
{
	memset(buf, 'x', DISK_BYTES);
	assert_int_equal(one(IO_WRITE, buf, 0, DISK_BYTES, 0), 0);
	assert_int_equal(allocated() >= DISK_BYTES, 1);
	assert_int_equal(one(IO_ZERO, NULL, 512, MIB(1), IO_NO_HOLE), 0);
	assert_int_equal(allocated() >= DISK_BYTES, 1);
	assert_int_equal(one(IO_ZERO, NULL, MIB(2), MIB(1), 0), 0);
	assert_int_equal(allocated() < DISK_BYTES, 1);
	assert_int_equal(one(IO_READ, buf, 0, DISK_BYTES, 0), 0);
	assert_bytes(buf, 'x', 512);
	assert_bytes(buf + 512, 0, MIB(1));
	assert_bytes(buf + 512 + MIB(1), 'x', MIB(1) - 512);
	assert_bytes(buf + MIB(2), 0, MIB(1));
	assert_bytes(buf + MIB(3), 'x', MIB(1));
}

static void a_discard_frees_space_without_changing_the_size(void **state)
{
	struct stat st;

	memset(buf, 'x', DISK_BYTES);
	assert_int_equal(one(IO_WRITE, buf, 0, DISK_BYTES, 0), 0);
	assert_int_equal(one(IO_DISCARD, NULL, MIB(1), MIB(3), 0), 0);
	assert_int_equal(allocated() <= MIB(1) + KIB(64), 1);
	assert_int_equal(fstat(posix_file_fd(disk), &st), 0);
	assert_int_equal(st.st_size, DISK_BYTES);
}

/* A tmpfs has no FALLOC_FL_ZERO_RANGE, so that zeros are written there. */
static void zeros_are_written_where_the_file_has_no_better_way(void **state)
{
	struct file *saved = disk;
	struct test_dir shm;
	struct fs *fs;

	assert_int_equal(test_dir_make(&shm, "/dev/shm"), 0);
	assert_int_equal(posix_fs_new(dup(shm.fd), "shm", &fs, &err), 0);
	assert_int_equal(
	    fs_open(fs, "disk", FILE_WRITE | FILE_CREATE, &disk, &err), 0);
	assert_int_equal(
	    fallocate(posix_file_fd(disk), FALLOC_FL_ZERO_RANGE, 0, 4096), -1);
	memset(buf, 'x', DISK_BYTES);
	assert_int_equal(one(IO_WRITE, buf, 0, DISK_BYTES, 0), 0);
	assert_int_equal(one(IO_ZERO, NULL, 512, DISK_BYTES - 1024, IO_NO_HOLE),
			 0);
	assert_int_equal(allocated() >= DISK_BYTES, 1);
	assert_int_equal(one(IO_READ, buf, 0, DISK_BYTES, 0), 0);
	assert_bytes(buf, 'x', 512);
	assert_bytes(buf + 512, 0, DISK_BYTES - 1024);
	assert_bytes(buf + DISK_BYTES - 512, 'x', 512);
	file_close(disk);
	fs->ops->free(fs);
	test_dir_remove(&shm);
	disk = saved;
}

static void a_file_that_cannot_discard_says_so(void **state)
{
	struct file *saved = disk;

	assert_int_equal(
	    posix_file_new(open("/dev/zero", O_RDWR), "zero", &disk, &err), 0);
	assert_int_equal(one(IO_DISCARD, NULL, 0, 4096, 0), -EOPNOTSUPP);
	memset(buf, 'x', 4096);
	assert_int_equal(one(IO_ZERO, NULL, 0, 4096, 0), 0);
	file_close(disk);
	disk = saved;
}

/* A pipe in packet mode hands over 100 bytes, then 50, then its end. */
static void a_short_transfer_is_resumed_and_the_end_is_an_error(void **state)
{
	struct file *saved = disk;
	int fds[2];

	assert_int_equal(pipe2(fds, O_DIRECT), 0);
	memset(buf, 'x', 256);
	assert_int_equal(write(fds[1], buf, 100), 100);
	memset(buf, 'y', 256);
	assert_int_equal(write(fds[1], buf, 50), 50);
	close(fds[1]);
	assert_int_equal(posix_file_new(fds[0], "pipe", &disk, &err), 0);
	assert_int_equal(one(IO_READ, buf, 0, 150, 0), 0);
	assert_bytes(buf, 'x', 100);
	assert_bytes(buf + 100, 'y', 50);
	assert_int_equal(one(IO_READ, buf, 0, 512, 0), -EIO);
	file_close(disk);
	disk = saved;
}

/* Every request that a guest may send, on an image as it is opened. */
static void check_image(const char *path)
{
	struct file *saved = disk;
	struct image_geometry g;
	int fd, rc;

	assert_int_equal(image_open(path, true, &fd, &g, &err), 0);
	assert_int_equal(g.bytes, DISK_BYTES);
	print_message("%s: direct=%d can_discard=%d\n", path, g.direct,
		      g.can_discard);
	assert_int_equal(posix_file_new(fd, path, &disk, &err), 0);
	memset(buf, 'x', DISK_BYTES);
	assert_int_equal(one(IO_WRITE, buf, 0, DISK_BYTES, 0), 0);
	memset(buf, 'y', 512);
	assert_int_equal(one(IO_WRITE, buf, DISK_BYTES - 512, 512, 0), 0);
	assert_int_equal(one(IO_ZERO, NULL, 512, 4096, 0), 0);
	assert_int_equal(one(IO_ZERO, NULL, MIB(1), MIB(1) + 512, IO_NO_HOLE),
			 0);
	assert_int_equal(one(IO_SYNC, NULL, 0, 0, 0), 0);
	rc = one(IO_DISCARD, NULL, MIB(3), 8192, 0);
	assert_int_equal(rc, g.can_discard ? 0 : -EOPNOTSUPP);
	assert_int_equal(one(IO_READ, buf, 0, DISK_BYTES, 0), 0);
	assert_bytes(buf, 'x', 512);
	assert_bytes(buf + 512, 0, 4096);
	assert_bytes(buf + 4608, 'x', MIB(1) - 4608);
	assert_bytes(buf + MIB(1), 0, MIB(1) + 512);
	assert_bytes(buf + MIB(3), rc == 0 ? 0 : 'x', 8192);
	assert_bytes(buf + DISK_BYTES - 512, 'y', 512);
	assert_int_equal(one(IO_READ, buf, DISK_BYTES, 512, 0), -EIO);
	file_close(disk);
	disk = saved;
}

static void an_image_file_serves_single_sectors(void **state)
{
	char path[300];

	(void)snprintf(path, sizeof(path), "%s/disk", dir.path);
	check_image(path);
}

static void a_block_device_serves_single_sectors(void **state)
{
	char device[64], command[400];
	FILE *f;
	int got;

	(void)snprintf(command, sizeof(command),
		       "losetup --show -f %s/disk 2>/dev/null", dir.path);
	f = geteuid() == 0 ? popen(command, "re") : NULL;
	got = f ? fscanf(f, "%63s", device) : 0;
	if (!f || pclose(f) != 0 || got != 1) {
		print_message("skipped: no loop device to be had\n");
		skip();
	}
	check_image(device);
	(void)snprintf(command, sizeof(command), "losetup -d %s", device);
	assert_int_equal(system(command), 0);
}

static void a_read_beyond_the_end_of_a_cut_image_is_an_error(void **state)
{
	assert_int_equal(disk->ops->truncate(disk, MIB(1), &err), 0);
	assert_int_equal(one(IO_READ, buf, MIB(1) - 4096, 8192, 0), -EIO);
	assert_int_equal(one(IO_READ, buf, MIB(1) - 4096, 4096, 0), 0);
}

static void errors_and_empty_requests_complete_from_the_loop(void **state)
{
	struct file *saved = disk;

	assert_int_equal(one(IO_READ, NULL, 0, 0, 0), 0);
	assert_int_equal(one(IO_ZERO, NULL, 0, 0, 0), 0);
	assert_int_equal(
	    posix_file_new(open("/dev/full", O_RDWR), "full", &disk, &err), 0);
	assert_int_equal(one(IO_WRITE, buf, 0, 4096, 0), -ENOSPC);
	file_close(disk);
	disk = saved;
}

static void a_failed_sync_of_the_image_is_latched(void **state)
{
	struct file *saved = disk;

	assert_int_equal(
	    posix_file_new(open("/dev/zero", O_RDWR), "zero", &disk, &err), 0);
	assert_int_equal(one(IO_SYNC, NULL, 0, 0, 0), -EINVAL);
	assert_int_equal(posix_file_latched(disk), -EINVAL);
	assert_int_equal(one(IO_SYNC, NULL, 0, 0, 0), -EINVAL);
	file_close(disk);
	disk = saved;
	posix_file_latch(disk, -EIO);
	assert_int_equal(one(IO_SYNC, NULL, 0, 0, 0), -EIO);
}

struct waiter {
	struct ring_op op;
	int result;
	unsigned calls;
};

static void waited(struct ring_op *op, int result, unsigned cqe_flags)
{
	struct waiter *w = container_of(op, struct waiter, op);

	w->result = result;
	w->calls++;
	if (--left == 0)
		ring_stop(ring);
}

/* 8 submission and 32 completion entries: the kernel keeps the rest. */
static void an_overflowing_completion_queue_loses_nothing(void **state)
{
	enum {
		N = 2000
	};
	static struct waiter waiters[N];

	left = N;
	for (unsigned i = 0; i < N; i++) {
		waiters[i].op.done = waited;
		ring_timer(ring, &waiters[i].op, i % 3);
	}
	run();
	for (unsigned i = 0; i < N; i++) {
		assert_int_equal(waiters[i].calls, 1);
		assert_int_equal(waiters[i].result, -ETIME);
	}
}

static void what_is_cancelled_completes_once(void **state)
{
	struct waiter timer = {.op.done = waited};
	struct waiter poll = {.op.done = waited};
	int pipefd[2];

	assert_int_equal(pipe(pipefd), 0);
	left = 2;
	ring_timer(ring, &timer.op, 3600 * 1000);
	io_uring_prep_poll_add(ring_sqe(ring, &poll.op), pipefd[0], POLLIN);
	ring_cancel(ring, &timer.op);
	ring_cancel(ring, &poll.op);
	run();
	assert_int_equal(timer.result, -ECANCELED);
	assert_int_equal(poll.result, -ECANCELED);
	assert_int_equal(timer.calls + poll.calls, 2);
	close(pipefd[0]);
	close(pipefd[1]);
}

static void operations_that_were_not_allowed_are_refused(void **state)
{
	struct waiter w = {.op.done = waited};
	int fd;

	left = 1;
	io_uring_prep_openat(ring_sqe(ring, &w.op), AT_FDCWD, "/dev/null",
			     O_RDONLY, 0);
	run();
	assert_int_equal(w.result, -EACCES);
	left = 1;
	io_uring_prep_nop(ring_sqe(ring, &w.op));
	run();
	assert_int_equal(w.result, -EACCES);
	left = 1;
	fd = dup(posix_file_fd(disk));
	io_uring_prep_close(ring_sqe(ring, &w.op), fd);
	run();
	assert_int_equal(w.result, -EACCES);
	assert_int_equal(close(fd), 0);
}

#define POSTERS 4
#define POSTS   2000

struct post {
	struct ring_task task;
	unsigned poster;
	unsigned number;
	unsigned runs;
};

static struct post posts[POSTERS][POSTS];
static unsigned next_of[POSTERS];
static pthread_t loop_thread;

static void post_runs(struct ring_task *task)
{
	struct post *p = container_of(task, struct post, task);

	assert_true(pthread_equal(pthread_self(), loop_thread));
	assert_int_equal(p->number, next_of[p->poster]);
	next_of[p->poster]++;
	p->runs++;
	if (--left == 0)
		ring_stop(ring);
}

static void *poster(void *arg)
{
	struct post *mine = arg;

	for (unsigned i = 0; i < POSTS; i++)
		ring_post(ring, &mine[i].task);
	return NULL;
}

static void posted_tasks_run_once_in_order_on_the_rings_thread(void **state)
{
	pthread_t threads[POSTERS];

	memset(posts, 0, sizeof(posts));
	memset(next_of, 0, sizeof(next_of));
	loop_thread = pthread_self();
	left = POSTERS * POSTS;
	for (unsigned p = 0; p < POSTERS; p++) {
		for (unsigned i = 0; i < POSTS; i++)
			posts[p][i] = (struct post){.task.run = post_runs,
						    .poster = p,
						    .number = i};
		assert_int_equal(
		    pthread_create(&threads[p], NULL, poster, posts[p]), 0);
	}
	run();
	for (unsigned p = 0; p < POSTERS; p++) {
		assert_int_equal(pthread_join(threads[p], NULL), 0);
		for (unsigned i = 0; i < POSTS; i++)
			assert_int_equal(posts[p][i].runs, 1);
	}
}

static void *stopper(void *arg)
{
	ring_stop(ring);
	return NULL;
}

static void a_stop_from_elsewhere_ends_the_loop_even_before_it(void **state)
{
	pthread_t thread;

	ring_stop(ring);
	assert_int_equal(ring_run(ring, &err), 0);
	assert_int_equal(pthread_create(&thread, NULL, stopper, NULL), 0);
	assert_int_equal(ring_run(ring, &err), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

static unsigned turns;

static void each_turn(void *arg)
{
	turns++;
	if (turns == 1)
		submit(arg, IO_SYNC, NULL, 0, 0, 0);
}

static void what_a_turn_prepares_is_submitted_by_it(void **state)
{
	struct test_io t = {0};

	turns = 0;
	ring_on_turn(ring, each_turn, &t);
	run();
	assert_int_equal(t.calls, 1);
	assert_true(turns >= 1);
}

static unsigned others;

static void other_turn(void *arg)
{
	others++;
}

static void leaving_turn(void *arg)
{
	ring_off_turn(ring, leaving_turn, arg);
	turns++;
}

static void nothing(struct ring_task *task)
{
}

/* Puts another one on, and in the second turn ends the loop. */
static void joining_turn(void *arg)
{
	static struct ring_task again = {.run = nothing};
	unsigned *calls = arg;

	if ((*calls)++) {
		ring_stop(ring);
		return;
	}
	ring_on_turn(ring, other_turn, calls);
	ring_post(ring, &again);
}

static void turns_come_and_go_while_the_ring_runs(void **state)
{
	unsigned calls = 0;

	turns = others = 0;
	ring_on_turn(ring, leaving_turn, NULL);
	ring_on_turn(ring, other_turn, NULL);
	ring_on_turn(ring, joining_turn, &calls);
	assert_int_equal(ring_run(ring, &err), 0);
	assert_int_equal(turns, 1);
	assert_int_equal(calls, 2);
	assert_int_equal(others, 4);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    TEST(more_requests_than_entries_complete_once_each),
	    TEST(zeroing_leaves_zeros_and_keeps_the_space_when_told),
	    TEST(a_discard_frees_space_without_changing_the_size),
	    TEST(zeros_are_written_where_the_file_has_no_better_way),
	    TEST(a_file_that_cannot_discard_says_so),
	    TEST(a_short_transfer_is_resumed_and_the_end_is_an_error),
	    TEST(an_image_file_serves_single_sectors),
	    TEST(a_block_device_serves_single_sectors),
	    TEST(a_read_beyond_the_end_of_a_cut_image_is_an_error),
	    TEST(errors_and_empty_requests_complete_from_the_loop),
	    TEST(a_failed_sync_of_the_image_is_latched),
	    TEST(an_overflowing_completion_queue_loses_nothing),
	    TEST(what_is_cancelled_completes_once),
	    TEST(operations_that_were_not_allowed_are_refused),
	    TEST(posted_tasks_run_once_in_order_on_the_rings_thread),
	    TEST(a_stop_from_elsewhere_ends_the_loop_even_before_it),
	    TEST(what_a_turn_prepares_is_submitted_by_it),
	    TEST(turns_come_and_go_while_the_ring_runs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
