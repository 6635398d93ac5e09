/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on classes and qualifiers: the schema answers. */
#include "cimxml/internal.h"

static struct codec_select select_class(const struct call *c)
{
	struct codec_select select = select_of(c);

	select.local_only = truth_of(c, P_LOCAL_ONLY, true);
	select.qualifiers = truth_of(c, P_INCLUDE_QUALIFIERS, true);
	return select;
}

int get_class(struct call *c)
{
	struct codec_select select = select_class(c);
	const struct schema_class *class;
	int r = broker_class(&c->cim, text_of(c, P_CLASS_NAME), &class, c->err);

	if (r < 0)
		return r;
	xml_open(c->out, "IRETURNVALUE");
	codec_put_class(c->out, class, &select);
	xml_close(c->out);
	return 0;
}

/* The class whose subclasses are asked for; NULL: all. */
static int base_class(struct call *c, const struct schema_class **ret_base)
{
	const char *name = text_of(c, P_CLASS_NAME);

	*ret_base = NULL;
	return name ? broker_class(&c->cim, name, ret_base, c->err) : 0;
}

int enumerate_classes(struct call *c)
{
	bool deep = truth_of(c, P_DEEP_INHERITANCE, false);
	struct codec_select select = select_class(c);
	const struct schema_class *base, *class = NULL;
	int r = base_class(c, &base);

	if (r < 0)
		return r;
	xml_open(c->out, "IRETURNVALUE");
	while ((class = schema_next_subclass(c->ns, base, deep, class)))
		codec_put_class(c->out, class, &select);
	xml_close(c->out);
	return 0;
}

int enumerate_class_names(struct call *c)
{
	bool deep = truth_of(c, P_DEEP_INHERITANCE, false);
	const struct schema_class *base, *class = NULL;
	int r = base_class(c, &base);

	if (r < 0)
		return r;
	xml_open(c->out, "IRETURNVALUE");
	while ((class = schema_next_subclass(c->ns, base, deep, class))) {
		xml_open(c->out, "CLASSNAME");
		xml_put_attribute(c->out, "NAME", class->name);
		xml_close_empty(c->out);
	}
	xml_close(c->out);
	return 0;
}

int get_qualifier(struct call *c)
{
	const struct schema_qualifier_type *type =
	    schema_find_qualifier_type(text_of(c, P_QUALIFIER_NAME));

	if (!type)
		return err_set(c->err, -CIM_ENOTFOUND,
			       "there is no qualifier %.60s",
			       text_of(c, P_QUALIFIER_NAME));
	xml_open(c->out, "IRETURNVALUE");
	codec_put_qualifier_type(c->out, type);
	xml_close(c->out);
	return 0;
}

int enumerate_qualifiers(struct call *c)
{
	xml_open(c->out, "IRETURNVALUE");
	for (uint32_t i = 0; i < schema_qualifier_type_count; i++)
		codec_put_qualifier_type(c->out, &schema_qualifier_types[i]);
	xml_close(c->out);
	return 0;
}
