/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/virsh.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/agent.h"

static const char *const commands[] = {
    [AGENT_STATUS] = "{\"execute\":\"guest-fsfreeze-status\"}",
    [AGENT_FREEZE] = "{\"execute\":\"guest-fsfreeze-freeze\"}",
    [AGENT_THAW] = "{\"execute\":\"guest-fsfreeze-thaw\"}",
};

static void exec_virsh(const char *domain, unsigned command, unsigned s)
{
	const char *uri = getenv("REFPOINT_LIBVIRT_URI");
	char seconds[16];

	if (!uri || !*uri)
		uri = geteuid() == 0 ? "qemu:///system" : "qemu:///session";
	(void)snprintf(seconds, sizeof(seconds), "%u", s);
	(void)setenv("LC_ALL", "C", 1);
	(void)alarm(s + 2);
	if (command == AGENT_STATE)
		(void)execlp("virsh", "virsh", "-c", uri, "domstate",
			     "--domain", domain, NULL);
	else
		(void)execlp("virsh", "virsh", "-c", uri, "qemu-agent-command",
			     "--domain", domain, "--timeout", seconds, "--cmd",
			     commands[command], NULL);
	(void)!write(STDOUT_FILENO, "error: there is no virsh", 24);
	_exit(127);
}

static void be_virsh(const char *domain, unsigned command, unsigned ms, int out)
{
	int null = open("/dev/null", O_RDONLY);

	(void)dup2(out, STDOUT_FILENO);
	(void)dup2(out, STDERR_FILENO);
	(void)dup2(null, STDIN_FILENO);
	(void)syscall(SYS_close_range, 3u, UINT32_MAX, 0u);
	exec_virsh(domain, command, ms < 1000 ? 1 : ms / 1000);
}

void virsh_end(struct virsh *virsh)
{
	if (virsh->pid <= 0)
		return;
	(void)kill(virsh->pid, SIGKILL);
	while (waitpid(virsh->pid, NULL, 0) < 0 && errno == EINTR)
		;
	virsh->pid = 0;
}

/* What it says goes to the talker, unread. */
bool virsh_run(struct virsh *virsh, const char *domain, unsigned command,
	       unsigned ms, int talk)
{
	int out[2];

	if (virsh->runs >= AGENT_RUNS_MAX)
		return false;
	virsh->runs++;
	virsh_end(virsh);
	if (command >= AGENT_COMMANDS || ms > AGENT_THAW_MS ||
	    pipe2(out, O_CLOEXEC) < 0)
		return true;
	virsh->pid = fork();
	if (virsh->pid == 0)
		be_virsh(domain, command, ms, out[1]);
	(void)close(out[1]);
	agent_say_fd(talk, "output", out[0]);
	(void)close(out[0]);
	return true;
}
