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

const struct job *jobs_busy(struct jobs *jobs, const char *vm)
{
	for (const struct job *job = jobs->first; job; job = job->next)
		if (job->exclusive && strcmp(job->vm, vm) == 0)
			return job;
	return NULL;
}

int job_begin(struct jobs *jobs, const char *what, const char *vm,
	      bool exclusive, struct job **ret_job, struct err *err)
{
	const struct job *busy = exclusive ? jobs_busy(jobs, vm) : NULL;
	uint64_t now = jobs->now_ms();
	struct job *job;

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

void job_end(struct jobs *jobs, struct job *job)
{
	struct job **at = &jobs->first;

	while (*at != job)
		at = &(*at)->next;
	*at = job->next;
	free(job);
}
