/* SPDX-License-Identifier: Apache-2.0 */
/* The tree of a condition, between wql-parse.c and wql.c. */
#ifndef CIM_WQL_TERM_H
#define CIM_WQL_TERM_H

#include "cim/wql.h"

enum wql_op {
	WQL_AND,
	WQL_OR,
	WQL_NOT, /* left alone */
	WQL_EQ,
	WQL_NE,
	WQL_LT,
	WQL_LE,
	WQL_GT,
	WQL_GE,
	WQL_LIKE,
	WQL_ISA,
	WQL_IS_NULL,
};

enum wql_literal {
	WQL_TEXT,
	WQL_NUMBER,
	WQL_BOOLEAN,
};

/* What a term is about besides the properties. */
enum wql_subject {
	WQL_PROPERTY,
	WQL_CLASS, /* __CLASS: the instance's own class's name */
	WQL_THIS,  /* __THIS: the instance itself; ISA only */
};

struct wql_term {
	enum wql_op op;
	struct wql_term *left, *right; /* of AND, OR, NOT */
	enum wql_subject subject;
	const char *property;
	enum wql_literal literal;
	const char *text; /* the literal, as written, unescaped */
	/* By wql_bind(): */
	uint32_t index; /* of the property */
	enum cim_type base;
	bool embedded;
	union cim_scalar value; /* the literal as the property's type */
	struct cim_instant instant;
	const struct schema_class *isa; /* NULL: no such class; false */
};

#endif
