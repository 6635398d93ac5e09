/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Live bitmaps on the tmpfs.  They are made under a temporary name, one for
 * each disk so that crashes cannot heap them up, and renamed when complete.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "store/files.h"
#include "store/preallocated.h"

#define NAME_BYTES sizeof(((struct live_file *)NULL)->name)

static void live_name(uint32_t disk, uint64_t generation, char name[NAME_BYTES])
{
	(void)snprintf(name, NAME_BYTES, "live-%" PRIu32 "-%016" PRIx64, disk,
		       generation);
}

/* Is NAME exactly what live_name() makes? */
static bool live_name_parse(const char *name, uint32_t *ret_disk,
			    uint64_t *ret_generation)
{
	char again[NAME_BYTES];
	uint64_t generation;
	uint32_t disk;

	if (sscanf(name, "live-%9" SCNu32 "-%16" SCNx64, &disk, &generation) !=
	    2)
		return false;
	live_name(disk, generation, again);
	if (strcmp(name, again) != 0)
		return false;
	*ret_disk = disk;
	*ret_generation = generation;
	return true;
}

/* Maps FILE into LIVE, whose head is set. */
static int live_map(struct live_file *live, struct err *err)
{
	uint64_t bytes, want = live_file_bytes(live->head.bytes);
	void *addr;
	int r = live->file->ops->map(live->file, &addr, &bytes, err);

	if (r < 0)
		return r;
	if (bytes != want)
		return err_set(err, -RP_ECORRUPT,
			       "'%s' has %" PRIu64 " bytes, should have "
			       "%" PRIu64,
			       live->name, bytes, want);
	live->state = (void *)((char *)addr + LIVE_STATE_OFFSET);
	live->bits = (void *)((char *)addr + LIVE_HEAD_BYTES);
	live->words = (bytes - LIVE_HEAD_BYTES) / sizeof(uint64_t);
	return 0;
}

/* Allocated, so that no store into the mapping can fail. */
static int live_fill(struct live_file *live, struct err *err)
{
	uint8_t head[LIVE_HEAD_BYTES];
	struct file *file = live->file;
	int r = file->ops->truncate(file, 0, err);

	live_encode(&live->head, head);
	if (r == 0)
		r = file->ops->allocate(file, 0,
					live_file_bytes(live->head.bytes), err);
	if (r == 0)
		r = file_write(file, head, sizeof(head), 0, err);
	return r < 0 ? r : live_map(live, err);
}

int live_create(struct fs *memory, const struct live_head *head,
		struct live_file *ret_live, struct err *err)
{
	struct live_file live = {.head = *head};
	char temporary[NAME_BYTES];
	int r;

	live_name(head->disk, head->generation, live.name);
	(void)snprintf(temporary, sizeof(temporary), "new-live-%" PRIu32,
		       head->disk);
	r = fs_open(memory, temporary, FILE_WRITE | FILE_CREATE, &live.file,
		    err);
	if (r < 0)
		return r;
	r = live_fill(&live, err);
	if (r == 0)
		r = memory->ops->rename(memory, temporary, live.name, err);
	if (r < 0) {
		file_close(live.file);
		(void)memory->ops->unlink(memory, temporary, NULL);
		return r;
	}
	*ret_live = live;
	return 0;
}

static int check_head(const struct live_head *head, const struct guid *store,
		      const struct guid *live, uint32_t disk,
		      uint64_t generation, struct err *err)
{
	const char *what = NULL;

	if (!guid_equal(&head->store, store))
		what = "another store";
	else if (!guid_equal(&head->live, live))
		what = "another life of the store";
	else if (head->disk != disk)
		what = "another disk";
	else if (head->generation != generation)
		what = "another generation";
	return what ? err_set(err, -RP_ECORRUPT, "it is of %s", what) : 0;
}

static int read_head(struct file *file, struct live_head *ret_head,
		     struct err *err)
{
	uint8_t buf[LIVE_HEAD_BYTES];
	int r = file_read_all(file, buf, sizeof(buf), 0, err);

	if (r == 0)
		r = live_decode(buf, ret_head, err);
	return r == -ENODATA ? err_set(err, -RP_ECORRUPT, "it is empty") : r;
}

int live_open(struct fs *memory, const struct guid *store,
	      const struct guid *live, uint32_t disk, uint64_t generation,
	      struct live_file *ret_live, struct err *err)
{
	struct live_file new = {0};
	int r;

	live_name(disk, generation, new.name);
	r = fs_open(memory, new.name, FILE_WRITE, &new.file, err);
	if (r < 0)
		return r;
	r = read_head(new.file, &new.head, err);
	if (r == 0)
		r = check_head(&new.head, store, live, disk, generation, err);
	if (r == 0)
		r = live_map(&new, err);
	if (r < 0) {
		(void)err_wrap(err, "live bitmap '%s'", new.name);
		file_close(new.file);
		return r;
	}
	*ret_live = new;
	return 0;
}

void live_close(struct live_file *live)
{
	file_close(live->file);
	live->file = NULL;
	live->state = NULL;
	live->bits = NULL;
}

int live_unlink(struct fs *memory, uint32_t disk, uint64_t generation,
		struct err *err)
{
	char name[NAME_BYTES];
	int r;

	live_name(disk, generation, name);
	r = memory->ops->unlink(memory, name, err);
	return r == -ENOENT ? 0 : r;
}

struct live_list {
	int (*fn)(void *arg, uint32_t disk, uint64_t generation);
	void *arg;
};

static int list_one(void *arg, const char *name)
{
	const struct live_list *list = arg;
	uint64_t generation;
	uint32_t disk;

	if (!live_name_parse(name, &disk, &generation))
		return 0;
	return list->fn(list->arg, disk, generation);
}

int live_list(struct fs *memory,
	      int (*fn)(void *arg, uint32_t disk, uint64_t generation),
	      void *arg, struct err *err)
{
	struct live_list list = {fn, arg};

	return memory->ops->list(memory, list_one, &list, err);
}
