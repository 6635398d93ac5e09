/* SPDX-License-Identifier: Apache-2.0 */
/*
 * [MS-HRL] version 2, the log that Hyper-V publishes, as bytes: the header,
 * metadata blocks and their entries.  Pure: no I/O, no clock, no allocation.
 * docs/format/log.md says what we write; reader.h goes through a whole log,
 * writer.h says what goes where in one.
 *
 *     header | data of writes | metadata block | data | metadata block | ...
 *
 * A block's entries say whose data lies directly before it, back to back.
 * Integers are little-endian; a checksum is the one's complement of the sum of
 * all bytes, its own field as zero.  Everything lies at multiples of a sector.
 *
 * Decoders return 0, -RP_ECORRUPT, or what else is said, name in ERR the
 * field that is wrong, and leave their outputs alone on failure.
 *
 * Where the published text leaves a choice:
 *   O1  Order of entries.  The text has the data "in entry order", and in its
 *       example lists a block's entries newest first, the unused ones ahead of
 *       them.  A table listed from its last slot to its first looks just so,
 *       and then both agree: we write the oldest write into slot 0, the unused
 *       slots last and zero.  reader.h also accepts the other reading of the
 *       example, used slots at the block's end with the newest first.
 *   O2  The example's log begins with an empty block.  So does ours: a log
 *       without writes then has a last block as any other.  Readers do not
 *       insist.
 *   O3  GUIDs are as Microsoft has them on disks and wires, [MS-DTYP] 2.3.4.2:
 *       their first three parts little-endian.
 *   O4  Version 1 is refused.  It has no Vhd2DataWriteGuid, without which
 *       nobody can tell whether the disk is the one that the log goes onto,
 *       and it never left the machine that it was written on.
 *   O5  Reserved bytes, Flags and FileType are refused if set: whoever sets
 *       them means something that we would not obey.  Location, which is for
 *       tracing, may be anything.
 *   O6  OriginalSize and CurrentSize have no rule in the text, and readers do
 *       not look at them.  We write sizes of the file: 0, and EOLLocation.
 */
#ifndef HRL_HRL_H
#define HRL_HRL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/guid.h"
#include "common/limits.h"

#define HRL_VERSION        0x00020000u
#define HRL_HEADER_BYTES   4096u
#define HRL_METADATA_BYTES 4096u /* of a block, as we write them */
#define HRL_HEAD_BYTES     32u   /* what a block begins with */
#define HRL_ENTRY_BYTES    32u
#define HRL_ENTRIES        127u /* in a block of ours */

/* Of zeros.  Up to HRL_ZEROS_BYTES_MAX no other bytes have it, as the sum
 * cannot wrap: 2^24 times 255 is less than 2^32. */
#define HRL_ZEROS_CHECKSUM  0xffffffffu
#define HRL_ZEROS_BYTES_MAX MIB(16)

/* Of data of any length in parts: begin with 0, and the checksum is the
 * complement of what the last call returned. */
uint32_t hrl_sum(uint32_t sum, const void *data, uint64_t bytes);
uint32_t hrl_checksum(const void *data, uint64_t bytes);

/* Seconds since 2000 for a time of CLOCK_REALTIME, and back.  What lies
 * outside becomes the nearest. */
uint32_t hrl_time(int64_t realtime_ns);
int64_t hrl_time_ns(uint32_t time);

/* ---- The header ------------------------------------------------------ */

struct hrl_header {
	uint32_t version; /* encoded as HRL_VERSION */
	uint32_t created;
	char creator[4]; /* text, filled with blanks or NULs; any */
	uint32_t creator_version;
	uint64_t original_bytes; /* any */
	uint64_t current_bytes;  /* any */
	uint64_t end;            /* EOLLocation; 0: was not closed */
	int32_t error;           /* not 0: the log is not complete */
	uint32_t metadata_bytes;
	struct guid id;
	struct guid previous; /* of the log before it; nil: none */
	uint32_t modified;
	uint64_t entries; /* in all blocks; of a closed log */
	uint32_t file_type;
	uint16_t flags;
	struct guid data_write; /* of the disk */
};

void hrl_header_encode(const struct hrl_header *header,
		       uint8_t buf[HRL_HEADER_BYTES]);
/* Checks all that can be checked without the rest of the file, and passes a
 * header without an end.  -RP_EVERSION for another version, -RP_EUNSUPPORTED
 * for a kind of log that we do not know, -RP_EFAILED for a log whose writer
 * recorded an error. */
int hrl_header_decode(const uint8_t buf[HRL_HEADER_BYTES],
		      struct hrl_header *ret_header, struct err *err);
/* All fields, whatever they are worth: to be shown. */
void hrl_header_peek(const uint8_t buf[HRL_HEADER_BYTES],
		     struct hrl_header *ret_header);

/* ---- A metadata block ------------------------------------------------- */

struct hrl_block {
	uint64_t back;    /* bytes to the block before; 0: this is the first */
	uint32_t entries; /* in use */
};

/* Entries for which a block has room. */
static inline uint32_t hrl_slots(uint32_t metadata_bytes)
{
	return (metadata_bytes - HRL_HEAD_BYTES) / HRL_ENTRY_BYTES;
}

/* Encodes what the block begins with. */
void hrl_block_encode(const struct hrl_block *block,
		      uint8_t buf[HRL_HEAD_BYTES]);
/* The same of a block at AT (at least HRL_HEADER_BYTES, which it is checked
 * against) in a log with blocks of METADATA_BYTES. */
int hrl_block_decode(const uint8_t buf[HRL_HEAD_BYTES], uint64_t at,
		     uint32_t metadata_bytes, struct hrl_block *ret_block,
		     struct err *err);
void hrl_block_peek(const uint8_t buf[HRL_HEAD_BYTES],
		    struct hrl_block *ret_block);

struct hrl_entry {
	uint64_t offset; /* on the disk */
	uint32_t length; /* bytes; a multiple of a sector, not 0 */
	uint32_t time;
	uint32_t data_checksum;
	uint8_t operation; /* encoded as HRL_OPERATION_WRITE */
};
#define HRL_OPERATION_WRITE 1

void hrl_entry_encode(const struct hrl_entry *entry,
		      uint8_t buf[HRL_ENTRY_BYTES]);
/* DISK_BYTES: the disk's size, beyond which nothing was written; 0: not known.
 * -RP_EUNSUPPORTED for an operation that is no write. */
int hrl_entry_decode(const uint8_t buf[HRL_ENTRY_BYTES], uint64_t disk_bytes,
		     struct hrl_entry *ret_entry, struct err *err);
/* Is its checksum right?  A slot of zeros, which was never used, has none. */
bool hrl_entry_is_whole(const uint8_t buf[HRL_ENTRY_BYTES]);
void hrl_entry_peek(const uint8_t buf[HRL_ENTRY_BYTES],
		    struct hrl_entry *ret_entry);

/* Does the entry say that its data is nothing but zeros?  For at most
 * HRL_ZEROS_BYTES_MAX, which is how we log zeros, it does so by its checksum:
 * there is no need to read the data.  False says nothing. */
bool hrl_is_zeros(uint32_t length, uint32_t data_checksum);

#endif
