/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deaths of logs, enumerated: the same life is lived again and again and ends
 * at its first operation on the seam, its second, and so on, by a kill and by
 * power cuts of every mode; some die again while they are mended.  Then base
 * and logs are held to the images (scene.h), and the logs are written on,
 * closed, and read.
 *
 *   SEED=, SEEDS=, STRIDE= (1: every operation)
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <setjmp.h>

#include <cmocka.h>

#include "scene.h"

struct life {
	unsigned steps;
	bool stale; /* files hold an older log's bytes */
	bool large;
	bool small;        /* of metadata blocks there are many */
	unsigned stride;   /* of operations, likewise; 0: 7 */
	unsigned failures; /* of each 100 steps, of the image's writes */
};

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 10) : otherwise;
}

static void live(struct scene *s, const struct life *life)
{
	for (unsigned i = 0; i < life->steps && !sim_dead(s->sim); i++) {
		if (sim_random(s->sim, 100) < life->failures)
			sim_fail(s->sim, SIM_IO_WRITE, 1, EIO, false, "image*");
		scene_step(s);
	}
	sim_fail_none(s->sim);
}

/* What is left of a death is cleared away; a successor finds it landed. */
static void bury(struct scene *s, enum sim_death death)
{
	scene_stop(s);
	if (death == SIM_KILL)
		sim_land(s->sim);
	sim_reboot(s->sim);
}

/* Recovers, perhaps after dying once more. */
static void recover(struct scene *s, enum sim_death death)
{
	enum log_ended ended =
	    death == SIM_KILL ? LOG_ENDED_KILLED : LOG_ENDED_CUT;

	bury(s, death);
	if (sim_random(s->sim, 2)) {
		enum sim_death again = (enum sim_death)sim_random(s->sim, 2);

		sim_die_at(s->sim, 1 + sim_random(s->sim, 40), again,
			   (enum sim_cut)sim_random(s->sim, SIM_CUTS));
		if (!scene_recover(s, ended)) {
			recover(s, again);
			return;
		}
		sim_die_at(s->sim, 0, again, SIM_CUT_DROP);
	} else {
		assert_true(scene_recover(s, ended));
	}
	scene_settle(s);
	scene_check(s);
}

/* True: it died before its end. */
static bool one(const struct life *life, uint64_t seed, uint64_t n,
		enum sim_death death, enum sim_cut cut)
{
	struct scene *s = scene_new(seed);
	struct err err = {0};
	bool died;

	s->large = life->large;
	s->small = life->small;
	assert_int_equal(scene_create(s, life->stale, &err), 0);
	sim_die_at(s->sim, sim_ops(s->sim) + n, death, cut);
	live(s, life);
	died = sim_dead(s->sim);
	if (!died && death == SIM_KILL)
		sim_kill(s->sim);
	if (!died && death == SIM_CUT)
		sim_power_cut(s->sim, cut);
	recover(s, death);
	live(s, life);
	scene_settle(s);
	scene_check(s);
	assert_true(scene_close(s));
	scene_stop(s);
	scene_free(s);
	return died;
}

static void sweep(const struct life *life)
{
	uint64_t first = from_environment("SEED", 1);
	uint64_t seeds = from_environment("SEEDS", 2);
	uint64_t stride =
	    from_environment("STRIDE", life->stride ? life->stride : 7);

	for (uint64_t seed = first; seed < first + seeds; seed++)
		for (unsigned how = 0; how <= SIM_CUTS; how++) {
			uint64_t n = 1 + (seed + how) % stride;

			while (
			    one(life, seed, n, how ? SIM_CUT : SIM_KILL,
				how ? (enum sim_cut)(how - 1) : SIM_CUT_DROP))
				n += stride;
		}
}

/* A clean end needs no mending, and says that all is certain. */
static void a_clean_end_is_clean(void **state)
{
	struct scene *s = scene_new(from_environment("SEED", 1));
	struct err err = {0};

	(void)state;
	assert_int_equal(scene_create(s, false, &err), 0);
	live(s, &(struct life){.steps = 500});
	scene_settle(s);
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < SCENE_DISKS; i++)
			scene_flush(s, i);
		scene_settle(s);
	}
	scene_stop(s);
	sim_power_cut(s->sim, SIM_CUT_DROP);
	sim_reboot(s->sim);
	assert_true(scene_recover(s, LOG_ENDED_CLEAN));
	scene_check(s);
	live(s, &(struct life){.steps = 500});
	scene_settle(s);
	assert_true(scene_close(s));
	scene_stop(s);
	scene_free(s);
}

static void base_and_log_are_the_image_after_any_death(void **state)
{
	(void)state;
	sweep(&(struct life){.steps = 300});
}

static void large_writes_too(void **state)
{
	(void)state;
	sweep(&(struct life){.steps = 200, .large = true});
}

static void many_writes_too(void **state)
{
	(void)state;
	sweep(&(struct life){.steps = 2500, .small = true, .stride = 61});
}

static void an_older_logs_bytes_are_not_taken(void **state)
{
	a_clean_end_is_clean(state); /* leaves the older log */
	sweep(&(struct life){.steps = 200, .stale = true});
}

static void failed_writes_are_mended(void **state)
{
	(void)state;
	sweep(&(struct life){.steps = 200, .failures = 5});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(base_and_log_are_the_image_after_any_death),
	    cmocka_unit_test(large_writes_too),
	    cmocka_unit_test(many_writes_too),
	    cmocka_unit_test(an_older_logs_bytes_are_not_taken),
	    cmocka_unit_test(failed_writes_are_mended),
	    cmocka_unit_test(a_clean_end_is_clean),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
