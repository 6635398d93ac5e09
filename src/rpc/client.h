/* SPDX-License-Identifier: Apache-2.0 */
/* What the two ways of calling, blocking and on an event loop, share. */
#ifndef RPC_CLIENT_H
#define RPC_CLIENT_H

#include "rpc/message.h"
#include "rpc/rpc.h"
#include "rpc/wire.h"

struct rpc_client {
	int fd;
	uid_t uid;     /* of the peer */
	char *name;    /* of the peer, for messages */
	int64_t until; /* now_ms() at which blocking calls end; 0: none */
	bool spent;    /* an answer may still come that nobody awaits */
	bool paused;   /* attached: the socket is not read */
	bool closing;  /* attached: being torn down */
	struct wire_in in;
	struct wire_out out;
	/* The rest is for client-async.c; NULL while not attached. */
	sd_event_source *source;
	struct client_pending *first, *last; /* in the order of their calls */
	void (*closed)(void *arg);
	void *closed_arg;
	unsigned refs; /* the owner, and the handler at work */
};

/* How the peer is called in a message. */
const char *client_name(const struct rpc_client *client);

/* Drops pending calls without a word, and the event source. */
void client_detach(struct rpc_client *client);
void client_unref(struct rpc_client *client);

/* Queues a call.  PARAMETERS are taken over. */
int client_queue(struct rpc_client *client, const char *method,
		 json_t *parameters, bool more, const int *fds, unsigned n_fds,
		 struct err *err);

#endif
