/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The NBD handshake as far as STARTTLS, which is mandatory: every other option
 * is answered with "TLS first" (the NBD protocol's SELECTIVETLS and FORCEDTLS
 * know no other answer), and its data is thrown away unread.
 */
#include "common/limits.h"
#include "nbd/protocol.h"
#include "pull/pull.h"

static int reply(int fd, uint32_t option, uint32_t type, uint64_t deadline_ms,
		 struct err *err)
{
	const struct nbd_option_reply reply = {
	    .magic = be64_make(NBD_OPTION_REPLY_MAGIC),
	    .option = be32_make(option),
	    .type = be32_make(type),
	    .bytes = be32_make(0),
	};

	return wait_write(fd, &reply, sizeof(reply), deadline_ms, err);
}

static int skip(int fd, uint32_t bytes, uint64_t deadline_ms, struct err *err)
{
	uint8_t buf[4096];
	int r = 0;

	if (bytes > NBD_OPTION_BYTES_MAX)
		return err_set(err, -RP_EWIRE, "an option with %u bytes",
			       bytes);
	while (r == 0 && bytes > 0) {
		uint32_t n = MIN(bytes, (uint32_t)sizeof(buf));

		r = wait_read(fd, buf, n, deadline_ms, err);
		bytes -= n;
	}
	return r;
}

/* 1: TLS begins. */
static int take_option(int fd, uint64_t deadline_ms, struct err *err)
{
	struct nbd_option_header header;
	uint32_t option, bytes, type = NBD_REP_ERROR + NBD_ERR_TLS_REQD;
	int r = wait_read(fd, &header, sizeof(header), deadline_ms, err);

	if (r < 0)
		return r;
	option = be32_get(header.option);
	bytes = be32_get(header.bytes);
	if (be64_get(header.magic) != NBD_OPTION_MAGIC)
		return err_set(err, -RP_EWIRE, "an option without its magic");
	/* this one cannot be refused but by closing */
	if (option == NBD_OPT_EXPORT_NAME)
		return err_set(err, -RP_EDENIED, "a client without TLS");
	r = skip(fd, bytes, deadline_ms, err);
	if (r < 0)
		return r;
	if (option == NBD_OPT_STARTTLS)
		type = bytes ? NBD_REP_ERROR + NBD_ERR_INVALID : NBD_REP_ACK;
	else if (option == NBD_OPT_ABORT)
		type = NBD_REP_ACK;
	r = reply(fd, option, type, deadline_ms, err);
	if (r == 0 && option == NBD_OPT_ABORT)
		r = err_set(err, -RP_ECANCELLED, "the client thought better");
	return r == 0 && option == NBD_OPT_STARTTLS && !bytes ? 1 : r;
}

int negotiate_client(int fd, uint64_t deadline_ms, uint32_t *ret_flags,
		     struct err *err)
{
	const struct nbd_greeting greeting = {
	    .magic = be64_make(NBD_MAGIC),
	    .option_magic = be64_make(NBD_OPTION_MAGIC),
	    .flags = be16_make(NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES),
	};
	be32 flags;
	int r = wait_write(fd, &greeting, sizeof(greeting), deadline_ms, err);

	if (r == 0)
		r = wait_read(fd, &flags, sizeof(flags), deadline_ms, err);
	if (r < 0)
		return r;
	*ret_flags = be32_get(flags);
	if (!(*ret_flags & NBD_FIXED_NEWSTYLE) ||
	    *ret_flags & ~(NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES))
		return err_set(err, -RP_EWIRE, "client flags 0x%x", *ret_flags);
	for (unsigned i = 0; r == 0 && i < PULL_OPTIONS_MAX; i++)
		r = take_option(fd, deadline_ms, err);
	if (r == 0)
		return err_set(err, -RP_EWIRE, "too many options without TLS");
	return r < 0 ? r : 0;
}

int negotiate_server(int fd, uint64_t deadline_ms, uint32_t flags,
		     struct err *err)
{
	struct nbd_greeting greeting;
	be32 wire = be32_make(flags);
	int r = wait_read(fd, &greeting, sizeof(greeting), deadline_ms, err);

	if (r == 0 && (be64_get(greeting.magic) != NBD_MAGIC ||
		       be64_get(greeting.option_magic) != NBD_OPTION_MAGIC))
		r = err_set(err, -RP_EWIRE, "no NBD server answers");
	return r < 0 ? r
		     : wait_write(fd, &wire, sizeof(wire), deadline_ms, err);
}
