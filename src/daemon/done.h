/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What it means to refpointd that a worker changed points or snapshots: for the
 * inventory, the record and the answer.
 */
#ifndef DAEMON_DONE_H
#define DAEMON_DONE_H

#include "daemon/request.h"

/* After the success; PARAMETERS is the worker's answer.  True: the request is
 * answered otherwise than by that, or gone. */
typedef bool done_fn(struct request *request, json_t *parameters,
		     const char *text, size_t bytes);

done_fn create_done, destroy_done, snapshot_done, convert_done, drop_done,
    rename_done, drop_log_done;

#endif
