/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON over a unix stream socket, in the Varlink wire format: each message is
 * one JSON object followed by a NUL byte (varlink.org, "Method Call").
 *
 *   call   {"method":"org.refpoint.Create","parameters":{...},"more":true}
 *   reply  {"parameters":{...},"continues":true}
 *   error  {"error":"org.refpoint.NoSuchSystem","parameters":{"message":"..."}}
 *
 * Error names are "org.refpoint." and a name of common/err.h's table, except
 * Varlink's own org.varlink.service.{MethodNotFound,InvalidParameter}.
 * A message is at most RPC_MESSAGE_BYTES_MAX; descriptors travel beside the
 * message's first byte (SCM_RIGHTS, at most RPC_FDS_MAX).
 */
#ifndef RPC_RPC_H
#define RPC_RPC_H

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "common/err.h"
#include "common/limits.h"

#define RPC_FDS_MAX EXPORT_FILES_MAX

/* ---- A server's side --------------------------------------------------- */

struct rpc_server;
struct rpc_conn;
struct rpc_call; /* one call being answered */

enum rpc_role {
	RPC_ROLE_ADMIN = 1u << 0,
	RPC_ROLE_OPERATOR = 1u << 1,
	RPC_ROLE_GATEWAY = 1u << 2,
	RPC_ROLE_WORKER = 1u << 3, /* a worker that asks refpointd */
	RPC_ROLE_DAEMON = 1u << 4, /* refpointd that asks a worker */
};

/* The method-by-role table: a method that is not in it, or whose ROLES lack
 * the caller's, is refused before its parameters are looked at. */
struct rpc_method {
	const char *name; /* "org.refpoint.Create" */
	unsigned roles;   /* of enum rpc_role */
	/* Must lead to exactly one final rpc_reply() or rpc_fail(), now or
	 * later; until then CALL lives. */
	void (*handle)(struct rpc_call *call, json_t *parameters, void *arg);
};

/* METHODS ends with a NULL name and must outlive the server. */
int rpc_server_new(sd_event *event, const struct rpc_method *methods, void *arg,
		   struct rpc_server **ret_server, struct err *err);
struct rpc_server *rpc_server_free(struct rpc_server *server);

/* Accepts on LISTEN_FD, taken over; every caller there has ROLE.  Only peers
 * whose uid is in UIDS (N of them; N 0: anybody who could connect). */
int rpc_server_listen(struct rpc_server *server, int listen_fd,
		      enum rpc_role role, const uid_t *uids, unsigned n,
		      struct err *err);

/* How many connections are open now. */
unsigned rpc_server_connections(const struct rpc_server *server);

enum rpc_role rpc_call_role(const struct rpc_call *call);
const char *rpc_call_method(const struct rpc_call *call);
uid_t rpc_call_uid(const struct rpc_call *call);
pid_t rpc_call_pid(const struct rpc_call *call);
bool rpc_call_more(const struct rpc_call *call); /* the caller takes several */
/* Takes the INDEXth descriptor that came with the call; -1 if none. */
int rpc_call_take_fd(struct rpc_call *call, unsigned index);
/* Calls FN(arg) if the caller goes away before the answer is complete: from
 * the event loop (or rpc_server_free()), never while the method is at work.
 * CALL must be answered all the same; FN may do it. */
void rpc_call_on_hangup(struct rpc_call *call, void (*fn)(void *arg),
			void *arg);

/* The final reply; PARAMETERS is taken over (NULL: {}).  FDS stay the
 * caller's. */
void rpc_reply(struct rpc_call *call, json_t *parameters);
void rpc_reply_fds(struct rpc_call *call, json_t *parameters, const int *fds,
		   unsigned n);
/* One of several; only if rpc_call_more(). */
void rpc_reply_continues(struct rpc_call *call, json_t *parameters);
/* The same with a ready-made text, `{"parameters":{...},"continues":true}` or
 * without continues for the last, copied; for lists too long for json_t. */
void rpc_reply_text(struct rpc_call *call, const char *text, size_t bytes,
		    bool continues);
/* Bytes not yet taken by the caller's socket: a streaming producer pauses
 * while this is large and goes on when FN is called: from the event loop, once
 * nothing waits any more, after this was called and after each continued reply
 * since (so FN may produce nothing, one reply or many).  A caller that leaves
 * RPC_BACKLOG_BYTES_MAX unread is hung up on. */
size_t rpc_call_backlog(const struct rpc_call *call);
void rpc_call_on_drained(struct rpc_call *call, void (*fn)(void *arg),
			 void *arg);
void rpc_fail(struct rpc_call *call, const struct err *err);

/* ---- A client's side ---------------------------------------------------- */

struct rpc_client;

/* Connects to the unix socket PATH, at most TIMEOUT_MS (0: for ever).
 * -RP_EUNREACHABLE; -RP_EDENIED if its mode does not let us. */
int rpc_client_connect(const char *path, unsigned timeout_ms,
		       struct rpc_client **ret_client, struct err *err);
/* Takes FD over; NAME is what messages call the peer.  NULL: no memory. */
struct rpc_client *rpc_client_from_fd(int fd, const char *name);
/* Calls that are pending are dropped: their FN is not called. */
struct rpc_client *rpc_client_free(struct rpc_client *client);
int rpc_client_fd(const struct rpc_client *client);
/* uid of the process at the other end (SO_PEERCRED). */
uid_t rpc_client_peer_uid(const struct rpc_client *client);

/* From now on no blocking call lasts longer than TOTAL_MS (0: as long as it
 * takes), counted from here, however many replies it gets; then -RP_ETIMEOUT.
 */
void rpc_client_limit(struct rpc_client *client, unsigned total_ms);

/* Blocking: sends a call and waits up to TIMEOUT_MS (0: for ever) for its one
 * reply.  PARAMETERS is taken over.  *RET_PARAMETERS is the caller's. An error
 * reply becomes the negative code of its name, its message ERR's text.
 * Received descriptors go to RET_FDS (room for *N; *N set to how many). */
int rpc_call(struct rpc_client *client, const char *method, json_t *parameters,
	     const int *fds, unsigned n_fds, unsigned timeout_ms,
	     json_t **ret_parameters, int *ret_fds, unsigned *n_ret_fds,
	     struct err *err);

/* The same with "more": FN is called for every reply, with whether more
 * follow; its non-zero result ends the call (the connection is then spent, as
 * after a timeout) and is returned.  TIMEOUT_MS is for each reply anew. */
int rpc_call_more_replies(struct rpc_client *client, const char *method,
			  json_t *parameters, unsigned timeout_ms,
			  int (*fn)(void *arg, json_t *parameters,
				    bool continues),
			  void *arg, struct err *err);

/* The same with descriptors, which stay the caller's. */
int rpc_call_more_fds(struct rpc_client *client, const char *method,
		      json_t *parameters, const int *fds, unsigned n_fds,
		      unsigned timeout_ms,
		      int (*fn)(void *arg, json_t *parameters, bool continues),
		      void *arg, struct err *err);

/* The same for answers with lists too long for json_t: before a message (BYTES,
 * with a NUL behind) is parsed, CUT may shorten it in place and returns its new
 * length. */
int rpc_call_more_cut(struct rpc_client *client, const char *method,
		      json_t *parameters, unsigned timeout_ms,
		      size_t (*cut)(void *arg, char *text, size_t bytes),
		      int (*fn)(void *arg, json_t *parameters, bool continues),
		      void *arg, struct err *err);

/* The same without a tree: FN is told the text of each reply,
 * {"parameters":..}, with a NUL behind it, and may write to it (rpc/pull.h).
 * That it is JSON is FN's to find out. */
int rpc_call_more_text(struct rpc_client *client, const char *method,
		       json_t *parameters, unsigned timeout_ms,
		       int (*fn)(void *arg, char *text, size_t bytes),
		       void *arg, struct err *err);

/* Not blocking, on an event loop.  One attach per client; then any number of
 * calls, answered in order.  FN is called for each reply, with ERR (code 0: a
 * reply) and raw text of the whole message beside the parsed one, so that a
 * proxy can pass it on untouched; with code -RP_EUNREACHABLE for all calls
 * pending when the peer goes away, or answers a call without MORE with more.
 * Of FDS (N) FN takes what it sets to -1; the rest is closed behind it. */
typedef void rpc_reply_fn(void *arg, const struct err *err, json_t *parameters,
			  bool continues, const char *text, size_t bytes,
			  int *fds, unsigned n_fds);
int rpc_client_attach(struct rpc_client *client, sd_event *event,
		      void (*closed)(void *arg), void *arg, struct err *err);
int rpc_client_send(struct rpc_client *client, const char *method,
		    json_t *parameters, bool more, const int *fds,
		    unsigned n_fds, rpc_reply_fn *fn, void *arg,
		    struct err *err);
/* The same for a proxy: replies are not parsed, PARAMETERS is NULL and only the
 * text says what they are.  A tenth of the work for long lists. */
int rpc_client_send_through(struct rpc_client *client, const char *method,
			    json_t *parameters, bool more, const int *fds,
			    unsigned n_fds, rpc_reply_fn *fn, void *arg,
			    struct err *err);
/* Stops reading replies, so that the peer's backlog fills, and goes on. */
void rpc_client_pause(struct rpc_client *client, bool paused);

/* ---- Reading parameters -------------------------------------------------- */

enum rpc_field_type {
	RPC_STRING, /* const char *, borrowed from the json_t; NULL if absent */
	RPC_UINT,   /* uint64_t; at most 2^63 - 1 */
	RPC_BOOL,   /* bool */
	RPC_ARRAY,  /* json_t *, borrowed */
	RPC_OBJECT, /* json_t *, borrowed */
};

struct rpc_field {
	const char *name;
	enum rpc_field_type type;
	bool required;
	size_t max; /* RPC_STRING: bytes with NUL; RPC_ARRAY: items; 0: 4096 */
	void *target;  /* untouched if absent, null, or on failure */
	bool *present; /* may be NULL */
};

/* Checks PARAMETERS against FIELDS (ends with a NULL name): unknown members,
 * wrong types, missing and over-long ones are -RP_EPARAM, naming the member. */
int rpc_read_fields(json_t *parameters, const struct rpc_field *fields,
		    struct err *err);

#endif
