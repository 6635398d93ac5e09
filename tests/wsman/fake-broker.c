/* SPDX-License-Identifier: Apache-2.0 */
#include "fake-broker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cim/status.h"

#define SERVICE "Msvm_VirtualSystemReferencePointService"
#define IMAGES  "Msvm_ImageManagementService"
#define POINT   "Msvm_VirtualSystemReferencePoint"
#define LINK    "Msvm_ReferencePointOfVirtualSystem"
#define V2      "root/virtualization/v2"

static const char *const systems[] = {
    "HOST",
    "11111111-1111-1111-1111-111111111111",
    "22222222-2222-2222-2222-222222222222",
};

int broker_class(const struct cim_request *request, const char *class_name,
		 const struct schema_class **ret_class, struct err *err)
{
	const struct schema_namespace *ns = schema_find_namespace(request->ns);

	if (!ns)
		return err_set(err, -CIM_ENAMESPACE, "no namespace %s",
			       request->ns);
	*ret_class = schema_find_class(ns, class_name);
	return *ret_class
		   ? 0
		   : err_set(err, -CIM_ECLASS, "no class %.60s", class_name);
}

int broker_arguments(const struct cim_request *request,
		     const struct schema_class *class, const char *method,
		     struct cim_arguments *ret_arguments, struct err *err)
{
	const struct schema_method *m = schema_find_method(class, method);

	if (!m)
		return err_set(err, -CIM_EMETHOD, "no method %.60s", method);
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

static struct cim_instance *make(struct arena *arena, const char *class,
				 const char *const (*keys)[2])
{
	struct cim_instance *instance;

	if (cim_instance_new(arena, schema_find_class(NULL, class), false,
			     &instance, NULL) < 0)
		abort();
	for (; (*keys)[0]; keys++)
		(void)cim_instance_set(
		    instance, (*keys)[0],
		    cim_string(arena_strdup(arena, (*keys)[1])), NULL);
	return instance;
}

static struct cim_instance *finish(struct arena *arena,
				   struct cim_instance *instance)
{
	struct err err = {0};

	if (cim_instance_make_path(arena, instance, NULL, V2, &err) < 0) {
		(void)fprintf(stderr, "%s: %s\n", instance->class->name,
			      err.text);
		abort();
	}
	return instance;
}

static struct cim_instance *make_system(struct arena *arena, const char *name)
{
	const char *const keys[][2] = {{"CreationClassName",
					"Msvm_ComputerSystem"},
				       {"Name", name},
				       {"ElementName", "<a & b>"},
				       {NULL, NULL}};
	struct cim_instance *s = make(arena, "Msvm_ComputerSystem", keys);
	struct cim_value status;

	(void)cim_instance_set(s, "EnabledState", cim_uint(CIM_UINT16, 2),
			       NULL);
	(void)cim_instance_set(s, "InstallDate",
			       cim_datetime("20260102030405.678901+060"), NULL);
	if (cim_uint_array(arena, CIM_UINT16, (const uint64_t[]){2, 7}, 2,
			   &status, NULL) == 0)
		(void)cim_instance_set(s, "OperationalStatus", status, NULL);
	return finish(arena, s);
}

static struct cim_instance *make_service(struct arena *arena, const char *class,
					 const char *name)
{
	const char *const keys[][2] = {{"SystemCreationClassName",
					"Msvm_ComputerSystem"},
				       {"SystemName", "HOST"},
				       {"CreationClassName", class},
				       {"Name", name},
				       {NULL, NULL}};

	return finish(arena, make(arena, class, keys));
}

static struct cim_instance *make_point(struct arena *arena)
{
	const char *const keys[][2] = {{"InstanceID", "Refpoint:p\\1"},
				       {"VirtualSystemIdentifier", systems[1]},
				       {NULL, NULL}};

	return finish(arena, make(arena, POINT, keys));
}

static struct cim_instance *make_link(struct arena *arena)
{
	const char *const keys[][2] = {{NULL, NULL}};
	struct cim_instance *link = make(arena, LINK, keys);

	(void)cim_instance_set(
	    link, "Antecedent",
	    cim_reference(make_system(arena, systems[1])->path), NULL);
	(void)cim_instance_set(link, "Dependent",
			       cim_reference(make_point(arena)->path), NULL);
	return finish(arena, link);
}

struct telling {
	const struct schema_class *class;
	cim_instance_fn *fn;
	void *arg;
	struct err *err;
};

static int tell(const struct telling *t, const struct cim_instance *instance)
{
	if (!schema_is_a(instance->class, t->class))
		return 0;
	return t->fn(t->arg, instance, t->err);
}

static int tell_systems(struct broker *broker, struct arena *arena,
			const struct telling *t)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < 3 + broker->extra; i++)
		r = tell(t, make_system(
				arena, i < 3 ? systems[i]
					     : arena_printf(arena, "vm%u", i)));
	return r;
}

int broker_enumerate(struct broker *broker, const struct cim_request *request,
		     const char *class_name, cim_instance_fn *fn, void *arg,
		     struct err *err)
{
	struct telling t = {.fn = fn, .arg = arg, .err = err};
	struct arena *arena = request->arena;
	int r = broker_class(request, class_name, &t.class, err);

	if (r == 0 && broker->fail)
		r = err_set(err, broker->fail, "as told");
	if (r == 0)
		r = tell_systems(broker, arena, &t);
	if (r == 0)
		r = tell(&t, make_service(arena, SERVICE, "vmms"));
	if (r == 0)
		r = tell(&t, make_service(arena, IMAGES, "images"));
	if (r == 0)
		r = tell(&t, make_point(arena));
	if (r == 0)
		r = tell(&t, make_link(arena));
	return r;
}

struct search {
	const struct cim_path *path;
	const struct cim_instance *found;
	struct wql_query *query;
	cim_instance_fn *fn;
	void *arg;
};

static int look_for(void *arg, const struct cim_instance *instance,
		    struct err *err)
{
	struct search *s = arg;

	if (cim_instance_is(instance, s->path))
		s->found = instance;
	return 0;
}

int broker_get(struct broker *broker, const struct cim_request *request,
	       const struct cim_path *path,
	       const struct cim_instance **ret_instance, struct err *err)
{
	const struct schema_class *class;
	struct search s = {0};
	int r = broker_class(request, path->class_name, &class, err);

	if (r == 0)
		r = cim_path_bind(request->arena, path, class, &s.path, err);
	if (r == 0)
		r = broker_enumerate(broker, request, class->name, look_for, &s,
				     err);
	if (r == 0 && !s.found)
		r = err_set(err, -CIM_ENOTFOUND, "no such %s", class->name);
	if (r == 0)
		*ret_instance = s.found;
	return r;
}

static int match(void *arg, const struct cim_instance *instance,
		 struct err *err)
{
	struct search *s = arg;

	return wql_match(s->query, instance) ? s->fn(s->arg, instance, err) : 0;
}

int broker_query(struct broker *broker, const struct cim_request *request,
		 struct wql_query *query, cim_instance_fn *fn, void *arg,
		 struct err *err)
{
	struct search s = {.query = query, .fn = fn, .arg = arg};
	struct cim_walk walk = {.references = query->kind == WQL_REFERENCES,
				.assoc_class = query->assoc_class,
				.result_class = query->result_class};
	const struct schema_class *class;
	int r;

	if (query->kind != WQL_SELECT)
		return broker_walk(broker, request, query->object, &walk, fn,
				   arg, err);
	r = broker_class(request, query->class_name, &class, err);
	if (r == 0)
		r = wql_bind(request->arena, query, class, err);
	return r < 0 ? r
		     : broker_enumerate(broker, request, class->name, match, &s,
					err);
}

int broker_walk(struct broker *broker, const struct cim_request *request,
		const struct cim_path *path, const struct cim_walk *walk,
		cim_instance_fn *fn, void *arg, struct err *err)
{
	const struct cim_instance *object;
	int r = broker_get(broker, request, path, &object, err);

	if (r < 0)
		return r;
	if (strcmp(cim_path_text(object->path, "Name"), systems[1]) != 0)
		return 0;
	if (walk->role && strcasecmp(walk->role, "Antecedent") != 0)
		return 0;
	return fn(arg,
		  walk->references ? make_link(request->arena)
				   : make_point(request->arena),
		  err);
}

/* A job for a reference, so many items for an array, 7 for a number. */
static void fill(unsigned items, struct arena *arena,
		 const struct schema_parameter *p, struct cim_value *value)
{
	static const char *const job[][2] = {{"InstanceID", "job-1"}};
	const struct cim_path *path;
	uint64_t *numbers;

	if (p->type.base == CIM_REFERENCE && strcmp(p->name, "Job") == 0 &&
	    cim_path_make(arena, NULL, V2, "Msvm_ConcreteJob", 1, job, &path,
			  NULL) == 0)
		*value = cim_reference(path);
	if (p->type.base != CIM_UINT64)
		return;
	*value = cim_uint(CIM_UINT64, 7);
	if (!p->type.array)
		return;
	numbers = arena_array(arena, items, sizeof(*numbers));
	if (numbers)
		(void)cim_uint_array(arena, CIM_UINT64, numbers, items, value,
				     NULL);
}

/* How many items each array gets, all of one digit. */
static unsigned array_items(const struct broker *broker,
			    const struct cim_request *request,
			    const struct schema_method *m)
{
	size_t bytes = 0, fit;

	for (uint32_t i = 0; i < m->parameter_count; i++)
		if (m->parameters[i].type.array)
			bytes += 2 * strlen(m->parameters[i].name) +
				 CIM_REPLY_ITEM_BYTES + 1;
	if (!broker->fit || bytes == 0)
		return broker->array_items;
	fit = request->reply_bytes / bytes;
	return fit < broker->array_items ? (unsigned)fit : broker->array_items;
}

int broker_invoke(struct broker *broker, const struct cim_request *request,
		  const struct cim_path *path, const struct cim_arguments *in,
		  struct cim_arguments *ret_out, struct cim_value *ret_result,
		  struct err *err)
{
	const struct schema_method *m = in->method;
	const struct cim_instance *object;
	int r = broker_get(broker, request, path, &object, err);

	if (r == 0)
		r = broker_may_call(broker, request, object->class, m->name,
				    err);
	if (r == 0)
		r = broker_arguments(request, object->class, m->name, ret_out,
				     err);
	if (r < 0)
		return r;
	broker->calls++;
	if (broker->look)
		broker->look(request, object->path, in);
	for (uint32_t i = 0; i < m->parameter_count; i++)
		if (m->parameters[i].out)
			fill(array_items(broker, request, m), request->arena,
			     &m->parameters[i], &ret_out->values[i]);
	*ret_result = cim_uint(CIM_UINT32, broker->calls == 1 ? 4096 : 5);
	return 0;
}

int broker_delete(struct broker *broker, const struct cim_request *request,
		  const struct cim_path *path, struct err *err)
{
	const struct cim_instance *object;
	int r = broker_get(broker, request, path, &object, err);

	if (r == 0)
		broker->deletes++;
	return r;
}
