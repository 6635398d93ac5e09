/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/pull.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "daemon/command.h"
#include "daemon/request.h"

#define READY_MS  5000 /* for a helper to begin, or to end */
#define AGAIN_S   5    /* until a worker is asked again that failed to answer */
#define PULLS_MAX 64

struct pull {
	struct pull *next;
	struct daemon *daemon;
	char vm[VM_NAME_BYTES];
	struct guid snapshot;
	int fd; /* of the helper */
	sd_event_source *heard;
	/* Until it is ready, or has ended: who waits for that. */
	sd_event_source *limit;
	struct request *request;
	json_t *reply;          /* to Listen; NULL: told, or to Unlisten */
	bool stopping;          /* that is Unlisten */
	struct link *watch;     /* AwaitEnd; NULL: the worker is not asked */
	sd_event_source *again; /* it failed, with `unheard` */
	struct err unheard;
	bool warned; /* of that */
};

/* ---- Life ------------------------------------------------------------------
 */

/* The helper and its connections end with the socket. */
static void pull_free(struct pull *pull)
{
	struct pull **at = &pull->daemon->pulls;

	while (*at != pull)
		at = &(*at)->next;
	*at = pull->next;
	sd_event_source_disable_unref(pull->heard);
	sd_event_source_disable_unref(pull->limit);
	sd_event_source_disable_unref(pull->again);
	link_cancel(pull->watch);
	(void)close(pull->fd);
	json_decref(pull->reply);
	free(pull);
}

static void finish(struct pull *pull, int code, const char *why)
{
	struct request *request = pull->request;
	bool stopping = pull->stopping;
	char id[GUID_TEXT_BYTES];
	struct err err = {0};

	guid_format(&pull->snapshot, id);
	if (!request || stopping)
		log_info("'%s': snapshot %s is not read over the network any "
			 "more: %s",
			 pull->vm, id, why);
	pull_free(pull);
	err_set(&err, code, "%s", why);
	if (stopping)
		request_reply(request, NULL);
	else if (request)
		request_fail(request, &err);
}

struct pull *pull_find(struct daemon *daemon, const char *vm,
		       const struct guid *snapshot)
{
	struct pull *pull = daemon->pulls;

	while (pull && (strcmp(pull->vm, vm) != 0 ||
			(snapshot && !guid_equal(&pull->snapshot, snapshot))))
		pull = pull->next;
	return pull;
}

void pulls_end(struct vm *vm, const struct guid *snapshot)
{
	struct pull *pull;

	while ((pull = pull_find(vm->daemon, vm->name, snapshot)))
		finish(pull, -RP_ECANCELLED,
		       "it is gone, or of no use any more");
}

void pulls_tidy(struct vm *vm)
{
	struct pull *next;

	for (struct pull *pull = vm->daemon->pulls; pull; pull = next) {
		next = pull->next;
		if (strcmp(pull->vm, vm->name) == 0 &&
		    !inventory_points_find(&vm->entry.snapshot,
					   &pull->snapshot))
			finish(pull, -RP_ENOPOINT, "it is gone");
	}
}

/* ---- The snapshot's end -----------------------------------------------------
 */

static void await_end(struct pull *pull);

/* Mostly nothing is left to do where a worker died, or is not settled: it, or
 * the next one, is asked whenever it says that it serves. */
static int on_again(sd_event_source *source, uint64_t usec, void *arg)
{
	struct pull *pull = arg;
	const struct vm *vm = vm_find_any(pull->daemon, pull->vm);
	char id[GUID_TEXT_BYTES];

	pull->again = sd_event_source_disable_unref(pull->again);
	if (pull->watch || !vm || !vm->serving)
		return 0;
	guid_format(&pull->snapshot, id);
	if (!pull->warned)
		log_warning("'%s': its worker fails to say when snapshot %s "
			    "ends, whose port may stay open after that, and "
			    "is asked again every %d s: %s",
			    pull->vm, id, AGAIN_S, pull->unheard.text);
	pull->warned = true;
	await_end(pull);
	return 0;
}

static void try_again(struct pull *pull, const struct err *err)
{
	pull->unheard = *err;
	if (!pull->again)
		daemon_timer(pull->daemon, &pull->again, AGAIN_S * 1000,
			     on_again, pull);
}

static void on_end(void *arg, const struct err *err, json_t *parameters,
		   bool continues, const char *text, size_t bytes, int *fds,
		   unsigned n_fds)
{
	struct pull *pull = arg;
	json_t *snapshot = json_object_get(parameters, "snapshot");
	const char *reason =
	    json_string_value(json_object_get(snapshot, "reason"));
	char why[REASON_BYTES + 32] = "it is gone";

	pull->watch = NULL;
	if (err->code) {
		try_again(pull, err);
		return;
	}
	if (snapshot && !json_is_null(snapshot))
		(void)snprintf(why, sizeof(why), "it is invalid: %.*s",
			       REASON_BYTES, reason ? reason : "");
	finish(pull, -RP_ESTATE, why);
}

/* By a call that is open for as long as the port is: a worker may make no
 * connections to a refpointd that comes later. */
static void await_end(struct pull *pull)
{
	char id[GUID_TEXT_BYTES];
	struct err err = {0};

	if (pull->watch)
		return;
	guid_format(&pull->snapshot, id);
	if (link_call(pull->daemon, pull->vm, "AwaitEnd",
		      json_pack("{s:s}", "snapshot", id), false, NULL, 0, 0,
		      on_end, pull, &pull->watch, &err) < 0)
		try_again(pull, &err);
}

void pulls_watch(struct vm *vm)
{
	for (struct pull *pull = vm->daemon->pulls; pull; pull = pull->next)
		if (strcmp(pull->vm, vm->name) == 0)
			await_end(pull);
}

/* ---- A way to the snapshot's server ----------------------------------------
 */

/* The directory is the worker's, who could have put anything there: what was
 * bound by us is a socket of ours, and no link is followed. */
static int dial(const struct pull *pull)
{
	_cleanup_close_ int place = -1;
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	char path[PATH_BYTES];
	struct stat st;
	int fd;

	paths_snapshot(&pull->daemon->paths, pull->vm, &pull->snapshot, path);
	place = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (place < 0 || fstat(place, &st) < 0 || !S_ISSOCK(st.st_mode) ||
	    st.st_uid != geteuid())
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	(void)snprintf(sun.sun_path, sizeof(sun.sun_path), "/proc/self/fd/%d",
		       place);
	if (fd < 0 || connect(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0)
		return fd;
	(void)close(fd);
	return -1;
}

static void answer(struct pull *pull, int fd)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} space = {.bytes = {0}};
	char byte = fd < 0 ? PULL_REFUSED : PULL_CONNECT;
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *c;

	if (fd >= 0) {
		msg.msg_control = &space;
		msg.msg_controllen = sizeof(space);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	/* one that asks and does not listen is told nothing */
	(void)!sendmsg(pull->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* ---- What the helper says --------------------------------------------------
 */

static void ready(struct pull *pull)
{
	struct request *request = pull->request;
	json_t *reply = pull->reply;
	char id[GUID_TEXT_BYTES];

	if (!reply)
		return;
	guid_format(&pull->snapshot, id);
	log_info("'%s': snapshot %s is read at %s port %d", pull->vm, id,
		 json_string_value(json_object_get(reply, "address")),
		 (int)json_integer_value(json_object_get(reply, "port")));
	pull->limit = sd_event_source_disable_unref(pull->limit);
	if (!request->call) {
		finish(pull, -RP_ECANCELLED,
		       "nobody is left to be told its key");
		return;
	}
	pull->request = NULL;
	pull->reply = NULL;
	request_reply(request, reply);
}

static int on_heard(sd_event_source *source, int fd, uint32_t revents,
		    void *arg)
{
	struct pull *pull = arg;
	char byte;
	ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT);
	int server;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n != 1) {
		finish(pull, -RP_EFAILED,
		       pull->stopping ? "so it was asked for"
				      : "refpoint-pull ended; see the log");
	} else if (byte == PULL_READY) {
		ready(pull);
	} else if (byte == PULL_CONNECT) {
		server = dial(pull);
		answer(pull, server);
		if (server >= 0)
			(void)close(server);
	}
	return 0;
}

static int on_limit(sd_event_source *source, uint64_t usec, void *arg)
{
	struct pull *pull = arg;
	struct err err = {0};

	if (!pull->stopping) {
		finish(pull, -RP_ETIMEOUT, "refpoint-pull does not start");
		return 0;
	}
	/* it hears no more of us, and ends as soon as it can do anything */
	err_set(&err, -RP_ETIMEOUT, "refpoint-pull does not end");
	request_fail(pull->request, &err);
	pull_free(pull);
	return 0;
}

/* ---- Its start -------------------------------------------------------------
 */

static void make_command(const struct daemon *d, int control, int listener,
			 struct command *c)
{
	*c = (struct command){0};
	command_word(c, d->pull_path);
	command_option(c, "--control", (unsigned)control);
	command_option(c, "--listen", (unsigned)listener);
	command_user(c, d);
}

/* No child of ours; only what is safe between fork and execve. */
static void exec_helper(int control, int listener, const struct command *c)
{
	sigset_t none;

	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)setsid();
	if (fork() == 0) {
		(void)fcntl(control, F_SETFD, 0);
		(void)fcntl(listener, F_SETFD, 0);
		(void)execv(c->argv[0], c->argv);
	}
	_exit(0);
}

/* *RET_FD: our end of the control socket. */
static int start_helper(struct daemon *daemon, int listener,
			const struct pull_key *key, int *ret_fd,
			struct err *err)
{
	struct command command;
	int pair[2];
	pid_t pid;

	if (access(daemon->pull_path, X_OK) < 0)
		return err_set(err, -errno, "run '%s'", daemon->pull_path);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_set(err, -errno, "make a socket");
	make_command(daemon, pair[1], listener, &command);
	pid = fork();
	if (pid == 0)
		exec_helper(pair[1], listener, &command);
	(void)close(pair[1]);
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (pid < 0 || send(pair[0], key, sizeof(*key), MSG_NOSIGNAL) < 0) {
		(void)close(pair[0]);
		return err_set(err, -RP_EFAILED, "start '%s'",
			       daemon->pull_path);
	}
	*ret_fd = pair[0];
	return 0;
}

static int watch(struct pull *pull, struct err *err)
{
	int r = sd_event_add_io(pull->daemon->event, &pull->heard, pull->fd,
				EPOLLIN, on_heard, pull);

	if (r < 0)
		return err_set(err, r, "watch refpoint-pull");
	daemon_timer(pull->daemon, &pull->limit, READY_MS, on_limit, pull);
	return 0;
}

static unsigned count(const struct daemon *daemon)
{
	unsigned n = 0;

	for (const struct pull *pull = daemon->pulls; pull; pull = pull->next)
		n++;
	return n;
}

int pull_start(struct request *request, const struct guid *snapshot,
	       int listener, const struct pull_key *key, json_t *reply,
	       struct err *err)
{
	struct daemon *daemon = request->daemon;
	struct pull *pull;
	int r;

	if (count(daemon) >= PULLS_MAX)
		return err_set(err, -RP_ELIMIT,
			       "%d snapshots are read over the network already",
			       PULLS_MAX);
	pull = calloc(1, sizeof(*pull));
	if (!pull)
		return err_set(err, -ENOMEM, "listen");
	r = start_helper(daemon, listener, key, &pull->fd, err);
	if (r < 0) {
		free(pull);
		return r;
	}
	pull->daemon = daemon;
	pull->snapshot = *snapshot;
	(void)snprintf(pull->vm, sizeof(pull->vm), "%s", request->vm->name);
	pull->next = daemon->pulls;
	daemon->pulls = pull;
	r = watch(pull, err);
	if (r < 0) {
		pull_free(pull);
		return r;
	}
	pull->reply = json_incref(reply);
	pull->request = request;
	await_end(pull);
	return 0;
}

void pull_stop(struct pull *pull, struct request *request)
{
	pull->request = request;
	pull->stopping = true;
	(void)shutdown(pull->fd, SHUT_WR);
	daemon_timer(pull->daemon, &pull->limit, READY_MS, on_limit, pull);
}
