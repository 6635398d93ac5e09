/* SPDX-License-Identifier: Apache-2.0 */
/* A snapshot in memory, and its files: N6, N7. */
#include <errno.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "common/log.h"
#include "disk/faulty.h"
#include "disk/posix.h"
#include "snapshot/internal.h"

static const struct vm_env *env_of(const struct snapshot *s)
{
	return vm_environment(s->owner->vm);
}

/* ---- in memory ----------------------------------------------------------- */

struct snapshot *snapshot_new(struct snapshots *owner,
			      const struct point_row *row)
{
	struct snapshot *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->disks = calloc(row->disks, sizeof(*s->disks));
	if (!s->disks) {
		free(s);
		return NULL;
	}
	s->owner = owner;
	s->row = *row;
	s->refs = 1;
	s->first_epoch = UINT64_MAX;
	s->count = row->disks;
	for (uint32_t i = 0; i < s->count; i++)
		s->disks[i].blocks = div_round_up(row->bytes[i], BLOCK_BYTES);
	return s;
}

void snapshot_ref(struct snapshot *s)
{
	atomic_fetch_add(&s->refs, 1);
}

void snapshot_unref(struct snapshot *s)
{
	if (atomic_fetch_sub(&s->refs, 1) == 1 && !janitor_take(s->owner, s))
		snapshot_destroy(s);
}

void snapshot_unref_late(struct snapshot *s)
{
	if (atomic_fetch_sub(&s->refs, 1) == 1)
		snapshot_destroy(s);
}

void snapshot_destroy(struct snapshot *s)
{
	files_detach(s);
	for (uint32_t i = 0; i < s->count; i++)
		snapshot_file_close(&s->disks[i].map);
	free(s->disks);
	free(s);
}

/* ---- making -------------------------------------------------------------- */

/* N8: that it hangs is nobody else's business. */
static int open_scratch(struct snapshot *s, uint32_t disk, unsigned flags,
			struct err *err)
{
	struct kept *kept = &s->disks[disk];
	char name[SNAPSHOT_NAME_BYTES];
	int r;

	snapshot_name(SNAPSHOT_SCRATCH, &s->row.id, disk, name);
	r = fs_open(env_of(s)->store, name, flags, &kept->scratch, err);
	if (r == 0)
		posix_file_keep_apart(faulty_file_inner(kept->scratch));
	return r;
}

/* Sparse, as long as the disk: a block stands where it stands there. */
static int make_scratch(struct snapshot *s, uint32_t disk, struct err *err)
{
	struct kept *kept = &s->disks[disk];
	int r = open_scratch(s, disk, FILE_WRITE | FILE_CREATE | FILE_EXCLUSIVE,
			     err);

	if (r < 0)
		return r;
	r = kept->scratch->ops->truncate(kept->scratch, s->row.bytes[disk],
					 err);
	return r == -EFBIG
		   ? err_set(err, -RP_EUNSUPPORTED,
			     "the store's file system takes no file as large "
			     "as disk '%s'",
			     vm_disk(s->owner->vm, disk)->id)
		   : r;
}

int files_make(struct snapshot *s, struct err *err)
{
	const struct vm_env *env = env_of(s);
	struct snapshot_head head = {
	    .store = vm_system(s->owner->vm)->store,
	    .snapshot = s->row.id,
	    .boot = env->boot,
	    .limit_bytes = s->limit_bytes,
	};
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < s->count; i++) {
		head.disk = i;
		head.bytes = s->row.bytes[i];
		r = snapshot_file_create(env->memory, &head, &s->disks[i].map,
					 err);
		if (r == 0)
			r = make_scratch(s, i, err);
	}
	if (r < 0)
		files_unlink(s);
	return r < 0 ? err_wrap(err, "no snapshot") : 0;
}

void files_unlink(struct snapshot *s)
{
	const struct vm_env *env = env_of(s);

	for (uint32_t i = 0; i < s->count; i++)
		snapshot_unlink(env->store, env->memory, &s->row.id, i);
}

/* ---- opening ------------------------------------------------------------- */

static int open_one(struct snapshot *s, uint32_t disk, struct err *err)
{
	const struct vm_env *env = env_of(s);
	struct kept *kept = &s->disks[disk];
	int r = snapshot_file_open(env->memory, &vm_system(s->owner->vm)->store,
				   &s->row.id, disk, &kept->map, err);

	if (r < 0)
		return r;
	if (!guid_equal(&kept->map.head.boot, &env->boot) ||
	    kept->map.head.bytes != s->row.bytes[disk])
		return err_set(err, -ENOENT, "it is of another boot");
	s->limit_bytes = kept->map.head.limit_bytes;
	if (atomic_load(&kept->map.state->cloned))
		atomic_store(&s->cloned, true);
	if (atomic_load(&kept->map.state->invalid))
		snapshot_invalidate(s, "%.*s", REASON_BYTES - 1,
				    kept->map.state->reason);
	return 0;
}

int files_open(struct snapshot *s, struct err *err)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < s->count; i++)
		r = open_one(s, i, err);
	return r;
}

static int attach_one(struct snapshot *s, uint32_t disk, struct err *err)
{
	struct kept *kept = &s->disks[disk];
	char name[SNAPSHOT_NAME_BYTES];
	int r = 0;

	if (!kept->scratch)
		r = open_scratch(s, disk, FILE_WRITE, err);
	if (r < 0 || !atomic_load(&s->cloned) || kept->clone)
		return r;
	snapshot_name(SNAPSHOT_CLONE, &s->row.id, disk, name);
	return fs_open(env_of(s)->store, name, FILE_READ, &kept->clone, err);
}

int files_attach(struct snapshot *s, struct err *err)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < s->count; i++)
		r = attach_one(s, i, err);
	return r;
}

void files_detach(struct snapshot *s)
{
	for (uint32_t i = 0; i < s->count; i++) {
		file_close(s->disks[i].scratch);
		file_close(s->disks[i].clone);
		s->disks[i].scratch = s->disks[i].clone = NULL;
	}
}

void files_release(struct snapshot *s)
{
	for (uint32_t i = 0; i < s->count; i++)
		if (s->disks[i].scratch)
			(void)s->disks[i].scratch->ops->truncate(
			    s->disks[i].scratch, 0, NULL);
}

/* ---- sweeping ------------------------------------------------------------ */

struct sweep {
	struct snapshots *snapshots;
	struct guid id;
	uint32_t disk;
};

static int find_stray(void *arg, const struct guid *id, uint32_t disk)
{
	struct sweep *sweep = arg;

	if (snapshots_find(sweep->snapshots, id))
		return 0;
	sweep->id = *id;
	sweep->disk = disk;
	return 1;
}

void files_sweep(struct snapshots *snapshots)
{
	const struct vm_env *env = vm_environment(snapshots->vm);
	struct fs *places[] = {env->store, env->memory};
	/* As many as could ever be left; no file keeps this going on. */
	unsigned left = 4 * SNAPSHOTS_PER_VM_MAX * DISKS_PER_VM_MAX;

	for (uint32_t i = 0; i < vm_disk_count(snapshots->vm); i++)
		snapshot_file_sweep(env->memory, i);
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		struct sweep sweep = {.snapshots = snapshots};

		while (places[i] && left-- > 0 &&
		       snapshot_files(places[i], find_stray, &sweep, NULL) > 0)
			snapshot_unlink(env->store, env->memory, &sweep.id,
					sweep.disk);
	}
}

/* ---- cloning ------------------------------------------------------------- */

static int clone_one(struct snapshot *s, uint32_t disk, struct err *err)
{
	struct volume *volume = vm_volume_at(s->owner->vm, disk);
	struct kept *kept = &s->disks[disk];
	char name[SNAPSHOT_NAME_BYTES];
	int r, from = volume_fd(volume);
	struct file *to;

	snapshot_name(SNAPSHOT_CLONE, &s->row.id, disk, name);
	r = fs_open(env_of(s)->store, name,
		    FILE_WRITE | FILE_CREATE | FILE_EXCLUSIVE, &kept->clone,
		    err);
	if (r < 0)
		return r;
	to = faulty_file_inner(kept->clone);
	if (from >= 0 && posix_is_file(to) &&
	    ioctl(posix_file_fd(to), FICLONE, from) == 0)
		return 0;
	r = -errno;
	if (r == -ENOSPC || r == -EDQUOT || r == -EIO)
		return err_set(err, r, "clone disk '%s'", volume_id(volume));
	return err_set(err, -RP_EUNSUPPORTED,
		       "disk '%s' cannot be cloned: its image and the store "
		       "must be on one file system that shares blocks (XFS, "
		       "Btrfs); leave the clone out",
		       volume_id(volume));
}

/* Copies go on until all clones are made: a block whose bit is not set then was
 * not written before its clone was (N1), and one that is copied comes from
 * scratch, whatever the clone says. */
int files_clone(struct snapshot *s, struct err *err)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < s->count; i++)
		r = clone_one(s, i, err);
	for (uint32_t i = 0; r == 0 && i < s->count; i++)
		atomic_store(&s->disks[i].map.state->cloned, 1);
	if (r == 0)
		atomic_store(&s->cloned, true);
	return r;
}
