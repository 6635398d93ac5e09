/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files of snapshots.  The one on the tmpfs is made under a temporary name
 * and renamed when complete; a scratch file and a clone mean something only
 * through it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "store/files.h"
#include "store/preallocated.h"

static const char *const prefixes[] = {
    [SNAPSHOT_COPIED] = "snapshot",
    [SNAPSHOT_SCRATCH] = "scratch",
    [SNAPSHOT_CLONE] = "clone",
};

void snapshot_name(enum snapshot_part part, const struct guid *id,
		   uint32_t disk, char name[SNAPSHOT_NAME_BYTES])
{
	char text[GUID_TEXT_BYTES];

	guid_format(id, text);
	(void)snprintf(name, SNAPSHOT_NAME_BYTES, "%s-%s-%" PRIu32,
		       prefixes[part], text, disk);
}

/* Is NAME exactly what snapshot_name() makes? */
static bool name_parse(const char *name, struct guid *ret_id,
		       uint32_t *ret_disk)
{
	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
		char prefix[16], again[SNAPSHOT_NAME_BYTES];

		(void)snprintf(prefix, sizeof(prefix), "%s-", prefixes[i]);
		if (!name_split(name, prefix, ret_id, ret_disk))
			continue;
		snapshot_name((enum snapshot_part)i, ret_id, *ret_disk, again);
		if (strcmp(name, again) == 0)
			return true;
	}
	return false;
}

static void take_map(struct snapshot_file *f, void *addr)
{
	f->state = (void *)((char *)addr + SNAPSHOT_STATE_OFFSET);
	f->bits = (void *)((char *)addr + SNAPSHOT_HEAD_BYTES);
}

static void temporary_name(uint32_t disk, char name[SNAPSHOT_NAME_BYTES])
{
	(void)snprintf(name, SNAPSHOT_NAME_BYTES, "new-snapshot-%" PRIu32,
		       disk);
}

void snapshot_file_sweep(struct fs *memory, uint32_t disk)
{
	char name[SNAPSHOT_NAME_BYTES];

	temporary_name(disk, name);
	(void)memory->ops->unlink(memory, name, NULL);
}

int snapshot_file_create(struct fs *memory, const struct snapshot_head *head,
			 struct snapshot_file *ret_file, struct err *err)
{
	struct snapshot_file f = {.head = *head};
	char name[SNAPSHOT_NAME_BYTES], temporary[SNAPSHOT_NAME_BYTES];
	uint8_t buf[SNAPSHOT_HEAD_BYTES];
	void *addr;
	int r;

	snapshot_name(SNAPSHOT_COPIED, &head->snapshot, head->disk, name);
	temporary_name(head->disk, temporary);
	snapshot_encode(head, buf);
	r = mapped_create(memory, temporary, name, buf, sizeof(buf),
			  snapshot_file_bytes(head->bytes), &f.file, &addr,
			  err);
	if (r < 0)
		return r;
	take_map(&f, addr);
	*ret_file = f;
	return 0;
}

static int check_head(const struct snapshot_head *head,
		      const struct guid *store, const struct guid *id,
		      uint32_t disk, struct err *err)
{
	const char *what = NULL;

	if (!guid_equal(&head->store, store))
		what = "another store";
	else if (!guid_equal(&head->snapshot, id))
		what = "another snapshot";
	else if (head->disk != disk)
		what = "another disk";
	return what ? err_set(err, -RP_ECORRUPT, "it is of %s", what) : 0;
}

int snapshot_file_open(struct fs *memory, const struct guid *store,
		       const struct guid *id, uint32_t disk,
		       struct snapshot_file *ret_file, struct err *err)
{
	struct snapshot_file f = {0};
	char name[SNAPSHOT_NAME_BYTES];
	uint8_t head[SNAPSHOT_HEAD_BYTES];
	void *addr;
	int r;

	snapshot_name(SNAPSHOT_COPIED, id, disk, name);
	r = fs_open(memory, name, FILE_WRITE, &f.file, err);
	if (r < 0)
		return r;
	r = file_read_all(f.file, head, sizeof(head), 0, err);
	if (r == 0)
		r = snapshot_decode(head, &f.head, err);
	if (r == 0)
		r = check_head(&f.head, store, id, disk, err);
	if (r == 0)
		r = mapped_map(f.file, snapshot_file_bytes(f.head.bytes), &addr,
			       err);
	if (r < 0) {
		(void)err_wrap(err, "snapshot file '%s'", name);
		file_close(f.file);
		return r;
	}
	take_map(&f, addr);
	*ret_file = f;
	return 0;
}

void snapshot_file_close(struct snapshot_file *file)
{
	file_close(file->file);
	*file = (struct snapshot_file){0};
}

void snapshot_unlink(struct fs *store, struct fs *memory, const struct guid *id,
		     uint32_t disk)
{
	char name[SNAPSHOT_NAME_BYTES];

	/* What cannot be unlinked now is swept at the next opening. */
	if (memory) {
		snapshot_name(SNAPSHOT_COPIED, id, disk, name);
		(void)memory->ops->unlink(memory, name, NULL);
	}
	snapshot_name(SNAPSHOT_SCRATCH, id, disk, name);
	(void)store->ops->unlink(store, name, NULL);
	snapshot_name(SNAPSHOT_CLONE, id, disk, name);
	(void)store->ops->unlink(store, name, NULL);
}

struct walk {
	int (*fn)(void *arg, const struct guid *id, uint32_t disk);
	void *arg;
};

static int walk_one(void *arg, const char *name)
{
	const struct walk *walk = arg;
	struct guid id;
	uint32_t disk;

	return name_parse(name, &id, &disk) ? walk->fn(walk->arg, &id, disk)
					    : 0;
}

int snapshot_files(struct fs *fs,
		   int (*fn)(void *arg, const struct guid *id, uint32_t disk),
		   void *arg, struct err *err)
{
	struct walk walk = {fn, arg};

	return fs->ops->list(fs, walk_one, &walk, err);
}
