/* SPDX-License-Identifier: Apache-2.0 */
#include "common/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/cleanup.h"
#include "common/log.h"

/* ---- Landlock ------------------------------------------------------------ */

/* The kernel's interface, as of ABI 7; Debian 12's headers stop at 2. */
enum landlock_fs {
	LL_EXECUTE = 1u << 0,
	LL_WRITE_FILE = 1u << 1,
	LL_READ_FILE = 1u << 2,
	LL_READ_DIR = 1u << 3,
	LL_REMOVE_DIR = 1u << 4,
	LL_REMOVE_FILE = 1u << 5,
	LL_MAKE_CHAR = 1u << 6,
	LL_MAKE_DIR = 1u << 7,
	LL_MAKE_REG = 1u << 8,
	LL_MAKE_SOCK = 1u << 9,
	LL_MAKE_FIFO = 1u << 10,
	LL_MAKE_BLOCK = 1u << 11,
	LL_MAKE_SYM = 1u << 12,
	LL_REFER = 1u << 13,     /* ABI 2 */
	LL_TRUNCATE = 1u << 14,  /* ABI 3 */
	LL_IOCTL_DEV = 1u << 15, /* ABI 5 */
};

#define LL_FS_ABI_1 ((1u << 13) - 1)
#define LL_FILES                                                               \
	(LL_READ_FILE | LL_READ_DIR | LL_WRITE_FILE | LL_REMOVE_FILE |         \
	 LL_MAKE_REG | LL_TRUNCATE)
#define LL_TREES     (LL_FILES | LL_MAKE_DIR | LL_REMOVE_DIR)
#define LL_OF_A_FILE (LL_READ_FILE | LL_WRITE_FILE | LL_TRUNCATE)
#define LL_NET_ALL   3u /* bind and connect TCP, ABI 4 */
#define LL_SCOPE_ALL 3u /* abstract sockets and signals, ABI 6 */

struct ll_ruleset {
	uint64_t fs;
	uint64_t net;
	uint64_t scoped;
};

struct ll_beneath {
	uint64_t allowed;
	int32_t fd;
} __attribute__((packed));

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule       445
#define SYS_landlock_restrict_self  446
#endif
#define LL_VERSION      1u
#define LL_PATH_BENEATH 1

/* 0: the kernel has none, or it is switched off. */
static int landlock_abi(void)
{
	long abi =
	    syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, LL_VERSION);

	return abi < 0 ? 0 : (int)abi;
}

int confine_files_begin(struct confine_files *ret_files, struct err *err)
{
	struct ll_ruleset rules;
	int abi = landlock_abi();
	size_t bytes = abi >= 6 ? 24 : abi >= 4 ? 16 : 8;
	long fd;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_set(err, -errno, "no_new_privs");
	*ret_files = (struct confine_files){.ruleset = -1};
	if (!abi) {
		log_info("this kernel has no Landlock, going on without: the "
			 "file system is not confined");
		return 0;
	}
	rules = (struct ll_ruleset){
	    .fs = LL_FS_ABI_1 | (abi >= 2 ? LL_REFER : 0u) |
		  (abi >= 3 ? LL_TRUNCATE : 0u) |
		  (abi >= 5 ? LL_IOCTL_DEV : 0u),
	    .net = abi >= 4 ? LL_NET_ALL : 0,
	    .scoped = abi >= 6 ? LL_SCOPE_ALL : 0,
	};
	fd = syscall(SYS_landlock_create_ruleset, &rules, bytes, 0u);
	if (fd < 0)
		return err_set(err, -errno, "Landlock, ABI %d", abi);
	(void)fcntl((int)fd, F_SETFD, FD_CLOEXEC);
	ret_files->ruleset = (int)fd;
	ret_files->handled = rules.fs;
	return 0;
}

int confine_files_allow(const struct confine_files *files, int fd,
			unsigned access, struct err *err)
{
	struct ll_beneath beneath = {
	    .allowed = (access & CONFINE_READ ? LL_READ_FILE : 0u) |
		       (access & CONFINE_LIST ? LL_READ_DIR : 0u) |
		       (access & CONFINE_FILES ? LL_FILES : 0u) |
		       (access & CONFINE_SOCKETS ? LL_MAKE_SOCK : 0u) |
		       (access & CONFINE_TREES ? LL_TREES : 0u),
	    .fd = fd};
	struct stat st;

	if (fd < 0 || files->ruleset < 0)
		return 0;
	if (fstat(fd, &st) == 0 && !S_ISDIR(st.st_mode))
		beneath.allowed &= LL_OF_A_FILE;
	beneath.allowed &= files->handled;
	if (syscall(SYS_landlock_add_rule, files->ruleset, LL_PATH_BENEATH,
		    &beneath, 0u) < 0)
		return err_set(err, -errno, "Landlock rule");
	return 0;
}

int confine_files_allow_path(const struct confine_files *files,
			     const char *path, unsigned access, struct err *err)
{
	_cleanup_close_ int fd = open(path, O_PATH | O_CLOEXEC);

	return confine_files_allow(files, fd, access, err);
}

void confine_files_drop(struct confine_files *files)
{
	if (files->ruleset >= 0)
		(void)close(files->ruleset);
	files->ruleset = -1;
}

int confine_files_enter(struct confine_files *files, struct err *err)
{
	int r = 0;

	if (files->ruleset >= 0 &&
	    syscall(SYS_landlock_restrict_self, files->ruleset, 0u) < 0)
		r = err_set(err, -errno, "Landlock");
	confine_files_drop(files);
	return r;
}

/* ---- seccomp ------------------------------------------------------------- */

#define SYS(name) SCMP_SYS(name)

static const int plain[] = {
    /* memory; see also mmap() and mprotect() below */
    SYS(brk), SYS(munmap), SYS(mremap), SYS(madvise), SYS(msync),
    /* threads and time */
    SYS(futex), SYS(set_robust_list), SYS(rseq), SYS(gettid), SYS(getpid),
    SYS(sched_yield), SYS(sched_getaffinity), SYS(membarrier), SYS(exit),
    SYS(exit_group), SYS(restart_syscall), SYS(clock_gettime),
    SYS(clock_getres), SYS(clock_nanosleep), SYS(nanosleep), SYS(gettimeofday),
    SYS(rt_sigaction), SYS(rt_sigprocmask), SYS(rt_sigreturn),
    SYS(rt_sigpending), SYS(rt_sigtimedwait), SYS(sigaltstack),
    /* loops */
    SYS(epoll_create1), SYS(epoll_ctl), SYS(epoll_wait), SYS(epoll_pwait),
    SYS(epoll_pwait2), SYS(poll), SYS(ppoll), SYS(timerfd_create),
    SYS(timerfd_settime), SYS(timerfd_gettime), SYS(eventfd2), SYS(signalfd4),
    SYS(pipe2),
    /* descriptors that are there */
    SYS(read), SYS(write), SYS(readv), SYS(writev), SYS(close), SYS(fstat),
    SYS(lseek), SYS(recvmsg), SYS(sendmsg), SYS(recvfrom), SYS(sendto),
    SYS(accept4), SYS(shutdown), SYS(getsockopt), SYS(setsockopt),
    SYS(getsockname), SYS(getpeername),
    /* harmless questions */
    SYS(getrandom), SYS(uname), SYS(sysinfo), SYS(getrusage), SYS(getuid),
    SYS(geteuid), SYS(getgid), SYS(getegid), SYS(umask), SYS(getcwd)};

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif

/* Allows SYSCALL where its argument ARG, masked, is VALUE. */
static int allow_if(scmp_filter_ctx ctx, int syscall_nr, unsigned arg,
		    uint64_t mask, uint64_t value)
{
	return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, syscall_nr, 1,
				SCMP_CMP(arg, SCMP_CMP_MASKED_EQ, mask, value));
}

static int add_plain(scmp_filter_ctx ctx, const int *list, size_t n)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, list[i], 0);
	return r;
}

static int add_checked(scmp_filter_ctx ctx, bool loads_code)
{
	const uint64_t thread = CLONE_THREAD | CLONE_VM | CLONE_SIGHAND;
	const uint32_t all = UINT32_MAX;
	int r;

	r = allow_if(ctx, SYS(mmap), 2, PROT_EXEC, 0);
	if (r == 0 && loads_code)
		r = allow_if(ctx, SYS(mmap), 2, PROT_EXEC | PROT_WRITE,
			     PROT_EXEC);
	if (r == 0)
		r = allow_if(ctx, SYS(mprotect), 2, PROT_EXEC, 0);
	if (r == 0)
		r = allow_if(ctx, SYS(clone), 0, thread, thread);
	/* its flags are behind a pointer; glibc then falls back to clone */
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SYS(clone3),
				     0);
	if (r == 0)
		r = allow_if(ctx, SYS(tgkill), 0, all, (uint64_t)getpid());
	if (r == 0)
		r = allow_if(ctx, SYS(prctl), 0, all, PR_SET_NAME);
	if (r == 0)
		r = allow_if(ctx, SYS(prctl), 0, all, PR_SET_VMA);
	/* getrlimit(3), for the sizes of stacks; nothing new may be set */
	if (r == 0)
		r = allow_if(ctx, SYS(prlimit64), 2, UINT64_MAX, 0);
	return r;
}

static void say_and_die(int sig, siginfo_t *info, void *context)
{
	char line[80];
	char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE,
						      info->si_syscall);
	int n = snprintf(line, sizeof(line), "forbidden system call: %s (%d)\n",
			 name ? name : "?", info->si_syscall);

	(void)!write(STDERR_FILENO, line, (size_t)n);
	_exit(128 + SIGSYS);
}

static bool wants_log(void)
{
	const char *env = getenv("REFPOINT_SANDBOX");

	return env && strcmp(env, "log") == 0;
}

static int load(scmp_filter_ctx ctx, const struct confine_calls *calls,
		struct err *err)
{
	int r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);

	/* a binary search instead of a list: this is on every request's way */
	if (r == 0)
		(void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (r == 0)
		r = add_plain(ctx, plain, ARRAY_SIZE(plain));
	if (r == 0)
		r = add_checked(ctx, calls->loads_code);
	if (r == 0)
		r = add_plain(ctx, calls->plain, calls->n_plain);
	for (size_t i = 0; r == 0 && i < calls->n_rules; i++)
		r = allow_if(ctx, calls->rules[i].call, calls->rules[i].arg,
			     calls->rules[i].mask, calls->rules[i].value);
	if (r < 0)
		return err_set(err, r, "seccomp rules");
	r = seccomp_load(ctx);
	if (r < 0)
		return err_set(err, r, "seccomp");
	return 0;
}

int confine_calls_enter(const struct confine_calls *calls, struct err *err)
{
	struct sigaction sa = {.sa_sigaction = say_and_die,
			       .sa_flags = SA_SIGINFO};
	uint32_t other =
	    calls->refuses ? SCMP_ACT_ERRNO(EPERM) : SCMP_ACT_KILL_PROCESS;
	bool debug = wants_log();
	scmp_filter_ctx ctx;
	int r;

	if (debug && sigaction(SIGSYS, &sa, NULL) < 0)
		return err_set(err, -errno, "SIGSYS");
	ctx = seccomp_init(debug ? SCMP_ACT_TRAP : other);
	if (!ctx)
		return err_set(err, -ENOMEM, "seccomp");
	r = load(ctx, calls, err);
	seccomp_release(ctx);
	return r;
}

/* ---- The user ------------------------------------------------------------ */

int confine_user(bool becomes, uid_t uid, gid_t gid, struct err *err)
{
	const struct rlimit none = {0, 0};

	(void)setrlimit(RLIMIT_CORE, &none);
	if (!becomes)
		return 0;
	if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 ||
	    setresuid(uid, uid, uid) < 0)
		return err_set(err, -errno, "become uid %u", (unsigned)uid);
	return 0;
}
