/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the gateway gives up, so that who takes it over gets what an operator
 * may ask refpointd for, the passwords of those who call meanwhile, and nothing
 * else.
 *
 * It keeps reading what the C library, PAM's and Kerberos' libraries look up
 * (/etc, libraries, sssd's maps), the directories of the files that its options
 * name, so that they can be replaced, and writing to its own directory and
 * below the one that exports may be written to.  It may talk to unix sockets
 * (refpointd, refpoint-pam, nscd, sssd, systemd) but make no other socket: the
 * doors are open already, and no address that a client gives can be connected
 * to.
 *
 * Names from the network (LDAP without sssd or nslcd) cannot be looked up from
 * here.
 */
#ifndef GATEWAY_CONFINE_H
#define GATEWAY_CONFINE_H

#include "gateway/gateway.h"

/* For this thread and those it makes; before there are others. */
int confine_enter(const struct gateway *gateway, struct err *err);
/* For all threads; what is not allowed fails. */
int confine_seal(struct err *err);

#endif
