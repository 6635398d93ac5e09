/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A log of writes, read from its end.  The first byte says, with SEAL, that all
 * checksums are made right first, without which hardly any changed input would
 * get past them: the header's, that of each block that can be found by going
 * back from the end, and those of its entries.
 *
 * Checked besides memory: what is given out lies on the disk and in the log,
 * each write's data behind the one's before; there are as many as the reader
 * says; and a second pass gives out the same.
 */
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "fuzz.h"
#include "hrl/reader.h"

#define SEAL       0x80
#define DISK_BYTES MIB(16)
#define LOG_BYTES  (HRL_HEADER_BYTES + 65536u)

struct memory {
	uint8_t *bytes;
	uint64_t size;
};

static int64_t memory_read(void *arg, void *buf, uint64_t bytes,
			   uint64_t offset, struct err *err)
{
	const struct memory *m = arg;
	uint64_t n = offset < m->size ? MIN(bytes, m->size - offset) : 0;

	if (n > 0)
		memcpy(buf, m->bytes + offset, n);
	return (int64_t)n;
}

static void seal(uint8_t *at, uint64_t bytes, uint64_t own)
{
	le32 sum = le32_make(0);

	memcpy(at + own, &sum, sizeof(sum));
	sum = le32_make(hrl_checksum(at, bytes));
	memcpy(at + own, &sum, sizeof(sum));
}

static void seal_block(struct memory *m, uint64_t at, uint32_t metadata)
{
	uint64_t slot = at + HRL_HEAD_BYTES;

	seal(m->bytes + at, HRL_HEAD_BYTES, 12);
	for (uint32_t i = 0; i < hrl_slots(metadata); i++)
		seal(m->bytes + slot + i * HRL_ENTRY_BYTES, HRL_ENTRY_BYTES, 8);
}

static void seal_all(struct memory *m)
{
	struct hrl_header header;
	struct hrl_block block;
	uint64_t at;

	if (m->size < HRL_HEADER_BYTES)
		return;
	seal(m->bytes, HRL_HEADER_BYTES, 40);
	hrl_header_peek(m->bytes, &header);
	if (header.metadata_bytes < HRL_HEAD_BYTES ||
	    header.metadata_bytes > HRL_METADATA_BYTES_MAX ||
	    header.end > m->size ||
	    header.end < HRL_HEADER_BYTES + header.metadata_bytes)
		return;
	for (at = header.end - header.metadata_bytes;; at -= block.back) {
		seal_block(m, at, header.metadata_bytes);
		hrl_block_peek(m->bytes + at, &block);
		if (block.back == 0 || block.back > at - HRL_HEADER_BYTES)
			break;
	}
}

/* All writes; returns a sum of what they are. */
static uint64_t pass(struct hrl_reader *reader, const struct memory *m,
		     int *ret_result)
{
	uint64_t count = 0, end = HRL_HEADER_BYTES, seen = 0;
	struct hrl_write write;
	int r;

	while ((r = hrl_reader_next(reader, &write, NULL)) > 0) {
		CHECK(write.length > 0 && write.length <= DISK_BYTES);
		CHECK(write.offset <= DISK_BYTES - write.length);
		CHECK(write.at >= end);
		end = write.at + write.length;
		CHECK(end <= hrl_reader_end(reader) && end <= m->size);
		CHECK(write.index == count++);
		seen = seen * 31 + write.offset + write.length + write.at;
	}
	CHECK(r < 0 || count == hrl_reader_entries(reader));
	*ret_result = r;
	return seen;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct memory m = {.size = size > 0 ? MIN(size - 1, LOG_BYTES) : 0};
	struct hrl_source source = {.read = memory_read, .arg = &m};
	struct hrl_reader *reader;
	int first, again;
	uint64_t seen;

	if (m.size == 0)
		return 0;
	m.bytes = malloc(m.size);
	CHECK(m.bytes);
	memcpy(m.bytes, data + 1, m.size);
	if (data[0] & SEAL)
		seal_all(&m);
	if (hrl_reader_open(&source, m.size, DISK_BYTES, 0, &reader, NULL) ==
	    0) {
		seen = pass(reader, &m, &first);
		hrl_reader_rewind(reader);
		CHECK(pass(reader, &m, &again) == seen && first == again);
		hrl_reader_free(reader);
	}
	free(m.bytes);
	return 0;
}
