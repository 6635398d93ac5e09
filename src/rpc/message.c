/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/message.h"

#include <stdio.h>
#include <string.h>

#include "rpc/rpc.h"

static int parse_object(const char *text, size_t bytes, json_t **ret_root,
			struct err *err)
{
	json_error_t why;
	json_t *root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &why);

	if (!root)
		return err_set(err, -RP_EWIRE,
			       "a message is not JSON: %.120s (byte %d)",
			       why.text, why.position);
	if (!json_is_object(root)) {
		json_decref(root);
		return err_set(err, -RP_EWIRE,
			       "a message is not a JSON object");
	}
	*ret_root = root;
	return 0;
}

int message_parse_call(const char *text, size_t bytes, struct message_call *ret,
		       struct err *err)
{
	struct message_call call = {0};
	bool oneway = false, upgrade = false;
	const struct rpc_field fields[] = {
	    {"method", RPC_STRING, true, 256, &call.method, NULL},
	    {"parameters", RPC_OBJECT, false, 0, &call.parameters, NULL},
	    {"more", RPC_BOOL, false, 0, &call.more, NULL},
	    {"oneway", RPC_BOOL, false, 0, &oneway, NULL},
	    {"upgrade", RPC_BOOL, false, 0, &upgrade, NULL},
	    {0}};
	int r = parse_object(text, bytes, &call.root, err);

	if (r < 0)
		return r;
	r = rpc_read_fields(call.root, fields, err);
	if (r < 0)
		err_wrap(err, "the call");
	else if (oneway || upgrade)
		r = err_set(err, -RP_EUNSUPPORTED,
			    "calls with 'oneway' or 'upgrade' are not "
			    "supported");
	if (r < 0) {
		json_decref(call.root);
		return r;
	}
	*ret = call;
	return 0;
}

static int code_of_error(const char *name)
{
	const char *prefixes[] = {ERROR_PREFIX, SERVICE_PREFIX};

	for (unsigned i = 0; i < 2; i++) {
		size_t n = strlen(prefixes[i]);

		if (strncmp(name, prefixes[i], n) == 0)
			return err_from_name(name + n);
	}
	return -RP_EFAILED;
}

static void read_error(const char *name, json_t *parameters,
		       struct err *ret_error)
{
	json_t *message = json_object_get(parameters, "message");

	err_set(ret_error, code_of_error(name), "%s",
		json_is_string(message) ? json_string_value(message) : name);
	message_clean_text(ret_error->text);
}

int message_parse_reply(const char *text, size_t bytes,
			struct message_reply *ret, struct err *err)
{
	struct message_reply reply = {0};
	const char *error = NULL;
	const struct rpc_field fields[] = {
	    {"parameters", RPC_OBJECT, false, 0, &reply.parameters, NULL},
	    {"continues", RPC_BOOL, false, 0, &reply.continues, NULL},
	    {"error", RPC_STRING, false, 256, &error, NULL},
	    {0}};
	int r = parse_object(text, bytes, &reply.root, err);

	if (r < 0)
		return r;
	if (rpc_read_fields(reply.root, fields, err) < 0 ||
	    (error && reply.continues)) {
		json_decref(reply.root);
		return err_set(err, -RP_EWIRE, "a message is not a reply");
	}
	if (error)
		read_error(error, reply.parameters, &reply.error);
	*ret = reply;
	return 0;
}

/* ---- Skimming ------------------------------------------------------------ */

struct skim {
	const char *at;
	bool at_key;       /* the next string names a member */
	bool in_continues; /* the value here is that of `continues` */
	bool had_continues;
	bool continues;
	bool parse; /* an error, or names that only the parser can judge */
	bool closed;
};

static bool is_word(const char *text, size_t bytes, const char *word)
{
	return bytes == strlen(word) && memcmp(text, word, bytes) == 0;
}

/* Where a scan stops; NUL ends the text. */
static const bool in_values[256] = {['\0'] = true, ['"'] = true, ['{'] = true,
				    ['}'] = true,  ['['] = true, [']'] = true};
static const bool in_strings[256] = {
    ['\0'] = true, ['"'] = true, ['\\'] = true};

static const char *scan(const char *at, const bool stops[256])
{
	while (!stops[(unsigned char)*at])
		at++;
	return at;
}

/* From behind an opening quote to behind the closing one; NULL: there is none.
 */
static const char *skip_string(const char *at)
{
	for (;;) {
		at = scan(at, in_strings);
		if (*at == '"')
			return at + 1;
		if (*at == '\0' || at[1] == '\0')
			return NULL;
		at += 2;
	}
}

/* From behind an opening bracket to behind that which closes it: most of a
 * message, and nothing in it matters here. */
static const char *skip_value(const char *at)
{
	unsigned depth = 1;

	while (depth > 0 && at) {
		at = scan(at, in_values);
		switch (*at++) {
		case '\0':
			return NULL;
		case '"':
			at = skip_string(at);
			break;
		case '{':
		case '[':
			depth++;
			break;
		default:
			depth--;
		}
	}
	return at;
}

/* The name of a member, or a string. */
static void skim_string(struct skim *s)
{
	const char *start = s->at;
	size_t n;

	s->at = skip_string(start);
	if (!s->at || !s->at_key)
		return;
	n = (size_t)(s->at - 1 - start);
	s->in_continues = is_word(start, n, "continues");
	s->parse |= is_word(start, n, "error") ||
		    memchr(start, '\\', n) != NULL ||
		    (s->in_continues && s->had_continues);
	s->had_continues |= s->in_continues;
	s->at_key = false;
}

/* One byte of the outermost object, or a value of it; at NULL: it is none. */
static void skim_on(struct skim *s)
{
	switch (*s->at++) {
	case '\0':
		s->at = NULL;
		break;
	case '"':
		skim_string(s);
		break;
	case '{':
	case '[':
		s->at = skip_value(s->at);
		break;
	case '}':
	case ']':
		s->closed = true;
		break;
	case ',':
		s->at_key = true;
		break;
	case 't':
		s->continues |= s->in_continues;
		break;
	default:
		break;
	}
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static const char *skip_spaces(const char *at)
{
	while (is_space(*at))
		at++;
	return at;
}

static bool skim_object(struct skim *s, const char *end)
{
	s->at = skip_spaces(s->at);
	if (*s->at != '{')
		return false;
	s->at++;
	s->at_key = true;
	while (s->at && !s->closed)
		skim_on(s);
	return s->at && skip_spaces(s->at) == end;
}

int message_skim_reply(const char *text, size_t bytes,
		       struct message_reply *ret, struct err *err)
{
	struct skim s = {.at = text};

	if (!skim_object(&s, text + bytes))
		return err_set(err, -RP_EWIRE,
			       "a message is not a JSON object");
	if (s.parse)
		return message_parse_reply(text, bytes, ret, err);
	*ret = (struct message_reply){.continues = s.continues};
	return 0;
}

/* ---- Writing ------------------------------------------------------------- */

static char *format(json_t *root)
{
	char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;

	json_decref(root);
	return text;
}

char *message_format_call(const char *method, json_t *parameters, bool more)
{
	json_t *root = json_pack("{s:s, s:o*}", "method", method, "parameters",
				 parameters);

	if (root && more &&
	    json_object_set_new(root, "more", json_true()) < 0) {
		json_decref(root);
		return NULL;
	}
	return format(root);
}

char *message_format_reply(json_t *parameters, bool continues)
{
	json_t *root = json_pack("{s:o}", "parameters",
				 parameters ? parameters : json_object());

	if (root && continues &&
	    json_object_set_new(root, "continues", json_true()) < 0) {
		json_decref(root);
		return NULL;
	}
	return format(root);
}

/* Bytes of the UTF-8 sequence at TEXT; 0 if it is none or a control. */
static size_t utf8_bytes(const char *text)
{
	const unsigned char *c = (const unsigned char *)text;
	size_t n = c[0] < 0x80 ? 1 : c[0] < 0xe0 ? 2 : c[0] < 0xf0 ? 3 : 4;

	if (c[0] < 0x20 || c[0] == 0x7f || (c[0] >= 0x80 && c[0] < 0xc2) ||
	    c[0] > 0xf4)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((c[i] & 0xc0) != 0x80)
			return 0;
	if ((c[0] == 0xc2 && c[1] < 0xa0) || (c[0] == 0xe0 && c[1] < 0xa0) ||
	    (c[0] == 0xed && c[1] > 0x9f) || (c[0] == 0xf0 && c[1] < 0x90) ||
	    (c[0] == 0xf4 && c[1] > 0x8f))
		return 0;
	return n;
}

void message_clean_text(char *text)
{
	while (*text) {
		size_t n = utf8_bytes(text);

		if (n == 0)
			*text = '?';
		text += n ? n : 1;
	}
}

char *message_format_error(const struct err *error, const char *method)
{
	int code = error->code ? error->code : -RP_EFAILED;
	const char *word = err_name(code);
	struct err clean = *error;
	char name[128];
	json_t *root;

	message_clean_text(clean.text);
	(void)snprintf(name, sizeof(name), "%s%s",
		       code == -RP_ENOMETHOD || code == -RP_EPARAM
			   ? SERVICE_PREFIX
			   : ERROR_PREFIX,
		       word);
	root = json_pack("{s:s, s:{s:s, s:s*}}", "error", name, "parameters",
			 "message", clean.text, "method",
			 code == -RP_ENOMETHOD ? method : NULL);
	return format(root);
}
