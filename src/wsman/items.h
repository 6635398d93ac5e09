/* SPDX-License-Identifier: Apache-2.0 */
/* What an enumeration has to tell: items in order, each some bytes of XML. */
#ifndef WSMAN_ITEMS_H
#define WSMAN_ITEMS_H

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"

/* Zeroed, it is empty. */
struct wsman_items {
	char *bytes;
	size_t length, size;
	size_t *ends; /* of each item, in BYTES */
	size_t count, ends_size;
	size_t next; /* the first item not told yet */
};

/* Copies BYTES; -CIM_ELIMITS beyond WSMAN_ITEMS_BYTES_MAX or without memory. */
int wsman_items_add(struct wsman_items *items, const char *bytes, size_t length,
		    struct err *err);
/* The next item, which is not NUL-terminated; false if there is none.  It
 * stays the next until wsman_items_told(). */
bool wsman_items_next(const struct wsman_items *items, const char **ret_bytes,
		      size_t *ret_length);
void wsman_items_told(struct wsman_items *items);
static inline size_t wsman_items_left(const struct wsman_items *items)
{
	return items->count - items->next;
}
/* Forgets the first COUNT items, and gives their memory back. */
void wsman_items_drop(struct wsman_items *items, size_t count);
void wsman_items_clear(struct wsman_items *items);

#endif
