/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's I/O with faults.  Each io has a shadow, which goes through
 *
 *   waits before, the call beneath, waits after, the io's done()
 *
 * one timer at a time, on the ring, so that the loop is never held up.  The
 * shadow is the one allocation; this is no code for a guest that matters.
 */
#include "disk/faulty-rules.h"

#include <assert.h>
#include <stdlib.h>

#include "common/bytes.h"

#define HANG_POLL_MS 2

struct faulty_ioq {
	struct ioq ioq;
	struct faults *faults;
	struct ring *ring;
	struct ioq *inner;
};

struct shadow {
	struct io inner;
	struct io *io;
	struct faulty_ioq *q;
	struct fault fault;
	struct ring_op timer;
	struct ring_task task;
	bool is_after; /* the call was made, or will not be */
	int result;
};

static enum fault_op op_of(const struct io *io)
{
	switch (io->op) {
	case IO_READ:
		return FAULT_READ;
	case IO_WRITE:
		return FAULT_WRITE;
	case IO_ZERO:
		return FAULT_ZERO;
	case IO_DISCARD:
		return FAULT_DISCARD;
	case IO_SYNC:
		return FAULT_SYNC;
	}
	return FAULT_ANY;
}

static void finish(struct shadow *s, int result)
{
	struct io *io = s->io;

	free(s);
	io->done(io, result);
}

static void waited(struct ring_op *op, int result, unsigned cqe_flags);

/* True: come back by the timer. */
static bool wait_for(struct shadow *s, struct fault_side *side)
{
	uint64_t ms = div_round_up(side->delay_us, 1000);

	side->delay_us = 0;
	if (!ms && fault_hangs(side))
		ms = HANG_POLL_MS;
	if (ms) {
		s->timer.done = waited;
		ring_timer(s->q->ring, &s->timer, ms);
	}
	return ms > 0;
}

static void inner_done(struct io *inner, int result);

/* From the loop: the next step of S. */
static void go_on(struct shadow *s)
{
	struct fault_side *side =
	    s->is_after ? &s->fault.after : &s->fault.before;

	if (wait_for(s, side))
		return;
	if (s->is_after || side->error) {
		finish(s, side->error ? side->error : s->result);
		return;
	}
	s->is_after = true;
	s->inner = *s->io;
	s->inner.file = faulty_file_inner(s->io->file);
	s->inner.done = inner_done;
	ioq_submit(s->q->inner, &s->inner);
}

static void waited(struct ring_op *op, int result, unsigned cqe_flags)
{
	(void)result;
	(void)cqe_flags;
	go_on(container_of(op, struct shadow, timer));
}

static void inner_done(struct io *inner, int result)
{
	struct shadow *s = container_of(inner, struct shadow, inner);

	s->result = result;
	go_on(s);
}

static void begin(struct ring_task *task)
{
	go_on(container_of(task, struct shadow, task));
}

/* A failure without a delay may not call done() from here, so that it goes
 * by way of the loop; what is not failed goes straight on. */
static void faulty_submit(struct ioq *ioq, struct io *io)
{
	struct faulty_ioq *q = container_of(ioq, struct faulty_ioq, ioq);
	struct shadow *s = calloc(1, sizeof(*s));
	struct faults *faults = faulty_file_faults(io->file);

	if (!s)
		abort();
	s->q = q;
	s->io = io;
	if (!faults)
		faults = q->faults;
	if (faults)
		s->fault =
		    faults_consult(faults, op_of(io), io->file->name, NULL);
	if (s->fault.before.error) {
		s->task.run = begin;
		ring_post(q->ring, &s->task);
		return;
	}
	go_on(s);
}

static const struct ioq_ops faulty_ioq_ops = {
    .submit = faulty_submit,
};

int faulty_ioq_new(struct faults *faults, struct ring *ring, struct ioq *inner,
		   struct ioq **ret_ioq, struct err *err)
{
	struct faulty_ioq *q = calloc(1, sizeof(*q));

	if (!q)
		return err_set(err, -ENOMEM, "faults");
	q->ioq.ops = &faulty_ioq_ops;
	q->faults = faults;
	q->ring = ring;
	q->inner = inner;
	*ret_ioq = &q->ioq;
	return 0;
}

void faulty_ioq_free(struct ioq *ioq)
{
	if (ioq)
		free(container_of(ioq, struct faulty_ioq, ioq));
}
