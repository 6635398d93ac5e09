/* SPDX-License-Identifier: Apache-2.0 */
#include "rig.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/bytes.h"
#include "disk/posix.h"
#include "store/files.h"

#define DIE(...)                                                               \
	do {                                                                   \
		fprintf(stderr, "rig: " __VA_ARGS__);                          \
		fprintf(stderr, "\n");                                         \
		abort();                                                       \
	} while (0)

uint64_t rig_now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* ---- the environment -------------------------------------------------- */

static int64_t now_ns(void *arg)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int stamp(void *arg, uint32_t disk, struct image_stamp *ret_stamp,
		 struct err *err)
{
	struct rig *rig = arg;

	return image_stamp_read(rig->image_fd, rig->image_path, ret_stamp, err);
}

static int mark(void *arg, uint32_t disk, const struct guid *nonce,
		struct image_stamp *ret_stamp, struct err *err)
{
	struct rig *rig = arg;
	int r = image_nonce_set(rig->image_fd, nonce, err);

	return r ? r : stamp(arg, disk, ret_stamp, err);
}

static struct vm_env environment(struct rig *rig)
{
	struct vm_env env = {
	    .store = rig->store,
	    .memory = rig->memory,
	    .fallback = rig->fallback,
	    .boot_time_ns = image_boot_time_ns(),
	    .machine = {{7, rig->machine}},
	    .threads = true,
	    .arg = rig,
	    .now_ns = now_ns,
	    .stamp = stamp,
	    .mark = mark,
	};
	struct err err = {0};

	if (image_boot_id(&env.boot, &err) < 0)
		DIE("%s", err.text);
	return env;
}

/* ---- directories ------------------------------------------------------ */

static struct fs *open_dir(const char *base, const char *name)
{
	struct err err = {0};
	struct fs *fs;
	char path[400];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", base, name);
	(void)mkdir(path, 0700);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || posix_fs_new(fd, name, &fs, &err) < 0)
		DIE("%s: %s", path, err.text);
	return fs;
}

static void remove_dir(const char *base, const char *name)
{
	char path[400];
	struct dirent *entry;
	DIR *dir;

	(void)snprintf(path, sizeof(path), "%s/%s", base, name);
	dir = opendir(path);
	while (dir && (entry = readdir(dir)) != NULL)
		(void)unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir)
		(void)closedir(dir);
	(void)rmdir(path);
}

static void make_image(struct rig *rig)
{
	int fd = open(rig->image_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, (off_t)rig->bytes) < 0)
		DIE("no image '%s'", rig->image_path);
	(void)close(fd);
}

static struct rig *make(const char *dir, uint64_t bytes)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	if (!rig)
		abort();
	(void)snprintf(rig->base, sizeof(rig->base), "%s/refpoint-rig-XXXXXX",
		       dir);
	(void)snprintf(rig->memory_path, sizeof(rig->memory_path),
		       "/dev/shm/refpoint-rig-XXXXXX");
	if (!mkdtemp(rig->base) || !mkdtemp(rig->memory_path))
		DIE("no directories in '%s' and /dev/shm", dir);
	rig->bytes = bytes;
	rig->image_fd = -1;
	(void)sem_init(&rig->ready, 0, 0);
	return rig;
}

static const char *scratch(void)
{
	const char *dir = getenv("TMPDIR");

	return dir ? dir : "/var/tmp";
}

struct rig *rig_new(const char *dir, uint64_t bytes)
{
	struct rig *rig = make(dir ? dir : scratch(), bytes);

	(void)snprintf(rig->image_path, sizeof(rig->image_path), "%s/image",
		       rig->base);
	make_image(rig);
	return rig;
}

struct rig *rig_new_apart(const char *dir, uint64_t bytes)
{
	struct rig *rig = make(dir, bytes);
	int fd;

	(void)snprintf(rig->image_path, sizeof(rig->image_path),
		       "%s/refpoint-image-XXXXXX", scratch());
	fd = mkstemp(rig->image_path);
	if (fd < 0)
		DIE("no image in '%s'", scratch());
	(void)close(fd);
	make_image(rig);
	return rig;
}

struct rig *rig_free(struct rig *rig)
{
	remove_dir(rig->base, "store");
	remove_dir(rig->base, "outside");
	(void)unlink(rig->image_path);
	(void)rmdir(rig->base);
	remove_dir(rig->memory_path, "live");
	(void)rmdir(rig->memory_path);
	(void)sem_destroy(&rig->ready);
	free(rig);
	return NULL;
}

static void open_tombstone(struct rig *rig)
{
	struct err err = {0};

	if (fs_open(rig->outside, "tombstone", FILE_WRITE, &rig->fallback,
		    &err) == 0)
		return;
	if (tombstone_create(rig->outside, &err) < 0 ||
	    fs_open(rig->outside, "tombstone", FILE_WRITE, &rig->fallback,
		    &err) < 0)
		DIE("%s", err.text);
}

static void open_all(struct rig *rig, const char *rules)
{
	struct err err = {0};
	struct fs *store = open_dir(rig->base, "store");

	rig->store = store;
	if (rules && (faults_new(rules, &rig->faults, &err) < 0 ||
		      faulty_fs_new(rig->faults, store, &rig->store, &err) < 0))
		DIE("%s", err.text);
	rig->memory = open_dir(rig->memory_path, "live");
	rig->outside = open_dir(rig->base, "outside");
	open_tombstone(rig);
	if (image_open(rig->image_path, true, &rig->image_fd, &rig->geometry,
		       &err) < 0 ||
	    posix_file_new(rig->image_fd, "image", &rig->image, &err) < 0)
		DIE("%s", err.text);
}

static void close_all(struct rig *rig)
{
	file_close(rig->image); /* and image_fd */
	rig->image = NULL;
	rig->image_fd = -1;
	file_close(rig->fallback);
	rig->fallback = NULL;
	rig->store->ops->free(rig->store);
	rig->memory->ops->free(rig->memory);
	rig->outside->ops->free(rig->outside);
	rig->faults = faults_free(rig->faults);
}

int rig_define(struct rig *rig, struct err *err)
{
	struct vm_disk_definition disk = {.id = "root", .bytes = rig->bytes};
	struct vm_definition definition = {.uuid = {{1, 2}},
					   .count = 1,
					   .disks = &disk};
	struct vm_env env;
	int r;

	(void)snprintf(disk.path, sizeof(disk.path), "%s", rig->image_path);
	open_all(rig, NULL);
	env = environment(rig);
	r = vm_define(&env, &definition, err);
	close_all(rig);
	return r;
}

/* ---- serving ---------------------------------------------------------- */

static void post(void *arg, struct ring_task *task)
{
	ring_post(arg, task);
}

static void tick(struct ring_op *op, int result, unsigned flags)
{
	struct rig *rig = container_of(op, struct rig, timer);

	vm_tick(rig->queue);
	snapshots_tick(rig->snapshots);
	if (atomic_load(&rig->attended))
		logs_tick(atomic_load(&rig->attended));
	ring_timer(rig->ring, &rig->timer, VM_TICK_MS);
}

static void turn(void *arg)
{
	struct rig *rig = arg;

	if (atomic_load(&rig->attended))
		logs_turn(atomic_load(&rig->attended));
}

static void bind_queue(struct ring_task *task)
{
	struct rig *rig = container_of(task, struct rig, bind);

	rig->volume = vm_volume(rig->vm, 0, rig->queue);
	rig->timer.done = tick;
	ring_timer(rig->ring, &rig->timer, VM_TICK_MS);
	(void)sem_post(&rig->ready);
}

static void await_ready(struct rig *rig)
{
	while (sem_wait(&rig->ready) < 0)
		;
}

static void *serve(void *arg)
{
	struct rig *rig = arg;
	struct err err = {0};

	if (ring_new(64, &rig->ring, &err) < 0 ||
	    ring_enable(rig->ring, &err) < 0)
		DIE("%s", err.text);
	rig->ioq = ring_ioq(rig->ring);
	if (rig->faulty_io && faulty_ioq_new(rig->faults, rig->ring, rig->ioq,
					     &rig->ioq, &err) < 0)
		DIE("%s", err.text);
	ring_on_turn(rig->ring, turn, rig);
	(void)sem_post(&rig->ready);
	if (ring_run(rig->ring, &err) < 0)
		DIE("%s", err.text);
	return NULL;
}

static void quiet_done(struct ring_op *op, int result, unsigned flags)
{
	struct rig *rig = container_of(op, struct rig, timer);

	(void)sem_post(&rig->ready);
}

static void quiet(struct ring_task *task)
{
	struct rig *rig = container_of(task, struct rig, quit);

	rig->timer.done = quiet_done;
	ring_cancel(rig->ring, &rig->timer);
}

static void quit(struct ring_task *task)
{
	struct rig *rig = container_of(task, struct rig, quit);

	ring_stop(rig->ring);
}

/* No more ticks; the loop goes on, as vm_detach() wants it. */
static void serve_quiet(struct rig *rig)
{
	rig->quit.run = quiet;
	ring_post(rig->ring, &rig->quit);
	await_ready(rig);
}

static void serve_stop(struct rig *rig)
{
	rig->quit.run = quit;
	ring_post(rig->ring, &rig->quit);
	(void)pthread_join(rig->thread, NULL);
	rig->serving = false;
}

/* The vm and what is its, closed; then the thread, and the ring. */
static void stop_all(struct rig *rig)
{
	serve_stop(rig);
	atomic_store(&rig->attended, NULL);
	rig->snapshots = snapshots_free(rig->snapshots);
	rig->logs = logs_free(rig->logs);
	rig->vm = vm_close(rig->vm);
	if (rig->faulty_io)
		faulty_ioq_free(rig->ioq);
	close_all(rig);
	rig->ring = ring_free(rig->ring);
}

static int attach_all(struct rig *rig, struct err *err)
{
	int r = vm_attach(rig->vm, &rig->image, &rig->geometry, VM_ATTACH_WRITE,
			  err);

	atomic_store(&rig->attended, rig->logs);
	if (r == 0 && rig->logs)
		r = logs_attach(rig->logs, err);
	return r < 0 ? r : snapshots_attach(rig->snapshots, err);
}

int rig_start(struct rig *rig, const char *rules, struct err *err)
{
	struct logs_host host = {.post = post};
	struct vm_env env;
	int r;

	open_all(rig, rules);
	if (pthread_create(&rig->thread, NULL, serve, rig))
		DIE("no thread");
	await_ready(rig);
	rig->serving = true;
	host.ioq = rig->ioq;
	host.arg = rig->ring;
	env = environment(rig);
	r = vm_open(&env, &rig->vm, err);
	if (r == 0 && rig->logging)
		r = logs_new(rig->vm, &host, &rig->logs, err);
	if (r == 0)
		r = snapshots_new(rig->vm, &rig->snapshots, err);
	if (r == 0)
		r = attach_all(rig, err);
	if (r < 0) {
		stop_all(rig);
		return r;
	}
	rig->queue = vm_queue_new(rig->vm, rig->ioq, post, rig->ring);
	rig->bind.run = bind_queue;
	ring_post(rig->ring, &rig->bind);
	await_ready(rig);
	return 0;
}

int rig_stop(struct rig *rig, struct err *err)
{
	int r;

	serve_quiet(rig);
	snapshots_detach(rig->snapshots);
	if (rig->logs)
		logs_detach(rig->logs);
	r = vm_detach(rig->vm, err);
	stop_all(rig);
	return r;
}

int rig_grow(struct rig *rig, uint64_t bytes, struct err *err)
{
	struct vm_env env;
	int r = rig_stop(rig, err);

	if (r < 0)
		return r;
	open_all(rig, NULL);
	env = environment(rig);
	r = vm_open(&env, &rig->vm, err);
	if (r == 0)
		r = vm_grow_begin(rig->vm, 0, bytes, err);
	if (r == 0 && ftruncate(rig->image_fd, (off_t)bytes) < 0)
		r = err_set(err, -errno, "grow the image");
	if (r == 0)
		r = vm_grow_end(rig->vm, 0, err);
	rig->vm = vm_close(rig->vm);
	close_all(rig);
	return r;
}

/* ---- requests --------------------------------------------------------- */

static void done(struct volume_request *request, int result)
{
	struct rig_request *r =
	    container_of(request, struct rig_request, request);

	r->result = result;
	(void)sem_post(&r->over);
}

static void submit(struct ring_task *task)
{
	struct rig_request *r = container_of(task, struct rig_request, task);

	volume_submit(r->rig->volume, &r->request);
}

void rig_submit(struct rig *rig, struct rig_request *r, enum volume_op op,
		uint64_t offset, uint64_t length)
{
	memset(r, 0, sizeof(*r));
	r->rig = rig;
	(void)sem_init(&r->over, 0, 0);
	r->data =
	    length ? aligned_alloc(4096, (length + 4095) / 4096 * 4096) : NULL;
	if (r->data)
		memset(r->data, 0x5a, length);
	r->request.op = op;
	r->request.offset = offset;
	r->request.length = length;
	r->request.data = r->data;
	r->request.done = done;
	r->task.run = submit;
	ring_post(rig->ring, &r->task);
}

int rig_wait(struct rig_request *r, unsigned ms)
{
	struct timespec until;

	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	while (sem_timedwait(&r->over, &until) < 0)
		if (errno == ETIMEDOUT)
			return -ETIMEDOUT;
	return r->result;
}

void rig_request_done(struct rig_request *r)
{
	(void)sem_destroy(&r->over);
	free(r->data);
}

int rig_do(struct rig *rig, enum volume_op op, uint64_t offset, uint64_t length)
{
	struct rig_request r;
	int result;

	rig_submit(rig, &r, op, offset, length);
	result = rig_wait(&r, 60000);
	if (result == -ETIMEDOUT)
		DIE("a request hangs");
	rig_request_done(&r);
	return result;
}

/* ---- control ---------------------------------------------------------- */

static int make_point(struct rig *rig, enum point_type type,
		      struct guid *ret_id, struct err *err)
{
	struct vm_point_request request = {.type = type,
					   .consistency = CONSISTENCY_CRASH};
	struct point_row *row = calloc(1, sizeof(*row));
	int r = -ENOMEM;

	if (row)
		r = type == POINT_LOG
			? logs_create(rig->logs, &request, row, err)
			: vm_point_create(rig->vm, &request, row, err);
	if (r == 0)
		*ret_id = row->id;
	free(row);
	return r;
}

int rig_point(struct rig *rig, struct guid *ret_id, struct err *err)
{
	return make_point(rig, POINT_RCT, ret_id, err);
}

int rig_log_point(struct rig *rig, struct guid *ret_id, struct err *err)
{
	return make_point(rig, POINT_LOG, ret_id, err);
}

struct vm_changes rig_changes(struct rig *rig, const struct guid *since)
{
	struct vm_changes changes;
	struct err err = {0};

	if (vm_changes(rig->vm, 0, since, NULL, &changes, &err) < 0)
		DIE("changes: %s", err.text);
	return changes;
}
