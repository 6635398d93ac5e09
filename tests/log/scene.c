/* SPDX-License-Identifier: Apache-2.0 */
#include "scene.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

#include "store/files.h"

#define BLOCKS (SCENE_BYTES / BLOCK_BYTES)

static int64_t now_ns(void *arg)
{
	return sim_now_ns(((struct scene *)arg)->sim);
}

/* Another each time, also in worlds of one seed. */
static struct guid guid_of(struct scene *s)
{
	static uint32_t count;
	struct guid guid;

	for (size_t i = 0; i < sizeof(guid); i++)
		((uint8_t *)&guid)[i] = (uint8_t)(1 + sim_random(s->sim, 255));
	count++;
	memcpy(&guid, &count, sizeof(count));
	return guid;
}

/* ---- S3 ---- */

static struct scene *the_scene;

static void watch_over(struct io *io, int result)
{
	struct scene *s = the_scene;

	for (unsigned i = 0; i < SCENE_WATCHED; i++) {
		struct scene_watch *w = &s->watches[i];

		if (w->io != io)
			continue;
		if (w->copy)
			assert_memory_equal(w->copy, io->buf, io->length);
		free(w->copy);
		w->copy = NULL;
		w->io = NULL;
		io->done = w->done;
		io->done(io, result);
		return;
	}
	fail();
}

static void watch_submit(struct ioq *ioq, struct io *io)
{
	struct scene *s = container_of(ioq, struct scene, watched);
	unsigned i = 0;

	while (s->watches[i].io)
		assert_true(++i < SCENE_WATCHED);
	s->watches[i] = (struct scene_watch){.io = io, .done = io->done};
	if (io->op == IO_WRITE) {
		assert_true((uintptr_t)io->buf % SECTOR_BYTES == 0);
		assert_true(io->offset % SECTOR_BYTES == 0);
		assert_true(io->length % SECTOR_BYTES == 0);
		s->watches[i].copy = malloc(io->length);
		assert_non_null(s->watches[i].copy);
		memcpy(s->watches[i].copy, io->buf, io->length);
	}
	io->done = watch_over;
	ioq_submit(s->ioq, io);
}

static const struct ioq_ops watch_ops = {.submit = watch_submit};

/* ---- The world ---------------------------------------------------------- */

struct scene *scene_new(uint64_t seed)
{
	struct scene *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	the_scene = s;
	s->sim = sim_new(seed);
	s->watched.ops = &watch_ops;
	s->clock.now_ns = now_ns;
	s->clock.arg = s;
	s->budget.limit = UINT64_MAX;
	s->id = guid_of(s);
	for (unsigned i = 0; i < SCENE_DISKS; i++) {
		struct scene_disk *d = &s->disks[i];

		(void)snprintf(d->name, sizeof(d->name), "image%u", i);
		sim_image_new(s->sim, d->name, SCENE_BYTES);
		d->point = guid_of(s);
	}
	for (unsigned i = 0; i < SCENE_REQUESTS; i++) {
		s->writes[i].source = aligned_alloc(SECTOR_BYTES, KIB(64));
		s->writes[i].truth = aligned_alloc(SECTOR_BYTES, KIB(64));
		assert_true(s->writes[i].source && s->writes[i].truth);
	}
	return s;
}

struct scene *scene_free(struct scene *s)
{
	for (unsigned i = 0; i < SCENE_REQUESTS; i++) {
		free(s->writes[i].source);
		free(s->writes[i].truth);
	}
	for (unsigned i = 0; i < SCENE_WATCHED; i++)
		free(s->watches[i].copy);
	sim_free(s->sim);
	free(s);
	return NULL;
}

static void dropped(struct log_stream *stream, void *arg)
{
	struct scene *s = arg;

	for (unsigned i = 0; i < SCENE_DISKS; i++)
		if (s->disks[i].stream == stream)
			s->disks[i].dropped = true;
}

static struct log_service service(struct scene *s)
{
	return (struct log_service){
	    .ioq = &s->watched,
	    .store = s->store,
	    .memory = s->memory,
	    .boot = sim_boot_id(s->sim),
	    .clock = &s->clock,
	    .budget = &s->budget,
	    .dropped = dropped,
	    .arg = s,
	};
}

/* Handles, of this life. */
static void open_world(struct scene *s)
{
	s->store = sim_fs(s->sim, "store", false);
	s->memory = sim_fs(s->sim, "memory", true);
	s->ioq = sim_ioq_new(s->sim);
	for (unsigned i = 0; i < SCENE_DISKS; i++) {
		s->disks[i].image = sim_image_open(s->sim, s->disks[i].name);
		s->disks[i].dropped = false;
	}
}

/* An older log's files, as this program wrote them. */
static struct {
	uint8_t bytes[KIB(512)];
	uint64_t used;
} older[2];

static void remember(struct scene *s, unsigned which, enum log_part part)
{
	char name[LOG_NAME_BYTES];
	struct file *file;

	log_name(part, &s->disks[0].point, 0, name);
	if (fs_open(s->store, name, FILE_READ, &file, NULL) < 0)
		return;
	older[which].used =
	    (uint64_t)file_read(file, older[which].bytes,
				sizeof(older[which].bytes), 0, NULL);
	file_close(file);
}

static int make_stale(struct scene *s, unsigned disk, enum log_part part,
		      uint64_t from)
{
	unsigned which = part == LOG_SIDE;
	char name[LOG_NAME_BYTES];
	struct file *file;
	int r;

	if (older[which].used <= from)
		return 0;
	log_name(part, &s->disks[disk].point, disk, name);
	r = fs_open(s->store, name, FILE_WRITE, &file, NULL);
	if (r < 0)
		return r;
	r = file_write(file, older[which].bytes + from,
		       older[which].used - from, from, NULL);
	if (r == 0)
		r = file_sync(file, NULL);
	file_close(file);
	return r;
}

static int create_one(struct scene *s, unsigned disk, bool stale,
		      struct err *err)
{
	struct scene_disk *d = &s->disks[disk];
	struct log_service with = service(s);
	struct guid data_write = guid_of(s);
	struct sidecar_head head = {
	    .store = s->id,
	    .log = guid_of(s),
	    .point = d->point,
	    .bytes = SCENE_BYTES,
	    .first_sequence = s->clock.sequence,
	    .first_time_ns = s->clock.time_ns,
	    .disk = disk,
	};
	int r = stream_create(&with, &head, &data_write, &d->stream, err);

	d->recorded = d->promised = head.first_sequence;
	if (r == 0 && stale)
		r = make_stale(s, disk, LOG_DATA, HRL_METADATA_BYTES_MAX / 8);
	if (r == 0 && stale)
		r = make_stale(s, disk, LOG_SIDE, SIDECAR_HEAD_BYTES);
	return r;
}

int scene_create(struct scene *s, bool stale, struct err *err)
{
	int r = 0;

	open_world(s);
	s->stale = stale;
	s->clock.sequence = 100;
	s->clock.time_ns = now_ns(s);
	for (unsigned i = 0; r == 0 && i < SCENE_DISKS; i++)
		r = create_one(s, i, stale, err);
	return r < 0 ? r : s->store->ops->sync_dir(s->store, err);
}

/* ---- Writes ------------------------------------------------------------- */

static void mend_now(struct scene_write *w);

static void mend_ready(struct log_piece *piece)
{
	struct scene_write *w = container_of(piece, struct scene_write, mend);

	stream_mended(w->scene->disks[w->disk].stream, &w->piece);
	w->busy = false;
}

static void image_done(struct io *io, int result)
{
	struct scene_write *w = container_of(io, struct scene_write, io);
	struct scene_disk *d = &w->scene->disks[w->disk];

	if (sim_dead(w->scene->sim))
		result = 0;
	if (w->piece.bytes && !d->dropped)
		assert_memory_equal(w->piece.bytes, w->truth, w->piece.length);
	if (stream_written(d->stream, &w->piece, result))
		mend_now(w);
	else
		w->busy = false;
}

/* The image's write of W failed. */
static void mend_now(struct scene_write *w)
{
	struct scene *s = w->scene;
	struct scene_disk *d = &s->disks[w->disk];
	struct err err = {0};

	s->mends++;
	if (file_read(d->image, w->source, w->piece.length, w->piece.offset,
		      &err) < 0) {
		stream_drop(d->stream, &err);
		w->busy = false;
		return;
	}
	w->mend = (struct log_piece){
	    .offset = w->piece.offset,
	    .length = w->piece.length,
	    .data = w->source,
	    .ready = mend_ready,
	};
	if (stream_mend(d->stream, &w->mend))
		mend_ready(&w->mend);
}

static void launch(struct scene_write *w)
{
	struct scene *s = w->scene;
	struct scene_disk *d = &s->disks[w->disk];
	uint64_t first = w->piece.offset / BLOCK_BYTES;
	uint64_t end =
	    div_round_up(w->piece.offset + w->piece.length, BLOCK_BYTES);

	s->serial++;
	for (uint64_t b = first; b < end; b++)
		d->submitted[b] = s->serial;
	if (w->piece.bytes && !stream_is_dropped(d->stream)) {
		assert_memory_equal(w->piece.bytes, w->truth, w->piece.length);
		memset(w->source, 0xee, w->piece.length);
	}
	w->io = (struct io){
	    .op = w->piece.data ? IO_WRITE : IO_ZERO,
	    .file = d->image,
	    .offset = w->piece.offset,
	    .length = w->piece.length,
	    .buf = (void *)(uintptr_t)w->piece.bytes,
	    .done = image_done,
	};
	ioq_submit(&s->watched, &w->io);
}

static void ready(struct log_piece *piece)
{
	launch(container_of(piece, struct scene_write, piece));
}

static bool overlaps(const struct scene *s, unsigned disk, uint64_t offset,
		     uint64_t length)
{
	for (unsigned i = 0; i < SCENE_REQUESTS; i++) {
		const struct scene_write *w = &s->writes[i];

		if (w->busy && w->disk == disk &&
		    w->piece.offset / BLOCK_BYTES <=
			(offset + length - 1) / BLOCK_BYTES &&
		    offset / BLOCK_BYTES <=
			(w->piece.offset + w->piece.length - 1) / BLOCK_BYTES)
			return true;
	}
	return false;
}

bool scene_write(struct scene *s, unsigned disk, uint64_t offset,
		 uint64_t length, bool zeros)
{
	struct scene_write *w = s->writes;

	while (w < s->writes + SCENE_REQUESTS && w->busy)
		w++;
	if (w == s->writes + SCENE_REQUESTS ||
	    overlaps(s, disk, offset, length))
		return false;
	for (uint64_t at = 0; at < length; at += 8) {
		uint64_t word = sim_random(s->sim, UINT64_MAX);

		memcpy(w->source + at, &word, 8);
	}
	memcpy(w->truth, w->source, length);
	w->scene = s;
	w->disk = disk;
	w->busy = true;
	w->piece = (struct log_piece){
	    .offset = offset,
	    .length = length,
	    .data = zeros ? NULL : w->source,
	    .ready = ready,
	};
	if (stream_add(s->disks[disk].stream, &w->piece))
		launch(w);
	return true;
}

static void write_random(struct scene *s, unsigned disk)
{
	uint64_t most = s->large ? 128 : s->small ? 1 : 32;
	uint64_t sectors = 1 + sim_random(s->sim, most);
	uint64_t offset = sim_random(s->sim, SCENE_BYTES / 512 - sectors + 1);

	if (!s->small && sim_random(s->sim, 2)) {
		sectors = 8;
		offset = round_down(offset, 8);
	}
	(void)scene_write(s, disk, offset * 512, sectors * 512,
			  sim_random(s->sim, 6) == 0);
}

/* ---- Flushes ------------------------------------------------------------ */

static void flush_part(struct scene_flush *f)
{
	struct scene_disk *d = &f->scene->disks[f->disk];

	if (--f->wait > 0)
		return;
	f->busy = false;
	if (f->failed || sim_dead(f->scene->sim))
		return;
	stream_flushed(d->stream, &f->flush);
	d->recorded = MAX(d->recorded, f->flush.sequence);
}

static void flush_logged(struct log_flush *flush)
{
	struct scene_flush *f = container_of(flush, struct scene_flush, flush);
	struct scene_disk *d = &f->scene->disks[f->disk];

	if (!sim_dead(f->scene->sim)) {
		d->covered = MAX(d->covered, f->serial);
		d->promised = MAX(d->promised, f->promise);
	}
	flush_part(f);
}

static void flush_synced(struct io *io, int result)
{
	struct scene_flush *f = container_of(io, struct scene_flush, io);

	f->failed = result < 0;
	flush_part(f);
}

void scene_flush(struct scene *s, unsigned disk)
{
	struct scene_disk *d = &s->disks[disk];
	struct scene_flush *f = &d->flush;

	if (f->busy)
		return;
	*f = (struct scene_flush){
	    .flush.done = flush_logged,
	    .scene = s,
	    .disk = disk,
	    .wait = 2,
	    .busy = true,
	    /* What was hot stays so until it is mended. */
	    .serial = d->mending ? 0 : s->serial,
	    .promise = d->recorded,
	};
	stream_sync(d->stream, &f->flush);
	f->io = (struct io){
	    .op = IO_SYNC,
	    .file = d->image,
	    .done = flush_synced,
	};
	ioq_submit(&s->watched, &f->io);
}

/* ---- Time passes -------------------------------------------------------- */

void scene_turn(struct scene *s)
{
	for (unsigned i = 0; i < SCENE_DISKS; i++)
		if (s->disks[i].stream)
			stream_turn(s->disks[i].stream);
}

/* What is held back goes; of no time that hangs count. */
static void tick(struct scene *s)
{
	for (unsigned i = 0; i < SCENE_DISKS; i++)
		if (s->disks[i].stream)
			stream_tick(s->disks[i].stream, 0);
}

void scene_step(struct scene *s)
{
	unsigned disk = (unsigned)sim_random(s->sim, SCENE_DISKS);

	if (sim_dead(s->sim))
		return;
	switch (sim_random(s->sim, 10)) {
	case 0:
	case 1:
	case 2:
	case 3:
		write_random(s, disk);
		break;
	case 4:
		if (sim_random(s->sim, 4) == 0)
			tick(s);
		else
			scene_turn(s);
		break;
	case 5:
		if (sim_random(s->sim, s->small ? 100 : 4) == 0)
			scene_flush(s, disk);
		break;
	default:
		if (sim_ioq_pending(s->sim))
			sim_ioq_complete_random(s->sim);
		break;
	}
}

static void check_slots(struct scene *s)
{
	for (unsigned i = 0; i < SCENE_DISKS; i++) {
		const struct log_stream *stream = s->disks[i].stream;

		if (stream && !stream_is_dropped(stream))
			assert_int_equal(stream_under_way(stream), 0);
	}
}

void scene_settle(struct scene *s)
{
	do {
		scene_turn(s);
		sim_ioq_complete_all(s->sim);
		tick(s);
	} while (sim_ioq_pending(s->sim));
	for (unsigned i = 0; !sim_dead(s->sim) && i < SCENE_DISKS; i++)
		s->disks[i].unsettled = false;
	if (!sim_dead(s->sim))
		check_slots(s);
}

void scene_stop(struct scene *s)
{
	struct err err = {.code = -RP_EDEAD};

	for (unsigned i = 0; sim_dead(s->sim) && i < SCENE_DISKS; i++)
		if (s->disks[i].stream)
			stream_drop(s->disks[i].stream, &err);
	scene_settle(s);
	for (unsigned i = 0; i < SCENE_DISKS; i++) {
		struct scene_disk *d = &s->disks[i];

		d->stream = stream_end(d->stream);
		file_close(d->image);
		d->image = NULL;
		d->flush.busy = false;
	}
	if (!sim_dead(s->sim)) {
		remember(s, 0, LOG_DATA);
		remember(s, 1, LOG_SIDE);
	}
	s->store->ops->free(s->store);
	s->memory->ops->free(s->memory);
}

/* ---- After a death ------------------------------------------------------ */

static bool mend_is_ready;

static void mend_came(struct log_piece *piece)
{
	(void)piece;
	mend_is_ready = true;
}

static bool mend_some(struct scene *s, struct scene_disk *d, uint64_t first,
		      uint64_t count)
{
	uint8_t data[16 * BLOCK_BYTES];
	struct log_piece piece = {
	    .offset = first * BLOCK_BYTES,
	    .length = count * BLOCK_BYTES,
	    .data = data,
	    .ready = mend_came,
	};

	if (file_read(d->image, data, piece.length, piece.offset, NULL) < 0)
		return false;
	mend_is_ready = stream_mend(d->stream, &piece);
	while (!mend_is_ready) {
		scene_turn(s);
		if (sim_ioq_pending(s->sim))
			sim_ioq_complete_random(s->sim);
	}
	return !sim_dead(s->sim);
}

static bool mend(struct scene *s, struct scene_disk *d,
		 const struct blockset *set)
{
	uint64_t first, end, at = 0;

	d->mending = true;
	while (blockset_next(set, at, &first, &end)) {
		uint64_t most = 1 + sim_random(s->sim, 16);

		at = MIN(end, first + most);
		if (!mend_some(s, d, first, at - first))
			return false;
		if (sim_random(s->sim, 2))
			scene_turn(s);
		if (sim_random(s->sim, 2))
			scene_flush(s, (unsigned)(d - s->disks));
		if (sim_ioq_pending(s->sim) && sim_random(s->sim, 2))
			sim_ioq_complete_random(s->sim);
	}
	stream_mended(d->stream, NULL);
	return !sim_dead(s->sim);
}

static void add_hot(const struct scene_disk *d, struct blockset *set)
{
	for (uint64_t b = 0; b < BLOCKS; b++)
		if (d->submitted[b] > d->covered)
			assert_int_equal(blockset_add(set, b, 1), 0);
}

static bool recover_one(struct scene *s, unsigned disk, enum log_ended ended)
{
	struct scene_disk *d = &s->disks[disk];
	struct log_service with = service(s);
	struct blockset *set = blockset_new(SCENE_BYTES);
	struct log_repair repair;
	struct err err = {0};
	uint64_t promised = d->promised;
	bool ok;
	int r;

	/* A repair may cut that record off, having honoured it. */
	d->recorded = d->promised = 0;
	r = stream_repair(&with, &s->id, &d->point, disk, ended, set, &repair,
			  &d->stream, &err);

	if (d->lost || d->closed) {
		assert_int_equal(r, d->lost ? -RP_ESTATE : 0);
		assert_true(d->lost || repair.closed);
		d->stream = NULL;
		blockset_free(set);
		return true;
	}
	if (r < 0 && !sim_dead(s->sim))
		fail_msg("disk %u: %s", disk, err.text);
	ok = r == 0;
	if (ok && repair.ended != LOG_ENDED_CLEAN)
		assert_true(ended != LOG_ENDED_CLEAN);
	if (ok && ended == LOG_ENDED_CUT)
		assert_true(repair.flushed >= promised);
	if (ok && ended == LOG_ENDED_KILLED && !d->unsettled)
		assert_int_equal(repair.ended, LOG_ENDED_KILLED);
	if (ok && repair.ended == LOG_ENDED_CUT)
		add_hot(d, set);
	if (ok && repair.ended != LOG_ENDED_CLEAN)
		ok = mend(s, d, set);
	d->mending = false;
	blockset_free(set);
	return ok && !sim_dead(s->sim);
}

bool scene_recover(struct scene *s, enum log_ended ended)
{
	bool ok = true;

	for (unsigned i = 0; i < SCENE_REQUESTS; i++)
		assert_false(s->writes[i].busy);
	open_world(s);
	s->clock.sequence = 0;
	s->clock.time_ns = 0;
	for (unsigned i = 0; i < SCENE_DISKS; i++)
		s->disks[i].unsettled |= ended == LOG_ENDED_CUT;
	for (unsigned i = 0; ok && i < SCENE_DISKS; i++)
		ok = recover_one(s, i, ended);
	for (unsigned i = 0; ok && i < SCENE_DISKS; i++)
		if (s->disks[i].stream)
			scene_flush(s, i);
	scene_settle(s);
	return ok && !sim_dead(s->sim);
}
