/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logs that were begun or closed at a cut that came to nothing.
 *
 * A cut begins the next logs, and closes the old ones when the writes before it
 * are over.  A death between leaves some old ones closed, and next ones in
 * which something may stand.  As no point stands between them, the old ones go
 * on, and what the next ones name is logged anew from the image.
 *
 * A log is closed when its header has its end, and not by its sidecar's close
 * record alone, which may be there before all else is.  Reopening: first the
 * header loses its end, then the sidecar its close record, each durably.
 */
#include "log/internal.h"
#include "store/preallocated.h"

#define PER_SECTOR (SECTOR_BYTES / SIDECAR_RECORD_BYTES)

static struct scan_mark begin_of(const struct log_files *files)
{
	return (struct scan_mark){
	    .end = HRL_FIRST_BYTES,
	    .sequence = files->head.first_sequence,
	    .time_ns = files->head.first_time_ns,
	};
}

static int note(void *arg, const struct sidecar_record *record, struct err *err)
{
	uint64_t first = record->offset >> BLOCK_SHIFT;
	uint64_t end =
	    div_round_up(record->offset + record->length, BLOCK_BYTES);
	int r = 0;

	if (record->kind == SIDECAR_WRITE || record->kind == SIDECAR_ZEROS)
		r = blockset_add(arg, first, end - first);
	return r ? err_set(err, r, "what a log names") : 0;
}

int stream_named(const struct log_service *service, const struct guid *id,
		 const struct guid *point, uint32_t disk, struct blockset *set,
		 struct err *err)
{
	struct log_files files;
	struct scan_mark begin;
	struct scan scan;
	int r = log_files_open(service->store, id, point, disk, &files, err);

	if (r < 0)
		return r;
	begin = begin_of(&files);
	r = scan_records(&begin, &files, &scan, note, set, err);
	log_files_close(&files);
	return r;
}

/* The header's end is written when all else is durable. */
int stream_ends(const struct log_service *service, const struct guid *id,
		const struct guid *point, uint32_t disk, bool *ret_ends,
		struct err *err)
{
	uint8_t buf[HRL_HEADER_BYTES];
	struct hrl_header header;
	struct log_files files;
	int r = log_files_open(service->store, id, point, disk, &files, err);

	if (r < 0)
		return r;
	r = file_read_all(files.data, buf, sizeof(buf), 0, err);
	if (r == 0)
		r = hrl_header_decode(buf, &header, err);
	log_files_close(&files);
	if (r == 0)
		*ret_ends = header.end != 0;
	return r;
}

static int clear_end(struct file *file, struct err *err)
{
	uint8_t buf[HRL_HEADER_BYTES];
	struct hrl_header header;
	int r = file_read_all(file, buf, sizeof(buf), 0, err);

	if (r == 0)
		r = hrl_header_decode(buf, &header, err);
	if (r < 0 || header.end == 0)
		return r;
	header.end = 0;
	header.entries = 0;
	hrl_header_encode(&header, buf);
	r = file_write(file, buf, sizeof(buf), 0, err);
	return r < 0 ? r : file_sync(file, err);
}

/* Record LAST goes, which is the file's last. */
static int drop_record(struct file *file, uint64_t last, struct err *err)
{
	uint64_t at = sidecar_offset(round_down(last, PER_SECTOR));
	uint64_t kept = last % PER_SECTOR * SIDECAR_RECORD_BYTES;
	uint8_t sector[SECTOR_BYTES] = {0};
	int r = kept ? file_read_all(file, sector, kept, at, err) : 0;

	if (r == 0)
		r = file_write(file, sector, sizeof(sector), at, err);
	return r < 0 ? r : file_sync(file, err);
}

int stream_reopen(const struct log_service *service, const struct guid *id,
		  const struct guid *point, uint32_t disk, struct err *err)
{
	struct log_files files;
	struct scan_mark begin;
	struct scan scan;
	int r = log_files_open(service->store, id, point, disk, &files, err);

	if (r < 0)
		return r;
	begin = begin_of(&files);
	r = scan_records(&begin, &files, &scan, NULL, NULL, err);
	if (r == 0 && scan.closed)
		r = clear_end(files.data, err);
	if (r == 0 && scan.closed)
		r = drop_record(files.side, scan.records - 1, err);
	log_files_close(&files);
	return r;
}
