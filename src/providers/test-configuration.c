/* SPDX-License-Identifier: Apache-2.0 */
/* What clients change of the configuration of a system or of a snapshot. */
#include "providers/test-scene.h"

#define SERVICE_OF(class, name)                                                \
	class ".CreationClassName=\"" class                                    \
	    "\",Name=\"" name                                                  \
	    "\",SystemCreationClassName=\"Msvm_ComputerSystem\","              \
	    "SystemName=\"hv\""
#define SNAPSHOTS  SERVICE_OF("Msvm_VirtualSystemSnapshotService", "vssnapsvc")
#define MANAGEMENT SERVICE_OF("Msvm_VirtualSystemManagementService", "vmms")
#define NEW(n)     "B0000000-0000-4000-8000-00000000000" #n
#define IN_TEXT(class, properties)                                             \
	"<INSTANCE CLASSNAME='" class "'>" properties "</INSTANCE>"
#define PROPERTY(name, type, value)                                            \
	"<PROPERTY NAME='" name "' TYPE='" type "'><VALUE>" value              \
	"</VALUE></PROPERTY>"

static struct cim_arguments out;

/* A snapshot of alpha, NEW(1). */
static void take(void)
{
	assert_int_equal(CALL(SNAPSHOTS, "CreateSnapshot", &out,
			      {"AffectedSystem", .path = SYSTEM_PATH(ALPHA)},
			      {"SnapshotType", .number = 32768}),
			 4096);
}

#define ID(id)     PROPERTY("InstanceID", "string", "Microsoft:" id)
#define NAME(name) PROPERTY("ElementName", "string", name)

static uint64_t modify(const char *settings)
{
	return CALL(MANAGEMENT, "ModifySystemSettings", &out,
		    {"SystemSettings", .instance = settings});
}

#define CHANGE(properties) IN_TEXT("Msvm_VirtualSystemSettingData", properties)

static void a_snapshot_is_renamed(void **state)
{
	take();
	assert_int_equal(modify(CHANGE(ID(NEW(1)) NAME("Bareos JobId 7"))), 0);
	assert_string_equal(scene->work.asked,
			    "Rename {\"label\": \"Bareos JobId 7\", "
			    "\"snapshot\": \"" NEW(1) "\", \"vm\": "
						      "\"alpha\"}");
	scene->work.asked[0] = '\0';
	/* as it is, with what clients echo */
	assert_int_equal(
	    modify(
		CHANGE(ID(NEW(1)) NAME("alpha - Backup - (2026-01-05 00:00:00)")
			   PROPERTY("Caption", "string", "whatever")
			       PROPERTY("VirtualSystemType", "string", "else")
				   PROPERTY("IncrementalBackupEnabled",
					    "boolean", "TRUE"))),
	    0);
	assert_string_equal(scene->work.asked, "");
	scene->work.refuse = RP_EPARAM;
	assert_int_equal(modify(CHANGE(ID(NEW(1)) NAME("x"))), 4);
}

static void incremental_backups_are_always_enabled(void **state)
{
#define ENABLED(how) PROPERTY("IncrementalBackupEnabled", "boolean", how)
	assert_int_equal(modify(CHANGE(ID(ALPHA) ENABLED("TRUE"))), 0);
	assert_int_equal(modify(CHANGE(ID(ALPHA) ENABLED("FALSE"))), 1);
	assert_int_equal(modify(CHANGE(ID(ALPHA) NAME("alpha"))), 0);
	assert_string_equal(scene->work.asked, "");
}

static void nothing_else_is_changed(void **state)
{
	take();
	scene->work.asked[0] = '\0';
	assert_int_equal(modify(CHANGE(ID(ALPHA) NAME("omega"))), 1);
	assert_int_equal(modify(CHANGE(ID(NEW(1)) NAME(
			     "x") PROPERTY("BIOSNumLock", "boolean", "TRUE"))),
			 1);
	assert_int_equal(modify(CHANGE(ID(ALPHA) PROPERTY(
			     "AutomaticStartupAction", "uint16", "4"))),
			 1);
	assert_int_equal(modify(CHANGE(NAME("x"))), 4);
	assert_int_equal(modify(CHANGE(ID(NEW(7)) NAME("x"))), 4);
	assert_int_equal(
	    modify(CHANGE(PROPERTY("InstanceID", "string", "x") NAME("y"))), 4);
	assert_int_equal(modify(IN_TEXT("Msvm_Error", "")), 4);
	assert_string_equal(scene->work.asked, "");
}

static uint64_t merging(const char *properties)
{
	return CALL(MANAGEMENT, "ModifyDiskMergeSettings", &out,
		    {"SettingData", .instance = properties});
}

static void merging_is_switched_without_effect(void **state)
{
#define MERGE(properties) IN_TEXT("Msvm_DiskMergeSettingData", properties)
#define STATE(n)          PROPERTY("EnabledState", "uint32", #n)
	assert_int_equal(merging(MERGE(STATE(0))), 0);
	assert_int_equal(merging(MERGE(ID(ALPHA) STATE(1))), 0);
	assert_int_equal(merging(MERGE(STATE(2))), 32773);
	assert_int_equal(merging(MERGE("")), 32773);
	assert_int_equal(merging(CHANGE("")), 32773);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    SCENE(a_snapshot_is_renamed),
	    SCENE(incremental_backups_are_always_enabled),
	    SCENE(nothing_else_is_changed),
	    SCENE(merging_is_switched_without_effect),
	};

	return cmocka_run_group_tests_name("configuration", tests, NULL, NULL);
}
