/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/limits.h"
#include "pull/pull.h"

/* One byte, and maybe a descriptor.  Returns the byte, 0 at the end. */
static int receive(int control, int *ret_fd)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} space;
	char byte = 0;
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &space,
			     .msg_controllen = sizeof(space)};
	struct cmsghdr *c;
	ssize_t n = recvmsg(control, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

	*ret_fd = -1;
	c = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
	    c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
	return n > 0 ? byte : 0;
}

static int ask(struct pull *pull, int *ret_fd, struct err *err)
{
	const char question = PULL_CONNECT;
	int r;

	if (send(pull->control, &question, 1, MSG_NOSIGNAL) != 1)
		return err_set(err, -errno, "refpointd is gone");
	r = wait_for(pull->control, POLLIN, wait_now_ms() + PULL_ASK_MS, err);
	if (r < 0)
		return r;
	r = receive(pull->control, ret_fd);
	if (r == PULL_CONNECT && *ret_fd >= 0)
		return 0;
	if (*ret_fd >= 0)
		(void)close(*ret_fd);
	if (r == PULL_REFUSED)
		return err_set(err, -RP_ENOPOINT, "nobody serves it now");
	/* a late answer would be taken for that to the next question */
	_exit(EXIT_FAILED);
}

int control_connect(struct pull *pull, int *ret_fd, struct err *err)
{
	int r;

	(void)pthread_mutex_lock(&pull->lock);
	r = ask(pull, ret_fd, err);
	(void)pthread_mutex_unlock(&pull->lock);
	return r;
}
