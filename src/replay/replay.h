/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Applies a chain of logs to a copy of what the first one began from: all of
 * them, or up to one moment.  docs/format/log.md and sidecar.md.
 *
 *   P1  Nothing is written before the chain, all heads, and all that will be
 *       applied are checked: every checksum, of the data too, every bound.
 *   P2  With sidecars a moment is one place in the order of all writes of all
 *       disks, as times never step back along it: all disks of a virtual system
 *       that are replayed until the same time are as they were at one instant.
 *       A moment that the logs do not reach, at either end, is refused.
 *       Without sidecars it is the end of a second by each log's own stamps.
 *   P3  Within a span that was mended after a crash there are no moments.  Only
 *       sidecars tell.
 *   P4  Data is checked once more when it is applied: a log that changes
 *       meanwhile is a failure, and the image then incomplete, which is said.
 *
 * Vhd2DataWriteGuid is not compared from log to log: of a VHDX it is another
 * one whenever the disk was opened anew.
 *
 * Results are negative codes with a message that names the log: -RP_ECORRUPT,
 * -RP_EVERSION, -RP_EUNSUPPORTED, -RP_EPARAM (what does not belong together,
 * or a moment that is not to be had), -RP_ESTATE (not closed), -errno.
 */
#ifndef REPLAY_REPLAY_H
#define REPLAY_REPLAY_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

#define REPLAY_LOGS_MAX 4096u

struct replay_input {
	const char *name; /* for messages */
	int fd;           /* of the log, for reading */
	int sidecar_fd;   /* likewise; -1: there is none */
};

struct replay;

/* Takes N logs (all closed) of one disk, in any order, into their chain.  The
 * descriptors and names stay the caller's, and are used until
 * replay_free(). */
int replay_new(const struct replay_input *inputs, unsigned n,
	       struct replay **ret_replay, struct err *err);
struct replay *replay_free(struct replay *replay); /* accepts NULL */

/*
 * P1: all that can be checked, for an image of BYTES.  UNTIL_NS: nanoseconds
 * since 1970, and then what was written at that time or before is applied;
 * negative: all.  Logs without a sidecar know whole seconds: those of UNTIL
 * with what was written until the second's end, and others are refused.
 */
int replay_check(struct replay *replay, uint64_t bytes, int64_t until_ns,
		 struct err *err);

/* What replay_check() found will be applied. */
struct replay_extent {
	uint64_t writes;
	uint64_t bytes;
	int64_t last_ns; /* time of the last write; negative: none */
};
void replay_extent(const struct replay *replay,
		   struct replay_extent *ret_extent);

/* Writes into the image, of the size that was checked, and syncs it.  PROGRESS
 * (may be NULL) hears how many of the extent's bytes are done, and stops it by
 * returning false: -RP_ECANCELLED. */
int replay_apply(struct replay *replay, int image_fd,
		 bool (*progress)(void *arg, uint64_t done), void *arg,
		 struct err *err);

#endif
