/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Methods of virtual systems: none of it can be done, and each says so in its
 * own numbers, once its arguments are in order.
 */
#include "common/bytes.h"
#include "providers/methods.h"

#define DISPATCH(entries)                                                      \
	method_dispatch(entries, ARRAY_SIZE(entries),                          \
			&(struct method_call){arg, request, path, in, out},    \
			ret_result, err)

int computer_system_invoke(void *arg, const struct cim_request *request,
			   const struct cim_path *path,
			   const struct cim_arguments *in,
			   struct cim_arguments *out,
			   struct cim_value *ret_result, struct err *err)
{
	static const struct method_entry entries[] = {
	    {.name = "RequestStateChange", .required = {"RequestedState"}},
	};

	return DISPATCH(entries);
}
