/* SPDX-License-Identifier: Apache-2.0 */
/* Reading an envelope. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/bytes.h"
#include "common/limits.h"
#include "wsman/internal.h"

bool wsman_true(const char *text)
{
	return strcasecmp(text, "true") == 0 || strcmp(text, "1") == 0;
}

static bool is_ours(const struct xml_node *node)
{
	static const char *const ours[][2] = {
	    {NS_ADDRESSING, "To"},
	    {NS_ADDRESSING, "Action"},
	    {NS_ADDRESSING, "MessageID"},
	    {NS_ADDRESSING, "RelatesTo"},
	    {NS_ADDRESSING, "ReplyTo"},
	    {NS_ADDRESSING, "FaultTo"},
	    {NS_ADDRESSING, "From"},
	    {NS_WSMAN, "ResourceURI"},
	    {NS_WSMAN, "SelectorSet"},
	    {NS_WSMAN, "OptionSet"},
	    {NS_WSMAN, "OperationTimeout"},
	    {NS_WSMAN, "MaxEnvelopeSize"},
	    {NS_WSMAN, "Locale"},
	    {NS_WSMAN, "RequestTotalItemsCountEstimate"},
	    {NS_WSMAN, "FragmentTransfer"},
	    {NS_MICROSOFT, "DataLocale"},
	    {NS_MICROSOFT, "SessionId"},
	    {NS_MICROSOFT, "OperationID"},
	    {NS_MICROSOFT, "SequenceId"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
		if (xml_is(node, ours[i][0], ours[i][1]))
			return true;
	return false;
}

static int check_understood(struct message *m, struct err *err)
{
	const struct xml_node *n = m->header ? m->header->first : NULL;

	for (; n; n = n->next) {
		const char *must = xml_attribute(n, NS_SOAP, "mustUnderstand");

		if (!must || !wsman_true(must) || is_ours(n))
			continue;
		m->not_understood = n;
		return err_set(err, -CIM_ENOTUNDERSTOOD,
			       "the header %.80s is not understood", n->name);
	}
	return 0;
}

/* The header, at most one; NULL if there is none. */
static int find_header(const struct message *m, const char *ns,
		       const char *name, const struct xml_node **ret_node,
		       struct err *err)
{
	const struct xml_node *n =
	    m->header ? xml_child(m->header, ns, name) : NULL;

	if (n && xml_sibling(n, ns, name))
		return err_set(err, -CIM_EHEADERINVALID,
			       "the header %s stands there twice", name);
	*ret_node = n;
	return 0;
}

/* Its text; stays what it was if there is none. */
static int header_text(const struct message *m, const char *ns,
		       const char *name, const char **text, struct err *err)
{
	const struct xml_node *n;
	int r = find_header(m, ns, name, &n, err);

	if (r < 0 || !n)
		return r;
	*text = xml_trimmed(m->arena, n);
	return *text ? 0 : arena_full(m->arena, err);
}

static int check_address(const struct message *m, const char *name,
			 struct err *err)
{
	const struct xml_node *n, *address;
	const char *text;
	int r = find_header(m, NS_ADDRESSING, name, &n, err);

	if (r < 0 || !n)
		return r;
	address = xml_child(n, NS_ADDRESSING, "Address");
	text = address ? xml_trimmed(m->arena, address) : "";
	if (!text)
		return arena_full(m->arena, err);
	if (strcmp(text, URI_ANONYMOUS) != 0)
		return err_set(err, -CIM_EADDRESSING,
			       "%s must be the anonymous address", name);
	return 0;
}

static int read_limit(struct message *m, struct err *err)
{
	const char *text = NULL;
	char *end;
	unsigned long limit;
	int r = header_text(m, NS_WSMAN, "MaxEnvelopeSize", &text, err);

	if (r < 0 || !text)
		return r;
	limit = strtoul(text, &end, 10);
	if (!isdigit((unsigned char)*text) || *end)
		return err_set(err, -CIM_EHEADERINVALID,
			       "MaxEnvelopeSize is no number");
	if (limit < WSMAN_ENVELOPE_BYTES_MIN)
		return err_set(err, -CIM_EENVELOPESMALL,
			       "envelopes have up to %u bytes at least",
			       WSMAN_ENVELOPE_BYTES_MIN);
	if (limit < m->limit)
		m->limit = limit;
	return 0;
}

static int read_headers(struct message *m, struct err *err)
{
	const struct xml_node *fragment = NULL;
	int r;

	r = header_text(m, NS_ADDRESSING, "MessageID", &m->message_id, err);
	if (r == 0)
		r = check_understood(m, err);
	if (r == 0)
		r = header_text(m, NS_ADDRESSING, "Action", &m->action, err);
	if (r == 0)
		r = check_address(m, "ReplyTo", err);
	if (r == 0)
		r = check_address(m, "FaultTo", err);
	if (r == 0)
		r = read_limit(m, err);
	if (r == 0)
		r = find_header(m, NS_WSMAN, "FragmentTransfer", &fragment,
				err);
	if (r == 0 && fragment)
		r = err_set(err, -CIM_EFRAGMENT,
			    "parts of instances are not served");
	return r;
}

static int need_addressing(const struct message *m, struct err *err)
{
	const char *missing = !*m->action      ? "Action"
			      : !m->message_id ? "MessageID"
					       : NULL;

	if (!missing)
		return 0;
	return err_set(err, -CIM_EHEADERMISSING, "the header %s is missing",
		       missing);
}

static int read_resource(struct message *m, struct err *err)
{
	int r = header_text(m, NS_WSMAN, "ResourceURI", &m->uri, err);

	if (r == 0)
		r = find_header(m, NS_WSMAN, "SelectorSet", &m->selectors, err);
	if (r < 0 || !m->uri)
		return r;
	r = resource_read(m->arena, m->uri, m->selectors, &m->resource, err);
	if (r == 0)
		m->cim.ns = m->resource.ns;
	return r;
}

static int open_envelope(struct message *m, struct err *err)
{
	const struct xml_node *body;

	if (strcmp(m->root->name, "Envelope") != 0)
		return err_set(err, -CIM_EINVALID, "%.60s is no envelope",
			       m->root->name);
	if (strcmp(m->root->ns, NS_SOAP) != 0)
		return err_set(err, -CIM_ESOAPVERSION,
			       "only SOAP 1.2 is spoken here");
	m->header = xml_child(m->root, NS_SOAP, "Header");
	body = xml_child(m->root, NS_SOAP, "Body");
	if (!body)
		return err_set(err, -CIM_EINVALID, "there is no Body");
	m->payload = body->first;
	return 0;
}

/* The charset of a content type: true if it is a UTF-16. */
static bool says_utf16(const char *content_type)
{
	return content_type && strcasestr(content_type, "utf-16");
}

static bool looks_utf16(const uint8_t *bytes, size_t length)
{
	if (length < 2)
		return false;
	return (bytes[0] == 0xff && bytes[1] == 0xfe) ||
	       (bytes[0] == 0xfe && bytes[1] == 0xff) ||
	       (bytes[0] == '<' && bytes[1] == 0) ||
	       (bytes[0] == 0 && bytes[1] == '<');
}

static int parse(struct message *m, struct err *err)
{
	const struct wsman_request *q = m->request;
	struct xml_options options = {.namespaces = true,
				      .no_instructions = true};
	const uint8_t *bytes = q->body;

	m->utf16 = looks_utf16(bytes, q->body_bytes);
	if (says_utf16(q->content_type) && !m->utf16)
		return err_set(err, -CIM_EXMLENCODING, "this is no UTF-16");
	/* Without a byte order mark the parser has to be told. */
	if (m->utf16 && bytes[0] == '<')
		options.encoding = "UTF-16LE";
	else if (m->utf16 && bytes[0] == 0)
		options.encoding = "UTF-16BE";
	if (m->utf16)
		m->limit /= 2;
	return xml_parse(m->arena, q->body, q->body_bytes, &options, &m->root,
			 err);
}

bool message_is_identify(const struct message *m)
{
	return m->payload && xml_is(m->payload, NS_IDENTITY, "Identify");
}

int message_read(struct message *m, struct err *err)
{
	size_t whole;
	int r;

	m->action = "";
	m->limit = WSMAN_ENVELOPE_BYTES_MAX;
	r = parse(m, err);
	whole = m->limit;
	if (r == 0)
		r = open_envelope(m, err);
	if (r == 0)
		r = read_headers(m, err);
	if (m->utf16 && m->limit < whole)
		m->limit /= 2;
	if (r < 0 || message_is_identify(m))
		return r;
	r = need_addressing(m, err);
	return r < 0 ? r : read_resource(m, err);
}

bool message_option(const struct message *m, const char *name, bool otherwise)
{
	const struct xml_node *set =
	    m->header ? xml_child(m->header, NS_WSMAN, "OptionSet") : NULL;
	const struct xml_node *n = set ? set->first : NULL;

	for (; n; n = n->next) {
		const char *its = xml_attribute_nocase(n, "Name");

		if (its && strcasecmp(its, name) == 0)
			return !*n->text || wsman_true(n->text);
	}
	return otherwise;
}
