/* SPDX-License-Identifier: Apache-2.0 */
/* points, destroy */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

#include "cli/text.h"

/* "2024-05-01T12:34:56.123456789Z" is more than a table needs. */
static void add_time(struct table *table, const char *text)
{
	char cell[32];

	(void)snprintf(cell, sizeof(cell), "%.19s%s", text,
		       strlen(text) > 19 ? "Z" : "");
	table_add(table, cell);
}

static void print_points(const json_t *points)
{
	static const char *const titles[] = {"POINT",   "TYPE",  "CONSISTENCY",
					     "CREATED", "LABEL", NULL};
	struct table *table = table_new(titles);
	const json_t *point;
	size_t i;

	json_array_foreach(points, i, point)
	{
		table_add(table, json_text(point, "id"));
		table_add(table, json_text(point, "type"));
		table_add(table, json_text(point, "consistency"));
		add_time(table, json_text(point, "created"));
		table_add(table, json_text(point, "label"));
	}
	table_print(table);
}

static int run_points(struct cli *cli, const struct cli_args *args,
		      struct err *err)
{
	json_t *reply = NULL;
	int r = cli_call(cli, "Points",
			 json_pack("{s:s}", "vm", args->positional[0]), NULL, 0,
			 WAIT_QUICK, &reply, err);

	if (r < 0)
		return r;
	if (cli->json)
		print_json(reply);
	else
		print_points(json_object_get(reply, "points"));
	json_decref(reply);
	return 0;
}

const struct command command_points = {
    .name = "points",
    .summary = "list the reference points of a VM, oldest first",
    .positionals = {"VM"},
    .run = run_points,
};

static int run_destroy(struct cli *cli, const struct cli_args *args,
		       struct err *err)
{
	int r = cli_call(cli, "Destroy",
			 json_pack("{s:s, s:s}", "vm", args->positional[0],
				   "point", args->positional[1]),
			 NULL, 0, WAIT_WORK, NULL, err);

	if (r == 0 && cli->json)
		(void)puts("{}");
	return r;
}

const struct command command_destroy = {
    .name = "destroy",
    .summary = "destroy a reference point; others stay as they are",
    .positionals = {"VM", "POINT"},
    .run = run_destroy,
};
