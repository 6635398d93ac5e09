/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of a CIM-XML request have in common.
 *
 * headers.c holds the message against its headers, message.c reads the body and
 * frames the reply, operations.c finds the operation and reads its parameters.
 * An operation writes what stands in its response, from <IRETURNVALUE> on; if
 * it fails, message.c takes that back and writes an <ERROR>.
 */
#ifndef CIMXML_INTERNAL_H
#define CIMXML_INTERNAL_H

#include "cim/codec.h"
#include "cim/status.h"
#include "cimxml/cimxml.h"

/* The parameters of intrinsic methods, by name. */
enum parameter {
	P_ASSOC_CLASS,
	P_CLASS_NAME,
	P_CONTINUE_ON_ERROR,
	P_DEEP_INHERITANCE,
	P_ENUMERATION_CONTEXT,
	P_FILTER_QUERY,
	P_FILTER_QUERY_LANGUAGE,
	P_INCLUDE_CLASS_ORIGIN,
	P_INCLUDE_QUALIFIERS,
	P_INSTANCE_NAME,
	P_LOCAL_ONLY,
	P_MAX_OBJECT_COUNT,
	P_OBJECT_NAME,
	P_OPERATION_TIMEOUT,
	P_PROPERTY_LIST,
	P_PROPERTY_NAME,
	P_QUALIFIER_NAME,
	P_QUERY,
	P_QUERY_LANGUAGE,
	P_RESULT_CLASS,
	P_RESULT_ROLE,
	P_RETURN_QUERY_RESULT_CLASS,
	P_ROLE,
	P_COUNT,
};

struct argument {
	bool named; /* it stands in the request, if only as NULL */
	bool given;
	bool truth;
	uint32_t number;
	const char *text; /* strings and names of classes */
	const struct cim_path *path;
	const char *const *list;
	uint32_t list_count;
};

struct call {
	const struct cimxml_service *service;
	struct cim_request cim;
	const struct schema_namespace *ns;
	struct argument arguments[P_COUNT];
	struct xml_out *out;
	struct err *err;
};

static inline const char *text_of(const struct call *c, enum parameter p)
{
	return c->arguments[p].text; /* NULL if it was not given */
}

static inline bool truth_of(const struct call *c, enum parameter p,
			    bool otherwise)
{
	return c->arguments[p].given ? c->arguments[p].truth : otherwise;
}

/* Which properties of an object, and its class's origin. */
struct codec_select select_of(const struct call *c);
struct cim_walk walk_of(const struct call *c, bool references);

/* ---- instances, one after the other -------------------------------------- */

enum form {
	FORM_NAMED,          /* VALUE.NAMEDINSTANCE */
	FORM_NAME,           /* INSTANCENAME */
	FORM_OBJECT,         /* VALUE.OBJECT */
	FORM_WITH_PATH,      /* VALUE.OBJECTWITHPATH */
	FORM_PATH,           /* OBJECTPATH */
	FORM_PULL_WITH_PATH, /* VALUE.INSTANCEWITHPATH */
	FORM_PULL_PATH,      /* INSTANCEPATH */
	FORM_PULL,           /* INSTANCE */
};

struct teller {
	const struct call *call;
	struct xml_out *out;
	enum form form;
	struct codec_select select;
};

/* A cim_instance_fn; ARG is the teller.  Fails as soon as OUT did. */
int tell_instance(void *arg, const struct cim_instance *instance,
		  struct err *err);
/* All of a class; without deep inheritance only the properties that the class
 * itself has. */
int tell_class_instances(struct call *c, struct teller *teller,
			 cim_instance_fn *fn, void *fn_arg);
/* What is associated with the instance NAME. */
int tell_walk(struct call *c, const struct cim_path *name, bool references,
	      cim_instance_fn *fn, void *fn_arg);
/* Parses a query in LANGUAGE: -CIM_EQUERYLANGUAGE, -CIM_EQUERY. */
int read_query(struct call *c, const char *language, const char *text,
	       struct wql_query **ret_query);
/* Names the properties of a SELECT. */
void select_query(const struct wql_query *query, struct codec_select *select);

/* ---- operations ---------------------------------------------------------- */

typedef int operation(struct call *c);

operation get_class, enumerate_classes, enumerate_class_names, get_qualifier,
    enumerate_qualifiers;
operation get_instance, enumerate_instances, enumerate_instance_names,
    get_property, delete_instance, exec_query;
operation associators, associator_names, references, reference_names;
operation open_instances, open_paths, open_associators, open_associator_paths,
    open_references, open_reference_paths, open_query, pull_with_path,
    pull_paths, pull_instances, close_enumeration;

/* An intrinsic method, its IPARAMVALUE elements in NODE. */
int call_operation(struct call *c, const char *name,
		   const struct xml_node *node);
/* METHODCALL of the object of PATH, its PARAMVALUE elements in NODE. */
int call_method(struct call *c, const char *name, const struct cim_path *path,
		const struct xml_node *node);

/* ---- headers ------------------------------------------------------------- */

/* The headers that count, found by their names or those of M-POST. */
struct headers {
	bool mandatory; /* M-POST */
	const char *method, *object, *version, *encoding;
};

/* 0 and the headers; a positive HTTP status; or a negative code. */
int read_headers(const struct cimxml_request *request,
		 struct headers *ret_headers, struct err *err);
/* -CIM_EHEADER unless they say what the body says.  OBJECT: what the method is
 * called of, or NULL: of the namespace NS. */
int match_headers(struct arena *arena, const struct headers *headers,
		  const char *version, const char *method, const char *ns,
		  const struct cim_path *object, struct err *err);

#endif
