/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a stranger can send that libmicrohttpd does not parse for us.  The first
 * byte says what: an Authorization header (of a server with neither users nor
 * PAM), or a body of multipart/encrypted, the first line being its type.
 */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "http/auth.h"
#include "http/encrypted.h"

static void authorization(const char *text)
{
	struct sockaddr_in peer = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct auth_options options = {.pam_fd = -1};
	struct auth_input input = {.authorization = text,
				   .tls = true,
				   .peer = (struct sockaddr *)&peer};
	struct auth_connection *connection = NULL;
	struct auth_verdict verdict;
	struct auth *auth;

	CHECK(auth_open(&options, &auth, NULL) == 0);
	if (!auth_quick(auth, &connection, &input, &verdict))
		auth_check(auth, &connection, &input, &verdict);
	CHECK(verdict.outcome != AUTH_GRANTED);
	CHECK(verdict.principal.role == ROLE_DENIED);
	auth_verdict_clear(&verdict);
	auth_connection_free(connection);
	auth_close(auth);
}

static void message(char *text, const uint8_t *end)
{
	char *body = strchr(text, '\n');
	struct encrypted_parts p;
	const uint8_t *from;

	if (!body)
		return;
	*body++ = '\0';
	from = (const uint8_t *)body;
	if (encrypted_parse(text, from, (size_t)(end - from), &p, NULL) < 0)
		return;
	CHECK(p.sealed >= from && p.sealed + p.sealed_bytes <= end);
	CHECK(p.signature_bytes <= p.sealed_bytes);
	CHECK((const uint8_t *)p.type >= from &&
	      (const uint8_t *)p.type + p.type_bytes <= end);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy;

	if (size < 1)
		return 0;
	copy = malloc(size);
	CHECK(copy);
	(void)memcpy(copy, data + 1, size - 1);
	copy[size - 1] = '\0';
	if (data[0] == 'a')
		authorization(copy);
	else
		message(copy, (uint8_t *)copy + size - 1);
	free(copy);
	return 0;
}
