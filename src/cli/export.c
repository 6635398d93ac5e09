/* SPDX-License-Identifier: Apache-2.0 */
/* export */
#include "cli/cli.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "backup/opener.h"
#include "cli/progress.h"
#include "cli/text.h"
#include "common/bytes.h"

enum {
	OPT_BASE,
	OPT_DISK,
	OPT_CONTENT,
	OPT_KEY,
	OPT_HASH
};

/* A worker says how far it is several times a second, whatever its target
 * does. */
#define REPLY_MS   60000u
#define LINE_STEPS 100 /* JSON lines of progress, at most */

struct export
{
	struct cli *cli;
	const char *vm, *dir;
	struct guid source, base;
	bool has_base;
	const char *disks[DISKS_PER_VM_MAX];
	unsigned n;
	const char *content; /* NULL: the default, which is not known yet */
	char key[KEY_TEXT_BYTES]; /* "": the host's own */
	bool hash;
	json_t *logs; /* ids of those that will be written; or NULL */
	char names[EXPORT_FILES_MAX][EXPORT_NAME_BYTES];
	unsigned n_files;
	struct progress progress;
	uint64_t step; /* of LINE_STEPS, last told */
	json_t *exported;
	struct err *err;
};

/* ---- Interruption ---------------------------------------------------------
 *
 * The handler hangs up, so that whoever waits for an answer stops waiting, and
 * the worker hears of it.
 */

static volatile int interrupted;
static volatile int connection = -1;

static void on_signal(int number)
{
	interrupted = number;
	if (connection >= 0)
		(void)shutdown(connection, SHUT_RDWR);
}

static void catch_signals(const struct cli *cli)
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
	struct sigaction action = {.sa_handler = on_signal}, old;

	connection = rpc_client_fd(cli->client);
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		if (sigaction(numbers[i], NULL, &old) == 0 &&
		    old.sa_handler != SIG_IGN)
			(void)sigaction(numbers[i], &action, NULL);
	/* who reads our lines may go; what we made must be removed then too */
	(void)signal(SIGPIPE, SIG_IGN);
}

/* ---- What is asked --------------------------------------------------------
 */

static int read_id(const char *what, const char *text, struct guid *ret_id,
		   struct err *err)
{
	if (guid_parse(text, ret_id))
		return 0;
	return err_set(err, -RP_ENOPOINT, "there is no %s '%s'", what, text);
}

static bool is_named(const struct export *export, const char *id)
{
	for (unsigned i = 0; i < export->n; i++)
		if (strcmp(export->disks[i], id) == 0)
			return true;
	return false;
}

static bool is_disk(const json_t *disks, const char *id)
{
	const json_t *disk;
	size_t i;

	json_array_foreach(disks, i, disk)
	{
		if (strcmp(json_text(disk, "id"), id) == 0)
			return true;
	}
	return false;
}

/* Those that were named, or all that there are; STATUS keeps their names. */
static int choose_disks(struct export *export, const struct cli_args *args,
			const json_t *status, struct err *err)
{
	const json_t *disks = json_object_get(status, "disks"), *disk;
	size_t i;

	for (unsigned k = 0; k < args->n_repeated; k++) {
		const char *id = args->repeated[k];

		if (!is_disk(disks, id))
			return err_set(err, -RP_ENODISK,
				       "'%s' has no disk '%s'", export->vm, id);
		if (is_named(export, id))
			return err_set(err, -RP_EPARAM,
				       "--disk %s is given twice", id);
		export->disks[export->n++] = id;
	}
	if (export->n > 0)
		return 0;
	json_array_foreach(disks, i, disk)
	{
		if (export->n < DISKS_PER_VM_MAX)
			export->disks[export->n++] = json_text(disk, "id");
	}
	return 0;
}

/* With its first N disks. */
static json_t *parameters_of(const struct export *export, unsigned n)
{
	char source[GUID_TEXT_BYTES], base[GUID_TEXT_BYTES];
	json_t *disks = json_array();

	guid_format(&export->source, source);
	guid_format(&export->base, base);
	for (unsigned i = 0; i < n; i++)
		(void)json_array_append_new(disks,
					    json_string(export->disks[i]));
	return json_pack("{s:s, s:s, s:s*, s:o, s:s*, s:O*, s:s*, s:o*}", "vm",
			 export->vm, "source", source, "base",
			 export->has_base ? base : NULL, "disks", disks,
			 "content", export->content, "logs", export->logs,
			 "key", *export->key ? export->key : NULL, "hash",
			 export->hash ? json_true() : NULL);
}

/* ---- What there is to be written ------------------------------------------
 */

static bool is_of_logs(const struct export *export)
{
	return export->content && strcmp(export->content, "logs") == 0;
}

/* Where the logs begin, which is not asked for anew: points may come and go. */
static int take_base(struct export *export, const json_t *exported,
		     struct err *err)
{
	export->has_base =
	    guid_parse(json_text(exported, "base"), &export->base);
	return export->has_base
		   ? 0
		   : err_set(err, -RP_EWIRE,
			     "refpointd's answer to Export has no 'base'");
}

/* One that is older than logs are does not say what it is of: of disks. */
static int ask_content(struct export *export, struct err *err)
{
	json_t *exported = NULL;
	int r = cli_call_for(export->cli, "Export", parameters_of(export, 0),
			     WAIT_WORK, "exported", &exported, err);

	if (r < 0)
		return r;
	if (strcmp(json_text(exported, "content"), "logs") == 0) {
		export->content = "logs";
		r = take_base(export, exported, err);
	}
	json_decref(exported);
	return r;
}

static int add_log(struct export *export, const char *disk, unsigned number,
		   const json_t *log, struct err *err)
{
	if (export->n_files + 2 > EXPORT_FILES_MAX)
		return err_set(err, -RP_ELIMIT,
			       "an export has at most %d files",
			       EXPORT_FILES_MAX);
	for (unsigned side = 0; side < 2; side++)
		export_log_name(disk, number, side,
				export->names[export->n_files++]);
	(void)json_array_append_new(export->logs,
				    json_string(json_text(log, "id")));
	return 0;
}

/* The names of the files are our own: what is answered names none. */
static int add_disks(struct export *export, const json_t *disks,
		     struct err *err)
{
	const json_t *disk, *log;
	size_t i, k;
	int r = 0;

	export->logs = json_array();
	if (json_array_size(disks) != export->n)
		return err_set(err, -RP_EWIRE,
			       "refpointd's answer to Export has other disks "
			       "than were asked for");
	json_array_foreach(disks, i, disk)
	{
		json_array_foreach(json_object_get(disk, "logs"), k, log)
		{
			if (r == 0)
				r = add_log(export, export->disks[i],
					    (unsigned)k + 1, log, err);
		}
	}
	return r;
}

static int ask_logs(struct export *export, struct err *err)
{
	json_t *exported = NULL;
	int r = cli_call_for(export->cli, "Export",
			     parameters_of(export, export->n), WAIT_WORK,
			     "exported", &exported, err);

	if (r < 0)
		return r;
	r = take_base(export, exported, err);
	if (r == 0)
		r = add_disks(export, json_object_get(exported, "disks"), err);
	json_decref(exported);
	return r;
}

static int name_files(struct export *export, struct err *err)
{
	int r = export->content ? 0 : ask_content(export, err);

	if (r == 0 && is_of_logs(export))
		return ask_logs(export, err);
	if (r == 0 && *export->key)
		r = err_set(err, -RP_EPARAM,
			    "--key is for logs, and this would be an export of "
			    "disks");
	if (r < 0)
		return r;
	export->n_files = export->n;
	for (unsigned i = 0; i < export->n; i++)
		export_file_name(export->disks[i], &export->source,
				 export->names[i]);
	return 0;
}

static int make_files(struct export *export, struct export_files **ret_files,
		      struct err *err)
{
	const char *names[EXPORT_FILES_MAX];

	for (unsigned i = 0; i < export->n_files; i++)
		names[i] = export->names[i];
	return export_files_new(export->dir, names, export->n_files, ret_files,
				err);
}

/* ---- What is answered -----------------------------------------------------
 */

static void tell_line(struct export *export, const json_t *progress,
		      uint64_t done, uint64_t total)
{
	uint64_t step =
	    total ? (uint64_t)((double)done * LINE_STEPS / (double)total) : 0;
	json_t *line;

	if (step <= export->step)
		return;
	export->step = step;
	line = json_pack("{s:O}", "progress", progress);
	(void)json_dumpf(line, stdout, JSON_COMPACT);
	(void)putchar('\n');
	(void)fflush(stdout);
	json_decref(line);
}

static int on_reply(void *arg, json_t *parameters, bool continues)
{
	struct export *export = arg;
	const json_t *progress = json_object_get(parameters, "progress");
	uint64_t done = json_number(progress, "done_bytes");
	uint64_t total = json_number(progress, "total_bytes");

	if (interrupted)
		return err_set(export->err, -RP_ECANCELLED, "interrupted");
	if (!continues) {
		export->exported =
		    json_incref(json_object_get(parameters, "exported"));
		return 0;
	}
	if (export->cli->json)
		tell_line(export, progress, done, total);
	else
		progress_show(&export->progress, done, total);
	return 0;
}

static void print_line(const struct export *export)
{
	/* they are in the directory */
	(void)json_object_del(export->exported, "documents");
	(void)json_object_set_new(export->exported, "directory",
				  json_string(export->dir));
	(void)printf("{\"exported\":");
	(void)json_dumpf(export->exported, stdout, JSON_COMPACT);
	(void)printf("}\n");
}

static void print_logs(const struct export *export)
{
	static const char *const titles[] = {"DISK", "LOG", "BYTES", "FILE",
					     NULL};
	const json_t *disks = json_object_get(export->exported, "disks"), *disk;
	struct table *table = table_new(titles);
	const json_t *log;
	size_t i, k;

	json_array_foreach(disks, i, disk)
	{
		json_array_foreach(json_object_get(disk, "logs"), k, log)
		{
			char size[SIZE_TEXT_BYTES];

			table_add(table, json_text(disk, "id"));
			table_add(table, json_text(log, "id"));
			table_add(table,
				  text_size(json_number(log, "bytes"), size));
			table_add(table, json_text(log, "file"));
		}
	}
	table_print(table);
}

static void print_disks(const struct export *export)
{
	static const char *const titles[] = {"DISK",     "SIZE", "STORED",
					     "ACCURACY", "FILE", NULL};
	const json_t *disks = json_object_get(export->exported, "disks"), *disk;
	struct table *table = table_new(titles);
	size_t i;

	json_array_foreach(disks, i, disk)
	{
		char size[SIZE_TEXT_BYTES];

		table_add(table, json_text(disk, "id"));
		table_add(table, text_size(json_number(disk, "size"), size));
		table_add(table,
			  text_size(json_number(disk, "data_bytes"), size));
		table_add(table, json_text(disk, "accuracy"));
		table_add(table, json_text(disk, "file"));
	}
	table_print(table);
}

static void print_result(const struct export *export)
{
	if (export->cli->json)
		print_line(export);
	else if (is_of_logs(export))
		print_logs(export);
	else
		print_disks(export);
}

/* ---- export ---------------------------------------------------------------
 */

static void note_leftover(const struct export_files *files)
{
	const char *name = export_files_leftover(files);
	char text[NAME_MAX + 1];

	if (!name)
		return;
	(void)snprintf(text, sizeof(text), "%s", name);
	text_clean(text);
	(void)fprintf(stderr,
		      "refpoint: note: '%s' beside it is of an export that was "
		      "killed; remove it\n",
		      text);
}

static int fill(struct export *export, struct export_files *files,
		struct err *err)
{
	int r;

	export->err = err;
	r = cli_stream_fds(export->cli, "Export",
			   parameters_of(export, export->n),
			   export_files_fds(files), export->n_files, REPLY_MS,
			   on_reply, export, err);
	if (r == 0 && !json_is_object(export->exported))
		r = err_set(err, -RP_EWIRE,
			    "refpointd's answer to Export has no 'exported'");
	if (r == 0)
		r = export_files_finish(files, export->exported, &interrupted,
					err);
	progress_end(&export->progress);
	return r;
}

static int export_all(struct export *export, struct err *err)
{
	struct export_files *files = NULL;
	int r;

	catch_signals(export->cli);
	r = name_files(export, err);
	if (r == 0)
		r = make_files(export, &files, err);
	if (r == 0) {
		note_leftover(files);
		r = fill(export, files, err);
	}
	export_files_free(files);
	connection = -1;
	if (r < 0 && interrupted)
		r = err_set(err, -RP_ECANCELLED,
			    "interrupted; nothing is left of the export");
	if (r == 0)
		print_result(export);
	json_decref(export->exported);
	json_decref(export->logs);
	return r;
}

static int read_content(struct export *export, const char *text,
			struct err *err)
{
	export->content = text;
	if (!text || strcmp(text, "disks") == 0 || strcmp(text, "logs") == 0)
		return 0;
	return err_set(err, -RP_EPARAM,
		       "--content is 'disks' or 'logs', not '%s'", text);
}

static int run_export(struct cli *cli, const struct cli_args *args,
		      struct err *err)
{
	struct export export = {.cli = cli,
				.vm = args->positional[0],
				.dir = args->positional[2]};
	const char *base = args->option[OPT_BASE];
	json_t *status = NULL;
	int r = read_id("point or snapshot", args->positional[1],
			&export.source, err);

	if (r == 0 && base) {
		export.has_base = true;
		r = read_id("point or snapshot", base, &export.base, err);
	}
	if (r == 0)
		r = read_content(&export, args->option[OPT_CONTENT], err);
	export.hash = args->option[OPT_HASH];
	if (r == 0 && args->option[OPT_KEY])
		r = read_key(args->option[OPT_KEY], export.key, err);
	if (r == 0)
		r = cli_status(cli, export.vm, &status, err);
	if (r == 0)
		r = choose_disks(&export, args, status, err);
	if (r == 0)
		r = export_all(&export, err);
	explicit_bzero(export.key, sizeof(export.key));
	json_decref(status);
	return r;
}

const struct command command_export = {
    .name = "export",
    .summary = "write a snapshot's or point's disks as qcow2 images, or logs",
    .positionals = {"VM", "SNAPSHOT|POINT", "DIR"},
    .options =
	{[OPT_BASE] = {"base", "POINT", "only what changed since", false},
	 [OPT_DISK] = {"disk", "ID", "only this disk; may be repeated", true},
	 [OPT_CONTENT] = {"content", "disks|logs", "what to write; see below",
			  false},
	 [OPT_KEY] = {"key", "FILE", "vouch for logs' documents by it", false},
	 [OPT_HASH] = {"hash", NULL, "of what the disks held at the point",
		       false}},
    .details =
	"Makes DIR with DISK-ID.qcow2 for each disk, ID being the snapshot's\n"
	"or point's, and refpoint.json.  With --base each image names\n"
	"DISK-BASE.qcow2 as its backing file: put them in one directory and\n"
	"qemu-img reads the chain.\n"
	"Of a log-based point that has its log, or with --content logs, DIR gets\n"
	"the logs from the log-based point before it (or --base) to it:\n"
	"DISK-0001.hrl and so on, oldest first, each with its\n"
	"sidecar DISK-0001.side, for refpoint replay.\n",
    .run = run_export,
};
