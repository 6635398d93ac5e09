/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Servers and clients over real sockets.  The server runs on this thread's
 * event loop; its peer is either bytes written by hand, the client on the same
 * loop, or the blocking client in a thread of its own.  Every test ends with as
 * many open descriptors as it began with.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/limits.h"
#include "rpc/rpc.h"

struct world {
	sd_event *event;
	struct rpc_server *server;
	char dir[64], path[96];
	int fds_before;
	struct rpc_call *held; /* by Hold */
	unsigned hangups, drains, produced;
	bool done;
};

static struct world *w;

static int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* Runs the loop until *FLAG, at most 20 s. */
static void run_until(const bool *flag)
{
	for (int i = 0; i < 200000 && !*flag; i++)
		assert_true(sd_event_run(w->event, 100) >= 0);
	assert_true(*flag);
}

static void run_idle(void)
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

#define PIECES 400u

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
static const struct rpc_method methods[] = {{"t.Echo", ALL, do_echo},
					    {"t.Hold", ALL, do_hold},
					    {"t.Fds", ALL, do_fds},
					    {"t.Leave", ALL, do_leave},
					    {"t.Count", ALL, do_count},
					    {"t.Stream", ALL, do_stream},
					    {"t.Step", ALL, do_step},
					    {"t.Flood", ALL, do_flood},
					    {"t.Admin", RPC_ROLE_ADMIN,
					     do_echo},
					    {0}};

/* ---- Set-up ------------------------------------------------------------- */

static int listen_at(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

static int set_up(void **state)
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

static int tear_down(void **state)
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

static int dial(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(a.sun_path, sizeof(a.sun_path), "%s", w->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	run_idle();
	return fd;
}

static void put(int fd, const char *bytes, size_t n)
{
	assert_int_equal(send(fd, bytes, n, MSG_NOSIGNAL), n);
	run_idle();
}

/* A literal with its NUL. */
#define PUT(fd, literal) put(fd, literal, sizeof(literal))

/* What the server sent, up to and without a NUL; "" at the end of it. */
static const char *get(int fd)
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

#define NOTHING_YET(fd)                                                        \
	do {                                                                   \
		char byte;                                                     \
		run_idle();                                                    \
		assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), -1);        \
		assert_int_equal(errno, EAGAIN);                               \
	} while (0)

/* ---- The server, byte by byte ------------------------------------------- */

static void a_call_split_into_bytes_is_answered(void **state)
{
	const char call[] = "{\"method\":\"t.Echo\",\"parameters\":{\"a\":1}}";
	int fd = dial();

	for (size_t i = 0; i < sizeof(call); i++) {
		NOTHING_YET(fd);
		put(fd, call + i, 1);
	}
	assert_string_equal(get(fd), "{\"parameters\":{\"a\":1}}");
	close(fd);
}

static void two_calls_in_one_write_are_answered_in_order(void **state)
{
	int fd = dial();

	PUT(fd, "{\"method\":\"t.Echo\",\"parameters\":{\"a\":1}}\0"
		"{\"method\":\"t.Echo\"}");
	assert_string_equal(get(fd), "{\"parameters\":{\"a\":1}}");
	assert_string_equal(get(fd), "{\"parameters\":{}}");
	close(fd);
}

static void a_call_waits_for_the_one_before_it(void **state)
{
	int fd = dial();

	PUT(fd, "{\"method\":\"t.Hold\"}\0{\"method\":\"t.Echo\"}");
	assert_non_null(w->held);
	NOTHING_YET(fd);
	rpc_reply(w->held, json_pack("{s:b}", "held", 1));
	w->held = NULL;
	assert_string_equal(get(fd), "{\"parameters\":{\"held\":true}}");
	assert_string_equal(get(fd), "{\"parameters\":{}}");
	close(fd);
}

static void bytes_that_are_not_json_end_the_connection(void **state)
{
	int fd = dial();

	PUT(fd, "GET / HTTP/1.0\r\n\r\n\0{\"method\":\"t.Echo\"}");
	assert_non_null(strstr(get(fd), "org.refpoint.ProtocolError"));
	assert_string_equal(get(fd), "");
	assert_int_equal(rpc_server_connections(w->server), 0);
	close(fd);
}

static void a_wrong_call_does_not_end_the_connection(void **state)
{
	int fd = dial();

	PUT(fd, "{\"method\":\"t.Echo\",\"odd\":1}");
	assert_non_null(strstr(get(fd), "service.InvalidParameter"));
	PUT(fd, "{\"method\":\"t.Admin\",\"parameters\":{\"odd\":1}}");
	assert_non_null(strstr(get(fd), "org.refpoint.PermissionDenied"));
	PUT(fd, "{\"method\":\"t.Echo\"}");
	assert_string_equal(get(fd), "{\"parameters\":{}}");
	close(fd);
}

static void an_over_long_call_is_refused_and_ends_the_connection(void **state)
{
	size_t n = RPC_MESSAGE_BYTES_MAX + 1;
	char *big = malloc(n);
	int fd = dial();

	memset(big, ' ', n);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	for (size_t sent = 0; sent < n;) {
		ssize_t k = send(fd, big + sent, n - sent, MSG_NOSIGNAL);

		if (k > 0)
			sent += (size_t)k;
		run_idle();
	}
	assert_non_null(strstr(get(fd), "is longer than 1048576 bytes"));
	assert_string_equal(get(fd), "");
	close(fd);
	free(big);
}

static void a_caller_that_only_closes_its_writing_side_is_answered(void **state)
{
	int fd = dial();

	PUT(fd, "{\"method\":\"t.Hold\"}");
	shutdown(fd, SHUT_WR);
	run_idle();
	assert_int_equal(w->hangups, 0);
	rpc_reply(w->held, NULL);
	w->held = NULL;
	assert_string_equal(get(fd), "{\"parameters\":{}}");
	assert_string_equal(get(fd), "");
	assert_int_equal(w->hangups, 0);
	close(fd);
}

static void a_caller_that_goes_away_is_noticed(void **state)
{
	int fd = dial();

	PUT(fd, "{\"method\":\"t.Hold\"}");
	assert_int_equal(w->hangups, 0);
	w->done = false;
	close(fd);
	run_until(&w->done);
	assert_int_equal(w->hangups, 1);
	assert_int_equal(rpc_server_connections(w->server), 0);
	/* The call lives on until it is answered. */
	assert_string_equal(rpc_call_method(w->held), "t.Hold");
	rpc_reply_continues(w->held, NULL);
	assert_int_equal(rpc_call_backlog(w->held), 0);
	rpc_reply(w->held, NULL);
	w->held = NULL;
}

static void the_callers_credentials_are_known(void **state)
{
	int fd = dial();

	PUT(fd, "{\"method\":\"t.Hold\",\"more\":true}");
	assert_int_equal(rpc_call_uid(w->held), getuid());
	assert_int_equal(rpc_call_pid(w->held), getpid());
	assert_int_equal(rpc_call_role(w->held), RPC_ROLE_OPERATOR);
	assert_true(rpc_call_more(w->held));
	close(fd);
}

static void users_that_are_not_listed_are_turned_away(void **state)
{
	uid_t other = getuid() + 1;
	int fd;

	rpc_server_free(w->server);
	(void)unlink(w->path);
	assert_int_equal(
	    rpc_server_new(w->event, methods, NULL, &w->server, NULL), 0);
	assert_int_equal(rpc_server_listen(w->server, listen_at(w->path),
					   RPC_ROLE_ADMIN, &other, 1, NULL),
			 0);
	fd = dial();
	assert_string_equal(get(fd), "");
	close(fd);
}

static void connections_beyond_the_limit_are_closed_at_once(void **state)
{
	int fds[RPC_CONNECTIONS_MAX + 1];

	for (unsigned i = 0; i <= RPC_CONNECTIONS_MAX; i++)
		fds[i] = dial();
	assert_int_equal(rpc_server_connections(w->server),
			 RPC_CONNECTIONS_MAX);
	assert_string_equal(get(fds[RPC_CONNECTIONS_MAX]), "");
	close(fds[0]);
	run_idle();
	close(fds[RPC_CONNECTIONS_MAX]);
	fds[0] = dial();
	PUT(fds[0], "{\"method\":\"t.Echo\"}");
	assert_string_equal(get(fds[0]), "{\"parameters\":{}}");
	for (unsigned i = 0; i < RPC_CONNECTIONS_MAX; i++)
		close(fds[i]);
}

static void running_out_of_descriptors_does_not_spin(void **state)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct rlimit old, none;
	unsigned turns = 0;

	(void)snprintf(a.sun_path, sizeof(a.sun_path), "%s", w->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = old;
	none.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	while (turns < 100 && sd_event_run(w->event, 0) > 0)
		turns++;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_in_range(turns, 1, 10);
	assert_int_equal(rpc_server_connections(w->server), 0);
	while (rpc_server_connections(w->server) == 0)
		assert_true(sd_event_run(w->event, 5000000) > 0);
	PUT(fd, "{\"method\":\"t.Echo\"}");
	assert_string_equal(get(fd), "{\"parameters\":{}}");
	close(fd);
}

static void the_last_reply_is_sent_before_the_loop_runs_again(void **state)
{
	int fd = dial();
	char text[64] = "";

	PUT(fd, "{\"method\":\"t.Hold\"}");
	rpc_reply(w->held, NULL);
	w->held = NULL;
	w->server = rpc_server_free(w->server);
	assert_true(read(fd, text, sizeof(text)) > 0);
	assert_string_equal(text, "{\"parameters\":{}}");
	close(fd);
}

/* ---- Streams ------------------------------------------------------------ */

static void only_who_asks_for_more_gets_more(void **state)
{
	int fd = dial();

	PUT(fd, "{\"method\":\"t.Count\"}");
	assert_string_equal(get(fd), "{\"parameters\":{\"n\":2}}");
	PUT(fd, "{\"method\":\"t.Count\",\"more\":true}");
	assert_non_null(strstr(get(fd), "{\"n\":0}"));
	assert_non_null(strstr(get(fd), "{\"n\":1}"));
	assert_string_equal(get(fd), "{\"parameters\":{\"n\":2}}");
	close(fd);
}

static void a_producer_pauses_until_its_reader_goes_on(void **state)
{
	static char buf[1 << 20];
	size_t total = 0;
	unsigned first;
	int fd = dial();
	ssize_t n;

	PUT(fd, "{\"method\":\"t.Stream\",\"more\":true}");
	first = w->produced;
	assert_true(first > 0 && first < PIECES);
	run_idle();
	assert_int_equal(w->produced, first);
	while (total < PIECES * 100001ul + 17) {
		run_idle();
		n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
		assert_true(n > 0 || errno == EAGAIN);
		total += n > 0 ? (size_t)n : 0;
	}
	run_idle();
	assert_int_equal(w->produced, PIECES);
	assert_true(w->drains > 2);
	PUT(fd, "{\"method\":\"t.Echo\"}");
	assert_non_null(strstr(get(fd), "parameters"));
	close(fd);
}

static void a_producer_of_single_pieces_is_called_for_each(void **state)
{
	int fd = dial();

	PUT(fd, "{\"method\":\"t.Step\",\"more\":true}");
	for (unsigned i = 0; i < 9; i++)
		assert_non_null(strstr(get(fd), "\"continues\":true"));
	assert_string_equal(get(fd), "{\"parameters\":{}}");
	assert_int_equal(w->produced, 10);
	close(fd);
}

static void a_reader_that_leaves_too_much_unread_is_hung_up_on(void **state)
{
	int fd = dial();

	PUT(fd, "{\"method\":\"t.Flood\",\"more\":true}");
	run_until(&w->done);
	assert_int_equal(w->hangups, 1);
	assert_int_equal(rpc_server_connections(w->server), 0);
	close(fd);
}

/* ---- Descriptors -------------------------------------------------------- */

/* Sends BYTES with N descriptors of FD. */
static void put_with_fds(int socket, const char *bytes, size_t n, int fd,
			 unsigned n_fds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(253 * sizeof(int))];
	} control = {0};
	struct iovec iov = {(void *)(uintptr_t)bytes, n};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.bytes,
			     .msg_controllen = CMSG_SPACE(n_fds * sizeof(int))};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
	for (unsigned i = 0; i < n_fds; i++)
		memcpy(CMSG_DATA(c) + i * sizeof(int), &fd, sizeof(fd));
	assert_int_equal(sendmsg(socket, &msg, 0), n);
}

static void descriptors_go_to_the_message_they_came_with(void **state)
{
	const char first[] = "{\"method\":\"t.Fds\"}";
	const char two[] = "{\"method\":\"t.Fds\"}\0{\"method\":\"t.Fds\"}";
	int fd = dial(), null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	/* All of it waits before the server reads any of it. */
	assert_int_equal(send(fd, first, sizeof(first), 0), sizeof(first));
	put_with_fds(fd, two, sizeof(two), null, 3);
	put_with_fds(fd, first, sizeof(first), null, 2);
	assert_string_equal(get(fd), "{\"parameters\":{\"n\":0}}");
	assert_string_equal(get(fd), "{\"parameters\":{\"n\":3}}");
	assert_string_equal(get(fd), "{\"parameters\":{\"n\":0}}");
	assert_string_equal(get(fd), "{\"parameters\":{\"n\":2}}");
	close(fd);
	close(null);
}

static void descriptors_beyond_the_limit_are_closed(void **state)
{
	int fd = dial(), null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int before = count_fds();

	put_with_fds(fd, "{\"method\":", 10, null, RPC_FDS_MAX);
	put_with_fds(fd, "\"t.Fds\"}", 9, null, 200);
	assert_string_equal(get(fd), "{\"parameters\":{\"n\":72}}");
	assert_int_equal(count_fds(), before);
	close(fd);
	close(null);
}

static void descriptors_that_nobody_takes_are_closed(void **state)
{
	const char *calls[] = {"{\"method\":\"t.Leave\"}",
			       "{\"method\":\"t.Admin\"}",
			       "{\"method\":\"t.Nowhere\"}", "{\"odd\":1}"};
	int fd = dial(), null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int before = count_fds();

	for (unsigned i = 0; i < ARRAY_SIZE(calls); i++) {
		put_with_fds(fd, calls[i], strlen(calls[i]) + 1, null, 5);
		assert_non_null(strstr(get(fd), "parameters"));
		assert_int_equal(count_fds(), before);
	}
	/* Half a message, and the caller is gone. */
	put_with_fds(fd, "{", 1, null, 5);
	run_idle();
	close(fd);
	run_idle();
	assert_int_equal(count_fds(), before - 2);
	close(null);
}

/* ---- The client on the event loop --------------------------------------- */

struct got {
	unsigned replies, finals, lost;
	int code;
	long long value;
	unsigned fds;
	char text[256];
	bool done;
	struct rpc_client *free_me;
};

static void on_reply(void *arg, const struct err *err, json_t *parameters,
		     bool continues, const char *text, size_t bytes, int *fds,
		     unsigned n_fds)
{
	struct got *got = arg;

	got->replies++;
	got->finals += !continues;
	got->code = err->code;
	got->value = json_integer_value(json_object_get(parameters, "n"));
	got->fds = n_fds;
	for (unsigned i = 0; i < n_fds; i++)
		close(fds[i]);
	(void)snprintf(got->text, sizeof(got->text), "%.*s",
		       (int)(bytes < 200 ? bytes : 200), text);
	got->done = !continues;
	if (got->free_me)
		got->free_me = rpc_client_free(got->free_me);
}

static void on_closed(void *arg)
{
	((struct got *)arg)->lost++;
}

static struct rpc_client *attach(struct got *got)
{
	struct rpc_client *client = NULL;

	assert_int_equal(rpc_client_connect(w->path, 1000, &client, NULL), 0);
	assert_int_equal(
	    rpc_client_attach(client, w->event, on_closed, got, NULL), 0);
	return client;
}

static void calls_on_a_loop_are_answered_in_order(void **state)
{
	struct got a = {0}, b = {0}, c = {0};
	struct rpc_client *client = attach(&a);
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int fds[2] = {null, null};

	assert_int_equal(rpc_client_send(client, "t.Count", NULL, true, NULL, 0,
					 on_reply, &a, NULL),
			 0);
	assert_int_equal(rpc_client_send(client, "t.Fds", NULL, false, fds, 2,
					 on_reply, &b, NULL),
			 0);
	assert_int_equal(rpc_client_send(client, "t.Admin", NULL, false, NULL,
					 0, on_reply, &c, NULL),
			 0);
	assert_int_equal(a.replies, 0);
	run_until(&c.done);
	assert_int_equal(a.replies, 3);
	assert_int_equal(a.finals, 1);
	assert_int_equal(a.value, 2);
	assert_int_equal(b.code, 0);
	assert_int_equal(b.fds, 2);
	assert_string_equal(b.text, "{\"parameters\":{\"n\":2}}");
	assert_int_equal(c.code, -RP_EDENIED);
	assert_non_null(strstr(c.text, "PermissionDenied"));
	rpc_client_free(client);
	close(null);
}

static void a_proxys_replies_are_not_parsed_but_told_apart(void **state)
{
	struct got a = {0}, b = {0};
	struct rpc_client *client = attach(&a);

	rpc_client_send_through(client, "t.Count", NULL, true, NULL, 0,
				on_reply, &a, NULL);
	rpc_client_send_through(client, "t.Admin", NULL, false, NULL, 0,
				on_reply, &b, NULL);
	run_until(&b.done);
	assert_int_equal(a.replies, 3);
	assert_int_equal(a.finals, 1);
	assert_int_equal(a.value, 0);
	assert_string_equal(a.text, "{\"parameters\":{\"n\":2}}");
	assert_int_equal(b.code, -RP_EDENIED);
	rpc_client_free(client);
}

static void who_waits_is_told_when_the_peer_is_lost(void **state)
{
	struct got a = {0}, b = {0};
	struct rpc_client *client = attach(&a);

	rpc_client_send(client, "t.Hold", NULL, false, NULL, 0, on_reply, &a,
			NULL);
	rpc_client_send(client, "t.Echo", NULL, false, NULL, 0, on_reply, &b,
			NULL);
	run_until(&w->done);
	w->server = rpc_server_free(w->server);
	assert_int_equal(w->hangups, 1);
	run_until(&b.done);
	assert_int_equal(a.code, -RP_EUNREACHABLE);
	assert_int_equal(b.code, -RP_EUNREACHABLE);
	assert_int_equal(a.replies, 1);
	assert_int_equal(b.replies, 1);
	assert_int_equal(a.lost, 1);
	assert_int_equal(rpc_client_send(client, "t.Echo", NULL, false, NULL, 0,
					 on_reply, &b, NULL),
			 -RP_EUNREACHABLE);
	rpc_client_free(client);
}

static void a_client_may_be_freed_by_its_own_reply(void **state)
{
	struct got a = {0};
	struct rpc_client *client = attach(&a);

	a.free_me = client;
	rpc_client_send(client, "t.Count", NULL, true, NULL, 0, on_reply, &a,
			NULL);
	while (a.free_me)
		assert_true(sd_event_run(w->event, 1000000) > 0);
	run_idle();
	assert_int_equal(a.replies, 1);
	assert_int_equal(a.lost, 0);
}

static void a_paused_client_holds_its_producer_back(void **state)
{
	struct got a = {0};
	struct rpc_client *client = attach(&a);

	rpc_client_pause(client, true);
	rpc_client_send(client, "t.Stream", NULL, true, NULL, 0, on_reply, &a,
			NULL);
	run_until(&w->done);
	run_idle();
	assert_true(w->produced < PIECES);
	assert_int_equal(a.replies, 0);
	rpc_client_pause(client, false);
	run_until(&a.done);
	assert_int_equal(a.replies, PIECES + 1);
	rpc_client_free(client);
}

static void replies_are_read_though_the_peer_closed_while_paused(void **state)
{
	struct got a = {0};
	struct rpc_client *client = attach(&a);

	rpc_client_send(client, "t.Count", NULL, true, NULL, 0, on_reply, &a,
			NULL);
	rpc_client_pause(client, true);
	while (rpc_server_connections(w->server) == 0)
		sd_event_run(w->event, 1000000);
	run_idle();
	w->server = rpc_server_free(w->server);
	run_idle();
	assert_int_equal(a.replies, 0);
	rpc_client_pause(client, false);
	run_until(&a.done);
	run_idle();
	assert_int_equal(a.replies, 3);
	assert_int_equal(a.code, 0);
	assert_int_equal(a.lost, 1);
	rpc_client_free(client);
}

/* ---- The blocking client ------------------------------------------------ */

static pthread_t thread;
static int wake[2];

static int on_wake(sd_event_source *source, int fd, uint32_t revents, void *arg)
{
	w->done = true;
	return 0;
}

static void *run_body(void *arg)
{
	void (*body)(void) = *(void (**)(void))arg;

	body();
	assert_int_equal(write(wake[1], "x", 1), 1);
	return NULL;
}

/* Runs BODY, which may wait, beside the server. */
static void beside_server(void (*body)(void))
{
	sd_event_source *source = NULL;

	assert_int_equal(pipe2(wake, O_CLOEXEC), 0);
	assert_true(sd_event_add_io(w->event, &source, wake[0], POLLIN, on_wake,
				    NULL) >= 0);
	assert_int_equal(pthread_create(&thread, NULL, run_body, &body), 0);
	do {
		w->done = false;
		assert_true(sd_event_run(w->event, 20000000) > 0);
	} while (pthread_tryjoin_np(thread, NULL) != 0);
	sd_event_source_unref(source);
	close(wake[0]);
	close(wake[1]);
}

static struct rpc_client *connected(void)
{
	struct rpc_client *client = NULL;

	assert_int_equal(rpc_client_connect(w->path, 1000, &client, NULL), 0);
	assert_int_equal(rpc_client_peer_uid(client), getuid());
	return client;
}

static void body_calls(void)
{
	struct rpc_client *client = connected();
	json_t *reply = NULL;
	struct err err = {0};
	int fds[3] = {client ? rpc_client_fd(client) : -1, 0, 0}, got[2];
	unsigned n = 2;

	fds[1] = fds[2] = fds[0];
	assert_int_equal(rpc_call(client, "t.Echo", json_pack("{s:i}", "a", 7),
				  NULL, 0, 5000, &reply, NULL, NULL, &err),
			 0);
	assert_int_equal(json_integer_value(json_object_get(reply, "a")), 7);
	json_decref(reply);
	assert_int_equal(rpc_call(client, "t.Admin", NULL, NULL, 0, 5000, NULL,
				  NULL, NULL, &err),
			 -RP_EDENIED);
	assert_non_null(strstr(err.text, "not allowed"));
	/* Three come back, there is room for two. */
	assert_int_equal(
	    rpc_call(client, "t.Fds", NULL, fds, 3, 0, NULL, got, &n, &err), 0);
	assert_int_equal(n, 2);
	close(got[0]);
	close(got[1]);
	rpc_client_free(client);
}

static void a_blocking_call_returns_reply_error_and_descriptors(void **state)
{
	beside_server(body_calls);
}

static void body_timeout(void)
{
	struct rpc_client *client = connected();
	struct err err = {0};

	assert_int_equal(rpc_call(client, "t.Hold", NULL, NULL, 0, 50, NULL,
				  NULL, NULL, &err),
			 -RP_ETIMEOUT);
	assert_int_equal(rpc_call(client, "t.Echo", NULL, NULL, 0, 50, NULL,
				  NULL, NULL, &err),
			 -RP_EUNREACHABLE);
	rpc_client_free(client);
}

static void a_blocking_call_ends_in_time_and_spends_the_connection(void **state)
{
	beside_server(body_timeout);
}

static int count_reply(void *arg, json_t *parameters, bool continues)
{
	unsigned *n = arg;

	assert_int_equal(json_integer_value(json_object_get(parameters, "n")),
			 *n);
	assert_int_equal(continues, *n < 2);
	return ++*n == 5 ? -RP_ECANCELLED : 0;
}

static void body_stream(void)
{
	struct rpc_client *client = connected();
	unsigned n = 0;

	assert_int_equal(rpc_call_more_replies(client, "t.Count", NULL, 5000,
					       count_reply, &n, NULL),
			 0);
	assert_int_equal(n, 3);
	assert_int_equal(rpc_call(client, "t.Echo", NULL, NULL, 0, 5000, NULL,
				  NULL, NULL, NULL),
			 0);
	rpc_client_free(client);
}

static void a_blocking_stream_hands_out_each_reply(void **state)
{
	beside_server(body_stream);
}

static int refuse_reply(void *arg, json_t *parameters, bool continues)
{
	return -RP_ECANCELLED;
}

static void body_cancel(void)
{
	struct rpc_client *client = connected();

	assert_int_equal(rpc_call_more_replies(client, "t.Stream", NULL, 5000,
					       refuse_reply, NULL, NULL),
			 -RP_ECANCELLED);
	assert_int_equal(rpc_call(client, "t.Echo", NULL, NULL, 0, 5000, NULL,
				  NULL, NULL, NULL),
			 -RP_EUNREACHABLE);
	rpc_client_free(client);
}

static void a_stream_that_its_reader_ends_is_hung_up(void **state)
{
	bool gone;

	beside_server(body_cancel);
	do {
		run_idle();
		gone = rpc_server_connections(w->server) == 0;
	} while (!gone);
}

static void a_missing_socket_and_a_forbidden_one_differ(void **state)
{
	struct rpc_client *client = NULL;
	struct err err = {0};

	assert_int_equal(rpc_client_connect("/nowhere/socket", 100, &client,
					    &err),
			 -RP_EUNREACHABLE);
	assert_non_null(strstr(err.text, "/nowhere/socket"));
	if (getuid() != 0) {
		assert_int_equal(chmod(w->path, 0), 0);
		assert_int_equal(rpc_client_connect(w->path, 100, &client,
						    &err),
				 -RP_EDENIED);
	}
	assert_null(client);
}

static void a_socket_whose_path_is_long_is_reached(void **state)
{
	char dir[200], path[240];
	struct rpc_client *client = NULL;

	(void)snprintf(dir, sizeof(dir), "%s/%0120d", w->dir, 1);
	(void)snprintf(path, sizeof(path), "%s/socket", dir);
	assert_int_equal(mkdir(dir, 0700), 0);
	assert_int_equal(rename(w->path, path), 0);
	assert_int_equal(rpc_client_connect(path, 1000, &client, NULL), 0);
	rpc_client_free(client);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(dir), 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_call_split_into_bytes_is_answered),
	    TEST(two_calls_in_one_write_are_answered_in_order),
	    TEST(a_call_waits_for_the_one_before_it),
	    TEST(bytes_that_are_not_json_end_the_connection),
	    TEST(a_wrong_call_does_not_end_the_connection),
	    TEST(an_over_long_call_is_refused_and_ends_the_connection),
	    TEST(a_caller_that_only_closes_its_writing_side_is_answered),
	    TEST(a_caller_that_goes_away_is_noticed),
	    TEST(the_callers_credentials_are_known),
	    TEST(users_that_are_not_listed_are_turned_away),
	    TEST(connections_beyond_the_limit_are_closed_at_once),
	    TEST(running_out_of_descriptors_does_not_spin),
	    TEST(the_last_reply_is_sent_before_the_loop_runs_again),
	    TEST(only_who_asks_for_more_gets_more),
	    TEST(a_producer_pauses_until_its_reader_goes_on),
	    TEST(a_producer_of_single_pieces_is_called_for_each),
	    TEST(a_reader_that_leaves_too_much_unread_is_hung_up_on),
	    TEST(descriptors_go_to_the_message_they_came_with),
	    TEST(descriptors_beyond_the_limit_are_closed),
	    TEST(descriptors_that_nobody_takes_are_closed),
	    TEST(calls_on_a_loop_are_answered_in_order),
	    TEST(a_proxys_replies_are_not_parsed_but_told_apart),
	    TEST(who_waits_is_told_when_the_peer_is_lost),
	    TEST(a_client_may_be_freed_by_its_own_reply),
	    TEST(a_paused_client_holds_its_producer_back),
	    TEST(replies_are_read_though_the_peer_closed_while_paused),
	    TEST(a_blocking_call_returns_reply_error_and_descriptors),
	    TEST(a_blocking_call_ends_in_time_and_spends_the_connection),
	    TEST(a_blocking_stream_hands_out_each_reply),
	    TEST(a_stream_that_its_reader_ends_is_hung_up),
	    TEST(a_missing_socket_and_a_forbidden_one_differ),
	    TEST(a_socket_whose_path_is_long_is_reached),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
