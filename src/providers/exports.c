/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/exports.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "common/log.h"
#include "providers/aside.h"
#include "providers/below.h"
#include "providers/identity.h"
#include "rpc/rpc.h"

#define CONNECT_MS 5000u
#define REPLY_MS   60000u /* a worker says far more often how far it is */
#define BEGIN_S    15     /* until there is a job, or a refusal */
#define LOOK_MS    15000u /* until the file system has answered */

struct work {
	struct work *next;
	struct exports *exports;
	struct backend backend;
	pthread_t thread;
	/* What is asked for. */
	struct export_order order;
	char vm[VM_NAME_BYTES], directory[PATH_BYTES];
	char disks[DISKS_PER_VM_MAX][DISK_ID_BYTES];
	char caller[CALLER_NAME_BYTES];
	struct export_plan plan; /* complete before there is a job */
	/* How it is; under the lock. */
	char job[GUID_TEXT_BYTES]; /* upper case; "" */
	json_t *told;              /* the job as it was told first; or NULL */
	bool over;
	struct err why; /* not; code 0: it succeeded */
	int fd;         /* of the connection; -1 */
	/* Atomic. */
	volatile int cancelled;
	/* The thread's own. */
	struct export_files *files;
	struct rpc_client *client;
	bool finished; /* the directory has its name */
	struct err *err;
};

struct exports {
	pthread_mutex_t lock;
	pthread_cond_t change;
	struct work *first; /* the newest */
	char root[PATH_BYTES];
};

/* ---- where ----------------------------------------------------------------
 */

struct look {
	struct aside base;
	char root[PATH_BYTES];
	size_t max; /* bytes to read; 0: nothing is */
	char *text; /* what was; or NULL */
	char path[];
};

static int look_at(struct aside *aside, struct err *err)
{
	struct look *look = container_of(aside, struct look, base);

	return look->max > 0 ? below_read(look->root, look->path, look->max,
					  &look->text, err)
			     : below_check(look->root, look->path, err);
}

static void look_free(struct aside *aside)
{
	struct look *look = container_of(aside, struct look, base);

	free(look->text);
	free(look);
}

static int look_below(const struct exports *exports, const char *path,
		      size_t max, char **ret_text, struct err *err)
{
	struct look *look = calloc(1, sizeof(*look) + strlen(path) + 1);
	struct err own = {0};
	int r;

	if (!look)
		return err_set(err, -ENOMEM, "a path");
	look->base = (struct aside){.fn = look_at, .free = look_free};
	look->max = max;
	(void)strcpy(look->root, exports->root);
	(void)strcpy(look->path, path);
	if (!aside_run(&look->base, LOOK_MS, &own)) {
		if (err)
			*err = own;
		return own.code;
	}
	r = look->base.r;
	if (err)
		*err = look->base.err;
	if (r == 0 && max > 0) {
		*ret_text = look->text;
		look->text = NULL;
	}
	look_free(&look->base);
	return r;
}

int exports_check(const struct exports *exports, const char *directory,
		  struct err *err)
{
	return look_below(exports, directory, 0, NULL, err);
}

int exports_read(const struct exports *exports, const char *path, size_t max,
		 char **ret_text, struct err *err)
{
	return look_below(exports, path, max, ret_text, err);
}

/* ---- one export's thread --------------------------------------------------
 */

static bool is_cancelled(const struct work *w, struct err *err)
{
	bool cancelled = __atomic_load_n(&w->cancelled, __ATOMIC_RELAXED);

	if (cancelled)
		(void)err_set(err, -RP_ECANCELLED, "the gateway is stopping");
	return cancelled;
}

/* Under the lock. */
static void cancel(struct work *w)
{
	__atomic_store_n(&w->cancelled, 1, __ATOMIC_RELAXED);
	if (w->fd >= 0)
		(void)shutdown(w->fd, SHUT_RDWR);
}

static void disconnect(struct work *w)
{
	(void)pthread_mutex_lock(&w->exports->lock);
	w->fd = -1;
	(void)pthread_mutex_unlock(&w->exports->lock);
	w->client = rpc_client_free(w->client);
}

/* From now on cancel() hangs it up. */
static int connect_it(struct work *w, struct err *err)
{
	bool cancelled;
	int r =
	    rpc_client_connect(w->backend.socket, CONNECT_MS, &w->client, err);

	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&w->exports->lock);
	w->fd = rpc_client_fd(w->client);
	cancelled = is_cancelled(w, err);
	(void)pthread_mutex_unlock(&w->exports->lock);
	if (!cancelled)
		return 0;
	disconnect(w);
	return -RP_ECANCELLED;
}

/* What a call came to: R, or that it was called off. */
static int came_to(struct work *w, int r, struct err *err)
{
	disconnect(w);
	return is_cancelled(w, err) ? -RP_ECANCELLED : r;
}

static json_t *with_caller(const struct work *w, json_t *parameters)
{
	(void)json_object_set_new(parameters, "caller",
				  json_pack("{s:s, s:s}", "name", w->caller,
					    "role", "operator"));
	return parameters;
}

/* What became of the files is how the job ends. */
static int tell_done(struct work *w, int outcome, const struct err *why,
		     struct err *err)
{
	struct rpc_client *client = NULL;
	json_t *reply = NULL;
	int r = rpc_client_connect(w->backend.socket, CONNECT_MS, &client, err);

	if (r == 0)
		r = rpc_call(
		    client, "org.refpoint.ExportDone",
		    with_caller(w, json_pack("{s:s, s:s*, s:s*}", "job", w->job,
					     "error",
					     outcome ? err_name(outcome) : NULL,
					     "message",
					     outcome ? why->text : NULL)),
		    NULL, 0, BACKEND_QUICK_MS, &reply, NULL, NULL, err);
	json_decref(reply);
	rpc_client_free(client);
	return r;
}

static int finish(struct work *w, const json_t *exported, struct err *err)
{
	struct err ignored;
	int r = export_files_finish(w->files, exported, &w->cancelled, err);

	w->finished = r == 0;
	if (r < 0) {
		(void)tell_done(w, r, err, &ignored);
		return r;
	}
	return tell_done(w, 0, NULL, err);
}

/* That there is a job is what its caller waits for. */
static void note_job(struct work *w, json_t *job)
{
	const char *id = json_string_value(json_object_get(job, "id"));

	if (w->told || !id)
		return;
	(void)pthread_mutex_lock(&w->exports->lock);
	w->told = json_incref(job);
	(void)identity_guid(id, w->job);
	(void)pthread_cond_broadcast(&w->exports->change);
	(void)pthread_mutex_unlock(&w->exports->lock);
}

static int on_reply(void *arg, json_t *parameters, bool continues)
{
	const json_t *exported = json_object_get(parameters, "exported");
	struct work *w = arg;

	if (is_cancelled(w, NULL))
		return -RP_ECANCELLED;
	note_job(w, json_object_get(parameters, "job"));
	return exported && !w->finished ? finish(w, exported, w->err) : 0;
}

static json_t *question(const struct work *w, const char *base)
{
	json_t *disks = json_array();

	for (unsigned i = 0; i < w->order.n; i++)
		(void)json_array_append_new(disks, json_string(w->disks[i]));
	return with_caller(
	    w, json_pack("{s:s, s:s, s:s*, s:o, s:s*}", "vm", w->vm, "source",
			 w->order.source, "base", *base ? base : NULL, "disks",
			 disks, "content", w->order.logs ? "logs" : NULL));
}

/* What was planned, whatever has happened since. */
static json_t *order(const struct work *w)
{
	json_t *parameters = question(w, w->plan.base), *logs = json_array();

	for (unsigned i = 0; i < w->plan.logs; i++)
		(void)json_array_append_new(logs, json_string(w->plan.ids[i]));
	if (w->order.logs)
		(void)json_object_set(parameters, "logs", logs);
	json_decref(logs);
	return parameters;
}

static int fill(struct work *w, struct err *err)
{
	int r = connect_it(w, err);

	if (r < 0)
		return r;
	r = rpc_call_more_fds(w->client, "org.refpoint.ExportJob", order(w),
			      export_files_fds(w->files), w->plan.n, REPLY_MS,
			      on_reply, w, err);
	return came_to(w, r, err);
}

/* Which logs there are, and since when. */
static int ask_logs(struct work *w, json_t **ret_reply, struct err *err)
{
	int r = connect_it(w, err);

	if (r < 0)
		return r;
	r = rpc_call(w->client, "org.refpoint.Export",
		     question(w, w->order.base), NULL, 0, BEGIN_S * 1000,
		     ret_reply, NULL, NULL, err);
	return came_to(w, r, err);
}

static int plan(struct work *w, struct err *err)
{
	const char *disks[DISKS_PER_VM_MAX];
	json_t *reply = NULL;
	int r;

	for (unsigned i = 0; i < w->order.n; i++)
		disks[i] = w->disks[i];
	if (!w->order.logs)
		return export_plan_disks(w->order.source, w->order.base, disks,
					 w->order.n, &w->plan, err);
	r = ask_logs(w, &reply, err);
	if (r == 0)
		r = export_plan_logs(json_object_get(reply, "exported"), disks,
				     w->order.n, &w->plan, err);
	json_decref(reply);
	return r;
}

static int open_files(struct work *w, struct err *err)
{
	const char *names[EXPORT_FILES_MAX];
	int r;

	for (unsigned i = 0; i < w->plan.n; i++)
		names[i] = w->plan.names[i];
	r = export_files_new(w->directory, names, w->plan.n, &w->files, err);
	if (r == 0 && export_files_leftover(w->files))
		log_warning("'%s' beside '%s' is of an export that was killed; "
			    "remove it",
			    export_files_leftover(w->files), w->directory);
	return r;
}

static void say_over(struct work *w, const struct err *why)
{
	(void)pthread_mutex_lock(&w->exports->lock);
	w->over = true;
	w->why = *why;
	(void)pthread_cond_broadcast(&w->exports->change);
	(void)pthread_mutex_unlock(&w->exports->lock);
}

static void *run(void *arg)
{
	struct work *w = arg;
	struct err err = {0};
	int r = plan(w, &err);

	w->err = &err;
	if (r == 0)
		r = open_files(w, &err);
	if (r == 0)
		r = fill(w, &err);
	w->files = export_files_free(w->files);
	if (r < 0)
		log_info("export of '%s' to '%s': %s", w->vm, w->directory,
			 err.text);
	err.code = r;
	say_over(w, &err);
	return NULL;
}

/* ---- all of them ----------------------------------------------------------
 */

int exports_new(const char *root, struct exports **ret_exports, struct err *err)
{
	struct exports *e = calloc(1, sizeof(*e));
	size_t n = strlen(root);

	if (!e)
		return err_set(err, -ENOMEM, "exports");
	while (n > 0 && root[n - 1] == '/')
		n--;
	(void)snprintf(e->root, sizeof(e->root), "%.*s", (int)n, root);
	(void)pthread_mutex_init(&e->lock, NULL);
	(void)pthread_cond_init(&e->change, NULL);
	*ret_exports = e;
	return 0;
}

static void discard(struct work *w)
{
	json_decref(w->told);
	free(w);
}

/* Out of the list, its thread about to end or over. */
static void bury(struct work *w)
{
	(void)pthread_join(w->thread, NULL);
	discard(w);
}

struct exports *exports_free(struct exports *exports)
{
	struct work *w, *next;

	if (!exports)
		return NULL;
	(void)pthread_mutex_lock(&exports->lock);
	for (w = exports->first; w; w = w->next)
		cancel(w);
	(void)pthread_mutex_unlock(&exports->lock);
	for (w = exports->first; w; w = next) {
		next = w->next;
		bury(w);
	}
	(void)pthread_cond_destroy(&exports->change);
	(void)pthread_mutex_destroy(&exports->lock);
	free(exports);
	return NULL;
}

/* Under the lock: the oldest of those that are over, or NULL; how many there
 * are, and how many run. */
static struct work **oldest(struct exports *e, unsigned *ret_all,
			    unsigned *ret_running)
{
	struct work **found = NULL;

	*ret_all = *ret_running = 0;
	for (struct work **at = &e->first; *at; at = &(*at)->next) {
		++*ret_all;
		*ret_running += !(*at)->over;
		if ((*at)->over)
			found = at;
	}
	return found;
}

static int make_room(struct exports *e, struct err *err)
{
	unsigned all, running;
	struct work **at = oldest(e, &all, &running);

	if (running >= CIM_EXPORTS_MAX)
		return err_set(err, -RP_EINUSE, "%u exports are under way",
			       running);
	if (at && all >= CIM_EXPORTS_KEPT) {
		struct work *w = *at;

		*at = w->next;
		bury(w);
	}
	return 0;
}

static int new_work(const struct providers *p,
		    const struct cim_request *request,
		    const struct export_order *order, struct work **ret_work,
		    struct err *err)
{
	struct work *w = calloc(1, sizeof(*w));

	if (!w)
		return err_set(err, -ENOMEM, "an export");
	w->exports = p->exports;
	w->backend = p->backend;
	w->order = *order;
	(void)snprintf(w->vm, sizeof(w->vm), "%s", order->vm);
	(void)snprintf(w->directory, sizeof(w->directory), "%s",
		       order->directory);
	for (unsigned i = 0; i < order->n; i++)
		(void)snprintf(w->disks[i], sizeof(w->disks[i]), "%s",
			       order->disks[i]);
	(void)snprintf(w->caller, sizeof(w->caller), "%s",
		       request->caller ? request->caller : "");
	w->fd = -1;
	*ret_work = w;
	return 0;
}

/* Under the lock: one that is not there in time is told to end. */
static void wait_begun(struct exports *e, struct work *w)
{
	struct timespec until;
	int r = 0;

	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += BEGIN_S;
	while (r == 0 && !w->told && !w->over)
		r = pthread_cond_timedwait(&e->change, &e->lock, &until);
	if (!w->told && !w->over)
		cancel(w);
}

static int start(struct exports *e, struct work *w, struct err *err)
{
	int r = -pthread_create(&w->thread, NULL, run, w);

	if (r < 0)
		return err_set(err, r, "the thread of an export");
	w->next = e->first;
	e->first = w;
	wait_begun(e, w);
	return 0;
}

/* What is to be told of it now. */
static int outcome(const struct work *w, json_t **ret_job, struct err *err)
{
	if (w->told) {
		*ret_job = json_incref(w->told);
		return 0;
	}
	if (!w->over)
		return err_set(err, -RP_ETIMEOUT,
			       "the export did not begin within %d s", BEGIN_S);
	if (w->why.code == 0)
		return err_set(err, -RP_EWIRE, "refpointd told no job");
	if (err)
		*err = w->why;
	return w->why.code;
}

int exports_begin(const struct providers *providers,
		  const struct cim_request *request,
		  const struct export_order *order, json_t **ret_job,
		  struct err *err)
{
	struct exports *e = providers->exports;
	struct work *w = NULL;
	int r;

	(void)pthread_mutex_lock(&e->lock);
	r = make_room(e, err);
	if (r == 0)
		r = new_work(providers, request, order, &w, err);
	if (r == 0) {
		r = start(e, w, err);
		if (r == 0)
			r = outcome(w, ret_job, err);
		else
			discard(w);
	}
	(void)pthread_mutex_unlock(&e->lock);
	return r;
}

bool exports_find(struct exports *exports, const char *job,
		  struct export_view *ret_view)
{
	const struct work *w;

	if (!exports)
		return false;
	(void)pthread_mutex_lock(&exports->lock);
	for (w = exports->first; w && strcmp(w->job, job) != 0; w = w->next)
		;
	if (w) {
		ret_view->n = w->order.n;
		ret_view->plan = w->plan;
		(void)strcpy(ret_view->directory, w->directory);
		memcpy(ret_view->indices, w->order.indices,
		       sizeof(w->order.indices));
	}
	(void)pthread_mutex_unlock(&exports->lock);
	return w != NULL;
}
