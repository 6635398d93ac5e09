/* SPDX-License-Identifier: Apache-2.0 */
/*
 * refpoint-target: has the files of one export, and writes to them what a
 * worker tells it to (common/target.h).
 *
 * A file system may keep whoever writes to it waiting in a way that nothing
 * ends, not even SIGKILL.  A worker that waits so could not be replaced: it
 * would keep its images' locks.  Here it is a process without anything that
 * others need.
 *
 *   1  It holds the export's socket, memory and files, and standard I/O; no
 *      image, no store, no listener, no lock.
 *   2  Nobody waits for it but the export's thread, which can be called off.
 *   3  It ends with the worker's end of the socket, whatever waits there; one
 *      that is kept waiting ends when that does.
 *   4  The worker may be in a hostile hand: an order reaches into the memory
 *      and these files alone.
 */
#ifndef TARGET_SERVE_H
#define TARGET_SERVE_H

#include "common/err.h"

/* Takes the descriptors from CHANNEL, then orders until the end; 0 if that was
 * TARGET_END, a hang-up, or a file's failure.  -RP_EWIRE: what came makes no
 * sense. */
int target_serve(int channel, struct err *err);

#endif
