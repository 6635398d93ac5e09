/* SPDX-License-Identifier: Apache-2.0 */
/*
 * refpoint-pam: asks PAM whether a password is right, for a gateway that must
 * not have the rights to do so itself; see http/pam.h.  One child per attempt,
 * since modules block, fork and crash; the parent only hands requests on.
 */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <security/pam_appl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/log.h"
#include "http/pam.h"

#define MEMBERSHIPS_MAX 4096

struct helper {
	int fd;
	const char *service;
	const char *groups[AUTH_GROUPS_MAX];
	unsigned n_groups;
};

/* ------------------------------------------------------------ in the child */

/* Gives the password where it is asked for, and nothing else. */
static int converse(int n, const struct pam_message **messages,
		    struct pam_response **ret_responses, void *arg)
{
	struct pam_response *out;

	if (n <= 0 || n > PAM_MAX_NUM_MSG)
		return PAM_CONV_ERR;
	out = calloc((size_t)n, sizeof(*out));
	if (!out)
		return PAM_BUF_ERR;
	for (int i = 0; i < n; i++) {
		int style = messages[i]->msg_style;

		if (style == PAM_PROMPT_ECHO_OFF)
			out[i].resp = strdup(arg);
		if (style == PAM_PROMPT_ECHO_ON ||
		    (style == PAM_PROMPT_ECHO_OFF && !out[i].resp)) {
			free(out); /* the child ends: nothing outlives it */
			return PAM_CONV_ERR;
		}
	}
	*ret_responses = out;
	return PAM_SUCCESS;
}

/* The gateway lets all failures take the same time. */
static void no_delay(int result, unsigned microseconds, void *arg)
{
}

static bool pass(const struct helper *h, const struct pam_request *request)
{
	struct pam_conv conv = {.conv = converse,
				.appdata_ptr =
				    (void *)(uintptr_t)request->password};
	const void *user = NULL;
	pam_handle_t *pamh;
	int r;

	if (pam_start(h->service, request->user, &conv, &pamh) != PAM_SUCCESS)
		return false;
	(void)pam_set_item(pamh, PAM_FAIL_DELAY,
			   (const void *)(uintptr_t)no_delay);
	r = pam_authenticate(pamh, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK);
	if (r == PAM_SUCCESS)
		r = pam_acct_mgmt(pamh, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK);
	/* a module may have made another user of it: not here */
	if (r == PAM_SUCCESS)
		r = pam_get_item(pamh, PAM_USER, &user);
	if (r == PAM_SUCCESS && (!user || strcmp(user, request->user) != 0))
		r = PAM_USER_UNKNOWN;
	(void)pam_end(pamh, r);
	return r == PAM_SUCCESS;
}

static bool is_in(gid_t gid, const gid_t *list, int n)
{
	for (int i = 0; i < n; i++)
		if (list[i] == gid)
			return true;
	return false;
}

/* Which of the groups; none for root. */
static uint32_t groups_of(const struct helper *h, const char *user)
{
	static gid_t list[MEMBERSHIPS_MAX];
	const struct passwd *pw = getpwnam(user);
	int n = MEMBERSHIPS_MAX;
	uint32_t found = 0;

	if (!pw || pw->pw_uid == 0 ||
	    getgrouplist(user, pw->pw_gid, list, &n) < 0)
		return 0;
	for (unsigned i = 0; i < h->n_groups; i++) {
		const struct group *gr = getgrnam(h->groups[i]);

		if (gr && is_in(gr->gr_gid, list, n))
			found |= 1u << i;
	}
	return found;
}

static void attempt(const struct helper *h, struct pam_request *request,
		    int answer)
{
	struct pam_reply reply = {0};

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)signal(SIGCHLD, SIG_DFL);
	(void)alarm(AUTH_PAM_MS / 1000);
	if (pass(h, request))
		reply.groups = groups_of(h, request->user);
	reply.granted = reply.groups != 0;
	explicit_bzero(request, sizeof(*request));
	(void)send(answer, &reply, sizeof(reply), MSG_NOSIGNAL);
}

/* ----------------------------------------------------------- in the parent */

static volatile sig_atomic_t children;

static void reap(int signum)
{
	int saved = errno;

	while (waitpid(-1, NULL, WNOHANG) > 0)
		children = children - 1;
	errno = saved;
}

/* Runs one attempt in a child; failing is answered by closing ANSWER. */
static void serve(const struct helper *h, struct pam_request *request,
		  int answer)
{
	sigset_t chld;
	pid_t pid;

	(void)sigemptyset(&chld);
	(void)sigaddset(&chld, SIGCHLD);
	(void)sigprocmask(SIG_BLOCK, &chld, NULL);
	if (children >= AUTH_PAM_CHILDREN) {
		log_warning("more than %d attempts at once", AUTH_PAM_CHILDREN);
	} else {
		pid = fork();
		if (pid == 0) {
			(void)sigprocmask(SIG_UNBLOCK, &chld, NULL);
			(void)close(h->fd);
			attempt(h, request, answer);
			_exit(0);
		}
		if (pid > 0)
			children = children + 1;
		else
			log_error("fork: %s", strerror(errno));
	}
	(void)sigprocmask(SIG_UNBLOCK, &chld, NULL);
}

/* 1: a request; 0: the gateway is gone.  ANSWER is -1 if none came with it. */
static int receive(int fd, struct pam_request *request, int *ret_answer)
{
	struct iovec iov = {.iov_base = request, .iov_len = sizeof(*request)};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.bytes,
			     .msg_controllen = sizeof(control.bytes)};
	const struct cmsghdr *c;
	ssize_t n;

	do
		n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	*ret_answer = -1;
	if (n <= 0)
		return 0;
	c = CMSG_FIRSTHDR(&msg);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
	    c->cmsg_len == CMSG_LEN(sizeof(int)))
		(void)memcpy(ret_answer, CMSG_DATA(c), sizeof(int));
	if (n != (ssize_t)sizeof(*request) ||
	    !memchr(request->user, 0, sizeof(request->user)) ||
	    !memchr(request->password, 0, sizeof(request->password)))
		request->user[0] = '\0';
	return 1;
}

static int run(const struct helper *h)
{
	struct sigaction sa = {.sa_handler = reap, .sa_flags = SA_RESTART};
	struct pam_request request;
	int answer;

	(void)sigaction(SIGCHLD, &sa, NULL);
	while (receive(h->fd, &request, &answer)) {
		if (answer >= 0 && request.user[0])
			serve(h, &request, answer);
		explicit_bzero(&request, sizeof(request));
		if (answer >= 0)
			(void)close(answer);
	}
	return EXIT_SUCCESS;
}

static int usage(void)
{
	(void)fprintf(stderr,
		      "usage: refpoint-pam --fd N [--service NAME] --group "
		      "NAME [--group NAME ...]\nrefpoint-cim starts it; it is "
		      "of no use by itself\n");
	return 2;
}

int main(int argc, char **argv)
{
	struct helper h = {.fd = -1, .service = PAM_HELPER_SERVICE};
	const struct rlimit none = {0, 0};

	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--fd") == 0)
			h.fd = atoi(argv[i + 1]);
		else if (strcmp(argv[i], "--service") == 0)
			h.service = argv[i + 1];
		else if (strcmp(argv[i], "--group") == 0 &&
			 h.n_groups < AUTH_GROUPS_MAX)
			h.groups[h.n_groups++] = argv[i + 1];
		else
			return usage();
	}
	if (argc % 2 == 0 || h.fd < 3 || !h.n_groups)
		return usage();
	log_open("refpoint-pam");
	/* no password in a core file, nor for a debugger */
	(void)setrlimit(RLIMIT_CORE, &none);
	(void)prctl(PR_SET_DUMPABLE, 0);
	return run(&h);
}
