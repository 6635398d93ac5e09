/* SPDX-License-Identifier: Apache-2.0 */
/* What the store's file kinds share. */
#ifndef STORE_PREALLOCATED_H
#define STORE_PREALLOCATED_H

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

#endif
