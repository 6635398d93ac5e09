/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The last pulls of an enumeration, which are answered again if they are
 * repeated: same MessageID, a UUID, and same body, within WSMAN_DUPLICATE_MS.
 * All items are kept with the enumeration anyway, so that where a pull began is
 * all that has to be known.  Whose it is the context knows.
 */
#ifndef WSMAN_PULLS_H
#define WSMAN_PULLS_H

#include "common/limits.h"
#include "wsman/internal.h"

struct pull {
	struct guid id;
	size_t body_bytes; /* 0: none */
	uint32_t body_crc;
	uint64_t until_ms;
	size_t start; /* the first item told */
};

/* Zeroed, it is empty. */
struct pulls {
	struct pull last[WSMAN_PULLS_KEPT];
	unsigned next; /* the place that is the oldest's */
};

/* Whether M repeats one of them, and where that began. */
bool pulls_find(const struct pulls *pulls, const struct message *m,
		size_t *ret_start);
/* Remembers M; false if a repeat of it cannot be told. */
bool pulls_add(struct pulls *pulls, const struct message *m, size_t start);

#endif
