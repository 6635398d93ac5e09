/* SPDX-License-Identifier: Apache-2.0 */
#include "fake-volume.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "disk/disk.h"
#include "disk/image.h"

struct nbd_view {
	char point[16];
	struct nbd_disk *disk;
};

/* ---- the disk ---------------------------------------------------------- */

/* A request's volume is never looked at: it stands for the disk here. */
static struct fake_disk *disk_of(const struct volume_request *request)
{
	return (struct fake_disk *)request->volume;
}

static void trace(struct fake_host *host, const char *what,
		  const struct volume_request *request)
{
	if (host->trace)
		host->trace(host, what, request);
}

static void io_done(struct io *io, int result)
{
	struct volume_request *request =
	    container_of(io, struct volume_request, io);
	struct fake_host *host = disk_of(request)->host;

	host->in_ioq--;
	trace(host, "done", request);
	request->done(request, result);
}

static void submit_io(struct fake_disk *disk, struct volume_request *request)
{
	static const enum io_op ops[] = {
	    [VOLUME_READ] = IO_READ,  [VOLUME_WRITE] = IO_WRITE,
	    [VOLUME_ZERO] = IO_ZERO,  [VOLUME_DISCARD] = IO_DISCARD,
	    [VOLUME_FLUSH] = IO_SYNC,
	};

	request->io = (struct io){
	    .op = ops[request->op],
	    .flags = request->flags & VOLUME_NO_HOLE ? IO_NO_HOLE : 0,
	    .file = disk->file,
	    .offset = request->offset,
	    .length = request->length,
	    .buf = request->data,
	    .done = io_done,
	};
	disk->host->in_ioq++;
	ioq_submit(disk->host->ioq, &request->io);
}

static void check(const struct nbd_disk *disk,
		  const struct volume_request *request)
{
	bool data = request->op == VOLUME_READ || request->op == VOLUME_WRITE;

	assert(request->done);
	assert(request->offset % SECTOR_BYTES == 0);
	assert(request->length % SECTOR_BYTES == 0);
	assert(request->offset <= disk->bytes);
	assert(request->length <= disk->bytes - request->offset);
	assert(!disk->read_only || request->op == VOLUME_READ);
	assert((request->length == 0) == (request->op == VOLUME_FLUSH));
	assert(!data || (uintptr_t)request->data % 4096 == 0);
	assert(!data || request->length <= NBD_REQUEST_BYTES_MAX);
}

static void disk_submit(struct nbd_disk *disk, struct volume_request *request)
{
	struct fake_disk *fake = container_of(disk, struct fake_disk, disk);
	struct fake_host *host = fake->host;

	check(disk, request);
	request->volume = (struct volume *)fake;
	trace(host, "submit", request);
	if (fake->file && !host->held) {
		submit_io(fake, request);
		return;
	}
	request->next = NULL;
	*host->last = request;
	host->last = &request->next;
	host->queued++;
	if (host->wake)
		host->wake(host);
}

static int disk_extent(struct nbd_disk *disk, uint64_t offset, uint64_t end,
		       uint64_t *ret_to, bool *ret_hole)
{
	struct fake_disk *fake = container_of(disk, struct fake_disk, disk);

	if (disk->read_only && fake->host->gone)
		return -EIO;
	image_extent(fake->fd, offset, end, ret_to, ret_hole);
	return 0;
}

static const struct nbd_disk_ops disk_ops = {
    .submit = disk_submit,
    .extent = disk_extent,
};

/* Whole pages are given back, so that much of it costs little. */
static void zero(uint8_t *at, uint64_t bytes)
{
	uint64_t head = MIN(-(uintptr_t)at % 4096, bytes);
	uint64_t pages = (bytes - head) & ~UINT64_C(4095);

	memset(at, 0, head);
	if (pages)
		(void)madvise(at + head, pages, MADV_DONTNEED);
	memset(at + head + pages, 0, bytes - head - pages);
}

static int carry_out(struct volume_request *request)
{
	struct fake_disk *disk = disk_of(request);
	struct fake_host *host = disk->host;
	uint8_t *at = disk->memory + request->offset;
	uint64_t end = request->offset + request->length;

	if (host->fail_with && request->offset < host->fail_end &&
	    end > host->fail_start)
		return host->fail_with;
	switch (request->op) {
	case VOLUME_READ:
		memcpy(request->data, at, request->length);
		return 0;
	case VOLUME_WRITE:
		memcpy(at, request->data, request->length);
		return 0;
	case VOLUME_ZERO:
	case VOLUME_DISCARD:
		zero(at, request->length);
		return 0;
	case VOLUME_FLUSH:
		return 0;
	}
	return -EINVAL;
}

unsigned fake_complete(struct fake_host *host, unsigned max)
{
	unsigned n = 0;

	while (host->first && n < max && !host->held) {
		struct volume_request *request = host->first;

		host->first = request->next;
		if (!host->first)
			host->last = &host->first;
		host->queued--;
		n++;
		if (disk_of(request)->file) {
			submit_io(disk_of(request), request);
			continue;
		}
		request->result = carry_out(request);
		trace(host, "done", request);
		request->done(request, request->result);
	}
	return n;
}

/* ---- the host ---------------------------------------------------------- */

static unsigned host_count(struct nbd_host *host)
{
	return container_of(host, struct fake_host, host)->count;
}

static struct nbd_disk *host_disk(struct nbd_host *host, unsigned index)
{
	struct fake_host *fake = container_of(host, struct fake_host, host);

	assert(index < fake->count);
	return &fake->disks[index].disk;
}

static const char *const points[] = {"thirds", "none", "gone", "broken"};

static void host_points(struct nbd_host *host, struct nbd_disk *disk,
			void (*fn)(void *arg, const char *point), void *arg)
{
	for (size_t i = 0; i < ARRAY_SIZE(points); i++)
		fn(arg, points[i]);
}

static void wait_while_stuck(struct fake_host *fake)
{
	(void)pthread_mutex_lock(&fake->lock);
	while (fake->stuck)
		(void)pthread_cond_wait(&fake->let_go, &fake->lock);
	(void)pthread_mutex_unlock(&fake->lock);
}

static int host_view_open(struct nbd_host *host, struct nbd_disk *disk,
			  const char *point, struct nbd_view **ret_view,
			  struct err *err)
{
	struct fake_host *fake = container_of(host, struct fake_host, host);

	fake->asked++;
	for (size_t i = 0; i < ARRAY_SIZE(points); i++) {
		struct nbd_view *view;

		if (strcmp(points[i], point) != 0)
			continue;
		if (strcmp(point, "broken") == 0)
			return err_set(err, -RP_ESTATE,
				       "what changed since is not known");
		wait_while_stuck(fake);
		view = calloc(1, sizeof(*view));
		if (!view)
			return err_set(err, -ENOMEM, "view");
		(void)snprintf(view->point, sizeof(view->point), "%s", point);
		view->disk = disk;
		fake->views++;
		*ret_view = view;
		return 0;
	}
	return err_set(err, -RP_ENOPOINT, "no such point");
}

static int host_view_extents(struct nbd_host *host, struct nbd_view *view,
			     uint64_t offset, uint64_t length,
			     struct nbd_extent *extents, int max)
{
	struct fake_host *fake = container_of(host, struct fake_host, host);
	uint64_t position = offset, end = offset + length;
	int n = 0;

	assert(max >= 1 && length > 0 && end <= view->disk->bytes);
	fake->asked++;
	wait_while_stuck(fake);
	if (strcmp(view->point, "gone") == 0 && fake->gone)
		return -RP_ENOPOINT;
	if (strcmp(view->point, "thirds") != 0) {
		extents[0] = (struct nbd_extent){length, false};
		return 1;
	}
	while (position < end && n < max) {
		uint64_t unit = position / FAKE_DIRTY_BYTES;
		bool dirty = unit % 3 == 0;
		uint64_t next =
		    (dirty ? unit + 1 : unit + 3 - unit % 3) * FAKE_DIRTY_BYTES;

		next = MIN(next, end);
		extents[n++] = (struct nbd_extent){next - position, dirty};
		position = next;
	}
	return n;
}

static void host_view_close(struct nbd_host *host, struct nbd_view *view)
{
	container_of(host, struct fake_host, host)->views--;
	free(view);
}

static void host_attached(struct nbd_host *host, struct nbd_disk *disk,
			  bool attached)
{
	container_of(host, struct fake_host, host)->attached +=
	    attached ? 1 : -1;
}

void fake_host_init(struct fake_host *host)
{
	*host = (struct fake_host){
	    .host = {.count = host_count,
		     .disk = host_disk,
		     .points = host_points,
		     .view_open = host_view_open,
		     .view_extents = host_view_extents,
		     .view_close = host_view_close,
		     .attached = host_attached},
	};
	host->last = &host->first;
	(void)pthread_mutex_init(&host->lock, NULL);
	(void)pthread_cond_init(&host->let_go, NULL);
}

void fake_stick(struct fake_host *host, bool stuck)
{
	(void)pthread_mutex_lock(&host->lock);
	host->stuck = stuck;
	(void)pthread_cond_broadcast(&host->let_go);
	(void)pthread_mutex_unlock(&host->lock);
}

void fake_host_done(struct fake_host *host)
{
	assert(!host->first && !host->views && !host->attached);
	for (unsigned i = 0; i < host->count; i++)
		if (host->disks[i].memory)
			(void)munmap(host->disks[i].memory,
				     host->disks[i].disk.bytes);
}

struct fake_disk *fake_add(struct fake_host *host, const char *id,
			   uint64_t bytes)
{
	struct fake_disk *fake = &host->disks[host->count];

	assert(host->count < FAKE_DISKS_MAX);
	*fake = (struct fake_disk){.disk = {.ops = &disk_ops,
					    .id = fake->id,
					    .bytes = bytes,
					    .can_discard = true},
				   .fd = -1,
				   .host = host};
	(void)snprintf(fake->id, sizeof(fake->id), "%s", id);
	fake->memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (fake->memory == MAP_FAILED)
		return NULL;
	host->count++;
	return fake;
}
