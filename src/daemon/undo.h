/* SPDX-License-Identifier: Apache-2.0 */
/* A Create that was cancelled while it ran. */
#ifndef DAEMON_UNDO_H
#define DAEMON_UNDO_H

#include "daemon/request.h"

/* Destroys POINT, which was just made, and then ends the request: as cancelled,
 * or as completed, saying so, if the point could not be destroyed, or as failed
 * if nobody knows.  False: no such thing was begun. */
bool undo(struct request *request, json_t *point);

/* POINT was made, and stays: for the record and the answer. */
void undo_note_point(struct request *request, json_t *point);

#endif
