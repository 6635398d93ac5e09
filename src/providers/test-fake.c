/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/test-fake.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

struct fake {
	sd_event *event;
	struct rpc_server *server;
	pthread_t thread;
	int stop; /* an eventfd */
	char dir[64], path[96];
};

static int on_stop(sd_event_source *source, int fd, uint32_t events, void *arg)
{
	struct fake *fake = arg;

	fake->server = rpc_server_free(fake->server);
	return sd_event_exit(fake->event, 0);
}

static void *run(void *arg)
{
	struct fake *fake = arg;

	(void)sd_event_loop(fake->event);
	return NULL;
}

static int listen_at(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	(void)snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

struct fake *fake_new(const struct rpc_method *methods, void *arg,
		      struct backend *backend)
{
	struct fake *fake = calloc(1, sizeof(*fake));

	assert_non_null(fake);
	strcpy(fake->dir, "/tmp/test-providers.XXXXXX");
	assert_non_null(mkdtemp(fake->dir));
	(void)snprintf(fake->path, sizeof(fake->path), "%s/gateway.sock",
		       fake->dir);
	(void)snprintf(backend->socket, sizeof(backend->socket), "%s",
		       fake->path);
	fake->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_true(sd_event_new(&fake->event) >= 0);
	assert_int_equal(
	    rpc_server_new(fake->event, methods, arg, &fake->server, NULL), 0);
	assert_int_equal(rpc_server_listen(fake->server, listen_at(fake->path),
					   RPC_ROLE_GATEWAY, NULL, 0, NULL),
			 0);
	assert_true(sd_event_add_io(fake->event, NULL, fake->stop, EPOLLIN,
				    on_stop, fake) >= 0);
	assert_int_equal(pthread_create(&fake->thread, NULL, run, fake), 0);
	return fake;
}

struct fake *fake_free(struct fake *fake)
{
	if (!fake)
		return NULL;
	assert_int_equal(eventfd_write(fake->stop, 1), 0);
	(void)pthread_join(fake->thread, NULL);
	sd_event_unref(fake->event);
	(void)close(fake->stop);
	(void)unlink(fake->path);
	(void)rmdir(fake->dir);
	free(fake);
	return NULL;
}
