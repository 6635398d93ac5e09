/* SPDX-License-Identifier: Apache-2.0 */
#include "wsman/duplicates.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "common/guid.h"
#include "common/limits.h"

struct duplicate {
	struct guid id;
	char *caller; /* NULL: the slot is free */
	char *body;
	size_t body_bytes;
	bool done;
	unsigned waiting;  /* others, for DONE */
	uint64_t order;    /* of their coming */
	uint64_t until_ms; /* once done */
	struct wsman_response response;
};

struct duplicates {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t (*now)(void);
	uint64_t order;
	size_t bytes; /* of bodies and answers */
	struct duplicate slots[WSMAN_DUPLICATES_MAX];
};

struct duplicates *duplicates_new(uint64_t (*now)(void))
{
	struct duplicates *d = calloc(1, sizeof(*d));
	pthread_condattr_t attr;

	if (!d)
		return NULL;
	d->now = now;
	pthread_mutex_init(&d->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&d->changed, &attr);
	pthread_condattr_destroy(&attr);
	return d;
}

static void forget(struct duplicates *d, struct duplicate *one)
{
	d->bytes -= one->body_bytes + one->response.body_bytes;
	free(one->caller);
	free(one->body);
	free(one->response.body);
	*one = (struct duplicate){0};
}

void duplicates_free(struct duplicates *d)
{
	if (!d)
		return;
	for (size_t i = 0; i < WSMAN_DUPLICATES_MAX; i++)
		forget(d, &d->slots[i]);
	pthread_cond_destroy(&d->changed);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

static void forget_old(struct duplicates *d, uint64_t now)
{
	for (size_t i = 0; i < WSMAN_DUPLICATES_MAX; i++) {
		struct duplicate *one = &d->slots[i];

		if (one->caller && one->done && one->waiting == 0 &&
		    one->until_ms <= now)
			forget(d, one);
	}
}

static bool forget_oldest(struct duplicates *d)
{
	struct duplicate *oldest = NULL;

	for (size_t i = 0; i < WSMAN_DUPLICATES_MAX; i++) {
		struct duplicate *one = &d->slots[i];

		if (one->caller && one->done && one->waiting == 0 &&
		    (!oldest || one->order < oldest->order))
			oldest = one;
	}
	if (oldest)
		forget(d, oldest);
	return oldest;
}

static struct duplicate *free_slot(struct duplicates *d)
{
	for (size_t i = 0; i < WSMAN_DUPLICATES_MAX; i++)
		if (!d->slots[i].caller)
			return &d->slots[i];
	return NULL;
}

static struct duplicate *
find(struct duplicates *d, const struct wsman_request *q, const struct guid *id)
{
	for (size_t i = 0; i < WSMAN_DUPLICATES_MAX; i++) {
		struct duplicate *one = &d->slots[i];

		if (one->caller && guid_equal(&one->id, id) &&
		    strcmp(one->caller, q->caller) == 0 &&
		    one->body_bytes == q->body_bytes &&
		    memcmp(one->body, q->body, q->body_bytes) == 0)
			return one;
	}
	return NULL;
}

/* A slot with the request in it; NULL if there is no room. */
static struct duplicate *
add(struct duplicates *d, const struct wsman_request *q, const struct guid *id)
{
	struct duplicate *one;

	if (q->body_bytes > WSMAN_DUPLICATES_BYTES_MAX)
		return NULL;
	while (!(one = free_slot(d)) ||
	       d->bytes > WSMAN_DUPLICATES_BYTES_MAX - q->body_bytes)
		if (!forget_oldest(d))
			return NULL;
	*one = (struct duplicate){.id = *id,
				  .caller = strdup(q->caller),
				  .body = malloc(q->body_bytes),
				  .order = d->order++};
	if (!one->caller || !one->body) {
		free(one->caller);
		free(one->body);
		*one = (struct duplicate){0};
		return NULL;
	}
	memcpy(one->body, q->body, q->body_bytes);
	one->body_bytes = q->body_bytes;
	d->bytes += q->body_bytes;
	return one;
}

static bool copy(struct wsman_response *to, const struct wsman_response *from)
{
	*to = *from;
	to->body = malloc(from->body_bytes + 1);
	if (!to->body)
		return false;
	if (from->body_bytes > 0)
		memcpy(to->body, from->body, from->body_bytes);
	to->body[from->body_bytes] = '\0';
	return true;
}

/* The answer of ONE, once there is one. */
static enum duplicate_verdict wait_for(struct duplicates *d,
				       struct duplicate *one,
				       struct wsman_response *ret_response)
{
	enum duplicate_verdict verdict = DUPLICATE_BUSY;
	struct timespec until;
	int r = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += WSMAN_DUPLICATE_MS / 1000;
	one->waiting++;
	while (!one->done && r == 0)
		r = pthread_cond_timedwait(&d->changed, &d->lock, &until);
	one->waiting--;
	if (one->done && one->response.status != 0 &&
	    copy(ret_response, &one->response))
		verdict = DUPLICATE_ANSWERED;
	return verdict;
}

bool duplicate_id(const char *message_id, struct guid *ret_id)
{
	if (!message_id)
		return false;
	if (strncasecmp(message_id, "urn:", 4) == 0)
		message_id += 4;
	if (strncasecmp(message_id, "uuid:", 5) == 0)
		message_id += 5;
	return guid_parse(message_id, ret_id);
}

enum duplicate_verdict duplicates_ask(struct duplicates *d,
				      const struct wsman_request *q,
				      const char *message_id,
				      struct duplicate **ret_mine,
				      struct wsman_response *ret_response)
{
	enum duplicate_verdict verdict = DUPLICATE_NEW;
	struct duplicate *one;
	struct guid id;

	if (!q->caller || !duplicate_id(message_id, &id))
		return DUPLICATE_NONE;
	pthread_mutex_lock(&d->lock);
	forget_old(d, d->now());
	one = find(d, q, &id);
	if (one) {
		verdict = wait_for(d, one, ret_response);
	} else {
		one = add(d, q, &id);
		if (one)
			*ret_mine = one;
		else
			verdict = DUPLICATE_NONE;
	}
	pthread_mutex_unlock(&d->lock);
	return verdict;
}

void duplicates_done(struct duplicates *d, struct duplicate *mine,
		     const struct wsman_response *response)
{
	struct wsman_response kept = {0};

	pthread_mutex_lock(&d->lock);
	/* A longer answer is of a question, which may be asked again. */
	if (response->body_bytes <= WSMAN_DUPLICATE_BYTES_MAX &&
	    copy(&kept, response)) {
		mine->response = kept;
		d->bytes += kept.body_bytes;
		mine->until_ms = d->now() + WSMAN_DUPLICATE_MS;
	}
	mine->done = true;
	pthread_cond_broadcast(&d->changed);
	if (mine->response.status == 0 && mine->waiting == 0)
		forget(d, mine);
	while (d->bytes > WSMAN_DUPLICATES_BYTES_MAX && forget_oldest(d))
		;
	pthread_mutex_unlock(&d->lock);
}
