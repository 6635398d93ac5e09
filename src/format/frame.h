/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all structures begin with, and the checks that all share, in this
 * order: magic, checksum, version.  A torn write is thus never taken for a
 * structure of another version; every version keeps these 16 bytes and, for
 * its magic, the rule that says which bytes the checksum covers.
 */
#ifndef FORMAT_FRAME_H
#define FORMAT_FRAME_H

#include <stdbool.h>
#include <stdint.h>

#include "common/bytes.h"
#include "common/err.h"
#include "common/guid.h"

#define FORMAT_VERSION 1u

struct frame_disk {
	uint8_t magic[8];
	le32 version;
	le32 checksum;
};

/* MAGIC is 8 characters. */
void frame_begin(struct frame_disk *frame, const char *magic);
/* Sets the checksum over the BYTES that begin at FRAME. */
void frame_finish(struct frame_disk *frame, uint64_t bytes);

/* WHAT is how ERR calls the structure. */
int frame_check_magic(const struct frame_disk *frame, const char *magic,
		      const char *what, struct err *err);
/* Checksum, then version. */
int frame_check_sum(const struct frame_disk *frame, uint64_t bytes,
		    const char *what, struct err *err);

bool bytes_are_zero(const void *buf, uint64_t bytes);
/* -RP_ECORRUPT, saying which byte of WHAT is not zero. */
int check_reserved(const void *structure, uint64_t from, uint64_t to,
		   const char *what, struct err *err);

/* Text of a fixed field: printable ASCII, then NULs to its end.  text_put()
 * puts '?' for what is not printable and cuts what is too long. */
void text_put(char *field, uint64_t bytes, const char *text);
bool text_is_valid(const char *field, uint64_t bytes);

#endif
