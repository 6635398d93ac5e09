/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of a stream; stream.c has the invariants.
 *
 *     stream.c   writes come in, wait, go; dropping; time
 *     buffer.c   spans of the log on their way to the file
 *     side.c     records on their way to the sidecar
 *     durable.c  syncs, flushes, the end of a log
 *     table.c    the table on the tmpfs
 *     scan.c     what a sidecar says
 *     repair.c   a log is taken up again
 */
#ifndef LOG_INTERNAL_H
#define LOG_INTERNAL_H

#include "hrl/writer.h"
#include "log/stream.h"
#include "store/files.h"

#define NO_SPAN UINT64_MAX
#define NO_SLOT UINT32_MAX

enum span_state {
	SPAN_MEMORY = 1u << 0,   /* has bytes in the buffer; else it is zeros */
	SPAN_WRITTEN = 1u << 1,  /* they are in the file */
	SPAN_RECORDED = 1u << 2, /* so is its record in the sidecar */
	SPAN_IMAGE = 1u << 3,    /* the image's write has ended */
	SPAN_SAME = 1u << 4,     /* and the log says what the image has */
};
#define SPAN_OVER (SPAN_WRITTEN | SPAN_RECORDED | SPAN_IMAGE | SPAN_SAME)

/* The data of one write, or a metadata block: [at, at + length) of the log. */
struct log_span {
	uint64_t at;
	uint64_t sequence;
	uint64_t record; /* its number */
	uint32_t length;
	uint32_t memory; /* where in the buffer */
	uint32_t slot;   /* in the table, or NO_SLOT */
	unsigned state;
};

/* An io of ours; since_ms: of the first tick that saw it under way, or -1. */
struct log_io {
	struct io io;
	struct log_stream *stream;
	bool busy;
	int64_t since_ms;
	uint64_t first; /* of the spans, or records, that it writes */
	uint64_t end;
};

/* Pieces, or flushes, in the order in which they came. */
struct piece_list {
	struct log_piece *first;
	struct log_piece **end;
};
struct flush_list {
	struct log_flush *first;
	struct log_flush **end;
};

enum close_state {
	CLOSE_NOT,
	CLOSE_BLOCK,  /* the last block has no place yet */
	CLOSE_SYNC,   /* all is being written and synced */
	CLOSE_HEADER, /* the header is being written */
	CLOSE_LAST,   /* ... and synced */
	CLOSE_DONE,
};

struct log_stream {
	struct log_service service;
	struct log_files files;
	struct hrl_writer writer;
	bool dropped;
	bool told;  /* dropped() was called */
	bool ended; /* goes with the last that is under way */
	struct err why;
	unsigned holds; /* pieces at the image, and I/O */

	struct piece_list mends;
	struct piece_list waiting;

	/* Spans [span_tail, span_head), each at its number % LOG_SPANS. */
	struct log_span spans[LOG_SPANS];
	uint64_t span_head;
	uint64_t span_tail;   /* all before are over */
	uint64_t memory_tail; /* ... need no memory */
	uint64_t same_tail;   /* ... are the same in log and image */
	uint64_t write_next;  /* ... are given to the queue */
	uint64_t written;     /* ... are written, as far as written_at */
	uint64_t recorded;    /* ... have their record in the sidecar */
	uint64_t written_at;
	uint64_t due_spans;   /* before this one are not held back, ... */
	uint64_t due_records; /* ... L10; */
	uint64_t due_until;   /* nor are writes that become spans before it */
	uint64_t flush_mark;  /* the record of the last flush */

	uint8_t *buffer; /* LOG_BUFFER_BYTES */
	uint64_t head;   /* where it goes on */
	unsigned held;   /* spans with memory, from memory_tail on */
	struct log_io writes[LOG_WRITES_MAX];
	uint64_t bytes_written; /* by this stream, without holes */

	/* Records [record_written, record_next), each at its number %
	 * LOG_RECORDS, to be written once the log is as far as `needs`. */
	uint8_t records[LOG_RECORDS][SIDECAR_RECORD_BYTES];
	uint64_t needs[LOG_RECORDS];
	uint64_t record_next;
	uint64_t record_written;
	uint8_t *side_buffer; /* LOG_SIDE_BYTES */
	struct log_io side;

	struct flush_list flushes; /* wait for what is before them */
	struct flush_list syncing;
	struct log_io syncs[2];
	uint64_t sync_end;     /* of the log, when the sync began */
	uint64_t sync_records; /* likewise */
	uint64_t sync_bytes;
	uint64_t durable_end;
	uint64_t durable_records;
	uint64_t durable_bytes;
	uint64_t sequence;   /* of the last write of this log */
	uint64_t flushed;    /* by the last flush record */
	uint64_t flushed_at; /* likewise; 0: none */

	bool repairing;     /* what stream_repair() said is not mended */
	unsigned failing;   /* pieces that the image failed to write */
	bool broken;        /* the last of break and mended was break */
	bool settling;      /* the table is in force ... */
	uint64_t settle_at; /* ... when these spans are over */

	struct log_table table;
	uint16_t slots[LOG_SPANS]; /* free ones: */
	unsigned slots_free;
	uint16_t pinned[LOG_SPANS]; /* taken by a dead process: */
	unsigned pinned_count;

	enum close_state close;
	struct log_io close_io;
	struct log_flush close_flush;
	uint8_t *close_buffer; /* HRL_HEADER_BYTES */
	void (*close_done)(void *arg, int result, const struct err *err);
	void *close_arg;
};

/* ---- stream.c --------------------------------------------------------- */

struct log_stream *log_stream_new(const struct log_service *service,
				  struct err *err);
/* Nothing may be under way. */
void log_stream_free(struct log_stream *stream);
int64_t log_time(struct log_stream *stream);
void log_break(struct log_stream *stream, int64_t time_ns);
/* What may have become possible: pieces admitted, writes and syncs begun,
 * callbacks called.  The last thing that a completion does. */
void log_go_on(struct log_stream *stream);
/* Nothing that was added by now is held back. */
void log_hurry(struct log_stream *stream);
/* Is anything still to be written? */
bool log_is_live(const struct log_stream *stream);
void log_drop(struct log_stream *stream, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

void log_io_submit(struct log_stream *stream, struct log_io *io);
/* The first thing that a completion does. */
struct log_stream *log_io_over(struct log_io *io);

/* ---- buffer.c --------------------------------------------------------- */

struct log_span *log_span(struct log_stream *stream, uint64_t number);
/* Is there room for a write of LENGTH (ZEROS: without memory), with a block
 * before it if one is due; RESERVE spans stay free.  Places that block. */
bool buffer_make_room(struct log_stream *stream, uint64_t length, bool zeros,
		      unsigned reserve);
/* The next span, of a write for which room was made; its memory is to be
 * filled.  Nothing of the writer's happens here. */
struct log_span *buffer_take(struct log_stream *stream, uint64_t at,
			     uint32_t length, bool zeros);
/* Places a metadata block; false: no room. */
bool buffer_place_block(struct log_stream *stream);
/* Gives spans to the queue; unless ALL only what fills a write.  With ALL those
 * that are held back (L10) stay. */
void buffer_push(struct log_stream *stream, bool all);
/* After a change of what SPAN is. */
void buffer_advance(struct log_stream *stream, struct log_span *span);

/* ---- side.c ----------------------------------------------------------- */

/* Appends a record; it is written once the log is as far as NEED.  Sets its
 * number. */
void side_put(struct log_stream *stream, struct sidecar_record *record,
	      uint64_t need);
/* One without data, of now. */
void side_put_mark(struct log_stream *stream, enum sidecar_kind kind,
		   uint64_t sequence, int64_t time_ns, uint64_t at);
void side_push(struct log_stream *stream);

/* ---- durable.c -------------------------------------------------------- */

void durable_push(struct log_stream *stream);
/* Calls what waits for a log that is dropped. */
void durable_dropped(struct log_stream *stream);
void flush_append(struct flush_list *list, struct log_flush *flush);
struct log_flush *flush_take(struct flush_list *list);

/* ---- table.c ---------------------------------------------------------- */

void table_begin(struct log_stream *stream);
bool table_has(const struct log_stream *stream, unsigned reserve);
uint32_t table_take(struct log_stream *stream, uint64_t offset,
		    uint64_t length);
void table_give_back(struct log_stream *stream, uint32_t slot);
void table_set(struct log_stream *stream, enum log_table_state state);
/* All that a dead process had taken is free again. */
void table_unpin(struct log_stream *stream);
/* Adds the ranges of all taken slots; they stay taken until table_unpin().
 * -RP_ECORRUPT for one that is not of a disk of BYTES. */
int table_adopt(struct log_stream *stream, uint64_t bytes,
		struct blockset *mend, struct err *err);

/* ---- scan.c ----------------------------------------------------------- */

/* A place in the log from which it can be gone through: the end of a block. */
struct scan_mark {
	uint64_t records; /* up to and with that of the block */
	uint64_t end;     /* of the block */
	uint64_t entries; /* of all blocks so far */
	uint64_t sequence;
	int64_t time_ns; /* of the last record so far */
	bool broken;     /* is a break in force? */
};

/* What a sidecar's records say, up to the first that is not good. */
struct scan {
	const struct log_files *files;
	uint64_t records;
	uint64_t end;   /* of what the log has then */
	uint64_t bytes; /* of both files, holes not counted */
	uint64_t entries;
	uint64_t pending; /* writes behind the last block */
	uint64_t sequence;
	int64_t time_ns;
	uint64_t flushed;    /* largest of any flush */
	uint64_t flushed_at; /* likewise */
	bool broken;
	bool closed;
	struct scan_mark last;    /* block */
	struct scan_mark durable; /* last one that is so by the flushes */
};

/* Calls FN for each good record from number FROM on. */
int scan_records(const struct scan_mark *from, const struct log_files *files,
		 struct scan *ret_scan,
		 int (*fn)(void *arg, const struct sidecar_record *record,
			   struct err *err),
		 void *arg, struct err *err);

#endif
