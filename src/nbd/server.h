/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The NBD server (the NBD protocol document, fixed newstyle): one export for
 * each disk of a virtual system, on the worker's ring.
 *
 * Structured replies, simple ones where the client did not negotiate; meta
 * contexts `base:allocation` and `qemu:dirty-bitmap:POINT` (changed since that
 * point; POINT is the point's id); NBD_CMD_READ with DF, WRITE with FUA, FLUSH,
 * TRIM, WRITE_ZEROES with NO_HOLE, CACHE, BLOCK_STATUS with REQ_ONE;
 * CAN_MULTI_CONN: a flush covers every write acknowledged on any connection.
 * Block sizes: minimum 512, preferred 4096, maximum NBD_REQUEST_BYTES_MAX.
 *
 * A client that breaks the protocol costs its own connection, with one log
 * line.  Memory is bounded: at most NBD_CONNECTIONS_MAX connections, and at
 * most INFLIGHT_BYTES_MAX of payload over all of them; beyond that connections
 * are simply not read until room is free.
 */
#ifndef NBD_SERVER_H
#define NBD_SERVER_H

#include "common/err.h"
#include "disk/ring.h"
#include "track/volume.h"

struct nbd_server;
struct nbd_view; /* the host's: what changed since one point, on one disk */

struct nbd_extent {
	uint64_t length; /* bytes */
	bool dirty;
};

/* What the server asks of the worker.  view_open and view_extents come on a
 * thread of the server's, which may wait, one call at a time; the connection,
 * and with it the volume, stays until they return.  All others come on the
 * ring's thread and may not block for longer than a memory copy. */
struct nbd_host {
	unsigned (*count)(struct nbd_host *host);
	struct volume *(*volume)(struct nbd_host *host, unsigned index);

	/* Names of points for NBD_OPT_LIST_META_CONTEXT: calls FN for each. */
	void (*points)(struct nbd_host *host, struct volume *volume,
		       void (*fn)(void *arg, const char *point), void *arg);
	/* -RP_ENOPOINT if there is no such point. */
	int (*view_open)(struct nbd_host *host, struct volume *volume,
			 const char *point, struct nbd_view **ret_view,
			 struct err *err);
	/* Extents from OFFSET on, covering at most LENGTH bytes; neighbours
	 * differ in `dirty`; returns how many (1 to MAX) or negative: then the
	 * view no longer holds (the point was destroyed). */
	int (*view_extents)(struct nbd_host *host, struct nbd_view *view,
			    uint64_t offset, uint64_t length,
			    struct nbd_extent *extents, int max);
	void (*view_close)(struct nbd_host *host, struct nbd_view *view);

	/* A client entered transmission on the volume, or left it. */
	void (*attached)(struct nbd_host *host, struct volume *volume,
			 bool attached);
};

int nbd_server_new(struct ring *ring, struct nbd_host *host,
		   struct nbd_server **ret_server, struct err *err);

/* Begins to accept on LISTEN_FD, which stays the caller's.  Ring's thread. */
void nbd_server_listen(struct nbd_server *server, int listen_fd);

/* Closes every connection once its requests in flight are done and stops
 * accepting; DONE(arg) is then called on the ring's thread.  The server may
 * listen again afterwards. */
void nbd_server_drain(struct nbd_server *server, void (*done)(void *arg),
		      void *arg);

/* Nothing may be in flight.  Accepts NULL. */
struct nbd_server *nbd_server_free(struct nbd_server *server);

/* Payload bytes that requests in flight hold now. */
uint64_t nbd_server_inflight(const struct nbd_server *server);

#endif
