/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Short texts from a client.  The first byte says what the rest is: an object
 * path, a query, or a value of the type with that number.
 *
 * Checked besides memory: what is read, written and read again is the same;
 * a query that was bound can be matched and asked for what it pins.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cim/status.h"
#include "cim/wql.h"
#include "common/limits.h"
#include "fuzz.h"

#define PATH  'p'
#define QUERY 'q'

static struct arena *arena;

static void take_path(const char *text)
{
	const struct cim_path *path = NULL, *again = NULL, *bound = NULL;
	const char *first = NULL, *second = NULL;
	const struct schema_class *class;

	if (cim_path_parse(arena, text, &path, NULL) < 0)
		return;
	CHECK(cim_path_format(arena, path, &first, NULL) == 0);
	if (cim_path_parse(arena, first, &again, NULL) < 0) {
		CHECK(strlen(first) > CIM_PATH_BYTES_MAX);
		return;
	}
	CHECK(cim_path_format(arena, again, &second, NULL) == 0);
	CHECK(strcmp(first, second) == 0);
	class = schema_find_class(NULL, path->class_name);
	if (!class || cim_path_bind(arena, path, class, &bound, NULL) < 0)
		return;
	CHECK(bound->key_count == class->key_count);
	CHECK(cim_path_equal(bound, bound));
	CHECK(cim_path_equal(bound, path) && cim_path_equal(path, bound));
	(void)cim_path_format(arena, bound, &first, NULL);
}

static void take_query(const char *text)
{
	struct wql_query *query = NULL;
	const struct schema_class *class;
	struct cim_instance *instance = NULL;

	if (wql_parse(arena, text, &query, NULL) < 0)
		return;
	if (query->kind != WQL_SELECT) {
		CHECK(query->object);
		return;
	}
	class = schema_find_class(NULL, query->class_name);
	if (!class || wql_bind(arena, query, class, NULL) < 0)
		return;
	for (unsigned defaults = 0; defaults < 2; defaults++) {
		CHECK(cim_instance_new(arena, class, defaults, &instance,
				       NULL) == 0);
		(void)wql_match(query, instance);
	}
	for (uint32_t i = 0; i < class->property_count; i++) {
		const char *name = class->properties[i]->name;
		const char *pinned = wql_pinned(query, name);

		if (class->properties[i]->type.base != CIM_STRING) {
			CHECK(!pinned);
			continue;
		}
		(void)cim_instance_set(instance, name, cim_string("x"), NULL);
		/* The condition needs what it pins. */
		CHECK(!pinned || strcasecmp(pinned, "x") == 0 ||
		      class->properties[i]->type.array ||
		      !wql_match(query, instance));
	}
}

static void take_value(enum cim_type base, const char *text)
{
	union cim_scalar scalar = {0}, again = {0};
	char one[CIM_SCALAR_BYTES], two[CIM_SCALAR_BYTES];
	const char *first;
	size_t length;

	if (cim_scalar_parse(arena, base, text, &scalar, NULL) < 0 ||
	    base == CIM_REFERENCE)
		return;
	first = cim_scalar_text(base, &scalar, one, &length);
	CHECK(strlen(first) == length);
	/* A control character is written as what XML can hold. */
	CHECK(cim_scalar_parse(arena, base, first, &again, NULL) == 0);
	CHECK(strcmp(first, cim_scalar_text(base, &again, two, NULL)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;

	if (size == 0)
		return 0;
	arena = arena_new(CIM_REQUEST_MEMORY);
	CHECK(arena);
	text = arena_copy(arena, data + 1, size - 1);
	if (text && data[0] == PATH)
		take_path(text);
	else if (text && data[0] == QUERY)
		take_query(text);
	else if (text && data[0] <= CIM_REFERENCE)
		take_value((enum cim_type)data[0], text);
	arena_free(arena);
	return 0;
}
