/* SPDX-License-Identifier: Apache-2.0 */
/* define, undefine, set-agent, set-log-limit */
#include "cli/cli.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/text.h"
#include "common/agent.h"
#include "common/cleanup.h"
#include "common/guid.h"

enum {
	OPT_DISK,
	OPT_UUID,
	OPT_FORMAT,
	OPT_OWNER,
	OPT_HOT_REGIONS,
	OPT_MAX_POINTS,
	OPT_AGENT,
	OPT_LOG_LIMIT
};

struct limits {
	uint64_t hot_regions, max_points, log_bytes; /* 0: not said */
};

struct disks {
	json_t *list;
	int fds[DISKS_PER_VM_MAX];
	unsigned n;
};

static void disks_done(struct disks *disks)
{
	json_decref(disks->list);
	while (disks->n > 0)
		(void)close(disks->fds[--disks->n]);
}

/* Symbolic links stay: /dev/disk/by-id/... is the name that lasts. */
static char *absolute_path(const char *path)
{
	_cleanup_free_ char *cwd = path[0] == '/' ? NULL : getcwd(NULL, 0);
	char *full = NULL;

	if (path[0] == '/')
		return strdup(path);
	if (!cwd || asprintf(&full, "%s/%s", cwd, path) < 0)
		return NULL;
	return full;
}

/* Opening for writing is what proves the caller's right to the image. */
static int open_image(const char *path, int *ret_fd, struct err *err)
{
	struct stat st;
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0 && errno != EISDIR)
		return err_set(err, -errno, "open '%s'", path);
	if (fd < 0 || fstat(fd, &st) < 0 ||
	    (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))) {
		if (fd >= 0)
			(void)close(fd);
		return err_set(err, -RP_EPARAM,
			       "'%s' is neither a file nor a block device",
			       path);
	}
	*ret_fd = fd;
	return 0;
}

static int add_disk(struct disks *disks, const char *text, struct err *err)
{
	const char *equals = strchr(text, '=');
	_cleanup_free_ char *path = NULL;
	char id[DISK_ID_BYTES] = "";
	int r;

	if (equals && (size_t)(equals - text) < sizeof(id))
		memcpy(id, text, (size_t)(equals - text));
	if (!name_is_valid(id, sizeof(id)) || !equals[1])
		return err_set(err, -RP_EPARAM,
			       "'%s' is not ID=PATH; ID has up to %d letters, "
			       "digits and . _ -, and begins with a letter or "
			       "digit",
			       text, DISK_ID_BYTES - 1);
	path = absolute_path(equals + 1);
	if (!path)
		return err_set(err, -errno, "current directory");
	if (strlen(path) >= PATH_BYTES)
		return err_set(err, -ENAMETOOLONG, "disk '%s'", id);
	r = open_image(path, &disks->fds[disks->n], err);
	if (r < 0)
		return err_wrap(err, "disk '%s'", id);
	disks->n++;
	if (json_array_append_new(disks->list, json_pack("{s:s, s:s}", "id", id,
							 "path", path)) < 0)
		return err_set(err, -RP_EPARAM, "'%s' is not UTF-8", path);
	return 0;
}

static int check_options(const struct cli_args *args, struct err *err)
{
	struct guid uuid;

	if (args->n_repeated == 0)
		return err_set(err, -RP_EPARAM,
			       "define: name at least one disk with --disk "
			       "ID=PATH");
	if (args->option[OPT_UUID] &&
	    !guid_parse(args->option[OPT_UUID], &uuid))
		return err_set(err, -RP_EPARAM, "'%s' is not a UUID",
			       args->option[OPT_UUID]);
	if (args->option[OPT_FORMAT] &&
	    strcmp(args->option[OPT_FORMAT], "raw") != 0)
		return err_set(err, -RP_EUNSUPPORTED,
			       "images of format '%s' are not supported, raw "
			       "ones are",
			       args->option[OPT_FORMAT]);
	if (args->option[OPT_OWNER] &&
	    strcmp(args->option[OPT_OWNER], "refpoint") != 0)
		return err_set(err, -RP_EPARAM,
			       "--owner can only be 'refpoint', not '%s'",
			       args->option[OPT_OWNER]);
	return 0;
}

static int read_limits(const struct cli_args *args, struct limits *limits,
		       struct err *err)
{
	const char *hot = args->option[OPT_HOT_REGIONS];
	const char *points = args->option[OPT_MAX_POINTS];
	const char *log = args->option[OPT_LOG_LIMIT];
	int r = 0;

	if (hot)
		r = parse_number("--hot-regions", hot, HOT_REGIONS_MIN,
				 HOT_REGIONS_MAX, &limits->hot_regions, err);
	if (r == 0 && points)
		r = parse_number("--max-points", points, 1, POINTS_PER_VM_MAX,
				 &limits->max_points, err);
	if (r == 0 && log)
		r = parse_size(log, &limits->log_bytes, err);
	return r;
}

/* As it goes over the wire; "none" is none. */
static char *agent_for(const char *text)
{
	if (strcmp(text, "none") == 0)
		return strdup("");
	return agent_domain(text) ? strdup(text) : absolute_path(text);
}

static int read_agent(const char *text, char **ret_agent, struct err *err)
{
	char *agent = agent_for(text);
	int r = agent ? agent_check(agent, err)
		      : err_set(err, -errno, "current directory");

	if (r < 0)
		free(agent);
	else
		*ret_agent = agent;
	return r;
}

static json_t *number_or_none(uint64_t number)
{
	return number ? json_integer((json_int_t)number) : NULL;
}

static int call_define(struct cli *cli, const struct cli_args *args,
		       const struct disks *disks, const struct limits *limits,
		       json_t **ret_reply, struct err *err)
{
	_cleanup_free_ char *agent = NULL;
	json_t *parameters;

	if (args->option[OPT_AGENT] &&
	    read_agent(args->option[OPT_AGENT], &agent, err) < 0)
		return err->code;
	parameters =
	    json_pack("{s:s, s:s*, s:O, s:b, s:s*, s:o*, s:o*, s:s*, s:o*}",
		      "vm", args->positional[0], "uuid", args->option[OPT_UUID],
		      "disks", disks->list, "force_raw",
		      args->option[OPT_FORMAT] != NULL, "owner",
		      args->option[OPT_OWNER], "hot_regions",
		      number_or_none(limits->hot_regions), "max_points",
		      number_or_none(limits->max_points), "agent", agent,
		      "log_limit", number_or_none(limits->log_bytes));

	return cli_call(cli, "Define", parameters, disks->fds, disks->n,
			WAIT_WORK, ret_reply, err);
}

static int run_define(struct cli *cli, const struct cli_args *args,
		      struct err *err)
{
	_cleanup_(disks_done) struct disks disks = {.list = json_array()};
	struct limits limits = {0};
	json_t *reply = NULL;
	int r = check_options(args, err);

	if (r == 0)
		r = read_limits(args, &limits, err);
	for (unsigned i = 0; r == 0 && i < args->n_repeated; i++)
		r = add_disk(&disks, args->repeated[i], err);
	if (r == 0)
		r = call_define(cli, args, &disks, &limits, &reply, err);
	if (r < 0)
		return r;
	if (cli->json)
		print_json(reply);
	else
		(void)printf("%s\n", json_text(reply, "uuid"));
	json_decref(reply);
	return 0;
}

const struct command command_define = {
    .name = "define",
    .summary = "make a VM known, with its disks",
    .positionals = {"VM"},
    .options =
	{[OPT_DISK] = {"disk", "ID=PATH", "a disk and its image; once for each",
		       true},
	 [OPT_UUID] = {"uuid", "UUID", "default: a new one", false},
	 [OPT_FORMAT] = {"format", "raw",
			 "the images are raw, whatever they begin with", false},
	 [OPT_OWNER] = {"owner", "refpoint",
			"vouch that nobody else writes to the disks", false},
	 [OPT_HOT_REGIONS] = {"hot-regions", "N",
			      "of each disk, 1 to 1024; default: 256", false},
	 [OPT_MAX_POINTS] = {"max-points", "N", "1 to 256; default: 256",
			     false},
	 [OPT_AGENT] = {"agent", "PATH|libvirt:DOMAIN",
			"of the guest: its socket, or who has it", false},
	 [OPT_LOG_LIMIT] = {"log-limit", "SIZE",
			    "of its logs; default: half of its disks", false}},
    .details = "Prints the VM's UUID.  Images are raw files or block devices; "
	       "you need the right\nto write to them.  A power cut may add 16 "
	       "MiB to an answer for each hot region;\nwith fewer of them, "
	       "scattered writes are slower.  An agent is the unix socket of\n"
	       "the guest's org.qemu.guest_agent.0 channel in QEMU, or the "
	       "domain of libvirt\nthat has it; application-consistent points "
	       "need one.\n",
    .run = run_define,
};

static int run_undefine(struct cli *cli, const struct cli_args *args,
			struct err *err)
{
	int r = cli_call(cli, "Undefine",
			 json_pack("{s:s}", "vm", args->positional[0]), NULL, 0,
			 WAIT_WORK, NULL, err);

	if (r == 0 && cli->json)
		(void)puts("{}");
	return r;
}

const struct command command_undefine = {
    .name = "undefine",
    .summary = "forget a VM with its points; its images stay",
    .positionals = {"VM"},
    .run = run_undefine,
};

static int run_set_agent(struct cli *cli, const struct cli_args *args,
			 struct err *err)
{
	_cleanup_free_ char *agent = NULL;
	int r = read_agent(args->positional[1], &agent, err);

	if (r == 0)
		r = cli_call(cli, "SetAgent",
			     json_pack("{s:s, s:s}", "vm", args->positional[0],
				       "agent", agent),
			     NULL, 0, WAIT_WORK, NULL, err);
	if (r == 0 && cli->json)
		(void)puts("{}");
	return r;
}

const struct command command_set_agent = {
    .name = "set-agent",
    .summary = "say how the agent in a VM's guest is reached",
    .positionals = {"VM", "PATH|libvirt:DOMAIN|none"},
    .run = run_set_agent,
};

static int run_set_log_limit(struct cli *cli, const struct cli_args *args,
			     struct err *err)
{
	uint64_t bytes = 0;
	int r = parse_size(args->positional[1], &bytes, err);

	if (r == 0)
		r = cli_call(cli, "SetLogLimit",
			     json_pack("{s:s, s:I}", "vm", args->positional[0],
				       "bytes", (json_int_t)bytes),
			     NULL, 0, WAIT_WORK, NULL, err);
	if (r == 0 && cli->json)
		(void)puts("{}");
	return r;
}

const struct command command_set_log_limit = {
    .name = "set-log-limit",
    .summary = "say how many bytes a VM's logs may take; 0: the default",
    .positionals = {"VM", "SIZE"},
    .run = run_set_log_limit,
};
