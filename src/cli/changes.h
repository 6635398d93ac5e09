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

#include "common/err.h"
#include "common/limits.h"

struct changes_printer {
	/* Once, before the others; UNTIL is NULL for "now". */
	void (*begin)(void *arg, const char *since, const char *until);
	/* Once for each disk; its extents follow.  ENTRY has them not all. */
	void (*disk)(void *arg, const json_t *entry);
	void (*extent)(void *arg, uint64_t offset, uint64_t length);
	void (*disk_end)(void *arg);
	void (*end)(void *arg);
};

struct changes {
	const struct changes_printer *printer;
	void *arg;
	bool begun, in_disk;
	char disk[DISK_ID_BYTES]; /* whose extents come */
	struct err *err;          /* may be NULL */
};

/* For cli_stream(): ARG is a struct changes. */
int changes_take(void *arg, json_t *reply, bool continues);

extern const struct changes_printer changes_json; /* ARG: NULL */

#endif
