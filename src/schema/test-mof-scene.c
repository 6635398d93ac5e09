/* SPDX-License-Identifier: Apache-2.0 */
#include "schema/test-mof-scene.h"

#include <stdlib.h>
#include <string.h>

const char scene_qualifiers[] =
    "Qualifier Abstract : boolean = false, Scope(class, association),\n"
    "  Flavor(EnableOverride, Restricted);\n"
    "Qualifier Association : boolean = false, Scope(association),\n"
    "  Flavor(DisableOverride, ToSubclass);\n"
    "Qualifier Description : string = null, Scope(any),\n"
    "  Flavor(EnableOverride, ToSubclass, Translatable);\n"
    "Qualifier EmbeddedInstance : string, Scope(property, parameter);\n"
    "Qualifier EmbeddedObject : boolean = false, Scope(property, parameter);\n"
    "Qualifier In : boolean = true, Scope(parameter);\n"
    "Qualifier Key : boolean = false, Scope(property, reference),\n"
    "  Flavor(DisableOverride, ToSubclass);\n"
    "Qualifier MaxLen : uint32 = null, Scope(property, parameter);\n"
    "Qualifier MaxValue : sint64 = null, Scope(property);\n"
    "Qualifier Out : boolean = false, Scope(parameter);\n"
    "Qualifier Override : string = null, Scope(property, reference, method),\n"
    "  Flavor(EnableOverride, Restricted);\n"
    "Qualifier Read : boolean = true, Scope(property);\n"
    "Qualifier Required : boolean = false, Scope(property),\n"
    "  Flavor(DisableOverride, ToSubclass);\n"
    "Qualifier Revision : string = \"1\", Scope(class);\n"
    "Qualifier ValueMap : string[], Scope(property, method, parameter);\n"
    "Qualifier Values : string[], Scope(property, method, parameter);\n"
    "Qualifier Write : boolean = false, Scope(property);\n";

static int read_memory(void *ctx, const char *name, const char **ret_text,
		       size_t *ret_bytes, struct err *err)
{
	const struct scene *scene = ctx;
	const struct scene_file *file = scene->files;

	while (file->name && strcmp(file->name, name) != 0)
		file++;
	if (!file->name)
		return err_set(err, -ENOENT, "open '%s'", name);
	*ret_text = file->text;
	*ret_bytes = strlen(file->text);
	return 0;
}

int scene_compile_files(struct scene *scene, const struct scene_file *files)
{
	struct mof_reader reader = {read_memory, scene};
	int rc;

	memset(scene, 0, sizeof(*scene));
	scene->files = files;
	mof_init(&scene->mof);
	rc = mof_read(&scene->mof, &reader, files[0].name, &scene->err);
	if (rc == 0)
		rc = mof_check(&scene->mof, &scene->err);
	return rc;
}

int scene_compile(struct scene *scene, const char *text)
{
	const struct scene_file files[] = {{"main.mof",
					    "#pragma namespace (\"root/a\")\n"
					    "#pragma include (\"q.mof\")\n"
					    "#pragma include (\"t.mof\")\n"},
					   {"q.mof", scene_qualifiers},
					   {"t.mof", text},
					   {NULL, NULL}};

	return scene_compile_files(scene, files);
}

static char *written(const struct mof *mof,
		     int (*write)(const struct mof *, FILE *))
{
	char *text = NULL;
	size_t bytes;
	FILE *out = open_memstream(&text, &bytes);

	if (!out || write(mof, out) < 0 || fclose(out) != 0)
		abort();
	return text;
}

void scene_write(struct scene *scene)
{
	scene->tables = written(&scene->mof, mof_tables);
	scene->manual = written(&scene->mof, mof_manual);
}

void scene_end(struct scene *scene)
{
	mof_free(&scene->mof);
	free(scene->tables);
	free(scene->manual);
}
