/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/freeze.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/agent.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "daemon/command.h"

#define MESSAGE_BYTES 512 /* of the helper, with NUL */
/* A helper that says nothing for longer hangs. */
#define BEGIN_MS (4 * AGENT_ANSWER_MS + AGENT_FREEZE_MS)
#define END_MS   (3 * AGENT_ANSWER_MS)
#define THAW_MS  (AGENT_THAW_MS + AGENT_SYNC_MS + 4 * AGENT_ANSWER_MS)

enum freeze_state {
	BEGINNING, /* until it is frozen */
	FROZEN,
	ENDING,  /* until it is thawed, as somebody waits for */
	THAWING, /* likewise, and nobody waits */
	THAWED,  /* before it was to be; freeze_end() is still to come */
};

struct freeze {
	struct freeze *next;
	struct daemon *daemon;
	enum freeze_state state;
	char vm[VM_NAME_BYTES];
	char agent[AGENT_BYTES];
	int fd; /* of the helper; -1: there is none */
	sd_event_source *heard;
	sd_event_source *timer;
	uint64_t n;     /* file systems that are frozen */
	struct err why; /* what was made is worth nothing; code 0: it is */
	freeze_begun_fn *begun;
	freeze_over_fn *over;
	void *arg;
};

/* ---- the mark --------------------------------------------------------------
 */

static void mark_path(const struct freeze *f, char path[PATH_BYTES])
{
	(void)snprintf(path, PATH_BYTES, "%s/frozen/%s", f->daemon->paths.run,
		       f->vm);
}

static int mark(const struct freeze *f, struct err *err)
{
	_cleanup_close_ int fd = -1;
	char path[PATH_BYTES];
	size_t n = strlen(f->agent);

	mark_path(f, path);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
		  0600);
	if (fd < 0 || write(fd, f->agent, n) != (ssize_t)n)
		return err_set(err, -errno, "write '%s'", path);
	return 0;
}

static void unmark(const struct freeze *f)
{
	char path[PATH_BYTES];

	mark_path(f, path);
	(void)unlink(path);
}

/* ---- one freeze ------------------------------------------------------------
 */

static struct freeze *freeze_of(struct daemon *daemon, const char *vm)
{
	struct freeze *f = daemon->freezes;

	while (f && strcmp(f->vm, vm) != 0)
		f = f->next;
	return f;
}

static struct freeze *freeze_new(struct daemon *daemon, const char *vm,
				 const char *agent)
{
	struct freeze *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->daemon = daemon;
	f->fd = -1;
	(void)snprintf(f->vm, sizeof(f->vm), "%s", vm);
	(void)snprintf(f->agent, sizeof(f->agent), "%s", agent);
	f->next = daemon->freezes;
	daemon->freezes = f;
	return f;
}

/* Hanging up is an order to thaw. */
static void hang_up(struct freeze *f)
{
	f->heard = sd_event_source_disable_unref(f->heard);
	if (f->fd >= 0)
		(void)close(f->fd);
	f->fd = -1;
}

static void freeze_free(struct freeze *f)
{
	struct freeze **at = &f->daemon->freezes;

	while (*at != f)
		at = &(*at)->next;
	*at = f->next;
	hang_up(f);
	sd_event_source_disable_unref(f->timer);
	free(f);
}

/* ---- the helper ------------------------------------------------------------
 */

static void make_command(const struct freeze *f, int fd, bool thaw,
			 struct command *c)
{
	*c = (struct command){0};
	command_word(c, f->daemon->agent_path);
	command_option(c, "--fd", (unsigned)fd);
	command_word(c, "--agent");
	command_word(c, f->agent);
	command_user(c, f->daemon);
	if (thaw)
		command_word(c, "--thaw");
}

/* No child of ours, in a session of its own: it outlives us. */
static void exec_helper(int fd, const struct command *c)
{
	sigset_t none;

	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)setsid();
	if (fork() == 0) {
		(void)fcntl(fd, F_SETFD, 0);
		(void)execv(c->argv[0], c->argv);
	}
	_exit(0);
}

static int on_heard(sd_event_source *source, int fd, uint32_t revents,
		    void *arg);

static int start_helper(struct freeze *f, bool thaw, struct err *err)
{
	struct command command;
	int pair[2], r;
	pid_t pid;

	if (access(f->daemon->agent_path, X_OK) < 0)
		return err_set(err, -errno, "run '%s'", f->daemon->agent_path);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_set(err, -errno, "make a socket");
	make_command(f, pair[1], thaw, &command);
	pid = fork();
	if (pid == 0)
		exec_helper(pair[1], &command);
	(void)close(pair[1]);
	if (pid < 0) {
		(void)close(pair[0]);
		return err_set(err, -errno, "fork");
	}
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	f->fd = pair[0];
	r = sd_event_add_io(f->daemon->event, &f->heard, f->fd, EPOLLIN,
			    on_heard, f);
	if (r < 0) {
		hang_up(f);
		return err_set(err, r, "watch a helper");
	}
	return 0;
}

/* ---- thawing, as long as it takes ------------------------------------------
 */

static int on_timer(sd_event_source *source, uint64_t usec, void *arg);

static void thaw(struct freeze *f)
{
	struct err err = {0};

	hang_up(f);
	if (start_helper(f, true, &err) < 0)
		log_error("the guest of '%s' may be frozen: %s", f->vm,
			  err.text);
	daemon_timer(f->daemon, &f->timer, f->fd < 0 ? AGENT_RETRY_MS : THAW_MS,
		     on_timer, f);
}

/* Nobody waits any more. */
static void call(struct freeze *f, const struct err *err, uint64_t cut_ms)
{
	freeze_begun_fn *begun = f->begun;
	freeze_over_fn *over = f->over;

	f->begun = NULL;
	f->over = NULL;
	if (begun)
		begun(f->arg, err, cut_ms);
	else if (over)
		over(f->arg, err);
}

static void note(struct freeze *f, int code, const char *text)
{
	if (!f->why.code)
		err_set(&f->why, code, "%s", text);
}

/* The guest is thawed; F may be gone. */
static void finish(struct freeze *f)
{
	struct err why;

	hang_up(f);
	f->timer = sd_event_source_disable_unref(f->timer);
	unmark(f);
	if (f->state == FROZEN) {
		note(f, -RP_ETIMEOUT,
		     "the guest did not stay frozen until the cut was over");
		f->state = THAWED;
		return;
	}
	why = f->why;
	if (f->state == THAWING)
		log_info("the guest of '%s' is thawed", f->vm);
	call(f, &why, 0);
	freeze_free(f);
}

/* What is waited for does not come: it goes on without those who wait. */
static void go_on_alone(struct freeze *f, const char *text)
{
	struct err why;

	note(f, -RP_EFAILED, text);
	why = f->why;
	log_warning("'%s': %s", f->vm, why.text);
	if (f->state != FROZEN)
		f->state = THAWING;
	thaw(f);
	if (f->state == THAWING)
		call(f, &why, 0);
}

/* The helper gave the freeze up long ago, and waits for the agent to thaw. */
static void begins_late(struct freeze *f)
{
	note(f, -RP_ETIMEOUT,
	     "the guest did not freeze in time, and may be frozen: its agent "
	     "does not answer; it is thawed as soon as it does");
	go_on_alone(f, "");
}

static int on_timer(sd_event_source *source, uint64_t usec, void *arg)
{
	struct freeze *f = arg;

	if (f->state == THAWING || f->state == FROZEN)
		thaw(f);
	else if (f->state == ENDING)
		go_on_alone(f, "the guest may still be frozen: its agent does "
			       "not answer; it is thawed as soon as it does");
	else
		begins_late(f);
	return 0;
}

/* ---- what a helper says -----------------------------------------------------
 */

static void on_frozen(struct freeze *f, uint64_t n, uint64_t ms)
{
	const struct err none = {0};

	if (f->state != BEGINNING)
		return;
	f->timer = sd_event_source_disable_unref(f->timer);
	f->n = n;
	if (ms < AGENT_SLACK_MS + AGENT_CUT_MS_MIN ||
	    ms > AGENT_FROZEN_MS_MAX) {
		f->state = ENDING;
		note(f, -RP_ETIMEOUT, "the guest took too long to freeze");
		(void)send(f->fd, "thaw", 4, MSG_NOSIGNAL | MSG_DONTWAIT);
		daemon_timer(f->daemon, &f->timer, END_MS, on_timer, f);
		return;
	}
	f->state = FROZEN;
	log_debug("vm", "the guest of '%s' is frozen n=%" PRIu64, f->vm, n);
	call(f, &none, ms - AGENT_SLACK_MS);
}

static void on_thawed(struct freeze *f, uint64_t n, unsigned late)
{
	if (f->state == BEGINNING)
		note(f, -RP_EFAILED,
		     "the guest's agent broke off while it was to freeze");
	else if (late || n < f->n)
		note(f, late ? -RP_ETIMEOUT : -RP_EFAILED,
		     "the guest did not stay frozen until the cut was over");
	finish(f);
}

static void on_refused(struct freeze *f, char *text)
{
	char *space = strchr(text, ' ');

	if (f->state != BEGINNING || !space) {
		go_on_alone(f, "refpoint-agent talks nonsense");
		return;
	}
	*space = '\0';
	err_set(&f->why, err_from_name(text), "'%s': %s", f->vm, space + 1);
	finish(f);
}

/* It ended, or will, and does not know. */
static void on_stuck(struct freeze *f)
{
	hang_up(f);
	if (f->state == THAWING)
		daemon_timer(f->daemon, &f->timer, AGENT_RETRY_MS, on_timer, f);
	else if (f->state != THAWED)
		go_on_alone(f, "refpoint-agent ended");
}

static void clean(char *text)
{
	for (; *text; text++)
		if (*text < ' ' || *text > '~')
			*text = '?';
}

static int on_heard(sd_event_source *source, int fd, uint32_t revents,
		    void *arg)
{
	struct freeze *f = arg;
	char text[MESSAGE_BYTES];
	ssize_t got = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);
	uint64_t n, ms;
	unsigned late;

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	text[got < 0 ? 0 : got] = '\0';
	clean(text);
	if (sscanf(text, "frozen %" SCNu64 " %" SCNu64, &n, &ms) == 2)
		on_frozen(f, n, ms);
	else if (sscanf(text, "thawed %" SCNu64 " %u", &n, &late) == 2)
		on_thawed(f, n, late);
	else if (strncmp(text, "refused ", 8) == 0)
		on_refused(f, text + 8);
	else
		on_stuck(f);
	return 0;
}

/* ---- for others
 * -------------------------------------------------------------- */

static int check(const struct vm *vm, struct err *err)
{
	const struct freeze *f;

	if (!vm->entry.agent[0])
		return err_set(
		    err, -RP_EUNSUPPORTED,
		    "'%s' has no guest agent, without which nothing "
		    "is application-consistent: name it (set-agent), "
		    "or ask for crash consistency",
		    vm->name);
	if (!vm->serving)
		return err_set(err, -RP_ESTATE,
			       "'%s' is not served: there is no guest to "
			       "freeze",
			       vm->name);
	f = freeze_of(vm->daemon, vm->name);
	if (f)
		return err_set(err, -RP_ESTATE,
			       "the guest of '%s' is still being thawed, "
			       "through '%.130s': if it is gone for good, name "
			       "its agent anew (set-agent)",
			       vm->name, f->agent);
	return 0;
}

int freeze_begin(struct vm *vm, freeze_begun_fn *fn, void *arg,
		 struct freeze **ret_freeze, struct err *err)
{
	struct freeze *f;
	int r = check(vm, err);

	if (r < 0)
		return r;
	f = freeze_new(vm->daemon, vm->name, vm->entry.agent);
	if (!f)
		return err_set(err, -ENOMEM, "freeze '%s'", vm->name);
	f->begun = fn;
	f->arg = arg;
	r = mark(f, err);
	if (r == 0)
		r = start_helper(f, false, err);
	if (r < 0) {
		unmark(f);
		freeze_free(f);
		return r;
	}
	daemon_timer(f->daemon, &f->timer, BEGIN_MS, on_timer, f);
	*ret_freeze = f;
	return 0;
}

static int on_ended(sd_event_source *source, uint64_t usec, void *arg)
{
	struct freeze *f = arg;

	call(f, &f->why, 0);
	freeze_free(f);
	return 0;
}

void freeze_end(struct freeze *f, freeze_over_fn *fn, void *arg)
{
	f->over = fn;
	f->arg = arg;
	if (f->state == THAWED) {
		daemon_timer(f->daemon, &f->timer, 0, on_ended, f);
		return;
	}
	f->state = ENDING;
	(void)send(f->fd, "thaw", 4, MSG_NOSIGNAL | MSG_DONTWAIT);
	daemon_timer(f->daemon, &f->timer, END_MS, on_timer, f);
}

void freeze_forget(struct vm *vm)
{
	struct freeze *f = freeze_of(vm->daemon, vm->name);

	if (!f || f->state != THAWING)
		return;
	log_warning("the guest of '%s' may still be frozen: its agent '%s' is "
		    "not asked any more, as another was named",
		    f->vm, f->agent);
	unmark(f);
	freeze_free(f);
}

/* ---- at start
 * ----------------------------------------------------------------- */

static void thaw_marked(struct daemon *daemon, int dir, const char *vm)
{
	_cleanup_close_ int fd =
	    openat(dir, vm, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	char agent[AGENT_BYTES];
	ssize_t n = fd < 0 ? -1 : read(fd, agent, sizeof(agent) - 1);
	struct freeze *f;

	if (n <= 0) /* written before the helper was started */
		return;
	agent[n] = '\0';
	f = agent_check(agent, NULL) < 0 ? NULL : freeze_new(daemon, vm, agent);
	if (!f)
		return;
	log_warning("the guest of '%s' may have been left frozen, thawing it",
		    vm);
	f->state = THAWING;
	thaw(f);
}

void freeze_clean_up(struct daemon *daemon)
{
	char path[PATH_BYTES];
	struct dirent *entry;
	DIR *dir;

	(void)snprintf(path, sizeof(path), "%s/frozen", daemon->paths.run);
	dir = opendir(path);
	while (dir && (entry = readdir(dir)))
		if (name_is_valid(entry->d_name, VM_NAME_BYTES))
			thaw_marked(daemon, dirfd(dir), entry->d_name);
	if (dir)
		(void)closedir(dir);
}
