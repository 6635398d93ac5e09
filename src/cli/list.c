/* SPDX-License-Identifier: Apache-2.0 */
/* list */
#include "cli/cli.h"

#include "cli/text.h"

static void print_vms(const json_t *vms)
{
	static const char *const titles[] = {"VM",     "STATE", "DISKS",
					     "POINTS", "UUID",  NULL};
	struct table *table = table_new(titles);
	const json_t *vm;
	size_t i;

	json_array_foreach(vms, i, vm)
	{
		table_add(table, json_text(vm, "vm"));
		table_add(table, json_text(vm, "state"));
		table_addf(table, "%llu",
			   (unsigned long long)json_number(vm, "disks"));
		table_addf(table, "%llu",
			   (unsigned long long)json_number(vm, "points"));
		table_add(table, json_text(vm, "uuid"));
	}
	table_print(table);
}

static int run_list(struct cli *cli, const struct cli_args *args,
		    struct err *err)
{
	json_t *reply = NULL;
	int r = cli_call(cli, "List", NULL, NULL, 0, WAIT_QUICK, &reply, err);

	if (r < 0)
		return r;
	if (cli->json)
		print_json(reply);
	else
		print_vms(json_object_get(reply, "vms"));
	json_decref(reply);
	return 0;
}

const struct command command_list = {
    .name = "list",
    .summary = "list the VMs that are defined",
    .run = run_list,
};
