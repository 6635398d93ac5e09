/* SPDX-License-Identifier: Apache-2.0 */
/* The broker, on providers over a few rows of a table: two virtual systems,
 * points, a job, what associates them, and as many disks as asked for. */
#include "cim/test-cim.h"

#include <pthread.h>
#include <strings.h>

#include "cim/broker.h"

#define VM(n)                                                                  \
	"Msvm_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\","       \
	"Name=\"" n "\""
#define POINT(n, vm)                                                           \
	"Msvm_VirtualSystemReferencePoint.InstanceID=\"" n "\","               \
	"VirtualSystemIdentifier=\"" vm "\""
#define JOB(n) "Msvm_ConcreteJob.InstanceID=\"" n "\""
#define SERVICE                                                                \
	"Msvm_VirtualSystemReferencePointService.SystemCreationClassName="     \
	"\"Msvm_ComputerSystem\",SystemName=\"host\",CreationClassName="       \
	"\"Msvm_VirtualSystemReferencePointService\",Name=\"points\""
#define OF "Msvm_ReferencePointOfVirtualSystem"

struct row {
	const char *class_name;
	const char *pairs[5][2];
};

static const struct row rows[] = {
    {"Msvm_ComputerSystem",
     {{"CreationClassName", "Msvm_ComputerSystem"}, {"Name", "vm1"}}},
    {"Msvm_ComputerSystem",
     {{"CreationClassName", "Msvm_ComputerSystem"}, {"Name", "vm2"}}},
    {"Msvm_VirtualSystemReferencePoint",
     {{"InstanceID", "A"},
      {"VirtualSystemIdentifier", "vm1"},
      {"ConsistencyLevel", "2"}}},
    {"Msvm_VirtualSystemReferencePoint",
     {{"InstanceID", "B"},
      {"VirtualSystemIdentifier", "vm1"},
      {"ConsistencyLevel", "1"}}},
    {"Msvm_VirtualSystemReferencePoint",
     {{"InstanceID", "C"}, {"VirtualSystemIdentifier", "vm2"}}},
    {"Msvm_ConcreteJob", {{"InstanceID", "job"}, {"JobState", "7"}}},
    {"Msvm_VirtualSystemReferencePointService",
     {{"SystemCreationClassName", "Msvm_ComputerSystem"},
      {"SystemName", "host"},
      {"CreationClassName", "Msvm_VirtualSystemReferencePointService"},
      {"Name", "points"}}},
    {OF, {{"Antecedent", VM("vm1")}, {"Dependent", POINT("A", "vm1")}}},
    {OF, {{"Antecedent", VM("vm1")}, {"Dependent", POINT("B", "vm1")}}},
    {OF, {{"Antecedent", VM("vm1")}, {"Dependent", POINT("gone", "vm1")}}},
    {OF, {{"Antecedent", VM("vm2")}, {"Dependent", POINT("C", "vm2")}}},
    /* The same ends once more, by another association. */
    {"CIM_HostedDependency",
     {{"Antecedent", VM("vm1")}, {"Dependent", POINT("A", "vm1")}}},
    {"Msvm_AffectedJobElement",
     {{"AffectedElement", "//host/" V2 ":" POINT("A", "vm1")},
      {"AffectingElement", "//host/" V2 ":" JOB("job")}}},
};

/* ---- the providers ------------------------------------------------------ */

static unsigned disks;

static int make_row(struct arena *a, const struct row *row,
		    struct cim_instance **ret_instance, struct err *err)
{
	int r = cim_instance_new(a, schema_find_class(NULL, row->class_name),
				 false, ret_instance, err);

	for (size_t i = 0; r == 0 && i < 5 && row->pairs[i][0]; i++) {
		struct cim_value v =
		    *cim_instance_get(*ret_instance, row->pairs[i][0]);

		v.is_null = false;
		v.count = 1;
		r = cim_scalar_parse(a, v.base, row->pairs[i][1], &v.one, err);
		if (r == 0)
			r = cim_instance_set(*ret_instance, row->pairs[i][0], v,
					     err);
	}
	return r;
}

static int tell_rows(const struct cim_request *request, const char *class_name,
		     cim_instance_fn *fn, void *arg, struct err *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(rows); i++) {
		struct arena_mark mark = arena_mark(request->arena);
		struct cim_instance *instance;

		if (strcmp(rows[i].class_name, class_name) != 0)
			continue;
		r = make_row(request->arena, &rows[i], &instance, err);
		if (r == 0)
			r = fn(arg, instance, err);
		arena_rewind(request->arena, mark);
	}
	return r;
}

#define TELLS(name, class_name)                                                \
	static int name(void *arg, const struct cim_request *request,          \
			const struct wql_query *query,                         \
			const struct cim_path *object, cim_instance_fn *fn,    \
			void *fn_arg, struct err *err)                         \
	{                                                                      \
		return tell_rows(request, class_name, fn, fn_arg, err);        \
	}

TELLS(tell_systems, "Msvm_ComputerSystem")
TELLS(tell_points, "Msvm_VirtualSystemReferencePoint")
TELLS(tell_jobs, "Msvm_ConcreteJob")
TELLS(tell_service, "Msvm_VirtualSystemReferencePointService")
TELLS(tell_of, OF)
TELLS(tell_hosted, "CIM_HostedDependency")
TELLS(tell_affected, "Msvm_AffectedJobElement")

static int tell_disks(void *arg, const struct cim_request *request,
		      const struct wql_query *query,
		      const struct cim_path *object, cim_instance_fn *fn,
		      void *fn_arg, struct err *err)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < disks; i++) {
		struct arena_mark mark = arena_mark(request->arena);
		char id[16];
		struct row row = {"Msvm_StorageAllocationSettingData",
				  {{"InstanceID", id}}};
		struct cim_instance *instance;

		(void)snprintf(id, sizeof(id), "%u", i);
		r = make_row(request->arena, &row, &instance, err);
		if (r == 0)
			r = fn(fn_arg, instance, err);
		arena_rewind(request->arena, mark);
	}
	return r;
}

/* By name without case; what comes is bound. */
static int get_system(void *arg, const struct cim_request *request,
		      const struct cim_path *path,
		      const struct cim_instance **ret_instance, struct err *err)
{
	assert_null(path->host);
	assert_string_equal(path->ns, V2);
	assert_string_equal(path->class_name, "Msvm_ComputerSystem");
	for (size_t i = 0; i < 2; i++) {
		struct cim_instance *instance;
		int r;

		if (strcasecmp(rows[i].pairs[1][1],
			       cim_path_text(path, "Name")) != 0)
			continue;
		r = make_row(request->arena, &rows[i], &instance, err);
		if (r == 0)
			*ret_instance = instance;
		return r;
	}
	return err_set(err, -CIM_ENOTFOUND, "no such system");
}

static const struct cim_path *job_path(struct arena *a)
{
	const struct cim_path *path = NULL;

	(void)cim_path_parse(a, JOB("job"), &path, NULL);
	return path;
}

/* A system that is no path of ours is 4.  ARG: answers amiss. */
static int call_service(void *arg, const struct cim_request *request,
			const struct cim_path *path,
			const struct cim_arguments *in,
			struct cim_arguments *out, struct cim_value *ret_result,
			struct err *err)
{
	const struct cim_value *system = &in->values[0];
	const struct schema_parameter *job =
	    schema_find_parameter(in->method, "Job");
	uint32_t at = (uint32_t)(job - in->method->parameters);

	assert_string_equal(cim_path_text(path, "Name"), "points");
	assert_true(in->values[at].is_null);
	*ret_result = cim_uint(CIM_UINT32, 4096);
	if (system->is_null || !system->one.ref->ns)
		*ret_result = cim_uint(CIM_UINT32, 4);
	else
		assert_null(system->one.ref->host);
	if (arg)
		out->values[at] = cim_string("no reference");
	else
		out->values[at] = cim_reference(job_path(request->arena));
	return 0;
}

static int call_job(void *arg, const struct cim_request *request,
		    const struct cim_path *path, const struct cim_arguments *in,
		    struct cim_arguments *out, struct cim_value *ret_result,
		    struct err *err)
{
	/* The object's own class declares it. */
	assert_string_equal(in->method->declarer->name, "Msvm_ConcreteJob");
	*ret_result = cim_uint(CIM_UINT32, 0);
	if (strcmp(in->method->name, "GetError") == 0) {
		struct cim_instance *error;

		if (cim_instance_new(request->arena,
				     schema_find_class(NULL, "Msvm_Error"),
				     false, &error, err) < 0)
			return -CIM_ELIMITS;
		out->values[0] = cim_embedded(error);
	}
	return 0;
}

static int delete_point(void *arg, const struct cim_request *request,
			const struct cim_path *path, struct err *err)
{
	if (strcmp(cim_path_text(path, "InstanceID"), "B") == 0)
		return err_set(err, -CIM_EBUSY, "in use");
	return 0;
}

static const char *const job_reads[] = {"GetError", NULL};
static const struct cim_provider systems = {.class_name = "Msvm_ComputerSystem",
					    .enumerate = tell_systems,
					    .get = get_system};
static const struct cim_provider points = {
    .class_name = "msvm_virtualsystemreferencepoint",
    .enumerate = tell_points,
    .delete = delete_point};
static const struct cim_provider jobs = {.class_name = "Msvm_ConcreteJob",
					 .reader_methods = job_reads,
					 .enumerate = tell_jobs,
					 .invoke = call_job};
static const struct cim_provider service = {
    .class_name = "Msvm_VirtualSystemReferencePointService",
    .enumerate = tell_service,
    .invoke = call_service};
static const struct cim_provider of = {.class_name = OF, .enumerate = tell_of};
static const struct cim_provider hosted = {.class_name = "CIM_HostedDependency",
					   .enumerate = tell_hosted};
static const struct cim_provider affected = {
    .class_name = "Msvm_AffectedJobElement", .enumerate = tell_affected};
static const struct cim_provider storage = {
    .class_name = "Msvm_StorageAllocationSettingData", .enumerate = tell_disks};
static const struct cim_provider *const all[] = {&systems,  &points, &jobs,
						 &service,  &of,     &hosted,
						 &affected, &storage};

/* ---- the scene ---------------------------------------------------------- */

static struct broker *broker;
static struct cim_request request;

static int set_up(void **state)
{
	disks = 0;
	if (make_arena(state) < 0 ||
	    broker_new(all, ARRAY_SIZE(all), NULL, &broker, NULL) < 0)
		return -1;
	request = (struct cim_request){.arena = arena,
				       .caller = "someone",
				       .role = CIM_ROLE_OPERATOR,
				       .host = "HOST",
				       .ns = "\\Root\\Virtualization\\V2"};
	return 0;
}

static int tear_down(void **state)
{
	broker = broker_free(broker);
	return drop_arena(state);
}

#define SCENE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

static const struct cim_path *path_of(const char *text)
{
	const struct cim_path *path = NULL;

	assert_int_equal(cim_path_parse(arena, text, &path, NULL), 0);
	return path;
}

/* The names of what was told, in one string. */
struct told {
	char text[512];
	unsigned count;
	int answer; /* of the callback */
};

static void note(struct told *t, const char *name)
{
	size_t n = strlen(t->text);

	t->count++;
	(void)snprintf(t->text + n, sizeof(t->text) - n, "%s%s", n ? " " : "",
		       name);
}

static int take(void *arg, const struct cim_instance *instance, struct err *err)
{
	const char *name = cim_instance_text(instance, "InstanceID");
	const struct cim_value *end = cim_instance_get(instance, "Dependent");
	struct told *t = arg;

	assert_non_null(instance->path);
	assert_string_equal(instance->path->ns, V2);
	if (!name)
		name = cim_instance_text(instance, "Name");
	if (!name && !end->is_null)
		name = cim_path_text(end->one.ref, "InstanceID");
	note(t, name ? name : instance->class->name);
	return t->answer < 0 ? err_set(err, t->answer, "enough") : 0;
}

static int take_class(void *arg, const struct schema_class *class,
		      struct err *err)
{
	note(arg, class->name);
	return 0;
}

static const char *walked(const char *object, struct cim_walk walk)
{
	static struct told t;
	struct err err = {0};

	t = (struct told){0};
	if (broker_walk(broker, &request, path_of(object), &walk, take, &t,
			&err) < 0)
		fail_msg("%s", err.text);
	return t.text;
}

static const char *walked_classes(const char *class, struct cim_walk walk)
{
	static struct told t;
	struct err err = {0};

	t = (struct told){0};
	if (broker_walk_classes(broker, &request, class, &walk, take_class, &t,
				&err) < 0)
		fail_msg("%s", err.text);
	return t.text;
}

static const char *enumerated(const char *class)
{
	static struct told t;
	struct err err = {0};

	t = (struct told){0};
	if (broker_enumerate(broker, &request, class, take, &t, &err) < 0)
		fail_msg("%s", err.text);
	return t.text;
}

static int queried(const char *text, struct told *t)
{
	struct wql_query *query = NULL;

	*t = (struct told){0};
	assert_int_equal(wql_parse(arena, text, &query, NULL), 0);
	return broker_query(broker, &request, query, take, t, NULL);
}

static int got(const char *text, const struct cim_instance **ret_instance)
{
	return broker_get(broker, &request, path_of(text), ret_instance, NULL);
}

/* ---- objects ------------------------------------------------------------ */

static void an_object_is_got_by_any_form_of_its_path(void **state)
{
	static const char *const forms[] = {
	    VM("vm1"),
	    VM("VM1"), /* its provider finds it so */
	    "\\\\elsewhere\\ROOT\\virtualization\\v2:" VM("vm1"),
	    ("cim_computersystem.NAME='vm1',creationclassname="
	     "'Msvm_ComputerSystem'"),
	    "CIM_System.Name='vm1',CreationClassName='x'",
	};
	const struct cim_instance *i = NULL;

	for (size_t n = 0; n < ARRAY_SIZE(forms); n++) {
		if (got(forms[n], &i) < 0)
			fail_msg("%s", forms[n]);
		assert_string_equal(cim_instance_text(i, "Name"), "vm1");
		assert_string_equal(i->path->class_name, "Msvm_ComputerSystem");
		assert_string_equal(i->path->host, "HOST");
	}
	/* One that is looked for among all; one whose keys are paths. */
	assert_int_equal(got(POINT("B", "vm1"), &i), 0);
	assert_int_equal(cim_number(cim_instance_get(i, "ConsistencyLevel"), 0),
			 1);
	assert_int_equal(
	    got(OF ".Dependent='\\\\\\\\h\\\\root\\\\virtualization\\\\v2:"
		   "Msvm_VirtualSystemReferencePoint.VirtualSystemIdentifier="
		   "\\'vm1\\',InstanceID=\\'A\\'',Antecedent="
		   "'Msvm_ComputerSystem.Name=\\'vm1\\',CreationClassName="
		   "\\'Msvm_ComputerSystem\\''",
		&i),
	    0);
	assert_string_equal(i->class->name, OF);
}

static void what_cannot_be_got_has_its_error(void **state)
{
	static const struct {
		const char *path;
		int code;
	} samples[] = {
	    {VM("vm3"), -CIM_ENOTFOUND},
	    {POINT("A", "vm2"), -CIM_ENOTFOUND},
	    {"Msvm_Nothing.Name='x'", -CIM_ECLASS},
	    {"Win32_Processor.DeviceID='x'", -CIM_ECLASS},
	    {"root/cimv2:" VM("vm1"), -CIM_ENAMESPACE},
	    {"Msvm_ComputerSystem.Name='vm1'", -CIM_ESELECTORFEW},
	    {"Msvm_ComputerSystem", -CIM_ESELECTORFEW},
	    {VM("vm1") ",X='1'", -CIM_ESELECTORUNKNOWN},
	    {VM("vm1") ",name='1'", -CIM_ESELECTORTWICE},
	    {OF ".Antecedent='a=b=c',Dependent='x.y'", -CIM_ESELECTORVALUE},
	    /* In the schema, of nobody. */
	    {"Msvm_VirtualSystemSettingData.InstanceID='x'", -CIM_ENOTFOUND},
	};
	const struct cim_instance *i = NULL;

	for (size_t n = 0; n < ARRAY_SIZE(samples); n++) {
		int r = got(samples[n].path, &i);

		if (r != samples[n].code)
			fail_msg("%s: %d", samples[n].path, r + CIM_ERR_BASE);
	}
	assert_null(i);
	request.ns = "root/nowhere";
	assert_int_equal(got(VM("vm1"), &i), -CIM_ENAMESPACE);
}

static void a_superclass_has_the_instances_of_its_subclasses(void **state)
{
	assert_string_equal(enumerated("Msvm_ConcreteJob"), "job");
	assert_string_equal(enumerated("cim_computersystem"), "vm1 vm2");
	assert_string_equal(enumerated("CIM_Dependency"), "A A B gone C");
	assert_string_equal(enumerated("Msvm_VirtualSystemSettingData"), "");
	/* C1: one instance of the service, whoever asks for it. */
	assert_string_equal(enumerated("CIM_Service"), "points");
	disks = 2;
	assert_string_equal(enumerated("CIM_SettingData"), "0 1");
}

static void a_callback_ends_what_it_is_told(void **state)
{
	struct told t = {.answer = -CIM_ESHUTDOWN};
	struct cim_walk walk = {0};
	struct err err = {0};

	assert_int_equal(broker_enumerate(broker, &request, "CIM_Dependency",
					  take, &t, &err),
			 -CIM_ESHUTDOWN);
	assert_string_equal(err.text, "enough");
	assert_int_equal(t.count, 1);
	assert_int_equal(broker_walk(broker, &request, path_of(VM("vm1")),
				     &walk, take, &t, &err),
			 -CIM_ESHUTDOWN);
	assert_int_equal(t.count, 2);
	assert_int_equal(broker_enumerate(broker, &request, "CIM_Nothing", take,
					  &t, &err),
			 -CIM_ECLASS);
}

/* ---- walks -------------------------------------------------------------- */

/* C4, and C3: exactly one row. */
static void a_jobs_point_is_found_however_it_is_asked_for(void **state)
{
	static const struct cim_walk walks[] = {
	    {0},
	    {.assoc_class = "CIM_AffectedJobElement"},
	    {.assoc_class = "msvm_affectedjobelement"},
	    {.result_class = "Msvm_VirtualSystemReferencePoint"},
	    {.result_class = "CIM_ManagedElement"},
	    {.role = "affectingelement"},
	    {.result_role = "AFFECTEDELEMENT"},
	    {.assoc_class = "CIM_AffectedJobElement",
	     .result_class = "Msvm_VirtualSystemReferencePoint",
	     .role = "AffectingElement",
	     .result_role = "AffectedElement"},
	};
	static const struct cim_walk none[] = {
	    {.assoc_class = "Msvm_SettingsDefineState"},
	    {.assoc_class = "Msvm_ComputerSystem"},
	    {.result_class = "CIM_ComputerSystem"},
	    {.role = "AffectedElement"},
	    {.result_role = "AffectingElement"},
	    {.role = "Nothing"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(walks); i++)
		assert_string_equal(walked(JOB("job"), walks[i]), "A");
	assert_string_equal(
	    walked("CIM_ConcreteJob.InstanceID='job'", walks[0]), "A");
	for (size_t i = 0; i < ARRAY_SIZE(none); i++)
		assert_string_equal(walked(JOB("job"), none[i]), "");
}

static void each_other_end_is_told_once_and_none_that_is_gone(void **state)
{
	struct cim_walk any = {0};
	struct cim_walk references = {.references = true};
	struct cim_walk points_of = {.references = true, .result_class = OF};

	assert_string_equal(walked(VM("vm1"), any), "A B");
	assert_string_equal(walked(POINT("A", "vm1"), any), "job vm1");
	assert_string_equal(walked(VM("vm1"), references), "A A B");
	assert_string_equal(walked(VM("vm1"), points_of), "A B");
	references.role = "Dependent";
	assert_string_equal(walked(VM("vm1"), references), "");
}

static void a_walk_has_its_errors(void **state)
{
	static const struct cim_walk bad[] = {
	    {.assoc_class = "CIM_Nothing"},
	    {.result_class = "Win32_Processor"},
	    {.references = true, .result_class = "x y"},
	};
	struct cim_walk any = {0};
	struct told t = {0};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(broker_walk(broker, &request,
					     path_of(VM("vm1")), &bad[i], take,
					     &t, NULL),
				 -CIM_EPARAMETER);
		assert_int_equal(broker_walk_classes(broker, &request,
						     "CIM_Job", &bad[i],
						     take_class, &t, NULL),
				 -CIM_EPARAMETER);
	}
	assert_int_equal(broker_walk(broker, &request, path_of(VM("vm3")), &any,
				     take, &t, NULL),
			 -CIM_ENOTFOUND);
	assert_int_equal(broker_walk_classes(broker, &request, "CIM_Nothing",
					     &any, take_class, &t, NULL),
			 -CIM_ECLASS);
	assert_int_equal(t.count, 0);
}

static void classes_are_walked_by_the_schema_alone(void **state)
{
	struct cim_walk of_class = {.assoc_class = OF};
	struct cim_walk references = {.references = true,
				      .result_class = "CIM_Dependency",
				      .role = "Dependent"};
	struct cim_walk below = {.assoc_class = "CIM_AffectedJobElement",
				 .result_class =
				     "Msvm_VirtualSystemReferencePoint"};

	assert_string_equal(walked_classes("Msvm_ComputerSystem", of_class),
			    "Msvm_VirtualSystemReferencePoint");
	assert_string_equal(walked_classes("Msvm_VirtualSystemReferencePoint",
					   references),
			    "CIM_Dependency CIM_HostedDependency " OF);
	assert_string_equal(walked_classes("Msvm_ConcreteJob", below),
			    "Msvm_VirtualSystemReferencePoint");
	assert_string_equal(walked_classes("CIM_Error", of_class), "");
}

/* ---- queries ------------------------------------------------------------ */

static void queries_tell_what_matches(void **state)
{
	static const struct {
		const char *text, *told;
	} samples[] = {
	    /* C15 and C13. */
	    {"SELECT * FROM Msvm_VirtualSystemReferencePoint WHERE "
	     "virtualsystemidentifier='VM1'",
	     "A B"},
	    {"select instanceid from msvm_virtualsystemreferencepoint where "
	     "InstanceID='C'",
	     "C"},
	    {"SELECT * FROM CIM_Job WHERE Name = 'x'", ""},
	    {"SELECT * FROM CIM_ManagedElement WHERE __CLASS = "
	     "'msvm_concretejob'",
	     "job"},
	    {"ASSOCIATORS OF {" JOB("job") "}", "A"},
	    {"ASSOCIATORS OF {\\\\x\\root\\virtualization\\v2:" VM(
		 "vm1") "} "
			"WHERE ResultClass = Msvm_VirtualSystemReferencePoint",
	     "A B"},
	    {"ASSOCIATORS OF {" JOB("job") "} WHERE ClassDefsOnly", "A"},
	    {"REFERENCES OF {" VM("vm2") "} WHERE ResultClass=" OF, "C"},
	};
	struct told t;

	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		assert_int_equal(queried(samples[i].text, &t), 0);
		assert_string_equal(t.text, samples[i].told);
	}
	assert_int_equal(queried("SELECT X FROM CIM_Job", &t), -CIM_EQUERY);
	assert_int_equal(queried("SELECT * FROM CIM_No", &t), -CIM_ECLASS);
	assert_int_equal(queried("REFERENCES OF {CIM_Job}", &t), -CIM_EQUERY);
}

/* ---- methods, deletion -------------------------------------------------- */

static struct cim_arguments arguments(const char *class, const char *method)
{
	struct cim_arguments a = {0};
	const struct schema_class *c = NULL;

	assert_int_equal(broker_class(&request, class, &c, NULL), 0);
	assert_int_equal(broker_arguments(&request, c, method, &a, NULL), 0);
	return a;
}

static struct cim_value *argument(struct cim_arguments *a, const char *name)
{
	const struct schema_parameter *p =
	    schema_find_parameter(a->method, name);

	assert_non_null(p);
	return &a->values[p - a->method->parameters];
}

static int call(const char *path, const struct cim_arguments *in,
		struct cim_arguments *out, struct cim_value *result)
{
	return broker_invoke(broker, &request, path_of(path), in, out, result,
			     NULL);
}

static void a_method_is_called_with_bound_arguments(void **state)
{
	struct cim_arguments in =
	    arguments("Msvm_VirtualSystemReferencePointService",
		      "createREFERENCEpoint");
	struct cim_arguments out = {0};
	struct cim_value result = {0};

	*argument(&in, "affectedsystem") = cim_reference(
	    path_of("//any/root/virtualization/V2:CIM_ComputerSystem."
		    "Name='vm1',CreationClassName='Msvm_ComputerSystem'"));
	/* What is not in is ignored. */
	*argument(&in, "Job") = cim_string("anything");
	assert_int_equal(call(SERVICE, &in, &out, &result), 0);
	assert_int_equal(cim_number(&result, 0), 4096);
	assert_string_equal(
	    cim_path_text(argument(&out, "Job")->one.ref, "InstanceID"), "job");
	/* What names nothing is the method's to refuse (B5). */
	*argument(&in, "AffectedSystem") = cim_reference(path_of("No.x='y'"));
	assert_int_equal(call(SERVICE, &in, &out, &result), 0);
	assert_int_equal(cim_number(&result, 0), 4);
	*argument(&in, "AffectedSystem") = cim_uint(CIM_UINT16, 1);
	assert_int_equal(call(SERVICE, &in, &out, &result), -CIM_ETYPEMISMATCH);
}

static void the_objects_class_declares_the_method(void **state)
{
	struct cim_arguments in = arguments("CIM_ConcreteJob", "GetError");
	struct cim_arguments out = {0};
	struct cim_value result = {0};

	assert_string_equal(in.method->declarer->name, "CIM_ConcreteJob");
	assert_int_equal(
	    call("CIM_ConcreteJob.InstanceID='job'", &in, &out, &result), 0);
	/* The answer is of the declaration that the caller knows. */
	assert_ptr_equal(out.method, in.method);
	assert_true(argument(&out, "Error")->embedded);
	/* No such object; no such method; a provider that has none. */
	assert_int_equal(call(JOB("x"), &in, &out, &result), -CIM_ENOTFOUND);
	assert_int_equal(call(SERVICE, &in, &out, &result), -CIM_EMETHOD);
	assert_int_equal(broker_arguments(&request, in.method->declarer, "No",
					  &in, NULL),
			 -CIM_EMETHOD);
	in = arguments("CIM_ComputerSystem", "RequestStateChange");
	assert_int_equal(call(VM("vm1"), &in, &out, &result),
			 -CIM_ENOTAVAILABLE);
}

static void deletion_is_the_providers(void **state)
{
	assert_int_equal(broker_delete(broker, &request,
				       path_of(POINT("A", "vm1")), NULL),
			 0);
	assert_int_equal(broker_delete(broker, &request,
				       path_of(POINT("B", "vm1")), NULL),
			 -CIM_EBUSY);
	assert_int_equal(broker_delete(broker, &request,
				       path_of(POINT("D", "vm1")), NULL),
			 -CIM_ENOTFOUND);
	assert_int_equal(broker_delete(broker, &request, path_of(VM("vm1")),
				       NULL),
			 -CIM_ENOTSUPPORTED);
}

/* ---- roles -------------------------------------------------------------- */

static void a_reader_changes_nothing(void **state)
{
	struct cim_arguments error = arguments("Msvm_ConcreteJob", "GetError");
	struct cim_arguments end =
	    arguments("Msvm_ConcreteJob", "RequestStateChange");
	struct cim_arguments create =
	    arguments("Msvm_VirtualSystemReferencePointService",
		      "CreateReferencePoint");
	struct cim_arguments out = {0};
	struct cim_value result = {0};
	const struct cim_instance *i;

	request.role = CIM_ROLE_READER;
	assert_int_equal(got(VM("vm1"), &i), 0);
	assert_string_equal(enumerated("CIM_Job"), "job");
	assert_int_equal(call(JOB("job"), &error, &out, &result), 0);
	assert_int_equal(call(JOB("job"), &end, &out, &result), -CIM_EACCESS);
	assert_int_equal(call(SERVICE, &create, &out, &result), -CIM_EACCESS);
	assert_int_equal(broker_delete(broker, &request,
				       path_of(POINT("A", "vm1")), NULL),
			 -CIM_EACCESS);
}

/* Of a class as far as it can be known without the object. */
static int may_call(const char *class, const char *method)
{
	return broker_may_call(broker, &request, schema_find_class(NULL, class),
			       method, NULL);
}

static void a_call_is_refused_before_its_arguments_are_read(void **state)
{
	assert_int_equal(may_call("Msvm_ConcreteJob", "RequestStateChange"), 0);
	request.role = CIM_ROLE_READER;
	assert_int_equal(may_call("Msvm_ConcreteJob", "geterror"), 0);
	assert_int_equal(may_call("CIM_ConcreteJob", "GetError"), 0);
	assert_int_equal(may_call("Msvm_ConcreteJob", "RequestStateChange"),
			 -CIM_EACCESS);
	assert_int_equal(may_call("CIM_ConcreteJob", "RequestStateChange"),
			 -CIM_EACCESS);
	assert_int_equal(may_call("Msvm_VirtualSystemReferencePointService",
				  "CreateReferencePoint"),
			 -CIM_EACCESS);
	/* Nobody provides it. */
	assert_int_equal(may_call("Msvm_VirtualSystemManagementService",
				  "DefineSystem"),
			 -CIM_EACCESS);
}

static void nobody_does_nothing(void **state)
{
	struct cim_arguments error = arguments("Msvm_ConcreteJob", "GetError");
	const struct schema_class *class = error.method->declarer;
	struct cim_arguments out = {0};
	struct cim_walk walk = {0};
	struct cim_value result = {0};
	const struct cim_instance *i = NULL;
	struct told t = {0};

	/* Also of namespaces, which are there or not. */
	for (request.role = CIM_ROLE_NONE; request.ns;
	     request.ns = strchr(request.ns, 'x') ? NULL : "x") {
		assert_int_equal(got(VM("vm1"), &i), -CIM_EACCESS);
		assert_int_equal(queried("SELECT * FROM CIM_Job", &t),
				 -CIM_EACCESS);
		assert_int_equal(queried("REFERENCES OF {A=1}", &t),
				 -CIM_EACCESS);
		assert_int_equal(broker_enumerate(broker, &request, "CIM_Job",
						  take, &t, NULL),
				 -CIM_EACCESS);
		assert_int_equal(broker_walk(broker, &request,
					     path_of(VM("vm1")), &walk, take,
					     &t, NULL),
				 -CIM_EACCESS);
		assert_int_equal(broker_walk_classes(broker, &request,
						     "CIM_Job", &walk,
						     take_class, &t, NULL),
				 -CIM_EACCESS);
		assert_int_equal(broker_class(&request, "CIM_Job", &class,
					      NULL),
				 -CIM_EACCESS);
		assert_int_equal(broker_arguments(&request, class, "GetError",
						  &out, NULL),
				 -CIM_EACCESS);
		assert_int_equal(call(JOB("job"), &error, &out, &result),
				 -CIM_EACCESS);
		assert_int_equal(broker_delete(broker, &request,
					       path_of(POINT("A", "vm1")),
					       NULL),
				 -CIM_EACCESS);
	}
	assert_int_equal(t.count, 0);
}

/* ---- limits, bad providers ---------------------------------------------- */

static int count(void *arg, const struct cim_instance *instance,
		 struct err *err)
{
	++*(unsigned *)arg;
	return 0;
}

static void an_answers_length_costs_no_memory(void **state)
{
	size_t before;
	unsigned n = 0;

	disks = 2000;
	arena_free(arena);
	arena = arena_new(KIB(64));
	request.arena = arena;
	before = arena_used(arena);
	assert_int_equal(broker_enumerate(broker, &request, "CIM_SettingData",
					  count, &n, NULL),
			 0);
	assert_int_equal(n, disks);
	assert_int_equal(arena_used(arena), before);
}

static void memory_that_runs_out_is_an_error(void **state)
{
	const struct cim_instance *i = NULL;
	struct told t = {0};
	struct err err = {0};
	int r = -CIM_ELIMITS;

	/* Every place where it can run out, one after the other. */
	for (size_t left = 0; r == -CIM_ELIMITS && left < KIB(64); left += 16) {
		struct arena *small = arena_new(left);
		struct cim_request own = request;
		struct cim_walk any = {0};

		own.arena = small;
		t = (struct told){0};
		r = broker_get(broker, &own, path_of(POINT("B", "vm1")), &i,
			       &err);
		if (r == 0)
			r = broker_walk(broker, &own, path_of(JOB("job")), &any,
					take, &t, &err);
		arena_free(small);
	}
	assert_int_equal(r, 0);
	assert_string_equal(t.text, "A");
}

static int tell_other(void *arg, const struct cim_request *own,
		      const struct wql_query *query,
		      const struct cim_path *object, cim_instance_fn *fn,
		      void *fn_arg, struct err *err)
{
	return tell_rows(own, "Msvm_ConcreteJob", fn, fn_arg, err);
}

static void providers_are_held_to_their_contract(void **state)
{
	static const struct cim_provider other = {.class_name = "Msvm_Error",
						  .enumerate = tell_other};
	static const struct cim_provider unknown = {.class_name = "Msvm_No",
						    .enumerate = tell_other};
	static const struct cim_provider abstract = {
	    .class_name = "CIM_Dependency", .enumerate = tell_other};
	static const struct cim_provider empty = {.class_name = "Msvm_Error"};
	const struct cim_provider *const bad[][2] = {{&jobs, &jobs},
						     {&jobs, &unknown},
						     {&jobs, &abstract},
						     {&jobs, &empty}};
	const struct cim_provider *const two[] = {&other, &service};
	struct cim_arguments in =
	    arguments("Msvm_VirtualSystemReferencePointService",
		      "CreateReferencePoint");
	struct cim_arguments out = {0};
	struct cim_value result = {0};
	struct broker *own = NULL;
	struct told t = {0};
	char wrong[] = "wrong";

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(broker_new(bad[i], 2, NULL, &own, NULL),
				 -EINVAL);
	assert_null(own);
	assert_int_equal(broker_new(two, 2, wrong, &own, NULL), 0);
	assert_int_equal(broker_enumerate(own, &request, "CIM_Error", take, &t,
					  NULL),
			 -CIM_EFAILED);
	assert_int_equal(t.count, 0);
	assert_int_equal(broker_invoke(own, &request, path_of(SERVICE), &in,
				       &out, &result, NULL),
			 -CIM_EFAILED);
	assert_null(out.method);
	broker_free(own);
}

struct hints {
	char pinned[32], object[32];
	const char *ns, *host;
	enum cim_role role;
};

static int note_hints(void *arg, const struct cim_request *own,
		      const struct wql_query *query,
		      const struct cim_path *object, cim_instance_fn *fn,
		      void *fn_arg, struct err *err)
{
	struct hints *h = arg;
	const char *pinned = query ? wql_pinned(query, "InstanceID") : NULL;
	const char *name = object ? cim_path_text(object, "Name") : NULL;

	assert_ptr_not_equal(own->arena, arena);
	(void)snprintf(h->pinned, sizeof(h->pinned), "%s",
		       pinned ? pinned : "-");
	(void)snprintf(h->object, sizeof(h->object), "%s", name ? name : "-");
	h->ns = own->ns;
	h->host = own->host;
	h->role = own->role;
	return 0;
}

static void providers_are_told_what_is_wanted(void **state)
{
	static const struct cim_provider disk = {
	    .class_name = "Msvm_StorageAllocationSettingData",
	    .enumerate = note_hints};
	static const struct cim_provider link = {.class_name = OF,
						 .enumerate = note_hints};
	const struct cim_provider *const list[] = {&disk, &link, &systems};
	struct broker *common = broker;
	struct cim_walk any = {0};
	struct hints hints = {0};
	struct told t = {0};

	assert_int_equal(broker_new(list, 3, &hints, &broker, NULL), 0);
	assert_int_equal(queried("SELECT * FROM CIM_SettingData WHERE "
				 "InstanceID = 'a' AND Caption = 'b'",
				 &t),
			 0);
	assert_string_equal(hints.pinned, "a");
	assert_string_equal(hints.object, "-");
	assert_string_equal(hints.ns, V2);
	assert_string_equal(hints.host, "HOST");
	assert_int_equal(hints.role, CIM_ROLE_OPERATOR);
	assert_int_equal(broker_walk(broker, &request, path_of(VM("vm2")), &any,
				     take, &t, NULL),
			 0);
	assert_string_equal(hints.pinned, "-");
	assert_string_equal(hints.object, "vm2");
	broker_free(broker);
	broker = common;
}

/* ---- copies ------------------------------------------------------------- */

static void a_copy_outlives_what_it_is_of(void **state)
{
	static const char *const texts[] = {"x", "y"};
	struct arena *other = arena_new(MIB(1));
	struct row job = {"Msvm_ConcreteJob", {{"InstanceID", "job"}}};
	struct cim_instance *i, *inner;
	const struct cim_instance *copy = NULL;
	struct cim_value two;

	assert_int_equal(make_row(other, &job, &i, NULL), 0);
	assert_int_equal(make_row(other, &job, &inner, NULL), 0);
	assert_int_equal(cim_string_array(other, texts, 2, &two, NULL), 0);
	assert_int_equal(cim_instance_set(i, "StatusDescriptions", two, NULL),
			 0);
	/* An embedded one, wherever it is: the copy does not mind. */
	i->values[0] = cim_embedded(inner);
	assert_int_equal(cim_instance_make_path(other, inner, "h", V2, NULL),
			 0);
	i->path = inner->path;
	assert_int_equal(cim_instance_copy(arena, i, &copy, NULL), 0);
	for (uint32_t n = 0; n < i->class->property_count; n++) {
		assert_true(cim_value_equal(&i->values[n], &copy->values[n]));
		assert_int_equal(cim_instance_has(i, n),
				 cim_instance_has(copy, n));
	}
	arena_free(other);
	assert_string_equal(copy->path->host, "h");
	assert_string_equal(copy->path->keys[0].text, "job");
	assert_string_equal(copy->values[0].one.instance->path->ns, V2);
	assert_string_equal(
	    cim_instance_get(copy, "StatusDescriptions")->items[1].text, "y");
}

/* ---- several at once ---------------------------------------------------- */

#define THREADS 4

static void *work(void *failed)
{
	struct arena *own = arena_new(CIM_REQUEST_MEMORY);
	struct cim_request r = request;
	struct cim_walk any = {0};
	const struct cim_path *path;
	const struct cim_instance *i;

	r.arena = own;
	for (unsigned n = 0; n < 50; n++) {
		struct arena_mark mark = arena_mark(own);
		unsigned told = 0;

		if (cim_path_parse(own, VM("vm1"), &path, NULL) < 0 ||
		    broker_get(broker, &r, path, &i, NULL) < 0 ||
		    broker_walk(broker, &r, path, &any, count, &told, NULL) <
			0 ||
		    broker_enumerate(broker, &r, "CIM_ManagedElement", count,
				     &told, NULL) < 0 ||
		    told != 2 + 7)
			*(bool *)failed = true;
		arena_rewind(own, mark);
	}
	arena_free(own);
	return NULL;
}

static void threads_do_not_meet(void **state)
{
	pthread_t threads[THREADS];
	bool failed[THREADS] = {0};

	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(
		    pthread_create(&threads[i], NULL, work, &failed[i]), 0);
	for (size_t i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_false(failed[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    SCENE(an_object_is_got_by_any_form_of_its_path),
	    SCENE(what_cannot_be_got_has_its_error),
	    SCENE(a_superclass_has_the_instances_of_its_subclasses),
	    SCENE(a_callback_ends_what_it_is_told),
	    SCENE(a_jobs_point_is_found_however_it_is_asked_for),
	    SCENE(each_other_end_is_told_once_and_none_that_is_gone),
	    SCENE(a_walk_has_its_errors),
	    SCENE(classes_are_walked_by_the_schema_alone),
	    SCENE(queries_tell_what_matches),
	    SCENE(a_method_is_called_with_bound_arguments),
	    SCENE(the_objects_class_declares_the_method),
	    SCENE(deletion_is_the_providers),
	    SCENE(a_reader_changes_nothing),
	    SCENE(a_call_is_refused_before_its_arguments_are_read),
	    SCENE(nobody_does_nothing),
	    SCENE(an_answers_length_costs_no_memory),
	    SCENE(memory_that_runs_out_is_an_error),
	    SCENE(providers_are_held_to_their_contract),
	    SCENE(providers_are_told_what_is_wanted),
	    SCENE(a_copy_outlives_what_it_is_of),
	    SCENE(threads_do_not_meet),
	};

	return cmocka_run_group_tests_name("broker", tests, NULL, NULL);
}
