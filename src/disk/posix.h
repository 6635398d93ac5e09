/* SPDX-License-Identifier: Apache-2.0 */
/* The seam's blocking half on the system: openat(2) below one directory. */
#ifndef DISK_POSIX_H
#define DISK_POSIX_H

#include "disk/disk.h"

/* Takes DIRFD over, also on failure.  NAME is for messages. */
int posix_fs_new(int dirfd, const char *name, struct fs **ret_fs,
		 struct err *err);

/* A file made of an open descriptor, which it takes over (a disk's image that
 * somebody else opened).  Never fails but for memory. */
int posix_file_new(int fd, const char *name, struct file **ret_file,
		   struct err *err);

/* Is it a file of this implementation? */
bool posix_is_file(const struct file *file);

/* The descriptor of a file of this implementation; still owned by it. */
int posix_file_fd(const struct file *file);

/* Where the ring that this file is used on keeps its writers; close ends them.
 */
struct writers;
struct writers **posix_file_writers(struct file *file);

/* From now on the ring leaves writes to the file's own thread, whatever the
 * file can do: the kernel's workers take those to files that share a slot of 64
 * one after the other, so that one that hangs holds up others.  Before the
 * first write; of a file of another implementation, nothing. */
void posix_file_keep_apart(struct file *file);
bool posix_file_is_apart(struct file *file);

/* D4: the first error of a sync of this file, negative, or 0.  While it is not
 * 0 every sync fails with it, here and on the ring, until the file is opened
 * anew.  Any thread. */
int posix_file_latched(const struct file *file);
void posix_file_latch(struct file *file, int error);

/* Is DIRFD on a tmpfs (where maps survive the process)?  1, 0, or negative. */
int posix_is_tmpfs(int dirfd, struct err *err);

/* May a store live here?  Refuses a tmpfs and network file systems (NFS, CIFS,
 * 9p, FUSE) by statfs(2), naming what it found: -RP_EUNSUPPORTED. */
int posix_check_store_fs(int dirfd, struct err *err);

#endif
