/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the gateway and refpoint-pam, its helper with root's rights, say to
 * each other.  A request is one packet on a SOCK_SEQPACKET pair, with a
 * descriptor of a socket of its own, on which the answer comes as one packet;
 * if it is closed without one, the attempt failed.  refpoint-pam makes a child
 * for each request.
 *
 *   refpoint-pam --fd N [--service NAME] --group NAME [--group NAME ...]
 *
 * N is one end of a pair whose other end the gateway has, or a connection that
 * systemd accepted for it (dist/systemd/refpoint-pam.socket).  For the gateway
 * the first group is that of operators, the second that of readers.
 *
 * A user is let in who passes PAM's auth and account phases, is not root, and
 * is a member of at least one of the groups.
 */
#ifndef HTTP_PAM_H
#define HTTP_PAM_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/limits.h"

#define PAM_HELPER_SERVICE "refpoint-cim"

struct pam_request {
	char user[AUTH_NAME_BYTES]; /* both with NUL */
	char password[AUTH_PASSWORD_BYTES];
};

struct pam_reply {
	uint32_t granted; /* 0 or 1 */
	uint32_t groups;  /* bit n: is in the n-th --group */
};

/* Connects to the socket that systemd listens on. */
int pam_connect(const char *path, int *ret_fd, struct err *err);

/* False also if the helper is gone or takes longer than AUTH_PAM_MS. */
bool pam_check(int fd, const char *user, const char *password,
	       uint32_t *ret_groups);

#endif
