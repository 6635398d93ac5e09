/* SPDX-License-Identifier: Apache-2.0 */
/* One answer of an agent, whatever bytes it is. */
#ifndef AGENT_REPLY_H
#define AGENT_REPLY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct reply {
	bool refused;
	char desc[160];    /* why: one line, printable */
	json_int_t number; /* -1: it is none */
	char word[32];     /* "": it is none */
};

/* {"return":...} or {"error":{...}}, and nothing else: -EPROTO. */
int reply_parse(const char *text, size_t bytes, struct reply *ret_reply);
/* What virsh prints: the agent's answer, or else why there is none.  TEXT has
 * room for a NUL at BYTES. */
int reply_parse_output(char *text, size_t bytes, struct reply *ret_reply);

#endif
