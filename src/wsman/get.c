/* SPDX-License-Identifier: Apache-2.0 */
/* Reading arguments in every form that clients send. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "common/limits.h"
#include "wsman/internal.h"

struct reader {
	struct arena *arena;
	const struct schema_namespace *ns;
	unsigned depth; /* instances within instances */
	struct err *err;
};

static int read_instance(struct reader *r, const struct xml_node *node,
			 const struct schema_class *base,
			 struct cim_instance **ret_instance);

static bool is_nil(const struct xml_node *node)
{
	const char *nil = xml_attribute(node, NS_XSI, "nil");

	return nil && wsman_true(nil);
}

static bool is_blank(const char *text)
{
	return !text[strspn(text, " \t\r\n")];
}

/* ---- times -------------------------------------------------------------- */

static const char *iso_instant(struct arena *arena, const char *text)
{
	unsigned f[6], hours = 0, minutes = 0;
	char us[7] = "000000", sign = '+';
	int used = 0;

	if (sscanf(text, "%4u-%2u-%2uT%2u:%2u:%2u%n", &f[0], &f[1], &f[2],
		   &f[3], &f[4], &f[5], &used) != 6)
		return NULL;
	text += used;
	if (*text == '.') {
		size_t digits = strspn(++text, "0123456789");

		memcpy(us, text, digits < 6 ? digits : 6);
		text += digits;
	}
	if (*text == '+' || *text == '-') {
		sign = *text;
		if (sscanf(text + 1, "%2u:%2u", &hours, &minutes) != 2)
			return NULL;
	} else if (*text && strcmp(text, "Z") != 0) {
		return NULL;
	}
	return arena_printf(arena, "%04u%02u%02u%02u%02u%02u.%s%c%03u", f[0],
			    f[1], f[2], f[3], f[4], f[5], us, sign,
			    hours * 60 + minutes);
}

/* One number and its unit of a duration. */
static const char *iso_part(const char *text, char unit, unsigned *ret_number)
{
	unsigned number;
	int used = 0;

	if (sscanf(text, "%8u%n", &number, &used) != 1 || text[used] != unit)
		return text;
	*ret_number = number;
	return text + used + 1;
}

static const char *iso_interval(struct arena *arena, const char *text)
{
	unsigned days = 0, h = 0, m = 0, s = 0;
	char us[7] = "000000";
	int used = 0;

	text = iso_part(text + 1, 'D', &days);
	if (*text == 'T') {
		text = iso_part(text + 1, 'H', &h);
		text = iso_part(text, 'M', &m);
		if (sscanf(text, "%8u%n", &s, &used) == 1)
			text += used;
		if (used && *text == '.') {
			size_t digits = strspn(++text, "0123456789");

			memcpy(us, text, digits < 6 ? digits : 6);
			text += digits;
		}
		if (used && *text++ != 'S')
			return NULL;
	}
	if (*text || h > 99999 || m > 9999999 || s > 99999999)
		return NULL;
	m += s / 60;
	h += m / 60;
	days += h / 24;
	return arena_printf(arena, "%08u%02u%02u%02u.%s:000", days % 100000000,
			    h % 24, m % 60, s % 60, us);
}

const char *get_iso_time(struct arena *arena, const char *text)
{
	return *text == 'P' ? iso_interval(arena, text)
			    : iso_instant(arena, text);
}

static int read_time(struct reader *r, const struct xml_node *node,
		     union cim_scalar *item)
{
	const char *text =
	    xml_trimmed(r->arena, node->first ? node->first : node);
	const char *cim;

	if (!text)
		return arena_full(r->arena, r->err);
	cim = get_iso_time(r->arena, text);
	return cim_scalar_parse(r->arena, CIM_DATETIME, cim ? cim : text, item,
				r->err);
}

/* ---- references --------------------------------------------------------- */

static int read_reference(struct reader *r, const struct xml_node *node,
			  union cim_scalar *item)
{
	struct cim_instance *instance;
	int e;

	if (epr_is(node))
		return epr_read(r->arena, node, 0, &item->ref, r->err);
	if (!node->first)
		return cim_path_parse(r->arena, node->text, &item->ref, r->err);
	e = read_instance(r, node, NULL, &instance);
	if (e == 0)
		e = cim_instance_make_path(r->arena, instance, NULL,
					   r->ns ? r->ns->name : NULL, r->err);
	if (e == -CIM_EFAILED)
		e = err_set(r->err, -CIM_EPARAMETER,
			    "%.60s does not have all keys", node->name);
	if (e == 0)
		item->ref = instance->path;
	return e;
}

/* ---- instances as elements ---------------------------------------------- */

/* The class that xsi:type ("q:Class_Type") or the element's name says. */
static const struct schema_class *class_of(struct reader *r,
					   const struct xml_node *node)
{
	const char *type = xml_attribute(node, NS_XSI, "type");
	const char *colon = type ? strrchr(type, ':') : NULL;
	const char *name = colon ? colon + 1 : type;
	size_t length = name ? strlen(name) : 0;
	char *text;

	if (!name)
		return schema_find_class(r->ns, node->name);
	if (length > 5 && strcasecmp(name + length - 5, "_Type") == 0)
		length -= 5;
	text = arena_copy(r->arena, name, length);
	return text ? schema_find_class(r->ns, text) : NULL;
}

static int read_value(struct reader *r, const struct xml_node *first,
		      const struct schema_type *type,
		      struct cim_value *ret_value);

/* Each property where it stands first: the items of an array stand there as
 * often. */
static int read_properties(struct reader *r, const struct xml_node *node,
			   struct cim_instance *instance)
{
	for (const struct xml_node *n = node->first; n; n = n->next) {
		const struct schema_property *p =
		    schema_find_property(instance->class, n->name);
		struct cim_value value;
		uint32_t i;
		int e;

		if (!p)
			continue;
		i = schema_property_index(instance->class, p);
		if (cim_instance_has(instance, i))
			continue;
		e = read_value(r, n, &p->type, &value);
		if (e < 0)
			return e;
		cim_instance_set_at(instance, i, value);
	}
	return 0;
}

static int read_instance(struct reader *r, const struct xml_node *node,
			 const struct schema_class *base,
			 struct cim_instance **ret_instance)
{
	const struct schema_class *class;
	struct cim_instance *instance;
	int e;

	if (node->first && xml_is(node->first, NULL, "INSTANCE"))
		return codec_get_instance(r->arena, r->ns, node->first, base,
					  ret_instance, r->err);
	class = class_of(r, node);
	if (!class && node->child_count == 1) {
		node = node->first;
		class = class_of(r, node);
	}
	if (!class || (base && !schema_is_a(class, base)))
		return err_set(r->err, -CIM_ECLASS, "%.60s is no %s",
			       node->name, base ? base->name : "instance");
	if (r->depth == CIM_EMBEDDED_DEPTH_MAX)
		return err_set(r->err, -CIM_EUNREADABLE,
			       "instances within instances, more than %d deep",
			       CIM_EMBEDDED_DEPTH_MAX);
	e = cim_instance_new(r->arena, class, false, &instance, r->err);
	if (e < 0)
		return e;
	r->depth++;
	e = read_properties(r, node, instance);
	r->depth--;
	if (e == 0)
		*ret_instance = instance;
	return e;
}

static int read_embedded(struct reader *r, const struct xml_node *node,
			 const struct schema_type *type, union cim_scalar *item)
{
	struct cim_instance *instance = NULL;
	int e;

	if (node->first)
		e = read_instance(r, node, type->embedded, &instance);
	else
		e = codec_read_instance(r->arena, r->ns, node->text,
					node->text_length, type->embedded,
					&instance, r->err);
	if (e == 0)
		item->instance = instance;
	return e;
}

/* ---- values ------------------------------------------------------------- */

static bool is_embedded(const struct schema_type *type)
{
	return type->base == CIM_STRING &&
	       (type->embedded || type->embedded_object);
}

static int read_item(struct reader *r, const struct xml_node *node,
		     const struct schema_type *type, union cim_scalar *item)
{
	if (type->base == CIM_REFERENCE)
		return read_reference(r, node, item);
	if (type->base == CIM_DATETIME)
		return read_time(r, node, item);
	if (is_embedded(type))
		return read_embedded(r, node, type, item);
	if (node->first)
		return err_set(r->err, -CIM_ETYPEMISMATCH, "%.60s is no %s",
			       node->name, cim_type_name(type->base));
	if (type->base == CIM_STRING) {
		item->text = node->text;
		return 0;
	}
	return cim_scalar_parse(r->arena, type->base, node->text, item, r->err);
}

static uint32_t count_named(const struct xml_node *first)
{
	uint32_t count = 0;

	for (const struct xml_node *n = first; n; n = n->next)
		count += strcasecmp(n->name, first->name) == 0;
	return count;
}

/* An element without content is no value, unless it is an empty string. */
static bool is_nothing(const struct xml_node *node,
		       const struct schema_type *type)
{
	if (is_nil(node))
		return true;
	if (node->first || (type->base == CIM_STRING && !is_embedded(type)))
		return false;
	return is_blank(node->text);
}

static int read_items(struct reader *r, const struct xml_node *first,
		      const struct schema_type *type, union cim_scalar *items)
{
	for (const struct xml_node *n = first; n; n = n->next) {
		int e;

		if (strcasecmp(n->name, first->name) != 0)
			continue;
		e = read_item(r, n, type, items++);
		if (e < 0)
			return e;
	}
	return 0;
}

/* What no instance could be read from, as the text that it is.  Elements have
 * none; "" would be no value at all, so their name says that there are some. */
static int read_texts(struct reader *r, const struct xml_node *first,
		      union cim_scalar *items)
{
	for (const struct xml_node *n = first; n; n = n->next)
		if (strcasecmp(n->name, first->name) == 0)
			(items++)->text = n->first ? n->first->name : n->text;
	return 0;
}

static int read_value(struct reader *r, const struct xml_node *first,
		      const struct schema_type *type,
		      struct cim_value *ret_value)
{
	uint32_t count = count_named(first);
	union cim_scalar *items;
	bool embedded = is_embedded(type);
	int e;

	*ret_value = cim_null(type->base, type->array);
	if (count == 1 && is_nothing(first, type))
		return 0;
	if (!type->array && count > 1)
		return err_set(r->err, -CIM_EPARAMETER,
			       "%.60s stands there %u times", first->name,
			       count);
	items = arena_array(r->arena, count, sizeof(*items));
	if (!items)
		return arena_full(r->arena, r->err);
	e = read_items(r, first, type, items);
	if (embedded && e < 0 && e != -CIM_ELIMITS) {
		embedded = false;
		e = read_texts(r, first, items);
	}
	if (e < 0)
		return e;
	ret_value->is_null = false;
	ret_value->embedded = embedded;
	ret_value->count = count;
	if (type->array)
		ret_value->items = items;
	else
		ret_value->one = items[0];
	return 0;
}

static uint32_t index_of(const struct schema_method *method, const char *name)
{
	uint32_t i = 0;

	while (i < method->parameter_count &&
	       strcasecmp(method->parameters[i].name, name) != 0)
		i++;
	return i;
}

int get_arguments(struct arena *arena, const struct schema_namespace *ns,
		  const struct xml_node *input, struct cim_arguments *arguments,
		  struct err *err)
{
	const struct schema_method *method = arguments->method;
	struct reader r = {.arena = arena, .ns = ns, .err = err};
	bool *seen = arena_array(arena, method->parameter_count, sizeof(*seen));

	if (!seen)
		return arena_full(arena, err);
	for (const struct xml_node *n = input ? input->first : NULL; n;
	     n = n->next) {
		uint32_t i = index_of(method, n->name);
		const struct schema_parameter *p;
		int e;

		if (i == method->parameter_count)
			return err_set(err, -CIM_EPARAMETER,
				       "%s has no parameter %.60s",
				       method->name, n->name);
		p = &method->parameters[i];
		if (seen[i] || !p->in)
			continue;
		seen[i] = true;
		e = read_value(&r, n, &p->type, &arguments->values[i]);
		/* What comes out is passed in in any form. */
		if (e < 0 && e != -CIM_ELIMITS && p->out) {
			arguments->values[i] =
			    cim_null(p->type.base, p->type.array);
			e = 0;
		}
		if (e < 0) {
			(void)err_wrap(err, "%s", p->name);
			return e;
		}
	}
	return 0;
}
