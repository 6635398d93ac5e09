/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http-echo: a server that says what it was asked, for the tests.
 *
 *   http-echo DIRECTORY KEY=VALUE ...
 *     tls=ADDRESS:PORT plain=ADDRESS:PORT anonymous=ADDRESS:PORT
 *     users= pam=FD pamsocket= operators= readers= keytab= ntlm= certificates=
 * ca=
 *
 * Prints "ready TAG=PORT ... fingerprint=HEX" and ends when stdin does.  The
 * reply to /echo is the body; to /wait?, after a line on stdout, the same once
 * a file of that name is in DIRECTORY; to /large a MiB for each byte that came,
 * to any other path what was asked.  /trim gives free memory back first.
 */
#include <arpa/inet.h>
#include <malloc.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "http/certificate.h"
#include "http/server.h"
#include "http/users.h"

static const char *directory;

static bool anybody(const struct http_request *q)
{
	return strcmp(q->path, "/signed") != 0;
}

static void fail(const char *what, const struct err *err)
{
	(void)fprintf(stderr, "http-echo: %s: %s\n", what, err->text);
	exit(1);
}

static void wait_for(const char *path)
{
	struct timespec moment = {.tv_nsec = 5000000};
	char file[4096];

	(void)snprintf(file, sizeof(file), "%s%s", directory, path);
	(void)printf("waiting\n");
	(void)fflush(stdout);
	for (int i = 0; i < 4000 && access(file, F_OK) < 0; i++)
		(void)nanosleep(&moment, NULL);
}

static void enlarge(const struct http_request *q, struct http_response *a)
{
	a->body_bytes = q->body_bytes << 20;
	a->body = malloc(a->body_bytes + 1);
	if (!a->body)
		exit(1);
	(void)memset(a->body, 'x', a->body_bytes);
	a->status = 200;
}

static void echo(const struct http_request *q, struct http_response *a)
{
	a->body = malloc(q->body_bytes + 1);
	if (!a->body)
		return;
	if (q->body_bytes)
		(void)memcpy(a->body, q->body, q->body_bytes);
	a->body_bytes = q->body_bytes;
	a->status = 200;
	if (q->content_type)
		a->content_type = strdup(q->content_type);
}

static void handle(void *arg, const struct http_request *q,
		   struct http_response *a)
{
	char text[2048];
	const char *header = http_request_header(q, "X-Ask");

	if (strncmp(q->path, "/wait", 5) == 0)
		wait_for(q->path);
	if (strcmp(q->path, "/trim") == 0)
		(void)malloc_trim(0);
	if (strcmp(q->path, "/echo") == 0 ||
	    strncmp(q->path, "/wait", 5) == 0) {
		echo(q, a);
		return;
	}
	if (strcmp(q->path, "/large") == 0) {
		enlarge(q, a);
		return;
	}
	if (strcmp(q->path, "/private") == 0 &&
	    q->principal.role == ROLE_DENIED) {
		http_response_text(a, 401, "not for anybody");
		return;
	}
	if (strcmp(q->path, "/nothing") == 0)
		return;
	(void)snprintf(text, sizeof(text),
		       "tag=%d method=%s path=%s name=%s role=%s bytes=%zu "
		       "ask=%s tls=%d secrets=%d cert=%s",
		       q->tag, q->method, q->path, q->principal.name,
		       role_name(q->principal.role), q->body_bytes,
		       header ? header : "", q->tls,
		       http_request_header(q, "Authorization") != NULL,
		       q->certificate ? q->certificate->subject : "");
	http_response_text(a, 200, text);
	(void)http_response_add(a, "X-Answer", "yes");
}

static int port_of(int fd)
{
	struct sockaddr_in6 sa = {0};
	socklen_t n = sizeof(sa);

	(void)getsockname(fd, (struct sockaddr *)&sa, &n);
	return ntohs(sa.sin6_port); /* at the same place in both */
}

struct settings {
	struct auth_options auth;
	struct http_listener listeners[8];
	size_t n;
	int ports[8];
	const char *names[8];
	const char *ca;
};

static void add_listener(struct settings *s, const char *name,
			 const char *address)
{
	struct http_listener *l = &s->listeners[s->n];
	struct err err = {0};

	*l = (struct http_listener){.tag = (int)s->n,
				    .tls = strcmp(name, "tls") == 0};
	if (strcmp(name, "anonymous") == 0)
		l->anonymous = anybody;
	if (http_listen(address, !l->tls, &l->fd, &err) < 0)
		fail("listen", &err);
	s->ports[s->n] = port_of(l->fd);
	s->names[s->n++] = name;
}

static void set(struct settings *s, const char *key, const char *value)
{
	struct auth_options *a = &s->auth;

	if (strcmp(key, "users") == 0)
		a->users = value;
	else if (strcmp(key, "pam") == 0)
		a->pam_fd = atoi(value);
	else if (strcmp(key, "pamsocket") == 0)
		a->pam_socket = value;
	else if (strcmp(key, "operators") == 0)
		a->operator_group = value;
	else if (strcmp(key, "readers") == 0)
		a->reader_group = value;
	else if (strcmp(key, "keytab") == 0)
		a->keytab = value, a->kerberos = true;
	else if (strcmp(key, "ntlm") == 0)
		a->ntlm = value;
	else if (strcmp(key, "certificates") == 0)
		a->certificates = value;
	else if (strcmp(key, "ca") == 0)
		s->ca = value;
	else if (s->n < 8)
		add_listener(s, key, value);
}

int main(int argc, char **argv)
{
	struct settings s = {.auth.pam_fd = -1};
	struct http_server_options options = {.handler = handle};
	struct certificate certificate = {0};
	struct http_server *server;
	struct err err = {0};
	bool made;

	if (argc < 3)
		return 2;
	directory = argv[1];
	log_open("http-echo");
	log_enable_debug(getenv("REFPOINT_DEBUG"));
	for (int i = 2; i < argc; i++) {
		char *value = strchr(argv[i], '=');

		if (!value)
			return 2;
		*value++ = '\0';
		set(&s, argv[i], value);
	}
	if (certificate_load_or_make(directory, &certificate, &made, &err) < 0)
		fail("certificate", &err);
	if (auth_open(&s.auth, &options.auth, &err) < 0)
		fail("authentication", &err);
	options.listeners = s.listeners;
	options.n_listeners = s.n;
	options.certificate = &certificate;
	options.client_ca = s.ca;
	options.client_certificates = s.auth.certificates;
	if (http_server_start(&options, &server, &err) < 0)
		fail("start", &err);
	(void)printf("ready");
	for (size_t i = 0; i < s.n; i++)
		(void)printf(" %s=%d", s.names[i], s.ports[i]);
	(void)printf(" made=%d fingerprint=%s\n", made,
		     certificate.fingerprint);
	(void)fflush(stdout);
	while (getchar() != EOF)
		;
	http_server_stop(server);
	auth_close(options.auth);
	certificate_clear(&certificate);
	return 0;
}
