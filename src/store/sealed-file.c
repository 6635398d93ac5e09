/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of sealed generations: written once, before the commit that names
 * them, and never changed.  No temporary name: a file that no row of the
 * catalogue names is not there for anybody but the sweep.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/files.h"
#include "store/preallocated.h"

#define NAME_BYTES 48

void sealed_name(uint64_t generation, uint32_t serial, char name[NAME_BYTES])
{
	(void)snprintf(name, NAME_BYTES, "gen-%016" PRIx64 "-%08" PRIx32,
		       generation, serial);
}

static int write_new(struct fs *fs, const char *name, const uint8_t *buf,
		     uint64_t bytes, struct err *err)
{
	struct file *file;
	int r = fs_open(fs, name, FILE_WRITE | FILE_CREATE, &file, err);

	if (r < 0)
		return r;
	/* An attempt that a crash ended may have left a longer one. */
	r = file->ops->truncate(file, 0, err);
	if (r == 0)
		r = file_write(file, buf, bytes, 0, err);
	if (r == 0)
		r = file_sync(file, err);
	file_close(file);
	if (r == 0)
		r = fs->ops->sync_dir(fs, err);
	if (r < 0)
		(void)fs->ops->unlink(fs, name, NULL);
	return r;
}

int sealed_write(struct fs *fs, const struct sealed_head *head,
		 const struct sealed_disk *disks, struct err *err)
{
	char name[NAME_BYTES];
	uint64_t bytes;
	uint8_t *buf;
	int r = sealed_encode(head, disks, &buf, &bytes, err);

	if (r < 0)
		return r;
	sealed_name(head->generation, head->serial, name);
	r = write_new(fs, name, buf, bytes, err);
	free(buf);
	return r;
}

/* The whole file, to be freed by the caller. */
static int read_whole(struct file *file, uint8_t **ret_buf, uint64_t *ret_bytes,
		      struct err *err)
{
	uint64_t bytes;
	uint8_t *buf;
	int r = file->ops->size(file, &bytes, err);

	if (r < 0)
		return r;
	buf = malloc(bytes ? bytes : 1);
	if (!buf)
		return err_set(err, -ENOMEM, "read '%s'", file->name);
	r = file_read_all(file, buf, bytes, 0, err);
	if (r < 0) {
		free(buf);
		return r;
	}
	*ret_buf = buf;
	*ret_bytes = bytes;
	return 0;
}

static int check_head(const struct sealed_head *head, const struct guid *store,
		      uint64_t generation, uint32_t serial, struct err *err)
{
	if (!guid_equal(&head->store, store))
		return err_set(err, -RP_ECORRUPT, "it is of another store");
	if (head->generation != generation || head->serial != serial)
		return err_set(err, -RP_ECORRUPT,
			       "it holds generation %" PRIu64
			       ", serial %" PRIu32,
			       head->generation, head->serial);
	return 0;
}

static int read_file(struct file *file, const struct guid *store,
		     uint64_t generation, uint32_t serial,
		     struct sealed_head *ret_head,
		     struct sealed_disk *ret_disks, struct err *err)
{
	struct sealed_disk disks[DISKS_PER_VM_MAX];
	struct sealed_head head;
	uint64_t bytes = 0;
	uint8_t *buf = NULL;
	int r = read_whole(file, &buf, &bytes, err);

	if (r < 0)
		return r;
	r = sealed_decode(buf, bytes, &head, disks, err);
	free(buf);
	if (r < 0)
		return r;
	r = check_head(&head, store, generation, serial, err);
	for (uint32_t i = 0; i < head.disks; i++)
		if (r < 0)
			blockset_free(disks[i].set);
		else
			ret_disks[i] = disks[i];
	if (r == 0)
		*ret_head = head;
	return r;
}

int sealed_read(struct fs *fs, const struct guid *store, uint64_t generation,
		uint32_t serial, struct sealed_head *ret_head,
		struct sealed_disk ret_disks[DISKS_PER_VM_MAX], struct err *err)
{
	char name[NAME_BYTES];
	struct file *file;
	int r;

	sealed_name(generation, serial, name);
	r = fs_open(fs, name, FILE_READ, &file, err);
	if (r == -ENOENT)
		return err_set(err, -RP_ECORRUPT, "'%s' is not in %s", name,
			       fs->name);
	if (r < 0)
		return r;
	r = read_file(file, store, generation, serial, ret_head, ret_disks,
		      err);
	if (r < 0)
		(void)err_wrap(err, "'%s'", name);
	file_close(file);
	return r;
}
