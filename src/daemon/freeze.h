/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's file systems, frozen through the agent in it for the time of a cut,
 * by refpoint-agent (agent/agent.h), which thaws them whatever becomes of us.
 *
 *	freeze_begin ──helper──► frozen ──the cut──► freeze_end ──► thawed
 *
 * Invariants:
 *  1. RUN/frozen/VM says which agent, from before a helper is started until a
 *     guest is known to be thawed: whoever begins to run finds there what two
 *     deaths left frozen, and thaws it.  It need not outlive a boot.
 *  2. A helper that ends without telling that the guest is thawed is followed
 *     by one that thaws, for as long as it takes, whoever waits for it or not;
 *     or until VM's agent is named anew, by which alone one that never comes
 *     back is given up (a socket or a domain that is gone is no guest).
 *  3. What was made counts as frozen only if the helper thawed when it was
 *     told to, and as many file systems as it had frozen.
 *  4. One freeze for a virtual system at a time; while an earlier one is not
 *     over there is none.
 */
#ifndef DAEMON_FREEZE_H
#define DAEMON_FREEZE_H

#include "daemon/vm.h"

struct freeze;

/* FN(arg), once, from the loop.  Code 0: the guest is frozen, and what is made
 * meanwhile must be so within CUT_MS; freeze_end() follows.  Otherwise the
 * freeze is gone, and the error says what to do. */
typedef void freeze_begun_fn(void *arg, const struct err *err, uint64_t cut_ms);
/* Returns an error without calling FN: -RP_EUNSUPPORTED where VM has no agent,
 * -RP_ESTATE if it is not served. */
int freeze_begin(struct vm *vm, freeze_begun_fn *fn, void *arg,
		 struct freeze **ret_freeze, struct err *err);

/* FN(arg), once, from the loop.  Code 0: it was frozen until now. */
typedef void freeze_over_fn(void *arg, const struct err *err);
void freeze_end(struct freeze *freeze, freeze_over_fn *fn, void *arg);

/* Ends a freeze that nobody waits for and whose guest does not get thawed, as
 * whoever names VM's agent wants it.  Its helper still tries for a while. */
void freeze_forget(struct vm *vm);

/* At start: thaws what an earlier refpointd may have left frozen. */
void freeze_clean_up(struct daemon *daemon);

#endif
