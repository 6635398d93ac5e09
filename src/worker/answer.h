/* SPDX-License-Identifier: Apache-2.0 */
/* One thread waits for another's word. */
#ifndef WORKER_ANSWER_H
#define WORKER_ANSWER_H

#include <pthread.h>
#include <stdbool.h>

struct answer {
	pthread_mutex_t lock;
	pthread_cond_t told;
	bool set;
};

static inline void answer_init(struct answer *answer)
{
	answer->set = false;
	(void)pthread_mutex_init(&answer->lock, NULL);
	(void)pthread_cond_init(&answer->told, NULL);
}

static inline void answer_done(struct answer *answer)
{
	(void)pthread_cond_destroy(&answer->told);
	(void)pthread_mutex_destroy(&answer->lock);
}

static inline void answer_tell(struct answer *answer)
{
	(void)pthread_mutex_lock(&answer->lock);
	answer->set = true;
	(void)pthread_cond_signal(&answer->told);
	(void)pthread_mutex_unlock(&answer->lock);
}

/* Until it was told once since the last time. */
static inline void answer_await(struct answer *answer)
{
	(void)pthread_mutex_lock(&answer->lock);
	while (!answer->set)
		(void)pthread_cond_wait(&answer->told, &answer->lock);
	answer->set = false;
	(void)pthread_mutex_unlock(&answer->lock);
}

#endif
