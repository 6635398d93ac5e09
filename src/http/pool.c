/* SPDX-License-Identifier: Apache-2.0 */
#include "http/pool.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "common/bytes.h"

#define STACK_BYTES KIB(512)

struct task {
	void (*run)(void *arg);
	void *arg;
};

struct pool {
	pthread_mutex_t lock;
	pthread_cond_t work, idle;
	bool closed; /* takes no more */
	bool stopping;
	unsigned n_threads, n_running;
	unsigned size, first, n; /* the queue, a ring */
	pthread_t *threads;
	struct task *queue;
};

/* The next task; false at the end. */
static bool take(struct pool *pool, struct task *ret_task)
{
	bool some;

	(void)pthread_mutex_lock(&pool->lock);
	while (!pool->n && !pool->stopping)
		(void)pthread_cond_wait(&pool->work, &pool->lock);
	some = pool->n > 0;
	if (some) {
		*ret_task = pool->queue[pool->first];
		pool->first = (pool->first + 1) % pool->size;
		pool->n--;
		pool->n_running++;
	}
	(void)pthread_mutex_unlock(&pool->lock);
	return some;
}

static void done(struct pool *pool)
{
	(void)pthread_mutex_lock(&pool->lock);
	if (--pool->n_running == 0 && pool->n == 0)
		(void)pthread_cond_broadcast(&pool->idle);
	(void)pthread_mutex_unlock(&pool->lock);
}

static void *work(void *arg)
{
	struct task task;

	while (take(arg, &task)) {
		task.run(task.arg);
		done(arg);
	}
	return NULL;
}

static int start_threads(struct pool *pool, unsigned threads, struct err *err)
{
	pthread_attr_t attr;
	int r = 0;

	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setstacksize(&attr, STACK_BYTES);
	while (r == 0 && pool->n_threads < threads) {
		r = -pthread_create(&pool->threads[pool->n_threads], &attr,
				    work, pool);
		if (r == 0)
			pool->n_threads++;
	}
	(void)pthread_attr_destroy(&attr);
	return r < 0 ? err_set(err, r, "start a thread") : 0;
}

int pool_start(unsigned threads, unsigned queue, struct pool **ret_pool,
	       struct err *err)
{
	struct pool *pool = calloc(1, sizeof(*pool));
	pthread_condattr_t attr;
	int r;

	if (!pool)
		return err_set(err, -ENOMEM, "pool of threads");
	(void)pthread_mutex_init(&pool->lock, NULL);
	(void)pthread_cond_init(&pool->work, NULL);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&pool->idle, &attr);
	(void)pthread_condattr_destroy(&attr);
	pool->size = queue;
	pool->threads = calloc(threads, sizeof(*pool->threads));
	pool->queue = calloc(queue, sizeof(*pool->queue));
	if (!pool->threads || !pool->queue)
		r = err_set(err, -ENOMEM, "pool of threads");
	else
		r = start_threads(pool, threads, err);
	if (r < 0) {
		pool_stop(pool);
		pool_free(pool);
		return r;
	}
	*ret_pool = pool;
	return 0;
}

int pool_submit(struct pool *pool, void (*run)(void *arg), void *arg)
{
	int r = 0;

	(void)pthread_mutex_lock(&pool->lock);
	if (pool->closed || pool->n == pool->size) {
		r = -EAGAIN;
	} else {
		pool->queue[(pool->first + pool->n) % pool->size] =
		    (struct task){run, arg};
		pool->n++;
		(void)pthread_cond_signal(&pool->work);
	}
	(void)pthread_mutex_unlock(&pool->lock);
	return r;
}

bool pool_drain(struct pool *pool, unsigned ms)
{
	struct timespec end;
	bool drained;
	int r = 0;

	(void)clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += ms / 1000;
	end.tv_nsec += (long)(ms % 1000) * 1000000;
	if (end.tv_nsec >= 1000000000) {
		end.tv_sec++;
		end.tv_nsec -= 1000000000;
	}
	(void)pthread_mutex_lock(&pool->lock);
	pool->closed = true;
	while (r == 0 && (pool->n || pool->n_running))
		r = pthread_cond_timedwait(&pool->idle, &pool->lock, &end);
	drained = !pool->n && !pool->n_running;
	(void)pthread_mutex_unlock(&pool->lock);
	return drained;
}

void pool_stop(struct pool *pool)
{
	if (!pool)
		return;
	(void)pthread_mutex_lock(&pool->lock);
	pool->closed = pool->stopping = true;
	(void)pthread_cond_broadcast(&pool->work);
	(void)pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < pool->n_threads; i++)
		(void)pthread_join(pool->threads[i], NULL);
	pool->n_threads = 0;
}

void pool_free(struct pool *pool)
{
	if (!pool)
		return;
	(void)pthread_cond_destroy(&pool->work);
	(void)pthread_cond_destroy(&pool->idle);
	(void)pthread_mutex_destroy(&pool->lock);
	free(pool->threads);
	free(pool->queue);
	free(pool);
}
