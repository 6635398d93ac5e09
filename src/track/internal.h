/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of this layer share.
 *
 * Numbered invariants of tracking; code and tests refer to them.
 *
 *  T1  Mark, then write: a write is submitted only when every block it touches
 *      has its bit set in the live bitmap of the write's epoch.
 *  T2  A bit is set only while its region is hot, under the volume's lock; a
 *      region is hot only after an intent record that names it was synced.
 *  T3  In a cold region every set bit is durable: it is in a synced page.  With
 *      T2: a bit that is seen set may be trusted by anybody, without a lock.
 *  T4  A region turns cold only if, between noting its mark counter and
 *      finding it unchanged under the lock, its page was written and synced,
 *      for each generation that is being marked.
 *  T5  Recovery after a power cut reports: all pages with a generation not
 *      older than the open one, from both page files, and every block of
 *      every region named by the intent record in force.
 *  T6  Both page files belong to one disk; the open generation and the one
 *      that a running seal has begun never share a file.  Pages of a sealed
 *      generation are dead: older than the open one (T5).
 *  T7  After a seal that failed, what its generation marked is merged into the
 *      open one, in memory at once (the live files stay until then), and in
 *      the open one's own page file before anybody else may use the other.
 *  T8  Generation numbers only grow and are never used twice, failed seals and
 *      crashes included: they are taken from a range reserved by a commit.
 *  T9  The live bitmaps' directory is emptied by a power cut and by nothing
 *      else of ours before a commit says that they are not needed.
 *  T11 While there is a log of all writes (vm_strict()) each piece is written
 * in a hot region, bits set or not, and a region turns cold only if, besides
 *      T4, no piece of it is between its mark and its end, and the log is
 *      durable with all that are over.  So after a power cut, what the log may
 *      lack lies in regions of the intent record in force.  Attaching while
 *      there is a log keeps hot what was, until it is settled.
 *  T10 A store that fails or hangs latches: the reason is made durable in a
 *      tombstone (or the time for that runs out), then guests go on untracked.
 *      The open generation is invalid from then on.
 *
 * Locks, in the order in which they may be taken:
 *   control   one control call at a time
 *   keeping   the intents file, while it is used
 *   paging    the page files, while they are used
 *   maps      which live bitmaps exist: read by whoever retires while he writes
 *             pages and by queries while they read live bits; written by a
 *             seal while it changes them, for no longer than that takes
 *   model     the catalogue's rows in memory
 *   volume    a volume's regions
 *   wake      the keeper's, the retirer's and undertakers' wake-ups
 * None but control, keeping, paging and maps is held across I/O.  The queues'
 * threads take only maps (for reading), model, volume and wake, and none while
 * it may be held across I/O for writing.
 */
#ifndef TRACK_INTERNAL_H
#define TRACK_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "store/catalogue.h"
#include "store/files.h"
#include "track/epoch.h"
#include "track/parallel.h"
#include "track/vm.h"

enum region_state {
	REGION_COLD,
	REGION_WANTED, /* queued for activation */
	REGION_HOT,
	REGION_RETIRING, /* takes no marks any more; turns cold with this cycle
			  */
};

struct region {
	uint8_t state;
	_Atomic uint32_t used; /* the tick of the last write; relaxed */
	uint32_t marks;        /* times that bits were set; wraps */
	uint32_t inside;       /* T11: pieces between mark and end */
	uint64_t over;         /* T11: the volume's count after its last one */
};

struct volume {
	struct vm *vm;
	uint32_t ordinal;
	uint64_t bytes;
	uint64_t blocks;
	struct file *image; /* borrowed */
	struct image_geometry geometry;
	struct image_stamp stamp; /* once it was attached and marked */

	/* By parity of the epoch that marks there.  Both pages files are
	 * always open; which one a slot's generation uses is slot_file. */
	struct live_file live[2];
	bool live_open[2];
	struct pages_file *pages[2];

	pthread_mutex_t lock;
	struct region *regions;
	uint64_t region_count;
	uint32_t *hot; /* regions that are hot, in no order */
	uint32_t hot_count;
	uint32_t *wanted; /* regions to activate, oldest first */
	uint32_t wanted_count;
	uint32_t activating; /* the keeper's: the first of the wanted ones */
	struct volume_request *waiters; /* for activation, oldest first */
	struct volume_request **waiters_end;

	_Atomic int owed; /* D4: to the guest's next flush */
	uint64_t over;    /* T11: pieces that are over */
	uint64_t settled; /* T11: how many of them are durable in the log */

	/* The queue's thread only. */
	struct track_queue *queue;
	struct volume_request *inflight; /* pieces begun and not over */
	bool wrote;                      /* a piece was ever submitted */
};

struct track_queue {
	struct vm *vm;
	struct epoch_queue epoch;
	struct ioq *ioq;
	void (*post)(void *arg, struct ring_task *task);
	void *arg;
	struct ring_task retry; /* posted when waiters may go on */
	_Atomic bool retry_posted;
	_Atomic uint32_t retries;    /* tasks posted and not yet over */
	struct volume_request *held; /* completed, but not yet by E2 */
	struct volume_request **held_end;
	uint64_t requests; /* in flight */
	uint64_t begun;    /* requests ever */
	uint64_t writes;   /* mutating pieces in flight */
	/* Syncs of images that guests asked for, numbered from 1. */
	_Atomic uint64_t syncs_begun;
	_Atomic uint64_t syncs_over;  /* these and all before them */
	struct volume_request *syncs; /* in flight, oldest first */
	struct volume_request **syncs_end;
	struct track_queue *next;
};

/* What the two slots (parities) stand for. */
struct slot {
	bool marking; /* its bitmap is in use */
	uint64_t generation;
	uint32_t file; /* which pages file */
};

enum latch_state {
	LATCH_OFF,
	LATCH_WRITING,
	LATCH_ON
};

struct counts {
	_Atomic uint64_t activations;
	_Atomic uint64_t intent_syncs;
	_Atomic uint64_t waited_writes;
};

struct vm {
	struct vm_env env;
	struct catalogue *catalogue;

	pthread_mutex_t control;
	pthread_mutex_t keeping;
	pthread_mutex_t paging;
	pthread_rwlock_t maps;
	pthread_mutex_t model;

	/* model */
	struct system_row system;
	struct disk_row *disks; /* DISKS_PER_VM_MAX */
	uint32_t disk_count;
	struct generation_row *generations; /* ascending; the last is open */
	uint32_t generation_count;
	uint32_t generation_room;
	struct point_row *points; /* oldest first */
	uint32_t point_count;
	uint32_t point_room;
	uint64_t serial; /* of changes to points and generations */
	struct log_part_row *log_parts; /* LOG_PARTS_MAX; oldest first */
	uint32_t log_part_count;
	struct log_lost_row *log_lost;
	uint32_t log_lost_count;
	uint32_t log_lost_room;
	uint64_t log_limit; /* bytes; 0: none set */
	struct vm_cut_times cut_times;

	/* attached */
	_Atomic bool attached;
	bool untracked; /* VM_ATTACH_UNTRACKED */
	/* The catalogue may say something else: reopen. */
	_Atomic bool broken;
	struct volume *volumes;       /* disk_count */
	struct volume_guard *guard;   /* or NULL */
	struct volume_logger *logger; /* or NULL */
	_Atomic bool strict;          /* T11 */
	_Atomic bool settling; /* the retirer waits for volume_settled() */
	enum vm_ended ended;
	struct track_queue *_Atomic queues; /* only grows while attached */
	struct epoch epoch;
	struct slot slots[2]; /* by parity; changed under maps */
	/* D4: what an image holds after a power cut is not known any more; no
	 * point can be made before it was opened anew. */
	_Atomic bool sync_failed;
	_Atomic unsigned syncing; /* syncs of images by other threads */
	struct intents_file *intents;
	struct file *tombstone;
	uint64_t
	    generation_next; /* T8: reserved up to system.next_generation */
	bool undone; /* T7: a failed seal's generation is merged in memory,
			but pages of it still count */
	uint64_t undone_generation;
	_Atomic uint32_t
	    tick; /* milliseconds, for least recently used; wraps */
	_Atomic bool record_stale; /* the record in force names cold regions */
	struct intent *record;     /* room for one; under keeping */
	struct counts counts;

	struct parallel *retire_syncs; /* NULL without threads */
	struct parallel *seal_syncs;

	/* keeper, retirer and undertakers */
	pthread_mutex_t wake;
	pthread_cond_t woken; /* undertakers */
	pthread_cond_t keeper_woken;
	pthread_cond_t retire_woken;
	bool keeper_wanted;
	bool retire_wanted;
	bool stopping;
	bool gathering;           /* the keeper waits for a crowd */
	_Atomic unsigned waiting; /* requests, for their regions */
	/* the keeper's */
	unsigned crowd;   /* that waited at its last cycle's end; read by
			     others under `wake` while gathering */
	uint64_t sync_ns; /* how long that took */
	unsigned gather_skip;
	unsigned threads;
	pthread_t thread[4];
	_Atomic bool latch_claimed;
	_Atomic int latch;      /* enum latch_state */
	_Atomic uint32_t tombs; /* undertakers that succeeded */
	uint64_t latch_deadline_ns;
	char latch_reason[REASON_BYTES]; /* written before `latch` */
};

/* keeper.c */
void keeper_wake(struct vm *vm);
void keeper_wake_waiters(struct vm *vm); /* they try again */
int keeper_start(struct vm *vm, struct err *err);
void keeper_stop(struct vm *vm);
/* Makes wanted all regions of VOLUME that were written since SINCE (tick) and
 * are cold, up to what fits. */
void keeper_prelog(struct volume *volume, uint32_t since);

/* retire.c */
void retire_wake(struct vm *vm);
void *retire_thread(void *arg); /* the vm */
/* With `paging` held.  PRESSED: room is wanted; ALL: as if all of it were.
 * True if there was something to do. */
bool retire_cycle(struct vm *vm, bool pressed, bool all);
/* Writes, without syncing, the page with REGION for each marking slot. */
int keeper_write_page(struct volume *volume, uint32_t index,
		      bool wrote[PAGE_FILES], struct err *err);

/* latch.c */
void latch_begin(struct vm *vm, const char *reason);
/* The queue's thread: has the time for tombstones run out? */
void latch_tick(struct vm *vm);
void latch_bury(struct vm *vm, unsigned which); /* an undertaker's work */

/* volume.c */
void volume_release_waiters(struct volume *volume); /* volume lock held */
void queue_retry(struct track_queue *queue);        /* any thread */
void queue_released(void *arg);                     /* E2, queue's thread */

/* vm.c */
uint64_t track_monotonic_ns(void);
struct generation_row *model_open_generation(struct vm *vm);
/* Room for one more row of SIZE bytes in *ROWS; -ENOMEM. */
int model_grow(void **rows, uint32_t count, uint32_t *room, size_t size);
int model_add_generation(struct vm *vm, const struct generation_row *row);
int model_add_point(struct vm *vm, const struct point_row *row);
uint32_t model_count(const struct vm *vm, bool snapshots);
void model_drop_generation(struct vm *vm, uint64_t generation);
/* Commits what PUT writes; on an unknown result the store is broken: latches
 * if attached, and refuses everything until reopened.  ARG goes to PUT. */
int vm_commit(struct vm *vm,
	      int (*put)(struct vm *vm, void *arg, struct err *err), void *arg,
	      bool *ret_unknown, struct err *err);
int vm_reload(struct vm *vm, struct err *err); /* detached only */

/* log-rows.c */
int log_rows_read_part(void *arg, const struct log_part_row *row);
int log_rows_read_lost(void *arg, const struct log_lost_row *row);
void log_rows_read_limit(void *arg, uint64_t bytes);
int log_rows_verify(const struct vm *vm, struct err *err);
/* Has the newest log-based point its data? */
const struct guid *log_rows_open(const struct vm *vm);
/* What the destruction of POINT, while it is in the model, does to logs: in its
 * commit, and in the model, whose lock is held. */
int log_rows_put_destroy(struct vm *vm, const struct guid *point,
			 struct err *err);
void log_rows_destroyed(struct vm *vm, const struct guid *point);
/* Likewise a seal; and whether one may begin: -RP_ELIMIT, -RP_ESTATE,
 * -RP_EPARAM. */
int log_rows_admit_seal(const struct vm *vm,
			const struct vm_point_request *request,
			struct err *err);
int log_rows_put_seal(struct vm *vm, const struct point_row *point,
		      struct err *err);
void log_rows_sealed(struct vm *vm, const struct point_row *point);

/* seal.c: vm_point_create() with control held */
int seal_create(struct vm *vm, const struct vm_point_request *request,
		struct point_row *ret_point, struct err *err);

/* import.c: what else a seal does for it.  Room; whose point it is, and what
 * stands in `system` then; the other rows, in the commit and then in the model,
 * whose lock is held. */
struct import {
	struct point_row *rows;
	uint32_t n;
	bool sealed; /* the last of them is the seal's own */
};
int import_reserve(struct vm *vm, const struct import *import, struct err *err);
void import_plan(const struct import *import, uint64_t generation,
		 struct system_row *system, struct point_row *ret_point);
int import_put(struct vm *vm, const struct import *import, struct err *err);
void import_publish(struct vm *vm, const struct import *import);

/* generations.c */
int generations_compact(struct vm *vm, struct err *err);
int generations_sweep(struct vm *vm, struct err *err);

static inline _Atomic uint64_t *volume_bits(struct volume *volume, uint64_t e)
{
	return volume->live[e & 1].bits;
}

#endif
