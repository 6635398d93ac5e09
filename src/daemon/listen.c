/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listen and Unlisten: a port and a key for a snapshot, and their end.
 *
 * Which snapshots there are, and what they are worth, the worker is asked each
 * time: a refpointd that has just been started does not know yet, and what a
 * snapshot is worth changes without a commit.  Meanwhile nothing else changes
 * the virtual system's snapshots, as this is a change itself.
 */
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "daemon/pull.h"
#include "daemon/request.h"

#define BACKLOG      16
#define ADDRESS_MAX  64
#define SNAPSHOTS_MS 10000

/* ---- Listen ----------------------------------------------------------------
 */

struct place {
	const char *snapshot, *address, *credential;
	uint64_t port;
	struct guid id;
};

static int read_place(struct request *request, struct place *place,
		      struct err *err)
{
	const struct rpc_field fields[] = {
	    {"snapshot", RPC_STRING, true, 0, &place->snapshot, NULL},
	    {"address", RPC_STRING, true, ADDRESS_MAX, &place->address, NULL},
	    {"port", RPC_UINT, true, 0, &place->port, NULL},
	    {"credential", RPC_STRING, false, 0, &place->credential, NULL},
	    {0}};
	int r;

	*place = (struct place){.credential = "psk"};
	r = rpc_read_fields(request->parameters, fields, err);
	if (r < 0)
		return r;
	if (place->port > 65535)
		return err_set(err, -RP_EPARAM, "'port' is at most 65535");
	if (strcmp(place->credential, "psk") != 0)
		return err_set(err, -RP_EPARAM, "'%.32s' is no credential: psk",
			       place->credential);
	if (!guid_parse(place->snapshot, &place->id))
		return err_set(err, -RP_ENOPOINT,
			       "there is no snapshot '%.64s'", place->snapshot);
	return 0;
}

/* What can be said without the worker. */
static int check_place(const struct request *request, const struct place *place,
		       struct err *err)
{
	const struct vm *vm = request->vm;

	if (request->role != RPC_ROLE_ADMIN && place->port > 0 &&
	    place->port < IPPORT_RESERVED)
		return err_set(err, -RP_EDENIED,
			       "ports below %d are for admins alone: ask for "
			       "one from %d on, or 0",
			       IPPORT_RESERVED, IPPORT_RESERVED);
	if (!vm->entry.serve && !vm->serving)
		return err_set(err, -RP_ESTATE, "'%s' is not served", vm->name);
	if (pull_find(vm->daemon, vm->name, &place->id))
		return err_set(err, -RP_EALREADY,
			       "snapshot %s is read over the network already, "
			       "and its key is told once: unlisten first",
			       place->snapshot);
	return 0;
}

static int bind_place(const struct place *place, int *ret_fd, struct err *err)
{
	const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_PASSIVE,
				       .ai_socktype = SOCK_STREAM};
	struct addrinfo *list = NULL;
	char port[8];
	int fd, on = 1, r = 0;

	(void)snprintf(port, sizeof(port), "%u", (unsigned)place->port);
	if (getaddrinfo(place->address, port, &hints, &list) != 0)
		return err_set(err, -RP_EPARAM,
			       "'%s' is no address of this host: give it in "
			       "numbers",
			       place->address);
	fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
		    0);
	if (fd < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    bind(fd, list->ai_addr, list->ai_addrlen) < 0 ||
	    listen(fd, BACKLOG) < 0)
		r = err_set(err, -errno, "listen on '%s' port %s",
			    place->address, port);
	freeaddrinfo(list);
	if (r == 0)
		*ret_fd = fd;
	else if (fd >= 0)
		(void)close(fd);
	return r;
}

static unsigned port_of(int fd)
{
	struct sockaddr_storage at;
	socklen_t bytes = sizeof(at);
	char port[8] = "0";

	if (getsockname(fd, (struct sockaddr *)&at, &bytes) == 0)
		(void)getnameinfo((struct sockaddr *)&at, bytes, NULL, 0, port,
				  sizeof(port), NI_NUMERICSERV);
	return (unsigned)strtoul(port, NULL, 10);
}

static int make_key(const struct place *place, struct pull_key *ret_key,
		    struct err *err)
{
	memset(ret_key, 0, sizeof(*ret_key));
	(void)snprintf(ret_key->identity, sizeof(ret_key->identity),
		       "refpoint-%.18s", place->snapshot);
	if (getrandom(ret_key->key, PULL_KEY_BYTES, 0) != PULL_KEY_BYTES)
		return err_set(err, -RP_EFAILED, "no random bytes");
	return 0;
}

static json_t *key_json(const struct place *place, int listener,
			const struct pull_key *key)
{
	char hex[2 * PULL_KEY_BYTES + 1];
	json_t *json;

	for (unsigned i = 0; i < PULL_KEY_BYTES; i++)
		(void)snprintf(hex + 2 * i, 3, "%02x", key->key[i]);
	json = json_pack("{s:s, s:i, s:s, s:s}", "address", place->address,
			 "port", (int)port_of(listener), "identity",
			 key->identity, "key", hex);
	explicit_bzero(hex, sizeof(hex));
	return json;
}

static int start(struct request *request, const struct place *place,
		 struct err *err)
{
	_cleanup_close_ int listener = -1;
	struct pull_key key;
	json_t *reply;
	int r = bind_place(place, &listener, err);

	if (r == 0)
		r = make_key(place, &key, err);
	if (r < 0)
		return r;
	reply = key_json(place, listener, &key);
	r = pull_start(request, &place->id, listener, &key, reply, err);
	json_decref(reply);
	explicit_bzero(&key, sizeof(key));
	return r;
}

/* ---- The worker's word -----------------------------------------------------
 */

static const json_t *find_snapshot(const json_t *snapshots,
				   const struct guid *id)
{
	const json_t *snapshot;
	struct guid guid;
	size_t i;

	json_array_foreach(snapshots, i, snapshot)
	{
		const char *text =
		    json_string_value(json_object_get(snapshot, "id"));

		if (text && guid_parse(text, &guid) && guid_equal(&guid, id))
			return snapshot;
	}
	return NULL;
}

static int check_snapshot(const json_t *snapshots, const struct place *place,
			  struct err *err)
{
	const json_t *snapshot = find_snapshot(snapshots, &place->id);
	const char *state =
	    json_string_value(json_object_get(snapshot, "state"));
	const char *reason =
	    json_string_value(json_object_get(snapshot, "reason"));
	const json_t *disk =
	    json_array_get(json_object_get(snapshot, "disks"), 0);

	if (!snapshot)
		return err_set(err, -RP_ENOPOINT, "there is no snapshot %s",
			       place->snapshot);
	if (!state || strcmp(state, "valid") != 0)
		return err_set(err, -RP_ESTATE,
			       "snapshot %s is invalid, drop it: %s",
			       place->snapshot, reason ? reason : "");
	if (!json_is_string(json_object_get(disk, "nbd_uri")))
		return err_set(err, -RP_ESTATE,
			       "snapshot %s is not served: serve its VM first",
			       place->snapshot);
	return 0;
}

static void on_snapshots(void *arg, const struct err *err, json_t *parameters,
			 bool continues, const char *text, size_t bytes,
			 int *fds, unsigned n_fds)
{
	struct request *request = arg;
	struct err why = *err;
	struct place place;

	request->link = NULL;
	if (!why.code && request->gone)
		err_set(&why, -RP_ECANCELLED, "the caller went away");
	if (!why.code)
		(void)read_place(request, &place, &why);
	if (!why.code)
		(void)check_snapshot(json_object_get(parameters, "snapshots"),
				     &place, &why);
	if (!why.code)
		(void)start(request, &place, &why);
	if (why.code)
		request_fail(request, &why);
}

static void on_ready(void *arg, const struct err *err)
{
	struct request *request = arg;
	struct vm *vm = request->vm;
	struct err why = *err;

	if (!why.code && !vm->serving)
		err_set(&why, -RP_ESTATE, "'%s' is not served", vm->name);
	if (!why.code)
		(void)link_call(request->daemon, vm->name, "Snapshots",
				json_object(), false, NULL, 0, SNAPSHOTS_MS,
				on_snapshots, request, &request->link, &why);
	if (why.code)
		request_fail(request, &why);
}

void listen_method(struct rpc_call *call, json_t *parameters, void *arg)
{
	struct request *request = request_new(arg, call, parameters, true);
	struct place place;
	struct err err = {0};
	int r;

	if (!request || !request_find_vm(request))
		return;
	r = read_place(request, &place, &err);
	if (r == 0)
		r = check_place(request, &place, &err);
	if (r < 0)
		request_fail(request, &err);
	else
		vm_when_ready(request->vm, on_ready, request);
}

/* ---- Unlisten --------------------------------------------------------------
 */

void unlisten_method(struct rpc_call *call, json_t *parameters, void *arg)
{
	struct request *request = request_new(arg, call, parameters, true);
	const char *snapshot = NULL;
	const struct rpc_field fields[] = {
	    {"snapshot", RPC_STRING, true, 0, &snapshot, NULL}, {0}};
	struct pull *pull = NULL;
	struct err err = {0};
	struct guid id;

	if (!request || !request_find_vm(request))
		return;
	if (rpc_read_fields(request->parameters, fields, &err) == 0 &&
	    guid_parse(snapshot, &id))
		pull = pull_find(request->daemon, request->vm_name, &id);
	if (!pull && !err.code)
		err_set(&err, -RP_ESTATE,
			"snapshot '%.64s' is not read over the network",
			snapshot);
	if (pull)
		pull_stop(pull, request);
	else
		request_fail(request, &err);
}
