/* SPDX-License-Identifier: Apache-2.0 */
#include "track/parallel.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define THREADS_MAX 8

struct parallel {
	pthread_mutex_t turn; /* one call at a time; taken before lock */
	pthread_mutex_t lock; /* all below */
	pthread_cond_t changed;
	struct parallel_job *jobs;
	unsigned count;
	unsigned next; /* to be taken */
	unsigned finished;
	bool stopping;
	unsigned threads;
	pthread_t thread[THREADS_MAX];
};

/* With the lock: works until no job is left to take. */
static void work(struct parallel *p)
{
	while (p->next < p->count) {
		struct parallel_job *job = &p->jobs[p->next++];

		(void)pthread_mutex_unlock(&p->lock);
		job->result = job->run(job->arg, &job->err);
		(void)pthread_mutex_lock(&p->lock);
		p->finished++;
		(void)pthread_cond_broadcast(&p->changed);
	}
}

static void *thread_main(void *arg)
{
	struct parallel *p = arg;

	(void)pthread_mutex_lock(&p->lock);
	while (!p->stopping) {
		work(p);
		if (!p->stopping)
			(void)pthread_cond_wait(&p->changed, &p->lock);
	}
	(void)pthread_mutex_unlock(&p->lock);
	return NULL;
}

struct parallel *parallel_new(unsigned threads)
{
	struct parallel *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	(void)pthread_mutex_init(&p->turn, NULL);
	(void)pthread_mutex_init(&p->lock, NULL);
	(void)pthread_cond_init(&p->changed, NULL);
	while (p->threads < threads && p->threads < THREADS_MAX &&
	       pthread_create(&p->thread[p->threads], NULL, thread_main, p) ==
		   0)
		p->threads++;
	return p;
}

struct parallel *parallel_free(struct parallel *p)
{
	if (!p)
		return NULL;
	(void)pthread_mutex_lock(&p->lock);
	p->stopping = true;
	(void)pthread_cond_broadcast(&p->changed);
	(void)pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->threads; i++)
		(void)pthread_join(p->thread[i], NULL);
	(void)pthread_cond_destroy(&p->changed);
	(void)pthread_mutex_destroy(&p->lock);
	(void)pthread_mutex_destroy(&p->turn);
	free(p);
	return NULL;
}

static void run_shared(struct parallel *p, struct parallel_job *jobs,
		       unsigned count)
{
	(void)pthread_mutex_lock(&p->turn);
	(void)pthread_mutex_lock(&p->lock);
	p->jobs = jobs;
	p->count = count;
	p->next = p->finished = 0;
	(void)pthread_cond_broadcast(&p->changed);
	work(p);
	while (p->finished < count)
		(void)pthread_cond_wait(&p->changed, &p->lock);
	p->count = p->next = 0;
	(void)pthread_mutex_unlock(&p->lock);
	(void)pthread_mutex_unlock(&p->turn);
}

int parallel_run(struct parallel *p, struct parallel_job *jobs, unsigned count,
		 struct err *err)
{
	for (unsigned i = 0; i < count; i++) {
		jobs[i].result = 0;
		jobs[i].err.code = 0;
	}
	if (p && count > 1) {
		run_shared(p, jobs, count);
	} else {
		for (unsigned i = 0; i < count; i++) {
			jobs[i].result = jobs[i].run(jobs[i].arg, &jobs[i].err);
			if (jobs[i].result < 0)
				break;
		}
	}
	for (unsigned i = 0; i < count; i++)
		if (jobs[i].result < 0) {
			if (err)
				*err = jobs[i].err;
			return jobs[i].result;
		}
	return 0;
}
