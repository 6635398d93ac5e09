/* SPDX-License-Identifier: Apache-2.0 */
/* The hash of a disk's content: SHA-256 over the SHA-256 of each piece of it
 * (docs/format/log-export.md). */
#ifndef BACKUP_CONTENT_HASH_H
#define BACKUP_CONTENT_HASH_H

#include <stddef.h>

#include "common/err.h"
#include "common/metadata.h"

struct content_hash;

/* -ENOMEM. */
int content_hash_new(struct content_hash **ret_hash, struct err *err);
struct content_hash *content_hash_free(struct content_hash *hash);

/* The next piece: METADATA_PIECE_BYTES, or what is left of the disk at its end;
 * DATA NULL: zeros, which are hashed once.  BYTES: from 1. */
int content_hash_add(struct content_hash *hash, const void *data, size_t bytes,
		     struct err *err);
/* All was added. */
void content_hash_end(struct content_hash *hash,
		      uint8_t ret_hash[METADATA_HASH_BYTES]);

#endif
