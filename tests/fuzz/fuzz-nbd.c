/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The NBD front without sockets: one session, fed by a client's bytes.
 *
 * The input is a script.  Its first byte chooses how many of the two disks
 * there are (bit 0), whether requests fail (bit 1) and whether the first disk
 * is read-only (bit 2); then pieces follow, each of 16 bits: the low 12 are how
 * many of the next bytes arrive (0: none), the high 4 what happens after: 1
 * requests complete, 2 all output is sent, 4 one byte of output is sent, 8 one
 * request completes.
 *
 * Checked besides memory: output is made of whole messages that a client can
 * take apart; every request that was taken is answered; nothing is left held
 * at the end; and after everything was sent, the session reads on.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake-volume.h"
#include "fuzz.h"
#include "nbd/session.h"

/* A client that takes the server's bytes apart, one message after another. */
struct reader {
	uint8_t *bytes;
	size_t count;
	size_t room;
};

struct run {
	struct session session;
	struct reader reader;
};

/* One for all runs, so that large buffers need not be paged in each time. */
static struct pool pool;

static void ready(struct session *session)
{
}

static void keep(struct reader *reader, const void *bytes, size_t count)
{
	if (reader->count + count > reader->room) {
		reader->room = 2 * (reader->count + count);
		reader->bytes = realloc(reader->bytes, reader->room);
		CHECK(reader->bytes);
	}
	memcpy(reader->bytes + reader->count, bytes, count);
	reader->count += count;
}

static void send_some(struct run *run, size_t max)
{
	struct iovec *iov;
	int n;

	while (max && (n = session_output(&run->session, &iov)) > 0) {
		size_t sent = 0;

		for (int i = 0; i < n && sent < max; i++) {
			size_t bytes = MIN(iov[i].iov_len, max - sent);

			CHECK(bytes > 0);
			keep(&run->reader, iov[i].iov_base, bytes);
			sent += bytes;
		}
		max -= sent;
		session_sent(&run->session, sent);
	}
}

/* As much of DATA as the session takes now; returns how much. */
static size_t feed(struct run *run, const uint8_t *data, size_t size)
{
	struct iovec iov[2];
	int n = session_input(&run->session, iov);
	size_t fed = 0;

	for (int i = 0; i < n && fed < size; i++) {
		size_t bytes = MIN(iov[i].iov_len, size - fed);

		CHECK(iov[i].iov_len > 0);
		memcpy(iov[i].iov_base, data + fed, bytes);
		fed += bytes;
	}
	if (fed)
		session_received(&run->session, fed);
	return fed;
}

static void grant(void)
{
	struct pool_user *user;

	while ((user = pool_next(&pool)))
		session_resume(container_of(user, struct session, user));
}

/* Requests complete and answers are sent, until nothing moves. */
static void settle(struct run *run, struct fake_host *host)
{
	do {
		send_some(run, SIZE_MAX);
		grant();
	} while (fake_complete(host, UINT32_MAX));
	send_some(run, SIZE_MAX);
}

static size_t get(const struct reader *reader, size_t at, unsigned bytes)
{
	size_t value = 0;

	for (unsigned i = 0; i < bytes; i++)
		value = value << 8 | reader->bytes[at + i];
	return value;
}

/* The length of the message at AT; 0 if it is cut off. */
static size_t message(const struct reader *reader, size_t at)
{
	size_t left = reader->count - at, bytes;

	if (left >= 20 && get(reader, at, 8) == NBD_OPTION_REPLY_MAGIC)
		bytes = 20 + get(reader, at + 16, 4);
	else if (left >= 20 && get(reader, at, 4) == NBD_CHUNK_MAGIC)
		bytes = 20 + get(reader, at + 16, 4);
	else if (left >= 16 && get(reader, at, 4) == NBD_SIMPLE_MAGIC)
		bytes = 16;
	else
		return 0;
	return bytes <= left ? bytes : 0;
}

/* With structured replies, and without EXPORT_NAME, all can be told apart. */
static void check_output(const struct run *run)
{
	const struct reader *reader = &run->reader;
	size_t at = sizeof(struct nbd_greeting), bytes;

	CHECK(reader->count >= at);
	CHECK(get(reader, 0, 8) == NBD_MAGIC);
	if (!run->session.structured ||
	    run->session.option == NBD_OPT_EXPORT_NAME)
		return;
	while (at < reader->count && (bytes = message(reader, at)))
		at += bytes;
	CHECK(at == reader->count);
}

static void step(struct run *run, struct fake_host *host, unsigned what)
{
	if (what & 8)
		(void)fake_complete(host, 1);
	if (what & 1)
		(void)fake_complete(host, UINT32_MAX);
	if (what & 4)
		send_some(run, 1);
	if (what & 2)
		send_some(run, SIZE_MAX);
	grant();
}

static void play(struct run *run, struct fake_host *host, const uint8_t *data,
		 size_t size)
{
	while (size >= 2 && run->session.end == SESSION_GOES_ON) {
		unsigned piece = data[0] | (unsigned)data[1] << 8;
		size_t bytes = MIN(piece & 0xfffu, size - 2);

		data += 2;
		size -= 2;
		while (bytes && run->session.end == SESSION_GOES_ON) {
			size_t fed = feed(run, data, bytes);

			data += fed;
			size -= fed;
			bytes -= fed;
			if (!fed) { /* it must go on once all is sent */
				struct iovec iov[2];

				settle(run, host);
				CHECK(run->session.end != SESSION_GOES_ON ||
				      session_input(&run->session, iov) > 0);
			}
		}
		step(run, host, piece >> 12);
	}
}

static void finish(struct run *run, struct fake_host *host)
{
	struct session *session = &run->session;

	if (session->end == SESSION_GOES_ON)
		session_received(session, 0);
	CHECK(session->end != SESSION_GOES_ON);
	settle(run, host);
	if (session->end == SESSION_BROKEN)
		session_unsent(session);
	else
		check_output(run);
	CHECK(session_quiet(session));
	session_done(session);
	CHECK(pool.held == 0 && pool.shared == 0 && !pool.waiters);
	free(run->reader.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct run run;
	static struct fake_host host;

	if (size < 1)
		return 0;
	memset(&run, 0, sizeof(run));
	fake_host_init(&host);
	CHECK(fake_add(&host, "root", MIB(8)));
	if (data[0] & 1)
		CHECK(fake_add(&host, "data", MIB(1) + 512));
	host.disks[0].disk.read_only = data[0] & 4;
	if (data[0] & 2) {
		host.fail_end = MIB(4);
		host.fail_with = -EIO;
	}
	if (!pool.last)
		pool_init(&pool, INFLIGHT_BYTES_MAX, NBD_CONNECTIONS_MAX);
	CHECK(session_init(&run.session, &host.host, &pool, ready) == 0);
	play(&run, &host, data + 1, size - 1);
	finish(&run, &host);
	fake_host_done(&host);
	return 0;
}
