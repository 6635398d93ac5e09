/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "job/record.h"

#define BOOT  "11111111-1111-4111-8111-111111111111"
#define BOOT2 "22222222-2222-4222-8222-222222222222"

static char lib[64];
static struct record_time now;
static struct records *records;

static struct record_time get_now(void)
{
	return now;
}

static void pass(uint64_t ms)
{
	now.ms += ms;
	now.ns += (int64_t)ms * 1000000;
}

static void open_records(const char *boot)
{
	records_close(records);
	records = NULL;
	assert_int_equal(records_open(lib, boot, get_now, &records, NULL), 0);
}

static struct record *begin(const char *method)
{
	struct guid uuid = guid_random();
	struct record *record = NULL;

	assert_int_equal(
	    record_begin(records, method, "v", &uuid, "me", &record, NULL), 0);
	assert_int_equal(record->state, RECORD_RUNNING);
	return record;
}

static int count_one(void *arg, const struct record *record)
{
	(*(unsigned *)arg)++;
	return 0;
}

static unsigned count(void)
{
	unsigned n = 0;

	assert_int_equal(records_each(records, count_one, &n), 0);
	return n;
}

static unsigned files(void)
{
	char command[128];
	unsigned n = 0;
	FILE *p;

	(void)snprintf(command, sizeof(command), "ls %s/jobs | wc -l", lib);
	p = popen(command, "r");
	assert_non_null(p);
	assert_int_equal(fscanf(p, "%u", &n), 1);
	(void)pclose(p);
	return n;
}

static void one_that_was_not_told_is_nobodys(void **state)
{
	struct record *record = begin("Create");

	assert_null(records_find(records, &record->id));
	assert_int_equal(count(), 0);
	assert_int_equal(files(), 0);
	record_drop(records, record);
	record = begin("Create");
	record_tell(records, record);
	assert_ptr_equal(records_find(records, &record->id), record);
	assert_int_equal(count(), 1);
	assert_int_equal(files(), 1);
}

static void an_ended_one_is_kept_for_its_time_and_no_longer(void **state)
{
	struct record *record = begin("Destroy");
	struct guid id = record->id;
	struct err why = {0};

	record_tell(records, record);
	pass(JOB_KEEP_MS * 2); /* while it runs it is kept anyway */
	assert_non_null(records_find(records, &id));
	assert_int_equal(record_elapsed_ms(records, record), JOB_KEEP_MS * 2);
	err_set(&why, -RP_EIOFAIL, "no\nway");
	record_end(records, record, RECORD_FAILED, &why);
	pass(JOB_KEEP_MS);
	record = records_find(records, &id);
	assert_non_null(record);
	assert_int_equal(record->state, RECORD_FAILED);
	assert_int_equal(record->code, -RP_EIOFAIL);
	assert_null(strchr(record->message, '\n'));
	assert_int_equal(record_elapsed_ms(records, record), JOB_KEEP_MS * 2);
	pass(1);
	assert_null(records_find(records, &id));
	assert_int_equal(files(), 0);
}

static void records_survive_a_restart_for_the_rest_of_their_time(void **state)
{
	struct record *record = begin("Convert"), *found;
	struct record before;
	struct err note = {.text = "a \"note\""};

	record->has_point = record->has_snapshot = true;
	record->point = guid_random();
	record->snapshot = guid_random();
	pass(1500);
	record_end(records, record, RECORD_COMPLETED, &note);
	before = *record;
	pass(JOB_KEEP_MS - 1000);
	open_records(BOOT);
	found = records_find(records, &before.id);
	assert_non_null(found);
	before.next = found->next;
	assert_string_equal(found->message, "a \"note\"");
	assert_string_equal(found->method, "Convert");
	assert_string_equal(found->vm, "v");
	assert_string_equal(found->owner, "me");
	assert_true(guid_equal(&found->vm_uuid, &before.vm_uuid));
	assert_true(found->has_point);
	assert_true(guid_equal(&found->point, &before.point));
	assert_true(found->has_snapshot);
	assert_true(guid_equal(&found->snapshot, &before.snapshot));
	assert_int_equal(found->state, RECORD_COMPLETED);
	assert_int_equal(found->code, 0);
	assert_int_equal(found->begun.ns, before.begun.ns);
	assert_int_equal(found->changed.ns, before.changed.ns);
	assert_int_equal(record_elapsed_ms(records, found), 1500);
	pass(1001);
	assert_null(records_find(records, &before.id));
	open_records(BOOT);
	assert_int_equal(count(), 0);
}

static void what_ran_at_the_end_has_failed(void **state)
{
	struct record *told = begin("Create"), *untold = begin("Create");
	struct guid id = told->id, other = untold->id;
	struct record *found;

	record_tell(records, told);
	pass(5000);
	for (unsigned i = 0; i < 2; i++) {
		open_records(BOOT);
		found = records_find(records, &id);
		assert_non_null(found);
		assert_int_equal(found->state, RECORD_FAILED);
		assert_int_equal(found->code, -RP_EFAILED);
		assert_non_null(strstr(found->message, "started anew"));
		assert_int_equal(record_elapsed_ms(records, found), 5000);
		pass(1000);
	}
	assert_null(records_find(records, &other));
	pass(JOB_KEEP_MS - 1999);
	assert_null(records_find(records, &id));
}

static void after_a_reboot_the_time_begins_anew(void **state)
{
	struct record *done = begin("Create"), *runs = begin("Destroy");
	struct guid a = done->id, b = runs->id;

	pass(200);
	record_end(records, done, RECORD_CANCELLED, NULL);
	record_tell(records, runs);
	now.ms = 7000; /* the clock begins again; the time of day jumps */
	now.ns = 5;
	open_records(BOOT2);
	done = records_find(records, &a);
	runs = records_find(records, &b);
	assert_non_null(done);
	assert_int_equal(done->state, RECORD_CANCELLED);
	assert_int_equal(record_elapsed_ms(records, done), 200);
	assert_non_null(runs);
	assert_int_equal(runs->state, RECORD_FAILED);
	pass(JOB_KEEP_MS - 1000);
	open_records(BOOT2); /* but once only */
	assert_int_equal(count(), 2);
	pass(1001);
	assert_int_equal(count(), 0);
}

static void at_the_limit_new_ones_are_refused_and_none_is_dropped(void **state)
{
	struct guid uuid = guid_random(), first = {{0}};
	struct record *record = NULL, *untold;
	struct err err = {0};

	for (unsigned i = 0; i < JOB_RECORDS_MAX - 1; i++) {
		record = begin("Create");
		if (i == 0)
			first = record->id;
		record_end(records, record, RECORD_COMPLETED, NULL);
	}
	untold = begin("Create");
	record = NULL;
	assert_int_equal(record_begin(records, "Create", "v", &uuid, "me",
				      &record, &err),
			 -RP_ELIMIT);
	assert_null(record);
	assert_int_equal(count(), JOB_RECORDS_MAX - 1);
	assert_non_null(records_find(records, &first));
	record_drop(records, untold);
	record_end(records, begin("Create"), RECORD_COMPLETED, NULL);
	open_records(BOOT);
	assert_int_equal(count(), JOB_RECORDS_MAX);
	assert_int_equal(record_begin(records, "Create", "v", &uuid, "me",
				      &record, &err),
			 -RP_ELIMIT);
	pass(JOB_KEEP_MS + 1);
	record_drop(records, begin("Create"));
	assert_int_equal(files(), 0);
}

static void put(const char *name, const char *text)
{
	char path[160];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/jobs/%s", lib, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static void what_is_no_record_is_removed_and_all_else_kept(void **state)
{
	static const struct {
		const char *from, *to;
	} damage[] = {
	    {"\"version\":1", "\"version\":2"},
	    {"\"state\":\"completed\"", "\"state\":\"done\""},
	    {"\"vm\":\"v\"", "\"vm\":\"../v\""},
	    {"\"method\":\"Create\"", "\"method\":\"Define\""},
	    {"\"owner\":\"me\"", "\"owner\":\"\\n\""},
	    {"\"point\":\"\"", "\"point\":\"x\""},
	    {"\"begun_ms\":", "\"begun_ms\":-"},
	    {"\"boot\":", "\"shoe\":"},
	    {"}", ""},
	};
	struct record *record = begin("Create");
	char name[GUID_TEXT_BYTES + 8], id[GUID_TEXT_BYTES], whole[4096];
	char path[160];
	FILE *f;

	record_end(records, record, RECORD_COMPLETED, NULL);
	guid_format(&record->id, id);
	(void)snprintf(name, sizeof(name), "%s.json", id);
	(void)snprintf(path, sizeof(path), "%s/jobs/%s", lib, name);
	f = fopen(path, "r");
	assert_non_null(f);
	whole[fread(whole, 1, sizeof(whole) - 1, f)] = '\0';
	(void)fclose(f);
	for (size_t i = 0; i < sizeof(damage) / sizeof(damage[0]); i++) {
		char *at = strstr(whole, damage[i].from), bad[8192];

		assert_non_null(at);
		(void)snprintf(bad, sizeof(bad), "%.*s%s%s", (int)(at - whole),
			       whole, damage[i].to,
			       at + strlen(damage[i].from));
		put(name, bad);
		put("something else", "");
		open_records(BOOT);
		assert_int_equal(count(), 0);
		assert_int_equal(files(), 0);
	}
	put(name, whole);
	put("22222222-2222-4222-8222-222222222222.json", whole);
	open_records(BOOT);
	assert_int_equal(count(), 1);
	assert_int_equal(files(), 1);
}

static int setup(void **state)
{
	(void)strcpy(lib, "/tmp/test-record-XXXXXX");
	now = (struct record_time){.ms = 100000, .ns = 1700000000000000000};
	if (!mkdtemp(lib))
		return -1;
	return records_open(lib, BOOT, get_now, &records, NULL);
}

static int teardown(void **state)
{
	char command[96];

	records = records_close(records);
	(void)snprintf(command, sizeof(command), "rm -r %s", lib);
	return system(command);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(one_that_was_not_told_is_nobodys),
	    TEST(an_ended_one_is_kept_for_its_time_and_no_longer),
	    TEST(records_survive_a_restart_for_the_rest_of_their_time),
	    TEST(what_ran_at_the_end_has_failed),
	    TEST(after_a_reboot_the_time_begins_anew),
	    TEST(at_the_limit_new_ones_are_refused_and_none_is_dropped),
	    TEST(what_is_no_record_is_removed_and_all_else_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
