/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The seam with faults: a wrapper around any other implementation, for tests
 * and benches of the real worker.
 *
 * Rules are text, one after the other with ';' between them:
 *
 *   OP[:name=GLOB][:nth=N][:sticky][:delay=TIME][:hang[=PATH]]
 *     [:errno=NAME][:after]
 *
 *   OP      read write sync truncate allocate size map open rename unlink
 *           sync_dir list space zero discard, or any
 *   name    fnmatch(3) pattern of the file's name (of rename: either name; of
 *           sync_dir, list and space: the directory's); default: every one
 *   nth     the Nth matching call, from 1; default: every call
 *   sticky  with nth: that one and all after it
 *   delay   before the call; TIME is a number with us, ms or s
 *   hang    for ever, or for as long as the file PATH exists, before the call
 *   errno   the call is not made and fails with this: EIO, ENOSPC, EDQUOT,
 *           EROFS, ENOMEM, EOPNOTSUPP, ENOENT, EAGAIN, EINTR or a number
 *   after   the delay, the hang and the failure come after the call was made
 *
 * So "sync:delay=2ms", "write:name=pages*:nth=5:errno=ENOSPC",
 * "sync:name=intents:hang=/tmp/stuck", "read:errno=EIO:nth=3:sticky".  The
 * delays of all rules that match add up, and the first that fails decides.
 * Counting is by rule and safe among threads.  Values cannot hold ':' or ';'.
 *
 * A sync that failed here is not latched by the file beneath (posix.h): use
 * sticky where the test wants that.
 */
#ifndef DISK_FAULTY_H
#define DISK_FAULTY_H

#include "disk/disk.h"
#include "disk/ring.h"

struct faults;

/* -RP_EPARAM names the rule that is not understood. */
int faults_new(const char *rules, struct faults **ret_faults, struct err *err);

/* After everything that was made from it.  Accepts NULL; returns NULL. */
struct faults *faults_free(struct faults *faults);

/* Calls that rule INDEX (from 0, in the order of the text) has matched,
 * whether it acted on them or not. */
uint64_t faults_hits(const struct faults *faults, unsigned index);

/* These take INNER over where they succeed; FAULTS stays the caller's. */
int faulty_fs_new(struct faults *faults, struct fs *inner, struct fs **ret_fs,
		  struct err *err);
int faulty_file_new(struct faults *faults, struct file *inner,
		    struct file **ret_file, struct err *err);

/* The file beneath a wrapper; FILE itself if it is none. */
struct file *faulty_file_inner(struct file *file);

/* The queue for guest I/O; INNER stays the caller's.  Files that are wrapped
 * suffer their own faults there, others FAULTS (NULL: none).  Delays and hangs
 * are timers on RING, so that the loop goes on. */
int faulty_ioq_new(struct faults *faults, struct ring *ring, struct ioq *inner,
		   struct ioq **ret_ioq, struct err *err);
/* Nothing may be in flight.  Accepts NULL. */
void faulty_ioq_free(struct ioq *ioq);

#endif
