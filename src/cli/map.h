/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk drawn in one row of the terminal: each cell stands for an equal part
 * of the range [start, end) and shows how much of it changed.  A cell with any
 * change, be it one block of a terabyte, never looks like one without.
 */
#ifndef CLI_MAP_H
#define CLI_MAP_H

#include <stdbool.h>
#include <stdint.h>

#define MAP_CELLS_MAX 256

struct map {
	uint64_t start, end; /* bytes; end > start */
	unsigned cells;
	uint64_t changed[MAP_CELLS_MAX]; /* bytes in each cell */
};

/* CELLS are cut to MAP_CELLS_MAX and to the range's blocks; an empty range is
 * taken for one byte. */
void map_init(struct map *map, uint64_t start, uint64_t end, unsigned cells);

/* What lies outside the range is left out. */
void map_add(struct map *map, uint64_t offset, uint64_t length);

/* 0 (nothing changed) to MAP_LEVELS - 1 (all of it). */
#define MAP_LEVELS 9
unsigned map_level(const struct map *map, unsigned cell);

/* Cells that fit beside INDENT columns, and whether they are drawn with block
 * characters: only on a terminal whose locale is UTF-8. */
unsigned map_terminal(unsigned indent, bool *ret_blocks);

/* To standard output, with borders and a newline. */
void map_print(const struct map *map, unsigned indent, bool blocks);

#endif
