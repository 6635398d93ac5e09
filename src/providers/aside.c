/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/aside.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ended; /* one of them has */
static pthread_attr_t attributes;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static unsigned going_on;

static void prepare(void)
{
	pthread_condattr_t attr;

	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&ended, &attr);
	(void)pthread_condattr_destroy(&attr);
	(void)pthread_attr_init(&attributes);
	(void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
}

static void *run(void *arg)
{
	struct aside *aside = arg;
	bool left;

	aside->r = aside->fn(aside, &aside->err);
	(void)pthread_mutex_lock(&lock);
	going_on--;
	aside->done = true;
	left = aside->left; /* or else it is not ours any more */
	(void)pthread_cond_broadcast(&ended);
	(void)pthread_mutex_unlock(&lock);
	if (left)
		aside->free(aside);
	return NULL;
}

/* Under the lock. */
static int begin(struct aside *aside, struct err *err)
{
	pthread_t thread;
	int r;

	if (going_on >= ASIDES_MAX)
		return err_set(err, -RP_EINUSE,
			       "%u questions wait for a file system already",
			       going_on);
	r = -pthread_create(&thread, &attributes, run, aside);
	if (r < 0)
		return err_set(err, r, "a thread");
	going_on++;
	return 0;
}

/* Under the lock. */
static void wait_done(const struct aside *aside, unsigned ms)
{
	struct timespec until;
	int r = 0;

	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += ms % 1000 * 1000000L;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	while (!aside->done && r == 0)
		r = pthread_cond_timedwait(&ended, &lock, &until);
}

bool aside_run(struct aside *aside, unsigned ms, struct err *err)
{
	bool done = false;
	int r;

	(void)pthread_once(&once, prepare);
	aside->done = aside->left = false;
	(void)pthread_mutex_lock(&lock);
	r = begin(aside, err);
	if (r == 0) {
		wait_done(aside, ms);
		done = aside->done;
		aside->left = !done;
	}
	(void)pthread_mutex_unlock(&lock);
	if (r < 0)
		aside->free(aside);
	else if (!done)
		(void)err_set(err, -RP_ETIMEOUT,
			      "the file system does not answer");
	return done;
}
