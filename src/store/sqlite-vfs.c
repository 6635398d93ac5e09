/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VFS of SQLite on `struct fs`.
 *
 *   V1  xSync succeeds only if the content is durable and, since the file was
 *       opened, a sync of the directory succeeded: also for a file that was
 *       there, as who made it may have died before its name was durable.
 *   V2  A write-ahead log that is found on opening is written once more, in
 *       place, and synced before SQLite reads it.  Its former writer may have
 *       died after a sync that failed: then its pages may be in the cache, not
 *       on the disk, and no sync will ever change that (D4); SQLite would
 *       recover from them, begin to copy them into the database, and a power
 *       cut in the middle would leave half a copy and no log.
 *   V3  After a sync that failed nothing is written, synced, truncated or
 *       deleted any more until all files were closed and opened again, which
 *       starts with V2.  SQLite itself goes on: a failed sync of the log
 *       before a checkpoint may have lost the end of the log's padding, and
 *       is ignored; further commits are appended, their syncs succeed, and
 *       after a power cut recovery stops at the hole before them.
 *   V4  No sector is half written (D1), yet no SQLITE_IOCAP_* is claimed.
 *       POWERSAFE_OVERWRITE would be wrong: a 512-byte sector is rewritten
 *       within a larger physical one or a page of the cache, and its
 *       neighbours with it.  So SQLite pads commits to 4096 bytes and never
 *       rewrites the end of an earlier one.  SAFE_APPEND would be wrong, as
 *       a file may grow by zeros; SEQUENTIAL, as writes survive in any order;
 *       ATOMIC512 would be true, and of no use to pages of 4096.
 *
 *   V5  A COMMIT that runs out of space may have written its commit frame: the
 *       padding of V4 comes after it.  SQLite forgets the frames; a killed
 *       process's successor would find them and believe them.  So it is known
 * where a transaction's first frame is, and to withdraw it that frame's head is
 *       cleared, in place, which breaks the chain of checksums, and synced.
 *       (Not where the log was first written since its last sync: SQLite
 *       syncs in the middle of the padding, and goes on with the rest.)
 *
 * Methods of version 1 suffice: WAL without shared memory wants nothing but
 * the exclusive locking mode, and memory-mapped reads are never wanted, since
 * an I/O error in one is a SIGBUS.
 */
#include "store/sqlite-vfs.h"

#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "common/bytes.h"

#define NAME_BYTES   96 /* as in struct file */
#define SECTOR       4096
#define REWRITE      KIB(64)
#define LOG_HEAD     32                /* bytes of the head of the log ... */
#define FRAME_HEAD   24                /* ... and of that of a frame in it */
#define JULIAN_EPOCH 210866760000000ll /* 1970-01-01 in ms of Julian days */

struct vfs {
	sqlite3_vfs base;
	struct fs *fs;
	struct err last;
	unsigned files;       /* open ones */
	bool latched;         /* V3 */
	struct vfs_file *log; /* the write-ahead log, if it is open */
	char name[SQLITE_VFS_NAME_BYTES];
};

struct vfs_file {
	sqlite3_file base;
	struct vfs *vfs;
	struct file *file;
	bool name_unsynced;   /* V1 */
	bool unlink;          /* when closed */
	uint64_t frames_from; /* V5: this transaction's; 0: none yet */
};

static struct vfs_file *file_of(sqlite3_file *file)
{
	return container_of(file, struct vfs_file, base);
}

static struct vfs *vfs_of(sqlite3_vfs *vfs)
{
	return container_of(vfs, struct vfs, base);
}

/* Remembers ERR; the result for SQLite: CODE, unless there is no room. */
static int failed(struct vfs *vfs, const struct err *err, int code)
{
	int eno = err_errno(err->code);

	vfs->last = *err;
	return eno == ENOSPC || eno == EDQUOT ? SQLITE_FULL : code;
}

/* V3: the result for SQLite of a sync that failed. */
static int latch(struct vfs *vfs, const struct err *err, int code)
{
	vfs->latched = true;
	return failed(vfs, err, code);
}

/* ---- files ------------------------------------------------------------ */

static int vfs_close(sqlite3_file *base)
{
	struct vfs_file *file = file_of(base);
	char name[NAME_BYTES];

	(void)snprintf(name, sizeof(name), "%s", file->file->name);
	file_close(file->file);
	if (file->vfs->log == file)
		file->vfs->log = NULL;
	if (--file->vfs->files == 0)
		file->vfs->latched = false;
	if (file->unlink)
		(void)file->vfs->fs->ops->unlink(file->vfs->fs, name, NULL);
	return SQLITE_OK;
}

static int vfs_read(sqlite3_file *base, void *buf, int bytes,
		    sqlite3_int64 offset)
{
	struct vfs_file *file = file_of(base);
	struct err err = {0};
	int64_t n =
	    file_read(file->file, buf, (uint64_t)bytes, (uint64_t)offset, &err);

	if (n < 0) {
		(void)failed(file->vfs, &err, 0);
		return SQLITE_IOERR_READ;
	}
	if (n == bytes)
		return SQLITE_OK;
	memset((char *)buf + n, 0, (size_t)(bytes - n));
	return SQLITE_IOERR_SHORT_READ;
}

static int vfs_write(sqlite3_file *base, const void *buf, int bytes,
		     sqlite3_int64 offset)
{
	struct vfs_file *file = file_of(base);
	struct err err = {0};

	if (file->vfs->latched)
		return SQLITE_IOERR_WRITE;
	if (file->frames_from == 0)
		file->frames_from = MAX((uint64_t)offset, LOG_HEAD);
	if (file_write(file->file, buf, (uint64_t)bytes, (uint64_t)offset,
		       &err) < 0)
		return failed(file->vfs, &err, SQLITE_IOERR_WRITE);
	return SQLITE_OK;
}

static int vfs_truncate(sqlite3_file *base, sqlite3_int64 bytes)
{
	struct vfs_file *file = file_of(base);
	struct err err = {0};

	if (file->vfs->latched)
		return SQLITE_IOERR_TRUNCATE;
	if (file->file->ops->truncate(file->file, (uint64_t)bytes, &err) < 0)
		return failed(file->vfs, &err, SQLITE_IOERR_TRUNCATE);
	return SQLITE_OK;
}

static int vfs_sync(sqlite3_file *base, int flags)
{
	struct vfs_file *file = file_of(base);
	struct fs *fs = file->vfs->fs;
	struct err err = {0};

	if (file->vfs->latched)
		return SQLITE_IOERR_FSYNC;
	if (file_sync(file->file, &err) < 0)
		return latch(file->vfs, &err, SQLITE_IOERR_FSYNC);
	if (!file->name_unsynced)
		return SQLITE_OK;
	if (fs->ops->sync_dir(fs, &err) < 0)
		return latch(file->vfs, &err, SQLITE_IOERR_DIR_FSYNC);
	file->name_unsynced = false;
	return SQLITE_OK;
}

static int vfs_file_size(sqlite3_file *base, sqlite3_int64 *ret_bytes)
{
	struct vfs_file *file = file_of(base);
	struct err err = {0};
	uint64_t bytes;

	if (file->file->ops->size(file->file, &bytes, &err) < 0)
		return failed(file->vfs, &err, SQLITE_IOERR_FSTAT);
	*ret_bytes = (sqlite3_int64)bytes;
	return SQLITE_OK;
}

static int vfs_lock(sqlite3_file *file, int level)
{
	return SQLITE_OK;
}

static int vfs_check_reserved_lock(sqlite3_file *file, int *ret_locked)
{
	*ret_locked = 0;
	return SQLITE_OK;
}

static int vfs_file_control(sqlite3_file *base, int op, void *arg)
{
	if (op != SQLITE_FCNTL_VFSNAME)
		return SQLITE_NOTFOUND;
	*(char **)arg = sqlite3_mprintf("%s", file_of(base)->vfs->name);
	return SQLITE_OK;
}

static int vfs_sector_size(sqlite3_file *file)
{
	return SECTOR;
}

static int vfs_device_characteristics(sqlite3_file *file)
{
	return 0; /* V4 */
}

static const sqlite3_io_methods file_methods = {
    .iVersion = 1,
    .xClose = vfs_close,
    .xRead = vfs_read,
    .xWrite = vfs_write,
    .xTruncate = vfs_truncate,
    .xSync = vfs_sync,
    .xFileSize = vfs_file_size,
    .xLock = vfs_lock,
    .xUnlock = vfs_lock,
    .xCheckReservedLock = vfs_check_reserved_lock,
    .xFileControl = vfs_file_control,
    .xSectorSize = vfs_sector_size,
    .xDeviceCharacteristics = vfs_device_characteristics,
};

/* ---- the file system -------------------------------------------------- */

/* V2: writes again what reads show. */
static int rewrite(struct file *file, struct err *err)
{
	uint8_t *buf = malloc(REWRITE);
	uint64_t at = 0;
	int64_t n = 0;
	int r = 0;

	if (!buf)
		return err_set(err, -ENOMEM, "rewrite '%s'", file->name);
	while (r == 0 && (n = file_read(file, buf, REWRITE, at, err)) > 0) {
		r = file_write(file, buf, (uint64_t)n, at, err);
		at += (uint64_t)n;
	}
	free(buf);
	if (n < 0)
		return (int)n;
	if (r == 0 && at)
		r = file_sync(file, err);
	return r;
}

static unsigned fs_flags(int flags)
{
	unsigned out = FILE_READ;

	if (flags & SQLITE_OPEN_READWRITE)
		out |= FILE_WRITE;
	if (flags & SQLITE_OPEN_CREATE)
		out |= FILE_CREATE;
	if (flags & SQLITE_OPEN_EXCLUSIVE)
		out |= FILE_EXCLUSIVE;
	return out;
}

static int vfs_open(sqlite3_vfs *base, const char *name, sqlite3_file *ret_file,
		    int flags, int *ret_flags)
{
	struct vfs *vfs = vfs_of(base);
	struct vfs_file *file = file_of(ret_file);
	struct err err = {0};

	*file =
	    (struct vfs_file){.vfs = vfs}; /* no methods: not to be closed */
	if (!name)
		return SQLITE_CANTOPEN;
	if (fs_open(vfs->fs, name, fs_flags(flags), &file->file, &err) < 0)
		return failed(vfs, &err, SQLITE_CANTOPEN);
	if ((flags & SQLITE_OPEN_WAL) && (flags & SQLITE_OPEN_READWRITE) &&
	    rewrite(file->file, &err) < 0) {
		file_close(file->file);
		return failed(vfs, &err, SQLITE_IOERR);
	}
	vfs->files++;
	if (flags & SQLITE_OPEN_WAL)
		vfs->log = file;
	file->name_unsynced = true;
	file->unlink = flags & SQLITE_OPEN_DELETEONCLOSE;
	file->base.pMethods = &file_methods;
	if (ret_flags)
		*ret_flags = flags;
	return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *base, const char *name, int sync_dir)
{
	struct vfs *vfs = vfs_of(base);
	struct err err = {0};
	int r;

	if (vfs->latched)
		return SQLITE_IOERR_DELETE;
	r = vfs->fs->ops->unlink(vfs->fs, name, &err);
	if (r == -ENOENT)
		return SQLITE_IOERR_DELETE_NOENT;
	if (r < 0)
		return failed(vfs, &err, SQLITE_IOERR_DELETE);
	if (sync_dir && vfs->fs->ops->sync_dir(vfs->fs, &err) < 0)
		return latch(vfs, &err, SQLITE_IOERR_DIR_FSYNC);
	return SQLITE_OK;
}

/* As SQLite's own: an empty file is as good as none. */
static int vfs_access(sqlite3_vfs *base, const char *name, int flags,
		      int *ret_there)
{
	struct vfs *vfs = vfs_of(base);
	struct file *file;
	struct err err = {0};
	uint64_t bytes = 0;
	int r = fs_open(vfs->fs, name, FILE_READ, &file, &err);

	*ret_there = 0;
	if (r == -ENOENT)
		return SQLITE_OK;
	if (r == 0) {
		r = file->ops->size(file, &bytes, &err);
		file_close(file);
	}
	if (r < 0)
		return failed(vfs, &err, SQLITE_IOERR_ACCESS);
	*ret_there = flags != SQLITE_ACCESS_EXISTS || bytes > 0;
	return SQLITE_OK;
}

static int vfs_full_pathname(sqlite3_vfs *vfs, const char *name, int bytes,
			     char *ret_name)
{
	int n = snprintf(ret_name, (size_t)bytes, "%s", name);

	return n > 0 && n < bytes ? SQLITE_OK : SQLITE_CANTOPEN;
}

static int vfs_randomness(sqlite3_vfs *vfs, int bytes, char *ret_bytes)
{
	int done = 0;

	while (done < bytes) {
		ssize_t n =
		    getrandom(ret_bytes + done, (size_t)(bytes - done), 0);

		if (n < 0 && errno != EINTR)
			break;
		if (n > 0)
			done += (int)n;
	}
	return done;
}

static int vfs_sleep(sqlite3_vfs *vfs, int microseconds)
{
	struct timespec ts = {
	    .tv_sec = microseconds / 1000000,
	    .tv_nsec = microseconds % 1000000 * 1000L,
	};

	(void)nanosleep(&ts, NULL);
	return microseconds;
}

static int vfs_current_time_int64(sqlite3_vfs *vfs, sqlite3_int64 *ret_ms)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	*ret_ms = JULIAN_EPOCH + ts.tv_sec * 1000ll + ts.tv_nsec / 1000000;
	return SQLITE_OK;
}

static int vfs_current_time(sqlite3_vfs *vfs, double *ret_days)
{
	sqlite3_int64 ms;

	(void)vfs_current_time_int64(vfs, &ms);
	*ret_days = (double)ms / 86400000.0;
	return SQLITE_OK;
}

static int vfs_get_last_error(sqlite3_vfs *vfs, int bytes, char *ret_text)
{
	const struct err *last = &vfs_of(vfs)->last;

	if (bytes > 0)
		(void)snprintf(ret_text, (size_t)bytes, "%s", last->text);
	return last->code ? err_errno(last->code) : 0;
}

/* ---- registration ----------------------------------------------------- */

int sqlite_vfs_register(struct fs *fs, char ret_name[SQLITE_VFS_NAME_BYTES],
			struct err *err)
{
	static atomic_uint count;
	struct vfs *vfs = calloc(1, sizeof(*vfs));
	int r;

	if (!vfs)
		return err_set(err, -ENOMEM, "register '%s' with SQLite",
			       fs->name);
	(void)snprintf(vfs->name, sizeof(vfs->name), "refpoint-%u",
		       atomic_fetch_add(&count, 1));
	vfs->fs = fs;
	vfs->base = (sqlite3_vfs){
	    .iVersion = 2,
	    .szOsFile = sizeof(struct vfs_file),
	    .mxPathname = NAME_BYTES - 1,
	    .zName = vfs->name,
	    .xOpen = vfs_open,
	    .xDelete = vfs_delete,
	    .xAccess = vfs_access,
	    .xFullPathname = vfs_full_pathname,
	    .xRandomness = vfs_randomness,
	    .xSleep = vfs_sleep,
	    .xCurrentTime = vfs_current_time,
	    .xGetLastError = vfs_get_last_error,
	    .xCurrentTimeInt64 = vfs_current_time_int64,
	};
	r = sqlite3_vfs_register(&vfs->base, 0);
	if (r != SQLITE_OK) {
		free(vfs);
		return err_set(err, -RP_EFAILED, "register '%s': %s", fs->name,
			       sqlite3_errstr(r));
	}
	memcpy(ret_name, vfs->name, sizeof(vfs->name));
	return 0;
}

static struct vfs *find(const char *name)
{
	sqlite3_vfs *base = sqlite3_vfs_find(name);

	return base && base->xOpen == vfs_open ? vfs_of(base) : NULL;
}

void sqlite_vfs_unregister(const char *name)
{
	struct vfs *vfs = find(name);

	if (!vfs)
		return;
	(void)sqlite3_vfs_unregister(&vfs->base);
	free(vfs);
}

int sqlite_vfs_last_error(const char *name, struct err *err)
{
	const struct vfs *vfs = find(name);

	if (!vfs || !vfs->last.code)
		return 0;
	if (err)
		*err = vfs->last;
	return vfs->last.code;
}

void sqlite_vfs_begin(const char *name)
{
	struct vfs *vfs = find(name);

	if (vfs && vfs->log)
		vfs->log->frames_from = 0;
}

int sqlite_vfs_withdraw(const char *name, struct err *err)
{
	static const uint8_t zeros[FRAME_HEAD];
	struct vfs *vfs = find(name);
	struct vfs_file *log = vfs ? vfs->log : NULL;
	uint64_t bytes = 0;
	int r;

	if (!log)
		return err_set(err, -EIO, "there is no log");
	if (vfs->latched)
		return err_set(err, -EIO, "'%s': a sync failed",
			       log->file->name);
	if (log->frames_from == 0)
		return 0;
	r = log->file->ops->size(log->file, &bytes, err);
	if (r == 0 && bytes > log->frames_from) {
		r = file_write(log->file, zeros,
			       MIN(bytes - log->frames_from, FRAME_HEAD),
			       log->frames_from, err);
		if (r == 0)
			r = file_sync(log->file, err);
	}
	if (r < 0)
		vfs->latched = true; /* V3 */
	return r;
}
