/* SPDX-License-Identifier: Apache-2.0 */
/*
 * XML out, in a growing buffer with a limit: the only place that escapes.
 *
 * W1  What is written is well-formed, whatever the values hold: what XML cannot
 *     carry (controls, bytes that are no UTF-8) becomes U+FFFD.
 * W2  An element is closed by an end tag even if it is empty: there are clients
 *     that cannot read <VALUE/>.  xml_close_empty() is for the others.
 * W3  The first failure sticks, everything after does nothing, and
 *     xml_finish() tells; nobody checks each call.
 */
#ifndef CIM_WRITER_H
#define CIM_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/limits.h"

struct xml_out {
	char *bytes;
	size_t length, size, limit;
	int error;     /* negative; -CIM_EREPLYBYTES beyond the limit */
	bool tag_open; /* the last tag may still take attributes */
	bool fragment;
	unsigned depth;
	const char *names[CIM_XML_DEPTH_MAX];
};

/* LIMIT in bytes.  A document starts with an XML declaration; a FRAGMENT has
 * none and may have several roots, or only text. */
void xml_init(struct xml_out *out, size_t limit, bool fragment);
/* Frees what xml_finish() did not hand over. */
void xml_release(struct xml_out *out);
/* 0 and the bytes with a NUL after them, which the caller frees; or the first
 * failure.  OUT is empty after. */
int xml_finish(struct xml_out *out, char **ret_bytes, size_t *ret_length,
	       struct err *err);

/* NAME is kept until the element is closed, and is a name that XML allows;
 * anything else fails with -CIM_EFAILED. */
void xml_open(struct xml_out *out, const char *name);
void xml_put_attribute(struct xml_out *out, const char *name,
		       const char *value);
/* Of a value that ends after LENGTH bytes. */
void xml_put_attribute_bytes(struct xml_out *out, const char *name,
			     const char *value, size_t length);
void xml_put_text(struct xml_out *out, const char *text);
void xml_put_bytes(struct xml_out *out, const char *text, size_t length);
void xml_put_number(struct xml_out *out, uint64_t number);
void xml_close(struct xml_out *out);
/* Like xml_close(), with `/>` if nothing is in it. */
void xml_close_empty(struct xml_out *out);
/* <NAME>TEXT</NAME> */
void xml_element(struct xml_out *out, const char *name, const char *text);
/* What another writer has finished: is taken as well-formed. */
void xml_put_fragment(struct xml_out *out, const char *bytes, size_t length);

/* Bytes that still fit, end tags of what is open taken off. */
size_t xml_room(const struct xml_out *out);

/* Taking back what was written since, and the failure with it: for the item
 * that does not fit any more.  What was open at the mark must be so still. */
struct xml_mark {
	size_t length;
	unsigned depth;
	bool tag_open;
	int error;
};
struct xml_mark xml_mark(const struct xml_out *out);
void xml_rewind(struct xml_out *out, struct xml_mark mark);

#endif
