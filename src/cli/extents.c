/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/extents.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"

#define DIGITS_MAX 19 /* of INT64_MAX */

/* Moves *AT behind WORD; false if it is not there. */
static bool take_word(const char **at, const char *word)
{
	const char *p = *at;

	while (*word)
		if (*p++ != *word++)
			return false;
	*at = p;
	return true;
}

static bool take_number(const char **at, uint64_t *ret)
{
	const char *p = *at;
	uint64_t n = 0;

	while (*p >= '0' && *p <= '9' && p - *at < DIGITS_MAX)
		n = 10 * n + (uint64_t)(*p++ - '0');
	if (p == *at || n > INT64_MAX || (**at == '0' && p - *at > 1))
		return false;
	*at = p;
	*ret = n;
	return true;
}

const char *extents_scan(const char *text, extent_fn *fn, void *arg)
{
	const char *at = text;

	while (*at != ']') {
		uint64_t offset, length;

		if (at > text && *at++ != ',')
			return NULL;
		if (!take_word(&at, "{\"offset\":") ||
		    !take_number(&at, &offset) ||
		    !take_word(&at, ",\"length\":") ||
		    !take_number(&at, &length) || *at++ != '}')
			return NULL;
		if (fn)
			fn(arg, offset, length);
	}
	return at;
}

static const char mark[] = "\"extents\":[";

/* Where each list is in TEXT; false if one has another form. */
static bool find_lists(struct extent_lists *lists, const char *text)
{
	const char *at = text;

	lists->n = 0;
	while ((at = strstr(at, mark))) {
		const char *start = at + sizeof(mark) - 1;

		at = extents_scan(start, NULL, NULL);
		if (!at || lists->n == ARRAY_SIZE(lists->list))
			return false;
		lists->list[lists->n].start = (size_t)(start - text);
		lists->list[lists->n++].bytes = (size_t)(at - start);
	}
	return true;
}

static bool lists_reserve(struct extent_lists *lists, size_t bytes)
{
	char *text;

	if (lists->room > bytes)
		return true;
	text = realloc(lists->text, bytes + 1);
	if (!text)
		return false;
	lists->text = text;
	lists->room = bytes + 1;
	return true;
}

size_t extents_cut(struct extent_lists *lists, char *text, size_t bytes)
{
	size_t from = 0, to = 0;

	/* A NUL is no JSON: let the parser say so. */
	if (memchr(text, '\0', bytes) || !find_lists(lists, text) ||
	    !lists_reserve(lists, bytes)) {
		lists->n = 0;
		return bytes;
	}
	memcpy(lists->text, text, bytes + 1);
	for (unsigned i = 0; i < lists->n; i++) {
		size_t n = lists->list[i].start - from;

		memmove(text + to, text + from, n);
		to += n;
		from = lists->list[i].start + lists->list[i].bytes;
	}
	memmove(text + to, text + from, bytes - from + 1);
	return to + bytes - from;
}

void extents_done(struct extent_lists *lists)
{
	free(lists->text);
	*lists = (struct extent_lists){0};
}
