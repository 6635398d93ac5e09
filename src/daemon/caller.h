/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who stands behind a call: the gateway is one user of this machine and serves
 * many of its own, so it says whom, for the audit line.  Nothing is allowed or
 * refused by it.
 */
#ifndef DAEMON_CALLER_H
#define DAEMON_CALLER_H

#include "common/limits.h"
#include "rpc/rpc.h"

struct caller {
	char name[CALLER_NAME_BYTES]; /* "": not said */
	char role[CALLER_ROLE_BYTES];
};

/* Moves `caller` from the parameters of a call over ROLE's socket to
 * *RET_CALLER.  -RP_EPARAM: it is malformed, or ROLE is not the gateway's. */
int caller_take(json_t *parameters, enum rpc_role role,
		struct caller *ret_caller, struct err *err);

#endif
