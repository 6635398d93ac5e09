/* SPDX-License-Identifier: Apache-2.0 */
/* Taking apart an option's data; each returns false if there is not enough. */
#ifndef NBD_CURSOR_H
#define NBD_CURSOR_H

#include <stdbool.h>

#include "common/bytes.h"

struct cursor {
	const uint8_t *at;
	uint32_t bytes; /* left */
};

static inline bool cursor_take(struct cursor *cursor, uint32_t bytes,
			       const uint8_t **ret_at)
{
	if (cursor->bytes < bytes)
		return false;
	*ret_at = cursor->at;
	cursor->at += bytes;
	cursor->bytes -= bytes;
	return true;
}

static inline bool cursor_be32(struct cursor *cursor, uint32_t *ret_value)
{
	const uint8_t *at;
	be32 value;

	if (!cursor_take(cursor, sizeof(value), &at))
		return false;
	memcpy(&value, at, sizeof(value));
	*ret_value = be32_get(value);
	return true;
}

static inline bool cursor_be16(struct cursor *cursor, uint16_t *ret_value)
{
	const uint8_t *at;
	be16 value;

	if (!cursor_take(cursor, sizeof(value), &at))
		return false;
	memcpy(&value, at, sizeof(value));
	*ret_value = be16_get(value);
	return true;
}

/* 32 bits of length, then that many bytes. */
static inline bool cursor_string(struct cursor *cursor, const uint8_t **ret_at,
				 uint32_t *ret_bytes)
{
	uint32_t bytes;

	if (!cursor_be32(cursor, &bytes) || !cursor_take(cursor, bytes, ret_at))
		return false;
	*ret_bytes = bytes;
	return true;
}

#endif
