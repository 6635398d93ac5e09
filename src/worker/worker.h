/* SPDX-License-Identifier: Apache-2.0 */
/*
 * refpoint-worker: the one process that does I/O on one virtual system's disks
 * and on its store.
 *
 * The main thread runs the event loop of the control socket and never waits;
 * jobs (job.h) do what may; the engine's thread (engine.h) is the data path.
 *
 * Invariants:
 *   W1  One worker for a store: it holds the lock on STORE/lock from before it
 *       reads anything there to its end.
 *   W2  The images are open and locked exactly while the vm is attached.
 *   W3  What changes the vm runs in LANE_CONTROL; there is one of that.  `vm`
 *       is replaced, and its disks are detached, under vm_lock, so that
 *       questions in the other lane find it whole.
 *   W4  No guest is listened to before sandbox_seal().
 *   W5  refpointd's going away ends nothing that serves.
 */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include <pthread.h>
#include <stdatomic.h>

#include "common/paths.h"
#include "log/logs.h"
#include "snapshot/snapshot.h"
#include "worker/engine.h"
#include "worker/images.h"
#include "worker/job.h"
#include "worker/link.h"

struct export;

enum worker_state {
	WORKER_DEFINED,
	WORKER_STARTING,
	WORKER_SERVING,
	WORKER_STOPPING,
	WORKER_FAILED
};
const char *worker_state_name(enum worker_state state);

struct worker {
	char name[VM_NAME_BYTES];
	struct paths paths;
	int lock_fd;
	int store_dirfd; /* ours, beside the one that the fs has */
	int live_dirfd;  /* likewise; -1: there is none, live_error says why */
	int run_dirfd;
	struct vm_env env;
	struct err live_error;
	struct link *link;
	struct engine *engine;

	/* W3 */
	pthread_rwlock_t vm_lock;
	struct vm *vm;               /* NULL: not defined, or open_error */
	struct logs *logs;           /* of VM; attached whenever that is */
	struct snapshots *snapshots; /* likewise */
	struct err open_error;       /* code 0: none */

	_Atomic int state; /* enum worker_state */
	pthread_mutex_t note_lock;
	char note[ERR_TEXT_BYTES];    /* why it is as it is; "" mostly */
	char uuid[GUID_TEXT_BYTES];   /* "" if not defined */
	_Atomic uint64_t turn_max_ns; /* of the ring while a point was made */

	/* LANE_CONTROL's */
	struct images *images;  /* W2 */
	struct export *exports; /* under way */
	int listener;           /* -1: none; read by the loop while serving */
	bool sealed;

	/* the loop's */
	sd_event *event;
	struct jobs *jobs;
	struct rpc_server *server;
	sd_event_source *idle;
	uint64_t idle_ms;
	uint64_t used_ms;         /* when there last was something to do */
	unsigned transitions;     /* under way or waiting: start, stop, ... */
	unsigned exporting;       /* exports that are not answered yet */
	unsigned signals;         /* that asked us to end */
	struct request *awaiting; /* AwaitEnd's */
	struct importing *importing; /* under way */
	bool ending;
};

void worker_note(struct worker *worker, const char *text);

/* ---- place.c ---------------------------------------------------------------
 */

/* Opens and locks what belongs to the worker's VM; before there are threads.
 * -RP_EINUSE: another worker has it. */
int place_open(struct worker *worker, struct err *err);
/* The directory of live bitmaps, made where refpointd is our own user; sets
 * live_error if there is none, which only serving needs. */
void place_open_live(struct worker *worker);
/* A listening socket RUN/vm/VM/control.sock. */
int place_bind(struct worker *worker, int *ret_fd, struct err *err);
void place_close(struct worker *worker);

/* ---- serve.c ---------------------------------------------------------------
 */

/* All in LANE_CONTROL. */

/* Opens the store; not being defined is no failure. */
int worker_open_store(struct worker *worker, struct err *err);
/* Under vm_lock, or alone. */
void worker_close_store(struct worker *worker);
/* Again, if a commit's outcome is not known and no disk is attached. */
void worker_read_anew(struct worker *worker);
/* Takes IMAGES over, also on failure; LISTENER only on success. */
int worker_serve(struct worker *worker, struct images *images, int listener,
		 struct err *err);
/* A failure to end cleanly is noted and logged: it serves no more. */
int worker_unserve(struct worker *worker, struct err *err);
/* Attaches IMAGES, taken over, for FN alone. */
int worker_with_images(struct worker *worker, struct images *images,
		       int (*fn)(struct worker *worker, void *arg,
				 struct err *err),
		       void *arg, struct err *err);
/* IMAGE, of the one disk, is taken over; used if nothing is served. */
int worker_resize(struct worker *worker, const char *disk, uint64_t bytes,
		  struct images *image, struct err *err);
/* The store is open: -RP_ESTATE, or why it is not. */
int worker_check_defined(const struct worker *worker, struct err *err);

/* ---- status.c --------------------------------------------------------------
 */

/* Under vm_lock, for reading.  NULL: no memory. */
json_t *status_json(struct worker *worker);
json_t *point_json(struct worker *worker, const struct point_row *row);
/* nbd+unix:///ID?socket=PATH, with what a URI may not hold escaped. */
json_t *uri_json(const char *path, const char *id);

/* ---- logs.c ----------------------------------------------------------------
 */

/* Both under vm_lock, for reading: the log of a point, null of one that is not
 * log-based; and []{point, log} of all that are, [] while that is not known. */
json_t *point_log_json(struct worker *worker, const struct point_row *row);
json_t *logs_json(struct worker *worker);
/* How many bytes the logs of DISKS disks may take, 0 for the default:
 * -RP_EPARAM. */
int log_limit_check(uint64_t bytes, uint32_t disks, struct err *err);

/* ---- snapshots.c -----------------------------------------------------------
 */

/* Under vm_lock, for reading: []Snapshot.  -RP_ELATCHED. */
int snapshots_json(struct worker *worker, json_t **ret_snapshots,
		   struct err *err);

/* ---- methods.c -------------------------------------------------------------
 */

extern const struct rpc_method worker_methods[];

/* Serves what Start brought, when the loop runs. */
void worker_begin(struct worker *worker, struct images *images, int listener);
/* There was something to do. */
void worker_used(struct worker *worker);
/* Ends the worker if it is of no use any more. */
void worker_look(struct worker *worker);
/* Unserves if need be, and ends the loop. */
void worker_end(struct worker *worker);

/* ---- await.c ----------------------------------------------------------------
 */

/* Answers whoever awaits the end of a snapshot that has come. */
void worker_look_awaited(struct worker *worker);

/* ---- listing.c -------------------------------------------------------------
 */

struct listing;

/* All points of the vm, under vm_lock.  *RET_LISTING is freed by
 * listing_send() or listing_free(). */
int listing_make(struct worker *worker, struct listing **ret_listing,
		 struct err *err);
struct listing *listing_free(struct listing *listing);
/* Answers CALL, in as many replies as it takes; from the event loop. */
void listing_send(struct listing *listing, struct rpc_call *call);

/* ---- changes.c -------------------------------------------------------------
 */

struct changes_request {
	struct guid since, until;
	bool has_until;
	bool has_disk;
	char disk[DISK_ID_BYTES];
	uint64_t offset, length; /* length UINT64_MAX: to the end */
	uint64_t max_extents;    /* of each disk; 0: all */
};

struct changes;

/* Asks the vm, under vm_lock.  *RET_CHANGES is freed by changes_send() or
 * changes_free(). */
int changes_ask(struct vm *vm, const struct changes_request *request,
		struct changes **ret_changes, struct err *err);
struct changes *changes_free(struct changes *changes);
/* Answers CALL, in as many replies as it takes; from the event loop. */
void changes_send(struct changes *changes, struct rpc_call *call);

#endif
