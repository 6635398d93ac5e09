/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROOM_MIN 4096

static bool reserve(struct text *text, size_t n)
{
	size_t room = text->room ? text->room : ROOM_MIN;
	char *at;

	if (text->failed)
		return false;
	if (text->room - text->bytes >= n)
		return true;
	while (room - text->bytes < n)
		room *= 2;
	at = realloc(text->at, room);
	if (!at) {
		text->failed = true;
		return false;
	}
	text->at = at;
	text->room = room;
	return true;
}

void text_put_bytes(struct text *text, const char *bytes, size_t n)
{
	if (!reserve(text, n))
		return;
	memcpy(text->at + text->bytes, bytes, n);
	text->bytes += n;
}

void text_put(struct text *text, const char *string)
{
	text_put_bytes(text, string, strlen(string));
}

void text_put_string(struct text *text, const char *string)
{
	text_put_bytes(text, "\"", 1);
	for (;;) {
		size_t plain = 0;
		unsigned char c;
		char escape[8];

		do
			c = (unsigned char)string[plain++];
		while (c >= 0x20 && c != '"' && c != '\\');
		text_put_bytes(text, string, plain - 1);
		if (!c)
			break;
		(void)snprintf(escape, sizeof(escape), "\\u%04x", c);
		text_put_bytes(text, escape, 6);
		string += plain;
	}
	text_put_bytes(text, "\"", 1);
}

void text_put_number(struct text *text, uint64_t number)
{
	char digits[24];

	text_put_bytes(text, digits,
		       (size_t)snprintf(digits, sizeof(digits), "%" PRIu64,
					number));
}

void text_done(struct text *text)
{
	free(text->at);
	*text = (struct text){0};
}
