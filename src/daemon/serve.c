/* SPDX-License-Identifier: Apache-2.0 */
/* The NBD listener, and serving that refpointd itself sees to. */
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "daemon/images.h"
#include "daemon/sockets.h"
#include "daemon/vm.h"

int vm_listener(struct vm *vm, struct err *err)
{
	struct daemon *d = vm->daemon;
	char path[PATH_BYTES];
	int fd = -1, r;
	gid_t old;

	if (vm->listener >= 0)
		return vm->listener;
	paths_vm_run(&d->paths, vm->name, "nbd.sock", path);
	/* the directory is the worker's: nothing may be done by path later */
	old = (gid_t)setfsgid(d->socket_gid);
	r = sockets_bind(path, 0117, NBD_BACKLOG, &fd, err);
	(void)setfsgid(old);
	if (r < 0)
		return err_wrap(err, "listen for guests of '%s'", vm->name);
	return vm->listener = fd;
}

void vm_close_listener(struct vm *vm)
{
	char path[PATH_BYTES];

	if (vm->listener < 0)
		return;
	(void)close(vm->listener);
	vm->listener = -1;
	paths_vm_run(&vm->daemon->paths, vm->name, "nbd.sock", path);
	(void)unlink(path);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *arg)
{
	struct vm *vm = arg;

	if (vm->worker == WORKER_READY)
		vm_try_serve(vm);
	else if (vm->worker == WORKER_NONE && vm_start_worker(vm, NULL) < 0)
		vm_serve_failed(vm, &vm->failure);
	return 0;
}

void vm_serve_failed(struct vm *vm, const struct err *err)
{
	if (!vm->entry.serve || vm->gone)
		return;
	if (strcmp(vm->failure.text, err->text) != 0)
		log_error("'%s' cannot be served: %s", vm->name, err->text);
	if (err != &vm->failure)
		vm->failure = *err;
	if (!vm->retry) {
		vm->retry_ms = !vm->retry_ms ? RETRY_MIN_MS : vm->retry_ms * 2;
		if (vm->retry_ms > RETRY_MAX_MS)
			vm->retry_ms = RETRY_MAX_MS;
		daemon_timer(vm->daemon, &vm->retry, vm->retry_ms, on_retry,
			     vm);
	}
	vm_wake(vm, NULL);
}

static void attempt_over(struct vm *vm, const struct err *err)
{
	vm->serve_attempt = false;
	if (!err->code)
		vm_points_store_read(vm);
	if (err->code && !vm->gone && vm->worker == WORKER_READY)
		vm_serve_failed(vm, err);
	if (!vm->gone && vm->worker == WORKER_READY)
		vm_look_in(vm, 0);
	vm_unref(vm);
}

static void on_served(void *arg, const struct err *err, json_t *parameters,
		      bool continues, const char *text, size_t bytes, int *fds,
		      unsigned n_fds)
{
	attempt_over(arg, err);
}

static void on_images(void *arg, struct images *images, const struct err *why)
{
	struct vm *vm = arg;
	int fds[DISKS_PER_VM_MAX + 2];
	unsigned n = 0;
	struct err err = *why;

	if (!err.code && (vm->gone || vm->worker != WORKER_READY ||
			  !vm->entry.serve || vm->serving))
		err_set(&err, -RP_ECANCELLED, "'%s' changed", vm->name);
	if (!err.code)
		(void)serve_descriptors(vm, images, fds, &n, &err);
	if (!err.code)
		(void)link_call(
		    vm->daemon, vm->name, "Serve",
		    json_pack("{s:o}", "images",
			      images_json(images, &vm->entry, NULL)),
		    false, fds, n, SERVE_TIMEOUT_MS, on_served, vm, NULL, &err);
	if (n > 0)
		(void)close(fds[n - 1]);
	if (err.code)
		attempt_over(vm, &err);
}

int serve_descriptors(struct vm *vm, const struct images *images, int *fds,
		      unsigned *ret_n, struct err *err)
{
	int listener, tombstone = -1, r;

	r = vm_prepare(vm, true, err);
	if (r < 0)
		return r;
	listener = vm_listener(vm, err);
	if (listener < 0)
		return listener;
	r = inventory_tombstone_open(vm->daemon->inventory, vm->name,
				     &tombstone, err);
	if (r < 0)
		return r;
	memcpy(fds, images->fds, images->n * sizeof(int));
	fds[images->n] = listener;
	fds[images->n + 1] = tombstone;
	*ret_n = images->n + 2;
	return 0;
}

void vm_try_serve(struct vm *vm)
{
	struct err err = {0};

	vm->retry = sd_event_source_disable_unref(vm->retry);
	if (vm->serve_attempt || vm->serving || !vm->entry.serve)
		return;
	if (jobs_busy(vm->daemon->jobs, vm->name)) {
		daemon_timer(vm->daemon, &vm->retry, RETRY_MIN_MS, on_retry,
			     vm);
		return;
	}
	vm->serve_attempt = true;
	vm_ref(vm);
	if (images_open(vm->daemon, &vm->entry, NULL, on_images, vm, &err) < 0)
		attempt_over(vm, &err);
}
