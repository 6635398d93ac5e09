/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A set of 4 KiB blocks of one disk, sparse: a region (16 MiB, 4096 blocks)
 * that holds none, or all of its blocks, costs 16 bytes; one with some, 32 to
 * 512 more.  And its two neighbours: the extents that come out, and plain
 * bitmaps (the live ones) that go in.
 *
 * Bit i of a bitmap is bit i % 64 of its word i / 64.  Bits beyond the disk's
 * last block are never set: what is added there is left out.
 */
#ifndef COMMON_BLOCKSET_H
#define COMMON_BLOCKSET_H

#include <stdbool.h>
#include <stdint.h>

#include "common/limits.h"

#define REGION_WORDS (REGION_BLOCKS / 64)

struct blockset;

/* A set for a disk of BYTES (its last block may be short).  NULL: no memory. */
struct blockset *blockset_new(uint64_t bytes);
struct blockset *blockset_free(struct blockset *set); /* accepts NULL */
uint64_t blockset_bytes(const struct blockset *set);
uint64_t blockset_blocks(const struct blockset *set);
uint64_t blockset_regions(const struct blockset *set);

/* Each returns 0 or -ENOMEM; on failure the set may have grown by part. */
int blockset_add(struct blockset *set, uint64_t first, uint64_t count);
int blockset_add_all(struct blockset *set);
/* ORs FROM in; FROM's disk may be smaller or larger (blocks beyond the end of
 * SET's disk are left out: a disk only ever grows, so there are none). */
int blockset_union(struct blockset *set, const struct blockset *from);
/* ORs in REGION_WORDS words of region REGION. */
int blockset_add_words(struct blockset *set, uint64_t region,
		       const uint64_t *words);
/* ORs in a plain bitmap of blockset_blocks() bits, read with relaxed atomic
 * loads, skipping what is zero. */
int blockset_add_bitmap(struct blockset *set, const _Atomic uint64_t *bitmap);

bool blockset_has(const struct blockset *set, uint64_t block);
uint64_t blockset_count(const struct blockset *set); /* blocks in it */
/* All words of a region; false, and nothing written, if it is empty. */
bool blockset_region(const struct blockset *set, uint64_t region,
		     uint64_t ret_words[REGION_WORDS]);

struct blockset_run {
	uint64_t first, end; /* blocks [first, end) */
};

/* The first runs of blocks in the set at or after FROM, at most MAX; returns
 * how many, and fewer than MAX only if there are no more.  Maximal, but that
 * the first does not begin before FROM. */
unsigned blockset_runs(const struct blockset *set, uint64_t from,
		       struct blockset_run *ret_runs, unsigned max);
/* One of them; false: none. */
bool blockset_next(const struct blockset *set, uint64_t from,
		   uint64_t *ret_first, uint64_t *ret_end);

#endif
