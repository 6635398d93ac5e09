/* SPDX-License-Identifier: Apache-2.0 */
/* The hash of a disk's content: SHA-256 over the SHA-256 of each piece of
 * METADATA_PIECE_BYTES (docs/format/log-export.md). */
#ifndef BACKUP_CONTENT_HASH_H
#define BACKUP_CONTENT_HASH_H

#include "common/err.h"
#include "common/metadata.h"

struct content_hash;

/* -ENOMEM. */
int content_hash_new(struct content_hash **ret_hash, struct err *err);
struct content_hash *content_hash_free(struct content_hash *hash);

/* What comes next; DATA NULL: zeros, whole pieces of which are hashed once. */
int content_hash_add(struct content_hash *hash, const void *data,
		     uint64_t bytes, struct err *err);
/* All was added. */
int content_hash_end(struct content_hash *hash,
		     uint8_t ret_hash[METADATA_HASH_BYTES], struct err *err);

#endif
