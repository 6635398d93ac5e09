/* SPDX-License-Identifier: Apache-2.0 */
/* Objects' names, there and back, in all the ways that clients write them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "cim/arena.h"
#include "common/bytes.h"
#include "providers/identity.h"

#define UUID       "0A1B2C3D-0000-4000-8000-00000000ABCD"
#define LOWER_UUID "0a1b2c3d-0000-4000-8000-00000000abcd"
#define POINT      "FEDC0000-0000-4000-8000-000000000001"

static struct arena *arena;

static int set_up(void **state)
{
	arena = arena_new(KIB(64));
	return arena ? 0 : -1;
}

static int tear_down(void **state)
{
	arena_free(arena);
	return 0;
}

static const struct cim_path *parsed(const char *text)
{
	const struct cim_path *path = NULL;

	assert_int_equal(cim_path_parse(arena, text, &path, NULL), 0);
	return path;
}

static const struct {
	struct identity identity;
	const char *path;
} samples[] = {
    {{.kind = IDENTITY_HOST},
     "\\\\HOST\\root\\virtualization\\v2:Msvm_ComputerSystem."
     "Name=\"hv\",CreationClassName=\"Msvm_ComputerSystem\""},
    {{.kind = IDENTITY_SYSTEM, .uuid = UUID},
     "\\\\HOST\\root\\virtualization\\v2:Msvm_ComputerSystem."
     "Name=\"" UUID "\",CreationClassName=\"Msvm_ComputerSystem\""},
    {{.kind = IDENTITY_SERVICE, .index = 1},
     "\\\\HOST\\root\\virtualization\\v2:Msvm_VirtualSystemSnapshotService."
     "Name=\"vssnapsvc\",SystemCreationClassName=\"Msvm_ComputerSystem\","
     "SystemName=\"hv\","
     "CreationClassName=\"Msvm_VirtualSystemSnapshotService\""},
    {{.kind = IDENTITY_SETTINGS, .uuid = UUID},
     "\\\\HOST\\root\\virtualization\\v2:Msvm_VirtualSystemSettingData."
     "InstanceID=\"Microsoft:" UUID "\""},
    {{.kind = IDENTITY_EXPORT, .uuid = UUID},
     "\\\\HOST\\root\\virtualization\\v2:Msvm_VirtualSystemExportSettingData."
     "InstanceID=\"Microsoft:" UUID "\\\\Export\""},
    {{.kind = IDENTITY_DISK, .uuid = UUID, .index = 12},
     "\\\\HOST\\root\\virtualization\\v2:Msvm_StorageAllocationSettingData."
     "InstanceID=\"Microsoft:" UUID "\\\\" DISK_CONTROLLER
     "\\\\0\\\\12\\\\L\""},
    {{.kind = IDENTITY_POINT, .uuid = UUID, .id = POINT},
     "\\\\HOST\\root\\virtualization\\v2:Msvm_VirtualSystemReferencePoint."
     "InstanceID=\"" POINT "\",VirtualSystemIdentifier=\"" UUID "\""},
    {{.kind = IDENTITY_JOB, .id = POINT},
     "\\\\HOST\\root\\virtualization\\v2:Msvm_ConcreteJob."
     "InstanceID=\"" POINT "\""},
};

static void every_object_has_a_path_that_leads_back(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		const struct cim_path *path = NULL, *bound = NULL;
		struct identity back;
		const char *text;

		assert_int_equal(
		    identity_path(arena, &samples[i].identity, "hv", "HOST",
				  "root/virtualization/v2", &path, NULL),
		    0);
		assert_int_equal(cim_path_format(arena, path, &text, NULL), 0);
		assert_string_equal(text, samples[i].path);
		/* The schema agrees. */
		assert_int_equal(
		    cim_path_bind(arena, path,
				  schema_find_class(NULL, path->class_name),
				  &bound, NULL),
		    0);
		assert_true(identity_of_path(bound, "HV", &back));
		assert_memory_equal(&back, &samples[i].identity, sizeof(back));
	}
}

static void names_are_read_in_either_case(void **state)
{
	static const char *const texts[] = {
	    "CIM_ComputerSystem.creationclassname=\"msvm_computersystem\","
	    "NAME=\"" LOWER_UUID "\"",
	    "cim_settingdata.InstanceID=\"microsoft:" LOWER_UUID "\"",
	    "CIM_ManagedElement.InstanceID=\"" LOWER_UUID "\","
	    "VirtualSystemIdentifier=\"" LOWER_UUID "\"",
	    "Msvm_VirtualSystemExportSettingData=\"Microsoft:" LOWER_UUID
	    "\\\\\\\\Export\"",
	    "Msvm_StorageAllocationSettingData=\"Microsoft:" LOWER_UUID
	    "\\\\\\\\" DISK_CONTROLLER "\\\\\\\\0\\\\\\\\0\\\\\\\\L\"",
	    "Msvm_StorageAllocationSettingData=\"MICROSOFT:" LOWER_UUID
	    "\\\\5a6e1f5c-0d4b-4b7b-9c7e-3c1b0e6d2a41\\\\0\\\\0\\\\l\"",
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct identity own;

		assert_true(identity_of_path(parsed(texts[i]), "hv", &own));
		assert_string_equal(own.uuid, UUID);
	}
}

static void what_names_nothing_of_ours_is_told_apart(void **state)
{
	static const char *const texts[] = {
	    "Msvm_ComputerSystem",
	    "Msvm_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\","
	    "Name=\"other\"",
	    "Msvm_ComputerSystem.CreationClassName=\"CIM_ComputerSystem\","
	    "Name=\"" UUID "\"",
	    "Msvm_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\","
	    "Nome=\"" UUID "\"",
	    "Msvm_ConcreteJob.InstanceID=\"Microsoft:" UUID "\"",
	    "Msvm_StorageAllocationSettingData.InstanceID=\"Microsoft:" UUID
	    "\"",
	    "Msvm_VirtualSystemSettingData.InstanceID=\"Microsoft:" UUID " \"",
	    "Msvm_VirtualSystemSettingData.InstanceID=\"Microsoft:" UUID
	    "\\\\Exports\"",
	    "Msvm_VirtualSystemSettingData.InstanceID=\"Microsoft:0A\"",
	    "Msvm_VirtualSystemSettingData.InstanceID=\"" UUID "\"",
	    "Msvm_StorageAllocationSettingData.InstanceID=\"Microsoft:" UUID
	    "\\\\" DISK_CONTROLLER "\\\\0\\\\00\\\\L\"",
	    "Msvm_StorageAllocationSettingData.InstanceID=\"Microsoft:" UUID
	    "\\\\" DISK_CONTROLLER "\\\\0\\\\99999\\\\L\"",
	    "Msvm_StorageAllocationSettingData.InstanceID=\"Microsoft:" UUID
	    "\\\\" DISK_CONTROLLER "\\\\0\\\\1\"",
	    "Msvm_VirtualSystemSnapshotService.SystemCreationClassName="
	    "\"Msvm_ComputerSystem\",SystemName=\"hv\",CreationClassName="
	    "\"Msvm_VirtualSystemSnapshotService\",Name=\"vmms\"",
	    "Msvm_VirtualSystemSnapshotService.SystemCreationClassName="
	    "\"Msvm_ComputerSystem\",SystemName=\"other\",CreationClassName="
	    "\"Msvm_VirtualSystemSnapshotService\",Name=\"vssnapsvc\"",
	    "No_Class.InstanceID=\"" UUID "\"",
	    "Msvm_ConcreteJob.InstanceID=7",
	    "Msvm_ConcreteJob.InstanceID=\"\"",
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct identity own;

		if (identity_of_path(parsed(texts[i]), "hv", &own))
			fail_msg("%s names something", texts[i]);
	}
}

static void memory_that_runs_out_makes_no_path(void **state)
{
	for (size_t left = 0; left < 2048; left += 16)
		for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
			struct arena *small = arena_new(left);
			const struct cim_path *path = NULL;
			int r = identity_path(small, &samples[i].identity, "hv",
					      "HOST", "ns", &path, NULL);

			assert_true(r == 0 ? path->keys[0].text != NULL
					   : path == NULL);
			arena_free(small);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_object_has_a_path_that_leads_back),
	    cmocka_unit_test(names_are_read_in_either_case),
	    cmocka_unit_test(what_names_nothing_of_ours_is_told_apart),
	    cmocka_unit_test(memory_that_runs_out_makes_no_path),
	};

	return cmocka_run_group_tests_name("identity", tests, set_up,
					   tear_down);
}
