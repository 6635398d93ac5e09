/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes through the page cache, on threads of our own.
 *
 * Most file systems cannot promise that such a write will not wait: for a
 * page, for the journal, or because too much is dirty.  io_uring then hands
 * each one to a kernel thread and wakes the ring for each completion, which
 * costs more than the write.  Here one turn of the ring's loop hands over all
 * its writes to a file at once, and hears of several at once.
 *
 * Invariants:
 *   1  The ring's thread never waits for these: it takes the lock, which is
 *      held for a few instructions only, and never writes anything.  Not even
 *      with RWF_NOWAIT, to see what the file system can do: on a frozen one
 *      that waits.  So the first writes to a file go to its thread, which
 *      finds out.
 *   2  WRITERS_PER_FILE threads belong to one file.  So a file whose disk
 *      hangs holds up no other, and there are at most that many for each
 *      disk.  It is one, as the kernel lets one thread at a time write to a
 *      file: a second spins for the inode's lock, and took a third of the
 *      speed from an otherwise idle machine of two cores.
 *   3  A batch is short, in number and in bytes, so that client, ring and
 *      writers work at the same time instead of waiting for each other, and a
 *      small write does not wait for many large ones.
 *   4  Once the first io of a batch is posted, none of the batch is touched.
 *
 * A killed process's writes land no later than the lock on the image says.  A
 * thread ends only once its system call has, and holds the process's table of
 * files until then; so the open file description, and with it flock(2), lasts
 * until the last of them has ended.  What is still queued is lost, as if it
 * had not been submitted: it is marked, and was not acknowledged.
 *
 * Rejected: writing on the ring's thread (a quarter faster, until dirty pages
 * are throttled); one pool for all files (invariant 2); reads (io_uring does
 * those that the cache can answer on the spot, and waits for the others
 * without a thread).
 */
#include "disk/writers.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/limits.h"
#include "disk/ring-io.h"

#define BATCH_IOS   8
#define BATCH_BYTES KIB(256)
#define STACK_BYTES KIB(256)
#define PROBE_BYTES 4096 /* written twice, once */

enum way {
	WAY_UNKNOWN, /* nothing was written yet */
	WAY_RING,
	WAY_THREADS, /* or not yet known */
};

struct queue {
	struct io *first;
	struct io **end;
};

struct writers {
	int fd;

	/* the ring's thread */
	enum way way;
	struct queue added;
	struct writers *next_pending;

	_Atomic bool ring_can; /* its thread has found out */

	pthread_mutex_t lock; /* all below */
	bool probed;
	pthread_cond_t changed;
	struct queue queue;
	unsigned idle;
	bool stopping;

	pthread_t threads[WRITERS_PER_FILE];
	unsigned thread_count;
};

static void queue_init(struct queue *queue)
{
	queue->first = NULL;
	queue->end = &queue->first;
}

/* Appends all of MORE, which is then empty. */
static void queue_move(struct queue *queue, struct queue *more)
{
	*queue->end = more->first;
	queue->end = more->end;
	queue_init(more);
}

/* ---- the threads ------------------------------------------------------- */

/* The queue's first ios, linked by `next`. */
static struct io *take_batch(struct queue *queue)
{
	struct io *first = queue->first;
	struct io **end = &first;
	uint64_t bytes = 0;

	for (int i = 0; i < BATCH_IOS && *end && bytes < BATCH_BYTES; i++) {
		bytes += (*end)->length - (*end)->progress;
		end = &(*end)->next;
	}
	queue->first = *end;
	if (!queue->first)
		queue_init(queue);
	*end = NULL;
	return first;
}

/* Of the errors that a write which may not wait can end with, these say that
 * the file system never makes such a one.  If it was made, it is made again:
 * nobody else writes there meanwhile. */
static bool ring_can(int fd, const struct io *io)
{
	struct iovec iov = {(char *)io->buf + io->progress,
			    MIN(io->length - io->progress, PROBE_BYTES)};

	return pwritev2(fd, &iov, 1, (off_t)(io->offset + io->progress),
			RWF_NOWAIT) >= 0 ||
	       (errno != EOPNOTSUPP && errno != EINVAL);
}

static void write_batch(int fd, struct io *first)
{
	struct ring_io *rio = ring_io_state(first);

	for (struct io *io = first; io; io = io->next) {
		uint64_t left = io->length - io->progress;
		ssize_t n = pwrite(fd, (char *)io->buf + io->progress,
				   MIN(left, RING_PIECE_BYTES),
				   (off_t)(io->offset + io->progress));

		ring_io_state(io)->result = n < 0 ? -errno : (int)n;
	}
	ring_post(rio->ring, &rio->task);
}

static void *writer_run(void *arg)
{
	struct writers *writers = arg;

	(void)pthread_setname_np(pthread_self(), "writer");
	(void)pthread_mutex_lock(&writers->lock);
	for (;;) {
		struct io *batch;
		bool probe;

		while (!writers->queue.first && !writers->stopping) {
			writers->idle++;
			(void)pthread_cond_wait(&writers->changed,
						&writers->lock);
			writers->idle--;
		}
		if (!writers->queue.first)
			break;
		batch = take_batch(&writers->queue);
		if (writers->queue.first && writers->idle)
			(void)pthread_cond_signal(&writers->changed);
		probe = !writers->probed;
		writers->probed = true;
		(void)pthread_mutex_unlock(&writers->lock);
		if (probe && ring_can(writers->fd, batch))
			atomic_store_explicit(&writers->ring_can, true,
					      memory_order_relaxed);
		write_batch(writers->fd, batch);
		(void)pthread_mutex_lock(&writers->lock);
	}
	(void)pthread_mutex_unlock(&writers->lock);
	return NULL;
}

/* ---- the ring's side --------------------------------------------------- */

struct writers *writers_new(int fd, bool always)
{
	struct writers *writers = calloc(1, sizeof(*writers));

	if (!writers)
		return NULL;
	writers->fd = fd;
	writers->probed = always; /* then there is nothing to find out */
	queue_init(&writers->added);
	queue_init(&writers->queue);
	(void)pthread_mutex_init(&writers->lock, NULL);
	(void)pthread_cond_init(&writers->changed, NULL);
	return writers;
}

struct writers *writers_free(struct writers *writers)
{
	if (!writers)
		return NULL;
	(void)pthread_mutex_lock(&writers->lock);
	writers->stopping = true;
	(void)pthread_cond_broadcast(&writers->changed);
	(void)pthread_mutex_unlock(&writers->lock);
	for (unsigned i = 0; i < writers->thread_count; i++)
		(void)pthread_join(writers->threads[i], NULL);
	(void)pthread_cond_destroy(&writers->changed);
	(void)pthread_mutex_destroy(&writers->lock);
	free(writers);
	return NULL;
}

/* Can it be that io_uring would hand each write to a thread? */
static bool may_need_threads(int fd)
{
	int flags = fcntl(fd, F_GETFL);
	struct stat st;

	return flags >= 0 && !(flags & O_DIRECT) && fstat(fd, &st) == 0 &&
	       S_ISREG(st.st_mode);
}

/* As many as can be had; false: none. */
static bool start_threads(struct writers *writers)
{
	pthread_attr_t attr;

	if (pthread_attr_init(&attr) != 0)
		return false;
	(void)pthread_attr_setstacksize(&attr, STACK_BYTES);
	while (writers->thread_count < WRITERS_PER_FILE &&
	       pthread_create(&writers->threads[writers->thread_count], &attr,
			      writer_run, writers) == 0)
		writers->thread_count++;
	(void)pthread_attr_destroy(&attr);
	return writers->thread_count > 0;
}

bool writers_want(struct writers *writers)
{
	if (writers->way == WAY_UNKNOWN)
		writers->way =
		    may_need_threads(writers->fd) && start_threads(writers)
			? WAY_THREADS
			: WAY_RING;
	else if (atomic_load_explicit(&writers->ring_can, memory_order_relaxed))
		writers->way = WAY_RING;
	return writers->way == WAY_THREADS;
}

void writers_add(struct writers *writers, struct io *io,
		 struct writers **pending)
{
	if (!writers->added.first) {
		writers->next_pending = *pending;
		*pending = writers;
	}
	io->next = NULL;
	*writers->added.end = io;
	writers->added.end = &io->next;
}

void writers_begin(struct writers **pending)
{
	struct writers *writers = *pending;

	*pending = NULL;
	while (writers) {
		struct writers *next = writers->next_pending;
		bool idle;

		(void)pthread_mutex_lock(&writers->lock);
		queue_move(&writers->queue, &writers->added);
		idle = writers->idle > 0;
		(void)pthread_mutex_unlock(&writers->lock);
		if (idle)
			(void)pthread_cond_signal(&writers->changed);
		writers = next;
	}
}
