/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the store's files share: a world, its seed, its deaths. */
#ifndef TESTS_STORE_SCENE_H
#define TESTS_STORE_SCENE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "sim/sim.h"
#include "store/files.h"

static const struct guid store_id = {{0x11}};
static const struct guid other_id = {{0x22}};
static const struct guid live_a = {{0xa1}};
static const struct guid live_b = {{0xb1}};

static uint64_t first_seed;

static inline void scene_seed(void)
{
	const char *env = getenv("SEED");

	first_seed = env ? strtoull(env, NULL, 0) : (uint64_t)time(NULL);
	printf("SEED=%llu\n", (unsigned long long)first_seed);
}

/* Handles to the two directories of a world's present life. */
struct scene {
	struct sim *sim;
	struct fs *fs;
	struct fs *memory;
};

static inline void scene_open(struct scene *s, struct sim *sim)
{
	s->sim = sim;
	s->fs = sim_fs(sim, "store", false);
	s->memory = sim_fs(sim, "live", true);
}

static inline void scene_close(struct scene *s)
{
	s->fs->ops->free(s->fs);
	s->memory->ops->free(s->memory);
}

/* The next life: the handles of the last one are closed here. */
static inline void scene_reboot(struct scene *s)
{
	scene_close(s);
	sim_reboot(s->sim);
	scene_open(s, s->sim);
}

static inline void scene_end(struct scene *s)
{
	scene_close(s);
	sim_free(s->sim);
}

static inline bool chance(struct sim *sim, unsigned one_in)
{
	return sim_random(sim, one_in) == 0;
}

/* A death N operations from now, of a random kind. */
static inline void scene_die_in(struct scene *s, uint64_t n)
{
	sim_die_at(s->sim, sim_ops(s->sim) + n,
		   chance(s->sim, 3) ? SIM_KILL : SIM_CUT,
		   (enum sim_cut)sim_random(s->sim, SIM_CUTS));
}

/* Some sync of this life fails. */
static inline void scene_fail_a_sync(struct scene *s)
{
	sim_fail(s->sim, SIM_SYNC, 1 + (unsigned)sim_random(s->sim, 6), EIO,
		 false, NULL);
}

/* Ends this life, if nothing has, by a power cut; the next begins. */
static inline void scene_next_life(struct scene *s)
{
	if (!sim_dead(s->sim))
		sim_power_cut(s->sim,
			      (enum sim_cut)sim_random(s->sim, SIM_CUTS));
	sim_fail_none(s->sim);
	scene_reboot(s);
}

/* Runs lives with every seed below SEEDS and a first death at each operation up
 * to DEATHS; one in ONE_IN of them at least must come to pass. */
static inline void
scene_sweep(bool (*run_lives)(uint64_t seed, uint64_t n, bool failures),
	    bool failures, uint64_t seeds, uint64_t deaths, unsigned one_in)
{
	unsigned died = 0;

	for (uint64_t seed = 0; seed < seeds; seed++)
		for (uint64_t n = 1; n <= deaths; n++)
			died += run_lives(seed, n, failures);
	print_message("%u first deaths\n", died);
	assert_true(died > seeds * deaths / one_in);
}

/* Puts BYTES at OFFSET of a file of the store, durably. */
static inline void scene_poke(struct scene *s, const char *name,
			      const void *buf, uint64_t bytes, uint64_t offset)
{
	struct file *file;

	assert_int_equal(fs_open(s->fs, name, FILE_WRITE, &file, NULL), 0);
	assert_int_equal(file_write(file, buf, bytes, offset, NULL), 0);
	assert_int_equal(file_sync(file, NULL), 0);
	file_close(file);
}

static inline void scene_peek(struct scene *s, const char *name, void *buf,
			      uint64_t bytes, uint64_t offset)
{
	struct file *file;

	assert_int_equal(fs_open(s->fs, name, FILE_READ, &file, NULL), 0);
	assert_int_equal(file_read(file, buf, bytes, offset, NULL), bytes);
	file_close(file);
}

static inline void scene_truncate(struct scene *s, const char *name,
				  uint64_t bytes)
{
	struct file *file;

	assert_int_equal(fs_open(s->fs, name, FILE_WRITE, &file, NULL), 0);
	assert_int_equal(file->ops->truncate(file, bytes, NULL), 0);
	file_close(file);
}

static inline void expect_error(int r, int code, const struct err *err,
				const char *says)
{
	if (r != code || !strstr(err->text, says))
		fail_msg("%d '%s', expected %d '%s'", r, err->text, code, says);
}

#endif
