/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Space is allocated, and then also written: a later write into allocated but
 * unwritten space has the file system convert it first, which is metadata that
 * a sync must wait for and that can want space on a full disk.
 */
#include "store/preallocated.h"

#include <inttypes.h>

#include "common/bytes.h"

#define PIECE_BYTES KIB(64)

static int write_zeros(struct file *file, uint64_t from, uint64_t to,
		       struct err *err)
{
	static const uint8_t zeros[PIECE_BYTES];

	while (from < to) {
		uint64_t n = MIN(to - from, PIECE_BYTES);
		int r = file_write(file, zeros, n, from, err);

		if (r < 0)
			return r;
		from += n;
	}
	return 0;
}

static int fill(struct file *file, uint64_t bytes, bool keep, struct err *err)
{
	uint64_t from = 0;
	int r;

	if (keep)
		r = file->ops->size(file, &from, err);
	else
		r = file->ops->truncate(file, 0, err);
	if (r == 0 && from < bytes)
		r = file->ops->allocate(file, from, bytes - from, err);
	if (r == 0)
		r = write_zeros(file, from, bytes, err);
	return r < 0 ? r : file_sync(file, err);
}

int preallocated_create(struct fs *fs, const char *name, uint64_t bytes,
			bool keep, struct err *err)
{
	struct file *file;
	int r = fs_open(fs, name, FILE_WRITE | FILE_CREATE, &file, err);

	if (r < 0)
		return r;
	r = fill(file, bytes, keep, err);
	file_close(file);
	return r;
}

int preallocated_open(struct fs *fs, const char *name, uint64_t bytes,
		      struct file **ret_file, struct err *err)
{
	struct file *file;
	uint64_t is;
	int r = fs_open(fs, name, FILE_WRITE, &file, err);

	if (r == -ENOENT)
		return err_set(err, -RP_ECORRUPT, "'%s' is not in %s", name,
			       fs->name);
	if (r < 0)
		return r;
	r = file->ops->size(file, &is, err);
	if (r == 0 && is < bytes)
		r = err_set(err, -RP_ECORRUPT,
			    "'%s' has %" PRIu64 " bytes, should have %" PRIu64,
			    name, is, bytes);
	if (r < 0) {
		file_close(file);
		return r;
	}
	*ret_file = file;
	return 0;
}

int file_read_all(struct file *file, void *buf, uint64_t bytes, uint64_t offset,
		  struct err *err)
{
	int64_t got = file_read(file, buf, bytes, offset, err);

	if (got < 0)
		return (int)got;
	if ((uint64_t)got < bytes)
		return err_set(err, -RP_ECORRUPT,
			       "'%s' ends at %" PRIu64 ", before %" PRIu64,
			       file->name, offset + (uint64_t)got,
			       offset + bytes);
	return 0;
}
