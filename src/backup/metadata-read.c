/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the documents: rpc_read_fields() refuses what is missing, unknown or
 * of another type, and is not asked for words, as those would quote.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "backup/metadata.h"
#include "common/hex.h"
#include "common/paths.h"
#include "common/rfc3339.h"
#include "rpc/rpc.h"

static const char config_name[] = METADATA_CONFIG_NAME;
static const char state_name[] = METADATA_STATE_NAME;

static int refuse(struct err *err, const char *document, const char *place)
{
	return err_set(err, -RP_EPARAM, "%s is none of ours: %s", document,
		       place);
}

static int refuse_nth(struct err *err, const char *document, const char *what,
		      size_t i)
{
	return err_set(err, -RP_EPARAM, "%s is none of ours: its %s %zu",
		       document, what, i + 1);
}

/* The last line, and that it is one. */
static bool ends_well(const char *text, size_t bytes)
{
	const size_t head = sizeof(METADATA_MAC_HEAD) - 1;
	const char *last = text + bytes - METADATA_LAST_BYTES;
	uint8_t mac[METADATA_MAC_BYTES];

	return bytes > METADATA_LAST_BYTES + 2 &&
	       memcmp(last - 2, ",\n", 2) == 0 &&
	       strncmp(last, METADATA_MAC_HEAD, head) == 0 &&
	       hex_parse(last + head, sizeof(mac), mac) &&
	       strcmp(last + head + 2 * sizeof(mac), METADATA_MAC_TAIL) == 0;
}

static int load(const char *document, const char *text, json_t **ret_json,
		struct err *err)
{
	size_t bytes = strlen(text);
	json_t *json;

	if (bytes > METADATA_BYTES_MAX)
		return err_set(err, -RP_EPARAM,
			       "%s has more than %u bytes, and is none of ours",
			       document, (unsigned)METADATA_BYTES_MAX);
	if (!ends_well(text, bytes))
		return refuse(err, document, "its last line");
	json = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(json)) {
		json_decref(json);
		return refuse(err, document, "it is no JSON object");
	}
	*ret_json = json;
	return 0;
}

/* ---- refpoint.json --------------------------------------------------------
 */

static bool read_guid(const char *text, struct guid *ret_guid)
{
	return guid_parse(text, ret_guid) && !guid_is_zero(ret_guid);
}

static bool read_size(uint64_t size)
{
	return size > 0 && size % SECTOR_BYTES == 0 && size <= DISK_BYTES_MAX;
}

static bool read_disk(struct metadata *m, unsigned i, json_t *json)
{
	struct metadata_disk *disk = &m->disks[i];
	const char *id = NULL;
	const struct rpc_field fields[] = {
	    {"id", RPC_STRING, true, DISK_ID_BYTES, &id, NULL},
	    {"size", RPC_UINT, true, 0, &disk->bytes, NULL},
	    {0}};

	if (rpc_read_fields(json, fields, NULL) < 0 ||
	    !name_is_valid(id, DISK_ID_BYTES) || !read_size(disk->bytes))
		return false;
	for (unsigned k = 0; k < i; k++)
		if (strcmp(m->disks[k].id, id) == 0)
			return false;
	(void)strcpy(disk->id, id);
	return true;
}

static int read_disks(struct metadata *m, json_t *disks, struct err *err)
{
	m->n_disks = (unsigned)json_array_size(disks);
	if (m->n_disks == 0)
		return refuse(err, config_name, "it has no disks");
	for (unsigned i = 0; i < m->n_disks; i++)
		if (!read_disk(m, i, json_array_get(disks, i)))
			return refuse_nth(err, config_name, "disk", i);
	return 0;
}

static bool read_point_disk(struct point_row *row, unsigned i, json_t *json)
{
	const char *tracking = NULL;
	const struct rpc_field fields[] = {{"tracking_id", RPC_STRING, true,
					    TRACKING_ID_BYTES, &tracking, NULL},
					   {"size", RPC_UINT, true, 0,
					    &row->bytes[i], NULL},
					   {0}};

	if (rpc_read_fields(json, fields, NULL) < 0 || !*tracking ||
	    text_has_controls(tracking) || !read_size(row->bytes[i]))
		return false;
	(void)strcpy(row->tracking_id[i], tracking);
	return true;
}

/* One of the two, at most. */
static bool choose(const char *text, const char *a, uint32_t is_a,
		   const char *b, uint32_t is_b, uint32_t *ret_value)
{
	*ret_value = strcmp(text, a) == 0 ? is_a : is_b;
	return *ret_value == is_a || strcmp(text, b) == 0;
}

static bool read_point(const struct metadata *m, struct point_row *row,
		       json_t *json)
{
	const char *id = NULL, *type = NULL, *level = NULL, *label = NULL;
	const char *created = NULL;
	json_t *disks = NULL;
	const struct rpc_field fields[] = {
	    {"id", RPC_STRING, true, GUID_TEXT_BYTES, &id, NULL},
	    {"type", RPC_STRING, true, 8, &type, NULL},
	    {"consistency", RPC_STRING, true, 16, &level, NULL},
	    {"label", RPC_STRING, true, LABEL_BYTES, &label, NULL},
	    {"created", RPC_STRING, true, TIME_TEXT_BYTES, &created, NULL},
	    {"disks", RPC_ARRAY, true, DISKS_PER_VM_MAX, &disks, NULL},
	    {0}};

	if (rpc_read_fields(json, fields, NULL) < 0 ||
	    !read_guid(id, &row->id) || text_has_controls(label) ||
	    !choose(type, "log", POINT_LOG, "rct", POINT_RCT, &row->type) ||
	    !choose(level, "crash", CONSISTENCY_CRASH, "application",
		    CONSISTENCY_APPLICATION, &row->consistency) ||
	    !time_parse(created, &row->created_ns) ||
	    json_array_size(disks) != m->n_disks)
		return false;
	(void)strcpy(row->label, label);
	row->disks = m->n_disks;
	for (unsigned i = 0; i < m->n_disks; i++)
		if (!read_point_disk(row, i, json_array_get(disks, i)))
			return false;
	return true;
}

static bool is_known(const struct metadata *m, unsigned n,
		     const struct guid *id)
{
	for (unsigned i = 0; i < n; i++)
		if (guid_equal(&m->points[i].id, id))
			return true;
	return false;
}

static int read_points(struct metadata *m, json_t *points, struct err *err)
{
	size_t n = json_array_size(points);

	if (n == 0)
		return refuse(err, config_name, "it has no points");
	m->points = calloc(n, sizeof(*m->points));
	if (!m->points)
		return err_set(err, -ENOMEM, "metadata");
	for (unsigned i = 0; i < n; i++) {
		struct point_row *row = &m->points[i];

		if (!read_point(m, row, json_array_get(points, i)) ||
		    is_known(m, i, &row->id))
			return refuse_nth(err, config_name, "point", i);
	}
	m->n_points = (unsigned)n;
	return 0;
}

/* The exported point: of these disks, and the last one. */
static int check_last(const struct metadata *m, const struct guid *id,
		      struct err *err)
{
	const struct point_row *last = &m->points[m->n_points - 1];

	if (!guid_equal(&last->id, id) || last->type != POINT_LOG)
		return refuse(err, config_name, "the point that it is of");
	for (unsigned i = 0; i < m->n_disks; i++)
		if (last->bytes[i] != m->disks[i].bytes)
			return refuse_nth(err, config_name, "disk", i);
	if (!is_known(m, m->n_points - 1, &m->base))
		return refuse(err, config_name, "its base");
	return 0;
}

static int read_config(struct metadata *m, json_t *json, struct err *err)
{
	const char *content = NULL, *vm = NULL, *uuid = NULL, *id = NULL;
	const char *base = NULL, *mac = NULL;
	json_t *disks = NULL, *points = NULL;
	uint64_t version = 0;
	const struct rpc_field fields[] = {
	    {"version", RPC_UINT, true, 0, &version, NULL},
	    {"content", RPC_STRING, true, 16, &content, NULL},
	    {"vm", RPC_STRING, true, VM_NAME_BYTES, &vm, NULL},
	    {"uuid", RPC_STRING, true, GUID_TEXT_BYTES, &uuid, NULL},
	    {"id", RPC_STRING, true, GUID_TEXT_BYTES, &id, NULL},
	    {"base", RPC_STRING, true, GUID_TEXT_BYTES, &base, NULL},
	    {"disks", RPC_ARRAY, true, DISKS_PER_VM_MAX, &disks, NULL},
	    {"points", RPC_ARRAY, true, POINTS_PER_VM_MAX, &points, NULL},
	    {"mac", RPC_STRING, true, 0, &mac, NULL},
	    {0}};
	struct guid point;
	int r;

	if (rpc_read_fields(json, fields, NULL) < 0)
		return refuse(err, config_name, "its members");
	if (version != METADATA_VERSION || strcmp(content, "logs") != 0)
		return refuse(err, config_name, "its version or content");
	if (!name_is_valid(vm, VM_NAME_BYTES) || !read_guid(uuid, &m->uuid) ||
	    !read_guid(id, &point) || !read_guid(base, &m->base))
		return refuse(err, config_name, "its names");
	(void)strcpy(m->vm, vm);
	r = read_disks(m, disks, err);
	if (r == 0)
		r = read_points(m, points, err);
	return r < 0 ? r : check_last(m, &point, err);
}

/* ---- refpoint-state.json --------------------------------------------------
 */

/* No path: it stays in the directory. */
static bool read_file(const char *text, char ret_name[METADATA_NAME_BYTES])
{
	if (!name_is_valid(text, METADATA_NAME_BYTES))
		return false;
	(void)strcpy(ret_name, text);
	return true;
}

static bool read_log(struct metadata_log *log, json_t *json)
{
	const char *file = NULL, *sidecar = NULL, *id = NULL, *previous = NULL;
	const struct rpc_field fields[] = {
	    {"file", RPC_STRING, true, METADATA_NAME_BYTES, &file, NULL},
	    {"sidecar", RPC_STRING, true, METADATA_NAME_BYTES, &sidecar, NULL},
	    {"id", RPC_STRING, true, GUID_TEXT_BYTES, &id, NULL},
	    {"previous", RPC_STRING, true, GUID_TEXT_BYTES, &previous, NULL},
	    {"bytes", RPC_UINT, true, 0, &log->bytes, NULL},
	    {0}};

	return rpc_read_fields(json, fields, NULL) == 0 &&
	       read_file(file, log->file) && read_file(sidecar, log->sidecar) &&
	       guid_parse(id, &log->id) && guid_parse(previous, &log->previous);
}

static bool read_logs(struct metadata_disk *disk, json_t *logs)
{
	size_t n = json_array_size(logs);

	disk->logs = calloc(n + 1, sizeof(*disk->logs));
	if (!disk->logs)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!read_log(&disk->logs[i], json_array_get(logs, i)))
			return false;
	disk->n_logs = (unsigned)n;
	return true;
}

static bool read_disk_state(struct metadata *m, unsigned *next, json_t *json)
{
	const char *id = NULL, *hash = NULL;
	struct metadata_disk *disk;
	json_t *logs = NULL;
	const struct rpc_field fields[] = {
	    {"id", RPC_STRING, true, DISK_ID_BYTES, &id, NULL},
	    {"hash", RPC_STRING, false, 2 * METADATA_HASH_BYTES + 1, &hash,
	     NULL},
	    {"logs", RPC_ARRAY, true, METADATA_LOGS_MAX, &logs, NULL},
	    {0}};

	if (rpc_read_fields(json, fields, NULL) < 0)
		return false;
	while (*next < m->n_disks && strcmp(m->disks[*next].id, id) != 0)
		(*next)++;
	if (*next == m->n_disks)
		return false;
	disk = &m->disks[(*next)++];
	disk->exported = true;
	disk->hashed = hash;
	if (hash && (strlen(hash) != 2 * METADATA_HASH_BYTES ||
		     !hex_parse(hash, METADATA_HASH_BYTES, disk->hash)))
		return false;
	return read_logs(disk, logs);
}

static int read_state(struct metadata *m, json_t *json, struct err *err)
{
	const char *id = NULL, *mac = NULL;
	json_t *disks = NULL;
	uint64_t version = 0;
	unsigned next = 0;
	const struct rpc_field fields[] = {
	    {"version", RPC_UINT, true, 0, &version, NULL},
	    {"id", RPC_STRING, true, GUID_TEXT_BYTES, &id, NULL},
	    {"disks", RPC_ARRAY, true, DISKS_PER_VM_MAX, &disks, NULL},
	    {"mac", RPC_STRING, true, 0, &mac, NULL},
	    {0}};
	struct guid point;

	if (rpc_read_fields(json, fields, NULL) < 0)
		return refuse(err, state_name, "its members");
	if (version != METADATA_VERSION)
		return refuse(err, state_name, "its version");
	if (!guid_parse(id, &point) ||
	    !guid_equal(&point, &m->points[m->n_points - 1].id))
		return refuse(err, state_name,
			      "it is of another point than the other document");
	for (size_t i = 0; i < json_array_size(disks); i++)
		if (!read_disk_state(m, &next, json_array_get(disks, i)))
			return refuse_nth(err, state_name, "disk", i);
	return 0;
}

/* ---- Both -----------------------------------------------------------------
 */

int metadata_read(const char *config, const char *state,
		  struct metadata **ret_metadata, struct err *err)
{
	struct metadata *m = calloc(1, sizeof(*m));
	json_t *first = NULL, *second = NULL;
	int r = m ? load(config_name, config, &first, err)
		  : err_set(err, -ENOMEM, "metadata");

	if (r == 0)
		r = load(state_name, state, &second, err);
	if (r == 0)
		r = read_config(m, first, err);
	if (r == 0)
		r = read_state(m, second, err);
	json_decref(first);
	json_decref(second);
	if (r < 0)
		metadata_free(m);
	else
		*ret_metadata = m;
	return r;
}
