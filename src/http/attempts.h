/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two tables of a fixed size: failures by name and address, and successes of
 * the last AUTH_CACHE_MS.  Both know names and passwords only as hashes under
 * a random key of this process.  Any thread may call.
 */
#ifndef HTTP_ATTEMPTS_H
#define HTTP_ATTEMPTS_H

#include "http/auth.h"

struct attempts;

int attempts_open(struct attempts **ret_attempts, struct err *err);
void attempts_close(struct attempts *attempts);

/* Whether one more attempt is allowed.  NAME may be "". */
bool attempts_allowed(struct attempts *attempts, const char *name,
		      const struct sockaddr *peer, uint64_t now_ms);
void attempts_failed(struct attempts *attempts, const char *name,
		     const struct sockaddr *peer, uint64_t now_ms);

/* A success stays until its time is over or younger ones need its place. */
void attempts_remember(struct attempts *attempts, const char *name,
		       const char *password, const struct principal *principal,
		       uint64_t now_ms);
bool attempts_recall(struct attempts *attempts, const char *name,
		     const char *password, uint64_t now_ms,
		     struct principal *ret_principal);

#endif
