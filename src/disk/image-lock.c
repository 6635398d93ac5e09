/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who else uses the image?
 *
 * QEMU's protocol (its block/file-posix.c) has two bytes for each of its four
 * permissions on an image: consistent read 0, write 1, write unchanged 2 and
 * resize 3.  Whoever has permission N holds a shared lock on byte 100 + N;
 * whoever does not share permission N with others holds one on byte 200 + N.
 * After taking them each looks whether somebody else's locks stand against
 * them: on 200 + N for what it has, on 100 + N for what it does not share.  So
 * of two that come at once both may give way, and never do both go on.
 *
 * We have all four and share none: a reader of an image that changes under it
 * would copy what never was, and a program that only reads is refused by byte
 * 200 alone.  The locks are those of the open file description (F_OFD_SETLK),
 * as flock's is: they go when the last I/O on it has gone, and not when some
 * thread closes another descriptor of the file.
 *
 * Rejected: an exclusive lock, which would do as well, but QEMU's programs
 * would then name a byte in their message instead of saying that another
 * process uses the image.
 */
#include "disk/image.h"

#include <fcntl.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#define HAVE_BASE   100
#define DENY_BASE   200
#define PERMISSIONS 4

#define POLL_MS 2
/* QEMU's programs look at an image for a moment and go. */
#define GLANCE_MS 200

static int lock_bytes(int fd, short type, off_t base)
{
	struct flock lock = {
	    .l_type = type,
	    .l_whence = SEEK_SET,
	    .l_start = base,
	    .l_len = PERMISSIONS,
	};

	while (fcntl(fd, F_OFD_SETLK, &lock) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

/* Does nobody else hold any? */
static int check_bytes(int fd, off_t base)
{
	struct flock lock = {
	    .l_type = F_WRLCK,
	    .l_whence = SEEK_SET,
	    .l_start = base,
	    .l_len = PERMISSIONS,
	};

	while (fcntl(fd, F_OFD_GETLK, &lock) < 0)
		if (errno != EINTR)
			return -errno;
	return lock.l_type == F_UNLCK ? 0 : -EAGAIN;
}

static void unlock_qemu(int fd)
{
	(void)lock_bytes(fd, F_UNLCK, HAVE_BASE);
	(void)lock_bytes(fd, F_UNLCK, DENY_BASE);
}

static int try_qemu(int fd)
{
	int rc = lock_bytes(fd, F_RDLCK, HAVE_BASE);

	if (rc == 0)
		rc = lock_bytes(fd, F_RDLCK, DENY_BASE);
	if (rc == 0)
		rc = check_bytes(fd, DENY_BASE);
	if (rc == 0)
		rc = check_bytes(fd, HAVE_BASE);
	if (rc < 0)
		unlock_qemu(fd);
	return rc == -EACCES ? -EAGAIN : rc;
}

static int try_flock(int fd)
{
	while (flock(fd, LOCK_EX | LOCK_NB) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

static int64_t now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Calls TRY until it does not say -EAGAIN, for up to WAIT_MS. */
static int poll_lock(int (*try)(int fd), int fd, unsigned wait_ms)
{
	const struct timespec pause = {.tv_nsec = POLL_MS * 1000000};
	int64_t end = now_ms() + wait_ms;
	int rc;

	while ((rc = try(fd)) == -EAGAIN && now_ms() < end)
		(void)nanosleep(&pause, NULL);
	return rc;
}

static int refuse(int rc, const char *path, const char *who, struct err *err)
{
	if (rc != -EAGAIN)
		return err_set(err, rc, "lock '%s'", path);
	return err_set(err, -RP_EINUSE, "'%s' is in use by %s", path, who);
}

int image_lock(int fd, const char *path, unsigned wait_ms, struct err *err)
{
	int rc = poll_lock(try_flock, fd, wait_ms);

	if (rc < 0)
		return refuse(rc, path,
			      "another program, or another virtual system of "
			      "refpoint",
			      err);
	rc = poll_lock(try_qemu, fd, GLANCE_MS);
	if (rc < 0) {
		(void)flock(fd, LOCK_UN);
		return refuse(rc, path,
			      "a program of QEMU's (a virtual machine, "
			      "qemu-img, qemu-nbd or qemu-io)",
			      err);
	}
	return 0;
}

void image_unlock(int fd)
{
	unlock_qemu(fd);
	(void)flock(fd, LOCK_UN);
}
