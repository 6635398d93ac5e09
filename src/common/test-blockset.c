/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "common/blockset.h"

static uint64_t seed;

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

#define RUNS_MAX 64

/* MAX runs at a time are the blocks of MODEL. */
static void check_runs(const struct blockset *set, const uint8_t *model,
		       unsigned max)
{
	uint64_t blocks = blockset_blocks(set), at = 0;
	struct blockset_run runs[RUNS_MAX];
	unsigned n;

	do {
		n = blockset_runs(set, at, runs, max);
		assert_true(n <= max);
		for (unsigned i = 0; i < n; i++) {
			assert_true(runs[i].first < runs[i].end);
			assert_true(runs[i].end <= blocks);
			for (; at < runs[i].first; at++)
				assert_int_equal(model[at], 0);
			for (; at < runs[i].end; at++)
				assert_int_equal(model[at], 1);
			if (at < blocks)
				assert_int_equal(model[at], 0);
		}
	} while (n == max);
	for (; at < blocks; at++)
		assert_int_equal(model[at], 0);
}

static void check_same(const struct blockset *set, const uint8_t *model)
{
	uint64_t blocks = blockset_blocks(set), count = 0;

	check_runs(set, model, 1);
	check_runs(set, model, 3);
	check_runs(set, model, RUNS_MAX);
	for (uint64_t at = 0; at < blocks; at++) {
		assert_int_equal(blockset_has(set, at), model[at]);
		count += model[at];
	}
	assert_false(blockset_has(set, blocks));
	assert_int_equal(blockset_count(set), count);
}

static void an_empty_set_has_no_run(void **state)
{
	struct blockset *set = blockset_new(TIB(64));
	uint64_t first = 7, end = 8, words[REGION_WORDS];

	assert_false(blockset_next(set, 0, &first, &end));
	assert_int_equal(first, 7);
	assert_int_equal(end, 8);
	assert_int_equal(blockset_count(set), 0);
	assert_int_equal(blockset_regions(set), 4 << 20);
	assert_false(blockset_region(set, 0, words));
	assert_false(blockset_region(set, UINT64_MAX, words));
	assert_null(blockset_free(set));
	assert_null(blockset_free(NULL));
}

static void a_run_spans_words_regions_and_chunks(void **state)
{
	struct blockset *set = blockset_new(TIB(1));
	uint64_t chunk = 4096ULL * REGION_BLOCKS, first, end;

	assert_int_equal(blockset_add(set, chunk - 5000, 10000), 0);
	assert_true(blockset_next(set, 0, &first, &end));
	assert_int_equal(first, chunk - 5000);
	assert_int_equal(end, chunk + 5000);
	assert_true(blockset_next(set, chunk, &first, &end));
	assert_int_equal(first, chunk);
	assert_int_equal(end, chunk + 5000);
	assert_false(blockset_next(set, end, &first, &end));
	blockset_free(set);
}

static void all_of_the_largest_disk_is_one_run(void **state)
{
	struct blockset *set = blockset_new(TIB(64) - 512);
	uint64_t first, end;

	assert_int_equal(blockset_add_all(set), 0);
	assert_true(blockset_next(set, 0, &first, &end));
	assert_int_equal(first, 0);
	assert_int_equal(end, TIB(64) / BLOCK_BYTES);
	assert_int_equal(blockset_count(set), end);
	blockset_free(set);
}

static void bits_beyond_the_end_are_left_out(void **state)
{
	struct blockset *set = blockset_new(MIB(16) + 5 * 4096 + 512);
	uint64_t ones[REGION_WORDS], first, end;
	_Atomic uint64_t bitmap[REGION_WORDS + 1];

	memset(ones, 0xff, sizeof(ones));
	memset((void *)bitmap, 0xff, sizeof(bitmap));
	assert_int_equal(blockset_blocks(set), 4096 + 6);
	assert_int_equal(blockset_add(set, 4100, UINT64_MAX), 0);
	assert_int_equal(blockset_count(set), 2);
	assert_int_equal(blockset_add(set, UINT64_MAX, 2), 0);
	assert_int_equal(blockset_add_words(set, 2, ones), 0);
	assert_int_equal(blockset_count(set), 2);
	assert_int_equal(blockset_add_words(set, 1, ones), 0);
	assert_int_equal(blockset_count(set), 6);
	assert_int_equal(blockset_add_bitmap(set, bitmap), 0);
	assert_true(blockset_next(set, 0, &first, &end));
	assert_int_equal(end, 4096 + 6);
	assert_int_equal(blockset_count(set), 4096 + 6);
	assert_true(blockset_region(set, 1, ones));
	assert_int_equal(ones[0], 0x3f);
	assert_int_equal(ones[63], 0);
	blockset_free(set);
}

static void a_larger_disks_set_is_cut_to_the_smaller(void **state)
{
	struct blockset *small = blockset_new(MIB(24));
	struct blockset *large = blockset_new(TIB(1));

	assert_int_equal(blockset_add_all(large), 0);
	assert_int_equal(blockset_union(small, large), 0);
	assert_int_equal(blockset_count(small), MIB(24) / 4096);
	large = blockset_free(large);
	large = blockset_new(TIB(1));
	assert_int_equal(blockset_union(large, small), 0);
	assert_int_equal(blockset_count(large), MIB(24) / 4096);
	blockset_free(small);
	blockset_free(large);
}

static void a_full_region_stays_full_whatever_is_added(void **state)
{
	struct blockset *set = blockset_new(MIB(32));
	uint64_t words[REGION_WORDS] = {5};

	assert_int_equal(blockset_add(set, 0, REGION_BLOCKS), 0);
	assert_int_equal(blockset_add(set, 3, 1), 0);
	assert_int_equal(blockset_add_words(set, 0, words), 0);
	assert_int_equal(blockset_count(set), REGION_BLOCKS);
	assert_int_equal(blockset_add_words(set, 1, words), 0);
	assert_int_equal(blockset_count(set), REGION_BLOCKS + 2);
	assert_true(blockset_region(set, 0, words));
	assert_int_equal(words[63], UINT64_MAX);
	blockset_free(set);
}

static void random_operations_match_a_plain_array(void **state)
{
	uint64_t rng = seed;

	for (unsigned round = 0; round < 40; round++) {
		uint64_t bytes = next_random(&rng) % MIB(160) / 512 * 512 + 512;
		struct blockset *set = blockset_new(bytes);
		uint64_t blocks = blockset_blocks(set);
		uint8_t *model = calloc(blocks, 1);

		for (uint64_t i = next_random(&rng) % 60; i > 0; i--) {
			struct blockset *other = blockset_new(bytes);
			uint64_t at = next_random(&rng) % blocks;
			uint64_t n = next_random(&rng) %
				     (1ULL << next_random(&rng) % 15);
			bool direct = next_random(&rng) & 1;

			n = MIN(n, blocks - at);
			memset(model + at, 1, n);
			assert_int_equal(
			    blockset_add(direct ? set : other, at, n), 0);
			assert_int_equal(blockset_union(set, other), 0);
			blockset_free(other);
		}
		check_same(set, model);
		free(model);
		blockset_free(set);
	}
}

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

/* The best of five, and a limit far above what is expected (2 ms): this is to
 * catch an algorithm gone wrong, on any machine. */
static void a_sparse_tebibyte_is_united_and_walked_in_no_time(void **state)
{
	struct blockset *from = blockset_new(TIB(1));
	uint64_t rng = seed, first, end = 0, runs, best_runs = 0;
	double best = 1e9;

	for (unsigned i = 0; i < 163840; i++)
		blockset_add(from, next_random(&rng) % blockset_blocks(from),
			     1);
	for (unsigned i = 0; i < 5; i++) {
		struct blockset *set = blockset_new(TIB(1));
		double t = now_ms();

		runs = 0;
		assert_int_equal(blockset_union(set, from), 0);
		for (end = 0; blockset_next(set, end, &first, &end);)
			runs++;
		t = now_ms() - t;
		best = MIN(best, t);
		best_runs = runs;
		assert_int_equal(blockset_count(set), blockset_count(from));
		blockset_free(set);
	}
	print_message("%llu runs, union and walk %.2f ms\n",
		      (unsigned long long)best_runs, best);
	assert_true(best < 100);
	blockset_free(from);
}

int main(void)
{
	const char *env = getenv("SEED");
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_empty_set_has_no_run),
	    cmocka_unit_test(a_run_spans_words_regions_and_chunks),
	    cmocka_unit_test(all_of_the_largest_disk_is_one_run),
	    cmocka_unit_test(bits_beyond_the_end_are_left_out),
	    cmocka_unit_test(a_larger_disks_set_is_cut_to_the_smaller),
	    cmocka_unit_test(a_full_region_stays_full_whatever_is_added),
	    cmocka_unit_test(random_operations_match_a_plain_array),
	    cmocka_unit_test(a_sparse_tebibyte_is_united_and_walked_in_no_time),
	};

	seed = env ? strtoull(env, NULL, 0) : (uint64_t)time(NULL);
	seed |= 1ULL << 40;
	printf("SEED=%llu\n", (unsigned long long)seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
