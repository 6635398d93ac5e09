/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COMMON_GUID_H
#define COMMON_GUID_H

#include <stdbool.h>
#include <stdint.h>

#define GUID_TEXT_BYTES 37 /* lower-case, dashes, NUL */

struct guid {
	uint8_t b[16]; /* in the order in which the text shows them */
};

/* A fresh random one (RFC 4122, version 4), from getrandom(2), which cannot
 * fail once the system has booted; aborts if it does. */
struct guid guid_random(void);
void guid_format(const struct guid *guid, char text[GUID_TEXT_BYTES]);

/* Accepts exactly 8-4-4-4-12 hex digits of either case; false otherwise. */
bool guid_parse(const char *text, struct guid *ret_guid);
bool guid_equal(const struct guid *a, const struct guid *b);
bool guid_is_zero(const struct guid *guid);

#endif
