/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deaths, enumerated: a scenario is run once; before each of its operations on
 * the seam the world is cloned, and each clone dies there, several times over:
 * by a kill, and by power cuts in every mode and with several seeds, and a
 * second time during the recovery.  After recovery every promise is held to the
 * truth (world.h).
 *
 *   test-crash [SCENARIO [FIRST-OP]]   SEED=, SEEDS=, STRIDE= (1: at every
 *   operation with every seed; n: at every n-th, shifted from seed to seed).
 *   Scenarios with logs take long: at every 8n-th, so that 8 seeds together die
 *   at each.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "track/internal.h"
#include "world.h"

struct scenario {
	const char *name;
	uint32_t hot_regions;
	unsigned guest_rate;
	void (*run)(struct world *w);
	bool logging;
};

static uint64_t kills, cuts, seconds, order_checks, split_writes, logs_checked;

static bool ok(struct world *w, int r, const struct err *err)
{
	if (r < 0 && !sim_dead(w->sim)) {
		fprintf(stderr, "seed %llu: %s\n", (unsigned long long)w->seed,
			err->text);
		abort();
	}
	return r >= 0;
}

/* These and the next: false if the world has ended meanwhile. */
static bool up(struct world *w)
{
	struct err err = {0};

	return ok(w, world_start(w, VM_ATTACH_WRITE, &err), &err);
}

static bool down(struct world *w)
{
	struct err err = {0};

	if (!ok(w, world_detach(w, &err), &err))
		return false;
	world_stop(w);
	return true;
}

static bool make_point(struct world *w)
{
	struct err err = {0};

	return ok(w, world_point(w, &err), &err);
}

static void steps(struct world *w, unsigned n)
{
	while (n-- > 0 && !sim_dead(w->sim))
		world_step(w);
}

/* Points under load, destroyed and made, over a clean stop. */
static void run_points(struct world *w)
{
	struct err err = {0};

	for (unsigned life = 0; life < 2; life++) {
		if (!up(w))
			return;
		for (unsigned i = 0; i < 3; i++) {
			steps(w, 25);
			if (!make_point(w))
				return;
		}
		steps(w, 20);
		if (!ok(w, world_destroy(w, &err), &err))
			return;
		steps(w, 10);
		if (!down(w))
			return;
	}
}

/* A seal fails half way (no room for the sealed generation), another succeeds;
 * between them regions are retired into both page files. */
static void run_undo(struct world *w)
{
	struct err err = {0};

	if (!up(w))
		return;
	steps(w, 20);
	if (!make_point(w))
		return;
	for (unsigned i = 0; i < 2; i++) {
		steps(w, 20);
		sim_fail(w->sim, SIM_CREATE, 1, ENOSPC, true, "gen-*");
		(void)world_point(w, &err);
		sim_fail_none(w->sim);
		if (sim_dead(w->sim))
			return;
		steps(w, 30);
	}
	if (!make_point(w))
		return;
	steps(w, 20);
	(void)down(w);
}

/* What an undone seal's generation marked comes home from the other page file,
 * where alone it is: its regions turned cold.  Twice, once each way. */
static void run_home(struct world *w)
{
	unsigned rate = w->guest_rate;
	struct err err = {0};

	if (!up(w))
		return;
	if (!make_point(w))
		return;
	for (unsigned i = 0; i < 2; i++) {
		steps(w, 20);
		w->guest_rate = 90;
		sim_fail(w->sim, SIM_CREATE, 1, ENOSPC, true, "gen-*");
		(void)world_point(w, &err);
		sim_fail_none(w->sim);
		w->guest_rate = 0;
		world_settle(w);
		while (!sim_dead(w->sim) && vm_keep(w->vm, true))
			;
		if (sim_dead(w->sim))
			return;
		if (!make_point(w))
			return;
		w->guest_rate = rate;
	}
	steps(w, 10);
	(void)down(w);
}

/* An image cannot be synced: no point until it was opened anew. */
static void run_sync_fails(struct world *w)
{
	struct err err = {0};

	if (!up(w))
		return;
	if (!make_point(w))
		return;
	steps(w, 20);
	sim_fail(w->sim, SIM_SYNC, 3, EIO, false, "image*");
	if (world_point(w, &err) == 0)
		abort();
	sim_fail_none(w->sim);
	steps(w, 10);
	if (!sim_dead(w->sim) && (world_point(w, &err) != -RP_EIOFAIL))
		abort();
	world_settle(w);
	if (sim_dead(w->sim))
		return;
	/* Opening anew drops what the page cache had kept in vain. */
	sim_kill(w->sim);
	world_stop(w);
	sim_reboot(w->sim);
	if (!up(w))
		return;
	if (!make_point(w))
		return;
	steps(w, 20);
	(void)down(w);
}

/* The store fails while the guest writes: tracking gives way, says so, and
 * starts anew. */
static void run_latch(struct world *w)
{
	struct err err = {0};
	char reason[REASON_BYTES];

	if (!up(w))
		return;
	steps(w, 20);
	if (!make_point(w))
		return;
	steps(w, 10);
	/* Until the next point, and no longer. */
	world_doubt(w, 0);
	world_doubt(w, 1);
	sim_fail(w->sim, SIM_SYNC, 1 + (unsigned)sim_random(w->sim, 3), EIO,
		 false, "intents");
	for (unsigned i = 0; i < 400 && !vm_latched(w->vm, reason); i++)
		steps(w, 1);
	if (sim_dead(w->sim))
		return;
	if (!vm_latched(w->vm, reason) || world_point(w, &err) != -RP_ELATCHED)
		abort();
	sim_fail_none(w->sim);
	steps(w, 30);
	if (!down(w))
		return;
	if (!up(w))
		return;
	if (!make_point(w))
		return;
	steps(w, 20);
	(void)down(w);
}

/* Snapshots under load, two at once, read while the guest writes; one becomes a
 * point, one is dropped, one stays over a clean stop. */
static void run_snapshots(struct world *w)
{
	struct err err = {0};

	if (!up(w))
		return;
	steps(w, 15);
	if (!make_point(w) || !ok(w, world_snapshot(w, &err), &err))
		return;
	steps(w, 20);
	world_read_snapshot(w, false);
	if (sim_dead(w->sim) || !ok(w, world_snapshot(w, &err), &err))
		return;
	steps(w, 20);
	world_read_snapshot(w, true);
	if (sim_dead(w->sim) || !ok(w, world_convert(w, &err), &err))
		return;
	steps(w, 15);
	if (!down(w) || !up(w))
		return;
	steps(w, 10);
	world_read_snapshot(w, true);
	if (sim_dead(w->sim) || !make_point(w) ||
	    !ok(w, world_drop(w, &err), &err))
		return;
	steps(w, 10);
	(void)down(w);
}

/* Writes of parts of the same blocks, older ones in flight at the cut. */
static void run_snapshot_blocks(struct world *w)
{
	struct err err = {0};

	w->narrow = true;
	if (!up(w))
		return;
	for (unsigned i = 0; i < 6; i++) {
		steps(w, 12);
		if (!ok(w, world_snapshot(w, &err), &err))
			return;
		steps(w, 8);
		world_read_snapshot(w, true);
		if (sim_dead(w->sim) || !ok(w, world_drop(w, &err), &err))
			return;
	}
	(void)down(w);
}

/* No room for the scratch, and none for a seal: nothing but a snapshot is
 * lost. */
static void run_snapshot_fails(struct world *w)
{
	struct err err = {0};

	w->scratch_fails = true;
	if (!up(w))
		return;
	steps(w, 10);
	if (!make_point(w) || !ok(w, world_snapshot(w, &err), &err))
		return;
	sim_fail(w->sim, SIM_IO_WRITE, 2 + (unsigned)sim_random(w->sim, 5),
		 ENOSPC, true, "scratch-*");
	steps(w, 30);
	sim_fail(w->sim, SIM_CREATE, 1, ENOSPC, true, "gen-*");
	if (world_snapshot(w, &err) == 0 && !sim_dead(w->sim))
		abort();
	sim_fail_none(w->sim);
	steps(w, 20);
	world_read_snapshot(w, true);
	if (sim_dead(w->sim) || !ok(w, world_snapshot(w, &err), &err))
		return;
	sim_fail(w->sim, SIM_IO_READ, 1 + (unsigned)sim_random(w->sim, 5), EIO,
		 false, "image*");
	steps(w, 20);
	sim_fail_none(w->sim);
	world_read_snapshot(w, true);
	(void)down(w);
}

static bool make_log_point(struct world *w)
{
	struct err err = {0};

	return ok(w, world_log_point(w, &err), &err);
}

/* Log-based points under load, with others and a snapshot's between them;
 * destroyed, over clean stops. */
static void run_logs(struct world *w)
{
	struct err err = {0};

	if (!up(w))
		return;
	steps(w, 10);
	if (!make_log_point(w))
		return;
	steps(w, 25);
	if (!make_point(w))
		return;
	steps(w, 15);
	if (!make_log_point(w))
		return;
	steps(w, 25);
	if (!down(w) || !up(w))
		return;
	steps(w, 20);
	if (!make_log_point(w))
		return;
	steps(w, 10);
	if (!ok(w, world_destroy(w, &err), &err))
		return;
	steps(w, 15);
	(void)down(w);
}

/* Cuts that come to nothing when the next logs are in use already; the image
 * fails to write at times. */
static void run_logs_undo(struct world *w)
{
	struct err err = {0};

	if (!up(w))
		return;
	steps(w, 10);
	if (!make_log_point(w))
		return;
	for (unsigned i = 0; i < 2; i++) {
		steps(w, 15);
		sim_fail(w->sim, SIM_CREATE, 1, ENOSPC, true, "gen-*");
		(void)world_log_point(w, &err);
		sim_fail_none(w->sim);
		if (sim_dead(w->sim))
			return;
		sim_fail(w->sim, SIM_IO_WRITE,
			 1 + (unsigned)sim_random(w->sim, 6), EIO, false,
			 "image*");
		steps(w, 20);
		sim_fail_none(w->sim);
	}
	if (!make_log_point(w))
		return;
	steps(w, 20);
	(void)down(w);
}

/* A log that fails: the guest goes on, and the next point has one. */
static void run_logs_fail(struct world *w)
{
	if (!up(w))
		return;
	w->logs_fail = true;
	steps(w, 10);
	if (!make_log_point(w))
		return;
	steps(w, 15);
	sim_fail(w->sim, sim_random(w->sim, 2) ? SIM_IO_WRITE : SIM_IO_SYNC,
		 1 + (unsigned)sim_random(w->sim, 4), EIO, false, "log-*");
	steps(w, 40);
	sim_fail_none(w->sim);
	world_settle(w);
	if (sim_dead(w->sim) || !make_log_point(w))
		return;
	steps(w, 20);
	(void)down(w);
}

static const struct scenario scenarios[] = {
    {"logs", 3, 30, run_logs, true},
    {"logs-undo", 2, 40, run_logs_undo, true},
    {"logs-fail", 3, 40, run_logs_fail, true},
    {"snapshots", 3, 30, run_snapshots},
    {"snapshot-blocks", 2, 70, run_snapshot_blocks},
    {"snapshot-fails", 2, 40, run_snapshot_fails},
    {"points", 3, 30, run_points},
    {"points-one-hot-region", 1, 30, run_points},
    {"undo", 2, 40, run_undo},
    {"home", 3, 30, run_home},
    {"sync-fails", 3, 30, run_sync_fails},
    {"latch", 3, 30, run_latch},
};

/* ---- dying everywhere ------------------------------------------------- */

/* No death: a run in which every write is checked for order. */
#define NEVER UINT32_MAX

struct death {
	const struct scenario *scenario;
	uint64_t seed;
	uint64_t at; /* operation */
	enum sim_death kind;
	enum sim_cut cut;
	uint64_t second; /* operation of the recovery; 0: none */
};

static void revive(struct world *w, enum sim_death kind)
{
	world_stop(w);
	if (kind == SIM_KILL)
		sim_land(w->sim);
	sim_reboot(w->sim);
	sim_fail_none(w->sim);
}

/* During the recovery, or after it. */
static void die_again(struct world *w, const struct death *d)
{
	struct err err = {0};

	w->guest_rate = 0;
	sim_die_at(w->sim, d->second, d->kind, d->cut);
	if (world_start(w, VM_ATTACH_WRITE, &err) < 0 && !sim_dead(w->sim)) {
		fprintf(stderr, "recovery: %s\n", err.text);
		abort();
	}
	seconds += sim_dead(w->sim);
	if (!sim_dead(w->sim))
		sim_kill(w->sim);
	world_stop(w);
	sim_reboot(w->sim);
}

/* Runs it up to the death; false if it ended before. */
static bool run_once(const struct death *d)
{
	struct world *w = world_new(d->seed, d->scenario->hot_regions);
	struct err err = {0};
	bool died;

	w->check_order = d->at == NEVER;
	w->logging = d->scenario->logging;
	w->guest_rate = d->scenario->guest_rate;
	if (world_define(w, &err) < 0)
		abort();
	if (d->at != NEVER)
		sim_die_at(w->sim, sim_ops(w->sim) + d->at, d->kind, d->cut);
	d->scenario->run(w);
	died = sim_dead(w->sim);
	if (died) {
		revive(w, d->kind);
		if (d->second)
			die_again(w, d);
		sim_fail_none(w->sim);
	}
	sim_die_at(w->sim, 0, d->kind, d->cut);
	world_recover(w);
	world_settle(w);
	if (world_detach(w, &err) < 0) {
		fprintf(stderr, "detach: %s\n", err.text);
		abort();
	}
	order_checks += w->order_checks;
	logs_checked += w->logs_checked;
	split_writes += w->split_writes;
	world_stop(w);
	world_free(w);
	return died;
}

static void describe(const struct death *d)
{
	/* Kept for the message of an abort. */
	fprintf(stderr, "\r%s op %llu %s/%d second %llu seed %llu   ",
		d->scenario->name, (unsigned long long)d->at,
		d->kind == SIM_KILL ? "kill" : "cut", d->cut,
		(unsigned long long)d->second, (unsigned long long)d->seed);
}

/* The finaliser of splitmix64: every bit of N moves every bit of the result. */
static uint64_t scramble(uint64_t n)
{
	n = (n ^ n >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	n = (n ^ n >> 27) * UINT64_C(0x94d049bb133111eb);
	return n ^ n >> 31;
}

static void sweep(const struct scenario *scenario, uint64_t seed,
		  uint64_t first, unsigned seeds, uint64_t stride)
{
	bool verbose = getenv("VERBOSE") != NULL;

	for (unsigned s = 0; s < seeds; s++) {
		struct death none = {scenario, seed + s,     NEVER,
				     SIM_KILL, SIM_CUT_DROP, 0};

		(void)run_once(&none);
		for (uint64_t at = first + s % stride;; at += stride) {
			struct death d = {.scenario = scenario,
					  .seed = seed + s,
					  .at = at};
			bool died = true;

			/* Any mix will do that reaches all combinations. */
			uint64_t mix = scramble(at * 64 + s);

			d.cut = (enum sim_cut)(mix % SIM_CUTS);
			d.kind = mix / 5 % 3 == 0 ? SIM_KILL : SIM_CUT;
			d.second = mix / 15 % 3 == 0 ? 1 + mix / 45 % 60 : 0;
			if (verbose)
				describe(&d);
			died = run_once(&d);
			if (!died)
				break;
			if (d.kind == SIM_KILL)
				kills++;
			else
				cuts++;
		}
	}
}

int main(int argc, char **argv)
{
	const char *seed_text = getenv("SEED"), *seeds = getenv("SEEDS");
	const char *stride = getenv("STRIDE");
	uint64_t seed = seed_text ? strtoull(seed_text, NULL, 10) : 1;

	if (argc > 1 && strcmp(argv[1], "--list") == 0) {
		for (size_t i = 0; i < ARRAY_SIZE(scenarios); i++)
			puts(scenarios[i].name);
		return 0;
	}
	printf("SEED=%llu\n", (unsigned long long)seed);
	fflush(stdout);
	for (size_t i = 0; i < ARRAY_SIZE(scenarios); i++)
		if (argc < 2 || strcmp(argv[1], scenarios[i].name) == 0)
			sweep(&scenarios[i], seed,
			      argc > 2 ? strtoull(argv[2], NULL, 10) : 1,
			      seeds ? (unsigned)atoi(seeds) : 8,
			      (stride ? strtoull(stride, NULL, 10) : 16) *
				  (scenarios[i].logging ? 8 : 1));
	printf("%llu kills, %llu power cuts, %llu deaths during recovery, "
	       "%llu writes checked for order, %llu in the middle of a cut, "
	       "%llu logs checked\n",
	       (unsigned long long)kills, (unsigned long long)cuts,
	       (unsigned long long)seconds, (unsigned long long)order_checks,
	       (unsigned long long)split_writes,
	       (unsigned long long)logs_checked);
	return 0;
}
