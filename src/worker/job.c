/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/job.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define THREADS (1 + QUERY_THREADS)

struct queue {
	struct job *first;
	struct job **end;
};

struct lane_thread {
	struct jobs *jobs;
	enum lane lane;
	pthread_t thread;
};

struct jobs {
	sd_event_source *source;
	int eventfd;
	unsigned pending; /* the event loop's */
	unsigned threads; /* started */
	struct lane_thread thread[THREADS];

	pthread_mutex_t lock; /* all below */
	pthread_cond_t more[LANES];
	struct queue waiting[LANES];
	struct queue done;
	bool stopping;
};

static void queue_init(struct queue *queue)
{
	queue->first = NULL;
	queue->end = &queue->first;
}

static void queue_put(struct queue *queue, struct job *job)
{
	job->next = NULL;
	*queue->end = job;
	queue->end = &job->next;
}

static struct job *queue_take(struct queue *queue)
{
	struct job *job = queue->first;

	if (!job)
		return NULL;
	queue->first = job->next;
	if (!queue->first)
		queue->end = &queue->first;
	return job;
}

static void *lane_run(void *arg)
{
	static const uint64_t one = 1;
	struct lane_thread *self = arg;
	struct jobs *jobs = self->jobs;
	struct job *job;

	(void)pthread_setname_np(pthread_self(), self->lane == LANE_CONTROL
						     ? "control"
						     : "query");
	(void)pthread_mutex_lock(&jobs->lock);
	while (!jobs->stopping) {
		job = queue_take(&jobs->waiting[self->lane]);
		if (!job) {
			(void)pthread_cond_wait(&jobs->more[self->lane],
						&jobs->lock);
			continue;
		}
		(void)pthread_mutex_unlock(&jobs->lock);
		job->run(job);
		(void)pthread_mutex_lock(&jobs->lock);
		queue_put(&jobs->done, job);
		(void)!write(jobs->eventfd, &one, sizeof(one));
	}
	(void)pthread_mutex_unlock(&jobs->lock);
	return NULL;
}

static int on_done(sd_event_source *source, int fd, uint32_t revents, void *arg)
{
	struct jobs *jobs = arg;
	struct job *job;
	uint64_t count;

	(void)!read(fd, &count, sizeof(count));
	(void)pthread_mutex_lock(&jobs->lock);
	while ((job = queue_take(&jobs->done))) {
		(void)pthread_mutex_unlock(&jobs->lock);
		jobs->pending--;
		job->done(job);
		(void)pthread_mutex_lock(&jobs->lock);
	}
	(void)pthread_mutex_unlock(&jobs->lock);
	return 0;
}

static int start_threads(struct jobs *jobs, struct err *err)
{
	while (jobs->threads < THREADS) {
		struct lane_thread *t = &jobs->thread[jobs->threads];
		int r;

		t->jobs = jobs;
		t->lane = jobs->threads == 0 ? LANE_CONTROL : LANE_QUERY;
		r = pthread_create(&t->thread, NULL, lane_run, t);
		if (r)
			return err_set(err, -r, "start a thread");
		jobs->threads++;
	}
	return 0;
}

int jobs_new(sd_event *event, struct jobs **ret_jobs, struct err *err)
{
	struct jobs *jobs = calloc(1, sizeof(*jobs));
	int r;

	if (!jobs)
		return err_set(err, -ENOMEM, "jobs");
	(void)pthread_mutex_init(&jobs->lock, NULL);
	for (unsigned i = 0; i < LANES; i++) {
		(void)pthread_cond_init(&jobs->more[i], NULL);
		queue_init(&jobs->waiting[i]);
	}
	queue_init(&jobs->done);
	jobs->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = jobs->eventfd < 0
		? -errno
		: sd_event_add_io(event, &jobs->source, jobs->eventfd, EPOLLIN,
				  on_done, jobs);
	if (r < 0)
		err_set(err, r, "eventfd");
	else
		r = start_threads(jobs, err);
	if (r < 0) {
		jobs_free(jobs);
		return r;
	}
	*ret_jobs = jobs;
	return 0;
}

struct jobs *jobs_free(struct jobs *jobs)
{
	if (!jobs)
		return NULL;
	(void)pthread_mutex_lock(&jobs->lock);
	jobs->stopping = true;
	for (unsigned i = 0; i < LANES; i++)
		(void)pthread_cond_broadcast(&jobs->more[i]);
	(void)pthread_mutex_unlock(&jobs->lock);
	for (unsigned i = 0; i < jobs->threads; i++)
		(void)pthread_join(jobs->thread[i].thread, NULL);
	sd_event_source_disable_unref(jobs->source);
	if (jobs->eventfd >= 0)
		(void)close(jobs->eventfd);
	for (unsigned i = 0; i < LANES; i++)
		(void)pthread_cond_destroy(&jobs->more[i]);
	(void)pthread_mutex_destroy(&jobs->lock);
	free(jobs);
	return NULL;
}

void jobs_submit(struct jobs *jobs, enum lane lane, struct job *job)
{
	jobs->pending++;
	(void)pthread_mutex_lock(&jobs->lock);
	queue_put(&jobs->waiting[lane], job);
	(void)pthread_cond_signal(&jobs->more[lane]);
	(void)pthread_mutex_unlock(&jobs->lock);
}

unsigned jobs_pending(const struct jobs *jobs)
{
	return jobs->pending;
}
