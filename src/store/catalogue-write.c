/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The catalogue's rows, written.
 *
 * A function of catalogue-read.c names a row's columns in the same order; the
 * crc runs along in both directions (struct binder, struct column).
 */
#include <sqlite3.h>
#include <string.h>

#include "common/crc32c.h"
#include "store/catalogue-internal.h"

struct binder {
	sqlite3_stmt *stmt;
	int column;
	uint32_t crc;
	int rc;
};

static void binder_open(struct binder *b, struct catalogue *c, const char *sql)
{
	memset(b, 0, sizeof(*b));
	b->rc = sqlite3_prepare_v2(c->db, sql, -1, &b->stmt, NULL);
}

static void bind_int(struct binder *b, uint64_t value)
{
	le64 raw = le64_make(value);

	b->crc = crc32c(b->crc, &raw, sizeof(raw));
	if (b->rc == SQLITE_OK)
		b->rc = sqlite3_bind_int64(b->stmt, ++b->column,
					   (sqlite3_int64)value);
}

static void bind_text(struct binder *b, const char *text)
{
	b->crc = crc32c(b->crc, text, strlen(text) + 1);
	if (b->rc == SQLITE_OK)
		b->rc = sqlite3_bind_text(b->stmt, ++b->column, text, -1,
					  SQLITE_TRANSIENT);
}

static void bind_guid(struct binder *b, const struct guid *guid)
{
	b->crc = crc32c(b->crc, guid->b, sizeof(guid->b));
	if (b->rc == SQLITE_OK)
		b->rc = sqlite3_bind_blob(b->stmt, ++b->column, guid->b,
					  sizeof(guid->b), SQLITE_TRANSIENT);
}

/* Binds the crc where CHECKED, runs the statement, and lets go of it. */
static int binder_run(struct binder *b, struct catalogue *c, bool checked,
		      const char *what, struct err *err)
{
	if (b->rc == SQLITE_OK && checked)
		b->rc = sqlite3_bind_int64(b->stmt, ++b->column, b->crc);
	if (b->rc == SQLITE_OK) {
		b->rc = sqlite3_step(b->stmt);
		if (b->rc == SQLITE_DONE)
			b->rc = SQLITE_OK;
	}
	if (b->rc != SQLITE_OK)
		catalogue_fail(c, b->rc, what, err);
	sqlite3_finalize(b->stmt);
	return b->rc == SQLITE_OK ? 0 : err ? err->code : -RP_EIOFAIL;
}

int catalogue_put_system(struct catalogue *c, const struct system_row *row,
			 struct err *err)
{
	struct binder b;

	binder_open(&b, c,
		    "INSERT OR REPLACE INTO system VALUES"
		    " (1,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)");
	bind_guid(&b, &row->store);
	bind_guid(&b, &row->uuid);
	bind_guid(&b, &row->machine);
	bind_int(&b, row->force_raw);
	bind_int(&b, row->owned);
	bind_int(&b, row->hot_regions);
	bind_int(&b, row->points_max);
	bind_int(&b, row->live);
	bind_guid(&b, &row->live_id);
	bind_guid(&b, &row->boot);
	bind_guid(&b, &row->widened);
	bind_int(&b, row->open_generation);
	bind_int(&b, row->open_file);
	bind_int(&b, row->next_generation);
	bind_int(&b, row->next_point);
	bind_text(&b, row->agent);
	return binder_run(&b, c, true, "write", err);
}

int catalogue_put_disk(struct catalogue *c, const struct disk_row *row,
		       struct err *err)
{
	const struct image_stamp *s = &row->stamp;
	struct binder b;

	binder_open(&b, c,
		    "INSERT OR REPLACE INTO disk VALUES"
		    " (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)");
	bind_int(&b, row->ordinal);
	bind_text(&b, row->id);
	bind_text(&b, row->path);
	bind_int(&b, row->bytes);
	bind_int(&b, row->growing_to);
	bind_int(&b, row->stamped);
	bind_int(&b, s->kind);
	bind_int(&b, s->bytes);
	bind_int(&b, s->device);
	bind_int(&b, s->inode);
	bind_int(&b, (uint64_t)s->mtime_ns);
	bind_int(&b, (uint64_t)s->ctime_ns);
	bind_guid(&b, &s->nonce);
	bind_int(&b, s->diskseq);
	bind_int(&b, s->writes);
	bind_int(&b, s->discards);
	bind_guid(&b, &s->boot);
	bind_guid(&b, &row->nonce);
	bind_guid(&b, &row->nonce_before);
	return binder_run(&b, c, true, "write", err);
}

static int drop(struct catalogue *c, const char *sql, uint64_t number,
		const struct guid *id, struct err *err)
{
	struct binder b;

	binder_open(&b, c, sql);
	if (id)
		bind_guid(&b, id);
	else
		bind_int(&b, number);
	return binder_run(&b, c, false, "write", err);
}

static int put_generation_disk(struct catalogue *c,
			       const struct generation_row *row, uint32_t i,
			       struct err *err)
{
	struct binder b;

	binder_open(&b, c, "INSERT INTO generation_disk VALUES (?,?,?,?,?,?)");
	bind_int(&b, row->generation);
	bind_int(&b, i);
	bind_int(&b, row->accuracy[i].accuracy);
	bind_int(&b, row->accuracy[i].widened_bytes);
	bind_text(&b, row->accuracy[i].reason);
	return binder_run(&b, c, true, "write", err);
}

int catalogue_put_generation(struct catalogue *c,
			     const struct generation_row *row, struct err *err)
{
	struct binder b;
	int r;

	r = catalogue_drop_generation(c, row->generation, err);
	if (r < 0)
		return r;
	binder_open(&b, c, "INSERT INTO generation VALUES (?,?,?,?,?)");
	bind_int(&b, row->generation);
	bind_int(&b, row->sealed);
	bind_int(&b, row->serial);
	bind_int(&b, row->disks);
	r = binder_run(&b, c, true, "write", err);
	for (uint32_t i = 0; r == 0 && i < row->disks; i++)
		r = put_generation_disk(c, row, i, err);
	return r;
}

int catalogue_drop_generation(struct catalogue *c, uint64_t generation,
			      struct err *err)
{
	int r = drop(c, "DELETE FROM generation_disk WHERE generation = ?",
		     generation, NULL, err);

	return r ? r
		 : drop(c, "DELETE FROM generation WHERE generation = ?",
			generation, NULL, err);
}

static int put_invalid(struct catalogue *c, const struct point_row *row,
		       struct err *err)
{
	struct binder b;

	binder_open(&b, c, "INSERT INTO point_invalid VALUES (?,?,?)");
	bind_guid(&b, &row->id);
	bind_text(&b, row->invalid);
	return binder_run(&b, c, true, "write", err);
}

int catalogue_put_point(struct catalogue *c, const struct point_row *row,
			struct err *err)
{
	struct binder b;
	int r;

	r = catalogue_drop_point(c, &row->id, err);
	if (r < 0)
		return r;
	binder_open(&b, c, "INSERT INTO point VALUES (?,?,?,?,?,?,?,?,?,?,?)");
	bind_guid(&b, &row->id);
	bind_int(&b, row->order);
	bind_int(&b, row->type);
	bind_int(&b, row->consistency);
	bind_text(&b, row->label);
	bind_text(&b, row->request_id);
	bind_int(&b, (uint64_t)row->created_ns);
	bind_int(&b, row->generation);
	bind_int(&b, row->invalid[0]
			 ? KIND_INVALID
			 : (row->snapshot ? KIND_SNAPSHOT : KIND_POINT));
	bind_int(&b, row->disks);
	r = binder_run(&b, c, true, "write", err);
	if (r == 0 && row->invalid[0])
		r = put_invalid(c, row, err);
	for (uint32_t i = 0; r == 0 && i < row->disks; i++) {
		binder_open(&b, c, "INSERT INTO point_disk VALUES (?,?,?,?,?)");
		bind_guid(&b, &row->id);
		bind_int(&b, i);
		bind_text(&b, row->tracking_id[i]);
		bind_int(&b, row->bytes[i]);
		r = binder_run(&b, c, true, "write", err);
	}
	return r;
}

int catalogue_drop_point(struct catalogue *c, const struct guid *id,
			 struct err *err)
{
	int r = drop(c, "DELETE FROM point_disk WHERE id = ?", 0, id, err);

	if (r == 0)
		r = drop(c, "DELETE FROM point_invalid WHERE point = ?", 0, id,
			 err);
	return r ? r : drop(c, "DELETE FROM point WHERE id = ?", 0, id, err);
}

/* ---- logs ------------------------------------------------------------- */

int catalogue_put_log_part(struct catalogue *c, const struct log_part_row *row,
			   struct err *err)
{
	struct binder b;

	binder_open(&b, c, "INSERT OR REPLACE INTO log_part VALUES (?,?,?,?)");
	bind_guid(&b, &row->origin);
	bind_guid(&b, &row->point);
	bind_int(&b, row->position);
	return binder_run(&b, c, true, "write", err);
}

int catalogue_drop_log_part(struct catalogue *c, const struct guid *origin,
			    struct err *err)
{
	return drop(c, "DELETE FROM log_part WHERE origin = ?", 0, origin, err);
}

int catalogue_put_log_lost(struct catalogue *c, const struct log_lost_row *row,
			   struct err *err)
{
	struct binder b;

	binder_open(&b, c, "INSERT OR REPLACE INTO log_lost VALUES (?,?,?)");
	bind_guid(&b, &row->point);
	bind_text(&b, row->reason);
	return binder_run(&b, c, true, "write", err);
}

int catalogue_drop_log_lost(struct catalogue *c, const struct guid *point,
			    struct err *err)
{
	return drop(c, "DELETE FROM log_lost WHERE point = ?", 0, point, err);
}

int catalogue_put_log_limit(struct catalogue *c, uint64_t bytes,
			    struct err *err)
{
	struct binder b;

	binder_open(&b, c, "INSERT OR REPLACE INTO log_limit VALUES (1,?,?)");
	bind_int(&b, bytes);
	return binder_run(&b, c, true, "write", err);
}

int catalogue_drop_log_limit(struct catalogue *c, struct err *err)
{
	return catalogue_run(c, "DELETE FROM log_limit", "write", err);
}
