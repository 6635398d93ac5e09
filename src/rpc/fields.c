/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parameters checked against a table.  All members are judged before the first
 * target is written, so that a refused call leaves nothing half read.
 */
#include <string.h>

#include "rpc/rpc.h"

#define MAX_DEFAULT 4096u

static const char *const type_words[] = {
    [RPC_STRING] = "a string",    [RPC_UINT] = "a whole number, not negative",
    [RPC_BOOL] = "true or false", [RPC_ARRAY] = "an array",
    [RPC_OBJECT] = "an object",
};

static bool type_matches(enum rpc_field_type type, const json_t *value)
{
	switch (type) {
	case RPC_STRING:
		return json_is_string(value);
	case RPC_UINT:
		return json_is_integer(value) && json_integer_value(value) >= 0;
	case RPC_BOOL:
		return json_is_boolean(value);
	case RPC_ARRAY:
		return json_is_array(value);
	case RPC_OBJECT:
		return json_is_object(value);
	}
	return false;
}

static int check_value(const struct rpc_field *field, const json_t *value,
		       struct err *err)
{
	size_t max = field->max ? field->max : MAX_DEFAULT;

	if (!type_matches(field->type, value))
		return err_set(err, -RP_EPARAM, "'%s' must be %s", field->name,
			       type_words[field->type]);
	if (field->type == RPC_STRING && json_string_length(value) >= max)
		return err_set(err, -RP_EPARAM, "'%s' is longer than %zu bytes",
			       field->name, max - 1);
	if (field->type == RPC_ARRAY && json_array_size(value) > max)
		return err_set(err, -RP_EPARAM, "'%s' has more than %zu items",
			       field->name, max);
	return 0;
}

static const struct rpc_field *find_field(const struct rpc_field *fields,
					  const char *name)
{
	for (; fields->name; fields++)
		if (strcmp(fields->name, name) == 0)
			return fields;
	return NULL;
}

static int check_all(json_t *parameters, const struct rpc_field *fields,
		     struct err *err)
{
	const char *name;
	json_t *value;

	json_object_foreach(parameters, name, value)
	{
		const struct rpc_field *field = find_field(fields, name);
		int r;

		if (!field)
			return err_set(err, -RP_EPARAM,
				       "there is no member '%.64s' here", name);
		r = json_is_null(value) ? 0 : check_value(field, value, err);
		if (r < 0)
			return r;
	}
	for (; fields->name; fields++) {
		value = json_object_get(parameters, fields->name);
		if (fields->required && (!value || json_is_null(value)))
			return err_set(err, -RP_EPARAM, "'%s' is missing",
				       fields->name);
	}
	return 0;
}

static void store_value(const struct rpc_field *field, json_t *value)
{
	switch (field->type) {
	case RPC_STRING:
		*(const char **)field->target = json_string_value(value);
		break;
	case RPC_UINT:
		*(uint64_t *)field->target =
		    (uint64_t)json_integer_value(value);
		break;
	case RPC_BOOL:
		*(bool *)field->target = json_is_true(value);
		break;
	case RPC_ARRAY:
	case RPC_OBJECT:
		*(json_t **)field->target = value;
		break;
	}
}

int rpc_read_fields(json_t *parameters, const struct rpc_field *fields,
		    struct err *err)
{
	int r;

	if (parameters && !json_is_object(parameters))
		return err_set(err, -RP_EPARAM, "parameters must be an object");
	r = check_all(parameters, fields, err);
	if (r < 0)
		return r;
	for (; fields->name; fields++) {
		json_t *value = json_object_get(parameters, fields->name);
		bool there = value && !json_is_null(value);

		if (there && fields->target)
			store_value(fields, value);
		if (fields->present)
			*fields->present = there;
	}
	return 0;
}
