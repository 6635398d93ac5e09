/* SPDX-License-Identifier: Apache-2.0 */
/* check */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

#include "cli/text.h"

static void print_findings(const json_t *findings)
{
	static const char *const titles[] = {"SEVERITY", "WHERE", "MESSAGE",
					     NULL};
	struct table *table;
	const json_t *finding;
	size_t i;

	if (json_array_size(findings) == 0)
		return;
	table = table_new(titles);
	json_array_foreach(findings, i, finding)
	{
		table_add(table, json_text(finding, "severity"));
		table_add(table, json_text(finding, "where"));
		table_add(table, json_text(finding, "message"));
	}
	table_print(table);
}

static unsigned count_errors(const json_t *findings)
{
	const json_t *finding;
	unsigned n = 0;
	size_t i;

	json_array_foreach(findings, i, finding)
	{
		n += strcmp(json_text(finding, "severity"), "error") == 0;
	}
	return n;
}

static int run_check(struct cli *cli, const struct cli_args *args,
		     struct err *err)
{
	const char *vm = args->positional[0];
	json_t *reply = NULL, *findings;
	char size[SIZE_TEXT_BYTES];
	unsigned errors;
	int r = cli_call(cli, "Check", json_pack("{s:s}", "vm", vm), NULL, 0,
			 WAIT_EVER, &reply, err);

	if (r < 0)
		return r;
	findings = json_object_get(reply, "findings");
	errors = count_errors(findings);
	if (cli->json) {
		print_json(reply);
	} else {
		print_findings(findings);
		(void)printf("%s: read %s of tracking data, %u errors, %zu "
			     "warnings\n",
			     vm,
			     text_size(json_number(reply, "bytes_read"), size),
			     errors, json_array_size(findings) - errors);
	}
	if (errors > 0 || !json_is_true(json_object_get(reply, "ok")))
		r = err_set(err, -RP_ECORRUPT,
			    "tracking data of '%s' is damaged; make a full "
			    "backup, then destroy the points concerned",
			    vm);
	json_decref(reply);
	return r;
}

const struct command command_check = {
    .name = "check",
    .summary = "read and verify all tracking data of a VM",
    .positionals = {"VM"},
    .details = "Exit status 0: all is well (there may be warnings); 8: data is "
	       "damaged;\nothers: it could not be checked.\n",
    .run = run_check,
};
