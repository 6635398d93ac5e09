/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots that are read over the network, each through a refpoint-pull of its
 * own (pull/pull.h).
 *
 *   1  A key is made for one snapshot, told once, kept nowhere, and good for as
 *      long as its refpoint-pull lives: until the snapshot is dropped,
 *      converted or invalid, its virtual system is not to be served any more,
 *      refpointd ends, or it is asked for (Unlisten).  A snapshot has one at a
 *      time.  That it is invalid its worker says as soon as it is; one that
 *      fails to is asked again.
 *   2  refpoint-pull has no way to any socket but by asking us, and we connect
 *      to none but that of its snapshot, which is of our own making.
 *   3  A worker's death leaves the key good: connections are lost, and new ones
 *      refused until its successor listens.
 */
#ifndef DAEMON_PULL_H
#define DAEMON_PULL_H

#include "common/pull.h"
#include "daemon/vm.h"

struct request;
struct pull;

/* listen.c */
void listen_method(struct rpc_call *call, json_t *parameters, void *arg);
void unlisten_method(struct rpc_call *call, json_t *parameters, void *arg);

/* The one of SNAPSHOT; NULL: the first of VM's.  There is one at most. */
struct pull *pull_find(struct daemon *daemon, const char *vm,
		       const struct guid *snapshot);
/* On success REQUEST is taken over, and answered with REPLY once clients are
 * accepted on LISTENER, which stays the caller's, as REPLY does.  -RP_ELIMIT.
 */
int pull_start(struct request *request, const struct guid *snapshot,
	       int listener, const struct pull_key *key, json_t *reply,
	       struct err *err);
/* Ends it; REQUEST, taken over, is answered when its port is closed. */
void pull_stop(struct pull *pull, struct request *request);

/* The snapshot is of no more use to anybody; NULL: none of VM's is. */
void pulls_end(struct vm *vm, const struct guid *snapshot);
/* VM's worker serves: it is asked to say when a snapshot that is read ends. */
void pulls_watch(struct vm *vm);
/* All of VM's snapshots are known: others are gone. */
void pulls_tidy(struct vm *vm);

#endif
