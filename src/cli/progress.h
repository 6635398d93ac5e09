/* SPDX-License-Identifier: Apache-2.0 */
/* How far something long has got: one line on a terminal, written over. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#define PROGRESS_BYTES 128

struct progress {
	bool shown;        /* there is a line on the terminal */
	uint64_t began_ms; /* 0: nothing was heard yet */
	uint64_t began_at; /* what was done then */
};

/* Writes the line for a time, on a clock that never goes back. */
void progress_format(struct progress *progress, uint64_t now_ms, uint64_t done,
		     uint64_t total, char ret_text[PROGRESS_BYTES]);
/* The same on standard error, if that is a terminal. */
void progress_show(struct progress *progress, uint64_t done, uint64_t total);
/* Takes the line away. */
void progress_end(struct progress *progress);

#endif
