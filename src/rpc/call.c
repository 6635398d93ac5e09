/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/call.h"

#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/limits.h"
#include "common/log.h"

struct rpc_call *call_new(const struct call_sink *sink, void *sink_arg,
			  enum rpc_role role, struct wire_fds *fds)
{
	struct rpc_call *call = calloc(1, sizeof(*call));

	if (!call) {
		wire_fds_close(fds);
		return NULL;
	}
	call->sink = sink;
	call->sink_arg = sink_arg;
	call->role = role;
	call->fds = *fds;
	fds->n = 0;
	return call;
}

static void call_finish(struct rpc_call *call)
{
	if (call->sink)
		call->sink->finished(call->sink_arg);
	wire_fds_close(&call->fds);
	json_decref(call->message.root);
	free(call);
}

static const struct rpc_method *find_method(const struct rpc_method *methods,
					    const char *name)
{
	for (; methods->name; methods++)
		if (strcmp(methods->name, name) == 0)
			return methods;
	return NULL;
}

/* An object also where the caller left it out.  NULL: no memory. */
static json_t *parameters_of(struct message_call *message)
{
	json_t *empty;

	if (message->parameters)
		return message->parameters;
	empty = json_object();
	if (json_object_set_new(message->root, "parameters", empty) < 0)
		return NULL;
	message->parameters = empty;
	return empty;
}

static int call_find(struct rpc_call *call, const struct rpc_method *methods,
		     const struct rpc_method **ret_method, struct err *err)
{
	const char *name = call->message.method;
	const struct rpc_method *method = find_method(methods, name);

	if (!method)
		method = find_method(service_methods, name);
	if (!method)
		return err_set(err, -RP_ENOMETHOD, "there is no method '%.80s'",
			       name);
	if (!(method->roles & call->role))
		return err_set(err, -RP_EDENIED,
			       "'%s' is not allowed on this socket", name);
	*ret_method = method;
	return 0;
}

static bool is_service(const struct rpc_method *method)
{
	return strncmp(method->name, SERVICE_PREFIX, strlen(SERVICE_PREFIX)) ==
	       0;
}

int call_dispatch(struct rpc_call *call, const struct rpc_method *methods,
		  void *arg, const char *text, size_t bytes)
{
	const struct rpc_method *method = NULL;
	struct err err = {0};
	json_t *parameters = NULL;
	int r = message_parse_call(text, bytes, &call->message, &err);

	if (r == 0) {
		int found = call_find(call, methods, &method, &err);

		parameters = parameters_of(&call->message);
		if (found == 0 && !parameters)
			err_set(&err, -ENOMEM, "read a call");
	}
	if (err.code < 0) {
		log_debug("rpc", "refused uid=%u: %s", (unsigned)call->uid,
			  err.text);
		rpc_fail(call, &err);
		return r == -RP_EWIRE ? r : 0;
	}
	method->handle(call, parameters,
		       is_service(method) ? (void *)(uintptr_t)methods : arg);
	return 0;
}

void call_hang_up(struct rpc_call *call)
{
	void (*fn)(void *) = call->hangup;

	call->sink = NULL;
	call->hangup = NULL;
	call->drained = NULL;
	if (fn)
		fn(call->hangup_arg);
}

void call_drained(struct rpc_call *call)
{
	if (call->drained)
		call->drained(call->drained_arg);
}

enum rpc_role rpc_call_role(const struct rpc_call *call)
{
	return call->role;
}

const char *rpc_call_method(const struct rpc_call *call)
{
	return call->message.method;
}

uid_t rpc_call_uid(const struct rpc_call *call)
{
	return call->uid;
}

pid_t rpc_call_pid(const struct rpc_call *call)
{
	return call->pid;
}

bool rpc_call_more(const struct rpc_call *call)
{
	return call->message.more;
}

int rpc_call_take_fd(struct rpc_call *call, unsigned index)
{
	return wire_fds_take(&call->fds, index);
}

void rpc_call_on_hangup(struct rpc_call *call, void (*fn)(void *arg), void *arg)
{
	call->hangup = fn;
	call->hangup_arg = arg;
}

static void call_send(struct rpc_call *call, const char *text, size_t bytes,
		      const int *fds, unsigned n)
{
	if (call->sink)
		call->sink->send(call->sink_arg, text, bytes, fds, n);
}

void rpc_fail(struct rpc_call *call, const struct err *err)
{
	_cleanup_free_ char *text =
	    message_format_error(err, call->message.method);

	if (text)
		call_send(call, text, strlen(text), NULL, 0);
	call_finish(call);
}

static void call_answer(struct rpc_call *call, const char *text, size_t bytes,
			const int *fds, unsigned n)
{
	struct err err = {0};

	if (text && bytes <= RPC_MESSAGE_BYTES_MAX) {
		call_send(call, text, bytes, fds, n);
		call_finish(call);
		return;
	}
	err_set(&err, -RP_EFAILED, "the answer is longer than %u bytes",
		(unsigned)RPC_MESSAGE_BYTES_MAX);
	rpc_fail(call, &err);
}

void rpc_reply_fds(struct rpc_call *call, json_t *parameters, const int *fds,
		   unsigned n)
{
	_cleanup_free_ char *text = message_format_reply(parameters, false);

	call_answer(call, text, text ? strlen(text) : 0, fds, n);
}

void rpc_reply(struct rpc_call *call, json_t *parameters)
{
	rpc_reply_fds(call, parameters, NULL, 0);
}

static void call_continue(struct rpc_call *call, const char *text, size_t bytes)
{
	if (!rpc_call_more(call)) {
		log_debug("rpc", "a caller of %s takes one answer only",
			  call->message.method);
		return;
	}
	call_send(call, text, bytes, NULL, 0);
	if (call->sink && call->drained)
		call->sink->want_drained(call->sink_arg);
}

void rpc_reply_continues(struct rpc_call *call, json_t *parameters)
{
	_cleanup_free_ char *text = message_format_reply(parameters, true);

	if (text)
		call_continue(call, text, strlen(text));
}

void rpc_reply_text(struct rpc_call *call, const char *text, size_t bytes,
		    bool continues)
{
	if (continues)
		call_continue(call, text, bytes);
	else
		call_answer(call, text, bytes, NULL, 0);
}

size_t rpc_call_backlog(const struct rpc_call *call)
{
	return call->sink ? call->sink->backlog(call->sink_arg) : 0;
}

void rpc_call_on_drained(struct rpc_call *call, void (*fn)(void *arg),
			 void *arg)
{
	if (!call->sink)
		return;
	call->drained = fn;
	call->drained_arg = arg;
	if (fn)
		call->sink->want_drained(call->sink_arg);
}
