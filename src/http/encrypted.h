/* SPDX-License-Identifier: Apache-2.0 */
/*
 * WinRM's message encryption: a body of type multipart/encrypted with two
 * parts, the first of which tells the type and length of what the second holds
 * encrypted: le32 length of a signature, the signature, the ciphertext.
 *
 * The parser trusts no length: whatever it returns lies within what it got.
 */
#ifndef HTTP_ENCRYPTED_H
#define HTTP_ENCRYPTED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

struct auth_connection;

/* What the parser found; pointers into the body. */
struct encrypted_parts {
	bool kerberos;    /* the protocol's name; else SPNEGO's */
	const char *type; /* "application/soap+xml;charset=UTF-8" */
	size_t type_bytes;
	uint64_t length;       /* of the plain text, as the sender says */
	const uint8_t *sealed; /* signature and ciphertext */
	size_t sealed_bytes;
	size_t signature_bytes; /* at most sealed_bytes */
};

bool encrypted_is(const char *content_type); /* NULL: no */
/* -RP_EWIRE where it is anything else. */
int encrypted_parse(const char *content_type, const uint8_t *body, size_t bytes,
		    struct encrypted_parts *ret_parts, struct err *err);

/* Both give memory that the caller frees; types are NUL-terminated. */
int encrypted_open(struct auth_connection *connection, const char *content_type,
		   const uint8_t *body, size_t bytes, char **ret_type,
		   uint8_t **ret_plain, size_t *ret_bytes, bool *ret_kerberos,
		   struct err *err);
int encrypted_make(struct auth_connection *connection, bool kerberos,
		   const char *type, const uint8_t *plain, size_t bytes,
		   char **ret_content_type, uint8_t **ret_body,
		   size_t *ret_bytes, struct err *err);

#endif
