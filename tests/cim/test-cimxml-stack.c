/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CIM-XML, the broker and providers put together: a client that only knows the
 * address finds the namespaces, and then the host.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cimxml/cimxml.h"
#include "common/bytes.h"
#include "common/limits.h"
#include "providers/providers.h"

#define SPACE                                                                  \
	"<LOCALNAMESPACEPATH><NAMESPACE NAME='root'/><NAMESPACE NAME='%s'/>"   \
	"</LOCALNAMESPACEPATH>"
#define PARAM(name, value)                                                     \
	"<IPARAMVALUE NAME='" name "'>" value "</IPARAMVALUE>"
#define CLASS(name) PARAM("ClassName", "<CLASSNAME NAME='" name "'/>")
#define VALUE(text) "<VALUE>" text "</VALUE>"
#define KEY(name, value)                                                       \
	"<KEYBINDING NAME='" name "'><KEYVALUE>" value "</KEYVALUE>"           \
	"</KEYBINDING>"

static struct providers all;
static struct cimxml_service service;
static char *reply;
static unsigned status;

static int start(void **state)
{
	const struct cim_provider *list[INTEROP_PROVIDERS + WIN32_PROVIDERS];
	size_t n = 0;

	for (size_t i = 0; i < INTEROP_PROVIDERS; i++)
		list[n++] = &interop_providers[i];
	for (size_t i = 0; i < WIN32_PROVIDERS; i++)
		list[n++] = &win32_providers[i];
	host_facts_read("", &all.host);
	(void)snprintf(all.host.name, sizeof(all.host.name), "host");
	service.reply_bytes_max = CIM_REPLY_BYTES_MAX;
	return broker_new(list, n, &all, &service.broker, NULL) < 0 ||
	       contexts_new(NULL, &service.contexts, NULL) < 0;
}

static int finish(void **state)
{
	free(reply);
	reply = NULL;
	service.contexts = contexts_free(service.contexts);
	service.broker = broker_free(service.broker);
	return 0;
}

/* Sends the intrinsic METHOD to root/SPACE; the reply is kept. */
static void ask(const char *space, const char *method, const char *parameters)
{
	char body[4096], object[32];
	const struct cimxml_header headers[] = {{"CIMOperation", "MethodCall"},
						{"CIMMethod", method},
						{"CIMObject", object}};
	struct cimxml_request request = {.method = "POST",
					 .headers = headers,
					 .n_headers = ARRAY_SIZE(headers),
					 .content_type = "application/xml",
					 .body = body,
					 .caller = "someone",
					 .role = CIM_ROLE_READER,
					 .host = "localhost"};
	struct cimxml_response response;

	(void)snprintf(object, sizeof(object), "root/%s", space);
	request.body_bytes = (size_t)snprintf(
	    body, sizeof(body),
	    "<CIM CIMVERSION='2.0' DTDVERSION='2.0'><MESSAGE ID='4711' "
	    "PROTOCOLVERSION='1.0'><SIMPLEREQ><IMETHODCALL NAME='%s'>" SPACE
	    "%s</IMETHODCALL></SIMPLEREQ></MESSAGE></CIM>",
	    method, space, parameters);
	assert_true(request.body_bytes < sizeof(body));
	cimxml_handle(&service, &request, &response);
	free(reply);
	reply = response.body;
	status = response.status;
}

static void answered(void)
{
	assert_int_equal(status, 200);
	assert_non_null(reply);
	if (strstr(reply, "<ERROR"))
		fail_msg("%s", reply);
}

static unsigned times(const char *text)
{
	unsigned n = 0;

	for (const char *p = reply; (p = strstr(p, text)); p++)
		n++;
	return n;
}

static void the_namespaces_are_found(void **state)
{
	ask("interop", "EnumerateInstances", CLASS("CIM_Namespace"));
	answered();
	for (uint32_t i = 0; i < schema_namespace_count; i++) {
		char text[64];

		(void)snprintf(text, sizeof(text), "<VALUE>%s</VALUE>",
			       schema_namespaces[i].name);
		assert_non_null(strstr(reply, text));
	}
	ask("interop", "EnumerateInstances", CLASS("CIM_ObjectManager"));
	answered();
	assert_int_equal(times("<INSTANCE "), 1);
	ask("interop", "Associators",
	    PARAM("ObjectName",
		  "<INSTANCENAME CLASSNAME='CIM_ObjectManager'>" KEY(
		      "SystemCreationClassName", "CIM_ComputerSystem")
		      KEY("SystemName", "host")
			  KEY("CreationClassName", "CIM_ObjectManager")
			      KEY("Name", "refpoint-cim") "</INSTANCENAME>")
		PARAM("ResultClass", "<CLASSNAME NAME='cim_namespace'/>"));
	answered();
	assert_int_equal(times("<INSTANCE "), schema_namespace_count);
}

static void the_host_is_found(void **state)
{
	char memory[64];

	ask("cimv2", "GetInstance",
	    PARAM("InstanceName",
		  "<INSTANCENAME CLASSNAME='win32_computersystem'>" KEY(
		      "NAME", "host") "</INSTANCENAME>"));
	answered();
	(void)snprintf(memory, sizeof(memory), "<VALUE>%llu</VALUE>",
		       (unsigned long long)all.host.memory);
	assert_non_null(strstr(reply, memory));
	ask("cimv2", "ExecQuery",
	    PARAM("QueryLanguage", VALUE("WQL")) PARAM(
		"Query",
		VALUE("ASSOCIATORS OF {Win32_ComputerSystem.Name='host'} WHERE "
		      "AssocClass=Win32_ComputerSystemProcessor "
		      "ResultClass=Win32_Processor")));
	answered();
	assert_int_equal(times("<INSTANCE "), all.host.sockets);
	ask("cimv2", "ExecQuery",
	    PARAM("QueryLanguage", VALUE("WQL"))
		PARAM("Query", VALUE("ASSOCIATORS OF {Win32_ComputerSystem."
				     "Name='host'} WHERE ClassDefsOnly")));
	answered();
	assert_int_equal(times("<CLASS NAME=\"Win32_Processor\""), 1);
	ask("cimv2", "AssociatorNames",
	    PARAM("ObjectName", "<CLASSNAME NAME='Win32_Processor'/>"));
	answered();
	assert_int_equal(times("<CLASSNAME NAME=\"Win32_ComputerSystem\""), 1);
	ask("cimv2", "OpenEnumerateInstances",
	    CLASS("Win32_OperatingSystem")
		PARAM("MaxObjectCount", VALUE("10")));
	answered();
	assert_non_null(strstr(reply, all.host.version));
}

static void what_goes_wrong_is_told_by_its_number(void **state)
{
	static const struct {
		const char *space, *method, *parameters, *error;
	} samples[] = {
	    {"none", "EnumerateInstances", CLASS("CIM_Job"), "3"},
	    {"cimv2", "EnumerateInstances", CLASS("CIM_Job"), "5"},
	    {"cimv2", "GetInstance",
	     PARAM("InstanceName",
		   "<INSTANCENAME CLASSNAME='Win32_ComputerSystem'>" KEY(
		       "Name", "other") "</INSTANCENAME>"),
	     "6"},
	    {"cimv2", "GetInstance",
	     PARAM("InstanceName",
		   "<INSTANCENAME CLASSNAME='Win32_ComputerSystem'>" KEY(
		       "X", "host") "</INSTANCENAME>"),
	     "4"},
	    {"cimv2", "DeleteInstance",
	     PARAM("InstanceName",
		   "<INSTANCENAME CLASSNAME='Win32_ComputerSystem'>" KEY(
		       "Name", "host") "</INSTANCENAME>"),
	     "2"},
	    {"cimv2", "ExecQuery",
	     PARAM("QueryLanguage", VALUE("WQL"))
		 PARAM("Query", VALUE("SELECT X FROM Win32_Processor")),
	     "15"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		char text[32];

		ask(samples[i].space, samples[i].method, samples[i].parameters);
		assert_int_equal(status, 200);
		(void)snprintf(text, sizeof(text), "<ERROR CODE=\"%s\"",
			       samples[i].error);
		if (!strstr(reply, text))
			fail_msg("%s: %s", samples[i].parameters, reply);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_namespaces_are_found),
	    cmocka_unit_test(the_host_is_found),
	    cmocka_unit_test(what_goes_wrong_is_told_by_its_number),
	};

	return cmocka_run_group_tests_name("cimxml-stack", tests, start,
					   finish);
}
