/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One question to a worker, on a connection of its own, so that a call that
 * takes long delays no other and giving up is closing the connection.
 */
#ifndef DAEMON_LINK_H
#define DAEMON_LINK_H

#include "daemon/daemon.h"

struct link;

/* As rpc_reply_fn; the link is gone when the final one returns. */
typedef rpc_reply_fn link_fn;

/* Calls METHOD ("Status") of VM's worker; PARAMETERS is taken over, FDS stay
 * the caller's.  FN is called from the loop only, with code -RP_ETIMEOUT if
 * the answer is not complete after TIMEOUT_MS (0: never), which begin anew with
 * every LINK_PROGRESS_BYTES of it.  -RP_EUNREACHABLE where no
 * worker listens, or one of another user: FN is not called then. */
int link_call(struct daemon *daemon, const char *vm, const char *method,
	      json_t *parameters, bool more, const int *fds, unsigned n_fds,
	      uint64_t timeout_ms, link_fn *fn, void *arg,
	      struct link **ret_link, struct err *err);

/* The same for an answer that is only passed on: it is not parsed, FN gets no
 * parameters but the text, which need not be JSON. */
int link_call_through(struct daemon *daemon, const char *vm, const char *method,
		      json_t *parameters, bool more, const int *fds,
		      unsigned n_fds, uint64_t timeout_ms, link_fn *fn,
		      void *arg, struct link **ret_link, struct err *err);

/* Gives the answer up: FN is not called any more.  NULL is accepted. */
void link_cancel(struct link *link);

/* Stops and resumes reading; time does not run while paused. */
void link_pause(struct link *link, bool paused);

#endif
