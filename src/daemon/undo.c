/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Create is undone by a Destroy, a Snapshot by a Drop.  One that failed may
 * have happened all the same, so the worker is asked which points and snapshots
 * there are, and what it tells decides how the job ends.
 */
#include "daemon/undo.h"

#include <stdio.h>
#include <string.h>

#define TRIES_MAX    50 /* while one worker is replaced by the next */
#define TRY_AGAIN_MS 100

static bool makes_snapshots(const char *method)
{
	return strcmp(method, "Snapshot") == 0;
}

static bool is_snapshot(const struct request *request)
{
	return makes_snapshots(request->method);
}

bool undo_is_possible(const struct record *record)
{
	return strcmp(record->method, "Create") == 0 ||
	       makes_snapshots(record->method);
}

static void note_in_record(struct record *record, const char *id, bool snapshot)
{
	bool *has = snapshot ? &record->has_snapshot : &record->has_point;

	*has =
	    id && guid_parse(id, snapshot ? &record->snapshot : &record->point);
}

void undo_note(struct request *request, json_t *made)
{
	bool snapshot = is_snapshot(request);
	const char *id = json_string_value(json_object_get(made, "id"));

	if (request->record)
		note_in_record(request->record, id, snapshot);
	request->made_as = snapshot ? "snapshot" : "point";
	request->made = json_incref(made);
}

static const char *made_id(const struct request *request)
{
	return json_string_value(json_object_get(request->made, "id"));
}

static void try(struct request *request);

static void undone(struct request *request)
{
	struct record *record = request->record;

	request->undone = true;
	if (record)
		record->has_point = record->has_snapshot = false;
	if (request->fault.code) {
		request_fail(request, &request->fault);
		return;
	}
	err_set(&request->note, -RP_ECANCELLED, "cancelled, as asked for");
	request_reply(request, NULL);
}

/* ---- A Destroy that failed ------------------------------------------------
 */

/* It is there, and is not what was asked for. */
static void faulty_is_there(struct request *request)
{
	struct err err = {0};

	err_set(&err, -RP_EFAILED,
		"%s; and the %s, which is crash-consistent, could not be "
		"undone: %s",
		request->fault.text, request->made_as, request->why.text);
	request_fail(request, &err);
}

static void still_there(struct request *request)
{
	if (request->fault.code) {
		faulty_is_there(request);
		return;
	}
	(void)snprintf(request->note.text, sizeof(request->note.text),
		       "it could not be cancelled, the %s is there: %s",
		       request->made_as, request->why.text);
	request_reply(request, NULL);
}

static void not_known(struct request *request, const struct err *why)
{
	bool fault = request->fault.code;
	struct err err = {0};

	err_set(&err, -RP_EFAILED,
		"%s%s (%s), and it is not known whether the %s is there: %s",
		fault ? request->fault.text : "it could not be cancelled",
		fault ? "; it could not be undone" : "", request->why.text,
		request->made_as, why->text);
	request_fail(request, &err);
}

static bool is_told(const struct request *request)
{
	const struct inventory_entry *entry = &request->vm->entry;
	struct guid id;

	return guid_parse(made_id(request), &id) &&
	       inventory_points_find(is_snapshot(request) ? &entry->snapshot
							  : &entry->point,
				     &id);
}

/* It may have been destroyed: what the worker tells decides. */
static void on_told(void *arg)
{
	struct request *request = arg;
	struct vm *vm = request->vm;

	request->pause = sd_event_source_disable_unref(request->pause);
	if (!vm->entry.point.known || !made_id(request))
		not_known(request, &vm->points_failure);
	else if (is_told(request))
		still_there(request);
	else
		undone(request);
}

static int on_not_told(sd_event_source *source, uint64_t usec, void *arg)
{
	struct request *request = arg;
	struct err err = {0};

	vm_points_when_told(request->vm, NULL, NULL);
	err_set(&err, -RP_ETIMEOUT, "no worker told it within %u s",
		READY_TIMEOUT_MS / 1000);
	not_known(request, &err);
	return 0;
}

static void not_undone(struct request *request, const struct err *why)
{
	request->vm->changing = false;
	request->why = *why;
	daemon_timer(request->daemon, &request->pause, READY_TIMEOUT_MS,
		     on_not_told, request);
	vm_points_when_told(request->vm, on_told, request);
}

/* ---- Destroy --------------------------------------------------------------
 */

static int on_try_again(sd_event_source *source, uint64_t usec, void *arg)
{
	struct request *request = arg;

	request->pause = sd_event_source_disable_unref(request->pause);
	try(request);
	return 0;
}

/* A worker that ended says nothing of the point; the next one does. */
static void failed(struct request *request, const struct err *err)
{
	if (err->code == -RP_EUNREACHABLE && request->tries++ < TRIES_MAX)
		daemon_timer(request->daemon, &request->pause, TRY_AGAIN_MS,
			     on_try_again, request);
	else
		not_undone(request, err);
}

static void on_undone(void *arg, const struct err *err, json_t *parameters,
		      bool continues, const char *text, size_t bytes, int *fds,
		      unsigned n_fds)
{
	struct request *request = arg;

	request->link = NULL;
	if (err->code && err->code != -RP_ENOPOINT) {
		failed(request, err);
		return;
	}
	request->vm->changing = false;
	if (is_snapshot(request))
		vm_snapshot_dropped(request->vm, made_id(request));
	else
		vm_point_destroyed(request->vm, made_id(request));
	undone(request);
}

static void on_ready(void *arg, const struct err *err)
{
	struct request *request = arg;
	bool snapshot = is_snapshot(request);
	struct err why = *err;

	if (!why.code)
		(void)link_call(request->daemon, request->vm_name,
				snapshot ? "Drop" : "Destroy",
				json_pack("{s:s}", request->made_as,
					  made_id(request)),
				false, NULL, 0, 0, on_undone, request,
				&request->link, &why);
	if (why.code)
		failed(request, &why);
}

static void try(struct request *request)
{
	vm_when_ready(request->vm, on_ready, request);
}

bool undo(struct request *request, json_t *made)
{
	if (!json_is_string(json_object_get(made, "id")))
		return false;
	undo_note(request, made);
	request->tries = 0;
	try(request);
	return true;
}

bool undo_because(struct request *request, json_t *made, const struct err *why)
{
	request->fault = *why;
	return undo(request, made);
}
