/* SPDX-License-Identifier: Apache-2.0 */
/* See pool.h for the rules. */
#include "nbd/pool.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "nbd/session.h"

#define SLAB_REQUESTS 64

struct slab {
	struct slab *next;
	struct request requests[SLAB_REQUESTS];
};

_Static_assert((UINT64_C(1) << (POOL_CLASS_SHIFT + POOL_CLASSES - 1)) ==
		   NBD_REQUEST_BYTES_MAX,
	       "the largest class is the largest request");

static unsigned class_of(uint64_t bytes)
{
	unsigned shift;

	assert(bytes >= 1 && bytes <= NBD_REQUEST_BYTES_MAX);
	if (bytes <= (1u << POOL_CLASS_SHIFT))
		return 0;
	shift = 64 - (unsigned)__builtin_clzll(bytes - 1);
	return shift - POOL_CLASS_SHIFT;
}

static uint64_t class_bytes(unsigned class)
{
	return UINT64_C(1) << (class + POOL_CLASS_SHIFT);
}

uint64_t pool_size(uint64_t bytes)
{
	return class_bytes(class_of(bytes));
}

void pool_init(struct pool *pool, uint64_t bytes, unsigned users)
{
	assert(bytes >= users * NBD_FLOOR_BYTES + NBD_REQUEST_BYTES_MAX);
	*pool = (struct pool){
	    .cap = bytes,
	    .shared_max = bytes - users * NBD_FLOOR_BYTES,
	};
	pool->last = &pool->waiters;
}

void pool_trim(struct pool *pool)
{
	for (unsigned i = 0; i < POOL_CLASSES; i++) {
		while (pool->idle[i]) {
			void *buf = pool->idle[i];

			pool->idle[i] = *(void **)buf;
			(void)munmap(buf, class_bytes(i));
		}
	}
	pool->idle_bytes = 0;
}

void pool_done(struct pool *pool)
{
	struct slab *slab = pool->slabs, *next;

	assert(pool->held == 0);
	pool_trim(pool);
	for (; slab; slab = next) {
		next = slab->next;
		free(slab);
	}
	pool->slabs = NULL;
	pool->requests = NULL;
}

static uint64_t above_floor(uint64_t held)
{
	return held > NBD_FLOOR_BYTES ? held - NBD_FLOOR_BYTES : 0;
}

/* What holding SIZE more would take from the shared part. */
static uint64_t shared_need(const struct pool_user *user, uint64_t size)
{
	return above_floor(user->held + size) - above_floor(user->held);
}

static void charge(struct pool *pool, struct pool_user *user, uint64_t size)
{
	pool->shared += shared_need(user, size);
	pool->held += size;
	user->held += size;
	assert(pool->held <= pool->cap);
}

static void discharge(struct pool *pool, struct pool_user *user, uint64_t size)
{
	assert(user->held >= size && pool->held >= size);
	user->held -= size;
	pool->held -= size;
	pool->shared -= shared_need(user, size);
}

static void enqueue(struct pool *pool, struct pool_user *user, uint64_t size)
{
	user->wanted = size;
	if (user->waiting)
		return;
	user->waiting = true;
	user->next = NULL;
	*pool->last = user;
	pool->last = &user->next;
}

static void unlink_waiter(struct pool *pool, struct pool_user *user)
{
	struct pool_user **at = &pool->waiters;

	while (*at != user)
		at = &(*at)->next;
	*at = user->next;
	if (!*at)
		pool->last = at;
	user->waiting = false;
}

void pool_forget(struct pool *pool, struct pool_user *user)
{
	if (user->waiting)
		unlink_waiter(pool, user);
	if (user->granted) {
		discharge(pool, user, user->granted);
		user->granted = 0;
	}
}

/* 0 once USER is charged for SIZE. */
static int admit(struct pool *pool, struct pool_user *user, uint64_t size)
{
	uint64_t need;

	if (user->granted == size) {
		user->granted = 0;
		return 0;
	}
	if (user->held && user->held + size > NBD_REQUEST_BYTES_MAX)
		return -EAGAIN; /* M4; its own replies will make room */
	need = shared_need(user, size);
	if (need && (pool->waiters || pool->shared + need > pool->shared_max)) {
		enqueue(pool, user, size);
		return -EAGAIN;
	}
	pool_forget(pool, user); /* its own replies made the room */
	charge(pool, user, size);
	return 0;
}

int pool_take(struct pool *pool, struct pool_user *user, uint64_t bytes,
	      void **ret_buf)
{
	unsigned class = class_of(bytes);
	uint64_t size = class_bytes(class);
	void *buf;
	int r = admit(pool, user, size);

	if (r < 0)
		return r;
	buf = pool->idle[class];
	if (buf) {
		pool->idle[class] = *(void **)buf;
		pool->idle_bytes -= size;
	} else {
		buf = mmap(NULL, size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (buf == MAP_FAILED) {
			discharge(pool, user, size);
			return -ENOMEM;
		}
	}
	*ret_buf = buf;
	return 0;
}

void pool_give(struct pool *pool, struct pool_user *user, void *buf,
	       uint64_t bytes)
{
	unsigned class = class_of(bytes);
	uint64_t size = class_bytes(class);

	discharge(pool, user, size);
	/* half is kept for the next request */
	if (pool->idle_bytes + size > pool->cap / 2) {
		(void)munmap(buf, size);
		return;
	}
	*(void **)buf = pool->idle[class];
	pool->idle[class] = buf;
	pool->idle_bytes += size;
}

struct pool_user *pool_next(struct pool *pool)
{
	struct pool_user *user = pool->waiters;

	if (!user ||
	    pool->shared + shared_need(user, user->wanted) > pool->shared_max)
		return NULL;
	unlink_waiter(pool, user);
	charge(pool, user, user->wanted);
	user->granted = user->wanted;
	return user;
}

static int add_slab(struct pool *pool)
{
	struct slab *slab = calloc(1, sizeof(*slab));

	if (!slab)
		return -ENOMEM;
	slab->next = pool->slabs;
	pool->slabs = slab;
	for (unsigned i = 0; i < SLAB_REQUESTS; i++)
		pool_request_give(pool, &slab->requests[i]);
	return 0;
}

struct request *pool_request(struct pool *pool)
{
	struct request *request;

	if (!pool->requests && add_slab(pool) < 0)
		return NULL;
	request = pool->requests;
	pool->requests = request->next;
	return request;
}

void pool_request_give(struct pool *pool, struct request *request)
{
	request->next = pool->requests;
	pool->requests = request;
}
