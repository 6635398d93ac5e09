/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/backend.h"

#include <stdio.h>

#include "rpc/rpc.h"

#define CONNECT_MS 5000u

void backend_init(struct backend *backend, const struct paths *paths)
{
	(void)snprintf(backend->socket, sizeof(backend->socket),
		       "%s/gateway.sock", paths->run);
}

static int begin(const struct backend *backend,
		 const struct cim_request *request, json_t **parameters,
		 struct rpc_client **ret_client, struct err *err)
{
	const char *role =
	    request->role == CIM_ROLE_OPERATOR ? "operator" : "read-only";
	int r;

	if (!*parameters)
		*parameters = json_object();
	r = json_object_set_new(
	    *parameters, "caller",
	    json_pack("{s:s, s:s}", "name",
		      request->caller ? request->caller : "", "role", role));
	r = r < 0 ? err_set(err, -ENOMEM, "a call to refpointd")
		  : rpc_client_connect(backend->socket, CONNECT_MS, ret_client,
				       err);
	if (r < 0) {
		json_decref(*parameters);
		*parameters = NULL;
	}
	return r;
}

int backend_call(const struct backend *backend,
		 const struct cim_request *request, const char *method,
		 json_t *parameters, unsigned timeout_ms,
		 json_t **ret_parameters, struct err *err)
{
	struct rpc_client *client = NULL;
	char name[64];
	int r = begin(backend, request, &parameters, &client, err);

	if (r < 0)
		return r;
	(void)snprintf(name, sizeof(name), "org.refpoint.%s", method);
	r = rpc_call(client, name, parameters, NULL, 0, timeout_ms,
		     ret_parameters, NULL, NULL, err);
	rpc_client_free(client);
	return r;
}

int backend_stream(const struct backend *backend,
		   const struct cim_request *request, const char *method,
		   json_t *parameters, unsigned timeout_ms,
		   int (*fn)(void *arg, json_t *parameters, bool continues),
		   void *arg, struct err *err)
{
	struct rpc_client *client = NULL;
	char name[64];
	int r = begin(backend, request, &parameters, &client, err);

	if (r < 0)
		return r;
	(void)snprintf(name, sizeof(name), "org.refpoint.%s", method);
	r = rpc_call_more_replies(client, name, parameters, timeout_ms, fn, arg,
				  err);
	rpc_client_free(client);
	return r;
}

int backend_stream_text(const struct backend *backend,
			const struct cim_request *request, const char *method,
			json_t *parameters, unsigned timeout_ms,
			int (*fn)(void *arg, char *text, size_t bytes),
			void *arg, struct err *err)
{
	struct rpc_client *client = NULL;
	char name[64];
	int r = begin(backend, request, &parameters, &client, err);

	if (r < 0)
		return r;
	(void)snprintf(name, sizeof(name), "org.refpoint.%s", method);
	r = rpc_call_more_text(client, name, parameters, timeout_ms, fn, arg,
			       err);
	rpc_client_free(client);
	return r;
}
