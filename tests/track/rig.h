/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtual system of one disk on the real system: its store and image on a
 * file system, its live bitmaps on a tmpfs, an io_uring on a thread of its own,
 * the keeper's threads.  What tests of threads, hangs, full file systems and
 * times stand on; crashes are the simulator's (world.h).
 *
 * All functions but rig_new() and rig_free() may be called on any thread while
 * the rig is served.
 */
#ifndef TESTS_TRACK_RIG_H
#define TESTS_TRACK_RIG_H

#include <pthread.h>
#include <semaphore.h>

#include "disk/faulty.h"
#include "disk/image.h"
#include "disk/ring.h"
#include "log/logs.h"
#include "snapshot/snapshot.h"
#include "track/vm.h"

struct rig {
	char base[256]; /* directory of all but the live bitmaps */
	char memory_path[64];
	char image_path[288];
	uint64_t bytes;
	uint8_t machine; /* the host's id, if it must be another */
	struct fs *store;
	struct fs *memory;
	struct fs *outside;
	struct file *fallback;
	struct faults *faults; /* on the store; NULL: none */
	bool faulty_io;        /* and on the queue; set before rig_start() */
	int image_fd;          /* as image_open() made it */
	struct file *image;
	struct image_geometry geometry;
	struct vm *vm;
	struct snapshots *snapshots;
	bool logging;                  /* set before rig_start() */
	struct logs *logs;             /* NULL: not logging */
	struct logs *_Atomic attended; /* by the thread that serves */
	/* the thread that serves */
	bool serving;
	pthread_t thread;
	sem_t ready;
	struct ring *ring;
	struct ioq *ioq;
	struct track_queue *queue;
	struct volume *volume;
	struct ring_op timer;
	struct ring_task quit;
	struct ring_task bind;
};

/* Makes a rig with a sparse image of BYTES, below DIR (NULL: $TMPDIR or
 * /var/tmp).  Aborts if the machine does not let it. */
struct rig *rig_new(const char *dir, uint64_t bytes);
/* The same with the store below DIR and the image elsewhere. */
struct rig *rig_new_apart(const char *dir, uint64_t bytes);
struct rig *rig_free(struct rig *rig); /* removes all files */

int rig_define(struct rig *rig, struct err *err);

/* Opens the store, attaches and serves.  RULES (disk/faulty.h) are for the
 * store; NULL: none.  On failure all is closed again. */
int rig_start(struct rig *rig, const char *rules, struct err *err);
/* Stops serving, detaches, closes. */
int rig_stop(struct rig *rig, struct err *err);

/* Stops it, and makes the image larger. */
int rig_grow(struct rig *rig, uint64_t bytes, struct err *err);

/* One request through the ring; waits up to MS (-ETIMEDOUT: it is still in
 * flight, and the rig may only be abandoned or waited for). */
struct rig_request {
	struct volume_request request;
	struct ring_task task;
	struct rig *rig;
	sem_t over;
	int result;
	void *data;
};
void rig_submit(struct rig *rig, struct rig_request *r, enum volume_op op,
		uint64_t offset, uint64_t length);
int rig_wait(struct rig_request *r, unsigned ms);
void rig_request_done(struct rig_request *r);
int rig_do(struct rig *rig, enum volume_op op, uint64_t offset,
	   uint64_t length);

int rig_point(struct rig *rig, struct guid *ret_id, struct err *err);
int rig_log_point(struct rig *rig, struct guid *ret_id, struct err *err);
/* The answer up to now; aborts if there is none. */
struct vm_changes rig_changes(struct rig *rig, const struct guid *since);

uint64_t rig_now_ns(void); /* CLOCK_MONOTONIC */

#endif
