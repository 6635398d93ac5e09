/* SPDX-License-Identifier: Apache-2.0 */
/* A status that no worker gives. */
#include "daemon/vm.h"

json_t *vm_status_without_worker(const struct vm *vm)
{
	static const char why[] = "not known: its worker does not answer";
	json_t *disks = json_array();
	char uuid[GUID_TEXT_BYTES];

	guid_format(&vm->entry.uuid, uuid);
	for (unsigned i = 0; i < vm->entry.n_disks; i++) {
		const struct inventory_disk *d = &vm->entry.disks[i];

		(void)json_array_append_new(
		    disks,
		    json_pack("{s:s, s:s, s:I, s:n, s:i, s:s, s:s, s:i, s:i, "
			      "s:i, s:i, s:i, s:s}",
			      "id", d->id, "path", d->path, "size",
			      (json_int_t)d->bytes, "nbd_uri", "connected", 0,
			      "accuracy", "invalid", "reason", why,
			      "widened_bytes", 0, "hot_regions", 0,
			      "hot_regions_max", (int)vm->entry.hot_regions,
			      "worst_widening_bytes", 0, "tracking_bytes", 0,
			      "cache", ""));
	}
	return json_pack(
	    "{s:{s:s, s:s, s:s, s:s, s:b, s:s, s:n, s:i, s:i, s:i, "
	    "s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:o, s:[], s:[]}}",
	    "status", "vm", vm->name, "uuid", uuid, "agent", vm->entry.agent,
	    "state", vm_state(vm), "latched", 0, "reason", vm->failure.text,
	    "worker_pid", "points", (int)vm->entry.points, "points_max",
	    (int)vm->entry.max_points, "inflight_bytes", 0, "cut_last_ns", 0,
	    "cut_max_ns", 0, "turn_max_ns", 0, "activations", 0, "intent_syncs",
	    0, "waited_writes", 0, "log_bytes", 0, "log_limit", 0, "disks",
	    disks, "snapshots", "logs");
}
