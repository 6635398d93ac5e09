/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/engine.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/log.h"
#include "disk/image.h"
#include "nbd/server.h"
#include "worker/answer.h"
#include "worker/hooks.h"
#include "worker/reading.h"
#include "worker/view.h"

#define RING_ENTRIES 256

/* A volume, as its guest's server shows it. */
struct live_disk {
	struct nbd_disk disk;
	struct volume *volume;
};

struct engine {
	struct nbd_host host;
	struct ring *ring;
	struct ioq *ioq;
	struct nbd_server *server;
	struct views *views;
	pthread_t thread;

	/* The ring's thread only; set while nothing is served. */
	struct vm *vm;
	struct snapshots *snapshots;
	struct logs *logs; /* also while nothing is served */
	struct track_queue *queue;
	struct live_disk disks[DISKS_PER_VM_MAX];
	unsigned count;
	struct ring_op tick;
	bool ticking;

	_Atomic unsigned connected[DISKS_PER_VM_MAX];
	_Atomic uint64_t inflight;

	/* Changed by the control thread alone, under the lock. */
	pthread_mutex_t lock;
	struct reading *readings[SNAPSHOTS_PER_VM_MAX];
	unsigned reading_count;

	struct answer answer; /* of the ring's thread */
	struct err start;     /* likewise, once */
};

/* ---- The disks ------------------------------------------------------------
 */

static void live_submit(struct nbd_disk *disk, struct volume_request *request)
{
	volume_submit(container_of(disk, struct live_disk, disk)->volume,
		      request);
}

static int live_extent(struct nbd_disk *disk, uint64_t offset, uint64_t end,
		       uint64_t *ret_to, bool *ret_hole)
{
	image_extent(volume_fd(
			 container_of(disk, struct live_disk, disk)->volume),
		     offset, end, ret_to, ret_hole);
	return 0;
}

static const struct nbd_disk_ops live_ops = {
    .submit = live_submit,
    .extent = live_extent,
};

static void live_init(struct live_disk *live, struct volume *volume)
{
	*live = (struct live_disk){
	    .disk = {.ops = &live_ops,
		     .id = volume_id(volume),
		     .bytes = volume_bytes(volume),
		     .can_discard = volume_can_discard(volume)},
	    .volume = volume,
	};
}

/* ---- The NBD server's host ------------------------------------------------
 */

static struct engine *engine_of(struct nbd_host *host)
{
	return container_of(host, struct engine, host);
}

static unsigned host_count(struct nbd_host *host)
{
	return engine_of(host)->count;
}

static struct nbd_disk *host_disk(struct nbd_host *host, unsigned index)
{
	return &engine_of(host)->disks[index].disk;
}

static uint32_t ordinal(const struct engine *engine,
			const struct nbd_disk *disk)
{
	return (uint32_t)(container_of(disk, struct live_disk, disk) -
			  engine->disks);
}

static void host_points(struct nbd_host *host, struct nbd_disk *disk,
			void (*fn)(void *arg, const char *point), void *arg)
{
	view_points(engine_of(host)->vm, UINT64_MAX, fn, arg);
}

static int host_view_open(struct nbd_host *host, struct nbd_disk *disk,
			  const char *point, struct nbd_view **ret_view,
			  struct err *err)
{
	struct engine *engine = engine_of(host);

	return view_open(engine->views, engine->vm, ordinal(engine, disk),
			 point, NULL, ret_view, err);
}

static void host_attached(struct nbd_host *host, struct nbd_disk *disk,
			  bool attached)
{
	struct engine *engine = engine_of(host);
	_Atomic unsigned *n = &engine->connected[ordinal(engine, disk)];

	if (attached)
		atomic_fetch_add(n, 1);
	else
		atomic_fetch_sub(n, 1);
}

static const struct nbd_host host_ops = {
    .count = host_count,
    .disk = host_disk,
    .points = host_points,
    .view_open = host_view_open,
    .view_extents = view_host_extents,
    .view_close = view_host_close,
    .attached = host_attached,
};

/* ---- The thread -----------------------------------------------------------
 */

static void turn(void *arg)
{
	struct engine *engine = arg;

	atomic_store_explicit(&engine->inflight,
			      nbd_server_inflight(engine->server),
			      memory_order_relaxed);
	if (engine->logs)
		logs_turn(engine->logs);
}

static void *engine_run(void *arg)
{
	struct engine *engine = arg;
	struct err err = {0};
	int r;

	(void)pthread_setname_np(pthread_self(), "ring");
	r = ring_enable(engine->ring, &err);
	if (r == 0)
		r = hooks_ioq(engine->ring, &engine->ioq, &err);
	engine->start = err;
	answer_tell(&engine->answer);
	if (r < 0)
		return NULL;
	r = ring_run(engine->ring, &err);
	/* Requests are lost with it: as good as dead, and better dead, for
	 * then there will be another. */
	if (r < 0) {
		log_error("the ring ended: %s", err.text);
		_exit(EXIT_FAILED);
	}
	return NULL;
}

static int start_thread(struct engine *engine, struct err *err)
{
	int r = pthread_create(&engine->thread, NULL, engine_run, engine);

	if (r)
		return err_set(err, -r, "start a thread");
	answer_await(&engine->answer);
	if (engine->start.code == 0)
		return 0;
	(void)pthread_join(engine->thread, NULL);
	*err = engine->start;
	return err->code;
}

static void tick(struct ring_op *op, int result, unsigned cqe_flags);

static void release(struct engine *engine)
{
	views_free(engine->views);
	nbd_server_free(engine->server);
	ring_free(engine->ring);
	answer_done(&engine->answer);
	(void)pthread_mutex_destroy(&engine->lock);
	free(engine);
}

int engine_new(struct engine **ret_engine, struct err *err)
{
	struct engine *engine = calloc(1, sizeof(*engine));
	const struct nbd_setup setup = {.name = "nbd",
					.connections = NBD_CONNECTIONS_MAX,
					.bytes = INFLIGHT_BYTES_MAX};
	int r;

	if (!engine)
		return err_set(err, -ENOMEM, "engine");
	engine->host = host_ops;
	engine->tick.done = tick;
	(void)pthread_mutex_init(&engine->lock, NULL);
	answer_init(&engine->answer);
	r = ring_new(RING_ENTRIES, &engine->ring, err);
	if (r == 0)
		r = nbd_server_new(engine->ring, &engine->host, &setup,
				   &engine->server, err);
	if (r == 0)
		r = views_new(&engine->views, err);
	if (r == 0) {
		engine->ioq = ring_ioq(engine->ring);
		ring_on_turn(engine->ring, turn, engine);
		r = start_thread(engine, err);
	}
	if (r < 0) {
		release(engine);
		return r;
	}
	*ret_engine = engine;
	return 0;
}

struct engine *engine_free(struct engine *engine)
{
	if (!engine)
		return NULL;
	ring_stop(engine->ring);
	(void)pthread_join(engine->thread, NULL);
	release(engine);
	return NULL;
}

/* ---- Serving --------------------------------------------------------------
 */

static void tick(struct ring_op *op, int result, unsigned cqe_flags)
{
	struct engine *engine = container_of(op, struct engine, tick);

	engine->ticking = engine->queue || engine->logs;
	if (!engine->ticking)
		return;
	if (engine->queue) {
		vm_tick(engine->queue);
		snapshots_tick(engine->snapshots);
	}
	if (engine->logs)
		logs_tick(engine->logs);
	ring_timer(engine->ring, &engine->tick, VM_TICK_MS);
}

static void tick_start(struct engine *engine)
{
	if (!engine->ticking)
		ring_timer(engine->ring, &engine->tick, VM_TICK_MS);
	engine->ticking = true;
}

struct start {
	struct ring_task task;
	struct engine *engine;
	struct vm *vm;
	struct snapshots *snapshots;
	struct track_queue *queue;
	int listen_fd;
};

static void begin(struct ring_task *task)
{
	struct start *start = container_of(task, struct start, task);
	struct engine *engine = start->engine;

	engine->vm = start->vm;
	engine->snapshots = start->snapshots;
	engine->queue = start->queue;
	engine->count = vm_disk_count(start->vm);
	for (uint32_t i = 0; i < engine->count; i++)
		live_init(&engine->disks[i],
			  vm_volume(start->vm, i, start->queue));
	tick_start(engine);
	nbd_server_listen(engine->server, start->listen_fd);
	answer_tell(&engine->answer);
}

static void post(void *arg, struct ring_task *task)
{
	ring_post(((struct engine *)arg)->ring, task);
}

void engine_post(struct engine *engine, struct ring_task *task)
{
	ring_post(engine->ring, task);
}

void engine_host(struct engine *engine, struct logs_host *ret_host)
{
	*ret_host =
	    (struct logs_host){.ioq = engine->ioq, .post = post, .arg = engine};
}

struct attend {
	struct ring_task task;
	struct engine *engine;
	struct logs *logs;
};

static void attend(struct ring_task *task)
{
	struct attend *a = container_of(task, struct attend, task);
	struct engine *engine = a->engine;

	engine->logs = a->logs;
	if (a->logs)
		tick_start(engine);
	answer_tell(&engine->answer);
}

void engine_attend(struct engine *engine, struct logs *logs)
{
	struct attend a = {.task = {.run = attend},
			   .engine = engine,
			   .logs = logs};

	ring_post(engine->ring, &a.task);
	answer_await(&engine->answer);
}

int engine_serve(struct engine *engine, struct vm *vm,
		 struct snapshots *snapshots, int listen_fd, struct err *err)
{
	struct start start = {.task = {.run = begin},
			      .engine = engine,
			      .vm = vm,
			      .snapshots = snapshots,
			      .listen_fd = listen_fd};

	start.queue = vm_queue_new(vm, engine->ioq, post, engine);
	if (!start.queue)
		return err_set(err, -ENOMEM, "queue");
	ring_post(engine->ring, &start.task);
	answer_await(&engine->answer);
	return 0;
}

static void drained(void *arg)
{
	struct engine *engine = arg;

	assert(vm_queue_inflight(engine->queue) == 0);
	engine->vm = NULL;
	engine->snapshots = NULL;
	engine->queue = NULL;
	engine->count = 0;
	answer_tell(&engine->answer);
}

static void drain(struct ring_task *task)
{
	struct start *start = container_of(task, struct start, task);

	nbd_server_drain(start->engine->server, drained, start->engine);
}

void engine_drain(struct engine *engine)
{
	struct start start = {.task = {.run = drain}, .engine = engine};

	while (engine->reading_count)
		engine_close_snapshot(engine, reading_id(engine->readings[0]));
	ring_post(engine->ring, &start.task);
	answer_await(&engine->answer);
	views_settle(engine->views);
}

/* ---- Snapshots ------------------------------------------------------------
 */

/* -1: it is not open. */
static int find(const struct engine *engine, const struct guid *id)
{
	for (unsigned i = 0; i < engine->reading_count; i++)
		if (guid_equal(reading_id(engine->readings[i]), id))
			return (int)i;
	return -1;
}

int engine_open_snapshot(struct engine *engine, const struct guid *id,
			 int listen_fd, struct err *err)
{
	struct reading *reading;
	int r;

	if (!engine->vm)
		return err_set(err, -RP_ESTATE, "nothing is served");
	if (find(engine, id) >= 0)
		return err_set(err, -RP_EALREADY, "it is read already");
	if (engine->reading_count == SNAPSHOTS_PER_VM_MAX)
		return err_set(err, -RP_ELIMIT, "too many snapshots are read");
	r = reading_open(engine->ring, engine->vm, engine->snapshots, id,
			 listen_fd, &reading, err);
	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&engine->lock);
	engine->readings[engine->reading_count++] = reading;
	(void)pthread_mutex_unlock(&engine->lock);
	return 0;
}

void engine_close_snapshot(struct engine *engine, const struct guid *id)
{
	int i = find(engine, id);
	struct reading *reading;

	if (i < 0)
		return;
	(void)pthread_mutex_lock(&engine->lock);
	reading = engine->readings[i];
	engine->readings[i] = engine->readings[--engine->reading_count];
	(void)pthread_mutex_unlock(&engine->lock);
	reading_close(reading);
}

int engine_readers(struct engine *engine, const struct guid *id)
{
	int n;

	(void)pthread_mutex_lock(&engine->lock);
	n = find(engine, id);
	if (n >= 0)
		n = (int)reading_readers(engine->readings[n]);
	(void)pthread_mutex_unlock(&engine->lock);
	return n;
}

/* ---- What is told ---------------------------------------------------------
 */

unsigned engine_connected(struct engine *engine, uint32_t disk)
{
	return atomic_load(&engine->connected[disk]);
}

uint64_t engine_inflight_bytes(struct engine *engine)
{
	return atomic_load_explicit(&engine->inflight, memory_order_relaxed);
}

uint64_t engine_watch(struct engine *engine, bool watch)
{
	return ring_watch(engine->ring, watch);
}
