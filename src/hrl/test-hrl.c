/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Header, block and entry: the published examples, what is encoded is what is
 * decoded, and one damaged input for each rule is refused by that rule's name.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <string.h>

#include "common/bytes.h"
#include "hrl/hrl.h"

static const struct guid an_id = {
    {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};

static void put_sum(uint8_t *buf, uint64_t bytes, uint64_t own)
{
	le32 sum = le32_make(0);

	memcpy(buf + own, &sum, sizeof(sum));
	sum = le32_make(hrl_checksum(buf, bytes));
	memcpy(buf + own, &sum, sizeof(sum));
}

/* ---- the published examples ------------------------------------------- */

static void the_published_checksums(void **state)
{
	static const struct {
		struct hrl_block block;
		uint32_t sum;
	} examples[] = {
	    {{.back = 0, .entries = 0}, 4294967295u},
	    {{.back = 324096, .entries = 58}, 4294966991u},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(examples); i++) {
		uint8_t buf[HRL_HEAD_BYTES];
		le32 sum;

		hrl_block_encode(&examples[i].block, buf);
		memcpy(&sum, buf + 12, sizeof(sum));
		assert_int_equal(le32_get(sum), examples[i].sum);
	}
}

static void sums_are_of_all_bytes(void **state)
{
	enum {
		BYTES = 3000
	};
	static uint8_t data[BYTES + 64];
	uint32_t plain = 0;

	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 37 + i / 256);
	for (unsigned n = 0; n < BYTES; n++) {
		assert_int_equal(hrl_checksum(data + n % 64, 0), UINT32_MAX);
		assert_int_equal(hrl_sum(0, data, n), plain);
		assert_int_equal(hrl_sum(hrl_sum(5, data, n / 3), data + n / 3,
					 n - n / 3),
				 plain + 5);
		plain += data[n];
	}
	memset(data, 0xff, sizeof(data));
	assert_int_equal(hrl_sum(0, data, 2048), 2048 * 255);
	memset(data, 0, sizeof(data));
	assert_int_equal(hrl_checksum(data, 512), HRL_ZEROS_CHECKSUM);
	assert_true(hrl_is_zeros(512, HRL_ZEROS_CHECKSUM));
	assert_false(hrl_is_zeros(512, HRL_ZEROS_CHECKSUM - 1));
	assert_false(
	    hrl_is_zeros(HRL_ZEROS_BYTES_MAX + 512, HRL_ZEROS_CHECKSUM));
}

static void times_are_seconds_since_2000(void **state)
{
	assert_int_equal(hrl_time(946684800 * 1000000000LL), 0);
	assert_int_equal(hrl_time(946684801 * 1000000000LL + 999999999), 1);
	assert_int_equal(hrl_time(0), 0);
	assert_int_equal(hrl_time(INT64_MAX), UINT32_MAX);
	assert_int_equal(hrl_time_ns(1), 946684801 * 1000000000LL);
}

/* ---- the header ------------------------------------------------------- */

static struct hrl_header header_example(void)
{
	return (struct hrl_header){.version = HRL_VERSION,
				   .created = 7,
				   .creator = "rp  ",
				   .creator_version = 3,
				   .original_bytes = 0,
				   .current_bytes = 8192,
				   .end = 8192,
				   .metadata_bytes = 4096,
				   .id = an_id,
				   .previous = an_id,
				   .modified = 9,
				   .entries = 11,
				   .data_write = an_id};
}

static void headers_round_trip(void **state)
{
	struct hrl_header want = header_example(), got;
	uint8_t buf[HRL_HEADER_BYTES];

	memset(&got, 0, sizeof(got));
	hrl_header_encode(&want, buf);
	/* [MS-DTYP] 2.3.4.2 */
	assert_int_equal(buf[60], 4);
	assert_int_equal(buf[63], 1);
	assert_int_equal(buf[64], 6);
	assert_int_equal(buf[66], 8);
	assert_int_equal(buf[68], 9);
	assert_int_equal(hrl_header_decode(buf, &got, NULL), 0);
	assert_int_equal(got.created, want.created);
	assert_memory_equal(got.creator, want.creator, 4);
	assert_int_equal(got.creator_version, want.creator_version);
	assert_int_equal(got.current_bytes, want.current_bytes);
	assert_int_equal(got.end, want.end);
	assert_int_equal(got.metadata_bytes, want.metadata_bytes);
	assert_memory_equal(&got.id, &an_id, sizeof(an_id));
	assert_memory_equal(&got.previous, &an_id, sizeof(an_id));
	assert_memory_equal(&got.data_write, &an_id, sizeof(an_id));
	assert_int_equal(got.modified, want.modified);
	assert_int_equal(got.entries, want.entries);
}

struct damage {
	unsigned at;
	uint8_t value;
	bool reseal;
	int code;
	const char *says;
};

static void each_header_field_is_checked(void **state)
{
	static const struct damage cases[] = {
	    {0, 'M', true, -RP_ECORRUPT, "Cookie"},
	    {7, 'x', true, -RP_ECORRUPT, "Cookie"},
	    {8, 1, true, -RP_EVERSION, "LogFormatVersion 2.1"},
	    {10, 1, true, -RP_EVERSION, "LogFormatVersion 1.0"},
	    {40, 1, false, -RP_ECORRUPT, "Checksum"},
	    {200, 1, false, -RP_ECORRUPT, "Checksum"},
	    {4095, 1, false, -RP_ECORRUPT, "Checksum"},
	    {45, 0x21, true, -RP_ECORRUPT, "EOLLocation"}, /* 0x2100 */
	    {45, 0x10, true, -RP_ECORRUPT, "EOLLocation"}, /* the header's */
	    {51, 0x80, true, -RP_ECORRUPT, "EOLLocation"},
	    {52, 1, true, -RP_EFAILED, "ErrorCode 1"},
	    {55, 0x80, true, -RP_EFAILED, "ErrorCode -"},
	    {57, 0, true, -RP_ECORRUPT, "MetadataSize 0"},
	    {56, 1, true, -RP_ECORRUPT, "MetadataSize 4097"},
	    {58, 2, true, -RP_ECORRUPT, "MetadataSize"},
	    {104, 1, true, -RP_EUNSUPPORTED, "FileType 1"},
	    {108, 2, true, -RP_EUNSUPPORTED, "Flags 0x2"},
	    {126, 1, true, -RP_EUNSUPPORTED, "Reserved"},
	    {4095, 1, true, -RP_EUNSUPPORTED, "Reserved"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct hrl_header header = header_example(), got;
		uint8_t buf[HRL_HEADER_BYTES];
		struct err err = {0};
		int r;

		hrl_header_encode(&header, buf);
		buf[cases[i].at] = cases[i].value;
		if (cases[i].reseal)
			put_sum(buf, sizeof(buf), 40);
		r = hrl_header_decode(buf, &got, &err);
		if (r != cases[i].code || !strstr(err.text, cases[i].says))
			fail_msg("case %u: %d '%s'", i, r, err.text);
	}
}

/* The example of the text has a blank there. */
static void both_cookies_are_taken(void **state)
{
	struct hrl_header header = header_example(), got;
	uint8_t buf[HRL_HEADER_BYTES];

	hrl_header_encode(&header, buf);
	assert_int_equal(buf[7], 0);
	buf[7] = ' ';
	put_sum(buf, sizeof(buf), 40);
	assert_int_equal(hrl_header_decode(buf, &got, NULL), 0);
}

/* ---- blocks and entries ------------------------------------------------ */

static void each_block_field_is_checked(void **state)
{
	static const struct damage cases[] = {
	    {0, 1, false, -RP_ECORRUPT, "Checksum"},
	    {12, 1, false, -RP_ECORRUPT, "Checksum"},
	    {0, 1, true, -RP_ECORRUPT, "PreviousMetadataLocation"},
	    {1, 0x0e, true, -RP_ECORRUPT, "overlaps"},
	    {2, 2, true, -RP_ECORRUPT, "into the header"},
	    {7, 0x80, true, -RP_ECORRUPT, "into the header"},
	    {8, 128, true, -RP_ECORRUPT, "ValidMetadataEntries 128"},
	    {11, 0xff, true, -RP_ECORRUPT, "ValidMetadataEntries"},
	    {16, 1, true, -RP_EUNSUPPORTED, "Reserved"},
	    {31, 1, true, -RP_EUNSUPPORTED, "Reserved"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct hrl_block block = {.back = 8192, .entries = 127}, got;
		uint8_t buf[HRL_HEAD_BYTES];
		struct err err = {0};
		int r;

		hrl_block_encode(&block, buf);
		assert_int_equal(hrl_block_decode(buf, 65536, 4096, &got, NULL),
				 0);
		assert_int_equal(got.back, 8192);
		assert_int_equal(got.entries, 127);
		buf[cases[i].at] = cases[i].value;
		if (cases[i].reseal)
			put_sum(buf, sizeof(buf), 12);
		r = hrl_block_decode(buf, 65536, 4096, &got, &err);
		if (r != cases[i].code || !strstr(err.text, cases[i].says))
			fail_msg("case %u: %d '%s'", i, r, err.text);
	}
}

static void each_entry_field_is_checked(void **state)
{
	static const struct damage cases[] = {
	    {0, 1, false, -RP_ECORRUPT, "Checksum"},
	    {8, 1, false, -RP_ECORRUPT, "Checksum"},
	    {0, 1, true, -RP_ECORRUPT, "ByteOffset"},
	    {7, 0x80, true, -RP_ECORRUPT, "end beyond the disk"},
	    {2, 0x10, true, -RP_ECORRUPT, "end beyond the disk"},
	    {13, 0, true, -RP_ECORRUPT, "DataLength 0"},
	    {12, 1, true, -RP_ECORRUPT, "DataLength 4097"},
	    {15, 0x80, true, -RP_ECORRUPT, "end beyond the disk"},
	    {20, 0, true, -RP_EUNSUPPORTED, "MetaOperation 0"},
	    {20, 2, true, -RP_EUNSUPPORTED, "MetaOperation 2"},
	    {26, 1, true, -RP_EUNSUPPORTED, "Reserved"},
	    {31, 1, true, -RP_EUNSUPPORTED, "Reserved"},
	};
	const struct hrl_entry entry = {.offset = MIB(1) - 4096,
					.length = 4096,
					.time = 5,
					.data_checksum = 77,
					.operation = HRL_OPERATION_WRITE};
	struct hrl_entry got;
	uint8_t buf[HRL_ENTRY_BYTES];

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct err err = {0};
		int r;

		hrl_entry_encode(&entry, buf);
		assert_int_equal(hrl_entry_decode(buf, MIB(1), &got, NULL), 0);
		assert_int_equal(got.offset, entry.offset);
		assert_int_equal(got.length, entry.length);
		assert_int_equal(got.time, entry.time);
		assert_int_equal(got.data_checksum, entry.data_checksum);
		buf[cases[i].at] = cases[i].value;
		if (cases[i].reseal)
			put_sum(buf, sizeof(buf), 8);
		r = hrl_entry_decode(buf, MIB(1), &got, &err);
		if (r != cases[i].code || !strstr(err.text, cases[i].says))
			fail_msg("case %u: %d '%s'", i, r, err.text);
	}
	/* a disk of unknown size, and what is for tracing only */
	hrl_entry_encode(&entry, buf);
	buf[25] = 9;
	put_sum(buf, sizeof(buf), 8);
	assert_int_equal(hrl_entry_decode(buf, 0, &got, NULL), 0);
	/* a slot that was never used is no entry */
	memset(buf, 0, sizeof(buf));
	assert_false(hrl_entry_is_whole(buf));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_published_checksums),
	    cmocka_unit_test(sums_are_of_all_bytes),
	    cmocka_unit_test(times_are_seconds_since_2000),
	    cmocka_unit_test(headers_round_trip),
	    cmocka_unit_test(each_header_field_is_checked),
	    cmocka_unit_test(both_cookies_are_taken),
	    cmocka_unit_test(each_block_field_is_checked),
	    cmocka_unit_test(each_entry_field_is_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
