/* SPDX-License-Identifier: Apache-2.0 */
/* The blocking half with faults: each call asks the rules first. */
#include "disk/faulty-rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"

struct faulty_file {
	struct file file;
	struct file *inner;
	struct faults *faults;
};

struct faulty_fs {
	struct fs fs;
	struct fs *inner;
	struct faults *faults;
};

static struct faulty_file *faulty_file(struct file *file)
{
	return container_of(file, struct faulty_file, file);
}

static struct faulty_fs *faulty_fs(struct fs *fs)
{
	return container_of(fs, struct faulty_fs, fs);
}

/* Asks the rules of a call and suffers what comes before it. */
static int before(struct faults *faults, enum fault_op op, const char *name,
		  const char *other, struct fault *ret_fault, struct err *err)
{
	struct fault fault = faults_consult(faults, op, name, other);
	int rc = fault_suffer(&fault.before);

	*ret_fault = fault;
	return rc == 0 ? 0 : err_set(err, rc, "'%s': injected", name);
}

/* What comes of a call that returned RC. */
static int64_t after(const struct fault *fault, int64_t rc, const char *name,
		     struct err *err)
{
	int error = fault_suffer(&fault->after);

	return error ? err_set(err, error, "'%s': injected", name) : rc;
}

/* CALL uses `inner`.  All operations of a file, and of a directory, have the
 * same shape. */
#define SUFFER(type, op, name, other, call)                                    \
	do {                                                                   \
		struct fault fault;                                            \
		int rc = before(self->faults, op, name, other, &fault, err);   \
                                                                               \
		if (rc < 0)                                                    \
			return rc;                                             \
		return (type)after(&fault, call, name, err);                   \
	} while (0)

#define FILE_CALL(type, op, call)                                              \
	struct faulty_file *self = faulty_file(file);                          \
	struct file *inner = self->inner;                                      \
                                                                               \
	SUFFER(type, op, file->name, NULL, call)

static int64_t faulty_read(struct file *file, void *buf, uint64_t bytes,
			   uint64_t offset, struct err *err)
{
	FILE_CALL(int64_t, FAULT_READ,
		  file_read(inner, buf, bytes, offset, err));
}

static int faulty_write(struct file *file, const void *buf, uint64_t bytes,
			uint64_t offset, struct err *err)
{
	FILE_CALL(int, FAULT_WRITE, file_write(inner, buf, bytes, offset, err));
}

static int faulty_sync(struct file *file, struct err *err)
{
	FILE_CALL(int, FAULT_SYNC, file_sync(inner, err));
}

static int faulty_truncate(struct file *file, uint64_t bytes, struct err *err)
{
	FILE_CALL(int, FAULT_TRUNCATE, inner->ops->truncate(inner, bytes, err));
}

static int faulty_allocate(struct file *file, uint64_t offset, uint64_t bytes,
			   struct err *err)
{
	FILE_CALL(int, FAULT_ALLOCATE,
		  inner->ops->allocate(inner, offset, bytes, err));
}

static int faulty_size(struct file *file, uint64_t *ret_bytes, struct err *err)
{
	FILE_CALL(int, FAULT_SIZE, inner->ops->size(inner, ret_bytes, err));
}

static int faulty_map(struct file *file, void **ret_addr, uint64_t *ret_bytes,
		      struct err *err)
{
	FILE_CALL(int, FAULT_MAP,
		  inner->ops->map(inner, ret_addr, ret_bytes, err));
}

static int faulty_lost(struct file *file)
{
	return file_lost(faulty_file_inner(file));
}

static void faulty_close(struct file *file)
{
	struct faulty_file *self = faulty_file(file);

	file_close(self->inner);
	free(self);
}

static const struct file_ops faulty_file_ops = {
    .read = faulty_read,
    .write = faulty_write,
    .sync = faulty_sync,
    .truncate = faulty_truncate,
    .allocate = faulty_allocate,
    .size = faulty_size,
    .map = faulty_map,
    .lost = faulty_lost,
    .close = faulty_close,
};

int faulty_file_new(struct faults *faults, struct file *inner,
		    struct file **ret_file, struct err *err)
{
	struct faulty_file *self = calloc(1, sizeof(*self));

	if (!self)
		return err_set(err, -ENOMEM, "open '%s'", inner->name);
	self->file.ops = &faulty_file_ops;
	memcpy(self->file.name, inner->name, sizeof(self->file.name));
	self->inner = inner;
	self->faults = faults;
	*ret_file = &self->file;
	return 0;
}

struct faults *faulty_file_faults(struct file *file)
{
	return file->ops == &faulty_file_ops ? faulty_file(file)->faults : NULL;
}

struct file *faulty_file_inner(struct file *file)
{
	return file->ops == &faulty_file_ops ? faulty_file(file)->inner : file;
}

#define FS_CALL(op, name, other, call)                                         \
	struct faulty_fs *self = faulty_fs(fs);                                \
	struct fs *inner = self->inner;                                        \
                                                                               \
	SUFFER(int, op, name, other, call)

/* The file beneath is closed again where an error comes after. */
static int faulty_open(struct fs *fs, const char *name, unsigned flags,
		       struct file **ret_file, struct err *err)
{
	struct faulty_fs *self = faulty_fs(fs);
	struct file *inner, *file;
	struct fault fault;
	int rc = before(self->faults, FAULT_OPEN, name, NULL, &fault, err);

	if (rc == 0)
		rc = fs_open(self->inner, name, flags, &inner, err);
	if (rc < 0)
		return rc;
	rc = faulty_file_new(self->faults, inner, &file, err);
	if (rc < 0) {
		file_close(inner);
		return rc;
	}
	rc = (int)after(&fault, 0, name, err);
	if (rc < 0)
		file_close(file);
	else
		*ret_file = file;
	return rc;
}

static int faulty_rename(struct fs *fs, const char *from, const char *to,
			 struct err *err)
{
	FS_CALL(FAULT_RENAME, from, to,
		inner->ops->rename(inner, from, to, err));
}

static int faulty_unlink(struct fs *fs, const char *name, struct err *err)
{
	FS_CALL(FAULT_UNLINK, name, NULL, inner->ops->unlink(inner, name, err));
}

static int faulty_sync_dir(struct fs *fs, struct err *err)
{
	FS_CALL(FAULT_SYNC_DIR, fs->name, NULL,
		inner->ops->sync_dir(inner, err));
}

static int faulty_list(struct fs *fs, int (*fn)(void *arg, const char *name),
		       void *arg, struct err *err)
{
	FS_CALL(FAULT_LIST, fs->name, NULL,
		inner->ops->list(inner, fn, arg, err));
}

static int faulty_space(struct fs *fs, uint64_t *ret_bytes, struct err *err)
{
	FS_CALL(FAULT_SPACE, fs->name, NULL,
		inner->ops->space(inner, ret_bytes, err));
}

static void faulty_fs_free(struct fs *fs)
{
	struct faulty_fs *self = faulty_fs(fs);

	self->inner->ops->free(self->inner);
	free(self);
}

static const struct fs_ops faulty_fs_ops = {
    .open = faulty_open,
    .rename = faulty_rename,
    .unlink = faulty_unlink,
    .sync_dir = faulty_sync_dir,
    .list = faulty_list,
    .space = faulty_space,
    .free = faulty_fs_free,
};

int faulty_fs_new(struct faults *faults, struct fs *inner, struct fs **ret_fs,
		  struct err *err)
{
	struct faulty_fs *self = calloc(1, sizeof(*self));

	if (!self)
		return err_set(err, -ENOMEM, "open %s", inner->name);
	self->fs.ops = &faulty_fs_ops;
	memcpy(self->fs.name, inner->name, sizeof(self->fs.name));
	self->inner = inner;
	self->faults = faults;
	*ret_fs = &self->fs;
	return 0;
}
