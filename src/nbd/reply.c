/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers: queued as requests finish, sent in batches.
 *
 * A batch's headers are made one after the other in one array, so that those
 * of writes, which carry no data, go out as a single element; data is sent from
 * the request's own buffer.  A batch is not touched until all of it is sent,
 * however often the socket takes only a part.
 */
#include "nbd/session.h"

#include <assert.h>

void reply_queue(struct session *session, struct request *request)
{
	request->next = NULL;
	*session->last_reply = request;
	session->last_reply = &request->next;
	session->ready(session);
}

void reply_release(struct session *session, struct request *request)
{
	if (request->buffer_bytes)
		pool_give(session->pool, &session->user, request->volume.data,
			  request->buffer_bytes);
	pool_request_give(session->pool, request);
	session->requests--;
}

static size_t encode_simple(const struct request *request, uint8_t *head)
{
	struct nbd_simple_header h = {
	    .magic = be32_make(NBD_SIMPLE_MAGIC),
	    .error = be32_make(request->error),
	};

	memcpy(h.cookie, request->cookie, sizeof(h.cookie));
	memcpy(head, &h, sizeof(h));
	return sizeof(h);
}

static size_t encode_chunk(const struct request *request, uint16_t type,
			   size_t bytes, uint8_t *head)
{
	struct nbd_chunk_header h = {
	    .magic = be32_make(NBD_CHUNK_MAGIC),
	    .flags = be16_make(NBD_CHUNK_DONE),
	    .type = be16_make(type),
	    .bytes = be32_make((uint32_t)bytes),
	};

	memcpy(h.cookie, request->cookie, sizeof(h.cookie));
	memcpy(head, &h, sizeof(h));
	return sizeof(h);
}

static size_t encode_error(const struct request *request, uint8_t *head)
{
	size_t room = REPLY_HEAD_BYTES - sizeof(struct nbd_chunk_header) -
		      sizeof(struct nbd_chunk_error);
	size_t text = MIN(strlen(request->text), room);
	struct nbd_chunk_error e = {
	    .error = be32_make(request->error),
	    .text_bytes = be16_make((uint16_t)text),
	};
	size_t n =
	    encode_chunk(request, NBD_CHUNK_ERROR, sizeof(e) + text, head);

	memcpy(head + n, &e, sizeof(e));
	memcpy(head + n + sizeof(e), request->text, text);
	return n + sizeof(e) + text;
}

static size_t encode_data(const struct request *request, uint8_t *head)
{
	be64 offset = be64_make(request->volume.offset);
	size_t n = encode_chunk(request, NBD_CHUNK_OFFSET_DATA,
				sizeof(offset) + request->reply_bytes, head);

	memcpy(head + n, &offset, sizeof(offset));
	return n + sizeof(offset);
}

/* Only errors and data need the structured form; the simple one is shorter. */
static size_t encode(const struct session *session,
		     const struct request *request, uint8_t *head)
{
	if (!session->structured)
		return encode_simple(request, head);
	if (request->error)
		return encode_error(request, head);
	if (request->command == NBD_CMD_READ)
		return encode_data(request, head);
	if (request->command == NBD_CMD_BLOCK_STATUS)
		return 0; /* its chunks are in the buffer */
	return encode_simple(request, head);
}

/* Appends an element, or lengthens the last one. */
static void append(struct session *session, void *bytes, size_t count)
{
	if (session->iov_count) {
		struct iovec *last = &session->iov[session->iov_count - 1];

		if ((uint8_t *)last->iov_base + last->iov_len == bytes) {
			last->iov_len += count;
			return;
		}
	}
	assert((size_t)session->iov_count < ARRAY_SIZE(session->iov));
	session->iov[session->iov_count++] = (struct iovec){bytes, count};
}

static void fill_batch(struct session *session)
{
	struct request **last = &session->batch;
	uint8_t *head = session->heads;

	for (int i = 0; i < BATCH_REPLIES && session->replies; i++) {
		struct request *request = session->replies;
		size_t n = encode(session, request, head);

		session->replies = request->next;
		if (n)
			append(session, head, n);
		head += n;
		if (!request->error && request->reply_bytes)
			append(session, request->volume.data,
			       request->reply_bytes);
		*last = request;
		last = &request->next;
	}
	*last = NULL;
	if (!session->replies)
		session->last_reply = &session->replies;
}

int session_output(struct session *session, struct iovec **ret_iov)
{
	if (session->end == SESSION_BROKEN)
		return 0;
	if (!session->iov_count) {
		session->iov_next = 0;
		if (session->out_bytes) {
			append(session, session->out, session->out_bytes);
			session->sending_out = true;
		}
		fill_batch(session);
	}
	*ret_iov = &session->iov[session->iov_next];
	return session->iov_count - session->iov_next;
}

static void release_batch(struct session *session)
{
	struct request *request;

	session->iov_count = 0;
	if (session->sending_out) {
		session->sending_out = false;
		session->out_bytes = 0;
	}
	while ((request = session->batch)) {
		session->batch = request->next;
		reply_release(session, request);
	}
}

void session_unsent(struct session *session)
{
	assert(session->end == SESSION_BROKEN);
	release_batch(session);
}

void session_sent(struct session *session, size_t bytes)
{
	while (bytes) {
		struct iovec *iov = &session->iov[session->iov_next];
		size_t n = MIN(bytes, iov->iov_len);

		assert(session->iov_next < session->iov_count);
		iov->iov_base = (uint8_t *)iov->iov_base + n;
		iov->iov_len -= n;
		bytes -= n;
		if (iov->iov_len == 0)
			session->iov_next++;
	}
	if (session->iov_count && session->iov_next == session->iov_count) {
		release_batch(session);
		session_resume(session);
	}
}
