/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/client.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/cleanup.h"

/* ---- Connecting --------------------------------------------------------- */

struct rpc_client *rpc_client_from_fd(int fd, const char *name)
{
	struct rpc_client *client = calloc(1, sizeof(*client));
	struct ucred peer = {.uid = (uid_t)-1};
	socklen_t size = sizeof(peer);

	if (!client) {
		(void)close(fd);
		return NULL;
	}
	(void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size);
	*client = (struct rpc_client){.fd = fd, .uid = peer.uid, .refs = 1};
	client->name = strdup(name);
	return client->name ? client : rpc_client_free(client);
}

/* A path too long for sun_path goes by way of /proc. */
static int fill_address(struct sockaddr_un *address, const char *path,
			int *ret_fd)
{
	int n;

	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) < sizeof(address->sun_path)) {
		memcpy(address->sun_path, path, strlen(path) + 1);
		return 0;
	}
	*ret_fd = open(path, O_PATH | O_CLOEXEC);
	if (*ret_fd < 0)
		return -errno;
	n = snprintf(address->sun_path, sizeof(address->sun_path),
		     "/proc/self/fd/%d", *ret_fd);
	return n > 0 ? 0 : -EINVAL;
}

/* A unix socket's connect(2) waits while the queue is full; SO_SNDTIMEO is what
 * bounds it. */
static int connect_socket(int fd, const char *path, unsigned timeout_ms)
{
	_cleanup_close_ int path_fd = -1;
	struct sockaddr_un address;
	struct timeval limit = {
	    .tv_sec = timeout_ms / 1000,
	    .tv_usec = (suseconds_t)(timeout_ms % 1000) * 1000,
	};
	int r = fill_address(&address, path, &path_fd);

	if (r < 0)
		return r;
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0)
		return -errno;
	while (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

static int say_unreachable(int r, const char *path, struct err *err)
{
	if (r == -EACCES || r == -EPERM)
		return err_set(err, -RP_EDENIED, "you may not connect to '%s'",
			       path);
	if (r == -EAGAIN)
		return err_set(err, -RP_EUNREACHABLE,
			       "'%s' accepts no connection in time", path);
	return err_set(err, -RP_EUNREACHABLE, "connect to '%s': %s", path,
		       strerrordesc_np(-r));
}

int rpc_client_connect(const char *path, unsigned timeout_ms,
		       struct rpc_client **ret_client, struct err *err)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), r;
	struct rpc_client *client;
	char name[PATH_MAX + 2];

	if (fd < 0)
		return err_set(err, -errno, "make a socket");
	r = connect_socket(fd, path, timeout_ms);
	if (r < 0) {
		(void)close(fd);
		return say_unreachable(r, path, err);
	}
	(void)snprintf(name, sizeof(name), "'%s'", path);
	client = rpc_client_from_fd(fd, name);
	if (!client)
		return err_set(err, -ENOMEM, "connect to '%s'", path);
	*ret_client = client;
	return 0;
}

void client_unref(struct rpc_client *client)
{
	if (--client->refs > 0)
		return;
	(void)close(client->fd);
	wire_in_done(&client->in);
	wire_out_done(&client->out);
	free(client->name);
	free(client);
}

struct rpc_client *rpc_client_free(struct rpc_client *client)
{
	if (!client)
		return NULL;
	client->closing = true;
	client->closed = NULL;
	client_detach(client);
	client_unref(client);
	return NULL;
}

int rpc_client_fd(const struct rpc_client *client)
{
	return client->fd;
}

uid_t rpc_client_peer_uid(const struct rpc_client *client)
{
	return client->uid;
}

const char *client_name(const struct rpc_client *client)
{
	return client->name;
}

/* ---- Blocking calls ----------------------------------------------------- */

static int64_t now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int wait_for(struct rpc_client *client, short events, int64_t deadline,
		    struct err *err)
{
	struct pollfd pfd = {.fd = client->fd, .events = events};

	for (;;) {
		int64_t left = deadline < 0 ? -1 : deadline - now_ms();
		int n;

		if (deadline >= 0 && left <= 0)
			return err_set(err, -RP_ETIMEOUT,
				       "no answer from %s in time",
				       client_name(client));
		n = poll(&pfd, 1, (int)MIN(left, (int64_t)INT32_MAX));
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return err_set(err, -errno, "wait for %s",
				       client_name(client));
	}
}

int client_queue(struct rpc_client *client, const char *method,
		 json_t *parameters, bool more, const int *fds, unsigned n_fds,
		 struct err *err)
{
	_cleanup_free_ char *text = NULL;

	if (client->spent) {
		json_decref(parameters);
		return err_set(err, -RP_EUNREACHABLE,
			       "the connection to %s is of no use any more",
			       client_name(client));
	}
	text = message_format_call(method, parameters, more);
	if (!text)
		return err_set(err, -ENOMEM, "call %s", method);
	return wire_out_add(&client->out, text, strlen(text), fds, n_fds, err);
}

/* A peer that refuses what it is sent may have said why before it closed. */
static int send_all(struct rpc_client *client, int64_t deadline,
		    struct err *err)
{
	int r = wire_out_flush(&client->out, client->fd, err);

	while (r == 0 && client->out.backlog > 0) {
		r = wait_for(client, POLLOUT, deadline, err);
		if (r == 0)
			r = wire_out_flush(&client->out, client->fd, err);
	}
	return r == -RP_EUNREACHABLE ? 0 : r;
}

static int receive_text(struct rpc_client *client, int64_t deadline,
			struct err *err)
{
	int r;

	wire_in_reset(&client->in);
	for (;;) {
		r = wire_in_receive(&client->in, client->fd, err);
		if (r > 0)
			return 0;
		if (r == 0)
			r = wait_for(client, POLLIN, deadline, err);
		if (r == -RP_EUNREACHABLE)
			return err_wrap(err, "%s", client_name(client));
		if (r < 0)
			return r;
	}
}

/* What is done with each reply; CUT may be NULL.  With TEXT it is not parsed,
 * and FN is not called. */
struct reader {
	size_t (*cut)(void *arg, char *text, size_t bytes);
	int (*fn)(void *arg, json_t *parameters, bool continues);
	int (*text)(void *arg, char *text, size_t bytes);
	void *arg;
};

static int receive_reply(struct rpc_client *client, const struct reader *reader,
			 int64_t deadline, struct message_reply *ret,
			 struct err *err)
{
	size_t n;
	int r = receive_text(client, deadline, err);

	if (r < 0)
		return r;
	n = client->in.length;
	if (reader->text)
		return message_skim_reply(client->in.bytes, n, ret, err);
	if (reader->cut)
		n = reader->cut(reader->arg, client->in.bytes, n);
	return message_parse_reply(client->in.bytes, n, ret, err);
}

static int hand_reply(struct rpc_client *client, const struct reader *reader,
		      const struct message_reply *reply)
{
	if (reader->text)
		return reader->text(reader->arg, client->in.bytes,
				    client->in.length);
	return reader->fn(reader->arg, reply->parameters, reply->continues);
}

static int64_t deadline_of(const struct rpc_client *client, unsigned timeout_ms)
{
	int64_t own = timeout_ms ? now_ms() + timeout_ms : -1;

	if (client->until && (own < 0 || own > client->until))
		return client->until;
	return own;
}

void rpc_client_limit(struct rpc_client *client, unsigned total_ms)
{
	client->until = total_ms ? now_ms() + total_ms : 0;
}

/* However much a peer says: its replies may come without a pause. */
static int check_time(const struct rpc_client *client, struct err *err)
{
	if (!client->until || now_ms() < client->until)
		return 0;
	return err_set(err, -RP_ETIMEOUT, "%s did not end its answer in time",
		       client_name(client));
}

/* Calls FN for each reply.  After any failure but the peer's own error the
 * connection is spent: what comes next would be taken for another answer. */
static int call_and_read(struct rpc_client *client, bool more,
			 unsigned timeout_ms, const struct reader *reader,
			 struct err *err)
{
	int64_t deadline = deadline_of(client, timeout_ms);
	struct message_reply reply = {0};
	bool continues = true;
	int r = send_all(client, deadline, err);

	while (r == 0 && continues) {
		deadline = more ? deadline_of(client, timeout_ms) : deadline;
		r = check_time(client, err);
		if (r == 0)
			r = receive_reply(client, reader, deadline, &reply,
					  err);
		if (r < 0)
			break;
		continues = reply.continues;
		if (reply.error.code < 0) {
			if (err)
				*err = reply.error;
			json_decref(reply.root);
			return reply.error.code;
		}
		if (continues && !more)
			r = err_set(err, -RP_EWIRE,
				    "%s answers more than was asked",
				    client_name(client));
		else
			r = hand_reply(client, reader, &reply);
		json_decref(reply.root);
	}
	client->spent = r != 0;
	return r;
}

struct one_reply {
	json_t *parameters;
};

static int keep_reply(void *arg, json_t *parameters, bool continues)
{
	struct one_reply *one = arg;

	one->parameters = parameters ? json_incref(parameters) : json_object();
	return 0;
}

static void hand_fds(struct rpc_client *client, int *ret_fds, unsigned *n)
{
	unsigned room = ret_fds && n ? *n : 0, taken = 0;

	while (taken < room && taken < client->in.fds.n) {
		ret_fds[taken] = wire_fds_take(&client->in.fds, taken);
		taken++;
	}
	if (n)
		*n = taken;
	wire_fds_close(&client->in.fds);
}

int rpc_call(struct rpc_client *client, const char *method, json_t *parameters,
	     const int *fds, unsigned n_fds, unsigned timeout_ms,
	     json_t **ret_parameters, int *ret_fds, unsigned *n_ret_fds,
	     struct err *err)
{
	struct one_reply one = {0};
	const struct reader reader = {.fn = keep_reply, .arg = &one};
	int r =
	    client_queue(client, method, parameters, false, fds, n_fds, err);

	if (r == 0)
		r = call_and_read(client, false, timeout_ms, &reader, err);
	if (r < 0) {
		wire_fds_close(&client->in.fds);
		return r;
	}
	hand_fds(client, ret_fds, n_ret_fds);
	if (ret_parameters)
		*ret_parameters = one.parameters;
	else
		json_decref(one.parameters);
	return 0;
}

static int call_more(struct rpc_client *client, const char *method,
		     json_t *parameters, const int *fds, unsigned n_fds,
		     unsigned timeout_ms, const struct reader *reader,
		     struct err *err)
{
	int r = client_queue(client, method, parameters, true, fds, n_fds, err);

	if (r == 0)
		r = call_and_read(client, true, timeout_ms, reader, err);
	wire_fds_close(&client->in.fds);
	return r;
}

int rpc_call_more_cut(struct rpc_client *client, const char *method,
		      json_t *parameters, unsigned timeout_ms,
		      size_t (*cut)(void *arg, char *text, size_t bytes),
		      int (*fn)(void *arg, json_t *parameters, bool continues),
		      void *arg, struct err *err)
{
	const struct reader reader = {.cut = cut, .fn = fn, .arg = arg};

	return call_more(client, method, parameters, NULL, 0, timeout_ms,
			 &reader, err);
}

int rpc_call_more_text(struct rpc_client *client, const char *method,
		       json_t *parameters, unsigned timeout_ms,
		       int (*fn)(void *arg, char *text, size_t bytes),
		       void *arg, struct err *err)
{
	const struct reader reader = {.text = fn, .arg = arg};

	return call_more(client, method, parameters, NULL, 0, timeout_ms,
			 &reader, err);
}

int rpc_call_more_replies(struct rpc_client *client, const char *method,
			  json_t *parameters, unsigned timeout_ms,
			  int (*fn)(void *arg, json_t *parameters,
				    bool continues),
			  void *arg, struct err *err)
{
	return rpc_call_more_cut(client, method, parameters, timeout_ms, NULL,
				 fn, arg, err);
}

int rpc_call_more_fds(struct rpc_client *client, const char *method,
		      json_t *parameters, const int *fds, unsigned n_fds,
		      unsigned timeout_ms,
		      int (*fn)(void *arg, json_t *parameters, bool continues),
		      void *arg, struct err *err)
{
	const struct reader reader = {.fn = fn, .arg = arg};

	return call_more(client, method, parameters, fds, n_fds, timeout_ms,
			 &reader, err);
}
