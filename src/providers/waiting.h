/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls to refpointd that are under way, and how long each may be.
 *
 * Handlers are few (HTTP_THREADS), and one that waits for a worker serves
 * nobody else.  A worker that hangs, or was taken over, must not have them all.
 *
 * Y1  For an answer of one VM's worker, CIM_WAITERS_PER_VM callers wait as long
 *     as it may take, CIM_WAITERS_MAX for all VMs together.  Whoever comes on
 *     top of them waits BACKEND_BRIEF_MS and no longer, which is plenty for a
 *     worker that is well.
 * Y2  Where these waiters have waited for that long already, it is not well:
 *     the next caller is refused at once, with -RP_EINUSE.
 * Y3  waiting_stop(true) ends them all.
 */
#ifndef PROVIDERS_WAITING_H
#define PROVIDERS_WAITING_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/limits.h"

struct waiting {
	struct waiting *prev, *next;
	int fd;                 /* -1: not connected yet */
	char vm[VM_NAME_BYTES]; /* "": of no worker, or brief */
	uint64_t began_ms;
};

/* VM is whose worker has to answer, NULL: refpointd does by itself.
 * *RET_TOTAL_MS is what the call may take of the TOTAL_MS it asks for.
 * -RP_EINUSE (Y2); -RP_ECANCELLED (Y3). */
int waiting_begin(struct waiting *call, const char *vm, unsigned total_ms,
		  unsigned *ret_total_ms, struct err *err);
/* FD is what it waits on from now on; -RP_ECANCELLED (Y3). */
int waiting_connected(struct waiting *call, int fd, struct err *err);
/* Before FD is closed. */
void waiting_end(struct waiting *call);

/* From now on every call fails at once, those under way included; or no more.
 */
void waiting_stop(bool stop);

#endif
