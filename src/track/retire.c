/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes regions cold again, those used longest ago first, so that there is
 * room for others: on a thread of its own, so that nobody who waits for a
 * region to turn hot waits for this as well.
 *
 *   R1  pick the regions and note their mark counters; where wanted regions do
 *       not fit, the picked ones take no marks from now on: else a guest that
 *       marks faster than we sync would keep all others out
 *   R2  write their pages, for every generation that is being marked
 *   R3  sync the page files
 *   R4  those whose counters did not move are cold (T4); the next intent
 *       record leaves them out.  Not so what a log is not durable with (T11):
 *       it takes no more marks if R1 said so, and is picked again, first, when
 *       the log is
 *
 * A quarter of what may be hot is kept free.  Once it is less, room is made
 * for some more than that: the pages of many regions share a sync.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "track/internal.h"

#define RETIRE_PER_CYCLE 128   /* regions of one disk */
#define RETIRE_IDLE_MS   30000 /* a region not written for so long */
#define RETIRE_PERIOD_MS 1000

#define AGE_PICKED INT32_MAX /* by the last cycle */

struct retiree {
	uint32_t region;
	uint32_t marks;
};

struct disk_cycle {
	uint32_t retire;
	bool full;              /* there are regions wanted that do not fit */
	bool wrote[PAGE_FILES]; /* which page files to sync */
	struct retiree retirees[RETIRE_PER_CYCLE];
};

/* ---- R1 --------------------------------------------------------------- */

struct candidate {
	uint32_t age; /* ms */
	uint32_t region;
};

static int oldest_first(const void *a, const void *b)
{
	uint32_t x = ((const struct candidate *)a)->age;
	uint32_t y = ((const struct candidate *)b)->age;

	return x < y ? 1 : x > y ? -1 : 0;
}

/* How many regions should turn cold to make room; with the volume's lock. */
static uint32_t retire_quota(const struct volume *volume, bool pressed,
			     bool all)
{
	uint32_t limit = volume->vm->system.hot_regions;
	uint32_t used = volume->hot_count + volume->wanted_count;
	uint32_t quota = 0;

	if (all)
		quota = volume->hot_count;
	else if (pressed && used + limit / 4 > limit)
		quota = used + limit / 4 + limit / 8 - limit;
	if (volume->wanted_count > 0 && volume->hot_count == limit)
		quota = MAX(quota, 1);
	return MIN(MIN(quota, volume->hot_count), RETIRE_PER_CYCLE);
}

static void plan_disk(struct volume *volume, struct disk_cycle *cycle,
		      bool pressed, bool all)
{
	struct candidate candidates[HOT_REGIONS_MAX];
	uint32_t now = atomic_load(&volume->vm->tick), n, quota;

	(void)pthread_mutex_lock(&volume->lock);
	quota = retire_quota(volume, pressed, all);
	n = volume->hot_count;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t region = volume->hot[i];

		candidates[i].region = region;
		candidates[i].age =
		    now - atomic_load_explicit(&volume->regions[region].used,
					       memory_order_relaxed);
		/* a tick may have come since `now` was read */
		if ((int32_t)candidates[i].age < 0)
			candidates[i].age = 0;
		if (volume->regions[region].state == REGION_RETIRING)
			candidates[i].age = AGE_PICKED;
	}
	(void)pthread_mutex_unlock(&volume->lock);
	qsort(candidates, n, sizeof(*candidates), oldest_first);
	(void)pthread_mutex_lock(&volume->lock);
	cycle->full = volume->hot_count + volume->wanted_count >
		      volume->vm->system.hot_regions;
	for (uint32_t i = 0; i < MIN(n, RETIRE_PER_CYCLE); i++) {
		uint32_t region = candidates[i].region;

		if (i >= quota && candidates[i].age < RETIRE_IDLE_MS)
			break;
		if (i < quota && cycle->full)
			volume->regions[region].state = REGION_RETIRING;
		cycle->retirees[cycle->retire].region = region;
		cycle->retirees[cycle->retire++].marks =
		    volume->regions[region].marks;
	}
	(void)pthread_mutex_unlock(&volume->lock);
}

/* ---- R2 --------------------------------------------------------------- */

int keeper_write_page(struct volume *volume, uint32_t index,
		      bool wrote[PAGE_FILES], struct err *err)
{
	struct vm *vm = volume->vm;
	uint64_t word = (uint64_t)index * PAGE_REGIONS * REGION_WORDS;
	int r = 0;

	for (unsigned s = 0; r == 0 && s < 2; s++) {
		struct slot *slot = &vm->slots[s];
		struct live_file *live = &volume->live[s];

		if (!slot->marking)
			continue;
		wrote[slot->file] = true;
		r = pages_write(volume->pages[slot->file], index,
				slot->generation, live->bits + word,
				live->words - word, err);
	}
	return r;
}

static int by_region(const void *a, const void *b)
{
	uint32_t x = ((const struct retiree *)a)->region;
	uint32_t y = ((const struct retiree *)b)->region;

	return x < y ? -1 : x > y ? 1 : 0;
}

static int write_pages(struct volume *volume, struct disk_cycle *cycle,
		       struct err *err)
{
	uint32_t last = UINT32_MAX;
	int r = 0;

	/* In the order of the file, and each page once. */
	qsort(cycle->retirees, cycle->retire, sizeof(cycle->retirees[0]),
	      by_region);
	(void)pthread_rwlock_rdlock(&volume->vm->maps);
	for (uint32_t i = 0; r == 0 && i < cycle->retire; i++) {
		uint32_t index = cycle->retirees[i].region / PAGE_REGIONS;

		if (index != last)
			r = keeper_write_page(volume, index, cycle->wrote, err);
		last = index;
	}
	(void)pthread_rwlock_unlock(&volume->vm->maps);
	return r;
}

/* ---- R3 --------------------------------------------------------------- */

static int sync_pages(void *arg, struct err *err)
{
	return pages_sync(arg, err);
}

static int sync_all(struct vm *vm, const struct disk_cycle *cycles,
		    struct err *err)
{
	struct parallel_job *jobs =
	    calloc((size_t)vm->disk_count * PAGE_FILES, sizeof(*jobs));
	unsigned n = 0;
	int r;

	if (!jobs)
		return err_set(err, -ENOMEM, "sync the tracking pages");
	for (uint32_t i = 0; i < vm->disk_count; i++)
		for (unsigned f = 0; f < PAGE_FILES; f++)
			if (cycles[i].wrote[f])
				jobs[n++] = (struct parallel_job){
				    .run = sync_pages,
				    .arg = vm->volumes[i].pages[f]};
	r = parallel_run(vm->retire_syncs, jobs, n, err);
	free(jobs);
	return r;
}

/* ---- R4 --------------------------------------------------------------- */

static void drop_hot(struct volume *volume, uint32_t region)
{
	for (uint32_t i = 0; i < volume->hot_count; i++)
		if (volume->hot[i] == region) {
			volume->hot[i] = volume->hot[--volume->hot_count];
			return;
		}
}

/* T11, with the volume's lock. */
static bool is_settled(const struct volume *volume, const struct region *region)
{
	return !atomic_load(&volume->vm->strict) ||
	       (region->inside == 0 && region->over <= volume->settled);
}

/* Before the pages are written, so that both are under way at once. */
static void ask_to_settle(struct volume *volume, const struct disk_cycle *cycle)
{
	struct vm *vm = volume->vm;
	bool ask = false;

	(void)pthread_mutex_lock(&volume->lock);
	for (uint32_t i = 0; i < cycle->retire; i++)
		ask |= !is_settled(volume,
				   &volume->regions[cycle->retirees[i].region]);
	(void)pthread_mutex_unlock(&volume->lock);
	if (!ask || !vm->logger)
		return;
	atomic_store(&vm->settling, true);
	vm->logger->settle(vm->logger);
}

static void finish_disk(struct volume *volume, const struct disk_cycle *cycle,
			bool *cooled, bool *wanted, bool *refused)
{
	(void)pthread_mutex_lock(&volume->lock);
	for (uint32_t i = 0; i < cycle->retire; i++) {
		uint32_t index = cycle->retirees[i].region;
		struct region *region = &volume->regions[index];

		if (region->marks != cycle->retirees[i].marks ||
		    !is_settled(volume, region))
			continue;
		/* Those who waited for it know no better: an earlier cycle may
		 * have picked it. */
		*refused |= region->state == REGION_RETIRING;
		region->state = REGION_COLD;
		drop_hot(volume, index);
		*cooled = true;
	}
	*wanted |= volume->wanted_count > 0;
	(void)pthread_mutex_unlock(&volume->lock);
}

static int run_cycle(struct vm *vm, struct disk_cycle *cycles, struct err *err)
{
	bool cooled = false, wanted = false, full = false, refused = false;
	int r = 0;

	for (uint32_t i = 0; i < vm->disk_count; i++)
		ask_to_settle(&vm->volumes[i], &cycles[i]);
	for (uint32_t i = 0; r == 0 && i < vm->disk_count; i++)
		if (cycles[i].retire)
			r = write_pages(&vm->volumes[i], &cycles[i], err);
	if (r == 0)
		r = sync_all(vm, cycles, err);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < vm->disk_count; i++)
		finish_disk(&vm->volumes[i], &cycles[i], &cooled, &wanted,
			    &refused);
	for (uint32_t i = 0; i < vm->disk_count; i++)
		full |= cycles[i].full;
	if (cooled)
		atomic_store(&vm->record_stale, true);
	/* also if none turned cold: then it will send for us again */
	if (wanted)
		keeper_wake(vm);
	if (full || refused)
		keeper_wake_waiters(vm);
	return 0;
}

bool retire_cycle(struct vm *vm, bool pressed, bool all)
{
	struct disk_cycle *cycles;
	struct err err = {0};
	bool work = false;

	if (atomic_load(&vm->latch) != LATCH_OFF)
		return false;
	cycles = calloc(vm->disk_count, sizeof(*cycles));
	if (!cycles) {
		latch_begin(vm, "no memory to keep the intents");
		return false;
	}
	for (uint32_t i = 0; i < vm->disk_count; i++) {
		plan_disk(&vm->volumes[i], &cycles[i], pressed, all);
		work |= cycles[i].retire > 0;
	}
	if (work && run_cycle(vm, cycles, &err) < 0)
		latch_begin(vm, err.text);
	free(cycles);
	return work;
}

/* ---- the thread ------------------------------------------------------- */

void retire_wake(struct vm *vm)
{
	(void)pthread_mutex_lock(&vm->wake);
	vm->retire_wanted = true;
	(void)pthread_mutex_unlock(&vm->wake);
	(void)pthread_cond_signal(&vm->retire_woken);
}

/* False when it is time to end. */
static bool retire_wait(struct vm *vm, bool *ret_pressed)
{
	struct timespec until;
	bool go;

	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += RETIRE_PERIOD_MS / 1000;
	(void)pthread_mutex_lock(&vm->wake);
	while (!vm->retire_wanted && !vm->stopping)
		if (pthread_cond_timedwait(&vm->retire_woken, &vm->wake,
					   &until))
			break;
	*ret_pressed = vm->retire_wanted;
	vm->retire_wanted = false;
	go = !vm->stopping;
	(void)pthread_mutex_unlock(&vm->wake);
	return go;
}

void *retire_thread(void *arg)
{
	struct vm *vm = arg;
	bool pressed;

	while (retire_wait(vm, &pressed)) {
		(void)pthread_mutex_lock(&vm->paging);
		(void)retire_cycle(vm, pressed, false);
		(void)pthread_mutex_unlock(&vm->paging);
	}
	return NULL;
}
