/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logs of a virtual system: what log-based points are made of.
 *
 * From the first log-based point on every write of every disk goes into the
 * open part: one log for each disk (log/stream.h), begun at one cut.  A new
 * log-based point closes it and begins the next, at one cut over all disks.
 * The data of a point are the parts from it to the next log-based point.
 *
 * What cannot be logged is given up, never a guest's write: then the point
 * whose data the open part is of has none any more, and the catalogue says why.
 *
 * Threads: `control` is whoever makes control calls, one at a time, and may
 * wait; `queue` is the thread of the disks' queue.
 */
#ifndef LOG_LOGS_H
#define LOG_LOGS_H

#include "track/vm.h"

struct logs;

/* The queue that log and image are written through, and its thread. */
struct logs_host {
	struct ioq *ioq;
	void (*post)(void *arg, struct ring_task *task); /* to that thread */
	void *arg;
};

/* Control.  VM is open, detached, and outlives the result.  Files of logs that
 * no row names are removed. */
int logs_new(struct vm *vm, const struct logs_host *host,
	     struct logs **ret_logs, struct err *err);
struct logs *logs_free(struct logs *logs); /* detached; accepts NULL */

/* Control; after vm_attach() and before the first request of a volume; the
 * queue's thread runs.  Takes up the open part: repairs it, and logs what a
 * death left in doubt.  What is of no use is given up: no failure.  Once a disk
 * has grown its log is of no use. */
int logs_attach(struct logs *logs, struct err *err);
/* Control; before the queue is drained: no request of ours comes any more. */
void logs_quiet(struct logs *logs);
/* Control; nothing is in flight; before vm_detach().  The end is clean if
 * nothing fails; else it is as if by a kill. */
void logs_detach(struct logs *logs);
/* Control: from now on; 0: the default. */
int logs_set_limit(struct logs *logs, uint64_t bytes, struct err *err);

/* Control, attached.  As vm_point_create(), for a point of type POINT_LOG. */
int logs_create(struct logs *logs, const struct vm_point_request *request,
		struct point_row *ret_point, struct err *err);
/* Control; attached or not.  As vm_point_destroy(), for a point of any type:
 * its data go to the log-based point before it, if that has its own. */
int logs_destroy(struct logs *logs, const struct guid *point, struct err *err);
/* Control; attached or not.  The data of POINT go, the point stays.  Of the
 * newest log-based point that ends logging until the next.  -RP_ENOPOINT;
 * -RP_ESTATE: it has none; it is not log-based. */
int logs_remove(struct logs *logs, const struct guid *point, struct err *err);
enum logs_state {
	LOGS_OPEN,   /* writes go there */
	LOGS_CLOSED, /* up to the next log-based point */
	LOGS_GONE,
};
struct logs_info {
	enum logs_state state;
	char reason[REASON_BYTES]; /* "" unless gone */
	uint64_t bytes;            /* allocated */
	unsigned parts;
};
const char *logs_state_name(enum logs_state state); /* "open" ... */
/* Any thread.  -RP_ENOPOINT; -RP_ESTATE: not a log-based point. */
int logs_find(struct logs *logs, const struct guid *point,
	      struct logs_info *ret_info, struct err *err);
/* Any thread: of all logs. */
void logs_usage(struct logs *logs, uint64_t *ret_bytes, uint64_t *ret_limit);

/* One closed log of a chain, to be read.  The caller closes the files. */
struct logs_file {
	struct guid origin;
	struct file *log;
	struct file *side;
};
/*
 * Any thread that may wait.  The closed logs of DISK from log-based point BASE
 * to log-based point POINT, oldest first, an unbroken chain; BASE NULL: the
 * log-based point before POINT.  *RET_FILES is an array of *RET_COUNT, freed by
 * the caller.  -RP_ENOPOINT; -RP_EPARAM: BASE or POINT is not log-based, BASE
 * is not older, there is none before POINT; -RP_ESTATE: a log between them is
 * gone: which one, and why.
 */
int logs_open_chain(struct logs *logs, uint32_t disk, const struct guid *base,
		    const struct guid *point, struct guid *ret_base,
		    struct logs_file **ret_files, unsigned *ret_count,
		    struct err *err);

/* Any thread that may wait: as vm_check(), of the logs: closed ones are read
 * through. */
int logs_check(struct logs *logs,
	       void (*fn)(void *arg, const struct vm_finding *finding),
	       void *arg, uint64_t *ret_bytes, struct err *err);

/* The queue's thread, from before logs_attach() to after logs_detach(): once in
 * each turn of its loop, before it submits; and every VM_TICK_MS. */
void logs_turn(struct logs *logs);
void logs_tick(struct logs *logs);
/* Tests without threads: what the thread of ours does; true if there was
 * something to do. */
bool logs_keep(struct logs *logs);

#endif
