/* SPDX-License-Identifier: Apache-2.0 */
/* What the store's file kinds share. */
#ifndef STORE_PREALLOCATED_H
#define STORE_PREALLOCATED_H

#include "common/guid.h"
#include "disk/disk.h"

/* Makes NAME a file of BYTES, allocated and written, and synced, but not its
 * name.  KEEP: what is there already is kept, and a longer file stays as long;
 * otherwise all becomes zeros. */
int preallocated_create(struct fs *fs, const char *name, uint64_t bytes,
			bool keep, struct err *err);

/* Opens NAME for writing.  That it is not there, or shorter than BYTES, is
 * -RP_ECORRUPT: it was made when the system was defined. */
int preallocated_open(struct fs *fs, const char *name, uint64_t bytes,
		      struct file **ret_file, struct err *err);

/* All of it, or an error; -RP_ECORRUPT if the file ends before. */
int file_read_all(struct file *file, void *buf, uint64_t bytes, uint64_t offset,
		  struct err *err);

/*
 * A file on the tmpfs that is used through its mapping.  Made as TEMPORARY, of
 * BYTES, all allocated, so that no store into the mapping can fail; beginning
 * with HEAD; and then renamed to NAME.  On failure there is neither.
 */
int mapped_create(struct fs *memory, const char *temporary, const char *name,
		  const void *head, uint64_t head_bytes, uint64_t bytes,
		  struct file **ret_file, void **ret_addr, struct err *err);
/* Maps one that is there; -RP_ECORRUPT if it does not have BYTES. */
int mapped_map(struct file *file, uint64_t bytes, void **ret_addr,
	       struct err *err);

/* NAME is PREFIX, a GUID's text, '-' and a number, and perhaps more: whether it
 * is just what is written so is the caller's to see. */
bool name_split(const char *name, const char *prefix, struct guid *ret_id,
		uint32_t *ret_disk);

#endif
