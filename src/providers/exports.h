/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exports that clients had begun: each is a thread of ours, which makes a
 * directory, has a worker fill its files, and gives it its name.  The job is
 * refpointd's (ExportJob); what it does not know of it is kept here.
 *
 * X1  What has its name is complete (backup/opener.h).  An export that ends
 *     otherwise leaves nothing, also where this process is asked to end; only
 *     if it is killed, a DIRECTORY.partial-XXXXXX.  The job then has failed.
 * X2  A job completes when the directory has its name, and not before.
 * X3  Nothing is written or read but below the root (below.h).
 * X4  CIM_EXPORTS_MAX run at a time; a connection that is lost and a reload
 *     leave them alone.
 * X5  Of the last CIM_EXPORTS_KEPT is known where they went, as long as this
 *     process lives.
 */
#ifndef PROVIDERS_EXPORTS_H
#define PROVIDERS_EXPORTS_H

#include <jansson.h>

#include "providers/export-plan.h"
#include "providers/providers.h"

struct exports;

/* ROOT, an absolute path, need not be there. */
int exports_new(const char *root, struct exports **ret_exports,
		struct err *err);
/* Cancels all that run, and waits for their ends.  Accepts NULL. */
struct exports *exports_free(struct exports *exports);

/* What to export; copied. */
struct export_order {
	const char *vm;
	const char *directory; /* that is to be made */
	char source[GUID_TEXT_BYTES];
	char base[GUID_TEXT_BYTES]; /* or "" */
	bool logs;                  /* those from BASE to SOURCE, or disks */
	unsigned n;                 /* 0: only what an export says of itself */
	const char *disks[DISKS_PER_VM_MAX];
	unsigned indices[DISKS_PER_VM_MAX]; /* as clients count them */
};

/* Whether DIRECTORY may be made, as below_check(); -RP_ETIMEOUT, -RP_EINUSE: it
 * cannot be told now, as the file system hangs (aside.h). */
int exports_check(const struct exports *exports, const char *directory,
		  struct err *err);
/* What the file PATH below the root holds: as below_read(), and likewise. */
int exports_read(const struct exports *exports, const char *path, size_t max,
		 char **ret_text, struct err *err);
/* Begins it, in the name of REQUEST's caller, and waits until the job (of type
 * Job, the caller's) is there.  Refused, and nothing is left, if it is one too
 * many (-RP_EINUSE), the directory cannot be made or refpointd refuses it. */
int exports_begin(const struct providers *providers,
		  const struct cim_request *request,
		  const struct export_order *order, json_t **ret_job,
		  struct err *err);

/* Where the export of a job went. */
struct export_view {
	char directory[PATH_BYTES];
	unsigned n;
	unsigned indices[DISKS_PER_VM_MAX]; /* of the disks */
	struct export_plan plan;
};
/* JOB in upper case; EXPORTS may be NULL; false if it is not known. */
bool exports_find(struct exports *exports, const char *job,
		  struct export_view *ret_view);

#endif
