/* SPDX-License-Identifier: Apache-2.0 */
/*
 * refpoint-pull: lets whoever has the key read one snapshot over the network.
 *
 *	client ──NBD over TLS──► refpoint-pull ──NBD──► the snapshot's socket
 *
 * refpointd starts one for each snapshot that is to be read so, with a
 * listening TCP socket and a control socket, over which it tells the key and is
 * asked for connections to the snapshot.  Closing that socket ends the process
 * and with it every connection.
 *
 *   L1  Before TLS nothing is done for a client but to be told that it must
 *       come first; not a byte reaches the snapshot's server before a handshake
 *       has proved the key.
 *   L2  Who has not proved it may hold a connection for PULL_HANDSHAKE_MS, and
 *       there are at most PULL_HANDSHAKES_MAX of them; they take no place of
 *       those who have (PULL_CONNECTIONS_MAX).
 *   L3  The process opens nothing, connects to nothing and runs nothing: what
 *       it has it was given.
 *   L4  What lies between the two sockets is bounded by one connection's
 *       buffers: a client that does not read stops its server's sending alone.
 *   L5  A client whose host has vanished, or which takes nothing of an answer,
 *       has its place for PULL_VANISHED_MS and no longer.
 *
 * One thread for each connection, which may wait.
 */
#ifndef PULL_PULL_H
#define PULL_PULL_H

#include <gnutls/gnutls.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "common/err.h"
#include "common/pull.h"

struct pull {
	int control;
	int listener;
	pthread_mutex_t
	    lock; /* of the control socket: one question at a time */
	struct pull_key key;
	gnutls_psk_server_credentials_t credentials;
	gnutls_priority_t priority;
	_Atomic unsigned handshakes;
	_Atomic unsigned connections;
};

/* tls.c: the credentials and the priority; who has KEY is let in. */
int tls_prepare(struct pull *pull, struct err *err);

/* control.c: a connection to the snapshot's server; the caller's. */
int control_connect(struct pull *pull, int *ret_fd, struct err *err);

/* negotiate.c: from the greeting to the answer to STARTTLS, until DEADLINE_MS
 * (CLOCK_MONOTONIC).  *RET_FLAGS: what the client says it can do. */
int negotiate_client(int fd, uint64_t deadline_ms, uint32_t *ret_flags,
		     struct err *err);
/* The same words to the snapshot's server, on the client's behalf. */
int negotiate_server(int fd, uint64_t deadline_ms, uint32_t flags,
		     struct err *err);

/* relay.c: until either end closes.  Both sockets are non-blocking. */
int relay(gnutls_session_t tls, int client, int server, struct err *err);

/* connection.c: FD is taken over; counted in HANDSHAKES already. */
void connection_run(struct pull *pull, int fd);

/* wait.c */
uint64_t wait_now_ms(void);
/* For EVENTS of FD; -RP_ETIMEOUT. */
int wait_for(int fd, short events, uint64_t deadline_ms, struct err *err);
int wait_read(int fd, void *buf, size_t bytes, uint64_t deadline_ms,
	      struct err *err);
int wait_write(int fd, const void *buf, size_t bytes, uint64_t deadline_ms,
	       struct err *err);

#endif
