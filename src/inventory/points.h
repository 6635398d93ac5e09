/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The points of one virtual system as its worker told them: type Point of the
 * interface, each checked once and kept as text, which is all that is done with
 * them here.
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
/* One that is not there is no error. */
void inventory_points_remove(struct inventory_points *points,
			     const struct guid *id);
/* Frees them; none are known then. */
void inventory_points_done(struct inventory_points *points);

#endif
