/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes the seeds of fuzz-format: make-format-seeds DIRECTORY.  To be run, and
 * the result checked in, when a format changes.  Trailing zeros are left out,
 * as the fuzzer pads with them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/format.h"

enum {
	PAGE,
	INTENTS,
	LIVE,
	TOMBSTONE,
	SEALED,
	SNAPSHOT,
	SIDECAR,
	LOG_TABLE_HEAD
};

static const struct guid store = {{0x11, 0x12}};
static const struct guid live = {{0x21, 0x22}};
static const char *dir;

static void put(const char *name, unsigned kind, const uint8_t *buf,
		uint64_t bytes)
{
	static const unsigned checksum[] = {0, 0x80};
	char path[4096];
	FILE *f;

	for (unsigned i = 0; i < ARRAY_SIZE(checksum); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s%s", dir, name,
			       checksum[i] ? "-resealed" : "");
		f = fopen(path, "wb");
		if (!f || fputc((int)(kind | checksum[i]), f) == EOF ||
		    fwrite(buf, 1, bytes, f) != bytes || fclose(f) != 0) {
			perror(path);
			exit(1);
		}
	}
}

static uint64_t without_zeros(const uint8_t *buf, uint64_t bytes)
{
	while (bytes > 0 && buf[bytes - 1] == 0)
		bytes--;
	return bytes;
}

static void make_small(void)
{
	static uint8_t buf[INTENT_SLOT_BYTES];
	struct page page = {store, 7, 2, 1, 3, {{5}}};
	struct intent intents[] = {{0, 0}, {1, 77}, {63, 65535}};
	struct intent_head intent_head = {store, live, 9, 3};
	struct live_head live_head = {store, live, 7, 1, GIB(1)};
	struct tombstone tombstone = {store, live, 1, "the store is full"};
	struct snapshot_head snapshot_head = {store, live, store, GIB(1), 0, 1};
	struct sidecar_head sidecar_head = {
	    .store = store, .log = live, .bytes = GIB(1), .disk = 1};
	struct log_table_head table_head = {store, live, live, store, 1024, 1};
	struct sidecar_record record = {.kind = SIDECAR_WRITE,
					.length = 4096,
					.sequence = 2,
					.offset = 8192,
					.at = 8192};

	page_encode(&page, buf);
	put("page", PAGE, buf, without_zeros(buf, PAGE_BYTES));
	(void)intents_encode(&intent_head, intents, buf);
	put("intents", INTENTS, buf, INTENT_HEAD_BYTES + 3 * 8);
	live_encode(&live_head, buf);
	put("live", LIVE, buf, without_zeros(buf, LIVE_HEAD_BYTES));
	snapshot_encode(&snapshot_head, buf);
	put("snapshot", SNAPSHOT, buf, without_zeros(buf, SNAPSHOT_HEAD_BYTES));
	sidecar_encode(&sidecar_head, buf);
	sidecar_record_encode(&live, &record, buf + SIDECAR_HEAD_BYTES);
	put("sidecar", SIDECAR, buf, SIDECAR_HEAD_BYTES + SIDECAR_RECORD_BYTES);
	memset(buf + SIDECAR_HEAD_BYTES, 0, SIDECAR_RECORD_BYTES);
	log_table_encode(&table_head, buf);
	put("log-table", LOG_TABLE_HEAD, buf,
	    without_zeros(buf, LOG_TABLE_HEAD_BYTES));
	tombstone_encode(&tombstone, buf);
	put("tombstone", TOMBSTONE, buf, without_zeros(buf, TOMBSTONE_BYTES));
}

static void make_sealed(void)
{
	struct sealed_head head = {store, 7, 1, 2};
	struct sealed_disk disks[] = {{0, blockset_new(MIB(64) + 5 * 4096)},
				      {5, blockset_new(TIB(64))}};
	uint64_t bytes;
	uint8_t *buf;

	blockset_add(disks[0].set, 0, 4096);
	blockset_add(disks[0].set, 5000, 2);
	blockset_add(disks[0].set, 3 * 4096, 300);
	blockset_add(disks[0].set, 4 * 4096, 5);
	blockset_add(disks[1].set, 1000000, 1);
	if (sealed_encode(&head, disks, &buf, &bytes, NULL) < 0)
		exit(1);
	put("sealed", SEALED, buf, bytes);
	free(buf);
	blockset_free(disks[0].set);
	blockset_free(disks[1].set);
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		(void)fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
		return 2;
	}
	dir = argv[1];
	make_small();
	make_sealed();
	return 0;
}
