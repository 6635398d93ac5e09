/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is going on: long operations, in memory.  The registry serialises the
 * operations that change a virtual system, one at a time, and remembers for
 * JOB_KEEP_MS how each ended, for front ends that poll.
 *
 * Invariants:
 *  1. At most one running job of a virtual system is exclusive.
 *  2. Every begun job ends once; only then is it counted against
 *     JOBS_KEPT_MAX, beyond which the one that ended first is forgotten.
 */
#ifndef JOB_JOB_H
#define JOB_JOB_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/limits.h"

#define JOB_KEEP_MS    300000 /* after its end */
#define JOBS_KEPT_MAX  1024
#define JOB_WHAT_BYTES 32

enum job_state {
	JOB_RUNNING,
	JOB_COMPLETED,
	JOB_FAILED
};

struct job {
	uint64_t id;               /* never used twice by one refpointd */
	char what[JOB_WHAT_BYTES]; /* "Create" */
	char vm[VM_NAME_BYTES];
	bool exclusive;
	enum job_state state;
	uint64_t start_ms; /* by the registry's clock */
	uint64_t end_ms;   /* 0 while it runs */
	unsigned percent;
	struct err result; /* code 0 unless JOB_FAILED */
	struct job *next;
};

struct jobs;

/* NOW_MS: a clock that never goes back; NULL: CLOCK_BOOTTIME.  NULL: no
 * memory. */
struct jobs *jobs_new(uint64_t (*now_ms)(void));
struct jobs *jobs_free(struct jobs *jobs);

/* -RP_ESTATE, naming what is in progress, if EXCLUSIVE and another exclusive
 * job of VM runs.  The job is the registry's; the pointer is good until
 * job_end(). */
int job_begin(struct jobs *jobs, const char *what, const char *vm,
	      bool exclusive, struct job **ret_job, struct err *err);
void job_progress(struct job *job, unsigned percent);
/* RESULT NULL or with code 0: completed. */
void job_end(struct jobs *jobs, struct job *job, const struct err *result);

/* The running exclusive job of VM; NULL: none. */
const struct job *jobs_busy(struct jobs *jobs, const char *vm);
/* NULL: never was, or is forgotten. */
const struct job *jobs_find(struct jobs *jobs, uint64_t id);
/* Newest first, until FN says non-zero. */
int jobs_each(struct jobs *jobs, int (*fn)(void *arg, const struct job *job),
	      void *arg);

#endif
