/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What refpointd remembers of each virtual system, one small JSON file each.
 *
 * It is a cache (P5): the truth stands in the virtual system's store, which
 * its worker reads; an entry whose catalogue is not the one it was made from,
 * or that is missing or damaged, is asked for again.  Only `serve`, the wish
 * of the administrator that the system be served, stands nowhere else; and
 * which files a system has must be what is remembered here, while it is.
 *
 * Invariants:
 *  1. VM.json is replaced atomically and durably: it is whole, or the old one.
 *  2. VM.defining stands, durably, before anything else of a new system does,
 *     and becomes VM.json by rename: what stands beside a VM.defining is the
 *     rest of a definition that did not succeed, and may be removed.
 *  3. A file without points, as it was written once, is whole: they are not
 *     known then, and all the rest is.
 *  4. Snapshots are known with the points.  They end with the boot, without a
 *     commit: those of another one are not known, and so are its points.
 */
#ifndef INVENTORY_INVENTORY_H
#define INVENTORY_INVENTORY_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/guid.h"
#include "common/limits.h"
#include "inventory/points.h"

struct inventory_disk {
	char id[DISK_ID_BYTES];
	char *path;
	uint64_t bytes;         /* 0: not known yet */
	uint64_t device, inode; /* as in a stamp; both 0: not known yet */
};

/* Of the store's catalogue and its log of commits: bytes of both, the later
 * time; all 0: not known. */
struct inventory_catalogue {
	uint64_t device, inode, bytes;
	int64_t mtime_ns;
};

struct inventory_entry {
	char vm[VM_NAME_BYTES];
	struct guid uuid;
	struct inventory_disk *disks;
	unsigned n_disks;
	bool force_raw;
	bool owner_refpoint; /* --owner refpoint */
	unsigned hot_regions, max_points;
	char agent[AGENT_BYTES]; /* as of common/agent.h; "": none */
	/* What it is about to be; whether the store says so is not known. */
	bool agent_changes;
	char agent_next[AGENT_BYTES];
	bool serve;
	unsigned points; /* their number, as last heard */
	struct inventory_points point;
	struct inventory_points snapshot; /* known as the points are */
	struct guid boot;                 /* when it had those snapshots */
	struct inventory_catalogue catalogue;
};

struct inventory;

/* Below LIB, which exists; makes LIB/inventory and LIB/tombstones. */
int inventory_open(const char *lib, struct inventory **ret_inventory,
		   struct err *err);
struct inventory *inventory_close(struct inventory *inventory);

void inventory_entry_done(struct inventory_entry *entry);
/* Without its points. */
int inventory_entry_copy(const struct inventory_entry *from,
			 struct inventory_entry *ret_entry);

/* Adds a disk at the end; PATH is copied.  -ENOMEM. */
int inventory_add_disk(struct inventory_entry *entry, const char *id,
		       const char *path, uint64_t bytes);

/* -ENOENT, quietly: there is none.  -RP_ECORRUPT: it is not one of ours. */
int inventory_load(struct inventory *inventory, const char *vm,
		   struct inventory_entry *ret_entry, struct err *err);
/* PENDING: as VM.defining. */
int inventory_save(struct inventory *inventory,
		   const struct inventory_entry *entry, bool pending,
		   struct err *err);
/* VM.defining becomes VM.json. */
int inventory_commit(struct inventory *inventory, const char *vm,
		     struct err *err);
/* Removes the entry, pending or not; what is not there is no error. */
int inventory_remove(struct inventory *inventory, const char *vm, bool pending,
		     struct err *err);
/* Calls FN for every entry's name, until it says non-zero. */
int inventory_each(struct inventory *inventory,
		   int (*fn)(void *arg, const char *vm, bool pending),
		   void *arg, struct err *err);

/* stat(2) of the store's catalogue; zeros if there is none.  Equal means that
 * nothing was committed in between. */
void inventory_catalogue_stat(const char *store,
			      struct inventory_catalogue *ret_catalogue);

/* The fallback tombstone of VM, made and preallocated (TOMBSTONE_BYTES) if it
 * is not there; what it says is the worker's business. */
#define TOMBSTONE_BYTES 4096
int inventory_tombstone_open(struct inventory *inventory, const char *vm,
			     int *ret_fd, struct err *err);
int inventory_tombstone_remove(struct inventory *inventory, const char *vm,
			       struct err *err);

#endif
