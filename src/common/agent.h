/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the agent in a guest is reached, as a definition says it:
 *
 *	/PATH            the unix socket of the channel's chardev in QEMU
 *	libvirt:DOMAIN   through libvirt, which owns the socket of its domains
 *	""               there is none
 */
#ifndef COMMON_AGENT_H
#define COMMON_AGENT_H

#include <stdbool.h>

#include "common/err.h"
#include "common/limits.h"

/* -RP_EPARAM. */
int agent_check(const char *agent, struct err *err);
/* The domain's name or UUID; NULL: it is a socket, or none. */
const char *agent_domain(const char *agent);

#endif
