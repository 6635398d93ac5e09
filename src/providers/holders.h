/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who has settings and disks: a virtual system, or a snapshot of one.  Their
 * ids look alike, and only refpointd knows which is which.
 *
 * H1  A holder's system is asked for first as that system itself, then as what
 *     had the snapshot when it was seen last (path-hints.h), and only then are
 *     all of them.
 */
#ifndef PROVIDERS_HOLDERS_H
#define PROVIDERS_HOLDERS_H

#include "providers/systems.h"

/* The snapshot of ID (upper case) that the system is told with, or NULL. */
const struct snapshot_view *holder_snapshot(const struct system_view *system,
					    const char *id);
/* Whether ID is the system's own or a snapshot's of it. */
bool holder_is_of(const struct system_view *system, const char *id);

/* Tells once the system that HOLDER (upper case) is, or that has it as a
 * snapshot, and then with its snapshots; nothing if there is none.  Else as
 * systems_each().  Within a walk that tells that system it is not asked for
 * anew. */
int holder_tell(const struct providers *providers,
		const struct cim_request *request, const char *holder,
		system_fn *fn, void *arg, struct err *err);

#endif
