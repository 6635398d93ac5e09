/* SPDX-License-Identifier: Apache-2.0 */
/* Where the worker is: directories, the store's lock, the host's identity. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-id128.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "disk/posix.h"
#include "worker/hooks.h"
#include "worker/worker.h"

#define LOCK_NAME       "lock"
#define CONTROL_NAME    "control.sock"
#define CONTROL_BACKLOG 16
/* A worker that was killed holds its lock until its last I/O has landed. */
#define LOCK_WAIT_MS  3000
#define LOCK_PAUSE_MS 10

#define DIR_FLAGS (O_RDONLY | O_DIRECTORY | O_CLOEXEC)

static int open_dir(const char *path, int *ret_fd, struct err *err)
{
	int fd = open(path, DIR_FLAGS);

	if (fd < 0)
		return err_set(err, -errno, "open '%s'", path);
	*ret_fd = fd;
	return 0;
}

static int lock_store(struct worker *worker, struct err *err)
{
	static const struct timespec pause = {0, LOCK_PAUSE_MS * 1000000};
	int fd = openat(worker->store_dirfd, LOCK_NAME,
			O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return err_set(err, -errno, "open the lock of '%s'",
			       worker->name);
	worker->lock_fd = fd;
	for (unsigned ms = 0; ms < LOCK_WAIT_MS; ms += LOCK_PAUSE_MS) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return 0;
		if (errno != EWOULDBLOCK && errno != EINTR)
			return err_set(err, -errno, "lock the store of '%s'",
				       worker->name);
		(void)nanosleep(&pause, NULL);
	}
	return err_set(err, -RP_EINUSE, "another worker has the store of '%s'",
		       worker->name);
}

/* Not the id itself, which machine-id(5) asks not to spread. */
static struct guid machine_guid(void)
{
	static const sd_id128_t application = {
	    .bytes = {0x5d, 0x1c, 0x8e, 0x36, 0x0f, 0x4b, 0x4a, 0x57, 0x93,
		      0xd2, 0xe0, 0x6a, 0x7b, 0xc4, 0x18, 0xf9}};
	struct guid guid = {{0}};
	sd_id128_t id;
	int r = sd_id128_get_machine_app_specific(application, &id);

	if (r < 0)
		log_warning("no /etc/machine-id: a store from another host "
			    "will not be told from one of this");
	else
		memcpy(guid.b, id.bytes, sizeof(guid.b));
	return guid;
}

/* A log's moments are as exact as this. */
static int64_t now_ns(void *arg)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int open_fs(int dirfd, const char *name, struct fs **ret_fs,
		   struct err *err)
{
	int fd = openat(dirfd, ".", DIR_FLAGS);

	if (fd < 0)
		return err_set(err, -errno, "open '%s'", name);
	return posix_fs_new(fd, name, ret_fs, err);
}

int place_open(struct worker *worker, struct err *err)
{
	char path[PATH_BYTES];
	int r;

	paths_store(&worker->paths, worker->name, path);
	r = open_dir(path, &worker->store_dirfd, err);
	if (r == 0)
		r = posix_check_store_fs(worker->store_dirfd, err);
	if (r == 0)
		r = lock_store(worker, err);
	if (r == 0)
		r = open_fs(worker->store_dirfd, "store", &worker->env.store,
			    err);
	if (r == 0)
		r = hooks_store(&worker->env.store, err);
	if (r == 0)
		r = image_boot_id(&worker->env.boot, err);
	if (r < 0)
		return r;
	worker->env.boot_time_ns = image_boot_time_ns();
	worker->env.machine = machine_guid();
	worker->env.threads = true;
	worker->env.arg = worker;
	worker->env.now_ns = now_ns;
	paths_vm_run(&worker->paths, worker->name, "", path);
	return open_dir(path, &worker->run_dirfd, err);
}

/* Only refpointd may choose the place, as a successor must find the same. */
static int open_live(struct worker *worker, struct err *err)
{
	bool own = link_uid(worker->link) == geteuid();
	int r = paths_live_open(&worker->paths, worker->name, geteuid(),
				getegid(), own, &worker->live_dirfd, err);

	if (r < 0)
		return r;
	r = posix_is_tmpfs(worker->live_dirfd, err);
	if (r == 0)
		r = err_set(err, -RP_EUNSUPPORTED,
			    "the live bitmaps' directory is not on a tmpfs");
	if (r > 0)
		r = open_fs(worker->live_dirfd, "live", &worker->env.memory,
			    err);
	if (r == 0)
		r = hooks_memory(&worker->env.memory, err);
	return r;
}

void place_open_live(struct worker *worker)
{
	if (open_live(worker, &worker->live_error) >= 0)
		return;
	log_warning("'%s' cannot be served: %s", worker->name,
		    worker->live_error.text);
	if (worker->env.memory)
		worker->env.memory->ops->free(worker->env.memory);
	worker->env.memory = NULL;
	if (worker->live_dirfd >= 0)
		(void)close(worker->live_dirfd);
	worker->live_dirfd = -1;
}

int place_bind(struct worker *worker, int *ret_fd, struct err *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd =
	    socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return err_set(err, -errno, "make a socket");
	/* by way of the descriptor: sun_path is short */
	(void)snprintf(address.sun_path, sizeof(address.sun_path),
		       "/proc/self/fd/%d/" CONTROL_NAME, worker->run_dirfd);
	(void)unlinkat(worker->run_dirfd, CONTROL_NAME, 0);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(fd, CONTROL_BACKLOG) < 0)
		return err_set(err, -errno, "listen on " CONTROL_NAME);
	*ret_fd = fd;
	fd = -1;
	return 0;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

void place_close(struct worker *worker)
{
	if (worker->run_dirfd >= 0)
		(void)unlinkat(worker->run_dirfd, CONTROL_NAME, 0);
	if (worker->env.store)
		worker->env.store->ops->free(worker->env.store);
	if (worker->env.memory)
		worker->env.memory->ops->free(worker->env.memory);
	file_close(worker->env.fallback);
	close_fd(&worker->run_dirfd);
	close_fd(&worker->live_dirfd);
	close_fd(&worker->store_dirfd);
	close_fd(&worker->lock_fd);
}
