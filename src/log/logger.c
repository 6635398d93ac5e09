/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The data path of logs: pieces and flushes of guests.  G1 to G3, G6.
 */
#include <assert.h>
#include <stdlib.h>
#include <time.h>

#include "log/logs-internal.h"

/* ---- parts ------------------------------------------------------------ */

void part_ref(struct part *part)
{
	part->refs++;
}

void part_free(struct part *part)
{
	for (uint32_t i = 0; i < DISKS_PER_VM_MAX; i++)
		part->streams[i] = stream_end(part->streams[i]);
	free(part);
}

void part_unref(struct part *part)
{
	assert(part->refs > 0);
	if (--part->refs == 0)
		part_free(part);
}

void logger_append(struct logs *logs, struct part *part)
{
	struct part **at = &logs->parts;

	while (*at)
		at = &(*at)->next;
	part->next = NULL;
	part->refs = 1;
	*at = part;
}

/* What waits in a stream goes on when it is dropped, with its next turn. */
static void drop_streams(struct logs *logs, struct part *part,
			 const struct err *why)
{
	for (uint32_t i = 0; i < logs->disks; i++)
		if (part->streams[i] && !stream_is_closed(part->streams[i]))
			stream_drop(part->streams[i], why);
}

static void turn_streams(struct logs *logs, struct part *part)
{
	part_ref(part);
	for (uint32_t i = 0; i < logs->disks; i++)
		if (part->streams[i])
			stream_turn(part->streams[i]);
	part_unref(part);
}

void logger_remove(struct logs *logs, struct part *part, const struct err *why)
{
	struct part **at = &logs->parts;

	while (*at != part)
		at = &(*at)->next;
	part->lost = true; /* nobody is to hear of it */
	drop_streams(logs, part, why);
	turn_streams(logs, part);
	for (at = &logs->parts; *at != part;)
		at = &(*at)->next;
	*at = part->next;
	part_unref(part);
}

void logger_give_up(struct logs *logs, struct part *part, const struct err *why)
{
	if (part->lost)
		return;
	part->lost = true;
	drop_streams(logs, part, why);
	logs_note_lost(logs, &part->origin, why->text);
}

void logger_dropped(struct log_stream *stream, void *arg)
{
	struct logs *logs = arg;

	for (struct part *part = logs->parts; part; part = part->next)
		for (uint32_t i = 0; i < logs->disks; i++)
			if (part->streams[i] == stream)
				logger_give_up(logs, part, stream_why(stream));
}

/* G1 */
static struct part *part_of(struct logs *logs, uint64_t epoch)
{
	struct part *found = NULL;

	for (struct part *part = logs->parts; part; part = part->next)
		if (atomic_load(&part->first_epoch) <= epoch)
			found = part;
	return found;
}

/* ---- entries ---------------------------------------------------------- */

static struct logs *logs_of(struct volume_logger *logger)
{
	return container_of(logger, struct logs, logger);
}

static struct entry *entry_new(struct logs *logs)
{
	struct entry *entry = logs->entries;

	if (entry)
		logs->entries = entry->next;
	else
		entry = malloc(sizeof(*entry));
	if (entry)
		*entry = (struct entry){.logs = logs};
	return entry;
}

static void entry_free(struct entry *entry)
{
	struct logs *logs = entry->logs;

	if (entry->part)
		part_unref(entry->part);
	for (unsigned i = 0; i < entry->count; i++)
		part_unref(entry->parts[i]);
	entry->next = logs->entries;
	logs->entries = entry;
}

/* ---- pieces ----------------------------------------------------------- */

static uint64_t monotonic_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void waiting_add(struct entry *entry)
{
	struct logs *logs = entry->logs;

	entry->since_ns = monotonic_ns();
	entry->before = &logs->waiting;
	entry->next = logs->waiting;
	if (entry->next)
		entry->next->before = &entry->next;
	logs->waiting = entry;
}

static void waiting_remove(struct entry *entry)
{
	*entry->before = entry->next;
	if (entry->next)
		entry->next->before = entry->before;
}

/* P4, of a whole request: its pieces wait one after the other, and may have
 * waited for copies as well (request->guarded_ns). */
static void check_waiting(struct logs *logs)
{
	uint64_t now = monotonic_ns();
	struct err why = {0};

	for (struct entry *e = logs->waiting; e; e = e->next) {
		if (e->request->guarded_ns + (now - e->since_ns) <
		    LOG_PAUSE_MS * UINT64_C(1000000))
			continue;
		(void)err_set(&why, -RP_ETIMEOUT,
			      "a write waited %u ms for the log", LOG_PAUSE_MS);
		logger_give_up(logs, e->part, &why);
	}
}

/* The stream has admitted it, or is dropped. */
static void admitted(struct entry *entry)
{
	struct volume_request *request = entry->request;

	if (stream_is_dropped(entry->stream)) {
		entry_free(entry);
		return;
	}
	request->logged = entry;
	if (entry->piece.bytes)
		request->bytes = entry->piece.bytes;
}

static void ready(struct log_piece *piece)
{
	struct entry *entry = container_of(piece, struct entry, piece);
	struct volume_request *request = entry->request;

	request->guarded_ns += monotonic_ns() - entry->since_ns;
	waiting_remove(entry);
	admitted(entry);
	volume_logged(request);
}

static bool add(struct volume_logger *logger, struct volume_request *request)
{
	struct logs *logs = logs_of(logger);
	struct part *part = part_of(logs, request->epoch);
	uint32_t disk = volume_ordinal(request->volume);
	struct err why = {0};
	struct entry *entry;

	if (!part || stream_is_dropped(part->streams[disk]))
		return true;
	entry = entry_new(logs);
	if (!entry) {
		(void)err_set(&why, -ENOMEM, "no memory to log a write");
		logger_give_up(logs, part, &why);
		return true;
	}
	if (request->op == VOLUME_WRITE)
		request->piece = MIN(request->piece, LOG_PIECE_BYTES);
	part_ref(part);
	entry->part = part;
	entry->stream = part->streams[disk];
	entry->request = request;
	entry->volume = request->volume;
	entry->piece = (struct log_piece){
	    .offset = request->position,
	    .length = request->piece,
	    .data = request->bytes,
	    .ready = ready,
	};
	if (!stream_add(entry->stream, &entry->piece)) {
		waiting_add(entry);
		return false;
	}
	admitted(entry);
	return true;
}

/* L7: what the image failed to write is logged as it now is. */
static void failure_mended(void *arg, int result)
{
	struct entry *entry = arg;
	struct volume_request *request = entry->request;
	struct err why = {0};

	if (result < 0) {
		(void)err_set(&why, result,
			      "a write of disk '%s' failed, and what it holds "
			      "there cannot be read",
			      volume_id(entry->volume));
		logger_give_up(entry->logs, entry->part, &why);
	}
	stream_mended(entry->stream, &entry->piece);
	entry_free(entry);
	volume_over(request);
}

static bool written(struct volume_logger *logger,
		    struct volume_request *request, int result)
{
	struct entry *entry = request->logged;
	uint64_t at = entry->piece.offset;
	struct err why = {0};
	int r;

	request->logged = NULL;
	if (!stream_written(entry->stream, &entry->piece, result)) {
		entry_free(entry);
		return true;
	}
	r = mend_begin(entry->logs, entry->part, volume_ordinal(entry->volume),
		       NULL, at, at + entry->piece.length, failure_mended,
		       entry);
	if (r == 0)
		return false;
	(void)err_set(&why, r, "no memory to log what a write left");
	logger_give_up(entry->logs, entry->part, &why);
	entry_free(entry);
	return true;
}

/* ---- flushes ---------------------------------------------------------- */

static void flush_done(struct log_flush *flush);

/* Of all parts that are written to: what is durable is so in all of them. */
static unsigned sync_parts(struct entry *entry)
{
	uint32_t disk = volume_ordinal(entry->volume);

	entry->over = volume_pieces_over(entry->volume);
	for (struct part *p = entry->logs->parts; p; p = p->next) {
		struct log_stream *stream = p->streams[disk];

		if (stream_is_dropped(stream) || entry->count == PARTS_OPEN_MAX)
			continue;
		part_ref(p);
		entry->parts[entry->count++] = p;
	}
	entry->waiting = entry->count;
	for (unsigned i = 0; i < entry->count; i++) {
		entry->flushes[i].done = flush_done;
		entry->flushes[i].owner = entry;
		stream_sync(entry->parts[i]->streams[disk], &entry->flushes[i]);
	}
	return entry->count;
}

static bool has_dropped(const struct logs *logs, const struct part *part)
{
	for (uint32_t i = 0; i < logs->disks; i++)
		if (stream_is_dropped(part->streams[i]))
			return true;
	return false;
}

/* T11: only what no lost part lacks. */
static void note_settled(struct entry *entry)
{
	struct logs *logs = entry->logs;

	if (logs->mending)
		return;
	for (struct part *p = logs->parts; p; p = p->next)
		if (p->lost || has_dropped(logs, p))
			return;
	volume_settled(entry->volume, entry->over);
}

static void flush_done(struct log_flush *flush)
{
	struct entry *entry = flush->owner;

	if (--entry->waiting > 0)
		return;
	note_settled(entry);
	if (entry->request)
		volume_synced(entry->request);
	else
		entry_free(entry);
}

static bool sync_log(struct volume_logger *logger,
		     struct volume_request *request)
{
	struct logs *logs = logs_of(logger);
	struct err why = {0};
	struct entry *entry;

	if (!logs->parts)
		return true;
	entry = entry_new(logs);
	if (!entry) {
		(void)err_set(&why, -ENOMEM, "no memory to sync the log");
		for (struct part *p = logs->parts; p; p = p->next)
			logger_give_up(logs, p, &why);
		return true;
	}
	entry->request = request;
	entry->volume = request->volume;
	if (sync_parts(entry) == 0) {
		entry_free(entry);
		return true;
	}
	request->logged = entry;
	return false;
}

/* D4: what counts as flushed, and when. */
static void record_flushes(struct logs *logs, uint32_t disk)
{
	struct volume *volume = vm_volume_at(logs->vm, disk);
	struct unsure *u = &logs->unsure[disk];

	if (!u->part || !volume_sync_counts(volume, u->syncs))
		return;
	stream_flushed(u->part->streams[disk], &u->flush);
	part_unref(u->part);
	u->part = NULL;
}

/* One that is older is left to wait: it will be sure before this one. */
static void note_flush(struct logs *logs, uint32_t disk, struct part *part,
		       const struct log_flush *flush)
{
	struct unsure *u = &logs->unsure[disk];

	if (u->part)
		return;
	part_ref(part);
	*u = (struct unsure){
	    .part = part,
	    .flush = *flush,
	    .syncs = volume_syncs(vm_volume_at(logs->vm, disk)),
	};
}

static void synced(struct volume_logger *logger, struct volume_request *request,
		   int result)
{
	struct entry *entry = request->logged;
	uint32_t disk = volume_ordinal(entry->volume);
	struct logs *logs = entry->logs;

	/* While a cut is under way there are several: the next flush does. */
	if (result == 0 && entry->count == 1)
		note_flush(logs, disk, entry->parts[0], &entry->flushes[0]);
	record_flushes(logs, disk);
	entry_free(entry);
}

/* ---- the retirer's ---------------------------------------------------- */

static void settle_task(struct ring_task *task)
{
	struct logs *logs = container_of(task, struct logs, settle);

	atomic_store(&logs->settle_posted, false);
	if (!logs->parts || logs->quiet)
		return;
	for (uint32_t i = 0; i < logs->disks; i++) {
		struct entry *entry = entry_new(logs);

		if (!entry)
			return; /* the next cycle asks again */
		entry->volume = vm_volume_at(logs->vm, i);
		if (sync_parts(entry) == 0) {
			note_settled(entry);
			entry_free(entry);
		}
	}
}

static void settle(struct volume_logger *logger)
{
	struct logs *logs = logs_of(logger);

	/* Not once the last call of logs_detach() is on its way: G8. */
	logs_lock(logs);
	if (atomic_load(&logs->attached) &&
	    !atomic_exchange(&logs->settle_posted, true))
		logs->host.post(logs->host.arg, &logs->settle);
	logs_unlock(logs);
}

void logger_init(struct logs *logs)
{
	logs->settle.run = settle_task;
	logs->logger = (struct volume_logger){
	    .add = add,
	    .written = written,
	    .sync = sync_log,
	    .synced = synced,
	    .settle = settle,
	};
}

/* ---- turns and ticks -------------------------------------------------- */

static void give_up_all(struct logs *logs, int code, const char *reason)
{
	struct err why = {0};

	(void)err_set(&why, code, "%s", reason);
	for (struct part *part = logs->parts; part; part = part->next)
		logger_give_up(logs, part, &why);
}

/* At each turn: nothing of the log is written that there is no room for, as
 * far as others leave it alone. */
static void check_room(struct logs *logs)
{
	int64_t used = (int64_t)atomic_load(&logs->budget.used);

	if (logs->parts && used > atomic_load(&logs->room))
		give_up_all(logs, -RP_ENOROOM,
			    "the store's file system has no room but what is "
			    "kept for tracking");
}

void logs_turn(struct logs *logs)
{
	struct part *part = logs->parts;

	check_room(logs);
	while (part) {
		struct part *next = part->next;

		turn_streams(logs, part);
		part = next;
	}
}

/* ---- without flushes of the guest's ----------------------------------- */

static void flush_over(struct volume_request *request, int result)
{
	struct flushing *f = container_of(request, struct flushing, request);
	struct volume *volume = vm_volume_at(f->logs->vm, f->disk);
	struct call *waiting = f->logs->quiescing;

	f->busy = false;
	if (result < 0)
		volume_sync_failed(volume, result);
	if (waiting && --waiting->waiting == 0) {
		f->logs->quiescing = NULL;
		call_done(waiting, 0, NULL);
	}
}

/* After a kill all that was logged since the last flush is logged anew: a guest
 * that never flushes is not to wait for that.  As if it had flushed. */
static void flush_disk(struct logs *logs, struct part *part, uint32_t disk)
{
	struct flushing *f = &logs->flushing[disk];

	if (f->busy || part->lost || logs->mending || logs->quiet ||
	    stream_unflushed(part->streams[disk]) < LOG_UNFLUSHED_BYTES)
		return;
	f->logs = logs;
	f->disk = disk;
	f->busy = true;
	f->request =
	    (struct volume_request){.op = VOLUME_FLUSH, .done = flush_over};
	volume_submit(vm_volume_at(logs->vm, disk), &f->request);
}

void logger_quiesce(struct call *call)
{
	struct logs *logs = call->logs;

	logs->quiet = true;
	for (uint32_t i = 0; i < logs->disks; i++)
		call->waiting += logs->flushing[i].busy;
	if (call->waiting)
		logs->quiescing = call;
	else
		call_done(call, 0, NULL);
}

void logs_tick(struct logs *logs)
{
	char reason[REASON_BYTES];
	int64_t now_ms;

	if (!logs->parts)
		return;
	if (vm_latched(logs->vm, reason))
		give_up_all(logs, -RP_ELATCHED, reason);
	atomic_store(&logs->used, logs->budget.used);
	check_waiting(logs);
	for (uint32_t i = 0; i < logs->disks; i++)
		record_flushes(logs, i);
	now_ms = (int64_t)(monotonic_ns() / 1000000);
	for (struct part *part = logs->parts; part;) {
		struct part *next = part->next;

		part_ref(part);
		for (uint32_t i = 0; i < logs->disks; i++)
			stream_tick(part->streams[i], now_ms);
		for (uint32_t i = 0; !next && i < logs->disks; i++)
			flush_disk(logs, part, i);
		part_unref(part);
		part = next;
	}
}
