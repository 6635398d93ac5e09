/* SPDX-License-Identifier: Apache-2.0 */
/* Compiles a text that a test holds in memory. */
#ifndef SCHEMA_TEST_MOF_SCENE_H
#define SCHEMA_TEST_MOF_SCENE_H

#include "schema/mof.h"

struct scene_file {
	const char *name;
	const char *text;
};

struct scene {
	struct mof mof;
	struct err err;
	const struct scene_file *files; /* up to one without a name */
	char *tables;                   /* what mof_tables() wrote */
	char *manual;
};

/* The qualifiers that scene_compile() includes first, as "q.mof". */
extern const char scene_qualifiers[];

/* Compiles TEXT as "t.mof" in the namespace "root/a", after the qualifiers.
 * What mof_read() or mof_check() returned. */
int scene_compile(struct scene *scene, const char *text);
/* Compiles the first of FILES, which may include the rest. */
int scene_compile_files(struct scene *scene, const struct scene_file *files);
/* Fills scene->tables and scene->manual. */
void scene_write(struct scene *scene);
void scene_end(struct scene *scene);

#endif
