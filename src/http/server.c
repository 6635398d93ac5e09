/* SPDX-License-Identifier: Apache-2.0 */
#include "http/server.h"

#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "http/internal.h"

#define FILES_SPARE   256  /* descriptors for everything but connections */
#define HANDLERS_MS   3000 /* for handlers at work */
#define LAST_WORDS_MS 2000 /* for clients to take the last replies */

static void __attribute__((format(printf, 2, 0)))
log_daemon(void *cls, const char *format, va_list ap)
{
	char line[256];

	(void)vsnprintf(line, sizeof(line), format, ap);
	line[strcspn(line, "\n")] = '\0';
	log_debug("http", "%s", line);
}

static int check_loopback(int fd, struct err *err)
{
	struct sockaddr_storage ss = {0};
	socklen_t length = sizeof(ss);

	if (getsockname(fd, (struct sockaddr *)&ss, &length) < 0)
		return err_set(err, -errno, "listening socket");
	if (!address_is_loopback((struct sockaddr *)&ss))
		return err_set(err, -RP_EDENIED,
			       "plain HTTP is served on loopback only");
	return 0;
}

/* One more than our own limits allow, which end connections before libmicro-
 * httpd would stop to accept any; those being ended still count for it. */
#define DAEMON_CONNECTIONS (HTTP_CONNECTIONS_MAX + FILES_SPARE)

static struct MHD_Daemon *start_daemon(struct listener *l, int fd,
				       const struct certificate *certificate)
{
	unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD |
			 MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG |
			 (l->tls ? MHD_USE_TLS : 0);
	struct MHD_OptionItem tls[] = {
	    {MHD_OPTION_HTTPS_MEM_CERT, 0, l->tls ? certificate->pem : NULL},
	    {MHD_OPTION_HTTPS_MEM_KEY, 0, l->tls ? certificate->key : NULL},
	    {MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)TLS_PRIORITIES},
	    {MHD_OPTION_END, 0, NULL},
	};
	struct MHD_OptionItem none[] = {{MHD_OPTION_END, 0, NULL}};

	return MHD_start_daemon(
	    flags, 0, connection_accept, l, exchange_access, l,
	    MHD_OPTION_EXTERNAL_LOGGER, log_daemon, NULL,
	    MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
	    (unsigned)DAEMON_CONNECTIONS, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
	    (size_t)HTTP_HEADER_BYTES_MAX, MHD_OPTION_NOTIFY_COMPLETED,
	    exchange_completed, l, MHD_OPTION_NOTIFY_CONNECTION,
	    connection_notify, l, MHD_OPTION_URI_LOG_CALLBACK,
	    exchange_first_line, l, MHD_OPTION_STRICT_FOR_CLIENT, 1,
	    MHD_OPTION_ARRAY, l->tls ? tls : none, MHD_OPTION_END);
}

static int start_listener(struct http_server *server,
			  const struct http_listener *from,
			  const struct certificate *certificate,
			  struct err *err)
{
	struct listener *l = &server->listeners[server->n_listeners];
	int r;

	*l = (struct listener){.server = server,
			       .tag = from->tag,
			       .tls = from->tls,
			       .anonymous = from->anonymous};
	if (l->tls && !certificate)
		return err_set(err, -RP_EPARAM, "TLS without a certificate");
	if (!l->tls) {
		r = check_loopback(from->fd, err);
		if (r < 0)
			return r;
	}
	l->daemon = start_daemon(l, from->fd, certificate);
	if (!l->daemon)
		return err_set(err, -RP_EFAILED,
			       "cannot start the HTTP server");
	server->n_listeners++;
	return 0;
}

/* *RET_LIST is NULL without a PATH. */
static int load_authorities(const char *path,
			    gnutls_x509_trust_list_t *ret_list, struct err *err)
{
	gnutls_x509_trust_list_t list;

	if (!path)
		return 0;
	if (gnutls_x509_trust_list_init(&list, 0) < 0)
		return err_set(err, -ENOMEM, "authorities");
	if (gnutls_x509_trust_list_add_trust_file(
		list, path, NULL, GNUTLS_X509_FMT_PEM, 0, 0) <= 0) {
		gnutls_x509_trust_list_deinit(list, 1);
		return err_set(err, -RP_EPARAM,
			       "'%s' holds no certificate of an authority",
			       path);
	}
	*ret_list = list;
	return 0;
}

int http_server_check_authorities(const char *client_ca, struct err *err)
{
	gnutls_x509_trust_list_t list = NULL;
	int r = load_authorities(client_ca, &list, err);

	if (list)
		gnutls_x509_trust_list_deinit(list, 1);
	return r;
}

static void allow_descriptors(void)
{
	struct rlimit limit;
	rlim_t want = HTTP_CONNECTIONS_MAX + 2 * FILES_SPARE;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= want)
		return;
	limit.rlim_cur = MIN(limit.rlim_max, want);
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur < want)
		log_warning("only %llu files may be open; %llu are needed for "
			    "%d connections",
			    (unsigned long long)limit.rlim_cur,
			    (unsigned long long)want, HTTP_CONNECTIONS_MAX);
}

static int start_all(struct http_server *server,
		     const struct http_server_options *options, struct err *err)
{
	int r;

	r = load_authorities(options->client_ca, &server->authorities, err);
	if (r == 0)
		r = pool_start(HTTP_THREADS, HTTP_REQUESTS_MAX,
			       &server->handlers, err);
	if (r == 0)
		r = pool_start(HTTP_AUTH_THREADS, HTTP_REQUESTS_MAX,
			       &server->checks, err);
	if (r == 0)
		r = warden_start(server, err);
	server->listeners =
	    calloc(options->n_listeners, sizeof(*server->listeners));
	if (r == 0 && !server->listeners)
		r = err_set(err, -ENOMEM, "listeners");
	for (size_t i = 0; r == 0 && i < options->n_listeners; i++)
		r = start_listener(server, &options->listeners[i],
				   options->certificate, err);
	return r;
}

int http_server_start(const struct http_server_options *options,
		      struct http_server **ret_server, struct err *err)
{
	struct http_server *server = calloc(1, sizeof(*server));
	pthread_condattr_t attr;
	int r;

	if (!server)
		return err_set(err, -ENOMEM, "server");
	allow_descriptors();
	(void)pthread_mutex_init(&server->lock, NULL);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&server->changed, &attr);
	(void)pthread_condattr_destroy(&attr);
	server->auth = options->auth;
	server->handler = options->handler;
	server->interrupt = options->interrupt;
	server->arg = options->arg;
	server->certificate = options->certificate;
	server->client_certificates = options->client_certificates;
	r = start_all(server, options, err);
	if (r < 0) {
		http_server_stop(server);
		return r;
	}
	*ret_server = server;
	return 0;
}

static bool speaking(struct http_server *server)
{
	bool any = false;

	(void)pthread_mutex_lock(&server->lock);
	for (const struct connection *c = server->first; c && !any; c = c->next)
		any = !c->dying &&
		      (c->phase == PHASE_BUSY || c->phase == PHASE_SENDING);
	(void)pthread_mutex_unlock(&server->lock);
	return any;
}

/* What waits for its turn is refused by then, too. */
static void stop_handlers(struct http_server *server)
{
	if (!server->handlers)
		return;
	if (!pool_drain(server->handlers, HANDLERS_MS)) {
		atomic_store(&server->interrupted, true);
		if (server->interrupt)
			server->interrupt(server->arg);
	}
	pool_stop(server->handlers);
}

void http_server_stop(struct http_server *server)
{
	struct timespec moment = {.tv_nsec = 10000000};
	uint64_t end;

	atomic_store(&server->stopping, true);
	pool_stop(server->checks);
	stop_handlers(server);
	warden_stop(server);
	end = now_ms() + LAST_WORDS_MS;
	while (speaking(server) && now_ms() < end)
		(void)nanosleep(&moment, NULL);
	for (size_t i = 0; i < server->n_listeners; i++)
		MHD_stop_daemon(server->listeners[i].daemon);
	pool_free(server->checks);
	pool_free(server->handlers);
	if (server->authorities)
		gnutls_x509_trust_list_deinit(server->authorities, 1);
	free(server->listeners);
	(void)pthread_cond_destroy(&server->changed);
	(void)pthread_mutex_destroy(&server->lock);
	free(server);
}
