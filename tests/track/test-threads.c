/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The real thing, all threads together: a guest that writes through the ring's
 * thread, points made and destroyed from another, questions from a third, the
 * keeper and its region changes underneath.  A sealed interval's answer is held
 * to a log of what was submitted and completed when.
 *
 * The same with logs: at the end all logs together are what the disk holds.
 *
 *   SEED=, ROUNDS= (points; default 40, and a third of it with logs)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/blockset.h"
#include "common/bytes.h"
#include "rig.h"
#include "store/files.h"

#define DISK_BYTES MIB(512) /* 32 regions */
#define SLOTS      16       /* the guest's requests in flight */
#define LOG_MAX    400000
#define POINTS_MAX 512

struct logged {
	uint32_t first, count; /* blocks */
	uint64_t submitted;    /* from one clock for all threads */
	uint64_t completed;    /* UINT64_MAX: not yet */
};

struct slot {
	struct volume_request request;
	uint8_t *data;
	uint32_t entry;
};

struct made {
	struct guid id;
	uint64_t before, after; /* the clock around its making */
	bool destroyed;
};

static struct rig *rig;
static _Atomic uint64_t ticks;
static struct logged *entries;
static _Atomic uint32_t entry_count;
static struct slot slots[SLOTS];
static unsigned inflight;
static _Atomic bool stopping;
static uint64_t seed;
static struct ring_task begin;
static sem_t ended;
static struct made points[POINTS_MAX];
static _Atomic unsigned point_count;
static _Atomic uint64_t questions;

static uint64_t next_random(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

static uint64_t number(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 10) : otherwise;
}

/* ---- the guest, on the ring's thread ---------------------------------- */

static void write_next(struct slot *slot);

static void write_done(struct volume_request *request, int result)
{
	struct slot *slot = container_of(request, struct slot, request);

	if (result < 0) {
		fprintf(stderr, "a write failed: %d\n", result);
		abort();
	}
	if (request->op != VOLUME_FLUSH)
		entries[slot->entry].completed = atomic_fetch_add(&ticks, 1);
	inflight--;
	write_next(slot);
}

static void write_next(struct slot *slot)
{
	static const enum volume_op ops[] = {VOLUME_WRITE, VOLUME_WRITE,
					     VOLUME_WRITE, VOLUME_WRITE,
					     VOLUME_WRITE, VOLUME_ZERO,
					     VOLUME_WRITE, VOLUME_FLUSH};
	struct volume_request *r = &slot->request;
	uint32_t n = atomic_load(&entry_count);

	if (atomic_load(&stopping) || n == LOG_MAX) {
		if (inflight == 0)
			(void)sem_post(&ended);
		return;
	}
	memset(r, 0, sizeof(*r));
	r->op = ops[next_random(&seed) % ARRAY_SIZE(ops)];
	r->done = write_done;
	r->data = slot->data;
	if (r->op == VOLUME_WRITE)
		memset(slot->data, (int)next_random(&seed), KIB(16));
	if (r->op != VOLUME_FLUSH) {
		r->length = (1 + next_random(&seed) % 4) * 4096;
		r->offset = next_random(&seed) % (DISK_BYTES / 4096 - 4) * 4096;
		entries[n] =
		    (struct logged){(uint32_t)(r->offset / 4096),
				    (uint32_t)(r->length / 4096),
				    atomic_fetch_add(&ticks, 1), UINT64_MAX};
		slot->entry = n;
		atomic_store(&entry_count, n + 1);
	}
	inflight++;
	volume_submit(rig->volume, r);
}

static void guest_begins(struct ring_task *task)
{
	for (unsigned i = 0; i < SLOTS; i++)
		write_next(&slots[i]);
}

/* ---- those who ask ---------------------------------------------------- */

static void *ask(void *arg)
{
	uint64_t s = number("SEED", 1) * 77 + 1;

	while (!atomic_load(&stopping)) {
		unsigned n = atomic_load(&point_count);
		struct vm_disk_status status;
		struct vm_changes changes;
		struct err err = {0};
		int r;

		(void)vm_disk_status(rig->vm, 0, &status, &err);
		if (n == 0)
			continue;
		r = vm_changes(rig->vm, 0, &points[next_random(&s) % n].id,
			       NULL, &changes, &err);
		if (r == -RP_ENOPOINT)
			continue;
		if (r < 0 || changes.accuracy.accuracy != ACCURACY_EXACT) {
			fprintf(stderr, "changes: %d %s %s\n", r, err.text,
				r ? "" : changes.accuracy.reason);
			abort();
		}
		blockset_free(changes.set);
		atomic_fetch_add(&questions, 1);
	}
	return NULL;
}

static void on_finding(void *arg, const struct vm_finding *finding)
{
	fprintf(stderr, "check: %s: %s\n", finding->where, finding->message);
	abort();
}

static void *check(void *arg)
{
	while (!atomic_load(&stopping)) {
		uint64_t bytes;
		struct err err = {0};

		(void)vm_check(rig->vm, on_finding, NULL, &bytes, &err);
	}
	return NULL;
}

/* ---- the judgement ---------------------------------------------------- */

/* P1: what began after P's making and ended before Q's is in [P, Q].  P2:
 * nothing that ended before P's making, or began after Q's, alone is. */
static void hold_to_log(const struct made *p, const struct made *q)
{
	uint8_t *must = calloc(1, DISK_BYTES / 4096);
	uint8_t *may = calloc(1, DISK_BYTES / 4096);
	struct vm_changes changes;
	struct err err = {0};

	if (vm_changes(rig->vm, 0, &p->id, q ? &q->id : NULL, &changes, &err) <
	    0)
		fail_msg("%s", err.text);
	assert_int_equal(changes.accuracy.accuracy, ACCURACY_EXACT);
	for (uint32_t i = 0; i < atomic_load(&entry_count); i++) {
		const struct logged *e = &entries[i];

		if (e->completed > p->before && (!q || e->submitted < q->after))
			memset(may + e->first, 1, e->count);
		if (e->submitted > p->after && (!q || e->completed < q->before))
			memset(must + e->first, 1, e->count);
	}
	for (uint64_t b = 0; b < DISK_BYTES / 4096; b++) {
		bool reported = blockset_has(changes.set, b);

		if (must[b] && !reported)
			fail_msg("P1: block %llu", (unsigned long long)b);
		if (!may[b] && reported)
			fail_msg("P2: block %llu", (unsigned long long)b);
	}
	blockset_free(changes.set);
	free(must);
	free(may);
}

static int destroy(const struct guid *id, struct err *err)
{
	return rig->logging ? logs_destroy(rig->logs, id, err)
			    : vm_point_destroy(rig->vm, id, err);
}

static void make_points(uint64_t rounds)
{
	uint64_t s = number("SEED", 1) * 99 + 1;

	for (uint64_t i = 0; i < rounds; i++) {
		unsigned n = atomic_load(&point_count);
		struct made *p = &points[n];
		struct err err = {0};
		uint32_t more = atomic_load(&entry_count) + 300;

		while (atomic_load(&entry_count) < MIN(more, LOG_MAX))
			(void)sched_yield();
		p->before = atomic_load(&ticks);
		if ((rig->logging && i % 2 == 0
			 ? rig_log_point(rig, &p->id, &err)
			 : rig_point(rig, &p->id, &err)) < 0)
			fail_msg("%s", err.text);
		p->after = atomic_fetch_add(&ticks, 1);
		atomic_store(&point_count, n + 1);
		if (n > 0 && next_random(&s) % 3 == 0) {
			struct made *victim = &points[next_random(&s) % n];

			/* with logs the first one's data are all */
			if (victim->destroyed ||
			    (rig->logging && victim == points))
				continue;
			victim->destroyed = true;
			assert_int_equal(destroy(&victim->id, &err), 0);
		}
	}
}

static void run_all(uint64_t rounds)
{
	struct vm_cut_times times;
	pthread_t asker, checker;
	unsigned n;

	assert_true(rounds < POINTS_MAX);
	begin.run = guest_begins;
	ring_post(rig->ring, &begin);
	assert_int_equal(pthread_create(&asker, NULL, ask, NULL), 0);
	assert_int_equal(pthread_create(&checker, NULL, check, NULL), 0);
	make_points(rounds);
	atomic_store(&stopping, true);
	while (sem_wait(&ended) < 0)
		;
	(void)pthread_join(asker, NULL);
	(void)pthread_join(checker, NULL);
	n = atomic_load(&point_count);
	for (unsigned i = 0; i < n; i++) {
		if (points[i].destroyed)
			continue;
		hold_to_log(&points[i], NULL);
		for (unsigned k = i + 1; k < n && k < i + 6; k++)
			if (!points[k].destroyed)
				hold_to_log(&points[i], &points[k]);
	}
	vm_cut_times(rig->vm, &times);
	printf("%u writes, %u points, %llu questions, longest cut %llu us\n",
	       atomic_load(&entry_count), n,
	       (unsigned long long)atomic_load(&questions),
	       (unsigned long long)times.max_ns / 1000);
}

static void answers_are_exact_while_all_threads_are_at_work(void **state)
{
	struct err err = {0};

	if (rig_start(rig, NULL, &err) < 0)
		fail_msg("%s", err.text);
	run_all(number("ROUNDS", 40));
	assert_int_equal(rig_stop(rig, &err), 0);
}

/* ---- with logs -------------------------------------------------------- */

static uint8_t *content;

static int apply(void *arg, const struct log_part_row *row)
{
	uint8_t buf[SIDECAR_RECORD_BYTES];
	struct sidecar_record record;
	struct log_files f;

	assert_int_equal(log_files_open(rig->store, &vm_system(rig->vm)->store,
					&row->origin, 0, &f, NULL),
			 0);
	for (uint64_t n = 0;
	     file_read(f.side, buf, sizeof(buf), sidecar_offset(n), NULL) ==
		 sizeof(buf) &&
	     sidecar_record_decode(buf, &f.head, n, &record, NULL) == 0;
	     n++)
		if (record.kind == SIDECAR_WRITE)
			assert_int_equal(
			    file_read(f.data, content + record.offset,
				      record.length, record.at, NULL),
			    record.length);
		else if (record.kind == SIDECAR_ZEROS)
			memset(content + record.offset, 0, record.length);
	log_files_close(&f);
	return 0;
}

/* The first point was made of an empty disk. */
static void hold_logs_to_image(void)
{
	uint8_t *image =
	    mmap(NULL, DISK_BYTES, PROT_READ, MAP_SHARED, rig->image_fd, 0);
	struct err err = {0};

	content = calloc(1, DISK_BYTES);
	assert_true(image != MAP_FAILED);
	assert_non_null(content);
	if (vm_log_parts(rig->vm, apply, NULL, &err) < 0)
		fail_msg("%s", err.text);
	assert_memory_equal(content, image, DISK_BYTES);
	free(content);
	(void)munmap(image, DISK_BYTES);
}

static void logs_are_whole_while_all_threads_are_at_work(void **state)
{
	struct err err = {0};

	rig->logging = true;
	if (rig_start(rig, NULL, &err) < 0)
		fail_msg("%s", err.text);
	if (vm_set_log_limit(rig->vm, UINT64_C(1) << 36, &err) < 0 ||
	    rig_stop(rig, &err) < 0 || rig_start(rig, NULL, &err) < 0 ||
	    rig_log_point(rig, &points[0].id, &err) < 0)
		fail_msg("%s", err.text);
	points[0].after = atomic_fetch_add(&ticks, 1);
	atomic_store(&point_count, 1);
	run_all(number("ROUNDS", 40) / 3);
	assert_int_equal(rig_do(rig, VOLUME_FLUSH, 0, 0), 0);
	hold_logs_to_image();
	assert_int_equal(rig_stop(rig, &err), 0);
	if (rig_start(rig, NULL, &err) < 0)
		fail_msg("%s", err.text);
	hold_logs_to_image();
	assert_int_equal(rig_stop(rig, &err), 0);
}

static int set_up(void **state)
{
	struct err err = {0};

	seed = number("SEED", 1);
	printf("SEED=%llu\n", (unsigned long long)seed);
	entries = calloc(LOG_MAX, sizeof(*entries));
	memset(points, 0, sizeof(points));
	atomic_store(&ticks, 0);
	atomic_store(&entry_count, 0);
	atomic_store(&point_count, 0);
	atomic_store(&stopping, false);
	for (unsigned i = 0; i < SLOTS; i++)
		slots[i].data = aligned_alloc(4096, KIB(16));
	(void)sem_init(&ended, 0, 0);
	rig = rig_new(NULL, DISK_BYTES);
	return rig_define(rig, &err);
}

static int tear_down(void **state)
{
	rig = rig_free(rig);
	for (unsigned i = 0; i < SLOTS; i++)
		free(slots[i].data);
	free(entries);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(
		answers_are_exact_while_all_threads_are_at_work, set_up,
		tear_down),
	    cmocka_unit_test_setup_teardown(
		logs_are_whole_while_all_threads_are_at_work, set_up,
		tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
