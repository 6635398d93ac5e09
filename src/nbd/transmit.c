/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands: checked against one table, handed to the disk, answered.
 *
 * A flush covers what was acknowledged on any connection, because a write is
 * acknowledged only after the disk completed it, and the disk's flush
 * covers all that it completed before.  A disk that is read-only has nothing to
 * flush.
 */
#include "nbd/session.h"

#include <assert.h>

static const struct command {
	const char *failed; /* what its error says when the disk fails it */
	uint16_t flags;     /* allowed, besides FUA, which always is */
	bool known;
	bool ranged;    /* offset and length mean a range of the disk */
	bool buffered;  /* carries data one way or the other */
	bool submitted; /* goes to the disk */
	bool changes;   /* refused where the disk is read-only */
	bool writes;    /* ENOSPC, not EINVAL, beyond the disk's end */
	enum volume_op op;
} commands[] = {
    [NBD_CMD_READ] = {"read failed", NBD_DF, true, true, true, true, false,
		      false, VOLUME_READ},
    [NBD_CMD_WRITE] = {"write failed", 0, true, true, true, true, true, true,
		       VOLUME_WRITE},
    [NBD_CMD_FLUSH] = {"flush failed", 0, true, false, false, true, false,
		       false, VOLUME_FLUSH},
    [NBD_CMD_TRIM] = {"trim failed", 0, true, true, false, true, true, false,
		      VOLUME_DISCARD},
    /* A hint: the flag says that it is understood, and the protocol lets us do
     * nothing.  We do: past the page cache there is nowhere to read ahead to,
     * and into it a range of 4 GiB would cost the host memory that nobody
     * bounds. */
    [NBD_CMD_CACHE] = {"cache failed", 0, true, true, false, false, false,
		       false, 0},
    [NBD_CMD_WRITE_ZEROES] = {"write zeroes failed", NBD_NO_HOLE, true, true,
			      false, true, true, true, VOLUME_ZERO},
    [NBD_CMD_BLOCK_STATUS] = {"the point is gone, select another", NBD_REQ_ONE,
			      true, true, false, false, false, false, 0},
};

uint16_t transmit_flags(const struct session *session, struct nbd_disk *disk)
{
	unsigned flags = NBD_HAS_FLAGS | NBD_SEND_FLUSH | NBD_CAN_MULTI_CONN |
			 NBD_SEND_CACHE;

	if (disk->read_only)
		flags |= NBD_READ_ONLY;
	else
		flags |= NBD_SEND_FUA | NBD_SEND_WRITE_ZEROES |
			 (disk->can_discard ? NBD_SEND_TRIM : 0u);
	if (session->structured)
		flags |= NBD_SEND_DF;
	return (uint16_t)flags;
}

static uint32_t error_of(int result)
{
	switch (err_errno(result)) {
	case 0:
		return NBD_OK;
	case EPERM:
	case EACCES:
	case EROFS:
		return NBD_EPERM;
	case ENOMEM:
		return NBD_ENOMEM;
	case EINVAL:
		return NBD_EINVAL;
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return NBD_ENOSPC;
	case ESHUTDOWN:
		return NBD_ESHUTDOWN;
	default:
		return NBD_EIO;
	}
}

static void refuse(struct request *request, uint32_t error, const char *text)
{
	request->error = error;
	request->text = text;
}

/* The range of a command that has one. */
static void check_range(const struct session *session, struct request *request,
			const struct command *command)
{
	uint64_t offset = request->volume.offset;
	uint64_t length = request->volume.length;
	uint64_t size = session->disk->bytes;

	if (length == 0)
		refuse(request, NBD_EINVAL, "a length of 0");
	else if (command->buffered && length > NBD_REQUEST_BYTES_MAX)
		refuse(request, NBD_EINVAL, "more than 32 MiB at once");
	else if (offset % SECTOR_BYTES || length % SECTOR_BYTES)
		refuse(request, NBD_EINVAL, "not aligned to 512 bytes");
	else if (offset > size || length > size - offset)
		refuse(request, command->writes ? NBD_ENOSPC : NBD_EINVAL,
		       "beyond the end of the disk");
}

static void check(const struct session *session, struct request *request)
{
	const struct command *command = &commands[request->command];
	unsigned allowed = NBD_FUA | command->flags;

	if (!session->structured)
		allowed &= ~NBD_DF;
	if (command->changes && session->disk->read_only)
		refuse(request, NBD_EPERM, "this disk is read-only");
	else if (request->flags & ~allowed)
		refuse(request, NBD_EINVAL, "flags this command does not have");
	else if (request->command == NBD_CMD_TRIM &&
		 !session->disk->can_discard)
		refuse(request, NBD_EINVAL, "this disk cannot trim");
	else if (request->command == NBD_CMD_BLOCK_STATUS &&
		 !session->context_count)
		refuse(request, NBD_EINVAL, "no meta context was selected");
	else if (command->ranged)
		check_range(session, request, command);
	else if (request->volume.offset || request->volume.length)
		refuse(request, NBD_EINVAL, "this command has no range");
}

static void volume_done(struct volume_request *volume, int result)
{
	struct request *request = container_of(volume, struct request, volume);
	struct session *session = request->session;

	session->submitted--;
	if (session->end == SESSION_BROKEN) {
		reply_release(session, request);
		session->ready(session);
		return;
	}
	if (result == -EOPNOTSUPP && request->command == NBD_CMD_TRIM)
		result = 0; /* it is only a hint */
	request->error = error_of(result);
	if (request->error)
		request->text = commands[request->command].failed;
	else if (request->command == NBD_CMD_READ)
		request->reply_bytes = request->volume.length;
	reply_queue(session, request);
}

static void submit(struct session *session, struct request *request)
{
	request->volume.op = commands[request->command].op;
	request->volume.flags =
	    (request->flags & NBD_FUA ? VOLUME_FUA : 0u) |
	    (request->flags & NBD_NO_HOLE ? VOLUME_NO_HOLE : 0u);
	request->volume.done = volume_done;
	session->submitted++;
	session->disk->ops->submit(session->disk, &request->volume);
}

static void status_run(struct errand *errand)
{
	struct request *request = container_of(errand, struct request, status);

	request->status_result = context_status(request->session, request);
}

static void status_back(struct ring_task *task)
{
	struct request *request =
	    container_of(task, struct request, status.back);
	struct session *session = request->session;

	session->submitted--;
	if (session->end == SESSION_BROKEN) {
		reply_release(session, request);
		session->ready(session);
		return;
	}
	if (request->status_result == -ESHUTDOWN)
		refuse(request, NBD_ESHUTDOWN, "the server ends");
	else if (request->status_result == -EIO)
		refuse(request, NBD_EIO, "the disk cannot be read");
	else if (request->status_result < 0)
		refuse(request, NBD_EIO, commands[request->command].failed);
	reply_queue(session, request);
}

static void ask_status(struct session *session, struct request *request)
{
	struct errand *errand = &request->status;

	errand->run = status_run;
	errand->back.run = status_back;
	session->submitted++;
	if (session->runner) {
		runner_run(session->runner, errand);
		return;
	}
	status_run(errand);
	status_back(&errand->back);
}

static uint64_t buffer_bytes(const struct session *session,
			     const struct request *request)
{
	if (request->error)
		return 0;
	if (request->command == NBD_CMD_BLOCK_STATUS)
		return context_status_bytes(session,
					    request->flags & NBD_REQ_ONE);
	return commands[request->command].buffered ? request->volume.length : 0;
}

/* Everything of the new request but its buffer. */
static void decode(struct session *session,
		   const struct nbd_request_header *header,
		   struct request *request)
{
	request->session = session;
	request->next = NULL;
	request->volume.offset = be64_get(header->offset);
	request->volume.length = be32_get(header->length);
	request->volume.data = NULL;
	request->buffer_bytes = 0;
	request->reply_bytes = 0;
	request->error = NBD_OK;
	request->text = NULL;
	request->command = be16_get(header->type);
	request->flags = be16_get(header->flags);
	memcpy(request->cookie, header->cookie, sizeof(request->cookie));
	if (request->command >= ARRAY_SIZE(commands) ||
	    !commands[request->command].known)
		refuse(request, NBD_EINVAL, "unknown command");
	else
		check(session, request);
}

/* -EAGAIN: later. */
static int add_buffer(struct session *session, struct request *request)
{
	uint64_t bytes = buffer_bytes(session, request);
	int r;

	if (!bytes) { /* nor does it need what it may have waited for */
		pool_forget(session->pool, &session->user);
		return 0;
	}
	r = pool_take(session->pool, &session->user, bytes,
		      &request->volume.data);
	if (r == -EAGAIN)
		return r;
	if (r < 0)
		refuse(request, NBD_ENOMEM, "no memory");
	else
		request->buffer_bytes = bytes;
	return 0;
}

static void copy_payload(struct session *session, struct request *request,
			 const uint8_t *bytes, uint64_t count)
{
	memcpy(request->volume.data, bytes, count);
	if (count == request->volume.length) {
		submit(session, request);
		return;
	}
	session->payload = request;
	session->payload_left = request->volume.length - count;
	session->state = SESSION_PAYLOAD;
}

static bool is_submitted(const struct session *session,
			 const struct request *request)
{
	return commands[request->command].submitted &&
	       !(session->disk->read_only && request->command == NBD_CMD_FLUSH);
}

/* Sends the request on its way; returns how many bytes of payload it took. */
static uint64_t start(struct session *session, struct request *request,
		      const uint8_t *bytes, uint64_t available)
{
	uint64_t count = MIN(available, request->volume.length);

	if (request->command == NBD_CMD_WRITE && !request->error) {
		copy_payload(session, request, bytes, count);
		return count;
	}
	if (request->command == NBD_CMD_WRITE && request->volume.length) {
		session->skip_left = request->volume.length;
		session->state = SESSION_SKIP;
	}
	if (!request->error && is_submitted(session, request))
		submit(session, request);
	else if (!request->error && request->command == NBD_CMD_BLOCK_STATUS)
		ask_status(session, request);
	else
		reply_queue(session, request);
	return 0;
}

int64_t transmit_request(struct session *session, const uint8_t *bytes,
			 uint64_t available)
{
	struct nbd_request_header header;
	struct request *request;

	memcpy(&header, bytes, sizeof(header));
	if (be32_get(header.magic) != NBD_REQUEST_MAGIC)
		return session_fail(session, "command without its magic");
	if (be16_get(header.type) == NBD_CMD_DISC) {
		session_stop(session);
		return sizeof(header);
	}
	if (session->requests >= NBD_REQUESTS_MAX)
		return -EAGAIN;
	request = pool_request(session->pool);
	if (!request)
		return session_fail(session, "no memory for a request");
	decode(session, &header, request);
	if (add_buffer(session, request) < 0) {
		pool_request_give(session->pool, request);
		return -EAGAIN;
	}
	session->requests++;
	return (int64_t)(sizeof(header) + start(session, request,
						bytes + sizeof(header),
						available - sizeof(header)));
}

void transmit_payload(struct session *session, uint64_t bytes)
{
	struct request *request = session->payload;

	assert(bytes <= session->payload_left);
	session->payload_left -= bytes;
	if (session->payload_left)
		return;
	session->payload = NULL;
	session->state = SESSION_REQUEST;
	submit(session, request);
}

int64_t transmit_skip(struct session *session, const uint8_t *bytes,
		      uint64_t available)
{
	uint64_t n = MIN(available, session->skip_left);

	session->skip_left -= n;
	if (!session->skip_left)
		session->state = SESSION_REQUEST;
	return (int64_t)n;
}
