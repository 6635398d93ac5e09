/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One virtual system as refpointd sees it, and its worker's life:
 *
 *   NONE ──start──► STARTING ──Hello──► READY
 *    ▲                 │ end              │ end
 *    ├─────────────────┴──────────────────┤ not to be served: stays NONE
 *    └──timer── BACKOFF ◄─────────────────┘ to be served: started again, at
 *                                           once or after a pause
 *
 * A worker that is to serve is looked at until it serves and has settled: it
 * has lived LIFE_FINE_MS, or guests were connected at two looks in a row,
 * which is how a completed request shows.  Only workers that end unsettled
 * make the next one wait, from the third within DEATHS_MS on.
 */
#ifndef DAEMON_VM_H
#define DAEMON_VM_H

#include "daemon/daemon.h"
#include "daemon/link.h"
#include "daemon/process.h"

#define LIFE_FINE_MS     10000
#define DEATHS_MS        10000
#define DEATHS_FREE      2 /* restarted at once */
#define BACKOFF_MAX_MS   30000
#define LOOK_MIN_MS      10
#define LOOK_MAX_MS      100
#define LOOK_TIMEOUT_MS  5000
#define START_GRACE_MS   3000 /* from Start's answer to the first "serving" */
#define RETRY_MIN_MS     5000 /* of a failed start of serving */
#define RETRY_MAX_MS     30000
#define READY_TIMEOUT_MS 15000 /* for callers that wait for a worker */
#define ASK_LIVES_MAX    3     /* workers in a row that end and do not tell */
#define ASK_TRIES_MAX    20    /* of one that cannot be reached */

enum worker_state {
	WORKER_NONE,
	WORKER_STARTING,
	WORKER_READY,
	WORKER_BACKOFF
};

struct waiter;

struct vm {
	struct vm *next;
	struct vm *next_of_name; /* whose names fall together */
	struct daemon *daemon;
	unsigned refs;
	char name[VM_NAME_BYTES];
	struct inventory_entry entry; /* no disks while not known */
	bool known;                   /* the entry says what the store says */
	bool defining;                /* nobody else may see it yet */
	bool gone;                    /* undefined; kept by references */
	struct err failure;           /* code 0: none */

	enum worker_state worker;
	struct process process;
	sd_event_source *end;   /* of the process */
	sd_event_source *timer; /* the next look, or the end of BACKOFF */
	struct link *look;      /* under way; NULL: none */
	uint64_t look_ms;
	uint64_t born_ms;
	uint64_t grace_ms; /* until then "defined" means: not yet */
	bool serving;      /* the worker said so */
	bool settled;
	bool connected;                   /* guests were, at the last look */
	bool refreshing;                  /* asking for the definition */
	unsigned refresh_tries;           /* that failed, in this life */
	unsigned refresh_lives;           /* that ended and did not tell it */
	uint64_t deaths[DEATHS_FREE + 1]; /* unsettled ones, newest first */
	unsigned backoff;                 /* 0, or the how-manieth pause */

	int listener;        /* our duplicate; -1: none */
	bool listener_asked; /* the worker, in this life of it */
	bool serve_attempt;  /* refpointd's own, under way */
	sd_event_source *retry;
	uint64_t retry_ms;

	bool in_use;            /* a guest was connected, as last heard */
	uint64_t deaf_until_ms; /* it did not answer: not asked for Systems */
	bool changing;          /* points or snapshots are */
	bool left;           /* the worker is one that another refpointd left */
	struct link *asking; /* for its points, then its snapshots */
	sd_event_source *asking_limit;
	struct inventory_points heard; /* so far */
	struct inventory_points heard_snapshots;
	unsigned heard_replies;               /* of which more follow */
	struct inventory_catalogue points_at; /* before it was asked */
	uint64_t points_serial;               /* of what is known of them */
	uint64_t asked_serial;                /* when it was asked */
	struct err points_failure;            /* of asking; code 0: none */
	unsigned points_tries;    /* that failed, in this life of it */
	unsigned points_lives;    /* in a row that ended without an answer */
	uint64_t points_again_ms; /* not before */

	void (*points_told)(void *arg); /* they are known, or cannot be had */
	void *points_told_arg;

	struct waiter *waiters;
	void (*ended)(void *arg); /* instead of a restart; once */
	void *ended_arg;
};

/* -ENOMEM.  In the daemon's list from now on, which holds the reference. */
int vm_new(struct daemon *daemon, const char *name, struct vm **ret_vm);
struct vm *vm_ref(struct vm *vm);
struct vm *vm_unref(struct vm *vm);
/* Out of the list; everybody who waits is told that there is no such VM. */
void vm_drop(struct vm *vm);

/* One that may be seen: neither being defined nor gone.  -RP_ENOVM. */
int vm_find(struct daemon *daemon, const char *name, struct vm **ret_vm,
	    struct err *err);
struct vm *vm_find_any(struct daemon *daemon, const char *name);

/* defined | starting | serving | stopping | failed */
const char *vm_state(const struct vm *vm);

/* Saves the entry with the catalogue's present stat; failure is logged. */
int vm_save(struct vm *vm, struct err *err);

/* Starts a worker if there is none and calls FN(arg) once: when the worker
 * answers (and serves, if it is to), or with why not.  VM is held meanwhile.
 * FN may be called before this returns. */
typedef void vm_ready_fn(void *arg, const struct err *err);
void vm_when_ready(struct vm *vm, vm_ready_fn *fn, void *arg);
/* Calls those whose wait is over; all, if ERR is given. */
void vm_wake(struct vm *vm, const struct err *err);

/* Makes the directories that a worker needs.  LIVE: also that of the live
 * bitmaps, which needs a tmpfs.  -RP_EUNSUPPORTED: the store's file system is
 * one where no store can live. */
int vm_prepare(struct vm *vm, bool live, struct err *err);

/* ---- worker.c ----------------------------------------------------------- */

/* Starts a worker if there is none; BACKOFF is cut short. */
int vm_start_worker(struct vm *vm, struct err *err);
/* Takes over a living worker that another refpointd started; false: none. */
bool vm_adopt_worker(struct vm *vm);
/* The process that calls itself VM's worker is; -RP_EDENIED. */
int vm_claim_worker(struct vm *vm, pid_t pid, struct err *err);
/* Looks at the worker MS from now; an earlier plan is replaced. */
void vm_look_in(struct vm *vm, uint64_t ms);
/* FN(arg) once the worker has ended, which may be now; it is told to Stop, and
 * killed if it does not.  Nothing is restarted. */
void vm_end_worker(struct vm *vm, bool kill_now, void (*fn)(void *arg),
		   void *arg);

/* ---- refresh.c ----------------------------------------------------------- */

/* Asks the ready worker for the definition; then it is known. */
void vm_refresh(struct vm *vm);
/* One of REFRESHES_AT_ONCE is taken, or free again. */
void vm_refresh_begin(struct vm *vm);
void vm_refresh_over(struct vm *vm);
/* A life ended; false: no further one is to be asked for the definition. */
bool vm_refresh_goes_on(struct vm *vm);
/* What a Status says of disks' sizes and points. */
void vm_note_status(struct vm *vm, json_t *status);

/* ---- points.c ------------------------------------------------------------ */

/* What is said of points holds for snapshots as well: both are known or
 * neither.  Asks the ready worker; then they are known, or it has failed. */
void vm_ask_points(struct vm *vm);
/* No worker could be asked. */
void vm_points_failed(struct vm *vm, const struct err *err);
/* They are not known, and a worker should be asked. */
bool vm_points_wanted(const struct vm *vm);
/* A change began or ended, and what it did is not known: asks. */
void vm_points_in_doubt(struct vm *vm);
/* The same, and calls FN(arg) once: they are known then, or points_failure says
 * why not; it may be called before this returns.  One at a time; NULL: none. */
void vm_points_when_told(struct vm *vm, void (*fn)(void *arg), void *arg);
/* What a Status says of the logs of those that are known: they change, and go,
 * by themselves. */
void vm_points_note_logs(struct vm *vm, json_t *logs);
/* POINT's log is gone. */
void vm_point_log_dropped(struct vm *vm);
/* The worker has read its store anew: if they are not known, asks. */
void vm_points_store_read(struct vm *vm);
/* POINT, of type Point, stays the caller's. */
void vm_point_made(struct vm *vm, json_t *point);
void vm_point_destroyed(struct vm *vm, const char *id);
/* The worker is one that another refpointd may still have at work. */
void vm_points_of_another(struct vm *vm);
/* Is what is known of them still true?  And may a failure be tried again? */
void vm_points_judge(struct vm *vm);
void vm_points_life_over(struct vm *vm);
bool vm_points_may_be_saved(const struct vm *vm);

/* ---- status.c -------------------------------------------------------------
 */

/* The answer of Status for a VM whose worker cannot be had, from what is known;
 * the caller's. */
json_t *vm_status_without_worker(const struct vm *vm);

/* ---- snapshots.c -----------------------------------------------------------
 */

/* SNAPSHOT, of type Snapshot, stays the caller's. */
void vm_snapshot_made(struct vm *vm, json_t *snapshot);
void vm_snapshot_dropped(struct vm *vm, const char *id);
/* It is POINT, of type Point, which stays the caller's. */
void vm_snapshot_converted(struct vm *vm, const char *id, json_t *point);
/* What a Status says of those that are known: their state, and so on. */
void vm_snapshots_note(struct vm *vm, json_t *snapshots);
/* Of those that were saved: false if the boot that they were of is over. */
bool vm_snapshots_last(const struct vm *vm);

/* ---- serve.c --------------------------------------------------------------
 */

/* The NBD listener, bound if need be; the descriptor stays ours. */
int vm_listener(struct vm *vm, struct err *err);
void vm_close_listener(struct vm *vm);
/* refpointd's own try to have the ready worker serve; tried again later. */
void vm_try_serve(struct vm *vm);
void vm_serve_failed(struct vm *vm, const struct err *err);

/* ---- readers.c -------------------------------------------------------------
 */

/* The listener of a snapshot's readers, bound anew; the descriptor is the
 * caller's. */
int vm_snapshot_listener(struct vm *vm, const struct guid *snapshot,
			 int *ret_fd, struct err *err);
/* It is gone, or never came to be. */
void vm_snapshot_unlisten(struct vm *vm, const struct guid *snapshot);
/* Nobody listens for any snapshot's. */
void vm_snapshots_unlisten(struct vm *vm);
/* All are known: of others, that an earlier refpointd left, nobody listens. */
void vm_snapshots_tidy(struct vm *vm);

struct images;
#define SERVE_TIMEOUT_MS 60000
/* What goes with Serve and Start: the images, the listener, the tombstone. The
 * last of the *RET_N (at most DISKS_PER_VM_MAX + 2) is the caller's to close;
 * the directories are prepared. */
int serve_descriptors(struct vm *vm, const struct images *images, int *fds,
		      unsigned *ret_n, struct err *err);

#endif
