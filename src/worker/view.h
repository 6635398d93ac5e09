/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What changed since a point, as the NBD server's meta contexts show it.
 *
 * An answer to block status includes every write completed before it was
 * asked: a view keeps the union of the sealed generations, valid while the
 * vm's serial stands, and live bits are ORed in at each question.  When the
 * serial has moved the union is made anew, by a thread of its own; the server's
 * waits for it VIEW_WAIT_MS at most, and then the question fails, so that a
 * store that hangs keeps only those waiting who ask for it.
 *
 * What changed up to a snapshot's instant is read once, and stays as it is,
 * even if the point that it was asked for is destroyed.
 */
#ifndef WORKER_VIEW_H
#define WORKER_VIEW_H

#include "nbd/server.h"
#include "track/vm.h"

#define VIEW_WAIT_MS 1000

struct views;
struct nbd_view;

int views_new(struct views **ret_views, struct err *err);
struct views *views_free(struct views *views); /* accepts NULL */

/* Waits until nothing is being made of any vm.  All views are closed. */
void views_settle(struct views *views);

/* UNTIL: a snapshot, or NULL: now.  -RP_ENOPOINT, also where UNTIL is older;
 * -RP_ETIMEOUT. */
int view_open(struct views *views, struct vm *vm, uint32_t disk,
	      const char *point, const struct guid *until,
	      struct nbd_view **ret_view, struct err *err);
/* As nbd_host's view_extents. */
int view_extents(struct nbd_view *view, uint64_t offset, uint64_t length,
		 struct nbd_extent *extents, int max);
void view_close(struct nbd_view *view);

/* An nbd_host's view_extents and view_close; they do not look at HOST. */
int view_host_extents(struct nbd_host *host, struct nbd_view *view,
		      uint64_t offset, uint64_t length,
		      struct nbd_extent *extents, int max);
void view_host_close(struct nbd_host *host, struct nbd_view *view);

/* Calls FN with the id of each point that was made before the row of ORDER. */
void view_points(struct vm *vm, uint64_t order,
		 void (*fn)(void *arg, const char *point), void *arg);

#endif
