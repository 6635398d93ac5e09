/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log of one disk while it is written, from one log-based point on.
 *
 * Two files in the store, the log (hrl/hrl.h) and its sidecar
 * (docs/format/sidecar.md), and a table on the tmpfs of what is under way
 * (docs/format/log-table.md).  A guest's write goes
 *
 *     stream_add()      into the log's buffer and table; the image is written
 *                       from there, so both get the same bytes
 *     (the image's write)
 *     stream_written()  the image has it
 *
 * and meanwhile, independent of it, to the log and then the sidecar.  A flush
 * is stream_sync() and the image's sync side by side, then stream_flushed().
 *
 * All is for the thread of the disk's queue, but what makes a stream, which is
 * for whoever has it before that thread; after that stream_drop() alone may be
 * called by others through a task of theirs.  Nothing waits.  Callbacks come
 * from stream_turn(), stream_tick() and the queue's completions, never from
 * another call.
 *
 * A log that cannot go on (a write or sync fails, hangs for LOG_STALL_MS, the
 * budget is used up, a write or flush waited for LOG_PAUSE_MS, the disk has
 * grown, stream_drop()) is dropped: whatever waits goes on at once, nothing
 * more is written, and all calls do nothing and succeed.  A guest never sees
 * it.
 *
 * Memory: LOG_BUFFER_BYTES and below 300 KiB more, i.e. less than 16.5 MiB for
 * each disk, touched as it is used; 20 KiB on the tmpfs.
 */
#ifndef LOG_STREAM_H
#define LOG_STREAM_H

#include "common/blockset.h"
#include "disk/disk.h"
#include "format/format.h"

struct log_stream;

/* One order and one clock for all disks of a virtual system. */
struct log_clock {
	uint64_t sequence; /* of the last write; the next has one more */
	int64_t time_ns;   /* of the last record: never steps back */
	int64_t (*now_ns)(void *arg); /* CLOCK_REALTIME */
	void *arg;
};

/* What all logs of a virtual system may take. */
struct log_budget {
	_Atomic uint64_t
	    used; /* bytes of logs and sidecars, holes not counted */
	uint64_t limit;
};

/* What a stream works with; all of it outlives stream_free(). */
struct log_service {
	struct ioq *ioq; /* that can write files of STORE */
	struct fs *store;
	struct fs *memory; /* a tmpfs */
	struct guid boot;  /* boot id */
	struct log_clock *clock;
	struct log_budget *budget;
	/* Once, when the log was dropped; stream_why() says why.  The table
	 * says so already, before the image gets anything that the log has not;
	 * to make it outlive the power is the caller's.  May be NULL. */
	void (*dropped)(struct log_stream *stream, void *arg);
	void *arg;
};

/*
 * Makes the files of a new log and a stream for it.  HEAD: the sidecar's, with
 * the point, the disk, a fresh id, and the clock as it is: first_sequence its
 * sequence, first_time_ns its time.  DATA_WRITE: the image's identity.  Synced,
 * not sync_dir of the store.
 */
int stream_create(const struct log_service *service,
		  const struct sidecar_head *head,
		  const struct guid *data_write, struct log_stream **ret_stream,
		  struct err *err);

/* How what wrote the log before ended. */
enum log_ended {
	LOG_ENDED_CLEAN,  /* as the last calls of stream_end() */
	LOG_ENDED_KILLED, /* the process; the table is there */
	LOG_ENDED_CUT,    /* the power, or nobody knows */
};

struct log_repair {
	enum log_ended ended; /* as it turned out: CUT if anything is missing */
	bool closed; /* it was closed: there is no stream, and what is to be
			mended belongs into the next log */
	uint64_t records; /* good ones of the sidecar */
	uint64_t end;     /* of the good part of the log */
	uint64_t flushed; /* up to this sequence all is as durable as it was */
	struct sidecar_head head;
};

/*
 * Takes up the log of POINT and DISK in store ID, before the disk is served
 * and while nobody else can write to its files (a dead process's writes have
 * landed).  Finds where it is good, cuts log and sidecar there, and makes all
 * of that durable; reads no more data than was logged since the last flush or
 * metadata block.  The clock is set on where it is behind: the logs of all
 * disks are to be taken up before any is mended.
 *
 * To MEND, a set for the disk, is added what log and image may not both have,
 * as far as log, sidecar and table know: after a power cut that is not all,
 * see docs/format/sidecar.md.  Unless ENDED is CLEAN the caller then logs what
 * the image holds there by stream_mend() and ends with stream_mended(); until
 * then the sidecar says that no moment is certain, and a death finds all of
 * this again.  Then it syncs as for a flush.
 *
 * -ENOENT, -RP_ECORRUPT, -RP_ESTATE (it was dropped), or what the files say:
 * the log is of no use any more.
 */
int stream_repair(const struct log_service *service, const struct guid *id,
		  const struct guid *point, uint32_t disk, enum log_ended ended,
		  struct blockset *mend, struct log_repair *ret_repair,
		  struct log_stream **ret_stream, struct err *err);

/* For a log that nobody writes to: adds to SET all blocks that its records
 * name.  Failures as of stream_repair(). */
int stream_named(const struct log_service *service, const struct guid *id,
		 const struct guid *point, uint32_t disk, struct blockset *set,
		 struct err *err);
/* Has it its end, so that all of it is there, durably? */
int stream_ends(const struct log_service *service, const struct guid *id,
		const struct guid *point, uint32_t disk, bool *ret_ends,
		struct err *err);
/* It is closed no more, durably; nothing if it is not.  Before
 * stream_repair(). */
int stream_reopen(const struct log_service *service, const struct guid *id,
		  const struct guid *point, uint32_t disk, struct err *err);

/*
 * Ends serving.  No piece waits (if one does: stream_drop() and stream_turn()
 * before), and no callback comes any more.  The stream goes at once, or, if
 * pieces or I/O of it are still under way, with the last of them: then its
 * memory and files stay until then, and the queue must, too.  For a clean end
 * the caller has before, with nothing under way: stream_sync(), the image's
 * sync, stream_flushed(), and stream_sync() again.  NULL is accepted.
 */
struct log_stream *stream_end(struct log_stream *stream);

/* ---- Writes ----------------------------------------------------------- */

/* A part of a guest's write.  The caller's until stream_written(). */
struct log_piece {
	uint64_t offset;  /* on the disk; whole sectors */
	uint64_t length;  /* likewise; at most LOG_PIECE_BYTES, zeros at most
			     REGION_BYTES */
	const void *data; /* NULL: zeros */
	/* If stream_add() said false: called once, later, as if it now said
	 * true. */
	void (*ready)(struct log_piece *piece);
	/* Set when it is in the log: what the image is to be written with,
	 * LENGTH bytes aligned to a sector (to 4096 where its place in the log
	 * is), valid until stream_written().  NULL for zeros; DATA itself if
	 * there is no log any more. */
	const void *bytes;
	/* ---- the stream's ---- */
	struct log_piece *next;
	uint64_t span;
	int64_t since_ms;
};

/* True: it is in the log, write the image.  False: ready() will be called.
 * Nothing that overlaps it may be on its way to the image, from here until
 * stream_written(). */
bool stream_add(struct log_stream *stream, struct log_piece *piece);

/* The image's write has ended, or was never made, with RESULT as of its io.
 * True, for a failure: what the image now holds there must be read and logged:
 * stream_mend() for all of it, then stream_mended() with the piece, before
 * anything that overlaps it is added.  If it cannot be read: stream_drop(). */
bool stream_written(struct log_stream *stream, struct log_piece *piece,
		    int result);

/* Logs what the image holds; as stream_add(), but that nothing is to be
 * written to the image and stream_written() not to be called: PIECE is the
 * caller's again with true or ready().  Goes before all that waits. */
bool stream_mend(struct log_stream *stream, struct log_piece *piece);
/* All of PIECE is logged anew; NULL: all that stream_repair() said. */
void stream_mended(struct log_stream *stream, struct log_piece *piece);

/* ---- Flushes ---------------------------------------------------------- */

struct log_flush {
	/* That of a log that is dropped is done as well. */
	void (*done)(struct log_flush *flush);
	void *owner; /* the caller's own */
	/* ---- the stream's ---- */
	struct log_flush *next;
	uint64_t log_end; /* durable in the log with done() */
	uint64_t records; /* likewise in the sidecar */
	uint64_t sequence;
	int64_t since_ms;
};

/* To be called before the image's sync is submitted.  With done() all that was
 * added before is durable in log and sidecar. */
void stream_sync(struct log_stream *stream, struct log_flush *flush);
/* The image's sync has succeeded, too, after FLUSH was done. */
void stream_flushed(struct log_stream *stream, struct log_flush *flush);

/* ---- The rest --------------------------------------------------------- */

/* Once in each turn of the queue's loop, before it submits: writes what was
 * added, or holds it back until there is more, somebody waits, or the next tick
 * (stream.c L10).  Writes of one turn go to the log together. */
void stream_turn(struct log_stream *stream);
/* Every now and then, at most 250 ms apart; NOW_MS of a clock that only goes
 * forward. */
void stream_tick(struct log_stream *stream, int64_t now_ms);

/* Ends the log: no piece is under way, and none comes any more.  DONE is called
 * when it is closed and all of it durable, or with why that failed; the
 * stream is then good for stream_end() alone. */
void stream_close(struct log_stream *stream,
		  void (*done)(void *arg, int result, const struct err *err),
		  void *arg);

/* stream_close() has said 0. */
bool stream_is_closed(const struct log_stream *stream);

/* Drops the log because of WHY. */
void stream_drop(struct log_stream *stream, const struct err *why);
bool stream_is_dropped(const struct log_stream *stream);
/* NULL: it is not dropped. */
const struct err *stream_why(const struct log_stream *stream);

/* Bytes of the log so far, holes included. */
uint64_t stream_log_end(const struct log_stream *stream);
/* ... of which so many are behind what the last flush said. */
uint64_t stream_unflushed(const struct log_stream *stream);
/* Pieces that wait for room. */
bool stream_has_waiting(const struct log_stream *stream);
/* Slots of the table that are taken. */
unsigned stream_under_way(const struct log_stream *stream);
const struct sidecar_head *stream_head(const struct log_stream *stream);

#endif
