/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/sandbox.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <seccomp.h>
#include <sys/ioctl.h>

#include "common/bytes.h"
#include "common/confine.h"

/* What the kernel tells everybody and an image's stamp is made of. */
static const char *const counters[] = {
    "/proc/sys/kernel/random/boot_id",
    "/sys/devices",
};

static int allow(const struct confine_files *files, int store, int live,
		 int run, struct err *err)
{
	int r = confine_files_allow(files, store, CONFINE_FILES, err);

	if (r == 0)
		r = confine_files_allow(files, live, CONFINE_FILES, err);
	if (r == 0)
		r = confine_files_allow(files, run,
					CONFINE_FILES | CONFINE_SOCKETS, err);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(counters); i++)
		r = confine_files_allow_path(files, counters[i], CONFINE_READ,
					     err);
	return r;
}

int sandbox_enter(int store_dirfd, int live_dirfd, int run_dirfd,
		  struct err *err)
{
	struct confine_files files;
	int r = confine_files_begin(&files, err);

	if (r < 0)
		return r;
	r = allow(&files, store_dirfd, live_dirfd, run_dirfd, err);
	if (r == 0)
		return confine_files_enter(&files, err);
	confine_files_drop(&files);
	return r;
}

/* ---- system calls -------------------------------------------------------- */

#define SYS(name) SCMP_SYS(name)

/* The guest's I/O, and the store's. */
static const int plain[] = {
    SYS(io_uring_enter), SYS(pread64),   SYS(pwrite64),  SYS(preadv),
    SYS(pwritev),        SYS(pwritev2),  SYS(openat),    SYS(newfstatat),
    SYS(statx),          SYS(fdatasync), SYS(fsync),     SYS(fallocate),
    SYS(ftruncate),      SYS(renameat),  SYS(renameat2), SYS(unlinkat),
    SYS(getdents64),     SYS(flock),     SYS(fstatfs),   SYS(statfs),
    SYS(fadvise64),      SYS(fgetxattr), SYS(faccessat), SYS(faccessat2),
    SYS(sync_file_range)};

/* Linux 5.15; a C library's headers may be older. */
#ifndef BLKGETDISKSEQ
#define BLKGETDISKSEQ _IOR(0x12, 128, uint64_t)
#endif

#define FCNTL(command)                                                         \
	{                                                                      \
		SYS(fcntl), 1, UINT32_MAX, command                             \
	}
#define IOCTL(request)                                                         \
	{                                                                      \
		SYS(ioctl), 1, UINT32_MAX, request                             \
	}

static const struct confine_rule rules[] = {
    FCNTL(F_GETFD),         FCNTL(F_SETFD),          FCNTL(F_GETFL),
    FCNTL(F_SETFL),         FCNTL(F_OFD_SETLK),      FCNTL(F_OFD_GETLK),
    FCNTL(F_DUPFD_CLOEXEC), FCNTL(F_GET_SEALS),      IOCTL(FIONREAD),
    IOCTL(BLKGETSIZE64),    IOCTL(BLKSSZGET),        IOCTL(BLKPBSZGET),
    IOCTL(BLKROGET),        IOCTL(BLKIOMIN),         IOCTL(BLKIOOPT),
    IOCTL(BLKDISCARD),      IOCTL(BLKZEROOUT),       IOCTL(BLKFLSBUF),
    IOCTL(BLKGETDISKSEQ),   IOCTL(BLKDISCARDZEROES),
};

int sandbox_seal(struct err *err)
{
	const struct confine_calls calls = {.plain = plain,
					    .n_plain = ARRAY_SIZE(plain),
					    .rules = rules,
					    .n_rules = ARRAY_SIZE(rules)};

	return confine_calls_enter(&calls, err);
}
