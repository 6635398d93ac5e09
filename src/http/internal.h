/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's inside.
 *
 * A listener is one libmicrohttpd daemon with one thread of its own; all that
 * its callbacks touch of a connection or an exchange is that thread's, except
 * while the connection is suspended: then it is the pool's task's, and after
 * that the warden's if the reply has to wait.  The table of connections is
 * under server->lock, which is held for no longer than a walk through it.
 *
 * A connection is closed early by shutdown(2) on its socket, which stays open,
 * and its number ours, until libmicrohttpd has told us of its end.
 */
#ifndef HTTP_INTERNAL_H
#define HTTP_INTERNAL_H

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

#include "http/pool.h"
#include "http/server.h"

enum phase {
	PHASE_HEADERS, /* of a request, or the TLS handshake */
	PHASE_BODY,
	PHASE_BUSY, /* ours: no deadline */
	PHASE_SENDING,
	PHASE_IDLE,    /* between requests */
	PHASE_REFUSED, /* until it is told so */
};

struct connection {
	struct connection *prev, *next; /* in the table, oldest first */
	struct listener *listener;
	struct sockaddr_storage peer;
	int fd;
	enum phase phase;
	uint64_t since_ms;    /* when the phase began */
	uint64_t deadline_ms; /* of the phase */
	uint64_t reply_bytes; /* of a large reply, until it is taken */
	char reply_name[AUTH_NAME_BYTES]; /* whose it is */
	atomic_bool trusted;              /* once proved who it is */
	bool dying;
	bool certificate_read;
	bool certificate_there;
	struct client_certificate certificate;
	struct auth_connection *auth;
};

struct exchange;

struct listener {
	struct http_server *server;
	struct MHD_Daemon *daemon;
	int tag;
	bool tls;
	bool (*anonymous)(const struct http_request *request);
};

struct http_server {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool warden_runs, warden_stops;
	pthread_t warden;
	struct connection *first, *last;
	unsigned n_live; /* connections that are not dying */
	struct exchange *delayed;
	atomic_bool stopping, interrupted;
	_Atomic uint64_t body_bytes; /* kept, of all requests */
	struct pool *handlers, *checks;
	struct auth *auth;
	http_handler *handler;
	void (*interrupt)(void *arg);
	void *arg;
	bool client_certificates;
	const struct certificate *certificate;
	gnutls_x509_trust_list_t authorities; /* NULL: none */
	struct listener *listeners;
	size_t n_listeners;
};

uint64_t now_ms(void);

/* connection.c */
enum MHD_Result connection_accept(void *cls, const struct sockaddr *address,
				  socklen_t length);
void connection_notify(void *cls, struct MHD_Connection *mhd,
		       void **socket_context,
		       enum MHD_ConnectionNotificationCode code);
struct connection *connection_of(struct MHD_Connection *mhd);
void connection_phase(struct connection *connection, enum phase phase);
/* With the server's lock. */
void connection_phase_locked(struct connection *connection, enum phase phase);
/* Counts a reply of BYTES to NAME until connection_reply_taken; false, and
 * nothing done, if there is no room for it. */
bool connection_take_reply(struct connection *connection, const char *name,
			   uint64_t bytes);
void connection_reply_taken(struct connection *connection);
/* The client's certificate, read at the first request; NULL: none. */
const struct client_certificate *
connection_certificate(struct connection *connection,
		       struct MHD_Connection *mhd);

/* exchange.c */
enum MHD_Result exchange_access(void *cls, struct MHD_Connection *mhd,
				const char *url, const char *method,
				const char *version, const char *data,
				size_t *bytes, void **context);
void exchange_completed(void *cls, struct MHD_Connection *mhd, void **context,
			enum MHD_RequestTerminationCode code);
void *exchange_first_line(void *cls, const char *uri,
			  struct MHD_Connection *mhd);
/* Unlinks those whose time has come, or all; *RET_NEXT is when the next is
 * due, UINT64_MAX if none.  With the server's lock; exchange_resume without. */
struct exchange *exchange_take_due(struct http_server *server, uint64_t now,
				   bool all, uint64_t *ret_next);
void exchange_resume(struct exchange *due);

/* warden.c: deadlines of connections, replies that have to wait */
int warden_start(struct http_server *server, struct err *err);
void warden_stop(struct http_server *server);

#endif
