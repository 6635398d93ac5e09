/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The method Systems: what gateways ask of all virtual systems at once, from
 * the inventory.
 */
#ifndef DAEMON_SYSTEMS_H
#define DAEMON_SYSTEMS_H

#include "daemon/daemon.h"

void systems_method(struct rpc_call *call, json_t *parameters, void *arg);

/* What a virtual system is, or which points it has, is known now, or could not
 * be had: calls that wait for it look again. */
void systems_settled(struct daemon *daemon);

#endif
