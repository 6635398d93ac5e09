/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cut among threads.  Four threads serve guests; each request that is
 * completed makes the guest issue another, on a thread at random: the new one
 * is issued because the old one completed.  E2 says that then it is not of an
 * older epoch, so that for every flip the writes before it are closed under
 * "happened before".
 *
 *   SEED=, FLIPS= (default 4000)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/bytes.h"
#include "track/epoch.h"

#define THREADS 4
#define CHAINS  16 /* guest's requests in flight */

struct server;

/* A request; one guest's chain of them reuses it. */
struct write {
	struct write *next;
	struct server *server;
	uint64_t epoch;
	uint64_t cause; /* the epoch of the one whose completion caused it */
	unsigned turns; /* that its I/O takes */
};

struct server {
	struct epoch_queue queue;
	pthread_t thread;
	uint64_t seed;
	pthread_mutex_t lock; /* tasks, inbox */
	struct ring_task *tasks;
	struct write *inbox; /* to be issued here */
	/* the thread's own */
	struct write *io;   /* in flight */
	struct write *held; /* by E2 */
	uint64_t writes, holds;
};

static struct epoch epoch;
static struct server servers[THREADS];
static struct write writes[CHAINS];
static _Atomic bool stopping;
static _Atomic uint64_t disorder, early, stale;
/* Epochs up to this have drained: no write of them may begin or end any more.
 */
static _Atomic uint64_t closed_upto;

static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static void push(struct write **list, struct write *w)
{
	w->next = *list;
	*list = w;
}

static void post(void *arg, struct ring_task *task)
{
	struct server *s = arg;

	(void)pthread_mutex_lock(&s->lock);
	task->next = s->tasks;
	s->tasks = task;
	(void)pthread_mutex_unlock(&s->lock);
}

/* The guest has its answer, and issues the next because of it. */
static void complete(struct server *s, struct write *w)
{
	struct server *to = &servers[next_random(&s->seed) % THREADS];

	if (atomic_load(&epoch.released) < w->epoch)
		atomic_fetch_add(&early, 1);
	w->cause = w->epoch;
	w->server = to;
	(void)pthread_mutex_lock(&to->lock);
	push(&to->inbox, w);
	(void)pthread_mutex_unlock(&to->lock);
}

static void finish(struct server *s, struct write *w)
{
	if (epoch_may_complete(&s->queue, w->epoch)) {
		complete(s, w);
		return;
	}
	s->holds++;
	push(&s->held, w);
}

static void released(void *arg)
{
	struct server *s = arg;
	struct write *list = s->held;

	s->held = NULL;
	while (list) {
		struct write *next = list->next;

		finish(s, list);
		list = next;
	}
}

static void issue(struct server *s, struct write *w)
{
	w->epoch = epoch_enter(&s->queue);
	if (w->epoch < w->cause)
		atomic_fetch_add(&disorder, 1);
	if (w->epoch <= atomic_load(&closed_upto))
		atomic_fetch_add(&stale, 1);
	w->turns = (unsigned)(next_random(&s->seed) % 8);
	s->writes++;
	push(&s->io, w);
}

/* Those whose I/O is over leave their epoch and finish. */
static void turn(struct server *s)
{
	struct write *list = s->io;

	s->io = NULL;
	while (list) {
		struct write *next = list->next;

		if (list->turns-- > 0) {
			push(&s->io, list);
		} else {
			if (list->epoch <= atomic_load(&closed_upto))
				atomic_fetch_add(&stale, 1);
			epoch_leave(&s->queue, list->epoch);
			finish(s, list);
		}
		list = next;
	}
}

static void *serve(void *arg)
{
	struct server *s = arg;
	bool stop = false;

	while (!stop) {
		struct ring_task *tasks;
		struct write *inbox;

		(void)pthread_mutex_lock(&s->lock);
		tasks = s->tasks;
		inbox = s->inbox;
		s->tasks = NULL;
		s->inbox = NULL;
		stop = atomic_load(&stopping) && !tasks;
		(void)pthread_mutex_unlock(&s->lock);
		while (tasks) {
			struct ring_task *next = tasks->next;

			tasks->run(tasks);
			tasks = next;
		}
		while (inbox) {
			struct write *next = inbox->next;

			issue(s, inbox);
			inbox = next;
		}
		turn(s);
		(void)sched_yield();
	}
	return NULL;
}

static uint64_t number(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 10) : otherwise;
}

static int set_up(void **state)
{
	uint64_t seed = number("SEED", 1);

	printf("SEED=%llu\n", (unsigned long long)seed);
	memset(servers, 0, sizeof(servers));
	memset(writes, 0, sizeof(writes));
	atomic_store(&stopping, false);
	atomic_store(&disorder, 0);
	atomic_store(&early, 0);
	atomic_store(&stale, 0);
	atomic_store(&closed_upto, 0);
	epoch_init(&epoch);
	for (unsigned i = 0; i < THREADS; i++) {
		struct server *s = &servers[i];

		s->seed = (seed + 1) * 0x9e3779b97f4a7c15u + i;
		(void)pthread_mutex_init(&s->lock, NULL);
		s->queue.post = post;
		s->queue.arg = s;
		s->queue.released = released;
		s->queue.released_arg = s;
		epoch_add(&epoch, &s->queue);
	}
	for (unsigned i = 0; i < CHAINS; i++)
		push(&servers[i % THREADS].inbox, &writes[i]);
	for (unsigned i = 0; i < THREADS; i++)
		if (pthread_create(&servers[i].thread, NULL, serve,
				   &servers[i]))
			return -1;
	return 0;
}

static int tear_down(void **state)
{
	if (atomic_exchange(&stopping, true))
		return 0;
	for (unsigned i = 0; i < THREADS; i++)
		(void)pthread_join(servers[i].thread, NULL);
	for (unsigned i = 0; i < THREADS; i++)
		(void)pthread_mutex_destroy(&servers[i].lock);
	epoch_done(&epoch);
	return 0;
}

static void writes_before_a_cut_are_closed_under_happened_before(void **state)
{
	uint64_t flips = number("FLIPS", 4000), n = 0, holds = 0, worst = 0;

	for (uint64_t i = 0; i < flips; i++) {
		uint64_t e = epoch_flip(&epoch);

		assert_int_equal(e, i + 2);
		worst = MAX(worst, epoch.barrier_ns);
		/* Sometimes at once, sometimes after a drain (a seal's way). */
		assert_true(epoch_drain(&epoch, e - 1, 60000));
		atomic_store(&closed_upto, e - 1);
	}
	assert_int_equal(atomic_load(&disorder), 0);
	assert_int_equal(atomic_load(&early), 0);
	assert_int_equal(atomic_load(&stale), 0);
	(void)tear_down(state);
	for (unsigned i = 0; i < THREADS; i++) {
		n += servers[i].writes;
		holds += servers[i].holds;
	}
	printf("%llu flips, %llu writes, %llu held, longest barrier %llu us\n",
	       (unsigned long long)flips, (unsigned long long)n,
	       (unsigned long long)holds, (unsigned long long)worst / 1000);
	assert_true(n > flips);
	assert_true(holds > 0); /* else E2 was not put to the test */
}

static void a_drain_gives_up_when_a_write_stays(void **state)
{
	struct epoch alone;
	struct epoch_queue queue = {0};
	uint64_t e;

	epoch_init(&alone);
	epoch_add(&alone, &queue);
	e = epoch_enter(&queue);
	assert_false(epoch_drain(&alone, e, 20));
	assert_true(epoch_drain(&alone, e + 1, 20));
	epoch_leave(&queue, e);
	assert_true(epoch_drain(&alone, e, 20));
	epoch_done(&alone);
}

static void without_queues_a_flip_releases_at_once(void **state)
{
	struct epoch alone;

	epoch_init(&alone);
	assert_int_equal(epoch_flip(&alone), 2);
	assert_int_equal(atomic_load(&alone.released), 2);
	assert_true(epoch_drain(&alone, 1, 10));
	epoch_done(&alone);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(
		writes_before_a_cut_are_closed_under_happened_before, set_up,
		tear_down),
	    cmocka_unit_test(a_drain_gives_up_when_a_write_stays),
	    cmocka_unit_test(without_queues_a_flip_releases_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
