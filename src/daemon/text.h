/* SPDX-License-Identifier: Apache-2.0 */
/* JSON that is written by hand, where there is much of it. */
#ifndef DAEMON_TEXT_H
#define DAEMON_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text {
	char *at; /* no NUL behind */
	size_t bytes, room;
	bool failed; /* no memory; what is put then is lost */
};

void text_put_bytes(struct text *text, const char *bytes, size_t n);
void text_put(struct text *text, const char *string);
/* In quotes and escaped; STRING is UTF-8. */
void text_put_string(struct text *text, const char *string);
void text_put_number(struct text *text, uint64_t number);
void text_done(struct text *text);

#endif
