/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/waiting.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "providers/backend.h"

/* Of the process, as its handlers are. */
static struct {
	pthread_mutex_t lock;
	struct waiting *first;
	bool stopped;
} all = {.lock = PTHREAD_MUTEX_INITIALIZER};

static uint64_t now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

struct count {
	unsigned all, vm;           /* callers that wait for workers */
	unsigned all_slow, vm_slow; /* ... for longer than a well one takes */
};

static struct count count(const char *vm, uint64_t now)
{
	struct count n = {0};

	for (const struct waiting *w = all.first; w; w = w->next) {
		bool same = strcmp(w->vm, vm) == 0;
		bool slow = now - w->began_ms >= BACKEND_BRIEF_MS;

		if (!*w->vm)
			continue;
		n.all++;
		n.all_slow += slow;
		n.vm += same;
		n.vm_slow += same && slow;
	}
	return n;
}

static int stopping(struct err *err)
{
	return err_set(err, -RP_ECANCELLED, "the gateway is stopping");
}

static int admit(struct waiting *call, const char *vm, unsigned *ms,
		 struct err *err)
{
	struct count n = count(vm, call->began_ms);

	if (n.vm_slow >= CIM_WAITERS_PER_VM ||
	    (n.vm_slow && n.all_slow >= CIM_WAITERS_MAX))
		return err_set(err, -RP_EINUSE,
			       "the worker of '%s' keeps %u others waiting", vm,
			       n.vm_slow);
	if (n.vm < CIM_WAITERS_PER_VM && n.all < CIM_WAITERS_MAX)
		(void)snprintf(call->vm, sizeof(call->vm), "%s", vm);
	else
		*ms = MIN(*ms, BACKEND_BRIEF_MS);
	return 0;
}

int waiting_begin(struct waiting *call, const char *vm, unsigned total_ms,
		  unsigned *ret_total_ms, struct err *err)
{
	int r = 0;

	*call = (struct waiting){.fd = -1, .began_ms = now_ms()};
	(void)pthread_mutex_lock(&all.lock);
	if (all.stopped)
		r = stopping(err);
	else if (vm)
		r = admit(call, vm, &total_ms, err);
	if (r == 0) {
		call->next = all.first;
		if (all.first)
			all.first->prev = call;
		all.first = call;
		*ret_total_ms = total_ms;
	}
	(void)pthread_mutex_unlock(&all.lock);
	return r;
}

int waiting_connected(struct waiting *call, int fd, struct err *err)
{
	int r;

	(void)pthread_mutex_lock(&all.lock);
	call->fd = fd;
	r = all.stopped ? stopping(err) : 0;
	(void)pthread_mutex_unlock(&all.lock);
	return r;
}

void waiting_end(struct waiting *call)
{
	(void)pthread_mutex_lock(&all.lock);
	if (call->prev)
		call->prev->next = call->next;
	else
		all.first = call->next;
	if (call->next)
		call->next->prev = call->prev;
	(void)pthread_mutex_unlock(&all.lock);
}

void waiting_stop(bool stop)
{
	(void)pthread_mutex_lock(&all.lock);
	all.stopped = stop;
	for (const struct waiting *w = all.first; stop && w; w = w->next)
		if (w->fd >= 0)
			(void)shutdown(w->fd, SHUT_RDWR);
	(void)pthread_mutex_unlock(&all.lock);
}
