/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/job-view.h"

#include <string.h>

#include "common/bytes.h"
#include "providers/identity.h"
#include "providers/systems.h"

#define JOBS_MAX 65536u /* more make no sense */

static int nonsense(const char *what, struct err *err)
{
	return err_set(err, -RP_EWIRE, "refpointd tells a job with no %s",
		       what);
}

static const char *text_of(const json_t *job, const char *name)
{
	const char *text = json_string_value(json_object_get(job, name));

	return text ? text : "";
}

/* NAME among WORDS; -1. */
static int word_of(const json_t *job, const char *name,
		   const char *const *words, int n)
{
	const char *text = text_of(job, name);

	for (int i = 0; i < n; i++)
		if (strcmp(text, words[i]) == 0)
			return i;
	return -1;
}

static uint64_t number_of(const json_t *job, const char *name)
{
	json_int_t n = json_integer_value(json_object_get(job, name));

	return n > 0 ? (uint64_t)n : 0;
}

static int read_names(const json_t *job, struct job_view *v, struct err *err)
{
	const char *point = text_of(job, "point");
	const char *snapshot = text_of(job, "snapshot");

	if (!identity_guid(text_of(job, "id"), v->id))
		return nonsense("id", err);
	if (!identity_guid(text_of(job, "uuid"), v->uuid))
		return nonsense("uuid", err);
	if (*point && !identity_guid(point, v->point))
		return nonsense("point's id", err);
	if (*snapshot && !identity_guid(snapshot, v->snapshot))
		return nonsense("snapshot's id", err);
	return 0;
}

static int read_state(const json_t *job, struct job_view *v, struct err *err)
{
	static const char *const methods[] = {
	    [JOB_DESTROYS] = "Destroy",   [JOB_CREATES] = "Create",
	    [JOB_SNAPSHOTS] = "Snapshot", [JOB_CONVERTS] = "Convert",
	    [JOB_DROPS] = "Drop",         [JOB_DROPS_LOG] = "DropLog",
	    [JOB_IMPORTS] = "Import",     [JOB_EXPORTS_SYSTEM] = "Export"};
	static const char *const states[] = {[JOB_IS_RUNNING] = "running",
					     [JOB_IS_COMPLETED] = "completed",
					     [JOB_HAS_FAILED] = "failed",
					     [JOB_WAS_CANCELLED] = "cancelled"};
	const char *error = text_of(job, "error");
	int method = word_of(job, "method", methods, ARRAY_SIZE(methods));
	int state = word_of(job, "state", states, ARRAY_SIZE(states));

	if (method < 0)
		return nonsense("method", err);
	if (state < 0)
		return nonsense("state", err);
	v->work = (enum job_work)method;
	if (v->work == JOB_EXPORTS_SYSTEM && *v->point)
		v->work = JOB_EXPORTS_POINT;
	v->progress = (enum job_progress)state;
	v->percent = (unsigned)MIN(number_of(job, "percent"), 100);
	v->elapsed_ms = number_of(job, "elapsed_ms");
	v->cancellable = json_is_true(json_object_get(job, "cancellable"));
	if (v->progress == JOB_HAS_FAILED)
		v->error = err_from_name(error);
	else if (v->progress == JOB_WAS_CANCELLED)
		v->error = -RP_ECANCELLED;
	return 0;
}

bool job_is_of_create(const struct job_view *view)
{
	switch (view->work) {
	case JOB_DESTROYS:
	case JOB_DROPS_LOG:
	case JOB_IMPORTS:
	case JOB_EXPORTS_SYSTEM:
	case JOB_EXPORTS_POINT:
		return false;
	default:
		return true;
	}
}

int job_view_read(const json_t *job, struct job_view *ret_view, struct err *err)
{
	struct job_view v = {.vm = text_of(job, "vm"),
			     .owner = text_of(job, "owner"),
			     .message = text_of(job, "message"),
			     .begun = text_of(job, "begun"),
			     .changed = text_of(job, "changed")};
	int r = read_names(job, &v, err);

	if (r == 0)
		r = read_state(job, &v, err);
	if (r == 0)
		*ret_view = v;
	return r;
}

struct walk {
	struct exports *exports;
	job_view_fn *fn;
	void *arg;
	struct err *err;
	unsigned count;
	int r; /* what ended it */
};

static int tell(struct walk *w, const json_t *jobs)
{
	if (!json_is_array(jobs) ||
	    (w->count += (unsigned)json_array_size(jobs)) > JOBS_MAX)
		return systems_failed(err_set(w->err, -RP_EWIRE,
					      "refpointd tells no jobs"),
				      w->err);
	for (size_t i = 0; i < json_array_size(jobs); i++) {
		struct export_view export;
		struct job_view view;
		int r = job_view_read(json_array_get(jobs, i), &view, w->err);

		if (r < 0)
			return systems_failed(r, w->err);
		if (exports_find(w->exports, view.id, &export))
			view.export = &export;
		r = w->fn(w->arg, &view, w->err);
		if (r != 0)
			return r;
	}
	return 0;
}

/* 1 ends the call. */
static int take_reply(void *arg, json_t *parameters, bool continues)
{
	struct walk *w = arg;

	w->r = tell(w, json_object_get(parameters, "jobs"));
	return w->r != 0;
}

int job_views_each(const struct providers *providers,
		   const struct cim_request *request, const char *id,
		   job_view_fn *fn, void *arg, struct err *err)
{
	struct walk w = {
	    .exports = providers->exports, .fn = fn, .arg = arg, .err = err};
	json_t *parameters = json_object();
	int r;

	if (id)
		(void)json_object_set_new(parameters, "id", json_string(id));
	r = backend_stream(&providers->backend, request, "Jobs", parameters,
			   BACKEND_QUICK_MS, take_reply, &w, err);
	if (w.r != 0)
		return w.r;
	return r < 0 ? systems_failed(r, err) : 0;
}
