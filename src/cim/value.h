/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values of CIM's types, and their text.
 *
 * V1  NULL is apart from empty: a NULL value has no items, an array without
 *     items is not NULL, "" is a string.
 * V2  Text is UTF-8 without NUL; what a value points to belongs to an arena, or
 *     to the schema, and outlives the value.
 * V3  A string that holds an instance (EmbeddedInstance) is kept as the
 *     instance: `embedded` is set and the items' `instance` counts.
 */
#ifndef CIM_VALUE_H
#define CIM_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cim/arena.h"
#include "schema/schema.h"

struct cim_path;
struct cim_instance;

/* One item; which member counts depends on the base type. */
union cim_scalar {
	bool boolean;
	uint64_t uint;                       /* CIM_UINT*, CIM_CHAR16 */
	int64_t sint;                        /* CIM_SINT* */
	double real;                         /* CIM_REAL* */
	const char *text;                    /* CIM_STRING, CIM_DATETIME */
	const struct cim_path *ref;          /* CIM_REFERENCE */
	const struct cim_instance *instance; /* CIM_STRING, embedded */
};

struct cim_value {
	enum cim_type base;
	bool array;
	bool is_null;
	bool embedded;
	uint32_t count; /* items: 1 for a scalar, 0 if NULL */
	union {
		union cim_scalar one;          /* if not array */
		const union cim_scalar *items; /* if array */
	};
};

/* Making them. */
struct cim_value cim_null(enum cim_type base, bool array);
struct cim_value cim_boolean(bool boolean);
struct cim_value cim_uint(enum cim_type base, uint64_t uint);
struct cim_value cim_sint(enum cim_type base, int64_t sint);
struct cim_value cim_real(enum cim_type base, double real);
/* TEXT NULL: a NULL string.  Not copied. */
struct cim_value cim_string(const char *text);
struct cim_value cim_datetime(const char *text);
struct cim_value cim_reference(const struct cim_path *path);
struct cim_value cim_embedded(const struct cim_instance *instance);
/* An array whose items the caller keeps. */
struct cim_value cim_array(enum cim_type base, const union cim_scalar *items,
			   uint32_t count);
/* Copies the array, not the strings; 0 or -CIM_ELIMITS. */
int cim_string_array(struct arena *arena, const char *const *texts,
		     uint32_t count, struct cim_value *ret_value,
		     struct err *err);
int cim_uint_array(struct arena *arena, enum cim_type base,
		   const uint64_t *numbers, uint32_t count,
		   struct cim_value *ret_value, struct err *err);
/* A constant of the schema; 0, or an error if it is a reference's bad path. */
int cim_value_of_schema(struct arena *arena, const struct schema_value *value,
			struct cim_value *ret_value, struct err *err);

/* Reading them. */
static inline const union cim_scalar *cim_items(const struct cim_value *value)
{
	return value->array ? value->items : &value->one;
}
/* A string or datetime's text, NULL if VALUE is NULL, empty or no text. */
const char *cim_text(const struct cim_value *value);
/* The number of an unsigned integer, or ELSE. */
uint64_t cim_number(const struct cim_value *value, uint64_t otherwise);
bool cim_true(const struct cim_value *value);

/* Whether both are NULL, or equal item by item; datetimes by instant, paths as
 * cim_path_equal() says. */
bool cim_value_equal(const struct cim_value *a, const struct cim_value *b);
/* Whether VALUE may stand where TYPE is asked for: base, array, embedded. */
bool cim_value_fits(const struct cim_value *value,
		    const struct schema_type *type);

/*
 * Text of one item, as CIM-XML, WS-Man and WQL write it.  White space around
 * numbers, booleans and datetimes is ignored.  Integers are decimal or 0x hex
 * and within the type's range; booleans TRUE, FALSE (without case), 1 or 0;
 * a char16 is one character of the basic plane; a reference is an object path
 * as in cim/path.h.  -CIM_ETYPEMISMATCH if it is none of the type.
 */
int cim_scalar_parse(struct arena *arena, enum cim_type base, const char *text,
		     union cim_scalar *ret_scalar, struct err *err);

#define CIM_SCALAR_BYTES 48
/* The text of an item that is no reference and no instance: a string's own, or
 * one written to BUF.  *ret_length may be NULL. */
const char *cim_scalar_text(enum cim_type base, const union cim_scalar *scalar,
			    char buf[CIM_SCALAR_BYTES], size_t *ret_length);

/*
 * Datetimes: yyyymmddhhmmss.mmmmmm+uuu, uuu being minutes from UTC, or
 * ddddddddhhmmss.mmmmmm:000, an interval.  A field that does not count may be
 * all asterisks, and reads as its lowest value.
 */
#define CIM_DATETIME_BYTES 26

struct cim_instant {
	bool interval;
	int64_t us; /* since 1970-01-01 UTC, or the interval's length */
};

/* 0, or -CIM_ETYPEMISMATCH. */
int cim_datetime_parse(const char *text, struct cim_instant *ret_instant,
		       struct err *err);
/* Within the years 0 to 9999, else the nearest; returns TEXT. */
const char *cim_datetime_format(struct cim_instant instant,
				char text[CIM_DATETIME_BYTES]);

#endif
