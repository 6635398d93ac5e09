/* SPDX-License-Identifier: Apache-2.0 */
/* ExportReferencePoint of log-based points: which files, and what is refused.
 */
#include "providers/exports.h"

#include <dirent.h>
#include <time.h>
#include <unistd.h>

#include "providers/test-scene.h"

#define SERVICE                                                                \
	"Msvm_VirtualSystemReferencePointService.CreationClassName="           \
	"\"Msvm_VirtualSystemReferencePointService\",Name=\"rpsvc\","          \
	"SystemCreationClassName=\"Msvm_ComputerSystem\",SystemName=\"hv\""
#define JOB(n) "A0000000-0000-4000-8000-00000000000" #n
#define POINT_JOB(n)                                                           \
	"Msvm_VirtualSystemReferencePointExportJob.InstanceID=\"" JOB(n) "\""
#define OF_POINT(properties)                                                   \
	"<INSTANCE CLASSNAME='Msvm_VirtualSystemReferencePoint"                \
	"ExportSettingData'>" properties "</INSTANCE>"
#define BASE(n)                                                                \
	"<PROPERTY NAME='BaseReferencePoint' TYPE='string'><VALUE>"            \
	"Msvm_VirtualSystemReferencePoint.InstanceID=&quot;" POINT(            \
	    n) "&quot;,VirtualSystemIdentifier=&quot;" ALPHA                   \
	       "&quot;</VALUE></PROPERTY>"
#define DISKS(value)                                                           \
	"<PROPERTY.ARRAY NAME='DisksToExport' TYPE='string'><VALUE.ARRAY>"     \
	"<VALUE>" value "</VALUE></VALUE.ARRAY></PROPERTY.ARRAY>"
#define ID      "eeee0000-0000-4000-8000-00000000000e"
#define ID_TOLD "EEEE0000-0000-4000-8000-00000000000E"
#define LOG(name)                                                              \
	"{'file': '" name ".hrl', 'sidecar': '" name ".side', 'id': '" ID      \
	"', 'previous': null, 'bytes': 4096}"
#define EXPORTED(vda, vdb)                                                     \
	"{'base': 'fedc0000-0000-4000-8000-000000000001', 'disks': ["          \
	"{'id': 'vdb', 'logs': [" vdb "]}, {'id': 'vda', 'logs': [" vda "]}]}"
#define DISKS_ASKED "\"disks\": [\"vda\", \"vdb\"], "
#define ASKED                                                                  \
	"\"source\": \"" POINT(03) "\", "                                      \
				   "\"vm\": \"alpha\"}"

static struct cim_arguments out;
static char root[64];

static int set_up(void **state)
{
	struct err err = {0};
	int r = scene_set_up(state);

	(void)strcpy(root, "/tmp/test-logs.XXXXXX");
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

static uint64_t export_log(const char *settings)
{
	return CALL(SERVICE, "ExportReferencePoint", &out,
		    {"ReferencePoint", .path = POINT_PATH(ALPHA, 03)},
		    {"ExportDirectory", .text = below("a")},
		    {"ExportSettingData", .instance = settings});
}

static const struct cim_instance *wait_job(uint64_t state)
{
	const struct timespec pause = {.tv_nsec = 1000000};

	for (unsigned i = 0; i < 10000; i++) {
		const struct cim_instance *job = got(POINT_JOB(1));

		if (job && number_of(job, "JobState") == state)
			return job;
		(void)nanosleep(&pause, NULL);
	}
	fail_msg("the job is not in state %u", (unsigned)state);
	return NULL;
}

/* Entries of the directory NAME below the root. */
static unsigned entries(const char *name)
{
	DIR *d = opendir(below(name));
	const struct dirent *entry;
	unsigned n = 0;

	assert_non_null(d);
	while ((entry = readdir(d)))
		n += entry->d_name[0] != '.';
	(void)closedir(d);
	return n;
}

static bool is_there(const char *name)
{
	return access(below(name), F_OK) == 0;
}

/* ---- what is exported -----------------------------------------------------
 */

static void its_logs_are_exported_disk_by_disk(void **state)
{
	const struct cim_instance *job;

	scene->work.logs =
	    EXPORTED(LOG("vda-0001") ", " LOG("vda-0002"), LOG("vdb-0001"));
	assert_int_equal(export_log(NULL), 4096);
	assert_string_equal(out_path(&out, "Job"), POINT_JOB(1));
	job = wait_job(7);
	assert_string_equal(scene->work.planned,
			    "{\"content\": \"logs\", " DISKS_ASKED ASKED);
	assert_string_equal(scene->work.ordered,
			    "{\"base\": \"" POINT(
				01) "\", \"content\": \"logs\", " DISKS_ASKED
				    "\"logs\": [\"" ID_TOLD "\", \"" ID_TOLD
				    "\", \"" ID_TOLD "\"], " ASKED);
	assert_string_equal(text_of(job, "ReferencePointId"), POINT(03));
	assert_string_equal(text_of(job, "BaseReferencePointId"), POINT(01));
	assert_string_equal(text_of(job, "VirtualMachineId"), ALPHA);
	assert_string_equal(text_of(job, "ExportDirectory"), below("a"));
	assert_string_equal(item_of(job, "ExportedDisks", 0), DISK(ALPHA, 0));
	assert_string_equal(item_of(job, "ExportedDisks", 1), DISK(ALPHA, 1));
	assert_string_equal(item_of(job, "ExportedDisks", 2), "(none)");
	assert_string_equal(item_of(job, "ExportedLogFilePaths", 0),
			    below("a/vda-0001.hrl"));
	assert_string_equal(item_of(job, "ExportedLogFilePaths", 1),
			    below("a/vda-0002.hrl"));
	assert_string_equal(item_of(job, "ExportedLogFilePaths", 2),
			    below("a/vdb-0001.hrl"));
	assert_string_equal(item_of(job, "ExportedLogFilePaths", 3), "(none)");
	assert_string_equal(text_of(job, "ExportedConfigFilePath"),
			    below("a/refpoint.json"));
	assert_string_equal(text_of(job, "ExportedRuntimeFilePath"),
			    below("a/refpoint-state.json"));
	assert_true(
	    cim_instance_get(job, "ExportedGuestStateFilePath")->is_null);
	assert_true(is_there("a/vda-0002.side"));
	assert_true(is_there("a/vdb-0001.hrl"));
}

static void only_the_disks_that_are_named(void **state)
{
	scene->work.logs = EXPORTED(LOG("vda-0001"), LOG("vdb-0001"));
	assert_int_equal(export_log(OF_POINT(DISKS(DISK(ALPHA, 1)))), 4096);
	assert_string_equal(item_of(wait_job(7), "ExportedLogFilePaths", 0),
			    below("a/vdb-0001.hrl"));
	assert_false(is_there("a/vda-0001.hrl"));
}

static void a_base_is_handed_on(void **state)
{
	scene->work.logs = EXPORTED(LOG("vda-0001"), LOG("vdb-0001"));
	assert_int_equal(export_log(OF_POINT(BASE(01))), 4096);
	assert_string_equal(
	    scene->work.planned,
	    "{\"base\": \"" POINT(
		01) "\", \"content\": \"logs\", " DISKS_ASKED ASKED);
	(void)wait_job(7);
}

static void drop_log(void)
{
	const json_t *points =
	    json_object_get(json_array_get(scene->systems, 0), "points");
	json_t *log = json_object_get(json_array_get(points, 2), "log");

	(void)json_object_set_new(log, "state", json_string("gone"));
}

/* By the way of points that have none. */
static void without_its_log_the_disks_are_exported(void **state)
{
	const struct cim_instance *job;

	drop_log();
	assert_int_equal(export_log(NULL), 4096);
	job = wait_job(7);
	assert_string_equal(scene->work.planned, "");
	assert_string_equal(scene->work.ordered, "{" DISKS_ASKED ASKED);
	assert_string_equal(text_of(job, "BaseReferencePointId"), "(none)");
	assert_string_equal(
	    item_of(job, "ExportedLogFilePaths", 1),
	    below("a/vdb-fedc0000-0000-4000-8000-000000000003.qcow2"));
	assert_true(cim_instance_get(job, "ExportedRuntimeFilePath")->is_null);
}

static void points_by_change_tracking_are_not_asked_for_logs(void **state)
{
	assert_int_equal(CALL(SERVICE, "ExportReferencePoint", &out,
			      {"ReferencePoint", .path = POINT_PATH(ALPHA, 01)},
			      {"ExportDirectory", .text = below("a")}),
			 4096);
	(void)wait_job(7);
	assert_string_equal(scene->work.planned, "");
	assert_null(strstr(scene->work.ordered, "content"));
}

/* ---- what is not ----------------------------------------------------------
 */

/* None before: InvalidParameter; one whose log is gone: InvalidState. */
static void a_base_that_will_not_do_is_the_return_value(void **state)
{
	static const struct {
		int code;
		unsigned result;
	} cases[] = {{RP_EPARAM, 32773},
		     {RP_ESTATE, 32775},
		     {RP_ENOPOINT, 32773},
		     {RP_ELIMIT, 32774},
		     {RP_EUNSUPPORTED, 32770}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		scene->work.refuse_plan = cases[i].code;
		assert_int_equal(export_log(NULL), cases[i].result);
		assert_string_equal(out_path(&out, "Job"), "");
		assert_int_equal(entries(""), 0);
	}
	assert_string_equal(scene->work.ordered, "");
}

static void what_makes_no_sense_is_refused(void **state)
{
	static const char *const answers[] = {
	    "{}",
	    "{'disks': []}",
	    "{'disks': [{'id': 'vda', 'logs': [" LOG(
		"a") "]}, {'id': 'vdb', "
		     "'logs': [" LOG("b") "]}]}", /* no base */
	    EXPORTED(LOG("vda-0001"), ""),
	    EXPORTED("{'file': 'a', 'sidecar': 'b', 'id': 'c'}",
		     LOG("vdb-0001")),
	    EXPORTED(LOG("../vda"), LOG("vdb-0001")),
	    EXPORTED(LOG(".vda"), LOG("vdb-0001")),
	    EXPORTED(LOG("no/vda"), LOG("vdb-0001")),
	    EXPORTED(LOG("vda-0001"), LOG("vda-0001")), /* twice */
	    EXPORTED("{'file': 'vda-0001.hrl', 'id': '" ID "'}",
		     LOG("vdb-0001")),
	    EXPORTED("{'file': 'refpoint.json', 'sidecar': 'x', 'id': '" ID
		     "'}",
		     LOG("vdb-0001")),
	    EXPORTED(
		"{'file': 'refpoint-state.json', 'sidecar': 'x', 'id': '" ID
		"'}",
		LOG("vdb-0001")),
	    EXPORTED("{'file': '0123456789012345678901234567890123456789"
		     "01234567890123456789012345678901234567890123456789',"
		     "'sidecar': 'x', 'id': '" ID "'}",
		     LOG("vdb-0001"))};

	for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
		scene->work.logs = answers[i];
		if (export_log(NULL) != 32768)
			fail_msg("%s", answers[i]);
	}
	assert_int_equal(entries(""), 0);
	assert_string_equal(scene->work.ordered, "");
}

static void more_files_than_there_may_be_are_refused(void **state)
{
	static char answer[EXPORT_FILES_MAX * 96];
	size_t n = 0;

	n += (size_t)snprintf(answer, sizeof(answer),
			      "{'base': '%s', 'disks': [{'id': 'vda', 'logs': "
			      "[",
			      POINT(01));
	for (unsigned i = 0; i <= EXPORT_FILES_MAX / 2; i++)
		n += (size_t)snprintf(answer + n, sizeof(answer) - n,
				      "%s{'file': '%u', 'sidecar': '%u.s', "
				      "'id': '" ID "'}",
				      i ? "," : "", i, i);
	(void)snprintf(answer + n, sizeof(answer) - n, "]}]}");
	scene->work.logs = answer;
	assert_int_equal(export_log(OF_POINT(DISKS(DISK(ALPHA, 0)))), 32774);
	assert_int_equal(entries(""), 0);
}

static void a_job_that_fails_leaves_nothing(void **state)
{
	scene->work.logs = EXPORTED(LOG("vda-0001"), LOG("vdb-0001"));
	scene->work.fail = RP_ESTATE;
	assert_int_equal(export_log(NULL), 4096);
	assert_int_equal(number_of(wait_job(10), "ErrorCode"), 32775);
	assert_true(
	    cim_instance_get(wait_job(10), "ExportedLogFilePaths")->is_null);
	scene->providers.exports = exports_free(scene->providers.exports);
	assert_int_equal(entries(""), 0);
}

static void a_job_is_terminated(void **state)
{
	scene->work.logs = EXPORTED(LOG("vda-0001"), LOG("vdb-0001"));
	scene->work.running = true;
	assert_int_equal(export_log(NULL), 4096);
	assert_string_equal(text_of(wait_job(4), "BaseReferencePointId"),
			    POINT(01));
	assert_int_equal(CALL(POINT_JOB(1), "RequestStateChange", &out,
			      {"RequestedState", .number = 4}),
			 0);
	(void)wait_job(8);
	scene->providers.exports = exports_free(scene->providers.exports);
	assert_int_equal(entries(""), 0);
}

#define LOGS(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    LOGS(its_logs_are_exported_disk_by_disk),
	    LOGS(only_the_disks_that_are_named),
	    LOGS(a_base_is_handed_on),
	    LOGS(without_its_log_the_disks_are_exported),
	    LOGS(points_by_change_tracking_are_not_asked_for_logs),
	    LOGS(a_base_that_will_not_do_is_the_return_value),
	    LOGS(what_makes_no_sense_is_refused),
	    LOGS(more_files_than_there_may_be_are_refused),
	    LOGS(a_job_that_fails_leaves_nothing),
	    LOGS(a_job_is_terminated),
	};

	return cmocka_run_group_tests_name("export-logs", tests, NULL, NULL);
}
