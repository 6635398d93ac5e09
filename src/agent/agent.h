/* SPDX-License-Identifier: Apache-2.0 */
/*
 * refpoint-agent freezes the file systems of one guest through the agent in it,
 * and thaws them again: started by refpointd for one freeze.
 *
 * It is two processes.  The keeper has refpointd's rights: it connects to the
 * agent's socket, or runs virsh, and reads no byte that comes from a guest.
 * The talker has no rights left, and speaks with the agent: what a guest sends
 * is parsed there and nowhere else.
 *
 *	refpointd ══ keeper ══ talker ── socket ── QEMU ── agent
 *	                └── virsh ── libvirtd ── QEMU ── agent
 *
 * The double lines are sockets of whole messages, one line of text each:
 *
 *	talker, keeper → refpointd
 *	  frozen N MS        N file systems are; they are thawed within MS
 *	  thawed N LATE      they are not, N by us; LATE 1: not since we were
 *told refused NAME TEXT  there was no freeze, or it is over; err.h's name stuck
 *TEXT         we gave up: they may be frozen refpointd → keeper → talker thaw
 *	talker → keeper, and back
 *	  run COMMAND MS     of enum agent_command, by virsh
 *	  output             with the descriptor of what it says
 *
 * Invariants:
 *  1. Nothing is frozen before the agent has answered that nothing is: who was
 *     frozen by somebody else is left as he is.
 *  2. A guest is told to thaw at the latest AGENT_FROZEN_MS_MAX after it was
 *     told to freeze, whatever refpointd does.
 *  3. The end of either side is an order to thaw: of refpointd for the keeper,
 *     of the keeper for the talker, whose connection stands.
 *  4. A talker that ends in any other way than by `thawed` or `refused` is
 *     followed by one that only thaws, on a new connection, and so on until
 *     AGENT_THAW_MS are over.  The agent does one thing after the other: once
 *     it answers the new talker nothing of the old one's is still to come.
 *  5. `thawed` and `refused` are said only of what the agent says is thawed,
 *     or when there is no guest any more.
 *  6. Only whole answers count: every one is bounded in bytes and in time, and
 *     whatever is wrong with one ends the talker.
 *  7. What a talker can have done is bounded, and the keeper never waits for
 *     it: one virsh at a time, AGENT_RUNS_MAX in all (virsh.h).
 * If the keeper and the talker both die refpointd starts another helper; if
 * refpointd dies with them, the next one does (daemon/freeze.h).
 */
#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/err.h"
#include "common/limits.h"

#define AGENT_MESSAGE_BYTES 512 /* of one, with NUL */

enum agent_command {
	AGENT_STATUS,
	AGENT_FREEZE,
	AGENT_THAW,
	AGENT_STATE, /* of the domain; virsh only */
	AGENT_COMMANDS
};

/* CLOCK_BOOTTIME. */
uint64_t agent_now_ms(void);

/* One message; a peer that is gone is no failure. */
void agent_say(int fd, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Waits up to MS for one, and for a descriptor that comes with it (RET_FD may
 * be NULL).  1; 0: none came; -EPIPE: the peer is gone. */
int agent_hear(int fd, uint64_t ms, char text[AGENT_MESSAGE_BYTES],
	       int *ret_fd);
/* Nor is one that does not read. */
void agent_say_fd(int fd, const char *text, int passed);

/* ---- talk.c -------------------------------------------------------------- */

struct talker {
	int keeper;      /* the socket */
	int line;        /* connected to the agent; -1: through virsh */
	bool only_thaws; /* what an earlier one left */
	uid_t uid;       /* to become, if root */
	gid_t gid;
};

/* In the talker's process, with no other descriptor open. */
void talk(const struct talker *talker) __attribute__((noreturn));

#endif
