/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The answer of Changes as it comes, in pieces: a disk whose extents do not fit
 * into one message comes again in the next.  Put together here, and handed to
 * whoever prints, without ever holding more than one message.
 */
#ifndef CLI_CHANGES_H
#define CLI_CHANGES_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "cli/extents.h"
#include "common/err.h"
#include "common/limits.h"

struct changes_printer {
	/* Once, before the others; UNTIL is NULL for "now". */
	void (*begin)(void *arg, const char *since, const char *until);
	/* Once for each disk; its extents follow.  ENTRY has them not all. */
	void (*disk)(void *arg, const json_t *entry);
	extent_fn *extent;
	/* The same for a list of them as it came, not empty; NULL: extent. */
	void (*extents)(void *arg, const char *text, size_t bytes);
	void (*disk_end)(void *arg);
	void (*end)(void *arg);
};

struct changes {
	const struct changes_printer *printer;
	void *arg;
	struct extent_lists lists; /* of this message, in its order */
	bool begun, in_disk;
	char disk[DISK_ID_BYTES]; /* whose extents come */
	struct err *err;          /* may be NULL */
};

/* For cli_stream(): ARG is a struct changes, to be ended by changes_done(). */
size_t changes_cut(void *arg, char *text, size_t bytes);
int changes_take(void *arg, json_t *reply, bool continues);
void changes_done(struct changes *changes);

extern const struct changes_printer changes_json; /* ARG: NULL */

#endif
