/* SPDX-License-Identifier: Apache-2.0 */
/* The catalogue's rows of logs, their damage, and versions, under cuts. */
#include "scene.h"

#include <sqlite3.h>
#include <string.h>

#include "store/catalogue.h"
#include "store/sqlite-vfs.h"

static const struct guid point_a = {{0xaa}};
static const struct guid point_b = {{0xbb}};

/* The rows as text, to compare. */
struct story {
	char text[1024];
	size_t at;
	unsigned systems, disks, generations, points, parts;
};

__attribute__((format(printf, 2, 3))) static void tell(struct story *story,
						       const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	story->at +=
	    (size_t)vsnprintf(story->text + story->at,
			      sizeof(story->text) - story->at, fmt, ap);
	va_end(ap);
	assert_true(story->at < sizeof(story->text));
}

static void see_system(void *arg, const struct system_row *row)
{
	((struct story *)arg)->systems++;
}

static int see_disk(void *arg, const struct disk_row *row)
{
	((struct story *)arg)->disks++;
	return 0;
}

static int see_generation(void *arg, const struct generation_row *row)
{
	((struct story *)arg)->generations++;
	return 0;
}

static int see_point(void *arg, const struct point_row *row)
{
	((struct story *)arg)->points++;
	tell(arg, "%02x:%u", row->id.b[0], row->type);
	if (row->invalid[0])
		tell(arg, "(%s)", row->invalid);
	tell(arg, " ");
	return 0;
}

static int see_part(void *arg, const struct log_part_row *row)
{
	if (++((struct story *)arg)->parts <= 8)
		tell(arg, "%02x>%02x@%llu ", row->origin.b[0], row->point.b[0],
		     (unsigned long long)row->position);
	return 0;
}

static int see_lost(void *arg, const struct log_lost_row *row)
{
	tell(arg, "-%02x(%s) ", row->point.b[0], row->reason);
	return 0;
}

static void see_limit(void *arg, uint64_t bytes)
{
	tell(arg, "limit %llu", (unsigned long long)bytes);
}

static const struct catalogue_reader everything = {
    see_system, see_disk, see_generation, see_point,
    see_part,   see_lost, see_limit,
};

static int read_story(struct catalogue *c, struct story *story, struct err *err)
{
	memset(story, 0, sizeof(*story));
	return catalogue_read(c, &everything, story, err);
}

static void story_is(struct catalogue *c, const char *text)
{
	struct story story;

	assert_int_equal(read_story(c, &story, NULL), 0);
	assert_int_equal(story.systems, 1);
	assert_int_equal(story.disks, 1);
	assert_int_equal(story.generations, 1);
	assert_string_equal(story.text, text);
}

static void begin(struct catalogue *c)
{
	assert_int_equal(catalogue_begin(c, NULL), 0);
}

static void commit(struct catalogue *c)
{
	bool unknown;

	assert_int_equal(catalogue_commit(c, &unknown, NULL), 0);
}

static void put_part(struct catalogue *c, uint8_t origin,
		     const struct guid *point, uint64_t position)
{
	struct log_part_row row = {{{origin}}, *point, position};

	assert_int_equal(catalogue_put_log_part(c, &row, NULL), 0);
}

static void put_lost(struct catalogue *c, const struct guid *point,
		     const char *reason)
{
	struct log_lost_row row = {.point = *point};

	(void)snprintf(row.reason, sizeof(row.reason), "%s", reason);
	assert_int_equal(catalogue_put_log_lost(c, &row, NULL), 0);
}

static void put_point(struct catalogue *c, const struct guid *id,
		      uint64_t order)
{
	struct point_row row = {.id = *id,
				.order = order,
				.type = POINT_LOG,
				.consistency = CONSISTENCY_CRASH,
				.disks = 1};

	assert_int_equal(catalogue_put_point(c, &row, NULL), 0);
}

/* A definition and two log-based points. */
static struct catalogue *new_catalogue(struct scene *s)
{
	struct system_row system = {.store = store_id};
	struct disk_row disk = {.id = "d"};
	struct generation_row generation = {.generation = 1, .disks = 1};
	struct catalogue *c;

	scene_open(s, sim_new(first_seed));
	assert_int_equal(catalogue_create(s->fs, &c, NULL), 0);
	begin(c);
	assert_int_equal(catalogue_put_system(c, &system, NULL), 0);
	assert_int_equal(catalogue_put_disk(c, &disk, NULL), 0);
	assert_int_equal(catalogue_put_generation(c, &generation, NULL), 0);
	put_point(c, &point_a, 1);
	put_point(c, &point_b, 2);
	commit(c);
	return c;
}

/* Another program's statements. */
static void sql(struct scene *s, const char *text)
{
	char vfs[32], *what = NULL;
	sqlite3 *db;

	assert_int_equal(sqlite_vfs_register(s->fs, vfs, NULL), 0);
	assert_int_equal(sqlite3_open_v2(CATALOGUE_NAME, &db,
					 SQLITE_OPEN_READWRITE, vfs),
			 SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "PRAGMA locking_mode=EXCLUSIVE", NULL,
				      NULL, NULL),
			 SQLITE_OK);
	if (sqlite3_exec(db, text, NULL, NULL, &what) != SQLITE_OK)
		fail_msg("%s: %s", text, what);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
	sqlite_vfs_unregister(vfs);
}

static struct catalogue *opened(struct scene *s)
{
	struct err err = {0};
	struct catalogue *c;

	if (catalogue_open(s->fs, &c, &err) < 0)
		fail_msg("%s", err.text);
	return c;
}

/* ---- rows ------------------------------------------------------------- */

static void rows_of_logs_come_back_by_position(void **state)
{
	struct catalogue_reader nobody = {0};
	struct scene s;
	struct catalogue *c = new_catalogue(&s);

	begin(c);
	put_part(c, 0xb0, &point_b, INT64_MAX);
	put_part(c, 0xa1, &point_a, 7);
	put_part(c, 0xa0, &point_a, 0);
	assert_int_equal(catalogue_put_log_limit(c, INT64_MAX, NULL), 0);
	commit(c);
	begin(c);
	put_part(c, 0x99, &point_a, 9);
	put_lost(c, &point_a, "not to be");
	assert_int_equal(catalogue_drop_log_limit(c, NULL), 0);
	catalogue_cancel(c);
	c = catalogue_close(c);
	c = opened(&s);
	story_is(c, "aa:0 bb:0 a0>aa@0 a1>aa@7 b0>bb@9223372036854775807 "
		    "limit 9223372036854775807");
	begin(c);
	put_part(c, 0xa1, &point_b, 8);
	assert_int_equal(
	    catalogue_drop_log_part(c, &(struct guid){{0xa0}}, NULL), 0);
	assert_int_equal(
	    catalogue_drop_log_part(c, &(struct guid){{0xa0}}, NULL), 0);
	put_lost(c, &point_a, "first");
	put_lost(c, &point_a, "second");
	assert_int_equal(catalogue_put_log_limit(c, 1, NULL), 0);
	commit(c);
	story_is(c, "aa:0 bb:0 a1>bb@8 b0>bb@9223372036854775807 -aa(second) "
		    "limit 1");
	begin(c);
	assert_int_equal(catalogue_drop_log_lost(c, &point_a, NULL), 0);
	assert_int_equal(catalogue_drop_log_limit(c, NULL), 0);
	commit(c);
	story_is(c, "aa:0 bb:0 a1>bb@8 b0>bb@9223372036854775807 ");
	assert_int_equal(catalogue_read(c, &nobody, NULL, NULL), 0);
	catalogue_close(c);
	scene_end(&s);
}

static void a_reason_keeps_all_of_its_bytes(void **state)
{
	char reason[REASON_BYTES], wanted[REASON_BYTES + 32];
	struct scene s;
	struct catalogue *c = new_catalogue(&s);

	memset(reason, 'x', sizeof(reason) - 1);
	reason[sizeof(reason) - 1] = '\0';
	begin(c);
	put_lost(c, &point_a, reason);
	commit(c);
	(void)snprintf(wanted, sizeof(wanted), "aa:0 bb:0 -aa(%s) ", reason);
	story_is(c, wanted);
	catalogue_close(c);
	scene_end(&s);
}

/* ---- damage ----------------------------------------------------------- */

static void is_damaged(struct catalogue *c, const char *says)
{
	struct err err = {0};
	struct story story;
	uint64_t bytes;

	expect_error(read_story(c, &story, &err), -RP_ECORRUPT, &err, says);
	expect_error(catalogue_verify(c, &bytes, &err), -RP_ECORRUPT, &err,
		     says);
}

static void each_column_of_a_row_is_guarded(void **state)
{
	static const struct {
		const char *table, *change;
	} damages[] = {
	    {"log_part", "origin = x'a1000000000000000000000000000000'"},
	    {"log_part", "origin = x'a000000000000000000000000000'"},
	    {"log_part", "point = x'bb000000000000000000000000000001'"},
	    {"log_part", "point = 'text of 16 bytes'"},
	    {"log_part", "point = CAST(point AS TEXT)"},
	    {"log_part", "position = 6"},
	    {"log_part", "position = 5.5"},
	    {"log_part", "crc = crc + 1"},
	    {"log_part", "crc = crc + 4294967296"},
	    {"log_lost", "point = x'aa000000000000000000000000000001'"},
	    {"log_lost", "reason = 'whx'"},
	    {"log_lost", "reason = CAST(reason AS BLOB)"},
	    {"log_lost", "crc = crc - 1"},
	    {"log_limit", "bytes = 4097"},
	    {"log_limit", "crc = 0"},
	};
	struct scene s;

	for (size_t i = 0; i < ARRAY_SIZE(damages); i++) {
		struct catalogue *c = new_catalogue(&s);
		char text[160], says[64];

		begin(c);
		put_part(c, 0xb0, &point_b, 5);
		put_lost(c, &point_a, "why");
		assert_int_equal(catalogue_put_log_limit(c, 4096, NULL), 0);
		commit(c);
		story_is(c, "aa:0 bb:0 b0>bb@5 -aa(why) limit 4096");
		c = catalogue_close(c);
		(void)snprintf(text, sizeof(text), "UPDATE %s SET %s",
			       damages[i].table, damages[i].change);
		sql(&s, text);
		c = opened(&s);
		(void)snprintf(says, sizeof(says), "a row of table '%s'",
			       damages[i].table);
		is_damaged(c, says);
		catalogue_close(c);
		scene_end(&s);
	}
}

/* Without it the point would pass for one of which something is known. */
static void why_a_point_is_invalid_cannot_be_lost(void **state)
{
	static const struct {
		const char *change, *says;
	} damages[] = {
	    {"DELETE FROM point_invalid", "lacks why it is invalid"},
	    {"UPDATE point_invalid SET point = x'dd000000000000000000000000000"
	     "001'",
	     "lacks why it is invalid"},
	    {"UPDATE point_invalid SET reason = 'whx'", "'point_invalid'"},
	    {"UPDATE point_invalid SET crc = crc + 1", "'point_invalid'"},
	    {"UPDATE point SET snapshot = 0", "a row of table 'point'"},
	    {"UPDATE point SET snapshot = 3", "a row of table 'point'"},
	    {"INSERT INTO point_invalid VALUES (x'dd000000000000000000000000000"
	     "001','why',0)",
	     "is no point"},
	};
	struct point_row row = {.id = {{0xcc}},
				.order = 9,
				.type = POINT_RCT,
				.consistency = CONSISTENCY_CRASH,
				.invalid = "why"};
	struct scene s;

	for (size_t i = 0; i < ARRAY_SIZE(damages); i++) {
		struct catalogue *c = new_catalogue(&s);

		begin(c);
		assert_int_equal(catalogue_put_point(c, &row, NULL), 0);
		commit(c);
		story_is(c, "aa:0 bb:0 cc:1(why) ");
		c = catalogue_close(c);
		sql(&s, damages[i].change);
		c = opened(&s);
		is_damaged(c, damages[i].says);
		catalogue_close(c);
		scene_end(&s);
	}
}

static void a_point_goes_with_why_it_is_invalid(void **state)
{
	struct point_row row = {.id = {{0xcc}},
				.order = 9,
				.type = POINT_RCT,
				.consistency = CONSISTENCY_CRASH,
				.invalid = "why"};
	struct scene s;
	struct catalogue *c = new_catalogue(&s);

	begin(c);
	assert_int_equal(catalogue_put_point(c, &row, NULL), 0);
	(void)strcpy(row.invalid, "for another reason");
	assert_int_equal(catalogue_put_point(c, &row, NULL), 0);
	commit(c);
	story_is(c, "aa:0 bb:0 cc:1(for another reason) ");
	begin(c);
	assert_int_equal(catalogue_drop_point(c, &row.id, NULL), 0);
	commit(c);
	story_is(c, "aa:0 bb:0 ");
	catalogue_close(c);
	scene_end(&s);
}

/* What a row of ours would say, checksum and all. */
static void values_out_of_bounds_are_damage(void **state)
{
	struct scene s;
	struct catalogue *c = new_catalogue(&s);

	begin(c);
	put_part(c, 0xa0, &point_a, (uint64_t)INT64_MAX + 1);
	is_damaged(c, "log_part");
	catalogue_cancel(c);
	begin(c);
	assert_int_equal(catalogue_put_log_limit(c, 0, NULL), 0);
	is_damaged(c, "log_limit");
	catalogue_cancel(c);
	begin(c);
	put_part(c, 0xa0, &point_a, 5);
	put_part(c, 0xb0, &point_b, 5);
	is_damaged(c, "have position 5");
	catalogue_cancel(c);
	story_is(c, "aa:0 bb:0 ");
	catalogue_close(c);
	scene_end(&s);
}

static void more_parts_than_there_may_be_are_damage(void **state)
{
	struct log_part_row row = {.point = {{0xaa}}};
	struct story story;
	struct scene s;
	struct catalogue *c = new_catalogue(&s);

	begin(c);
	while (row.position < LOG_PARTS_MAX) {
		memcpy(row.origin.b, &row.position, sizeof(row.position));
		assert_int_equal(catalogue_put_log_part(c, &row, NULL), 0);
		row.position++;
	}
	commit(c);
	assert_int_equal(read_story(c, &story, NULL), 0);
	assert_int_equal(story.parts, LOG_PARTS_MAX);
	begin(c);
	memcpy(row.origin.b, &row.position, sizeof(row.position));
	assert_int_equal(catalogue_put_log_part(c, &row, NULL), 0);
	is_damaged(c, "more than 1024");
	catalogue_cancel(c);
	catalogue_close(c);
	scene_end(&s);
}

/* ---- versions --------------------------------------------------------- */

static void as_version_2(struct scene *s)
{
	catalogue_close(new_catalogue(s));
	sql(s,
	    "BEGIN; DROP TABLE log_part; DROP TABLE log_lost;"
	    "DROP TABLE log_limit; DROP TABLE point_invalid; PRAGMA user_version=2; COMMIT");
}

static void can_be_used(struct scene *s)
{
	struct catalogue *c = opened(s);

	story_is(c, "aa:0 bb:0 ");
	begin(c);
	put_part(c, 0xa0, &point_a, 1);
	put_lost(c, &point_b, "why");
	assert_int_equal(catalogue_put_log_limit(c, 5, NULL), 0);
	commit(c);
	c = catalogue_close(c);
	c = opened(s);
	story_is(c, "aa:0 bb:0 a0>aa@1 -bb(why) limit 5");
	catalogue_close(c);
}

static bool cut_upgrade_at(uint64_t n, enum sim_death kind, enum sim_cut cut)
{
	struct err err = {0};
	struct catalogue *c;
	struct scene s;
	bool died;
	int r;

	as_version_2(&s);
	sim_die_at(s.sim, sim_ops(s.sim) + n, kind, cut);
	r = catalogue_open(s.fs, &c, &err);
	if (r == 0)
		catalogue_close(c);
	died = sim_dead(s.sim);
	assert_true(r == 0 || died);
	scene_next_life(&s);
	can_be_used(&s);
	scene_end(&s);
	return died;
}

static void version_2_becomes_3_or_stays_whatever_happens(void **state)
{
	unsigned deaths = 0;

	for (unsigned kind = 0; kind <= SIM_CUTS; kind++)
		for (uint64_t n = 1;
		     cut_upgrade_at(n, kind < SIM_CUTS ? SIM_CUT : SIM_KILL,
				    (enum sim_cut)(kind % SIM_CUTS));
		     n++)
			deaths++;
	print_message("%u deaths\n", deaths);
	assert_true(deaths > 5 * SIM_CUTS);
}

static void no_room_for_version_3_leaves_version_2(void **state)
{
	struct err err = {0};
	struct catalogue *c;
	struct scene s;

	as_version_2(&s);
	sim_fail(s.sim, SIM_WRITE, 1, ENOSPC, true, "catalogue*");
	assert_int_equal(catalogue_open(s.fs, &c, &err), -RP_ENOROOM);
	sim_fail_none(s.sim);
	sim_fail(s.sim, SIM_SYNC, 1, EIO, true, "catalogue*");
	assert_int_equal(catalogue_open(s.fs, &c, &err), -RP_EIOFAIL);
	sim_fail_none(s.sim);
	can_be_used(&s);
	scene_end(&s);
}

static void other_versions_are_refused_and_left_alone(void **state)
{
	static const char *const others[] = {"1", "4", "77"};
	struct scene s;

	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		char text[64], says[64];
		struct catalogue *c;

		as_version_2(&s);
		(void)snprintf(text, sizeof(text), "PRAGMA user_version=%s",
			       others[i]);
		(void)snprintf(says, sizeof(says), "has version %s;",
			       others[i]);
		sql(&s, text);
		for (unsigned k = 0; k < 2; k++) {
			struct err err = {0};

			expect_error(catalogue_open(s.fs, &c, &err),
				     -RP_EVERSION, &err, says);
		}
		scene_end(&s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(rows_of_logs_come_back_by_position),
	    cmocka_unit_test(a_reason_keeps_all_of_its_bytes),
	    cmocka_unit_test(each_column_of_a_row_is_guarded),
	    cmocka_unit_test(values_out_of_bounds_are_damage),
	    cmocka_unit_test(why_a_point_is_invalid_cannot_be_lost),
	    cmocka_unit_test(a_point_goes_with_why_it_is_invalid),
	    cmocka_unit_test(more_parts_than_there_may_be_are_damage),
	    cmocka_unit_test(version_2_becomes_3_or_stays_whatever_happens),
	    cmocka_unit_test(no_room_for_version_3_leaves_version_2),
	    cmocka_unit_test(other_versions_are_refused_and_left_alone),
	};

	scene_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
