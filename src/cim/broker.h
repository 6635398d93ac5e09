/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operations on CIM objects, as both protocols ask for them, in front of
 * whoever provides the objects.
 *
 * B1  A protocol asks by names as they came; the broker holds them against the
 *     schema (namespace, class, keys, method, parameters) before a provider is
 *     asked, so that a provider sees bound paths and typed values only.  The
 *     host that a path names is not looked at; its namespace is the request's.
 * B2  Asking for a class asks for its subclasses in the namespace as well, of
 *     an object likewise: its path may name a superclass.  Each instance is
 *     told once, by the class that it is of.
 * B3  Who asks stands in every request; the role of nobody is refused before
 *     anything is looked at, and what takes an operator before its provider
 *     is asked to do it (-CIM_EACCESS).  A class that nobody provides has no
 *     instances.
 * B4  Answers are told one at a time, and what is told is valid until the
 *     callback returns: whoever keeps it copies it (cim_instance_copy()), to
 *     the request's arena or elsewhere.  A callback's negative result ends the
 *     operation, which returns it.
 * B5  A method that ran is no error: its return value says how it went.
 *
 * B6  Besides what it answers, an operation takes no more memory than the
 *     request's arena has left, in each of at most three arenas of its own;
 *     then it fails with -CIM_ELIMITS.
 *
 * Providers may wait (for refpointd); every operation may be called by several
 * threads at a time, each with a request of its own.
 */
#ifndef CIM_BROKER_H
#define CIM_BROKER_H

#include "cim/instance.h"
#include "cim/path.h"
#include "cim/wql.h"

/* Zero is nobody, who may do nothing. */
enum cim_role {
	CIM_ROLE_NONE,
	CIM_ROLE_READER,
	CIM_ROLE_OPERATOR,
};

struct cim_request {
	struct arena *arena; /* of this request: answers live there */
	const char *caller;  /* the principal's name */
	enum cim_role role;
	const char *host; /* by which the client calls us; or NULL */
	const char *ns;   /* as the client wrote it */
	/* For the items of all arrays that a method answers: each takes its
	 * text, twice its parameter's name and CIM_REPLY_ITEM_BYTES.  What is
	 * longer the client refuses to take.  0: as much as there is. */
	size_t reply_bytes;
};
#define CIM_REPLY_ITEM_BYTES 9

/* What a caller of an association's walk asks for; NULL: whatever. */
struct cim_walk {
	bool references; /* the associations themselves, not the other ends */
	const char *assoc_class;  /* of a walk to the other ends */
	const char *result_class; /* or, of references, of these */
	const char *role;         /* the property that names the object */
	const char *result_role;  /* the one that names the other end */
};

typedef int cim_instance_fn(void *arg, const struct cim_instance *instance,
			    struct err *err);

/* A method's arguments by the schema's order of parameters; NULL values where
 * none was given. */
struct cim_arguments {
	const struct schema_method *method;
	struct cim_value *values; /* method->parameter_count */
};

/* ---- providers -------------------------------------------------------- */

struct cim_provider {
	const char *class_name; /* of its instances; a subclass has its own */
	/* The methods that readers may call, then NULL; the others, and all if
	 * this is NULL, take an operator. */
	const char *const *reader_methods;
	/* Tells all instances; one without a path gets it of its keys.  QUERY,
	 * or NULL, only helps to tell fewer (wql_pinned()): the broker holds it
	 * against each.  OBJECT, or NULL, for an association: only those that
	 * name it are wanted.  The request's arena is of this call alone:
	 * rewind it after each FN to where it was before that instance.  FN may
	 * ask other providers: hold no lock around it. */
	int (*enumerate)(void *arg, const struct cim_request *request,
			 const struct wql_query *query,
			 const struct cim_path *object, cim_instance_fn *fn,
			 void *fn_arg, struct err *err);
	/* One instance, PATH bound, or -CIM_ENOTFOUND.  NULL: the broker looks
	 * through all.  An association's other ends are found so: whoever has
	 * many instances has this. */
	int (*get)(void *arg, const struct cim_request *request,
		   const struct cim_path *path,
		   const struct cim_instance **ret_instance, struct err *err);
	/* Calls a method of an object that is there.  IN has what is [In], of
	 * the types of its parameters; which class an embedded instance is of
	 * is not checked, and a reference that names nothing in the schema is
	 * as it came, the others are bound.  OUT is all NULL and takes what is
	 * [Out].  NULL: -CIM_ENOTAVAILABLE. */
	int (*invoke)(void *arg, const struct cim_request *request,
		      const struct cim_path *path,
		      const struct cim_arguments *in, struct cim_arguments *out,
		      struct cim_value *ret_result, struct err *err);
	/* DeleteInstance and Delete.  NULL: -CIM_ENOTSUPPORTED. */
	int (*delete)(void *arg, const struct cim_request *request,
		      const struct cim_path *path, struct err *err);
};

struct broker;

/* The PROVIDERS (N of them) and ARG, which is passed to them, outlive it.  Each
 * names a class of the schema, once; -EINVAL if not. */
int broker_new(const struct cim_provider *const *providers, size_t n, void *arg,
	       struct broker **ret_broker, struct err *err);
/* NULL is allowed, and returned. */
struct broker *broker_free(struct broker *broker);

/* ---- operations ------------------------------------------------------- */

/* -CIM_ENAMESPACE, -CIM_ECLASS, -CIM_ESELECTOR*, -CIM_ENOTFOUND. */
int broker_get(struct broker *broker, const struct cim_request *request,
	       const struct cim_path *path,
	       const struct cim_instance **ret_instance, struct err *err);

/* All instances of a class and its subclasses.  Also associations whose ends
 * are gone, if their provider tells them. */
int broker_enumerate(struct broker *broker, const struct cim_request *request,
		     const char *class_name, cim_instance_fn *fn, void *arg,
		     struct err *err);

/* A query: SELECT tells instances whole, whatever properties it names;
 * ASSOCIATORS OF and REFERENCES OF are walks, which also tell instances if only
 * their classes are asked for.  -CIM_EQUERY, also if the object is a class. */
int broker_query(struct broker *broker, const struct cim_request *request,
		 struct wql_query *query, cim_instance_fn *fn, void *arg,
		 struct err *err);

/* What is associated with the object of PATH, each once.  What names an object
 * that is gone is left out.  -CIM_ENOTFOUND, if PATH does; -CIM_EPARAMETER, if
 * there is no such class as WALK names. */
int broker_walk(struct broker *broker, const struct cim_request *request,
		const struct cim_path *path, const struct cim_walk *walk,
		cim_instance_fn *fn, void *arg, struct err *err);

/* The same of classes: what could be.  Told in the order of the schema: the
 * classes that references name, or result_class if it is below one. */
int broker_walk_classes(struct broker *broker,
			const struct cim_request *request,
			const char *class_name, const struct cim_walk *walk,
			int (*fn)(void *arg, const struct schema_class *class,
				  struct err *err),
			void *arg, struct err *err);

/* The class in the request's namespace: -CIM_ENAMESPACE, -CIM_ECLASS. */
int broker_class(const struct cim_request *request, const char *class_name,
		 const struct schema_class **ret_class, struct err *err);

/* Makes room for a call of METHOD (by name, without case) of CLASS:
 * -CIM_EMETHOD. */
int broker_arguments(const struct cim_request *request,
		     const struct schema_class *class, const char *method,
		     struct cim_arguments *ret_arguments, struct err *err);

/* Whether the caller may call METHOD of any object of CLASS or below it:
 * -CIM_EACCESS.  To be asked before the arguments are read; of the object
 * itself broker_invoke() asks again. */
int broker_may_call(struct broker *broker, const struct cim_request *request,
		    const struct schema_class *class, const char *method,
		    struct err *err);

/* Calls IN's method of the object of PATH, as the class of the object declares
 * it; OUT is of IN's method.  What IN has for a parameter that is not [In] is
 * ignored.  -CIM_EMETHOD, -CIM_EPARAMETER, -CIM_ETYPEMISMATCH. */
int broker_invoke(struct broker *broker, const struct cim_request *request,
		  const struct cim_path *path, const struct cim_arguments *in,
		  struct cim_arguments *ret_out, struct cim_value *ret_result,
		  struct err *err);

int broker_delete(struct broker *broker, const struct cim_request *request,
		  const struct cim_path *path, struct err *err);

#endif
