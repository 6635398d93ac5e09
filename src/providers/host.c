/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <time.h>

#include <systemd/sd-id128.h>

#include "common/bytes.h"

#define LINES_MAX   100000 /* of one file */
#define SOCKETS_MAX 256

/* The name under which the machine id is made into ours. */
#define HOST_ID                                                                \
	SD_ID128_MAKE(5d, 1c, 3a, 0e, 6b, 21, 4f, 3c, 9a, 77, 40, e2, 1b, 8d,  \
		      90, 6f)

/* What is printable, without the spaces and quotes around it. */
static void set_text(char to[HOST_TEXT_BYTES], const char *from)
{
	size_t n = 0;

	from += strspn(from, " \t\"'");
	while (from[n] && from[n] != '\n' && n < HOST_TEXT_BYTES - 1) {
		to[n] = from[n] >= ' ' && from[n] <= '~' ? from[n] : '?';
		n++;
	}
	while (n > 0 && strchr(" \t\"'", to[n - 1]))
		n--;
	to[n] = '\0';
}

typedef void line_fn(char *line, struct host_facts *facts);

/* FN gets each line of the file, cut at 255 bytes. */
static void read_lines(const char *root, const char *name, line_fn *fn,
		       struct host_facts *facts)
{
	char path[4096], line[256];
	FILE *f = NULL;

	if (snprintf(path, sizeof(path), "%s%s", root, name) <
	    (int)sizeof(path))
		f = fopen(path, "re");
	if (!f)
		return;
	for (int i = 0; i < LINES_MAX && fgets(line, sizeof(line), f); i++)
		fn(line, facts);
	(void)fclose(f);
}

static void take_vendor(char *line, struct host_facts *facts)
{
	set_text(facts->vendor, line);
}

static void take_model(char *line, struct host_facts *facts)
{
	set_text(facts->model, line);
}

static void take_os(char *line, struct host_facts *facts)
{
	static const char key[] = "PRETTY_NAME=";

	if (strncmp(line, key, strlen(key)) == 0)
		set_text(facts->os, line + strlen(key));
}

static uint32_t number(const char *text, uint32_t most)
{
	unsigned long n = strtoul(text, NULL, 10);

	return (uint32_t)MIN(n, (unsigned long)most);
}

/* "model name\t: AMD EPYC" */
static void take_cpu(char *line, struct host_facts *facts)
{
	char *colon = strchr(line, ':');

	if (!colon)
		return;
	*colon++ = '\0';
	line[strcspn(line, "\t")] = '\0';
	if (strcmp(line, "model name") == 0)
		set_text(facts->cpu, colon);
	else if (strcmp(line, "vendor_id") == 0)
		set_text(facts->cpu_vendor, colon);
	else if (strcmp(line, "cpu MHz") == 0)
		facts->mhz = MAX(facts->mhz, number(colon, 100000));
	else if (strcmp(line, "physical id") == 0)
		facts->sockets =
		    MAX(facts->sockets, number(colon, SOCKETS_MAX - 1) + 1);
	else if (strcmp(line, "cpu cores") == 0)
		facts->cores = number(colon, 65535);
	else if (strcmp(line, "siblings") == 0)
		facts->threads = number(colon, 65535);
	else if (strcmp(line, "processor") == 0 && facts->sockets == 0)
		facts->sockets = 1;
}

static void count_cpus(struct host_facts *facts)
{
	int n = get_nprocs();

	facts->sockets = MAX(facts->sockets, 1u);
	if (facts->threads == 0)
		facts->threads = (uint32_t)MAX(n, 1) / facts->sockets;
	facts->threads = MAX(facts->threads, 1u);
	if (facts->cores == 0 || facts->cores > facts->threads)
		facts->cores = facts->threads;
}

/* Of "6.1.0-18-amd64" the three numbers, as clients read no less and no more.
 */
static void take_kernel(struct host_facts *facts)
{
	struct utsname name;
	unsigned n[3] = {0};

	if (uname(&name) < 0)
		return;
	set_text(facts->name, name.nodename);
	set_text(facts->machine, name.machine);
	(void)sscanf(name.release, "%u.%u.%u", &n[0], &n[1], &n[2]);
	(void)snprintf(facts->version, sizeof(facts->version), "%u.%u.%u", n[0],
		       n[1], n[2]);
}

static void take_id(struct host_facts *facts)
{
	struct guid guid = guid_random();
	sd_id128_t id;

	if (sd_id128_get_machine_app_specific(HOST_ID, &id) == 0)
		memcpy(guid.b, id.bytes, sizeof(guid.b));
	guid_format(&guid, facts->uuid);
}

static void take_memory(struct host_facts *facts)
{
	struct sysinfo info;

	if (sysinfo(&info) < 0)
		return;
	facts->memory = (uint64_t)info.totalram * info.mem_unit;
	facts->boot_us = ((int64_t)time(NULL) - info.uptime) * 1000000;
}

uint64_t host_memory_free(void)
{
	struct sysinfo info;

	return sysinfo(&info) < 0
		   ? 0
		   : ((uint64_t)info.freeram + info.bufferram) * info.mem_unit;
}

void host_facts_read(const char *root, struct host_facts *ret_facts)
{
	struct host_facts facts = {0};

	take_kernel(&facts);
	take_id(&facts);
	take_memory(&facts);
	read_lines(root, "/sys/class/dmi/id/sys_vendor", take_vendor, &facts);
	read_lines(root, "/sys/class/dmi/id/product_name", take_model, &facts);
	read_lines(root, "/etc/os-release", take_os, &facts);
	read_lines(root, "/proc/cpuinfo", take_cpu, &facts);
	count_cpus(&facts);
	*ret_facts = facts;
}
