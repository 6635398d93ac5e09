/* SPDX-License-Identifier: Apache-2.0 */
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "gateway/confine.h"

/* Of malloc.  One arena, since malloc_trim() gives the end of no other back;
 * and a threshold that does not grow, so that large buffers are not among what
 * has to be trimmed. */
#define ARENAS_MAX  1
#define LARGE_BYTES (256 << 10)

static void block_signals(sigset_t *ret_set)
{
	(void)sigemptyset(ret_set);
	(void)sigaddset(ret_set, SIGTERM);
	(void)sigaddset(ret_set, SIGINT);
	(void)sigaddset(ret_set, SIGHUP);
	(void)sigaddset(ret_set, SIGALRM);
	(void)sigaddset(ret_set, SIGCHLD);
	(void)sigprocmask(SIG_BLOCK, ret_set, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
}

static int set_up(struct gateway *g, struct err *err)
{
	int r = paths_init(&g->paths, g->options.root, err);

	if (r == 0)
		r = place_open_doors(g, err);
	if (r == 0)
		r = place_make_state(g, err);
	if (r == 0)
		r = place_find_pam(g, err);
	if (r == 0)
		r = place_drop_root(err);
	if (r == 0)
		r = serve_open(g, err);
	if (r == 0)
		r = confine_enter(g, err);
	if (r == 0)
		r = serve_start(g, err);
	return r == 0 ? confine_seal(err) : r;
}

static void tell_ready(const struct gateway *g)
{
	if (!g->options.plain)
		(void)printf("certificate sha256 %s\n",
			     g->certificate.fingerprint);
	place_tell_doors(g);
	(void)printf("ready\n");
	(void)fflush(stdout);
	(void)sd_notify(0, "READY=1");
}

static void reap(void)
{
	while (waitpid(-1, NULL, WNOHANG) > 0)
		log_error("refpoint-pam has ended: until a restart, passwords "
			  "of the system are refused");
}

static int reload(struct gateway *g, struct err *err)
{
	struct timespec now;
	int r;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	(void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu",
			 (unsigned long long)now.tv_sec * 1000000 +
			     (unsigned long long)now.tv_nsec / 1000);
	r = serve_reload(g, err);
	if (r == 0)
		(void)sd_notify(0, "READY=1");
	return r;
}

static int run(struct gateway *g, const sigset_t *set, struct err *err)
{
	int sig, r = 0;

	while (r == 0) {
		if (sigwait(set, &sig) != 0)
			continue;
		if (sig == SIGTERM || sig == SIGINT)
			break;
		if (sig == SIGALRM)
			(void)malloc_trim(0);
		else if (sig == SIGCHLD)
			reap();
		else
			r = reload(g, err);
	}
	(void)sd_notify(0, "STOPPING=1");
	return r;
}

int main(int argc, char **argv)
{
	static struct gateway gateway = {.pam_fd = -1};
	struct err err = {0};
	sigset_t set;
	int r;

	if (argc > 1 && strcmp(argv[1], "passwd") == 0)
		return passwd_main(argc - 1, argv + 1);
	gateway.options.debug = getenv("REFPOINT_DEBUG");
	r = options_read(argc, argv, &gateway.options);
	if (r)
		return r - 1;
	(void)umask(077);
	(void)mallopt(M_ARENA_MAX, ARENAS_MAX);
	(void)mallopt(M_MMAP_THRESHOLD, LARGE_BYTES);
	log_open("refpoint-cim");
	log_enable_debug(gateway.options.debug);
	block_signals(&set);
	r = set_up(&gateway, &err);
	if (r == 0) {
		tell_ready(&gateway);
		r = run(&gateway, &set, &err);
	}
	if (r < 0)
		log_error("%s", err.text);
	serve_close(&gateway);
	return r < 0 ? err_exit_status(r) : EXIT_OK;
}
