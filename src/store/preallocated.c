/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Space is allocated, and then also written: a later write into allocated but
 * unwritten space has the file system convert it first, which is metadata that
 * a sync must wait for and that can want space on a full disk.
 */
#include "store/preallocated.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

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

int mapped_map(struct file *file, uint64_t bytes, void **ret_addr,
	       struct err *err)
{
	uint64_t has;
	void *addr;
	int r = file->ops->map(file, &addr, &has, err);

	if (r < 0)
		return r;
	if (has != bytes)
		return err_set(err, -RP_ECORRUPT,
			       "it has %" PRIu64 " bytes, should have %" PRIu64,
			       has, bytes);
	*ret_addr = addr;
	return 0;
}

static int mapped_fill(struct file *file, const void *head, uint64_t head_bytes,
		       uint64_t bytes, void **ret_addr, struct err *err)
{
	int r = file->ops->truncate(file, 0, err);

	if (r == 0)
		r = file->ops->allocate(file, 0, bytes, err);
	if (r == 0)
		r = file_write(file, head, head_bytes, 0, err);
	return r < 0 ? r : mapped_map(file, bytes, ret_addr, err);
}

int mapped_create(struct fs *memory, const char *temporary, const char *name,
		  const void *head, uint64_t head_bytes, uint64_t bytes,
		  struct file **ret_file, void **ret_addr, struct err *err)
{
	struct file *file;
	void *addr = NULL;
	int r =
	    fs_open(memory, temporary, FILE_WRITE | FILE_CREATE, &file, err);

	if (r < 0)
		return r;
	r = mapped_fill(file, head, head_bytes, bytes, &addr, err);
	if (r == 0)
		r = memory->ops->rename(memory, temporary, name, err);
	if (r < 0) {
		file_close(file);
		(void)memory->ops->unlink(memory, temporary, NULL);
		return r;
	}
	*ret_file = file;
	*ret_addr = addr;
	return 0;
}

bool name_split(const char *name, const char *prefix, struct guid *ret_id,
		uint32_t *ret_disk)
{
	size_t n = strlen(prefix);
	char text[GUID_TEXT_BYTES];

	if (strncmp(name, prefix, n) != 0 || strlen(name + n) < sizeof(text))
		return false;
	memcpy(text, name + n, sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	return guid_parse(text, ret_id) &&
	       sscanf(name + n + sizeof(text) - 1, "-%9" SCNu32, ret_disk) == 1;
}
