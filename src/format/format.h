/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every structure that the store and the live directory hold, as bytes.  Pure:
 * no I/O, no clock, no allocation but where a blockset is made.  The normative
 * text is docs/format/; static asserts tie the two together.
 *
 * Integers are little-endian.  A checksum is CRC-32C over the structure with
 * its own field as zero.  Reserved bytes are written as zero and must be zero.
 * Decoders return 0, -RP_ECORRUPT or -RP_EVERSION and say in ERR which field
 * is wrong; all-zero pages, slots and tombstones are "never written": -ENODATA
 * (ERR untouched).
 */
#ifndef FORMAT_FORMAT_H
#define FORMAT_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/blockset.h"
#include "common/bytes.h"
#include "common/err.h"
#include "common/guid.h"
#include "common/limits.h"

/* ---- Pages: the durable copy of the open generation's bitmap -------- */

#define PAGE_BYTES      4096u
#define PAGE_HEAD_BYTES 512u
#define PAGE_REGIONS    7u /* 7 regions of 512 bytes of bits: 112 MiB of disk */
#define PAGE_FILES      2u /* per disk: generations alternate between them */
#define PAGE_SLOTS      2u /* per page and file: writes alternate */

struct page {
	struct guid store;
	uint64_t generation;
	uint64_t sequence; /* of writes of this page in this file, from 1 */
	uint32_t disk;     /* ordinal */
	uint32_t index;    /* page I holds regions [7 I, 7 I + 7) */
	uint64_t bits[PAGE_REGIONS][REGION_WORDS];
};

void page_encode(const struct page *page, uint8_t buf[PAGE_BYTES]);
int page_decode(const uint8_t buf[PAGE_BYTES], struct page *ret_page,
		struct err *err);
/* Pages that a disk of BYTES needs, and where slot SLOT of page INDEX begins
 * in a page file. */
uint64_t page_count(uint64_t bytes);
uint64_t page_offset(uint32_t index, unsigned slot);

/* ---- Intents: which regions were hot -------------------------------- */

#define INTENT_SLOTS       8u
#define INTENT_SLOT_BYTES  528384u /* room for HOT_REGIONS_MAX on every disk */
#define INTENT_HEAD_BYTES  128u
#define INTENT_ENTRIES_MAX ((INTENT_SLOT_BYTES - INTENT_HEAD_BYTES) / 8u)

struct intent {
	uint32_t disk;   /* ordinal, < 65536 */
	uint64_t region; /* < 2^48 */
};

/* The head of one record; each record holds the whole hot set. */
struct intent_head {
	struct guid store;
	struct guid live;  /* the live id under which it was written */
	uint64_t sequence; /* over all records, from 1 */
	uint32_t entries;
};

/* Encodes into BUF (INTENT_SLOT_BYTES); returns the bytes to write, a multiple
 * of 4096.  The checksum covers exactly head and entries. */
uint32_t intents_encode(const struct intent_head *head,
			const struct intent *intents, uint8_t *buf);
/* ENTRIES: room for INTENT_ENTRIES_MAX. */
int intents_decode(const uint8_t *buf, uint32_t bytes,
		   struct intent_head *ret_head, struct intent *ret_intents,
		   struct err *err);

/* ---- The live file: header of a live bitmap on the tmpfs ------------ */

#define LIVE_HEAD_BYTES 4096u

struct live_head {
	struct guid store;
	struct guid live;
	uint64_t generation;
	uint32_t disk;
	uint64_t bytes; /* the disk's size */
};

/* Changing fields, beyond the checksummed part, used through the mapping. */
struct live_state {
	_Atomic uint64_t
	    last_submission_ns;    /* CLOCK_REALTIME, since the epoch */
	_Atomic uint32_t latched;  /* non-zero: tracking gave way */
	char reason[REASON_BYTES]; /* written before `latched` */
};
#define LIVE_STATE_OFFSET 2048u

void live_encode(const struct live_head *head, uint8_t buf[LIVE_HEAD_BYTES]);
int live_decode(const uint8_t buf[LIVE_HEAD_BYTES], struct live_head *ret_head,
		struct err *err);
/* Bytes of the whole live file of a disk of BYTES: header and bits, whole
 * regions. */
uint64_t live_file_bytes(uint64_t bytes);

/* ---- The snapshot file: which blocks were copied, on the tmpfs ------- */

#define SNAPSHOT_HEAD_BYTES 4096u

struct snapshot_head {
	struct guid store;
	struct guid snapshot;
	struct guid boot;     /* boot id when it was made */
	uint64_t bytes;       /* the disk's size */
	uint64_t limit_bytes; /* of scratch, all disks; 0: none */
	uint32_t disk;
};

/* Changing fields, beyond the checksummed part, used through the mapping. */
struct snapshot_file_state {
	_Atomic uint64_t copied_bytes; /* into the scratch file */
	_Atomic uint32_t invalid;      /* non-zero: of no use any more */
	_Atomic uint32_t
	    cloned; /* non-zero: the clone has what is not copied */
	char reason[REASON_BYTES]; /* written before `invalid` */
};
#define SNAPSHOT_STATE_OFFSET 2048u

void snapshot_encode(const struct snapshot_head *head,
		     uint8_t buf[SNAPSHOT_HEAD_BYTES]);
int snapshot_decode(const uint8_t buf[SNAPSHOT_HEAD_BYTES],
		    struct snapshot_head *ret_head, struct err *err);
/* Bytes of the whole file for a disk of BYTES: header and one bit for each
 * block, in whole words. */
uint64_t snapshot_file_bytes(uint64_t bytes);

/* ---- The sidecar: what a log's own format has no place for ------------ */

#define SIDECAR_HEAD_BYTES   4096u
#define SIDECAR_RECORD_BYTES 64u

struct sidecar_head {
	struct guid store;
	struct guid log;      /* its UniqueId */
	struct guid previous; /* of the log before it; nil: none */
	struct guid point;    /* at which the log began */
	uint64_t bytes;       /* the disk's size */
	uint64_t first_sequence;
	int64_t first_time_ns; /* CLOCK_REALTIME, since the epoch */
	uint32_t disk;
};

enum sidecar_kind {
	SIDECAR_WRITE = 1, /* of data that lies in the log at `at` */
	SIDECAR_ZEROS,     /* likewise, where the log has a hole */
	SIDECAR_BLOCK,     /* `at`: of a metadata block, for all before it */
	SIDECAR_FLUSH,     /* all up to `sequence` is durable, in the log and
			      in the image; `at`: the log's end then */
	SIDECAR_BREAK,     /* up to `time_ns` each moment is certain */
	SIDECAR_MENDED,    /* and again from `time_ns` on */
	SIDECAR_CLOSE,     /* the log ends at `at` */
};
const char *sidecar_kind_name(enum sidecar_kind kind);
#define SIDECAR_FLAG_MENDING 1u

struct sidecar_record {
	enum sidecar_kind kind;
	bool mending; /* read from the image, between BREAK and MENDED */
	uint32_t data_checksum; /* CRC-32C; only of a SIDECAR_WRITE */
	uint32_t length;        /* of writes and zeros, as `offset` */
	uint64_t number;        /* of records in this file, from 0 */
	uint64_t sequence;      /* over all disks of the virtual system */
	int64_t time_ns;        /* never less than that of the one before */
	uint64_t offset;        /* on the disk */
	uint64_t at;            /* in the log */
};

void sidecar_encode(const struct sidecar_head *head,
		    uint8_t buf[SIDECAR_HEAD_BYTES]);
int sidecar_decode(const uint8_t buf[SIDECAR_HEAD_BYTES],
		   struct sidecar_head *ret_head, struct err *err);
void sidecar_record_encode(const struct guid *log,
			   const struct sidecar_record *record,
			   uint8_t buf[SIDECAR_RECORD_BYTES]);
/* NUMBER: which record of the file it should be.  How it goes with the records
 * before it is the reader's to check. */
int sidecar_record_decode(const uint8_t buf[SIDECAR_RECORD_BYTES],
			  const struct sidecar_head *head, uint64_t number,
			  struct sidecar_record *ret_record, struct err *err);
/* Where in the file record NUMBER begins. */
uint64_t sidecar_offset(uint64_t number);

/* ---- The table: what a log and an image may not both have, on the tmpfs */

#define LOG_TABLE_HEAD_BYTES 4096u

struct log_table_head {
	struct guid store;
	struct guid point; /* at which the log began */
	struct guid log;   /* its UniqueId */
	struct guid boot;  /* boot id when it was made */
	uint32_t slots;    /* at most LOG_TABLE_SLOTS_MAX */
	uint32_t disk;
};
#define LOG_TABLE_SLOTS_MAX 65536u

enum log_table_state {
	LOG_TABLE_MENDING, /* the slots do not say all yet: as if it were not */
	LOG_TABLE_IN_FORCE,
	LOG_TABLE_DROPPED, /* the image went on without the log */
};

/* Changing fields, beyond the checksummed part, used through the mapping. */
struct log_table_live {
	_Atomic uint32_t state; /* enum log_table_state */
};
#define LOG_TABLE_LIVE_OFFSET 2048u

/* A range of the disk; `length` is stored last, and 0 if the slot is free. */
struct log_table_slot {
	_Atomic uint64_t offset;
	_Atomic uint64_t length;
};

void log_table_encode(const struct log_table_head *head,
		      uint8_t buf[LOG_TABLE_HEAD_BYTES]);
int log_table_decode(const uint8_t buf[LOG_TABLE_HEAD_BYTES],
		     struct log_table_head *ret_head, struct err *err);
/* Bytes of the whole file. */
uint64_t log_table_bytes(uint32_t slots);

/* ---- The tombstone: why tracking stopped ---------------------------- */

#define TOMBSTONE_BYTES 4096u

struct tombstone {
	struct guid store;
	struct guid live;
	int64_t time_ns;
	char reason[REASON_BYTES];
};

void tombstone_encode(const struct tombstone *tombstone,
		      uint8_t buf[TOMBSTONE_BYTES]);
int tombstone_decode(const uint8_t buf[TOMBSTONE_BYTES],
		     struct tombstone *ret_tombstone, struct err *err);

/* ---- A sealed generation: one immutable file ------------------------ */
/*
 * Header, then one section per disk: for each region that is not empty a
 * container, whichever of full, list of 16-bit block numbers, or 512-byte
 * bitmap is smallest.
 */
struct sealed_head {
	struct guid store;
	uint64_t generation;
	uint32_t serial; /* a merged generation's file has a new serial */
	uint32_t disks;
};

struct sealed_disk {
	uint32_t disk; /* ordinal */
	struct blockset *set;
};

/* Encodes into one buffer, *RET_BUF, which the caller frees.  -ENOMEM. */
int sealed_encode(const struct sealed_head *head,
		  const struct sealed_disk *disks, uint8_t **ret_buf,
		  uint64_t *ret_bytes, struct err *err);
/* Decodes all of it: up to DISKS_PER_VM_MAX sets, each the caller's to free,
 * also checking that disks come in ascending order and that no bit lies beyond
 * its disk's end. */
int sealed_decode(const uint8_t *buf, uint64_t bytes,
		  struct sealed_head *ret_head, struct sealed_disk *ret_disks,
		  struct err *err);

#endif
