/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/systems.h"

#include <string.h>

#include "cim/status.h"
#include "common/bytes.h"
#include "common/limits.h"
#include "providers/identity.h"

/* Each of VMS_MAX systems may come once more for each of its points. */
#define REPLIES_MAX (VMS_MAX * (POINTS_PER_VM_MAX + 1u))

struct walk {
	const struct providers *providers;
	const struct system_view *now; /* is being told */
	struct walk *outer;            /* whose callback we are in */
	struct arena *arena;
	system_fn *fn;
	void *arg;
	unsigned replies;
	char last[GUID_TEXT_BYTES]; /* who came before */
	int r;                      /* what ended it */
	struct err *err;
};

static _Thread_local struct walk *innermost;

int systems_failed(int r, struct err *err)
{
	if (err && err->code == 0)
		(void)err_set(err, r, "no answer");
	switch (r) {
	case -RP_ETIMEOUT:
		r = -CIM_ETIMEDOUT;
		break;
	case -RP_ELIMIT:
	case -ENOMEM:
		r = -CIM_ELIMITS;
		break;
	default:
		r = -CIM_EFAILED;
		break;
	}
	(void)err_wrap(err, "refpointd");
	if (err)
		err->code = r;
	return r;
}

static int senseless(struct err *err, const char *what)
{
	return err_set(err, -CIM_EFAILED,
		       "refpointd's answer makes no sense: %s", what);
}

/* The text of a member, or NULL if it is none. */
static const char *text_of(const json_t *object, const char *name)
{
	return json_string_value(json_object_get(object, name));
}

static int read_disk(const json_t *json, struct disk_view *ret_disk,
		     struct err *err)
{
	const json_t *size = json_object_get(json, "size");
	struct disk_view disk = {.id = text_of(json, "id"),
				 .path = text_of(json, "path")};

	if (!disk.id || !disk.path || !json_is_integer(size) ||
	    json_integer_value(size) < 0)
		return senseless(err, "a disk");
	disk.size = (uint64_t)json_integer_value(size);
	*ret_disk = disk;
	return 0;
}

static int read_disks(struct walk *w, const json_t *json,
		      struct system_view *system)
{
	const json_t *list = json_object_get(json, "disks");
	size_t n = json_array_size(list);
	struct disk_view *disks;
	int r = 0;

	if (!json_is_array(list) || n > DISKS_PER_VM_MAX)
		return senseless(w->err, "the disks of a system");
	disks = arena_array(w->arena, n, sizeof(*disks));
	if (!disks)
		return arena_full(w->arena, w->err);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = read_disk(json_array_get(list, i), &disks[i], w->err);
	system->disks = disks;
	system->disk_count = (uint32_t)n;
	return r;
}

/* Where the disk is that a point names; the one at the same place mostly is. */
static unsigned find_disk(const struct system_view *system, const char *id,
			  unsigned hint)
{
	if (hint < system->disk_count &&
	    strcmp(system->disks[hint].id, id) == 0)
		return hint;
	for (unsigned i = 0; i < system->disk_count; i++)
		if (strcmp(system->disks[i].id, id) == 0)
			return i;
	return system->disk_count + hint;
}

static int read_point_disks(struct walk *w, const struct system_view *system,
			    const json_t *list, struct point_view *point)
{
	size_t n = json_array_size(list);
	struct point_disk_view *disks;

	if (!json_is_array(list) || n > DISKS_PER_VM_MAX)
		return senseless(w->err, "the disks of a point");
	disks = arena_array(w->arena, n, sizeof(*disks));
	if (!disks)
		return arena_full(w->arena, w->err);
	for (unsigned i = 0; i < n; i++) {
		const json_t *json = json_array_get(list, i);
		const char *id = text_of(json, "id");

		disks[i].tracking_id = text_of(json, "tracking_id");
		if (!id || !disks[i].tracking_id)
			return senseless(w->err, "a disk of a point");
		disks[i].index = find_disk(system, id, i);
	}
	point->disks = disks;
	point->disk_count = (uint32_t)n;
	return 0;
}

static int read_point(struct walk *w, const struct system_view *system,
		      const json_t *json, struct point_view *point)
{
	const char *type = text_of(json, "type");
	const char *consistency = text_of(json, "consistency");

	point->label = text_of(json, "label");
	point->created = text_of(json, "created");
	if (!identity_guid(text_of(json, "id"), point->id) || !type ||
	    !consistency || !point->label || !point->created)
		return senseless(w->err, "a point");
	point->log = strcmp(type, "log") == 0;
	point->application = strcmp(consistency, "application") == 0;
	return read_point_disks(w, system, json_object_get(json, "disks"),
				point);
}

static int read_points(struct walk *w, const json_t *json,
		       struct system_view *system)
{
	const json_t *list = json_object_get(json, "points");
	size_t n = json_array_size(list);
	struct point_view *points;
	int r = 0;

	if (!json_is_array(list) || n > POINTS_PER_VM_MAX)
		return senseless(w->err, "the points of a system");
	points = arena_array(w->arena, n, sizeof(*points));
	if (!points)
		return arena_full(w->arena, w->err);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = read_point(w, system, json_array_get(list, i), &points[i]);
	system->points = points;
	system->point_count = (uint32_t)n;
	return r;
}

static int read_pid(struct walk *w, const json_t *json,
		    struct system_view *system)
{
	const json_t *pid = json_object_get(json, "worker_pid");

	if (!pid || json_is_null(pid))
		return 0;
	if (!json_is_integer(pid) || json_integer_value(pid) < 0 ||
	    json_integer_value(pid) > UINT32_MAX)
		return senseless(w->err, "a worker's pid");
	system->worker_pid = (uint32_t)json_integer_value(pid);
	return 0;
}

static int read_system(struct walk *w, const json_t *json,
		       struct system_view *system)
{
	const json_t *connected = json_object_get(json, "connected");
	int r;

	system->vm = text_of(json, "vm");
	system->state = text_of(json, "state");
	if (!system->vm || !system->state || !json_is_boolean(connected) ||
	    !identity_guid(text_of(json, "uuid"), system->uuid))
		return senseless(w->err, "a system");
	system->connected = json_is_true(connected);
	r = read_pid(w, json, system);
	if (r == 0)
		r = read_disks(w, json, system);
	return r < 0 ? r : read_points(w, json, system);
}

static int tell(struct walk *w, const json_t *json)
{
	struct arena_mark mark = arena_mark(w->arena);
	struct system_view system = {0};
	int r = read_system(w, json, &system);

	if (r == 0) {
		system.again = strcmp(system.uuid, w->last) == 0;
		memcpy(w->last, system.uuid, sizeof(w->last));
		w->now = &system;
		r = w->fn(w->arg, &system, w->err);
		w->now = NULL;
	}
	arena_rewind(w->arena, mark);
	return r;
}

/* 1 ends the call. */
static int take_reply(void *arg, json_t *parameters, bool continues)
{
	const json_t *list = json_object_get(parameters, "systems");
	struct walk *w = arg;
	size_t n = json_array_size(list);

	if (!json_is_array(list) || n > VMS_MAX || ++w->replies > REPLIES_MAX)
		w->r = senseless(w->err, "the list of systems");
	for (size_t i = 0; w->r == 0 && i < n; i++)
		w->r = tell(w, json_array_get(list, i));
	return w->r != 0;
}

int systems_each(const struct providers *providers,
		 const struct cim_request *request, const char *uuid,
		 bool points, system_fn *fn, void *arg, struct err *err)
{
	struct walk w = {.providers = providers,
			 .outer = innermost,
			 .arena = request->arena,
			 .fn = fn,
			 .arg = arg,
			 .err = err};
	struct guid guid;
	char lower[GUID_TEXT_BYTES];
	json_t *parameters;
	int r;

	if (uuid && !guid_parse(uuid, &guid))
		return 0;
	if (uuid)
		guid_format(&guid, lower);
	parameters = json_pack("{s:s*, s:b}", "uuid", uuid ? lower : NULL,
			       "points", points);
	if (!parameters)
		return err_set(err, -CIM_ELIMITS, "no memory for a call");
	innermost = &w;
	r = backend_stream(&providers->backend, request, "Systems", parameters,
			   BACKEND_QUICK_MS, take_reply, &w, err);
	innermost = w.outer;
	if (w.r != 0)
		return MIN(w.r, 0);
	return r < 0 ? systems_failed(r, err) : 0;
}

const struct system_view *systems_current(const struct providers *providers,
					  const char *uuid)
{
	for (const struct walk *w = innermost; w; w = w->outer)
		if (w->now && w->providers == providers &&
		    strcmp(w->now->uuid, uuid) == 0)
			return w->now;
	return NULL;
}
