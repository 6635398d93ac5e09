/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which files an export has: those of disks are known from what is asked for;
 * which logs there are refpointd is asked first.
 *
 * E1  What refpointd names as files are names in a directory and nothing else,
 *     none twice.
 */
#ifndef PROVIDERS_EXPORT_PLAN_H
#define PROVIDERS_EXPORT_PLAN_H

#include <jansson.h>

#include "backup/opener.h"
#include "common/guid.h"

struct export_plan {
	char base[GUID_TEXT_BYTES]; /* upper case; or "" */
	unsigned logs;              /* 0: it is of disks */
	char ids[EXPORT_FILES_MAX / 2][GUID_TEXT_BYTES];
	unsigned n; /* files: an image of each disk, or a log and its sidecar,
		       and so on */
	char names[EXPORT_FILES_MAX][EXPORT_NAME_BYTES];
};

/* An image of each of N disks at SOURCE (a GUID), in order. */
int export_plan_disks(const char *source, const char *base,
		      const char *const *disks, unsigned n,
		      struct export_plan *ret_plan, struct err *err);

/* The logs of N disks, in their order and of each the oldest first, as EXPORTED
 * (of type Exported) has them.  -RP_EWIRE: it has not; -RP_ELIMIT. */
int export_plan_logs(const json_t *exported, const char *const *disks,
		     unsigned n, struct export_plan *ret_plan, struct err *err);

#endif
