/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers that a repeated request gets again.
 *
 * A request is the same if caller, MessageID (a UUID, with or without "uuid:"
 * before it) and body are.  A repeat that comes while the first is still being
 * worked on waits for its answer.  Number and bytes are bounded; the oldest
 * answers make room.  Any thread may call.
 */
#ifndef WSMAN_DUPLICATES_H
#define WSMAN_DUPLICATES_H

#include <stdbool.h>

#include "common/guid.h"
#include "wsman/wsman.h"

struct duplicates;
struct duplicate;

enum duplicate_verdict {
	DUPLICATE_NEW,      /* do it, then duplicates_done() */
	DUPLICATE_NONE,     /* do it; it cannot be told apart */
	DUPLICATE_ANSWERED, /* here is the answer */
	DUPLICATE_BUSY,     /* the first one takes too long */
};

/* The UUID that a MessageID (or NULL) is; false if it is none. */
bool duplicate_id(const char *message_id, struct guid *ret_id);

/* NULL without memory. */
struct duplicates *duplicates_new(uint64_t (*now)(void));
void duplicates_free(struct duplicates *duplicates);

enum duplicate_verdict duplicates_ask(struct duplicates *duplicates,
				      const struct wsman_request *request,
				      const char *message_id,
				      struct duplicate **ret_mine,
				      struct wsman_response *ret_response);
/* Keeps a copy of the answer. */
void duplicates_done(struct duplicates *duplicates, struct duplicate *mine,
		     const struct wsman_response *response);

#endif
