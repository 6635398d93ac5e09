/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Of one file of a target, what waits for its disk: at most twice WINDOW_BYTES.
 * So how far it got is how far it really got, and the page cache stays other
 * people's.
 */
#ifndef BACKUP_WINDOW_H
#define BACKUP_WINDOW_H

#include <stdint.h>

#include "common/err.h"

#define WINDOW_BYTES (32u << 20)

struct target;

/* The rest is zero at first: [from, to) is on its way, and `bytes` were written
 * behind that. */
struct window {
	struct target *target;
	unsigned file; /* of the target's */
	uint64_t from, to, bytes;
};

/* BYTES more were written, up to END, which never becomes less. */
int window_slide(struct window *window, uint64_t bytes, uint64_t end,
		 struct err *err);

#endif
