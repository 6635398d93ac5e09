/* SPDX-License-Identifier: Apache-2.0 */
#include "wsman/filter.h"

#include <string.h>
#include <strings.h>

#include "common/bytes.h"

#define DIALECT_WQL "http://schemas.microsoft.com/wbem/wsman/1/WQL"
#define DIALECT_CQL "http://schemas.dmtf.org/wbem/cql/1/dsp0202.pdf"
#define DIALECT_SELECT                                                         \
	"http://schemas.dmtf.org/wbem/wsman/1/wsman/SelectorFilter"
#define DIALECT_WALK                                                           \
	"http://schemas.dmtf.org/wbem/wsman/1/cimbinding/associationFilter"

static int read_query(struct message *m, const struct xml_node *node,
		      struct filter *f, struct err *err)
{
	const char *text = xml_trimmed(m->arena, node);

	if (!text)
		return arena_full(m->arena, err);
	return wql_parse(m->arena, text, &f->query, err);
}

static int read_selectors(struct message *m, const struct xml_node *node,
			  struct filter *f, struct err *err)
{
	const struct xml_node *set = xml_child(node, NS_WSMAN, "SelectorSet");

	if (!set)
		return err_set(err, -CIM_EQUERY,
			       "the filter has no SelectorSet");
	return resource_path(m->arena, &m->resource, set, &f->selectors, err);
}

/* The text of a child, if it has one. */
static int child_text(struct message *m, const struct xml_node *node,
		      const char *name, const char **ret_text, struct err *err)
{
	const struct xml_node *n = xml_child(node, NS_BINDING, name);
	const char *text = n ? xml_trimmed(m->arena, n) : "";

	if (!text)
		return arena_full(m->arena, err);
	if (*text)
		*ret_text = text;
	return 0;
}

static int read_walk(struct message *m, const struct xml_node *node,
		     struct filter *f, struct err *err)
{
	const struct xml_node *ends =
	    xml_child(node, NS_BINDING, "AssociatedInstances");
	const struct xml_node *links =
	    xml_child(node, NS_BINDING, "AssociationInstances");
	const struct xml_node *n = ends ? ends : links;
	const struct xml_node *object =
	    n ? xml_child(n, NS_BINDING, "Object") : NULL;
	struct cim_walk *walk = &f->walk;
	int r;

	if (!object || !epr_is(object))
		return err_set(err, -CIM_EQUERY,
			       "the association filter names no object");
	walk->references = !ends;
	r = epr_read(m->arena, object, 0, &f->object, err);
	if (r == 0)
		r = child_text(m, n, "ResultClassName", &walk->result_class,
			       err);
	if (r == 0)
		r = child_text(m, n, "Role", &walk->role, err);
	if (r == 0 && ends)
		r = child_text(m, n, "AssociationClassName", &walk->assoc_class,
			       err);
	if (r == 0 && ends)
		r = child_text(m, n, "ResultRole", &walk->result_role, err);
	return r;
}

static int read_dialect(struct message *m, const struct xml_node *node,
			struct filter *f, struct err *err)
{
	static const struct {
		const char *uri;
		int (*read)(struct message *m, const struct xml_node *node,
			    struct filter *f, struct err *err);
	} dialects[] = {
	    {DIALECT_WQL, read_query},
	    {DIALECT_CQL, read_query},
	    {DIALECT_SELECT, read_selectors},
	    {DIALECT_WALK, read_walk},
	};
	const char *uri = xml_attribute_nocase(node, "Dialect");

	for (size_t i = 0; uri && i < ARRAY_SIZE(dialects); i++)
		if (strcasecmp(dialects[i].uri, uri) == 0)
			return dialects[i].read(m, node, f, err);
	return err_set(err, -CIM_EQUERYLANGUAGE,
		       "there is no filter dialect %.120s",
		       uri ? uri : "XPath");
}

int filter_read(struct message *m, struct filter *ret_filter, struct err *err)
{
	const struct xml_node *node = xml_child(m->payload, NS_WSMAN, "Filter");
	struct filter filter = {0};
	int r = 0;

	if (!node)
		node = xml_child(m->payload, NS_ENUMERATION, "Filter");
	if (node)
		r = read_dialect(m, node, &filter, err);
	if (r == 0 && !filter.selectors && m->selectors && !m->resource.schema)
		r = resource_path(m->arena, &m->resource, m->selectors,
				  &filter.selectors, err);
	if (r == 0)
		*ret_filter = filter;
	return r;
}

/* Whether one of the items is what KEY says. */
static bool has(struct arena *arena, const struct cim_value *value,
		const struct cim_key *key)
{
	struct cim_value wanted = {.base = value->base, .count = 1};

	if (value->is_null || value->array || value->embedded)
		return false;
	if (key->kind == CIM_KEY_REFERENCE) {
		if (value->base != CIM_REFERENCE)
			return false;
		wanted.one.ref = key->ref;
	} else if (cim_scalar_parse(arena, value->base, key->text, &wanted.one,
				    NULL) < 0) {
		return false;
	}
	return cim_value_equal(value, &wanted);
}

bool filter_passes(const struct filter *filter, struct arena *arena,
		   const struct cim_instance *instance)
{
	const struct cim_path *path = filter->selectors;

	for (uint32_t i = 0; path && i < path->key_count; i++) {
		const struct cim_key *key = &path->keys[i];

		if (!has(arena, cim_instance_get(instance, key->name), key))
			return false;
	}
	return true;
}
