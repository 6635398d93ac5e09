/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What goes where in a log that is written: arithmetic and encoding, no I/O.
 *
 *     hrl_writer_begin()          the first HRL_FIRST_BYTES of the file
 *     hrl_writer_add()            where the data of a write goes
 *     hrl_writer_block()          the block that describes what was added,
 *                                 and where it goes; due after HRL_ENTRIES
 *     hrl_writer_close()          the header again, with the end
 *
 *   W1  The file grows at its end only; nothing is written twice but the
 *       header, when the log is closed.
 *   W2  Up to hrl_writer_end() the log is whole once all that was to go there
 *       is durable: writer and reader can go on from there.  What was added
 *       after the last block is no part of it.
 *
 * The caller orders its calls; a writer has no lock.  Its errors are mistakes
 * of the caller's, and abort.
 */
#ifndef HRL_WRITER_H
#define HRL_WRITER_H

#include <stdbool.h>
#include <stdint.h>

#include "hrl/hrl.h"

/* Header and the empty first block. */
#define HRL_FIRST_BYTES (HRL_HEADER_BYTES + HRL_METADATA_BYTES)

struct hrl_writer {
	struct hrl_header header; /* its `entries`: those in blocks */
	uint64_t block_at;        /* of the last block */
	uint64_t at;              /* where the next data, or block, goes */
	uint32_t pending;         /* entries for the next block */
	uint8_t block[HRL_METADATA_BYTES];
};

/* A new log.  Of HEADER are used: created, creator, creator_version, id,
 * previous, data_write.  BUF is what the file begins with. */
void hrl_writer_begin(struct hrl_writer *writer,
		      const struct hrl_header *header,
		      uint8_t buf[HRL_FIRST_BYTES]);
/* A log that was written up to END, which is the end of a block, with ENTRIES
 * in all blocks: what a reader with that end tells.  HEADER is the log's own,
 * whose blocks are of HRL_METADATA_BYTES; if it has an end, that is void from
 * now on. */
void hrl_writer_resume(struct hrl_writer *writer,
		       const struct hrl_header *header, uint64_t end,
		       uint64_t entries);

/* Must a block come before another write can be added? */
bool hrl_writer_is_full(const struct hrl_writer *writer);
/* Adds a write of LENGTH bytes at OFFSET of the disk, both whole sectors, and
 * returns where in the file its data goes.  Zeros, whose checksum is
 * HRL_ZEROS_CHECKSUM, need not be written where the file has a hole; those of
 * more than HRL_ZEROS_BYTES_MAX are added in pieces of that. */
uint64_t hrl_writer_add(struct hrl_writer *writer, uint64_t offset,
			uint32_t length, uint32_t time, uint32_t data_checksum);
/* Ends the group: encodes its block into BUF and returns where it goes, behind
 * the data.  A block without entries is allowed. */
uint64_t hrl_writer_block(struct hrl_writer *writer,
			  uint8_t buf[HRL_METADATA_BYTES]);
/* The end of the last block. */
uint64_t hrl_writer_end(const struct hrl_writer *writer);

/* The header of the closed log.  To be written once all else is durable; what
 * was added must be in a block. */
void hrl_writer_close(struct hrl_writer *writer, uint32_t time,
		      uint8_t buf[HRL_HEADER_BYTES]);

#endif
