/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay: here and not in a worker, as the image is nobody's: a copy, which the
 * caller has the right to open.  The disk of a defined virtual system is
 * refused, served or not.
 */
#include "cli/cli.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/progress.h"
#include "cli/text.h"
#include "common/bytes.h"
#include "common/rfc3339.h"
#include "disk/image.h"
#include "replay/replay.h"

enum {
	OPT_ONTO,
	OPT_UNTIL,
	OPT_CHECK,
	OPT_OFFLINE
};

struct task {
	struct cli *cli;
	const char *image;
	int fd; /* the image's; -1 */
	uint64_t bytes;
	int64_t until_ns;
	bool offline; /* refpointd is not asked */
	unsigned n;
	struct replay_input *inputs;
	struct replay *replay;
	struct replay_extent extent;
	struct progress progress;
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
	interrupted = number;
}

/* ---- The logs ------------------------------------------------------------ */

/* LOG's, where LOG.hrl has LOG.side; stays -1 if there is none. */
static int open_sidecar(const char *log, int *ret_fd, struct err *err)
{
	size_t stem = strlen(log);
	char path[PATH_BYTES];
	int fd;

	if (stem > 4 && strcmp(log + stem - 4, ".hrl") == 0)
		stem -= 4;
	if (stem + sizeof(".side") > sizeof(path))
		return err_set(err, -ENAMETOOLONG, "'%s'", log);
	(void)snprintf(path, sizeof(path), "%.*s.side", (int)stem, log);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 && errno != ENOENT)
		return err_set(err, -errno, "open '%s'", path);
	*ret_fd = fd;
	return 0;
}

static int open_input(struct replay_input *input, const char *name,
		      struct err *err)
{
	/* who names a pipe is told so, and does not wait */
	int fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	*input =
	    (struct replay_input){.name = name, .fd = fd, .sidecar_fd = -1};
	if (fd < 0)
		return err_set(err, -errno, "open '%s'", name);
	return open_sidecar(name, &input->sidecar_fd, err);
}

/* Two descriptors for each. */
static void want_files(unsigned n)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 ||
	    limit.rlim_cur >= 2 * n + 64)
		return;
	limit.rlim_cur = MIN(limit.rlim_max, 2 * n + 64);
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

static int open_logs(struct task *task, const struct cli_args *args,
		     struct err *err)
{
	int r = 0;

	if (args->n_rest > REPLAY_LOGS_MAX)
		return err_set(err, -RP_ELIMIT, "at most %u logs at once",
			       REPLAY_LOGS_MAX);
	want_files(args->n_rest);
	task->inputs = calloc(args->n_rest, sizeof(*task->inputs));
	if (!task->inputs)
		return err_set(err, -ENOMEM, "replay");
	while (r == 0 && task->n < args->n_rest) {
		r = open_input(&task->inputs[task->n], args->rest[task->n],
			       err);
		task->n++;
	}
	if (r == 0)
		r = replay_new(task->inputs, task->n, &task->replay, err);
	return r;
}

/* ---- The image ----------------------------------------------------------- */

static bool is_same(const char *path, const struct stat *image)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return false;
	return S_ISBLK(st.st_mode) && S_ISBLK(image->st_mode)
		   ? st.st_rdev == image->st_rdev
		   : st.st_dev == image->st_dev && st.st_ino == image->st_ino;
}

static int no_defined(const struct task *task, const char *vm, struct err *err)
{
	return err_set(err, -RP_EINUSE,
		       "'%s' is a disk of the defined VM '%s': replay onto a "
		       "copy",
		       task->image, vm);
}

static int check_disks(const struct task *task, const char *vm,
		       const struct stat *image, struct err *err)
{
	json_t *status, *disk;
	size_t i;
	int r = cli_status(task->cli, vm, &status, err);

	if (r < 0)
		return r;
	json_array_foreach(json_object_get(status, "disks"), i, disk)
	{
		if (r == 0 && is_same(json_text(disk, "path"), image))
			r = no_defined(task, vm, err);
	}
	json_decref(status);
	return r;
}

/* Is it a disk of one that refpointd knows? */
static int check_defined(const struct task *task, struct err *err)
{
	json_t *list = NULL, *vm;
	struct stat image;
	int r = fstat(task->fd, &image) < 0 ? -errno : 0;
	size_t i;

	if (r < 0)
		return err_set(err, r, "stat '%s'", task->image);
	r = cli_call(task->cli, "List", NULL, NULL, 0, WAIT_QUICK, &list, err);
	json_array_foreach(json_object_get(list, "vms"), i, vm)
	{
		if (r == 0)
			r = check_disks(task, json_text(vm, "vm"), &image, err);
	}
	json_decref(list);
	if (r < 0 && r != -RP_EINUSE)
		(void)err_wrap(err,
			       "whether '%s' is a disk of a defined VM is not "
			       "known (if it is none: --offline)",
			       task->image);
	return r;
}

static int check_mark(const struct task *task, struct err *err)
{
	static const struct guid none;
	struct image_stamp stamp;
	int r = image_stamp_read(task->fd, task->image, &stamp, err);

	if (r < 0 || guid_equal(&stamp.nonce, &none))
		return r;
	return err_set(err, -RP_EINUSE,
		       "'%s' is marked as the disk of a defined VM; if it is a "
		       "copy that kept the mark: setfattr -x "
		       "user.refpoint.nonce '%s'",
		       task->image, task->image);
}

/* For the page cache: most writes of a log are small. */
static int open_image(struct task *task, struct err *err)
{
	struct image_geometry geometry;
	int flags, r;

	r = image_open(task->image, false, &task->fd, &geometry, err);
	if (r < 0)
		return r;
	task->bytes = geometry.bytes;
	flags = fcntl(task->fd, F_GETFL);
	if (flags < 0 || fcntl(task->fd, F_SETFL, flags & ~O_DIRECT) < 0)
		return err_set(err, -errno, "'%s'", task->image);
	r = image_lock(task->fd, task->image, 0, err);
	if (r == 0 && !task->offline)
		r = check_defined(task, err);
	if (r == 0)
		r = check_mark(task, err);
	return r;
}

/* ---- The command --------------------------------------------------------- */

static bool on_progress(void *arg, uint64_t done)
{
	struct task *task = arg;

	if (!task->cli->json)
		progress_show(&task->progress, done, task->extent.bytes);
	return !interrupted;
}

static void print_result(const struct task *task, bool applied)
{
	char last[TIME_TEXT_BYTES] = "";

	if (task->extent.last_ns >= 0)
		time_format(task->extent.last_ns, last);
	if (task->cli->json)
		(void)printf("{\"applied\": %s, \"writes\": %" PRIu64
			     ", \"bytes\": %" PRIu64 ", \"last\": %s%s%s}\n",
			     applied ? "true" : "false", task->extent.writes,
			     task->extent.bytes, *last ? "\"" : "",
			     *last ? last : "null", *last ? "\"" : "");
	else
		(void)printf("%s: %" PRIu64 " writes, %" PRIu64 " bytes%s%s\n",
			     applied ? "applied" : "good", task->extent.writes,
			     task->extent.bytes, *last ? ", the last of " : "",
			     last);
}

static int apply(struct task *task, struct err *err)
{
	struct sigaction action = {.sa_handler = on_signal};
	int r;

	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
	r = replay_apply(task->replay, task->fd, on_progress, task, err);
	progress_end(&task->progress);
	return r;
}

static int read_until(struct task *task, const char *text, struct err *err)
{
	task->until_ns = -1;
	if (!text || time_parse(text, &task->until_ns))
		return 0;
	return err_set(err, -RP_EPARAM,
		       "--until '%s' is not a time like 2026-01-31T23:59:59Z "
		       "or 2026-01-31T23:59:59.5+01:00",
		       text);
}

static int work(struct task *task, const struct cli_args *args, struct err *err)
{
	bool only_check = args->option[OPT_CHECK];
	int r = read_until(task, args->option[OPT_UNTIL], err);

	if (r == 0 && !task->image)
		r = err_set(err, -RP_EPARAM, "replay: --onto is missing");
	if (r == 0)
		r = open_logs(task, args, err);
	if (r == 0)
		r = open_image(task, err);
	if (r == 0)
		r = replay_check(task->replay, task->bytes, task->until_ns,
				 err);
	if (r < 0)
		return r;
	replay_extent(task->replay, &task->extent);
	if (!only_check)
		r = apply(task, err);
	if (r == 0)
		print_result(task, !only_check);
	return r;
}

static int run_replay(struct cli *cli, const struct cli_args *args,
		      struct err *err)
{
	struct task task = {.cli = cli,
			    .image = args->option[OPT_ONTO],
			    .offline = args->option[OPT_OFFLINE],
			    .fd = -1};
	int r = work(&task, args, err);

	replay_free(task.replay);
	for (unsigned i = 0; i < task.n; i++) {
		if (task.inputs[i].fd >= 0)
			(void)close(task.inputs[i].fd);
		if (task.inputs[i].sidecar_fd >= 0)
			(void)close(task.inputs[i].sidecar_fd);
	}
	free(task.inputs);
	if (task.fd >= 0)
		(void)close(task.fd);
	return r;
}

const struct command command_replay = {
    .name = "replay",
    .summary = "apply logs of writes to a copy of a disk",
    .positionals = {"LOG..."},
    .options =
	{
	    [OPT_ONTO] = {"onto", "IMAGE",
			  "what the first log began from: a raw image", false},
	    [OPT_UNTIL] = {"until", "TIME",
			   "RFC 3339; only what was written by then", false},
	    [OPT_CHECK] = {"check", NULL, "write nothing", false},
	    [OPT_OFFLINE] = {"offline", NULL,
			     "do not ask refpointd whose IMAGE is", false},
	},
    .details =
	"LOGs are closed ones of one disk in the format [MS-HRL], in any order,\n"
	"each following another.  Beside NAME.hrl its sidecar, NAME.side, is\n"
	"used; without it a TIME is a whole second, and stands for its end.\n"
	"All is checked before anything is written.\n",
    .run = run_replay,
};
