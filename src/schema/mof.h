/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The MOF compiler: text in, a checked tree out.
 *
 * Reads the subset of MOF 2 (DSP0004) that a schema needs: the pragmas
 * namespace and include, qualifier declarations, classes and associations with
 * properties, references, methods and parameters.  No instances, no aliases.
 *
 *  mof_read     lex.c, parse.c     text -> tree, names unresolved
 *  mof_check    check*.c           names resolved, inheritance flattened
 *  mof_tables   emit.c             -> C for schema.h
 *  mof_manual   manual.c           -> POD
 *
 * M1  All memory belongs to the tree and goes with mof_free().  Where there is
 *     none the program ends: this is a tool of the build.
 * M2  An error names file, line, column, and what was expected; the first one
 *     ends the work.
 * M3  A superclass is declared before its subclasses, so that no class can
 *     derive from itself.
 * M4  A file that is included under a second namespace is not read again: its
 *     classes then live in both.
 */
#ifndef SCHEMA_MOF_H
#define SCHEMA_MOF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/err.h"
#include "schema/schema.h"

#define MOF_FILE_BYTES_MAX  1048576u
#define MOF_FILES_MAX       64
#define MOF_INCLUDE_DEPTH   4
#define MOF_NAMESPACES_MAX  32
#define MOF_CLASSES_MAX     1024
#define MOF_INHERITANCE_MAX 16
#define MOF_MEMBERS_MAX     512  /* of a class, inherited ones included */
#define MOF_PARAMETERS_MAX  32   /* of a method */
#define MOF_QUALIFIERS_MAX  32   /* of one element, inherited included */
#define MOF_ITEMS_MAX       512  /* of an array */
#define MOF_TEXT_BYTES_MAX  4000 /* of a string, after concatenation */
#define MOF_NAME_BYTES_MAX  128

struct mof_pos {
	const char *file;
	unsigned line;
	unsigned column; /* in bytes, from 1 */
};

enum mof_literal_kind {
	MOF_NULL,
	MOF_BOOLEAN,
	MOF_INTEGER,
	MOF_REAL,
	MOF_CHAR, /* magnitude is the code point */
	MOF_TEXT,
};

struct mof_literal {
	struct mof_literal *next;
	struct mof_pos pos;
	enum mof_literal_kind kind;
	bool negative; /* of MOF_INTEGER */
	bool boolean;
	uint64_t magnitude;
	double real;
	const char *text;
};

struct mof_value {
	bool given; /* else there is none, and all else is zero */
	bool array;
	unsigned count; /* of items; a scalar has one, NULL may be it */
	struct mof_literal *items;
	struct mof_pos pos;
};

struct mof_qualifier_type {
	struct mof_qualifier_type *next;
	const char *name;
	struct mof_pos pos;
	enum cim_type base;
	bool array;
	struct mof_value value;
	unsigned scope;
	unsigned flavor;
	unsigned index;
};

struct mof_qualifier {
	struct mof_qualifier *next;
	const char *name;
	struct mof_pos pos;
	struct mof_value value; /* after the check always given */
	unsigned flavor_on;     /* as written here */
	unsigned flavor_off;
	/* From the check: */
	const struct mof_qualifier_type *type;
	unsigned flavor;
	bool propagated;
};

struct mof_class;

/* A property, a reference or a parameter. */
struct mof_member {
	struct mof_member *next;
	const char *name;
	struct mof_pos pos;
	enum cim_type base;
	const char *ref_name; /* of CIM_REFERENCE */
	bool array;
	uint32_t array_max;
	struct mof_value value;
	struct mof_qualifier *qualifiers; /* after the check: those in force */
	/* From the check: */
	struct mof_class *ref;
	struct mof_class *embedded;
	bool embedded_object;
	uint32_t max_len;
	bool key, read, write;
	bool in, out;
	struct mof_class *origin;
	struct mof_class *declarer;
	unsigned id; /* of a property: in the tables */
};

struct mof_method {
	struct mof_method *next;
	const char *name;
	struct mof_pos pos;
	enum cim_type result;
	struct mof_member *parameters;
	struct mof_qualifier *qualifiers;
	struct mof_class *origin;
	struct mof_class *declarer;
	unsigned id;
};

struct mof_class {
	struct mof_class *next; /* in the order of declaration */
	const char *name;
	struct mof_pos pos;
	const char *super_name; /* or NULL */
	struct mof_pos super_pos;
	uint32_t namespaces;
	struct mof_qualifier *qualifiers;
	struct mof_member *own_properties;
	struct mof_method *own_methods;
	/* From the check: */
	struct mof_class *superclass;
	unsigned depth;
	bool association, abstract;
	struct mof_member **properties; /* inherited first */
	unsigned property_count;
	struct mof_method **methods;
	unsigned method_count;
	unsigned index, end; /* as in struct schema_class */
};

struct mof_file {
	const char *name;
	/* The classes that it declares, and which files it includes. */
	struct mof_class *first_class;
	struct mof_class *last_class;
	struct mof_file *includes[MOF_FILES_MAX];
	unsigned include_count;
	uint32_t namespaces; /* under which it was included */
	bool reading;
};

struct arena_block;

struct mof {
	struct arena_block *blocks;
	struct mof_qualifier_type *qualifier_types;
	struct mof_qualifier_type **qualifier_types_end;
	unsigned qualifier_type_count;
	struct mof_class *classes;
	struct mof_class **classes_end;
	unsigned class_count;
	struct mof_class **by_index; /* from the check: class_count of them */
	const char *namespaces[MOF_NAMESPACES_MAX];
	unsigned namespace_count;
	struct mof_file files[MOF_FILES_MAX];
	unsigned file_count;
};

/* How the compiler comes by the text of a file.  NAME is as given to mof_read()
 * or in `#pragma include`.  The text need not end with a NUL, belongs to the
 * caller, and is not used after mof_read() returned. */
struct mof_reader {
	int (*read)(void *ctx, const char *name, const char **ret_text,
		    size_t *ret_bytes, struct err *err);
	void *ctx;
};

void mof_init(struct mof *mof);
void mof_free(struct mof *mof);

/* Reads NAME and what it includes into MOF.  0, or negative. */
int mof_read(struct mof *mof, const struct mof_reader *reader, const char *name,
	     struct err *err);

/* Resolves and checks what was read.  0, or negative. */
int mof_check(struct mof *mof, struct err *err);

/* Write a checked tree to OUT.  0, or -EIO. */
int mof_tables(const struct mof *mof, FILE *out);
int mof_manual(const struct mof *mof, FILE *out);

/* NULL if there is none; without case. */
struct mof_class *mof_find_class(const struct mof *mof, const char *name);
struct mof_qualifier_type *mof_find_qualifier_type(const struct mof *mof,
						   const char *name);
struct mof_qualifier *mof_find_qualifier(struct mof_qualifier *list,
					 const char *name);
struct mof_member *mof_find_member(struct mof_member *list, const char *name);
/* Of an array as in struct mof_class. */
struct mof_member *mof_find_property(const struct mof_class *class,
				     const char *name);
struct mof_method *mof_find_method(const struct mof_class *class,
				   const char *name);
bool mof_is_a(const struct mof_class *class, const struct mof_class *base);

/* Zeroed memory that lasts as long as MOF; never NULL. */
void *mof_alloc(struct mof *mof, size_t bytes);
char *mof_text(struct mof *mof, const char *text, size_t bytes);

/* "FILE:LINE:COLUMN: ..."; returns -RP_EPARAM. */
int mof_error(struct err *err, const struct mof_pos *pos, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
