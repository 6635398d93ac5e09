/* SPDX-License-Identifier: Apache-2.0 */
/* Along associations, of instances and of classes. */
#include "cimxml/internal.h"

struct class_walk {
	struct call *call;
	bool names; /* paths only */
	struct codec_select select;
};

static int tell_class(void *arg, const struct schema_class *class,
		      struct err *err)
{
	struct class_walk *w = arg;
	struct call *c = w->call;
	const char *host = c->cim.host ? c->cim.host : "localhost";
	const struct cim_path path = {.host = host,
				      .ns = c->ns->name,
				      .class_name = class->name,
				      .is_class = true};

	if (w->names)
		codec_put_object_path(c->out, &path);
	else
		codec_put_class_with_path(c->out, host, c->ns->name, class,
					  &w->select);
	return 0;
}

int tell_walk(struct call *c, const struct cim_path *name, bool refs,
	      cim_instance_fn *fn, void *fn_arg)
{
	struct cim_walk walk = walk_of(c, refs);

	return broker_walk(c->service->broker, &c->cim, name, &walk, fn, fn_arg,
			   c->err);
}

static int walk_classes(struct call *c, bool refs, bool names)
{
	const char *name = c->arguments[P_OBJECT_NAME].path->class_name;
	struct class_walk w = {c, names, select_of(c)};
	struct cim_walk walk = walk_of(c, refs);

	w.select.qualifiers = truth_of(c, P_INCLUDE_QUALIFIERS, false);
	return broker_walk_classes(c->service->broker, &c->cim, name, &walk,
				   tell_class, &w, c->err);
}

static int walk(struct call *c, bool refs, enum form form)
{
	struct teller teller = {c, c->out, form, select_of(c)};
	const struct cim_path *name = c->arguments[P_OBJECT_NAME].path;
	int r;

	xml_open(c->out, "IRETURNVALUE");
	r = name->is_class ? walk_classes(c, refs, form == FORM_PATH)
			   : tell_walk(c, name, refs, tell_instance, &teller);
	xml_close(c->out);
	return r;
}

int associators(struct call *c)
{
	return walk(c, false, FORM_WITH_PATH);
}

int associator_names(struct call *c)
{
	return walk(c, false, FORM_PATH);
}

int references(struct call *c)
{
	return walk(c, true, FORM_WITH_PATH);
}

int reference_names(struct call *c)
{
	return walk(c, true, FORM_PATH);
}
