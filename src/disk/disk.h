/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disk seam: every byte that must survive something goes through here.
 *
 * Behind it stand, interchangeably: the system (disk/posix.h for the store's
 * files, disk/ring.h for the guest's I/O) and, in tests, a fault injector, a
 * power-cut simulator and a write-order checker (tests/sim/).
 *
 * Two halves.  `struct fs` and `struct file` block; the store, SQLite and the
 * sealing of points use them on threads that may wait.  `struct ioq` does not
 * block; the guest's reads and writes use it on the thread that owns it.
 *
 * What the seam promises, and nothing more (the simulator takes away all
 * else):
 *   D1  A write is durable once a sync of that file, begun after the write
 *       completed, has succeeded.  Before that any subset of its sectors
 *       (512 bytes) may survive a power cut, in any order with other writes.
 *   D2  A file's name (created, renamed, unlinked) is durable once sync_dir
 *       has succeeded; before that either state may survive.
 *   D3  allocate and truncate are metadata of the file, durable with its sync.
 *       A write into an allocated range does not fail for lack of space.
 *   D4  After a failed sync nothing written since the last successful one may
 *       be counted on, ever, even if a later sync succeeds.
 *   D5  Rename replaces its target atomically.
 *
 * All functions return 0 (or a count) or a negative code, see common/err.h,
 * and name the file in ERR.
 */
#ifndef DISK_DISK_H
#define DISK_DISK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "common/err.h"

struct file;
struct fs;
struct ioq;

enum file_flags {
	FILE_READ = 0,            /* for reading only */
	FILE_WRITE = 1u << 0,     /* for reading and writing */
	FILE_CREATE = 1u << 1,    /* make it if it is not there (0600) */
	FILE_EXCLUSIVE = 1u << 2, /* with FILE_CREATE: fail if it is there */
};

struct file_ops {
	/* Reads up to BYTES at OFFSET; returns how many, short only at the
	 * file's end. */
	int64_t (*read)(struct file *file, void *buf, uint64_t bytes,
			uint64_t offset, struct err *err);
	/* Writes all of BYTES, growing the file where needed. */
	int (*write)(struct file *file, const void *buf, uint64_t bytes,
		     uint64_t offset, struct err *err);
	int (*sync)(struct file *file, struct err *err);
	int (*truncate)(struct file *file, uint64_t bytes, struct err *err);
	/* Reserves space for [offset, offset + bytes) and grows the file to
	 * hold it; new bytes read as zeros. */
	int (*allocate)(struct file *file, uint64_t offset, uint64_t bytes,
			struct err *err);
	int (*size)(struct file *file, uint64_t *ret_bytes, struct err *err);
	/* A shared mapping of all of the file, readable and writable, valid
	 * until close.  Only on a `struct fs` that is memory (a tmpfs): such a
	 * mapping survives the process, not the power.  Allocate first: a
	 * page that cannot be had would be a SIGBUS. */
	int (*map)(struct file *file, void **ret_addr, uint64_t *ret_bytes,
		   struct err *err);
	/* Has the system, since this file was opened, failed to write back
	 * anything that was written to it?  A negative code then: what is read
	 * may be something else.  Waits for nothing.  NULL: that cannot be. */
	int (*lost)(struct file *file);
	/* NULL is not accepted; never fails. */
	void (*close)(struct file *file);
};

/* Embedded first in each implementation's own struct. */
struct file {
	const struct file_ops *ops;
	char name[96]; /* for messages */
};

struct fs_ops {
	/* NAME is one component, without '/'. */
	int (*open)(struct fs *fs, const char *name, unsigned flags,
		    struct file **ret_file, struct err *err);
	int (*rename)(struct fs *fs, const char *from, const char *to,
		      struct err *err);
	/* -ENOENT if it is not there. */
	int (*unlink)(struct fs *fs, const char *name, struct err *err);
	int (*sync_dir)(struct fs *fs, struct err *err);
	/* Calls FN for each file's name, in no order; stops at its first
	 * non-zero result and returns that. */
	int (*list)(struct fs *fs, int (*fn)(void *arg, const char *name),
		    void *arg, struct err *err);
	/* Bytes that this process may still allocate. */
	int (*space)(struct fs *fs, uint64_t *ret_bytes, struct err *err);
	void (*free)(struct fs *fs);
};

/* One directory. */
struct fs {
	const struct fs_ops *ops;
	char name[96]; /* for messages */
};

/* Shorthands, so that callers read well. */
static inline int64_t file_read(struct file *file, void *buf, uint64_t bytes,
				uint64_t offset, struct err *err)
{
	return file->ops->read(file, buf, bytes, offset, err);
}

static inline int file_write(struct file *file, const void *buf, uint64_t bytes,
			     uint64_t offset, struct err *err)
{
	return file->ops->write(file, buf, bytes, offset, err);
}

static inline int file_sync(struct file *file, struct err *err)
{
	return file->ops->sync(file, err);
}

static inline int file_lost(struct file *file)
{
	return file->ops->lost ? file->ops->lost(file) : 0;
}

static inline void file_close(struct file *file)
{
	if (file)
		file->ops->close(file);
}

static inline int fs_open(struct fs *fs, const char *name, unsigned flags,
			  struct file **ret_file, struct err *err)
{
	return fs->ops->open(fs, name, flags, ret_file, err);
}

/* The guest's I/O: requests that complete later, on the queue's own thread. */
enum io_op {
	IO_READ,
	IO_WRITE,
	IO_ZERO,
	IO_DISCARD,
	IO_SYNC
};

enum io_flags {
	IO_NO_HOLE = 1u << 0, /* IO_ZERO: keep the space allocated */
};

struct io {
	enum io_op op;
	unsigned flags;
	struct file *file; /* one that this queue's implementation opened */
	uint64_t offset;   /* bytes; a multiple of the file's alignment */
	uint64_t length;   /* bytes; likewise; ignored by IO_SYNC */
	void *buf;         /* IO_READ, IO_WRITE; aligned */
	/* Called exactly once, from the queue's loop, never from submit:
	 * result is 0, all of it done, or -errno.  The io may be reused. */
	void (*done)(struct io *io, int result);

	/* for the implementation */
	struct io *next;
	uint64_t progress;
	uint64_t priv[4];
};

struct ioq_ops {
	/* Takes the io; its failure is reported by done() too.  A discard or
	 * zero that the file cannot do natively: IO_ZERO falls back to writing
	 * zeros, IO_DISCARD completes with -EOPNOTSUPP. */
	void (*submit)(struct ioq *ioq, struct io *io);
};

struct ioq {
	const struct ioq_ops *ops;
};

static inline void ioq_submit(struct ioq *ioq, struct io *io)
{
	ioq->ops->submit(ioq, io);
}

#endif
