/* SPDX-License-Identifier: Apache-2.0 */
/* refpoint-worker: options, the way up and the way down. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "disk/posix.h"
#include "worker/hooks.h"
#include "worker/sandbox.h"
#include "worker/worker.h"

static const char usage[] =
    "usage: refpoint-worker [--root DIR] --vm NAME [-D MODULE,...]\n"
    "refpointd starts it; there is nothing to do with it by hand.\n";

struct options {
	const char *root;
	const char *vm;
};

static int options_read(struct options *options, int argc, char **argv)
{
	static const struct option known[] = {
	    {"root", required_argument, NULL, 'r'},
	    {"vm", required_argument, NULL, 'v'},
	    {"help", no_argument, NULL, 'h'},
	    {"version", no_argument, NULL, 'V'},
	    {0}};
	int c;

	while ((c = getopt_long(argc, argv, "D:h", known, NULL)) != -1) {
		if (c == 'r')
			options->root = optarg;
		else if (c == 'v')
			options->vm = optarg;
		else if (c == 'D')
			log_enable_debug(optarg);
		else if (c == 'V')
			return puts("refpoint-worker " VERSION) < 0 ? 1 : 0;
		else
			return fputs(usage, c == 'h' ? stdout : stderr),
			       c == 'h' ? EXIT_OK : EXIT_USAGE;
	}
	if (optind == argc && options->vm &&
	    name_is_valid(options->vm, VM_NAME_BYTES))
		return -1;
	fputs(usage, stderr);
	return EXIT_USAGE;
}

static void worker_init(struct worker *worker, const char *vm)
{
	const char *idle = getenv("REFPOINT_IDLE_MS");
	char name[VM_NAME_BYTES + 32];

	(void)strcpy(worker->name, vm);
	worker->lock_fd = worker->store_dirfd = worker->live_dirfd =
	    worker->run_dirfd = worker->listener = -1;
	(void)pthread_rwlock_init(&worker->vm_lock, NULL);
	(void)pthread_mutex_init(&worker->note_lock, NULL);
	worker->idle_ms = idle ? strtoull(idle, NULL, 10) : 0;
	if (!worker->idle_ms || worker->idle_ms > WORKER_IDLE_MS)
		worker->idle_ms = WORKER_IDLE_MS;
	(void)snprintf(name, sizeof(name), "refpoint-worker[%s]", vm);
	log_open(name);
}

/* ---- What refpointd says
 * ------------------------------------------------------- */

/* Takes over what Start brought: the tombstone, and what is to be served. */
static int take_start(struct worker *worker, struct link_start *start,
		      struct images **ret_images, int *ret_listener,
		      struct err *err)
{
	unsigned last = start->n - 1;
	size_t n = json_array_size(start->images);
	int r = posix_file_new(start->fds[last], "fallback tombstone",
			       &worker->env.fallback, err);

	start->fds[last] = -1;
	if (r == 0 && start->serve) {
		r = images_read(start->images, start->fds, last, ret_images,
				err);
		if (r == 0) {
			*ret_listener = start->fds[n];
			start->fds[n] = -1;
		}
	}
	for (unsigned i = 0; i < start->n; i++)
		if (start->fds[i] >= 0)
			(void)close(start->fds[i]);
	json_decref(start->images);
	return r;
}

/* ---- The event loop
 * -------------------------------------------------------------- */

static int on_signal(sd_event_source *source,
		     const struct signalfd_siginfo *info, void *arg)
{
	struct worker *worker = arg;

	if (worker->signals++) {
		log_warning("a second signal: ending at once");
		_exit(EXIT_FAILED);
	}
	log_info("asked to end");
	worker_end(worker);
	return 0;
}

static uint64_t look_us(const struct worker *worker)
{
	return MIN(worker->idle_ms, 1000) * 250;
}

static int on_look(sd_event_source *source, uint64_t usec, void *arg)
{
	struct worker *worker = arg;

	(void)sd_event_source_set_time_relative(source, look_us(worker));
	(void)sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	worker_look_awaited(worker);
	worker_look(worker);
	return 0;
}

static int loop_prepare(struct worker *worker, struct err *err)
{
	uid_t uid = link_uid(worker->link);
	int fd = -1, r;

	r = sd_event_new(&worker->event);
	if (r >= 0)
		r = sd_event_add_signal(worker->event, NULL, SIGTERM, on_signal,
					worker);
	if (r >= 0)
		r = sd_event_add_signal(worker->event, NULL, SIGINT, on_signal,
					worker);
	if (r >= 0)
		r = sd_event_add_time_relative(worker->event, &worker->idle,
					       CLOCK_MONOTONIC, look_us(worker),
					       0, on_look, worker);
	if (r < 0)
		return err_set(err, r, "event loop");
	r = jobs_new(worker->event, &worker->jobs, err);
	if (r == 0)
		r = rpc_server_new(worker->event, worker_methods, worker,
				   &worker->server, err);
	if (r == 0)
		r = place_bind(worker, &fd, err);
	if (r == 0)
		r = rpc_server_listen(worker->server, fd, RPC_ROLE_DAEMON, &uid,
				      1, err);
	worker_used(worker);
	return r;
}

/* ---- Up and down
 * --------------------------------------------------------------------- */

static void block_signals(void)
{
	sigset_t set;

	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN); /* an export's target has its limit */
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
}

/* All but the loop's turning; the order is that of sandbox.h. */
static int go_up(struct worker *worker, struct err *err)
{
	struct link_start start = {0};
	struct images *images = NULL;
	int listener = -1;
	int r = hooks_init(err);

	if (r == 0)
		r = place_open(worker, err);
	if (r == 0)
		r = link_new(&worker->paths, worker->name, &worker->link, err);
	if (r == 0)
		r = link_start(worker->link, &start, err);
	if (r == 0)
		r = take_start(worker, &start, &images, &listener, err);
	if (r < 0)
		return r;
	place_open_live(worker);
	block_signals();
	r = sandbox_enter(worker->store_dirfd, worker->live_dirfd,
			  worker->run_dirfd, err);
	if (r == 0)
		r = engine_new(&worker->engine, err);
	if (r == 0 && worker_open_store(worker, err) < 0) {
		/* said to whoever asks: a damaged store needs a person */
		log_error("the store: %s", err->text);
		atomic_store(&worker->state, WORKER_FAILED);
	}
	if (r == 0)
		r = loop_prepare(worker, err);
	if (r == 0 && images && worker->vm)
		worker_begin(worker, images, listener);
	else
		images_free(images);
	return r;
}

static void go_down(struct worker *worker)
{
	rpc_server_free(worker->server);
	jobs_free(worker->jobs);
	engine_free(worker->engine);
	worker_close_store(worker);
	sd_event_source_disable_unref(worker->idle);
	sd_event_unref(worker->event);
	link_free(worker->link);
	place_close(worker);
}

int main(int argc, char **argv)
{
	static struct worker worker;
	struct options options = {0};
	struct err err = {0};
	int r;

	log_enable_debug(getenv("REFPOINT_DEBUG"));
	r = options_read(&options, argc, argv);
	if (r >= 0)
		return r;
	(void)umask(077);
	worker_init(&worker, options.vm);
	r = paths_init(&worker.paths, options.root, &err);
	if (r == 0)
		r = go_up(&worker, &err);
	if (r < 0) {
		log_error("%s", err.text);
		_exit(err_exit_status(r));
	}
	r = sd_event_loop(worker.event);
	go_down(&worker);
	return r < 0 ? EXIT_FAILED : r;
}
