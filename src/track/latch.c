/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Giving way to the guest: when the store fails or hangs, tracking stops, and
 * says so in a way that outlives us, before any write goes on without it.
 *
 *  L1  First the live files say it (memory: instant; a kill keeps it).
 *  L2  Then the tombstones are written, the store's and the one outside it, at
 *      once and by a thread each, since either may hang.
 *  L3  Guests go on when one of them is durable, or TOMBSTONE_MS have passed.
 *      Only then may a write be submitted whose mark is not durable.  If
 *      neither took it and the power is cut, the miss is silent: the one
 *      documented double fault.
 *  L4  A latch never opens again while attached.  The next attach finds it in
 *      the live files or a tombstone and makes the open generation invalid.
 */
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "track/internal.h"

#define TOMBSTONE_MS 1500

static void release_all_waiters(struct vm *vm)
{
	atomic_store(&vm->latch, LATCH_ON);
	for (struct track_queue *q = vm->queues; q; q = q->next)
		queue_retry(q);
}

/* WHICH: 0 the store's tombstone, 1 the one outside. */
void latch_bury(struct vm *vm, unsigned which)
{
	struct file *file = which == 0 ? vm->tombstone : vm->env.fallback;
	struct tombstone tombstone = {
	    .store = vm->system.store,
	    .live = vm->system.live_id,
	    .time_ns = vm->env.now_ns(vm->env.arg),
	};
	struct err err = {0};

	if (!file)
		return;
	memcpy(tombstone.reason, vm->latch_reason, sizeof(tombstone.reason));
	if (tombstone_write(file, &tombstone, &err) < 0) {
		log_warning("no tombstone in '%s': %s", file->name, err.text);
		return;
	}
	atomic_fetch_add(&vm->tombs, 1);
	release_all_waiters(vm);
}

static void latch_live_files(struct vm *vm)
{
	for (uint32_t i = 0; i < vm->disk_count; i++)
		for (unsigned s = 0; s < 2; s++) {
			struct volume *volume = &vm->volumes[i];

			if (!volume->live_open[s])
				continue;
			memcpy(volume->live[s].state->reason, vm->latch_reason,
			       REASON_BYTES);
			atomic_store(&volume->live[s].state->latched, 1);
		}
}

void latch_begin(struct vm *vm, const char *reason)
{
	if (atomic_exchange(&vm->latch_claimed, true))
		return;
	(void)snprintf(vm->latch_reason, REASON_BYTES, "%s", reason);
	vm->latch_deadline_ns =
	    track_monotonic_ns() + TOMBSTONE_MS * UINT64_C(1000000);
	(void)pthread_rwlock_rdlock(&vm->maps);
	latch_live_files(vm);
	(void)pthread_rwlock_unlock(&vm->maps);
	(void)pthread_mutex_lock(&vm->wake);
	atomic_store(&vm->latch, LATCH_WRITING);
	(void)pthread_cond_broadcast(&vm->woken);
	(void)pthread_mutex_unlock(&vm->wake);
	log_error("tracking gives way to the guest; the next incremental "
		  "backup must be a full one: %s",
		  vm->latch_reason);
	if (vm->env.threads)
		return;
	latch_bury(vm, 0);
	if (atomic_load(&vm->tombs) == 0)
		latch_bury(vm, 1);
	release_all_waiters(vm);
}

void latch_tick(struct vm *vm)
{
	if (atomic_load(&vm->latch) != LATCH_WRITING ||
	    track_monotonic_ns() < vm->latch_deadline_ns)
		return;
	log_error("no tombstone could be made durable in %u ms; the guest "
		  "goes on; a power cut before the next clean stop would go "
		  "unnoticed",
		  TOMBSTONE_MS);
	release_all_waiters(vm);
}

bool vm_latched(struct vm *vm, char reason[REASON_BYTES])
{
	if (!vm->attached || atomic_load(&vm->latch) == LATCH_OFF) {
		reason[0] = '\0';
		return false;
	}
	memcpy(reason, vm->latch_reason, REASON_BYTES);
	return true;
}
