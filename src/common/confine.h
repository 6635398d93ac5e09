/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Giving up rights for good: the file system by Landlock, system calls by
 * seccomp.  Each program says what it keeps (worker/sandbox.h,
 * gateway/confine.c); here is how.
 *
 * Rejected: namespaces (need privileges or user namespaces, which many systems
 * forbid).
 */
#ifndef COMMON_CONFINE_H
#define COMMON_CONFINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/err.h"

enum confine_access {
	CONFINE_READ = 1,  /* files */
	CONFINE_LIST = 2,  /* what directories hold */
	CONFINE_FILES = 4, /* both, and write, make, rename and remove files */
	CONFINE_SOCKETS = 8, /* make unix sockets */
	CONFINE_TREES = 16   /* as FILES, and directories alike */
};

/* Becomes UID and GID for good, with no other groups, if BECOMES; and leaves no
 * core: what is in memory is a guest's. */
int confine_user(bool becomes, uid_t uid, gid_t gid, struct err *err);

struct confine_files {
	int ruleset; /* -1: the kernel has no Landlock */
	uint64_t handled;
};

/* No new privileges from here on.  A kernel without Landlock costs one log line
 * and nothing else. */
int confine_files_begin(struct confine_files *ret_files, struct err *err);
/* What is beneath the directory FD, or the file; -1: nothing. */
int confine_files_allow(const struct confine_files *files, int fd,
			unsigned access, struct err *err);
/* Likewise; what is not there stays out of reach. */
int confine_files_allow_path(const struct confine_files *files,
			     const char *path, unsigned access,
			     struct err *err);
/* This thread and those it makes: nothing but that, no program is run, no TCP
 * socket bound or connected (where the kernel knows how to say so). */
int confine_files_enter(struct confine_files *files, struct err *err);
/* Instead of entering. */
void confine_files_drop(struct confine_files *files);

struct confine_rule {
	int call; /* SCMP_SYS() */
	unsigned arg;
	uint64_t mask, value; /* of that argument */
};

/* Besides what every program with threads needs. */
struct confine_calls {
	const int *plain; /* whatever their arguments are */
	size_t n_plain;
	const struct confine_rule *rules;
	size_t n_rules;
	bool loads_code; /* may map code; none that it can write */
	/* Whatever else fails with EPERM, instead of killing the process: for
	 * programs with libraries that try what they can do without. */
	bool refuses;
};

/* All threads, present and future.  Under REFPOINT_SANDBOX=log a forbidden call
 * is named on stderr and the process dies of it. */
int confine_calls_enter(const struct confine_calls *calls, struct err *err);

#endif
