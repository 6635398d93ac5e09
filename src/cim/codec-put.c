/* SPDX-License-Identifier: Apache-2.0 */
/* Writing instances, values and paths. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cim/codec.h"
#include "cim/status.h"

bool codec_selects(const struct codec_select *select,
		   const struct schema_class *class,
		   const struct schema_property *property)
{
	if (select->local_only && property->declarer != class)
		return false;
	if (!select->list)
		return true;
	for (uint32_t i = 0; i < select->property_count; i++)
		if (strcasecmp(select->properties[i], property->name) == 0)
			return true;
	return false;
}

/* ---- paths -------------------------------------------------------------- */

static void put_local_namespace(struct xml_out *out, const char *ns)
{
	xml_open(out, "LOCALNAMESPACEPATH");
	for (ns += strspn(ns, "/"); *ns; ns += strspn(ns, "/")) {
		size_t length = strcspn(ns, "/");

		xml_open(out, "NAMESPACE");
		xml_put_attribute_bytes(out, "NAME", ns, length);
		xml_close_empty(out);
		ns += length;
	}
	xml_close(out);
}

void codec_put_namespace(struct xml_out *out, const char *host, const char *ns)
{
	if (!host) {
		put_local_namespace(out, ns);
		return;
	}
	xml_open(out, "NAMESPACEPATH");
	xml_element(out, "HOST", host);
	put_local_namespace(out, ns);
	xml_close(out);
}

static void put_reference(struct xml_out *out, const struct cim_path *path)
{
	xml_open(out, "VALUE.REFERENCE");
	codec_put_path(out, path);
	xml_close(out);
}

static void put_key_value(struct xml_out *out, const struct cim_key *key)
{
	static const char *const types[] = {
	    [CIM_KEY_STRING] = "string",
	    [CIM_KEY_NUMBER] = "numeric",
	    [CIM_KEY_BOOLEAN] = "boolean",
	};

	if (key->kind == CIM_KEY_REFERENCE) {
		put_reference(out, key->ref);
		return;
	}
	xml_open(out, "KEYVALUE");
	xml_put_attribute(out, "VALUETYPE", types[key->kind]);
	xml_put_text(out, key->text);
	xml_close(out);
}

void codec_put_instance_name(struct xml_out *out, const struct cim_path *path)
{
	xml_open(out, "INSTANCENAME");
	xml_put_attribute(out, "CLASSNAME", path->class_name);
	for (uint32_t i = 0; i < path->key_count; i++) {
		if (!*path->keys[i].name) {
			put_key_value(out, &path->keys[i]);
			continue;
		}
		xml_open(out, "KEYBINDING");
		xml_put_attribute(out, "NAME", path->keys[i].name);
		put_key_value(out, &path->keys[i]);
		xml_close(out);
	}
	xml_close(out);
}

static void put_name(struct xml_out *out, const struct cim_path *path)
{
	if (!path->is_class) {
		codec_put_instance_name(out, path);
		return;
	}
	xml_open(out, "CLASSNAME");
	xml_put_attribute(out, "NAME", path->class_name);
	xml_close_empty(out);
}

void codec_put_path(struct xml_out *out, const struct cim_path *path)
{
	const char *whole = path->is_class ? "CLASSPATH" : "INSTANCEPATH";
	const char *local =
	    path->is_class ? "LOCALCLASSPATH" : "LOCALINSTANCEPATH";

	if (!path->ns) {
		put_name(out, path);
		return;
	}
	xml_open(out, path->host ? whole : local);
	codec_put_namespace(out, path->host, path->ns);
	put_name(out, path);
	xml_close(out);
}

void codec_put_object_path(struct xml_out *out, const struct cim_path *path)
{
	xml_open(out, "OBJECTPATH");
	codec_put_path(out, path);
	xml_close(out);
}

/* ---- values ------------------------------------------------------------- */

/* Ends OUT with the failure of another writer. */
static void adopt_error(struct xml_out *out, int error)
{
	if (!out->error)
		out->error = error;
}

static void put_embedded(struct xml_out *out,
			 const struct cim_instance *instance)
{
	struct xml_out inner;
	char *bytes;
	size_t length;
	int r;

	xml_init(&inner, out->limit, true);
	codec_put_instance(&inner, instance, &(struct codec_select){0}, true);
	r = xml_finish(&inner, &bytes, &length, NULL);
	if (r < 0) {
		adopt_error(out, r);
		return;
	}
	xml_put_bytes(out, bytes, length);
	free(bytes);
}

static void put_item(struct xml_out *out, const struct cim_value *value,
		     const union cim_scalar *item)
{
	char buf[CIM_SCALAR_BYTES];
	size_t length;
	const char *text;

	if (value->base == CIM_REFERENCE) {
		put_reference(out, item->ref);
		return;
	}
	xml_open(out, "VALUE");
	if (value->embedded) {
		put_embedded(out, item->instance);
	} else {
		text = cim_scalar_text(value->base, item, buf, &length);
		xml_put_bytes(out, text, length);
	}
	xml_close(out);
}

void codec_put_value(struct xml_out *out, const struct cim_value *value)
{
	if (value->is_null)
		return;
	if (value->array)
		xml_open(out, value->base == CIM_REFERENCE ? "VALUE.REFARRAY"
							   : "VALUE.ARRAY");
	for (uint32_t i = 0; i < value->count; i++)
		put_item(out, value, &cim_items(value)[i]);
	if (value->array)
		xml_close(out);
}

static void put_embedded_attribute(struct xml_out *out,
				   const struct schema_type *type)
{
	if (type->embedded)
		xml_put_attribute(out, "EmbeddedObject", "instance");
	else if (type->embedded_object)
		xml_put_attribute(out, "EmbeddedObject", "object");
}

void codec_put_parameter(struct xml_out *out,
			 const struct schema_parameter *parameter,
			 const struct cim_value *value)
{
	xml_open(out, "PARAMVALUE");
	xml_put_attribute(out, "NAME", parameter->name);
	xml_put_attribute(out, "PARAMTYPE",
			  cim_type_name(parameter->type.base));
	put_embedded_attribute(out, &parameter->type);
	codec_put_value(out, value);
	xml_close(out);
}

void codec_put_return(struct xml_out *out, const struct cim_value *value)
{
	xml_open(out, "RETURNVALUE");
	xml_put_attribute(out, "PARAMTYPE", cim_type_name(value->base));
	codec_put_value(out, value);
	xml_close(out);
}

/* ---- instances ---------------------------------------------------------- */

static void put_property(struct xml_out *out,
			 const struct cim_instance *instance,
			 const struct schema_property *property,
			 const struct cim_value *value, bool class_origin)
{
	const struct schema_type *type = &property->type;
	bool ref = type->base == CIM_REFERENCE;

	xml_open(out, ref           ? "PROPERTY.REFERENCE"
		      : type->array ? "PROPERTY.ARRAY"
				    : "PROPERTY");
	xml_put_attribute(out, "NAME", property->name);
	if (!ref)
		xml_put_attribute(out, "TYPE", cim_type_name(type->base));
	else if (type->ref)
		xml_put_attribute(out, "REFERENCECLASS", type->ref->name);
	if (class_origin)
		xml_put_attribute(out, "CLASSORIGIN", property->origin->name);
	if (class_origin && property->declarer != instance->class)
		xml_put_attribute(out, "PROPAGATED", "true");
	put_embedded_attribute(out, type);
	codec_put_value(out, value);
	xml_close(out);
}

void codec_put_instance(struct xml_out *out,
			const struct cim_instance *instance,
			const struct codec_select *select, bool set_only)
{
	const struct schema_class *class = instance->class;
	struct codec_select here = *select;

	here.local_only = false; /* it is about classes */
	xml_open(out, "INSTANCE");
	xml_put_attribute(out, "CLASSNAME", class->name);
	for (uint32_t i = 0; i < class->property_count; i++) {
		const struct schema_property *p = class->properties[i];

		if ((set_only && !cim_instance_has(instance, i)) ||
		    !codec_selects(&here, class, p))
			continue;
		put_property(out, instance, p, &instance->values[i],
			     select->class_origin);
	}
	xml_close(out);
}

void codec_put_named_instance(struct xml_out *out,
			      const struct cim_instance *instance,
			      const struct codec_select *select)
{
	xml_open(out, "VALUE.NAMEDINSTANCE");
	codec_put_instance_name(out, instance->path);
	codec_put_instance(out, instance, select, false);
	xml_close(out);
}

static void put_with_path(struct xml_out *out, const char *name,
			  const struct cim_instance *instance,
			  const struct codec_select *select)
{
	xml_open(out, name);
	codec_put_path(out, instance->path);
	codec_put_instance(out, instance, select, false);
	xml_close(out);
}

void codec_put_instance_with_path(struct xml_out *out,
				  const struct cim_instance *instance,
				  const struct codec_select *select)
{
	put_with_path(out, "VALUE.INSTANCEWITHPATH", instance, select);
}

void codec_put_object_with_path(struct xml_out *out,
				const struct cim_instance *instance,
				const struct codec_select *select)
{
	put_with_path(out, "VALUE.OBJECTWITHPATH", instance, select);
}

void codec_put_object(struct xml_out *out, const struct cim_instance *instance,
		      const struct codec_select *select)
{
	xml_open(out, "VALUE.OBJECT");
	codec_put_instance(out, instance, select, false);
	xml_close(out);
}

int codec_instance_text(struct arena *arena,
			const struct cim_instance *instance,
			const char **ret_text, struct err *err)
{
	struct xml_out out;
	char *bytes;
	size_t length;
	int r;

	xml_init(&out, CIM_REQUEST_MEMORY, true);
	codec_put_instance(&out, instance, &(struct codec_select){0}, true);
	r = xml_finish(&out, &bytes, &length, err);
	if (r < 0)
		return r;
	*ret_text = arena_copy(arena, bytes, length);
	free(bytes);
	return *ret_text ? 0 : arena_full(arena, err);
}
