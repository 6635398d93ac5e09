/* SPDX-License-Identifier: Apache-2.0 */
/* Reference points. */
#include <string.h>

#include "cim/status.h"
#include "providers/objects.h"
#include "providers/virtual.h"

#define TYPE_LOG          1
#define TYPE_RCT          2
#define LEVEL_APPLICATION 1
#define LEVEL_CRASH       2

enum {
	INSTANCE_ID,
	SYSTEM,
	ELEMENT_NAME,
	DESCRIPTION,
	TYPE,
	LEVEL,
	HAS_DATA,
	DISKS,
	TRACKING,
};

static const char *const slots[] = {
    [INSTANCE_ID] = "InstanceID",
    [SYSTEM] = "VirtualSystemIdentifier",
    [ELEMENT_NAME] = "ElementName",
    [DESCRIPTION] = "Description",
    [TYPE] = "ReferencePointType",
    [LEVEL] = "ConsistencyLevel",
    [HAS_DATA] = "HasAssociatedData",
    [DISKS] = "VirtualDiskIdentifiers",
    [TRACKING] = "ResilientChangeTrackingIdentifiers",
    NULL,
};

static void prepare(struct telling *t)
{
	build_text(&t->b, "Caption", "Reference Point");
}

static const char *disk_name(struct telling *t,
			     const struct system_view *system, unsigned index)
{
	struct identity disk = {.kind = IDENTITY_DISK, .index = index};

	memcpy(disk.uuid, system->uuid, sizeof(disk.uuid));
	return identity_instance_id(t->request->arena, &disk);
}

/* The names of the system's disks, once for all of its points. */
static const char **disk_names(struct telling *t,
			       const struct system_view *system)
{
	const char **names =
	    arena_array(t->request->arena, system->disk_count, sizeof(*names));

	for (uint32_t i = 0; names && i < system->disk_count; i++) {
		names[i] = disk_name(t, system, i);
		if (!names[i])
			return NULL;
	}
	return names;
}

/* The two lists, side by side; of a log-based point the first alone, as is
 * published. */
static int set_disks(struct telling *t, const struct system_view *system,
		     const char *const *names, const struct point_view *point)
{
	uint32_t n = point->disk_count;
	union cim_scalar *ids, *tracking;

	ids = arena_array(t->request->arena, n, sizeof(*ids));
	tracking = arena_array(t->request->arena, n, sizeof(*tracking));
	if (!ids || !tracking)
		return arena_full(t->request->arena, t->b.err);
	for (uint32_t i = 0; i < n; i++) {
		unsigned index = point->disks[i].index;

		ids[i].text = index < system->disk_count
				  ? names[index]
				  : disk_name(t, system, index);
		tracking[i].text = point->disks[i].tracking_id;
		if (!ids[i].text)
			return arena_full(t->request->arena, t->b.err);
	}
	build_at(&t->b, t->slots[DISKS], cim_array(CIM_STRING, ids, n));
	build_at(&t->b, t->slots[TRACKING],
		 point->log ? cim_null(CIM_STRING, true)
			    : cim_array(CIM_STRING, tracking, n));
	return 0;
}

/* What no property is there for: when it was made, why it has no log, and why
 * what changed since it is not known. */
static const char *describe(struct telling *t, const struct point_view *point)
{
	static const char made[] = "Made ";
	size_t n = strlen(point->created);
	char *text;

	if (point->log_reason || point->invalid)
		return arena_printf(t->request->arena, "Made %s%s%s%s%s",
				    point->created,
				    point->log_reason ? "; its log is gone: "
						      : "",
				    point->log_reason ? point->log_reason : "",
				    point->invalid ? "; it is invalid: " : "",
				    point->invalid ? point->invalid : "");
	text = arena_alloc(t->request->arena, sizeof(made) + n);
	if (!text)
		return NULL;
	memcpy(text, made, sizeof(made) - 1);
	memcpy(text + sizeof(made) - 1, point->created, n);
	return text;
}

static int tell_point(struct telling *t, const struct system_view *system,
		      const char *const *names, const struct point_view *point)
{
	const char *text = describe(t, point);
	int r = set_disks(t, system, names, point);

	if (r < 0 || !text)
		return arena_full(t->request->arena, t->b.err);
	build_at(&t->b, t->slots[INSTANCE_ID], cim_string(point->id));
	build_at(&t->b, t->slots[SYSTEM], cim_string(system->uuid));
	build_at(&t->b, t->slots[ELEMENT_NAME],
		 cim_string(*point->label ? point->label : NULL));
	build_at(&t->b, t->slots[DESCRIPTION], cim_string(text));
	build_at(&t->b, t->slots[TYPE],
		 cim_uint(CIM_UINT16, point->log ? TYPE_LOG : TYPE_RCT));
	build_at(&t->b, t->slots[LEVEL],
		 cim_uint(CIM_UINT16, point->application ? LEVEL_APPLICATION
							 : LEVEL_CRASH));
	build_at(&t->b, t->slots[HAS_DATA], cim_boolean(point->has_data));
	return build_tell_again(&t->b, t->fn, t->fn_arg);
}

static int tell(struct telling *t, const struct system_view *system)
{
	const char **names = disk_names(t, system);
	int r = 0;

	if (!names)
		return arena_full(t->request->arena, t->b.err);
	for (uint32_t i = 0; r >= 0 && i < system->point_count; i++) {
		struct arena_mark mark = arena_mark(t->request->arena);

		if (wants_point(&t->wanted, system->points[i].id))
			r = tell_point(t, system, names, &system->points[i]);
		arena_rewind(t->request->arena, mark);
	}
	return r;
}

static const struct object_class class = {.name = POINT_CLASS,
					  .kind = IDENTITY_POINT,
					  .with = SYSTEMS_POINTS,
					  .slots = slots,
					  .prepare = prepare,
					  .tell = tell};

int points_enumerate(ENUMERATE_PARAMETERS)
{
	return objects_enumerate(&class, arg, request, query, fn, fn_arg, err);
}

int points_get(GET_PARAMETERS)
{
	return objects_get(&class, arg, request, path, ret_instance, err);
}

/* ---- removing one -------------------------------------------------------- */

struct named {
	const struct identity *point;
	char vm[VM_NAME_BYTES];
};

/* What refpointd calls the system, if it has the point. */
static int find_name(void *arg, const struct system_view *system,
		     struct err *err)
{
	struct named *named = arg;

	for (uint32_t i = 0; i < system->point_count; i++) {
		if (strcmp(system->points[i].id, named->point->id) != 0)
			continue;
		if (strlen(system->vm) >= sizeof(named->vm))
			return err_set(err, -CIM_EFAILED, "a name is too long");
		strcpy(named->vm, system->vm);
		return 1;
	}
	return 0;
}

int points_delete(void *arg, const struct cim_request *request,
		  const struct cim_path *path, struct err *err)
{
	const struct providers *p = arg;
	struct named named = {0};
	struct identity own;
	json_t *reply;
	int r;

	if (!identity_of_path(path, p->host.name, &own) ||
	    own.kind != IDENTITY_POINT)
		return err_set(err, -CIM_ENOTFOUND,
			       "there is no such reference point");
	named.point = &own;
	r = systems_each(p, request, own.uuid, SYSTEMS_POINTS, find_name,
			 &named, err);
	if (r < 0)
		return r;
	if (!*named.vm)
		return err_set(err, -CIM_ENOTFOUND,
			       "there is no such reference point");
	r = backend_call(&p->backend, request, named.vm, "Destroy",
			 json_pack("{s:s, s:s}", "vm", named.vm, "point",
				   own.id),
			 BACKEND_WORK_MS, &reply, err);
	if (r == 0)
		json_decref(reply);
	return r;
}
