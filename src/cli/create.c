/* SPDX-License-Identifier: Apache-2.0 */
/* create */
#include "cli/cli.h"

#include <stdio.h>

#include "cli/text.h"
#include "common/guid.h"

enum {
	OPT_TYPE,
	OPT_CONSISTENCY,
	OPT_LABEL,
	OPT_REQUEST_ID,
	OPT_TIMEOUT
};

#define TIMEOUT_S_MAX 86400u
#define GRACE_MS      30000u /* for the answer, beyond the limit */

static int check_request_id(const char *text, struct err *err)
{
	struct guid id;

	if (!text || guid_parse(text, &id))
		return 0;
	return err_set(err, -RP_EPARAM,
		       "--request-id '%s' is not a UUID; 'uuidgen' makes one",
		       text);
}

static json_t *create_parameters(const struct cli_args *args,
				 uint64_t timeout_ms)
{
	return json_pack("{s:s, s:s*, s:s*, s:s*, s:s*, s:o*}", "vm",
			 args->positional[0], "type", args->option[OPT_TYPE],
			 "consistency", args->option[OPT_CONSISTENCY], "label",
			 args->option[OPT_LABEL], "request_id",
			 args->option[OPT_REQUEST_ID], "timeout_ms",
			 timeout_ms ? json_integer((json_int_t)timeout_ms)
				    : NULL);
}

static int run_create(struct cli *cli, const struct cli_args *args,
		      struct err *err)
{
	uint64_t seconds = 0, wait_ms;
	json_t *point = NULL, *parameters;
	int r = check_request_id(args->option[OPT_REQUEST_ID], err);

	if (r == 0 && args->option[OPT_TIMEOUT])
		r = parse_number("--timeout", args->option[OPT_TIMEOUT], 1,
				 TIMEOUT_S_MAX, &seconds, err);
	if (r < 0)
		return r;
	parameters = create_parameters(args, seconds * 1000);
	if (!parameters)
		return err_set(err, -RP_EPARAM,
			       "the label or another argument is not UTF-8");
	wait_ms = (seconds ? seconds * 1000 : SEAL_TIMEOUT_MS) + GRACE_MS;
	r = cli_call_for(cli, "Create", parameters, (unsigned)wait_ms, "point",
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

const struct command command_create = {
    .name = "create",
    .summary = "create a reference point of all disks of a VM",
    .positionals = {"VM"},
    .options = {[OPT_TYPE] = {"type", "rct|log", "default: rct", false},
		[OPT_CONSISTENCY] = {"consistency", "LEVEL",
				     "crash (default) or application", false},
		[OPT_LABEL] = {"label", "TEXT", "a name for people", false},
		[OPT_REQUEST_ID] = {"request-id", "UUID",
				    "asked again, gives the same point", false},
		[OPT_TIMEOUT] = {"timeout", "SECONDS",
				 "no point if it takes longer; default: 30",
				 false}},
    .details = "Prints the point's id.\n",
    .run = run_create,
};
