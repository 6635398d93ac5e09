/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/methods.h"
#include "daemon/pull.h"

#include "daemon/caller.h"
#include "daemon/export.h"
#include "daemon/import.h"
#include "daemon/jobs.h"
#include "daemon/scan.h"
#include "daemon/systems.h"
#include "daemon/vm.h"

#define ADMIN RPC_ROLE_ADMIN
#define USERS (RPC_ROLE_ADMIN | RPC_ROLE_OPERATOR | RPC_ROLE_GATEWAY)

static bool has_no_parameters(struct rpc_call *call, json_t *parameters)
{
	const struct rpc_field none[] = {{0}};
	struct caller caller;
	struct err err = {0};

	if (caller_take(parameters, rpc_call_role(call), &caller, &err) == 0 &&
	    rpc_read_fields(parameters, none, &err) == 0)
		return true;
	rpc_fail(call, &err);
	return false;
}

static void get_info(struct rpc_call *call, json_t *parameters, void *arg)
{
	if (has_no_parameters(call, parameters))
		rpc_reply(call, json_pack("{s:s, s:s, s:s, s:i}", "vendor",
					  "refpoint", "product", "refpointd",
					  "version", VERSION, "interface",
					  INTERFACE_VERSION));
}

static json_t *list_entry(const struct vm *vm)
{
	char uuid[GUID_TEXT_BYTES];

	guid_format(&vm->entry.uuid, uuid);
	return json_pack("{s:s, s:s, s:s, s:i, s:i, s:s}", "vm", vm->name,
			 "uuid", uuid, "state", vm_state(vm), "disks",
			 (int)vm->entry.n_disks, "points",
			 (int)vm->entry.points, "agent", vm->entry.agent);
}

static void list(struct rpc_call *call, json_t *parameters, void *arg)
{
	struct daemon *daemon = arg;
	json_t *vms;

	if (!has_no_parameters(call, parameters))
		return;
	vms = json_array();
	for (struct vm *vm = daemon->vms; vm; vm = vm->next) {
		if (vm->defining)
			continue;
		(void)json_array_append_new(vms, list_entry(vm));
		vm_points_judge(vm);
	}
	rpc_reply(call, json_pack("{s:o}", "vms", vms));
	scan_next(daemon); /* for the next one who asks */
}

/* Who is not named here may not; test-methods.c walks all of it. */
const struct rpc_method methods_table[] = {
    {"org.refpoint.GetInfo", USERS, get_info},
    {"org.refpoint.List", USERS, list},
    {"org.refpoint.Systems", USERS, systems_method},
    {"org.refpoint.Status", USERS, proxy_method},
    {"org.refpoint.Points", USERS, proxy_method},
    {"org.refpoint.Changes", USERS, proxy_method},
    {"org.refpoint.Check", USERS, proxy_method},
    {"org.refpoint.Create", USERS, proxy_method},
    {"org.refpoint.Destroy", USERS, proxy_method},
    {"org.refpoint.Snapshot", USERS, proxy_method},
    {"org.refpoint.Snapshots", USERS, proxy_method},
    {"org.refpoint.Convert", USERS, proxy_method},
    {"org.refpoint.Drop", USERS, proxy_method},
    {"org.refpoint.Rename", USERS, proxy_method},
    {"org.refpoint.DropLog", USERS, proxy_method},
    {"org.refpoint.Export", USERS, export_method},
    {"org.refpoint.Listen", RPC_ROLE_ADMIN | RPC_ROLE_OPERATOR, listen_method},
    {"org.refpoint.Unlisten", RPC_ROLE_ADMIN | RPC_ROLE_OPERATOR,
     unlisten_method},
    {"org.refpoint.CreateJob", USERS, proxy_job_method},
    {"org.refpoint.DestroyJob", USERS, proxy_job_method},
    {"org.refpoint.SnapshotJob", USERS, proxy_job_method},
    {"org.refpoint.ConvertJob", USERS, proxy_job_method},
    {"org.refpoint.DropJob", USERS, proxy_job_method},
    {"org.refpoint.DropLogJob", USERS, proxy_job_method},
    {"org.refpoint.ExportJob", USERS, export_job_method},
    {"org.refpoint.ExportDone", USERS, export_done_method},
    {"org.refpoint.Import", RPC_ROLE_ADMIN | RPC_ROLE_GATEWAY, import_method},
    {"org.refpoint.ImportJob", RPC_ROLE_ADMIN | RPC_ROLE_GATEWAY,
     import_job_method},
    {"org.refpoint.Jobs", USERS, jobs_method},
    {"org.refpoint.CancelJob", USERS, cancel_job_method},
    {"org.refpoint.Define", ADMIN, define_method},
    {"org.refpoint.Undefine", ADMIN, undefine_method},
    {"org.refpoint.SetAgent", ADMIN, set_agent_method},
    {"org.refpoint.SetLogLimit", ADMIN, proxy_method},
    {"org.refpoint.Serve", ADMIN, proxy_method},
    {"org.refpoint.Unserve", ADMIN, proxy_method},
    {"org.refpoint.Resize", ADMIN, proxy_method},
    {"org.refpoint.daemon.Start", RPC_ROLE_WORKER, callback_start},
    {"org.refpoint.daemon.Mark", RPC_ROLE_WORKER, callback_mark},
    {"org.refpoint.daemon.SnapshotListener", RPC_ROLE_WORKER,
     callback_snapshot_listener},
    {0},
};
