/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory of all requests of one server: buffers in sizes of powers of two,
 * request objects, and the cap on what requests in flight hold.
 *
 *   M1  All users together never hold more than the cap, counted in whole
 *       buffers.
 *   M2  NBD_FLOOR_BYTES of the cap belong to each user alone, so one that
 *       holds much cannot stop the small requests of others.
 *   M3  What is above the floors is shared, first come first served: whoever
 *       waits is not overtaken.  A request of the maximum size fits whenever
 *       the shared part is idle, so each waiter's turn comes: the cap is at
 *       least all floors and a request of that size.
 *   M4  One user holds at most one buffer of the maximum size, or smaller
 *       ones of that sum.
 *
 * A cap without floors was rejected: three peers that never take their replies
 * would then stop the guest.
 */
#ifndef NBD_POOL_H
#define NBD_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/limits.h"

#define POOL_CLASS_SHIFT 12 /* the smallest buffer */
#define POOL_CLASSES     14 /* the largest: NBD_REQUEST_BYTES_MAX */

struct request;

/* One connection's share; embedded, cleared at the start. */
struct pool_user {
	uint64_t held;
	uint64_t wanted;  /* while waiting */
	uint64_t granted; /* held already, for the pool_take() that waited */
	bool waiting;
	struct pool_user *next;
};

struct pool {
	void *idle[POOL_CLASSES]; /* each links to the next in its first
				     bytes */
	uint64_t idle_bytes;
	uint64_t cap;
	uint64_t shared_max; /* of the cap, above the floors */
	uint64_t held;
	uint64_t shared;
	struct pool_user *waiters;
	struct pool_user **last;
	struct request *requests; /* unused ones */
	void *slabs;
};

/* A cap of BYTES for at most USERS. */
void pool_init(struct pool *pool, uint64_t bytes, unsigned users);
void pool_done(struct pool *pool);

/* The size of the buffer that BYTES (1 to NBD_REQUEST_BYTES_MAX) need. */
uint64_t pool_size(uint64_t bytes);

/* A buffer for BYTES, aligned to 4096, its content arbitrary.  -EAGAIN: not
 * now; try again after this user gave something back or pool_next() returned
 * it.  -ENOMEM. */
int pool_take(struct pool *pool, struct pool_user *user, uint64_t bytes,
	      void **ret_buf);
void pool_give(struct pool *pool, struct pool_user *user, void *buf,
	       uint64_t bytes);

/* The first waiter, if there is room for it now; it no longer waits.  NULL if
 * not. */
struct pool_user *pool_next(struct pool *pool);

/* USER no longer waits. */
void pool_forget(struct pool *pool, struct pool_user *user);

/* Gives the system what is idle. */
void pool_trim(struct pool *pool);

/* An object whose content is arbitrary; NULL without memory. */
struct request *pool_request(struct pool *pool);
void pool_request_give(struct pool *pool, struct request *request);

#endif
