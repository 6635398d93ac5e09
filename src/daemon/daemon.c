/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/daemon.h"

#include <time.h>

#include "common/log.h"

uint64_t daemon_now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

void daemon_timer(struct daemon *daemon, sd_event_source **source, uint64_t ms,
		  sd_event_time_handler_t fn, void *arg)
{
	*source = sd_event_source_disable_unref(*source);
	if (sd_event_add_time_relative(daemon->event, source, CLOCK_MONOTONIC,
				       ms * 1000, 1000, fn, arg) < 0)
		log_error("no memory for a timer");
}
