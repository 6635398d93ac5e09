/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logs on the real system: what they cost a guest when their store fails, fills
 * up, hangs or is frozen (P4), and what is told of it; limits; bad requests.
 * Crashes are the simulator's (tests/track/test-crash.c).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "mounted.h"
#include "rig.h"
#include "store/files.h"

#define DISK_BYTES MIB(256)

static struct err err;

static void ok(int r)
{
	if (r < 0)
		fail_msg("%s", err.text);
}

/* ---- a rig ------------------------------------------------------------ */

/* Below DIR (NULL: anywhere), with one log-based point. */
static struct rig *rig_up(const char *dir, const char *rules, uint64_t limit,
			  struct guid *ret_point)
{
	struct rig *rig =
	    dir ? rig_new_apart(dir, DISK_BYTES) : rig_new(NULL, DISK_BYTES);

	ok(rig_define(rig, &err));
	rig->logging = true;
	ok(rig_start(rig, NULL, &err));
	ok(vm_set_log_limit(rig->vm, limit, &err));
	ok(rig_stop(rig, &err));
	rig->faulty_io = rules != NULL;
	ok(rig_start(rig, rules, &err));
	ok(rig_log_point(rig, ret_point, &err));
	return rig;
}

static void rig_down(struct rig *rig)
{
	ok(rig_stop(rig, &err));
	(void)rig_free(rig);
}

static uint64_t elapsed_ms(uint64_t since_ns)
{
	return (rig_now_ns() - since_ns) / 1000000;
}

/* N writes of a MiB, one after the other; the longest one. */
static uint64_t write_mib(struct rig *rig, unsigned n)
{
	uint64_t longest = 0;

	for (unsigned i = 0; i < n; i++) {
		uint64_t begin = rig_now_ns();

		assert_int_equal(rig_do(rig, VOLUME_WRITE,
					MIB(i % (DISK_BYTES >> 20)), MIB(1)),
				 0);
		longest = MAX(longest, elapsed_ms(begin));
	}
	return longest;
}

/* Waits until the catalogue says that POINT has no data. */
static struct logs_info await_gone(struct rig *rig, const struct guid *point)
{
	const struct timespec moment = {0, 20000000};
	struct logs_info info;

	for (unsigned i = 0; i < 500; i++) {
		ok(logs_find(rig->logs, point, &info, &err));
		if (info.state == LOGS_GONE)
			return info;
		(void)nanosleep(&moment, NULL);
	}
	fail_msg("its log is not gone");
	return info;
}

static struct logs_info look(struct rig *rig, const struct guid *point)
{
	struct logs_info info;

	ok(logs_find(rig->logs, point, &info, &err));
	return info;
}

static unsigned count_files(struct rig *rig, const char *suffix)
{
	char command[400];
	unsigned n = 0;
	FILE *out;

	(void)snprintf(command, sizeof(command),
		       "ls '%s/store' | grep -c '^log-.*%s$'", rig->base,
		       suffix);
	out = popen(command, "r");
	assert_non_null(out);
	(void)!fscanf(out, "%u", &n);
	(void)pclose(out);
	return n;
}

/* ---- what is told ----------------------------------------------------- */

static void states_are_told(void **state)
{
	struct guid first, second, rct, base;
	struct rig *rig = rig_up(NULL, NULL, MIB(512), &first);
	struct logs_file *files;
	unsigned count;

	(void)write_mib(rig, 4);
	assert_int_equal(look(rig, &first).state, LOGS_OPEN);
	ok(rig_point(rig, &rct, &err));
	assert_int_equal(logs_find(rig->logs, &rct, &(struct logs_info){0},
				   &err),
			 -RP_ESTATE);
	ok(rig_log_point(rig, &second, &err));
	assert_int_equal(look(rig, &first).state, LOGS_CLOSED);
	assert_true(look(rig, &first).bytes >= MIB(4));
	assert_true(look(rig, &first).bytes < MIB(5));
	assert_int_equal(look(rig, &second).state, LOGS_OPEN);
	ok(logs_open_chain(rig->logs, 0, NULL, &second, &base, &files, &count,
			   &err));
	assert_true(guid_equal(&base, &first));
	assert_int_equal(count, 1);
	file_close(files[0].log);
	file_close(files[0].side);
	free(files);
	ok(logs_remove(rig->logs, &first, &err));
	assert_int_equal(look(rig, &first).state, LOGS_GONE);
	assert_non_null(strstr(look(rig, &first).reason, "request"));
	assert_int_equal(logs_remove(rig->logs, &first, &err), -RP_ESTATE);
	assert_int_equal(count_files(rig, ".hrl"), 1);
	assert_int_equal(logs_open_chain(rig->logs, 0, &first, &second, &base,
					 &files, &count, &err),
			 -RP_ESTATE);
	rig_down(rig);
}

static void wrong_chains_are_refused_by_name(void **state)
{
	struct guid first, second, rct, base;
	struct rig *rig = rig_up(NULL, NULL, MIB(512), &first);
	struct logs_file *files;
	unsigned count;

	ok(rig_point(rig, &rct, &err));
	ok(rig_log_point(rig, &second, &err));
	assert_int_equal(logs_open_chain(rig->logs, 0, NULL, &first, &base,
					 &files, &count, &err),
			 -RP_EPARAM);
	assert_non_null(strstr(err.text, "before"));
	assert_int_equal(logs_open_chain(rig->logs, 0, &second, &first, &base,
					 &files, &count, &err),
			 -RP_EPARAM);
	assert_non_null(strstr(err.text, "older"));
	assert_int_equal(logs_open_chain(rig->logs, 0, &rct, &second, &base,
					 &files, &count, &err),
			 -RP_EPARAM);
	assert_non_null(strstr(err.text, "log-based"));
	base = guid_random();
	assert_int_equal(logs_open_chain(rig->logs, 0, &base, &second, &base,
					 &files, &count, &err),
			 -RP_ENOPOINT);
	rig_down(rig);
}

/* Of the newest one: logging ends, its files go, and a new point begins anew.
 */
static void removed_on_the_newest_ends_logging(void **state)
{
	struct guid first, second;
	struct rig *rig = rig_up(NULL, NULL, MIB(512), &first);
	uint64_t used, limit;

	(void)write_mib(rig, 2);
	ok(logs_remove(rig->logs, &first, &err));
	assert_int_equal(count_files(rig, ""), 0);
	(void)write_mib(rig, 8);
	logs_usage(rig->logs, &used, &limit);
	assert_int_equal(used, 0);
	ok(rig_log_point(rig, &second, &err));
	(void)write_mib(rig, 2);
	assert_int_equal(look(rig, &second).state, LOGS_OPEN);
	ok(rig_stop(rig, &err));
	ok(rig_start(rig, NULL, &err));
	assert_int_equal(look(rig, &second).state, LOGS_OPEN);
	assert_int_equal(look(rig, &first).state, LOGS_GONE);
	rig_down(rig);
}

struct findings {
	unsigned n;
	struct vm_finding last;
};

static void on_finding(void *arg, const struct vm_finding *finding)
{
	struct findings *findings = arg;

	findings->n++;
	findings->last = *finding;
}

static struct findings scrub(struct rig *rig, uint64_t *ret_bytes)
{
	struct findings findings = {0};

	ok(logs_check(rig->logs, on_finding, &findings, ret_bytes, &err));
	return findings;
}

/* Turns one bit of what ORIGIN's file of SUFFIX has at OFFSET. */
static void damage(struct rig *rig, const struct guid *origin,
		   const char *suffix, uint64_t offset)
{
	char path[400], id[GUID_TEXT_BYTES];
	uint8_t byte;
	int fd;

	guid_format(origin, id);
	(void)snprintf(path, sizeof(path), "%s/store/log-%s-0%s", rig->base, id,
		       suffix);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, (off_t)offset), 1);
	byte ^= 4;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)offset), 1);
	(void)close(fd);
}

/* Header, a block, data; the sidecar's head and a record. */
static void a_scrub_finds_what_is_damaged(void **state)
{
	static const struct {
		const char *suffix;
		uint64_t offset;
	} places[] = {{".hrl", 40},
		      {".hrl", MIB(1) + 77},
		      {".side", 50},
		      {".side", 4096 + 70}};
	struct guid first, second;
	struct rig *rig = rig_up(NULL, NULL, MIB(512), &first);
	uint64_t bytes;

	(void)write_mib(rig, 4);
	assert_int_equal(rig_do(rig, VOLUME_ZERO, MIB(64), MIB(8)), 0);
	ok(rig_log_point(rig, &second, &err));
	(void)write_mib(rig, 2);
	assert_int_equal(scrub(rig, &bytes).n, 0);
	assert_true(bytes >= MIB(4));
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		struct findings findings;

		damage(rig, &first, places[i].suffix, places[i].offset);
		findings = scrub(rig, &bytes);
		if (findings.n != 1)
			fail_msg("place %zu: %u findings", i, findings.n);
		assert_true(findings.last.damaged);
		damage(rig, &first, places[i].suffix, places[i].offset);
	}
	assert_int_equal(scrub(rig, &bytes).n, 0);
	rig_down(rig);
}

/* The sequence of the last flush that the sidecar of the log of ORIGIN has. */
static uint64_t last_flush(struct rig *rig, const struct guid *origin)
{
	uint8_t buf[SIDECAR_RECORD_BYTES];
	struct sidecar_record record;
	struct log_files f;
	uint64_t last = 0;

	ok(log_files_open(rig->store, &vm_system(rig->vm)->store, origin, 0, &f,
			  &err));
	for (uint64_t n = 0;
	     file_read(f.side, buf, sizeof(buf), sidecar_offset(n), NULL) ==
		 sizeof(buf) &&
	     sidecar_record_decode(buf, &f.head, n, &record, NULL) == 0;
	     n++)
		if (record.kind == SIDECAR_FLUSH)
			last = record.sequence;
	log_files_close(&f);
	return last;
}

/* Else a kill would have all of it logged once more. */
static void who_never_flushes_is_flushed(void **state)
{
	const struct timespec moment = {0, 50000000};
	struct guid first;
	struct rig *rig = rig_up(NULL, NULL, MIB(1024), &first);
	unsigned writes = 2 * (LOG_UNFLUSHED_BYTES >> 20);

	(void)write_mib(rig, writes);
	for (unsigned i = 0; i < 200 && last_flush(rig, &first) == 0; i++) {
		(void)write_mib(rig, 1); /* so that records are written */
		(void)nanosleep(&moment, NULL);
	}
	assert_true(last_flush(rig, &first) >= writes / 4);
	rig_down(rig);
}

/* ---- limits ----------------------------------------------------------- */

static void a_limit_that_is_reached_costs_the_log_alone(void **state)
{
	struct guid first, second;
	struct rig *rig = rig_up(NULL, NULL, MIB(16), &first);

	assert_true(write_mib(rig, 64) < 5000);
	assert_non_null(strstr(await_gone(rig, &first).reason, "limit"));
	assert_int_equal(count_files(rig, ""), 0);
	ok(rig_log_point(rig, &second, &err));
	assert_int_equal(look(rig, &second).state, LOGS_OPEN);
	assert_int_equal(look(rig, &first).state, LOGS_GONE);
	rig_down(rig);
}

static void a_limit_too_small_for_a_write_is_refused(void **state)
{
	struct guid first, second;
	struct rig *rig = rig_up(NULL, NULL, MIB(16), &first);

	ok(vm_set_log_limit(rig->vm, KIB(64), &err));
	assert_int_equal(rig_log_point(rig, &second, &err), -RP_ELIMIT);
	assert_non_null(strstr(err.text, "too small"));
	rig_down(rig);
}

/* ---- P4 --------------------------------------------------------------- */

static void expect_given_up(const char *rules, const char *reason)
{
	struct guid first, second;
	struct rig *rig = rig_up(NULL, rules, MIB(512), &first);

	assert_true(write_mib(rig, 48) < 5000);
	assert_int_equal(rig_do(rig, VOLUME_FLUSH, 0, 0), 0);
	assert_non_null(strstr(await_gone(rig, &first).reason, reason));
	(void)write_mib(rig, 4);
	ok(rig_point(rig, &second, &err)); /* tracking goes on */
	rig_down(rig);
}

static void a_log_that_fails_is_given_up(void **state)
{
	expect_given_up("write:name=log-*.hrl:nth=3:errno=EIO", "hrl");
	expect_given_up("write:name=log-*.hrl:nth=5:errno=ENOSPC", "hrl");
	expect_given_up("write:name=log-*.side:nth=3:errno=EIO", "side");
	expect_given_up("sync:name=log-*.side:nth=3:errno=EIO", "side");
}

static void a_log_that_hangs_is_given_up(void **state)
{
	char stuck[] = "/var/tmp/refpoint-stuck-XXXXXX", rules[128];
	int fd = mkstemp(stuck);
	struct guid first;
	struct rig *rig;

	(void)close(fd);
	(void)snprintf(rules, sizeof(rules),
		       "write:name=log-*.hrl:nth=3:sticky:hang=%s", stuck);
	rig = rig_up(NULL, rules, MIB(512), &first);
	assert_true(write_mib(rig, 64) < 5000);
	assert_non_null(strstr(await_gone(rig, &first).reason, "does not end"));
	assert_int_equal(unlink(stuck), 0);
	rig_down(rig);
}

/* The whole store, sidecar, log and catalogue. */
static void a_frozen_store_keeps_no_guest(void **state)
{
	struct guid first;
	struct mounted m;
	struct rig *rig;
	uint64_t longest = 0;
	int fd, flushed;

	if (!mount_new(&m, NULL, "mkfs.ext4 -q", "ext4"))
		skip();
	rig = rig_up(m.path, NULL, MIB(128), &first);
	(void)write_mib(rig, 4);
	fd = open(m.path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(ioctl(fd, FIFREEZE, 0), 0);
	/* Within one region, which is hot: tracking needs no store. */
	for (unsigned i = 0; i < 64; i++) {
		struct rig_request r;
		uint64_t begin = rig_now_ns();

		rig_submit(rig, &r, VOLUME_WRITE, MIB(i % 4), MIB(1));
		flushed = rig_wait(&r, 8000);
		longest = MAX(longest, elapsed_ms(begin));
		if (flushed < 0)
			break;
		rig_request_done(&r);
	}
	assert_int_equal(ioctl(fd, FITHAW, 0), 0); /* or nothing ever ends */
	(void)close(fd);
	assert_int_equal(flushed, 0);
	assert_true(longest < 5000);
	(void)await_gone(rig, &first);
	rig_down(rig);
	assert_true(mount_free(&m));
}

/* Room that is kept for tracking is kept. */
static void a_full_store_costs_the_log_alone(void **state)
{
	struct guid first, second;
	struct mounted m;
	struct rig *rig;

	if (!mount_new(&m, NULL, "mkfs.ext4 -q -m 0", "ext4"))
		skip();
	rig = rig_up(m.path, NULL, MIB(4096), &first);
	for (unsigned i = 0; i < 8 && look(rig, &first).state != LOGS_GONE; i++)
		assert_true(write_mib(rig, 128) < 5000);
	assert_non_null(strstr(await_gone(rig, &first).reason, "room"));
	ok(rig_point(rig, &second, &err));
	rig_down(rig);
	assert_true(mount_free(&m));
}

/* A write that the image fails is read back and logged as it is. */
static void a_failed_write_is_mended(void **state)
{
	struct guid first;
	struct rig *rig = rig_up(NULL, "write:name=*image*:nth=3:errno=EIO",
				 MIB(512), &first);
	unsigned failed = 0;

	for (unsigned i = 0; i < 8; i++)
		failed += rig_do(rig, VOLUME_WRITE, MIB(i), KIB(64)) == -EIO;
	assert_int_equal(failed, 1);
	assert_int_equal(rig_do(rig, VOLUME_FLUSH, 0, 0), 0);
	assert_int_equal(look(rig, &first).state, LOGS_OPEN);
	rig_down(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(states_are_told),
	    cmocka_unit_test(wrong_chains_are_refused_by_name),
	    cmocka_unit_test(a_scrub_finds_what_is_damaged),
	    cmocka_unit_test(removed_on_the_newest_ends_logging),
	    cmocka_unit_test(who_never_flushes_is_flushed),
	    cmocka_unit_test(a_limit_that_is_reached_costs_the_log_alone),
	    cmocka_unit_test(a_limit_too_small_for_a_write_is_refused),
	    cmocka_unit_test(a_log_that_fails_is_given_up),
	    cmocka_unit_test(a_log_that_hangs_is_given_up),
	    cmocka_unit_test(a_frozen_store_keeps_no_guest),
	    cmocka_unit_test(a_full_store_costs_the_log_alone),
	    cmocka_unit_test(a_failed_write_is_mended),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
