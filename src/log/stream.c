/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream: how a write comes in, and what waits.
 *
 * A span is the data of one write, or a metadata block, on its way to the log;
 * spans are numbered, in the order of the log.  A write's span has a record in
 * the sidecar, a slot in the table and a place in the buffer.  What is done
 * with it, in any order: its bytes are written to the log (WRITTEN), after that
 * its record (RECORDED); the image's write ends (IMAGE), well (SAME).
 *
 *   L1  A slot says what a write changes from before its image's write is
 *       submitted until log, sidecar and image have it.  So after a kill, at
 *       any instruction, what no slot names is alike in log and image.
 *   L2  Sequence and time are taken together with the place in the log, and
 *       never step back: the order of records is that of sequences and of
 *       times.  As overlapping writes come one after the other, it is for each
 *       block also the order in the image.
 *   L3  A record is written only when the log's bytes up to the end of what it
 *       names are written (completed): a record that is found after a kill
 *       names data that is there.  After a power cut the data's checksum tells.
 *   L4  A slot is given back when its span is WRITTEN, RECORDED, IMAGE and
 *       SAME, not before.
 *   L5  A flush record says S and E: all writes up to sequence S are durable in
 *       log, sidecar and image, and the log is up to E.  S and E are those
 *       of the beginning of the three syncs: S less than the sequence of any
 *       write that is not SAME then, E the log's end; and the log's sync begins
 *       when all up to E is written, the sidecar's when all records of
 *       that are.  A write that the image failed counts as not SAME until it
 *       is mended.  The record needs no sync of its own: without it an
 *       older one counts, with a smaller S.
 *   L6  Nothing of the log keeps the guest waiting longer than LOG_PAUSE_MS
 *       and one tick.  Then, or when anything of it fails, or hangs, it is
 *       dropped: the table says so before the first write goes to the image
 *       that the log does not have (a kill right then must not find a log
 *       that looks good); then all that waits goes on.
 *   L7  A failed write of the image leaves the blocks as nobody knows.  Its
 *       slot stays, and S stays below it, until what the image holds there is
 *       logged anew.  Its memory goes back at once, and some spans and slots
 *       are kept for mending, so that mending never waits for what waits for
 *       it.
 *   L8  Memory: space in the buffer is taken and given back in the order of
 *       spans.  What the kernel may still read, the log's writes and the
 *       image's, is not given back: SPAN_IMAGE and SPAN_WRITTEN both.  A stream
 *       that ended, dropped or not, stays until the last of these.
 *   L9  After stream_repair() the slots of the dead process stay taken until
 *       all that it named is logged anew and recorded; after a power cut the
 *       table is not in force until then.  So a second death finds as much to
 *       mend as the first, or more.  No flush record has a larger S meanwhile.
 *   L10 What nobody waits for is held back until there is enough of it: a
 *       thread's wakeup for each write would cost the guest more than all else
 *       that logging does.  At most LOG_LAG_BYTES of the log and
 *       LOG_LAG_RECORDS, and no longer than until the next tick.  A kill
 *       loses their times only, for their slots are taken (L4); what waits for
 *       a flush, for room, for mending or for the end holds nothing back.  Of
 *       a guest that flushes often no write is, as each flush would wait.
 *
 * Who may change what: all on the queue's thread.  Callbacks run from
 * log_go_on() only, which the completions, stream_turn() and stream_tick() end
 * with; they may call anything of stream.h.  So log_go_on() takes what it calls
 * off its list first, and holds no state over a call but the stream's own hold.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "common/crc32c.h"
#include "log/internal.h"

/* ---- Making and ending -------------------------------------------------- */

/* Mapped, so that what was not used yet takes no memory. */
static uint8_t *map_buffer(void)
{
	void *addr = mmap(NULL, LOG_BUFFER_BYTES, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return addr == MAP_FAILED ? NULL : addr;
}

struct log_stream *log_stream_new(const struct log_service *service,
				  struct err *err)
{
	struct log_stream *s = calloc(1, sizeof(*s));

	if (!s)
		goto no_memory;
	s->buffer = map_buffer();
	s->side_buffer = aligned_alloc(BLOCK_BYTES, LOG_SIDE_BYTES);
	s->close_buffer = aligned_alloc(BLOCK_BYTES, HRL_HEADER_BYTES);
	if (!s->buffer || !s->side_buffer || !s->close_buffer)
		goto no_memory;
	s->service = *service;
	s->mends.end = &s->mends.first;
	s->waiting.end = &s->waiting.first;
	s->flushes.end = &s->flushes.first;
	s->syncing.end = &s->syncing.first;
	return s;
no_memory:
	if (s)
		log_stream_free(s);
	(void)err_set(err, -ENOMEM, "a log's buffer");
	return NULL;
}

void log_stream_free(struct log_stream *stream)
{
	assert(stream->holds == 0);
	log_files_close(&stream->files);
	log_table_close(&stream->table);
	if (stream->buffer)
		(void)munmap(stream->buffer, LOG_BUFFER_BYTES);
	free(stream->side_buffer);
	free(stream->close_buffer);
	free(stream);
}

struct log_stream *stream_end(struct log_stream *stream)
{
	if (!stream)
		return NULL;
	assert(!stream->waiting.first && !stream->mends.first);
	stream->ended = true;
	if (stream->holds == 0)
		log_stream_free(stream);
	return NULL;
}

bool log_is_live(const struct log_stream *stream)
{
	return !stream->dropped && !stream->ended;
}

/* ---- Dropping ----------------------------------------------------------- */

void stream_drop(struct log_stream *stream, const struct err *why)
{
	if (!log_is_live(stream))
		return;
	stream->why = *why;
	table_set(stream, LOG_TABLE_DROPPED);
	stream->dropped = true;
}

void log_drop(struct log_stream *stream, int code, const char *fmt, ...)
{
	char text[ERR_TEXT_BYTES];
	struct err err = {0};
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	(void)err_set(&err, code, "%s", text);
	stream_drop(stream, &err);
}

bool stream_is_dropped(const struct log_stream *stream)
{
	return stream->dropped;
}

const struct err *stream_why(const struct log_stream *stream)
{
	return stream->dropped ? &stream->why : NULL;
}

/* ---- I/O of ours -------------------------------------------------------- */

void log_io_submit(struct log_stream *stream, struct log_io *io)
{
	assert(!io->busy);
	io->busy = true;
	io->stream = stream;
	io->since_ms = -1;
	stream->holds++;
	ioq_submit(stream->service.ioq, &io->io);
}

struct log_stream *log_io_over(struct log_io *io)
{
	assert(io->busy && io->stream->holds > 0);
	io->busy = false;
	io->stream->holds--;
	return io->stream;
}

/* ---- Writes come in ----------------------------------------------------- */

static void append(struct piece_list *list, struct log_piece *piece)
{
	piece->next = NULL;
	piece->since_ms = -1;
	*list->end = piece;
	list->end = &piece->next;
}

static struct log_piece *take(struct piece_list *list)
{
	struct log_piece *piece = list->first;

	if (!piece)
		return NULL;
	list->first = piece->next;
	if (!list->first)
		list->end = &list->first;
	return piece;
}

int64_t log_time(struct log_stream *stream)
{
	struct log_clock *clock = stream->service.clock;
	int64_t now = clock->now_ns(clock->arg);

	clock->time_ns = MAX(clock->time_ns, now);
	return clock->time_ns;
}

/* Copies, and sums up the copy: what is copied may change meanwhile.  In parts
 * that the processor's first cache holds. */
static void copy(void *to, const void *from, uint64_t bytes, uint32_t *ret_crc,
		 uint32_t *ret_sum)
{
	uint32_t crc = 0, sum = 0;

	for (uint64_t done = 0; done < bytes;) {
		uint64_t n = MIN(bytes - done, KIB(16));
		uint8_t *at = (uint8_t *)to + done;

		memcpy(at, (const uint8_t *)from + done, n);
		crc = crc32c(crc, at, n);
		sum = hrl_sum(sum, at, n);
		done += n;
	}
	*ret_crc = crc;
	*ret_sum = ~sum;
}

void log_hurry(struct log_stream *stream)
{
	stream->due_spans = stream->span_head;
	stream->due_records = stream->record_next;
}

/* Its record, its entry in the log's next block, and its bytes. */
static void enter(struct log_stream *stream, struct log_piece *piece, bool mend)
{
	struct sidecar_record record = {
	    .kind = piece->data ? SIDECAR_WRITE : SIDECAR_ZEROS,
	    .mending = mend,
	    .length = (uint32_t)piece->length,
	    .sequence = ++stream->service.clock->sequence,
	    .time_ns = log_time(stream),
	    .offset = piece->offset,
	    .at = stream->writer.at,
	};
	uint32_t sum = HRL_ZEROS_CHECKSUM;
	struct log_span *span =
	    buffer_take(stream, record.at, record.length, !piece->data);

	if (piece->data) {
		void *bytes = stream->buffer + span->memory;

		copy(bytes, piece->data, piece->length, &record.data_checksum,
		     &sum);
		piece->bytes = bytes;
	}
	(void)hrl_writer_add(&stream->writer, piece->offset, record.length,
			     hrl_time(record.time_ns), sum);
	side_put(stream, &record, record.at + record.length);
	stream->sequence = record.sequence;
	span->sequence = record.sequence;
	span->record = record.number;
	if (stream->span_head <= stream->due_until)
		log_hurry(stream);
}

static bool budget_allows(struct log_stream *stream,
			  const struct log_piece *piece)
{
	struct log_budget *budget = stream->service.budget;
	uint64_t bytes =
	    SIDECAR_RECORD_BYTES + (piece->data ? piece->length : 0);

	if (budget->used <= budget->limit &&
	    bytes <= budget->limit - budget->used) {
		budget->used += bytes;
		return true;
	}
	log_drop(stream, -RP_ELIMIT, "the logs' limit of %llu bytes is reached",
		 (unsigned long long)budget->limit);
	return false;
}

/* False: there is no room, or no log any more. */
static bool admit(struct log_stream *stream, struct log_piece *piece, bool mend)
{
	unsigned reserve = mend ? 0 : LOG_SPANS_MEND;
	bool slot = !(mend && stream->repairing); /* L9: it is pinned */
	struct log_span *span;

	if (slot && !table_has(stream, reserve))
		return false;
	if (!buffer_make_room(stream, piece->length, !piece->data, reserve))
		return false;
	if (!budget_allows(stream, piece))
		return false;
	piece->span = stream->span_head;
	enter(stream, piece, mend);
	span = log_span(stream, piece->span);
	span->slot =
	    slot ? table_take(stream, piece->offset, piece->length) : NO_SLOT;
	if (mend)
		span->state |= SPAN_IMAGE | SPAN_SAME;
	else
		stream->holds++;
	return true;
}

/* A disk may grow; its sidecar's head says how large it is. */
static void check_end(struct log_stream *stream, const struct log_piece *piece)
{
	uint64_t bytes = stream->files.head.bytes;

	if (piece->length > bytes || piece->offset > bytes - piece->length)
		log_drop(stream, -RP_EUNSUPPORTED,
			 "the disk has grown since the log began");
}

static bool add(struct log_stream *stream, struct log_piece *piece, bool mend)
{
	bool first = !stream->mends.first && (mend || !stream->waiting.first);

	assert(piece->length > 0 && piece->length % SECTOR_BYTES == 0);
	assert(piece->offset % SECTOR_BYTES == 0);
	assert(piece->length <= (piece->data ? LOG_PIECE_BYTES : REGION_BYTES));
	assert(stream->close == CLOSE_NOT && !stream->ended);
	check_end(stream, piece);
	piece->span = NO_SPAN;
	piece->bytes = piece->data;
	if (!stream->dropped && first && admit(stream, piece, mend)) {
		buffer_push(stream, false);
		return true;
	}
	if (stream->dropped)
		return true;
	append(mend ? &stream->mends : &stream->waiting, piece);
	return false;
}

bool stream_add(struct log_stream *stream, struct log_piece *piece)
{
	return add(stream, piece, false);
}

bool stream_mend(struct log_stream *stream, struct log_piece *piece)
{
	assert(stream->dropped || stream->repairing || stream->failing > 0);
	return add(stream, piece, true);
}

/* ---- What became of them ------------------------------------------------ */

/* From here on no moment is certain; at TIME_NS all still was, and all that
 * follows is later. */
void log_break(struct log_stream *stream, int64_t time_ns)
{
	struct log_clock *clock = stream->service.clock;

	clock->time_ns = MAX(clock->time_ns, time_ns + 1);
	if (stream->broken)
		return;
	stream->broken = true;
	side_put_mark(stream, SIDECAR_BREAK, stream->sequence, time_ns,
		      stream->writer.at);
}

static void end_mending(struct log_stream *stream)
{
	if (stream->repairing || stream->failing > 0 || !stream->broken)
		return;
	stream->broken = false;
	side_put_mark(stream, SIDECAR_MENDED, stream->sequence,
		      log_time(stream), stream->writer.at);
}

bool stream_written(struct log_stream *stream, struct log_piece *piece,
		    int result)
{
	struct log_span *span;
	bool failed = result < 0 && log_is_live(stream);

	if (piece->span == NO_SPAN)
		return false;
	span = log_span(stream, piece->span);
	assert(!(span->state & SPAN_IMAGE) && stream->holds > 0);
	stream->holds--;
	span->state |= SPAN_IMAGE;
	if (failed) {
		stream->failing++;
		log_break(stream, log_time(stream));
	} else {
		span->state |= SPAN_SAME;
		piece->span = NO_SPAN;
	}
	buffer_advance(stream, span);
	if (stream->ended && stream->holds == 0)
		log_stream_free(stream);
	return failed;
}

static void mended_all(struct log_stream *stream)
{
	assert(stream->repairing);
	stream->repairing = false;
	end_mending(stream);
	stream->settling = true;
	stream->settle_at = stream->span_head;
}

void stream_mended(struct log_stream *stream, struct log_piece *piece)
{
	struct log_span *span;

	assert(!stream->mends.first || stream->dropped);
	if (!log_is_live(stream))
		return;
	if (!piece) {
		mended_all(stream);
		return;
	}
	assert(stream->failing > 0 && piece->span != NO_SPAN);
	span = log_span(stream, piece->span);
	span->state |= SPAN_SAME;
	piece->span = NO_SPAN;
	stream->failing--;
	end_mending(stream);
	buffer_advance(stream, span);
}

/* ---- Going on ----------------------------------------------------------- */

/* The next of LIST, if it may go now. */
static struct log_piece *next_ready(struct log_stream *stream,
				    struct piece_list *list, bool mend)
{
	if (!list->first)
		return NULL;
	if (!stream->dropped && !admit(stream, list->first, mend) &&
	    !stream->dropped)
		return NULL;
	return take(list);
}

static void admit_waiting(struct log_stream *stream)
{
	struct log_piece *piece;

	for (;;) {
		piece = next_ready(stream, &stream->mends, true);
		if (!piece && !stream->mends.first)
			piece = next_ready(stream, &stream->waiting, false);
		if (!piece)
			return;
		piece->ready(piece);
	}
}

static void tell_dropped(struct log_stream *stream)
{
	if (!stream->dropped || stream->told)
		return;
	stream->told = true;
	if (stream->service.dropped)
		stream->service.dropped(stream, stream->service.arg);
}

static void settle(struct log_stream *stream)
{
	if (!stream->settling || stream->span_tail < stream->settle_at)
		return;
	stream->settling = false;
	table_unpin(stream);
	table_set(stream, LOG_TABLE_IN_FORCE);
}

static bool is_waited_for(const struct log_stream *stream)
{
	return stream->mends.first || stream->waiting.first ||
	       stream->repairing || stream->broken || stream->settling ||
	       stream->close != CLOSE_NOT;
}

void log_go_on(struct log_stream *stream)
{
	stream->holds++;
	/* Whoever waits for it hears first that it is dropped, and then that
	 * the waiting is over. */
	tell_dropped(stream);
	if (!stream->ended)
		admit_waiting(stream);
	tell_dropped(stream);
	if (stream->dropped)
		durable_dropped(stream);
	if (log_is_live(stream)) {
		settle(stream);
		if (is_waited_for(stream))
			log_hurry(stream);
		buffer_push(stream, true);
		side_push(stream);
		durable_push(stream);
	}
	stream->holds--;
	if (stream->ended && stream->holds == 0)
		log_stream_free(stream);
}

void stream_turn(struct log_stream *stream)
{
	log_go_on(stream);
}

/* ---- Time --------------------------------------------------------------- */

/* Since when, by ticks; how long that is. */
static int64_t waits(int64_t *since_ms, int64_t now_ms)
{
	if (*since_ms < 0)
		*since_ms = now_ms;
	return now_ms - *since_ms;
}

static void check_io(struct log_stream *stream, struct log_io *io,
		     int64_t now_ms)
{
	if (io->busy && waits(&io->since_ms, now_ms) >= LOG_STALL_MS)
		log_drop(stream, -RP_ETIMEOUT,
			 "a %s of '%s' does not end within %u ms",
			 io->io.op == IO_SYNC ? "sync" : "write",
			 io->io.file->name, LOG_STALL_MS);
}

static void check_pieces(struct log_stream *stream,
			 const struct piece_list *list, int64_t now_ms)
{
	for (struct log_piece *p = list->first; p; p = p->next)
		if (waits(&p->since_ms, now_ms) >= LOG_PAUSE_MS) {
			log_drop(stream, -RP_ETIMEOUT,
				 "a write waited %u ms for the log",
				 LOG_PAUSE_MS);
			return;
		}
}

static void check_flushes(struct log_stream *stream,
			  const struct flush_list *list, int64_t now_ms)
{
	for (struct log_flush *f = list->first; f; f = f->next)
		if (waits(&f->since_ms, now_ms) >= LOG_PAUSE_MS) {
			log_drop(stream, -RP_ETIMEOUT,
				 "a flush waited %u ms for the log",
				 LOG_PAUSE_MS);
			return;
		}
}

void stream_tick(struct log_stream *stream, int64_t now_ms)
{
	if (log_is_live(stream)) {
		for (unsigned i = 0; i < LOG_WRITES_MAX; i++)
			check_io(stream, &stream->writes[i], now_ms);
		check_io(stream, &stream->side, now_ms);
		check_io(stream, &stream->syncs[0], now_ms);
		check_io(stream, &stream->syncs[1], now_ms);
		check_io(stream, &stream->close_io, now_ms);
		check_pieces(stream, &stream->mends, now_ms);
		check_pieces(stream, &stream->waiting, now_ms);
		check_flushes(stream, &stream->syncing, now_ms);
		check_flushes(stream, &stream->flushes, now_ms);
		log_hurry(stream);
	}
	log_go_on(stream);
}

/* ---- Questions ---------------------------------------------------------- */

bool stream_is_closed(const struct log_stream *stream)
{
	return stream->close == CLOSE_DONE && !stream->dropped;
}

uint64_t stream_log_end(const struct log_stream *stream)
{
	return stream->writer.at;
}

uint64_t stream_unflushed(const struct log_stream *stream)
{
	return stream->writer.at - MIN(stream->flushed_at, stream->writer.at);
}

bool stream_has_waiting(const struct log_stream *stream)
{
	return stream->waiting.first || stream->mends.first;
}

unsigned stream_under_way(const struct log_stream *stream)
{
	return LOG_SPANS - stream->slots_free;
}

const struct sidecar_head *stream_head(const struct log_stream *stream)
{
	return &stream->files.head;
}
