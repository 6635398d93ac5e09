/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SQLite on the disk seam, so that the catalogue stands before the same
 * failures, and the same simulator, as everything else in the store.
 *
 * A connection must say, before anything else that reads or writes,
 *	PRAGMA locking_mode=EXCLUSIVE;
 *	PRAGMA journal_mode=WAL;
 *	PRAGMA synchronous=FULL;
 *	PRAGMA temp_store=MEMORY;
 * in this order: exclusive first, because there is no shared memory here, and
 * a database that is in WAL mode already can be read in no other way.  Locks
 * are no-ops: the store holds its own, and has one connection.
 *
 * Once a sync has failed, everything that would write fails until the
 * connection was closed and opened again; reads still work.  A COMMIT that
 * failed is then there or not, as after a power cut.
 */
#ifndef STORE_SQLITE_VFS_H
#define STORE_SQLITE_VFS_H

#include "disk/disk.h"

#define SQLITE_VFS_NAME_BYTES 32

/* Makes the files of FS, by their names there, known to sqlite3_open_v2()
 * under the name of a VFS that is new each time.  FS stays the caller's and
 * must outlive the VFS.  A VFS is for one thread at a time. */
int sqlite_vfs_register(struct fs *fs, char ret_name[SQLITE_VFS_NAME_BYTES],
			struct err *err);

/* All its connections must have been closed.  Unknown names are ignored. */
void sqlite_vfs_unregister(const char *name);

/* A transaction begins. */
void sqlite_vfs_begin(const char *name);

/* After a COMMIT that failed and a ROLLBACK: makes sure that no later opening
 * finds the transaction in the log, durably.  On failure it may be there, and
 * nothing can be written any more until all was closed and opened again. */
int sqlite_vfs_withdraw(const char *name, struct err *err);

/* The last failure of the seam below this VFS: what stands behind an
 * SQLITE_IOERR, SQLITE_FULL or SQLITE_CANTOPEN.  Sets ERR and returns its
 * code; 0, and ERR untouched, if there was none.  (That a file is not there is
 * not counted as one, except when it was to be opened.) */
int sqlite_vfs_last_error(const char *name, struct err *err);

#endif
