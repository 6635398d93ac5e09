/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The catalogue on SQLite.
 *
 * Journal mode WAL under an exclusive lock: a commit is one run of appended
 * frames and one sync, and no shared memory is needed.  The lock itself is the
 * store's own (one worker for each store).
 *
 *  K1  A change is true once COMMIT returned success: its frames are synced.
 *  K2  A commit that failed for lack of space is withdrawn: what it left in the
 *      log is made invalid, durably.  If that fails too, and for any other
 *      failure, the outcome is `unknown`: the caller latches.
 *  K3  A row is believed only if its crc column matches its values.
 *
 * Reading and writing a row name its columns in the same order; a `crc` runs
 * along in both directions (struct binder, struct column).
 */
#include "store/catalogue.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/crc32c.h"
#include "store/sqlite-vfs.h"

struct catalogue {
	struct fs *fs;
	sqlite3 *db;
	char vfs[32];
};

static const char schema[] =
    "CREATE TABLE system (one INTEGER PRIMARY KEY CHECK (one = 1),"
    " store BLOB NOT NULL, uuid BLOB NOT NULL, machine BLOB NOT NULL,"
    " force_raw INTEGER NOT NULL, owned INTEGER NOT NULL,"
    " hot_regions INTEGER NOT NULL, points_max INTEGER NOT NULL,"
    " live INTEGER NOT NULL, live_id BLOB NOT NULL, boot BLOB NOT NULL,"
    " widened BLOB NOT NULL, open_generation INTEGER NOT NULL, open_file INTEGER NOT NULL,"
    " next_generation INTEGER NOT NULL, next_point INTEGER NOT NULL,"
    " agent TEXT NOT NULL, crc INTEGER NOT NULL);"
    "CREATE TABLE disk (ordinal INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,"
    " path TEXT NOT NULL, bytes INTEGER NOT NULL,"
    " growing_to INTEGER NOT NULL, stamped INTEGER NOT NULL,"
    " kind INTEGER NOT NULL, stamp_bytes INTEGER NOT NULL,"
    " device INTEGER NOT NULL, inode INTEGER NOT NULL,"
    " mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL,"
    " stamp_nonce BLOB NOT NULL, diskseq INTEGER NOT NULL,"
    " writes INTEGER NOT NULL, discards INTEGER NOT NULL,"
    " boot BLOB NOT NULL, nonce BLOB NOT NULL, nonce_before BLOB NOT NULL,"
    " crc INTEGER NOT NULL);"
    "CREATE TABLE generation (generation INTEGER PRIMARY KEY,"
    " sealed INTEGER NOT NULL, serial INTEGER NOT NULL,"
    " disks INTEGER NOT NULL, crc INTEGER NOT NULL);"
    "CREATE TABLE generation_disk (generation INTEGER NOT NULL,"
    " ordinal INTEGER NOT NULL, accuracy INTEGER NOT NULL,"
    " widened_bytes INTEGER NOT NULL, reason TEXT NOT NULL,"
    " crc INTEGER NOT NULL,"
    " PRIMARY KEY (generation, ordinal)) WITHOUT ROWID;"
    "CREATE TABLE point (id BLOB PRIMARY KEY, position INTEGER NOT NULL,"
    " type INTEGER NOT NULL, consistency INTEGER NOT NULL,"
    " label TEXT NOT NULL, request_id TEXT NOT NULL,"
    " created_ns INTEGER NOT NULL, generation INTEGER NOT NULL,"
    " snapshot INTEGER NOT NULL, disks INTEGER NOT NULL,"
    " crc INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE point_disk (id BLOB NOT NULL, ordinal INTEGER NOT NULL,"
    " tracking_id TEXT NOT NULL, bytes INTEGER NOT NULL,"
    " crc INTEGER NOT NULL,"
    " PRIMARY KEY (id, ordinal)) WITHOUT ROWID;";

static const char *const accuracy_names[] = {
    [ACCURACY_EXACT] = "exact",
    [ACCURACY_WIDENED] = "widened",
    [ACCURACY_ASSUMED] = "assumed",
    [ACCURACY_INVALID] = "invalid",
};

const char *accuracy_name(enum accuracy accuracy)
{
	return accuracy_names[accuracy];
}

void accuracy_join(struct accuracy_row *into, const struct accuracy_row *from)
{
	into->widened_bytes += from->widened_bytes;
	if (from->accuracy > into->accuracy) {
		into->accuracy = from->accuracy;
		memcpy(into->reason, from->reason, sizeof(into->reason));
	}
}

void accuracy_worsen(struct accuracy_row *into, enum accuracy accuracy,
		     const char *fmt, ...)
{
	va_list ap;

	if (accuracy <= into->accuracy)
		return;
	into->accuracy = accuracy;
	va_start(ap, fmt);
	(void)vsnprintf(into->reason, sizeof(into->reason), fmt, ap);
	va_end(ap);
}

/* ---- errors ---------------------------------------------------------------
 */

static bool is_io(int rc)
{
	rc &= 0xff;
	return rc == SQLITE_IOERR || rc == SQLITE_FULL || rc == SQLITE_CANTOPEN;
}

/* The code and sentence for what SQLite just said, with the true cause of an
 * I/O error from below. */
static int fail(struct catalogue *c, int rc, const char *what, struct err *err)
{
	struct err cause = {0};

	if (c->vfs[0])
		sqlite_vfs_last_error(c->vfs, &cause);
	if (cause.code && is_io(rc))
		return err_set(err,
			       rc == SQLITE_FULL ? -RP_ENOROOM : -RP_EIOFAIL,
			       "%s the catalogue: %s", what, cause.text);
	switch (rc & 0xff) {
	case SQLITE_FULL:
		return err_set(err, -RP_ENOROOM,
			       "%s the catalogue: no space left", what);
	case SQLITE_NOMEM:
		return err_set(err, -ENOMEM, "%s the catalogue", what);
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return err_set(err, -RP_ECORRUPT,
			       "%s the catalogue: it is damaged (%s)", what,
			       c->db ? sqlite3_errmsg(c->db) : "");
	default:
		return err_set(err, -RP_EIOFAIL, "%s the catalogue: %s", what,
			       c->db ? sqlite3_errmsg(c->db)
				     : sqlite3_errstr(rc));
	}
}

static int run(struct catalogue *c, const char *sql, const char *what,
	       struct err *err)
{
	int rc = sqlite3_exec(c->db, sql, NULL, NULL, NULL);

	return rc == SQLITE_OK ? 0 : fail(c, rc, what, err);
}

/* ---- writing a row ----------------------------------------------------------
 */

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
		fail(c, b->rc, what, err);
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
	bind_int(&b, row->snapshot);
	bind_int(&b, row->disks);
	r = binder_run(&b, c, true, "write", err);
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

	return r ? r : drop(c, "DELETE FROM point WHERE id = ?", 0, id, err);
}

int catalogue_begin(struct catalogue *c, struct err *err)
{
	sqlite_vfs_begin(c->vfs);
	return run(c, "BEGIN IMMEDIATE", "change", err);
}

void catalogue_cancel(struct catalogue *c)
{
	if (!sqlite3_get_autocommit(c->db))
		(void)sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
}

int catalogue_commit(struct catalogue *c, bool *ret_unknown, struct err *err)
{
	int rc = sqlite3_exec(c->db, "COMMIT", NULL, NULL, NULL);

	if (rc == SQLITE_OK)
		return 0;
	rc = fail(c, sqlite3_extended_errcode(c->db), "commit to", err);
	catalogue_cancel(c);
	*ret_unknown = rc != -RP_ENOROOM || /* K2 */
		       sqlite_vfs_withdraw(c->vfs, NULL) < 0;
	return rc;
}

/* ---- reading rows ----------------------------------------------------- */

struct column {
	sqlite3_stmt *stmt;
	int at;
	uint32_t crc;
	bool bad; /* a value of the wrong type, or too long */
};

static uint64_t read_int(struct column *col, uint64_t max)
{
	uint64_t value = (uint64_t)sqlite3_column_int64(col->stmt, col->at);
	le64 raw = le64_make(value);

	if (sqlite3_column_type(col->stmt, col->at) != SQLITE_INTEGER ||
	    value > max)
		col->bad = true;
	col->at++;
	col->crc = crc32c(col->crc, &raw, sizeof(raw));
	return value;
}

static void read_text(struct column *col, char *text, size_t room)
{
	const char *value =
	    (const char *)sqlite3_column_text(col->stmt, col->at);
	int bytes = sqlite3_column_bytes(col->stmt, col->at++);

	if (!value || (size_t)bytes >= room || strlen(value) != (size_t)bytes) {
		col->bad = true;
		text[0] = '\0';
		return;
	}
	memcpy(text, value, (size_t)bytes + 1);
	col->crc = crc32c(col->crc, text, (size_t)bytes + 1);
}

static void read_guid(struct column *col, struct guid *guid)
{
	const void *value = sqlite3_column_blob(col->stmt, col->at);
	int bytes = sqlite3_column_bytes(col->stmt, col->at++);

	if (!value || bytes != (int)sizeof(guid->b)) {
		col->bad = true;
		return;
	}
	memcpy(guid->b, value, sizeof(guid->b));
	col->crc = crc32c(col->crc, guid->b, sizeof(guid->b));
}

/* The row is whole; K3. */
static int column_end(struct column *col, const char *table, struct err *err)
{
	uint32_t crc = col->crc;

	if (!col->bad && read_int(col, UINT32_MAX) == crc && !col->bad)
		return 0;
	return err_set(err, -RP_ECORRUPT,
		       "read the catalogue: a row of table '%s' is damaged",
		       table);
}

/* Calls EACH for every row of SQL; BINDING restricts it, if not NULL. */
static int select_rows(struct catalogue *c, const char *sql,
		       void (*binding)(sqlite3_stmt *stmt, const void *key),
		       const void *key,
		       int (*each)(struct column *col, void *arg,
				   struct err *err),
		       void *arg, struct err *err)
{
	sqlite3_stmt *stmt = NULL;
	int rc = sqlite3_prepare_v2(c->db, sql, -1, &stmt, NULL);
	int r = 0;

	if (rc != SQLITE_OK)
		return fail(c, rc, "read", err);
	if (binding)
		binding(stmt, key);
	while (r == 0 && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct column col = {.stmt = stmt};

		r = each(&col, arg, err);
	}
	if (r == 0 && rc != SQLITE_DONE)
		r = fail(c, rc, "read", err);
	sqlite3_finalize(stmt);
	return r;
}

struct reading {
	struct catalogue *catalogue;
	const struct catalogue_reader *reader;
	void *arg;
	uint32_t systems;
	uint32_t disks;
	struct generation_row *generation;
	struct point_row *point;
	uint32_t children;
};

static int each_system(struct column *col, void *arg, struct err *err)
{
	struct reading *reading = arg;
	struct system_row row = {0};
	int r;

	col->at = 1;
	read_guid(col, &row.store);
	read_guid(col, &row.uuid);
	read_guid(col, &row.machine);
	row.force_raw = read_int(col, 1);
	row.owned = read_int(col, 1);
	row.hot_regions = (uint32_t)read_int(col, HOT_REGIONS_MAX);
	row.points_max = (uint32_t)read_int(col, UINT32_MAX);
	row.live = read_int(col, 1);
	read_guid(col, &row.live_id);
	read_guid(col, &row.boot);
	read_guid(col, &row.widened);
	row.open_generation = read_int(col, INT64_MAX);
	row.open_file = (uint32_t)read_int(col, 1);
	row.next_generation = read_int(col, INT64_MAX);
	row.next_point = read_int(col, INT64_MAX);
	read_text(col, row.agent, sizeof(row.agent));
	r = column_end(col, "system", err);
	if (r < 0)
		return r;
	reading->systems++;
	if (reading->reader->system)
		reading->reader->system(reading->arg, &row);
	return 0;
}

static int each_disk(struct column *col, void *arg, struct err *err)
{
	struct reading *reading = arg;
	struct disk_row row = {0};
	struct image_stamp *s = &row.stamp;
	int r;

	row.ordinal = (uint32_t)read_int(col, DISKS_PER_VM_MAX - 1);
	read_text(col, row.id, sizeof(row.id));
	read_text(col, row.path, sizeof(row.path));
	row.bytes = read_int(col, DISK_BYTES_MAX);
	row.growing_to = read_int(col, DISK_BYTES_MAX);
	row.stamped = read_int(col, 1);
	s->kind = (enum image_kind)read_int(col, IMAGE_BLOCK);
	s->bytes = read_int(col, DISK_BYTES_MAX);
	s->device = read_int(col, UINT64_MAX);
	s->inode = read_int(col, UINT64_MAX);
	s->mtime_ns = (int64_t)read_int(col, UINT64_MAX);
	s->ctime_ns = (int64_t)read_int(col, UINT64_MAX);
	read_guid(col, &s->nonce);
	s->diskseq = read_int(col, UINT64_MAX);
	s->writes = read_int(col, UINT64_MAX);
	s->discards = read_int(col, UINT64_MAX);
	read_guid(col, &s->boot);
	read_guid(col, &row.nonce);
	read_guid(col, &row.nonce_before);
	r = column_end(col, "disk", err);
	if (r < 0)
		return r;
	if (row.ordinal != reading->disks++)
		return err_set(err, -RP_ECORRUPT,
			       "read the catalogue: disk %u is missing",
			       reading->disks - 1);
	return reading->reader->disk ? reading->reader->disk(reading->arg, &row)
				     : 0;
}

static int each_generation_disk(struct column *col, void *arg, struct err *err)
{
	struct reading *reading = arg;
	struct generation_row *row = reading->generation;
	uint32_t i;

	(void)read_int(col, INT64_MAX);
	i = (uint32_t)read_int(col, DISKS_PER_VM_MAX - 1);
	if (col->bad || i != reading->children || i >= row->disks)
		return err_set(err, -RP_ECORRUPT,
			       "read the catalogue: the disks of generation "
			       "%llu are not complete",
			       (unsigned long long)row->generation);
	row->accuracy[i].accuracy =
	    (enum accuracy)read_int(col, ACCURACY_INVALID);
	row->accuracy[i].widened_bytes = read_int(col, UINT64_MAX);
	read_text(col, row->accuracy[i].reason, REASON_BYTES);
	reading->children++;
	return column_end(col, "generation_disk", err);
}

static void bind_generation_key(sqlite3_stmt *stmt, const void *key)
{
	(void)sqlite3_bind_int64(
	    stmt, 1,
	    (sqlite3_int64)((const struct generation_row *)key)->generation);
}

static int each_generation(struct column *col, void *arg, struct err *err)
{
	struct reading *reading = arg;
	struct generation_row *row = reading->generation;
	int r;

	memset(row, 0, sizeof(*row));
	row->generation = read_int(col, INT64_MAX);
	row->sealed = read_int(col, 1);
	row->serial = (uint32_t)read_int(col, UINT32_MAX);
	row->disks = (uint32_t)read_int(col, DISKS_PER_VM_MAX);
	r = column_end(col, "generation", err);
	if (r < 0)
		return r;
	reading->children = 0;
	r = select_rows(reading->catalogue,
			"SELECT * FROM generation_disk WHERE generation = ?"
			" ORDER BY ordinal",
			bind_generation_key, row, each_generation_disk, reading,
			err);
	if (r < 0)
		return r;
	if (reading->children != row->disks)
		return err_set(
		    err, -RP_ECORRUPT,
		    "read the catalogue: generation %llu lacks a disk",
		    (unsigned long long)row->generation);
	return reading->reader->generation
		   ? reading->reader->generation(reading->arg, row)
		   : 0;
}

static int each_point_disk(struct column *col, void *arg, struct err *err)
{
	struct reading *reading = arg;
	struct point_row *row = reading->point;
	struct guid id = {0};
	uint32_t i;

	read_guid(col, &id);
	i = (uint32_t)read_int(col, DISKS_PER_VM_MAX - 1);
	if (col->bad || i != reading->children || i >= row->disks)
		return err_set(err, -RP_ECORRUPT,
			       "read the catalogue: a point's disks are not "
			       "complete");
	read_text(col, row->tracking_id[i], TRACKING_ID_BYTES);
	row->bytes[i] = read_int(col, DISK_BYTES_MAX);
	reading->children++;
	return column_end(col, "point_disk", err);
}

static void bind_point_key(sqlite3_stmt *stmt, const void *key)
{
	const struct point_row *row = key;

	(void)sqlite3_bind_blob(stmt, 1, row->id.b, sizeof(row->id.b),
				SQLITE_STATIC);
}

static int each_point(struct column *col, void *arg, struct err *err)
{
	struct reading *reading = arg;
	struct point_row *row = reading->point;
	int r;

	memset(row, 0, sizeof(*row));
	read_guid(col, &row->id);
	row->order = read_int(col, INT64_MAX);
	row->type = (uint32_t)read_int(col, POINT_RCT);
	row->consistency = (uint32_t)read_int(col, CONSISTENCY_CRASH);
	read_text(col, row->label, sizeof(row->label));
	read_text(col, row->request_id, sizeof(row->request_id));
	row->created_ns = (int64_t)read_int(col, INT64_MAX);
	row->generation = read_int(col, INT64_MAX);
	row->snapshot = read_int(col, 1);
	row->disks = (uint32_t)read_int(col, DISKS_PER_VM_MAX);
	r = column_end(col, "point", err);
	if (r < 0)
		return r;
	reading->children = 0;
	r = select_rows(
	    reading->catalogue,
	    "SELECT * FROM point_disk WHERE id = ? ORDER BY ordinal",
	    bind_point_key, row, each_point_disk, reading, err);
	if (r < 0)
		return r;
	if (reading->children != row->disks)
		return err_set(err, -RP_ECORRUPT,
			       "read the catalogue: a point lacks a disk");
	return reading->reader->point
		   ? reading->reader->point(reading->arg, row)
		   : 0;
}

static int read_tables(struct reading *reading, struct err *err)
{
	static const struct {
		const char *sql;
		int (*each)(struct column *col, void *arg, struct err *err);
	} tables[] = {
	    {"SELECT * FROM system", each_system},
	    {"SELECT * FROM disk ORDER BY ordinal", each_disk},
	    {"SELECT * FROM generation ORDER BY generation", each_generation},
	    {"SELECT * FROM point ORDER BY position", each_point},
	};

	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		int r = select_rows(reading->catalogue, tables[i].sql, NULL,
				    NULL, tables[i].each, reading, err);

		if (r < 0)
			return r;
	}
	if (reading->systems != 1)
		return err_set(err, -ENOENT,
			       "the catalogue holds no definition");
	return 0;
}

int catalogue_read(struct catalogue *c, const struct catalogue_reader *reader,
		   void *arg, struct err *err)
{
	struct reading reading = {.catalogue = c, .reader = reader, .arg = arg};
	int r = -ENOMEM;

	reading.generation = malloc(sizeof(*reading.generation));
	reading.point = malloc(sizeof(*reading.point));
	if (reading.generation && reading.point)
		r = read_tables(&reading, err);
	else
		err_set(err, r, "read the catalogue");
	free(reading.generation);
	free(reading.point);
	return r;
}

/* ---- opening ---------------------------------------------------------- */

static int db_open(struct catalogue *c, int flags, struct err *err)
{
	static const char *const pragmas[] = {
	    "PRAGMA locking_mode=EXCLUSIVE", "PRAGMA temp_store=MEMORY",
	    "PRAGMA journal_mode=WAL",       "PRAGMA synchronous=FULL",
	    "PRAGMA wal_autocheckpoint=256", "PRAGMA trusted_schema=OFF",
	};
	int rc = sqlite3_open_v2(CATALOGUE_NAME, &c->db,
				 flags | SQLITE_OPEN_READWRITE, c->vfs);

	if (rc != SQLITE_OK)
		return fail(c, rc, "open", err);
	(void)sqlite3_extended_result_codes(c->db, 1);
	(void)sqlite3_limit(c->db, SQLITE_LIMIT_LENGTH, 1 << 20);
	for (size_t i = 0; i < ARRAY_SIZE(pragmas); i++) {
		int r = run(c, pragmas[i], "open", err);

		if (r < 0)
			return r;
	}
	return 0;
}

static int catalogue_new(struct fs *fs, struct catalogue **ret_catalogue,
			 struct err *err)
{
	struct catalogue *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return err_set(err, -ENOMEM, "open the catalogue");
	c->fs = fs;
	r = sqlite_vfs_register(fs, c->vfs, err);
	if (r < 0) {
		free(c);
		return r;
	}
	*ret_catalogue = c;
	return 0;
}

struct catalogue *catalogue_close(struct catalogue *c)
{
	if (!c)
		return NULL;
	(void)sqlite3_close(c->db);
	sqlite_vfs_unregister(c->vfs);
	free(c);
	return NULL;
}

/* -ENOENT, or 0 if the file is there and not empty (an empty one is a creation
 * that a crash cut short). */
static int catalogue_exists(struct fs *fs, struct err *err)
{
	struct file *file;
	uint64_t bytes;
	int r = fs_open(fs, CATALOGUE_NAME, FILE_READ, &file, err);

	if (r < 0)
		return r;
	r = file->ops->size(file, &bytes, err);
	file_close(file);
	if (r == 0 && bytes == 0)
		return err_set(err, -ENOENT, "the catalogue is empty");
	return r;
}

int catalogue_create(struct fs *fs, struct catalogue **ret_catalogue,
		     struct err *err)
{
	char version[48];
	struct catalogue *c;
	int r = catalogue_exists(fs, NULL);

	if (r == 0)
		return err_set(err, -RP_EALREADY,
			       "the store holds a catalogue already");
	if (r != -ENOENT)
		return catalogue_exists(fs, err);
	r = catalogue_new(fs, &c, err);
	if (r < 0)
		return r;
	(void)snprintf(version, sizeof(version), "PRAGMA user_version=%d",
		       CATALOGUE_VERSION);
	r = db_open(c, SQLITE_OPEN_CREATE, err);
	if (r == 0)
		r = run(c, "BEGIN IMMEDIATE", "create", err);
	if (r == 0)
		r = run(c, schema, "create", err);
	if (r == 0)
		r = run(c, version, "create", err);
	if (r == 0)
		r = run(c, "COMMIT", "create", err);
	if (r == 0)
		r = fs->ops->sync_dir(fs, err);
	if (r < 0) {
		catalogue_close(c);
		return r;
	}
	*ret_catalogue = c;
	return 0;
}

static int each_version(struct column *col, void *arg, struct err *err)
{
	*(int *)arg = sqlite3_column_int(col->stmt, 0);
	return 0;
}

int catalogue_open(struct fs *fs, struct catalogue **ret_catalogue,
		   struct err *err)
{
	struct catalogue *c;
	int version = 0;
	int r = catalogue_exists(fs, err);

	if (r < 0)
		return r;
	r = catalogue_new(fs, &c, err);
	if (r < 0)
		return r;
	r = db_open(c, 0, err);
	if (r == 0)
		r = select_rows(c, "PRAGMA user_version", NULL, NULL,
				each_version, &version, err);
	if (r == 0 && version == 0)
		r = err_set(err, -ENOENT, "the catalogue holds no definition");
	else if (r == 0 && version != CATALOGUE_VERSION)
		r = err_set(err, -RP_EVERSION,
			    "the store's catalogue has version %d; this "
			    "program knows %d: use the version that made it",
			    version, CATALOGUE_VERSION);
	if (r < 0) {
		catalogue_close(c);
		return r;
	}
	*ret_catalogue = c;
	return 0;
}

static int each_finding(struct column *col, void *arg, struct err *err)
{
	const char *text = (const char *)sqlite3_column_text(col->stmt, 0);

	if (text && strcmp(text, "ok") == 0)
		return 0;
	return err_set(err, -RP_ECORRUPT, "the catalogue is damaged: %.120s",
		       text ? text : "?");
}

int catalogue_verify(struct catalogue *c, uint64_t *ret_bytes, struct err *err)
{
	static const struct catalogue_reader nobody;
	struct file *file;
	int r = select_rows(c, "PRAGMA integrity_check(1)", NULL, NULL,
			    each_finding, NULL, err);

	if (r == 0)
		r = catalogue_read(c, &nobody, NULL, err);
	if (r < 0)
		return r;
	r = fs_open(c->fs, CATALOGUE_NAME, FILE_READ, &file, err);
	if (r < 0)
		return r;
	r = file->ops->size(file, ret_bytes, err);
	file_close(file);
	return r;
}
