/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A call on its way: read on the event loop, done by a job, answered on the
 * loop.
 */
#ifndef WORKER_REQUEST_H
#define WORKER_REQUEST_H

#include "worker/export.h"
#include "worker/worker.h"

struct request;

struct method {
	enum lane lane;
	bool transition; /* while one waits or runs, what changes is refused */
	/* On the loop, may be NULL: nothing to read.  Everything checkable
	 * without the vm is checked here. */
	int (*read)(struct request *request, json_t *parameters,
		    struct err *err);
	/* By the job; sets REPLY (NULL: {}), CHANGES or LISTING. */
	int (*run)(struct request *request, struct err *err);
};

struct definition; /* define.c */

struct request {
	struct job job;
	struct request *next; /* that waits (await.c) */
	struct worker *worker;
	const struct method *method;
	struct rpc_call *call; /* NULL: it is our own */
	struct err err;
	json_t *reply;
	struct changes *changes;
	struct listing *listing;
	int fds[RPC_FDS_MAX]; /* that came; -1 once taken */
	unsigned n_fds;
	struct images *images; /* NULL: none came */
	int listener;
	char disk[DISK_ID_BYTES];
	uint64_t bytes; /* a disk's, or of logs */
	struct guid point;
	struct vm_point_request create;
	struct snapshot_request take; /* or the id and label of another one */
	bool application;             /* it will be vouched for */
	char agent[AGENT_BYTES];
	struct changes_request ask;
	struct definition *definition;
	struct export_request *ask_export; /* NULL: that is not asked */
	struct export *export;
	bool gone;                   /* the caller of an export */
	struct importing *importing; /* NULL: that is not asked */
};

/* CALL, read, on its way; NULL: it was refused and answered. */
struct request *request_begin(struct rpc_call *call, json_t *parameters,
			      struct worker *worker,
			      const struct method *method);
/* Has it done, and CALL answered. */
void request_submit(struct request *request);
/* Frees what the request still holds. */
void request_free(struct request *request);

/* ---- await.c ----------------------------------------------------------------
 */

void on_await_end(struct rpc_call *call, json_t *parameters, void *arg);

/* ---- define.c ---------------------------------------------------------------
 */

int read_initialize(struct request *request, json_t *parameters,
		    struct err *err);
int run_initialize(struct request *request, struct err *err);
int run_definition(struct request *request, struct err *err);
int read_set_agent(struct request *request, json_t *parameters,
		   struct err *err);
int run_set_agent(struct request *request, struct err *err);
void definition_free(struct definition *definition);

/* ---- points.c
 * ---------------------------------------------------------------- */

int read_consistency(struct request *request, const char *text,
		     struct err *err);
int read_label(const char *text, char ret_label[LABEL_BYTES], struct err *err);
int read_request_id(const char *text, char ret_id[REQUEST_ID_BYTES],
		    struct err *err);
int read_timeout(uint64_t ms, uint32_t *ret_ms, struct err *err);
/* Of type ?[]Image, whose descriptors came. */
int read_images(struct request *request, json_t *list, struct err *err);

int read_create(struct request *request, json_t *parameters, struct err *err);
int run_create(struct request *request, struct err *err);
int read_destroy(struct request *request, json_t *parameters, struct err *err);
int run_destroy(struct request *request, struct err *err);
int run_vouch(struct request *request, struct err *err);
int run_points(struct request *request, struct err *err);
int read_export(struct request *request, json_t *parameters, struct err *err);
int run_export(struct request *request, struct err *err);
int read_changes(struct request *request, json_t *parameters, struct err *err);
int run_changes(struct request *request, struct err *err);

/* ---- logs.c ----------------------------------------------------------------
 */

int run_drop_log(struct request *request, struct err *err);
int read_set_log_limit(struct request *request, json_t *parameters,
		       struct err *err);
int run_set_log_limit(struct request *request, struct err *err);

/* ---- snapshots.c -----------------------------------------------------------
 */

int read_snapshot(struct request *request, json_t *parameters, struct err *err);
int run_snapshot(struct request *request, struct err *err);
int run_snapshots(struct request *request, struct err *err);
int reply_snapshot(struct request *request, const struct snapshot_info *info);
int read_one_snapshot(struct request *request, json_t *parameters,
		      struct err *err);
int run_convert(struct request *request, struct err *err);
int run_drop(struct request *request, struct err *err);
int read_rename(struct request *request, json_t *parameters, struct err *err);
int run_rename(struct request *request, struct err *err);

#endif
