/* SPDX-License-Identifier: Apache-2.0 */
#include "http/clients.h"

#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "http/private-file.h"
#include "http/users.h"

#define FILE_BYTES_MAX MIB(2)

struct entry {
	const char *name;    /* in text */
	const char *subject; /* NULL: by fingerprint */
	uint8_t sha256[32];
};

struct clients {
	char *text;
	struct entry *list;
	size_t n;
};

static int nibble(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* With or without colons between the bytes. */
static int parse_fingerprint(const char *text, uint8_t ret[32])
{
	for (size_t i = 0; i < 32; i++) {
		int high, low;

		if (i && *text == ':')
			text++;
		high = nibble(text[0]);
		low = high < 0 ? -1 : nibble(text[1]);
		if (low < 0)
			return -RP_EPARAM;
		ret[i] = (uint8_t)(high << 4 | low);
		text += 2;
	}
	return *text ? -RP_EPARAM : 0;
}

static int parse_line(char *line, struct entry *ret)
{
	char *what = strpbrk(line, " \t");

	if (!what)
		return -RP_EPARAM;
	*what++ = '\0';
	what += strspn(what, " \t");
	ret->name = line;
	if (!user_name_is_valid(line))
		return -RP_EPARAM;
	if (strncmp(what, "sha256:", 7) == 0)
		return parse_fingerprint(what + 7, ret->sha256);
	if (strncmp(what, "subject:", 8) != 0 || !what[8])
		return -RP_EPARAM;
	ret->subject = what + 8;
	return 0;
}

static int parse(struct clients *c, const char *path, struct err *err)
{
	char *rest = c->text, *line;
	size_t number = 0;

	while ((line = strsep(&rest, "\n"))) {
		number++;
		if (!*line || *line == '#')
			continue;
		if (c->n == AUTH_CERTIFICATES_MAX)
			return err_set(err, -RP_ELIMIT,
				       "'%s' has more than %d lines", path,
				       AUTH_CERTIFICATES_MAX);
		if (parse_line(line, &c->list[c->n]) < 0)
			return err_set(err, -RP_EPARAM,
				       "'%s' line %zu is neither NAME "
				       "sha256:HEX nor NAME subject:DN",
				       path, number);
		c->n++;
	}
	return 0;
}

int clients_open(const char *path, bool any_owner, struct clients **ret_clients,
		 struct err *err)
{
	struct clients *c = calloc(1, sizeof(*c));
	struct stat st;
	int r;

	if (!c)
		return err_set(err, -ENOMEM, "'%s'", path);
	r = private_file_read(path, any_owner, FILE_BYTES_MAX, &c->text, &st,
			      err);
	if (r == 0) {
		c->list = calloc(AUTH_CERTIFICATES_MAX, sizeof(*c->list));
		r = c->list ? parse(c, path, err)
			    : err_set(err, -ENOMEM, "'%s'", path);
	}
	if (r < 0) {
		clients_close(c);
		return r;
	}
	*ret_clients = c;
	return 0;
}

void clients_close(struct clients *clients)
{
	if (!clients)
		return;
	free(clients->text);
	free(clients->list);
	free(clients);
}

const char *clients_find(const struct clients *clients,
			 const struct client_certificate *certificate)
{
	if (!certificate->valid_now)
		return NULL;
	for (size_t i = 0; i < clients->n; i++) {
		const struct entry *e = &clients->list[i];

		if (!e->subject && memcmp(e->sha256, certificate->sha256,
					  sizeof(e->sha256)) == 0)
			return e->name;
		if (e->subject && certificate->verified &&
		    strcmp(e->subject, certificate->subject) == 0)
			return e->name;
	}
	return NULL;
}
