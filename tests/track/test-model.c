/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtual system lives through a random run of events (guest writes, points,
 * questions, clean stops, kills, power cuts, foreign writes, growth, failures
 * of its store and its images, the keeper at any time), several lives one after
 * the other, and is held to the truth (world.h) at each start and by random
 * questions in between.  Half of the runs keep logs.
 *
 *   SEED=   the first run's seed
 *   RUNS=   how many runs, one seed each (default 120)
 *   VERBOSE=1  tells what happens
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "track/internal.h"
#include "world.h"

#define LIVES      7
#define POINTS_MAX 7 /* alive: every pair is asked at each start */

static struct {
	uint64_t lives, deaths, points, log_points, logs_lost, logs_checked,
	    snapshots, failed_points, unknown, latches;
	uint64_t pokes, growths, attach_failures, refused_detaches, order;
} count;

struct model {
	struct world *w;
	bool faults; /* this run's store and images fail at times */
	bool must_be_invalid[WORLD_DISKS];
	bool verbose;
};

#define FAIL(...)                                                              \
	do {                                                                   \
		fprintf(stderr,                                                \
			"seed %llu: ", (unsigned long long)m->w->seed);        \
		fprintf(stderr, __VA_ARGS__);                                  \
		fprintf(stderr, "\n");                                         \
		abort();                                                       \
	} while (0)

#define TELL(...)                                                              \
	do {                                                                   \
		if (m->verbose) {                                              \
			fprintf(stderr, "%llu: ",                              \
				(unsigned long long)sim_ops(m->w->sim));       \
			fprintf(stderr, __VA_ARGS__);                          \
			fprintf(stderr, "\n");                                 \
		}                                                              \
	} while (0)

static uint64_t dice(struct model *m, uint64_t bound)
{
	return sim_random(m->w->sim, bound);
}

static void doubt_all(struct world *w)
{
	for (uint32_t d = 0; d < WORLD_DISKS; d++)
		world_doubt(w, d);
}

/* Tracking gave way, and not because the world had ended already. */
static void note_latch(struct model *m)
{
	struct world *w = m->w;
	char reason[REASON_BYTES];

	if (!w->vm || !vm_attached(w->vm) || sim_failed(w->sim) == 0)
		return;
	if (vm_latched(w->vm, reason)) {
		w->logs_fail = true;
		doubt_all(w);
		count.latches++;
	}
}

static unsigned alive(const struct world *w)
{
	unsigned n = 0;

	for (unsigned i = 0; i < w->point_count; i++)
		n += !w->points[i].destroyed;
	return n;
}

/* ---- failures --------------------------------------------------------- */

static void inject(struct model *m)
{
	static const char *const names[] = {"intents",    "pages.*",   "gen-*",
					    "gen-*",      "catalog*",  "live-*",
					    "snapshot-*", "scratch-*", "log-*",
					    "log-*"};
	static const unsigned store_ops[] = {SIM_WRITE, SIM_IO_WRITE, SIM_SYNC,
					     SIM_CREATE,
					     SIM_SYNC | SIM_WRITE | SIM_CREATE |
						 SIM_TRUNCATE | SIM_ALLOCATE |
						 SIM_RENAME | SIM_UNLINK};
	struct sim *sim = m->w->sim;
	unsigned nth = 1 + (unsigned)dice(m, 12);

	m->w->logs_fail = true;
	if (dice(m, 4) == 0) {
		static const unsigned ops[] = {SIM_SYNC, SIM_IO_SYNC,
					       SIM_IO_WRITE, SIM_IO_READ,
					       SIM_IO_DISCARD};

		sim_fail(sim, ops[dice(m, ARRAY_SIZE(ops))], nth, EIO, false,
			 "image*");
		TELL("an image will fail");
		return;
	}
	sim_fail(sim, store_ops[dice(m, ARRAY_SIZE(store_ops))], nth,
		 dice(m, 2) ? EIO : ENOSPC, dice(m, 3) == 0,
		 names[dice(m, ARRAY_SIZE(names))]);
	TELL("the store will fail");
}

/* ---- while attached --------------------------------------------------- */

static void steps(struct model *m, unsigned n)
{
	while (n-- > 0 && !sim_dead(m->w->sim))
		world_step(m->w);
	note_latch(m);
}

static void make_point(struct model *m)
{
	struct err err = {0};
	char reason[REASON_BYTES];
	struct world *w = m->w;
	bool latched = vm_latched(w->vm, reason), log;
	int r;

	if (alive(w) >= POINTS_MAX)
		return;
	log = w->logs && dice(m, 2);
	r = log ? world_log_point(w, &err) : world_point(w, &err);
	note_latch(m);
	TELL("point: %d %s", r, r ? err.text : "");
	if (latched && r != -RP_ELATCHED && !sim_dead(w->sim))
		FAIL("a point of a latched system: %d", r);
	if (r < 0 && sim_failed(w->sim) == 0 && !sim_dead(w->sim))
		FAIL("no point: %s", err.text);
	count.points += r == 0;
	count.log_points += r == 0 && log;
	count.failed_points += r < 0;
	count.unknown += r < 0 && w->vm->broken;
}

static void destroy_point(struct model *m)
{
	struct err err = {0};
	struct world *w = m->w;
	int r = world_destroy(w, &err);

	note_latch(m);
	TELL("destroy: %d %s", r, r ? err.text : "");
	if (r < 0 && sim_failed(w->sim) == 0 && !sim_dead(w->sim))
		FAIL("not destroyed: %s", err.text);
}

/* What snapshots may lose to an injected failure is nothing but themselves. */
static void act_on_snapshots(struct model *m)
{
	struct err err = {0};
	char reason[REASON_BYTES];
	struct world *w = m->w;
	bool latched = vm_latched(w->vm, reason);
	int r = 0;

	w->scratch_fails |= m->faults;
	switch (dice(m, 5)) {
	case 0:
	case 1:
		r = world_snapshot(w, &err);
		if (latched && r == 0 && !sim_dead(w->sim))
			FAIL("a snapshot of a latched system");
		count.snapshots += r == 0;
		break;
	case 2:
		r = world_convert(w, &err);
		break;
	case 3:
		r = world_drop(w, &err);
		break;
	case 4:
		if (!w->vm->broken)
			world_read_snapshot(w, dice(m, 2));
		break;
	}
	note_latch(m);
	TELL("snapshots: %d %s", r, r ? err.text : "");
	if (r < 0 && r != -RP_ELIMIT && sim_failed(w->sim) == 0 &&
	    !w->scratch_fails && !latched && !sim_dead(w->sim))
		FAIL("snapshots: %s", err.text);
}

static void act(struct model *m)
{
	struct world *w = m->w;

	w->guest_rate = (unsigned)dice(m, 60);
	switch (dice(m, 15)) {
	case 12:
	case 13:
		act_on_snapshots(m);
		break;
	case 0:
	case 1:
	case 2:
	case 3:
		make_point(m);
		break;
	case 4:
		destroy_point(m);
		break;
	case 5:
		if (!sim_dead(w->sim) && !w->vm->broken)
			world_ask(w);
		note_latch(m);
		break;
	case 6:
		if (m->faults && dice(m, 2))
			inject(m);
		break;
	case 7:
		if (m->faults)
			sim_fail_none(w->sim);
		break;
	case 8:
		world_settle(w);
		note_latch(m);
		break;
	default:
		steps(m, 1 + (unsigned)dice(m, 40));
		break;
	}
}

/* ---- between lives ---------------------------------------------------- */

static void die(struct model *m)
{
	if (dice(m, 2))
		sim_kill(m->w->sim);
	else
		sim_power_cut(m->w->sim, (enum sim_cut)dice(m, SIM_CUTS));
}

/* A foreign write that can be told: not within a second of our last one. */
static void poke(struct model *m)
{
	uint32_t disk = (uint32_t)dice(m, WORLD_DISKS);

	sim_advance(m->w->sim, INT64_C(2000000000));
	world_poke(m->w, disk);
	m->must_be_invalid[disk] |= alive(m->w) > 0;
	m->w->logs_fail = true;
	count.pokes++;
	TELL("a foreign write to disk %u", disk);
}

static void check_pokes(struct model *m)
{
	for (uint32_t d = 0; d < WORLD_DISKS; d++) {
		struct vm_disk_status status;

		if (!m->must_be_invalid[d])
			continue;
		if (vm_disk_status(m->w->vm, d, &status, NULL) < 0 ||
		    status.accuracy.accuracy != ACCURACY_INVALID)
			FAIL("a foreign write to disk %u was not noticed", d);
		m->must_be_invalid[d] = false;
	}
}

/* Only after a clean stop.  A death on the way leaves it done or not. */
static void grow(struct model *m)
{
	struct world *w = m->w;
	uint32_t disk = (uint32_t)dice(m, WORLD_DISKS);
	uint64_t bytes = w->bytes[disk] + 512 * (1 + dice(m, KIB(48)));
	uint64_t stop = dice(m, 6); /* after this step, if there is one */
	struct err err = {0};
	int r = world_open(w, &err);

	sim_advance(w->sim, INT64_C(2000000000));
	if (r == 0)
		r = vm_grow_begin(w->vm, disk, bytes, &err);
	if (r == -RP_ESTATE && world_has_snapshots(w)) {
		world_stop(w);
		return;
	}
	if (r == 0 && world_has_snapshots(w))
		FAIL("a disk grew beneath a snapshot");
	if (r == 0 && stop == 0) {
		TELL("growth was only begun");
		world_stop(w);
		return;
	}
	if (r == 0)
		world_grow_image(w, disk, bytes);
	if (r == 0 && stop == 1) {
		TELL("growth of disk %u was not ended", disk);
		w->logs_fail = true;
		world_doubt(w, disk);
		world_stop(w);
		return;
	}
	if (r == 0)
		r = vm_grow_end(w->vm, disk, &err);
	if (r < 0 && sim_dead(w->sim)) {
		world_doubt(w, disk);
		return;
	}
	if (r < 0)
		FAIL("grow: %s", err.text);
	TELL("disk %u grew to %llu", disk, (unsigned long long)bytes);
	w->logs_fail = true;
	count.growths++;
	world_stop(w);
}

/* ---- a life ----------------------------------------------------------- */

/* True if it is up. */
static bool start(struct model *m)
{
	struct world *w = m->w;
	uint64_t failed = sim_failed(w->sim);
	bool poked = m->must_be_invalid[0] || m->must_be_invalid[1];
	struct err err = {0};
	int r;

	if (m->faults && dice(m, 4) == 0)
		inject(m);
	/* A foreign write before a power cut that comes before the next start
	 * cannot be told from ours. */
	if (dice(m, 6) == 0)
		sim_die_at(w->sim, sim_ops(w->sim) + 1 + dice(m, 80),
			   poked || dice(m, 2) ? SIM_KILL : SIM_CUT,
			   (enum sim_cut)dice(m, SIM_CUTS));
	r = world_start(w, VM_ATTACH_WRITE, &err);
	note_latch(m); /* regions are retired while logs are mended */
	TELL("start: %d %s", r, r ? err.text : "");
	if (r == 0)
		return true;
	if (!sim_dead(w->sim) && sim_failed(w->sim) == failed)
		FAIL("attach: %s", err.text);
	count.attach_failures++;
	return false;
}

static void stop(struct model *m)
{
	struct world *w = m->w;
	struct err err = {0};
	bool bad_sync = atomic_load(&w->vm->sync_failed);
	uint64_t failed;
	int r;

	/* Opening anew after a death drops what the page cache has in vain. */
	if (bad_sync || dice(m, 2)) {
		die(m);
		return;
	}
	world_settle(w);
	note_latch(m);
	failed = sim_failed(w->sim);
	r = world_detach(w, &err);
	if (r < 0 && sim_failed(w->sim) > failed)
		doubt_all(w);
	TELL("detach: %d %s", r, r ? err.text : "");
	if (sim_dead(w->sim))
		return;
	if (r < 0 && sim_failed(w->sim) == 0)
		FAIL("detach: %s", err.text);
	if (r < 0) {
		count.refused_detaches++;
		die(m);
		return;
	}
	world_stop(w);
	sim_fail_none(w->sim);
	if (dice(m, 4))
		return;
	if (dice(m, 3) == 0)
		poke(m);
	grow(m);
}

static void live(struct model *m)
{
	struct world *w = m->w;
	unsigned n = (unsigned)dice(m, 30);

	w->guest_rate = 0;
	if (start(m)) {
		count.lives++;
		sim_fail_none(w->sim);
		sim_die_at(w->sim, 0, SIM_KILL, SIM_CUT_DROP);
		if (!sim_dead(w->sim)) {
			check_pokes(m);
			world_check(w);
		}
		if (dice(m, 3) == 0)
			sim_die_at(w->sim, sim_ops(w->sim) + 1 + dice(m, 300),
				   dice(m, 2) ? SIM_KILL : SIM_CUT,
				   (enum sim_cut)dice(m, SIM_CUTS));
		while (n-- > 0 && !sim_dead(w->sim))
			act(m);
		if (!sim_dead(w->sim))
			stop(m);
	} else if (!sim_dead(w->sim)) {
		world_stop(w);
		sim_fail_none(w->sim);
	}
	if (sim_dead(w->sim)) {
		bool lost = w->vm && atomic_load(&w->vm->sync_failed);

		count.deaths++;
		world_stop(w);
		sim_land(w->sim); /* nothing, after a cut */
		sim_reboot(w->sim);
		/* What a failed sync lost the page cache may go on showing;
		 * the worker drops that, and here a cut does. */
		if (lost) {
			sim_power_cut(w->sim, SIM_CUT_RANDOM);
			sim_reboot(w->sim);
		}
		sim_fail_none(w->sim);
	}
	if (dice(m, 5) == 0)
		poke(m);
}

static void run(uint64_t seed, bool verbose)
{
	struct model m = {.verbose = verbose};
	struct err err = {0};

	m.w = world_new(seed, 1 + (uint32_t)(seed % 4));
	m.w->check_order = seed % 8 == 0;
	m.faults = seed % 2;
	m.w->logging = seed / 2 % 2;
	if (world_define(m.w, &err) < 0)
		abort();
	for (unsigned i = 0; i < LIVES; i++)
		live(&m);
	m.w->guest_rate = 0;
	sim_die_at(m.w->sim, 0, SIM_KILL, SIM_CUT_DROP);
	if (world_start(m.w, VM_ATTACH_WRITE, &err) < 0) {
		fprintf(stderr, "seed %llu: %s\n", (unsigned long long)seed,
			err.text);
		abort();
	}
	check_pokes(&m);
	world_check(m.w);
	if (world_detach(m.w, &err) < 0)
		abort();
	count.order += m.w->order_checks;
	count.logs_checked += m.w->logs_checked;
	count.logs_lost += m.w->logs_lost;
	world_stop(m.w);
	world_free(m.w);
}

int main(void)
{
	const char *seed_text = getenv("SEED"), *runs_text = getenv("RUNS");
	uint64_t seed = seed_text ? strtoull(seed_text, NULL, 10) : 1;
	uint64_t runs = runs_text ? strtoull(runs_text, NULL, 10) : 120;

	printf("SEED=%llu RUNS=%llu\n", (unsigned long long)seed,
	       (unsigned long long)runs);
	fflush(stdout);
	for (uint64_t i = 0; i < runs; i++)
		run(seed + i, getenv("VERBOSE") != NULL);
	printf(
	    "%llu lives, %llu deaths, %llu points (%llu log-based, whose logs "
	    "were checked %llu times and found lost %llu times), %llu "
	    "snapshots, %llu failed (%llu of unknown fate), "
	    "%llu latches, %llu foreign writes, %llu growths, %llu failed "
	    "attaches, %llu failed detaches, %llu writes checked for "
	    "order\n",
	    (unsigned long long)count.lives, (unsigned long long)count.deaths,
	    (unsigned long long)count.points,
	    (unsigned long long)count.log_points,
	    (unsigned long long)count.logs_checked,
	    (unsigned long long)count.logs_lost,
	    (unsigned long long)count.snapshots,
	    (unsigned long long)count.failed_points,
	    (unsigned long long)count.unknown,
	    (unsigned long long)count.latches, (unsigned long long)count.pokes,
	    (unsigned long long)count.growths,
	    (unsigned long long)count.attach_failures,
	    (unsigned long long)count.refused_detaches,
	    (unsigned long long)count.order);
	return 0;
}
