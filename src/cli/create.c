/* SPDX-License-Identifier: Apache-2.0 */
/* create */
#include "cli/cli.h"

#include <stdio.h>

#include "cli/text.h"

enum {
	OPT_TYPE,
	OPT_CONSISTENCY,
	OPT_LABEL,
	OPT_REQUEST_ID,
	OPT_TIMEOUT
};

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
	uint64_t timeout_ms = 0;
	unsigned wait_ms;
	json_t *parameters;
	int r = check_request_id(args->option[OPT_REQUEST_ID], err);

	if (r == 0)
		r = parse_timeout(args->option[OPT_TIMEOUT], &timeout_ms,
				  &wait_ms, err);
	if (r < 0)
		return r;
	parameters = create_parameters(args, timeout_ms);
	if (!parameters)
		return err_set(err, -RP_EPARAM,
			       "the label or another argument is not UTF-8");
	return cli_make_point(cli, "Create", parameters, wait_ms, err);
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
