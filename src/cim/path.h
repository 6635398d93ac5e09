/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Object paths: which object, wherever the words come from.
 *
 *	\\HOST\root\virtualization\v2:Class.Key="a \"b\"",Key2=7
 *
 * also without the host, without the namespace, with `/` for `\`, with single
 * quotes.  `Class="v"` leaves the only key's name out, `Class=@` says that the
 * class has none, and `Class` alone names the class itself.
 *
 * O1  A host is a word to compare; nothing is ever connected to or resolved.
 * O2  Keys have no types until cim_path_bind() holds them against a class.
 */
#ifndef CIM_PATH_H
#define CIM_PATH_H

#include "cim/value.h"

enum cim_key_kind {
	CIM_KEY_STRING,
	CIM_KEY_NUMBER,  /* text: as it came, decimal or 0x hex */
	CIM_KEY_BOOLEAN, /* text: "TRUE" or "FALSE" */
	CIM_KEY_REFERENCE,
};

struct cim_key {
	const char *name; /* "": the only one, by a path without names */
	enum cim_key_kind kind;
	const char *text;           /* of all kinds but CIM_KEY_REFERENCE */
	const struct cim_path *ref; /* of CIM_KEY_REFERENCE */
};

struct cim_path {
	const char *host; /* or NULL */
	const char *ns;   /* "root/virtualization/v2", with `/`; or NULL */
	const char *class_name;
	bool is_class; /* names a class; no keys */
	uint32_t key_count;
	const struct cim_key *keys; /* in any order */
};

/* Reads the text form.  Bounded by CIM_PATH_BYTES_MAX, CIM_KEYS_MAX and
 * CIM_PATH_DEPTH_MAX.  -CIM_EPARAMETER, or -CIM_ELIMITS. */
int cim_path_parse(struct arena *arena, const char *text,
		   const struct cim_path **ret_path, struct err *err);
/* Writes it, with the host and the namespace that PATH has. */
int cim_path_format(struct arena *arena, const struct cim_path *path,
		    const char **ret_text, struct err *err);

/*
 * Whether both name the same object.  Names, namespaces and hosts compare
 * without case; what one of them lacks (host, namespace) is not compared, nor
 * are the hosts `.` and `localhost`.  Key values compare exactly, numbers as
 * numbers, references as paths (also against their text).
 */
bool cim_path_equal(const struct cim_path *a, const struct cim_path *b);
/* Likewise, of keys, whatever their names. */
bool cim_key_equal(const struct cim_key *a, const struct cim_key *b);
bool cim_namespace_equal(const char *a, const char *b);

/* The key of that name, without case; NULL if there is none. */
const struct cim_key *cim_path_key(const struct cim_path *path,
				   const char *name);
/* Its text; NULL if there is none, or if it is a reference. */
const char *cim_path_text(const struct cim_path *path, const char *name);

/*
 * Holds an instance's path against CLASS: all keys are there, each once and of
 * its type, and no others.  The result has them in the class's order, under
 * the schema's names, with text that is a path as CIM_KEY_REFERENCE.
 * -CIM_ESELECTORFEW, -CIM_ESELECTORUNKNOWN, -CIM_ESELECTORTWICE,
 * -CIM_ESELECTORVALUE.
 */
int cim_path_bind(struct arena *arena, const struct cim_path *path,
		  const struct schema_class *class,
		  const struct cim_path **ret_path, struct err *err);

/* A copy in ARENA that nothing else has to outlive. */
int cim_path_copy(struct arena *arena, const struct cim_path *path,
		  const struct cim_path **ret_path, struct err *err);

/* Making one: N_KEYS pairs of name and string value. */
int cim_path_make(struct arena *arena, const char *host, const char *ns,
		  const char *class_name, uint32_t n_keys,
		  const char *const (*keys)[2],
		  const struct cim_path **ret_path, struct err *err);

#endif
