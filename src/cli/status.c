/* SPDX-License-Identifier: Apache-2.0 */
/* status */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

#include "cli/text.h"

static void print_line(const char *name, const char *value)
{
	char clean[256];

	(void)snprintf(clean, sizeof(clean), "%s", value);
	text_clean(clean);
	(void)printf("%-9s %s\n", name, clean);
}

/* "2, 1 of them invalid, 3.0 MiB copied" */
static void print_snapshots(const json_t *snapshots)
{
	char size[SIZE_TEXT_BYTES], invalid[48] = "";
	const json_t *snapshot;
	uint64_t bytes = 0;
	unsigned bad = 0;
	size_t i;

	json_array_foreach(snapshots, i, snapshot)
	{
		bytes += snapshot_scratch(snapshot);
		bad += strcmp(json_text(snapshot, "state"), "valid") != 0;
	}
	if (bad)
		(void)snprintf(invalid, sizeof(invalid), ", %u of them invalid",
			       bad);
	(void)printf("snapshots %zu%s, %s copied\n", json_array_size(snapshots),
		     invalid, text_size(bytes, size));
}

/* "12.0 MiB of 1.0 GiB" */
static void print_logs(const json_t *status)
{
	char size[SIZE_TEXT_BYTES], limit[SIZE_TEXT_BYTES];

	(void)printf("logs      %s of %s\n",
		     text_size(json_number(status, "log_bytes"), size),
		     text_size(json_number(status, "log_limit"), limit));
}

static void print_vm(const json_t *status)
{
	const json_t *pid = json_object_get(status, "worker_pid");
	const char *reason = json_text(status, "reason");
	char size[SIZE_TEXT_BYTES];

	print_line("vm", json_text(status, "vm"));
	print_line("uuid", json_text(status, "uuid"));
	if (*json_text(status, "agent"))
		print_line("agent", json_text(status, "agent"));
	print_line("state", json_text(status, "state"));
	if (json_is_true(json_object_get(status, "latched")))
		print_line("tracking",
			   "stopped, to spare the guest; unserve and serve "
			   "again to restart it");
	if (*reason)
		print_line("reason", reason);
	if (json_is_integer(pid))
		(void)printf("worker    %lld\n",
			     (long long)json_integer_value(pid));
	(void)printf("points    %llu of %llu\n",
		     (unsigned long long)json_number(status, "points"),
		     (unsigned long long)json_number(status, "points_max"));
	if (json_array_size(json_object_get(status, "logs")) > 0)
		print_logs(status);
	if (json_array_size(json_object_get(status, "snapshots")) > 0)
		print_snapshots(json_object_get(status, "snapshots"));
	print_line("in flight",
		   text_size(json_number(status, "inflight_bytes"), size));
}

static void add_size(struct table *table, const json_t *disk, const char *name)
{
	char size[SIZE_TEXT_BYTES];

	table_add(table, text_size(json_number(disk, name), size));
}

static void print_disks(const json_t *disks)
{
	static const char *const titles[] = {
	    "DISK",        "SIZE",           "CLIENTS",  "ACCURACY", "WIDENED",
	    "HOT REGIONS", "WORST WIDENING", "TRACKING", "CACHE",    NULL};
	struct table *table = table_new(titles);
	const json_t *disk;
	size_t i;

	json_array_foreach(disks, i, disk)
	{
		table_add(table, json_text(disk, "id"));
		add_size(table, disk, "size");
		table_addf(table, "%llu",
			   (unsigned long long)json_number(disk, "connected"));
		table_add(table, json_text(disk, "accuracy"));
		add_size(table, disk, "widened_bytes");
		table_addf(table, "%llu of %llu",
			   (unsigned long long)json_number(disk, "hot_regions"),
			   (unsigned long long)json_number(disk,
							   "hot_regions_max"));
		add_size(table, disk, "worst_widening_bytes");
		add_size(table, disk, "tracking_bytes");
		table_add(table, json_text(disk, "cache"));
	}
	table_print(table);
}

static void print_places(const json_t *disks)
{
	static const char *const titles[] = {"DISK", "PATH", "NBD", "REASON",
					     NULL};
	struct table *table = table_new(titles);
	const json_t *disk;
	size_t i;

	json_array_foreach(disks, i, disk)
	{
		table_add(table, json_text(disk, "id"));
		table_add(table, json_text(disk, "path"));
		table_add(table, json_text(disk, "nbd_uri"));
		table_add(table, json_text(disk, "reason"));
	}
	table_print(table);
}

static int run_status(struct cli *cli, const struct cli_args *args,
		      struct err *err)
{
	json_t *status = NULL;
	int r = cli_status(cli, args->positional[0], &status, err);

	if (r < 0)
		return r;
	if (cli->json) {
		print_json(status);
	} else {
		print_vm(status);
		(void)putchar('\n');
		print_disks(json_object_get(status, "disks"));
		(void)putchar('\n');
		print_places(json_object_get(status, "disks"));
	}
	json_decref(status);
	return 0;
}

const struct command command_status = {
    .name = "status",
    .summary = "show a VM, its disks and how well they are tracked",
    .positionals = {"VM"},
    .run = run_status,
};
