/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a worker: started, looked at, ended, started again. */
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common/log.h"
#include "daemon/pull.h"
#include "daemon/scan.h"
#include "daemon/systems.h"
#include "daemon/vm.h"

static int on_end(sd_event_source *source, int fd, uint32_t revents, void *arg);

static int watch(struct vm *vm, struct err *err)
{
	int r = sd_event_add_io(vm->daemon->event, &vm->end, vm->process.pidfd,
				EPOLLIN, on_end, vm);

	return r < 0 ? err_set(err, r, "watch the worker of '%s'", vm->name)
		     : 0;
}

/* A process is, or will soon be, there. */
static void begin_life(struct vm *vm)
{
	vm->worker = WORKER_STARTING;
	vm->born_ms = daemon_now_ms();
	vm->grace_ms = vm->born_ms + START_GRACE_MS;
	vm->serving = vm->settled = vm->connected = false;
	vm->listener_asked = false;
	vm->look_ms = 0;
	vm_look_in(vm, LOOK_MIN_MS);
}

int vm_start_worker(struct vm *vm, struct err *err)
{
	int r;

	if (vm->worker == WORKER_STARTING || vm->worker == WORKER_READY)
		return 0;
	r = vm_prepare(vm, false, err);
	if (r == 0)
		r = process_start(vm->daemon, vm->name, &vm->process, err);
	if (r == 0 && vm->process.pid)
		r = watch(vm, err);
	if (r < 0) {
		err_wrap(err, "'%s'", vm->name);
		return r;
	}
	log_info("started the worker of '%s' pid=%d", vm->name,
		 (int)vm->process.pid);
	begin_life(vm);
	return 0;
}

bool vm_adopt_worker(struct vm *vm)
{
	struct err err = {0};

	process_find(vm->daemon, vm->name, &vm->process);
	if (!vm->process.pid) {
		process_done(vm->daemon, vm->name, &vm->process);
		return false;
	}
	if (watch(vm, &err) < 0) {
		log_warning("%s", err.text);
		return false;
	}
	log_info("found the worker of '%s' pid=%d", vm->name,
		 (int)vm->process.pid);
	begin_life(vm);
	vm->born_ms = 0; /* it has lived */
	vm_points_of_another(vm);
	return true;
}

int vm_claim_worker(struct vm *vm, pid_t pid, struct err *err)
{
	struct process process;
	int r;

	if (vm->process.pid && vm->process.pid == pid)
		return 0;
	r = process_claim(vm->daemon, vm->name, pid, &process, err);
	if (r < 0)
		return r;
	vm->end = sd_event_source_disable_unref(vm->end);
	if (vm->process.pidfd >= 0)
		(void)close(vm->process.pidfd);
	vm->process = process;
	r = watch(vm, err);
	if (r == 0 && vm->worker != WORKER_READY)
		begin_life(vm);
	return r;
}

/* ---- Its end --------------------------------------------------------------
 */

static int on_restart(sd_event_source *source, uint64_t usec, void *arg)
{
	struct vm *vm = arg;
	struct err err = {0};

	vm->worker = WORKER_NONE;
	if (vm_start_worker(vm, &err) < 0) {
		log_error("%s", err.text);
		vm_serve_failed(vm, &err);
	}
	return 0;
}

/* How long the next worker has to wait. */
static uint64_t pause_ms(struct vm *vm)
{
	uint64_t now = daemon_now_ms(), ms;

	if (vm->settled || now - vm->born_ms >= LIFE_FINE_MS) {
		memset(vm->deaths, 0, sizeof(vm->deaths));
		vm->backoff = 0;
		return 0;
	}
	memmove(vm->deaths + 1, vm->deaths, sizeof(uint64_t) * DEATHS_FREE);
	vm->deaths[0] = now;
	if (vm->backoff == 0 && (!vm->deaths[DEATHS_FREE] ||
				 now - vm->deaths[DEATHS_FREE] > DEATHS_MS))
		return 0;
	ms = vm->backoff < 5 ? 1000u << vm->backoff : BACKOFF_MAX_MS;
	vm->backoff++;
	return ms;
}

static void restart(struct vm *vm)
{
	uint64_t ms = pause_ms(vm);

	log_warning("the worker of '%s' ended, starting another pause_ms=%llu",
		    vm->name, (unsigned long long)ms);
	if (ms == 0) {
		(void)on_restart(NULL, 0, vm);
		return;
	}
	vm->worker = WORKER_BACKOFF;
	err_set(&vm->failure, -RP_EUNREACHABLE,
		"the workers of '%s' end at once (%u times), the next is "
		"started within %llu s; see the log",
		vm->name, vm->backoff + DEATHS_FREE,
		(unsigned long long)ms / 1000);
	daemon_timer(vm->daemon, &vm->timer, ms, on_restart, vm);
	vm_wake(vm, &vm->failure);
}

static void end_without_restart(struct vm *vm, bool answered)
{
	bool goes_on = vm_refresh_goes_on(vm);
	struct err err = {0};

	log_info("the worker of '%s' ended", vm->name);
	(void)vm_save(vm, NULL);
	answered = answered && goes_on;
	if (answered && vm->waiters && vm_start_worker(vm, &err) == 0)
		return;
	if (answered && !err.code)
		return;
	goes_on = goes_on && !vm->known && !vm->defining && !err.code;
	if (!err.code)
		err_set(&err, -RP_EUNREACHABLE,
			"the worker of '%s' ended before it answered; see "
			"the log",
			vm->name);
	vm->failure = err;
	vm_wake(vm, &err);
	if (goes_on) /* scan_next() starts another */
		vm->failure = (struct err){0};
}

static void life_over(struct vm *vm)
{
	bool answered = vm->worker == WORKER_READY;
	void (*ended)(void *) = vm->ended;

	vm->end = sd_event_source_disable_unref(vm->end);
	vm->timer = sd_event_source_disable_unref(vm->timer);
	process_done(vm->daemon, vm->name, &vm->process);
	link_cancel(vm->look);
	vm->look = NULL;
	vm->worker = WORKER_NONE;
	vm->serving = vm->in_use = false;
	vm->deaf_until_ms = 0;
	vm_points_life_over(vm);
	vm_snapshots_unlisten(vm);
	vm->ended = NULL;
	if (ended)
		ended(vm->ended_arg);
	else if (vm->entry.serve && !vm->gone)
		restart(vm);
	else if (!vm->gone)
		end_without_restart(vm, answered);
	systems_settled(vm->daemon);
	vm_refresh_over(vm);
	scan_next(vm->daemon); /* for what it did not tell */
}

static int on_end(sd_event_source *source, int fd, uint32_t revents, void *arg)
{
	struct vm *vm = vm_ref(arg);

	life_over(vm);
	vm_unref(vm);
	return 0;
}

static int on_stop_over(sd_event_source *source, uint64_t usec, void *arg)
{
	struct vm *vm = arg;

	log_warning("the worker of '%s' does not stop, killing it", vm->name);
	process_kill(vm->daemon, vm->name, &vm->process);
	return 0;
}

static void on_stop_reply(void *arg, const struct err *err, json_t *parameters,
			  bool continues, const char *text, size_t bytes,
			  int *fds, unsigned n_fds)
{
	struct vm *vm = arg;

	vm->look = NULL;
	if (err->code && err->code != -RP_EUNREACHABLE)
		(void)on_stop_over(NULL, 0, vm);
}

void vm_end_worker(struct vm *vm, bool kill_now, void (*fn)(void *arg),
		   void *arg)
{
	link_cancel(vm->look);
	vm->look = NULL;
	vm->timer = sd_event_source_disable_unref(vm->timer);
	vm->retry = sd_event_source_disable_unref(vm->retry);
	if (vm->process.pidfd < 0) {
		vm->worker = WORKER_NONE;
		if (vm->daemon->units)
			process_kill(vm->daemon, vm->name, &vm->process);
		fn(arg);
		return;
	}
	vm->ended = fn;
	vm->ended_arg = arg;
	daemon_timer(vm->daemon, &vm->timer, LOOK_TIMEOUT_MS, on_stop_over, vm);
	if (kill_now || link_call(vm->daemon, vm->name, "Stop", json_object(),
				  false, NULL, 0, LOOK_TIMEOUT_MS,
				  on_stop_reply, vm, &vm->look, NULL) < 0)
		process_kill(vm->daemon, vm->name, &vm->process);
}

/* ---- Looking at it --------------------------------------------------------
 */

static int on_look(sd_event_source *source, uint64_t usec, void *arg);

void vm_look_in(struct vm *vm, uint64_t ms)
{
	daemon_timer(vm->daemon, &vm->timer, ms, on_look, vm);
}

static void look_again(struct vm *vm)
{
	vm->look_ms = vm->look_ms < LOOK_MIN_MS ? LOOK_MIN_MS : vm->look_ms * 2;
	if (vm->look_ms > LOOK_MAX_MS)
		vm->look_ms = LOOK_MAX_MS;
	vm_look_in(vm, vm->look_ms);
}

static void on_listener(void *arg, const struct err *err, json_t *parameters,
			bool continues, const char *text, size_t bytes,
			int *fds, unsigned n_fds)
{
	struct vm *vm = arg;

	vm->look = NULL;
	vm->listener_asked = true;
	if (err->code)
		log_warning("the listener of '%s': %s", vm->name, err->text);
	if (n_fds > 0 && vm->listener < 0) {
		vm->listener = fds[0];
		fds[0] = -1;
	}
	look_again(vm);
}

/* It serves, and we have lost our duplicate of its listener. */
static bool ask_listener(struct vm *vm)
{
	return link_call(vm->daemon, vm->name, "Listener", json_object(), false,
			 NULL, 0, LOOK_TIMEOUT_MS, on_listener, vm, &vm->look,
			 NULL) == 0;
}

static void now_serving(struct vm *vm)
{
	bool before = vm->serving;

	vm->serving = true;
	vm->failure = (struct err){0};
	vm->retry_ms = 0;
	vm->retry = sd_event_source_disable_unref(vm->retry);
	if (!vm->entry.serve) {
		log_info("'%s' is being served, and so it shall", vm->name);
		vm->entry.serve = true;
		(void)vm_save(vm, NULL);
	}
	if (!before)
		log_info("'%s' is served pid=%d", vm->name,
			 (int)vm->process.pid);
	if (daemon_now_ms() - vm->born_ms >= LIFE_FINE_MS)
		vm->settled = true;
	pulls_watch(vm);
}

static bool any_connected(json_t *status)
{
	json_t *disk;
	size_t i;

	json_array_foreach(
	    json_object_get(status, "disks"), i,
	    disk) if (json_integer_value(json_object_get(disk, "connected")) >
		      0) return true;
	return false;
}

static void judge_status(struct vm *vm, json_t *status)
{
	const char *state = json_string_value(json_object_get(status, "state"));
	const char *reason =
	    json_string_value(json_object_get(status, "reason"));
	struct err err = {0};
	bool connected = any_connected(status);

	if (!state)
		return;
	vm_note_status(vm, status);
	if (strcmp(state, "serving") == 0) {
		now_serving(vm);
		if (connected && vm->connected)
			vm->settled = true;
		if (vm->settled)
			log_debug("vm", "settled vm=%s pid=%d", vm->name,
				  (int)vm->process.pid);
		vm->connected = connected;
	} else if (strcmp(state, "failed") == 0 ||
		   (strcmp(state, "defined") == 0 && !vm->retry &&
		    ((reason && *reason) || daemon_now_ms() >= vm->grace_ms))) {
		err_set(&err, -RP_EFAILED, "'%s' is not served: %s", vm->name,
			reason && *reason ? reason : state);
		vm_serve_failed(vm, &err);
	}
}

static void on_status(void *arg, const struct err *err, json_t *parameters,
		      bool continues, const char *text, size_t bytes, int *fds,
		      unsigned n_fds)
{
	struct vm *vm = vm_ref(arg);

	vm->look = NULL;
	if (!err->code && vm->entry.serve)
		judge_status(vm, json_object_get(parameters, "status"));
	vm_wake(vm, NULL);
	if (!vm->gone && vm->worker == WORKER_READY)
		look_again(vm);
	vm_unref(vm);
}

/* Who is woken may let go of VM. */
static void hello_failed(struct vm *vm, const struct err *err)
{
	vm_ref(vm);
	if (err->code == -RP_ETIMEOUT) {
		vm->failure = *err;
		vm_points_failed(vm, err);
		vm_refresh_over(vm);
		vm_wake(vm, err);
	}
	if (!vm->gone)
		look_again(vm);
	vm_unref(vm);
}

static void on_hello(void *arg, const struct err *err, json_t *parameters,
		     bool continues, const char *text, size_t bytes, int *fds,
		     unsigned n_fds)
{
	struct vm *vm = arg;
	const char *name = json_string_value(json_object_get(parameters, "vm"));
	const char *state =
	    json_string_value(json_object_get(parameters, "state"));
	json_t *pid = json_object_get(parameters, "pid");

	vm->look = NULL;
	if (err->code || !name || strcmp(name, vm->name) != 0 || !state) {
		hello_failed(vm, err);
		return;
	}
	if (!vm->process.pid &&
	    vm_claim_worker(vm, (pid_t)json_integer_value(pid), NULL) < 0) {
		look_again(vm);
		return;
	}
	log_debug("vm", "worker of '%s' answers state=%s", vm->name, state);
	vm->worker = WORKER_READY;
	if (!vm->retry) /* else Start has failed, and says why */
		vm->failure = (struct err){0};
	if (strcmp(state, "serving") == 0 && !vm->defining)
		now_serving(vm);
	vm->look_ms = 0;
	vm_look_in(vm, 0);
	vm_wake(vm, NULL);
}

/* What there is to know next of the worker; nothing: no further look. */
static int look(struct vm *vm)
{
	struct daemon *d = vm->daemon;

	if (vm->worker == WORKER_STARTING)
		return link_call(d, vm->name, "Hello", json_object(), false,
				 NULL, 0, LOOK_TIMEOUT_MS, on_hello, vm,
				 &vm->look, NULL);
	if (vm->worker != WORKER_READY || vm->defining)
		return 0;
	if (vm->serving && vm->listener < 0 && !vm->listener_asked &&
	    ask_listener(vm))
		return 0;
	if (!vm->known) {
		vm_refresh(vm);
		return 0;
	}
	if (vm_points_wanted(vm))
		vm_ask_points(vm);
	if (!vm->entry.serve || (vm->serving && vm->settled) ||
	    jobs_busy(d->jobs, vm->name))
		return vm->entry.serve && !vm->settled ? -EAGAIN : 0;
	return link_call(d, vm->name, "Status", json_object(), false, NULL, 0,
			 LOOK_TIMEOUT_MS, on_status, vm, &vm->look, NULL);
}

static int on_look(sd_event_source *source, uint64_t usec, void *arg)
{
	struct vm *vm = vm_ref(arg);
	bool late = vm->worker == WORKER_STARTING &&
		    daemon_now_ms() - vm->born_ms > READY_TIMEOUT_MS;

	if (late) /* it shall keep no other from being asked */
		vm_refresh_over(vm);
	/* systemd was asked for a process, and none came */
	if (late && !vm->process.pid)
		life_over(vm);
	else if (!vm->look && look(vm) < 0)
		look_again(vm);
	vm_unref(vm);
	return 0;
}
