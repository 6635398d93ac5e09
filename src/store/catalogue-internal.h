/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the catalogue share. */
#ifndef STORE_CATALOGUE_INTERNAL_H
#define STORE_CATALOGUE_INTERNAL_H

#include <sqlite3.h>

#include "store/catalogue.h"

struct catalogue {
	struct fs *fs;
	sqlite3 *db;
	char vfs[32];
};

/* The code and sentence for what SQLite just said, with the true cause of an
 * I/O error from below. */
int catalogue_fail(struct catalogue *c, int rc, const char *what,
		   struct err *err);
int catalogue_run(struct catalogue *c, const char *sql, const char *what,
		  struct err *err);

/* What `point.snapshot` says. */
enum point_kind {
	KIND_POINT,
	KIND_SNAPSHOT,
	KIND_INVALID, /* a point with a row of point_invalid */
};

/* A row that is read, column by column. */
struct column {
	sqlite3_stmt *stmt;
	int at;
	uint32_t crc;
	bool bad; /* a value of the wrong type, or too long */
};

/* Calls EACH for every row of SQL, until it returns anything but 0; BINDING
 * restricts it, if not NULL. */
int catalogue_select(struct catalogue *c, const char *sql,
		     void (*binding)(sqlite3_stmt *stmt, const void *key),
		     const void *key,
		     int (*each)(struct column *col, void *arg,
				 struct err *err),
		     void *arg, struct err *err);

#endif
