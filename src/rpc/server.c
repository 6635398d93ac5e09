/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listening sockets and connections on an event loop.
 *
 * Invariants:
 *  1. At most one call of a connection is being answered; while one is, or
 *     while anything waits to be sent, the socket is not read, so calls are
 *     answered in order and a peer that does not read cannot make more work.
 *  2. A connection is torn down only from the event loop, never from within
 *     rpc_reply*(): a send that fails shuts the socket down, and the loop's
 *     EPOLLHUP does the rest.  So FN of rpc_call_on_hangup() never runs while
 *     a method is at work.
 *  3. Each listening socket has its own RPC_CONNECTIONS_MAX, so that operators
 *     cannot lock the administrator out.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/limits.h"
#include "common/log.h"
#include "rpc/call.h"

#define ACCEPT_PAUSE_US 100000u /* after running out of descriptors */
#define UIDS_MAX        8u

struct listener {
	struct listener *next;
	struct rpc_server *server;
	sd_event_source *source, *pause; /* pause: off until needed */
	int fd;
	enum rpc_role role;
	uid_t uids[UIDS_MAX];
	unsigned n_uids, connections;
};

struct rpc_conn {
	struct rpc_conn *prev, *next;
	struct rpc_server *server; /* NULL once closed */
	struct listener *listener;
	sd_event_source *source;
	int fd;
	struct ucred peer;
	struct wire_in in;
	struct wire_out out;
	struct rpc_call *call; /* being answered; NULL: none */
	bool last;             /* close when nothing waits to be sent */
	bool want_drained;
	unsigned refs; /* the server's list, and the handler at work */
};

struct rpc_server {
	sd_event *event;
	const struct rpc_method *methods;
	void *arg;
	struct listener *listeners;
	struct rpc_conn *conns;
	unsigned n_conns;
};

/* ---- Connections -------------------------------------------------------- */

static void conn_unref(struct rpc_conn *conn)
{
	if (--conn->refs == 0)
		free(conn);
}

static void conn_unlink(struct rpc_conn *conn)
{
	if (conn->prev)
		conn->prev->next = conn->next;
	else
		conn->server->conns = conn->next;
	if (conn->next)
		conn->next->prev = conn->prev;
	conn->server->n_conns--;
	conn->listener->connections--;
	conn->server = NULL;
}

static void conn_close(struct rpc_conn *conn)
{
	struct rpc_call *call = conn->call;

	if (!conn->server)
		return;
	conn_unlink(conn);
	conn->source = sd_event_source_disable_unref(conn->source);
	(void)close(conn->fd);
	wire_in_done(&conn->in);
	wire_out_done(&conn->out);
	conn->call = NULL;
	if (call)
		call_hang_up(call);
	conn_unref(conn);
}

/* Gives the peer up; the event loop will see the hangup. */
static void conn_doom(struct rpc_conn *conn, const struct err *err)
{
	log_debug("rpc", "connection of pid=%d is given up: %s",
		  (int)conn->peer.pid, err->text);
	wire_out_done(&conn->out);
	(void)shutdown(conn->fd, SHUT_RDWR);
}

static void conn_flush(struct rpc_conn *conn)
{
	struct err err = {0};

	if (wire_out_flush(&conn->out, conn->fd, &err) < 0)
		conn_doom(conn, &err);
}

static void conn_update(struct rpc_conn *conn)
{
	uint32_t events = 0;

	if (!conn->server)
		return;
	if (!conn->call && !conn->last && conn->out.backlog == 0)
		events |= EPOLLIN;
	if (conn->out.backlog > 0 || conn->want_drained)
		events |= EPOLLOUT;
	(void)sd_event_source_set_io_events(conn->source, events);
}

static void conn_send(void *arg, const char *text, size_t bytes, const int *fds,
		      unsigned n_fds)
{
	struct rpc_conn *conn = arg;
	struct err err = {0};

	if (wire_out_add(&conn->out, text, bytes, fds, n_fds, &err) < 0)
		conn_doom(conn, &err);
	else
		conn_flush(conn);
	conn_update(conn);
}

static void conn_finished(void *arg)
{
	struct rpc_conn *conn = arg;

	conn->call = NULL;
	conn->want_drained = false;
	conn_update(conn);
}

static size_t conn_backlog(void *arg)
{
	return ((struct rpc_conn *)arg)->out.backlog;
}

static void conn_want_drained(void *arg)
{
	struct rpc_conn *conn = arg;

	conn->want_drained = true;
	conn_update(conn);
}

static const struct call_sink conn_sink = {
    .send = conn_send,
    .finished = conn_finished,
    .backlog = conn_backlog,
    .want_drained = conn_want_drained,
};

static struct rpc_call *conn_new_call(struct rpc_conn *conn)
{
	struct rpc_call *call =
	    call_new(&conn_sink, conn, conn->listener->role, &conn->in.fds);

	if (!call)
		return NULL;
	call->uid = conn->peer.uid;
	call->pid = conn->peer.pid;
	conn->call = call;
	return call;
}

/* A message that never became one: tell the peer, and read no further. */
static void conn_refuse(struct rpc_conn *conn, const struct err *err)
{
	struct rpc_call *call = conn_new_call(conn);

	conn->last = true;
	if (call)
		rpc_fail(call, err);
}

/* One message only; the loop comes again, and others have their turn. */
static void conn_read(struct rpc_conn *conn)
{
	const struct rpc_server *server = conn->server;
	struct rpc_call *call;
	struct err err = {0};
	int r = wire_in_receive(&conn->in, conn->fd, &err);

	if (r == -RP_EUNREACHABLE) {
		conn_close(conn);
	} else if (r < 0) {
		conn_refuse(conn, &err);
	} else if (r > 0) {
		call = conn_new_call(conn);
		if (!call || call_dispatch(call, server->methods, server->arg,
					   conn->in.bytes, conn->in.length) < 0)
			conn->last = true;
		if (conn->server)
			wire_in_reset(&conn->in);
	}
}

static void conn_tell_drained(struct rpc_conn *conn)
{
	if (!conn->want_drained || conn->out.backlog > 0)
		return;
	conn->want_drained = false;
	if (conn->call)
		call_drained(conn->call);
}

static int conn_on_io(sd_event_source *source, int fd, uint32_t revents,
		      void *arg)
{
	struct rpc_conn *conn = arg;

	conn->refs++;
	if (revents & (EPOLLHUP | EPOLLERR))
		conn_close(conn);
	if (conn->server && revents & EPOLLOUT) {
		conn_flush(conn);
		conn_tell_drained(conn);
	}
	if (conn->server && revents & EPOLLIN && !conn->call && !conn->last)
		conn_read(conn);
	if (conn->server && conn->last && conn->out.backlog == 0)
		conn_close(conn);
	conn_update(conn);
	conn_unref(conn);
	return 0;
}

/* ---- Listening sockets -------------------------------------------------- */

static bool listener_admits(const struct listener *listener, uid_t uid)
{
	for (unsigned i = 0; i < listener->n_uids; i++)
		if (listener->uids[i] == uid)
			return true;
	return listener->n_uids == 0;
}

static int conn_new(struct listener *listener, int fd, const struct ucred *peer)
{
	struct rpc_server *server = listener->server;
	struct rpc_conn *conn = calloc(1, sizeof(*conn));
	int r;

	if (!conn)
		return -ENOMEM;
	*conn = (struct rpc_conn){.server = server,
				  .listener = listener,
				  .fd = fd,
				  .peer = *peer,
				  .refs = 1};
	r = sd_event_add_io(server->event, &conn->source, fd, EPOLLIN,
			    conn_on_io, conn);
	if (r < 0) {
		free(conn);
		return r;
	}
	conn->next = server->conns;
	if (conn->next)
		conn->next->prev = conn;
	server->conns = conn;
	server->n_conns++;
	listener->connections++;
	return 0;
}

static void listener_admit(struct listener *listener, int fd)
{
	struct ucred peer = {0};
	socklen_t size = sizeof(peer);
	const char *why = NULL;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		why = "nothing is known of it";
	else if (!listener_admits(listener, peer.uid))
		why = "its user may not use this socket";
	else if (listener->connections >= RPC_CONNECTIONS_MAX)
		why = "there are too many connections";
	else if (conn_new(listener, fd, &peer) < 0)
		why = "no memory";
	if (!why)
		return;
	log_debug("rpc", "refused a connection: %s pid=%d uid=%u", why,
		  (int)peer.pid, (unsigned)peer.uid);
	(void)close(fd);
}

static int listener_resume(sd_event_source *source, uint64_t usec, void *arg)
{
	struct listener *listener = arg;

	(void)sd_event_source_set_enabled(listener->source, SD_EVENT_ON);
	return 0;
}

/* No descriptor is free: the waiting connection would wake us for ever.  The
 * timer was made beforehand, since it needs a descriptor too. */
static void listener_pause(struct listener *listener)
{
	if (sd_event_source_set_time_relative(listener->pause,
					      ACCEPT_PAUSE_US) >= 0 &&
	    sd_event_source_set_enabled(listener->pause, SD_EVENT_ONESHOT) >= 0)
		(void)sd_event_source_set_enabled(listener->source,
						  SD_EVENT_OFF);
}

static int listener_on_io(sd_event_source *source, int fd, uint32_t revents,
			  void *arg)
{
	struct listener *listener = arg;
	int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (peer >= 0)
		listener_admit(listener, peer);
	else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM ||
		 errno == ENOBUFS)
		listener_pause(listener);
	return 0;
}

static void listener_free(struct listener *listener)
{
	listener->source = sd_event_source_disable_unref(listener->source);
	listener->pause = sd_event_source_disable_unref(listener->pause);
	(void)close(listener->fd);
	free(listener);
}

static int listener_start(struct listener *listener, struct err *err)
{
	int flags = fcntl(listener->fd, F_GETFL), r;

	if (flags < 0 || fcntl(listener->fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
	    listen(listener->fd, SOMAXCONN) < 0)
		return err_set(err, -errno, "listen on a socket");
	r = sd_event_add_time(listener->server->event, &listener->pause,
			      CLOCK_MONOTONIC, 0, 0, listener_resume, listener);
	if (r >= 0)
		r = sd_event_source_set_enabled(listener->pause, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_add_io(listener->server->event, &listener->source,
				    listener->fd, EPOLLIN, listener_on_io,
				    listener);
	return r < 0 ? err_set(err, r, "watch a socket") : 0;
}

int rpc_server_listen(struct rpc_server *server, int listen_fd,
		      enum rpc_role role, const uid_t *uids, unsigned n,
		      struct err *err)
{
	struct listener *listener = calloc(1, sizeof(*listener));
	int r = 0;

	if (!listener || n > UIDS_MAX) {
		(void)close(listen_fd);
		free(listener);
		return err_set(err, listener ? -EINVAL : -ENOMEM,
			       "listen on a socket");
	}
	listener->server = server;
	listener->fd = listen_fd;
	listener->role = role;
	listener->n_uids = n;
	if (n > 0)
		memcpy(listener->uids, uids, n * sizeof(*uids));
	r = listener_start(listener, err);
	if (r < 0) {
		listener_free(listener);
		return r;
	}
	listener->next = server->listeners;
	server->listeners = listener;
	return 0;
}

/* ---- The server --------------------------------------------------------- */

int rpc_server_new(sd_event *event, const struct rpc_method *methods, void *arg,
		   struct rpc_server **ret_server, struct err *err)
{
	struct rpc_server *server = calloc(1, sizeof(*server));

	if (!server)
		return err_set(err, -ENOMEM, "make a server");
	server->event = sd_event_ref(event);
	server->methods = methods;
	server->arg = arg;
	*ret_server = server;
	return 0;
}

struct rpc_server *rpc_server_free(struct rpc_server *server)
{
	if (!server)
		return NULL;
	while (server->conns)
		conn_close(server->conns);
	while (server->listeners) {
		struct listener *next = server->listeners->next;

		listener_free(server->listeners);
		server->listeners = next;
	}
	sd_event_unref(server->event);
	free(server);
	return NULL;
}

unsigned rpc_server_connections(const struct rpc_server *server)
{
	return server->n_conns;
}
