/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a point: the open generation G is sealed at one instant of the write
 * stream, and a new one, N, opens.
 *
 *   S1  before the cut: pages of an undone seal come home (T7); images are
 *       synced once, so that what is left to sync after the cut is little; the
 *       regions in use are made hot; N's live files are made
 *   S2  the cut: N's slot marks, the epoch flips, every queue adopts
 *   S3  writes of G drain
 *   S4  every image is synced: the content at the point is durable, so that a
 *       write lost by a power cut cannot differ from it unseen
 *   S5  G's blocks are written as a sealed generation, synced, named; G's logs,
 *       if there are any, are closed (drained())
 *   S6  one commit: point, G sealed, N open.  Before it there is no point.
 *   S7  G's slot stops marking, its live files go
 *
 * While S3 to S6 run, regions are retired into both page files (T4, T6).
 *
 * A failure in S2 to S6 undoes the cut: the epoch flips once more, back to G's
 * parity (E4), and N's bits are merged into G's.  Those of N's that are durable
 * only as N's pages still count (T5), until the pages of G hold them (S1 of the
 * next attempt); N's live files stay for as long.
 *
 * If no point is older than G nobody can ask for it: S5 is left out.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "track/internal.h"

#define PRELOG_MS 10000 /* regions written this lately are made hot */

struct seal {
	struct vm *vm;
	const struct vm_point_request *request;
	uint64_t deadline_ns;
	uint64_t epoch;    /* the one that the cut began */
	unsigned old, new; /* parities */
	bool keep;         /* G is needed by an older point */
	struct generation_row sealed;
	struct generation_row opened;
	struct point_row point;
	struct system_row system;
};

static uint32_t ms_left(const struct seal *seal)
{
	uint64_t now = track_monotonic_ns();

	return now >= seal->deadline_ns
		   ? 0
		   : (uint32_t)((seal->deadline_ns - now) / 1000000u);
}

static int check_time(const struct seal *seal, const char *what,
		      struct err *err)
{
	if (ms_left(seal) > 0)
		return 0;
	return err_set(err, -RP_ETIMEOUT,
		       "no point: %s took longer than the time limit of %u ms",
		       what,
		       seal->request->timeout_ms ? seal->request->timeout_ms
						 : SEAL_TIMEOUT_MS);
}

/* ---- S1 --------------------------------------------------------------- */

/* One page of the undone generation, as G's own. */
static int bring_page_home(struct volume *volume, uint32_t index,
			   bool wrote[PAGE_FILES], struct err *err)
{
	int r;

	(void)pthread_mutex_lock(&volume->vm->paging);
	r = keeper_write_page(volume, index, wrote, err);
	(void)pthread_mutex_unlock(&volume->vm->paging);
	return r;
}

static int bring_disk_home(struct volume *volume, unsigned other,
			   struct err *err)
{
	const uint64_t per_page = PAGE_REGIONS * REGION_WORDS;
	struct live_file *live = &volume->live[other];
	bool wrote[PAGE_FILES] = {false};
	int r = 0;

	for (uint64_t w = 0;
	     r == 0 && volume->live_open[other] && w < live->words; w++) {
		if (!atomic_load(&live->bits[w]))
			continue;
		r = bring_page_home(volume, (uint32_t)(w / per_page), wrote,
				    err);
		w = (w / per_page + 1) * per_page - 1;
	}
	(void)pthread_mutex_lock(&volume->vm->paging);
	for (unsigned f = 0; r == 0 && f < PAGE_FILES; f++)
		if (wrote[f])
			r = pages_sync(volume->pages[f], err);
	(void)pthread_mutex_unlock(&volume->vm->paging);
	return r;
}

/* T7: writes, as G's own pages, every page in which the undone generation
 * marked; then nothing depends on the other page file any more. */
static int bring_home(struct vm *vm, struct err *err)
{
	unsigned other = (atomic_load(&vm->epoch.current) & 1) ^ 1;
	int r = 0;

	if (!vm->undone)
		return 0;
	/* Nobody has marked there since the cut was undone, and the retirer
	 * need not write its pages again: a page torn there would look like
	 * damage, as its regions may be cold. */
	(void)pthread_rwlock_wrlock(&vm->maps);
	vm->slots[other].marking = false;
	(void)pthread_rwlock_unlock(&vm->maps);
	for (uint32_t i = 0; r == 0 && i < vm->disk_count; i++)
		r = bring_disk_home(&vm->volumes[i], other, err);
	if (r == 0)
		vm->undone = false;
	return r;
}

/* The slot's live files are nobody's any more. */
static void drop_live(struct vm *vm, unsigned slot)
{
	uint64_t generation = vm->slots[slot].generation;

	(void)pthread_rwlock_wrlock(&vm->maps);
	vm->slots[slot].marking = false;
	for (uint32_t i = 0; i < vm->disk_count; i++) {
		struct volume *volume = &vm->volumes[i];

		if (!volume->live_open[slot])
			continue;
		volume->live_open[slot] = false;
		live_close(&volume->live[slot]);
	}
	(void)pthread_rwlock_unlock(&vm->maps);
	for (uint32_t i = 0; i < vm->disk_count; i++)
		(void)live_unlink(vm->env.memory, i, generation, NULL);
}

static int make_live(struct seal *seal, struct err *err)
{
	struct vm *vm = seal->vm;
	struct live_head head = {
	    .store = vm->system.store,
	    .live = vm->system.live_id,
	    .generation = seal->opened.generation,
	};
	struct live_file made[DISKS_PER_VM_MAX];
	bool latched;
	uint32_t n;
	int r = 0;

	for (n = 0; n < vm->disk_count; n++) {
		head.disk = n;
		head.bytes = vm->volumes[n].bytes;
		r = live_create(vm->env.memory, &head, &made[n], err);
		if (r < 0)
			break;
	}
	if (r < 0) {
		while (n-- > 0) {
			live_close(&made[n]);
			(void)live_unlink(vm->env.memory, n, head.generation,
					  NULL);
		}
		return err_wrap(err, "no room for the live bitmaps");
	}
	(void)pthread_rwlock_wrlock(&vm->maps);
	/* Whoever gives way marks the live files that it finds under `maps`:
	 * these too, or it claimed the latch before this. */
	latched = atomic_load(&vm->latch_claimed);
	for (uint32_t i = 0; i < vm->disk_count; i++) {
		atomic_store(&made[i].state->last_submission_ns,
			     (uint64_t)vm->env.now_ns(vm->env.arg));
		vm->volumes[i].live[seal->new] = made[i];
		vm->volumes[i].live_open[seal->new] = true;
	}
	vm->slots[seal->new] = (struct slot){true, seal->opened.generation,
					     vm->slots[seal->old].file ^ 1};
	(void)pthread_rwlock_unlock(&vm->maps);
	if (!latched)
		return 0;
	drop_live(vm, seal->new);
	return err_set(err, -RP_ELATCHED, "no point: %s", vm->latch_reason);
}

static int sync_image(void *arg, struct err *err)
{
	struct volume *volume = arg;
	int r;

	atomic_fetch_add(&volume->vm->syncing, 1);
	r = file_sync(volume->image, err);
	if (r < 0) {
		volume_sync_failed(volume, r);
		err_wrap(err, "disk '%s'", volume_id(volume));
	}
	atomic_fetch_sub(&volume->vm->syncing, 1);
	return r;
}

static int sync_images(struct seal *seal, struct err *err)
{
	struct parallel_job jobs[DISKS_PER_VM_MAX];
	struct vm *vm = seal->vm;

	for (uint32_t i = 0; i < vm->disk_count; i++)
		jobs[i] = (struct parallel_job){.run = sync_image,
						.arg = &vm->volumes[i]};
	return parallel_run(vm->seal_syncs, jobs, vm->disk_count, err);
}

struct guest_syncs {
	struct track_queue *queue;
	uint64_t begun;
};

static bool syncs_are_over(void *arg)
{
	const struct guest_syncs *syncs = arg;

	return atomic_load(&syncs->queue->syncs_over) >= syncs->begun;
}

/* D4: a sync that a guest asked for may have failed meanwhile, and taken the
 * kernel's one report of what is lost: ours then succeeded for nothing.  One
 * that began before ours was over may have done so, and its completion may not
 * have come by yet: it is waited for. */
static int check_syncs(const struct seal *seal, struct err *err)
{
	struct vm *vm = seal->vm;

	for (struct track_queue *q = vm->queues; q; q = q->next) {
		struct guest_syncs syncs = {q, atomic_load(&q->syncs_begun)};

		if (!epoch_wait(&vm->epoch, syncs_are_over, &syncs,
				ms_left(seal)))
			return err_set(err, -RP_ETIMEOUT,
				       "no point: a flush of the guest's did "
				       "not end within the time limit");
	}
	if (!atomic_load(&vm->sync_failed))
		return 0;
	return err_set(err, -RP_EIOFAIL,
		       "no point: a disk's image could not be synced");
}

static int prepare(struct seal *seal, struct err *err)
{
	struct vm *vm = seal->vm;
	uint32_t since = atomic_load(&vm->tick) - PRELOG_MS;
	int r;

	r = bring_home(vm, err);
	if (r < 0) {
		latch_begin(vm, err->text);
		return r;
	}
	if (vm->volumes[0].live_open[seal->new])
		drop_live(vm, seal->new);
	r = sync_images(seal, err);
	if (r == 0)
		r = make_live(seal, err);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < vm->disk_count; i++)
		keeper_prelog(&vm->volumes[i], since);
	keeper_wake(vm);
	return 0;
}

/* ---- S5 --------------------------------------------------------------- */

static int write_sealed(struct seal *seal, struct err *err)
{
	struct vm *vm = seal->vm;
	struct sealed_disk disks[DISKS_PER_VM_MAX] = {0};
	struct sealed_head head = {.store = vm->system.store,
				   .generation = seal->sealed.generation,
				   .serial = 0,
				   .disks = vm->disk_count};
	int r = 0;

	if (!seal->keep)
		return 0;
	for (uint32_t i = 0; r == 0 && i < vm->disk_count; i++) {
		struct volume *volume = &vm->volumes[i];

		disks[i].disk = i;
		disks[i].set = blockset_new(volume->bytes);
		r = disks[i].set
			? blockset_add_bitmap(disks[i].set,
					      volume->live[seal->old].bits)
			: -ENOMEM;
		if (r < 0)
			err_set(err, r, "seal the generation");
	}
	if (r == 0)
		r = sealed_write(vm->env.store, &head, disks, err);
	for (uint32_t i = 0; i < vm->disk_count; i++)
		blockset_free(disks[i].set);
	return r;
}

/* ---- S6 --------------------------------------------------------------- */

static void plan_point(struct seal *seal)
{
	const struct vm_point_request *request = seal->request;
	struct vm *vm = seal->vm;
	struct point_row *point = &seal->point;

	if (request->import) {
		import_plan(request->import, seal->sealed.generation,
			    &seal->system, point);
		return;
	}

	point->id = guid_is_zero(&request->id) ? guid_random() : request->id;
	point->snapshot = request->snapshot;
	point->order = seal->system.next_point++;
	point->type = request->type;
	point->consistency = request->consistency;
	memcpy(point->label, request->label, sizeof(point->label));
	memcpy(point->request_id, request->request_id,
	       sizeof(point->request_id));
	point->created_ns = vm->env.now_ns(vm->env.arg);
	point->generation = seal->sealed.generation;
	point->disks = vm->disk_count;
	for (uint32_t i = 0; i < vm->disk_count; i++) {
		struct guid id = guid_random(), tail = guid_random();
		char text[GUID_TEXT_BYTES];

		guid_format(&id, text);
		for (char *c = text; *c; c++)
			if (*c == '-')
				*c = ':';
		(void)snprintf(point->tracking_id[i], TRACKING_ID_BYTES,
			       "rctX:%s:%02x%02x%02x%02x", text, tail.b[0],
			       tail.b[1], tail.b[2], tail.b[3]);
		point->bytes[i] = vm->volumes[i].bytes;
	}
}

static int put_seal(struct vm *vm, void *arg, struct err *err)
{
	struct seal *seal = arg;
	struct catalogue *c = vm->catalogue;
	int r =
	    seal->keep
		? catalogue_put_generation(c, &seal->sealed, err)
		: catalogue_drop_generation(c, seal->sealed.generation, err);

	if (r == 0)
		r = catalogue_put_generation(c, &seal->opened, err);
	if (r == 0)
		r = catalogue_put_point(c, &seal->point, err);
	if (r == 0)
		r = seal->request->import
			? import_put(vm, seal->request->import, err)
			: log_rows_put_seal(vm, &seal->point, err);
	if (r == 0)
		r = catalogue_put_system(c, &seal->system, err);
	return r;
}

/* Room first, so that nothing can fail after the commit. */
static int reserve_model(struct vm *vm, struct err *err)
{
	static const struct point_row no_point;
	struct generation_row *row = calloc(1, sizeof(*row));
	int r = row ? 0 : -ENOMEM;

	(void)pthread_mutex_lock(&vm->model);
	if (r == 0)
		r = model_add_generation(vm, row);
	if (r == 0) {
		vm->generation_count--;
		r = model_add_point(vm, &no_point);
	}
	if (r == 0)
		vm->point_count--;
	(void)pthread_mutex_unlock(&vm->model);
	free(row);
	return r ? err_set(err, r, "seal the generation") : 0;
}

static void publish(struct seal *seal)
{
	struct vm *vm = seal->vm;

	(void)pthread_mutex_lock(&vm->model);
	/* Only these: the rest is read without the lock while attached. */
	vm->system.open_generation = seal->system.open_generation;
	vm->system.open_file = seal->system.open_file;
	vm->system.next_point = seal->system.next_point;
	*model_open_generation(vm) = seal->sealed;
	if (!seal->keep)
		model_drop_generation(vm, seal->sealed.generation);
	(void)model_add_generation(vm, &seal->opened);
	if (seal->request->import) {
		import_publish(vm, seal->request->import);
	} else {
		(void)model_add_point(vm, &seal->point);
		log_rows_sealed(vm, &seal->point);
	}
	vm->cut_times.last_ns = vm->epoch.barrier_ns;
	vm->cut_times.max_ns = MAX(vm->cut_times.max_ns, vm->epoch.barrier_ns);
	vm->serial++;
	(void)pthread_mutex_unlock(&vm->model);
}

/* ---- undoing ---------------------------------------------------------- */

static void undo(struct seal *seal)
{
	struct vm *vm = seal->vm;

	(void)epoch_flip(&vm->epoch);
	/* From here on nobody marks in N's slot. */
	for (uint32_t i = 0; i < vm->disk_count; i++) {
		struct live_file *from = &vm->volumes[i].live[seal->new];
		struct live_file *to = &vm->volumes[i].live[seal->old];
		uint64_t last = atomic_load(&from->state->last_submission_ns);

		for (uint64_t w = 0; w < from->words; w++) {
			uint64_t bits = atomic_load(&from->bits[w]);

			if (bits)
				atomic_fetch_or(&to->bits[w], bits);
		}
		if (last > atomic_load(&to->state->last_submission_ns))
			atomic_store(&to->state->last_submission_ns, last);
	}
	/* The keeper goes on writing pages for N's slot too: its live files
	 * are all that tells a successor what to bring home. */
	vm->undone = true;
	vm->undone_generation = seal->opened.generation;
}

/* ---- the whole -------------------------------------------------------- */

static int cut_and_commit(struct seal *seal, struct err *err)
{
	struct vm *vm = seal->vm;
	bool unknown = false;
	int r;

	if (seal->request->cut)
		seal->request->cut(seal->request->cut_arg,
				   atomic_load(&vm->epoch.current) + 1);
	seal->epoch = epoch_flip(&vm->epoch);
	if (!epoch_drain(&vm->epoch, seal->epoch - 1, ms_left(seal)))
		r = err_set(err, -RP_ETIMEOUT,
			    "no point: writes in flight did not end within the "
			    "time limit");
	else
		r = sync_images(seal, err);
	if (r == 0)
		r = check_time(seal, "syncing the disks", err);
	if (r == 0)
		r = write_sealed(seal, err);
	if (r == 0)
		r = check_time(seal, "writing the store", err);
	if (r == 0)
		r = check_syncs(seal, err);
	if (r == 0 && seal->request->drained)
		r = seal->request->drained(seal->request->cut_arg,
					   ms_left(seal), err);
	if (r == 0 && atomic_load(&vm->latch) != LATCH_OFF)
		r = err_set(err, -RP_ELATCHED, "no point: %s",
			    vm->latch_reason);
	plan_point(seal);
	if (r == 0)
		r = vm_commit(vm, put_seal, seal, &unknown, err);
	if (r < 0) {
		undo(seal);
		return r;
	}
	publish(seal);
	drop_live(vm, seal->old);
	return 0;
}

static int seal_run(struct seal *seal, struct err *err)
{
	struct vm *vm = seal->vm;
	uint32_t timeout = seal->request->timeout_ms ? seal->request->timeout_ms
						     : SEAL_TIMEOUT_MS;
	int r = log_rows_admit_seal(vm, seal->request, err);

	if (r == 0)
		r = reserve_model(vm, err);
	if (r == 0 && seal->request->import)
		r = import_reserve(vm, seal->request->import, err);
	if (r < 0)
		return r;
	if (vm->generation_next >= vm->system.next_generation)
		return err_set(err, -RP_ELIMIT,
			       "no more generation numbers are reserved; serve "
			       "the virtual system again");
	seal->deadline_ns = track_monotonic_ns() + (uint64_t)timeout * 1000000u;
	seal->old = atomic_load(&vm->epoch.current) & 1;
	seal->new = seal->old ^ 1;
	seal->system = vm->system;
	seal->sealed = *model_open_generation(vm);
	seal->sealed.sealed = true;
	seal->sealed.serial = 0;
	seal->keep = vm->point_count > 0;
	seal->opened.generation = vm->generation_next++;
	seal->opened.disks = vm->disk_count;
	seal->system.open_generation = seal->opened.generation;
	seal->system.open_file = vm->slots[seal->old].file ^ 1;
	/* E4: what began in an undone seal's epoch is of G as well, but is
	 * counted where N's writes will be.  Nobody enters there now. */
	if (!epoch_drain(&vm->epoch, atomic_load(&vm->epoch.current) + 1,
			 ms_left(seal)))
		return err_set(err, -RP_ETIMEOUT,
			       "no point: writes in flight since an earlier "
			       "attempt did not end within the time limit");
	r = prepare(seal, err);
	return r ? r : cut_and_commit(seal, err);
}

/* ---- the contract ----------------------------------------------------- */

static bool find_request(struct vm *vm, const struct vm_point_request *request,
			 struct point_row *ret_point)
{
	if (!request->request_id[0])
		return false;
	for (uint32_t i = 0; i < vm->point_count; i++)
		if (vm->points[i].snapshot == request->snapshot &&
		    strcmp(vm->points[i].request_id, request->request_id) ==
			0) {
			*ret_point = vm->points[i];
			return true;
		}
	return false;
}

static int admit(struct vm *vm, const struct vm_point_request *request,
		 struct err *err)
{
	if (request->type != POINT_RCT && !request->drained)
		return err_set(err, -RP_EUNSUPPORTED,
			       "nobody keeps logs for a log-based point");
	if (request->consistency != CONSISTENCY_CRASH)
		return err_set(err, -RP_EUNSUPPORTED,
			       "a point becomes application-consistent when "
			       "it is vouched for");
	if (!vm->attached)
		return err_set(err, -RP_ESTATE, "the disks are not attached");
	if (atomic_load(&vm->latch) != LATCH_OFF)
		return err_set(err, -RP_ELATCHED,
			       "tracking gave way to the guest (%s); stop and "
			       "serve the virtual system again",
			       vm->latch_reason);
	if (vm->untracked)
		return err_set(err, -RP_ESTATE, "writes are not tracked");
	if (atomic_load(&vm->sync_failed))
		return err_set(
		    err, -RP_EIOFAIL,
		    "a disk's image could not be synced, so what it "
		    "holds after a power cut is not known; check the "
		    "image's storage, then stop and serve the "
		    "virtual system again");
	if (!request->snapshot &&
	    model_count(vm, false) >= vm->system.points_max)
		return err_set(err, -RP_ELIMIT,
			       "there are %u points already, which is the "
			       "limit; destroy one first",
			       model_count(vm, false));
	return vm_usable(vm, err);
}

int seal_create(struct vm *vm, const struct vm_point_request *request,
		struct point_row *ret_point, struct err *err)
{
	struct seal *seal;
	struct err why = {0};
	int r;

	if (find_request(vm, request, ret_point))
		return 0;
	r = admit(vm, request, err);
	if (r < 0)
		return r;
	seal = calloc(1, sizeof(*seal));
	if (!seal)
		return err_set(err, -ENOMEM, "create a point");
	seal->vm = vm;
	seal->request = request;
	r = seal_run(seal, err);
	if (r == 0)
		*ret_point = seal->point;
	free(seal);
	if (r == 0 && generations_compact(vm, &why) < 0)
		log_warning("generations were not merged: %s", why.text);
	return r;
}

int vm_point_create(struct vm *vm, const struct vm_point_request *request,
		    struct point_row *ret_point, struct err *err)
{
	int r;

	(void)pthread_mutex_lock(&vm->control);
	r = seal_create(vm, request, ret_point, err);
	(void)pthread_mutex_unlock(&vm->control);
	return r;
}
