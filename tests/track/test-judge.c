/* SPDX-License-Identifier: Apache-2.0 */
/* Every line of the table at the head of track/judge.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include <string.h>

#include "track/judge.h"

#define SECOND INT64_C(1000000000)
#define STAMP  (1000 * SECOND) /* mtime and ctime in the row */
#define LAST   (1100 * SECOND) /* last submission before a kill */
#define BOOT   (1200 * SECOND) /* of this boot, after a cut */

static const struct guid boot_then = {{1}}, boot_now = {{2}};
static const struct guid nonce = {{3}}, nonce_before = {{4}}, other = {{5}};

struct scene {
	struct disk_row row;
	struct image_stamp now;
	struct judge_facts facts;
};

/* Nothing happened since the row was stored. */
static struct scene quiet(enum image_kind kind, enum judge_end end)
{
	struct scene s = {0};

	s.row.bytes = 1 << 20;
	s.row.stamped = true;
	s.row.nonce = nonce;
	s.row.nonce_before = nonce_before;
	s.row.stamp = (struct image_stamp){
	    .kind = kind,
	    .bytes = 1 << 20,
	    .device = 8,
	    .boot = boot_then,
	    .diskseq = kind == IMAGE_BLOCK ? 9 : 0,
	    .writes = kind == IMAGE_BLOCK ? 100 : 0,
	    .discards = kind == IMAGE_BLOCK ? 7 : 0,
	    .inode = kind == IMAGE_FILE ? 77 : 0,
	    .mtime_ns = kind == IMAGE_FILE ? STAMP : 0,
	    .ctime_ns = kind == IMAGE_FILE ? STAMP : 0,
	    .nonce = kind == IMAGE_FILE ? nonce : (struct guid){{0}},
	};
	s.now = s.row.stamp;
	s.facts.end = end;
	s.facts.last_submission_ns = LAST;
	s.facts.boot_time_ns = BOOT;
	if (end == JUDGE_CUT)
		s.now.boot = boot_now;
	return s;
}

static enum accuracy judged(const struct scene *s)
{
	struct accuracy_row row = {0};

	judge_image(&s->row, &s->now, &s->facts, &row);
	assert_int_equal(row.accuracy == ACCURACY_EXACT, row.reason[0] == 0);
	return row.accuracy;
}

struct change {
	const char *what;
	size_t offset; /* of a 64-bit field in struct image_stamp */
	int64_t add;
	/* EXACT or INVALID after a clean end, a kill, a cut */
	enum accuracy want[3];
};

#define FIELD(f) offsetof(struct image_stamp, f)
#define E        ACCURACY_EXACT
#define A        ACCURACY_ASSUMED
#define X        ACCURACY_INVALID

static void check_changes(enum image_kind kind, const struct change *changes,
			  size_t n)
{
	for (size_t i = 0; i < n; i++)
		for (int end = JUDGE_CLEAN; end <= JUDGE_CUT; end++) {
			struct scene s = quiet(kind, (enum judge_end)end);
			char *field = (char *)&s.now + changes[i].offset;
			int64_t value;

			memcpy(&value, field, sizeof(value));
			value += changes[i].add;
			memcpy(field, &value, sizeof(value));
			if (judged(&s) != changes[i].want[end])
				fail_msg("%s, end %d: %s, not %s",
					 changes[i].what, end,
					 accuracy_name(judged(&s)),
					 accuracy_name(changes[i].want[end]));
		}
}

static void each_field_of_a_file_is_held_to_what_it_can_tell(void **state)
{
	static const struct change changes[] = {
	    {"nothing", FIELD(mtime_ns), 0, {E, E, E}},
	    {"size grew", FIELD(bytes), 512, {X, X, X}},
	    {"size shrank", FIELD(bytes), -512, {X, X, X}},
	    {"inode", FIELD(inode), 1, {X, X, X}},
	    /* device numbers may be dealt anew at the next boot */
	    {"device", FIELD(device), 1, {X, X, E}},
	    {"mtime later", FIELD(mtime_ns), 1, {X, E, E}},
	    {"ctime later", FIELD(ctime_ns), 1, {X, E, E}},
	    {"mtime earlier", FIELD(mtime_ns), -1, {X, E, E}},
	    {"ctime earlier", FIELD(ctime_ns), -1, {X, E, E}},
	    {"mtime at the slack's end",
	     FIELD(mtime_ns),
	     LAST + SECOND - STAMP,
	     {X, E, E}},
	    {"mtime after it",
	     FIELD(mtime_ns),
	     LAST + SECOND - STAMP + 1,
	     {X, X, E}},
	    {"ctime after it",
	     FIELD(ctime_ns),
	     LAST + SECOND - STAMP + 1,
	     {X, X, E}},
	    {"mtime just before the boot",
	     FIELD(mtime_ns),
	     BOOT - STAMP - 1,
	     {X, X, E}},
	    {"mtime at the boot", FIELD(mtime_ns), BOOT - STAMP, {X, X, X}},
	    {"ctime at the boot", FIELD(ctime_ns), BOOT - STAMP, {X, X, X}},
	    {"diskseq", FIELD(diskseq), 1, {E, E, E}},
	    {"writes", FIELD(writes), 1, {E, E, E}},
	};

	check_changes(IMAGE_FILE, changes,
		      sizeof(changes) / sizeof(changes[0]));
}

static void each_field_of_a_block_device_is_held_to_it(void **state)
{
	static const struct change changes[] = {
	    {"nothing", FIELD(writes), 0, {E, E, X}},
	    {"size", FIELD(bytes), 512, {X, X, X}},
	    {"diskseq", FIELD(diskseq), 1, {X, X, X}},
	    {"writes", FIELD(writes), 1, {X, E, X}},
	    {"discards", FIELD(discards), 1, {X, E, X}},
	    {"node's mtime", FIELD(mtime_ns), 1, {E, E, X}},
	    {"node's inode", FIELD(inode), 1, {E, E, X}},
	};

	check_changes(IMAGE_BLOCK, changes,
		      sizeof(changes) / sizeof(changes[0]));
}

static void the_owner_vouches_for_a_block_device_only(void **state)
{
	struct scene s = quiet(IMAGE_BLOCK, JUDGE_CUT);

	s.facts.owned = true;
	assert_int_equal(judged(&s), A);
	s.now.bytes += 512;
	assert_int_equal(judged(&s), X);
	s = quiet(IMAGE_FILE, JUDGE_CUT);
	s.facts.owned = true;
	s.now.mtime_ns = BOOT;
	assert_int_equal(judged(&s), X);
}

static void a_block_device_across_a_clean_boot_needs_a_voucher(void **state)
{
	struct scene s = quiet(IMAGE_BLOCK, JUDGE_CLEAN);

	s.now.boot = boot_now;
	s.now.diskseq = 1; /* dealt anew, as the counters */
	s.now.writes = 0;
	assert_int_equal(judged(&s), X);
	s.facts.owned = true;
	assert_int_equal(judged(&s), A);
	/* In one boot the owner's word does not outweigh the counters. */
	s = quiet(IMAGE_BLOCK, JUDGE_CLEAN);
	s.facts.owned = true;
	s.now.writes++;
	assert_int_equal(judged(&s), X);
}

static void a_file_is_the_same_after_a_clean_boot(void **state)
{
	struct scene s = quiet(IMAGE_FILE, JUDGE_CLEAN);

	s.now.boot = boot_now;
	s.now.device++;
	assert_int_equal(judged(&s), E);
}

static void one_of_the_last_two_nonces_is_ours_and_no_other(void **state)
{
	for (int end = JUDGE_CLEAN; end <= JUDGE_CUT; end++) {
		struct scene s = quiet(IMAGE_FILE, (enum judge_end)end);

		s.now.nonce = nonce_before;
		assert_int_equal(judged(&s), E);
		s.now.nonce = other;
		assert_int_equal(judged(&s), X);
		memset(&s.now.nonce, 0, sizeof(s.now.nonce));
		assert_int_equal(judged(&s), X);
	}
}

static void a_file_that_became_a_device_is_another_disk(void **state)
{
	for (int end = JUDGE_CLEAN; end <= JUDGE_CUT; end++) {
		struct scene s = quiet(IMAGE_FILE, (enum judge_end)end);

		s.facts.owned = true;
		s.now.kind = IMAGE_BLOCK;
		assert_int_equal(judged(&s), X);
	}
}

static void a_disk_never_attached_has_nothing_to_be_held_to(void **state)
{
	struct scene s = quiet(IMAGE_FILE, JUDGE_CLEAN);

	memset(&s.row.stamp, 0, sizeof(s.row.stamp));
	s.row.stamped = false;
	assert_int_equal(judged(&s), E);
}

static void a_worse_judgement_stays(void **state)
{
	struct scene s = quiet(IMAGE_FILE, JUDGE_CLEAN);
	struct accuracy_row row = {ACCURACY_INVALID, 0, "before"};

	judge_image(&s.row, &s.now, &s.facts, &row);
	assert_int_equal(row.accuracy, X);
	assert_string_equal(row.reason, "before");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_field_of_a_file_is_held_to_what_it_can_tell),
	    cmocka_unit_test(each_field_of_a_block_device_is_held_to_it),
	    cmocka_unit_test(the_owner_vouches_for_a_block_device_only),
	    cmocka_unit_test(
		a_block_device_across_a_clean_boot_needs_a_voucher),
	    cmocka_unit_test(a_file_is_the_same_after_a_clean_boot),
	    cmocka_unit_test(one_of_the_last_two_nonces_is_ours_and_no_other),
	    cmocka_unit_test(a_file_that_became_a_device_is_another_disk),
	    cmocka_unit_test(a_disk_never_attached_has_nothing_to_be_held_to),
	    cmocka_unit_test(a_worse_judgement_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
