/* SPDX-License-Identifier: Apache-2.0 */
#include "target/serve.h"

#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/target.h"

#define FDS_MAX   (TARGET_FILES_FROM + EXPORT_FILES_MAX)
#define WRITE_MAX MIB(1) /* of one call: it can be killed after */

struct server {
	int channel;
	uint8_t *memory;
	uint32_t messages; /* that were read */
	bool begun, over;
	int fds[FDS_MAX]; /* the memory, what is held, the files */
	unsigned n_fds;
};

static unsigned count_files(const struct server *s)
{
	return s->n_fds - TARGET_FILES_FROM;
}

/* That may wait as a write does. */
static void close_files(struct server *s)
{
	while (s->n_fds > TARGET_FILES_FROM)
		(void)close(s->fds[--s->n_fds]);
}

/* ---- Orders: each returns 0, an errno, or a target_error -------------------
 */

static uint32_t check_file(int fd, struct stat *ret_stat)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fstat(fd, ret_stat) < 0)
		return (uint32_t)errno;
	if ((flags & (O_ACCMODE | O_APPEND | O_PATH)) != O_RDWR)
		return TARGET_EMODE;
	if (!S_ISREG(ret_stat->st_mode) || ret_stat->st_size != 0)
		return TARGET_EFILLED;
	return 0;
}

/* What a descriptor is was decided by whoever opened it; here is only made sure
 * that it can be filled, and that what has content already is let alone. */
static uint32_t begin(struct server *s, const struct target_order *order,
		      struct target_answer *answer)
{
	struct stat stats[EXPORT_FILES_MAX];
	const int *files = s->fds + TARGET_FILES_FROM;

	if (s->begun || order->length != count_files(s))
		return TARGET_EORDER;
	s->begun = true;
	for (unsigned i = 0; i < count_files(s); i++) {
		uint32_t e = check_file(files[i], &stats[i]);

		answer->file = i;
		if (e)
			return e;
		for (unsigned k = 0; k < i; k++) {
			answer->other = k;
			if (stats[k].st_ino == stats[i].st_ino &&
			    stats[k].st_dev == stats[i].st_dev)
				return TARGET_ESAME;
		}
	}
	return 0;
}

static uint32_t write_all(int fd, const uint8_t *from, uint64_t at,
			  uint64_t bytes)
{
	while (bytes > 0) {
		ssize_t n = pwrite(fd, from, MIN(bytes, WRITE_MAX), (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? (uint32_t)errno : EIO;
		from += n;
		at += (uint64_t)n;
		bytes -= (uint64_t)n;
	}
	return 0;
}

/* A file system that cannot say so is synced in the end by whoever opened the
 * file. */
static uint32_t sync_range(int fd, const struct target_order *order)
{
	unsigned flags = SYNC_FILE_RANGE_WRITE;

	if (order->op == TARGET_SYNC_WAIT)
		flags |=
		    SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WAIT_AFTER;
	if (sync_file_range(fd, (off_t)order->offset, (off_t)order->length,
			    flags) == 0 ||
	    (errno != EIO && errno != ENOSPC && errno != EDQUOT))
		return 0;
	return (uint32_t)errno;
}

static bool is_sound(const struct server *s, const struct target_order *order)
{
	if (!s->begun || s->over)
		return false;
	if (order->op == TARGET_END)
		return true;
	if (order->file >= count_files(s) || order->offset > INT64_MAX ||
	    order->length > INT64_MAX - order->offset)
		return false;
	return order->op != TARGET_WRITE ||
	       (order->memory <= TARGET_MEMORY_BYTES &&
		order->length <= TARGET_MEMORY_BYTES - order->memory);
}

static uint32_t carry_out(struct server *s, const struct target_order *order,
			  struct target_answer *answer)
{
	int fd;

	if (order->op == TARGET_BEGIN)
		return begin(s, order, answer);
	if (!is_sound(s, order))
		return TARGET_EORDER;
	if (order->op == TARGET_END) {
		s->over = true;
		return 0;
	}
	answer->file = order->file;
	fd = s->fds[TARGET_FILES_FROM + order->file];
	switch (order->op) {
	case TARGET_WRITE:
		return write_all(fd, s->memory + order->memory, order->offset,
				 order->length);
	case TARGET_SYNC_BEGIN:
	case TARGET_SYNC_WAIT:
		return sync_range(fd, order);
	case TARGET_LENGTH:
		return ftruncate(fd, (off_t)order->offset) < 0 ? (uint32_t)errno
							       : 0;
	default:
		return TARGET_EORDER;
	}
}

/* ---- Messages --------------------------------------------------------------
 */

/* A message, unless the worker is gone. */
static bool await(int channel)
{
	struct pollfd p = {.fd = channel, .events = POLLIN | POLLRDHUP};

	while (poll(&p, 1, -1) < 0)
		if (errno != EINTR)
			return false;
	return p.revents == POLLIN;
}

static int answer_one(struct server *s, const struct target_order *orders,
		      size_t n, struct err *err)
{
	struct target_answer answer = {.number = s->messages++};

	for (size_t i = 0; i < n && !answer.error; i++)
		answer.error = carry_out(s, &orders[i], &answer);
	if (answer.error)
		s->over = true;
	if (s->over)
		close_files(s);
	if (send(s->channel, &answer, sizeof(answer), MSG_NOSIGNAL) < 0)
		s->over = true; /* nobody is there */
	return answer.error == TARGET_EORDER
		   ? err_set(err, -RP_EWIRE, "the worker orders nonsense")
		   : 0;
}

static int serve(struct server *s, struct err *err)
{
	/* one more: a longer message is seen to be one */
	static struct target_order orders[TARGET_ORDERS_MAX + 1];
	int r = 0;

	while (r == 0 && !s->over && await(s->channel)) {
		ssize_t n = recv(s->channel, orders, sizeof(orders), 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			break;
		if (n == 0 || (size_t)n % sizeof(orders[0]) ||
		    (size_t)n == sizeof(orders))
			return err_set(err, -RP_EWIRE,
				       "the worker sends nonsense");
		r = answer_one(s, orders, (size_t)n / sizeof(orders[0]), err);
	}
	return r;
}

/* ---- The descriptors -------------------------------------------------------
 */

static void take(struct server *s, const struct cmsghdr *c)
{
	const unsigned char *data = CMSG_DATA(c);
	size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

	for (size_t i = 0; i < n; i++) {
		int fd;

		memcpy(&fd, data + i * sizeof(fd), sizeof(fd));
		if (s->n_fds < FDS_MAX)
			s->fds[s->n_fds++] = fd;
		else
			(void)close(fd);
	}
}

static int receive(struct server *s, struct err *err)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} space = {.bytes = {0}};
	char byte;
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &space,
			     .msg_controllen = sizeof(space)};

	if (recvmsg(s->channel, &msg, MSG_CMSG_CLOEXEC) <= 0)
		return err_set(err, -RP_EWIRE, "refpointd says nothing");
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c;
	     c = CMSG_NXTHDR(&msg, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
			take(s, c);
	if (msg.msg_flags & MSG_CTRUNC || s->n_fds < TARGET_FILES_FROM)
		return err_set(err, -RP_EWIRE, "the files did not come");
	return target_map(s->fds[0], &s->memory, err);
}

int target_serve(int channel, struct err *err)
{
	struct server s = {.channel = channel};
	int r = receive(&s, err);

	if (r == 0)
		r = serve(&s, err);
	if (s.memory)
		(void)munmap(s.memory, TARGET_MEMORY_BYTES);
	while (s.n_fds > 0)
		(void)close(s.fds[--s.n_fds]);
	return r;
}
