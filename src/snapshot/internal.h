/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of this layer share.
 *
 * Numbered invariants; code and tests refer to them.
 *
 *  N1  A write of an epoch from a snapshot's first on is submitted only when
 *      each block that it touches was copied for that snapshot, or the
 *      snapshot is invalid, or its clone is made.
 *  N2  A block counts as copied (its bit is set) only after what it held was
 *      written to the scratch file, or found to be zeros, which an unwritten
 *      scratch block is as well.  Bits are never cleared.
 *  N3  What is copied is what the block held at the instant: the piece that is
 *      about to change it has the block for itself (track/volume.h), so older
 *      writes of it are over and no newer one has begun.
 *  N4  A reader takes the image first and looks at the bits afterwards: a block
 *      whose bit is not set then was not written since the instant, by N1, and
 *      one whose bit is set comes from scratch.  So readers lock nothing, and
 *      wait for no writer.
 *  N5  Invalid is said (in the mapping) before a write goes on without its
 *      copy, and is looked at after what was read: nobody is given live data.
 *      It is never taken back.
 *  N6  All of it survives a kill: bits and state in the mapping on the tmpfs,
 *      scratch in the page cache.  A write-back that fails later is found by
 *      file_lost() after each read of scratch.
 *  N7  The files of a snapshot are made before the commit that makes its row,
 *      and removed after the one that drops or converts it.  A row without its
 *      file on the tmpfs, or with one of another boot, ended with the power.
 *  N8  A copy's writing that does not end within SNAPSHOT_STALL_MS, or all of
 *      a request's copies, and its waiting for a free one, that take longer
 *      than SNAPSHOT_PAUSE_MS, make the snapshot invalid, and the guest's write
 *      goes on; of a discard they make that it is not done.  The copy's memory,
 *      and what it writes to, are held until the kernel has given them back,
 *      if need be beyond the end of serving.
 *  N9  What may wait for the disk, but not for a control call, is the
 *      janitor's: how much room there is, and closing files.
 *  N10 Of all that is asked of snapshots of a disk, at most SNAPSHOT_READS_MAX
 *      reads of SNAPSHOT_READ_BYTES or less, as long as they are less than
 *      SNAPSHOT_READS_BYTES, are at its image; others wait in turn.  While the
 *      guest asks for anything of any disk it is SNAPSHOT_BESIDE_BYTES.
 *      However much readers ask at once, what the guest wants of that device
 *      stands behind no more.  The same of each snapshot's own files, apart: a
 *      store that hangs holds up who reads scratch, and nobody else.
 *
 * Files of a copy that a killed worker left in flight: its bit is not set, so
 * the guest's write was not submitted, and the successor copies the same
 * content to the same place.
 *
 * Locks: `lock` protects the list of snapshots, and what `list` says below, and
 * what is the janitor's; it is held for a look only, never across I/O, and
 * nothing is taken under it.
 */
#ifndef SNAPSHOT_INTERNAL_H
#define SNAPSHOT_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "snapshot/snapshot.h"
#include "store/files.h"

/* N10: what is read, and what waits to be; the queue's thread alone. */
struct turns {
	unsigned reads;
	uint64_t bytes;
	struct volume_request *first;
	struct volume_request **end;
};

struct kept {
	struct turns turns;       /* at its scratch and its clone */
	struct snapshot_file map; /* .file NULL: there is none */
	struct file *scratch;     /* attached; else NULL */
	struct file *clone;       /* likewise, if there is one */
	uint64_t blocks;
};

struct snapshot {
	struct snapshots *owner;
	struct snapshot *next;
	struct point_row row;  /* list */
	_Atomic unsigned refs; /* the list's, open disks', copies' */
	_Atomic bool gone;     /* dropped or converted */
	_Atomic bool invalid;  /* N5; as the mapping says, if there is one */
	char reason[REASON_BYTES]; /* list; "" if valid */
	uint64_t first_epoch;      /* list; UINT64_MAX: before the cut */
	bool ready;                /* list; it has its row: it exists */
	uint64_t limit_bytes;
	bool released; /* the janitor's: invalid, and its scratch is empty */
	_Atomic bool cloned;
	uint32_t count;
	struct kept *disks; /* count */
};

struct copy;

/* The copies of one disk; its queue's thread alone. */
struct copying {
	struct copy *active;
	struct copy *idle;
	unsigned copies;                /* that exist */
	struct volume_request *waiting; /* for one; by `waiting` */
	struct volume_request **waiting_end;
	struct turns turns;      /* at the image */
	uint64_t guest_requests; /* when they were last looked at ... */
	uint64_t guest_ns;       /* ... and were more than before */
	/* Reads that failed at once, and the task that says so. */
	struct volume_request *failed;
	struct ring_task task;
	bool posted;
};

struct snapshots {
	struct volume_guard guard;
	struct vm *vm;
	pthread_mutex_t lock;
	struct snapshot *list; /* oldest first */
	bool attached;
	unsigned copies_max;     /* of each disk */
	struct copying *copying; /* by disk; while attached */
	/* Bytes that may be copied before the store's room is looked at again;
	 * below zero there is none. */
	_Atomic int64_t room;
	_Atomic int64_t inflight; /* of it, being written */

	/* The janitor; without threads it comes with the tick. */
	bool janitor_runs;
	bool stopping;
	pthread_t janitor;
	pthread_cond_t wake;
	struct snapshot *doomed; /* nobody has a reference any more */
};

/* files.c */
struct snapshot *snapshot_new(struct snapshots *owner,
			      const struct point_row *row);
void snapshot_ref(struct snapshot *s);
/* The last one closes its files, or has the janitor do it. */
void snapshot_unref(struct snapshot *s);
void snapshot_destroy(struct snapshot *s); /* without a reference */
/* The same by who may outlive `owner`. */
void snapshot_unref_late(struct snapshot *s);
/* Gives the space of an invalid one back. */
void files_release(struct snapshot *s);
/* Makes all files; on failure none is left. */
int files_make(struct snapshot *s, struct err *err);
/* Opens those on the tmpfs.  -ENOENT: the snapshot ended with the power. */
int files_open(struct snapshot *s, struct err *err);
int files_attach(struct snapshot *s, struct err *err);
void files_detach(struct snapshot *s);
void files_unlink(struct snapshot *s);
/* Removes the files of ids that LIST does not have. */
void files_sweep(struct snapshots *snapshots);
/* Clones the images (FICLONE); attached, after the cut. */
int files_clone(struct snapshot *s, struct err *err);

/* snapshots.c */
void snapshots_lock(struct snapshots *snapshots);
void snapshots_unlock(struct snapshots *snapshots);
/* N5.  Any thread, without the lock; the first reason stays. */
void snapshot_invalidate(struct snapshot *s, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static inline bool snapshot_is_valid(const struct snapshot *s)
{
	return !atomic_load(&s->invalid) && !atomic_load(&s->gone);
}
/* With the lock. */
void snapshot_tell(const struct snapshot *s, struct snapshot_info *info);
struct snapshot *snapshots_find(struct snapshots *snapshots,
				const struct guid *id);
/* Takes it from the list; the list's reference is then the caller's. */
void snapshots_remove(struct snapshots *snapshots, struct snapshot *s);
/* What the store has for scratch now: below zero if the reserve is touched. */
int snapshots_room(struct snapshots *snapshots, int64_t *ret_room,
		   struct err *err);

/* janitor.c */
int janitor_start(struct snapshots *snapshots, struct err *err);
void janitor_stop(struct snapshots *snapshots);
void janitor_work(struct snapshots *snapshots); /* once */
/* Takes S, without a reference, over; false: there is none. */
bool janitor_take(struct snapshots *snapshots, struct snapshot *s);

/* copy.c */
bool copy_before(struct volume_guard *guard, struct volume_request *request);
int copying_init(struct snapshots *snapshots, struct err *err);
void copying_done(struct snapshots *snapshots);
void copying_tick(struct snapshots *snapshots);

static inline uint64_t snapshot_now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Is the block's bit set?  Acquire: what was copied is in scratch. */
static inline bool kept_has(const struct kept *kept, uint64_t block)
{
	return atomic_load_explicit(&kept->map.bits[block / 64],
				    memory_order_acquire) >>
		   block % 64 &
	       1;
}

/* Where, from FIRST on and at most at END, the bits begin to be unlike
 * FIRST's. */
static inline uint64_t kept_run(const struct kept *kept, uint64_t first,
				uint64_t end)
{
	bool has = kept_has(kept, first);
	uint64_t block = first + 1;

	while (block < end) {
		if (block % 64 == 0 && block + 64 <= end &&
		    atomic_load_explicit(&kept->map.bits[block / 64],
					 memory_order_acquire) ==
			(has ? UINT64_MAX : 0)) {
			block += 64;
			continue;
		}
		if (kept_has(kept, block) != has)
			break;
		block++;
	}
	return block;
}

#endif
