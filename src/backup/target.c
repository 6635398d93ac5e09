/* SPDX-License-Identifier: Apache-2.0 */
#include "backup/target.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/target.h"

#define GOODBYE_MS 1000 /* for refpoint-target to end */
#define ERRNO_MAX  4095

struct target {
	int channel, memory;
	int wake; /* eventfd */
	uint8_t *bytes;
	const char *const *names;
	unsigned n;
	_Atomic bool cancelled;
	bool over; /* nothing more is sent */
	uint32_t sent, answered;
	uint64_t stage; /* bytes of it in use */
	unsigned gathered;
	struct target_order orders[TARGET_ORDERS_MAX];
};

/* ---- Answers ---------------------------------------------------------------
 */

static int say_nonsense(struct err *err)
{
	return err_set(err, -RP_EWIRE, "refpoint-target talks nonsense");
}

static int say_gone(struct err *err)
{
	return err_set(err, -RP_EFAILED,
		       "refpoint-target, which writes the files, ended; see "
		       "the log");
}

static int say_failed(const struct target *t,
		      const struct target_answer *answer, struct err *err)
{
	const char *name;

	if (answer->file >= t->n)
		return say_nonsense(err);
	name = t->names[answer->file];
	switch (answer->error) {
	case TARGET_EMODE:
		return err_set(err, -RP_EPARAM,
			       "the file for '%s' is not open for reading and "
			       "writing, or for appending",
			       name);
	case TARGET_EFILLED:
		return err_set(
		    err, -RP_EPARAM,
		    "what is to be filled with '%s' is no empty regular file",
		    name);
	case TARGET_ESAME:
		if (answer->other >= t->n)
			return say_nonsense(err);
		return err_set(err, -RP_EPARAM,
			       "'%s' and '%s' have the same file",
			       t->names[answer->other], name);
	default:
		if (answer->error > ERRNO_MAX)
			return say_nonsense(err);
		return err_set(err, -(int)answer->error, "write '%s'", name);
	}
}

/* One answer; 1: there is none. */
static int hear(struct target *t, struct err *err)
{
	/* one byte more: a longer message is seen to be one */
	union {
		struct target_answer answer;
		char bytes[sizeof(struct target_answer) + 1];
	} got;
	ssize_t n = recv(t->channel, &got, sizeof(got), MSG_DONTWAIT);

	/* one that ended before it had read all; what it said is still there */
	if (n < 0 && errno == ECONNRESET)
		n = recv(t->channel, &got, sizeof(got), MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 1;
	if (n <= 0)
		return say_gone(err);
	if (n != sizeof(got.answer) || t->answered == t->sent ||
	    got.answer.number != t->answered)
		return say_nonsense(err);
	t->answered++;
	return got.answer.error ? say_failed(t, &got.answer, err) : 0;
}

static int hear_all(struct target *t, struct err *err)
{
	int r;

	/* behind the answer to TARGET_END there is the end */
	do
		r = hear(t, err);
	while (r == 0 && t->answered != t->sent);
	return r < 0 ? r : 0;
}

int target_wait(struct target *t, struct err *err)
{
	struct pollfd p[] = {{.fd = t->channel, .events = POLLIN},
			     {.fd = t->wake, .events = POLLIN}};
	uint64_t count;

	if (atomic_load(&t->cancelled))
		return err_set(err, -RP_ECANCELLED, "it was given up");
	(void)poll(p, 2, -1);
	if (p[1].revents)
		(void)!read(t->wake, &count, sizeof(count));
	if (atomic_load(&t->cancelled))
		return err_set(err, -RP_ECANCELLED, "it was given up");
	return p[0].revents ? hear_all(t, err) : 0;
}

bool target_is_done(const struct target *t, uint32_t mark)
{
	return (int32_t)(t->answered - mark) >= 0;
}

/* ---- Orders ----------------------------------------------------------------
 */

/* What cannot be sent now can be once something was answered. */
static int send_once(struct target *t, struct err *err)
{
	size_t bytes = t->gathered * sizeof(t->orders[0]);
	int r;

	if (t->sent - t->answered >= TARGET_MESSAGES_MAX)
		return target_wait(t, err);
	if (send(t->channel, t->orders, bytes, MSG_NOSIGNAL | MSG_DONTWAIT) >=
	    0) {
		t->sent++;
		t->gathered = 0;
		return 0;
	}
	if (errno == EAGAIN && t->sent != t->answered)
		return target_wait(t, err);
	if (errno == EINTR)
		return 0;
	/* why it ended may have been said before */
	r = hear_all(t, err);
	return r < 0 ? r : say_gone(err);
}

int target_send(struct target *t, uint32_t *ret_mark, struct err *err)
{
	int r = 0;

	while (r == 0 && t->gathered > 0)
		r = send_once(t, err);
	if (r == 0)
		*ret_mark = t->sent;
	return r;
}

int target_drain(struct target *t, struct err *err)
{
	uint32_t mark;
	int r = target_send(t, &mark, err);

	while (r == 0 && t->answered != t->sent)
		r = target_wait(t, err);
	return r;
}

static int order(struct target *t, const struct target_order *what,
		 struct err *err)
{
	uint32_t mark;

	t->orders[t->gathered++] = *what;
	return t->gathered < TARGET_ORDERS_MAX ? 0 : target_send(t, &mark, err);
}

int target_write(struct target *t, unsigned file, uint64_t at, const void *data,
		 uint64_t bytes, struct err *err)
{
	const struct target_order what = {
	    .op = TARGET_WRITE,
	    .file = (uint16_t)file,
	    .memory = (uint32_t)((const uint8_t *)data - t->bytes),
	    .offset = at,
	    .length = bytes};

	return order(t, &what, err);
}

/* *RET_BYTES: how much of the stage is free, at least one. */
static int make_room(struct target *t, uint64_t *ret_bytes, struct err *err)
{
	int r = 0;

	if (t->gathered == 0 && t->answered == t->sent)
		t->stage = 0;
	if (t->stage == TARGET_STAGE_BYTES) {
		r = target_drain(t, err);
		if (r == 0)
			t->stage = 0;
	}
	*ret_bytes = TARGET_STAGE_BYTES - t->stage;
	return r;
}

int target_put(struct target *t, unsigned file, uint64_t at, const void *data,
	       uint64_t bytes, struct err *err)
{
	const uint8_t *from = data;
	int r = 0;

	while (r == 0 && bytes > 0) {
		uint8_t *to;
		uint64_t n;

		r = make_room(t, &n, err);
		if (r < 0)
			return r;
		n = MIN(n, bytes);
		to = t->bytes + TARGET_DATA_BYTES + t->stage;
		memcpy(to, from, n);
		t->stage += n;
		r = target_write(t, file, at, to, n, err);
		from += n;
		at += n;
		bytes -= n;
	}
	return r;
}

static int order_range(struct target *t, enum target_op op, unsigned file,
		       uint64_t from, uint64_t to, struct err *err)
{
	const struct target_order what = {.op = (uint16_t)op,
					  .file = (uint16_t)file,
					  .offset = from,
					  .length = to - from};

	return to > from ? order(t, &what, err) : 0;
}

int target_sync_begin(struct target *t, unsigned file, uint64_t from,
		      uint64_t to, struct err *err)
{
	return order_range(t, TARGET_SYNC_BEGIN, file, from, to, err);
}

int target_sync_wait(struct target *t, unsigned file, uint64_t from,
		     uint64_t to, struct err *err)
{
	return order_range(t, TARGET_SYNC_WAIT, file, from, to, err);
}

int target_set_length(struct target *t, unsigned file, uint64_t bytes,
		      struct err *err)
{
	const struct target_order what = {.op = TARGET_LENGTH,
					  .file = (uint16_t)file,
					  .offset = bytes};

	return order(t, &what, err);
}

int target_end(struct target *t, struct err *err)
{
	const struct target_order what = {.op = TARGET_END};
	int r = order(t, &what, err);

	if (r == 0)
		r = target_drain(t, err);
	t->over = r == 0;
	return r;
}

/* ---- Life ------------------------------------------------------------------
 */

void target_wake(struct target *t)
{
	uint64_t one = 1;

	(void)!write(t->wake, &one, sizeof(one));
}

void target_cancel(struct target *t)
{
	atomic_store(&t->cancelled, true);
	target_wake(t);
}

uint8_t *target_data(struct target *t)
{
	return t->bytes;
}

static uint64_t now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void target_close(struct target *t)
{
	struct pollfd p = {.fd = t->channel, .events = POLLIN};
	uint64_t now = now_ms(), limit = now + GOODBYE_MS;
	char drop[sizeof(struct target_answer) + 1];

	(void)shutdown(t->channel, SHUT_WR);
	/* whoever removes the files shall find them closed */
	for (; !t->over && now < limit; now = now_ms())
		if (poll(&p, 1, (int)(limit - now)) > 0)
			t->over = recv(t->channel, drop, sizeof(drop),
				       MSG_DONTWAIT) <= 0;
	(void)close(t->channel);
	t->channel = -1;
}

struct target *target_free(struct target *t)
{
	if (!t)
		return NULL;
	if (t->bytes)
		(void)munmap(t->bytes, TARGET_MEMORY_BYTES);
	if (t->channel >= 0)
		(void)close(t->channel);
	if (t->memory >= 0)
		(void)close(t->memory);
	if (t->wake >= 0)
		(void)close(t->wake);
	free(t);
	return NULL;
}

static int prepare(struct target *t, struct err *err)
{
	const struct target_order begin = {.op = TARGET_BEGIN, .length = t->n};
	uint32_t mark;
	int r = target_map(t->memory, &t->bytes, err);

	t->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r == 0 && t->wake < 0)
		r = err_set(err, -errno, "eventfd");
	if (r == 0)
		r = order(t, &begin, err);
	return r < 0 ? r : target_send(t, &mark, err);
}

int target_new(int *fds, const char *const *names, unsigned n,
	       struct target **ret_target, struct err *err)
{
	struct target *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return err_set(err, -ENOMEM, "export");
	t->names = names;
	t->n = n;
	t->channel = fds[0];
	t->memory = fds[1];
	t->wake = -1;
	fds[0] = fds[1] = -1;
	r = prepare(t, err);
	if (r < 0)
		target_free(t);
	else
		*ret_target = t;
	return r;
}
