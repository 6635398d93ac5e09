/* SPDX-License-Identifier: Apache-2.0 */
/* serve, unserve */
#include "cli/cli.h"

#include <stdio.h>

#include "cli/text.h"

static void print_uris(const json_t *status)
{
	static const char *const titles[] = {"DISK", "NBD", NULL};
	struct table *table = table_new(titles);
	const json_t *disk;
	size_t i;

	json_array_foreach(json_object_get(status, "disks"), i, disk)
	{
		table_add(table, json_text(disk, "id"));
		table_add(table, json_text(disk, "nbd_uri"));
	}
	table_print(table);
}

static int run_call(struct cli *cli, const struct cli_args *args,
		    const char *method, bool uris, struct err *err)
{
	json_t *status = NULL;
	int r = cli_call_for(cli, method,
			     json_pack("{s:s}", "vm", args->positional[0]),
			     WAIT_WORK, "status", &status, err);

	if (r < 0)
		return r;
	if (cli->json)
		print_json(status);
	else if (uris)
		print_uris(status);
	json_decref(status);
	return 0;
}

static int run_serve(struct cli *cli, const struct cli_args *args,
		     struct err *err)
{
	return run_call(cli, args, "Serve", true, err);
}

const struct command command_serve = {
    .name = "serve",
    .summary = "export a VM's disks over NBD and track their changes",
    .positionals = {"VM"},
    .details = "Prints where each disk is found; 'refpoint attach' prints the\n"
	       "arguments for QEMU.\n",
    .run = run_serve,
};

static int run_unserve(struct cli *cli, const struct cli_args *args,
		       struct err *err)
{
	return run_call(cli, args, "Unserve", false, err);
}

const struct command command_unserve = {
    .name = "unserve",
    .summary = "end the exports of a VM; its points stay",
    .positionals = {"VM"},
    .details = "Shut the guest down first: its connections are dropped.\n",
    .run = run_unserve,
};
