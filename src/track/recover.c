/* SPDX-License-Identifier: Apache-2.0 */
/* Attaching: live bitmaps, adopted after a kill or made afresh. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "track/attaching.h"

/* ---- the intents ------------------------------------------------------ */

int load_intents(struct attaching *a, struct err *err)
{
	struct vm *vm = a->vm;
	bool found = false;
	int r = intents_open(vm->env.store, &vm->system.store,
			     &vm->system.live_id, &vm->intents, &found, err);

	if (r == -RP_ECORRUPT || r == -ENOENT ||
	    (r == 0 && vm->system.live && !found)) {
		vm->intents = intents_close(vm->intents);
		if (vm->system.live) {
			invalidate_all(a, "the intents are damaged");
			r = commit_judgement(a, err);
			if (r < 0)
				return r;
		}
		r = vm->env.store->ops->unlink(vm->env.store, "intents", err);
		if (r == 0 || r == -ENOENT)
			r = intents_create(vm->env.store, err);
		if (r == 0)
			r = vm->env.store->ops->sync_dir(vm->env.store, err);
		if (r == 0)
			r = intents_open(vm->env.store, &vm->system.store,
					 &vm->system.live_id, &vm->intents,
					 &found, err);
	}
	if (r < 0)
		return r;
	if (found && vm->system.live) {
		uint32_t n;
		const struct intent *list = intents_in_force(vm->intents, &n);

		a->intents = malloc((n + 1) * sizeof(*a->intents));
		if (!a->intents)
			return err_set(err, -ENOMEM, "attach");
		memcpy(a->intents, list, n * sizeof(*list));
		a->intent_count = n;
	}
	return 0;
}

/* ---- adopting live files (a kill) ------------------------------------- */

struct undone {
	struct attaching *a;
	bool any;
	int result;
	struct err *err;
};

static void merge_bits(struct attaching *a, uint32_t disk,
		       const struct live_file *from)
{
	struct volume *volume = &a->vm->volumes[disk];

	for (uint64_t w = 0; w < from->words; w++) {
		uint64_t bits = atomic_load(&from->bits[w]);

		if (!bits)
			continue;
		atomic_fetch_or(&volume->live[1].bits[w], bits);
		a->pages[disk][w / REGION_WORDS / PAGE_REGIONS] |=
		    PAGE_NEEDS_WRITE;
	}
}

/* T7: a live file of a generation that no commit opened. */
static int adopt_undone(void *arg, uint32_t disk, uint64_t generation)
{
	struct undone *undone = arg;
	struct vm *vm = undone->a->vm;
	struct live_file live;
	int r;

	if (disk >= vm->disk_count || generation <= vm->system.open_generation)
		return 0;
	r = live_open(vm->env.memory, &vm->system.store, &vm->system.live_id,
		      disk, generation, &live, undone->err);
	if (r == -RP_ECORRUPT)
		return 0; /* of another life */
	if (r < 0)
		return undone->result = r;
	if (live.head.bytes == vm->volumes[disk].bytes) {
		struct live_state *state = vm->volumes[disk].live[1].state;
		uint64_t last = atomic_load(&live.state->last_submission_ns);

		merge_bits(undone->a, disk, &live);
		if (last > atomic_load(&state->last_submission_ns))
			atomic_store(&state->last_submission_ns, last);
		undone->any = true;
	}
	live_close(&live);
	return 0;
}

int merge_undone(struct attaching *a, struct err *err)
{
	struct undone undone = {.a = a, .err = err};
	int r = live_list(a->vm->env.memory, adopt_undone, &undone, err);

	return r < 0 ? r : undone.result;
}

static void adopt_hot(struct attaching *a)
{
	struct vm *vm = a->vm;

	for (uint32_t i = 0; i < a->intent_count; i++) {
		struct volume *volume;
		uint64_t region = a->intents[i].region;

		if (a->intents[i].disk >= vm->disk_count)
			continue;
		volume = &vm->volumes[a->intents[i].disk];
		if (region >= volume->region_count ||
		    volume->regions[region].state == REGION_HOT ||
		    volume->hot_count == HOT_REGIONS_MAX)
			continue;
		volume->regions[region].state = REGION_HOT;
		volume->hot[volume->hot_count++] = (uint32_t)region;
		volume->regions[region].over = volume->over;
		/* Its page in the other file may be half written too. */
		a->pages[a->intents[i].disk][region / PAGE_REGIONS] |=
		    PAGE_NEEDS_MENDING;
	}
}

/* Pages made anew hold nothing: all that is marked has to go there. */
static void want_marked_pages(struct attaching *a, uint32_t disk)
{
	const struct live_file *live = &a->vm->volumes[disk].live[1];

	for (uint64_t w = 0; w < live->words; w++)
		if (atomic_load(&live->bits[w]))
			a->pages[disk][w / REGION_WORDS / PAGE_REGIONS] |=
			    PAGE_NEEDS_WRITE;
}

static int adopt_disk(struct attaching *a, uint32_t disk, struct err *err)
{
	int r = open_pages(a, disk, err);

	if (r == 0)
		r = flush_pages(a, disk, err);
	if (r != -ENOENT && r != -RP_ECORRUPT)
		return r;
	r = remake_pages(a, disk, err);
	if (r < 0)
		return r;
	want_marked_pages(a, disk);
	return flush_pages(a, disk, err);
}

int adopt(struct attaching *a, struct err *err)
{
	int r = 0;

	adopt_hot(a);
	for (uint32_t i = 0; r == 0 && i < a->vm->disk_count; i++)
		r = adopt_disk(a, i, err);
	return r;
}

/* ---- fresh live files (clean, or a cut) ------------------------------- */

static int fresh_live(struct attaching *a, uint32_t disk, struct err *err)
{
	struct vm *vm = a->vm;
	struct volume *volume = &vm->volumes[disk];
	struct live_head head = {
	    .store = vm->system.store,
	    .live = a->system.live_id,
	    .generation = vm->system.open_generation,
	    .disk = disk,
	    .bytes = volume->bytes,
	};
	int r = live_create(vm->env.memory, &head, &volume->live[1], err);

	volume->live_open[1] = r == 0;
	if (r == 0)
		atomic_store(&volume->live[1].state->last_submission_ns,
			     (uint64_t)vm->env.now_ns(vm->env.arg));
	return r;
}

/* A1 again, now with what the hot regions add, before any page holds it: a
 * second cut must not take widened blocks for written ones. */
static int put_widened(struct vm *vm, void *arg, struct err *err)
{
	struct attaching *a = arg;
	struct system_row system = vm->system;
	int r;

	system.widened = vm->system.live_id;
	r = catalogue_put_system(vm->catalogue, &system, err);
	return r ? r : catalogue_put_generation(vm->catalogue, &a->open, err);
}

static int commit_widened(struct attaching *a, struct err *err)
{
	int r;

	if (a->end != JUDGE_CUT || a->intent_count == 0 ||
	    guid_equal(&a->vm->system.widened, &a->vm->system.live_id))
		return 0;
	r = vm_commit(a->vm, put_widened, a, NULL, err);
	if (r == 0)
		a->system.widened = a->vm->system.live_id;
	return r;
}

static int fresh_disk(struct attaching *a, uint32_t disk, struct err *err)
{
	struct vm *vm = a->vm;
	int r = 0;

	if (vm->volumes[disk].bytes != vm->disks[disk].bytes)
		r = pages_create(vm->env.store, disk, vm->volumes[disk].bytes,
				 err);
	if (r == 0)
		r = open_pages(a, disk, err);
	if (r == -ENOENT || r == -RP_ECORRUPT) {
		r = remake_pages(a, disk, err);
	}
	if (r == 0)
		r = fresh_live(a, disk, err);
	if (r == 0)
		r = load_pages(a, disk, err);
	if (r == 0 && a->end == JUDGE_CUT)
		widen(a, disk);
	return r;
}

/* T11: what was hot stays so, under the new live id. */
static int write_hot(struct attaching *a, struct err *err)
{
	struct vm *vm = a->vm;
	uint32_t n = 0;
	struct intent *list;
	int r;

	list = malloc((a->intent_count + 1) * sizeof(*list));
	if (!list)
		return err_set(err, -ENOMEM, "attach");
	for (uint32_t i = 0; i < vm->disk_count; i++)
		for (uint32_t k = 0; k < vm->volumes[i].hot_count; k++)
			list[n++] = (struct intent){i, vm->volumes[i].hot[k]};
	r = intents_write(vm->intents, list, n, err);
	free(list);
	return r;
}

int fresh(struct attaching *a, struct err *err)
{
	struct vm *vm = a->vm;
	int r = 0;

	a->system.live_id = guid_random();
	for (uint32_t i = 0; r == 0 && i < vm->disk_count; i++)
		r = fresh_disk(a, i, err);
	if (r == 0)
		r = commit_widened(a, err);
	for (uint32_t i = 0; r == 0 && i < vm->disk_count; i++)
		r = flush_pages(a, i, err);
	if (r < 0)
		return r;
	if (atomic_load(&vm->strict))
		adopt_hot(a);
	intents_rebind(vm->intents, &a->system.live_id);
	r = write_hot(a, err);
	if (r == 0)
		r = file_sync(intents_sync_file(vm->intents), err);
	if (r == 0)
		intents_commit(vm->intents);
	return r;
}
