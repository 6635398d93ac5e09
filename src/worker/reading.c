/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/reading.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "nbd/server.h"
#include "worker/answer.h"
#include "worker/view.h"

struct reading_disk {
	struct nbd_disk disk;
	struct snapshot_disk *content;
};

struct reading {
	struct nbd_host host;
	struct ring *ring;
	struct vm *vm;
	struct point_row row;
	char name[32]; /* for the log */
	struct nbd_server *server;
	struct views *views;
	int listen_fd;
	_Atomic unsigned readers;
	struct ring_task task;
	struct answer answer; /* of the ring's thread */
	uint32_t count;
	struct reading_disk disks[DISKS_PER_VM_MAX];
};

/* ---- The disks ------------------------------------------------------------
 */

static struct snapshot_disk *content_of(struct nbd_disk *disk)
{
	return container_of(disk, struct reading_disk, disk)->content;
}

static void disk_submit(struct nbd_disk *disk, struct volume_request *request)
{
	snapshot_read(content_of(disk), request);
}

static int disk_extent(struct nbd_disk *disk, uint64_t offset, uint64_t end,
		       uint64_t *ret_to, bool *ret_hole)
{
	return snapshot_extent(content_of(disk), offset, end, ret_to, ret_hole,
			       NULL);
}

static const struct nbd_disk_ops disk_ops = {
    .submit = disk_submit,
    .extent = disk_extent,
};

/* ---- The NBD server's host ------------------------------------------------
 */

static struct reading *reading_of(struct nbd_host *host)
{
	return container_of(host, struct reading, host);
}

static unsigned host_count(struct nbd_host *host)
{
	return reading_of(host)->count;
}

static struct nbd_disk *host_disk(struct nbd_host *host, unsigned index)
{
	return &reading_of(host)->disks[index].disk;
}

static void host_points(struct nbd_host *host, struct nbd_disk *disk,
			void (*fn)(void *arg, const char *point), void *arg)
{
	const struct reading *reading = reading_of(host);

	/* What changed since a younger one is no question to this snapshot. */
	view_points(reading->vm, reading->row.order, fn, arg);
}

static int host_view_open(struct nbd_host *host, struct nbd_disk *disk,
			  const char *point, struct nbd_view **ret_view,
			  struct err *err)
{
	struct reading *reading = reading_of(host);
	struct reading_disk *d = container_of(disk, struct reading_disk, disk);

	return view_open(reading->views, reading->vm,
			 (uint32_t)(d - reading->disks), point,
			 &reading->row.id, ret_view, err);
}

static void host_attached(struct nbd_host *host, struct nbd_disk *disk,
			  bool attached)
{
	struct reading *reading = reading_of(host);

	if (attached)
		atomic_fetch_add(&reading->readers, 1);
	else
		atomic_fetch_sub(&reading->readers, 1);
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

/* ---- Life -----------------------------------------------------------------
 */

static int open_disks(struct reading *reading, struct snapshots *snapshots,
		      struct err *err)
{
	uint32_t count = vm_disk_count(reading->vm);

	for (uint32_t i = 0; i < count; i++) {
		struct reading_disk *d = &reading->disks[i];
		int r = snapshot_open(snapshots, &reading->row.id, i,
				      &d->content, err);

		if (r < 0)
			return r;
		d->disk = (struct nbd_disk){
		    .ops = &disk_ops,
		    .id = vm_disk(reading->vm, i)->id,
		    .bytes = snapshot_bytes(d->content),
		    .read_only = true,
		};
		reading->count++;
	}
	return 0;
}

static void begin(struct ring_task *task)
{
	struct reading *reading = container_of(task, struct reading, task);

	nbd_server_listen(reading->server, reading->listen_fd);
	answer_tell(&reading->answer);
}

static void broken(void *arg)
{
	struct reading *reading = arg;

	answer_tell(&reading->answer);
}

static void end(struct ring_task *task)
{
	struct reading *reading = container_of(task, struct reading, task);

	nbd_server_break(reading->server, broken, reading);
}

static void run(struct reading *reading, void (*fn)(struct ring_task *task))
{
	reading->task.run = fn;
	ring_post(reading->ring, &reading->task);
	answer_await(&reading->answer);
}

/* Nothing is in flight. */
static void release(struct reading *reading)
{
	nbd_server_free(reading->server);
	views_free(reading->views);
	for (uint32_t i = 0; i < reading->count; i++)
		snapshot_close(reading->disks[i].content);
	answer_done(&reading->answer);
	free(reading);
}

static int prepare(struct reading *reading, struct snapshots *snapshots,
		   const struct guid *id, struct err *err)
{
	const struct nbd_setup setup = {.name = reading->name,
					.connections = SNAPSHOT_READERS_MAX,
					.bytes = SNAPSHOT_BYTES_MAX};
	char text[GUID_TEXT_BYTES];
	struct snapshot_info info;
	int r = snapshot_find(snapshots, id, &info, err);

	if (r < 0)
		return r;
	reading->row = info.row;
	guid_format(id, text);
	(void)snprintf(reading->name, sizeof(reading->name), "snapshot %.18s",
		       text);
	r = open_disks(reading, snapshots, err);
	if (r == 0)
		r = views_new(&reading->views, err);
	if (r == 0)
		r = nbd_server_new(reading->ring, &reading->host, &setup,
				   &reading->server, err);
	return r;
}

int reading_open(struct ring *ring, struct vm *vm, struct snapshots *snapshots,
		 const struct guid *id, int listen_fd,
		 struct reading **ret_reading, struct err *err)
{
	struct reading *reading = calloc(1, sizeof(*reading));
	int r;

	if (!reading)
		return err_set(err, -ENOMEM, "read a snapshot");
	reading->host = host_ops;
	reading->ring = ring;
	reading->vm = vm;
	answer_init(&reading->answer);
	r = prepare(reading, snapshots, id, err);
	if (r < 0) {
		release(reading);
		return r;
	}
	reading->listen_fd = listen_fd;
	run(reading, begin);
	*ret_reading = reading;
	return 0;
}

struct reading *reading_close(struct reading *reading)
{
	if (!reading)
		return NULL;
	run(reading, end);
	(void)close(reading->listen_fd);
	release(reading);
	return NULL;
}

const struct guid *reading_id(const struct reading *reading)
{
	return &reading->row.id;
}

unsigned reading_readers(struct reading *reading)
{
	return atomic_load(&reading->readers);
}
