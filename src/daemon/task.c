/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/task.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct task {
	void (*run)(void *arg);
	void (*done)(void *arg);
	void *arg;
	int fd; /* an eventfd: it has run */
	sd_event_source *source;
};

static unsigned running; /* the loop's thread only */

static void *thread(void *arg)
{
	struct task *task = arg;
	uint64_t one = 1;

	task->run(task->arg);
	/* the last use of TASK on this thread */
	(void)!write(task->fd, &one, sizeof(one));
	return NULL;
}

/* What the thread wrote is ours once the eventfd was read. */
static int on_done(sd_event_source *source, int fd, uint32_t revents, void *arg)
{
	struct task *task = arg;
	uint64_t count;
	void (*done)(void *);
	void *done_arg;

	if (read(task->fd, &count, sizeof(count)) != sizeof(count))
		return 0;
	done = task->done;
	done_arg = task->arg;
	sd_event_source_disable_unref(task->source);
	(void)close(task->fd);
	free(task);
	running--;
	done(done_arg);
	return 0;
}

static int start(struct task *task)
{
	pthread_attr_t attr;
	sigset_t all, old;
	pthread_t id;
	int r;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	r = pthread_create(&id, &attr, thread, task);
	(void)pthread_attr_destroy(&attr);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -r;
}

int task_run(sd_event *event, void (*run)(void *arg), void (*done)(void *arg),
	     void *arg, struct err *err)
{
	struct task *task;
	int r;

	if (running >= TASKS_MAX)
		return err_set(err, -RP_ELIMIT,
			       "%u disks' opening hangs already", running);
	task = calloc(1, sizeof(*task));
	if (!task)
		return err_set(err, -ENOMEM, "start a thread");
	*task = (struct task){.run = run, .done = done, .arg = arg};
	task->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = task->fd < 0 ? -errno
			 : sd_event_add_io(event, &task->source, task->fd,
					   EPOLLIN, on_done, task);
	if (r >= 0)
		r = start(task);
	if (r >= 0) {
		running++;
		return 0;
	}
	sd_event_source_disable_unref(task->source);
	if (task->fd >= 0)
		(void)close(task->fd);
	free(task);
	return err_set(err, r, "start a thread");
}
