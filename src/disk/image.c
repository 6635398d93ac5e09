/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening an image and telling whether it is the one we knew.
 *
 * Invariants:
 *   1  Nothing here changes an image's content or times, but image_nonce_set.
 *      So discards are not tried out, and the checks come before O_DIRECT.
 *   2  O_DIRECT is on only where every request that is aligned to 512 bytes is
 *      allowed: a guest may write one sector.  On a disk of 4 KiB sectors the
 *      page cache does the rest.
 *
 * What the stamp cannot see is in the header's comment and in the manual; the
 * nonce is there for one case, a file that was copied over another in place
 * with its times (cp --preserve, rsync --inplace --times), or restored.
 */
#include "disk/image.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <linux/stat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "common/limits.h"
#include "disk/image-format.h"

/* Linux 6.1 and 5.15; a C library's headers may be older. */
#ifndef STATX_DIOALIGN
#define STATX_DIOALIGN 0x2000u
#endif
#ifndef BLKGETDISKSEQ
#define BLKGETDISKSEQ _IOR(0x12, 128, uint64_t)
#endif

#define NONCE_XATTR "user.refpoint.nonce"
#define CLAIM_TRIES 100 /* 20 ms apart */

static int check_kind(mode_t mode, const char *path, struct err *err)
{
	if (S_ISREG(mode) || S_ISBLK(mode))
		return 0;
	return err_set(err, -RP_EPARAM,
		       "'%s' is neither a file nor a block device; name a raw "
		       "image or a block device",
		       path);
}

static int read_bytes(int fd, const struct stat *st, uint64_t *ret_bytes)
{
	uint64_t bytes = (uint64_t)st->st_size;

	if (S_ISBLK(st->st_mode) && ioctl(fd, BLKGETSIZE64, &bytes) < 0)
		return -errno;
	*ret_bytes = bytes;
	return 0;
}

static int check_bytes(uint64_t bytes, const char *path, struct err *err)
{
	if (bytes == 0)
		return err_set(err, -RP_EPARAM,
			       "'%s' is empty; give it its size first, for "
			       "example with truncate(1)",
			       path);
	if (bytes % SECTOR_BYTES != 0)
		return err_set(err, -RP_EPARAM,
			       "the size of '%s', %" PRIu64 " bytes, is no "
			       "multiple of 512; enlarge it to the next one",
			       path, bytes);
	if (bytes > DISK_BYTES_MAX)
		return err_set(err, -RP_EPARAM,
			       "the size of '%s', %" PRIu64 " bytes, is above "
			       "the limit of %" PRIu64 "; use several disks",
			       path, bytes, (uint64_t)DISK_BYTES_MAX);
	return 0;
}

static bool is_read_only_device(int fd, const struct stat *st)
{
	int read_only = 0;

	return S_ISBLK(st->st_mode) && ioctl(fd, BLKROGET, &read_only) == 0 &&
	       read_only;
}

/* Of a partition, the queue is its disk's. */
static uint64_t queue_limit(dev_t device, const char *name)
{
	static const char *const above[] = {"", "../"};
	uint64_t value = 0;

	for (size_t i = 0; i < ARRAY_SIZE(above); i++) {
		char path[128];
		FILE *f;
		int n;

		(void)snprintf(path, sizeof(path),
			       "/sys/dev/block/%u:%u/%squeue/%s", major(device),
			       minor(device), above[i], name);
		f = fopen(path, "re");
		if (!f)
			continue;
		n = fscanf(f, "%" SCNu64, &value);
		(void)fclose(f);
		if (n == 1)
			return value;
	}
	return 0;
}

/* A hole in a device is a write of zeros that unmaps; what a file system can
 * do is seen when it is asked, as trying would touch the file's times. */
static bool can_discard(const struct stat *st)
{
	if (!S_ISBLK(st->st_mode))
		return true;
	return queue_limit(st->st_rdev, "discard_max_bytes") > 0 &&
	       queue_limit(st->st_rdev, "write_zeroes_max_bytes") > 0;
}

static int read_all(int fd, void *buf, size_t bytes, uint64_t offset)
{
	ssize_t n;

	do
		n = pread(fd, buf, bytes, (off_t)offset);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return (size_t)n == bytes ? 0 : -EIO;
}

static int check_format(int fd, const char *path, uint64_t bytes,
			struct err *err)
{
	uint8_t head[IMAGE_HEAD_BYTES], tail[IMAGE_TAIL_BYTES];
	const char *format;
	int rc;

	memset(head, 0, sizeof(head));
	memset(tail, 0, sizeof(tail));
	rc = read_all(fd, head, MIN(bytes, sizeof(head)), 0);
	if (rc == 0 && bytes >= sizeof(tail))
		rc = read_all(fd, tail, sizeof(tail), bytes - sizeof(tail));
	if (rc < 0)
		return err_set(err, rc, "read '%s'", path);
	format = image_format_find(head, tail);
	if (!format)
		return 0;
	return err_set(err, -RP_EPARAM,
		       "'%s' looks like a %s image; convert it with 'qemu-img "
		       "convert -O raw', or say --format raw if it is a raw "
		       "disk all the same",
		       path, format);
}

static int probe(int fd, const char *path, bool force_raw,
		 struct image_geometry *ret_geometry, struct err *err)
{
	struct stat st;
	uint64_t bytes = 0;
	int flags = fcntl(fd, F_GETFL);
	int rc;

	if (flags < 0 || fstat(fd, &st) < 0)
		return err_set(err, -errno, "open '%s'", path);
	rc = check_kind(st.st_mode, path, err);
	if (rc < 0)
		return rc;
	rc = read_bytes(fd, &st, &bytes);
	if (rc < 0)
		return err_set(err, rc, "size of '%s'", path);
	/* Before its size is called wrong, and the user told to change it. */
	if (!force_raw)
		rc = check_format(fd, path, bytes, err);
	if (rc == 0)
		rc = check_bytes(bytes, path, err);
	if (rc < 0)
		return rc;
	if ((flags & O_ACCMODE) != O_RDWR || is_read_only_device(fd, &st))
		return err_set(err, -RP_EPARAM,
			       "'%s' is read-only; make it writable", path);
	*ret_geometry = (struct image_geometry){
	    .bytes = bytes,
	    .alignment = SECTOR_BYTES,
	    .direct = (flags & O_DIRECT) != 0,
	    .can_discard = can_discard(&st),
	};
	return 0;
}

int image_probe(int fd, const char *path, struct image_geometry *ret_geometry,
		struct err *err)
{
	return probe(fd, path, true, ret_geometry, err);
}

/* Kernels before 6.1 and file systems that do not say: read a sector into
 * memory that is aligned to no more than a sector. */
static bool sector_reads_work(int fd)
{
	char *page = NULL;
	int rc;

	if (posix_memalign((void **)&page, 4096, 4096) != 0)
		return false;
	rc = read_all(fd, page + SECTOR_BYTES, SECTOR_BYTES, 0);
	free(page);
	return rc == 0;
}

static void choose_direct(int fd)
{
	int flags = fcntl(fd, F_GETFL);
	struct statx stx;
	bool known, fits;

	memset(&stx, 0, sizeof(stx));
	known = statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 &&
		(stx.stx_mask & STATX_DIOALIGN);
	fits = !known || (stx.stx_dio_offset_align > 0 &&
			  stx.stx_dio_offset_align <= SECTOR_BYTES &&
			  stx.stx_dio_mem_align <= SECTOR_BYTES);
	if (!fits || fcntl(fd, F_SETFL, flags | O_DIRECT) < 0)
		return;
	if (!known && !sector_reads_work(fd))
		(void)fcntl(fd, F_SETFL, flags);
}

/* A block device is claimed with O_EXCL, which mounts, LVM and others respect;
 * the claim goes with the open file description to whoever gets it.  A dead
 * holder's goes only with the last of its I/O, so that a little patience is
 * due. */
static int open_claiming(const char *path, bool block)
{
	const struct timespec moment = {0, 20000000};
	int flags = O_RDWR | O_CLOEXEC | O_NOCTTY | (block ? O_EXCL : 0);
	int fd = -1;

	for (int tries = 0; fd < 0 && tries < CLAIM_TRIES; tries++) {
		do
			fd = open(path, flags);
		while (fd < 0 && errno == EINTR);
		if (fd >= 0 || !block || errno != EBUSY)
			break;
		(void)nanosleep(&moment, NULL);
		errno = EBUSY;
	}
	return fd;
}

/* Looked at before it is opened, as opening a device may do things. */
static int open_path(const char *path, int *ret_fd, struct err *err)
{
	struct stat st;
	int fd, rc;

	if (stat(path, &st) < 0)
		return err_set(err, -errno, "open '%s'", path);
	rc = check_kind(st.st_mode, path, err);
	if (rc < 0)
		return rc;
	fd = open_claiming(path, S_ISBLK(st.st_mode));
	if (fd < 0 && errno == EBUSY)
		return err_set(err, -RP_EINUSE,
			       "'%s' is in use, mounted or held by another "
			       "program: release it there first",
			       path);
	if (fd < 0)
		return err_set(err, -errno, "open '%s' for writing", path);
	*ret_fd = fd;
	return 0;
}

int image_open(const char *path, bool force_raw, int *ret_fd,
	       struct image_geometry *ret_geometry, struct err *err)
{
	struct image_geometry geometry;
	int fd = -1;
	int rc = open_path(path, &fd, err);

	if (rc < 0)
		return rc;
	rc = probe(fd, path, force_raw, &geometry, err);
	if (rc < 0) {
		(void)close(fd);
		return rc;
	}
	choose_direct(fd);
	geometry.direct = (fcntl(fd, F_GETFL) & O_DIRECT) != 0;
	*ret_geometry = geometry;
	*ret_fd = fd;
	return 0;
}

static int64_t ns_of(const struct timespec *ts)
{
	return (int64_t)ts->tv_sec * 1000000000 + ts->tv_nsec;
}

/* Zero where there is none, or something that we did not put there. */
static struct guid read_nonce(int fd)
{
	struct guid nonce = {{0}};
	uint8_t value[sizeof(nonce.b) + 1];

	if (fgetxattr(fd, NONCE_XATTR, value, sizeof(value)) ==
	    (ssize_t)sizeof(nonce.b))
		memcpy(nonce.b, value, sizeof(nonce.b));
	return nonce;
}

/* Documentation/admin-guide/iostats.rst: fields 7 and 14 of the line, sectors
 * written and discarded.  The requests of fields 5 and 12 would count flushes
 * too, which change nothing. */
static int read_counters(dev_t device, uint64_t *ret_writes,
			 uint64_t *ret_discards)
{
	uint64_t v[14] = {0};
	char path[64];
	unsigned n = 0;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/stat",
		       major(device), minor(device));
	f = fopen(path, "re");
	if (!f)
		return -errno;
	while (n < ARRAY_SIZE(v) && fscanf(f, "%" SCNu64, &v[n]) == 1)
		n++;
	(void)fclose(f);
	if (n < 7)
		return -EIO;
	*ret_writes = v[6];
	*ret_discards = v[13];
	return 0;
}

static int stamp_device(int fd, const char *path, struct image_stamp *stamp,
			struct err *err)
{
	int rc = read_counters(stamp->device, &stamp->writes, &stamp->discards);

	if (rc < 0)
		return err_set(err, rc, "counters of writes to '%s'", path);
	if (ioctl(fd, BLKGETDISKSEQ, &stamp->diskseq) < 0)
		stamp->diskseq = 0;
	return image_boot_id(&stamp->boot, err);
}

int image_stamp_read(int fd, const char *path, struct image_stamp *ret_stamp,
		     struct err *err)
{
	struct image_stamp stamp = {0};
	struct stat st;
	int rc;

	if (fstat(fd, &st) < 0)
		return err_set(err, -errno, "stat '%s'", path);
	rc = check_kind(st.st_mode, path, err);
	if (rc < 0)
		return rc;
	rc = read_bytes(fd, &st, &stamp.bytes);
	if (rc < 0)
		return err_set(err, rc, "size of '%s'", path);
	if (S_ISBLK(st.st_mode)) {
		stamp.kind = IMAGE_BLOCK;
		stamp.device = st.st_rdev;
		rc = stamp_device(fd, path, &stamp, err);
		if (rc < 0)
			return rc;
	} else {
		stamp.kind = IMAGE_FILE;
		stamp.device = st.st_dev;
		stamp.inode = st.st_ino;
		stamp.mtime_ns = ns_of(&st.st_mtim);
		stamp.ctime_ns = ns_of(&st.st_ctim);
		stamp.nonce = read_nonce(fd);
	}
	*ret_stamp = stamp;
	return 0;
}

/* Durable at once: a nonce that the store has and the file lost in a power
 * cut would make good tracking invalid. */
int image_nonce_set(int fd, const struct guid *nonce, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_set(err, -errno, "mark the image");
	if (!S_ISREG(st.st_mode))
		return err_set(err, -EOPNOTSUPP, "mark the image");
	if (fsetxattr(fd, NONCE_XATTR, nonce->b, sizeof(nonce->b), 0) < 0 ||
	    fsync(fd) < 0)
		return err_set(err, -errno,
			       "mark the image with the attribute "
			       "%s",
			       NONCE_XATTR);
	return 0;
}

int64_t image_boot_time_ns(void)
{
	struct timespec now, up;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	(void)clock_gettime(CLOCK_BOOTTIME, &up);
	return ns_of(&now) - ns_of(&up);
}

int image_boot_id(struct guid *ret_boot, struct err *err)
{
	static const char path[] = "/proc/sys/kernel/random/boot_id";
	char text[GUID_TEXT_BYTES] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	int rc = n < 0 ? -errno : -EIO;

	if (fd >= 0)
		(void)close(fd);
	if (n < 0 || !guid_parse(text, ret_boot))
		return err_set(err, rc, "read '%s'", path);
	return 0;
}

/* ---- holes ------------------------------------------------------------- */

void image_extent(int fd, uint64_t offset, uint64_t end, uint64_t *ret_to,
		  bool *ret_hole)
{
	off_t data = lseek(fd, (off_t)offset, SEEK_DATA), hole = -1;
	uint64_t to = end;

	if (data < 0 && errno == ENXIO)
		data = (off_t)end;
	if (data > 0)
		data -= data % SECTOR_BYTES;
	*ret_hole = data > (off_t)offset;
	if (*ret_hole)
		to = (uint64_t)data;
	else if (data >= 0)
		hole = lseek(fd, (off_t)offset, SEEK_HOLE);
	if (hole > (off_t)offset)
		to = round_up((uint64_t)hole, SECTOR_BYTES);
	*ret_to = MIN(to, end);
}
