/* SPDX-License-Identifier: Apache-2.0 */
/* root/cimv2: the host, as far as tools read it that take us for Windows. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "providers/build.h"
#include "providers/providers.h"

#define SYSTEM    "Win32_ComputerSystem"
#define OS        "Win32_OperatingSystem"
#define PROCESSOR "Win32_Processor"

#define PARAMETERS                                                             \
	void *arg, const struct cim_request *request,                          \
	    const struct wql_query *query, const struct cim_path *object,      \
	    cim_instance_fn *fn, void *fn_arg, struct err *err

static bool is_64_bit(const struct host_facts *host)
{
	return strstr(host->machine, "64") ||
	       strcmp(host->machine, "s390x") == 0;
}

static struct build computer(const struct host_facts *host,
			     const struct cim_request *request, struct err *err)
{
	struct build b = build_new(request, SYSTEM, err);

	build_text(&b, "CreationClassName", SYSTEM);
	build_text(&b, "Name", host->name);
	build_text(&b, "DNSHostName", host->name);
	build_text(&b, "Caption", host->name);
	build_text(&b, "Description", "Host of refpoint");
	build_text(&b, "Manufacturer", host->vendor);
	build_text(&b, "Model", host->model);
	build_text(&b, "Status", "OK");
	build_text(&b, "SystemType",
		   strcmp(host->machine, "x86_64") == 0 ? "x64-based PC"
							: host->machine);
	build_number(&b, "NumberOfProcessors", host->sockets);
	build_number(&b, "NumberOfLogicalProcessors",
		     (int64_t)host->sockets * host->threads);
	build_number(&b, "TotalPhysicalMemory", (int64_t)host->memory);
	build_true(&b, "PartOfDomain", false);
	return b;
}

static int tell_computer(PARAMETERS)
{
	const struct providers *p = arg;
	struct build b = computer(&p->host, request, err);

	return build_tell(&b, fn, fn_arg);
}

static int tell_product(PARAMETERS)
{
	const struct host_facts *host = &((const struct providers *)arg)->host;
	struct build b = build_new(request, "Win32_ComputerSystemProduct", err);

	build_text(&b, "Caption", "Computer System Product");
	build_text(&b, "Description", "Computer System Product");
	build_text(&b, "IdentifyingNumber", host->uuid);
	build_text(&b, "UUID", host->uuid);
	build_text(&b, "Name", *host->model ? host->model : "unknown");
	build_text(&b, "Vendor", host->vendor);
	build_text(&b, "Version", "unknown");
	return build_tell(&b, fn, fn_arg);
}

static const char *datetime(int64_t us, char text[CIM_DATETIME_BYTES])
{
	return cim_datetime_format((struct cim_instant){.us = us}, text);
}

static int tell_os(PARAMETERS)
{
	const struct host_facts *host = &((const struct providers *)arg)->host;
	struct build b = build_new(request, OS, err);
	char boot[CIM_DATETIME_BYTES], now[CIM_DATETIME_BYTES];
	const char *build = strrchr(host->version, '.');

	build_text(&b, "CreationClassName", OS);
	build_text(&b, "CSCreationClassName", SYSTEM);
	build_text(&b, "CSName", host->name);
	build_text(&b, "Name", *host->os ? host->os : "Linux");
	build_text(&b, "Caption", *host->os ? host->os : "Linux");
	build_text(&b, "Version", host->version);
	build_text(&b, "BuildNumber", build ? build + 1 : NULL);
	build_text(&b, "OSArchitecture", is_64_bit(host) ? "64-bit" : "32-bit");
	build_text(&b, "Status", "OK");
	build_number(&b, "OSType", 36); /* LINUX */
	build_true(&b, "Primary", true);
	build_true(&b, "Distributed", false);
	build_text(&b, "LastBootUpTime", datetime(host->boot_us, boot));
	build_text(&b, "LocalDateTime",
		   datetime((int64_t)time(NULL) * 1000000, now));
	build_number(&b, "TotalVisibleMemorySize",
		     (int64_t)(host->memory / 1024));
	build_number(&b, "FreePhysicalMemory",
		     (int64_t)(host_memory_free() / 1024));
	return build_tell(&b, fn, fn_arg);
}

/* As Windows numbers them; others have none. */
static void set_architecture(struct build *b, const struct host_facts *host)
{
	if (strcmp(host->machine, "x86_64") == 0)
		build_number(b, "Architecture", 9);
	else if (strcmp(host->machine, "aarch64") == 0)
		build_number(b, "Architecture", 12);
}

/* ID serves as long as the instance. */
static struct build processor(const struct host_facts *host,
			      const struct cim_request *request, uint32_t n,
			      char id[16], struct err *err)
{
	struct build b = build_new(request, PROCESSOR, err);

	(void)snprintf(id, 16, "CPU%u", n);
	build_text(&b, "CreationClassName", PROCESSOR);
	build_text(&b, "DeviceID", id);
	build_text(&b, "SocketDesignation", id);
	build_text(&b, "SystemCreationClassName", SYSTEM);
	build_text(&b, "SystemName", host->name);
	build_text(&b, "Name", *host->cpu ? host->cpu : host->machine);
	build_text(&b, "Caption", *host->cpu ? host->cpu : host->machine);
	build_text(&b, "Manufacturer", host->cpu_vendor);
	build_text(&b, "Status", "OK");
	build_text(&b, "Role", "CPU");
	build_number(&b, "CpuStatus", 1);
	build_number(&b, "Availability", 3);
	build_number(&b, "ProcessorType", 3);
	set_architecture(&b, host);
	build_number(&b, "AddressWidth", is_64_bit(host) ? 64 : 32);
	build_number(&b, "DataWidth", is_64_bit(host) ? 64 : 32);
	build_number(&b, "MaxClockSpeed", host->mhz);
	build_number(&b, "CurrentClockSpeed", host->mhz);
	build_number(&b, "NumberOfCores", host->cores);
	build_number(&b, "NumberOfLogicalProcessors", host->threads);
	return b;
}

static int tell_processors(PARAMETERS)
{
	const struct host_facts *host = &((const struct providers *)arg)->host;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < host->sockets; i++) {
		char id[16];
		struct build b = processor(host, request, i, id, err);

		r = build_tell(&b, fn, fn_arg);
	}
	return r;
}

static int tell_links(PARAMETERS)
{
	const struct host_facts *host = &((const struct providers *)arg)->host;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < host->sockets; i++) {
		char id[16];
		struct build b =
		    build_new(request, "Win32_ComputerSystemProcessor", err);
		struct build whole = computer(host, request, err);
		struct build part = processor(host, request, i, id, err);

		build_ref(&b, "GroupComponent", &whole);
		build_ref(&b, "PartComponent", &part);
		r = build_tell(&b, fn, fn_arg);
	}
	return r;
}

const struct cim_provider win32_providers[WIN32_PROVIDERS] = {
    {.class_name = SYSTEM, .enumerate = tell_computer},
    {.class_name = "Win32_ComputerSystemProduct", .enumerate = tell_product},
    {.class_name = OS, .enumerate = tell_os},
    {.class_name = PROCESSOR, .enumerate = tell_processors},
    {.class_name = "Win32_ComputerSystemProcessor", .enumerate = tell_links},
};
