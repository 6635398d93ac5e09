/* SPDX-License-Identifier: Apache-2.0 */
/* org.refpoint.daemon: what a worker asks of refpointd. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "daemon/images.h"
#include "daemon/methods.h"
#include "daemon/vm.h"

struct callback {
	struct rpc_call *call;
	struct vm *vm; /* held */
	bool serve;
};

/* Finds the VM and makes sure that the caller is its worker. */
static struct callback *begin(struct daemon *daemon, struct rpc_call *call,
			      const char *name, struct err *err)
{
	struct vm *vm = vm_find_any(daemon, name);
	struct callback *cb;

	if (!vm) {
		err_set(err, -RP_ENOVM, "there is no VM '%.64s'", name);
		return NULL;
	}
	if (vm_claim_worker(vm, rpc_call_pid(call), err) < 0) {
		log_warning("%s", err->text);
		return NULL;
	}
	cb = malloc(sizeof(*cb));
	if (!cb) {
		err_set(err, -ENOMEM, "call");
		return NULL;
	}
	*cb = (struct callback){.call = call, .vm = vm_ref(vm)};
	return cb;
}

static void end(struct callback *cb)
{
	vm_unref(cb->vm);
	free(cb);
}

/* ---- Start ------------------------------------------------------------------
 */

static void reply_idle(struct callback *cb)
{
	_cleanup_close_ int tombstone = -1;
	struct err err = {0};

	if (cb->vm->gone)
		err_set(&err, -RP_ENOVM, "there is no VM '%s'", cb->vm->name);
	if (err.code ||
	    inventory_tombstone_open(cb->vm->daemon->inventory, cb->vm->name,
				     &tombstone, &err) < 0)
		rpc_fail(cb->call, &err);
	else
		rpc_reply_fds(cb->call,
			      json_pack("{s:b, s:[]}", "serve", 0, "images"),
			      &tombstone, 1);
	end(cb);
}

static void on_images(void *arg, struct images *images, const struct err *why)
{
	struct callback *cb = arg;
	struct vm *vm = cb->vm;
	int fds[DISKS_PER_VM_MAX + 2];
	unsigned n = 0;
	struct err err = *why;

	if (!err.code && (vm->gone || !vm->entry.serve))
		err_set(&err, -RP_ECANCELLED, "'%s' changed", vm->name);
	if (!err.code)
		(void)serve_descriptors(vm, images, fds, &n, &err);
	if (err.code) {
		vm_serve_failed(vm, &err);
		reply_idle(cb);
		return;
	}
	images_note(images, &vm->entry, NULL);
	vm->grace_ms = daemon_now_ms() + START_GRACE_MS;
	rpc_reply_fds(cb->call,
		      json_pack("{s:b, s:o}", "serve", 1, "images",
				images_json(images, &vm->entry, NULL)),
		      fds, n);
	(void)close(fds[n - 1]);
	end(cb);
}

void callback_start(struct rpc_call *call, json_t *parameters, void *arg)
{
	const char *name = NULL;
	uint64_t pid = 0;
	const struct rpc_field fields[] = {
	    {"vm", RPC_STRING, true, VM_NAME_BYTES, &name, NULL},
	    {"pid", RPC_UINT, true, 0, &pid, NULL},
	    {0}};
	struct callback *cb = NULL;
	struct err err = {0};

	if (rpc_read_fields(parameters, fields, &err) == 0)
		cb = begin(arg, call, name, &err);
	if (!cb) {
		rpc_fail(call, &err);
		return;
	}
	if (!cb->vm->entry.serve || cb->vm->defining || !cb->vm->known) {
		reply_idle(cb);
		return;
	}
	if (images_open(arg, &cb->vm->entry, NULL, on_images, cb, &err) < 0) {
		vm_serve_failed(cb->vm, &err);
		reply_idle(cb);
	}
}

/* ---- Mark -------------------------------------------------------------------
 */

static void on_marked(void *arg, struct images *images, const struct err *err)
{
	struct callback *cb = arg;

	if (err->code)
		rpc_fail(cb->call, err);
	else
		rpc_reply(cb->call,
			  json_pack("{s:o}", "stamp",
				    images_stamp_json(&images->stamps[0])));
	end(cb);
}

void callback_mark(struct rpc_call *call, json_t *parameters, void *arg)
{
	const char *name = NULL, *disk = NULL, *text = NULL;
	const struct rpc_field fields[] = {
	    {"vm", RPC_STRING, true, VM_NAME_BYTES, &name, NULL},
	    {"disk", RPC_STRING, true, DISK_ID_BYTES, &disk, NULL},
	    {"nonce", RPC_STRING, true, GUID_TEXT_BYTES, &text, NULL},
	    {0}};
	struct callback *cb = NULL;
	struct guid nonce;
	struct err err = {0};
	int r = rpc_read_fields(parameters, fields, &err);

	if (r == 0 && !guid_parse(text, &nonce))
		r = err_set(&err, -RP_EPARAM, "'nonce' is no GUID");
	if (r == 0)
		cb = begin(arg, call, name, &err);
	if (cb && images_mark(arg, &cb->vm->entry, disk, &nonce, on_marked, cb,
			      &err) < 0) {
		end(cb);
		cb = NULL;
	}
	if (!cb)
		rpc_fail(call, &err);
}

/* ---- SnapshotListener
 * --------------------------------------------------------
 */

void callback_snapshot_listener(struct rpc_call *call, json_t *parameters,
				void *arg)
{
	const char *name = NULL, *text = NULL;
	const struct rpc_field fields[] = {
	    {"vm", RPC_STRING, true, VM_NAME_BYTES, &name, NULL},
	    {"snapshot", RPC_STRING, true, GUID_TEXT_BYTES, &text, NULL},
	    {0}};
	struct callback *cb = NULL;
	_cleanup_close_ int fd = -1;
	struct guid snapshot;
	struct err err = {0};
	int r = rpc_read_fields(parameters, fields, &err);

	if (r == 0 && !guid_parse(text, &snapshot))
		r = err_set(&err, -RP_EPARAM, "'snapshot' is no GUID");
	if (r == 0)
		cb = begin(arg, call, name, &err);
	if (cb)
		r = vm_snapshot_listener(cb->vm, &snapshot, &fd, &err);
	if (!cb || r < 0)
		rpc_fail(call, &err);
	else
		rpc_reply_fds(call, NULL, &fd, 1);
	if (cb)
		end(cb);
}
