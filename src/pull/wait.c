/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting for sockets that do not block, up to a moment. */
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

#include "common/bytes.h"
#include "pull/pull.h"

uint64_t wait_now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

int wait_for(int fd, short events, uint64_t deadline_ms, struct err *err)
{
	struct pollfd p = {.fd = fd, .events = events};
	uint64_t now = wait_now_ms();
	int n;

	if (now >= deadline_ms)
		return err_set(err, -RP_ETIMEOUT, "it took too long");
	n = poll(&p, 1, (int)MIN(deadline_ms - now, 60000u));
	return n < 0 && errno != EINTR ? err_set(err, -errno, "poll") : 0;
}

static bool again(void)
{
	return errno == EAGAIN || errno == EINTR;
}

int wait_read(int fd, void *buf, size_t bytes, uint64_t deadline_ms,
	      struct err *err)
{
	uint8_t *at = buf;
	int r = 0;

	while (r == 0 && bytes > 0) {
		ssize_t n = recv(fd, at, bytes, MSG_DONTWAIT);

		if (n == 0)
			return err_set(err, -RP_EUNREACHABLE, "it hung up");
		if (n < 0 && !again())
			return err_set(err, -errno, "receive");
		if (n < 0) {
			r = wait_for(fd, POLLIN, deadline_ms, err);
			continue;
		}
		at += n;
		bytes -= (size_t)n;
	}
	return r;
}

int wait_write(int fd, const void *buf, size_t bytes, uint64_t deadline_ms,
	       struct err *err)
{
	const uint8_t *at = buf;
	int r = 0;

	while (r == 0 && bytes > 0) {
		ssize_t n = send(fd, at, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && !again())
			return err_set(err, -errno, "send");
		if (n < 0) {
			r = wait_for(fd, POLLOUT, deadline_ms, err);
			continue;
		}
		at += n;
		bytes -= (size_t)n;
	}
	return r;
}
