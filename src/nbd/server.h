/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The NBD server (the NBD protocol document, fixed newstyle): one export for
 * each disk that its host shows, on the worker's ring.
 *
 * Structured replies, simple ones where the client did not negotiate; meta
 * contexts `base:allocation` and `qemu:dirty-bitmap:POINT` (changed since that
 * point; POINT is the point's id); NBD_CMD_READ with DF, WRITE with FUA, FLUSH,
 * TRIM, WRITE_ZEROES with NO_HOLE, CACHE, BLOCK_STATUS with REQ_ONE;
 * CAN_MULTI_CONN: a flush covers every write acknowledged on any connection.
 * Block sizes: minimum 512, preferred 4096, maximum NBD_REQUEST_BYTES_MAX.
 *
 * A client that breaks the protocol costs its own connection, with one log
 * line.  Memory is bounded: beyond the payload that a server may hold
 * connections are simply not read until room is free.  Several servers on one
 * ring share nothing but its thread.
 */
#ifndef NBD_SERVER_H
#define NBD_SERVER_H

#include "common/err.h"
#include "disk/ring.h"
#include "track/volume.h"

struct nbd_disk;
struct nbd_server;
struct nbd_view; /* the host's: what changed since one point, on one disk */

struct nbd_extent {
	uint64_t length; /* bytes */
	bool dirty;
};

struct nbd_disk_ops {
	/* As volume_submit(), on the ring's thread: done() comes exactly once,
	 * there, never from here. */
	void (*submit)(struct nbd_disk *disk, struct volume_request *request);
	/* On a thread that may wait: where what is at OFFSET ends, after it and
	 * at most at END; *RET_HOLE: it reads as zeros and takes no space.
	 * -EIO: the disk cannot be read. */
	int (*extent)(struct nbd_disk *disk, uint64_t offset, uint64_t end,
		      uint64_t *ret_to, bool *ret_hole);
};

/* What is exported under one name, embedded in what it really is.  Nothing of
 * it changes while the host shows it. */
struct nbd_disk {
	const struct nbd_disk_ops *ops;
	const char *id; /* the export's name */
	uint64_t bytes; /* a multiple of 512 */
	bool read_only; /* only VOLUME_READ is submitted */
	bool can_discard;
};

/* What the server asks of the worker.  view_open and view_extents come on a
 * thread of the server's, which may wait, one call at a time; the connection,
 * and with it the disk, stays until they return.  All others come on the
 * ring's thread and may not block for longer than a memory copy. */
struct nbd_host {
	unsigned (*count)(struct nbd_host *host);
	struct nbd_disk *(*disk)(struct nbd_host *host, unsigned index);

	/* Names of points for NBD_OPT_LIST_META_CONTEXT: calls FN for each. */
	void (*points)(struct nbd_host *host, struct nbd_disk *disk,
		       void (*fn)(void *arg, const char *point), void *arg);
	/* -RP_ENOPOINT if there is no such point. */
	int (*view_open)(struct nbd_host *host, struct nbd_disk *disk,
			 const char *point, struct nbd_view **ret_view,
			 struct err *err);
	/* Extents from OFFSET on, covering at most LENGTH bytes; neighbours
	 * differ in `dirty`; returns how many (1 to MAX) or negative: then the
	 * view no longer holds (the point was destroyed). */
	int (*view_extents)(struct nbd_host *host, struct nbd_view *view,
			    uint64_t offset, uint64_t length,
			    struct nbd_extent *extents, int max);
	void (*view_close)(struct nbd_host *host, struct nbd_view *view);

	/* A client entered transmission on the disk, or left it. */
	void (*attached)(struct nbd_host *host, struct nbd_disk *disk,
			 bool attached);
};

struct nbd_setup {
	const char *name;     /* of the server, for the log; borrowed */
	unsigned connections; /* at once */
	/* Payload of them all: at least NBD_FLOOR_BYTES for each, and
	 * NBD_REQUEST_BYTES_MAX. */
	uint64_t bytes;
};

/* Any thread. */
int nbd_server_new(struct ring *ring, struct nbd_host *host,
		   const struct nbd_setup *setup,
		   struct nbd_server **ret_server, struct err *err);

/* Begins to accept on LISTEN_FD, which stays the caller's.  Ring's thread, or
 * before it runs. */
void nbd_server_listen(struct nbd_server *server, int listen_fd);

/* Closes every connection once its requests in flight are done and answered,
 * and stops accepting; DONE(arg) is then called, later, on the ring's thread.
 * The server may listen again afterwards. */
void nbd_server_drain(struct nbd_server *server, void (*done)(void *arg),
		      void *arg);

/* The same, but nothing more is answered: it waits for nobody but the disks. */
void nbd_server_break(struct nbd_server *server, void (*done)(void *arg),
		      void *arg);

/* Any thread; it never listened, or has been drained.  Accepts NULL. */
struct nbd_server *nbd_server_free(struct nbd_server *server);

/* Payload bytes that requests in flight hold now. */
uint64_t nbd_server_inflight(const struct nbd_server *server);

#endif
