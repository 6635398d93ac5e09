/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/test-scene.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

struct world *w;

int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

void run_until(const bool *flag)
{
	for (int i = 0; i < 200000 && !*flag; i++)
		assert_true(sd_event_run(w->event, 100) >= 0);
	assert_true(*flag);
}

void run_idle(void)
{
	while (sd_event_run(w->event, 0) > 0)
		;
}

/* ---- The methods -------------------------------------------------------- */

static void on_hangup(void *arg)
{
	w->hangups++;
	w->done = true;
}

static void on_hangup_answer(void *arg)
{
	struct err err = {0};

	err_set(&err, -RP_ECANCELLED, "nobody waits");
	w->held = NULL;
	rpc_fail(arg, &err);
	on_hangup(NULL);
}

static void do_echo(struct rpc_call *call, json_t *parameters, void *arg)
{
	rpc_reply(call, json_incref(parameters));
}

static void do_hold(struct rpc_call *call, json_t *parameters, void *arg)
{
	w->held = call;
	w->done = true;
	rpc_call_on_hangup(call, on_hangup, NULL);
}

/* Answers with the descriptors that came, reversed. */
static void do_fds(struct rpc_call *call, json_t *parameters, void *arg)
{
	int fds[RPC_FDS_MAX];
	unsigned n = 0;

	while (n < RPC_FDS_MAX && (fds[n] = rpc_call_take_fd(call, n)) >= 0)
		n++;
	assert_int_equal(rpc_call_take_fd(call, n), -1);
	for (unsigned i = 0; i < n / 2; i++) {
		int fd = fds[i];

		fds[i] = fds[n - 1 - i];
		fds[n - 1 - i] = fd;
	}
	rpc_reply_fds(call, json_pack("{s:i}", "n", (int)n), fds, n);
	for (unsigned i = 0; i < n; i++)
		close(fds[i]);
}

static void do_leave(struct rpc_call *call, json_t *parameters, void *arg)
{
	rpc_reply(call, NULL);
}

static void do_count(struct rpc_call *call, json_t *parameters, void *arg)
{
	const char one[] = "{\"parameters\":{\"n\":1},\"continues\":true}";

	rpc_reply_continues(call, json_pack("{s:i}", "n", 0));
	rpc_reply_text(call, one, sizeof(one) - 1, true);
	rpc_reply(call, json_pack("{s:i}", "n", 2));
}

static void produce(void *arg)
{
	static char piece[100000];
	struct rpc_call *call = arg;

	w->drains++;
	memset(piece, ' ', sizeof(piece));
	memcpy(piece, "{\"continues\":true,\"parameters\":{}", 33);
	piece[sizeof(piece) - 1] = '}';
	while (rpc_call_backlog(call) < 1000000) {
		if (w->produced == PIECES) {
			rpc_reply(call, NULL);
			return;
		}
		rpc_reply_text(call, piece, sizeof(piece), true);
		w->produced++;
	}
}

/* Nobody will ask for more, and the call still wants its end. */
static void stream_gone(void *arg)
{
	rpc_reply(arg, NULL);
}

static void do_stream(struct rpc_call *call, json_t *parameters, void *arg)
{
	w->drains = w->produced = 0;
	rpc_call_on_hangup(call, stream_gone, call);
	rpc_call_on_drained(call, produce, call);
	produce(call);
	w->done = true;
}

/* One piece for each call of FN, though the socket takes every one at once. */
static void produce_one(void *arg)
{
	struct rpc_call *call = arg;

	if (++w->produced == 10)
		rpc_reply(call, NULL);
	else
		rpc_reply_continues(call, NULL);
}

static void do_step(struct rpc_call *call, json_t *parameters, void *arg)
{
	w->produced = 0;
	rpc_call_on_drained(call, produce_one, call);
}

/* Sends without ever looking at the backlog. */
static void do_flood(struct rpc_call *call, json_t *parameters, void *arg)
{
	static char piece[1000000];

	memset(piece, ' ', sizeof(piece));
	memcpy(piece, "{\"continues\":true,\"parameters\":{}", 33);
	piece[sizeof(piece) - 1] = '}';
	rpc_call_on_hangup(call, on_hangup_answer, call);
	for (unsigned i = 0; i < 80; i++)
		rpc_reply_text(call, piece, sizeof(piece), true);
	assert_int_equal(w->hangups, 0);
	assert_true(rpc_call_backlog(call) < RPC_BACKLOG_BYTES_MAX);
}

#define ALL (RPC_ROLE_ADMIN | RPC_ROLE_OPERATOR)
const struct rpc_method methods[] = {{"t.Echo", ALL, do_echo},
				     {"t.Hold", ALL, do_hold},
				     {"t.Fds", ALL, do_fds},
				     {"t.Leave", ALL, do_leave},
				     {"t.Count", ALL, do_count},
				     {"t.Stream", ALL, do_stream},
				     {"t.Step", ALL, do_step},
				     {"t.Flood", ALL, do_flood},
				     {"t.Admin", RPC_ROLE_ADMIN, do_echo},
				     {0}};

/* ---- Set-up ------------------------------------------------------------- */

int listen_at(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

int set_up(void **state)
{
	w = calloc(1, sizeof(*w));
	w->fds_before = count_fds();
	strcpy(w->dir, "/tmp/test-rpc.XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	(void)snprintf(w->path, sizeof(w->path), "%s/socket", w->dir);
	assert_true(sd_event_new(&w->event) >= 0);
	assert_int_equal(
	    rpc_server_new(w->event, methods, NULL, &w->server, NULL), 0);
	assert_int_equal(rpc_server_listen(w->server, listen_at(w->path),
					   RPC_ROLE_OPERATOR, NULL, 0, NULL),
			 0);
	return 0;
}

int tear_down(void **state)
{
	rpc_server_free(w->server);
	if (w->held)
		rpc_reply(w->held, NULL);
	sd_event_unref(w->event);
	(void)unlink(w->path);
	(void)rmdir(w->dir);
	assert_int_equal(count_fds(), w->fds_before);
	free(w);
	return 0;
}

int dial(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(a.sun_path, sizeof(a.sun_path), "%s", w->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	run_idle();
	return fd;
}

void put(int fd, const char *bytes, size_t n)
{
	assert_int_equal(send(fd, bytes, n, MSG_NOSIGNAL), n);
	run_idle();
}

const char *get(int fd)
{
	static char text[4096];
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	size_t n = 0;

	while (n < sizeof(text)) {
		run_idle();
		if (poll(&pfd, 1, 5000) != 1 || read(fd, text + n, 1) != 1)
			break;
		if (text[n++] == '\0')
			return text;
	}
	text[n < sizeof(text) ? n : 0] = '\0';
	return text;
}
