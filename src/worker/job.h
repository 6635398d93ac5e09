/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Work that may wait, off the event loop, in two lanes.
 *
 * LANE_CONTROL has one thread, so that what changes a virtual system happens
 * one after the other; LANE_QUERY has QUERY_THREADS, so that questions are
 * answered while a point is being made.
 */
#ifndef WORKER_JOB_H
#define WORKER_JOB_H

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "common/err.h"

enum lane {
	LANE_CONTROL,
	LANE_QUERY,
	LANES
};
#define QUERY_THREADS 2

/* Embedded; the owner's again when DONE is called. */
struct job {
	void (*run)(struct job *job);  /* on a thread of the lane */
	void (*done)(struct job *job); /* then, on the event loop */
	struct job *next;
};

struct jobs;

/* Starts the threads. */
int jobs_new(sd_event *event, struct jobs **ret_jobs, struct err *err);
/* Waits for the jobs that run; the others are never run.  Accepts NULL. */
struct jobs *jobs_free(struct jobs *jobs);

/* From the event loop; in the order of the calls within LANE_CONTROL. */
void jobs_submit(struct jobs *jobs, enum lane lane, struct job *job);
/* Submitted and not done (the event loop's view). */
unsigned jobs_pending(const struct jobs *jobs);

#endif
