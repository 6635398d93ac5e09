/* SPDX-License-Identifier: Apache-2.0 */
/* A talker that asks for virsh without end, with a virsh that does not end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/virsh.h"

static char dir[] = "/tmp/test-virsh-XXXXXX";
static char path[64];

static int write_virsh(const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		return -1;
	return close(fd);
}

static int make_virsh(void **state)
{
	char search[256];

	if (!mkdtemp(dir))
		return -1;
	(void)snprintf(path, sizeof(path), "%s/virsh", dir);
	(void)snprintf(search, sizeof(search), "%s:/usr/bin:/bin", dir);
	return setenv("PATH", search, 1);
}

static int remove_virsh(void **state)
{
	(void)unlink(path);
	return rmdir(dir);
}

static bool is_gone(pid_t pid)
{
	return kill(pid, 0) < 0 && errno == ESRCH;
}

static void the_one_before_is_killed(void **state)
{
	struct virsh virsh = {0};
	char text[AGENT_MESSAGE_BYTES], c;
	pid_t before;
	int pair[2], fd = -1;

	assert_int_equal(write_virsh("#!/bin/sh\nexec sleep 100\n"), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	assert_true(virsh_run(&virsh, "d", AGENT_STATUS, 60000, pair[0]));
	before = virsh.pid;
	assert_true(before > 0);
	assert_int_equal(agent_hear(pair[1], 0, text, &fd), 1);
	assert_true(virsh_run(&virsh, "d", AGENT_STATUS, 60000, pair[0]));
	assert_true(is_gone(before));
	assert_int_equal(read(fd, &c, 1), 0); /* nobody else has it */
	assert_int_equal(close(fd), 0);
	assert_false(is_gone(virsh.pid));
	before = virsh.pid;
	virsh_end(&virsh);
	assert_true(is_gone(before));
	virsh_end(&virsh);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	(void)close(pair[0]);
	(void)close(pair[1]);
}

/* It does not read what it is passed either: nobody waits for it. */
static void their_number_is_bounded(void **state)
{
	struct virsh virsh = {0};
	unsigned i = 0;
	int pair[2];

	assert_int_equal(write_virsh("#!/bin/sh\nexec sleep 100\n"), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	(void)alarm(60);
	while (i <= AGENT_RUNS_MAX &&
	       virsh_run(&virsh, "d", AGENT_STATUS, 60000, pair[0]))
		i++;
	(void)alarm(0);
	assert_int_equal(i, AGENT_RUNS_MAX);
	virsh_end(&virsh);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	(void)close(pair[0]);
	(void)close(pair[1]);
}

static void nonsense_is_counted_and_not_run(void **state)
{
	struct virsh virsh = {0};

	assert_true(virsh_run(&virsh, "d", AGENT_COMMANDS, 1, -1));
	assert_true(
	    virsh_run(&virsh, "d", AGENT_STATUS, AGENT_THAW_MS + 1, -1));
	assert_int_equal(virsh.pid, 0);
	assert_int_equal(virsh.runs, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_one_before_is_killed),
	    cmocka_unit_test(their_number_is_bounded),
	    cmocka_unit_test(nonsense_is_counted_and_not_run),
	};

	return cmocka_run_group_tests(tests, make_virsh, remove_virsh);
}
