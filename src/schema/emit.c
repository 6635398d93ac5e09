/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes a checked tree as the C tables that schema.h declares.
 *
 * Each property and method is one constant (pN, mN) that its class and all
 * subclasses point to; values and qualifiers are compound literals in place.
 */
#include "schema/mof.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const type_symbols[] = {
    [CIM_BOOLEAN] = "CIM_BOOLEAN",     [CIM_UINT8] = "CIM_UINT8",
    [CIM_UINT16] = "CIM_UINT16",       [CIM_UINT32] = "CIM_UINT32",
    [CIM_UINT64] = "CIM_UINT64",       [CIM_SINT8] = "CIM_SINT8",
    [CIM_SINT16] = "CIM_SINT16",       [CIM_SINT32] = "CIM_SINT32",
    [CIM_SINT64] = "CIM_SINT64",       [CIM_REAL32] = "CIM_REAL32",
    [CIM_REAL64] = "CIM_REAL64",       [CIM_CHAR16] = "CIM_CHAR16",
    [CIM_STRING] = "CIM_STRING",       [CIM_DATETIME] = "CIM_DATETIME",
    [CIM_REFERENCE] = "CIM_REFERENCE",
};

/* Octal for whatever C might read otherwise, '?' of trigraphs included. */
static void emit_text(FILE *out, const char *text)
{
	fputc('"', out);
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c < ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '?')
			fprintf(out, "\\%03o", c);
		else
			fputc(c, out);
	}
	fputc('"', out);
}

/* INT64_MIN has no literal in C. */
static void emit_signed(FILE *out, const struct mof_literal *l)
{
	if (l->negative && l->magnitude > INT64_MAX)
		fputs("INT64_MIN", out);
	else
		fprintf(out, "%sINT64_C(%" PRIu64 ")", l->negative ? "-" : "",
			l->magnitude);
}

static void emit_scalar(FILE *out, const struct mof_literal *l,
			enum cim_type base)
{
	if (base == CIM_BOOLEAN) {
		fprintf(out, "{.boolean = %s}", l->boolean ? "true" : "false");
	} else if (cim_type_is_signed(base)) {
		fputs("{.sint = ", out);
		emit_signed(out, l);
		fputc('}', out);
	} else if (l->kind == MOF_REAL) {
		fprintf(out, "{.real = %.17g}", l->real);
	} else if (l->kind == MOF_TEXT) {
		fputs("{.text = ", out);
		emit_text(out, l->text);
		fputc('}', out);
	} else {
		fprintf(out, "{.uint = UINT64_C(%" PRIu64 ")}", l->magnitude);
	}
}

static void emit_value(FILE *out, const struct mof_value *value,
		       enum cim_type base, bool array)
{
	const struct mof_literal *l = value->items;
	bool null = !value->given || (!value->array && l->kind == MOF_NULL);

	fprintf(out, "{.base = %s, .array = %d, ", type_symbols[base], array);
	if (null || value->count == 0) {
		fprintf(out, ".is_null = %d}", null);
		return;
	}
	fprintf(out, ".count = %u, .items = (const union schema_scalar[]){",
		value->count);
	for (; l; l = l->next) {
		emit_scalar(out, l, base);
		fputs(l->next ? ", " : "}}", out);
	}
}

static void emit_qualifier(FILE *out, const struct mof_qualifier *q)
{
	fprintf(out, "\t\t{.type = &schema_qualifier_types[%u], ",
		q->type->index);
	fprintf(out,
		".flavor = %u, .propagated = %d,\n\t\t .value = ", q->flavor,
		q->propagated);
	emit_value(out, &q->value, q->type->base, q->type->array);
	fputs("},\n", out);
}

static void emit_qualifiers(FILE *out, const struct mof_qualifier *list)
{
	unsigned count = 0;

	for (const struct mof_qualifier *q = list; q; q = q->next)
		count++;
	fputs("\t.qualifiers = {", out);
	if (count > 0) {
		fputs("(const struct schema_qualifier[]){\n", out);
		for (; list; list = list->next)
			emit_qualifier(out, list);
		fprintf(out, "\t}, %u", count);
	} else {
		fputs("NULL, 0", out);
	}
	fputs("},\n", out);
}

static void emit_class_pointer(FILE *out, const char *member,
			       const struct mof_class *class)
{
	if (class)
		fprintf(out, "\t.%s = &schema_classes[%u],\n", member,
			class->index);
}

static void emit_type(FILE *out, const struct mof_member *m)
{
	fprintf(out, "\t.type.base = %s,\n", type_symbols[m->base]);
	if (m->array)
		fprintf(out, "\t.type.array = true, .type.array_max = %u,\n",
			m->array_max);
	if (m->max_len > 0)
		fprintf(out, "\t.type.max_len = %u,\n", m->max_len);
	emit_class_pointer(out, "type.ref", m->ref);
	emit_class_pointer(out, "type.embedded", m->embedded);
	if (m->embedded_object)
		fputs("\t.type.embedded_object = true,\n", out);
}

static void emit_property(FILE *out, const struct mof_member *m)
{
	fprintf(out, "static const struct schema_property p%u = {\n\t.name = ",
		m->id);
	emit_text(out, m->name);
	fprintf(out, ",\n\t.key = %d, .read = %d, .write = %d,\n", m->key,
		m->read, m->write);
	emit_type(out, m);
	fputs("\t.value = ", out);
	emit_value(out, &m->value, m->base, m->array);
	fputs(",\n", out);
	emit_class_pointer(out, "origin", m->origin);
	emit_class_pointer(out, "declarer", m->declarer);
	emit_qualifiers(out, m->qualifiers);
	fputs("};\n\n", out);
}

static void emit_parameter(FILE *out, const struct mof_member *m)
{
	fputs("\t{.name = ", out);
	emit_text(out, m->name);
	fprintf(out, ",\n\t.in = %d, .out = %d,\n", m->in, m->out);
	emit_type(out, m);
	emit_qualifiers(out, m->qualifiers);
	fputs("\t},\n", out);
}

static void emit_method(FILE *out, const struct mof_method *m)
{
	unsigned count = 0;

	fprintf(out,
		"static const struct schema_method m%u = {\n\t.name = ", m->id);
	emit_text(out, m->name);
	fprintf(out, ",\n\t.result = %s,\n", type_symbols[m->result]);
	emit_class_pointer(out, "origin", m->origin);
	emit_class_pointer(out, "declarer", m->declarer);
	emit_qualifiers(out, m->qualifiers);
	if (m->parameters)
		fputs("\t.parameters = (const struct schema_parameter[]){\n",
		      out);
	for (const struct mof_member *p = m->parameters; p; p = p->next) {
		emit_parameter(out, p);
		count++;
	}
	fprintf(out, "%s\t.parameter_count = %u,\n};\n\n",
		m->parameters ? "\t},\n" : "", count);
}

static void emit_members(const struct mof *mof, FILE *out)
{
	for (const struct mof_class *c = mof->classes; c; c = c->next) {
		fprintf(out, "/* %s */\n\n", c->name);
		for (struct mof_member *m = c->own_properties; m; m = m->next)
			emit_property(out, m);
		for (struct mof_method *m = c->own_methods; m; m = m->next)
			emit_method(out, m);
	}
}

static void emit_property_pointers(FILE *out, const struct mof_class *c)
{
	unsigned keys = 0;

	for (unsigned i = 0; i < c->property_count; i++)
		keys += c->properties[i]->key;
	fprintf(out, "\t.property_count = %u, .key_count = %u,\n",
		c->property_count, keys);
	if (c->property_count == 0)
		return;
	fputs("\t.properties = (const struct schema_property *const[]){\n",
	      out);
	for (unsigned i = 0; i < c->property_count; i++)
		fprintf(out, "\t\t&p%u,\n", c->properties[i]->id);
	fputs("\t},\n", out);
}

static void emit_method_pointers(FILE *out, const struct mof_class *c)
{
	fprintf(out, "\t.method_count = %u,\n", c->method_count);
	if (c->method_count == 0)
		return;
	fputs("\t.methods = (const struct schema_method *const[]){\n", out);
	for (unsigned i = 0; i < c->method_count; i++)
		fprintf(out, "\t\t&m%u,\n", c->methods[i]->id);
	fputs("\t},\n", out);
}

static void emit_class(FILE *out, const struct mof_class *c)
{
	fputs("\t{.name = ", out);
	emit_text(out, c->name);
	fprintf(out, ",\n\t.index = %u, .end = %u, .namespaces = %u,\n",
		c->index, c->end, c->namespaces);
	fprintf(out, "\t.association = %d, .abstract = %d,\n", c->association,
		c->abstract);
	emit_class_pointer(out, "superclass", c->superclass);
	emit_property_pointers(out, c);
	emit_method_pointers(out, c);
	emit_qualifiers(out, c->qualifiers);
	fputs("\t},\n", out);
}

static void emit_classes(const struct mof *mof, FILE *out)
{
	fprintf(out, "const uint32_t schema_class_count = %u;\n",
		mof->class_count);
	fputs("const struct schema_class schema_classes[] = {\n", out);
	for (unsigned i = 0; i < mof->class_count; i++)
		emit_class(out, mof->by_index[i]);
	fputs("};\n\n", out);
}

static int compare_names(const void *a, const void *b)
{
	const struct mof_class *x = *(struct mof_class *const *)a;
	const struct mof_class *y = *(struct mof_class *const *)b;

	return strcasecmp(x->name, y->name);
}

static void emit_order(const struct mof *mof, FILE *out)
{
	const struct mof_class *sorted[MOF_CLASSES_MAX];

	if (mof->class_count > 0)
		memcpy(sorted, mof->by_index,
		       mof->class_count * sizeof(*sorted));
	qsort(sorted, mof->class_count, sizeof(*sorted), compare_names);
	fputs("extern const uint32_t schema_classes_by_name[];\n"
	      "const uint32_t schema_classes_by_name[] = {",
	      out);
	for (unsigned i = 0; i < mof->class_count; i++)
		fprintf(out, "%s%u,", i % 16 == 0 ? "\n\t" : " ",
			sorted[i]->index);
	fputs("\n};\n\n", out);
}

static void emit_namespaces(const struct mof *mof, FILE *out)
{
	fprintf(out, "const uint32_t schema_namespace_count = %u;\n",
		mof->namespace_count);
	fputs("const struct schema_namespace schema_namespaces[] = {\n", out);
	for (unsigned i = 0; i < mof->namespace_count; i++) {
		fputs("\t{", out);
		emit_text(out, mof->namespaces[i]);
		fprintf(out, ", %uu},\n", 1u << i);
	}
	fputs("};\n", out);
}

static void emit_qualifier_types(const struct mof *mof, FILE *out)
{
	const struct mof_qualifier_type *t = mof->qualifier_types;

	fprintf(out, "const uint32_t schema_qualifier_type_count = %u;\n",
		mof->qualifier_type_count);
	fputs("const struct schema_qualifier_type "
	      "schema_qualifier_types[] = {\n",
	      out);
	for (; t; t = t->next) {
		fputs("\t{.name = ", out);
		emit_text(out, t->name);
		fprintf(out,
			", .base = %s, .array = %d, .scope = %u, .flavor = %u,"
			"\n\t .value = ",
			type_symbols[t->base], t->array, t->scope, t->flavor);
		emit_value(out, &t->value, t->base, t->array);
		fputs("},\n", out);
	}
	fputs("};\n\n", out);
}

int mof_tables(const struct mof *mof, FILE *out)
{
	fputs("/* Made by mofc from schema/; do not edit. */\n"
	      "#include \"schema/schema.h\"\n\n",
	      out);
	emit_qualifier_types(mof, out);
	emit_members(mof, out);
	emit_classes(mof, out);
	emit_order(mof, out);
	emit_namespaces(mof, out);
	return ferror(out) ? -EIO : 0;
}
