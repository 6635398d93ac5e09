/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An HTTP/1.1 server: whole requests in, whole replies out.
 *
 * One thread for each listener moves bytes; handlers run on HTTP_THREADS
 * others and may wait.  Checks of who is calling run on HTTP_AUTH_THREADS more,
 * so that neither holds up the other.
 *
 * H1  Who calls is judged before a body is kept.  What is not let in gets 401,
 *     403 or 429 and its body is thrown away.
 * H2  Every bound is in common/limits.h, and is answered: 413 body, 431 or 414
 *     header, 503 too many requests or too much in all bodies.  A client that
 *     takes longer than HTTP_HEADERS_MS or HTTP_BODY_MS is disconnected.
 * H3  A new connection beyond HTTP_CONNECTIONS_MAX or _PER_PEER takes the
 *     place of the one that waits longest and never proved who it is, then of
 *     the one idle longest, in all or of that address; it is turned away only
 *     if all of them are being served.
 * H4  What a connection is belongs to it and is dropped with it.
 * H5  Without TLS only loopback addresses are listened on and served.
 * H6  Replies that their clients are yet to take are HTTP_REPLIES_BYTES_MAX in
 *     all, half of that to one address and to one name; a larger one than
 *     HTTP_REPLY_SMALL_BYTES that exceeds it becomes 503.
 */
#ifndef HTTP_SERVER_H
#define HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "http/auth.h"
#include "http/certificate.h"

struct http_header {
	const char *name;
	const char *value;
};

struct http_request {
	int tag;                           /* the listener's */
	const char *method;                /* any token */
	const char *path;                  /* decoded, without the query */
	const struct http_header *headers; /* without Authorization */
	size_t n_headers;
	const char *content_type; /* of BODY; NULL: not said */
	const uint8_t *body;      /* decrypted if it came encrypted */
	size_t body_bytes;
	struct principal principal; /* denied only on anonymous listeners */
	const struct client_certificate *certificate; /* NULL: none */
	const struct sockaddr *peer;
	bool tls;
};

/* Handed to the handler zeroed.  Strings of the headers and BODY are malloc'd
 * and given away.  A status of 0 is answered as 500; 401 gets challenges. */
struct http_response {
	unsigned status;
	char *content_type; /* NULL: none */
	struct {
		const char *name; /* constant */
		char *value;
	} headers[HTTP_REPLY_HEADERS_MAX];
	size_t n_headers;
	uint8_t *body;
	size_t body_bytes;
};

typedef void http_handler(void *arg, const struct http_request *request,
			  struct http_response *response);

struct http_listener {
	int fd;  /* listening; taken over when the server starts */
	int tag; /* shown in requests */
	bool tls;
	/* Whether who shows nothing is let through, as denied, with a body of
	 * at most HTTP_ANONYMOUS_BYTES_MAX; sees all but the body.  NULL: no
	 * request. */
	bool (*anonymous)(const struct http_request *request);
};

struct http_server_options {
	const struct http_listener *listeners;
	size_t n_listeners;
	const struct certificate *certificate; /* needed for TLS */
	const char *client_ca;    /* PEM of authorities; NULL: none */
	bool client_certificates; /* ask for them */
	struct auth *auth;
	http_handler *handler;
	/* At the server's stop: handlers at work shall return soon, and do from
	 * now on.  NULL: they do anyway. */
	void (*interrupt)(void *arg);
	void *arg; /* of both */
};

struct http_server;

/* All listeners or none.  OPTIONS need not last; what it points to (auth,
 * certificate) must.  Descriptors for HTTP_CONNECTIONS_MAX connections must be
 * allowed; the soft limit is raised if need be. */
int http_server_start(const struct http_server_options *options,
		      struct http_server **ret_server, struct err *err);
/* Takes no more requests, waits for handlers at work, a few seconds before they
 * are interrupted, sends what is ready and closes. */
void http_server_stop(struct http_server *server);

/* Whether CLIENT_CA (NULL: none) could be used. */
int http_server_check_authorities(const char *client_ca, struct err *err);

/* Listens on "ADDRESS:PORT" or "[ADDRESS]:PORT", numbers only; port 0 for any.
 * -RP_EPARAM if it is no such thing, -RP_EDENIED if LOOPBACK_ONLY and it is
 * not. */
int http_listen(const char *address, bool loopback_only, int *ret_fd,
		struct err *err);

/* A header's value, its name compared without case; NULL: not there. */
const char *http_request_header(const struct http_request *request,
				const char *name);
/* VALUE is copied.  False without memory or room. */
bool http_response_add(struct http_response *response, const char *name,
		       const char *value);
/* Status and a line of plain text, in place of what was there. */
void http_response_text(struct http_response *response, unsigned status,
			const char *text);
void http_response_clear(struct http_response *response);

#endif
