/* SPDX-License-Identifier: Apache-2.0 */
/* Taking tracking down: all of it durable, the end clean. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "track/attaching.h"

/* ---- detach ----------------------------------------------------------- */

/* Everything that is hot turns cold, in the durable sense; bits that an undone
 * seal left in the other file come home. */
static int make_all_durable(struct vm *vm, struct err *err)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < vm->disk_count; i++) {
		struct volume *volume = &vm->volumes[i];
		bool wrote[PAGE_FILES] = {false};

		for (uint32_t k = 0; r == 0 && k < volume->hot_count; k++)
			r = keeper_write_page(volume,
					      volume->hot[k] / PAGE_REGIONS,
					      wrote, err);
		for (unsigned f = 0; r == 0 && f < PAGE_FILES; f++)
			if (wrote[f])
				r = pages_sync(volume->pages[f], err);
	}
	return r;
}

/* Where we wrote nothing the stamp must be what it was when we came. */
static void judge_idle(struct attaching *a, uint32_t disk)
{
	const struct volume *volume = &a->vm->volumes[disk];
	const struct image_stamp *then = &volume->stamp,
				 *now = &a->stamps[disk];

	if (volume->wrote)
		return;
	if (now->mtime_ns != then->mtime_ns ||
	    now->ctime_ns != then->ctime_ns || now->writes != then->writes ||
	    now->discards != then->discards)
		invalidate(a, disk,
			   "the image was changed by somebody else while it "
			   "was attached");
}

static int detach_commit(struct vm *vm, struct err *err)
{
	struct attaching *a = calloc(1, sizeof(*a));
	int r;

	if (!a)
		return err_set(err, -ENOMEM, "detach");
	r = attaching_init(a, vm, 0, err);
	if (r == 0)
		r = attaching_stamps(a, err);
	if (r == 0) {
		a->system.live = false;
		if (atomic_load(&vm->latch) != LATCH_OFF)
			invalidate_all(a, vm->latch_reason);
		for (uint32_t i = 0; i < vm->disk_count; i++) {
			judge_idle(a, i);
			a->disks[i].stamp = a->stamps[i];
		}
		r = vm_commit(vm, attaching_put, a, NULL, err);
	}
	if (r == 0)
		attaching_publish(a);
	attaching_free(a);
	return r;
}

/* Tasks of ours that queues' threads have still to run point into what is
 * freed next. */
static void wait_for_retries(struct vm *vm)
{
	const struct timespec moment = {0, 200000};

	for (struct track_queue *q = vm->queues; q; q = q->next)
		while (atomic_load(&q->retries) > 0) {
			if (vm->env.pump)
				vm->env.pump(vm->env.arg);
			else
				(void)nanosleep(&moment, NULL);
		}
}

static int detach_locked(struct vm *vm, struct err *err)
{
	int r = 0, r2;

	keeper_stop(vm);
	wait_for_retries(vm);
	for (uint32_t i = 0; i < vm->disk_count; i++) {
		r2 = file_sync(vm->volumes[i].image, err);
		r = r ? r : r2;
	}
	if (r == 0)
		r = vm_usable(vm, err);
	if (r == 0 && atomic_load(&vm->latch) == LATCH_OFF)
		r = make_all_durable(vm, err);
	/* A successor adopts what the live files hold, and must not take pages
	 * for durable that a failed sync lost. */
	if (r < 0)
		latch_begin(vm, err->text);
	if (r == 0)
		r = detach_commit(vm, err);
	if (r == 0)
		remove_live(vm, true);
	attached_free(vm);
	epoch_done(&vm->epoch);
	vm->attached = false;
	return r;
}

int vm_detach(struct vm *vm, struct err *err)
{
	int r = 0;

	(void)pthread_mutex_lock(&vm->control);
	if (vm->attached)
		r = detach_locked(vm, err);
	(void)pthread_mutex_unlock(&vm->control);
	return r;
}
