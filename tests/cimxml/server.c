/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cimxml-server: CIM-XML over HTTP on loopback in front of the fake broker.
 *
 *   cimxml-server USERS
 *
 * Prints "ready PORT", then the arguments of each method called, and ends when
 * stdin does.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "cimxml/cimxml.h"
#include "cimxml/fake-broker.h"
#include "common/limits.h"
#include "common/log.h"
#include "http/certificate.h"
#include "http/server.h"
#include "http/users.h"

static void fail(const char *what, const struct err *err)
{
	(void)fprintf(stderr, "cimxml-server: %s: %s\n", what, err->text);
	exit(1);
}

static enum cim_role role_of(const struct principal *principal)
{
	if (principal->role == ROLE_DENIED)
		return CIM_ROLE_NONE;
	return principal->role == ROLE_OPERATOR ? CIM_ROLE_OPERATOR
						: CIM_ROLE_READER;
}

static void answer(struct http_response *a, struct cimxml_response *response)
{
	a->status = response->status;
	for (size_t i = 0; i < response->n_headers; i++) {
		const struct cimxml_header *h = &response->headers[i];

		if (strcmp(h->name, "Content-Type") == 0)
			a->content_type = strdup(h->value);
		else
			(void)http_response_add(a, h->name, h->value);
	}
	a->body = (uint8_t *)response->body;
	a->body_bytes = response->body_bytes;
}

static void handle(void *arg, const struct http_request *q,
		   struct http_response *a)
{
	struct cimxml_header headers[HTTP_HEADERS_MAX];
	struct cimxml_response response;
	const struct cimxml_request request = {
	    .method = q->method,
	    .headers = headers,
	    .n_headers = MIN(q->n_headers, HTTP_HEADERS_MAX),
	    .content_type = q->content_type,
	    .body = q->body,
	    .body_bytes = q->body_bytes,
	    .caller = q->principal.name,
	    .role = role_of(&q->principal),
	    .host = http_request_header(q, "Host")};

	for (size_t i = 0; i < request.n_headers; i++) {
		headers[i].name = q->headers[i].name;
		headers[i].value = q->headers[i].value;
	}
	fake_called[0] = '\0';
	cimxml_handle(arg, &request, &response);
	answer(a, &response);
	if (*fake_called) {
		(void)printf("%s\n", fake_called);
		(void)fflush(stdout);
	}
}

static int port_of(int fd)
{
	struct sockaddr_in sa = {0};
	socklen_t n = sizeof(sa);

	(void)getsockname(fd, (struct sockaddr *)&sa, &n);
	return ntohs(sa.sin_port);
}

int main(int argc, char **argv)
{
	struct cimxml_service service = {.reply_bytes_max =
					     CIM_REPLY_BYTES_MAX};
	struct auth_options auth = {.pam_fd = -1};
	struct http_listener listener = {0};
	struct http_server_options options = {.listeners = &listener,
					      .n_listeners = 1,
					      .handler = handle,
					      .arg = &service};
	struct http_server *server;
	struct err err = {0};
	int port;

	if (argc != 2)
		return 2;
	log_open("cimxml-server");
	auth.users = argv[1];
	if (contexts_new(NULL, &service.contexts, &err) < 0 ||
	    auth_open(&auth, &options.auth, &err) < 0 ||
	    http_listen("127.0.0.1:0", true, &listener.fd, &err) < 0)
		fail("begin", &err);
	port = port_of(listener.fd);
	if (http_server_start(&options, &server, &err) < 0)
		fail("start", &err);
	(void)printf("ready %d\n", port);
	(void)fflush(stdout);
	while (getchar() != EOF)
		;
	http_server_stop(server);
	auth_close(options.auth);
	(void)contexts_free(service.contexts);
	return 0;
}
