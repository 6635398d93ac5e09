/* SPDX-License-Identifier: Apache-2.0 */
/* What the files that attach and detach share; the order of things stands in
 * attach.c. */
#ifndef TRACK_ATTACHING_H
#define TRACK_ATTACHING_H

#include "track/internal.h"
#include "track/judge.h"

struct attaching {
	struct vm *vm;
	unsigned flags;
	enum judge_end end;
	struct generation_row open; /* with the accuracy that will be */
	struct image_stamp stamps[DISKS_PER_VM_MAX];
	struct system_row system; /* as it will be */
	struct disk_row *disks;   /* as they will be */
	struct intent *intents;   /* in force; a copy */
	uint32_t intent_count;
	uint8_t *pages[DISKS_PER_VM_MAX]; /* by index: of enum page_need */
};

/* What recovery owes to a page; bits. */
enum page_need {
	PAGE_NEEDS_WRITE = 1u << 0,   /* in the open generation's own file */
	PAGE_NEEDS_MENDING = 1u << 1, /* in the other: a slot is torn there */
};

/* attach.c: the rows as they will be; A's own memory. */
int attaching_init(struct attaching *a, struct vm *vm, unsigned flags,
		   struct err *err);
void attaching_free(struct attaching *a);
int attaching_stamps(struct attaching *a, struct err *err);
int attaching_put(struct vm *vm, void *arg, struct err *err);
void attaching_publish(struct attaching *a);
void attached_free(struct vm *vm);
/* Removes the live files of other generations, or ALL. */
void remove_live(struct vm *vm, bool all);

/* judging.c */
void invalidate(struct attaching *a, uint32_t disk, const char *reason);
void invalidate_all(struct attaching *a, const char *reason);
/* How the last time ended; opens the live files of a kill.  What cannot be read
 * just now is an error, not an end. */
int find_end(struct attaching *a, struct err *err);
/* Lets the stamps, latches and tombstones speak.  True if tracking had given
 * way to the guest. */
bool judge_latch(struct attaching *a);
void judge_disks(struct attaching *a);
int commit_judgement(struct attaching *a, struct err *err);
int commit_disk_judgement(struct attaching *a, uint32_t disk, struct err *err);
void live_close_all(struct vm *vm);

/* recover-pages.c */
int open_pages(struct attaching *a, uint32_t disk, struct err *err);
int remake_pages(struct attaching *a, uint32_t disk, struct err *err);
int load_pages(struct attaching *a, uint32_t disk, struct err *err);
void widen(struct attaching *a, uint32_t disk);
int flush_pages(struct attaching *a, uint32_t disk, struct err *err);

/* recover.c */
int load_intents(struct attaching *a, struct err *err);
int merge_undone(struct attaching *a, struct err *err);
int adopt(struct attaching *a, struct err *err);
int fresh(struct attaching *a, struct err *err);

#endif
