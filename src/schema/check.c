/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks a tree as a whole: superclasses, associations, namespaces, order.
 * Classes are taken in the order of their declaration, so that a superclass is
 * done when its subclasses come (M3).
 */
#include "schema/check.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static int find_superclass(struct mof *mof, struct mof_class *class,
			   struct err *err)
{
	struct mof_class *super;

	if (!class->super_name)
		return 0;
	super = mof_find_class(mof, class->super_name);
	for (struct mof_class *c = class; super && c; c = c->next)
		if (c == super)
			super = NULL;
	if (!super)
		return mof_error(err, &class->super_pos,
				 "expected a superclass that is declared "
				 "before, not %s",
				 class->super_name);
	class->superclass = super;
	class->depth = super->depth + 1;
	if (class->depth == MOF_INHERITANCE_MAX)
		return mof_error(err, &class->super_pos,
				 "expected at most %d levels of inheritance",
				 MOF_INHERITANCE_MAX);
	return 0;
}

/* Association says where the qualifiers stand, hence is looked for first. */
static int check_class_qualifiers(struct mof *mof, struct mof_class *class,
				  struct err *err)
{
	struct mof_class *super = class->superclass;
	bool association = super && super->association;
	bool written = mof_find_qualifier(class->qualifiers, "Association");
	int rc;

	if (super && written && !association)
		return mof_error(err, &class->pos,
				 "association %s: expected an association as "
				 "superclass",
				 class->name);
	rc = check_qualifiers(mof, &class->qualifiers,
			      super ? super->qualifiers : NULL,
			      association || written ? SCHEMA_SCOPE_ASSOCIATION
						     : SCHEMA_SCOPE_CLASS,
			      CIM_STRING, err);
	if (rc < 0)
		return rc;
	class->association =
	    check_true(class->qualifiers, "Association", false);
	class->abstract = check_true(class->qualifiers, "Abstract", false);
	return 0;
}

static int check_ends(const struct mof_class *class, struct err *err)
{
	unsigned ends = 0;

	for (unsigned i = 0; i < class->property_count; i++)
		if (class->properties[i]->base == CIM_REFERENCE)
			ends++;
	if (class->association && ends < 2)
		return mof_error(err, &class->pos,
				 "association %s: expected two references",
				 class->name);
	return 0;
}

static int check_class(struct mof *mof, struct mof_class *class,
		       struct err *err)
{
	int rc = find_superclass(mof, class, err);

	if (rc == 0)
		rc = check_class_qualifiers(mof, class, err);
	if (rc == 0)
		rc = check_members(mof, class, err);
	if (rc == 0)
		rc = check_methods(mof, class, err);
	return rc < 0 ? rc : check_ends(class, err);
}

/* S3 of schema.h, for one class that another names. */
static int check_lives(const struct mof *mof, const struct mof_class *class,
		       const struct mof_class *needed,
		       const struct mof_pos *pos, struct err *err)
{
	uint32_t missing = needed ? class->namespaces & ~needed->namespaces : 0;

	if (missing)
		return mof_error(err, pos, "expected %s to be in %s, too",
				 needed->name,
				 mof->namespaces[__builtin_ctz(missing)]);
	return 0;
}

static int check_member_lives(const struct mof *mof,
			      const struct mof_class *class,
			      const struct mof_member *list, struct err *err)
{
	int rc = 0;

	for (; list && rc == 0; list = list->next) {
		rc = check_lives(mof, class, list->ref, &list->pos, err);
		if (rc == 0)
			rc = check_lives(mof, class, list->embedded, &list->pos,
					 err);
	}
	return rc;
}

static int check_namespaces(const struct mof *mof,
			    const struct mof_class *class, struct err *err)
{
	int rc =
	    check_lives(mof, class, class->superclass, &class->super_pos, err);
	struct mof_method *m;

	if (rc == 0)
		rc = check_member_lives(mof, class, class->own_properties, err);
	for (m = class->own_methods; m && rc == 0; m = m->next)
		rc = check_member_lives(mof, class, m->parameters, err);
	return rc;
}

static int compare_names(const void *a, const void *b)
{
	const struct mof_class *x = *(struct mof_class *const *)a;
	const struct mof_class *y = *(struct mof_class *const *)b;

	return strcasecmp(x->name, y->name);
}

/* Appends those of SORTED whose superclass is SUPER, each with what is below;
 * as deep as MOF_INHERITANCE_MAX. */
static void place_below(struct mof *mof, struct mof_class *const *sorted,
			const struct mof_class *super, unsigned *next)
{
	for (unsigned i = 0; i < mof->class_count; i++) {
		struct mof_class *class = sorted[i];

		if (class->superclass != super)
			continue;
		class->index = (*next)++;
		mof->by_index[class->index] = class;
		place_below(mof, sorted, class, next);
		class->end = *next;
	}
}

static void place_classes(struct mof *mof)
{
	size_t bytes = (mof->class_count + 1) * sizeof(struct mof_class *);
	struct mof_class **sorted = mof_alloc(mof, bytes);
	unsigned n = 0;

	mof->by_index = mof_alloc(mof, bytes);
	for (struct mof_class *c = mof->classes; c; c = c->next)
		sorted[n++] = c;
	qsort(sorted, n, sizeof(*sorted), compare_names);
	n = 0;
	place_below(mof, sorted, NULL, &n);
}

/* The numbers of properties and methods in the tables. */
static void number_members(struct mof *mof)
{
	unsigned properties = 0, methods = 0;

	for (struct mof_class *c = mof->classes; c; c = c->next) {
		for (struct mof_member *m = c->own_properties; m; m = m->next)
			m->id = properties++;
		for (struct mof_method *m = c->own_methods; m; m = m->next)
			m->id = methods++;
	}
}

int mof_check(struct mof *mof, struct err *err)
{
	struct mof_class *class;
	int rc = check_qualifier_types(mof, err);

	for (class = mof->classes; class && rc == 0; class = class->next)
		rc = check_class(mof, class, err);
	for (class = mof->classes; class && rc == 0; class = class->next)
		rc = check_namespaces(mof, class, err);
	if (rc < 0)
		return rc;
	place_classes(mof);
	number_members(mof);
	return 0;
}
