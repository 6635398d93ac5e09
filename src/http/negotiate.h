/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Negotiate through GSSAPI: Kerberos, and NTLM where it is allowed.  A
 * connection's context is used by one thread at a time.
 */
#ifndef HTTP_NEGOTIATE_H
#define HTTP_NEGOTIATE_H

#include "http/auth.h"

struct negotiate; /* our own credentials */

/* -RP_EPARAM if nothing is left to accept with. */
int negotiate_open(bool kerberos, const char *keytab, const char *ntlm,
		   struct negotiate **ret_negotiate, struct err *err);
void negotiate_close(struct negotiate *negotiate);

enum negotiate_step {
	STEP_FAILED = 0,
	STEP_CONTINUE,
	STEP_DONE
};

/*
 * One leg.  When it is done NAME and LOCAL (the system's name for it, or "")
 * are those of the peer.  *RET_TOKEN, base64 for the reply, may be NULL; the
 * caller's to free.
 */
enum negotiate_step negotiate_step(struct negotiate *negotiate,
				   struct auth_connection *connection,
				   const struct auth_input *input,
				   const char *token, char **ret_token,
				   char ret_name[AUTH_NAME_BYTES],
				   char ret_local[AUTH_NAME_BYTES]);

struct auth_connection *auth_connection_new(void);

/* What the connection was found to be; a role of denied until it is. */
const struct principal *
auth_connection_principal(struct auth_connection *connection);
void auth_connection_set_principal(struct auth_connection *connection,
				   const struct principal *principal);
bool auth_connection_pending(const struct auth_connection *connection);

#endif
