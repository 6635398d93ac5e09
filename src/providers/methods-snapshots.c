/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The service of snapshots.
 *
 * N1  Recovery snapshots alone are taken: what they hold are disks.  None can
 * be gone back to, has a state that could be dropped, or others that come after
 * it. N2  CreateSnapshot, ConvertToReferencePoint and DestroySnapshot that were
 *     accepted answer METHOD_JOB with a job, also if all is done.
 * N3  A point that a snapshot becomes is as consistent as the snapshot is:
 *     settings that ask for more are refused.
 */
#include <string.h>

#include "cim/status.h"
#include "common/bytes.h"
#include "providers/methods.h"

/* Of the parameter SnapshotType. */
enum {
	TYPE_FULL = 2,
	TYPE_DISK = 3,
	TYPE_RECOVERY = 32768,
};

#define GUEST_BACKUP_TYPE_LAST 2

/* False if the settings ask for what there is not.  There is no disk of which
 * no snapshot can be taken, and the guest's agent knows no types of backups. */
static bool read_settings(const struct method_call *call,
			  const char **ret_consistency, const char **ret_label)
{
	const struct cim_instance *settings = NULL;

	if (!method_how(call, "SnapshotSettings", ret_consistency, ret_label) ||
	    !method_instance(call, "SnapshotSettings", &settings))
		return false;
	return !settings ||
	       cim_number(cim_instance_get(settings, "GuestBackupType"), 0) <=
		   GUEST_BACKUP_TYPE_LAST;
}

static uint32_t check_type(const struct method_call *call)
{
	switch (cim_number(method_argument(call, "SnapshotType"), 0)) {
	case TYPE_RECOVERY:
		return 0;
	case TYPE_FULL:
	case TYPE_DISK:
		return CREATE_UNSUPPORTED;
	default:
		return CREATE_TYPE;
	}
}

static int create_snapshot(const struct method_call *call, uint32_t *ret_result,
			   struct err *err)
{
	const char *consistency, *label, *vm;
	struct identity system;
	int r;

	*ret_result = CREATE_PARAMETER;
	if (!method_object(call, "AffectedSystem", &system) ||
	    system.kind != IDENTITY_SYSTEM ||
	    !read_settings(call, &consistency, &label))
		return 0;
	r = method_system(call, system.uuid, &vm, err);
	if (r < 0)
		return method_missing(call, r, method_create_result,
				      CREATE_PARAMETER, ret_result, err);
	*ret_result = check_type(call);
	if (*ret_result)
		return 0;
	return method_begin_job(call, "SnapshotJob",
				json_pack("{s:s, s:s, s:s}", "vm", vm,
					  "consistency", consistency, "label",
					  label),
				method_create_result, ret_result, err);
}

/* ---- of a snapshot ------------------------------------------------------- */

/* False, with *RET_R set, if there is none. */
static bool find(const struct method_call *call,
		 struct method_snapshot *ret_snapshot, int *ret_r,
		 uint32_t *ret_result, struct err *err)
{
	int r =
	    method_find_snapshot(call, "AffectedSnapshot", ret_snapshot, err);

	*ret_r = r < 0 ? method_missing(call, r, method_create_result,
					CREATE_PARAMETER, ret_result, err)
		       : 0;
	return r == 0;
}

static int begin(const struct method_call *call, const char *method,
		 const struct method_snapshot *snapshot, uint32_t *ret_result,
		 struct err *err)
{
	return method_begin_job(call, method,
				json_pack("{s:s, s:s}", "vm", snapshot->vm,
					  "snapshot", snapshot->id),
				method_create_result, ret_result, err);
}

static int destroy_snapshot(const struct method_call *call,
			    uint32_t *ret_result, struct err *err)
{
	struct method_snapshot snapshot;
	int r;

	if (!find(call, &snapshot, &r, ret_result, err))
		return r;
	return begin(call, "DropJob", &snapshot, ret_result, err);
}

static int convert_snapshot(const struct method_call *call,
			    uint32_t *ret_result, struct err *err)
{
	struct method_snapshot snapshot;
	const char *consistency, *label;
	int r;

	*ret_result = CREATE_PARAMETER;
	if (!method_how(call, "ReferencePointSettings", &consistency, &label))
		return 0;
	if (!find(call, &snapshot, &r, ret_result, err))
		return r;
	if (strcmp(consistency, "application") == 0 && !snapshot.application) {
		*ret_result = CREATE_PARAMETER;
		return 0;
	}
	return begin(call, "ConvertJob", &snapshot, ret_result, err);
}

int snapshot_service_invoke(void *arg, const struct cim_request *request,
			    const struct cim_path *path,
			    const struct cim_arguments *in,
			    struct cim_arguments *out,
			    struct cim_value *ret_result, struct err *err)
{
	static const struct method_entry entries[] = {
	    {.name = "CreateSnapshot",
	     .required = {"AffectedSystem", "SnapshotType"},
	     .fn = create_snapshot},
	    {.name = "DestroySnapshot",
	     .required = {"AffectedSnapshot"},
	     .fn = destroy_snapshot},
	    {.name = "ApplySnapshot", .required = {"Snapshot"}},
	    {.name = "DestroySnapshotTree",
	     .required = {"SnapshotSettingData"}},
	    {.name = "ClearSnapshotState", .required = {"SnapshotSettingData"}},
	    {.name = "ConvertToReferencePoint",
	     .required = {"AffectedSnapshot"},
	     .fn = convert_snapshot},
	};
	const struct method_call call = {arg, request, path, in, out};

	return method_dispatch(entries, ARRAY_SIZE(entries), &call, ret_result,
			       err);
}
