/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/sockets.h"

#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"

static int check_dead(const struct sockaddr_un *sun, struct err *err)
{
	_cleanup_close_ int fd =
	    socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return err_set(err, -errno, "socket");
	if (connect(fd, (const struct sockaddr *)sun, sizeof(*sun)) == 0 ||
	    errno != ECONNREFUSED)
		return err_set(err, -RP_EINUSE, "somebody listens on '%s'",
			       sun->sun_path);
	return 0;
}

bool sockets_is_dead(const char *path)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	struct stat st;

	if (strlen(path) >= sizeof(sun.sun_path) || lstat(path, &st) < 0 ||
	    !S_ISSOCK(st.st_mode))
		return false;
	(void)strcpy(sun.sun_path, path);
	return check_dead(&sun, NULL) == 0;
}

/* A socket that nobody listens on any more goes. */
static int clear_place(const struct sockaddr_un *sun, struct err *err)
{
	struct stat st;
	int r;

	if (lstat(sun->sun_path, &st) < 0)
		return errno == ENOENT
			   ? 0
			   : err_set(err, -errno, "'%s'", sun->sun_path);
	if (!S_ISSOCK(st.st_mode))
		return err_set(err, -RP_EINUSE, "'%s' is there and no socket",
			       sun->sun_path);
	r = check_dead(sun, err);
	if (r < 0)
		return r;
	if (unlink(sun->sun_path) < 0)
		return err_set(err, -errno, "remove '%s'", sun->sun_path);
	return 0;
}

int sockets_bind(const char *path, mode_t mask, int backlog, int *ret_fd,
		 struct err *err)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = -1;
	mode_t old;
	int r;

	if (strlen(path) >= sizeof(sun.sun_path))
		return err_set(err, -RP_EPARAM,
			       "'%s' is longer than the %zu bytes that a "
			       "socket's name may have: choose a shorter root "
			       "or name",
			       path, sizeof(sun.sun_path) - 1);
	(void)strcpy(sun.sun_path, path);
	r = clear_place(&sun, err);
	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(err, -errno, "socket");
	old = umask(mask);
	r = bind(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0 ? -errno : 0;
	(void)umask(old);
	if (r == 0 && listen(fd, backlog) < 0)
		r = -errno;
	if (r < 0)
		return err_set(err, r, "listen on '%s'", path);
	*ret_fd = fd;
	fd = -1;
	return 0;
}

/* Who may connect to one of our sockets. */
struct door {
	const char *name;
	enum rpc_role role;
	mode_t mask;
	uid_t owner;
	gid_t group;
	unsigned n_uids; /* 0: the file's mode decides alone */
	uid_t uids[2];
};

static int open_door(struct daemon *daemon, const struct door *door, int fd,
		     struct err *err)
{
	char path[PATH_BYTES];
	int r;

	if (fd < 0) {
		(void)snprintf(path, sizeof(path), "%s/%s.sock",
			       daemon->paths.run, door->name);
		r = sockets_bind(path, door->mask, SOMAXCONN, &fd, err);
		if (r < 0)
			return r;
		/* RUN is our own: nobody swaps the path meanwhile */
		if (daemon->privileged &&
		    lchown(path, door->owner, door->group) < 0) {
			r = err_set(err, -errno, "give '%s' away", path);
			(void)close(fd);
			return r;
		}
	}
	return rpc_server_listen(daemon->server, fd, door->role, door->uids,
				 door->n_uids, err);
}

/* The descriptor that systemd passed under NAME; -1: none. */
static int passed(char **names, int n, const char *name)
{
	for (int i = 0; i < n; i++)
		if (names && strcmp(names[i], name) == 0)
			return SD_LISTEN_FDS_START + i;
	return -1;
}

static void free_names(char **names, int n)
{
	for (int i = 0; names && i < n; i++)
		free(names[i]);
	free(names);
}

int sockets_listen(struct daemon *daemon, struct err *err)
{
	struct group *operators =
	    daemon->privileged ? getgrnam(OPERATOR_GROUP) : NULL;
	gid_t operator_gid = operators ? operators->gr_gid : getegid();
	struct passwd *gateway =
	    daemon->privileged ? getpwnam(GATEWAY_USER) : NULL;
	uid_t self = geteuid(), cim = gateway ? gateway->pw_uid : self;
	const struct door doors[] = {
	    {"admin", RPC_ROLE_ADMIN, 0177, self, getegid(), 2, {0, self}},
	    {"operator",
	     RPC_ROLE_OPERATOR,
	     operators ? 0117 : 0177,
	     self,
	     operator_gid,
	     0,
	     {0}},
	    {"gateway", RPC_ROLE_GATEWAY, 0177, cim, getegid(), 2, {cim, self}},
	    {"worker",
	     RPC_ROLE_WORKER,
	     0177,
	     daemon->worker_uid,
	     daemon->worker_gid,
	     1,
	     {daemon->worker_uid}},
	};
	char **names = NULL;
	int n = sd_listen_fds_with_names(1, &names), r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(doors) / sizeof(doors[0]); i++)
		r = open_door(daemon, &doors[i],
			      passed(names, n, doors[i].name), err);
	free_names(names, n);
	return r;
}
