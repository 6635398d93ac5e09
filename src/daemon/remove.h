/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a virtual system's files. */
#ifndef DAEMON_REMOVE_H
#define DAEMON_REMOVE_H

#include "daemon/daemon.h"

/* Removes the store, the tombstone, the run and the live directory of VM, whose
 * worker has ended.  The store vanishes by one durable rename; what takes time
 * is done behind the caller's back.  What is not there is no error. */
int remove_vm(struct daemon *daemon, const char *vm, struct err *err);

/* Finishes what an earlier refpointd began. */
void remove_rests(struct daemon *daemon);

#endif
