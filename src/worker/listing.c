/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The answer to Points: 256 points of 64 disks are twice what a message holds.
 * Each point's text is made at once, while the vm stands still, and they are
 * handed out, as many to a reply as fit, no faster than they are read.
 */
#include <stdlib.h>
#include <string.h>

#include "worker/worker.h"

#define REPLY_BYTES   (128u << 10) /* of points, where several may be sent */
#define BACKLOG_BYTES (256u << 10)

static const char head[] = "{\"parameters\":{\"points\":[";
static const char tail_more[] = "]},\"continues\":true}";
static const char tail_last[] = "]}}";

#define FRAME_BYTES (sizeof(head) + sizeof(tail_more))

struct one_point {
	char *text;
	size_t bytes;
};

struct listing {
	struct worker *worker;
	struct rpc_call *call;
	size_t bytes; /* of all points, with a comma each */
	uint32_t n, room;
	uint32_t next; /* to be told */
	struct one_point *points;
};

/* ---- Making -------------------------------------------------------------- */

struct listing *listing_free(struct listing *listing)
{
	if (!listing)
		return NULL;
	for (uint32_t i = 0; i < listing->n; i++)
		free(listing->points[i].text);
	free(listing->points);
	free(listing);
	return NULL;
}

static int reserve(struct listing *listing)
{
	uint32_t room = listing->room ? 2 * listing->room : 64;
	struct one_point *points;

	if (listing->n < listing->room)
		return 0;
	points = reallocarray(listing->points, room, sizeof(*points));
	if (!points)
		return -ENOMEM;
	listing->points = points;
	listing->room = room;
	return 0;
}

static int add_point(void *arg, const struct point_row *row)
{
	struct listing *listing = arg;
	json_t *json = point_json(listing->worker, row);
	struct one_point point = {.text = json_dumps(json, JSON_COMPACT)};

	json_decref(json);
	if (!point.text || reserve(listing) < 0) {
		free(point.text);
		return -ENOMEM;
	}
	point.bytes = strlen(point.text);
	listing->points[listing->n++] = point;
	listing->bytes += point.bytes + 1;
	return 0;
}

int listing_make(struct worker *worker, struct listing **ret_listing,
		 struct err *err)
{
	struct listing *listing = calloc(1, sizeof(*listing));
	int r;

	if (!listing)
		return err_set(err, -ENOMEM, "points");
	listing->worker = worker;
	r = vm_points(worker->vm, add_point, listing, err);
	if (r < 0) {
		listing_free(listing);
		return r;
	}
	*ret_listing = listing;
	return 0;
}

/* ---- Sending ------------------------------------------------------------- */

/* The points from NEXT on that fit into MAX bytes, but at least one. */
static uint32_t end_of_reply(const struct listing *listing, size_t max)
{
	uint32_t i = listing->next;
	size_t bytes = 0;

	while (i < listing->n) {
		bytes += listing->points[i].bytes + 1;
		if (bytes > max && i > listing->next)
			break;
		i++;
	}
	return i;
}

static char *put(char *at, const char *text, size_t bytes)
{
	memcpy(at, text, bytes);
	return at + bytes;
}

/* Points up to END, which are told then.  NULL: no memory. */
static char *write_reply(struct listing *listing, uint32_t end,
			 size_t *ret_bytes)
{
	const char *tail = end < listing->n ? tail_more : tail_last;
	size_t room = FRAME_BYTES;
	char *text, *at;

	for (uint32_t i = listing->next; i < end; i++)
		room += listing->points[i].bytes + 1;
	text = malloc(room);
	if (!text)
		return NULL;
	at = put(text, head, sizeof(head) - 1);
	for (; listing->next < end; listing->next++) {
		const struct one_point *p = &listing->points[listing->next];

		at = put(at, p->text, p->bytes);
		if (listing->next + 1 < end)
			*at++ = ',';
	}
	at = put(at, tail, strlen(tail));
	*ret_bytes = (size_t)(at - text);
	return text;
}

static void fail(struct listing *listing, int code, const char *why)
{
	struct rpc_call *call = listing->call;
	struct err err = {0};

	err_set(&err, code, "%s", why);
	rpc_call_on_hangup(call, NULL, NULL);
	rpc_call_on_drained(call, NULL, NULL);
	listing_free(listing);
	rpc_fail(call, &err);
}

static void on_hangup(void *arg)
{
	fail(arg, -RP_ECANCELLED, "the caller went away");
}

static void produce(void *arg)
{
	struct listing *listing = arg;
	struct rpc_call *call = listing->call;
	size_t max =
	    rpc_call_more(call) ? REPLY_BYTES : (size_t)RPC_MESSAGE_BYTES_MAX;

	while (rpc_call_backlog(call) <= BACKLOG_BYTES) {
		size_t bytes = 0;
		char *text =
		    write_reply(listing, end_of_reply(listing, max), &bytes);
		bool continues = listing->next < listing->n;

		if (!text) {
			fail(listing, -ENOMEM, "points");
			return;
		}
		if (!continues) {
			rpc_call_on_hangup(call, NULL, NULL);
			rpc_call_on_drained(call, NULL, NULL);
			listing_free(listing);
		}
		rpc_reply_text(call, text, bytes, continues);
		free(text);
		if (!continues)
			return;
	}
}

void listing_send(struct listing *listing, struct rpc_call *call)
{
	listing->call = call;
	if (!rpc_call_more(call) &&
	    listing->bytes + FRAME_BYTES > RPC_MESSAGE_BYTES_MAX) {
		fail(listing, -RP_ELIMIT,
		     "there are too many points for one reply: call with "
		     "\"more\"");
		return;
	}
	rpc_call_on_hangup(call, on_hangup, listing);
	rpc_call_on_drained(call, produce, listing);
	produce(listing);
}
