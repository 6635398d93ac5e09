/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goes through a whole log, in the order of its writes, by the published way:
 * back from the end over PreviousMetadataLocation, then forward.
 *
 *   R1  Nothing of the file is believed unchecked: each write that is given
 *       out is one of a whole entry of a whole block, lies on the disk, and
 *       its data lies between the header and the end, directly behind that of
 *       the write before it or behind a metadata block.
 *   R2  The way back ends: each step is at least a block long.
 *   R3  Memory does not grow with the log: below 2 MiB for the largest
 *       (struct hrl_reader says how), for which HRL_BLOCKS_MAX stands.
 *   R4  A file that changes under the reader, or between two passes, is found
 *       wrong, or read as it was or is; each step checks again what it uses.
 *
 * What is checked here is the metadata.  Data is compared with its checksum by
 * hrl_check_data(), for whoever wants that.
 *
 * A log that was not closed has no end to begin at, and none can be found from
 * its front, as what describes data lies behind it: the caller must know one.
 *
 * Results are negative codes with a message that names the field and where it
 * stands: those of hrl.h, -RP_ECORRUPT, -RP_ELIMIT, -ENOMEM, and what the
 * source fails with.
 */
#ifndef HRL_READER_H
#define HRL_READER_H

#include <stdint.h>

#include "hrl/hrl.h"

/* Where a log's bytes come from. */
struct hrl_source {
	/* Reads up to BYTES at OFFSET; returns how many, short only at the
	 * file's end, or a negative code. */
	int64_t (*read)(void *arg, void *buf, uint64_t bytes, uint64_t offset,
			struct err *err);
	/* The first byte from OFFSET on that may not be zero; beyond the
	 * file's end if there is none.  NULL: unknown. */
	uint64_t (*skip)(void *arg, uint64_t offset);
	void *arg;
};

/* Reads by pread(2), and by lseek(2), which moves the descriptor's position,
 * skips holes.  FD stays the caller's, and open. */
struct hrl_source hrl_source_fd(int fd);

/* All of BYTES, or -RP_ECORRUPT. */
int hrl_read_all(const struct hrl_source *source, void *buf, uint64_t bytes,
		 uint64_t offset, struct err *err);

struct hrl_write {
	uint64_t offset; /* on the disk */
	uint32_t length; /* bytes, not 0 */
	uint32_t time;   /* hrl_time() */
	uint32_t data_checksum;
	uint64_t at;    /* where in the file its data is */
	uint64_t index; /* in the log, from 0 */
};

struct hrl_reader;

/*
 * Checks the header and follows the chain of blocks back to the first one.
 * FILE_BYTES: the file's size.  DISK_BYTES: the disk's; 0: not known.  END: the
 * end of the last metadata block to read, for a log that was not closed or to
 * read less than all; 0: EOLLocation, and -RP_ESTATE if that is 0.  With
 * EOLLocation as the end TotalMetadataEntries is checked too.  SOURCE must stay
 * while the reader does.
 */
int hrl_reader_open(const struct hrl_source *source, uint64_t file_bytes,
		    uint64_t disk_bytes, uint64_t end,
		    struct hrl_reader **ret_reader, struct err *err);
/* NULL is accepted. */
void hrl_reader_free(struct hrl_reader *reader);

const struct hrl_header *hrl_reader_header(const struct hrl_reader *reader);
uint64_t hrl_reader_end(const struct hrl_reader *reader);
uint64_t hrl_reader_blocks(const struct hrl_reader *reader);
uint64_t hrl_reader_entries(const struct hrl_reader *reader);

/* The next write: 1; 0 if there is none.  After a failure it fails again. */
int hrl_reader_next(struct hrl_reader *reader, struct hrl_write *ret_write,
		    struct err *err);
/* Begins again with the first one. */
void hrl_reader_rewind(struct hrl_reader *reader);

/* Reads the data of a write, and compares it with its checksum. */
int hrl_check_data(const struct hrl_source *source,
		   const struct hrl_write *write, struct err *err);

#endif
