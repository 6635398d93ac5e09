/* SPDX-License-Identifier: Apache-2.0 */
/* ImportReferencePointMetadata: which files, and what becomes of them. */
#include "providers/exports.h"

#include <unistd.h>

#include "common/metadata.h"
#include "providers/test-scene.h"

#define SERVICE                                                                \
	"Msvm_VirtualSystemReferencePointService.CreationClassName="           \
	"\"Msvm_VirtualSystemReferencePointService\",Name=\"rpsvc\","          \
	"SystemCreationClassName=\"Msvm_ComputerSystem\",SystemName=\"hv\""
#define JOB_PATH                                                               \
	"Msvm_ConcreteJob.InstanceID=\"A0000000-0000-4000-8000-000000000001\""

static struct cim_arguments out;
static char root[64];

/* NAME below the root, until the next three. */
static const char *below(const char *name)
{
	static char paths[4][256];
	static unsigned n;
	char *path = paths[n++ % 4];

	(void)snprintf(path, sizeof(paths[0]), "%s/%s", root, name);
	return path;
}

static void put(const char *name, const char *text, size_t n)
{
	FILE *f = fopen(below(name), "w");

	assert_non_null(f);
	while (n--)
		assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static int set_up(void **state)
{
	struct err err = {0};
	int r = scene_set_up(state);

	(void)strcpy(root, "/tmp/test-imports.XXXXXX");
	assert_non_null(mkdtemp(root));
	assert_int_equal(exports_new(root, &scene->providers.exports, &err), 0);
	put("config", "{\"a\": 1}\n", 1);
	put("state", "st\xc3\xa4te", 1);
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

static uint64_t import(const char *system, const char *config,
		       const char *state)
{
	return CALL(SERVICE, "ImportReferencePointMetadata", &out,
		    {"AffectedSystem", .path = system},
		    {"ConfigFilePath", .text = config},
		    {"RuntimeStateFilePath", .text = state});
}

static uint64_t import_config(const char *config)
{
	return import(SYSTEM_PATH(ALPHA), config, below("state"));
}

static void nothing_was_asked(void)
{
	assert_string_equal(scene->work.asked, "");
	assert_int_equal(json_array_size(scene->work.jobs), 0);
}

static void both_texts_are_handed_over_and_there_is_a_job(void **state)
{
	const struct cim_instance *job;
	struct told t;

	assert_int_equal(
	    import(SYSTEM_PATH(ALPHA), below("config"), below("state")), 4096);
	assert_string_equal(scene->work.asked,
			    "ImportJob {\"config\": \"{\\\"a\\\": 1}\\n\", "
			    "\"state\": \"st\xc3\xa4te\", \"vm\": \"alpha\"}");
	assert_string_equal(out_path(&out, "Job"), JOB_PATH);
	job = got(JOB_PATH);
	assert_int_equal(number_of(job, "JobState"), 7);
	assert_int_equal(number_of(job, "JobType"), 209);
	t = walked(JOB_PATH,
		   &(struct cim_walk){.assoc_class = "CIM_AffectedJobElement"});
	assert_int_equal(t.count, 1);
	assert_string_equal(text_of(t.list[0], "Name"), ALPHA);
	t = walked(JOB_PATH,
		   &(struct cim_walk){.assoc_class = "CIM_OwningJobElement"});
	assert_int_equal(t.count, 1);
	assert_string_equal(text_of(t.list[0], "Name"), "rpsvc");
	t = enumerated("Msvm_AffectedJobElement");
	assert_sound(&t);
	assert_string_equal(item_of(t.list[0],
				    "OtherElementEffectsDescriptions", 0),
			    "Reference points are made known to it");
}

static void a_job_that_fails_says_why(void **state)
{
	scene->work.fail = RP_ESTATE;
	assert_int_equal(import_config(below("config")), 4096);
	assert_int_equal(number_of(got(JOB_PATH), "JobState"), 10);
	assert_int_equal(number_of(got(JOB_PATH), "ErrorCode"), 32775);
}

static void a_refusal_is_the_return_value(void **state)
{
	static const struct {
		int error;
		unsigned result;
	} cases[] = {{RP_EPARAM, 32773},   {RP_ESTATE, 32775},
		     {RP_EALREADY, 32775}, {RP_EINUSE, 32774},
		     {RP_EDENIED, 32769},  {RP_EUNSUPPORTED, 32770}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		scene->work.refuse = cases[i].error;
		assert_int_equal(import_config(below("config")),
				 cases[i].result);
		assert_string_equal(out_path(&out, "Job"), "");
	}
}

static void files_elsewhere_are_denied(void **state)
{
	char beside[96];

	(void)snprintf(beside, sizeof(beside), "%sx/config", root);
	assert_int_equal(import_config("/etc/passwd"), 32769);
	assert_int_equal(import_config("/nowhere/at/all"), 32769);
	assert_int_equal(import_config(beside), 32769);
	assert_int_equal(import_config(root), 32769);
	assert_int_equal(import_config(below("../../etc/passwd")), 32769);
	assert_int_equal(symlink("/etc/passwd", below("link")), 0);
	assert_int_equal(import_config(below("link")), 32769);
	assert_int_equal(
	    import(SYSTEM_PATH(ALPHA), below("config"), "/etc/passwd"), 32769);
	/* whatever else is asked */
	assert_int_equal(
	    import(SYSTEM_PATH("hv"), "/etc/passwd", below("state")), 32769);
	nothing_was_asked();
}

static void what_is_no_such_file_is_an_invalid_parameter(void **state)
{
	put("long", "0123456789abcdef", METADATA_BYTES_MAX / 16 + 1);
	put("latin", "\xe4", 1);
	put("empty", "", 1);
	assert_int_equal(import_config(below("none")), 32773);
	assert_int_equal(import_config(below("long")), 32773);
	assert_int_equal(import_config(below("latin")), 32773);
	assert_int_equal(import_config(below("empty")), 32773);
	assert_int_equal(import_config(below("a/../config")), 32773);
	assert_int_equal(import_config("config"), 32773);
	assert_int_equal(import_config(""), 32773);
	nothing_was_asked();
}

static void as_long_as_it_may_be_it_is_handed_over(void **state)
{
	put("long", "0123456789abcde\n", METADATA_BYTES_MAX / 16);
	assert_int_equal(import_config(below("long")), 4096);
}

static void only_a_system_of_ours_can_be_told(void **state)
{
	static const char *const paths[] = {
	    SYSTEM_PATH("hv"),
	    SYSTEM_PATH("FFFFFFFF-0000-4000-8000-000000000000"),
	    POINT_PATH(ALPHA, 01), NULL};

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		assert_int_equal(
		    import(paths[i], below("config"), below("state")), 32773);
	nothing_was_asked();
}

static void without_an_export_root_it_is_not_supported(void **state)
{
	struct exports *exports = scene->providers.exports;

	scene->providers.exports = NULL;
	assert_int_equal(import_config(below("config")), 32770);
	scene->providers.exports = exports;
	nothing_was_asked();
}

#define IMPORTS(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    IMPORTS(both_texts_are_handed_over_and_there_is_a_job),
	    IMPORTS(a_job_that_fails_says_why),
	    IMPORTS(a_refusal_is_the_return_value),
	    IMPORTS(files_elsewhere_are_denied),
	    IMPORTS(what_is_no_such_file_is_an_invalid_parameter),
	    IMPORTS(as_long_as_it_may_be_it_is_handed_over),
	    IMPORTS(only_a_system_of_ours_can_be_told),
	    IMPORTS(without_an_export_root_it_is_not_supported),
	};

	return cmocka_run_group_tests_name("imports", tests, NULL, NULL);
}
