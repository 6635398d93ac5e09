/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One public call, from its arrival to its audit line.
 *
 * A call that changes something is a job, exclusive for its virtual system,
 * and ends only when its outcome is known, whatever its caller does: a caller
 * whose patience ends (request_limit) is told so and the job goes on.
 *
 * Of CreateJob and its like a record is kept (job/record.h).  It is told with
 * the answer, or when the caller is gone; a refusal before leaves none.
 */
#ifndef DAEMON_REQUEST_H
#define DAEMON_REQUEST_H

#include "daemon/caller.h"
#include "daemon/images.h"
#include "daemon/vm.h"

struct request {
	struct daemon *daemon;
	struct rpc_call *call; /* NULL: answered, or its caller has gone */
	json_t *parameters;    /* ours, without `vm` and `caller` */
	char vm_name[VM_NAME_BYTES];
	struct vm *vm;     /* held; NULL: not looked up yet */
	struct job *job;   /* NULL: changes nothing */
	struct link *link; /* under way; NULL: none */
	sd_event_source *limit;
	sd_event_source *pause;      /* undo.c: until the next try */
	char method[JOB_WHAT_BYTES]; /* "Create" */
	enum rpc_role role;
	uid_t uid;
	pid_t pid;
	struct caller caller;
	bool more;
	unsigned tries;
	bool gone;             /* the caller hung up */
	bool remembered;       /* CreateJob, DestroyJob ... */
	struct record *record; /* NULL: none, or not yet */
	json_t *made;          /* for the answer: a point ... ; NULL: none */
	const char *made_as;   /* "point" or "snapshot" */
	bool undone;           /* and destroyed again */
	struct err why;        /* not */
	struct err fault;      /* why it is undone; code 0: it was cancelled */
	struct freeze *freeze; /* under way; NULL: none */
	json_t *answer;        /* frozen.c: the worker's; NULL: none */
	struct err outcome;    /* likewise */
	void (*frozen)(struct request *request, const struct err *err);
	struct err note; /* what is to be said of a success */
};

/* Takes `vm` and `caller` out of PARAMETERS; for CHANGES begins the job.  NULL:
 * the call was refused and answered. */
struct request *request_new(struct daemon *daemon, struct rpc_call *call,
			    json_t *parameters, bool changes);
/* The line of a change that is over, or was refused. */
void request_audit(const struct request *request, const struct err *err);
/* Looks the VM up.  On failure answers, ends the request, returns false. */
bool request_find_vm(struct request *request);

/* After MS the caller is told -RP_ETIMEOUT. */
void request_limit(struct request *request, uint64_t ms);

/* In the records, for whom a change is made. */
void request_owner(const struct request *request,
		   char owner[CALLER_NAME_BYTES]);

/* All three end the request; REQUEST is gone. */
void request_reply(struct request *request, json_t *parameters);
void request_reply_text(struct request *request, const char *text,
			size_t bytes);
void request_fail(struct request *request, const struct err *err);

#endif
