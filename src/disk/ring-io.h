/* SPDX-License-Identifier: Apache-2.0 */
/* The seam's queue on a ring; for ring.c alone, which owns it. */
#ifndef DISK_RING_IO_H
#define DISK_RING_IO_H

#include "disk/ring.h"

/* NULL: no memory. */
struct ioq *ring_io_new(struct ring *ring);
void ring_io_free(struct ioq *ioq); /* accepts NULL */

#endif
