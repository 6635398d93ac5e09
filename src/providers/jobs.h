/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs as CIM's objects, and what they belong to. */
#ifndef PROVIDERS_JOBS_H
#define PROVIDERS_JOBS_H

#include "providers/build.h"
#include "providers/job-view.h"

/* Whether it is of POINT_JOB_CLASS, not of JOB_CLASS. */
bool job_is_of_points_class(const struct job_view *view);

/* Of the job's class; texts of V are not copied. */
struct build job_build(const struct cim_request *request,
		       const struct job_view *v, struct err *err);

/* What went wrong: ErrorCode, 0 if nothing did, and its text, which then is
 * NULL. */
uint32_t job_error_code(const struct job_view *v);
const char *job_error_text(const struct job_view *v);

/* The associations: of Msvm_ConcreteJob, and of exports of points, which are of
 * the superclasses. */
#define MSVM_AFFECTED "Msvm_AffectedJobElement"
#define MSVM_OWNING   "Msvm_OwningJobElement"
#define CIM_AFFECTED  "CIM_AffectedJobElement"
#define CIM_OWNING    "CIM_OwningJobElement"

/* cim_provider.enumerate of them. */
typedef int tell_fn(void *arg, const struct cim_request *request,
		    const struct wql_query *query,
		    const struct cim_path *object, cim_instance_fn *fn,
		    void *fn_arg, struct err *err);
tell_fn jobs_tell_affected, jobs_tell_owning;
tell_fn jobs_tell_affected_point, jobs_tell_owning_point;
/* cim_provider.get. */
typedef int get_fn(void *arg, const struct cim_request *request,
		   const struct cim_path *path,
		   const struct cim_instance **ret_instance, struct err *err);
get_fn jobs_get_affected, jobs_get_owning;
get_fn jobs_get_affected_point, jobs_get_owning_point;

#endif
