/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes one qcow2 image, from its first byte to its last, onto an empty file:
 * version 3, clusters of 128 KiB with subclusters of 4 KiB, so that a block of
 * tracking is what the image is made of, restorable with qemu-img alone.
 *
 * Invariants:
 *  1. Guest offsets ascend; so clusters are taken one after the other, at most
 *     one L2 table is in memory, and none is written twice.
 *  2. Every cluster of the file has one reference, whatever it holds: nothing
 *     leaks, and the refcounts need no memory.
 *  3. The header is written last: what was not finished is no qcow2.
 *  4. Of a cluster only the subclusters that were written take space; the rest
 *     is a hole of the file.  Of tables only what is not zero is written.
 *  5. How far it got is how far it really got: backup/window.h.
 *
 * Complete when all that was ordered of the target is done, durable when the
 * caller has synced the file.  Not for several threads.
 */
#ifndef BACKUP_QCOW2_WRITER_H
#define BACKUP_QCOW2_WRITER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

#define QCOW2_CLUSTER_BYTES    (128u << 10)
#define QCOW2_SUBCLUSTER_BYTES 4096u
#define QCOW2_BACKING_MAX      1023u /* bytes of a backing file's name */

struct qcow2_writer;
struct target;

struct qcow2_target {
	struct target *target; /* what writes it */
	unsigned file;         /* of the target's, empty */
	const char *name;      /* for messages; outlives the writer */
	uint64_t bytes;        /* of the disk; a multiple of 512 */
	const char *backing; /* file name, or NULL: what is not written is 0 */
	const char *backing_format; /* "qcow2", "raw" */
};

/* -RP_EPARAM: such an image cannot be; -ENOMEM. */
int qcow2_writer_new(const struct qcow2_target *target,
		     struct qcow2_writer **ret_writer, struct err *err);
/* Accepts NULL.  Without qcow2_finish() the file is of no use. */
struct qcow2_writer *qcow2_writer_free(struct qcow2_writer *writer);

/*
 * What the disk has at OFFSET: LENGTH bytes of DATA, or zeros.  OFFSET is a
 * multiple of 4096 and not before the end of what was told last; LENGTH is one
 * too, or reaches the disk's end.  DATA is target_write()'s.  After a failure
 * there is only qcow2_writer_free().
 */
int qcow2_write(struct qcow2_writer *writer, uint64_t offset, const void *data,
		uint64_t length, struct err *err);
int qcow2_zero(struct qcow2_writer *writer, uint64_t offset, uint64_t length,
	       struct err *err);

/* Tables, refcounts, header.  Sets the file's length. */
int qcow2_finish(struct qcow2_writer *writer, struct err *err);

uint64_t qcow2_data_bytes(const struct qcow2_writer *writer);
/* Length of the file; after qcow2_finish(). */
uint64_t qcow2_file_bytes(const struct qcow2_writer *writer);

#endif
