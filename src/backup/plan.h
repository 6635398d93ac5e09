/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an export reads next: blocks in ascending order, near ones together, in
 * pieces that fill a buffer.  No I/O but for asking where holes are.
 */
#ifndef BACKUP_PLAN_H
#define BACKUP_PLAN_H

#include "common/blockset.h"
#include "common/err.h"

#define PLAN_BYTES      (1u << 20)   /* of a buffer */
#define PLAN_READS      32u          /* for one buffer */
#define PLAN_ITEMS      256u         /* likewise */
#define PLAN_GAP_BYTES  (16u << 10)  /* is read through rather than around */
#define PLAN_LOOK_BYTES (256u << 10) /* from here on holes are looked for */
#define PLAN_RUNS       64
#define PLAN_ZERO       UINT32_MAX

struct plan_read {
	uint64_t offset, length;
	uint32_t at; /* in the buffer, a multiple of 4096 */
};

/* What is told to the image; ascending. */
struct plan_item {
	uint64_t offset, length;
	uint32_t at; /* in the buffer; PLAN_ZERO: it reads as zeros */
};

struct plan {
	unsigned n_reads, n_items;
	uint32_t used; /* of the buffer */
	uint64_t done; /* of the disk's work, once this is done */
	struct plan_read reads[PLAN_READS];
	struct plan_item items[PLAN_ITEMS];
};

/* As snapshot_extent(). */
typedef int plan_look_fn(void *arg, uint64_t offset, uint64_t end,
			 uint64_t *ret_to, bool *ret_hole, struct err *err);

/* Where the work on a disk is. */
struct planner {
	uint64_t bytes;                 /* the disk's */
	const struct blockset *changed; /* NULL: all of it, but for holes */
	plan_look_fn *look;
	void *arg;
	/* its own: */
	uint64_t at, run_end, known_end;
	bool hole;
	uint64_t done;
	uint64_t next_block;
	unsigned run, runs;
	struct blockset_run list[PLAN_RUNS];
};

/* CHANGED and what LOOK needs outlive it. */
void planner_init(struct planner *planner, uint64_t bytes,
		  const struct blockset *changed, plan_look_fn *look,
		  void *arg);
/* What `done` comes to. */
uint64_t planner_total(const struct planner *planner);
/* 1: PLAN says what is next; 0: there is nothing more; else a failure of
 * LOOK. */
int planner_next(struct planner *planner, struct plan *plan, struct err *err);

#endif
