/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of logs.
 *
 *     logs.c     what there is: rows, files, room; the thread
 *     logger.c   the data path
 *     mend.c     the image is read and logged; logs and images are synced
 *     take-up.c  attaching: what the last end left
 *     cut.c      a log-based point
 *
 * Numbered invariants:
 *
 *   G1  A piece goes to the newest part whose first epoch is not above its own.
 *       The part of a cut is on the list before the cut and has its first epoch
 *       right before the flip, so no piece of that epoch misses it.
 *   G2  The list of parts, streams, clock and budget are the queue's thread's.
 *       Others go through a call (logs_call()).
 *   G3  A part's streams end with the last that refers to it: pieces, flushes
 *       and menders hold a reference.
 *   G4  A part that has a row has all its files, durably; a row goes before its
 *       files.  Files without a row are nobody's, and swept.
 *   G5  The open point's parts: all but the last are closed, but while a cut is
 *       under way, and after one that failed until the next.  When serving ends
 *       without an end in such a time the oldest part that is not closed on all
 *       disks goes on, reopened where it is closed, and what later parts name
 *       is logged there anew: no point stands between.
 *   G6  A part that loses a write is lost: at once its tables say so, and
 *       vm_strict() stays on until the catalogue does; so a power cut before
 *       that finds hot all that the log may lack, and the log whole again.
 *   G8  What is under way on the queue's thread refers to the vm: before it is
 *       detached the flushes of our own are over (the guest's are), nothing
 *       more is posted, and what was posted has run.
 *   G7  Whoever holds `lock` waits for nothing.
 */
#ifndef LOG_LOGS_INTERNAL_H
#define LOG_LOGS_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "log/logs.h"
#include "log/stream.h"
#include "store/files.h"

#define PARTS_OPEN_MAX 4 /* of cuts that failed, too */

struct part {
	struct guid origin;
	_Atomic uint64_t first_epoch; /* UINT64_MAX: its cut has not come */
	struct log_stream *streams[DISKS_PER_VM_MAX];
	unsigned refs; /* G3; the list's among them */
	bool lost;     /* G6 */
	struct part *next;
};

/* A piece or a flush of a guest's. */
struct entry {
	struct logs *logs;
	struct part *part; /* of a piece */
	struct log_stream *stream;
	struct volume_request *request; /* NULL: the retirer's flush */
	struct volume *volume;
	struct log_piece piece;
	struct part *parts[PARTS_OPEN_MAX]; /* of a flush */
	struct log_flush flushes[PARTS_OPEN_MAX];
	unsigned count, waiting;
	uint64_t over;         /* T11 */
	uint64_t since_ns;     /* while it waits */
	struct entry **before; /* likewise: in the list */
	struct entry *next;
};

/* What the queue's thread does for another, who waits. */
struct call {
	struct ring_task task;
	struct logs *logs;
	void (*fn)(struct call *call);
	void *arg;
	unsigned waiting; /* fn's own: what is under way */
	int result;
	struct err err;
	bool done; /* under `lock` */
};

/* A flush of ours: one for each disk at a time. */
struct flushing {
	struct logs *logs;
	uint32_t disk;
	bool busy;
	struct volume_request request;
};

/* D4: a flush that is over and does not count yet. */
struct unsure {
	struct part *part; /* NULL: there is none */
	struct log_flush flush;
	uint64_t syncs;
};

struct usage {
	struct guid origin;
	uint64_t bytes;
};

struct logs {
	struct vm *vm;
	struct logs_host host;
	uint32_t disks;
	struct volume_logger logger;

	/* G2 */
	struct log_service service;
	struct log_clock clock;
	struct log_budget budget;
	struct part *parts;    /* oldest first */
	struct entry *entries; /* free ones */
	bool mending;          /* what a death left is not logged yet */
	struct entry *waiting; /* pieces, for room */
	struct unsure unsure[DISKS_PER_VM_MAX];
	struct flushing flushing[DISKS_PER_VM_MAX];
	bool quiet;               /* none of these begins */
	struct call *quiescing;   /* waits for them */
	_Atomic bool refresh_due; /* it failed */

	struct ring_task settle;
	_Atomic bool settle_posted;
	_Atomic bool attached;
	_Atomic uint64_t used; /* of the budget, for others */
	_Atomic int64_t room;  /* that all logs may take, by the store's room
				  when that was last looked at */

	/* Rows and files of logs; held across I/O, before any other lock. */
	pthread_mutex_t changing;
	pthread_mutex_t lock;
	pthread_cond_t called; /* a call is done */
	pthread_cond_t woken;  /* the thread */
	struct usage *usage;   /* of each part; under `lock` */
	uint32_t usage_count;
	bool lost; /* some part is, and the catalogue does not know */
	struct guid lost_origin;
	char lost_reason[REASON_BYTES];
	bool stopping;
	bool runs;
	pthread_t thread;

	bool warned; /* with `changing`: that it cannot be told */

	/* control's */
	struct guid stale; /* a row of a part that never was; zero: none */
};

/* logs.c */
void logs_lock(struct logs *logs);
void logs_unlock(struct logs *logs);
void logs_change(struct logs *logs); /* takes `changing` */
void logs_changed(struct logs *logs);
/* Runs FN on the queue's thread; returns when call_done() was called. */
int logs_call(struct logs *logs, void (*fn)(struct call *call), void *arg,
	      struct err *err);
void call_done(struct call *call, int result, const struct err *err);
/* Any thread: a part is lost, G6. */
void logs_note_lost(struct logs *logs, const struct guid *origin,
		    const char *reason);
/* With `changing`: rows, files, the list and the budget are brought in line. */
void logs_refresh(struct logs *logs);
/* How much room there is, now. */
void logs_look_at_room(struct logs *logs);
uint64_t logs_usage_of(struct logs *logs, const struct guid *origin);
/* The parts of the newest log-based point that has its data, oldest first;
 * *RET_POINT is that.  Returns how many. */
int logs_open_rows(struct logs *logs, struct guid *ret_point,
		   struct log_part_row **ret_rows, struct err *err);

/* logger.c: the queue's thread */
void logger_init(struct logs *logs);
void logger_give_up(struct logs *logs, struct part *part,
		    const struct err *why);
void logger_dropped(struct log_stream *stream, void *arg);
void part_ref(struct part *part);
void part_unref(struct part *part);
/* Takes PART off the list: nothing goes there any more.  Its streams are
 * dropped, without a word, if they are not closed. */
void logger_remove(struct logs *logs, struct part *part, const struct err *why);
/* May go to the log from now on, from its first epoch. */
void logger_append(struct logs *logs, struct part *part);

/* A call: no flush of ours is under way, and none begins. */
void logger_quiesce(struct call *call);

/* mend.c: the queue's thread */
/* Logs what the image of DISK holds in SET's blocks or, if that is NULL, in
 * [at, end), not empty; DONE, later, with 0, also if the log was dropped
 * meanwhile, or with why the image cannot be read.  -ENOMEM: DONE will not be
 * called. */
int mend_begin(struct logs *logs, struct part *part, uint32_t disk,
	       const struct blockset *set, uint64_t at, uint64_t end,
	       void (*done)(void *arg, int result), void *arg);
/* Log, image, and that they are; then DONE.  LAST: durably. */
int settle_begin(struct logs *logs, struct part *part, uint32_t disk, bool last,
		 void (*done)(void *arg, int result), void *arg);

/* cut.c: control */
/* Files and streams of a part that begins now; the list has nothing of it. */
int part_create(struct logs *logs, const struct guid *origin,
		struct part **ret_part, struct err *err);
/* Of one that is on no list. */
void part_free(struct part *part);
void part_unlink(struct logs *logs, const struct guid *origin);
int cut_forget_stale(struct logs *logs, struct err *err);
/* A call: closes all parts but the newest, whose pieces are over. */
void logs_close_older(struct call *call);

/* take-up.c: control */
/* 1: the open point's logs are taken up; 0: there is none. */
int take_up(struct logs *logs, struct err *err);

#endif
