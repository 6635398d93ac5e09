/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtual systems, as refpointd tells them (method Systems).
 *
 * Y1  What refpointd says is held against the interface once, here; what is
 *     told is whole, and bounded by common/limits.h.
 * Y2  Nothing is kept: each walk asks anew.  Only who is called by a walk, as
 *     the broker is that follows an association, may look at what it is telling
 *     at that moment (systems_current()).
 */
#ifndef PROVIDERS_SYSTEMS_H
#define PROVIDERS_SYSTEMS_H

#include "providers/providers.h"

struct disk_view {
	const char *id, *path;
	uint64_t size; /* bytes; 0: not known yet */
};

struct point_disk_view {
	const char *id, *tracking_id;
	unsigned index; /* of the disk; that of none if it is gone */
	/* Of a snapshot alone: where it is read, or NULL while it is not
	 * served, and how many bytes it had then. */
	const char *uri;
	uint64_t size;
};

struct point_view {
	char id[GUID_TEXT_BYTES]; /* upper case */
	bool log;                 /* or by change tracking */
	bool has_data;            /* its log is there, perhaps open */
	bool application;         /* consistent, or crash consistent */
	const char *log_reason;   /* why it is not; NULL */
	const char *invalid;      /* why every answer about it is; NULL */
	const char *label, *created;
	uint32_t disk_count;
	const struct point_disk_view *disks;
};

struct snapshot_view {
	struct point_view as; /* the point that it would become, same id */
	const char *invalid;  /* why it is of no use; NULL: it is valid */
};

struct system_view {
	const char *vm, *state;     /* as of Status */
	char uuid[GUID_TEXT_BYTES]; /* upper case */
	bool connected;             /* a client that may write is */
	uint32_t worker_pid;        /* 0: none runs */
	uint32_t disk_count;
	const struct disk_view *disks;
	/* It was told before: only the points are further ones. */
	bool again;
	uint32_t point_count, snapshot_count;
	const struct point_view *points;       /* oldest first */
	const struct snapshot_view *snapshots; /* oldest first */
};

/* What of a system is told besides; with its points its snapshots are, too. */
#define SYSTEMS_POINTS    1u
#define SYSTEMS_SNAPSHOTS 2u

/* What is told is valid until it returns, and what it takes of the request's
 * arena is given back then.  A negative result ends the walk, which returns it;
 * a positive one ends it, too, and all is well. */
typedef int system_fn(void *arg, const struct system_view *system,
		      struct err *err);

/* Tells all systems, or the one of UUID (either case) if that is not NULL; WITH
 * SYSTEMS_... of them, and then one that has many points perhaps several times,
 * its snapshots each time.  -CIM_EFAILED with the reason if refpointd is away
 * or makes no sense, or -CIM_ETIMEDOUT, -CIM_ELIMITS. */
int systems_each(const struct providers *providers,
		 const struct cim_request *request, const char *uuid,
		 unsigned with, system_fn *fn, void *arg, struct err *err);

/* The system of UUID (upper case), if this thread is within its walk's
 * callback; or NULL.  Its points may be some or none of those that it has, and
 * so may its snapshots. */
const struct system_view *systems_current(const struct providers *providers,
					  const char *uuid);
/* Likewise the one that is HOLDER, or has a snapshot of that id (holders.h). */
const struct system_view *systems_holding(const struct providers *providers,
					  const char *holder);

/* What -CIM_E... the failure of a call to refpointd is that only reads; ERR
 * then says who failed. */
int systems_failed(int r, struct err *err);

#endif
