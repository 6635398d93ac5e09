/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table with a lock; a context's data is freed outside of it.
 */
#include "cim/contexts.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <time.h>

#include "cim/status.h"
#include "common/limits.h"

struct context {
	char id[CIM_CONTEXT_TEXT_BYTES];
	char *caller; /* NULL: a free place */
	const struct context_kind *kind;
	void *data;
	size_t bytes;
	uint64_t life_ms, ends_ms;
	bool in_hand;
	bool over; /* kept for those who ask again */
};

struct contexts {
	pthread_mutex_t lock;
	pthread_cond_t put; /* a context is in nobody's hand any more */
	uint64_t (*now)(void);
	uint64_t bytes;
	struct context table[CIM_CONTEXTS_MAX];
};

/* What is to be freed once the lock is released. */
struct spoils {
	size_t n;
	struct {
		const struct context_kind *kind;
		void *data;
	} all[CIM_CONTEXTS_MAX];
};

static uint64_t steady_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

int contexts_new(uint64_t (*now)(void), struct contexts **ret_contexts,
		 struct err *err)
{
	struct contexts *contexts = calloc(1, sizeof(*contexts));
	pthread_condattr_t attr;

	if (!contexts)
		return err_set(err, -ENOMEM, "make room for enumerations");
	(void)pthread_mutex_init(&contexts->lock, NULL);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&contexts->put, &attr);
	(void)pthread_condattr_destroy(&attr);
	contexts->now = now ? now : steady_ms;
	*ret_contexts = contexts;
	return 0;
}

/* Under the lock. */
static void drop(struct contexts *contexts, struct context *c,
		 struct spoils *spoils)
{
	spoils->all[spoils->n].kind = c->kind;
	spoils->all[spoils->n++].data = c->data;
	contexts->bytes -= c->bytes;
	free(c->caller);
	memset(c, 0, sizeof(*c));
}

/* Without the lock. */
static void free_spoils(const struct spoils *spoils)
{
	for (size_t i = 0; i < spoils->n; i++)
		spoils->all[i].kind->free(spoils->all[i].data);
}

struct contexts *contexts_free(struct contexts *contexts)
{
	struct spoils spoils = {0};

	if (!contexts)
		return NULL;
	for (size_t i = 0; i < CIM_CONTEXTS_MAX; i++)
		if (contexts->table[i].caller)
			drop(contexts, &contexts->table[i], &spoils);
	free_spoils(&spoils);
	(void)pthread_cond_destroy(&contexts->put);
	(void)pthread_mutex_destroy(&contexts->lock);
	free(contexts);
	return NULL;
}

static void drop_expired(struct contexts *contexts, struct spoils *spoils)
{
	uint64_t now = contexts->now();

	for (size_t i = 0; i < CIM_CONTEXTS_MAX; i++) {
		struct context *c = &contexts->table[i];

		if (c->caller && !c->in_hand && c->ends_ms <= now)
			drop(contexts, c, spoils);
	}
}

static int make_id(char id[CIM_CONTEXT_TEXT_BYTES], struct err *err)
{
	uint8_t bits[16];

	if (getrandom(bits, sizeof(bits), 0) != (ssize_t)sizeof(bits))
		return err_set(err, -errno, "draw a random number");
	for (size_t i = 0; i < sizeof(bits); i++)
		(void)snprintf(id + 2 * i, 3, "%02x", bits[i]);
	return 0;
}

/* Makes room by the one that was over first. */
static bool drop_over(struct contexts *contexts, struct spoils *spoils)
{
	struct context *first = NULL;

	for (size_t i = 0; i < CIM_CONTEXTS_MAX; i++) {
		struct context *c = &contexts->table[i];

		if (c->caller && c->over && !c->in_hand &&
		    (!first || c->ends_ms < first->ends_ms))
			first = c;
	}
	if (first)
		drop(contexts, first, spoils);
	return first;
}

static unsigned count_open(const struct contexts *contexts, const char *caller)
{
	unsigned count = 0;

	for (size_t i = 0; i < CIM_CONTEXTS_MAX; i++) {
		const struct context *c = &contexts->table[i];

		count +=
		    c->caller && !c->over && strcmp(c->caller, caller) == 0;
	}
	return count;
}

static struct context *free_place(struct contexts *contexts)
{
	for (size_t i = 0; i < CIM_CONTEXTS_MAX; i++)
		if (!contexts->table[i].caller)
			return &contexts->table[i];
	return NULL;
}

/* A free place if the bounds allow one; NULL if not. */
static struct context *place_for(struct contexts *contexts, const char *caller,
				 size_t bytes, struct spoils *spoils)
{
	struct context *place;

	if (count_open(contexts, caller) >= CIM_CONTEXTS_PER_CALLER)
		return NULL;
	while (!(place = free_place(contexts)) ||
	       bytes > CIM_CONTEXTS_BYTES_MAX - contexts->bytes)
		if (!drop_over(contexts, spoils))
			return NULL;
	return place;
}

int contexts_add(struct contexts *contexts, const char *caller,
		 const struct context_kind *kind, void *data, size_t bytes,
		 uint64_t life_ms, char ret_id[CIM_CONTEXT_TEXT_BYTES],
		 struct err *err)
{
	struct spoils spoils = {0};
	struct context new = {.caller = strdup(caller),
			      .kind = kind,
			      .data = data,
			      .bytes = bytes,
			      .life_ms = life_ms};
	struct context *place;
	int r = new.caller ? make_id(new.id, err)
			   : err_set(err, -ENOMEM, "keep an enumeration");

	if (r < 0) {
		free(new.caller);
		return r;
	}
	(void)pthread_mutex_lock(&contexts->lock);
	drop_expired(contexts, &spoils);
	place = place_for(contexts, caller, bytes, &spoils);
	if (place) {
		new.ends_ms = contexts->now() + life_ms;
		*place = new;
		contexts->bytes += bytes;
		memcpy(ret_id, new.id, sizeof(new.id));
	}
	(void)pthread_mutex_unlock(&contexts->lock);
	free_spoils(&spoils);
	if (place)
		return 0;
	free(new.caller);
	return err_set(err, -CIM_ELIMITS,
		       "too many enumerations are open, or too large ones");
}

static struct context *find(struct contexts *contexts, const char *id)
{
	for (size_t i = 0; i < CIM_CONTEXTS_MAX; i++) {
		struct context *c = &contexts->table[i];

		if (c->caller && strcasecmp(c->id, id) == 0)
			return c;
	}
	return NULL;
}

static struct context *find_own(struct contexts *contexts, const char *caller,
				const struct context_kind *kind, const char *id)
{
	struct context *c = find(contexts, id);

	return c && c->kind == kind && strcmp(c->caller, caller) == 0 ? c
								      : NULL;
}

static int no_such(struct err *err)
{
	return err_set(err, -CIM_ECONTEXT,
		       "there is no such enumeration, or it has expired");
}

static struct timespec deadline(uint64_t wait_ms)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_nsec += (long)(wait_ms % 1000) * 1000000;
	t.tv_sec += (time_t)(wait_ms / 1000) + t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	return t;
}

int contexts_await(struct contexts *contexts, const char *caller,
		   const struct context_kind *kind, const char *id,
		   uint64_t wait_ms, void **ret_data, struct err *err)
{
	const struct timespec until = deadline(wait_ms);
	struct spoils spoils = {0};
	struct context *c;
	int r = 0;

	(void)pthread_mutex_lock(&contexts->lock);
	drop_expired(contexts, &spoils);
	while ((c = find_own(contexts, caller, kind, id)) && c->in_hand &&
	       wait_ms && r == 0)
		r = pthread_cond_timedwait(&contexts->put, &contexts->lock,
					   &until);
	r = 0;
	if (!c) {
		r = no_such(err);
	} else if (c->in_hand) {
		r = err_set(err, -CIM_EBUSY,
			    "the enumeration is being pulled already");
	} else {
		c->in_hand = true;
		*ret_data = c->data;
	}
	(void)pthread_mutex_unlock(&contexts->lock);
	free_spoils(&spoils);
	return r;
}

int contexts_take(struct contexts *contexts, const char *caller,
		  const struct context_kind *kind, const char *id,
		  void **ret_data, struct err *err)
{
	return contexts_await(contexts, caller, kind, id, 0, ret_data, err);
}

void contexts_put(struct contexts *contexts, const char *id, uint64_t life_ms)
{
	struct context *c;

	(void)pthread_mutex_lock(&contexts->lock);
	c = find(contexts, id);
	if (c) {
		c->in_hand = false;
		if (life_ms)
			c->life_ms = life_ms;
		c->ends_ms = contexts->now() + c->life_ms;
	}
	(void)pthread_cond_broadcast(&contexts->put);
	(void)pthread_mutex_unlock(&contexts->lock);
}

void contexts_over(struct contexts *contexts, const char *id, size_t bytes,
		   uint64_t life_ms)
{
	struct context *c;

	(void)pthread_mutex_lock(&contexts->lock);
	c = find(contexts, id);
	if (c) {
		c->in_hand = false;
		if (!c->over)
			c->ends_ms = contexts->now() + life_ms;
		c->over = true;
		contexts->bytes -= c->bytes - bytes;
		c->bytes = bytes;
	}
	(void)pthread_cond_broadcast(&contexts->put);
	(void)pthread_mutex_unlock(&contexts->lock);
}

void contexts_end(struct contexts *contexts, const char *id)
{
	struct spoils spoils = {0};
	struct context *c;

	(void)pthread_mutex_lock(&contexts->lock);
	c = find(contexts, id);
	if (c)
		drop(contexts, c, &spoils);
	(void)pthread_cond_broadcast(&contexts->put);
	(void)pthread_mutex_unlock(&contexts->lock);
	free_spoils(&spoils);
}

int contexts_close(struct contexts *contexts, const char *caller,
		   const struct context_kind *kind, const char *id,
		   struct err *err)
{
	struct spoils spoils = {0};
	struct context *c;
	int r = 0;

	(void)pthread_mutex_lock(&contexts->lock);
	drop_expired(contexts, &spoils);
	c = find_own(contexts, caller, kind, id);
	if (!c || c->over)
		r = no_such(err);
	else if (c->in_hand)
		r = err_set(err, -CIM_EPULLKEPT,
			    "the enumeration is being pulled");
	else
		drop(contexts, c, &spoils);
	(void)pthread_mutex_unlock(&contexts->lock);
	free_spoils(&spoils);
	return r;
}
