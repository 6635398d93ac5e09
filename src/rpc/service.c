/* SPDX-License-Identifier: Apache-2.0 */
/* org.varlink.service, which every Varlink server answers. */
#include <string.h>

#include "rpc/call.h"
#include "rpc/interface-text.h"

#define EVERY_ROLE (~0u)
#define INTERFACE  "org.refpoint"

/* Bytes of the interface's part of a method's name. */
static size_t interface_bytes(const char *method)
{
	const char *dot = strrchr(method, '.');

	return dot ? (size_t)(dot - method) : 0;
}

static bool is_first_of_interface(const struct rpc_method *methods,
				  const struct rpc_method *method)
{
	size_t n = interface_bytes(method->name);

	for (; methods < method; methods++)
		if (interface_bytes(methods->name) == n &&
		    strncmp(methods->name, method->name, n) == 0)
			return false;
	return true;
}

static void get_info(struct rpc_call *call, json_t *parameters, void *arg)
{
	const struct rpc_method *methods = arg, *m;
	const struct rpc_field none[] = {{0}};
	json_t *interfaces;
	struct err err = {0};

	if (rpc_read_fields(parameters, none, &err) < 0) {
		rpc_fail(call, &err);
		return;
	}
	interfaces = json_pack("[s]", "org.varlink.service");
	for (m = methods; m->name; m++)
		if (is_first_of_interface(methods, m))
			json_array_append_new(
			    interfaces,
			    json_stringn(m->name, interface_bytes(m->name)));
	rpc_reply(call,
		  json_pack("{s:s, s:s, s:s, s:s, s:o}", "vendor", "refpoint",
			    "product", "refpoint", "version", VERSION, "url",
			    "", "interfaces", interfaces));
}

static void get_interface_description(struct rpc_call *call, json_t *parameters,
				      void *arg)
{
	const char *interface = NULL;
	const struct rpc_field fields[] = {
	    {"interface", RPC_STRING, true, 256, &interface, NULL}, {0}};
	struct err err = {0};
	int r = rpc_read_fields(parameters, fields, &err);

	if (r == 0 && strcmp(interface, INTERFACE) != 0)
		r = err_set(&err, -RP_EPARAM,
			    "'interface': only %s is described here",
			    INTERFACE);
	if (r < 0)
		rpc_fail(call, &err);
	else
		rpc_reply(call,
			  json_pack("{s:s%}", "description", interface_text,
				    sizeof(interface_text)));
}

const struct rpc_method service_methods[] = {
    {SERVICE_PREFIX "GetInfo", EVERY_ROLE, get_info},
    {SERVICE_PREFIX "GetInterfaceDescription", EVERY_ROLE,
     get_interface_description},
    {0},
};
