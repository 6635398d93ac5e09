/* SPDX-License-Identifier: Apache-2.0 */
/* The way to refpointd, and what commands ask of it together. */
#include "cli/cli.h"

#include <stdio.h>

#include "cli/text.h"

#define CONNECT_MS 5000u

static int connect_to(struct cli *cli, const char *name, struct err *err)
{
	char path[PATH_BYTES];

	(void)snprintf(path, sizeof(path), "%s/%s", cli->paths.run, name);
	return rpc_client_connect(path, CONNECT_MS, &cli->client, err);
}

/* The administrator's socket, or the operators' for who may not use that. */
static int cli_connect(struct cli *cli, struct err *err)
{
	int r;

	if (cli->client)
		return 0;
	r = connect_to(cli, "admin.sock", err);
	if (r == -RP_EDENIED)
		r = connect_to(cli, "operator.sock", err);
	if (r == -RP_EUNREACHABLE)
		err_wrap(err, "refpointd does not answer");
	return r;
}

/* Connected, and the method's full name; PARAMETERS are taken over where it
 * fails. */
static int begin(struct cli *cli, const char *method, json_t *parameters,
		 char ret_name[64], struct err *err)
{
	int r = cli_connect(cli, err);

	if (r < 0)
		json_decref(parameters);
	else
		(void)snprintf(ret_name, 64, "org.refpoint.%s", method);
	return r;
}

int cli_call(struct cli *cli, const char *method, json_t *parameters,
	     const int *fds, unsigned n_fds, unsigned timeout_ms,
	     json_t **ret_parameters, struct err *err)
{
	char name[64];
	int r = begin(cli, method, parameters, name, err);

	if (r < 0)
		return r;
	return rpc_call(cli->client, name, parameters, fds, n_fds, timeout_ms,
			ret_parameters, NULL, NULL, err);
}

int cli_stream(struct cli *cli, const char *method, json_t *parameters,
	       size_t (*cut)(void *arg, char *text, size_t bytes),
	       int (*fn)(void *arg, json_t *parameters, bool continues),
	       void *arg, struct err *err)
{
	char name[64];
	int r = begin(cli, method, parameters, name, err);

	if (r < 0)
		return r;
	return rpc_call_more_cut(cli->client, name, parameters, WAIT_WORK, cut,
				 fn, arg, err);
}

int cli_stream_fds(struct cli *cli, const char *method, json_t *parameters,
		   const int *fds, unsigned n_fds, unsigned reply_ms,
		   int (*fn)(void *arg, json_t *parameters, bool continues),
		   void *arg, struct err *err)
{
	char name[64];
	int r = begin(cli, method, parameters, name, err);

	if (r < 0)
		return r;
	return rpc_call_more_fds(cli->client, name, parameters, fds, n_fds,
				 reply_ms, fn, arg, err);
}

int cli_call_for(struct cli *cli, const char *method, json_t *parameters,
		 unsigned timeout_ms, const char *member, json_t **ret_member,
		 struct err *err)
{
	json_t *reply = NULL, *value;
	int r =
	    cli_call(cli, method, parameters, NULL, 0, timeout_ms, &reply, err);

	if (r < 0)
		return r;
	value = json_object_get(reply, member);
	if (json_is_object(value))
		*ret_member = json_incref(value);
	else
		r = err_set(err, -RP_EWIRE,
			    "refpointd's answer to %s has no '%s'", method,
			    member);
	json_decref(reply);
	return r;
}

int cli_make_point(struct cli *cli, const char *method, json_t *parameters,
		   unsigned timeout_ms, struct err *err)
{
	json_t *point = NULL;
	int r = cli_call_for(cli, method, parameters, timeout_ms, "point",
			     &point, err);

	if (r < 0)
		return r;
	if (cli->json)
		print_json(point);
	else
		(void)printf("%s\n", json_text(point, "id"));
	json_decref(point);
	return 0;
}

int cli_status(struct cli *cli, const char *vm, json_t **ret_status,
	       struct err *err)
{
	return cli_call_for(cli, "Status", json_pack("{s:s}", "vm", vm),
			    WAIT_QUICK, "status", ret_status, err);
}
