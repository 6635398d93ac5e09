/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files of logs.  The log's and its sidecar's own contents are src/log's;
 * here they get their names and what they begin with.  The table on the tmpfs
 * is made under a temporary name and renamed when complete.
 */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "store/files.h"
#include "store/preallocated.h"

static const char *const suffixes[] = {
    [LOG_DATA] = ".hrl",
    [LOG_SIDE] = ".side",
    [LOG_TABLE] = "",
};

void log_name(enum log_part part, const struct guid *point, uint32_t disk,
	      char name[LOG_NAME_BYTES])
{
	char text[GUID_TEXT_BYTES];

	guid_format(point, text);
	(void)snprintf(name, LOG_NAME_BYTES, "log-%s-%" PRIu32 "%s", text, disk,
		       suffixes[part]);
}

/* Is NAME exactly what log_name() makes? */
static bool name_parse(const char *name, struct guid *ret_point,
		       uint32_t *ret_disk)
{
	char again[LOG_NAME_BYTES];

	if (!name_split(name, "log-", ret_point, ret_disk))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
		log_name((enum log_part)i, ret_point, *ret_disk, again);
		if (strcmp(name, again) == 0)
			return true;
	}
	return false;
}

/* ---- In the store ------------------------------------------------------ */

void log_files_close(struct log_files *files)
{
	file_close(files->data);
	file_close(files->side);
	*files = (struct log_files){0};
}

static int create_one(struct fs *store, enum log_part part,
		      const struct sidecar_head *head, const void *first,
		      uint64_t bytes, struct file **ret_file, struct err *err)
{
	char name[LOG_NAME_BYTES];
	struct file *file;
	int r;

	log_name(part, &head->point, head->disk, name);
	r = fs_open(store, name, FILE_WRITE | FILE_CREATE, &file, err);
	if (r < 0)
		return r;
	r = file->ops->truncate(file, 0, err);
	if (r == 0)
		r = file_write(file, first, bytes, 0, err);
	if (r == 0)
		r = file_sync(file, err);
	if (r < 0) {
		file_close(file);
		(void)store->ops->unlink(store, name, NULL);
		return r;
	}
	*ret_file = file;
	return 0;
}

int log_files_create(struct fs *store, const struct sidecar_head *head,
		     const void *first, uint32_t bytes,
		     struct log_files *ret_files, struct err *err)
{
	struct log_files f = {.head = *head};
	uint8_t side[SIDECAR_HEAD_BYTES];
	int r;

	sidecar_encode(head, side);
	r = create_one(store, LOG_DATA, head, first, bytes, &f.data, err);
	if (r == 0)
		r = create_one(store, LOG_SIDE, head, side, sizeof(side),
			       &f.side, err);
	if (r < 0) {
		if (f.data)
			log_unlink(store, NULL, &head->point, head->disk);
		log_files_close(&f);
		return r;
	}
	*ret_files = f;
	return 0;
}

static int check_side(const struct sidecar_head *head, const struct guid *store,
		      const struct guid *point, uint32_t disk, struct err *err)
{
	const char *what = NULL;

	if (!guid_equal(&head->store, store))
		what = "another store";
	else if (!guid_equal(&head->point, point))
		what = "another point";
	else if (head->disk != disk)
		what = "another disk";
	return what ? err_set(err, -RP_ECORRUPT, "it is of %s", what) : 0;
}

static int open_side(struct fs *store, const struct guid *id,
		     const struct guid *point, uint32_t disk,
		     struct log_files *f, struct err *err)
{
	char name[LOG_NAME_BYTES];
	uint8_t head[SIDECAR_HEAD_BYTES];
	int r;

	log_name(LOG_SIDE, point, disk, name);
	r = fs_open(store, name, FILE_WRITE, &f->side, err);
	if (r < 0)
		return r;
	r = file_read_all(f->side, head, sizeof(head), 0, err);
	if (r == 0)
		r = sidecar_decode(head, &f->head, err);
	if (r == 0)
		r = check_side(&f->head, id, point, disk, err);
	if (r < 0)
		(void)err_wrap(err, "sidecar '%s'", name);
	return r;
}

int log_files_open(struct fs *store, const struct guid *id,
		   const struct guid *point, uint32_t disk,
		   struct log_files *ret_files, struct err *err)
{
	struct log_files f = {0};
	char name[LOG_NAME_BYTES];
	int r = open_side(store, id, point, disk, &f, err);

	log_name(LOG_DATA, point, disk, name);
	if (r == 0)
		r = fs_open(store, name, FILE_WRITE, &f.data, err);
	if (r < 0) {
		log_files_close(&f);
		return r;
	}
	*ret_files = f;
	return 0;
}

/* ---- On the tmpfs ------------------------------------------------------ */

static void take_map(struct log_table *t, void *addr)
{
	t->live = (void *)((char *)addr + LOG_TABLE_LIVE_OFFSET);
	t->slots = (void *)((char *)addr + LOG_TABLE_HEAD_BYTES);
}

static void temporary_name(uint32_t disk, char name[LOG_NAME_BYTES])
{
	(void)snprintf(name, LOG_NAME_BYTES, "new-log-%" PRIu32, disk);
}

void log_table_sweep(struct fs *memory, uint32_t disk)
{
	char name[LOG_NAME_BYTES];

	temporary_name(disk, name);
	(void)memory->ops->unlink(memory, name, NULL);
}

int log_table_create(struct fs *memory, const struct log_table_head *head,
		     enum log_table_state state, struct log_table *ret_table,
		     struct err *err)
{
	struct log_table t = {.head = *head};
	char name[LOG_NAME_BYTES], temporary[LOG_NAME_BYTES];
	_Alignas(8) uint8_t buf[LOG_TABLE_HEAD_BYTES];
	struct log_table_live *live = (void *)(buf + LOG_TABLE_LIVE_OFFSET);
	void *addr;
	int r;

	log_name(LOG_TABLE, &head->point, head->disk, name);
	temporary_name(head->disk, temporary);
	log_table_encode(head, buf);
	atomic_store(&live->state, state);
	r = mapped_create(memory, temporary, name, buf, sizeof(buf),
			  log_table_bytes(head->slots), &t.file, &addr, err);
	if (r < 0)
		return r;
	take_map(&t, addr);
	*ret_table = t;
	return 0;
}

static int check_table(const struct log_table_head *head,
		       const struct log_table_head *want, struct err *err)
{
	const char *what = NULL;

	if (!guid_equal(&head->store, &want->store))
		what = "another store";
	else if (!guid_equal(&head->point, &want->point))
		what = "another point";
	else if (!guid_equal(&head->log, &want->log))
		what = "another log";
	else if (!guid_equal(&head->boot, &want->boot))
		what = "another boot";
	else if (head->disk != want->disk)
		what = "another disk";
	else if (head->slots != want->slots)
		what = "another number of slots";
	return what ? err_set(err, -RP_ECORRUPT, "it is of %s", what) : 0;
}

int log_table_open(struct fs *memory, const struct log_table_head *head,
		   struct log_table *ret_table, struct err *err)
{
	struct log_table t = {0};
	char name[LOG_NAME_BYTES];
	uint8_t buf[LOG_TABLE_HEAD_BYTES];
	void *addr;
	int r;

	log_name(LOG_TABLE, &head->point, head->disk, name);
	r = fs_open(memory, name, FILE_WRITE, &t.file, err);
	if (r < 0)
		return r;
	r = file_read_all(t.file, buf, sizeof(buf), 0, err);
	if (r == 0)
		r = log_table_decode(buf, &t.head, err);
	if (r == 0)
		r = check_table(&t.head, head, err);
	if (r == 0)
		r = mapped_map(t.file, log_table_bytes(t.head.slots), &addr,
			       err);
	if (r < 0) {
		(void)err_wrap(err, "log table '%s'", name);
		file_close(t.file);
		return r;
	}
	take_map(&t, addr);
	*ret_table = t;
	return 0;
}

void log_table_close(struct log_table *table)
{
	file_close(table->file);
	*table = (struct log_table){0};
}

/* ---- Both -------------------------------------------------------------- */

void log_unlink(struct fs *store, struct fs *memory, const struct guid *point,
		uint32_t disk)
{
	char name[LOG_NAME_BYTES];

	/* What cannot be unlinked now is swept at the next opening. */
	if (memory) {
		log_name(LOG_TABLE, point, disk, name);
		(void)memory->ops->unlink(memory, name, NULL);
	}
	log_name(LOG_SIDE, point, disk, name);
	(void)store->ops->unlink(store, name, NULL);
	log_name(LOG_DATA, point, disk, name);
	(void)store->ops->unlink(store, name, NULL);
}

struct walk {
	int (*fn)(void *arg, const struct guid *point, uint32_t disk);
	void *arg;
};

static int walk_one(void *arg, const char *name)
{
	const struct walk *walk = arg;
	struct guid point;
	uint32_t disk;

	return name_parse(name, &point, &disk)
		   ? walk->fn(walk->arg, &point, disk)
		   : 0;
}

int log_walk(struct fs *fs,
	     int (*fn)(void *arg, const struct guid *point, uint32_t disk),
	     void *arg, struct err *err)
{
	struct walk walk = {fn, arg};

	return fs->ops->list(fs, walk_one, &walk, err);
}
