/* SPDX-License-Identifier: Apache-2.0 */
#include "backup/file-source.h"

#include <pthread.h>
#include <stdlib.h>

#include "disk/image.h"
#include "disk/posix.h"

struct one_file {
	struct export_source base;
	struct file_sources *all;
	struct file *file;
};

struct file_sources {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t posted;
	struct ring_task *first, **last; /* to be run */
	bool over;
	unsigned n;
	struct one_file files[];
};

static struct one_file *file_of(struct export_source *base)
{
	return container_of(base, struct one_file, base);
}

static void post(struct export_source *base, struct ring_task *task)
{
	struct file_sources *s = file_of(base)->all;

	task->next = NULL;
	(void)pthread_mutex_lock(&s->lock);
	*s->last = task;
	s->last = &task->next;
	(void)pthread_cond_signal(&s->posted);
	(void)pthread_mutex_unlock(&s->lock);
}

static void read_now(struct export_source *base, struct volume_request *request)
{
	int64_t n = file_read(file_of(base)->file, request->data,
			      request->length, request->offset, NULL);

	if (n >= 0 && (uint64_t)n < request->length)
		n = -RP_ECORRUPT;
	request->done(request, n < 0 ? (int)n : 0);
}

/* Of a file that cannot tell all is read. */
static int extent(struct export_source *base, uint64_t offset, uint64_t end,
		  uint64_t *ret_to, bool *ret_hole, struct err *err)
{
	const struct file *file = file_of(base)->file;

	*ret_to = end;
	*ret_hole = false;
	if (posix_is_file(file))
		image_extent(posix_file_fd(file), offset, end, ret_to,
			     ret_hole);
	return 0;
}

static const struct export_source_ops ops = {
    .post = post,
    .read = read_now,
    .extent = extent,
};

/* The next task; NULL: it is over. */
static struct ring_task *take(struct file_sources *s)
{
	struct ring_task *task;

	(void)pthread_mutex_lock(&s->lock);
	while (!s->first && !s->over)
		(void)pthread_cond_wait(&s->posted, &s->lock);
	task = s->first;
	if (task) {
		s->first = task->next;
		if (!s->first)
			s->last = &s->first;
	}
	(void)pthread_mutex_unlock(&s->lock);
	return task;
}

static void *run(void *arg)
{
	struct file_sources *s = arg;
	struct ring_task *task;

	(void)pthread_setname_np(pthread_self(), "export-read");
	while ((task = take(s)))
		task->run(task);
	return NULL;
}

static void release(struct file_sources *s)
{
	(void)pthread_mutex_destroy(&s->lock);
	(void)pthread_cond_destroy(&s->posted);
	free(s);
}

int file_sources_new(struct file *const *files, unsigned n,
		     struct file_sources **ret_sources, struct err *err)
{
	struct file_sources *s =
	    calloc(1, sizeof(*s) + n * sizeof(s->files[0]));
	int r;

	if (!s)
		return err_set(err, -ENOMEM, "export");
	(void)pthread_mutex_init(&s->lock, NULL);
	(void)pthread_cond_init(&s->posted, NULL);
	s->last = &s->first;
	s->n = n;
	for (unsigned i = 0; i < n; i++)
		s->files[i] = (struct one_file){.base = {&ops},
						.all = s,
						.file = files[i]};
	r = -pthread_create(&s->thread, NULL, run, s);
	if (r < 0) {
		release(s);
		return err_set(err, r, "start a thread");
	}
	*ret_sources = s;
	return 0;
}

struct file_sources *file_sources_free(struct file_sources *s)
{
	if (!s)
		return NULL;
	(void)pthread_mutex_lock(&s->lock);
	s->over = true;
	(void)pthread_cond_signal(&s->posted);
	(void)pthread_mutex_unlock(&s->lock);
	(void)pthread_join(s->thread, NULL);
	for (unsigned i = 0; i < s->n; i++)
		file_close(s->files[i].file);
	release(s);
	return NULL;
}

struct export_source *file_source(struct file_sources *s, unsigned i)
{
	return &s->files[i].base;
}
