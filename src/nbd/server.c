/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sockets: who is connected, and moving bytes between them and sessions.
 *
 * Each connection has at most one receive and one send in flight.  Completions
 * feed the session at once; what that leads to (sending, receiving more,
 * closing) is done for all connections that changed at the end of the loop's
 * turn, so that all answers that became ready in a turn leave together.
 *
 *   V1  A connection is freed only by settle(), with nothing in flight on its
 *       socket and its session quiet.
 *   V2  A connection that changed is on the list `changed`, once.
 *   V3  The tick runs while, and only while, there is something it looks for:
 *       negotiations, waiters for memory, goodbyes, or a failed accept.
 *
 * Receiving is not multishot: its buffers would be picked by the kernel, and a
 * connection that may not be read could not be held back.
 */
#include "nbd/server.h"

#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "nbd/session.h"
#include "nbd/tuning.h"

#define LISTENERS_MAX 8
#define SOCKET_BYTES  ((int)MIB(4)) /* asked for; the system's limit applies */

struct connection {
	struct session session;
	struct nbd_server *server;
	struct connection *next; /* of the server's */
	struct connection **at;
	struct connection *next_changed;
	bool changed;
	int fd;
	int pid; /* of the peer, for the log */
	uint64_t id;

	struct ring_op receive;
	struct ring_op send;
	bool receiving;
	bool sending;
	struct msghdr receive_msg;
	struct msghdr send_msg;
	struct iovec receive_iov[2];

	uint64_t since_ms; /* accepted, or said goodbye */
	uint64_t moved;    /* bytes, both ways */
	uint64_t mark;     /* of MOVED, when it last was enough */
	uint64_t mark_ms;
	bool leaving; /* SINCE_MS is of the goodbye */
};

struct listener {
	struct nbd_server *server;
	struct ring_op op;
	int fd; /* the caller's; -1: unused */
	bool armed;
	bool failed; /* try again at the next tick */
};

struct nbd_server {
	struct ring *ring;
	struct nbd_host *host;
	struct nbd_setup setup;
	struct runner *runner;
	struct pool pool;
	bool turning; /* the ring's turns are ours too */
	struct nbd_times times;
	struct listener listeners[LISTENERS_MAX];
	struct connection *connections;
	unsigned connection_count;
	struct connection *changed;
	struct connection **last_changed;
	uint64_t next_id;

	struct ring_op tick;
	bool ticking;
	struct ring_task grant; /* serves waiters for memory */
	bool granting;

	void (*drained)(void *arg);
	void *drained_arg;
	bool tick_cancelled;
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void connection_changed(struct connection *connection)
{
	struct nbd_server *server = connection->server;

	if (connection->changed)
		return;
	connection->changed = true;
	connection->next_changed = NULL;
	*server->last_changed = connection;
	server->last_changed = &connection->next_changed;
}

static void session_ready(struct session *session)
{
	connection_changed(container_of(session, struct connection, session));
}

/* ---- one connection ---------------------------------------------------- */

static void received(struct ring_op *op, int result, unsigned cqe_flags)
{
	struct connection *connection =
	    container_of(op, struct connection, receive);

	connection->receiving = false;
	connection_changed(connection);
	if (result == -EINTR || result == -EAGAIN)
		return;
	if (result < 0) {
		session_break(&connection->session,
			      result == -ECONNRESET ? "" : "receive failed");
		return;
	}
	connection->moved += (uint64_t)result;
	session_received(&connection->session, (size_t)result);
}

/* Many a client does not wait for the answer to its goodbye. */
static const char *send_failure(const struct connection *connection, int result)
{
	if (!session_in_transmission(&connection->session))
		return "";
	if (result == -EPIPE || result == -ECONNRESET)
		return "closed before it took all replies";
	return "send failed";
}

static void sent(struct ring_op *op, int result, unsigned cqe_flags)
{
	struct connection *connection =
	    container_of(op, struct connection, send);

	connection->sending = false;
	connection_changed(connection);
	if (result == -EINTR || result == -EAGAIN)
		return;
	if (result < 0) {
		session_break(&connection->session,
			      send_failure(connection, result));
		return;
	}
	connection->moved += (uint64_t)result;
	session_sent(&connection->session, (size_t)result);
}

static void start_receive(struct connection *connection)
{
	struct msghdr *msg = &connection->receive_msg;
	struct io_uring_sqe *sqe;
	int n = session_input(&connection->session, connection->receive_iov);

	if (n == 0)
		return;
	sqe = ring_sqe(connection->server->ring, &connection->receive);
	if (n == 1) {
		io_uring_prep_recv(sqe, connection->fd,
				   connection->receive_iov[0].iov_base,
				   connection->receive_iov[0].iov_len, 0);
	} else {
		msg->msg_iov = connection->receive_iov;
		msg->msg_iovlen = (size_t)n;
		io_uring_prep_recvmsg(sqe, connection->fd, msg, 0);
	}
	connection->receiving = true;
}

static void start_send(struct connection *connection)
{
	struct msghdr *msg = &connection->send_msg;
	struct io_uring_sqe *sqe;
	struct iovec *iov;
	int n = session_output(&connection->session, &iov);

	if (n == 0)
		return;
	sqe = ring_sqe(connection->server->ring, &connection->send);
	if (n == 1) {
		io_uring_prep_send(sqe, connection->fd, iov->iov_base,
				   iov->iov_len, MSG_NOSIGNAL);
	} else {
		msg->msg_iov = iov;
		msg->msg_iovlen = (size_t)n;
		io_uring_prep_sendmsg(sqe, connection->fd, msg, MSG_NOSIGNAL);
	}
	connection->sending = true;
}

static void connection_free(struct connection *connection)
{
	struct nbd_server *server = connection->server;

	*connection->at = connection->next;
	if (connection->next)
		connection->next->at = connection->at;
	server->connection_count--;
	session_done(&connection->session);
	(void)close(connection->fd);
	log_debug("nbd", "client %llu closed",
		  (unsigned long long)connection->id);
	free(connection);
	if (server->connection_count == 0)
		pool_trim(&server->pool);
}

/* Ends what is still in flight on the socket of a session that is over. */
static void hang_up(struct connection *connection)
{
	if (connection->session.why[0]) {
		log_warning("%s: client %llu: %s, closing it pid=%d",
			    connection->server->setup.name,
			    (unsigned long long)connection->id,
			    connection->session.why, connection->pid);
		connection->session.why[0] = '\0';
	}
	if (connection->receiving || connection->sending)
		(void)shutdown(connection->fd, SHUT_RDWR);
}

/* Does what the present state of the connection asks for. */
static void settle(struct connection *connection)
{
	struct session *session = &connection->session;

	if (session->end == SESSION_GOES_ON && !connection->receiving)
		start_receive(connection);
	if (session->end != SESSION_BROKEN && !connection->sending)
		start_send(connection);
	if (session->end == SESSION_GOES_ON)
		return;
	if (session->end == SESSION_BROKEN && !connection->sending)
		session_unsent(session);
	if (session->end == SESSION_SAID_GOODBYE && !connection->leaving) {
		connection->leaving = true;
		connection->since_ms = now_ms();
	}
	if (session->end == SESSION_BROKEN || session_quiet(session))
		hang_up(connection);
	if (!connection->receiving && !connection->sending &&
	    session_quiet(session))
		connection_free(connection);
}

/* ---- accepting --------------------------------------------------------- */

static void listen_again(struct listener *listener);

static int peer_pid(int fd)
{
	struct ucred cred = {.pid = 0};
	socklen_t bytes = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &bytes) < 0)
		return 0;
	return cred.pid;
}

static int connection_new(struct nbd_server *server, int fd)
{
	struct connection *connection = malloc(sizeof(*connection));
	int bytes = SOCKET_BYTES;

	if (!connection)
		return -ENOMEM;
	memset(&connection->server, 0,
	       sizeof(*connection) - offsetof(struct connection, server));
	connection->server = server;
	connection->fd = fd;
	connection->pid = peer_pid(fd);
	connection->id = ++server->next_id;
	connection->receive.done = received;
	connection->send.done = sent;
	connection->since_ms = connection->mark_ms = now_ms();
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	if (session_init(&connection->session, server->host, &server->pool,
			 session_ready) < 0) {
		free(connection);
		return -ENOMEM;
	}
	connection->session.runner = server->runner;
	connection->next = server->connections;
	if (connection->next)
		connection->next->at = &connection->next;
	connection->at = &server->connections;
	server->connections = connection;
	server->connection_count++;
	return 0;
}

static void accept_one(struct nbd_server *server, int fd)
{
	const char *why = NULL;

	if (server->connection_count >= server->setup.connections)
		why = "too many connections";
	else if (connection_new(server, fd) < 0)
		why = "no memory for a connection";
	if (!why)
		return;
	log_warning("%s: %s, refusing one pid=%d", server->setup.name, why,
		    peer_pid(fd));
	(void)close(fd);
}

static void accepted(struct ring_op *op, int result, unsigned cqe_flags)
{
	struct listener *listener = container_of(op, struct listener, op);
	struct nbd_server *server = listener->server;

	listener->armed = false;
	if (server->drained || result == -ECANCELED) {
		if (result >= 0)
			(void)close(result);
		return;
	}
	if (result >= 0) {
		accept_one(server, result);
	} else if (result != -ECONNABORTED && result != -EINTR) {
		struct err err = {0};

		err_set(&err, result, "%s: accept", server->setup.name);
		log_warning("%s", err.text);
		listener->failed = true;
		return;
	}
	listen_again(listener);
}

static void listen_again(struct listener *listener)
{
	struct io_uring_sqe *sqe =
	    ring_sqe(listener->server->ring, &listener->op);

	io_uring_prep_accept(sqe, listener->fd, NULL, NULL, SOCK_CLOEXEC);
	listener->armed = true;
	listener->failed = false;
}

static void turn(void *arg);

void nbd_server_listen(struct nbd_server *server, int listen_fd)
{
	int flags = fcntl(listen_fd, F_GETFL);

	if (!server->turning)
		ring_on_turn(server->ring, turn, server);
	server->turning = true;
	/* On a non-blocking one the ring would not wait but say -EAGAIN. */
	if (flags >= 0)
		(void)fcntl(listen_fd, F_SETFL, flags & ~O_NONBLOCK);
	for (int i = 0; i < LISTENERS_MAX; i++) {
		struct listener *listener = &server->listeners[i];

		if (listener->fd >= 0)
			continue;
		listener->fd = listen_fd;
		listen_again(listener);
		return;
	}
	assert(false && "more than LISTENERS_MAX");
}

/* ---- time -------------------------------------------------------------- */

/* Holding what others wait for, and not moving. */
static bool is_in_the_way(struct connection *connection, uint64_t now)
{
	if (!connection->server->pool.waiters ||
	    !session_obstructs(&connection->session) ||
	    connection->moved - connection->mark >= NBD_STALL_BYTES) {
		connection->mark = connection->moved;
		connection->mark_ms = now;
		return false;
	}
	return now - connection->mark_ms >= connection->server->times.stall_ms;
}

static void check_times(struct connection *connection, uint64_t now)
{
	struct session *session = &connection->session;
	const struct nbd_times *times = &connection->server->times;
	uint64_t age = now - connection->since_ms;

	if (session->end == SESSION_BROKEN)
		return;
	if (connection->leaving && session->submitted == 0 &&
	    age >= times->goodbye_ms)
		session_break(session, "left its last replies");
	else if (!connection->leaving && !session_in_transmission(session) &&
		 age >= times->negotiation_ms)
		session_break(session, "took too long to negotiate");
	else if (is_in_the_way(connection, now))
		session_break(session, "stalls with memory others wait for");
}

/* Is there anything the tick looks for? */
static bool wants_tick(const struct nbd_server *server)
{
	if (server->pool.waiters)
		return true;
	for (int i = 0; i < LISTENERS_MAX; i++)
		if (server->listeners[i].failed)
			return true;
	for (const struct connection *c = server->connections; c; c = c->next)
		if (c->leaving || !session_in_transmission(&c->session))
			return true;
	return false;
}

static void ticked(struct ring_op *op, int result, unsigned cqe_flags)
{
	struct nbd_server *server = container_of(op, struct nbd_server, tick);
	uint64_t now = now_ms();

	server->ticking = false;
	for (struct connection *c = server->connections; c; c = c->next)
		check_times(c, now);
	for (int i = 0; i < LISTENERS_MAX; i++)
		if (server->listeners[i].failed && !server->drained)
			listen_again(&server->listeners[i]);
}

/* ---- the loop's turn --------------------------------------------------- */

static void grant(struct ring_task *task)
{
	struct nbd_server *server =
	    container_of(task, struct nbd_server, grant);
	struct pool_user *user;

	server->granting = false;
	while ((user = pool_next(&server->pool))) {
		struct session *session =
		    container_of(user, struct session, user);

		session_resume(session);
		session_ready(session);
	}
}

/* Once nothing of the server is in flight. */
static void finish_drain(struct nbd_server *server)
{
	void (*drained)(void *arg) = server->drained;

	if (!drained || server->connections || server->granting)
		return;
	for (int i = 0; i < LISTENERS_MAX; i++)
		if (server->listeners[i].armed)
			return;
	if (server->ticking) {
		if (!server->tick_cancelled)
			ring_cancel(server->ring, &server->tick);
		server->tick_cancelled = true;
		return;
	}
	for (int i = 0; i < LISTENERS_MAX; i++)
		server->listeners[i].fd = -1;
	server->tick_cancelled = false;
	server->drained = NULL;
	ring_off_turn(server->ring, turn, server);
	server->turning = false;
	drained(server->drained_arg);
}

static void turn(void *arg)
{
	struct nbd_server *server = arg;
	struct connection *connection;

	while ((connection = server->changed)) {
		server->changed = connection->next_changed;
		if (!server->changed)
			server->last_changed = &server->changed;
		connection->changed = false;
		settle(connection);
	}
	if (server->pool.waiters && !server->granting) {
		server->granting = true;
		ring_post(server->ring, &server->grant);
	}
	if (!server->ticking && wants_tick(server)) {
		server->ticking = true;
		ring_timer(server->ring, &server->tick, server->times.tick_ms);
	}
	if (server->drained)
		finish_drain(server);
}

/* ---- the whole --------------------------------------------------------- */

int nbd_server_new(struct ring *ring, struct nbd_host *host,
		   const struct nbd_setup *setup,
		   struct nbd_server **ret_server, struct err *err)
{
	struct nbd_server *server = calloc(1, sizeof(*server));
	int r;

	if (!server)
		return err_set(err, -ENOMEM, "nbd server");
	r = runner_new(ring, &server->runner, err);
	if (r < 0) {
		free(server);
		return r;
	}
	server->ring = ring;
	server->host = host;
	server->setup = *setup;
	server->times = (struct nbd_times){
	    .negotiation_ms = NBD_NEGOTIATION_MS,
	    .stall_ms = NBD_STALL_MS,
	    .goodbye_ms = NBD_GOODBYE_MS,
	    .tick_ms = 500,
	};
	server->last_changed = &server->changed;
	server->tick.done = ticked;
	server->grant.run = grant;
	for (int i = 0; i < LISTENERS_MAX; i++)
		server->listeners[i] = (struct listener){
		    .server = server, .op = {.done = accepted}, .fd = -1};
	pool_init(&server->pool, setup->bytes, setup->connections);
	*ret_server = server;
	return 0;
}

void nbd_server_set_times(struct nbd_server *server,
			  const struct nbd_times *times)
{
	server->times = *times;
}

static void stop(struct nbd_server *server, void (*end)(struct session *s),
		 void (*done)(void *arg), void *arg)
{
	assert(server->turning && !server->drained);
	server->drained = done;
	server->drained_arg = arg;
	for (int i = 0; i < LISTENERS_MAX; i++) {
		server->listeners[i].failed = false;
		if (server->listeners[i].armed)
			ring_cancel(server->ring, &server->listeners[i].op);
	}
	for (struct connection *c = server->connections; c; c = c->next) {
		end(&c->session);
		connection_changed(c);
	}
}

void nbd_server_drain(struct nbd_server *server, void (*done)(void *arg),
		      void *arg)
{
	stop(server, session_drain, done, arg);
}

static void break_off(struct session *session)
{
	session_break(session, NULL);
}

void nbd_server_break(struct nbd_server *server, void (*done)(void *arg),
		      void *arg)
{
	stop(server, break_off, done, arg);
}

struct nbd_server *nbd_server_free(struct nbd_server *server)
{
	if (!server)
		return NULL;
	assert(!server->connections && !server->turning);
	runner_free(server->runner);
	pool_done(&server->pool);
	free(server);
	return NULL;
}

uint64_t nbd_server_inflight(const struct nbd_server *server)
{
	return server->pool.held;
}
