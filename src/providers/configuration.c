/* SPDX-License-Identifier: Apache-2.0 */
/* What a virtual system is made of: its settings, its disks, and the settings
 * that an export of it starts from. */
#include "providers/objects.h"
#include "providers/virtual.h"

#define RESOURCE_LOGICAL_DISK 31
#define ACCESS_READ_WRITE     3
#define DISK_BLOCK_BYTES      512

/* The InstanceID, in the arena. */
static struct cim_value
instance_id(struct telling *t, const struct system_view *system, unsigned index)
{
	struct identity own = {.kind = t->class->kind, .index = index};
	struct cim_value value;

	memcpy(own.uuid, system->uuid, sizeof(own.uuid));
	value = cim_string(identity_instance_id(t->request->arena, &own));
	if (value.is_null && t->b.r == 0)
		t->b.r = arena_full(t->request->arena, t->b.err);
	return value;
}

/* ---- settings ------------------------------------------------------------ */

enum {
	SETTINGS_ID,
	SETTINGS_NAME,
	SETTINGS_SYSTEM,
	SETTINGS_CONFIGURATION,
};

static const char *const settings_slots[] = {
    [SETTINGS_ID] = "InstanceID",
    [SETTINGS_NAME] = "ElementName",
    [SETTINGS_SYSTEM] = "VirtualSystemIdentifier",
    [SETTINGS_CONFIGURATION] = "ConfigurationID",
    NULL,
};

static void prepare_settings(struct telling *t)
{
	build_text(&t->b, "Caption", "Virtual Machine Settings");
	build_text(&t->b, "Description",
		   "Active settings for the virtual machine");
	build_text(&t->b, "VirtualSystemType",
		   "Microsoft:Hyper-V:System:Realized");
	build_true(&t->b, "IncrementalBackupEnabled", true);
	build_true(&t->b, "IsSaved", false);
}

static int tell_settings(struct telling *t, const struct system_view *system)
{
	struct cim_value uuid = cim_string(system->uuid);

	build_at(&t->b, t->slots[SETTINGS_ID], instance_id(t, system, 0));
	build_at(&t->b, t->slots[SETTINGS_NAME], cim_string(system->vm));
	build_at(&t->b, t->slots[SETTINGS_SYSTEM], uuid);
	build_at(&t->b, t->slots[SETTINGS_CONFIGURATION], uuid);
	return build_tell_again(&t->b, t->fn, t->fn_arg);
}

static const struct object_class settings = {.name = SETTINGS_CLASS,
					     .kind = IDENTITY_SETTINGS,
					     .slots = settings_slots,
					     .prepare = prepare_settings,
					     .tell = tell_settings};

int settings_enumerate(ENUMERATE_PARAMETERS)
{
	return objects_enumerate(&settings, arg, request, query, fn, fn_arg,
				 err);
}

int settings_get(GET_PARAMETERS)
{
	return objects_get(&settings, arg, request, path, ret_instance, err);
}

/* ---- settings of an export ----------------------------------------------- */

enum {
	EXPORT_ID,
	EXPORT_NAME,
};

static const char *const export_slots[] = {
    [EXPORT_ID] = "InstanceID",
    [EXPORT_NAME] = "ElementName",
    NULL,
};

static void prepare_export(struct telling *t)
{
	build_text(&t->b, "Caption", "Export Settings");
	build_text(&t->b, "Description",
		   "What an export of the virtual machine starts from");
	build_number(&t->b, "CaptureLiveState", 0);
	build_number(&t->b, "CopySnapshotConfiguration", 0);
	build_true(&t->b, "CopyVmRuntimeInformation", false);
	build_true(&t->b, "CopyVmStorage", true);
	build_true(&t->b, "CreateVmExportSubdirectory", true);
	build_number(&t->b, "BackupIntent", 0);
	build_true(&t->b, "ExportForLiveMigration", false);
	build_true(&t->b, "DisableDifferentialOfIgnoredStorage", false);
}

static int tell_export(struct telling *t, const struct system_view *system)
{
	build_at(&t->b, t->slots[EXPORT_ID], instance_id(t, system, 0));
	build_at(&t->b, t->slots[EXPORT_NAME], cim_string(system->vm));
	return build_tell_again(&t->b, t->fn, t->fn_arg);
}

static const struct object_class export = {.name = EXPORT_SETTINGS_CLASS,
					   .kind = IDENTITY_EXPORT,
					   .slots = export_slots,
					   .prepare = prepare_export,
					   .tell = tell_export};

int export_settings_enumerate(ENUMERATE_PARAMETERS)
{
	return objects_enumerate(&export, arg, request, query, fn, fn_arg, err);
}

int export_settings_get(GET_PARAMETERS)
{
	return objects_get(&export, arg, request, path, ret_instance, err);
}

/* ---- disks ----------------------------------------------------------------
 */

enum {
	DISK_ID,
	DISK_NAME,
	DISK_ADDRESS,
	DISK_ADDRESS_ON_PARENT,
	DISK_HOST_RESOURCE,
	DISK_QUANTITY,
	DISK_LIMIT,
};

static const char *const disk_slots[] = {
    [DISK_ID] = "InstanceID",
    [DISK_NAME] = "ElementName",
    [DISK_ADDRESS] = "Address",
    [DISK_ADDRESS_ON_PARENT] = "AddressOnParent",
    [DISK_HOST_RESOURCE] = "HostResource",
    [DISK_QUANTITY] = "VirtualQuantity",
    [DISK_LIMIT] = "Limit",
    NULL,
};

static void prepare_disks(struct telling *t)
{
	build_text(&t->b, "Caption", "Hard Disk Image");
	build_text(&t->b, "Description", "Settings for a disk image");
	build_number(&t->b, "ResourceType", RESOURCE_LOGICAL_DISK);
	build_text(&t->b, "ResourceSubType",
		   "Microsoft:Hyper-V:Virtual Hard Disk");
	build_number(&t->b, "ConsumerVisibility", 3);
	build_text(&t->b, "AllocationUnits", "count(fixed size block)");
	build_true(&t->b, "AutomaticAllocation", true);
	build_true(&t->b, "AutomaticDeallocation", true);
	build_number(&t->b, "Access", ACCESS_READ_WRITE);
	build_number(&t->b, "VirtualResourceBlockSize", DISK_BLOCK_BYTES);
	build_number(&t->b, "HostResourceBlockSize", DISK_BLOCK_BYTES);
	build_number(&t->b, "Reservation", 0);
	build_number(&t->b, "Weight", 0);
}

static int tell_disk(struct telling *t, const struct system_view *system,
		     unsigned index)
{
	const struct disk_view *disk = &system->disks[index];
	struct cim_value size = cim_null(CIM_UINT64, false);
	union cim_scalar path = {.text = disk->path};
	const char *place = arena_printf(t->request->arena, "%u", index);

	if (!place)
		return arena_full(t->request->arena, t->b.err);
	if (disk->size > 0)
		size = cim_uint(CIM_UINT64, disk->size / DISK_BLOCK_BYTES);
	build_at(&t->b, t->slots[DISK_ID], instance_id(t, system, index));
	build_at(&t->b, t->slots[DISK_NAME], cim_string(disk->id));
	build_at(&t->b, t->slots[DISK_ADDRESS], cim_string(disk->id));
	build_at(&t->b, t->slots[DISK_ADDRESS_ON_PARENT], cim_string(place));
	build_at(&t->b, t->slots[DISK_HOST_RESOURCE],
		 cim_array(CIM_STRING, &path, 1));
	build_at(&t->b, t->slots[DISK_QUANTITY], size);
	build_at(&t->b, t->slots[DISK_LIMIT], size);
	return build_tell_again(&t->b, t->fn, t->fn_arg);
}

static int tell_disks(struct telling *t, const struct system_view *system)
{
	int r = 0;

	for (unsigned i = 0; r >= 0 && i < system->disk_count; i++)
		if (wants_index(&t->wanted, i))
			r = tell_disk(t, system, i);
	return r;
}

static const struct object_class disks = {.name = DISK_CLASS,
					  .kind = IDENTITY_DISK,
					  .slots = disk_slots,
					  .prepare = prepare_disks,
					  .tell = tell_disks};

int disks_enumerate(ENUMERATE_PARAMETERS)
{
	return objects_enumerate(&disks, arg, request, query, fn, fn_arg, err);
}

int disks_get(GET_PARAMETERS)
{
	return objects_get(&disks, arg, request, path, ret_instance, err);
}
