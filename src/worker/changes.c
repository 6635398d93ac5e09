/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The answer to Changes: lists of extents, possibly many millions of them,
 * written by hand in pieces of EXTENTS_PER_REPLY, and no faster than they are
 * read.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/blockset.h"
#include "common/cleanup.h"
#include "common/decimal.h"
#include "common/log.h"
#include "worker/worker.h"

#define EXTENTS_PER_REPLY 4096
/* For a caller that takes one reply only. */
#define EXTENTS_PER_ANSWER 15000
#define BACKLOG_BYTES      (256u << 10)
#define EXTENT_TEXT_BYTES  64
#define ENDING_BYTES       32 /* ,"length":18446744073709551615}, */
#define DISK_TEXT_BYTES    2048
#define RUNS_AT_ONCE       128

struct one_disk {
	char id[DISK_ID_BYTES];
	struct accuracy_row accuracy;
	struct blockset *set;
	/* What was asked for; START is a whole block, or the disk's end. */
	uint64_t start, end;
	uint64_t changed; /* bytes in it */
};

/* Where a reader of a disk's extents is. */
struct reader {
	const struct one_disk *disk;
	uint64_t block; /* read up to here */
	unsigned n, next;
	struct blockset_run runs[RUNS_AT_ONCE];
};

struct text {
	char *at;
	size_t length;
	size_t room;
};

/* How an extent of LENGTH bytes ends; most are as long as the one before. */
struct ending {
	uint64_t length; /* 0: none yet */
	char text[ENDING_BYTES];
	size_t bytes;
};

struct changes {
	struct changes_request request;
	struct rpc_call *call;
	struct text text; /* of the reply being written */
	struct ending ending;
	uint64_t ask_ns;   /* how long it took to find out, ... */
	uint64_t write_ns; /* ... and to write the answer */
	uint32_t n;
	uint32_t disk;        /* next to be told ... */
	struct reader reader; /* ... from here on */
	struct one_disk disks[];
};

/* ---- Asking
 * ------------------------------------------------------------------ */

static uint64_t now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void reader_init(struct reader *reader, const struct one_disk *disk)
{
	reader->disk = disk;
	/* a whole block, or the disk's end */
	reader->block = div_round_up(disk->start, BLOCK_BYTES);
	reader->n = reader->next = 0;
}

/* The next extent within what was asked for; READER stays where it is. */
static bool reader_peek(struct reader *reader, uint64_t *ret_offset,
			uint64_t *ret_length)
{
	const struct one_disk *d = reader->disk;
	const struct blockset_run *run;
	uint64_t offset;

	if (reader->next == reader->n) {
		reader->next = 0;
		reader->n = blockset_runs(d->set, reader->block, reader->runs,
					  RUNS_AT_ONCE);
		if (reader->n == 0)
			return false;
		reader->block = reader->runs[reader->n - 1].end;
	}
	run = &reader->runs[reader->next];
	offset = run->first << BLOCK_SHIFT;
	if (offset >= d->end)
		return false;
	*ret_offset = offset;
	*ret_length = MIN(run->end << BLOCK_SHIFT, d->end) - offset;
	return true;
}

static void measure(struct one_disk *d)
{
	uint64_t offset, length, blocks = blockset_blocks(d->set);
	struct reader reader;

	if (d->start == 0 && d->end == blockset_bytes(d->set)) {
		d->changed = blockset_count(d->set) * BLOCK_BYTES;
		/* the last block may be cut short by the disk's end */
		if (d->end % BLOCK_BYTES && blockset_has(d->set, blocks - 1))
			d->changed -= BLOCK_BYTES - d->end % BLOCK_BYTES;
		return;
	}
	reader_init(&reader, d);
	for (; reader_peek(&reader, &offset, &length); reader.next++)
		d->changed += length;
}

/* Ends the range where the first MAX extents end, so that whoever asks for a
 * long list piece by piece does not pay for all of it each time. */
static void shorten(struct one_disk *d, uint64_t max)
{
	uint64_t offset, length, end = d->end;
	struct reader reader;

	reader_init(&reader, d);
	for (; max && reader_peek(&reader, &offset, &length); reader.next++) {
		end = offset + length;
		max--;
	}
	if (max == 0)
		d->end = end;
}

static int ask_disk(struct vm *vm, uint32_t disk,
		    const struct changes_request *q, struct one_disk *d,
		    struct err *err)
{
	struct vm_changes c = {0};
	int r = vm_changes(vm, disk, &q->since, q->has_until ? &q->until : NULL,
			   &c, err);

	if (r < 0)
		return r;
	memcpy(d->id, vm_disk(vm, disk)->id, sizeof(d->id));
	d->accuracy = c.accuracy;
	d->set = c.set;
	d->end = c.bytes;
	d->start = q->offset < c.bytes
		       ? q->offset & ~(uint64_t)(BLOCK_BYTES - 1)
		       : c.bytes;
	if (q->length < c.bytes && q->offset < c.bytes - q->length)
		d->end =
		    MIN(round_up(q->offset + q->length, BLOCK_BYTES), c.bytes);
	if (q->max_extents)
		shorten(d, q->max_extents);
	measure(d);
	return 0;
}

/* A range that no disk has is a mistake in its unit, or of an older size, and
 * "nothing changed" there would be taken for an answer. */
static int check_range(const struct changes *changes, struct err *err)
{
	const struct changes_request *q = &changes->request;

	if (q->length == 0)
		return err_set(err, -RP_EPARAM, "a length of 0 asks nothing");
	for (uint32_t i = 0; i < changes->n; i++)
		if (q->offset < blockset_bytes(changes->disks[i].set))
			return 0;
	return err_set(err, -RP_EPARAM,
		       "the offset %" PRIu64 " lies beyond the end of %s%s",
		       q->offset, changes->n == 1 ? "disk " : "every disk",
		       changes->n == 1 ? changes->disks[0].id : "");
}

int changes_ask(struct vm *vm, const struct changes_request *request,
		struct changes **ret_changes, struct err *err)
{
	uint64_t begin = now_ns();
	uint32_t first = 0, n = vm_disk_count(vm);
	struct changes *changes;
	int r = 0;

	if (request->has_disk) {
		r = vm_disk_find(vm, request->disk, err);
		if (r < 0)
			return r;
		first = (uint32_t)r;
		n = 1;
	}
	changes = calloc(1, sizeof(*changes) + n * sizeof(changes->disks[0]));
	if (!changes)
		return err_set(err, -ENOMEM, "changes");
	changes->request = *request;
	changes->n = n;
	r = 0;
	for (uint32_t i = 0; r == 0 && i < n; i++)
		r = ask_disk(vm, first + i, request, &changes->disks[i], err);
	if (r == 0)
		r = check_range(changes, err);
	if (r < 0) {
		changes_free(changes);
		return r;
	}
	reader_init(&changes->reader, &changes->disks[0]);
	changes->ask_ns = now_ns() - begin;
	*ret_changes = changes;
	return 0;
}

struct changes *changes_free(struct changes *changes)
{
	if (!changes)
		return NULL;
	for (uint32_t i = 0; i < changes->n; i++)
		blockset_free(changes->disks[i].set);
	free(changes->text.at);
	free(changes);
	return NULL;
}

/* ---- Writing
 * ----------------------------------------------------------------- */

static void add(struct text *text, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static void add(struct text *text, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	text->length += (size_t)vsnprintf(text->at + text->length,
					  text->room - text->length, fmt, ap);
	va_end(ap);
}

/* Reasons may hold what a path held. */
static void add_string(struct text *text, const char *name, const char *value)
{
	json_t *json = json_string(value);
	_cleanup_free_ char *encoded =
	    json_dumps(json, JSON_ENCODE_ANY | JSON_COMPACT);

	json_decref(json);
	add(text, "\"%s\":%s,", name, encoded ? encoded : "\"\"");
}

static void add_guid(struct text *text, const char *name,
		     const struct guid *guid)
{
	char id[GUID_TEXT_BYTES];

	guid_format(guid, id);
	add(text, "\"%s\":\"%s\",", name, id);
}

static void make_ending(struct ending *ending, uint64_t length)
{
	static const char name[] = ",\"length\":";
	char *at = ending->text;

	memcpy(at, name, sizeof(name) - 1);
	at += sizeof(name) - 1;
	at += decimal_write(length, at);
	memcpy(at, "},", 2);
	ending->bytes = (size_t)(at + 2 - ending->text);
	ending->length = length;
}

/* No snprintf() and no struct text: there are hundreds of thousands.  All of
 * the ending's room is copied, which is faster than as much as is needed. */
static char *put_extent(char *at, uint64_t offset, uint64_t length,
			struct ending *ending)
{
	static const char name[] = "{\"offset\":";

	if (length != ending->length)
		make_ending(ending, length);
	memcpy(at, name, sizeof(name) - 1);
	at += sizeof(name) - 1;
	at += decimal_write(offset, at);
	memcpy(at, ending->text, ENDING_BYTES);
	return at + ending->bytes;
}

/* Up to MAX extents of the disk being told; true once these were all. */
static bool add_extents(struct changes *changes, struct text *text,
			uint64_t *max)
{
	struct reader *reader = &changes->reader;
	char *start = text->at + text->length, *at = start;
	uint64_t offset, length;
	bool more;

	while ((more = reader_peek(reader, &offset, &length)) && *max) {
		at = put_extent(at, offset, length, &changes->ending);
		reader->next++;
		--*max;
	}
	if (at > start)
		at--; /* the last comma */
	text->length += (size_t)(at - start);
	return !more;
}

/* One entry of `disks`, with up to MAX extents; true once it is complete. */
static bool add_disk(struct changes *changes, struct text *text, uint64_t *max)
{
	const struct one_disk *d = &changes->disks[changes->disk];
	bool complete;

	add(text, "{\"id\":\"%s\",\"accuracy\":\"%s\",", d->id,
	    accuracy_name(d->accuracy.accuracy));
	add_string(text, "reason", d->accuracy.reason);
	add(text,
	    "\"widened_bytes\":%" PRIu64
	    ",\"granularity_bytes\":%u,\"changed_bytes\":%" PRIu64
	    ",\"extents\":[",
	    d->accuracy.widened_bytes, BLOCK_BYTES, d->changed);
	complete = add_extents(changes, text, max);
	add(text, "]}");
	return complete;
}

/* Room for a reply, kept for those that follow. */
static bool reserve(struct changes *changes, uint64_t max)
{
	struct text *text = &changes->text;

	text->length = 0;
	if (text->at)
		return true;
	text->room =
	    512 + changes->n * DISK_TEXT_BYTES + max * EXTENT_TEXT_BYTES;
	text->at = malloc(text->room);
	return text->at != NULL;
}

/* The next reply; false if there is no memory for it. */
static bool write_reply(struct changes *changes, uint64_t max)
{
	struct text *text = &changes->text;
	bool first = true;

	if (!reserve(changes, max))
		return false;
	add(text, "{\"parameters\":{");
	add_guid(text, "since", &changes->request.since);
	if (changes->request.has_until)
		add_guid(text, "until", &changes->request.until);
	else
		add(text, "\"until\":null,");
	add(text, "\"disks\":[");
	while (changes->disk < changes->n && (first || max)) {
		add(text, "%s", first ? "" : ",");
		first = false;
		if (!add_disk(changes, text, &max))
			break;
		if (++changes->disk < changes->n)
			reader_init(&changes->reader,
				    &changes->disks[changes->disk]);
	}
	add(text, "]}%s}",
	    changes->disk < changes->n ? ",\"continues\":true" : "");
	return true;
}

/* ---- Sending
 * ----------------------------------------------------------------- */

static void on_hangup(void *arg)
{
	struct changes *changes = arg;
	struct rpc_call *call = changes->call;
	struct err err = {0};

	err_set(&err, -RP_ECANCELLED, "the caller went away");
	rpc_fail(call, &err);
	changes_free(changes);
}

static void fail(struct changes *changes, int code, const char *why)
{
	struct rpc_call *call = changes->call;
	struct err err = {0};

	err_set(&err, code, "%s", why);
	rpc_call_on_hangup(call, NULL, NULL);
	changes_free(changes);
	rpc_fail(call, &err);
}

static void send_last(struct changes *changes)
{
	struct rpc_call *call = changes->call;

	log_debug("changes", "found in %llu us, written in %llu",
		  (unsigned long long)(changes->ask_ns / 1000),
		  (unsigned long long)(changes->write_ns / 1000));
	rpc_call_on_hangup(call, NULL, NULL);
	rpc_call_on_drained(call, NULL, NULL);
	rpc_reply_text(call, changes->text.at, changes->text.length, false);
	changes_free(changes);
}

static void produce(void *arg)
{
	struct changes *changes = arg;
	struct rpc_call *call = changes->call;
	uint64_t max =
	    rpc_call_more(call) ? EXTENTS_PER_REPLY : EXTENTS_PER_ANSWER;

	while (rpc_call_backlog(call) <= BACKLOG_BYTES) {
		uint64_t begin = now_ns();

		if (!write_reply(changes, max)) {
			fail(changes, -ENOMEM, "changes");
			return;
		}
		changes->write_ns += now_ns() - begin;
		if (changes->disk == changes->n) {
			send_last(changes);
			return;
		}
		rpc_reply_text(call, changes->text.at, changes->text.length,
			       true);
	}
}

static bool fits_one_answer(const struct changes *changes)
{
	uint64_t n = 0, offset, length;
	struct reader reader;

	for (uint32_t i = 0; i < changes->n; i++) {
		reader_init(&reader, &changes->disks[i]);
		for (; n <= EXTENTS_PER_ANSWER &&
		       reader_peek(&reader, &offset, &length);
		     reader.next++)
			n++;
	}
	return n <= EXTENTS_PER_ANSWER;
}

void changes_send(struct changes *changes, struct rpc_call *call)
{
	changes->call = call;
	if (!rpc_call_more(call) && !fits_one_answer(changes)) {
		fail(changes, -RP_ELIMIT,
		     "there are too many extents for one reply: call with "
		     "\"more\", or restrict offset and length");
		return;
	}
	rpc_call_on_hangup(call, on_hangup, changes);
	rpc_call_on_drained(call, produce, changes);
	produce(changes);
}
