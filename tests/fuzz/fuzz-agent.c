/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers of a guest's agent.  The first byte says whether the rest came from
 * the agent or from virsh.  What is believed of it is bounded and printable.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/reply.h"
#include "fuzz.h"

static void check(const char *text, size_t room)
{
	if (strnlen(text, room) == room)
		abort();
	for (; *text; text++)
		if (*text < ' ' || *text > '~')
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reply reply;
	char *text;
	int r;

	if (size == 0)
		return 0;
	text = malloc(size); /* a NUL takes the place of the first byte */
	if (!text)
		return 0;
	memcpy(text, data + 1, size - 1);
	r = data[0] & 1 ? reply_parse_output(text, size - 1, &reply)
			: reply_parse(text, size - 1, &reply);
	if (r == 0)
		check(reply.desc, sizeof(reply.desc));
	if (r == 0 &&
	    strnlen(reply.word, sizeof(reply.word)) == sizeof(reply.word))
		abort();
	free(text);
	return 0;
}
