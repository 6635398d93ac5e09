/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one exported thing is written as: a disk as a qcow2 image, a file as it
 * is, byte for byte, in which blocks of zeros are holes.  Or what is read is
 * hashed, and nothing is written.
 */
#ifndef BACKUP_SINK_H
#define BACKUP_SINK_H

#include <stdbool.h>
#include <stdint.h>

#include "backup/content-hash.h"
#include "backup/qcow2-writer.h"
#include "backup/window.h"

struct sink {
	struct qcow2_writer *qcow2; /* NULL: as it is */
	struct content_hash *hash;  /* NULL: it is written */
	uint64_t hashed;
	struct window window;
	uint64_t bytes; /* of the whole */
	uint64_t data;  /* written */
};

/* PLAIN: as it is; then there is no backing file, and `bytes` may be any.
 * -RP_EPARAM: such an image cannot be; -ENOMEM. */
int sink_open(struct sink *sink, const struct qcow2_target *target, bool plain,
	      struct err *err);
/* Of BYTES, what is not told of being zeros. */
int sink_open_hash(struct sink *sink, uint64_t bytes, struct err *err);
/* Without sink_finish() the file is of no use. */
void sink_close(struct sink *sink);

/* As qcow2_write(), qcow2_zero(). */
int sink_write(struct sink *sink, uint64_t offset, const void *data,
	       uint64_t length, struct err *err);
int sink_zero(struct sink *sink, uint64_t offset, uint64_t length,
	      struct err *err);
/* All was told. */
int sink_finish(struct sink *sink, struct err *err);

/* The hash, instead of sink_finish(). */
int sink_finish_hash(struct sink *sink, uint8_t ret_hash[METADATA_HASH_BYTES],
		     struct err *err);

uint64_t sink_data_bytes(const struct sink *sink);
/* Length of the file; after sink_finish(). */
uint64_t sink_file_bytes(const struct sink *sink);

#endif
