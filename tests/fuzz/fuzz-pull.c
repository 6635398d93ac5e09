/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a client sends to refpoint-pull before it has proved the key, with
 * nothing behind it: NBD in plain text as far as STARTTLS, and TLS after that.
 *
 * Checked besides memory: in plain text it hears what a second reading of the
 * same bytes says it must, and after that nothing but TLS; nobody is asked for
 * a way to the snapshot (L1); and it leaves its place.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/limits.h"
#include "fuzz.h"
#include "nbd/protocol.h"
#include "pull/pull.h"

#define OUTPUT_BYTES   KIB(64)
#define TLS_RECORD_MIN 20 /* the types of records, from and to */
#define TLS_RECORD_MAX 23

/* What is to be heard before TLS. */
struct plain {
	uint8_t bytes[sizeof(struct nbd_greeting) +
		      PULL_OPTIONS_MAX * sizeof(struct nbd_option_reply)];
	size_t count;
	bool tls; /* which then begins */
};

static size_t get(const uint8_t *at, unsigned bytes)
{
	size_t value = 0;

	for (unsigned i = 0; i < bytes; i++)
		value = value << 8 | at[i];
	return value;
}

static void put(struct plain *plain, uint64_t value, unsigned bytes)
{
	CHECK(plain->count + bytes <= sizeof(plain->bytes));
	while (bytes--)
		plain->bytes[plain->count++] = (uint8_t)(value >> 8 * bytes);
}

static void answer(struct plain *plain, size_t option, uint32_t type)
{
	put(plain, NBD_OPTION_REPLY_MAGIC, 8);
	put(plain, option, 4);
	put(plain, type, 4);
	put(plain, 0, 4);
}

/* The one at DATA; returns its length, 0 if it is the last. */
static size_t read_option(struct plain *plain, const uint8_t *data, size_t size)
{
	size_t option, bytes;

	if (size < 16 || get(data, 8) != NBD_OPTION_MAGIC)
		return 0;
	option = get(data + 8, 4);
	bytes = get(data + 12, 4);
	if (option == NBD_OPT_EXPORT_NAME || bytes > NBD_OPTION_BYTES_MAX ||
	    bytes > size - 16)
		return 0;
	if (option == NBD_OPT_STARTTLS && bytes)
		answer(plain, option, NBD_REP_ERROR + NBD_ERR_INVALID);
	else if (option == NBD_OPT_STARTTLS || option == NBD_OPT_ABORT)
		answer(plain, option, NBD_REP_ACK);
	else
		answer(plain, option, NBD_REP_ERROR + NBD_ERR_TLS_REQD);
	plain->tls = option == NBD_OPT_STARTTLS && !bytes;
	return plain->tls || option == NBD_OPT_ABORT ? 0 : 16 + bytes;
}

static void read_plain(struct plain *plain, const uint8_t *data, size_t size)
{
	size_t at = 4, bytes;

	put(plain, NBD_MAGIC, 8);
	put(plain, NBD_OPTION_MAGIC, 8);
	put(plain, NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES, 2);
	if (size < 4 ||
	    (get(data, 4) & ~(size_t)NBD_NO_ZEROES) != NBD_FIXED_NEWSTYLE)
		return;
	for (unsigned i = 0; i < PULL_OPTIONS_MAX; i++) {
		bytes = read_option(plain, data + at, size - at);
		if (!bytes)
			return;
		at += bytes;
	}
}

static void check_records(const uint8_t *data, size_t size)
{
	while (size > 0) {
		size_t bytes = size < 5 ? SIZE_MAX : 5 + get(data + 3, 2);

		CHECK(bytes <= size);
		CHECK(data[0] >= TLS_RECORD_MIN && data[0] <= TLS_RECORD_MAX);
		CHECK(data[1] == 3);
		data += bytes;
		size -= bytes;
	}
}

static void check_output(const uint8_t *data, size_t size, int fd)
{
	static uint8_t output[OUTPUT_BYTES];
	struct plain plain = {.count = 0};
	ssize_t n = recv(fd, output, sizeof(output), MSG_DONTWAIT);

	read_plain(&plain, data, size);
	CHECK(n >= (ssize_t)plain.count && n < (ssize_t)sizeof(output));
	CHECK(memcmp(output, plain.bytes, plain.count) == 0);
	CHECK(plain.tls || n == (ssize_t)plain.count);
	check_records(output + plain.count, (size_t)n - plain.count);
}

/* The one for all runs: making its credentials takes longest. */
static struct pull *get_pull(int *ret_refpointd)
{
	static struct pull pull = {.lock = PTHREAD_MUTEX_INITIALIZER,
				   .key = {.identity = "me"}};
	static int pair[2];
	struct err err = {0};

	if (!pull.credentials) {
		CHECK(tls_prepare(&pull, &err) == 0);
		CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
		pull.control = pair[0];
	}
	*ret_refpointd = pair[1];
	return &pull;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int refpointd, pair[2];
	struct pull *pull = get_pull(&refpointd);
	ssize_t sent;
	char byte;

	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
	/* what does not fit into the socket was not sent */
	sent = size ? send(pair[1], data, size, 0) : 0;
	CHECK(sent >= 0);
	CHECK(shutdown(pair[1], SHUT_WR) == 0);
	atomic_store(&pull->handshakes, 1);
	connection_run(pull, pair[0]);
	CHECK(atomic_load(&pull->handshakes) == 0);
	CHECK(atomic_load(&pull->connections) == 0);
	CHECK(recv(refpointd, &byte, 1, MSG_DONTWAIT) < 0);
	check_output(data, (size_t)sent, pair[1]);
	CHECK(close(pair[1]) == 0);
	return 0;
}
