/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One call being answered, and the table that decides who may make it.  Knows
 * no sockets: where the answer goes is a struct call_sink, so that the fuzzer
 * and the unit tests drive the same code as a connection does.
 */
#ifndef RPC_CALL_H
#define RPC_CALL_H

#include "rpc/message.h"
#include "rpc/rpc.h"
#include "rpc/wire.h"

struct call_sink {
	/* One message; none of the arguments is taken over. */
	void (*send)(void *arg, const char *text, size_t bytes, const int *fds,
		     unsigned n_fds);
	/* The answer is complete; the call is gone once this returns. */
	void (*finished)(void *arg);
	size_t (*backlog)(void *arg);
	/* Asks for one call_drained() when nothing waits to be sent. */
	void (*want_drained)(void *arg);
};

struct rpc_call {
	const struct call_sink *sink; /* NULL: the caller has gone */
	void *sink_arg;
	enum rpc_role role;
	uid_t uid; /* the caller's, as SO_PEERCRED told */
	pid_t pid;
	struct wire_fds fds;
	struct message_call message;
	void (*hangup)(void *arg); /* may be NULL, as drained */
	void *hangup_arg;
	void (*drained)(void *arg);
	void *drained_arg;
};

/* Takes FDS's descriptors over (also on failure).  NULL: no memory. */
struct rpc_call *call_new(const struct call_sink *sink, void *sink_arg,
			  enum rpc_role role, struct wire_fds *fds);

/* Hands the message to its method, or refuses it.  CALL may be gone when this
 * returns.  -RP_EWIRE: the bytes are not our protocol (the caller was told) and
 * the connection is not to be read any further; else 0. */
int call_dispatch(struct rpc_call *call, const struct rpc_method *methods,
		  void *arg, const char *text, size_t bytes);

/* The caller has gone: the sink is not used any more.  CALL lives on until its
 * method answers, which FN of rpc_call_on_hangup() may do at once. */
void call_hang_up(struct rpc_call *call);
void call_drained(struct rpc_call *call);

/* org.varlink.service; their ARG is the server's own table of methods. */
extern const struct rpc_method service_methods[];

#endif
