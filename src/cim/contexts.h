/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Enumeration contexts: what a client has yet to pull.
 *
 * E1  A context is named by 128 random bits and belongs to the caller who
 *     opened it; to anybody else it is not there.
 * E2  It ends when it is closed, when nobody asked for it in time, or with the
 *     table.  One request at a time has it in hand; it does not expire then.
 * E3  Their number, in all and for each caller, and their bytes are bounded
 *     (common/limits.h).  At a bound new ones are refused, none is dropped
 *     but those that are over, which are not counted for their caller.
 *
 * What a context holds is its protocol's business.  Any thread may call.
 */
#ifndef CIM_CONTEXTS_H
#define CIM_CONTEXTS_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

#define CIM_CONTEXT_TEXT_BYTES 33 /* 32 hexadecimal digits and NUL */

struct contexts;

/* KIND tells the protocols' contexts apart: its address is compared. */
struct context_kind {
	void (*free)(void *data);
};

/* NOW, in milliseconds of any steady clock; NULL: the system's. */
int contexts_new(uint64_t (*now)(void), struct contexts **ret_contexts,
		 struct err *err);
/* None may be in hand.  NULL is allowed; returns NULL. */
struct contexts *contexts_free(struct contexts *contexts);

/* Keeps DATA, of BYTES in all, for LIFE_MS from the last time that it was asked
 * for.  Takes it over, unless it fails: -CIM_ELIMITS. */
int contexts_add(struct contexts *contexts, const char *caller,
		 const struct context_kind *kind, void *data, size_t bytes,
		 uint64_t life_ms, char ret_id[CIM_CONTEXT_TEXT_BYTES],
		 struct err *err);
/* Takes it in hand: -CIM_ECONTEXT if there is none such of this caller and
 * kind, -CIM_EBUSY if it is in another's hand. */
int contexts_take(struct contexts *contexts, const char *caller,
		  const struct context_kind *kind, const char *id,
		  void **ret_data, struct err *err);
/* Likewise, but waits up to WAIT_MS until it is in nobody's hand. */
int contexts_await(struct contexts *contexts, const char *caller,
		   const struct context_kind *kind, const char *id,
		   uint64_t wait_ms, void **ret_data, struct err *err);
/* Puts back what was taken, for LIFE_MS from now (0: as long as before). */
void contexts_put(struct contexts *contexts, const char *id, uint64_t life_ms);
/* Puts back what was taken and is over: it is there for LIFE_MS from the first
 * time for those who ask again, unless its room is needed.  Its data has BYTES
 * now, no more than before. */
void contexts_over(struct contexts *contexts, const char *id, size_t bytes,
		   uint64_t life_ms);
/* Ends what was taken. */
void contexts_end(struct contexts *contexts, const char *id);
/* Ends one that is not in hand: -CIM_ECONTEXT, also if it is over, or
 * -CIM_EPULLKEPT if it is in hand. */
int contexts_close(struct contexts *contexts, const char *caller,
		   const struct context_kind *kind, const char *id,
		   struct err *err);

#endif
