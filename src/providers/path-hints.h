/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a disk or a snapshot was found last, so that a client that asks for its
 * changes again and again has not all systems looked through each time.
 *
 * Only a hint: what is told must be looked at.  Any thread may call.
 */
#ifndef PROVIDERS_PATH_HINTS_H
#define PROVIDERS_PATH_HINTS_H

#include <stdbool.h>

#include "common/guid.h"

/* The UUID of the system that has a disk with that path, or a snapshot of that
 * id, perhaps. */
bool path_hint_get(const char *path, char ret_uuid[GUID_TEXT_BYTES]);
void path_hint_set(const char *path, const char uuid[GUID_TEXT_BYTES]);

#endif
