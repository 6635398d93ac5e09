/* SPDX-License-Identifier: Apache-2.0 */
/* Small files that only we and root may have written. */
#ifndef HTTP_PRIVATE_FILE_H
#define HTTP_PRIVATE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "common/err.h"

/* The whole file with a NUL behind it, for the caller to free.  -RP_EDENIED
 * unless it is a file of ours or root's (or ANY_OWNER) that others can neither
 * read nor write; -RP_ELIMIT above BYTES_MAX. */
int private_file_read(const char *path, bool any_owner, size_t bytes_max,
		      char **ret_text, struct stat *ret_stat, struct err *err);

/* Writes a new file of MODE beside PATH, given to UID and GID unless they are
 * -1, syncs it and renames it to PATH. */
int private_file_write(const char *path, mode_t mode, uid_t uid, gid_t gid,
		       const void *data, size_t bytes, struct err *err);

#endif
