/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Create and Snapshot of consistency "application": what the worker makes while
 * the guest is frozen is crash-consistent, until the guest was thawed and it is
 * known that it had been frozen all the while; then the worker vouches for it.
 * Otherwise it is undone, and the call fails.
 */
#ifndef DAEMON_FROZEN_H
#define DAEMON_FROZEN_H

#include "daemon/request.h"

typedef void frozen_fn(struct request *request, const struct err *err);

bool frozen_is_wanted(const struct request *request);

/* Freezes the guest and calls FN once: with code 0 the worker is to be asked,
 * within the time that now stands in the parameters.  An error without a call
 * of FN is returned as by freeze_begin(). */
int frozen_begin(struct request *request, frozen_fn *fn, struct err *err);

/* ANSWER is the worker's, if ERR has code 0.  Thaws the guest, and calls FN
 * once with how it ended; request->answer then says what there is.  Or else
 * undoes what was made, and ends the request. */
void frozen_end(struct request *request, const struct err *err, json_t *answer,
		frozen_fn *fn);

#endif
