/* SPDX-License-Identifier: Apache-2.0 */
/* The server over real sockets, its peer bytes written by hand. */
#include "rpc/test-scene.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>

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
	assert_string_equal(get(fd), "{\"parameters\":{\"n\":248}}");
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
