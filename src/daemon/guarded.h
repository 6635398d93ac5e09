/* SPDX-License-Identifier: Apache-2.0 */
/*
 * May what stands at a path be exchanged by somebody who could not open it?
 *
 * refpointd opens images with its own rights each time that they are served.
 * The first time the caller proved his right to the file; later another file
 * may be there, because the owner restored it, or because somebody who may
 * write to a directory on the way put a link to somebody else's disk there.
 */
#ifndef DAEMON_GUARDED_H
#define DAEMON_GUARDED_H

#include "common/err.h"

/* 0 if every directory and link on the absolute PATH, links followed one by
 * one, belongs to root or to us and nobody else may replace what we walk
 * through (a sticky directory's entries: only their owners).  -RP_EDENIED names
 * the place; -errno where the path leads nowhere. */
int guarded_path(const char *path, struct err *err);

#endif
