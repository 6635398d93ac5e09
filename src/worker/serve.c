/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking disks up and laying them down.  Each way up is undone fully by the
 * step that fails.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "worker/export.h"
#include "worker/hooks.h"
#include "worker/sandbox.h"
#include "worker/worker.h"

/* ---- The store --------------------------------------------------------------
 */

/* Times that are not on the disk yet would be older after a power cut, and
 * look like somebody else's doing. */
static int read_stamp(void *arg, uint32_t disk, struct image_stamp *ret_stamp,
		      struct err *err)
{
	struct worker *worker = arg;
	struct images *images = worker->images;

	if (fsync(images->fds[disk]) < 0)
		return err_set(err, -errno, "sync '%s'", images->paths[disk]);
	return image_stamp_read(images->fds[disk], images->paths[disk],
				ret_stamp, err);
}

/* refpointd goes by the path; if that leads elsewhere now the nonce is not on
 * the image that is open here. */
static int mark(void *arg, uint32_t disk, const struct guid *nonce,
		struct image_stamp *ret_stamp, struct err *err)
{
	struct worker *worker = arg;
	struct images *images = worker->images;
	struct image_stamp stamp;
	int r = link_mark(worker->link, images->ids[disk], nonce, err);

	if (r == -RP_EUNSUPPORTED)
		return -EOPNOTSUPP;
	if (r == 0)
		r = read_stamp(arg, disk, &stamp, err);
	if (r == 0 && !guid_equal(&stamp.nonce, nonce))
		r = err_set(err, -RP_EINUSE,
			    "'%s' is no longer the file that was opened",
			    images->paths[disk]);
	if (r == 0)
		*ret_stamp = stamp;
	return r;
}

void worker_close_store(struct worker *worker)
{
	worker->snapshots = snapshots_free(worker->snapshots);
	worker->logs = logs_free(worker->logs);
	worker->vm = vm_close(worker->vm);
}

int worker_open_store(struct worker *worker, struct err *err)
{
	struct logs_host host;
	struct vm *vm = NULL;
	struct err why = {0};
	int r;

	engine_host(worker->engine, &host);
	worker->env.stamp = read_stamp;
	worker->env.mark = mark;
	(void)pthread_rwlock_wrlock(&worker->vm_lock);
	worker_close_store(worker);
	r = vm_open(&worker->env, &vm, &why);
	if (r == 0)
		r = logs_new(vm, &host, &worker->logs, &why);
	if (r == 0)
		r = snapshots_new(vm, &worker->snapshots, &why);
	if (r < 0) {
		worker->logs = logs_free(worker->logs);
		vm = vm_close(vm);
	}
	if (r == -ENOENT) {
		r = 0;
		why.code = 0;
	}
	worker->vm = vm;
	worker->open_error = why;
	(void)pthread_mutex_lock(&worker->note_lock);
	worker->uuid[0] = '\0';
	if (vm)
		guid_format(&vm_system(vm)->uuid, worker->uuid);
	(void)pthread_mutex_unlock(&worker->note_lock);
	(void)pthread_rwlock_unlock(&worker->vm_lock);
	if (r < 0) {
		worker_note(worker, why.text);
		err_set(err, r, "%s", why.text);
	}
	return r;
}

void worker_read_anew(struct worker *worker)
{
	if (worker->vm && !vm_attached(worker->vm) &&
	    vm_usable(worker->vm, NULL) < 0)
		(void)worker_open_store(worker, NULL);
}

int worker_check_defined(const struct worker *worker, struct err *err)
{
	if (worker->vm)
		return 0;
	if (worker->open_error.code) {
		if (err)
			*err = worker->open_error;
		return worker->open_error.code;
	}
	return err_set(err, -RP_ESTATE, "'%s' is not defined yet",
		       worker->name);
}

/* ---- Up and down ------------------------------------------------------------
 */

/* The vm with its snapshots, W3. */
static int detach_vm(struct worker *worker, struct err *err)
{
	int r;

	(void)pthread_rwlock_wrlock(&worker->vm_lock);
	snapshots_detach(worker->snapshots);
	logs_detach(worker->logs);
	engine_attend(worker->engine, NULL);
	r = vm_detach(worker->vm, err);
	(void)pthread_rwlock_unlock(&worker->vm_lock);
	return r;
}

/* Snapshots that stay are judged by what was found, also where no guest will
 * write: what others wrote shows only once. */
static int attach_vm(struct worker *worker, const struct images *images,
		     unsigned flags, struct err *err)
{
	int r =
	    vm_attach(worker->vm, images->files, images->geometry, flags, err);

	if (r < 0)
		return r;
	engine_attend(worker->engine, worker->logs);
	r = logs_attach(worker->logs, err);
	if (r == 0)
		r = snapshots_attach(worker->snapshots, err);
	if (r < 0)
		(void)detach_vm(worker, NULL);
	return r;
}

static int detach(struct worker *worker, struct err *err)
{
	int r = detach_vm(worker, err);

	worker->images = images_free(worker->images);
	return r;
}

/* D4: where a sync failed for a predecessor the page cache may show what the
 * disk does not hold.  Written back first, what is then dropped is read again
 * from the disk. */
static int drop_caches(const struct images *images, struct err *err)
{
	for (uint32_t i = 0; i < images->n; i++) {
		if (fsync(images->fds[i]) < 0)
			return err_set(err, -errno, "sync '%s'",
				       images->paths[i]);
		if (!images->geometry[i].direct)
			(void)posix_fadvise(images->fds[i], 0, 0,
					    POSIX_FADV_DONTNEED);
	}
	return 0;
}

/* IMAGES are taken over.  The store is read anew: what it said before an
 * earlier failure may not be so. */
static int attach(struct worker *worker, struct images *images, unsigned flags,
		  struct err *err)
{
	int r = worker_open_store(worker, err);

	worker->images = images;
	if (r == 0)
		r = worker_check_defined(worker, err);
	if (r == 0 && !worker->env.memory) {
		*err = worker->live_error;
		r = err->code;
	}
	if (r == 0)
		r = images_match(images, worker->vm, err);
	if (r == 0)
		r = images_lock(images, err);
	if (r == 0 && vm_system(worker->vm)->live)
		r = drop_caches(images, err);
	if (r == 0)
		r = attach_vm(worker, images, flags, err);
	if (r < 0)
		worker->images = images_free(images);
	return r;
}

static int seal(struct worker *worker, struct err *err)
{
	int r;

	if (worker->sealed)
		return 0;
	link_seal(worker->link);
	r = hooks_sealed() ? sandbox_seal(err) : 0;
	worker->sealed = r == 0;
	return r;
}

static int go_up(struct worker *worker, struct images *images, int listener,
		 struct err *err)
{
	int r =
	    attach(worker, images, VM_ATTACH_WRITE | hooks_attach_flags(), err);

	if (r < 0)
		return r;
	r = seal(worker, err);
	if (r == 0)
		r = engine_serve(worker->engine, worker->vm, worker->snapshots,
				 listener, err);
	if (r < 0)
		(void)detach(worker, NULL);
	return r;
}

struct shown {
	struct guid ids[SNAPSHOTS_PER_VM_MAX];
	unsigned n;
};

static int note_valid(void *arg, const struct snapshot_info *info)
{
	struct shown *shown = arg;

	if (info->state == SNAPSHOT_VALID && shown->n < SNAPSHOTS_PER_VM_MAX)
		shown->ids[shown->n++] = info->row.id;
	return 0;
}

/* Those that were there before us can be read again.  Failures are theirs, not
 * the guest's. */
static void show_snapshots(struct worker *worker)
{
	struct shown shown = {.n = 0};
	struct err err = {0};

	if (snapshots_list(worker->snapshots, note_valid, &shown, &err) < 0)
		log_warning("snapshots: %s", err.text);
	for (unsigned i = 0; i < shown.n; i++) {
		int fd = -1;
		int r = link_snapshot_listener(worker->link, &shown.ids[i], &fd,
					       &err);

		if (r == 0)
			r = engine_open_snapshot(worker->engine, &shown.ids[i],
						 fd, &err);
		if (r == 0)
			continue;
		log_warning("a snapshot cannot be read: %s", err.text);
		if (fd >= 0)
			(void)close(fd);
	}
}

int worker_serve(struct worker *worker, struct images *images, int listener,
		 struct err *err)
{
	int r;

	if (atomic_load(&worker->state) == WORKER_SERVING) {
		images_free(images);
		return err_set(err, -RP_ESTATE, "'%s' is served already",
			       worker->name);
	}
	atomic_store(&worker->state, WORKER_STARTING);
	worker_note(worker, "");
	r = go_up(worker, images, listener, err);
	if (r < 0) {
		atomic_store(&worker->state, WORKER_DEFINED);
		return r;
	}
	worker->listener = listener;
	atomic_store(&worker->state, WORKER_SERVING);
	log_info("serving");
	exports_sweep(worker);
	show_snapshots(worker);
	return 0;
}

/* Serves no more; the listener stays. */
static int go_down(struct worker *worker, struct err *err)
{
	int r;

	atomic_store(&worker->state, WORKER_STOPPING);
	exports_stop(worker, "it is served no more");
	logs_quiet(worker->logs);
	engine_drain(worker->engine);
	r = detach(worker, err);
	atomic_store(&worker->state, WORKER_DEFINED);
	return r;
}

int worker_unserve(struct worker *worker, struct err *err)
{
	struct err why = {0};

	if (atomic_load(&worker->state) == WORKER_FAILED) {
		atomic_store(&worker->state, WORKER_DEFINED);
		worker_note(worker, "");
		return 0;
	}
	if (atomic_load(&worker->state) != WORKER_SERVING)
		return err_set(err, -RP_ESTATE, "'%s' is not served",
			       worker->name);
	worker_note(worker, "");
	if (go_down(worker, &why) < 0) {
		worker_note(worker, why.text);
		log_warning("the end was not clean: %s", why.text);
	}
	(void)close(worker->listener);
	worker->listener = -1;
	log_info("no longer serving");
	return 0;
}

int worker_with_images(struct worker *worker, struct images *images,
		       int (*fn)(struct worker *worker, void *arg,
				 struct err *err),
		       void *arg, struct err *err)
{
	int r = attach(worker, images, 0, err), r2;

	if (r < 0)
		return r;
	r = fn(worker, arg, err);
	r2 = detach(worker, r < 0 ? NULL : err);
	return r < 0 ? r : r2;
}

/* ---- Growth
 * ------------------------------------------------------------------ */

/* A file is made longer, a device must have grown already. */
static int grow_image(const char *path, int fd, uint64_t bytes, struct err *err)
{
	struct image_geometry geometry;
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return err_set(err, -errno, "'%s'", path);
	if (S_ISREG(st.st_mode)) {
		if ((uint64_t)st.st_size < bytes &&
		    (ftruncate(fd, (off_t)bytes) < 0 || fsync(fd) < 0))
			return err_set(err, -errno, "enlarge '%s'", path);
		return 0;
	}
	r = image_probe(fd, path, &geometry, err);
	if (r == 0 && geometry.bytes < bytes)
		r = err_set(err, -RP_EPARAM,
			    "'%s' has %" PRIu64 " bytes: enlarge the device "
			    "first",
			    path, geometry.bytes);
	return r;
}

/* The image of DISK is in the worker's table, locked. */
static int grow(struct worker *worker, uint32_t disk, uint64_t bytes,
		struct err *err)
{
	struct images *images = worker->images;
	struct stat st;
	int r;

	/* a device that is too small is found before anything changes */
	if (fstat(images->fds[disk], &st) == 0 && !S_ISREG(st.st_mode)) {
		r = grow_image(images->paths[disk], images->fds[disk], bytes,
			       err);
		if (r < 0)
			return r;
	}
	r = vm_grow_begin(worker->vm, disk, bytes, err);
	if (r == 0)
		r = grow_image(images->paths[disk], images->fds[disk], bytes,
			       err);
	if (r == 0)
		r = vm_grow_end(worker->vm, disk, err);
	return r;
}

/* A table in which only the one disk has an image. */
static int spread(struct worker *worker, struct images *image, uint32_t disk,
		  struct err *err)
{
	struct images *all = calloc(1, sizeof(*all));

	if (!all)
		return err_set(err, -ENOMEM, "images");
	all->n = disk + 1;
	for (uint32_t i = 0; i < disk; i++)
		all->fds[i] = -1;
	memcpy(all->ids[disk], image->ids[0], sizeof(all->ids[0]));
	all->paths[disk] = image->paths[0];
	all->fds[disk] = image->fds[0];
	all->locked[disk] = image->locked[0];
	all->files[disk] = image->files[0];
	image->n = 0;
	worker->images = all;
	return 0;
}

static int grow_idle(struct worker *worker, uint32_t disk, uint64_t bytes,
		     struct images *image, struct err *err)
{
	int r = worker_open_store(worker, err);

	if (r == 0)
		r = images_lock(image, err);
	if (r == 0)
		r = spread(worker, image, disk, err);
	if (r == 0)
		r = grow(worker, disk, bytes, err);
	worker->images = images_free(worker->images);
	return r;
}

/* The images stay open and locked while the disks are detached. */
static int grow_serving(struct worker *worker, uint32_t disk, uint64_t bytes,
			struct err *err)
{
	struct images *images = worker->images;
	int listener = worker->listener, r, r2;
	struct err why = {0};

	atomic_store(&worker->state, WORKER_STOPPING);
	logs_quiet(worker->logs);
	engine_drain(worker->engine);
	r = detach_vm(worker, err);
	if (r == 0)
		r = grow(worker, disk, bytes, err);
	atomic_store(&worker->state, WORKER_STARTING);
	r2 = images_probe(images, disk, &why);
	if (r2 == 0)
		r2 = attach_vm(worker, images,
			       VM_ATTACH_WRITE | hooks_attach_flags(), &why);
	if (r2 == 0)
		r2 = engine_serve(worker->engine, worker->vm, worker->snapshots,
				  listener, &why);
	if (r2 == 0) {
		atomic_store(&worker->state, WORKER_SERVING);
		return r;
	}
	if (vm_attached(worker->vm))
		(void)detach(worker, NULL);
	worker->images = images_free(worker->images);
	(void)close(listener);
	worker->listener = -1;
	worker_note(worker, why.text);
	/* without refpointd this process ends, and another one will serve */
	atomic_store(&worker->state,
		     r2 == -RP_EUNREACHABLE ? WORKER_STARTING : WORKER_FAILED);
	log_error("cannot serve again after growth: %s", why.text);
	return r < 0 ? r : 0;
}

static int note_one(void *arg, const struct snapshot_info *info)
{
	*(bool *)arg = true;
	return 0;
}

/* If that cannot be told, there may be. */
static bool has_snapshots(struct worker *worker)
{
	bool any = false;

	return snapshots_list(worker->snapshots, note_one, &any, NULL) < 0 ||
	       any;
}

int worker_resize(struct worker *worker, const char *disk, uint64_t bytes,
		  struct images *image, struct err *err)
{
	int r = worker_check_defined(worker, err), ordinal = 0;

	if (r == 0)
		r = ordinal = vm_disk_find(worker->vm, disk, err);
	if (r >= 0 && worker->exports)
		r = err_set(err, -RP_ESTATE, "an export of '%s' is under way",
			    worker->name);
	if (r >= 0)
		exports_sweep(worker);
	if (r >= 0 && has_snapshots(worker))
		r = err_set(err, -RP_ESTATE,
			    "'%s' has snapshots: convert or drop them before a "
			    "disk grows",
			    worker->name);
	if (r >= 0 && strcmp(image->ids[0], disk) != 0)
		r = err_set(err, -RP_EPARAM, "the image is not of disk '%s'",
			    disk);
	if (r >= 0 && bytes <= vm_disk(worker->vm, (uint32_t)ordinal)->bytes)
		r = err_set(err, -RP_EPARAM,
			    "disk '%s' has %" PRIu64 " bytes: it can only "
			    "grow",
			    disk,
			    vm_disk(worker->vm, (uint32_t)ordinal)->bytes);
	if (r >= 0 && (bytes % SECTOR_BYTES || bytes > DISK_BYTES_MAX))
		r = err_set(err, -RP_EPARAM,
			    "a size is a multiple of 512 up to 64 TiB");
	if (r >= 0)
		r = atomic_load(&worker->state) == WORKER_SERVING
			? grow_serving(worker, (uint32_t)ordinal, bytes, err)
			: grow_idle(worker, (uint32_t)ordinal, bytes, image,
				    err);
	images_free(image);
	return r < 0 ? r : 0;
}
