/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/methods.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cim/status.h"
#include "common/bytes.h"
#include "common/log.h"
#include "providers/holders.h"

uint32_t method_result(int code)
{
	switch (code < 0 ? -code : code) {
	case 0:
		return 0;
	case RP_EPARAM:
	case RP_ENOVM:
	case RP_ENODISK:
	case RP_ENOPOINT:
	case CIM_ENOTFOUND:
		return METHOD_PARAMETER;
	case RP_EALREADY:
	case RP_ESTATE:
	case RP_ELATCHED:
		return METHOD_STATE;
	case RP_EINUSE:
	case RP_ELIMIT:
		return METHOD_IN_USE;
	case RP_ETYPE:
		return METHOD_TYPE;
	case RP_EUNSUPPORTED:
	case RP_ENOMETHOD:
	case RP_EVERSION:
		return METHOD_UNSUPPORTED;
	case RP_ETIMEOUT:
	case ETIMEDOUT:
	case CIM_ETIMEDOUT:
		return METHOD_TIMEOUT;
	case RP_EDENIED:
	case EACCES:
	case EPERM:
		return METHOD_DENIED;
	case RP_EUNREACHABLE:
		return METHOD_UNAVAILABLE;
	case ENOMEM:
		return METHOD_NO_MEMORY;
	default:
		return METHOD_FAILED;
	}
}

/* ---- arguments ---------------------------------------------------------- */

static const struct schema_parameter *parameter(const struct method_call *call,
						const char *name)
{
	return schema_find_parameter(call->in->method, name);
}

static const struct cim_value *value_of(const struct method_call *call,
					const struct schema_parameter *p)
{
	return &call->in->values[p - call->in->method->parameters];
}

const struct cim_value *method_argument(const struct method_call *call,
					const char *name)
{
	static const struct cim_value none = {.is_null = true};
	const struct schema_parameter *p = parameter(call, name);

	return p ? value_of(call, p) : &none;
}

const char *method_text(const struct method_call *call, const char *name)
{
	const struct cim_value *value = method_argument(call, name);
	const char *text = value->array ? NULL : cim_text(value);

	return text && *text ? text : NULL;
}

/* Whether PATH names something of ours that is of CLASS, where we are asked: in
 * another namespace it would be another object. */
static bool read_object(const struct method_call *call,
			const struct cim_path *path,
			const struct schema_class *class,
			struct identity *ret_identity)
{
	const char *host = call->providers->host.name;
	struct arena *arena = call->request->arena;
	struct arena_mark mark = arena_mark(arena);
	const struct schema_class *its = NULL;
	const struct cim_path *own;
	struct identity identity;

	if (!path || !identity_of_path(path, host, &identity) ||
	    (path->ns && !cim_namespace_equal(path->ns, call->request->ns)))
		return false;
	if (identity_path(arena, &identity, host, NULL, NULL, &own, NULL) == 0)
		its = schema_find_class(NULL, own->class_name);
	arena_rewind(arena, mark);
	if (!its || (class && !schema_is_a(its, class)))
		return false;
	*ret_identity = identity;
	return true;
}

bool method_object(const struct method_call *call, const char *name,
		   struct identity *ret_identity)
{
	const struct schema_parameter *p = parameter(call, name);
	const struct cim_value *value = method_argument(call, name);

	if (!p || value->is_null || value->array ||
	    value->base != CIM_REFERENCE)
		return false;
	return read_object(call, value->one.ref, p->type.ref, ret_identity);
}

static bool is_blank(const char *text)
{
	return !text || !text[strspn(text, " \t\r\n")];
}

/* One item of what should be embedded instances: what could not be read came as
 * the text that it is. */
static bool item_fits(const struct cim_value *value,
		      const union cim_scalar *item,
		      const struct schema_class *class)
{
	if (!value->embedded)
		return is_blank(item->text);
	return !class || schema_is_a(item->instance->class, class);
}

static bool embedded_fits(const struct cim_value *value,
			  const struct schema_class *class)
{
	for (uint32_t i = 0; i < value->count; i++)
		if (!item_fits(value, &cim_items(value)[i], class))
			return false;
	return true;
}

bool method_instance(const struct method_call *call, const char *name,
		     const struct cim_instance **ret_instance)
{
	const struct schema_parameter *p = parameter(call, name);
	const struct cim_value *value = method_argument(call, name);

	if (!p || !embedded_fits(value, p->type.embedded))
		return false;
	*ret_instance = value->count == 1 && value->embedded
			    ? cim_items(value)->instance
			    : NULL;
	return true;
}

static bool references_fit(const struct method_call *call,
			   const struct cim_value *value,
			   const struct schema_class *class)
{
	struct identity identity;

	for (uint32_t i = 0; i < value->count; i++)
		if (!read_object(call, cim_items(value)[i].ref, class,
				 &identity))
			return false;
	return true;
}

/* What comes out as well is passed in in any form. */
static bool argument_fits(const struct method_call *call,
			  const struct schema_parameter *p)
{
	const struct cim_value *value = value_of(call, p);

	if (!p->in || p->out || value->is_null)
		return true;
	if (p->type.base == CIM_REFERENCE)
		return references_fit(call, value, p->type.ref);
	if (p->type.embedded || p->type.embedded_object)
		return embedded_fits(value, p->type.embedded);
	return true;
}

static bool is_given(const struct method_call *call, const char *name)
{
	const struct cim_value *value = method_argument(call, name);

	if (value->is_null || value->count == 0)
		return false;
	return value->base != CIM_STRING || value->array || value->embedded ||
	       !is_blank(value->one.text);
}

static bool arguments_fit(const struct method_call *call,
			  const struct method_entry *entry)
{
	const struct schema_method *method = call->in->method;

	for (unsigned i = 0; entry && i < METHOD_REQUIRED_MAX; i++)
		if (entry->required[i] && !is_given(call, entry->required[i]))
			return false;
	for (uint32_t i = 0; i < method->parameter_count; i++)
		if (!argument_fits(call, &method->parameters[i]))
			return false;
	return true;
}

/* ---- answers ------------------------------------------------------------ */

void method_set(const struct method_call *call, const char *name,
		struct cim_value value)
{
	const struct schema_parameter *p =
	    schema_find_parameter(call->out->method, name);

	if (p)
		call->out->values[p - call->out->method->parameters] = value;
}

int method_answer(const struct method_call *call, const char *name,
		  const struct identity *identity, struct err *err)
{
	const struct cim_path *path;
	int r = identity_path(call->request->arena, identity,
			      call->providers->host.name, call->request->host,
			      call->request->ns, &path, err);

	if (r == 0)
		method_set(call, name, cim_reference(path));
	return r;
}

void method_note(const struct method_call *call, const struct err *err)
{
	log_info("%s: %s", call->in->method->name,
		 err ? err->text : "no reason is known");
}

/* ---- the system or point that is meant ---------------------------------- */

struct finding {
	const char *point; /* its id, or NULL */
	char *name;        /* of the system that was found */
	bool log, has_data;
};

/* NULL: it has no such point. */
static const struct point_view *point_in(const struct system_view *system,
					 const char *id)
{
	for (uint32_t i = 0; i < system->point_count; i++)
		if (strcasecmp(system->points[i].id, id) == 0)
			return &system->points[i];
	return NULL;
}

static int find_system(void *arg, const struct system_view *system,
		       struct err *err)
{
	struct finding *finding = arg;
	const struct point_view *point = NULL;

	if (finding->point) {
		point = point_in(system, finding->point);
		if (!point)
			return 0;
		finding->log = point->log;
		finding->has_data = point->has_data;
	}
	finding->name = strdup(system->vm);
	return finding->name ? 1 : err_set(err, -ENOMEM, "a system's name");
}

static int find(const struct method_call *call, const char *uuid,
		struct finding *finding, const char **ret_name, struct err *err)
{
	char *name;
	int r = systems_each(call->providers, call->request, uuid,
			     finding->point ? SYSTEMS_POINTS : 0, find_system,
			     finding, err);

	if (r < 0)
		return r;
	if (!finding->name)
		return err_set(err, -CIM_ENOTFOUND, "there is no such %s",
			       finding->point ? "reference point"
					      : "virtual system");
	/* what the walk took of the arena is given back only now */
	name = arena_strdup(call->request->arena, finding->name);
	free(finding->name);
	if (!name)
		return arena_full(call->request->arena, err);
	*ret_name = name;
	return 0;
}

int method_system(const struct method_call *call, const char *uuid,
		  const char **ret_name, struct err *err)
{
	struct finding finding = {0};

	return find(call, uuid, &finding, ret_name, err);
}

int method_point_of(const struct method_call *call,
		    const struct identity *identity,
		    struct method_point *ret_point, struct err *err)
{
	struct finding finding = {.point = identity->id};
	struct method_point point = {0};
	int r;

	r = find(call, identity->uuid, &finding, &point.vm, err);
	if (r < 0)
		return r;
	memcpy(point.id, identity->id, sizeof(point.id));
	memcpy(point.uuid, identity->uuid, sizeof(point.uuid));
	point.log = finding.log;
	point.has_data = finding.has_data;
	*ret_point = point;
	return 0;
}

int method_find_point(const struct method_call *call, const char *name,
		      struct method_point *ret_point, struct err *err)
{
	struct identity identity;

	if (!method_object(call, name, &identity) ||
	    identity.kind != IDENTITY_POINT)
		return err_set(err, -CIM_ENOTFOUND,
			       "no reference point is meant");
	return method_point_of(call, &identity, ret_point, err);
}

struct snapshot_finding {
	const char *id;
	struct method_snapshot found;
	char *vm;
};

static int find_snapshot(void *arg, const struct system_view *system,
			 struct err *err)
{
	struct snapshot_finding *finding = arg;
	const struct snapshot_view *s = holder_snapshot(system, finding->id);

	if (!s)
		return 0;
	finding->found.application = s->as.application;
	memcpy(finding->found.id, s->as.id, sizeof(s->as.id));
	memcpy(finding->found.uuid, system->uuid, sizeof(system->uuid));
	finding->vm = strdup(system->vm);
	return finding->vm ? 0 : err_set(err, -ENOMEM, "a system's name");
}

int method_snapshot_of_id(const struct method_call *call, const char *id,
			  struct method_snapshot *ret_snapshot, struct err *err)
{
	struct snapshot_finding finding = {0};
	char upper[GUID_TEXT_BYTES];
	int r;

	if (!identity_guid(id, upper))
		return err_set(err, -CIM_ENOTFOUND, "no snapshot is meant");
	finding.id = upper;
	r = holder_tell(call->providers, call->request, upper, find_snapshot,
			&finding, err);
	if (r < 0)
		return r;
	if (!finding.vm)
		return err_set(err, -CIM_ENOTFOUND,
			       "there is no such snapshot");
	finding.found.vm = arena_strdup(call->request->arena, finding.vm);
	free(finding.vm);
	if (!finding.found.vm)
		return arena_full(call->request->arena, err);
	*ret_snapshot = finding.found;
	return 0;
}

int method_find_snapshot(const struct method_call *call, const char *name,
			 struct method_snapshot *ret_snapshot, struct err *err)
{
	struct identity identity;

	if (!method_object(call, name, &identity) ||
	    identity.kind != IDENTITY_SETTINGS)
		return err_set(err, -CIM_ENOTFOUND, "no snapshot is meant");
	return method_snapshot_of_id(call, identity.uuid, ret_snapshot, err);
}

/* ---- which method ------------------------------------------------------- */

/* The first of NUMBERS that the method calls TEXT. */
static uint32_t number_called(const struct schema_method *method,
			      const char *text, const uint32_t *numbers,
			      size_t n, uint32_t otherwise)
{
	for (size_t i = 0; i < n; i++) {
		const char *its =
		    schema_value_text(&method->qualifiers, numbers[i]);

		if (its && strcasecmp(its, text) == 0)
			return numbers[i];
	}
	return otherwise;
}

static uint32_t unsupported(const struct schema_method *method)
{
	static const uint32_t numbers[] = {METHOD_UNSUPPORTED, 1};

	return number_called(method, "Not Supported", numbers,
			     ARRAY_SIZE(numbers), 1);
}

static uint32_t invalid_parameter(const struct schema_method *method)
{
	static const uint32_t numbers[] = {METHOD_PARAMETER, 4, 5};

	return number_called(method, "Invalid Parameter", numbers,
			     ARRAY_SIZE(numbers), unsupported(method));
}

static const struct method_entry *find_entry(const struct method_entry *entries,
					     size_t n,
					     const struct schema_method *method)
{
	for (size_t i = 0; i < n; i++)
		if (strcasecmp(entries[i].name, method->name) == 0)
			return &entries[i];
	return NULL;
}

int method_dispatch(const struct method_entry *entries, size_t n,
		    const struct method_call *call,
		    struct cim_value *ret_result, struct err *err)
{
	const struct schema_method *method = call->in->method;
	const struct method_entry *entry = find_entry(entries, n, method);
	uint32_t result;
	int r = 0;

	if (!arguments_fit(call, entry))
		result = invalid_parameter(method);
	else if (entry && entry->fn)
		r = entry->fn(call, &result, err);
	else
		result = unsupported(method);
	if (r == 0)
		*ret_result = cim_uint(method->result, result);
	return r < 0 ? r : 0;
}

int unsupported_invoke(void *arg, const struct cim_request *request,
		       const struct cim_path *path,
		       const struct cim_arguments *in,
		       struct cim_arguments *out, struct cim_value *ret_result,
		       struct err *err)
{
	const struct method_call call = {arg, request, path, in, out};

	return method_dispatch(NULL, 0, &call, ret_result, err);
}
