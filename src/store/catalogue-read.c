/* SPDX-License-Identifier: Apache-2.0 */
/* The catalogue's rows, read: K3 (catalogue.c). */
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "common/crc32c.h"
#include "store/catalogue-internal.h"

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
	bool is_text = sqlite3_column_type(col->stmt, col->at) == SQLITE_TEXT;
	const char *value =
	    (const char *)sqlite3_column_text(col->stmt, col->at);
	int bytes = sqlite3_column_bytes(col->stmt, col->at++);

	if (!is_text || !value || (size_t)bytes >= room ||
	    strlen(value) != (size_t)bytes) {
		col->bad = true;
		text[0] = '\0';
		return;
	}
	memcpy(text, value, (size_t)bytes + 1);
	col->crc = crc32c(col->crc, text, (size_t)bytes + 1);
}

static void read_guid(struct column *col, struct guid *guid)
{
	bool is_blob = sqlite3_column_type(col->stmt, col->at) == SQLITE_BLOB;
	const void *value = sqlite3_column_blob(col->stmt, col->at);
	int bytes = sqlite3_column_bytes(col->stmt, col->at++);

	if (!is_blob || !value || bytes != (int)sizeof(guid->b)) {
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

int catalogue_select(struct catalogue *c, const char *sql,
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
		return catalogue_fail(c, rc, "read", err);
	if (binding)
		binding(stmt, key);
	while (r == 0 && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct column col = {.stmt = stmt};

		r = each(&col, arg, err);
	}
	if (r == 0 && rc != SQLITE_DONE)
		r = catalogue_fail(c, rc, "read", err);
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
	uint32_t invalid, invalid_rows; /* points; and rows that say why */
	uint32_t log_parts;
	uint64_t log_position; /* of the last of them */
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
	r = catalogue_select(
	    reading->catalogue,
	    "SELECT * FROM generation_disk WHERE generation = ?"
	    " ORDER BY ordinal",
	    bind_generation_key, row, each_generation_disk, reading, err);
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

static int each_invalid_of_point(struct column *col, void *arg, struct err *err)
{
	struct reading *reading = arg;
	struct point_row *row = reading->point;
	struct guid id = {0};

	read_guid(col, &id);
	read_text(col, row->invalid, sizeof(row->invalid));
	return column_end(col, "point_invalid", err);
}

/* All of them: none may be of anything else. */
static int each_invalid(struct column *col, void *arg, struct err *err)
{
	struct reading *reading = arg;

	reading->invalid_rows++;
	return 0;
}

static void bind_point_key(sqlite3_stmt *stmt, const void *key)
{
	const struct point_row *row = key;

	(void)sqlite3_bind_blob(stmt, 1, row->id.b, sizeof(row->id.b),
				SQLITE_STATIC);
}

/* Without it the point would pass for any other. */
static int read_invalid(struct reading *reading, struct point_row *row,
			struct err *err)
{
	int r = catalogue_select(reading->catalogue,
				 "SELECT * FROM point_invalid WHERE point = ?",
				 bind_point_key, row, each_invalid_of_point,
				 reading, err);

	if (r == 0 && !row->invalid[0])
		r = err_set(err, -RP_ECORRUPT,
			    "read the catalogue: a point lacks why it is "
			    "invalid");
	reading->invalid++;
	return r;
}

static int each_point(struct column *col, void *arg, struct err *err)
{
	struct reading *reading = arg;
	struct point_row *row = reading->point;
	uint32_t kind;
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
	kind = (uint32_t)read_int(col, KIND_INVALID);
	row->snapshot = kind == KIND_SNAPSHOT;
	row->disks = (uint32_t)read_int(col, DISKS_PER_VM_MAX);
	r = column_end(col, "point", err);
	if (r < 0)
		return r;
	reading->children = 0;
	r = catalogue_select(
	    reading->catalogue,
	    "SELECT * FROM point_disk WHERE id = ? ORDER BY ordinal",
	    bind_point_key, row, each_point_disk, reading, err);
	if (r < 0)
		return r;
	if (reading->children != row->disks)
		return err_set(err, -RP_ECORRUPT,
			       "read the catalogue: a point lacks a disk");
	if (kind == KIND_INVALID) {
		r = read_invalid(reading, row, err);
		if (r < 0)
			return r;
	}
	return reading->reader->point
		   ? reading->reader->point(reading->arg, row)
		   : 0;
}

/* They come by position. */
static int each_log_part(struct column *col, void *arg, struct err *err)
{
	struct reading *reading = arg;
	struct log_part_row row = {0};
	int r;

	read_guid(col, &row.origin);
	read_guid(col, &row.point);
	row.position = read_int(col, INT64_MAX);
	r = column_end(col, "log_part", err);
	if (r < 0)
		return r;
	if (++reading->log_parts > LOG_PARTS_MAX)
		return err_set(err, -RP_ECORRUPT,
			       "read the catalogue: there are more than %u "
			       "parts of logs",
			       LOG_PARTS_MAX);
	if (reading->log_parts > 1 && row.position == reading->log_position)
		return err_set(err, -RP_ECORRUPT,
			       "read the catalogue: two parts of logs have "
			       "position %llu",
			       (unsigned long long)row.position);
	reading->log_position = row.position;
	return reading->reader->log_part
		   ? reading->reader->log_part(reading->arg, &row)
		   : 0;
}

static int each_log_lost(struct column *col, void *arg, struct err *err)
{
	struct reading *reading = arg;
	struct log_lost_row row = {0};
	int r;

	read_guid(col, &row.point);
	read_text(col, row.reason, sizeof(row.reason));
	r = column_end(col, "log_lost", err);
	if (r < 0)
		return r;
	return reading->reader->log_lost
		   ? reading->reader->log_lost(reading->arg, &row)
		   : 0;
}

static int each_log_limit(struct column *col, void *arg, struct err *err)
{
	struct reading *reading = arg;
	uint64_t bytes;
	int r;

	col->at = 1;
	bytes = read_int(col, INT64_MAX);
	col->bad |= bytes == 0;
	r = column_end(col, "log_limit", err);
	if (r == 0 && reading->reader->log_limit)
		reading->reader->log_limit(reading->arg, bytes);
	return r;
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
	    {"SELECT * FROM point_invalid", each_invalid},
	    {"SELECT * FROM log_part ORDER BY position", each_log_part},
	    {"SELECT * FROM log_lost", each_log_lost},
	    {"SELECT * FROM log_limit", each_log_limit},
	};

	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		int r =
		    catalogue_select(reading->catalogue, tables[i].sql, NULL,
				     NULL, tables[i].each, reading, err);

		if (r < 0)
			return r;
	}
	if (reading->invalid_rows != reading->invalid)
		return err_set(err, -RP_ECORRUPT,
			       "read the catalogue: what is invalid is no "
			       "point");
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
