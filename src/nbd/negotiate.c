/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handshake: one option at a time, the next one only when the answer to
 * the last is sent.  Names and texts of the client are never logged.
 */
#include "nbd/session.h"

#include <stdio.h>
#include <stdlib.h>

#include "nbd/cursor.h"

#define OUT_BYTES_MAX MIB(1)

void negotiate_put(struct session *session, const void *bytes, size_t count)
{
	size_t need = session->out_bytes + count;

	if (session->end == SESSION_BROKEN)
		return;
	if (need > session->out_room) {
		size_t room = MAX(2 * need, 512);
		uint8_t *out =
		    need <= OUT_BYTES_MAX ? realloc(session->out, room) : NULL;

		if (!out) {
			session_fail(session, "no memory for an answer");
			return;
		}
		session->out = out;
		session->out_room = (uint32_t)room;
	}
	memcpy(session->out + session->out_bytes, bytes, count);
	session->out_bytes += (uint32_t)count;
	session->ready(session);
}

void negotiate_greet(struct session *session)
{
	const struct nbd_greeting greeting = {
	    .magic = be64_make(NBD_MAGIC),
	    .option_magic = be64_make(NBD_OPTION_MAGIC),
	    .flags = be16_make(NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES),
	};

	negotiate_put(session, &greeting, sizeof(greeting));
}

int64_t negotiate_hello(struct session *session, const uint8_t *bytes,
			uint64_t available)
{
	be32 flags;

	memcpy(&flags, bytes, sizeof(flags));
	session->client_flags = be32_get(flags);
	if (session->client_flags & ~(NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES))
		return session_fail(session, "unknown client flags 0x%x",
				    session->client_flags);
	session->state = SESSION_OPTION;
	return sizeof(flags);
}

void negotiate_reply(struct session *session, uint32_t type, const void *data,
		     size_t bytes)
{
	const struct nbd_option_reply reply = {
	    .magic = be64_make(NBD_OPTION_REPLY_MAGIC),
	    .option = be32_make(session->option),
	    .type = be32_make(type),
	    .bytes = be32_make((uint32_t)bytes),
	};

	negotiate_put(session, &reply, sizeof(reply));
	if (bytes)
		negotiate_put(session, data, bytes);
}

static void acknowledge(struct session *session)
{
	negotiate_reply(session, NBD_REP_ACK, NULL, 0);
}

void negotiate_refuse(struct session *session, uint32_t type, const char *fmt,
		      ...)
{
	char text[ERR_TEXT_BYTES];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	negotiate_reply(session, NBD_REP_ERROR + type, text, strlen(text));
}

/* "'root', 'data'", cut off if there is no room. */
static void list_names(struct nbd_host *host, char *text, size_t room)
{
	unsigned count = host->count(host);
	size_t n = 0;

	text[0] = '\0';
	for (unsigned i = 0; i < count && n < room; i++)
		n += (size_t)snprintf(text + n, room - n, "%s'%s'",
				      i ? ", " : "", host->disk(host, i)->id);
}

static struct nbd_disk *find(struct nbd_host *host, const uint8_t *name,
			     uint32_t name_bytes)
{
	unsigned count = host->count(host);

	if (name_bytes == 0)
		return count == 1 ? host->disk(host, 0) : NULL;
	for (unsigned i = 0; i < count; i++) {
		struct nbd_disk *disk = host->disk(host, i);
		const char *id = disk->id;

		if (strlen(id) == name_bytes &&
		    memcmp(id, name, name_bytes) == 0)
			return disk;
	}
	return NULL;
}

struct nbd_disk *negotiate_export(struct session *session, const uint8_t *name,
				  uint32_t name_bytes)
{
	struct nbd_host *host = session->host;
	struct nbd_disk *disk = find(host, name, name_bytes);
	char names[200];

	if (disk)
		return disk;
	list_names(host, names, sizeof(names));
	if (host->count(host) == 0)
		negotiate_refuse(session, NBD_ERR_UNKNOWN,
				 "no disk is served here");
	else if (name_bytes == 0)
		negotiate_refuse(session, NBD_ERR_UNKNOWN,
				 "there are several disks, name one of %s",
				 names);
	else
		negotiate_refuse(session, NBD_ERR_UNKNOWN,
				 "no such disk, there is %s", names);
	return NULL;
}

static void enter_transmission(struct session *session, struct nbd_disk *disk)
{
	if (session->context_disk != disk)
		context_clear(session);
	session->disk = disk;
	session->state = SESSION_REQUEST;
	session->host->attached(session->host, disk, true);
}

static void opt_export_name(struct session *session, const uint8_t *data,
			    uint32_t bytes)
{
	static const uint8_t padding[NBD_PADDING_BYTES];
	struct nbd_disk *disk = find(session->host, data, bytes);
	be64 size;
	be16 flags;

	if (!disk) { /* this option has no way to say so */
		session_fail(session, "asked for a disk that is not there");
		return;
	}
	size = be64_make(disk->bytes);
	flags = be16_make(transmit_flags(session, disk));
	negotiate_put(session, &size, sizeof(size));
	negotiate_put(session, &flags, sizeof(flags));
	if (!(session->client_flags & NBD_NO_ZEROES))
		negotiate_put(session, padding, sizeof(padding));
	if (session->end == SESSION_GOES_ON)
		enter_transmission(session, disk);
}

static void opt_abort(struct session *session, const uint8_t *data,
		      uint32_t bytes)
{
	acknowledge(session);
	session_stop(session);
}

static void opt_list(struct session *session, const uint8_t *data,
		     uint32_t bytes)
{
	struct nbd_host *host = session->host;
	unsigned count = host->count(host);
	uint8_t entry[sizeof(be32) + DISK_ID_BYTES];

	for (unsigned i = 0; i < count; i++) {
		const char *id = host->disk(host, i)->id;
		size_t n = MIN(strlen(id), DISK_ID_BYTES);
		be32 id_bytes = be32_make((uint32_t)n);

		memcpy(entry, &id_bytes, sizeof(id_bytes));
		memcpy(entry + sizeof(id_bytes), id, n);
		negotiate_reply(session, NBD_REP_SERVER, entry,
				sizeof(id_bytes) + n);
	}
	acknowledge(session);
}

static void send_info(struct session *session, struct nbd_disk *disk)
{
	const struct nbd_info_export export = {
	    .type = be16_make(NBD_INFO_EXPORT),
	    .bytes = be64_make(disk->bytes),
	    .flags = be16_make(transmit_flags(session, disk)),
	};
	const struct nbd_info_block_size sizes = {
	    .type = be16_make(NBD_INFO_BLOCK_SIZE),
	    .minimum = be32_make(SECTOR_BYTES),
	    .preferred = be32_make(BLOCK_BYTES),
	    .maximum = be32_make(NBD_REQUEST_BYTES_MAX),
	};
	const char *id = disk->id;
	uint8_t name[sizeof(be16) + DISK_ID_BYTES];
	size_t n = MIN(strlen(id), DISK_ID_BYTES);
	be16 type = be16_make(NBD_INFO_NAME);

	memcpy(name, &type, sizeof(type));
	memcpy(name + sizeof(type), id, n);
	negotiate_reply(session, NBD_REP_INFO, &export, sizeof(export));
	negotiate_reply(session, NBD_REP_INFO, name, sizeof(type) + n);
	negotiate_reply(session, NBD_REP_INFO, &sizes, sizeof(sizes));
}

/* Which items the client asks for does not matter: all are always sent. */
static void opt_go(struct session *session, const uint8_t *data, uint32_t bytes)
{
	struct cursor cursor = {data, bytes};
	const uint8_t *name;
	uint32_t name_bytes;
	uint16_t items;
	struct nbd_disk *disk;

	if (!cursor_string(&cursor, &name, &name_bytes) ||
	    !cursor_be16(&cursor, &items) || cursor.bytes != 2u * items) {
		negotiate_refuse(session, NBD_ERR_INVALID,
				 "malformed request for an export");
		return;
	}
	disk = negotiate_export(session, name, name_bytes);
	if (!disk)
		return;
	send_info(session, disk);
	acknowledge(session);
	if (session->option == NBD_OPT_GO && session->end == SESSION_GOES_ON)
		enter_transmission(session, disk);
}

static void opt_structured(struct session *session, const uint8_t *data,
			   uint32_t bytes)
{
	session->structured = true;
	acknowledge(session);
}

static const struct option {
	uint32_t option;
	bool bare; /* has no data */
	void (*run)(struct session *session, const uint8_t *data,
		    uint32_t bytes);
} options[] = {
    {NBD_OPT_EXPORT_NAME, false, opt_export_name},
    {NBD_OPT_ABORT, false, opt_abort},
    {NBD_OPT_LIST, true, opt_list},
    {NBD_OPT_INFO, false, opt_go},
    {NBD_OPT_GO, false, opt_go},
    {NBD_OPT_STRUCTURED_REPLY, true, opt_structured},
    {NBD_OPT_LIST_META_CONTEXT, false, context_option},
    {NBD_OPT_SET_META_CONTEXT, false, context_option},
};

int64_t negotiate_option(struct session *session, const uint8_t *bytes,
			 uint64_t available)
{
	struct nbd_option_header header;

	if (session->out_bytes)
		return -EAGAIN;
	memcpy(&header, bytes, sizeof(header));
	if (be64_get(header.magic) != NBD_OPTION_MAGIC)
		return session_fail(session, "option without its magic");
	if (++session->options > NBD_OPTIONS_MAX)
		return session_fail(session, "more than %d options",
				    NBD_OPTIONS_MAX);
	session->option = be32_get(header.option);
	session->option_bytes = be32_get(header.bytes);
	if (session->option_bytes > NBD_OPTION_SKIP_MAX)
		return session_fail(session, "option %u with %u bytes",
				    session->option, session->option_bytes);
	session->state = session->option_bytes > NBD_OPTION_BYTES_MAX
			     ? SESSION_OPTION_SKIP
			     : SESSION_OPTION_DATA;
	return sizeof(header);
}

int64_t negotiate_data(struct session *session, const uint8_t *bytes,
		       uint64_t available)
{
	uint32_t count = session->option_bytes;
	const struct option *option = NULL;

	session->state = SESSION_OPTION;
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		if (options[i].option == session->option)
			option = &options[i];
	if (!option)
		negotiate_refuse(session, NBD_ERR_UNSUP,
				 "option %u is not supported here",
				 session->option);
	else if (option->bare && count)
		negotiate_refuse(session, NBD_ERR_INVALID,
				 "option %u has no data", session->option);
	else
		option->run(session, bytes, count);
	return session->end == SESSION_BROKEN ? -EPROTO : (int64_t)count;
}

int64_t negotiate_skip(struct session *session, const uint8_t *bytes,
		       uint64_t available)
{
	uint64_t n = MIN(available, session->option_bytes);

	session->option_bytes -= (uint32_t)n;
	if (session->option_bytes)
		return (int64_t)n;
	if (session->option == NBD_OPT_EXPORT_NAME)
		return session_fail(session, "export name too long");
	session->state = SESSION_OPTION;
	negotiate_refuse(session, NBD_ERR_TOO_BIG, "at most %u bytes of data",
			 (unsigned)NBD_OPTION_BYTES_MAX);
	return (int64_t)n;
}
