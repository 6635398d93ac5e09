/* SPDX-License-Identifier: Apache-2.0 */
/* What is wrong with a message, by its headers or within. */
#include "cimxml/test-cimxml.h"

#define CALL                                                                   \
	"<IMETHODCALL NAME='GetInstance'>" SPACE PARAM("InstanceName",         \
						       SYSTEM_NAME) "</"       \
								    "IMETHODC" \
								    "ALL>"

static void expect(unsigned status, const char *error)
{
	const char *name =
	    strcmp(request.method, "M-POST") == 0 ? "73-CIMError" : "CIMError";

	assert_int_equal(response.status, status);
	assert_null(response.body);
	if (!error) {
		assert_null(reply_header(name));
		return;
	}
	assert_non_null(reply_header(name));
	assert_string_equal(reply_header(name), error);
}

static void a_good_request_is_answered(void **state)
{
	(void)ask("GetInstance", PARAM("InstanceName", SYSTEM_NAME));
	assert_int_equal(code(), 0);
	assert_string_equal(reply_header("CIMOperation"), "MethodResponse");
	assert_string_equal(reply_header("Content-Type"),
			    "application/xml; charset=\"utf-8\"");
	assert_true(has("<MESSAGE ID=\"7\" PROTOCOLVERSION=\"1.0\">"));
	assert_true(has("<VALUE>abc</VALUE>"));
}

static void bad_headers_have_their_errors(void **state)
{
	const char *body = message(CALL);

	request.n_headers = 0;
	(void)send_body(body);
	expect(501, "unsupported-operation");
	header("CIMOperation", "MethodResponse");
	(void)send_body(body);
	expect(501, "unsupported-operation");
	request.n_headers = 0;
	header("CIMOperation", "MethodCall");
	(void)send_body(body);
	expect(400, "header-mismatch");
	usual_headers("GetClass", V2);
	(void)send_body(body);
	expect(400, "header-mismatch");
	usual_headers("GetInstance", "root/cimv2");
	(void)send_body(body);
	expect(400, "header-mismatch");
	usual_headers("GetInstance", V2);
	header("CIMProtocolVersion", "2.0");
	(void)send_body(body);
	expect(501, "unsupported-protocol-version");
	usual_headers("GetInstance", V2);
	header("CIMProtocolVersion", "1.1");
	(void)send_body(body);
	expect(400, "header-mismatch");
	usual_headers("GetInstance", V2);
	header("CIMBatch", "");
	(void)send_body(body);
	expect(501, "multiple-requests-unsupported");
}

static void what_is_no_cim_xml_has_a_status_only(void **state)
{
	const char *body = message(CALL);

	usual_headers("GetInstance", V2);
	request.method = "GET";
	(void)send_body(body);
	expect(405, NULL);
	assert_string_equal(reply_header("Allow"), "POST, M-POST");
	request.method = "POST";
	request.content_type = "application/json";
	(void)send_body(body);
	expect(415, NULL);
	request.content_type = NULL;
	(void)send_body(body);
	expect(415, NULL);
	request.content_type = "text/xml";
	(void)send_body(body);
	assert_int_equal(code(), 0);
	request.method = "M-POST";
	(void)send_body(body);
	expect(510, NULL);
}

static void an_object_in_a_header_may_be_encoded(void **state)
{
	static const char *const spellings[] = {
	    V2, "root%2Fvirtualization%2Fv2", "root%2fvirtualization/v2",
	    "ROOT/Virtualization/V2", "root\\virtualization\\v2"};

	for (size_t i = 0; i < ARRAY_SIZE(spellings); i++) {
		usual_headers("getinstance", spellings[i]);
		(void)send_body(message(CALL));
		assert_int_equal(code(), 0);
	}
	usual_headers("Get%49nstance", V2);
	(void)send_body(message(CALL));
	assert_int_equal(code(), 0);
	usual_headers("GetInstance", "root%2Fvirtualization%2Fv2%00");
	(void)send_body(message(CALL));
	expect(400, "header-mismatch");
}

static void m_post_has_its_own_header_names(void **state)
{
	request.method = "M-POST";
	request.n_headers = 0;
	header("Man", "http://www.dmtf.org/cim/mapping/http/v1.0 ; ns=42");
	header("42-CIMOperation", "MethodCall");
	header("42-CIMMethod", "GetInstance");
	header("42-CIMObject", V2);
	(void)send_body(message(CALL));
	assert_int_equal(code(), 0);
	assert_string_equal(reply_header("73-CIMOperation"), "MethodResponse");
	assert_non_null(strstr(reply_header("Man"), "ns=73"));
	assert_non_null(reply_header("Ext"));
	headers[0].value =
	    "\"http://www.dmtf.org/cim/mapping/http/v1.0\";ns=42";
	headers[2].value = "GetClass";
	(void)send_body(message(CALL));
	expect(400, "header-mismatch");
	headers[0].value = "http://example.org/; ns=42";
	(void)send_body(message(CALL));
	expect(510, NULL);
	headers[0].value = "http://www.dmtf.org/cim/mapping/http/v1.0; ns=4";
	(void)send_body(message(CALL));
	expect(510, NULL);
}

#define CIM(version, dtd, content)                                             \
	"<CIM CIMVERSION='" version "' DTDVERSION='" dtd "'>" content "</CIM>"
#define MESSAGE(content)                                                       \
	CIM("2.0", "2.0",                                                      \
	    "<MESSAGE ID='1' PROTOCOLVERSION='1.0'>" content "</MESSAGE>")

static void bad_bodies_have_their_errors(void **state)
{
	static const struct {
		const char *body;
		unsigned status;
		const char *error;
	} samples[] = {
	    {"", 400, "request-not-well-formed"},
	    {"<CIM>", 400, "request-not-well-formed"},
	    {"<!DOCTYPE CIM [<!ENTITY a SYSTEM 'file:///etc/passwd'>]>"
	     "<CIM>&a;</CIM>",
	     400, "request-not-valid"},
	    {"<HTML/>", 400, "request-not-loosely-valid"},
	    {CIM("1.0", "2.0", ""), 501, "unsupported-cim-version"},
	    {CIM("2.0", "3.0", ""), 501, "unsupported-dtd-version"},
	    {"<CIM/>", 501, "unsupported-cim-version"},
	    {CIM("2.0", "2.0", ""), 400, "request-not-loosely-valid"},
	    {CIM("2.0", "2.0", "<MESSAGE ID='1'/>"), 400,
	     "request-not-loosely-valid"},
	    {CIM("2.0", "2.0", "<MESSAGE ID='1' PROTOCOLVERSION='2.0'/>"), 501,
	     "unsupported-protocol-version"},
	    {MESSAGE("<MULTIREQ><SIMPLEREQ/></MULTIREQ>"), 501,
	     "multiple-requests-unsupported"},
	    {MESSAGE("<SIMPLEEXPREQ/>"), 501, "unsupported-operation"},
	    {MESSAGE("<SIMPLEREQ/>"), 400, "request-not-loosely-valid"},
	    {MESSAGE("<SIMPLEREQ><IMETHODCALL>" SPACE "</IMETHODCALL>"
		     "</SIMPLEREQ>"),
	     400, "request-not-loosely-valid"},
	    {MESSAGE("<SIMPLEREQ><IMETHODCALL NAME='GetInstance'/>"
		     "</SIMPLEREQ>"),
	     400, "request-not-loosely-valid"},
	    {MESSAGE("<SIMPLEREQ><METHODCALL NAME='GetInstance'/>"
		     "</SIMPLEREQ>"),
	     400, "request-not-loosely-valid"},
	    {MESSAGE("<SIMPLERSP/>"), 400, "request-not-loosely-valid"},
	    {MESSAGE("<SIMPLEREQ>" CALL CALL "</SIMPLEREQ>"), 400,
	     "request-not-loosely-valid"},
	    {MESSAGE("<SIMPLEREQ>" CALL "</SIMPLEREQ><SIMPLEREQ/>"), 400,
	     "request-not-loosely-valid"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		usual_headers("GetInstance", V2);
		(void)send_body(samples[i].body);
		expect(samples[i].status, samples[i].error);
	}
}

static void nesting_ten_thousand_deep_is_refused(void **state)
{
	char *body = arena_alloc(arena, 10000 * 7 + 1);

	for (unsigned i = 0; i < 10000; i++)
		(void)memcpy(body + 3 * i, "<a>", 3);
	usual_headers("GetInstance", V2);
	(void)send_body(body);
	expect(400, "request-not-valid");
}

static void a_document_type_is_passed_over(void **state)
{
	usual_headers("GetInstance", V2);
	(void)send_body(arena_printf(
	    arena, "<?xml version='1.0'?><!DOCTYPE CIM SYSTEM 'cim.dtd'>%s",
	    message(CALL)));
	assert_int_equal(code(), 0);
}

static void a_body_may_be_utf_16(void **state)
{
	const char *text = message(CALL);
	size_t n = strlen(text);
	char *wide = arena_alloc(arena, 2 * n + 2);

	(void)memcpy(wide, "\xff\xfe", 2);
	for (size_t i = 0; i < n; i++)
		wide[2 * i + 2] = text[i];
	usual_headers("GetInstance", V2);
	request.content_type = "text/xml; charset=\"UTF-16\"";
	request.body = wide;
	request.body_bytes = 2 * n + 2;
	cimxml_handle(&service, &request, &response);
	assert_int_equal(code(), 0);
	assert_true(has("<VALUE>abc</VALUE>"));
}

static void an_id_comes_back_as_it_went(void **state)
{
	usual_headers("EnumerateClassNames", V2);
	(void)send_body("<CIM CIMVERSION='2.0' DTDVERSION='2.0'><MESSAGE "
			"ID='&lt;\"&amp;\xc3\xa9' PROTOCOLVERSION='1.0'>"
			"<SIMPLEREQ><CORRELATOR/>"
			"<IMETHODCALL NAME='EnumerateClassNames'>" SPACE
			"</IMETHODCALL></SIMPLEREQ></MESSAGE></CIM>");
	assert_int_equal(code(), 0);
	assert_true(has("<MESSAGE ID=\"&lt;&quot;&amp;\xc3\xa9\" "));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(a_good_request_is_answered),
	    CASE(bad_headers_have_their_errors),
	    CASE(what_is_no_cim_xml_has_a_status_only),
	    CASE(an_object_in_a_header_may_be_encoded),
	    CASE(m_post_has_its_own_header_names),
	    CASE(bad_bodies_have_their_errors),
	    CASE(nesting_ten_thousand_deep_is_refused),
	    CASE(a_document_type_is_passed_over),
	    CASE(a_body_may_be_utf_16),
	    CASE(an_id_comes_back_as_it_went),
	};

	return cmocka_run_group_tests_name("cimxml-message", tests, NULL, NULL);
}
