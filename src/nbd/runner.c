/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One thread and a queue.  How many errands wait is bounded by whoever gives
 * them: each is part of a request or of a connection.
 *
 * One thread for all disks, so a question may wait for those of other clients.
 * Nothing that a guest needs in order to connect, read or write may be one:
 * opening base:allocation, which it does each time that it connects, is not.
 */
#include "nbd/runner.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

struct runner {
	struct ring *ring;
	pthread_t thread;
	pthread_mutex_t lock; /* all below */
	pthread_cond_t changed;
	struct errand *first;
	struct errand **end;
	bool stopping;
};

static void *runner_loop(void *arg)
{
	struct runner *runner = arg;

	(void)pthread_setname_np(pthread_self(), "questions");
	(void)pthread_mutex_lock(&runner->lock);
	for (;;) {
		struct errand *errand;

		while (!runner->first && !runner->stopping)
			(void)pthread_cond_wait(&runner->changed,
						&runner->lock);
		errand = runner->first;
		if (!errand)
			break;
		runner->first = errand->next;
		if (!runner->first)
			runner->end = &runner->first;
		(void)pthread_mutex_unlock(&runner->lock);
		errand->run(errand);
		ring_post(runner->ring, &errand->back);
		(void)pthread_mutex_lock(&runner->lock);
	}
	(void)pthread_mutex_unlock(&runner->lock);
	return NULL;
}

int runner_new(struct ring *ring, struct runner **ret_runner, struct err *err)
{
	struct runner *runner = calloc(1, sizeof(*runner));
	int r;

	if (!runner)
		return err_set(err, -ENOMEM, "nbd server");
	runner->ring = ring;
	runner->end = &runner->first;
	(void)pthread_mutex_init(&runner->lock, NULL);
	(void)pthread_cond_init(&runner->changed, NULL);
	r = pthread_create(&runner->thread, NULL, runner_loop, runner);
	if (r) {
		free(runner);
		return err_set(err, -r, "start a thread");
	}
	*ret_runner = runner;
	return 0;
}

struct runner *runner_free(struct runner *runner)
{
	if (!runner)
		return NULL;
	(void)pthread_mutex_lock(&runner->lock);
	assert(!runner->first);
	runner->stopping = true;
	(void)pthread_cond_signal(&runner->changed);
	(void)pthread_mutex_unlock(&runner->lock);
	(void)pthread_join(runner->thread, NULL);
	(void)pthread_cond_destroy(&runner->changed);
	(void)pthread_mutex_destroy(&runner->lock);
	free(runner);
	return NULL;
}

void runner_run(struct runner *runner, struct errand *errand)
{
	errand->next = NULL;
	(void)pthread_mutex_lock(&runner->lock);
	*runner->end = errand;
	runner->end = &errand->next;
	(void)pthread_cond_signal(&runner->changed);
	(void)pthread_mutex_unlock(&runner->lock);
}
