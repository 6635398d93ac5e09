/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Meta contexts: choosing them in the handshake, and the answers to block
 * status.
 *
 *   base:allocation          what the disk says is a hole
 *   qemu:dirty-bitmap:POINT  what changed since that point
 *
 * An answer may always cover less than was asked for: at most NBD_EXTENTS_MAX
 * questions and NBD_STATUS_BYTES of descriptors.  Such a question may read the
 * file system's own blocks from the disk, and what changed may have to be read
 * anew, so the ring's thread leaves both, and the opening of what changed, to
 * the runner's; a session's contexts do not change once there can be requests.
 * Opening base:allocation alone, as a guest does each time that it connects,
 * waits for nothing and is done on the spot.  A context whose point is gone
 * answers with an error; "nothing changed" would be a lie.
 */
#include "nbd/session.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "nbd/cursor.h"

#define ALLOCATION    "base:allocation"
#define BITMAP_PREFIX "qemu:dirty-bitmap:"
#define QUERIES_MAX   64u
#define EXTENTS_MAX   1024 /* asked of the host at once */

void context_clear(struct session *session)
{
	for (unsigned i = 0; i < session->context_count; i++)
		if (session->contexts[i].view)
			session->host->view_close(session->host,
						  session->contexts[i].view);
	session->context_count = 0;
	session->context_disk = NULL;
}

static bool is_text(const uint8_t *query, uint32_t bytes, const char *text)
{
	return bytes == strlen(text) && memcmp(query, text, bytes) == 0;
}

static void send_context(struct session *session, uint32_t id, const char *name)
{
	uint8_t entry[sizeof(be32) + 256];
	size_t n = MIN(strlen(name), sizeof(entry) - sizeof(be32));
	be32 wire = be32_make(id);

	memcpy(entry, &wire, sizeof(wire));
	memcpy(entry + sizeof(wire), name, n);
	negotiate_reply(session, NBD_REP_META_CONTEXT, entry, sizeof(wire) + n);
}

/* ---- LIST -------------------------------------------------------------- */

struct list {
	struct session *session;
	struct cursor queries;
	uint32_t count; /* 0: everything */
};

/* Do the queries name NAME, or one of the wildcards? */
static bool is_wanted(const struct list *list, const char *name,
		      const char *wildcard, const char *wildcard2)
{
	struct cursor cursor = list->queries;
	const uint8_t *query;
	uint32_t bytes;

	if (list->count == 0)
		return true;
	while (cursor_string(&cursor, &query, &bytes))
		if (is_text(query, bytes, name) ||
		    is_text(query, bytes, wildcard) ||
		    is_text(query, bytes, wildcard2))
			return true;
	return false;
}

static void list_point(void *arg, const char *point)
{
	struct list *list = arg;
	char name[256];

	(void)snprintf(name, sizeof(name), "%s%s", BITMAP_PREFIX, point);
	if (is_wanted(list, name, BITMAP_PREFIX, "qemu:"))
		send_context(list->session, 0, name);
}

static void list_contexts(struct session *session, struct nbd_disk *disk,
			  struct cursor queries, uint32_t count)
{
	struct list list = {session, queries, count};

	if (is_wanted(&list, ALLOCATION, "base:", "base:"))
		send_context(session, 0, ALLOCATION);
	session->host->points(session->host, disk, list_point, &list);
	negotiate_reply(session, NBD_REP_ACK, NULL, 0);
}

/* ---- SET --------------------------------------------------------------- */

/* Selecting contexts.  If what is opened may have to be read, the runner's
 * thread does it, on a copy of the queries; the session waits. */
struct opening {
	struct errand errand;
	struct session *session;
	struct nbd_disk *disk;
	struct context contexts[NBD_CONTEXTS_MAX];
	char names[NBD_CONTEXTS_MAX][256];
	unsigned count;
	int result;
	struct err err;
	uint32_t bytes;
	uint8_t queries[];
};

/* 1 and a context without its view, 0 if the query selects none. */
static int open_context(struct opening *opening, const char *name,
			struct context *context)
{
	struct nbd_host *host = opening->session->host;
	size_t prefix = strlen(BITMAP_PREFIX);
	int r;

	*context = (struct context){.id = opening->count + 1};
	if (strcmp(name, ALLOCATION) == 0)
		return 1;
	if (strncmp(name, BITMAP_PREFIX, prefix) != 0 || !name[prefix])
		return 0;
	r = host->view_open(host, opening->disk, name + prefix, &context->view,
			    &opening->err);
	if (r == -RP_ENOPOINT)
		return 0;
	return r < 0 ? r : 1;
}

/* Was the same query there before?  Each context is selected once. */
static bool is_repeated(const struct cursor *first, const uint8_t *query,
			uint32_t bytes)
{
	struct cursor cursor = *first;
	const uint8_t *other;
	uint32_t n;

	while (cursor_string(&cursor, &other, &n) && other != query)
		if (n == bytes && memcmp(other, query, n) == 0)
			return true;
	return false;
}

static int select_one(struct opening *opening, const uint8_t *query,
		      uint32_t bytes)
{
	char name[sizeof(opening->names[0])];
	struct context context;
	int r;

	if (bytes >= sizeof(name) || memchr(query, '\0', bytes))
		return 0; /* no context has such a name */
	memcpy(name, query, bytes);
	name[bytes] = '\0';
	if (opening->count == NBD_CONTEXTS_MAX)
		return err_set(&opening->err, -RP_ELIMIT, "at most %d contexts",
			       NBD_CONTEXTS_MAX);
	r = open_context(opening, name, &context);
	if (r <= 0)
		return r;
	(void)strcpy(opening->names[opening->count], name);
	opening->contexts[opening->count++] = context;
	return 0;
}

static void opening_run(struct errand *errand)
{
	struct opening *opening = container_of(errand, struct opening, errand);
	const struct cursor queries = {opening->queries, opening->bytes};
	struct cursor cursor = queries;
	const uint8_t *query;
	uint32_t bytes;

	while (opening->result == 0 &&
	       !atomic_load(&opening->session->forgone) &&
	       cursor_string(&cursor, &query, &bytes))
		if (!is_repeated(&queries, query, bytes))
			opening->result = select_one(opening, query, bytes);
}

/* The session has what was opened, or closes it, and answers. */
static void opened(struct opening *opening)
{
	struct session *session = opening->session;

	session->opening = NULL;
	session->submitted--;
	memcpy(session->contexts, opening->contexts, sizeof(session->contexts));
	session->context_count = opening->count;
	session->context_disk = opening->disk;
	if (opening->result < 0 || session->end != SESSION_GOES_ON)
		context_clear(session);
	if (session->end == SESSION_GOES_ON) {
		session->state = SESSION_OPTION;
		for (unsigned i = 0; i < session->context_count; i++)
			send_context(session, session->contexts[i].id,
				     opening->names[i]);
		if (opening->result < 0)
			negotiate_refuse(session,
					 opening->result == -RP_ELIMIT
					     ? NBD_ERR_TOO_BIG
					     : NBD_ERR_INVALID,
					 "%s", opening->err.text);
		else
			negotiate_reply(session, NBD_REP_ACK, NULL, 0);
	}
	free(opening);
	session->ready(session);
}

static void opening_back(struct ring_task *task)
{
	struct opening *opening =
	    container_of(task, struct opening, errand.back);
	struct session *session = opening->session;

	opened(opening);
	session_resume(session);
}

/* Is a point asked for?  Nothing else is read when it is opened. */
static bool may_wait(struct cursor queries)
{
	const size_t prefix = strlen(BITMAP_PREFIX);
	const uint8_t *query;
	uint32_t bytes;

	while (cursor_string(&queries, &query, &bytes))
		if (bytes > prefix && memcmp(query, BITMAP_PREFIX, prefix) == 0)
			return true;
	return false;
}

static void select_contexts(struct session *session, struct nbd_disk *disk,
			    struct cursor queries)
{
	struct opening *opening = calloc(1, sizeof(*opening) + queries.bytes);

	if (!opening) {
		session_fail(session, "no memory for contexts");
		return;
	}
	opening->session = session;
	opening->disk = disk;
	opening->bytes = queries.bytes;
	memcpy(opening->queries, queries.at, queries.bytes);
	opening->errand.run = opening_run;
	opening->errand.back.run = opening_back;
	session->opening = opening;
	session->submitted++;
	session->state = SESSION_OPENING;
	if (session->runner && may_wait(queries)) {
		runner_run(session->runner, &opening->errand);
		return;
	}
	opening_run(&opening->errand);
	opened(opening);
}

/* Are there exactly COUNT queries? */
static bool queries_are_sound(struct cursor cursor, uint32_t count)
{
	const uint8_t *query;
	uint32_t bytes;

	for (uint32_t i = 0; i < count; i++)
		if (!cursor_string(&cursor, &query, &bytes))
			return false;
	return cursor.bytes == 0;
}

void context_option(struct session *session, const uint8_t *data,
		    uint32_t bytes)
{
	struct cursor cursor = {data, bytes};
	bool set = session->option == NBD_OPT_SET_META_CONTEXT;
	const uint8_t *name;
	uint32_t name_bytes, count;
	struct nbd_disk *disk;

	if (set)
		context_clear(session);
	if (!session->structured) {
		negotiate_refuse(session, NBD_ERR_INVALID,
				 "structured replies must come first");
		return;
	}
	if (!cursor_string(&cursor, &name, &name_bytes) ||
	    !cursor_be32(&cursor, &count) ||
	    !queries_are_sound(cursor, count)) {
		negotiate_refuse(session, NBD_ERR_INVALID, "malformed queries");
		return;
	}
	if (count > QUERIES_MAX) {
		negotiate_refuse(session, NBD_ERR_TOO_BIG, "at most %u queries",
				 QUERIES_MAX);
		return;
	}
	disk = negotiate_export(session, name, name_bytes);
	if (disk && set)
		select_contexts(session, disk, cursor);
	else if (disk)
		list_contexts(session, disk, cursor, count);
}

/* ---- block status ------------------------------------------------------ */

#define CHUNK_HEAD_BYTES (sizeof(struct nbd_chunk_header) + sizeof(be32))

/* The descriptors of one context in the making. */
struct answer {
	uint8_t *at; /* where the next one goes */
	unsigned count;
	unsigned max;
	uint32_t last_flags;
	uint64_t last_length;
	uint64_t position; /* covered up to here */
	uint64_t end;
};

static void put_last(struct answer *answer)
{
	const struct nbd_descriptor descriptor = {
	    .length = be32_make((uint32_t)answer->last_length),
	    .flags = be32_make(answer->last_flags),
	};

	memcpy(answer->at, &descriptor, sizeof(descriptor));
}

/* [position, TO) has FLAGS; false if there is no room for more. */
static bool cover(struct answer *answer, uint64_t to, uint32_t flags)
{
	uint64_t length;

	to = MIN(to, answer->end);
	length = to - answer->position;
	if (answer->count && answer->last_flags == flags) {
		answer->last_length += length;
	} else {
		if (answer->count == answer->max)
			return false;
		if (answer->count++)
			answer->at += sizeof(struct nbd_descriptor);
		answer->last_flags = flags;
		answer->last_length = length;
	}
	answer->position = to;
	put_last(answer);
	return answer->position < answer->end;
}

static int cover_allocation(struct answer *answer, struct nbd_disk *disk)
{
	for (int i = 0; i < NBD_EXTENTS_MAX; i++) {
		uint64_t to;
		bool hole;
		int r = disk->ops->extent(disk, answer->position, answer->end,
					  &to, &hole);

		if (r < 0)
			return r;
		if (to <= answer->position)
			return -RP_EFAILED;
		if (!cover(answer, to,
			   hole ? NBD_STATE_HOLE | NBD_STATE_ZERO : 0))
			break;
	}
	return 0;
}

static int cover_dirty(struct answer *answer, struct nbd_host *host,
		       struct nbd_view *view)
{
	struct nbd_extent extents[EXTENTS_MAX];

	for (;;) {
		int n = host->view_extents(
		    host, view, answer->position,
		    answer->end - answer->position, extents,
		    (int)MIN((unsigned)EXTENTS_MAX, answer->max));

		if (n <= 0)
			return n < 0 ? n : -RP_EFAILED;
		for (int i = 0; i < n; i++) {
			if (extents[i].length == 0)
				return -RP_EFAILED;
			if (!cover(answer, answer->position + extents[i].length,
				   extents[i].dirty ? NBD_STATE_DIRTY : 0))
				return 0;
		}
	}
}

uint64_t context_status_bytes(const struct session *session, bool one)
{
	return one ? session->context_count *
			 (CHUNK_HEAD_BYTES + sizeof(struct nbd_descriptor))
		   : NBD_STATUS_BYTES;
}

static void put_head(uint8_t *at, const struct request *request,
		     const struct context *context, unsigned count, bool last)
{
	struct nbd_chunk_header head = {
	    .magic = be32_make(NBD_CHUNK_MAGIC),
	    .flags = be16_make(last ? NBD_CHUNK_DONE : 0),
	    .type = be16_make(NBD_CHUNK_BLOCK_STATUS),
	    .bytes =
		be32_make((uint32_t)(sizeof(be32) +
				     count * sizeof(struct nbd_descriptor))),
	};
	be32 id = be32_make(context->id);

	memcpy(head.cookie, request->cookie, sizeof(head.cookie));
	memcpy(at, &head, sizeof(head));
	memcpy(at + sizeof(head), &id, sizeof(id));
}

int context_status(struct session *session, struct request *request)
{
	bool one = request->flags & NBD_REQ_ONE;
	uint64_t share =
	    context_status_bytes(session, one) / session->context_count;
	uint8_t *at = request->volume.data;

	for (unsigned i = 0; i < session->context_count; i++) {
		const struct context *context = &session->contexts[i];
		struct answer answer = {
		    .at = at + CHUNK_HEAD_BYTES,
		    .max = (unsigned)((share - CHUNK_HEAD_BYTES) /
				      sizeof(struct nbd_descriptor)),
		    .position = request->volume.offset,
		    .end = request->volume.offset + request->volume.length,
		};
		int r = 0;

		if (atomic_load(&session->forgone))
			return -ESHUTDOWN;
		if (context->view)
			r = cover_dirty(&answer, session->host, context->view);
		else
			r = cover_allocation(&answer, session->disk);
		if (r < 0)
			return r;
		put_head(at, request, context, answer.count,
			 i + 1 == session->context_count);
		at = answer.at + sizeof(struct nbd_descriptor);
	}
	request->reply_bytes = (uint64_t)(at - (uint8_t *)request->volume.data);
	return 0;
}
