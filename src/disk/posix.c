/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The seam's blocking half, as system calls below one directory.
 *
 * Invariants:
 *   1  Nothing is reached but what lies in the directory itself: names have
 *      one component, symbolic links are not followed, and what is opened is
 *      a regular file.
 *   2  sync is fsync(2) for the first time after the file was created,
 *      truncated or allocated, when there is metadata beyond what is needed
 *      to read the data back, and fdatasync(2) otherwise; a size that grew by
 *      writing is covered by fdatasync (fdatasync(2): it "flushes metadata
 *      needed to retrieve the data").
 *   3  D4: Linux reports a failed write-back once and then calls the pages
 *      clean, so a second fsync that succeeds proves nothing.  The first
 *      failure is latched, and every later sync of this open file fails with
 *      it.  The same holds for the directory.
 *   4  No output is touched on failure.
 *
 * Functions may be called from several threads at once, as the system calls
 * under them may; close may not.
 */
#include "disk/posix.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/magic.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/bytes.h"
#include "common/limits.h"
#include "disk/writers.h"

#define COPY_BYTES KIB(64) /* a piece of allocate's fallback */

/* Not all of these are in every <linux/magic.h>. */
#define MAGIC_CIFS 0xff534d42u
#define MAGIC_SMB2 0xfe534d42u
#define MAGIC_FUSE 0x65735546u
#define MAGIC_CEPH 0x00c36400u

struct posix_file {
	struct file file;
	int fd;
	atomic_bool whole;  /* the next sync is an fsync, invariant 2 */
	atomic_int latched; /* invariant 3: 0 or negative */
	atomic_int lost;    /* 0, or why write-back failed */
	void *map;          /* or NULL */
	uint64_t map_bytes;
	struct writers *writers; /* the ring's; or NULL */
	bool apart;
};

struct posix_fs {
	struct fs fs;
	int dirfd;
	atomic_int latched;
};

static struct posix_file *posix_file(const struct file *file);

static int64_t posix_read(struct file *file, void *buf, uint64_t bytes,
			  uint64_t offset, struct err *err)
{
	int64_t n = fd_read(posix_file(file)->fd, buf, bytes, offset);

	return n < 0 ? err_set(err, (int)n, "read '%s'", file->name) : n;
}

static int posix_write(struct file *file, const void *buf, uint64_t bytes,
		       uint64_t offset, struct err *err)
{
	int r = fd_write(posix_file(file)->fd, buf, bytes, offset);

	return r < 0 ? err_set(err, r, "write '%s'", file->name) : 0;
}

static int posix_sync(struct file *file, struct err *err)
{
	struct posix_file *pf = posix_file(file);
	int error = atomic_load(&pf->latched);
	int rc;

	if (error)
		return err_set(err, error, "sync '%s': an earlier sync failed",
			       file->name);
	if (atomic_exchange(&pf->whole, false))
		do
			rc = fsync(pf->fd);
		while (rc < 0 && errno == EINTR);
	else
		do
			rc = fdatasync(pf->fd);
		while (rc < 0 && errno == EINTR);
	if (rc == 0)
		return 0;
	error = -errno;
	posix_file_latch(file, error);
	return err_set(err, error, "sync '%s'", file->name);
}

static int posix_truncate(struct file *file, uint64_t bytes, struct err *err)
{
	struct posix_file *pf = posix_file(file);
	int rc;

	if (bytes > INT64_MAX)
		return err_set(err, -EFBIG, "truncate '%s'", file->name);
	atomic_store(&pf->whole, true);
	do
		rc = ftruncate(pf->fd, (off_t)bytes);
	while (rc < 0 && errno == EINTR);
	return rc == 0 ? 0 : err_set(err, -errno, "truncate '%s'", file->name);
}

static int posix_size(struct file *file, uint64_t *ret_bytes, struct err *err)
{
	int fd = posix_file(file)->fd;
	struct stat st;
	off_t end;

	if (fstat(fd, &st) < 0)
		return err_set(err, -errno, "size of '%s'", file->name);
	end = st.st_size;
	if (S_ISBLK(st.st_mode))
		end = lseek(fd, 0, SEEK_END);
	if (end < 0)
		return err_set(err, -errno, "size of '%s'", file->name);
	*ret_bytes = (uint64_t)end;
	return 0;
}

/* Where the file system cannot reserve: what is there is written back in
 * place, which fills holes, and zeros follow up to the new end. */
static int allocate_by_writing(struct file *file, uint64_t offset,
			       uint64_t bytes, struct err *err)
{
	char *buf = malloc(COPY_BYTES);
	int rc = 0;

	if (!buf)
		return err_set(err, -ENOMEM, "allocate '%s'", file->name);
	while (bytes > 0 && rc == 0) {
		uint64_t n = MIN(bytes, COPY_BYTES);
		int64_t got = posix_read(file, buf, n, offset, err);

		if (got < 0) {
			rc = (int)got;
			break;
		}
		memset(buf + got, 0, n - (uint64_t)got);
		rc = posix_write(file, buf, n, offset, err);
		offset += n;
		bytes -= n;
	}
	free(buf);
	return rc;
}

static int posix_allocate(struct file *file, uint64_t offset, uint64_t bytes,
			  struct err *err)
{
	struct posix_file *pf = posix_file(file);
	int rc;

	if (bytes == 0)
		return 0;
	if (offset > INT64_MAX || bytes > INT64_MAX - offset)
		return err_set(err, -EFBIG, "allocate '%s'", file->name);
	atomic_store(&pf->whole, true);
	do
		rc = fallocate(pf->fd, 0, (off_t)offset, (off_t)bytes);
	while (rc < 0 && errno == EINTR);
	if (rc == 0)
		return 0;
	if (errno == EOPNOTSUPP)
		return allocate_by_writing(file, offset, bytes, err);
	return err_set(err, -errno, "allocate %llu bytes of '%s'",
		       (unsigned long long)bytes, file->name);
}

static int posix_map(struct file *file, void **ret_addr, uint64_t *ret_bytes,
		     struct err *err)
{
	struct posix_file *pf = posix_file(file);
	uint64_t bytes;
	void *addr;
	int rc;

	if (!pf->map) {
		rc = posix_is_tmpfs(pf->fd, err);
		if (rc < 0) {
			(void)err_wrap(err, "map '%s'", file->name);
			return rc;
		}
		if (rc == 0)
			return err_set(err, -RP_EUNSUPPORTED,
				       "map '%s': it is not on a tmpfs",
				       file->name);
		rc = posix_size(file, &bytes, err);
		if (rc < 0)
			return rc;
		addr = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
			    pf->fd, 0);
		if (addr == MAP_FAILED)
			return err_set(err, -errno, "map '%s'", file->name);
		pf->map = addr;
		pf->map_bytes = bytes;
	}
	*ret_addr = pf->map;
	*ret_bytes = pf->map_bytes;
	return 0;
}

/* sync_file_range(2) tells what write-back failed at, of the whole file, after
 * waiting for the pages of a range: this one has none.  Told once, so it is
 * kept. */
static int posix_lost(struct file *file)
{
	struct posix_file *pf = posix_file(file);
	int none = 0;

	if (sync_file_range(pf->fd, INT64_MAX - 4096, 1,
			    SYNC_FILE_RANGE_WAIT_BEFORE) < 0)
		(void)atomic_compare_exchange_strong(&pf->lost, &none, -errno);
	return atomic_load(&pf->lost);
}

static void posix_close(struct file *file)
{
	struct posix_file *pf = posix_file(file);

	writers_free(pf->writers);
	if (pf->map)
		(void)munmap(pf->map, pf->map_bytes);
	(void)close(pf->fd);
	free(pf);
}

static const struct file_ops posix_file_ops = {
    .read = posix_read,
    .write = posix_write,
    .sync = posix_sync,
    .truncate = posix_truncate,
    .allocate = posix_allocate,
    .size = posix_size,
    .map = posix_map,
    .lost = posix_lost,
    .close = posix_close,
};

static struct posix_file *posix_file(const struct file *file)
{
	assert(file->ops == &posix_file_ops);
	return container_of(file, struct posix_file, file);
}

bool posix_is_file(const struct file *file)
{
	return file->ops == &posix_file_ops;
}

int posix_file_fd(const struct file *file)
{
	return posix_file(file)->fd;
}

void posix_file_keep_apart(struct file *file)
{
	if (posix_is_file(file))
		posix_file(file)->apart = true;
}

bool posix_file_is_apart(struct file *file)
{
	return posix_file(file)->apart;
}

struct writers **posix_file_writers(struct file *file)
{
	return &posix_file(file)->writers;
}

int posix_file_latched(const struct file *file)
{
	return atomic_load_explicit(&posix_file(file)->latched,
				    memory_order_relaxed);
}

void posix_file_latch(struct file *file, int error)
{
	int none = 0;

	(void)atomic_compare_exchange_strong(&posix_file(file)->latched, &none,
					     error);
}

int posix_file_new(int fd, const char *name, struct file **ret_file,
		   struct err *err)
{
	struct posix_file *pf = calloc(1, sizeof(*pf));

	if (!pf) {
		(void)close(fd);
		return err_set(err, -ENOMEM, "open '%s'", name);
	}
	pf->file.ops = &posix_file_ops;
	(void)snprintf(pf->file.name, sizeof(pf->file.name), "%s", name);
	pf->fd = fd;
	*ret_file = &pf->file;
	return 0;
}

static struct posix_fs *posix_fs(const struct fs *fs)
{
	return container_of(fs, struct posix_fs, fs);
}

static int check_name(const struct fs *fs, const char *name, struct err *err)
{
	if (*name && !strchr(name, '/') && strcmp(name, ".") != 0 &&
	    strcmp(name, "..") != 0)
		return 0;
	return err_set(err, -EINVAL, "file name '%s' in %s", name, fs->name);
}

/* O_NONBLOCK keeps a FIFO of that name from holding us.  It may not stay set:
 * io_uring heeds it on regular files too, and says -EAGAIN where it would have
 * waited for the disk. */
static int posix_open(struct fs *fs, const char *name, unsigned flags,
		      struct file **ret_file, struct err *err)
{
	int how = O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK;
	struct file *file;
	struct stat st;
	int fd, rc;

	rc = check_name(fs, name, err);
	if (rc < 0)
		return rc;
	how |= flags & FILE_WRITE ? O_RDWR : O_RDONLY;
	if (flags & FILE_CREATE)
		how |= O_CREAT | (flags & FILE_EXCLUSIVE ? O_EXCL : 0);
	do
		fd = openat(posix_fs(fs)->dirfd, name, how, 0600);
	while (fd < 0 && errno == EINTR);
	if (fd < 0)
		return err_set(err, -errno, "open '%s' in %s", name, fs->name);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
	    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK) < 0) {
		(void)close(fd);
		return err_set(err, -RP_EUNSUPPORTED,
			       "open '%s' in %s: not a regular file", name,
			       fs->name);
	}
	rc = posix_file_new(fd, name, &file, err);
	if (rc < 0)
		return rc;
	/* Whether it was there before cannot be seen without O_EXCL. */
	atomic_store(&posix_file(file)->whole, (flags & FILE_CREATE) != 0);
	*ret_file = file;
	return 0;
}

static int posix_rename(struct fs *fs, const char *from, const char *to,
			struct err *err)
{
	int dirfd = posix_fs(fs)->dirfd;
	int rc = check_name(fs, from, err);

	if (rc == 0)
		rc = check_name(fs, to, err);
	if (rc < 0)
		return rc;
	if (renameat(dirfd, from, dirfd, to) == 0)
		return 0;
	return err_set(err, -errno, "rename '%s' to '%s' in %s", from, to,
		       fs->name);
}

static int posix_unlink(struct fs *fs, const char *name, struct err *err)
{
	int rc = check_name(fs, name, err);

	if (rc < 0)
		return rc;
	if (unlinkat(posix_fs(fs)->dirfd, name, 0) == 0)
		return 0;
	return err_set(err, -errno, "unlink '%s' in %s", name, fs->name);
}

static int posix_sync_dir(struct fs *fs, struct err *err)
{
	struct posix_fs *pfs = posix_fs(fs);
	int error = atomic_load(&pfs->latched);
	int none = 0;
	int rc;

	if (error)
		return err_set(err, error, "sync %s: an earlier sync failed",
			       fs->name);
	do
		rc = fsync(pfs->dirfd);
	while (rc < 0 && errno == EINTR);
	if (rc == 0)
		return 0;
	error = -errno;
	(void)atomic_compare_exchange_strong(&pfs->latched, &none, error);
	return err_set(err, error, "sync %s", fs->name);
}

static bool is_directory(int dirfd, const struct dirent *entry)
{
	struct stat st;

	if (entry->d_type != DT_UNKNOWN)
		return entry->d_type == DT_DIR;
	return fstatat(dirfd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       S_ISDIR(st.st_mode);
}

/* A descriptor of its own, as the offset belongs to the open file. */
static int posix_list(struct fs *fs, int (*fn)(void *arg, const char *name),
		      void *arg, struct err *err)
{
	int fd = openat(posix_fs(fs)->dirfd, ".",
			O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	int rc = 0;

	if (!dir) {
		rc = err_set(err, -errno, "list %s", fs->name);
		if (fd >= 0)
			(void)close(fd);
		return rc;
	}
	while (rc == 0) {
		errno = 0;
		entry = readdir(dir);
		if (!entry && errno)
			rc = err_set(err, -errno, "list %s", fs->name);
		if (!entry)
			break;
		if (!is_directory(fd, entry))
			rc = fn(arg, entry->d_name);
	}
	(void)closedir(dir);
	return rc;
}

static int posix_space(struct fs *fs, uint64_t *ret_bytes, struct err *err)
{
	struct statvfs st;

	if (fstatvfs(posix_fs(fs)->dirfd, &st) < 0)
		return err_set(err, -errno, "space of %s", fs->name);
	*ret_bytes = (uint64_t)st.f_bavail * st.f_frsize;
	return 0;
}

static void posix_fs_free(struct fs *fs)
{
	struct posix_fs *pfs = posix_fs(fs);

	(void)close(pfs->dirfd);
	free(pfs);
}

static const struct fs_ops posix_fs_ops = {
    .open = posix_open,
    .rename = posix_rename,
    .unlink = posix_unlink,
    .sync_dir = posix_sync_dir,
    .list = posix_list,
    .space = posix_space,
    .free = posix_fs_free,
};

int posix_fs_new(int dirfd, const char *name, struct fs **ret_fs,
		 struct err *err)
{
	struct posix_fs *pfs;
	struct stat st;
	int rc = 0;

	if (fstat(dirfd, &st) < 0)
		rc = -errno;
	else if (!S_ISDIR(st.st_mode))
		rc = -ENOTDIR;
	pfs = rc == 0 ? calloc(1, sizeof(*pfs)) : NULL;
	if (!pfs) {
		(void)close(dirfd);
		return err_set(err, rc ? rc : -ENOMEM, "open %s", name);
	}
	pfs->fs.ops = &posix_fs_ops;
	(void)snprintf(pfs->fs.name, sizeof(pfs->fs.name), "%s", name);
	pfs->dirfd = dirfd;
	*ret_fs = &pfs->fs;
	return 0;
}

int posix_is_tmpfs(int dirfd, struct err *err)
{
	struct statfs st;

	if (fstatfs(dirfd, &st) < 0)
		return err_set(err, -errno, "statfs");
	return (unsigned)st.f_type == TMPFS_MAGIC;
}

int posix_check_store_fs(int dirfd, struct err *err)
{
	static const struct {
		unsigned magic;
		const char *name;
		const char *why;
	} refused[] = {
	    {TMPFS_MAGIC, "tmpfs", "it is lost with the power"},
	    {RAMFS_MAGIC, "ramfs", "it is lost with the power"},
	    {NFS_SUPER_MAGIC, "NFS", "it is a network file system"},
	    {SMB_SUPER_MAGIC, "SMB", "it is a network file system"},
	    {MAGIC_CIFS, "CIFS", "it is a network file system"},
	    {MAGIC_SMB2, "SMB2", "it is a network file system"},
	    {V9FS_MAGIC, "9p", "it is a network file system"},
	    {MAGIC_CEPH, "CephFS", "it is a network file system"},
	    {AFS_SUPER_MAGIC, "AFS", "it is a network file system"},
	    {CODA_SUPER_MAGIC, "Coda", "it is a network file system"},
	    {MAGIC_FUSE, "FUSE", "its syncs promise nothing"},
	};
	struct statfs st;

	if (fstatfs(dirfd, &st) < 0)
		return err_set(err, -errno, "statfs");
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		if ((unsigned)st.f_type == refused[i].magic)
			return err_set(err, -RP_EUNSUPPORTED,
				       "the store cannot live on %s, as %s",
				       refused[i].name, refused[i].why);
	return 0;
}
