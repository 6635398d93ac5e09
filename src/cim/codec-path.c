/* SPDX-License-Identifier: Apache-2.0 */
/* Reading paths. */
#include <string.h>
#include <strings.h>

#include "cim/codec.h"
#include "cim/status.h"

static int get_path(struct arena *arena, const struct xml_node *node,
		    unsigned depth, const struct cim_path **ret_path,
		    struct err *err);

static int missing(const struct xml_node *node, const char *what,
		   struct err *err)
{
	return err_set(err, -CIM_EPARAMETER, "%.60s without %s", node->name,
		       what);
}

/* Bytes of all NAMESPACE elements with a slash after each. */
static size_t namespace_bytes(const struct xml_node *local)
{
	size_t bytes = 0;

	for (const struct xml_node *n = xml_child(local, NULL, "NAMESPACE"); n;
	     n = xml_sibling(n, NULL, "NAMESPACE")) {
		const char *name = xml_attribute(n, NULL, "NAME");

		bytes += name ? strlen(name) + 1 : 0;
	}
	return bytes;
}

static int get_local(struct arena *arena, const struct xml_node *local,
		     const char **ret_ns, struct err *err)
{
	size_t bytes = namespace_bytes(local);
	char *ns, *p;

	if (bytes == 0)
		return missing(local, "NAMESPACE", err);
	p = ns = arena_alloc(arena, bytes + 1);
	if (!ns)
		return arena_full(arena, err);
	for (const struct xml_node *n = xml_child(local, NULL, "NAMESPACE"); n;
	     n = xml_sibling(n, NULL, "NAMESPACE")) {
		const char *name = xml_attribute(n, NULL, "NAME");

		if (!name)
			continue;
		if (p > ns)
			*p++ = '/';
		p = stpcpy(p, name);
	}
	for (p = ns; *p; p++)
		if (*p == '\\')
			*p = '/';
	if (ns[strspn(ns, "/")] == '\0')
		return missing(local, "a name", err);
	*ret_ns = ns;
	return 0;
}

int codec_get_namespace(struct arena *arena, const struct xml_node *node,
			const char **ret_host, const char **ret_ns,
			struct err *err)
{
	const struct xml_node *local, *host;
	const char *ns = NULL, *name = NULL;
	int r;

	if (xml_is(node, NULL, "LOCALNAMESPACEPATH")) {
		local = node;
	} else {
		host = xml_child(node, NULL, "HOST");
		local = xml_child(node, NULL, "LOCALNAMESPACEPATH");
		if (!host || !local)
			return missing(node, "HOST and LOCALNAMESPACEPATH",
				       err);
		name = xml_trimmed(arena, host);
		if (!name)
			return arena_full(arena, err);
	}
	r = get_local(arena, local, &ns, err);
	if (r < 0)
		return r;
	*ret_host = name;
	*ret_ns = ns;
	return 0;
}

/* KEYVALUE or VALUE.REFERENCE, within NODE. */
static int get_key_value(struct arena *arena, const struct xml_node *node,
			 unsigned depth, struct cim_key *key, struct err *err)
{
	const char *type;

	if (xml_is(node, NULL, "VALUE.REFERENCE")) {
		key->kind = CIM_KEY_REFERENCE;
		return get_path(arena, node, depth + 1, &key->ref, err);
	}
	if (!xml_is(node, NULL, "KEYVALUE"))
		return missing(node->parent, "KEYVALUE", err);
	type = xml_attribute(node, NULL, "VALUETYPE");
	key->kind = CIM_KEY_STRING;
	key->text = node->text;
	if (!type || strcasecmp(type, "string") == 0)
		return 0;
	key->text = xml_trimmed(arena, node);
	if (!key->text)
		return arena_full(arena, err);
	if (strcasecmp(type, "numeric") == 0) {
		key->kind = CIM_KEY_NUMBER;
	} else if (strcasecmp(type, "boolean") == 0) {
		key->kind = CIM_KEY_BOOLEAN;
		key->text =
		    strcasecmp(key->text, "true") == 0 ? "TRUE" : "FALSE";
	}
	return 0;
}

static int get_key(struct arena *arena, const struct xml_node *node,
		   unsigned depth, struct cim_key *key, struct err *err)
{
	if (!xml_is(node, NULL, "KEYBINDING")) {
		key->name = "";
		return get_key_value(arena, node, depth, key, err);
	}
	key->name = xml_attribute(node, NULL, "NAME");
	if (!key->name || !node->first)
		return missing(node, "NAME and value", err);
	return get_key_value(arena, node->first, depth, key, err);
}

static int get_instance_name(struct arena *arena, const struct xml_node *node,
			     unsigned depth, struct cim_path *path,
			     struct err *err)
{
	struct cim_key *keys;

	path->class_name = xml_attribute(node, NULL, "CLASSNAME");
	if (!path->class_name)
		return missing(node, "CLASSNAME", err);
	if (node->child_count > CIM_KEYS_MAX)
		return err_set(err, -CIM_EPARAMETER,
			       "%.60s has more than %d keys", path->class_name,
			       CIM_KEYS_MAX);
	keys = arena_array(arena, node->child_count, sizeof(*keys));
	if (!keys)
		return arena_full(arena, err);
	path->keys = keys;
	for (const struct xml_node *n = node->first; n; n = n->next) {
		int r = get_key(arena, n, depth, &keys[path->key_count++], err);

		if (r < 0)
			return r;
	}
	return 0;
}

/* INSTANCENAME or CLASSNAME. */
static int get_name(struct arena *arena, const struct xml_node *node,
		    unsigned depth, struct cim_path *path, struct err *err)
{
	if (xml_is(node, NULL, "INSTANCENAME"))
		return get_instance_name(arena, node, depth, path, err);
	path->is_class = true;
	path->class_name = xml_attribute(node, NULL, "NAME");
	return path->class_name ? 0 : missing(node, "NAME", err);
}

static bool is_one_of(const struct xml_node *node, const char *const *names)
{
	while (*names && !xml_is(node, NULL, *names))
		names++;
	return *names;
}

/* A namespace's element and a name's, within NODE. */
static int get_full(struct arena *arena, const struct xml_node *node,
		    unsigned depth, struct cim_path *path, struct err *err)
{
	static const char *const spaces[] = {"NAMESPACEPATH",
					     "LOCALNAMESPACEPATH", NULL};
	static const char *const names[] = {"INSTANCENAME", "CLASSNAME", NULL};
	const struct xml_node *space = node->first;
	const struct xml_node *name = space ? space->next : NULL;
	int r;

	if (!name || !is_one_of(space, spaces) || !is_one_of(name, names))
		return missing(node, "a namespace and a name", err);
	r = codec_get_namespace(arena, space, &path->host, &path->ns, err);
	return r < 0 ? r : get_name(arena, name, depth, path, err);
}

static int get_text(struct arena *arena, const struct xml_node *node,
		    const struct cim_path **ret_path, struct err *err)
{
	return cim_path_parse(arena, node->text, ret_path, err);
}

static int get_path(struct arena *arena, const struct xml_node *node,
		    unsigned depth, const struct cim_path **ret_path,
		    struct err *err)
{
	static const char *const wrappers[] = {"VALUE.REFERENCE", "OBJECTPATH",
					       "VALUE", NULL};
	static const char *const names[] = {"INSTANCENAME", "CLASSNAME", NULL};
	static const char *const paths[] = {"INSTANCEPATH", "LOCALINSTANCEPATH",
					    "CLASSPATH", "LOCALCLASSPATH",
					    NULL};
	struct cim_path *path;
	int r;

	if (depth > CIM_PATH_DEPTH_MAX)
		return err_set(err, -CIM_EPARAMETER,
			       "paths of paths more than %d deep",
			       CIM_PATH_DEPTH_MAX);
	while (is_one_of(node, wrappers) && node->first)
		node = node->first;
	if (is_one_of(node, wrappers))
		return get_text(arena, node, ret_path, err);
	path = arena_alloc(arena, sizeof(*path));
	if (!path)
		return arena_full(arena, err);
	if (is_one_of(node, names))
		r = get_name(arena, node, depth, path, err);
	else if (is_one_of(node, paths))
		r = get_full(arena, node, depth, path, err);
	else
		r = err_set(err, -CIM_EPARAMETER, "%.60s is no object path",
			    node->name);
	if (r == 0)
		*ret_path = path;
	return r;
}

int codec_get_path(struct arena *arena, const struct xml_node *node,
		   const struct cim_path **ret_path, struct err *err)
{
	return get_path(arena, node, 0, ret_path, err);
}
