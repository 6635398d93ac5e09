/* SPDX-License-Identifier: Apache-2.0 */
/* What a person reads: sizes, aligned tables, JSON. */
#ifndef CLI_TEXT_H
#define CLI_TEXT_H

#include <jansson.h>
#include <stdint.h>

/* Makes control characters '?', in place. */
void text_clean(char *text);

#define SIZE_TEXT_BYTES 32
/* "1.5 MiB", "512 bytes"; returns TEXT. */
const char *text_size(uint64_t bytes, char text[SIZE_TEXT_BYTES]);

/* Members of a reply; "" or 0 where they are absent or of another type, so that
 * a table can be printed of whatever came. */
const char *json_text(const json_t *object, const char *name);
uint64_t json_number(const json_t *object, const char *name);

/* What a SNAPSHOT has copied of all its disks. */
uint64_t snapshot_scratch(const json_t *snapshot);

#define TABLE_COLUMNS_MAX 10
struct table;
/* Titles end with NULL.  Never NULL: without memory the program ends. */
struct table *table_new(const char *const *titles);
/* One cell after the other, row by row; copied and cleaned. */
void table_add(struct table *table, const char *cell);
void table_addf(struct table *table, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* An RFC 3339 time, to the second. */
void table_add_time(struct table *table, const char *text);
/* To standard output, and frees it. */
void table_print(struct table *table);

/* To standard output, with a newline. */
void print_json(const json_t *value);

#endif
