/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A log-based point: the open part's logs are closed at one cut, and the next
 * part begins there.
 *
 *   C1  the next part's files are made, durably; if there is an open point the
 *       part gets a row as a further one of it
 *   C2  it goes on the list; vm_strict() from here on
 *   C3  the cut (track/seal.c): it has its first epoch
 *   C4  writes before the cut are over, images synced: all older parts' logs
 * are closed, durably C5  the commit: the point, and the part is its C6  the
 * older parts leave the list
 *
 * A failure before C3 takes C1 and C2 back.  After C3 writes go to the next
 * part already: it stays, as a further part of the open point, with the older
 * ones beside it that are not closed yet; the next cut closes them all.  If
 * there is no open point nobody needs it.
 */
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "log/logs-internal.h"

/* ---- files ------------------------------------------------------------ */

static void read_clock(struct call *call)
{
	*(struct log_clock *)call->arg = call->logs->clock;
	call_done(call, 0, NULL);
}

struct ids {
	struct guid logs[DISKS_PER_VM_MAX];
	bool any;
};

/* Of the newest part, which the next ones follow. */
static void read_ids(struct call *call)
{
	struct part *part = call->logs->parts;
	struct ids *ids = call->arg;

	while (part && part->next)
		part = part->next;
	ids->any = part && !part->lost;
	for (uint32_t i = 0; ids->any && i < call->logs->disks; i++)
		ids->logs[i] = stream_head(part->streams[i])->log;
	call_done(call, 0, NULL);
}

void part_unlink(struct logs *logs, const struct guid *origin)
{
	const struct vm_env *env = vm_environment(logs->vm);

	for (uint32_t i = 0; i < logs->disks; i++)
		log_unlink(env->store, env->memory, origin, i);
}

static int create_disk(struct logs *logs, struct part *part, uint32_t disk,
		       const struct log_clock *clock, const struct ids *ids,
		       struct err *err)
{
	const struct disk_row *row = vm_disk(logs->vm, disk);
	struct sidecar_head head = {
	    .store = vm_system(logs->vm)->store,
	    .log = guid_random(),
	    .point = part->origin,
	    .bytes = row->bytes,
	    .first_sequence = clock->sequence,
	    .first_time_ns = clock->time_ns,
	    .disk = disk,
	};

	if (ids->any)
		head.previous = ids->logs[disk];
	return stream_create(&logs->service, &head, &row->nonce,
			     &part->streams[disk], err);
}

int part_create(struct logs *logs, const struct guid *origin,
		struct part **ret_part, struct err *err)
{
	struct fs *store = vm_environment(logs->vm)->store;
	struct part *part = calloc(1, sizeof(*part));
	struct ids ids = {.any = false};
	struct log_clock clock;
	int64_t now;
	int r = 0;

	if (!part)
		return err_set(err, -ENOMEM, "logs");
	part->origin = *origin;
	atomic_store(&part->first_epoch, UINT64_MAX);
	(void)logs_call(logs, read_clock, &clock, NULL);
	(void)logs_call(logs, read_ids, &ids, NULL);
	now = clock.now_ns(clock.arg);
	clock.time_ns = clock.time_ns ? clock.time_ns : now;
	for (uint32_t i = 0; r == 0 && i < logs->disks; i++)
		r = create_disk(logs, part, i, &clock, &ids, err);
	if (r == 0)
		r = store->ops->sync_dir(store, err);
	if (r < 0) {
		part_free(part);
		part_unlink(logs, origin);
		return r;
	}
	*ret_part = part;
	return 0;
}

/* ---- the list --------------------------------------------------------- */

struct cut {
	struct logs *logs;
	struct part *part;   /* the next */
	struct guid open;    /* the open point, if there is one */
	bool has_open, came; /* has the cut come? */
};

static void append(struct call *call)
{
	struct cut *cut = call->arg;

	logger_append(cut->logs, cut->part);
	call_done(call, 0, NULL);
}

static const struct err no_point = {.code = -RP_ESTATE,
				    .text = "its point came to nothing"};

static void take_back(struct call *call)
{
	struct cut *cut = call->arg;

	logger_remove(cut->logs, cut->part, &no_point);
	call_done(call, 0, NULL);
}

static bool is_closed(const struct logs *logs, const struct part *part)
{
	for (uint32_t i = 0; i < logs->disks; i++)
		if (!stream_is_closed(part->streams[i]))
			return false;
	return true;
}

/* C6.  Lost ones stay until the catalogue says so. */
static void drop_closed(struct call *call)
{
	struct logs *logs = call->logs;

	for (struct part *part = logs->parts; part;) {
		struct part *next = part->next;

		if (is_closed(logs, part))
			logger_remove(logs, part, &no_point);
		part = next;
	}
	call_done(call, 0, NULL);
}

static void count_parts(struct call *call)
{
	int n = 0;

	for (struct part *part = call->logs->parts; part; part = part->next)
		n++;
	call_done(call, n, NULL);
}

/* ---- C3, C4 ----------------------------------------------------------- */

static void came(void *arg, uint64_t first)
{
	struct cut *cut = arg;

	cut->came = true;
	atomic_store(&cut->part->first_epoch, first);
}

static void one_closed(void *arg, int result, const struct err *err)
{
	struct call *call = arg;

	/* One that failed is lost, which the catalogue will say. */
	if (--call->waiting == 0)
		call_done(call, 0, NULL);
}

void logs_close_older(struct call *call)
{
	struct logs *logs = call->logs;

	call->waiting = 1;
	for (struct part *part = logs->parts; part && part->next;
	     part = part->next)
		for (uint32_t i = 0; i < logs->disks; i++) {
			if (part->lost || stream_is_closed(part->streams[i]))
				continue;
			call->waiting++;
			stream_close(part->streams[i], one_closed, call);
		}
	one_closed(call, 0, NULL);
}

static void check_next(struct call *call)
{
	struct cut *cut = call->arg;
	struct err why = {0};
	int r = 0;

	if (cut->part->lost)
		r = err_set(&why, -RP_EIOFAIL,
			    "no point: its log was dropped already");
	call_done(call, r, &why);
}

static int drained(void *arg, uint32_t ms, struct err *err)
{
	struct cut *cut = arg;

	(void)logs_call(cut->logs, logs_close_older, NULL, NULL);
	return logs_call(cut->logs, check_next, cut, err);
}

/* ---- the whole -------------------------------------------------------- */

static int admit(struct logs *logs, struct err *err)
{
	uint64_t used, limit;

	if (!atomic_load(&logs->attached))
		return err_set(err, -RP_ESTATE, "the disks are not attached");
	logs_look_at_room(logs);
	logs_usage(logs, &used, &limit);
	if (limit < LOG_LIMIT_MIN * logs->disks)
		return err_set(err, -RP_ELIMIT,
			       "no log-based point: the logs' limit of %llu "
			       "bytes is too small; %llu is the least",
			       (unsigned long long)limit,
			       (unsigned long long)LOG_LIMIT_MIN * logs->disks);
	if (used + LOG_LIMIT_MIN * logs->disks > limit)
		return err_set(err, -RP_ELIMIT,
			       "no log-based point: the logs take %llu bytes "
			       "already, and their limit is %llu; destroy a "
			       "log-based point, drop a log, or set another "
			       "limit",
			       (unsigned long long)used,
			       (unsigned long long)limit);
	if ((int64_t)used > atomic_load(&logs->room))
		return err_set(err, -RP_ENOROOM,
			       "no log-based point: the store's file system "
			       "has no room but what is kept for tracking");
	if (logs_call(logs, count_parts, NULL, NULL) >= PARTS_OPEN_MAX)
		return err_set(err, -RP_ESTATE,
			       "no log-based point: %u attempts before have "
			       "left logs that are not closed; stop and serve "
			       "the virtual system again",
			       PARTS_OPEN_MAX - 1);
	return 0;
}

/* A row that a failure left. */
int cut_forget_stale(struct logs *logs, struct err *err)
{
	int r;

	if (guid_is_zero(&logs->stale))
		return 0;
	r = vm_log_forget(logs->vm, &logs->stale, err);
	if (r == 0)
		logs->stale = (struct guid){0};
	return r;
}

/* C1 */
static int prepare(struct cut *cut, const struct guid *id, struct err *err)
{
	struct logs *logs = cut->logs;
	struct log_part_row *rows = NULL;
	int r = cut_forget_stale(logs, err);

	if (r == 0)
		r = logs_open_rows(logs, &cut->open, &rows, err);
	free(rows);
	if (r < 0)
		return r;
	cut->has_open = r > 0;
	r = part_create(logs, id, &cut->part, err);
	if (r < 0 || !cut->has_open)
		return r;
	r = vm_log_add(logs->vm, id, &cut->open, err);
	if (r < 0) {
		part_free(cut->part);
		part_unlink(logs, id);
	}
	return r;
}

static void undo(struct cut *cut)
{
	struct logs *logs = cut->logs;
	struct guid origin = cut->part->origin;
	struct err err = {0};

	if (cut->came && cut->has_open)
		return;
	(void)logs_call(logs, take_back, cut, NULL);
	if (cut->has_open && vm_log_forget(logs->vm, &origin, &err) < 0) {
		log_warning("the log of a point that was not made stays: %s",
			    err.text);
		logs->stale = origin;
	}
}

static int create(struct logs *logs, struct vm_point_request *request,
		  struct point_row *ret_point, struct err *err)
{
	struct cut cut = {.logs = logs};
	int r = prepare(&cut, &request->id, err);

	if (r < 0)
		return r;
	vm_strict(logs->vm, true);
	(void)logs_call(logs, append, &cut, NULL);
	request->cut = came;
	request->drained = drained;
	request->cut_arg = &cut;
	r = vm_point_create(logs->vm, request, ret_point, err);
	if (r < 0)
		undo(&cut);
	(void)logs_call(logs, drop_closed, NULL, NULL);
	logs_refresh(logs);
	return r;
}

struct again {
	const char *request_id;
	struct point_row *point;
	bool found;
};

static int find_again(void *arg, const struct point_row *row)
{
	struct again *again = arg;

	if (strcmp(row->request_id, again->request_id) != 0)
		return 0;
	*again->point = *row;
	again->found = true;
	return 1;
}

int logs_create(struct logs *logs, const struct vm_point_request *request,
		struct point_row *ret_point, struct err *err)
{
	struct vm_point_request copy = *request;
	struct again again = {request->request_id, ret_point, false};
	int r = 0;

	if (request->request_id[0])
		r = vm_points(logs->vm, find_again, &again, err);
	if (r < 0 || again.found)
		return r < 0 ? r : 0;
	if (guid_is_zero(&copy.id))
		copy.id = guid_random();
	logs_change(logs);
	r = admit(logs, err);
	if (r == 0)
		r = create(logs, &copy, ret_point, err);
	logs_changed(logs);
	return r;
}
