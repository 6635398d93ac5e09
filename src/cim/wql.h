/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queries that clients send, in WQL (CQL's SELECT alike):
 *
 *	SELECT * | property, ... FROM class [WHERE condition]
 *	ASSOCIATORS OF {path} [WHERE AssocClass = c ResultClass = c Role = n
 *		ResultRole = n ClassDefsOnly ...]
 *	REFERENCES OF {path} [WHERE ResultClass = c Role = n ...]
 *
 * Conditions: = <> != < <= > >= LIKE, IS [NOT] NULL, ISA, AND, OR, NOT and
 * parentheses.  Keywords and names are without case, as are strings when they
 * are compared (WMI's rule).
 *
 * Q1  Length, terms and depth are bounded (common/limits.h).
 * Q2  A comparison with NULL is neither true nor false; NOT of it neither.
 * Q3  A query of a class works on instances of its subclasses.
 */
#ifndef CIM_WQL_H
#define CIM_WQL_H

#include "cim/instance.h"
#include "cim/path.h"

enum wql_kind {
	WQL_SELECT,
	WQL_ASSOCIATORS,
	WQL_REFERENCES,
};

struct wql_term;

struct wql_query {
	enum wql_kind kind;
	/* WQL_SELECT */
	const char *class_name;
	const char *const *properties; /* as written */
	uint32_t property_count;       /* 0: all of them */
	struct wql_term *where;        /* or NULL */
	/* The other two; a class or role is NULL if it was not named. */
	const struct cim_path *object;
	const char *assoc_class, *result_class, *role, *result_role;
	bool class_defs_only; /* names of classes are asked for */
};

/* -CIM_EQUERY with what was expected where, or -CIM_ELIMITS. */
int wql_parse(struct arena *arena, const char *text,
	      struct wql_query **ret_query, struct err *err);

/* Holds a SELECT against the class of its FROM: every property is there, every
 * literal is of its type.  -CIM_EQUERY.  Before wql_match(). */
int wql_bind(struct arena *arena, struct wql_query *query,
	     const struct schema_class *class, struct err *err);
/* Whether INSTANCE, of the bound class or of a subclass, meets the condition.
 */
bool wql_match(const struct wql_query *query,
	       const struct cim_instance *instance);

/*
 * The cheap path: the text that the string property NAME must have for the
 * condition to hold, or NULL if the condition does not pin it to one.  A bound
 * query only.  As strings compare without case, what is looked up so must be,
 * too; wql_match() still decides.
 */
const char *wql_pinned(const struct wql_query *query, const char *name);

/* SQL's LIKE without case: % any text, _ one character, [a-z], [^a-z]. */
bool wql_like(const char *text, const char *pattern);

#endif
