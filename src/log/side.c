/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records on their way to the sidecar: stream.c L3.  One write is under way at
 * a time, of whole sectors: the rest of the last one is zeros, which the next
 * write overwrites together with the records before, the same bytes as they
 * were.  So a sector that is torn between two writes holds what was durable.
 */
#include <assert.h>

#include "log/internal.h"

#define PER_SECTOR (SECTOR_BYTES / SIDECAR_RECORD_BYTES)
#define PER_WRITE  (LOG_SIDE_BYTES / SIDECAR_RECORD_BYTES)

static_assert(SIDECAR_HEAD_BYTES % SECTOR_BYTES == 0, "whole sectors");
static_assert(LOG_RECORDS > 2 * LOG_SPANS - 1, "one for each span, and marks");

void side_put(struct log_stream *stream, struct sidecar_record *record,
	      uint64_t need)
{
	uint64_t slot = stream->record_next % LOG_RECORDS;

	record->number = stream->record_next;
	if (!log_is_live(stream))
		return;
	/* The sector that is not full is still needed. */
	if (record->number - stream->record_written >=
	    LOG_RECORDS - PER_SECTOR) {
		log_drop(stream, -RP_ELIMIT, "too many records wait");
		return;
	}
	sidecar_record_encode(&stream->files.head.log, record,
			      stream->records[slot]);
	stream->needs[slot] = need;
	stream->record_next++;
}

void side_put_mark(struct log_stream *stream, enum sidecar_kind kind,
		   uint64_t sequence, int64_t time_ns, uint64_t at)
{
	struct sidecar_record record = {
	    .kind = kind,
	    .sequence = sequence,
	    .time_ns = time_ns,
	    .at = at,
	};

	side_put(stream, &record, at);
}

static void side_done(struct io *io, int result)
{
	struct log_io *lio = container_of(io, struct log_io, io);
	struct log_stream *s = log_io_over(lio);

	if (result < 0) {
		log_drop(s, result, "write '%s'", io->file->name);
	} else {
		s->record_written = lio->end;
		buffer_advance(s, NULL);
	}
	log_go_on(s);
}

/* The records [from, to) that may be written, TO not before FROM. */
static uint64_t writable(const struct log_stream *s, uint64_t sector)
{
	uint64_t to = s->record_written;

	while (to < s->record_next && to - sector < PER_WRITE &&
	       s->needs[to % LOG_RECORDS] <= s->written_at)
		to++;
	return to;
}

/* L10: TO is behind the last record that may be written.  That of a flush goes
 * with the next one's, if there is a next one. */
static bool is_lagging(const struct log_stream *s, uint64_t to)
{
	if (to == s->record_written + 1 && s->flush_mark == s->record_written &&
	    to < s->record_next)
		return true;
	return to - s->record_written < LOG_LAG_RECORDS &&
	       s->record_written >= s->due_records;
}

void side_push(struct log_stream *stream)
{
	struct log_io *lio = &stream->side;
	uint64_t sector = round_down(stream->record_written, PER_SECTOR);
	uint64_t to = writable(stream, sector);
	uint64_t bytes =
	    round_up((to - sector) * SIDECAR_RECORD_BYTES, SECTOR_BYTES);

	if (lio->busy || to == stream->record_written || is_lagging(stream, to))
		return;
	memset(stream->side_buffer, 0, bytes);
	for (uint64_t n = sector; n < to; n++)
		memcpy(stream->side_buffer +
			   (n - sector) * SIDECAR_RECORD_BYTES,
		       stream->records[n % LOG_RECORDS], SIDECAR_RECORD_BYTES);
	lio->end = to;
	lio->io = (struct io){
	    .op = IO_WRITE,
	    .file = stream->files.side,
	    .offset = sidecar_offset(sector),
	    .length = bytes,
	    .buf = stream->side_buffer,
	    .done = side_done,
	};
	log_io_submit(stream, lio);
}
