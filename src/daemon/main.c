/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "common/log.h"
#include "daemon/daemon.h"
#include "daemon/freeze.h"
#include "daemon/methods.h"
#include "daemon/scan.h"
#include "daemon/sockets.h"
#include "disk/image.h"

#define OVERFLOW_ID 65534 /* "nobody": shared by what has no user */

static const char usage[] =
    "usage: refpointd [--root DIR] [--socket-group GROUP] [-D MODULES]\n"
    "\n"
    "Keeps the virtual systems of refpoint and their workers, in the "
    "foreground.\n"
    "\n"
    "  --root DIR            keep everything below DIR, not in\n"
    "                        /var/lib/refpoint and /run/refpoint\n"
    "  --socket-group GROUP  who may connect guests' disks (default: kvm)\n"
    "  -D MODULES            print debug lines of these, comma separated, or "
    "'all'\n"
    "  --help, --version\n"
    "\n"
    "REFPOINT_WORKER, REFPOINT_AGENT, REFPOINT_PULL and REFPOINT_TARGET in the\n"
    "environment name other programs than refpoint-worker, refpoint-agent,\n"
    "refpoint-pull and refpoint-target.\n";

struct options {
	const char *root, *socket_group, *debug;
};

/* ---- Directories and the lock
 * ------------------------------------------------ */

static int make_dir(const char *path, mode_t mode, struct err *err)
{
	mode_t old = umask(0);
	int r = mkdir(path, mode) < 0 && errno != EEXIST ? -errno : 0;

	(void)umask(old);
	return r < 0 ? err_set(err, r, "make '%s'", path) : 0;
}

static int make_dirs(const struct daemon *daemon, struct err *err)
{
	/* workers' users pass through, and read nothing */
	mode_t through = daemon->privileged ? 0711 : 0700;
	const struct {
		const char *base, *name;
		mode_t mode;
	} dirs[] = {
	    {daemon->paths.lib, "", through},
	    {daemon->paths.lib, "/vms", through},
	    {daemon->paths.run, "", 0755},
	    {daemon->paths.run, "/vm", 0755},
	    {daemon->paths.run, "/pids", 0700},
	    {daemon->paths.run, "/frozen", 0700},
	};
	char path[PATH_BYTES];
	int r = 0;

	if (daemon->paths.rooted) {
		(void)snprintf(path, sizeof(path), "%s", daemon->paths.lib);
		*strrchr(path, '/') = '\0';
		r = make_dir(path, 0755, err);
	}
	for (size_t i = 0; r == 0 && i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s%s", dirs[i].base,
			       dirs[i].name);
		r = make_dir(path, dirs[i].mode, err);
	}
	return r;
}

static int take_lock(struct daemon *daemon, struct err *err)
{
	char path[PATH_BYTES], pid[32] = "";
	ssize_t n;

	(void)snprintf(path, sizeof(path), "%s/lock", daemon->paths.lib);
	daemon->lock =
	    open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (daemon->lock < 0)
		return err_set(err, -errno, "open '%s'", path);
	if (flock(daemon->lock, LOCK_EX | LOCK_NB) < 0) {
		n = pread(daemon->lock, pid, sizeof(pid) - 1, 0);
		pid[n > 0 ? strcspn(pid, "\n") : 0] = '\0';
		return err_set(err, -RP_EINUSE,
			       "another refpointd (pid %s) has '%s'", pid,
			       daemon->paths.lib);
	}
	n = snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
	if (ftruncate(daemon->lock, 0) < 0 ||
	    pwrite(daemon->lock, pid, (size_t)n, 0) != n)
		return err_set(err, -errno, "write '%s'", path);
	return 0;
}

/* ---- Who runs what
 * ------------------------------------------------------------- */

static int find_users(struct daemon *daemon, const char *socket_group,
		      struct err *err)
{
	struct passwd *worker;
	struct group *group = NULL;

	daemon->privileged = geteuid() == 0;
	daemon->worker_uid = geteuid();
	daemon->worker_gid = daemon->socket_gid = getegid();
	if (socket_group || daemon->privileged) {
		group = getgrnam(socket_group ? socket_group : SOCKET_GROUP);
		if (socket_group && !group)
			return err_set(err, -RP_EPARAM,
				       "there is no group '%s'", socket_group);
		if (group)
			daemon->socket_gid = group->gr_gid;
	}
	if (!daemon->privileged)
		return 0;
	worker = getpwnam(WORKER_USER);
	if (!worker)
		return err_set(
		    err, -RP_EFAILED,
		    "there is no user '%s', as which workers run: "
		    "make it (systemd-sysusers, or tools/install-deps "
		    "in the source tree)",
		    WORKER_USER);
	if (worker->pw_uid == 0 || worker->pw_uid == OVERFLOW_ID ||
	    worker->pw_gid == OVERFLOW_ID)
		return err_set(err, -RP_EFAILED,
			       "the user '%s' has uid %u, which is not its own",
			       WORKER_USER, (unsigned)worker->pw_uid);
	daemon->worker_uid = worker->pw_uid;
	daemon->worker_gid = worker->pw_gid;
	return 0;
}

/* Named by VARIABLE in the environment, or beside us, or where it is installed.
 */
static int find_program(const char *name, const char *variable,
			char path[PATH_BYTES], struct err *err)
{
	const char *env = getenv(variable);
	ssize_t n;

	if (env && *env) {
		if (snprintf(path, PATH_BYTES, "%s", env) >= PATH_BYTES)
			return err_set(err, -RP_EPARAM, "%s", variable);
		return 0;
	}
	n = readlink("/proc/self/exe", path, PATH_BYTES - 32);
	if (n > 0) {
		path[n] = '\0';
		(void)snprintf(strrchr(path, '/'), 32, "/%s", name);
		if (access(path, X_OK) == 0)
			return 0;
	}
	(void)snprintf(path, PATH_BYTES, "%s/%s", LIBEXECDIR, name);
	return 0;
}

static int find_programs(struct daemon *daemon, struct err *err)
{
	int r = find_program("refpoint-worker", "REFPOINT_WORKER",
			     daemon->worker_path, err);

	if (r == 0 && access(daemon->worker_path, X_OK) < 0 && !daemon->units)
		log_warning("there is no '%s', no worker can be started",
			    daemon->worker_path);
	if (r == 0)
		r = find_program("refpoint-agent", "REFPOINT_AGENT",
				 daemon->agent_path, err);
	if (r == 0)
		r = find_program("refpoint-pull", "REFPOINT_PULL",
				 daemon->pull_path, err);
	if (r == 0)
		r = find_program("refpoint-target", "REFPOINT_TARGET",
				 daemon->target_path, err);
	return r;
}

/* ---- Start
 * ----------------------------------------------------------------------- */

static int set_up(struct daemon *daemon, const struct options *options,
		  struct err *err)
{
	int r = paths_init(&daemon->paths, options->root, err);

	daemon->debug = options->debug;
	daemon->units = !daemon->paths.rooted && sd_booted() > 0;
	if (r == 0)
		r = find_users(daemon, options->socket_group, err);
	if (r == 0)
		r = make_dirs(daemon, err);
	if (r == 0)
		r = take_lock(daemon, err);
	if (r == 0)
		r = find_programs(daemon, err);
	if (r == 0)
		r = image_boot_id(&daemon->boot, err);
	if (r == 0)
		r = inventory_open(daemon->paths.lib, &daemon->inventory, err);
	if (r == 0)
		r = records_open(daemon->paths.lib, NULL, NULL,
				 &daemon->records, err);
	if (r < 0)
		return r;
	daemon->jobs = jobs_new(NULL);
	if (!daemon->jobs)
		return err_set(err, -ENOMEM, "start");
	return 0;
}

/* Two descriptors for each VM, and those on their way. */
static void raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

static int make_loop(struct daemon *daemon, struct err *err)
{
	sigset_t set;
	int r;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	r = sd_event_new(&daemon->event);
	if (r >= 0)
		r = sd_event_add_signal(daemon->event, NULL, SIGTERM, NULL,
					NULL);
	if (r >= 0)
		r = sd_event_add_signal(daemon->event, NULL, SIGINT, NULL,
					NULL);
	if (r >= 0)
		(void)sd_event_set_watchdog(daemon->event, 1);
	return r < 0 ? err_set(err, r, "make the event loop") : 0;
}

static int run(struct daemon *daemon, struct err *err)
{
	int r = make_loop(daemon, err);

	raise_limit();
	if (r == 0)
		define_clean_up(daemon);
	if (r == 0)
		r = scan(daemon, err);
	if (r == 0)
		r = rpc_server_new(daemon->event, methods_table, daemon,
				   &daemon->server, err);
	if (r == 0)
		r = sockets_listen(daemon, err);
	if (r < 0)
		return r;
	freeze_clean_up(daemon);
	scan_start(daemon);
	log_info("ready lib=%s run=%s vms=%u", daemon->paths.lib,
		 daemon->paths.run, daemon->n_vms);
	(void)sd_notify(0, "READY=1");
	r = sd_event_loop(daemon->event);
	(void)sd_notify(0, "STOPPING=1");
	return r < 0 ? err_set(err, r, "event loop") : 0;
}

/* 0: go on; otherwise an exit status, less one. */
static int read_options(int argc, char **argv, struct options *options)
{
	static const struct option longs[] = {
	    {"root", required_argument, NULL, 'r'},
	    {"socket-group", required_argument, NULL, 'g'},
	    {"help", no_argument, NULL, 'h'},
	    {"version", no_argument, NULL, 'V'},
	    {0}};
	int c;

	while ((c = getopt_long(argc, argv, "D:h", longs, NULL)) != -1)
		switch (c) {
		case 'r':
			options->root = optarg;
			break;
		case 'g':
			options->socket_group = optarg;
			break;
		case 'D':
			options->debug = optarg;
			break;
		case 'h':
			(void)fputs(usage, stdout);
			return 1 + EXIT_OK;
		case 'V':
			(void)puts("refpointd " VERSION);
			return 1 + EXIT_OK;
		default:
			(void)fputs(usage, stderr);
			return 1 + EXIT_USAGE;
		}
	if (optind < argc) {
		(void)fprintf(stderr, "refpointd: what is '%s'?\n%s",
			      argv[optind], usage);
		return 1 + EXIT_USAGE;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct options options = {.debug = getenv("REFPOINT_DEBUG")};
	static struct daemon daemon = {.lock = -1};
	struct err err = {0};
	int r = read_options(argc, argv, &options);

	if (r)
		return r - 1;
	(void)umask(077);
	log_open("refpointd");
	log_enable_debug(options.debug);
	r = set_up(&daemon, &options, &err);
	if (r == 0)
		r = run(&daemon, &err);
	if (r < 0) {
		log_error("%s", err.text);
		return err_exit_status(r);
	}
	/* workers go on; the kernel takes the rest */
	rpc_server_free(daemon.server);
	return EXIT_OK;
}
