/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AwaitEnd: calls that are answered once a snapshot is of no use any more.
 *
 * A guest's write, the store's room or a dropping call end a snapshot, each on
 * a thread that tells nobody.  So the event loop looks whenever it comes by,
 * and only while somebody waits; the answer is then an ordinary question's.
 *
 * The list is the loop's.  A call is in it until it is over, or its caller has
 * hung up.
 */
#include <stdlib.h>

#include "worker/request.h"

static void unlink_request(struct request *request)
{
	struct request **at = &request->worker->awaiting;

	while (*at != request)
		at = &(*at)->next;
	*at = request->next;
}

static void on_hangup(void *arg)
{
	struct request *request = arg;
	struct err err = {0};

	unlink_request(request);
	err_set(&err, -RP_ECANCELLED, "the caller went away");
	rpc_fail(request->call, &err);
	request_free(request);
}

/* Not while the vm is being replaced: then it is known the next time. */
static bool is_over(struct worker *worker, const struct guid *id)
{
	bool over;

	if (pthread_rwlock_tryrdlock(&worker->vm_lock) != 0)
		return false;
	over = worker->snapshots && snapshot_is_over(worker->snapshots, id);
	(void)pthread_rwlock_unlock(&worker->vm_lock);
	return over;
}

void worker_look_awaited(struct worker *worker)
{
	struct request *next;

	for (struct request *r = worker->awaiting; r; r = next) {
		next = r->next;
		if (!is_over(worker, &r->take.id))
			continue;
		unlink_request(r);
		rpc_call_on_hangup(r->call, NULL, NULL);
		request_submit(r);
	}
}

static int run_await_end(struct request *request, struct err *err)
{
	struct worker *worker = request->worker;
	struct snapshot_info info;
	int r = worker_check_defined(worker, err);

	if (r == 0)
		r = snapshot_find(worker->snapshots, &request->take.id, &info,
				  err);
	if (r == 0)
		return reply_snapshot(request, &info);
	if (r != -RP_ENOPOINT)
		return r;
	request->reply = json_pack("{s:n}", "snapshot");
	return 0;
}

void on_await_end(struct rpc_call *call, json_t *parameters, void *arg)
{
	static const struct method method = {LANE_QUERY, false,
					     read_one_snapshot, run_await_end};
	struct worker *worker = arg;
	struct request *request =
	    request_begin(call, parameters, worker, &method);

	if (!request)
		return;
	request->next = worker->awaiting;
	worker->awaiting = request;
	rpc_call_on_hangup(call, on_hangup, request);
	worker_look_awaited(worker);
}
