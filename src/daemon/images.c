/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/images.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "daemon/guarded.h"
#include "daemon/task.h"
#include "daemon/vm.h"

enum work {
	WORK_OPEN,
	WORK_PROVE,
	WORK_MARK
};

/* All that the thread uses is in here. */
struct images_task {
	struct daemon *daemon;        /* not the thread's */
	struct inventory_entry entry; /* a copy, of the disks meant */
	enum work work;
	int proof[DISKS_PER_VM_MAX];
	struct guid nonce;
	struct images images;
	struct err err;
	images_fn *fn;
	void *arg;
};

void images_close(struct images *images)
{
	for (unsigned i = 0; i < images->n; i++)
		if (images->fds[i] >= 0)
			(void)close(images->fds[i]);
	images->n = 0;
}

void images_move(struct images *from, struct images *to)
{
	*to = *from;
	from->n = 0;
}

struct inventory_disk *images_disk(const struct inventory_entry *entry,
				   const char *id)
{
	for (unsigned i = 0; i < entry->n_disks; i++)
		if (strcmp(entry->disks[i].id, id) == 0)
			return &entry->disks[i];
	return NULL;
}

void images_note(const struct images *images, struct inventory_entry *entry,
		 const char *disk)
{
	unsigned at = 0;

	for (unsigned i = 0; i < entry->n_disks && at < images->n; i++) {
		struct inventory_disk *d = &entry->disks[i];

		if (disk && strcmp(d->id, disk) != 0)
			continue;
		d->bytes = images->stamps[at].bytes;
		d->device = images->stamps[at].device;
		d->inode = images->stamps[at].inode;
		at++;
	}
}

/* ---- On the thread ------------------------------------------------------- */

static int prove(struct images_task *task, unsigned i)
{
	const struct inventory_disk *disk = &task->entry.disks[i];
	int proof = task->proof[i];
	struct stat ours, theirs;
	int flags = fcntl(proof, F_GETFL);

	if (flags < 0 || (flags & O_ACCMODE) != O_RDWR || (flags & O_PATH))
		return err_set(&task->err, -RP_EDENIED,
			       "disk '%s': its descriptor is not open for "
			       "reading and writing",
			       disk->id);
	if (fstat(task->images.fds[i], &ours) < 0 || fstat(proof, &theirs) < 0)
		return err_set(&task->err, -errno, "'%s'", disk->path);
	if (S_ISBLK(ours.st_mode) && S_ISBLK(theirs.st_mode) &&
	    ours.st_rdev == theirs.st_rdev)
		return 0;
	if (ours.st_dev != theirs.st_dev || ours.st_ino != theirs.st_ino)
		return err_set(&task->err, -RP_EPARAM,
			       "disk '%s': '%s' is not the file that the "
			       "caller opened",
			       disk->id, disk->path);
	return 0;
}

/* The file is not (known to be) the one that the definition's caller proved
 * his right to: it must be where only root, or we, could put it. */
static int admit_another(struct images_task *task, unsigned i)
{
	const struct inventory_disk *disk = &task->entry.disks[i];
	const struct image_stamp *stamp = &task->images.stamps[i];
	int r;

	if (task->work != WORK_OPEN ||
	    (disk->device == stamp->device && disk->inode == stamp->inode))
		return 0;
	r = guarded_path(disk->path, &task->err);
	if (r < 0)
		err_wrap(&task->err,
			 "disk '%s': '%s' is another file than the one defined",
			 disk->id, disk->path);
	return r;
}

static int open_one(struct images_task *task, unsigned i)
{
	const struct inventory_disk *disk = &task->entry.disks[i];
	struct images *images = &task->images;
	struct image_geometry geometry;
	int r;

	r = image_open(disk->path, task->entry.force_raw, &images->fds[i],
		       &geometry, &task->err);
	if (r == 0 && task->work == WORK_PROVE)
		r = prove(task, i);
	if (r == 0)
		r = image_stamp_read(images->fds[i], disk->path,
				     &images->stamps[i], &task->err);
	if (r == 0)
		r = admit_another(task, i);
	return r;
}

static int mark_one(struct images_task *task)
{
	const struct inventory_disk *disk = &task->entry.disks[0];
	_cleanup_close_ int fd =
	    open(disk->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct image_stamp *stamp = &task->images.stamps[0];
	int r;

	if (fd < 0)
		return err_set(&task->err, -errno, "open '%s'", disk->path);
	r = image_stamp_read(fd, disk->path, stamp, &task->err);
	if (r < 0)
		return r;
	if (stamp->device != disk->device || stamp->inode != disk->inode)
		return err_set(&task->err, -RP_ESTATE,
			       "disk '%s': '%s' is another file by now",
			       disk->id, disk->path);
	r = image_nonce_set(fd, &task->nonce, &task->err);
	if (r < 0)
		return r;
	return image_stamp_read(fd, disk->path, stamp, &task->err);
}

static void run(void *arg)
{
	struct images_task *task = arg;
	int r = 0;

	if (task->work == WORK_MARK) {
		r = mark_one(task);
		task->images.n = 1;
	} else {
		task->images.n = task->entry.n_disks;
		for (unsigned i = 0; r == 0 && i < task->entry.n_disks; i++)
			r = open_one(task, i);
	}
	if (r < 0 && !task->err.code)
		err_set(&task->err, r, "open the images");
}

/* ---- On the loop --------------------------------------------------------- */

static void task_free(struct images_task *task)
{
	images_close(&task->images);
	for (unsigned i = 0; i < DISKS_PER_VM_MAX; i++)
		if (task->proof[i] >= 0)
			(void)close(task->proof[i]);
	inventory_entry_done(&task->entry);
	free(task);
}

static void note_changes(const struct images_task *task)
{
	for (unsigned i = 0; i < task->entry.n_disks; i++) {
		const struct inventory_disk *d = &task->entry.disks[i];
		const struct image_stamp *s = &task->images.stamps[i];

		if ((d->device || d->inode) &&
		    (d->device != s->device || d->inode != s->inode))
			log_warning("disk '%s' of '%s': '%s' is another file "
				    "than before",
				    d->id, task->entry.vm, d->path);
		if (d->bytes && d->bytes != s->bytes)
			log_warning("disk '%s' of '%s': '%s' had another size "
				    "before old=%llu new=%llu",
				    d->id, task->entry.vm, d->path,
				    (unsigned long long)d->bytes,
				    (unsigned long long)s->bytes);
	}
}

static void done(void *arg)
{
	struct images_task *task = arg;

	if (!task->err.code && task->work == WORK_OPEN)
		note_changes(task);
	if (!task->err.code && task->work != WORK_MARK) {
		images_note(&task->images, &task->entry, NULL);
		(void)images_check_unique(task->daemon, &task->entry,
					  &task->err);
	}
	task->fn(task->arg, &task->images, &task->err);
	task_free(task);
}

static int begin(struct daemon *daemon, const struct inventory_entry *entry,
		 const char *disk, enum work work, const int *proof,
		 const struct guid *nonce, images_fn *fn, void *arg,
		 struct err *err)
{
	struct images_task *task = calloc(1, sizeof(*task));
	int r = task ? inventory_entry_copy(entry, &task->entry) : -ENOMEM;

	for (unsigned i = 0; task && i < DISKS_PER_VM_MAX; i++) {
		task->images.fds[i] = -1;
		task->proof[i] = proof && i < entry->n_disks ? proof[i] : -1;
	}
	if (r < 0) {
		for (unsigned i = 0; !task && proof && i < entry->n_disks; i++)
			(void)close(proof[i]);
		if (task)
			task_free(task);
		return err_set(err, r, "open the images of '%s'", entry->vm);
	}
	if (disk) { /* keep only that one */
		struct inventory_disk *d = images_disk(&task->entry, disk);
		struct inventory_disk swap = task->entry.disks[0];

		task->entry.disks[0] = *d;
		*d = swap;
		for (unsigned i = 1; i < task->entry.n_disks; i++)
			free(task->entry.disks[i].path);
		task->entry.n_disks = 1;
	}
	task->daemon = daemon;
	task->work = work;
	task->nonce = nonce ? *nonce : (struct guid){{0}};
	task->fn = fn;
	task->arg = arg;
	r = task_run(daemon->event, run, done, task, err);
	if (r < 0)
		task_free(task);
	return r;
}

int images_open(struct daemon *daemon, const struct inventory_entry *entry,
		const char *disk, images_fn *fn, void *arg, struct err *err)
{
	if (disk && !images_disk(entry, disk))
		return err_set(err, -RP_ENODISK, "'%s' has no disk '%s'",
			       entry->vm, disk);
	return begin(daemon, entry, disk, WORK_OPEN, NULL, NULL, fn, arg, err);
}

int images_prove(struct daemon *daemon, const struct inventory_entry *entry,
		 const int *fds, images_fn *fn, void *arg, struct err *err)
{
	return begin(daemon, entry, NULL, WORK_PROVE, fds, NULL, fn, arg, err);
}

int images_mark(struct daemon *daemon, const struct inventory_entry *entry,
		const char *disk, const struct guid *nonce, images_fn *fn,
		void *arg, struct err *err)
{
	if (!images_disk(entry, disk))
		return err_set(err, -RP_ENODISK, "'%s' has no disk '%s'",
			       entry->vm, disk);
	return begin(daemon, entry, disk, WORK_MARK, NULL, nonce, fn, arg, err);
}

static bool same_file(const struct inventory_disk *a,
		      const struct inventory_disk *b)
{
	return (a->device || a->inode) && a->device == b->device &&
	       a->inode == b->inode;
}

static int check_against(const struct inventory_entry *entry, unsigned i,
			 const struct inventory_entry *other, unsigned n,
			 struct err *err)
{
	const struct inventory_disk *disk = &entry->disks[i];

	for (unsigned j = 0; j < n; j++)
		if (same_file(disk, &other->disks[j]) ||
		    strcmp(disk->path, other->disks[j].path) == 0)
			return err_set(err, -RP_EINUSE,
				       "'%s' is disk '%s' of '%s' already",
				       disk->path, other->disks[j].id,
				       other->vm);
	return 0;
}

int images_check_unique(struct daemon *daemon,
			const struct inventory_entry *entry, struct err *err)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < entry->n_disks; i++) {
		r = check_against(entry, i, entry, i, err);
		for (struct vm *vm = daemon->vms; vm && r == 0; vm = vm->next)
			if (strcmp(vm->name, entry->vm) != 0)
				r = check_against(entry, i, &vm->entry,
						  vm->entry.n_disks, err);
	}
	return r;
}

json_t *images_stamp_json(const struct image_stamp *s)
{
	char nonce[GUID_TEXT_BYTES], boot[GUID_TEXT_BYTES];

	guid_format(&s->nonce, nonce);
	guid_format(&s->boot, boot);
	return json_pack(
	    "{s:s, s:I, s:I, s:I, s:I, s:I, s:s, s:I, s:I, s:I, s:s}", "kind",
	    s->kind == IMAGE_BLOCK ? "block" : "file", "bytes",
	    (json_int_t)s->bytes, "device", (json_int_t)s->device, "inode",
	    (json_int_t)s->inode, "mtime_ns", (json_int_t)s->mtime_ns,
	    "ctime_ns", (json_int_t)s->ctime_ns, "nonce", nonce, "diskseq",
	    (json_int_t)s->diskseq, "writes", (json_int_t)s->writes, "discards",
	    (json_int_t)s->discards, "boot", boot);
}

json_t *images_json(const struct images *images,
		    const struct inventory_entry *entry, const char *disk)
{
	json_t *array = json_array();
	unsigned at = 0;

	for (unsigned i = 0; i < entry->n_disks && at < images->n; i++) {
		const struct inventory_disk *d = &entry->disks[i];

		if (disk && strcmp(d->id, disk) != 0)
			continue;
		(void)json_array_append_new(
		    array,
		    json_pack("{s:s, s:s, s:o}", "id", d->id, "path", d->path,
			      "stamp", images_stamp_json(&images->stamps[at])));
		at++;
	}
	return array;
}
