/* SPDX-License-Identifier: Apache-2.0 */
#include "http/base64.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"

static const char digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int value_of(char c)
{
	const char *p = c ? strchr(digits, c) : NULL;

	return p ? (int)(p - digits) : -1;
}

int base64_decode(const char *text, size_t length, uint8_t **ret_data,
		  size_t *ret_bytes)
{
	size_t pad = 0, n = 0;
	uint32_t bits = 0;
	uint8_t *out;
	int v;

	while (pad < 2 && pad < length && text[length - 1 - pad] == '=')
		pad++;
	if (length % 4 || length == pad)
		return -RP_EPARAM;
	out = malloc(length / 4 * 3 + 1);
	if (!out)
		return -ENOMEM;
	for (size_t i = 0; i < length; i++) {
		v = i < length - pad ? value_of(text[i]) : 0;
		if (v < 0) {
			free(out);
			return -RP_EPARAM;
		}
		bits = bits << 6 | (uint32_t)v;
		if (i % 4 == 3) {
			out[n++] = (uint8_t)(bits >> 16);
			out[n++] = (uint8_t)(bits >> 8);
			out[n++] = (uint8_t)bits;
		}
	}
	n -= pad;
	out[n] = '\0';
	*ret_data = out;
	*ret_bytes = n;
	return 0;
}

char *base64_encode(const uint8_t *data, size_t bytes)
{
	char *out = malloc((bytes + 2) / 3 * 4 + 1), *p = out;
	uint32_t bits;
	size_t n;

	if (!out)
		return NULL;
	for (size_t i = 0; i < bytes; i += 3) {
		n = bytes - i < 3 ? bytes - i : 3;
		bits = (uint32_t)data[i] << 16;
		if (n > 1)
			bits |= (uint32_t)data[i + 1] << 8;
		if (n > 2)
			bits |= data[i + 2];
		*p++ = digits[bits >> 18 & 63];
		*p++ = digits[bits >> 12 & 63];
		*p++ = n > 1 ? digits[bits >> 6 & 63] : '=';
		*p++ = n > 2 ? digits[bits & 63] : '=';
	}
	*p = '\0';
	return out;
}
