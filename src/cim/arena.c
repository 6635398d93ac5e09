/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chunks in a list, the newest first; each is twice the one before, up to a
 * bound.  What is larger than a chunk gets one of its own.
 */
#include "cim/arena.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cim/status.h"
#include "common/bytes.h"

#define ALIGNMENT       16
#define CHUNK_BYTES     KIB(16)
#define CHUNK_BYTES_MAX KIB(512)

struct chunk {
	struct chunk *older;
	size_t size, used; /* of bytes */
	_Alignas(ALIGNMENT) char bytes[];
};

struct arena {
	struct chunk *newest;
	size_t budget, used;
};

struct arena *arena_new(size_t budget)
{
	struct arena *arena = calloc(1, sizeof(*arena));

	if (arena)
		arena->budget = budget;
	return arena;
}

void arena_free(struct arena *arena)
{
	if (!arena)
		return;
	arena_rewind(arena, (struct arena_mark){0});
	free(arena);
}

size_t arena_used(const struct arena *arena)
{
	return arena->used;
}

size_t arena_left(const struct arena *arena)
{
	return arena->budget - arena->used;
}

static struct chunk *add_chunk(struct arena *arena, size_t bytes)
{
	size_t size = arena->newest ? arena->newest->size * 2 : CHUNK_BYTES;
	struct chunk *chunk;

	size = MIN(size, (size_t)CHUNK_BYTES_MAX);
	size = MAX(size, bytes);
	chunk = malloc(sizeof(*chunk) + size);
	if (!chunk)
		return NULL;
	chunk->older = arena->newest;
	chunk->size = size;
	chunk->used = 0;
	arena->newest = chunk;
	return chunk;
}

/* BYTES that are not zeroed. */
static char *take(struct arena *arena, size_t bytes)
{
	struct chunk *chunk = arena->newest;
	char *p;

	if (bytes > arena->budget - arena->used)
		return NULL;
	bytes = MAX((size_t)round_up(bytes, ALIGNMENT), (size_t)ALIGNMENT);
	if (bytes > arena->budget - arena->used)
		return NULL;
	if (!chunk || bytes > chunk->size - chunk->used)
		chunk = add_chunk(arena, bytes);
	if (!chunk)
		return NULL;
	p = chunk->bytes + chunk->used;
	chunk->used += bytes;
	arena->used += bytes;
	return p;
}

void *arena_alloc(struct arena *arena, size_t bytes)
{
	char *p = take(arena, bytes);

	return p ? memset(p, 0, bytes) : NULL;
}

void *arena_array(struct arena *arena, size_t count, size_t bytes)
{
	size_t product;

	if (__builtin_mul_overflow(count, bytes, &product))
		return NULL;
	return arena_alloc(arena, product);
}

char *arena_copy(struct arena *arena, const void *bytes, size_t length)
{
	char *p = length < SIZE_MAX ? take(arena, length + 1) : NULL;

	if (!p)
		return NULL;
	if (length > 0)
		memcpy(p, bytes, length);
	p[length] = '\0';
	return p;
}

char *arena_strdup(struct arena *arena, const char *text)
{
	return arena_copy(arena, text, strlen(text));
}

char *arena_printf(struct arena *arena, const char *fmt, ...)
{
	char *p = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n >= 0)
		p = take(arena, (size_t)n + 1);
	if (!p)
		return NULL;
	va_start(ap, fmt);
	(void)vsnprintf(p, (size_t)n + 1, fmt, ap);
	va_end(ap);
	return p;
}

int arena_full(const struct arena *arena, struct err *err)
{
	return err_set(err, -CIM_ELIMITS,
		       "the request takes more than its %zu bytes of memory",
		       arena->budget);
}

struct arena_mark arena_mark(const struct arena *arena)
{
	struct chunk *chunk = arena->newest;

	return (struct arena_mark){.chunk = chunk,
				   .chunk_used = chunk ? chunk->used : 0,
				   .used = arena->used};
}

void arena_rewind(struct arena *arena, struct arena_mark mark)
{
	while (arena->newest != mark.chunk) {
		struct chunk *chunk = arena->newest;

		arena->newest = chunk->older;
		free(chunk);
	}
	if (arena->newest)
		arena->newest->used = mark.chunk_used;
	arena->used = mark.used;
}
