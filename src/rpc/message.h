/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a message says: JSON text to and from calls, replies and errors.  Pure;
 * no sockets.  Bytes from outside are judged here and nowhere else: text that
 * is no JSON object, members that Varlink does not know, and members of the
 * wrong type are refused.
 */
#ifndef RPC_MESSAGE_H
#define RPC_MESSAGE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"

#define SERVICE_PREFIX "org.varlink.service."
#define ERROR_PREFIX   "org.refpoint."

struct message_call {
	json_t *root;       /* owns the rest */
	const char *method; /* not empty */
	json_t *parameters; /* an object; NULL if there was none */
	bool more;
};

/* -RP_EWIRE: not a JSON object, so not our protocol.  -RP_EPARAM: its members
 * are wrong.  -RP_EUNSUPPORTED: oneway and upgrade. */
int message_parse_call(const char *text, size_t bytes, struct message_call *ret,
		       struct err *err);

struct message_reply {
	json_t *root;       /* owns the rest */
	json_t *parameters; /* NULL if there was none */
	bool continues;
	struct err error; /* code 0: a reply, no error */
};

/* -RP_EWIRE: not a reply. */
int message_parse_reply(const char *text, size_t bytes,
			struct message_reply *ret, struct err *err);

/* The same without looking inside, for TEXT with a NUL behind: a reply to be
 * passed on needs no tree of it. RET->root and RET->parameters are NULL unless
 * it is an error, which is parsed. What this takes need not be JSON, but all
 * that is JSON is read alike: no parser, of whatever kind, takes a reply for
 * final that is not so here. */
int message_skim_reply(const char *text, size_t bytes,
		       struct message_reply *ret, struct err *err);

/* Text for free(3), NULL without memory.  PARAMETERS are taken over and may be
 * NULL. */
char *message_format_call(const char *method, json_t *parameters, bool more);
char *message_format_reply(json_t *parameters, bool continues);
/* METHOD (may be NULL) is named by the error MethodNotFound. */
char *message_format_error(const struct err *error, const char *method);

/* Makes TEXT one line of valid UTF-8, in place: what does not fit is '?'. */
void message_clean_text(char *text);

#endif
