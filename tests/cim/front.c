/* SPDX-License-Identifier: Apache-2.0 */
#include "front.h"

#include "cim/contexts.h"
#include "cimxml/cimxml.h"
#include "wsman/wsman.h"

#define ADDRESSING "http://schemas.xmlsoap.org/ws/2004/08/addressing"
#define MICROSOFT  "http://schemas.microsoft.com/wbem/wsman/1/wmi/" V2 "/"

static struct contexts *contexts;
static struct wsman *wsman;
static struct cimxml_service service;
static struct arena *tree; /* of the last reply */
static char *last;
static unsigned calls;

int front_up(void **state)
{
	struct wsman_options options = {.version = "1"};

	assert_int_equal(scene_set_up(state), 0);
	assert_int_equal(contexts_new(NULL, &contexts, NULL), 0);
	options.broker = service.broker = scene->broker;
	options.contexts = service.contexts = contexts;
	service.reply_bytes_max = CIM_REPLY_BYTES_MAX;
	return wsman_new(&options, &wsman, NULL);
}

int front_down(void **state)
{
	wsman = wsman_free(wsman);
	contexts = contexts_free(contexts);
	arena_free(tree);
	tree = NULL;
	free(last);
	last = NULL;
	return scene_tear_down(state);
}

static struct reply keep(unsigned status, char *body, size_t bytes)
{
	const struct xml_options options = {.namespaces = true,
					    .max_bytes = SIZE_MAX};
	struct reply reply = {.status = status, .text = body, .bytes = bytes};

	free(last);
	arena_free(tree);
	last = body;
	tree = arena_new(MIB(64));
	assert_non_null(body);
	/* a reply may have more elements than a request */
	(void)xml_parse(tree, body, bytes, &options, &reply.root, NULL);
	return reply;
}

/* ---- CIM-XML --------------------------------------------------------------
 */

/* Keys of the services, whose names differ. */
static const char *name_of(const char *class)
{
	return strstr(class, "Image") ? "imgsvc" : "rpsvc";
}

static struct reply send_cimxml(const char *method, const char *object,
				char *body, size_t bytes)
{
	const struct cimxml_header headers[] = {{"CIMOperation", "MethodCall"},
						{"CIMMethod", method},
						{"CIMObject", object}};
	const struct cimxml_request request = {
	    .method = "POST",
	    .headers = headers,
	    .n_headers = ARRAY_SIZE(headers),
	    .content_type = "application/xml; charset=\"utf-8\"",
	    .body = body,
	    .body_bytes = bytes,
	    .caller = "somebody",
	    .role = CIM_ROLE_OPERATOR,
	    .host = "localhost"};
	struct cimxml_response response;

	cimxml_handle(&service, &request, &response);
	return keep(response.status, response.body, response.body_bytes);
}

#define KEY(name, format)                                                      \
	"<KEYBINDING NAME='" name "'><KEYVALUE VALUETYPE='string'>" format     \
	"</KEYVALUE></KEYBINDING>"

struct reply front_cimxml(const char *class, const char *method,
			  const char *parameters)
{
	char object[512];
	char *body;
	int n;
	struct reply reply;

	(void)snprintf(object, sizeof(object),
		       V2 ":%s.CreationClassName=\"%s\",Name=\"%s\","
			  "SystemCreationClassName=\"Msvm_ComputerSystem\","
			  "SystemName=\"hv\"",
		       class, class, name_of(class));
	n = asprintf(
	    &body,
	    "<?xml version='1.0'?><CIM CIMVERSION='2.0' DTDVERSION='2.0'>"
	    "<MESSAGE ID='4711' PROTOCOLVERSION='1.0'><SIMPLEREQ>"
	    "<METHODCALL NAME='%s'><LOCALINSTANCEPATH><LOCALNAMESPACEPATH>"
	    "<NAMESPACE NAME='root'/><NAMESPACE NAME='virtualization'/>"
	    "<NAMESPACE NAME='v2'/></LOCALNAMESPACEPATH>"
	    "<INSTANCENAME CLASSNAME='%s'>" KEY("CreationClassName", "%s")
		KEY("Name", "%s")
		    KEY("SystemCreationClassName", "Msvm_ComputerSystem")
			KEY("SystemName", "hv") "</INSTANCENAME>"
						"</LOCALINSTANCEPATH>%s"
						"</METHODCALL></SIMPLEREQ>"
						"</MESSAGE></CIM>",
	    method, class, class, name_of(class), parameters);
	assert_true(n > 0);
	reply = send_cimxml(method, object, body, (size_t)n);
	free(body);
	return reply;
}

/* ---- WS-Management ---------------------------------------------------------
 */

struct reply front_wsman(const char *class, const char *method,
			 const char *parameters, unsigned long max_bytes)
{
	struct wsman_request request = {
	    .content_type = "application/soap+xml;charset=UTF-8",
	    .caller = "somebody",
	    .role = CIM_ROLE_OPERATOR,
	    .host = "localhost"};
	struct wsman_response response;
	char *body, size[96] = "";
	int n;

	if (max_bytes)
		(void)snprintf(size, sizeof(size),
			       "<w:MaxEnvelopeSize s:mustUnderstand='true'>%lu"
			       "</w:MaxEnvelopeSize>",
			       max_bytes);
	n = asprintf(
	    &body,
	    "<s:Envelope xmlns:s='http://www.w3.org/2003/05/soap-envelope' "
	    "xmlns:a='" ADDRESSING "' xmlns:xsi="
	    "'http://www.w3.org/2001/XMLSchema-instance' "
	    "xmlns:w='http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd'>"
	    "<s:Header><a:Action>" MICROSOFT
	    "%s/%s</a:Action><a:To>http://localhost/wsman</a:To>"
	    "<w:ResourceURI>" MICROSOFT "%s</w:ResourceURI>%s<a:MessageID>"
	    "uuid:00000000-0000-4000-8000-%012u</a:MessageID>"
	    "<a:ReplyTo><a:Address>" ADDRESSING
	    "/role/anonymous</a:Address></a:ReplyTo></s:Header><s:Body>"
	    "<p:%s_INPUT xmlns:p='" MICROSOFT
	    "%s'>%s</p:%s_INPUT></s:Body></s:Envelope>",
	    class, method, class, size, ++calls, method, class, parameters,
	    method);
	assert_true(n > 0);
	request.body = body;
	request.body_bytes = (size_t)n;
	wsman_answer(wsman, &request, &response);
	free(body);
	if (max_bytes)
		assert_true(response.body_bytes <= max_bytes);
	return keep(response.status, response.body, response.body_bytes);
}

/* ---- replies ---------------------------------------------------------------
 */

static void each(const struct xml_node *node, const char *name,
		 void (*fn)(void *arg, const struct xml_node *node), void *arg)
{
	for (; node; node = node->next) {
		if (xml_is(node, NULL, name))
			fn(arg, node);
		each(node->first, name, fn, arg);
	}
}

void front_each(const struct reply *reply, const char *name,
		void (*fn)(void *arg, const struct xml_node *node), void *arg)
{
	assert_non_null(reply->root);
	each(reply->root, name, fn, arg);
}

static void take_text(void *arg, const struct xml_node *node)
{
	const char **text = arg;

	*text = node->first ? node->first->text : node->text;
}

uint64_t front_result(const struct reply *reply)
{
	const char *text = NULL;
	char *end;
	uint64_t result;

	front_each(reply, "RETURNVALUE", take_text, &text); /* CIM-XML */
	front_each(reply, "ReturnValue", take_text, &text);
	if (reply->status != 200 || !text)
		fail_msg("%u %.2000s", reply->status, reply->text);
	result = strtoull(text, &end, 10);
	assert_true(end > text && !*end);
	return result;
}
