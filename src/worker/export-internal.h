/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of exports know of each other; worker/export.h has the rest.
 */
#ifndef WORKER_EXPORT_INTERNAL_H
#define WORKER_EXPORT_INTERNAL_H

#include "backup/exporter.h"
#include "backup/opener.h"
#include "worker/export.h"

/* No caller's request id begins like this: those are UUIDs. */
#define EXPORT_OWN "export-"

struct metadata;

struct source {
	struct export_source base;
	struct snapshot_disk *content; /* NULL: closed */
	struct engine *engine;
	uint32_t ordinal;
	struct accuracy_row accuracy;
	struct blockset *changed; /* until the exporter has it */
	char backing[EXPORT_NAME_BYTES];
};

struct export_log {
	struct guid origin, id, previous;
	uint64_t bytes, side_bytes;
	struct file *log, *side; /* NULL: taken */
};

struct export_logs {
	unsigned n;
	unsigned first[DISKS_PER_VM_MAX + 1]; /* of each disk; the end */
	struct export_log list[EXPORT_LOGS_MAX];
	char names[EXPORT_FILES_MAX][EXPORT_NAME_BYTES];
	struct file_sources *sources; /* NULL: nothing is written */
	struct metadata *metadata;    /* of the documents, before hashes */
	char *config, *state;         /* documents; NULL: none */
};

struct export
{
	struct worker *worker;
	struct export_request request; /* content and base as they turned out */
	char uuid[GUID_TEXT_BYTES];
	struct point_row row; /* of what is exported */
	struct guid read;     /* the snapshot whose content it is */

	/* LANE_CONTROL's */
	struct export *next;
	bool own;                 /* `read` is ours, and there */
	struct export_logs *logs; /* NULL: it is of disks */
	struct exporter *exporter;
	struct err err;

	/* the loop's */
	struct rpc_call *call; /* NULL: not yet */
	int event;             /* the thread has ended */
	sd_event_source *ended, *timer;
	struct job job; /* LANE_CONTROL's, the last */

	struct source sources[]; /* one for each disk of the request */
};

static inline const char *consistency_name(uint32_t consistency)
{
	return consistency == CONSISTENCY_CRASH ? "crash" : "application";
}

/* ---- export.c --------------------------------------------------------------
 */

/* -RP_ESTATE: the disks are not read by anybody. */
int export_check_serving(const struct worker *worker, struct err *err);
/* Sets each source's ordinal. */
int export_find_disks(struct export *x, struct err *err);
/* Has N DISKS written; FDS are common/target.h's. */
int export_start(struct export *x, const struct export_disk *disks, unsigned n,
		 int *fds, struct err *err);

/* ---- export-disks.c: what a snapshot or a point has ------------------------
 */

int export_disks_begin(struct export *x, int *fds, struct err *err);
/* Has opened what the disks of the request held at the point, for hashing. */
int export_disks_open_at_point(struct export *x, struct err *err);
struct export_source *export_disks_source(struct export *x, unsigned i);
/* Nothing is read any more. */
void export_disks_let_go(struct export *x);
/* Reads of a snapshot that is no more fail without saying so. */
void export_disks_explain(const struct export *x, struct err *err);
json_t *export_disk_json(const struct export *x, unsigned i);

/* ---- export-logs.c: what was written between two points --------------------
 */

/* Whether SOURCE is a log-based point that has its data. */
bool export_logs_default(struct worker *worker, const struct guid *source);
int export_logs_begin(struct export *x, int *fds, struct err *err);
/* The hash of the Ith disk; NULL: none was asked for. */
const uint8_t *export_logs_hash(const struct export *x, unsigned i);
/* After the exporter's end.  Accepts NULL. */
struct export_logs *export_logs_free(struct export_logs *logs);
json_t *export_log_disk_json(const struct export *x, unsigned i);
/* ExportedDocuments; NULL: none, where only was asked which logs there are. */
json_t *export_logs_documents_json(const struct export *x);

/* ---- export-metadata.c -----------------------------------------------------
 */

/* Collects what the documents say, while the vm is there; and once all is
 * written sets both. */
int export_logs_describe(struct export *x, struct err *err);
int export_logs_document(struct export *x, struct err *err);

#endif
