/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One io_uring, the loop around it, and the seam's queue for the guest's I/O.
 *
 * A ring belongs to the one thread that calls ring_run(); only ring_post() and
 * ring_stop() may be called from elsewhere.  Submissions made during one turn
 * of the loop go to the kernel together, in one system call.
 */
#ifndef DISK_RING_H
#define DISK_RING_H

#include <liburing.h>

#include "disk/disk.h"

struct ring;

/* Embedded in whoever waits.  Called on the ring's thread, once for each
 * completion (more than once for multishot operations). */
struct ring_op {
	void (*done)(struct ring_op *op, int result, unsigned cqe_flags);
};

/* A function to run on the ring's thread; embedded, owned by the caller until
 * it runs; may not be posted again before. */
struct ring_task {
	void (*run)(struct ring_task *task);
	struct ring_task *next;
};

/* ENTRIES: size of the submission queue.  The ring starts disabled;
 * -RP_EUNSUPPORTED, saying so, where io_uring is refused by the system. */
int ring_new(unsigned entries, struct ring **ret_ring, struct err *err);

/* Restricts the ring to the operations that this program needs
 * (io_uring_register(2), IORING_REGISTER_RESTRICTIONS) and enables it.  Call
 * once, from the thread that will run it. */
int ring_enable(struct ring *ring, struct err *err);

/* Accepts NULL; nothing may be in flight, and the files that its queue wrote
 * are closed. */
struct ring *ring_free(struct ring *ring);

/* A cleared submission entry whose completion calls OP->done; never NULL (a
 * full queue is submitted first).  Prepare it with io_uring_prep_*() but leave
 * its user_data alone. */
struct io_uring_sqe *ring_sqe(struct ring *ring, struct ring_op *op);

/* Asks the kernel to cancel what OP waits for; OP's done() still comes, with
 * -ECANCELED or its result. */
void ring_cancel(struct ring *ring, struct ring_op *op);

/* Calls OP->done with -ETIME after MS milliseconds. */
void ring_timer(struct ring *ring, struct ring_op *op, uint64_t ms);

/* Runs TASK on the ring's thread soon.  Any thread. */
void ring_post(struct ring *ring, struct ring_task *task);

/* FN(arg) is called once in each turn of the loop, after completions were
 * handled and before submission; at most 8 of them.  Before ring_run(), or on
 * the ring's thread. */
void ring_on_turn(struct ring *ring, void (*fn)(void *arg), void *arg);
/* No more; on the ring's thread, also from within FN. */
void ring_off_turn(struct ring *ring, void (*fn)(void *arg), void *arg);

/* Any thread: from now on (WATCH) the longest turn of the loop is measured,
 * from the end of its waiting to the next; returns the longest since the last
 * call, in ns, 0 if that did not watch. */
uint64_t ring_watch(struct ring *ring, bool watch);

/* Runs until ring_stop(); returns 0 or a negative code. */
int ring_run(struct ring *ring, struct err *err);
void ring_stop(struct ring *ring);

/* The seam's queue on this ring, for files of disk/posix.h; owned by it. */
struct ioq *ring_ioq(struct ring *ring);

#endif
