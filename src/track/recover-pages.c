/* SPDX-License-Identifier: Apache-2.0 */
/* Attaching: the durable pages, read, widened, mended and brought home. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "track/attaching.h"

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
	 * bring home what the other file holds of it (scanned before; that may
	 * also have been cut short after a clean end, A3): a torn one without
	 * either is damage. */
	if (report->torn && !(*need & PAGE_NEEDS_WRITE) &&
	    (load->a->end != JUDGE_CUT ||
	     !region_was_hot(load->a, volume->ordinal, first,
			     first + PAGE_REGIONS)))
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

int open_pages(struct attaching *a, uint32_t disk, struct err *err)
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

int remake_pages(struct attaching *a, uint32_t disk, struct err *err)
{
	struct vm *vm = a->vm;
	struct fs *fs = vm->env.store;
	int r;

	/* Once they are gone nothing shows any more that they were damaged. */
	invalidate(a, disk, "tracking pages are damaged");
	r = commit_disk_judgement(a, disk, err);
	if (r < 0)
		return r;
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

int load_pages(struct attaching *a, uint32_t disk, struct err *err)
{
	struct vm *vm = a->vm;
	struct volume *volume = &vm->volumes[disk];
	int r = 0;

	for (unsigned n = 0; r == 0 && n < PAGE_FILES; n++) {
		unsigned f =
		    n == 0 ? vm->system.open_file ^ 1 : vm->system.open_file;
		struct page_load load = {a, volume, n == 1};

		r = pages_scan(volume->pages[f], vm->system.open_generation,
			       load_page, &load, err);
	}
	if (r == -RP_ECORRUPT || r == -ENOENT) {
		r = remake_pages(a, disk, err);
		/* What was read of them is worth nothing, and on no page. */
		for (uint64_t w = 0; w < volume->live[1].words; w++)
			atomic_store(&volume->live[1].bits[w], 0);
	}
	trim_bits(volume);
	return r;
}

/* T5: every block of every region that was hot. */
void widen(struct attaching *a, uint32_t disk)
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
int flush_pages(struct attaching *a, uint32_t disk, struct err *err)
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
