/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scrub of logs: a closed one is gone through as any reader would, with the
 * checksums of all data, and so is its sidecar; of one that is written to, what
 * it begins with.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hrl/reader.h"
#include "log/internal.h"
#include "log/logs-internal.h"

struct checking {
	struct logs *logs;
	void (*fn)(void *arg, const struct vm_finding *finding);
	void *arg;
	uint64_t bytes;
	struct log_part_row *rows;
	uint32_t count;
};

static int64_t read_source(void *arg, void *buf, uint64_t bytes,
			   uint64_t offset, struct err *err)
{
	return file_read(arg, buf, bytes, offset, err);
}

static int note(void *arg, const struct log_part_row *row)
{
	struct checking *c = arg;

	if (c->count < LOG_PARTS_MAX)
		c->rows[c->count++] = *row;
	return 0;
}

struct asked {
	struct guid origin;
	bool found;
};

static int find(void *arg, const struct log_part_row *row)
{
	struct asked *asked = arg;

	asked->found |= guid_equal(&row->origin, &asked->origin);
	return 0;
}

/* It may have been removed while it was read. */
static bool is_there(struct checking *c, const struct guid *origin)
{
	struct asked asked = {.origin = *origin};

	return vm_log_parts(c->logs->vm, find, &asked, NULL) < 0 || asked.found;
}

static int check_data(struct checking *c, const struct log_files *files,
		      struct err *err)
{
	struct hrl_source source = {.read = read_source, .arg = files->data};
	struct hrl_reader *reader;
	struct hrl_write write;
	uint64_t bytes;
	int r = files->data->ops->size(files->data, &bytes, err);

	if (r == 0)
		r = hrl_reader_open(&source, bytes, files->head.bytes, 0,
				    &reader, err);
	if (r < 0)
		return r;
	while ((r = hrl_reader_next(reader, &write, err)) == 1) {
		if (!hrl_is_zeros(write.length, write.data_checksum))
			c->bytes += write.length;
		r = hrl_check_data(&source, &write, err);
		if (r < 0)
			break;
	}
	hrl_reader_free(reader);
	return r;
}

static int check_side(struct checking *c, const struct log_files *files,
		      bool *ret_closed, struct err *err)
{
	struct scan_mark begin = {
	    .end = HRL_FIRST_BYTES,
	    .sequence = files->head.first_sequence,
	    .time_ns = files->head.first_time_ns,
	};
	struct scan scan;
	int r = scan_records(&begin, files, &scan, NULL, NULL, err);

	if (r < 0)
		return r;
	c->bytes += scan.records * SIDECAR_RECORD_BYTES;
	*ret_closed = scan.closed;
	return 0;
}

/* OPEN: of the open point, which may have no end yet. */
static int check_one(struct checking *c, const struct guid *origin,
		     uint32_t disk, bool open, struct err *err)
{
	const struct vm_env *env = vm_environment(c->logs->vm);
	struct log_files files;
	bool closed = false;
	int r = log_files_open(env->store, &vm_system(c->logs->vm)->store,
			       origin, disk, &files, err);

	if (r < 0)
		return r;
	r = check_side(c, &files, &closed, err);
	if (r == 0 && !closed && !open)
		r = err_set(err, -RP_ECORRUPT, "its sidecar has no end");
	if (r == 0 && closed)
		r = check_data(c, &files, err);
	log_files_close(&files);
	return r;
}

static void check_part(struct checking *c, const struct guid *origin, bool open)
{
	for (uint32_t i = 0; i < c->logs->disks; i++) {
		struct vm_finding finding = {.damaged = true};
		struct err err = {0};

		if (check_one(c, origin, i, open, &err) >= 0 ||
		    !is_there(c, origin))
			continue;
		log_name(LOG_DATA, origin, i, finding.where);
		(void)snprintf(finding.message, sizeof(finding.message), "%s",
			       err.text);
		c->fn(c->arg, &finding);
	}
}

int logs_check(struct logs *logs,
	       void (*fn)(void *arg, const struct vm_finding *finding),
	       void *arg, uint64_t *ret_bytes, struct err *err)
{
	struct checking c = {.logs = logs, .fn = fn, .arg = arg};
	struct log_part_row *open_rows = NULL;
	struct guid open = {0};
	int r = logs_open_rows(logs, &open, &open_rows, err);

	free(open_rows);
	if (r < 0)
		return r;
	c.rows = malloc(LOG_PARTS_MAX * sizeof(*c.rows));
	if (!c.rows)
		return err_set(err, -ENOMEM, "logs");
	r = vm_log_parts(logs->vm, note, &c, err);
	for (uint32_t i = 0; r == 0 && i < c.count; i++)
		check_part(&c, &c.rows[i].origin,
			   guid_equal(&c.rows[i].point, &open));
	free(c.rows);
	*ret_bytes = c.bytes;
	return r;
}
