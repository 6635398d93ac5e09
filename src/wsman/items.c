/* SPDX-License-Identifier: Apache-2.0 */
#include "wsman/items.h"

#include <stdlib.h>
#include <string.h>

#include "cim/status.h"
#include "common/bytes.h"
#include "common/limits.h"

static bool room_for_bytes(struct wsman_items *items, size_t more)
{
	size_t size = items->size ? items->size : 4096;
	char *bytes;

	while (size - items->length < more)
		size *= 2;
	if (size == items->size)
		return true;
	bytes = realloc(items->bytes, size);
	if (!bytes)
		return false;
	items->bytes = bytes;
	items->size = size;
	return true;
}

static bool room_for_end(struct wsman_items *items)
{
	size_t size = items->ends_size ? items->ends_size * 2 : 16;
	size_t *ends;

	if (items->count < items->ends_size)
		return true;
	ends = reallocarray(items->ends, size, sizeof(*ends));
	if (!ends)
		return false;
	items->ends = ends;
	items->ends_size = size;
	return true;
}

int wsman_items_add(struct wsman_items *items, const char *bytes, size_t length,
		    struct err *err)
{
	if (length > WSMAN_ITEMS_BYTES_MAX - items->length)
		return err_set(err, -CIM_ELIMITS,
			       "the enumeration has more than %u bytes",
			       (unsigned)WSMAN_ITEMS_BYTES_MAX);
	if (!room_for_bytes(items, length) || !room_for_end(items))
		return err_set(err, -CIM_ELIMITS,
			       "no memory for the enumeration");
	memcpy(items->bytes + items->length, bytes, length);
	items->length += length;
	items->ends[items->count++] = items->length;
	return 0;
}

bool wsman_items_next(const struct wsman_items *items, const char **ret_bytes,
		      size_t *ret_length)
{
	size_t start;

	if (items->next == items->count)
		return false;
	start = items->next > 0 ? items->ends[items->next - 1] : 0;
	*ret_bytes = items->bytes + start;
	*ret_length = items->ends[items->next] - start;
	return true;
}

void wsman_items_told(struct wsman_items *items)
{
	if (items->next < items->count)
		items->next++;
}

/* What is larger than it has to be is no error. */
static void *shrink(void *p, size_t bytes)
{
	void *smaller = realloc(p, MAX(bytes, (size_t)1));

	return smaller ? smaller : p;
}

void wsman_items_drop(struct wsman_items *items, size_t count)
{
	size_t start = count > 0 ? items->ends[count - 1] : 0;

	if (items->count == 0)
		return;
	items->length -= start;
	items->count -= count;
	items->next -= items->next < count ? items->next : count;
	memmove(items->bytes, items->bytes + start, items->length);
	for (size_t i = 0; i < items->count; i++)
		items->ends[i] = items->ends[i + count] - start;
	items->bytes = shrink(items->bytes, items->length);
	items->size = items->length;
	items->ends_size = items->count;
	items->ends =
	    shrink(items->ends, items->ends_size * sizeof(*items->ends));
}

void wsman_items_clear(struct wsman_items *items)
{
	free(items->bytes);
	free(items->ends);
	*items = (struct wsman_items){0};
}
