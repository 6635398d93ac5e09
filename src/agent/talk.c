/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The talker: the protocol of qemu-guest-agent, whose answers are hostile.
 *
 * An answer is one line of JSON.  What an earlier talker was not told may still
 * come, so each begins with guest-sync-delimited: everything up to the byte
 * 0xff that the agent puts before the answer with our number is dropped.
 * libvirt does that by itself; there an answer is all that virsh prints.
 *
 * A failure before the freeze is told; any later one ends the process, and the
 * keeper sees to the rest (agent.h, 4.).
 */
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/reply.h"
#include "common/bytes.h"
#include "common/cleanup.h"
#include "common/confine.h"
#include "common/log.h"

#define SYNC_BYTE 0xff
#define AGAIN_MS  200
#define NO_DOMAIN "failed to get domain" /* virsh */

static const char *const commands[] = {
    [AGENT_STATUS] = "{\"execute\":\"guest-fsfreeze-status\"}\n",
    [AGENT_FREEZE] = "{\"execute\":\"guest-fsfreeze-freeze\"}\n",
    [AGENT_THAW] = "{\"execute\":\"guest-fsfreeze-thaw\"}\n",
};

struct talk {
	struct talker talker;
	bool told;      /* to thaw */
	bool abandoned; /* the keeper is gone */
	char buf[AGENT_REPLY_BYTES_MAX + 1];
	size_t have;
};

static uint64_t left(uint64_t deadline)
{
	uint64_t now = agent_now_ms();

	return now < deadline ? deadline - now : 0;
}

static void __attribute__((noreturn)) give_up(void)
{
	_exit(EXIT_FAILED);
}

/* ---- bytes ----------------------------------------------------------------
 */

static int write_all(int fd, const char *bytes, size_t n, uint64_t deadline)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};

	while (n > 0) {
		ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (sent > 0) {
			bytes += sent;
			n -= (size_t)sent;
		} else if (poll(&p, 1, (int)left(deadline)) == 0) {
			return -ETIMEDOUT;
		}
	}
	return 0;
}

/* More of it into the buffer.  0: it has ended. */
static int read_more(struct talk *t, int fd, uint64_t deadline)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	ssize_t n;

	if (t->have >= AGENT_REPLY_BYTES_MAX)
		return -EMSGSIZE;
	for (;;) {
		if (left(deadline) == 0 ||
		    poll(&p, 1, (int)left(deadline)) == 0)
			return -ETIMEDOUT;
		n = read(fd, t->buf + t->have, AGENT_REPLY_BYTES_MAX - t->have);
		if (n >= 0 || (errno != EINTR && errno != EAGAIN))
			break;
	}
	if (n < 0)
		return -errno;
	t->have += (size_t)n;
	return n > 0;
}

static void drop(struct talk *t, size_t n)
{
	t->have -= n;
	(void)memmove(t->buf, t->buf + n, t->have);
}

/* The buffer holds a line then; *RET_BYTES of it, with its end. */
static int read_line(struct talk *t, uint64_t deadline, size_t *ret_bytes)
{
	const char *end;
	int r = 1;

	while (!(end = memchr(t->buf, '\n', t->have)) && r > 0)
		r = read_more(t, t->talker.line, deadline);
	if (!end)
		return r < 0 ? r : -ECONNRESET;
	*ret_bytes = (size_t)(end - t->buf) + 1;
	return 0;
}

/* ---- questions ------------------------------------------------------------
 */

/* An order to thaw may come at any time, and waits for its turn. */
static void note(struct talk *t, int heard, const char *text)
{
	if (heard < 0)
		t->abandoned = t->told = true;
	else if (heard > 0 && strcmp(text, "thaw") == 0)
		t->told = true;
}

static int run_virsh(struct talk *t, enum agent_command command,
		     uint64_t deadline, struct reply *reply)
{
	_cleanup_close_ int fd = -1;
	char text[AGENT_MESSAGE_BYTES];
	int r = 1;

	if (t->abandoned) /* nobody runs it */
		give_up();
	agent_say(t->talker.keeper, "run %d %" PRIu64, command, left(deadline));
	while (fd < 0 && !t->abandoned && left(deadline) > 0)
		note(t, agent_hear(t->talker.keeper, left(deadline), text, &fd),
		     text);
	if (fd < 0)
		return -ETIMEDOUT;
	t->have = 0;
	while (r > 0)
		r = read_more(t, fd, deadline);
	return r < 0 ? r : reply_parse_output(t->buf, t->have, reply);
}

static int ask(struct talk *t, enum agent_command command, uint64_t ms,
	       struct reply *reply)
{
	uint64_t deadline = agent_now_ms() + ms;
	const char *text = commands[command];
	size_t bytes = 0;
	int r;

	if (t->talker.line < 0)
		return run_virsh(t, command, deadline, reply);
	r = write_all(t->talker.line, text, strlen(text), deadline);
	if (r == 0)
		r = read_line(t, deadline, &bytes);
	if (r == 0)
		r = reply_parse(t->buf, bytes, reply);
	if (r == 0)
		drop(t, bytes);
	return r;
}

/* Drops everything up to the mark of an answer. */
static int find_mark(struct talk *t, uint64_t deadline, size_t *skipped)
{
	const char *mark;
	int r;

	while (!(mark = memchr(t->buf, SYNC_BYTE, t->have))) {
		*skipped += t->have;
		t->have = 0;
		if (*skipped > AGENT_REPLY_BYTES_MAX)
			return -EMSGSIZE;
		r = read_more(t, t->talker.line, deadline);
		if (r <= 0)
			return r < 0 ? r : -ECONNRESET;
	}
	drop(t, (size_t)(mark - t->buf) + 1);
	return 0;
}

/* Until the agent has answered this very question, and so all before it. */
static int sync_with(struct talk *t, uint64_t ms)
{
	uint64_t deadline = agent_now_ms() + ms;
	size_t bytes = 0, skipped = 0;
	struct reply reply;
	uint32_t id = 0;
	char text[96];
	int r;

	if (t->talker.line < 0)
		return 0;
	(void)getrandom(&id, sizeof(id), 0);
	(void)snprintf(text, sizeof(text),
		       "%c{\"execute\":\"guest-sync-delimited\","
		       "\"arguments\":{\"id\":%" PRIu32 "}}\n",
		       SYNC_BYTE, id);
	r = write_all(t->talker.line, text, strlen(text), deadline);
	while (r == 0 && (r = find_mark(t, deadline, &skipped)) == 0 &&
	       (r = read_line(t, deadline, &bytes)) == 0) {
		/* one that was cut short may stand before it */
		const char *mark = memrchr(t->buf, SYNC_BYTE, bytes);
		const char *at = mark ? mark + 1 : t->buf;
		bool ours = reply_parse(at, bytes - (size_t)(at - t->buf),
					&reply) == 0 &&
			    reply.number == (json_int_t)id;

		skipped += bytes;
		drop(t, bytes);
		if (ours)
			return 0;
		if (skipped > AGENT_REPLY_BYTES_MAX)
			return -EMSGSIZE;
	}
	return r;
}

static bool is(const struct reply *reply, const char *word)
{
	return !reply->refused && strcmp(reply->word, word) == 0;
}

/* ---- thawing --------------------------------------------------------------
 */

/* Has its guest ended, and the freeze with it?  libvirt neither renames a
 * domain that runs nor forgets one: where none has this name, none runs that
 * had it. But it says so too when it is cut off in the middle, so it is to say
 * it for as long as nobody may listen on a socket; *UNKNOWN: since when it
 * does. */
static bool domain_is_gone(struct talk *t, uint64_t *unknown)
{
	uint64_t now = agent_now_ms();
	struct reply reply;

	if (t->talker.line >= 0 ||
	    ask(t, AGENT_STATE, AGENT_ANSWER_MS, &reply) < 0)
		return false;
	if (strncmp(reply.desc, "shut off", 8) == 0)
		return true;
	if (strncmp(reply.desc, NO_DOMAIN, strlen(NO_DOMAIN)) != 0)
		*unknown = 0;
	else if (!*unknown)
		*unknown = now;
	return *unknown && now - *unknown > AGENT_GONE_MS;
}

/* Until the agent says that nothing is frozen; how many we thawed.  FROZEN:
 * it is known to be, and not asked before. */
static json_int_t thaw(struct talk *t, bool frozen)
{
	uint64_t deadline = agent_now_ms() + AGENT_THAW_MS;
	json_int_t total = 0;
	uint64_t unknown = 0;
	struct reply reply;

	for (;;) {
		if (frozen) {
			if (ask(t, AGENT_THAW, AGENT_ANSWER_MS, &reply) < 0)
				give_up();
			if (!reply.refused && reply.number > 0 &&
			    reply.number < INT32_MAX)
				total += reply.number;
		}
		if (ask(t, AGENT_STATUS, AGENT_ANSWER_MS, &reply) < 0)
			give_up();
		if (is(&reply, "thawed"))
			return total;
		frozen = is(&reply, "frozen");
		if (!reply.refused)
			unknown = 0;
		if (!frozen && domain_is_gone(t, &unknown))
			return total;
		if (left(deadline) == 0)
			give_up();
		(void)poll(NULL, 0, AGAIN_MS);
	}
}

/* ---- freezing --------------------------------------------------------------
 */

static void __attribute__((noreturn))
refuse(struct talk *t, int code, const char *what, const char *why)
{
	agent_say(t->talker.keeper, "refused %s %s%s%s", err_name(code), what,
		  *why ? ": " : "", why);
	_exit(EXIT_OK);
}

/* It answers, and nothing is frozen: 1. */
static void check(struct talk *t)
{
	struct reply reply = {.refused = true};
	int r = sync_with(t, AGENT_ANSWER_MS);

	if (r == 0)
		r = ask(t, AGENT_STATUS, AGENT_ANSWER_MS, &reply);
	if (r < 0)
		refuse(t, -RP_ESTATE,
		       r == -ETIMEDOUT ? "the guest's agent does not answer"
				       : "the guest's agent answers nonsense",
		       r == -ETIMEDOUT || r == -EPROTO ? "" : strerror(-r));
	if (is(&reply, "frozen"))
		refuse(t, -RP_ESTATE,
		       "the guest's file systems are frozen already, by "
		       "somebody else",
		       "");
	if (!is(&reply, "thawed"))
		refuse(t, -RP_ESTATE, "the guest's agent cannot freeze",
		       reply.desc);
}

/* It may be at it for long: it shall thaw as soon as it has frozen, and what it
 * says of either is not waited for. */
static void thaw_blindly(struct talk *t)
{
	const char *text = commands[AGENT_THAW];
	uint64_t deadline = agent_now_ms() + AGENT_ANSWER_MS;

	if (t->talker.line >= 0 &&
	    write_all(t->talker.line, text, strlen(text), deadline) < 0)
		give_up();
	if (sync_with(t, AGENT_THAW_MS) < 0)
		give_up();
}

/* How many are frozen; or the end, with nothing frozen. */
static json_int_t freeze(struct talk *t)
{
	struct reply reply = {0};
	int r = ask(t, AGENT_FREEZE, AGENT_FREEZE_MS, &reply);

	if (r == 0 && !reply.refused && reply.number > 0 &&
	    reply.number < INT32_MAX)
		return reply.number;
	if (r < 0 && r != -ETIMEDOUT)
		give_up();
	if (r < 0)
		thaw_blindly(t);
	(void)thaw(t, false);
	if (r < 0)
		refuse(t, -RP_ETIMEOUT, "the guest did not freeze in time", "");
	if (reply.refused)
		refuse(t, -RP_ESTATE, "the guest cannot be frozen", reply.desc);
	refuse(t, -RP_ESTATE, "the guest's agent froze no file system", "");
}

static void freeze_and_thaw(struct talk *t)
{
	uint64_t deadline;
	char text[AGENT_MESSAGE_BYTES];
	json_int_t n;
	bool late;

	check(t);
	deadline = agent_now_ms() + AGENT_FROZEN_MS_MAX;
	n = freeze(t);
	agent_say(t->talker.keeper, "frozen %" JSON_INTEGER_FORMAT " %" PRIu64,
		  n, left(deadline));
	while (!t->told && left(deadline) > 0)
		note(t,
		     agent_hear(t->talker.keeper, left(deadline), text, NULL),
		     text);
	late = !t->told || t->abandoned;
	n = thaw(t, true);
	agent_say(t->talker.keeper, "thawed %" JSON_INTEGER_FORMAT " %d", n,
		  late);
	_exit(EXIT_OK);
}

static void only_thaw(struct talk *t)
{
	if (sync_with(t, AGENT_SYNC_MS) < 0)
		give_up();
	agent_say(t->talker.keeper, "thawed %" JSON_INTEGER_FORMAT " 1",
		  thaw(t, false));
	_exit(EXIT_OK);
}

/* ---- without rights --------------------------------------------------------
 */

static int become(const struct talker *talker, struct err *err)
{
	const struct confine_calls calls = {0};
	struct confine_files files;
	int r;

	if (geteuid() == 0 && talker->uid &&
	    (setgroups(0, NULL) < 0 ||
	     setresgid(talker->gid, talker->gid, talker->gid) < 0 ||
	     setresuid(talker->uid, talker->uid, talker->uid) < 0))
		return err_set(err, -errno, "become uid %u",
			       (unsigned)talker->uid);
	(void)prctl(PR_SET_DUMPABLE, 0);
	json_object_seed(0); /* opens /dev/urandom */
	r = confine_files_begin(&files, err);
	if (r == 0)
		r = confine_files_enter(&files, err);
	if (r == 0)
		r = confine_calls_enter(&calls, err);
	return r;
}

void talk(const struct talker *talker)
{
	static struct talk t;
	struct err err = {0};

	t.talker = *talker;
	if (become(talker, &err) < 0) {
		log_error("%s", err.text);
		give_up();
	}
	if (talker->only_thaws)
		only_thaw(&t);
	freeze_and_thaw(&t);
	give_up();
}
