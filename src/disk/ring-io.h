/* SPDX-License-Identifier: Apache-2.0 */
/* The seam's queue on a ring, for ring.c, which owns it; and the state of its
 * ios, for writers.c. */
#ifndef DISK_RING_IO_H
#define DISK_RING_IO_H

#include "disk/ring.h"

#define RING_PIECE_BYTES GIB(1) /* one operation's length is 31 bits */

/* In the private words of an io. */
struct ring_io {
	union {
		struct ring_op op;
		struct ring_task task;
	};
	struct ring *ring;
	int result; /* for the task */
	uint16_t way;
	uint16_t retries;
};

_Static_assert(sizeof(struct ring_io) <= sizeof(((struct io *)0)->priv),
	       "the state of an io must fit into its private words");

static inline struct ring_io *ring_io_state(struct io *io)
{
	return (struct ring_io *)io->priv;
}

/* NULL: no memory. */
struct ioq *ring_io_new(struct ring *ring);
void ring_io_free(struct ioq *ioq); /* accepts NULL */

/* Once in each turn of the loop, after all that may submit. */
void ring_io_begin(struct ioq *ioq);

#endif
