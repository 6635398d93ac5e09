/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bank on SQLite on the simulator: whatever dies, whenever, the books
 * balance and no transfer that was acknowledged is missing.
 *
 * Transfer N is a function of N alone, so that the whole state can be told
 * from how many transfers were made.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include "common/bytes.h"
#include "disk/posix.h"
#include "sim/sim.h"
#include "store/sqlite-vfs.h"

#define ACCOUNTS  8
#define TRANSFERS 7
#define SEEDS     8
#define NOTHING   (-1) /* not even the tables */

static uint64_t first_seed;

struct bank {
	struct fs *fs;
	char vfs[SQLITE_VFS_NAME_BYTES];
	sqlite3 *db;
	int acked; /* transfers, or NOTHING */
};

static int run(struct bank *bank, const char *sql)
{
	return sqlite3_exec(bank->db, sql, NULL, NULL, NULL);
}

static int number(struct bank *bank, const char *sql, int *ret_number)
{
	sqlite3_stmt *stmt = NULL;
	int r = sqlite3_prepare_v2(bank->db, sql, -1, &stmt, NULL);

	if (r == SQLITE_OK)
		r = sqlite3_step(stmt);
	if (r == SQLITE_ROW) {
		*ret_number = sqlite3_column_int(stmt, 0);
		r = SQLITE_OK;
	}
	sqlite3_finalize(stmt);
	return r;
}

/* Takes FS over. */
static int bank_open(struct bank *bank, struct fs *fs)
{
	int r;

	*bank = (struct bank){.fs = fs, .acked = NOTHING};
	assert_int_equal(sqlite_vfs_register(fs, bank->vfs, NULL), 0);
	r = sqlite3_open_v2("bank", &bank->db,
			    SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
			    bank->vfs);
	if (r != SQLITE_OK)
		return r;
	return run(bank, "PRAGMA locking_mode=EXCLUSIVE;"
			 "PRAGMA journal_mode=WAL;"
			 "PRAGMA synchronous=FULL;"
			 "PRAGMA temp_store=MEMORY;"
			 "PRAGMA wal_autocheckpoint=9;");
}

static void bank_close(struct bank *bank)
{
	assert_int_equal(sqlite3_close(bank->db), SQLITE_OK);
	sqlite_vfs_unregister(bank->vfs);
	bank->fs->ops->free(bank->fs);
}

static int transaction(struct bank *bank, const char *sql)
{
	int r = run(bank, "BEGIN IMMEDIATE");

	if (r == SQLITE_OK)
		r = run(bank, sql);
	if (r == SQLITE_OK)
		r = run(bank, "COMMIT");
	if (r != SQLITE_OK && !sqlite3_get_autocommit(bank->db))
		(void)sqlite3_exec(bank->db, "ROLLBACK", NULL, NULL, NULL);
	return r;
}

static int found(struct bank *bank)
{
	return transaction(
	    bank, "CREATE TABLE account(id INTEGER PRIMARY KEY, money INT);"
		  "CREATE TABLE paper(id INTEGER PRIMARY KEY, text BLOB);"
		  "WITH RECURSIVE n(i) AS (VALUES(0) UNION ALL"
		  " SELECT i + 1 FROM n WHERE i < 7)"
		  "INSERT INTO account SELECT i, 100 FROM n;"
		  "CREATE TABLE made(n INT); INSERT INTO made VALUES(0);");
}

static int from_of(int n)
{
	return n * 5 % ACCOUNTS;
}

static int to_of(int n)
{
	return (n * 3 + 1) % ACCOUNTS;
}

/* Also writes a page or two that must stay together with the rest. */
static int transfer(struct bank *bank, int n)
{
	char sql[512];

	(void)snprintf(sql, sizeof(sql),
		       "UPDATE account SET money = money - %d WHERE id = %d;"
		       "UPDATE account SET money = money + %d WHERE id = %d;"
		       "INSERT INTO paper VALUES(%d, zeroblob(%d));"
		       "DELETE FROM paper WHERE id = %d - 3;"
		       "UPDATE made SET n = %d;",
		       n, from_of(n), n, to_of(n), n, 1500 * n, n, n);
	return transaction(bank, sql);
}

/* Each transfer is tried until it succeeds, but no more than TRIES in all. */
static void work(struct bank *bank, int tries)
{
	while (tries--) {
		int r = bank->acked == NOTHING
			    ? found(bank)
			    : transfer(bank, bank->acked + 1);

		if (r == SQLITE_OK)
			bank->acked++;
		if (bank->acked == TRANSFERS)
			return;
	}
}

/* What the connection sees: its transfers; asserts that all belongs together.
 */
static int state_of(struct bank *bank)
{
	int tables = 0, made = 0, is = 0, papers = 0;
	char sql[80];

	assert_int_equal(number(bank, "SELECT count(*) FROM sqlite_schema",
				&tables),
			 SQLITE_OK);
	assert_true(tables == 0 || tables == 3);
	assert_int_equal(number(bank,
				"SELECT count(*) FROM "
				"pragma_integrity_check WHERE "
				"integrity_check <> 'ok'",
				&is),
			 SQLITE_OK);
	assert_int_equal(is, 0);
	if (!tables)
		return NOTHING;
	assert_int_equal(number(bank, "SELECT n FROM made", &made), SQLITE_OK);
	for (int id = 0; id < ACCOUNTS; id++) {
		int want = 100;

		for (int n = 1; n <= made; n++)
			want += n * ((to_of(n) == id) - (from_of(n) == id));
		(void)snprintf(sql, sizeof(sql),
			       "SELECT money FROM account WHERE id = %d", id);
		assert_int_equal(number(bank, sql, &is), SQLITE_OK);
		assert_int_equal(is, want);
	}
	assert_int_equal(number(bank, "SELECT count(*) FROM paper", &papers),
			 SQLITE_OK);
	assert_int_equal(papers, MIN(made, 3));
	return made;
}

static struct sim *world(uint64_t seed)
{
	assert_int_equal(sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SEED,
					      (int)(first_seed + seed + 1),
					      NULL),
			 SQLITE_OK);
	return sim_new(first_seed + seed);
}

/* From opening to closing, with ACKED transfers acknowledged before; returns
 * how many are now. */
static int day(struct sim *sim, int acked, int tries)
{
	struct bank bank;
	int made = NOTHING, r;

	r = bank_open(&bank, sim_fs(sim, "store", false));
	if (r == SQLITE_OK)
		r = number(&bank, "SELECT n FROM made", &made);
	if (r == SQLITE_OK || r == SQLITE_ERROR) { /* no such table */
		assert_in_range(made - acked, 0, 1);
		bank.acked = acked = made;
		work(&bank, tries);
		acked = bank.acked;
	}
	bank_close(&bank);
	return acked;
}

/* The world must be well. */
static void audit(struct sim *sim, int acked)
{
	struct bank bank;
	int made;

	assert_int_equal(bank_open(&bank, sim_fs(sim, "store", false)),
			 SQLITE_OK);
	made = state_of(&bank);
	bank_close(&bank);
	if (made != acked && made != acked + 1)
		fail_msg("%d transfers were acknowledged, %d are there", acked,
			 made);
}

static void say(const char *what, uint64_t seed, uint64_t n, unsigned mode)
{
	/* Only read when something fails. */
	(void)fprintf(stderr, "%s: SEED=%llu operation %llu mode %u\n", what,
		      (unsigned long long)seed, (unsigned long long)n, mode);
}

static struct {
	const char *what;
	uint64_t seed;
	uint64_t n;
	unsigned mode;
} now;

static int tell(void **state)
{
	if (now.what)
		say(now.what, now.seed + first_seed, now.n, now.mode);
	now.what = NULL;
	return 0;
}

static void at(const char *what, uint64_t seed, uint64_t n, unsigned mode)
{
	now.what = what;
	now.seed = seed;
	now.n = n;
	now.mode = mode;
}

static void passed(uint64_t count)
{
	print_message("%s: %llu tried\n", now.what, (unsigned long long)count);
	now.what = NULL;
}

/* Dies at operation N; every other time once more while it recovers. */
static bool die_once(uint64_t seed, uint64_t n, enum sim_death death,
		     enum sim_cut cut)
{
	struct sim *sim = world(seed);
	bool died;
	int acked;

	sim_die_at(sim, n, death, cut);
	acked = day(sim, NOTHING, TRANSFERS + 1);
	died = sim_dead(sim);
	if (!died)
		sim_power_cut(sim, SIM_CUT_DROP);
	sim_reboot(sim);
	if (seed % 2) {
		sim_die_at(sim, 1 + sim_random(sim, 15), death, cut);
		(void)day(sim, acked, 0);
		if (!sim_dead(sim))
			sim_kill(sim);
		sim_reboot(sim);
	}
	audit(sim, acked);
	if (death == SIM_KILL) {
		sim_power_cut(sim, SIM_CUT_DROP);
		sim_reboot(sim);
		audit(sim, acked);
	}
	sim_free(sim);
	return died;
}

static void a_power_cut_at_any_operation_loses_no_transfer(void **state)
{
	uint64_t count = 0;

	for (unsigned cut = 0; cut < SIM_CUTS; cut++) {
		for (uint64_t seed = 0; seed < SEEDS; seed++) {
			uint64_t n = 0;

			do {
				at("power cuts", seed, ++n, cut);
				count++;
			} while (die_once(seed, n, SIM_CUT, cut));
			assert_true(n > 50);
		}
	}
	passed(count);
}

static void a_kill_at_any_operation_loses_no_transfer(void **state)
{
	uint64_t count = 0;

	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		uint64_t n = 0;

		do {
			at("kills", seed, ++n, 0);
			count++;
		} while (die_once(seed, n, SIM_KILL, SIM_CUT_RANDOM));
	}
	passed(count);
}

/* Transfers go on where they can, on a second and third day; then the power
 * fails. */
static bool fail_once(uint64_t seed, uint64_t n, int error, bool sticky)
{
	struct sim *sim = world(seed);
	bool struck;
	int acked = NOTHING;

	sim_fail(sim, SIM_ALL & ~(unsigned)(SIM_READ | SIM_OPEN | SIM_MAP),
		 (unsigned)n, error, sticky, NULL);
	for (int i = 0; i < 3 && acked < TRANSFERS; i++)
		acked = day(sim, acked, TRANSFERS);
	struck = sim_failed(sim) > 0;
	if (!struck)
		assert_int_equal(acked, TRANSFERS);
	sim_fail_none(sim);
	sim_power_cut(sim, (enum sim_cut)sim_random(sim, SIM_CUTS));
	sim_reboot(sim);
	audit(sim, acked);
	sim_free(sim);
	return struck;
}

static void a_failure_of_any_operation_is_never_a_success(void **state)
{
	static const int errors[] = {EIO, ENOSPC};
	uint64_t count = 0;

	for (unsigned mode = 0; mode < 4; mode++) {
		for (uint64_t seed = 0; seed < SEEDS; seed++) {
			uint64_t n = 0;

			do {
				at("failures", seed, ++n, mode);
				count++;
			} while (
			    fail_once(seed, n, errors[mode / 2], mode % 2));
		}
	}
	passed(count);
}

static void a_failure_to_read_is_never_a_success(void **state)
{
	uint64_t count = 0, n = 0;
	bool struck;

	do {
		struct sim *sim = world(n);
		int acked = NOTHING;

		at("failing reads", 0, ++n, 0);
		sim_fail(sim, SIM_READ | SIM_OPEN, (unsigned)n, EIO, false,
			 NULL);
		for (int i = 0; i < 3 && acked < TRANSFERS; i++)
			acked = day(sim, acked, TRANSFERS);
		struck = sim_failed(sim) > 0;
		sim_fail_none(sim);
		audit(sim, acked);
		sim_free(sim);
		count++;
	} while (struck);
	passed(count);
}

/* V2: sync number N fails and the program dies of it; its successor finds in
 * the cache what is not on the disk, and the power fails while it recovers. */
static bool fail_kill_cut(uint64_t seed, uint64_t n, uint64_t cut_at)
{
	struct sim *sim = world(seed);
	struct bank bank;
	bool struck;
	int acked = NOTHING;

	sim_fail(sim, SIM_SYNC, (unsigned)n, EIO, false, NULL);
	if (bank_open(&bank, sim_fs(sim, "store", false)) == SQLITE_OK)
		while (bank.acked < TRANSFERS && !sim_failed(sim))
			work(&bank, 1);
	acked = bank.acked;
	struck = sim_failed(sim) > 0;
	sim_fail_none(sim);
	sim_kill(sim);
	bank_close(&bank);
	sim_reboot(sim);
	sim_die_at(sim, cut_at, SIM_CUT, SIM_CUT_RANDOM);
	(void)day(sim, acked, 0);
	if (!sim_dead(sim))
		sim_power_cut(sim, SIM_CUT_DROP);
	sim_reboot(sim);
	audit(sim, acked);
	sim_free(sim);
	return struck;
}

static void what_a_failed_sync_left_in_the_cache_is_not_trusted(void **state)
{
	uint64_t count = 0, n = 0;
	bool struck;

	do {
		n++;
		struck = false;
		for (uint64_t cut_at = 1; cut_at < 20; cut_at++) {
			for (uint64_t seed = 0; seed < SEEDS; seed++) {
				at("failed syncs", seed, n, (unsigned)cut_at);
				struck |= fail_kill_cut(seed, n, cut_at);
				count++;
			}
		}
	} while (struck);
	passed(count);
}

static void a_full_file_system_is_named_and_can_be_cleared(void **state)
{
	struct sim *sim = world(1);
	struct fs *fs = sim_fs(sim, "store", false);
	struct bank bank;
	struct err err = {0};
	int r = SQLITE_OK;

	assert_int_equal(bank_open(&bank, fs), SQLITE_OK);
	assert_int_equal(found(&bank), SQLITE_OK);
	assert_int_equal(sqlite_vfs_last_error(bank.vfs, &err), 0);
	assert_int_equal(err.code, 0);
	bank.acked = 0;
	sim_limit(sim, "store", 20 * 4096);
	while (r == SQLITE_OK && bank.acked < 20) {
		r = transfer(&bank, bank.acked + 1);
		bank.acked += r == SQLITE_OK;
	}
	assert_int_equal(r, SQLITE_FULL);
	assert_int_equal(sqlite_vfs_last_error(bank.vfs, &err), -ENOSPC);
	assert_non_null(strstr(err.text, "store/bank-wal"));
	assert_int_equal(state_of(&bank), bank.acked);
	sim_limit(sim, "store", UINT64_MAX);
	assert_int_equal(transfer(&bank, bank.acked + 1), SQLITE_OK);
	bank_close(&bank);
	sim_free(sim);
}

static void errors_of_the_seam_are_remembered(void **state)
{
	struct sim *sim = world(1);
	struct bank bank;
	struct err err = {0};
	sqlite3 *db = NULL;

	assert_int_equal(bank_open(&bank, sim_fs(sim, "store", false)),
			 SQLITE_OK);
	assert_int_equal(found(&bank), SQLITE_OK);
	sim_fail(sim, SIM_SYNC, 1, EIO, false, "bank-wal");
	assert_int_equal(transfer(&bank, 1), SQLITE_IOERR);
	assert_int_equal(sqlite3_extended_errcode(bank.db), SQLITE_IOERR_FSYNC);
	assert_int_equal(sqlite_vfs_last_error(bank.vfs, &err), -EIO);
	assert_string_equal(err.text,
			    "sync 'store/bank-wal': Input/output error");
	assert_int_equal(sqlite3_open_v2("none", &db, SQLITE_OPEN_READWRITE,
					 bank.vfs),
			 SQLITE_CANTOPEN);
	sqlite3_close(db);
	assert_int_equal(sqlite_vfs_last_error(bank.vfs, &err), -ENOENT);
	assert_int_equal(sqlite_vfs_last_error("unix", &err), 0);
	assert_int_equal(sqlite_vfs_last_error("no such", &err), 0);
	bank_close(&bank);
	sim_free(sim);
}

static void files_without_a_name_are_refused(void **state)
{
	struct sim *sim = world(1);
	struct bank bank;
	sqlite3 *db = NULL;

	assert_int_equal(bank_open(&bank, sim_fs(sim, "store", false)),
			 SQLITE_OK);
	assert_int_equal(
	    sqlite3_open_v2("", &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
			    bank.vfs),
	    SQLITE_OK); /* not opened before it is used */
	assert_int_equal(sqlite3_exec(db,
				      "PRAGMA cache_size=1;"
				      "PRAGMA cache_spill=1;"
				      "CREATE TABLE t(x);"
				      "INSERT INTO t VALUES(zeroblob(99999))",
				      NULL, NULL, NULL),
			 SQLITE_CANTOPEN);
	sqlite3_close(db);
	bank_close(&bank);
	sim_free(sim);
}

static struct fs *real_fs(const char *path)
{
	struct fs *fs = NULL;
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(posix_fs_new(fd, "store", &fs, NULL), 0);
	return fs;
}

static void on_a_real_file_system_it_works_as_well(void **state)
{
	const char *tmp = getenv("TMPDIR");
	char path[256], name[300];
	struct bank bank;
	struct err err = {0};

	(void)snprintf(path, sizeof(path), "%s/sqlite-vfs-XXXXXX",
		       tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(path));
	assert_int_equal(bank_open(&bank, real_fs(path)), SQLITE_OK);
	work(&bank, TRANSFERS + 1);
	assert_int_equal(bank.acked, TRANSFERS);
	bank_close(&bank);
	assert_int_equal(bank_open(&bank, real_fs(path)), SQLITE_OK);
	assert_int_equal(state_of(&bank), TRANSFERS);
	assert_int_equal(sqlite_vfs_last_error(bank.vfs, &err), 0);
	bank_close(&bank);
	(void)snprintf(name, sizeof(name), "%s/bank", path);
	assert_int_equal(unlink(name), 0);
	assert_int_equal(rmdir(path), 0); /* the log was removed at the end */
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, NULL, tell)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_full_file_system_is_named_and_can_be_cleared),
	    TEST(errors_of_the_seam_are_remembered),
	    TEST(files_without_a_name_are_refused),
	    TEST(on_a_real_file_system_it_works_as_well),
	    TEST(a_power_cut_at_any_operation_loses_no_transfer),
	    TEST(a_kill_at_any_operation_loses_no_transfer),
	    TEST(a_failure_of_any_operation_is_never_a_success),
	    TEST(a_failure_to_read_is_never_a_success),
	    TEST(what_a_failed_sync_left_in_the_cache_is_not_trusted),
	};
	const char *seed = getenv("SEED");

	first_seed = seed ? strtoull(seed, NULL, 0) : 1;
	print_message("SEED=%llu\n", (unsigned long long)first_seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
