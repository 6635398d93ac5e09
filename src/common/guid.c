/* SPDX-License-Identifier: Apache-2.0 */
#include "common/guid.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct guid guid_random(void)
{
	struct guid g;

	if (getrandom(g.b, sizeof(g.b), 0) != (ssize_t)sizeof(g.b))
		abort();
	g.b[6] = (uint8_t)((g.b[6] & 0x0f) | 0x40);
	g.b[8] = (uint8_t)((g.b[8] & 0x3f) | 0x80);
	return g;
}

void guid_format(const struct guid *guid, char text[GUID_TEXT_BYTES])
{
	char *p = text;

	for (int i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*p++ = '-';
		p += sprintf(p, "%02x", guid->b[i]);
	}
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool guid_parse(const char *text, struct guid *ret_guid)
{
	struct guid g;
	int n = 0;

	for (const char *p = text; n < 16;) {
		int high, low;

		if (p - text == 8 || p - text == 13 || p - text == 18 ||
		    p - text == 23) {
			if (*p++ != '-')
				return false;
		}
		high = hex_digit(p[0]);
		low = high < 0 ? -1 : hex_digit(p[1]);
		if (low < 0)
			return false;
		g.b[n++] = (uint8_t)(high << 4 | low);
		p += 2;
	}
	if (text[36] != '\0')
		return false;
	*ret_guid = g;
	return true;
}

bool guid_equal(const struct guid *a, const struct guid *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

bool guid_is_zero(const struct guid *guid)
{
	static const struct guid zero;

	return guid_equal(guid, &zero);
}
