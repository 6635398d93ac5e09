/* SPDX-License-Identifier: Apache-2.0 */
#include "http/encrypted.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/bytes.h"
#include "common/limits.h"
#include "http/auth.h"

#define MULTIPART      "multipart/encrypted"
#define SPNEGO         "application/HTTP-SPNEGO-session-encrypted"
#define KERBEROS       "application/HTTP-Kerberos-session-encrypted"
#define OUR_BOUNDARY   "Encrypted Boundary"
#define BOUNDARY_BYTES 73 /* RFC 2046: 70, and a NUL */

/* What is left to read. */
struct cursor {
	const char *at;
	size_t left;
};

bool encrypted_is(const char *content_type)
{
	size_t n = sizeof(MULTIPART) - 1;

	return content_type && strncasecmp(content_type, MULTIPART, n) == 0 &&
	       (content_type[n] == ';' || content_type[n] == ' ' ||
		!content_type[n]);
}

/* The value of a parameter, quoted or not; quotes within are not served. */
static bool parameter(const char *content_type, const char *name, char *ret,
		      size_t bytes)
{
	size_t length = strlen(name), n;
	const char *p = content_type;

	while ((p = strchr(p, ';'))) {
		p++;
		p += strspn(p, " \t");
		if (strncasecmp(p, name, length) != 0 || p[length] != '=')
			continue;
		p += length + 1;
		n = *p == '"' ? strcspn(++p, "\"") : strcspn(p, "; \t");
		if (!n || n >= bytes)
			return false;
		(void)memcpy(ret, p, n);
		ret[n] = '\0';
		return true;
	}
	return false;
}

static bool skip(struct cursor *c, const char *text, size_t bytes)
{
	if (c->left < bytes || memcmp(c->at, text, bytes) != 0)
		return false;
	c->at += bytes;
	c->left -= bytes;
	return true;
}

/* One line, its end and leading white space cut off. */
static bool take_line(struct cursor *c, const char **ret_line, size_t *ret_n)
{
	const char *end =
	    memmem(c->at, MIN(c->left, (size_t)ENCRYPTED_HEADER_BYTES_MAX),
		   "\r\n", 2);
	const char *line = c->at;

	if (!end)
		return false;
	c->left -= (size_t)(end + 2 - c->at);
	c->at = end + 2;
	while (line < end && (*line == ' ' || *line == '\t'))
		line++;
	*ret_line = line;
	*ret_n = (size_t)(end - line);
	return true;
}

/* What follows "NAME:" in a line. */
static bool header_is(const char *line, size_t n, const char *name,
		      const char **ret_value, size_t *ret_n)
{
	size_t length = strlen(name);

	if (n <= length || strncasecmp(line, name, length) != 0 ||
	    line[length] != ':')
		return false;
	line += length + 1;
	n -= length + 1;
	while (n && (*line == ' ' || *line == '\t')) {
		line++;
		n--;
	}
	*ret_value = line;
	*ret_n = n;
	return true;
}

/* "type=TYPE;Length=N"; TYPE has semicolons of its own. */
static bool parse_original(const char *value, size_t n,
			   struct encrypted_parts *parts)
{
	static const char type[] = "type=", length[] = ";Length=";
	size_t at;
	uint64_t sum = 0;

	if (n < sizeof(type) || strncasecmp(value, type, sizeof(type) - 1) != 0)
		return false;
	for (at = n; at > 0 && value[at - 1] >= '0' && value[at - 1] <= '9';)
		at--;
	if (at == n || n - at > 9 || at < sizeof(type) + sizeof(length) - 2 ||
	    strncasecmp(value + at - (sizeof(length) - 1), length,
			sizeof(length) - 1) != 0)
		return false;
	for (size_t i = at; i < n; i++)
		sum = sum * 10 + (uint64_t)(value[i] - '0');
	parts->type = value + sizeof(type) - 1;
	parts->type_bytes = at - (sizeof(length) - 1) - (sizeof(type) - 1);
	parts->length = sum;
	return parts->type_bytes > 0;
}

/* The headers of one part: how they end is not the same in both. */
static bool first_part(struct cursor *c, const char *dashes, size_t dashes_n,
		       struct encrypted_parts *parts)
{
	bool typed = false, original = false;
	const char *line, *value;
	size_t n, value_n;

	while (!skip(c, dashes, dashes_n)) {
		if (!take_line(c, &line, &n))
			return false;
		if (header_is(line, n, "Content-Type", &value, &value_n)) {
			parts->kerberos =
			    value_n == sizeof(KERBEROS) - 1 &&
			    strncasecmp(value, KERBEROS, value_n) == 0;
			typed = parts->kerberos ||
				(value_n == sizeof(SPNEGO) - 1 &&
				 strncasecmp(value, SPNEGO, value_n) == 0);
		} else if (header_is(line, n, "OriginalContent", &value,
				     &value_n)) {
			original = parse_original(value, value_n, parts);
		} else if (n) {
			return false;
		}
	}
	return typed && original && skip(c, "\r\n", 2);
}

static bool second_part(struct cursor *c, const char *dashes, size_t dashes_n,
			struct encrypted_parts *parts)
{
	const char *line, *value;
	size_t n, value_n;
	le32 signature;

	if (!take_line(c, &line, &n) ||
	    !header_is(line, n, "Content-Type", &value, &value_n) ||
	    value_n != 24 ||
	    strncasecmp(value, "application/octet-stream", 24) != 0)
		return false;
	if (c->left >= 2 && memcmp(c->at + c->left - 2, "\r\n", 2) == 0)
		c->left -= 2;
	if (c->left < dashes_n + 2 + sizeof(signature) ||
	    memcmp(c->at + c->left - 2, "--", 2) != 0 ||
	    memcmp(c->at + c->left - 2 - dashes_n, dashes, dashes_n) != 0)
		return false;
	(void)memcpy(&signature, c->at, sizeof(signature));
	parts->sealed = (const uint8_t *)c->at + sizeof(signature);
	parts->sealed_bytes = c->left - 2 - dashes_n - sizeof(signature);
	parts->signature_bytes = le32_get(signature);
	return parts->signature_bytes <= parts->sealed_bytes;
}

int encrypted_parse(const char *content_type, const uint8_t *body, size_t bytes,
		    struct encrypted_parts *ret_parts, struct err *err)
{
	char dashes[BOUNDARY_BYTES + 2] = "--";
	struct cursor c = {(const char *)body, bytes};
	struct encrypted_parts parts = {0};
	size_t n;

	if (!encrypted_is(content_type) ||
	    !parameter(content_type, "boundary", dashes + 2, BOUNDARY_BYTES))
		return err_set(err, -RP_EWIRE, "no boundary of its parts");
	n = strlen(dashes);
	if (!bytes || !skip(&c, dashes, n) || !skip(&c, "\r\n", 2) ||
	    !first_part(&c, dashes, n, &parts))
		return err_set(err, -RP_EWIRE,
			       "its first part is not as WinRM has it");
	if (!second_part(&c, dashes, n, &parts))
		return err_set(err, -RP_EWIRE,
			       "its second part is not as WinRM has it");
	*ret_parts = parts;
	return 0;
}

int encrypted_open(struct auth_connection *connection, const char *content_type,
		   const uint8_t *body, size_t bytes, char **ret_type,
		   uint8_t **ret_plain, size_t *ret_bytes, bool *ret_kerberos,
		   struct err *err)
{
	struct encrypted_parts parts;
	uint8_t *plain;
	size_t n;
	char *type;
	int r;

	r = encrypted_parse(content_type, body, bytes, &parts, err);
	if (r == 0)
		r = auth_unseal(connection, parts.sealed, parts.sealed_bytes,
				parts.signature_bytes, &plain, &n, err);
	if (r < 0)
		return r;
	type = strndup(parts.type, parts.type_bytes);
	if (n != parts.length || !type) {
		free(plain);
		free(type);
		return err_set(err, -RP_EWIRE, "%zu bytes came instead of %llu",
			       n, (unsigned long long)parts.length);
	}
	*ret_type = type;
	*ret_plain = plain;
	*ret_bytes = n;
	*ret_kerberos = parts.kerberos;
	return 0;
}

/* A type without blanks, which some clients take for its end. */
static void without_blanks(const char *type, char *ret, size_t bytes)
{
	size_t n = 0;

	for (; *type && n + 1 < bytes; type++)
		if (*type != ' ')
			ret[n++] = *type;
	ret[n] = '\0';
}

/* Each header line begins with a tab, and nothing stands between the bytes and
 * the last boundary: clients count on it. */
static int frame(const char *protocol, const char *type, size_t plain_bytes,
		 const uint8_t *sealed, size_t bytes, size_t signature,
		 uint8_t **ret_body, size_t *ret_bytes)
{
	static const char last[] = "--" OUR_BOUNDARY "--\r\n";
	le32 length = le32_make((uint32_t)signature);
	char *head = NULL;
	uint8_t *out, *p;
	int n;

	n = asprintf(&head,
		     "--" OUR_BOUNDARY "\r\n\tContent-Type: %s\r\n"
		     "\tOriginalContent: type=%s;Length=%zu\r\n"
		     "--" OUR_BOUNDARY
		     "\r\n\tContent-Type: application/octet-stream\r\n",
		     protocol, type, plain_bytes);
	if (n < 0)
		return -ENOMEM;
	out = malloc((size_t)n + sizeof(length) + bytes + sizeof(last));
	if (out) {
		p = mempcpy(out, head, (size_t)n);
		p = mempcpy(p, &length, sizeof(length));
		p = mempcpy(p, sealed, bytes);
		p = mempcpy(p, last, sizeof(last) - 1);
		*ret_bytes = (size_t)(p - out);
		*ret_body = out;
	}
	free(head);
	return out ? 0 : -ENOMEM;
}

int encrypted_make(struct auth_connection *connection, bool kerberos,
		   const char *type, const uint8_t *plain, size_t bytes,
		   char **ret_content_type, uint8_t **ret_body,
		   size_t *ret_bytes, struct err *err)
{
	const char *protocol = kerberos ? KERBEROS : SPNEGO;
	char bare[128], *content_type = NULL;
	uint8_t *sealed, *body = NULL;
	size_t n, signature, body_n = 0;
	int r;

	without_blanks(type, bare, sizeof(bare));
	r = auth_seal(connection, plain, bytes, &sealed, &n, &signature, err);
	if (r < 0)
		return r;
	if (asprintf(&content_type,
		     MULTIPART ";protocol=\"%s\";boundary=\"" OUR_BOUNDARY "\"",
		     protocol) < 0)
		content_type = NULL;
	r = content_type ? frame(protocol, bare, bytes, sealed, n, signature,
				 &body, &body_n)
			 : -ENOMEM;
	free(sealed);
	if (r < 0) {
		free(content_type);
		return err_set(err, r, "encrypted message");
	}
	*ret_content_type = content_type;
	*ret_body = body;
	*ret_bytes = body_n;
	return 0;
}
