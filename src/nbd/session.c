/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of states and the way of the bytes into it; see session.h.
 *
 * One buffer receives many small commands at once.  A payload that is not
 * there yet in full is received straight into its request's buffer, and what
 * follows it into ours, in one call.
 */
#include "nbd/session.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

/* Room below which what is unread moves to the start of the buffer. */
#define TAIL_BYTES_MIN KIB(128)

static uint32_t need_hello(const struct session *session)
{
	return sizeof(be32);
}

static uint32_t need_option(const struct session *session)
{
	return sizeof(struct nbd_option_header);
}

static uint32_t need_data(const struct session *session)
{
	return session->option_bytes;
}

static uint32_t need_request(const struct session *session)
{
	return sizeof(struct nbd_request_header);
}

static uint32_t need_any(const struct session *session)
{
	return 1;
}

/* What a state needs before it can go on, and what it does with it. */
static const struct row {
	uint32_t (*need)(const struct session *session);
	int64_t (*take)(struct session *session, const uint8_t *bytes,
			uint64_t available);
	const char *cut; /* if the client closes now; NULL: it may */
} rows[] = {
    [SESSION_HELLO] = {need_hello, negotiate_hello, NULL},
    [SESSION_OPTION] = {need_option, negotiate_option, NULL},
    [SESSION_OPTION_DATA] = {need_data, negotiate_data,
			     "closed within an option"},
    [SESSION_OPTION_SKIP] = {need_any, negotiate_skip,
			     "closed within an option"},
    [SESSION_OPENING] = {NULL, NULL, NULL},
    [SESSION_REQUEST] = {need_request, transmit_request, NULL},
    [SESSION_PAYLOAD] = {NULL, NULL, "closed within a write"},
    [SESSION_SKIP] = {need_any, transmit_skip, "closed within a write"},
    [SESSION_ENDED] = {NULL, NULL, NULL},
};

int64_t session_fail(struct session *session, const char *fmt, ...)
{
	char why[sizeof(session->why)];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	session_break(session, why);
	return -EPROTO;
}

int session_init(struct session *session, struct nbd_host *host,
		 struct pool *pool, void (*ready)(struct session *session))
{
	*session = (struct session){.host = host, .pool = pool, .ready = ready};
	session->last_reply = &session->replies;
	session->in = malloc(NBD_RECEIVE_BYTES);
	if (!session->in)
		return -ENOMEM;
	negotiate_greet(session);
	if (session->end == SESSION_BROKEN) {
		free(session->in);
		return -ENOMEM;
	}
	return 0;
}

void session_done(struct session *session)
{
	assert(session->requests == 0 && !session->opening);
	pool_forget(session->pool, &session->user);
	context_clear(session);
	if (session->disk)
		session->host->attached(session->host, session->disk, false);
	free(session->in);
	free(session->out);
}

/* Consumes what it can of [in_start, in_end). */
static void consume(struct session *session)
{
	while (session->end == SESSION_GOES_ON) {
		const struct row *row = &rows[session->state];
		uint32_t available = session->in_end - session->in_start;
		int64_t taken;

		if (!row->take || available < row->need(session))
			break;
		taken = row->take(session, session->in + session->in_start,
				  available);
		if (taken < 0)
			return;
		session->in_start += (uint32_t)taken;
	}
	if (session->in_start == session->in_end)
		session->in_start = session->in_end = 0;
}

static void make_room(struct session *session)
{
	uint32_t unread = session->in_end - session->in_start;

	if (NBD_RECEIVE_BYTES - session->in_end >= TAIL_BYTES_MIN ||
	    session->in_start == 0)
		return;
	memmove(session->in, session->in + session->in_start, unread);
	session->in_start = 0;
	session->in_end = unread;
}

/* Does the present state wait for more than is there? */
static bool is_hungry(const struct session *session)
{
	const struct row *row = &rows[session->state];

	return session->state == SESSION_PAYLOAD ||
	       (row->need &&
		session->in_end - session->in_start < row->need(session));
}

int session_input(struct session *session, struct iovec iov[2])
{
	int n = 0;

	if (session->end != SESSION_GOES_ON || !is_hungry(session))
		return 0;
	if (session->state == SESSION_PAYLOAD) {
		struct request *request = session->payload;
		uint64_t done = request->volume.length - session->payload_left;

		iov[n++] =
		    (struct iovec){(uint8_t *)request->volume.data + done,
				   session->payload_left};
	}
	make_room(session);
	iov[n++] = (struct iovec){session->in + session->in_end,
				  NBD_RECEIVE_BYTES - session->in_end};
	return n;
}

static void closed(struct session *session)
{
	const char *cut = rows[session->state].cut;

	if (!cut && session->in_end != session->in_start)
		cut = "closed within a message";
	if (cut)
		session_break(session, cut);
	else
		session_stop(session);
}

void session_received(struct session *session, size_t bytes)
{
	uint64_t payload = 0;

	if (session->end != SESSION_GOES_ON)
		return;
	if (bytes == 0) {
		closed(session);
		return;
	}
	if (session->state == SESSION_PAYLOAD)
		payload = MIN(bytes, session->payload_left);
	session->in_end += (uint32_t)(bytes - payload);
	if (payload)
		transmit_payload(session, payload);
	consume(session);
}

void session_resume(struct session *session)
{
	if (session->end == SESSION_GOES_ON)
		consume(session);
}

/* The buffer of a write whose payload will not come any more. */
static void drop_payload(struct session *session)
{
	if (!session->payload)
		return;
	reply_release(session, session->payload);
	session->payload = NULL;
}

void session_stop(struct session *session)
{
	if (session->end != SESSION_GOES_ON)
		return;
	session->end = SESSION_SAID_GOODBYE;
	session->state = SESSION_ENDED;
	drop_payload(session);
	pool_forget(session->pool, &session->user);
	session->ready(session);
}

void session_drain(struct session *session)
{
	atomic_store(&session->forgone, true);
	session_stop(session);
}

void session_break(struct session *session, const char *why)
{
	struct request *request;

	if (session->end == SESSION_BROKEN)
		return;
	if (why)
		(void)snprintf(session->why, sizeof(session->why), "%s", why);
	session->end = SESSION_BROKEN;
	session->state = SESSION_ENDED;
	atomic_store(&session->forgone, true);
	drop_payload(session);
	pool_forget(session->pool, &session->user);
	while ((request = session->replies)) {
		session->replies = request->next;
		reply_release(session, request);
	}
	session->last_reply = &session->replies;
	session->ready(session);
}

bool session_in_transmission(const struct session *session)
{
	return session->disk != NULL;
}

bool session_obstructs(const struct session *session)
{
	return session->user.held > NBD_FLOOR_BYTES &&
	       (session->payload || session->iov_count);
}

bool session_quiet(const struct session *session)
{
	if (session->opening)
		return false;
	switch (session->end) {
	case SESSION_GOES_ON:
		return false;
	case SESSION_SAID_GOODBYE:
		return session->requests == 0 && session->iov_count == 0 &&
		       session->out_bytes == 0;
	case SESSION_BROKEN:
		return session->requests == 0;
	}
	return true;
}
