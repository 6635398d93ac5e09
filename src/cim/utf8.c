/* SPDX-License-Identifier: Apache-2.0 */
#include "cim/utf8.h"

#include <string.h>

/* Bytes that the first one announces, and what it carries itself. */
static size_t announced(unsigned char first, uint32_t *ret_bits)
{
	if (first < 0x80) {
		*ret_bits = first;
		return 1;
	}
	if (first >= 0xc2 && first < 0xe0) {
		*ret_bits = first & 0x1f;
		return 2;
	}
	if (first >= 0xe0 && first < 0xf0) {
		*ret_bits = first & 0x0f;
		return 3;
	}
	if (first >= 0xf0 && first < 0xf5) {
		*ret_bits = first & 0x07;
		return 4;
	}
	return 0;
}

size_t cim_utf8_read(const char *text, size_t length, uint32_t *ret_character)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	uint32_t c = 0;
	size_t n = announced((unsigned char)text[0], &c);

	if (n == 0 || n > length)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if (((unsigned char)text[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | ((unsigned char)text[i] & 0x3f);
	}
	if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return 0;
	*ret_character = c;
	return n;
}

static bool allowed(uint32_t c)
{
	if (c < 0x20)
		return c == '\t' || c == '\n' || c == '\r';
	return c != 0xfffe && c != 0xffff;
}

size_t cim_utf8_length(const char *text, size_t length)
{
	uint32_t c = 0;
	size_t n = cim_utf8_read(text, length, &c);

	return n > 0 && allowed(c) ? n : 0;
}

bool cim_utf8_valid(const char *text, size_t length)
{
	while (length > 0) {
		/* Most of it is plain. */
		size_t n = *text >= ' ' && *text <= '~'
			       ? 1
			       : cim_utf8_length(text, length);

		if (n == 0)
			return false;
		text += n;
		length -= n;
	}
	return true;
}

void cim_utf8_write(uint32_t c, char ret_text[4])
{
	if (!allowed(c) || c == 0 || c > 0xffff || (c >= 0xd800 && c < 0xe000))
		c = 0xfffd;
	memset(ret_text, 0, 4);
	if (c < 0x80) {
		ret_text[0] = (char)c;
	} else if (c < 0x800) {
		ret_text[0] = (char)(0xc0 | c >> 6);
		ret_text[1] = (char)(0x80 | (c & 0x3f));
	} else {
		ret_text[0] = (char)(0xe0 | c >> 12);
		ret_text[1] = (char)(0x80 | (c >> 6 & 0x3f));
		ret_text[2] = (char)(0x80 | (c & 0x3f));
	}
}
