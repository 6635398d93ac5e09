/* SPDX-License-Identifier: Apache-2.0 */
#include "track/epoch.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <time.h>

#include "common/bytes.h"

static uint64_t monotonic_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void epoch_init(struct epoch *epoch)
{
	pthread_condattr_t attr;

	memset(epoch, 0, sizeof(*epoch));
	atomic_store(&epoch->current, 1);
	atomic_store(&epoch->released, 1);
	(void)pthread_mutex_init(&epoch->lock, NULL);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&epoch->changed, &attr);
	(void)pthread_condattr_destroy(&attr);
}

void epoch_done(struct epoch *epoch)
{
	(void)pthread_cond_destroy(&epoch->changed);
	(void)pthread_mutex_destroy(&epoch->lock);
}

/* The second task of a flip, on a queue that adopted before the last one did:
 * what it holds may go. */
static void release_task(struct ring_task *task)
{
	struct epoch_queue *queue =
	    container_of(task, struct epoch_queue, task);
	struct epoch *epoch = queue->epoch;

	queue->released(queue->released_arg);
	(void)pthread_mutex_lock(&epoch->lock);
	epoch->pending--;
	(void)pthread_cond_broadcast(&epoch->changed);
	(void)pthread_mutex_unlock(&epoch->lock);
}

/* With the lock held, when the last queue has adopted. */
static void release_all(struct epoch *epoch)
{
	uint64_t now = monotonic_ns(), first = now;

	for (unsigned i = 0; i < epoch->queues; i++)
		first = MIN(first, epoch->queue[i]->adopted_ns);
	epoch->barrier_ns = now - first;
	atomic_store_explicit(&epoch->released, atomic_load(&epoch->current),
			      memory_order_release);
	for (unsigned i = 0; i < epoch->queues; i++) {
		struct epoch_queue *queue = epoch->queue[i];

		epoch->pending++;
		queue->task.run = release_task;
		queue->post(queue->arg, &queue->task);
	}
}

/* On the queue's own thread: from here on its writes are of the new epoch. */
static void adopt_task(struct ring_task *task)
{
	struct epoch_queue *queue =
	    container_of(task, struct epoch_queue, task);
	struct epoch *epoch = queue->epoch;

	queue->adopted_ns = monotonic_ns();
	(void)pthread_mutex_lock(&epoch->lock);
	atomic_store_explicit(&queue->adopted, atomic_load(&epoch->current),
			      memory_order_release);
	epoch->pending--;
	if (--epoch->waiting == 0)
		release_all(epoch);
	(void)pthread_cond_broadcast(&epoch->changed);
	(void)pthread_mutex_unlock(&epoch->lock);
}

void epoch_add(struct epoch *epoch, struct epoch_queue *queue)
{
	(void)pthread_mutex_lock(&epoch->lock);
	assert(epoch->queues < EPOCH_QUEUES_MAX && epoch->pending == 0);
	queue->epoch = epoch;
	atomic_store(&queue->adopted, atomic_load(&epoch->current));
	atomic_store(&queue->inflight[0], 0);
	atomic_store(&queue->inflight[1], 0);
	epoch->queue[epoch->queues++] = queue;
	(void)pthread_mutex_unlock(&epoch->lock);
}

void epoch_changed(struct epoch *epoch)
{
	if (!atomic_load(&epoch->draining))
		return;
	(void)pthread_mutex_lock(&epoch->lock);
	(void)pthread_cond_broadcast(&epoch->changed);
	(void)pthread_mutex_unlock(&epoch->lock);
}

void epoch_leave(struct epoch_queue *queue, uint64_t e)
{
	uint64_t was = atomic_fetch_sub_explicit(&queue->inflight[e & 1], 1,
						 memory_order_release);

	assert(was > 0);
	if (was == 1)
		epoch_changed(queue->epoch);
}

/* With the lock held: lets others go on, for as long as UNTIL. */
static bool wait_for_change(struct epoch *epoch, const struct timespec *until)
{
	int r = 0;

	if (epoch->pump) {
		(void)pthread_mutex_unlock(&epoch->lock);
		epoch->pump(epoch->pump_arg);
		(void)pthread_mutex_lock(&epoch->lock);
	} else if (until) {
		r = pthread_cond_timedwait(&epoch->changed, &epoch->lock,
					   until);
	} else {
		r = pthread_cond_wait(&epoch->changed, &epoch->lock);
	}
	return r != ETIMEDOUT;
}

uint64_t epoch_flip(struct epoch *epoch)
{
	uint64_t e;

	(void)pthread_mutex_lock(&epoch->lock);
	assert(epoch->pending == 0 && epoch->waiting == 0);
	e = atomic_load(&epoch->current) + 1;
	atomic_store(&epoch->current, e);
	epoch->waiting = epoch->queues;
	epoch->pending = epoch->queues;
	if (epoch->queues == 0)
		release_all(epoch);
	for (unsigned i = 0; i < epoch->queues; i++) {
		epoch->queue[i]->task.run = adopt_task;
		epoch->queue[i]->post(epoch->queue[i]->arg,
				      &epoch->queue[i]->task);
	}
	while (epoch->pending > 0)
		(void)wait_for_change(epoch, NULL);
	(void)pthread_mutex_unlock(&epoch->lock);
	return e;
}

bool epoch_wait(struct epoch *epoch, bool (*over)(void *arg), void *arg,
		uint32_t timeout_ms)
{
	uint64_t end = monotonic_ns() + (uint64_t)timeout_ms * 1000000u;
	/* It is asked by 100 ms at the latest, so that a change just before
	 * `draining` was seen costs that at most. */
	bool done;

	atomic_store(&epoch->draining, true);
	(void)pthread_mutex_lock(&epoch->lock);
	while (!(done = over(arg))) {
		uint64_t now = monotonic_ns();
		uint64_t at = MIN(end, now + 100000000u);
		struct timespec until = {(time_t)(at / 1000000000u),
					 (long)(at % 1000000000u)};

		if (now >= end)
			break;
		(void)wait_for_change(epoch, &until);
	}
	(void)pthread_mutex_unlock(&epoch->lock);
	atomic_store(&epoch->draining, false);
	return done;
}

struct drain {
	const struct epoch *epoch;
	uint64_t e;
};

static bool is_drained(void *arg)
{
	const struct drain *drain = arg;

	for (unsigned i = 0; i < drain->epoch->queues; i++)
		if (atomic_load_explicit(
			&drain->epoch->queue[i]->inflight[drain->e & 1],
			memory_order_acquire))
			return false;
	return true;
}

bool epoch_drain(struct epoch *epoch, uint64_t e, uint32_t timeout_ms)
{
	struct drain drain = {epoch, e};

	return epoch_wait(epoch, is_drained, &drain, timeout_ms);
}
