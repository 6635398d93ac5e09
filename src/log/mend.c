/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an image holds is logged anew; and a log and its image are made durable
 * together.
 *
 * A mender reads LOG_PIECE_BYTES at once and waits until that is in the log:
 * nobody else writes to these blocks meanwhile (a failed piece has them for
 * itself; attaching comes before the guest).
 */
#include <stdlib.h>
#include <string.h>

#include "log/logs-internal.h"

/* ---- mending ---------------------------------------------------------- */

struct mender {
	struct part *part;
	struct log_stream *stream;
	struct volume *volume;
	struct ioq *ioq;
	const struct blockset *set;
	uint64_t next; /* SET: the block after those of [at, end) */
	uint64_t at, end;
	void (*done)(void *arg, int result);
	void *arg;
	struct io io;
	struct log_piece piece;
	uint8_t *buf;
};

static void finish(struct mender *m, int result)
{
	void (*done)(void *arg, int result) = m->done;
	struct part *part = m->part;
	void *arg = m->arg;

	free(m->buf);
	free(m);
	done(arg, result);
	part_unref(part);
}

/* The next blocks of the set; false: none. */
static bool next_run(struct mender *m)
{
	uint64_t first, end;

	if (!m->set || !blockset_next(m->set, m->next, &first, &end))
		return false;
	m->next = end;
	m->at = first << BLOCK_SHIFT;
	m->end = MIN(end << BLOCK_SHIFT, volume_bytes(m->volume));
	return true;
}

/* The first time there is something to do, so that DONE never comes from
 * mend_begin(). */
static void go_on(struct mender *m)
{
	if (m->at >= m->end && !next_run(m)) {
		finish(m, 0);
		return;
	}
	m->io.offset = m->at;
	m->io.length = MIN(m->end - m->at, LOG_PIECE_BYTES);
	ioq_submit(m->ioq, &m->io);
}

static void ready(struct log_piece *piece)
{
	struct mender *m = container_of(piece, struct mender, piece);

	if (stream_is_dropped(m->stream))
		finish(m, 0);
	else
		go_on(m);
}

static bool all_zero(const uint8_t *buf, uint64_t bytes)
{
	return buf[0] == 0 && memcmp(buf, buf + 1, bytes - 1) == 0;
}

static void was_read(struct io *io, int result)
{
	struct mender *m = container_of(io, struct mender, io);

	if (result < 0) {
		finish(m, result);
		return;
	}
	m->piece = (struct log_piece){
	    .offset = m->at,
	    .length = io->length,
	    .data = all_zero(m->buf, io->length) ? NULL : m->buf,
	    .ready = ready,
	};
	m->at += io->length;
	if (stream_is_dropped(m->stream))
		finish(m, 0);
	else if (stream_mend(m->stream, &m->piece))
		go_on(m);
}

struct start {
	struct ring_task task;
	struct mender *mender;
};

int mend_begin(struct logs *logs, struct part *part, uint32_t disk,
	       const struct blockset *set, uint64_t at, uint64_t end,
	       void (*done)(void *arg, int result), void *arg)
{
	struct mender *m = calloc(1, sizeof(*m));

	if (m)
		m->buf = aligned_alloc(BLOCK_BYTES, LOG_PIECE_BYTES);
	if (!m || !m->buf) {
		free(m);
		return -ENOMEM;
	}
	m->part = part;
	m->stream = part->streams[disk];
	m->volume = vm_volume_at(logs->vm, disk);
	m->ioq = logs->host.ioq;
	m->set = set;
	m->at = at;
	m->end = end;
	m->done = done;
	m->arg = arg;
	m->io = (struct io){
	    .op = IO_READ,
	    .file = volume_image(m->volume),
	    .buf = m->buf,
	    .done = was_read,
	};
	part_ref(part);
	go_on(m);
	return 0;
}

/* ---- settling --------------------------------------------------------- */

/* Log, image, the flush record, and once more the log; while no guest is
 * served: nobody else syncs the image. */
struct settler {
	struct part *part;
	struct log_stream *stream;
	struct volume *volume;
	struct ioq *ioq;
	struct log_flush flush;
	struct io io;
	bool last;
	void (*done)(void *arg, int result);
	void *arg;
	int result;
};

static void settled(struct settler *s)
{
	void (*done)(void *arg, int result) = s->done;
	struct part *part = s->part;
	void *arg = s->arg;
	int result = s->result;

	free(s);
	done(arg, result);
	part_unref(part);
}

static void last_done(struct log_flush *flush)
{
	settled(container_of(flush, struct settler, flush));
}

static void image_synced(struct io *io, int result)
{
	struct settler *s = container_of(io, struct settler, io);

	s->result = result;
	if (result < 0)
		volume_sync_failed(s->volume, result);
	else if (volume_sync_counts(s->volume, 0))
		stream_flushed(s->stream, &s->flush);
	if (result < 0 || !s->last) {
		settled(s);
		return;
	}
	s->flush.done = last_done;
	stream_sync(s->stream, &s->flush);
}

static void log_synced(struct log_flush *flush)
{
	struct settler *s = container_of(flush, struct settler, flush);

	ioq_submit(s->ioq, &s->io);
}

int settle_begin(struct logs *logs, struct part *part, uint32_t disk, bool last,
		 void (*done)(void *arg, int result), void *arg)
{
	struct settler *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	*s = (struct settler){
	    .part = part,
	    .stream = part->streams[disk],
	    .volume = vm_volume_at(logs->vm, disk),
	    .ioq = logs->host.ioq,
	    .flush.done = log_synced,
	    .io = {.op = IO_SYNC,
		   .file = volume_image(vm_volume_at(logs->vm, disk)),
		   .done = image_synced},
	    .last = last,
	    .done = done,
	    .arg = arg,
	};
	part_ref(part);
	stream_sync(s->stream, &s->flush);
	return 0;
}
