/* SPDX-License-Identifier: Apache-2.0 */
#include "http/attempts.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"

#define KEY_BYTES  32
#define HASH_BYTES 32
#define WAYS       8 /* places that a counter may be in */

struct success {
	uint8_t hash[HASH_BYTES];
	uint64_t expires_ms; /* 0: free */
	struct principal principal;
};

struct counter {
	uint64_t hash;
	uint64_t since_ms;
	unsigned n; /* 0: free */
};

struct attempts {
	pthread_mutex_t lock;
	uint8_t key[KEY_BYTES];
	struct success successes[AUTH_CACHE_ENTRIES];
	struct counter counters[AUTH_ATTEMPTS_ENTRIES];
};

int attempts_open(struct attempts **ret_attempts, struct err *err)
{
	struct attempts *a = calloc(1, sizeof(*a));

	if (!a)
		return err_set(err, -ENOMEM, "attempts");
	if (gnutls_rnd(GNUTLS_RND_KEY, a->key, sizeof(a->key)) < 0) {
		free(a);
		return err_set(err, -RP_EFAILED, "no random numbers");
	}
	(void)pthread_mutex_init(&a->lock, NULL);
	*ret_attempts = a;
	return 0;
}

void attempts_close(struct attempts *attempts)
{
	if (!attempts)
		return;
	(void)pthread_mutex_destroy(&attempts->lock);
	explicit_bzero(attempts, sizeof(*attempts));
	free(attempts);
}

/* Of KIND and the parts, which are told apart by their lengths. */
static bool hash(const struct attempts *a, char kind, const void *one,
		 size_t one_bytes, const void *two, size_t two_bytes,
		 uint8_t ret[HASH_BYTES])
{
	le64 lengths[2] = {le64_make(one_bytes), le64_make(two_bytes)};
	gnutls_hmac_hd_t h;

	if (gnutls_hmac_init(&h, GNUTLS_MAC_SHA256, a->key, KEY_BYTES) < 0)
		return false;
	(void)gnutls_hmac(h, &kind, 1);
	(void)gnutls_hmac(h, lengths, sizeof(lengths));
	(void)gnutls_hmac(h, one, one_bytes);
	(void)gnutls_hmac(h, two, two_bytes);
	gnutls_hmac_deinit(h, ret);
	return true;
}

/* ---------------------------------------------------------------- failures */

/* What of an address counts: all of IPv4, a /64 of IPv6. */
static size_t peer_bytes(const struct sockaddr *peer, uint8_t ret[8])
{
	if (peer->sa_family == AF_INET) {
		(void)memcpy(
		    ret,
		    &((const struct sockaddr_in *)(const void *)peer)->sin_addr,
		    4);
		return 4;
	}
	if (peer->sa_family != AF_INET6)
		return 0;
	(void)memcpy(
	    ret, &((const struct sockaddr_in6 *)(const void *)peer)->sin6_addr,
	    8);
	return 8;
}

/* The counters that an attempt touches, and what each may reach.  Where nobody
 * was named only the first counts. */
struct touched {
	uint64_t hash[3];
	unsigned n;
};

static const unsigned allowed[3] = {
    AUTH_ATTEMPTS_PER_PEER,
    AUTH_ATTEMPTS_PER_PAIR,
    AUTH_ATTEMPTS_PER_NAME,
};

static bool touch(const struct attempts *a, const char *name,
		  const struct sockaddr *peer, struct touched *ret)
{
	size_t length = strlen(name);
	uint8_t digest[HASH_BYTES];
	uint8_t address[8];
	size_t n = peer_bytes(peer, address);
	const struct {
		char kind;
		size_t name_bytes, peer_bytes;
	} what[3] = {{'p', 0, n}, {'b', length, n}, {'n', length, 0}};

	for (unsigned i = 0; i < 3; i++) {
		if (!hash(a, what[i].kind, name, what[i].name_bytes, address,
			  what[i].peer_bytes, digest))
			return false;
		(void)memcpy(&ret->hash[i], digest, sizeof(ret->hash[i]));
	}
	ret->n = length ? 3 : 1;
	return true;
}

static struct counter *find(struct attempts *a, uint64_t h, uint64_t now,
			    bool make)
{
	size_t first = h % (AUTH_ATTEMPTS_ENTRIES / WAYS) * WAYS;
	struct counter *oldest = &a->counters[first];

	for (size_t i = first; i < first + WAYS; i++) {
		struct counter *c = &a->counters[i];

		if (c->n && now - c->since_ms >= AUTH_ATTEMPTS_MS)
			c->n = 0;
		if (c->n && c->hash == h)
			return c;
		if (!c->n || (oldest->n && c->since_ms < oldest->since_ms))
			oldest = c;
	}
	if (!make)
		return NULL;
	*oldest = (struct counter){.hash = h, .since_ms = now};
	return oldest;
}

bool attempts_allowed(struct attempts *attempts, const char *name,
		      const struct sockaddr *peer, uint64_t now_ms)
{
	const struct counter *c;
	struct touched t;
	bool ok = true;

	if (!touch(attempts, name, peer, &t))
		return false;
	(void)pthread_mutex_lock(&attempts->lock);
	for (unsigned i = 0; i < t.n; i++) {
		c = find(attempts, t.hash[i], now_ms, false);
		if (c && c->n >= allowed[i])
			ok = false;
	}
	(void)pthread_mutex_unlock(&attempts->lock);
	return ok;
}

void attempts_failed(struct attempts *attempts, const char *name,
		     const struct sockaddr *peer, uint64_t now_ms)
{
	struct touched t;

	if (!touch(attempts, name, peer, &t))
		return;
	(void)pthread_mutex_lock(&attempts->lock);
	for (unsigned i = 0; i < t.n; i++)
		find(attempts, t.hash[i], now_ms, true)->n++;
	(void)pthread_mutex_unlock(&attempts->lock);
}

/* --------------------------------------------------------------- successes */

void attempts_remember(struct attempts *attempts, const char *name,
		       const char *password, const struct principal *principal,
		       uint64_t now_ms)
{
	struct success *place = attempts->successes;
	uint8_t digest[HASH_BYTES];

	if (!hash(attempts, 's', name, strlen(name), password, strlen(password),
		  digest))
		return;
	(void)pthread_mutex_lock(&attempts->lock);
	for (size_t i = 0; i < AUTH_CACHE_ENTRIES; i++) {
		struct success *s = &attempts->successes[i];

		if (memcmp(s->hash, digest, HASH_BYTES) == 0) {
			place = s;
			break;
		}
		if (s->expires_ms < place->expires_ms)
			place = s;
	}
	(void)memcpy(place->hash, digest, HASH_BYTES);
	place->expires_ms = now_ms + AUTH_CACHE_MS;
	place->principal = *principal;
	(void)pthread_mutex_unlock(&attempts->lock);
}

bool attempts_recall(struct attempts *attempts, const char *name,
		     const char *password, uint64_t now_ms,
		     struct principal *ret_principal)
{
	uint8_t digest[HASH_BYTES];
	bool found = false;

	if (!hash(attempts, 's', name, strlen(name), password, strlen(password),
		  digest))
		return false;
	(void)pthread_mutex_lock(&attempts->lock);
	for (size_t i = 0; i < AUTH_CACHE_ENTRIES && !found; i++) {
		const struct success *s = &attempts->successes[i];

		found = now_ms < s->expires_ms &&
			gnutls_memcmp(s->hash, digest, HASH_BYTES) == 0;
		if (found)
			*ret_principal = s->principal;
	}
	(void)pthread_mutex_unlock(&attempts->lock);
	return found;
}
