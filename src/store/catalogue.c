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
 */
#include "store/catalogue.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/catalogue-internal.h"
#include "store/sqlite-vfs.h"

/* The oldest version that is opened, and what it has. */
#define CATALOGUE_OLDEST 2

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

/* What version 3 adds to version 2. */
static const char log_schema[] =
    "CREATE TABLE point_invalid (point BLOB PRIMARY KEY, reason TEXT NOT NULL,"
    " crc INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE log_part (origin BLOB PRIMARY KEY, point BLOB NOT NULL,"
    " position INTEGER NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE log_lost (point BLOB PRIMARY KEY, reason TEXT NOT NULL,"
    " crc INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE log_limit (one INTEGER PRIMARY KEY CHECK (one = 1),"
    " bytes INTEGER NOT NULL, crc INTEGER NOT NULL);";

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

int catalogue_fail(struct catalogue *c, int rc, const char *what,
		   struct err *err)
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

int catalogue_run(struct catalogue *c, const char *sql, const char *what,
		  struct err *err)
{
	int rc = sqlite3_exec(c->db, sql, NULL, NULL, NULL);

	return rc == SQLITE_OK ? 0 : catalogue_fail(c, rc, what, err);
}

/* ---- changing it ------------------------------------------------------ */

int catalogue_begin(struct catalogue *c, struct err *err)
{
	sqlite_vfs_begin(c->vfs);
	return catalogue_run(c, "BEGIN IMMEDIATE", "change", err);
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
	rc = catalogue_fail(c, sqlite3_extended_errcode(c->db), "commit to",
			    err);
	catalogue_cancel(c);
	*ret_unknown = rc != -RP_ENOROOM || /* K2 */
		       sqlite_vfs_withdraw(c->vfs, NULL) < 0;
	return rc;
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
		return catalogue_fail(c, rc, "open", err);
	(void)sqlite3_extended_result_codes(c->db, 1);
	(void)sqlite3_limit(c->db, SQLITE_LIMIT_LENGTH, 1 << 20);
	for (size_t i = 0; i < ARRAY_SIZE(pragmas); i++) {
		int r = catalogue_run(c, pragmas[i], "open", err);

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

/* Within a transaction: the tables of logs, and with them this version. */
static int add_logs(struct catalogue *c, struct err *err)
{
	char version[48];
	int r = catalogue_run(c, log_schema, "create", err);

	(void)snprintf(version, sizeof(version), "PRAGMA user_version=%d",
		       CATALOGUE_VERSION);
	return r ? r : catalogue_run(c, version, "create", err);
}

int catalogue_create(struct fs *fs, struct catalogue **ret_catalogue,
		     struct err *err)
{
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
	r = db_open(c, SQLITE_OPEN_CREATE, err);
	if (r == 0)
		r = catalogue_run(c, "BEGIN IMMEDIATE", "create", err);
	if (r == 0)
		r = catalogue_run(c, schema, "create", err);
	if (r == 0)
		r = add_logs(c, err);
	if (r == 0)
		r = catalogue_run(c, "COMMIT", "create", err);
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

/* A catalogue of version 2 becomes one of this version.  If the commit's
 * outcome is not known nobody gets the catalogue, and the next opening finds
 * out. */
static int upgrade(struct catalogue *c, struct err *err)
{
	bool unknown;
	int r = catalogue_begin(c, err);

	if (r == 0)
		r = add_logs(c, err);
	if (r == 0)
		return catalogue_commit(c, &unknown, err);
	catalogue_cancel(c);
	return r;
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
		r = catalogue_select(c, "PRAGMA user_version", NULL, NULL,
				     each_version, &version, err);
	if (r == 0 && version == 0)
		r = err_set(err, -ENOENT, "the catalogue holds no definition");
	else if (r == 0 && version == CATALOGUE_OLDEST)
		r = upgrade(c, err);
	else if (r == 0 && version != CATALOGUE_VERSION)
		r = err_set(err, -RP_EVERSION,
			    "the store's catalogue has version %d; this "
			    "program knows %d and %d: use the version that "
			    "made it",
			    version, CATALOGUE_OLDEST, CATALOGUE_VERSION);
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
	int r = catalogue_select(c, "PRAGMA integrity_check(1)", NULL, NULL,
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
