/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files of an export, written to by refpoint-target (common/target.h).
 *
 * Orders are gathered, sent, and carried out in the order they were given.  A
 * failure of one is that of a later call; after it there is only
 * target_close().
 *
 *   1  Nothing here waits for a file but in ways that target_cancel() ends.
 *   2  What refpoint-target says is checked, and read out of no memory that it
 *      can write to: what it does there can but spoil the export.
 *
 * For one thread, but where another is mentioned.
 */
#ifndef BACKUP_TARGET_H
#define BACKUP_TARGET_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

struct target;

/* Of N files, which NAMES (they outlive the target) are messages' names for.
 * FDS are the socket and the memory, taken over (-1) whatever comes of it but
 * -ENOMEM. */
int target_new(int *fds, const char *const *names, unsigned n,
	       struct target **ret_target, struct err *err);
/* Tells refpoint-target to end, and waits for that, but not for long: one that
 * hangs is left to itself.  target_cancel() and target_wake() may be called
 * until target_free(). */
void target_close(struct target *target);
/* Accepts NULL. */
struct target *target_free(struct target *target);

/* TARGET_DATA_BYTES for what target_write() is given. */
uint8_t *target_data(struct target *target);

/* BYTES of DATA, which lies in target_data() and stays as it is until
 * target_is_done(). */
int target_write(struct target *target, unsigned file, uint64_t at,
		 const void *data, uint64_t bytes, struct err *err);
/* DATA may be anywhere; it is copied. */
int target_put(struct target *target, unsigned file, uint64_t at,
	       const void *data, uint64_t bytes, struct err *err);
/* [FROM, TO) is on its way to the file's disk; is there. */
int target_sync_begin(struct target *target, unsigned file, uint64_t from,
		      uint64_t to, struct err *err);
int target_sync_wait(struct target *target, unsigned file, uint64_t from,
		     uint64_t to, struct err *err);
int target_set_length(struct target *target, unsigned file, uint64_t bytes,
		      struct err *err);

/* Sends what was gathered.  *RET_MARK stands for all up to here. */
int target_send(struct target *target, uint32_t *ret_mark, struct err *err);
bool target_is_done(const struct target *target, uint32_t mark);
/* Until something was carried out, or target_wake() called since the last time.
 * -RP_ECANCELLED; -RP_EFAILED: refpoint-target is gone. */
int target_wait(struct target *target, struct err *err);
/* Until all is carried out. */
int target_drain(struct target *target, struct err *err);
/* Likewise, and the files are closed.  Nothing can be ordered any more. */
int target_end(struct target *target, struct err *err);

/* Any thread. */
void target_wake(struct target *target);
void target_cancel(struct target *target);

#endif
