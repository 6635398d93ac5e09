/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker's line to refpointd: RUN/worker.sock, org.refpoint.daemon.
 *
 * A worker goes on without refpointd for as long as it serves.  It calls again
 * when it needs something, until link_seal(): then it may make no more
 * connections, and one that has lost its line ends once it serves no more.
 */
#ifndef WORKER_LINK_H
#define WORKER_LINK_H

#include "common/paths.h"
#include "disk/image.h"
#include "rpc/rpc.h"

#define START_FDS_MAX (DISKS_PER_VM_MAX + 2)

struct link;

struct link_start {
	bool serve;
	json_t *images; /* []Image; the caller's */
	int fds[START_FDS_MAX];
	unsigned n; /* the tombstone is the last of them */
};

/* VM is borrowed. */
int link_new(const struct paths *paths, const char *vm, struct link **ret_link,
	     struct err *err);
struct link *link_free(struct link *link); /* accepts NULL */

/* Says that we are here, again and again for as long as nobody listens; then
 * what refpointd answers.  Any other failure is final. */
int link_start(struct link *link, struct link_start *ret_start,
	       struct err *err);

/* Who listens there; only they may command us. */
uid_t link_uid(const struct link *link);

/* Has refpointd set NONCE on the image of disk ID.  Any one thread. */
int link_mark(struct link *link, const char *id, const struct guid *nonce,
	      struct err *err);

/* The listener of a snapshot's readers, anew; the caller's.  Any one thread. */
int link_snapshot_listener(struct link *link, const struct guid *snapshot,
			   int *ret_fd, struct err *err);

/* No more connections from here on. */
void link_seal(struct link *link);
/* Can refpointd be asked?  False only after link_seal().  Any thread. */
bool link_is_usable(struct link *link);

#endif
