/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The service that changes virtual systems; its export is methods-exports.c.
 *
 * M1  What a client sends is the whole configuration, as it read it or with
 *     little in it: what is NULL, or as it is, is no change, and what cannot be
 *     changed anywhere is not looked at.
 * M2  Of a snapshot the name can be changed.  That changes are tracked is so by
 *     nature: IncrementalBackupEnabled is true, and to make it so is done.  All
 *     else that asks for a change is Not Supported, and nothing is changed.
 * M3  A snapshot leaves nothing behind that had to be merged, so that merging
 *     can be stopped and resumed, and both are without effect.
 */
#include <string.h>

#include "cim/status.h"
#include "common/bytes.h"
#include "providers/methods.h"
#include "providers/virtual.h"

/* What Windows lets clients write, beside ElementName. */
static const char *const writable[] = {
    "Notes",
    "IncrementalBackupEnabled",
    "AutomaticStartupAction",
    "AutomaticStartupActionDelay",
    "AutomaticStartupActionSequenceNumber",
    "AutomaticShutdownAction",
    "AutomaticRecoveryAction",
    "RecoveryFile",
    "BIOSGUID",
    "BIOSSerialNumber",
    "BaseBoardSerialNumber",
    "ChassisSerialNumber",
    "ChassisAssetTag",
    "BIOSNumLock",
    "BootOrder",
    "BootSourceOrder",
    "AllowFullSCSICommandSet",
    "DebugChannelId",
    "DebugPortEnabled",
    "DebugPort",
    "VirtualNumaEnabled",
    "AllowReducedFcRedundancy",
    "PauseAfterBootFailure",
    "NetworkBootPreferredProtocol",
    "SecureBootEnabled",
    "LowMmioGapSize",
    "ConfigurationDataRoot",
    "SnapshotDataRoot",
    "SuspendDataRoot",
    "SwapFileDataRoot",
    "LogDataRoot",
};

static bool is_change(const struct cim_instance *given,
		      const struct cim_instance *now, const char *name)
{
	const struct cim_value *value = cim_instance_get(given, name);

	if (value->is_null || (value->array && value->count == 0))
		return false;
	if (!value->array && value->base == CIM_STRING &&
	    (!value->one.text || !*value->one.text))
		return false;
	return !cim_value_equal(value, cim_instance_get(now, name));
}

static int rename_snapshot(const struct method_call *call, const char *id,
			   const char *name, uint32_t *ret_result,
			   struct err *err)
{
	struct method_snapshot snapshot;
	json_t *reply = NULL;
	int r = method_snapshot_of_id(call, id, &snapshot, err);

	if (r < 0)
		return method_missing(call, r, method_create_result,
				      CREATE_UNSUPPORTED, ret_result, err);
	r = backend_call(&call->providers->backend, call->request, snapshot.vm,
			 "Rename",
			 json_pack("{s:s, s:s, s:s}", "vm", snapshot.vm,
				   "snapshot", snapshot.id, "label", name),
			 BACKEND_WORK_MS, &reply, err);
	json_decref(reply);
	if (r < 0)
		method_note(call, err);
	*ret_result = method_create_result(r);
	return 0;
}

/* The configuration as it is. */
static int find_settings(const struct method_call *call,
			 const struct identity *identity,
			 const struct cim_instance **ret_now, struct err *err)
{
	const struct cim_path *path;
	int r =
	    identity_path(call->request->arena, identity,
			  call->providers->host.name, NULL, NULL, &path, err);

	return r < 0 ? r
		     : settings_get((void *)call->providers, call->request,
				    path, ret_now, err);
}

static int modify_system(const struct method_call *call, uint32_t *ret_result,
			 struct err *err)
{
	const struct cim_instance *given, *now = NULL;
	struct identity identity;
	int r;

	*ret_result = CREATE_PARAMETER;
	if (!method_instance(call, "SystemSettings", &given) || !given ||
	    !identity_of_setting(cim_instance_text(given, "InstanceID"),
				 &identity) ||
	    identity.kind != IDENTITY_SETTINGS)
		return 0;
	r = find_settings(call, &identity, &now, err);
	if (r < 0)
		return method_missing(call, r, method_create_result,
				      CREATE_PARAMETER, ret_result, err);
	*ret_result = CREATE_UNSUPPORTED;
	for (size_t i = 0; i < ARRAY_SIZE(writable); i++)
		if (is_change(given, now, writable[i]))
			return 0;
	*ret_result = 0;
	if (!is_change(given, now, "ElementName"))
		return 0;
	return rename_snapshot(call, identity.uuid,
			       cim_instance_text(given, "ElementName"),
			       ret_result, err);
}

static int modify_merging(const struct method_call *call, uint32_t *ret_result,
			  struct err *err)
{
	const struct cim_instance *given = NULL;
	uint64_t state = UINT64_MAX;

	if (method_instance(call, "SettingData", &given) && given)
		state = cim_number(cim_instance_get(given, "EnabledState"),
				   UINT64_MAX);
	*ret_result = state > 1 ? METHOD_PARAMETER : 0;
	return 0;
}

int management_service_invoke(void *arg, const struct cim_request *request,
			      const struct cim_path *path,
			      const struct cim_arguments *in,
			      struct cim_arguments *out,
			      struct cim_value *ret_result, struct err *err)
{
	static const struct method_entry entries[] = {
	    {.name = "AddResourceSettings",
	     .required = {"AffectedConfiguration", "ResourceSettings"}},
	    {.name = "DefineSystem", .required = {"SystemSettings"}},
	    {.name = "DestroySystem", .required = {"AffectedSystem"}},
	    {.name = "ModifyResourceSettings",
	     .required = {"ResourceSettings"}},
	    {.name = "ModifySystemSettings",
	     .required = {"SystemSettings"},
	     .fn = modify_system},
	    {.name = "RemoveResourceSettings",
	     .required = {"ResourceSettings"}},
	    {.name = "ExportSystemDefinition",
	     .required = {"ComputerSystem", "ExportDirectory"},
	     .fn = method_export_system},
	    {.name = "ModifyDiskMergeSettings",
	     .required = {"SettingData"},
	     .fn = modify_merging},
	};
	const struct method_call call = {arg, request, path, in, out};

	return method_dispatch(entries, ARRAY_SIZE(entries), &call, ret_result,
			       err);
}
