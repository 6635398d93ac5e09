/* SPDX-License-Identifier: Apache-2.0 */
/* Written as it comes, not built as a tree. */
#include "cli/changes.h"

#include <stdio.h>
#include <stdlib.h>

#include "cli/text.h"

static unsigned n_disks, n_extents;

/* NULL is null. */
static void put_string(const char *text)
{
	json_t *value = text ? json_string(text) : json_null();

	(void)json_dumpf(value, stdout, JSON_ENCODE_ANY);
	json_decref(value);
}

static void put_text(const char *name, const json_t *entry)
{
	(void)printf("\"%s\":", name);
	put_string(json_text(entry, name));
	(void)putchar(',');
}

static void put_number(const char *name, const json_t *entry)
{
	(void)printf("\"%s\":%llu,", name,
		     (unsigned long long)json_number(entry, name));
}

static void begin(void *arg, const char *since, const char *until)
{
	n_disks = 0;
	(void)fputs("{\"since\":", stdout);
	put_string(since);
	(void)fputs(",\"until\":", stdout);
	put_string(until);
	(void)fputs(",\"disks\":[", stdout);
}

static void disk(void *arg, const json_t *entry)
{
	(void)printf("%s\n{", n_disks++ ? "," : "");
	put_text("id", entry);
	put_text("accuracy", entry);
	put_text("reason", entry);
	put_number("widened_bytes", entry);
	put_number("granularity_bytes", entry);
	put_number("changed_bytes", entry);
	(void)fputs("\"extents\":[", stdout);
	n_extents = 0;
}

static void extent(void *arg, uint64_t offset, uint64_t length)
{
	(void)printf("%s{\"offset\":%llu,\"length\":%llu}",
		     n_extents++ ? "," : "", (unsigned long long)offset,
		     (unsigned long long)length);
}

/* They came as they are to be written. */
static void extents(void *arg, const char *text, size_t bytes)
{
	if (n_extents++)
		(void)putchar(',');
	(void)fwrite(text, 1, bytes, stdout);
}

static void disk_end(void *arg)
{
	(void)fputs("]}", stdout);
}

static void end(void *arg)
{
	(void)fputs("]}\n", stdout);
}

const struct changes_printer changes_json = {
    .begin = begin,
    .disk = disk,
    .extent = extent,
    .extents = extents,
    .disk_end = disk_end,
    .end = end,
};
