/* SPDX-License-Identifier: Apache-2.0 */
#include "scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include <string.h>

#include "common/blockset.h"

struct world *w;
struct err err;

void scene_begin(uint64_t seed, uint32_t hot_regions)
{
	memset(&err, 0, sizeof(err));
	w = world_new(seed, hot_regions);
	ok(world_define(w, &err));
}

void scene_end(void)
{
	if (!w)
		return;
	if (w->vm && !sim_dead(w->sim))
		sim_kill(w->sim);
	w = world_free(w);
}

int scene_tear_down(void **state)
{
	scene_end();
	return 0;
}

void ok(int r)
{
	if (r < 0)
		fail_msg("%s", err.text);
}

void start(void)
{
	ok(world_start(w, VM_ATTACH_WRITE, &err));
}

void stop(void)
{
	ok(world_detach(w, &err));
	world_stop(w);
}

void killed(void)
{
	sim_kill(w->sim);
	world_stop(w);
	sim_land(w->sim);
	sim_reboot(w->sim);
}

void power_cut(enum sim_cut cut)
{
	sim_power_cut(w->sim, cut);
	world_stop(w);
	sim_reboot(w->sim);
}

void put(uint32_t disk, uint64_t offset)
{
	put_range(disk, VOLUME_WRITE, offset, BLOCK_BYTES);
}

void put_range(uint32_t disk, enum volume_op op, uint64_t offset,
	       uint64_t length)
{
	assert_true(world_submit(w, disk, op, offset, length));
	world_settle(w);
}

void cool(void)
{
	while (vm_keep(w->vm, true))
		;
}

const struct world_point *point(unsigned back)
{
	return &w->points[w->point_count - 1 - back];
}

void doubt_all(void)
{
	for (uint32_t d = 0; d < WORLD_DISKS; d++)
		world_doubt(w, d);
}

struct vm_changes answer(uint32_t disk, const struct world_point *p,
			 const struct world_point *q)
{
	struct vm_changes changes;

	ok(vm_changes(w->vm, disk, &p->id, q ? &q->id : NULL, &changes, &err));
	return changes;
}

enum accuracy worth(uint32_t disk, const struct world_point *p)
{
	struct vm_changes changes = answer(disk, p, NULL);

	blockset_free(changes.set);
	return changes.accuracy.accuracy;
}
