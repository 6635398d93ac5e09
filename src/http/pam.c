/* SPDX-License-Identifier: Apache-2.0 */
#include "http/pam.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"

static bool send_request(int fd, const struct pam_request *request, int answer)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)request,
			    .iov_len = sizeof(*request)};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.bytes,
			     .msg_controllen = sizeof(control.bytes)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	ssize_t n;

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	(void)memcpy(CMSG_DATA(c), &answer, sizeof(int));
	do
		n = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)sizeof(*request);
}

static bool await(int fd, struct pam_reply *ret)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int r;

	do
		r = poll(&p, 1, AUTH_PAM_MS);
	while (r < 0 && errno == EINTR);
	return r == 1 && recv(fd, ret, sizeof(*ret), MSG_DONTWAIT) ==
			     (ssize_t)sizeof(*ret);
}

int pam_connect(const char *path, int *ret_fd, struct err *err)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = -1;

	if (strlen(path) >= sizeof(sun.sun_path))
		return err_set(err, -ENAMETOOLONG, "'%s'", path);
	(void)strcpy(sun.sun_path, path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0)
		return err_set(err, -errno, "connect to '%s'", path);
	*ret_fd = fd;
	fd = -1;
	return 0;
}

bool pam_check(int fd, const char *user, const char *password,
	       uint32_t *ret_groups)
{
	_cleanup_close_ int ours = -1;
	struct pam_request request = {0};
	struct pam_reply reply = {0};
	int pair[2];
	bool ok;

	if (strlen(user) >= sizeof(request.user) ||
	    strlen(password) >= sizeof(request.password) ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return false;
	ours = pair[0];
	(void)strcpy(request.user, user);
	(void)strcpy(request.password, password);
	ok = send_request(fd, &request, pair[1]);
	explicit_bzero(&request, sizeof(request));
	(void)close(pair[1]);
	if (!ok || !await(ours, &reply) || reply.granted != 1)
		return false;
	*ret_groups = reply.groups;
	return true;
}
