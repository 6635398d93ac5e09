/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs, as clients watch them, and what they lead to. */
#include "providers/test-scene.h"

#define SERVICE                                                                \
	"Msvm_VirtualSystemReferencePointService.CreationClassName="           \
	"\"Msvm_VirtualSystemReferencePointService\",Name=\"rpsvc\","          \
	"SystemCreationClassName=\"Msvm_ComputerSystem\",SystemName=\"hv\""
#define JOB(n)      "A0000000-0000-4000-8000-00000000000" #n
#define JOB_PATH(n) "Msvm_ConcreteJob.InstanceID=\"" JOB(n) "\""
#define NEW_POINT   "B0000000-0000-4000-8000-000000000001"

static struct cim_arguments out;

static void create(void)
{
	assert_int_equal(CALL(SERVICE, "CreateReferencePoint", NULL,
			      {"AffectedSystem", .path = SYSTEM_PATH(ALPHA)},
			      {"ReferencePointType", .number = 1}),
			 4096);
}

static void destroy(void)
{
	assert_int_equal(CALL(SERVICE, "DestroyReferencePoint", NULL,
			      {"AffectedReferencePoint",
			       .path = POINT_PATH(ALPHA, 01)}),
			 4096);
}

/* ---- properties ---------------------------------------------------------- */

static void a_job_that_runs_says_how_far_it_is(void **state)
{
	const struct cim_instance *job;

	scene->work.running = true;
	create();
	job = got(JOB_PATH(1));
	assert_string_equal(text_of(job, "InstanceID"), JOB(1));
	assert_int_equal(number_of(job, "JobState"), 4);
	assert_int_equal(number_of(job, "JobType"), 201);
	assert_int_equal(number_of(job, "PercentComplete"), 40);
	assert_string_equal(text_of(job, "Name"), "Creating Reference Point");
	assert_string_equal(text_of(job, "Caption"),
			    "Creating Reference Point");
	assert_string_equal(text_of(job, "Owner"), "somebody");
	assert_string_equal(text_of(job, "JobStatus"), "Running");
	assert_string_equal(cim_text(cim_instance_get(job, "TimeSubmitted")),
			    "20260203040506.789012+000");
	assert_string_equal(cim_text(cim_instance_get(job, "StartTime")),
			    "20260203040506.789012+000");
	assert_string_equal(cim_text(
				cim_instance_get(job, "TimeOfLastStateChange")),
			    "20260203040507.000000+000");
	assert_string_equal(cim_text(cim_instance_get(job, "ElapsedTime")),
			    "00000000000101.500000:000");
	assert_string_equal(cim_text(
				cim_instance_get(job, "TimeBeforeRemoval")),
			    "00000000000500.000000:000");
	assert_int_equal(number_of(job, "OperationalStatus"), 2);
	assert_string_equal(item_of(job, "StatusDescriptions", 0), "OK");
	assert_int_equal(number_of(job, "HealthState"), 5);
	assert_int_equal(number_of(job, "ErrorCode"), 0);
	assert_string_equal(text_of(job, "ErrorDescription"), "(none)");
	assert_true(cim_true(cim_instance_get(job, "Cancellable")));
	assert_true(cim_true(cim_instance_get(job, "DeleteOnCompletion")));
}

static void a_job_that_is_over_is_complete(void **state)
{
	const struct cim_instance *job;

	destroy();
	job = got(JOB_PATH(1));
	assert_int_equal(number_of(job, "JobState"), 7);
	assert_int_equal(number_of(job, "PercentComplete"), 100);
	assert_int_equal(number_of(job, "JobType"), 202);
	assert_int_equal(number_of(job, "ErrorCode"), 0);
	assert_int_equal(number_of(job, "OperationalStatus"), 2);
	assert_true(cim_instance_get(job, "ErrorDescription")->is_null);
	assert_false(cim_true(cim_instance_get(job, "Cancellable")));
}

static void a_job_that_could_not_be_ended_says_so(void **state)
{
	create();
	(void)json_object_set_new(json_array_get(scene->work.jobs, 0),
				  "message", json_string("too late"));
	assert_int_equal(number_of(got(JOB_PATH(1)), "JobState"), 7);
	assert_string_equal(text_of(got(JOB_PATH(1)), "JobStatus"), "too late");
	assert_string_equal(text_of(got(JOB_PATH(1)), "ErrorDescription"),
			    "(none)");
}

/* What refpointd says is no text of ours. */
static void C12_a_failure_is_told_even_without_a_message(void **state)
{
	const struct cim_instance *job;

	scene->work.fail = RP_ENOROOM;
	create();
	(void)json_object_set_new(json_array_get(scene->work.jobs, 0),
				  "message", json_string(""));
	job = got(JOB_PATH(1));
	assert_int_equal(number_of(job, "ErrorCode"), 2);
	assert_string_equal(text_of(job, "ErrorDescription"), "NoSpace");
	assert_string_equal(text_of(job, "ErrorSummaryDescription"), "NoSpace");
	assert_int_equal(number_of(job, "OperationalStatus"), 6);
	assert_string_equal(text_of(job, "JobStatus"), "Failed");
}

static void all_jobs_are_told_and_each_can_be_got(void **state)
{
	struct told t;

	create();
	scene->work.fail = RP_EIOFAIL;
	destroy();
	scene->work.running = true;
	create();
	t = enumerated("Msvm_ConcreteJob");
	assert_int_equal(t.count, 3);
	assert_sound(&t);
	assert_int_equal(enumerated("CIM_ConcreteJob").count, 3);
	assert_int_equal(enumerated("CIM_LogicalElement").count >= 3, true);
	t = enumerated("Msvm_AffectedJobElement");
	assert_int_equal(t.count, 2); /* the one that runs made no point yet */
	assert_sound(&t);
	t = enumerated("Msvm_OwningJobElement");
	assert_int_equal(t.count, 3);
	assert_sound(&t);
}

static void C2_a_job_is_first_seen_running_or_over(void **state)
{
	scene->work.running = true;
	create();
	assert_int_equal(number_of(got(JOB_PATH(1)), "JobState"), 4);
	scene->work.running = false;
	create();
	assert_int_equal(number_of(got(JOB_PATH(2)), "JobState"), 7);
}

/* As libvirt's driver does ten times a second. */
static void a_poll_asks_for_that_job_alone(void **state)
{
	struct told t;

	create();
	create();
	t = queried(
	    "SELECT * FROM Msvm_ConcreteJob WHERE InstanceID='" JOB(1) "'");
	assert_int_equal(t.count, 1);
	assert_string_equal(text_of(t.list[0], "InstanceID"), JOB(1));
	assert_string_equal(scene->work.asked, "Jobs {\"id\": \"" JOB(1) "\"}");
	t = queried("select JobState from msvm_concretejob where "
		    "instanceid='a0000000-0000-4000-8000-000000000002'");
	assert_int_equal(t.count, 1);
	scene->work.asked[0] = '\0';
	t = queried("SELECT * FROM Msvm_ConcreteJob WHERE InstanceID='x'");
	assert_int_equal(t.count, 0);
	assert_string_equal(scene->work.asked, "");
}

static void a_job_that_is_forgotten_is_not_there(void **state)
{
	assert_null(got(JOB_PATH(1)));
	assert_null(got("Msvm_ConcreteJob.InstanceID=\"nonsense\""));
}

static void what_makes_no_sense_is_an_error_and_no_job(void **state)
{
	static const char *const members[] = {"id", "method", "uuid", "state"};
	struct err err = {0};

	for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
		json_t *job;

		create();
		job = json_array_get(scene->work.jobs, 0);
		(void)json_object_set_new(job, members[i], json_string("?"));
		assert_int_equal(try_enumerate("Msvm_ConcreteJob", &err),
				 -CIM_EFAILED);
		(void)json_array_clear(scene->work.jobs);
	}
	create();
	(void)json_object_set_new(json_array_get(scene->work.jobs, 0), "begun",
				  json_string("yesterday"));
	assert_true(
	    cim_instance_get(got(JOB_PATH(5)), "TimeSubmitted")->is_null);
}

/* ---- what went wrong ------------------------------------------------------
 */

static void what_went_wrong_is_told_as_an_instance(void **state)
{
	const struct cim_value *value;
	const struct cim_instance *error;

	scene->work.fail = RP_EIOFAIL;
	create();
	assert_int_equal(CALL(JOB_PATH(1), "GetError", &out, {"Error"}), 0);
	error = out_value(&out, "Error")->one.instance;
	assert_string_equal(error->class->name, "Msvm_Error");
	assert_string_equal(text_of(error, "Message"), "the fake failed");
	assert_string_equal(text_of(error, "MessageID"),
			    "org.refpoint.IoError");
	assert_string_equal(text_of(error, "OwningEntity"), "refpoint");
	assert_string_equal(text_of(error, "ErrorSource"), JOB_PATH(1));
	assert_int_equal(number_of(error, "CIMStatusCode"), 1);
	assert_int_equal(number_of(error, "ErrorType"), 5);
	assert_int_equal(number_of(error, "PerceivedSeverity"), 4);
	assert_int_equal(CALL(JOB_PATH(1), "GetErrorEx", &out, {"Errors"}), 0);
	value = out_value(&out, "Errors");
	assert_true(value->embedded && value->array && value->count == 1);
	assert_string_equal(text_of(value->items[0].instance, "Message"),
			    "the fake failed");
}

static void what_went_well_has_no_error(void **state)
{
	create();
	assert_int_equal(CALL(JOB_PATH(1), "GetError", &out, {"Error"}), 0);
	assert_true(out_value(&out, "Error")->is_null);
	assert_int_equal(CALL(JOB_PATH(1), "GetErrorEx", &out, {"Errors"}), 0);
	assert_true(out_value(&out, "Errors")->is_null);
}

static void a_reader_may_ask_what_went_wrong(void **state)
{
	create();
	scene->request.role = CIM_ROLE_READER;
	assert_int_equal(CALL(JOB_PATH(1), "GetErrorEx", &out, {"Errors"}), 0);
	assert_int_equal(CALL(JOB_PATH(1), "geterror", &out, {"Error"}), 0);
}

/* ---- ending one ------------------------------------------------------------
 */

static uint64_t request_state(unsigned state)
{
	return CALL(JOB_PATH(1), "RequestStateChange", &out,
		    {"RequestedState", .number = state});
}

static void a_job_can_be_terminated(void **state)
{
	const struct cim_instance *job;

	scene->work.running = true;
	create();
	assert_int_equal(request_state(4), 4096);
	assert_string_equal(scene->work.asked,
			    "CancelJob {\"id\": \"" JOB(1) "\"}");
	scene->work.running = false;
	assert_int_equal(request_state(4), 0);
	job = got(JOB_PATH(1));
	assert_int_equal(number_of(job, "JobState"), 8);
	assert_int_equal(number_of(job, "ErrorCode"), 2);
	assert_string_equal(text_of(job, "ErrorDescription"),
			    "the job was terminated");
	assert_int_equal(enumerated("Msvm_AffectedJobElement").count, 0);
}

static void what_is_over_cannot_be_terminated(void **state)
{
	create();
	scene->work.refuse_cancel = RP_ESTATE;
	assert_int_equal(request_state(4), 4097);
	scene->work.refuse_cancel = RP_EIOFAIL;
	assert_int_equal(request_state(4), 4);
	scene->work.refuse_cancel = RP_ETIMEOUT;
	assert_int_equal(request_state(4), 3);
}

static void other_states_cannot_be_requested(void **state)
{
	static const struct {
		unsigned state, result;
	} cases[] = {{0, 5}, {1, 5}, {2, 1}, {3, 1},
		     {5, 1}, {6, 1}, {7, 5}, {65535, 5}};

	create();
	scene->work.asked[0] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(request_state(cases[i].state),
				 cases[i].result);
	assert_int_equal(CALL(JOB_PATH(1), "RequestStateChange", &out,
			      {"TimeoutPeriod"}),
			 5);
	assert_string_equal(scene->work.asked, "Jobs {\"id\": \"" JOB(1) "\"}");
}

static void a_job_takes_no_time_limit(void **state)
{
	const struct schema_class *class =
	    schema_find_class(NULL, "Msvm_ConcreteJob");
	struct cim_arguments in;
	struct cim_value result;

	create();
	assert_int_equal(broker_arguments(&scene->request, class,
					  "RequestStateChange", &in, NULL),
			 0);
	in.values[0] = cim_uint(CIM_UINT16, 4);
	in.values[1] = cim_datetime("00000000000001.000000:000");
	assert_int_equal(broker_invoke(scene->broker, &scene->request,
				       parsed(JOB_PATH(1)), &in, &out, &result,
				       NULL),
			 0);
	assert_int_equal(cim_number(&result, 0), 4098);
	/* none, said in figures */
	in.values[1] = cim_datetime("00000000000000.000000:000");
	assert_int_equal(broker_invoke(scene->broker, &scene->request,
				       parsed(JOB_PATH(1)), &in, &out, &result,
				       NULL),
			 0);
	assert_int_not_equal(cim_number(&result, 0), 4098);
}

static void a_job_cannot_be_killed(void **state)
{
	create();
	assert_int_equal(CALL(JOB_PATH(1), "KillJob", &out, {"DeleteOnKill"}),
			 1);
}

/* ---- associations -----------------------------------------------------------
 */

static struct told associated(const char *path, const char *assoc,
			      const char *result)
{
	const struct cim_walk walk = {.assoc_class = assoc,
				      .result_class = result};

	return walked(path, &walk);
}

static void C3_a_new_point_is_found_by_its_job_exactly_once(void **state)
{
	struct told t;

	create();
	t = associated(JOB_PATH(1), "CIM_AffectedJobElement", NULL);
	assert_int_equal(t.count, 1);
	assert_string_equal(t.list[0]->class->name,
			    "Msvm_VirtualSystemReferencePoint");
	assert_string_equal(text_of(t.list[0], "InstanceID"), NEW_POINT);
	t = walked(JOB_PATH(1), &(struct cim_walk){
				    .references = true,
				    .result_class = "CIM_AffectedJobElement"});
	assert_int_equal(t.count, 1);
	assert_int_equal(number_of(t.list[0], "ElementEffects"), 5);
}

static void C4_it_is_found_however_it_is_asked_for(void **state)
{
	static const struct {
		const char *assoc, *result;
	} ways[] = {
	    {NULL, "Msvm_VirtualSystemReferencePoint"},
	    {"CIM_AffectedJobElement", "Msvm_VirtualSystemReferencePoint"},
	    {"Msvm_AffectedJobElement", "Msvm_VirtualSystemReferencePoint"},
	    {"Msvm_AffectedJobElement", NULL},
	    {"CIM_AffectedJobElement", "CIM_ManagedElement"}};
	struct told t;

	create();
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		t = associated(JOB_PATH(1), ways[i].assoc, ways[i].result);
		assert_int_equal(t.count, 1);
		assert_string_equal(text_of(t.list[0], "InstanceID"),
				    NEW_POINT);
	}
	t = queried("ASSOCIATORS OF {" JOB_PATH(
	    1) "} WHERE AssocClass = CIM_AffectedJobElement ResultClass = "
	       "Msvm_VirtualSystemReferencePoint");
	assert_int_equal(t.count, 1);
	/* and back */
	t = associated(
	    "Msvm_VirtualSystemReferencePoint.InstanceID=\"" NEW_POINT
	    "\",VirtualSystemIdentifier=\"" ALPHA "\"",
	    NULL, "CIM_ConcreteJob");
	assert_int_equal(t.count, 1);
	assert_string_equal(text_of(t.list[0], "InstanceID"), JOB(1));
}

static void a_point_that_is_not_there_yet_is_not_found(void **state)
{
	scene->work.running = true;
	create();
	assert_int_equal(
	    associated(JOB_PATH(1), "CIM_AffectedJobElement", NULL).count, 0);
	work_end_job();
	assert_int_equal(
	    associated(JOB_PATH(1), "CIM_AffectedJobElement", NULL).count, 1);
}

static void a_removal_affects_the_system(void **state)
{
	struct told t;

	destroy();
	t = associated(JOB_PATH(1), "CIM_AffectedJobElement", NULL);
	assert_int_equal(t.count, 1);
	assert_string_equal(text_of(t.list[0], "Name"), ALPHA);
	t = enumerated("Msvm_AffectedJobElement");
	assert_int_equal(number_of(t.list[0], "ElementEffects"), 1);
	assert_string_equal(item_of(t.list[0],
				    "OtherElementEffectsDescriptions", 0),
			    "One of its reference points is removed");
	assert_int_equal(
	    associated(SYSTEM_PATH(ALPHA), NULL, "Msvm_ConcreteJob").count, 1);
	assert_int_equal(
	    associated(SYSTEM_PATH(BETA), NULL, "Msvm_ConcreteJob").count, 0);
}

static void a_service_has_its_jobs(void **state)
{
	struct told t;

	create();
	destroy();
	t = associated(SERVICE, "CIM_OwningJobElement", NULL);
	assert_int_equal(t.count, 2);
	t = associated(JOB_PATH(2), "Msvm_OwningJobElement", "CIM_Service");
	assert_int_equal(t.count, 1);
	assert_string_equal(text_of(t.list[0], "Name"), "rpsvc");
	t = associated(JOB_PATH(2), NULL, NULL);
	assert_int_equal(t.count, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    SCENE(a_job_that_runs_says_how_far_it_is),
	    SCENE(a_job_that_is_over_is_complete),
	    SCENE(a_job_that_could_not_be_ended_says_so),
	    SCENE(C12_a_failure_is_told_even_without_a_message),
	    SCENE(all_jobs_are_told_and_each_can_be_got),
	    SCENE(C2_a_job_is_first_seen_running_or_over),
	    SCENE(a_poll_asks_for_that_job_alone),
	    SCENE(a_job_that_is_forgotten_is_not_there),
	    SCENE(what_makes_no_sense_is_an_error_and_no_job),
	    SCENE(what_went_wrong_is_told_as_an_instance),
	    SCENE(what_went_well_has_no_error),
	    SCENE(a_reader_may_ask_what_went_wrong),
	    SCENE(a_job_can_be_terminated),
	    SCENE(what_is_over_cannot_be_terminated),
	    SCENE(other_states_cannot_be_requested),
	    SCENE(a_job_takes_no_time_limit),
	    SCENE(a_job_cannot_be_killed),
	    SCENE(C3_a_new_point_is_found_by_its_job_exactly_once),
	    SCENE(C4_it_is_found_however_it_is_asked_for),
	    SCENE(a_point_that_is_not_there_yet_is_not_found),
	    SCENE(a_removal_affects_the_system),
	    SCENE(a_service_has_its_jobs),
	};

	return cmocka_run_group_tests_name("jobs", tests, NULL, NULL);
}
