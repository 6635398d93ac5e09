/* SPDX-License-Identifier: Apache-2.0 */
/*
 * WS-Management, the broker and providers put together: the host, asked about
 * as libvirt's driver for Hyper-V does when it opens a connection.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/bytes.h"
#include "providers/providers.h"
#include "wsman/wsman.h"

#define DMTF   "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
#define ENUM   "http://schemas.xmlsoap.org/ws/2004/09/enumeration"
#define ADDR   "http://schemas.xmlsoap.org/ws/2004/08/addressing"
#define CIMV2  "http://schemas.microsoft.com/wbem/wsman/1/wmi/root/cimv2/"
#define WQL    "http://schemas.microsoft.com/wbem/wsman/1/WQL"
#define SYSTEM "Win32_ComputerSystem"

static struct providers all;
static struct broker *broker;
static struct contexts *contexts;
static struct wsman *wsman;
static char *reply;
static unsigned status;

static int start(void **state)
{
	const struct cim_provider *list[WIN32_PROVIDERS];
	struct wsman_options options = {.version = VERSION};

	for (size_t i = 0; i < WIN32_PROVIDERS; i++)
		list[i] = &win32_providers[i];
	host_facts_read("", &all.host);
	(void)snprintf(all.host.name, sizeof(all.host.name), "host");
	all.host.sockets = 3;
	if (broker_new(list, WIN32_PROVIDERS, &all, &broker, NULL) < 0 ||
	    contexts_new(NULL, &contexts, NULL) < 0)
		return -1;
	options.broker = broker;
	options.contexts = contexts;
	return wsman_new(&options, &wsman, NULL);
}

static int finish(void **state)
{
	free(reply);
	wsman = wsman_free(wsman);
	contexts = contexts_free(contexts);
	broker = broker_free(broker);
	return 0;
}

/* Sends ACTION (the end of it) to a class of root/cimv2 with the BODY. */
static void ask(const char *action, const char *class, const char *body)
{
	static unsigned id;
	char text[4096];
	struct wsman_request request = {
	    .content_type = "application/soap+xml;charset=UTF-8",
	    .body = text,
	    .caller = "someone",
	    .role = CIM_ROLE_READER,
	    .host = "localhost"};
	struct wsman_response response;

	request.body_bytes = (size_t)snprintf(
	    text, sizeof(text),
	    "<s:Envelope xmlns:s='http://www.w3.org/2003/05/soap-envelope' "
	    "xmlns:a='" ADDR "' xmlns:w='" DMTF "' xmlns:n='" ENUM "'>"
	    "<s:Header><a:Action s:mustUnderstand='true'>" ENUM "/%s"
	    "</a:Action><a:To>http://localhost/wsman</a:To>"
	    "<w:ResourceURI s:mustUnderstand='true'>" CIMV2 "%s"
	    "</w:ResourceURI><a:MessageID>uuid:00000000-0000-4000-8000-%012u"
	    "</a:MessageID><a:ReplyTo><a:Address>" ADDR "/role/anonymous"
	    "</a:Address></a:ReplyTo></s:Header><s:Body>%s</s:Body>"
	    "</s:Envelope>",
	    action, class, ++id, body);
	assert_true(request.body_bytes < sizeof(text));
	wsman_answer(wsman, &request, &response);
	free(reply);
	reply = response.body;
	status = response.status;
	assert_non_null(reply);
}

static void enumerate(const char *query)
{
	char body[1024];

	(void)snprintf(body, sizeof(body),
		       "<n:Enumerate><w:Filter Dialect='" WQL "'>%s</w:Filter>"
		       "</n:Enumerate>",
		       query);
	ask("Enumerate", "*", body);
}

/* One item of what the last reply is the beginning of; false: the end. */
static bool pull(const char *class)
{
	char body[512], context[128];
	const char *at = strstr(reply, "EnumerationContext>");

	assert_int_equal(status, 200);
	if (!at || strstr(reply, "EndOfSequence"))
		return false;
	assert_int_equal(sscanf(at, "EnumerationContext>%127[^<]", context), 1);
	(void)snprintf(body, sizeof(body),
		       "<n:Pull><n:EnumerationContext>%s"
		       "</n:EnumerationContext></n:Pull>",
		       context);
	ask("Pull", class, body);
	assert_int_equal(status, 200);
	return true;
}

/* The number of items, which are all of the class; each has the TEXT. */
static unsigned pulled(const char *query, const char *class, const char *text)
{
	char item[64];
	unsigned n = 0;

	(void)snprintf(item, sizeof(item), "<p:%s", class);
	enumerate(query);
	while (pull(class)) {
		if (!strstr(reply, item))
			break;
		if (!strstr(reply, text))
			fail_msg("%s: %s", text, reply);
		n++;
	}
	return n;
}

static void the_host_is_found(void **state)
{
	char version[160];

	(void)snprintf(version, sizeof(version), "<p:Version>%s</p:Version>",
		       all.host.version);
	assert_int_equal(pulled("Select * from " SYSTEM, SYSTEM,
				"<p:DNSHostName>host</p:DNSHostName>"),
			 1);
	assert_int_equal(pulled("select * from Win32_OperatingSystem",
				"Win32_OperatingSystem", version),
			 1);
	assert_int_equal(pulled("select * from Win32_ComputerSystemProduct",
				"Win32_ComputerSystemProduct", all.host.uuid),
			 1);
	/* Three sockets, one to a reply. */
	assert_int_equal(pulled("ASSOCIATORS OF {" SYSTEM
				".Name='host'} WHERE AssocClass = "
				"Win32_ComputerSystemProcessor ResultClass = "
				"Win32_Processor",
				"Win32_Processor", "NumberOfLogicalProcessors"),
			 3);
	assert_int_equal(pulled("select * from Win32_Processor where "
				"deviceid = 'cpu2'",
				"Win32_Processor", "CPU2"),
			 1);
}

static void what_goes_wrong_is_a_fault(void **state)
{
	static const char *const queries[] = {
	    "SELECT * FROM Win32_No",
	    "SELECT Nothing FROM Win32_Processor",
	    "ASSOCIATORS OF {" SYSTEM ".Name='other'}",
	    "ASSOCIATORS OF {" SYSTEM ".Name='host'} WHERE ResultClass=No",
	};

	for (size_t i = 0; i < ARRAY_SIZE(queries); i++) {
		enumerate(queries[i]);
		if (status != 500 || !strstr(reply, "<s:Fault"))
			fail_msg("%s: %u %s", queries[i], status, reply);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_host_is_found),
	    cmocka_unit_test(what_goes_wrong_is_a_fault),
	};

	return cmocka_run_group_tests_name("wsman-stack", tests, start, finish);
}
