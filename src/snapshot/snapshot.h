/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recovery snapshots: the content of a virtual system's disks at one instant,
 * kept readable while the guest goes on writing.
 *
 * The instant is a point's cut (track/seal.c): a snapshot's row stands among
 * the points', is no point to anybody, and becomes one by conversion, in one
 * commit, under the same id.  So what changed between a point and a snapshot is
 * an ordinary question: vm_changes() with the snapshot's id as `until`.
 *
 * Content: before a block is first written after the instant, what it held is
 * copied into a scratch file in the store.  Which blocks were copied stands in
 * a file on the tmpfs: a killed worker loses nothing, a power cut ends the
 * snapshot.  What cannot be copied (no room, an error, a store that hangs)
 * makes the snapshot invalid, never a guest's write.
 *
 * Threads: `control` is whoever makes control calls, one at a time, and may
 * wait; `queue` is the thread of the disk's queue (with one ring: the ring's).
 */
#ifndef SNAPSHOT_SNAPSHOT_H
#define SNAPSHOT_SNAPSHOT_H

#include "track/vm.h"

struct snapshots;     /* of one virtual system */
struct snapshot_disk; /* one disk of one snapshot, open for reading */

enum snapshot_state {
	SNAPSHOT_VALID,
	SNAPSHOT_INVALID, /* of no use but to be dropped */
};
const char *snapshot_state_name(enum snapshot_state state); /* "valid" ... */

struct snapshot_info {
	struct point_row row; /* id, label, consistency, created_ns, bytes[] */
	enum snapshot_state state;
	char reason[REASON_BYTES]; /* "" if valid */
	uint64_t limit_bytes;      /* of scratch, all disks; 0: none */
	uint64_t scratch_bytes[DISKS_PER_VM_MAX]; /* copied so far */
};

/*
 * Control.  Takes up what snapshots VM's catalogue has: VM is open, detached,
 * and outlives the result.  Those that a power cut ended are dropped, with a
 * log line, and so are files that belong to none.
 */
int snapshots_new(struct vm *vm, struct snapshots **ret_snapshots,
		  struct err *err);
/* Detached.  Accepts NULL. */
struct snapshots *snapshots_free(struct snapshots *snapshots);

/* Control; after vm_attach() and before the first request of a volume.  From
 * now on writes are copied before.  Snapshots of images that somebody else may
 * have written become invalid: no failure. */
int snapshots_attach(struct snapshots *snapshots, struct err *err);
/* Control; nothing is in flight, no disk is open; before vm_detach().  The
 * snapshots stay. */
void snapshots_detach(struct snapshots *snapshots);

struct snapshot_request {
	struct guid id; /* fresh */
	enum consistency consistency;
	char label[LABEL_BYTES];
	char request_id[REQUEST_ID_BYTES]; /* "" if none */
	uint32_t timeout_ms;               /* 0: SEAL_TIMEOUT_MS */
	uint64_t limit_bytes;              /* of scratch; 0: none */
	bool clone; /* by the file system (FICLONE): no copies, once done */
};

/* Control, attached.  As vm_point_create(); and -RP_ENOROOM, -RP_ELIMIT. */
int snapshot_create(struct snapshots *snapshots,
		    const struct snapshot_request *request,
		    struct snapshot_info *ret_info, struct err *err);

/* Control; attached or not.  -RP_ENOPOINT if there is no snapshot ID.  Disks
 * of it that are open answer with errors from now on.
 * Convert: the snapshot is gone and the point is there (same id, its instant
 * and consistency), or, on failure, neither.  -RP_ESTATE: it is invalid. */
int snapshot_drop(struct snapshots *snapshots, const struct guid *id,
		  struct err *err);
int snapshot_convert(struct snapshots *snapshots, const struct guid *id,
		     struct point_row *ret_point, struct err *err);
int snapshot_rename(struct snapshots *snapshots, const struct guid *id,
		    const char *label, struct err *err);

/* Any thread: oldest first; -RP_ELATCHED as vm_points(). */
int snapshots_list(struct snapshots *snapshots,
		   int (*fn)(void *arg, const struct snapshot_info *info),
		   void *arg, struct err *err);
int snapshot_find(struct snapshots *snapshots, const struct guid *id,
		  struct snapshot_info *ret_info, struct err *err);

/* Any thread, and waits for nothing: it is invalid, or not there. */
bool snapshot_is_over(struct snapshots *snapshots, const struct guid *id);

/* The queue's thread of VOLUME, every VM_TICK_MS: room and stalls. */
void snapshots_tick(struct snapshots *snapshots);

/* ---- reading ------------------------------------------------------------- */

/* Control, attached: DISK by ordinal.  -RP_ENOPOINT. */
int snapshot_open(struct snapshots *snapshots, const struct guid *id,
		  uint32_t disk, struct snapshot_disk **ret_disk,
		  struct err *err);
/* Any thread, nothing of it in flight.  Accepts NULL. */
struct snapshot_disk *snapshot_close(struct snapshot_disk *disk);
uint64_t snapshot_bytes(const struct snapshot_disk *disk);

/*
 * The disk's queue's thread.  REQUEST as for volume_submit(), op VOLUME_READ;
 * its done() comes exactly once, on this thread, never from here; its volume
 * member is not used.  -EIO once the snapshot is invalid or gone: what was read
 * is then worth nothing.
 */
void snapshot_read(struct snapshot_disk *disk, struct volume_request *request);

/* Any thread; may wait for the disk.  Where what is at OFFSET ends, at most at
 * END: *RET_HOLE: it reads as zeros and takes no space.  -EIO as above. */
int snapshot_extent(struct snapshot_disk *disk, uint64_t offset, uint64_t end,
		    uint64_t *ret_to, bool *ret_hole, struct err *err);

#endif
