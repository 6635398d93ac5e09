/* SPDX-License-Identifier: Apache-2.0 */
/* What may take the rights of root: before anything else, and then no more. */
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "gateway/gateway.h"

#define HELPER_FD 3

/* ------------------------------------------------------------------- doors */

int place_open_doors(struct gateway *gateway, struct err *err)
{
	const struct gateway_options *o = &gateway->options;

	for (size_t i = 0; i < o->n_doors; i++) {
		int r = http_listen(o->doors[i].address, o->plain,
				    &gateway->doors[i], err);

		if ((r == -EAFNOSUPPORT || r == -EADDRNOTAVAIL) &&
		    o->doors[i].optional) {
			gateway->doors[i] = -1;
			*err = (struct err){0};
		} else if (r < 0) {
			return r;
		}
	}
	return 0;
}

static void tell_door(const struct gateway *gateway, size_t i)
{
	bool wsman = gateway->options.doors[i].protocol == DOOR_WSMAN;
	struct sockaddr_storage ss = {0};
	socklen_t length = sizeof(ss);
	char text[INET6_ADDRSTRLEN] = "?";
	unsigned port = 0;

	if (getsockname(gateway->doors[i], (struct sockaddr *)&ss, &length) < 0)
		return;
	if (ss.ss_family == AF_INET) {
		const struct sockaddr_in *a = (const void *)&ss;

		(void)inet_ntop(AF_INET, &a->sin_addr, text, sizeof(text));
		port = ntohs(a->sin_port);
	} else {
		const struct sockaddr_in6 *a = (const void *)&ss;

		(void)inet_ntop(AF_INET6, &a->sin6_addr, text, sizeof(text));
		port = ntohs(a->sin6_port);
	}
	(void)printf(strchr(text, ':') ? "listening %s %s://[%s]:%u%s\n"
				       : "listening %s %s://%s:%u%s\n",
		     wsman ? "wsman" : "cimxml",
		     gateway->options.plain ? "http" : "https", text, port,
		     wsman ? "/wsman" : "/cimom");
}

void place_tell_doors(const struct gateway *gateway)
{
	for (size_t i = 0; i < gateway->options.n_doors; i++)
		if (gateway->doors[i] >= 0)
			tell_door(gateway, i);
}

/* -------------------------------------------------------------- privileges */

static int find_user(struct passwd **ret_user, struct err *err)
{
	struct passwd *pw = getpwnam(GATEWAY_USER);

	if (!pw)
		return err_set(err, -RP_EFAILED,
			       "there is no user '%s', as which this runs: "
			       "make it (systemd-sysusers, or "
			       "tools/install-deps in the source tree), or do "
			       "not start it as root",
			       GATEWAY_USER);
	if (pw->pw_uid == 0)
		return err_set(err, -RP_EFAILED, "the user '%s' is root",
			       GATEWAY_USER);
	*ret_user = pw;
	return 0;
}

static int make_dir(const char *path, mode_t mode, struct err *err)
{
	mode_t old = umask(0);
	int r = mkdir(path, mode) < 0 && errno != EEXIST ? -errno : 0;

	(void)umask(old);
	return r < 0 ? err_set(err, r, "make '%s'", path) : 0;
}

/* A directory of root's was just made, by us or by one that died of it. */
static int own_dir(const char *path, uid_t uid, gid_t gid, struct err *err)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(err, -errno, "'%s'", path);
	if (st.st_uid == geteuid() && uid != st.st_uid) {
		if (fchown(fd, uid, gid) < 0)
			return err_set(err, -errno, "give '%s' away", path);
		st.st_uid = uid;
	}
	if (st.st_uid != uid || (st.st_mode & 077))
		return err_set(err, -RP_EDENIED,
			       "'%s' should belong to uid %u alone but belongs "
			       "to uid %u, mode %03o",
			       path, (unsigned)uid, (unsigned)st.st_uid,
			       (unsigned)st.st_mode & 0777);
	return 0;
}

int place_make_state(struct gateway *gateway, struct err *err)
{
	const struct paths *paths = &gateway->paths;
	uid_t uid = geteuid();
	gid_t gid = getegid();
	char parent[PATH_BYTES];
	struct passwd *pw;
	int r = 0;

	if (uid == 0) {
		r = find_user(&pw, err);
		if (r < 0)
			return r;
		uid = pw->pw_uid;
		gid = pw->pw_gid;
	}
	if (paths->rooted) {
		(void)snprintf(parent, sizeof(parent), "%s", paths->cim);
		*strrchr(parent, '/') = '\0';
		r = make_dir(parent, 0755, err);
	}
	if (r == 0)
		r = make_dir(paths->cim, 0700, err);
	return r == 0 ? own_dir(paths->cim, uid, gid, err) : r;
}

int place_drop_root(struct err *err)
{
	const struct rlimit none = {0, 0};
	struct passwd *pw;
	int r;

	/* no password in a core file, nor for a debugger */
	(void)setrlimit(RLIMIT_CORE, &none);
	if (geteuid() == 0) {
		r = find_user(&pw, err);
		if (r < 0)
			return r;
		if (initgroups(pw->pw_name, pw->pw_gid) < 0 ||
		    setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) < 0 ||
		    setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) < 0)
			return err_set(err, -errno, "become '%s'",
				       GATEWAY_USER);
	}
	if (getuid() == 0 || geteuid() == 0 || setuid(0) == 0)
		return err_set(err, -RP_EFAILED, "this is still root");
	(void)prctl(PR_SET_DUMPABLE, 0);
	return 0;
}

/* --------------------------------------------------------------------- PAM */

static void helper_path(char ret[PATH_BYTES])
{
	const char *env = getenv("REFPOINT_PAM");

	(void)snprintf(ret, PATH_BYTES, "%s",
		       env && *env ? env : LIBEXECDIR "/refpoint-pam");
}

/* In the child: the helper has its end as HELPER_FD and nothing else. */
static void __attribute__((noreturn))
exec_helper(const struct gateway *gateway, const char *path, int theirs)
{
	char fd[] = {'0' + HELPER_FD, '\0'};
	sigset_t none;

	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)signal(SIGPIPE, SIG_DFL);
	if (theirs == HELPER_FD)
		(void)fcntl(theirs, F_SETFD, 0);
	else
		(void)dup2(theirs, HELPER_FD);
	(void)execl(path, "refpoint-pam", "--fd", fd, "--group",
		    gateway->options.operator_group, "--group",
		    gateway->options.reader_group, (char *)NULL);
	log_error("'%s': %s", path, strerror(errno));
	_exit(127);
}

static int start_helper(struct gateway *gateway, struct err *err)
{
	char path[PATH_BYTES];
	int pair[2];
	pid_t pid;

	helper_path(path);
	if (access(path, X_OK) < 0)
		return err_set(err, -errno, "'%s'", path);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_set(err, -errno, "socket of refpoint-pam");
	pid = fork();
	if (pid == 0)
		exec_helper(gateway, path, pair[1]);
	(void)close(pair[1]);
	if (pid < 0) {
		(void)close(pair[0]);
		return err_set(err, -errno, "start refpoint-pam");
	}
	gateway->pam_fd = pair[0];
	return 0;
}

int place_find_pam(struct gateway *gateway, struct err *err)
{
	char path[PATH_BYTES];

	if (!gateway->options.pam)
		return 0;
	(void)snprintf(path, sizeof(path), "%s/pam.sock", gateway->paths.run);
	if (access(path, F_OK) == 0) {
		(void)strcpy(gateway->pam_socket, path);
		return 0;
	}
	if (geteuid() == 0)
		return start_helper(gateway, err);
	return err_set(err, -RP_EFAILED,
		       "--pam: nothing listens on '%s' (start "
		       "refpoint-pam.socket), and only root can check "
		       "passwords without",
		       path);
}
