/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/link.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"

#define CONNECT_MS   2000
#define START_MS     120000 /* refpointd opens images */
#define MARK_MS      30000
#define LISTENER_MS  5000
#define PAUSE_MIN_MS 20
#define PAUSE_MAX_MS 1000

struct link {
	const char *vm;
	char path[PATH_BYTES];
	uid_t uid;
	pthread_mutex_t lock;
	struct rpc_client *client; /* NULL: no line */
	bool sealed;
};

int link_new(const struct paths *paths, const char *vm, struct link **ret_link,
	     struct err *err)
{
	struct link *link = calloc(1, sizeof(*link));

	if (!link)
		return err_set(err, -ENOMEM, "link");
	link->vm = vm;
	link->uid = (uid_t)-1;
	(void)snprintf(link->path, sizeof(link->path), "%s/worker.sock",
		       paths->run);
	(void)pthread_mutex_init(&link->lock, NULL);
	*ret_link = link;
	return 0;
}

struct link *link_free(struct link *link)
{
	if (!link)
		return NULL;
	rpc_client_free(link->client);
	(void)pthread_mutex_destroy(&link->lock);
	free(link);
	return NULL;
}

static bool is_hung_up(const struct link *link)
{
	struct pollfd p = {.fd = rpc_client_fd(link->client),
			   .events = POLLRDHUP};

	return poll(&p, 1, 0) > 0;
}

/* A line to refpointd: root's, or our own user's. */
static int dial(struct link *link, struct err *err)
{
	struct rpc_client *client;
	uid_t uid;
	int r;

	if (link->client && is_hung_up(link))
		link->client = rpc_client_free(link->client);
	if (link->client)
		return 0;
	if (link->sealed)
		return err_set(err, -RP_EUNREACHABLE,
			       "the line to refpointd is lost");
	r = rpc_client_connect(link->path, CONNECT_MS, &client, err);
	if (r < 0)
		return r;
	uid = rpc_client_peer_uid(client);
	if (uid != 0 && uid != geteuid()) {
		rpc_client_free(client);
		return err_set(err, -RP_EDENIED,
			       "'%s' belongs to uid %u, which is not refpointd",
			       link->path, (unsigned)uid);
	}
	link->client = client;
	link->uid = uid;
	return 0;
}

static int call(struct link *link, const char *method, json_t *parameters,
		unsigned timeout_ms, json_t **ret, int *fds, unsigned *n,
		struct err *err)
{
	int r = dial(link, err);

	if (r < 0) {
		json_decref(parameters);
		return r;
	}
	r = rpc_call(link->client, method, parameters, NULL, 0, timeout_ms, ret,
		     fds, n, err);
	/* after these, what comes next could be the old answer */
	if (r == -RP_ETIMEOUT || r == -RP_EUNREACHABLE || r == -RP_EWIRE)
		link->client = rpc_client_free(link->client);
	return r;
}

static int read_start(struct link_start *start, json_t *answer, struct err *err)
{
	json_t *images = NULL;
	const struct rpc_field fields[] = {
	    {"serve", RPC_BOOL, true, 0, &start->serve, NULL},
	    {"images", RPC_ARRAY, false, DISKS_PER_VM_MAX, &images, NULL},
	    {0}};
	int r = rpc_read_fields(answer, fields, err);

	if (r < 0)
		return err_wrap(err, "Start");
	if (start->n < 1 ||
	    (start->serve && start->n < json_array_size(images) + 2))
		return err_set(err, -RP_EWIRE,
			       "Start was answered with %u descriptors",
			       start->n);
	start->images = json_incref(images);
	return 0;
}

static int start_once(struct link *link, struct link_start *start,
		      struct err *err)
{
	json_t *answer = NULL;
	int r;

	start->n = START_FDS_MAX;
	r = call(link, "org.refpoint.daemon.Start",
		 json_pack("{s:s, s:i}", "vm", link->vm, "pid", (int)getpid()),
		 START_MS, &answer, start->fds, &start->n, err);
	if (r < 0)
		return r;
	r = read_start(start, answer, err);
	json_decref(answer);
	if (r < 0)
		for (unsigned i = 0; i < start->n; i++)
			(void)close(start->fds[i]);
	return r;
}

int link_start(struct link *link, struct link_start *ret_start, struct err *err)
{
	unsigned ms = PAUSE_MIN_MS;
	bool said = false;
	struct err local = {0};

	for (;;) {
		struct link_start start = {0};
		int r = start_once(link, &start, &local);

		if (r == 0) {
			*ret_start = start;
			return 0;
		}
		if (r != -RP_EUNREACHABLE && r != -RP_ETIMEOUT)
			return err_set(err, r, "%s", local.text);
		if (!said)
			log_warning("waiting for refpointd: %s", local.text);
		said = true;
		(void)nanosleep(
		    &(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
		ms = ms * 2 > PAUSE_MAX_MS ? PAUSE_MAX_MS : ms * 2;
	}
}

uid_t link_uid(const struct link *link)
{
	return link->uid;
}

int link_mark(struct link *link, const char *id, const struct guid *nonce,
	      struct err *err)
{
	char text[GUID_TEXT_BYTES];
	int r;

	guid_format(nonce, text);
	(void)pthread_mutex_lock(&link->lock);
	r = call(link, "org.refpoint.daemon.Mark",
		 json_pack("{s:s, s:s, s:s}", "vm", link->vm, "disk", id,
			   "nonce", text),
		 MARK_MS, NULL, NULL, NULL, err);
	(void)pthread_mutex_unlock(&link->lock);
	return r;
}

int link_snapshot_listener(struct link *link, const struct guid *snapshot,
			   int *ret_fd, struct err *err)
{
	char text[GUID_TEXT_BYTES];
	unsigned n = 1;
	int r, fd;

	guid_format(snapshot, text);
	(void)pthread_mutex_lock(&link->lock);
	r = call(link, "org.refpoint.daemon.SnapshotListener",
		 json_pack("{s:s, s:s}", "vm", link->vm, "snapshot", text),
		 LISTENER_MS, NULL, &fd, &n, err);
	(void)pthread_mutex_unlock(&link->lock);
	if (r == 0 && n != 1)
		r = err_set(err, -RP_EWIRE, "no listener came");
	if (r == 0)
		*ret_fd = fd;
	return r;
}

void link_seal(struct link *link)
{
	(void)pthread_mutex_lock(&link->lock);
	link->sealed = true;
	(void)pthread_mutex_unlock(&link->lock);
}

bool link_is_usable(struct link *link)
{
	bool usable;

	/* busy: then it is in use */
	if (pthread_mutex_trylock(&link->lock) != 0)
		return true;
	usable = !link->sealed || (link->client && !is_hung_up(link));
	(void)pthread_mutex_unlock(&link->lock);
	return usable;
}
