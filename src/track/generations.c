/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sealed generations: merging those that no point stands between, forgetting
 * those that no point needs, and sweeping up files that no row names.
 *
 * A merge writes the new file under a new serial, then commits the row that
 * names it and forgets the other, then unlinks both old files: at every
 * instant the catalogue names complete files, and what it does not name is
 * swept at the next opening.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "track/internal.h"

/* ---- sweeping --------------------------------------------------------- */

static bool generation_named(const struct vm *vm, const char *name)
{
	for (uint32_t i = 0; i < vm->generation_count; i++) {
		char wanted[48];

		if (!vm->generations[i].sealed)
			continue;
		sealed_name(vm->generations[i].generation,
			    vm->generations[i].serial, wanted);
		if (strcmp(name, wanted) == 0)
			return true;
	}
	return false;
}

struct sweep {
	struct vm *vm;
	char name[48]; /* one to remove */
};

static int sweep_find(void *arg, const char *name)
{
	struct sweep *sweep = arg;

	if (strncmp(name, "gen-", 4) != 0 ||
	    strlen(name) >= sizeof(sweep->name) ||
	    generation_named(sweep->vm, name))
		return 0;
	(void)snprintf(sweep->name, sizeof(sweep->name), "%s", name);
	return 1;
}

int generations_sweep(struct vm *vm, struct err *err)
{
	struct fs *fs = vm->env.store;
	struct sweep sweep = {.vm = vm};
	int r;

	while ((r = fs->ops->list(fs, sweep_find, &sweep, err)) > 0) {
		r = fs->ops->unlink(fs, sweep.name, err);
		if (r < 0)
			return r;
	}
	return r;
}

/* ---- merging ---------------------------------------------------------- */

/* Index of a sealed generation that can go: 1 no point is older, 2 no point
 * stands between it and the sealed one after it. */
static int mergeable(const struct vm *vm, uint32_t *ret_index)
{
	for (uint32_t i = 0; i + 1 < vm->generation_count; i++) {
		uint64_t g = vm->generations[i].generation;
		bool older = false, between = false;

		for (uint32_t k = 0; k < vm->point_count; k++) {
			if (vm->points[k].invalid[0])
				continue; /* it is never asked for these */
			older |= vm->points[k].generation < g;
			between |= vm->points[k].generation == g;
		}
		*ret_index = i;
		if (!older)
			return 1;
		if (!between && vm->generations[i + 1].sealed)
			return 2;
	}
	return 0;
}

struct merge {
	uint64_t drop;
	const struct generation_row *put; /* NULL: nothing */
};

static int put_merge(struct vm *vm, void *arg, struct err *err)
{
	const struct merge *merge = arg;
	int r = catalogue_drop_generation(vm->catalogue, merge->drop, err);

	if (r == 0 && merge->put)
		r = catalogue_put_generation(vm->catalogue, merge->put, err);
	return r;
}

static void free_sets(struct sealed_disk *disks, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		disks[i].set = blockset_free(disks[i].set);
}

static int read_sets(struct vm *vm, const struct generation_row *row,
		     struct sealed_disk *disks, struct err *err)
{
	struct sealed_head head;
	int r = sealed_read(vm->env.store, &vm->system.store, row->generation,
			    row->serial, &head, disks, err);

	if (r == 0 && head.disks != vm->disk_count) {
		free_sets(disks, head.disks);
		r = err_set(err, -RP_ECORRUPT,
			    "generation %llu has %u disks, not %u",
			    (unsigned long long)row->generation, head.disks,
			    vm->disk_count);
	}
	return r;
}

/* Writes the union of ROW and NEXT as MERGED's file. */
static int write_union(struct vm *vm, const struct generation_row *row,
		       const struct generation_row *next,
		       const struct generation_row *merged, struct err *err)
{
	struct sealed_disk a[DISKS_PER_VM_MAX] = {0};
	struct sealed_disk b[DISKS_PER_VM_MAX] = {0};
	struct sealed_head head = {.store = vm->system.store,
				   .generation = merged->generation,
				   .serial = merged->serial,
				   .disks = vm->disk_count};
	int r = read_sets(vm, row, a, err);

	if (r == 0)
		r = read_sets(vm, next, b, err);
	for (uint32_t i = 0; r == 0 && i < vm->disk_count; i++) {
		r = blockset_union(b[i].set, a[i].set);
		if (r < 0)
			err_set(err, r, "merge generations");
	}
	if (r == 0)
		r = sealed_write(vm->env.store, &head, b, err);
	free_sets(a, vm->disk_count);
	free_sets(b, vm->disk_count);
	return r;
}

static void unlink_sealed(struct vm *vm, uint64_t generation, uint32_t serial)
{
	char name[48];

	sealed_name(generation, serial, name);
	/* What cannot be unlinked now is swept at the next opening. */
	(void)vm->env.store->ops->unlink(vm->env.store, name, NULL);
}

static int merge_one(struct vm *vm, uint32_t index, bool keep, struct err *err)
{
	struct generation_row *merged = malloc(sizeof(*merged));
	struct generation_row old = vm->generations[index];
	struct merge merge = {.drop = old.generation};
	uint32_t old_serial = vm->generations[index + 1].serial;
	int r = 0;

	if (!merged)
		return err_set(err, -ENOMEM, "merge generations");
	*merged = vm->generations[index + 1];
	if (keep) {
		merged->serial++;
		for (uint32_t i = 0; i < vm->disk_count; i++)
			accuracy_join(&merged->accuracy[i], &old.accuracy[i]);
		merge.put = merged;
		r = write_union(vm, &old, &vm->generations[index + 1], merged,
				err);
	}
	if (r == 0)
		r = vm_commit(vm, put_merge, &merge, NULL, err);
	if (r == 0) {
		(void)pthread_mutex_lock(&vm->model);
		vm->generations[index + 1] = *merged;
		model_drop_generation(vm, old.generation);
		vm->serial++;
		(void)pthread_mutex_unlock(&vm->model);
		unlink_sealed(vm, old.generation, old.serial);
		if (keep)
			unlink_sealed(vm, merged->generation, old_serial);
	}
	free(merged);
	return r;
}

int generations_compact(struct vm *vm, struct err *err)
{
	uint32_t index;
	int what, r = 0;

	while (r == 0 && (what = mergeable(vm, &index)) != 0)
		r = merge_one(vm, index, what == 2, err);
	return r;
}

/* ---- destroying a point ----------------------------------------------- */

static int put_destroy(struct vm *vm, void *arg, struct err *err)
{
	int r = catalogue_drop_point(vm->catalogue, arg, err);

	return r ? r : log_rows_put_destroy(vm, arg, err);
}

static void model_drop_point(struct vm *vm, const struct guid *id)
{
	for (uint32_t i = 0; i < vm->point_count; i++) {
		if (!guid_equal(&vm->points[i].id, id))
			continue;
		vm->point_count--;
		memmove(&vm->points[i], &vm->points[i + 1],
			(vm->point_count - i) * sizeof(*vm->points));
		return;
	}
}

/* A point's row, or a snapshot's. */
static int drop_locked(struct vm *vm, bool snapshot, const struct guid *id,
		       struct err *err)
{
	struct point_row *row = malloc(sizeof(*row));
	struct guid copy = *id;
	struct err why = {0};
	int r = row ? vm_usable(vm, err) : err_set(err, -ENOMEM, "destroy");

	if (r == 0)
		r = snapshot ? vm_snapshot_find(vm, id, row, err)
			     : vm_point_find(vm, id, row, err);
	free(row);
	if (r == 0)
		r = vm_commit(vm, put_destroy, &copy, NULL, err);
	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&vm->model);
	log_rows_destroyed(vm, &copy);
	model_drop_point(vm, &copy);
	vm->serial++;
	(void)pthread_mutex_unlock(&vm->model);
	/* It is gone; tidying up may wait for a better day. */
	if (generations_compact(vm, &why) < 0)
		log_warning("generations were not merged: %s", why.text);
	return 0;
}

static int drop(struct vm *vm, bool snapshot, const struct guid *id,
		struct err *err)
{
	int r;

	(void)pthread_mutex_lock(&vm->control);
	r = drop_locked(vm, snapshot, id, err);
	(void)pthread_mutex_unlock(&vm->control);
	return r;
}

int vm_point_destroy(struct vm *vm, const struct guid *id, struct err *err)
{
	return drop(vm, false, id, err);
}

int vm_snapshot_drop(struct vm *vm, const struct guid *id, struct err *err)
{
	return drop(vm, true, id, err);
}

/* ---- what else becomes of a snapshot's row ------------------------------- */

static int put_row(struct vm *vm, void *arg, struct err *err)
{
	return catalogue_put_point(vm->catalogue, arg, err);
}

static int replace_row(struct vm *vm, struct point_row *row, struct err *err)
{
	int r = vm_commit(vm, put_row, row, NULL, err);

	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&vm->model);
	for (uint32_t i = 0; i < vm->point_count; i++)
		if (guid_equal(&vm->points[i].id, &row->id))
			vm->points[i] = *row;
	(void)pthread_mutex_unlock(&vm->model);
	return 0;
}

/* LABEL NULL: it becomes a point. */
static int change_locked(struct vm *vm, const struct guid *id,
			 const char *label, struct point_row *row,
			 struct err *err)
{
	int r = vm_usable(vm, err);

	if (r == 0)
		r = vm_snapshot_find(vm, id, row, err);
	if (r == 0 && !label && model_count(vm, false) >= vm->system.points_max)
		r = err_set(err, -RP_ELIMIT,
			    "there are %u points already, which is the limit; "
			    "destroy one first",
			    model_count(vm, false));
	if (r < 0)
		return r;
	if (label) {
		(void)snprintf(row->label, sizeof(row->label), "%s", label);
	} else {
		row->snapshot = false;
		row->request_id[0] = '\0'; /* it was of another method */
	}
	return replace_row(vm, row, err);
}

static int change(struct vm *vm, const struct guid *id, const char *label,
		  struct point_row *ret_row, struct err *err)
{
	struct point_row *row = malloc(sizeof(*row));
	int r;

	if (!row)
		return err_set(err, -ENOMEM, "snapshot");
	(void)pthread_mutex_lock(&vm->control);
	r = change_locked(vm, id, label, row, err);
	(void)pthread_mutex_unlock(&vm->control);
	if (r == 0 && ret_row)
		*ret_row = *row;
	free(row);
	return r;
}

int vm_snapshot_convert(struct vm *vm, const struct guid *id,
			struct point_row *ret_point, struct err *err)
{
	return change(vm, id, NULL, ret_point, err);
}

int vm_snapshot_rename(struct vm *vm, const struct guid *id, const char *label,
		       struct err *err)
{
	return change(vm, id, label, NULL, err);
}
