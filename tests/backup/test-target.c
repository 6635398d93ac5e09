/* SPDX-License-Identifier: Apache-2.0 */
/* What a worker and refpoint-target say to each other, when one of them is in a
 * hostile hand. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "backup/target.h"
#include "common/bytes.h"
#include "serve.h"

#define FILES 2

static int temporary(void)
{
	char path[] = "/tmp/refpoint-target-XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC);

	assert_true(fd >= 0);
	(void)unlink(path);
	return fd;
}

/* ---- A worker's orders -----------------------------------------------------
 */

struct session {
	struct serving *serving;
	int fds[TARGET_FDS];
	int files[FILES]; /* ours, of the same files */
};

static void begin(struct session *s)
{
	int given[FILES];

	for (unsigned i = 0; i < FILES; i++) {
		given[i] = temporary();
		s->files[i] = dup(given[i]);
	}
	s->serving = serve_files(given, FILES, s->fds);
}

/* What refpoint-target ended with. */
static int end(struct session *s)
{
	for (unsigned i = 0; i < TARGET_FDS; i++)
		(void)close(s->fds[i]);
	for (unsigned i = 0; i < FILES; i++)
		(void)close(s->files[i]);
	return serve_end(s->serving, NULL);
}

static uint64_t length_of(const struct session *s, unsigned file)
{
	struct stat st;

	assert_int_equal(fstat(s->files[file], &st), 0);
	return (uint64_t)st.st_size;
}

/* The answer's error; -1: there was none. */
static int64_t tell(struct session *s, const void *message, size_t bytes)
{
	struct target_answer answer;
	ssize_t n;

	if (send(s->fds[0], message, bytes, MSG_NOSIGNAL) < 0)
		return -1;
	n = recv(s->fds[0], &answer, sizeof(answer), 0);
	if (n <= 0)
		return -1;
	assert_int_equal(n, sizeof(answer));
	return answer.error;
}

static int64_t tell_one(struct session *s, struct target_order order)
{
	return tell(s, &order, sizeof(order));
}

static const struct target_order good_begin = {.op = TARGET_BEGIN,
					       .length = FILES};

static void test_orders_reach_no_farther_than_memory_and_files(void **state)
{
	static const struct target_order bad[] = {
	    {.op = 0},
	    {.op = TARGET_END + 1},
	    {.op = UINT16_MAX},
	    {.op = TARGET_BEGIN, .length = FILES},
	    {.op = TARGET_WRITE, .file = FILES, .length = 1},
	    {.op = TARGET_WRITE, .file = UINT16_MAX, .length = 1},
	    {.op = TARGET_WRITE, .length = TARGET_MEMORY_BYTES + 1},
	    {.op = TARGET_WRITE, .memory = TARGET_MEMORY_BYTES, .length = 1},
	    {.op = TARGET_WRITE, .memory = UINT32_MAX, .length = 1},
	    {.op = TARGET_WRITE, .memory = 1, .length = UINT64_MAX},
	    {.op = TARGET_WRITE, .offset = INT64_MAX, .length = 1},
	    {.op = TARGET_WRITE, .offset = UINT64_MAX, .length = 1},
	    {.op = TARGET_LENGTH, .offset = UINT64_C(1) << 63},
	    {.op = TARGET_SYNC_WAIT, .offset = INT64_MAX, .length = 2},
	    {.op = TARGET_SYNC_BEGIN, .file = FILES, .length = 1},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct session s;

		begin(&s);
		assert_int_equal(tell_one(&s, good_begin), 0);
		assert_int_equal(tell_one(&s, bad[i]), TARGET_EORDER);
		assert_int_equal(length_of(&s, 0), 0);
		assert_int_equal(end(&s), -RP_EWIRE);
	}
}

static void test_nothing_comes_before_the_beginning(void **state)
{
	struct session s;

	for (unsigned op = TARGET_WRITE; op <= TARGET_END; op++) {
		begin(&s);
		assert_int_equal(
		    tell_one(&s, (struct target_order){.op = (uint16_t)op,
						       .length = 1}),
		    TARGET_EORDER);
		assert_int_equal(length_of(&s, 0), 0);
		assert_int_equal(end(&s), -RP_EWIRE);
	}
	begin(&s);
	assert_int_equal(tell_one(&s, (struct target_order){.op = TARGET_BEGIN,
							    .length = 1}),
			 TARGET_EORDER);
	assert_int_equal(end(&s), -RP_EWIRE);
}

static void test_messages_have_a_size(void **state)
{
	static struct target_order orders[TARGET_ORDERS_MAX + 2];
	static const size_t sizes[] = {
	    1, sizeof(orders[0]) - 1, sizeof(orders[0]) + 1,
	    (TARGET_ORDERS_MAX + 1) * sizeof(orders[0]), sizeof(orders)};
	struct session s;

	for (unsigned i = 0; i < ARRAY_SIZE(orders); i++)
		orders[i] =
		    (struct target_order){.op = TARGET_LENGTH, .offset = 4096};
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		begin(&s);
		assert_int_equal(tell_one(&s, good_begin), 0);
		assert_int_equal(tell(&s, orders, sizes[i]), -1);
		assert_int_equal(length_of(&s, 0), 0);
		assert_int_equal(end(&s), -RP_EWIRE);
	}
	begin(&s);
	assert_int_equal(tell_one(&s, good_begin), 0);
	assert_int_equal(
	    tell(&s, orders, TARGET_ORDERS_MAX * sizeof(orders[0])), 0);
	assert_int_equal(length_of(&s, 0), 4096);
	assert_int_equal(end(&s), 0);
}

/* Fields that are near the limits, mostly. */
static uint64_t number(unsigned *seed)
{
	static const uint64_t some[] = {0,          1,
					FILES,      4096,
					INT64_MAX,  UINT64_MAX,
					UINT32_MAX, TARGET_MEMORY_BYTES};
	uint64_t n = some[(unsigned)rand_r(seed) % ARRAY_SIZE(some)];

	return rand_r(seed) % 4 ? n : n + (uint64_t)rand_r(seed) % 3 - 1;
}

static void test_any_orders_are_survived(void **state)
{
	struct target_order orders[8];
	unsigned seed = (unsigned)time(NULL);

	print_message("seed %u\n", seed);
	for (unsigned i = 0; i < 2000; i++) {
		struct session s;
		int64_t got;

		begin(&s);
		got = tell_one(&s, good_begin);
		for (unsigned k = 0; got == 0 && k < 10; k++) {
			unsigned n = 1 + (unsigned)rand_r(&seed) % 8;

			for (unsigned m = 0; m < n; m++)
				orders[m] = (struct target_order){
				    .op = (uint16_t)(rand_r(&seed) % 8),
				    .file = (uint16_t)(rand_r(&seed) % 3),
				    .memory = (uint32_t)number(&seed),
				    .offset = number(&seed),
				    .length = number(&seed)};
			got = tell(&s, orders, n * sizeof(orders[0]));
		}
		(void)end(&s);
	}
}

static void test_memory_that_could_shrink_is_refused(void **state)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	uint8_t *bytes = NULL;

	assert_int_equal(ftruncate(fd, TARGET_MEMORY_BYTES), 0);
	assert_int_equal(target_map(fd, &bytes, NULL), -RP_EPARAM);
	assert_int_equal(ftruncate(fd, TARGET_MEMORY_BYTES - 1), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	assert_int_equal(target_map(fd, &bytes, NULL), -RP_EPARAM);
	assert_int_equal(ftruncate(fd, TARGET_MEMORY_BYTES), 0);
	assert_int_equal(target_map(fd, &bytes, NULL), 0);
	(void)munmap(bytes, TARGET_MEMORY_BYTES);
	(void)close(fd);
	fd = temporary();
	assert_int_equal(ftruncate(fd, TARGET_MEMORY_BYTES), 0);
	assert_int_equal(target_map(fd, &bytes, NULL), -RP_EPARAM);
	(void)close(fd);
}

/* ---- refpoint-target's answers ---------------------------------------------
 */

static const char *const names[] = {"vda", "vdb"};

/* *RET_PEER is what refpoint-target would have. */
static struct target *open_target(int *ret_peer)
{
	struct target *target = NULL;
	int pair[2], fds[TARGET_FDS];

	assert_int_equal(
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	fds[0] = pair[0];
	fds[1] = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(ftruncate(fds[1], TARGET_MEMORY_BYTES), 0);
	assert_int_equal(fcntl(fds[1], F_ADD_SEALS, F_SEAL_SHRINK), 0);
	assert_int_equal(target_new(fds, names, 2, &target, NULL), 0);
	assert_int_equal(fds[0], -1);
	*ret_peer = pair[1];
	return target;
}

/* What the worker makes of BYTES of MESSAGE. */
static int hear(const void *message, size_t bytes, struct err *err)
{
	int peer, r;
	struct target *target = open_target(&peer);

	assert_int_equal(send(peer, message, bytes, MSG_NOSIGNAL), bytes);
	r = target_drain(target, err);
	(void)close(peer);
	target_close(target);
	target_free(target);
	return r;
}

static int hear_answer(struct target_answer answer, struct err *err)
{
	return hear(&answer, sizeof(answer), err);
}

static void test_answers_that_make_no_sense_are_told_as_such(void **state)
{
	const char zeros[sizeof(struct target_answer) + 8] = {0};
	struct err err = {0};

	assert_int_equal(hear_answer((struct target_answer){0}, &err), 0);
	assert_int_equal(hear_answer((struct target_answer){.number = 1}, &err),
			 -RP_EWIRE);
	assert_int_equal(
	    hear_answer((struct target_answer){.error = EIO, .file = 2}, &err),
	    -RP_EWIRE);
	assert_int_equal(hear_answer((struct target_answer){.error = EIO,
							    .file = UINT32_MAX},
				     &err),
			 -RP_EWIRE);
	assert_int_equal(
	    hear_answer((struct target_answer){.error = TARGET_EORDER}, &err),
	    -RP_EWIRE);
	assert_int_equal(
	    hear_answer((struct target_answer){.error = UINT32_MAX}, &err),
	    -RP_EWIRE);
	assert_int_equal(hear_answer((struct target_answer){.error =
								TARGET_ESAME,
							    .other = 2},
				     &err),
			 -RP_EWIRE);
	assert_int_equal(hear(zeros, 1, &err), -RP_EWIRE);
	assert_int_equal(hear(zeros, sizeof(struct target_answer) + 1, &err),
			 -RP_EWIRE);
	assert_int_equal(hear(zeros, sizeof(zeros), &err), -RP_EWIRE);
}

static void test_failures_name_the_file(void **state)
{
	struct err err = {0};

	assert_int_equal(hear_answer((struct target_answer){.error = ENOSPC,
							    .file = 1},
				     &err),
			 -ENOSPC);
	assert_string_equal(err.text, "write 'vdb': No space left on device");
	assert_int_equal(
	    hear_answer(
		(struct target_answer){.error = TARGET_ESAME, .file = 1}, &err),
	    -RP_EPARAM);
	assert_string_equal(err.text, "'vda' and 'vdb' have the same file");
}

static void test_an_answer_that_nobody_asked_for_is_none(void **state)
{
	const struct target_answer answers[] = {{.number = 0}, {.number = 1}};
	int peer;
	struct target *target = open_target(&peer);

	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(send(peer, &answers[i], sizeof(answers[i]), 0),
				 sizeof(answers[i]));
	assert_int_equal(target_drain(target, NULL), 0);
	assert_int_equal(target_wait(target, NULL), -RP_EWIRE);
	(void)close(peer);
	target_close(target);
	target_free(target);
}

/* Its end, with orders that it has not read, is not what is told. */
static void test_what_it_said_before_its_end_is_heard(void **state)
{
	const struct target_answer answer = {.error = ENOSPC};
	int peer;
	struct target *target = open_target(&peer);

	assert_int_equal(send(peer, &answer, sizeof(answer), 0),
			 sizeof(answer));
	(void)close(peer);
	assert_int_equal(target_drain(target, NULL), -ENOSPC);
	target_close(target);
	target_free(target);

	target = open_target(&peer);
	(void)close(peer);
	assert_int_equal(target_drain(target, NULL), -RP_EFAILED);
	target_close(target);
	target_free(target);
}

static void test_nothing_is_waited_for_once_it_is_cancelled(void **state)
{
	uint8_t bytes[4096] = {0};
	int peer, r = 0;
	struct target *target = open_target(&peer);

	target_cancel(target);
	assert_int_equal(target_drain(target, NULL), -RP_ECANCELLED);
	/* nobody reads: soon no more fits */
	for (unsigned i = 0; r == 0 && i < 1u << 20; i++)
		r = target_put(target, 0, 0, bytes, sizeof(bytes), NULL);
	assert_int_equal(r, -RP_ECANCELLED);
	(void)close(peer);
	target_close(target);
	target_free(target);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(
		test_orders_reach_no_farther_than_memory_and_files),
	    cmocka_unit_test(test_nothing_comes_before_the_beginning),
	    cmocka_unit_test(test_messages_have_a_size),
	    cmocka_unit_test(test_any_orders_are_survived),
	    cmocka_unit_test(test_memory_that_could_shrink_is_refused),
	    cmocka_unit_test(test_answers_that_make_no_sense_are_told_as_such),
	    cmocka_unit_test(test_failures_name_the_file),
	    cmocka_unit_test(test_an_answer_that_nobody_asked_for_is_none),
	    cmocka_unit_test(test_what_it_said_before_its_end_is_heard),
	    cmocka_unit_test(test_nothing_is_waited_for_once_it_is_cancelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
