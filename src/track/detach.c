/* SPDX-License-Identifier: Apache-2.0 */
/* Taking tracking down: all of it durable, the end clean. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
		for (uint32_t i = 0; i < vm->disk_count; i++)
			a->disks[i].stamp = a->stamps[i];
		r = vm_commit(vm, attaching_put, a, NULL, err);
	}
	if (r == 0)
		attaching_publish(a);
	attaching_free(a);
	return r;
}

static int detach_locked(struct vm *vm, struct err *err)
{
	int r = 0, r2;

	keeper_stop(vm);
	for (uint32_t i = 0; i < vm->disk_count; i++) {
		r2 = file_sync(vm->volumes[i].image, err);
		r = r ? r : r2;
	}
	if (r == 0)
		r = vm_usable(vm, err);
	if (r == 0 && atomic_load(&vm->latch) == LATCH_OFF)
		r = make_all_durable(vm, err);
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
