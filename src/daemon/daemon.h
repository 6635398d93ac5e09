/* SPDX-License-Identifier: Apache-2.0 */
/*
 * refpointd: which virtual systems there are, and that each has its worker.
 *
 * One thread runs an event loop; nothing on it waits.  What may (opening
 * images) runs as a task on a thread of its own; what is asked of a worker is
 * a link with a time limit.  So a worker or a disk that hangs costs its own
 * virtual system's calls and nobody else's.
 *
 * Invariants:
 *  1. One refpointd for a root: it holds the lock on LIB/lock.
 *  2. One worker for a virtual system: a new one is started only when the
 *     process of the old one is known to have ended.
 *  3. A descriptor of an image is held only while it is on its way to a
 *     worker; of listeners a duplicate is kept.
 *  4. A worker is told only of its own virtual system: who asks is known by
 *     the process that refpointd started, not by what it says.
 */
#ifndef DAEMON_DAEMON_H
#define DAEMON_DAEMON_H

#include <limits.h>
#include <stdbool.h>
#include <systemd/sd-event.h>

#include "common/limits.h"
#include "common/paths.h"
#include "inventory/inventory.h"
#include "job/job.h"
#include "job/record.h"
#include "rpc/rpc.h"

#define INTERFACE_VERSION 1
#define VM_BUCKETS        1024
#define REFRESHES_AT_ONCE 4 /* workers started to rebuild the inventory */
#define WORKER_USER       "refpoint-worker"
#define SOCKET_GROUP      "kvm"
#define UNIT_FORMAT       "refpoint-worker@%s.service"
#define NBD_BACKLOG       128

struct vm;
struct systems;
struct freeze;
struct export;
struct pull;
struct target;

struct daemon {
	sd_event *event;
	struct paths paths;
	struct inventory *inventory;
	struct jobs *jobs;
	struct records *records;
	struct rpc_server *server;
	struct vm *vms;  /* by name */
	struct vm *last; /* of them */
	struct vm *by_name[VM_BUCKETS];
	unsigned n_vms;
	unsigned refreshing;      /* workers at work for the inventory now */
	struct export *exports;   /* under way */
	struct pull *pulls;       /* snapshots read over the network */
	struct systems *asking;   /* calls that are being answered */
	sd_event_source *settled; /* and look again at what is known */
	bool privileged;  /* runs as root: workers get a user of their own */
	bool units;       /* workers are started by systemd */
	struct guid boot; /* this one */
	uid_t worker_uid; /* of a worker: its user, or our own */
	gid_t worker_gid;
	gid_t socket_gid; /* of run/vm/VM and nbd.sock */
	char worker_path[PATH_BYTES];
	char agent_path[PATH_BYTES]; /* of refpoint-agent */
	struct freeze *freezes;
	char pull_path[PATH_BYTES];   /* of refpoint-pull */
	char target_path[PATH_BYTES]; /* of refpoint-target */
	struct target *targets;       /* that live */
	const char *debug;            /* -D, passed on to workers; NULL: none */
	int lock;
};

/* CLOCK_BOOTTIME. */
uint64_t daemon_now_ms(void);

/* A one-shot timer; *SOURCE is replaced.  MS 0: as soon as the loop is back. */
void daemon_timer(struct daemon *daemon, sd_event_source **source, uint64_t ms,
		  sd_event_time_handler_t fn, void *arg);

#endif
