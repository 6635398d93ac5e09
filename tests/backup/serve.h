/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What refpoint-target does, on a thread of this process, for programs that
 * write to files as exports do.
 */
#ifndef TESTS_BACKUP_SERVE_H
#define TESTS_BACKUP_SERVE_H

#include "common/target.h"

struct serving;

/* FILES are taken over.  RET_FDS are target_new()'s.  Fails by abort(). */
struct serving *serve_files(const int *files, unsigned n,
			    int ret_fds[TARGET_FDS]);
/* Waits for its end, once the other end was closed. */
int serve_end(struct serving *serving, struct err *err);

#endif
