/* SPDX-License-Identifier: Apache-2.0 */
/* resize */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

#include "cli/attach.h"
#include "cli/text.h"

/* QEMU finds the new size when it reconnects; the guest learns of it only when
 * QEMU is told. */
static void print_commands(const char *vm, const json_t *status,
			   const char *disk_id)
{
	char node[NODE_NAME_BYTES], command[160];
	const json_t *disk;
	size_t i;

	json_array_foreach(json_object_get(status, "disks"), i, disk)
	{
		unsigned long long size = json_number(disk, "size");

		if (strcmp(json_text(disk, "id"), disk_id) != 0)
			continue;
		node_name(i, node);
		(void)snprintf(command, sizeof(command),
			       "{\"execute\":\"block_resize\",\"arguments\":"
			       "{\"node-name\":\"%s\",\"size\":%llu}}",
			       node, size);
		(void)printf("%s is %llu bytes now.  Tell a running guest:\n"
			     "  QMP      %s\n"
			     "  libvirt  virsh qemu-monitor-command %s '%s'\n"
			     "(virsh blockresize if libvirt knows the disk)\n",
			     disk_id, size, command, vm, command);
	}
}

static int run_resize(struct cli *cli, const struct cli_args *args,
		      struct err *err)
{
	const char *vm = args->positional[0], *disk = args->positional[1];
	json_t *status = NULL;
	uint64_t size = 0;
	int r = parse_size(args->positional[2], &size, err);

	if (r == 0 && (size == 0 || size % SECTOR_BYTES != 0))
		r = err_set(err, -RP_EPARAM,
			    "a size of %llu bytes is not a multiple of %u",
			    (unsigned long long)size, SECTOR_BYTES);
	if (r == 0)
		r = cli_call_for(cli, "Resize",
				 json_pack("{s:s, s:s, s:I}", "vm", vm, "disk",
					   disk, "size", (json_int_t)size),
				 WAIT_WORK, "status", &status, err);
	if (r < 0)
		return r;
	if (cli->json)
		print_json(status);
	else
		print_commands(vm, status, disk);
	json_decref(status);
	return 0;
}

const struct command command_resize = {
    .name = "resize",
    .summary = "grow a disk: its image and its tracking",
    .positionals = {"VM", "DISK", "SIZE"},
    .details =
	"SIZE is in bytes or with K, M, G or T.  Connections are dropped "
	"and come\nback; then QEMU has to be told, as is printed.\n",
    .run = run_resize,
};
