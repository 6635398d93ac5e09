/* SPDX-License-Identifier: Apache-2.0 */
/* Writing classes and declarations of qualifiers. */
#include <stdio.h>

#include "cim/codec.h"

/* A constant; the schema's scalars are the values' own but for references,
 * which no constant of ours is. */
static void put_constant(struct xml_out *out, const struct schema_value *value)
{
	char buf[CIM_SCALAR_BYTES];

	if (value->is_null || value->base == CIM_REFERENCE)
		return;
	if (value->array)
		xml_open(out, "VALUE.ARRAY");
	for (uint32_t i = 0; i < value->count; i++) {
		const union schema_scalar *from = &value->items[i];
		union cim_scalar item = {.uint = from->uint};

		if (value->base == CIM_BOOLEAN)
			item.boolean = from->boolean;
		else if (value->base == CIM_STRING ||
			 value->base == CIM_DATETIME)
			item.text = from->text;
		else if (value->base == CIM_REAL32 || value->base == CIM_REAL64)
			item.real = from->real;
		xml_element(out, "VALUE",
			    cim_scalar_text(value->base, &item, buf, NULL));
	}
	if (value->array)
		xml_close(out);
}

/* Attributes are left out where they have the DTD's default. */
static void put_flavor(struct xml_out *out, unsigned flavor)
{
	if (!(flavor & SCHEMA_OVERRIDABLE))
		xml_put_attribute(out, "OVERRIDABLE", "false");
	if (!(flavor & SCHEMA_TOSUBCLASS))
		xml_put_attribute(out, "TOSUBCLASS", "false");
	if (flavor & SCHEMA_TRANSLATABLE)
		xml_put_attribute(out, "TRANSLATABLE", "true");
}

static void put_qualifiers(struct xml_out *out,
			   const struct schema_qualifiers *qualifiers,
			   const struct codec_select *select)
{
	for (uint32_t i = 0; select->qualifiers && i < qualifiers->count; i++) {
		const struct schema_qualifier *q = &qualifiers->list[i];

		xml_open(out, "QUALIFIER");
		xml_put_attribute(out, "NAME", q->type->name);
		xml_put_attribute(out, "TYPE", cim_type_name(q->type->base));
		if (q->propagated)
			xml_put_attribute(out, "PROPAGATED", "true");
		put_flavor(out, q->flavor);
		put_constant(out, &q->value);
		xml_close(out);
	}
}

static void put_array_size(struct xml_out *out, const struct schema_type *type)
{
	char digits[16];

	if (!type->array || type->array_max == 0)
		return;
	(void)snprintf(digits, sizeof(digits), "%u", type->array_max);
	xml_put_attribute(out, "ARRAYSIZE", digits);
}

static void put_reference_class(struct xml_out *out,
				const struct schema_type *type)
{
	if (type->ref)
		xml_put_attribute(out, "REFERENCECLASS", type->ref->name);
}

static void put_embedded(struct xml_out *out, const struct schema_type *type)
{
	if (type->embedded)
		xml_put_attribute(out, "EmbeddedObject", "instance");
	else if (type->embedded_object)
		xml_put_attribute(out, "EmbeddedObject", "object");
}

static void put_origin(struct xml_out *out, const struct schema_class *origin,
		       bool propagated, const struct codec_select *select)
{
	if (select->class_origin)
		xml_put_attribute(out, "CLASSORIGIN", origin->name);
	if (propagated)
		xml_put_attribute(out, "PROPAGATED", "true");
}

static void put_property(struct xml_out *out, const struct schema_class *class,
			 const struct schema_property *property,
			 const struct codec_select *select)
{
	const struct schema_type *type = &property->type;
	bool ref = type->base == CIM_REFERENCE;

	xml_open(out, ref           ? "PROPERTY.REFERENCE"
		      : type->array ? "PROPERTY.ARRAY"
				    : "PROPERTY");
	xml_put_attribute(out, "NAME", property->name);
	if (ref)
		put_reference_class(out, type);
	else
		xml_put_attribute(out, "TYPE", cim_type_name(type->base));
	put_array_size(out, type);
	put_origin(out, property->origin, property->declarer != class, select);
	put_embedded(out, type);
	put_qualifiers(out, &property->qualifiers, select);
	put_constant(out, &property->value);
	xml_close(out);
}

static void put_parameter(struct xml_out *out,
			  const struct schema_parameter *parameter,
			  const struct codec_select *select)
{
	const struct schema_type *type = &parameter->type;
	bool ref = type->base == CIM_REFERENCE;
	const char *scalar = ref ? "PARAMETER.REFERENCE" : "PARAMETER";
	const char *array = ref ? "PARAMETER.REFARRAY" : "PARAMETER.ARRAY";

	xml_open(out, type->array ? array : scalar);
	xml_put_attribute(out, "NAME", parameter->name);
	if (ref)
		put_reference_class(out, type);
	else
		xml_put_attribute(out, "TYPE", cim_type_name(type->base));
	put_array_size(out, type);
	put_qualifiers(out, &parameter->qualifiers, select);
	xml_close(out);
}

static void put_method(struct xml_out *out, const struct schema_class *class,
		       const struct schema_method *method,
		       const struct codec_select *select)
{
	xml_open(out, "METHOD");
	xml_put_attribute(out, "NAME", method->name);
	xml_put_attribute(out, "TYPE", cim_type_name(method->result));
	put_origin(out, method->origin, method->declarer != class, select);
	put_qualifiers(out, &method->qualifiers, select);
	for (uint32_t i = 0; i < method->parameter_count; i++)
		put_parameter(out, &method->parameters[i], select);
	xml_close(out);
}

void codec_put_class(struct xml_out *out, const struct schema_class *class,
		     const struct codec_select *select)
{
	xml_open(out, "CLASS");
	xml_put_attribute(out, "NAME", class->name);
	if (class->superclass)
		xml_put_attribute(out, "SUPERCLASS", class->superclass->name);
	put_qualifiers(out, &class->qualifiers, select);
	for (uint32_t i = 0; i < class->property_count; i++)
		if (codec_selects(select, class, class->properties[i]))
			put_property(out, class, class->properties[i], select);
	for (uint32_t i = 0; i < class->method_count; i++)
		if (!select->local_only || class->methods[i]->declarer == class)
			put_method(out, class, class->methods[i], select);
	xml_close(out);
}

void codec_put_class_with_path(struct xml_out *out, const char *host,
			       const char *ns, const struct schema_class *class,
			       const struct codec_select *select)
{
	struct cim_path path = {.host = host,
				.ns = ns,
				.class_name = class->name,
				.is_class = true};

	xml_open(out, "VALUE.OBJECTWITHPATH");
	codec_put_path(out, &path);
	codec_put_class(out, class, select);
	xml_close(out);
}

static void put_scope(struct xml_out *out, unsigned scope)
{
	static const struct {
		unsigned bit;
		const char *name;
	} scopes[] = {
	    {SCHEMA_SCOPE_CLASS, "CLASS"},
	    {SCHEMA_SCOPE_ASSOCIATION, "ASSOCIATION"},
	    {SCHEMA_SCOPE_REFERENCE, "REFERENCE"},
	    {SCHEMA_SCOPE_PROPERTY, "PROPERTY"},
	    {SCHEMA_SCOPE_METHOD, "METHOD"},
	    {SCHEMA_SCOPE_PARAMETER, "PARAMETER"},
	    {SCHEMA_SCOPE_INDICATION, "INDICATION"},
	};

	xml_open(out, "SCOPE");
	for (size_t i = 0; i < ARRAY_SIZE(scopes); i++)
		if (scope & scopes[i].bit)
			xml_put_attribute(out, scopes[i].name, "true");
	xml_close_empty(out);
}

void codec_put_qualifier_type(struct xml_out *out,
			      const struct schema_qualifier_type *type)
{
	xml_open(out, "QUALIFIER.DECLARATION");
	xml_put_attribute(out, "NAME", type->name);
	xml_put_attribute(out, "TYPE", cim_type_name(type->base));
	xml_put_attribute(out, "ISARRAY", type->array ? "true" : "false");
	put_flavor(out, type->flavor);
	put_scope(out, type->scope);
	put_constant(out, &type->value);
	xml_close(out);
}
