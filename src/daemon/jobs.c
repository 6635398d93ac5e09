/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/jobs.h"

#include <string.h>

#include "common/rfc3339.h"
#include "daemon/request.h"
#include "daemon/undo.h"

#define JOBS_PER_REPLY 128

static bool can_be_cancelled(const struct record *record)
{
	return record->state == RECORD_RUNNING &&
	       (record->cancel || undo_is_possible(record));
}

static json_t *id_json(bool has, const struct guid *guid)
{
	char id[GUID_TEXT_BYTES];

	if (!has)
		return json_null();
	guid_format(guid, id);
	return json_string(id);
}

json_t *jobs_json(const struct records *records, const struct record *record)
{
	char id[GUID_TEXT_BYTES], uuid[GUID_TEXT_BYTES];
	char begun[TIME_TEXT_BYTES], changed[TIME_TEXT_BYTES];

	guid_format(&record->id, id);
	guid_format(&record->vm_uuid, uuid);
	time_format(record->begun.ns, begun);
	time_format(record->changed.ns, changed);
	return json_pack(
	    "{s:s, s:s, s:s, s:s, s:o, s:o, s:s, s:s, s:i, s:b, s:s, s:s, s:I, "
	    "s:s, s:s}",
	    "id", id, "method", record->method, "vm", record->vm, "uuid", uuid,
	    "point", id_json(record->has_point, &record->point), "snapshot",
	    id_json(record->has_snapshot, &record->snapshot), "owner",
	    record->owner, "state", record_state_name(record->state), "percent",
	    record->state == RECORD_COMPLETED ? 100 : (int)record->percent,
	    "cancellable", can_be_cancelled(record) && !record->cancelling,
	    "begun", begun, "changed", changed, "elapsed_ms",
	    (json_int_t)record_elapsed_ms(records, record), "error",
	    record->code ? err_name(record->code) : "", "message",
	    record->message);
}

/* ---- Jobs ------------------------------------------------------------------
 */

struct listing {
	struct rpc_call *call;
	const struct records *records;
	json_t *jobs;
};

static json_t *reply_of(struct listing *listing)
{
	json_t *jobs = listing->jobs;

	listing->jobs = json_array();
	return json_pack("{s:o}", "jobs", jobs);
}

static int list_one(void *arg, const struct record *record)
{
	struct listing *listing = arg;

	if (rpc_call_more(listing->call) &&
	    json_array_size(listing->jobs) >= JOBS_PER_REPLY)
		rpc_reply_continues(listing->call, reply_of(listing));
	(void)json_array_append_new(listing->jobs,
				    jobs_json(listing->records, record));
	return 0;
}

static int read_id(struct rpc_call *call, json_t *parameters, bool required,
		   struct caller *ret_caller, struct guid *ret_id,
		   bool *ret_given, struct err *err)
{
	const char *id = NULL;
	const struct rpc_field fields[] = {
	    {"id", RPC_STRING, required, GUID_TEXT_BYTES, &id, NULL}, {0}};
	int r = caller_take(parameters, rpc_call_role(call), ret_caller, err);

	if (r == 0)
		r = rpc_read_fields(parameters, fields, err);
	if (r == 0 && id && !guid_parse(id, ret_id))
		r = err_set(err, -RP_EPARAM, "'id' is no UUID");
	if (r == 0)
		*ret_given = id;
	return r;
}

void jobs_method(struct rpc_call *call, json_t *parameters, void *arg)
{
	struct daemon *daemon = arg;
	struct listing listing = {.call = call, .records = daemon->records};
	const struct record *record;
	struct caller caller;
	struct guid id;
	struct err err = {0};
	bool given = false;

	if (read_id(call, parameters, false, &caller, &id, &given, &err) < 0) {
		rpc_fail(call, &err);
		return;
	}
	listing.jobs = json_array();
	record = given ? records_find(daemon->records, &id) : NULL;
	if (record)
		(void)list_one(&listing, record);
	else if (!given)
		(void)records_each(daemon->records, list_one, &listing);
	rpc_reply(call, reply_of(&listing));
	json_decref(listing.jobs);
}

/* ---- CancelJob --------------------------------------------------------------
 */

static int cancel(struct record *record, const char *id, struct err *err)
{
	if (!record)
		return err_set(err, -RP_EPARAM, "there is no job '%s'", id);
	if (record->state != RECORD_RUNNING)
		return err_set(err, -RP_ESTATE, "job '%s' is over (%s)", id,
			       record_state_name(record->state));
	if (!can_be_cancelled(record))
		return err_set(err, -RP_ESTATE,
			       "%s cannot be cancelled (job '%s')",
			       record->method, id);
	record->cancelling = true;
	if (record->cancel)
		record->cancel(record->cancel_arg);
	return 0;
}

void cancel_job_method(struct rpc_call *call, json_t *parameters, void *arg)
{
	struct daemon *daemon = arg;
	struct request request = {.daemon = daemon,
				  .method = "Cancel",
				  .remembered = true,
				  .role = rpc_call_role(call),
				  .uid = rpc_call_uid(call),
				  .pid = rpc_call_pid(call)};
	struct record *record = NULL;
	char text[GUID_TEXT_BYTES];
	struct guid id;
	struct err err = {0};
	bool given;

	if (read_id(call, parameters, true, &request.caller, &id, &given,
		    &err) == 0) {
		guid_format(&id, text);
		record = records_find(daemon->records, &id);
		if (record)
			(void)strcpy(request.vm_name, record->vm);
		(void)cancel(record, text, &err);
	}
	request_audit(&request, &err);
	if (err.code)
		rpc_fail(call, &err);
	else
		rpc_reply(call, json_pack("{s:o}", "job",
					  jobs_json(daemon->records, record)));
}
