/* SPDX-License-Identifier: Apache-2.0 */
#include "inventory/points.h"

#include <stdlib.h>
#include <string.h>

#include "common/limits.h"
#include "common/paths.h"
#include "rpc/rpc.h"

#define CREATED_BYTES 40  /* RFC 3339 */
#define URI_BYTES     512 /* a socket's name has at most 108, and escapes */

static int check_disk(json_t *json, struct err *err)
{
	const char *id = NULL, *tracking = NULL;
	const struct rpc_field fields[] = {{"id", RPC_STRING, true,
					    DISK_ID_BYTES, &id, NULL},
					   {"tracking_id", RPC_STRING, true,
					    TRACKING_ID_BYTES, &tracking, NULL},
					   {0}};
	int r = rpc_read_fields(json, fields, err);

	if (r < 0)
		return r;
	if (!name_is_valid(id, DISK_ID_BYTES) || text_has_controls(tracking))
		return err_set(err, -RP_EWIRE, "a disk of it");
	return 0;
}

static bool one_of(const char *text, const char *a, const char *b)
{
	return strcmp(text, a) == 0 || strcmp(text, b) == 0;
}

static int check_log(json_t *json, struct err *err)
{
	const char *state = NULL, *reason = NULL;
	uint64_t bytes = 0, parts = 0;
	const struct rpc_field fields[] = {
	    {"state", RPC_STRING, true, 8, &state, NULL},
	    {"reason", RPC_STRING, true, REASON_BYTES, &reason, NULL},
	    {"bytes", RPC_UINT, true, 0, &bytes, NULL},
	    {"parts", RPC_UINT, true, 0, &parts, NULL},
	    {0}};
	int r = rpc_read_fields(json, fields, err);

	if (r < 0)
		return r;
	if ((!one_of(state, "open", "closed") && strcmp(state, "gone") != 0) ||
	    text_has_controls(reason))
		return err_set(err, -RP_EWIRE, "its log");
	return 0;
}

static int check_point(json_t *json, struct guid *ret_id, bool *ret_log,
		       struct err *err)
{
	const char *id = NULL, *type = NULL, *level = NULL, *label = NULL;
	const char *created = NULL, *invalid = "";
	json_t *disks = NULL, *log = NULL;
	const struct rpc_field fields[] = {
	    {"id", RPC_STRING, true, GUID_TEXT_BYTES, &id, NULL},
	    {"type", RPC_STRING, true, 8, &type, NULL},
	    {"consistency", RPC_STRING, true, 16, &level, NULL},
	    {"label", RPC_STRING, true, LABEL_BYTES, &label, NULL},
	    {"created", RPC_STRING, true, CREATED_BYTES, &created, NULL},
	    {"log", RPC_OBJECT, false, 0, &log, NULL},
	    {"invalid", RPC_STRING, false, REASON_BYTES, &invalid, NULL},
	    {"disks", RPC_ARRAY, true, DISKS_PER_VM_MAX, &disks, NULL},
	    {0}};
	int r = rpc_read_fields(json, fields, err);

	if (r == 0 && log)
		r = check_log(log, err);
	if (r < 0)
		return r;
	*ret_log = strcmp(type, "log") == 0;
	if (!guid_parse(id, ret_id) || !one_of(type, "rct", "log") ||
	    *ret_log != (log != NULL) ||
	    !one_of(level, "crash", "application") ||
	    text_has_controls(label) || text_has_controls(created) ||
	    text_has_controls(invalid))
		return err_set(err, -RP_EWIRE, "its values");
	for (size_t i = 0; r == 0 && i < json_array_size(disks); i++)
		r = check_disk(json_array_get(disks, i), err);
	return r;
}

const struct inventory_point *
inventory_points_find(const struct inventory_points *points,
		      const struct guid *id)
{
	for (unsigned i = 0; i < points->n; i++)
		if (guid_equal(&points->list[i].id, id))
			return &points->list[i];
	return NULL;
}

/* TEXT, which is for free(3) or NULL, is taken over. */
static int append(struct inventory_points *points, const struct guid *id,
		  bool log, char *text)
{
	struct inventory_point *list =
	    text ? reallocarray(points->list, points->n + 1, sizeof(*list))
		 : NULL;

	if (!list) {
		free(text);
		return -ENOMEM;
	}
	points->list = list;
	list[points->n++] = (struct inventory_point){
	    .id = *id, .log = log, .text = text, .bytes = strlen(text)};
	return 0;
}

int inventory_points_add(struct inventory_points *points, json_t *point,
			 struct err *err)
{
	struct guid id;
	bool log;
	int r = check_point(point, &id, &log, err);

	if (r < 0) {
		(void)err_wrap(err, "a point");
		if (err)
			err->code = -RP_EWIRE;
		return -RP_EWIRE;
	}
	if (inventory_points_find(points, &id))
		return 0;
	if (points->n >= POINTS_PER_VM_MAX)
		return err_set(err, -RP_ELIMIT, "more than %d points",
			       POINTS_PER_VM_MAX);
	r = append(points, &id, log, json_dumps(point, JSON_COMPACT));
	return r < 0 ? err_set(err, r, "a point") : 0;
}

static int replace_log(struct inventory_point *p, const json_t *log)
{
	json_t *point = json_loadb(p->text, p->bytes, 0, NULL);
	char *text = NULL;

	if (json_object_set(point, "log", (json_t *)log) == 0)
		text = json_dumps(point, JSON_COMPACT);
	json_decref(point);
	if (!text)
		return -ENOMEM;
	free(p->text);
	p->text = text;
	p->bytes = strlen(text);
	return 0;
}

int inventory_points_note_log(struct inventory_points *points,
			      const struct guid *id, json_t *log,
			      struct err *err)
{
	int r = check_log(log, err);

	if (r < 0) {
		(void)err_wrap(err, "a point's log");
		if (err)
			err->code = -RP_EWIRE;
		return -RP_EWIRE;
	}
	for (unsigned i = 0; r == 0 && i < points->n; i++)
		if (points->list[i].log && guid_equal(&points->list[i].id, id))
			r = replace_log(&points->list[i], log);
	return r < 0 ? err_set(err, r, "a point's log") : 0;
}

/* ---- Snapshots -------------------------------------------------------------
 */

static int check_snapshot_disk(json_t *json, struct err *err)
{
	const char *id = NULL, *tracking = NULL, *uri = "";
	uint64_t size = 0, scratch = 0;
	const struct rpc_field fields[] = {
	    {"id", RPC_STRING, true, DISK_ID_BYTES, &id, NULL},
	    {"size", RPC_UINT, true, 0, &size, NULL},
	    {"tracking_id", RPC_STRING, true, TRACKING_ID_BYTES, &tracking,
	     NULL},
	    {"nbd_uri", RPC_STRING, false, URI_BYTES, &uri, NULL},
	    {"scratch_bytes", RPC_UINT, true, 0, &scratch, NULL},
	    {0}};
	int r = rpc_read_fields(json, fields, err);

	if (r < 0)
		return r;
	if (!name_is_valid(id, DISK_ID_BYTES) || text_has_controls(tracking) ||
	    text_has_controls(uri))
		return err_set(err, -RP_EWIRE, "a disk of it");
	return 0;
}

static int check_snapshot(json_t *json, struct guid *ret_id, struct err *err)
{
	const char *id = NULL, *vm = NULL, *level = NULL, *label = NULL;
	const char *created = NULL, *state = NULL, *reason = NULL;
	uint64_t limit = 0;
	json_t *disks = NULL;
	const struct rpc_field fields[] = {
	    {"id", RPC_STRING, true, GUID_TEXT_BYTES, &id, NULL},
	    {"vm", RPC_STRING, true, VM_NAME_BYTES, &vm, NULL},
	    {"consistency", RPC_STRING, true, 16, &level, NULL},
	    {"label", RPC_STRING, true, LABEL_BYTES, &label, NULL},
	    {"created", RPC_STRING, true, CREATED_BYTES, &created, NULL},
	    {"state", RPC_STRING, true, 16, &state, NULL},
	    {"reason", RPC_STRING, true, REASON_BYTES, &reason, NULL},
	    {"limit_bytes", RPC_UINT, true, 0, &limit, NULL},
	    {"disks", RPC_ARRAY, true, DISKS_PER_VM_MAX, &disks, NULL},
	    {0}};
	int r = rpc_read_fields(json, fields, err);

	if (r < 0)
		return r;
	if (!guid_parse(id, ret_id) || !name_is_valid(vm, VM_NAME_BYTES) ||
	    !one_of(level, "crash", "application") ||
	    !one_of(state, "valid", "invalid") || text_has_controls(label) ||
	    text_has_controls(created) || text_has_controls(reason))
		return err_set(err, -RP_EWIRE, "its values");
	for (size_t i = 0; r == 0 && i < json_array_size(disks); i++)
		r = check_snapshot_disk(json_array_get(disks, i), err);
	return r;
}

/* TEXT, for free(3), is taken over. */
static void replace(struct inventory_points *points, const struct guid *id,
		    char *text)
{
	for (unsigned i = 0; i < points->n; i++) {
		struct inventory_point *p = &points->list[i];

		if (!guid_equal(&p->id, id))
			continue;
		free(p->text);
		p->text = text;
		p->bytes = strlen(text);
		return;
	}
	free(text);
}

int inventory_snapshots_add(struct inventory_points *snapshots,
			    json_t *snapshot, struct err *err)
{
	struct guid id;
	char *text;
	int r = check_snapshot(snapshot, &id, err);

	if (r < 0) {
		(void)err_wrap(err, "a snapshot");
		if (err)
			err->code = -RP_EWIRE;
		return -RP_EWIRE;
	}
	text = json_dumps(snapshot, JSON_COMPACT);
	if (text && inventory_points_find(snapshots, &id)) {
		replace(snapshots, &id, text);
		return 0;
	}
	if (text && snapshots->n >= SNAPSHOTS_PER_VM_MAX) {
		free(text);
		return err_set(err, -RP_ELIMIT, "more than %d snapshots",
			       SNAPSHOTS_PER_VM_MAX);
	}
	r = append(snapshots, &id, false, text);
	return r < 0 ? err_set(err, r, "a snapshot") : 0;
}

/* ---- Without a parser ------------------------------------------------------
 */

static bool take(const char **at, const char *text)
{
	size_t n = strlen(text);

	if (strncmp(*at, text, n) != 0)
		return false;
	*at += n;
	return true;
}

/* What needs no escape, shorter than MAX, up to the quote, and that. */
static bool take_plain(const char **at, size_t max)
{
	const char *p = *at;

	while (*p >= 0x20 && *p < 0x7f && *p != '"' && *p != '\\')
		p++;
	if (*p != '"' || (size_t)(p - *at) >= max)
		return false;
	*at = p + 1;
	return true;
}

static bool take_guid(const char **at, struct guid *ret_guid)
{
	char text[GUID_TEXT_BYTES] = "";

	memcpy(text, *at, strnlen(*at, sizeof(text) - 1));
	if (!guid_parse(text, ret_guid))
		return false;
	*at += sizeof(text) - 1;
	return true;
}

static bool take_disk(const char **at)
{
	char id[DISK_ID_BYTES] = "";
	const char *begin;

	if (!take(at, "{\"id\":\""))
		return false;
	begin = *at;
	if (!take_plain(at, DISK_ID_BYTES))
		return false;
	memcpy(id, begin, (size_t)(*at - 1 - begin));
	return name_is_valid(id, sizeof(id)) &&
	       take(at, ",\"tracking_id\":\"") &&
	       take_plain(at, TRACKING_ID_BYTES) && take(at, "}");
}

static bool take_disks(const char **at)
{
	unsigned n = 0;

	if (take(at, "]"))
		return true;
	do
		if (n++ >= DISKS_PER_VM_MAX || !take_disk(at))
			return false;
	while (take(at, ","));
	return take(at, "]");
}

/* Without leading zeros, as JSON has it; at most 2^63 - 1, nearly. */
static bool take_number(const char **at)
{
	size_t n = strspn(*at, "0123456789");

	if (n == 0 || n > 18 || (n > 1 && **at == '0'))
		return false;
	*at += n;
	return true;
}

static bool take_log(const char **at)
{
	return take(at, "{\"state\":\"") &&
	       (take(at, "open\"") || take(at, "closed\"") ||
		take(at, "gone\"")) &&
	       take(at, ",\"reason\":\"") && take_plain(at, REASON_BYTES) &&
	       take(at, ",\"bytes\":") && take_number(at) &&
	       take(at, ",\"parts\":") && take_number(at) && take(at, "}");
}

/* It may be left out. */
static bool take_invalid(const char **at)
{
	if (!take(at, ",\"invalid\":"))
		return true;
	return take(at, "null") ||
	       (take(at, "\"") && take_plain(at, REASON_BYTES));
}

static bool take_point(const char **at, struct guid *ret_id, bool *ret_log)
{
	if (!take(at, "{\"id\":\"") || !take_guid(at, ret_id) ||
	    !take(at, "\",\"type\":\""))
		return false;
	*ret_log = take(at, "log\"");
	return (*ret_log || take(at, "rct\"")) &&
	       take(at, ",\"consistency\":\"") &&
	       (take(at, "crash\"") || take(at, "application\"")) &&
	       take(at, ",\"label\":\"") && take_plain(at, LABEL_BYTES) &&
	       take(at, ",\"created\":\"") && take_plain(at, CREATED_BYTES) &&
	       (*ret_log ? take(at, ",\"log\":") && take_log(at)
			 : take(at, ",\"log\":null") || true) &&
	       take_invalid(at) && take(at, ",\"disks\":[") && take_disks(at) &&
	       take(at, "}");
}

bool inventory_points_scan(struct inventory_points *points, const char **text)
{
	const char *at = *text;
	struct guid id;
	bool log;

	if (points->n >= POINTS_PER_VM_MAX || !take_point(&at, &id, &log) ||
	    inventory_points_find(points, &id) ||
	    append(points, &id, log, strndup(*text, (size_t)(at - *text))) < 0)
		return false;
	*text = at;
	return true;
}

void inventory_points_remove(struct inventory_points *points,
			     const struct guid *id)
{
	for (unsigned i = 0; i < points->n; i++) {
		if (!guid_equal(&points->list[i].id, id))
			continue;
		free(points->list[i].text);
		points->n--;
		memmove(&points->list[i], &points->list[i + 1],
			(points->n - i) * sizeof(*points->list));
		return;
	}
}

void inventory_points_done(struct inventory_points *points)
{
	for (unsigned i = 0; i < points->n; i++)
		free(points->list[i].text);
	free(points->list);
	*points = (struct inventory_points){0};
}
