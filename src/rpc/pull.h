/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON read as it stands, one thing after the other and without a tree: for
 * long answers, at a tenth of the work.
 *
 *	pull_object(&p);
 *	while ((key = pull_key(&p)))
 *		if (strcmp(key, "name") == 0)
 *			name = pull_string(&p);
 *		else
 *			pull_skip(&p);
 *	if (!pull_done(&p))
 *		it made no sense
 *
 * P1  What is no JSON, or is not of the kind that is asked for, fails the whole
 *     reading: from then on there is nothing any more, no key and no item, and
 *     pull_done() says so.  Nobody has to look before.
 * P2  After each key and each item exactly one value is read or skipped.
 * P3  Strings are UTF-8 without NUL, and unescaped where they are: the text is
 *     written to, and what was returned is valid as long as it is there.
 * P4  A member that is there twice is told twice.
 */
#ifndef RPC_PULL_H
#define RPC_PULL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PULL_DEPTH_MAX 32

struct pull {
	char *at;
	char *end;  /* a NUL is there */
	bool first; /* nothing was read since a bracket opened */
	bool failed;
	unsigned depth;
};

/* TEXT has BYTES and a NUL behind. */
struct pull pull_begin(char *text, size_t bytes);
/* Whether all was read, and made sense. */
bool pull_done(struct pull *p);
/* What is there is not what it should be. */
void pull_fail(struct pull *p);

/* Goes into the object, or array, that is next. */
void pull_object(struct pull *p);
void pull_array(struct pull *p);
/* The name of the next member, or NULL behind the last: then the object is
 * left. */
const char *pull_key(struct pull *p);
/* Whether there is another item; if not the array is left. */
bool pull_item(struct pull *p);

/* "" if there is none. */
const char *pull_string(struct pull *p);
/* An integer without fraction or exponent; 0 if there is none. */
int64_t pull_integer(struct pull *p);
bool pull_boolean(struct pull *p);
/* Steps over null, if that is what is next. */
bool pull_null(struct pull *p);
/* Steps over whatever is next. */
void pull_skip(struct pull *p);

#endif
