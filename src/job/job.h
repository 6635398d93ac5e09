/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is going on, in memory.  The registry serialises the operations that
 * change a virtual system, one at a time.  What is remembered of some of them
 * after their end: job/record.h.
 *
 * Invariants:
 *  1. At most one job of a virtual system is exclusive.
 *  2. Every begun job ends once, and is forgotten then.
 */
#ifndef JOB_JOB_H
#define JOB_JOB_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/limits.h"

#define JOB_WHAT_BYTES 32

struct job {
	uint64_t id;               /* never used twice by one refpointd */
	char what[JOB_WHAT_BYTES]; /* "Create" */
	char vm[VM_NAME_BYTES];
	bool exclusive;
	uint64_t start_ms; /* by the registry's clock */
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
void job_end(struct jobs *jobs, struct job *job);

/* The running exclusive job of VM; NULL: none. */
const struct job *jobs_busy(struct jobs *jobs, const char *vm);

#endif
