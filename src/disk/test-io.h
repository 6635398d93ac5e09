/* SPDX-License-Identifier: Apache-2.0 */
/* Requests on a ring, for tests of it: submitted, and waited for together. */
#ifndef DISK_TEST_IO_H
#define DISK_TEST_IO_H

#include "common/bytes.h"
#include "disk/ring.h"

static struct ring *ring;
static unsigned left; /* ios to wait for; the last one stops the ring */

struct test_io {
	struct io io;
	int result;
	unsigned calls;
};

static void io_done(struct io *io, int result)
{
	struct test_io *t = container_of(io, struct test_io, io);

	t->result = result;
	t->calls++;
	if (--left == 0)
		ring_stop(ring);
}

/* IO says what to do; done() comes from the loop alone. */
static void submit_io(struct test_io *t, const struct io *io)
{
	*t = (struct test_io){.io = *io};
	t->io.done = io_done;
	left++;
	ioq_submit(ring_ioq(ring), &t->io);
	assert_int_equal(t->calls, 0);
}

static void run(void)
{
	struct err err = {0};

	assert_int_equal(ring_run(ring, &err), 0);
	assert_int_equal(left, 0);
}

static int one_io(const struct io *io)
{
	struct test_io t;

	submit_io(&t, io);
	run();
	assert_int_equal(t.calls, 1);
	return t.result;
}

#endif
