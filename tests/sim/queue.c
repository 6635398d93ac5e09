/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/world.h"

#include <assert.h>
#include <stdlib.h>

static void append(struct flight **list, struct flight *flight)
{
	while (*list)
		list = &(*list)->next;
	flight->next = NULL;
	*list = flight;
}

static unsigned count(const struct flight *list)
{
	unsigned n = 0;

	for (; list; list = list->next)
		n++;
	return n;
}

static struct flight *take(struct flight **list, unsigned index)
{
	struct flight *flight;

	while (index--)
		list = &(*list)->next;
	flight = *list;
	*list = flight->next;
	return flight;
}

void flight_free(struct sim *sim, struct flight *flight)
{
	node_put(sim, flight->node);
	blob_put(flight->data);
	free(flight);
}

static bool changes(enum io_op op)
{
	return op == IO_WRITE || op == IO_ZERO || op == IO_DISCARD;
}

static enum sim_op sim_op_of(enum io_op op)
{
	switch (op) {
	case IO_READ:
		return SIM_IO_READ;
	case IO_WRITE:
	case IO_ZERO:
		return SIM_IO_WRITE;
	case IO_DISCARD:
		return SIM_IO_DISCARD;
	case IO_SYNC:
		break;
	}
	return SIM_IO_SYNC;
}

static bool request_ok(const struct io *io, const struct node *node)
{
	if (io->op == IO_SYNC)
		return true;
	if (io->length == 0 || io->length > INT64_MAX ||
	    io->offset > INT64_MAX - io->length)
		return false;
	if (!node->image)
		return true;
	return io->offset % SIM_SECTOR == 0 && io->length % SIM_SECTOR == 0 &&
	       io->offset + io->length <= node_bytes(node);
}

static struct flight *flight_new(struct sim *sim, struct io *io,
				 struct node *node)
{
	struct flight *flight = sim_alloc(sizeof(*flight));

	flight->io = io;
	flight->op = io->op;
	flight->node = node_get(node);
	flight->offset = io->offset;
	flight->bytes = io->op == IO_SYNC ? 0 : io->length;
	flight->error = request_ok(io, node) ? 0 : EINVAL;
	if (io->op == IO_WRITE && !flight->error)
		flight->data = blob_new(io->buf, io->length);
	return flight;
}

/* The program dies with this very operation, or it fails: now or later. */
static void launch(struct sim *sim, const struct sim_file *file,
		   struct flight *flight, unsigned life)
{
	struct gate gate = {
	    .sim = sim,
	    .event = {.op = sim_op_of(flight->op),
		      .fs = "",
		      .name = file->file.name,
		      .offset = flight->offset,
		      .bytes = flight->bytes},
	    .match = file->file.name,
	    .life = MIN(life, file->life),
	};

	if (gate_enter(&gate, NULL) < 0) {
		flight->dead = true;
		return;
	}
	flight->number = gate.number;
	if (gate.dies)
		flight->dead = gate.effect == EFFECT_NONE;
	else if (gate.code && !flight->error)
		flight->error = -gate.code;
	if (changes(flight->op))
		flight->node->mtime = flight->node->ctime = sim->now;
	(void)gate_leave(&gate, NULL);
}

static void submit(struct ioq *base, struct io *io)
{
	struct sim_ioq *ioq = container_of(base, struct sim_ioq, ioq);
	struct sim *sim = ioq->sim;
	struct sim_file *file = container_of(io->file, struct sim_file, file);
	struct flight *flight = flight_new(sim, io, file->node);

	if (!sim->dead && ioq->life == sim->life && changes(io->op) &&
	    sim->on_image_write && file->node->image)
		sim->on_image_write(sim->on_image_write_arg, io);
	append(&sim->flights, flight);
	launch(sim, file, flight, ioq->life);
}

static const struct ioq_ops sim_ioq_ops = {
    .submit = submit,
};

struct ioq *sim_ioq_new(struct sim *sim)
{
	struct sim_ioq *ioq = sim_alloc(sizeof(*ioq));

	ioq->ioq.ops = &sim_ioq_ops;
	ioq->sim = sim;
	ioq->life = sim->dead ? 0 : sim->life;
	ioq->next = sim->queues;
	sim->queues = ioq;
	return &ioq->ioq;
}

unsigned sim_ioq_pending(const struct sim *sim)
{
	return count(sim->flights);
}

struct io *sim_ioq_peek(const struct sim *sim, unsigned index)
{
	const struct flight *flight = sim->flights;

	while (flight && index--)
		flight = flight->next;
	assert(flight);
	return flight->io;
}

/* It succeeds: what a read would return, what a write changes. */
static int effect(struct sim *sim, const struct flight *f)
{
	uint64_t has;

	switch (f->op) {
	case IO_READ:
		memset(f->io->buf, 0, f->bytes);
		has = node_bytes(f->node);
		if (f->offset < has)
			node_read(f->node, f->io->buf,
				  MIN(f->bytes, has - f->offset), f->offset);
		return 0;
	case IO_WRITE:
	case IO_ZERO:
	case IO_DISCARD:
		has = node_fits(sim, f->node, f->bytes, f->offset);
		if (has)
			node_write(sim, f->node, f->data, has, f->offset, NULL);
		return has == f->bytes ? 0 : -ENOSPC;
	case IO_SYNC:
		break;
	}
	node_sync(f->node, f->number);
	return 0;
}

static void failed_effect(struct sim *sim, const struct flight *f)
{
	if (f->error == EINVAL || f->error == EOPNOTSUPP)
		return;
	if (f->op == IO_SYNC)
		node_sync_failed(sim, f->node, f->number);
	else if (changes(f->op))
		node_write_part(sim, f->node, f->data, f->bytes, f->offset,
				-f->error);
}

void sim_ioq_fail_one(struct sim *sim, unsigned index)
{
	struct flight *flight = sim->flights;

	while (index--)
		flight = flight->next;
	assert(flight->error && !flight->dead && !flight->over);
	failed_effect(sim, flight);
	flight->over = true;
}

void sim_ioq_complete_one(struct sim *sim, unsigned index)
{
	struct flight *flight;
	struct io *io;
	int result;

	assert(index < count(sim->flights));
	flight = take(&sim->flights, index);
	io = flight->io;
	if (flight->dead) {
		result = -EIO;
	} else if (flight->error) {
		result = -flight->error;
		if (!flight->over)
			failed_effect(sim, flight);
	} else {
		result = effect(sim, flight);
	}
	flight_free(sim, flight);
	io->done(io, result);
}

void sim_ioq_complete_random(struct sim *sim)
{
	sim_ioq_complete_one(sim,
			     (unsigned)sim_random(sim, count(sim->flights)));
}

void sim_ioq_complete_all(struct sim *sim)
{
	while (sim->flights)
		sim_ioq_complete_random(sim);
}

/* ---- after its program ---- */

void flight_haunt(struct sim *to, const struct flight *f, struct node *node)
{
	struct flight *ghost;

	if (!changes(f->op) || f->dead || f->error == EINVAL ||
	    f->error == EOPNOTSUPP)
		return;
	ghost = sim_alloc(sizeof(*ghost));
	*ghost = *f;
	ghost->io = NULL;
	node_get(node);
	ghost->node = node;
	blob_get(ghost->data);
	append(&to->ghosts, ghost);
}

void flights_die(struct sim *sim)
{
	for (struct flight *f = sim->flights; f; f = f->next) {
		flight_haunt(sim, f, f->node);
		f->dead = true;
	}
}

void flights_forget(struct sim *sim)
{
	while (sim->flights)
		flight_free(sim, take(&sim->flights, 0));
}

static void land(struct sim *sim, const struct flight *f)
{
	int64_t when = sim->death_time + (int64_t)sim_random(sim, 52000000);
	uint64_t fits = node_fits(sim, f->node, f->bytes, f->offset);

	if (!fits)
		return;
	if (sim_random(sim, 2))
		node_write(sim, f->node, f->data, fits, f->offset, NULL);
	else if (sim_random(sim, 2))
		node_write_part(sim, f->node, f->data, fits, f->offset, -EIO);
	else
		return;
	f->node->mtime = MAX(f->node->mtime, when);
}

void ghosts_land(struct sim *sim, bool whole)
{
	while (sim->ghosts) {
		unsigned n = count(sim->ghosts);
		struct flight *f =
		    take(&sim->ghosts, (unsigned)sim_random(sim, n));

		if (whole)
			node_write(sim, f->node, f->data, f->bytes, f->offset,
				   NULL);
		else
			land(sim, f);
		flight_free(sim, f);
	}
}

void sim_land(struct sim *sim)
{
	ghosts_land(sim, false);
}
