/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/backend.h"

#include <stdio.h>

#include "providers/waiting.h"
#include "rpc/rpc.h"

#define CONNECT_MS 5000u

void backend_init(struct backend *backend, const struct paths *paths)
{
	(void)snprintf(backend->socket, sizeof(backend->socket),
		       "%s/gateway.sock", paths->run);
}

/* A call under way. */
struct call {
	struct waiting waiting;
	struct rpc_client *client;
	char method[64];
};

static int name_caller(const struct cim_request *request, json_t **parameters,
		       struct err *err)
{
	const char *role =
	    request->role == CIM_ROLE_OPERATOR ? "operator" : "read-only";

	if (!*parameters)
		*parameters = json_object();
	if (json_object_set_new(*parameters, "caller",
				json_pack("{s:s, s:s}", "name",
					  request->caller ? request->caller
							  : "",
					  "role", role)) < 0)
		return err_set(err, -ENOMEM, "a call to refpointd");
	return 0;
}

static int dial(const struct backend *backend, struct call *call,
		unsigned total_ms, struct err *err)
{
	int r =
	    rpc_client_connect(backend->socket, CONNECT_MS, &call->client, err);

	if (r < 0)
		return r;
	rpc_client_limit(call->client, total_ms);
	r = waiting_connected(&call->waiting, rpc_client_fd(call->client), err);
	if (r < 0)
		call->client = rpc_client_free(call->client);
	return r;
}

/* On failure PARAMETERS are dropped, too. */
static int begin(const struct backend *backend,
		 const struct cim_request *request, const char *worker,
		 const char *method, json_t **parameters, unsigned total_ms,
		 struct call *ret_call, struct err *err)
{
	struct call *call = ret_call;
	int r = name_caller(request, parameters, err);

	*call = (struct call){0};
	(void)snprintf(call->method, sizeof(call->method), "org.refpoint.%s",
		       method);
	if (r == 0)
		r = waiting_begin(&call->waiting, worker, total_ms, &total_ms,
				  err);
	if (r == 0) {
		r = dial(backend, call, total_ms, err);
		if (r < 0)
			waiting_end(&call->waiting);
	}
	if (r < 0) {
		json_decref(*parameters);
		*parameters = NULL;
	}
	return r;
}

static void end(struct call *call)
{
	waiting_end(&call->waiting);
	rpc_client_free(call->client);
}

int backend_call(const struct backend *backend,
		 const struct cim_request *request, const char *worker,
		 const char *method, json_t *parameters, unsigned timeout_ms,
		 json_t **ret_parameters, struct err *err)
{
	struct call call;
	int r = begin(backend, request, worker, method, &parameters, timeout_ms,
		      &call, err);

	if (r < 0)
		return r;
	r = rpc_call(call.client, call.method, parameters, NULL, 0, timeout_ms,
		     ret_parameters, NULL, NULL, err);
	end(&call);
	return r;
}

int backend_stream(const struct backend *backend,
		   const struct cim_request *request, const char *method,
		   json_t *parameters, unsigned timeout_ms,
		   int (*fn)(void *arg, json_t *parameters, bool continues),
		   void *arg, struct err *err)
{
	struct call call;
	int r = begin(backend, request, NULL, method, &parameters,
		      BACKEND_LIST_MS, &call, err);

	if (r < 0)
		return r;
	r = rpc_call_more_replies(call.client, call.method, parameters,
				  timeout_ms, fn, arg, err);
	end(&call);
	return r;
}

int backend_stream_text(const struct backend *backend,
			const struct cim_request *request, const char *worker,
			const char *method, json_t *parameters,
			unsigned timeout_ms,
			int (*fn)(void *arg, char *text, size_t bytes),
			void *arg, struct err *err)
{
	struct call call;
	int r = begin(backend, request, worker, method, &parameters,
		      worker ? timeout_ms : BACKEND_LIST_MS, &call, err);

	if (r < 0)
		return r;
	r = rpc_call_more_text(call.client, call.method, parameters, timeout_ms,
			       fn, arg, err);
	end(&call);
	return r;
}

void backend_stop(bool stop)
{
	waiting_stop(stop);
}
