/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client on an event loop.  Calls are answered in their order, so the first
 * pending one is whose reply comes next.
 *
 * Invariants:
 *  1. FN runs from the event loop only, never from within rpc_client_send().
 *  2. Every pending call ends in exactly one FN without `continues`, unless the
 *     owner frees the client first.  Only a call sent with `more` sees
 *     `continues`: of any other a peer that goes on is lost, for its FN may
 *     have let go of ARG.
 *  3. FN and `closed` may free the client; a reference keeps it until the
 *     handler is left.
 *  4. Descriptors that FN leaves are closed, so a peer that attaches some to
 *     every reply exhausts nothing.
 */
#include "rpc/client.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

struct client_pending {
	struct client_pending *next;
	rpc_reply_fn *fn;
	void *arg;
	bool more;    /* several replies may come */
	bool through; /* its replies are skimmed, not parsed */
};

static struct client_pending *pop_pending(struct rpc_client *client)
{
	struct client_pending *pending = client->first;

	if (!pending)
		return NULL;
	client->first = pending->next;
	if (!client->first)
		client->last = NULL;
	return pending;
}

void client_detach(struct rpc_client *client)
{
	struct client_pending *pending;

	client->source = sd_event_source_disable_unref(client->source);
	while ((pending = pop_pending(client)))
		free(pending);
}

/* Off altogether while there is nothing to do: a hangup would wake us for ever,
 * and is found when the socket is read again. */
static void update(struct rpc_client *client)
{
	uint32_t events = client->paused ? 0 : EPOLLIN;

	if (client->out.backlog > 0)
		events |= EPOLLOUT;
	if (!client->source)
		return;
	(void)sd_event_source_set_io_events(client->source, events);
	(void)sd_event_source_set_enabled(client->source,
					  events ? SD_EVENT_ON : SD_EVENT_OFF);
}

/* The peer is gone: everybody who waits is told, the owner last. */
static void lose_peer(struct rpc_client *client, const struct err *why)
{
	void (*closed)(void *) = client->closed;
	struct client_pending *pending;
	struct err err = {0};

	if (client->closing)
		return;
	client->closing = client->spent = true;
	client->source = sd_event_source_disable_unref(client->source);
	err_set(&err, -RP_EUNREACHABLE, "%s: %s", client_name(client),
		why->text);
	while ((pending = pop_pending(client))) {
		struct client_pending call = *pending;

		free(pending);
		call.fn(call.arg, &err, NULL, false, "", 0, NULL, 0);
	}
	closed = client->closed;
	if (closed)
		closed(client->closed_arg);
}

static void hand_reply(struct rpc_client *client,
		       const struct message_reply *reply)
{
	struct client_pending call = *client->first;
	struct wire_fds fds = client->in.fds;

	client->in.fds.n = 0;
	if (!reply->continues)
		free(pop_pending(client));
	call.fn(call.arg, &reply->error, reply->parameters, reply->continues,
		client->in.bytes, client->in.length, fds.fd, fds.n);
	wire_fds_close(&fds);
}

static int parse_for(const struct client_pending *pending,
		     const struct wire_in *in, struct message_reply *ret,
		     struct err *err)
{
	if (pending && pending->through)
		return message_skim_reply(in->bytes, in->length, ret, err);
	return message_parse_reply(in->bytes, in->length, ret, err);
}

/* Is this what the first pending call may be answered with? */
static int check_reply(const struct client_pending *pending,
		       const struct message_reply *reply, struct err *err)
{
	if (!pending)
		return err_set(err, -RP_EWIRE, "an answer to no call");
	if (reply->continues && !pending->more)
		return err_set(err, -RP_EWIRE, "more answers than were asked");
	return 0;
}

static void read_message(struct rpc_client *client)
{
	struct message_reply reply = {0};
	struct err err = {0};
	int r = wire_in_receive(&client->in, client->fd, &err);

	if (r == 0)
		return;
	if (r > 0)
		r = parse_for(client->first, &client->in, &reply, &err);
	if (r == 0)
		r = check_reply(client->first, &reply, &err);
	if (r == 0)
		hand_reply(client, &reply);
	else
		lose_peer(client, &err);
	json_decref(reply.root);
	if (!client->closing)
		wire_in_reset(&client->in);
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *arg)
{
	struct rpc_client *client = arg;
	struct err err = {0};

	client->refs++;
	if (revents & (EPOLLHUP | EPOLLERR) ||
	    wire_out_flush(&client->out, client->fd, &err) < 0)
		wire_out_done(&client->out); /* its last words may wait */
	if (revents & EPOLLIN) {
		read_message(client);
	} else if (revents & (EPOLLHUP | EPOLLERR) && !client->paused) {
		err_set(&err, -RP_EUNREACHABLE,
			"the other side closed the connection");
		lose_peer(client, &err);
	}
	update(client);
	client_unref(client);
	return 0;
}

int rpc_client_attach(struct rpc_client *client, sd_event *event,
		      void (*closed)(void *arg), void *arg, struct err *err)
{
	int r = sd_event_add_io(event, &client->source, client->fd, EPOLLIN,
				on_io, client);

	if (r < 0)
		return err_set(err, r, "watch %s", client_name(client));
	client->closed = closed;
	client->closed_arg = arg;
	return 0;
}

static int send_call(struct rpc_client *client, const char *method,
		     json_t *parameters, const int *fds, unsigned n_fds,
		     const struct client_pending *call, struct err *err)
{
	struct client_pending *pending = malloc(sizeof(*pending));
	int r;

	if (!pending) {
		json_decref(parameters);
		return err_set(err, -ENOMEM, "call %s", method);
	}
	r = client_queue(client, method, parameters, call->more, fds, n_fds,
			 err);
	if (r < 0) {
		free(pending);
		return r;
	}
	*pending = *call;
	if (client->last)
		client->last->next = pending;
	else
		client->first = pending;
	client->last = pending;
	/* A failure is the event loop's to tell. */
	(void)wire_out_flush(&client->out, client->fd, NULL);
	update(client);
	return 0;
}

int rpc_client_send(struct rpc_client *client, const char *method,
		    json_t *parameters, bool more, const int *fds,
		    unsigned n_fds, rpc_reply_fn *fn, void *arg,
		    struct err *err)
{
	const struct client_pending call = {.fn = fn, .arg = arg, .more = more};

	return send_call(client, method, parameters, fds, n_fds, &call, err);
}

int rpc_client_send_through(struct rpc_client *client, const char *method,
			    json_t *parameters, bool more, const int *fds,
			    unsigned n_fds, rpc_reply_fn *fn, void *arg,
			    struct err *err)
{
	const struct client_pending call = {
	    .fn = fn, .arg = arg, .more = more, .through = true};

	return send_call(client, method, parameters, fds, n_fds, &call, err);
}

void rpc_client_pause(struct rpc_client *client, bool paused)
{
	client->paused = paused;
	update(client);
}
