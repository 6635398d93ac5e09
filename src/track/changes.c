/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What changed: the union of the generations after one point, up to another or
 * up to now.  A generation whose file cannot be read and verified makes the
 * answer invalid, with the reason; never smaller.
 *
 * A disk that grew since the point has changed from its old end on.
 *
 * Sealed files may be merged away while we read them: then the model's serial
 * has moved, and the question is asked again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "track/internal.h"

struct asking {
	struct vm *vm;
	uint32_t disk;
	uint64_t after; /* generations above this ... */
	uint64_t upto;  /* ... and up to this; UINT64_MAX: and the open one */
	uint64_t bytes_since; /* the disk's size then */
	uint64_t bytes_until;
	bool tail_kept;
	uint64_t serial;
	uint32_t count;
	struct {
		uint64_t generation;
		uint32_t serial;
	} * sealed;
	struct accuracy_row accuracy;
	char invalid[REASON_BYTES]; /* a point's; "" mostly */
};

/* With the model's lock. */
static const struct point_row *find_point(const struct vm *vm,
					  const struct guid *id)
{
	for (uint32_t i = 0; i < vm->point_count; i++)
		if (guid_equal(&vm->points[i].id, id))
			return &vm->points[i];
	return NULL;
}

static int no_point(const struct guid *id, struct err *err)
{
	char text[GUID_TEXT_BYTES];

	guid_format(id, text);
	return err_set(err, -RP_ENOPOINT, "there is no point %s", text);
}

/* T10: whatever the live bits say. */
static void judge_latch(struct vm *vm, struct accuracy_row *accuracy)
{
	if (atomic_load(&vm->latch) != LATCH_OFF)
		accuracy_worsen(accuracy, ACCURACY_INVALID, "%s",
				vm->latch_reason);
}

static struct accuracy_row invalid_for(const char *reason)
{
	struct accuracy_row row = {.accuracy = ACCURACY_INVALID};

	(void)snprintf(row.reason, sizeof(row.reason), "%s", reason);
	return row;
}

/* With the model's lock: which generations answer. */
static int resolve(struct asking *ask, const struct guid *since,
		   const struct guid *until, struct err *err)
{
	struct vm *vm = ask->vm;
	const struct point_row *from = find_point(vm, since);
	const struct point_row *to = until ? find_point(vm, until) : NULL;

	if (!from)
		return no_point(since, err);
	if (until && !to)
		return no_point(until, err);
	ask->invalid[0] = '\0';
	if (from->invalid[0] || (to && to->invalid[0]))
		memcpy(ask->invalid,
		       from->invalid[0] ? from->invalid : to->invalid,
		       sizeof(ask->invalid));
	else if (to && to->generation < from->generation)
		return err_set(err, -RP_EPARAM,
			       "the point given as until is older than the one "
			       "given as since: swap them");
	ask->after = from->generation;
	ask->upto = to ? to->generation : UINT64_MAX;
	ask->bytes_since = from->bytes[ask->disk];
	ask->bytes_until =
	    to ? to->bytes[ask->disk] : vm->disks[ask->disk].bytes;
	ask->serial = vm->serial;
	ask->count = 0;
	memset(&ask->accuracy, 0, sizeof(ask->accuracy));
	free(ask->sealed);
	ask->sealed = calloc(vm->generation_count + 1, sizeof(*ask->sealed));
	if (!ask->sealed)
		return err_set(err, -ENOMEM, "changes");
	for (uint32_t i = 0; i < vm->generation_count; i++) {
		const struct generation_row *g = &vm->generations[i];

		if (g->generation <= ask->after || g->generation > ask->upto ||
		    (!g->sealed && until))
			continue;
		accuracy_join(&ask->accuracy, &g->accuracy[ask->disk]);
		if (!g->sealed)
			continue;
		ask->sealed[ask->count].generation = g->generation;
		ask->sealed[ask->count++].serial = g->serial;
	}
	if (!until)
		judge_latch(vm, &ask->accuracy);
	if (ask->invalid[0])
		ask->accuracy = invalid_for(ask->invalid);
	return 0;
}

/* ORs one sealed generation in; -RP_ECORRUPT if it cannot be believed. */
static int add_sealed(struct asking *ask, uint32_t index, struct blockset *set,
		      struct err *err)
{
	struct sealed_disk disks[DISKS_PER_VM_MAX] = {0};
	struct sealed_head head;
	bool found = false;
	int r = sealed_read(ask->vm->env.store, &ask->vm->system.store,
			    ask->sealed[index].generation,
			    ask->sealed[index].serial, &head, disks, err);

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < head.disks; i++) {
		if (disks[i].disk == ask->disk) {
			found = true;
			r = blockset_union(set, disks[i].set);
		}
		blockset_free(disks[i].set);
	}
	if (!found)
		r = -RP_ECORRUPT;
	return r < 0 ? err_set(err, r, "read a sealed generation") : 0;
}

/* The open generation's bits, and those of one that a seal has begun. */
static int add_live(struct asking *ask, struct blockset *set, struct err *err)
{
	struct vm *vm = ask->vm;
	int r = 0;

	(void)pthread_rwlock_rdlock(&vm->maps);
	(void)pthread_mutex_lock(&vm->model);
	if (vm->serial != ask->serial)
		r = -EAGAIN;
	(void)pthread_mutex_unlock(&vm->model);
	for (unsigned s = 0; r == 0 && s < 2; s++)
		if (vm->volumes[ask->disk].live_open[s] &&
		    vm->slots[s].generation > ask->after)
			r = blockset_add_bitmap(
			    set, vm->volumes[ask->disk].live[s].bits);
	(void)pthread_rwlock_unlock(&vm->maps);
	if (r == -ENOMEM)
		err_set(err, r, "changes");
	return r;
}

/* After all that was written. */
static int add_growth(struct asking *ask, struct blockset *set)
{
	uint64_t first = ask->bytes_since >> BLOCK_SHIFT;
	uint64_t end = div_round_up(ask->bytes_until, BLOCK_BYTES);

	ask->tail_kept = false;
	if (ask->bytes_until <= ask->bytes_since)
		return 0;
	ask->tail_kept =
	    ask->bytes_since % BLOCK_BYTES != 0 && !blockset_has(set, first);
	return blockset_add(set, first, end - first);
}

static int gather(struct asking *ask, struct blockset *set, struct err *err)
{
	struct err why = {0};
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < ask->count; i++)
		r = add_sealed(ask, i, set, &why);
	if (r == 0 && ask->upto == UINT64_MAX)
		r = add_live(ask, set, &why);
	if (r == 0)
		r = add_growth(ask, set);
	if (r == -RP_ECORRUPT || r == -EIO || r == -RP_EVERSION ||
	    r == -RP_EIOFAIL) {
		bool moved;

		(void)pthread_mutex_lock(&ask->vm->model);
		moved = ask->vm->serial != ask->serial;
		(void)pthread_mutex_unlock(&ask->vm->model);
		if (moved)
			return -EAGAIN;
		accuracy_worsen(&ask->accuracy, ACCURACY_INVALID,
				"tracking data is damaged: %.100s", why.text);
		r = 0;
	}
	if (r == -ENOMEM)
		err_set(err, r, "changes");
	else if (r < 0 && r != -EAGAIN)
		*err = why;
	return r;
}

static int answer_once(struct asking *ask, const struct guid *since,
		       const struct guid *until, struct vm_changes *ret,
		       struct err *err)
{
	struct blockset *set;
	int r;

	(void)pthread_mutex_lock(&ask->vm->model);
	r = resolve(ask, since, until, err);
	(void)pthread_mutex_unlock(&ask->vm->model);
	if (r < 0)
		return r;
	set = blockset_new(ask->bytes_until);
	if (!set)
		return err_set(err, -ENOMEM, "changes");
	r = gather(ask, set, err);
	if (r == 0 && ask->accuracy.accuracy == ACCURACY_INVALID)
		r = blockset_add_all(set);
	if (r < 0) {
		blockset_free(set);
		return r;
	}
	ret->accuracy = ask->accuracy;
	ret->set = set;
	ret->bytes = ask->bytes_until;
	ret->tail_kept = ask->tail_kept;
	return 0;
}

int vm_changes(struct vm *vm, uint32_t disk, const struct guid *since,
	       const struct guid *until, struct vm_changes *ret_changes,
	       struct err *err)
{
	struct asking ask = {.vm = vm, .disk = disk};
	struct err local = {0};
	int r;

	if (!err)
		err = &local;
	if (!until && !vm->attached)
		return err_set(err, -RP_ESTATE, "the disks are not attached");
	do
		r = answer_once(&ask, since, until, ret_changes, err);
	while (r == -EAGAIN);
	free(ask.sealed);
	return r;
}

/* One region's words of both bitmaps together. */
static bool live_words(const struct volume *volume, uint64_t region,
		       uint64_t words[REGION_WORDS])
{
	uint64_t any = 0;

	memset(words, 0, REGION_WORDS * sizeof(*words));
	for (unsigned s = 0; s < 2; s++) {
		const struct live_file *live = &volume->live[s];
		uint64_t first = region * REGION_WORDS;

		for (uint64_t w = first;
		     volume->live_open[s] &&
		     w < MIN(first + REGION_WORDS, live->words);
		     w++)
			any |= words[w - first] |=
			    atomic_load_explicit(&live->bits[w],
						 memory_order_relaxed);
	}
	return any != 0;
}

int vm_live_or(struct vm *vm, uint32_t disk, uint64_t serial, uint64_t offset,
	       uint64_t length, struct blockset *set)
{
	uint64_t words[REGION_WORDS];
	uint64_t region = offset >> REGION_SHIFT;
	uint64_t end = MIN(div_round_up(offset + length, REGION_BYTES),
			   blockset_regions(set));
	int r = 0;

	(void)pthread_rwlock_rdlock(&vm->maps);
	(void)pthread_mutex_lock(&vm->model);
	if (vm->serial != serial || !vm->attached)
		r = -EAGAIN;
	(void)pthread_mutex_unlock(&vm->model);
	for (; r == 0 && region < end; region++)
		if (live_words(&vm->volumes[disk], region, words))
			r = blockset_add_words(set, region, words);
	(void)pthread_rwlock_unlock(&vm->maps);
	return r;
}

static uint64_t count_live(struct volume *volume)
{
	uint64_t n = 0;

	for (unsigned s = 0; s < 2; s++)
		for (uint64_t w = 0;
		     volume->live_open[s] && w < volume->live[s].words; w++)
			n += (uint64_t)__builtin_popcountll(
			    atomic_load_explicit(&volume->live[s].bits[w],
						 memory_order_relaxed));
	return n;
}

/* Bytes of durable tracking data, rounded up from what the formats say. */
static uint64_t tracking_bytes(const struct vm *vm, uint32_t disk)
{
	return page_count(vm->disks[disk].bytes) * PAGE_BYTES * PAGE_SLOTS *
	       PAGE_FILES;
}

int vm_disk_status(struct vm *vm, uint32_t disk,
		   struct vm_disk_status *ret_status, struct err *err)
{
	struct vm_disk_status status = {0};

	(void)pthread_rwlock_rdlock(&vm->maps);
	(void)pthread_mutex_lock(&vm->model);
	if (vm->generation_count == 0) { /* it could not be read again */
		(void)pthread_mutex_unlock(&vm->model);
		(void)pthread_rwlock_unlock(&vm->maps);
		return vm_usable(vm, err);
	}
	status.accuracy = model_open_generation(vm)->accuracy[disk];
	judge_latch(vm, &status.accuracy);
	status.hot_regions_max = vm->system.hot_regions;
	status.tracking_bytes = tracking_bytes(vm, disk);
	(void)pthread_mutex_unlock(&vm->model);
	if (vm->attached) {
		struct volume *volume = &vm->volumes[disk];

		(void)pthread_mutex_lock(&volume->lock);
		status.hot_regions = volume->hot_count;
		(void)pthread_mutex_unlock(&volume->lock);
		status.changed_bytes =
		    MIN(count_live(volume) * BLOCK_BYTES, volume->bytes);
	}
	(void)pthread_rwlock_unlock(&vm->maps);
	status.worst_widening_bytes =
	    MIN((uint64_t)status.hot_regions * REGION_BYTES,
		vm->disks[disk].bytes);
	*ret_status = status;
	return 0;
}
