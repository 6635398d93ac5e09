/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is calling: from what a client shows to a name and a role.
 *
 * A1  Denied is the zero value of a role and of an outcome, and what every
 *     path ends with that does not say otherwise.
 * A2  What Negotiate finds out belongs to the connection on which it was found
 *     out, and ends with it; a new Authorization header replaces it.  Basic and
 *     client certificates are judged anew for each request.
 * A3  Basic is read only under TLS or from a loopback address.
 * A4  A refusal is due AUTH_FAILURE_MS after the attempt began, whether the
 *     name exists or not, and counts against the name and the address.
 * A5  No password outlives the attempt: a success is remembered for
 *     AUTH_CACHE_MS as a hash under a key that only this process has.
 * A6  NTLM is spoken only when a credentials file was configured.
 *
 * A name's role is, in this order: that of its line in the users file; that
 * of its groups, for passwords as refpoint-pam reports them, for Kerberos as
 * the system has them for the local name; else denied.
 */
#ifndef HTTP_AUTH_H
#define HTTP_AUTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "common/err.h"
#include "common/limits.h"

enum role {
	ROLE_DENIED = 0,
	ROLE_READ_ONLY,
	ROLE_OPERATOR,
};

struct principal {
	enum role role;
	char name[AUTH_NAME_BYTES]; /* "": nobody; else UTF-8, no controls */
};

/* The certificate that a client proved to have, by its own key. */
struct client_certificate {
	uint8_t sha256[32];
	bool valid_now;     /* its times */
	bool verified;      /* by the configured authorities */
	char subject[1024]; /* RFC 4514; "" if longer */
};

struct auth_options {
	const char *users;          /* file (http/users.h); NULL: none */
	int pam_fd;                 /* to refpoint-pam; -1: none; borrowed */
	const char *pam_socket;     /* or where it is reached; NULL: nowhere */
	const char *operator_group; /* NULL: no group makes an operator */
	const char *reader_group;   /* likewise */
	bool kerberos;
	const char *keytab; /* NULL: the system's */
	const char *ntlm;   /* gss-ntlmssp's credentials file; NULL: none */
	const char *certificates; /* map (http/clients.h); NULL: none */
	bool users_any_owner;     /* skips the check; for tests */
};

struct auth;
struct auth_connection; /* what Negotiate found out; NULL: nothing */

/* Reads the files; -RP_EPARAM where one of them is wrong or not private.
 * Sets NTLM_USER_FILE or removes it from the environment: call it before there
 * are threads. */
int auth_open(const struct auth_options *options, struct auth **ret_auth,
	      struct err *err);
void auth_close(struct auth *auth); /* NULL is allowed */

enum auth_outcome {
	AUTH_REFUSED = 0, /* 401 */
	AUTH_GRANTED,     /* the principal is known, its role may be denied */
	AUTH_ANONYMOUS,   /* showed nothing */
	AUTH_CONTINUE,    /* 401 with a token, on the same connection */
	AUTH_LIMITED,     /* 429: too many failures */
	AUTH_BUSY,        /* 503 */
};

struct auth_input {
	const char *authorization; /* the header's value; NULL: none */
	bool tls;
	const struct sockaddr *peer;
	const struct client_certificate *certificate; /* NULL: none */
	/* RFC 5929's tls-server-end-point, 0 bytes without TLS: a client that
	 * sent it with its Negotiate token must have meant this server; one
	 * that sent none is let in all the same. */
	const uint8_t *binding;
	size_t binding_bytes;
};

struct auth_verdict {
	enum auth_outcome outcome;
	struct principal principal;
	char *token;     /* of Negotiate, base64, for the reply; owned */
	uint64_t due_ms; /* not to be answered before (CLOCK_MONOTONIC) */
};
void auth_verdict_clear(struct auth_verdict *verdict);

/* Judges what can be judged without waiting for anybody.  False if that is
 * not enough: then auth_check must be called, where waiting is allowed. */
bool auth_quick(struct auth *auth, struct auth_connection **connection,
		const struct auth_input *input,
		struct auth_verdict *ret_verdict);
void auth_check(struct auth *auth, struct auth_connection **connection,
		const struct auth_input *input,
		struct auth_verdict *ret_verdict);
void auth_connection_free(struct auth_connection *connection);

/* The n-th WWW-Authenticate value that a 401 offers; NULL: no more. */
const char *auth_challenge(const struct auth *auth, bool tls,
			   const struct sockaddr *peer, unsigned n);

/* Whether this address is this machine's own. */
bool address_is_loopback(const struct sockaddr *address);

/* gss_unwrap and gss_wrap of the connection's context (http/encrypted.h).
 * *RET_DATA is the caller's to free.  -RP_EDENIED without a context. */
int auth_unseal(struct auth_connection *connection, const uint8_t *data,
		size_t bytes, size_t signature_bytes, uint8_t **ret_data,
		size_t *ret_bytes, struct err *err);
int auth_seal(struct auth_connection *connection, const uint8_t *data,
	      size_t bytes, uint8_t **ret_data, size_t *ret_bytes,
	      size_t *ret_signature_bytes, struct err *err);
#endif
