/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Instances: a class of the schema and a value for each of its properties.
 *
 * I1  Values stand in the order of class->properties.  What was not set reads
 *     as NULL, and is told apart by cim_instance_has().
 * I2  A value always fits the property's type; only cim_instance_set_at() does
 *     not check, for providers that know their class by heart.
 */
#ifndef CIM_INSTANCE_H
#define CIM_INSTANCE_H

#include "cim/path.h"
#include "cim/value.h"

struct cim_instance {
	const struct schema_class *class;
	const struct cim_path *path; /* or NULL */
	struct cim_value *values;    /* class->property_count of them */
	uint64_t *set;               /* bit N: values[N] was set */
};

/* All unset; with DEFAULTS the class's default values are set. */
int cim_instance_new(struct arena *arena, const struct schema_class *class,
		     bool defaults, struct cim_instance **ret_instance,
		     struct err *err);

/* By name, without case: -CIM_EPROPERTY, -CIM_ETYPEMISMATCH.  VALUE may be a
 * NULL of any type. */
int cim_instance_set(struct cim_instance *instance, const char *name,
		     struct cim_value value, struct err *err);
/* INDEX as schema_property_index() says; the type is the caller's business. */
static inline void cim_instance_set_at(struct cim_instance *instance,
				       uint32_t index, struct cim_value value)
{
	instance->values[index] = value;
	instance->set[index / 64] |= UINT64_C(1) << index % 64;
}
static inline bool cim_instance_has(const struct cim_instance *instance,
				    uint32_t index)
{
	return instance->set[index / 64] >> index % 64 & 1;
}
/* Never NULL: a NULL value if there is no such property or it is unset. */
const struct cim_value *cim_instance_get(const struct cim_instance *instance,
					 const char *name);
/* The text of a string property, or NULL. */
const char *cim_instance_text(const struct cim_instance *instance,
			      const char *name);

/* Makes the path from the key values and stores it in the instance too.  HOST
 * and NS may be NULL.  -CIM_EFAILED if a key is NULL. */
int cim_instance_make_path(struct arena *arena, struct cim_instance *instance,
			   const char *host, const char *ns, struct err *err);
/* Whether all key values are those of PATH, which cim_path_bind() bound. */
bool cim_instance_is(const struct cim_instance *instance,
		     const struct cim_path *path);

/* A deep copy in ARENA, with its path: nothing else has to outlive it. */
int cim_instance_copy(struct arena *arena, const struct cim_instance *instance,
		      const struct cim_instance **ret_instance,
		      struct err *err);

#endif
