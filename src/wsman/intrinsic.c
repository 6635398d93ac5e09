/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The names of classes, and a class, as openwsman tells them: by actions of its
 * own on a resource of its own, which wslecn and wsmancli's ecn ask for.
 */
#include <string.h>

#include "wsman/internal.h"

/* The reply has the element NAME of the namespace that the client's URI is. */
static int begin(struct xml_out *out, const struct message *m, const char *name,
		 struct err *err)
{
	const char *action = arena_printf(m->arena, "%sResponse", m->action);

	if (!action)
		return arena_full(m->arena, err);
	reply_begin(out, m, action, m->uri);
	xml_open(out, name);
	return 0;
}

static int class_names(struct message *m, struct wsman_response *ret_response,
		       struct err *err)
{
	const struct schema_namespace *ns = schema_find_namespace(m->cim.ns);
	const struct schema_class *class = NULL;
	struct xml_out out;
	int r;

	if (!ns)
		return err_set(err, -CIM_ENAMESPACE,
			       "there is no namespace '%.80s'", m->cim.ns);
	r = begin(&out, m, "p:EnumerateClassNames_OUTPUT", err);
	if (r < 0)
		return r;
	while ((class = schema_next_class(ns, class)))
		xml_element(&out, "p:name", class->name);
	xml_close(&out);
	return reply_end(&out, m, ret_response, err);
}

static int get_class(struct message *m, struct wsman_response *ret_response,
		     struct err *err)
{
	const struct codec_select select = {.qualifiers = true};
	const struct schema_class *class;
	struct xml_out out;
	int r = broker_class(&m->cim, m->resource.class_name, &class, err);

	if (r == 0)
		r = begin(&out, m, "p:GetClass_OUTPUT", err);
	if (r < 0)
		return r;
	codec_put_class(&out, class, &select);
	xml_close(&out);
	return reply_end(&out, m, ret_response, err);
}

operation_fn *intrinsic_operation(const struct message *m)
{
	const char *name = strrchr(m->action, '/');

	if (!m->resource.intrinsic || !name)
		return NULL;
	if (strcmp(name, "/EnumerateClassNames") == 0)
		return class_names;
	return strcmp(name, "/GetClass") == 0 ? get_class : NULL;
}
