/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The methods of the service of reference points: each parameter and each
 * return value of what is published of them.
 */
#include "providers/test-scene.h"

#define SERVICE                                                                \
	"Msvm_VirtualSystemReferencePointService.CreationClassName="           \
	"\"Msvm_VirtualSystemReferencePointService\",Name=\"rpsvc\","          \
	"SystemCreationClassName=\"Msvm_ComputerSystem\",SystemName=\"hv\""
#define SETTINGS(rest)                                                            \
	"<INSTANCE CLASSNAME='Msvm_VirtualSystemReferencePointSettingData'>" rest \
	"</INSTANCE>"
#define PROPERTY(name, type, value)                                            \
	"<PROPERTY NAME='" name "' TYPE='" type "'><VALUE>" value              \
	"</VALUE></PROPERTY>"
#define LEVEL(n) SETTINGS(PROPERTY("ConsistencyLevel", "uint8", #n))

#define JOB_PATH(n)                                                            \
	"Msvm_ConcreteJob.InstanceID=\"A0000000-0000-4000-8000-00000000000" #n \
	"\""
#define NEW_POINT(n)                                                           \
	"Msvm_VirtualSystemReferencePoint.InstanceID="                         \
	"\"B0000000-0000-4000-8000-00000000000" #n                             \
	"\",VirtualSystemIdentifier=\"" ALPHA "\""

static struct cim_arguments out;

static uint64_t create(const char *system, const char *settings, unsigned type)
{
	return CALL(SERVICE, "CreateReferencePoint", &out,
		    {"AffectedSystem", .path = system},
		    {"ReferencePointSettings", .instance = settings},
		    {"ReferencePointType", .number = type});
}

/* The same with a setting that is no more than text. */
static uint64_t create_text(const char *settings)
{
	return CALL(SERVICE, "CreateReferencePoint", &out,
		    {"AffectedSystem", .path = SYSTEM_PATH(ALPHA)},
		    {"ReferencePointSettings", .text = settings},
		    {"ReferencePointType", .number = 1});
}

static uint64_t destroy(const char *point)
{
	return CALL(SERVICE, "DestroyReferencePoint", &out,
		    {"AffectedReferencePoint", .path = point});
}

static void nothing_was_asked(void)
{
	assert_string_equal(scene->work.asked, "");
	assert_int_equal(json_array_size(scene->work.jobs), 0);
}

static void assert_asked(const char *consistency, const char *label,
			 const char *type)
{
	char wanted[256];

	(void)snprintf(wanted, sizeof(wanted),
		       "CreateJob {\"consistency\": \"%s\", \"label\": \"%s\", "
		       "\"type\": \"%s\", \"vm\": \"alpha\"}",
		       consistency, label, type);
	assert_string_equal(scene->work.asked, wanted);
}

/* ---- CreateReferencePoint: what it answers --------------------------------
 */

static void what_is_done_answers_4096_with_the_job_and_the_point(void **state)
{
	assert_int_equal(create(SYSTEM_PATH(ALPHA), NULL, 1), 4096);
	assert_string_equal(out_path(&out, "Job"), JOB_PATH(1));
	assert_string_equal(out_path(&out, "ResultingReferencePoint"),
			    NEW_POINT(1));
	assert_int_equal(number_of(got(JOB_PATH(1)), "JobState"), 7);
	assert_non_null(got(NEW_POINT(1)));
}

static void what_is_not_done_yet_answers_4096_with_the_job_alone(void **state)
{
	scene->work.running = true;
	assert_int_equal(create(SYSTEM_PATH(ALPHA), NULL, 1), 4096);
	assert_string_equal(out_path(&out, "Job"), JOB_PATH(1));
	assert_string_equal(out_path(&out, "ResultingReferencePoint"), "");
	assert_int_equal(number_of(got(JOB_PATH(1)), "JobState"), 4);
}

static void what_fails_answers_4096_and_the_job_says_so(void **state)
{
	static const struct {
		int error;
		unsigned code;
	} cases[] = {{RP_EIOFAIL, 2},  {RP_ETIMEOUT, 3}, {RP_ENOROOM, 2},
		     {RP_ELATCHED, 2}, {RP_EFAILED, 2},  {RP_EUNSUPPORTED, 2}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct cim_instance *job;

		scene->work.fail = cases[i].error;
		assert_int_equal(create(SYSTEM_PATH(ALPHA), NULL, 1), 4096);
		assert_string_equal(out_path(&out, "ResultingReferencePoint"),
				    "");
		job = got(out_path(&out, "Job"));
		assert_int_equal(number_of(job, "JobState"), 10);
		assert_int_equal(number_of(job, "ErrorCode"), cases[i].code);
		assert_string_equal(text_of(job, "ErrorDescription"),
				    "the fake failed");
		assert_string_equal(text_of(job, "ErrorSummaryDescription"),
				    "the fake failed");
	}
}

/* The column of the contract in common/err.h. */
static void a_refusal_is_the_return_value_and_there_is_no_job(void **state)
{
	static const struct {
		int error;
		unsigned result;
	} cases[] = {{RP_EUNSUPPORTED, 1}, {RP_EDENIED, 2},
		     {RP_EUNREACHABLE, 2}, {RP_ETIMEOUT, 3},
		     {RP_EPARAM, 4},       {RP_ENOVM, 4},
		     {RP_ESTATE, 5},       {RP_EINUSE, 5},
		     {RP_ELATCHED, 5},     {RP_ELIMIT, 5},
		     {RP_EALREADY, 5},     {RP_ETYPE, 6}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		scene->work.refuse = cases[i].error;
		assert_int_equal(create(SYSTEM_PATH(ALPHA), NULL, 1),
				 cases[i].result);
		assert_string_equal(out_path(&out, "Job"), "");
		assert_string_equal(out_path(&out, "ResultingReferencePoint"),
				    "");
	}
	assert_int_equal(json_array_size(scene->work.jobs), 0);
}

static void without_refpointd_it_fails(void **state)
{
	scene->fake = fake_free(scene->fake);
	assert_int_equal(create(SYSTEM_PATH(ALPHA), NULL, 1), 2);
}

static void every_number_that_it_answers_is_in_its_value_map(void **state)
{
	const struct schema_class *class =
	    schema_find_class(NULL, "Msvm_VirtualSystemReferencePointService");
	const struct schema_method *method =
	    schema_find_method(class, "CreateReferencePoint");
	static const char *const texts[] = {"Completed with No Error",
					    "Not Supported",
					    "Failed",
					    "Timeout",
					    "Invalid Parameter",
					    "Invalid State",
					    "Invalid Type"};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		assert_string_equal(schema_value_text(&method->qualifiers,
						      (int64_t)i),
				    texts[i]);
	assert_string_equal(schema_value_text(&method->qualifiers, 4096),
			    "Method Parameters Checked - Job Started");
}

/* ---- CreateReferencePoint: AffectedSystem ----------------------------------
 */

static void a_system_is_named_in_any_case_and_by_a_superclass(void **state)
{
	static const char *const paths[] = {
	    SYSTEM_PATH(ALPHA),
	    "\\\\OTHER\\root\\virtualization\\v2:" SYSTEM_PATH(ALPHA),
	    "//./root/virtualization/v2:" SYSTEM_PATH(ALPHA),
	    "msvm_computersystem.name=\"0a1b2c3d-0000-4000-8000-00000000000a\","
	    "creationclassname=\"MSVM_COMPUTERSYSTEM\"",
	    "CIM_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\","
	    "Name=\"" ALPHA "\""};

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		assert_int_equal(create(paths[i], NULL, 1), 4096);
	assert_int_equal(scene->work.made, ARRAY_SIZE(paths));
}

static void what_is_no_virtual_system_is_an_invalid_parameter(void **state)
{
	static const char *const paths[] = {
	    SYSTEM_PATH("hv"), /* the host */
	    SYSTEM_PATH("FFFFFFFF-0000-4000-8000-000000000000"),
	    SYSTEM_PATH("alpha"),
	    SYSTEM_PATH(""),
	    POINT_PATH(ALPHA, 01),
	    SERVICE,
	    "Msvm_ComputerSystem",
	    "Msvm_ComputerSystem.Name=\"" ALPHA "\"",
	    "Win32_ComputerSystem.Name=\"" ALPHA "\"",
	    "Msvm_ComputerSystem.CreationClassName=\"Win32_ComputerSystem\","
	    "Name=\"" ALPHA "\"",
	    "No_Such.CreationClassName=\"Msvm_ComputerSystem\",Name=\"" ALPHA
	    "\"",
	    NULL};

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		if (create(paths[i], NULL, 1) != 4)
			fail_msg("%s", paths[i] ? paths[i] : "NULL");
	nothing_was_asked();
}

/* ---- CreateReferencePoint: ReferencePointSettings --------------------------
 */

static void without_a_level_the_point_is_crash_consistent(void **state)
{
	static const char *const settings[] = {
	    NULL,
	    SETTINGS(""),
	    LEVEL(0),
	    LEVEL(2),
	    SETTINGS("<PROPERTY NAME='ConsistencyLevel' TYPE='uint8'/>"),
	    SETTINGS(PROPERTY("consistencylevel", "uint8", "2")
			 PROPERTY("InstanceID", "string", "echoed")
			     PROPERTY("Caption", "string", "echoed")
				 PROPERTY("Description", "string", "echoed")
				     PROPERTY("Unknown", "string", "echoed"))};

	for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
		assert_int_equal(create(SYSTEM_PATH(ALPHA), settings[i], 1),
				 4096);
		assert_asked("crash", "", "rct");
	}
	assert_int_equal(create_text(""), 4096);
	assert_int_equal(create_text(" \r\n"), 4096);
}

static void level_1_is_application_consistent(void **state)
{
	assert_int_equal(create(SYSTEM_PATH(ALPHA), LEVEL(1), 1), 4096);
	assert_asked("application", "", "rct");
}

static void the_element_name_becomes_the_label(void **state)
{
	assert_int_equal(
	    create(SYSTEM_PATH(ALPHA),
		   SETTINGS(PROPERTY("ElementName", "string", "nightly")), 1),
	    4096);
	assert_asked("crash", "nightly", "rct");
}

static void settings_that_make_no_sense_are_an_invalid_parameter(void **state)
{
	static const char snapshot[] =
	    "<INSTANCE CLASSNAME='Msvm_VirtualSystemSnapshotSettingData'>"
	    "</INSTANCE>";
	static const char mof[] =
	    "instance of Msvm_VirtualSystemReferencePointSettingData\n"
	    "{\n\tConsistencyLevel = 1;\n};\n";
	static const char *const instances[] = {
	    LEVEL(3), LEVEL(255), snapshot,
	    "<INSTANCE CLASSNAME='Msvm_ComputerSystem'></INSTANCE>"};
	static const char *const texts[] = {mof, "crash", "<INSTANCE", "1"};

	for (size_t i = 0; i < ARRAY_SIZE(instances); i++)
		assert_int_equal(create(SYSTEM_PATH(ALPHA), instances[i], 1),
				 4);
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		assert_int_equal(create_text(texts[i]), 4);
	nothing_was_asked();
}

/* ---- CreateReferencePoint: the rest ----------------------------------------
 */

static void type_0_asks_for_a_log_and_1_for_change_tracking(void **state)
{
	assert_int_equal(create(SYSTEM_PATH(ALPHA), NULL, 0), 4096);
	assert_asked("crash", "", "log");
	assert_int_equal(create(SYSTEM_PATH(ALPHA), NULL, 1), 4096);
	assert_asked("crash", "", "rct");
}

static void any_other_type_is_invalid(void **state)
{
	static const unsigned types[] = {2, 3, 255, 65535};

	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		assert_int_equal(create(SYSTEM_PATH(ALPHA), NULL, types[i]), 6);
	nothing_was_asked();
}

static void a_missing_type_is_an_invalid_parameter(void **state)
{
	assert_int_equal(CALL(SERVICE, "CreateReferencePoint", &out,
			      {"AffectedSystem", .path = SYSTEM_PATH(ALPHA)}),
			 4);
	assert_int_equal(CALL(SERVICE, "CreateReferencePoint", &out,
			      {"ReferencePointType", .number = 1}),
			 4);
	nothing_was_asked();
}

static void what_comes_in_as_the_resulting_point_is_ignored(void **state)
{
	static const char *const paths[] = {POINT_PATH(ALPHA, 01),
					    SYSTEM_PATH("hv"), "No_Such.A=1",
					    "Msvm_VirtualSystemReferencePoint"};

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		assert_int_equal(
		    CALL(SERVICE, "CreateReferencePoint", &out,
			 {"AffectedSystem", .path = SYSTEM_PATH(ALPHA)},
			 {"ReferencePointType", .number = 1},
			 {"ResultingReferencePoint", .path = paths[i]}),
		    4096);
		assert_ptr_not_equal(strstr(out_path(&out,
						     "ResultingReferencePoint"),
					    "B0000000-"),
				     NULL);
	}
}

static void readers_make_and_remove_nothing(void **state)
{
	const struct schema_class *class =
	    schema_find_class(NULL, "Msvm_VirtualSystemReferencePointService");
	struct cim_arguments in;
	struct cim_value result;

	scene->request.role = CIM_ROLE_READER;
	for (uint32_t i = 0; i < class->method_count; i++) {
		assert_int_equal(broker_arguments(&scene->request, class,
						  class->methods[i]->name, &in,
						  NULL),
				 0);
		assert_int_equal(broker_invoke(scene->broker, &scene->request,
					       parsed(SERVICE), &in, &out,
					       &result, NULL),
				 -CIM_EACCESS);
	}
	nothing_was_asked();
}

/* ---- DestroyReferencePoint --------------------------------------------------
 */

static void a_point_is_destroyed_by_a_job(void **state)
{
	const struct cim_instance *job;

	assert_int_equal(destroy(POINT_PATH(ALPHA, 02)), 4096);
	assert_string_equal(scene->work.asked,
			    "DestroyJob {\"point\": \"" POINT(
				02) "\", "
				    "\"vm\": \"alpha\"}");
	assert_string_equal(out_path(&out, "Job"), JOB_PATH(1));
	job = got(JOB_PATH(1));
	assert_int_equal(number_of(job, "JobState"), 7);
	assert_int_equal(number_of(job, "JobType"), 202);
	/* in one of the further replies */
	assert_int_equal(destroy(POINT_PATH(GAMMA, 15)), 4096);
}

static void only_a_point_of_that_system_can_be_destroyed(void **state)
{
	static const char *const paths[] = {
	    POINT_PATH(ALPHA, 99),
	    POINT_PATH(BETA, 01),
	    POINT_PATH(GAMMA, 01),
	    SYSTEM_PATH(ALPHA),
	    "Msvm_VirtualSystemReferencePoint.InstanceID=\"x\","
	    "VirtualSystemIdentifier=\"y\"",
	    "Msvm_VirtualSystemReferencePoint.InstanceID=\"" POINT(01) "\"",
	    NULL};

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		assert_int_equal(destroy(paths[i]), 32773);
	nothing_was_asked();
}

static void a_refused_removal_says_why(void **state)
{
	static const struct {
		int error;
		unsigned result;
	} cases[] = {{RP_ENOPOINT, 32773},     {RP_ENOVM, 32773},
		     {RP_ESTATE, 32775},       {RP_ELATCHED, 32775},
		     {RP_EINUSE, 32774},       {RP_ELIMIT, 32774},
		     {RP_EDENIED, 32769},      {RP_EUNSUPPORTED, 32770},
		     {RP_ETIMEOUT, 32772},     {RP_EIOFAIL, 32768},
		     {RP_EUNREACHABLE, 32777}, {RP_EFAILED, 32768}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		scene->work.refuse = cases[i].error;
		assert_int_equal(destroy(POINT_PATH(ALPHA, 01)),
				 cases[i].result);
		assert_string_equal(out_path(&out, "Job"), "");
	}
}

/* In the numbers of its own method, by which clients read it. */
static void a_failed_removal_says_why_in_its_job(void **state)
{
	scene->work.fail = RP_ETIMEOUT;
	assert_int_equal(destroy(POINT_PATH(ALPHA, 01)), 4096);
	assert_int_equal(number_of(got(JOB_PATH(1)), "JobState"), 10);
	assert_int_equal(number_of(got(JOB_PATH(1)), "ErrorCode"), 32772);
	assert_string_equal(text_of(got(JOB_PATH(1)), "ErrorDescription"),
			    "the fake failed");
}

/* ---- RemoveAssociatedData ---------------------------------------------------
 */

static uint64_t remove_data(const char *point)
{
	return CALL(SERVICE, "RemoveAssociatedData", &out,
		    {"AffectedReferencePoint", .path = point});
}

static void a_log_is_removed_by_a_job_and_its_point_stays(void **state)
{
	const struct cim_instance *job, *point;
	struct told t;

	assert_int_equal(remove_data(POINT_PATH(ALPHA, 03)), 4096);
	assert_string_equal(scene->work.asked,
			    "DropLogJob {\"point\": \"" POINT(
				03) "\", \"vm\": \"alpha\"}");
	assert_string_equal(out_path(&out, "Job"), JOB_PATH(1));
	job = got(JOB_PATH(1));
	assert_int_equal(number_of(job, "JobState"), 7);
	assert_int_equal(number_of(job, "JobType"), 204);
	assert_false(cim_true(cim_instance_get(job, "Cancellable")));
	point = got(POINT_PATH(ALPHA, 03));
	assert_non_null(point);
	assert_false(cim_true(cim_instance_get(point, "HasAssociatedData")));
	t = walked(JOB_PATH(1),
		   &(struct cim_walk){.assoc_class = "CIM_AffectedJobElement"});
	assert_int_equal(t.count, 1);
	assert_string_equal(text_of(t.list[0], "InstanceID"), POINT(03));
	t = walked(JOB_PATH(1),
		   &(struct cim_walk){.assoc_class = "CIM_OwningJobElement"});
	assert_int_equal(t.count, 1);
	assert_string_equal(text_of(t.list[0], "Name"), "rpsvc");
	t = enumerated("Msvm_AffectedJobElement");
	assert_sound(&t);
	assert_string_equal(item_of(t.list[0],
				    "OtherElementEffectsDescriptions", 0),
			    "Its log is removed");
}

static void only_a_log_based_point_has_a_log_to_remove(void **state)
{
	static const char *const paths[] = {
	    POINT_PATH(ALPHA, 01), /* by change tracking */
	    POINT_PATH(BETA, 03), POINT_PATH(ALPHA, 99), SYSTEM_PATH(ALPHA),
	    NULL};

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		assert_int_equal(remove_data(paths[i]), 32773);
	nothing_was_asked();
}

static void a_log_that_is_gone_is_an_invalid_state(void **state)
{
	scene->work.refuse = RP_ESTATE;
	assert_int_equal(remove_data(POINT_PATH(ALPHA, 03)), 32775);
	assert_string_equal(out_path(&out, "Job"), "");
	scene->work.refuse = 0;
	scene->work.fail = RP_ETIMEOUT;
	assert_int_equal(remove_data(POINT_PATH(ALPHA, 03)), 4096);
	assert_int_equal(number_of(got(JOB_PATH(1)), "ErrorCode"), 32772);
}

/* ---- the points ------------------------------------------------------------
 */

static void set_log(const char *state, const char *reason)
{
	json_t *points =
	    json_object_get(json_array_get(scene->systems, 0), "points");

	(void)json_object_set_new(json_array_get(points, 2), "log",
				  json_pack("{s:s, s:s, s:i, s:i}", "state",
					    state, "reason", reason, "bytes", 0,
					    "parts", 0));
}

static bool has_data(const struct cim_instance *point)
{
	return cim_true(cim_instance_get(point, "HasAssociatedData"));
}

static void a_log_based_point_has_disks_and_no_tracking_ids(void **state)
{
	const struct cim_instance *point = got(POINT_PATH(ALPHA, 03));

	assert_int_equal(number_of(point, "ReferencePointType"), 1);
	assert_string_equal(item_of(point, "VirtualDiskIdentifiers", 0),
			    DISK(ALPHA, 0));
	assert_string_equal(item_of(point, "VirtualDiskIdentifiers", 1),
			    DISK(ALPHA, 1));
	assert_true(
	    cim_instance_get(point, "ResilientChangeTrackingIdentifiers")
		->is_null);
	/* and the others have both */
	point = got(POINT_PATH(ALPHA, 01));
	assert_int_equal(number_of(point, "ReferencePointType"), 2);
	assert_false(has_data(point));
	assert_string_equal(
	    item_of(point, "ResilientChangeTrackingIdentifiers", 1), "rctX:1b");
}

static void it_has_data_until_its_log_is_gone(void **state)
{
	const struct cim_instance *point;

	assert_true(has_data(got(POINT_PATH(ALPHA, 03))));
	set_log("closed", "");
	assert_true(has_data(got(POINT_PATH(ALPHA, 03))));
	assert_string_equal(text_of(got(POINT_PATH(ALPHA, 03)), "Description"),
			    "Made 2026-01-04T03:04:05.000000001Z");
	set_log("gone", "it was too long");
	point = got(POINT_PATH(ALPHA, 03));
	assert_false(has_data(point));
	assert_string_equal(text_of(point, "Description"),
			    "Made 2026-01-04T03:04:05.000000001Z; its log is "
			    "gone: it was too long");
	assert_sound(&(struct told){{point}, 1});
	assert_int_equal(queried("SELECT * FROM "
				 "Msvm_VirtualSystemReferencePoint WHERE "
				 "HasAssociatedData = TRUE")
			     .count,
			 0);
}

static void it_says_why_it_is_invalid(void **state)
{
	json_t *points =
	    json_object_get(json_array_get(scene->systems, 0), "points");

	set_log("gone", "it was imported");
	(void)json_object_set_new(json_array_get(points, 2), "invalid",
				  json_string("a disk differs"));
	(void)json_object_set_new(json_array_get(points, 0), "invalid",
				  json_string("not seen here"));
	(void)json_object_set_new(json_array_get(points, 1), "invalid",
				  json_null());
	assert_string_equal(text_of(got(POINT_PATH(ALPHA, 03)), "Description"),
			    "Made 2026-01-04T03:04:05.000000001Z; its log is "
			    "gone: it was imported; it is invalid: a disk "
			    "differs");
	assert_non_null(
	    strstr(text_of(got(POINT_PATH(ALPHA, 01)), "Description"),
		   "Z; it is invalid: not seen here"));
	assert_null(
	    strstr(text_of(got(POINT_PATH(ALPHA, 02)), "Description"), ";"));
}

static void what_is_told_of_a_log_makes_sense(void **state)
{
	json_t *points =
	    json_object_get(json_array_get(scene->systems, 0), "points");
	struct err err = {0};

	(void)json_object_set_new(json_array_get(points, 2), "log",
				  json_null());
	assert_int_equal(try_enumerate("Msvm_VirtualSystemReferencePoint",
				       &err),
			 -CIM_EFAILED);
	set_log("lost", "");
	assert_int_equal(try_enumerate("Msvm_VirtualSystemReferencePoint",
				       &err),
			 -CIM_EFAILED);
	set_log("open", "");
	(void)json_object_set(json_array_get(points, 0), "log",
			      json_object_get(json_array_get(points, 2),
					      "log"));
	assert_int_equal(try_enumerate("Msvm_VirtualSystemReferencePoint",
				       &err),
			 -CIM_EFAILED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    SCENE(what_is_done_answers_4096_with_the_job_and_the_point),
	    SCENE(what_is_not_done_yet_answers_4096_with_the_job_alone),
	    SCENE(what_fails_answers_4096_and_the_job_says_so),
	    SCENE(a_refusal_is_the_return_value_and_there_is_no_job),
	    SCENE(without_refpointd_it_fails),
	    SCENE(every_number_that_it_answers_is_in_its_value_map),
	    SCENE(a_system_is_named_in_any_case_and_by_a_superclass),
	    SCENE(what_is_no_virtual_system_is_an_invalid_parameter),
	    SCENE(without_a_level_the_point_is_crash_consistent),
	    SCENE(level_1_is_application_consistent),
	    SCENE(the_element_name_becomes_the_label),
	    SCENE(settings_that_make_no_sense_are_an_invalid_parameter),
	    SCENE(type_0_asks_for_a_log_and_1_for_change_tracking),
	    SCENE(any_other_type_is_invalid),
	    SCENE(a_missing_type_is_an_invalid_parameter),
	    SCENE(what_comes_in_as_the_resulting_point_is_ignored),
	    SCENE(readers_make_and_remove_nothing),
	    SCENE(a_point_is_destroyed_by_a_job),
	    SCENE(only_a_point_of_that_system_can_be_destroyed),
	    SCENE(a_refused_removal_says_why),
	    SCENE(a_failed_removal_says_why_in_its_job),
	    SCENE(a_log_is_removed_by_a_job_and_its_point_stays),
	    SCENE(only_a_log_based_point_has_a_log_to_remove),
	    SCENE(a_log_that_is_gone_is_an_invalid_state),
	    SCENE(a_log_based_point_has_disks_and_no_tracking_ids),
	    SCENE(it_has_data_until_its_log_is_gone),
	    SCENE(it_says_why_it_is_invalid),
	    SCENE(what_is_told_of_a_log_makes_sense),
	};

	return cmocka_run_group_tests_name("points", tests, NULL, NULL);
}
