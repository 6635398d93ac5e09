/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Syncs, flushes and the end of a log: stream.c L5.
 *
 * Log and sidecar are synced side by side, one pair at a time; a pair serves
 * all flushes whose bytes and records are written when it begins.  Without
 * flushes the log is synced every LOG_SYNC_BYTES, so that a flush, when one
 * comes, does not take long.
 *
 * The end: the last block and the close record, written and synced; then the
 * header that says where the end is, written and synced.  A log whose header
 * says so is whole, whatever happens to the sidecar.
 */
#include <assert.h>

#include "log/internal.h"

void flush_append(struct flush_list *list, struct log_flush *flush)
{
	flush->next = NULL;
	*list->end = flush;
	list->end = &flush->next;
}

struct log_flush *flush_take(struct flush_list *list)
{
	struct log_flush *flush = list->first;

	if (!flush)
		return NULL;
	list->first = flush->next;
	if (!list->first)
		list->end = &list->first;
	return flush;
}

/* ---- Flushes ------------------------------------------------------------ */

/* L5: what is the same in log and image by now. */
static uint64_t same_sequence(struct log_stream *s)
{
	if (s->repairing)
		return s->flushed;
	if (s->same_tail == s->span_head)
		return s->sequence;
	return log_span(s, s->same_tail)->sequence - 1;
}

void stream_sync(struct log_stream *stream, struct log_flush *flush)
{
	flush->log_end = stream->writer.at;
	flush->records = stream->record_next;
	flush->sequence = same_sequence(stream);
	flush->since_ms = -1;
	flush_append(&stream->flushes, flush);
	log_hurry(stream);
	stream->due_until = stream->span_head + LOG_LAG_AFTER;
}

void stream_flushed(struct log_stream *stream, struct log_flush *flush)
{
	if (!log_is_live(stream) || stream->close != CLOSE_NOT)
		return;
	if (flush->sequence <= stream->flushed &&
	    flush->log_end <= stream->flushed_at)
		return;
	stream->flushed = MAX(stream->flushed, flush->sequence);
	stream->flushed_at = MAX(stream->flushed_at, flush->log_end);
	stream->flush_mark = stream->record_next;
	side_put_mark(stream, SIDECAR_FLUSH, stream->flushed, log_time(stream),
		      stream->flushed_at);
}

/* ---- Syncs -------------------------------------------------------------- */

static void sync_done(struct io *io, int result)
{
	struct log_io *lio = container_of(io, struct log_io, io);
	struct log_stream *s = log_io_over(lio);
	struct log_flush *flush;

	if (result < 0)
		log_drop(s, result, "sync '%s'", io->file->name);
	if (log_is_live(s) && !s->syncs[0].busy && !s->syncs[1].busy) {
		s->durable_end = s->sync_end;
		s->durable_records = s->sync_records;
		s->durable_bytes = s->sync_bytes;
		s->holds++;
		while ((flush = flush_take(&s->syncing)))
			flush->done(flush);
		s->holds--;
	}
	log_go_on(s);
}

static void sync_one(struct log_stream *s, struct log_io *lio,
		     struct file *file)
{
	lio->io = (struct io){
	    .op = IO_SYNC,
	    .file = file,
	    .done = sync_done,
	};
	log_io_submit(s, lio);
}

static void begin_sync(struct log_stream *s)
{
	s->sync_end = s->written_at;
	s->sync_records = s->record_written;
	s->sync_bytes = s->bytes_written;
	sync_one(s, &s->syncs[0], s->files.data);
	sync_one(s, &s->syncs[1], s->files.side);
}

static bool is_met(const struct log_flush *f, uint64_t end, uint64_t records)
{
	return f->log_end <= end && f->records <= records;
}

/* Those for which there is nothing to sync. */
static void finish_durable(struct log_stream *s)
{
	while (s->flushes.first && !s->dropped &&
	       is_met(s->flushes.first, s->durable_end, s->durable_records)) {
		struct log_flush *flush = flush_take(&s->flushes);

		flush->done(flush);
	}
}

static void push_sync(struct log_stream *s)
{
	bool wanted = s->bytes_written - s->durable_bytes >= LOG_SYNC_BYTES;

	if (s->syncs[0].busy || s->syncs[1].busy || !log_is_live(s))
		return;
	while (s->flushes.first &&
	       is_met(s->flushes.first, s->written_at, s->record_written)) {
		flush_append(&s->syncing, flush_take(&s->flushes));
		wanted = true;
	}
	if (wanted)
		begin_sync(s);
}

/* ---- The end of a log --------------------------------------------------- */

static void close_over(struct log_stream *s)
{
	bool was = s->close == CLOSE_DONE;

	s->close = CLOSE_DONE;
	if (was || !s->close_done)
		return;
	if (s->dropped)
		s->close_done(s->close_arg, s->why.code, &s->why);
	else
		s->close_done(s->close_arg, 0, NULL);
}

static void close_io_done(struct io *io, int result)
{
	struct log_io *lio = container_of(io, struct log_io, io);
	struct log_stream *s = log_io_over(lio);

	if (result < 0)
		log_drop(s, result, "close '%s'", io->file->name);
	if (!log_is_live(s)) {
		log_go_on(s);
		return;
	}
	s->holds++;
	if (s->close == CLOSE_HEADER) {
		s->close = CLOSE_LAST;
		lio->io.op = IO_SYNC;
		log_io_submit(s, lio);
	} else {
		close_over(s);
	}
	s->holds--;
	log_go_on(s);
}

static void write_header(struct log_flush *flush)
{
	struct log_stream *s =
	    container_of(flush, struct log_stream, close_flush);

	if (s->dropped)
		return;
	hrl_writer_close(&s->writer, hrl_time(log_time(s)), s->close_buffer);
	s->close = CLOSE_HEADER;
	s->close_io.io = (struct io){
	    .op = IO_WRITE,
	    .file = s->files.data,
	    .offset = 0,
	    .length = HRL_HEADER_BYTES,
	    .buf = s->close_buffer,
	    .done = close_io_done,
	};
	log_io_submit(s, &s->close_io);
}

static void push_close(struct log_stream *s)
{
	if (s->close != CLOSE_BLOCK)
		return;
	if (s->writer.pending > 0 && !buffer_place_block(s))
		return;
	side_put_mark(s, SIDECAR_CLOSE, s->sequence, log_time(s), s->writer.at);
	s->close = CLOSE_SYNC;
	s->close_flush.done = write_header;
	stream_sync(s, &s->close_flush);
	buffer_push(s, true);
	side_push(s);
}

void stream_close(struct log_stream *stream,
		  void (*done)(void *arg, int result, const struct err *err),
		  void *arg)
{
	assert(stream->close == CLOSE_NOT);
	assert(!stream_has_waiting(stream) || stream->dropped);
	assert((!stream->repairing && stream->failing == 0) || stream->dropped);
	stream->close_done = done;
	stream->close_arg = arg;
	stream->close = CLOSE_BLOCK;
}

/* ---- Both --------------------------------------------------------------- */

void durable_push(struct log_stream *stream)
{
	push_close(stream);
	finish_durable(stream);
	push_sync(stream);
}

void durable_dropped(struct log_stream *stream)
{
	struct log_flush *flush;

	while ((flush = flush_take(&stream->syncing)))
		flush->done(flush);
	while ((flush = flush_take(&stream->flushes)))
		flush->done(flush);
	if (stream->close != CLOSE_NOT)
		close_over(stream);
}
