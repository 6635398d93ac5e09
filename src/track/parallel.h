/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several syncs at once: they cost the time of the slowest, and most devices
 * make one flush of those that meet.  A few threads that wait for work; the
 * caller takes part.
 */
#ifndef TRACK_PARALLEL_H
#define TRACK_PARALLEL_H

#include "common/err.h"

struct parallel;

struct parallel_job {
	int (*run)(void *arg, struct err *err);
	void *arg;
	int result;
	struct err err;
};

/* THREADS besides the caller's; NULL without memory or threads, which is a
 * valid argument of the others: everything is then done in turn. */
struct parallel *parallel_new(unsigned threads);
struct parallel *parallel_free(struct parallel *parallel);

/* Runs all jobs, in no order, and returns the first failure in order of JOBS,
 * or 0.  Any thread; calls from several are worked off one after another. */
int parallel_run(struct parallel *parallel, struct parallel_job *jobs,
		 unsigned count, struct err *err);

#endif
