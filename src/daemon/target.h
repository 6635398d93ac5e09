/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The refpoint-target of each export (target/serve.h).
 *
 *   1  We wait for none of them: one that its target keeps waiting lives on,
 *      and another export gets another.
 *   2  At most TARGETS_PER_VM_MAX of a virtual system live at once, those of
 *      exports that are over included: they end when their targets let them.
 *      Of those that an earlier refpointd started nothing is known.
 */
#ifndef DAEMON_TARGET_H
#define DAEMON_TARGET_H

#include "common/target.h"
#include "daemon/daemon.h"

/* Starts one for N FILES, which stay the caller's.  RET_FDS are for the worker,
 * the caller's to close.  -RP_ELIMIT. */
int target_start(struct daemon *daemon, const char *vm, const int *files,
		 unsigned n, int ret_fds[TARGET_FDS], struct err *err);

#endif
