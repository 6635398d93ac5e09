/* SPDX-License-Identifier: Apache-2.0 */
/* Changes that are remembered: the methods about records (job/record.h). */
#ifndef DAEMON_JOBS_H
#define DAEMON_JOBS_H

#include "daemon/daemon.h"

/* Of type Job; NULL: no memory. */
json_t *jobs_json(const struct records *records, const struct record *record);

void jobs_method(struct rpc_call *call, json_t *parameters, void *arg);
void cancel_job_method(struct rpc_call *call, json_t *parameters, void *arg);

#endif
