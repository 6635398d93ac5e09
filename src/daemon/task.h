/* SPDX-License-Identifier: Apache-2.0 */
/* Work that may wait, off the loop's thread. */
#ifndef DAEMON_TASK_H
#define DAEMON_TASK_H

#include <systemd/sd-event.h>

#include "common/err.h"

/* RUN(arg) is called on a thread of its own and may use nothing of the daemon;
 * then DONE(arg) on the loop's.  At most TASKS_MAX at a time: beyond, as where
 * no thread can be had, -RP_ELIMIT, and neither is called. */
#define TASKS_MAX 64
int task_run(sd_event *event, void (*run)(void *arg), void (*done)(void *arg),
	     void *arg, struct err *err);

#endif
