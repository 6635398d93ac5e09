/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/caller.h"

#include <string.h>

#include "common/paths.h"

/* It stands in quotes in a line of the log. */
static int check_name(const char *name, struct err *err)
{
	if (!*name || strchr(name, '"') || text_has_controls(name))
		return err_set(err, -RP_EPARAM,
			       "'caller': a name is not empty and has neither "
			       "quotes nor control characters");
	return 0;
}

static int check_role(const char *role, struct err *err)
{
	if (!name_is_valid(role, CALLER_ROLE_BYTES))
		return err_set(err, -RP_EPARAM,
			       "'caller': a role has letters, digits, '.', '_' "
			       "and '-', and begins with a letter or digit");
	return 0;
}

static int read_caller(json_t *json, struct caller *ret_caller, struct err *err)
{
	const char *name = NULL, *role = NULL;
	const struct rpc_field fields[] = {
	    {"name", RPC_STRING, true, CALLER_NAME_BYTES, &name, NULL},
	    {"role", RPC_STRING, true, CALLER_ROLE_BYTES, &role, NULL},
	    {0}};
	int r = rpc_read_fields(json, fields, err);

	if (r < 0)
		return err_wrap(err, "'caller'");
	r = check_name(name, err);
	if (r == 0)
		r = check_role(role, err);
	if (r < 0)
		return r;
	(void)strcpy(ret_caller->name, name);
	(void)strcpy(ret_caller->role, role);
	return 0;
}

int caller_take(json_t *parameters, enum rpc_role role,
		struct caller *ret_caller, struct err *err)
{
	json_t *json = json_object_get(parameters, "caller");
	int r = 0;

	if (json && !json_is_null(json)) {
		if (role != RPC_ROLE_GATEWAY)
			return err_set(
			    err, -RP_EPARAM,
			    "'caller' is for the gateway's socket alone");
		r = read_caller(json, ret_caller, err);
	}
	if (r == 0)
		(void)json_object_del(parameters, "caller");
	return r;
}
