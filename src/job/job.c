/* SPDX-License-Identifier: Apache-2.0 */
#include "job/job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct jobs {
	uint64_t (*now_ms)(void);
	uint64_t last_id;
	struct job *first; /* newest first */
};

static uint64_t boottime_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

struct jobs *jobs_new(uint64_t (*now_ms)(void))
{
	struct jobs *jobs = calloc(1, sizeof(*jobs));

	if (jobs)
		jobs->now_ms = now_ms ? now_ms : boottime_ms;
	return jobs;
}

struct jobs *jobs_free(struct jobs *jobs)
{
	struct job *job, *next;

	for (job = jobs ? jobs->first : NULL; job; job = next) {
		next = job->next;
		free(job);
	}
	free(jobs);
	return NULL;
}

static void forget(struct job **at)
{
	struct job *job = *at;

	*at = job->next;
	free(job);
}

/* Forgets what ended long ago. */
static void expire(struct jobs *jobs)
{
	uint64_t now = jobs->now_ms();
	struct job **at = &jobs->first;

	while (*at)
		if ((*at)->state != JOB_RUNNING &&
		    now - (*at)->end_ms > JOB_KEEP_MS)
			forget(at);
		else
			at = &(*at)->next;
}

/* Forgets the one that ended first if too many did. */
static void bound(struct jobs *jobs)
{
	struct job **at, **oldest = NULL;
	unsigned ended = 0;

	for (at = &jobs->first; *at; at = &(*at)->next) {
		if ((*at)->state == JOB_RUNNING)
			continue;
		ended++;
		if (!oldest || (*at)->end_ms <= (*oldest)->end_ms)
			oldest = at;
	}
	if (ended > JOBS_KEPT_MAX)
		forget(oldest);
}

const struct job *jobs_busy(struct jobs *jobs, const char *vm)
{
	for (const struct job *job = jobs->first; job; job = job->next)
		if (job->state == JOB_RUNNING && job->exclusive &&
		    strcmp(job->vm, vm) == 0)
			return job;
	return NULL;
}

int job_begin(struct jobs *jobs, const char *what, const char *vm,
	      bool exclusive, struct job **ret_job, struct err *err)
{
	const struct job *busy = exclusive ? jobs_busy(jobs, vm) : NULL;
	uint64_t now = jobs->now_ms();
	struct job *job;

	expire(jobs);
	if (busy)
		return err_set(err, -RP_ESTATE,
			       "'%s': %s is in progress (job %llu, for %llu s)",
			       vm, busy->what, (unsigned long long)busy->id,
			       (unsigned long long)(now - busy->start_ms) /
				   1000);
	job = calloc(1, sizeof(*job));
	if (!job)
		return err_set(err, -ENOMEM, "%s '%s'", what, vm);
	job->id = ++jobs->last_id;
	(void)snprintf(job->what, sizeof(job->what), "%s", what);
	(void)snprintf(job->vm, sizeof(job->vm), "%s", vm);
	job->exclusive = exclusive;
	job->start_ms = now;
	job->next = jobs->first;
	jobs->first = job;
	*ret_job = job;
	return 0;
}

void job_progress(struct job *job, unsigned percent)
{
	job->percent = percent < 100 ? percent : 100;
}

void job_end(struct jobs *jobs, struct job *job, const struct err *result)
{
	job->end_ms = jobs->now_ms();
	job->state = result && result->code < 0 ? JOB_FAILED : JOB_COMPLETED;
	if (job->state == JOB_FAILED)
		job->result = *result;
	else
		job->percent = 100;
	bound(jobs);
}

const struct job *jobs_find(struct jobs *jobs, uint64_t id)
{
	expire(jobs);
	for (const struct job *job = jobs->first; job; job = job->next)
		if (job->id == id)
			return job;
	return NULL;
}

int jobs_each(struct jobs *jobs, int (*fn)(void *arg, const struct job *job),
	      void *arg)
{
	int r = 0;

	expire(jobs);
	for (const struct job *job = jobs->first; job && r == 0;
	     job = job->next)
		r = fn(arg, job);
	return r;
}
