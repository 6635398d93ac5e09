/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/target.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "daemon/command.h"

/* One that lives. */
struct target {
	struct target *next;
	struct daemon *daemon;
	char vm[VM_NAME_BYTES];
	int life; /* a pipe, whose other end it has */
	sd_event_source *end;
};

static void target_free(struct target *target)
{
	struct target **at = &target->daemon->targets;

	while (*at != target)
		at = &(*at)->next;
	*at = target->next;
	sd_event_source_disable_unref(target->end);
	(void)close(target->life);
	free(target);
}

static int on_end(sd_event_source *source, int fd, uint32_t revents, void *arg)
{
	target_free(arg);
	return 0;
}

static int check_number(const struct daemon *daemon, const char *vm,
			struct err *err)
{
	unsigned n = 0;

	for (const struct target *t = daemon->targets; t; t = t->next)
		n += strcmp(t->vm, vm) == 0;
	return n < TARGETS_PER_VM_MAX
		   ? 0
		   : err_set(err, -RP_ELIMIT,
			     "%u exports of '%s' are under way, or were given "
			     "up and still wait for targets that hang",
			     n, vm);
}

/* ---- Its start -------------------------------------------------------------
 */

static void make_command(const struct daemon *d, const char *vm, int channel,
			 struct command *c)
{
	*c = (struct command){0};
	command_word(c, d->target_path);
	command_option(c, "--channel", (unsigned)channel);
	command_word(c, "--vm");
	command_word(c, vm);
	command_user(c, d);
}

/* No child of ours; only what is safe between fork and execve.  It must hold
 * nothing that is ours: it may stay for long. */
static void exec_target(int channel, const struct command *c)
{
	sigset_t none;

	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)setsid();
	if (fork() == 0) {
		if (channel > STDERR_FILENO + 1)
			(void)syscall(SYS_close_range, STDERR_FILENO + 1,
				      channel - 1, 0u);
		(void)syscall(SYS_close_range, channel + 1, UINT32_MAX, 0u);
		(void)fcntl(channel, F_SETFD, 0);
		(void)execv(c->argv[0], c->argv);
	}
	_exit(0);
}

static int spawn(const struct daemon *daemon, const char *vm, int channel,
		 struct err *err)
{
	struct command command;
	pid_t pid;

	make_command(daemon, vm, channel, &command);
	pid = fork();
	if (pid == 0)
		exec_target(channel, &command);
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return pid < 0 ? err_set(err, -errno, "start '%s'", daemon->target_path)
		       : 0;
}

static int make_memory(int *ret_fd, struct err *err)
{
	int fd =
	    memfd_create("refpoint-target", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd >= 0 && ftruncate(fd, TARGET_MEMORY_BYTES) == 0 &&
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) ==
		0) {
		*ret_fd = fd;
		return 0;
	}
	(void)err_set(err, -errno, "make the memory of an export");
	if (fd >= 0)
		(void)close(fd);
	return -RP_EFAILED;
}

static int watch(struct daemon *daemon, const char *vm, int life,
		 struct err *err)
{
	struct target *target = calloc(1, sizeof(*target));
	int r;

	if (!target) {
		(void)close(life);
		return err_set(err, -ENOMEM, "export");
	}
	target->daemon = daemon;
	target->life = life;
	(void)snprintf(target->vm, sizeof(target->vm), "%s", vm);
	target->next = daemon->targets;
	daemon->targets = target;
	r = sd_event_add_io(daemon->event, &target->end, life, EPOLLIN, on_end,
			    target);
	if (r >= 0)
		return 0;
	target_free(target);
	return err_set(err, r, "watch refpoint-target");
}

int target_start(struct daemon *daemon, const char *vm, const int *files,
		 unsigned n, int ret_fds[TARGET_FDS], struct err *err)
{
	_cleanup_close_ int ours = -1, its = -1, memory = -1, held = -1;
	int fds[TARGET_FILES_FROM + EXPORT_FILES_MAX], pair[2], life[2];
	int r = check_number(daemon, vm, err);

	if (r == 0 && access(daemon->target_path, X_OK) < 0)
		r = err_set(err, -errno, "run '%s'", daemon->target_path);
	if (r == 0)
		r = make_memory(&memory, err);
	if (r < 0)
		return r;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_set(err, -errno, "make a socket");
	ours = pair[0];
	its = pair[1];
	if (pipe2(life, O_CLOEXEC) < 0)
		return err_set(err, -errno, "make a pipe");
	held = life[1];
	r = watch(daemon, vm, life[0], err);
	if (r == 0)
		r = spawn(daemon, vm, its, err);
	fds[0] = memory;
	fds[1] = held;
	memcpy(fds + TARGET_FILES_FROM, files, n * sizeof(*files));
	if (r == 0)
		r = target_give(ours, fds, TARGET_FILES_FROM + n, err);
	if (r < 0)
		return r;
	ret_fds[0] = ours;
	ret_fds[1] = memory;
	ours = memory = -1;
	return 0;
}
