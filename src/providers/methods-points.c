/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The service of reference points.
 *
 * P1  CreateReferencePoint that was accepted answers METHOD_JOB with a job,
 *     also if all is done, and then with the point besides: clients look for
 *     the point through the job.
 * P2  ElementName of the settings becomes the point's label; of what else a
 *     client that fetched a template echoes (InstanceID, Caption, Description)
 *     nothing counts.
 * P3  RemoveAssociatedData is for log-based points, as its parameter is
 *     published: of any other it is an Invalid Parameter, since no state that
 *     the point could come to would make it right.  A log-based one whose log
 *     is gone already is in an Invalid State, as refpointd says.
 */
#include "cim/status.h"
#include "common/bytes.h"
#include "providers/methods.h"

/* Of the parameter ReferencePointType. */
enum {
	ARGUMENT_LOG = 0,
	ARGUMENT_RCT = 1,
};

/* ---- CreateReferencePoint ------------------------------------------------ */

static int create_point(const struct method_call *call, uint32_t *ret_result,
			struct err *err)
{
	uint64_t type =
	    cim_number(method_argument(call, "ReferencePointType"), 0);
	const char *consistency, *label, *vm;
	struct identity system;
	int r;

	*ret_result = CREATE_PARAMETER;
	if (!method_object(call, "AffectedSystem", &system) ||
	    system.kind != IDENTITY_SYSTEM ||
	    !method_how(call, "ReferencePointSettings", &consistency, &label))
		return 0;
	r = method_system(call, system.uuid, &vm, err);
	if (r < 0)
		return method_missing(call, r, method_create_result,
				      CREATE_PARAMETER, ret_result, err);
	*ret_result = CREATE_TYPE;
	if (type != ARGUMENT_LOG && type != ARGUMENT_RCT)
		return 0;
	return method_begin_job(
	    call, "CreateJob",
	    json_pack("{s:s, s:s, s:s, s:s}", "vm", vm, "type",
		      type == ARGUMENT_LOG ? "log" : "rct", "consistency",
		      consistency, "label", label),
	    method_create_result, ret_result, err);
}

/* ---- of a point ---------------------------------------------------------- */

/* Has METHOD done to the point that NAME names. */
static int begin_on(const struct method_call *call, const char *method,
		    const struct method_point *point, uint32_t *ret_result,
		    struct err *err)
{
	return method_begin_job(call, method,
				json_pack("{s:s, s:s}", "vm", point->vm,
					  "point", point->id),
				method_result, ret_result, err);
}

static int destroy_point(const struct method_call *call, uint32_t *ret_result,
			 struct err *err)
{
	struct method_point point;
	int r = method_find_point(call, "AffectedReferencePoint", &point, err);

	return r < 0 ? method_missing(call, r, method_result, METHOD_PARAMETER,
				      ret_result, err)
		     : begin_on(call, "DestroyJob", &point, ret_result, err);
}

/* P3. */
static int remove_data(const struct method_call *call, uint32_t *ret_result,
		       struct err *err)
{
	struct method_point point;
	int r = method_find_point(call, "AffectedReferencePoint", &point, err);

	if (r < 0)
		return method_missing(call, r, method_result, METHOD_PARAMETER,
				      ret_result, err);
	*ret_result = METHOD_PARAMETER;
	return point.log ? begin_on(call, "DropLogJob", &point, ret_result, err)
			 : 0;
}

int reference_point_service_invoke(void *arg, const struct cim_request *request,
				   const struct cim_path *path,
				   const struct cim_arguments *in,
				   struct cim_arguments *out,
				   struct cim_value *ret_result,
				   struct err *err)
{
	static const struct method_entry entries[] = {
	    {.name = "CreateReferencePoint",
	     .required = {"AffectedSystem", "ReferencePointType"},
	     .fn = create_point},
	    {.name = "DestroyReferencePoint",
	     .required = {"AffectedReferencePoint"},
	     .fn = destroy_point},
	    {.name = "ExportReferencePoint",
	     .required = {"ReferencePoint", "ExportDirectory"},
	     .fn = method_export_point},
	    {.name = "RemoveAssociatedData",
	     .required = {"AffectedReferencePoint"},
	     .fn = remove_data},
	    {.name = "ImportReferencePointMetadata",
	     .required = {"AffectedSystem", "ConfigFilePath",
			  "RuntimeStateFilePath"},
	     .fn = method_import_points},
	};
	const struct method_call call = {arg, request, path, in, out};

	return method_dispatch(entries, ARRAY_SIZE(entries), &call, ret_result,
			       err);
}
