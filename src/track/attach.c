/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bringing tracking up, whatever the last end left, and down again.
 *
 * The last end was
 *   clean    no live id in force: the pages say all;
 *   a kill   the live files of the live id in force are all there: they are
 *            adopted as they stand, hot regions stay hot;
 *   a cut    they are not: the pages and the intents say all (T5).
 *
 * Adopting: what a seal had begun is merged (T7), then one commit takes a new
 * range of generation numbers (T8).  Otherwise, in this order:
 *   A1  a worse judgement is committed, so that nothing below can lose it
 *   A2  new live files are made under a new live id, filled from pages and hot
 *       regions
 *   A3  what that widens by is committed, then the pages of all bits that are not in the open generation's own page
 *       file are written there and synced: every bit is durable, all is cold
 *   A4  an empty intent record of the new live id is made durable, beside the
 *       one in force
 *   A5  one commit puts the new live id in force
 *   A6  what belongs to nobody any more is removed
 * A cut before A5 finds the old state untouched: A3 only adds copies of bits
 * that are reported anyway.
 *
 * Damaged tracking data never keeps a guest from its disk: the generation is
 * invalid, the files are made anew.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "track/internal.h"
#include "track/judge.h"

#define GENERATION_RESERVE 1000000u

struct attaching {
	struct vm *vm;
	unsigned flags;
	enum judge_end end;
	struct generation_row open; /* with the accuracy that will be */
	struct image_stamp stamps[DISKS_PER_VM_MAX];
	struct system_row system; /* as it will be */
	struct disk_row *disks;   /* as they will be */
	struct intent *intents;   /* in force; a copy */
	uint32_t intent_count;
	uint8_t *pages[DISKS_PER_VM_MAX]; /* by index: of enum page_need */
};

/* What recovery owes to a page; bits. */
enum page_need {
	PAGE_NEEDS_WRITE = 1u << 0,   /* in the open generation's own file */
	PAGE_NEEDS_MENDING = 1u << 1, /* in the other: a slot is torn there */
};

/* ---- volumes ---------------------------------------------------------- */

static void volume_done(struct volume *volume)
{
	for (unsigned s = 0; s < 2; s++) {
		if (volume->live_open[s])
			live_close(&volume->live[s]);
		volume->live_open[s] = false;
		volume->pages[s] = pages_close(volume->pages[s]);
	}
	free(volume->regions);
	free(volume->hot);
	free(volume->wanted);
	(void)pthread_mutex_destroy(&volume->lock);
}

static void volumes_free(struct vm *vm)
{
	for (uint32_t i = 0; vm->volumes && i < vm->disk_count; i++)
		volume_done(&vm->volumes[i]);
	free(vm->volumes);
	vm->volumes = NULL;
}

static int volume_init(struct volume *volume, struct vm *vm, uint32_t ordinal,
		       uint64_t bytes)
{
	volume->vm = vm;
	volume->ordinal = ordinal;
	volume->bytes = bytes;
	volume->blocks = div_round_up(bytes, BLOCK_BYTES);
	volume->region_count = div_round_up(bytes, REGION_BYTES);
	volume->waiters_end = &volume->waiters;
	(void)pthread_mutex_init(&volume->lock, NULL);
	volume->regions = calloc(volume->region_count, sizeof(struct region));
	volume->hot = calloc(HOT_REGIONS_MAX, sizeof(uint32_t));
	volume->wanted = calloc(HOT_REGIONS_MAX, sizeof(uint32_t));
	return volume->regions && volume->hot && volume->wanted ? 0 : -ENOMEM;
}

static int volumes_new(struct attaching *a, struct file *const *images,
		       const struct image_geometry *geometry, struct err *err)
{
	struct vm *vm = a->vm;
	int r = 0;

	vm->volumes = calloc(vm->disk_count, sizeof(*vm->volumes));
	if (!vm->volumes)
		return err_set(err, -ENOMEM, "attach");
	for (uint32_t i = 0; i < vm->disk_count; i++) {
		int q = volume_init(&vm->volumes[i], vm, i, a->disks[i].bytes);

		vm->volumes[i].image = images[i];
		vm->volumes[i].geometry = geometry[i];
		if (q < 0)
			r = err_set(err, q, "attach");
	}
	return r;
}

/* ---- judging ---------------------------------------------------------- */

static void invalidate(struct attaching *a, uint32_t disk, const char *reason)
{
	accuracy_worsen(&a->open.accuracy[disk], ACCURACY_INVALID, "%s",
			reason);
}

static void invalidate_all(struct attaching *a, const char *reason)
{
	for (uint32_t i = 0; i < a->vm->disk_count; i++)
		invalidate(a, i, reason);
}

/* Opens the live files of the open generation; true if all are there and
 * right.  They take the slot that epoch 1 marks in. */
static bool live_open_all(struct attaching *a)
{
	struct vm *vm = a->vm;

	for (uint32_t i = 0; i < vm->disk_count; i++) {
		struct volume *volume = &vm->volumes[i];
		int r = live_open(vm->env.memory, &vm->system.store,
				  &vm->system.live_id, i,
				  vm->system.open_generation, &volume->live[1],
				  NULL);

		volume->live_open[1] = r == 0;
		if (r < 0 || volume->live[1].head.bytes != volume->bytes)
			return false;
	}
	return true;
}

static void live_close_all(struct vm *vm)
{
	for (uint32_t i = 0; i < vm->disk_count; i++)
		for (unsigned s = 0; s < 2; s++) {
			if (vm->volumes[i].live_open[s])
				live_close(&vm->volumes[i].live[s]);
			vm->volumes[i].live_open[s] = false;
		}
}

static void judge_tombstone(struct attaching *a, struct file *file)
{
	struct tombstone tombstone;

	if (file &&
	    tombstone_read(file, &a->vm->system.store, &a->vm->system.live_id,
			   &tombstone, NULL) == 0)
		invalidate_all(a, tombstone.reason);
}

/* True if tracking had given way to the guest. */
static bool judge_latch(struct attaching *a)
{
	struct vm *vm = a->vm;
	bool latched = false;

	for (uint32_t i = 0; a->end == JUDGE_KILLED && i < vm->disk_count;
	     i++) {
		struct live_state *state = vm->volumes[i].live[1].state;
		char reason[REASON_BYTES];

		if (!atomic_load(&state->latched))
			continue;
		memcpy(reason, state->reason, sizeof(reason));
		reason[sizeof(reason) - 1] = '\0';
		invalidate_all(a, reason);
		latched = true;
	}
	if (vm->system.live) {
		judge_tombstone(a, vm->tombstone);
		judge_tombstone(a, vm->env.fallback);
	}
	return latched;
}

static void judge_disks(struct attaching *a)
{
	struct vm *vm = a->vm;

	for (uint32_t i = 0; i < vm->disk_count; i++) {
		struct judge_facts facts = {
		    .end = a->end,
		    .owned = vm->system.owned,
		    .boot_time_ns = vm->env.boot_time_ns,
		};

		if (a->end == JUDGE_KILLED)
			facts.last_submission_ns = (int64_t)atomic_load(
			    &vm->volumes[i].live[1].state->last_submission_ns);
		judge_image(&vm->disks[i], &a->stamps[i], &facts,
			    &a->open.accuracy[i]);
	}
}

static int put_accuracy(struct vm *vm, void *arg, struct err *err)
{
	return catalogue_put_generation(vm->catalogue, arg, err);
}

/* A1. */
static int commit_judgement(struct attaching *a, struct err *err)
{
	struct vm *vm = a->vm;
	struct generation_row *open = model_open_generation(vm);
	int r;

	if (memcmp(open, &a->open, sizeof(a->open)) == 0)
		return 0;
	r = vm_commit(vm, put_accuracy, &a->open, NULL, err);
	if (r == 0)
		*open = a->open;
	return r;
}

/* ---- sizes ------------------------------------------------------------ */

/* A resize that was cut short is taken as finished if the image has grown; any
 * other size is adopted, and judged invalid. */
static void adopt_sizes(struct attaching *a)
{
	for (uint32_t i = 0; i < a->vm->disk_count; i++) {
		a->disks[i].growing_to = 0;
		a->disks[i].bytes = a->stamps[i].bytes;
	}
}

/* ---- the pages -------------------------------------------------------- */

struct page_load {
	struct attaching *a;
	struct volume *volume;
	bool own; /* the open generation's own file */
};

static bool region_was_hot(const struct attaching *a, uint32_t disk,
			   uint64_t first, uint64_t end)
{
	for (uint32_t i = 0; i < a->intent_count; i++)
		if (a->intents[i].disk == disk &&
		    a->intents[i].region >= first && a->intents[i].region < end)
			return true;
	return false;
}

static int load_page(void *arg, const struct page_report *report)
{
	struct page_load *load = arg;
	struct volume *volume = load->volume;
	uint64_t first = (uint64_t)report->index * PAGE_REGIONS;
	_Atomic uint64_t *bits = volume->live[1].bits;
	uint8_t *need = &load->a->pages[volume->ordinal][report->index];

	/* A page is only being written while one of its regions is hot, or to
	 * bring home what the other file holds of it (scanned before): a torn
	 * one without either is damage. */
	if (report->torn &&
	    (load->a->end != JUDGE_CUT ||
	     !(*need & PAGE_NEEDS_WRITE ||
	       region_was_hot(load->a, volume->ordinal, first,
			      first + PAGE_REGIONS))))
		return -RP_ECORRUPT;
	if (report->torn)
		*need |= load->own ? PAGE_NEEDS_WRITE : PAGE_NEEDS_MENDING;
	if (!report->present)
		return 0;
	for (uint64_t r = 0;
	     r < PAGE_REGIONS && first + r < volume->region_count; r++)
		for (uint64_t w = 0; w < REGION_WORDS; w++)
			if (report->bits[r][w])
				atomic_fetch_or(
				    &bits[(first + r) * REGION_WORDS + w],
				    report->bits[r][w]);
	if (!load->own)
		*need |= PAGE_NEEDS_WRITE;
	return 0;
}

/* Clears bits beyond the end, which pages of a disk that shrank may have. */
static void trim_bits(struct volume *volume)
{
	_Atomic uint64_t *bits = volume->live[1].bits;
	uint64_t word = volume->blocks / 64;

	if (volume->blocks % 64)
		atomic_fetch_and(&bits[word++],
				 (UINT64_C(1) << volume->blocks % 64) - 1);
	for (; word < volume->live[1].words; word++)
		atomic_store(&bits[word], 0);
}

static int open_pages(struct attaching *a, uint32_t disk, struct err *err)
{
	struct vm *vm = a->vm;
	struct volume *volume = &vm->volumes[disk];
	int r = 0;

	for (unsigned f = 0; r == 0 && f < PAGE_FILES; f++) {
		volume->pages[f] = pages_close(volume->pages[f]);
		r = pages_open(vm->env.store, &vm->system.store, disk, f,
			       volume->bytes, &volume->pages[f], err);
	}
	return r;
}

static int remake_pages(struct attaching *a, uint32_t disk, struct err *err)
{
	struct vm *vm = a->vm;
	struct fs *fs = vm->env.store;
	int r;

	for (unsigned f = 0; f < PAGE_FILES; f++) {
		char name[48];

		vm->volumes[disk].pages[f] =
		    pages_close(vm->volumes[disk].pages[f]);
		(void)snprintf(name, sizeof(name), "pages.%u.%u", disk, f);
		r = fs->ops->unlink(fs, name, err);
		if (r < 0 && r != -ENOENT)
			return r;
	}
	r = pages_create(fs, disk, vm->volumes[disk].bytes, err);
	if (r == 0)
		r = fs->ops->sync_dir(fs, err);
	return r ? r : open_pages(a, disk, err);
}

static int load_pages(struct attaching *a, uint32_t disk, struct err *err)
{
	struct vm *vm = a->vm;
	struct volume *volume = &vm->volumes[disk];
	int r = 0;

	for (unsigned n = 0; r == 0 && n < PAGE_FILES; n++) {
		unsigned f = n == 0 ? vm->system.open_file ^ 1
				    : vm->system.open_file;
		struct page_load load = {a, volume, n == 1};

		r = pages_scan(volume->pages[f], vm->system.open_generation,
			       load_page, &load, err);
	}
	if (r == -RP_ECORRUPT || r == -ENOENT) {
		invalidate(a, disk, "tracking pages are damaged");
		r = remake_pages(a, disk, err);
		/* What was read of them is worth nothing, and on no page. */
		for (uint64_t w = 0; w < volume->live[1].words; w++)
			atomic_store(&volume->live[1].bits[w], 0);
	}
	trim_bits(volume);
	return r;
}

/* T5: every block of every region that was hot. */
static void widen(struct attaching *a, uint32_t disk)
{
	struct volume *volume = &a->vm->volumes[disk];
	struct accuracy_row *row = &a->open.accuracy[disk];
	uint64_t blocks = 0;

	for (uint32_t i = 0; i < a->intent_count; i++) {
		uint64_t region = a->intents[i].region;

		if (a->intents[i].disk != disk ||
		    region >= volume->region_count)
			continue;
		a->pages[disk][region / PAGE_REGIONS] |= PAGE_NEEDS_WRITE;
		for (uint64_t b = region * REGION_BLOCKS;
		     b < (region + 1) * REGION_BLOCKS && b < volume->blocks;
		     b++) {
			uint64_t bit = UINT64_C(1) << b % 64;

			blocks +=
			    !(atomic_fetch_or(&volume->live[1].bits[b / 64],
					      bit) &
			      bit);
		}
	}
	if (guid_equal(&a->vm->system.widened, &a->vm->system.live_id))
		return; /* by a recovery that was cut short itself */
	row->widened_bytes += blocks * BLOCK_BYTES;
	if (blocks)
		accuracy_worsen(row, ACCURACY_WIDENED,
				"the power failed while %llu bytes around "
				"recent writes were not yet told apart",
				(unsigned long long)(blocks * BLOCK_BYTES));
}

static int flush_page(struct attaching *a, struct volume *volume,
		      uint32_t index, bool wrote[PAGE_FILES], struct err *err)
{
	unsigned other = a->vm->slots[1].file ^ 1;
	uint8_t need = a->pages[volume->ordinal][index];
	uint64_t word = (uint64_t)index * PAGE_REGIONS * REGION_WORDS;
	struct live_file *live = &volume->live[1];
	int r = 0;

	if (need & PAGE_NEEDS_WRITE)
		r = keeper_write_page(volume, index, wrote, err);
	if (r < 0 || !(need & PAGE_NEEDS_MENDING))
		return r;
	wrote[other] = true;
	return pages_write(volume->pages[other], index,
			   a->vm->slots[1].generation, live->bits + word,
			   live->words - word, err);
}

/* A3, and the same for what an undone seal left. */
static int flush_pages(struct attaching *a, uint32_t disk, struct err *err)
{
	struct volume *volume = &a->vm->volumes[disk];
	uint64_t pages = page_count(volume->bytes);
	bool wrote[PAGE_FILES] = {false};
	int r = 0;

	for (uint64_t p = 0; r == 0 && p < pages; p++)
		if (a->pages[disk][p])
			r = flush_page(a, volume, (uint32_t)p, wrote, err);
	for (unsigned f = 0; r == 0 && f < PAGE_FILES; f++)
		if (wrote[f])
			r = pages_sync(volume->pages[f], err);
	return r;
}

/* ---- the intents ------------------------------------------------------ */

static int load_intents(struct attaching *a, struct err *err)
{
	struct vm *vm = a->vm;
	bool found = false;
	int r = intents_open(vm->env.store, &vm->system.store,
			     &vm->system.live_id, &vm->intents, &found, err);

	if (r == -RP_ECORRUPT || r == -ENOENT ||
	    (r == 0 && vm->system.live && !found)) {
		vm->intents = intents_close(vm->intents);
		if (vm->system.live)
			invalidate_all(a, "the intents are damaged");
		r = vm->env.store->ops->unlink(vm->env.store, "intents", err);
		if (r == 0 || r == -ENOENT)
			r = intents_create(vm->env.store, err);
		if (r == 0)
			r = vm->env.store->ops->sync_dir(vm->env.store, err);
		if (r == 0)
			r = intents_open(vm->env.store, &vm->system.store,
					 &vm->system.live_id, &vm->intents,
					 &found, err);
	}
	if (r < 0)
		return r;
	if (found && vm->system.live) {
		uint32_t n;
		const struct intent *list = intents_in_force(vm->intents, &n);

		a->intents = malloc((n + 1) * sizeof(*a->intents));
		if (!a->intents)
			return err_set(err, -ENOMEM, "attach");
		memcpy(a->intents, list, n * sizeof(*list));
		a->intent_count = n;
	}
	return 0;
}

/* ---- adopting live files (a kill) ------------------------------------- */

struct undone {
	struct attaching *a;
	bool any;
	int result;
	struct err *err;
};

static void merge_bits(struct attaching *a, uint32_t disk,
		       const struct live_file *from)
{
	struct volume *volume = &a->vm->volumes[disk];

	for (uint64_t w = 0; w < from->words; w++) {
		uint64_t bits = atomic_load(&from->bits[w]);

		if (!bits)
			continue;
		atomic_fetch_or(&volume->live[1].bits[w], bits);
		a->pages[disk][w / REGION_WORDS / PAGE_REGIONS] |=
			PAGE_NEEDS_WRITE;
	}
}

/* T7: a live file of a generation that no commit opened. */
static int adopt_undone(void *arg, uint32_t disk, uint64_t generation)
{
	struct undone *undone = arg;
	struct vm *vm = undone->a->vm;
	struct live_file live;
	int r;

	if (disk >= vm->disk_count || generation <= vm->system.open_generation)
		return 0;
	r = live_open(vm->env.memory, &vm->system.store, &vm->system.live_id,
		      disk, generation, &live, undone->err);
	if (r == -RP_ECORRUPT)
		return 0; /* of another life */
	if (r < 0)
		return undone->result = r;
	if (live.head.bytes == vm->volumes[disk].bytes) {
		struct live_state *state = vm->volumes[disk].live[1].state;
		uint64_t last = atomic_load(&live.state->last_submission_ns);

		merge_bits(undone->a, disk, &live);
		if (last > atomic_load(&state->last_submission_ns))
			atomic_store(&state->last_submission_ns, last);
		undone->any = true;
	}
	live_close(&live);
	return 0;
}

static int merge_undone(struct attaching *a, struct err *err)
{
	struct undone undone = {.a = a, .err = err};
	int r = live_list(a->vm->env.memory, adopt_undone, &undone, err);

	return r < 0 ? r : undone.result;
}

static void adopt_hot(struct attaching *a)
{
	struct vm *vm = a->vm;

	for (uint32_t i = 0; i < a->intent_count; i++) {
		struct volume *volume;
		uint64_t region = a->intents[i].region;

		if (a->intents[i].disk >= vm->disk_count)
			continue;
		volume = &vm->volumes[a->intents[i].disk];
		if (region >= volume->region_count ||
		    volume->regions[region].state == REGION_HOT ||
		    volume->hot_count == HOT_REGIONS_MAX)
			continue;
		volume->regions[region].state = REGION_HOT;
		volume->hot[volume->hot_count++] = (uint32_t)region;
	}
}

static int adopt(struct attaching *a, struct err *err)
{
	struct vm *vm = a->vm;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < vm->disk_count; i++)
		r = open_pages(a, i, err);
	if (r == 0)
		adopt_hot(a);
	for (uint32_t i = 0; r == 0 && i < vm->disk_count; i++)
		r = flush_pages(a, i, err);
	return r;
}

/* ---- fresh live files (clean, or a cut) ------------------------------- */

static int fresh_live(struct attaching *a, uint32_t disk, struct err *err)
{
	struct vm *vm = a->vm;
	struct volume *volume = &vm->volumes[disk];
	struct live_head head = {
	    .store = vm->system.store,
	    .live = a->system.live_id,
	    .generation = vm->system.open_generation,
	    .disk = disk,
	    .bytes = volume->bytes,
	};
	int r = live_create(vm->env.memory, &head, &volume->live[1], err);

	volume->live_open[1] = r == 0;
	if (r == 0)
		atomic_store(&volume->live[1].state->last_submission_ns,
			     (uint64_t)vm->env.now_ns(vm->env.arg));
	return r;
}

/* A1 again, now with what the hot regions add, before any page holds it: a
 * second cut must not take widened blocks for written ones. */
static int put_widened(struct vm *vm, void *arg, struct err *err)
{
	struct attaching *a = arg;
	struct system_row system = vm->system;
	int r;

	system.widened = vm->system.live_id;
	r = catalogue_put_system(vm->catalogue, &system, err);
	return r ? r : catalogue_put_generation(vm->catalogue, &a->open, err);
}

static int commit_widened(struct attaching *a, struct err *err)
{
	int r;

	if (a->end != JUDGE_CUT || a->intent_count == 0 ||
	    guid_equal(&a->vm->system.widened, &a->vm->system.live_id))
		return 0;
	r = vm_commit(a->vm, put_widened, a, NULL, err);
	if (r == 0)
		a->system.widened = a->vm->system.live_id;
	return r;
}

static int fresh_disk(struct attaching *a, uint32_t disk, struct err *err)
{
	struct vm *vm = a->vm;
	int r = 0;

	if (vm->volumes[disk].bytes != vm->disks[disk].bytes)
		r = pages_create(vm->env.store, disk, vm->volumes[disk].bytes,
				 err);
	if (r == 0)
		r = open_pages(a, disk, err);
	if (r == -ENOENT || r == -RP_ECORRUPT) {
		invalidate(a, disk, "tracking pages are damaged");
		r = remake_pages(a, disk, err);
	}
	if (r == 0)
		r = fresh_live(a, disk, err);
	if (r == 0)
		r = load_pages(a, disk, err);
	if (r == 0 && a->end == JUDGE_CUT)
		widen(a, disk);
	return r;
}

static int fresh(struct attaching *a, struct err *err)
{
	struct vm *vm = a->vm;
	int r = 0;

	a->system.live_id = guid_random();
	for (uint32_t i = 0; r == 0 && i < vm->disk_count; i++)
		r = fresh_disk(a, i, err);
	if (r == 0)
		r = commit_widened(a, err);
	for (uint32_t i = 0; r == 0 && i < vm->disk_count; i++)
		r = flush_pages(a, i, err);
	if (r < 0)
		return r;
	intents_rebind(vm->intents, &a->system.live_id);
	r = intents_write(vm->intents, NULL, 0, err);
	if (r == 0)
		r = file_sync(intents_sync_file(vm->intents), err);
	if (r == 0)
		intents_commit(vm->intents);
	return r;
}

/* ---- the commit ------------------------------------------------------- */

static void plan_rows(struct attaching *a)
{
	struct vm *vm = a->vm;

	a->system.live = true;
	a->system.boot = vm->env.boot;
	vm->generation_next = vm->system.next_generation;
	a->system.next_generation += GENERATION_RESERVE;
	for (uint32_t i = 0; i < vm->disk_count; i++) {
		struct disk_row *row = &a->disks[i];

		row->stamped = true;
		row->stamp = a->stamps[i];
		if (!(a->flags & VM_ATTACH_WRITE) || a->end == JUDGE_KILLED)
			continue;
		row->nonce_before = a->stamps[i].nonce;
		row->nonce = guid_random();
	}
}

static int put_attach(struct vm *vm, void *arg, struct err *err)
{
	struct attaching *a = arg;
	int r = catalogue_put_system(vm->catalogue, &a->system, err);

	if (r == 0)
		r = catalogue_put_generation(vm->catalogue, &a->open, err);
	for (uint32_t i = 0; r == 0 && i < vm->disk_count; i++)
		r = catalogue_put_disk(vm->catalogue, &a->disks[i], err);
	return r;
}

static void publish(struct attaching *a)
{
	struct vm *vm = a->vm;

	(void)pthread_mutex_lock(&vm->model);
	vm->system = a->system;
	*model_open_generation(vm) = a->open;
	for (uint32_t i = 0; i < vm->disk_count; i++)
		vm->disks[i] = a->disks[i];
	(void)pthread_mutex_unlock(&vm->model);
}

/* The nonce, and from then on the clock of the last submission. */
static int mark_images(struct attaching *a, struct err *err)
{
	struct vm *vm = a->vm;

	for (uint32_t i = 0; i < vm->disk_count; i++) {
		struct image_stamp stamp;
		int r = 0;

		if (a->flags & VM_ATTACH_WRITE && a->end != JUDGE_KILLED &&
		    a->stamps[i].kind == IMAGE_FILE)
			r = vm->env.mark(vm->env.arg, i, &a->disks[i].nonce,
					 &stamp, err);
		if (r < 0 && r != -EOPNOTSUPP)
			return r;
		atomic_store(&vm->volumes[i].live[1].state->last_submission_ns,
			     (uint64_t)vm->env.now_ns(vm->env.arg));
	}
	return 0;
}

/* ---- A6 --------------------------------------------------------------- */

struct live_name {
	struct vm *vm;
	bool all;
	uint32_t disk;
	uint64_t generation;
};

static int find_stray_live(void *arg, uint32_t disk, uint64_t generation)
{
	struct live_name *name = arg;

	if (!name->all && disk < name->vm->disk_count &&
	    generation == name->vm->system.open_generation)
		return 0;
	name->disk = disk;
	name->generation = generation;
	return 1;
}

/* Removes the live files of other generations, or ALL. */
static void remove_live(struct vm *vm, bool all)
{
	struct live_name name = {.vm = vm, .all = all};

	while (live_list(vm->env.memory, find_stray_live, &name, NULL) > 0)
		if (live_unlink(vm->env.memory, name.disk, name.generation,
				NULL) < 0)
			break;
}

/* ---- attach ----------------------------------------------------------- */

static int read_stamps(struct attaching *a, struct err *err)
{
	struct vm *vm = a->vm;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < vm->disk_count; i++)
		r = vm->env.stamp(vm->env.arg, i, &a->stamps[i], err);
	return r;
}

static int open_tombstone(struct vm *vm, struct err *err)
{
	int r = fs_open(vm->env.store, "tombstone", FILE_WRITE, &vm->tombstone,
			err);

	if (r != -ENOENT)
		return r;
	r = tombstone_create(vm->env.store, err);
	return r ? r
		 : fs_open(vm->env.store, "tombstone", FILE_WRITE,
			   &vm->tombstone, err);
}

/* How the last time ended; opens the live files of a kill. */
static void find_end(struct attaching *a)
{
	struct vm *vm = a->vm;

	a->end = JUDGE_CLEAN;
	if (!vm->system.live)
		return;
	a->end = JUDGE_KILLED;
	if (live_open_all(a))
		return;
	live_close_all(vm);
	a->end = JUDGE_CUT;
}

static int attach_steps(struct attaching *a, struct err *err)
{
	struct vm *vm = a->vm;
	int r = load_intents(a, err);
	bool latched;

	if (r == 0)
		r = open_tombstone(vm, err);
	if (r < 0)
		return r;
	find_end(a);
	latched = judge_latch(a);
	if (a->end == JUDGE_KILLED) {
		r = merge_undone(a, err);
		if (r < 0)
			return r;
	}
	judge_disks(a);
	adopt_sizes(a);
	r = commit_judgement(a, err);
	if (r < 0)
		return r;
	/* A kill after giving way: what the live files hold is invalid, and a
	 * new life must not inherit the latch. */
	if (latched) {
		live_close_all(vm);
		a->end = JUDGE_CUT;
	}
	vm->slots[1] = (struct slot){true, vm->system.open_generation,
				     vm->system.open_file};
	vm->slots[0] = (struct slot){0};
	r = a->end == JUDGE_KILLED ? adopt(a, err) : fresh(a, err);
	if (r < 0)
		return r;
	plan_rows(a);
	r = vm_commit(vm, put_attach, a, NULL, err);
	if (r < 0)
		return r;
	publish(a);
	remove_live(vm, false);
	return mark_images(a, err);
}

static void attached_free(struct vm *vm)
{
	while (vm->queues) {
		struct track_queue *queue = vm->queues;

		vm->queues = queue->next;
		free(queue);
	}
	volumes_free(vm);
	vm->intents = intents_close(vm->intents);
	file_close(vm->tombstone);
	vm->tombstone = NULL;
}

static int attaching_init(struct attaching *a, struct vm *vm, unsigned flags,
			  struct err *err)
{
	a->vm = vm;
	a->flags = flags;
	a->open = *model_open_generation(vm);
	a->system = vm->system;
	a->disks = malloc(vm->disk_count * sizeof(*a->disks));
	if (!a->disks)
		return err_set(err, -ENOMEM, "attach");
	memcpy(a->disks, vm->disks, vm->disk_count * sizeof(*a->disks));
	return 0;
}

static int attaching_pages(struct attaching *a, struct err *err)
{
	for (uint32_t i = 0; i < a->vm->disk_count; i++) {
		a->pages[i] = calloc(page_count(a->disks[i].bytes) + 1, 1);
		if (!a->pages[i])
			return err_set(err, -ENOMEM, "attach");
	}
	return 0;
}

static void attaching_free(struct attaching *a)
{
	for (uint32_t i = 0; i < a->vm->disk_count; i++)
		free(a->pages[i]);
	free(a->intents);
	free(a->disks);
	free(a);
}

static int attach_locked(struct vm *vm, struct file *const *images,
			 const struct image_geometry *geometry, unsigned flags,
			 struct err *err)
{
	struct attaching *a = calloc(1, sizeof(*a));
	int r;

	if (!a)
		return err_set(err, -ENOMEM, "attach");
	epoch_init(&vm->epoch);
	vm->epoch.pump = vm->env.pump;
	vm->epoch.pump_arg = vm->env.arg;
	vm->record_stale = vm->undone = false;
	atomic_store(&vm->sync_failed, false);
	atomic_store(&vm->latch, LATCH_OFF);
	atomic_store(&vm->latch_claimed, false);
	atomic_store(&vm->tombs, 0);
	r = attaching_init(a, vm, flags, err);
	if (r == 0)
		r = read_stamps(a, err);
	if (r == 0) {
		for (uint32_t i = 0; i < vm->disk_count; i++)
			a->disks[i].bytes = a->stamps[i].bytes;
		r = volumes_new(a, images, geometry, err);
	}
	if (r == 0)
		r = attaching_pages(a, err);
	if (r == 0)
		r = attach_steps(a, err);
	if (r == 0)
		r = keeper_start(vm, err);
	attaching_free(a);
	if (r == 0) {
		vm->attached = true;
		return 0;
	}
	attached_free(vm);
	epoch_done(&vm->epoch);
	return r;
}

int vm_attach(struct vm *vm, struct file *const *images,
	      const struct image_geometry *geometry, unsigned flags,
	      struct err *err)
{
	int r;

	(void)pthread_mutex_lock(&vm->control);
	r = vm->attached ? err_set(err, -RP_ESTATE,
				   "the disks are attached already")
			 : 0;
	if (r == 0 && vm->broken)
		r = vm_reload(vm, err);
	if (r == 0)
		r = attach_locked(vm, images, geometry, flags, err);
	(void)pthread_mutex_unlock(&vm->control);
	return r;
}

struct track_queue *
vm_queue_new(struct vm *vm, struct ioq *ioq,
	     void (*post)(void *arg, struct ring_task *task), void *arg)
{
	struct track_queue *queue = calloc(1, sizeof(*queue));

	if (!queue)
		return NULL;
	queue->vm = vm;
	queue->ioq = ioq;
	queue->post = post;
	queue->arg = arg;
	queue->held_end = &queue->held;
	queue->epoch.post = post;
	queue->epoch.arg = arg;
	queue->epoch.released = queue_released;
	queue->epoch.released_arg = queue;
	(void)pthread_mutex_lock(&vm->control);
	epoch_add(&vm->epoch, &queue->epoch);
	queue->next = vm->queues;
	vm->queues = queue;
	(void)pthread_mutex_unlock(&vm->control);
	return queue;
}

struct volume *vm_volume(struct vm *vm, uint32_t disk,
			 struct track_queue *queue)
{
	vm->volumes[disk].queue = queue;
	return &vm->volumes[disk];
}

/* ---- detach ----------------------------------------------------------- */

/* Everything that is hot turns cold, in the durable sense; bits that an undone
 * seal left in the other file come home. */
static int make_all_durable(struct vm *vm, struct err *err)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < vm->disk_count; i++) {
		struct volume *volume = &vm->volumes[i];
		bool wrote[PAGE_FILES] = {false};

		for (uint32_t k = 0; r == 0 && k < volume->hot_count; k++)
			r = keeper_write_page(volume,
					      volume->hot[k] / PAGE_REGIONS,
					      wrote, err);
		for (unsigned f = 0; r == 0 && f < PAGE_FILES; f++)
			if (wrote[f])
				r = pages_sync(volume->pages[f], err);
	}
	return r;
}

static int put_detach(struct vm *vm, void *arg, struct err *err)
{
	struct attaching *a = arg;
	int r = catalogue_put_system(vm->catalogue, &a->system, err);

	if (r == 0)
		r = catalogue_put_generation(vm->catalogue, &a->open, err);
	for (uint32_t i = 0; r == 0 && i < vm->disk_count; i++)
		r = catalogue_put_disk(vm->catalogue, &a->disks[i], err);
	return r;
}

static int detach_commit(struct vm *vm, struct err *err)
{
	struct attaching *a = calloc(1, sizeof(*a));
	int r;

	if (!a)
		return err_set(err, -ENOMEM, "detach");
	r = attaching_init(a, vm, 0, err);
	if (r == 0)
		r = read_stamps(a, err);
	if (r == 0) {
		a->system.live = false;
		if (atomic_load(&vm->latch) != LATCH_OFF)
			invalidate_all(a, vm->latch_reason);
		for (uint32_t i = 0; i < vm->disk_count; i++)
			a->disks[i].stamp = a->stamps[i];
		r = vm_commit(vm, put_detach, a, NULL, err);
	}
	if (r == 0)
		publish(a);
	attaching_free(a);
	return r;
}

static int detach_locked(struct vm *vm, struct err *err)
{
	int r = 0, r2;

	keeper_stop(vm);
	for (uint32_t i = 0; i < vm->disk_count; i++) {
		r2 = file_sync(vm->volumes[i].image, err);
		r = r ? r : r2;
	}
	if (r == 0)
		r = vm_usable(vm, err);
	if (r == 0 && atomic_load(&vm->latch) == LATCH_OFF)
		r = make_all_durable(vm, err);
	if (r == 0)
		r = detach_commit(vm, err);
	if (r == 0)
		remove_live(vm, true);
	attached_free(vm);
	epoch_done(&vm->epoch);
	vm->attached = false;
	return r;
}

int vm_detach(struct vm *vm, struct err *err)
{
	int r = 0;

	(void)pthread_mutex_lock(&vm->control);
	if (vm->attached)
		r = detach_locked(vm, err);
	(void)pthread_mutex_unlock(&vm->control);
	return r;
}
