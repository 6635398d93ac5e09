/* SPDX-License-Identifier: Apache-2.0 */
/* What the broker's operations and its walks share. */
#ifndef CIM_BROKER_OBJECT_H
#define CIM_BROKER_OBJECT_H

#include "cim/broker.h"

struct broker {
	void *arg; /* the providers' */
	/* By schema_class.index; NULL: provided by nobody. */
	const struct cim_provider **by_class;
};

/* Opens an operation: refuses nobody, finds the namespace. */
int broker_open(const struct cim_request *request,
		const struct schema_namespace **ret_ns, struct err *err);

/* CODE if there is no such class in the namespace. */
int broker_find_class(const struct schema_namespace *ns, const char *name,
		      int code, const struct schema_class **ret_class,
		      struct err *err);

/* Holds PATH, and the paths in its keys, against the schema: bound, without
 * hosts, in the namespace.  As cim_path_bind(), or -CIM_ENAMESPACE,
 * -CIM_ECLASS. */
int broker_bind(struct arena *arena, const struct schema_namespace *ns,
		const struct cim_path *path,
		const struct schema_class **ret_class,
		const struct cim_path **ret_path, struct err *err);

/* The instance of CLASS, or of a subclass, that PATH (bound) names; in the
 * request's arena, with its path. */
int broker_find(struct broker *broker, const struct cim_request *request,
		const struct schema_namespace *ns,
		const struct schema_class *class, const struct cim_path *path,
		const struct cim_instance **ret_instance, struct err *err);

/* Broker_bind() and broker_find(). */
int broker_resolve(struct broker *broker, const struct cim_request *request,
		   const struct schema_namespace *ns,
		   const struct cim_path *path,
		   const struct cim_instance **ret_instance, struct err *err);

/* Tells the instances of CLASS, its subclasses apart.  SCRATCH is for the
 * provider, and rewound after. */
int broker_tell(struct broker *broker, const struct cim_request *request,
		const struct schema_namespace *ns,
		const struct schema_class *class, struct arena *scratch,
		const struct wql_query *query, const struct cim_path *object,
		cim_instance_fn *fn, void *arg, struct err *err);

/* An arena besides the request's, of what that has left.  To be freed. */
int broker_scratch(const struct cim_request *request, struct arena **ret_arena,
		   struct err *err);

#endif
