/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Jobs, as refpointd tells them (methods Jobs, CreateJob and its like,
 * CancelJob).
 *
 * V1  What refpointd says is held against the interface once, here.
 * V2  Nothing is kept: each question asks anew.
 */
#ifndef PROVIDERS_JOB_VIEW_H
#define PROVIDERS_JOB_VIEW_H

#include "common/guid.h"
#include "providers/exports.h"
#include "providers/providers.h"

enum job_progress {
	JOB_IS_RUNNING,
	JOB_IS_COMPLETED,
	JOB_HAS_FAILED,
	JOB_WAS_CANCELLED,
};

/* By refpointd's methods. */
enum job_work {
	JOB_DESTROYS,       /* a point */
	JOB_CREATES,        /* a point */
	JOB_SNAPSHOTS,      /* makes a snapshot */
	JOB_CONVERTS,       /* a snapshot into a point */
	JOB_DROPS,          /* a snapshot */
	JOB_DROPS_LOG,      /* of a point */
	JOB_IMPORTS,        /* points */
	JOB_EXPORTS_SYSTEM, /* a snapshot of it */
	JOB_EXPORTS_POINT,
};

struct job_view {
	char id[GUID_TEXT_BYTES];       /* upper case */
	char uuid[GUID_TEXT_BYTES];     /* of the system; upper case */
	char point[GUID_TEXT_BYTES];    /* upper case; "" */
	char snapshot[GUID_TEXT_BYTES]; /* upper case; "" */
	enum job_work work;
	enum job_progress progress;
	unsigned percent;
	bool cancellable;
	int error; /* -RP_E..., 0 if nothing went wrong */
	uint64_t elapsed_ms;
	const char *vm, *owner, *message; /* as long as the JSON lives */
	const char *begun, *changed;      /* times, as of Point */
	const struct export_view *export; /* NULL: nothing is known of it */
};

/* Whether its failures are numbers of CreateReferencePoint's set (methods.h,
 * D2): of those that are begun so. */
bool job_is_of_create(const struct job_view *view);

/* JOB as the interface has it; -RP_EWIRE. */
int job_view_read(const json_t *job, struct job_view *ret_view,
		  struct err *err);

/* What is told is valid until it returns; a non-zero result ends the walk and
 * is returned. */
typedef int job_view_fn(void *arg, const struct job_view *view,
			struct err *err);

/* Tells all jobs, the newest first, or the one of ID if that is not NULL.
 * The errors are those of systems_each(). */
int job_views_each(const struct providers *providers,
		   const struct cim_request *request, const char *id,
		   job_view_fn *fn, void *arg, struct err *err);

#endif
