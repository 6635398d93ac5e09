/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Methods of the objects of root/virtualization/v2.
 *
 * D1  Every method that the schema declares answers with a number that its
 *     ValueMap has.  What we do not do is held against its parameters all the
 *     same, and then Not Supported.
 * D2  Two sets of numbers are in use: that of CreateReferencePoint (0 to 6),
 *     which the JSON interface's errors have as their results and which methods
 *     of snapshots share, and that of Windows' services (32768 to 32779).
 * D3  As long as a method is refused nothing has changed.  refpointd's refusals
 *     become return values; what a client sees as an error of CIM is only what
 *     is wrong with the request itself, or too large.
 */
#ifndef PROVIDERS_METHODS_H
#define PROVIDERS_METHODS_H

#include "providers/identity.h"
#include "providers/providers.h"

#define METHOD_JOB 4096 /* in both sets: a job was started */

/* The set of Windows' services. */
enum method_result {
	METHOD_FAILED = 32768,
	METHOD_DENIED,
	METHOD_UNSUPPORTED,
	METHOD_UNKNOWN_STATUS,
	METHOD_TIMEOUT,
	METHOD_PARAMETER,
	METHOD_IN_USE,
	METHOD_STATE,
	METHOD_TYPE,
	METHOD_UNAVAILABLE,
	METHOD_NO_MEMORY,
	METHOD_NO_FILE,
};

/* Of the other. */
enum create_result {
	CREATE_UNSUPPORTED = 1,
	CREATE_PARAMETER = 4,
	CREATE_TYPE = 6,
};

/* What a failure is in either, CODE of common/err.h or cim/status.h. */
uint32_t method_result(int code);
uint32_t method_create_result(int code);

/* cim_provider.invoke of who has methods. */
typedef int invoke_fn(void *arg, const struct cim_request *request,
		      const struct cim_path *path,
		      const struct cim_arguments *in, struct cim_arguments *out,
		      struct cim_value *ret_result, struct err *err);
invoke_fn reference_point_service_invoke, snapshot_service_invoke,
    management_service_invoke, image_service_invoke, computer_system_invoke,
    job_invoke;
/* Of who has none but those it inherits. */
invoke_fn unsupported_invoke;

/* What readers may call; cim_provider.reader_methods. */
extern const char *const image_service_reader_methods[];

/* ---- for those who write one --------------------------------------------- */

struct method_call {
	const struct providers *providers;
	const struct cim_request *request;
	const struct cim_path *path;
	const struct cim_arguments *in;
	struct cim_arguments *out;
};

/* 0 and the method's return value, or -CIM_E... */
typedef int method_fn(const struct method_call *call, uint32_t *ret_result,
		      struct err *err);

/* methods-exports.c; ExportDirectory is no empty text. */
method_fn method_export_point, method_export_system;
/* methods-imports.c; neither path is an empty text. */
method_fn method_import_points;

#define METHOD_REQUIRED_MAX 4
struct method_entry {
	const char *name;
	/* That must not be NULL, and no empty text. */
	const char *required[METHOD_REQUIRED_MAX];
	method_fn *fn; /* NULL: Not Supported */
};

/* Looks the method up among ENTRIES (N of them), checks its arguments, and
 * does it. */
int method_dispatch(const struct method_entry *entries, size_t n,
		    const struct method_call *call,
		    struct cim_value *ret_result, struct err *err);

/* Never NULL: a NULL value if there is no such parameter. */
const struct cim_value *method_argument(const struct method_call *call,
					const char *name);
/* The text, or NULL if there is none or it is empty. */
const char *method_text(const struct method_call *call, const char *name);
/* The object that a reference names, of the class that the parameter asks for;
 * false if it names none of ours.  It need not be there. */
bool method_object(const struct method_call *call, const char *name,
		   struct identity *ret_identity);
/* Whether an embedded instance could be read and is of its class, or is NULL.
 * *RET_INSTANCE is NULL then. */
bool method_instance(const struct method_call *call, const char *name,
		     const struct cim_instance **ret_instance);

/* The same of one that answers: a reference to what IDENTITY is. */
int method_answer(const struct method_call *call, const char *name,
		  const struct identity *identity, struct err *err);
void method_set(const struct method_call *call, const char *name,
		struct cim_value value);

/* Puts what refpointd refused into the log: its caller is told a number. */
void method_note(const struct method_call *call, const struct err *err);

/* Has refpointd begin a job: METHOD_JOB, or what RESULT_OF makes of a refusal.
 * PARAMETERS are taken over. */
int method_begin_job(const struct method_call *call, const char *method,
		     json_t *parameters, uint32_t (*result_of)(int code),
		     uint32_t *ret_result, struct err *err);
/* The job (of type Job), and what it made if that is there. */
int method_answer_job(const struct method_call *call, const json_t *job,
		      struct err *err);
/* What it is that the system, or what should be of it, could not be found, for
 * R < 0: PARAMETER if there is none. */
int method_missing(const struct method_call *call, int r,
		   uint32_t (*result_of)(int code), uint32_t parameter,
		   uint32_t *ret_result, const struct err *err);
/* How the embedded settings NAME want a point or snapshot to be, as CreateJob
 * and SnapshotJob take it; false if they ask for what there is not. */
bool method_how(const struct method_call *call, const char *name,
		const char **ret_consistency, const char **ret_label);

/* The system that UUID is of: *RET_NAME is in the request's arena.
 * -CIM_ENOTFOUND if there is no such system; else as systems_each(). */
int method_system(const struct method_call *call, const char *uuid,
		  const char **ret_name, struct err *err);

/* A reference point as a method needs it. */
struct method_point {
	const char *vm;             /* in the request's arena */
	char id[GUID_TEXT_BYTES];   /* upper case */
	char uuid[GUID_TEXT_BYTES]; /* of its system; upper case */
	bool log;                   /* based, or by change tracking */
	bool has_data;              /* its log is there */
};
/* The point that the reference NAME names.  -CIM_ENOTFOUND if there is none;
 * else as systems_each(). */
int method_find_point(const struct method_call *call, const char *name,
		      struct method_point *ret_point, struct err *err);
/* The same of what is known already: IDENTITY is a point's. */
int method_point_of(const struct method_call *call,
		    const struct identity *identity,
		    struct method_point *ret_point, struct err *err);

/* A snapshot as a method needs it. */
struct method_snapshot {
	const char *vm;             /* in the request's arena */
	char id[GUID_TEXT_BYTES];   /* upper case */
	char uuid[GUID_TEXT_BYTES]; /* of its system; upper case */
	bool application;           /* consistent, or crash consistent */
};
/* The snapshot whose settings the reference NAME names.  -CIM_ENOTFOUND if
 * there is none; else as systems_each(). */
int method_find_snapshot(const struct method_call *call, const char *name,
			 struct method_snapshot *ret_snapshot, struct err *err);
/* The same by its id (either case). */
int method_snapshot_of_id(const struct method_call *call, const char *id,
			  struct method_snapshot *ret_snapshot,
			  struct err *err);

#endif
