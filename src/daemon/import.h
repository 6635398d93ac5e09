/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Import and ImportJob: points of another host (docs/format/log-export.md).
 *
 * refpointd has the keys, and says whether the documents carry a good MAC; what
 * they say it does not read.  The worker reads them, hashes the disks and
 * imports.  Whoever hangs up on Import, or cancels the job, ends it: then the
 * worker is told, and its answer alone says whether it was in time.
 */
#ifndef DAEMON_IMPORT_H
#define DAEMON_IMPORT_H

#include "daemon/daemon.h"

void import_method(struct rpc_call *call, json_t *parameters, void *arg);
void import_job_method(struct rpc_call *call, json_t *parameters, void *arg);

#endif
