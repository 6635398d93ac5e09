/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper: makes regions hot.  (Making them cold again is retire.c's.)
 *
 * One cycle serves everybody who waits at its start with one sync:
 *
 *   K1  take the wanted regions, as many as fit
 *   K2  write one intent record: all that is hot, and these
 *   K3  sync it; then they are hot
 *   K4  everybody who waits tries again
 *
 * A record names the whole hot set, so the newest one is all that recovery
 * needs; there is no log to replay.  A region that turns cold meanwhile may
 * still be named by it, which widens after a power cut and misses nothing.
 *
 * Writers come in crowds: those that one sync let go are soon back, wanting
 * other regions.  The first of them would start a sync that all the others
 * miss, so the thread waits for as many as there were before, for half the time
 * of a sync at most.  Where they do not come back it gives that up for a while.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/log.h"
#include "track/internal.h"

#define KEEPER_PERIOD_MS 1000
#define GATHER_SYNC_NS   200000u /* of a faster sync nobody waits for more */
#define GATHER_MAX_NS    5000000u
#define GATHER_SKIP      16 /* cycles without, after one in vain */

/* ---- a cycle ---------------------------------------------------------- */

/* K1: how many of VOLUME's wanted regions fit; the first ones.  Regions are
 * added to both lists, the hot ones and the wanted, at their ends, and the hot
 * ones only get fewer but for us. */
static uint32_t fitting(struct volume *volume)
{
	uint32_t limit = volume->vm->system.hot_regions;

	return MIN(volume->wanted_count, limit - MIN(limit, volume->hot_count));
}

/* K1 and K2.  Returns how many regions turn hot, or a negative code. */
static int write_record(struct vm *vm, struct err *err)
{
	uint32_t n = 0;
	int activate = 0, r;

	for (uint32_t i = 0; i < vm->disk_count; i++) {
		struct volume *volume = &vm->volumes[i];

		(void)pthread_mutex_lock(&volume->lock);
		volume->activating = fitting(volume);
		for (uint32_t k = 0; k < volume->hot_count; k++)
			vm->record[n++] = (struct intent){i, volume->hot[k]};
		for (uint32_t k = 0; k < volume->activating; k++)
			vm->record[n++] = (struct intent){i, volume->wanted[k]};
		(void)pthread_mutex_unlock(&volume->lock);
		activate += (int)volume->activating;
	}
	r = intents_write(vm->intents, vm->record, n, err);
	return r < 0 ? r : activate;
}

/* K3. */
static void activate_disk(struct volume *volume)
{
	uint32_t now = atomic_load(&volume->vm->tick);

	(void)pthread_mutex_lock(&volume->lock);
	for (uint32_t i = 0; i < volume->activating; i++) {
		struct region *region = &volume->regions[volume->wanted[i]];

		region->state = REGION_HOT;
		/* who wanted it is not here yet: it is not to be the first
		 * that turns cold */
		atomic_store_explicit(&region->used, now, memory_order_relaxed);
		volume->hot[volume->hot_count++] = volume->wanted[i];
	}
	volume->wanted_count -= volume->activating;
	memmove(volume->wanted, volume->wanted + volume->activating,
		volume->wanted_count * sizeof(*volume->wanted));
	(void)pthread_mutex_unlock(&volume->lock);
}

void keeper_wake_waiters(struct vm *vm)
{
	for (struct track_queue *q = vm->queues; q; q = q->next)
		queue_retry(q);
}

static int run_cycle(struct vm *vm, struct err *err)
{
	uint64_t begin = track_monotonic_ns();
	int activated, r;

	/* From here on, what turns cold is for the next record. */
	atomic_store(&vm->record_stale, false);
	activated = write_record(vm, err);
	if (activated < 0)
		return activated;
	r = file_sync(intents_sync_file(vm->intents), err);
	if (r < 0)
		return r;
	intents_commit(vm->intents);
	for (uint32_t i = 0; i < vm->disk_count; i++)
		activate_disk(&vm->volumes[i]);
	vm->sync_ns = track_monotonic_ns() - begin;
	if (activated == 0)
		return 0;
	atomic_fetch_add(&vm->counts.activations, (uint64_t)activated);
	atomic_fetch_add(&vm->counts.intent_syncs, 1);
	vm->crowd = atomic_load(&vm->waiting);
	keeper_wake_waiters(vm);
	return 0;
}

/* What is to be done: regions that fit, and those that do not. */
static void look(struct vm *vm, bool *ret_fit, bool *ret_full)
{
	*ret_fit = *ret_full = false;
	for (uint32_t i = 0; i < vm->disk_count; i++) {
		struct volume *volume = &vm->volumes[i];
		uint32_t fit;

		(void)pthread_mutex_lock(&volume->lock);
		fit = fitting(volume);
		*ret_fit |= fit > 0;
		*ret_full |= fit < volume->wanted_count;
		(void)pthread_mutex_unlock(&volume->lock);
	}
}

/* With `keeping` held.  REFRESH: writes a record also if only cold regions are
 * to be left out.  True if there was something to do, and it was done. */
static bool keeper_cycle(struct vm *vm, bool refresh)
{
	struct err err = {0};
	bool fit, full;

	if (atomic_load(&vm->latch) != LATCH_OFF)
		return false;
	atomic_store(&vm->tick, (uint32_t)(track_monotonic_ns() / 1000000u));
	look(vm, &fit, &full);
	if (!fit && !(refresh && atomic_load(&vm->record_stale))) {
		if (full)
			retire_wake(vm);
		return false;
	}
	if (run_cycle(vm, &err) < 0) {
		latch_begin(vm, err.text);
		return false;
	}
	if (fit)
		retire_wake(vm);
	return true;
}

bool vm_keep(struct vm *vm, bool retire_all)
{
	bool work = false;

	if (!vm->record)
		return false; /* detaching */
	/* Without threads, whoever holds one is below us on the stack. */
	if (pthread_mutex_trylock(&vm->keeping) == 0) {
		work |= keeper_cycle(vm, true);
		(void)pthread_mutex_unlock(&vm->keeping);
	}
	if (pthread_mutex_trylock(&vm->paging) == 0) {
		work |= retire_cycle(vm, true, retire_all);
		(void)pthread_mutex_unlock(&vm->paging);
	}
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
	bool wake;

	(void)pthread_mutex_lock(&vm->wake);
	wake = !vm->keeper_wanted ||
	       (vm->gathering && atomic_load(&vm->waiting) >= vm->crowd);
	vm->keeper_wanted = true;
	(void)pthread_mutex_unlock(&vm->wake);
	if (wake)
		(void)pthread_cond_signal(&vm->keeper_woken);
}

static struct timespec after_ns(uint64_t ns)
{
	uint64_t at = track_monotonic_ns() + ns;

	return (struct timespec){(time_t)(at / 1000000000u),
				 (long)(at % 1000000000u)};
}

/* With the lock `wake`: until those who were let go are back. */
static void gather(struct vm *vm)
{
	uint64_t ns = MIN(vm->sync_ns / 2, GATHER_MAX_NS);
	struct timespec until = after_ns(ns);
	unsigned n;

	if (vm->sync_ns < GATHER_SYNC_NS || vm->crowd < 2)
		return;
	if (vm->gather_skip > 0) {
		vm->gather_skip--;
		return;
	}
	vm->gathering = true;
	while ((n = atomic_load(&vm->waiting)) < vm->crowd && !vm->stopping)
		if (pthread_cond_timedwait(&vm->keeper_woken, &vm->wake,
					   &until))
			break;
	vm->gathering = false;
	if (n < vm->crowd - vm->crowd / 8)
		vm->gather_skip = GATHER_SKIP;
}

/* False when it is time to end. */
static bool keeper_wait(struct vm *vm, bool *ret_idle)
{
	struct timespec until = after_ns(KEEPER_PERIOD_MS * UINT64_C(1000000));
	bool go;

	(void)pthread_mutex_lock(&vm->wake);
	while (!vm->keeper_wanted && !vm->stopping)
		if (pthread_cond_timedwait(&vm->keeper_woken, &vm->wake,
					   &until))
			break;
	*ret_idle = !vm->keeper_wanted;
	if (vm->keeper_wanted)
		gather(vm);
	vm->keeper_wanted = false;
	go = !vm->stopping;
	(void)pthread_mutex_unlock(&vm->wake);
	return go;
}

static void *keeper_thread(void *arg)
{
	struct vm *vm = arg;
	bool idle;

	while (keeper_wait(vm, &idle)) {
		(void)pthread_mutex_lock(&vm->keeping);
		(void)keeper_cycle(vm, idle);
		(void)pthread_mutex_unlock(&vm->keeping);
	}
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

	vm->stopping = vm->keeper_wanted = vm->retire_wanted = false;
	vm->threads = 0;
	vm->sync_ns = vm->crowd = vm->gather_skip = 0;
	atomic_store(&vm->waiting, 0);
	vm->record = calloc((size_t)vm->disk_count * HOT_REGIONS_MAX,
			    sizeof(*vm->record));
	if (!vm->record)
		return err_set(err, -ENOMEM, "attach");
	if (!vm->env.threads)
		return 0;
	vm->retire_syncs = parallel_new(3);
	vm->seal_syncs = parallel_new(7);
	r = -pthread_create(&vm->thread[0], NULL, keeper_thread, vm);
	if (r == 0)
		r = -pthread_create(&vm->thread[++vm->threads], NULL,
				    retire_thread, vm);
	if (r == 0)
		vm->threads++;
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
	(void)pthread_cond_broadcast(&vm->keeper_woken);
	(void)pthread_cond_broadcast(&vm->retire_woken);
	(void)pthread_mutex_unlock(&vm->wake);
	for (unsigned i = 0; i < vm->threads; i++)
		(void)pthread_join(vm->thread[i], NULL);
	vm->threads = 0;
	vm->retire_syncs = parallel_free(vm->retire_syncs);
	vm->seal_syncs = parallel_free(vm->seal_syncs);
	free(vm->record);
	vm->record = NULL;
}
