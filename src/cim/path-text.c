/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The text of object paths, both ways.
 *
 * In quotes a backslash stands before a quote or a backslash; before anything
 * else it is one itself.
 */
#include <string.h>
#include <strings.h>

#include "cim/path.h"
#include "cim/status.h"
#include "cim/utf8.h"
#include "common/limits.h"

struct reader {
	struct arena *arena;
	const char *text, *at;
	struct err *err;
};

static bool is_slash(char c)
{
	return c == '/' || c == '\\';
}

static bool is_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '0' && c <= '9') || c == '_' || (unsigned char)c >= 0x80;
}

static void skip_space(struct reader *r)
{
	while (*r->at == ' ' || *r->at == '\t' || *r->at == '\r' ||
	       *r->at == '\n')
		r->at++;
}

static int bad(struct reader *r, const char *what)
{
	return err_set(r->err, -CIM_EPARAMETER,
		       "the object path '%.80s' has %s at character %zu",
		       r->text, what, (size_t)(r->at - r->text) + 1);
}

static int take(struct reader *r, const char *from, size_t length,
		const char **ret_text)
{
	const char *copy = arena_copy(r->arena, from, length);

	if (!copy)
		return arena_full(r->arena, r->err);
	*ret_text = copy;
	return 0;
}

static int read_word(struct reader *r, const char *what, const char **ret_word)
{
	const char *from = r->at;

	if (*r->at >= '0' && *r->at <= '9')
		return bad(r, what);
	while (is_word(*r->at))
		r->at++;
	if (r->at == from)
		return bad(r, what);
	return take(r, from, (size_t)(r->at - from), ret_word);
}

/* "\\HOST\": the host up to the next slash. */
static int read_host(struct reader *r, struct cim_path *path)
{
	size_t length;
	int e;

	if (!is_slash(r->at[0]) || !is_slash(r->at[1]))
		return 0;
	r->at += 2;
	length = strcspn(r->at, "/\\\"'=,");
	if (length == 0 || !is_slash(r->at[length]))
		return bad(r, "no host");
	e = take(r, r->at, length, &path->host);
	r->at += length;
	return e;
}

/* "root\virtualization\v2:", if there is a colon before the keys. */
static int read_namespace(struct reader *r, struct cim_path *path)
{
	const char *end = r->at;
	char *ns;

	while (is_word(*end) || *end == '-' || is_slash(*end))
		end++;
	if (*end != ':') {
		if (path->host || is_slash(*r->at))
			return bad(r, "no namespace");
		return 0;
	}
	while (is_slash(*r->at))
		r->at++;
	while (end > r->at && is_slash(end[-1]))
		end--;
	if (end == r->at)
		return bad(r, "no namespace");
	ns = arena_copy(r->arena, r->at, (size_t)(end - r->at));
	if (!ns)
		return arena_full(r->arena, r->err);
	for (char *p = ns; *p; p++)
		if (*p == '\\')
			*p = '/';
	path->ns = ns;
	r->at = strchr(r->at, ':') + 1;
	return 0;
}

static int read_quoted(struct reader *r, const char **ret_text)
{
	char quote = *r->at++;
	const char *from = r->at;
	char *copy, *to;

	while (*r->at && *r->at != quote)
		r->at += r->at[0] == '\\' && r->at[1] ? 2 : 1;
	if (*r->at != quote)
		return bad(r, "no closing quote");
	copy = to = arena_copy(r->arena, from, (size_t)(r->at - from));
	if (!copy)
		return arena_full(r->arena, r->err);
	for (const char *p = from; p < r->at; p++) {
		if (*p == '\\' && (p[1] == '\\' || p[1] == '"' || p[1] == '\''))
			p++;
		*to++ = *p;
	}
	*to = '\0';
	r->at++;
	*ret_text = copy;
	return 0;
}

/* Decimal, or 0x hex, with or without a sign. */
static bool is_number(const char *text, size_t length)
{
	const char *digits = "0123456789";
	size_t sign = length > 0 && (*text == '-' || *text == '+');

	text += sign;
	length -= sign;
	if (length > 2 && text[0] == '0' && (text[1] | 0x20) == 'x') {
		digits = "0123456789abcdefABCDEF";
		text += 2;
		length -= 2;
	}
	return length > 0 && strspn(text, digits) >= length;
}

/* A number or a boolean. */
static int read_bare(struct reader *r, struct cim_key *key)
{
	const char *from = r->at;
	size_t length;

	if (*r->at == '-' || *r->at == '+')
		r->at++;
	key->kind = CIM_KEY_NUMBER;
	while (is_word(*r->at))
		r->at++;
	length = (size_t)(r->at - from);
	if (length == 4 && strncasecmp(from, "true", 4) == 0) {
		key->kind = CIM_KEY_BOOLEAN;
		key->text = "TRUE";
		return 0;
	}
	if (length == 5 && strncasecmp(from, "false", 5) == 0) {
		key->kind = CIM_KEY_BOOLEAN;
		key->text = "FALSE";
		return 0;
	}
	if (!is_number(from, length))
		return bad(r, "no value");
	return take(r, from, (size_t)(r->at - from), &key->text);
}

static int read_value(struct reader *r, struct cim_key *key)
{
	skip_space(r);
	if (*r->at == '"' || *r->at == '\'') {
		key->kind = CIM_KEY_STRING;
		return read_quoted(r, &key->text);
	}
	return read_bare(r, key);
}

static int read_key(struct reader *r, struct cim_key *key)
{
	int e;

	skip_space(r);
	e = read_word(r, "no key", &key->name);
	if (e < 0)
		return e;
	skip_space(r);
	if (*r->at != '=')
		return bad(r, "no '='");
	r->at++;
	return read_value(r, key);
}

static int read_keys(struct reader *r, struct cim_path *path,
		     struct cim_key *keys)
{
	int e;

	do {
		if (path->key_count == CIM_KEYS_MAX)
			return bad(r, "too many keys");
		e = read_key(r, &keys[path->key_count]);
		if (e < 0)
			return e;
		path->key_count++;
		skip_space(r);
	} while (*r->at == ',' && *r->at++);
	return 0;
}

/* What follows the class: nothing, "=@", "=value" or ".key=value,...". */
static int read_rest(struct reader *r, struct cim_path *path)
{
	struct cim_key keys[CIM_KEYS_MAX] = {0};
	struct cim_key *copy;
	int e = 0;

	skip_space(r);
	if (*r->at == '.') {
		r->at++;
		e = read_keys(r, path, keys);
	} else if (*r->at == '=' && r->at[1] == '@') {
		r->at += 2;
	} else if (*r->at == '=') {
		r->at++;
		keys[0].name = "";
		path->key_count = 1;
		e = read_value(r, &keys[0]);
	} else {
		path->is_class = true;
	}
	if (e < 0)
		return e;
	skip_space(r);
	if (*r->at != '\0')
		return bad(r, "text after its end");
	copy = arena_array(r->arena, path->key_count, sizeof(*copy));
	if (!copy)
		return arena_full(r->arena, r->err);
	memcpy(copy, keys, path->key_count * sizeof(*copy));
	path->keys = copy;
	return 0;
}

int cim_path_parse(struct arena *arena, const char *text,
		   const struct cim_path **ret_path, struct err *err)
{
	struct reader r = {
	    .arena = arena, .text = text, .at = text, .err = err};
	struct cim_path *path;
	int e;

	if (strlen(text) > CIM_PATH_BYTES_MAX)
		return err_set(err, -CIM_EPARAMETER,
			       "an object path has more than %u bytes",
			       (unsigned)CIM_PATH_BYTES_MAX);
	if (!cim_utf8_valid(text, strlen(text)))
		return bad(&r, "no UTF-8");
	path = arena_alloc(arena, sizeof(*path));
	if (!path)
		return arena_full(arena, err);
	skip_space(&r);
	e = read_host(&r, path);
	if (e == 0)
		e = read_namespace(&r, path);
	if (e == 0)
		e = read_word(&r, "no class", &path->class_name);
	if (e == 0)
		e = read_rest(&r, path);
	if (e == 0)
		*ret_path = path;
	return e;
}

/* ---- writing ------------------------------------------------------------ */

/* Measures first (buf NULL), then writes. */
struct writer {
	char *buf;
	size_t length;
};

static void put(struct writer *w, const char *text, size_t length)
{
	if (w->buf)
		memcpy(w->buf + w->length, text, length);
	w->length += length;
}

static void put_string(struct writer *w, const char *text)
{
	put(w, text, strlen(text));
}

/* LEVELS of quotes around: each doubles the backslashes of the one within. */
static void put_escaped(struct writer *w, char c, unsigned levels)
{
	if (levels > 0 && (c == '"' || c == '\\'))
		put_escaped(w, '\\', levels - 1);
	if (levels > 0)
		put_escaped(w, c, levels - 1);
	else
		put(w, &c, 1);
}

static void put_text(struct writer *w, const char *text, unsigned levels)
{
	for (; *text; text++)
		put_escaped(w, *text, levels);
}

static void put_path(struct writer *w, const struct cim_path *path,
		     unsigned levels);

static void put_key(struct writer *w, const struct cim_key *key,
		    unsigned levels)
{
	bool quoted =
	    key->kind == CIM_KEY_STRING || key->kind == CIM_KEY_REFERENCE;

	if (*key->name) {
		put_string(w, key->name);
		put_string(w, "=");
	}
	if (quoted)
		put_text(w, "\"", levels);
	if (key->kind == CIM_KEY_REFERENCE)
		put_path(w, key->ref, levels + 1);
	else
		put_text(w, key->text, quoted ? levels + 1 : levels);
	if (quoted)
		put_text(w, "\"", levels);
}

static void put_path(struct writer *w, const struct cim_path *path,
		     unsigned levels)
{
	if (levels > CIM_PATH_DEPTH_MAX)
		return;
	if (path->host && path->ns) {
		put_text(w, "\\\\", levels);
		put_string(w, path->host);
		put_text(w, "\\", levels);
	}
	for (const char *p = path->ns; p && *p; p++)
		put_text(w, is_slash(*p) ? "\\" : (char[2]){*p}, levels);
	if (path->ns)
		put_string(w, ":");
	put_string(w, path->class_name);
	if (path->is_class)
		return;
	if (path->key_count == 0)
		put_string(w, "=@");
	for (uint32_t i = 0; i < path->key_count; i++) {
		put_string(w, i > 0 ? "," : *path->keys[i].name ? "." : "=");
		put_key(w, &path->keys[i], levels);
	}
}

static unsigned depth_of(const struct cim_path *path, unsigned limit)
{
	unsigned most = 0;

	for (uint32_t i = 0; i < path->key_count && limit > 0; i++) {
		unsigned depth;

		if (path->keys[i].kind != CIM_KEY_REFERENCE)
			continue;
		depth = 1 + depth_of(path->keys[i].ref, limit - 1);
		if (depth > most)
			most = depth;
	}
	return most;
}

int cim_path_format(struct arena *arena, const struct cim_path *path,
		    const char **ret_text, struct err *err)
{
	struct writer w = {0};

	if (depth_of(path, CIM_PATH_DEPTH_MAX + 1) > CIM_PATH_DEPTH_MAX)
		return err_set(err, -CIM_ELIMITS,
			       "an object path holds paths of paths, more "
			       "than %d deep",
			       CIM_PATH_DEPTH_MAX);
	put_path(&w, path, 0);
	w.buf = arena_alloc(arena, w.length + 1);
	if (!w.buf)
		return arena_full(arena, err);
	w.length = 0;
	put_path(&w, path, 0);
	*ret_text = w.buf;
	return 0;
}
