/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/import.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/jobs.h"
#include "daemon/request.h"
#include "daemon/sealing.h"

#define WAIT_MS       2000 /* for a job's end, before it is told running */
#define WAIT_MAX_MS   60000
#define CANCEL_MS     10000
#define BACKLOG_BYTES (16u << 10) /* who does not read is told less */

struct import {
	struct request *request;
	json_t *parameters; /* the worker's */
	bool asked;         /* the worker was */
	bool cancelled;
	struct link *cancel; /* under way */
};

/* ---- Its end --------------------------------------------------------------
 */

static struct request *leave(struct import *import)
{
	struct request *request = import->request;

	if (request->record)
		request->record->cancel = NULL;
	link_cancel(import->cancel);
	json_decref(import->parameters);
	free(import);
	return request;
}

/* A refusal, or a failure after which nothing was asked of the worker. */
static void fail(struct import *import, const struct err *err)
{
	bool cancelled = import->cancelled && err->code == -RP_ECANCELLED;
	struct request *request = leave(import);

	if (!cancelled || !request->record) {
		request_fail(request, err);
		return;
	}
	request->undone = true;
	err_set(&request->note, -RP_ECANCELLED, "cancelled, as asked for");
	request_reply(request, NULL);
}

static void fail_cancelled(struct import *import, const char *why)
{
	struct err err = {0};

	err_set(&err, -RP_ECANCELLED, "%s", why);
	fail(import, &err);
}

/* What failed may have happened all the same. */
static bool is_unknown(const struct err *err)
{
	int result = err_result(err->code);

	return err->code != -RP_ECANCELLED && (result == 2 || result == 3);
}

/* A success: err_set() would add an errno's text. */
static void note_invalid(struct request *request, const json_t *imported)
{
	const char *reason =
	    json_string_value(json_object_get(imported, "reason"));

	(void)snprintf(request->note.text, sizeof(request->note.text),
		       "the points are invalid: %s", reason ? reason : "");
}

static void succeed(struct import *import, json_t *parameters)
{
	struct request *request = leave(import);
	json_t *imported = json_object_get(parameters, "imported");
	const char *id = json_string_value(json_object_get(imported, "id"));
	struct record *record = request->record;

	if (record)
		record->has_point = id && guid_parse(id, &record->point);
	if (record && json_is_false(json_object_get(imported, "valid")))
		note_invalid(request, imported);
	request_reply(request, json_incref(parameters));
}

/* ---- The worker's answer --------------------------------------------------
 */

static void on_cancel_told(void *arg, const struct err *err, json_t *parameters,
			   bool continues, const char *text, size_t bytes,
			   int *fds, unsigned n_fds)
{
	struct import *import = arg;

	import->cancel = NULL;
}

/* The worker's answer to the import itself is waited for. */
static void tell_cancel(struct import *import)
{
	struct request *request = import->request;

	import->cancelled = true;
	if (import->asked && !import->cancel)
		(void)link_call(request->daemon, request->vm_name,
				"CancelImport", json_object(), false, NULL, 0,
				CANCEL_MS, on_cancel_told, import,
				&import->cancel, NULL);
}

static void on_cancel(void *arg)
{
	tell_cancel(arg);
}

static void on_hangup(void *arg)
{
	struct import *import = arg;
	struct request *request = import->request;
	struct rpc_call *call = request->call;
	struct err err = {0};

	request->gone = true;
	request->call = NULL;
	if (request->record)
		record_tell(request->daemon->records, request->record);
	else
		tell_cancel(import);
	err_set(&err, -RP_ECANCELLED, "the caller went away");
	rpc_fail(call, &err);
}

static void pass_on(struct import *import, json_t *parameters, const char *text,
		    size_t bytes)
{
	struct request *request = import->request;
	json_t *progress = json_object_get(parameters, "progress");
	json_int_t done =
	    json_integer_value(json_object_get(progress, "done_bytes"));
	json_int_t total =
	    json_integer_value(json_object_get(progress, "total_bytes"));

	if (request->record && total > 0 && done >= 0 && done <= total)
		request->record->percent =
		    (unsigned)((double)done * 99 / (double)total);
	if (!request->record && request->call && request->more &&
	    rpc_call_backlog(request->call) <= BACKLOG_BYTES)
		rpc_reply_text(request->call, text, bytes, true);
}

static void on_answer(void *arg, const struct err *err, json_t *parameters,
		      bool continues, const char *text, size_t bytes, int *fds,
		      unsigned n_fds)
{
	struct import *import = arg;
	struct request *request = import->request;
	struct vm *vm = request->vm;

	if (continues) {
		pass_on(import, parameters, text, bytes);
		return;
	}
	request->link = NULL;
	vm->changing = false;
	if (!err->code || is_unknown(err))
		vm_points_in_doubt(vm);
	if (err->code)
		fail(import, err);
	else
		succeed(import, parameters);
}

/* ---- The question ---------------------------------------------------------
 */

static void on_images(void *arg, struct images *images, const struct err *why)
{
	struct import *import = arg;
	struct request *request = import->request;
	struct vm *vm = request->vm;
	struct err err = *why;

	if (import->cancelled) {
		fail_cancelled(import, "cancelled before it began");
		return;
	}
	if (!err.code && vm->gone)
		err_set(&err, -RP_ENOVM, "there is no VM '%s'", vm->name);
	if (!err.code) {
		images_note(images, &vm->entry, NULL);
		(void)json_object_set_new(import->parameters, "images",
					  images_json(images, &vm->entry,
						      NULL));
		vm->changing = import->asked =
		    link_call(request->daemon, vm->name, "Import",
			      json_incref(import->parameters), true,
			      images->fds, images->n, 0, on_answer, import,
			      &request->link, &err) == 0;
	}
	if (err.code)
		fail(import, &err);
}

static void on_ready(void *arg, const struct err *why)
{
	struct import *import = arg;
	struct request *request = import->request;
	struct err err = *why;

	if (!err.code && import->cancelled)
		err_set(&err, -RP_ECANCELLED, "cancelled before it began");
	if (!err.code)
		(void)images_open(request->daemon, &request->vm->entry, NULL,
				  on_images, import, &err);
	if (err.code)
		fail(import, &err);
}

/* ---- The call -------------------------------------------------------------
 */

struct asked {
	const char *config, *state, *key;
	uint64_t wait_ms;
};

static int read_parameters(const struct request *request,
			   struct asked *ret_asked, struct err *err)
{
	struct asked *a = ret_asked;
	const struct rpc_field fields[] = {
	    {"config", RPC_STRING, true, METADATA_BYTES_MAX + 1, &a->config,
	     NULL},
	    {"state", RPC_STRING, true, METADATA_BYTES_MAX + 1, &a->state,
	     NULL},
	    {"key", RPC_STRING, false, 0, &a->key, NULL},
	    {"wait_ms", RPC_UINT, false, 0, &a->wait_ms, NULL},
	    {0}};
	int r = rpc_read_fields(request->parameters, fields, err);

	if (r < 0)
		return r;
	if (a->wait_ms > (request->remembered ? WAIT_MAX_MS : 0))
		return err_set(err, -RP_EPARAM, "'wait_ms' is at most %d",
			       request->remembered ? WAIT_MAX_MS : 0);
	/* who chooses it vouches for anything */
	if (a->key && request->role != RPC_ROLE_ADMIN)
		return err_set(err, -RP_EDENIED, "'key' is for admins");
	return 0;
}

static int judge(const struct request *request, const struct asked *asked,
		 bool *ret_trusted, struct err *err)
{
	const char *lib = request->daemon->paths.lib;
	struct sealing_key key;
	int r = asked->key ? sealing_key_parse(asked->key, &key, err) : 0;

	if (r == 0)
		*ret_trusted = sealing_is_good(lib, asked->key ? &key : NULL,
					       asked->config, asked->state);
	explicit_bzero(&key, sizeof(key));
	return r;
}

static int begin_record(struct import *import, struct err *err)
{
	struct request *request = import->request;
	char owner[CALLER_NAME_BYTES];
	int r;

	if (!request->remembered)
		return 0;
	request_owner(request, owner);
	r = record_begin(request->daemon->records, request->method,
			 request->vm_name, &request->vm->entry.uuid, owner,
			 &request->record, err);
	if (r < 0)
		return r;
	request->record->cancel = on_cancel;
	request->record->cancel_arg = import;
	return 0;
}

static int begin(struct import *import, struct asked *asked, struct err *err)
{
	struct request *request = import->request;
	struct vm *vm = request->vm;
	bool trusted = false;
	int r = read_parameters(request, asked, err);

	if (r == 0 && (vm->entry.serve || vm->serving))
		r = err_set(err, -RP_ESTATE,
			    "'%s' is served: what its disks hold would not "
			    "stand still; unserve it first",
			    vm->name);
	if (r == 0)
		r = judge(request, asked, &trusted, err);
	if (r < 0)
		return r;
	import->parameters =
	    json_pack("{s:s, s:s, s:b}", "config", asked->config, "state",
		      asked->state, "trusted", trusted);
	if (!import->parameters)
		return err_set(err, -ENOMEM, "import");
	return begin_record(import, err);
}

static void handle(struct rpc_call *call, json_t *parameters, void *arg)
{
	struct request *request = request_new(arg, call, parameters, true);
	struct import *import;
	struct asked asked = {0};
	struct err err = {0};

	if (!request || !request_find_vm(request))
		return;
	import = calloc(1, sizeof(*import));
	if (!import) {
		err_set(&err, -ENOMEM, "import");
		request_fail(request, &err);
		return;
	}
	import->request = request;
	if (begin(import, &asked, &err) < 0) {
		fail(import, &err);
		return;
	}
	rpc_call_on_hangup(call, on_hangup, import);
	if (request->record)
		request_limit(request, asked.wait_ms ? asked.wait_ms : WAIT_MS);
	vm_when_ready(request->vm, on_ready, import);
}

void import_method(struct rpc_call *call, json_t *parameters, void *arg)
{
	handle(call, parameters, arg);
}

void import_job_method(struct rpc_call *call, json_t *parameters, void *arg)
{
	handle(call, parameters, arg);
}
