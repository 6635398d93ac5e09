/* SPDX-License-Identifier: Apache-2.0 */
/* refpointd's listening sockets: those that systemd passed by name, the others
 * bound by itself. */
#ifndef DAEMON_SOCKETS_H
#define DAEMON_SOCKETS_H

#include "daemon/daemon.h"

/* Binds and listens on the unix socket PATH, its mode 0777 less UMASK.  What a
 * dead process left at PATH is replaced; -RP_EINUSE if somebody listens there,
 * or if it is no socket. */
int sockets_bind(const char *path, mode_t mask, int backlog, int *ret_fd,
		 struct err *err);

/* A socket's name that its listener left. */
bool sockets_is_dead(const char *path);

/* All of daemon->server's. */
int sockets_listen(struct daemon *daemon, struct err *err);

#endif
