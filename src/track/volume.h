/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One disk as a guest sees it: the one way in for every server (NBD now,
 * vhost-user-blk later).  volume_submit() serialises overlapping writes,
 * marks before it writes, counts the write into its epoch, and completes each
 * request exactly once.
 */
#ifndef TRACK_VOLUME_H
#define TRACK_VOLUME_H

#include <stdbool.h>
#include <stdint.h>

#include "disk/disk.h"

struct volume;
struct vm;
struct ring_task;

enum volume_op {
	VOLUME_READ,
	VOLUME_WRITE,
	VOLUME_ZERO,    /* reads as zeros afterwards */
	VOLUME_DISCARD, /* content afterwards undefined, but stable */
	VOLUME_FLUSH,   /* all writes completed before this are durable after */
};

enum volume_flags {
	VOLUME_FUA = 1u << 0,     /* durable before done() */
	VOLUME_NO_HOLE = 1u << 1, /* VOLUME_ZERO: keep space allocated */
};

/* Embedded in the server's own request; the fields above the line are set by
 * the server and not touched while the request is in flight. */
struct volume_request {
	enum volume_op op;
	unsigned flags;
	uint64_t offset; /* bytes, a multiple of 512 */
	uint64_t length; /* bytes, likewise; 0 only for VOLUME_FLUSH */
	void *data;      /* VOLUME_READ, VOLUME_WRITE: LENGTH bytes, aligned to
			    4096; may not change while in flight */
	/* Exactly once, on the queue's thread, never from volume_submit().
	 * RESULT is 0 or -errno. */
	void (*done)(struct volume_request *request, int result);
	/* ------------------------------------------------------------------ */
	struct volume *volume;
	void *owner; /* who serves it, where that is no volume */
	struct volume_request *next; /* in one list at a time */
	struct volume_request *prev;
	struct volume_request *waiting; /* next that waits for its region */
	uint64_t waiting_since_ns;      /* of this piece; 0: it does not */
	struct volume_request *held;    /* overlapping ones waiting on us */
	uint64_t position;              /* of the piece in work */
	uint64_t piece;                 /* its length */
	uint64_t epoch;
	uint64_t guarded_ns;    /* how long the guard held it, all pieces */
	uint64_t held_since_ns; /* the guard's: of this piece; 0: not now */
	uint64_t sync;     /* the number of its sync, while that is in flight */
	unsigned syncing;  /* syncs under way: the image's, the logger's */
	void *logged;      /* the logger's, of this piece or flush; or NULL */
	const void *bytes; /* likewise: what the image is written with */
	bool inside;       /* counted in its region: T11 */
	uint32_t state;
	int result;
	struct io io;
};

/* OFFSET and LENGTH must have been checked against volume_bytes() by the
 * server; asserted here. */
void volume_submit(struct volume *volume, struct volume_request *request);

/*
 * What stands between a guest's write and the image.  A write is done in
 * pieces; a piece in flight has its blocks for itself.
 */
struct volume_guard {
	/* The queue's thread: [position, position + piece) of REQUEST, which is
	 * of REQUEST->epoch and marked, is about to change.  True: it may now.
	 * False: volume_go_on() will be called, once, later, on this thread. */
	bool (*before)(struct volume_guard *guard,
		       struct volume_request *request);
};
void volume_go_on(struct volume_request *request);
/* The same of a discard, which is not done: it is only a hint. */
void volume_skip(struct volume_request *request);

/*
 * Who keeps a log of what is written.  All on the queue's thread but settle().
 * What is called back is so once, later, on this thread, never from the call.
 */
struct volume_logger {
	/* After the guard; [position, position + piece) as there, and PIECE may
	 * be made smaller: the rest follows as another one.  Sets
	 * request->logged if the piece is in the log, and with it, for a
	 * VOLUME_WRITE, request->bytes: what the image is to be written with.
	 * A discard that is logged is done as VOLUME_ZERO.  False:
	 * volume_logged() will be called. */
	bool (*add)(struct volume_logger *logger,
		    struct volume_request *request);
	/* The image's write of what is in the log has ended.  False:
	 * volume_over() will be called; until then the piece has its blocks. */
	bool (*written)(struct volume_logger *logger,
			struct volume_request *request, int result);
	/* A flush or FUA, right before the image's sync is submitted; may set
	 * request->logged.  False: volume_synced() will be called when the log
	 * is durable up to here. */
	bool (*sync)(struct volume_logger *logger,
		     struct volume_request *request);
	/* Both syncs are over; if sync() has set request->logged. */
	void (*synced)(struct volume_logger *logger,
		       struct volume_request *request, int result);
	/* The retirer's thread: it waits for volume_settled(). */
	void (*settle)(struct volume_logger *logger);
};
void volume_logged(struct volume_request *request);
void volume_over(struct volume_request *request);
void volume_synced(struct volume_request *request);

/* D4.  The queue's thread: a sync of VOLUME's image that has just succeeded may
 * be counted on once all that had begun by now are over, as they may be told of
 * a failure in its place: volume_sync_counts() with what volume_syncs() says
 * now.  Never after one has failed, nor while others' are under way. */
uint64_t volume_syncs(const struct volume *volume);
bool volume_sync_counts(const struct volume *volume, uint64_t syncs);
/* Any thread.  One that no guest waited for has failed: the guest's next flush
 * does. */
void volume_sync_failed(struct volume *volume, int result);

/* T11.  The queue's thread: how many pieces of VOLUME are over ... */
uint64_t volume_pieces_over(struct volume *volume);
/* ... and: the first OVER of them are durable in the log. */
void volume_settled(struct volume *volume, uint64_t over);

const char *volume_id(const struct volume *volume); /* "root" */
uint64_t volume_bytes(const struct volume *volume);
bool volume_can_discard(const struct volume *volume);
uint32_t volume_ordinal(const struct volume *volume);
struct file *volume_image(const struct volume *volume);
/* The queue's thread: how many requests its volumes were ever given. */
uint64_t volume_requests(const struct volume *volume);
/* Of the queue that the volume is bound to; post: any thread. */
struct ioq *volume_ioq(const struct volume *volume);
void volume_post(const struct volume *volume, struct ring_task *task);
/* The image, for lseek(2)'s SEEK_HOLE; -1 where there is no descriptor. */
int volume_fd(const struct volume *volume);

#endif
