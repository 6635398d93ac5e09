/* SPDX-License-Identifier: Apache-2.0 */
/* One client's way through: NBD to STARTTLS, TLS, the snapshot's server. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/limits.h"
#include "common/log.h"
#include "pull/pull.h"

static int shake_hands(gnutls_session_t tls, int fd, uint64_t deadline_ms,
		       struct err *err)
{
	for (;;) {
		int r = gnutls_handshake(tls);

		if (r == GNUTLS_E_SUCCESS)
			return 0;
		if (gnutls_error_is_fatal(r))
			return err_set(err, -RP_EDENIED, "TLS: %s",
				       gnutls_strerror(r));
		if (r != GNUTLS_E_AGAIN && r != GNUTLS_E_INTERRUPTED)
			continue;
		r = wait_for(fd,
			     gnutls_record_get_direction(tls) ? POLLOUT
							      : POLLIN,
			     deadline_ms, err);
		if (r < 0)
			return r;
	}
}

static int prepare(struct pull *pull, gnutls_session_t tls, int fd,
		   struct err *err)
{
	int r = gnutls_priority_set(tls, pull->priority);

	if (r == 0)
		r = gnutls_credentials_set(tls, GNUTLS_CRD_PSK,
					   pull->credentials);
	gnutls_transport_set_int(tls, fd);
	gnutls_session_set_ptr(tls, pull);
	return r < 0 ? err_set(err, -RP_EFAILED, "TLS: %s", gnutls_strerror(r))
		     : 0;
}

/* L2: who has proved the key leaves its place to the next one. */
static int be_admitted(struct pull *pull, struct err *err)
{
	if (atomic_fetch_add(&pull->connections, 1) < PULL_CONNECTIONS_MAX)
		return 0;
	atomic_fetch_sub(&pull->connections, 1);
	return err_set(err, -RP_ELIMIT, "%d clients read already",
		       PULL_CONNECTIONS_MAX);
}

static int serve(struct pull *pull, gnutls_session_t tls, int fd,
		 uint32_t flags, struct err *err)
{
	int server, r = control_connect(pull, &server, err);

	if (r < 0)
		return r;
	r = negotiate_server(server, wait_now_ms() + PULL_ASK_MS, flags, err);
	if (r == 0)
		r = relay(tls, fd, server, err);
	(void)close(server);
	return r;
}

static int run(struct pull *pull, gnutls_session_t tls, int fd, struct err *err)
{
	uint64_t deadline_ms = wait_now_ms() + PULL_HANDSHAKE_MS;
	uint32_t flags = 0;
	int r = negotiate_client(fd, deadline_ms, &flags, err);

	if (r == 0)
		r = prepare(pull, tls, fd, err);
	if (r == 0)
		r = shake_hands(tls, fd, deadline_ms, err);
	if (r == 0)
		r = be_admitted(pull, err);
	atomic_fetch_sub(&pull->handshakes, 1);
	if (r < 0)
		return r;
	r = serve(pull, tls, fd, flags, err);
	if (r == 0)
		(void)gnutls_bye(tls, GNUTLS_SHUT_WR);
	atomic_fetch_sub(&pull->connections, 1);
	return r;
}

/* L5. */
static void notice_vanishing(int fd)
{
	static const struct {
		int level, name, value;
	} options[] = {
	    {SOL_SOCKET, SO_KEEPALIVE, 1},
	    {IPPROTO_TCP, TCP_KEEPIDLE, PULL_IDLE_S},
	    {IPPROTO_TCP, TCP_KEEPINTVL, PULL_PROBE_S},
	    {IPPROTO_TCP, TCP_KEEPCNT, PULL_PROBES},
	    {IPPROTO_TCP, TCP_USER_TIMEOUT, PULL_VANISHED_MS},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(options); i++)
		if (setsockopt(fd, options[i].level, options[i].name,
			       &options[i].value, sizeof(int)) < 0)
			log_debug("pull", "socket option %d: %s",
				  options[i].name, strerrordesc_np(errno));
}

void connection_run(struct pull *pull, int fd)
{
	gnutls_session_t tls;
	struct err err = {0};

	notice_vanishing(fd);
	if (gnutls_init(&tls, GNUTLS_SERVER | GNUTLS_NONBLOCK |
				  GNUTLS_NO_SIGNAL) < 0) {
		atomic_fetch_sub(&pull->handshakes, 1);
		(void)close(fd);
		return;
	}
	if (run(pull, tls, fd, &err) < 0)
		log_debug("pull", "a client: %s", err.text);
	gnutls_deinit(tls);
	(void)close(fd);
}
