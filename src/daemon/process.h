/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process of a worker: started so that it outlives refpointd, found again
 * by what stands in RUN/pids/VM, {pid, start time, boot}, which only refpointd
 * can write.
 *
 * The worker is no child of ours (double fork), so its end is seen through a
 * pidfd, and refpointd may be replaced at any time.  It waits for a byte until
 * its pidfd is held and its pid file written: a worker that refpointd does not
 * know of cannot exist.
 */
#ifndef DAEMON_PROCESS_H
#define DAEMON_PROCESS_H

#include "daemon/daemon.h"

struct process {
	pid_t pid; /* 0: none known */
	int pidfd; /* -1: none */
};

/* Starts `refpoint-worker --root DIR --vm VM` as the worker's user.  Errors of
 * all steps up to execve(2) are told here.  Under systemd only the unit's start
 * is asked for: *RET_PROCESS then is none, and process_claim() makes it known.
 */
int process_start(struct daemon *daemon, const char *vm,
		  struct process *ret_process, struct err *err);

/* The living worker of VM from an earlier refpointd, or none. */
void process_find(struct daemon *daemon, const char *vm,
		  struct process *ret_process);

/* PID says it is VM's worker: under systemd its unit decides.  -RP_EDENIED. */
int process_claim(struct daemon *daemon, const char *vm, pid_t pid,
		  struct process *ret_process, struct err *err);

/* Tells the process to die; its end comes through the pidfd. */
void process_kill(struct daemon *daemon, const char *vm,
		  const struct process *process);

/* Forgets an ended process: closes the pidfd, removes the pid file. */
void process_done(struct daemon *daemon, const char *vm,
		  struct process *process);

#endif
