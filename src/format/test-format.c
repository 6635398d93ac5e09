/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each structure encodes to what docs/format says, decodes to what it was, and
 * one damaged input for each rule there is refused, for that rule's reason.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/crc32c.h"
#include "format/format.h"
#include "format/frame.h"

static const struct guid store = {{0x11, 0x12, 0x13, 0x14}};
static const struct guid live = {{0x21, 0x22, 0x23, 0x24}};

/* ---- one good example of each --------------------------------------- */

enum {
	EXAMPLE_ROOM = INTENT_SLOT_BYTES
};

struct example {
	uint8_t *buf;
	uint64_t bytes;   /* what the decoder is given */
	uint64_t covered; /* by the checksum */
};

static struct page page_example(void)
{
	struct page page = {store, 0x1122334455667788, 5, 3, 9, {{0}}};

	page.bits[0][0] = 1;
	page.bits[6][63] = 1ULL << 63;
	return page;
}

static struct example page_make(void)
{
	struct example e = {calloc(1, EXAMPLE_ROOM), PAGE_BYTES, PAGE_BYTES};
	struct page page = page_example();

	page_encode(&page, e.buf);
	return e;
}

static const struct intent some_intents[] = {{0, 0},
					     {63, 0xffffffffffff},
					     {65535, 7}};

static struct example intents_make(void)
{
	struct example e = {calloc(1, EXAMPLE_ROOM), INTENT_SLOT_BYTES,
			    INTENT_HEAD_BYTES + 3 * 8};
	struct intent_head head = {store, live, 77, 3};

	assert_int_equal(intents_encode(&head, some_intents, e.buf), 4096);
	return e;
}

static struct example live_make(void)
{
	struct example e = {calloc(1, EXAMPLE_ROOM), LIVE_HEAD_BYTES,
			    LIVE_STATE_OFFSET};
	struct live_head head = {store, live, 8, 2, MIB(100)};

	live_encode(&head, e.buf);
	return e;
}

static struct example snapshot_make(void)
{
	struct example e = {calloc(1, EXAMPLE_ROOM), SNAPSHOT_HEAD_BYTES,
			    SNAPSHOT_STATE_OFFSET};
	struct snapshot_head head = {store, live, store, MIB(100), 7, 2};

	snapshot_encode(&head, e.buf);
	return e;
}

static struct example log_table_make(void)
{
	struct example e = {calloc(1, EXAMPLE_ROOM), LOG_TABLE_HEAD_BYTES,
			    LOG_TABLE_LIVE_OFFSET};
	struct log_table_head head = {store, live, live, store, 1024, 2};

	log_table_encode(&head, e.buf);
	return e;
}

static struct sidecar_head sidecar_example(void)
{
	return (struct sidecar_head){.store = store,
				     .log = live,
				     .point = store,
				     .bytes = MIB(100),
				     .first_sequence = 10,
				     .first_time_ns = 1,
				     .disk = 2};
}

static struct example sidecar_make(void)
{
	struct example e = {calloc(1, EXAMPLE_ROOM), SIDECAR_HEAD_BYTES,
			    SIDECAR_HEAD_BYTES};
	struct sidecar_head head = sidecar_example();

	sidecar_encode(&head, e.buf);
	return e;
}

static struct example tombstone_make(void)
{
	struct example e = {calloc(1, EXAMPLE_ROOM), TOMBSTONE_BYTES,
			    TOMBSTONE_BYTES};
	struct tombstone tombstone = {store, live, -5, "the store is full"};

	tombstone_encode(&tombstone, e.buf);
	return e;
}

/* Disk 0: 64 MiB + 5 blocks (5 regions): full, list {1, 4095}, empty, bitmap
 * of 256 blocks, full short region.  Disk 2: 512 bytes, empty. */
static struct example sealed_make(void)
{
	struct example e = {0};
	struct sealed_head head = {store, 12, 1, 2};
	struct sealed_disk disks[] = {
	    {0, blockset_new(MIB(64) + 5 * 4096)},
	    {2, blockset_new(512)},
	};

	blockset_add(disks[0].set, 0, 4096);
	blockset_add(disks[0].set, 4096 + 1, 1);
	blockset_add(disks[0].set, 4096 + 4095, 1);
	blockset_add(disks[0].set, 3 * 4096, 256);
	blockset_add(disks[0].set, 4 * 4096, 5);
	assert_int_equal(sealed_encode(&head, disks, &e.buf, &e.bytes, NULL),
			 0);
	e.buf = realloc(e.buf, EXAMPLE_ROOM);
	memset(e.buf + e.bytes, 0, EXAMPLE_ROOM - e.bytes);
	e.covered = e.bytes;
	blockset_free(disks[0].set);
	blockset_free(disks[1].set);
	return e;
}

/* Where things are in sealed_make()'s bytes. */
enum {
	AT_SECTION = 64,
	AT_FULL = AT_SECTION + 24,
	AT_LIST = AT_FULL + 8,
	AT_BITMAP = AT_LIST + 8 + 4,
	AT_SHORT = AT_BITMAP + 8 + 512,
	AT_SECTION2 = AT_SHORT + 8,
	AT_END = AT_SECTION2 + 24,
};

static int page_try(const struct example *e, struct err *err)
{
	struct page page;

	return page_decode(e->buf, &page, err);
}

static int intents_try(const struct example *e, struct err *err)
{
	static struct intent intents[INTENT_ENTRIES_MAX];
	struct intent_head head;

	return intents_decode(e->buf, (uint32_t)e->bytes, &head, intents, err);
}

static int live_try(const struct example *e, struct err *err)
{
	struct live_head head;

	return live_decode(e->buf, &head, err);
}

static int snapshot_try(const struct example *e, struct err *err)
{
	struct snapshot_head head;

	return snapshot_decode(e->buf, &head, err);
}

static int log_table_try(const struct example *e, struct err *err)
{
	struct log_table_head head;

	return log_table_decode(e->buf, &head, err);
}

static int sidecar_try(const struct example *e, struct err *err)
{
	struct sidecar_head head;

	return sidecar_decode(e->buf, &head, err);
}

static int tombstone_try(const struct example *e, struct err *err)
{
	struct tombstone tombstone;

	return tombstone_decode(e->buf, &tombstone, err);
}

static int sealed_try(const struct example *e, struct err *err)
{
	struct sealed_disk disks[DISKS_PER_VM_MAX];
	struct sealed_head head;
	int r = sealed_decode(e->buf, e->bytes, &head, disks, err);

	for (uint32_t i = 0; r == 0 && i < head.disks; i++)
		blockset_free(disks[i].set);
	return r;
}

static const struct structure {
	const char *name;
	struct example (*make)(void);
	int (*try)(const struct example *e, struct err *err);
} page = {"page", page_make, page_try},
  intents = {"intents", intents_make, intents_try},
  live_file = {"live", live_make, live_try},
  snapshot_file = {"snapshot", snapshot_make, snapshot_try},
  log_table = {"log table", log_table_make, log_table_try},
  sidecar = {"sidecar", sidecar_make, sidecar_try},
  tombstone_file = {"tombstone", tombstone_make, tombstone_try},
  sealed = {"sealed", sealed_make, sealed_try};

static const struct structure *const structures[] = {
    &page,    &intents,        &live_file, &snapshot_file,
    &sidecar, &tombstone_file, &sealed,    &log_table};

/* ---- the artefacts -------------------------------------------------- */

#define BYTES(...)                                                             \
	(const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})

enum {
	KEEP = 0,
	RESEAL = 1
};

/* What docs/format calls the rule, what to put where, whether the checksum is
 * made right again so that the rule itself is what refuses. */
static const struct artefact {
	const char *rule;
	const struct structure *of;
	uint64_t at;
	const uint8_t *put;
	uint64_t bytes;
	int reseal;
	int64_t resize; /* added to the input's length */
	int code;
	const char *says;
} artefacts[] = {
    {"page-bit-flipped", &page, 4095, BYTES(0), KEEP, 0, -RP_ECORRUPT,
     "checksum"},
    {"page-bits-torn", &page, 512, BYTES(0), KEEP, 0, -RP_ECORRUPT, "checksum"},
    {"page-sequence-zero", &page, 40, BYTES(0), RESEAL, 0, -RP_ECORRUPT,
     "sequence is 0"},
    {"intents-too-many-entries", &intents, 56, BYTES(0xff, 0xff, 0xff, 0xff),
     KEEP, 0, -RP_ECORRUPT, "do not fit"},
    {"intents-one-entry-too-many", &intents, 56, BYTES(0xf1, 0x01, 1, 0), KEEP,
     0, -RP_ECORRUPT, "do not fit"},
    {"intents-fewer-entries", &intents, 56, BYTES(2), KEEP, 0, -RP_ECORRUPT,
     "checksum"},
    {"intents-entry-changed", &intents, 128 + 23, BYTES(1), KEEP, 0,
     -RP_ECORRUPT, "checksum"},
    {"intents-sequence-zero", &intents, 48, BYTES(0), RESEAL, 0, -RP_ECORRUPT,
     "sequence is 0"},
    {"intents-slot-too-short", &intents, 0, BYTES('R'), KEEP,
     127 - (int64_t)INTENT_SLOT_BYTES, -RP_ECORRUPT, "slot of 127"},
    {"intents-first-sector-lost", &intents, 0, BYTES(0, 0, 0, 0, 0, 0, 0, 0),
     KEEP, 0, -RP_ECORRUPT, "magic"},
    {"live-size-zero", &live_file, 56, BYTES(0, 0, 0, 0), RESEAL, 0,
     -RP_ECORRUPT, "0 bytes"},
    {"live-size-odd", &live_file, 56, BYTES(1), RESEAL, 0, -RP_ECORRUPT,
     "a disk of"},
    {"live-size-too-large", &live_file, 56, BYTES(0, 2, 0, 0, 0, 0x40), RESEAL,
     0, -RP_ECORRUPT, "a disk of"},
    {"live-state-reserved-first", &live_file, 2048 + 176, BYTES(1), KEEP, 0,
     -RP_ECORRUPT, "reserved byte 2224"},
    {"live-state-reserved-last", &live_file, 4095, BYTES(1), KEEP, 0,
     -RP_ECORRUPT, "reserved byte 4095"},
    {"snapshot-size-zero", &snapshot_file, 64, BYTES(0, 0, 0, 0), RESEAL, 0,
     -RP_ECORRUPT, "0 bytes"},
    {"snapshot-size-odd", &snapshot_file, 64, BYTES(1), RESEAL, 0, -RP_ECORRUPT,
     "a disk of"},
    {"snapshot-state-reserved-first", &snapshot_file, 2048 + 176, BYTES(1),
     KEEP, 0, -RP_ECORRUPT, "reserved byte 2224"},
    {"log-table-slots-none", &log_table, 80, BYTES(0, 0, 0, 0), RESEAL, 0,
     -RP_ECORRUPT, "0 slots"},
    {"log-table-slots-too-many", &log_table, 80, BYTES(1, 0, 1, 0), RESEAL, 0,
     -RP_ECORRUPT, "65537 slots"},
    {"log-table-live-reserved-first", &log_table, 2052, BYTES(1), KEEP, 0,
     -RP_ECORRUPT, "reserved byte 2052"},
    {"sidecar-size-zero", &sidecar, 80, BYTES(0, 0, 0, 0), RESEAL, 0,
     -RP_ECORRUPT, "0 bytes"},
    {"sidecar-size-odd", &sidecar, 80, BYTES(1), RESEAL, 0, -RP_ECORRUPT,
     "a disk of"},
    {"sidecar-size-too-large", &sidecar, 80, BYTES(0, 2, 0, 0, 0, 0x40), RESEAL,
     0, -RP_ECORRUPT, "a disk of"},
    {"sidecar-time-negative", &sidecar, 103, BYTES(0x80), RESEAL, 0,
     -RP_ECORRUPT, "before 1970"},
    {"tombstone-reason-control", &tombstone_file, 56, BYTES('\n'), RESEAL, 0,
     -RP_ECORRUPT, "reason"},
    {"tombstone-reason-high", &tombstone_file, 57, BYTES(0xc3), RESEAL, 0,
     -RP_ECORRUPT, "reason"},
    {"tombstone-reason-goes-on", &tombstone_file, 56 + 159, BYTES('x'), RESEAL,
     0, -RP_ECORRUPT, "reason"},
    {"sealed-truncated", &sealed, 0, BYTES('R'), KEEP, -1, -RP_ECORRUPT,
     "should be"},
    {"sealed-extended", &sealed, 0, BYTES('R'), KEEP, 1, -RP_ECORRUPT,
     "should be"},
    {"sealed-head-cut", &sealed, 0, BYTES('R'), KEEP, 63 - AT_END, -RP_ECORRUPT,
     "only 63 bytes"},
    {"sealed-empty", &sealed, 0, BYTES('R'), KEEP, -AT_END, -RP_ECORRUPT,
     "only 0 bytes"},
    {"sealed-body-changed", &sealed, AT_BITMAP + 20, BYTES(0xfe), KEEP, 0,
     -RP_ECORRUPT, "checksum"},
    {"sealed-no-disk", &sealed, 52, BYTES(0), RESEAL, 0, -RP_ECORRUPT,
     "0 disks"},
    {"sealed-too-many-disks", &sealed, 52, BYTES(65), RESEAL, 0, -RP_ECORRUPT,
     "65 disks"},
    {"sealed-disk-missing", &sealed, 52, BYTES(3), RESEAL, 0, -RP_ECORRUPT,
     "a disk is missing"},
    {"sealed-bytes-after-last-disk", &sealed, 52, BYTES(1), RESEAL, 0,
     -RP_ECORRUPT, "after the last disk"},
    {"sealed-disks-unsorted", &sealed, AT_SECTION, BYTES(3), RESEAL, 0,
     -RP_ECORRUPT, "disk 2 out of order"},
    {"sealed-disk-twice", &sealed, AT_SECTION2, BYTES(0), RESEAL, 0,
     -RP_ECORRUPT, "disk 0 out of order"},
    {"sealed-disk-size-zero", &sealed, AT_SECTION2 + 8, BYTES(0, 0), RESEAL, 0,
     -RP_ECORRUPT, "0 bytes"},
    {"sealed-disk-size-odd", &sealed, AT_SECTION2 + 8, BYTES(1, 2), RESEAL, 0,
     -RP_ECORRUPT, "513 bytes"},
    {"sealed-disk-size-too-large", &sealed, AT_SECTION2 + 8,
     BYTES(0, 2, 0, 0, 0, 0x40), RESEAL, 0, -RP_ECORRUPT, "disk 2 of"},
    {"sealed-container-count-huge", &sealed, AT_SECTION + 4,
     BYTES(0xff, 0xff, 0xff, 0xff), RESEAL, 0, -RP_ECORRUPT,
     "more regions than bytes"},
    {"sealed-container-count-high", &sealed, AT_SECTION2 + 4, BYTES(1), RESEAL,
     0, -RP_ECORRUPT, "more regions than bytes"},
    {"sealed-container-count-low", &sealed, AT_SECTION + 4, BYTES(3), RESEAL, 0,
     -RP_ECORRUPT, "wrong sum of blocks"},
    {"sealed-block-sum-wrong", &sealed, AT_SECTION + 16, BYTES(0), RESEAL, 0,
     -RP_ECORRUPT, "wrong sum of blocks"},
    {"sealed-regions-unsorted", &sealed, AT_FULL, BYTES(2), RESEAL, 0,
     -RP_ECORRUPT, "region 1 out of order"},
    {"sealed-region-twice", &sealed, AT_LIST, BYTES(0), RESEAL, 0, -RP_ECORRUPT,
     "region 0 out of order"},
    {"sealed-region-beyond-end", &sealed, AT_SHORT, BYTES(5), RESEAL, 0,
     -RP_ECORRUPT, "region 5 out of order or beyond"},
    {"sealed-kind-unknown", &sealed, AT_LIST + 4, BYTES(4), RESEAL, 0,
     -RP_ECORRUPT, "kind 4"},
    {"sealed-kind-not-the-smallest", &sealed, AT_LIST + 4, BYTES(3), RESEAL, 0,
     -RP_ECORRUPT, "kind 3"},
    {"sealed-full-but-not-all", &sealed, AT_FULL + 6, BYTES(0xfe, 0x0f), RESEAL,
     0, -RP_ECORRUPT, "kind 1 with 4095 of 4096"},
    {"sealed-more-blocks-than-region", &sealed, AT_SHORT + 6, BYTES(5), RESEAL,
     0, -RP_ECORRUPT, "kind 1 with 6 of 5"},
    {"sealed-list-unsorted", &sealed, AT_LIST + 8, BYTES(0xff, 0x0f, 1, 0),
     RESEAL, 0, -RP_ECORRUPT, "list out of order"},
    {"sealed-list-block-twice", &sealed, AT_LIST + 8, BYTES(1, 0, 1, 0), RESEAL,
     0, -RP_ECORRUPT, "list out of order"},
    {"sealed-list-block-too-large", &sealed, AT_LIST + 10, BYTES(0, 0x10),
     RESEAL, 0, -RP_ECORRUPT, "list out of order"},
    {"sealed-bitmap-count-wrong", &sealed, AT_BITMAP + 6, BYTES(0, 1), RESEAL,
     0, -RP_ECORRUPT, "not 257 blocks"},
    {"sealed-container-cut", &sealed, AT_SHORT + 4, BYTES(3), RESEAL, 0,
     -RP_ECORRUPT, "ends within a container"},
    {"sealed-block-beyond-end", &sealed, AT_LIST, BYTES(4), RESEAL, 0,
     -RP_ECORRUPT, "region 4: a block beyond the disk's end"},
};

static void check_artefact(const struct artefact *a)
{
	struct example e = a->of->make();
	struct err err = {0};
	int r;

	memcpy(e.buf + a->at, a->put, a->bytes);
	if (a->reseal)
		frame_finish((struct frame_disk *)e.buf, e.covered);
	e.bytes = (uint64_t)((int64_t)e.bytes + a->resize);
	r = a->of->try(&e, &err);
	if (r != a->code || !strstr(err.text, a->says))
		fail_msg("%s: %d '%s'", a->rule, r, err.text);
	free(e.buf);
}

static void each_artefact_is_refused_for_its_own_reason(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(artefacts); i++)
		check_artefact(&artefacts[i]);
	print_message("%zu artefacts\n", ARRAY_SIZE(artefacts));
}

/* The rules that all structures share. */
static void expect(const struct structure *s, struct example e, int code,
		   const char *says)
{
	struct err err = {0};
	int r = s->try(&e, &err);

	if (r != code || !strstr(err.text, says))
		fail_msg("%s: %d '%s'", s->name, r, err.text);
	free(e.buf);
}

static void every_structure_checks_its_magic(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(structures); i++)
		for (unsigned at = 0; at < 8; at++) {
			struct example e = structures[i]->make();

			e.buf[at] ^= 1;
			frame_finish((struct frame_disk *)e.buf, e.covered);
			expect(structures[i], e, -RP_ECORRUPT, "magic");
		}
}

static void every_covered_bit_is_in_the_checksum(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(structures); i++) {
		struct example e = structures[i]->make();

		for (uint64_t at = 8; at < e.covered; at++) {
			e.buf[at] ^= (uint8_t)(1u << at % 8);
			assert_int_equal(structures[i]->try(&e, NULL),
					 -RP_ECORRUPT);
			e.buf[at] ^= (uint8_t)(1u << at % 8);
		}
		expect(structures[i], e, 0, "");
	}
}

static void another_version_is_told_from_damage(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(structures); i++) {
		struct example e = structures[i]->make();

		e.buf[8] = 2;
		frame_finish((struct frame_disk *)e.buf, e.covered);
		expect(structures[i], e, -RP_EVERSION, "version 2");
		e = structures[i]->make();
		e.buf[8] = 2;
		expect(structures[i], e, -RP_ECORRUPT, "checksum");
	}
}

static void each_reserved_byte_must_be_zero(void **state)
{
	static const struct {
		const struct structure *of;
		unsigned from, to;
	} reserved[] = {
	    {&page, 56, 512},
	    {&intents, 60, 128},
	    {&live_file, 68, 2048},
	    {&live_file, 2224, 4096},
	    {&tombstone_file, 216, 4096},
	    {&sealed, 56, 64},
	};

	for (size_t i = 0; i < ARRAY_SIZE(reserved); i++)
		for (unsigned at = reserved[i].from; at < reserved[i].to;
		     at++) {
			struct example e = reserved[i].of->make();
			char says[40];

			e.buf[at] = 1;
			frame_finish((struct frame_disk *)e.buf, e.covered);
			(void)snprintf(says, sizeof(says), "reserved byte %u ",
				       at);
			expect(reserved[i].of, e, -RP_ECORRUPT, says);
		}
}

static void all_zero_is_never_written(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(structures); i++) {
		struct example e = structures[i]->make();
		bool preallocated = structures[i] != &sealed &&
				    structures[i] != &snapshot_file &&
				    structures[i] != &log_table &&
				    structures[i] != &sidecar;

		memset(e.buf, 0, e.bytes);
		expect(structures[i], e, preallocated ? -ENODATA : -RP_ECORRUPT,
		       preallocated ? "" : "magic");
	}
}

/* ---- what was written is what is read ------------------------------- */

static void pages_round_trip(void **state)
{
	struct example e = page_make();
	struct page want = page_example(), got;

	assert_int_equal(page_decode(e.buf, &got, NULL), 0);
	assert_memory_equal(&got, &want, sizeof(got));
	assert_int_equal(e.buf[512], 1);
	assert_int_equal(e.buf[4095], 0x80);
	assert_int_equal(e.buf[32], 0x88);
	free(e.buf);
}

static void page_offsets_do_not_overlap(void **state)
{
	assert_int_equal(page_count(512), 1);
	assert_int_equal(page_count(MIB(112)), 1);
	assert_int_equal(page_count(MIB(112) + 512), 2);
	assert_int_equal(page_count(TIB(1)), 9363);
	assert_int_equal(page_offset(0, 1), 4096);
	assert_int_equal(page_offset(1, 0), 8192);
	assert_true(page_offset(UINT32_MAX, 1) == 0x1ffffffff000);
}

static void intents_round_trip_up_to_the_largest_hot_set(void **state)
{
	uint32_t n = HOT_REGIONS_MAX * DISKS_PER_VM_MAX;
	struct intent *in = calloc(n, sizeof(*in));
	struct intent *out = calloc(INTENT_ENTRIES_MAX, sizeof(*out));
	struct intent_head head = {store, live, UINT64_MAX, n}, got;
	uint8_t *buf = malloc(INTENT_SLOT_BYTES);
	uint32_t bytes;

	for (uint32_t i = 0; i < n; i++)
		in[i] = (struct intent){i % 64, (i * 0x9e3779b97f4aULL) >> 1};
	for (uint32_t i = 0; i < n; i++)
		in[i].region &= (1ULL << 48) - 1;
	memset(buf, 0xee, INTENT_SLOT_BYTES);
	bytes = intents_encode(&head, in, buf);
	assert_int_equal(bytes % 4096, 0);
	assert_true(bytes <= INTENT_SLOT_BYTES);
	assert_int_equal(intents_decode(buf, bytes, &got, out, NULL), 0);
	assert_int_equal(got.entries, n);
	assert_true(got.sequence == UINT64_MAX);
	for (uint32_t i = 0; i < n; i++) {
		assert_int_equal(in[i].disk, out[i].disk);
		assert_int_equal(in[i].region, out[i].region);
	}
	free(in);
	free(out);
	free(buf);
}

static void a_shorter_record_over_a_longer_one_is_valid(void **state)
{
	struct example e = intents_make();
	struct intent_head head = {store, live, 78, 0}, got;
	struct intent none[1];

	memset(e.buf, 0xee, INTENT_SLOT_BYTES);
	assert_int_equal(intents_encode(&head, NULL, e.buf), 4096);
	assert_int_equal(
	    intents_decode(e.buf, INTENT_SLOT_BYTES, &got, none, NULL), 0);
	assert_int_equal(got.entries, 0);
	assert_int_equal(got.sequence, 78);
	free(e.buf);
}

static void live_headers_round_trip_whatever_the_state_says(void **state)
{
	struct example e = live_make();
	struct live_head got;

	memset(e.buf + LIVE_STATE_OFFSET, 0xff, sizeof(struct live_state));
	assert_int_equal(live_decode(e.buf, &got, NULL), 0);
	assert_true(guid_equal(&got.store, &store));
	assert_true(guid_equal(&got.live, &live));
	assert_int_equal(got.generation, 8);
	assert_int_equal(got.disk, 2);
	assert_int_equal(got.bytes, MIB(100));
	assert_int_equal(live_file_bytes(1), 4096 + 512);
	assert_int_equal(live_file_bytes(TIB(1)), 4096 + MIB(32));
	free(e.buf);
}

static void tombstones_round_trip_any_reason(void **state)
{
	struct tombstone in = {store, live, -1, ""}, out;
	uint8_t buf[TOMBSTONE_BYTES];

	memset(in.reason, '\xff', sizeof(in.reason));
	memcpy(in.reason, "a\nb", 3);
	tombstone_encode(&in, buf);
	assert_int_equal(tombstone_decode(buf, &out, NULL), 0);
	assert_int_equal(strlen(out.reason), REASON_BYTES - 1);
	assert_memory_equal(out.reason, "a?b??", 5);
	assert_true(out.time_ns == -1);
}

static void sealed_sets_take_the_smallest_form(void **state)
{
	struct example e = sealed_make();
	static const unsigned at[] = {AT_FULL, AT_LIST, AT_BITMAP, AT_SHORT};
	static const uint8_t region[] = {0, 1, 3, 4}, kind[] = {1, 2, 3, 1};

	assert_int_equal(e.bytes, AT_END);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(e.buf[at[i]], region[i]);
		assert_int_equal(e.buf[at[i] + 4], kind[i]);
	}
	free(e.buf);
}

/* Encoding what was decoded gives the same bytes. */
static void check_sealed_bytes(const uint8_t *buf, uint64_t bytes)
{
	struct sealed_disk disks[DISKS_PER_VM_MAX];
	struct sealed_head head;
	uint8_t *again;
	uint64_t n;

	assert_int_equal(sealed_decode(buf, bytes, &head, disks, NULL), 0);
	assert_int_equal(sealed_encode(&head, disks, &again, &n, NULL), 0);
	assert_int_equal(n, bytes);
	assert_memory_equal(again, buf, bytes);
	free(again);
	for (uint32_t i = 0; i < head.disks; i++)
		blockset_free(disks[i].set);
}

static void sealed_generations_round_trip(void **state)
{
	struct example e = sealed_make();
	struct sealed_disk disks[DISKS_PER_VM_MAX];
	struct sealed_head head;

	assert_int_equal(sealed_decode(e.buf, e.bytes, &head, disks, NULL), 0);
	assert_int_equal(head.generation, 12);
	assert_int_equal(head.serial, 1);
	assert_int_equal(head.disks, 2);
	assert_int_equal(disks[1].disk, 2);
	assert_int_equal(blockset_bytes(disks[1].set), 512);
	assert_int_equal(blockset_count(disks[1].set), 0);
	assert_int_equal(blockset_count(disks[0].set), 4096 + 2 + 256 + 5);
	assert_true(blockset_has(disks[0].set, 4096 + 4095));
	blockset_free(disks[0].set);
	blockset_free(disks[1].set);
	check_sealed_bytes(e.buf, e.bytes);
	free(e.buf);
}

static void a_sparse_tebibyte_is_sealed_in_a_megabyte(void **state)
{
	struct sealed_disk disk = {7, blockset_new(TIB(1))};
	struct sealed_head head = {store, 1, 0, 1};
	uint64_t rng = 0x9e3779b97f4a7c15, bytes;
	uint8_t *buf;

	for (unsigned i = 0; i < 163840; i++) {
		rng ^= rng << 13;
		rng ^= rng >> 7;
		rng ^= rng << 17;
		blockset_add(disk.set, rng % blockset_blocks(disk.set), 1);
	}
	assert_int_equal(sealed_encode(&head, &disk, &buf, &bytes, NULL), 0);
	assert_true(bytes < MIB(1));
	check_sealed_bytes(buf, bytes);
	free(buf);
	blockset_free(disk.set);
}

/* ---- records of a sidecar -------------------------------------------- */

static void damage(uint8_t buf[SIDECAR_RECORD_BYTES], unsigned at,
		   uint8_t value, bool reseal)
{
	struct guid log = live;
	le32 sum = {0};

	buf[at] = value;
	if (!reseal)
		return;
	memset(buf, 0, 4);
	sum = le32_make(
	    crc32c(crc32c(0, &log, sizeof(log)), buf, SIDECAR_RECORD_BYTES));
	memcpy(buf, &sum, sizeof(sum));
}

static const struct sidecar_record a_write = {.kind = SIDECAR_WRITE,
					      .mending = true,
					      .data_checksum = 7,
					      .length = 1024,
					      .number = 3,
					      .sequence = 11,
					      .time_ns = 5,
					      .offset = MIB(100) - 1024,
					      .at = 8192};

static void sidecar_records_round_trip(void **state)
{
	struct sidecar_head head = sidecar_example();
	const struct sidecar_record records[] = {
	    a_write,
	    {.kind = SIDECAR_ZEROS,
	     .length = 512,
	     .number = 0,
	     .sequence = 10,
	     .at = 512},
	    {.kind = SIDECAR_FLUSH, .number = 1, .sequence = 12, .at = 4096},
	    {.kind = SIDECAR_CLOSE, .number = UINT32_MAX, .sequence = 12},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(records); i++) {
		struct sidecar_record got;
		uint8_t buf[SIDECAR_RECORD_BYTES];

		sidecar_record_encode(&live, &records[i], buf);
		assert_int_equal(sidecar_record_decode(
				     buf, &head, records[i].number, &got, NULL),
				 0);
		assert_int_equal(got.kind, records[i].kind);
		assert_int_equal(got.mending, records[i].mending);
		assert_int_equal(got.data_checksum, records[i].data_checksum);
		assert_int_equal(got.length, records[i].length);
		assert_int_equal(got.number, records[i].number);
		assert_int_equal(got.sequence, records[i].sequence);
		assert_int_equal(got.time_ns, records[i].time_ns);
		assert_int_equal(got.offset, records[i].offset);
		assert_int_equal(got.at, records[i].at);
	}
}

static void each_damaged_record_is_refused_for_its_own_reason(void **state)
{
	static const struct {
		unsigned at;
		uint8_t value;
		bool reseal;
		const char *says;
	} cases[] = {
	    {0, 1, false, "wrong checksum"},
	    {55, 1, false, "wrong checksum"},
	    {8, 0, true, "no known kind"},
	    {8, 8, true, "no known kind"},
	    {9, 2, true, "reserved"},
	    {10, 1, true, "reserved"},
	    {63, 1, true, "reserved"},
	    {8, SIDECAR_ZEROS, true, "checksum of no data"},
	    {8, SIDECAR_FLUSH, true, "a range"},
	    {13, 0, true, "beyond the disk's end"}, /* no length */
	    {13, 8, true, "beyond the disk's end"},
	    {12, 1, true, "beyond the disk's end"},
	    {40, 1, true, "beyond the disk's end"},
	    {47, 0xff, true, "beyond the disk's end"},
	    {16, 4, true, "another number"},
	    {24, 9, true, "before the log's first"},
	    {39, 0x80, true, "before 1970"},
	    {48, 1, true, "a place"},
	    {55, 0x80, true, "a place"},
	};
	struct sidecar_head head = sidecar_example();

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t buf[SIDECAR_RECORD_BYTES];
		struct sidecar_record got;
		struct err err = {0};

		sidecar_record_encode(&live, &a_write, buf);
		damage(buf, cases[i].at, cases[i].value, cases[i].reseal);
		assert_int_equal(sidecar_record_decode(buf, &head, 3, &got,
						       &err),
				 -RP_ECORRUPT);
		if (!strstr(err.text, cases[i].says))
			fail_msg("case %u: '%s'", i, err.text);
	}
}

/* What an older log left on the same space is none of this one's. */
static void a_record_of_another_log_is_refused(void **state)
{
	struct sidecar_head head = sidecar_example();
	uint8_t buf[SIDECAR_RECORD_BYTES];
	struct sidecar_record got;
	struct err err = {0};

	sidecar_record_encode(&store, &a_write, buf);
	assert_int_equal(sidecar_record_decode(buf, &head, 3, &got, &err),
			 -RP_ECORRUPT);
	assert_non_null(strstr(err.text, "wrong checksum"));
	memset(buf, 0, sizeof(buf));
	assert_int_equal(sidecar_record_decode(buf, &head, 3, &got, NULL),
			 -ENODATA);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_artefact_is_refused_for_its_own_reason),
	    cmocka_unit_test(every_structure_checks_its_magic),
	    cmocka_unit_test(every_covered_bit_is_in_the_checksum),
	    cmocka_unit_test(another_version_is_told_from_damage),
	    cmocka_unit_test(each_reserved_byte_must_be_zero),
	    cmocka_unit_test(all_zero_is_never_written),
	    cmocka_unit_test(pages_round_trip),
	    cmocka_unit_test(page_offsets_do_not_overlap),
	    cmocka_unit_test(intents_round_trip_up_to_the_largest_hot_set),
	    cmocka_unit_test(a_shorter_record_over_a_longer_one_is_valid),
	    cmocka_unit_test(live_headers_round_trip_whatever_the_state_says),
	    cmocka_unit_test(sidecar_records_round_trip),
	    cmocka_unit_test(each_damaged_record_is_refused_for_its_own_reason),
	    cmocka_unit_test(a_record_of_another_log_is_refused),
	    cmocka_unit_test(tombstones_round_trip_any_reason),
	    cmocka_unit_test(sealed_sets_take_the_smallest_form),
	    cmocka_unit_test(sealed_generations_round_trip),
	    cmocka_unit_test(a_sparse_tebibyte_is_sealed_in_a_megabyte),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
