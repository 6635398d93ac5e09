/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtual system on the simulator, its guest, and the truth about it.
 *
 * Every sector that the guest writes holds the number of the write (0: zeros),
 * so that what an image holds after any disaster tells which writes survived.
 * The truth is kept at submission: for each sector the numbers of the writes
 * that were handed to the disk, with their epochs; overlapping writes are
 * serialised, so this is also their order on the disk.
 *
 *   P1  world_check(): for every point, each sector whose content differs from
 *       what it was at the point lies in a block reported as changed
 *   P2  each block reported had a write submitted after the point, but for
 *       widened_bytes; unless the answer says assumed or invalid
 *   P3  a point that was reported exists; a point that exists covers all disks
 *   N    a snapshot reads as the disk was at its instant, or not at all; it
 *        survives a kill, and no power cut; converted, it is a point
 *   L    what a log-based point's disks held, with the logs from there on, is
 * what the disks hold, whatever happened; and up to the next log-based point,
 *        what they held then
 *   order  at each submission: the block is claimed by what is durable now
 *   E2     a write that the guest issued after it was told that another one is
 *          done is never of an older epoch than that one; and when a point has
 *          been made nothing that is before it is in flight
 *
 * Each disk is served by a queue of its own, whose tasks run late and at random
 * times, so that a cut meets queues of two epochs.
 */
#ifndef TESTS_TRACK_WORLD_H
#define TESTS_TRACK_WORLD_H

#include "log/logs.h"
#include "sim/sim.h"
#include "snapshot/snapshot.h"
#include "track/vm.h"

#define WORLD_DISKS      2
#define WORLD_POINTS_MAX 128
#define WORLD_DOUBTS_MAX 1024
#define WORLD_REQUESTS   24

struct history {
	uint32_t *ids; /* of the writes, in order */
	uint64_t *epochs;
	uint32_t count, room;
};

struct world_point {
	struct guid id;
	bool acked;
	bool destroyed;
	bool log;        /* log-based */
	bool snapshot;   /* no point yet */
	bool converting; /* whether it is one is not known */
	bool may_go;     /* it ended, and the store kept its row for now */
	uint64_t stamp;  /* global epoch: writes at or below it are before */
	uint64_t bytes[WORLD_DISKS];
};

/* Something happened at EPOCH because of which the generation that was open
 * then may be invalid. */
struct world_doubt {
	uint32_t disk;
	uint64_t epoch;
};

struct world_request {
	struct volume_request request;
	struct world *world;
	uint8_t *data;
	uint32_t id;
	bool busy;
	uint64_t after; /* E2: the newest epoch of what was done before it */
	void (*io_done)(struct io *io, int result);
};

/* As a thread that serves one disk. */
struct world_queue {
	struct world *world;
	struct track_queue *track; /* NULL: not attached */
	struct ring_task *tasks;   /* posted, oldest first */
	struct ring_task **tasks_end;
};

struct world {
	struct sim *sim;
	struct fs *store;
	struct fs *memory;
	struct fs *outside;
	struct file *fallback;
	struct vm *vm;
	struct snapshots *snapshots;
	bool logging;      /* set before the world begins */
	bool logs_fail;    /* logs may be given up */
	bool mending;      /* logs are being attached */
	struct logs *logs; /* NULL: not logging */
	uint64_t logs_checked, logs_lost;
	struct guid boot;
	bool powerless;     /* the power was cut since the last check */
	bool scratch_fails; /* snapshots may become invalid */
	uint64_t snapshot_reads;
	struct snapshot_disk *reading; /* at a death */
	struct file *images[WORLD_DISKS];
	struct image_geometry geometry[WORLD_DISKS];
	struct world_queue queues[WORLD_DISKS];
	struct ioq *ioq;
	struct ioq watched; /* what the volumes get; hands on to ioq */
	struct world_request requests[WORLD_REQUESTS];
	uint32_t next_id;
	uint64_t bytes[WORLD_DISKS];
	struct history *histories[WORLD_DISKS]; /* per sector */
	uint8_t *touched[WORLD_DISKS]; /* per block: it has a history */
	/* Per block: the epochs of deaths at which a write of it was marked and
	 * waited for its copy, or may have. */
	struct history *asked[WORLD_DISKS];
	bool snapshots_made;
	struct world_point points[WORLD_POINTS_MAX];
	unsigned point_count;
	uint64_t epoch_base; /* epochs of earlier attachments end here */
	uint64_t epoch_top;
	uint64_t epoch_done; /* the newest of a write that the guest saw done */
	unsigned guest_rate; /* per cent of hooks in which the guest acts */
	bool narrow;         /* the guest writes single sectors of two blocks */
	unsigned submit_flags; /* VOLUME_*, of what world_submit() makes */
	unsigned pump_holds;   /* so many waits complete no I/O */
	unsigned keepers;      /* calls of vm_keep() on the stack */
	bool in_pump;
	bool check_order;
	struct world_doubt doubts[WORLD_DOUBTS_MAX];
	unsigned doubt_count;
	uint64_t order_checks;
	uint64_t split_writes; /* submitted while the queues' epochs differ */
	uint64_t seed;
	struct blockset *claims[WORLD_DISKS];
	uint64_t claims_ops;
};

struct world *world_new(uint64_t seed, uint32_t hot_regions);
struct world *world_free(struct world *w);

int world_define(struct world *w, struct err *err);
int world_start(struct world *w, unsigned flags, struct err *err);
void world_stop(struct world *w); /* handles only, as a dead process */
int world_detach(struct world *w, struct err *err);

/* One request of the guest's, of at most 16 KiB if it is a write; false: too
 * many are in flight. */
bool world_submit(struct world *w, uint32_t disk, enum volume_op op,
		  uint64_t offset, uint64_t length);
/* One guest write (or zero, or discard) at random; false: no room. */
bool world_write(struct world *w);
/* All that the queues were posted. */
void world_run_tasks(struct world *w);
bool world_has_tasks(const struct world *w);
void world_step(struct world *w);   /* something random, but no control call */
void world_settle(struct world *w); /* until nothing is in flight */
int world_point(struct world *w, struct err *err);
int world_log_point(struct world *w, struct err *err);
int world_destroy(struct world *w, struct err *err);
/* The same for snapshots, one at random; 0 also if there is none. */
int world_snapshot(struct world *w, struct err *err);
int world_convert(struct world *w, struct err *err);
int world_drop(struct world *w, struct err *err);
bool world_has_snapshots(struct world *w); /* by the catalogue */
/* Reads one snapshot at random, while the others go on; some blocks of it, or
 * ALL that were ever written. */
void world_read_snapshot(struct world *w, bool all);

/* From here on the open generation of DISK may be invalid. */
void world_doubt(struct world *w, uint32_t disk);

/* While stopped: somebody else writes to the image of DISK; somebody makes it
 * larger. */
void world_poke(struct world *w, uint32_t disk);
void world_grow_image(struct world *w, uint32_t disk, uint64_t bytes);

/* The store opened without attaching, for what is done detached; ended by
 * world_stop(). */
int world_open(struct world *w, struct err *err);

/* After sim_kill() or sim_power_cut(), or none: opens, attaches, and holds
 * every promise to the truth.  Detached and closed again.  ASSERTs. */
void world_recover(struct world *w);
void world_check(struct world *w);
/* One question at random: any pair of points, or up to now. */
void world_ask(struct world *w);

#endif
