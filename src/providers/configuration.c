/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a virtual system is made of: its settings, its disks, and the settings
 * that an export of it starts from; and the same of its snapshots.
 *
 * S1  A snapshot's disk says where the snapshot is read, and nothing while it
 *     is not served; never where the live disk is.
 */
#include "providers/objects.h"
#include "providers/virtual.h"

#define RESOURCE_LOGICAL_DISK 31
#define ACCESS_READ           1
#define ACCESS_READ_WRITE     3
#define DISK_BLOCK_BYTES      512

/* Within the store, which alone has it all. */
#define CONFIGURATION_FILE "catalogue.sqlite"

/* The InstanceID, in the arena, of what HOLDER has. */
static struct cim_value instance_id(struct telling *t, const char *holder,
				    unsigned index)
{
	struct identity own = {.kind = t->class->kind, .index = index};
	struct cim_value value;

	memcpy(own.uuid, holder, sizeof(own.uuid));
	value = cim_string(identity_instance_id(t->request->arena, &own));
	if (value.is_null && t->b.r == 0)
		t->b.r = arena_full(t->request->arena, t->b.err);
	return value;
}

/* ---- settings ------------------------------------------------------------ */

enum {
	SETTINGS_ID,
	SETTINGS_CAPTION,
	SETTINGS_DESCRIPTION,
	SETTINGS_NAME,
	SETTINGS_SYSTEM,
	SETTINGS_TYPE,
	SETTINGS_CREATED,
	SETTINGS_CONFIGURATION,
	SETTINGS_ROOT,
};

static const char *const settings_slots[] = {
    [SETTINGS_ID] = "InstanceID",
    [SETTINGS_CAPTION] = "Caption",
    [SETTINGS_DESCRIPTION] = "Description",
    [SETTINGS_NAME] = "ElementName",
    [SETTINGS_SYSTEM] = "VirtualSystemIdentifier",
    [SETTINGS_TYPE] = "VirtualSystemType",
    [SETTINGS_CREATED] = "CreationTime",
    [SETTINGS_CONFIGURATION] = "ConfigurationID",
    [SETTINGS_ROOT] = "ConfigurationDataRoot",
    NULL,
};

static void prepare_settings(struct telling *t)
{
	build_text(&t->b, "ConfigurationFile", CONFIGURATION_FILE);
	build_true(&t->b, "IncrementalBackupEnabled", true);
	build_true(&t->b, "IsSaved", false);
}

static void set_text(struct telling *t, unsigned slot, const char *text)
{
	build_at(&t->b, t->slots[slot], cim_string(text));
}

/* A text that was made in the arena; NULL: there was no room. */
static void set_made(struct telling *t, unsigned slot, const char *text)
{
	if (!text && t->b.r == 0)
		t->b.r = arena_full(t->request->arena, t->b.err);
	set_text(t, slot, text);
}

/* What those of a system and of a snapshot have in common. */
static void set_settings(struct telling *t, const struct system_view *system,
			 const char *holder)
{
	char store[PATH_BYTES];

	paths_store(&t->providers->paths, system->vm, store);
	build_at(&t->b, t->slots[SETTINGS_ID], instance_id(t, holder, 0));
	set_text(t, SETTINGS_SYSTEM, system->uuid);
	set_text(t, SETTINGS_CONFIGURATION, holder);
	set_made(t, SETTINGS_ROOT, arena_strdup(t->request->arena, store));
}

static int tell_own(struct telling *t, const struct system_view *system)
{
	set_settings(t, system, system->uuid);
	set_text(t, SETTINGS_CAPTION, "Virtual Machine Settings");
	set_text(t, SETTINGS_DESCRIPTION,
		 "Active settings for the virtual machine");
	set_text(t, SETTINGS_NAME, system->vm);
	set_text(t, SETTINGS_TYPE, "Microsoft:Hyper-V:System:Realized");
	build_at(&t->b, t->slots[SETTINGS_CREATED],
		 cim_null(CIM_DATETIME, false));
	return build_tell_again(&t->b, t->fn, t->fn_arg);
}

/* One without a label is called by its system's name and its time. */
static const char *snapshot_name(struct telling *t,
				 const struct system_view *system,
				 const struct point_view *as)
{
	if (*as->label)
		return as->label;
	return arena_printf(t->request->arena, "%s - Backup - (%.10s %.8s)",
			    system->vm, as->created,
			    strlen(as->created) > 11 ? as->created + 11 : "");
}

static int tell_snapshot(struct telling *t, const struct system_view *system,
			 const struct snapshot_view *snapshot)
{
	const char *text = "Recovery snapshot of the virtual machine";

	if (snapshot->invalid)
		text = arena_printf(t->request->arena,
				    "Recovery snapshot, of no use any more: %s",
				    snapshot->invalid);
	set_settings(t, system, snapshot->as.id);
	set_text(t, SETTINGS_CAPTION, "Virtual Machine Snapshot");
	set_made(t, SETTINGS_DESCRIPTION, text);
	set_made(t, SETTINGS_NAME, snapshot_name(t, system, &snapshot->as));
	set_text(t, SETTINGS_TYPE, "Microsoft:Hyper-V:Snapshot:Recovery");
	build_at(&t->b, t->slots[SETTINGS_CREATED],
		 cim_null(CIM_DATETIME, false));
	build_time(&t->b, "CreationTime", snapshot->as.created);
	return build_tell_again(&t->b, t->fn, t->fn_arg);
}

static int tell_settings(struct telling *t, const struct system_view *system)
{
	int r = 0;

	if (system->again)
		return 0;
	if (wants_holder(&t->wanted, system->uuid))
		r = tell_own(t, system);
	for (uint32_t i = 0; r >= 0 && i < system->snapshot_count; i++)
		if (wants_holder(&t->wanted, system->snapshots[i].as.id))
			r = tell_snapshot(t, system, &system->snapshots[i]);
	return r;
}

static const struct object_class settings = {.name = SETTINGS_CLASS,
					     .kind = IDENTITY_SETTINGS,
					     .with = SYSTEMS_SNAPSHOTS,
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
	build_at(&t->b, t->slots[EXPORT_ID], instance_id(t, system->uuid, 0));
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
	DISK_ACCESS,
};

static const char *const disk_slots[] = {
    [DISK_ID] = "InstanceID",
    [DISK_NAME] = "ElementName",
    [DISK_ADDRESS] = "Address",
    [DISK_ADDRESS_ON_PARENT] = "AddressOnParent",
    [DISK_HOST_RESOURCE] = "HostResource",
    [DISK_QUANTITY] = "VirtualQuantity",
    [DISK_LIMIT] = "Limit",
    [DISK_ACCESS] = "Access",
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
	build_number(&t->b, "VirtualResourceBlockSize", DISK_BLOCK_BYTES);
	build_number(&t->b, "HostResourceBlockSize", DISK_BLOCK_BYTES);
	build_number(&t->b, "Reservation", 0);
	build_number(&t->b, "Weight", 0);
}

/* What is told of a disk. */
struct one_disk {
	const char *holder, *id;
	const char *where; /* or NULL */
	unsigned index;
	uint64_t size; /* bytes; 0: not known */
	unsigned access;
};

static int tell_disk(struct telling *t, const struct one_disk *disk)
{
	const char *place = arena_printf(t->request->arena, "%u", disk->index);
	struct cim_value size = cim_null(CIM_UINT64, false);
	union cim_scalar where = {.text = disk->where};

	if (!wants_index(&t->wanted, disk->index))
		return 0;
	if (disk->size > 0)
		size = cim_uint(CIM_UINT64, disk->size / DISK_BLOCK_BYTES);
	build_at(&t->b, t->slots[DISK_ID],
		 instance_id(t, disk->holder, disk->index));
	set_text(t, DISK_NAME, disk->id);
	set_text(t, DISK_ADDRESS, disk->id);
	set_made(t, DISK_ADDRESS_ON_PARENT, place);
	build_at(&t->b, t->slots[DISK_HOST_RESOURCE],
		 disk->where ? cim_array(CIM_STRING, &where, 1)
			     : cim_null(CIM_STRING, true));
	build_at(&t->b, t->slots[DISK_QUANTITY], size);
	build_at(&t->b, t->slots[DISK_LIMIT], size);
	build_at(&t->b, t->slots[DISK_ACCESS],
		 cim_uint(CIM_UINT16, disk->access));
	return build_tell_again(&t->b, t->fn, t->fn_arg);
}

static int tell_own_disks(struct telling *t, const struct system_view *system)
{
	struct one_disk one = {.holder = system->uuid,
			       .access = ACCESS_READ_WRITE};
	int r = 0;

	for (uint32_t i = 0; r >= 0 && i < system->disk_count; i++) {
		one.id = system->disks[i].id;
		one.where = system->disks[i].path;
		one.index = i;
		one.size = system->disks[i].size;
		r = tell_disk(t, &one);
	}
	return r;
}

static int tell_snapshot_disks(struct telling *t, const struct point_view *as)
{
	struct one_disk one = {.holder = as->id, .access = ACCESS_READ};
	int r = 0;

	for (uint32_t i = 0; r >= 0 && i < as->disk_count; i++) {
		one.id = as->disks[i].id;
		one.where = as->disks[i].uri;
		one.index = as->disks[i].index;
		one.size = as->disks[i].size;
		r = tell_disk(t, &one);
	}
	return r;
}

static int tell_disks(struct telling *t, const struct system_view *system)
{
	int r = 0;

	if (system->again)
		return 0;
	if (wants_holder(&t->wanted, system->uuid))
		r = tell_own_disks(t, system);
	for (uint32_t i = 0; r >= 0 && i < system->snapshot_count; i++)
		if (wants_holder(&t->wanted, system->snapshots[i].as.id))
			r = tell_snapshot_disks(t, &system->snapshots[i].as);
	return r;
}

static const struct object_class disks = {.name = DISK_CLASS,
					  .kind = IDENTITY_DISK,
					  .with = SYSTEMS_SNAPSHOTS,
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
