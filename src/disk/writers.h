/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads that write one file through the page cache; for ring-io.c and
 * posix.c alone.  All functions but writers_free() belong to the ring's
 * thread.
 */
#ifndef DISK_WRITERS_H
#define DISK_WRITERS_H

#include "disk/disk.h"

struct writers;

/* FD stays the caller's.  ALWAYS: whatever it can do.  NULL: no memory. */
struct writers *writers_new(int fd, bool always);

/* Ends the threads.  Nothing may be in flight.  Accepts NULL. */
struct writers *writers_free(struct writers *writers);

/* Is a write, or what is left of one, for the threads?  If not it is the
 * ring's.  What the file can do is found out by a thread, with the first write,
 * which is for it whatever that is; never waits. */
bool writers_want(struct writers *writers);

/* Holds IO for writers_begin(), and puts WRITERS on the list PENDING if they
 * are not there yet.  The io's task is posted to its ring with pwrite(2)'s
 * result, a negative code on failure, in its state; or it is linked by `next`
 * to one that is. */
void writers_add(struct writers *writers, struct io *io,
		 struct writers **pending);

/* Hands what was added to the threads; the list is then empty. */
void writers_begin(struct writers **pending);

#endif
