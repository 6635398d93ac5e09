/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and writing files by descriptor, as far as it goes. */
#ifndef COMMON_FD_H
#define COMMON_FD_H

#include <stdint.h>

/* Reads up to BYTES at OFFSET; returns how many, short only at the file's end,
 * or -errno. */
int64_t fd_read(int fd, void *buf, uint64_t bytes, uint64_t offset);
/* Writes all of it: 0 or -errno. */
int fd_write(int fd, const void *buf, uint64_t bytes, uint64_t offset);

#endif
