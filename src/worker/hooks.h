/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where tests put faults between the worker and the system.  refpoint-worker
 * is linked with hooks.c, which leaves everything as it is, and the tests'
 * refpoint-worker-faulty with hooks-faulty.c, which follows the rules
 * (disk/faulty.h) in REFPOINT_FAULTS_STORE, REFPOINT_FAULTS_MEMORY and
 * REFPOINT_FAULTS_IO (the images, in both halves of the seam), and attaches
 * untracked under REFPOINT_TRACKING=off and through the page cache under
 * REFPOINT_CACHE=writeback, for benchmarks.  There
 * REFPOINT_SANDBOX=off leaves the system calls alone, for sanitizers that need
 * others than we do.
 */
#ifndef WORKER_HOOKS_H
#define WORKER_HOOKS_H

#include "disk/disk.h"
#include "disk/ring.h"

int hooks_init(struct err *err);
/* Of enum vm_attach_flags, to be added. */
unsigned hooks_attach_flags(void);
bool hooks_sealed(void); /* is sandbox_seal() to be called? */

/* What is to be done to an image's descriptor before it is looked at. */
int hooks_image_fd(int fd, struct err *err);

/* Each may replace what it is given; on failure that is left alone. */
int hooks_store(struct fs **fs, struct err *err);
int hooks_memory(struct fs **fs, struct err *err);
int hooks_image(struct file **file, struct err *err);
/* Once; the ring's thread. */
int hooks_ioq(struct ring *ring, struct ioq **ioq, struct err *err);

#endif
