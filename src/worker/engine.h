/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The data path: one thread with the ring, the NBD server and the one queue of
 * tracking.  The thread and the server live as long as the worker; volumes, and
 * snapshots that are read (reading.h), come and go.
 */
#ifndef WORKER_ENGINE_H
#define WORKER_ENGINE_H

#include "log/logs.h"
#include "snapshot/snapshot.h"

struct engine;

int engine_new(struct engine **ret_engine, struct err *err);
/* Nothing may be served.  Accepts NULL. */
struct engine *engine_free(struct engine *engine);

/* The rest is for one thread at a time, not the ring's. */

/* What logs are written through. */
void engine_host(struct engine *engine, struct logs_host *ret_host);
/* LOGS, attached or about to be, have their turns and ticks; NULL: no more. */
void engine_attend(struct engine *engine, struct logs *logs);

/* Makes queue and volumes of VM, attached as its SNAPSHOTS are, and accepts
 * guests on LISTEN_FD, which stays the caller's. */
int engine_serve(struct engine *engine, struct vm *vm,
		 struct snapshots *snapshots, int listen_fd, struct err *err);
/* Accepts nobody any more, breaks off who reads snapshots, lets every request
 * end, and forgets the volumes.  SNAPSHOTS and VM may then be detached. */
void engine_drain(struct engine *engine);

/* Serves the disks of snapshot ID, of the vm that is served, for reading, to
 * who comes to LISTEN_FD, which is taken over on success.  -RP_ENOPOINT;
 * -RP_EALREADY. */
int engine_open_snapshot(struct engine *engine, const struct guid *id,
			 int listen_fd, struct err *err);
/* Breaks off its readers and waits for what they have in flight; nothing if it
 * is not open. */
void engine_close_snapshot(struct engine *engine, const struct guid *id);

/* Any thread: runs TASK on the ring's soon. */
void engine_post(struct engine *engine, struct ring_task *task);

/* Any thread.  How many connections read it; -1: it is not open. */
int engine_readers(struct engine *engine, const struct guid *id);
unsigned engine_connected(struct engine *engine, uint32_t disk);
uint64_t engine_inflight_bytes(struct engine *engine);
/* ring_watch() of the engine's ring. */
uint64_t engine_watch(struct engine *engine, bool watch);

#endif
