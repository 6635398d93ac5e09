/* SPDX-License-Identifier: Apache-2.0 */
/* Writing values, references and instances as WS-CIM (DSP0230) has them. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "wsman/internal.h"

#define NAME_BYTES 256

/* "p:NAME", in BUF. */
static const char *prefixed(char buf[NAME_BYTES], const char *name)
{
	size_t length = strnlen(name, NAME_BYTES - 3);

	memcpy(buf, "p:", 2);
	memcpy(buf + 2, name, length);
	buf[2 + length] = '\0';
	return buf;
}

/* Most properties of most instances; at once, as names of the schema need no
 * look. */
static void put_nil(struct xml_out *out, const char *name)
{
	static const char rest[] = " xsi:nil=\"true\"/>";
	char buf[NAME_BYTES + sizeof(rest)];
	size_t length = strnlen(name, NAME_BYTES - 3);

	memcpy(buf, "<p:", 3);
	memcpy(buf + 3, name, length);
	memcpy(buf + 3 + length, rest, sizeof(rest) - 1);
	xml_put_fragment(out, buf, 3 + length + sizeof(rest) - 1);
}

static void fail(struct xml_out *out, int error)
{
	if (!out->error)
		out->error = error;
}

static void put_key(struct xml_out *out, const struct put_style *style,
		    const struct cim_key *key)
{
	xml_open(out, "w:Selector");
	xml_put_attribute(out, "Name", key->name);
	if (key->kind == CIM_KEY_REFERENCE) {
		xml_open(out, "a:EndpointReference");
		put_reference(out, style, key->ref);
		xml_close(out);
	} else if (key->kind == CIM_KEY_BOOLEAN) {
		xml_put_text(out, strcasecmp(key->text, "true") == 0 ? "true"
								     : "false");
	} else {
		xml_put_text(out, key->text);
	}
	xml_close(out);
}

static void open_part(struct xml_out *out, const struct put_style *style,
		      const char *name)
{
	xml_open(out, name);
	if (style->declare && *name == 'a')
		xml_put_attribute(out, "xmlns:a", NS_ADDRESSING);
	else if (style->declare)
		xml_put_attribute(out, "xmlns:w", NS_WSMAN);
}

static void put_part(struct xml_out *out, const struct put_style *style,
		     const char *name, const char *text)
{
	open_part(out, style, name);
	xml_put_text(out, text);
	xml_close(out);
}

void put_reference(struct xml_out *out, const struct put_style *style,
		   const struct cim_path *path)
{
	const char *ns = path->ns ? path->ns : style->ns;
	const char *uri =
	    resource_uri(style->arena, style->family, ns, path->class_name);

	if (!uri) {
		fail(out, -CIM_ELIMITS);
		return;
	}
	put_part(out, style, "a:Address", URI_ANONYMOUS);
	open_part(out, style, "a:ReferenceParameters");
	put_part(out, style, "w:ResourceURI", uri);
	open_part(out, style, "w:SelectorSet");
	if (style->family == URI_DMTF) {
		xml_open(out, "w:Selector");
		xml_put_attribute(out, "Name", "__cimnamespace");
		xml_put_text(out, ns);
		xml_close(out);
	}
	for (uint32_t i = 0; i < path->key_count; i++)
		put_key(out, style, &path->keys[i]);
	xml_close(out);
	xml_close(out);
}

/* 20260102030405.678901+060 is 2026-01-02T03:04:05.678901+01:00. */
static void put_instant(struct xml_out *out, const char *t)
{
	char text[64];
	int minutes = (t[22] - '0') * 100 + (t[23] - '0') * 10 + (t[24] - '0');

	(void)snprintf(text, sizeof(text),
		       "%.4s-%.2s-%.2sT%.2s:%.2s:%.2s.%.6s%c%02d:%02d", t,
		       t + 4, t + 6, t + 8, t + 10, t + 12, t + 15, t[21],
		       minutes / 60, minutes % 60);
	xml_element(out, "cim:Datetime", text);
}

static void put_interval(struct xml_out *out, const char *t)
{
	char text[64];

	(void)snprintf(text, sizeof(text), "P%.8sDT%.2sH%.2sM%.2s.%.6sS", t,
		       t + 8, t + 10, t + 12, t + 15);
	xml_element(out, "cim:Interval", text);
}

static void put_datetime(struct xml_out *out, const char *text)
{
	xml_put_attribute(out, "xmlns:cim", NS_CIM);
	if (strlen(text) != CIM_DATETIME_BYTES - 1 || strchr(text, '*'))
		xml_element(out, "cim:CIM_DateTime", text);
	else if (text[21] == ':')
		put_interval(out, text);
	else
		put_instant(out, text);
}

static void put_embedded(struct xml_out *out, const struct put_style *style,
			 const struct cim_instance *instance)
{
	struct arena_mark mark = arena_mark(style->arena);
	const char *text;
	int r = codec_instance_text(style->arena, instance, &text, NULL);

	if (r < 0)
		fail(out, r);
	else
		xml_put_text(out, text);
	arena_rewind(style->arena, mark);
}

static void put_item(struct xml_out *out, const struct put_style *style,
		     const struct cim_value *value,
		     const union cim_scalar *item)
{
	char buf[CIM_SCALAR_BYTES];
	size_t length;
	const char *text;

	if (value->base == CIM_REFERENCE) {
		put_reference(out, style, item->ref);
	} else if (value->embedded) {
		put_embedded(out, style, item->instance);
	} else if (value->base == CIM_BOOLEAN) {
		xml_put_text(out, item->boolean ? "true" : "false");
	} else if (value->base == CIM_DATETIME) {
		put_datetime(out, item->text);
	} else {
		text = cim_scalar_text(value->base, item, buf, &length);
		xml_put_bytes(out, text, length);
	}
}

void put_value(struct xml_out *out, const struct put_style *style,
	       const char *name, const struct cim_value *value)
{
	char buf[NAME_BYTES];

	if (value->is_null) {
		put_nil(out, name);
		return;
	}
	for (uint32_t i = 0; i < value->count; i++) {
		xml_open(out, prefixed(buf, name));
		put_item(out, style, value, &cim_items(value)[i]);
		xml_close(out);
	}
}

static bool shows(const struct put_view *view, const char *name)
{
	if (view->class && view->only_class &&
	    !schema_find_property(view->class, name))
		return false;
	if (view->property_count == 0)
		return true;
	for (uint32_t i = 0; i < view->property_count; i++)
		if (strcasecmp(view->properties[i], name) == 0)
			return true;
	return false;
}

void put_instance(struct xml_out *out, const struct put_style *style,
		  const struct cim_instance *instance,
		  const struct put_view *view)
{
	const struct schema_class *class =
	    view->class ? view->class : instance->class;
	const char *uri =
	    resource_uri(style->arena, style->family, style->ns, class->name);
	char name[NAME_BYTES], type[NAME_BYTES + 8];

	if (!uri) {
		fail(out, -CIM_ELIMITS);
		return;
	}
	xml_open(out, prefixed(name, class->name));
	xml_put_attribute(out, "xmlns:p", uri);
	(void)snprintf(type, sizeof(type), "%s_Type", name);
	xml_put_attribute(out, "xsi:type", type);
	for (uint32_t i = 0; i < instance->class->property_count; i++) {
		const char *its = instance->class->properties[i]->name;

		if (shows(view, its))
			put_value(out, style, its, &instance->values[i]);
	}
	xml_close(out);
}
