/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ImportReferencePointMetadata: what an export says of its points is handed to
 * refpointd, which alone judges it.
 *
 * N1  Both files are below the export root, or it is Access Denied, whatever
 *     else is asked; where nothing may be exported to, it is Not Supported.
 * N2  Nothing of what they hold is looked at here, or gets into a log.
 */
#include "cim/status.h"
#include "common/cleanup.h"
#include "common/metadata.h"
#include "providers/exports.h"
#include "providers/methods.h"

/* The text of the file that the parameter NAME names; what is wrong with it. */
static uint32_t read_file(const struct method_call *call, const char *name,
			  char **ret_text)
{
	struct err err = {0};
	int r = exports_read(call->providers->exports, method_text(call, name),
			     METADATA_BYTES_MAX, ret_text, &err);

	if (r < 0)
		method_note(call, &err);
	return method_result(r);
}

static int begin(const struct method_call *call, const char *vm,
		 const char *config, const char *state, uint32_t *ret_result,
		 struct err *err)
{
	json_t *parameters = json_pack("{s:s, s:s, s:s}", "vm", vm, "config",
				       config, "state", state);

	*ret_result = METHOD_PARAMETER; /* no UTF-8 */
	return parameters ? method_begin_job(call, "ImportJob", parameters,
					     method_result, ret_result, err)
			  : 0;
}

int method_import_points(const struct method_call *call, uint32_t *ret_result,
			 struct err *err)
{
	_cleanup_free_ char *config = NULL, *state = NULL;
	struct identity system;
	const char *vm;
	int r;

	*ret_result = METHOD_UNSUPPORTED;
	if (!call->providers->exports)
		return 0;
	*ret_result = read_file(call, "ConfigFilePath", &config);
	if (*ret_result == 0)
		*ret_result = read_file(call, "RuntimeStateFilePath", &state);
	if (*ret_result)
		return 0;
	*ret_result = METHOD_PARAMETER;
	if (!method_object(call, "AffectedSystem", &system) ||
	    system.kind != IDENTITY_SYSTEM)
		return 0;
	r = method_system(call, system.uuid, &vm, err);
	return r < 0 ? method_missing(call, r, method_result, METHOD_PARAMETER,
				      ret_result, err)
		     : begin(call, vm, config, state, ret_result, err);
}
