/* SPDX-License-Identifier: Apache-2.0 */
/*
 * WS-Management (DSP0226, DSP0227, [MS-WSMV]) in front of the broker: one
 * envelope in, one envelope out.
 *
 * W1  Knows nothing of connections: who asks is the caller's word.  Without a
 *     role only Identify is answered.
 * W2  Replies go back on the way that the request came; an envelope that names
 *     another address for its reply or fault is refused, and no address is
 *     ever connected to or resolved.
 * W3  Replies have the prefixes of WinRM (s a x e n w p xsi); p is the class's
 *     URI, in the family in which the client asked.
 * W4  No reply has more bytes than the client's MaxEnvelopeSize.
 * W5  A call or a Delete that the same principal repeats within
 *     WSMAN_DUPLICATE_MS under the same MessageID, a UUID, with the same body
 *     is answered as the first time and not done again.  A Pull that is
 *     repeated so is told the same items again.
 * W6  A method that ran is no fault.
 * W7  Classes are told by [MS-WSMV]'s way and by openwsman's own actions.
 *
 * Decisions: the namespace of a DMTF URI without __cimnamespace is
 * root/virtualization/v2.  Selectors may be left out where the class has one
 * instance in all (Get and calls, never Delete), as libvirt does.  An instance
 * in a parameter that cannot be read reaches the provider as a string, so that
 * the method's own code says so.
 */
#ifndef WSMAN_WSMAN_H
#define WSMAN_WSMAN_H

#include <stddef.h>
#include <stdint.h>

#include "cim/broker.h"
#include "cim/contexts.h"

struct wsman_request {
	const char *content_type; /* as it came; or NULL */
	const void *body;
	size_t body_bytes;
	const char *caller; /* the principal; NULL: nobody */
	enum cim_role role;
	const char *host; /* by which the client calls us; or NULL */
};

struct wsman_response {
	unsigned status;          /* 200, 400, 415 or 500 */
	const char *content_type; /* constant; NULL: there is no body */
	char *body; /* with a NUL after it; the receiver frees it */
	size_t body_bytes;
};

struct wsman_options {
	struct broker *broker;     /* outlives it, as does: */
	struct contexts *contexts; /* may be shared with other protocols */
	const char *version;       /* of the product; shown to callers only */
	uint64_t (*now)(void);     /* steady, in ms; NULL: the system's */
};

struct wsman;

int wsman_new(const struct wsman_options *options, struct wsman **ret_wsman,
	      struct err *err);
/* NULL is allowed; returns NULL.  Nobody may be in wsman_answer(). */
struct wsman *wsman_free(struct wsman *wsman);

/* Always answers; any thread may call. */
void wsman_answer(struct wsman *wsman, const struct wsman_request *request,
		  struct wsman_response *ret_response);

#endif
