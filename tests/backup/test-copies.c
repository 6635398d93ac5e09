/* SPDX-License-Identifier: Apache-2.0 */
/* Files that are exported as they are. */
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "backup/exporter.h"
#include "backup/file-source.h"
#include "common/bytes.h"
#include "disk/posix.h"
#include "serve.h"

#define FILES_MAX EXPORT_FILES_MAX

static int temporary(void)
{
	char path[] = "/tmp/refpoint-copies-XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC);

	assert_true(fd >= 0);
	(void)unlink(path);
	return fd;
}

/* ---- One export ------------------------------------------------------------
 */

struct copies {
	unsigned n;
	int from[FILES_MAX], to[FILES_MAX]; /* ours, of the same files */
	uint64_t bytes[FILES_MAX];
	char names[FILES_MAX][16];
	struct file *files[FILES_MAX];
	struct file_sources *sources;
	struct exporter *exporter;
	struct serving *serving; /* NULL: nobody serves */
	int silent;              /* whoever has the other end then; -1 */
	int event;
};

static void add(struct copies *c, int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	assert_true(c->n < FILES_MAX);
	c->from[c->n] = fd;
	c->to[c->n] = temporary();
	c->bytes[c->n] = (uint64_t)st.st_size;
	(void)snprintf(c->names[c->n], sizeof(c->names[0]), "file-%u", c->n);
	assert_int_equal(
	    posix_file_new(dup(fd), c->names[c->n], &c->files[c->n], NULL), 0);
	c->n++;
}

static void on_ended(void *arg)
{
	uint64_t one = 1;

	(void)!write(*(int *)arg, &one, sizeof(one));
}

static void start(struct copies *c, int fds[TARGET_FDS])
{
	struct export_disk disks[FILES_MAX];

	assert_int_equal(file_sources_new(c->files, c->n, &c->sources, NULL),
			 0);
	for (unsigned i = 0; i < c->n; i++)
		disks[i] =
		    (struct export_disk){.id = c->names[i],
					 .plain = true,
					 .source = file_source(c->sources, i),
					 .bytes = c->bytes[i]};
	c->event = eventfd(0, EFD_CLOEXEC);
	assert_int_equal(exporter_start(disks, c->n, fds, on_ended, &c->event,
					&c->exporter, NULL),
			 0);
}

static void start_served(struct copies *c)
{
	int fds[TARGET_FDS], given[FILES_MAX];

	for (unsigned i = 0; i < c->n; i++)
		given[i] = dup(c->to[i]);
	c->serving = serve_files(given, c->n, fds);
	start(c, fds);
}

/* With a refpoint-target that says nothing, as one that hangs does. */
static void start_hanging(struct copies *c)
{
	int fds[TARGET_FDS], pair[2];

	assert_int_equal(
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	c->silent = pair[1];
	fds[0] = pair[0];
	fds[1] = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(ftruncate(fds[1], TARGET_MEMORY_BYTES), 0);
	assert_int_equal(fcntl(fds[1], F_ADD_SEALS, F_SEAL_SHRINK), 0);
	start(c, fds);
}

static int end(struct copies *c, struct err *err)
{
	struct pollfd pfd = {.fd = c->event, .events = POLLIN};
	uint64_t once;

	assert_int_equal(poll(&pfd, 1, 30000), 1);
	assert_int_equal(read(c->event, &once, sizeof(once)), sizeof(once));
	return exporter_outcome(c->exporter, err);
}

static void clean_up(struct copies *c)
{
	exporter_free(c->exporter);
	file_sources_free(c->sources);
	if (c->serving)
		(void)serve_end(c->serving, NULL);
	else
		(void)close(c->silent);
	(void)close(c->event);
	for (unsigned i = 0; i < c->n; i++) {
		(void)close(c->from[i]);
		(void)close(c->to[i]);
	}
}

/* ---- What is copied --------------------------------------------------------
 */

static void put(int fd, uint64_t at, uint64_t bytes, uint8_t seed)
{
	uint8_t *data = malloc(bytes + 1);

	assert_non_null(data);
	for (uint64_t i = 0; i < bytes; i++)
		data[i] = seed ? (uint8_t)(seed + i * 7 + (i >> 12)) | 1 : 0;
	assert_int_equal(pwrite(fd, data, bytes, (off_t)at), bytes);
	free(data);
}

static uint64_t allocated(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static void assert_same(const struct copies *c, unsigned i)
{
	static uint8_t a[1 << 20], b[1 << 20];
	struct stat st;

	assert_int_equal(fstat(c->to[i], &st), 0);
	assert_int_equal(st.st_size, c->bytes[i]);
	for (uint64_t at = 0; at < c->bytes[i]; at += sizeof(a)) {
		ssize_t n = pread(c->from[i], a, sizeof(a), (off_t)at);

		assert_int_equal(pread(c->to[i], b, sizeof(b), (off_t)at), n);
		assert_memory_equal(a, b, n);
	}
}

static void files_of_any_length_are_copied(void **state)
{
	static const uint64_t lengths[] = {0,
					   1,
					   7,
					   8,
					   9,
					   511,
					   512,
					   4095,
					   4096,
					   4097,
					   4104,
					   (1 << 20) - 1,
					   (1 << 20) + 3,
					   (9 << 20) + 4099};
	struct copies c = {.silent = -1};
	uint64_t done, total, all = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
		int fd = temporary();

		put(fd, 0, lengths[i], (uint8_t)(i + 1));
		add(&c, fd);
		all += lengths[i];
	}
	start_served(&c);
	assert_int_equal(end(&c, NULL), 0);
	for (unsigned i = 0; i < c.n; i++) {
		struct export_result result = exporter_result(c.exporter, i);

		assert_same(&c, i);
		assert_int_equal(result.file_bytes, lengths[i]);
		assert_int_equal(result.data_bytes, lengths[i]);
	}
	exporter_progress(c.exporter, &done, &total);
	assert_int_equal(total, all);
	assert_int_equal(done, all);
	clean_up(&c);
}

static void zeros_and_holes_take_no_space(void **state)
{
	struct copies c = {.silent = -1};
	int fd = temporary();

	put(fd, 0, 8192, 1);
	put(fd, MIB(3), MIB(5), 0); /* zeros that were written */
	put(fd, MIB(9) + 4096, 4096, 2);
	/* a hole that could not be read through in time */
	put(fd, TIB(1), 4097, 3);
	assert_int_equal(ftruncate(fd, TIB(1) + MIB(1) + 5), 0);
	add(&c, fd);
	fd = temporary(); /* nothing but a hole */
	assert_int_equal(ftruncate(fd, TIB(1) + 1), 0);
	add(&c, fd);
	start_served(&c);
	assert_int_equal(end(&c, NULL), 0);
	assert_true(allocated(c.to[0]) <= KIB(64));
	assert_int_equal(allocated(c.to[1]), 0);
	assert_int_equal(lseek(c.to[1], 0, SEEK_END), TIB(1) + 1);
	assert_int_equal(lseek(c.to[0], 0, SEEK_END), TIB(1) + MIB(1) + 5);
	/* the rest is compared where there is data */
	c.bytes[0] = MIB(10);
	assert_int_equal(ftruncate(c.to[0], MIB(10)), 0);
	assert_same(&c, 0);
	clean_up(&c);
}

static void as_many_as_fit_into_a_message_are_copied(void **state)
{
	struct copies c = {.silent = -1};

	for (unsigned i = 0; i < FILES_MAX; i++) {
		int fd = temporary();

		put(fd, i, 4096, (uint8_t)(i + 1));
		add(&c, fd);
	}
	start_served(&c);
	assert_int_equal(end(&c, NULL), 0);
	for (unsigned i = 0; i < c.n; i++)
		assert_same(&c, i);
	clean_up(&c);
}

/* ---- What goes wrong -------------------------------------------------------
 */

static void one_that_became_shorter_fails_by_name(void **state)
{
	struct copies c = {.silent = -1};
	struct err err = {0};

	for (unsigned i = 0; i < 2; i++) {
		int fd = temporary();

		put(fd, 0, MIB(2), 1);
		add(&c, fd);
	}
	assert_int_equal(ftruncate(c.from[1], MIB(1) + 512), 0);
	start_served(&c);
	assert_int_equal(end(&c, &err), -RP_ECORRUPT);
	assert_non_null(strstr(err.text, "'file-1'"));
	clean_up(&c);
}

/* Reads of it fail from the second MiB on. */
struct bad_file {
	struct file file;
	unsigned closed;
};

static int64_t bad_read(struct file *file, void *buf, uint64_t bytes,
			uint64_t offset, struct err *err)
{
	if (offset + bytes > MIB(1))
		return err_set(err, -EIO, "a bad sector");
	memset(buf, 'x', bytes);
	return (int64_t)bytes;
}

static void bad_close(struct file *file)
{
	((struct bad_file *)file)->closed++;
}

static void a_read_that_fails_ends_it_and_closes_all(void **state)
{
	static const struct file_ops ops = {.read = bad_read,
					    .close = bad_close};
	struct bad_file bad = {.file = {.ops = &ops}};
	struct copies c = {.silent = -1};
	struct err err = {0};
	int fd = temporary();

	assert_int_equal(ftruncate(fd, MIB(16)), 0);
	add(&c, fd);
	file_close(c.files[0]);
	c.files[0] = &bad.file;
	start_served(&c);
	assert_int_equal(end(&c, &err), -EIO);
	assert_non_null(strstr(err.text, "read 'file-0' at 1048576"));
	clean_up(&c);
	assert_int_equal(bad.closed, 1);
}

static void a_full_target_is_told_by_the_file(void **state)
{
	struct copies c = {.silent = -1};
	struct err err = {0};
	int full;

	add(&c, temporary());
	put(c.from[0], 0, MIB(1), 1);
	c.bytes[0] = MIB(1);
	/* sealed against growth, it refuses as a full one does */
	full = memfd_create("full", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(fcntl(full, F_ADD_SEALS, F_SEAL_GROW), 0);
	(void)close(c.to[0]);
	c.to[0] = full;
	start_served(&c);
	assert_int_equal(end(&c, &err), -EPERM);
	assert_non_null(strstr(err.text, "write 'file-0'"));
	clean_up(&c);
}

static void one_that_is_cancelled_ends_whatever_its_target_does(void **state)
{
	struct copies c = {.silent = -1};
	struct err err = {0};

	add(&c, temporary());
	put(c.from[0], 0, MIB(20), 1);
	c.bytes[0] = MIB(20);
	start_hanging(&c);
	exporter_cancel(c.exporter, "enough");
	assert_int_equal(end(&c, &err), -RP_ECANCELLED);
	assert_non_null(strstr(err.text, "enough"));
	clean_up(&c);
}

static void a_target_that_goes_ends_it(void **state)
{
	struct copies c = {.silent = -1};

	add(&c, temporary());
	put(c.from[0], 0, MIB(20), 1);
	c.bytes[0] = MIB(20);
	start_hanging(&c);
	(void)shutdown(c.silent, SHUT_RDWR);
	assert_int_equal(end(&c, NULL), -RP_EFAILED);
	clean_up(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(files_of_any_length_are_copied),
	    cmocka_unit_test(zeros_and_holes_take_no_space),
	    cmocka_unit_test(as_many_as_fit_into_a_message_are_copied),
	    cmocka_unit_test(one_that_became_shorter_fails_by_name),
	    cmocka_unit_test(a_read_that_fails_ends_it_and_closes_all),
	    cmocka_unit_test(a_full_target_is_told_by_the_file),
	    cmocka_unit_test(
		one_that_is_cancelled_ends_whatever_its_target_does),
	    cmocka_unit_test(a_target_that_goes_ends_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
