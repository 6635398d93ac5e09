/* SPDX-License-Identifier: Apache-2.0 */
#include "cim/writer.h"

#include <stdlib.h>
#include <string.h>

#include "cim/status.h"
#include "cim/utf8.h"
#include "common/decimal.h"

#define FIRST_BYTES 4096
#define DECLARATION "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n"

static void fail(struct xml_out *out, int code)
{
	if (!out->error)
		out->error = code;
}

/* Makes room for MORE bytes and a NUL; false if there is none. */
static bool grow(struct xml_out *out, size_t more)
{
	size_t size = out->size ? out->size : FIRST_BYTES;
	char *bytes;

	if (out->error)
		return false;
	if (more > out->limit - out->length) {
		fail(out, -CIM_EREPLYBYTES);
		return false;
	}
	while (size <= out->length + more)
		size *= 2;
	if (size == out->size)
		return true;
	bytes = realloc(out->bytes, size);
	if (!bytes) {
		fail(out, -CIM_ELIMITS);
		return false;
	}
	out->bytes = bytes;
	out->size = size;
	return true;
}

static inline void put(struct xml_out *out, const char *bytes, size_t length)
{
	bool fits = length < out->size - out->length &&
		    length <= out->limit - out->length && !out->error;

	if (!fits && !grow(out, length))
		return;
	memcpy(out->bytes + out->length, bytes, length);
	out->length += length;
}

static void put_string(struct xml_out *out, const char *text)
{
	put(out, text, strlen(text));
}

void xml_init(struct xml_out *out, size_t limit, bool fragment)
{
	*out = (struct xml_out){.limit = limit, .fragment = fragment};
	if (!fragment)
		put_string(out, DECLARATION);
}

void xml_release(struct xml_out *out)
{
	free(out->bytes);
	*out = (struct xml_out){0};
}

static int error_of(const struct xml_out *out, struct err *err)
{
	switch (out->error) {
	case -CIM_EREPLYBYTES:
		return err_set(err, out->error,
			       "the answer has more than %zu bytes",
			       out->limit);
	case -CIM_ELIMITS:
		return err_set(err, out->error, "no memory for the answer");
	default:
		return err_set(err, -CIM_EFAILED,
			       "the answer cannot be "
			       "written as XML");
	}
}

int xml_finish(struct xml_out *out, char **ret_bytes, size_t *ret_length,
	       struct err *err)
{
	int error;

	if (out->depth > 0)
		fail(out, -CIM_EFAILED);
	(void)grow(out, 0);
	if (out->error) {
		error = error_of(out, err);
		xml_release(out);
		return error;
	}
	out->bytes[out->length] = '\0';
	*ret_bytes = out->bytes;
	*ret_length = out->length;
	*out = (struct xml_out){0};
	return 0;
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
	       c == ':' || (unsigned char)c >= 0x80;
}

static bool is_in_name(char c)
{
	return is_letter(c) || (c >= '0' && c <= '9') || c == '.' || c == '-';
}

static bool is_plain(char c)
{
	return c >= ' ' && c <= '~' && c != '&' && c != '<' && c != '>' &&
	       c != '"';
}

/* The bytes of a name; 0 if it is none. */
static size_t name_length(const char *name)
{
	unsigned char bits = 0;
	size_t n = 0;

	if (!is_letter(*name))
		return 0;
	for (; is_in_name(name[n]); n++)
		bits |= (unsigned char)name[n];
	if (name[n] != '\0' || (bits >= 0x80 && !cim_utf8_valid(name, n)))
		return 0;
	return n;
}

static void end_tag_open(struct xml_out *out)
{
	if (out->tag_open)
		put(out, ">", 1);
	out->tag_open = false;
}

void xml_open(struct xml_out *out, const char *name)
{
	size_t length = name_length(name);

	if (out->error)
		return;
	if (length == 0 || out->depth == CIM_XML_DEPTH_MAX) {
		fail(out, -CIM_EFAILED);
		return;
	}
	end_tag_open(out);
	put(out, "<", 1);
	put(out, name, length);
	out->names[out->depth++] = name;
	out->tag_open = true;
}

/* How a character is written where it cannot stand as it is; NULL: it can. */
static const char *escape(unsigned char c, bool attribute)
{
	switch (c) {
	case '&':
		return "&amp;";
	case '<':
		return "&lt;";
	case '>':
		return "&gt;";
	case '\r':
		return "&#13;";
	case '"':
		return "&quot;";
	case '\n':
		return attribute ? "&#10;" : NULL;
	case '\t':
		return attribute ? "&#9;" : NULL;
	default:
		return NULL;
	}
}

/* Bytes at the start of TEXT that need no look. */
static size_t plain(const char *text, size_t length)
{
	size_t n = 0;

	while (n < length && is_plain(text[n]))
		n++;
	return n;
}

static void put_escaped(struct xml_out *out, const char *text, size_t length,
			bool attribute)
{
	const char *end = text + length;

	while (text < end && !out->error) {
		size_t n = plain(text, (size_t)(end - text));
		const char *as;

		put(out, text, n);
		text += n;
		if (text == end)
			return;
		as = escape((unsigned char)*text, attribute);
		n = as ? 1 : cim_utf8_length(text, (size_t)(end - text));
		if (as)
			put_string(out, as);
		else if (n > 0)
			put(out, text, n);
		else
			put_string(out, CIM_UTF8_REPLACEMENT);
		text += n > 0 ? n : 1;
	}
}

void xml_put_attribute_bytes(struct xml_out *out, const char *name,
			     const char *value, size_t length)
{
	size_t bytes = name_length(name);

	if (out->error)
		return;
	if (!out->tag_open || bytes == 0) {
		fail(out, -CIM_EFAILED);
		return;
	}
	put(out, " ", 1);
	put(out, name, bytes);
	put(out, "=\"", 2);
	put_escaped(out, value, length, true);
	put(out, "\"", 1);
}

void xml_put_attribute(struct xml_out *out, const char *name, const char *value)
{
	xml_put_attribute_bytes(out, name, value, strlen(value));
}

void xml_put_bytes(struct xml_out *out, const char *text, size_t length)
{
	if (out->depth == 0 && !out->fragment)
		fail(out, -CIM_EFAILED);
	end_tag_open(out);
	put_escaped(out, text, length, false);
}

void xml_put_text(struct xml_out *out, const char *text)
{
	xml_put_bytes(out, text, strlen(text));
}

void xml_put_number(struct xml_out *out, uint64_t number)
{
	char digits[DECIMAL_BYTES];

	xml_put_bytes(out, digits, decimal_write(number, digits));
}

void xml_put_fragment(struct xml_out *out, const char *bytes, size_t length)
{
	end_tag_open(out);
	put(out, bytes, length);
}

static void close_with(struct xml_out *out, bool may_be_empty)
{
	const char *name;

	if (out->error)
		return;
	if (out->depth == 0) {
		fail(out, -CIM_EFAILED);
		return;
	}
	name = out->names[--out->depth];
	if (may_be_empty && out->tag_open) {
		out->tag_open = false;
		put(out, "/>", 2);
		return;
	}
	end_tag_open(out);
	put(out, "</", 2);
	put_string(out, name);
	put(out, ">", 1);
}

void xml_close(struct xml_out *out)
{
	close_with(out, false);
}

void xml_close_empty(struct xml_out *out)
{
	close_with(out, true);
}

void xml_element(struct xml_out *out, const char *name, const char *text)
{
	xml_open(out, name);
	xml_put_text(out, text);
	xml_close(out);
}

size_t xml_room(const struct xml_out *out)
{
	size_t need = out->tag_open ? 1 : 0;

	if (out->error)
		return 0;
	for (unsigned i = 0; i < out->depth; i++)
		need += strlen(out->names[i]) + 3;
	return need < out->limit - out->length ? out->limit - out->length - need
					       : 0;
}

struct xml_mark xml_mark(const struct xml_out *out)
{
	return (struct xml_mark){.length = out->length,
				 .depth = out->depth,
				 .tag_open = out->tag_open,
				 .error = out->error};
}

void xml_rewind(struct xml_out *out, struct xml_mark mark)
{
	out->length = mark.length;
	out->depth = mark.depth;
	out->tag_open = mark.tag_open;
	out->error = mark.error;
}
