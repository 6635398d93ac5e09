/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What goes wrong with a log costs the log, and nothing else: whatever fails,
 * hangs or is full, the guest's writes go on, other disks' logs are whole, and
 * no successor takes the log for a good one.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

#include "scene.h"

#define PIECES 1200

static struct scene *begin(uint64_t seed)
{
	struct scene *s = scene_new(seed);
	struct err err = {0};

	assert_int_equal(scene_create(s, false, &err), 0);
	return s;
}

static void steps(struct scene *s, unsigned n)
{
	while (n-- > 0)
		scene_step(s);
}

static void nothing_waits(struct scene *s)
{
	for (unsigned i = 0; i < SCENE_REQUESTS; i++)
		assert_false(s->writes[i].busy);
	for (unsigned i = 0; i < SCENE_DISKS; i++)
		assert_false(s->disks[i].flush.busy);
}

/* Kills it; a successor finds all logs but those that were dropped. */
static void kill_and_look(struct scene *s)
{
	bool dropped[SCENE_DISKS];

	for (unsigned i = 0; i < SCENE_DISKS; i++)
		dropped[i] = stream_is_dropped(s->disks[i].stream);
	sim_fail_none(s->sim);
	sim_kill(s->sim);
	scene_stop(s);
	sim_land(s->sim);
	sim_reboot(s->sim);
	for (unsigned i = 0; i < SCENE_DISKS; i++)
		s->disks[i].lost = dropped[i];
	assert_true(scene_recover(s, LOG_ENDED_KILLED));
	scene_check(s);
	scene_stop(s);
	scene_free(s);
}

static bool one_failure(unsigned ops, unsigned n, int error, uint64_t seed)
{
	struct scene *s = begin(seed);
	unsigned dropped = 0;
	bool delivered;

	sim_fail(s->sim, ops, n, error, true, "log-*-1.*");
	steps(s, 150);
	scene_settle(s);
	delivered = sim_failed(s->sim) > 0;
	nothing_waits(s);
	for (unsigned i = 0; i < SCENE_DISKS; i++)
		dropped += s->disks[i].dropped;
	assert_int_equal(dropped, delivered ? 1 : 0);
	assert_int_equal(s->disks[1].dropped, delivered);
	if (delivered)
		assert_int_equal(stream_why(s->disks[1].stream)->code, -error);
	scene_check(s);
	steps(s, 100);
	scene_settle(s);
	nothing_waits(s);
	scene_check(s);
	kill_and_look(s);
	return delivered;
}

static void any_write_may_fail(void **state)
{
	unsigned n = 1;

	(void)state;
	while (one_failure(SIM_IO_WRITE, n, EIO, n))
		n += 2;
	assert_true(n > 10);
}

static void any_sync_may_fail(void **state)
{
	unsigned n = 1;

	(void)state;
	while (one_failure(SIM_IO_SYNC, n, EIO, 7))
		n++;
	assert_true(n > 2);
}

static void the_store_may_be_full(void **state)
{
	(void)state;
	for (uint64_t room = KIB(64); room < KIB(512); room += KIB(44)) {
		struct scene *s = begin(room);
		unsigned dropped = 0;

		sim_limit(s->sim, "store", room);
		steps(s, 600);
		scene_settle(s);
		nothing_waits(s);
		for (unsigned i = 0; i < SCENE_DISKS; i++) {
			if (!s->disks[i].dropped)
				continue;
			dropped++;
			assert_int_equal(stream_why(s->disks[i].stream)->code,
					 -ENOSPC);
		}
		assert_true(dropped > 0);
		scene_check(s);
		sim_limit(s->sim, "store", UINT64_MAX);
		kill_and_look(s);
	}
}

static void the_limit_may_be_reached(void **state)
{
	struct scene *s = begin(1);

	(void)state;
	s->budget.limit = s->budget.used + KIB(256);
	steps(s, 600);
	scene_settle(s);
	nothing_waits(s);
	assert_true(s->budget.used <= s->budget.limit + 3 * 4160);
	for (unsigned i = 0; i < SCENE_DISKS; i++) {
		assert_true(s->disks[i].dropped);
		assert_int_equal(stream_why(s->disks[i].stream)->code,
				 -RP_ELIMIT);
	}
	kill_and_look(s);
}

/* ---- What hangs --------------------------------------------------------- */

struct many {
	struct scene *s;
	struct log_stream *stream;
	struct log_piece pieces[PIECES];
	unsigned added, ready;
	uint8_t data[SCENE_BYTES];
};

static struct many *the_many;

/* The image's write of it is over at once. */
static void is_ready(struct log_piece *piece)
{
	struct many *m = the_many;

	assert_ptr_equal(piece, &m->pieces[m->added + m->ready]);
	m->ready++;
	assert_non_null(piece->bytes);
	assert_memory_equal(piece->bytes, m->data, piece->length);
	(void)stream_written(m->stream, piece, 0);
}

/* Adds pieces of LENGTH until one has to wait, and some more. */
static struct many *fill(struct scene *s, uint64_t length, unsigned more)
{
	struct many *m = calloc(1, sizeof(*m));
	unsigned i = 0;

	assert_non_null(m);
	the_many = m;
	m->s = s;
	m->stream = s->disks[0].stream;
	memset(m->data, 0x5a, sizeof(m->data));
	for (unsigned waiting = 0; waiting < more; i++) {
		assert_true(i < PIECES);
		m->pieces[i] = (struct log_piece){.length = length,
						  .data = m->data,
						  .ready = is_ready};
		if (!stream_add(m->stream, &m->pieces[i])) {
			waiting++;
			continue;
		}
		assert_int_equal(waiting, 0);
		(void)stream_written(m->stream, &m->pieces[i], 0);
		m->added++;
	}
	assert_true(m->added > 10);
	stream_turn(m->stream);
	assert_int_equal(m->ready, 0);
	assert_true(stream_has_waiting(m->stream));
	return m;
}

static void what_waits_goes_on_in_order(void **state)
{
	static const uint64_t lengths[] = {512, 4096, SCENE_BYTES};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		struct scene *s = begin(i);
		struct many *m = fill(s, lengths[i], 100);
		uint8_t *image = calloc(1, SCENE_BYTES);

		scene_settle(s);
		assert_int_equal(m->ready, 100);
		assert_false(stream_is_dropped(m->stream));
		memset(image, 0x5a, lengths[i]);
		sim_image_poke(s->sim, "image0", image, SCENE_BYTES, 0);
		scene_check(s);
		assert_true(scene_close(s));
		scene_stop(s);
		scene_free(s);
		free(image);
		free(m);
	}
}

static void a_log_that_hangs_is_dropped(void **state)
{
	struct scene *s = begin(1);
	struct many *m = fill(s, SCENE_BYTES, 50);
	int64_t ms = 5000;

	(void)state;
	assert_true(sim_ioq_pending(s->sim) > 0);
	stream_tick(m->stream, ms);
	stream_tick(m->stream, ms + LOG_STALL_MS - 1);
	assert_false(stream_is_dropped(m->stream));
	assert_int_equal(m->ready, 0);
	stream_tick(m->stream, ms + LOG_STALL_MS);
	assert_true(s->disks[0].dropped);
	assert_int_equal(stream_why(m->stream)->code, -RP_ETIMEOUT);
	assert_int_equal(m->ready, 50);
	/* The kernel still reads the buffer: it stays beyond the end, which the
	 * scene's ioq checks, and so does a sanitizer. */
	s->disks[0].stream = stream_end(m->stream);
	assert_true(sim_ioq_pending(s->sim) > 0);
	sim_ioq_complete_all(s->sim);
	s->disks[0].lost = true;
	scene_stop(s);
	scene_free(s);
	free(m);
}

/* Each write ends in time, but all together are too slow. */
static void nothing_waits_for_long(void **state)
{
	struct scene *s = begin(1);
	struct many *m = fill(s, SCENE_BYTES, 200);
	int64_t ms = 0;

	(void)state;
	for (; !s->disks[0].dropped; ms += 100) {
		assert_true(ms <= LOG_PAUSE_MS);
		stream_tick(m->stream, ms);
		if (!s->disks[0].dropped)
			sim_ioq_complete_one(s->sim, 0);
	}
	assert_true(ms > LOG_PAUSE_MS);
	scene_settle(s);
	assert_int_equal(m->ready, 200);
	scene_stop(s);
	scene_free(s);
	free(m);
}

static void a_sync_that_hangs_is_no_ones_wait(void **state)
{
	struct scene *s = begin(3);

	(void)state;
	(void)scene_write(s, 0, 0, 4096, false);
	scene_settle(s);
	scene_flush(s, 0);
	scene_turn(s);
	assert_int_equal(sim_ioq_pending(s->sim), 3);
	sim_ioq_complete_one(s->sim, 0); /* the image's */
	assert_true(s->disks[0].flush.busy);
	stream_tick(s->disks[0].stream, 0);
	stream_tick(s->disks[0].stream, LOG_STALL_MS);
	assert_true(s->disks[0].dropped);
	assert_false(s->disks[0].flush.busy);
	scene_settle(s);
	kill_and_look(s);
}

/* ---- The rest ----------------------------------------------------------- */

static int closed_with;

static void closed(void *arg, int result, const struct err *err)
{
	(void)arg;
	(void)err;
	closed_with = result;
}

static void a_close_may_fail(void **state)
{
	(void)state;
	for (unsigned n = 1;; n++) {
		struct scene *s = begin(n);
		bool failed;

		steps(s, 60);
		scene_settle(s);
		sim_fail(s->sim, SIM_IO_WRITE | SIM_IO_SYNC, n, EIO, false,
			 "log-*-0.*");
		closed_with = 1;
		stream_close(s->disks[0].stream, closed, NULL);
		scene_settle(s);
		failed = sim_failed(s->sim) > 0;
		assert_int_equal(closed_with, failed ? -EIO : 0);
		assert_int_equal(s->disks[0].dropped, failed);
		s->disks[0].closed = !failed;
		kill_and_look(s);
		if (!failed)
			return;
	}
}

static void a_disk_that_has_grown_is_logged_no_more(void **state)
{
	struct scene *s = begin(1);
	struct log_stream *stream = s->disks[0].stream;
	uint8_t data[1024] = {0};
	struct log_piece piece = {.offset = SCENE_BYTES - 512,
				  .length = 512,
				  .data = data};

	(void)state;
	assert_true(stream_add(stream, &piece));
	(void)stream_written(stream, &piece, 0);
	assert_false(stream_is_dropped(stream));
	piece.length = 1024;
	assert_true(stream_add(stream, &piece));
	assert_ptr_equal(piece.bytes, data);
	(void)stream_written(stream, &piece, 0);
	assert_int_equal(stream_why(stream)->code, -RP_EUNSUPPORTED);
	scene_settle(s);
	kill_and_look(s);
}

/* One write of the image failed, and everything is full behind it. */
static void mending_waits_for_nothing(void **state)
{
	struct scene *s = begin(1);
	struct many *m = NULL;
	struct log_piece failed = {.offset = KIB(128), .length = 512};
	struct log_piece mend = failed;
	uint8_t data[512] = {1};

	(void)state;
	failed.data = mend.data = data;
	assert_true(stream_add(s->disks[0].stream, &failed));
	assert_true(stream_written(s->disks[0].stream, &failed, -EIO));
	m = fill(s, 512, 10);
	memset(data, 2, sizeof(data));
	assert_true(stream_mend(m->stream, &mend));
	stream_mended(m->stream, &failed);
	scene_settle(s);
	assert_int_equal(m->ready, 10);
	memset(m->data + 512, 0, sizeof(m->data) - 512);
	memset(m->data + KIB(128), 2, 512);
	sim_image_poke(s->sim, "image0", m->data, SCENE_BYTES, 0);
	scene_check(s);
	scene_stop(s);
	scene_free(s);
	free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(any_write_may_fail),
	    cmocka_unit_test(any_sync_may_fail),
	    cmocka_unit_test(the_store_may_be_full),
	    cmocka_unit_test(the_limit_may_be_reached),
	    cmocka_unit_test(what_waits_goes_on_in_order),
	    cmocka_unit_test(a_log_that_hangs_is_dropped),
	    cmocka_unit_test(nothing_waits_for_long),
	    cmocka_unit_test(a_sync_that_hangs_is_no_ones_wait),
	    cmocka_unit_test(a_close_may_fail),
	    cmocka_unit_test(a_disk_that_has_grown_is_logged_no_more),
	    cmocka_unit_test(mending_waits_for_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
