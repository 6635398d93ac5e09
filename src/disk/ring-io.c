/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's I/O: each `struct io` becomes one operation on the ring, or one
 * after the other until it is done.  Writes to a file that the ring cannot
 * write without a kernel thread for each go to its writers (writers.c).
 *
 * Invariants:
 *   1  Nothing is allocated for an io: all its state is in itself (struct
 *      ring_io, in its priv words).
 *   2  At most one operation or task of an io is in flight, so done() comes
 *      once; and it comes from the loop: what fails at once is posted.
 *   3  A transfer that ends short goes on where it ended.  One that makes no
 *      way is an error: a read inside a disk that meets the end of its image
 *      means that somebody cut it, and zeros would be a lie.
 *   4  D4, as in posix.c: a failed sync is latched in the file.
 *
 * Zeros are made by the first of these that the file can do: a hole (unless
 * IO_NO_HOLE), a zeroed range, writing.  The kernel runs fallocate(2) and
 * fsync(2) on its own worker threads, never on the loop's.
 */
#include "disk/ring-io.h"

#include <assert.h>
#include <linux/falloc.h>
#include <stdlib.h>

#include "common/bytes.h"
#include "common/limits.h"
#include "disk/posix.h"
#include "disk/writers.h"

#define ZEROS_BYTES MIB(1)
/* Transient errors: at once first, then in steps of a few milliseconds, and
 * after some seconds the guest learns of it. */
#define RETRIES_AT_ONCE 8
#define RETRY_MS        5
#define RETRIES_MAX     1000

enum zero_way {
	ZERO_HOLE,
	ZERO_RANGE,
	ZERO_WRITE
};

struct ring_ioq {
	struct ioq ioq;
	struct ring *ring;
	struct writers *pending; /* with ios of this turn */
};

static const uint8_t zeros[ZEROS_BYTES] __attribute__((aligned(4096))) = {0};

static struct io *owner(struct ring_io *rio)
{
	return container_of((uint64_t *)rio, struct io, priv);
}

static void step(struct io *io);

static void zero_sqe(struct io *io, struct io_uring_sqe *sqe, int fd,
		     uint64_t offset, uint64_t left)
{
	int keep = FALLOC_FL_KEEP_SIZE;

	switch ((enum zero_way)ring_io_state(io)->way) {
	case ZERO_HOLE:
		io_uring_prep_fallocate(sqe, fd, FALLOC_FL_PUNCH_HOLE | keep,
					(off_t)offset, (off_t)left);
		break;
	case ZERO_RANGE:
		io_uring_prep_fallocate(sqe, fd, FALLOC_FL_ZERO_RANGE | keep,
					(off_t)offset, (off_t)left);
		break;
	case ZERO_WRITE:
		io_uring_prep_write(sqe, fd, zeros,
				    (unsigned)MIN(left, ZEROS_BYTES), offset);
		break;
	}
}

/* One operation, for what is left to do. */
static void prepare(struct io *io, struct io_uring_sqe *sqe)
{
	int fd = posix_file_fd(io->file);
	uint64_t offset = io->offset + io->progress;
	uint64_t left = io->length - io->progress;
	unsigned piece = (unsigned)MIN(left, RING_PIECE_BYTES);
	char *buf = io->buf ? (char *)io->buf + io->progress : NULL;

	switch (io->op) {
	case IO_READ:
		io_uring_prep_read(sqe, fd, buf, piece, offset);
		break;
	case IO_WRITE:
		io_uring_prep_write(sqe, fd, buf, piece, offset);
		break;
	case IO_SYNC:
		io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
		break;
	case IO_DISCARD:
		io_uring_prep_fallocate(sqe, fd,
					FALLOC_FL_PUNCH_HOLE |
					    FALLOC_FL_KEEP_SIZE,
					(off_t)offset, (off_t)left);
		break;
	case IO_ZERO:
		zero_sqe(io, sqe, fd, offset, left);
		break;
	}
}

static void retry_now(struct ring_op *op, int result, unsigned cqe_flags)
{
	(void)result;
	(void)cqe_flags;
	step(owner(container_of(op, struct ring_io, op)));
}

static void retry(struct io *io)
{
	struct ring_io *rio = ring_io_state(io);

	if (++rio->retries <= RETRIES_AT_ONCE) {
		step(io);
		return;
	}
	rio->op.done = retry_now;
	ring_timer(rio->ring, &rio->op, RETRY_MS);
}

/* What fallocate(2) says where a file system, a device or this range of it
 * cannot do it, as opposed to having failed at it. */
static bool is_not_native(int result)
{
	return result == -EOPNOTSUPP || result == -ENOSYS ||
	       result == -EINVAL || result == -ENOTTY || result == -ENODEV;
}

/* Returns true and the io's result, or false if there is more to do. */
static bool transferred(struct io *io, int result, int *ret_result)
{
	if (result <= 0) {
		*ret_result = result < 0 ? result : -EIO;
		return true;
	}
	io->progress += (uint64_t)result;
	assert(io->progress <= io->length);
	*ret_result = 0;
	return io->progress == io->length;
}

static bool is_finished(struct io *io, int result, int *ret_result)
{
	struct ring_io *rio = ring_io_state(io);

	*ret_result = result;
	switch (io->op) {
	case IO_READ:
	case IO_WRITE:
		return transferred(io, result, ret_result);
	case IO_SYNC:
		if (result < 0)
			posix_file_latch(io->file, result);
		return true;
	case IO_DISCARD:
		if (is_not_native(result))
			*ret_result = -EOPNOTSUPP;
		return true;
	case IO_ZERO:
		if (rio->way == ZERO_WRITE)
			return transferred(io, result, ret_result);
		if (!is_not_native(result))
			return true;
		rio->way++;
		return false;
	}
	return true;
}

/* One operation of the io ended with RESULT. */
static void advance(struct io *io, int result)
{
	struct ring_io *rio = ring_io_state(io);

	if ((result == -EAGAIN || result == -EINTR) &&
	    rio->retries < RETRIES_MAX)
		retry(io);
	else if (is_finished(io, result, &result))
		io->done(io, result);
	else
		step(io);
}

static void completed(struct ring_op *op, int result, unsigned cqe_flags)
{
	(void)cqe_flags;
	advance(owner(container_of(op, struct ring_io, op)), result);
}

/* From the writers, with all the others that came with it. */
static void written(struct ring_task *task)
{
	struct io *io = owner(container_of(task, struct ring_io, task));

	while (io) {
		struct io *next = io->next;

		advance(io, ring_io_state(io)->result);
		io = next;
	}
}

/* Gives it to its file's writers, if it is one for them. */
static bool give_to_writers(struct io *io)
{
	struct ring_io *rio = ring_io_state(io);
	struct ring_ioq *q =
	    container_of(ring_ioq(rio->ring), struct ring_ioq, ioq);
	struct writers **writers = posix_file_writers(io->file);

	if (!*writers)
		*writers = writers_new(posix_file_fd(io->file),
				       posix_file_is_apart(io->file));
	if (!*writers || !writers_want(*writers))
		return false;
	rio->task.run = written;
	writers_add(*writers, io, &q->pending);
	return true;
}

static void step(struct io *io)
{
	struct ring_io *rio = ring_io_state(io);

	if (io->op == IO_WRITE && give_to_writers(io))
		return;
	rio->op.done = completed;
	prepare(io, ring_sqe(rio->ring, &rio->op));
}

void ring_io_begin(struct ioq *ioq)
{
	struct ring_ioq *q = container_of(ioq, struct ring_ioq, ioq);

	if (q->pending)
		writers_begin(&q->pending);
}

static void report(struct ring_task *task)
{
	struct ring_io *rio = container_of(task, struct ring_io, task);
	struct io *io = owner(rio);

	io->done(io, rio->result);
}

static void ring_io_submit(struct ioq *ioq, struct io *io)
{
	struct ring_ioq *q = container_of(ioq, struct ring_ioq, ioq);
	struct ring_io *rio = ring_io_state(io);
	int latched = io->op == IO_SYNC ? posix_file_latched(io->file) : 0;

	io->progress = 0;
	*rio = (struct ring_io){.ring = q->ring};
	if (io->op == IO_ZERO && (io->flags & IO_NO_HOLE))
		rio->way = ZERO_RANGE;
	if (latched || (io->op != IO_SYNC && io->length == 0)) {
		rio->result = latched;
		rio->task.run = report;
		ring_post(q->ring, &rio->task);
		return;
	}
	step(io);
}

static const struct ioq_ops ring_ioq_ops = {
    .submit = ring_io_submit,
};

struct ioq *ring_io_new(struct ring *ring)
{
	struct ring_ioq *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	q->ioq.ops = &ring_ioq_ops;
	q->ring = ring;
	return &q->ioq;
}

void ring_io_free(struct ioq *ioq)
{
	if (ioq)
		free(container_of(ioq, struct ring_ioq, ioq));
}
