/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots that are read over the network, each through a refpoint-pull of its
 * own (pull/pull.h).
 *
 *   1  A key is made for one snapshot, told once, kept nowhere, and good for as
 *      long as its refpoint-pull lives: until the snapshot is dropped,
 *      converted or known to be invalid, its virtual system is not to be served
 *      any more, or refpointd ends.
 *   2  refpoint-pull has no way to any socket but by asking us, and we connect
 *      to none but that of its snapshot, which is of our own making.
 *   3  A worker's death leaves the key good: connections are lost, and new ones
 *      refused until its successor listens.
 */
#ifndef DAEMON_PULL_H
#define DAEMON_PULL_H

#include "daemon/vm.h"

/* Listen. */
void pull_method(struct rpc_call *call, json_t *parameters, void *arg);

/* The snapshot is of no more use to anybody; NULL: none of VM's is. */
void pulls_end(struct vm *vm, const struct guid *snapshot);
/* All of VM's snapshots are known: others are gone. */
void pulls_tidy(struct vm *vm);

#endif
