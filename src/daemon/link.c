/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/link.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/limits.h"
#include "common/log.h"
#include "daemon/vm.h"

struct link {
	struct daemon *daemon;
	struct rpc_client *client;
	sd_event_source *timer;
	uint64_t timeout_ms;
	size_t heard; /* bytes, since the time began to run */
	link_fn *fn;
	void *arg;
	char what[VM_NAME_BYTES + 64]; /* "Status of 'vm1'" */
};

static void link_free(struct link *link)
{
	sd_event_source_disable_unref(link->timer);
	rpc_client_free(link->client);
	free(link);
}

void link_cancel(struct link *link)
{
	if (link)
		link_free(link);
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *arg)
{
	struct link *link = arg;
	struct err err = {0};

	err_set(&err, -RP_ETIMEOUT,
		"the worker does not answer (%s, within %llu ms)", link->what,
		(unsigned long long)link->timeout_ms);
	link->fn(link->arg, &err, NULL, false, "", 0, NULL, 0);
	link_free(link);
	return 0;
}

static void arm(struct link *link)
{
	if (link->timeout_ms)
		daemon_timer(link->daemon, &link->timer, link->timeout_ms,
			     on_timeout, link);
}

/* Replies as such are no progress: a worker could go on with them for ever. */
static void heard(struct link *link, size_t bytes)
{
	link->heard += bytes;
	if (link->heard < LINK_PROGRESS_BYTES)
		return;
	link->heard = 0;
	arm(link);
}

static void on_reply(void *arg, const struct err *err, json_t *parameters,
		     bool continues, const char *text, size_t bytes, int *fds,
		     unsigned n_fds)
{
	struct link *link = arg;

	log_debug("link", "%s: %s", link->what,
		  err->code ? err->text : "answered");
	if (continues) {
		heard(link, bytes);
		link->fn(link->arg, err, parameters, true, text, bytes, fds,
			 n_fds);
		return; /* it may be gone */
	}
	link->fn(link->arg, err, parameters, false, text, bytes, fds, n_fds);
	link_free(link);
}

void link_pause(struct link *link, bool paused)
{
	rpc_client_pause(link->client, paused);
	if (paused)
		link->timer = sd_event_source_disable_unref(link->timer);
	else
		arm(link);
}

/* connect(2) without waiting: a worker that hangs with a full backlog is one
 * that does not answer. */
static int connect_now(const char *path, int *ret_fd)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = -1;

	if (strlen(path) >= sizeof(sun.sun_path))
		return -ENAMETOOLONG;
	(void)strcpy(sun.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0)
		return -errno;
	*ret_fd = fd;
	fd = -1;
	return 0;
}

static int connect_worker(struct daemon *daemon, const char *vm,
			  struct rpc_client **ret_client, struct err *err)
{
	char path[PATH_BYTES];
	struct rpc_client *client;
	const struct vm *owner = vm_find_any(daemon, vm);
	struct ucred peer = {0};
	socklen_t size = sizeof(peer);
	char name[VM_NAME_BYTES + 32];
	int fd = -1, r;

	paths_vm_run(&daemon->paths, vm, "control.sock", path);
	r = connect_now(path, &fd);
	if (r < 0)
		return err_set(err, -RP_EUNREACHABLE,
			       "the worker of '%s' does not listen: %s", vm,
			       strerror(-r));
	(void)snprintf(name, sizeof(name), "the worker of '%s'", vm);
	client = rpc_client_from_fd(fd, name);
	if (!client)
		return err_set(err, -ENOMEM, "call the worker of '%s'", vm);
	(void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size);
	if (peer.uid != daemon->worker_uid ||
	    (owner && owner->process.pid && owner->process.pid != peer.pid)) {
		rpc_client_free(client);
		return err_set(err, -RP_EUNREACHABLE,
			       "'%s' is not its worker's (uid %u, pid %d)",
			       path, (unsigned)peer.uid, (int)peer.pid);
	}
	*ret_client = client;
	return 0;
}

typedef int send_fn(struct rpc_client *client, const char *method,
		    json_t *parameters, bool more, const int *fds,
		    unsigned n_fds, rpc_reply_fn *fn, void *arg,
		    struct err *err);

/* LINK is new, and taken over. */
static int link_begin(struct link *link, const char *vm, const char *method,
		      json_t *parameters, bool more, const int *fds,
		      unsigned n_fds, send_fn *send, struct link **ret_link,
		      struct err *err)
{
	char name[80];
	int r;

	(void)snprintf(link->what, sizeof(link->what), "%s of '%s'", method,
		       vm);
	(void)snprintf(name, sizeof(name), "org.refpoint.worker.%s", method);
	r = connect_worker(link->daemon, vm, &link->client, err);
	if (r == 0)
		r = rpc_client_attach(link->client, link->daemon->event, NULL,
				      NULL, err);
	if (r < 0)
		json_decref(parameters);
	else
		r = send(link->client, name, parameters, more, fds, n_fds,
			 on_reply, link, err);
	if (r < 0) {
		link_free(link);
		return r;
	}
	arm(link);
	if (ret_link)
		*ret_link = link;
	return 0;
}

static int call(struct daemon *daemon, const char *vm, const char *method,
		json_t *parameters, bool more, const int *fds, unsigned n_fds,
		uint64_t timeout_ms, send_fn *send, link_fn *fn, void *arg,
		struct link **ret_link, struct err *err)
{
	struct link *link = calloc(1, sizeof(*link));

	if (!link) {
		json_decref(parameters);
		return err_set(err, -ENOMEM, "call the worker of '%s'", vm);
	}
	*link = (struct link){
	    .daemon = daemon, .timeout_ms = timeout_ms, .fn = fn, .arg = arg};
	return link_begin(link, vm, method, parameters, more, fds, n_fds, send,
			  ret_link, err);
}

int link_call(struct daemon *daemon, const char *vm, const char *method,
	      json_t *parameters, bool more, const int *fds, unsigned n_fds,
	      uint64_t timeout_ms, link_fn *fn, void *arg,
	      struct link **ret_link, struct err *err)
{
	return call(daemon, vm, method, parameters, more, fds, n_fds,
		    timeout_ms, rpc_client_send, fn, arg, ret_link, err);
}

int link_call_through(struct daemon *daemon, const char *vm, const char *method,
		      json_t *parameters, bool more, const int *fds,
		      unsigned n_fds, uint64_t timeout_ms, link_fn *fn,
		      void *arg, struct link **ret_link, struct err *err)
{
	return call(daemon, vm, method, parameters, more, fds, n_fds,
		    timeout_ms, rpc_client_send_through, fn, arg, ret_link,
		    err);
}
