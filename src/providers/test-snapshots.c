/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots from their making to their end, and what they lead to. */
#include "providers/test-scene.h"

#define SERVICE_OF(class, name)                                                \
	class ".CreationClassName=\"" class                                    \
	    "\",Name=\"" name                                                  \
	    "\",SystemCreationClassName=\"Msvm_ComputerSystem\","              \
	    "SystemName=\"hv\""
#define SNAPSHOTS SERVICE_OF("Msvm_VirtualSystemSnapshotService", "vssnapsvc")
#define IMAGES    SERVICE_OF("Msvm_ImageManagementService", "imgsvc")
#define SETTINGS(id)                                                           \
	"Msvm_VirtualSystemSettingData.InstanceID=\"Microsoft:" id "\""
#define JOB_PATH(n)                                                            \
	"Msvm_ConcreteJob.InstanceID=\"A0000000-0000-4000-8000-00000000000" #n \
	"\""
#define NEW(n)    "B0000000-0000-4000-8000-00000000000" #n
#define LOWER(n)  "b0000000-0000-4000-8000-00000000000" #n
#define URI(disk) "nbd+unix:///" disk "?socket=/run/" LOWER(1) ".sock"
#define RECOVERY  "Microsoft:Hyper-V:Snapshot:Recovery"
#define IN_TEXT(class, properties)                                             \
	"<INSTANCE CLASSNAME='" class "'>" properties "</INSTANCE>"
#define PROPERTY(name, type, value)                                            \
	"<PROPERTY NAME='" name "' TYPE='" type "'><VALUE>" value              \
	"</VALUE></PROPERTY>"
#define LEVEL(n) PROPERTY("ConsistencyLevel", "uint8", #n)
#define HOW(properties)                                                        \
	IN_TEXT("Msvm_VirtualSystemSnapshotSettingData", properties)

static struct cim_arguments out;

/* CreateSnapshot of alpha. */
static uint64_t take(unsigned type, const char *settings)
{
	return CALL(SNAPSHOTS, "CreateSnapshot", &out,
		    {"AffectedSystem", .path = SYSTEM_PATH(ALPHA)},
		    {"SnapshotSettings", .instance = settings},
		    {"SnapshotType", .number = type});
}

static uint64_t of_snapshot(const char *method, const char *settings)
{
	return CALL(SNAPSHOTS, method, &out,
		    {"AffectedSnapshot", .path = settings});
}

static struct told associated(const char *path, const char *assoc,
			      const char *result)
{
	const struct cim_walk walk = {.assoc_class = assoc,
				      .result_class = result};

	return walked(path, &walk);
}

/* ---- making one ------------------------------------------------------------
 */

static void C2_a_snapshot_comes_with_a_job(void **state)
{
	assert_int_equal(take(32768, NULL), 4096);
	assert_string_equal(out_path(&out, "Job"), JOB_PATH(1));
	assert_string_equal(out_path(&out, "ResultingSnapshot"),
			    SETTINGS(NEW(1)));
	assert_string_equal(scene->work.asked,
			    "SnapshotJob {\"consistency\": \"crash\", "
			    "\"label\": \"\", \"vm\": \"alpha\"}");
	scene->work.running = true;
	assert_int_equal(take(32768, NULL), 4096);
	assert_string_equal(out_path(&out, "ResultingSnapshot"), "");
	assert_int_equal(number_of(got(JOB_PATH(2)), "JobType"), 70);
	assert_int_equal(number_of(got(JOB_PATH(2)), "JobState"), 4);
}

static void its_settings_say_how_it_is_taken(void **state)
{
	static const struct {
		const char *settings, *asked;
	} cases[] = {
	    {HOW(""), "{\"consistency\": \"crash\", \"label\": \"\""},
	    {HOW(LEVEL(0)), "{\"consistency\": \"crash\", \"label\": \"\""},
	    {HOW(LEVEL(2) PROPERTY("GuestBackupType", "uint8", "1") PROPERTY(
		 "IgnoreNonSnapshottableDisks", "boolean", "TRUE")),
	     "{\"consistency\": \"crash\", \"label\": \"\""},
	    {HOW(LEVEL(1) PROPERTY("ElementName", "string", "night")),
	     "{\"consistency\": \"application\", \"label\": \"night\""}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(take(32768, cases[i].settings), 4096);
		assert_non_null(strstr(scene->work.asked, cases[i].asked));
	}
	scene->work.asked[0] = '\0';
	assert_int_equal(take(32768, HOW(LEVEL(3))), 4);
	assert_int_equal(
	    take(32768, HOW(PROPERTY("GuestBackupType", "uint8", "3"))), 4);
	assert_int_equal(take(32768, IN_TEXT("Msvm_Error", "")), 4);
	assert_string_equal(scene->work.asked, "");
}

static void only_recovery_snapshots_are_taken(void **state)
{
	static const struct {
		unsigned type, result;
	} cases[] = {{2, 1},     {3, 1},     {0, 6},    {4, 6},
		     {32767, 6}, {32769, 6}, {65535, 6}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(take(cases[i].type, NULL), cases[i].result);
	assert_string_equal(scene->work.asked, "");
	assert_int_equal(CALL(SNAPSHOTS, "CreateSnapshot", &out,
			      {"AffectedSystem", .path = SYSTEM_PATH(ALPHA)}),
			 4);
	assert_int_equal(CALL(SNAPSHOTS, "CreateSnapshot", &out,
			      {"AffectedSystem", .path = SETTINGS(ALPHA)},
			      {"SnapshotType", .number = 32768}),
			 4);
	assert_int_equal(CALL(SNAPSHOTS, "CreateSnapshot", &out,
			      {"AffectedSystem", .path = SYSTEM_PATH(NEW(9))},
			      {"SnapshotType", .number = 32768}),
			 4);
	assert_string_equal(scene->work.asked, "");
}

static void what_refpointd_refuses_is_a_number(void **state)
{
	static const struct {
		int code;
		unsigned result;
	} cases[] = {{RP_ESTATE, 5}, {RP_EUNSUPPORTED, 1}, {RP_ETIMEOUT, 3}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		scene->work.refuse = cases[i].code;
		assert_int_equal(take(32768, NULL), cases[i].result);
		assert_string_equal(out_path(&out, "Job"), "");
	}
}

static void C12_one_that_failed_says_why(void **state)
{
	scene->work.fail = RP_ENOROOM;
	assert_int_equal(take(32768, NULL), 4096);
	assert_int_equal(number_of(got(JOB_PATH(1)), "JobState"), 10);
	assert_int_equal(number_of(got(JOB_PATH(1)), "ErrorCode"), 2);
	assert_string_equal(text_of(got(JOB_PATH(1)), "ErrorDescription"),
			    "the fake failed");
	assert_int_equal(
	    associated(JOB_PATH(1), "CIM_AffectedJobElement", NULL).count, 0);
}

/* ---- what it is ------------------------------------------------------------
 */

static void a_snapshot_is_a_configuration(void **state)
{
	const struct cim_instance *s;
	struct told t;

	assert_null(got(SETTINGS(NEW(1))));
	(void)take(32768, NULL);
	s = got(SETTINGS(NEW(1)));
	assert_non_null(s);
	assert_string_equal(text_of(s, "InstanceID"), "Microsoft:" NEW(1));
	assert_string_equal(text_of(s, "VirtualSystemIdentifier"), ALPHA);
	assert_string_equal(text_of(s, "VirtualSystemType"), RECOVERY);
	assert_string_equal(text_of(s, "ElementName"),
			    "alpha - Backup - (2026-01-05 00:00:00)");
	assert_string_equal(cim_text(cim_instance_get(s, "CreationTime")),
			    "20260105000000.000000+000");
	assert_string_equal(text_of(s, "ConfigurationID"), NEW(1));
	assert_string_equal(text_of(s, "ConfigurationDataRoot"),
			    "/srv/lib/vms/alpha");
	assert_true(cim_true(cim_instance_get(s, "IncrementalBackupEnabled")));
	t = enumerated("Msvm_VirtualSystemSettingData");
	assert_int_equal(t.count, 4);
	assert_sound(&t);
	assert_true(
	    cim_instance_get(got(SETTINGS(ALPHA)), "CreationTime")->is_null);
}

static json_t *first_snapshot(void)
{
	return json_array_get(
	    json_object_get(json_array_get(scene->systems, 0), "snapshots"), 0);
}

static void one_that_is_of_no_use_says_so(void **state)
{
	(void)take(32768, NULL);
	(void)json_object_set_new(first_snapshot(), "label",
				  json_string("mine"));
	(void)json_object_set_new(first_snapshot(), "state",
				  json_string("invalid"));
	(void)json_object_set_new(first_snapshot(), "reason",
				  json_string("no room"));
	assert_string_equal(text_of(got(SETTINGS(NEW(1))), "ElementName"),
			    "mine");
	assert_string_equal(text_of(got(SETTINGS(NEW(1))), "Description"),
			    "Recovery snapshot, of no use any more: no room");
}

/* It is never where the live disk is. */
static void a_snapshots_disks_are_read_from_it(void **state)
{
	struct told t;

	(void)take(32768, NULL);
	t = associated(SETTINGS(NEW(1)),
		       "Msvm_VirtualSystemSettingDataComponent", NULL);
	assert_int_equal(t.count, 2);
	assert_sound(&t);
	assert_string_equal(text_of(t.list[0], "InstanceID"), DISK(NEW(1), 0));
	assert_string_equal(item_of(t.list[0], "HostResource", 0), URI("vda"));
	assert_string_equal(item_of(t.list[1], "HostResource", 0), URI("vdb"));
	assert_int_equal(number_of(t.list[0], "VirtualQuantity"),
			 (1 << 30) / 512);
	assert_int_equal(number_of(t.list[0], "Access"), 1);
	assert_int_equal(enumerated("Msvm_StorageAllocationSettingData").count,
			 6);
	t = associated(SETTINGS(ALPHA), NULL,
		       "Msvm_StorageAllocationSettingData");
	assert_int_equal(t.count, 2);
	assert_string_equal(item_of(t.list[1], "HostResource", 0),
			    "/images/b.raw");
	assert_int_equal(number_of(t.list[1], "Access"), 3);
	/* while nobody serves it */
	(void)json_object_set_new(
	    json_array_get(json_object_get(first_snapshot(), "disks"), 1),
	    "nbd_uri", json_null());
	t = queried(
	    "SELECT * FROM Msvm_StorageAllocationSettingData WHERE "
	    "InstanceID='Microsoft:" NEW(
		1) "\\\\5A6E1F5C-0D4B-4B7B-9C7E-3C1B0E6D2A41\\\\0\\\\1\\\\L'");
	assert_int_equal(t.count, 1);
	assert_true(cim_instance_get(t.list[0], "HostResource")->is_null);
}

static void C9_disks_come_in_the_order_of_a_points(void **state)
{
	const struct cim_instance *point;
	struct told t;

	(void)take(32768, NULL);
	/* one disk was taken away and defined anew since: others are behind it
	 */
	(void)json_array_append(
	    json_object_get(first_snapshot(), "disks"),
	    json_array_get(json_object_get(first_snapshot(), "disks"), 0));
	(void)json_array_remove(json_object_get(first_snapshot(), "disks"), 0);
	t = associated(SETTINGS(NEW(1)), NULL,
		       "CIM_ResourceAllocationSettingData");
	assert_string_equal(text_of(t.list[0], "InstanceID"), DISK(NEW(1), 1));
	point = got(POINT_PATH(ALPHA, 02));
	assert_string_equal(item_of(point, "VirtualDiskIdentifiers", 0),
			    DISK(ALPHA, 1));
}

static void C14_filters_find_snapshots(void **state)
{
	static const char select[] =
	    "SELECT * FROM Msvm_VirtualSystemSettingData WHERE ";
	static const struct {
		const char *where;
		size_t count;
	} cases[] = {
	    {"VirtualSystemType='" RECOVERY "'", 1},
	    {"VirtualSystemType='Microsoft:Hyper-V:System:Realized'", 3},
	    {"VirtualSystemType='Microsoft:Hyper-V:Snapshot:Realized'", 0},
	    {"VirtualSystemIdentifier='" ALPHA "'", 2},
	    {"VirtualSystemIdentifier='" BETA "'", 1},
	    {"VirtualSystemIdentifier='" ALPHA
	     "' AND VirtualSystemType='" RECOVERY "'",
	     1},
	    {"InstanceID='Microsoft:" NEW(1) "'", 1},
	    {"InstanceID='microsoft:" LOWER(
		 1) "' AND VirtualSystemIdentifier='" ALPHA "'",
	     1},
	    {"InstanceID='Microsoft:" NEW(
		 1) "' AND VirtualSystemIdentifier='" BETA "'",
	     0},
	    {"InstanceID='Microsoft:" NEW(2) "'", 0}};
	char text[256];

	(void)take(32768, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		(void)snprintf(text, sizeof(text), "%s%s", select,
			       cases[i].where);
		assert_int_equal(queried(text).count, cases[i].count);
	}
}

/* ---- what it belongs to ----------------------------------------------------
 */

static void a_system_has_its_snapshots(void **state)
{
	struct told t;

	(void)take(32768, NULL);
	(void)take(32768, NULL);
	t = associated(SYSTEM_PATH(ALPHA), "Msvm_SnapshotOfVirtualSystem",
		       NULL);
	assert_int_equal(t.count, 2);
	assert_sound(&t);
	assert_string_equal(text_of(t.list[0], "ConfigurationID"), NEW(1));
	t = associated(SYSTEM_PATH(ALPHA), "CIM_SnapshotOfVirtualSystem",
		       "CIM_VirtualSystemSettingData");
	assert_int_equal(t.count, 2);
	t = associated(SETTINGS(NEW(1)), "Msvm_SnapshotOfVirtualSystem", NULL);
	assert_int_equal(t.count, 1);
	assert_string_equal(text_of(t.list[0], "Name"), ALPHA);
	t = associated(SYSTEM_PATH(ALPHA), "Msvm_MostCurrentSnapshotInBranch",
		       NULL);
	assert_int_equal(t.count, 1);
	assert_string_equal(text_of(t.list[0], "ConfigurationID"), NEW(2));
	t = associated(SETTINGS(NEW(1)), "Msvm_MostCurrentSnapshotInBranch",
		       NULL);
	assert_int_equal(t.count, 0);
	assert_int_equal(associated(SETTINGS(ALPHA),
				    "Msvm_SnapshotOfVirtualSystem", NULL)
			     .count,
			 0);
	assert_int_equal(associated(SETTINGS(NEW(1)),
				    "Msvm_SettingsDefineState", NULL)
			     .count,
			 0);
	assert_int_equal(associated(SYSTEM_PATH(ALPHA),
				    "Msvm_SettingsDefineState", NULL)
			     .count,
			 1);
	assert_int_equal(associated(SYSTEM_PATH(BETA),
				    "Msvm_SnapshotOfVirtualSystem", NULL)
			     .count,
			 0);
}

static void its_links_can_be_got(void **state)
{
	static const char *const classes[] = {
	    "Msvm_SnapshotOfVirtualSystem", "Msvm_MostCurrentSnapshotInBranch",
	    "Msvm_VirtualSystemSettingDataComponent"};
	static const size_t counts[] = {2, 1, 8};

	(void)take(32768, NULL);
	(void)take(32768, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(classes); i++) {
		struct told t = enumerated(classes[i]);

		assert_int_equal(t.count, counts[i]);
		assert_sound(&t);
	}
	assert_null(got("Msvm_SnapshotOfVirtualSystem.Antecedent=\""
			"Msvm_ComputerSystem.CreationClassName=\\\"Msvm_"
			"ComputerSystem\\\",Name=\\\"" BETA
			"\\\"\",Dependent=\"Msvm_VirtualSystemSettingData."
			"InstanceID=\\\"Microsoft:" NEW(1) "\\\"\""));
}

/* Systems whose points come in several replies tell their snapshots in each. */
static void a_snapshot_is_told_once(void **state)
{
	assert_int_equal(CALL(SNAPSHOTS, "CreateSnapshot", &out,
			      {"AffectedSystem", .path = SYSTEM_PATH(GAMMA)},
			      {"SnapshotType", .number = 32768}),
			 4096);
	assert_int_equal(associated(SYSTEM_PATH(GAMMA),
				    "Msvm_SnapshotOfVirtualSystem", NULL)
			     .count,
			 1);
	assert_int_equal(enumerated("Msvm_VirtualSystemSettingData").count, 4);
	assert_int_equal(enumerated("Msvm_StorageAllocationSettingData").count,
			 5);
	assert_int_equal(enumerated("Msvm_SnapshotOfVirtualSystem").count, 1);
	assert_int_equal(
	    enumerated("Msvm_VirtualSystemSettingDataComponent").count, 5);
}

/* All are looked through for a snapshot once; then its own system is asked. */
static void a_snapshots_system_is_remembered(void **state)
{
	(void)take(32768, NULL);
	(void)got(SETTINGS(NEW(1)));
	scene->asked = 0;
	assert_non_null(got(SETTINGS(NEW(1))));
	assert_int_equal(scene->asked, 2);
	assert_string_equal(scene->asked_uuid,
			    "0a1b2c3d-0000-4000-8000-00000000000a");
	/* however many points it has */
	assert_true(scene->asked_snapshots && !scene->asked_points);
	scene->asked = 0;
	assert_non_null(got(SETTINGS(ALPHA)));
	assert_int_equal(scene->asked, 1);
	assert_false(scene->asked_points);
}

static void C3_a_job_leads_to_its_snapshot_alone(void **state)
{
	static const char *const assocs[] = {NULL, "CIM_AffectedJobElement",
					     "Msvm_AffectedJobElement"};
	static const char *const results[] = {"Msvm_VirtualSystemSettingData",
					      "CIM_VirtualSystemSettingData",
					      "CIM_SettingData"};
	struct told t;

	(void)take(32768, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(assocs); i++)
		for (size_t k = 0; k < ARRAY_SIZE(results); k++) {
			t = associated(JOB_PATH(1), assocs[i], results[k]);
			assert_int_equal(t.count, 1);
			assert_string_equal(text_of(t.list[0], "InstanceID"),
					    "Microsoft:" NEW(1));
		}
	t = enumerated("Msvm_AffectedJobElement");
	assert_int_equal(t.count, 1);
	assert_sound(&t);
	assert_int_equal(number_of(t.list[0], "ElementEffects"), 5);
	t = associated(SETTINGS(NEW(1)), "CIM_AffectedJobElement", NULL);
	assert_int_equal(t.count, 1);
	t = associated(JOB_PATH(1), "CIM_OwningJobElement", NULL);
	assert_string_equal(text_of(t.list[0], "Name"), "vssnapsvc");
}

/* ---- its end ---------------------------------------------------------------
 */

static void C5_a_snapshot_becomes_a_point(void **state)
{
	struct told t;

	(void)take(32768, NULL);
	assert_int_equal(
	    of_snapshot("ConvertToReferencePoint", SETTINGS(NEW(1))), 4096);
	assert_string_equal(scene->work.asked,
			    "ConvertJob {\"snapshot\": \"" NEW(
				1) "\", \"vm\": \"alpha\"}");
	assert_string_equal(out_path(&out, "ResultingReferencePoint"),
			    "Msvm_VirtualSystemReferencePoint."
			    "InstanceID=\"" NEW(
				1) "\",VirtualSystemIdentifier=\"" ALPHA "\"");
	assert_null(got(SETTINGS(NEW(1))));
	assert_int_equal(number_of(got(JOB_PATH(2)), "JobType"), 200);
	t = associated(JOB_PATH(2), "CIM_AffectedJobElement", NULL);
	assert_int_equal(t.count, 1);
	assert_string_equal(text_of(t.list[0], "InstanceID"), NEW(1));
	assert_int_equal(enumerated("Msvm_OwningJobElement").count, 2);
	assert_int_equal(
	    of_snapshot("ConvertToReferencePoint", SETTINGS(NEW(1))), 4);
}

static void a_point_that_is_yet_to_be_is_not_affected(void **state)
{
	(void)take(32768, NULL);
	scene->work.running = true;
	(void)of_snapshot("ConvertToReferencePoint", SETTINGS(NEW(1)));
	(void)json_object_set_new(json_array_get(scene->work.jobs, 0), "point",
				  json_string(NEW(1)));
	assert_string_equal(out_path(&out, "ResultingReferencePoint"), "");
	assert_int_equal(
	    walked(JOB_PATH(2), &(struct cim_walk){.references = true}).count,
	    1);
	work_end_job();
	assert_int_equal(
	    walked(JOB_PATH(2), &(struct cim_walk){.references = true}).count,
	    2);
}

static uint64_t convert_as(const char *settings)
{
	return CALL(SNAPSHOTS, "ConvertToReferencePoint", &out,
		    {"AffectedSnapshot", .path = SETTINGS(NEW(1))},
		    {"ReferencePointSettings", .instance = settings});
}

static void a_point_is_no_better_than_its_snapshot(void **state)
{
#define AS(properties)                                                         \
	IN_TEXT("Msvm_VirtualSystemReferencePointSettingData", properties)
	(void)take(32768, HOW(LEVEL(2)));
	scene->work.asked[0] = '\0';
	assert_int_equal(convert_as(AS(LEVEL(1))), 4);
	assert_int_equal(convert_as(AS(LEVEL(3))), 4);
	assert_int_equal(convert_as(HOW("")), 4);
	assert_string_equal(scene->work.asked, "");
	assert_int_equal(convert_as(AS(LEVEL(2))), 4096);
}

static void a_snapshot_is_destroyed(void **state)
{
	struct told t;

	(void)take(32768, NULL);
	assert_int_equal(of_snapshot("DestroySnapshot", SETTINGS(NEW(1))),
			 4096);
	assert_string_equal(scene->work.asked, "DropJob {\"snapshot\": \"" NEW(
						   1) "\", \"vm\": \"alpha\"}");
	assert_int_equal(number_of(got(JOB_PATH(2)), "JobType"), 72);
	t = associated(JOB_PATH(2), "CIM_AffectedJobElement", NULL);
	assert_int_equal(t.count, 1);
	assert_string_equal(text_of(t.list[0], "Name"), ALPHA);
	assert_int_equal(of_snapshot("DestroySnapshot", SETTINGS(NEW(1))), 4);
}

static void only_snapshots_end_so(void **state)
{
	static const char *const methods[] = {"ConvertToReferencePoint",
					      "DestroySnapshot"};

	(void)take(32768, NULL);
	scene->work.asked[0] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		assert_int_equal(of_snapshot(methods[i], SETTINGS(ALPHA)), 4);
		assert_int_equal(of_snapshot(methods[i], SETTINGS(NEW(5))), 4);
		assert_int_equal(of_snapshot(methods[i], SYSTEM_PATH(ALPHA)),
				 4);
		assert_int_equal(of_snapshot(methods[i], NULL), 4);
	}
	assert_string_equal(scene->work.asked, "");
}

static void what_recovery_snapshots_have_not_is_refused(void **state)
{
	static const char *const methods[][2] = {
	    {"ApplySnapshot", "Snapshot"},
	    {"DestroySnapshotTree", "SnapshotSettingData"},
	    {"ClearSnapshotState", "SnapshotSettingData"}};

	(void)take(32768, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		assert_int_equal(CALL(SNAPSHOTS, methods[i][0], &out,
				      {methods[i][1],
				       .path = SETTINGS(NEW(1))}),
				 32770);
		assert_int_equal(CALL(SNAPSHOTS, methods[i][0], &out,
				      {methods[i][1]}),
				 32773);
	}
	assert_non_null(got(SETTINGS(NEW(1))));
}

/* ---- changes ---------------------------------------------------------------
 */

static uint64_t changes(const char *path, const char *limit, uint64_t length)
{
	return CALL(IMAGES, "GetVirtualDiskChanges", &out,
		    {"Path", .text = path}, {"LimitId", .text = limit},
		    {"ByteOffset"}, {"ByteLength", .number = length});
}

static void C10_a_snapshots_changes_end_at_its_instant(void **state)
{
	(void)take(32768, NULL);
	assert_int_equal(changes(URI("vda"), "rctX:1a", 4096), 0);
	assert_non_null(
	    strstr(scene->work.asked,
		   "\"since\": \"" POINT(01) "\", \"until\": \"" NEW(1) "\""));
	assert_non_null(strstr(scene->work.asked, "\"disk\": \"vda\""));
	assert_int_equal(changes(URI("vda"), "rctX:1a", 1 << 30), 0);
	assert_int_equal(changes(URI("vda"), "rctX:1a", (1 << 30) + 1), 32773);
	assert_int_equal(changes("/images/b.raw", "rctX:1b", 4096), 0);
	assert_null(strstr(scene->work.asked, "until"));
}

static void C11_what_is_not_the_snapshots_is_an_error(void **state)
{
	(void)take(32768, NULL);
	assert_int_equal(changes(URI("vda"), "rctX:1b", 4096), 32773);
	assert_int_equal(changes(URI("vdc"), "rctX:1a", 4096), 32779);
	assert_int_equal(changes("nbd+unix:///vda?socket=/run/x.sock",
				 "rctX:1a", 4096),
			 32779);
	(void)of_snapshot("DestroySnapshot", SETTINGS(NEW(1)));
	assert_int_equal(changes(URI("vda"), "rctX:1a", 4096), 32779);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    SCENE(C2_a_snapshot_comes_with_a_job),
	    SCENE(its_settings_say_how_it_is_taken),
	    SCENE(only_recovery_snapshots_are_taken),
	    SCENE(what_refpointd_refuses_is_a_number),
	    SCENE(C12_one_that_failed_says_why),
	    SCENE(a_snapshot_is_a_configuration),
	    SCENE(one_that_is_of_no_use_says_so),
	    SCENE(a_snapshots_disks_are_read_from_it),
	    SCENE(C9_disks_come_in_the_order_of_a_points),
	    SCENE(C14_filters_find_snapshots),
	    SCENE(a_system_has_its_snapshots),
	    SCENE(its_links_can_be_got),
	    SCENE(a_snapshot_is_told_once),
	    SCENE(a_snapshots_system_is_remembered),
	    SCENE(C3_a_job_leads_to_its_snapshot_alone),
	    SCENE(C5_a_snapshot_becomes_a_point),
	    SCENE(a_point_that_is_yet_to_be_is_not_affected),
	    SCENE(a_point_is_no_better_than_its_snapshot),
	    SCENE(a_snapshot_is_destroyed),
	    SCENE(only_snapshots_end_so),
	    SCENE(what_recovery_snapshots_have_not_is_refused),
	    SCENE(C10_a_snapshots_changes_end_at_its_instant),
	    SCENE(C11_what_is_not_the_snapshots_is_an_error),
	};

	return cmocka_run_group_tests_name("snapshots", tests, NULL, NULL);
}
