/* SPDX-License-Identifier: Apache-2.0 */
/* The message: from HTTP to the operation, and its reply or error back. */
#include <stdio.h>
#include <string.h>

#include "cimxml/internal.h"
#include "common/limits.h"

#define MAN      "\"http://www.dmtf.org/cim/mapping/http/v1.0\"; ns=73"
#define XML_TYPE "application/xml; charset=\"utf-8\""

/* What the body says: one simple request. */
struct message {
	const char *id;
	const char *version;
	bool intrinsic;
	const char *method;
	const struct xml_node *call; /* IMETHODCALL or METHODCALL */
	const char *ns;
	const struct cim_path *object; /* of a METHODCALL */
};

static int loose(struct err *err, const char *what)
{
	return err_set(err, -CIM_ELOOSE, "%s", what);
}

static bool is_two(const char *version)
{
	return version && strncmp(version, "2.", 2) == 0;
}

/* The only request within MESSAGE. */
static int read_simple(const struct xml_node *message,
		       const struct xml_node **ret_call, struct err *err)
{
	const struct xml_node *simple = message->first;

	if (simple && xml_is(simple, NULL, "MULTIREQ"))
		return err_set(err, -CIM_EMULTIPLE, "a batch of requests");
	if (simple && (xml_is(simple, NULL, "SIMPLEEXPREQ") ||
		       xml_is(simple, NULL, "MULTIEXPREQ")))
		return err_set(err, -CIM_EOPERATION, "no exports here");
	if (!simple || simple->next || !xml_is(simple, NULL, "SIMPLEREQ"))
		return loose(err, "MESSAGE holds no SIMPLEREQ");
	simple = simple->first;
	/* What went before the call (CORRELATOR) is passed over. */
	while (simple && !xml_is(simple, NULL, "IMETHODCALL") &&
	       !xml_is(simple, NULL, "METHODCALL"))
		simple = simple->next;
	if (!simple || simple->next)
		return loose(err, "SIMPLEREQ does not hold one call");
	*ret_call = simple;
	return 0;
}

static int read_object(struct arena *arena, struct message *m, struct err *err)
{
	const struct xml_node *n = m->call->first;
	int r;

	if (m->intrinsic) {
		const char *host;

		if (!n || !xml_is(n, NULL, "LOCALNAMESPACEPATH"))
			return loose(err, "IMETHODCALL has no namespace");
		r = codec_get_namespace(arena, n, &host, &m->ns, err);
	} else {
		if (!n || (!xml_is(n, NULL, "LOCALINSTANCEPATH") &&
			   !xml_is(n, NULL, "LOCALCLASSPATH")))
			return loose(err, "METHODCALL has no object");
		r = codec_get_path(arena, n, &m->object, err);
		if (r == 0)
			m->ns = m->object->ns;
	}
	return r == -CIM_EPARAMETER ? loose(err, "an object without its name")
				    : r;
}

static int read_message(struct arena *arena, const struct xml_node *root,
			struct message *ret_message, struct err *err)
{
	const struct xml_node *node;
	struct message m = {0};
	int r;

	if (!xml_is(root, NULL, "CIM"))
		return loose(err, "the document is no CIM");
	if (!is_two(xml_attribute(root, NULL, "CIMVERSION")))
		return err_set(err, -CIM_ECIMVERSION, "CIMVERSION is not 2");
	if (!is_two(xml_attribute(root, NULL, "DTDVERSION")))
		return err_set(err, -CIM_EDTDVERSION, "DTDVERSION is not 2");
	node = root->first;
	if (!node || !xml_is(node, NULL, "MESSAGE"))
		return loose(err, "CIM holds no MESSAGE");
	m.id = xml_attribute(node, NULL, "ID");
	m.version = xml_attribute(node, NULL, "PROTOCOLVERSION");
	if (!m.id || !m.version)
		return loose(err, "MESSAGE without ID or PROTOCOLVERSION");
	if (strncmp(m.version, "1.", 2) != 0)
		return err_set(err, -CIM_EPROTOCOLVERSION,
			       "PROTOCOLVERSION is not 1");
	r = read_simple(node, &m.call, err);
	if (r < 0)
		return r;
	m.intrinsic = xml_is(m.call, NULL, "IMETHODCALL");
	m.method = xml_attribute(m.call, NULL, "NAME");
	if (!m.method)
		return loose(err, "a call without NAME");
	r = read_object(arena, &m, err);
	if (r == 0)
		*ret_message = m;
	return r;
}

/* ---- the reply ----------------------------------------------------------- */

static void put_error(struct xml_out *out, int code, const struct err *err)
{
	unsigned status = cim_status(code)->cim;
	char digits[16];

	(void)snprintf(digits, sizeof(digits), "%u", status);
	xml_open(out, "ERROR");
	xml_put_attribute(out, "CODE", digits);
	xml_put_attribute(out, "DESCRIPTION",
			  *err->text ? err->text : cim_status_name(status));
	xml_close_empty(out);
}

static int run(const struct cimxml_service *service,
	       const struct cimxml_request *request, struct arena *arena,
	       const struct message *m, struct xml_out *out, struct err *err)
{
	struct call *c = arena_alloc(arena, sizeof(*c));

	if (!c)
		return arena_full(arena, err);
	c->service = service;
	c->cim = (struct cim_request){.arena = arena,
				      .caller = request->caller,
				      .role = request->role,
				      .host = request->host,
				      .ns = m->ns};
	c->out = out;
	c->err = err;
	if (request->role == CIM_ROLE_NONE)
		return err_set(err, -CIM_EACCESS, "you may not do that");
	c->ns = schema_find_namespace(m->ns);
	if (!c->ns)
		return err_set(err, -CIM_ENAMESPACE,
			       "there is no namespace %.100s", m->ns);
	return m->intrinsic ? call_operation(c, m->method, m->call)
			    : call_method(c, m->method, m->object, m->call);
}

/* The whole reply; what the operation wrote goes if it fails. */
static int reply(const struct cimxml_service *service,
		 const struct cimxml_request *request, struct arena *arena,
		 const struct message *m, struct cimxml_response *response)
{
	struct err err = {0};
	struct xml_mark mark;
	struct xml_out out;
	int r;

	xml_init(&out, service->reply_bytes_max, false);
	xml_open(&out, "CIM");
	xml_put_attribute(&out, "CIMVERSION", "2.0");
	xml_put_attribute(&out, "DTDVERSION", "2.0");
	xml_open(&out, "MESSAGE");
	xml_put_attribute(&out, "ID", m->id);
	xml_put_attribute(&out, "PROTOCOLVERSION", "1.0");
	xml_open(&out, "SIMPLERSP");
	xml_open(&out, m->intrinsic ? "IMETHODRESPONSE" : "METHODRESPONSE");
	xml_put_attribute(&out, "NAME", m->method);
	mark = xml_mark(&out);
	r = run(service, request, arena, m, &out, &err);
	if (r == 0 && xml_room(&out) == 0)
		out.error = -CIM_EREPLYBYTES;
	if (r == 0 && out.error)
		r = err_set(&err, out.error, "the reply would be too large");
	if (r < 0) {
		xml_rewind(&out, mark);
		put_error(&out, r, &err);
	}
	while (out.depth > 0)
		xml_close(&out);
	r = xml_finish(&out, &response->body, &response->body_bytes, NULL);
	xml_release(&out);
	return r;
}

static int parse(struct arena *arena, const struct cimxml_request *request,
		 const struct headers *headers, struct message *ret_message,
		 struct err *err)
{
	const struct xml_options options = {.skip_doctype = true,
					    .encoding = headers->encoding};
	const struct xml_node *root;
	int r;

	r = xml_parse(arena, request->body, request->body_bytes, &options,
		      &root, err);
	if (r < 0)
		return r;
	r = read_message(arena, root, ret_message, err);
	if (r < 0)
		return r;
	if (strlen(ret_message->id) > CIM_XML_NAME_MAX ||
	    strlen(ret_message->method) > CIM_XML_NAME_MAX)
		return loose(err, "a name that is too long");
	return match_headers(arena, headers, ret_message->version,
			     ret_message->method, ret_message->ns,
			     ret_message->object, err);
}

static void add(struct cimxml_response *response, const char *name,
		const char *value)
{
	response->headers[response->n_headers].name = name;
	response->headers[response->n_headers++].value = value;
}

static void add_extension(struct cimxml_response *response, bool mandatory)
{
	if (!mandatory)
		return;
	add(response, "Ext", "");
	add(response, "Cache-Control", "no-cache=\"Ext\"");
	add(response, "Man", MAN);
}

/* What is wrong with the message: no body. */
static void refuse(struct cimxml_response *response, bool mandatory, int code)
{
	const struct cim_status *status = cim_status(code);

	response->status = status->cimxml_http;
	if (!status->cim_error) {
		response->status = 500;
		return;
	}
	add_extension(response, mandatory);
	add(response, mandatory ? "73-CIMError" : "CIMError",
	    status->cim_error);
}

static void serve(const struct cimxml_service *service,
		  const struct cimxml_request *request, struct arena *arena,
		  struct cimxml_response *response)
{
	bool mandatory = strcmp(request->method, "M-POST") == 0;
	struct headers headers;
	struct message message = {0};
	struct err err = {0};
	int r;

	r = read_headers(request, &headers, &err);
	if (r > 0) {
		response->status = (unsigned)r;
		if (r == 405)
			add(response, "Allow", "POST, M-POST");
		return;
	}
	if (r == 0)
		r = parse(arena, request, &headers, &message, &err);
	if (r < 0) {
		refuse(response, mandatory, r);
		return;
	}
	r = reply(service, request, arena, &message, response);
	if (r < 0) {
		response->status = 500;
		return;
	}
	response->status = 200;
	add(response, "Content-Type", XML_TYPE);
	add_extension(response, mandatory);
	add(response, mandatory ? "73-CIMOperation" : "CIMOperation",
	    "MethodResponse");
}

void cimxml_handle(const struct cimxml_service *service,
		   const struct cimxml_request *request,
		   struct cimxml_response *ret_response)
{
	struct arena *arena = arena_new(CIM_REQUEST_MEMORY);

	memset(ret_response, 0, sizeof(*ret_response));
	ret_response->status = 500;
	if (arena)
		serve(service, request, arena, ret_response);
	arena_free(arena);
}
