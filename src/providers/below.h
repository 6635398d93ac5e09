/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths that clients name, which must be below one directory, the root.
 *
 * R1  A path is held against the root by its names first, before the file
 *     system is asked of it: nothing is to be learnt of what is elsewhere.
 *     One that steps out by ".." is as one that names what is there; any other
 *     "." or ".." makes it no plain path, as a link may stand before it.
 * R2  Links may lead about below the root.  Where one leads out of it is found
 *     by where a directory's parent really is, which may change at once, and
 *     is then Landlock's to refuse (gateway/confine.c); of a file that is read
 *     by the very call that opens it (openat2(2), RESOLVE_BENEATH).
 * R3  What is told of a file that is read is its path, never what is in it.
 */
#ifndef PROVIDERS_BELOW_H
#define PROVIDERS_BELOW_H

#include <stddef.h>

#include "common/err.h"

/* ROOT is an absolute path without a slash at its end, "" for "/", and need not
 * be there. */

/* Whether DIRECTORY may be made: -RP_EDENIED if it is not below ROOT,
 * -RP_EPARAM if it cannot be a directory's name there. */
int below_check(const char *root, const char *directory, struct err *err);

/* What the regular file PATH holds, 1 to MAX bytes without a NUL; the caller
 * frees *RET_TEXT.  -RP_EDENIED as above, or where it may not be read;
 * -RP_EPARAM: there is no such file, or it holds anything else. */
int below_read(const char *root, const char *path, size_t max, char **ret_text,
	       struct err *err);

#endif
