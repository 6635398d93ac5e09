/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "daemon/jobs.h"

static const char *role_name(enum rpc_role role)
{
	switch (role) {
	case RPC_ROLE_ADMIN:
		return "admin";
	case RPC_ROLE_OPERATOR:
		return "operator";
	case RPC_ROLE_GATEWAY:
		return "gateway";
	case RPC_ROLE_WORKER:
		return "worker";
	default:
		return "daemon";
	}
}

void request_audit(const struct request *request, const struct err *err)
{
	const struct caller *caller = &request->caller;
	char who[CALLER_NAME_BYTES + CALLER_ROLE_BYTES + 32] = "";

	if (*caller->name)
		(void)snprintf(who, sizeof(who),
			       " caller=\"%s\" caller_role=%s", caller->name,
			       caller->role);
	log_audit(
	    "audit method=%s%s vm=%s role=%s uid=%u pid=%d%s result=%d (%s)",
	    request->method, request->remembered ? "Job" : "", request->vm_name,
	    role_name(request->role), (unsigned)request->uid, (int)request->pid,
	    who, err_result(err->code), err->code ? err->text : "completed");
}

/* The outcome is known: everything but the answer. */
static void request_end(struct request *request, const struct err *err)
{
	if (request->job) {
		job_end(request->daemon->jobs, request->job);
		request_audit(request, err);
	}
	sd_event_source_disable_unref(request->limit);
	sd_event_source_disable_unref(request->pause);
	link_cancel(request->link);
	vm_unref(request->vm);
	json_decref(request->parameters);
	json_decref(request->made);
	json_decref(request->answer);
	free(request);
}

/* Nothing was done, and the caller is there to be told: no record. */
static bool is_refusal(const struct request *request, const struct err *err)
{
	int result = err_result(err->code);

	return err->code && request->call && result != 2 && result != 3;
}

/* As what the record ends. */
static void end_record(struct request *request, const struct err *err)
{
	struct record *record = request->record;
	struct err why = err->code ? *err : request->note;
	enum record_state state = RECORD_COMPLETED;

	if (err->code)
		state = RECORD_FAILED;
	else if (request->undone)
		state = RECORD_CANCELLED;
	if (request->vm)
		record->vm_uuid = request->vm->entry.uuid;
	record_end(request->daemon->records, record, state, &why);
}

/* The end of one that is remembered; false: it leaves no record. */
static bool finish(struct request *request, const struct err *err)
{
	struct daemon *daemon = request->daemon;
	struct rpc_call *call = request->call;
	json_t *reply;

	if (!request->record)
		return false;
	if (!request->record->told && is_refusal(request, err)) {
		record_drop(daemon->records, request->record);
		request->record = NULL;
		return false;
	}
	end_record(request, err);
	reply = json_pack("{s:o, s:O*}", "job",
			  jobs_json(daemon->records, request->record),
			  request->made_as ? request->made_as : "point",
			  request->undone ? NULL : request->made);
	request_end(request, err);
	if (call)
		rpc_reply(call, reply);
	else
		json_decref(reply);
	return true;
}

void request_reply(struct request *request, json_t *parameters)
{
	const struct err none = {0};
	struct rpc_call *call = request->call;

	if (finish(request, &none)) {
		json_decref(parameters);
		return;
	}
	request_end(request, &none);
	if (call)
		rpc_reply(call, parameters);
	else
		json_decref(parameters);
}

void request_reply_text(struct request *request, const char *text, size_t bytes)
{
	const struct err none = {0};
	struct rpc_call *call = request->call;

	if (finish(request, &none))
		return;
	request_end(request, &none);
	if (call)
		rpc_reply_text(call, text, bytes, false);
}

void request_fail(struct request *request, const struct err *err)
{
	struct rpc_call *call = request->call;
	struct err copy = *err;

	if (finish(request, &copy))
		return;
	request_end(request, &copy);
	if (call)
		rpc_fail(call, &copy);
}

/* The caller has waited long enough: he gets the record, as it is. */
static void answer_running(struct request *request)
{
	struct rpc_call *call = request->call;
	struct records *records = request->daemon->records;

	record_tell(records, request->record);
	request->call = NULL;
	rpc_call_on_hangup(call, NULL, NULL);
	rpc_reply(call, json_pack("{s:o}", "job",
				  jobs_json(records, request->record)));
}

/* Answers the caller, who is waiting no more, and lets the job go on. */
static void leave_caller(struct request *request, int code, const char *why)
{
	struct rpc_call *call = request->call;
	struct err err = {0};

	err_set(&err, code, "%s of '%s': %s", request->method, request->vm_name,
		why);
	request->call = NULL;
	rpc_fail(call, &err);
}

static void on_hangup(void *arg)
{
	struct request *request = arg;
	struct err err = {0};

	request->gone = true;
	if (request->record)
		record_tell(request->daemon->records, request->record);
	if (request->job) {
		leave_caller(request, -RP_ECANCELLED, "the caller went away");
	} else if (request->link) {
		err_set(&err, -RP_ECANCELLED, "the caller went away");
		request_fail(request, &err);
	}
}

static int on_limit(sd_event_source *source, uint64_t usec, void *arg)
{
	struct request *request = arg;

	request->limit = sd_event_source_disable_unref(request->limit);
	if (request->call && request->record)
		answer_running(request);
	else if (request->call)
		leave_caller(request, -RP_ETIMEOUT,
			     "no answer in time; it goes on");
	return 0;
}

void request_limit(struct request *request, uint64_t ms)
{
	daemon_timer(request->daemon, &request->limit, ms, on_limit, request);
}

/* Moves `vm` from the parameters to the request. */
static int take_name(struct request *request, struct err *err)
{
	json_t *name = json_object_get(request->parameters, "vm");
	const char *text = json_string_value(name);

	if (!text)
		return err_set(err, -RP_EPARAM, "'vm' must be given");
	if (json_string_length(name) != strlen(text) ||
	    !name_is_valid(text, VM_NAME_BYTES))
		return err_set(err, -RP_EPARAM,
			       "'vm': a name has letters, digits, '.', '_' and "
			       "'-', at most %d, and begins with a letter or "
			       "digit",
			       VM_NAME_BYTES - 1);
	(void)strcpy(request->vm_name, text);
	(void)json_object_del(request->parameters, "vm");
	return 0;
}

/* "CreateJob" is "Create" with a record. */
static bool take_suffix(char *method, const char *suffix)
{
	size_t n = strlen(method), m = strlen(suffix);

	if (n <= m || strcmp(method + n - m, suffix) != 0)
		return false;
	method[n - m] = '\0';
	return true;
}

void request_owner(const struct request *request, char owner[CALLER_NAME_BYTES])
{
	if (*request->caller.name)
		(void)strcpy(owner, request->caller.name);
	else
		(void)snprintf(owner, CALLER_NAME_BYTES, "uid %u",
			       (unsigned)request->uid);
}

struct request *request_new(struct daemon *daemon, struct rpc_call *call,
			    json_t *parameters, bool changes)
{
	struct request *request = calloc(1, sizeof(*request));
	struct err err = {0};
	int r = 0;

	if (!request) {
		err_set(&err, -ENOMEM, "call");
		rpc_fail(call, &err);
		return NULL;
	}
	*request = (struct request){
	    .daemon = daemon,
	    .call = call,
	    .parameters = json_incref(parameters),
	    .role = rpc_call_role(call),
	    .uid = rpc_call_uid(call),
	    .pid = rpc_call_pid(call),
	    .more = rpc_call_more(call),
	};
	(void)snprintf(request->method, sizeof(request->method), "%s",
		       strrchr(rpc_call_method(call), '.') + 1);
	request->remembered = take_suffix(request->method, "Job");
	r = caller_take(parameters, request->role, &request->caller, &err);
	if (r == 0)
		r = take_name(request, &err);
	if (r == 0 && changes)
		r = job_begin(daemon->jobs, request->method, request->vm_name,
			      true, &request->job, &err);
	if (r < 0) {
		if (changes)
			request_audit(request, &err);
		request_fail(request, &err);
		return NULL;
	}
	rpc_call_on_hangup(call, on_hangup, request);
	return request;
}

bool request_find_vm(struct request *request)
{
	struct err err = {0};
	struct vm *vm = NULL;

	if (vm_find(request->daemon, request->vm_name, &vm, &err) < 0) {
		request_fail(request, &err);
		return false;
	}
	request->vm = vm_ref(vm);
	return true;
}
