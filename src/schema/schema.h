/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CIM schema that refpoint serves, as constant tables.
 *
 * mofc compiles the MOF files of schema/ into them at build time.  Nothing is
 * allocated, initialised or freed at run time; every pointer that is returned
 * is valid for ever, and every function may be called from any thread.
 *
 * S1  Names keep the case of their declaration and compare without case.
 * S2  schema_classes holds each class once, however many namespaces it lives
 *     in, and a class's subclasses follow it directly: those of C, at any
 *     depth, are the indices C->index + 1 to C->end - 1.
 * S3  A class that lives in a namespace has its superclass there, as well as
 *     every class that one of its references or embedded instances names.
 * S4  Inherited members are listed with a class's own, those of the topmost
 *     class first; an override stands in the place of what it overrides.  Keys
 *     come from one class: a subclass of a class with keys adds none.
 * S5  Qualifiers are those in force: what a class inherits is in its list.
 */
#ifndef SCHEMA_SCHEMA_H
#define SCHEMA_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum cim_type {
	CIM_BOOLEAN,
	CIM_UINT8,
	CIM_UINT16,
	CIM_UINT32,
	CIM_UINT64,
	CIM_SINT8,
	CIM_SINT16,
	CIM_SINT32,
	CIM_SINT64,
	CIM_REAL32,
	CIM_REAL64,
	CIM_CHAR16,
	CIM_STRING,
	CIM_DATETIME, /* 25 characters: yyyymmddhhmmss.mmmmmm+utc or interval */
	CIM_REFERENCE,
};

struct schema_class;

/* What a value may be. */
struct schema_type {
	enum cim_type base;
	bool array;
	uint32_t array_max; /* elements; 0: any number */
	uint32_t max_len;   /* characters of a string (MaxLen); 0: any number */
	const struct schema_class *ref; /* CIM_REFERENCE: to which class */
	/* A string that holds an instance (EmbeddedInstance): of which class.
	 * EmbeddedObject: an instance of any class, or a class. */
	const struct schema_class *embedded;
	bool embedded_object;
};

/* One element of a constant; which member counts depends on the base type:
 * uint for CIM_UINT* and CIM_CHAR16, text for strings, datetimes, references
 * (an object path). */
union schema_scalar {
	bool boolean;
	uint64_t uint;
	int64_t sint;
	double real;
	const char *text; /* UTF-8 */
};

/* A constant.  NULL is no items and is_null; a scalar is one item; an empty
 * array is no items and not is_null. */
struct schema_value {
	enum cim_type base;
	bool array;
	bool is_null;
	uint32_t count;
	const union schema_scalar *items;
};

/* Where a qualifier may stand (scope), as bits. */
enum schema_scope {
	SCHEMA_SCOPE_CLASS = 1 << 0,
	SCHEMA_SCOPE_ASSOCIATION = 1 << 1,
	SCHEMA_SCOPE_INDICATION = 1 << 2,
	SCHEMA_SCOPE_PROPERTY = 1 << 3,
	SCHEMA_SCOPE_REFERENCE = 1 << 4,
	SCHEMA_SCOPE_METHOD = 1 << 5,
	SCHEMA_SCOPE_PARAMETER = 1 << 6,
	SCHEMA_SCOPE_ANY = (1 << 7) - 1,
};

/* How a qualifier travels (flavor), as bits. */
enum schema_flavor {
	SCHEMA_OVERRIDABLE = 1 << 0, /* EnableOverride */
	SCHEMA_TOSUBCLASS = 1 << 1,  /* ToSubclass, else Restricted */
	SCHEMA_TRANSLATABLE = 1 << 2,
};

/* The declaration of a qualifier. */
struct schema_qualifier_type {
	const char *name;
	enum cim_type base;
	bool array;
	unsigned scope;            /* bits of enum schema_scope */
	unsigned flavor;           /* bits of enum schema_flavor */
	struct schema_value value; /* if it is named without one */
};

/* A qualifier of a class, property, method or parameter. */
struct schema_qualifier {
	const struct schema_qualifier_type *type; /* has the name */
	struct schema_value value;
	unsigned flavor; /* bits of enum schema_flavor */
	bool propagated; /* stands at a superclass, not here */
};

struct schema_qualifiers {
	const struct schema_qualifier *list;
	uint32_t count;
};

struct schema_property {
	const char *name;
	struct schema_type type;
	bool key;
	bool read;                 /* Read; true unless it says Read(false) */
	bool write;                /* Write */
	struct schema_value value; /* default; NULL if there is none */
	const struct schema_class *origin;   /* the class that introduced it */
	const struct schema_class *declarer; /* the one with the declaration in
						force; inherited by the rest */
	struct schema_qualifiers qualifiers;
};

struct schema_parameter {
	const char *name;
	struct schema_type type;
	bool in;  /* In; true unless it says In(false) */
	bool out; /* Out */
	struct schema_qualifiers qualifiers;
};

struct schema_method {
	const char *name;
	enum cim_type result; /* type of the return value */
	const struct schema_parameter *parameters; /* in the published order */
	uint32_t parameter_count;
	const struct schema_class *origin;   /* as of a property */
	const struct schema_class *declarer; /* likewise */
	struct schema_qualifiers qualifiers;
};

struct schema_class {
	const char *name;
	const struct schema_class *superclass; /* or NULL */
	uint32_t index;                        /* in schema_classes */
	uint32_t end;        /* index after that of its last descendant */
	uint32_t namespaces; /* bit N: lives in schema_namespaces[N] */
	bool association;
	bool abstract; /* has no instances of its own */
	/* All, inherited ones included; each may be shared with a superclass,
	 * so that `p->declarer != class` says that p is inherited (S4). */
	const struct schema_property *const *properties;
	uint32_t property_count;
	uint32_t key_count; /* properties with key set */
	const struct schema_method *const *methods;
	uint32_t method_count;
	struct schema_qualifiers qualifiers;
};

struct schema_namespace {
	const char *name; /* "root/virtualization/v2" */
	uint32_t bit;     /* of schema_class.namespaces */
};

extern const struct schema_class schema_classes[];
extern const uint32_t schema_class_count;
extern const struct schema_namespace schema_namespaces[];
extern const uint32_t schema_namespace_count;
extern const struct schema_qualifier_type schema_qualifier_types[];
extern const uint32_t schema_qualifier_type_count;

/* "uint16", "reference" and so on, as in MOF and CIM-XML; never NULL. */
const char *cim_type_name(enum cim_type type);
/* 0, or -1 if there is no such type; without case. */
int cim_type_from_name(const char *name, enum cim_type *ret_type);
bool cim_type_is_unsigned(enum cim_type type); /* uint8 to uint64 */
bool cim_type_is_signed(enum cim_type type);   /* sint8 to sint64 */
/* Bits of an integer or real type; 0 for the others. */
unsigned cim_type_bits(enum cim_type type);

/*
 * Lookups; NULL if there is none.  Names compare without case.  A namespace is
 * accepted with `\` for `/`, and with slashes before and after it.
 */
const struct schema_namespace *schema_find_namespace(const char *name);
/* NS NULL: whichever namespace it lives in. */
const struct schema_class *schema_find_class(const struct schema_namespace *ns,
					     const char *name);
const struct schema_property *
schema_find_property(const struct schema_class *class, const char *name);
const struct schema_method *schema_find_method(const struct schema_class *class,
					       const char *name);
const struct schema_parameter *
schema_find_parameter(const struct schema_method *method, const char *name);
const struct schema_qualifier_type *
schema_find_qualifier_type(const char *name);
const struct schema_qualifier *
schema_find_qualifier(const struct schema_qualifiers *qualifiers,
		      const char *name);

/* The text of a string qualifier, or NULL if it is not there, is NULL or is
 * not a string. */
const char *schema_qualifier_text(const struct schema_qualifiers *qualifiers,
				  const char *name);
/* The truth of a boolean qualifier; false if it is not there. */
bool schema_qualifier_true(const struct schema_qualifiers *qualifiers,
			   const char *name);

/*
 * What Values says of a number: the text of the ValueMap entry that is it or
 * whose range ("4097..32767", "11..", "..") has it, an exact one first; without
 * a ValueMap the text at that index.  NULL if nothing is said of it.
 */
const char *schema_value_text(const struct schema_qualifiers *qualifiers,
			      int64_t number);

/* Whether class is base, or derives from it. */
static inline bool schema_is_a(const struct schema_class *class,
			       const struct schema_class *base)
{
	return base->index <= class->index && class->index < base->end;
}

static inline bool schema_lives_in(const struct schema_class *class,
				   const struct schema_namespace *ns)
{
	return class->namespaces & ns->bit;
}

/* The position of a property in class->properties; class must have it. */
uint32_t schema_property_index(const struct schema_class *class,
			       const struct schema_property *property);

/*
 * Iteration: pass NULL first, then what was returned, until NULL is.
 * A superclass comes before its subclasses.
 *
 *	for (c = schema_next_class(ns, NULL); c; c = schema_next_class(ns, c))
 */
const struct schema_class *schema_next_class(const struct schema_namespace *ns,
					     const struct schema_class *after);
/* The subclasses of BASE within NS, without BASE itself: those at any depth
 * (DEEP) or those directly below.  BASE NULL: all classes, or those without
 * a superclass. */
const struct schema_class *
schema_next_subclass(const struct schema_namespace *ns,
		     const struct schema_class *base, bool deep,
		     const struct schema_class *after);

#endif
