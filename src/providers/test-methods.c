/* SPDX-License-Identifier: Apache-2.0 */
/* Methods of everything else: what cannot be done says so in its own numbers.
 */
#include <strings.h>

#include "providers/test-scene.h"

#define SERVICE(class, name)                                                   \
	class ".CreationClassName=\"" class                                    \
	    "\",Name=\"" name                                                  \
	    "\",SystemCreationClassName=\"Msvm_ComputerSystem\","              \
	    "SystemName=\"hv\""
#define SNAPSHOTS  SERVICE("Msvm_VirtualSystemSnapshotService", "vssnapsvc")
#define MANAGEMENT SERVICE("Msvm_VirtualSystemManagementService", "vmms")

static struct cim_arguments out;

/* ---- every method of every class that has objects -------------------------
 */

static const struct cim_provider *const tables[] = {
    virtual_providers, job_providers, interop_providers, win32_providers};
static const size_t counts[] = {VIRTUAL_PROVIDERS, JOB_PROVIDERS,
				INTEROP_PROVIDERS, WIN32_PROVIDERS};

static void assert_answers(const struct cim_provider *provider,
			   const struct schema_method *method)
{
	const struct cim_path path = {.class_name = provider->class_name};
	struct cim_arguments in, its;
	struct cim_value result;
	struct err err = {0};
	const char *text;

	assert_non_null(provider->invoke);
	assert_int_equal(
	    broker_arguments(&scene->request,
			     schema_find_class(NULL, provider->class_name),
			     method->name, &in, NULL),
	    0);
	its = in;
	if (strncmp(method->name, "GetError", 8) == 0)
		return; /* without arguments of its own: see test-jobs.c */
	if (provider->invoke(&scene->providers, &scene->request, &path, &in,
			     &its, &result, &err) < 0)
		fail_msg("%s.%s: %s", provider->class_name, method->name,
			 err.text);
	assert_int_equal(result.base, method->result);
	text = schema_value_text(&method->qualifiers,
				 (int64_t)cim_number(&result, 0));
	if (text && strcasecmp(text, "Not Supported") != 0 &&
	    strcasecmp(text, "Invalid Parameter") != 0)
		fail_msg("%s.%s: %s", provider->class_name, method->name, text);
	/* a method without a ValueMap: 1 is no */
	if (!text)
		assert_int_equal(cim_number(&result, 0), 1);
}

static void every_method_that_is_declared_answers(void **state)
{
	unsigned n = 0;

	for (size_t t = 0; t < ARRAY_SIZE(tables); t++)
		for (size_t i = 0; i < counts[t]; i++) {
			const struct cim_provider *p = &tables[t][i];
			const struct schema_class *class =
			    schema_find_class(NULL, p->class_name);

			if (!strstr(class->name, "Msvm_"))
				scene->request.ns = "root/interop";
			for (uint32_t m = 0; m < class->method_count; m++, n++)
				assert_answers(p, class->methods[m]);
			scene->request.ns = "root/virtualization/v2";
		}
	assert_true(n > 40);
}

/* ---- the rest
 * ------------------------------------------------------------------ */

static void what_is_no_instance_changes_nothing(void **state)
{
	assert_int_equal(CALL(MANAGEMENT, "ModifyDiskMergeSettings", &out,
			      {"SettingData", .text = "instance of x {};"}),
			 32773);
}

static void a_system_is_not_started_or_stopped_by_us(void **state)
{
	assert_int_equal(CALL(SYSTEM_PATH(ALPHA), "RequestStateChange", &out,
			      {"RequestedState", .number = 3}),
			 32770);
	assert_int_equal(CALL(SYSTEM_PATH(ALPHA), "RequestStateChange", &out,
			      {"TimeoutPeriod"}),
			 32773);
	assert_int_equal(called(SNAPSHOTS, "StopService", NULL, 0, &out), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    SCENE(every_method_that_is_declared_answers),
	    SCENE(what_is_no_instance_changes_nothing),
	    SCENE(a_system_is_not_started_or_stopped_by_us),
	};

	return cmocka_run_group_tests_name("methods", tests, NULL, NULL);
}
