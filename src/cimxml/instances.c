/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on instances. */
#include <string.h>
#include <strings.h>

#include "cimxml/internal.h"

/* PATH with all that it may have. */
static struct cim_path full_path(const struct call *c,
				 const struct cim_path *path)
{
	struct cim_path full = *path;

	if (!full.ns)
		full.ns = c->ns->name;
	if (!full.host)
		full.host = c->cim.host ? c->cim.host : "localhost";
	return full;
}

static void put_instance(struct teller *t, const struct cim_instance *instance)
{
	struct cim_path path = full_path(t->call, instance->path);
	struct cim_instance whole = *instance;

	whole.path = &path;
	switch (t->form) {
	case FORM_NAMED:
		codec_put_named_instance(t->out, &whole, &t->select);
		break;
	case FORM_NAME:
		codec_put_instance_name(t->out, &path);
		break;
	case FORM_OBJECT:
		codec_put_object(t->out, &whole, &t->select);
		break;
	case FORM_WITH_PATH:
		codec_put_object_with_path(t->out, &whole, &t->select);
		break;
	case FORM_PATH:
		codec_put_object_path(t->out, &path);
		break;
	case FORM_PULL_WITH_PATH:
		codec_put_instance_with_path(t->out, &whole, &t->select);
		break;
	case FORM_PULL_PATH:
		codec_put_path(t->out, &path);
		break;
	case FORM_PULL:
		codec_put_instance(t->out, &whole, &t->select, false);
		break;
	}
}

int tell_instance(void *arg, const struct cim_instance *instance,
		  struct err *err)
{
	struct teller *t = arg;

	if (!instance->path)
		return err_set(err, -CIM_EFAILED, "%s without a path",
			       instance->class->name);
	put_instance(t, instance);
	return t->out->error
		   ? err_set(err, t->out->error, "the reply would be too large")
		   : 0;
}

/* Leaves only the properties that BASE has. */
static int select_shallow(struct call *c, const struct schema_class *base,
			  struct codec_select *select)
{
	const char **names =
	    arena_array(c->cim.arena, base->property_count, sizeof(*names));
	uint32_t count = 0;

	if (!names)
		return arena_full(c->cim.arena, c->err);
	for (uint32_t i = 0; i < base->property_count; i++)
		if (codec_selects(select, base, base->properties[i]))
			names[count++] = base->properties[i]->name;
	select->list = true;
	select->properties = names;
	select->property_count = count;
	return 0;
}

int tell_class_instances(struct call *c, struct teller *teller,
			 cim_instance_fn *fn, void *fn_arg)
{
	const char *name = text_of(c, P_CLASS_NAME);
	const struct schema_class *class;
	int r = broker_class(&c->cim, name, &class, c->err);

	if (r == 0 && !truth_of(c, P_DEEP_INHERITANCE, true))
		r = select_shallow(c, class, &teller->select);
	return r < 0 ? r
		     : broker_enumerate(c->service->broker, &c->cim, name, fn,
					fn_arg, c->err);
}

int get_instance(struct call *c)
{
	struct codec_select select = select_of(c);
	const struct cim_instance *instance;
	int r =
	    broker_get(c->service->broker, &c->cim,
		       c->arguments[P_INSTANCE_NAME].path, &instance, c->err);

	if (r < 0)
		return r;
	xml_open(c->out, "IRETURNVALUE");
	codec_put_instance(c->out, instance, &select, false);
	xml_close(c->out);
	return 0;
}

static int enumerate(struct call *c, enum form form)
{
	struct teller teller = {c, c->out, form, select_of(c)};
	int r;

	xml_open(c->out, "IRETURNVALUE");
	r = tell_class_instances(c, &teller, tell_instance, &teller);
	xml_close(c->out);
	return r;
}

int enumerate_instances(struct call *c)
{
	return enumerate(c, FORM_NAMED);
}

int enumerate_instance_names(struct call *c)
{
	return enumerate(c, FORM_NAME);
}

int get_property(struct call *c)
{
	const char *name = text_of(c, P_PROPERTY_NAME);
	const struct cim_instance *instance;
	int r =
	    broker_get(c->service->broker, &c->cim,
		       c->arguments[P_INSTANCE_NAME].path, &instance, c->err);

	if (r < 0)
		return r;
	if (!schema_find_property(instance->class, name))
		return err_set(c->err, -CIM_EPROPERTY,
			       "%s has no property %.60s",
			       instance->class->name, name);
	xml_open(c->out, "IRETURNVALUE");
	codec_put_value(c->out, cim_instance_get(instance, name));
	xml_close(c->out);
	return 0;
}

int delete_instance(struct call *c)
{
	return broker_delete(c->service->broker, &c->cim,
			     c->arguments[P_INSTANCE_NAME].path, c->err);
}

/* ---- queries ------------------------------------------------------------- */

int read_query(struct call *c, const char *language, const char *text,
	       struct wql_query **ret_query)
{
	if (strcasecmp(language, "WQL") != 0 &&
	    strcasecmp(language, "DMTF:CQL") != 0)
		return err_set(c->err, -CIM_EQUERYLANGUAGE,
			       "no queries in %.40s here", language);
	return wql_parse(c->cim.arena, text, ret_query, c->err);
}

void select_query(const struct wql_query *query, struct codec_select *select)
{
	if (query->kind != WQL_SELECT || query->property_count == 0)
		return;
	select->list = true;
	select->properties = query->properties;
	select->property_count = query->property_count;
}

/* Tells classes, each once, instead of their instances. */
struct class_teller {
	struct xml_out *out;
	uint8_t *told; /* by the class's index */
};

static int tell_its_class(void *arg, const struct cim_instance *instance,
			  struct err *err)
{
	static const struct codec_select whole = {.qualifiers = true};
	struct class_teller *t = arg;

	if (t->told[instance->class->index])
		return 0;
	t->told[instance->class->index] = 1;
	xml_open(t->out, "VALUE.OBJECT");
	codec_put_class(t->out, instance->class, &whole);
	xml_close(t->out);
	return 0;
}

int exec_query(struct call *c)
{
	struct teller teller = {c, c->out, FORM_OBJECT, {0}};
	struct class_teller classes = {c->out, NULL};
	struct wql_query *query;
	int r = read_query(c, text_of(c, P_QUERY_LANGUAGE), text_of(c, P_QUERY),
			   &query);

	if (r < 0)
		return r;
	select_query(query, &teller.select);
	classes.told = arena_alloc(c->cim.arena, schema_class_count);
	if (!classes.told)
		return arena_full(c->cim.arena, c->err);
	xml_open(c->out, "IRETURNVALUE");
	r = query->class_defs_only
		? broker_query(c->service->broker, &c->cim, query,
			       tell_its_class, &classes, c->err)
		: broker_query(c->service->broker, &c->cim, query,
			       tell_instance, &teller, c->err);
	xml_close(c->out);
	return r;
}
