/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ExportSystemDefinition and ExportReferencePoint: what a snapshot or a point
 * holds becomes files below the export root.
 *
 * E1  Where nothing may be exported to, both are Not Supported; a directory
 *     elsewhere than below the root is Access Denied, whatever else is asked.
 * E2  What the export begins after is of the same system and is there, or the
 *     call is refused: never is all exported instead.
 * E3  Of a system only a snapshot for a backup can be exported
 *     (CopySnapshotConfiguration 3).  What settings leave open is as
 *     Msvm_SystemExportSettingData tells it.
 * E4  A log-based point is exported as logs as long as it has its own, and else
 *     as a point by change tracking is.  Of logs it is refpointd's to say
 *     whether a base will do, and which it is where none is named.
 * E5  Without its disks an export is what it says of itself; it has a job as
 *     any other, which clients wait for.
 */
#include <string.h>

#include "cim/status.h"
#include "common/bytes.h"
#include "providers/exports.h"
#include "providers/holders.h"
#include "providers/methods.h"

#define ONE_SNAPSHOT_FOR_BACKUP 3
#define BACKUP_INTENT_LAST      1

/* ---- disks ----------------------------------------------------------------
 */

/* What is asked of the disks of the source. */
struct choice {
	struct export_order *order;
	struct arena *arena;
	const char *uuid;             /* of the system, upper case */
	char holder[GUID_TEXT_BYTES]; /* the source's id, upper case */
	bool of_point;                /* or of a snapshot */
	bool named[DISKS_PER_VM_MAX]; /* by their indices */
	bool any, leave_out;          /* some were; and are not wanted */
	bool found;                   /* the source */
	bool none;                    /* no disk is wanted */
};

/* The InstanceIDs of NAME, an array of texts; false if one names no disk of the
 * system or of the source. */
static bool read_disks(const struct cim_instance *settings, const char *name,
		       struct choice *c)
{
	const struct cim_value *value = cim_instance_get(settings, name);

	for (uint32_t i = 0; !value->is_null && i < value->count; i++) {
		struct identity disk;

		if (!identity_of_setting(cim_items(value)[i].text, &disk) ||
		    disk.kind != IDENTITY_DISK ||
		    disk.index >= DISKS_PER_VM_MAX ||
		    (strcmp(disk.uuid, c->uuid) != 0 &&
		     strcmp(disk.uuid, c->holder) != 0))
			return false;
		c->named[disk.index] = true;
		c->any = true;
	}
	return true;
}

static bool is_wanted(const struct choice *c, unsigned index)
{
	if (!c->any || index >= DISKS_PER_VM_MAX)
		return !c->any || c->leave_out;
	return c->named[index] != c->leave_out;
}

static int choose(struct choice *c, const struct point_view *source,
		  struct err *err)
{
	struct export_order *o = c->order;

	c->found = true;
	for (uint32_t i = 0; !c->none && i < source->disk_count; i++) {
		const struct point_disk_view *disk = &source->disks[i];
		const char *id;

		if (!is_wanted(c, disk->index))
			continue;
		id = arena_strdup(c->arena, disk->id);
		if (!id)
			return arena_full(c->arena, err);
		o->disks[o->n] = id;
		o->indices[o->n++] = disk->index;
	}
	return 1;
}

/* Looks at the points, or at the snapshots. */
static int find_source(void *arg, const struct system_view *system,
		       struct err *err)
{
	struct choice *c = arg;
	const struct snapshot_view *s = holder_snapshot(system, c->holder);

	if (!c->of_point)
		return s ? choose(c, &s->as, err) : 0;
	for (uint32_t i = 0; i < system->point_count; i++)
		if (strcmp(system->points[i].id, c->holder) == 0)
			return choose(c, &system->points[i], err);
	return 0;
}

/* The names live in the request's arena, which a walk gives back: so it is
 * walked with one of its own. */
static int choose_disks(const struct method_call *call, struct choice *c,
			struct err *err)
{
	struct cim_request own = *call->request;
	int r;

	own.arena = arena_new(arena_left(call->request->arena));
	if (!own.arena)
		return arena_full(call->request->arena, err);
	c->arena = call->request->arena;
	r = systems_each(call->providers, &own, c->uuid,
			 SYSTEMS_POINTS | SYSTEMS_SNAPSHOTS, find_source, c,
			 err);
	arena_free(own.arena);
	if (r < 0)
		return r;
	return c->found ? 0
			: err_set(err, -CIM_ENOTFOUND,
				  "what is to be exported has gone");
}

/* ---- where and since when -------------------------------------------------
 */

/* What the path that TEXT is names, where we are asked; false if nothing of
 * ours. */
static bool read_path(const struct method_call *call, const char *text,
		      struct identity *ret_identity)
{
	const struct cim_path *path;

	return cim_path_parse(call->request->arena, text, &path, NULL) == 0 &&
	       (!path->ns ||
		cim_namespace_equal(path->ns, call->request->ns)) &&
	       identity_of_path(path, call->providers->host.name, ret_identity);
}

/* A point or a snapshot of the system of UUID, other than the source;
 * -CIM_ENOTFOUND. */
static int read_base(const struct method_call *call, const char *uuid,
		     const char *text, struct export_order *order,
		     struct err *err)
{
	struct method_snapshot snapshot;
	struct method_point point;
	struct identity base;
	int r = -CIM_ENOTFOUND;

	if (!text || !*text)
		return 0;
	if (!read_path(call, text, &base))
		return err_set(err, r, "the base is no point or snapshot");
	if (base.kind == IDENTITY_POINT) {
		memcpy(order->base, base.id, sizeof(order->base));
		if (strcmp(base.uuid, uuid) == 0)
			r = method_point_of(call, &base, &point, err);
	} else if (base.kind == IDENTITY_SETTINGS) {
		memcpy(order->base, base.uuid, sizeof(order->base));
		r = method_snapshot_of_id(call, base.uuid, &snapshot, err);
		if (r == 0 && strcmp(snapshot.uuid, uuid) != 0)
			r = -CIM_ENOTFOUND;
	}
	if (r == 0 && strcmp(order->base, order->source) == 0)
		return err_set(err, -CIM_ENOTFOUND,
			       "the base is what is to be exported");
	return r == -CIM_ENOTFOUND
		   ? err_set(err, r, "the system has no such base")
		   : r;
}

/* ExportDirectory without slashes at its end; NULL: the arena is full. */
static const char *directory_of(const struct method_call *call)
{
	const char *text = method_text(call, "ExportDirectory");
	size_t n = text ? strlen(text) : 0;

	while (n > 1 && text[n - 1] == '/')
		n--;
	return arena_printf(call->request->arena, "%.*s", (int)n,
			    text ? text : "");
}

/* E1. */
static uint32_t check_directory(const struct method_call *call,
				const char *directory)
{
	struct err err = {0};
	int r;

	if (!call->providers->exports)
		return METHOD_UNSUPPORTED;
	if (!directory)
		return METHOD_NO_MEMORY;
	r = exports_check(call->providers->exports, directory, &err);
	if (r < 0)
		method_note(call, &err);
	return method_result(r);
}

static uint32_t begin_result(int code)
{
	switch (-code) {
	case ENOENT:
	case ENOTDIR:
	case ENAMETOOLONG:
		return METHOD_PARAMETER;
	default:
		return method_result(code);
	}
}

static int begin(const struct method_call *call,
		 const struct export_order *order, uint32_t *ret_result,
		 struct err *err)
{
	json_t *job = NULL;
	int r = exports_begin(call->providers, call->request, order, &job, err);

	*ret_result = begin_result(r);
	if (r == 0) {
		*ret_result = METHOD_JOB;
		r = method_answer_job(call, job, err);
	}
	json_decref(job);
	if (r == -CIM_ELIMITS)
		return r;
	if (r < 0) {
		method_note(call, err);
		*ret_result = begin_result(r);
	}
	return 0;
}

/* ---- ExportReferencePoint -------------------------------------------------
 */

static int order_point(const struct method_call *call, const char *uuid,
		       struct export_order *order, struct err *err)
{
	const struct cim_instance *settings = NULL;
	struct choice choice = {.order = order, .uuid = uuid, .of_point = true};
	int r = 0;

	memcpy(choice.holder, order->source, sizeof(choice.holder));
	if (!method_instance(call, "ExportSettingData", &settings))
		return err_set(err, -CIM_ENOTFOUND, "ExportSettingData");
	if (settings)
		r = read_base(call, uuid,
			      cim_instance_text(settings, "BaseReferencePoint"),
			      order, err);
	if (r < 0)
		return r;
	if (settings && !read_disks(settings, "DisksToExport", &choice))
		return err_set(err, -CIM_ENOTFOUND, "DisksToExport");
	r = choose_disks(call, &choice, err);
	if (r == 0 && order->n == 0)
		r = err_set(err, -CIM_ENOTFOUND, "no disk of the point's");
	return r;
}

int method_export_point(const struct method_call *call, uint32_t *ret_result,
			struct err *err)
{
	struct export_order order = {.directory = directory_of(call)};
	struct method_point point;
	int r;

	*ret_result = check_directory(call, order.directory);
	if (*ret_result)
		return 0;
	r = method_find_point(call, "ReferencePoint", &point, err);
	if (r == 0) {
		order.vm = point.vm;
		order.logs = point.has_data;
		memcpy(order.source, point.id, sizeof(order.source));
		r = order_point(call, point.uuid, &order, err);
	}
	return r < 0 ? method_missing(call, r, method_result, METHOD_PARAMETER,
				      ret_result, err)
		     : begin(call, &order, ret_result, err);
}

/* ---- ExportSystemDefinition -----------------------------------------------
 */

static uint64_t number_in(const struct cim_instance *settings, const char *name,
			  uint64_t otherwise)
{
	return cim_number(cim_instance_get(settings, name), otherwise);
}

static bool is_true(const struct cim_instance *settings, const char *name,
		    bool otherwise)
{
	const struct cim_value *value = cim_instance_get(settings, name);

	return value->is_null ? otherwise : cim_true(value);
}

/* E3; 0 if it can be done. */
static uint32_t check_settings(const struct cim_instance *settings)
{
	if (!settings)
		return METHOD_UNSUPPORTED;
	if (number_in(settings, "BackupIntent", 0) > BACKUP_INTENT_LAST ||
	    number_in(settings, "CopySnapshotConfiguration", 0) >
		ONE_SNAPSHOT_FOR_BACKUP)
		return METHOD_PARAMETER;
	if (number_in(settings, "CopySnapshotConfiguration", 0) !=
		ONE_SNAPSHOT_FOR_BACKUP ||
	    is_true(settings, "ExportForLiveMigration", false))
		return METHOD_UNSUPPORTED;
	return 0;
}

/* The directory that is made: the one that is named, or one in it with the
 * system's NAME.  NULL: the arena is full. */
static const char *place_of(const struct method_call *call,
			    const struct cim_instance *settings,
			    const char *name)
{
	const char *directory = directory_of(call);

	if (!directory)
		return NULL;
	if (settings && !is_true(settings, "CreateVmExportSubdirectory", true))
		return directory;
	return arena_printf(call->request->arena, "%s/%s", directory, name);
}

/* The snapshot to export, which is one of the system's. */
static int find_snapshot(const struct method_call *call,
			 const struct cim_instance *settings, const char *uuid,
			 struct export_order *order, struct err *err)
{
	const char *text = cim_instance_text(settings, "SnapshotVirtualSystem");
	struct method_snapshot snapshot;
	struct identity own;
	int r;

	if (!text || !read_path(call, text, &own) ||
	    own.kind != IDENTITY_SETTINGS)
		return err_set(err, -CIM_ENOTFOUND, "no snapshot is meant");
	r = method_snapshot_of_id(call, own.uuid, &snapshot, err);
	if (r < 0)
		return r;
	if (strcmp(snapshot.uuid, uuid) != 0)
		return err_set(err, -CIM_ENOTFOUND,
			       "the snapshot is another system's");
	order->vm = snapshot.vm;
	memcpy(order->source, snapshot.id, sizeof(order->source));
	return 0;
}

static int order_system(const struct method_call *call,
			const struct cim_instance *settings, const char *uuid,
			struct export_order *order, struct err *err)
{
	const char *base =
	    cim_instance_text(settings, "DifferentialBackupBase");
	struct choice choice = {.order = order,
				.uuid = uuid,
				.leave_out = true,
				.none =
				    !is_true(settings, "CopyVmStorage", true)};
	int r = find_snapshot(call, settings, uuid, order, err);

	if (r == 0)
		r = read_base(call, uuid, base, order, err);
	if (r < 0)
		return r;
	memcpy(choice.holder, order->source, sizeof(choice.holder));
	if (!read_disks(settings, "ExcludedVirtualHardDisks", &choice))
		return err_set(err, -CIM_ENOTFOUND, "ExcludedVirtualHardDisks");
	order->directory = place_of(call, settings, order->vm);
	if (!order->directory)
		return arena_full(call->request->arena, err);
	r = choose_disks(call, &choice, err);
	if (r == 0 && order->n == 0 && !choice.none)
		r = err_set(err, -CIM_ENOTFOUND, "no disk is left");
	return r;
}

int method_export_system(const struct method_call *call, uint32_t *ret_result,
			 struct err *err)
{
	const struct cim_instance *settings = NULL;
	struct export_order order = {0};
	struct identity system;
	int r;

	*ret_result = METHOD_PARAMETER;
	if (!method_object(call, "ComputerSystem", &system) ||
	    system.kind != IDENTITY_SYSTEM ||
	    !method_instance(call, "ExportSettingData", &settings))
		return 0;
	*ret_result = check_directory(call, place_of(call, settings, "x"));
	if (*ret_result == 0)
		*ret_result = check_settings(settings);
	if (*ret_result)
		return 0;
	r = order_system(call, settings, system.uuid, &order, err);
	return r < 0 ? method_missing(call, r, method_result, METHOD_PARAMETER,
				      ret_result, err)
		     : begin(call, &order, ret_result, err);
}
