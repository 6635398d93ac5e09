/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Methods that a worker answers: what each needs beside its parameters, how
 * long its caller waits, and what its success means to refpointd.
 *
 * A call that changes something has no limit on the worker's side: until the
 * worker answers or ends its outcome is open, and the next change must wait.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "daemon/done.h"
#include "daemon/frozen.h"
#include "daemon/methods.h"
#include "daemon/pull.h"
#include "daemon/request.h"

#define BACKLOG_BYTES (256u << 10) /* beyond it the worker has to wait */
#define TRIES_MAX     5
#define TRY_AGAIN_MS  20
#define POINTS_MS     2000
#define WAIT_MS       2000 /* for a job's end, before it is told running */
#define WAIT_MAX_MS   60000

enum needs {
	NEEDS_NOTHING,
	NEEDS_READERS,        /* the listener of a snapshot's */
	NEEDS_IMAGES_IF_IDLE, /* nobody serves them */
	NEEDS_IMAGES,         /* and the listener and the tombstone */
	NEEDS_ONE_IMAGE,      /* of the parameter `disk` */
};

struct route {
	const char *method;
	bool changes;
	bool points; /* or snapshots are what it changes */
	enum needs needs;
	uint64_t ms; /* that the caller, or else the worker, gets */
	/* After the worker's success; may change what is answered by ending
	 * the request itself and returning true. */
	done_fn *succeeded;
};

/* Answers with it; a worker whose store failed knows of no points. */
static bool answer_status(struct request *request, json_t *parameters)
{
	json_t *status = json_object_get(parameters, "status");

	if (!json_is_object(status))
		return false;
	if (json_is_null(json_object_get(status, "points")))
		(void)json_object_set_new(
		    status, "points", json_integer(request->vm->entry.points));
	request_reply(request, json_incref(parameters));
	return true;
}

static bool status_done(struct request *request, json_t *parameters,
			const char *text, size_t bytes)
{
	json_t *status = json_object_get(parameters, "status");
	struct vm *vm = request->vm;
	const char *reason =
	    json_string_value(json_object_get(status, "reason"));

	vm_note_status(vm, status);
	if (!json_is_object(status))
		return false;
	(void)json_object_set_new(status, "state", json_string(vm_state(vm)));
	if (vm->entry.serve && vm->failure.code && !(reason && *reason))
		(void)json_object_set_new(status, "reason",
					  json_string(vm->failure.text));
	return answer_status(request, parameters);
}

static bool serve_done(struct request *request, json_t *parameters,
		       const char *text, size_t bytes)
{
	struct vm *vm = request->vm;

	vm->entry.serve = true;
	vm->serving = true;
	vm->failure = (struct err){0};
	vm_note_status(vm, json_object_get(parameters, "status"));
	(void)vm_save(vm, NULL);
	vm_points_store_read(vm);
	vm_look_in(vm, LOOK_MAX_MS);
	return false;
}

static void forget_serving(struct vm *vm)
{
	vm->entry.serve = vm->serving = false;
	vm->failure = (struct err){0};
	vm->retry = sd_event_source_disable_unref(vm->retry);
	vm->retry_ms = 0;
	vm->backoff = 0;
	memset(vm->deaths, 0, sizeof(vm->deaths));
	if (vm->worker == WORKER_BACKOFF) {
		vm->worker = WORKER_NONE;
		vm->timer = sd_event_source_disable_unref(vm->timer);
	}
	vm_close_listener(vm);
	vm_snapshots_unlisten(vm);
	pulls_end(vm, NULL);
	(void)vm_save(vm, NULL);
}

static bool unserve_done(struct request *request, json_t *parameters,
			 const char *text, size_t bytes)
{
	vm_note_status(request->vm, json_object_get(parameters, "status"));
	forget_serving(request->vm);
	return answer_status(request, parameters);
}

static bool resize_done(struct request *request, json_t *parameters,
			const char *text, size_t bytes)
{
	vm_note_status(request->vm, json_object_get(parameters, "status"));
	(void)vm_save(request->vm, NULL);
	return answer_status(request, parameters);
}

static const struct route routes[] = {
    {"Status", false, false, NEEDS_NOTHING, 10000, status_done},
    {"Points", false, false, NEEDS_NOTHING, 10000, NULL},
    {"Changes", false, false, NEEDS_IMAGES_IF_IDLE, 60000, NULL},
    {"Check", false, false, NEEDS_NOTHING, 3600000, NULL},
    {"Snapshots", false, false, NEEDS_NOTHING, 10000, NULL},
    {"Create", true, true, NEEDS_IMAGES_IF_IDLE, SEAL_TIMEOUT_MS, create_done},
    {"Destroy", true, true, NEEDS_NOTHING, 60000, destroy_done},
    {"Snapshot", true, true, NEEDS_READERS, SEAL_TIMEOUT_MS, snapshot_done},
    {"Convert", true, true, NEEDS_NOTHING, 60000, convert_done},
    {"Drop", true, true, NEEDS_NOTHING, 60000, drop_done},
    {"Rename", true, true, NEEDS_NOTHING, 60000, rename_done},
    {"DropLog", true, true, NEEDS_NOTHING, 60000, drop_log_done},
    {"SetLogLimit", true, false, NEEDS_NOTHING, 60000, NULL},
    {"Serve", true, false, NEEDS_IMAGES, SERVE_TIMEOUT_MS, serve_done},
    {"Unserve", true, false, NEEDS_NOTHING, 60000, unserve_done},
    {"Resize", true, false, NEEDS_ONE_IMAGE, 120000, resize_done},
};

static const struct route *route_of(const struct request *request)
{
	const struct route *route = routes;

	while (strcmp(route->method, request->method) != 0)
		route++;
	return route;
}

/* The point or snapshot of the parameter NAME. */
static bool take_id(const struct request *request, const char *name,
		    struct guid *ret_guid)
{
	const char *id =
	    json_string_value(json_object_get(request->parameters, name));

	return id && guid_parse(id, ret_guid);
}

static void on_thawed(struct request *request, const struct err *err);

/* A listener that nobody will serve would keep guests waiting for ever; and a
 * change of the points that the worker did not refuse may have happened. */
static void fail(struct request *request, const struct err *err)
{
	struct vm *vm = request->vm;
	int result = err_result(err->code);
	bool unknown = result == 2 || result == 3;
	struct guid snapshot;

	if (request->freeze) {
		frozen_end(request, err, NULL, on_thawed);
		return;
	}
	if (vm->changing && route_of(request)->points) {
		vm->changing = false;
		if (unknown)
			vm_points_in_doubt(vm);
	}
	if (route_of(request)->needs == NEEDS_READERS && !unknown &&
	    take_id(request, "id", &snapshot))
		vm_snapshot_unlisten(vm, &snapshot);
	if (route_of(request)->needs == NEEDS_IMAGES && !vm->entry.serve &&
	    !vm->serving)
		vm_close_listener(vm);
	request_fail(request, err);
}

/* Code 0: what the answer says was made of a frozen guest. */
static void on_thawed(struct request *request, const struct err *err)
{
	json_t *answer = request->answer;

	if (err->code)
		fail(request, err);
	else if (!route_of(request)->succeeded(request, answer, NULL, 0))
		request_reply(request, json_incref(answer));
}

/* ---- The worker's answer ---------------------------------------------------
 */

static void ask(struct request *request);

static int on_try_again(sd_event_source *source, uint64_t usec, void *arg)
{
	struct request *request = arg;

	request->limit = sd_event_source_disable_unref(request->limit);
	ask(request);
	return 0;
}

/* The worker ended between two calls, as an idle one may: a query is asked
 * again, once its end has been noticed. */
static bool try_again(struct request *request, const struct err *err)
{
	if (err->code != -RP_EUNREACHABLE || request->job || request->gone ||
	    request->tries++ >= TRIES_MAX)
		return false;
	daemon_timer(request->daemon, &request->limit, TRY_AGAIN_MS,
		     on_try_again, request);
	return true;
}

static void on_drained(void *arg)
{
	struct request *request = arg;

	if (request->link)
		link_pause(request->link, false);
}

static void pass_on(struct request *request, const char *text, size_t bytes)
{
	if (!request->call) /* a job's, which has gone */
		return;
	request->tries = TRIES_MAX; /* what was passed on cannot be undone */
	rpc_reply_text(request->call, text, bytes, true);
	if (rpc_call_backlog(request->call) <= BACKLOG_BYTES)
		return;
	link_pause(request->link, true);
	rpc_call_on_drained(request->call, on_drained, request);
}

static void on_status(void *arg, const struct err *err, json_t *parameters,
		      bool continues, const char *text, size_t bytes, int *fds,
		      unsigned n_fds)
{
	struct request *request = arg;

	request->link = NULL;
	if (err->code)
		fail(request, err);
	else if (!answer_status(request, parameters))
		request_reply_text(request, text, bytes);
}

/* Unserve of one that was to be served and never was: it shall not be. */
static bool was_not_served(struct request *request)
{
	struct vm *vm = request->vm;

	if (strcmp(request->method, "Unserve") != 0 || vm->serving)
		return false;
	forget_serving(vm);
	return link_call(request->daemon, vm->name, "Status", json_object(),
			 false, NULL, 0, POINTS_MS, on_status, request,
			 &request->link, NULL) == 0;
}

static void on_answer(void *arg, const struct err *err, json_t *parameters,
		      bool continues, const char *text, size_t bytes, int *fds,
		      unsigned n_fds)
{
	struct request *request = arg;
	const struct route *route = route_of(request);

	if (continues) {
		pass_on(request, text, bytes);
		return;
	}
	request->link = NULL;
	if (err->code == -RP_ESTATE && was_not_served(request))
		return;
	if (err->code) {
		if (!try_again(request, err))
			fail(request, err);
		return;
	}
	if (request->freeze) {
		frozen_end(request, err, parameters, on_thawed);
		return;
	}
	if (route->succeeded &&
	    route->succeeded(request, parameters, text, bytes))
		return;
	request_reply_text(request, text, bytes);
}

/* ---- The question ----------------------------------------------------------
 */

static void send(struct request *request, json_t *parameters, const int *fds,
		 unsigned n_fds)
{
	const struct route *route = route_of(request);
	uint64_t ms = route->changes ? 0 : route->ms;
	struct err err = {0};
	int r;

	if (route->points)
		request->vm->changing = true;
	/* What nobody here looks at is not parsed here either. */
	r = (route->succeeded ? link_call : link_call_through)(
	    request->daemon, request->vm_name, request->method, parameters,
	    request->more, fds, n_fds, ms, on_answer, request, &request->link,
	    &err);

	if (r < 0 && !try_again(request, &err))
		fail(request, &err);
}

static void on_images(void *arg, struct images *images, const struct err *why)
{
	struct request *request = arg;
	const struct route *route = route_of(request);
	struct vm *vm = request->vm;
	json_t *parameters = json_copy(request->parameters), *list;
	int fds[DISKS_PER_VM_MAX + 2];
	unsigned n = images->n;
	struct err err = *why;
	const char *disk = NULL;

	if (!err.code && vm->gone)
		err_set(&err, -RP_ENOVM, "there is no VM '%s'", vm->name);
	if (route->needs == NEEDS_ONE_IMAGE)
		disk = json_string_value(json_object_get(parameters, "disk"));
	if (!err.code && route->needs == NEEDS_IMAGES)
		(void)serve_descriptors(vm, images, fds, &n, &err);
	else
		memcpy(fds, images->fds, images->n * sizeof(int));
	if (err.code) {
		json_decref(parameters);
		fail(request, &err);
		return;
	}
	images_note(images, &vm->entry, disk);
	list = images_json(images, &vm->entry, disk);
	if (disk) {
		(void)json_object_set(parameters, "image",
				      json_array_get(list, 0));
		json_decref(list);
	} else {
		(void)json_object_set_new(parameters, "images", list);
	}
	send(request, parameters, fds, n);
	if (n > images->n)
		(void)close(fds[n - 1]); /* the tombstone */
}

static void ask_with_images(struct request *request, const char *disk)
{
	struct err err = {0};

	if (images_open(request->daemon, &request->vm->entry, disk, on_images,
			request, &err) < 0)
		fail(request, &err);
}

/* What changed between two points needs no disks. */
static bool needs_images_now(const struct request *request)
{
	return !request->vm->serving &&
	       !json_is_string(json_object_get(request->parameters, "until"));
}

static void send_with_listener(struct request *request)
{
	struct guid snapshot = {0};
	struct err err = {0};
	int fd;

	(void)take_id(request, "id", &snapshot);
	if (vm_snapshot_listener(request->vm, &snapshot, &fd, &err) < 0) {
		fail(request, &err);
		return;
	}
	send(request, json_copy(request->parameters), &fd, 1);
	(void)close(fd);
}

static void put(struct request *request);

static void on_frozen(struct request *request, const struct err *err)
{
	if (err->code)
		fail(request, err);
	else
		put(request);
}

static void on_ready(void *arg, const struct err *err)
{
	struct request *request = arg;
	const struct route *route = route_of(request);
	const char *disk =
	    json_string_value(json_object_get(request->parameters, "disk"));
	struct err why = *err;

	if (!why.code && request->gone && !request->job)
		err_set(&why, -RP_ECANCELLED, "the caller went away");
	if (!why.code && route->needs == NEEDS_ONE_IMAGE && !disk)
		err_set(&why, -RP_EPARAM, "'disk' must be given");
	if (!why.code && frozen_is_wanted(request) &&
	    frozen_begin(request, on_frozen, &why) == 0)
		return;
	if (why.code)
		fail(request, &why);
	else
		put(request);
}

static void put(struct request *request)
{
	const struct route *route = route_of(request);
	const char *disk =
	    json_string_value(json_object_get(request->parameters, "disk"));

	if (route->needs == NEEDS_IMAGES ||
	    (route->needs == NEEDS_IMAGES_IF_IDLE && needs_images_now(request)))
		ask_with_images(request, NULL);
	else if (route->needs == NEEDS_ONE_IMAGE)
		ask_with_images(request, disk);
	else if (route->needs == NEEDS_READERS)
		send_with_listener(request);
	else
		send(request, json_copy(request->parameters), NULL, 0);
}

static void ask(struct request *request)
{
	vm_when_ready(request->vm, on_ready, request);
}

/* ---- Without a worker -------------------------------------------------------
 */

/* What can be said, or refused, without the worker. */
static bool answered_here(struct request *request)
{
	struct vm *vm = request->vm;
	bool unserve = strcmp(request->method, "Unserve") == 0;
	struct err err = {0};

	if (unserve && !vm->entry.serve && !vm->serving) {
		err_set(&err, -RP_ESTATE, "'%s' is not served", vm->name);
		fail(request, &err);
		return true;
	}
	if (strcmp(request->method, "Snapshot") == 0 && !vm->entry.serve &&
	    !vm->serving) {
		err_set(&err, -RP_ESTATE,
			"'%s' is not served: a snapshot is kept by whoever "
			"sees the writes; serve it first",
			vm->name);
		fail(request, &err);
		return true;
	}
	if (vm->worker != WORKER_BACKOFF)
		return false;
	if (unserve)
		forget_serving(vm);
	else if (strcmp(request->method, "Status") != 0)
		return false;
	request_reply(request, vm_status_without_worker(vm));
	return true;
}

static uint64_t callers_limit(const struct request *request,
			      const struct route *route)
{
	json_t *own = json_object_get(request->parameters, "timeout_ms");

	/* the worker's own limit comes first, and says more */
	if (route->succeeded != create_done &&
	    route->succeeded != snapshot_done)
		return route->ms;
	if (json_is_integer(own) && json_integer_value(own) > 0 &&
	    json_integer_value(own) < 86400000)
		return (uint64_t)json_integer_value(own) + 10000;
	return route->ms + 10000;
}

/* Moves `wait_ms` from the parameters to *RET_MS; what else CreateJob has not,
 * the worker's Create has. */
static int take_wait(struct request *request, uint64_t *ret_ms, struct err *err)
{
	json_t *wait = json_object_get(request->parameters, "wait_ms");
	json_int_t ms = json_integer_value(wait);

	if (wait && !json_is_null(wait) &&
	    (!json_is_integer(wait) || ms < 0 || ms > WAIT_MAX_MS))
		return err_set(err, -RP_EPARAM, "'wait_ms' is at most %d",
			       WAIT_MAX_MS);
	if (json_object_get(request->parameters, "request_id"))
		return err_set(err, -RP_EPARAM, "'request_id' is not known");
	(void)json_object_del(request->parameters, "wait_ms");
	*ret_ms = ms > 0 ? (uint64_t)ms : WAIT_MS;
	return 0;
}

/* What is not there yet has an id already, by which its socket is found, and
 * which stands in the record whatever happens. */
static int choose_id(struct request *request, struct err *err)
{
	struct guid guid = guid_random();
	char id[GUID_TEXT_BYTES];

	if (route_of(request)->succeeded != snapshot_done)
		return 0;
	if (json_object_get(request->parameters, "id"))
		return err_set(err, -RP_EPARAM, "'id' is not known");
	guid_format(&guid, id);
	(void)json_object_set_new(request->parameters, "id", json_string(id));
	return 0;
}

static int begin_record(struct request *request, struct err *err)
{
	char owner[CALLER_NAME_BYTES];
	struct record *record;
	int r;

	request_owner(request, owner);
	r = record_begin(request->daemon->records, request->method,
			 request->vm_name, &request->vm->entry.uuid, owner,
			 &request->record, err);
	if (r < 0)
		return r;
	record = request->record;
	record->has_point = take_id(request, "point", &record->point);
	record->has_snapshot =
	    take_id(request, "snapshot", &record->snapshot) ||
	    take_id(request, "id", &record->snapshot);
	return 0;
}

void proxy_job_method(struct rpc_call *call, json_t *parameters, void *arg)
{
	struct request *request = request_new(arg, call, parameters, true);
	struct err err = {0};
	uint64_t ms = 0;

	if (!request || !request_find_vm(request))
		return;
	request->more = false;
	if (take_wait(request, &ms, &err) < 0 || choose_id(request, &err) < 0 ||
	    begin_record(request, &err) < 0) {
		request_fail(request, &err);
		return;
	}
	if (answered_here(request))
		return;
	request_limit(request, ms);
	ask(request);
}

void proxy_method(struct rpc_call *call, json_t *parameters, void *arg)
{
	const char *method = strrchr(rpc_call_method(call), '.') + 1;
	const struct route *route = routes;
	struct request *request;
	struct err err = {0};

	while (strcmp(route->method, method) != 0)
		route++;
	request = request_new(arg, call, parameters, route->changes);
	if (!request || !request_find_vm(request) || answered_here(request))
		return;
	if (choose_id(request, &err) < 0) {
		request_fail(request, &err);
		return;
	}
	if (route->changes)
		request_limit(request, callers_limit(request, route));
	ask(request);
}
