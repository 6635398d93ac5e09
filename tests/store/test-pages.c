/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was synced is found by a scan whatever dies afterwards, at most one
 * slot of a page is torn, and nothing is found that was never set.
 */
#include "scene.h"

#include <stdatomic.h>

#define SEEDS  12u
#define DEATHS 40u
#define LIVES  5u
#define BYTES  (MIB(112) * 3 - MIB(40) - 4096 * 5 + 512)
#define PAGES  3u
#define WORDS  (19u * REGION_WORDS) /* whole regions of BYTES */
#define BLOCKS ((BYTES + 4095) / 4096)

#define PAGE_WORDS (PAGE_REGIONS * REGION_WORDS)

struct model {
	uint64_t generation;
	_Atomic uint64_t live[WORDS];
	uint64_t durable[WORDS];
	uint64_t written[WORDS]; /* durable after the next sync */
	uint64_t torn[WORDS];    /* forgotten, may be in a torn slot */
};

static struct sim *world_make(uint64_t seed)
{
	struct sim *sim = sim_new(first_seed + seed);
	struct scene s;

	scene_open(&s, sim);
	assert_int_equal(pages_create(s.fs, 1, BYTES, NULL), 0);
	assert_int_equal(s.fs->ops->sync_dir(s.fs, NULL), 0);
	scene_close(&s);
	return sim;
}

static void next_generation(struct model *m)
{
	m->generation++;
	memset((void *)m->live, 0, sizeof(m->live));
	memset(m->durable, 0, sizeof(m->durable));
	memset(m->written, 0, sizeof(m->written));
	memset(m->torn, 0, sizeof(m->torn));
}

struct found {
	uint64_t bits[WORDS];
	unsigned torn;
	unsigned present;
	bool page_torn[PAGES];
};

static int collect(void *arg, const struct page_report *report)
{
	struct found *found = arg;
	const uint64_t *from = (const void *)report->bits;

	assert_true(report->torn || report->present);
	for (unsigned w = 0; w < PAGE_WORDS; w++) {
		unsigned at = report->index * PAGE_WORDS + w;

		if (at < WORDS)
			found->bits[at] |= from[w];
		else
			assert_int_equal(from[w], 0);
	}
	assert_true(report->index < PAGES);
	found->page_torn[report->index] = report->torn;
	found->torn += report->torn;
	found->present += report->present;
	return 0;
}

/* The successor of a power cut has as its live bitmap what was FOUND.  What a
 * torn slot holds is not, but stays on the disk: where the next write of that
 * slot is torn too, the sectors that survive may be just those that the first
 * lacks, and all that it said is found after all.  It was set, so that does no
 * harm; where no slot is torn, nothing can come back. */
static void forget(struct model *m, const struct found *found)
{
	for (unsigned w = 0; w < WORDS; w++) {
		if (found->page_torn[w / PAGE_WORDS])
			m->torn[w] |= m->live[w];
		else
			m->torn[w] = 0;
		m->live[w] = found->bits[w];
	}
}

/* As a successor that has lost the live bitmap or, if KEPT, has not. */
static int scan_and_check(struct pages_file *file, struct model *m, bool kept)
{
	struct found found = {{0}, 0, 0, {false}};
	struct err err = {0};
	int r = pages_scan(file, m->generation, collect, &found, &err);

	if (r == -RP_EDEAD)
		return r;
	if (r < 0)
		fail_msg("%s", err.text);
	for (unsigned w = 0; w < WORDS; w++) {
		uint64_t set = m->live[w] | m->torn[w], bits = found.bits[w];

		assert_int_equal(m->durable[w] & ~bits, 0);
		assert_int_equal(bits & ~set, 0);
	}
	if (!kept)
		forget(m, &found);
	return 0;
}

static void mark(struct scene *s, struct model *m)
{
	uint64_t first = sim_random(s->sim, BLOCKS);
	uint64_t n = 1 + sim_random(s->sim, 9000);

	for (uint64_t b = first; b < MIN(first + n, (uint64_t)BLOCKS); b++)
		atomic_fetch_or(&m->live[b / 64], 1ULL << b % 64);
}

static int write_page(struct scene *s, struct pages_file *file, struct model *m)
{
	uint32_t index = (uint32_t)sim_random(s->sim, PAGES);
	uint64_t at = index * PAGE_WORDS;
	uint64_t n = MIN(WORDS - at, (uint64_t)PAGE_WORDS);
	int r = pages_write(file, index, m->generation, m->live + at,
			    WORDS - at, NULL);

	if (r == 0)
		memcpy(m->written + at, (void *)(m->live + at),
		       n * sizeof(uint64_t));
	return r;
}

static void live_a_life(struct scene *s, struct model *m, bool kept)
{
	struct pages_file *file;
	struct err err = {0};
	int r = pages_open(s->fs, &store_id, 1, 0, BYTES, &file, &err);

	if (r == -RP_EDEAD)
		return;
	if (r < 0)
		fail_msg("%s", err.text);
	r = scan_and_check(file, m, kept);
	memcpy(m->written, m->durable, sizeof(m->written));
	for (unsigned i = 0; r == 0 && i < 20; i++) {
		if (chance(s->sim, 12))
			next_generation(m);
		mark(s, m);
		r = write_page(s, file, m);
		if (r < 0 || chance(s->sim, 2))
			continue;
		r = pages_sync(file, NULL);
		if (r == 0)
			memcpy(m->durable, m->written, sizeof(m->durable));
		if (r == -EIO) {
			assert_int_equal(pages_sync(file, NULL), -EIO);
			assert_int_equal(write_page(s, file, m), -EIO);
			/* The cache, which may show what is lost, stays. */
			if (chance(s->sim, 2))
				sim_kill(s->sim);
		}
	}
	pages_close(file);
}

static bool run_lives(uint64_t seed, uint64_t n, bool failures)
{
	static struct model m;
	bool died = false, kept = false;
	struct scene s;

	memset(&m, 0, sizeof(m));
	next_generation(&m);
	scene_open(&s, world_make(seed * 1000 + n));
	scene_die_in(&s, n);
	for (unsigned life = 0; life < LIVES; life++) {
		struct guid boot = sim_boot_id(s.sim), now;

		if (failures)
			scene_fail_a_sync(&s);
		live_a_life(&s, &m, kept);
		died |= life == 0 && sim_dead(s.sim);
		scene_next_life(&s);
		now = sim_boot_id(s.sim);
		kept = guid_equal(&boot, &now);
		scene_die_in(&s, 1 + sim_random(s.sim, DEATHS));
	}
	scene_end(&s);
	return died;
}

static void what_was_synced_is_found_after_any_deaths(void **state)
{
	scene_sweep(run_lives, false, SEEDS, DEATHS, 4);
}

static void what_was_synced_is_found_also_where_syncs_fail(void **state)
{
	scene_sweep(run_lives, true, SEEDS, DEATHS, 10);
}

/* ---- by hand ---------------------------------------------------------- */

static _Atomic uint64_t some_bits[PAGE_WORDS];
static uint64_t worlds;

static struct pages_file *must_open(struct scene *s, uint64_t bytes)
{
	struct pages_file *file;
	struct err err = {0};

	if (pages_open(s->fs, &store_id, 1, 0, bytes, &file, &err) < 0)
		fail_msg("%s", err.text);
	return file;
}

/* A world whose file 0 has page 1 written N times as generation 5. */
static void page_one(struct scene *s, unsigned n)
{
	struct pages_file *file;

	scene_open(s, world_make(++worlds));
	file = must_open(s, BYTES);
	for (unsigned i = 0; i < n; i++) {
		some_bits[i] = i + 1;
		assert_int_equal(
		    pages_write(file, 1, 5, some_bits, PAGE_WORDS, NULL), 0);
		assert_int_equal(pages_sync(file, NULL), 0);
	}
	pages_close(file);
}

static int scan(struct scene *s, uint64_t from, struct found *found,
		struct err *err)
{
	struct pages_file *file = must_open(s, BYTES);
	int r;

	memset(found, 0, sizeof(*found));
	r = pages_scan(file, from, collect, found, err);
	pages_close(file);
	return r;
}

static void refuse(struct scene *s, const char *says)
{
	struct err err = {0};
	struct found found;

	expect_error(scan(s, 0, &found, &err), -RP_ECORRUPT, &err, says);
	scene_end(s);
}

static void a_scan_leaves_out_older_generations(void **state)
{
	struct found found;
	struct scene s;

	page_one(&s, 3);
	assert_int_equal(scan(&s, 5, &found, NULL), 0);
	assert_int_equal(found.present, 1);
	assert_int_equal(found.torn, 0);
	assert_int_equal(found.bits[PAGE_WORDS + 2], 3);
	assert_int_equal(scan(&s, 6, &found, NULL), 0);
	assert_int_equal(found.present, 0);
	scene_end(&s);
}

static int stop(void *arg, const struct page_report *report)
{
	(*(unsigned *)arg)++;
	return 42;
}

static void a_scan_stops_when_told(void **state)
{
	struct pages_file *file;
	unsigned calls = 0;
	struct scene s;

	page_one(&s, 1);
	file = must_open(&s, BYTES);
	assert_int_equal(pages_write(file, 2, 5, some_bits, PAGE_WORDS, NULL),
			 0);
	assert_int_equal(pages_scan(file, 0, stop, &calls, NULL), 42);
	assert_int_equal(calls, 1);
	pages_close(file);
	scene_end(&s);
}

static void one_torn_slot_is_reported_with_the_others_bits(void **state)
{
	struct found found;
	struct scene s;

	for (unsigned slot = 0; slot < PAGE_SLOTS; slot++) {
		page_one(&s, 2);
		scene_poke(&s, "pages.1.0", "\xee", 1,
			   page_offset(1, slot) + 700);
		assert_int_equal(scan(&s, 0, &found, NULL), 0);
		assert_int_equal(found.torn, 1);
		assert_int_equal(found.present, 1);
		assert_int_equal(found.bits[PAGE_WORDS], 1);
		scene_end(&s);
	}
}

static void two_torn_slots_of_a_page_are_damage(void **state)
{
	struct scene s;

	page_one(&s, 2);
	scene_poke(&s, "pages.1.0", "\xee", 1, page_offset(1, 0));
	scene_poke(&s, "pages.1.0", "\xee", 1, page_offset(1, 1));
	refuse(&s, "both slots of page 1");
}

static void a_torn_slot_is_the_next_to_be_written(void **state)
{
	struct pages_file *file;
	struct found found;
	struct scene s;

	for (unsigned slot = 0; slot < PAGE_SLOTS; slot++) {
		page_one(&s, 2);
		scene_poke(&s, "pages.1.0", "\xee", 1, page_offset(1, slot));
		file = must_open(&s, BYTES);
		assert_int_equal(
		    pages_write(file, 1, 5, some_bits, PAGE_WORDS, NULL), 0);
		pages_close(file);
		assert_int_equal(scan(&s, 0, &found, NULL), 0);
		assert_int_equal(found.torn, 0);
		scene_end(&s);
	}
}

/* Sets one more bit in each sector of page INDEX, and writes it. */
static void write_more(struct pages_file *file, uint32_t index)
{
	struct err err = {0};

	for (unsigned r = 0; r < PAGE_REGIONS; r++)
		some_bits[r * REGION_WORDS] =
		    some_bits[r * REGION_WORDS] << 1 | 1;
	if (pages_write(file, index, 5, some_bits, PAGE_WORDS, &err) < 0)
		fail_msg("%s", err.text);
}

/* After a sync that succeeds: do reads of page 1 show what the disk lacks? */
static bool cache_deceives(struct scene *s)
{
	struct fs *fs = sim_durable_fs(s->sim, s->fs);
	uint8_t shown[PAGE_SLOTS * PAGE_BYTES], durable[sizeof(shown)];
	struct pages_file *pages = must_open(s, BYTES);
	struct file *file;

	assert_int_equal(pages_sync(pages, NULL), 0);
	pages_close(pages);
	scene_peek(s, "pages.1.0", shown, sizeof(shown), page_offset(1, 0));
	assert_int_equal(fs_open(fs, "pages.1.0", FILE_READ, &file, NULL), 0);
	assert_int_equal(file_read(file, durable, sizeof(durable),
				   page_offset(1, 0), NULL),
			 sizeof(durable));
	file_close(file);
	fs->ops->free(fs);
	return memcmp(shown, durable, sizeof(shown)) != 0;
}

/* A world where page 1 is durable, a later sync of it fails, and the process
 * is killed. */
static void fail_a_sync_of_page_one(struct scene *s)
{
	struct pages_file *file;

	memset((void *)some_bits, 0, sizeof(some_bits));
	page_one(s, 1);
	file = must_open(s, BYTES);
	write_more(file, 1);
	sim_fail(s->sim, SIM_SYNC, 1, EIO, false, NULL);
	assert_int_equal(pages_sync(file, NULL), -EIO);
	pages_close(file);
	sim_kill(s->sim);
	scene_reboot(s);
}

/* The successor is writing page 1, and may have synced another one before, when
 * the power goes. */
static bool write_and_cut(bool synced, enum sim_cut cut)
{
	struct pages_file *file;
	struct found found;
	struct err err = {0};
	struct scene s;
	bool deceived;

	fail_a_sync_of_page_one(&s);
	deceived = cache_deceives(&s);
	file = must_open(&s, BYTES);
	if (synced) {
		write_more(file, 2);
		assert_int_equal(pages_sync(file, NULL), 0);
	}
	write_more(file, 1);
	pages_close(file);
	sim_power_cut(s.sim, cut);
	scene_reboot(&s);
	if (scan(&s, 5, &found, &err) < 0)
		fail_msg("%s", err.text);
	assert_true(found.bits[PAGE_WORDS] & 1);
	scene_end(&s);
	return deceived;
}

static void what_a_failed_sync_left_in_the_cache_is_not_relied_on(void **state)
{
	unsigned deceived = 0;

	for (unsigned i = 0; i < 40 * SIM_CUTS; i++)
		deceived += write_and_cut(i & 1, (enum sim_cut)(i % SIM_CUTS));
	print_message("%u times the cache deceived\n", deceived);
	assert_true(deceived > 10);
}

/* Page 1's newest slot, changed by CHANGE and sealed again. */
static void replace_page(struct scene *s, void (*change)(struct page *page))
{
	uint8_t buf[PAGE_BYTES];
	struct page page;

	page_one(s, 1);
	scene_peek(s, "pages.1.0", buf, sizeof(buf), page_offset(1, 1));
	assert_int_equal(page_decode(buf, &page, NULL), 0);
	change(&page);
	page_encode(&page, buf);
	scene_poke(s, "pages.1.0", buf, sizeof(buf), page_offset(1, 1));
}

static void of_other_store(struct page *page)
{
	page->store = other_id;
}

static void of_other_disk(struct page *page)
{
	page->disk = 2;
}

static void of_other_index(struct page *page)
{
	page->index = 0;
}

static void a_page_of_another_store_disk_or_index_is_damage(void **state)
{
	struct scene s;

	replace_page(&s, of_other_store);
	refuse(&s, "page 1 is of another store");
	replace_page(&s, of_other_disk);
	refuse(&s, "page 1 is of another disk");
	replace_page(&s, of_other_index);
	refuse(&s, "page 1 belongs elsewhere");
}

/* A disk that shrank: it is invalid for other reasons, but goes on. */
static void blocks_beyond_the_end_are_left_out(void **state)
{
	struct page page = {store_id, 5, 9, 1, 2, {{0}}};
	struct pages_file *file;
	uint8_t buf[PAGE_BYTES];
	struct found found;
	uint64_t n = 0;
	struct scene s;

	memset(page.bits, 0xff, sizeof(page.bits));
	page_encode(&page, buf);
	page_one(&s, 1);
	scene_poke(&s, "pages.1.0", buf, sizeof(buf), page_offset(2, 0));
	assert_int_equal(scan(&s, 0, &found, NULL), 0);
	for (unsigned w = 2 * PAGE_WORDS; w < WORDS; w++)
		n += (uint64_t)__builtin_popcountll(found.bits[w]);
	assert_int_equal(n, BLOCKS - 14 * 4096);
	file = must_open(&s, BYTES);
	assert_int_equal(pages_write(file, 2, 6, some_bits, PAGE_WORDS, NULL),
			 0);
	pages_close(file);
	scene_end(&s);
}

static void bits_beyond_the_end_are_not_written(void **state)
{
	static _Atomic uint64_t ones[PAGE_WORDS];
	struct pages_file *file;
	struct found found;
	uint64_t n = 0;
	struct scene s;

	memset((void *)ones, 0xff, sizeof(ones));
	page_one(&s, 1);
	file = must_open(&s, BYTES);
	assert_int_equal(pages_write(file, 2, 6, ones, 5 * REGION_WORDS, NULL),
			 0);
	assert_int_equal(pages_write(file, 3, 6, ones, 1, NULL), -ERANGE);
	pages_close(file);
	assert_int_equal(scan(&s, 6, &found, NULL), 0);
	for (unsigned w = 0; w < WORDS; w++)
		n += (uint64_t)__builtin_popcountll(found.bits[w]);
	assert_int_equal(n, BLOCKS - 14 * 4096);
	scene_end(&s);
}

static void a_short_or_missing_file_is_damage(void **state)
{
	struct pages_file *file = NULL;
	struct err err = {0};
	struct scene s;

	page_one(&s, 1);
	scene_truncate(&s, "pages.1.0", 3 * 8192 - 1);
	expect_error(pages_open(s.fs, &store_id, 1, 0, BYTES, &file, &err),
		     -RP_ECORRUPT, &err, "should have");
	expect_error(pages_open(s.fs, &store_id, 2, 0, BYTES, &file, &err),
		     -RP_ECORRUPT, &err, "is not in");
	assert_null(file);
	scene_end(&s);
}

static void growing_keeps_what_is_there(void **state)
{
	struct pages_file *file;
	struct found found;
	struct scene s;

	page_one(&s, 1);
	assert_int_equal(pages_create(s.fs, 1, BYTES + MIB(500), NULL), 0);
	assert_int_equal(scan(&s, 5, &found, NULL), 0);
	assert_int_equal(found.present, 1);
	file = must_open(&s, BYTES + MIB(500));
	assert_int_equal(pages_write(file, 7, 6, some_bits, PAGE_WORDS, NULL),
			 0);
	pages_close(file);
	/* The commit that says so did not happen: the old size still works. */
	assert_int_equal(scan(&s, 5, &found, NULL), 0);
	assert_int_equal(found.present, 1);
	scene_end(&s);
}

/* A cut at operation N of growing: the old pages are there at the old size,
 * and growing again works. */
static bool cut_growing_at(uint64_t seed, uint64_t n)
{
	struct found found;
	struct scene s;
	bool died;

	page_one(&s, 2);
	sim_power_cut(s.sim, SIM_CUT_DROP);
	scene_reboot(&s);
	sim_die_at(s.sim, n, SIM_CUT, (enum sim_cut)(seed % SIM_CUTS));
	died = pages_create(s.fs, 1, BYTES + MIB(900), NULL) < 0;
	assert_int_equal(died, sim_dead(s.sim));
	if (!died)
		sim_power_cut(s.sim, SIM_CUT_DROP);
	scene_reboot(&s);
	assert_int_equal(scan(&s, 5, &found, NULL), 0);
	assert_int_equal(found.present, 1);
	assert_int_equal(found.torn, 0);
	assert_int_equal(pages_create(s.fs, 1, BYTES + MIB(900), NULL), 0);
	pages_close(must_open(&s, BYTES + MIB(900)));
	scene_end(&s);
	return died;
}

static void growing_may_be_cut_anywhere(void **state)
{
	unsigned cuts = 0;

	for (uint64_t seed = 0; seed < SEEDS; seed++)
		for (uint64_t n = 1; cut_growing_at(seed, n); n++)
			cuts++;
	assert_int_equal(cuts, SEEDS * 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_was_synced_is_found_after_any_deaths),
	    cmocka_unit_test(what_was_synced_is_found_also_where_syncs_fail),
	    cmocka_unit_test(a_scan_leaves_out_older_generations),
	    cmocka_unit_test(a_scan_stops_when_told),
	    cmocka_unit_test(one_torn_slot_is_reported_with_the_others_bits),
	    cmocka_unit_test(two_torn_slots_of_a_page_are_damage),
	    cmocka_unit_test(a_torn_slot_is_the_next_to_be_written),
	    cmocka_unit_test(
		what_a_failed_sync_left_in_the_cache_is_not_relied_on),
	    cmocka_unit_test(a_page_of_another_store_disk_or_index_is_damage),
	    cmocka_unit_test(blocks_beyond_the_end_are_left_out),
	    cmocka_unit_test(bits_beyond_the_end_are_not_written),
	    cmocka_unit_test(a_short_or_missing_file_is_damage),
	    cmocka_unit_test(growing_keeps_what_is_there),
	    cmocka_unit_test(growing_may_be_cut_anywhere),
	};

	scene_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
