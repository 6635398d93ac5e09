/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/world.h"

#include <assert.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>

#define SECOND 1000000000ll

uint64_t sim_random(struct sim *sim, uint64_t bound)
{
	uint64_t z;

	/* splitmix64: a counter, well mixed */
	sim->random += 0x9e3779b97f4a7c15u;
	z = sim->random;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return (z ^ (z >> 31)) % bound;
}

static void new_boot(struct sim *sim)
{
	for (unsigned i = 0; i < sizeof(sim->boot_id.b); i++)
		sim->boot_id.b[i] = (uint8_t)sim_random(sim, 256);
	sim->boot_time = sim->now;
}

static struct sim *world_new(uint64_t seed)
{
	struct sim *sim = sim_alloc(sizeof(*sim));

	sim->random = seed;
	sim->now = 1704067200 * SECOND;
	sim->next_number = 1;
	sim->next_id = 1;
	sim->life = 1;
	return sim;
}

struct sim *sim_new(uint64_t seed)
{
	struct sim *sim = world_new(seed);

	new_boot(sim);
	sim->images = dir_new(sim, "", false);
	return sim;
}

struct sim *sim_free(struct sim *sim)
{
	if (!sim)
		return NULL;
	flights_forget(sim);
	while (sim->ghosts) {
		struct flight *next = sim->ghosts->next;

		flight_free(sim, sim->ghosts);
		sim->ghosts = next;
	}
	while (sim->dirs) {
		struct dir *next = sim->dirs->next;

		dir_free(sim, sim->dirs);
		sim->dirs = next;
	}
	while (sim->queues) {
		struct sim_ioq *next = sim->queues->next;

		free(sim->queues);
		sim->queues = next;
	}
	sim_fail_none(sim);
	assert(!sim->nodes); /* else a handle was not closed */
	free(sim);
	return NULL;
}

static void copy_dirs(struct sim *to, const struct sim *from)
{
	for (struct dir *d = from->dirs; d; d = d->next)
		d->copy = dir_new(to, d->name, d->memory);
	to->images = from->images->copy;
}

struct sim *sim_clone(const struct sim *sim, uint64_t seed)
{
	struct sim *to = world_new(seed);

	to->now = sim->now;
	to->boot_time = sim->boot_time;
	to->boot_id = sim->boot_id;
	to->next_number = sim->next_number;
	to->next_id = sim->next_id;
	to->dead = sim->dead;
	to->death = sim->death;
	to->death_time = sim->death_time;
	copy_dirs(to, sim);
	for (struct node *n = sim->nodes; n; n = n->next)
		n->copy = node_get(node_copy(to, n));
	for (struct dir *d = sim->dirs; d; d = d->next)
		(void)dir_copy(to, d);
	for (const struct flight *f = sim->ghosts; f; f = f->next)
		flight_haunt(to, f, f->node->copy);
	for (const struct flight *f = sim->flights; f; f = f->next)
		flight_haunt(to, f, f->node->copy);
	for (struct node *n = sim->nodes; n; n = n->next)
		node_put(to, n->copy);
	return to;
}

int64_t sim_now_ns(const struct sim *sim)
{
	return sim->now;
}

int64_t sim_boot_time_ns(const struct sim *sim)
{
	return sim->boot_time;
}

struct guid sim_boot_id(const struct sim *sim)
{
	return sim->boot_id;
}

void sim_advance(struct sim *sim, int64_t ns)
{
	sim->now += ns;
}

/* ---- death ---- */

uint64_t sim_ops(const struct sim *sim)
{
	return sim->ops;
}

void sim_die_at(struct sim *sim, uint64_t n, enum sim_death death,
		enum sim_cut cut)
{
	sim->die_at = n;
	sim->die_how = death;
	sim->die_cut = cut;
}

bool sim_dead(const struct sim *sim)
{
	return sim->dead;
}

/* The number of the Nth unsynced change; or, UINT64_MAX: how many. */
static uint64_t nth_change(const struct sim *sim, uint64_t n)
{
	uint64_t i = 0;

	for (const struct node *node = sim->nodes; node; node = node->next)
		for (const struct record *r = node->records; r; r = r->next)
			if (i++ == n)
				return r->number;
	for (const struct dir *dir = sim->dirs; dir; dir = dir->next)
		for (const struct name_op *op = dir->ops; op; op = op->next)
			if (i++ == n)
				return op->number;
	return i;
}

static void lose_power(struct sim *sim, enum sim_cut cut)
{
	struct verdict verdict = {.cut = cut};
	uint64_t changes;

	ghosts_land(sim, true);
	changes = nth_change(sim, UINT64_MAX);
	if (changes)
		verdict.number = nth_change(sim, sim_random(sim, changes));
	verdict.odds = 1 + sim_random(sim, 7);
	for (struct node *node = sim->nodes; node; node = node->next)
		node_cut(sim, node, &verdict);
	for (struct dir *dir = sim->dirs; dir; dir = dir->next)
		dir_cut(sim, dir, &verdict);
}

static void die(struct sim *sim, enum sim_death death, enum sim_cut cut)
{
	if (sim->dead)
		return;
	sim->dead = true;
	sim->death = death;
	sim->death_time = sim->now;
	sim->die_at = 0;
	for (struct node *node = sim->nodes; node; node = node->next)
		node_unmap(node);
	flights_die(sim);
	if (death == SIM_CUT)
		lose_power(sim, cut);
}

void sim_kill(struct sim *sim)
{
	die(sim, SIM_KILL, SIM_CUT_KEEP);
}

void sim_power_cut(struct sim *sim, enum sim_cut cut)
{
	die(sim, SIM_CUT, cut);
}

void sim_reboot(struct sim *sim)
{
	assert(sim->dead);
	sim->dead = false;
	sim->life++;
	sim->ops = 0;
	flights_forget(sim);
	if (sim->death == SIM_CUT) {
		sim->now += (int64_t)(2 + sim_random(sim, 30)) * SECOND;
		new_boot(sim);
		return;
	}
	sim->now += (int64_t)sim_random(sim, (uint64_t)SECOND / 10);
	for (struct node *node = sim->nodes; node; node = node->next)
		if (node->stale && sim_random(sim, 2))
			node_evict(node);
}

/* ---- failures ---- */

void sim_fail(struct sim *sim, unsigned ops, unsigned nth, int error,
	      bool sticky, const char *glob)
{
	struct failure *failure = sim_alloc(sizeof(*failure));
	struct failure **end = &sim->failures;

	assert(nth > 0 && error > 0);
	failure->ops = ops;
	failure->nth = nth;
	failure->error = error;
	failure->sticky = sticky;
	failure->any = !glob;
	(void)snprintf(failure->glob, sizeof(failure->glob), "%s",
		       glob ? glob : "");
	while (*end)
		end = &(*end)->next;
	*end = failure;
}

void sim_fail_none(struct sim *sim)
{
	while (sim->failures) {
		struct failure *next = sim->failures->next;

		free(sim->failures);
		sim->failures = next;
	}
}

uint64_t sim_failed(const struct sim *sim)
{
	return sim->failed;
}

int failure_due(struct sim *sim, enum sim_op op, const char *name)
{
	for (struct failure **at = &sim->failures; *at; at = &(*at)->next) {
		struct failure *f = *at;
		int error = f->error;

		if (!(f->ops & op) ||
		    (!f->any && fnmatch(f->glob, name, 0) != 0))
			continue;
		if (f->nth > 1) {
			f->nth--;
			continue;
		}
		if (!f->sticky) {
			*at = f->next;
			free(f);
		}
		sim->failed++;
		return error;
	}
	return 0;
}

/* ---- hooks and the gate ---- */

void sim_on_op(struct sim *sim,
	       void (*fn)(void *arg, const struct sim_event *event), void *arg)
{
	sim->on_op = fn;
	sim->on_op_arg = arg;
}

void sim_on_image_write(struct sim *sim,
			void (*fn)(void *arg, const struct io *io), void *arg)
{
	sim->on_image_write = fn;
	sim->on_image_write_arg = arg;
}

const char *op_name(enum sim_op op)
{
	switch (op) {
	case SIM_READ:
	case SIM_IO_READ:
		return "read";
	case SIM_WRITE:
	case SIM_IO_WRITE:
		return "write";
	case SIM_SYNC:
	case SIM_IO_SYNC:
		return "sync";
	case SIM_TRUNCATE:
		return "truncate";
	case SIM_ALLOCATE:
		return "allocate";
	case SIM_CREATE:
		return "create";
	case SIM_RENAME:
		return "rename";
	case SIM_UNLINK:
		return "unlink";
	case SIM_SYNC_DIR:
		return "sync directory";
	case SIM_MAP:
		return "map";
	case SIM_OPEN:
		return "open";
	case SIM_IO_DISCARD:
		return "discard";
	}
	return "?";
}

int gate_error(const struct gate *gate, int code, struct err *err)
{
	return err_set(err, code, "%s '%s/%s'", op_name(gate->event.op),
		       gate->event.fs, gate->event.name);
}

void gate_no_room(struct gate *gate)
{
	if (gate->code)
		return;
	gate->code = -ENOSPC;
	gate->sim->failed++;
}

static bool gate_shut(const struct gate *gate)
{
	return gate->sim->dead || gate->life != gate->sim->life;
}

static void call_hook(const struct gate *gate)
{
	struct sim *sim = gate->sim;

	if (!gate->blocking || !sim->on_op || sim->in_hook)
		return;
	sim->in_hook = true;
	sim->on_op(sim->on_op_arg, &gate->event);
	sim->in_hook = false;
}

int gate_enter(struct gate *gate, struct err *err)
{
	struct sim *sim = gate->sim;
	bool write = gate->event.op & (SIM_WRITE | SIM_IO_WRITE);

	if (gate_shut(gate))
		return gate_error(gate, -RP_EDEAD, err);
	gate->number = sim->next_number - 1;
	call_hook(gate);
	if (gate_shut(gate))
		return gate_error(gate, -RP_EDEAD, err);
	sim->now += (int64_t)sim_random(sim, SECOND / 1000);
	gate->effect = EFFECT_ALL;
	if (!(gate->event.op & SIM_UNCOUNTED) && ++sim->ops == sim->die_at) {
		uint64_t r = sim_random(sim, 4);

		gate->dies = true;
		gate->code = -RP_EDEAD;
		gate->effect = r == 0   ? EFFECT_NONE
			       : r == 1 ? EFFECT_PART
					: EFFECT_ALL;
		return 0;
	}
	gate->code = -failure_due(sim, gate->event.op, gate->match);
	if (gate->code)
		gate->effect = write ? EFFECT_PART : EFFECT_NONE;
	return 0;
}

int gate_leave(struct gate *gate, struct err *err)
{
	if (gate->dies)
		die(gate->sim, gate->sim->die_how, gate->sim->die_cut);
	return gate->code ? gate_error(gate, gate->code, err) : 0;
}
