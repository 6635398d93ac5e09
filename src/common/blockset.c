/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two levels: a directory of chunks (4096 regions, 64 GiB of disk), each made
 * when first needed, and in a chunk one slot for each region.  A slot has a
 * summary, one bit for each word of its region, and only the words that are
 * not zero, packed.
 *
 *   I1  bit w of a slot's summary is set exactly if word w of its region is
 *       not zero; the words are popcount(summary) many, in ascending order,
 *       in room for size_class() of that.
 *   I2  no bit at or beyond `blocks` is ever set.
 *   I3  a full region has no words of its own but the constant full_region,
 *       so that a set of a whole 64 TiB disk needs 64 MiB, not 2 GiB.
 *
 * With 2.5 changed blocks in each region of a tebibyte, which random writes
 * make of it, plain words took 32 MiB and 37 ms for a union and a walk, all of
 * it spent waiting for memory; packed they take 2 MiB.  Lists of block numbers
 * (as sealed files have them) would be smaller still, but slow to unite.
 * Words come from slabs: tens of thousands of small allocations cost more than
 * all the rest.
 */
#include "common/blockset.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_REGIONS  4096u
#define SLAB_WORDS_MIN 512u
#define SLAB_WORDS_MAX 32768u
#define CLASSES        5u /* 4, 8, 16, 32, 64 words */
#define CACHE_LINE     64u

static_assert(REGION_WORDS == 64, "a summary is one word");

struct slot {
	uint64_t summary;
	uint64_t *words; /* in a slab, or full_region */
};

struct slab {
	_Alignas(CACHE_LINE) struct slab *next;
	_Alignas(CACHE_LINE) uint64_t words[];
};

struct spare {
	struct spare *next;
};

struct blockset {
	uint64_t bytes;
	uint64_t blocks;
	uint64_t regions;
	uint64_t chunks;
	struct slab *slabs; /* the first is the one in use */
	size_t slab_words;
	size_t slab_used;
	struct spare *spare[CLASSES]; /* outgrown ones, for the next taker */
	struct slot *chunk[];
};

/* Never written to; not const, as slots' own words are not. */
static uint64_t full_region[REGION_WORDS];

__attribute__((constructor)) static void fill_full_region(void)
{
	memset(full_region, 0xff, sizeof(full_region));
}

/* Inline: the compiler's own is a call, unless told of a newer processor. */
static unsigned popcount(uint64_t bits)
{
	bits -= bits >> 1 & 0x5555555555555555ULL;
	bits = (bits & 0x3333333333333333ULL) +
	       (bits >> 2 & 0x3333333333333333ULL);
	bits = (bits + (bits >> 4)) & 0x0f0f0f0f0f0f0f0fULL;
	return (unsigned)(bits * 0x0101010101010101ULL >> 56);
}

static unsigned lowest(uint64_t bits)
{
	return (unsigned)__builtin_ctzll(bits);
}

struct blockset *blockset_new(uint64_t bytes)
{
	uint64_t regions = div_round_up(bytes, REGION_BYTES);
	uint64_t chunks = div_round_up(regions, CHUNK_REGIONS);
	struct blockset *set;

	set = calloc(1, sizeof(*set) + chunks * sizeof(set->chunk[0]));
	if (!set)
		return NULL;
	set->bytes = bytes;
	set->blocks = div_round_up(bytes, BLOCK_BYTES);
	set->regions = regions;
	set->chunks = chunks;
	return set;
}

struct blockset *blockset_free(struct blockset *set)
{
	struct slab *slab, *next;

	if (!set)
		return NULL;
	for (slab = set->slabs; slab; slab = next) {
		next = slab->next;
		free(slab);
	}
	for (uint64_t c = 0; c < set->chunks; c++)
		free(set->chunk[c]);
	free(set);
	return NULL;
}

uint64_t blockset_bytes(const struct blockset *set)
{
	return set->bytes;
}

uint64_t blockset_blocks(const struct blockset *set)
{
	return set->blocks;
}

uint64_t blockset_regions(const struct blockset *set)
{
	return set->regions;
}

static const struct slot *slot_get(const struct blockset *set, uint64_t region)
{
	const struct slot *chunk = set->chunk[region / CHUNK_REGIONS];

	return chunk ? &chunk[region % CHUNK_REGIONS] : NULL;
}

static struct slot *slot_make(struct blockset *set, uint64_t region)
{
	struct slot **chunk = &set->chunk[region / CHUNK_REGIONS];

	if (!*chunk)
		*chunk = calloc(CHUNK_REGIONS, sizeof(**chunk));
	return *chunk ? &(*chunk)[region % CHUNK_REGIONS] : NULL;
}

/* Room for 4 << size_class(n) words holds N. */
static unsigned size_class(unsigned n)
{
	return n <= 4 ? 0 : 30 - (unsigned)__builtin_clz(n - 1);
}

static int slab_new(struct blockset *set)
{
	size_t n =
	    MIN(MAX(set->slab_words * 2, SLAB_WORDS_MIN), SLAB_WORDS_MAX);
	struct slab *slab =
	    aligned_alloc(CACHE_LINE, sizeof(*slab) + n * sizeof(uint64_t));

	if (!slab)
		return -ENOMEM;
	slab->next = set->slabs;
	set->slabs = slab;
	set->slab_words = n;
	set->slab_used = 0;
	return 0;
}

static uint64_t *words_new(struct blockset *set, unsigned class)
{
	struct spare *spare = set->spare[class];
	size_t n = (size_t)4 << class;
	uint64_t *words;

	if (spare) {
		set->spare[class] = spare->next;
		return (uint64_t *)(void *)spare;
	}
	if (set->slab_words - set->slab_used < n && slab_new(set) < 0)
		return NULL;
	words = set->slabs->words + set->slab_used;
	set->slab_used += n;
	return words;
}

static void slot_drop_words(struct blockset *set, struct slot *slot)
{
	struct spare *spare = (struct spare *)(void *)slot->words;
	unsigned class;

	if (!spare)
		return;
	class = size_class(popcount(slot->summary));
	spare->next = set->spare[class];
	set->spare[class] = spare;
}

static void slot_fill(struct blockset *set, struct slot *slot)
{
	slot_drop_words(set, slot);
	slot->words = full_region;
	slot->summary = ~0ULL;
}

/* Makes packed WORDS what SLOT holds; they are at least those it has. */
static int slot_put(struct blockset *set, struct slot *slot, uint64_t summary,
		    const uint64_t *words)
{
	unsigned n = popcount(summary), class = size_class(n);
	uint64_t *room = slot->words;

	if (n == REGION_WORDS &&
	    memcmp(words, full_region, sizeof(full_region)) == 0) {
		slot_fill(set, slot);
		return 0;
	}
	if (!room || size_class(popcount(slot->summary)) != class) {
		room = words_new(set, class);
		if (!room)
			return -ENOMEM;
		slot_drop_words(set, slot);
	}
	for (unsigned i = 0; i < n; i++)
		room[i] = words[i];
	slot->words = room;
	slot->summary = summary;
	return 0;
}

/* Unites packed words A of summary SA with B of summary SB. */
static void merge(uint64_t sa, const uint64_t *a, uint64_t sb,
		  const uint64_t *b, uint64_t *ret_words)
{
	for (uint64_t s = sa | sb; s; s &= s - 1) {
		uint64_t bit = s & -s, word = 0;

		if (sa & bit)
			word |= *a++;
		if (sb & bit)
			word |= *b++;
		*ret_words++ = word;
	}
}

/* ORs in packed WORDS, none of them zero, none beyond the disk's end. */
static int or_packed(struct blockset *set, uint64_t region, uint64_t summary,
		     const uint64_t *words)
{
	struct slot *slot = slot_make(set, region);
	uint64_t merged[REGION_WORDS];

	if (!slot)
		return -ENOMEM;
	if (slot->words == full_region)
		return 0;
	if (!slot->summary || words == full_region)
		return slot_put(set, slot, summary, words);
	merge(slot->summary, slot->words, summary, words, merged);
	return slot_put(set, slot, slot->summary | summary, merged);
}

static uint64_t region_blocks(const struct blockset *set, uint64_t region)
{
	return MIN(set->blocks - region * REGION_BLOCKS,
		   (uint64_t)REGION_BLOCKS);
}

/* Which bits of word W are blocks within [first, end) of a region. */
static uint64_t word_mask(unsigned w, uint64_t first, uint64_t end)
{
	uint64_t low = w * 64ULL, high = low + 64, mask = ~0ULL;

	if (first >= high || end <= low)
		return 0;
	if (first > low)
		mask &= ~0ULL << (first - low);
	if (end < high)
		mask &= ~0ULL >> (high - end);
	return mask;
}

/* Adds blocks [first, end) of REGION, numbered within it. */
static int add_in_region(struct blockset *set, uint64_t region, uint64_t first,
			 uint64_t end)
{
	uint64_t words[REGION_WORDS], summary = 0;
	unsigned n = 0;

	if (first == 0 && end == REGION_BLOCKS)
		return or_packed(set, region, ~0ULL, full_region);
	for (unsigned w = (unsigned)(first / 64); w <= (end - 1) / 64; w++) {
		words[n++] = word_mask(w, first, end);
		summary |= 1ULL << w;
	}
	return or_packed(set, region, summary, words);
}

int blockset_add(struct blockset *set, uint64_t first, uint64_t count)
{
	uint64_t end;

	if (first >= set->blocks || count == 0)
		return 0;
	end = first + MIN(count, set->blocks - first);
	while (first < end) {
		uint64_t region = first / REGION_BLOCKS;
		uint64_t base = region * REGION_BLOCKS;
		uint64_t stop = MIN(end, base + REGION_BLOCKS);
		int r = add_in_region(set, region, first - base, stop - base);

		if (r < 0)
			return r;
		first = stop;
	}
	return 0;
}

int blockset_add_all(struct blockset *set)
{
	return blockset_add(set, 0, set->blocks);
}

int blockset_add_words(struct blockset *set, uint64_t region,
		       const uint64_t *words)
{
	uint64_t packed[REGION_WORDS], summary = 0, blocks;
	unsigned n = 0;

	if (region >= set->regions)
		return 0;
	blocks = region_blocks(set, region);
	for (unsigned w = 0; w < REGION_WORDS; w++) {
		uint64_t bits = words[w];

		if (blocks < REGION_BLOCKS)
			bits &= word_mask(w, 0, blocks);
		packed[n] = bits;
		n += bits != 0;
		summary |= (uint64_t)(bits != 0) << w;
	}
	return n ? or_packed(set, region, summary, packed) : 0;
}

static int union_region(struct blockset *set, uint64_t region,
			const struct slot *from)
{
	uint64_t words[REGION_WORDS] = {0};
	const uint64_t *next = from->words;

	if (region_blocks(set, region) == REGION_BLOCKS)
		return or_packed(set, region, from->summary, from->words);
	for (uint64_t s = from->summary; s; s &= s - 1)
		words[lowest(s)] = *next++;
	return blockset_add_words(set, region, words);
}

int blockset_union(struct blockset *set, const struct blockset *from)
{
	uint64_t chunks = MIN(set->chunks, from->chunks);

	for (uint64_t c = 0; c < chunks && set != from; c++) {
		const struct slot *slot = from->chunk[c];
		uint64_t base = c * CHUNK_REGIONS;
		uint64_t n = MIN(set->regions - base, (uint64_t)CHUNK_REGIONS);

		for (uint64_t i = 0; slot && i < n; i++) {
			int r = 0;

			if (slot[i].summary)
				r = union_region(set, base + i, &slot[i]);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

static uint64_t load_word(const _Atomic uint64_t *word)
{
	return atomic_load_explicit(word, memory_order_relaxed);
}

/* Which of a region's cache lines, 8 words each, are not all zero. */
static unsigned used_lines(const _Atomic uint64_t *from)
{
	unsigned lines = 0;

	for (unsigned line = 0; line < REGION_WORDS / 8; line++) {
		const _Atomic uint64_t *w = from + line * 8;
		uint64_t any = load_word(&w[0]) | load_word(&w[1]) |
			       load_word(&w[2]) | load_word(&w[3]) |
			       load_word(&w[4]) | load_word(&w[5]) |
			       load_word(&w[6]) | load_word(&w[7]);

		lines |= (unsigned)(any != 0) << line;
	}
	return lines;
}

/* Packs a whole region's words; returns how many are not zero.  Most are, and
 * where the others are nobody can foretell: so without a branch for each. */
static unsigned pack(const _Atomic uint64_t *from, uint64_t *ret_summary,
		     uint64_t ret_words[REGION_WORDS + 1])
{
	uint64_t summary = 0;
	unsigned n = 0;

	for (unsigned lines = used_lines(from); lines; lines &= lines - 1) {
		unsigned first = 8 * lowest(lines);

		/* bits may come in meanwhile: each word is read once more */
		for (unsigned i = first; i < first + 8; i++) {
			uint64_t bits = load_word(&from[i]);

			ret_words[n] = bits;
			n += bits != 0;
			summary |= (uint64_t)(bits != 0) << i;
		}
	}
	*ret_summary = summary;
	return n;
}

/* The last region, which the disk may fill in part. */
static int add_tail(struct blockset *set, const _Atomic uint64_t *bitmap,
		    uint64_t region)
{
	uint64_t n = div_round_up(region_blocks(set, region), 64);
	uint64_t words[REGION_WORDS] = {0};

	for (uint64_t w = 0; w < n; w++)
		words[w] = load_word(&bitmap[region * REGION_WORDS + w]);
	return blockset_add_words(set, region, words);
}

int blockset_add_bitmap(struct blockset *set, const _Atomic uint64_t *bitmap)
{
	/* One more than there can be, as pack() writes before it counts. */
	uint64_t words[REGION_WORDS + 1];
	uint64_t whole = set->blocks / REGION_BLOCKS;
	int r = 0;

	for (uint64_t region = 0; r == 0 && region < whole; region++) {
		uint64_t summary;

		if (pack(bitmap + region * REGION_WORDS, &summary, words))
			r = or_packed(set, region, summary, words);
	}
	if (r == 0 && whole < set->regions)
		r = add_tail(set, bitmap, whole);
	return r;
}

bool blockset_has(const struct blockset *set, uint64_t block)
{
	struct blockset_run run;

	return blockset_runs(set, block, &run, 1) && run.first == block;
}

static uint64_t slot_count(const struct slot *slot)
{
	unsigned words = popcount(slot->summary);
	uint64_t n = 0;

	for (unsigned i = 0; i < words; i++)
		n += popcount(slot->words[i]);
	return n;
}

uint64_t blockset_count(const struct blockset *set)
{
	uint64_t n = 0;

	for (uint64_t c = 0; c < set->chunks; c++)
		for (unsigned i = 0; set->chunk[c] && i < CHUNK_REGIONS; i++)
			n += slot_count(&set->chunk[c][i]);
	return n;
}

bool blockset_region(const struct blockset *set, uint64_t region,
		     uint64_t ret_words[REGION_WORDS])
{
	const struct slot *slot;
	const uint64_t *next;

	if (region >= set->regions)
		return false;
	slot = slot_get(set, region);
	if (!slot || !slot->summary)
		return false;
	next = slot->words;
	memset(ret_words, 0, REGION_WORDS * sizeof(ret_words[0]));
	for (uint64_t s = slot->summary; s; s &= s - 1)
		ret_words[lowest(s)] = *next++;
	return true;
}

/* ---- Runs ---------------------------------------------------------------- */

struct walk {
	struct blockset_run *runs;
	unsigned n, max;
};

/* False: there is no room for another run. */
static bool walk_add(struct walk *walk, uint64_t first, uint64_t end)
{
	if (walk->n > 0 && walk->runs[walk->n - 1].end == first) {
		walk->runs[walk->n - 1].end = end;
		return true;
	}
	if (walk->n == walk->max)
		return false;
	walk->runs[walk->n].first = first;
	walk->runs[walk->n++].end = end;
	return true;
}

/* The runs of a word of blocks from BASE on. */
static bool walk_word(struct walk *walk, uint64_t base, uint64_t word)
{
	while (word) {
		unsigned first = lowest(word);
		uint64_t gap = ~word & ~0ULL << first;
		unsigned end = gap ? lowest(gap) : 64;

		if (!walk_add(walk, base + first, base + end))
			return false;
		word = gap ? word & ~0ULL << end : 0;
	}
	return true;
}

/* Those of a region, whose first block is BASE, from its block FROM on. */
static bool walk_slot(struct walk *walk, const struct slot *slot, uint64_t base,
		      uint64_t from)
{
	uint64_t before = (1ULL << from / 64) - 1;
	uint64_t left = slot->summary & ~before;
	const uint64_t *next = slot->words;

	if (!left)
		return true;
	if (next == full_region)
		return walk_add(walk, base + from, base + REGION_BLOCKS);
	if (from)
		next += popcount(slot->summary & before);
	for (; left; left &= left - 1) {
		uint64_t w = lowest(left), word = *next++;

		if (w == from / 64)
			word &= ~0ULL << from % 64;
		if (!walk_word(walk, base + w * 64, word))
			return false;
	}
	return true;
}

unsigned blockset_runs(const struct blockset *set, uint64_t from,
		       struct blockset_run *ret_runs, unsigned max)
{
	struct walk walk = {.runs = ret_runs, .max = max};

	while (from < set->blocks) {
		uint64_t region = from / REGION_BLOCKS;
		const struct slot *slot = slot_get(set, region);

		if (!slot) {
			from = (region / CHUNK_REGIONS + 1) * CHUNK_REGIONS *
			       REGION_BLOCKS;
			continue;
		}
		if (!walk_slot(&walk, slot, region * REGION_BLOCKS,
			       from % REGION_BLOCKS))
			break;
		from = (region + 1) * REGION_BLOCKS;
	}
	return walk.n;
}

bool blockset_next(const struct blockset *set, uint64_t from,
		   uint64_t *ret_first, uint64_t *ret_end)
{
	struct blockset_run run;

	if (!blockset_runs(set, from, &run, 1))
		return false;
	*ret_first = run.first;
	*ret_end = run.end;
	return true;
}
