/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading values and instances.
 *
 * An instance may hold instances, as text or as elements, each of which is read
 * by the same functions; `depth` bounds that.
 */
#include <string.h>

#include "cim/codec.h"
#include "cim/status.h"

struct reader {
	struct arena *arena;
	const struct schema_namespace *ns;
	struct err *err;
	unsigned depth; /* of embedded instances */
};

static int get_instance(struct reader *r, const struct xml_node *node,
			const struct schema_class *base,
			struct cim_instance **ret_instance);
static int read_text(struct reader *r, const char *text, size_t length,
		     const struct schema_class *base,
		     struct cim_instance **ret_instance);

static bool is_blank(const char *text)
{
	return text[strspn(text, " \t\r\n")] == '\0';
}

static int no_value(struct reader *r, const struct xml_node *node,
		    const struct schema_type *type)
{
	return err_set(r->err, -CIM_ETYPEMISMATCH,
		       "%.60s where %s%s is expected", node->name,
		       cim_type_name(type->base), type->array ? "[]" : "");
}

/* An embedded instance: as elements, or as their text. */
static int get_embedded(struct reader *r, const struct xml_node *node,
			const struct schema_type *type, union cim_scalar *item)
{
	struct cim_instance *instance = NULL;
	int e = node->first ? get_instance(r, node, type->embedded, &instance)
			    : read_text(r, node->text, node->text_length,
					type->embedded, &instance);

	item->instance = instance;
	return e;
}

static bool is_embedded(const struct schema_type *type)
{
	return type->embedded || type->embedded_object;
}

/* One VALUE, VALUE.REFERENCE or VALUE.OBJECT. */
static int get_item(struct reader *r, const struct xml_node *node,
		    const struct schema_type *type, union cim_scalar *item)
{
	const struct cim_path *path;
	bool ref = xml_is(node, NULL, "VALUE.REFERENCE");
	int e;

	if (type->base == CIM_REFERENCE)
		return codec_get_path(r->arena, node, &item->ref, r->err);
	if (ref && type->base == CIM_STRING && !is_embedded(type)) {
		e = codec_get_path(r->arena, node, &path, r->err);
		return e < 0 ? e
			     : cim_path_format(r->arena, path, &item->text,
					       r->err);
	}
	if (ref)
		return no_value(r, node, type);
	if (is_embedded(type))
		return get_embedded(r, node, type, item);
	if (node->first)
		return no_value(r, node, type);
	if (type->base == CIM_STRING) {
		item->text = node->text;
		return 0;
	}
	return cim_scalar_parse(r->arena, type->base, node->text, item, r->err);
}

static bool is_item(const struct xml_node *node)
{
	return xml_is(node, NULL, "VALUE") ||
	       xml_is(node, NULL, "VALUE.REFERENCE") ||
	       xml_is(node, NULL, "VALUE.OBJECT");
}

static bool is_list(const struct xml_node *node)
{
	return xml_is(node, NULL, "VALUE.ARRAY") ||
	       xml_is(node, NULL, "VALUE.REFARRAY") ||
	       xml_is(node, NULL, "VALUE.OBJECTARRAY");
}

static struct cim_value value_of(const struct schema_type *type,
				 const union cim_scalar *items, uint32_t count)
{
	struct cim_value value = {.base = type->base,
				  .array = type->array,
				  .embedded = is_embedded(type),
				  .count = count};

	if (type->array)
		value.items = items;
	else
		value.one = items[0];
	return value;
}

static int get_list(struct reader *r, const struct xml_node *node,
		    const struct schema_type *type, struct cim_value *ret_value)
{
	union cim_scalar *items =
	    arena_array(r->arena, node->child_count, sizeof(*items));
	uint32_t count = 0;

	if (!items)
		return arena_full(r->arena, r->err);
	if (!type->array)
		return no_value(r, node, type);
	if (type->array_max && node->child_count > type->array_max)
		return err_set(r->err, -CIM_ETYPEMISMATCH, "more than %u items",
			       type->array_max);
	for (const struct xml_node *n = node->first; n; n = n->next) {
		int e = is_item(n) ? get_item(r, n, type, &items[count++])
				   : no_value(r, n, type);

		if (e < 0)
			return e;
	}
	*ret_value = value_of(type, items, count);
	return 0;
}

/* Whether an item without content is no value at all. */
static bool is_nothing(const struct xml_node *node,
		       const struct schema_type *type)
{
	bool text = type->base == CIM_STRING && !is_embedded(type);

	return !node->first && !text && type->base != CIM_CHAR16 &&
	       is_blank(node->text);
}

static int get_one(struct reader *r, const struct xml_node *node,
		   const struct schema_type *type, struct cim_value *ret_value)
{
	union cim_scalar item = {0}, *items;
	int e;

	if (is_nothing(node, type)) {
		*ret_value = cim_null(type->base, type->array);
		return 0;
	}
	e = get_item(r, node, type, &item);
	if (e < 0)
		return e;
	items = &item;
	if (type->array) {
		items = arena_alloc(r->arena, sizeof(*items));
		if (!items)
			return arena_full(r->arena, r->err);
		*items = item;
	}
	*ret_value = value_of(type, items, 1);
	return 0;
}

static int get_value(struct reader *r, const struct xml_node *node,
		     const struct schema_type *type,
		     struct cim_value *ret_value)
{
	for (const struct xml_node *n = node->first; n; n = n->next) {
		if (is_list(n))
			return get_list(r, n, type, ret_value);
		if (is_item(n))
			return get_one(r, n, type, ret_value);
	}
	*ret_value = cim_null(type->base, type->array);
	return 0;
}

int codec_get_value(struct arena *arena, const struct schema_namespace *ns,
		    const struct xml_node *node, const struct schema_type *type,
		    struct cim_value *ret_value, struct err *err)
{
	struct reader r = {.arena = arena, .ns = ns, .err = err};

	return get_value(&r, node, type, ret_value);
}

/* ---- instances ---------------------------------------------------------- */

static bool is_property(const struct xml_node *node)
{
	return strcmp(node->name, "PROPERTY") == 0 ||
	       strncmp(node->name, "PROPERTY.", 9) == 0;
}

static int get_property(struct reader *r, const struct xml_node *node,
			struct cim_instance *instance)
{
	const char *name = xml_attribute(node, NULL, "NAME");
	const struct schema_property *p;
	struct cim_value value;
	int e;

	p = name ? schema_find_property(instance->class, name) : NULL;
	if (!p)
		return 0;
	e = get_value(r, node, &p->type, &value);
	if (e < 0) {
		(void)err_wrap(r->err, "%s", p->name);
		return e;
	}
	cim_instance_set_at(instance, schema_property_index(instance->class, p),
			    value);
	return 0;
}

/* INSTANCE within whatever wraps it; NULL if there is none. */
static const struct xml_node *unwrap(const struct xml_node *node)
{
	static const char *const wrappers[] = {"CIM",
					       "DECLARATION",
					       "DECLGROUP",
					       "DECLGROUP.WITHNAME",
					       "DECLGROUP.WITHPATH",
					       "VALUE",
					       "VALUE.OBJECT",
					       "VALUE.NAMEDOBJECT",
					       "VALUE.NAMEDINSTANCE",
					       "VALUE.INSTANCEWITHPATH",
					       "VALUE.OBJECTWITHPATH",
					       "VALUE.OBJECTWITHLOCALPATH"};

	while (node && !xml_is(node, NULL, "INSTANCE")) {
		const struct xml_node *inner = NULL;

		for (size_t i = 0; i < ARRAY_SIZE(wrappers); i++)
			if (xml_is(node, NULL, wrappers[i]))
				inner = node->first;
		/* Paths and the like may stand before it. */
		while (inner && inner->next && !xml_is(inner, NULL, "INSTANCE"))
			inner = inner->next;
		node = inner;
	}
	return node;
}

static int find_class(struct reader *r, const struct xml_node *node,
		      const struct schema_class *base,
		      const struct schema_class **ret_class)
{
	const char *name = xml_attribute(node, NULL, "CLASSNAME");

	if (!name)
		return err_set(r->err, -CIM_EUNREADABLE,
			       "an INSTANCE without CLASSNAME");
	*ret_class = schema_find_class(r->ns, name);
	if (!*ret_class)
		return err_set(r->err, -CIM_ECLASS, "there is no class %.60s",
			       name);
	if (base && !schema_is_a(*ret_class, base))
		return err_set(r->err, -CIM_ECLASS, "%s is no %s",
			       (*ret_class)->name, base->name);
	return 0;
}

static int get_properties(struct reader *r, const struct xml_node *node,
			  struct cim_instance *instance)
{
	for (const struct xml_node *n = node->first; n; n = n->next) {
		int e = is_property(n) ? get_property(r, n, instance) : 0;

		if (e < 0)
			return e;
	}
	return 0;
}

static int get_instance(struct reader *r, const struct xml_node *node,
			const struct schema_class *base,
			struct cim_instance **ret_instance)
{
	const struct schema_class *class = NULL;
	struct cim_instance *instance;
	int e;

	node = unwrap(node);
	if (!node)
		return err_set(r->err, -CIM_EUNREADABLE,
			       "there is no INSTANCE in it");
	if (r->depth == CIM_EMBEDDED_DEPTH_MAX)
		return err_set(r->err, -CIM_EUNREADABLE,
			       "instances within instances, more than %d deep",
			       CIM_EMBEDDED_DEPTH_MAX);
	e = find_class(r, node, base, &class);
	if (e == 0)
		e = cim_instance_new(r->arena, class, false, &instance, r->err);
	if (e < 0)
		return e;
	r->depth++;
	e = get_properties(r, node, instance);
	r->depth--;
	if (e == 0)
		*ret_instance = instance;
	return e;
}

int codec_get_instance(struct arena *arena, const struct schema_namespace *ns,
		       const struct xml_node *node,
		       const struct schema_class *base,
		       struct cim_instance **ret_instance, struct err *err)
{
	struct reader r = {.arena = arena, .ns = ns, .err = err};

	return get_instance(&r, node, base, ret_instance);
}

static int read_text(struct reader *r, const char *text, size_t length,
		     const struct schema_class *base,
		     struct cim_instance **ret_instance)
{
	/* Its declaration may name the encoding that it had before it became
	 * a string. */
	const struct xml_options options = {.skip_doctype = true,
					    .encoding = "UTF-8"};
	const struct xml_node *root;
	int e;

	while (length > 0 && strchr(" \t\r\n", *text)) {
		text++;
		length--;
	}
	e = xml_parse(r->arena, text, length, &options, &root, r->err);
	if (e == -CIM_ELIMITS)
		return e;
	if (e < 0) {
		(void)err_wrap(r->err, "the text of an instance");
		if (r->err)
			r->err->code = -CIM_EUNREADABLE;
		return -CIM_EUNREADABLE;
	}
	return get_instance(r, root, base, ret_instance);
}

int codec_read_instance(struct arena *arena, const struct schema_namespace *ns,
			const char *text, size_t length,
			const struct schema_class *base,
			struct cim_instance **ret_instance, struct err *err)
{
	struct reader r = {.arena = arena, .ns = ns, .err = err};

	return read_text(&r, text, length, base, ret_instance);
}
