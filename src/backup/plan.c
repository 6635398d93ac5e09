/* SPDX-License-Identifier: Apache-2.0 */
#include "backup/plan.h"

void planner_init(struct planner *planner, uint64_t bytes,
		  const struct blockset *changed, plan_look_fn *look, void *arg)
{
	*planner = (struct planner){
	    .bytes = bytes, .changed = changed, .look = look, .arg = arg};
}

static uint64_t bytes_of(const struct planner *p, uint64_t block)
{
	return MIN(block << BLOCK_SHIFT, p->bytes);
}

uint64_t planner_total(const struct planner *p)
{
	uint64_t total, last;

	if (!p->changed)
		return p->bytes;
	total = blockset_count(p->changed) * BLOCK_BYTES;
	last = p->bytes / BLOCK_BYTES;
	if (p->bytes % BLOCK_BYTES && blockset_has(p->changed, last))
		total -= BLOCK_BYTES - p->bytes % BLOCK_BYTES;
	return total;
}

/* Goes to the next run of what is wanted; false: there is none. */
static bool next_run(struct planner *p)
{
	if (!p->changed) {
		p->run_end = p->bytes;
		return p->at < p->bytes;
	}
	if (p->run == p->runs) {
		p->run = 0;
		p->runs = blockset_runs(p->changed, p->next_block, p->list,
					PLAN_RUNS);
		if (p->runs == 0)
			return false;
		p->next_block = p->list[p->runs - 1].end;
	}
	p->at = bytes_of(p, p->list[p->run].first);
	p->run_end = bytes_of(p, p->list[p->run].end);
	p->known_end = p->at;
	p->run++;
	return true;
}

/* Whole blocks, so that none is told twice: one that is a hole in part is
 * read. */
static void settle(struct planner *p)
{
	uint64_t whole = p->known_end - p->known_end % BLOCK_BYTES;

	if (p->known_end <= p->at || p->known_end > p->run_end) {
		p->known_end = p->run_end;
		p->hole = false;
	} else if (p->known_end != whole && p->known_end != p->run_end) {
		p->hole = p->hole && whole > p->at;
		p->known_end =
		    p->hole ? whole : MIN(whole + BLOCK_BYTES, p->run_end);
	}
}

/* What [at, known_end) is.  1; 0: there is nothing more. */
static int find_piece(struct planner *p, struct err *err)
{
	int r;

	if (p->at == p->run_end && !next_run(p))
		return 0;
	if (p->at < p->known_end)
		return 1;
	p->hole = false;
	p->known_end = p->run_end;
	if (p->run_end - p->at < PLAN_LOOK_BYTES)
		return 1;
	r = p->look(p->arg, p->at, p->run_end, &p->known_end, &p->hole, err);
	if (r < 0)
		return r;
	settle(p);
	return 1;
}

static void add_item(struct planner *p, struct plan *plan, uint64_t length,
		     uint32_t at)
{
	plan->items[plan->n_items++] = (struct plan_item){p->at, length, at};
}

static void advance(struct planner *p, uint64_t length)
{
	p->at += length;
	p->done += length;
}

/* The read that the piece at GAP behind its end may be part of. */
static struct plan_read *near_read(const struct planner *p, struct plan *plan,
				   uint64_t *ret_gap)
{
	struct plan_read *last;
	uint64_t end;

	*ret_gap = 0;
	if (plan->n_reads == 0)
		return NULL;
	last = &plan->reads[plan->n_reads - 1];
	end = last->offset + last->length;
	if (p->at - end > PLAN_GAP_BYTES ||
	    plan->used + (p->at - end) + BLOCK_BYTES > PLAN_BYTES)
		return NULL;
	*ret_gap = p->at - end;
	return last;
}

/* False: PLAN is full. */
static bool add_data(struct planner *p, struct plan *plan)
{
	uint64_t gap, n;
	struct plan_read *read = near_read(p, plan, &gap);

	if (plan->used + gap + BLOCK_BYTES > PLAN_BYTES)
		return false;
	if (!read) {
		if (plan->n_reads == PLAN_READS)
			return false;
		read = &plan->reads[plan->n_reads++];
		*read = (struct plan_read){p->at, 0, plan->used};
	}
	plan->used += (uint32_t)gap;
	n = MIN(p->known_end - p->at, PLAN_BYTES - plan->used);
	add_item(p, plan, n, plan->used);
	read->length += gap + n;
	plan->used += (uint32_t)round_up(n, BLOCK_BYTES);
	advance(p, n);
	return true;
}

int planner_next(struct planner *p, struct plan *plan, struct err *err)
{
	int r = 1;

	plan->n_reads = plan->n_items = 0;
	plan->used = 0;
	while (plan->n_items < PLAN_ITEMS) {
		r = find_piece(p, err);
		if (r <= 0)
			break;
		if (!p->hole && !add_data(p, plan))
			break;
		if (p->hole) {
			if (p->changed)
				add_item(p, plan, p->known_end - p->at,
					 PLAN_ZERO);
			advance(p, p->known_end - p->at);
		}
	}
	plan->done = p->done;
	if (r < 0)
		return r;
	return plan->n_items > 0;
}
