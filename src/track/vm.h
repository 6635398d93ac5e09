/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtual system: its store opened, its disks attached and tracked, its
 * points made, asked and destroyed.  What a worker is made of, and what the
 * simulator's tests drive without one.
 *
 * Life: vm_define() once; vm_open(); then any number of times vm_attach() …
 * vm_detach(); vm_close().  Points can be listed whenever the store is open;
 * whatever needs the open generation (create, changes up to now) needs the
 * disks attached.
 *
 * Threads.  Control calls (all vm_*() but those marked) are serialised inside;
 * they block and belong on threads that may.  Guest I/O runs on the queues'
 * own threads (track/volume.h).  The keeper, which activates regions, and
 * the retirer have threads of their own, or are driven by vm_keep() in tests.
 */
#ifndef TRACK_VM_H
#define TRACK_VM_H

#include "disk/disk.h"
#include "disk/image.h"
#include "disk/ring.h"
#include "store/catalogue.h"
#include "track/volume.h"

struct vm;
struct track_queue;
struct blockset;

/* The world that a vm lives in; copied by vm_open(). */
struct vm_env {
	struct fs *store;      /* the store's directory */
	struct fs *memory;     /* its directory on a tmpfs */
	struct file *fallback; /* tombstone outside the store, or NULL */
	struct guid boot;
	int64_t boot_time_ns; /* when this boot began, CLOCK_REALTIME */
	struct guid machine;
	bool threads; /* start a keeper and an undertaker */
	void *arg;
	int64_t (*now_ns)(void *arg); /* CLOCK_REALTIME, not the coarse one */
	/* The image's stamp as it is now. */
	int (*stamp)(void *arg, uint32_t disk, struct image_stamp *ret_stamp,
		     struct err *err);
	/* Sets the image's nonce; *RET_STAMP is read after that.  -EOPNOTSUPP
	 * where the image cannot carry one. */
	int (*mark)(void *arg, uint32_t disk, const struct guid *nonce,
		    struct image_stamp *ret_stamp, struct err *err);
	/* Tests without threads: makes something happen wherever a thread
	 * would wait for another; NULL otherwise. */
	void (*pump)(void *arg);
};

struct vm_disk_definition {
	char id[DISK_ID_BYTES];
	char path[PATH_BYTES];
	uint64_t bytes;
};

struct vm_definition {
	struct guid uuid;
	bool force_raw;
	bool owned;           /* --owner refpoint */
	uint32_t hot_regions; /* 0: HOT_REGIONS_DEFAULT */
	uint32_t points_max;  /* 0: POINTS_PER_VM_MAX */
	const char *agent;    /* common/agent.h; NULL: none */
	uint32_t count;
	const struct vm_disk_definition *disks;
};

/* Makes the store of a new virtual system in ENV->store.  Durable on success;
 * on failure what is left is no definition (vm_open() says -ENOENT), and may
 * be removed or defined over. */
int vm_define(const struct vm_env *env, const struct vm_definition *definition,
	      struct err *err);

/* -ENOENT: no definition there.  -RP_EFOREIGN: of another host.
 * -RP_ECORRUPT, -RP_EVERSION. */
int vm_open(const struct vm_env *env, struct vm **ret_vm, struct err *err);
struct vm *vm_close(struct vm *vm); /* detached; accepts NULL */

const struct vm_env *vm_environment(const struct vm *vm);
const struct system_row *vm_system(const struct vm *vm);
/* How the guest's agent is reached: any thread; and from now on: a control
 * call. */
void vm_agent(struct vm *vm, char ret_agent[AGENT_BYTES]);
int vm_set_agent(struct vm *vm, const char *agent, struct err *err);
uint32_t vm_disk_count(const struct vm *vm);
const struct disk_row *vm_disk(const struct vm *vm, uint32_t disk);
/* The ordinal of the disk called ID, or -RP_ENODISK. */
int vm_disk_find(const struct vm *vm, const char *id, struct err *err);

/* ---- attached --------------------------------------------------------- */

enum vm_attach_flags {
	/* The guest will write: the image gets a new nonce. */
	VM_ATTACH_WRITE = 1u << 0,
	/* Writes are not tracked, and the open generation is invalid: what
	 * benchmarks compare tracking with. */
	VM_ATTACH_UNTRACKED = 1u << 1,
};

/*
 * Takes the disks' images (one file each, by ordinal, borrowed until
 * vm_detach) and brings tracking up, recovering whatever the last end left:
 * clean, a kill (the live bitmaps are there), or a power cut (they are not).
 * Writes by others, as far as they can be told, make the open generation
 * invalid; that is success, and told by vm_accuracy().
 * The caller holds the images' locks, and has synced each image and dropped
 * what the page cache shows of it: where a predecessor's sync failed that is
 * not what the disk holds, and no later sync says so.  On failure the store is
 * as it was.
 */
int vm_attach(struct vm *vm, struct file *const *images,
	      const struct image_geometry *geometry, unsigned flags,
	      struct err *err);

/* No request may be in flight; the queues' loops must still run what is posted
 * to them, but call nothing of ours any more.  Makes all of it durable and the
 * end clean.  If that fails the vm is detached all the same, as if by a kill,
 * and the code says why. */
int vm_detach(struct vm *vm, struct err *err);
bool vm_attached(const struct vm *vm);

/* What serves the guest: one queue per thread that will call volume_submit()
 * for the volumes bound to it.  POST runs a task on that thread. Only while
 * attached; freed by vm_detach(). */
struct track_queue *
vm_queue_new(struct vm *vm, struct ioq *ioq,
	     void (*post)(void *arg, struct ring_task *task), void *arg);
/* The volume of a disk, all of whose requests come through QUEUE. */
struct volume *vm_volume(struct vm *vm, uint32_t disk,
			 struct track_queue *queue);
/* The same, attached, without binding it. */
struct volume *vm_volume_at(struct vm *vm, uint32_t disk);
/* Attached, and no request in flight: who is asked before a piece is written;
 * NULL: nobody.  Forgotten by vm_detach(). */
void vm_guard(struct vm *vm, struct volume_guard *guard);
/* Likewise: who keeps a log. */
void vm_logger(struct vm *vm, struct volume_logger *logger);
/* T11, any thread: from now on what is written stands in hot regions, and these
 * turn cold only as volume_settled() says; or no longer.  Attaching begins so
 * if the newest log-based point has its data. */
void vm_strict(struct vm *vm, bool strict);
/* Attached: how the time before ended; what was hot then, of a time that did
 * not end clean, is hot still while T11 holds. */
/* Any thread: tracking gives way to the guest, as if the store had failed. */
void vm_give_way(struct vm *vm, const char *reason);
enum vm_ended {
	VM_ENDED_CLEAN,
	VM_ENDED_KILLED,
	VM_ENDED_CUT,
};
enum vm_ended vm_ended(const struct vm *vm);
/* Adds the hot regions of DISK. */
int vm_hot(struct vm *vm, uint32_t disk, struct blockset *set, struct err *err);
/* Call every VM_TICK_MS on the queue's thread: stall watch, time stamps. */
#define VM_TICK_MS 250
void vm_tick(struct track_queue *queue);
/* Requests in flight on the queue (its own thread). */
uint64_t vm_queue_inflight(const struct track_queue *queue);

/* One cycle of the keeper and one of the retirer, for tests; true if there was
 * something to do.  What is under way below on the stack is left out. */
bool vm_keep(struct vm *vm, bool retire_all);

/* ---- points ----------------------------------------------------------- */

struct vm_point_request {
	enum point_type type;
	enum consistency consistency;
	char label[LABEL_BYTES];
	char request_id[REQUEST_ID_BYTES]; /* "" if none */
	uint32_t timeout_ms;               /* 0: SEAL_TIMEOUT_MS */
	/* A snapshot's instant: a row that is no point before it is
	 * converted, called ID. */
	bool snapshot;
	struct guid id; /* zero: a fresh one */
	/* vm_import()'s alone. */
	const struct import *import;
	/* NULL, or called right before the cut: writes of the epochs from FIRST
	 * on come after it.  If the call fails nevertheless there was none. */
	void (*cut)(void *arg, uint64_t first);
	/* NULL, or called right before the commit, when all writes of the
	 * epochs before FIRST are over and the images synced; MS are left. A
	 * failure is the call's.  A log-based point must have it. */
	int (*drained)(void *arg, uint32_t ms, struct err *err);
	void *cut_arg; /* of both */
};

/* Makes a point over all disks.  A repeated request id gives the point it
 * made.  -RP_ESTATE, -RP_ELATCHED, -RP_ELIMIT, -RP_ETIMEOUT, -RP_ENOROOM,
 * -RP_EIOFAIL: no point, nothing changed. */
int vm_point_create(struct vm *vm, const struct vm_point_request *request,
		    struct point_row *ret_point, struct err *err);
/*
 * Makes *N points of another host, oldest first, known here, all or none
 * (docs/format/log-export.md).  Of ROWS count: id, type, consistency, label,
 * created_ns, disks, tracking_id, bytes; and `invalid`, why every answer about
 * a point is.  That may be "" of the last one alone, whose content the disks
 * then have now: the caller, who attached them, has seen to it and lets nobody
 * write.  Older ones that are there already stay as they are and are left out
 * of ROWS and *N.  -RP_EALREADY: the last one is there, or a tracking id;
 * -RP_EPARAM: they are of other disks; -RP_ESTATE: a log is open, too;
 * -RP_ELIMIT; else as vm_point_create().
 */
int vm_import(struct vm *vm, struct point_row *rows, uint32_t *n,
	      struct err *err);
/* All that it would refuse without asking the disks, and what is left out. */
int vm_import_admit(struct vm *vm, struct point_row *rows, uint32_t *n,
		    struct err *err);
/* -RP_ENOPOINT: also of a snapshot's row. */
int vm_point_destroy(struct vm *vm, const struct guid *id, struct err *err);
/* The guest was frozen at its cut, which is known only when that is long over:
 * its consistency, which was that of a crash, is from now on application.
 * -RP_ENOPOINT. */
int vm_point_vouch(struct vm *vm, const struct guid *id, struct err *err);
int vm_point_find(struct vm *vm, const struct guid *id,
		  struct point_row *ret_point, struct err *err);
/* The rows of snapshots: dropped, made points in one commit, named anew.
 * -RP_ENOPOINT: also of a point. */
int vm_snapshot_drop(struct vm *vm, const struct guid *id, struct err *err);
int vm_snapshot_convert(struct vm *vm, const struct guid *id,
			struct point_row *ret_point, struct err *err);
int vm_snapshot_rename(struct vm *vm, const struct guid *id, const char *label,
		       struct err *err);
int vm_snapshot_find(struct vm *vm, const struct guid *id,
		     struct point_row *ret_row, struct err *err);
/* Any thread.  Calls FN for each point, oldest first, on a copy.
 * -RP_ELATCHED: see vm_usable(). */
int vm_snapshots(struct vm *vm,
		 int (*fn)(void *arg, const struct point_row *row), void *arg,
		 struct err *err);
int vm_points(struct vm *vm, int (*fn)(void *arg, const struct point_row *row),
	      void *arg, struct err *err);
/* As far as known: see vm_usable(). */
unsigned vm_point_count(struct vm *vm);
/* Any thread.  -RP_ELATCHED from a commit whose outcome is not known until the
 * catalogue has been read anew. */
int vm_usable(const struct vm *vm, struct err *err);

/* ---- rows of logs ----------------------------------------------------- */

/*
 * Which logs are whose data; the logs themselves are others' (log/).  The data
 * of a log-based point is its parts, mostly one, or it has lost its data.
 * vm_point_create() makes a log-based point with the part whose origin has the
 * point's id, which is taken from an older point if that has it.
 * vm_point_destroy() of a log-based point gives its parts to the log-based
 * point before it in the same commit, or drops them if there is none or it has
 * lost its data: look at vm_log_parts() for what is left.  If it has lost its
 * own, the one before it loses them as well.
 */

/* Any thread.  Calls FN for each part, oldest first, on a copy, until it
 * returns anything but 0.  -RP_ELATCHED: see vm_usable(). */
int vm_log_parts(struct vm *vm,
		 int (*fn)(void *arg, const struct log_part_row *row),
		 void *arg, struct err *err);
/* Any thread.  Has POINT no data any more, and why?  False also of what is no
 * log-based point. */
bool vm_log_lost(struct vm *vm, const struct guid *point,
		 char ret_reason[REASON_BYTES]);
/* Commits a further part of POINT, the newest of all.  -RP_ENOPOINT: no
 * log-based point; -RP_ESTATE: it has lost its data, or a newer point has some;
 * -RP_EALREADY: the part is there; -RP_ELIMIT: LOG_PARTS_MAX are. */
int vm_log_add(struct vm *vm, const struct guid *origin,
	       const struct guid *point, struct err *err);
/* Commits that there is no such part, if there is one.  Never the last one of
 * its point: that is vm_log_lose(). */
int vm_log_forget(struct vm *vm, const struct guid *origin, struct err *err);
/* Commits that all parts of POINT are gone, and why; nothing if it has lost its
 * data already, whatever for.  -RP_ENOPOINT. */
int vm_log_lose(struct vm *vm, const struct guid *point, const char *reason,
		struct err *err);
/* Any thread: what all logs may take, bytes; 0: nothing was set.  And from now
 * on: a control call.  -RP_EPARAM: beyond INT64_MAX. */
uint64_t vm_log_limit(struct vm *vm);
int vm_set_log_limit(struct vm *vm, uint64_t bytes, struct err *err);

/* ---- queries ---------------------------------------------------------- */

struct vm_changes {
	struct accuracy_row accuracy;
	struct blockset *set; /* the caller's; all of the disk if invalid */
	uint64_t bytes;       /* the disk's size */
	/* SINCE ended within a block that is in the set only because the disk
	 * has grown: the bytes that it had there are as they were. */
	bool tail_kept;
};

/* Any thread.  What changed on DISK since point SINCE, up to point UNTIL or,
 * if NULL, up to now (either may be a snapshot): every write completed before
 * the call is covered. -RP_ENOPOINT; -RP_EPARAM if UNTIL is older than SINCE;
 * -RP_ESTATE if UNTIL is NULL and the disks are not attached. */
int vm_changes(struct vm *vm, uint32_t disk, const struct guid *since,
	       const struct guid *until, struct vm_changes *ret_changes,
	       struct err *err);
/* A number that changes when an earlier answer "until now" may not be reused
 * with the live bits alone: a point was made or destroyed. */
uint64_t vm_changes_serial(struct vm *vm);
/* Any thread, also a queue's: ORs into SET, an answer "until now" asked for
 * after SERIAL was read, the live bits of the regions that [offset, offset +
 * length) touches.  -EAGAIN if SERIAL holds no more. */
int vm_live_or(struct vm *vm, uint32_t disk, uint64_t serial, uint64_t offset,
	       uint64_t length, struct blockset *set);

struct vm_disk_status {
	struct accuracy_row accuracy; /* of the open generation */
	uint32_t hot_regions;
	uint32_t hot_regions_max;
	uint64_t worst_widening_bytes;
	uint64_t tracking_bytes; /* durable tracking data */
	uint64_t changed_bytes;  /* of the open generation; 0 if not attached */
};
/* Any thread. */
int vm_disk_status(struct vm *vm, uint32_t disk,
		   struct vm_disk_status *ret_status, struct err *err);
/* Any thread.  True, and why, if tracking gave way to the guest. */
bool vm_latched(struct vm *vm, char reason[REASON_BYTES]);

/* Longest that a queue's guest was held at a cut, and the last one. */
struct vm_cut_times {
	uint64_t last_ns;
	uint64_t max_ns;
};
void vm_cut_times(struct vm *vm, struct vm_cut_times *ret_times);

/* Since the store was opened.  Any thread. */
struct vm_counts {
	uint64_t activations;   /* regions made hot */
	uint64_t intent_syncs;  /* that made them so */
	uint64_t waited_writes; /* pieces of requests that waited for one */
};
void vm_counts(struct vm *vm, struct vm_counts *ret_counts);

/* ---- upkeep ----------------------------------------------------------- */

struct vm_finding {
	bool damaged; /* else a warning */
	char where[96];
	char message[ERR_TEXT_BYTES];
};
/* Reads all tracking data and verifies every checksum and invariant; calls FN
 * for each finding.  0 even if there are some. */
int vm_check(struct vm *vm, void (*fn)(void *arg, const struct vm_finding *f),
	     void *arg, uint64_t *ret_bytes_read, struct err *err);

/*
 * Growth of a disk, detached, in two steps around the image's own growth:
 * vm_grow_begin() makes room for the tracking of BYTES and notes the intent;
 * the caller grows the image; vm_grow_end() makes it true.  After a crash
 * between them the next vm_attach() forgets it if the image has not grown, and
 * takes it as done if it has; the open generation is then invalid, as growth
 * and others' writes move the same times.
 * -RP_EPARAM: not larger, no multiple of 512, or beyond DISK_BYTES_MAX.
 * -RP_ESTATE: there are snapshots.
 */
int vm_grow_begin(struct vm *vm, uint32_t disk, uint64_t bytes,
		  struct err *err);
int vm_grow_end(struct vm *vm, uint32_t disk, struct err *err);

#endif
