/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exports disks, or files as they are: reads what is to be had from sources and
 * has one qcow2, or the same file, written for each by refpoint-target, on a
 * thread of its own.
 *
 * Invariants:
 *  1. Whatever the target does (slow, full, gone, hanging), only this thread
 *     waits for it, and that ends when the export is cancelled, and with the
 *     process: the files are another one's.  Nothing of a source is held or
 *     asked for longer than its reads in flight take: exporter_stop() waits
 *     for those alone.
 *  2. At most EXPORT_BATCHES buffers are in use, each of PLAN_BYTES and with
 *     PLAN_READS reads in flight.  They lie in memory that refpoint-target
 *     shares, are read into while others are written, and used anew when what
 *     was in them is written.
 *  3. Blocks that are near each other are read together; what lies between
 *     them is not written.  Zeros are found and take no space.
 *     Where a hash is asked for, what is read is hashed, and no file is there.
 *  4. The result is success only when each file is complete.  They are not
 *     synced.
 *  5. Only regular files that are empty are written to, opened for reading and
 *     writing, no two the same: else -RP_EPARAM is the outcome.
 */
#ifndef BACKUP_EXPORTER_H
#define BACKUP_EXPORTER_H

#include "common/blockset.h"
#include "disk/ring.h"
#include "track/volume.h"

#define EXPORT_BATCHES  8
#define EXPORT_ID_BYTES 64

struct export_source;

struct export_source_ops {
	/* Any thread: runs TASK on the source's. */
	void (*post)(struct export_source *source, struct ring_task *task);
	/* The source's thread; as snapshot_read(). */
	void (*read)(struct export_source *source,
		     struct volume_request *request);
	/* Any thread but the source's; as snapshot_extent(). */
	int (*extent)(struct export_source *source, uint64_t offset,
		      uint64_t end, uint64_t *ret_to, bool *ret_hole,
		      struct err *err);
};

/* Embedded by whoever has something to read. */
struct export_source {
	const struct export_source_ops *ops;
};

struct export_disk {
	const char *id; /* for messages: of a disk, or a file's name */
	bool plain;     /* a file, written as it is; no set, no backing */
	bool hash; /* only hashed; those that are stand behind all others */
	struct export_source *source; /* stays the caller's; see stop */
	struct blockset *changed;     /* taken over; NULL: all of the disk */
	uint64_t bytes;
	const char *backing; /* a qcow2's file name; NULL: none */
};

struct export_result {
	uint64_t data_bytes; /* stored */
	uint64_t file_bytes; /* the file's length */
};

struct exporter;

/*
 * Starts with N DISKS, whose strings are copied; FDS are target_new()'s, of as
 * many files, but for those that are hashed: what is taken over of them is -1
 * then.  ENDED(arg) is called once, on the thread, as the last thing it does.
 * On failure the disks' sets stay the caller's.
 */
int exporter_start(const struct export_disk *disks, unsigned n, int *fds,
		   void (*ended)(void *arg), void *arg,
		   struct exporter **ret_exporter, struct err *err);

/* Any thread: it is to end, as -RP_ECANCELLED, for REASON, which may be "".
 * What had failed before stays. */
void exporter_cancel(struct exporter *exporter, const char *reason);
/* The same, and waits until no source is used any more: then they may be
 * closed.  Not on a source's thread. */
void exporter_stop(struct exporter *exporter, const char *reason);

/* Any thread.  Of disks' bytes, or of the changed ones' where there is a
 * set. */
void exporter_progress(const struct exporter *exporter, uint64_t *ret_done,
		       uint64_t *ret_total);

/* The rest after ENDED was called. */
int exporter_outcome(const struct exporter *exporter, struct err *err);
struct export_result exporter_result(const struct exporter *exporter,
				     unsigned disk);
/* The hash of one of which that was asked, after a success. */
const uint8_t *exporter_hash(const struct exporter *exporter, unsigned disk);
/* Waits for the thread's end; accepts NULL. */
struct exporter *exporter_free(struct exporter *exporter);

#endif
