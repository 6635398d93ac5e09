/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every decoder of src/format.  The first byte says which one, and with
 * CHECKSUM whether the checksum is made right first, without which hardly any
 * changed input would get past it.  What decodes must encode to the same
 * bytes, as each structure has one encoding only.
 */
#include <stdlib.h>
#include <string.h>

#include "common/crc32c.h"
#include "format/format.h"
#include "format/frame.h"
#include "fuzz.h"

#define CHECKSUM 0x80

/* DATA with zeros up to BYTES, in a block of just that size. */
static uint8_t *padded(const uint8_t *data, size_t size, size_t bytes)
{
	uint8_t *buf = calloc(1, bytes ? bytes : 1);

	CHECK(buf);
	memcpy(buf, data, MIN(size, bytes));
	return buf;
}

static void reseal(uint8_t *buf, uint64_t covered, bool checksum)
{
	if (checksum)
		frame_finish((struct frame_disk *)buf, covered);
}

static void fuzz_page(const uint8_t *data, size_t size, bool checksum)
{
	uint8_t *buf = padded(data, size, PAGE_BYTES), again[PAGE_BYTES];
	struct page page;

	reseal(buf, PAGE_BYTES, checksum);
	if (page_decode(buf, &page, NULL) == 0) {
		page_encode(&page, again);
		CHECK(memcmp(again, buf, PAGE_BYTES) == 0);
	}
	free(buf);
}

static void fuzz_intents(const uint8_t *data, size_t size, bool checksum)
{
	static struct intent intents[INTENT_ENTRIES_MAX];
	static uint8_t again[INTENT_SLOT_BYTES];
	uint32_t bytes = (uint32_t)MIN(size, (size_t)INTENT_SLOT_BYTES);
	uint8_t *buf = padded(data, size, bytes);
	struct intent_head head;
	le32 n;

	if (bytes >= INTENT_HEAD_BYTES) {
		memcpy(&n, buf + 56, sizeof(n));
		if (le32_get(n) <= (bytes - INTENT_HEAD_BYTES) / 8)
			reseal(buf, INTENT_HEAD_BYTES + le32_get(n) * 8,
			       checksum);
	}
	if (intents_decode(buf, bytes, &head, intents, NULL) == 0) {
		(void)intents_encode(&head, intents, again);
		CHECK(memcmp(again, buf,
			     INTENT_HEAD_BYTES + head.entries * 8) == 0);
	}
	free(buf);
}

static void fuzz_live(const uint8_t *data, size_t size, bool checksum)
{
	uint8_t *buf = padded(data, size, LIVE_HEAD_BYTES);
	uint8_t again[LIVE_HEAD_BYTES];
	struct live_head head;

	reseal(buf, LIVE_STATE_OFFSET, checksum);
	if (live_decode(buf, &head, NULL) == 0) {
		live_encode(&head, again);
		CHECK(memcmp(again, buf, LIVE_STATE_OFFSET) == 0);
		CHECK(live_file_bytes(head.bytes) > LIVE_HEAD_BYTES);
	}
	free(buf);
}

static void fuzz_snapshot(const uint8_t *data, size_t size, bool checksum)
{
	uint8_t *buf = padded(data, size, SNAPSHOT_HEAD_BYTES);
	uint8_t again[SNAPSHOT_HEAD_BYTES];
	struct snapshot_head head;

	reseal(buf, SNAPSHOT_STATE_OFFSET, checksum);
	if (snapshot_decode(buf, &head, NULL) == 0) {
		snapshot_encode(&head, again);
		CHECK(memcmp(again, buf, SNAPSHOT_STATE_OFFSET) == 0);
	}
	free(buf);
}

static void fuzz_log_table(const uint8_t *data, size_t size, bool checksum)
{
	uint8_t *buf = padded(data, size, LOG_TABLE_HEAD_BYTES);
	uint8_t again[LOG_TABLE_HEAD_BYTES];
	struct log_table_head head;

	reseal(buf, LOG_TABLE_LIVE_OFFSET, checksum);
	if (log_table_decode(buf, &head, NULL) == 0) {
		log_table_encode(&head, again);
		CHECK(memcmp(again, buf, LOG_TABLE_LIVE_OFFSET) == 0);
	}
	free(buf);
}

/* The head, and the record behind it. */
static void fuzz_sidecar(const uint8_t *data, size_t size, bool checksum)
{
	const uint64_t bytes = SIDECAR_HEAD_BYTES + SIDECAR_RECORD_BYTES;
	uint8_t *buf = padded(data, size, bytes), *at;
	uint8_t again[SIDECAR_HEAD_BYTES];
	struct sidecar_record record;
	struct sidecar_head head;
	le32 sum = {0};

	reseal(buf, SIDECAR_HEAD_BYTES, checksum);
	if (sidecar_decode(buf, &head, NULL) == 0) {
		sidecar_encode(&head, again);
		CHECK(memcmp(again, buf, SIDECAR_HEAD_BYTES) == 0);
		at = buf + SIDECAR_HEAD_BYTES;
		if (checksum) {
			memcpy(at, &sum, sizeof(sum));
			sum = le32_make(
			    crc32c(crc32c(0, &head.log, sizeof(head.log)), at,
				   SIDECAR_RECORD_BYTES));
			memcpy(at, &sum, sizeof(sum));
		}
		if (sidecar_record_decode(at, &head, 0, &record, NULL) == 0) {
			sidecar_record_encode(&head.log, &record, again);
			CHECK(memcmp(again, at, SIDECAR_RECORD_BYTES) == 0);
		}
	}
	free(buf);
}

static void fuzz_tombstone(const uint8_t *data, size_t size, bool checksum)
{
	uint8_t *buf = padded(data, size, TOMBSTONE_BYTES);
	uint8_t again[TOMBSTONE_BYTES];
	struct tombstone tombstone;

	reseal(buf, TOMBSTONE_BYTES, checksum);
	if (tombstone_decode(buf, &tombstone, NULL) == 0) {
		tombstone_encode(&tombstone, again);
		CHECK(memcmp(again, buf, TOMBSTONE_BYTES) == 0);
	}
	free(buf);
}

static void fuzz_sealed(const uint8_t *data, size_t size, bool checksum)
{
	uint8_t *buf = padded(data, size, size), *again;
	struct sealed_disk disks[DISKS_PER_VM_MAX];
	struct sealed_head head;
	uint64_t bytes;

	if (checksum && size >= 64) {
		le64 whole = le64_make(size);

		memcpy(buf + 40, &whole, sizeof(whole));
		reseal(buf, size, true);
	}
	if (sealed_decode(buf, size, &head, disks, NULL) == 0) {
		CHECK(sealed_encode(&head, disks, &again, &bytes, NULL) == 0);
		CHECK(bytes == size && memcmp(again, buf, size) == 0);
		free(again);
		for (uint32_t i = 0; i < head.disks; i++)
			blockset_free(disks[i].set);
	}
	free(buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const fuzz[])(const uint8_t *, size_t, bool) = {
	    fuzz_page,   fuzz_intents,  fuzz_live,    fuzz_tombstone,
	    fuzz_sealed, fuzz_snapshot, fuzz_sidecar, fuzz_log_table};
	unsigned which;

	if (size == 0)
		return 0;
	which = data[0] & 0x7f;
	if (which < ARRAY_SIZE(fuzz))
		fuzz[which](data + 1, size - 1, (data[0] & CHECKSUM) != 0);
	return 0;
}
