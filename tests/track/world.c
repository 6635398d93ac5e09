/* SPDX-License-Identifier: Apache-2.0 */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log/logs-internal.h"
#include "store/files.h"
#include "track/internal.h"

#define FAIL(...)                                                              \
	do {                                                                   \
		fprintf(stderr, "seed %llu: ", (unsigned long long)w->seed);   \
		fprintf(stderr, __VA_ARGS__);                                  \
		fprintf(stderr, "\n");                                         \
		abort();                                                       \
	} while (0)

static const char *const image_names[WORLD_DISKS] = {"image0", "image1"};
static const uint64_t image_bytes[WORLD_DISKS] = {MIB(160), MIB(40) + 512};

static bool attached(const struct world *w)
{
	return w->vm && w->queues[0].track;
}

/* ---- the environment -------------------------------------------------- */

static int64_t now_ns(void *arg)
{
	return sim_now_ns(((struct world *)arg)->sim);
}

static int stamp(void *arg, uint32_t disk, struct image_stamp *ret_stamp,
		 struct err *err)
{
	sim_image_stamp(((struct world *)arg)->sim, image_names[disk],
			ret_stamp);
	return 0;
}

static int mark(void *arg, uint32_t disk, const struct guid *nonce,
		struct image_stamp *ret_stamp, struct err *err)
{
	struct world *w = arg;

	if (sim_dead(w->sim))
		return err_set(err, -RP_EDEAD, "mark");
	sim_image_nonce_set(w->sim, image_names[disk], nonce);
	return stamp(arg, disk, ret_stamp, err);
}

static void post(void *arg, struct ring_task *task)
{
	struct world_queue *queue = arg;

	task->next = NULL;
	*queue->tasks_end = task;
	queue->tasks_end = &task->next;
}

static void run_task(struct world_queue *queue)
{
	struct ring_task *task = queue->tasks;

	queue->tasks = task->next;
	if (!queue->tasks)
		queue->tasks_end = &queue->tasks;
	task->run(task);
}

static void forget_tasks(struct world *w)
{
	for (unsigned i = 0; i < WORLD_DISKS; i++) {
		w->queues[i].tasks = NULL;
		w->queues[i].tasks_end = &w->queues[i].tasks;
	}
}

bool world_has_tasks(const struct world *w)
{
	for (unsigned i = 0; i < WORLD_DISKS; i++)
		if (w->queues[i].tasks)
			return true;
	return false;
}

void world_run_tasks(struct world *w)
{
	while (world_has_tasks(w))
		for (unsigned i = 0; i < WORLD_DISKS; i++)
			if (w->queues[i].tasks)
				run_task(&w->queues[i]);
}

/* The keeper and the retirer are two threads: while one of them is at work the
 * other may be as well, and vm_keep() does what is not under way. */
static void keep_once(struct world *w, bool retire_all)
{
	if (w->keepers == 2)
		return;
	w->keepers++;
	(void)vm_keep(w->vm, retire_all);
	/* No control call is below us on the stack. */
	if (w->logs && pthread_mutex_trylock(&w->vm->control) == 0) {
		(void)pthread_mutex_unlock(&w->vm->control);
		(void)logs_keep(w->logs);
	}
	w->keepers--;
}

static void turn(struct world *w)
{
	if (w->logs)
		logs_turn(w->logs);
}

/* Each queue gets round to its next task, or not yet. */
static void run_some_tasks(struct world *w)
{
	turn(w);
	for (unsigned i = 0; i < WORLD_DISKS; i++)
		if (w->queues[i].tasks && sim_random(w->sim, 2))
			run_task(&w->queues[i]);
}

/* Wherever a thread would wait: all others go on, the guest among them. */
static void pump(void *arg)
{
	struct world *w = arg;

	run_some_tasks(w);
	if (w->pump_holds)
		w->pump_holds--;
	else if (sim_ioq_pending(w->sim))
		sim_ioq_complete_random(w->sim);
	/* What was hot may not turn cold before all is mended. */
	if (w->mending && !w->in_pump && sim_random(w->sim, 2)) {
		w->in_pump = true;
		keep_once(w, true);
		w->in_pump = false;
	}
	/* A clean stop has ended the keeper before it waits for anything. */
	if (w->in_pump || !attached(w))
		return;
	w->in_pump = true;
	keep_once(w, false);
	if (!sim_dead(w->sim) && sim_random(w->sim, 100) < w->guest_rate)
		world_step(w);
	w->in_pump = false;
}

/* ---- the order checker ------------------------------------------------ */

/* The newest valid record of this life among the durable slots. */
static uint32_t durable_intents(struct world *w, struct fs *fs,
				struct intent *ret_intents)
{
	static uint8_t slot[INTENT_SLOT_BYTES];
	struct intent *intents = malloc(INTENT_ENTRIES_MAX * sizeof(*intents));
	const struct system_row *system = vm_system(w->vm);
	struct intent_head head;
	uint64_t newest = 0;
	uint32_t n = 0;
	struct file *file;

	if (!intents || fs_open(fs, "intents", FILE_READ, &file, NULL) < 0)
		FAIL("no durable intents");
	for (unsigned i = 0; i < INTENT_SLOTS; i++) {
		if (file_read(file, slot, sizeof(slot),
			      (uint64_t)i * sizeof(slot),
			      NULL) != sizeof(slot) ||
		    intents_decode(slot, sizeof(slot), &head, intents, NULL) <
			0 ||
		    !guid_equal(&head.live, &system->live_id) ||
		    head.sequence <= newest)
			continue;
		newest = head.sequence;
		n = head.entries;
		memcpy(ret_intents, intents, n * sizeof(*intents));
	}
	file_close(file);
	free(intents);
	if (!newest)
		FAIL("no durable intents while a guest writes");
	return n;
}

/* The blocks of a durable page file, without the store's own file code. */
static void claim_pages(struct world *w, struct fs *fs, uint32_t disk,
			unsigned which)
{
	uint64_t open = vm_system(w->vm)->open_generation;
	uint8_t buf[PAGE_BYTES];
	struct page page;
	char name[48];
	struct file *file;

	snprintf(name, sizeof(name), "pages.%u.%u", disk, which);
	if (fs_open(fs, name, FILE_READ, &file, NULL) < 0)
		FAIL("no durable %s", name);
	for (uint64_t at = 0;
	     file_read(file, buf, sizeof(buf), at, NULL) == sizeof(buf);
	     at += sizeof(buf)) {
		if (page_decode(buf, &page, NULL) < 0 || page.generation < open)
			continue;
		for (uint64_t r = 0; r < PAGE_REGIONS; r++) {
			uint64_t region =
			    (uint64_t)page.index * PAGE_REGIONS + r;

			if (region < blockset_regions(w->claims[disk]))
				(void)blockset_add_words(w->claims[disk],
							 region, page.bits[r]);
		}
	}
	file_close(file);
}

/* What recovery would report as changed if the power went now and all that is
 * not synced were lost. */
static void claims_update(struct world *w)
{
	struct fs *fs = sim_durable_fs(w->sim, w->store);
	static struct intent list[INTENT_ENTRIES_MAX];
	uint32_t n = durable_intents(w, fs, list);

	for (uint32_t i = 0; i < WORLD_DISKS; i++) {
		blockset_free(w->claims[i]);
		w->claims[i] = blockset_new(w->bytes[i]);
		for (unsigned f = 0; f < PAGE_FILES; f++)
			claim_pages(w, fs, i, f);
	}
	for (uint32_t i = 0; i < n; i++) {
		struct blockset *set = w->claims[list[i].disk];
		uint64_t first = list[i].region * REGION_BLOCKS;

		(void)blockset_add(set, first,
				   MIN(REGION_BLOCKS,
				       blockset_blocks(set) - first));
	}
	fs->ops->free(fs);
	w->claims_ops = sim_ops(w->sim);
}

/* Then nothing is promised about it: what it was told by a life that gave way
 * may not be durable. */
static bool open_is_invalid(struct world *w, uint32_t disk)
{
	struct vm_disk_status status;

	return vm_disk_status(w->vm, disk, &status, NULL) == 0 &&
	       status.accuracy.accuracy == ACCURACY_INVALID;
}

/* The guest's request that IO is of; NULL: it is somebody else's. */
static struct world_request *request_of(struct world *w, const struct io *io)
{
	for (unsigned i = 0; i < WORLD_REQUESTS; i++)
		if (&w->requests[i].request.io == io)
			return &w->requests[i];
	return NULL;
}

static void check_order(struct world *w, uint32_t disk, uint64_t offset,
			uint64_t length)
{
	char reason[REASON_BYTES];

	if (!w->check_order || sim_dead(w->sim) || vm_latched(w->vm, reason) ||
	    open_is_invalid(w, disk))
		return;
	if (!w->claims[0] || w->claims_ops != sim_ops(w->sim) - 1)
		claims_update(w);
	w->claims_ops = sim_ops(w->sim);
	w->order_checks++;
	for (uint64_t b = offset / BLOCK_BYTES;
	     b < div_round_up(offset + length, BLOCK_BYTES); b++)
		if (!blockset_has(w->claims[disk], b))
			FAIL("block %llu of disk %u is written before its mark "
			     "is durable",
			     (unsigned long long)b, disk);
}

/* ---- the guest -------------------------------------------------------- */

static void history_add(struct history *h, uint32_t id, uint64_t epoch)
{
	if (h->count == h->room) {
		h->room = h->room ? h->room * 2 : 2;
		h->ids = realloc(h->ids, h->room * sizeof(*h->ids));
		h->epochs = realloc(h->epochs, h->room * sizeof(*h->epochs));
		if (!h->ids || !h->epochs)
			abort();
	}
	h->ids[h->count] = id;
	h->epochs[h->count++] = epoch;
}

static void remember(struct world *w, uint32_t disk, uint64_t sector,
		     uint32_t id, uint64_t epoch)
{
	history_add(&w->histories[disk][sector], id, epoch);
	w->touched[disk][sector / 8] = 1;
}

/* Is a cut on its way? */
static bool queues_differ(const struct world *w)
{
	uint64_t first = atomic_load(&w->queues[0].track->epoch.adopted);

	for (unsigned i = 1; i < WORLD_DISKS; i++)
		if (atomic_load(&w->queues[i].track->epoch.adopted) != first)
			return true;
	return false;
}

static void on_image_write(void *arg, const struct io *io)
{
	struct world *w = arg;
	struct volume_request *r = container_of(io, struct volume_request, io);
	struct world_request *wr =
	    container_of(r, struct world_request, request);
	uint32_t disk = r->volume->ordinal;
	uint64_t epoch = w->epoch_base + r->epoch;

	check_order(w, disk, io->offset, io->length);
	if (epoch < wr->after)
		FAIL("E2: write %u is of epoch %llu, and was issued when one "
		     "of epoch %llu was done",
		     wr->id, (unsigned long long)epoch,
		     (unsigned long long)wr->after);
	w->split_writes += queues_differ(w);
	if (epoch > w->epoch_top)
		w->epoch_top = epoch;
	for (uint64_t s = io->offset / 512; s < (io->offset + io->length) / 512;
	     s++)
		remember(w, disk, s, io->op == IO_WRITE ? wr->id : 0, epoch);
}

/* What [offset, offset + length) of a disk holds is what was written last. */
static void relearn_range(struct world *w, uint32_t disk, uint64_t offset,
			  uint64_t length, uint64_t epoch)
{
	uint8_t sector[512];
	uint32_t now;

	for (uint64_t s = offset / 512; s < (offset + length) / 512; s++) {
		struct history *h = &w->histories[disk][s];

		if (!h->count)
			continue;
		sim_image_peek(w->sim, image_names[disk], false, sector,
			       sizeof(sector), s * 512);
		memcpy(&now, sector, sizeof(now));
		if (now != h->ids[h->count - 1])
			remember(w, disk, s, now, epoch);
	}
}

/* A write that fails may have had any part of its effect. */
static void watch_done(struct io *io, int result)
{
	struct volume_request *r = container_of(io, struct volume_request, io);
	struct world_request *wr =
	    container_of(r, struct world_request, request);
	struct world *w = wr->world;

	if (result < 0 && io->op != IO_SYNC && io->op != IO_READ)
		relearn_range(w, r->volume->ordinal, io->offset, io->length,
			      w->epoch_base + r->epoch);
	wr->io_done(io, result);
}

static void watch_submit(struct ioq *ioq, struct io *io)
{
	struct world *w = container_of(ioq, struct world, watched);
	struct world_request *wr = request_of(w, io);

	if (wr) {
		wr->io_done = io->done;
		io->done = watch_done;
	}
	ioq_submit(w->ioq, io);
}

static bool is_write(enum volume_op op)
{
	return op == VOLUME_WRITE || op == VOLUME_ZERO || op == VOLUME_DISCARD;
}

/* P2 lets what was in flight at a death be reported: also what had its mark and
 * was not handed to the disk yet, as its blocks were being copied, or there was
 * no room in its log. */
static void note_asked(struct world *w, const struct world_request *wr)
{
	uint64_t epoch = w->epoch_base + atomic_load(&w->vm->epoch.current);
	const struct volume_request *r = &wr->request;
	uint64_t end = div_round_up(r->offset + r->length, BLOCK_BYTES);

	if (!(w->snapshots_made || w->logging) || !is_write(r->op))
		return;
	for (uint64_t b = r->offset / BLOCK_BYTES; b < end; b++)
		history_add(&w->asked[r->volume->ordinal][b], 0, epoch);
	w->epoch_top = MAX(w->epoch_top, epoch);
}

static void request_done(struct volume_request *request, int result)
{
	struct world_request *wr =
	    container_of(request, struct world_request, request);
	struct world *w = wr->world;

	wr->busy = false;
	if (sim_dead(w->sim))
		note_asked(w, wr);
	if (is_write(request->op))
		w->epoch_done =
		    MAX(w->epoch_done, w->epoch_base + request->epoch);
}

static void note_all_asked(struct world *w)
{
	for (unsigned i = 0; i < WORLD_REQUESTS; i++)
		if (w->requests[i].busy)
			note_asked(w, &w->requests[i]);
}

static struct world_request *idle_request(struct world *w)
{
	for (unsigned i = 0; i < WORLD_REQUESTS; i++)
		if (!w->requests[i].busy)
			return &w->requests[i];
	return NULL;
}

static void fill(struct world_request *wr, uint64_t bytes)
{
	for (uint64_t s = 0; s < bytes / 512; s++) {
		memset(wr->data + s * 512, (int)(wr->id * 37), 512);
		memcpy(wr->data + s * 512, &wr->id, sizeof(wr->id));
	}
}

/* Mostly near a few places, so that writes overlap and regions are reused. */
static uint64_t random_place(struct world *w, uint64_t bytes)
{
	uint64_t sectors = bytes / 512;

	if (w->narrow)
		return sim_random(w->sim, 16) * 512;
	if (sim_random(w->sim, 4) == 0)
		return sim_random(w->sim, sectors) * 512;
	return (sim_random(w->sim, 10) * (sectors / 10) +
		sim_random(w->sim, 64)) *
	       512;
}

static struct volume_request *begin_request(struct world *w,
					    struct world_request *wr)
{
	struct volume_request *r = &wr->request;

	memset(r, 0, sizeof(*r));
	wr->busy = true;
	wr->id = ++w->next_id;
	wr->after = w->epoch_done;
	r->done = request_done;
	return r;
}

bool world_submit(struct world *w, uint32_t disk, enum volume_op op,
		  uint64_t offset, uint64_t length)
{
	struct world_request *wr = idle_request(w);
	struct volume_request *r;

	if (!wr)
		return false;
	r = begin_request(w, wr);
	r->op = op;
	r->flags = w->submit_flags;
	r->offset = offset;
	r->length = length;
	if (op == VOLUME_WRITE) {
		r->data = wr->data;
		fill(wr, length);
	}
	volume_submit(&w->vm->volumes[disk], r);
	return true;
}

bool world_write(struct world *w)
{
	struct world_request *wr = idle_request(w);
	struct volume_request *r;
	uint32_t disk = (uint32_t)sim_random(w->sim, WORLD_DISKS);
	uint64_t most = KIB(16);

	if (!wr || !attached(w))
		return false;
	r = begin_request(w, wr);
	r->op = VOLUME_WRITE;
	switch (sim_random(w->sim, 12)) {
	case 0:
		r->op = VOLUME_ZERO;
		most = MIB(20);
		break;
	case 1:
		r->op = VOLUME_DISCARD;
		most = MIB(20);
		break;
	case 2:
		r->op = VOLUME_FLUSH;
		break;
	}
	if (r->op != VOLUME_FLUSH) {
		r->offset = random_place(w, w->bytes[disk]);
		r->length = (1 + sim_random(w->sim, most / 512)) * 512;
		if (most > KIB(16) && sim_random(w->sim, 3))
			r->length = KIB(4);
		if (w->narrow)
			r->length = 512;
		r->length = MIN(r->length, w->bytes[disk] - r->offset);
		r->flags = sim_random(w->sim, 8) == 0 ? VOLUME_FUA : 0;
	}
	if (r->op == VOLUME_WRITE) {
		r->data = wr->data;
		fill(wr, r->length);
	}
	volume_submit(&w->vm->volumes[disk], r);
	return true;
}

static void keep(struct world *w)
{
	keep_once(w, sim_random(w->sim, 6) == 0);
}

void world_step(struct world *w)
{
	switch (sim_random(w->sim, 8)) {
	case 0:
	case 1:
	case 2:
		(void)world_write(w);
		break;
	case 3:
	case 4:
	case 5:
		if (sim_ioq_pending(w->sim))
			sim_ioq_complete_random(w->sim);
		break;
	case 6:
		keep(w);
		break;
	case 7:
		vm_tick(w->queues[sim_random(w->sim, WORLD_DISKS)].track);
		if (w->logs)
			logs_tick(w->logs);
		break;
	}
	run_some_tasks(w);
}

static bool busy(const struct world *w)
{
	for (unsigned i = 0; i < WORLD_REQUESTS; i++)
		if (w->requests[i].busy)
			return true;
	return false;
}

void world_settle(struct world *w)
{
	for (unsigned n = 0; busy(w) && !sim_dead(w->sim); n++) {
		world_run_tasks(w);
		turn(w);
		sim_ioq_complete_all(w->sim);
		keep(w);
		if (n > 10000)
			FAIL("requests in flight do not end");
	}
	world_run_tasks(w);
}

static void on_op(void *arg, const struct sim_event *event)
{
	struct world *w = arg;

	if (!attached(w) || sim_dead(w->sim))
		return;
	if (sim_random(w->sim, 100) < w->guest_rate)
		world_step(w);
}

/* ---- life ------------------------------------------------------------- */

struct world *world_new(uint64_t seed, uint32_t hot_regions)
{
	struct world *w = calloc(1, sizeof(*w));

	if (!w)
		abort();
	w->seed = seed;
	w->sim = sim_new(seed);
	forget_tasks(w);
	w->check_order = true;
	for (uint32_t i = 0; i < WORLD_DISKS; i++) {
		w->queues[i].world = w;
		w->bytes[i] = image_bytes[i];
		sim_image_new(w->sim, image_names[i], w->bytes[i]);
		w->geometry[i] = (struct image_geometry){.bytes = w->bytes[i],
							 .alignment = 512,
							 .can_discard = true};
		w->histories[i] =
		    calloc(w->bytes[i] / 512, sizeof(struct history));
		w->touched[i] = calloc(w->bytes[i] / 4096 + 1, 1);
		w->asked[i] =
		    calloc(w->bytes[i] / 4096 + 1, sizeof(*w->asked[i]));
	}
	for (unsigned i = 0; i < WORLD_REQUESTS; i++) {
		w->requests[i].world = w;
		w->requests[i].data = aligned_alloc(4096, KIB(16));
	}
	w->points[0].stamp = hot_regions; /* until world_define() */
	return w;
}

static void histories_free(struct history *h, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		free(h[i].ids);
		free(h[i].epochs);
	}
	free(h);
}

struct world *world_free(struct world *w)
{
	world_stop(w);
	for (uint32_t i = 0; i < WORLD_DISKS; i++) {
		histories_free(w->histories[i], w->bytes[i] / 512);
		free(w->touched[i]);
		histories_free(w->asked[i], w->bytes[i] / 4096 + 1);
		blockset_free(w->claims[i]);
	}
	for (unsigned i = 0; i < WORLD_REQUESTS; i++)
		free(w->requests[i].data);
	sim_free(w->sim);
	free(w);
	return NULL;
}

static void open_handles(struct world *w)
{
	struct err err = {0};

	w->store = sim_fs(w->sim, "store", false);
	w->memory = sim_fs(w->sim, "memory", true);
	w->outside = sim_fs(w->sim, "outside", false);
	w->fallback = NULL;
	if (fs_open(w->outside, "tombstone", FILE_WRITE, &w->fallback, &err) <
	    0) {
		(void)tombstone_create(w->outside, &err);
		(void)w->outside->ops->sync_dir(w->outside, &err);
		(void)fs_open(w->outside, "tombstone", FILE_WRITE, &w->fallback,
			      &err);
	}
	for (uint32_t i = 0; i < WORLD_DISKS; i++)
		w->images[i] = sim_image_open(w->sim, image_names[i]);
	w->ioq = sim_ioq_new(w->sim);
}

static struct vm_env environment(struct world *w)
{
	return (struct vm_env){
	    .store = w->store,
	    .memory = w->memory,
	    .fallback = w->fallback,
	    .boot = sim_boot_id(w->sim),
	    .boot_time_ns = sim_boot_time_ns(w->sim),
	    .machine = {{7}},
	    .arg = w,
	    .now_ns = now_ns,
	    .stamp = stamp,
	    .mark = mark,
	    .pump = pump,
	};
}

int world_define(struct world *w, struct err *err)
{
	struct vm_disk_definition disks[WORLD_DISKS] = {0};
	struct vm_definition definition = {
	    .uuid = {{1, 2, 3}},
	    .hot_regions = (uint32_t)w->points[0].stamp,
	    .count = WORLD_DISKS,
	    .disks = disks,
	};
	struct vm_env env;
	int r;

	open_handles(w);
	env = environment(w);
	for (uint32_t i = 0; i < WORLD_DISKS; i++) {
		snprintf(disks[i].id, sizeof(disks[i].id), "disk%u", i);
		snprintf(disks[i].path, sizeof(disks[i].path), "/img/%u", i);
		disks[i].bytes = w->bytes[i];
	}
	r = vm_define(&env, &definition, err);
	world_stop(w);
	return r;
}

/* What a failed sync or a power cut took away is not what was written last:
 * from here on the truth is what the images hold. */
static void relearn(struct world *w)
{
	for (uint32_t d = 0; d < WORLD_DISKS; d++)
		for (uint64_t b = 0; b < w->bytes[d] / 4096 + 1; b++)
			if (w->touched[d][b])
				relearn_range(w, d, b * 4096,
					      MIN(4096, w->bytes[d] - b * 4096),
					      w->epoch_top);
}

int world_open(struct world *w, struct err *err)
{
	struct logs_host host = {.post = post, .arg = &w->queues[0]};
	struct vm_env env;
	int r;

	open_handles(w);
	host.ioq = w->ioq;
	env = environment(w);
	w->powerless |=
	    !guid_is_zero(&w->boot) && !guid_equal(&w->boot, &env.boot);
	w->boot = env.boot;
	r = vm_open(&env, &w->vm, err);
	/* Files here have no holes, as far as anybody can tell. */
	if (r == 0 && w->logging && !vm_log_limit(w->vm))
		r = vm_set_log_limit(w->vm, UINT64_C(1) << 40, err);
	if (r == 0 && w->logging)
		r = logs_new(w->vm, &host, &w->logs, err);
	return r < 0 ? r : snapshots_new(w->vm, &w->snapshots, err);
}

/* As the worker does before it attaches: a predecessor's sync may have failed,
 * and a later one succeeds for nothing (D4). */
static int drop_caches(struct world *w, struct err *err)
{
	for (uint32_t i = 0; i < WORLD_DISKS; i++) {
		int r = file_sync(w->images[i], err);

		if (r < 0)
			return r;
		sim_image_drop_cache(w->sim, image_names[i]);
	}
	return 0;
}

int world_start(struct world *w, unsigned flags, struct err *err)
{
	static const struct ioq_ops watch_ops = {watch_submit};
	int r = world_open(w, err);

	if (r == 0)
		r = drop_caches(w, err);
	if (r == 0)
		r = vm_attach(w->vm, w->images, w->geometry, flags, err);
	if (r < 0)
		return r;
	w->mending = true;
	if (w->logs)
		r = logs_attach(w->logs, err);
	w->mending = false;
	if (r < 0)
		return r;
	w->epoch_base = w->epoch_top;
	w->claims_ops = UINT64_MAX; /* they were of an earlier life */
	relearn(w);
	w->watched.ops = &watch_ops;
	for (uint32_t i = 0; i < WORLD_DISKS; i++) {
		struct world_queue *queue = &w->queues[i];

		queue->track = vm_queue_new(w->vm, &w->watched, post, queue);
		(void)vm_volume(w->vm, i, queue->track);
	}
	r = snapshots_attach(w->snapshots, err);
	if (r < 0)
		return r;
	sim_on_image_write(w->sim, on_image_write, w);
	sim_on_op(w->sim, on_op, w);
	return 0;
}

static void forget_queues(struct world *w)
{
	for (unsigned i = 0; i < WORLD_DISKS; i++)
		w->queues[i].track = NULL;
}

/* After a death: what is in flight ends, with errors, so that nothing is left
 * that would need memory of ours later. */
static void end_all(struct world *w)
{
	static const struct err dead = {.code = -RP_EDEAD, .text = "dead"};

	for (struct part *p = w->logs ? w->logs->parts : NULL; p; p = p->next)
		logger_give_up(w->logs, p, &dead);
	do {
		sim_ioq_complete_all(w->sim);
		world_run_tasks(w);
		turn(w);
	} while (sim_ioq_pending(w->sim));
}

/* What a log that was dropped has under way ends later. */
static void detach_logs(struct world *w)
{
	if (w->logs)
		logs_detach(w->logs);
	while (sim_ioq_pending(w->sim))
		sim_ioq_complete_all(w->sim);
}

int world_detach(struct world *w, struct err *err)
{
	int r;

	world_settle(w);
	if (sim_dead(w->sim)) {
		note_all_asked(w);
		end_all(w);
	}
	forget_queues(w);
	snapshots_detach(w->snapshots);
	detach_logs(w);
	r = vm_detach(w->vm, err);
	return r;
}

void world_stop(struct world *w)
{
	struct err err = {0};

	sim_on_op(w->sim, NULL, NULL);
	sim_on_image_write(w->sim, NULL, NULL);
	forget_queues(w);
	if (w->vm) {
		if (vm_attached(w->vm)) {
			if (!sim_dead(w->sim))
				FAIL("stopped alive");
			note_all_asked(w);
			end_all(w);
			detach_logs(w);
			(void)vm_detach(w->vm, &err);
		}
		w->reading = snapshot_close(w->reading);
		if (w->snapshots)
			snapshots_detach(w->snapshots);
		w->snapshots = snapshots_free(w->snapshots);
		w->logs = logs_free(w->logs);
		w->vm = vm_close(w->vm);
	}
	for (uint32_t i = 0; i < WORLD_DISKS; i++) {
		file_close(w->images[i]);
		w->images[i] = NULL;
	}
	file_close(w->fallback);
	w->fallback = NULL;
	if (w->store) {
		w->store->ops->free(w->store);
		w->memory->ops->free(w->memory);
		w->outside->ops->free(w->outside);
	}
	w->store = w->memory = w->outside = NULL;
	forget_tasks(w);
	for (unsigned i = 0; i < WORLD_REQUESTS; i++)
		w->requests[i].busy = false;
}

/* ---- control ---------------------------------------------------------- */

static void check_points(struct world *w);

static int find_new(void *arg, const struct point_row *row)
{
	struct world *w = arg;

	for (unsigned i = 0; i < w->point_count; i++)
		if (guid_equal(&w->points[i].id, &row->id))
			return 0;
	w->points[w->point_count++] = (struct world_point){.id = row->id};
	return 1;
}

/* A write that is before a point can be lost by a power cut no more, or the
 * point's content is not known. */
static void check_nothing_before(struct world *w, uint64_t stamp)
{
	for (unsigned i = 0; i < sim_ioq_pending(w->sim); i++) {
		struct io *io = sim_ioq_peek(w->sim, i);
		struct world_request *wr = request_of(w, io);

		if (wr && io->op != IO_READ && io->op != IO_SYNC &&
		    w->epoch_base + wr->request.epoch <= stamp)
			FAIL("a write of epoch %llu is in flight, and the "
			     "point is of %llu",
			     (unsigned long long)(w->epoch_base +
						  wr->request.epoch),
			     (unsigned long long)stamp);
	}
}

static int make_point(struct world *w, enum point_type type, struct err *err)
{
	struct vm_point_request request = {.type = type,
					   .consistency = CONSISTENCY_CRASH,
					   .timeout_ms = 600000};
	struct point_row row;
	uint64_t before = w->epoch_base + atomic_load(&w->vm->epoch.current);
	bool broken = w->vm->broken;
	int r;

	if (w->point_count + 2 >= WORLD_POINTS_MAX)
		return 0;
	for (unsigned i = 0; !broken && i < w->point_count; i++)
		if (!w->points[i].acked && !w->points[i].destroyed)
			check_points(w); /* before there are two of them */
	/* The cut, if one is made, puts all epochs up to `before` before. */
	w->points[w->point_count] =
	    (struct world_point){.stamp = before,
				 .bytes = {w->bytes[0], w->bytes[1]}};
	w->points[w->point_count].log = type == POINT_LOG;
	r = type == POINT_LOG ? logs_create(w->logs, &request, &row, err)
			      : vm_point_create(w->vm, &request, &row, err);
	if (r == 0) {
		if (!sim_dead(w->sim))
			check_nothing_before(w, before);
		w->points[w->point_count].id = row.id;
		w->points[w->point_count++].acked = true;
	} else if (sim_dead(w->sim) || (w->vm->broken && !broken)) {
		/* It may or may not be there; if so, it has this stamp.  Its
		 * id is learnt after recovery. */
		w->point_count++;
	}
	if (w->epoch_base + atomic_load(&w->vm->epoch.current) > w->epoch_top)
		w->epoch_top =
		    w->epoch_base + atomic_load(&w->vm->epoch.current);
	return r;
}

/* A point, or snapshot, that is there, with an index not below FROM; NULL:
 * none. */
int world_point(struct world *w, struct err *err)
{
	return make_point(w, POINT_RCT, err);
}

int world_log_point(struct world *w, struct err *err)
{
	return make_point(w, POINT_LOG, err);
}

static struct world_point *pick(struct world *w, unsigned from, bool snapshot)
{
	unsigned n = 0, index, i;

	for (i = from; i < w->point_count; i++)
		n += w->points[i].acked && !w->points[i].destroyed &&
		     w->points[i].snapshot == snapshot;
	if (n == 0)
		return NULL;
	index = (unsigned)sim_random(w->sim, n);
	for (i = from;; i++)
		if (w->points[i].acked && !w->points[i].destroyed &&
		    w->points[i].snapshot == snapshot && index-- == 0)
			return &w->points[i];
}

/* After a change that failed with R: was it done, or does nobody know? */
static void changed(struct world *w, struct world_point *p, bool broken, int r)
{
	if (r == 0)
		p->destroyed = true;
	else if (sim_dead(w->sim) || (w->vm->broken && !broken))
		p->acked = false; /* there or not */
}

int world_destroy(struct world *w, struct err *err)
{
	struct world_point *p = pick(w, 0, false);
	bool broken = w->vm->broken;
	int r;

	if (!p)
		return 0;
	r = w->logs ? logs_destroy(w->logs, &p->id, err)
		    : vm_point_destroy(w->vm, &p->id, err);
	changed(w, p, broken, r);
	return r;
}

/* ---- snapshots -------------------------------------------------------- */

int world_snapshot(struct world *w, struct err *err)
{
	struct snapshot_request request = {.id = guid_random(),
					   .consistency = CONSISTENCY_CRASH,
					   .timeout_ms = 600000};
	struct snapshot_info info;
	uint64_t before = w->epoch_base + atomic_load(&w->vm->epoch.current);
	bool broken = w->vm->broken;
	struct world_point *p = &w->points[w->point_count];
	int r;

	if (w->point_count + 2 >= WORLD_POINTS_MAX)
		return 0;
	*p = (struct world_point){.id = request.id,
				  .snapshot = true,
				  .stamp = before,
				  .bytes = {w->bytes[0], w->bytes[1]}};
	w->snapshots_made = true;
	r = snapshot_create(w->snapshots, &request, &info, err);
	if (r == 0) {
		if (!sim_dead(w->sim))
			check_nothing_before(w, before);
		p->acked = true;
		w->point_count++;
	} else if (sim_dead(w->sim) || (w->vm->broken && !broken)) {
		w->point_count++; /* there or not */
	}
	w->epoch_top = MAX(w->epoch_top,
			   w->epoch_base + atomic_load(&w->vm->epoch.current));
	return r;
}

static bool is_valid(struct world *w, const struct world_point *p);

static int is_one(void *arg, const struct point_row *row)
{
	return 1;
}

bool world_has_snapshots(struct world *w)
{
	return vm_snapshots(w->vm, is_one, NULL, NULL) == 1;
}

int world_convert(struct world *w, struct err *err)
{
	struct world_point *p = pick(w, 0, true);
	bool broken = w->vm->broken;
	struct point_row row;
	int r;

	if (!p)
		return 0;
	r = snapshot_convert(w->snapshots, &p->id, &row, err);
	if (r == -RP_ESTATE && !broken && !is_valid(w, p))
		return 0;
	if (r == 0)
		p->snapshot = false;
	else if (sim_dead(w->sim) || (w->vm->broken && !broken))
		p->converting = true;
	return r;
}

int world_drop(struct world *w, struct err *err)
{
	struct world_point *p = pick(w, 0, true);
	bool broken = w->vm->broken;
	int r;

	if (!p)
		return 0;
	r = snapshot_drop(w->snapshots, &p->id, err);
	changed(w, p, broken, r);
	return r;
}

/* ---- the judgement ---------------------------------------------------- */

/* The number that the sector held when epoch STAMP had ended. */
static uint32_t id_at(const struct history *h, uint64_t stamp)
{
	uint32_t id = 0;

	for (uint32_t i = 0; i < h->count && h->epochs[i] <= stamp; i++)
		id = h->ids[i];
	return id;
}

static bool written_between(const struct history *h, uint64_t after,
			    uint64_t upto)
{
	for (uint32_t i = 0; i < h->count; i++)
		if (h->epochs[i] > after && h->epochs[i] <= upto)
			return true;
	return false;
}

/* Is there a reason why the answer is no good? */
static bool doubtful(const struct world *w, const struct world_point *p,
		     const struct world_point *q, uint32_t disk)
{
	for (unsigned i = 0; i < w->doubt_count; i++)
		if (w->doubts[i].disk == disk &&
		    p->stamp < w->doubts[i].epoch &&
		    (!q || q->stamp >= w->doubts[i].epoch))
			return true;
	return false;
}

void world_doubt(struct world *w, uint32_t disk)
{
	struct world_doubt *d = &w->doubts[w->doubt_count];
	uint64_t epoch = w->epoch_top;

	if (w->vm && vm_attached(w->vm))
		epoch = MAX(epoch,
			    w->epoch_base + atomic_load(&w->vm->epoch.current));
	if (w->doubt_count && d[-1].disk == disk && d[-1].epoch == epoch)
		return;
	if (w->doubt_count == WORLD_DOUBTS_MAX)
		FAIL("too many doubts");
	*d = (struct world_doubt){disk, epoch};
	w->doubt_count++;
	w->epoch_top = MAX(w->epoch_top, epoch);
}

/* P1 for a block that is not reported and was written at some time. */
static void check_unreported(struct world *w, const struct world_point *p,
			     const struct world_point *q, uint32_t disk,
			     uint64_t b, uint64_t bytes, bool written)
{
	uint8_t block[BLOCK_BYTES];

	if (q && written)
		FAIL("P1: block %llu of disk %u was written between "
		     "two points and is not reported",
		     (unsigned long long)b, disk);
	if (q)
		return;
	sim_image_peek(w->sim, image_names[disk], false, block, bytes,
		       b * BLOCK_BYTES);
	for (uint64_t s = 0; s < bytes / 512; s++) {
		const struct history *h = &w->histories[disk][b * 8 + s];
		uint32_t now;

		memcpy(&now, block + s * 512, sizeof(now));
		if (now != id_at(h, p->stamp))
			FAIL("P1: block %llu of disk %u sector %llu "
			     "holds write %u, held %u at the point, "
			     "and is not reported",
			     (unsigned long long)b, disk, (unsigned long long)s,
			     now, id_at(h, p->stamp));
	}
}

/* P2: is a write of the block under way, perhaps marked and not submitted? */
static bool is_asked(const struct world *w, uint32_t disk, uint64_t b)
{
	for (unsigned i = 0; i < WORLD_REQUESTS; i++) {
		const struct volume_request *r = &w->requests[i].request;

		if (w->requests[i].busy && is_write(r->op) &&
		    r->volume->ordinal == disk &&
		    r->offset / BLOCK_BYTES <= b &&
		    b * BLOCK_BYTES < r->offset + r->length)
			return true;
	}
	return false;
}

static bool asked_between(const struct world *w, const struct world_point *p,
			  const struct world_point *q, uint32_t disk,
			  uint64_t b)
{
	return (!q && (w->snapshots_made || w->logging) &&
		is_asked(w, disk, b)) ||
	       written_between(&w->asked[disk][b], p->stamp,
			       q ? q->stamp : UINT64_MAX);
}

static void check_disk(struct world *w, const struct world_point *p,
		       const struct world_point *q, uint32_t disk)
{
	struct vm_changes changes;
	struct err err = {0};
	uint64_t upto = q ? q->stamp : UINT64_MAX, over = 0, blocks;
	uint64_t bytes = q ? q->bytes[disk] : w->bytes[disk];
	int r =
	    vm_changes(w->vm, disk, &p->id, q ? &q->id : NULL, &changes, &err);

	if (r < 0 && sim_dead(w->sim))
		return;
	if (r < 0)
		FAIL("changes: %s", err.text);
	if (changes.bytes != bytes)
		FAIL("an answer about %llu bytes, not %llu",
		     (unsigned long long)changes.bytes,
		     (unsigned long long)bytes);
	blocks = div_round_up(bytes, BLOCK_BYTES);
	for (uint64_t b = 0; b < blocks; b++) {
		uint64_t n = MIN(BLOCK_BYTES, bytes - b * BLOCK_BYTES);
		bool reported = blockset_has(changes.set, b);
		bool written = bytes > p->bytes[disk] &&
			       (b + 1) * BLOCK_BYTES > p->bytes[disk];

		if (written && !reported)
			FAIL("P1: block %llu of disk %u is new and not "
			     "reported",
			     (unsigned long long)b, disk);
		if (!w->touched[disk][b]) {
			over += reported && !written &&
				!asked_between(w, p, q, disk, b);
			continue;
		}
		for (uint64_t s = 0; s < n / 512 && !written; s++)
			written =
			    written_between(&w->histories[disk][b * 8 + s],
					    p->stamp, upto);
		over +=
		    reported && !written && !asked_between(w, p, q, disk, b);
		if (!reported)
			check_unreported(w, p, q, disk, b, n, written);
	}
	if (changes.accuracy.accuracy == ACCURACY_INVALID &&
	    !doubtful(w, p, q, disk))
		FAIL("invalid without a cause: %s", changes.accuracy.reason);
	if (changes.accuracy.accuracy <= ACCURACY_WIDENED &&
	    over * BLOCK_BYTES > changes.accuracy.widened_bytes)
		FAIL("P2: %llu blocks of disk %u are reported that nobody "
		     "wrote; widened by %llu bytes, %s",
		     (unsigned long long)over, disk,
		     (unsigned long long)changes.accuracy.widened_bytes,
		     accuracy_name(changes.accuracy.accuracy));
	blockset_free(changes.set);
}

static bool exists(struct world *w, const struct world_point *p)
{
	struct point_row row;

	return (p->snapshot ? vm_snapshot_find(w->vm, &p->id, &row, NULL)
			    : vm_point_find(w->vm, &p->id, &row, NULL)) == 0;
}

/* A conversion was cut short: it is one or the other, and not both. */
static void settle_conversion(struct world *w, struct world_point *p)
{
	struct world_point other = *p;

	if (!p->converting)
		return;
	other.snapshot = !p->snapshot;
	if (exists(w, p) && exists(w, &other))
		FAIL("P3: a snapshot is a point as well");
	if (exists(w, &other))
		p->snapshot = other.snapshot;
	p->converting = false;
}

/* The store may not have let its row go. */
static void check_ended(struct world *w, struct world_point *p)
{
	struct snapshot_info info;

	p->destroyed = !exists(w, p);
	if (p->destroyed)
		return;
	if (!w->scratch_fails ||
	    snapshot_find(w->snapshots, &p->id, &info, NULL) < 0 ||
	    info.state == SNAPSHOT_VALID)
		FAIL("N7: a snapshot survived the power cut");
	p->acked = true;
}

/* A snapshot without its files has ended; where the store did not let its row
 * go it may do so at any later start. */
static void check_going(struct world *w, struct world_point *p)
{
	struct snapshot_info info;

	if (p->may_go && !exists(w, p))
		p->destroyed = true;
	else if (w->scratch_fails && exists(w, p) &&
		 snapshot_find(w->snapshots, &p->id, &info, NULL) == 0)
		p->may_go = info.state == SNAPSHOT_INVALID;
}

/* P3, and gives the points whose fate was open their fate. */
static void check_points(struct world *w)
{
	unsigned known = w->point_count;

	for (unsigned i = 0; i < known; i++) {
		struct world_point *p = &w->points[i];

		settle_conversion(w, p);
		if (p->snapshot && w->powerless)
			check_ended(w, p);
		if (p->snapshot)
			check_going(w, p);
		if (p->destroyed && exists(w, p))
			FAIL("P3: a destroyed point is back");
		if (p->destroyed)
			continue;
		if (p->acked && !exists(w, p))
			FAIL("P3: %s %u of %u is gone",
			     p->snapshot ? "snapshot" : "point", i,
			     w->point_count);
		if (p->acked)
			continue;
		/* a snapshot, or a destroy was cut short */
		if (!guid_is_zero(&p->id)) {
			p->acked = exists(w, p);
			p->destroyed = !p->acked;
			continue;
		}
		/* A create was cut short: the one unknown point is it. */
		if (vm_points(w->vm, find_new, w, NULL) == 1) {
			p->id = w->points[--w->point_count].id;
			p->acked = true;
		} else {
			p->destroyed = true;
			p->id = guid_random();
		}
	}
	if (vm_points(w->vm, find_new, w, NULL) != 0 ||
	    vm_snapshots(w->vm, find_new, w, NULL) != 0)
		FAIL("P3: there is a point that nobody made");
	w->powerless = false;
}

/* ---- what snapshots hold ---------------------------------------------- */

static void read_over(struct volume_request *request, int result)
{
	request->result = result;
	request->held = request; /* over */
}

/* Reads, while all else goes on; the result. */
static int read_through(struct world *w, struct snapshot_disk *disk,
			uint64_t offset, uint64_t length, void *buf)
{
	/* Outlives a death. */
	static struct volume_request request;

	request = (struct volume_request){.op = VOLUME_READ,
					  .offset = offset,
					  .length = length,
					  .data = buf,
					  .done = read_over};
	snapshot_read(disk, &request);
	for (unsigned n = 0; !request.held && !sim_dead(w->sim); n++) {
		if (sim_random(w->sim, 100) < w->guest_rate)
			world_step(w);
		else if (sim_ioq_pending(w->sim))
			sim_ioq_complete_random(w->sim);
		world_run_tasks(w);
		if (n > 100000)
			FAIL("a snapshot's read does not end");
	}
	w->snapshot_reads++;
	return request.held ? request.result : -RP_EDEAD;
}

static void compare_read(struct world *w, const struct world_point *p,
			 uint32_t disk, uint64_t offset, uint64_t length,
			 const uint8_t *buf)
{
	for (uint64_t s = 0; s < length / 512; s++) {
		const struct history *h = &w->histories[disk][offset / 512 + s];
		uint32_t now;

		memcpy(&now, buf + s * 512, sizeof(now));
		if (now != id_at(h, p->stamp))
			FAIL("N4: sector %llu of disk %u of a snapshot is that "
			     "of write %u, not %u",
			     (unsigned long long)(offset / 512 + s), disk, now,
			     id_at(h, p->stamp));
	}
}

static bool is_valid(struct world *w, const struct world_point *p)
{
	struct snapshot_info info;
	struct err err = {0};

	if (snapshot_find(w->snapshots, &p->id, &info, &err) < 0)
		FAIL("N: %s", err.text);
	if (info.state != SNAPSHOT_VALID && !w->scratch_fails &&
	    !doubtful(w, p, NULL, 0) && !doubtful(w, p, NULL, 1))
		FAIL("N: invalid without a cause: %s", info.reason);
	return info.state == SNAPSHOT_VALID;
}

#define READ_BYTES KIB(64)

/* LENGTH bytes from OFFSET on, or what the disk had of them. */
static bool check_read(struct world *w, const struct world_point *p,
		       struct snapshot_disk *handle, uint32_t disk,
		       uint64_t offset, uint64_t length)
{
	static uint8_t buf[READ_BYTES] __attribute__((aligned(4096)));
	int r;

	length = MIN(length, p->bytes[disk] - offset);
	r = read_through(w, handle, offset, length, buf);
	if (sim_dead(w->sim))
		return false;
	if (r == 0)
		compare_read(w, p, disk, offset, length, buf);
	else if (is_valid(w, p) && !w->scratch_fails)
		FAIL("N: a valid snapshot cannot be read: %d", r);
	return r == 0;
}

/* All that was ever written, or a few sectors here and there. */
static void read_disk(struct world *w, const struct world_point *p,
		      uint32_t disk, bool all)
{
	const uint64_t step = READ_BYTES / BLOCK_BYTES;
	struct snapshot_disk *handle;
	struct err err = {0};
	bool goes_on = true;

	if (snapshot_open(w->snapshots, &p->id, disk, &handle, &err) < 0)
		FAIL("N: %s", err.text);
	for (unsigned i = 0; goes_on && i < 4; i++)
		goes_on = check_read(w, p, handle, disk,
				     random_place(w, p->bytes[disk]),
				     512 + sim_random(w->sim, 100) * 512);
	for (uint64_t b = 0; all && goes_on && b < p->bytes[disk] / BLOCK_BYTES;
	     b++)
		if (w->touched[disk][b]) {
			goes_on = check_read(w, p, handle, disk,
					     b * BLOCK_BYTES, READ_BYTES);
			b += step - 1;
		}
	if (sim_dead(w->sim)) /* what is in flight needs it */
		w->reading = handle;
	else
		snapshot_close(handle);
}

void world_read_snapshot(struct world *w, bool all)
{
	const struct world_point *p = pick(w, 0, true);

	for (uint32_t d = 0; p && d < WORLD_DISKS && !sim_dead(w->sim); d++)
		read_disk(w, p, d, all);
}

static void check_snapshots(struct world *w)
{
	for (unsigned i = 0; i < w->point_count; i++) {
		const struct world_point *p = &w->points[i];

		if (!p->snapshot || p->destroyed || !is_valid(w, p) ||
		    !vm_attached(w->vm))
			continue;
		for (uint32_t d = 0; d < WORLD_DISKS && !sim_dead(w->sim); d++)
			read_disk(w, p, d, true);
	}
}

static void on_finding(void *arg, const struct vm_finding *finding)
{
	struct world *w = arg;

	FAIL("check: %s: %s", finding->where, finding->message);
}

/* ---- what logs hold --------------------------------------------------- */

#define SECTORS(bytes) ((bytes) / SECTOR_BYTES)

/* In the order of a log that is not closed, as recovery reads it. */
static void apply_log(struct world *w, uint32_t disk, const struct guid *origin,
		      uint32_t *ids)
{
	uint8_t buf[SIDECAR_RECORD_BYTES], sector[SECTOR_BYTES];
	struct sidecar_record record;
	struct log_files f;
	struct err err = {0};

	if (log_files_open(w->store, &vm_system(w->vm)->store, origin, disk, &f,
			   &err) < 0)
		FAIL("L: %s", err.text);
	for (uint64_t n = 0;
	     file_read(f.side, buf, sizeof(buf), sidecar_offset(n), NULL) ==
		 sizeof(buf) &&
	     sidecar_record_decode(buf, &f.head, n, &record, NULL) == 0;
	     n++) {
		if (record.kind != SIDECAR_WRITE &&
		    record.kind != SIDECAR_ZEROS)
			continue;
		for (uint64_t s = 0; s < SECTORS(record.length); s++) {
			uint32_t id = 0;

			if (record.kind == SIDECAR_WRITE) {
				(void)file_read(f.data, sector, sizeof(sector),
						record.at + s * SECTOR_BYTES,
						NULL);
				memcpy(&id, sector, sizeof(id));
			}
			ids[SECTORS(record.offset) + s] = id;
		}
	}
	log_files_close(&f);
}

struct log_check {
	struct world *w;
	uint32_t disk;
	const struct world_point *point;
	uint32_t *ids;
	bool closed;
};

/* Any reader has to find all of it. */
static void check_end(struct world *w, uint32_t disk, const struct guid *origin)
{
	struct log_service service = {.store = w->store};
	struct err err = {0};
	bool ends = false;

	if (stream_ends(&service, &vm_system(w->vm)->store, origin, disk, &ends,
			&err) < 0 ||
	    !ends)
		FAIL("L: a log of disk %u before the newest point's has no end "
		     "%s",
		     disk, err.text);
}

static int apply_part(void *arg, const struct log_part_row *row)
{
	struct log_check *check = arg;

	if (!guid_equal(&row->point, &check->point->id))
		return 0;
	if (check->closed)
		check_end(check->w, check->disk, &row->origin);
	apply_log(check->w, check->disk, &row->origin, check->ids);
	return 0;
}

/* The next one that is log-based, or NULL. */
static const struct world_point *next_log(const struct world *w, unsigned i)
{
	while (++i < w->point_count)
		if (w->points[i].log && !w->points[i].destroyed)
			return &w->points[i];
	return NULL;
}

static void check_log(struct world *w, unsigned index, uint32_t disk)
{
	const struct world_point *p = &w->points[index],
				 *q = next_log(w, index);
	uint64_t sectors = SECTORS(w->bytes[disk]);
	uint32_t *ids = calloc(sectors, sizeof(*ids));
	struct log_check check = {w, disk, p, ids, q != NULL};

	if (!ids)
		abort();
	for (uint64_t s = 0; s < sectors; s++)
		if (w->touched[disk][s / 8])
			ids[s] = id_at(&w->histories[disk][s], p->stamp);
	if (vm_log_parts(w->vm, apply_part, &check, NULL) < 0)
		FAIL("L: no rows");
	for (uint64_t s = 0; s < sectors; s++) {
		uint32_t is = 0;

		if (w->touched[disk][s / 8])
			is = id_at(&w->histories[disk][s],
				   q ? q->stamp : UINT64_MAX);
		if (ids[s] != is)
			FAIL("L: sector %llu of disk %u holds %u %s, and the "
			     "log of point %u says %u",
			     (unsigned long long)s, disk, is,
			     q ? "at the next log-based point" : "now", index,
			     ids[s]);
	}
	free(ids);
	w->logs_checked++;
}

/* What a log holds back until the next tick is in its files then; or it was
 * given up, and the catalogue says so. */
static void write_logs(struct world *w)
{
	logs_tick(w->logs);
	while (sim_ioq_pending(w->sim))
		sim_ioq_complete_all(w->sim);
	(void)logs_keep(w->logs);
}

/* With nothing in flight. */
static void check_logs(struct world *w)
{
	char reason[REASON_BYTES];

	if (w->logs)
		write_logs(w);
	for (unsigned i = 0; w->logs && i < w->point_count; i++) {
		if (!w->points[i].log || w->points[i].destroyed)
			continue;
		if (vm_log_lost(w->vm, &w->points[i].id, reason)) {
			if (!w->logs_fail)
				FAIL("L: point %u has no log: %s", i, reason);
			w->logs_lost++;
			continue;
		}
		for (uint32_t d = 0; d < WORLD_DISKS; d++)
			check_log(w, i, d);
	}
}

void world_check(struct world *w)
{
	uint64_t bytes;

	check_points(w);
	check_snapshots(w);
	check_logs(w);
	for (unsigned i = 0; i < w->point_count; i++) {
		if (w->points[i].destroyed)
			continue;
		for (uint32_t d = 0; d < WORLD_DISKS; d++)
			check_disk(w, &w->points[i], NULL, d);
		for (unsigned k = i + 1; k < w->point_count; k++)
			for (uint32_t d = 0;
			     !w->points[k].destroyed && d < WORLD_DISKS; d++)
				check_disk(w, &w->points[i], &w->points[k], d);
	}
	if (vm_check(w->vm, on_finding, w, &bytes, NULL) < 0)
		FAIL("check failed");
}

void world_ask(struct world *w)
{
	const struct world_point *p = pick(w, 0, false), *q = NULL;
	unsigned at;

	if (!p)
		return;
	at = (unsigned)(p - w->points);
	if (!vm_attached(w->vm) || sim_random(w->sim, 2))
		q = pick(w, at, sim_random(w->sim, 2));
	if (!q && !vm_attached(w->vm))
		q = p;
	check_disk(w, p, q, (uint32_t)sim_random(w->sim, WORLD_DISKS));
}

/* ---- others ----------------------------------------------------------- */

void world_poke(struct world *w, uint32_t disk)
{
	uint64_t sectors = 1 + sim_random(w->sim, 32);
	uint64_t at = random_place(w, w->bytes[disk] - KIB(16)) / 512;
	uint32_t id = ++w->next_id;
	uint8_t sector[512] = {0};

	memcpy(sector, &id, sizeof(id));
	for (uint64_t s = at; s < at + sectors; s++) {
		sim_image_poke(w->sim, image_names[disk], sector,
			       sizeof(sector), s * 512);
		remember(w, disk, s, id, w->epoch_top);
	}
	world_doubt(w, disk);
}

static void *grown(void *old, uint64_t was, uint64_t is, uint64_t size)
{
	char *p = realloc(old, is * size);

	if (!p)
		abort();
	memset(p + was * size, 0, (is - was) * size);
	return p;
}

void world_grow_image(struct world *w, uint32_t disk, uint64_t bytes)
{
	uint64_t was = w->bytes[disk];

	sim_image_grow(w->sim, image_names[disk], bytes);
	w->histories[disk] = grown(w->histories[disk], was / 512, bytes / 512,
				   sizeof(struct history));
	w->touched[disk] =
	    grown(w->touched[disk], was / 4096 + 1, bytes / 4096 + 1, 1);
	w->asked[disk] = grown(w->asked[disk], was / 4096 + 1, bytes / 4096 + 1,
			       sizeof(*w->asked[disk]));
	w->bytes[disk] = w->geometry[disk].bytes = bytes;
}

void world_recover(struct world *w)
{
	struct err err = {0};

	if (world_start(w, VM_ATTACH_WRITE, &err) < 0)
		FAIL("recovery: %s", err.text);
	w->guest_rate = 0;
	world_check(w);
}
