/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Extrinsic methods.
 *
 * An embedded instance that cannot be read is a wrong argument in the method's
 * own words: if one of its return values is called "Invalid Parameter", that is
 * the answer, as it is for a readable one with wrong contents.
 */
#include <strings.h>

#include "cimxml/internal.h"

/* The method's return value that is called so; 0: none. */
static uint32_t invalid_parameter(const struct schema_method *method)
{
	static const uint32_t numbers[] = {4, 32773}; /* CIM's, Windows' */

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		const char *text =
		    schema_value_text(&method->qualifiers, numbers[i]);

		if (method->result == CIM_UINT32 && text &&
		    strcasecmp(text, "Invalid Parameter") == 0)
			return numbers[i];
	}
	return 0;
}

static bool is_embedded(const struct schema_parameter *parameter)
{
	return parameter->type.embedded || parameter->type.embedded_object;
}

/* 0, 1 if the method itself would refuse it, or an error. */
static int read_argument(struct call *c, const struct schema_method *method,
			 const struct schema_parameter *parameter,
			 const struct xml_node *node,
			 struct cim_value *ret_value)
{
	int r;

	if (!parameter->in) /* whatever it is */
		return 0;
	r = codec_get_value(c->cim.arena, c->ns, node, &parameter->type,
			    ret_value, c->err);
	/* What comes out as well is there to be filled. */
	if (r < 0 && r != -CIM_ELIMITS && parameter->out) {
		*ret_value =
		    cim_null(parameter->type.base, parameter->type.array);
		return 0;
	}
	if (r < 0 && r != -CIM_ELIMITS && is_embedded(parameter) &&
	    invalid_parameter(method))
		return 1;
	return r < 0 ? err_wrap(c->err, "%s", parameter->name) : 0;
}

static int read_arguments(struct call *c, const struct xml_node *call,
			  struct cim_arguments *in)
{
	const struct schema_method *method = in->method;
	const struct xml_node *n = xml_child(call, NULL, "PARAMVALUE");
	bool *named =
	    arena_array(c->cim.arena, method->parameter_count, sizeof(*named));
	int refused = 0;

	if (!named)
		return arena_full(c->cim.arena, c->err);
	for (; n; n = xml_sibling(n, NULL, "PARAMVALUE")) {
		const char *name = xml_attribute(n, NULL, "NAME");
		const struct schema_parameter *p =
		    name ? schema_find_parameter(method, name) : NULL;
		uint32_t i = p ? (uint32_t)(p - method->parameters) : 0;
		int r;

		if (!p || named[i])
			return err_set(c->err, -CIM_EPARAMETER,
				       "%s: %s parameter %.60s", method->name,
				       p ? "twice the" : "there is no",
				       name ? name : "");
		named[i] = true;
		r = read_argument(c, method, p, n, &in->values[i]);
		if (r < 0)
			return r;
		refused |= r;
	}
	return refused;
}

/* METHODRESPONSE's content; OUT NULL: no parameters. */
static void put_response(struct call *c, const struct schema_method *method,
			 const struct cim_value *result,
			 const struct cim_arguments *out)
{
	codec_put_return(c->out, result);
	for (uint32_t i = 0; out && i < method->parameter_count; i++)
		if (method->parameters[i].out && !out->values[i].is_null)
			codec_put_parameter(c->out, &method->parameters[i],
					    &out->values[i]);
}

static int find_method(struct call *c, const char *name,
		       const struct cim_path *path, struct cim_arguments *in,
		       struct cim_arguments *out)
{
	const struct schema_class *class;
	int r = broker_class(&c->cim, path->class_name, &class, c->err);

	if (r == 0)
		r = broker_arguments(&c->cim, class, name, in, c->err);
	if (r == 0)
		r = broker_arguments(&c->cim, class, name, out, c->err);
	if (r == 0)
		r = broker_may_call(c->service->broker, &c->cim, class, name,
				    c->err);
	if (r == 0 && path->is_class &&
	    !schema_qualifier_true(&in->method->qualifiers, "Static"))
		return err_set(c->err, -CIM_EPARAMETER,
			       "%s is called of an instance, not of a class",
			       in->method->name);
	return r;
}

/* What a reply has besides the items of arrays, at most; beyond that it is too
 * long whatever the method does. */
#define CALL_BYTES 4096

int call_method(struct call *c, const char *name, const struct cim_path *path,
		const struct xml_node *node)
{
	struct cim_arguments in, out;
	struct cim_value result;
	int r = find_method(c, name, path, &in, &out);

	if (r < 0)
		return r;
	r = read_arguments(c, node, &in);
	if (r < 0)
		return r;
	if (r > 0) {
		result = cim_uint(CIM_UINT32, invalid_parameter(in.method));
		put_response(c, in.method, &result, NULL);
		return 0;
	}
	c->cim.reply_bytes = c->service->reply_bytes_max - CALL_BYTES;
	r = broker_invoke(c->service->broker, &c->cim, path, &in, &out, &result,
			  c->err);
	if (r == 0)
		put_response(c, in.method, &result, &out);
	return r;
}
