/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <stdbool.h>
#include <wchar.h>

#include "common/bytes.h"

void text_clean(char *text)
{
	for (unsigned char *c = (unsigned char *)text; *c; c++) {
		if (*c < 0x20 || *c == 0x7f)
			*c = '?';
		/* U+0080 to U+009F: controls too */
		if (*c == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0)
			*c = c[1] = '?';
	}
}

const char *text_size(uint64_t bytes, char text[SIZE_TEXT_BYTES])
{
	static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB"};
	double n = (double)bytes / 1024;
	unsigned u = 0;

	if (bytes < 1024) {
		(void)snprintf(text, SIZE_TEXT_BYTES, "%llu byte%s",
			       (unsigned long long)bytes,
			       bytes == 1 ? "" : "s");
		return text;
	}
	/* 1023.95 and more would be printed as 1024.0 */
	for (; n >= 1023.95 && u + 1 < ARRAY_SIZE(units); u++)
		n /= 1024;
	(void)snprintf(text, SIZE_TEXT_BYTES, "%.1f %s", n, units[u]);
	return text;
}

const char *json_text(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}

uint64_t json_number(const json_t *object, const char *name)
{
	json_int_t n = json_integer_value(json_object_get(object, name));

	return n > 0 ? (uint64_t)n : 0;
}

uint64_t snapshot_scratch(const json_t *snapshot)
{
	const json_t *disk;
	uint64_t bytes = 0;
	size_t i;

	json_array_foreach(json_object_get(snapshot, "disks"), i, disk) bytes +=
	    json_number(disk, "scratch_bytes");
	return bytes;
}

struct table {
	unsigned columns;
	size_t n, room;
	char **cells; /* row by row, the titles first */
};

static void *or_end(void *memory)
{
	if (!memory) {
		(void)fprintf(stderr, "refpoint: no memory\n");
		exit(1);
	}
	return memory;
}

struct table *table_new(const char *const *titles)
{
	struct table *table = or_end(calloc(1, sizeof(*table)));

	while (titles[table->columns])
		table->columns++;
	for (unsigned i = 0; i < table->columns; i++)
		table_add(table, titles[i]);
	return table;
}

void table_add(struct table *table, const char *cell)
{
	if (table->n == table->room) {
		table->room = table->room ? 2 * table->room : 64;
		table->cells = or_end(
		    realloc(table->cells, table->room * sizeof(*table->cells)));
	}
	table->cells[table->n] = or_end(strdup(*cell ? cell : "-"));
	text_clean(table->cells[table->n++]);
}

void table_addf(struct table *table, const char *fmt, ...)
{
	char cell[256];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(cell, sizeof(cell), fmt, ap);
	va_end(ap);
	table_add(table, cell);
}

/* "2024-05-01T12:34:56.123456789Z" is more than a table needs. */
void table_add_time(struct table *table, const char *text)
{
	table_addf(table, "%.19s%s", text, strlen(text) > 19 ? "Z" : "");
}

/* Columns on a terminal; bytes where the text is not of the locale. */
static int cell_width(const char *cell)
{
	wchar_t wide[256];
	size_t n = mbstowcs(wide, cell, ARRAY_SIZE(wide));
	int width;

	if (n == (size_t)-1 || n == ARRAY_SIZE(wide))
		return (int)strlen(cell);
	width = wcswidth(wide, n);
	return width >= 0 ? width : (int)strlen(cell);
}

static void print_row(const struct table *table, char **cells,
		      const int *widths)
{
	for (unsigned i = 0; i < table->columns; i++) {
		bool last = i + 1 == table->columns;
		int pad = last ? 0 : widths[i] - cell_width(cells[i]) + 2;

		(void)printf("%s%*s", cells[i], pad, "");
	}
	(void)putchar('\n');
}

void table_print(struct table *table)
{
	int widths[TABLE_COLUMNS_MAX] = {0};
	size_t n = table->n;

	for (size_t i = 0; i < n; i++)
		widths[i % table->columns] = MAX(widths[i % table->columns],
						 cell_width(table->cells[i]));
	for (size_t i = 0; i + table->columns <= n; i += table->columns)
		print_row(table, table->cells + i, widths);
	while (table->n > 0)
		free(table->cells[--table->n]);
	free(table->cells);
	free(table);
}

void print_json(const json_t *value)
{
	(void)json_dumpf(value, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
	(void)putchar('\n');
}
