/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Extents by the hundred thousand, read past the JSON parser: a tree of them
 * costs ten times what it takes to scan them.  Only lists in the very form
 * that refpoint writes are taken, [{"offset":N,"length":N},...] without a
 * space; a message with any other is left to the parser, so nothing is
 * accepted here that it would refuse.
 *
 * A list is found by the bytes `"extents":[`, which stand in no JSON string:
 * the quotes would have backslashes there.
 */
#ifndef CLI_EXTENTS_H
#define CLI_EXTENTS_H

#include <stddef.h>
#include <stdint.h>

#include "common/limits.h"

typedef void extent_fn(void *arg, uint64_t offset, uint64_t length);

/* Calls FN (may be NULL) for each extent of TEXT, which begins behind a list's
 * `[` and ends in NUL.  Returns where its `]` is; NULL: another form, after
 * which what FN was told is void. */
const char *extents_scan(const char *text, extent_fn *fn, void *arg);

struct extent_lists {
	char *text; /* holds the lists; ends in NUL */
	size_t room;
	unsigned n;
	struct {
		size_t start, bytes; /* without brackets; `]` follows */
	} list[2 * DISKS_PER_VM_MAX];
};

/* Moves all lists of a message into LISTS and leaves [] in their place; returns
 * the new length.  Moves none (LISTS->n is 0) if any has another form. */
size_t extents_cut(struct extent_lists *lists, char *text, size_t bytes);
void extents_done(struct extent_lists *lists);

#endif
