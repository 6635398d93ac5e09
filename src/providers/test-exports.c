/* SPDX-License-Identifier: Apache-2.0 */
/* Exports: what is asked for, where it goes, and how it ends. */
#include "providers/exports.h"

#include <dirent.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "providers/test-scene.h"

#define SERVICE_OF(class, name)                                                \
	class ".CreationClassName=\"" class                                    \
	    "\",Name=\"" name                                                  \
	    "\",SystemCreationClassName=\"Msvm_ComputerSystem\","              \
	    "SystemName=\"hv\""
#define POINTS     SERVICE_OF("Msvm_VirtualSystemReferencePointService", "rpsvc")
#define SNAPSHOTS  SERVICE_OF("Msvm_VirtualSystemSnapshotService", "vssnapsvc")
#define MANAGEMENT SERVICE_OF("Msvm_VirtualSystemManagementService", "vmms")
#define NEW(n)     "B0000000-0000-4000-8000-00000000000" #n
#define SNAPSHOT                                                               \
	"Msvm_VirtualSystemSettingData.InstanceID=&quot;Microsoft:" NEW(       \
	    1) "&quot;"
#define POINT_TEXT(uuid, n)                                                    \
	"Msvm_VirtualSystemReferencePoint.InstanceID=&quot;" POINT(            \
	    n) "&quot;,VirtualSystemIdentifier=&quot;" uuid "&quot;"
#define JOB(n) "A0000000-0000-4000-8000-00000000000" #n
#define POINT_JOB(n)                                                           \
	"Msvm_VirtualSystemReferencePointExportJob.InstanceID=\"" JOB(n) "\""
#define JOB_PATH(n) "Msvm_ConcreteJob.InstanceID=\"" JOB(n) "\""
#define IN_TEXT(class, properties)                                             \
	"<INSTANCE CLASSNAME='" class "'>" properties "</INSTANCE>"
#define PROPERTY(name, type, value)                                            \
	"<PROPERTY NAME='" name "' TYPE='" type "'><VALUE>" value              \
	"</VALUE></PROPERTY>"
#define LIST(name, value)                                                      \
	"<PROPERTY.ARRAY NAME='" name                                          \
	"' TYPE='string'><VALUE.ARRAY><VALUE>" value                           \
	"</VALUE></VALUE.ARRAY></PROPERTY.ARRAY>"
#define OF_POINT(properties)                                                   \
	IN_TEXT("Msvm_VirtualSystemReferencePointExportSettingData", properties)
#define OF_SYSTEM(properties)                                                  \
	IN_TEXT("Msvm_VirtualSystemExportSettingData", properties)
#define BACKUP   PROPERTY("CopySnapshotConfiguration", "uint8", "3")
#define HERE     PROPERTY("CreateVmExportSubdirectory", "boolean", "FALSE")
#define OF(path) PROPERTY("SnapshotVirtualSystem", "string", path)
#define SINCE(p) PROPERTY("DifferentialBackupBase", "string", p)

static struct cim_arguments out;
static char root[64];

static int set_up(void **state)
{
	struct err err = {0};
	int r = scene_set_up(state);

	(void)strcpy(root, "/tmp/test-exports.XXXXXX");
	assert_non_null(mkdtemp(root));
	assert_int_equal(exports_new(root, &scene->providers.exports, &err), 0);
	return r;
}

static int tear_down(void **state)
{
	char command[128];

	scene->providers.exports = exports_free(scene->providers.exports);
	(void)snprintf(command, sizeof(command), "rm -rf '%s'", root);
	assert_int_equal(system(command), 0);
	return scene_tear_down(state);
}

/* NAME below the root, until the next three. */
static const char *below(const char *name)
{
	static char paths[4][256];
	static unsigned n;
	char *path = paths[n++ % 4];

	(void)snprintf(path, sizeof(paths[0]), "%s/%s", root, name);
	return path;
}

static bool is_there(const char *name)
{
	return access(below(name), F_OK) == 0;
}

/* Entries of the root. */
static unsigned entries(void)
{
	DIR *d = opendir(root);
	const struct dirent *entry;
	unsigned n = 0;

	assert_non_null(d);
	while ((entry = readdir(d)))
		n += entry->d_name[0] != '.';
	(void)closedir(d);
	return n;
}

static void take(void)
{
	assert_int_equal(CALL(SNAPSHOTS, "CreateSnapshot", &out,
			      {"AffectedSystem", .path = SYSTEM_PATH(ALPHA)},
			      {"SnapshotType", .number = 32768}),
			 4096);
}

static uint64_t export_point(const char *point, const char *directory,
			     const char *settings)
{
	return CALL(POINTS, "ExportReferencePoint", &out,
		    {"ReferencePoint", .path = point},
		    {"ExportDirectory", .text = directory},
		    {"ExportSettingData", .instance = settings});
}

static uint64_t export_system(const char *directory, const char *settings)
{
	return CALL(MANAGEMENT, "ExportSystemDefinition", &out,
		    {"ComputerSystem", .path = SYSTEM_PATH(ALPHA)},
		    {"ExportDirectory", .text = directory},
		    {"ExportSettingData", .instance = settings});
}

/* Until the job at PATH is in STATE. */
static const struct cim_instance *wait_job(const char *path, uint64_t state)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	const struct cim_instance *job = NULL;

	for (unsigned i = 0; i < 10000; i++) {
		job = got(path);
		if (job && number_of(job, "JobState") == state)
			return job;
		(void)nanosleep(&pause, NULL);
	}
	fail_msg("%s is not in state %u", path, (unsigned)state);
	return NULL;
}

/* ---- points ---------------------------------------------------------------
 */

static void a_point_becomes_a_directory(void **state)
{
	const struct cim_instance *job;

	assert_int_equal(
	    export_point(POINT_PATH(ALPHA, 02), below("a"),
			 OF_POINT(PROPERTY("BaseReferencePoint", "string",
					   POINT_TEXT(ALPHA, 01)))),
	    4096);
	assert_string_equal(out_path(&out, "Job"), POINT_JOB(1));
	job = wait_job(POINT_JOB(1), 7);
	assert_string_equal(text_of(job, "ExportDirectory"), below("a"));
	assert_string_equal(text_of(job, "VirtualMachineId"), ALPHA);
	assert_string_equal(text_of(job, "ReferencePointId"), POINT(02));
	assert_string_equal(text_of(job, "BaseReferencePointId"), POINT(01));
	assert_string_equal(item_of(job, "ExportedDisks", 0), DISK(ALPHA, 1));
	assert_string_equal(
	    item_of(job, "ExportedLogFilePaths", 0),
	    below("a/vdb-fedc0000-0000-4000-8000-000000000002.qcow2"));
	assert_string_equal(text_of(job, "ExportedConfigFilePath"),
			    below("a/refpoint.json"));
	assert_true(
	    is_there("a/vdb-fedc0000-0000-4000-8000-000000000002.qcow2"));
	assert_true(is_there("a/refpoint.json"));
	assert_int_equal(entries(), 1);
}

static void its_job_is_of_its_own_class(void **state)
{
	struct told t;

	(void)export_point(POINT_PATH(ALPHA, 01), below("a"), NULL);
	(void)wait_job(POINT_JOB(1), 7);
	t = enumerated("Msvm_VirtualSystemReferencePointExportJob");
	assert_int_equal(t.count, 1);
	assert_sound(&t);
	assert_int_equal(enumerated("Msvm_ConcreteJob").count, 0);
	assert_int_equal(enumerated("CIM_ConcreteJob").count, 1);
	assert_int_equal(enumerated("Msvm_AffectedJobElement").count, 0);
	assert_int_equal(enumerated("Msvm_OwningJobElement").count, 0);
	assert_null(got(JOB_PATH(1)));
	assert_int_equal(CALL(POINT_JOB(1), "GetErrorEx", &out, {"Errors"}), 0);
}

/* As published the Msvm_ associations lead to no such job. */
static void its_job_has_links_of_the_superclasses(void **state)
{
	static const struct {
		const char *assoc, *result, *key, *text;
	} cases[] = {{"CIM_AffectedJobElement", NULL, "InstanceID", POINT(01)},
		     {NULL, "Msvm_VirtualSystemReferencePoint", "InstanceID",
		      POINT(01)},
		     {"CIM_OwningJobElement", NULL, "Name", "rpsvc"},
		     {NULL, "CIM_Service", "Name", "rpsvc"}};
	static const char *const links[] = {"CIM_AffectedJobElement",
					    "CIM_OwningJobElement"};
	struct told t;

	(void)export_point(POINT_PATH(ALPHA, 01), below("a"), NULL);
	(void)wait_job(POINT_JOB(1), 7);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		t = walked(POINT_JOB(1),
			   &(struct cim_walk){.assoc_class = cases[i].assoc,
					      .result_class = cases[i].result});
		assert_int_equal(t.count, 1);
		assert_string_equal(text_of(t.list[0], cases[i].key),
				    cases[i].text);
	}
	for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
		t = enumerated(links[i]);
		assert_int_equal(t.count, 1);
		assert_sound(&t);
	}
	t = walked(POINT_PATH(ALPHA, 01),
		   &(struct cim_walk){.assoc_class = "CIM_AffectedJobElement"});
	assert_int_equal(t.count, 1);
	assert_string_equal(text_of(t.list[0], "InstanceID"), JOB(1));
}

static void only_the_disks_that_are_named(void **state)
{
	assert_int_equal(
	    export_point(POINT_PATH(ALPHA, 01), below("a"),
			 OF_POINT(LIST("DisksToExport", DISK(ALPHA, 1)))),
	    4096);
	assert_int_equal(
	    export_point(POINT_PATH(ALPHA, 01), below("b"),
			 OF_POINT(LIST("DisksToExport", DISK(BETA, 1)))),
	    32773);
	assert_int_equal(
	    export_point(POINT_PATH(ALPHA, 01), below("b"),
			 OF_POINT(LIST("DisksToExport", DISK(ALPHA, 7)))),
	    32773);
	(void)wait_job(POINT_JOB(1), 7);
	assert_true(
	    is_there("a/vdb-fedc0000-0000-4000-8000-000000000001.qcow2"));
	assert_false(
	    is_there("a/vda-fedc0000-0000-4000-8000-000000000001.qcow2"));
	assert_int_equal(entries(), 1);
}

static void C11_a_base_that_is_not_there_is_an_error(void **state)
{
	static const char *const bases[] = {
	    POINT_TEXT(ALPHA, 77),
	    POINT_TEXT(GAMMA, 11),
	    POINT_TEXT(GAMMA, 01),
	    POINT_TEXT(ALPHA, 02), /* the point itself */
	    SNAPSHOT,
	    "nonsense",
	    "Msvm_ConcreteJob.InstanceID=&quot;" JOB(1) "&quot;"};

	for (size_t i = 0; i < ARRAY_SIZE(bases); i++) {
		char text[512];

		(void)snprintf(text, sizeof(text),
			       OF_POINT(PROPERTY("BaseReferencePoint", "string",
						 "%s")),
			       bases[i]);
		assert_int_equal(export_point(POINT_PATH(ALPHA, 02), below("a"),
					      text),
				 32773);
	}
	assert_int_equal(export_point(POINT_PATH(ALPHA, 77), below("a"), NULL),
			 32773);
	assert_int_equal(entries(), 0);
}

/* ---- where ----------------------------------------------------------------
 */

static void nothing_is_written_elsewhere(void **state)
{
	char at[160];

	(void)snprintf(at, sizeof(at), "%s/../x", root);
	assert_int_equal(export_point(POINT_PATH(ALPHA, 01), at, NULL), 32769);
	(void)snprintf(at, sizeof(at), "%sx/y", root);
	assert_int_equal(export_point(POINT_PATH(ALPHA, 01), at, NULL), 32769);
	(void)snprintf(at, sizeof(at), "%s/", root);
	assert_int_equal(export_point(POINT_PATH(ALPHA, 01), at, NULL), 32769);
	assert_int_equal(export_point(POINT_PATH(ALPHA, 01), "/etc/x", NULL),
			 32769);
	assert_int_equal(
	    export_point(POINT_PATH(ALPHA, 01), below("a/../x"), NULL), 32773);
	assert_int_equal(export_point(POINT_PATH(ALPHA, 01), "x", NULL), 32773);
	assert_int_equal(
	    export_point(POINT_PATH(ALPHA, 01), below("./x"), NULL), 32773);
	assert_int_equal(
	    export_point(POINT_PATH(ALPHA, 01), below("no/x"), NULL), 32773);
	assert_int_equal(symlink("/tmp", below("out")), 0);
	assert_int_equal(
	    export_point(POINT_PATH(ALPHA, 01), below("out/x"), NULL), 32769);
	assert_int_equal(entries(), 1);
}

static void what_is_there_stays(void **state)
{
	assert_int_equal(mkdir(below("full"), 0700), 0);
	assert_int_equal(mkdir(below("full/x"), 0700), 0);
	assert_int_equal(mkdir(below("empty"), 0700), 0);
	assert_int_equal(
	    export_point(POINT_PATH(ALPHA, 01), below("full"), NULL), 32775);
	assert_int_equal(
	    export_point(POINT_PATH(ALPHA, 01), below("empty/"), NULL), 4096);
	assert_string_equal(text_of(wait_job(POINT_JOB(1), 7),
				    "ExportedConfigFilePath"),
			    below("empty/refpoint.json"));
	assert_true(is_there("empty/refpoint.json"));
	assert_int_equal(entries(), 2);
}

static void without_a_root_there_are_no_exports(void **state)
{
	struct exports *exports = scene->providers.exports;

	take();
	scene->providers.exports = NULL;
	assert_int_equal(export_point(POINT_PATH(ALPHA, 01), below("a"), NULL),
			 32770);
	assert_int_equal(export_system(root, OF_SYSTEM(BACKUP OF(SNAPSHOT))),
			 32770);
	scene->providers.exports = exports;
}

/* ---- systems --------------------------------------------------------------
 */

static void a_snapshot_becomes_a_directory(void **state)
{
	struct told t;

	take();
	assert_int_equal(export_system(below("a"),
				       OF_SYSTEM(BACKUP HERE OF(SNAPSHOT) SINCE(
					   POINT_TEXT(ALPHA, 02)))),
			 4096);
	assert_string_equal(out_path(&out, "Job"), JOB_PATH(2));
	(void)wait_job(JOB_PATH(2), 7);
	assert_int_equal(number_of(got(JOB_PATH(2)), "JobType"), 62);
	assert_true(
	    is_there("a/vda-b0000000-0000-4000-8000-000000000001.qcow2"));
	t = walked(JOB_PATH(2),
		   &(struct cim_walk){.assoc_class = "CIM_OwningJobElement"});
	assert_int_equal(t.count, 1);
	assert_string_equal(text_of(t.list[0], "Name"), "vmms");
	t = walked(JOB_PATH(2),
		   &(struct cim_walk){.assoc_class = "CIM_AffectedJobElement"});
	assert_int_equal(t.count, 1);
	assert_string_equal(text_of(t.list[0], "Name"), ALPHA);
	t = enumerated("Msvm_AffectedJobElement");
	assert_sound(&t);
}

static void it_goes_into_a_directory_of_its_name(void **state)
{
	take();
	assert_int_equal(export_system(root, OF_SYSTEM(BACKUP OF(SNAPSHOT))),
			 4096);
	(void)wait_job(JOB_PATH(2), 7);
	assert_true(is_there("alpha/refpoint.json"));
	assert_int_equal(mkdir(below("in"), 0700), 0);
	assert_int_equal(
	    export_system(below("in/"), OF_SYSTEM(BACKUP OF(SNAPSHOT))), 4096);
	(void)wait_job(JOB_PATH(3), 7);
	assert_true(is_there("in/alpha/refpoint.json"));
}

static void excluded_disks_are_left_out(void **state)
{
	take();
	assert_int_equal(
	    export_system(below("a"),
			  OF_SYSTEM(BACKUP HERE OF(SNAPSHOT) LIST(
			      "ExcludedVirtualHardDisks", DISK(ALPHA, 0)))),
	    4096);
	(void)wait_job(JOB_PATH(2), 7);
	assert_false(
	    is_there("a/vda-b0000000-0000-4000-8000-000000000001.qcow2"));
	assert_true(
	    is_there("a/vdb-b0000000-0000-4000-8000-000000000001.qcow2"));
	assert_int_equal(
	    export_system(below("b"),
			  OF_SYSTEM(BACKUP HERE OF(SNAPSHOT) LIST(
			      "ExcludedVirtualHardDisks", "what is this?"))),
	    32773);
}

static void without_storage_there_is_what_it_says_of_itself(void **state)
{
	take();
	assert_int_equal(
	    export_system(below("a"),
			  OF_SYSTEM(BACKUP HERE OF(SNAPSHOT) PROPERTY(
			      "CopyVmStorage", "boolean", "FALSE"))),
	    4096);
	assert_string_equal(out_path(&out, "Job"), JOB_PATH(2));
	assert_int_equal(number_of(wait_job(JOB_PATH(2), 7), "JobType"), 62);
	assert_true(is_there("a/refpoint.json"));
	assert_int_equal(entries(), 1);
	assert_false(
	    is_there("a/vda-b0000000-0000-4000-8000-000000000001.qcow2"));
}

static void what_is_no_backup_is_refused(void **state)
{
	static const struct {
		const char *settings;
		unsigned result;
	} cases[] = {
	    {OF_SYSTEM(""), 32770},
	    {OF_SYSTEM(OF(SNAPSHOT)), 32770},
	    {OF_SYSTEM(OF(SNAPSHOT)
			   PROPERTY("CopySnapshotConfiguration", "uint8", "2")),
	     32770},
	    {OF_SYSTEM(OF(SNAPSHOT)
			   PROPERTY("CopySnapshotConfiguration", "uint8", "4")),
	     32773},
	    {OF_SYSTEM(BACKUP OF(SNAPSHOT)
			   PROPERTY("BackupIntent", "uint8", "2")),
	     32773},
	    {OF_SYSTEM(BACKUP OF(SNAPSHOT) PROPERTY("ExportForLiveMigration",
						    "boolean", "TRUE")),
	     32770},
	    {OF_SYSTEM(BACKUP), 32773},
	    {OF_SYSTEM(BACKUP OF("nonsense")), 32773},
	    {OF_SYSTEM(BACKUP OF(POINT_TEXT(ALPHA, 01))), 32773},
	    {OF_SYSTEM(BACKUP OF(SNAPSHOT) SINCE(POINT_TEXT(ALPHA, 88))),
	     32773},
	    {OF_SYSTEM(BACKUP OF(SNAPSHOT) SINCE(SNAPSHOT)), 32773},
	    {OF_SYSTEM(BACKUP OF(SNAPSHOT) SINCE(POINT_TEXT(GAMMA, 11))),
	     32773}};

	take();
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(export_system(root, cases[i].settings),
				 cases[i].result);
	assert_int_equal(export_system(root, NULL), 32770);
	assert_int_equal(entries(), 0);
}

/* ---- how it ends ----------------------------------------------------------
 */

static void what_failed_leaves_nothing(void **state)
{
	scene->work.fail = RP_ESTATE;
	assert_int_equal(export_point(POINT_PATH(ALPHA, 01), below("a"), NULL),
			 4096);
	assert_int_equal(number_of(wait_job(POINT_JOB(1), 10), "ErrorCode"),
			 32775);
	assert_string_equal(text_of(got(POINT_JOB(1)), "ErrorDescription"),
			    "the fake failed");
	scene->providers.exports = exports_free(scene->providers.exports);
	assert_int_equal(entries(), 0);
}

static void what_is_refused_leaves_nothing(void **state)
{
	static const struct {
		int code;
		unsigned result;
	} cases[] = {{RP_ESTATE, 32775}, {RP_EUNSUPPORTED, 32770}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		scene->work.refuse = cases[i].code;
		assert_int_equal(export_point(POINT_PATH(ALPHA, 01), below("a"),
					      NULL),
				 cases[i].result);
		assert_int_equal(entries(), 0);
	}
}

static void a_job_is_terminated(void **state)
{
	scene->work.running = true;
	assert_int_equal(export_point(POINT_PATH(ALPHA, 01), below("a"), NULL),
			 4096);
	assert_int_equal(number_of(got(POINT_JOB(1)), "JobState"), 4);
	assert_int_equal(number_of(got(POINT_JOB(1)), "PercentComplete"), 40);
	assert_int_equal(entries(), 1);
	assert_int_equal(CALL(POINT_JOB(1), "RequestStateChange", &out,
			      {"RequestedState", .number = 4}),
			 0);
	(void)wait_job(POINT_JOB(1), 8);
	scene->providers.exports = exports_free(scene->providers.exports);
	assert_int_equal(entries(), 0);
}

static void the_end_of_the_process_leaves_nothing(void **state)
{
	scene->work.running = true;
	(void)export_point(POINT_PATH(ALPHA, 01), below("a"), NULL);
	scene->providers.exports = exports_free(scene->providers.exports);
	assert_int_equal(entries(), 0);
	(void)wait_job(POINT_JOB(1), 10);
}

static void what_takes_the_name_meanwhile_fails_it(void **state)
{
	scene->work.running = true;
	(void)export_point(POINT_PATH(ALPHA, 01), below("a"), NULL);
	assert_int_equal(mkdir(below("a"), 0700), 0);
	assert_int_equal(mkdir(below("a/x"), 0700), 0);
	scene->work.write = true;
	(void)wait_job(POINT_JOB(1), 10);
	scene->providers.exports = exports_free(scene->providers.exports);
	assert_int_equal(entries(), 1);
	assert_false(is_there("a/refpoint.json"));
}

static void so_many_run_at_a_time(void **state)
{
	char name[2] = "a";

	scene->work.running = true;
	for (; *name < 'a' + CIM_EXPORTS_MAX; ++*name)
		assert_int_equal(export_point(POINT_PATH(ALPHA, 01),
					      below(name), NULL),
				 4096);
	assert_int_equal(export_point(POINT_PATH(ALPHA, 01), below(name), NULL),
			 32774);
	assert_int_equal(entries(), CIM_EXPORTS_MAX);
}

#define EXPORTS(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    EXPORTS(a_point_becomes_a_directory),
	    EXPORTS(its_job_is_of_its_own_class),
	    EXPORTS(its_job_has_links_of_the_superclasses),
	    EXPORTS(only_the_disks_that_are_named),
	    EXPORTS(C11_a_base_that_is_not_there_is_an_error),
	    EXPORTS(nothing_is_written_elsewhere),
	    EXPORTS(what_is_there_stays),
	    EXPORTS(without_a_root_there_are_no_exports),
	    EXPORTS(a_snapshot_becomes_a_directory),
	    EXPORTS(it_goes_into_a_directory_of_its_name),
	    EXPORTS(excluded_disks_are_left_out),
	    EXPORTS(without_storage_there_is_what_it_says_of_itself),
	    EXPORTS(what_is_no_backup_is_refused),
	    EXPORTS(what_failed_leaves_nothing),
	    EXPORTS(what_is_refused_leaves_nothing),
	    EXPORTS(a_job_is_terminated),
	    EXPORTS(the_end_of_the_process_leaves_nothing),
	    EXPORTS(what_takes_the_name_meanwhile_fails_it),
	    EXPORTS(so_many_run_at_a_time),
	};

	return cmocka_run_group_tests_name("exports", tests, NULL, NULL);
}
