/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/export.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "daemon/jobs.h"
#include "daemon/link.h"
#include "daemon/request.h"
#include "daemon/sealing.h"
#include "daemon/target.h"

#define BACKLOG_BYTES (16u << 10) /* who does not read is told less */

enum stage {
	EXPORT_STARTING, /* the worker is being had */
	EXPORT_RUNNING,  /* it was asked */
	EXPORT_WRITTEN,  /* until ExportDone */
};

struct export
{
	struct request *request;
	enum stage stage;
	bool cancelled; /* while it was starting */
	bool has_key;   /* which vouches for documents */
	struct sealing_key key;
	struct export *next;
};

/* ---- Life ------------------------------------------------------------------
 */

static struct export *drop(struct export *export)
{
	struct export **at = &export->request->daemon->exports;

	while (*at != export)
		at = &(*at)->next;
	*at = export->next;
	if (export->request->record)
		export->request->record->cancel = NULL;
	explicit_bzero(&export->key, sizeof(export->key));
	free(export);
	return NULL;
}

static void fail(struct export *export, const struct err *err)
{
	struct request *request = export->request;

	drop(export);
	request_fail(request, err);
}

static void stop_asking(struct export *export)
{
	link_cancel(export->request->link);
	export->request->link = NULL;
}

static void on_hangup(void *arg)
{
	struct export *export = arg;
	struct err err = {0};

	export->request->gone = true;
	if (export->stage == EXPORT_STARTING)
		return;
	stop_asking(export);
	err_set(&err, -RP_ECANCELLED, "who asked for the export has gone");
	fail(export, &err);
}

/* CancelJob. */
static void on_cancel(void *arg)
{
	struct export *export = arg;
	struct request *request = export->request;

	export->cancelled = true;
	if (export->stage == EXPORT_STARTING)
		return;
	stop_asking(export);
	drop(export);
	request->undone = true;
	err_set(&request->note, -RP_ECANCELLED, "cancelled, as asked for");
	request_reply(request, NULL);
}

/* ---- The worker's answer --------------------------------------------------
 */

static json_t *job_of(const struct request *request)
{
	return jobs_json(request->daemon->records, request->record);
}

static void note_progress(struct request *request, json_t *progress)
{
	json_int_t done =
	    json_integer_value(json_object_get(progress, "done_bytes"));
	json_int_t total =
	    json_integer_value(json_object_get(progress, "total_bytes"));

	if (total > 0 && done >= 0 && done <= total)
		request->record->percent =
		    (unsigned)((double)done * 99 / (double)total);
}

/* That the worker was asked is what makes the job one: what it says is how the
 * job ends. */
static void announce(struct request *request)
{
	record_tell(request->daemon->records, request->record);
	rpc_reply_continues(request->call,
			    json_pack("{s:o}", "job", job_of(request)));
}

/* How far it is. */
static void pass_on(struct export *export, json_t *parameters, const char *text,
		    size_t bytes)
{
	struct request *request = export->request;
	json_t *progress = json_object_get(parameters, "progress");

	if (request->record)
		note_progress(request, progress);
	if (!request->more || rpc_call_backlog(request->call) > BACKLOG_BYTES)
		return;
	if (request->record)
		rpc_reply_continues(request->call,
				    json_pack("{s:o, s:O*}", "job",
					      job_of(request), "progress",
					      progress));
	else
		rpc_reply_text(request->call, text, bytes, true);
}

/* A worker is believed what it says of its own system, and of no other. */
static int check_system(const struct request *request, const char *config,
			struct err *err)
{
	json_t *all = json_loads(config, JSON_REJECT_DUPLICATES, NULL);
	const char *vm = json_string_value(json_object_get(all, "vm"));
	const char *uuid = json_string_value(json_object_get(all, "uuid"));
	struct guid guid;
	bool is = vm && strcmp(vm, request->vm_name) == 0 && uuid &&
		  guid_parse(uuid, &guid) &&
		  guid_equal(&guid, &request->vm->entry.uuid);

	json_decref(all);
	return is ? 0
		  : err_set(err, -RP_EWIRE,
			    "the documents that the worker of '%s' made are "
			    "none, or another system's",
			    request->vm_name);
}

/* The one that came, or the host's. */
static int have_key(struct export *export, struct err *err)
{
	int r = 0;

	if (!export->has_key)
		r = sealing_key_own(export->request->daemon->paths.lib,
				    &export->key, err);
	export->has_key = r == 0;
	return r;
}

static int seal_texts(struct export *export, json_t *documents,
		      const char *config, const char *state, struct err *err)
{
	_cleanup_free_ char *config_text = NULL, *state_text = NULL;
	int r = have_key(export, err);

	if (r == 0)
		r = sealing_seal(&export->key, config, state, &config_text,
				 &state_text, err);
	if (r == 0)
		r = check_system(export->request, config_text, err);
	if (r == 0 && (json_object_set_new(documents, "config",
					   json_string(config_text)) < 0 ||
		       json_object_set_new(documents, "state",
					   json_string(state_text)) < 0))
		r = err_set(err, -ENOMEM, "export");
	return r;
}

/* What EXPORTED has of documents is vouched for: docs/format/log-export.md. */
static int seal(struct export *export, json_t *exported, struct err *err)
{
	json_t *documents = json_object_get(exported, "documents");
	const char *config =
	    json_string_value(json_object_get(documents, "config"));
	const char *state =
	    json_string_value(json_object_get(documents, "state"));

	if (!json_is_object(documents))
		return 0;
	if (!config || !state)
		return err_set(err, -RP_EWIRE,
			       "an export's documents are no texts");
	return seal_texts(export, documents, config, state, err);
}

static void written(struct export *export, json_t *parameters)
{
	struct request *request = export->request;
	json_t *exported = json_object_get(parameters, "exported");

	export->stage = EXPORT_WRITTEN;
	request->record->cancel = NULL;
	request->record->percent = 99;
	rpc_reply_continues(request->call,
			    json_pack("{s:o, s:O*}", "job", job_of(request),
				      "exported", exported));
}

static void on_answer(void *arg, const struct err *err, json_t *parameters,
		      bool continues, const char *text, size_t bytes, int *fds,
		      unsigned n_fds)
{
	struct export *export = arg;
	struct request *request = export->request;
	struct err why = *err;
	int r = err->code;

	if (continues) {
		pass_on(export, parameters, text, bytes);
		return;
	}
	request->link = NULL;
	if (!err->code)
		r = seal(export, json_object_get(parameters, "exported"), &why);
	if (r < 0) {
		fail(export, &why);
	} else if (request->record) {
		written(export, parameters);
	} else {
		drop(export);
		request_reply(request, json_incref(parameters));
	}
}

/* ---- The question ---------------------------------------------------------
 */

/* The content that was asked for: none, it is the worker's to say. */
static bool is_of(const struct request *request, const char *what)
{
	const char *content =
	    json_string_value(json_object_get(request->parameters, "content"));

	return content && strcmp(content, what) == 0;
}

static bool is_of_logs(const struct request *request)
{
	return is_of(request, "logs");
}

/* One for each disk, or two for each log; none for who asks which logs there
 * are. */
static int check_files(const struct request *request, unsigned n,
		       struct err *err)
{
	size_t disks =
	    json_array_size(json_object_get(request->parameters, "disks"));
	size_t logs =
	    json_array_size(json_object_get(request->parameters, "logs"));

	if (is_of_logs(request))
		return n == 2 * logs
			   ? 0
			   : err_set(err, -RP_EPARAM,
				     "%zu logs are named, and %u descriptors "
				     "came, instead of two for each",
				     logs, n);
	return n == disks
		   ? 0
		   : err_set(err, -RP_EPARAM,
			     "%zu disks are named, and %u descriptors came",
			     disks, n);
}

static void send(struct export *export)
{
	struct request *request = export->request;
	int fds[EXPORT_FILES_MAX], its[TARGET_FDS] = {-1, -1}, r;
	unsigned n = 0;
	struct err err = {0};

	while (n < EXPORT_FILES_MAX &&
	       (fds[n] = rpc_call_take_fd(request->call, n)) >= 0)
		n++;
	export->stage = EXPORT_RUNNING;
	r = check_files(request, n, &err);
	if (r == 0)
		r = target_start(request->daemon, request->vm_name, fds, n, its,
				 &err);
	if (r == 0)
		r = link_call(request->daemon, request->vm_name, "Export",
			      json_copy(request->parameters), request->more,
			      its, TARGET_FDS, 0, on_answer, export,
			      &request->link, &err);
	for (unsigned i = 0; i < TARGET_FDS; i++)
		if (its[i] >= 0)
			(void)close(its[i]);
	while (n > 0)
		(void)close(fds[--n]);
	if (r < 0)
		fail(export, &err);
	else if (request->record)
		announce(request);
}

static void on_ready(void *arg, const struct err *why)
{
	struct export *export = arg;
	struct err err = *why;

	if (!err.code && export->request->gone)
		err_set(&err, -RP_ECANCELLED,
			"who asked for the export has gone");
	if (!err.code && export->cancelled)
		err_set(&err, -RP_ECANCELLED, "cancelled, as asked for");
	if (err.code)
		fail(export, &err);
	else
		send(export);
}

static int begin_record(struct export *export, struct err *err)
{
	struct request *request = export->request;
	char owner[CALLER_NAME_BYTES];
	const char *id =
	    json_string_value(json_object_get(request->parameters, "source"));
	struct record *record;
	struct guid source;
	int r;

	if (!request->more)
		return err_set(err, -RP_EPARAM, "call it with 'more'");
	request_owner(request, owner);
	r = record_begin(request->daemon->records, request->method,
			 request->vm_name, &request->vm->entry.uuid, owner,
			 &request->record, err);
	if (r < 0)
		return r;
	record = request->record;
	record->cancel = on_cancel;
	record->cancel_arg = export;
	if (!id || !guid_parse(id, &source))
		return 0;
	record->has_snapshot =
	    inventory_points_find(&request->vm->entry.snapshot, &source);
	record->has_point = !record->has_snapshot;
	record->snapshot = record->point = source;
	return 0;
}

/* The worker never sees it. */
static int take_key(struct export *export, struct err *err)
{
	json_t *key = json_object_get(export->request->parameters, "key");
	int r;

	if (!key)
		return 0;
	if (!json_is_string(key))
		return err_set(err, -RP_EPARAM, "'key' is no text");
	if (is_of(export->request, "disks"))
		return err_set(err, -RP_EPARAM,
			       "'key' vouches for logs' documents, and disks "
			       "have none");
	r = sealing_key_parse(json_string_value(key), &export->key, err);
	export->has_key = r == 0;
	(void)json_object_del(export->request->parameters, "key");
	return r;
}

static int begin(struct export *export, struct err *err)
{
	struct request *request = export->request;
	struct vm *vm = request->vm;
	int r = take_key(export, err);

	/* one that is not to be had is told before anything is written */
	if (r == 0 && is_of_logs(request))
		r = have_key(export, err);
	if (r == 0)
		r = job_begin(request->daemon->jobs, request->method, vm->name,
			      false, &request->job, err);
	/* without a job the worker says so: what is to be exported by default
	 * is known there */
	if (r == 0 && request->remembered && !is_of_logs(request) &&
	    !vm->entry.serve && !vm->serving)
		r = err_set(err, -RP_ESTATE,
			    "'%s' is not served: its disks are read by who "
			    "serves them; serve it first",
			    vm->name);
	if (r == 0 && request->remembered)
		r = begin_record(export, err);
	return r;
}

static void handle(struct rpc_call *call, json_t *parameters, void *arg)
{
	struct daemon *daemon = arg;
	struct request *request = request_new(daemon, call, parameters, false);
	struct export *export;
	struct err err = {0};

	if (!request || !request_find_vm(request))
		return;
	export = calloc(1, sizeof(*export));
	if (!export) {
		err_set(&err, -ENOMEM, "export");
		request_fail(request, &err);
		return;
	}
	*export = (struct export){.request = request, .next = daemon->exports};
	daemon->exports = export;
	rpc_call_on_hangup(call, on_hangup, export);
	if (begin(export, &err) < 0)
		fail(export, &err);
	else
		vm_when_ready(request->vm, on_ready, export);
}

void export_method(struct rpc_call *call, json_t *parameters, void *arg)
{
	handle(call, parameters, arg);
}

void export_job_method(struct rpc_call *call, json_t *parameters, void *arg)
{
	handle(call, parameters, arg);
}

/* ---- ExportDone -----------------------------------------------------------
 */

static struct export *find(const struct daemon *daemon, const char *job)
{
	struct export *export = daemon->exports;
	struct guid id;

	if (!guid_parse(job, &id))
		return NULL;
	while (export && !(export->request->record &&
			   guid_equal(&export->request->record->id, &id)))
		export = export->next;
	return export;
}

static int find_written(struct rpc_call *call, const struct daemon *daemon,
			const char *job, struct export **ret_export,
			struct err *err)
{
	struct export *export = find(daemon, job);

	if (!export || export->request->uid != rpc_call_uid(call))
		return err_set(err, -RP_EPARAM, "you have no export '%.64s'",
			       job);
	if (export->stage != EXPORT_WRITTEN)
		return err_set(err, -RP_ESTATE, "export '%s' is not written",
			       job);
	*ret_export = export;
	return 0;
}

static void end(struct export *export, const char *name, const char *message)
{
	struct request *request = export->request;
	struct err err = {0};

	if (name && *name) {
		err_set(&err, err_from_name(name), "%s", message);
		fail(export, &err);
		return;
	}
	drop(export);
	request_reply(request, NULL);
}

void export_done_method(struct rpc_call *call, json_t *parameters, void *arg)
{
	const char *job = NULL, *name = NULL, *message = "";
	const struct rpc_field fields[] = {
	    {"job", RPC_STRING, true, 0, &job, NULL},
	    {"error", RPC_STRING, false, 0, &name, NULL},
	    {"message", RPC_STRING, false, 0, &message, NULL},
	    {0}};
	struct export *export = NULL;
	struct caller caller;
	struct err err = {0};
	int r = caller_take(parameters, rpc_call_role(call), &caller, &err);

	if (r == 0)
		r = rpc_read_fields(parameters, fields, &err);
	if (r == 0)
		r = find_written(call, arg, job, &export, &err);
	if (r < 0) {
		rpc_fail(call, &err);
		return;
	}
	end(export, name, message);
	rpc_reply(call, NULL);
}
