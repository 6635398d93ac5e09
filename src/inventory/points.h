/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The points of one virtual system as its worker told them: type Point of the
 * interface, each checked once and kept as text, which is all that is done with
 * them here.  Its snapshots, of type Snapshot, are kept in the same way.
 */
#ifndef INVENTORY_POINTS_H
#define INVENTORY_POINTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"
#include "common/guid.h"

struct inventory_point {
	struct guid id;
	bool log; /* of type log: its `log` changes without a change of ours */
	char *text; /* JSON without white space */
	size_t bytes;
};

struct inventory_points {
	struct inventory_point *list; /* oldest first */
	unsigned n;
	bool known; /* what there is, and no more */
};

/* At the end; one of that id that is there already stays.  -RP_EWIRE: POINT,
 * which stays the caller's, is no Point; -RP_ELIMIT: there are
 * POINTS_PER_VM_MAX. */
int inventory_points_add(struct inventory_points *points, json_t *point,
			 struct err *err);
/* The same for TEXT, without the work of a JSON parser, if it is a point as
 * workers write them and plain ASCII: then it is moved behind.  False, with
 * *TEXT untouched: it may be one or not. */
bool inventory_points_scan(struct inventory_points *points, const char **text);
/* What has become of the log of the log-based point ID: its `log` is now LOG,
 * which stays the caller's.  Nothing for a point that is not there or of
 * another type; -RP_EWIRE: LOG is no PointLog. */
int inventory_points_note_log(struct inventory_points *points,
			      const struct guid *id, json_t *log,
			      struct err *err);
/* A list of snapshots (type Snapshot) likewise, but one of that id is replaced;
 * -RP_ELIMIT: there are SNAPSHOTS_PER_VM_MAX. */
int inventory_snapshots_add(struct inventory_points *snapshots,
			    json_t *snapshot, struct err *err);
/* NULL: there is none of that id. */
const struct inventory_point *
inventory_points_find(const struct inventory_points *points,
		      const struct guid *id);
/* One that is not there is no error. */
void inventory_points_remove(struct inventory_points *points,
			     const struct guid *id);
/* Frees them; none are known then. */
void inventory_points_done(struct inventory_points *points);

#endif
