/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/reply.h"

#include <errno.h>
#include <string.h>

static void copy_printable(char *to, size_t room, const char *from)
{
	size_t i = 0;

	for (; i + 1 < room && from[i] && from[i] != '\n'; i++)
		to[i] = from[i] < ' ' || from[i] > '~' ? '?' : from[i];
	to[i] = '\0';
}

static int take_error(const json_t *error, struct reply *reply)
{
	const char *desc = json_string_value(json_object_get(error, "desc"));

	if (!error)
		return -EPROTO;
	reply->refused = true;
	copy_printable(reply->desc, sizeof(reply->desc), desc ? desc : "");
	return 0;
}

static int take(const json_t *json, struct reply *reply)
{
	const json_t *value = json_object_get(json, "return");

	if (!value)
		return take_error(json_object_get(json, "error"), reply);
	if (json_is_integer(value))
		reply->number = json_integer_value(value);
	if (json_is_string(value) &&
	    json_string_length(value) < sizeof(reply->word))
		(void)strcpy(reply->word, json_string_value(value));
	return 0;
}

int reply_parse(const char *text, size_t bytes, struct reply *ret_reply)
{
	json_t *json = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, NULL);
	struct reply reply = {.number = -1};
	int r = json_is_object(json) ? take(json, &reply) : -EPROTO;

	json_decref(json);
	if (r == 0)
		*ret_reply = reply;
	return r;
}

int reply_parse_output(char *text, size_t bytes, struct reply *ret_reply)
{
	const char *why = text;

	text[bytes] = '\0';
	if (text[0] == '{')
		return reply_parse(text, bytes, ret_reply);
	if (strncmp(why, "error: ", 7) == 0)
		why += 7;
	*ret_reply = (struct reply){.refused = true, .number = -1};
	copy_printable(ret_reply->desc, sizeof(ret_reply->desc), why);
	return 0;
}
