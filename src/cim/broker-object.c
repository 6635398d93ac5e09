/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a path to its object, and from a class to its instances.
 *
 * N1  Only this file asks a provider for instances.  What one tells is of its
 *     own class and has a path, or the operation fails.
 */
#include "cim/broker-object.h"

#include "cim/status.h"
#include "common/limits.h"

int broker_open(const struct cim_request *request,
		const struct schema_namespace **ret_ns, struct err *err)
{
	const struct schema_namespace *ns;

	if (request->role == CIM_ROLE_NONE)
		return err_set(err, -CIM_EACCESS, "'%.60s' may do nothing here",
			       request->caller ? request->caller : "");
	ns = schema_find_namespace(request->ns ? request->ns : "");
	if (!ns)
		return err_set(err, -CIM_ENAMESPACE,
			       "there is no namespace '%.120s'",
			       request->ns ? request->ns : "");
	*ret_ns = ns;
	return 0;
}

int broker_find_class(const struct schema_namespace *ns, const char *name,
		      int code, const struct schema_class **ret_class,
		      struct err *err)
{
	const struct schema_class *class = schema_find_class(ns, name);

	if (!class)
		return err_set(err, code, "there is no class '%.120s' in %s",
			       name, ns->name);
	*ret_class = class;
	return 0;
}

int broker_scratch(const struct cim_request *request, struct arena **ret_arena,
		   struct err *err)
{
	struct arena *arena = arena_new(arena_left(request->arena));

	if (!arena)
		return arena_full(request->arena, err);
	*ret_arena = arena;
	return 0;
}

/* ---- paths -------------------------------------------------------------- */

static int bind(struct arena *arena, const struct schema_namespace *ns,
		const struct cim_path *path, unsigned depth,
		const struct schema_class **ret_class,
		const struct cim_path **ret_path, struct err *err);

/* Binds the paths in an association's keys. */
static int bind_ends(struct arena *arena, const struct schema_namespace *ns,
		     struct cim_path *path, unsigned depth, struct err *err)
{
	const struct schema_class *class;
	struct cim_key *keys =
	    arena_array(arena, path->key_count, sizeof(*keys));
	int r = 0;

	if (!keys)
		return arena_full(arena, err);
	if (depth == 0)
		return err_set(err, -CIM_ELIMITS,
			       "the path has paths deeper than %d",
			       CIM_PATH_DEPTH_MAX);
	for (uint32_t i = 0; r == 0 && i < path->key_count; i++) {
		keys[i] = path->keys[i];
		if (keys[i].kind == CIM_KEY_REFERENCE)
			r = bind(arena, ns, path->keys[i].ref, depth - 1,
				 &class, &keys[i].ref, err);
	}
	path->keys = keys;
	return r;
}

static int bind(struct arena *arena, const struct schema_namespace *ns,
		const struct cim_path *path, unsigned depth,
		const struct schema_class **ret_class,
		const struct cim_path **ret_path, struct err *err)
{
	const struct schema_class *class;
	const struct cim_path *bound;
	struct cim_path *own;
	int r;

	if (path->ns && !cim_namespace_equal(path->ns, ns->name))
		return err_set(err, -CIM_ENAMESPACE,
			       "the path is of '%.120s', not of %s", path->ns,
			       ns->name);
	r = broker_find_class(ns, path->class_name, -CIM_ECLASS, &class, err);
	if (r == 0)
		r = cim_path_bind(arena, path, class, &bound, err);
	if (r < 0)
		return r;
	own = arena_alloc(arena, sizeof(*own));
	if (!own)
		return arena_full(arena, err);
	*own = *bound;
	own->host = NULL;
	own->ns = ns->name;
	r = class->association ? bind_ends(arena, ns, own, depth, err) : 0;
	if (r < 0)
		return r;
	*ret_class = class;
	*ret_path = own;
	return 0;
}

int broker_bind(struct arena *arena, const struct schema_namespace *ns,
		const struct cim_path *path,
		const struct schema_class **ret_class,
		const struct cim_path **ret_path, struct err *err)
{
	return bind(arena, ns, path, CIM_PATH_DEPTH_MAX, ret_class, ret_path,
		    err);
}

/* ---- the instances of a class ------------------------------------------- */

/* What a provider is asked with. */
static struct cim_request asked(const struct cim_request *request,
				const struct schema_namespace *ns,
				struct arena *arena)
{
	struct cim_request own = *request;

	own.arena = arena;
	own.ns = ns->name;
	return own;
}

/* Checks what a provider told; *COPY serves if the path has to be made. */
static int check_told(const struct cim_request *request,
		      const struct schema_class *class,
		      const struct cim_instance **instance,
		      struct cim_instance *copy, struct err *err)
{
	if ((*instance)->class != class)
		return err_set(err, -CIM_EFAILED,
			       "the provider of %s told a %s", class->name,
			       (*instance)->class->name);
	if ((*instance)->path)
		return 0;
	*copy = **instance;
	*instance = copy;
	return cim_instance_make_path(request->arena, copy, request->host,
				      request->ns, err);
}

struct telling {
	const struct cim_request *request; /* the provider's */
	const struct schema_class *class;
	cim_instance_fn *fn;
	void *arg;
};

static int told(void *arg, const struct cim_instance *instance, struct err *err)
{
	const struct telling *t = arg;
	struct arena *arena = t->request->arena;
	struct arena_mark mark = arena_mark(arena);
	struct cim_instance copy;
	int r = check_told(t->request, t->class, &instance, &copy, err);

	if (r == 0)
		r = t->fn(t->arg, instance, err);
	arena_rewind(arena, mark);
	return r;
}

int broker_tell(struct broker *broker, const struct cim_request *request,
		const struct schema_namespace *ns,
		const struct schema_class *class, struct arena *scratch,
		const struct wql_query *query, const struct cim_path *object,
		cim_instance_fn *fn, void *arg, struct err *err)
{
	const struct cim_provider *provider = broker->by_class[class->index];
	struct cim_request own = asked(request, ns, scratch);
	struct telling telling = {
	    .request = &own, .class = class, .fn = fn, .arg = arg};
	struct arena_mark mark = arena_mark(scratch);
	int r;

	if (!provider || !schema_lives_in(class, ns))
		return 0;
	r = provider->enumerate(broker->arg, &own, query, object, told,
				&telling, err);
	arena_rewind(scratch, mark);
	return r < 0 ? r : 0;
}

/* ---- one object --------------------------------------------------------- */

struct search {
	struct arena *arena;
	const struct cim_path *path;
	const struct cim_instance *found;
};

static int compare(void *arg, const struct cim_instance *instance,
		   struct err *err)
{
	struct search *s = arg;
	int r;

	if (!cim_instance_is(instance, s->path))
		return 0;
	r = cim_instance_copy(s->arena, instance, &s->found, err);
	return r < 0 ? r : -ECANCELED;
}

/* Looks through all of a provider that has no get. */
static int
look_through(struct broker *broker, const struct cim_request *request,
	     const struct schema_namespace *ns,
	     const struct schema_class *class, const struct cim_path *path,
	     const struct cim_instance **ret_instance, struct err *err)
{
	struct search s = {.arena = request->arena, .path = path};
	struct arena *scratch;
	int r = broker_scratch(request, &scratch, err);

	if (r < 0)
		return r;
	r = broker_tell(broker, request, ns, class, scratch, NULL, NULL,
			compare, &s, err);
	arena_free(scratch);
	if (!s.found)
		return r < 0 ? r : -CIM_ENOTFOUND;
	*ret_instance = s.found;
	return 0;
}

static int ask(struct broker *broker, const struct cim_request *request,
	       const struct schema_namespace *ns,
	       const struct schema_class *class, const struct cim_path *path,
	       const struct cim_instance **ret_instance, struct err *err)
{
	const struct cim_provider *provider = broker->by_class[class->index];
	struct cim_request own = asked(request, ns, request->arena);
	const struct cim_instance *instance;
	struct cim_instance *copy;
	struct cim_path *its;
	int r;

	if (!provider->get)
		return look_through(broker, request, ns, class, path,
				    ret_instance, err);
	copy = arena_alloc(request->arena, sizeof(*copy));
	its = arena_alloc(request->arena, sizeof(*its));
	if (!copy || !its)
		return arena_full(request->arena, err);
	*its = *path;
	its->class_name = class->name;
	r = provider->get(broker->arg, &own, its, &instance, err);
	if (r < 0)
		return r;
	r = check_told(&own, class, &instance, copy, err);
	if (r == 0)
		*ret_instance = instance;
	return r;
}

int broker_find(struct broker *broker, const struct cim_request *request,
		const struct schema_namespace *ns,
		const struct schema_class *class, const struct cim_path *path,
		const struct cim_instance **ret_instance, struct err *err)
{
	for (uint32_t i = class->index; i < class->end; i++) {
		const struct schema_class *c = &schema_classes[i];
		struct err why = {0};
		int r;

		/* With other keys it cannot be meant (S4). */
		if (!broker->by_class[i] || !schema_lives_in(c, ns) ||
		    c->key_count != path->key_count)
			continue;
		r = ask(broker, request, ns, c, path, ret_instance, &why);
		if (r == 0)
			return 0;
		if (r != -CIM_ENOTFOUND) {
			if (err)
				*err = why;
			return r;
		}
	}
	return err_set(err, -CIM_ENOTFOUND, "there is no such %s", class->name);
}

int broker_resolve(struct broker *broker, const struct cim_request *request,
		   const struct schema_namespace *ns,
		   const struct cim_path *path,
		   const struct cim_instance **ret_instance, struct err *err)
{
	const struct schema_class *class;
	const struct cim_path *bound;
	int r = broker_bind(request->arena, ns, path, &class, &bound, err);

	if (r < 0)
		return r;
	return broker_find(broker, request, ns, class, bound, ret_instance,
			   err);
}
