/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Import: points of another host become known here (docs/format/log-export.md).
 *
 *   M1  Who vouches for the documents is refpointd's to say; what they say is
 *       read here, strictly, and never quoted.
 *   M2  Nobody is served, and LANE_CONTROL hashes the disks' content while it
 *       has them locked and attached; the point's cut comes right after.
 *   M3  The loop has the call: it tells how far it is, and hears of the
 *       hang-up or CancelImport, which ends it.  The answer says whether that
 *       was in time: then nothing is imported.
 */
#ifndef WORKER_IMPORT_H
#define WORKER_IMPORT_H

#include "worker/worker.h"

struct request;
struct importing;

void on_import(struct rpc_call *call, json_t *parameters, void *arg);
/* The one that is under way ends as cancelled, if it is not over before. */
void on_cancel_import(struct rpc_call *call, json_t *parameters, void *arg);
/* With its request, on the loop; accepts NULL. */
void importing_free(struct importing *importing);

#endif
