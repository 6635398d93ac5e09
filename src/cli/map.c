/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/map.h"

#include <langinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/limits.h"

#define COLUMNS_DEFAULT 80u
#define CELLS_MIN       16u

void map_init(struct map *map, uint64_t start, uint64_t end, unsigned cells)
{
	uint64_t blocks;

	*map = (struct map){.start = start, .end = MAX(end, start + 1)};
	blocks = div_round_up(map->end - start, BLOCK_BYTES);
	cells = MAX(1u, MIN(cells, (unsigned)MAP_CELLS_MAX));
	map->cells = (unsigned)MIN((uint64_t)cells, blocks);
}

/* Where cell I begins: the range is at most 2^63, the cells 2^8. */
static uint64_t cell_start(const struct map *map, unsigned i)
{
	uint64_t length = map->end - map->start;

	return map->start + length / map->cells * i +
	       length % map->cells * i / map->cells;
}

static unsigned cell_of(const struct map *map, uint64_t offset)
{
	unsigned low = 0, high = map->cells;

	while (high - low > 1) {
		unsigned middle = (low + high) / 2;

		if (cell_start(map, middle) <= offset)
			low = middle;
		else
			high = middle;
	}
	return low;
}

void map_add(struct map *map, uint64_t offset, uint64_t length)
{
	uint64_t end = length > map->end || offset > map->end - length
			   ? map->end
			   : offset + length;

	offset = MAX(offset, map->start);
	while (offset < end) {
		unsigned i = cell_of(map, offset);
		uint64_t stop = MIN(end, cell_start(map, i + 1));

		map->changed[i] += stop - offset;
		offset = stop;
	}
}

unsigned map_level(const struct map *map, unsigned cell)
{
	uint64_t size = cell_start(map, cell + 1) - cell_start(map, cell);
	double share = (double)map->changed[cell] / (double)size;

	if (map->changed[cell] == 0)
		return 0;
	if (map->changed[cell] >= size)
		return MAP_LEVELS - 1;
	return 1 + (unsigned)(share * (MAP_LEVELS - 2));
}

unsigned map_terminal(unsigned indent, bool *ret_blocks)
{
	const char *columns = getenv("COLUMNS");
	bool terminal = isatty(STDOUT_FILENO);
	unsigned width = COLUMNS_DEFAULT;
	struct winsize size = {0};

	if (terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 &&
	    size.ws_col > 0)
		width = size.ws_col;
	else if (columns && atoi(columns) > 0)
		width = (unsigned)atoi(columns);
	*ret_blocks = terminal && strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
	indent += 2; /* the borders */
	return width > indent + CELLS_MIN ? width - indent : CELLS_MIN;
}

void map_print(const struct map *map, unsigned indent, bool blocks)
{
	static const char *const drawn[2][MAP_LEVELS] = {
	    {".", "-", "-", "=", "=", "+", "+", "*", "#"},
	    {"·", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"},
	};

	(void)printf("%*s%s", (int)indent, "", blocks ? "▕" : "[");
	for (unsigned i = 0; i < map->cells; i++)
		(void)fputs(drawn[blocks][map_level(map, i)], stdout);
	(void)puts(blocks ? "▏" : "]");
}
