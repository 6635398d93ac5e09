/* SPDX-License-Identifier: Apache-2.0 */
/*
 * refpointd, as the providers ask it: over the gateway's socket, in the name of
 * who calls.
 *
 * K1  Each call is a connection of its own, so that one that is given up leaves
 *     nothing behind; any thread may call.  A call that waits is bounded.
 * K2  Every call carries the caller's name and role, for refpointd's audit
 *     line.  What the caller may is decided before (cim/broker.h, B3).
 */
#ifndef PROVIDERS_BACKEND_H
#define PROVIDERS_BACKEND_H

#include <jansson.h>

#include "cim/broker.h"
#include "common/paths.h"

#define BACKEND_QUICK_MS 15000 /* what refpointd answers by itself */
#define BACKEND_WORK_MS  90000 /* what a worker, or its disks, answer */

struct backend {
	char socket[PATH_BYTES]; /* gateway.sock */
};

void backend_init(struct backend *backend, const struct paths *paths);

/* METHOD is "CreateJob"; PARAMETERS are taken over, NULL for none.
 * *RET_PARAMETERS is the caller's.  The errors are those of the interface
 * (src/rpc/org.refpoint.varlink), not of CIM; -RP_EUNREACHABLE without
 * refpointd. */
int backend_call(const struct backend *backend,
		 const struct cim_request *request, const char *method,
		 json_t *parameters, unsigned timeout_ms,
		 json_t **ret_parameters, struct err *err);

/* With "more": FN is told each reply; its non-zero result ends the call and is
 * returned.  TIMEOUT_MS is of each reply. */
int backend_stream(const struct backend *backend,
		   const struct cim_request *request, const char *method,
		   json_t *parameters, unsigned timeout_ms,
		   int (*fn)(void *arg, json_t *parameters, bool continues),
		   void *arg, struct err *err);

/* The same with each reply's text, as rpc_call_more_text() tells it. */
int backend_stream_text(const struct backend *backend,
			const struct cim_request *request, const char *method,
			json_t *parameters, unsigned timeout_ms,
			int (*fn)(void *arg, char *text, size_t bytes),
			void *arg, struct err *err);

#endif
