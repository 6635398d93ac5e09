/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logs that the writer's arithmetic makes, read back from their end; and what
 * is damaged in one, refused by name.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <string.h>

#include "common/bytes.h"
#include "hrl/reader.h"
#include "hrl/writer.h"

#define DISK_BYTES MIB(64)

static struct err err;

static void ok(int r)
{
	if (r < 0)
		fail_msg("%s", err.text);
}

/* ---- a log in memory --------------------------------------------------- */

struct log {
	uint8_t *bytes;
	uint64_t size, room;
	struct hrl_writer writer;
	uint64_t count;
};

static void put(struct log *log, const void *data, uint64_t bytes, uint64_t at)
{
	if (at + bytes > log->room) {
		log->room = 2 * (at + bytes);
		log->bytes = realloc(log->bytes, log->room);
		assert_non_null(log->bytes);
	}
	if (at + bytes > log->size) {
		memset(log->bytes + log->size, 0, at + bytes - log->size);
		log->size = at + bytes;
	}
	memcpy(log->bytes + at, data, bytes);
}

static void put_block(struct log *log)
{
	uint8_t buf[HRL_METADATA_BYTES];
	uint64_t at = hrl_writer_block(&log->writer, buf);

	put(log, buf, sizeof(buf), at);
}

/* Write number I: its place, length and bytes follow from I alone. */
static uint64_t offset_of(uint64_t i)
{
	return i * 7919 % (DISK_BYTES / 512 - 8) * 512;
}

static uint32_t length_of(uint64_t i)
{
	return (uint32_t)(i % 8 + 1) * 512;
}

static void add(struct log *log)
{
	uint64_t i = log->count++, at;
	uint8_t data[4096];

	memset(data, i % 5 == 0 ? 0 : (int)(i % 251), sizeof(data));
	if (hrl_writer_is_full(&log->writer))
		put_block(log);
	at = hrl_writer_add(&log->writer, offset_of(i), length_of(i),
			    (uint32_t)i, hrl_checksum(data, length_of(i)));
	put(log, data, length_of(i), at);
}

static void close_log(struct log *log)
{
	uint8_t buf[HRL_HEADER_BYTES];

	if (log->writer.pending > 0)
		put_block(log);
	hrl_writer_close(&log->writer, 99, buf);
	put(log, buf, sizeof(buf), 0);
}

static struct log log_begin(void)
{
	struct log log = {0};
	struct hrl_header header = {.creator = "rp", .id = {{1}}};
	uint8_t buf[HRL_FIRST_BYTES];

	hrl_writer_begin(&log.writer, &header, buf);
	put(&log, buf, sizeof(buf), 0);
	return log;
}

/* BLOCK_EVERY: a block after that many writes, even if it is not full. */
static struct log log_make(uint64_t writes, unsigned block_every)
{
	struct log log = log_begin();

	for (uint64_t i = 0; i < writes; i++) {
		add(&log);
		if (block_every && i % block_every == block_every - 1)
			put_block(&log);
	}
	close_log(&log);
	return log;
}

static int64_t memory_read(void *arg, void *buf, uint64_t bytes,
			   uint64_t offset, struct err *e)
{
	const struct log *log = arg;
	uint64_t n = offset < log->size ? MIN(bytes, log->size - offset) : 0;

	memcpy(buf, log->bytes + MIN(offset, log->size), n);
	return (int64_t)n;
}

static struct hrl_source source_of(struct log *log)
{
	return (struct hrl_source){.read = memory_read, .arg = log};
}

/* ---- what was written is what is read ---------------------------------- */

static void expect_writes(struct hrl_reader *reader,
			  const struct hrl_source *source, uint64_t count)
{
	struct hrl_write write;

	for (uint64_t i = 0; i < count; i++) {
		int r = hrl_reader_next(reader, &write, &err);

		ok(r);
		assert_int_equal(r, 1);
		assert_int_equal(write.index, i);
		assert_int_equal(write.offset, offset_of(i));
		assert_int_equal(write.length, length_of(i));
		assert_int_equal(write.time, i);
		ok(hrl_check_data(source, &write, &err));
	}
	assert_int_equal(hrl_reader_next(reader, &write, &err), 0);
	assert_int_equal(hrl_reader_next(reader, &write, &err), 0);
}

static void logs_of_all_lengths_round_trip(void **state)
{
	static const struct {
		uint64_t writes;
		unsigned every;
	} cases[] = {{0, 0},   {1, 0},     {126, 0},  {127, 0}, {128, 0},
		     {254, 0}, {255, 0},   {1000, 0}, {50, 1},  {200, 3},
		     {0, 1},   {127, 127}, {5000, 7}};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct log log = log_make(cases[i].writes, cases[i].every);
		struct hrl_source source = source_of(&log);
		struct hrl_reader *reader;

		ok(hrl_reader_open(&source, log.size, DISK_BYTES, 0, &reader,
				   &err));
		assert_int_equal(hrl_reader_entries(reader), cases[i].writes);
		assert_int_equal(hrl_reader_end(reader), log.size);
		expect_writes(reader, &source, cases[i].writes);
		hrl_reader_rewind(reader);
		expect_writes(reader, &source, cases[i].writes);
		hrl_reader_free(reader);
		free(log.bytes);
	}
}

/* More blocks than marks: R3. */
static void a_log_of_very_many_blocks(void **state)
{
	enum {
		WRITES = 70000
	};
	struct log log = log_begin();
	struct hrl_source source;
	struct hrl_reader *reader;

	for (unsigned i = 0; i < WRITES; i++) {
		add(&log);
		put_block(&log);
	}
	close_log(&log);
	source = source_of(&log);
	ok(hrl_reader_open(&source, log.size, DISK_BYTES, 0, &reader, &err));
	assert_int_equal(hrl_reader_blocks(reader), WRITES + 1);
	expect_writes(reader, &source, WRITES);
	hrl_reader_free(reader);
	free(log.bytes);
}

/* W2: from the last block that is known a writer goes on. */
static void a_log_goes_on_where_it_was_left(void **state)
{
	struct log log = log_begin();
	struct hrl_source source = source_of(&log);
	struct hrl_reader *reader;
	uint64_t end;

	for (unsigned i = 0; i < 130; i++)
		add(&log);
	end = hrl_writer_end(&log.writer); /* 127 of them */
	assert_int_equal(hrl_reader_open(&source, log.size, DISK_BYTES, 0,
					 &reader, &err),
			 -RP_ESTATE);
	assert_non_null(strstr(err.text, "not closed"));
	ok(hrl_reader_open(&source, log.size, DISK_BYTES, end, &reader, &err));
	expect_writes(reader, &source, 127);
	hrl_writer_resume(&log.writer, hrl_reader_header(reader), end,
			  hrl_reader_entries(reader));
	hrl_reader_free(reader);
	log.count = 127;
	for (unsigned i = 0; i < 100; i++)
		add(&log);
	close_log(&log);
	ok(hrl_reader_open(&source, log.size, DISK_BYTES, 0, &reader, &err));
	expect_writes(reader, &source, 227);
	hrl_reader_free(reader);
	free(log.bytes);
}

/* O1: the other reading of the published example. */
static void entries_may_stand_newest_first(void **state)
{
	struct log log = log_make(300, 0);
	struct hrl_source source = source_of(&log);
	struct hrl_reader *reader;
	uint64_t at = log.size - HRL_METADATA_BYTES;
	struct hrl_block block;

	do {
		uint8_t turned[HRL_METADATA_BYTES];

		hrl_block_peek(log.bytes + at, &block);
		memcpy(turned, log.bytes + at, HRL_HEAD_BYTES);
		for (unsigned i = 0; i < HRL_ENTRIES; i++)
			memcpy(turned + HRL_HEAD_BYTES + i * HRL_ENTRY_BYTES,
			       log.bytes + at + HRL_HEAD_BYTES +
				   (HRL_ENTRIES - 1 - i) * HRL_ENTRY_BYTES,
			       HRL_ENTRY_BYTES);
		memcpy(log.bytes + at, turned, sizeof(turned));
		at -= block.back;
	} while (block.back);
	ok(hrl_reader_open(&source, log.size, DISK_BYTES, 0, &reader, &err));
	expect_writes(reader, &source, 300);
	hrl_reader_free(reader);
	free(log.bytes);
}

/* ---- damage ------------------------------------------------------------- */

static void sum_at(struct log *log, uint64_t at, uint64_t bytes, uint64_t own)
{
	le32 sum = le32_make(0);

	memcpy(log->bytes + at + own, &sum, sizeof(sum));
	sum = le32_make(hrl_checksum(log->bytes + at, bytes));
	memcpy(log->bytes + at + own, &sum, sizeof(sum));
}

/* Opens and reads all of it. */
static int try(struct log *log)
{
	struct hrl_source source = source_of(log);
	struct hrl_reader *reader;
	struct hrl_write write;
	int r =
	    hrl_reader_open(&source, log->size, DISK_BYTES, 0, &reader, &err);

	if (r < 0)
		return r;
	while ((r = hrl_reader_next(reader, &write, &err)) > 0) {
		r = hrl_check_data(&source, &write, &err);
		if (r < 0)
			break;
	}
	/* it does not forget */
	if (r < 0 && !strstr(err.text, "data of write"))
		assert_int_equal(hrl_reader_next(reader, &write, NULL), r);
	hrl_reader_free(reader);
	return r;
}

static void expect_refused(struct log *log, int code, const char *says)
{
	int r = try(log);

	if (r != code || !strstr(err.text, says))
		fail_msg("%d '%s', not '%s'", r, err.text, says);
	free(log->bytes);
}

static void put64(struct log *log, uint64_t at, uint64_t value)
{
	le64 v = le64_make(value);

	memcpy(log->bytes + at, &v, sizeof(v));
}

static void damaged_logs_are_refused_by_name(void **state)
{
	uint64_t last, entry;
	struct log log;

	log = log_make(300, 0);
	log.size -= 512;
	expect_refused(&log, -RP_ECORRUPT, "EOLLocation");

	log = log_make(300, 0);
	put64(&log, 96, 301);
	sum_at(&log, 0, HRL_HEADER_BYTES, 40);
	expect_refused(&log, -RP_ECORRUPT, "TotalMetadataEntries 301");

	log = log_make(300, 0); /* an end within the log */
	put64(&log, 44, log.size - 4096);
	sum_at(&log, 0, HRL_HEADER_BYTES, 40);
	expect_refused(&log, -RP_ECORRUPT, "Checksum");

	log = log_make(300, 0);
	last = log.size - HRL_METADATA_BYTES;
	put64(&log, last, 4096); /* a link to the middle of data */
	sum_at(&log, last, HRL_HEAD_BYTES, 12);
	expect_refused(&log, -RP_ECORRUPT, "metadata block at");

	log = log_make(300, 0);
	last = log.size - HRL_METADATA_BYTES;
	put64(&log, last, 0); /* cut off from what was before */
	sum_at(&log, last, HRL_HEAD_BYTES, 12);
	expect_refused(&log, -RP_ECORRUPT, "TotalMetadataEntries");

	log = log_make(300, 0);
	last = log.size - HRL_METADATA_BYTES;
	put64(&log, last, UINT64_MAX - 4095); /* forwards */
	sum_at(&log, last, HRL_HEAD_BYTES, 12);
	expect_refused(&log, -RP_ECORRUPT, "PreviousMetadataLocation");

	log = log_make(300, 0);
	log.bytes[log.size - HRL_METADATA_BYTES + 8]++; /* one entry more */
	sum_at(&log, log.size - HRL_METADATA_BYTES, HRL_HEAD_BYTES, 12);
	log.bytes[96]++;
	sum_at(&log, 0, HRL_HEADER_BYTES, 40);
	expect_refused(&log, -RP_ECORRUPT, "entry 46");

	log = log_make(300, 0);
	entry = log.size - HRL_METADATA_BYTES + HRL_HEAD_BYTES;
	log.bytes[entry]++;
	expect_refused(&log, -RP_ECORRUPT, "entry 0");

	log = log_make(300, 0);
	entry = log.size - HRL_METADATA_BYTES + HRL_HEAD_BYTES;
	log.bytes[entry + 13] += 2; /* longer than its data */
	sum_at(&log, entry, HRL_ENTRY_BYTES, 8);
	expect_refused(&log, -RP_ECORRUPT, "bytes of data, but");

	log = log_make(300, 0);
	log.bytes[HRL_FIRST_BYTES + 600] ^= 1; /* data of the second write */
	expect_refused(&log, -RP_ECORRUPT, "data of write");

	log = log_make(300, 0);
	log.size = 100;
	expect_refused(&log, -RP_ECORRUPT, "log header");
}

/* Does AT lie in a slot behind the entries of its block? */
static bool is_unused(struct log *log, uint64_t at)
{
	uint64_t block = log->size - HRL_METADATA_BYTES;
	struct hrl_block head;

	for (;; block -= head.back) {
		hrl_block_peek(log->bytes + block, &head);
		if (at >= block && at < block + HRL_METADATA_BYTES)
			return at >= block + HRL_HEAD_BYTES +
					 head.entries * HRL_ENTRY_BYTES;
		if (head.back == 0)
			return false;
	}
}

/* Whatever bit of the metadata is changed: it is refused, or says the same. */
static void every_changed_bit_is_found(void **state)
{
	struct log log = log_make(20, 7);
	uint64_t tries = 0;

	for (uint64_t at = 0; at < log.size; at += 1 + at % 7) {
		log.bytes[at] ^= (uint8_t)(1u << at % 8);
		/* but for slots that are not used */
		if (try(&log) == 0 && !is_unused(&log, at))
			fail_msg("byte %llu", (unsigned long long)at);
		log.bytes[at] ^= (uint8_t)(1u << at % 8);
		tries++;
	}
	assert_true(tries > 5000);
	assert_int_equal(try(&log), 0);
	free(log.bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(logs_of_all_lengths_round_trip),
	    cmocka_unit_test(a_log_of_very_many_blocks),
	    cmocka_unit_test(a_log_goes_on_where_it_was_left),
	    cmocka_unit_test(entries_may_stand_newest_first),
	    cmocka_unit_test(damaged_logs_are_refused_by_name),
	    cmocka_unit_test(every_changed_bit_is_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
