/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prints the classes whose name begins with PREFIX, one member a line, for
 * test-published.py to compare with published.txt, which explains the form.
 */
#include <stdio.h>
#include <strings.h>
#include <string.h>

#include "schema/schema.h"

static void print_type(const struct schema_type *type)
{
	if (type->ref)
		printf("%s REF", type->ref->name);
	else
		printf("%s", cim_type_name(type->base));
	if (type->embedded)
		printf("<%s>", type->embedded->name);
	if (type->embedded_object)
		printf("<>");
	if (type->array)
		printf("[]");
}

static void print_values(const struct schema_qualifiers *qualifiers)
{
	const struct schema_qualifier *map =
	    schema_find_qualifier(qualifiers, "ValueMap");
	const struct schema_qualifier *values =
	    schema_find_qualifier(qualifiers, "Values");

	if (!values)
		return;
	for (uint32_t i = 0; i < values->value.count; i++)
		printf("%s%s %s", i == 0 ? " {" : "|",
		       map ? map->value.items[i].text : "-",
		       values->value.items[i].text);
	printf("}");
}

static void print_property(const struct schema_property *p)
{
	printf("property ");
	print_type(&p->type);
	printf(" %s%s%s", p->name, p->key ? " key" : "", p->write ? " rw" : "");
	if (p->type.max_len > 0)
		printf(" max=%u", p->type.max_len);
	print_values(&p->qualifiers);
	printf("\n");
}

static void print_parameter(const struct schema_parameter *p)
{
	printf("%s%s ", p->in ? "in" : "", p->out ? "out" : "");
	print_type(&p->type);
	printf(" %s", p->name);
	print_values(&p->qualifiers);
}

static void print_method(const struct schema_method *m)
{
	printf("method %s %s(", cim_type_name(m->result), m->name);
	for (uint32_t i = 0; i < m->parameter_count; i++) {
		printf("%s", i > 0 ? ", " : "");
		print_parameter(&m->parameters[i]);
	}
	printf(")");
	print_values(&m->qualifiers);
	printf("\n");
}

static void print_class(const struct schema_class *c)
{
	printf("%s %s", c->association ? "association" : "class", c->name);
	printf(" : %s\n", c->superclass ? c->superclass->name : "none");
	for (uint32_t i = 0; i < c->property_count; i++) {
		if (c->properties[i]->declarer != c)
			printf("inherited ");
		print_property(c->properties[i]);
	}
	for (uint32_t i = 0; i < c->method_count; i++) {
		if (c->methods[i]->declarer != c)
			printf("inherited ");
		print_method(c->methods[i]);
	}
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fputs("usage: dump-schema PREFIX\n", stderr);
		return 2;
	}
	for (uint32_t i = 0; i < schema_class_count; i++)
		if (strncasecmp(schema_classes[i].name, argv[1],
				strlen(argv[1])) == 0)
			print_class(&schema_classes[i]);
	return 0;
}
