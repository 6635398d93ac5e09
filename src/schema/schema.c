/* SPDX-License-Identifier: Apache-2.0 */
/* Looking things up in the tables that mofc made. */
#include "schema/schema.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Sorted by name without case; made by mofc beside schema_classes. */
extern const uint32_t schema_classes_by_name[];

static bool is_slash(char c)
{
	return c == '/' || c == '\\';
}

/* Compares LENGTH characters of a namespace's name with all of NAME. */
static bool same_namespace(const char *name, const char *text, size_t length)
{
	if (strlen(name) != length)
		return false;
	for (size_t i = 0; i < length; i++)
		if (!(is_slash(text[i]) && name[i] == '/') &&
		    strncasecmp(name + i, text + i, 1) != 0)
			return false;
	return true;
}

const struct schema_namespace *schema_find_namespace(const char *name)
{
	size_t length;

	while (is_slash(*name))
		name++;
	length = strlen(name);
	while (length > 0 && is_slash(name[length - 1]))
		length--;
	for (uint32_t i = 0; i < schema_namespace_count; i++)
		if (same_namespace(schema_namespaces[i].name, name, length))
			return &schema_namespaces[i];
	return NULL;
}

static int compare_class(const void *name, const void *index)
{
	return strcasecmp(name, schema_classes[*(const uint32_t *)index].name);
}

const struct schema_class *schema_find_class(const struct schema_namespace *ns,
					     const char *name)
{
	const uint32_t *index =
	    bsearch(name, schema_classes_by_name, schema_class_count,
		    sizeof(*index), compare_class);
	const struct schema_class *class;

	if (!index)
		return NULL;
	class = &schema_classes[*index];
	return !ns || schema_lives_in(class, ns) ? class : NULL;
}

const struct schema_property *
schema_find_property(const struct schema_class *class, const char *name)
{
	for (uint32_t i = 0; i < class->property_count; i++)
		if (strcasecmp(class->properties[i]->name, name) == 0)
			return class->properties[i];
	return NULL;
}

const struct schema_method *schema_find_method(const struct schema_class *class,
					       const char *name)
{
	for (uint32_t i = 0; i < class->method_count; i++)
		if (strcasecmp(class->methods[i]->name, name) == 0)
			return class->methods[i];
	return NULL;
}

const struct schema_parameter *
schema_find_parameter(const struct schema_method *method, const char *name)
{
	for (uint32_t i = 0; i < method->parameter_count; i++)
		if (strcasecmp(method->parameters[i].name, name) == 0)
			return &method->parameters[i];
	return NULL;
}

const struct schema_qualifier_type *schema_find_qualifier_type(const char *name)
{
	for (uint32_t i = 0; i < schema_qualifier_type_count; i++)
		if (strcasecmp(schema_qualifier_types[i].name, name) == 0)
			return &schema_qualifier_types[i];
	return NULL;
}

const struct schema_qualifier *
schema_find_qualifier(const struct schema_qualifiers *qualifiers,
		      const char *name)
{
	for (uint32_t i = 0; i < qualifiers->count; i++)
		if (strcasecmp(qualifiers->list[i].type->name, name) == 0)
			return &qualifiers->list[i];
	return NULL;
}

const char *schema_qualifier_text(const struct schema_qualifiers *qualifiers,
				  const char *name)
{
	const struct schema_qualifier *q =
	    schema_find_qualifier(qualifiers, name);

	if (!q || q->value.base != CIM_STRING || q->value.array ||
	    q->value.is_null)
		return NULL;
	return q->value.items[0].text;
}

bool schema_qualifier_true(const struct schema_qualifiers *qualifiers,
			   const char *name)
{
	const struct schema_qualifier *q =
	    schema_find_qualifier(qualifiers, name);

	return q && q->value.base == CIM_BOOLEAN && !q->value.array &&
	       !q->value.is_null && q->value.items[0].boolean;
}

/* How a ValueMap entry meets a number. */
enum match {
	MATCH_NONE,
	MATCH_OPEN,  /* "..": whatever no other entry names */
	MATCH_RANGE, /* "4097..32767", "..3", "11.." */
	MATCH_EXACT,
};

static enum match match_range(const char *low, const char *dots, int64_t number)
{
	const char *high = dots + 2;

	if (low == dots && *high == '\0')
		return MATCH_OPEN;
	if (low != dots && number < strtoll(low, NULL, 10))
		return MATCH_NONE;
	if (*high != '\0' && number > strtoll(high, NULL, 10))
		return MATCH_NONE;
	return MATCH_RANGE;
}

static enum match match_entry(const char *entry, int64_t number)
{
	const char *dots = strstr(entry, "..");
	char *end;
	long long exact;

	if (dots)
		return match_range(entry, dots, number);
	exact = strtoll(entry, &end, 10);
	return end != entry && *end == '\0' && exact == number ? MATCH_EXACT
							       : MATCH_NONE;
}

const char *schema_value_text(const struct schema_qualifiers *qualifiers,
			      int64_t number)
{
	const struct schema_qualifier *map =
	    schema_find_qualifier(qualifiers, "ValueMap");
	const struct schema_qualifier *values =
	    schema_find_qualifier(qualifiers, "Values");
	const char *text = NULL;
	enum match best = MATCH_NONE;

	if (!values)
		return NULL;
	if (!map)
		return number >= 0 && number < values->value.count
			   ? values->value.items[number].text
			   : NULL;
	for (uint32_t i = 0; i < map->value.count; i++) {
		enum match m = match_entry(map->value.items[i].text, number);

		if (m > best && i < values->value.count) {
			best = m;
			text = values->value.items[i].text;
		}
	}
	return text;
}

uint32_t schema_property_index(const struct schema_class *class,
			       const struct schema_property *property)
{
	uint32_t i = 0;

	while (i < class->property_count && class->properties[i] != property)
		i++;
	return i;
}

const struct schema_class *schema_next_class(const struct schema_namespace *ns,
					     const struct schema_class *after)
{
	return schema_next_subclass(ns, NULL, true, after);
}

const struct schema_class *
schema_next_subclass(const struct schema_namespace *ns,
		     const struct schema_class *base, bool deep,
		     const struct schema_class *after)
{
	uint32_t end = base ? base->end : schema_class_count;
	uint32_t i = base ? base->index + 1 : 0;

	if (after)
		i = deep ? after->index + 1 : after->end;
	for (; i < end; i = deep ? i + 1 : schema_classes[i].end)
		if (schema_lives_in(&schema_classes[i], ns))
			return &schema_classes[i];
	return NULL;
}
