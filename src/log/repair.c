/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A new log is made, or one that lost its writer is taken up again.
 *
 *   A1  The sidecar's records are gone through to the first that is not good.
 *       After a power cut the data behind the last flush is held against its
 *       checksums, in order, and the first that is wrong ends the log; what a
 *       flush promised must be there, or the log is worth nothing.
 *   A2  Metadata blocks behind the last flush are made again from the records
 *       and the data, and written if they differ.  Those since the last good
 *       block go into the writer, which so stands where the dead one stood.
 *   A3  Then both files are cut there, the rest of the sidecar's last sector is
 *       zeroed, and both are synced, before anything is written behind: nothing
 *       of what was cut off comes back and fits what is written then, though
 *       it has the same log's id.
 *   A4  Nothing before A3 changes what a repair after another death finds: what
 *       is overwritten is written with what it should be.
 *
 * What is found to mend: all that records of sequences above the last flush
 * name, good or not, for who knows what became of a sync of the image that was
 * under way; and after a kill what the table names (L1).
 */
#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "common/crc32c.h"
#include "disk/faulty.h"
#include "disk/posix.h"
#include "log/internal.h"
#include "store/preallocated.h"

#define PER_SECTOR (SECTOR_BYTES / SIDECAR_RECORD_BYTES)

struct repair {
	const struct log_service *service;
	struct log_files files;
	struct hrl_header header;
	enum log_ended ended;
	struct blockset *mend;
	struct scan_mark begin; /* of the log */
	struct scan scan;       /* of all records */
	struct scan good;       /* of those to keep */
	bool mends;             /* records name what is to be mended */
	bool ends;              /* at `good`: the rest is to be mended only */
	struct hrl_writer writer;
	uint8_t *buf; /* LOG_PIECE_BYTES */
};

static struct log_table_head table_head(const struct log_service *service,
					const struct sidecar_head *head)
{
	return (struct log_table_head){
	    .store = head->store,
	    .point = head->point,
	    .log = head->log,
	    .boot = service->boot,
	    .slots = LOG_SPANS,
	    .disk = head->disk,
	};
}

/* ---- A new one ---------------------------------------------------------- */

/* A store that hangs holds up neither the queue's thread nor its workers. */
static void keep_apart(const struct log_files *files)
{
	posix_file_keep_apart(faulty_file_inner(files->data));
	posix_file_keep_apart(faulty_file_inner(files->side));
}

static int create_files(struct log_stream *s, const struct sidecar_head *head,
			const struct guid *data_write, struct err *err)
{
	struct log_table_head table = table_head(&s->service, head);
	struct hrl_header header = {
	    .created = hrl_time(head->first_time_ns),
	    .creator = "rp",
	    .creator_version = 1,
	    .id = head->log,
	    .previous = head->previous,
	    .data_write = *data_write,
	};
	uint8_t first[HRL_FIRST_BYTES];
	int r;

	hrl_writer_begin(&s->writer, &header, first);
	r = log_files_create(s->service.store, head, first, sizeof(first),
			     &s->files, err);
	if (r == 0)
		keep_apart(&s->files);
	if (r == 0)
		r = log_table_create(s->service.memory, &table,
				     LOG_TABLE_IN_FORCE, &s->table, err);
	if (r < 0 && s->files.data)
		log_unlink(s->service.store, NULL, &head->point, head->disk);
	return r;
}

/* Where the files end and what is durable of them: all. */
static void begin_at(struct log_stream *s, uint64_t records, uint64_t sequence)
{
	s->written_at = s->durable_end = s->writer.at;
	s->record_next = s->record_written = s->durable_records = records;
	s->sequence = sequence;
	table_begin(s);
}

int stream_create(const struct log_service *service,
		  const struct sidecar_head *head,
		  const struct guid *data_write, struct log_stream **ret_stream,
		  struct err *err)
{
	struct log_stream *s = log_stream_new(service, err);
	int r;

	if (!s)
		return -ENOMEM;
	r = create_files(s, head, data_write, err);
	if (r < 0) {
		log_stream_free(s);
		return r;
	}
	begin_at(s, 0, head->first_sequence);
	s->flushed = head->first_sequence;
	s->flushed_at = HRL_FIRST_BYTES;
	service->budget->used += HRL_FIRST_BYTES + SIDECAR_HEAD_BYTES;
	*ret_stream = s;
	return 0;
}

/* ---- What is good ------------------------------------------------------- */

static int read_header(struct repair *r, struct err *err)
{
	uint8_t buf[HRL_HEADER_BYTES];
	int rc = file_read_all(r->files.data, buf, sizeof(buf), 0, err);

	if (rc == 0)
		rc = hrl_header_decode(buf, &r->header, err);
	if (rc == 0 && (!guid_equal(&r->header.id, &r->files.head.log) ||
			r->header.metadata_bytes != HRL_METADATA_BYTES))
		rc =
		    err_set(err, -RP_ECORRUPT, "the sidecar is of another log");
	return rc;
}

static int must_mend(struct repair *r, const struct sidecar_record *record,
		     struct err *err)
{
	uint64_t first = record->offset >> BLOCK_SHIFT;
	uint64_t end =
	    div_round_up(record->offset + record->length, BLOCK_BYTES);
	int rc = 0;

	if (r->ended != LOG_ENDED_CLEAN && record->sequence > r->scan.flushed) {
		r->mends = true;
		rc = blockset_add(r->mend, first, end - first);
	}
	return rc < 0 ? err_set(err, rc, "what is to be mended") : 0;
}

/* Wrong data, or a wrong block: the good part ends, if it may. */
static int wrong(struct repair *r, const struct sidecar_record *record,
		 uint64_t length, struct err *err)
{
	if (r->ended != LOG_ENDED_CUT ||
	    record->at + length <= r->scan.flushed_at)
		return err_set(err, -RP_ECORRUPT,
			       "the log lacks what record %llu names",
			       (unsigned long long)record->number);
	r->ends = true;
	return 0;
}

static int check_write(struct repair *r, const struct sidecar_record *record,
		       struct err *err)
{
	uint32_t n = record->length;
	int64_t got = file_read(r->files.data, r->buf, n, record->at, err);

	if (got < 0)
		return (int)got;
	if (got < n || crc32c(0, r->buf, n) != record->data_checksum)
		return wrong(r, record, n, err);
	(void)hrl_writer_add(&r->writer, record->offset, n,
			     hrl_time(record->time_ns),
			     hrl_checksum(r->buf, n));
	return 0;
}

/* A block follows from what is before it: no reason to end there. */
static int check_block(struct repair *r, const struct sidecar_record *record,
		       struct err *err)
{
	uint8_t block[HRL_METADATA_BYTES];
	uint64_t at = hrl_writer_block(&r->writer, block);
	int64_t got = file_read(r->files.data, r->buf, sizeof(block), at, err);

	if (got < 0)
		return (int)got;
	if (got == sizeof(block) && memcmp(block, r->buf, sizeof(block)) == 0)
		return 0;
	if (r->ended != LOG_ENDED_CUT ||
	    at + sizeof(block) <= r->scan.flushed_at)
		return wrong(r, record, sizeof(block), err);
	return file_write(r->files.data, block, sizeof(block), at, err);
}

static int check_one(void *arg, const struct sidecar_record *record,
		     struct err *err)
{
	struct repair *r = arg;
	bool data =
	    record->kind == SIDECAR_WRITE || record->kind == SIDECAR_ZEROS;
	int rc = data ? must_mend(r, record, err) : 0;

	if (rc < 0 || r->ends)
		return rc;
	if (record->kind == SIDECAR_WRITE)
		rc = check_write(r, record, err);
	else if (record->kind == SIDECAR_ZEROS)
		(void)hrl_writer_add(&r->writer, record->offset, record->length,
				     hrl_time(record->time_ns),
				     HRL_ZEROS_CHECKSUM);
	else if (record->kind == SIDECAR_BLOCK)
		rc = check_block(r, record, err);
	if (rc < 0 || r->ends)
		return rc;
	r->good.records = record->number + 1;
	r->good.sequence =
	    record->kind == SIDECAR_FLUSH ? r->good.sequence : record->sequence;
	r->good.time_ns = record->time_ns;
	if (record->kind == SIDECAR_BREAK || record->kind == SIDECAR_MENDED)
		r->good.broken = record->kind == SIDECAR_BREAK;
	if (record->kind == SIDECAR_CLOSE)
		r->good.closed = true;
	return 0;
}

/* As the last calls before a clean end leave it? */
static bool looks_clean(const struct scan *scan)
{
	return !scan->broken && scan->flushed == scan->sequence &&
	       scan->flushed_at == scan->end;
}

static int find_good(struct repair *r, struct err *err)
{
	struct scan_mark from;
	struct scan again;
	int rc;

	r->begin = (struct scan_mark){
	    .end = HRL_FIRST_BYTES,
	    .sequence = r->files.head.first_sequence,
	    .time_ns = r->files.head.first_time_ns,
	};
	rc = scan_records(&r->begin, &r->files, &r->scan, NULL, NULL, err);
	if (rc < 0)
		return rc;
	if (r->ended == LOG_ENDED_CLEAN && !looks_clean(&r->scan))
		r->ended = LOG_ENDED_CUT;
	from = r->ended == LOG_ENDED_CUT ? r->scan.durable : r->scan.last;
	hrl_writer_resume(&r->writer, &r->header, from.end, from.entries);
	r->good = (struct scan){
	    .records = from.records,
	    .sequence = from.sequence,
	    .time_ns = from.time_ns,
	    .broken = from.broken,
	};
	return scan_records(&from, &r->files, &again, check_one, r, err);
}

/* ---- Cutting ------------------------------------------------------------ */

/* The sidecar's records that share a sector with the next: into the stream,
 * and back with zeros behind them. */
static int cut_side(struct log_stream *s, struct repair *r, struct err *err)
{
	uint64_t first = round_down(r->good.records, PER_SECTOR);
	uint64_t bytes = (r->good.records - first) * SIDECAR_RECORD_BYTES;
	uint64_t at = sidecar_offset(first);
	uint8_t sector[SECTOR_BYTES] = {0};
	struct file *file = r->files.side;
	int rc = 0;

	if (bytes > 0) {
		rc = file_read_all(file, sector, bytes, at, err);
		if (rc == 0)
			rc = file_write(file, sector, sizeof(sector), at, err);
		at += sizeof(sector);
	}
	if (rc == 0)
		rc = file->ops->truncate(file, at, err);
	if (rc == 0)
		rc = file_sync(file, err);
	for (uint64_t n = first; n < r->good.records; n++)
		memcpy(s->records[n % LOG_RECORDS],
		       sector + (n - first) * SIDECAR_RECORD_BYTES,
		       SIDECAR_RECORD_BYTES);
	return rc;
}

static int cut_log(struct repair *r, struct err *err)
{
	struct file *file = r->files.data;
	int rc = file->ops->truncate(file, r->writer.at, err);

	return rc < 0 ? rc : file_sync(file, err);
}

/* The header of a log that has its close record. */
static int finish_close(struct repair *r, struct err *err)
{
	uint8_t header[HRL_HEADER_BYTES];
	int rc;

	hrl_writer_close(&r->writer, hrl_time(r->good.time_ns), header);
	rc = file_write(r->files.data, header, sizeof(header), 0, err);
	return rc < 0 ? rc : file_sync(r->files.data, err);
}

/* ---- The table ---------------------------------------------------------- */

/* After a kill: what it names.  One that is not in force is as none; one of a
 * log that was dropped is heeded however that ended. */
static int open_table(struct log_stream *s, struct repair *r, struct err *err)
{
	struct log_table_head head = table_head(&s->service, &r->files.head);
	enum log_table_state state;
	int rc;

	rc = log_table_open(s->service.memory, &head, &s->table, err);
	if (rc == -ENOENT || rc == -RP_ECORRUPT) {
		if (r->ended == LOG_ENDED_KILLED)
			r->ended = LOG_ENDED_CUT;
		return 0;
	}
	if (rc < 0)
		return rc;
	state = atomic_load(&s->table.live->state);
	if (state == LOG_TABLE_DROPPED)
		return err_set(err, -RP_ESTATE, "the log was dropped");
	if (r->ended == LOG_ENDED_KILLED && state == LOG_TABLE_IN_FORCE &&
	    table_adopt(s, r->files.head.bytes, r->mend, NULL) == 0)
		return 0;
	if (r->ended == LOG_ENDED_KILLED)
		r->ended = LOG_ENDED_CUT;
	s->pinned_count = 0;
	log_table_close(&s->table);
	return 0;
}

static int new_table(struct log_stream *s, struct repair *r, struct err *err)
{
	struct log_table_head head = table_head(&s->service, &r->files.head);
	enum log_table_state state =
	    r->ended == LOG_ENDED_CUT ? LOG_TABLE_MENDING : LOG_TABLE_IN_FORCE;

	if (s->table.file)
		return 0;
	return log_table_create(s->service.memory, &head, state, &s->table,
				err);
}

/* ---- Together ----------------------------------------------------------- */

static void take_up(struct log_stream *s, struct repair *r)
{
	struct log_clock *clock = s->service.clock;

	s->files = r->files;
	r->files = (struct log_files){.head = r->files.head};
	s->writer = r->writer;
	s->flushed = r->scan.flushed;
	/* Was the record of it cut off?  Then the next flush has one. */
	s->flushed_at =
	    r->good.records == r->scan.records ? r->scan.flushed_at : 0;
	s->broken = r->good.broken;
	s->repairing = r->ended != LOG_ENDED_CLEAN;
	s->service.budget->used += r->scan.bytes;
	begin_at(s, r->good.records, r->good.sequence);
	clock->sequence = MAX(clock->sequence, r->scan.sequence);
	clock->time_ns = MAX(clock->time_ns, r->scan.time_ns);
	if (s->broken || r->ended == LOG_ENDED_CUT || s->pinned_count > 0 ||
	    r->mends)
		log_break(s, r->good.time_ns);
}

static int repair(struct log_stream *s, struct repair *r, struct err *err)
{
	int rc = read_header(r, err);

	if (rc == 0)
		rc = open_table(s, r, err);
	if (rc == 0)
		rc = find_good(r, err);
	if (rc == 0)
		rc = cut_side(s, r, err);
	if (rc == 0)
		rc = cut_log(r, err);
	if (rc == 0 && r->good.closed)
		return finish_close(r, err);
	if (rc == 0)
		rc = new_table(s, r, err);
	if (rc == 0)
		take_up(s, r);
	return rc;
}

static void report(const struct log_stream *s, const struct repair *r,
		   struct log_repair *ret)
{
	*ret = (struct log_repair){
	    .ended = r->ended,
	    .closed = r->good.closed,
	    .records = r->good.records,
	    .end = r->writer.at,
	    .flushed = r->scan.flushed,
	    .head = r->good.closed ? r->files.head : s->files.head,
	};
}

int stream_repair(const struct log_service *service, const struct guid *id,
		  const struct guid *point, uint32_t disk, enum log_ended ended,
		  struct blockset *mend, struct log_repair *ret_repair,
		  struct log_stream **ret_stream, struct err *err)
{
	struct repair r = {.service = service, .ended = ended, .mend = mend};
	struct log_stream *s = log_stream_new(service, err);
	int rc;

	if (!s)
		return -ENOMEM;
	r.buf = malloc(LOG_PIECE_BYTES);
	rc = r.buf ? log_files_open(service->store, id, point, disk, &r.files,
				    err)
		   : err_set(err, -ENOMEM, "a log's buffer");
	if (rc == 0)
		keep_apart(&r.files);
	if (rc == 0)
		rc = repair(s, &r, err);
	if (rc == 0)
		report(s, &r, ret_repair);
	free(r.buf);
	if (rc < 0 || r.good.closed) {
		log_files_close(&r.files);
		log_stream_free(s);
		s = NULL;
	}
	if (rc == 0)
		*ret_stream = s;
	return rc;
}
