/* SPDX-License-Identifier: Apache-2.0 */
#include "common/hex.h"

static const char digits[] = "0123456789abcdef";

void hex_format(const uint8_t *bytes, size_t n, char *ret_text)
{
	for (size_t i = 0; i < n; i++) {
		ret_text[2 * i] = digits[bytes[i] >> 4];
		ret_text[2 * i + 1] = digits[bytes[i] & 15];
	}
	ret_text[2 * n] = '\0';
}

/* -1: it is none. */
static int value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool hex_parse(const char *text, size_t n, uint8_t *ret_bytes)
{
	for (size_t i = 0; i < 2 * n; i++)
		if (value(text[i]) < 0)
			return false;
	for (size_t i = 0; i < n; i++)
		ret_bytes[i] =
		    (uint8_t)(value(text[2 * i]) << 4 | value(text[2 * i + 1]));
	return true;
}
