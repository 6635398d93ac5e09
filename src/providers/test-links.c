/* SPDX-License-Identifier: Apache-2.0 */
/* From a virtual system to what it has and back, as clients walk; and a
 * refpointd that is away or makes no sense. */
#include "providers/test-scene.h"

#define SETTINGS_PATH(uuid)                                                    \
	"Msvm_VirtualSystemSettingData.InstanceID=\"Microsoft:" uuid "\""
#define DISK_PATH(uuid, n)                                                     \
	"Msvm_StorageAllocationSettingData.InstanceID=\"Microsoft:" uuid       \
	"\\\\5A6E1F5C-0D4B-4B7B-9C7E-3C1B0E6D2A41\\\\0\\\\" #n "\\\\L\""
#define HOST_PATH                                                              \
	"Msvm_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\","       \
	"Name=\"hv\""
#define SERVICE_PATH(class, name)                                              \
	class ".SystemCreationClassName=\"Msvm_ComputerSystem\","              \
	      "SystemName=\"hv\",CreationClassName=\"" class "\",Name=\"" name \
							     "\""

/* ---- services --------------------------------------------------------------
 */

static void c1_each_service_is_there_once(void **state)
{
	static const char *const services[][2] = {
	    {"Msvm_VirtualSystemReferencePointService", "rpsvc"},
	    {"Msvm_VirtualSystemSnapshotService", "vssnapsvc"},
	    {"Msvm_VirtualSystemManagementService", "vmms"},
	    {"Msvm_ImageManagementService", "imgsvc"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(services); i++) {
		struct told t = enumerated(services[i][0]);

		assert_int_equal(t.count, 1);
		assert_sound(&t);
		assert_string_equal(text_of(t.list[0], "Name"), services[i][1]);
		assert_string_equal(text_of(t.list[0], "SystemName"), "hv");
		assert_true(cim_true(cim_instance_get(t.list[0], "Started")));
		assert_int_equal(number_of(t.list[0], "EnabledState"), 2);
		assert_int_equal(number_of(t.list[0], "HealthState"), 5);
		assert_int_equal(number_of(t.list[0], "RequestedState"), 12);
		assert_int_equal(number_of(t.list[0], "OperationalStatus"), 2);
	}
	assert_int_equal(enumerated("CIM_Service").count, 4);
	assert_int_equal(scene->asked, 0);
	assert_null(got(SERVICE_PATH("Msvm_ImageManagementService", "vmms")));
}

/* ---- both ways
 * --------------------------------------------------------------- */

static const struct {
	const char *assoc, *super; /* and a superclass of it */
	const char *from, *to;
	const char *result, *result_super; /* the class at TO's end, likewise */
	const char *role, *result_role;
	size_t forth, back; /* how many there are from FROM, and from TO */
} links[] = {
    {"Msvm_ReferencePointOfVirtualSystem", "CIM_Dependency", SYSTEM_PATH(ALPHA),
     POINT_PATH(ALPHA, 02), "Msvm_VirtualSystemReferencePoint",
     "CIM_ManagedElement", "Antecedent", "Dependent", 3, 1},
    {"Msvm_SettingsDefineState", "CIM_SettingsDefineState", SYSTEM_PATH(ALPHA),
     SETTINGS_PATH(ALPHA), "Msvm_VirtualSystemSettingData",
     "CIM_VirtualSystemSettingData", "ManagedElement", "SettingData", 1, 1},
    {"Msvm_VirtualSystemSettingDataComponent", "CIM_Component",
     SETTINGS_PATH(ALPHA), DISK_PATH(ALPHA, 1),
     "Msvm_StorageAllocationSettingData", "CIM_ResourceAllocationSettingData",
     "GroupComponent", "PartComponent", 2, 1},
    {"Msvm_SystemExportSettingData", "CIM_ElementSettingData",
     SYSTEM_PATH(ALPHA),
     "Msvm_VirtualSystemExportSettingData.InstanceID=\"Microsoft:" ALPHA
     "\\\\Export\"",
     "Msvm_VirtualSystemExportSettingData", "CIM_SettingData", "ManagedElement",
     "SettingData", 1, 1},
    {"Msvm_HostedService", "CIM_HostedService", HOST_PATH,
     SERVICE_PATH("Msvm_ImageManagementService", "imgsvc"),
     "Msvm_ImageManagementService", "CIM_Service", "Antecedent", "Dependent", 4,
     1},
};

static bool has(const struct told *told, const char *path)
{
	for (size_t i = 0; i < told->count; i++)
		if (cim_path_equal(told->list[i]->path, parsed(path)))
			return true;
	return false;
}

static void every_association_is_walked_both_ways(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
		struct cim_walk walk = {.assoc_class = links[i].assoc};
		struct told t = walked(links[i].from, &walk);

		assert_int_equal(t.count, links[i].forth);
		assert_true(has(&t, links[i].to));
		assert_sound(&t);
		t = walked(links[i].to, &walk);
		assert_int_equal(t.count, links[i].back);
		assert_true(has(&t, links[i].from));
		walk = (struct cim_walk){.references = true,
					 .result_class = links[i].assoc};
		t = walked(links[i].from, &walk);
		assert_int_equal(t.count, links[i].forth);
		assert_sound(&t);
		t = walked(links[i].to, &walk);
		assert_int_equal(t.count, links[i].back);
		assert_sound(&t);
	}
}

static void c4_superclasses_and_roles_filter_a_walk(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
		struct cim_walk walk = {.assoc_class = links[i].super,
					.result_class = links[i].result_super,
					.role = links[i].role,
					.result_role = links[i].result_role};
		struct told t = walked(links[i].from, &walk);

		assert_true(has(&t, links[i].to));
		walk.assoc_class = NULL;
		t = walked(links[i].from, &walk);
		assert_true(has(&t, links[i].to));
		walk.result_class = links[i].result;
		t = walked(links[i].from, &walk);
		assert_true(has(&t, links[i].to));
		walk.role = links[i].result_role;
		t = walked(links[i].from, &walk);
		assert_false(has(&t, links[i].to));
	}
}

static void a_walk_without_filters_finds_all_that_a_system_has(void **state)
{
	struct cim_walk walk = {0};
	struct told t = walked(SYSTEM_PATH(ALPHA), &walk);

	/* 3 points, the settings, those of an export; no other's. */
	assert_int_equal(t.count, 5);
	assert_false(has(&t, SETTINGS_PATH(BETA)));
	walk.references = true;
	assert_int_equal(walked(SYSTEM_PATH(ALPHA), &walk).count, 5);
	assert_int_equal(walked(SYSTEM_PATH(BETA), &walk).count, 2);
	assert_int_equal(walked(HOST_PATH, &walk).count, 4);
}

static void a_query_walks_as_clients_write_it(void **state)
{
	struct told t =
	    queried("ASSOCIATORS OF {Msvm_ComputerSystem.CreationClassName="
		    "\"Msvm_ComputerSystem\",Name=\"0a1b2c3d-0000-4000-8000-"
		    "00000000000a\"} WHERE AssocClass=Msvm_SettingsDefineState "
		    "ResultClass=Msvm_VirtualSystemSettingData");

	assert_int_equal(t.count, 1);
	t = queried("ASSOCIATORS OF {Msvm_VirtualSystemSettingData."
		    "InstanceID='Microsoft:" ALPHA
		    "'} WHERE ResultClass=Msvm_StorageAllocationSettingData");
	assert_int_equal(t.count, 2);
}

static void a_walk_asks_for_its_system_alone(void **state)
{
	struct cim_walk walk = {.assoc_class =
				    "Msvm_ReferencePointOfVirtualSystem"};
	struct told t = walked(SYSTEM_PATH(GAMMA), &walk);

	assert_int_equal(t.count, 5);
	assert_string_equal(scene->asked_uuid,
			    "0a1b2c3d-0000-4000-8000-00000000000c");
	/* Once for the system, once for its points, and not once for each. */
	assert_int_equal(scene->asked, 2);
	scene->asked = 0;
	t = walked(POINT_PATH(GAMMA, 14), &walk);
	assert_int_equal(t.count, 1);
	assert_string_equal(text_of(t.list[0], "ElementName"), "gamma");
	assert_int_equal(scene->asked, 2);
}

static void all_links_are_enumerated(void **state)
{
	struct told t = enumerated("Msvm_ReferencePointOfVirtualSystem");

	assert_int_equal(t.count, 8);
	assert_sound(&t);
	t = enumerated("Msvm_VirtualSystemSettingDataComponent");
	assert_int_equal(t.count, 4);
	assert_sound(&t);
	assert_int_equal(enumerated("CIM_Dependency").count, 12);
	assert_int_equal(enumerated("Msvm_SnapshotOfVirtualSystem").count, 0);
	assert_int_equal(enumerated("Msvm_LastAppliedSnapshot").count, 0);
}

static void a_link_between_strangers_is_not_found(void **state)
{
	assert_non_null(got("Msvm_ReferencePointOfVirtualSystem.Antecedent=\""
			    "Msvm_ComputerSystem.CreationClassName=\\\"Msvm_"
			    "ComputerSystem\\\",Name=\\\"" GAMMA
			    "\\\"\",Dependent=\"Msvm_VirtualSystemReference"
			    "Point.InstanceID=\\\"" POINT(
				12) "\\\",VirtualSystemIdentifier=\\\"" GAMMA
				    "\\\"\""));
	assert_null(got("Msvm_ReferencePointOfVirtualSystem.Antecedent=\""
			"Msvm_ComputerSystem.CreationClassName=\\\"Msvm_"
			"ComputerSystem\\\",Name=\\\"" ALPHA
			"\\\"\",Dependent=\"Msvm_VirtualSystemReference"
			"Point.InstanceID=\\\"" POINT(
			    12) "\\\",VirtualSystemIdentifier=\\\"" GAMMA
				"\\\"\""));
	assert_null(got("Msvm_ReferencePointOfVirtualSystem.Antecedent=\""
			"Msvm_ComputerSystem.CreationClassName=\\\"Msvm_"
			"ComputerSystem\\\",Name=\\\"hv\\\"\",Dependent=\""
			"Msvm_VirtualSystemReferencePoint.InstanceID=\\\"" //
			POINT(12) "\\\",VirtualSystemIdentifier=\\\"" GAMMA
				  "\\\"\""));
}

/* ---- what goes wrong
 * --------------------------------------------------------- */

static const char *const classes[] = {
    "Msvm_ComputerSystem",
    "Msvm_VirtualSystemSettingData",
    "Msvm_StorageAllocationSettingData",
    "Msvm_VirtualSystemReferencePoint",
    "Msvm_ReferencePointOfVirtualSystem",
    "Msvm_SystemExportSettingData",
};

static void without_refpointd_there_is_an_error_that_says_so(void **state)
{
	scene->fake = fake_free(scene->fake);
	for (size_t i = 0; i < ARRAY_SIZE(classes); i++) {
		struct err err = {0};

		assert_int_equal(try_enumerate(classes[i], &err), -CIM_EFAILED);
		assert_int_equal(err.code, -CIM_EFAILED);
		assert_non_null(strstr(err.text, "refpointd"));
	}
	/* What needs none is told. */
	assert_int_equal(enumerated("CIM_Service").count, 4);
	assert_non_null(got(HOST_PATH));
}

#define WHOLE                                                                  \
	"'vm':'a','uuid':'0a1b2c3d-0000-4000-8000-00000000000a',"              \
	"'state':'serving','connected':true"
#define SYSTEM(more) "{'systems':[{" WHOLE "," more "}]}"

static void what_makes_no_sense_is_an_error(void **state)
{
	static const char *const replies[] = {
	    "{}",
	    "{'systems':7}",
	    "{'systems':{}}",
	    "{'systems':[7]}",
	    "{'systems':[{}]}",
	    "{'systems':[null]}",
	    "{'systems':[{" WHOLE "}]}",
	    SYSTEM("'disks':[]"),
	    SYSTEM("'disks':7,'points':[]"),
	    SYSTEM("'disks':[{}],'points':[]"),
	    SYSTEM("'disks':[{'id':'a','path':'/a'}],'points':[]"),
	    SYSTEM("'disks':[{'id':'a','path':'/a','size':-1}],'points':[]"),
	    SYSTEM("'disks':[{'id':'a','path':7,'size':1}],'points':[]"),
	    SYSTEM("'disks':[],'points':[{}]"),
	    SYSTEM("'disks':[],'points':[7]"),
	    SYSTEM("'disks':[],'points':[{'id':'x','type':'rct','consistency':"
		   "'crash','label':'','created':'','disks':[]}]"),
	    SYSTEM("'disks':[],'points':[{'id':'fedc0000-0000-4000-8000-"
		   "000000000001','type':'rct','consistency':'crash','label':"
		   "'','created':''}]"),
	    SYSTEM("'disks':[],'points':[{'id':'fedc0000-0000-4000-8000-"
		   "000000000001','type':'rct','consistency':'crash','label':"
		   "'','created':'','disks':[{'id':'a'}]}]"),
	    SYSTEM("'disks':[],'points':[{'id':'fedc0000-0000-4000-8000-"
		   "000000000001','consistency':'crash','label':"
		   "'','created':'','disks':[]}]"),
	    SYSTEM("'disks':[],'points':[]") "{}",
	    SYSTEM("'disks':[],'points':[],'worker_pid':'x'"),
	    SYSTEM("'disks':[],'points':[],'worker_pid':4294967296"),
	    "{'systems':[{'vm':'a','uuid':'0a1b','state':'serving',"
	    "'connected':true,'disks':[],'points':[]}]}",
	    "{'systems':[{'vm':'a','uuid':'0a1b2c3d-0000-4000-8000-"
	    "00000000000a','state':'serving','connected':1,'disks':[],"
	    "'points':[]}]}",
	};

	for (size_t i = 0; i < ARRAY_SIZE(replies); i++) {
		char *text = strdup(replies[i]);
		struct err err = {0};

		for (char *p = text; (p = strchr(p, '\'')); p++)
			*p = '"';
		scene->raw = text;
		if (try_enumerate("Msvm_VirtualSystemReferencePoint", &err) !=
		    -CIM_EFAILED)
			fail_msg("%s is taken", replies[i]);
		assert_non_null(strstr(err.text, "no sense"));
		free(text);
	}
}

static void another_system_than_was_asked_for_is_an_error(void **state)
{
	const struct cim_instance *instance = NULL;
	struct err err = {0};

	scene->raw = "{\"systems\":[{\"vm\":\"a\",\"uuid\":\"0a1b2c3d-0000-"
		     "4000-8000-00000000000a\",\"state\":\"serving\","
		     "\"connected\":true,\"disks\":[],\"points\":[]}]}";
	assert_int_equal(broker_get(scene->broker, &scene->request,
				    parsed(SYSTEM_PATH(ALPHA)), &instance,
				    NULL),
			 0);
	assert_int_equal(broker_get(scene->broker, &scene->request,
				    parsed(SYSTEM_PATH(BETA)), &instance, &err),
			 -CIM_EFAILED);
	assert_non_null(strstr(err.text, "no sense"));
}

/* {"systems":[... as many systems, disks or points as that ...]} */
static char *make_many(size_t systems, size_t disks, size_t points)
{
	static const char disk[] = "{\"id\":\"a\",\"path\":\"/a\",\"size\":1},";
	size_t room =
	    256 + systems * (256 + sizeof(disk) * disks + 256 * points);
	char *text = malloc(room);
	size_t n = 0;

	assert_non_null(text);
#define ADD(...) (n += (size_t)snprintf(text + n, room - n, __VA_ARGS__))
#define CLOSE()  (n -= text[n - 1] == ',')
	ADD("{\"systems\":[");
	for (size_t i = 0; i < systems; i++) {
		ADD("{\"vm\":\"a\",\"state\":\"serving\",\"connected\":true,"
		    "\"uuid\":\"0a1b2c3d-0000-4000-8000-%012zx\",\"disks\":[",
		    i);
		for (size_t d = 0; d < disks; d++)
			ADD("%s", disk);
		CLOSE();
		ADD("],\"points\":[");
		for (size_t p = 0; p < points; p++)
			ADD("{\"id\":\"fedc0000-0000-4000-8000-%012zx\","
			    "\"type\":\"rct\",\"consistency\":\"crash\","
			    "\"label\":\"\",\"created\":\"\",\"disks\":[]},",
			    p);
		CLOSE();
		ADD("]},");
	}
	CLOSE();
	ADD("]}");
#undef ADD
#undef CLOSE
	return text;
}

static void more_than_there_can_be_is_an_error(void **state)
{
	static const size_t numbers[][3] = {{4097, 0, 0},
					    {1, 65, 0},
					    {1, 0, 257}};

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		char *text =
		    make_many(numbers[i][0], numbers[i][1], numbers[i][2]);
		struct err err = {0};

		scene->raw = text;
		assert_int_equal(
		    try_enumerate("Msvm_VirtualSystemReferencePoint", &err),
		    -CIM_EFAILED);
		assert_non_null(strstr(err.text, "no sense"));
		free(text);
	}
}

static int enumerate_within(size_t bytes, const char *class_name)
{
	struct cim_request whole = scene->request;
	int r;

	scene->request.arena = arena_new(bytes);
	r = try_enumerate(class_name, NULL);
	arena_free(scene->request.arena);
	scene->request = whole;
	return r;
}

static void memory_that_runs_out_is_an_error(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(classes); i++) {
		size_t left = 0;
		int r;

		/* Every place where it can, one after the other. */
		do {
			r = enumerate_within(left, classes[i]);
			left += 48;
		} while (r == -CIM_ELIMITS && left < KIB(256));
		assert_int_equal(r, 0);
		assert_true(left > 1024);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    SCENE(c1_each_service_is_there_once),
	    SCENE(every_association_is_walked_both_ways),
	    SCENE(c4_superclasses_and_roles_filter_a_walk),
	    SCENE(a_walk_without_filters_finds_all_that_a_system_has),
	    SCENE(a_query_walks_as_clients_write_it),
	    SCENE(a_walk_asks_for_its_system_alone),
	    SCENE(all_links_are_enumerated),
	    SCENE(a_link_between_strangers_is_not_found),
	    SCENE(without_refpointd_there_is_an_error_that_says_so),
	    SCENE(what_makes_no_sense_is_an_error),
	    SCENE(another_system_than_was_asked_for_is_an_error),
	    SCENE(more_than_there_can_be_is_an_error),
	    SCENE(memory_that_runs_out_is_an_error),
	};

	return cmocka_run_group_tests_name("links", tests, NULL, NULL);
}
