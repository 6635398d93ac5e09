/* SPDX-License-Identifier: Apache-2.0 */
#include "job/record-file.h"

#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/paths.h"
#include "rpc/rpc.h"

#define RECORD_VERSION 1

static const char *const state_names[] = {
    [RECORD_RUNNING] = "running",
    [RECORD_COMPLETED] = "completed",
    [RECORD_FAILED] = "failed",
    [RECORD_CANCELLED] = "cancelled",
};

const char *record_state_name(enum record_state state)
{
	return state_names[state];
}

char *record_format(const struct record *record, const char *boot)
{
	char id[GUID_TEXT_BYTES], uuid[GUID_TEXT_BYTES];
	char point[GUID_TEXT_BYTES] = "", snapshot[GUID_TEXT_BYTES] = "";
	json_t *json;
	char *text;

	guid_format(&record->id, id);
	guid_format(&record->vm_uuid, uuid);
	if (record->has_point)
		guid_format(&record->point, point);
	if (record->has_snapshot)
		guid_format(&record->snapshot, snapshot);
	json = json_pack(
	    "{s:i, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, "
	    "s:I, s:s, s:s}",
	    "version", RECORD_VERSION, "id", id, "method", record->method, "vm",
	    record->vm, "uuid", uuid, "point", point, "snapshot", snapshot,
	    "owner", record->owner, "state", state_names[record->state], "boot",
	    boot, "begun_ms", (json_int_t)record->begun.ms, "begun_ns",
	    (json_int_t)record->begun.ns, "changed_ms",
	    (json_int_t)record->changed.ms, "changed_ns",
	    (json_int_t)record->changed.ns, "error",
	    record->code ? err_name(record->code) : "", "message",
	    record->message);
	text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	json_decref(json);
	return text;
}

struct texts {
	const char *id, *method, *vm, *uuid, *point, *owner, *state, *boot;
	const char *error, *message, *snapshot;
};

static bool is_remembered(const char *method)
{
	static const char *const methods[] = {"Create",  "Destroy", "Snapshot",
					      "Convert", "Drop",    "DropLog",
					      "Export",  "Import"};

	for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
		if (strcmp(methods[i], method) == 0)
			return true;
	return false;
}

/* "": none. */
static bool take_guid(const char *text, bool *ret_has, struct guid *ret_guid)
{
	*ret_has = *text;
	return !*text || guid_parse(text, ret_guid);
}

/* All that is not a number. */
static bool take_texts(const struct texts *t, struct record *record)
{
	unsigned state = 0;

	while (state <= RECORD_CANCELLED &&
	       strcmp(t->state, state_names[state]) != 0)
		state++;
	if (state > RECORD_CANCELLED || !guid_parse(t->id, &record->id) ||
	    !guid_parse(t->uuid, &record->vm_uuid) ||
	    !name_is_valid(t->vm, VM_NAME_BYTES) || !is_remembered(t->method) ||
	    !take_guid(t->point, &record->has_point, &record->point) ||
	    !take_guid(t->snapshot, &record->has_snapshot, &record->snapshot) ||
	    text_has_controls(t->owner) || text_has_controls(t->message))
		return false;
	record->state = (enum record_state)state;
	record->code = *t->error ? err_from_name(t->error) : 0;
	(void)strcpy(record->method, t->method);
	(void)strcpy(record->vm, t->vm);
	(void)strcpy(record->owner, t->owner);
	(void)strcpy(record->message, t->message);
	return true;
}

static int read_fields(json_t *json, struct record *record,
		       char ret_boot[GUID_TEXT_BYTES], struct err *err)
{
	struct texts t = {.snapshot = ""};
	uint64_t version = 0, begun = 0, changed = 0;
	const struct rpc_field fields[] = {
	    {"version", RPC_UINT, true, 0, &version, NULL},
	    {"id", RPC_STRING, true, GUID_TEXT_BYTES, &t.id, NULL},
	    {"method", RPC_STRING, true, JOB_METHOD_BYTES, &t.method, NULL},
	    {"vm", RPC_STRING, true, VM_NAME_BYTES, &t.vm, NULL},
	    {"uuid", RPC_STRING, true, GUID_TEXT_BYTES, &t.uuid, NULL},
	    {"point", RPC_STRING, true, GUID_TEXT_BYTES, &t.point, NULL},
	    {"snapshot", RPC_STRING, false, GUID_TEXT_BYTES, &t.snapshot, NULL},
	    {"owner", RPC_STRING, true, CALLER_NAME_BYTES, &t.owner, NULL},
	    {"state", RPC_STRING, true, 16, &t.state, NULL},
	    {"boot", RPC_STRING, true, GUID_TEXT_BYTES, &t.boot, NULL},
	    {"begun_ms", RPC_UINT, true, 0, &record->begun.ms, NULL},
	    {"begun_ns", RPC_UINT, true, 0, &begun, NULL},
	    {"changed_ms", RPC_UINT, true, 0, &record->changed.ms, NULL},
	    {"changed_ns", RPC_UINT, true, 0, &changed, NULL},
	    {"error", RPC_STRING, true, 64, &t.error, NULL},
	    {"message", RPC_STRING, true, ERR_TEXT_BYTES, &t.message, NULL},
	    {0}};
	int r = rpc_read_fields(json, fields, err);

	if (r < 0)
		return r;
	if (version != RECORD_VERSION || !take_texts(&t, record))
		return err_set(err, -RP_ECORRUPT, "its values are not ours");
	record->begun.ns = (int64_t)begun;
	record->changed.ns = (int64_t)changed;
	(void)strcpy(ret_boot, t.boot);
	return 0;
}

int record_parse(const char *text, size_t bytes, struct record *ret_record,
		 char ret_boot[GUID_TEXT_BYTES], struct err *err)
{
	json_error_t why;
	json_t *json = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &why);
	struct record record = {.told = false};
	int r;

	if (!json)
		return err_set(err, -RP_ECORRUPT, "%s", why.text);
	r = read_fields(json, &record, ret_boot, err);
	json_decref(json);
	if (r < 0 && err)
		err->code = -RP_ECORRUPT;
	if (r < 0)
		return -RP_ECORRUPT;
	*ret_record = record;
	return 0;
}
