/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Classes whose objects follow from the virtual systems: one instance is made
 * and told again and again with what differs.
 *
 * J1  A query, a path or an association's object narrows what refpointd is
 *     asked for, and what is told; both narrow in the same way.
 */
#ifndef PROVIDERS_OBJECTS_H
#define PROVIDERS_OBJECTS_H

#include "providers/build.h"
#include "providers/identity.h"
#include "providers/systems.h"

/* What a provider's enumerate takes. */
#define ENUMERATE_PARAMETERS                                                   \
	void *arg, const struct cim_request *request,                          \
	    const struct wql_query *query, const struct cim_path *object,      \
	    cim_instance_fn *fn, void *fn_arg, struct err *err
#define GET_PARAMETERS                                                         \
	void *arg, const struct cim_request *request,                          \
	    const struct cim_path *path,                                       \
	    const struct cim_instance **ret_instance, struct err *err

/* Which objects are wanted; "" and false: whichever. */
struct wanted {
	bool none; /* there can be none */
	bool host; /* the host alone */
	char uuid[GUID_TEXT_BYTES];
	char id[GUID_TEXT_BYTES];     /* of a point */
	char holder[GUID_TEXT_BYTES]; /* of settings or disks */
	bool indexed;                 /* the disk or service of this index */
	unsigned index;
};

#define OBJECT_SLOTS_MAX 16

struct telling {
	const struct providers *providers;
	const struct cim_request *request;
	const struct object_class *class;
	struct wanted wanted;
	struct build b;
	uint32_t slots[OBJECT_SLOTS_MAX];
	cim_instance_fn *fn;
	void *fn_arg;
};

struct object_class {
	const char *name;
	enum identity_kind kind;
	unsigned with;            /* SYSTEMS_... that are looked at */
	const char *const *slots; /* the properties that differ; NULL ends */
	/* Sets those that do not. */
	void (*prepare)(struct telling *t);
	/* Tells the wanted objects of a system. */
	int (*tell)(struct telling *t, const struct system_view *system);
};

/* What QUERY (or NULL) and OBJECT leave. */
struct wanted wanted_by_query(const struct object_class *class,
			      const struct wql_query *query,
			      const char *host_name);
struct wanted wanted_by_identity(const struct identity *identity);

static inline bool wants_point(const struct wanted *wanted, const char *id)
{
	return !*wanted->id || strcmp(wanted->id, id) == 0;
}
static inline bool wants_holder(const struct wanted *wanted, const char *id)
{
	return !*wanted->holder || strcmp(wanted->holder, id) == 0;
}
static inline bool wants_index(const struct wanted *wanted, unsigned index)
{
	return !wanted->indexed || wanted->index == index;
}

/* A provider's enumerate and get. */
int objects_enumerate(const struct object_class *class,
		      const struct providers *providers,
		      const struct cim_request *request,
		      const struct wql_query *query, cim_instance_fn *fn,
		      void *fn_arg, struct err *err);
int objects_get(const struct object_class *class,
		const struct providers *providers,
		const struct cim_request *request, const struct cim_path *path,
		const struct cim_instance **ret_instance, struct err *err);

/* Tells what is wanted to FN; what objects_enumerate() does of that. */
int objects_tell(const struct object_class *class,
		 const struct providers *providers,
		 const struct cim_request *request, const struct wanted *wanted,
		 cim_instance_fn *fn, void *fn_arg, struct err *err);

/*
 * The first instance that TELL tells, with the memory that it takes given back:
 * -CIM_ENOTFOUND if there is none.  TELL is called with ARG, a request that has
 * an arena of its own, and a function to tell to.
 */
int objects_first(const struct cim_request *request,
		  int (*tell)(void *arg, const struct cim_request *request,
			      cim_instance_fn *fn, void *fn_arg,
			      struct err *err),
		  void *arg, const struct cim_instance **ret_instance,
		  struct err *err);

#endif
