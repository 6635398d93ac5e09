/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <ctype.h>
#include <getopt.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/text.h"
#include "common/bytes.h"

static const struct command *const commands[] = {
    &command_define,        &command_undefine, &command_serve,
    &command_unserve,       &command_list,     &command_status,
    &command_create,        &command_points,   &command_changes,
    &command_destroy,       &command_snapshot, &command_snapshots,
    &command_convert,       &command_drop,     &command_rename,
    &command_listen,        &command_unlisten, &command_export,
    &command_check,         &command_attach,   &command_resize,
    &command_set_agent,     &command_replay,   &command_drop_log,
    &command_set_log_limit, &command_import,
};

enum {
	KEY_HELP = 256,
	KEY_VERSION,
	KEY_JSON,
	KEY_ROOT,
	KEY_FIRST
};

/* ---- Help ---------------------------------------------------------------- */

static void print_help(void)
{
	(void)printf(
	    "Usage: refpoint [--root DIR] [--json] COMMAND [ARGUMENT]...\n\n"
	    "Reference points of virtual machines: marks in time from which\n"
	    "\"what changed since?\" is answered exactly.\n\n"
	    "Commands:\n");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		(void)printf("  %-14s %s\n", commands[i]->name,
			     commands[i]->summary);
	(void)printf(
	    "\nOptions:\n"
	    "  --root DIR  everything of refpointd is below DIR "
	    "(or $REFPOINT_ROOT)\n"
	    "  --json      print the result as JSON\n"
	    "  --help      print this, or with a command its own help\n"
	    "  --version   print the version\n\n"
	    "'refpoint COMMAND --help' tells more; so does refpoint(1).\n");
}

static void print_command_help(const struct command *command)
{
	const struct cli_option *o;

	(void)printf("Usage: refpoint [--root DIR] [--json] %s", command->name);
	for (unsigned i = 0; i < POSITIONALS_MAX && command->positionals[i];
	     i++)
		(void)printf(" %s", command->positionals[i]);
	(void)printf("%s\n\n%c%s.\n",
		     command->options[0].name ? " [OPTION]..." : "",
		     toupper((unsigned char)command->summary[0]),
		     command->summary + 1);
	if (command->options[0].name)
		(void)printf("\n");
	for (o = command->options; o->name; o++) {
		char left[64];

		(void)snprintf(left, sizeof(left), "--%s%s%s", o->name,
			       o->argument ? " " : "",
			       o->argument ? o->argument : "");
		(void)printf("  %-22s %s\n", left, o->help);
	}
	if (command->details)
		(void)printf("\n%s", command->details);
}

/* ---- The command line ---------------------------------------------------- */

static unsigned count_positionals(const struct command *command)
{
	unsigned n = 0;

	while (n < POSITIONALS_MAX && command->positionals[n])
		n++;
	return n;
}

static unsigned fill_options(const struct command *command,
			     struct option *ret_options)
{
	static const struct option global[] = {
	    {"help", no_argument, NULL, KEY_HELP},
	    {"version", no_argument, NULL, KEY_VERSION},
	    {"json", no_argument, NULL, KEY_JSON},
	    {"root", required_argument, NULL, KEY_ROOT},
	};
	unsigned n = 0;

	for (; n < ARRAY_SIZE(global); n++)
		ret_options[n] = global[n];
	for (int i = 0; command && command->options[i].name; i++)
		ret_options[n++] = (struct option){command->options[i].name,
						   command->options[i].argument
						       ? required_argument
						       : no_argument,
						   NULL, KEY_FIRST + i};
	ret_options[n] = (struct option){0};
	return n;
}

static int take_option(const struct command *command, int index,
		       struct cli_args *args, struct err *err)
{
	const struct cli_option *option = &command->options[index];
	const char *value = optarg ? optarg : "";

	if (!option->repeats && args->option[index])
		return err_set(err, -RP_EPARAM, "--%s is given twice",
			       option->name);
	args->option[index] = value;
	if (!option->repeats)
		return 0;
	if (args->n_repeated == ARRAY_SIZE(args->repeated))
		return err_set(err, -RP_EPARAM,
			       "--%s is given more than %u "
			       "times",
			       option->name, DISKS_PER_VM_MAX);
	args->repeated[args->n_repeated++] = value;
	return 0;
}

/* Returns 1: nothing more is to be done. */
static int parse_options(struct cli *cli, const struct command *command,
			 int argc, char **argv, struct cli_args *args,
			 struct err *err)
{
	struct option options[OPTIONS_MAX + 5];
	int key, r;

	(void)fill_options(command, options);
	opterr = 0;
	/* "+": stop at the command; ":" tells a missing argument apart. */
	while ((key = getopt_long(argc, argv, command ? ":h" : "+:h", options,
				  NULL)) != -1) {
		switch (key) {
		case 'h':
		case KEY_HELP:
			if (command)
				print_command_help(command);
			else
				print_help();
			return 1;
		case KEY_VERSION:
			(void)printf("refpoint %s\n", VERSION);
			return 1;
		case KEY_JSON:
			cli->json = true;
			break;
		case KEY_ROOT:
			cli->root = optarg;
			break;
		case ':':
			return err_set(err, -RP_EPARAM,
				       "'%s' needs an argument",
				       argv[optind - 1]);
		case '?':
			return err_set(err, -RP_EPARAM,
				       "there is no option '%s'; 'refpoint "
				       "%s%s--help' shows them",
				       argv[optind - 1],
				       command ? command->name : "",
				       command ? " " : "");
		default:
			r = take_option(command, key - KEY_FIRST, args, err);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

static int take_positionals(const struct command *command, int argc,
			    char **argv, struct cli_args *args, struct err *err)
{
	unsigned n = count_positionals(command);
	unsigned given = (unsigned)argc;

	if (given < n)
		return err_set(err, -RP_EPARAM,
			       "%s: %s is missing; 'refpoint %s --help' tells "
			       "more",
			       command->name, command->positionals[given],
			       command->name);
	if (n > 0 && strstr(command->positionals[n - 1], "...")) {
		args->rest = argv + n - 1;
		args->n_rest = given - n + 1;
	} else if (given > n)
		return err_set(err, -RP_EPARAM, "%s: '%s' is too much",
			       command->name, argv[n]);
	for (unsigned i = 0; i < n; i++)
		args->positional[i] = argv[i];
	return n > 0 && strcmp(command->positionals[0], "VM") == 0
		   ? check_vm_name(args->positional[0], err)
		   : 0;
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	return NULL;
}

static int run_command(struct cli *cli, const struct command *command, int argc,
		       char **argv, struct err *err)
{
	struct cli_args args = {0};
	int r;

	optind = 0; /* glibc: begin anew, with other flags */
	r = parse_options(cli, command, argc, argv, &args, err);
	if (r != 0)
		return r;
	r = take_positionals(command, argc - optind, argv + optind, &args, err);
	if (r == 0)
		r = paths_init(&cli->paths, cli->root, err);
	if (r == 0)
		r = command->run(cli, &args, err);
	return r;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	const struct command *command;
	struct cli_args none = {0};
	int r = parse_options(cli, NULL, argc, argv, &none, err);

	if (r != 0)
		return r;
	if (optind == argc)
		return err_set(err, -RP_EPARAM,
			       "a command is missing; 'refpoint --help' shows "
			       "them");
	command = find_command(argv[optind]);
	if (!command)
		return err_set(err, -RP_EPARAM,
			       "there is no command '%s'; 'refpoint --help' "
			       "shows them",
			       argv[optind]);
	return run_command(cli, command, argc - optind, argv + optind, err);
}

/* What to do, for the codes whose messages come from elsewhere. */
static const char *hint(int code)
{
	switch (-code) {
	case RP_ENOVM:
		return "; 'refpoint list' shows those that are defined";
	case RP_ENODISK:
		return "; 'refpoint status VM' shows its disks";
	case RP_ENOPOINT:
		return "; 'refpoint points VM' and 'refpoint snapshots VM' "
		       "show those that exist";
	case RP_EDENIED:
		return "; use the account of refpointd (root), or for points "
		       "and queries a member of the group refpoint";
	default:
		return "";
	}
}

static void print_error(const struct cli *cli, struct err *err)
{
	text_clean(err->text);
	(void)fprintf(stderr, "refpoint: %s%s", err->text, hint(err->code));
	/* else it was refpointd that told of somebody else */
	if (err->code == -RP_EUNREACHABLE && !cli->client && cli->root)
		(void)fprintf(stderr, "; start it with 'refpointd --root %s'",
			      cli->root);
	else if (err->code == -RP_EUNREACHABLE && !cli->client)
		(void)fputs("; start it with 'systemctl start refpointd', or "
			    "name its directory with --root",
			    stderr);
	(void)fputc('\n', stderr);
}

int main(int argc, char **argv)
{
	struct cli cli = {.root = getenv("REFPOINT_ROOT")};
	struct err err = {0};
	int r;

	(void)setlocale(LC_CTYPE, "");
	if (cli.root && !*cli.root)
		cli.root = NULL;
	r = run(&cli, argc, argv, &err);
	if (fflush(stdout) != 0 || ferror(stdout))
		r = r < 0 ? r : err_set(&err, -errno, "write the output");
	if (r < 0)
		print_error(&cli, &err);
	rpc_client_free(cli.client);
	return r < 0 ? err_exit_status(r) : EXIT_OK;
}
