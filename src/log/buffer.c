/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Spans on their way to the log.
 *
 * The buffer is circular.  A span's memory is contiguous, at the same place
 * within 4096 bytes as in the file, and follows that of the span before, or
 * begins again at the buffer's beginning where it does not fit before the end.
 * An empty buffer begins anew, so a log that keeps up stays in the cache.
 * Spans that follow each other in file and memory are written together.
 * Zeros have no memory and are not written: the file has a hole there.
 */
#include <assert.h>

#include "log/internal.h"

static_assert(LOG_BUFFER_BYTES >=
		  2 * (LOG_PIECE_BYTES + HRL_METADATA_BYTES + BLOCK_BYTES),
	      "the largest piece fits behind any other");

struct log_span *log_span(struct log_stream *stream, uint64_t number)
{
	assert(number >= stream->span_tail && number < stream->span_head);
	return &stream->spans[number % LOG_SPANS];
}

/* ---- Room --------------------------------------------------------------- */

/* Where after FROM memory for place AT of the file may begin. */
static uint64_t congruent(uint64_t from, uint64_t at)
{
	uint64_t base = round_down(from, BLOCK_BYTES) + at % BLOCK_BYTES;

	return base < from ? base + BLOCK_BYTES : base;
}

/* Where LENGTH bytes go that stand at AT of the file. */
static bool find_memory(const struct log_stream *s, uint64_t at,
			uint64_t length, uint64_t *ret_memory)
{
	uint64_t begin = congruent(s->held ? s->head : 0, at);
	uint64_t end = LOG_BUFFER_BYTES;

	if (s->held) {
		uint64_t tail = s->spans[s->memory_tail % LOG_SPANS].memory;

		if (tail >= s->head) {
			end = tail; /* free is [head, tail) */
		} else if (begin + length > end) {
			begin = at % BLOCK_BYTES;
			end = tail;
		}
	}
	if (begin + length > end)
		return false;
	*ret_memory = begin;
	return true;
}

static unsigned spans_free(const struct log_stream *s)
{
	return LOG_SPANS - (unsigned)(s->span_head - s->span_tail);
}

bool buffer_make_room(struct log_stream *stream, uint64_t length, bool zeros,
		      unsigned reserve)
{
	uint64_t memory;

	if (spans_free(stream) < reserve + 2)
		return false;
	if (hrl_writer_is_full(&stream->writer) && !buffer_place_block(stream))
		return false;
	return zeros || find_memory(stream, stream->writer.at, length, &memory);
}

struct log_span *buffer_take(struct log_stream *stream, uint64_t at,
			     uint32_t length, bool zeros)
{
	struct log_span *span = &stream->spans[stream->span_head % LOG_SPANS];
	uint64_t memory = 0;
	bool room = zeros || find_memory(stream, at, length, &memory);

	assert(room && spans_free(stream) > 0);
	*span = (struct log_span){
	    .at = at,
	    .length = length,
	    .memory = (uint32_t)memory,
	    .slot = NO_SLOT,
	    .state = zeros ? 0 : SPAN_MEMORY,
	};
	if (!zeros) {
		if (stream->held++ == 0)
			stream->memory_tail = stream->span_head;
		stream->head = memory + length;
	}
	stream->span_head++;
	return span;
}

bool buffer_place_block(struct log_stream *stream)
{
	struct sidecar_record record = {
	    .kind = SIDECAR_BLOCK,
	    .sequence = stream->sequence,
	    .at = stream->writer.at,
	};
	struct log_span *span;
	uint64_t memory;

	if (spans_free(stream) == 0 ||
	    !find_memory(stream, record.at, HRL_METADATA_BYTES, &memory))
		return false;
	span = buffer_take(stream, record.at, HRL_METADATA_BYTES, false);
	(void)hrl_writer_block(&stream->writer, stream->buffer + memory);
	stream->service.budget->used +=
	    HRL_METADATA_BYTES + SIDECAR_RECORD_BYTES;
	record.time_ns = log_time(stream);
	side_put(stream, &record, record.at + HRL_METADATA_BYTES);
	span->record = record.number;
	span->sequence = record.sequence;
	span->state |= SPAN_IMAGE | SPAN_SAME;
	return true;
}

/* ---- What became of a span ---------------------------------------------- */

static void give_slot_back(struct log_stream *s, struct log_span *span)
{
	if ((span->state & SPAN_OVER) != SPAN_OVER || span->slot == NO_SLOT)
		return;
	if (log_is_live(s))
		table_give_back(s, span->slot);
	span->slot = NO_SLOT;
}

static bool needs_memory(const struct log_span *span)
{
	unsigned both = SPAN_WRITTEN | SPAN_IMAGE;

	return span->state & SPAN_MEMORY && (span->state & both) != both;
}

/* The first span from NUMBER on with memory that is still needed. */
static void advance_memory(struct log_stream *s)
{
	while (s->memory_tail < s->span_head) {
		struct log_span *span = &s->spans[s->memory_tail % LOG_SPANS];

		if (needs_memory(span))
			break;
		if (span->state & SPAN_MEMORY)
			s->held--;
		s->memory_tail++;
	}
	/* Of zeros there is no memory to begin at; spans with some follow, or
	 * none does. */
	assert(s->held == 0 || s->memory_tail < s->span_head);
}

static void advance_written(struct log_stream *s)
{
	while (s->written < s->write_next) {
		struct log_span *span = &s->spans[s->written % LOG_SPANS];

		if (!(span->state & SPAN_WRITTEN))
			break;
		s->written_at = span->at + span->length;
		s->written++;
	}
}

static void advance_recorded(struct log_stream *s)
{
	while (s->recorded < s->span_head) {
		struct log_span *span = &s->spans[s->recorded % LOG_SPANS];

		if (span->record >= s->record_written)
			break;
		span->state |= SPAN_RECORDED;
		give_slot_back(s, span);
		s->recorded++;
	}
}

static void advance_to(struct log_stream *s, uint64_t *number, unsigned state)
{
	while (*number < s->span_head &&
	       (s->spans[*number % LOG_SPANS].state & state) == state)
		++*number;
}

void buffer_advance(struct log_stream *stream, struct log_span *span)
{
	if (span)
		give_slot_back(stream, span);
	advance_written(stream);
	advance_recorded(stream);
	advance_memory(stream);
	advance_to(stream, &stream->same_tail, SPAN_SAME);
	advance_to(stream, &stream->span_tail, SPAN_OVER);
}

/* ---- Writing ------------------------------------------------------------ */

static void write_done(struct io *io, int result)
{
	struct log_io *lio = container_of(io, struct log_io, io);
	struct log_stream *s = log_io_over(lio);

	if (result < 0)
		log_drop(s, result, "write '%s'", io->file->name);
	else
		s->bytes_written += io->length;
	/* Also if it failed: the kernel needs the memory no more. */
	for (uint64_t n = lio->first; n < lio->end; n++) {
		struct log_span *span = log_span(s, n);

		span->state |= SPAN_WRITTEN;
		give_slot_back(s, span);
	}
	buffer_advance(s, NULL);
	log_go_on(s);
}

static struct log_io *free_write(struct log_stream *s)
{
	for (unsigned i = 0; i < LOG_WRITES_MAX; i++)
		if (!s->writes[i].busy)
			return &s->writes[i];
	return NULL;
}

/* The end of the spans that are written together with the one at FROM;
 * *RET_FULL: others cannot join them. */
static uint64_t gather(const struct log_stream *s, uint64_t from,
		       uint64_t *ret_bytes, bool *ret_full)
{
	const struct log_span *span = &s->spans[from % LOG_SPANS];
	uint64_t bytes = span->length, next = span->memory + bytes;
	uint64_t to = from + 1;

	for (; to < s->span_head; to++) {
		span = &s->spans[to % LOG_SPANS];
		if (!(span->state & SPAN_MEMORY) || span->memory != next ||
		    bytes + span->length > LOG_WRITE_BYTES)
			break;
		bytes += span->length;
		next += span->length;
	}
	*ret_full = to < s->span_head || bytes == LOG_WRITE_BYTES;
	*ret_bytes = bytes;
	return to;
}

static void skip_zeros(struct log_stream *s)
{
	while (s->write_next < s->span_head) {
		struct log_span *span = &s->spans[s->write_next % LOG_SPANS];

		if (span->state & SPAN_MEMORY)
			return;
		span->state |= SPAN_WRITTEN;
		s->write_next++;
		buffer_advance(s, span);
	}
}

/* Too much that no sync has covered: a sync must not take long. */
static bool is_held_back(const struct log_stream *s)
{
	return s->syncs[0].busy &&
	       s->bytes_written - s->sync_bytes > LOG_DIRTY_BYTES;
}

/* L10; holes count as well. */
static bool is_lagging(const struct log_stream *s)
{
	return s->write_next >= s->due_spans &&
	       s->writer.at - s->spans[s->write_next % LOG_SPANS].at <
		   LOG_LAG_BYTES;
}

static bool push_one(struct log_stream *s, bool all)
{
	struct log_io *lio = free_write(s);
	const struct log_span *span;
	uint64_t bytes, to;
	bool full;

	skip_zeros(s);
	if (!lio || s->write_next == s->span_head || is_held_back(s))
		return false;
	to = gather(s, s->write_next, &bytes, &full);
	if (!full && (!all || is_lagging(s)))
		return false;
	span = &s->spans[s->write_next % LOG_SPANS];
	lio->first = s->write_next;
	lio->end = to;
	lio->io = (struct io){
	    .op = IO_WRITE,
	    .file = s->files.data,
	    .offset = span->at,
	    .length = bytes,
	    .buf = s->buffer + span->memory,
	    .done = write_done,
	};
	s->write_next = to;
	log_io_submit(s, lio);
	return true;
}

void buffer_push(struct log_stream *stream, bool all)
{
	while (log_is_live(stream) && push_one(stream, all))
		;
}
