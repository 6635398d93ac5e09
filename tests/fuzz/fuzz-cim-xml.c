/* SPDX-License-Identifier: Apache-2.0 */
/*
 * XML from a client.  The first byte says how it is parsed: 1 with namespaces,
 * 2 a DOCTYPE is skipped, 4 the rest is the text of an embedded instance.
 *
 * Checked besides memory: a tree that is written parses to the same tree; each
 * path and each instance that is found in it survives being written and read.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cim/codec.h"
#include "cim/status.h"
#include "common/limits.h"
#include "fuzz.h"

#define NAMESPACES 1
#define DOCTYPE    2
#define EMBEDDED   4

static struct arena *arena;

static char *finished(struct xml_out *out)
{
	char *bytes = NULL;
	size_t length = 0;

	CHECK(xml_finish(out, &bytes, &length, NULL) == 0);
	CHECK(strlen(bytes) == length);
	return bytes;
}

static const struct xml_node *parsed(const char *text)
{
	const struct xml_options options = {0};
	const struct xml_node *root = NULL;

	CHECK(xml_parse(arena, text, strlen(text), &options, &root, NULL) == 0);
	return root;
}

/* ---- trees -------------------------------------------------------------- */

static void write_tree(struct xml_out *out, const struct xml_node *node)
{
	xml_open(out, node->name);
	for (uint32_t i = 0; i < node->attribute_count; i++)
		xml_put_attribute(out, node->attributes[i].name,
				  node->attributes[i].value);
	xml_put_bytes(out, node->text, node->text_length);
	for (const struct xml_node *n = node->first; n; n = n->next)
		write_tree(out, n);
	xml_close(out);
}

static void same_tree(const struct xml_node *a, const struct xml_node *b)
{
	const struct xml_node *x = a->first, *y = b->first;

	CHECK(strcmp(a->name, b->name) == 0 && strcmp(a->text, b->text) == 0);
	CHECK(a->attribute_count == b->attribute_count);
	for (uint32_t i = 0; i < a->attribute_count; i++)
		CHECK(strcmp(a->attributes[i].value, b->attributes[i].value) ==
		      0);
	for (; x && y; x = x->next, y = y->next)
		same_tree(x, y);
	CHECK(!x && !y);
}

/* expat allows some letters in UTF-16 that it does not in UTF-8. */
static bool has_plain_names(const struct xml_node *node)
{
	bool plain = true;

	for (const char *p = node->name; *p; p++)
		plain = plain && *p > 0;
	for (uint32_t i = 0; i < node->attribute_count; i++)
		for (const char *p = node->attributes[i].name; *p; p++)
			plain = plain && *p > 0;
	for (const struct xml_node *n = node->first; n && plain; n = n->next)
		plain = has_plain_names(n);
	return plain;
}

static void rewrite(const struct xml_node *root)
{
	struct xml_out out;
	char *text;

	if (!has_plain_names(root))
		return;
	xml_init(&out, CIM_REQUEST_MEMORY, true);
	write_tree(&out, root);
	text = finished(&out);
	same_tree(root, parsed(text));
	free(text);
}

/* ---- what it may hold --------------------------------------------------- */

static void take_path(const struct xml_node *node)
{
	const struct cim_path *path = NULL, *again = NULL;
	const char *text;
	char *first, *second;
	struct xml_out out;

	if (codec_get_path(arena, node, &path, NULL) < 0)
		return;
	xml_init(&out, CIM_REQUEST_MEMORY, true);
	codec_put_path(&out, path);
	first = finished(&out);
	CHECK(codec_get_path(arena, parsed(first), &again, NULL) == 0);
	xml_init(&out, CIM_REQUEST_MEMORY, true);
	codec_put_path(&out, again);
	second = finished(&out);
	CHECK(strcmp(first, second) == 0);
	(void)cim_path_format(arena, path, &text, NULL);
	(void)cim_path_equal(path, again);
	free(first);
	free(second);
}

static void take_instance(const struct cim_instance *instance)
{
	struct cim_instance *again = NULL;
	const char *first = NULL, *second = NULL;
	int r;

	CHECK(codec_instance_text(arena, instance, &first, NULL) == 0);
	r = codec_read_instance(arena, NULL, first, strlen(first),
				instance->class, &again, NULL);
	if (strlen(first) > CIM_XML_TEXT_MAX / 2)
		return; /* what is escaped again and again may pass a bound */
	CHECK(r == 0);
	CHECK(codec_instance_text(arena, again, &second, NULL) == 0);
	CHECK(strcmp(first, second) == 0);
}

static void take_values(const struct xml_node *node)
{
	const struct schema_type types[] = {
	    {.base = CIM_STRING},
	    {.base = CIM_STRING, .array = true, .array_max = 3},
	    {.base = CIM_UINT16, .array = true},
	    {.base = CIM_REAL64},
	    {.base = CIM_DATETIME},
	    {.base = CIM_CHAR16},
	    {.base = CIM_REFERENCE, .array = true},
	    {.base = CIM_STRING, .array = true, .embedded_object = true},
	};

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		struct cim_value value = {0};

		if (codec_get_value(arena, NULL, node, &types[i], &value,
				    NULL) < 0)
			continue;
		CHECK(cim_value_fits(&value, &types[i]));
		CHECK(value.is_null || types[i].base == CIM_REAL64 ||
		      value.base == CIM_REFERENCE ||
		      cim_value_equal(&value, &value));
	}
}

static void take_node(const struct xml_node *node, unsigned *budget)
{
	struct cim_instance *instance = NULL;

	if (*budget == 0)
		return;
	--*budget;
	take_path(node);
	take_values(node);
	if (codec_get_instance(arena, NULL, node, NULL, &instance, NULL) == 0)
		take_instance(instance);
	for (const struct xml_node *n = node->first; n; n = n->next)
		take_node(n, budget);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cim_instance *instance = NULL;
	const struct xml_node *root = NULL;
	struct xml_options options = {0};
	unsigned budget = 64;

	if (size == 0)
		return 0;
	arena = arena_new(16 * CIM_REQUEST_MEMORY);
	CHECK(arena);
	options.namespaces = data[0] & NAMESPACES;
	options.skip_doctype = data[0] & DOCTYPE;
	if (data[0] & EMBEDDED) {
		if (codec_read_instance(arena, NULL, (const char *)data + 1,
					size - 1, NULL, &instance, NULL) == 0)
			take_instance(instance);
	} else if (xml_parse(arena, data + 1, size - 1, &options, &root,
			     NULL) == 0) {
		if (!options.namespaces)
			rewrite(root);
		take_node(root, &budget);
	}
	arena_free(arena);
	return 0;
}
