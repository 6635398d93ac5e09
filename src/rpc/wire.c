/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/wire.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/limits.h"

#define READ_BYTES  65536u /* looked at by one recv(2) */
#define FIRST_BYTES 4096u  /* a new buffer */
#define KEEP_BYTES  65536u /* a buffer that is kept for the next message */

int wire_fds_take(struct wire_fds *fds, unsigned index)
{
	int fd;

	if (index >= fds->n)
		return -1;
	fd = fds->fd[index];
	fds->fd[index] = -1;
	return fd;
}

void wire_fds_close(struct wire_fds *fds)
{
	for (unsigned i = 0; i < fds->n; i++)
		if (fds->fd[i] >= 0)
			(void)close(fds->fd[i]);
	fds->n = 0;
}

/* ---- In ----------------------------------------------------------------- */

/* Makes room for up to WANT more bytes, but at least one. */
static int in_reserve(struct wire_in *in, size_t want, struct err *err)
{
	size_t max = RPC_MESSAGE_BYTES_MAX + 1, room = in->room;
	char *bytes;

	if (in->length > RPC_MESSAGE_BYTES_MAX)
		return err_set(err, -RP_EWIRE,
			       "a message is longer than %u bytes",
			       (unsigned)RPC_MESSAGE_BYTES_MAX);
	want = MIN(in->length + want, max);
	if (room >= want)
		return 0;
	room = room ? room : FIRST_BYTES;
	while (room < want)
		room *= 2;
	room = MIN(room, max);
	bytes = realloc(in->bytes, room);
	if (!bytes)
		return err_set(err, -ENOMEM, "receive a message");
	in->bytes = bytes;
	in->room = room;
	return 0;
}

/* N bytes, the last of which may be the NUL, are behind in->length now. */
static int in_advance(struct wire_in *in, size_t n, struct err *err)
{
	in->length += n;
	if (in->bytes[in->length - 1] == '\0') {
		in->length--;
		return 1;
	}
	return in_reserve(in, 1, err);
}

static size_t up_to_nul(const char *bytes, size_t n)
{
	const char *nul = memchr(bytes, '\0', n);

	return nul ? (size_t)(nul - bytes) + 1 : n;
}

int wire_in_add(struct wire_in *in, const char *bytes, size_t n,
		size_t *ret_used, struct err *err)
{
	int r;

	*ret_used = 0;
	if (n == 0)
		return 0;
	n = up_to_nul(bytes, n);
	r = in_reserve(in, n, err);
	if (r < 0)
		return r;
	n = MIN(n, in->room - in->length);
	memcpy(in->bytes + in->length, bytes, n);
	*ret_used = n;
	return in_advance(in, n, err);
}

static void in_keep_fds(struct wire_in *in, const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (in->fds.n < RPC_FDS_MAX)
			in->fds.fd[in->fds.n++] = fds[i];
		else
			(void)close(fds[i]);
	}
}

static void in_keep_control(struct wire_in *in, struct msghdr *msg)
{
	struct cmsghdr *c;

	for (c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		int fds[RPC_FDS_MAX];
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = MIN(n, (size_t)RPC_FDS_MAX);
		memcpy(fds, CMSG_DATA(c), n * sizeof(int));
		in_keep_fds(in, fds, n);
	}
}

/* Takes N bytes that are known to wait; the kernel itself closes descriptors
 * for which the control buffer has no room. */
static ssize_t in_take(struct wire_in *in, int fd, size_t n)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(RPC_FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov = {in->bytes + in->length, n};
	struct msghdr msg = {
	    .msg_iov = &iov,
	    .msg_iovlen = 1,
	    .msg_control = control.bytes,
	    .msg_controllen = sizeof(control.bytes),
	};
	ssize_t got = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (got >= 0)
		in_keep_control(in, &msg);
	return got;
}

static int in_receive_some(struct wire_in *in, int fd, struct err *err)
{
	ssize_t n;
	int r = in_reserve(in, READ_BYTES, err);

	if (r < 0)
		return r;
	n = recv(fd, in->bytes + in->length,
		 MIN(in->room - in->length, (size_t)READ_BYTES),
		 MSG_PEEK | MSG_DONTWAIT);
	if (n > 0)
		n = in_take(in, fd,
			    up_to_nul(in->bytes + in->length, (size_t)n));
	if (n > 0) {
		r = in_advance(in, (size_t)n, err);
		return r == 0 ? -EINTR : r;
	}
	if (n == 0)
		return err_set(err, -RP_EUNREACHABLE,
			       "the other side closed the connection");
	if (errno == EINTR)
		return -EINTR;
	if (errno == EAGAIN)
		return 0;
	return err_set(err, -RP_EUNREACHABLE, "the connection broke: %s",
		       strerrordesc_np(errno));
}

int wire_in_receive(struct wire_in *in, int fd, struct err *err)
{
	int r;

	do {
		r = in_receive_some(in, fd, err);
	} while (r == -EINTR);
	return r;
}

void wire_in_reset(struct wire_in *in)
{
	wire_fds_close(&in->fds);
	in->length = 0;
	if (in->room > KEEP_BYTES) {
		free(in->bytes);
		in->bytes = NULL;
		in->room = 0;
	}
}

void wire_in_done(struct wire_in *in)
{
	wire_in_reset(in);
	free(in->bytes);
	*in = (struct wire_in){0};
}

/* ---- Out ---------------------------------------------------------------- */

struct wire_chunk {
	struct wire_chunk *next;
	size_t bytes, sent;
	unsigned n_fds; /* not yet sent */
	int fds[RPC_FDS_MAX];
	char text[];
};

static void chunk_close_fds(struct wire_chunk *chunk)
{
	for (unsigned i = 0; i < chunk->n_fds; i++)
		(void)close(chunk->fds[i]);
	chunk->n_fds = 0;
}

static struct wire_chunk *chunk_free(struct wire_chunk *chunk)
{
	chunk_close_fds(chunk);
	free(chunk);
	return NULL;
}

static int chunk_duplicate_fds(struct wire_chunk *chunk, const int *fds,
			       unsigned n, struct err *err)
{
	for (unsigned i = 0; i < n; i++) {
		int fd = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);

		if (fd < 0)
			return err_set(err, -errno, "pass a descriptor");
		chunk->fds[chunk->n_fds++] = fd;
	}
	return 0;
}

int wire_out_add(struct wire_out *out, const char *text, size_t bytes,
		 const int *fds, unsigned n_fds, struct err *err)
{
	struct wire_chunk *chunk;
	int r;

	if (bytes > RPC_MESSAGE_BYTES_MAX || memchr(text, '\0', bytes))
		return err_set(err, -RP_EWIRE,
			       "a message of %zu bytes cannot be sent", bytes);
	if (n_fds > RPC_FDS_MAX)
		return err_set(err, -RP_EWIRE, "%u descriptors are too many",
			       n_fds);
	if (out->backlog + bytes >= RPC_BACKLOG_BYTES_MAX)
		return err_set(err, -RP_ELIMIT,
			       "the other side does not read what it is sent");
	chunk = malloc(sizeof(*chunk) + bytes + 1);
	if (!chunk)
		return err_set(err, -ENOMEM, "send a message");
	*chunk = (struct wire_chunk){.bytes = bytes + 1};
	memcpy(chunk->text, text, bytes);
	chunk->text[bytes] = '\0';
	r = chunk_duplicate_fds(chunk, fds, n_fds, err);
	if (r < 0) {
		chunk_free(chunk);
		return r;
	}
	if (out->last)
		out->last->next = chunk;
	else
		out->first = chunk;
	out->last = chunk;
	out->backlog += chunk->bytes;
	return 0;
}

static ssize_t chunk_send(struct wire_chunk *chunk, int fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(RPC_FDS_MAX * sizeof(int))];
	} control = {0};
	struct iovec iov = {chunk->text + chunk->sent,
			    chunk->bytes - chunk->sent};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (chunk->n_fds > 0) {
		size_t size = chunk->n_fds * sizeof(int);

		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(size);
		control.align = (struct cmsghdr){
		    .cmsg_len = CMSG_LEN(size),
		    .cmsg_level = SOL_SOCKET,
		    .cmsg_type = SCM_RIGHTS,
		};
		memcpy(CMSG_DATA(&control.align), chunk->fds, size);
	}
	n = sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n > 0) {
		chunk->sent += (size_t)n;
		chunk_close_fds(chunk);
	}
	return n;
}

int wire_out_flush(struct wire_out *out, int fd, struct err *err)
{
	while (out->first) {
		struct wire_chunk *chunk = out->first;
		ssize_t n = chunk_send(chunk, fd);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n < 0)
			return err_set(err, -RP_EUNREACHABLE,
				       "the connection broke: %s",
				       strerrordesc_np(errno));
		out->backlog -= (size_t)n;
		if (chunk->sent < chunk->bytes)
			continue;
		out->first = chunk->next;
		if (!out->first)
			out->last = NULL;
		chunk_free(chunk);
	}
	return 0;
}

void wire_out_done(struct wire_out *out)
{
	while (out->first) {
		struct wire_chunk *next = out->first->next;

		chunk_free(out->first);
		out->first = next;
	}
	*out = (struct wire_out){0};
}
