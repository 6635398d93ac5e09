/* SPDX-License-Identifier: Apache-2.0 */
/* A Create or Snapshot that was cancelled while it ran. */
#ifndef DAEMON_UNDO_H
#define DAEMON_UNDO_H

#include "daemon/request.h"

/* Of such a method alone. */
bool undo_is_possible(const struct record *record);

/* Destroys what was just MADE, a point or snapshot, and then ends the request:
 * as cancelled, or as completed, saying so, if it could not be destroyed, or as
 * failed if nobody knows.  False: no such thing was begun. */
bool undo(struct request *request, json_t *made);

/* It was made, and stays: for the record and the answer. */
void undo_note(struct request *request, json_t *made);

/* The same for another reason than that, as which the request then fails. */
bool undo_because(struct request *request, json_t *made, const struct err *why);

#endif
