/* SPDX-License-Identifier: Apache-2.0 */
/* changes */
#include "cli/changes.h"

#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/map.h"
#include "cli/text.h"

enum {
	OPT_SINCE,
	OPT_UNTIL,
	OPT_DISK,
	OPT_OFFSET,
	OPT_LENGTH
};

#define INDENT      2u
#define EXTENTS_MAX 16u /* that a person wants to see */

/* ---- Pieces put together --------------------------------------------------
 */

static void end_disk(struct changes *changes)
{
	if (changes->in_disk)
		changes->printer->disk_end(changes->arg);
	changes->in_disk = false;
}

static void begin_disk(struct changes *changes, const json_t *entry)
{
	const char *id = json_text(entry, "id");

	if (changes->in_disk && strcmp(changes->disk, id) == 0)
		return;
	end_disk(changes);
	(void)snprintf(changes->disk, sizeof(changes->disk), "%s", id);
	changes->in_disk = true;
	changes->printer->disk(changes->arg, entry);
}

/* As the parser has them. */
static int take_extents(struct changes *changes, const json_t *extents)
{
	const json_t *extent;
	size_t i;

	json_array_foreach(extents, i, extent)
	{
		const json_t *offset = json_object_get(extent, "offset");
		const json_t *length = json_object_get(extent, "length");

		if (!json_is_integer(offset) || !json_is_integer(length))
			return err_set(changes->err, -RP_EWIRE,
				       "an extent from refpointd has no "
				       "offset or length");
		changes->printer->extent(changes->arg,
					 json_number(extent, "offset"),
					 json_number(extent, "length"));
	}
	return 0;
}

/* As they were cut from the message. */
static void take_list(struct changes *changes, size_t index)
{
	const struct changes_printer *printer = changes->printer;
	const char *text =
	    changes->lists.text + changes->lists.list[index].start;
	size_t bytes = changes->lists.list[index].bytes;

	if (bytes > 0 && printer->extents)
		printer->extents(changes->arg, text, bytes);
	else
		(void)extents_scan(text, printer->extent, changes->arg);
}

static void begin(struct changes *changes, const json_t *reply)
{
	if (changes->begun)
		return;
	changes->begun = true;
	changes->printer->begin(changes->arg, json_text(reply, "since"),
				json_string_value(
				    json_object_get(reply, "until")));
}

size_t changes_cut(void *arg, char *text, size_t bytes)
{
	struct changes *changes = arg;

	return extents_cut(&changes->lists, text, bytes);
}

static int take_disks(struct changes *changes, const json_t *disks)
{
	size_t i, lists = changes->lists.n;
	const json_t *entry;
	int r = 0;

	if (lists > 0 && lists != json_array_size(disks))
		return err_set(changes->err, -RP_EWIRE,
			       "a disk from refpointd has no extents");
	json_array_foreach(disks, i, entry)
	{
		begin_disk(changes, entry);
		if (lists > 0)
			take_list(changes, i);
		else
			r = take_extents(changes,
					 json_object_get(entry, "extents"));
		if (r < 0)
			return r;
	}
	return 0;
}

int changes_take(void *arg, json_t *reply, bool continues)
{
	struct changes *changes = arg;
	int r;

	begin(changes, reply);
	r = take_disks(changes, json_object_get(reply, "disks"));
	if (r < 0 || continues)
		return r;
	end_disk(changes);
	changes->printer->end(changes->arg);
	return 0;
}

void changes_done(struct changes *changes)
{
	extents_done(&changes->lists);
}

/* ---- For a person ---------------------------------------------------------
 */

struct picture {
	const json_t *status;
	uint64_t offset, length; /* of the range asked for; 0: to the end */
	struct map map;
	bool blocks;
	unsigned long long extents;
	struct {
		uint64_t offset, length;
	} first[EXTENTS_MAX];
};

static uint64_t disk_size(const json_t *status, const char *id)
{
	const json_t *disk;
	size_t i;

	json_array_foreach(json_object_get(status, "disks"), i, disk)
	{
		if (strcmp(json_text(disk, "id"), id) == 0)
			return json_number(disk, "size");
	}
	return 0;
}

static void print_clean(const char *text)
{
	char clean[512];

	(void)snprintf(clean, sizeof(clean), "%s", text);
	text_clean(clean);
	(void)fputs(clean, stdout);
}

static void picture_begin(void *arg, const char *since, const char *until)
{
	(void)fputs("since ", stdout);
	print_clean(since);
	(void)fputs(until ? " until " : " until now", stdout);
	print_clean(until ? until : "");
	(void)putchar('\n');
}

static void print_accuracy(const json_t *entry)
{
	const char *reason = json_text(entry, "reason");
	uint64_t widened = json_number(entry, "widened_bytes");
	char size[SIZE_TEXT_BYTES];

	print_clean(json_text(entry, "accuracy"));
	if (widened > 0)
		(void)printf(" by %s", text_size(widened, size));
	if (*reason)
		(void)fputs(": ", stdout);
	print_clean(reason);
	(void)putchar('\n');
}

static void picture_disk(void *arg, const json_t *entry)
{
	struct picture *picture = arg;
	const char *id = json_text(entry, "id");
	uint64_t end = disk_size(picture->status, id);
	char size[SIZE_TEXT_BYTES];

	if (picture->length > 0 && picture->length < end - picture->offset)
		end = picture->offset + picture->length;
	map_init(&picture->map, picture->offset, end,
		 map_terminal(INDENT, &picture->blocks));
	picture->extents = 0;
	(void)putchar('\n');
	print_clean(id);
	(void)printf(": %s changed, ",
		     text_size(json_number(entry, "changed_bytes"), size));
	print_accuracy(entry);
}

static void picture_extent(void *arg, uint64_t offset, uint64_t length)
{
	struct picture *picture = arg;

	map_add(&picture->map, offset, length);
	if (picture->extents < EXTENTS_MAX) {
		picture->first[picture->extents].offset = offset;
		picture->first[picture->extents].length = length;
	}
	picture->extents++;
}

static void picture_disk_end(void *arg)
{
	static const char *const titles[] = {"  OFFSET", "LENGTH", NULL};
	struct picture *picture = arg;
	unsigned long long n = picture->extents;
	struct table *table;
	char size[SIZE_TEXT_BYTES];

	map_print(&picture->map, INDENT, picture->blocks);
	if (n == 0)
		return;
	table = table_new(titles);
	for (unsigned i = 0; i < n && i < EXTENTS_MAX; i++) {
		table_addf(table, "  %llu",
			   (unsigned long long)picture->first[i].offset);
		table_add(table, text_size(picture->first[i].length, size));
	}
	table_print(table);
	if (n > EXTENTS_MAX)
		(void)printf("  and %llu more; --json lists all\n",
			     n - EXTENTS_MAX);
}

static void picture_end(void *arg)
{
}

static const struct changes_printer changes_picture = {
    .begin = picture_begin,
    .disk = picture_disk,
    .extent = picture_extent,
    .disk_end = picture_disk_end,
    .end = picture_end,
};

/* ---- The command ----------------------------------------------------------
 */

static int change_parameters(const struct cli_args *args,
			     struct picture *picture, json_t **ret_parameters,
			     struct err *err)
{
	const char *offset = args->option[OPT_OFFSET];
	const char *length = args->option[OPT_LENGTH];
	json_t *parameters;
	int r = 0;

	if (!args->option[OPT_SINCE])
		return err_set(err, -RP_EPARAM,
			       "changes: --since POINT is missing; 'refpoint "
			       "points %s' shows the points",
			       args->positional[0]);
	if (offset)
		r = parse_size(offset, &picture->offset, err);
	if (r == 0 && length)
		r = parse_size(length, &picture->length, err);
	if (r < 0)
		return r;
	parameters = json_pack(
	    "{s:s, s:s, s:s*, s:s*, s:o*, s:o*}", "vm", args->positional[0],
	    "since", args->option[OPT_SINCE], "until", args->option[OPT_UNTIL],
	    "disk", args->option[OPT_DISK], "offset",
	    offset ? json_integer((json_int_t)picture->offset) : NULL, "length",
	    length ? json_integer((json_int_t)picture->length) : NULL);
	if (!parameters)
		return err_set(err, -RP_EPARAM, "an argument is not UTF-8");
	*ret_parameters = parameters;
	return 0;
}

static int run_changes(struct cli *cli, const struct cli_args *args,
		       struct err *err)
{
	struct picture picture = {0};
	struct changes changes = {.printer = &changes_json, .err = err};
	json_t *parameters = NULL, *status = NULL;
	int r = change_parameters(args, &picture, &parameters, err);

	if (r < 0)
		return r;
	if (!cli->json) {
		r = cli_status(cli, args->positional[0], &status, err);
		picture.status = status;
		changes.printer = &changes_picture;
		changes.arg = &picture;
	}
	if (r == 0)
		r = cli_stream(cli, "Changes", parameters, changes_cut,
			       changes_take, &changes, err);
	else
		json_decref(parameters);
	changes_done(&changes);
	json_decref(status);
	return r;
}

const struct command command_changes = {
    .name = "changes",
    .summary = "show what changed since a point, or between two",
    .positionals = {"VM"},
    .options =
	{[OPT_SINCE] = {"since", "POINT", "required", false},
	 [OPT_UNTIL] = {"until", "POINT",
			"default: every write completed until now", false},
	 [OPT_DISK] = {"disk", "ID", "default: all disks", false},
	 [OPT_OFFSET] = {"offset", "SIZE", "leave out what is before", false},
	 [OPT_LENGTH] = {"length", "SIZE",
			 "leave out what is behind offset + SIZE", false}},
    .details = "With --json every extent is listed.\n",
    .run = run_changes,
};
