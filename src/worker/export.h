/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exports: what a snapshot, or a point, has, or the logs of what was written
 * between two points, written by the refpoint-target whose socket came with the
 * call.
 *
 * A point keeps no content: a snapshot of our own is made, and of what is to be
 * read nothing may have changed between the point and it.  It is nobody else's
 * (export_is_own()), lives no longer than the export, and what a killed worker
 * left of it is dropped by the next one.
 *
 *   X1  LANE_CONTROL opens and closes what is read, and is done with that at
 *       once: it never waits for the target.
 *   X2  The export's own thread reads ahead and has it written
 *       (backup/exporter.h).  It ends soon after it was called off, whatever
 *       the target does, and waits for nothing that outlasts the process.
 *   X3  The loop has the call: it tells how far it is every EXPORT_TELL_MS,
 *       whatever the target does, and hears of the hang-up that ends it.
 *   X4  Before the disks are detached every export has let go of them.  Logs
 *       need no disk: they are exported from an idle worker as well, which
 *       stays until then, and go on when it serves no more.
 */
#ifndef WORKER_EXPORT_H
#define WORKER_EXPORT_H

#include "worker/worker.h"

#define EXPORT_TELL_MS 250

enum export_content {
	EXPORT_DEFAULT, /* logs of a log-based point that has its data */
	EXPORT_DISKS,
	EXPORT_LOGS,
};

struct export_request {
	enum export_content content;
	struct guid source, base;
	bool has_base;
	bool hash; /* of logs: and of what the disks held at SOURCE */
	unsigned n;
	char disks[DISKS_PER_VM_MAX][DISK_ID_BYTES];
	unsigned n_logs; /* that files came for; 0: there are none */
	struct guid logs[EXPORT_LOGS_MAX];
};

struct export;

/* LANE_CONTROL.  Begins one; of FDS, common/target.h's, what is taken over is
 * -1 then. */
int export_begin(struct worker *worker, const struct export_request *request,
		 int *fds, struct export **ret_export, struct err *err);
/* The loop: CALL is answered when it is over.  GONE: its caller has hung up
 * already. */
void export_answer(struct export *export, struct rpc_call *call, bool gone);

/* LANE_CONTROL: all of disks that are under way are given up, for REASON, and
 * have let go of them. */
void exports_stop(struct worker *worker, const char *reason);
/* LANE_CONTROL, attached: drops what a killed worker left, and what an export
 * could not drop. */
void exports_sweep(struct worker *worker);

/* A snapshot that is not to be shown to anybody. */
bool export_is_own(const struct point_row *row);

#endif
