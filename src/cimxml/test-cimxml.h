/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of this layer share: requests made by hand. */
#ifndef CIMXML_TEST_CIMXML_H
#define CIMXML_TEST_CIMXML_H

#include <stdbool.h>

#include "cim/test-cim.h"

#include "cimxml/cimxml.h"
#include "cimxml/fake-broker.h"

#define SYSTEM_NAME                                                            \
	"<INSTANCENAME CLASSNAME='Msvm_ComputerSystem'>"                       \
	"<KEYBINDING NAME='CreationClassName'><KEYVALUE>Msvm_ComputerSystem"   \
	"</KEYVALUE></KEYBINDING><KEYBINDING NAME='name'><KEYVALUE "           \
	"VALUETYPE='string'>abc</KEYVALUE></KEYBINDING></INSTANCENAME>"
#define SPACE                                                                  \
	"<LOCALNAMESPACEPATH><NAMESPACE NAME='root'/><NAMESPACE "              \
	"NAME='virtualization'/><NAMESPACE NAME='v2'/></LOCALNAMESPACEPATH>"
#define PARAM(name, value)                                                     \
	"<IPARAMVALUE NAME='" name "'>" value "</IPARAMVALUE>"
#define VALUE(text)     "<VALUE>" text "</VALUE>"
#define CLASSNAME(name) "<CLASSNAME NAME='" name "'/>"
#define THE_CLASS       PARAM("ClassName", CLASSNAME("Msvm_ComputerSystem"))

static struct cimxml_service service;
static struct cimxml_request request;
static struct cimxml_response response;
static struct cimxml_header headers[8];
static uint64_t clock_ms;

static uint64_t now(void)
{
	return clock_ms;
}

static inline void header(const char *name, const char *value)
{
	headers[request.n_headers].name = name;
	headers[request.n_headers++].value = value;
}

static inline void usual_headers(const char *method, const char *object)
{
	request.n_headers = 0;
	header("CIMOperation", "MethodCall");
	header("CIMMethod", method);
	header("CIMObject", object);
}

static int start(void **state)
{
	fake_extra = 0;
	fake_error = 0;
	clock_ms = 1000;
	request = (struct cimxml_request){.method = "POST",
					  .headers = headers,
					  .content_type =
					      "application/xml; charset=utf-8",
					  .caller = "alice",
					  .role = CIM_ROLE_OPERATOR,
					  .host = "me"};
	service.reply_bytes_max = CIM_REPLY_BYTES_MAX;
	arena = arena_new(CIM_REQUEST_MEMORY);
	return arena ? contexts_new(now, &service.contexts, NULL) : -1;
}

static int finish(void **state)
{
	free(response.body);
	response.body = NULL;
	service.contexts = contexts_free(service.contexts);
	arena_free(arena);
	return 0;
}

/* Every reply goes to the directory CIMXML_REPLIES, if there is one, to be held
 * against the grammar. */
static inline void keep_reply(void)
{
	static unsigned n;
	const char *directory = getenv("CIMXML_REPLIES");
	char path[512];
	FILE *file;

	if (!directory || !response.body)
		return;
	(void)snprintf(path, sizeof(path), "%s/%s-%u.xml", directory,
		       program_invocation_short_name, n++);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(response.body, 1, response.body_bytes, file),
			 response.body_bytes);
	assert_int_equal(fclose(file), 0);
}

/* Sends it with the headers that were set. */
static inline const char *send_body(const char *body)
{
	free(response.body);
	request.body = body;
	request.body_bytes = strlen(body);
	cimxml_handle(&service, &request, &response);
	keep_reply();
	return response.body ? response.body : "";
}

static inline const char *message(const char *call)
{
	return arena_printf(arena,
			    "<CIM CIMVERSION='2.0' DTDVERSION='2.0'><MESSAGE "
			    "ID='7' PROTOCOLVERSION='1.0'><SIMPLEREQ>%s"
			    "</SIMPLEREQ></MESSAGE></CIM>",
			    call);
}

/* An intrinsic method of root/virtualization/v2; the reply's body. */
static inline const char *ask(const char *method, const char *parameters)
{
	usual_headers(method, V2);
	return send_body(
	    message(arena_printf(arena,
				 "<IMETHODCALL NAME='%s'>" SPACE "%s"
				 "</IMETHODCALL>",
				 method, parameters)));
}

/* The CIM status code of the reply: 0 if there is no error in it. */
static inline unsigned code(void)
{
	const char *error =
	    response.body ? strstr(response.body, "<ERROR CODE=\"") : NULL;

	assert_int_equal(response.status, 200);
	return error ? (unsigned)strtoul(error + 13, NULL, 10) : 0;
}

static inline const char *reply_header(const char *name)
{
	for (size_t i = 0; i < response.n_headers; i++)
		if (strcmp(response.headers[i].name, name) == 0)
			return response.headers[i].value;
	return NULL;
}

static inline bool has(const char *text)
{
	return response.body && strstr(response.body, text);
}

static inline unsigned times(const char *text)
{
	unsigned n = 0;

	for (const char *p = response.body; (p = strstr(p, text)); p++)
		n++;
	return n;
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, start, finish)

#endif
