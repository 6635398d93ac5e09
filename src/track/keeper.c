/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper: makes regions hot and cold again.
 *
 * One cycle serves everybody who waits at its start with one sync:
 *
 *   1  take the wanted regions (A), as many as fit; pick regions to retire (R),
 *      least recently used first, and note their mark counters (where the
 *      wanted ones do not fit, R takes no marks from now on: else a guest that
 *      marks faster than we sync would keep all others out)
 *   2  write the pages of R, for every generation that is being marked
 *   3  write one intent record: all that is hot, R included, and A
 *   4  sync the intents and the page files of R
 *   5  A is hot; those of R whose counters did not move are cold (T4); the
 *      next record leaves them out
 *   6  everybody who waits tries again
 *
 * A record names the whole hot set, so the newest one is all that recovery
 * needs; there is no log to replay.  R turns cold in memory before a record
 * without it is durable: a power cut in between widens, and misses nothing.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/log.h"
#include "track/internal.h"

#define RETIRE_PER_CYCLE 64    /* regions of one disk */
#define RETIRE_IDLE_MS   30000 /* a region not written for so long */
#define KEEPER_PERIOD_MS 1000

struct retiree {
	uint32_t region;
	uint32_t marks;
};

struct disk_cycle {
	uint32_t activate;
	uint32_t retire;
	bool pressed;           /* there are regions wanted that do not fit */
	bool wrote[PAGE_FILES]; /* which page files to sync */
	struct retiree retirees[RETIRE_PER_CYCLE];
};

/* ---- step 1 ----------------------------------------------------------- */

/* The hot region used longest ago that is not among CYCLE's yet. */
static bool oldest_hot(struct volume *volume, const struct disk_cycle *cycle,
		       uint32_t *ret_region)
{
	uint32_t now = atomic_load(&volume->vm->tick);
	uint32_t best = 0, best_age = 0;
	bool found = false;

	for (uint32_t i = 0; i < volume->hot_count; i++) {
		uint32_t region = volume->hot[i];
		uint32_t age =
		    now - atomic_load_explicit(&volume->regions[region].used,
					       memory_order_relaxed);
		bool taken = false;

		if (found && age <= best_age)
			continue;
		for (uint32_t k = 0; !taken && k < cycle->retire; k++)
			taken = cycle->retirees[k].region == region;
		if (taken)
			continue;
		best = region;
		best_age = age;
		found = true;
	}
	if (found)
		*ret_region = best;
	return found;
}

/* How many regions should turn cold in this cycle: as many as are needed to
 * keep some room for the next ones, or those that were idle for long. */
static uint32_t retire_quota(struct volume *volume, uint32_t limit,
			     uint32_t activate, bool all)
{
	uint32_t slack = MIN(limit / 4, RETIRE_PER_CYCLE);
	uint32_t used = volume->hot_count + activate;
	/* Those still wanted after this cycle need room in the next. */
	uint32_t more = volume->wanted_count - activate;
	uint32_t quota = 0;

	if (all)
		return MIN(volume->hot_count, RETIRE_PER_CYCLE);
	if (activate + more > 0 && used + slack + more > limit)
		quota = used + slack + more - limit;
	return MIN(MIN(quota, volume->hot_count), RETIRE_PER_CYCLE);
}

static void plan_disk(struct volume *volume, struct disk_cycle *cycle, bool all)
{
	struct vm *vm = volume->vm;
	uint32_t limit = vm->system.hot_regions;
	uint32_t now = atomic_load(&vm->tick);
	uint32_t quota;

	(void)pthread_mutex_lock(&volume->lock);
	cycle->activate =
	    MIN(volume->wanted_count, limit - MIN(limit, volume->hot_count));
	cycle->retire = 0;
	cycle->pressed = volume->wanted_count > cycle->activate;
	quota = retire_quota(volume, limit, cycle->activate, all);
	while (cycle->retire < RETIRE_PER_CYCLE) {
		uint32_t region;

		if (!oldest_hot(volume, cycle, &region))
			break;
		if (cycle->retire >= quota &&
		    now - atomic_load(&volume->regions[region].used) <
			RETIRE_IDLE_MS)
			break;
		if (cycle->pressed && cycle->retire < quota)
			volume->regions[region].state = REGION_RETIRING;
		cycle->retirees[cycle->retire].region = region;
		cycle->retirees[cycle->retire++].marks =
		    volume->regions[region].marks;
	}
	(void)pthread_mutex_unlock(&volume->lock);
}

/* ---- step 2 ----------------------------------------------------------- */

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

static int write_pages(struct volume *volume, struct disk_cycle *cycle,
		       struct err *err)
{
	for (uint32_t i = 0; i < cycle->retire; i++) {
		uint32_t index = cycle->retirees[i].region / PAGE_REGIONS;
		bool again = false;
		int r;

		for (uint32_t k = 0; !again && k < i; k++)
			again =
			    cycle->retirees[k].region / PAGE_REGIONS == index;
		r = again ? 0
			  : keeper_write_page(volume, index, cycle->wrote, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- steps 3 and 4 ---------------------------------------------------- */

static int write_record(struct vm *vm, const struct disk_cycle *cycles,
			struct err *err)
{
	struct intent *record =
	    malloc((size_t)vm->disk_count * HOT_REGIONS_MAX * sizeof(*record));
	uint32_t n = 0;
	int r;

	if (!record)
		return err_set(err, -ENOMEM, "write the intents");
	for (uint32_t i = 0; i < vm->disk_count; i++) {
		struct volume *volume = &vm->volumes[i];

		(void)pthread_mutex_lock(&volume->lock);
		for (uint32_t k = 0; k < volume->hot_count; k++)
			record[n++] = (struct intent){i, volume->hot[k]};
		for (uint32_t k = 0; k < cycles[i].activate; k++)
			record[n++] = (struct intent){i, volume->wanted[k]};
		(void)pthread_mutex_unlock(&volume->lock);
	}
	r = intents_write(vm->intents, record, n, err);
	free(record);
	return r;
}

static int sync_intents(void *arg, struct err *err)
{
	return file_sync(intents_sync_file(arg), err);
}

static int sync_pages(void *arg, struct err *err)
{
	return pages_sync(arg, err);
}

/* All at once: each is durable for itself, and what they promise together is
 * promised by step 5. */
static int sync_all(struct vm *vm, const struct disk_cycle *cycles,
		    struct err *err)
{
	struct parallel_job *jobs =
	    calloc(1 + (size_t)vm->disk_count * PAGE_FILES, sizeof(*jobs));
	unsigned n = 0;
	int r;

	if (!jobs)
		return err_set(err, -ENOMEM, "sync the intents");
	jobs[n++] =
	    (struct parallel_job){.run = sync_intents, .arg = vm->intents};
	for (uint32_t i = 0; i < vm->disk_count; i++)
		for (unsigned f = 0; f < PAGE_FILES; f++)
			if (cycles[i].wrote[f])
				jobs[n++] = (struct parallel_job){
				    .run = sync_pages,
				    .arg = vm->volumes[i].pages[f]};
	r = parallel_run(vm->keeper_syncs, jobs, n, err);
	if (jobs[0].result == 0)
		intents_commit(vm->intents);
	free(jobs);
	return r;
}

/* ---- step 5 ----------------------------------------------------------- */

static void drop_hot(struct volume *volume, uint32_t region)
{
	for (uint32_t i = 0; i < volume->hot_count; i++)
		if (volume->hot[i] == region) {
			volume->hot[i] = volume->hot[--volume->hot_count];
			return;
		}
}

/* True if a region turned cold. */
static bool finish_disk(struct volume *volume, const struct disk_cycle *cycle)
{
	bool cooled = false;

	(void)pthread_mutex_lock(&volume->lock);
	for (uint32_t i = 0; i < cycle->retire; i++) {
		uint32_t index = cycle->retirees[i].region;
		struct region *region = &volume->regions[index];

		if (region->marks != cycle->retirees[i].marks)
			continue;
		region->state = REGION_COLD;
		drop_hot(volume, index);
		cooled = true;
	}
	for (uint32_t i = 0; i < cycle->activate; i++) {
		volume->regions[volume->wanted[i]].state = REGION_HOT;
		volume->hot[volume->hot_count++] = volume->wanted[i];
	}
	volume->wanted_count -= cycle->activate;
	memmove(volume->wanted, volume->wanted + cycle->activate,
		volume->wanted_count * sizeof(*volume->wanted));
	(void)pthread_mutex_unlock(&volume->lock);
	return cooled;
}

static void wake_waiters(struct vm *vm)
{
	for (struct track_queue *q = vm->queues; q; q = q->next)
		queue_retry(q);
}

static int run_cycle(struct vm *vm, struct disk_cycle *cycles, struct err *err)
{
	bool cooled = false;
	int r = 0;

	(void)pthread_rwlock_rdlock(&vm->maps);
	for (uint32_t i = 0; r == 0 && i < vm->disk_count; i++)
		r = write_pages(&vm->volumes[i], &cycles[i], err);
	(void)pthread_rwlock_unlock(&vm->maps);
	if (r == 0)
		r = write_record(vm, cycles, err);
	if (r == 0)
		r = sync_all(vm, cycles, err);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < vm->disk_count; i++)
		cooled |= finish_disk(&vm->volumes[i], &cycles[i]);
	vm->record_stale = cooled;
	return 0;
}

bool keeper_cycle(struct vm *vm, bool retire_all, struct err *err)
{
	struct disk_cycle *cycles;
	bool work = vm->record_stale, waiters = false;
	int r;

	if (atomic_load(&vm->latch) != LATCH_OFF)
		return false;
	atomic_store(&vm->tick, (uint32_t)(track_monotonic_ns() / 1000000u));
	cycles = calloc(vm->disk_count, sizeof(*cycles));
	if (!cycles) {
		latch_begin(vm, "no memory to keep the intents");
		return false;
	}
	for (uint32_t i = 0; i < vm->disk_count; i++) {
		plan_disk(&vm->volumes[i], &cycles[i], retire_all);
		work |= cycles[i].activate || cycles[i].retire;
		waiters |= cycles[i].activate || cycles[i].pressed;
	}
	if (work) {
		r = run_cycle(vm, cycles, err);
		if (r < 0)
			latch_begin(vm, err->text);
		else if (waiters)
			wake_waiters(vm);
	}
	free(cycles);
	return work;
}

bool vm_keep(struct vm *vm, bool retire_all)
{
	struct err err = {0};
	bool work;

	/* Without threads, whoever holds it is below us on the stack. */
	if (pthread_mutex_trylock(&vm->keeping) != 0)
		return false;
	work = keeper_cycle(vm, retire_all, &err);
	(void)pthread_mutex_unlock(&vm->keeping);
	return work;
}

void keeper_prelog(struct volume *volume, uint32_t since)
{
	uint32_t room;

	(void)pthread_mutex_lock(&volume->lock);
	room = volume->vm->system.hot_regions;
	room -= MIN(room, volume->hot_count + volume->wanted_count);
	for (uint64_t i = 0; room > 0 && i < volume->region_count; i++) {
		struct region *region = &volume->regions[i];
		uint32_t used = atomic_load(&region->used);

		if (region->state != REGION_COLD || used == 0 ||
		    (int32_t)(used - since) < 0)
			continue;
		region->state = REGION_WANTED;
		volume->wanted[volume->wanted_count++] = (uint32_t)i;
		room--;
	}
	(void)pthread_mutex_unlock(&volume->lock);
}

/* ---- the thread ------------------------------------------------------- */

void keeper_wake(struct vm *vm)
{
	(void)pthread_mutex_lock(&vm->wake);
	vm->keeper_wanted = true;
	(void)pthread_cond_broadcast(&vm->woken);
	(void)pthread_mutex_unlock(&vm->wake);
}

/* False when it is time to end. */
static bool keeper_wait(struct vm *vm)
{
	struct timespec until;
	bool go;

	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += KEEPER_PERIOD_MS / 1000;
	(void)pthread_mutex_lock(&vm->wake);
	while (!vm->keeper_wanted && !vm->stopping)
		if (pthread_cond_timedwait(&vm->woken, &vm->wake, &until))
			break;
	vm->keeper_wanted = false;
	go = !vm->stopping;
	(void)pthread_mutex_unlock(&vm->wake);
	return go;
}

static bool keeper_cycle_locked(struct vm *vm)
{
	struct err err = {0};
	bool work;

	(void)pthread_mutex_lock(&vm->keeping);
	work = keeper_cycle(vm, false, &err);
	(void)pthread_mutex_unlock(&vm->keeping);
	return work && !err.code;
}

static void *keeper_thread(void *arg)
{
	struct vm *vm = arg;

	while (keeper_wait(vm))
		while (keeper_cycle_locked(vm))
			;
	return NULL;
}

struct undertaker {
	struct vm *vm;
	unsigned which;
};

static void *undertaker_thread(void *arg)
{
	struct undertaker self = *(struct undertaker *)arg;

	free(arg);
	(void)pthread_mutex_lock(&self.vm->wake);
	while (!self.vm->stopping && atomic_load(&self.vm->latch) == LATCH_OFF)
		(void)pthread_cond_wait(&self.vm->woken, &self.vm->wake);
	(void)pthread_mutex_unlock(&self.vm->wake);
	if (atomic_load(&self.vm->latch) == LATCH_WRITING)
		latch_bury(self.vm, self.which);
	return NULL;
}

static int start_undertaker(struct vm *vm, unsigned which)
{
	struct undertaker *u = malloc(sizeof(*u));
	int r;

	if (!u)
		return -ENOMEM;
	u->vm = vm;
	u->which = which;
	r = -pthread_create(&vm->thread[vm->threads], NULL, undertaker_thread,
			    u);
	if (r < 0)
		free(u);
	else
		vm->threads++;
	return r;
}

int keeper_start(struct vm *vm, struct err *err)
{
	int r;

	vm->stopping = false;
	vm->threads = 0;
	if (!vm->env.threads)
		return 0;
	vm->keeper_syncs = parallel_new(3);
	vm->seal_syncs = parallel_new(7);
	r = -pthread_create(&vm->thread[0], NULL, keeper_thread, vm);
	if (r == 0)
		vm->threads = 1;
	for (unsigned i = 0; r == 0 && i < 2; i++)
		r = start_undertaker(vm, i);
	if (r < 0) {
		keeper_stop(vm);
		return err_set(err, r, "start the tracker's threads");
	}
	return 0;
}

void keeper_stop(struct vm *vm)
{
	(void)pthread_mutex_lock(&vm->wake);
	vm->stopping = true;
	(void)pthread_cond_broadcast(&vm->woken);
	(void)pthread_mutex_unlock(&vm->wake);
	for (unsigned i = 0; i < vm->threads; i++)
		(void)pthread_join(vm->thread[i], NULL);
	vm->threads = 0;
	vm->keeper_syncs = parallel_free(vm->keeper_syncs);
	vm->seal_syncs = parallel_free(vm->seal_syncs);
}
