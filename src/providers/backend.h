/* SPDX-License-Identifier: Apache-2.0 */
/*
 * refpointd, as the providers ask it: over the gateway's socket, in the name of
 * who calls.
 *
 * K1  Each call is a connection of its own, so that one that is given up leaves
 *     nothing behind; any thread may call.  Each has a limit in all, whatever
 *     comes in the meantime; how many may wait for workers: waiting.h.
 * K2  Every call carries the caller's name and role, for refpointd's audit
 *     line.  What the caller may is decided before (cim/broker.h, B3).
 */
#ifndef PROVIDERS_BACKEND_H
#define PROVIDERS_BACKEND_H

#include <jansson.h>

#include "cim/broker.h"
#include "common/paths.h"

#define BACKEND_QUICK_MS 15000u  /* what refpointd answers by itself */
#define BACKEND_LIST_MS  300000u /* a list of that, in all */
#define BACKEND_WORK_MS  90000u  /* what a worker, or its disks, answer */
#define BACKEND_BRIEF_MS 5000u   /* the same, with many who wait (waiting.h) */

struct backend {
	char socket[PATH_BYTES]; /* gateway.sock */
};

void backend_init(struct backend *backend, const struct paths *paths);

/* METHOD is "CreateJob"; PARAMETERS are taken over, NULL for none.  WORKER
 * is the VM whose worker has to answer before refpointd can, or NULL.
 * *RET_PARAMETERS is the caller's.  The errors are those of the interface
 * (src/rpc/org.refpoint.varlink), not of CIM; -RP_EUNREACHABLE without
 * refpointd; -RP_EINUSE if too many wait for that worker. */
int backend_call(const struct backend *backend,
		 const struct cim_request *request, const char *worker,
		 const char *method, json_t *parameters, unsigned timeout_ms,
		 json_t **ret_parameters, struct err *err);

/* With "more": FN is told each reply; its non-zero result ends the call and is
 * returned.  TIMEOUT_MS is of each reply, and of all if a worker gives them. */
int backend_stream(const struct backend *backend,
		   const struct cim_request *request, const char *method,
		   json_t *parameters, unsigned timeout_ms,
		   int (*fn)(void *arg, json_t *parameters, bool continues),
		   void *arg, struct err *err);

/* The same with each reply's text, as rpc_call_more_text() tells it. */
int backend_stream_text(const struct backend *backend,
			const struct cim_request *request, const char *worker,
			const char *method, json_t *parameters,
			unsigned timeout_ms,
			int (*fn)(void *arg, char *text, size_t bytes),
			void *arg, struct err *err);

/* From now on every call fails at once with -RP_ECANCELLED, and those that are
 * under way end; or, with false, no more. */
void backend_stop(bool stop);

#endif
