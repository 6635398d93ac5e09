/* SPDX-License-Identifier: Apache-2.0 */
/* points, destroy, drop-log */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

#include "cli/text.h"

/* "open, 12.0 MiB" */
static void add_log(struct table *table, const json_t *log)
{
	const char *state = json_text(log, "state");
	char size[SIZE_TEXT_BYTES];

	if (!log || json_is_null(log))
		table_add(table, "-");
	else if (strcmp(state, "gone") == 0)
		table_add(table, state);
	else
		table_addf(table, "%s, %s", state,
			   text_size(json_number(log, "bytes"), size));
}

/* Why it is of no use, or its log. */
static void add_reason(struct table *table, const json_t *point)
{
	const json_t *log = json_object_get(point, "log");
	const char *invalid = json_text(point, "invalid");

	if (*invalid)
		table_addf(table, "invalid: %s", invalid);
	else if (strcmp(json_text(log, "state"), "gone") == 0)
		table_addf(table, "log gone: %s", json_text(log, "reason"));
	else
		table_add(table, "");
}

static void print_points(const json_t *points)
{
	static const char *const titles[] = {"POINT",       "TYPE",    "LOG",
					     "CONSISTENCY", "CREATED", "LABEL",
					     "REASON",      NULL};
	struct table *table = table_new(titles);
	const json_t *point;
	size_t i;

	json_array_foreach(points, i, point)
	{
		table_add(table, json_text(point, "id"));
		table_add(table, json_text(point, "type"));
		add_log(table, json_object_get(point, "log"));
		table_add(table, json_text(point, "consistency"));
		table_add_time(table, json_text(point, "created"));
		table_add(table, json_text(point, "label"));
		add_reason(table, point);
	}
	table_print(table);
}

struct listing {
	json_t *points; /* all, in their order */
	struct err *err;
};

/* They come in pieces, as they may be more than a message holds. */
static int take_points(void *arg, json_t *reply, bool continues)
{
	struct listing *listing = arg;
	json_t *some = json_object_get(reply, "points");

	if (json_array_extend(listing->points, some) < 0)
		return err_set(listing->err, -RP_EWIRE,
			       "refpointd's answer to Points has no 'points'");
	return 0;
}

static int run_points(struct cli *cli, const struct cli_args *args,
		      struct err *err)
{
	json_t *all = json_pack("{s:[]}", "points");
	struct listing listing = {json_object_get(all, "points"), err};
	int r = cli_stream(cli, "Points",
			   json_pack("{s:s}", "vm", args->positional[0]), NULL,
			   take_points, &listing, err);

	if (r == 0 && cli->json)
		print_json(all);
	else if (r == 0)
		print_points(listing.points);
	json_decref(all);
	return r;
}

const struct command command_points = {
    .name = "points",
    .summary = "list the reference points of a VM, oldest first",
    .positionals = {"VM"},
    .run = run_points,
};

static int call_of_point(struct cli *cli, const char *method,
			 const struct cli_args *args, struct err *err)
{
	int r = cli_call(cli, method,
			 json_pack("{s:s, s:s}", "vm", args->positional[0],
				   "point", args->positional[1]),
			 NULL, 0, WAIT_WORK, NULL, err);

	if (r == 0 && cli->json)
		(void)puts("{}");
	return r;
}

static int run_destroy(struct cli *cli, const struct cli_args *args,
		       struct err *err)
{
	return call_of_point(cli, "Destroy", args, err);
}

const struct command command_destroy = {
    .name = "destroy",
    .summary = "destroy a reference point; others stay as they are",
    .positionals = {"VM", "POINT"},
    .run = run_destroy,
};

static int run_drop_log(struct cli *cli, const struct cli_args *args,
			struct err *err)
{
	return call_of_point(cli, "DropLog", args, err);
}

const struct command command_drop_log = {
    .name = "drop-log",
    .summary = "remove the log of a log-based point; the point stays",
    .positionals = {"VM", "POINT"},
    .run = run_drop_log,
};
