/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Jobs: work that a method started, and what became of it.
 *
 * J1  A client sees a job as running (4) or in a final state, never before.
 * J2  Whatever did not succeed has an ErrorCode other than 0, a number of the
 *     method that started it, and texts that are not NULL.
 * J3  An export of a point is of a class of its own, which Windows derives from
 *     CIM_ConcreteJob and not from Msvm_ConcreteJob.
 */
#include "providers/jobs.h"

#include <string.h>

#include "cim/status.h"
#include "common/bytes.h"
#include "common/limits.h"
#include "common/metadata.h"
#include "providers/build.h"
#include "providers/methods.h"

/* JobType, and its name, by what is done. */
static const struct {
	unsigned type;
	const char *name;
} kinds[] = {
    [JOB_DESTROYS] = {202, "Deleting Reference Point"},
    [JOB_CREATES] = {201, "Creating Reference Point"},
    [JOB_SNAPSHOTS] = {70, "Creating Snapshot"},
    [JOB_CONVERTS] = {200, "Converting Snapshot to Reference Point"},
    [JOB_DROPS] = {72, "Deleting Snapshot"},
    [JOB_DROPS_LOG] = {204, "Removing Data Associated with Reference Point"},
    [JOB_IMPORTS] = {209, "Importing Reference Point Metadata"},
    [JOB_EXPORTS_SYSTEM] = {62, "Exporting Virtual System"},
    [JOB_EXPORTS_POINT] = {203, "Exporting Reference Point"},
};

struct words {
	unsigned state, status; /* JobState, OperationalStatus */
	const char *status_text, *job_status;
};

static const struct words words[] = {
    [JOB_IS_RUNNING] = {4, 2, "OK", "Running"},
    [JOB_IS_COMPLETED] = {7, 2, "OK", "Completed"},
    [JOB_HAS_FAILED] = {10, 6, "Error", "Failed"},
    [JOB_WAS_CANCELLED] = {8, 10, "Stopped", "Terminated"},
};

uint32_t job_error_code(const struct job_view *v)
{
	if (v->error == 0)
		return 0;
	if (!job_is_of_create(v))
		return method_result(v->error);
	/* What is not a timeout failed: a job has begun, so that nothing was
	 * refused. */
	return err_result(v->error) == 3 ? 3 : 2;
}

const char *job_error_text(const struct job_view *v)
{
	if (v->error == 0)
		return NULL;
	if (*v->message)
		return v->message;
	return v->progress == JOB_WAS_CANCELLED ? "the job was terminated"
						: err_name(v->error);
}

static void put_interval(struct build *b, const char *name, uint64_t ms)
{
	struct cim_instant interval = {.interval = true,
				       .us = (int64_t)(ms * 1000)};
	char *text = arena_alloc(b->request->arena, CIM_DATETIME_BYTES);

	if (text)
		build_text(b, name, cim_datetime_format(interval, text));
	else if (b->r == 0)
		b->r = arena_full(b->request->arena, b->err);
}

static void put_times(struct build *b, const struct job_view *v)
{
	build_time(b, "TimeSubmitted", v->begun);
	build_time(b, "StartTime", v->begun);
	build_time(b, "TimeOfLastStateChange", v->changed);
	put_interval(b, "ElapsedTime", v->elapsed_ms);
}

static void put_failure(struct build *b, const struct job_view *v)
{
	const char *text = job_error_text(v);

	build_number(b, "ErrorCode", job_error_code(v));
	build_text(b, "ErrorDescription", text);
	build_text(b, "ErrorSummaryDescription", text);
}

static void put_state(struct build *b, const struct job_view *v)
{
	const struct words *w = &words[v->progress];

	build_number(b, "JobState", w->state);
	/* one that could not be ended completes, and says so */
	if (v->progress == JOB_IS_COMPLETED && *v->message)
		build_text(b, "JobStatus", v->message);
	else
		build_text(b, "JobStatus", w->job_status);
	build_list(b, "OperationalStatus", w->status);
	build_texts(b, "StatusDescriptions", &w->status_text, 1);
	build_number(b, "HealthState", 5);
	build_number(b, "PercentComplete",
		     v->progress == JOB_IS_RUNNING ? MIN(v->percent, 99) : 100);
	build_true(b, "Cancellable", v->cancellable);
}

bool job_is_of_points_class(const struct job_view *view)
{
	return view->work == JOB_EXPORTS_POINT;
}

/* DIRECTORY/NAME, in the arena. */
static const char *file_path(struct build *b, const struct export_view *export,
			     const char *name)
{
	const char *path =
	    arena_printf(b->request->arena, "%s/%s", export->directory, name);

	if (!path && b->r == 0)
		b->r = arena_full(b->request->arena, b->err);
	return path;
}

static void put_disks(struct build *b, const struct job_view *v)
{
	struct identity disk = {.kind = IDENTITY_DISK};
	const struct export_view *export = v->export;
	const char *disks[DISKS_PER_VM_MAX];

	memcpy(disk.uuid, v->uuid, sizeof(disk.uuid));
	for (unsigned i = 0; b->r == 0 && i < export->n; i++) {
		disk.index = export->indices[i];
		disks[i] = identity_instance_id(b->request->arena, &disk);
		if (!disks[i])
			b->r = arena_full(b->request->arena, b->err);
	}
	build_texts(b, "ExportedDisks", disks, export->n);
}

/* Those with the data: of a log's two files the first. */
static void put_files(struct build *b, const struct export_view *export)
{
	const char *files[EXPORT_FILES_MAX];
	unsigned n = 0;

	for (unsigned i = 0; b->r == 0 && i < export->plan.n;
	     i += export->plan.logs ? 2 : 1)
		files[n++] = file_path(b, export, export->plan.names[i]);
	build_texts(b, "ExportedLogFilePaths", files, n);
}

/* What is there once it is complete. */
static void put_exported(struct build *b, const struct job_view *v)
{
	const struct export_view *export = v->export;

	put_disks(b, v);
	put_files(b, export);
	build_text(b, "ExportedConfigFilePath",
		   file_path(b, export, EXPORT_METADATA_NAME));
	if (export->plan.logs)
		build_text(b, "ExportedRuntimeFilePath",
			   file_path(b, export, METADATA_STATE_NAME));
}

static void put_export(struct build *b, const struct job_view *v)
{
	build_text(b, "VirtualMachineId", v->uuid);
	build_text(b, "ReferencePointId", v->point);
	if (!v->export)
		return;
	build_text(b, "ExportDirectory",
		   arena_strdup(b->request->arena, v->export->directory));
	build_text(b, "BaseReferencePointId",
		   arena_strdup(b->request->arena, v->export->plan.base));
	if (v->progress == JOB_IS_COMPLETED)
		put_exported(b, v);
}

struct build job_build(const struct cim_request *request,
		       const struct job_view *v, struct err *err)
{
	bool of_point = job_is_of_points_class(v);
	struct build b =
	    build_new(request, of_point ? POINT_JOB_CLASS : JOB_CLASS, err);
	const char *name = kinds[v->work].name;

	build_text(&b, "InstanceID", v->id);
	build_text(&b, "Name", name);
	build_text(&b, "Caption", name);
	build_text(&b, "ElementName", name);
	build_text(&b, "Description", v->vm);
	build_text(&b, "Owner", v->owner);
	if (of_point)
		put_export(&b, v);
	else
		build_number(&b, "JobType", kinds[v->work].type);
	build_number(&b, "Priority", 0);
	build_number(&b, "RecoveryAction", 2);
	build_true(&b, "DeleteOnCompletion", true);
	put_state(&b, v);
	put_times(&b, v);
	put_failure(&b, v);
	return b;
}

/* ---- the providers ------------------------------------------------------- */

struct telling {
	const struct cim_request *request;
	bool of_points; /* exports of points, or all others */
	cim_instance_fn *fn;
	void *arg;
};

static int tell_one(void *arg, const struct job_view *view, struct err *err)
{
	const struct telling *t = arg;
	struct build b;

	if (job_is_of_points_class(view) != t->of_points)
		return 0;
	b = job_build(t->request, view, err);
	return build_tell(&b, t->fn, t->arg);
}

static int tell_jobs(bool of_points, const struct providers *providers,
		     const struct cim_request *request,
		     const struct wql_query *query, cim_instance_fn *fn,
		     void *fn_arg, struct err *err)
{
	struct telling telling = {request, of_points, fn, fn_arg};
	const char *pinned = query ? wql_pinned(query, "InstanceID") : NULL;
	char id[GUID_TEXT_BYTES];

	if (pinned && !identity_guid(pinned, id))
		return 0;
	return job_views_each(providers, request, pinned ? id : NULL, tell_one,
			      &telling, err);
}

struct getting {
	struct arena *arena;
	const struct cim_instance *instance;
};

static int keep(void *arg, const struct cim_instance *instance, struct err *err)
{
	struct getting *getting = arg;

	return cim_instance_copy(getting->arena, instance, &getting->instance,
				 err);
}

/* What build_tell() gives back is what KEEP copies to: so not that. */
static int keep_one(void *arg, const struct job_view *view, struct err *err)
{
	const struct telling *t = arg;
	struct build b;

	if (job_is_of_points_class(view) != t->of_points)
		return 0;
	b = job_build(t->request, view, err);
	return b.r < 0 ? b.r : keep(t->arg, b.instance, err);
}

static int get_job(bool of_points, const struct providers *providers,
		   const struct cim_request *request,
		   const struct cim_path *path,
		   const struct cim_instance **ret_instance, struct err *err)
{
	struct getting getting = {.arena = request->arena};
	struct telling telling = {.request = request,
				  .of_points = of_points,
				  .arg = &getting};
	char id[GUID_TEXT_BYTES];
	int r;

	if (identity_guid(cim_path_text(path, "InstanceID"), id)) {
		r = job_views_each(providers, request, id, keep_one, &telling,
				   err);
		if (r < 0)
			return r;
	}
	if (!getting.instance)
		return err_set(err, -CIM_ENOTFOUND, "there is no such job");
	*ret_instance = getting.instance;
	return 0;
}

#define CLASS(name, of_points)                                                 \
	static int tell_##name(void *arg, const struct cim_request *request,   \
			       const struct wql_query *query,                  \
			       const struct cim_path *object,                  \
			       cim_instance_fn *fn, void *fn_arg,              \
			       struct err *err)                                \
	{                                                                      \
		return tell_jobs(of_points, arg, request, query, fn, fn_arg,   \
				 err);                                         \
	}                                                                      \
	static int get_##name(void *arg, const struct cim_request *request,    \
			      const struct cim_path *path,                     \
			      const struct cim_instance **ret_instance,        \
			      struct err *err)                                 \
	{                                                                      \
		return get_job(of_points, arg, request, path, ret_instance,    \
			       err);                                           \
	}

CLASS(one_job, false)
CLASS(point_job, true)

static const char *const reader_methods[] = {"GetError", "GetErrorEx", NULL};

const struct cim_provider job_providers[JOB_PROVIDERS] = {
    {.class_name = JOB_CLASS,
     .reader_methods = reader_methods,
     .enumerate = tell_one_job,
     .get = get_one_job,
     .invoke = job_invoke},
    {.class_name = POINT_JOB_CLASS,
     .reader_methods = reader_methods,
     .enumerate = tell_point_job,
     .get = get_point_job,
     .invoke = job_invoke},
    {.class_name = MSVM_AFFECTED,
     .enumerate = jobs_tell_affected,
     .get = jobs_get_affected},
    {.class_name = MSVM_OWNING,
     .enumerate = jobs_tell_owning,
     .get = jobs_get_owning},
    {.class_name = CIM_AFFECTED,
     .enumerate = jobs_tell_affected_point,
     .get = jobs_get_affected_point},
    {.class_name = CIM_OWNING,
     .enumerate = jobs_tell_owning_point,
     .get = jobs_get_owning_point},
};
