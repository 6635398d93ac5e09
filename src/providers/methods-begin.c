/* SPDX-License-Identifier: Apache-2.0 */
/* Methods that begin a job of refpointd's. */
#include <string.h>

#include "cim/status.h"
#include "providers/jobs.h"
#include "providers/methods.h"

/* Of ConsistencyLevel. */
enum {
	LEVEL_APPLICATION = 1,
	LEVEL_CRASH = 2,
};

uint32_t method_create_result(int code)
{
	if (code == -CIM_ETIMEDOUT)
		code = -RP_ETIMEOUT;
	return (uint32_t)err_result(code);
}

/* ---- a job's answer ------------------------------------------------------ */

/* What the job made, if it is there. */
static int answer_made(const struct method_call *call,
		       const struct job_view *view, struct err *err)
{
	struct identity identity = {.kind = IDENTITY_POINT};

	if (view->progress != JOB_IS_COMPLETED)
		return 0;
	if (view->work == JOB_SNAPSHOTS && *view->snapshot) {
		identity.kind = IDENTITY_SETTINGS;
		memcpy(identity.uuid, view->snapshot, sizeof(identity.uuid));
		return method_answer(call, "ResultingSnapshot", &identity, err);
	}
	if ((view->work != JOB_CREATES && view->work != JOB_CONVERTS) ||
	    !*view->point)
		return 0;
	memcpy(identity.id, view->point, sizeof(identity.id));
	memcpy(identity.uuid, view->uuid, sizeof(identity.uuid));
	return method_answer(call, "ResultingReferencePoint", &identity, err);
}

int method_answer_job(const struct method_call *call, const json_t *job,
		      struct err *err)
{
	struct identity identity = {.kind = IDENTITY_JOB};
	struct job_view view;
	int r = job_view_read(job, &view, err);

	if (r < 0)
		return r;
	if (job_is_of_points_class(&view))
		identity.kind = IDENTITY_POINT_JOB;
	memcpy(identity.id, view.id, sizeof(identity.id));
	r = method_answer(call, "Job", &identity, err);
	return r < 0 ? r : answer_made(call, &view, err);
}

int method_begin_job(const struct method_call *call, const char *method,
		     json_t *parameters, uint32_t (*result_of)(int code),
		     uint32_t *ret_result, struct err *err)
{
	json_t *reply = NULL;
	int r = backend_call(&call->providers->backend, call->request, NULL,
			     method, parameters, BACKEND_WORK_MS, &reply, err);

	if (r == 0)
		r = method_answer_job(call, json_object_get(reply, "job"), err);
	json_decref(reply);
	if (r == -CIM_ELIMITS)
		return r;
	if (r < 0)
		method_note(call, err);
	*ret_result = r == 0 ? METHOD_JOB : result_of(r);
	return 0;
}

int method_missing(const struct method_call *call, int r,
		   uint32_t (*result_of)(int code), uint32_t parameter,
		   uint32_t *ret_result, const struct err *err)
{
	if (r == -CIM_ELIMITS)
		return r;
	if (r != -CIM_ENOTFOUND)
		method_note(call, err);
	*ret_result = r == -CIM_ENOTFOUND ? parameter : result_of(r);
	return 0;
}

/* ---- how a point or a snapshot is made ----------------------------------- */

bool method_how(const struct method_call *call, const char *name,
		const char **ret_consistency, const char **ret_label)
{
	const struct cim_instance *settings = NULL;
	const char *label = NULL;
	uint64_t level = 0;

	if (!method_instance(call, name, &settings))
		return false;
	if (settings) {
		level =
		    cim_number(cim_instance_get(settings, "ConsistencyLevel"),
			       0);
		label = cim_instance_text(settings, "ElementName");
	}
	if (level > LEVEL_CRASH)
		return false;
	*ret_consistency = level == LEVEL_APPLICATION ? "application" : "crash";
	*ret_label = label ? label : "";
	return true;
}
