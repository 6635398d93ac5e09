/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which snapshots a virtual system has, beside its points (points.c, whose
 * invariants hold for them).  Which there are changes by commits alone, within
 * one boot; what state they are in and how much was copied changes without one,
 * and is what the worker said last.
 */
#include <string.h>

#include "common/log.h"
#include "daemon/pull.h"

void vm_snapshot_made(struct vm *vm, json_t *snapshot)
{
	struct err err = {0};

	vm->points_serial++;
	if (inventory_snapshots_add(&vm->entry.snapshot, snapshot, &err) < 0) {
		log_warning("'%s': %s", vm->name, err.text);
		vm_points_in_doubt(vm);
		return;
	}
	if (!vm->entry.point.known)
		vm_points_in_doubt(vm);
	(void)vm_save(vm, NULL);
}

static void forget(struct vm *vm, const char *id)
{
	struct guid guid;

	vm->points_serial++;
	if (!id || !guid_parse(id, &guid))
		return;
	inventory_points_remove(&vm->entry.snapshot, &guid);
	vm_snapshot_unlisten(vm, &guid);
	pulls_end(vm, &guid);
}

void vm_snapshot_dropped(struct vm *vm, const char *id)
{
	forget(vm, id);
	if (!vm->entry.point.known)
		vm_points_in_doubt(vm);
	(void)vm_save(vm, NULL);
}

/* Saved once, with both done. */
void vm_snapshot_converted(struct vm *vm, const char *id, json_t *point)
{
	forget(vm, id);
	vm_point_made(vm, point);
}

/* An answer that was overtaken by a change may name one that is gone, and lack
 * another: none comes or goes by it. */
void vm_snapshots_note(struct vm *vm, json_t *snapshots)
{
	json_t *snapshot;
	struct guid id;
	size_t i;

	json_array_foreach(snapshots, i, snapshot)
	{
		const char *text =
		    json_string_value(json_object_get(snapshot, "id"));

		const char *state =
		    json_string_value(json_object_get(snapshot, "state"));

		if (!text || !guid_parse(text, &id) ||
		    !inventory_points_find(&vm->entry.snapshot, &id))
			continue;
		(void)inventory_snapshots_add(&vm->entry.snapshot, snapshot,
					      NULL);
		if (state && strcmp(state, "invalid") == 0)
			pulls_end(vm, &id);
	}
}

bool vm_snapshots_last(const struct vm *vm)
{
	return vm->entry.snapshot.n == 0 ||
	       guid_equal(&vm->entry.boot, &vm->daemon->boot);
}
