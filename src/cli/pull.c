/* SPDX-License-Identifier: Apache-2.0 */
/* A snapshot that is read over the network: snapshot --listen, listen,
 * unlisten. */
#include "cli/pull.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/text.h"
#include "common/guid.h"

#define LISTEN_MS 45000 /* for a worker to answer, and the port's process */
#define DROP_MS   60000

static bool read_port(const char *text, uint64_t *ret_port)
{
	size_t n = strspn(text, "0123456789");

	if (n == 0 || n > 5 || text[n])
		return false;
	*ret_port = strtoull(text, NULL, 10);
	return *ret_port <= 65535;
}

int pull_read(const char *text, struct pull_place *ret_place, struct err *err)
{
	const char *whole = text, *colon = strrchr(text, ':');
	size_t n = colon ? (size_t)(colon - text) : 0;
	bool bracket = n >= 2 && text[0] == '[' && text[n - 1] == ']';
	uint64_t port;

	if (bracket) {
		text++;
		n -= 2;
	}
	if (n == 0 || n >= sizeof(ret_place->address) ||
	    (!bracket && memchr(text, ':', n)) || !read_port(colon + 1, &port))
		return err_set(err, -RP_EPARAM,
			       "'%.80s' is no ADDRESS:PORT: an address of this "
			       "host in numbers and a port, as in "
			       "192.0.2.1:10809 or [2001:db8::1]:10809; port "
			       "0: any",
			       whole);
	memcpy(ret_place->address, text, n);
	ret_place->address[n] = '\0';
	ret_place->port = port;
	return 0;
}

/* nbds://IDENTITY@ADDRESS:PORT/DISK */
static json_t *uris_of(const json_t *snapshot, const json_t *pull)
{
	const char *address = json_text(pull, "address");
	bool six = strchr(address, ':') != NULL;
	json_t *uris = json_object(), *disk;
	size_t i;

	json_array_foreach(json_object_get(snapshot, "disks"), i, disk)
	{
		const char *id = json_text(disk, "id");
		char uri[256];

		(void)snprintf(
		    uri, sizeof(uri), "nbds://%s@%s%s%s:%d/%s",
		    json_text(pull, "identity"), six ? "[" : "", address,
		    six ? "]" : "",
		    (int)json_integer_value(json_object_get(pull, "port")), id);
		(void)json_object_set_new(uris, id, json_string(uri));
	}
	return uris;
}

static void drop(struct cli *cli, const char *vm, const char *snapshot)
{
	json_t *answer = NULL;
	struct err err = {0};

	if (cli_call(cli, "Drop",
		     json_pack("{s:s, s:s}", "vm", vm, "snapshot", snapshot),
		     NULL, 0, DROP_MS, &answer, &err) < 0)
		(void)fprintf(stderr,
			      "refpoint: snapshot %s could not be dropped "
			      "again: %s\n",
			      snapshot, err.text);
	json_decref(answer);
}

/* Adds what reading it needs as SNAPSHOT's member `pull`. */
static int make_port(struct cli *cli, const char *vm, json_t *snapshot,
		     const struct pull_place *place, struct err *err)
{
	json_t *pull = NULL;
	int r =
	    cli_call(cli, "Listen",
		     json_pack("{s:s, s:s, s:s, s:I}", "vm", vm, "snapshot",
			       json_text(snapshot, "id"), "address",
			       place->address, "port", (json_int_t)place->port),
		     NULL, 0, LISTEN_MS, &pull, err);

	if (r < 0)
		return r;
	(void)json_object_set_new(pull, "uris", uris_of(snapshot, pull));
	(void)json_object_set_new(snapshot, "pull", pull);
	return 0;
}

int pull_listen(struct cli *cli, const char *vm, json_t *snapshot,
		const struct pull_place *place, bool keeps, struct err *err)
{
	const char *id = json_text(snapshot, "id");
	int r = make_port(cli, vm, snapshot, place, err);

	if (r < 0 && keeps)
		return err_wrap(err,
				"snapshot %s, which is that of the request id, "
				"stays",
				id);
	if (r < 0)
		drop(cli, vm, id);
	return r;
}

void pull_print(const json_t *snapshot)
{
	const json_t *pull = json_object_get(snapshot, "pull");
	const char *disk;
	json_t *uri;

	(void)printf("%s:%s\n", json_text(pull, "identity"),
		     json_text(pull, "key"));
	json_object_foreach(json_object_get(pull, "uris"), disk, uri)(void)
	    printf("%s\n", json_string_value(uri));
}

/* ---- listen ---------------------------------------------------------------
 */

/* The one named ID; it stays REPLY's. */
static json_t *find(const json_t *reply, const char *id)
{
	struct guid wanted, guid;
	json_t *snapshot;
	size_t i;

	if (!guid_parse(id, &wanted))
		return NULL;
	json_array_foreach(
	    json_object_get(reply, "snapshots"), i,
	    snapshot) if (guid_parse(json_text(snapshot, "id"), &guid) &&
			  guid_equal(&guid, &wanted)) return snapshot;
	return NULL;
}

static int run_listen(struct cli *cli, const struct cli_args *args,
		      struct err *err)
{
	const char *vm = args->positional[0], *id = args->positional[1];
	json_t *reply = NULL, *snapshot;
	struct pull_place place;
	int r = pull_read(args->positional[2], &place, err);

	if (r == 0)
		r = cli_call(cli, "Snapshots", json_pack("{s:s}", "vm", vm),
			     NULL, 0, WAIT_QUICK, &reply, err);
	if (r < 0)
		return r;
	snapshot = find(reply, id);
	if (!snapshot)
		r = err_set(err, -RP_ENOPOINT, "there is no snapshot '%.64s'",
			    id);
	else
		r = make_port(cli, vm, snapshot, &place, err);
	if (r == 0 && cli->json)
		print_json(snapshot);
	else if (r == 0)
		pull_print(snapshot);
	json_decref(reply);
	return r;
}

const struct command command_listen = {
    .name = "listen",
    .summary = "let a snapshot be read over the network, with TLS",
    .positionals = {"VM", "SNAPSHOT", "ADDRESS:PORT"},
    .details = "Prints the key, for a file, which is told once, and the URI "
	       "of each disk.\n",
    .run = run_listen,
};

static int run_unlisten(struct cli *cli, const struct cli_args *args,
			struct err *err)
{
	int r = cli_call(cli, "Unlisten",
			 json_pack("{s:s, s:s}", "vm", args->positional[0],
				   "snapshot", args->positional[1]),
			 NULL, 0, WAIT_QUICK, NULL, err);

	if (r == 0 && cli->json)
		(void)puts("{}");
	return r;
}

const struct command command_unlisten = {
    .name = "unlisten",
    .summary = "close the port of a snapshot, to who reads there as well",
    .positionals = {"VM", "SNAPSHOT"},
    .run = run_unlisten,
};
