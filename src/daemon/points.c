/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which points and snapshots a virtual system has, as refpointd remembers it.
 *
 * Invariants:
 *  1. All changes go through refpointd: what a worker told stays true until one
 *     was begun, and a success says what it changed.
 *  2. After any other end than a clean refusal nothing is known, and the worker
 *     is asked; what it said before the end of a change is not taken.
 *  3. A worker whose store failed while it was written knows no more than we
 *     do, and says so (-RP_ELATCHED): they are not known then before it, or
 *     the next one, has read the store anew; a Serve does.  So what is
 *     remembered, and saved, was read, or changed since by what is known.
 *  4. A worker has LOOK_TIMEOUT_MS for all that it tells, not for each reply,
 *     and no more replies than there can be points.
 *  5. The log of a log-based point changes by itself: what the worker said last
 *     is told.  Where a change of points changes others' logs as well, they are
 *     asked for anew.
 *  6. A worker that another refpointd has left may be at work for that one: as
 *     long as it lives, what it told counts only while nothing was committed.
 */
#include <string.h>
#include <time.h>

#include "common/log.h"
#include "daemon/scan.h"
#include "daemon/systems.h"
#include "daemon/vm.h"

#define ASK_AGAIN_MS 10000 /* after failures */
#define REPLIES_MAX  (POINTS_PER_VM_MAX + 1)
#define FRESH_NS     1000000000L /* younger stamps tell no two commits apart */

static void stat_now(const struct vm *vm, struct inventory_catalogue *ret_stat)
{
	char store[PATH_BYTES];

	paths_store(&vm->daemon->paths, vm->name, store);
	inventory_catalogue_stat(store, ret_stat);
}

static void forget(struct vm *vm)
{
	inventory_points_done(&vm->entry.point);
	inventory_points_done(&vm->entry.snapshot);
	vm->points_serial++;
}

/* Asks no more. */
static void give_up(struct vm *vm)
{
	link_cancel(vm->asking);
	vm->asking = NULL;
	vm->asking_limit = sd_event_source_disable_unref(vm->asking_limit);
}

/* One that cannot be reached has ended, most likely: the next one is asked. */
static void failed(struct vm *vm, const struct err *err)
{
	inventory_points_done(&vm->heard);
	inventory_points_done(&vm->heard_snapshots);
	if (err->code == -RP_EUNREACHABLE && vm->points_lives < ASK_LIVES_MAX &&
	    vm->points_tries++ < ASK_TRIES_MAX) {
		if (vm->worker == WORKER_READY)
			vm_look_in(vm, LOOK_MAX_MS);
		return;
	}
	log_warning("the points of '%s': %s", vm->name, err->text);
	vm_points_failed(vm, err);
	vm_refresh_over(vm);
}

static void tell_waiter(struct vm *vm)
{
	void (*fn)(void *) = vm->points_told;

	vm->points_told = NULL;
	if (fn)
		fn(vm->points_told_arg);
}

void vm_points_failed(struct vm *vm, const struct err *err)
{
	if (!vm->entry.point.known) {
		vm->points_failure = *err;
		vm->points_again_ms = daemon_now_ms() + ASK_AGAIN_MS;
	}
	systems_settled(vm->daemon);
	tell_waiter(vm);
}

static void learn(struct vm *vm)
{
	inventory_points_done(&vm->entry.point);
	inventory_points_done(&vm->entry.snapshot);
	vm->entry.point = vm->heard;
	vm->entry.point.known = true;
	vm->entry.points = vm->entry.point.n;
	vm->entry.snapshot = vm->heard_snapshots;
	vm->heard = vm->heard_snapshots = (struct inventory_points){0};
	vm->points_tries = vm->points_lives = 0;
	(void)vm_save(vm, NULL);
	vm_snapshots_tidy(vm);
	vm_refresh_over(vm);
	systems_settled(vm->daemon);
	tell_waiter(vm);
}

/* One reply: new points, at least one if others follow. */
static int hear(struct vm *vm, json_t *parameters, bool continues,
		struct err *err)
{
	json_t *list = json_object_get(parameters, "points"), *point;
	unsigned before = vm->heard.n;
	size_t i;

	if (!json_is_array(list))
		return err_set(err, -RP_EWIRE, "the worker tells no points");
	if (continues &&
	    (json_array_size(list) == 0 || ++vm->heard_replies >= REPLIES_MAX))
		return err_set(err, -RP_EWIRE, "the worker's list has no end");
	json_array_foreach(list, i, point)
	{
		int r = inventory_points_add(&vm->heard, point, err);

		if (r < 0)
			return r;
	}
	if (vm->heard.n - before < json_array_size(list))
		return err_set(err, -RP_EWIRE, "the worker tells one twice");
	return 0;
}

static int hear_snapshots(struct vm *vm, json_t *list, struct err *err)
{
	json_t *snapshot;
	size_t i;
	int r = 0;

	if (!json_is_array(list))
		return err_set(err, -RP_EWIRE, "the worker tells no snapshots");
	json_array_foreach(list, i, snapshot)
	{
		r = inventory_snapshots_add(&vm->heard_snapshots, snapshot,
					    err);
		if (r < 0)
			return r;
	}
	return 0;
}

static void on_snapshots(void *arg, const struct err *err, json_t *parameters,
			 bool continues, const char *text, size_t bytes,
			 int *fds, unsigned n_fds)
{
	struct vm *vm = vm_ref(arg);
	struct err why = *err;

	vm->asking = NULL;
	give_up(vm);
	if (why.code == -RP_ENOMETHOD) /* it is older than we: there are none */
		why.code = 0;
	else if (!why.code)
		(void)hear_snapshots(vm,
				     json_object_get(parameters, "snapshots"),
				     &why);
	if (why.code)
		failed(vm, &why);
	else if (vm->asked_serial == vm->points_serial)
		learn(vm);
	else
		vm_ask_points(vm); /* 2. */
	vm_unref(vm);
}

static void on_points(void *arg, const struct err *err, json_t *parameters,
		      bool continues, const char *text, size_t bytes, int *fds,
		      unsigned n_fds)
{
	struct vm *vm = vm_ref(arg);
	struct err why = *err;

	if (!continues)
		vm->asking = NULL;
	if (!why.code)
		(void)hear(vm, parameters, continues, &why);
	if (!why.code && !continues)
		(void)link_call(vm->daemon, vm->name, "Snapshots",
				json_object(), false, NULL, 0, LOOK_TIMEOUT_MS,
				on_snapshots, vm, &vm->asking, &why);
	if (why.code) {
		give_up(vm);
		failed(vm, &why);
	}
	vm_unref(vm);
}

/* The link's own limit is for each of the replies. */
static int on_too_long(sd_event_source *source, uint64_t usec, void *arg)
{
	struct vm *vm = vm_ref(arg);
	struct err err = {0};

	err_set(&err, -RP_ETIMEOUT, "the worker did not tell them within %u s",
		LOOK_TIMEOUT_MS / 1000);
	give_up(vm);
	failed(vm, &err);
	vm_unref(vm);
	return 0;
}

/* Two commits may bear one time if both are young: none is noted then. */
static void stat_before(struct vm *vm)
{
	struct timespec ts;
	int64_t now;

	stat_now(vm, &vm->points_at);
	(void)clock_gettime(CLOCK_REALTIME, &ts);
	now = (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
	if (now - vm->points_at.mtime_ns < FRESH_NS)
		vm->points_at = (struct inventory_catalogue){0};
}

void vm_ask_points(struct vm *vm)
{
	struct err err = {0};

	if (vm->asking || vm->gone || vm->defining ||
	    vm->worker != WORKER_READY)
		return;
	inventory_points_done(&vm->heard);
	inventory_points_done(&vm->heard_snapshots);
	vm->heard_replies = 0;
	vm->asked_serial = vm->points_serial;
	stat_before(vm);
	if (link_call(vm->daemon, vm->name, "Points", json_object(), true, NULL,
		      0, LOOK_TIMEOUT_MS, on_points, vm, &vm->asking, &err) < 0)
		failed(vm, &err);
	else
		daemon_timer(vm->daemon, &vm->asking_limit, LOOK_TIMEOUT_MS,
			     on_too_long, vm);
}

bool vm_points_wanted(const struct vm *vm)
{
	return vm->known && !vm->defining && !vm->entry.point.known &&
	       !vm->points_failure.code;
}

void vm_points_in_doubt(struct vm *vm)
{
	if (vm->gone)
		return;
	forget(vm);
	vm->points_failure = (struct err){0};
	vm->points_tries = vm->points_lives = 0;
	(void)vm_save(vm, NULL);
	vm_ask_points(vm);
	scan_next(vm->daemon);
}

void vm_points_when_told(struct vm *vm, void (*fn)(void *arg), void *arg)
{
	vm->points_told = fn;
	vm->points_told_arg = arg;
	if (fn)
		vm_points_in_doubt(vm);
}

void vm_points_note_logs(struct vm *vm, json_t *logs)
{
	json_t *one;
	struct guid id;
	size_t i;

	json_array_foreach(logs, i, one)
	{
		const char *point =
		    json_string_value(json_object_get(one, "point"));

		if (point && guid_parse(point, &id))
			(void)inventory_points_note_log(
			    &vm->entry.point, &id, json_object_get(one, "log"),
			    NULL);
	}
}

void vm_point_log_dropped(struct vm *vm)
{
	vm->points_serial++;
	vm_points_in_doubt(vm); /* 5. */
}

static bool is_log(const struct vm *vm, const struct guid *id)
{
	const struct inventory_point *point =
	    inventory_points_find(&vm->entry.point, id);

	return point && point->log;
}

void vm_point_made(struct vm *vm, json_t *point)
{
	bool log = json_is_object(json_object_get(point, "log"));
	struct err err = {0};

	vm->points_serial++;
	if (inventory_points_add(&vm->entry.point, point, &err) < 0) {
		log_warning("'%s': %s", vm->name, err.text);
		vm_points_in_doubt(vm);
		return;
	}
	vm->entry.points++;
	if (vm->entry.point.known)
		vm->entry.points = vm->entry.point.n;
	if (!vm->entry.point.known || log)
		vm_points_in_doubt(vm);
	(void)vm_save(vm, NULL);
}

void vm_point_destroyed(struct vm *vm, const char *id)
{
	struct guid guid;
	bool log;

	vm->points_serial++;
	if (!id || !guid_parse(id, &guid)) {
		vm_points_in_doubt(vm);
		return;
	}
	log = is_log(vm, &guid);
	inventory_points_remove(&vm->entry.point, &guid);
	if (vm->entry.points)
		vm->entry.points--;
	if (vm->entry.point.known)
		vm->entry.points = vm->entry.point.n;
	if (!vm->entry.point.known || log)
		vm_points_in_doubt(vm);
	(void)vm_save(vm, NULL);
}

void vm_points_store_read(struct vm *vm)
{
	if (vm->known && !vm->entry.point.known)
		vm_points_in_doubt(vm);
}

/* ---- A worker's life ------------------------------------------------------
 */

void vm_points_of_another(struct vm *vm)
{
	vm->left = true;
	forget(vm);
}

static bool stands(const struct vm *vm)
{
	struct inventory_catalogue now;

	stat_now(vm, &now);
	return memcmp(&now, &vm->points_at, sizeof(now)) == 0;
}

bool vm_points_may_be_saved(const struct vm *vm)
{
	return vm->entry.point.known && !vm->changing &&
	       (!vm->left || stands(vm));
}

void vm_points_judge(struct vm *vm)
{
	if (vm->left && vm->entry.point.known && !stands(vm)) {
		forget(vm);
		vm_ask_points(vm);
	}
	if (daemon_now_ms() < vm->points_again_ms)
		return;
	if (!vm->known && vm->failure.code && vm->worker == WORKER_NONE)
		vm->failure = (struct err){0};
	if (!vm->known && !vm->defining && !vm->look &&
	    vm->worker == WORKER_READY)
		vm_look_in(vm, 0);
	if (vm->points_failure.code) {
		vm->points_failure = (struct err){0};
		vm->points_tries = vm->points_lives = 0;
		vm_ask_points(vm);
	}
}

/* The next one reads the store anew. */
static void ask_next_life(struct vm *vm)
{
	if (vm->points_failure.code == -RP_ELATCHED &&
	    ++vm->points_lives < ASK_LIVES_MAX)
		vm->points_failure = (struct err){0};
}

void vm_points_life_over(struct vm *vm)
{
	struct err err = {0};

	give_up(vm);
	if (vm->left && vm->entry.point.known && !stands(vm))
		forget(vm);
	else if (vm_points_wanted(vm))
		err_set(&err, -RP_EUNREACHABLE,
			"the worker ended before it told them");
	vm->left = false;
	ask_next_life(vm);
	if (!vm->known)
		vm->points_again_ms = daemon_now_ms() + ASK_AGAIN_MS;
	vm->points_tries = 0;
	if (err.code) {
		vm->points_lives++;
		failed(vm, &err);
	}
}
