/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virsh, which the keeper runs as a talker asks it to.  A talker may be a
 * guest's, so it gets one virsh at a time and a bounded number: the one before
 * is killed first, whatever it is at.
 */
#ifndef AGENT_VIRSH_H
#define AGENT_VIRSH_H

#include <stdbool.h>
#include <sys/types.h>

/* One talker's, zeroed for each. */
struct virsh {
	pid_t pid; /* not waited for yet; 0: there is none */
	unsigned runs;
};

/* Runs COMMAND (of enum agent_command) for DOMAIN for up to MS, and passes the
 * socket TALK the descriptor of what it says.  What makes no sense is ignored.
 * False: the talker had its share, and nothing was run. */
bool virsh_run(struct virsh *virsh, const char *domain, unsigned command,
	       unsigned ms, int talk);
/* Kills what still runs. */
void virsh_end(struct virsh *virsh);

#endif
