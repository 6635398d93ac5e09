/* SPDX-License-Identifier: Apache-2.0 */
#include "http/internal.h"

#include <gnutls/x509.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/log.h"

uint64_t now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* An IPv6 client has a /64 to choose from: that is its address. */
static bool same_peer(const struct sockaddr *a, const struct sockaddr *b)
{
	if (a->sa_family != b->sa_family)
		return false;
	if (a->sa_family == AF_INET)
		return ((const struct sockaddr_in *)(const void *)a)
			   ->sin_addr.s_addr ==
		       ((const struct sockaddr_in *)(const void *)b)
			   ->sin_addr.s_addr;
	return memcmp(
		   &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr,
		   &((const struct sockaddr_in6 *)(const void *)b)->sin6_addr,
		   8) == 0;
}

/* Worth more than another: H3. */
static unsigned rank(const struct connection *c)
{
	if (c->phase == PHASE_BUSY)
		return 3;
	if (!c->trusted)
		return 0;
	return c->phase == PHASE_IDLE ? 1 : 2;
}

static void doom(struct http_server *server, struct connection *c)
{
	c->dying = true;
	server->n_live--;
	(void)shutdown(c->fd, SHUT_RDWR);
}

/* Ends the one that is worth least, of ADDRESS if it is given. */
static bool make_room(struct http_server *server,
		      const struct sockaddr *address)
{
	struct connection *victim = NULL, *c;

	for (c = server->first; c; c = c->next) {
		if (c->dying || rank(c) > 1 ||
		    (address &&
		     !same_peer((const struct sockaddr *)&c->peer, address)))
			continue;
		if (!victim || rank(c) < rank(victim) ||
		    (rank(c) == rank(victim) && c->since_ms < victim->since_ms))
			victim = c;
	}
	if (victim)
		doom(server, victim);
	return victim;
}

static unsigned count_peer(const struct http_server *server,
			   const struct sockaddr *address)
{
	unsigned n = 0;

	for (const struct connection *c = server->first; c; c = c->next)
		if (!c->dying &&
		    same_peer((const struct sockaddr *)&c->peer, address))
			n++;
	return n;
}

enum MHD_Result connection_accept(void *cls, const struct sockaddr *address,
				  socklen_t length)
{
	struct listener *listener = cls;
	struct http_server *server = listener->server;
	bool ok = true;

	if (address->sa_family != AF_INET && address->sa_family != AF_INET6)
		return MHD_NO;
	if (atomic_load(&server->stopping) ||
	    (!listener->tls && !address_is_loopback(address)))
		return MHD_NO;
	(void)pthread_mutex_lock(&server->lock);
	if (count_peer(server, address) >= HTTP_CONNECTIONS_PER_PEER)
		ok = make_room(server, address);
	if (ok && server->n_live >= HTTP_CONNECTIONS_MAX)
		ok = make_room(server, NULL);
	(void)pthread_mutex_unlock(&server->lock);
	return ok ? MHD_YES : MHD_NO;
}

static uint64_t phase_ms(enum phase phase)
{
	static const uint64_t ms[] = {
	    [PHASE_HEADERS] = HTTP_HEADERS_MS,
	    [PHASE_BODY] = HTTP_BODY_MS,
	    [PHASE_BUSY] = 0,
	    [PHASE_SENDING] = HTTP_SEND_MS,
	    [PHASE_IDLE] = HTTP_IDLE_MS,
	    [PHASE_REFUSED] = HTTP_SEND_MS,
	};

	return ms[phase];
}

void connection_phase_locked(struct connection *c, enum phase phase)
{
	c->phase = phase;
	c->since_ms = now_ms();
	c->deadline_ms =
	    phase == PHASE_BUSY ? UINT64_MAX : c->since_ms + phase_ms(phase);
}

void connection_phase(struct connection *connection, enum phase phase)
{
	struct http_server *server = connection->listener->server;

	(void)pthread_mutex_lock(&server->lock);
	connection_phase_locked(connection, phase);
	(void)pthread_mutex_unlock(&server->lock);
}

bool connection_take_reply(struct connection *connection, const char *name,
			   uint64_t bytes)
{
	struct http_server *server = connection->listener->server;
	const struct sockaddr *peer =
	    (const struct sockaddr *)&connection->peer;
	uint64_t total = bytes, of_peer = bytes, of_name = bytes;
	bool room;

	(void)pthread_mutex_lock(&server->lock);
	for (const struct connection *c = server->first; c; c = c->next) {
		total += c->reply_bytes;
		if (same_peer((const struct sockaddr *)&c->peer, peer))
			of_peer += c->reply_bytes;
		if (strcmp(c->reply_name, name) == 0)
			of_name += c->reply_bytes;
	}
	room = total <= HTTP_REPLIES_BYTES_MAX &&
	       MAX(of_peer, of_name) <= HTTP_REPLIES_BYTES_MAX / 2;
	if (room) {
		connection->reply_bytes = bytes;
		(void)snprintf(connection->reply_name,
			       sizeof(connection->reply_name), "%s", name);
	}
	(void)pthread_mutex_unlock(&server->lock);
	return room;
}

void connection_reply_taken(struct connection *connection)
{
	struct http_server *server = connection->listener->server;

	(void)pthread_mutex_lock(&server->lock);
	connection->reply_bytes = 0;
	connection->reply_name[0] = '\0';
	(void)pthread_mutex_unlock(&server->lock);
}

static void ask_for_certificate(struct MHD_Connection *mhd)
{
	const union MHD_ConnectionInfo *info =
	    MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
	gnutls_session_t session = info ? info->tls_session : NULL;

	if (!session)
		return;
	gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUEST);
	/* no list of authorities: a fingerprint may be of anybody's */
	gnutls_certificate_send_x509_rdn_sequence(session, 1);
}

static void append(struct http_server *server, struct connection *c)
{
	(void)pthread_mutex_lock(&server->lock);
	connection_phase_locked(c, PHASE_HEADERS);
	c->prev = server->last;
	if (server->last)
		server->last->next = c;
	else
		server->first = c;
	server->last = c;
	server->n_live++;
	(void)pthread_cond_signal(&server->changed);
	(void)pthread_mutex_unlock(&server->lock);
}

static void started(struct listener *listener, struct MHD_Connection *mhd,
		    void **socket_context)
{
	const union MHD_ConnectionInfo *fd =
	    MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
	const union MHD_ConnectionInfo *address =
	    MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	struct connection *c = calloc(1, sizeof(*c));

	if (!c || !fd || !address) {
		free(c);
		return; /* without one its requests are not served */
	}
	c->listener = listener;
	c->fd = fd->connect_fd;
	(void)memcpy(&c->peer, address->client_addr,
		     address->client_addr->sa_family == AF_INET
			 ? sizeof(struct sockaddr_in)
			 : sizeof(struct sockaddr_in6));
	if (listener->tls && listener->server->client_certificates)
		ask_for_certificate(mhd);
	append(listener->server, c);
	*socket_context = c;
}

static void ended(struct http_server *server, struct connection *c)
{
	if (!c)
		return;
	(void)pthread_mutex_lock(&server->lock);
	if (c->prev)
		c->prev->next = c->next;
	else
		server->first = c->next;
	if (c->next)
		c->next->prev = c->prev;
	else
		server->last = c->prev;
	if (!c->dying)
		server->n_live--;
	(void)pthread_mutex_unlock(&server->lock);
	auth_connection_free(c->auth);
	free(c);
}

void connection_notify(void *cls, struct MHD_Connection *mhd,
		       void **socket_context,
		       enum MHD_ConnectionNotificationCode code)
{
	struct listener *listener = cls;

	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		started(listener, mhd, socket_context);
	} else {
		ended(listener->server, *socket_context);
		*socket_context = NULL;
	}
}

struct connection *connection_of(struct MHD_Connection *mhd)
{
	const union MHD_ConnectionInfo *info =
	    MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info ? info->socket_context : NULL;
}

/* The authorities must stand for the whole chain, for a client's use. */
static bool verify(gnutls_x509_trust_list_t authorities,
		   const gnutls_datum_t *chain, unsigned n)
{
	gnutls_typed_vdata_st purpose = {
	    .type = GNUTLS_DT_KEY_PURPOSE_OID,
	    .data = (unsigned char *)(uintptr_t)GNUTLS_KP_TLS_WWW_CLIENT,
	};
	gnutls_x509_crt_t list[8];
	unsigned imported = 0, status = ~0u;

	if (n > ARRAY_SIZE(list))
		return false;
	while (imported < n) {
		if (gnutls_x509_crt_init(&list[imported]) < 0)
			break;
		imported++;
		if (gnutls_x509_crt_import(list[imported - 1],
					   &chain[imported - 1],
					   GNUTLS_X509_FMT_DER) < 0)
			break;
	}
	if (imported != n ||
	    gnutls_x509_trust_list_verify_crt2(authorities, list, n, &purpose,
					       1, 0, &status, NULL) < 0)
		status = ~0u;
	for (unsigned i = 0; i < imported; i++)
		gnutls_x509_crt_deinit(list[i]);
	return status == 0;
}

static bool read_certificate(const gnutls_datum_t *der,
			     struct client_certificate *ret)
{
	struct client_certificate out = {0};
	gnutls_datum_t subject = {0};
	size_t digest = sizeof(out.sha256);
	time_t now = time(NULL);
	gnutls_x509_crt_t crt;

	if (gnutls_x509_crt_init(&crt) < 0)
		return false;
	if (gnutls_x509_crt_import(crt, der, GNUTLS_X509_FMT_DER) < 0 ||
	    gnutls_fingerprint(GNUTLS_DIG_SHA256, der, out.sha256, &digest) <
		0) {
		gnutls_x509_crt_deinit(crt);
		return false;
	}
	if (gnutls_x509_crt_get_dn3(crt, &subject, 0) == 0 &&
	    subject.size < sizeof(out.subject) &&
	    !memchr(subject.data, 0, subject.size))
		(void)memcpy(out.subject, subject.data, subject.size);
	gnutls_free(subject.data);
	out.valid_now = gnutls_x509_crt_get_activation_time(crt) <= now &&
			now < gnutls_x509_crt_get_expiration_time(crt);
	gnutls_x509_crt_deinit(crt);
	*ret = out;
	return true;
}

const struct client_certificate *
connection_certificate(struct connection *connection,
		       struct MHD_Connection *mhd)
{
	struct http_server *server = connection->listener->server;
	const union MHD_ConnectionInfo *info;
	const gnutls_datum_t *chain;
	unsigned n = 0;

	if (connection->certificate_read)
		return connection->certificate_there ? &connection->certificate
						     : NULL;
	connection->certificate_read = true;
	if (!connection->listener->tls || !server->client_certificates)
		return NULL;
	info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
	if (!info || !info->tls_session)
		return NULL;
	chain = gnutls_certificate_get_peers(info->tls_session, &n);
	if (!chain || !n || !read_certificate(chain, &connection->certificate))
		return NULL;
	connection->certificate.verified =
	    server->authorities && verify(server->authorities, chain, n);
	connection->certificate_there = true;
	return &connection->certificate;
}
