/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a sidecar's records say: docs/format/sidecar.md, "What a crash may
 * leave".  The first record that is not valid, or does not fit those before it,
 * ends the file; that is no error.  Nothing is believed unchecked: each place
 * follows from the one before.
 */
#include <stdlib.h>

#include "log/internal.h"

#define CHUNK_RECORDS 1024u
#define MARKS         64u

struct reading {
	struct scan scan;
	struct scan_mark marks[MARKS]; /* the newest blocks */
	unsigned mark_next;
	uint64_t chunk; /* first record of BUF */
	uint64_t in_chunk;
	uint8_t *buf;
};

static bool data_fits(const struct scan *s, const struct sidecar_record *r)
{
	uint64_t most = r->kind == SIDECAR_WRITE
			    ? LOG_PIECE_BYTES
			    : (uint64_t)HRL_ZEROS_BYTES_MAX;

	return r->at == s->end && r->length <= most &&
	       r->sequence > s->sequence && s->pending < HRL_ENTRIES;
}

/* Does it fit those before it? */
static bool fits(const struct scan *s, const struct sidecar_record *r)
{
	if (s->closed || r->time_ns < s->time_ns)
		return false;
	switch (r->kind) {
	case SIDECAR_WRITE:
	case SIDECAR_ZEROS:
		return data_fits(s, r);
	case SIDECAR_FLUSH:
		return r->sequence <= s->sequence && r->at <= s->end;
	case SIDECAR_CLOSE:
		if (s->pending > 0)
			return false;
		break;
	case SIDECAR_BLOCK:
	case SIDECAR_BREAK:
	case SIDECAR_MENDED:
		break;
	}
	return r->at == s->end && r->sequence == s->sequence;
}

/* A flush: which block is durable now? */
static void find_durable(struct reading *r)
{
	struct scan *s = &r->scan;

	for (unsigned i = 0; i < MIN(MARKS, r->mark_next); i++) {
		const struct scan_mark *mark = &r->marks[i];

		if (mark->end <= s->flushed_at &&
		    mark->sequence <= s->flushed &&
		    mark->records > s->durable.records)
			s->durable = *mark;
	}
}

static void take_block(struct reading *r)
{
	struct scan *s = &r->scan;

	s->end += HRL_METADATA_BYTES;
	s->bytes += HRL_METADATA_BYTES;
	s->entries += s->pending;
	s->pending = 0;
	s->last = (struct scan_mark){
	    .records = s->records,
	    .end = s->end,
	    .entries = s->entries,
	    .sequence = s->sequence,
	    .time_ns = s->time_ns,
	    .broken = s->broken,
	};
	r->marks[r->mark_next++ % MARKS] = s->last;
	if (r->mark_next == 2 * MARKS)
		r->mark_next = MARKS;
}

static void take(struct reading *r, const struct sidecar_record *record)
{
	struct scan *s = &r->scan;

	s->records = record->number + 1;
	s->bytes += SIDECAR_RECORD_BYTES;
	if (record->kind == SIDECAR_WRITE)
		s->bytes += record->length;
	s->time_ns = record->time_ns;
	switch (record->kind) {
	case SIDECAR_WRITE:
	case SIDECAR_ZEROS:
		s->end += record->length;
		s->sequence = record->sequence;
		s->pending++;
		break;
	case SIDECAR_BLOCK:
		take_block(r);
		break;
	case SIDECAR_FLUSH:
		s->flushed = MAX(s->flushed, record->sequence);
		s->flushed_at = MAX(s->flushed_at, record->at);
		find_durable(r);
		break;
	case SIDECAR_BREAK:
		s->broken = true;
		break;
	case SIDECAR_MENDED:
		s->broken = false;
		break;
	case SIDECAR_CLOSE:
		s->closed = true;
		break;
	}
}

/* The bytes of record NUMBER; 0: the file ends before. */
static int get(struct reading *r, uint64_t number, const uint8_t **ret_bytes,
	       struct err *err)
{
	int64_t n;

	if (number < r->chunk || number >= r->chunk + r->in_chunk) {
		n = file_read(r->scan.files->side, r->buf,
			      CHUNK_RECORDS * SIDECAR_RECORD_BYTES,
			      sidecar_offset(number), err);
		if (n < 0)
			return (int)n;
		r->chunk = number;
		r->in_chunk = (uint64_t)n / SIDECAR_RECORD_BYTES;
		if (r->in_chunk == 0)
			return 0;
	}
	*ret_bytes = r->buf + (number - r->chunk) * SIDECAR_RECORD_BYTES;
	return 1;
}

static int go_through(struct reading *r,
		      int (*fn)(void *arg, const struct sidecar_record *record,
				struct err *err),
		      void *arg, struct err *err)
{
	struct scan *s = &r->scan;

	for (;;) {
		struct sidecar_record record;
		const uint8_t *bytes = NULL;
		int n = get(r, s->records, &bytes, err);

		if (n <= 0)
			return n;
		if (sidecar_record_decode(bytes, &s->files->head, s->records,
					  &record, NULL) < 0 ||
		    !fits(s, &record))
			return 0;
		n = fn ? fn(arg, &record, err) : 0;
		if (n != 0)
			return n;
		take(r, &record);
	}
}

int scan_records(const struct scan_mark *from, const struct log_files *files,
		 struct scan *ret_scan,
		 int (*fn)(void *arg, const struct sidecar_record *record,
			   struct err *err),
		 void *arg, struct err *err)
{
	struct reading *r = calloc(1, sizeof(*r));
	int rc;

	if (r)
		r->buf = malloc(CHUNK_RECORDS * SIDECAR_RECORD_BYTES);
	if (!r || !r->buf) {
		free(r);
		return err_set(err, -ENOMEM, "a sidecar's records");
	}
	r->scan = (struct scan){
	    .files = files,
	    .records = from->records,
	    .end = from->end,
	    .bytes = HRL_FIRST_BYTES + SIDECAR_HEAD_BYTES,
	    .entries = from->entries,
	    .sequence = from->sequence,
	    .time_ns = from->time_ns,
	    .broken = from->broken,
	    .flushed = files->head.first_sequence,
	    .flushed_at = HRL_FIRST_BYTES,
	    .last = *from,
	    .durable = *from,
	};
	rc = go_through(r, fn, arg, err);
	if (rc >= 0)
		*ret_scan = r->scan;
	free(r->buf);
	free(r);
	return rc;
}
