/* SPDX-License-Identifier: Apache-2.0 */
/* What is told of the server and of the host, asked for as clients do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "cim/status.h"
#include "common/bytes.h"
#include "common/limits.h"
#include "providers/all.h"

static struct providers all;
static struct broker *broker;
static struct cim_request request;

static int set_up(void **state)
{
	struct err err = {0};

	all = (struct providers){.host = {.name = "host",
					  .uuid = "a1b2c3d4-0000-4000-8000-"
						  "000000000001",
					  .vendor = "QEMU",
					  .os = "Debian GNU/Linux 12",
					  .version = "6.1.0",
					  .machine = "x86_64",
					  .memory = GIB(4),
					  .cpu = "A processor",
					  .mhz = 2445,
					  .sockets = 2,
					  .cores = 4,
					  .threads = 8}};
	request = (struct cim_request){.arena = arena_new(CIM_REQUEST_MEMORY),
				       .role = CIM_ROLE_READER,
				       .host = "host.example",
				       .ns = "root/interop"};
	if (providers_all(&all, &broker, &err) < 0)
		fail_msg("%s", err.text);
	return 0;
}

static int tear_down(void **state)
{
	arena_free(request.arena);
	broker = broker_free(broker);
	return 0;
}

#define SCENE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

struct told {
	const struct cim_instance *list[16];
	size_t count;
};

static int take(void *arg, const struct cim_instance *instance, struct err *err)
{
	struct told *t = arg;

	assert_true(t->count < ARRAY_SIZE(t->list));
	return cim_instance_copy(request.arena, instance, &t->list[t->count++],
				 err);
}

static struct told enumerated(const char *class)
{
	struct told t = {0};
	struct err err = {0};

	if (broker_enumerate(broker, &request, class, take, &t, &err) < 0)
		fail_msg("%s: %s", class, err.text);
	return t;
}

static struct told queried(const char *text)
{
	struct wql_query *query = NULL;
	struct told t = {0};
	struct err err = {0};

	assert_int_equal(wql_parse(request.arena, text, &query, NULL), 0);
	if (broker_query(broker, &request, query, take, &t, &err) < 0)
		fail_msg("%s: %s", text, err.text);
	return t;
}

static const char *text(const struct cim_instance *i, const char *name)
{
	const char *value = cim_instance_text(i, name);

	return value ? value : "(none)";
}

static uint64_t number(const struct cim_instance *i, const char *name)
{
	return cim_number(cim_instance_get(i, name), UINT64_MAX);
}

/* Whatever is told can be got by its path, too. */
static void can_be_got(const struct told *t)
{
	const struct cim_instance *i;

	for (size_t n = 0; n < t->count; n++) {
		assert_int_equal(broker_get(broker, &request, t->list[n]->path,
					    &i, NULL),
				 0);
		assert_ptr_equal(i->class, t->list[n]->class);
	}
}

/* As pywbem's WBEMServer finds its way. */
static void a_client_finds_the_namespaces(void **state)
{
	struct told t = enumerated("CIM_Namespace");
	struct cim_walk any = {.assoc_class = "CIM_NamespaceInManager"};
	struct told ends = {0};

	assert_int_equal(t.count, schema_namespace_count);
	can_be_got(&t);
	for (size_t n = 0; n < t.count; n++)
		assert_string_equal(text(t.list[n], "Name"),
				    schema_namespaces[n].name);
	t = enumerated("CIM_ObjectManager");
	assert_int_equal(t.count, 1);
	assert_string_equal(text(t.list[0], "ElementName"), "refpoint");
	assert_non_null(strstr(text(t.list[0], "Description"), VERSION));
	assert_int_equal(broker_walk(broker, &request, t.list[0]->path, &any,
				     take, &ends, NULL),
			 0);
	assert_int_equal(ends.count, schema_namespace_count);
	t = enumerated("CIM_NamespaceInManager");
	assert_int_equal(t.count, schema_namespace_count);
	can_be_got(&t);
	t = enumerated("CIM_RegisteredProfile");
	assert_int_equal(t.count, 1);
	can_be_got(&t);
	assert_string_equal(text(t.list[0], "RegisteredVersion"), VERSION);
}

/* As libvirt's driver for Hyper-V opens and asks about the node. */
static void a_client_of_windows_reads_the_host(void **state)
{
	struct told t;
	struct guid uuid;

	request.ns = "root/cimv2";
	t = queried("SELECT * FROM Win32_ComputerSystem");
	assert_int_equal(t.count, 1);
	assert_string_equal(text(t.list[0], "DNSHostName"), "host");
	assert_true(number(t.list[0], "TotalPhysicalMemory") == GIB(4));
	assert_int_equal(number(t.list[0], "NumberOfLogicalProcessors"), 16);
	t = queried("ASSOCIATORS OF {Win32_ComputerSystem.Name='host'} WHERE "
		    "AssocClass = Win32_ComputerSystemProcessor ResultClass = "
		    "Win32_Processor");
	assert_int_equal(t.count, 2);
	can_be_got(&t);
	assert_string_equal(text(t.list[1], "DeviceID"), "CPU1");
	assert_string_equal(text(t.list[0], "Name"), "A processor");
	assert_int_equal(number(t.list[0], "NumberOfCores"), 4);
	assert_int_equal(number(t.list[0], "NumberOfLogicalProcessors"), 8);
	assert_int_equal(number(t.list[0], "MaxClockSpeed"), 2445);
	assert_int_equal(number(t.list[0], "Architecture"), 9);
	t = queried("SELECT * FROM Win32_ComputerSystemProduct");
	assert_int_equal(t.count, 1);
	assert_true(guid_parse(text(t.list[0], "UUID"), &uuid));
	t = queried("SELECT * FROM Win32_OperatingSystem");
	assert_int_equal(t.count, 1);
	can_be_got(&t);
	assert_string_equal(text(t.list[0], "Version"), "6.1.0");
	assert_string_equal(text(t.list[0], "BuildNumber"), "0");
	assert_int_equal(number(t.list[0], "TotalVisibleMemorySize"),
			 GIB(4) / 1024);
	assert_true(number(t.list[0], "FreePhysicalMemory") != UINT64_MAX);
	assert_int_equal(strlen(text(t.list[0], "LocalDateTime")), 25);
}

static void a_host_that_says_little_is_told_all_the_same(void **state)
{
	all.host.machine[0] = all.host.cpu[0] = all.host.os[0] = '\0';
	request.ns = "root/cimv2";
	assert_string_equal(text(enumerated("Win32_OperatingSystem").list[0],
				 "Caption"),
			    "Linux");
	assert_true(cim_instance_get(enumerated("Win32_Processor").list[0],
				     "Architecture")
			->is_null);
	assert_int_equal(enumerated("Win32_ComputerSystemProduct").count, 1);
}

static int told_within(size_t bytes, const char *class)
{
	struct cim_request own = request;
	struct told t = {0};
	int r;

	own.arena = arena_new(bytes);
	r = broker_enumerate(broker, &own, class, take, &t, NULL);
	arena_free(own.arena);
	return r;
}

static void memory_that_runs_out_is_an_error(void **state)
{
	static const char *const samples[][2] = {
	    {"root/interop", "CIM_NamespaceInManager"},
	    {"root/interop", "CIM_RegisteredProfile"},
	    {"root/cimv2", "Win32_ComputerSystemProcessor"},
	    {"root/cimv2", "Win32_OperatingSystem"},
	};

	/* Every place where it can, one after the other. */
	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		size_t left = 0;
		int r;

		request.ns = samples[i][0];
		do {
			r = told_within(left, samples[i][1]);
			left += 16;
		} while (r == -CIM_ELIMITS && left < KIB(64));
		assert_int_equal(r, 0);
		assert_true(left > 256);
	}
}

/* ---- the facts ---------------------------------------------------------- */

static void put(const char *root, const char *name, const char *content)
{
	char path[512];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s%s", root, name);
	for (char *p = path + strlen(root) + 1; (p = strchr(p, '/'));
	     *p++ = '/') {
		*p = '\0';
		(void)mkdir(path, 0700);
	}
	f = fopen(path, "we");
	assert_non_null(f);
	assert_true(fputs(content, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static void facts_come_from_the_systems_files(void **state)
{
	char root[] = "/tmp/test-static.XXXXXX", command[64];
	struct host_facts facts, again;
	struct guid uuid;

	assert_non_null(mkdtemp(root));
	put(root, "/proc/cpuinfo",
	    "processor\t: 0\nvendor_id\t: Some\nmodel name\t: A \xff CPU\n"
	    "cpu MHz\t\t: 2400.5\nphysical id\t: 0\nsiblings\t: 8\n"
	    "cpu cores\t: 4\nno colon\nprocessor\t: 1\nphysical id\t: 1\n"
	    "cpu MHz\t\t: 99999999999999\n");
	put(root, "/etc/os-release", "ID=x\nPRETTY_NAME=\"An OS 1\"\n");
	put(root, "/sys/class/dmi/id/sys_vendor", "Vendor \n");
	host_facts_read(root, &facts);
	assert_string_equal(facts.cpu, "A ? CPU");
	assert_string_equal(facts.cpu_vendor, "Some");
	assert_int_equal(facts.sockets, 2);
	assert_int_equal(facts.cores, 4);
	assert_int_equal(facts.threads, 8);
	assert_int_equal(facts.mhz, 100000);
	assert_string_equal(facts.os, "An OS 1");
	assert_string_equal(facts.vendor, "Vendor");
	assert_string_equal(facts.model, "");
	assert_true(facts.memory > 0);
	assert_true(guid_parse(facts.uuid, &uuid));
	/* Without any file: never none of anything. */
	host_facts_read("/nonexistent", &again);
	assert_int_equal(again.sockets, 1);
	assert_true(again.cores > 0 && again.threads >= again.cores);
	assert_string_equal(again.cpu, "");
	(void)snprintf(command, sizeof(command), "rm -r %s", root);
	assert_int_equal(system(command), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    SCENE(a_client_finds_the_namespaces),
	    SCENE(a_client_of_windows_reads_the_host),
	    SCENE(a_host_that_says_little_is_told_all_the_same),
	    SCENE(memory_that_runs_out_is_an_error),
	    cmocka_unit_test(facts_come_from_the_systems_files),
	};

	return cmocka_run_group_tests_name("static", tests, NULL, NULL);
}
