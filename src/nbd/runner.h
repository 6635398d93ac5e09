/* SPDX-License-Identifier: Apache-2.0 */
/* A thread for what may wait for a disk and is no guest's read or write. */
#ifndef NBD_RUNNER_H
#define NBD_RUNNER_H

#include "disk/ring.h"

struct runner;

/* Embedded; the giver's until runner_run(), and again in `back`. */
struct errand {
	void (*run)(struct errand *errand); /* on the runner's thread */
	struct ring_task back;              /* then, on the ring's */
	struct errand *next;
};

int runner_new(struct ring *ring, struct runner **ret_runner, struct err *err);

/* No errand may be under way.  Accepts NULL. */
struct runner *runner_free(struct runner *runner);

/* Takes ERRAND; one runs at a time, in order. */
void runner_run(struct runner *runner, struct errand *errand);

#endif
