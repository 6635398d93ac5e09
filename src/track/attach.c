/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bringing tracking up, whatever the last end left, and down again.
 *
 * The last end was
 *   clean    no live id in force: the pages say all;
 *   a kill   the live files of the live id in force are all there: they are
 *            adopted as they stand, hot regions stay hot;
 *   a cut    they are not: the pages and the intents say all (T5).
 *
 * Adopting: what a seal had begun is merged (T7), then one commit takes a new
 * range of generation numbers (T8).  Otherwise, in this order:
 *   A1  a worse judgement is committed, so that nothing below can lose it
 *   A2  new live files are made under a new live id, filled from pages and hot
 *       regions
 *   A3  what that widens by is committed, then the pages of all bits that are
 * not in the open generation's own page file are written there and synced:
 * every bit is durable, all is cold A4  an empty intent record of the new live
 * id is made durable, beside the one in force A5  one commit puts the new live
 * id in force A6  what belongs to nobody any more is removed A cut before A5
 * finds the old state untouched: A3 only adds copies of bits that are reported
 * anyway.
 *
 * Damaged tracking data never keeps a guest from its disk: the generation is
 * invalid, the files are made anew.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "track/attaching.h"

#define GENERATION_RESERVE 1000000u

/* ---- volumes ---------------------------------------------------------- */

static void volume_done(struct volume *volume)
{
	for (unsigned s = 0; s < 2; s++) {
		if (volume->live_open[s])
			live_close(&volume->live[s]);
		volume->live_open[s] = false;
		volume->pages[s] = pages_close(volume->pages[s]);
	}
	free(volume->regions);
	free(volume->hot);
	free(volume->wanted);
	(void)pthread_mutex_destroy(&volume->lock);
}

static void volumes_free(struct vm *vm)
{
	for (uint32_t i = 0; vm->volumes && i < vm->disk_count; i++)
		volume_done(&vm->volumes[i]);
	free(vm->volumes);
	vm->volumes = NULL;
}

static int volume_init(struct volume *volume, struct vm *vm, uint32_t ordinal,
		       uint64_t bytes)
{
	volume->vm = vm;
	volume->ordinal = ordinal;
	volume->bytes = bytes;
	volume->blocks = div_round_up(bytes, BLOCK_BYTES);
	volume->over = 1; /* T11: what is hot already is not settled */
	volume->region_count = div_round_up(bytes, REGION_BYTES);
	volume->waiters_end = &volume->waiters;
	(void)pthread_mutex_init(&volume->lock, NULL);
	volume->regions = calloc(volume->region_count, sizeof(struct region));
	volume->hot = calloc(HOT_REGIONS_MAX, sizeof(uint32_t));
	volume->wanted = calloc(HOT_REGIONS_MAX, sizeof(uint32_t));
	return volume->regions && volume->hot && volume->wanted ? 0 : -ENOMEM;
}

static int volumes_new(struct attaching *a, struct file *const *images,
		       const struct image_geometry *geometry, struct err *err)
{
	struct vm *vm = a->vm;
	int r = 0;

	vm->volumes = calloc(vm->disk_count, sizeof(*vm->volumes));
	if (!vm->volumes)
		return err_set(err, -ENOMEM, "attach");
	for (uint32_t i = 0; i < vm->disk_count; i++) {
		int q = volume_init(&vm->volumes[i], vm, i, a->disks[i].bytes);

		vm->volumes[i].image = images[i];
		vm->volumes[i].geometry = geometry[i];
		if (q < 0)
			r = err_set(err, q, "attach");
	}
	return r;
}

/* ---- sizes ------------------------------------------------------------ */

/* A resize that was cut short is taken as finished if the image has grown; any
 * other size is adopted, and judged invalid. */
static void adopt_sizes(struct attaching *a)
{
	for (uint32_t i = 0; i < a->vm->disk_count; i++) {
		a->disks[i].growing_to = 0;
		a->disks[i].bytes = a->stamps[i].bytes;
	}
}

/* ---- the commit ------------------------------------------------------- */

static void plan_rows(struct attaching *a)
{
	struct vm *vm = a->vm;

	a->system.live = true;
	a->system.boot = vm->env.boot;
	vm->generation_next = vm->system.next_generation;
	a->system.next_generation += GENERATION_RESERVE;
	for (uint32_t i = 0; i < vm->disk_count; i++) {
		struct disk_row *row = &a->disks[i];

		row->stamped = true;
		row->stamp = a->stamps[i];
		if (!(a->flags & VM_ATTACH_WRITE) || a->end == JUDGE_KILLED)
			continue;
		row->nonce_before = a->stamps[i].nonce;
		row->nonce = guid_random();
	}
}

int attaching_put(struct vm *vm, void *arg, struct err *err)
{
	struct attaching *a = arg;
	int r = catalogue_put_system(vm->catalogue, &a->system, err);

	if (r == 0)
		r = catalogue_put_generation(vm->catalogue, &a->open, err);
	for (uint32_t i = 0; r == 0 && i < vm->disk_count; i++)
		r = catalogue_put_disk(vm->catalogue, &a->disks[i], err);
	return r;
}

void attaching_publish(struct attaching *a)
{
	struct vm *vm = a->vm;

	(void)pthread_mutex_lock(&vm->model);
	vm->system = a->system;
	*model_open_generation(vm) = a->open;
	for (uint32_t i = 0; i < vm->disk_count; i++)
		vm->disks[i] = a->disks[i];
	(void)pthread_mutex_unlock(&vm->model);
}

/* The nonce, and from then on the clock of the last submission. */
static int mark_images(struct attaching *a, struct err *err)
{
	struct vm *vm = a->vm;

	for (uint32_t i = 0; i < vm->disk_count; i++) {
		struct image_stamp *stamp = &vm->volumes[i].stamp;
		int r = 0;

		*stamp = a->stamps[i];
		if (a->flags & VM_ATTACH_WRITE && a->end != JUDGE_KILLED &&
		    a->stamps[i].kind == IMAGE_FILE)
			r = vm->env.mark(vm->env.arg, i, &a->disks[i].nonce,
					 stamp, err);
		if (r < 0 && r != -EOPNOTSUPP)
			return r;
		atomic_store(&vm->volumes[i].live[1].state->last_submission_ns,
			     (uint64_t)vm->env.now_ns(vm->env.arg));
	}
	return 0;
}

/* ---- A6 --------------------------------------------------------------- */

struct live_name {
	struct vm *vm;
	bool all;
	uint32_t disk;
	uint64_t generation;
};

static int find_stray_live(void *arg, uint32_t disk, uint64_t generation)
{
	struct live_name *name = arg;

	if (!name->all && disk < name->vm->disk_count &&
	    generation == name->vm->system.open_generation)
		return 0;
	name->disk = disk;
	name->generation = generation;
	return 1;
}

/* Removes the live files of other generations, or ALL. */
void remove_live(struct vm *vm, bool all)
{
	struct live_name name = {.vm = vm, .all = all};

	while (live_list(vm->env.memory, find_stray_live, &name, NULL) > 0)
		if (live_unlink(vm->env.memory, name.disk, name.generation,
				NULL) < 0)
			break;
}

/* ---- attach ----------------------------------------------------------- */

int attaching_stamps(struct attaching *a, struct err *err)
{
	struct vm *vm = a->vm;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < vm->disk_count; i++)
		r = vm->env.stamp(vm->env.arg, i, &a->stamps[i], err);
	return r;
}

static int open_tombstone(struct attaching *a, struct err *err)
{
	struct vm *vm = a->vm;
	int r = fs_open(vm->env.store, "tombstone", FILE_WRITE, &vm->tombstone,
			err);

	if (r != -ENOENT)
		return r;
	if (vm->system.live) {
		invalidate_all(a, "the tombstone is missing");
		r = commit_judgement(a, err);
		if (r < 0)
			return r;
	}
	r = tombstone_create(vm->env.store, err);
	return r ? r
		 : fs_open(vm->env.store, "tombstone", FILE_WRITE,
			   &vm->tombstone, err);
}

static int attach_steps(struct attaching *a, struct err *err)
{
	static const enum vm_ended ended[] = {
	    [JUDGE_CLEAN] = VM_ENDED_CLEAN,
	    [JUDGE_KILLED] = VM_ENDED_KILLED,
	    [JUDGE_CUT] = VM_ENDED_CUT,
	};
	struct vm *vm = a->vm;
	int r = load_intents(a, err);
	bool latched;

	if (r == 0)
		r = open_tombstone(a, err);
	if (r == 0)
		r = find_end(a, err);
	if (r < 0)
		return r;
	vm->ended = ended[a->end];
	latched = judge_latch(a);
	if (a->end == JUDGE_KILLED) {
		r = merge_undone(a, err);
		if (r < 0)
			return r;
	}
	judge_disks(a);
	if (a->flags & VM_ATTACH_UNTRACKED)
		invalidate_all(a, "writes were not tracked");
	adopt_sizes(a);
	r = commit_judgement(a, err);
	if (r < 0)
		return r;
	/* A kill after giving way: what the live files hold is invalid, and a
	 * new life must not inherit the latch. */
	if (latched) {
		live_close_all(vm);
		a->end = JUDGE_CUT;
	}
	vm->slots[1] = (struct slot){true, vm->system.open_generation,
				     vm->system.open_file};
	vm->slots[0] = (struct slot){0};
	r = a->end == JUDGE_KILLED ? adopt(a, err) : fresh(a, err);
	if (r < 0)
		return r;
	plan_rows(a);
	r = vm_commit(vm, attaching_put, a, NULL, err);
	if (r < 0)
		return r;
	attaching_publish(a);
	remove_live(vm, false);
	return mark_images(a, err);
}

void attached_free(struct vm *vm)
{
	while (vm->queues) {
		struct track_queue *queue = vm->queues;

		vm->queues = queue->next;
		free(queue);
	}
	volumes_free(vm);
	vm->guard = NULL;
	vm->logger = NULL;
	vm->intents = intents_close(vm->intents);
	file_close(vm->tombstone);
	vm->tombstone = NULL;
}

int attaching_init(struct attaching *a, struct vm *vm, unsigned flags,
		   struct err *err)
{
	a->vm = vm;
	a->flags = flags;
	a->open = *model_open_generation(vm);
	a->system = vm->system;
	a->disks = malloc(vm->disk_count * sizeof(*a->disks));
	if (!a->disks)
		return err_set(err, -ENOMEM, "attach");
	memcpy(a->disks, vm->disks, vm->disk_count * sizeof(*a->disks));
	return 0;
}

static int attaching_pages(struct attaching *a, struct err *err)
{
	for (uint32_t i = 0; i < a->vm->disk_count; i++) {
		a->pages[i] = calloc(page_count(a->disks[i].bytes) + 1, 1);
		if (!a->pages[i])
			return err_set(err, -ENOMEM, "attach");
	}
	return 0;
}

void attaching_free(struct attaching *a)
{
	for (uint32_t i = 0; i < a->vm->disk_count; i++)
		free(a->pages[i]);
	free(a->intents);
	free(a->disks);
	free(a);
}

static int attach_locked(struct vm *vm, struct file *const *images,
			 const struct image_geometry *geometry, unsigned flags,
			 struct err *err)
{
	struct attaching *a = calloc(1, sizeof(*a));
	int r;

	if (!a)
		return err_set(err, -ENOMEM, "attach");
	epoch_init(&vm->epoch);
	vm->epoch.pump = vm->env.pump;
	vm->epoch.pump_arg = vm->env.arg;
	vm->undone = false;
	atomic_store(&vm->record_stale, false);
	vm->untracked = flags & VM_ATTACH_UNTRACKED;
	atomic_store(&vm->strict, log_rows_open(vm) != NULL);
	atomic_store(&vm->settling, false);
	atomic_store(&vm->sync_failed, false);
	atomic_store(&vm->latch, LATCH_OFF);
	atomic_store(&vm->latch_claimed, false);
	atomic_store(&vm->tombs, 0);
	r = attaching_init(a, vm, flags, err);
	if (r == 0)
		r = attaching_stamps(a, err);
	if (r == 0) {
		for (uint32_t i = 0; i < vm->disk_count; i++)
			a->disks[i].bytes = a->stamps[i].bytes;
		r = volumes_new(a, images, geometry, err);
	}
	if (r == 0)
		r = attaching_pages(a, err);
	if (r == 0)
		r = attach_steps(a, err);
	if (r == 0)
		r = keeper_start(vm, err);
	attaching_free(a);
	if (r == 0) {
		vm->attached = true;
		return 0;
	}
	attached_free(vm);
	epoch_done(&vm->epoch);
	return r;
}

int vm_attach(struct vm *vm, struct file *const *images,
	      const struct image_geometry *geometry, unsigned flags,
	      struct err *err)
{
	int r;

	(void)pthread_mutex_lock(&vm->control);
	r = vm->attached
		? err_set(err, -RP_ESTATE, "the disks are attached already")
		: 0;
	if (r == 0 && vm->broken)
		r = vm_reload(vm, err);
	if (r == 0)
		r = attach_locked(vm, images, geometry, flags, err);
	(void)pthread_mutex_unlock(&vm->control);
	return r;
}

struct track_queue *
vm_queue_new(struct vm *vm, struct ioq *ioq,
	     void (*post)(void *arg, struct ring_task *task), void *arg)
{
	struct track_queue *queue = calloc(1, sizeof(*queue));

	if (!queue)
		return NULL;
	queue->vm = vm;
	queue->ioq = ioq;
	queue->post = post;
	queue->arg = arg;
	queue->held_end = &queue->held;
	queue->syncs_end = &queue->syncs;
	queue->epoch.post = post;
	queue->epoch.arg = arg;
	queue->epoch.released = queue_released;
	queue->epoch.released_arg = queue;
	(void)pthread_mutex_lock(&vm->control);
	epoch_add(&vm->epoch, &queue->epoch);
	queue->next = vm->queues;
	vm->queues = queue;
	(void)pthread_mutex_unlock(&vm->control);
	return queue;
}

struct volume *vm_volume(struct vm *vm, uint32_t disk,
			 struct track_queue *queue)
{
	vm->volumes[disk].queue = queue;
	return &vm->volumes[disk];
}

struct volume *vm_volume_at(struct vm *vm, uint32_t disk)
{
	return &vm->volumes[disk];
}

void vm_guard(struct vm *vm, struct volume_guard *guard)
{
	vm->guard = guard;
}

void vm_logger(struct vm *vm, struct volume_logger *logger)
{
	vm->logger = logger;
}

void vm_give_way(struct vm *vm, const char *reason)
{
	latch_begin(vm, reason);
}

enum vm_ended vm_ended(const struct vm *vm)
{
	return vm->ended;
}

void vm_strict(struct vm *vm, bool strict)
{
	atomic_store(&vm->strict, strict);
	if (!strict)
		retire_wake(vm); /* it may have waited for the log */
}

int vm_hot(struct vm *vm, uint32_t disk, struct blockset *set, struct err *err)
{
	struct volume *volume = &vm->volumes[disk];
	int r = 0;

	(void)pthread_mutex_lock(&volume->lock);
	for (uint32_t i = 0; r == 0 && i < volume->hot_count; i++)
		r = blockset_add(set, (uint64_t)volume->hot[i] * REGION_BLOCKS,
				 REGION_BLOCKS);
	(void)pthread_mutex_unlock(&volume->lock);
	return r ? err_set(err, r, "the hot regions") : 0;
}
