/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The MOF compiler.  The input is the first file; where it includes "q" it
 * gets the qualifiers that its tests use, and for any other name a file with
 * one class.
 *
 * Checked besides memory: whatever is refused says where, whatever is taken
 * can be written, and in its tree a class has its superclass's members.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "schema/test-mof-scene.h"

struct input {
	const char *text;
	size_t bytes;
};

static int read_input(void *ctx, const char *name, const char **ret_text,
		      size_t *ret_bytes, struct err *err)
{
	static const char other[] = "class Included { uint8 N; };\n";
	const struct input *input = ctx;

	if (strcmp(name, "input") == 0) {
		*ret_text = input->text;
		*ret_bytes = input->bytes;
		return 0;
	}
	*ret_text = strcmp(name, "q") == 0 ? scene_qualifiers : other;
	*ret_bytes = strlen(*ret_text);
	return 0;
}

static void check_class(const struct mof *mof, const struct mof_class *c)
{
	const struct mof_class *super = c->superclass;

	CHECK(mof->by_index[c->index] == c);
	CHECK(c->index < c->end && c->end <= mof->class_count);
	CHECK(c->namespaces != 0);
	if (!super)
		return;
	CHECK(super->index < c->index && c->end <= super->end);
	CHECK((c->namespaces & ~super->namespaces) == 0);
	CHECK(c->property_count >= super->property_count);
	CHECK(c->method_count >= super->method_count);
	for (unsigned i = 0; i < super->property_count; i++) {
		CHECK(c->properties[i]->base == super->properties[i]->base);
		CHECK(c->properties[i]->origin == super->properties[i]->origin);
		CHECK(c->properties[i]->key == super->properties[i]->key ||
		      c->properties[i]->key);
	}
}

static void check_written(const struct mof *mof,
			  int (*write)(const struct mof *, FILE *))
{
	char *text = NULL;
	size_t bytes;
	FILE *out = open_memstream(&text, &bytes);

	CHECK(out && write(mof, out) == 0);
	CHECK(fclose(out) == 0);
	CHECK(strlen(text) == bytes);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct mof mof;
	struct input input = {(const char *)data, size};
	struct mof_reader reader = {read_input, &input};
	struct err err = {0};
	int rc;

	mof_init(&mof);
	rc = mof_read(&mof, &reader, "input", &err);
	if (rc == 0)
		rc = mof_check(&mof, &err);
	CHECK(rc == 0 || (rc == -RP_EPARAM && strchr(err.text, ':')));
	for (unsigned i = 0; rc == 0 && i < mof.class_count; i++)
		check_class(&mof, mof.by_index[i]);
	if (rc == 0) {
		check_written(&mof, mof_tables);
		check_written(&mof, mof_manual);
	}
	mof_free(&mof);
	return 0;
}
