/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory of one request: handed out in one direction, freed at once.
 *
 * An arena has a budget.  What would exceed it is refused, as is what the
 * system has no memory for; arena_full() makes either an error to return, and
 * a request that met it answers "server limits exceeded".  Nothing aborts.
 * One thread at a time.
 */
#ifndef CIM_ARENA_H
#define CIM_ARENA_H

#include <stdarg.h>
#include <stddef.h>

#include "common/err.h"

struct arena;

/* BUDGET is in bytes, of what is handed out.  NULL if there is no memory. */
struct arena *arena_new(size_t budget);
/* Everything that came from it is invalid after.  NULL is allowed. */
void arena_free(struct arena *arena);
/* Bytes handed out, with padding. */
size_t arena_used(const struct arena *arena);
/* Bytes of the budget that are left. */
size_t arena_left(const struct arena *arena);

/* BYTES of zeros, aligned for every type; never NULL for 0 bytes within the
 * budget.  NULL: see arena_full(). */
void *arena_alloc(struct arena *arena, size_t bytes)
    __attribute__((malloc, alloc_size(2)));
/* COUNT elements of BYTES each; the product is checked. */
void *arena_array(struct arena *arena, size_t count, size_t bytes)
    __attribute__((malloc, alloc_size(2, 3)));
/* A copy of LENGTH bytes with a NUL after them, or of all of TEXT. */
char *arena_copy(struct arena *arena, const void *bytes, size_t length);
char *arena_strdup(struct arena *arena, const char *text);
char *arena_printf(struct arena *arena, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Says that an allocation failed; returns -CIM_ELIMITS. */
int arena_full(const struct arena *arena, struct err *err);

/*
 * Giving back: what was handed out after the mark was taken is invalid after
 * arena_rewind().  For one object after another of a long answer.
 */
struct arena_mark {
	void *chunk;
	size_t chunk_used, used;
};
struct arena_mark arena_mark(const struct arena *arena);
void arena_rewind(struct arena *arena, struct arena_mark mark);

#endif
