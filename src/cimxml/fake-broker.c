/* SPDX-License-Identifier: Apache-2.0 */
#include "cimxml/fake-broker.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "cim/codec.h"
#include "cim/status.h"

#define SYSTEM  "Msvm_ComputerSystem"
#define SERVICE "Msvm_VirtualSystemReferencePointService"
#define JOB     "Msvm_ConcreteJob"
#define LINK    "Msvm_AffectedJobElement"

unsigned fake_extra;
int fake_error;
char fake_called[4096];

static const struct {
	const char *class_name, *key, *id;
} objects[] = {
    {SYSTEM, "Name", "abc"},
    {SYSTEM, "Name", "d<e>f&\"'"},
    {SERVICE, "Name", "vmms"},
    {JOB, "InstanceID", "job-1"},
};

static int find(const struct cim_request *request, const char *name,
		const struct schema_class **ret_class, struct err *err)
{
	const struct schema_namespace *ns = schema_find_namespace(request->ns);
	const struct schema_class *class;

	if (request->role == CIM_ROLE_NONE)
		return err_set(err, -CIM_EACCESS, "nobody");
	if (!ns)
		return err_set(err, -CIM_ENAMESPACE, "no namespace");
	class = schema_find_class(ns, name);
	if (!class)
		return err_set(err, -CIM_ECLASS, "there is no class %.60s",
			       name);
	*ret_class = class;
	return 0;
}

static int make(const struct cim_request *request, const char *class_name,
		const char *key, const char *id,
		struct cim_instance **ret_instance, struct err *err)
{
	const struct schema_class *class = schema_find_class(NULL, class_name);
	struct cim_instance *instance;
	int r = cim_instance_new(request->arena, class, false, &instance, err);

	if (r < 0)
		return r;
	if (schema_find_property(class, "CreationClassName"))
		(void)cim_instance_set(instance, "CreationClassName",
				       cim_string(class->name), NULL);
	if (schema_find_property(class, "SystemName")) {
		(void)cim_instance_set(instance, "SystemName",
				       cim_string("host"), NULL);
		(void)cim_instance_set(instance, "SystemCreationClassName",
				       cim_string(SYSTEM), NULL);
	}
	r = cim_instance_set(instance, key, cim_string(id), err);
	if (r == 0)
		r = cim_instance_make_path(request->arena, instance, NULL,
					   request->ns, err);
	*ret_instance = instance;
	return r;
}

static int make_link(const struct cim_request *request,
		     const struct cim_path *object,
		     const struct cim_instance *job,
		     struct cim_instance **ret_instance, struct err *err)
{
	struct cim_instance *instance;
	int r = cim_instance_new(request->arena, schema_find_class(NULL, LINK),
				 false, &instance, err);

	if (r == 0)
		r = cim_instance_set(instance, "AffectedElement",
				     cim_reference(object), err);
	if (r == 0)
		r = cim_instance_set(instance, "AffectingElement",
				     cim_reference(job->path), err);
	if (r == 0)
		r = cim_instance_make_path(request->arena, instance, NULL,
					   request->ns, err);
	*ret_instance = instance;
	return r;
}

static int tell(const struct cim_request *request, const char *class_name,
		const char *key, const char *id,
		const struct schema_class *wanted, cim_instance_fn *fn,
		void *arg, struct err *err)
{
	struct arena_mark mark = arena_mark(request->arena);
	struct cim_instance *instance;
	int r;

	if (!schema_is_a(schema_find_class(NULL, class_name), wanted))
		return 0;
	r = make(request, class_name, key, id, &instance, err);
	if (r == 0)
		r = fn(arg, instance, err);
	arena_rewind(request->arena, mark);
	return r;
}

static int tell_all(const struct cim_request *request,
		    const struct schema_class *class, cim_instance_fn *fn,
		    void *arg, struct err *err)
{
	int r = fake_error ? err_set(err, fake_error, "as the test wants") : 0;
	char id[32];

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(objects); i++)
		r = tell(request, objects[i].class_name, objects[i].key,
			 objects[i].id, class, fn, arg, err);
	for (unsigned i = 0; r == 0 && i < fake_extra; i++) {
		(void)snprintf(id, sizeof(id), "extra%u", i);
		r = tell(request, SYSTEM, "Name", id, class, fn, arg, err);
	}
	return r;
}

int broker_class(const struct cim_request *request, const char *class_name,
		 const struct schema_class **ret_class, struct err *err)
{
	return find(request, class_name, ret_class, err);
}

int broker_enumerate(struct broker *broker, const struct cim_request *request,
		     const char *class_name, cim_instance_fn *fn, void *arg,
		     struct err *err)
{
	const struct schema_class *class;
	int r = find(request, class_name, &class, err);

	return r < 0 ? r : tell_all(request, class, fn, arg, err);
}

int broker_get(struct broker *broker, const struct cim_request *request,
	       const struct cim_path *path,
	       const struct cim_instance **ret_instance, struct err *err)
{
	const struct schema_class *class;
	int r = find(request, path->class_name, &class, err);

	if (r == 0)
		r = cim_path_bind(request->arena, path, class, &path, err);
	if (r < 0 || fake_error)
		return r < 0 ? r : err_set(err, fake_error, "as wanted");
	for (size_t i = 0; i < ARRAY_SIZE(objects); i++) {
		struct cim_instance *instance;

		r = make(request, objects[i].class_name, objects[i].key,
			 objects[i].id, &instance, err);
		if (r < 0)
			return r;
		if (instance->class == class &&
		    cim_instance_is(instance, path)) {
			*ret_instance = instance;
			return 0;
		}
	}
	return err_set(err, -CIM_ENOTFOUND, "there is no such %s", class->name);
}

struct filter {
	const struct wql_query *query;
	cim_instance_fn *fn;
	void *arg;
};

static int tell_matching(void *arg, const struct cim_instance *instance,
			 struct err *err)
{
	struct filter *f = arg;

	return wql_match(f->query, instance) ? f->fn(f->arg, instance, err) : 0;
}

int broker_query(struct broker *broker, const struct cim_request *request,
		 struct wql_query *query, cim_instance_fn *fn, void *arg,
		 struct err *err)
{
	struct filter f = {query, fn, arg};
	const struct schema_class *class;
	int r;

	if (query->kind != WQL_SELECT)
		return broker_walk(broker, request, query->object,
				   &(struct cim_walk){0}, fn, arg, err);
	r = find(request, query->class_name, &class, err);
	if (r == 0)
		r = wql_bind(request->arena, query, class, err);
	return r < 0 ? r : tell_all(request, class, tell_matching, &f, err);
}

int broker_walk(struct broker *broker, const struct cim_request *request,
		const struct cim_path *path, const struct cim_walk *walk,
		cim_instance_fn *fn, void *arg, struct err *err)
{
	const struct cim_instance *object;
	struct cim_instance *job = NULL, *link = NULL;
	int r = broker_get(broker, request, path, &object, err);

	if (r == 0)
		r = make(request, JOB, "InstanceID", "job-1", &job, err);
	if (r == 0)
		r = make_link(request, object->path, job, &link, err);
	if (r < 0)
		return r;
	if (walk->role && strcasecmp(walk->role, "AffectedElement") != 0)
		return 0;
	return fn(arg, walk->references ? link : job, err);
}

int broker_walk_classes(struct broker *broker,
			const struct cim_request *request,
			const char *class_name, const struct cim_walk *walk,
			int (*fn)(void *arg, const struct schema_class *class,
				  struct err *err),
			void *arg, struct err *err)
{
	const struct schema_class *class;
	int r = find(request, class_name, &class, err);

	if (r < 0)
		return r;
	class = schema_find_class(NULL, walk->references ? LINK : JOB);
	return fn(arg, class, err);
}

int broker_arguments(const struct cim_request *request,
		     const struct schema_class *class, const char *method,
		     struct cim_arguments *ret_arguments, struct err *err)
{
	const struct schema_method *m = schema_find_method(class, method);

	if (!m)
		return err_set(err, -CIM_EMETHOD, "%s has no method %.60s",
			       class->name, method);
	ret_arguments->method = m;
	ret_arguments->values = arena_array(request->arena, m->parameter_count,
					    sizeof(*ret_arguments->values));
	if (!ret_arguments->values)
		return arena_full(request->arena, err);
	for (uint32_t i = 0; i < m->parameter_count; i++)
		ret_arguments->values[i] =
		    cim_null(m->parameters[i].type.base,
			     m->parameters[i].type.array);
	return 0;
}

int broker_may_call(struct broker *broker, const struct cim_request *request,
		    const struct schema_class *class, const char *method,
		    struct err *err)
{
	return request->role == CIM_ROLE_OPERATOR
		   ? 0
		   : err_set(err, -CIM_EACCESS, "operators only");
}

/* VALUE's first item as text. */
static const char *shown(const struct cim_request *request,
			 const struct cim_value *value)
{
	static char buf[CIM_SCALAR_BYTES];
	const char *text = "?";

	if (value->is_null || value->count == 0)
		return value->is_null ? "NULL" : "{}";
	if (value->base == CIM_REFERENCE)
		(void)cim_path_format(request->arena, cim_items(value)->ref,
				      &text, NULL);
	else if (value->embedded)
		(void)codec_instance_text(request->arena,
					  cim_items(value)->instance, &text,
					  NULL);
	else
		text =
		    cim_scalar_text(value->base, cim_items(value), buf, NULL);
	return text;
}

int broker_invoke(struct broker *broker, const struct cim_request *request,
		  const struct cim_path *path, const struct cim_arguments *in,
		  struct cim_arguments *ret_out, struct cim_value *ret_result,
		  struct err *err)
{
	const struct cim_instance *object;
	struct cim_instance *job = NULL;
	int r = broker_get(broker, request, path, &object, err);
	size_t used = 0;

	if (r == 0)
		r = broker_may_call(broker, request, object->class,
				    in->method->name, err);
	if (r < 0)
		return r;
	fake_called[0] = '\0';
	for (uint32_t i = 0; i < in->method->parameter_count; i++)
		used +=
		    (size_t)snprintf(fake_called + used,
				     sizeof(fake_called) - used, "%s=%.900s;",
				     in->method->parameters[i].name,
				     shown(request, &in->values[i]));
	r = make(request, JOB, "InstanceID", "job-1", &job, err);
	for (uint32_t i = 0; r == 0 && i < in->method->parameter_count; i++)
		if (strcmp(in->method->parameters[i].name, "Job") == 0)
			ret_out->values[i] = cim_reference(job->path);
	*ret_result = cim_uint(in->method->result, 4096);
	return r;
}

int broker_delete(struct broker *broker, const struct cim_request *request,
		  const struct cim_path *path, struct err *err)
{
	const struct cim_instance *instance;
	int r = broker_get(broker, request, path, &instance, err);

	if (r == 0 && strcmp(instance->class->name, JOB) == 0)
		return 0;
	return r < 0 ? r : err_set(err, -CIM_ENOTSUPPORTED, "stays");
}
