/* SPDX-License-Identifier: Apache-2.0 */
/* The files of logs: names, what is refused, what a death leaves. */
#include "scene.h"

#include <stdatomic.h>
#include <string.h>

static const struct guid point_a = {{0xc1}};
static const struct guid point_b = {{0xc2}};

static struct sidecar_head head_of(const struct guid *point, uint32_t disk)
{
	return (struct sidecar_head){.store = store_id,
				     .log = live_a,
				     .point = *point,
				     .bytes = MIB(1),
				     .disk = disk};
}

static struct log_table_head table_of(const struct guid *point, uint32_t disk)
{
	return (struct log_table_head){.store = store_id,
				       .point = *point,
				       .log = live_a,
				       .boot = live_b,
				       .slots = 16,
				       .disk = disk};
}

static void begin(struct scene *s)
{
	scene_open(s, sim_new(first_seed));
}

static void end(struct scene *s)
{
	scene_close(s);
	sim_free(s->sim);
}

static void make(struct scene *s, const struct guid *point, uint32_t disk)
{
	struct sidecar_head head = head_of(point, disk);
	struct log_table_head table = table_of(point, disk);
	struct log_files files;
	struct log_table t;

	assert_int_equal(
	    log_files_create(s->fs, &head, "first", 5, &files, NULL), 0);
	assert_int_equal(log_table_create(s->memory, &table, LOG_TABLE_IN_FORCE,
					  &t, NULL),
			 0);
	log_files_close(&files);
	log_table_close(&t);
}

static void put(struct fs *fs, const char *name)
{
	struct file *file;

	assert_int_equal(
	    fs_open(fs, name, FILE_WRITE | FILE_CREATE, &file, NULL), 0);
	file_close(file);
}

static int count(void *arg, const struct guid *point, uint32_t disk)
{
	unsigned *n = arg;

	assert_true(guid_equal(point, &point_a) || guid_equal(point, &point_b));
	assert_true(disk == 0 || disk == 12);
	(*n)++;
	return 0;
}

static unsigned walked(struct fs *fs)
{
	unsigned n = 0;

	assert_int_equal(log_walk(fs, count, &n, NULL), 0);
	return n;
}

static void logs_are_found_by_their_names_alone(void **state)
{
	static const char *const others[] = {
	    "log-c1000000-0000-0000-0000-000000000000-0.hrx",
	    "log-c1000000-0000-0000-0000-000000000000-00.hrl",
	    "log-C1000000-0000-0000-0000-000000000000-0.hrl",
	    "log-c1000000-0000-0000-0000-000000000000-.hrl",
	    "log-c1000000-0000-0000-0000-000000000000-0.hrl.side",
	    "log-c1000000-0000-0000-0000-00000000000-0.hrl",
	    "log-",
	    "log",
	    "new-log-0",
	    "xlog-0.hrl"};
	char name[LOG_NAME_BYTES];
	struct scene s;

	begin(&s);
	log_name(LOG_SIDE, &point_a, 12, name);
	assert_string_equal(name,
			    "log-c1000000-0000-0000-0000-000000000000-12.side");
	make(&s, &point_a, 0);
	make(&s, &point_a, 12);
	make(&s, &point_b, 0);
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		put(s.fs, others[i]);
	assert_int_equal(walked(s.fs), 6);
	assert_int_equal(walked(s.memory), 3);
	log_unlink(s.fs, s.memory, &point_a, 12);
	log_unlink(s.fs, s.memory, &point_a, 12);
	assert_int_equal(walked(s.fs), 4);
	assert_int_equal(walked(s.memory), 2);
	log_unlink(s.fs, NULL, &point_a, 0);
	assert_int_equal(walked(s.fs), 2);
	assert_int_equal(walked(s.memory), 2);
	end(&s);
}

static void refuse(struct scene *s, const struct guid *store,
		   const struct guid *point, uint32_t disk, int code,
		   const char *says)
{
	struct log_files files;
	struct err err = {0};

	assert_int_equal(
	    log_files_open(s->fs, store, point, disk, &files, &err), code);
	assert_non_null(strstr(err.text, says));
}

/* The sidecar of (FROM, FROM_DISK) under the name of (TO, TO_DISK). */
static void rename_side(struct scene *s, const struct guid *from,
			uint32_t from_disk, const struct guid *to,
			uint32_t to_disk)
{
	char old[LOG_NAME_BYTES], new[LOG_NAME_BYTES];

	log_name(LOG_SIDE, from, from_disk, old);
	log_name(LOG_SIDE, to, to_disk, new);
	assert_int_equal(s->fs->ops->rename(s->fs, old, new, NULL), 0);
}

static void a_foreign_sidecar_is_refused(void **state)
{
	struct log_files files;
	struct scene s;

	begin(&s);
	refuse(&s, &store_id, &point_a, 0, -ENOENT, "log-c1");
	make(&s, &point_a, 0);
	assert_int_equal(
	    log_files_open(s.fs, &store_id, &point_a, 0, &files, NULL), 0);
	assert_true(guid_equal(&files.head.log, &live_a));
	log_files_close(&files);
	refuse(&s, &other_id, &point_a, 0, -RP_ECORRUPT, "another store");
	rename_side(&s, &point_a, 0, &point_b, 0);
	refuse(&s, &store_id, &point_b, 0, -RP_ECORRUPT, "another point");
	rename_side(&s, &point_b, 0, &point_a, 12);
	refuse(&s, &store_id, &point_a, 12, -RP_ECORRUPT, "another disk");
	end(&s);
}

static void refuse_table(struct scene *s, const struct log_table_head *head,
			 const char *says)
{
	struct log_table table;
	struct err err = {0};

	assert_int_equal(log_table_open(s->memory, head, &table, &err),
			 -RP_ECORRUPT);
	assert_non_null(strstr(err.text, says));
}

static void a_foreign_table_is_refused(void **state)
{
	struct log_table_head head = table_of(&point_a, 0), other;
	struct log_table table;
	struct scene s;

	begin(&s);
	assert_int_equal(log_table_open(s.memory, &head, &table, NULL),
			 -ENOENT);
	make(&s, &point_a, 0);
	other = head;
	other.store = other_id;
	refuse_table(&s, &other, "another store");
	other = head;
	other.log = other_id;
	refuse_table(&s, &other, "another log");
	other = head;
	other.boot = other_id;
	refuse_table(&s, &other, "another boot");
	other = head;
	other.slots = 17;
	refuse_table(&s, &other, "another number");
	assert_int_equal(log_table_open(s.memory, &head, &table, NULL), 0);
	assert_int_equal(atomic_load(&table.live->state), LOG_TABLE_IN_FORCE);
	for (unsigned i = 0; i < head.slots; i++)
		assert_int_equal(atomic_load(&table.slots[i].length), 0);
	log_table_close(&table);
	end(&s);
}

/* What a dead process had in the table is there; after a cut there is none. */
static void a_table_outlives_the_process_alone(void **state)
{
	for (unsigned death = SIM_KILL; death <= SIM_CUT; death++) {
		struct log_table_head head = table_of(&point_a, 0);
		struct log_table table;
		struct scene s;

		begin(&s);
		make(&s, &point_a, 0);
		assert_int_equal(log_table_open(s.memory, &head, &table, NULL),
				 0);
		atomic_store(&table.slots[3].offset, 512);
		atomic_store(&table.slots[3].length, 1024);
		if (death == SIM_KILL)
			sim_kill(s.sim);
		else
			sim_power_cut(s.sim, SIM_CUT_KEEP);
		log_table_close(&table);
		scene_reboot(&s);
		if (death == SIM_CUT) {
			assert_int_equal(log_table_open(s.memory, &head, &table,
							NULL),
					 -ENOENT);
			end(&s);
			continue;
		}
		assert_int_equal(log_table_open(s.memory, &head, &table, NULL),
				 0);
		assert_int_equal(atomic_load(&table.slots[3].offset), 512);
		assert_int_equal(atomic_load(&table.slots[3].length), 1024);
		log_table_close(&table);
		end(&s);
	}
}

/* Made again over one that a crash left: nothing of that is in it. */
static void a_log_is_made_over_what_was_left(void **state)
{
	struct sidecar_head head = head_of(&point_a, 0);
	uint8_t old[8192], buf[8192];
	struct log_files files;
	struct scene s;

	begin(&s);
	make(&s, &point_a, 0);
	memset(old, 0xee, sizeof(old));
	assert_int_equal(
	    log_files_open(s.fs, &store_id, &point_a, 0, &files, NULL), 0);
	assert_int_equal(file_write(files.data, old, sizeof(old), 0, NULL), 0);
	assert_int_equal(file_write(files.side, old, sizeof(old), 4096, NULL),
			 0);
	log_files_close(&files);
	assert_int_equal(
	    log_files_create(s.fs, &head, "again", 5, &files, NULL), 0);
	assert_int_equal(file_read(files.data, buf, sizeof(buf), 0, NULL), 5);
	assert_int_equal(file_read(files.side, buf, sizeof(buf), 0, NULL),
			 SIDECAR_HEAD_BYTES);
	log_files_close(&files);
	end(&s);
}

/* Each operation of making one fails: an error, and nothing is left. */
static void making_one_may_fail(void **state)
{
	for (unsigned n = 1;; n++) {
		struct sidecar_head head = head_of(&point_a, 0);
		struct log_files files;
		struct err err = {0};
		struct scene s;
		int r;

		begin(&s);
		sim_fail(s.sim,
			 SIM_CREATE | SIM_WRITE | SIM_TRUNCATE | SIM_SYNC, n,
			 ENOSPC, false, "log-*");
		r = log_files_create(s.fs, &head, "first", 5, &files, &err);
		if (r == 0)
			log_files_close(&files);
		else
			assert_int_equal(r, -ENOSPC);
		assert_int_equal(walked(s.fs), r == 0 ? 2 : 0);
		end(&s);
		if (r == 0) {
			assert_int_equal(n, 9);
			return;
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(logs_are_found_by_their_names_alone),
	    cmocka_unit_test(a_foreign_sidecar_is_refused),
	    cmocka_unit_test(a_foreign_table_is_refused),
	    cmocka_unit_test(a_table_outlives_the_process_alone),
	    cmocka_unit_test(a_log_is_made_over_what_was_left),
	    cmocka_unit_test(making_one_may_fail),
	};

	scene_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
