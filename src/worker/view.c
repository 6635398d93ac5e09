/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/view.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "common/blockset.h"
#include "common/log.h"

#define TRIES 3 /* points made while we look */

/* A question to the thread.  Two hold it: the asker, who may give up waiting,
 * and the thread; who comes last frees it. */
struct ask {
	struct ask *next;
	struct vm *vm;
	uint32_t disk;
	struct guid point;
	struct guid until;
	bool fixed; /* there is an UNTIL */
	bool done;
	bool abandoned;
	int result;
	uint64_t serial;
	struct vm_changes changes;
	struct err err;
};

struct views {
	pthread_t thread;
	pthread_mutex_t lock; /* all below */
	pthread_cond_t changed;
	struct ask *first;
	struct ask **end;
	bool busy;
	bool stopping;
};

struct nbd_view {
	struct views *views;
	struct vm *vm;
	uint32_t disk;
	struct guid point;
	struct guid until;
	bool fixed;
	uint64_t serial; /* of the vm, before SET was made */
	struct blockset *set;
};

static void ask_free(struct ask *ask)
{
	blockset_free(ask->changes.set);
	free(ask);
}

/* ---- The thread -----------------------------------------------------------
 */

static struct ask *take(struct views *views)
{
	struct ask *ask = views->first;

	views->first = ask->next;
	if (!views->first)
		views->end = &views->first;
	return ask;
}

static void answer(struct views *views, struct ask *ask)
{
	bool abandoned = ask->abandoned;

	views->busy = true;
	(void)pthread_mutex_unlock(&views->lock);
	if (!abandoned) {
		ask->serial = vm_changes_serial(ask->vm);
		ask->result = vm_changes(ask->vm, ask->disk, &ask->point,
					 ask->fixed ? &ask->until : NULL,
					 &ask->changes, &ask->err);
	}
	(void)pthread_mutex_lock(&views->lock);
	views->busy = false;
	ask->done = true;
	if (ask->abandoned)
		ask_free(ask);
	(void)pthread_cond_broadcast(&views->changed);
}

static void *views_run(void *arg)
{
	struct views *views = arg;

	(void)pthread_setname_np(pthread_self(), "views");
	(void)pthread_mutex_lock(&views->lock);
	while (!views->stopping) {
		if (views->first)
			answer(views, take(views));
		else
			(void)pthread_cond_wait(&views->changed, &views->lock);
	}
	(void)pthread_mutex_unlock(&views->lock);
	return NULL;
}

int views_new(struct views **ret_views, struct err *err)
{
	struct views *views = calloc(1, sizeof(*views));
	pthread_condattr_t attr;
	int r;

	if (!views)
		return err_set(err, -ENOMEM, "views");
	views->end = &views->first;
	(void)pthread_mutex_init(&views->lock, NULL);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&views->changed, &attr);
	(void)pthread_condattr_destroy(&attr);
	r = pthread_create(&views->thread, NULL, views_run, views);
	if (r) {
		free(views);
		return err_set(err, -r, "start a thread");
	}
	*ret_views = views;
	return 0;
}

struct views *views_free(struct views *views)
{
	if (!views)
		return NULL;
	(void)pthread_mutex_lock(&views->lock);
	views->stopping = true;
	(void)pthread_cond_broadcast(&views->changed);
	(void)pthread_mutex_unlock(&views->lock);
	(void)pthread_join(views->thread, NULL);
	while (views->first)
		ask_free(take(views));
	(void)pthread_cond_destroy(&views->changed);
	(void)pthread_mutex_destroy(&views->lock);
	free(views);
	return NULL;
}

void views_settle(struct views *views)
{
	(void)pthread_mutex_lock(&views->lock);
	while (views->first || views->busy)
		(void)pthread_cond_wait(&views->changed, &views->lock);
	(void)pthread_mutex_unlock(&views->lock);
}

/* ---- The server's side ----------------------------------------------------
 */

static struct timespec wait_until(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_sec += VIEW_WAIT_MS / 1000;
	ts.tv_nsec += VIEW_WAIT_MS % 1000 * 1000000;
	if (ts.tv_nsec >= 1000000000) {
		ts.tv_sec++;
		ts.tv_nsec -= 1000000000;
	}
	return ts;
}

/* Hands the question over and waits; true if it was answered. */
static bool ask_and_wait(struct views *views, struct ask *ask)
{
	const struct timespec end = wait_until();
	int r = 0;
	bool done;

	(void)pthread_mutex_lock(&views->lock);
	*views->end = ask;
	views->end = &ask->next;
	(void)pthread_cond_broadcast(&views->changed);
	while (!ask->done && r == 0)
		r = pthread_cond_timedwait(&views->changed, &views->lock, &end);
	done = ask->done;
	ask->abandoned = !done;
	(void)pthread_mutex_unlock(&views->lock);
	return done;
}

static int view_fill(struct nbd_view *view, struct err *err)
{
	struct ask *ask = calloc(1, sizeof(*ask));
	int r;

	if (!ask)
		return err_set(err, -ENOMEM, "view");
	ask->vm = view->vm;
	ask->disk = view->disk;
	ask->point = view->point;
	ask->until = view->until;
	ask->fixed = view->fixed;
	if (!ask_and_wait(view->views, ask))
		return err_set(err, -RP_ETIMEOUT,
			       "reading what changed takes too long");
	r = ask->result;
	if (r == 0) {
		blockset_free(view->set);
		view->set = ask->changes.set;
		view->serial = ask->serial;
		ask->changes.set = NULL;
	} else if (err) {
		*err = ask->err;
	}
	ask_free(ask);
	return r;
}

int view_open(struct views *views, struct vm *vm, uint32_t disk,
	      const char *point, const struct guid *until,
	      struct nbd_view **ret_view, struct err *err)
{
	struct nbd_view *view;
	struct guid id;
	int r;

	if (!guid_parse(point, &id))
		return err_set(err, -RP_ENOPOINT, "there is no point %.40s",
			       point);
	view = calloc(1, sizeof(*view));
	if (!view)
		return err_set(err, -ENOMEM, "view");
	*view = (struct nbd_view){
	    .views = views, .vm = vm, .disk = disk, .point = id};
	if (until && guid_equal(until, &id)) {
		free(view);
		return err_set(err, -RP_ENOPOINT,
			       "a snapshot is no point to itself");
	}
	if (until) {
		view->until = *until;
		view->fixed = true;
	}
	r = view_fill(view, err);
	if (r < 0) {
		view_close(view);
		/* UNTIL is there: POINT is younger, or is UNTIL itself */
		return until && r == -RP_EPARAM ? -RP_ENOPOINT : r;
	}
	*ret_view = view;
	return 0;
}

void view_close(struct nbd_view *view)
{
	blockset_free(view->set);
	free(view);
}

/* Brings the set up to now, as far as [offset, offset + length) goes. */
static int view_refresh(struct nbd_view *view, uint64_t offset, uint64_t length,
			struct err *err)
{
	int r = -EAGAIN;

	for (int i = 0; r == -EAGAIN && i < TRIES; i++) {
		r = vm_live_or(view->vm, view->disk, view->serial, offset,
			       length, view->set);
		if (r == -EAGAIN && view_fill(view, err) < 0)
			return err ? err->code : -RP_EFAILED;
	}
	return r < 0 ? err_set(err, r, "live bits") : 0;
}

/* Appends to the extents, joining equals; false when there is no room. */
static bool put(struct nbd_extent *extents, int max, int *n, uint64_t length,
		bool dirty)
{
	if (length == 0)
		return true;
	if (*n && extents[*n - 1].dirty == dirty) {
		extents[*n - 1].length += length;
		return true;
	}
	if (*n == max)
		return false;
	extents[(*n)++] = (struct nbd_extent){length, dirty};
	return true;
}

static int list_extents(const struct blockset *set, uint64_t offset,
			uint64_t end, struct nbd_extent *extents, int max)
{
	uint64_t first, last, at = offset;
	int n = 0;

	while (at < end) {
		uint64_t from = end, to = end;

		if (blockset_next(set, at >> BLOCK_SHIFT, &first, &last)) {
			from = MAX(MIN(first << BLOCK_SHIFT, end), at);
			to = MIN(last << BLOCK_SHIFT, end);
		}
		if (!put(extents, max, &n, from - at, false) ||
		    !put(extents, max, &n, to - from, true))
			break;
		at = to;
	}
	return n;
}

int view_extents(struct nbd_view *view, uint64_t offset, uint64_t length,
		 struct nbd_extent *extents, int max)
{
	char reason[REASON_BYTES];
	struct err err = {0};
	int r;

	if (view->fixed)
		return list_extents(view->set, offset, offset + length, extents,
				    max);
	/* untracked writes: nothing can be ruled out */
	if (vm_latched(view->vm, reason)) {
		extents[0] = (struct nbd_extent){length, true};
		return 1;
	}
	r = view_refresh(view, offset, length, &err);
	if (r < 0) {
		log_debug("worker", "a view: %s", err.text);
		return r;
	}
	return list_extents(view->set, offset, offset + length, extents, max);
}

/* ---- For an NBD server's host -------------------------------------------- */

int view_host_extents(struct nbd_host *host, struct nbd_view *view,
		      uint64_t offset, uint64_t length,
		      struct nbd_extent *extents, int max)
{
	return view_extents(view, offset, length, extents, max);
}

void view_host_close(struct nbd_host *host, struct nbd_view *view)
{
	view_close(view);
}

struct naming {
	uint64_t order;
	void (*fn)(void *arg, const char *point);
	void *arg;
};

static int name_point(void *arg, const struct point_row *row)
{
	const struct naming *naming = arg;
	char text[GUID_TEXT_BYTES];

	if (row->order >= naming->order)
		return 0;
	guid_format(&row->id, text);
	naming->fn(naming->arg, text);
	return 0;
}

void view_points(struct vm *vm, uint64_t order,
		 void (*fn)(void *arg, const char *point), void *arg)
{
	struct naming naming = {order, fn, arg};

	(void)vm_points(vm, name_point, &naming, NULL);
}
