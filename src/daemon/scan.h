/* SPDX-License-Identifier: Apache-2.0 */
/* Which virtual systems there are when refpointd starts. */
#ifndef DAEMON_SCAN_H
#define DAEMON_SCAN_H

#include "daemon/daemon.h"

/* Reads stores and inventory; takes over workers that live. */
int scan(struct daemon *daemon, struct err *err);
/* Starts what shall be served, and workers to be asked for what the inventory
 * does not know.  The sockets must be listening. */
void scan_start(struct daemon *daemon);
/* Asks the next ones, at most REFRESHES_AT_ONCE at a time. */
void scan_next(struct daemon *daemon);

#endif
