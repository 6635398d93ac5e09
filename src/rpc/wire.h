/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages on a stream socket: bytes up to a NUL, with descriptors beside
 * them.  Knows nothing of JSON.
 *
 * Invariants:
 *  1. A struct wire_in holds bytes and descriptors of one message only.  It
 *     looks ahead (MSG_PEEK) and takes from the socket no byte behind the
 *     first NUL, so descriptors are never given to a neighbouring message,
 *     whatever the peer put into one sendmsg(2), and messages that wait stay
 *     in the kernel's buffer, which holds the peer back.
 *  2. It never holds more than RPC_MESSAGE_BYTES_MAX + 1 bytes and RPC_FDS_MAX
 *     descriptors; what comes beyond is refused and closed.
 *
 * Rejected: reading as much as there is and counting descriptors per read.
 * One read may return the end of a message without descriptors and a whole one
 * with them, and nothing says whose they are.
 */
#ifndef RPC_WIRE_H
#define RPC_WIRE_H

#include <stdbool.h>
#include <stddef.h>

#include "rpc/rpc.h"

struct wire_fds {
	int fd[RPC_FDS_MAX]; /* -1: taken */
	unsigned n;
};

/* Takes the INDEXth descriptor; -1 if there is none. */
int wire_fds_take(struct wire_fds *fds, unsigned index);
/* Closes those that nobody took. */
void wire_fds_close(struct wire_fds *fds);

struct wire_in {
	char *bytes;         /* NULL while empty; NUL-terminated when whole */
	size_t length, room; /* of bytes, without the NUL */
	struct wire_fds fds; /* may be moved out when whole */
};

/* Adds up to N bytes, at most one message's.  *RET_USED says how many.
 * Returns 1: a whole message is there; 0: more is needed; -RP_EWIRE: over-long;
 * -ENOMEM. */
int wire_in_add(struct wire_in *in, const char *bytes, size_t n,
		size_t *ret_used, struct err *err);

/* The same from the socket FD, not waiting.  Also -RP_EUNREACHABLE: the peer
 * has closed (or broken) the connection. */
int wire_in_receive(struct wire_in *in, int fd, struct err *err);

/* Ready for the next message; closes descriptors that nobody took. */
void wire_in_reset(struct wire_in *in);
void wire_in_done(struct wire_in *in);

struct wire_chunk;
struct wire_out {
	struct wire_chunk *first, *last;
	size_t backlog; /* bytes not yet taken by the socket */
};

/* Queues a message (a NUL is added); TEXT is copied, FDS are duplicated.
 * -RP_ELIMIT beyond RPC_BACKLOG_BYTES_MAX, -RP_EWIRE if TEXT is over-long,
 * -errno; then nothing was queued. */
int wire_out_add(struct wire_out *out, const char *text, size_t bytes,
		 const int *fds, unsigned n_fds, struct err *err);

/* Hands what the socket FD takes without waiting.  0, also when bytes remain;
 * -RP_EUNREACHABLE. */
int wire_out_flush(struct wire_out *out, int fd, struct err *err);
void wire_out_done(struct wire_out *out);

#endif
