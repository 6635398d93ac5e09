/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/done.h"

#include "daemon/undo.h"

bool create_done(struct request *request, json_t *parameters, const char *text,
		 size_t bytes)
{
	json_t *point = json_object_get(parameters, "point");

	if (request->record && request->record->cancelling &&
	    undo(request, point))
		return true;
	request->vm->changing = false;
	vm_point_made(request->vm, point);
	if (request->record)
		undo_note(request, point);
	return false;
}

bool destroy_done(struct request *request, json_t *parameters, const char *text,
		  size_t bytes)
{
	json_t *id = json_object_get(request->parameters, "point");

	request->vm->changing = false;
	vm_point_destroyed(request->vm, json_string_value(id));
	return false;
}

/* A repeat got the snapshot that was made the first time, and its listener was
 * for nothing. */
static void drop_listener(struct request *request, json_t *made)
{
	json_t *chosen = json_object_get(request->parameters, "id");
	struct guid guid;

	if (!json_equal(chosen, json_object_get(made, "id")) &&
	    guid_parse(json_string_value(chosen), &guid))
		vm_snapshot_unlisten(request->vm, &guid);
}

bool snapshot_done(struct request *request, json_t *parameters,
		   const char *text, size_t bytes)
{
	json_t *snapshot = json_object_get(parameters, "snapshot");

	drop_listener(request, snapshot);

	if (request->record && request->record->cancelling &&
	    undo(request, snapshot))
		return true;
	request->vm->changing = false;
	vm_snapshot_made(request->vm, snapshot);
	if (request->record)
		undo_note(request, snapshot);
	return false;
}

static const char *snapshot_id(const struct request *request)
{
	return json_string_value(
	    json_object_get(request->parameters, "snapshot"));
}

bool convert_done(struct request *request, json_t *parameters, const char *text,
		  size_t bytes)
{
	json_t *point = json_object_get(parameters, "point");
	struct record *record = request->record;

	request->vm->changing = false;
	vm_snapshot_converted(request->vm, snapshot_id(request), point);
	if (record) {
		record->has_point = record->has_snapshot; /* the id stays */
		record->point = record->snapshot;
		request->made_as = "point";
		request->made = json_incref(point);
	}
	return false;
}

bool drop_done(struct request *request, json_t *parameters, const char *text,
	       size_t bytes)
{
	request->vm->changing = false;
	vm_snapshot_dropped(request->vm, snapshot_id(request));
	return false;
}

bool rename_done(struct request *request, json_t *parameters, const char *text,
		 size_t bytes)
{
	request->vm->changing = false;
	vm_snapshot_made(request->vm, json_object_get(parameters, "snapshot"));
	return false;
}

bool drop_log_done(struct request *request, json_t *parameters,
		   const char *text, size_t bytes)
{
	request->vm->changing = false;
	vm_point_log_dropped(request->vm);
	return false;
}
