/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The data path: one thread with the ring, the NBD server and the one queue of
 * tracking.  The thread and the server live as long as the worker; volumes
 * come and go.
 */
#ifndef WORKER_ENGINE_H
#define WORKER_ENGINE_H

#include "track/vm.h"

struct engine;

int engine_new(struct engine **ret_engine, struct err *err);
/* Nothing may be served.  Accepts NULL. */
struct engine *engine_free(struct engine *engine);

/* The rest is for one thread at a time, not the ring's. */

/* Makes queue and volumes of VM, attached, and accepts guests on LISTEN_FD,
 * which stays the caller's. */
int engine_serve(struct engine *engine, struct vm *vm, int listen_fd,
		 struct err *err);
/* Accepts nobody any more, lets every request end, and forgets the volumes. VM
 * may then be detached. */
void engine_drain(struct engine *engine);

/* Any thread. */
unsigned engine_connected(struct engine *engine, uint32_t disk);
uint64_t engine_inflight_bytes(struct engine *engine);
/* ring_watch() of the engine's ring. */
uint64_t engine_watch(struct engine *engine, bool watch);

#endif
