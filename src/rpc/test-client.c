/* SPDX-License-Identifier: Apache-2.0 */
/* The client over real sockets: on the server's loop, and the blocking one in a
 * thread of its own. */
#include "rpc/test-scene.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "rpc/wire.h"

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
	if (n_fds > 0) { /* it takes one and leaves the others */
		close(fds[0]);
		fds[0] = -1;
	}
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

/* A client on the loop whose peer is *RET_PEER, to be written to by hand. */
static struct rpc_client *attach_by_hand(struct got *got, int *ret_peer)
{
	struct rpc_client *client;
	int pair[2];

	assert_int_equal(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	client = rpc_client_from_fd(pair[0], "a socket");
	assert_non_null(client);
	assert_int_equal(
	    rpc_client_attach(client, w->event, on_closed, got, NULL), 0);
	*ret_peer = pair[1];
	return client;
}

typedef int send_fn(struct rpc_client *client, const char *method,
		    json_t *parameters, bool more, const int *fds,
		    unsigned n_fds, rpc_reply_fn *fn, void *arg,
		    struct err *err);

static void one_answer_goes_on(send_fn *send)
{
	struct got a = {0}, b = {0};
	int peer = -1;
	struct rpc_client *client = attach_by_hand(&a, &peer);

	assert_int_equal(
	    send(client, "t.A", NULL, false, NULL, 0, on_reply, &a, NULL), 0);
	assert_int_equal(
	    send(client, "t.B", NULL, true, NULL, 0, on_reply, &b, NULL), 0);
	PUT(peer, "{\"continues\":true}\0{\"continues\":true}\0{}\0{}");
	run_until(&b.done);
	run_idle();
	assert_int_equal(a.replies, 1);
	assert_int_equal(a.finals, 1);
	assert_int_equal(a.code, -RP_EUNREACHABLE);
	assert_int_equal(b.replies, 1);
	assert_int_equal(b.code, -RP_EUNREACHABLE);
	assert_int_equal(a.lost, 1);
	rpc_client_free(client);
	close(peer);
}

static void a_peer_that_answers_more_than_asked_is_lost(void **state)
{
	one_answer_goes_on(rpc_client_send);
	one_answer_goes_on(rpc_client_send_through);
}

static void put_with_fds(int peer, const char *text, unsigned n)
{
	int fds[RPC_FDS_MAX];
	struct wire_out out = {0};

	for (unsigned i = 0; i < n; i++)
		fds[i] = peer;
	assert_int_equal(wire_out_add(&out, text, strlen(text), fds, n, NULL),
			 0);
	assert_int_equal(wire_out_flush(&out, peer, NULL), 0);
	assert_int_equal(out.backlog, 0);
}

static void descriptors_that_nobody_takes_are_closed(void **state)
{
	struct got a = {0};
	int peer = -1, before;
	struct rpc_client *client = attach_by_hand(&a, &peer);

	rpc_client_send(client, "t.A", NULL, true, NULL, 0, on_reply, &a, NULL);
	before = count_fds();
	for (unsigned i = 0; i < 10; i++) {
		put_with_fds(peer, "{\"continues\":true}", RPC_FDS_MAX);
		run_idle();
		assert_int_equal(a.replies, i + 1);
		assert_int_equal(a.fds, RPC_FDS_MAX);
		assert_int_equal(count_fds(), before);
	}
	put_with_fds(peer, "{}", 2);
	run_until(&a.done);
	assert_int_equal(a.fds, 2);
	assert_int_equal(count_fds(), before);
	rpc_client_free(client);
	close(peer);
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

static int take_text(void *arg, char *text, size_t bytes)
{
	unsigned *n = arg;
	char expected[32];
	const char *at;

	(void)snprintf(expected, sizeof(expected), "{\"n\":%u}", *n);
	at = strstr(text, "\"parameters\":");
	assert_non_null(at);
	assert_memory_equal(at + strlen("\"parameters\":"), expected,
			    strlen(expected));
	assert_int_equal(strlen(text), bytes);
	memset(text, 'x', bytes);
	++*n;
	return 0;
}

static void body_text(void)
{
	struct rpc_client *client = connected();
	struct err err = {0};
	unsigned n = 0;

	assert_int_equal(rpc_call_more_text(client, "t.Count", NULL, 5000,
					    take_text, &n, NULL),
			 0);
	assert_int_equal(n, 3);
	assert_int_equal(rpc_call_more_text(client, "t.Admin", NULL, 5000,
					    take_text, &n, &err),
			 -RP_EDENIED);
	assert_int_equal(err.code, -RP_EDENIED);
	assert_int_equal(n, 3);
	rpc_client_free(client);
}

static void a_streams_texts_are_handed_out_as_they_are(void **state)
{
	beside_server(body_text);
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

/* Promises more for as long as it is listened to. */
static void *promise(void *arg)
{
	static const char more[] = "{\"parameters\":{},\"continues\":true}";
	const int *fd = arg;

	while (send(*fd, more, sizeof(more), MSG_NOSIGNAL) > 0)
		;
	return NULL;
}

static int take_any(void *arg, json_t *parameters, bool continues)
{
	return 0;
}

static void a_limit_is_of_the_whole_call(void **state)
{
	struct rpc_client *client;
	struct err err = {0};
	pthread_t peer;
	int fds[2];

	assert_int_equal(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	client = rpc_client_from_fd(fds[0], "a socket");
	assert_non_null(client);
	assert_int_equal(pthread_create(&peer, NULL, promise, &fds[1]), 0);
	rpc_client_limit(client, 200);
	assert_int_equal(rpc_call_more_replies(client, "t.Count", NULL, 60000,
					       take_any, NULL, &err),
			 -RP_ETIMEOUT);
	rpc_client_free(client);
	assert_int_equal(pthread_join(peer, NULL), 0);
	close(fds[1]);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(calls_on_a_loop_are_answered_in_order),
	    TEST(a_proxys_replies_are_not_parsed_but_told_apart),
	    TEST(who_waits_is_told_when_the_peer_is_lost),
	    TEST(a_client_may_be_freed_by_its_own_reply),
	    TEST(a_paused_client_holds_its_producer_back),
	    TEST(replies_are_read_though_the_peer_closed_while_paused),
	    TEST(a_peer_that_answers_more_than_asked_is_lost),
	    TEST(descriptors_that_nobody_takes_are_closed),
	    TEST(a_blocking_call_returns_reply_error_and_descriptors),
	    TEST(a_blocking_call_ends_in_time_and_spends_the_connection),
	    TEST(a_blocking_stream_hands_out_each_reply),
	    TEST(a_streams_texts_are_handed_out_as_they_are),
	    TEST(a_stream_that_its_reader_ends_is_hung_up),
	    TEST(a_limit_is_of_the_whole_call),
	    TEST(a_missing_socket_and_a_forbidden_one_differ),
	    TEST(a_socket_whose_path_is_long_is_reached),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
