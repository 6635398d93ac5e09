/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The interface org.refpoint.worker: what is read where, which lane does it,
 * and how it is answered.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "worker/import.h"
#include "worker/request.h"

#define VM_LOCK_WAIT_S 5
#define FINDINGS_MAX   1000

static uint64_t now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

void worker_used(struct worker *worker)
{
	worker->used_ms = now_ms();
}

/* ---- Requests ---------------------------------------------------------------
 */

void request_free(struct request *request)
{
	for (unsigned i = 0; i < request->n_fds; i++)
		if (request->fds[i] >= 0)
			(void)close(request->fds[i]);
	if (request->listener >= 0)
		(void)close(request->listener);
	images_free(request->images);
	changes_free(request->changes);
	listing_free(request->listing);
	definition_free(request->definition);
	free(request->ask_export);
	importing_free(request->importing);
	json_decref(request->reply);
	free(request);
}

static void take_fds(struct request *request)
{
	unsigned i = 0;
	int fd;

	while (i < RPC_FDS_MAX &&
	       (fd = rpc_call_take_fd(request->call, i)) >= 0)
		request->fds[i++] = fd;
	request->n_fds = i;
}

/* LANE_QUERY finds the vm whole, W3; LANE_CONTROL is who changes it. */
static int run_query(struct request *request, struct err *err)
{
	struct worker *worker = request->worker;
	struct timespec end;
	int r;

	(void)clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += VM_LOCK_WAIT_S;
	if (pthread_rwlock_timedrdlock(&worker->vm_lock, &end) != 0)
		return err_set(err, -RP_ETIMEOUT, "'%s' is busy stopping",
			       worker->name);
	r = request->method->run(request, err);
	(void)pthread_rwlock_unlock(&worker->vm_lock);
	return r;
}

static void run_job(struct job *job)
{
	struct request *request = container_of(job, struct request, job);

	int r = request->method->lane == LANE_QUERY
		    ? run_query(request, &request->err)
		    : request->method->run(request, &request->err);

	/* what was overcome on the way may have left its words there */
	if (r >= 0)
		request->err.code = 0;
}

static void answer(struct request *request)
{
	struct rpc_call *call = request->call;
	struct changes *changes = request->changes;
	struct listing *listing = request->listing;
	json_t *reply = request->reply;

	if (!call)
		return;
	if (request->err.code) {
		rpc_fail(call, &request->err);
		return;
	}
	request->changes = NULL;
	request->listing = NULL;
	request->reply = NULL;
	if (request->export)
		export_answer(request->export, call, request->gone);
	else if (changes)
		changes_send(changes, call);
	else if (listing)
		listing_send(listing, call);
	else
		rpc_reply(call, reply);
}

static void done_job(struct job *job)
{
	struct request *request = container_of(job, struct request, job);
	struct worker *worker = request->worker;

	worker_used(worker);
	if (request->method->transition)
		worker->transitions--;
	answer(request);
	request_free(request);
	worker_look(worker);
}

static void submit(struct request *request, void (*done)(struct job *job))
{
	struct worker *worker = request->worker;

	request->job.run = run_job;
	request->job.done = done;
	worker_used(worker);
	if (request->method->transition)
		worker->transitions++;
	jobs_submit(worker->jobs, request->method->lane, &request->job);
}

static struct request *request_new(struct worker *worker,
				   const struct method *method)
{
	struct request *request = calloc(1, sizeof(*request));

	if (!request)
		return NULL;
	request->worker = worker;
	request->method = method;
	request->listener = -1;
	return request;
}

static int check_state(const struct request *request, struct err *err)
{
	const struct worker *worker = request->worker;

	if (worker->ending)
		return err_set(err, -RP_EUNREACHABLE,
			       "the worker of '%s' is ending", worker->name);
	if (request->method->lane == LANE_CONTROL && worker->transitions)
		return err_set(err, -RP_ESTATE,
			       "'%s' is just being defined, started, stopped "
			       "or resized",
			       worker->name);
	return 0;
}

static int read_call(struct request *request, json_t *parameters,
		     struct err *err)
{
	static const struct rpc_field none[] = {{0}};
	int r;

	take_fds(request);
	if (request->method->read)
		r = request->method->read(request, parameters, err);
	else
		r = rpc_read_fields(parameters, none, err);
	return r < 0 ? r : check_state(request, err);
}

struct request *request_begin(struct rpc_call *call, json_t *parameters,
			      struct worker *worker,
			      const struct method *method)
{
	struct request *request = request_new(worker, method);
	struct err err = {0};

	if (!request) {
		err_set(&err, -ENOMEM, "call");
		rpc_fail(call, &err);
		return NULL;
	}
	request->call = call;
	if (read_call(request, parameters, &err) == 0)
		return request;
	request_free(request);
	rpc_fail(call, &err);
	return NULL;
}

void request_submit(struct request *request)
{
	submit(request, done_job);
}

static void handle(struct rpc_call *call, json_t *parameters, void *arg,
		   const struct method *method)
{
	struct request *request = request_begin(call, parameters, arg, method);

	if (request)
		request_submit(request);
}

/* ---- Serve, Unserve, Resize, Status, Check
 * ----------------------------------- */

static int reply_status(struct request *request)
{
	request->reply =
	    json_pack("{s:o}", "status", status_json(request->worker));
	return 0;
}

/* Descriptors: the images', the listener; what follows is of no use here. */
static int read_serve(struct request *request, json_t *parameters,
		      struct err *err)
{
	json_t *images = NULL;
	const struct rpc_field fields[] = {
	    {"images", RPC_ARRAY, true, DISKS_PER_VM_MAX, &images, NULL}, {0}};
	int r = rpc_read_fields(parameters, fields, err);
	size_t n = json_array_size(images);

	if (r == 0 && request->n_fds < n + 1)
		r = err_set(err, -RP_EPARAM, "no listener came");
	if (r == 0)
		r = images_read(images, request->fds, request->n_fds,
				&request->images, err);
	if (r < 0)
		return r;
	request->listener = request->fds[n];
	request->fds[n] = -1;
	return 0;
}

static int run_serve(struct request *request, struct err *err)
{
	struct images *images = request->images;
	int r;

	request->images = NULL;
	r = worker_serve(request->worker, images, request->listener, err);
	if (r < 0)
		return r;
	request->listener = -1;
	return reply_status(request);
}

static int run_unserve(struct request *request, struct err *err)
{
	int r = worker_unserve(request->worker, err);

	return r < 0 || !request->call ? r : reply_status(request);
}

static int read_resize(struct request *request, json_t *parameters,
		       struct err *err)
{
	const char *disk = NULL;
	json_t *image = NULL, *list;
	const struct rpc_field fields[] = {
	    {"disk", RPC_STRING, true, DISK_ID_BYTES, &disk, NULL},
	    {"size", RPC_UINT, true, 0, &request->bytes, NULL},
	    {"image", RPC_OBJECT, true, 0, &image, NULL},
	    {0}};
	int r = rpc_read_fields(parameters, fields, err);

	if (r < 0)
		return r;
	(void)strcpy(request->disk, disk);
	list = json_pack("[O]", image);
	r = images_read(list, request->fds, request->n_fds, &request->images,
			err);
	json_decref(list);
	return r;
}

static int run_resize(struct request *request, struct err *err)
{
	struct images *image = request->images;
	int r;

	request->images = NULL;
	r = worker_resize(request->worker, request->disk, request->bytes, image,
			  err);
	return r < 0 ? r : reply_status(request);
}

static int run_status(struct request *request, struct err *err)
{
	int r = worker_check_defined(request->worker, err);

	return r < 0 ? r : reply_status(request);
}

struct check {
	json_t *findings;
	bool ok;
};

static void on_finding(void *arg, const struct vm_finding *f)
{
	struct check *check = arg;

	check->ok = check->ok && !f->damaged;
	if (json_array_size(check->findings) < FINDINGS_MAX)
		(void)json_array_append_new(
		    check->findings,
		    json_pack("{s:s, s:s, s:s}", "severity",
			      f->damaged ? "error" : "warning", "where",
			      f->where, "message", f->message));
}

static int run_check(struct request *request, struct err *err)
{
	struct worker *worker = request->worker;
	struct check check = {json_array(), true};
	uint64_t bytes = 0, log_bytes = 0;
	int r = worker_check_defined(worker, err);

	if (r == 0)
		r = vm_check(worker->vm, on_finding, &check, &bytes, err);
	if (r == 0)
		r = logs_check(worker->logs, on_finding, &check, &log_bytes,
			       err);
	if (r == 0)
		request->reply =
		    json_pack("{s:b, s:I, s:O}", "ok", check.ok, "bytes_read",
			      (json_int_t)(bytes + log_bytes), "findings",
			      check.findings);
	json_decref(check.findings);
	return r;
}

static const struct method initialize = {LANE_CONTROL, true, read_initialize,
					 run_initialize};
static const struct method definition = {LANE_QUERY, false, NULL,
					 run_definition};
static const struct method serve = {LANE_CONTROL, true, read_serve, run_serve};
static const struct method unserve = {LANE_CONTROL, true, NULL, run_unserve};
static const struct method status = {LANE_QUERY, false, NULL, run_status};
static const struct method create = {LANE_CONTROL, false, read_create,
				     run_create};
static const struct method points = {LANE_QUERY, false, NULL, run_points};
static const struct method destroy = {LANE_CONTROL, false, read_destroy,
				      run_destroy};
static const struct method vouch = {LANE_CONTROL, false, read_destroy,
				    run_vouch};
static const struct method set_agent = {LANE_CONTROL, false, read_set_agent,
					run_set_agent};
static const struct method drop_log = {LANE_CONTROL, false, read_destroy,
				       run_drop_log};
static const struct method set_log_limit = {LANE_CONTROL, false,
					    read_set_log_limit,
					    run_set_log_limit};
static const struct method check = {LANE_CONTROL, false, NULL, run_check};
static const struct method resize = {LANE_CONTROL, true, read_resize,
				     run_resize};
static const struct method snapshot = {LANE_CONTROL, false, read_snapshot,
				       run_snapshot};
static const struct method snapshots = {LANE_QUERY, false, NULL, run_snapshots};
static const struct method convert = {LANE_CONTROL, false, read_one_snapshot,
				      run_convert};
static const struct method drop = {LANE_CONTROL, false, read_one_snapshot,
				   run_drop};
static const struct method rename_snapshot = {LANE_CONTROL, false, read_rename,
					      run_rename};
static const struct method export = {LANE_CONTROL, false, read_export,
				     run_export};
static const struct method changes = {LANE_QUERY, false, read_changes,
				      run_changes};
/* with images, which are attached for it */
static const struct method changes_idle = {LANE_CONTROL, false, read_changes,
					   run_changes};

#define HANDLER(name)                                                          \
	static void on_##name(struct rpc_call *call, json_t *parameters,       \
			      void *arg)                                       \
	{                                                                      \
		handle(call, parameters, arg, &name);                          \
	}

HANDLER(initialize)
HANDLER(definition)
HANDLER(serve)
HANDLER(unserve)
HANDLER(status)
HANDLER(create)
HANDLER(points)
HANDLER(destroy)
HANDLER(vouch)
HANDLER(set_agent)
HANDLER(drop_log)
HANDLER(set_log_limit)
HANDLER(check)
HANDLER(resize)
HANDLER(snapshot)
HANDLER(snapshots)
HANDLER(convert)
HANDLER(drop)
HANDLER(rename_snapshot)
HANDLER(export)

static void on_changes(struct rpc_call *call, json_t *parameters, void *arg)
{
	/* between two points they are not needed */
	bool attach =
	    json_array_size(json_object_get(parameters, "images")) > 0 &&
	    !json_is_string(json_object_get(parameters, "until"));

	handle(call, parameters, arg, attach ? &changes_idle : &changes);
}

/* ---- Answered at once
 * --------------------------------------------------------- */

static bool refuses_parameters(struct rpc_call *call, json_t *parameters)
{
	static const struct rpc_field none[] = {{0}};
	struct err err = {0};

	if (rpc_read_fields(parameters, none, &err) == 0)
		return false;
	rpc_fail(call, &err);
	return true;
}

static void on_hello(struct rpc_call *call, json_t *parameters, void *arg)
{
	struct worker *worker = arg;
	char uuid[GUID_TEXT_BYTES];

	if (refuses_parameters(call, parameters))
		return;
	(void)pthread_mutex_lock(&worker->note_lock);
	memcpy(uuid, worker->uuid, sizeof(uuid));
	(void)pthread_mutex_unlock(&worker->note_lock);
	rpc_reply(call,
		  json_pack("{s:s, s:s?, s:i, s:s}", "vm", worker->name, "uuid",
			    *uuid ? uuid : NULL, "pid", (int)getpid(), "state",
			    worker_state_name((enum worker_state)atomic_load(
				&worker->state))));
}

/* The listener is LANE_CONTROL's, but stands while the state is serving. */
static void on_listener(struct rpc_call *call, json_t *parameters, void *arg)
{
	struct worker *worker = arg;
	int fd = worker->listener;
	struct err err = {0};

	if (refuses_parameters(call, parameters))
		return;
	if (worker->transitions ||
	    atomic_load(&worker->state) != WORKER_SERVING) {
		err_set(&err, -RP_ESTATE, "'%s' is not served", worker->name);
		rpc_fail(call, &err);
		return;
	}
	rpc_reply_fds(call, NULL, &fd, 1);
}

static void on_stop(struct rpc_call *call, json_t *parameters, void *arg)
{
	struct worker *worker = arg;
	struct err err = {0};

	if (refuses_parameters(call, parameters))
		return;
	if (worker->transitions ||
	    atomic_load(&worker->state) == WORKER_SERVING) {
		err_set(&err, -RP_ESTATE, "'%s' is served", worker->name);
		rpc_fail(call, &err);
		return;
	}
	rpc_reply(call, NULL);
	worker_end(worker);
}

#define METHOD(name, fn)                                                       \
	{                                                                      \
		"org.refpoint.worker." name, RPC_ROLE_DAEMON, fn               \
	}

const struct rpc_method worker_methods[] = {
    METHOD("Hello", on_hello),
    METHOD("Initialize", on_initialize),
    METHOD("Definition", on_definition),
    METHOD("Serve", on_serve),
    METHOD("Unserve", on_unserve),
    METHOD("Status", on_status),
    METHOD("Create", on_create),
    METHOD("Points", on_points),
    METHOD("Changes", on_changes),
    METHOD("Destroy", on_destroy),
    METHOD("Export", on_export),
    METHOD("Import", on_import),
    METHOD("CancelImport", on_cancel_import),
    METHOD("Vouch", on_vouch),
    METHOD("SetAgent", on_set_agent),
    METHOD("DropLog", on_drop_log),
    METHOD("SetLogLimit", on_set_log_limit),
    METHOD("Check", on_check),
    METHOD("Resize", on_resize),
    METHOD("Snapshot", on_snapshot),
    METHOD("Snapshots", on_snapshots),
    METHOD("AwaitEnd", on_await_end),
    METHOD("Convert", on_convert),
    METHOD("Drop", on_drop),
    METHOD("Rename", on_rename_snapshot),
    METHOD("Listener", on_listener),
    METHOD("Stop", on_stop),
    {0},
};

/* ---- What we do ourselves
 * ------------------------------------------------------ */

static int run_begin(struct request *request, struct err *err)
{
	struct worker *worker = request->worker;
	struct images *images = request->images;
	int r;

	request->images = NULL;
	r = worker_serve(worker, images, request->listener, err);
	if (r == 0) {
		request->listener = -1;
		return 0;
	}
	log_error("cannot serve: %s", err->text);
	worker_note(worker, err->text);
	atomic_store(&worker->state, WORKER_FAILED);
	return r;
}

void worker_begin(struct worker *worker, struct images *images, int listener)
{
	static const struct method begin = {LANE_CONTROL, true, NULL,
					    run_begin};
	struct request *request = request_new(worker, &begin);

	if (!request) {
		images_free(images);
		(void)close(listener);
		return;
	}
	atomic_store(&worker->state, WORKER_STARTING);
	request->images = images;
	request->listener = listener;
	submit(request, done_job);
}

void worker_look(struct worker *worker)
{
	if (atomic_load(&worker->state) == WORKER_SERVING ||
	    jobs_pending(worker->jobs) > 0 || worker->exporting > 0)
		return;
	if (!link_is_usable(worker->link)) {
		log_info("ending: refpointd has gone, and another worker can "
			 "reach the next one");
		worker_end(worker);
	} else if (now_ms() - worker->used_ms >= worker->idle_ms) {
		log_info("ending: nothing to do");
		worker_end(worker);
	}
}

static int run_end(struct request *request, struct err *err)
{
	return atomic_load(&request->worker->state) == WORKER_SERVING
		   ? worker_unserve(request->worker, err)
		   : 0;
}

static void done_end(struct job *job)
{
	struct request *request = container_of(job, struct request, job);

	(void)sd_event_exit(request->worker->event, 0);
	request_free(request);
}

void worker_end(struct worker *worker)
{
	static const struct method end = {LANE_CONTROL, true, NULL, run_end};
	struct request *request;

	if (worker->ending)
		return;
	worker->ending = true;
	request = request_new(worker, &end);
	if (!request) {
		(void)sd_event_exit(worker->event, EXIT_FAILED);
		return;
	}
	submit(request, done_end);
}
