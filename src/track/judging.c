/* SPDX-License-Identifier: Apache-2.0 */
/* Attaching, first half: how did the last time end, and what is it worth? */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "track/attaching.h"

/* ---- judging ---------------------------------------------------------- */

void invalidate(struct attaching *a, uint32_t disk, const char *reason)
{
	accuracy_worsen(&a->open.accuracy[disk], ACCURACY_INVALID, "%s",
			reason);
}

void invalidate_all(struct attaching *a, const char *reason)
{
	for (uint32_t i = 0; i < a->vm->disk_count; i++)
		invalidate(a, i, reason);
}

/* Opens the live files of the open generation; 1 if all are there and right, 0
 * if not.  They take the slot that epoch 1 marks in. */
static int live_open_all(struct attaching *a, struct err *err)
{
	struct vm *vm = a->vm;

	for (uint32_t i = 0; i < vm->disk_count; i++) {
		struct volume *volume = &vm->volumes[i];
		int r = live_open(vm->env.memory, &vm->system.store,
				  &vm->system.live_id, i,
				  vm->system.open_generation, &volume->live[1],
				  err);

		volume->live_open[1] = r == 0;
		if (r < 0)
			return r == -ENOENT || r == -RP_ECORRUPT ? 0 : r;
		if (volume->live[1].head.bytes != volume->bytes)
			return 0;
	}
	return 1;
}

void live_close_all(struct vm *vm)
{
	for (uint32_t i = 0; i < vm->disk_count; i++)
		for (unsigned s = 0; s < 2; s++) {
			if (vm->volumes[i].live_open[s])
				live_close(&vm->volumes[i].live[s]);
			vm->volumes[i].live_open[s] = false;
		}
}

/* What cannot be read may be one. */
static void judge_tombstone(struct attaching *a, struct file *file)
{
	struct tombstone tombstone;
	int r;

	if (!file)
		return;
	r = tombstone_read(file, &a->vm->system.store, &a->vm->system.live_id,
			   &tombstone, NULL);
	if (r == 0)
		invalidate_all(a, tombstone.reason);
	else if (r != -ENODATA)
		invalidate_all(a, "a tombstone cannot be read");
}

/* True if tracking had given way to the guest. */
bool judge_latch(struct attaching *a)
{
	struct vm *vm = a->vm;
	bool latched = false;

	for (uint32_t i = 0; a->end == JUDGE_KILLED && i < vm->disk_count;
	     i++) {
		struct live_state *state = vm->volumes[i].live[1].state;
		char reason[REASON_BYTES];

		if (!atomic_load(&state->latched))
			continue;
		memcpy(reason, state->reason, sizeof(reason));
		reason[sizeof(reason) - 1] = '\0';
		invalidate_all(a, reason);
		latched = true;
	}
	if (vm->system.live) {
		judge_tombstone(a, vm->tombstone);
		judge_tombstone(a, vm->env.fallback);
	}
	return latched;
}

void judge_disks(struct attaching *a)
{
	struct vm *vm = a->vm;

	for (uint32_t i = 0; i < vm->disk_count; i++) {
		struct judge_facts facts = {
		    .end = a->end,
		    .owned = vm->system.owned,
		    .boot_time_ns = vm->env.boot_time_ns,
		};

		if (a->end == JUDGE_KILLED)
			facts.last_submission_ns = (int64_t)atomic_load(
			    &vm->volumes[i].live[1].state->last_submission_ns);
		judge_image(&vm->disks[i], &a->stamps[i], &facts,
			    &a->open.accuracy[i]);
	}
}

static int put_accuracy(struct vm *vm, void *arg, struct err *err)
{
	return catalogue_put_generation(vm->catalogue, arg, err);
}

/* A1. */
int commit_judgement(struct attaching *a, struct err *err)
{
	struct vm *vm = a->vm;
	struct generation_row *open = model_open_generation(vm);
	int r;

	if (memcmp(open, &a->open, sizeof(a->open)) == 0)
		return 0;
	r = vm_commit(vm, put_accuracy, &a->open, NULL, err);
	(void)pthread_mutex_lock(&vm->model);
	if (r == 0)
		*open = a->open;
	(void)pthread_mutex_unlock(&vm->model);
	return r;
}

/* The same for one disk, before something is done that hides the cause. */
int commit_disk_judgement(struct attaching *a, uint32_t disk, struct err *err)
{
	struct vm *vm = a->vm;
	struct generation_row *open = model_open_generation(vm);
	struct generation_row *row = malloc(sizeof(*row));
	int r;

	if (!row)
		return err_set(err, -ENOMEM, "attach");
	*row = *open;
	row->accuracy[disk] = a->open.accuracy[disk];
	r = vm_commit(vm, put_accuracy, row, NULL, err);
	(void)pthread_mutex_lock(&vm->model);
	if (r == 0)
		*open = *row;
	(void)pthread_mutex_unlock(&vm->model);
	free(row);
	return r;
}

/* How the last time ended; opens the live files of a kill. */
int find_end(struct attaching *a, struct err *err)
{
	struct vm *vm = a->vm;
	int r;

	a->end = JUDGE_CLEAN;
	if (!vm->system.live)
		return 0;
	r = live_open_all(a, err);
	a->end = r == 1 ? JUDGE_KILLED : JUDGE_CUT;
	if (r != 1)
		live_close_all(vm);
	return MIN(r, 0);
}
