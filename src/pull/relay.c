/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes from TLS to the server and back.  Each way has one buffer, which is
 * filled again once it is empty; who does not read stops that way alone.
 *
 * What the client sends goes first, so that a flood of answers does not keep
 * its requests waiting.
 */
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "common/bytes.h"
#include "pull/pull.h"

#define UP_BYTES     KIB(64)
#define DOWN_BYTES   KIB(256)
#define RECORD_BYTES KIB(16) /* the most that one TLS record holds */

/* One way. */
struct way {
	uint8_t *buf;
	size_t start;
	size_t end;
	bool over; /* nothing more comes in */
};

struct relay {
	gnutls_session_t tls;
	int client;
	int server;
	struct way up;   /* client to server */
	struct way down; /* server to client */
};

static bool is_empty(const struct way *way)
{
	return way->start == way->end;
}

static bool is_again(ssize_t n)
{
	return n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED;
}

static bool would_block(void)
{
	return errno == EAGAIN || errno == EINTR;
}

/* The four steps return how many bytes they moved, 0 if they have to wait. */

static ssize_t from_client(struct relay *r, struct err *err)
{
	ssize_t n;

	if (r->up.over || !is_empty(&r->up))
		return 0;
	n = gnutls_record_recv(r->tls, r->up.buf, UP_BYTES);
	if (is_again(n))
		return 0;
	/* without a farewell as well: the server then drops what it was at */
	if (n == 0 || n == GNUTLS_E_PREMATURE_TERMINATION) {
		r->up.over = true;
		(void)shutdown(r->server, SHUT_WR);
		return 0;
	}
	if (n < 0)
		return err_set(err, -RP_EWIRE, "TLS: %s",
			       gnutls_strerror((int)n));
	r->up.start = 0;
	r->up.end = (size_t)n;
	return n;
}

static ssize_t to_server(struct relay *r, struct err *err)
{
	ssize_t n;

	if (is_empty(&r->up))
		return 0;
	n = send(r->server, r->up.buf + r->up.start, r->up.end - r->up.start,
		 MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0)
		return would_block() ? 0 : err_set(err, -errno, "the server");
	r->up.start += (size_t)n;
	return n;
}

static ssize_t from_server(struct relay *r, struct err *err)
{
	ssize_t n;

	if (r->down.over || !is_empty(&r->down))
		return 0;
	n = recv(r->server, r->down.buf, DOWN_BYTES, MSG_DONTWAIT);
	if (n < 0)
		return would_block() ? 0 : err_set(err, -errno, "the server");
	r->down.over = n == 0;
	r->down.start = 0;
	r->down.end = (size_t)n;
	return n;
}

static ssize_t to_client(struct relay *r, struct err *err)
{
	ssize_t n;

	if (is_empty(&r->down))
		return 0;
	/* after GNUTLS_E_AGAIN it is called with the same again */
	n = gnutls_record_send(r->tls, r->down.buf + r->down.start,
			       MIN(r->down.end - r->down.start, RECORD_BYTES));
	if (is_again(n))
		return 0;
	if (n < 0)
		return err_set(err, -RP_EUNREACHABLE, "TLS: %s",
			       gnutls_strerror((int)n));
	r->down.start += (size_t)n;
	return n;
}

static int await(const struct relay *r, struct err *err)
{
	struct pollfd fds[] = {
	    {.fd = r->client,
	     .events = (short)((!r->up.over && is_empty(&r->up) ? POLLIN : 0) |
			       (is_empty(&r->down) ? 0 : POLLOUT))},
	    {.fd = r->server,
	     .events =
		 (short)((!r->down.over && is_empty(&r->down) ? POLLIN : 0) |
			 (is_empty(&r->up) ? 0 : POLLOUT))},
	};

	/* what is over says so for ever */
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
		if (!fds[i].events)
			fds[i].fd = -1;
	if (poll(fds, ARRAY_SIZE(fds), -1) < 0 && errno != EINTR)
		return err_set(err, -errno, "poll");
	return 0;
}

static int carry(struct relay *r, struct err *err)
{
	static ssize_t (*const steps[])(struct relay * r, struct err * err) = {
	    from_client, to_server, from_server, to_client};

	for (;;) {
		bool moved = false;

		for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
			ssize_t n = steps[i](r, err);

			if (n < 0)
				return (int)n;
			moved |= n > 0;
		}
		if (r->down.over && is_empty(&r->down))
			return 0;
		if (!moved && await(r, err) < 0)
			return err->code;
	}
}

int relay(gnutls_session_t tls, int client, int server, struct err *err)
{
	struct relay r = {.tls = tls, .client = client, .server = server};
	int code;

	r.up.buf = malloc(UP_BYTES);
	r.down.buf = malloc(DOWN_BYTES);
	code = r.up.buf && r.down.buf ? carry(&r, err)
				      : err_set(err, -ENOMEM, "buffers");
	free(r.up.buf);
	free(r.down.buf);
	return code;
}
