/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All logs of a virtual system: what there is, what it takes, and who hears of
 * what was lost.  logs-internal.h has the invariants.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "common/log.h"
#include "disk/faulty.h"
#include "disk/posix.h"
#include "log/logs-internal.h"

const char *logs_state_name(enum logs_state state)
{
	static const char *const names[] = {
	    [LOGS_OPEN] = "open",
	    [LOGS_CLOSED] = "closed",
	    [LOGS_GONE] = "gone",
	};

	return names[state];
}

void logs_lock(struct logs *logs)
{
	(void)pthread_mutex_lock(&logs->lock);
}

void logs_unlock(struct logs *logs)
{
	(void)pthread_mutex_unlock(&logs->lock);
}

/* ---- calls of the queue's thread -------------------------------------- */

static void call_run(struct ring_task *task)
{
	struct call *call = container_of(task, struct call, task);

	call->fn(call);
}

void call_done(struct call *call, int result, const struct err *err)
{
	struct logs *logs = call->logs;

	logs_lock(logs);
	call->result = result;
	if (err)
		call->err = *err;
	call->done = true;
	(void)pthread_cond_broadcast(&logs->called);
	logs_unlock(logs);
}

static bool is_done(struct call *call)
{
	bool done;

	logs_lock(call->logs);
	done = call->done;
	logs_unlock(call->logs);
	return done;
}

int logs_call(struct logs *logs, void (*fn)(struct call *call), void *arg,
	      struct err *err)
{
	const struct vm_env *env = vm_environment(logs->vm);
	struct call call = {
	    .task.run = call_run, .logs = logs, .fn = fn, .arg = arg};

	logs->host.post(logs->host.arg, &call.task);
	while (env->pump && !is_done(&call))
		env->pump(env->arg);
	logs_lock(logs);
	while (!call.done)
		(void)pthread_cond_wait(&logs->called, &logs->lock);
	logs_unlock(logs);
	if (call.result < 0 && err)
		*err = call.err;
	return call.result;
}

/* ---- rows ------------------------------------------------------------- */

struct rows {
	struct log_part_row *rows;
	uint32_t count;
	const struct guid *point; /* of these alone, or NULL */
};

static int note_row(void *arg, const struct log_part_row *row)
{
	struct rows *rows = arg;

	if (rows->point && !guid_equal(rows->point, &row->point))
		return 0;
	if (rows->count < LOG_PARTS_MAX)
		rows->rows[rows->count++] = *row;
	return 0;
}

static int read_rows(struct logs *logs, const struct guid *point,
		     struct rows *ret_rows, struct err *err)
{
	struct rows rows = {.point = point};
	int r;

	rows.rows = malloc(LOG_PARTS_MAX * sizeof(*rows.rows));
	if (!rows.rows)
		return err_set(err, -ENOMEM, "logs");
	r = vm_log_parts(logs->vm, note_row, &rows, err);
	if (r < 0) {
		free(rows.rows);
		return r;
	}
	*ret_rows = rows;
	return 0;
}

struct newest {
	struct guid id;
	bool any;
};

static int note_newest(void *arg, const struct point_row *row)
{
	struct newest *newest = arg;

	if (row->type != POINT_LOG)
		return 0;
	newest->id = row->id;
	newest->any = true;
	return 0;
}

int logs_open_rows(struct logs *logs, struct guid *ret_point,
		   struct log_part_row **ret_rows, struct err *err)
{
	char reason[REASON_BYTES];
	struct newest newest = {.any = false};
	struct rows rows;
	int r = vm_points(logs->vm, note_newest, &newest, err);

	if (r < 0)
		return r;
	if (!newest.any || vm_log_lost(logs->vm, &newest.id, reason))
		return 0;
	r = read_rows(logs, &newest.id, &rows, err);
	if (r < 0)
		return r;
	*ret_point = newest.id;
	*ret_rows = rows.rows;
	return (int)rows.count;
}

/* ---- files ------------------------------------------------------------ */

static bool has_row(const struct rows *rows, const struct guid *origin)
{
	for (uint32_t i = 0; i < rows->count; i++)
		if (guid_equal(&rows->rows[i].origin, origin))
			return true;
	return false;
}

struct stray {
	const struct rows *rows;
	const struct logs *logs;
	struct guid origin;
	uint32_t disk;
};

/* G4; what is on the list is used, with or without a row. */
static int find_stray(void *arg, const struct guid *origin, uint32_t disk)
{
	struct stray *stray = arg;

	if (has_row(stray->rows, origin))
		return 0;
	stray->origin = *origin;
	stray->disk = disk;
	return 1;
}

/* What cannot be removed now is found again by the next sweep. */
static void sweep_dir(struct logs *logs, struct fs *dir, struct stray *stray)
{
	const struct vm_env *env = vm_environment(logs->vm);
	struct guid before = {0};
	uint32_t disk = UINT32_MAX;

	while (log_walk(dir, find_stray, stray, NULL) > 0 &&
	       (!guid_equal(&before, &stray->origin) || disk != stray->disk)) {
		before = stray->origin;
		disk = stray->disk;
		log_unlink(env->store, env->memory, &before, disk);
	}
}

static void sweep(struct logs *logs, const struct rows *rows)
{
	const struct vm_env *env = vm_environment(logs->vm);
	struct stray stray = {.rows = rows, .logs = logs};

	sweep_dir(logs, env->store, &stray);
	if (env->memory)
		sweep_dir(logs, env->memory, &stray);
}

/* As the file system counts, where there is one. */
static uint64_t file_bytes(struct fs *fs, const char *name)
{
	struct file *file, *inner;
	uint64_t bytes = 0;
	struct stat st;

	if (fs_open(fs, name, FILE_READ, &file, NULL) < 0)
		return 0;
	inner = faulty_file_inner(file);
	if (posix_is_file(inner) && fstat(posix_file_fd(inner), &st) == 0)
		bytes = (uint64_t)st.st_blocks * 512;
	else
		(void)file->ops->size(file, &bytes, NULL);
	file_close(file);
	return bytes;
}

static uint64_t part_bytes(struct logs *logs, const struct guid *origin)
{
	struct fs *store = vm_environment(logs->vm)->store;
	char name[LOG_NAME_BYTES];
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < logs->disks; i++) {
		log_name(LOG_DATA, origin, i, name);
		bytes += file_bytes(store, name);
		log_name(LOG_SIDE, origin, i, name);
		bytes += file_bytes(store, name);
	}
	return bytes;
}

static void set_budget(struct call *call)
{
	struct logs *logs = call->logs;
	uint64_t used;

	logs->budget.used = *(uint64_t *)call->arg;
	logs_usage(logs, &used, &logs->budget.limit);
	atomic_store(&logs->used, logs->budget.used);
	call_done(call, 0, NULL);
}

static void measure(struct logs *logs, const struct rows *rows)
{
	struct usage *usage = calloc(rows->count + 1, sizeof(*usage)), *old;
	uint64_t bytes = 0;

	if (!usage)
		return; /* as it was */
	for (uint32_t i = 0; i < rows->count; i++) {
		usage[i].origin = rows->rows[i].origin;
		usage[i].bytes = part_bytes(logs, &usage[i].origin);
		bytes += usage[i].bytes;
	}
	logs_lock(logs);
	old = logs->usage;
	logs->usage = usage;
	logs->usage_count = rows->count;
	logs_unlock(logs);
	free(old);
	if (atomic_load(&logs->attached))
		(void)logs_call(logs, set_budget, &bytes, NULL);
	else
		atomic_store(&logs->used, bytes);
}

/* Parts without a row are gone: nothing is logged there any more. */
static void prune(struct call *call)
{
	static const struct err gone = {.code = -RP_ESTATE,
					.text = "the log was removed"};
	const struct rows *rows = call->arg;
	struct logs *logs = call->logs;

	for (struct part *part = logs->parts; part;) {
		struct part *next = part->next;

		if (!has_row(rows, &part->origin))
			logger_remove(logs, part, &gone);
		part = next;
	}
	if (!logs->parts)
		vm_strict(logs->vm, false);
	call_done(call, 0, NULL);
}

void logs_refresh(struct logs *logs)
{
	struct err err = {0};
	struct rows rows;

	if (read_rows(logs, NULL, &rows, &err) < 0) {
		atomic_store(&logs->refresh_due, true);
		return;
	}
	atomic_store(&logs->refresh_due, false);
	if (atomic_load(&logs->attached))
		(void)logs_call(logs, prune, &rows, NULL);
	sweep(logs, &rows);
	measure(logs, &rows);
	free(rows.rows);
}

/* ---- what was lost: G6 ------------------------------------------------ */

void logs_note_lost(struct logs *logs, const struct guid *origin,
		    const char *reason)
{
	logs_lock(logs);
	if (!logs->lost) {
		logs->lost = true;
		logs->lost_origin = *origin;
		(void)snprintf(logs->lost_reason, sizeof(logs->lost_reason),
			       "%s", reason);
	}
	(void)pthread_cond_signal(&logs->woken);
	logs_unlock(logs);
}

/* The point whose data the part of ORIGIN is of: 1; 0: nobody's. */
static int find_owner(struct logs *logs, const struct guid *origin,
		      struct guid *ret_point, struct err *err)
{
	struct rows rows;
	int r = read_rows(logs, NULL, &rows, err);

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < rows.count; i++)
		if (guid_equal(&rows.rows[i].origin, origin)) {
			*ret_point = rows.rows[i].point;
			r = 1;
		}
	free(rows.rows);
	return r;
}

struct lost {
	struct guid origin;
	struct guid point;
	char reason[REASON_BYTES];
};

/* What else is lost by now has its turn after this. */
static void find_lost(struct call *call)
{
	const struct lost *told = call->arg;
	struct logs *logs = call->logs;

	logs_lock(logs);
	logs->lost = false;
	logs_unlock(logs);
	for (struct part *part = logs->parts; part; part = part->next)
		if (part->lost && !guid_equal(&part->origin, &told->origin))
			logs_note_lost(logs, &part->origin, told->reason);
	call_done(call, 0, NULL);
}

/* A log that is lost may have taken the room that it takes to say so.  Cut off
 * it is no log any more, whatever the next attach finds. */
static void cut_off(struct logs *logs, const struct guid *origin)
{
	struct fs *store = vm_environment(logs->vm)->store;
	char name[LOG_NAME_BYTES];
	struct file *file;

	for (uint32_t i = 0; i < logs->disks; i++) {
		log_name(LOG_DATA, origin, i, name);
		if (fs_open(store, name, FILE_WRITE, &file, NULL) < 0)
			continue;
		(void)file->ops->truncate(file, 0, NULL);
		file_close(file);
	}
}

static int record_loss(struct logs *logs, const struct lost *lost,
		       struct err *err)
{
	int r = vm_log_lose(logs->vm, &lost->point, lost->reason, err);

	if (r != -ENOSPC && r != -RP_ENOROOM)
		return r;
	cut_off(logs, &lost->origin);
	return vm_log_lose(logs->vm, &lost->point, lost->reason, err);
}

/* With `changing`.  True: there was something to do, and it was done. */
static bool tell_lost(struct logs *logs)
{
	char id[GUID_TEXT_BYTES];
	struct err err = {0};
	struct lost lost;
	bool any;
	int r;

	logs_lock(logs);
	any = logs->lost;
	lost.origin = logs->lost_origin;
	memcpy(lost.reason, logs->lost_reason, sizeof(lost.reason));
	logs_unlock(logs);
	if (!any)
		return false;
	r = find_owner(logs, &lost.origin, &lost.point, &err);
	if (r > 0) {
		guid_format(&lost.point, id);
		r = record_loss(logs, &lost, &err);
		if (r == 0)
			log_warning("point %s has no log any more: %s", id,
				    lost.reason);
	}
	if (r < 0) {
		if (!logs->warned)
			log_warning("a log was dropped (%s), but that cannot "
				    "be recorded yet: %s",
				    lost.reason, err.text);
		logs->warned = true;
		return false;
	}
	logs->warned = false;
	if (atomic_load(&logs->attached)) {
		(void)logs_call(logs, find_lost, &lost, NULL);
	} else {
		logs_lock(logs);
		logs->lost = false;
		logs_unlock(logs);
	}
	logs_refresh(logs);
	return true;
}

/* ---- the thread ------------------------------------------------------- */

void logs_look_at_room(struct logs *logs)
{
	const struct vm_env *env = vm_environment(logs->vm);
	uint64_t space, reserve = LOG_RESERVE_BYTES;

	uint64_t used = atomic_load(&logs->budget.used);

	if (env->store->ops->space(env->store, &space, NULL) < 0)
		return;
	for (uint32_t i = 0; i < logs->disks; i++)
		reserve += 2 * vm_disk(logs->vm, i)->bytes / (BLOCK_BYTES * 8) +
			   LOG_BUFFER_BYTES; /* used, and not yet written */
	space = MIN(space, (uint64_t)INT64_MAX / 2);
	atomic_store(&logs->room, (int64_t)(space + used) - (int64_t)reserve);
}

bool logs_keep(struct logs *logs)
{
	bool did;

	logs_look_at_room(logs);
	/* Whoever has it tells, or signals, when he is done. */
	if (pthread_mutex_trylock(&logs->changing) != 0)
		return false;
	did = tell_lost(logs);
	if (atomic_load(&logs->refresh_due))
		logs_refresh(logs);
	(void)cut_forget_stale(logs, NULL);
	(void)pthread_mutex_unlock(&logs->changing);
	return did;
}

void logs_change(struct logs *logs)
{
	(void)pthread_mutex_lock(&logs->changing);
}

void logs_changed(struct logs *logs)
{
	(void)pthread_mutex_unlock(&logs->changing);
	logs_lock(logs);
	(void)pthread_cond_signal(&logs->woken);
	logs_unlock(logs);
}

/* Less than what fills half of the room at LOG_FASTEST. */
static uint64_t pause_ns(struct logs *logs)
{
	int64_t room =
	    atomic_load(&logs->room) - (int64_t)atomic_load(&logs->used);
	uint64_t ms = room < 0 ? 250 : (uint64_t)room / (LOG_FASTEST / 500);

	return MIN(MAX(ms, 20), 1000) * UINT64_C(1000000);
}

static void *run(void *arg)
{
	struct logs *logs = arg;

	(void)pthread_setname_np(pthread_self(), "logs");
	logs_lock(logs);
	while (!logs->stopping) {
		struct timespec until;
		uint64_t ns = pause_ns(logs);

		(void)clock_gettime(CLOCK_MONOTONIC, &until);
		ns += (uint64_t)until.tv_nsec;
		until.tv_sec += (time_t)(ns / 1000000000);
		until.tv_nsec = (long)(ns % 1000000000);
		(void)pthread_cond_timedwait(&logs->woken, &logs->lock, &until);
		logs_unlock(logs);
		(void)logs_keep(logs);
		logs_lock(logs);
	}
	logs_unlock(logs);
	return NULL;
}

static int start_thread(struct logs *logs, struct err *err)
{
	int r;

	if (!vm_environment(logs->vm)->threads)
		return 0;
	logs->stopping = false;
	r = pthread_create(&logs->thread, NULL, run, logs);
	logs->runs = r == 0;
	return r ? err_set(err, -r, "start a thread") : 0;
}

static void stop_thread(struct logs *logs)
{
	if (!logs->runs)
		return;
	logs_lock(logs);
	logs->stopping = true;
	(void)pthread_cond_signal(&logs->woken);
	logs_unlock(logs);
	(void)pthread_join(logs->thread, NULL);
	logs->runs = false;
}

/* ---- life ------------------------------------------------------------- */

static void init_cond(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(cond, &attr);
	(void)pthread_condattr_destroy(&attr);
}

int logs_new(struct vm *vm, const struct logs_host *host,
	     struct logs **ret_logs, struct err *err)
{
	const struct vm_env *env = vm_environment(vm);
	struct logs *logs = calloc(1, sizeof(*logs));

	if (!logs)
		return err_set(err, -ENOMEM, "logs");
	logs->vm = vm;
	logs->host = *host;
	logs->disks = vm_disk_count(vm);
	(void)pthread_mutex_init(&logs->changing, NULL);
	(void)pthread_mutex_init(&logs->lock, NULL);
	init_cond(&logs->called);
	init_cond(&logs->woken);
	logger_init(logs);
	logs->clock.now_ns = env->now_ns;
	logs->clock.arg = env->arg;
	logs->service = (struct log_service){
	    .ioq = host->ioq,
	    .store = env->store,
	    .memory = env->memory,
	    .boot = env->boot,
	    .clock = &logs->clock,
	    .budget = &logs->budget,
	    .dropped = logger_dropped,
	    .arg = logs,
	};
	logs_change(logs);
	logs_refresh(logs);
	logs_changed(logs);
	*ret_logs = logs;
	return 0;
}

struct logs *logs_free(struct logs *logs)
{
	if (!logs)
		return NULL;
	while (logs->entries) {
		struct entry *entry = logs->entries;

		logs->entries = entry->next;
		free(entry);
	}
	(void)pthread_mutex_destroy(&logs->changing);
	(void)pthread_mutex_destroy(&logs->lock);
	(void)pthread_cond_destroy(&logs->called);
	(void)pthread_cond_destroy(&logs->woken);
	free(logs->usage);
	free(logs);
	return NULL;
}

int logs_attach(struct logs *logs, struct err *err)
{
	int r;

	logs->lost = logs->quiet = false;
	logs_look_at_room(logs);
	atomic_store(&logs->attached, true);
	vm_logger(logs->vm, &logs->logger);
	logs_change(logs);
	r = take_up(logs, err);
	if (r >= 0)
		logs_refresh(logs);
	logs_changed(logs);
	if (r >= 0)
		r = start_thread(logs, err);
	if (r < 0)
		logs_detach(logs);
	return r < 0 ? r : 0;
}

/* ---- the end ---------------------------------------------------------- */

/* What the image failed to sync is not recorded as flushed, and that is all. */
static void end_one(void *arg, int result)
{
	struct call *call = arg;

	if (--call->waiting == 0)
		call_done(call, 0, NULL);
}

/* Nothing is in flight: all is made durable, together with the images. */
static void end_all(struct call *call)
{
	static const struct err no_memory = {
	    .code = -ENOMEM, .text = "no memory to end the log"};
	struct logs *logs = call->logs;

	call->waiting = 1;
	for (struct part *part = logs->parts; part; part = part->next)
		for (uint32_t i = 0; i < logs->disks; i++) {
			if (part->lost || stream_is_closed(part->streams[i]))
				continue;
			if (settle_begin(logs, part, i, true, end_one, call) ==
			    0)
				call->waiting++;
			else
				logger_give_up(logs, part, &no_memory);
		}
	end_one(call, 0);
}

static void forget_all(struct call *call)
{
	struct logs *logs = call->logs;

	for (uint32_t i = 0; i < logs->disks; i++)
		if (logs->unsure[i].part) {
			part_unref(logs->unsure[i].part);
			logs->unsure[i].part = NULL;
		}
	while (logs->parts) {
		struct part *part = logs->parts;

		logs->parts = part->next;
		part_unref(part);
	}
	call_done(call, 0, NULL);
}

void logs_quiet(struct logs *logs)
{
	if (atomic_load(&logs->attached))
		(void)logs_call(logs, logger_quiesce, NULL, NULL);
}

void logs_detach(struct logs *logs)
{
	if (!atomic_load(&logs->attached))
		return;
	stop_thread(logs);
	logs_quiet(logs);
	(void)logs_call(logs, logs_close_older, NULL, NULL);
	(void)logs_call(logs, end_all, NULL, NULL);
	logs_change(logs);
	while (tell_lost(logs))
		;
	if (logs->lost)
		vm_give_way(logs->vm, logs->lost_reason);
	logs_lock(logs);
	atomic_store(&logs->attached, false);
	logs_unlock(logs);
	(void)logs_call(logs, forget_all, NULL, NULL);
	logs_changed(logs);
}

/* ---- questions -------------------------------------------------------- */

uint64_t logs_usage_of(struct logs *logs, const struct guid *origin)
{
	uint64_t bytes = 0;

	logs_lock(logs);
	for (uint32_t i = 0; i < logs->usage_count; i++)
		if (guid_equal(&logs->usage[i].origin, origin))
			bytes = logs->usage[i].bytes;
	logs_unlock(logs);
	return bytes;
}

/* What was written since it was measured is the open part's. */
static uint64_t grown(struct logs *logs)
{
	uint64_t used = atomic_load(&logs->used), known = 0;

	logs_lock(logs);
	for (uint32_t i = 0; i < logs->usage_count; i++)
		known += logs->usage[i].bytes;
	logs_unlock(logs);
	return used - MIN(known, used);
}

int logs_find(struct logs *logs, const struct guid *point,
	      struct logs_info *ret_info, struct err *err)
{
	struct logs_info info = {.state = LOGS_CLOSED};
	struct newest newest = {.any = false};
	struct point_row *row = malloc(sizeof(*row));
	char id[GUID_TEXT_BYTES];
	struct rows rows;
	int r = row ? vm_point_find(logs->vm, point, row, err)
		    : err_set(err, -ENOMEM, "logs");

	guid_format(point, id);
	if (r == 0 && row->type != POINT_LOG)
		r = err_set(err, -RP_ESTATE, "point %s is not log-based", id);
	free(row);
	if (r == 0)
		r = vm_points(logs->vm, note_newest, &newest, err);
	if (r < 0)
		return r;
	if (vm_log_lost(logs->vm, point, info.reason)) {
		info.state = LOGS_GONE;
		*ret_info = info;
		return 0;
	}
	r = read_rows(logs, point, &rows, err);
	if (r < 0)
		return r;
	info.parts = rows.count;
	for (uint32_t i = 0; i < rows.count; i++)
		info.bytes += logs_usage_of(logs, &rows.rows[i].origin);
	free(rows.rows);
	if (newest.any && guid_equal(&newest.id, point)) {
		info.state = LOGS_OPEN;
		info.bytes += grown(logs);
	}
	*ret_info = info;
	return 0;
}

void logs_usage(struct logs *logs, uint64_t *ret_bytes, uint64_t *ret_limit)
{
	uint64_t limit = vm_log_limit(logs->vm);

	*ret_bytes = atomic_load(&logs->used);
	if (limit == 0)
		for (uint32_t i = 0; i < logs->disks; i++)
			limit += vm_disk(logs->vm, i)->bytes / 2;
	*ret_limit = limit;
}

int logs_set_limit(struct logs *logs, uint64_t bytes, struct err *err)
{
	int r;

	logs_change(logs);
	r = vm_set_log_limit(logs->vm, bytes, err);
	if (r == 0)
		logs_refresh(logs);
	logs_changed(logs);
	return r;
}

/* ---- removing --------------------------------------------------------- */

int logs_destroy(struct logs *logs, const struct guid *point, struct err *err)
{
	int r;

	logs_change(logs);
	r = vm_point_destroy(logs->vm, point, err);
	if (r == 0)
		logs_refresh(logs);
	logs_changed(logs);
	return r;
}

int logs_remove(struct logs *logs, const struct guid *point, struct err *err)
{
	char id[GUID_TEXT_BYTES];
	struct logs_info info;
	int r;

	guid_format(point, id);
	logs_change(logs);
	r = logs_find(logs, point, &info, err);
	if (r == 0 && info.state == LOGS_GONE)
		r = err_set(err, -RP_ESTATE, "point %s has no log any more: %s",
			    id, info.reason);
	if (r == 0)
		r = vm_log_lose(logs->vm, point, "it was removed on request",
				err);
	if (r == 0)
		logs_refresh(logs);
	logs_changed(logs);
	return r;
}
