/* SPDX-License-Identifier: Apache-2.0 */
/* What a log must say, held to the image: S1 and S2 of scene.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/crc32c.h"
#include "hrl/reader.h"
#include "scene.h"
#include "store/files.h"

/* ---- What is true ------------------------------------------------------- */

struct replay {
	uint8_t disk[SCENE_BYTES];
	uint8_t image[SCENE_BYTES];
};

static void read_exactly(struct file *file, void *buf, uint64_t bytes,
			 uint64_t offset)
{
	assert_int_equal(file_read(file, buf, bytes, offset, NULL), bytes);
}

static void compare(struct scene *s, unsigned disk, struct replay *r)
{
	sim_image_peek(s->sim, s->disks[disk].name, false, r->image,
		       SCENE_BYTES, 0);
	for (uint64_t at = 0; at < SCENE_BYTES; at += SECTOR_BYTES)
		if (memcmp(r->disk + at, r->image + at, SECTOR_BYTES) != 0)
			fail_msg("disk %u: sector %llu is not in the log", disk,
				 (unsigned long long)(at / SECTOR_BYTES));
}

static void open_log(struct scene *s, unsigned disk, struct log_files *f)
{
	struct err err = {0};

	if (log_files_open(s->store, &s->id, &s->disks[disk].point, disk, f,
			   &err) < 0)
		fail_msg("%s", err.text);
}

static void apply(struct file *data, const struct sidecar_record *record,
		  struct replay *r)
{
	uint8_t *to = r->disk + record->offset;

	if (record->kind == SIDECAR_ZEROS) {
		memset(to, 0, record->length);
	} else if (record->kind == SIDECAR_WRITE) {
		read_exactly(data, to, record->length, record->at);
		assert_int_equal(crc32c(0, to, record->length),
				 record->data_checksum);
	}
}

/* S1; with nothing under way. */
static void check_one(struct scene *s, unsigned disk)
{
	struct replay *r = calloc(1, sizeof(*r));
	uint8_t buf[SIDECAR_RECORD_BYTES];
	uint64_t sequence = 0;
	int64_t time_ns = 0, broken_ns = 0;
	bool broken = false;
	struct log_files f;

	assert_non_null(r);
	open_log(s, disk, &f);
	for (uint64_t n = 0;; n++) {
		struct sidecar_record record;

		if (file_read(f.side, buf, sizeof(buf), sidecar_offset(n),
			      NULL) < (int64_t)sizeof(buf) ||
		    sidecar_record_decode(buf, &f.head, n, &record, NULL) < 0)
			break;
		assert_true(record.time_ns >= time_ns);
		time_ns = record.time_ns;
		if (record.kind == SIDECAR_WRITE ||
		    record.kind == SIDECAR_ZEROS) {
			assert_true(record.sequence > sequence);
			sequence = record.sequence;
			assert_true(!record.mending ||
				    (broken && time_ns > broken_ns));
		}
		assert_true(record.kind != SIDECAR_BREAK || !broken);
		assert_true(record.kind != SIDECAR_MENDED || broken);
		if (record.kind == SIDECAR_BREAK ||
		    record.kind == SIDECAR_MENDED)
			broken = record.kind == SIDECAR_BREAK;
		if (record.kind == SIDECAR_BREAK)
			broken_ns = record.time_ns;
		apply(f.data, &record, r);
	}
	assert_false(broken);
	assert_true(sequence <= s->clock.sequence);
	compare(s, disk, r);
	log_files_close(&f);
	free(r);
}

void scene_check(struct scene *s)
{
	for (unsigned i = 0; i < SCENE_DISKS; i++)
		if (s->disks[i].stream && !s->disks[i].closed &&
		    !stream_is_dropped(s->disks[i].stream))
			check_one(s, i);
}

/* ---- The end of a log --------------------------------------------------- */

static int64_t source_read(void *arg, void *buf, uint64_t bytes,
			   uint64_t offset, struct err *err)
{
	return file_read(arg, buf, bytes, offset, err);
}

static void close_done(void *arg, int result, const struct err *err)
{
	struct scene_disk *d = arg;

	d->closed = true;
	d->close_result = result;
	(void)err;
}

static void read_closed(struct scene *s, unsigned disk)
{
	struct replay *r = calloc(1, sizeof(*r));
	struct hrl_source source = {.read = source_read};
	struct hrl_reader *reader = NULL;
	struct hrl_write w;
	struct err err = {0};
	struct log_files f;
	uint64_t bytes;

	assert_non_null(r);
	open_log(s, disk, &f);
	source.arg = f.data;
	assert_int_equal(f.data->ops->size(f.data, &bytes, NULL), 0);
	if (hrl_reader_open(&source, bytes, SCENE_BYTES, 0, &reader, &err) < 0)
		fail_msg("%s", err.text);
	while (hrl_reader_next(reader, &w, &err) == 1) {
		if (s->stale && hrl_is_zeros(w.length, w.data_checksum)) {
			memset(r->disk + w.offset, 0, w.length);
			continue;
		}
		if (hrl_check_data(&source, &w, &err) < 0)
			fail_msg("%s", err.text);
		read_exactly(f.data, r->disk + w.offset, w.length, w.at);
	}
	assert_int_equal(err.code, 0);
	compare(s, disk, r);
	hrl_reader_free(reader);
	log_files_close(&f);
	free(r);
}

bool scene_close(struct scene *s)
{
	for (unsigned i = 0; i < SCENE_DISKS; i++)
		stream_close(s->disks[i].stream, close_done, &s->disks[i]);
	scene_settle(s);
	if (sim_dead(s->sim))
		return false;
	for (unsigned i = 0; i < SCENE_DISKS; i++) {
		assert_true(s->disks[i].closed);
		assert_int_equal(s->disks[i].close_result, 0);
		read_closed(s, i);
	}
	return true;
}
