/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What tests of orders and accidents on the simulator are written in: one world
 * (world.h) for each test, and steps that fail the test if they do not succeed.
 * The world itself tells misses: it aborts.
 */
#ifndef TESTS_TRACK_SCENE_H
#define TESTS_TRACK_SCENE_H

#include "world.h"

#define BLOCK(n) ((n)*UINT64_C(4096))

extern struct world *w;
extern struct err err;

/* A defined system; ended by scene_end(), which does nothing without one. */
void scene_begin(uint64_t seed, uint32_t hot_regions);
void scene_end(void);
int scene_tear_down(void **state); /* as a fixture */

void ok(int r); /* fails with the text of `err` */

void start(void);
void stop(void);
void killed(void);
void power_cut(enum sim_cut cut);

/* Done when it returns; 4 KiB. */
void put(uint32_t disk, uint64_t offset);
void put_range(uint32_t disk, enum volume_op op, uint64_t offset,
	       uint64_t length);
/* Everything turns cold. */
void cool(void);

/* The newest point, or the one BACK before it. */
const struct world_point *point(unsigned back);
/* From here on the open generation of each disk may be invalid. */
void doubt_all(void);
/* The answer about what changed since P, until Q (NULL: now). */
struct vm_changes answer(uint32_t disk, const struct world_point *p,
			 const struct world_point *q);
enum accuracy worth(uint32_t disk, const struct world_point *p);

#endif
