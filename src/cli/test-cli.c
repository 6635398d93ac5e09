/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of the CLI that talk to nobody. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/cli.h"
#include "cli/extents.h"
#include "cli/map.h"
#include "cli/progress.h"
#include "cli/text.h"
#include "common/bytes.h"

static void sizes_are_read_with_suffixes_and_limits(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {{"0", 0},
		    {"512", 512},
		    {"1k", 1024},
		    {"3M", MIB(3)},
		    {"3MiB", MIB(3)},
		    {"2G", GIB(2)},
		    {"8388607T", TIB(8388607)},
		    {"9223372036854775807", INT64_MAX}};
	static const char *const bad[] = {
	    "",   "K",    "-1",  "+1",   " 1",       "1.5G",
	    "1X", "1KB ", "1KK", "0x10", "8388608T", "9223372036854775808"};
	uint64_t n = 7;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(parse_size(bad[i], &n, NULL), -RP_EPARAM);
	assert_int_equal(n, 7);
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(parse_size(good[i].text, &n, NULL), 0);
		assert_true(n == good[i].bytes);
	}
}

static void sizes_are_written_for_people(void **state)
{
	char text[SIZE_TEXT_BYTES];

	assert_string_equal(text_size(0, text), "0 bytes");
	assert_string_equal(text_size(1, text), "1 byte");
	assert_string_equal(text_size(1023, text), "1023 bytes");
	assert_string_equal(text_size(1024, text), "1.0 KiB");
	assert_string_equal(text_size(1572864, text), "1.5 MiB");
	assert_string_equal(text_size(MIB(1) - 1, text), "1.0 MiB");
	assert_string_equal(text_size(TIB(64), text), "64.0 TiB");
	assert_string_equal(text_size(INT64_MAX, text), "8192.0 PiB");
}

static void a_map_shows_one_block_of_a_huge_disk(void **state)
{
	struct map map;

	map_init(&map, 0, TIB(64), 64);
	map_add(&map, TIB(64) - 4096, 4096);
	map_add(&map, TIB(1), TIB(1));
	assert_int_equal(map_level(&map, 0), 0);
	assert_int_equal(map_level(&map, 1), MAP_LEVELS - 1);
	assert_int_equal(map_level(&map, 62), 0);
	assert_int_equal(map_level(&map, 63), 1);
}

static void a_map_counts_each_byte_once_and_none_outside(void **state)
{
	struct map map;
	uint64_t sum = 0;

	map_init(&map, 1000, 1000 + 7777777, 77);
	map_add(&map, 0, INT64_MAX);
	for (unsigned i = 0; i < map.cells; i++) {
		sum += map.changed[i];
		assert_int_equal(map_level(&map, i), MAP_LEVELS - 1);
	}
	assert_int_equal(sum, 7777777);
	map_init(&map, 1000, 2000, 77);
	assert_int_equal(map.cells, 1);
	map_add(&map, 0, 1000);
	map_add(&map, 2000, 5);
	map_add(&map, UINT64_MAX - 1, UINT64_MAX - 1);
	assert_int_equal(map.changed[0], 0);
	map_add(&map, 0, 1001);
	map_add(&map, 1999, UINT64_MAX);
	assert_int_equal(map.changed[0], 2);
	map_init(&map, 5, 5, 0);
	assert_int_equal(map.cells, 1);
}

static void levels_rise_with_the_share(void **state)
{
	struct map map;
	unsigned before = 0;

	for (uint64_t n = 1; n <= 4096; n++) {
		unsigned level;

		map_init(&map, 0, 4096, 1);
		map_add(&map, 0, n);
		level = map_level(&map, 0);
		assert_in_range(level, before ? before : 1, MAP_LEVELS - 1);
		assert_int_equal(level == MAP_LEVELS - 1, n == 4096);
		before = level;
	}
}

struct sum {
	uint64_t n, offset, length;
};

static void add(void *arg, uint64_t offset, uint64_t length)
{
	struct sum *sum = arg;

	sum->n++;
	sum->offset += offset;
	sum->length += length;
}

static void lists_are_cut_out_of_a_message(void **state)
{
	char text[] = "{\"parameters\":{\"disks\":[{\"id\":\"a\",\"extents\":["
		      "{\"offset\":0,\"length\":4096},"
		      "{\"offset\":9223372036854775807,\"length\":1}]},"
		      "{\"extents\":[]}]}}";
	struct extent_lists lists = {0};
	struct sum sum = {0};
	size_t n = extents_cut(&lists, text, sizeof(text) - 1);

	assert_string_equal(text, "{\"parameters\":{\"disks\":[{\"id\":\"a\","
				  "\"extents\":[]},{\"extents\":[]}]}}");
	assert_int_equal(n, strlen(text));
	assert_int_equal(lists.n, 2);
	assert_int_equal(lists.list[1].bytes, 0);
	assert_non_null(
	    extents_scan(lists.text + lists.list[0].start, add, &sum));
	assert_int_equal(sum.n, 2);
	assert_true(sum.offset == INT64_MAX);
	assert_int_equal(sum.length, 4097);
	extents_done(&lists);
}

static void lists_of_another_form_are_left_to_the_parser(void **state)
{
	static const char *const odd[] = {
	    "[{\"offset\":0,\"length\":1},]",
	    "[,{\"offset\":0,\"length\":1}]",
	    "[{\"offset\":0,\"length\":1}",
	    "[{\"offset\":0,\"length\":1}{\"offset\":0,\"length\":1}]",
	    "[{\"offset\":00,\"length\":1}]",
	    "[{\"offset\":-1,\"length\":1}]",
	    "[{\"offset\":9223372036854775808,\"length\":1}]",
	    "[{\"offset\":11111111111111111111,\"length\":1}]",
	    "[{\"offset\":,\"length\":1}]",
	    "[{\"offset\": 0,\"length\":1}]",
	    "[{\"length\":1,\"offset\":0}]",
	    "[1]",
	    "[",
	};

	for (size_t i = 0; i < ARRAY_SIZE(odd); i++) {
		struct extent_lists lists = {0};
		char text[256], copy[256];
		size_t n;

		(void)snprintf(text, sizeof(text),
			       "{\"extents\":[],\"extents\":%s", odd[i]);
		strcpy(copy, text);
		n = strlen(text);
		assert_int_equal(extents_cut(&lists, text, n), n);
		assert_string_equal(text, copy);
		assert_int_equal(lists.n, 0);
		extents_done(&lists);
	}
}

static void progress_tells_what_is_left(void **state)
{
	struct progress progress = {0};
	char text[PROGRESS_BYTES];

	progress_format(&progress, 5000, 0, GIB(4), text);
	assert_string_equal(text, "[....................]   0%  0 bytes of "
				  "4.0 GiB");
	progress_format(&progress, 7000, GIB(1), GIB(4), text);
	assert_string_equal(text, "[#####...............]  25%  1.0 GiB of "
				  "4.0 GiB  512.0 MiB/s  0:06 left");
	progress_format(&progress, 9005000, GIB(1), GIB(4), text);
	assert_string_equal(text, "[#####...............]  25%  1.0 GiB of "
				  "4.0 GiB  116.5 KiB/s  7:30:00 left");
	progress_format(&progress, 9006000, GIB(9), GIB(4), text);
	assert_non_null(strstr(text, "] 100%  4.0 GiB of 4.0 GiB"));
	progress = (struct progress){0};
	progress_format(&progress, 1, 0, 0, text);
	assert_non_null(strstr(text, "100%"));
	progress_format(&progress, 5000, 0, 0, text);
	assert_non_null(strstr(text, "waiting"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(sizes_are_read_with_suffixes_and_limits),
	    cmocka_unit_test(sizes_are_written_for_people),
	    cmocka_unit_test(a_map_shows_one_block_of_a_huge_disk),
	    cmocka_unit_test(a_map_counts_each_byte_once_and_none_outside),
	    cmocka_unit_test(levels_rise_with_the_share),
	    cmocka_unit_test(lists_are_cut_out_of_a_message),
	    cmocka_unit_test(lists_of_another_form_are_left_to_the_parser),
	    cmocka_unit_test(progress_tells_what_is_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
