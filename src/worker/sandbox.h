/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a worker gives up, so that a guest that takes it over gets this one
 * virtual system and nothing else.
 *
 * In two steps.  sandbox_enter() early, when the directories are open: no new
 * privileges, and Landlock leaves three directories of the file system.
 * sandbox_seal() last, when the rings exist, every connection is made and
 * every thread's code is mapped: a list of system calls, and death for the
 * rest.  What either cannot take away (descriptors already open) was decided
 * by refpointd, which passed them.
 *
 * Rejected: seccomp's ERRNO for the unknown (a confused worker goes on with
 * wrong assumptions; a dead one is restarted and the guest waits a moment).
 */
#ifndef WORKER_SANDBOX_H
#define WORKER_SANDBOX_H

#include "common/err.h"

/*
 * From here on this thread and those it makes can open, make, rename and
 * remove files only below the three directories (-1: none), and run no
 * program; call before other threads exist.  A kernel without Landlock costs
 * one log line.
 */
int sandbox_enter(int store_dirfd, int live_dirfd, int run_dirfd,
		  struct err *err);

/* Applies to all threads, present and future.  Under REFPOINT_SANDBOX=log a
 * forbidden call is named on stderr before the process dies of it. */
int sandbox_seal(struct err *err);

#endif
