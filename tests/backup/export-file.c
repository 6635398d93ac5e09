/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exports a raw file through a ring, as a worker does a disk, for
 * test-exporter.py to judge.
 *
 *   export-file RAW QCOW2 [BACKING]
 *
 * With BACKING standard input has the blocks, "FIRST END" a line.  Under
 * EXPORT_FILE_DIRECT=1 RAW is read past the page cache, under
 * EXPORT_FILE_CANCEL=BYTES it is cancelled when so much is done, under
 * EXPORT_FILE_FAIL=OFFSET reads of that byte fail, EXPORT_FILE_KEEP=1 leaves
 * what the target has, EXPORT_FILE_APPEND=1 opens it for appending.  Prints
 * what was stored and the file's length, or fails with the error's name and
 * text.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backup/exporter.h"
#include "common/cleanup.h"
#include "disk/posix.h"
#include "disk/ring.h"
#include "serve.h"

struct source {
	struct export_source base;
	struct ring *ring;
	struct ioq *ioq;
	struct file *file;
	pthread_t thread;
	uint64_t fail_at;
};

static void post(struct export_source *base, struct ring_task *task)
{
	ring_post(container_of(base, struct source, base)->ring, task);
}

static void done_read(struct io *io, int result)
{
	struct volume_request *request =
	    container_of(io, struct volume_request, io);

	request->done(request, result);
}

/* A failure comes as late as a success does. */
static void fail_read(struct io *io, int result)
{
	done_read(io, -EIO);
}

static void read_blocks(struct export_source *base,
			struct volume_request *request)
{
	struct source *s = container_of(base, struct source, base);
	bool fails = s->fail_at >= request->offset &&
		     s->fail_at < request->offset + request->length;

	request->io = (struct io){.op = IO_READ,
				  .file = s->file,
				  .offset = request->offset,
				  .length = request->length,
				  .buf = request->data,
				  .done = fails ? fail_read : done_read};
	ioq_submit(s->ioq, &request->io);
}

static int extent(struct export_source *base, uint64_t offset, uint64_t end,
		  uint64_t *ret_to, bool *ret_hole, struct err *err)
{
	struct source *s = container_of(base, struct source, base);
	int fd = posix_file_fd(s->file);
	off_t data = lseek(fd, (off_t)offset, SEEK_DATA), hole;

	*ret_hole = data < 0 || (uint64_t)data > offset;
	if (*ret_hole) {
		*ret_to = data < 0 ? end : MIN((uint64_t)data, end);
		return 0;
	}
	hole = lseek(fd, (off_t)offset, SEEK_HOLE);
	*ret_to = hole < 0 ? end : MIN((uint64_t)hole, end);
	return 0;
}

static const struct export_source_ops ops = {post, read_blocks, extent};

static void *turn(void *arg)
{
	struct source *s = arg;
	struct err err = {0};

	if (ring_enable(s->ring, &err) < 0 || ring_run(s->ring, &err) < 0) {
		(void)fprintf(stderr, "ring: %s\n", err.text);
		_exit(2);
	}
	return NULL;
}

static int open_source(struct source *s, const char *path, struct err *err)
{
	bool direct = getenv("EXPORT_FILE_DIRECT") != NULL;
	const char *fail = getenv("EXPORT_FILE_FAIL");
	int fd = open(path, O_RDONLY | O_CLOEXEC | (direct ? O_DIRECT : 0));
	int r;

	if (fd < 0)
		return err_set(err, -errno, "'%s'", path);
	s->base.ops = &ops;
	s->fail_at = fail ? strtoull(fail, NULL, 10) : UINT64_MAX;
	r = posix_file_new(fd, path, &s->file, err);
	if (r == 0)
		r = ring_new(256, &s->ring, err);
	if (r < 0)
		return r;
	s->ioq = ring_ioq(s->ring);
	return -pthread_create(&s->thread, NULL, turn, s);
}

static struct blockset *read_blocks_of(uint64_t bytes)
{
	struct blockset *set = blockset_new(bytes);
	uint64_t first, end;

	while (set && scanf("%" SCNu64 " %" SCNu64, &first, &end) == 2)
		if (blockset_add(set, first, end - first) < 0)
			abort();
	return set;
}

static void ended(void *arg)
{
	uint64_t one = 1;

	(void)!write(*(int *)arg, &one, sizeof(one));
}

static void watch(struct exporter *exporter, int event)
{
	const char *text = getenv("EXPORT_FILE_CANCEL");
	uint64_t limit = text ? strtoull(text, NULL, 10) : UINT64_MAX;
	struct pollfd pfd = {.fd = event, .events = POLLIN};
	uint64_t done, total, ended_once;

	while (poll(&pfd, 1, 1) == 0) {
		exporter_progress(exporter, &done, &total);
		if (done >= limit)
			exporter_stop(exporter, "enough");
	}
	(void)!read(event, &ended_once, sizeof(ended_once));
}

static int export_to(struct source *s, const char *to, const char *backing,
		     struct err *err)
{
	_cleanup_close_ int event = eventfd(0, EFD_CLOEXEC);
	struct export_disk disk = {.id = "root",
				   .source = &s->base,
				   .backing = backing};
	struct exporter *exporter = NULL;
	struct export_result result;
	int fds[TARGET_FDS], file, r, served;
	struct serving *serving;
	struct stat st;

	if (fstat(posix_file_fd(s->file), &st) < 0)
		return err_set(err, -errno, "stat");
	disk.bytes = (uint64_t)st.st_size;
	if (backing)
		disk.changed = read_blocks_of(disk.bytes);
	file = open(to,
		    O_RDWR | O_CREAT | O_CLOEXEC |
			(getenv("EXPORT_FILE_KEEP") ? 0 : O_TRUNC) |
			(getenv("EXPORT_FILE_APPEND") ? O_APPEND : 0),
		    0600);
	if (file < 0)
		return err_set(err, -errno, "'%s'", to);
	serving = serve_files(&file, 1, fds);
	r = exporter_start(&disk, 1, fds, ended, &event, &exporter, err);
	if (r < 0)
		return r;
	watch(exporter, event);
	r = exporter_outcome(exporter, err);
	result = exporter_result(exporter, 0);
	exporter_free(exporter);
	served = serve_end(serving, r < 0 ? NULL : err);
	r = r < 0 ? r : served;
	if (r == 0)
		(void)printf("%" PRIu64 " %" PRIu64 "\n", result.data_bytes,
			     result.file_bytes);
	return r;
}

int main(int argc, char **argv)
{
	struct source source = {0};
	struct err err = {0};
	int r;

	if (argc < 3)
		return 2;
	r = open_source(&source, argv[1], &err);
	if (r == 0)
		r = export_to(&source, argv[2], argc > 3 ? argv[3] : NULL,
			      &err);
	if (source.thread) {
		ring_stop(source.ring);
		(void)pthread_join(source.thread, NULL);
	}
	file_close(source.file);
	ring_free(source.ring);
	if (r == 0)
		return 0;
	(void)fprintf(stderr, "%s: %s\n", err_name(r), err.text);
	return 1;
}
