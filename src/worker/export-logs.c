/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exports of logs: those of each disk from one log-based point to another, byte
 * for byte.  They are closed and nobody writes to them, so nothing is asked of
 * the disks, which need not be served.
 *
 * The caller first asks what there is (no file comes with that), makes the
 * files, and says with them which logs they are for: what has changed meanwhile
 * is found here, and not in a directory that holds something else.
 */
#include <stdlib.h>
#include <string.h>

#include "backup/file-source.h"
#include "backup/metadata.h"
#include "common/cleanup.h"
#include "hrl/hrl.h"
#include "log/logs.h"
#include "worker/export-internal.h"

bool export_logs_default(struct worker *worker, const struct guid *source)
{
	struct logs_info info;

	return logs_find(worker->logs, source, &info, NULL) == 0 &&
	       info.state != LOGS_GONE;
}

/* ---- What there is --------------------------------------------------------
 */

static int read_ids(struct export_log *log, struct err *err)
{
	uint8_t bytes[HRL_HEADER_BYTES];
	struct hrl_header header;
	int64_t n = file_read(log->log, bytes, sizeof(bytes), 0, err);
	int r = n < 0 ? (int)n : 0;

	if (r == 0 && n < (int64_t)sizeof(bytes))
		r = err_set(err, -RP_ECORRUPT, "it has no whole header");
	if (r == 0)
		r = hrl_header_decode(bytes, &header, err);
	if (r < 0)
		return r;
	log->id = header.id;
	log->previous = header.previous;
	return 0;
}

static int read_log(struct export_log *log, const char *disk, struct err *err)
{
	char id[GUID_TEXT_BYTES];
	int r = log->log->ops->size(log->log, &log->bytes, err);

	if (r == 0)
		r = log->side->ops->size(log->side, &log->side_bytes, err);
	if (r == 0)
		r = read_ids(log, err);
	if (r == 0)
		return 0;
	guid_format(&log->origin, id);
	return err_wrap(err, "the log of disk '%s' from point %s on", disk, id);
}

/* Takes FILES over, which lie behind what there is. */
static int add_all(struct export_logs *logs, const struct logs_file *files,
		   unsigned n, const char *disk, struct err *err)
{
	int r = 0;

	if (logs->n + n > EXPORT_LOGS_MAX) {
		for (unsigned i = 0; i < n; i++) {
			file_close(files[i].log);
			file_close(files[i].side);
		}
		return err_set(err, -RP_ELIMIT,
			       "an export has at most %d files, two of each "
			       "log, and these are more: export fewer disks at "
			       "a time (--disk), or from a nearer point "
			       "(--base)",
			       EXPORT_FILES_MAX);
	}
	for (unsigned i = 0; i < n; i++)
		logs->list[logs->n + i] =
		    (struct export_log){.origin = files[i].origin,
					.log = files[i].log,
					.side = files[i].side};
	logs->n += n;
	for (unsigned i = logs->n - n; r == 0 && i < logs->n; i++)
		r = read_log(&logs->list[i], disk, err);
	return r;
}

/* The chain of disk ORDINAL; BASE is NULL where it is to be found. */
static int open_chain(struct export *x, uint32_t ordinal,
		      const struct guid *base, struct guid *ret_base,
		      struct logs_file **ret_files, unsigned *ret_n,
		      struct err *err)
{
	return logs_open_chain(x->worker->logs, ordinal, base,
			       &x->request.source, ret_base, ret_files, ret_n,
			       err);
}

static const struct guid *base_of(const struct export *x)
{
	return x->request.has_base ? &x->request.base : NULL;
}

static int open_disk(struct export *x, unsigned i, struct err *err)
{
	_cleanup_free_ struct logs_file *files = NULL;
	struct guid base;
	unsigned n = 0;
	int r = open_chain(x, x->sources[i].ordinal, base_of(x), &base, &files,
			   &n, err);

	if (r < 0)
		return r;
	x->request.base = base;
	x->request.has_base = true;
	r = add_all(x->logs, files, n, x->request.disks[i], err);
	x->logs->first[i + 1] = x->logs->n;
	return r;
}

/* No disk is asked for: only where the export would begin. */
static int find_base(struct export *x, struct err *err)
{
	_cleanup_free_ struct logs_file *files = NULL;
	struct guid base;
	unsigned n = 0;
	int r = open_chain(x, 0, base_of(x), &base, &files, &n, err);

	if (r < 0)
		return r;
	x->request.base = base;
	x->request.has_base = true;
	for (unsigned i = 0; i < n; i++) {
		file_close(files[i].log);
		file_close(files[i].side);
	}
	return 0;
}

static int open_all(struct export *x, struct err *err)
{
	int r = vm_point_find(x->worker->vm, &x->request.source, &x->row, err);

	if (r == 0 && x->request.n == 0)
		r = find_base(x, err);
	for (unsigned i = 0; r == 0 && i < x->request.n; i++)
		r = open_disk(x, i, err);
	return r;
}

/* ---- What is written ------------------------------------------------------
 */

static int check_expected(const struct export *x, struct err *err)
{
	const struct export_logs *logs = x->logs;
	bool same = logs->n == x->request.n_logs;

	for (unsigned i = 0; same && i < logs->n; i++)
		same = guid_equal(&logs->list[i].id, &x->request.logs[i]);
	return same ? 0
		    : err_set(err, -RP_ESTATE,
			      "the logs between the points are others than "
			      "files came for: ask again which there are");
}

static void name_files(struct export *x)
{
	struct export_logs *logs = x->logs;

	for (unsigned i = 0; i < x->request.n; i++)
		for (unsigned k = logs->first[i]; k < logs->first[i + 1]; k++)
			for (unsigned side = 0; side < 2; side++)
				export_log_name(x->request.disks[i],
						k - logs->first[i] + 1, side,
						logs->names[2 * k + side]);
}

static int make_sources(struct export_logs *logs, struct err *err)
{
	struct file *files[EXPORT_FILES_MAX];
	int r;

	for (unsigned i = 0; i < logs->n; i++) {
		files[2 * i] = logs->list[i].log;
		files[2 * i + 1] = logs->list[i].side;
	}
	r = file_sources_new(files, 2 * logs->n, &logs->sources, err);
	for (unsigned i = 0; r == 0 && i < logs->n; i++)
		logs->list[i].log = logs->list[i].side = NULL;
	return r;
}

static int start(struct export *x, int *fds, struct err *err)
{
	struct export_disk disks[EXPORT_FILES_MAX + DISKS_PER_VM_MAX];
	struct export_logs *logs = x->logs;
	unsigned n = 2 * logs->n;

	for (unsigned i = 0; i < 2 * logs->n; i++)
		disks[i] = (struct export_disk){
		    .id = logs->names[i],
		    .plain = true,
		    .source = file_source(logs->sources, i),
		    .bytes = i % 2 ? logs->list[i / 2].side_bytes
				   : logs->list[i / 2].bytes};
	for (unsigned i = 0; x->request.hash && i < x->request.n; i++)
		disks[n++] = (struct export_disk){
		    .id = x->request.disks[i],
		    .hash = true,
		    .source = export_disks_source(x, i),
		    .bytes = x->row.bytes[x->sources[i].ordinal]};
	return export_start(x, disks, n, fds, err);
}

int export_logs_begin(struct export *x, int *fds, struct err *err)
{
	bool asks = x->request.n > 0 && x->request.n_logs == 0;
	int r;

	x->logs = calloc(1, sizeof(*x->logs));
	if (!x->logs)
		return err_set(err, -ENOMEM, "export");
	r = open_all(x, err);
	if (r < 0)
		return r;
	name_files(x);
	if (asks)
		return export_start(x, NULL, 0, fds, err);
	r = check_expected(x, err);
	if (r == 0)
		r = export_logs_describe(x, err);
	if (r == 0 && x->request.hash)
		r = export_disks_open_at_point(x, err);
	if (r == 0)
		r = make_sources(x->logs, err);
	return r < 0 ? r : start(x, fds, err);
}

const uint8_t *export_logs_hash(const struct export *x, unsigned i)
{
	return x->request.hash ? exporter_hash(x->exporter, 2 * x->logs->n + i)
			       : NULL;
}

struct export_logs *export_logs_free(struct export_logs *logs)
{
	if (!logs)
		return NULL;
	file_sources_free(logs->sources);
	for (unsigned i = 0; i < logs->n; i++) {
		file_close(logs->list[i].log);
		file_close(logs->list[i].side);
	}
	metadata_free(logs->metadata);
	free(logs->config);
	free(logs->state);
	free(logs);
	return NULL;
}

/* ---- What is said of it ---------------------------------------------------
 */

static json_t *log_json(const struct export_logs *logs, unsigned i)
{
	const struct export_log *log = &logs->list[i];
	static const struct guid none;
	char id[GUID_TEXT_BYTES], previous[GUID_TEXT_BYTES];
	char origin[GUID_TEXT_BYTES];

	guid_format(&log->id, id);
	guid_format(&log->previous, previous);
	guid_format(&log->origin, origin);
	return json_pack("{s:s, s:s, s:s, s:s?, s:s, s:I, s:I}", "file",
			 logs->names[2 * i], "sidecar", logs->names[2 * i + 1],
			 "id", id, "previous",
			 guid_equal(&log->previous, &none) ? NULL : previous,
			 "origin", origin, "bytes", (json_int_t)log->bytes,
			 "sidecar_bytes", (json_int_t)log->side_bytes);
}

json_t *export_log_disk_json(const struct export *x, unsigned i)
{
	const struct export_logs *logs = x->logs;
	uint32_t ordinal = x->sources[i].ordinal;
	uint64_t data = 0, bytes = 0;
	json_t *list = json_array();

	for (unsigned k = logs->first[i]; k < logs->first[i + 1]; k++) {
		(void)json_array_append_new(list, log_json(logs, k));
		bytes += logs->list[k].bytes + logs->list[k].side_bytes;
		for (unsigned side = 0; logs->sources && side < 2; side++)
			data += exporter_result(x->exporter, 2 * k + side)
				    .data_bytes;
	}
	return json_pack("{s:s, s:n, s:n, s:I, s:s, s:s, s:s, s:I, s:I, s:o}",
			 "id", x->request.disks[i], "file", "backing", "size",
			 (json_int_t)x->row.bytes[ordinal], "tracking_id",
			 x->row.tracking_id[ordinal], "accuracy", "exact",
			 "reason", "", "data_bytes", (json_int_t)data,
			 "file_bytes", (json_int_t)bytes, "logs", list);
}

json_t *export_logs_documents_json(const struct export *x)
{
	const struct export_logs *logs = x->logs;

	return logs->config ? json_pack("{s:s, s:s}", "config", logs->config,
					"state", logs->state)
			    : NULL;
}
