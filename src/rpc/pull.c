/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/pull.h"

#include <string.h>

struct pull pull_begin(char *text, size_t bytes)
{
	return (struct pull){.at = text, .end = text + bytes};
}

void pull_fail(struct pull *p)
{
	p->failed = true;
	p->at = p->end;
}

/* The next byte that is no space; NUL at the end. */
static char look(struct pull *p)
{
	while (*p->at == ' ' || *p->at == '\n' || *p->at == '\t' ||
	       *p->at == '\r')
		p->at++;
	return p->at < p->end ? *p->at : '\0';
}

static bool take(struct pull *p, char c)
{
	if (look(p) != c) {
		pull_fail(p);
		return false;
	}
	p->at++;
	return true;
}

bool pull_done(struct pull *p)
{
	return look(p) == '\0' && p->at == p->end && p->depth == 0 &&
	       !p->failed;
}

/* ---- strings ------------------------------------------------------------- */

/* Bytes of the UTF-8 sequence at C, which begins with one above 0x7f; 0 if it
 * is none. */
static size_t sequence(const unsigned char *c)
{
	size_t n = c[0] < 0xe0 ? 2 : c[0] < 0xf0 ? 3 : 4;

	if (c[0] < 0xc2 || c[0] > 0xf4)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((c[i] & 0xc0) != 0x80)
			return 0;
	if ((c[0] == 0xe0 && c[1] < 0xa0) || (c[0] == 0xed && c[1] > 0x9f) ||
	    (c[0] == 0xf0 && c[1] < 0x90) || (c[0] == 0xf4 && c[1] > 0x8f))
		return 0;
	return n;
}

/* Four hex digits at FROM; -1 if they are none. */
static int32_t hex4(const char *from)
{
	int32_t n = 0;

	for (int i = 0; i < 4; i++) {
		char c = from[i];

		if (c >= '0' && c <= '9')
			n = n << 4 | (c - '0');
		else if (c >= 'a' && c <= 'f')
			n = n << 4 | (c - 'a' + 10);
		else if (c >= 'A' && c <= 'F')
			n = n << 4 | (c - 'A' + 10);
		else
			return -1;
	}
	return n;
}

static char *put_utf8(char *to, int32_t n)
{
	if (n < 0x80) {
		*to++ = (char)n;
	} else if (n < 0x800) {
		*to++ = (char)(0xc0 | n >> 6);
		*to++ = (char)(0x80 | (n & 0x3f));
	} else if (n < 0x10000) {
		*to++ = (char)(0xe0 | n >> 12);
		*to++ = (char)(0x80 | (n >> 6 & 0x3f));
		*to++ = (char)(0x80 | (n & 0x3f));
	} else {
		*to++ = (char)(0xf0 | n >> 18);
		*to++ = (char)(0x80 | (n >> 12 & 0x3f));
		*to++ = (char)(0x80 | (n >> 6 & 0x3f));
		*to++ = (char)(0x80 | (n & 0x3f));
	}
	return to;
}

/* \uXXXX, or two of them that are one character, at *FROM behind the `u`; NULL
 * if it is none, or NUL. */
static char *unescape_unicode(const char **from, char *to)
{
	int32_t n = hex4(*from), low;

	if (n <= 0 || (n >= 0xdc00 && n <= 0xdfff))
		return NULL;
	*from += 4;
	if (n < 0xd800 || n > 0xdbff)
		return put_utf8(to, n);
	if ((*from)[0] != '\\' || (*from)[1] != 'u')
		return NULL;
	low = hex4(*from + 2);
	if (low < 0xdc00 || low > 0xdfff)
		return NULL;
	*from += 6;
	return put_utf8(to, 0x10000 + ((n - 0xd800) << 10) + (low - 0xdc00));
}

/* What stands at *FROM behind a backslash; never longer than that was. */
static char *unescape(const char **from, char *to)
{
	static const char codes[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
	const char *code;
	char c = *(*from)++;

	if (c == 'u')
		return unescape_unicode(from, to);
	code = c ? strchr(codes, c) : NULL;
	if (!code)
		return NULL;
	*to++ = meant[code - codes];
	return to;
}

/* The bytes that stand for themselves. */
static const char *scan(const char *at)
{
	for (;; at++) {
		unsigned char c = (unsigned char)*at;

		if (c < 0x20 || c >= 0x80 || c == '"' || c == '\\')
			return at;
	}
}

/* Copies what stands at *FROM to TO and steps over both; false at the end of
 * the string, or of all sense. */
static bool copy_on(const char **from, char **to)
{
	const char *plain = scan(*from);
	size_t n = (size_t)(plain - *from);

	if (*to != *from)
		memmove(*to, *from, n);
	*to += n;
	*from = plain;
	if ((unsigned char)*plain >= 0x80) {
		n = sequence((const unsigned char *)plain);
		memmove(*to, plain, n);
		*to += n;
		*from += n;
		return n > 0;
	}
	if (*plain != '\\')
		return false;
	++*from;
	*to = unescape(from, *to);
	return *to != NULL;
}

static const char *string(struct pull *p)
{
	char *start, *to;
	const char *from;

	if (!take(p, '"'))
		return "";
	from = start = to = p->at;
	while (copy_on(&from, &to))
		;
	if (!to || *from != '"') {
		pull_fail(p);
		return "";
	}
	*to = '\0';
	p->at += from + 1 - start;
	return start;
}

const char *pull_string(struct pull *p)
{
	return string(p);
}

/* ---- objects and arrays -------------------------------------------------- */

static void enter(struct pull *p, char bracket)
{
	if (p->depth == PULL_DEPTH_MAX)
		pull_fail(p);
	if (take(p, bracket)) {
		p->depth++;
		p->first = true;
	}
}

void pull_object(struct pull *p)
{
	enter(p, '{');
}

void pull_array(struct pull *p)
{
	enter(p, '[');
}

/* Whether there is something before BRACKET closes. */
static bool more(struct pull *p, char bracket)
{
	bool first = p->first;

	p->first = false;
	if (look(p) == bracket) {
		p->at++;
		p->depth--;
		return false;
	}
	return !p->failed && (first || take(p, ','));
}

const char *pull_key(struct pull *p)
{
	const char *key;

	if (!more(p, '}'))
		return NULL;
	key = string(p);
	return take(p, ':') ? key : NULL;
}

bool pull_item(struct pull *p)
{
	return more(p, ']');
}

/* ---- the rest -------------------------------------------------------------
 */

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static const char *skip_digits(const char *at)
{
	while (is_digit(*at))
		at++;
	return at;
}

/* Behind the number at AT, or NULL. */
static const char *skip_number(const char *at, bool *ret_integer)
{
	const char *digits = at + (*at == '-');

	at = skip_digits(digits);
	if (at == digits || (*digits == '0' && at > digits + 1))
		return NULL;
	*ret_integer = *at != '.' && *at != 'e' && *at != 'E';
	if (*at == '.') {
		digits = at + 1;
		at = skip_digits(digits);
		if (at == digits)
			return NULL;
	}
	if (*at == 'e' || *at == 'E') {
		digits = at + 1 + (at[1] == '+' || at[1] == '-');
		at = skip_digits(digits);
		if (at == digits)
			return NULL;
	}
	return at;
}

int64_t pull_integer(struct pull *p)
{
	bool minus = look(p) == '-', integer = false;
	const char *end = skip_number(p->at, &integer);
	int64_t n = 0;

	if (!end || !integer) {
		pull_fail(p);
		return 0;
	}
	for (const char *at = p->at + minus; at < end; at++)
		if (__builtin_mul_overflow(n, 10, &n) ||
		    __builtin_sub_overflow(n, *at - '0', &n)) {
			pull_fail(p);
			return 0;
		}
	if (!minus && n == INT64_MIN) {
		pull_fail(p);
		return 0;
	}
	p->at += end - p->at;
	return minus ? n : -n;
}

static bool word(struct pull *p, const char *text)
{
	size_t n = strlen(text);

	if (look(p) != *text || strncmp(p->at, text, n) != 0)
		return false;
	p->at += n;
	return true;
}

bool pull_boolean(struct pull *p)
{
	if (word(p, "true"))
		return true;
	if (!word(p, "false"))
		pull_fail(p);
	return false;
}

bool pull_null(struct pull *p)
{
	return word(p, "null");
}

static void skip_scalar(struct pull *p)
{
	bool integer;
	const char *end;

	if (pull_null(p) || word(p, "true") || word(p, "false"))
		return;
	end = skip_number(p->at, &integer);
	if (end)
		p->at += end - p->at;
	else
		pull_fail(p);
}

void pull_skip(struct pull *p)
{
	switch (look(p)) {
	case '"':
		(void)string(p);
		break;
	case '{':
		pull_object(p);
		while (pull_key(p))
			pull_skip(p);
		break;
	case '[':
		pull_array(p);
		while (pull_item(p))
			pull_skip(p);
		break;
	default:
		skip_scalar(p);
	}
}
