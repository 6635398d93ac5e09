/* SPDX-License-Identifier: Apache-2.0 */
/* Methods of jobs. */
#include <strings.h>

#include "cim/status.h"
#include "common/bytes.h"
#include "providers/jobs.h"
#include "providers/methods.h"

/* Of RequestStateChange. */
enum {
	REQUESTED_TERMINATE = 4,
	REQUESTED_LAST = 6,
	CHANGE_UNSUPPORTED = 1,
	CHANGE_FAILED = 4,
	CHANGE_PARAMETER = 5,
	CHANGE_INVALID = 4097,
	CHANGE_TIMEOUT_GIVEN = 4098,
};

/* ---- what went wrong ----------------------------------------------------- */

/* ErrorType of an error. */
static unsigned kind_of(int error)
{
	switch (-error) {
	case RP_EDENIED:
		return 7; /* Security Error */
	case RP_ENOROOM:
	case RP_ELIMIT:
		return 9; /* Unavailable Resource Error */
	case RP_EIOFAIL:
		return 5; /* Hardware Error */
	case RP_EUNSUPPORTED:
		return 10; /* Unsupported Operation Error */
	default:
		return 4; /* Software Error */
	}
}

static int make_error(const struct method_call *call, const struct job_view *v,
		      const struct cim_instance **ret_error, struct err *err)
{
	struct build b = build_new(call->request, "Msvm_Error", err);
	struct arena *arena = call->request->arena;

	build_text(&b, "Message", arena_strdup(arena, job_error_text(v)));
	build_text(&b, "MessageID",
		   arena_printf(arena, "org.refpoint.%s", err_name(v->error)));
	build_text(&b, "OwningEntity", "refpoint");
	build_text(&b, "ErrorSource",
		   arena_printf(arena, "%s.InstanceID=\"%s\"",
				job_is_of_points_class(v) ? POINT_JOB_CLASS
							  : JOB_CLASS,
				v->id));
	build_number(&b, "ErrorSourceFormat", 0);
	build_number(&b, "ErrorType", kind_of(v->error));
	build_number(&b, "PerceivedSeverity", 4);
	build_number(&b, "CIMStatusCode", 1);
	build_text(&b, "CIMStatusCodeDescription", "CIM_ERR_FAILED");
	if (b.r == 0)
		*ret_error = b.instance;
	return b.r;
}

struct errors {
	const struct method_call *call;
	const struct cim_instance *error; /* or NULL */
	bool found;
};

static int look(void *arg, const struct job_view *view, struct err *err)
{
	struct errors *errors = arg;

	errors->found = true;
	return view->error ? make_error(errors->call, view, &errors->error, err)
			   : 0;
}

/* *RET_ERROR is NULL if nothing went wrong. */
static int find_error(const struct method_call *call,
		      const struct cim_instance **ret_error, struct err *err)
{
	struct errors errors = {.call = call};
	char id[GUID_TEXT_BYTES];
	int r = 0;

	if (identity_guid(cim_path_text(call->path, "InstanceID"), id))
		r = job_views_each(call->providers, call->request, id, look,
				   &errors, err);
	if (r == 0 && !errors.found)
		r = err_set(err, -CIM_ENOTFOUND, "the job is forgotten");
	if (r == 0)
		*ret_error = errors.error;
	return r;
}

static int get_error(const struct method_call *call, uint32_t *ret_result,
		     struct err *err)
{
	const struct cim_instance *error;
	int r = find_error(call, &error, err);

	if (r < 0)
		return r;
	if (error)
		method_set(call, "Error", cim_embedded(error));
	*ret_result = 0;
	return 0;
}

static int get_errors(const struct method_call *call, uint32_t *ret_result,
		      struct err *err)
{
	struct arena *arena = call->request->arena;
	union cim_scalar *items = arena_alloc(arena, sizeof(*items));
	const struct cim_instance *error;
	struct cim_value value;
	int r = items ? find_error(call, &error, err) : arena_full(arena, err);

	if (r < 0)
		return r;
	*ret_result = 0;
	if (!error)
		return 0;
	items->instance = error;
	value = cim_array(CIM_STRING, items, 1);
	value.embedded = true;
	method_set(call, "Errors", value);
	return 0;
}

/* ---- ending one ---------------------------------------------------------- */

static uint32_t change_result(int code)
{
	switch (-code) {
	case 0:
		return 0;
	case RP_ESTATE:
		return CHANGE_INVALID;
	case RP_ETIMEOUT:
		return 3;
	default:
		return CHANGE_FAILED;
	}
}

static int cancel(const struct method_call *call, uint32_t *ret_result,
		  struct err *err)
{
	json_t *reply = NULL;
	struct job_view view;
	int r;

	r = backend_call(
	    &call->providers->backend, call->request, NULL, "CancelJob",
	    json_pack("{s:s}", "id", cim_path_text(call->path, "InstanceID")),
	    BACKEND_QUICK_MS, &reply, err);
	if (r == 0)
		r = job_view_read(json_object_get(reply, "job"), &view, err);
	if (r < 0)
		*ret_result = change_result(r);
	else if (view.progress == JOB_IS_RUNNING)
		*ret_result = METHOD_JOB;
	else
		*ret_result =
		    view.progress == JOB_WAS_CANCELLED ? 0 : CHANGE_INVALID;
	json_decref(reply);
	return 0;
}

/* An interval of nothing asks for as little as none at all. */
static bool is_given(const struct cim_value *period)
{
	const char *text = period->is_null ? NULL : period->one.text;

	return text && text[strspn(text, "0.:")];
}

static int change_state(const struct method_call *call, uint32_t *ret_result,
			struct err *err)
{
	uint64_t state = cim_number(method_argument(call, "RequestedState"), 0);

	if (state < 2 || state > REQUESTED_LAST)
		*ret_result = CHANGE_PARAMETER;
	else if (state != REQUESTED_TERMINATE)
		*ret_result = CHANGE_UNSUPPORTED;
	else if (is_given(method_argument(call, "TimeoutPeriod")))
		*ret_result = CHANGE_TIMEOUT_GIVEN;
	else
		return cancel(call, ret_result, err);
	return 0;
}

int job_invoke(void *arg, const struct cim_request *request,
	       const struct cim_path *path, const struct cim_arguments *in,
	       struct cim_arguments *out, struct cim_value *ret_result,
	       struct err *err)
{
	static const struct method_entry entries[] = {
	    {.name = "GetError", .fn = get_error},
	    {.name = "GetErrorEx", .fn = get_errors},
	    {.name = "RequestStateChange",
	     .required = {"RequestedState"},
	     .fn = change_state},
	};
	const struct method_call call = {arg, request, path, in, out};

	return method_dispatch(entries, ARRAY_SIZE(entries), &call, ret_result,
			       err);
}
