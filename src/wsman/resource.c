/* SPDX-License-Identifier: Apache-2.0 */
/* Resource URIs, selectors and endpoint references. */
#include <string.h>
#include <strings.h>

#include "common/bytes.h"
#include "common/limits.h"
#include "wsman/internal.h"

#define DMTF_ALL    "http://schemas.dmtf.org/wbem/wscim/1/*"
#define DMTF_CLASS  "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/"
#define DMTF_SCHEMA "http://schemas.dmtf.org/wbem/cim-xml/2/cim-schema/2/"
#define INTRINSIC   "http://schemas.openwsman.org/wbem/wscim/1/intrinsic"
#define MICROSOFT   "http://schemas.microsoft.com/wbem/wsman/1/wmi/"
#define NS_SELECTOR "__cimnamespace"

/* What follows PREFIX in TEXT, or NULL. */
static const char *after(const char *text, const char *prefix)
{
	size_t length = strlen(prefix);

	return strncasecmp(text, prefix, length) == 0 ? text + length : NULL;
}

static const char *spell_namespace(const char *ns)
{
	const struct schema_namespace *found = schema_find_namespace(ns);

	return found ? found->name : ns;
}

/* NAMESPACE/CLASS */
static int read_microsoft(struct arena *arena, const char *rest,
			  struct resource *resource, struct err *err)
{
	const char *slash = strrchr(rest, '/');
	char *ns;

	if (!slash || slash == rest)
		return err_set(err, -CIM_ENAMESPACE,
			       "the resource URI names no namespace");
	ns = arena_copy(arena, rest, (size_t)(slash - rest));
	if (!ns)
		return arena_full(arena, err);
	resource->family = URI_MICROSOFT;
	resource->ns = spell_namespace(ns);
	resource->class_name = slash + 1;
	return 0;
}

static int read_uri(struct arena *arena, const char *uri,
		    struct resource *resource, struct err *err)
{
	const char *rest;

	*resource = (struct resource){.family = URI_DMTF};
	rest = after(uri, MICROSOFT);
	if (rest)
		return read_microsoft(arena, rest, resource, err);
	if (strcasecmp(uri, DMTF_ALL) == 0) {
		resource->class_name = "*";
		return 0;
	}
	rest = after(uri, INTRINSIC);
	resource->intrinsic = rest && (!*rest || *rest == '/');
	if (resource->intrinsic) {
		resource->class_name = rest[0] && rest[1] ? rest + 1 : "*";
		return 0;
	}
	rest = after(uri, DMTF_SCHEMA);
	resource->schema = rest;
	if (!rest)
		rest = after(uri, DMTF_CLASS);
	if (!rest || !*rest || strchr(rest, '/'))
		return err_set(err, -CIM_ENAMESPACE,
			       "there is no resource %.120s", uri);
	resource->class_name = rest;
	return 0;
}

static bool is_selector(const struct xml_node *node)
{
	return xml_is(node, NS_WSMAN, "Selector");
}

static const char *selector_name(const struct xml_node *node)
{
	const char *name = xml_attribute_nocase(node, "Name");

	return name ? name : "";
}

/* The namespace that selectors name, or NULL. */
static int selected_namespace(struct arena *arena,
			      const struct xml_node *selectors,
			      const char **ret_ns, struct err *err)
{
	const struct xml_node *n = selectors ? selectors->first : NULL;

	*ret_ns = NULL;
	for (; n; n = n->next) {
		if (!is_selector(n) ||
		    strcasecmp(selector_name(n), NS_SELECTOR) != 0)
			continue;
		if (*ret_ns)
			return err_set(err, -CIM_ESELECTORTWICE,
				       "the namespace is selected twice");
		*ret_ns = xml_trimmed(arena, n);
		if (!*ret_ns)
			return arena_full(arena, err);
		*ret_ns = spell_namespace(*ret_ns);
	}
	return 0;
}

int resource_read(struct arena *arena, const char *uri,
		  const struct xml_node *selectors,
		  struct resource *ret_resource, struct err *err)
{
	struct resource resource;
	const char *selected = NULL;
	int r = read_uri(arena, uri, &resource, err);

	if (r == 0)
		r = selected_namespace(arena, selectors, &selected, err);
	if (r < 0)
		return r;
	if (resource.ns && selected &&
	    !cim_namespace_equal(resource.ns, selected))
		return err_set(err, -CIM_ESELECTORVALUE,
			       "URI and selectors name different namespaces");
	if (!resource.ns)
		resource.ns = selected ? selected : DEFAULT_NAMESPACE;
	*ret_resource = resource;
	return 0;
}

static int read_key(struct arena *arena, const struct xml_node *node,
		    unsigned depth, struct cim_key *ret_key, struct err *err)
{
	struct cim_key key = {.name = selector_name(node)};
	int r = 0;

	if (!*key.name)
		return err_set(err, -CIM_ESELECTORUNKNOWN,
			       "a selector without a name");
	if (node->first) {
		key.kind = CIM_KEY_REFERENCE;
		r = epr_read(arena, node, depth + 1, &key.ref, err);
	} else {
		key.kind = CIM_KEY_STRING;
		key.text = node->text;
	}
	if (r == 0)
		*ret_key = key;
	return r;
}

static int read_path(struct arena *arena, const struct resource *resource,
		     const struct xml_node *selectors, unsigned depth,
		     const struct cim_path **ret_path, struct err *err)
{
	struct cim_path *path = arena_alloc(arena, sizeof(*path));
	struct cim_key *keys = arena_array(arena, CIM_KEYS_MAX, sizeof(*keys));
	const struct xml_node *n = selectors ? selectors->first : NULL;

	if (!path || !keys)
		return arena_full(arena, err);
	*path = (struct cim_path){.ns = resource->ns,
				  .class_name = resource->class_name,
				  .keys = keys};
	for (; n; n = n->next) {
		int r;

		if (!is_selector(n) ||
		    strcasecmp(selector_name(n), NS_SELECTOR) == 0)
			continue;
		if (path->key_count == CIM_KEYS_MAX)
			return err_set(err, -CIM_ESELECTORUNKNOWN,
				       "more than %d selectors", CIM_KEYS_MAX);
		r = read_key(arena, n, depth, &keys[path->key_count], err);
		if (r < 0)
			return r;
		path->key_count++;
	}
	*ret_path = path;
	return 0;
}

int resource_path(struct arena *arena, const struct resource *resource,
		  const struct xml_node *selectors,
		  const struct cim_path **ret_path, struct err *err)
{
	return read_path(arena, resource, selectors, 0, ret_path, err);
}

const char *resource_uri(struct arena *arena, enum uri_family family,
			 const char *ns, const char *class_name)
{
	if (family == URI_DMTF)
		return arena_printf(arena, DMTF_CLASS "%s", class_name);
	return arena_printf(arena, MICROSOFT "%s/%s", ns, class_name);
}

static const struct xml_node *parameters_of(const struct xml_node *node)
{
	const struct xml_node *epr =
	    xml_child(node, NS_ADDRESSING, "EndpointReference");

	return xml_child(epr ? epr : node, NS_ADDRESSING,
			 "ReferenceParameters");
}

bool epr_is(const struct xml_node *node)
{
	return parameters_of(node);
}

int epr_read(struct arena *arena, const struct xml_node *node, unsigned depth,
	     const struct cim_path **ret_path, struct err *err)
{
	const struct xml_node *parameters = parameters_of(node), *n, *selectors;
	struct resource resource;
	const char *uri;
	int r;

	if (depth > CIM_PATH_DEPTH_MAX)
		return err_set(err, -CIM_EPARAMETER,
			       "references in references more than %d deep",
			       CIM_PATH_DEPTH_MAX);
	n = parameters ? xml_child(parameters, NS_WSMAN, "ResourceURI") : NULL;
	if (!n)
		return err_set(err, -CIM_EPARAMETER,
			       "%.60s is no endpoint reference", node->name);
	selectors = xml_child(parameters, NS_WSMAN, "SelectorSet");
	uri = xml_trimmed(arena, n);
	if (!uri)
		return arena_full(arena, err);
	r = resource_read(arena, uri, selectors, &resource, err);
	if (r < 0)
		return r;
	return read_path(arena, &resource, selectors, depth, ret_path, err);
}
