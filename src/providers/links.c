/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What belongs to what.
 *
 * L1  All but one of these associations lead from a virtual system, or from its
 *     settings or those of one of its snapshots, to what it has.  The host's
 *     lead to the services.
 */
#include <string.h>

#include "cim/status.h"
#include "providers/holders.h"
#include "providers/objects.h"
#include "providers/virtual.h"

/* Whose settings or disks. */
enum whose {
	OWN,       /* the virtual system's */
	SNAPSHOTS, /* those of its snapshots */
	NEWEST,    /* of the newest one of these */
	ALL,       /* all of them */
};

struct link {
	const char *class_name;
	const char *near_name, *far_name; /* the references */
	enum identity_kind near, far;     /* what they name */
	enum whose whose;
};

struct linking {
	const struct link *link;
	const struct providers *providers;
	const struct cim_request *request;
	struct wanted wanted;
	struct build b;
	uint32_t near_slot, far_slot;
	cim_instance_fn *fn;
	void *fn_arg;
};

static int set_end(struct linking *l, uint32_t slot, const struct identity *end)
{
	const struct cim_path *path = NULL;
	int r =
	    identity_path(l->request->arena, end, l->providers->host.name,
			  l->request->host, l->request->ns, &path, l->b.err);

	if (r == 0)
		build_at(&l->b, slot, cim_reference(path));
	return r;
}

static int tell_far(struct linking *l, const struct identity *far)
{
	struct arena_mark mark = arena_mark(l->request->arena);
	int r = set_end(l, l->far_slot, far);

	if (r == 0)
		r = build_tell_again(&l->b, l->fn, l->fn_arg);
	arena_rewind(l->request->arena, mark);
	return r;
}

static int tell_points(struct linking *l, const struct system_view *system,
		       struct identity *far)
{
	int r = 0;

	for (uint32_t i = 0; r >= 0 && i < system->point_count; i++) {
		memcpy(far->id, system->points[i].id, sizeof(far->id));
		if (wants_point(&l->wanted, far->id))
			r = tell_far(l, far);
	}
	return r;
}

static int tell_disk(struct linking *l, struct identity *far, unsigned index)
{
	far->index = index;
	return wants_index(&l->wanted, index) ? tell_far(l, far) : 0;
}

/* The settings' own disks: of SNAPSHOT, or NULL. */
static int tell_disks(struct linking *l, const struct system_view *system,
		      const struct snapshot_view *snapshot,
		      struct identity *far)
{
	uint32_t n = snapshot ? snapshot->as.disk_count : system->disk_count;
	struct identity near = *far;
	int r;

	near.kind = IDENTITY_SETTINGS;
	r = set_end(l, l->near_slot, &near);
	for (uint32_t i = 0; r >= 0 && i < n; i++)
		r = tell_disk(l, far,
			      snapshot ? snapshot->as.disks[i].index : i);
	return r;
}

/* Of SNAPSHOT, or of the system's own for NULL: its disks, or its settings. */
static int tell_holder(struct linking *l, const struct system_view *system,
		       const struct snapshot_view *snapshot)
{
	const char *id = snapshot ? snapshot->as.id : system->uuid;
	struct identity far = {.kind = l->link->far};

	if (!wants_holder(&l->wanted, id))
		return 0;
	memcpy(far.uuid, id, sizeof(far.uuid));
	return far.kind == IDENTITY_DISK ? tell_disks(l, system, snapshot, &far)
					 : tell_far(l, &far);
}

static int tell_holders(struct linking *l, const struct system_view *system)
{
	enum whose whose = l->link->whose;
	uint32_t n = system->snapshot_count;
	int r = 0;

	if (whose == OWN || whose == ALL)
		r = tell_holder(l, system, NULL);
	for (uint32_t i = 0; whose != OWN && r >= 0 && i < n; i++)
		if (whose != NEWEST || i + 1 == n)
			r = tell_holder(l, system, &system->snapshots[i]);
	return r;
}

static int tell_system(void *arg, const struct system_view *system,
		       struct err *err)
{
	struct linking *l = arg;
	struct identity near = {.kind = l->link->near};
	struct identity far = {.kind = l->link->far};
	int r;

	memcpy(near.uuid, system->uuid, sizeof(near.uuid));
	memcpy(far.uuid, system->uuid, sizeof(far.uuid));
	r = set_end(l, l->near_slot, &near);
	if (r < 0)
		return r;
	if (far.kind == IDENTITY_POINT)
		return tell_points(l, system, &far);
	if (far.kind == IDENTITY_EXPORT)
		return tell_far(l, &far);
	return system->again ? 0 : tell_holders(l, system);
}

static int tell_services(struct linking *l)
{
	struct identity near = {.kind = IDENTITY_HOST};
	struct identity far = {.kind = IDENTITY_SERVICE};
	int r = set_end(l, l->near_slot, &near);

	for (; r >= 0 && far.index < IDENTITY_SERVICES; far.index++)
		if (wants_index(&l->wanted, far.index))
			r = tell_far(l, &far);
	return r;
}

static int tell_all(struct linking *l, struct err *err)
{
	const char *uuid = *l->wanted.uuid ? l->wanted.uuid : NULL;
	unsigned with = l->link->whose == OWN ? 0 : SYSTEMS_SNAPSHOTS;

	if (l->b.r < 0)
		return l->b.r;
	if (l->link->near == IDENTITY_HOST)
		return tell_services(l);
	if (*l->wanted.holder && !uuid)
		return holder_tell(l->providers, l->request, l->wanted.holder,
				   tell_system, l, err);
	if (l->link->far == IDENTITY_POINT)
		with = SYSTEMS_POINTS;
	return systems_each(l->providers, l->request, uuid, with, tell_system,
			    l, err);
}

static int tell_wanted(const struct link *link, const struct providers *p,
		       const struct cim_request *request,
		       const struct wanted *wanted, cim_instance_fn *fn,
		       void *fn_arg, struct err *err)
{
	struct linking l = {.link = link,
			    .providers = p,
			    .request = request,
			    .wanted = *wanted,
			    .fn = fn,
			    .fn_arg = fn_arg};
	int r;

	l.b = build_new(request, link->class_name, err);
	l.near_slot = build_slot(&l.b, link->near_name);
	l.far_slot = build_slot(&l.b, link->far_name);
	r = tell_all(&l, err);
	arena_rewind(request->arena, l.b.mark);
	return r;
}

static int enumerate(const struct link *link, const struct providers *p,
		     const struct cim_request *request,
		     const struct cim_path *object, cim_instance_fn *fn,
		     void *fn_arg, struct err *err)
{
	struct wanted wanted = {0};
	struct identity own;

	if (object) {
		if (!identity_of_path(object, p->host.name, &own) ||
		    (own.kind != link->near && own.kind != link->far))
			return 0;
		wanted = wanted_by_identity(&own);
	}
	return tell_wanted(link, p, request, &wanted, fn, fn_arg, err);
}

/* ---- one of them ----------------------------------------------------------
 */

struct getting {
	const struct link *link;
	const struct providers *providers;
	struct wanted wanted;
};

static int tell_one(void *arg, const struct cim_request *request,
		    cim_instance_fn *fn, void *fn_arg, struct err *err)
{
	const struct getting *g = arg;

	return tell_wanted(g->link, g->providers, request, &g->wanted, fn,
			   fn_arg, err);
}

static bool read_end(const struct cim_path *path, const char *name,
		     const char *host_name, enum identity_kind kind,
		     struct identity *end)
{
	const struct cim_key *key = cim_path_key(path, name);

	return key && key->kind == CIM_KEY_REFERENCE &&
	       identity_of_path(key->ref, host_name, end) && end->kind == kind;
}

/* As far as their ids tell: settings of a snapshot have another than its
 * system. */
static bool may_belong(const struct identity *near, const struct identity *far)
{
	return strcmp(near->uuid, far->uuid) == 0 ||
	       (near->kind == IDENTITY_SYSTEM &&
		far->kind == IDENTITY_SETTINGS);
}

static int get(const struct link *link, const struct providers *p,
	       const struct cim_request *request, const struct cim_path *path,
	       const struct cim_instance **ret_instance, struct err *err)
{
	struct getting getting = {.link = link, .providers = p};
	struct identity near, far;

	if (!read_end(path, link->near_name, p->host.name, link->near, &near) ||
	    !read_end(path, link->far_name, p->host.name, link->far, &far) ||
	    !may_belong(&near, &far))
		return err_set(err, -CIM_ENOTFOUND, "there is no such %s",
			       link->class_name);
	getting.wanted = wanted_by_identity(&far);
	if (near.kind == IDENTITY_SYSTEM)
		memcpy(getting.wanted.uuid, near.uuid, sizeof(near.uuid));
	return objects_first(request, tell_one, &getting, ret_instance, err);
}

/* ---- the classes -----------------------------------------------------------
 */

#define LINK(name, ...)                                                        \
	static const struct link name = {__VA_ARGS__};                         \
	int name##_enumerate(ENUMERATE_PARAMETERS)                             \
	{                                                                      \
		return enumerate(&name, arg, request, object, fn, fn_arg,      \
				 err);                                         \
	}                                                                      \
	int name##_get(GET_PARAMETERS)                                         \
	{                                                                      \
		return get(&name, arg, request, path, ret_instance, err);      \
	}

LINK(point_of_system, "Msvm_ReferencePointOfVirtualSystem", "Antecedent",
     "Dependent", IDENTITY_SYSTEM, IDENTITY_POINT)
LINK(settings_of_system, "Msvm_SettingsDefineState", "ManagedElement",
     "SettingData", IDENTITY_SYSTEM, IDENTITY_SETTINGS)
LINK(disk_of_settings, "Msvm_VirtualSystemSettingDataComponent",
     "GroupComponent", "PartComponent", IDENTITY_SETTINGS, IDENTITY_DISK, ALL)
LINK(snapshot_of_system, "Msvm_SnapshotOfVirtualSystem", "Antecedent",
     "Dependent", IDENTITY_SYSTEM, IDENTITY_SETTINGS, SNAPSHOTS)
LINK(newest_of_system, "Msvm_MostCurrentSnapshotInBranch", "Antecedent",
     "Dependent", IDENTITY_SYSTEM, IDENTITY_SETTINGS, NEWEST)
LINK(export_of_system, "Msvm_SystemExportSettingData", "ManagedElement",
     "SettingData", IDENTITY_SYSTEM, IDENTITY_EXPORT)
LINK(service_of_host, "Msvm_HostedService", "Antecedent", "Dependent",
     IDENTITY_HOST, IDENTITY_SERVICE)
