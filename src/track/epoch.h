/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cut: one instant of the write stream of a virtual system, over all of
 * its disks and all of the threads that serve them.
 *
 *  E1  Each queue has adopted one epoch; a write belongs to the epoch that its
 *      queue had adopted when it was marked, for good.
 *  E2  A write of epoch e is not completed towards the guest before every
 *      queue has adopted e.  So a write that the guest issues because another
 *      one completed is never of an older epoch than that one: the set of
 *      writes of epochs < e is closed under "happened before".
 *  E3  The guest never waits for writes of an older epoch: adopting waits for
 *      nothing, and E2 waits for threads only, not for I/O.
 *  E4  Epochs e and e + 2 share a counter of writes in flight and a bitmap (the
 *      parity of e names both).  Whoever flips to e + 1 drains e before he
 *      calls the cut good; else he undoes it by flipping to e + 2, which
 *      belongs to the same generation as e.  Writes of the undone e + 1 may
 *      then be in flight: they are drained before the next flip, so that one
 *      never has writes of two generations under one parity.
 *
 * Flips are made by one thread at a time.
 */
#ifndef TRACK_EPOCH_H
#define TRACK_EPOCH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "disk/ring.h"

#define EPOCH_QUEUES_MAX 64

struct epoch;

/* One for each thread that serves guests; embedded in its owner. */
struct epoch_queue {
	struct epoch *epoch;
	_Atomic uint64_t adopted;     /* written by the owner's thread */
	_Atomic uint64_t inflight[2]; /* by parity; written by the owner's */
	struct ring_task task;        /* posted to the owner's thread */
	uint64_t adopted_ns;          /* when, CLOCK_MONOTONIC */
	void (*post)(void *arg, struct ring_task *task);
	/* On the owner's thread: writes held by E2 may be completed now. */
	void (*released)(void *released_arg);
	void *arg; /* of post */
	void *released_arg;
};

struct epoch {
	pthread_mutex_t lock; /* all below that is not atomic */
	pthread_cond_t changed;
	_Atomic uint64_t current;  /* what queues are to adopt */
	_Atomic uint64_t released; /* E2 */
	_Atomic bool draining;     /* somebody is in epoch_wait() */
	unsigned queues;
	unsigned waiting; /* queues that have not adopted `current` yet */
	unsigned pending; /* tasks posted and not yet run */
	struct epoch_queue *queue[EPOCH_QUEUES_MAX];
	uint64_t barrier_ns; /* of the last flip: first adoption to release */
	void (*pump)(void *arg); /* instead of waiting, in tests */
	void *pump_arg;
};

void epoch_init(struct epoch *epoch);
void epoch_done(struct epoch *epoch);

/* Before its thread serves anybody, while no flip runs. */
void epoch_add(struct epoch *epoch, struct epoch_queue *queue);

/* The owner's thread: a write begins; returns its epoch. */
static inline uint64_t epoch_enter(struct epoch_queue *queue)
{
	uint64_t e =
	    atomic_load_explicit(&queue->adopted, memory_order_relaxed);

	atomic_fetch_add_explicit(&queue->inflight[e & 1], 1,
				  memory_order_relaxed);
	return e;
}

/* The owner's thread: its I/O is over, whatever the result. */
void epoch_leave(struct epoch_queue *queue, uint64_t e);

/* The owner's thread: may a write of epoch E be completed to the guest? (E2) */
static inline bool epoch_may_complete(struct epoch_queue *queue, uint64_t e)
{
	return atomic_load_explicit(&queue->epoch->released,
				    memory_order_acquire) >= e;
}

/* Makes all queues adopt the next epoch; returns it once they all have. */
uint64_t epoch_flip(struct epoch *epoch);

/* Waits until OVER, which is asked whenever epoch_changed() was called, and
 * every 100 ms; false after TIMEOUT_MS. */
bool epoch_wait(struct epoch *epoch, bool (*over)(void *arg), void *arg,
		uint32_t timeout_ms);
/* Any thread: whoever waits looks again. */
void epoch_changed(struct epoch *epoch);

/* Waits until no write of E's parity is in flight; false after TIMEOUT_MS. */
bool epoch_drain(struct epoch *epoch, uint64_t e, uint32_t timeout_ms);

#endif
