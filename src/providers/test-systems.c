/* SPDX-License-Identifier: Apache-2.0 */
/* Virtual systems, their settings, disks and points, as clients ask for them.
 */
#include "providers/test-scene.h"

#define VIRTUAL_SYSTEMS                                                        \
	"SELECT * FROM Msvm_ComputerSystem WHERE "                             \
	"Description = \"Microsoft Virtual Machine\""

/* ---- computers ----------------------------------------------------------- */

static void computers_are_the_host_and_the_virtual_systems(void **state)
{
	struct told t = enumerated("Msvm_ComputerSystem");

	assert_int_equal(t.count, 4);
	assert_sound(&t);
	assert_string_equal(text_of(t.list[0], "Name"), "hv");
	assert_string_equal(text_of(t.list[0], "ElementName"), "hv");
	assert_string_equal(text_of(t.list[0], "Caption"),
			    "Hosting Computer System");
	assert_true(cim_instance_get(t.list[0], "ProcessID")->is_null);
	assert_int_equal(number_of(t.list[0], "EnabledState"), 2);
	assert_string_equal(text_of(t.list[1], "Name"), ALPHA);
	assert_string_equal(text_of(t.list[1], "ElementName"), "alpha");
	assert_string_equal(text_of(t.list[1], "Caption"), "Virtual Machine");
	assert_string_equal(text_of(t.list[1], "Description"),
			    "Microsoft Virtual Machine");
	assert_string_equal(text_of(t.list[1], "CreationClassName"),
			    "Msvm_ComputerSystem");
	assert_int_equal(number_of(t.list[1], "RequestedState"), 12);
	assert_false(scene->asked_points);
}

static void a_systems_state_is_that_of_its_writer_and_worker(void **state)
{
	struct told t = queried(VIRTUAL_SYSTEMS);

	assert_int_equal(t.count, 3);
	assert_int_equal(number_of(t.list[0], "EnabledState"), 2);
	assert_int_equal(number_of(t.list[0], "ProcessID"), 4242);
	assert_int_equal(number_of(t.list[0], "OperationalStatus"), 2);
	assert_int_equal(number_of(t.list[0], "HealthState"), 5);
	assert_int_equal(number_of(t.list[1], "EnabledState"), 3);
	assert_true(cim_instance_get(t.list[1], "ProcessID")->is_null);
	assert_int_equal(number_of(t.list[1], "OperationalStatus"), 3);
	assert_int_equal(number_of(t.list[1], "HealthState"), 20);
	assert_string_equal(item_of(t.list[1], "StatusDescriptions", 0),
			    "Its worker failed and is not started again");
	assert_string_equal(item_of(t.list[1], "StatusDescriptions", 1),
			    "(none)");
	/* What one was must not stick to the next. */
	assert_int_equal(number_of(t.list[2], "ProcessID"), 77);
	assert_int_equal(number_of(t.list[2], "EnabledState"), 3);
	assert_int_equal(number_of(t.list[2], "OperationalStatus"), 2);
	assert_int_equal(number_of(t.list[2], "HealthState"), 5);
}

/* libvirt's Hyper-V driver. */
static void a_driver_finds_systems_by_state_and_name(void **state)
{
	struct told t = queried(VIRTUAL_SYSTEMS " AND EnabledState = 2");

	assert_int_equal(t.count, 1);
	assert_string_equal(text_of(t.list[0], "ElementName"), "alpha");
	t = queried(VIRTUAL_SYSTEMS " AND ElementName = \"gamma\"");
	assert_int_equal(t.count, 1);
	t = queried(VIRTUAL_SYSTEMS " AND ProcessID = 77");
	assert_int_equal(t.count, 1);
	t = queried("SELECT * FROM Msvm_ComputerSystem WHERE Caption = "
		    "'Hosting Computer System'");
	assert_int_equal(t.count, 1);
}

static void a_name_narrows_what_refpointd_is_asked(void **state)
{
	struct told t =
	    queried(VIRTUAL_SYSTEMS
		    " AND Name = \"0a1b2c3d-0000-4000-8000-00000000000c\"");

	assert_int_equal(t.count, 1);
	assert_string_equal(text_of(t.list[0], "Name"), GAMMA);
	assert_string_equal(scene->asked_uuid,
			    "0a1b2c3d-0000-4000-8000-00000000000c");
	scene->asked = 0;
	t = queried("SELECT * FROM Msvm_ComputerSystem WHERE Name = 'HV'");
	assert_int_equal(t.count, 1);
	t = queried("SELECT * FROM Msvm_ComputerSystem WHERE Name = 'other'");
	assert_int_equal(t.count, 0);
	assert_int_equal(scene->asked, 0);
}

static void superclasses_find_the_systems_too(void **state)
{
	assert_int_equal(enumerated("CIM_ComputerSystem").count, 4);
	assert_int_equal(enumerated("CIM_System").count, 4);
	/* And the services. */
	assert_int_equal(enumerated("CIM_EnabledLogicalElement").count, 8);
	/* 3 of settings, 3 of exports, 4 disks. */
	assert_int_equal(enumerated("CIM_SettingData").count, 10);
	/* All of those and 8 points. */
	assert_int_equal(enumerated("CIM_ManagedElement").count, 26);
	assert_non_null(got("CIM_ComputerSystem.CreationClassName=\"Msvm_"
			    "ComputerSystem\",Name=\"" ALPHA "\""));
	assert_non_null(
	    got("CIM_SettingData.InstanceID=\"microsoft:0a1b2c3d-0000-4000-"
		"8000-00000000000a\""));
}

static void what_is_not_there_is_not_found(void **state)
{
	assert_null(got(SYSTEM_PATH("0A1B2C3D-0000-4000-8000-0000000000FF")));
	assert_null(got(SYSTEM_PATH("not a uuid")));
	assert_null(got(POINT_PATH(ALPHA, 09)));
	assert_null(got(POINT_PATH(ALPHA, 11))); /* it is gamma's */
	assert_null(got("Msvm_VirtualSystemSettingData.InstanceID=\"x\""));
	assert_null(got("Msvm_StorageAllocationSettingData.InstanceID="
			"\"Microsoft:" ALPHA
			"\\\\5A6E1F5C-0D4B-4B7B-9C7E-3C1B0E6D2A41\\\\0\\\\2"
			"\\\\L\""));
}

/* ---- settings and disks
 * ------------------------------------------------------
 */

static void a_system_has_one_configuration(void **state)
{
	struct told t = enumerated("Msvm_VirtualSystemSettingData");

	assert_int_equal(t.count, 3);
	assert_sound(&t);
	assert_string_equal(text_of(t.list[0], "InstanceID"),
			    "Microsoft:" ALPHA);
	assert_string_equal(text_of(t.list[0], "ElementName"), "alpha");
	assert_string_equal(text_of(t.list[0], "VirtualSystemIdentifier"),
			    ALPHA);
	assert_string_equal(text_of(t.list[0], "ConfigurationID"), ALPHA);
	assert_true(
	    cim_true(cim_instance_get(t.list[0], "IncrementalBackupEnabled")));
}

static void c14_the_virtual_system_type_is_exact(void **state)
{
	struct told t =
	    queried("SELECT * FROM Msvm_VirtualSystemSettingData WHERE "
		    "VirtualSystemType = 'Microsoft:Hyper-V:System:Realized'");

	assert_int_equal(t.count, 3);
	assert_string_equal(text_of(t.list[2], "VirtualSystemType"),
			    "Microsoft:Hyper-V:System:Realized");
	t = queried("SELECT * FROM Msvm_VirtualSystemSettingData WHERE "
		    "VirtualSystemIdentifier = '" BETA "'");
	assert_int_equal(t.count, 1);
	assert_string_equal(scene->asked_uuid,
			    "0a1b2c3d-0000-4000-8000-00000000000b");
	t = queried("SELECT * FROM Msvm_VirtualSystemSettingData WHERE "
		    "VirtualSystemIdentifier = '" BETA
		    "' AND InstanceID = 'Microsoft:" ALPHA "'");
	assert_int_equal(t.count, 0);
}

static void an_export_starts_from_defaults(void **state)
{
	struct told t = enumerated("Msvm_VirtualSystemExportSettingData");

	assert_int_equal(t.count, 3);
	assert_sound(&t);
	assert_int_equal(number_of(t.list[0], "CopySnapshotConfiguration"), 0);
	assert_true(cim_true(cim_instance_get(t.list[0], "CopyVmStorage")));
	assert_true(
	    cim_instance_get(t.list[0], "DifferentialBackupBase")->is_null);
}

static void a_disk_says_where_its_image_is(void **state)
{
	struct told t = enumerated("Msvm_StorageAllocationSettingData");

	assert_int_equal(t.count, 4);
	assert_sound(&t);
	assert_string_equal(text_of(t.list[0], "InstanceID"), DISK(ALPHA, 0));
	assert_string_equal(item_of(t.list[0], "HostResource", 0),
			    "/images/a \xc3\xa9.raw");
	assert_string_equal(item_of(t.list[0], "HostResource", 1), "(none)");
	assert_string_equal(text_of(t.list[0], "Address"), "vda");
	assert_string_equal(text_of(t.list[0], "AddressOnParent"), "0");
	assert_int_equal(number_of(t.list[0], "ResourceType"), 31);
	assert_string_equal(text_of(t.list[0], "ResourceSubType"),
			    "Microsoft:Hyper-V:Virtual Hard Disk");
	assert_int_equal(number_of(t.list[0], "VirtualQuantity") *
			     number_of(t.list[0], "VirtualResourceBlockSize"),
			 GIB(8));
	/* Not known is not zero. */
	assert_string_equal(text_of(t.list[1], "InstanceID"), DISK(ALPHA, 1));
	assert_true(cim_instance_get(t.list[1], "VirtualQuantity")->is_null);
	assert_int_equal(number_of(t.list[3], "Limit"), 1);
}

static void c8_a_disk_is_found_by_its_id_with_doubled_backslashes(void **state)
{
	struct told t = queried(
	    "SELECT * FROM Msvm_StorageAllocationSettingData WHERE InstanceID="
	    "'Microsoft:" ALPHA
	    "\\\\5A6E1F5C-0D4B-4B7B-9C7E-3C1B0E6D2A41\\\\0\\\\1\\\\L'");

	assert_int_equal(t.count, 1);
	assert_string_equal(item_of(t.list[0], "HostResource", 0),
			    "/images/b.raw");
	assert_string_equal(scene->asked_uuid,
			    "0a1b2c3d-0000-4000-8000-00000000000a");
	scene->asked = 0;
	t = queried("SELECT * FROM Msvm_StorageAllocationSettingData WHERE "
		    "InstanceID = 'Microsoft:" ALPHA "'");
	assert_int_equal(t.count, 0);
	assert_int_equal(scene->asked, 0);
	t = queried("SELECT * FROM Msvm_StorageAllocationSettingData WHERE "
		    "InstanceID LIKE 'Microsoft:" ALPHA "%'");
	assert_int_equal(t.count, 2);
}

/* ---- points ----------------------------------------------------------------
 */

static void a_point_says_what_it_is(void **state)
{
	struct told t = enumerated("Msvm_VirtualSystemReferencePoint");

	assert_int_equal(t.count, 8);
	assert_sound(&t);
	assert_string_equal(text_of(t.list[0], "InstanceID"), POINT(01));
	assert_string_equal(text_of(t.list[0], "VirtualSystemIdentifier"),
			    ALPHA);
	assert_int_equal(number_of(t.list[0], "ReferencePointType"), 2);
	assert_int_equal(number_of(t.list[0], "ConsistencyLevel"), 2);
	assert_string_equal(text_of(t.list[0], "ElementName"), "(none)");
	assert_string_equal(text_of(t.list[0], "Description"),
			    "Made 2026-01-02T03:04:05.000000001Z");
	assert_string_equal(text_of(t.list[1], "ElementName"), "nightly");
	assert_int_equal(number_of(t.list[1], "ConsistencyLevel"), 1);
	assert_int_equal(number_of(t.list[2], "ReferencePointType"), 1);
	assert_true(cim_true(cim_instance_get(t.list[2], "HasAssociatedData")));
	assert_false(
	    cim_true(cim_instance_get(t.list[3], "HasAssociatedData")));
	/* Told in three pieces. */
	assert_string_equal(text_of(t.list[7], "InstanceID"), POINT(15));
	assert_string_equal(text_of(t.list[7], "VirtualSystemIdentifier"),
			    GAMMA);
}

static void c7_disks_and_tracking_ids_stand_side_by_side(void **state)
{
	struct told t = enumerated("Msvm_VirtualSystemReferencePoint");
	const struct cim_instance *p;

	for (size_t i = 0; i < t.count; i++) {
		p = t.list[i];
		if (number_of(p, "ReferencePointType") == 1)
			continue; /* by its log: test-points.c */
		assert_int_equal(
		    cim_instance_get(p, "VirtualDiskIdentifiers")->count,
		    cim_instance_get(p, "ResilientChangeTrackingIdentifiers")
			->count);
		assert_string_not_equal(
		    item_of(p, "ResilientChangeTrackingIdentifiers", 0), "");
	}
	p = t.list[0];
	assert_string_equal(item_of(p, "VirtualDiskIdentifiers", 0),
			    DISK(ALPHA, 0));
	assert_string_equal(item_of(p, "VirtualDiskIdentifiers", 1),
			    DISK(ALPHA, 1));
	assert_string_equal(item_of(p, "ResilientChangeTrackingIdentifiers", 1),
			    "rctX:1b");
	/* By the disk's name, not by its place; one that is gone resolves to
	 * none. */
	p = t.list[1];
	assert_string_equal(item_of(p, "VirtualDiskIdentifiers", 0),
			    DISK(ALPHA, 1));
	assert_string_equal(item_of(p, "ResilientChangeTrackingIdentifiers", 0),
			    "rctX:2b");
	assert_string_equal(item_of(p, "VirtualDiskIdentifiers", 1),
			    DISK(ALPHA, 3));
}

static void c15_points_are_filtered_by_system_and_by_id(void **state)
{
	struct told t =
	    queried("SELECT * FROM Msvm_VirtualSystemReferencePoint WHERE "
		    "VirtualSystemIdentifier='" GAMMA "'");

	assert_int_equal(t.count, 5);
	assert_string_equal(scene->asked_uuid,
			    "0a1b2c3d-0000-4000-8000-00000000000c");
	t = queried("SELECT * FROM Msvm_VirtualSystemReferencePoint WHERE "
		    "InstanceID='fedc0000-0000-4000-8000-000000000012'");
	assert_int_equal(t.count, 1);
	assert_string_equal(text_of(t.list[0], "InstanceID"), POINT(12));
	t = queried(
	    "SELECT * FROM Msvm_VirtualSystemReferencePoint WHERE "
	    "InstanceID='" POINT(12) "' AND VirtualSystemIdentifier='" //
	    ALPHA "'");
	assert_int_equal(t.count, 0);
	t = queried("SELECT * FROM Msvm_VirtualSystemReferencePoint WHERE "
		    "VirtualSystemIdentifier='x' OR ConsistencyLevel=1");
	assert_int_equal(t.count, 1);
	scene->asked = 0;
	t = queried("SELECT * FROM Msvm_VirtualSystemReferencePoint WHERE "
		    "VirtualSystemIdentifier='x'");
	assert_int_equal(t.count, 0);
	assert_int_equal(scene->asked, 0);
}

static void deleting_a_point_destroys_it(void **state)
{
	struct err err = {0};

	assert_int_equal(broker_delete(scene->broker, &scene->request,
				       parsed(POINT_PATH(ALPHA, 02)), &err),
			 0);
	assert_string_equal(scene->destroyed, "alpha " POINT(02) " somebody");
	assert_int_equal(broker_delete(scene->broker, &scene->request,
				       parsed(POINT_PATH(ALPHA, 11)), &err),
			 -CIM_ENOTFOUND);
	/* refpointd's refusal comes through. */
	assert_int_equal(broker_delete(scene->broker, &scene->request,
				       parsed(POINT_PATH(GAMMA, 11)), &err),
			 -RP_EINUSE);
	assert_non_null(strstr(err.text, "a query reads it"));
	assert_int_equal(broker_delete(scene->broker, &scene->request,
				       parsed(SYSTEM_PATH(ALPHA)), &err),
			 -CIM_ENOTSUPPORTED);
	scene->request.role = CIM_ROLE_READER;
	assert_int_equal(broker_delete(scene->broker, &scene->request,
				       parsed(POINT_PATH(ALPHA, 02)), &err),
			 -CIM_EACCESS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    SCENE(computers_are_the_host_and_the_virtual_systems),
	    SCENE(a_systems_state_is_that_of_its_writer_and_worker),
	    SCENE(a_driver_finds_systems_by_state_and_name),
	    SCENE(a_name_narrows_what_refpointd_is_asked),
	    SCENE(superclasses_find_the_systems_too),
	    SCENE(what_is_not_there_is_not_found),
	    SCENE(a_system_has_one_configuration),
	    SCENE(c14_the_virtual_system_type_is_exact),
	    SCENE(an_export_starts_from_defaults),
	    SCENE(a_disk_says_where_its_image_is),
	    SCENE(c8_a_disk_is_found_by_its_id_with_doubled_backslashes),
	    SCENE(a_point_says_what_it_is),
	    SCENE(c7_disks_and_tracking_ids_stand_side_by_side),
	    SCENE(c15_points_are_filtered_by_system_and_by_id),
	    SCENE(deleting_a_point_destroys_it),
	};

	return cmocka_run_group_tests_name("systems", tests, NULL, NULL);
}
