/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One io_uring and the loop around it.
 *
 * A turn of the loop: handle the completions that are there, run the tasks
 * that were posted, call the turn's functions, and then one io_uring_enter(2)
 * that submits all that these prepared and waits for the next completion.
 *
 * Invariants:
 *   1  done() functions, tasks and turn functions are called from ring_run()
 *      alone, never from inside another function of this file, so that no
 *      caller is ever re-entered.
 *   2  Every completion reaches its op exactly once, however many there are:
 *      what does not fit the completion queue the kernel keeps
 *      (IORING_FEAT_NODROP) and hands over at the next enter; what has to be
 *      taken out of the queue at a moment when it may not be handled, by
 *      invariant 1, waits in the stash.
 *   3  A task is pushed before the eventfd is written, and the eventfd is
 *      written by whoever finds the stack empty; the loop always has a read
 *      of the eventfd in flight.  So no task is left waiting.
 *   4  Once enabled, the ring does nothing but the operations listed here: no
 *      opening, no sockets, no commands, no flags of submission entries.
 *   5  What hangs on one file holds at most one of the kernel's workers for its
 *      writes, and there are more of them than there can be such files: the
 *      guest's syncs, which need one as well, do not wait behind.
 *
 * Rejected: SQPOLL (a core of the host for each VM); registered files and
 * buffers (the restricted ring could not change them afterwards, and disks
 * come and go); a mutex around the tasks (ring_post is called by threads that
 * have just waited for a disk, and may not make the guest's thread wait).
 */
#include "disk/ring.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/limits.h"
#include "disk/ring-io.h"

#define TURNS_MAX 8
/* Completion queue entries for each submission queue entry: requests in
 * flight outnumber those of one turn. */
#define CQ_FACTOR 4

struct turn {
	void (*fn)(void *arg); /* NULL: to be taken off the list */
	void *arg;
};

struct stash {
	struct io_uring_cqe *cqes;
	size_t count;
	size_t room;
};

struct ring {
	struct io_uring uring;
	struct turn turns[TURNS_MAX];
	unsigned turn_count;
	struct __kernel_timespec *times; /* one for each submission entry */
	struct stash stash;              /* invariant 2 */

	_Atomic(struct ring_task *) posted; /* a stack, newest first */
	atomic_bool stop;
	atomic_bool watched;
	_Atomic uint64_t longest_ns; /* turn while watched */
	int eventfd;
	bool armed; /* a read of the eventfd is in flight */
	uint64_t counter;
	struct ring_op wake;

	struct ioq *ioq;
};

static const uint8_t allowed_ops[] = {
    IORING_OP_READ,         IORING_OP_WRITE,   IORING_OP_READV,
    IORING_OP_WRITEV,       IORING_OP_FSYNC,   IORING_OP_FALLOCATE,
    IORING_OP_RECV,         IORING_OP_SEND,    IORING_OP_RECVMSG,
    IORING_OP_SENDMSG,      IORING_OP_ACCEPT,  IORING_OP_POLL_ADD,
    IORING_OP_POLL_REMOVE,  IORING_OP_TIMEOUT, IORING_OP_TIMEOUT_REMOVE,
    IORING_OP_ASYNC_CANCEL,
};

/* Best first; a kernel that does not know a flag says -EINVAL.  6.1 has the
 * first, 6.0 the second, 5.19 the third, 5.15 the last. */
static const unsigned setups[] = {
    IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER |
	IORING_SETUP_DEFER_TASKRUN,
    IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER |
	IORING_SETUP_COOP_TASKRUN,
    IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN,
    0,
};

static int setup(struct ring *ring, unsigned entries)
{
	int rc = -EINVAL;

	for (size_t i = 0; i < ARRAY_SIZE(setups) && rc == -EINVAL; i++) {
		struct io_uring_params params = {
		    .flags = IORING_SETUP_R_DISABLED | IORING_SETUP_CLAMP |
			     IORING_SETUP_CQSIZE | setups[i],
		    .cq_entries = entries * CQ_FACTOR,
		};

		rc = io_uring_queue_init_params(entries, &ring->uring, &params);
	}
	if (rc == 0 && !(ring->uring.features & IORING_FEAT_NODROP)) {
		io_uring_queue_exit(&ring->uring);
		rc = -ENOSYS;
	}
	return rc;
}

static void woken(struct ring_op *op, int result, unsigned cqe_flags)
{
	struct ring *ring = container_of(op, struct ring, wake);

	(void)result;
	(void)cqe_flags;
	ring->armed = false;
}

static int fill(struct ring *ring, struct err *err)
{
	unsigned entries = ring->uring.sq.ring_entries;

	ring->wake.done = woken;
	ring->times = calloc(entries, sizeof(*ring->times));
	ring->ioq = ring_io_new(ring);
	if (!ring->times || !ring->ioq)
		return err_set(err, -ENOMEM, "io_uring");
	ring->eventfd = eventfd(0, EFD_CLOEXEC);
	if (ring->eventfd < 0)
		return err_set(err, -errno, "eventfd");
	return 0;
}

int ring_new(unsigned entries, struct ring **ret_ring, struct err *err)
{
	struct ring *ring = calloc(1, sizeof(*ring));
	int rc;

	if (!ring)
		return err_set(err, -ENOMEM, "io_uring");
	ring->eventfd = -1;
	rc = setup(ring, entries);
	if (rc < 0) {
		free(ring);
		if (rc == -ENOSYS || rc == -EPERM || rc == -EACCES)
			return err_set(
			    err, -RP_EUNSUPPORTED,
			    "io_uring is refused by this system; "
			    "see the sysctl kernel.io_uring_disabled "
			    "and seccomp filters");
		return err_set(err, rc, "set up io_uring");
	}
	rc = fill(ring, err);
	if (rc < 0) {
		ring_free(ring);
		return rc;
	}
	*ret_ring = ring;
	return 0;
}

/* Not liburing's wrappers: 2.3's shared library does not export them. */
static int ring_register(struct ring *ring, unsigned what, void *arg,
			 unsigned count)
{
	long rc = syscall(__NR_io_uring_register, ring->uring.ring_fd, what,
			  arg, count);

	return rc < 0 ? -errno : 0;
}

int ring_enable(struct ring *ring, struct err *err)
{
	struct io_uring_restriction allowed[ARRAY_SIZE(allowed_ops)];
	unsigned workers[] = {RING_WORKERS_MAX, 0 /* as it is */};
	int rc;

	rc = ring_register(ring, IORING_REGISTER_IOWQ_MAX_WORKERS, workers,
			   ARRAY_SIZE(workers));
	if (rc < 0)
		return err_set(err, rc, "io_uring's workers");
	memset(allowed, 0, sizeof(allowed));
	for (size_t i = 0; i < ARRAY_SIZE(allowed_ops); i++) {
		allowed[i].opcode = IORING_RESTRICTION_SQE_OP;
		allowed[i].sqe_op = allowed_ops[i];
	}
	rc = ring_register(ring, IORING_REGISTER_RESTRICTIONS, allowed,
			   ARRAY_SIZE(allowed_ops));
	if (rc < 0)
		return err_set(err, rc, "restrict io_uring");
	rc = ring_register(ring, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
	if (rc < 0)
		return err_set(err, rc, "enable io_uring");
	return 0;
}

/* The read of the eventfd that is in flight ends with the ring; nobody writes
 * there any more, so that it does not touch the counter. */
struct ring *ring_free(struct ring *ring)
{
	if (!ring)
		return NULL;
	io_uring_queue_exit(&ring->uring);
	if (ring->eventfd >= 0)
		(void)close(ring->eventfd);
	ring_io_free(ring->ioq);
	free(ring->times);
	free(ring->stash.cqes);
	free(ring);
	return NULL;
}

struct ioq *ring_ioq(struct ring *ring)
{
	return ring->ioq;
}

/* Short of memory there is no way to go on and none to say so: an op would
 * never complete. */
static void stash_put(struct stash *stash, const struct io_uring_cqe *cqe)
{
	if (stash->count == stash->room) {
		size_t room = stash->room ? 2 * stash->room : 256;
		void *cqes = realloc(stash->cqes, room * sizeof(*cqe));

		if (!cqes)
			abort();
		stash->cqes = cqes;
		stash->room = room;
	}
	memcpy(&stash->cqes[stash->count++], cqe, sizeof(*cqe));
}

static void stash_all(struct ring *ring)
{
	struct io_uring_cqe *cqe;

	while (io_uring_peek_cqe(&ring->uring, &cqe) == 0) {
		stash_put(&ring->stash, cqe);
		io_uring_cqe_seen(&ring->uring, cqe);
	}
}

static void pause_briefly(void)
{
	(void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

struct io_uring_sqe *ring_sqe(struct ring *ring, struct ring_op *op)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);

	while (!sqe) {
		int rc = io_uring_submit(&ring->uring);

		/* The kernel is short of memory, or wants completions to be
		 * taken before it accepts more. */
		if (rc == -EAGAIN || rc == -EBUSY) {
			stash_all(ring);
			pause_briefly();
		}
		sqe = io_uring_get_sqe(&ring->uring);
		assert(sqe || rc >= 0 || rc == -EAGAIN || rc == -EBUSY ||
		       rc == -EINTR);
	}
	memset(sqe, 0, sizeof(*sqe));
	sqe->user_data = (uintptr_t)op;
	return sqe;
}

void ring_cancel(struct ring *ring, struct ring_op *op)
{
	struct io_uring_sqe *sqe = ring_sqe(ring, NULL);

	io_uring_prep_cancel64(sqe, (uintptr_t)op, 0);
}

/* The kernel reads the time when it takes the entry, so the entry's own slot
 * is free again just when the entry is. */
void ring_timer(struct ring *ring, struct ring_op *op, uint64_t ms)
{
	struct io_uring_sqe *sqe = ring_sqe(ring, op);
	struct __kernel_timespec *ts = &ring->times[sqe - ring->uring.sq.sqes];

	ts->tv_sec = (int64_t)(ms / 1000);
	ts->tv_nsec = (int64_t)(ms % 1000) * 1000000;
	io_uring_prep_timeout(sqe, ts, 0, 0);
}

static void wake(struct ring *ring)
{
	static const uint64_t one = 1;

	(void)!write(ring->eventfd, &one, sizeof(one));
}

void ring_post(struct ring *ring, struct ring_task *task)
{
	struct ring_task *top =
	    atomic_load_explicit(&ring->posted, memory_order_relaxed);

	do
		task->next = top;
	while (!atomic_compare_exchange_weak_explicit(&ring->posted, &top, task,
						      memory_order_release,
						      memory_order_relaxed));
	/* Once it is on the stack the task may be gone, so do not look at it;
	 * TOP is only compared. */
	if (!top)
		wake(ring);
}

void ring_stop(struct ring *ring)
{
	atomic_store(&ring->stop, true);
	wake(ring);
}

void ring_on_turn(struct ring *ring, void (*fn)(void *arg), void *arg)
{
	assert(ring->turn_count < TURNS_MAX);
	ring->turns[ring->turn_count++] = (struct turn){fn, arg};
}

void ring_off_turn(struct ring *ring, void (*fn)(void *arg), void *arg)
{
	for (unsigned i = 0; i < ring->turn_count; i++)
		if (ring->turns[i].fn == fn && ring->turns[i].arg == arg)
			ring->turns[i].fn = NULL;
}

/* Each of them once, also where they take themselves, or another, off. */
static void run_turns(struct ring *ring)
{
	unsigned n = 0;

	for (unsigned i = 0; i < ring->turn_count; i++)
		if (ring->turns[i].fn)
			ring->turns[i].fn(ring->turns[i].arg);
	for (unsigned i = 0; i < ring->turn_count; i++)
		if (ring->turns[i].fn)
			ring->turns[n++] = ring->turns[i];
	ring->turn_count = n;
}

static void handle(struct ring *ring, const struct io_uring_cqe *cqe)
{
	struct ring_op *op = (struct ring_op *)(uintptr_t)cqe->user_data;

	if (op)
		op->done(op, cqe->res, cqe->flags);
}

/* Those that are there now; what their handlers cause comes next turn.  The
 * stash is older than the queue, and may grow meanwhile. */
static void handle_completions(struct ring *ring)
{
	size_t stashed = ring->stash.count;
	unsigned ready = io_uring_cq_ready(&ring->uring);
	struct io_uring_cqe *next;

	for (size_t i = 0; i < stashed; i++) {
		struct io_uring_cqe cqe;

		memcpy(&cqe, &ring->stash.cqes[i], sizeof(cqe));
		handle(ring, &cqe);
	}
	if (stashed) {
		ring->stash.count -= stashed;
		memmove(ring->stash.cqes, ring->stash.cqes + stashed,
			ring->stash.count * sizeof(*ring->stash.cqes));
	}
	while (ready-- > 0 && io_uring_peek_cqe(&ring->uring, &next) == 0) {
		struct io_uring_cqe cqe;

		memcpy(&cqe, next, sizeof(cqe));
		io_uring_cqe_seen(&ring->uring, next);
		handle(ring, &cqe);
	}
}

static void run_tasks(struct ring *ring)
{
	struct ring_task *task =
	    atomic_load_explicit(&ring->posted, memory_order_relaxed);
	struct ring_task *oldest = NULL;

	if (!task)
		return;
	task =
	    atomic_exchange_explicit(&ring->posted, NULL, memory_order_acquire);
	while (task) {
		struct ring_task *next = task->next;

		task->next = oldest;
		oldest = task;
		task = next;
	}
	while (oldest) {
		task = oldest;
		oldest = task->next;
		task->run(task);
	}
}

static void arm(struct ring *ring)
{
	if (ring->armed)
		return;
	io_uring_prep_read(ring_sqe(ring, &ring->wake), ring->eventfd,
			   &ring->counter, sizeof(ring->counter), 0);
	ring->armed = true;
}

/* Submits, and waits unless there is something to do already. */
static int enter(struct ring *ring)
{
	int rc =
	    io_uring_submit_and_wait(&ring->uring, ring->stash.count ? 0 : 1);

	if (rc == -EAGAIN || rc == -EBUSY) {
		if (io_uring_cq_ready(&ring->uring) == 0)
			pause_briefly();
		rc = io_uring_get_events(&ring->uring);
	}
	return rc == -EINTR || rc == -EAGAIN || rc == -EBUSY ? 0 : rc;
}

static uint64_t monotonic_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t ring_watch(struct ring *ring, bool watch)
{
	atomic_store(&ring->watched, watch);
	return atomic_exchange(&ring->longest_ns, 0);
}

/* The turn that began at BEGIN is over. */
static void turn_over(struct ring *ring, uint64_t begin)
{
	uint64_t ns = monotonic_ns() - begin;

	if (ns > atomic_load_explicit(&ring->longest_ns, memory_order_relaxed))
		atomic_store(&ring->longest_ns, ns);
}

int ring_run(struct ring *ring, struct err *err)
{
	uint64_t begin;
	int rc = 0;

	while (rc >= 0 && !atomic_exchange(&ring->stop, false)) {
		arm(ring);
		run_turns(ring);
		ring_io_begin(ring->ioq);
		rc = enter(ring);
		begin =
		    atomic_load_explicit(&ring->watched, memory_order_relaxed)
			? monotonic_ns()
			: 0;
		handle_completions(ring);
		run_tasks(ring);
		if (begin)
			turn_over(ring, begin);
	}
	return rc < 0 ? err_set(err, rc, "io_uring") : 0;
}
