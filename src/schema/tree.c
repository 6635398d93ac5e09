/* SPDX-License-Identifier: Apache-2.0 */
/* The compiler's tree: its memory, its errors, and looking things up in it. */
#include "schema/mof.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define BLOCK_BYTES_MIN 65536u
#define ALIGNMENT       16u

struct arena_block {
	struct arena_block *next;
	size_t used;
	size_t bytes;
	_Alignas(ALIGNMENT) unsigned char data[];
};

static struct arena_block *new_block(size_t bytes)
{
	struct arena_block *block;

	if (bytes < BLOCK_BYTES_MIN)
		bytes = BLOCK_BYTES_MIN;
	block = calloc(1, sizeof(*block) + bytes);
	if (!block) {
		fputs("mofc: out of memory\n", stderr);
		exit(EXIT_FAILED);
	}
	block->bytes = bytes;
	return block;
}

void *mof_alloc(struct mof *mof, size_t bytes)
{
	struct arena_block *block = mof->blocks;
	void *p;

	bytes = (bytes + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
	if (!block || block->bytes - block->used < bytes) {
		block = new_block(bytes);
		block->next = mof->blocks;
		mof->blocks = block;
	}
	p = block->data + block->used;
	block->used += bytes;
	return p;
}

char *mof_text(struct mof *mof, const char *text, size_t bytes)
{
	char *copy = mof_alloc(mof, bytes + 1);

	memcpy(copy, text, bytes);
	return copy;
}

void mof_init(struct mof *mof)
{
	memset(mof, 0, sizeof(*mof));
	mof->qualifier_types_end = &mof->qualifier_types;
	mof->classes_end = &mof->classes;
}

void mof_free(struct mof *mof)
{
	struct arena_block *block = mof->blocks;

	while (block) {
		struct arena_block *next = block->next;

		free(block);
		block = next;
	}
	mof_init(mof);
}

int mof_error(struct err *err, const struct mof_pos *pos, const char *fmt, ...)
{
	char text[ERR_TEXT_BYTES];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	return err_set(err, -RP_EPARAM, "%s:%u:%u: %s", pos->file, pos->line,
		       pos->column, text);
}

struct mof_class *mof_find_class(const struct mof *mof, const char *name)
{
	struct mof_class *class = mof->classes;

	while (class && strcasecmp(class->name, name) != 0)
		class = class->next;
	return class;
}

struct mof_qualifier_type *mof_find_qualifier_type(const struct mof *mof,
						   const char *name)
{
	struct mof_qualifier_type *type = mof->qualifier_types;

	while (type && strcasecmp(type->name, name) != 0)
		type = type->next;
	return type;
}

struct mof_qualifier *mof_find_qualifier(struct mof_qualifier *list,
					 const char *name)
{
	while (list && strcasecmp(list->name, name) != 0)
		list = list->next;
	return list;
}

struct mof_member *mof_find_member(struct mof_member *list, const char *name)
{
	while (list && strcasecmp(list->name, name) != 0)
		list = list->next;
	return list;
}

struct mof_member *mof_find_property(const struct mof_class *class,
				     const char *name)
{
	for (unsigned i = 0; i < class->property_count; i++)
		if (strcasecmp(class->properties[i]->name, name) == 0)
			return class->properties[i];
	return NULL;
}

struct mof_method *mof_find_method(const struct mof_class *class,
				   const char *name)
{
	for (unsigned i = 0; i < class->method_count; i++)
		if (strcasecmp(class->methods[i]->name, name) == 0)
			return class->methods[i];
	return NULL;
}

bool mof_is_a(const struct mof_class *class, const struct mof_class *base)
{
	while (class && class != base)
		class = class->superclass;
	return class;
}
