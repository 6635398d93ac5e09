/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking at a file system that may hang, as one over a network does, while
 * somebody waits for an answer: a thread of its own looks.
 *
 * A1  Whoever asks waits for as long as it says and no longer.  What is still
 *     going on then is left to itself, until it ends.
 * A2  ASIDES_MAX go on at a time, with those that were left; whoever comes on
 *     top of them is refused at once.
 */
#ifndef PROVIDERS_ASIDE_H
#define PROVIDERS_ASIDE_H

#include <stdbool.h>

#include "common/err.h"

#define ASIDES_MAX 8u

/* What is to be done, with whatever that needs and makes around it. */
struct aside {
	int (*fn)(struct aside *aside, struct err *err);
	void (*free)(struct aside *aside);
	int r; /* what FN returned */
	struct err err;
	/* its own */
	bool done, left;
};

/* True: FN has ended, and ASIDE is the caller's still.  False, and why: it did
 * not within MS (-RP_ETIMEOUT), or was not begun (-RP_EINUSE, -errno); ASIDE is
 * the caller's no more. */
bool aside_run(struct aside *aside, unsigned ms, struct err *err);

#endif
