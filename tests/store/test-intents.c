/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The record in force, whatever dies and fails: the one last committed or the
 * one that was being written, never an older one, never damage unsaid.
 */
#include "scene.h"

#define SEEDS      12u
#define DEATHS     30u
#define LIVES      5u
#define RECORD_MAX 1200u

/* What a record holds is a function of its number. */
static uint32_t record_make(uint32_t id, struct intent *intents)
{
	uint32_t n = id * 37 % RECORD_MAX;

	for (uint32_t i = 0; i < n; i++)
		intents[i] = (struct intent){i % 64, (uint64_t)id << 20 | i};
	return n;
}

static bool record_is(const struct intents_file *file, uint32_t id)
{
	static struct intent want[RECORD_MAX];
	uint32_t n = record_make(id, want), count;
	const struct intent *is = intents_in_force(file, &count);

	if (count != n)
		return false;
	for (uint32_t i = 0; i < n; i++)
		if (is[i].disk != want[i].disk ||
		    is[i].region != want[i].region)
			return false;
	return true;
}

static int write_id(struct intents_file *file, uint32_t id, struct err *err)
{
	static struct intent intents[RECORD_MAX];
	uint32_t n = record_make(id, intents);

	return intents_write(file, intents, n, err);
}

static struct sim *world_make(uint64_t seed)
{
	struct sim *sim = sim_new(first_seed + seed);
	struct scene s;

	scene_open(&s, sim);
	assert_int_equal(intents_create(s.fs, NULL), 0);
	assert_int_equal(s.fs->ops->sync_dir(s.fs, NULL), 0);
	scene_close(&s);
	return sim;
}

struct model {
	uint32_t next;      /* record number */
	uint32_t committed; /* 0: none */
	uint32_t first;     /* of those written, not committed: up to next */
	bool failed;        /* a sync failed, ever: what it lost may come to
			       light at any later cut, as damage */
};

/* Is one of those in force that were written and never committed? */
static uint32_t find_written(const struct intents_file *file,
			     const struct model *m)
{
	for (uint32_t id = m->next - 1; id >= m->first; id--)
		if (record_is(file, id))
			return id;
	return 0;
}

/* Opens as a successor does and checks; NULL if that was not to be. */
static struct intents_file *open_and_check(struct scene *s, struct model *m)
{
	struct intents_file *file;
	struct err err = {0};
	bool found;
	int r = intents_open(s->fs, &store_id, &live_a, &file, &found, &err);

	if (r == -RP_ECORRUPT && m->failed) {
		m->next = UINT32_MAX;
		return NULL;
	}
	m->failed |= r == -EIO;
	if (r == -RP_EDEAD || r == -EIO)
		return NULL;
	if (r < 0)
		fail_msg("%s", err.text);
	assert_true(found || !m->committed);
	if (found && !(m->committed && record_is(file, m->committed))) {
		m->committed = find_written(file, m);
		assert_int_not_equal(m->committed, 0);
	}
	m->first = m->next;
	return file;
}

/* Writes and commits until something dies, or for some time. */
static void live_a_life(struct scene *s, struct model *m)
{
	struct intents_file *file = open_and_check(s, m);

	for (unsigned i = 0; file && i < 10; i++) {
		uint32_t id = m->next++;
		int r;

		if (write_id(file, id, NULL) < 0)
			break;
		if (chance(s->sim, 3))
			continue;
		r = file_sync(intents_sync_file(file), NULL);
		if (r == -RP_EDEAD)
			break;
		m->failed |= r < 0;
		assert_true(!m->committed || record_is(file, m->committed));
		if (r < 0)
			continue;
		intents_commit(file);
		assert_true(record_is(file, id));
		m->committed = id;
		m->first = m->next;
	}
	intents_close(file);
}

/* Lives, of which the first dies at operation N, the others anywhere.  False:
 * the first one did not get that far. */
static bool run_lives(uint64_t seed, uint64_t n, bool failures)
{
	struct model m = {.next = 1, .first = 1};
	struct scene s;
	bool died = false;

	scene_open(&s, world_make(seed * 1000 + n));
	scene_die_in(&s, n);
	for (unsigned life = 0; life < LIVES && m.next != UINT32_MAX; life++) {
		if (failures)
			scene_fail_a_sync(&s);
		live_a_life(&s, &m);
		died |= life == 0 && sim_dead(s.sim);
		scene_next_life(&s);
		scene_die_in(&s, 1 + sim_random(s.sim, 25));
	}
	scene_end(&s);
	return died;
}

static void
after_any_deaths_the_committed_or_the_written_is_in_force(void **state)
{
	scene_sweep(run_lives, false, SEEDS, DEATHS, 3);
}

static void after_failed_syncs_too(void **state)
{
	scene_sweep(run_lives, true, SEEDS, DEATHS, 3);
}

/* ---- by hand ---------------------------------------------------------- */

static struct intents_file *must_open(struct scene *s, const struct guid *live,
				      bool want_found)
{
	struct intents_file *file;
	struct err err = {0};
	bool found;

	if (intents_open(s->fs, &store_id, live, &file, &found, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(found, want_found);
	return file;
}

static void commit_id(struct intents_file *file, uint32_t id)
{
	assert_int_equal(write_id(file, id, NULL), 0);
	assert_int_equal(file_sync(intents_sync_file(file), NULL), 0);
	intents_commit(file);
}

static void refuse(struct scene *s, const char *says)
{
	struct intents_file *file = NULL;
	struct err err = {0};
	bool found;

	expect_error(intents_open(s->fs, &store_id, &live_a, &file, &found,
				  &err),
		     -RP_ECORRUPT, &err, says);
	assert_null(file);
}

static void
a_new_live_id_leaves_the_old_in_force_until_its_first_commit(void **state)
{
	struct intents_file *file;
	uint32_t count;
	struct scene s;

	scene_open(&s, world_make(1));
	file = must_open(&s, &live_a, false);
	for (uint32_t id = 1; id < 20; id++)
		commit_id(file, id);
	intents_rebind(file, &live_b);
	for (uint32_t id = 30; id < 50; id++)
		assert_int_equal(write_id(file, id, NULL), 0);
	assert_true(record_is(file, 19));
	intents_close(file);
	file = must_open(&s, &live_a, true);
	assert_true(record_is(file, 19));
	intents_rebind(file, &live_b);
	commit_id(file, 50);
	assert_true(record_is(file, 50));
	intents_close(file);
	/* The commit that names live_b did not happen: live_a's record is
	 * found, and stays found. */
	for (unsigned i = 0; i < 20; i++) {
		file = must_open(&s, &live_a, true);
		assert_true(record_is(file, 19));
		intents_close(file);
	}
	file = must_open(&s, &other_id, false);
	(void)intents_in_force(file, &count);
	assert_int_equal(count, 0);
	intents_close(file);
	scene_end(&s);
}

static void
an_uncommitted_rebound_write_is_not_committed_by_accident(void **state)
{
	struct intents_file *file;
	struct scene s;

	scene_open(&s, world_make(1));
	file = must_open(&s, &live_a, false);
	commit_id(file, 1);
	assert_int_equal(write_id(file, 2, NULL), 0);
	intents_rebind(file, &live_b);
	intents_commit(file);
	assert_true(record_is(file, 1));
	intents_close(file);
	scene_end(&s);
}

static void
more_entries_than_fit_are_refused_before_anything_is_written(void **state)
{
	struct intents_file *file;
	struct err err = {0};
	struct scene s;

	scene_open(&s, world_make(1));
	file = must_open(&s, &live_a, false);
	commit_id(file, 3);
	expect_error(intents_write(file, NULL, INTENT_ENTRIES_MAX + 1, &err),
		     -RP_ELIMIT, &err, "hot regions");
	intents_commit(file);
	assert_true(record_is(file, 3));
	intents_close(file);
	scene_end(&s);
}

/* A world with records 1 to 6 committed, in slots 1 to 6; the record that the
 * next opening will write goes to slot 7. */
static void six_records(struct scene *s)
{
	struct intents_file *file;

	scene_open(s, world_make(1));
	file = must_open(s, &live_a, false);
	for (uint32_t id = 1; id <= 6; id++)
		commit_id(file, id);
	intents_close(file);
}

static void spoil(struct scene *s, unsigned slot, uint64_t offset)
{
	scene_poke(s, "intents", "\xee", 1,
		   slot * (uint64_t)INTENT_SLOT_BYTES + offset);
}

static void a_torn_next_slot_is_a_crash(void **state)
{
	struct intents_file *file;
	struct scene s;

	six_records(&s);
	spoil(&s, 7, 600);
	file = must_open(&s, &live_a, true);
	assert_true(record_is(file, 6));
	intents_close(file);
	scene_end(&s);
}

static void two_torn_slots_are_damage(void **state)
{
	struct scene s;

	six_records(&s);
	spoil(&s, 7, 0);
	spoil(&s, 0, 0);
	refuse(&s, "2 slots are damaged");
	scene_end(&s);
}

static void a_torn_slot_that_was_not_next_is_damage(void **state)
{
	struct scene s;

	six_records(&s);
	spoil(&s, 3, 40);
	refuse(&s, "slot 3 is damaged");
	scene_end(&s);
}

static void a_record_in_another_slot_is_damage(void **state)
{
	static uint8_t buf[INTENT_SLOT_BYTES];
	struct scene s;

	six_records(&s);
	scene_peek(&s, "intents", buf, sizeof(buf), 4ULL * sizeof(buf));
	scene_poke(&s, "intents", buf, sizeof(buf), 0);
	refuse(&s, "record 4 is in slot 0");
	scene_end(&s);
}

static void a_record_of_another_store_is_damage(void **state)
{
	static uint8_t buf[INTENT_SLOT_BYTES];
	struct intent_head head = {other_id, live_a, 7, 0};
	uint32_t n = intents_encode(&head, NULL, buf);
	struct scene s;

	six_records(&s);
	scene_poke(&s, "intents", buf, n, 7ULL * INTENT_SLOT_BYTES);
	refuse(&s, "another store");
	scene_end(&s);
}

static void a_short_or_missing_file_is_damage(void **state)
{
	struct scene s;

	six_records(&s);
	scene_truncate(&s, "intents", 8ULL * INTENT_SLOT_BYTES - 1);
	refuse(&s, "should have");
	assert_int_equal(s.fs->ops->unlink(s.fs, "intents", NULL), 0);
	refuse(&s, "is not in");
	scene_end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(
		after_any_deaths_the_committed_or_the_written_is_in_force),
	    cmocka_unit_test(after_failed_syncs_too),
	    cmocka_unit_test(
		a_new_live_id_leaves_the_old_in_force_until_its_first_commit),
	    cmocka_unit_test(
		an_uncommitted_rebound_write_is_not_committed_by_accident),
	    cmocka_unit_test(
		more_entries_than_fit_are_refused_before_anything_is_written),
	    cmocka_unit_test(a_torn_next_slot_is_a_crash),
	    cmocka_unit_test(two_torn_slots_are_damage),
	    cmocka_unit_test(a_torn_slot_that_was_not_next_is_damage),
	    cmocka_unit_test(a_record_in_another_slot_is_damage),
	    cmocka_unit_test(a_record_of_another_store_is_damage),
	    cmocka_unit_test(a_short_or_missing_file_is_damage),
	};

	scene_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
