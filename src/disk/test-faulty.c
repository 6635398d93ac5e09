/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/bytes.h"
#include "disk/faulty.h"
#include "disk/posix.h"
#include "disk/test-dir.h"

static struct test_dir dir;
static struct faults *faults;
static struct fs *fs;
static struct err err;

static int set_up(void **state)
{
	memset(&err, 0, sizeof(err));
	return test_dir_make(&dir, NULL);
}

static int tear_down(void **state)
{
	if (fs)
		fs->ops->free(fs);
	fs = NULL;
	faults = faults_free(faults);
	test_dir_remove(&dir);
	return 0;
}

static void use(const char *rules)
{
	struct fs *inner;

	assert_int_equal(faults_new(rules, &faults, &err), 0);
	assert_int_equal(posix_fs_new(dup(dir.fd), "store", &inner, &err), 0);
	assert_int_equal(faulty_fs_new(faults, inner, &fs, &err), 0);
}

static struct file *make(const char *name)
{
	struct file *file = NULL;

	assert_int_equal(
	    fs_open(fs, name, FILE_WRITE | FILE_CREATE, &file, &err), 0);
	return file;
}

static int64_t now_us(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void rules_that_are_not_understood_are_named(void **state)
{
	static const struct {
		const char *rules;
		const char *says;
	} cases[] = {
	    {"frob", "rule 1: 'frob'"},
	    {"sync:delay=2", "rule 1: 'delay'"},
	    {"sync:delay=99999s", "rule 1: 'delay'"},
	    {"sync;write:nth=0", "rule 2: 'nth'"},
	    {"write:nth=-1", "'nth'"},
	    {"write:nth=1x", "'nth'"},
	    {"write:errno=EWHAT", "'errno'"},
	    {"write:errno=0", "'errno'"},
	    {"write:sticky", "'sticky'"},
	    {"write:sticky=1:nth=1", "'sticky'"},
	    {"write:name", "'name'"},
	    {"write:colour=red", "'colour'"},
	    {":", "rule 1: ''"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(faults_new(cases[i].rules, &faults, &err),
				 -RP_EPARAM);
		assert_null(faults);
		if (!strstr(err.text, cases[i].says))
			fail_msg("'%s' does not say %s", err.text,
				 cases[i].says);
	}
	assert_int_equal(faults_new("", &faults, &err), 0);
}

static void the_nth_matching_call_fails_and_no_other(void **state)
{
	struct file *pages, *other;

	use("write:name=pages*:nth=2:errno=ENOSPC");
	pages = make("pages.0");
	other = make("other");
	assert_int_equal(file_write(pages, "a", 1, 0, &err), 0);
	assert_int_equal(file_write(other, "a", 1, 0, &err), 0);
	assert_int_equal(file_write(pages, "b", 1, 0, &err), -ENOSPC);
	assert_string_equal(err.text,
			    "'pages.0': injected: No space left on device");
	assert_int_equal(file_write(pages, "c", 1, 0, &err), 0);
	assert_int_equal(faults_hits(faults, 0), 3);
	file_close(pages);
	file_close(other);
}

static void a_sticky_failure_lasts(void **state)
{
	struct file *file;
	char c;

	use("read:nth=2:errno=EIO:sticky");
	file = make("f");
	assert_int_equal(file_write(file, "x", 1, 0, &err), 0);
	assert_int_equal(file_read(file, &c, 1, 0, &err), 1);
	for (int i = 0; i < 3; i++)
		assert_int_equal(file_read(file, &c, 1, 0, &err), -EIO);
	file_close(file);
}

static void a_failure_after_the_call_leaves_its_work(void **state)
{
	struct file *file;
	char c = 0;

	use("write:nth=1:errno=EIO;write:nth=2:errno=EIO:after");
	file = make("f");
	assert_int_equal(file_write(file, "x", 1, 0, &err), -EIO);
	assert_int_equal(file_read(file, &c, 1, 0, &err), 0);
	assert_int_equal(file_write(file, "x", 1, 0, &err), -EIO);
	assert_int_equal(file_read(file, &c, 1, 0, &err), 1);
	assert_int_equal(c, 'x');
	file_close(file);
}

static int ignore(void *arg, const char *name)
{
	return 0;
}

static void every_operation_can_be_failed(void **state)
{
	struct file *file, *never = NULL;
	uint64_t bytes;
	void *addr;
	char c;

	use("any:nth=2:sticky:errno=5");
	file = make("f");
	assert_int_equal(file_read(file, &c, 1, 0, &err), -EIO);
	assert_int_equal(file_write(file, "x", 1, 0, &err), -EIO);
	assert_int_equal(file_sync(file, &err), -EIO);
	assert_int_equal(file->ops->truncate(file, 1, &err), -EIO);
	assert_int_equal(file->ops->allocate(file, 0, 1, &err), -EIO);
	assert_int_equal(file->ops->size(file, &bytes, &err), -EIO);
	assert_int_equal(file->ops->map(file, &addr, &bytes, &err), -EIO);
	assert_int_equal(fs_open(fs, "f", 0, &never, &err), -EIO);
	assert_null(never);
	assert_int_equal(fs->ops->rename(fs, "f", "g", &err), -EIO);
	assert_int_equal(fs->ops->unlink(fs, "f", &err), -EIO);
	assert_int_equal(fs->ops->sync_dir(fs, &err), -EIO);
	assert_int_equal(fs->ops->list(fs, ignore, NULL, &err), -EIO);
	assert_int_equal(fs->ops->space(fs, &bytes, &err), -EIO);
	assert_int_equal(faccessat(dir.fd, "f", F_OK, 0), 0);
	file_close(file);
}

static void names_and_delays_of_several_rules_come_together(void **state)
{
	struct file *file;
	int64_t start;

	use("sync:delay=4ms;sync:name=f:delay=3000us;"
	    "rename:name=new:errno=EROFS");
	file = make("f");
	start = now_us();
	assert_int_equal(file_sync(file, &err), 0);
	assert_true(now_us() - start >= 7000);
	assert_int_equal(fs->ops->rename(fs, "f", "new", &err), -EROFS);
	assert_int_equal(fs->ops->rename(fs, "f", "old", &err), 0);
	file_close(file);
}

static struct file *hanging;
static atomic_int returned;

static void *sync_it(void *arg)
{
	atomic_store(&returned, 1 + (file_sync(hanging, &err) != 0));
	return NULL;
}

static void a_hang_lasts_as_long_as_its_file(void **state)
{
	char rules[400], path[300];
	pthread_t thread;
	int64_t start;

	(void)snprintf(path, sizeof(path), "%s/stuck", dir.path);
	(void)snprintf(rules, sizeof(rules), "sync:name=f:hang=%s", path);
	use(rules);
	hanging = make("f");
	file_close(make("stuck"));
	atomic_store(&returned, 0);
	assert_int_equal(pthread_create(&thread, NULL, sync_it, NULL), 0);
	while (faults_hits(faults, 0) == 0)
		;
	start = now_us();
	while (now_us() - start < 20000)
		assert_int_equal(atomic_load(&returned), 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(atomic_load(&returned), 1);
	file_close(hanging);
}

static struct file *shared;
static atomic_int failures;

static void *write_often(void *arg)
{
	for (int i = 0; i < 500; i++)
		if (file_write(shared, "x", 1, 0, NULL) == -EIO)
			atomic_fetch_add(&failures, 1);
	return NULL;
}

static void threads_that_race_for_the_nth_call_share_one_failure(void **state)
{
	pthread_t threads[4];

	use("write:nth=700:errno=EIO;write:nth=1900:sticky:errno=EIO");
	shared = make("f");
	atomic_store(&failures, 0);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		assert_int_equal(
		    pthread_create(&threads[i], NULL, write_often, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(faults_hits(faults, 0), 2000);
	assert_int_equal(atomic_load(&failures), 1 + 101);
	file_close(shared);
}

static struct ring *ring;
static unsigned left;
static int results[4];
static char order[8]; /* the ios' numbers, as they complete */

struct numbered {
	struct io io;
	unsigned number;
};

static void io_done(struct io *io, int result)
{
	struct numbered *n = container_of(io, struct numbered, io);
	size_t at = strlen(order);

	results[n->number] = result;
	order[at] = (char)('0' + n->number);
	order[at + 1] = '\0';
	if (--left == 0)
		ring_stop(ring);
}

static void submit(struct ioq *ioq, struct numbered *n, unsigned number,
		   enum io_op op, struct file *file, void *buf)
{
	*n = (struct numbered){
	    .number = number,
	    .io = {.op = op, .file = file, .length = 512, .buf = buf},
	};
	n->io.done = io_done;
	left++;
	ioq_submit(ioq, &n->io);
	assert_null(strchr(order, (int)('0' + number)));
}

/* 0 is delayed, 1 fails at once, 2 is done and fails, 3 goes through. */
static void guest_io_is_delayed_and_failed_without_holding_the_loop(void **st)
{
	static char buf[2][512];
	struct numbered ios[4];
	struct file *file;
	struct ioq *ioq;
	int64_t start;

	use("sync:delay=30ms;write:nth=1:errno=ENOSPC;"
	    "write:nth=2:errno=EIO:after;read:nth=2:errno=EIO");
	file = make("disk");
	assert_int_equal(ring_new(8, &ring, &err), 0);
	assert_int_equal(ring_enable(ring, &err), 0);
	assert_int_equal(
	    faulty_ioq_new(faults, ring, ring_ioq(ring), &ioq, &err), 0);
	memset(buf[0], 'x', 512);
	order[0] = '\0';
	start = now_us();
	submit(ioq, &ios[0], 0, IO_SYNC, file, NULL);
	submit(ioq, &ios[1], 1, IO_WRITE, file, buf[0]);
	submit(ioq, &ios[2], 2, IO_WRITE, file, buf[0]);
	submit(ioq, &ios[3], 3, IO_ZERO, faulty_file_inner(file), NULL);
	assert_int_equal(ring_run(ring, &err), 0);
	assert_true(now_us() - start >= 30000);
	assert_int_equal(strlen(order), 4);
	assert_int_equal(order[3], '0');
	assert_int_equal(results[0], 0);
	assert_int_equal(results[1], -ENOSPC);
	assert_int_equal(results[2], -EIO);
	assert_int_equal(results[3], 0);
	order[0] = '\0';
	submit(ioq, &ios[0], 0, IO_WRITE, file, buf[0]);
	assert_int_equal(ring_run(ring, &err), 0);
	order[0] = '\0';
	submit(ioq, &ios[0], 0, IO_READ, file, buf[1]);
	assert_int_equal(ring_run(ring, &err), 0);
	assert_int_equal(results[0], 0);
	assert_memory_equal(buf[0], buf[1], 512);
	faulty_ioq_free(ioq);
	file_close(file);
	ring = ring_free(ring);
}

struct release {
	struct ring_op op;
	char path[300];
	bool early; /* something was done before the release */
};

static void release(struct ring_op *op, int result, unsigned cqe_flags)
{
	struct release *r = container_of(op, struct release, op);

	r->early = order[0] != '\0';
	(void)unlink(r->path);
}

static void guest_io_hangs_until_it_is_let_go(void **state)
{
	struct release r = {.op.done = release};
	struct numbered io;
	struct file *file;
	struct ioq *ioq;
	char rules[400];

	(void)snprintf(r.path, sizeof(r.path), "%s/stuck", dir.path);
	(void)snprintf(rules, sizeof(rules), "sync:hang=%s", r.path);
	use(rules);
	file = make("disk");
	file_close(make("stuck"));
	assert_int_equal(ring_new(8, &ring, &err), 0);
	assert_int_equal(ring_enable(ring, &err), 0);
	assert_int_equal(
	    faulty_ioq_new(faults, ring, ring_ioq(ring), &ioq, &err), 0);
	order[0] = '\0';
	submit(ioq, &io, 0, IO_SYNC, file, NULL);
	ring_timer(ring, &r.op, 20);
	assert_int_equal(ring_run(ring, &err), 0);
	assert_false(r.early);
	assert_int_equal(results[0], 0);
	faulty_ioq_free(ioq);
	file_close(file);
	ring = ring_free(ring);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    TEST(rules_that_are_not_understood_are_named),
	    TEST(the_nth_matching_call_fails_and_no_other),
	    TEST(a_sticky_failure_lasts),
	    TEST(a_failure_after_the_call_leaves_its_work),
	    TEST(every_operation_can_be_failed),
	    TEST(names_and_delays_of_several_rules_come_together),
	    TEST(a_hang_lasts_as_long_as_its_file),
	    TEST(threads_that_race_for_the_nth_call_share_one_failure),
	    TEST(guest_io_is_delayed_and_failed_without_holding_the_loop),
	    TEST(guest_io_hangs_until_it_is_let_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
