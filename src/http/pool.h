/* SPDX-License-Identifier: Apache-2.0 */
/* A fixed number of threads before a queue of a fixed length. */
#ifndef HTTP_POOL_H
#define HTTP_POOL_H

#include <stdbool.h>

#include "common/err.h"

struct pool;

int pool_start(unsigned threads, unsigned queue, struct pool **ret_pool,
	       struct err *err);
/* -EAGAIN if the queue is full or the pool stops; never waits. */
int pool_submit(struct pool *pool, void (*run)(void *arg), void *arg);
/* Refuses from now on, and waits until nothing runs or is queued; false if that
 * takes longer than MS. */
bool pool_drain(struct pool *pool, unsigned ms);
/* Runs what is queued and ends the threads; what is submitted from then on is
 * refused.  NULL is allowed. */
void pool_stop(struct pool *pool);
/* After pool_stop, once nobody submits any more.  NULL is allowed. */
void pool_free(struct pool *pool);

#endif
