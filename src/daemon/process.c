/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/process.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <systemd/sd-login.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"

#define NOFILE_MAX       4096
#define MEMLOCK_MAX      (256u << 20) /* rings and their buffers */
#define START_TIMEOUT_MS 5000         /* of fork and execve */

/* ---- Pid files ----------------------------------------------------------- */

static void pid_path(const struct daemon *daemon, const char *vm,
		     char path[PATH_BYTES])
{
	(void)snprintf(path, PATH_BYTES, "%s/pids/%s", daemon->paths.run, vm);
}

/* Reads a small file as text; empty where that fails. */
static void read_text(const char *path, char *text, size_t bytes)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	ssize_t n = fd < 0 ? -1 : read(fd, text, bytes - 1);

	text[n < 0 ? 0 : n] = '\0';
}

/* What tells this life of PID from any other: "PID START BOOT", START being
 * field 22 of /proc/PID/stat.  Empty: there is no such process. */
static void identify(pid_t pid, char *text, size_t bytes)
{
	char path[64], stat[1024], boot[64], *at;
	unsigned long long start;

	text[0] = '\0';
	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	read_text(path, stat, sizeof(stat));
	read_text("/proc/sys/kernel/random/boot_id", boot, sizeof(boot));
	at = strrchr(stat, ')'); /* the name may contain anything */
	for (unsigned field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	if (!at || sscanf(at, "%llu", &start) != 1)
		return;
	(void)snprintf(text, bytes, "%d %llu %.36s\n", (int)pid, start, boot);
}

static int pid_file_write(struct daemon *daemon, const char *vm, pid_t pid,
			  struct err *err)
{
	_cleanup_close_ int fd = -1;
	char path[PATH_BYTES], text[160];
	size_t n;

	identify(pid, text, sizeof(text));
	n = strlen(text);
	pid_path(daemon, vm, path);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
		  0600);
	if (fd < 0 || write(fd, text, n) != (ssize_t)n)
		return err_set(err, -errno, "write '%s'", path);
	return 0;
}

static int pidfd_of(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0u);

	return fd < 0 ? -errno : fd;
}

void process_find(struct daemon *daemon, const char *vm,
		  struct process *ret_process)
{
	char path[PATH_BYTES], text[160], now[160];
	int pid = 0, fd;
	struct pollfd p;

	*ret_process = (struct process){.pidfd = -1};
	pid_path(daemon, vm, path);
	read_text(path, text, sizeof(text));
	if (sscanf(text, "%d", &pid) != 1 || pid <= 1)
		return;
	fd = pidfd_of(pid);
	if (fd < 0)
		return;
	identify(pid, now, sizeof(now));
	p = (struct pollfd){.fd = fd, .events = POLLIN};
	if (strcmp(now, text) != 0 || poll(&p, 1, 0) != 0) {
		(void)close(fd);
		return;
	}
	ret_process->pid = pid;
	ret_process->pidfd = fd;
}

/* ---- The child's side of a start ----------------------------------------- */

/* Only what is safe between fork and execve in a program with threads. */
struct launch {
	const char *path;
	char *const *argv;
	int go;     /* read one byte from here, then execve */
	int report; /* an errno goes here */
	bool privileged;
	uid_t uid;
	gid_t gid;
	bool core;
	const char *store;
};

static void report_and_exit(const struct launch *l, int code)
{
	(void)!write(l->report, &code, sizeof(code));
	_exit(127);
}

static void limit(int what, rlim_t value)
{
	struct rlimit old, new = {value, value};

	if (getrlimit(what, &old) == 0 && geteuid() != 0 &&
	    old.rlim_max < value)
		new.rlim_cur = new.rlim_max = old.rlim_max;
	(void)setrlimit(what, &new);
}

static void drop_privileges(const struct launch *l)
{
	/* not glibc's: those would signal threads that are not here */
	if (syscall(SYS_setgroups, 0, NULL) < 0 ||
	    syscall(SYS_setresgid, l->gid, l->gid, l->gid) < 0 ||
	    syscall(SYS_setresuid, l->uid, l->uid, l->uid) < 0)
		report_and_exit(l, errno);
}

static void become_worker(const struct launch *l)
{
	sigset_t none;
	char go;

	(void)setsid();
	limit(RLIMIT_NOFILE, NOFILE_MAX);
	limit(RLIMIT_MEMLOCK, MEMLOCK_MAX);
	if (!l->core)
		limit(RLIMIT_CORE, 0);
	if (l->privileged)
		drop_privileges(l);
	(void)signal(SIGPIPE, SIG_DFL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)umask(077);
	if (access(l->store, R_OK | W_OK | X_OK) < 0)
		report_and_exit(l, -errno);
	if (read(l->go, &go, 1) != 1)
		_exit(127); /* refpointd is gone, or thought better of it */
	(void)execv(l->path, l->argv);
	report_and_exit(l, errno);
}

/* Lets go of all but standard I/O and KEEP: the child must hold neither our
 * lock, nor our sockets, nor images, nor the end of a pipe whose closing tells
 * it that we are gone. */
static void close_others(const int *keep, unsigned n)
{
	unsigned from = STDERR_FILENO + 1;

	for (;;) {
		unsigned to = UINT_MAX;

		for (unsigned i = 0; i < n; i++)
			if ((unsigned)keep[i] >= from && (unsigned)keep[i] < to)
				to = (unsigned)keep[i];
		if (to == UINT_MAX)
			break;
		if (to > from)
			(void)syscall(SYS_close_range, from, to - 1, 0u);
		from = to + 1;
	}
	(void)syscall(SYS_close_range, from, UINT_MAX, 0u);
}

/* The first child: makes the worker, says its pid, and is gone. */
static void be_middle(const struct launch *l, int pid_to)
{
	const int keep[] = {l->go, l->report, pid_to};
	pid_t pid;

	close_others(keep, 3);
	pid = fork();
	if (pid == 0) {
		(void)close(pid_to);
		become_worker(l);
	}
	(void)!write(pid_to, &pid, sizeof(pid));
	_exit(0);
}

/* ---- Our side ------------------------------------------------------------ */

struct pipes {
	int go[2], report[2], pid[2];
};

static void pipes_close(struct pipes *p)
{
	int *all = &p->go[0];

	for (unsigned i = 0; i < sizeof(*p) / sizeof(int); i++)
		if (all[i] >= 0)
			(void)close(all[i]);
}

static int pipes_open(struct pipes *p, struct err *err)
{
	*p = (struct pipes){{-1, -1}, {-1, -1}, {-1, -1}};
	if (pipe2(p->go, O_CLOEXEC) < 0 || pipe2(p->report, O_CLOEXEC) < 0 ||
	    pipe2(p->pid, O_CLOEXEC) < 0)
		return err_set(err, -errno, "make a pipe");
	return 0;
}

static void pipe_end_close(int *fd)
{
	(void)close(*fd);
	*fd = -1;
}

static int read_for(int fd, void *buf, size_t bytes, int timeout_ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	ssize_t n;

	do
		n = poll(&p, 1, timeout_ms);
	while (n < 0 && errno == EINTR);
	if (n == 0)
		return -ETIMEDOUT;
	do
		n = read(fd, buf, bytes);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : (int)n;
}

static int fork_worker(const struct launch *l, struct pipes *p, pid_t *ret_pid,
		       struct err *err)
{
	pid_t middle = fork(), pid = -1;

	if (middle < 0)
		return err_set(err, -errno, "fork");
	if (middle == 0)
		be_middle(l, p->pid[1]);
	pipe_end_close(&p->go[0]);
	pipe_end_close(&p->report[1]);
	pipe_end_close(&p->pid[1]);
	while (waitpid(middle, NULL, 0) < 0 && errno == EINTR)
		;
	if (read_for(p->pid[0], &pid, sizeof(pid), START_TIMEOUT_MS) !=
		(int)sizeof(pid) ||
	    pid <= 0)
		return err_set(err, -RP_EFAILED, "fork in the child");
	*ret_pid = pid;
	return 0;
}

/* Lets the worker go; its report pipe closes at execve, or says why not. */
static int let_go(struct daemon *daemon, const struct launch *l,
		  struct pipes *p, struct err *err)
{
	int code = 0, n;

	(void)!write(p->go[1], "", 1);
	pipe_end_close(&p->go[1]);
	n = read_for(p->report[0], &code, sizeof(code), START_TIMEOUT_MS);
	if (n == 0)
		return 0;
	if (n == (int)sizeof(code) && code < 0)
		return err_set(err, code,
			       "uid %u, as which the worker runs, cannot use "
			       "'%s'",
			       (unsigned)daemon->worker_uid, l->store);
	return err_set(err, n == (int)sizeof(code) ? -code : n, "start '%s'",
		       l->path);
}

static int launch(struct daemon *daemon, const char *vm, const struct launch *l,
		  struct pipes *p, struct process *ret_process, struct err *err)
{
	struct process process = {.pidfd = -1};
	int r = fork_worker(l, p, &process.pid, err);

	if (r < 0)
		return r;
	process.pidfd = pidfd_of(process.pid);
	/* It may have gone already: then it left a report. */
	if (process.pidfd >= 0)
		r = pid_file_write(daemon, vm, process.pid, err);
	if (r == 0)
		r = let_go(daemon, l, p, err);
	if (r == 0 && process.pidfd < 0)
		r = err_set(err, process.pidfd, "watch the worker");
	if (r < 0) {
		process_done(daemon, vm, &process);
		return r;
	}
	*ret_process = process;
	return 0;
}

static int start_fork(struct daemon *daemon, const char *vm,
		      struct process *ret_process, struct err *err)
{
	static char root_option[] = "--root", vm_option[] = "--vm";
	static char debug_option[] = "-D";
	char root[ROOT_BYTES + 8], store[PATH_BYTES];
	char *argv[8] = {daemon->worker_path};
	unsigned n = 1;
	struct launch l = {.path = daemon->worker_path,
			   .argv = argv,
			   .privileged = daemon->privileged,
			   .uid = daemon->worker_uid,
			   .gid = daemon->worker_gid,
			   .core = daemon->debug != NULL,
			   .store = store};
	struct pipes p;
	int r;

	paths_store(&daemon->paths, vm, store);
	if (daemon->paths.rooted) {
		(void)strcpy(root, daemon->paths.lib);
		*strrchr(root, '/') = '\0';
		argv[n++] = root_option;
		argv[n++] = root;
	}
	argv[n++] = vm_option;
	argv[n++] = (char *)(uintptr_t)vm;
	if (daemon->debug) {
		argv[n++] = debug_option;
		argv[n++] = (char *)(uintptr_t)daemon->debug;
	}
	argv[n] = NULL;
	r = pipes_open(&p, err);
	l.go = p.go[0];
	l.report = p.report[1];
	if (r == 0)
		r = launch(daemon, vm, &l, &p, ret_process, err);
	pipes_close(&p);
	return r;
}

/* Runs systemctl without waiting for the unit; it says itself what is wrong. */
static int run_systemctl(const char *verb, const char *vm, struct err *err)
{
	char unit[VM_NAME_BYTES + 40];
	pid_t pid;

	(void)snprintf(unit, sizeof(unit), UNIT_FORMAT, vm);
	pid = fork();
	if (pid < 0)
		return err_set(err, -errno, "fork");
	if (pid == 0) {
		sigset_t none;

		(void)sigemptyset(&none);
		(void)sigprocmask(SIG_SETMASK, &none, NULL);
		if (fork() == 0)
			(void)execlp("systemctl", "systemctl", "--no-block",
				     verb, unit, NULL);
		_exit(0);
	}
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return 0;
}

int process_start(struct daemon *daemon, const char *vm,
		  struct process *ret_process, struct err *err)
{
	if (!daemon->units)
		return start_fork(daemon, vm, ret_process, err);
	*ret_process = (struct process){.pidfd = -1};
	return run_systemctl("start", vm, err);
}

int process_claim(struct daemon *daemon, const char *vm, pid_t pid,
		  struct process *ret_process, struct err *err)
{
	_cleanup_free_ char *unit = NULL;
	char wanted[VM_NAME_BYTES + 40];
	int fd = daemon->units ? pidfd_of(pid) : -1;

	(void)snprintf(wanted, sizeof(wanted), UNIT_FORMAT, vm);
	/* asked after the pidfd is held: a later life of PID is not meant */
	if (fd < 0 || sd_pid_get_unit(pid, &unit) < 0 ||
	    strcmp(unit, wanted) != 0) {
		if (fd >= 0)
			(void)close(fd);
		return err_set(err, -RP_EDENIED,
			       "process %d is not the worker of '%s'", (int)pid,
			       vm);
	}
	(void)pid_file_write(daemon, vm, pid, NULL);
	*ret_process = (struct process){.pid = pid, .pidfd = fd};
	return 0;
}

void process_kill(struct daemon *daemon, const char *vm,
		  const struct process *process)
{
	struct err err = {0};

	if (process->pidfd >= 0) {
		(void)syscall(SYS_pidfd_send_signal, process->pidfd, SIGKILL,
			      NULL, 0u);
	} else if (daemon->units && run_systemctl("stop", vm, &err) < 0) {
		log_warning("cannot stop the worker of '%s': %s", vm, err.text);
	}
}

void process_done(struct daemon *daemon, const char *vm,
		  struct process *process)
{
	char path[PATH_BYTES];

	if (process->pidfd >= 0)
		(void)close(process->pidfd);
	*process = (struct process){.pidfd = -1};
	pid_path(daemon, vm, path);
	(void)unlink(path);
}
