/* SPDX-License-Identifier: Apache-2.0 */
/* File systems of a test's own, on loop mounts. */
#ifndef TESTS_TRACK_MOUNTED_H
#define TESTS_TRACK_MOUNTED_H

#include <stdbool.h>

#include "common/bytes.h"

#define FS_BYTES MIB(320) /* the least that mkfs.xfs takes, and some */

struct mounted {
	char file[96];
	char path[64];
};

/* Makes a file system in a sparse file of FS_BYTES below DIR (NULL: /var/tmp)
 * and mounts it.  False if this machine cannot. */
bool mount_new(struct mounted *m, const char *dir, const char *mkfs,
	       const char *type);
bool mount_free(struct mounted *m);

#endif
