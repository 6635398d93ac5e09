/* SPDX-License-Identifier: Apache-2.0 */
/* refpoint-pull: what it is given, what it gives up, and the loop that
 * accepts. */
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/confine.h"
#include "common/limits.h"
#include "common/log.h"
#include "pull/pull.h"

#define KEY_MS      5000 /* for refpointd to tell it */
#define STACK_BYTES KIB(512)
#define PAUSE_MS    100 /* after a failed accept */

static const char usage[] =
    "usage: refpoint-pull --control N --listen N [--uid N --gid N]\n"
    "refpointd starts it; there is nothing to do with it by hand.\n";

struct options {
	int control;
	int listener;
	uid_t uid;
	gid_t gid;
	bool drops;
};

/* ---- what it gives up -----------------------------------------------------
 */

#define SYS(name) SCMP_SYS(name)

/* The libraries may ask for more, and do without. */
static int confine(struct err *err)
{
	static const struct confine_rule rules[] = {
	    {SYS(fcntl), 1, UINT32_MAX, F_GETFL},
	    {SYS(fcntl), 1, UINT32_MAX, F_SETFL},
	};
	const struct confine_calls calls = {.rules = rules,
					    .n_rules = ARRAY_SIZE(rules),
					    .refuses = true};
	struct confine_files files;
	int r = confine_files_begin(&files, err);

	if (r == 0)
		r = confine_files_enter(&files, err);
	return r < 0 ? r : confine_calls_enter(&calls, err);
}

/* ---- accepting ------------------------------------------------------------
 */

struct client {
	struct pull *pull;
	int fd;
};

static void *client_thread(void *arg)
{
	struct client client = *(struct client *)arg;

	free(arg);
	connection_run(client.pull, client.fd);
	return NULL;
}

static int start_thread(struct client *client)
{
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	(void)pthread_attr_setstacksize(&attr, STACK_BYTES);
	r = pthread_create(&thread, &attr, client_thread, client);
	(void)pthread_attr_destroy(&attr);
	return -r;
}

static void take_client(struct pull *pull, int fd)
{
	struct client *client = malloc(sizeof(*client));

	if (client)
		*client = (struct client){pull, fd};
	atomic_fetch_add(&pull->handshakes, 1);
	if (client && start_thread(client) == 0)
		return;
	atomic_fetch_sub(&pull->handshakes, 1);
	free(client);
	(void)close(fd);
}

/* Until refpointd hangs up.  What it says is read by who asked. */
static void accept_all(struct pull *pull)
{
	struct pollfd fds[] = {{.fd = pull->control, .events = POLLRDHUP},
			       {.fd = pull->listener, .events = POLLIN}};

	for (;;) {
		bool full =
		    atomic_load(&pull->handshakes) >= PULL_HANDSHAKES_MAX;
		int fd;

		/* those who wait in the backlog have not been heard yet */
		fds[1].fd = full ? -1 : pull->listener;
		if (poll(fds, ARRAY_SIZE(fds), full ? PAUSE_MS : -1) < 0 &&
		    errno != EINTR)
			return;
		if (fds[0].revents)
			return;
		if (full || !(fds[1].revents & POLLIN))
			continue;
		fd = accept4(pull->listener, NULL, NULL,
			     SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0)
			take_client(pull, fd);
		else if (errno != EAGAIN && errno != ECONNABORTED)
			(void)poll(NULL, 0, PAUSE_MS);
	}
}

/* ---- start ----------------------------------------------------------------
 */

static bool read_number(const char *text, unsigned *ret_number)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	*ret_number = (unsigned)n;
	return *text && !*end && n <= INT32_MAX;
}

static bool read_options(int argc, char **argv, struct options *options)
{
	static const struct option longs[] = {
	    {"control", required_argument, NULL, 'c'},
	    {"listen", required_argument, NULL, 'l'},
	    {"uid", required_argument, NULL, 'u'},
	    {"gid", required_argument, NULL, 'g'},
	    {0}};
	unsigned n;
	int c;

	*options = (struct options){.control = -1, .listener = -1};
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == '?' || !read_number(optarg, &n))
			return false;
		if (c == 'c')
			options->control = (int)n;
		else if (c == 'l')
			options->listener = (int)n;
		else if (c == 'u')
			options->uid = n;
		else
			options->gid = n;
		options->drops |= c == 'u';
	}
	return optind == argc && options->control >= 0 &&
	       options->listener >= 0;
}

static int take_key(struct pull *pull, struct err *err)
{
	int r = wait_for(pull->control, POLLIN, wait_now_ms() + KEY_MS, err);

	if (r < 0)
		return r;
	if (recv(pull->control, &pull->key, sizeof(pull->key), MSG_DONTWAIT) !=
		(ssize_t)sizeof(pull->key) ||
	    pull->key.identity[PULL_IDENTITY_BYTES - 1])
		return err_set(err, -RP_EWIRE, "refpointd told no key");
	return 0;
}

static int start(struct pull *pull, const struct options *options,
		 struct err *err)
{
	const char ready = PULL_READY;
	int r = take_key(pull, err);

	if (r == 0)
		r = tls_prepare(pull, err);
	if (r == 0)
		r = confine_user(options->drops, options->uid, options->gid,
				 err);
	if (r == 0)
		r = confine(err);
	if (r == 0 && send(pull->control, &ready, 1, MSG_NOSIGNAL) != 1)
		r = err_set(err, -errno, "refpointd is gone");
	return r;
}

int main(int argc, char **argv)
{
	static struct pull pull;
	struct options options;
	struct err err = {0};

	if (!read_options(argc, argv, &options)) {
		(void)fputs(usage, stderr);
		return EXIT_USAGE;
	}
	log_open("refpoint-pull");
	(void)signal(SIGPIPE, SIG_IGN);
	pull.control = options.control;
	pull.listener = options.listener;
	(void)pthread_mutex_init(&pull.lock, NULL);
	if (start(&pull, &options, &err) < 0) {
		log_error("%s", err.text);
		return EXIT_FAILED;
	}
	accept_all(&pull);
	/* before the control socket, by whose end refpointd tells it */
	(void)close(pull.listener);
	/* the threads end with us */
	_exit(0);
}
