/* SPDX-License-Identifier: Apache-2.0 */
/* The thread that watches the clock, and nothing else. */
#include <sys/socket.h>
#include <time.h>

#include "http/internal.h"

#define LOOK_MS 500 /* how late a deadline may be noticed */

/* Disconnects who is too slow. */
static void end_late(struct http_server *server, uint64_t now)
{
	for (struct connection *c = server->first; c; c = c->next) {
		if (c->dying || now < c->deadline_ms)
			continue;
		c->dying = true;
		server->n_live--;
		(void)shutdown(c->fd, SHUT_RDWR);
	}
}

static void wait_until(struct http_server *server, uint64_t when)
{
	struct timespec ts = {.tv_sec = (time_t)(when / 1000),
			      .tv_nsec = (long)(when % 1000) * 1000000};

	(void)pthread_cond_timedwait(&server->changed, &server->lock, &ts);
}

/* With the lock, which is let go meanwhile; returns when the next is due. */
static uint64_t release(struct http_server *server, bool all)
{
	uint64_t next;
	struct exchange *due = exchange_take_due(server, now_ms(), all, &next);

	if (due) {
		(void)pthread_mutex_unlock(&server->lock);
		exchange_resume(due);
		(void)pthread_mutex_lock(&server->lock);
		next = 0;
	}
	return next;
}

static void *warden(void *arg)
{
	struct http_server *server = arg;
	uint64_t due;

	(void)pthread_mutex_lock(&server->lock);
	while (!server->warden_stops) {
		end_late(server, now_ms());
		due = release(server, false);
		if (due == 0)
			continue;
		if (!server->first)
			(void)pthread_cond_wait(&server->changed,
						&server->lock);
		else
			wait_until(server, MIN(due, now_ms() + LOOK_MS));
	}
	(void)release(server, true);
	(void)pthread_mutex_unlock(&server->lock);
	return NULL;
}

int warden_start(struct http_server *server, struct err *err)
{
	int r = -pthread_create(&server->warden, NULL, warden, server);

	if (r < 0)
		return err_set(err, r, "start a thread");
	server->warden_runs = true;
	return 0;
}

void warden_stop(struct http_server *server)
{
	if (!server->warden_runs)
		return;
	(void)pthread_mutex_lock(&server->lock);
	server->warden_stops = true;
	(void)pthread_cond_signal(&server->changed);
	(void)pthread_mutex_unlock(&server->lock);
	(void)pthread_join(server->warden, NULL);
	server->warden_runs = false;
}
