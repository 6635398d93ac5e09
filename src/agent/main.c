/* SPDX-License-Identifier: Apache-2.0 */
/* The keeper: connects, starts talkers, and passes messages on. */
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/virsh.h"
#include "common/agent.h"
#include "common/log.h"

#define PAUSE_MIN_MS 50
#define PAUSE_MAX_MS 1000
#define TALK_MS      (3 * AGENT_ANSWER_MS + AGENT_FREEZE_MS)
#define GRACE_MS     (3 * AGENT_ANSWER_MS) /* to thaw, beyond the limit */
#define RELAYS_MAX   8                     /* messages of one talker */

static const char usage[] =
    "usage: refpoint-agent --fd N --agent PATH|libvirt:DOMAIN [--thaw]\n"
    "                      [--uid N --gid N]\n"
    "refpointd starts it; there is nothing to do with it by hand.\n";

struct keeper {
	int daemon;        /* the socket; -1: refpointd is gone */
	const char *agent; /* the socket's path, where DOMAIN is NULL */
	const char *domain;
	bool only_thaws; /* it may be frozen, by us */
	uid_t uid;
	gid_t gid;
	pid_t talker;
	int talk; /* the socket */
	unsigned relays;
	struct virsh virsh;
	bool talks;        /* the talker keeps within its bounds */
	uint64_t limit;    /* the talker is killed then */
	uint64_t deadline; /* of all, once it only thaws */
	uint64_t alone;    /* since when nobody listens; 0: somebody did */
	bool over;         /* it was said how it ended */
};

/* ---- the agent's socket ----------------------------------------------------
 */

static int dial(const struct keeper *k, int *ret_fd)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd, r = 0;

	(void)snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", k->agent);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0) {
		r = -errno;
		if (fd >= 0)
			(void)close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

/* Nothing was frozen yet, or nobody has been there to be thawed for long. */
static void not_there(struct keeper *k, int code)
{
	uint64_t now = agent_now_ms();
	bool gone = code == -ENOENT || code == -ECONNREFUSED;

	if (!k->only_thaws) {
		agent_say(k->daemon,
			  "refused %s nobody answers on '%.200s' (%s): is the "
			  "guest running, with a channel for its agent there",
			  err_name(-RP_ESTATE), k->agent, strerror(-code));
		k->over = true;
		return;
	}
	if (!gone || !k->alone)
		k->alone = gone ? now : 0;
	else if (now - k->alone > AGENT_GONE_MS) {
		agent_say(k->daemon, "thawed 0 1");
		k->over = true;
	}
}

/* ---- messages ---------------------------------------------------------------
 */

static void from_talker(struct keeper *k, const char *text)
{
	unsigned command, ms;

	if (k->domain && sscanf(text, "run %u %u", &command, &ms) == 2) {
		k->talks =
		    virsh_run(&k->virsh, k->domain, command, ms, k->talk);
		return;
	}
	if (++k->relays > RELAYS_MAX)
		return;
	if (strncmp(text, "frozen ", 7) == 0)
		k->limit = agent_now_ms() + AGENT_FROZEN_MS_MAX + GRACE_MS;
	agent_say(k->daemon, "%s", text);
	k->over = strncmp(text, "thawed ", 7) == 0 ||
		  strncmp(text, "refused ", 8) == 0;
}

static void from_daemon(struct keeper *k, int heard, const char *text)
{
	if (heard < 0) {
		(void)close(k->daemon);
		k->daemon = -1;
		text = "thaw";
	}
	if (heard != 0 && k->talk >= 0)
		agent_say(k->talk, "%s", text);
}

/* Waits for refpointd alone. */
static void listen_to_daemon(struct keeper *k, uint64_t ms)
{
	char text[AGENT_MESSAGE_BYTES];

	if (k->daemon < 0)
		(void)poll(NULL, 0, (int)ms);
	else
		from_daemon(k, agent_hear(k->daemon, ms, text, NULL), text);
}

/* Until the talker has ended, or may be forgotten. */
static void relay(struct keeper *k)
{
	char text[AGENT_MESSAGE_BYTES];
	int heard = 0;

	while (heard >= 0 && !k->over && k->talks) {
		struct pollfd p[] = {{.fd = k->talk, .events = POLLIN},
				     {.fd = k->daemon, .events = POLLIN}};
		uint64_t now = agent_now_ms();

		if (now >= k->limit) {
			log_warning("the talker hangs, killing it");
			return;
		}
		(void)poll(p, 2, (int)(k->limit - now));
		if (p[1].revents)
			listen_to_daemon(k, 0);
		heard = p[0].revents ? agent_hear(k->talk, 0, text, NULL) : 0;
		if (heard > 0)
			from_talker(k, text);
	}
	if (!k->talks)
		log_warning("the talker runs virsh without end, killing it");
}

/* ---- talkers ---------------------------------------------------------------
 */

static void be_talker(const struct keeper *k, int keeper, int line)
{
	const struct talker talker = {.keeper = 3,
				      .line = line < 0 ? -1 : 4,
				      .only_thaws = k->only_thaws,
				      .uid = k->uid,
				      .gid = k->gid};

	/* both lie above, where they do not get into each other's way */
	if (dup2(keeper, 3) < 0 || (line >= 0 && dup2(line, 4) < 0))
		_exit(EXIT_FAILED);
	(void)syscall(SYS_close_range, line < 0 ? 4u : 5u, UINT32_MAX, 0u);
	talk(&talker);
}

static int start_talker(struct keeper *k, int line)
{
	int pair[2], high[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	k->talker = fork();
	if (k->talker == 0) {
		high[0] = fcntl(pair[1], F_DUPFD_CLOEXEC, 16);
		high[1] = line < 0 ? -1 : fcntl(line, F_DUPFD_CLOEXEC, 16);
		be_talker(k, high[0], high[1]);
	}
	(void)close(pair[1]);
	if (k->talker < 0) {
		(void)close(pair[0]);
		return -EAGAIN;
	}
	k->talk = pair[0];
	k->relays = 0;
	k->virsh = (struct virsh){0};
	k->talks = true;
	k->limit = agent_now_ms() +
		   (k->only_thaws ? AGENT_SYNC_MS + AGENT_THAW_MS : TALK_MS) +
		   GRACE_MS;
	return 0;
}

/* One talker's life. */
static void attempt(struct keeper *k)
{
	int line = -1, r = k->domain ? 0 : dial(k, &line);

	if (r < 0) {
		not_there(k, r);
		return;
	}
	k->alone = 0;
	r = start_talker(k, line);
	if (line >= 0)
		(void)close(line);
	if (r < 0) {
		log_error("cannot start a talker: %s", strerror(-r));
		return;
	}
	if (k->daemon < 0)
		agent_say(k->talk, "thaw");
	relay(k);
	(void)close(k->talk);
	k->talk = -1;
	(void)kill(k->talker, SIGKILL); /* whatever it says, it is over */
	(void)waitpid(k->talker, NULL, 0);
	virsh_end(&k->virsh); /* before another talker asks */
}

static void keep(struct keeper *k)
{
	uint64_t pause = PAUSE_MIN_MS;

	attempt(k);
	if (!k->only_thaws)
		k->deadline = agent_now_ms() + AGENT_THAW_MS;
	while (!k->over && agent_now_ms() < k->deadline) {
		k->only_thaws = true;
		listen_to_daemon(k, pause);
		pause = pause * 2 > PAUSE_MAX_MS ? PAUSE_MAX_MS : pause * 2;
		attempt(k);
	}
	if (k->over)
		return;
	agent_say(k->daemon, "stuck no agent answers");
	log_error("the guest behind '%s' may be frozen: its agent does not "
		  "answer",
		  k->agent);
}

static bool read_options(struct keeper *k, int argc, char **argv)
{
	static const struct option known[] = {
	    {"fd", required_argument, NULL, 'f'},
	    {"agent", required_argument, NULL, 'a'},
	    {"uid", required_argument, NULL, 'u'},
	    {"gid", required_argument, NULL, 'g'},
	    {"thaw", no_argument, NULL, 't'},
	    {0}};
	int c;

	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
		if (c == 'f')
			k->daemon = atoi(optarg);
		else if (c == 'a')
			k->agent = optarg;
		else if (c == 'u')
			k->uid = (uid_t)strtoul(optarg, NULL, 10);
		else if (c == 'g')
			k->gid = (gid_t)strtoul(optarg, NULL, 10);
		else if (c == 't')
			k->only_thaws = true;
		else
			return false;
	}
	return optind == argc && k->daemon > STDERR_FILENO && k->agent &&
	       *k->agent && agent_check(k->agent, NULL) == 0;
}

int main(int argc, char **argv)
{
	struct keeper k = {.daemon = -1, .talk = -1};
	const struct rlimit none = {0, 0};

	if (!read_options(&k, argc, argv)) {
		(void)fputs(usage, stderr);
		return EXIT_USAGE;
	}
	log_open("refpoint-agent");
	log_enable_debug(getenv("REFPOINT_DEBUG"));
	(void)signal(SIGPIPE, SIG_IGN);
	(void)setrlimit(RLIMIT_CORE, &none);
	k.domain = agent_domain(k.agent);
	if (k.only_thaws)
		k.deadline = agent_now_ms() + AGENT_THAW_MS;
	keep(&k);
	return k.over ? EXIT_OK : EXIT_FAILED;
}
