/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Export, ExportJob and ExportDone.
 *
 * An export changes nothing: any number of them run beside what does.  The
 * caller's connection is its life: a hang-up ends it, here and at the worker.
 * That holds for ExportJob, too, whose record tells others how far it is and
 * lets them cancel it; it ends when its caller says with ExportDone what became
 * of the files.
 */
#ifndef DAEMON_EXPORT_H
#define DAEMON_EXPORT_H

#include "rpc/rpc.h"

void export_method(struct rpc_call *call, json_t *parameters, void *arg);
void export_job_method(struct rpc_call *call, json_t *parameters, void *arg);
void export_done_method(struct rpc_call *call, json_t *parameters, void *arg);

#endif
