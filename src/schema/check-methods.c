/* SPDX-License-Identifier: Apache-2.0 */
/* Methods of one class. */
#include "schema/check.h"

#include <string.h>
#include <strings.h>

static int check_parameter(struct mof *mof, const struct mof_method *method,
			   struct mof_member *parameter,
			   const struct mof_member *base, struct err *err)
{
	int rc = check_qualifiers(mof, &parameter->qualifiers,
				  base ? base->qualifiers : NULL,
				  SCHEMA_SCOPE_PARAMETER, parameter->base, err);

	if (rc == 0)
		rc = check_type(mof, parameter, err);
	if (rc < 0)
		return rc;
	parameter->in = check_true(parameter->qualifiers, "In", true);
	parameter->out = check_true(parameter->qualifiers, "Out", false);
	if (!parameter->in && !parameter->out)
		return mof_error(err, &parameter->pos,
				 "parameter %s: expected In or Out",
				 parameter->name);
	if (mof_find_member(method->parameters, parameter->name) != parameter)
		return mof_error(err, &parameter->pos, "%s is declared twice",
				 parameter->name);
	return 0;
}

/* An override has the same parameters; a reference may name a subclass. */
static int check_same_parameter(const struct mof_member *parameter,
				const struct mof_member *base, struct err *err)
{
	if (strcasecmp(parameter->name, base->name) == 0 &&
	    parameter->base == base->base && parameter->array == base->array &&
	    (!base->ref || mof_is_a(parameter->ref, base->ref)))
		return 0;
	return mof_error(err, &parameter->pos,
			 "parameter %s: expected the overridden method's "
			 "%s%s %s",
			 parameter->name,
			 base->ref ? base->ref->name
				   : cim_type_name(base->base),
			 base->ref ? " REF" : "", base->name);
}

static int check_parameters(struct mof *mof, struct mof_method *method,
			    const struct mof_method *base, struct err *err)
{
	struct mof_member *p = method->parameters;
	struct mof_member *b = base ? base->parameters : NULL;
	int rc = 0;

	for (; p && rc == 0; p = p->next) {
		if (base && !b)
			return mof_error(err, &p->pos,
					 "parameter %s: the overridden method "
					 "has none like it",
					 p->name);
		rc = check_parameter(mof, method, p, b, err);
		if (rc == 0 && b)
			rc = check_same_parameter(p, b, err);
		b = b ? b->next : NULL;
	}
	if (rc == 0 && b)
		return mof_error(err, &method->pos,
				 "method %s: expected the overridden method's "
				 "parameter %s",
				 method->name, b->name);
	return rc;
}

static int check_method(struct mof *mof, struct mof_method *method,
			const struct mof_method *base, struct err *err)
{
	int rc = check_qualifiers(mof, &method->qualifiers,
				  base ? base->qualifiers : NULL,
				  SCHEMA_SCOPE_METHOD, method->result, err);

	if (rc == 0)
		rc = check_override(method->qualifiers, method->name,
				    &method->pos, base, err);
	if (rc == 0 && base && base->result != method->result)
		return mof_error(err, &method->pos,
				 "%s overrides another type: expected %s",
				 method->name, cim_type_name(base->result));
	return rc < 0 ? rc : check_parameters(mof, method, base, err);
}

static int add_method(struct mof *mof, struct mof_class *class,
		      struct mof_method *method, struct err *err)
{
	struct mof_method *base = NULL;
	unsigned slot = 0;
	int rc;

	while (slot < class->method_count &&
	       strcasecmp(class->methods[slot]->name, method->name) != 0)
		slot++;
	if (slot < class->method_count)
		base = class->methods[slot];
	if ((base && base->declarer == class) ||
	    mof_find_property(class, method->name))
		return mof_error(err, &method->pos, "%s is declared twice",
				 method->name);
	if (slot == MOF_MEMBERS_MAX)
		return mof_error(err, &method->pos,
				 "expected at most %d methods, inherited ones "
				 "included",
				 MOF_MEMBERS_MAX);
	rc = check_method(mof, method, base, err);
	if (rc < 0)
		return rc;
	method->declarer = class;
	method->origin = base ? base->origin : class;
	class->methods[slot] = method;
	if (!base)
		class->method_count++;
	return 0;
}

int check_methods(struct mof *mof, struct mof_class *class, struct err *err)
{
	struct mof_class *super = class->superclass;
	unsigned count = super ? super->method_count : 0;
	struct mof_method *method;
	int rc = 0;

	for (method = class->own_methods; method; method = method->next)
		count++;
	class->methods = mof_alloc(mof, count * sizeof(*class->methods));
	class->method_count = super ? super->method_count : 0;
	for (unsigned i = 0; i < class->method_count; i++)
		class->methods[i] = super->methods[i];
	for (method = class->own_methods; method && rc == 0;
	     method = method->next)
		rc = add_method(mof, class, method, err);
	return rc;
}
