/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scene's refpointd at work: jobs that end as a test says, and changes that
 * it makes up.
 */
#ifndef PROVIDERS_TEST_WORK_H
#define PROVIDERS_TEST_WORK_H

#include <jansson.h>

#include "rpc/rpc.h"

struct work {
	/* What becomes of CreateJob and its like. */
	int refuse;   /* this error, and no job; 0: not refused */
	int fail;     /* the job fails so; 0: it succeeds */
	bool running; /* the answer comes before its end */
	int refuse_cancel;
	json_t *jobs; /* the newest first */
	unsigned made;
	/* Exports whose last reply is yet to come; the newest is the last. */
	struct export_call {
		struct rpc_call *call; /* NULL: it was given */
		json_t *job;
	} exports[8];
	unsigned n_exports;
	/* What Export says of logs; single quotes will do. */
	const char *logs;
	int refuse_plan;
	char planned[256], ordered[512]; /* parameters of Export, ExportJob */
	bool write; /* the newest is written when jobs are asked for next */
	/* The last call but Systems: "METHOD {PARAMETERS}", without caller. */
	char asked[512];
	/* Changes: COUNT extents of LENGTH bytes, one every STRIDE, from FIRST
	 * on; those within the range that is asked for. */
	const char *accuracy; /* NULL: "exact" */
	uint64_t count, first, stride, length;
	uint64_t told; /* extents, in all */
	int refuse_changes;
	const char *raw; /* or the reply's parameters as they are */
	bool promise;    /* and another reply, which never comes */
};

/* For rpc_server_new(). */
void do_create_job(struct rpc_call *call, json_t *parameters, void *arg);
void do_destroy_job(struct rpc_call *call, json_t *parameters, void *arg);
void do_snapshot_job(struct rpc_call *call, json_t *parameters, void *arg);
void do_convert_job(struct rpc_call *call, json_t *parameters, void *arg);
void do_drop_job(struct rpc_call *call, json_t *parameters, void *arg);
void do_drop_log_job(struct rpc_call *call, json_t *parameters, void *arg);
void do_import_job(struct rpc_call *call, json_t *parameters, void *arg);
void do_export(struct rpc_call *call, json_t *parameters, void *arg);
void do_export_job(struct rpc_call *call, json_t *parameters, void *arg);
void do_export_done(struct rpc_call *call, json_t *parameters, void *arg);
void do_rename(struct rpc_call *call, json_t *parameters, void *arg);
void do_jobs(struct rpc_call *call, json_t *parameters, void *arg);
void do_cancel_job(struct rpc_call *call, json_t *parameters, void *arg);
void do_changes(struct rpc_call *call, json_t *parameters, void *arg);

/* Ends the newest job, which runs: as WORK says. */
void work_end_job(void);

/* A call of METHOD of the object PATH with N arguments.  Fails the test if it
 * is refused by the broker. */
struct argument {
	const char *name;
	const char *path;     /* a reference's, ... */
	const char *text;     /* a string, ... */
	const char *instance; /* an instance in CIM-XML, ... */
	uint64_t number;      /* or a number of any type */
};
struct cim_arguments;
uint64_t called(const char *path, const char *method,
		const struct argument *arguments, size_t n,
		struct cim_arguments *ret_out);
#define CALL(path, method, out, ...)                                           \
	called(path, method, (const struct argument[]){__VA_ARGS__},           \
	       sizeof((const struct argument[]){__VA_ARGS__}) /                \
		   sizeof(struct argument),                                    \
	       out)

/* The value of a parameter that came out. */
const struct cim_value *out_value(const struct cim_arguments *out,
				  const char *name);
/* The text of a reference that came out, without host and namespace; "" if it
 * is NULL. */
const char *out_path(const struct cim_arguments *out, const char *name);

#endif
