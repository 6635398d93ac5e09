/* SPDX-License-Identifier: Apache-2.0 */
/* snapshot, snapshots, convert, drop, rename */
#include "cli/cli.h"

#include <stdio.h>

#include "cli/pull.h"
#include "cli/text.h"

enum {
	OPT_CONSISTENCY,
	OPT_LABEL,
	OPT_LIMIT,
	OPT_CLONE,
	OPT_REQUEST_ID,
	OPT_TIMEOUT,
	OPT_LISTEN
};

/* ---- snapshot -------------------------------------------------------------
 */

static json_t *number_or_null(uint64_t number)
{
	return number ? json_integer((json_int_t)number) : NULL;
}

static json_t *snapshot_parameters(const struct cli_args *args, uint64_t limit,
				   uint64_t timeout_ms)
{
	return json_pack("{s:s, s:s*, s:s*, s:o*, s:o*, s:s*, s:o*}", "vm",
			 args->positional[0], "consistency",
			 args->option[OPT_CONSISTENCY], "label",
			 args->option[OPT_LABEL], "limit_bytes",
			 number_or_null(limit), "clone",
			 args->option[OPT_CLONE] ? json_true() : NULL,
			 "request_id", args->option[OPT_REQUEST_ID],
			 "timeout_ms", number_or_null(timeout_ms));
}

static int read_limit(const char *text, uint64_t *ret_limit, struct err *err)
{
	int r = parse_size(text, ret_limit, err);

	if (r == 0 && *ret_limit < BLOCK_BYTES)
		r = err_set(err, -RP_EPARAM,
			    "--limit is at least %u bytes; leave it out for "
			    "none",
			    BLOCK_BYTES);
	return r;
}

static void print_snapshot(const struct cli *cli, const json_t *snapshot)
{
	if (cli->json) {
		print_json(snapshot);
		return;
	}
	(void)printf("%s\n", json_text(snapshot, "id"));
	if (json_object_get(snapshot, "pull"))
		pull_print(snapshot);
}

static int run_snapshot(struct cli *cli, const struct cli_args *args,
			struct err *err)
{
	uint64_t limit = 0, timeout_ms = 0;
	const char *listen = args->option[OPT_LISTEN];
	json_t *snapshot = NULL, *parameters;
	struct pull_place place;
	unsigned wait_ms;
	int r = check_request_id(args->option[OPT_REQUEST_ID], err);

	if (r == 0)
		r = parse_timeout(args->option[OPT_TIMEOUT], &timeout_ms,
				  &wait_ms, err);
	if (r == 0 && args->option[OPT_LIMIT])
		r = read_limit(args->option[OPT_LIMIT], &limit, err);
	if (r == 0 && listen)
		r = pull_read(listen, &place, err);
	if (r < 0)
		return r;
	parameters = snapshot_parameters(args, limit, timeout_ms);
	if (!parameters)
		return err_set(err, -RP_EPARAM,
			       "the label or another argument is not UTF-8");
	r = cli_call_for(cli, "Snapshot", parameters, wait_ms, "snapshot",
			 &snapshot, err);
	if (r == 0 && listen)
		r = pull_listen(cli, args->positional[0], snapshot, &place,
				args->option[OPT_REQUEST_ID] != NULL, err);
	if (r == 0)
		print_snapshot(cli, snapshot);
	json_decref(snapshot);
	return r;
}

const struct command command_snapshot = {
    .name = "snapshot",
    .summary = "take a snapshot of all disks of a VM that is served",
    .positionals = {"VM"},
    .options =
	{[OPT_CONSISTENCY] = {"consistency", "LEVEL",
			      "crash (default) or application", false},
	 [OPT_LABEL] = {"label", "TEXT", "a name for people", false},
	 [OPT_LIMIT] = {"limit", "SIZE",
			"copy at most so much of what is overwritten", false},
	 [OPT_CLONE] = {"clone", NULL,
			"let the images' file system share blocks", false},
	 [OPT_REQUEST_ID] = {"request-id", "UUID",
			     "asked again, gives the same snapshot", false},
	 [OPT_TIMEOUT] = {"timeout", "SECONDS",
			  "no snapshot if it takes longer; default: 30", false},
	 [OPT_LISTEN] = {"listen", "ADDRESS:PORT",
			 "let it be read over the network, with TLS", false}},
    .details =
	"Prints the snapshot's id; 'refpoint snapshots VM' shows where\n"
	"its disks are read.  With --listen then the key, for a file, which\n"
	"is told once, and the URI of each disk.\n",
    .run = run_snapshot,
};

/* ---- snapshots ------------------------------------------------------------
 */

static void print_list(const json_t *snapshots)
{
	static const char *const titles[] = {"SNAPSHOT",    "STATE",
					     "CONSISTENCY", "CREATED",
					     "COPIED",      "REASON",
					     "LABEL",       NULL};
	struct table *table = table_new(titles);
	char size[SIZE_TEXT_BYTES];
	const json_t *snapshot;
	size_t i;

	json_array_foreach(snapshots, i, snapshot)
	{
		table_add(table, json_text(snapshot, "id"));
		table_add(table, json_text(snapshot, "state"));
		table_add(table, json_text(snapshot, "consistency"));
		table_add_time(table, json_text(snapshot, "created"));
		table_add(table, text_size(snapshot_scratch(snapshot), size));
		table_add(table, json_text(snapshot, "reason"));
		table_add(table, json_text(snapshot, "label"));
	}
	table_print(table);
}

static void print_places(const json_t *snapshots)
{
	static const char *const titles[] = {"SNAPSHOT", "DISK", "NBD", NULL};
	struct table *table = table_new(titles);
	const json_t *snapshot, *disk;
	size_t i, j;

	json_array_foreach(snapshots, i, snapshot)
	{
		json_array_foreach(json_object_get(snapshot, "disks"), j, disk)
		{
			table_add(table, json_text(snapshot, "id"));
			table_add(table, json_text(disk, "id"));
			table_add(table, json_text(disk, "nbd_uri"));
		}
	}
	table_print(table);
}

static int run_snapshots(struct cli *cli, const struct cli_args *args,
			 struct err *err)
{
	json_t *reply = NULL, *snapshots;
	int r = cli_call(cli, "Snapshots",
			 json_pack("{s:s}", "vm", args->positional[0]), NULL, 0,
			 WAIT_QUICK, &reply, err);

	if (r < 0)
		return r;
	snapshots = json_object_get(reply, "snapshots");
	if (!json_is_array(snapshots)) {
		r = err_set(err, -RP_EWIRE,
			    "refpointd's answer to Snapshots has no "
			    "'snapshots'");
	} else if (cli->json) {
		print_json(reply);
	} else {
		print_list(snapshots);
		(void)putchar('\n');
		print_places(snapshots);
	}
	json_decref(reply);
	return r;
}

const struct command command_snapshots = {
    .name = "snapshots",
    .summary = "list the snapshots of a VM and where they are read",
    .positionals = {"VM"},
    .run = run_snapshots,
};

/* ---- convert, drop, rename ------------------------------------------------
 */

static json_t *name_snapshot(const struct cli_args *args)
{
	return json_pack("{s:s, s:s, s:s*}", "vm", args->positional[0],
			 "snapshot", args->positional[1], "label",
			 args->positional[2]);
}

static int run_convert(struct cli *cli, const struct cli_args *args,
		       struct err *err)
{
	return cli_make_point(cli, "Convert", name_snapshot(args), WAIT_WORK,
			      err);
}

const struct command command_convert = {
    .name = "convert",
    .summary = "make a snapshot a reference point, of the same id",
    .positionals = {"VM", "SNAPSHOT"},
    .details = "The point's instant is the snapshot's.  Prints its id.\n",
    .run = run_convert,
};

static int run_drop(struct cli *cli, const struct cli_args *args,
		    struct err *err)
{
	int r = cli_call(cli, "Drop", name_snapshot(args), NULL, 0, WAIT_WORK,
			 NULL, err);

	if (r == 0 && cli->json)
		(void)puts("{}");
	return r;
}

const struct command command_drop = {
    .name = "drop",
    .summary = "drop a snapshot; who reads it gets errors",
    .positionals = {"VM", "SNAPSHOT"},
    .run = run_drop,
};

static int run_rename(struct cli *cli, const struct cli_args *args,
		      struct err *err)
{
	json_t *parameters = name_snapshot(args), *snapshot = NULL;
	int r;

	if (!parameters)
		return err_set(err, -RP_EPARAM, "the label is not UTF-8");
	r = cli_call_for(cli, "Rename", parameters, WAIT_WORK, "snapshot",
			 &snapshot, err);
	if (r == 0 && cli->json)
		print_json(snapshot);
	json_decref(snapshot);
	return r;
}

const struct command command_rename = {
    .name = "rename",
    .summary = "give a snapshot another label",
    .positionals = {"VM", "SNAPSHOT", "LABEL"},
    .run = run_rename,
};
