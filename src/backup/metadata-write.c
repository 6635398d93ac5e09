/* SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/metadata.h"
#include "common/hex.h"
#include "common/rfc3339.h"

struct metadata *metadata_free(struct metadata *metadata)
{
	if (!metadata)
		return NULL;
	for (unsigned i = 0; i < DISKS_PER_VM_MAX; i++)
		free(metadata->disks[i].logs);
	free(metadata->points);
	free(metadata);
	return NULL;
}

/* ---- As JSON --------------------------------------------------------------
 */

static json_t *guid_json(const struct guid *guid)
{
	char text[GUID_TEXT_BYTES];

	guid_format(guid, text);
	return json_string(text);
}

static json_t *point_json(const struct point_row *row)
{
	char created[TIME_TEXT_BYTES];
	json_t *disks = json_array();

	time_format(row->created_ns, created);
	for (uint32_t i = 0; i < row->disks; i++)
		(void)json_array_append_new(
		    disks,
		    json_pack("{s:s, s:I}", "tracking_id", row->tracking_id[i],
			      "size", (json_int_t)row->bytes[i]));
	return json_pack(
	    "{s:o, s:s, s:s, s:s, s:s, s:o}", "id", guid_json(&row->id), "type",
	    row->type == POINT_LOG ? "log" : "rct", "consistency",
	    row->consistency == CONSISTENCY_CRASH ? "crash" : "application",
	    "label", row->label, "created", created, "disks", disks);
}

static json_t *logs_json(const struct metadata_disk *disk)
{
	json_t *logs = json_array();

	for (unsigned i = 0; i < disk->n_logs; i++) {
		const struct metadata_log *log = &disk->logs[i];

		(void)json_array_append_new(
		    logs, json_pack("{s:s, s:s, s:o, s:o, s:I}", "file",
				    log->file, "sidecar", log->sidecar, "id",
				    guid_json(&log->id), "previous",
				    guid_json(&log->previous), "bytes",
				    (json_int_t)log->bytes));
	}
	return logs;
}

static json_t *disk_state_json(const struct metadata_disk *disk)
{
	char hash[2 * METADATA_HASH_BYTES + 1];

	hex_format(disk->hash, sizeof(disk->hash), hash);
	return json_pack("{s:s, s:s?, s:o}", "id", disk->id, "hash",
			 disk->hashed ? hash : NULL, "logs", logs_json(disk));
}

static json_t *disks_json(const struct metadata *m)
{
	json_t *disks = json_array();

	for (unsigned i = 0; i < m->n_disks; i++)
		(void)json_array_append_new(
		    disks, json_pack("{s:s, s:I}", "id", m->disks[i].id, "size",
				     (json_int_t)m->disks[i].bytes));
	return disks;
}

/* ---- As text --------------------------------------------------------------
 */

struct text {
	FILE *file;
	char *at;
	size_t bytes;
};

/* VALUE, taken over, behind BEFORE; false: no memory. */
static bool put(struct text *text, const char *before, json_t *value)
{
	bool good =
	    value && fputs(before, text->file) >= 0 &&
	    json_dumpf(value, text->file, JSON_COMPACT | JSON_ENCODE_ANY) == 0;

	json_decref(value);
	return good;
}

/* For free(3); NULL: it is more than fits, or, with *RET_CODE -ENOMEM, no
 * memory. */
static char *finish(struct text *text, bool good, int *ret_code)
{
	good = fflush(text->file) == 0 && !ferror(text->file) && good;
	(void)fclose(text->file);
	*ret_code = good ? -RP_ELIMIT : -ENOMEM;
	if (good && text->bytes + METADATA_LAST_BYTES <= METADATA_BYTES_MAX)
		return text->at;
	free(text->at);
	return NULL;
}

static bool put_head(struct text *text, const struct metadata *m)
{
	const struct guid *id = &m->points[m->n_points - 1].id;

	return put(text, "{\n\"version\":", json_integer(METADATA_VERSION)) &&
	       put(text, ",\n\"content\":", json_string("logs")) &&
	       put(text, ",\n\"vm\":", json_string(m->vm)) &&
	       put(text, ",\n\"uuid\":", guid_json(&m->uuid)) &&
	       put(text, ",\n\"id\":", guid_json(id)) &&
	       put(text, ",\n\"base\":", guid_json(&m->base)) &&
	       put(text, ",\n\"disks\":", disks_json(m));
}

static bool is_needed(const struct metadata *m, unsigned i)
{
	return i + 1 == m->n_points || guid_equal(&m->points[i].id, &m->base);
}

/* What the document is without its points, nearly, and with its last line. */
#define REST_BYTES (DISKS_PER_VM_MAX * (DISK_ID_BYTES + 48) + 1024)

/* TEXTS: of the points; the oldest that do not fit are none any more. */
static void leave_out(const struct metadata *m, char **texts)
{
	size_t bytes = REST_BYTES;

	for (unsigned i = 0; i < m->n_points; i++)
		bytes += strlen(texts[i]) + 2;
	for (unsigned i = 0; i < m->n_points && bytes > METADATA_BYTES_MAX;
	     i++) {
		if (is_needed(m, i))
			continue;
		bytes -= strlen(texts[i]) + 2;
		free(texts[i]);
		texts[i] = NULL;
	}
}

static bool make_points(const struct metadata *m, char **texts)
{
	for (unsigned i = 0; i < m->n_points; i++) {
		json_t *json = point_json(&m->points[i]);

		texts[i] = json ? json_dumps(json, JSON_COMPACT) : NULL;
		json_decref(json);
		if (!texts[i])
			return false;
	}
	return true;
}

static bool put_points(struct text *text, const struct metadata *m,
		       char **texts)
{
	const char *before = ",\n\"points\":[\n";

	for (unsigned i = 0; i < m->n_points; i++) {
		if (!texts[i])
			continue;
		if (fputs(before, text->file) < 0 ||
		    fputs(texts[i], text->file) < 0)
			return false;
		before = ",\n";
	}
	return fputs("],\n", text->file) >= 0;
}

static char *write_config(const struct metadata *m, int *ret_code)
{
	char **texts = calloc(m->n_points, sizeof(*texts));
	struct text text = {0};
	char *whole = NULL;
	bool good;

	*ret_code = -ENOMEM;
	if (texts)
		text.file = open_memstream(&text.at, &text.bytes);
	if (text.file) {
		good = make_points(m, texts);
		if (good)
			leave_out(m, texts);
		good =
		    good && put_head(&text, m) && put_points(&text, m, texts);
		whole = finish(&text, good, ret_code);
	}
	for (unsigned i = 0; texts && i < m->n_points; i++)
		free(texts[i]);
	free(texts);
	return whole;
}

static char *write_state(const struct metadata *m, int *ret_code)
{
	const struct guid *id = &m->points[m->n_points - 1].id;
	const char *before = ",\n\"disks\":[\n";
	struct text text = {0};
	bool good;

	*ret_code = -ENOMEM;
	text.file = open_memstream(&text.at, &text.bytes);
	if (!text.file)
		return NULL;
	good = put(&text, "{\n\"version\":", json_integer(METADATA_VERSION)) &&
	       put(&text, ",\n\"id\":", guid_json(id));
	for (unsigned i = 0; good && i < m->n_disks; i++) {
		if (!m->disks[i].exported)
			continue;
		good = put(&text, before, disk_state_json(&m->disks[i]));
		before = ",\n";
	}
	return finish(&text, good && fputs("],\n", text.file) >= 0, ret_code);
}

int metadata_write(const struct metadata *m, char **ret_config,
		   char **ret_state, struct err *err)
{
	int code;
	char *config = write_config(m, &code), *state = NULL;

	if (config)
		state = write_state(m, &code);
	if (!state) {
		free(config);
		return code == -RP_ELIMIT
			   ? err_set(err, code,
				     "what is to be said of the logs is more "
				     "than %u bytes: export fewer disks at a "
				     "time",
				     (unsigned)METADATA_BYTES_MAX)
			   : err_set(err, code, "metadata");
	}
	*ret_config = config;
	*ret_state = state;
	return 0;
}
