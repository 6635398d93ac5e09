/* SPDX-License-Identifier: Apache-2.0 */
/* Every method that refpointd answers, and which role may call it. */
#ifndef DAEMON_METHODS_H
#define DAEMON_METHODS_H

#include "daemon/daemon.h"

/* Ends with a NULL name; the handlers' ARG is the struct daemon. */
extern const struct rpc_method methods_table[];

/* define.c */
void define_method(struct rpc_call *call, json_t *parameters, void *arg);
void undefine_method(struct rpc_call *call, json_t *parameters, void *arg);
/* agent.c */
void set_agent_method(struct rpc_call *call, json_t *parameters, void *arg);
/* Removes what a definition that did not succeed left: at start only. */
void define_clean_up(struct daemon *daemon);

/* proxy.c: methods that a worker answers */
void proxy_method(struct rpc_call *call, json_t *parameters, void *arg);

/* proxy.c: CreateJob and its like */
void proxy_job_method(struct rpc_call *call, json_t *parameters, void *arg);

/* callback.c: org.refpoint.daemon */
void callback_start(struct rpc_call *call, json_t *parameters, void *arg);
void callback_mark(struct rpc_call *call, json_t *parameters, void *arg);
void callback_snapshot_listener(struct rpc_call *call, json_t *parameters,
				void *arg);

#endif
