/* SPDX-License-Identifier: Apache-2.0 */
/* Envelopes that go out, faults among them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/guid.h"
#include "common/limits.h"
#include "wsman/internal.h"

#define TYPE_UTF8  "application/soap+xml;charset=UTF-8"
#define TYPE_UTF16 "application/soap+xml;charset=UTF-16"

static void put_message_id(struct xml_out *out)
{
	char text[5 + GUID_TEXT_BYTES] = "uuid:";
	struct guid guid = guid_random();

	guid_format(&guid, text + 5);
	xml_element(out, "a:MessageID", text);
}

/* The header that was not understood, by its name.  One without a namespace
 * gets no prefix, since no prefix can mean that; `xml` is bound for good. */
static void put_not_understood(struct xml_out *out, const struct xml_node *n)
{
	const char *ns = n->ns ? n->ns : "";
	bool bound = strcmp(ns, NS_XML) == 0;
	char name[CIM_XML_NAME_MAX + 5] = "";

	xml_open(out, "s:NotUnderstood");
	if (*ns && !bound)
		xml_put_attribute(out, "xmlns:q", ns);
	(void)snprintf(name, sizeof(name), "%s%s",
		       !*ns    ? ""
		       : bound ? "xml:"
			       : "q:",
		       n->name);
	xml_put_attribute(out, "qname", name);
	xml_close_empty(out);
}

/* SOAP wants to know which header, or which envelopes there are. */
static void put_fault_headers(struct xml_out *out, const struct message *m,
			      int code)
{
	if (code == -CIM_ENOTUNDERSTOOD && m->not_understood)
		put_not_understood(out, m->not_understood);
	if (code == -CIM_ESOAPVERSION) {
		xml_open(out, "s:Upgrade");
		xml_open(out, "s:SupportedEnvelope");
		xml_put_attribute(out, "qname", "s:Envelope");
		xml_close_empty(out);
		xml_close(out);
	}
}

static void begin(struct xml_out *out, const struct message *m,
		  const char *action, const char *p, int code)
{
	xml_init(out, m->limit, true);
	xml_open(out, "s:Envelope");
	xml_put_attribute(out, "xml:lang", "en-US");
	xml_put_attribute(out, "xmlns:s", NS_SOAP);
	xml_put_attribute(out, "xmlns:a", NS_ADDRESSING);
	xml_put_attribute(out, "xmlns:x", NS_TRANSFER);
	xml_put_attribute(out, "xmlns:e", NS_EVENTING);
	xml_put_attribute(out, "xmlns:n", NS_ENUMERATION);
	xml_put_attribute(out, "xmlns:w", NS_WSMAN);
	xml_put_attribute(out, "xmlns:p", p ? p : NS_MICROSOFT);
	xml_put_attribute(out, "xmlns:xsi", NS_XSI);
	xml_open(out, "s:Header");
	if (action) {
		xml_element(out, "a:Action", action);
		put_message_id(out);
		xml_element(out, "a:To", URI_ANONYMOUS);
	}
	if (m->message_id)
		xml_element(out, "a:RelatesTo", m->message_id);
	put_fault_headers(out, m, code);
	xml_close(out);
	xml_open(out, "s:Body");
}

void reply_begin(struct xml_out *out, const struct message *m,
		 const char *action, const char *p)
{
	begin(out, m, action, p, 0);
}

/* ---- UTF-16 -------------------------------------------------------------- */

/* The code point at *P, which is UTF-8 of our own. */
static uint32_t next_point(const uint8_t **p)
{
	uint32_t c = *(*p)++;
	unsigned more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : c >= 0xc0 ? 1 : 0;

	if (more > 0)
		c &= 0x3fu >> more;
	while (more-- > 0)
		c = c << 6 | (*(*p)++ & 0x3f);
	return c;
}

static void put_unit(char **at, uint32_t unit)
{
	*(*at)++ = (char)(unit & 0xff);
	*(*at)++ = (char)(unit >> 8);
}

/* Little endian, with a mark; NULL without memory. */
static char *to_utf16(const char *text, size_t length, size_t *ret_length)
{
	const uint8_t *p = (const uint8_t *)text, *end = p + length;
	char *bytes = malloc(length * 2 + 2), *at = bytes;

	if (!bytes)
		return NULL;
	put_unit(&at, 0xfeff);
	while (p < end) {
		uint32_t c = next_point(&p);

		if (c >= 0x10000) {
			put_unit(&at, 0xd800 + ((c - 0x10000) >> 10));
			put_unit(&at, 0xdc00 + ((c - 0x10000) & 0x3ff));
		} else {
			put_unit(&at, c);
		}
	}
	*ret_length = (size_t)(at - bytes);
	return bytes;
}

static int finish(struct xml_out *out, const struct message *m, unsigned status,
		  struct wsman_response *ret_response, struct err *err)
{
	struct wsman_response response = {.status = status,
					  .content_type = TYPE_UTF8};
	char *wide;
	int r;

	xml_close(out);
	xml_close(out);
	r = xml_finish(out, &response.body, &response.body_bytes, err);
	if (r < 0)
		return r;
	if (m->utf16) {
		wide = to_utf16(response.body, response.body_bytes,
				&response.body_bytes);
		free(response.body);
		if (!wide)
			return err_set(err, -CIM_ELIMITS,
				       "no memory for the answer");
		response.body = wide;
		response.content_type = TYPE_UTF16;
	}
	*ret_response = response;
	return 0;
}

int reply_end(struct xml_out *out, const struct message *m,
	      struct wsman_response *ret_response, struct err *err)
{
	return finish(out, m, 200, ret_response, err);
}

/* ---- faults ------------------------------------------------------------- */

static void put_code(struct xml_out *out, const struct cim_status *row)
{
	xml_open(out, "s:Code");
	xml_element(out, "s:Value", soap_code_name(row->soap));
	if (row->subcode) {
		xml_open(out, "s:Subcode");
		xml_element(out, "s:Value", row->subcode);
		xml_close(out);
	}
	xml_close(out);
}

static void put_windows(struct xml_out *out, const struct message *m,
			const struct cim_status *row, const char *text)
{
	char number[16];

	(void)snprintf(number, sizeof(number), "%u", row->windows);
	xml_open(out, "f:WSManFault");
	xml_put_attribute(out, "xmlns:f", NS_WSMANFAULT);
	xml_put_attribute(out, "Code", number);
	xml_put_attribute(out, "Machine",
			  m->request->host ? m->request->host : "localhost");
	xml_element(out, "f:Message", text);
	xml_close(out);
}

/* An instance of Msvm_Error, as a CIM_Error. */
static void put_cim_error(struct xml_out *out, const struct cim_status *row,
			  const char *text)
{
	char number[16];

	(void)snprintf(number, sizeof(number), "%u", row->cim);
	xml_open(out, "p:Msvm_Error");
	xml_put_attribute(out, "xmlns:p",
			  "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/"
			  "Msvm_Error");
	xml_put_attribute(out, "xmlns:b", NS_BINDING);
	xml_put_attribute(out, "b:IsCIM_Error", "true");
	xml_put_attribute(out, "xsi:type", "p:Msvm_Error_Type");
	xml_element(out, "p:CIMStatusCode", number);
	xml_element(out, "p:CIMStatusCodeDescription",
		    cim_status_name(row->cim));
	xml_element(out, "p:Message", text);
	xml_close(out);
}

static void put_detail(struct xml_out *out, const struct message *m,
		       const struct cim_status *row, const char *text)
{
	xml_open(out, "s:Detail");
	if (row->detail) {
		xml_open(out, "w:FaultDetail");
		xml_put_text(out, CIM_FAULT_DETAIL);
		xml_put_text(out, row->detail);
		xml_close(out);
	}
	if (row->windows)
		put_windows(out, m, row, text);
	put_cim_error(out, row, text);
	xml_close(out);
}

static int write_fault(const struct message *m, int code, const char *text,
		       struct wsman_response *ret_response)
{
	const struct cim_status *row = cim_status(code);
	struct xml_out out;

	begin(&out, m, cim_fault_action(row->subcode), NULL, code);
	xml_open(&out, "s:Fault");
	put_code(&out, row);
	xml_open(&out, "s:Reason");
	xml_open(&out, "s:Text");
	xml_put_attribute(&out, "xml:lang", "en-US");
	xml_put_text(&out, text);
	xml_close(&out);
	xml_close(&out);
	put_detail(&out, m, row, text);
	xml_close(&out);
	return finish(&out, m, row->soap_http, ret_response, NULL);
}

void reply_fault(const struct message *message, int code, const char *text,
		 struct wsman_response *ret_response)
{
	struct message m = *message;

	if (!*text)
		text = err_name(code);
	if (write_fault(&m, code, text, ret_response) == 0)
		return;
	/* What was asked may be too long to be repeated. */
	m.message_id = NULL;
	m.not_understood = NULL;
	if (write_fault(&m, code, text, ret_response) < 0)
		*ret_response = (struct wsman_response){.status = 500};
}
