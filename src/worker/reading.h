/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A snapshot that is read: its disks behind an NBD server of their own, on the
 * ring that serves the guest.
 *
 *   S1  With the guest it shares the ring's thread, the disks and the store,
 *       and nothing else: memory, connections, the thread for block status and
 *       the one that reads what changed are the snapshot's own, and bounded
 *       (SNAPSHOT_BYTES_MAX, SNAPSHOT_READERS_MAX).  So a reader that stalls
 *       or hangs keeps nobody waiting but other readers of its snapshot.
 *   S2  Its contexts are fixed: base:allocation at the instant, and what
 *       changed between an older point and the instant.  No live bits.
 *   S3  What cannot be read any more is an error, never the live content: that
 *       is snapshot/read.c's.
 *   S4  Closing it waits for what its readers have in flight, at the disk and
 *       in the store, and for no reader.
 */
#ifndef WORKER_READING_H
#define WORKER_READING_H

#include "disk/ring.h"
#include "snapshot/snapshot.h"

struct reading;

/* All of these on one thread at a time, not the ring's, which runs. */

/* SNAPSHOTS, of VM, are attached, for longer than this.  LISTEN_FD is taken
 * over on success.  -RP_ENOPOINT. */
int reading_open(struct ring *ring, struct vm *vm, struct snapshots *snapshots,
		 const struct guid *id, int listen_fd,
		 struct reading **ret_reading, struct err *err);
struct reading *reading_close(struct reading *reading); /* accepts NULL */

/* Any thread. */
const struct guid *reading_id(const struct reading *reading);
unsigned reading_readers(struct reading *reading);

#endif
