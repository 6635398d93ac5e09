/* SPDX-License-Identifier: Apache-2.0 */
/* The operations on one object, and on a class's instances. */
#include "cim/broker.h"

#include <stdlib.h>
#include <strings.h>

#include "cim/broker-object.h"
#include "cim/status.h"

static int add_provider(struct broker *broker,
			const struct cim_provider *provider, struct err *err)
{
	const struct schema_class *class =
	    schema_find_class(NULL, provider->class_name);

	if (!class || class->abstract)
		return err_set(err, -EINVAL, "a provider of %s",
			       provider->class_name);
	if (!provider->enumerate)
		return err_set(err, -EINVAL,
			       "a provider of %s that tells nothing",
			       class->name);
	if (broker->by_class[class->index])
		return err_set(err, -EINVAL, "two providers of %s",
			       class->name);
	broker->by_class[class->index] = provider;
	return 0;
}

int broker_new(const struct cim_provider *const *providers, size_t n, void *arg,
	       struct broker **ret_broker, struct err *err)
{
	struct broker *broker = calloc(1, sizeof(*broker));

	if (!broker)
		return err_set(err, -ENOMEM, "the CIM broker");
	broker->arg = arg;
	broker->by_class =
	    calloc(schema_class_count, sizeof(*broker->by_class));
	if (!broker->by_class) {
		broker_free(broker);
		return err_set(err, -ENOMEM, "the CIM broker");
	}
	for (size_t i = 0; i < n; i++) {
		int r = add_provider(broker, providers[i], err);

		if (r < 0) {
			broker_free(broker);
			return r;
		}
	}
	*ret_broker = broker;
	return 0;
}

struct broker *broker_free(struct broker *broker)
{
	if (broker)
		free(broker->by_class);
	free(broker);
	return NULL;
}

int broker_class(const struct cim_request *request, const char *class_name,
		 const struct schema_class **ret_class, struct err *err)
{
	const struct schema_namespace *ns;
	int r = broker_open(request, &ns, err);

	if (r < 0)
		return r;
	return broker_find_class(ns, class_name, -CIM_ECLASS, ret_class, err);
}

int broker_get(struct broker *broker, const struct cim_request *request,
	       const struct cim_path *path,
	       const struct cim_instance **ret_instance, struct err *err)
{
	const struct schema_namespace *ns;
	int r = broker_open(request, &ns, err);

	if (r < 0)
		return r;
	return broker_resolve(broker, request, ns, path, ret_instance, err);
}

/* ---- all of a class ----------------------------------------------------- */

static int tell_tree(struct broker *broker, const struct cim_request *request,
		     const struct schema_namespace *ns,
		     const struct schema_class *class,
		     const struct wql_query *query, cim_instance_fn *fn,
		     void *arg, struct err *err)
{
	struct arena *scratch;
	int r = broker_scratch(request, &scratch, err);

	if (r < 0)
		return r;
	for (uint32_t i = class->index; r == 0 && i < class->end; i++)
		r = broker_tell(broker, request, ns, &schema_classes[i],
				scratch, query, NULL, fn, arg, err);
	arena_free(scratch);
	return r;
}

int broker_enumerate(struct broker *broker, const struct cim_request *request,
		     const char *class_name, cim_instance_fn *fn, void *arg,
		     struct err *err)
{
	const struct schema_namespace *ns;
	const struct schema_class *class;
	int r = broker_open(request, &ns, err);

	if (r == 0)
		r = broker_find_class(ns, class_name, -CIM_ECLASS, &class, err);
	if (r < 0)
		return r;
	return tell_tree(broker, request, ns, class, NULL, fn, arg, err);
}

struct selecting {
	const struct wql_query *query;
	cim_instance_fn *fn;
	void *arg;
};

static int tell_matching(void *arg, const struct cim_instance *instance,
			 struct err *err)
{
	const struct selecting *s = arg;

	return wql_match(s->query, instance) ? s->fn(s->arg, instance, err) : 0;
}

static int query_class(struct broker *broker, const struct cim_request *request,
		       struct wql_query *query, cim_instance_fn *fn, void *arg,
		       struct err *err)
{
	struct selecting selecting = {.query = query, .fn = fn, .arg = arg};
	const struct schema_namespace *ns;
	const struct schema_class *class;
	int r = broker_open(request, &ns, err);

	if (r == 0)
		r = broker_find_class(ns, query->class_name, -CIM_ECLASS,
				      &class, err);
	if (r == 0)
		r = wql_bind(request->arena, query, class, err);
	if (r < 0)
		return r;
	return tell_tree(broker, request, ns, class, query, tell_matching,
			 &selecting, err);
}

int broker_query(struct broker *broker, const struct cim_request *request,
		 struct wql_query *query, cim_instance_fn *fn, void *arg,
		 struct err *err)
{
	struct cim_walk walk = {
	    .references = query->kind == WQL_REFERENCES,
	    .assoc_class = query->assoc_class,
	    .result_class = query->result_class,
	    .role = query->role,
	    .result_role = query->result_role,
	};
	const struct schema_namespace *ns;
	int r = broker_open(request, &ns, err);

	if (r < 0)
		return r;
	if (query->kind == WQL_SELECT)
		return query_class(broker, request, query, fn, arg, err);
	if (query->object->is_class)
		return err_set(err, -CIM_EQUERY,
			       "of classes themselves no query is answered");
	return broker_walk(broker, request, query->object, &walk, fn, arg, err);
}

/* ---- methods ------------------------------------------------------------ */

static int new_arguments(struct arena *arena,
			 const struct schema_method *method,
			 struct cim_arguments *ret_arguments, struct err *err)
{
	uint32_t n = method->parameter_count;
	struct cim_value *values = arena_array(arena, n, sizeof(*values));

	if (!values)
		return arena_full(arena, err);
	for (uint32_t i = 0; i < n; i++)
		values[i] = cim_null(method->parameters[i].type.base,
				     method->parameters[i].type.array);
	*ret_arguments =
	    (struct cim_arguments){.method = method, .values = values};
	return 0;
}

static int find_method(const struct schema_class *class, const char *name,
		       const struct schema_method **ret_method, struct err *err)
{
	const struct schema_method *method = schema_find_method(class, name);

	if (!method)
		return err_set(err, -CIM_EMETHOD, "%s has no method %.120s",
			       class->name, name);
	*ret_method = method;
	return 0;
}

int broker_arguments(const struct cim_request *request,
		     const struct schema_class *class, const char *method,
		     struct cim_arguments *ret_arguments, struct err *err)
{
	const struct schema_namespace *ns;
	const struct schema_method *found = NULL;
	int r = broker_open(request, &ns, err);

	if (r == 0)
		r = find_method(class, method, &found, err);
	if (r < 0)
		return r;
	return new_arguments(request->arena, found, ret_arguments, err);
}

/* Whether VALUE is of the kind that TYPE asks for; what it holds (an embedded
 * instance's class, the number of items) is the method's to judge. */
static bool is_of_type(const struct cim_value *value,
		       const struct schema_type *type)
{
	if (value->is_null)
		return true;
	if (value->base != type->base || value->array != type->array)
		return false;
	return !value->embedded || type->embedded || type->embedded_object;
}

/* Binds PATH if it can be; -CIM_ELIMITS only. */
static int bind_argument(struct arena *arena, const struct schema_namespace *ns,
			 const struct cim_path **path, struct err *err)
{
	const struct schema_class *class;
	int r = broker_bind(arena, ns, *path, &class, path, NULL);

	return r == -CIM_ELIMITS ? arena_full(arena, err) : 0;
}

static int bind_arguments(struct arena *arena,
			  const struct schema_namespace *ns,
			  struct cim_value *value, struct err *err)
{
	union cim_scalar *items;
	int r = 0;

	if (value->base != CIM_REFERENCE || value->is_null)
		return 0;
	if (!value->array)
		return bind_argument(arena, ns, &value->one.ref, err);
	items = arena_array(arena, value->count, sizeof(*items));
	if (!items)
		return arena_full(arena, err);
	for (uint32_t i = 0; r == 0 && i < value->count; i++) {
		items[i] = value->items[i];
		r = bind_argument(arena, ns, &items[i].ref, err);
	}
	value->items = items;
	return r;
}

static int pass_argument(struct arena *arena, const struct schema_namespace *ns,
			 const char *name, const struct cim_value *value,
			 struct cim_arguments *call, struct err *err)
{
	const struct schema_parameter *to =
	    schema_find_parameter(call->method, name);
	struct cim_value *own;

	if (!to)
		return err_set(err, -CIM_EPARAMETER, "%s has no parameter %s",
			       call->method->name, name);
	if (!to->in || value->is_null)
		return 0;
	if (!is_of_type(value, &to->type))
		return err_set(err, -CIM_ETYPEMISMATCH, "%s of %s is %s%s",
			       to->name, call->method->name,
			       cim_type_name(to->type.base),
			       to->type.array ? "[]" : "");
	own = &call->values[to - call->method->parameters];
	*own = *value;
	return bind_arguments(arena, ns, own, err);
}

/* IN as the object's own class declares the method. */
static int make_call(const struct cim_request *request,
		     const struct schema_namespace *ns,
		     const struct schema_class *class,
		     const struct cim_arguments *in,
		     struct cim_arguments *ret_call, struct err *err)
{
	const struct schema_method *from = in->method, *method = NULL;
	int r = find_method(class, from->name, &method, err);

	if (r == 0)
		r = new_arguments(request->arena, method, ret_call, err);
	for (uint32_t i = 0; r == 0 && i < from->parameter_count; i++)
		r = pass_argument(request->arena, ns, from->parameters[i].name,
				  &in->values[i], ret_call, err);
	return r;
}

/* What a provider answers of what the method says that it answers. */
static int check_answer(const struct cim_arguments *out,
			const struct cim_value *result, struct err *err)
{
	const struct schema_method *method = out->method;
	struct schema_type type = {.base = method->result};

	if (!is_of_type(result, &type))
		return err_set(err, -CIM_EFAILED, "%s returned a %s",
			       method->name, cim_type_name(result->base));
	for (uint32_t i = 0; i < method->parameter_count; i++) {
		const struct schema_parameter *p = &method->parameters[i];

		if (!p->out && !out->values[i].is_null)
			return err_set(err, -CIM_EFAILED,
				       "%s answers no parameter %s",
				       method->name, p->name);
		if (!cim_value_fits(&out->values[i], &p->type))
			return err_set(err, -CIM_EFAILED,
				       "%s answers another type of %s",
				       method->name, p->name);
	}
	return 0;
}

/* OUT, of an override, as the declaration that the caller knows. */
static int make_answer(struct arena *arena, const struct schema_method *method,
		       struct cim_arguments *out, struct err *err)
{
	struct cim_arguments own;
	int r;

	if (out->method == method)
		return 0;
	r = new_arguments(arena, method, &own, err);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < method->parameter_count; i++) {
		const struct schema_parameter *from =
		    schema_find_parameter(out->method,
					  method->parameters[i].name);

		if (from && method->parameters[i].out)
			own.values[i] =
			    out->values[from - out->method->parameters];
	}
	*out = own;
	return 0;
}

static bool may_call(const struct cim_provider *provider,
		     const struct cim_request *request, const char *method)
{
	const char *const *name = provider->reader_methods;

	if (request->role == CIM_ROLE_OPERATOR)
		return true;
	while (name && *name && strcasecmp(*name, method) != 0)
		name++;
	return name && *name;
}

static int refuse(const struct schema_class *class, const char *method,
		  struct err *err)
{
	return err_set(err, -CIM_EACCESS, "%s of %s is for operators only",
		       method, class->name);
}

int broker_may_call(struct broker *broker, const struct cim_request *request,
		    const struct schema_class *class, const char *method,
		    struct err *err)
{
	if (request->role == CIM_ROLE_OPERATOR)
		return 0;
	for (uint32_t i = class->index; i < class->end; i++) {
		const struct cim_provider *provider = broker->by_class[i];

		if (provider && may_call(provider, request, method))
			return 0;
	}
	return refuse(class, method, err);
}

static int call(struct broker *broker, const struct cim_request *request,
		const struct schema_namespace *ns,
		const struct cim_instance *object,
		const struct cim_arguments *in, struct cim_arguments *ret_out,
		struct cim_value *ret_result, struct err *err)
{
	const struct cim_provider *provider =
	    broker->by_class[object->class->index];
	const struct schema_class *class;
	const struct cim_path *path;
	struct cim_request own = *request;
	struct cim_value result;
	struct cim_arguments out;
	int r =
	    broker_bind(request->arena, ns, object->path, &class, &path, err);

	if (r == 0)
		r = new_arguments(request->arena, in->method, &out, err);
	if (r < 0)
		return r;
	own.ns = ns->name;
	result = cim_null(in->method->result, false);
	r = provider->invoke(broker->arg, &own, path, in, &out, &result, err);
	if (r == 0)
		r = check_answer(&out, &result, err);
	if (r < 0)
		return r;
	*ret_out = out;
	*ret_result = result;
	return 0;
}

int broker_invoke(struct broker *broker, const struct cim_request *request,
		  const struct cim_path *path, const struct cim_arguments *in,
		  struct cim_arguments *ret_out, struct cim_value *ret_result,
		  struct err *err)
{
	const struct cim_instance *object;
	const struct cim_provider *provider;
	const struct schema_namespace *ns;
	struct cim_arguments own, out;
	struct cim_value result;
	int r = broker_open(request, &ns, err);

	if (r == 0)
		r = broker_resolve(broker, request, ns, path, &object, err);
	if (r < 0)
		return r;
	provider = broker->by_class[object->class->index];
	if (!may_call(provider, request, in->method->name))
		return refuse(object->class, in->method->name, err);
	r = make_call(request, ns, object->class, in, &own, err);
	if (r < 0)
		return r;
	if (!provider->invoke)
		return err_set(err, -CIM_ENOTAVAILABLE,
			       "%s of %s cannot be called", own.method->name,
			       object->class->name);
	r = call(broker, request, ns, object, &own, &out, &result, err);
	if (r == 0)
		r = make_answer(request->arena, in->method, &out, err);
	if (r < 0)
		return r;
	*ret_out = out;
	*ret_result = result;
	return 0;
}

int broker_delete(struct broker *broker, const struct cim_request *request,
		  const struct cim_path *path, struct err *err)
{
	const struct cim_provider *provider;
	const struct cim_instance *object;
	const struct schema_namespace *ns;
	const struct schema_class *class;
	const struct cim_path *bound;
	struct cim_request own = *request;
	int r = broker_open(request, &ns, err);

	if (r == 0)
		r = broker_resolve(broker, request, ns, path, &object, err);
	if (r == 0)
		r = broker_bind(request->arena, ns, object->path, &class,
				&bound, err);
	if (r < 0)
		return r;
	provider = broker->by_class[class->index];
	if (request->role != CIM_ROLE_OPERATOR)
		return err_set(err, -CIM_EACCESS,
			       "a %s is for operators to delete", class->name);
	if (!provider->delete)
		return err_set(err, -CIM_ENOTSUPPORTED,
			       "a %s cannot be deleted", class->name);
	own.ns = ns->name;
	r = provider->delete (broker->arg, &own, bound, err);
	return r < 0 ? r : 0;
}
