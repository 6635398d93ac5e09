/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store's files beside the catalogue, one small object for each kind.
 * All functions block and go through the disk seam; an object may be used by
 * one thread at a time.
 *
 *   name             what                             made by      size
 *   intents          8 slots of records               definition   4 MiB
 *   pages.ORD.{0,1}  durable bitmap pages, 2 slots    definition   fixed
 *   tombstone        why tracking stopped             definition   4 KiB
 *   gen-GEN-SERIAL   one sealed generation            seal, merge  as needed
 *   live-ORD-GEN     live bitmap, on the tmpfs        serve, seal  fixed
 *   snapshot-ID-ORD  blocks copied, on the tmpfs      snapshot     fixed
 *   scratch-ID-ORD   what they held                   snapshot     sparse
 *   clone-ID-ORD     the image, by FICLONE            snapshot     the image's
 *   log-ID-ORD.hrl   the writes since a point         point        grows
 *   log-ID-ORD.side  their order, times, what is good point        grows
 *   log-ID-ORD       what is under way, on the tmpfs  point        fixed
 *
 * GEN is 16 hex digits, SERIAL 8, ORD decimal.  All preallocated files are
 * written with zeros when made, so that later writes allocate nothing.
 */
#ifndef STORE_FILES_H
#define STORE_FILES_H

#include "disk/disk.h"
#include "format/format.h"

/* ---- intents ---------------------------------------------------------- */

struct intents_file;

int intents_create(struct fs *fs, struct err *err); /* synced, not sync_dir */
/* Reads all slots.  *RET_FOUND: is there a valid record of LIVE (the newest
 * one is then in force and will not be overwritten by the next write)?  What
 * is in force is durable, even if a killed process had not synced it yet.
 * A slot that is neither valid nor never written is a torn write: at most one
 * may be torn, and only one that was next to be written; else -RP_ECORRUPT. */
int intents_open(struct fs *fs, const struct guid *store,
		 const struct guid *live, struct intents_file **ret_file,
		 bool *ret_found, struct err *err);
/* The record in force: its entries, borrowed until the next write. */
const struct intent *intents_in_force(const struct intents_file *file,
				      uint32_t *ret_count);
/* From now on records are of LIVE.  Nothing is written; what was in force
 * stays protected until intents_commit() of the first new record. */
void intents_rebind(struct intents_file *file, const struct guid *live);
/* Writes the next record (whole hot set) without syncing. */
int intents_write(struct intents_file *file, const struct intent *intents,
		  uint32_t count, struct err *err);
/* The caller has synced (intents_sync_file): the record last written is now
 * the one in force. */
void intents_commit(struct intents_file *file);
struct file *intents_sync_file(struct intents_file *file);
struct intents_file *intents_close(struct intents_file *file);

/* ---- pages ------------------------------------------------------------ */

struct pages_file;

/* Makes pages.ORD.0 and .1 for a disk of BYTES, or grows them to it.  Synced,
 * not sync_dir. */
int pages_create(struct fs *fs, uint32_t disk, uint64_t bytes, struct err *err);
/* WHICH: 0 or 1.  Does not read. */
int pages_open(struct fs *fs, const struct guid *store, uint32_t disk,
	       unsigned which, uint64_t bytes, struct pages_file **ret_file,
	       struct err *err);
/* Writes the page with these bits as GENERATION into the slot that does not
 * hold its newest durable content (reads both slots the first time that a page
 * is written), without syncing.  BITS: PAGE_REGIONS * REGION_WORDS words, read
 * with relaxed atomic loads; the part beyond the disk's last region is zero. */
int pages_write(struct pages_file *file, uint32_t index, uint64_t generation,
		const _Atomic uint64_t *bits, uint64_t words, struct err *err);
/* What was written before is now durable.  All syncs of the file go through
 * here: they decide which slot the next write may take.  After one that failed
 * no write and no sync succeeds any more. */
int pages_sync(struct pages_file *file, struct err *err);

/* What one page of this file says of generations >= FROM. */
struct page_report {
	uint32_t index;
	bool torn;    /* a slot is neither valid nor never written */
	bool present; /* some valid slot has a generation >= FROM */
	uint64_t bits[PAGE_REGIONS][REGION_WORDS]; /* their union */
};
/* Reads the whole file in large pieces and calls FN for each page that is
 * present or torn; stops at its first non-zero result.  Bits beyond the disk's
 * end are left out: it may have been larger.  -RP_ECORRUPT: a valid page of
 * another store, disk or index; both slots of a page torn, which no crash
 * does. */
int pages_scan(struct pages_file *file, uint64_t from,
	       int (*fn)(void *arg, const struct page_report *report),
	       void *arg, struct err *err);
/* The same of one page, which need not be present. */
int pages_read(struct pages_file *file, uint32_t index, uint64_t from,
	       struct page_report *ret_report, struct err *err);
struct pages_file *pages_close(struct pages_file *file);

/* ---- tombstone -------------------------------------------------------- */

int tombstone_create(struct fs *fs, struct err *err); /* synced, not sync_dir */
/* Durable when it returns 0.  A crash leaves the old one or the new one. */
int tombstone_write(struct file *file, const struct tombstone *tombstone,
		    struct err *err);
/* -ENODATA: none, or of another store or live id (ERR untouched). */
int tombstone_read(struct file *file, const struct guid *store,
		   const struct guid *live, struct tombstone *ret_tombstone,
		   struct err *err);
/* Overwrites it with zeros; durable when it returns 0. */
int tombstone_clear(struct file *file, struct err *err);

/* ---- sealed generations ----------------------------------------------- */

void sealed_name(uint64_t generation, uint32_t serial, char name[48]);
/* Writes and syncs the file and its directory.  On failure nothing is left
 * but what a later sweep removes. */
int sealed_write(struct fs *fs, const struct sealed_head *head,
		 const struct sealed_disk *disks, struct err *err);
/* Reads and verifies; the sets are the caller's. -RP_ECORRUPT also if the file
 * is not there or is of another store, generation or serial. */
int sealed_read(struct fs *fs, const struct guid *store, uint64_t generation,
		uint32_t serial, struct sealed_head *ret_head,
		struct sealed_disk ret_disks[DISKS_PER_VM_MAX],
		struct err *err);

/* ---- snapshots -------------------------------------------------------- */

struct snapshot_file {
	struct file *file;
	struct snapshot_head head;
	struct snapshot_file_state *state; /* in the mapping */
	_Atomic uint64_t *bits;            /* in the mapping */
};

#define SNAPSHOT_NAME_BYTES 64

enum snapshot_part {
	SNAPSHOT_COPIED,  /* on the tmpfs */
	SNAPSHOT_SCRATCH, /* in the store, as the next one */
	SNAPSHOT_CLONE,
};
void snapshot_name(enum snapshot_part part, const struct guid *id,
		   uint32_t disk, char name[SNAPSHOT_NAME_BYTES]);

/* Makes the file on the tmpfs, all space allocated, all bits clear. */
int snapshot_file_create(struct fs *memory, const struct snapshot_head *head,
			 struct snapshot_file *ret_file, struct err *err);
/* -ENOENT if there is none; -RP_ECORRUPT if it is not of STORE, or not what its
 * name says. */
int snapshot_file_open(struct fs *memory, const struct guid *store,
		       const struct guid *id, uint32_t disk,
		       struct snapshot_file *ret_file, struct err *err);
void snapshot_file_close(struct snapshot_file *file); /* leaves the file */
/* Removes one of DISK that was never completed. */
void snapshot_file_sweep(struct fs *memory, uint32_t disk);
/* Removes what one disk of a snapshot has; what is not there is no failure. */
void snapshot_unlink(struct fs *store, struct fs *memory, const struct guid *id,
		     uint32_t disk);
/* Calls FN for each file of a snapshot in FS, the store or the tmpfs (by name
 * alone); stops at its first non-zero result. */
int snapshot_files(struct fs *fs,
		   int (*fn)(void *arg, const struct guid *id, uint32_t disk),
		   void *arg, struct err *err);

/* ---- logs ------------------------------------------------------------- */

#define LOG_NAME_BYTES 64

enum log_part {
	LOG_DATA,  /* in the store, as the next one */
	LOG_SIDE,  /* its sidecar */
	LOG_TABLE, /* on the tmpfs */
};
void log_name(enum log_part part, const struct guid *point, uint32_t disk,
	      char name[LOG_NAME_BYTES]);

struct log_files {
	struct file *data;
	struct file *side;
	struct sidecar_head head;
};

/* Makes both, empty but for FIRST of BYTES and the sidecar's head; what had
 * their names before is gone.  Synced, not sync_dir. */
int log_files_create(struct fs *store, const struct sidecar_head *head,
		     const void *first, uint32_t bytes,
		     struct log_files *ret_files, struct err *err);
/* -RP_ECORRUPT also if the sidecar is of another store, point or disk. */
int log_files_open(struct fs *store, const struct guid *id,
		   const struct guid *point, uint32_t disk,
		   struct log_files *ret_files, struct err *err);
void log_files_close(struct log_files *files); /* leaves the files */

struct log_table {
	struct file *file;
	struct log_table_head head;
	struct log_table_live *live;  /* in the mapping */
	struct log_table_slot *slots; /* in the mapping; head.slots of them */
};

/* All slots free.  An old one of that name is replaced. */
int log_table_create(struct fs *memory, const struct log_table_head *head,
		     enum log_table_state state, struct log_table *ret_table,
		     struct err *err);
/* -ENOENT: there is none.  -RP_ECORRUPT also if it is of another store, point,
 * disk, log or boot than HEAD says, or has another number of slots. */
int log_table_open(struct fs *memory, const struct log_table_head *head,
		   struct log_table *ret_table, struct err *err);
void log_table_close(struct log_table *table); /* leaves the file */
/* Removes one of DISK that was never completed. */
void log_table_sweep(struct fs *memory, uint32_t disk);

/* Removes what one disk's log has; what is not there is no failure.  MEMORY
 * may be NULL. */
void log_unlink(struct fs *store, struct fs *memory, const struct guid *point,
		uint32_t disk);
/* Calls FN for each file of a log in FS, the store or the tmpfs (by name
 * alone); stops at its first non-zero result. */
int log_walk(struct fs *fs,
	     int (*fn)(void *arg, const struct guid *point, uint32_t disk),
	     void *arg, struct err *err);

/* ---- live bitmaps ----------------------------------------------------- */

struct live_file {
	struct file *file;
	struct live_head head;
	struct live_state *state; /* in the mapping */
	_Atomic uint64_t *bits;   /* in the mapping */
	uint64_t words;           /* whole regions */
	char name[48];
};

/* Makes a live file, all space allocated, all bits clear.  An old file of that
 * name is replaced.  Written to a temporary name and renamed, so that a file
 * of the final name is complete. */
int live_create(struct fs *memory, const struct live_head *head,
		struct live_file *ret_live, struct err *err);
/* Opens the live file of DISK and GENERATION; -ENOENT if there is none;
 * -RP_ECORRUPT if its header is not ours or not of STORE and LIVE, or its size
 * not what the header says. */
int live_open(struct fs *memory, const struct guid *store,
	      const struct guid *live, uint32_t disk, uint64_t generation,
	      struct live_file *ret_live, struct err *err);
void live_close(struct live_file *live); /* leaves the file */
int live_unlink(struct fs *memory, uint32_t disk, uint64_t generation,
		struct err *err); /* 0 also if it is not there */
/* Calls FN for each live file of the directory (by name alone). */
int live_list(struct fs *memory,
	      int (*fn)(void *arg, uint32_t disk, uint64_t generation),
	      void *arg, struct err *err);

#endif
