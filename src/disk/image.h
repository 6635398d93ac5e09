/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk's image: is it fit to be one, is it the one we know, and does nobody
 * else write to it?
 *
 * Two programs take part.  refpointd opens the image anew for each start of a
 * worker (image_open), checks and marks it (image_identify, image_set_nonce),
 * passes the descriptor and closes its own.  The worker takes the locks
 * (image_lock) on that very open file description: flock(2), so that a
 * successor cannot start while a dead worker's I/O is still landing, and
 * QEMU's image-lock bytes, so that QEMU's programs and we refuse each other.
 */
#ifndef DISK_IMAGE_H
#define DISK_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/guid.h"

enum image_kind {
	IMAGE_FILE,
	IMAGE_BLOCK
};

/* What must be the same when nobody wrote in between.  For a file: device,
 * inode, size, mtime, ctime and the nonce; for a block device: size, diskseq,
 * the counters of sectors written and discarded (/sys/dev/block/M:m/stat,
 * fields 7 and 14) and the boot. */
struct image_stamp {
	enum image_kind kind;
	uint64_t bytes;
	uint64_t device;  /* st_dev; of a block device st_rdev */
	uint64_t inode;   /* 0 for a block device */
	int64_t mtime_ns; /* since the epoch, CLOCK_REALTIME */
	int64_t ctime_ns;
	struct guid nonce; /* zero: none, or not possible (no xattr) */
	uint64_t diskseq;  /* 0: the kernel has none */
	uint64_t writes;
	uint64_t discards;
	struct guid boot; /* /proc/sys/kernel/random/boot_id */
};

struct image_geometry {
	uint64_t bytes;     /* size */
	uint32_t alignment; /* of offset, length and memory: 512 or, for
			       buffered I/O, 1 is enough but 512 is said */
	bool direct;        /* O_DIRECT is set on the descriptor */
	bool can_discard;   /* discards leave zeros behind; of a file it is
			       assumed, and IO_DISCARD may still say
			       -EOPNOTSUPP */
};

/* All failures that the user can mend are -RP_EPARAM.
 *
 * Opens PATH for writing with O_CLOEXEC, sets O_DIRECT where offsets and
 * memory aligned to 512 bytes allow it (statx(2), STATX_DIOALIGN; older
 * kernels: by trying a read), refuses what is no regular file or block device,
 * a size that is 0, no multiple of 512 or above DISK_BYTES_MAX, and, unless
 * FORCE_RAW, a file that begins like qcow2, qed, VHDX, VHD (footer too), VMDK,
 * VDI, Parallels or LUKS: every message names PATH and what to do.  Touches
 * neither content nor times. */
int image_open(const char *path, bool force_raw, int *ret_fd,
	       struct image_geometry *ret_geometry, struct err *err);

/* The same checks of size and kind, and the geometry, of an open descriptor;
 * reads /sys/dev/block/ for a block device. */
int image_probe(int fd, const char *path, struct image_geometry *ret_geometry,
		struct err *err);

/* Reads /sys/dev/block/ and /proc for a block device. */
int image_stamp_read(int fd, const char *path, struct image_stamp *ret_stamp,
		     struct err *err);

/* The nonce is an extended attribute, user.refpoint.nonce (of a block device
 * there is none: -EOPNOTSUPP, as on a file system without user xattrs).
 * Durable on return; changes the ctime. */
int image_nonce_set(int fd, const struct guid *nonce, struct err *err);

/* Takes flock(LOCK_EX) on FD, waiting up to WAIT_MS for a dead holder's I/O to
 * end; then, as QEMU does for one that has every permission and shares none,
 * shared OFD locks on the bytes 100 to 103 (has: consistent read, write, write
 * unchanged, resize) and 200 to 203 (does not share the same), and looks that
 * nobody else holds any of the eight, for at most 200 ms.  So QEMU's programs
 * and we refuse each other, readers too; not those told to look away
 * (--force-share, file.locking=off).  -RP_EINUSE names PATH and that another
 * program uses it; nothing is held then.  On a block device the locks are
 * those of its node in the file system, and image_open()'s O_EXCL, which goes
 * with the open file description, keeps out mounts. */
int image_lock(int fd, const char *path, unsigned wait_ms, struct err *err);
void image_unlock(int fd);

/* Where the data or the hole at OFFSET ends, at most at END, in whole sectors:
 * one that is partly data is data.  Where the image cannot tell, all is data.
 * May wait for the disk. */
void image_extent(int fd, uint64_t offset, uint64_t end, uint64_t *ret_to,
		  bool *ret_hole);

/* Times of this boot's start (CLOCK_REALTIME minus CLOCK_BOOTTIME), in
 * nanoseconds since the epoch. */
int64_t image_boot_time_ns(void);
int image_boot_id(struct guid *ret_boot, struct err *err);

#endif
