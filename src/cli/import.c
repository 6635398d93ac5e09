/* SPDX-License-Identifier: Apache-2.0 */
/* import */
#include "cli/cli.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/progress.h"
#include "cli/text.h"
#include "common/cleanup.h"
#include "common/metadata.h"

enum {
	OPT_KEY
};

/* How far it is is told several times a second. */
#define REPLY_MS 60000u

struct import {
	struct progress progress;
	json_t *imported;
};

/* DIR/NAME as text for free(3). */
static int read_document(const char *dir, const char *name, char **ret_text,
			 struct err *err)
{
	_cleanup_free_ char *text = malloc(METADATA_BYTES_MAX + 2);
	_cleanup_free_ char *path = NULL;
	_cleanup_close_ int fd = -1;
	struct stat st;
	size_t at = 0;
	ssize_t n = 1;

	if (!text || asprintf(&path, "%s/%s", dir, name) < 0)
		return err_set(err, -ENOMEM, "import");
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(err, -errno, "'%s'", path);
	if (!S_ISREG(st.st_mode))
		return err_set(err, -RP_EPARAM, "'%s' is no file", path);
	while (n > 0 && at <= METADATA_BYTES_MAX) {
		n = read(fd, text + at, METADATA_BYTES_MAX + 1 - at);
		if (n < 0)
			return err_set(err, -errno, "read '%s'", path);
		at += (size_t)n;
	}
	text[at] = '\0';
	if (at > METADATA_BYTES_MAX || strlen(text) < at)
		return err_set(err, -RP_EPARAM,
			       "'%s' is no document of an export of logs",
			       path);
	*ret_text = text;
	text = NULL;
	return 0;
}

static int take_reply(void *arg, json_t *reply, bool continues)
{
	struct import *import = arg;
	json_t *progress = json_object_get(reply, "progress");
	json_t *imported = json_object_get(reply, "imported");

	if (progress)
		progress_show(&import->progress,
			      json_number(progress, "done_bytes"),
			      json_number(progress, "total_bytes"));
	if (json_is_object(imported))
		import->imported = json_incref(imported);
	return 0;
}

static int call_import(struct cli *cli, const struct cli_args *args,
		       const char *key, struct import *import, struct err *err)
{
	_cleanup_free_ char *config = NULL, *state = NULL;
	const char *dir = args->positional[1];
	json_t *parameters;
	int r = read_document(dir, METADATA_CONFIG_NAME, &config, err);

	if (r == 0)
		r = read_document(dir, METADATA_STATE_NAME, &state, err);
	if (r < 0)
		return r;
	parameters = json_pack("{s:s, s:s, s:s, s:s*}", "vm",
			       args->positional[0], "config", config, "state",
			       state, "key", *key ? key : NULL);
	if (!parameters)
		return err_set(err, -RP_EPARAM,
			       "'%s' has documents that are not UTF-8", dir);
	r = cli_stream_fds(cli, "Import", parameters, NULL, 0, REPLY_MS,
			   take_reply, import, err);
	progress_end(&import->progress);
	if (r == 0 && !import->imported)
		r = err_set(err, -RP_EWIRE,
			    "refpointd's answer to Import has no 'imported'");
	return r;
}

static void print_imported(const json_t *imported)
{
	char reason[REASON_BYTES];

	(void)snprintf(reason, sizeof(reason), "%s",
		       json_text(imported, "reason"));
	text_clean(reason);
	(void)printf("%s\n", json_text(imported, "id"));
	if (!json_is_true(json_object_get(imported, "valid")))
		(void)printf("invalid: %s\n", reason);
}

static int run_import(struct cli *cli, const struct cli_args *args,
		      struct err *err)
{
	struct import import = {.imported = NULL};
	char key[KEY_TEXT_BYTES] = "";
	int r = 0;

	if (args->option[OPT_KEY])
		r = read_key(args->option[OPT_KEY], key, err);
	if (r == 0)
		r = call_import(cli, args, key, &import, err);
	explicit_bzero(key, sizeof(key));
	if (r == 0 && cli->json)
		print_json(import.imported);
	else if (r == 0)
		print_imported(import.imported);
	json_decref(import.imported);
	return r;
}

const struct command command_import = {
    .name = "import",
    .summary = "make the points of another host's export of logs known",
    .positionals = {"VM", "DIR"},
    .options = {[OPT_KEY] = {"key", "FILE",
			     "of the export's documents; default: the host's",
			     false}},
    .details =
	"Prints the exported point's id, and if it is invalid, why.  It is "
	"valid if the\ndisks hold now what they held at that point; the older "
	"ones are invalid.\n",
    .run = run_import,
};
